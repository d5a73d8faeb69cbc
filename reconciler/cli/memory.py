"""What a run knows of the past: what was last applied to each resource, and where that is known from.

The ledger is asked first of all; `--base REV` puts the manifests of a revision in its place. What an apply left over
that ended without a record is looked at beside it: whatever it wrote that is still there counts as applied.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from reconciler import planfile
from reconciler.bases import advanced, open_keys
from reconciler.cli.session import known_repository, need_repository
from reconciler.document import BasePart, Head
from reconciler.errors import InvalidInput
from reconciler.ledger import Server, journal, store, sync
from reconciler.manifest.files import name_of
from reconciler.model import NOTHING_APPLIED, Base, Observed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from reconciler.cli.report import Report
    from reconciler.cli.session import Session
    from reconciler.document import ChangePart
    from reconciler.git import Repository
    from reconciler.ledger import Dispute, Ledger
    from reconciler.model import Desired, Reading, Ref
    from reconciler.plan import RulesOf

NO_BASE = "none"
"""What `--base` says where nothing is to count as known."""


@dataclass(frozen=True, slots=True)
class LeftOver:
    """An apply that ended without a record: what it was about to write, by reference."""

    entry: journal.Unfinished
    head: Head
    changes: Mapping[Ref, ChangePart]


@dataclass(slots=True)
class Memory:
    """The past of one target.

    `bases` are those of the resources in question and of all that left the manifests (`released`). `default` is the
    base of a resource without a record: silent where there is a record of others, else unknown. `ledger` is the one
    that a record would go on from. `left_over` are applies without a record, `taken_in` those of them that were looked
    at in full. `untold` are resources that a revision cannot tell anything about.
    """

    part: BasePart = field(default_factory=BasePart)
    ledger: Ledger | None = None
    bases: dict[Ref, Base] = field(default_factory=dict)
    default: Base | None = None
    released: dict[Ref, Base] = field(default_factory=dict)
    left_over: tuple[LeftOver, ...] = ()
    taken_in: tuple[LeftOver, ...] = ()
    untold: frozenset[Ref] = frozenset()

    def base(self, ref: Ref) -> Base | None:
        """Return the base of a resource; `None` where it is unknown."""
        return self.bases.get(ref, None if ref in self.untold else self.default)

    def take_in(self, readings: Mapping[Ref, Reading], rules_of: RulesOf, *, whole: bool) -> None:
        """Count as applied what applies without a record wrote, as far as it is there; `whole`: all was read."""
        self.taken_in = tuple(left for left in self.left_over if whole or left.changes.keys() <= readings.keys())
        for left in self.left_over:
            for ref, change in left.changes.items():
                reading = readings.get(ref)
                if isinstance(reading, Observed) and reading.metadata is not None:
                    desired, base = planfile.desired_of(change), self.base(ref)
                    still_open = open_keys(desired, reading.metadata, base, rules_of(ref.kind))
                    self.bases[ref] = advanced(base, desired, still_open, left.head.commit)


def remember(session: Session, report: Report, *, recording: bool = False) -> Memory:
    """Return the past of the session's target, and tell the report which base it is.

    Raises `InvalidInput` where there is a base that cannot be read, or one of another server: never a guess.
    `recording`: the run will add to the ledger, so it has to be sound even where `--base` puts another in its place.
    """
    revision = session.options.base
    memory = Memory()
    if known_repository(session) is None:
        report.remark("no_git", "this is no git repository: what was applied last is not known, and is not recorded")
    elif recording or revision is None:
        memory.ledger = fetched(session, report)
    if revision is not None:
        _take_revision(memory, session, report, revision)
    elif memory.ledger is not None:
        _take_ledger(memory, memory.ledger, session)
    elif session.repository is not None:
        report.remark("no_ledger", _fetch_hint(session))
    if session.repository is not None and revision is None:
        memory.left_over = _left_over(session, report, session.repository)
    report.parts["base"] = memory.part
    return memory


def fetched(session: Session, report: Report) -> Ledger | None:
    """Return the ledger of the session's target, fetched where it has a remote; `None` where there is none yet.

    Raises `WrongUsage` outside of git.
    """
    return _ledger(session, report, need_repository(session))


def server_of(session: Session) -> Server:
    """Return who the target is, as the ledger remembers it."""
    target, file = session.target, session.settings.file
    top = session.repository.top if session.repository else session.settings.root
    settings = name_of(file.resolve(), top.resolve()) if file else None
    return Server(target.provider.name, target.base_url, target.organization, target.project, settings)


# --- where a base comes from ------------------------------------------------------------------------------------------


def _ledger(session: Session, report: Report, repository: Repository) -> Ledger | None:
    target = session.target
    if target.ledger_remote is not None and not session.options.offline:
        for dispute in sync.fetch(repository, target.name, target.ledger_remote):
            report.remark("disputed", told_dispute(dispute))
    ledger = store.read(repository, target.name)
    if ledger is not None:
        store.check_server(ledger, server_of(session))
    return ledger


def told_dispute(dispute: Dispute) -> str:
    """Say that two writers recorded a field differently."""
    ref, key = dispute
    return f"{ref}: {key} was applied differently by somebody else at the same time; plan again"


def _take_ledger(memory: Memory, ledger: Ledger, session: Session) -> None:
    memory.part = BasePart(revision=store.ref_of(session.target.name), commit=ledger.applied)
    memory.default = NOTHING_APPLIED
    if not session.whole:
        memory.bases = ledger.bases(one.ref for one in session.selected)
        return
    memory.bases = ledger.everything()
    memory.released = _released(memory.bases, session)


def _take_revision(memory: Memory, session: Session, report: Report, revision: str) -> None:
    if revision == NO_BASE:
        report.remark("no_base", "--base none: nothing counts as known")
        return
    from reconciler.cli.revisions import declared_at

    declared = declared_at(session.settings, session.manifest_paths, session.repository, revision)
    memory.part = BasePart(revision=revision, commit=declared.commit)
    memory.default = NOTHING_APPLIED
    memory.untold = frozenset(
        one.ref for one in session.declared if one.location and one.location.file in declared.unknown
    )
    memory.bases = {ref: _as_base(desired, declared.commit) for ref, desired in declared.resources.items()}
    if session.whole:
        memory.released = _released(memory.bases, session)


def _as_base(desired: Desired, commit: str) -> Base:
    return Base(desired.metadata, desired.ownership, desired.ignore, desired.protect, commit=commit)


def _released(bases: Mapping[Ref, Base], session: Session) -> dict[Ref, Base]:
    declared = {one.ref for one in session.declared}
    return {ref: base for ref, base in bases.items() if ref not in declared}


def _fetch_hint(session: Session) -> str:
    ref, remote = store.ref_of(session.target.name), session.target.ledger_remote or "origin"
    return f"there is no ledger here, so the base is unknown; `git fetch {remote} {ref}:{ref}` brings one that exists"


# --- what ended without a record --------------------------------------------------------------------------------------


def _left_over(session: Session, report: Report, repository: Repository) -> tuple[LeftOver, ...]:
    found = []
    for entry in journal.unfinished(repository, session.target.name):
        try:
            document = planfile.loads(entry.content, entry.run)
        except InvalidInput:
            report.remark("unfinished", f"the apply {entry.run} ended without a record, and its journal is damaged")
            continue
        found.append(LeftOver(entry, document.head, {change.ref: change for change in document.changes}))
        report.remark("unfinished", _told(entry.run, document.changes))
    return tuple(found)


_TOLD = 5


def _told(run: str, changes: Iterable[ChangePart]) -> str:
    names = [str(change.ref) for change in changes]
    more = f" and {len(names) - _TOLD} more" if len(names) > _TOLD else ""
    return (
        f"the apply {run} ended without a record: it may have written to {', '.join(names[:_TOLD])}{more}; "
        "what it wrote and is still there counts as applied"
    )
