"""What a run knows of the past: what was last applied to each resource, and where that is known from.

The ledger is asked first of all; `--base REV` puts the manifests of a revision in its place. What an apply left over
that ended without a record is looked at beside it: whatever it wrote that is still there counts as applied.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from reconciler import planfile
from reconciler.bases import advanced, alike, open_keys, restored
from reconciler.cli.output import notice
from reconciler.cli.session import known_repository, need_repository
from reconciler.document import BasePart, Head
from reconciler.errors import InvalidInput
from reconciler.git.objects import holds
from reconciler.ledger import Server, journal, store, sync
from reconciler.manifest.files import name_of
from reconciler.model import NOTHING_APPLIED, Base, Missing, Observed
from reconciler.remembering import given_back
from reconciler.words import plain

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from reconciler.bases import Touched
    from reconciler.cli.options import Options
    from reconciler.cli.report import Report
    from reconciler.cli.session import Session
    from reconciler.compare import Rules
    from reconciler.document import ChangePart
    from reconciler.git import Repository
    from reconciler.ledger import Dispute, Ledger
    from reconciler.model import Desired, Metadata, Reading, Ref
    from reconciler.plan import RulesOf
    from reconciler.shards import Shard

NO_BASE = "none"
"""What `--base` says where nothing is to count as known."""


@dataclass(frozen=True, slots=True)
class LeftOver:
    """An apply that ended without a record: what it was about to write, by reference.

    Of a rollback, `undoes` is the run that it was turning back, and `touched` are the fields of that one. Resources
    that are `outdated` have been recorded by somebody since: that is the later word.
    """

    entry: journal.Unfinished
    head: Head
    changes: Mapping[Ref, ChangePart]
    undoes: str | None = None
    touched: Mapping[Ref, tuple[Touched, ...]] = field(default_factory=dict)
    outdated: frozenset[Ref] = frozenset()

    def base(self, ref: Ref, last: Metadata, base: Base | None, rules: Rules) -> Base | None:
        """Return the base of a resource after what the run wrote to it, as far as a look shows it."""
        if self.undoes is not None:
            fields = given_back(ref, self.touched.get(ref, ()), last, rules)
            return restored(base, fields) if fields else base
        desired = planfile.desired_of(self.changes[ref])
        return advanced(base, desired, open_keys(desired, last, base, rules), self.head.commit)


@dataclass(slots=True)
class Memory:
    """The past of one target.

    `bases` are those of the resources in question and of all that left the manifests (`released`). `default` is the
    base of a resource without a record: silent where a run has looked at all that was declared, else unknown.
    `ledger` is the one that a record would go on from. `left_over` are runs without a record, `taken_in` those of them
    that were looked at in full. `untold` are resources that a revision cannot tell anything about. Of a `shard` the
    bases are those of its part, so that shards which record at the same time have nothing to dispute.
    """

    part: BasePart = field(default_factory=BasePart)
    repository: Repository | None = None
    ledger: Ledger | None = None
    bases: dict[Ref, Base] = field(default_factory=dict)
    default: Base | None = None
    released: dict[Ref, Base] = field(default_factory=dict)
    left_over: tuple[LeftOver, ...] = ()
    taken_in: tuple[LeftOver, ...] = ()
    untold: frozenset[Ref] = frozenset()
    shard: Shard | None = None

    def base(self, ref: Ref) -> Base | None:
        """Return the base of a resource; `None` where it is unknown."""
        return self.bases.get(ref, None if ref in self.untold else self.default)

    def unaccounted(self, declared: Collection[Ref], *, whole: bool) -> list[Ref]:
        """Return what runs without a record may have written to, and no manifest declares: it has to be read as well.

        Where not all that is declared is known (`whole`), nothing can be said of that. A shard reads its part of it;
        what the others read is taken into the record by them.
        """
        if not whole:
            return []
        written = {ref for run in self.left_over for ref in run.changes if self.shard is None or self.shard.has(ref)}
        return sorted(written.difference(declared))

    def take_in(
        self, readings: Mapping[Ref, Reading], rules_of: RulesOf, declared: Collection[Ref] | None = None
    ) -> None:
        """Count as applied what runs without a record wrote, as far as it is there.

        What of that is not `declared` has left the manifests since.
        """
        self.taken_in = tuple(left for left in self.left_over if _looked_at(left, readings))
        for left in self.left_over:
            for ref in left.changes.keys() - left.outdated:
                reading = readings.get(ref)
                if isinstance(reading, Observed) and reading.metadata is not None:
                    base = left.base(ref, reading.metadata, self.base(ref), rules_of(ref.kind))
                    if base is not None:
                        self.bases[ref] = base
        known = {} if declared is None else {ref: self.bases[ref] for ref in readings if ref in self.bases}
        self.released |= {ref: base for ref, base in known.items() if ref not in set(declared or ()) and base.metadata}

    def taken_over(self) -> dict[Ref, Base]:
        """Return the bases of what runs without a record wrote to, as a look showed them."""
        refs = {ref for left in self.taken_in for ref in left.changes.keys() - left.outdated}
        return {ref: self.bases[ref] for ref in sorted(refs) if ref in self.bases}


def _looked_at(left: LeftOver, readings: Mapping[Ref, Reading]) -> bool:
    """Tell whether every resource that a run may have written to was looked at."""
    return all(isinstance(readings.get(ref), Observed | Missing) for ref in left.changes.keys() - left.outdated)


def remember(session: Session, report: Report, *, recording: bool = False) -> Memory:
    """Return the past of the session's target, and tell the report which base it is.

    Raises `InvalidInput` where there is a base that cannot be read, or one of another server: never a guess.
    `recording`: the run will add to the ledger, so it has to be sound even where `--base` puts another in its place.
    """
    return remember_declared(
        begin_to_remember(session, report, recording=recording), session, report, recording=recording
    )


def begin_to_remember(session: Session, report: Report, *, recording: bool = False) -> Memory:
    """Return what can be known without the manifests: the ledger. Where it has a remote, fetching it may take long."""
    memory = Memory(repository=known_repository(session), shard=session.options.shard)
    if memory.repository is None:
        report.remark("no_git", "this is no git repository: what was applied last is not known, and is not recorded")
    elif recording or session.options.base is None:
        memory.ledger = fetched(session, report)
    return memory


def remember_declared(memory: Memory, session: Session, report: Report, *, recording: bool = False) -> Memory:
    """Return a memory that has begun with all that concerns what the manifests declare; see `remember`."""
    revision = session.options.base
    if recording and memory.ledger is not None:
        memory.ledger.bases(one.ref for one in session.selected)  # a damaged one is told before anything is written
    if revision is not None:
        _take_revision(memory, session, report, revision)
    elif memory.ledger is not None:
        _take_ledger(memory, memory.ledger, session)
    elif memory.repository is not None:
        report.remark("no_ledger", _fetch_hint(session, memory.repository))
    if memory.repository is not None and revision is None:
        memory.left_over = _left_over(session, report, memory.repository, memory.ledger)
    report.parts["base"] = memory.part
    report.parts["record"] = memory.ledger.tip if memory.ledger and revision is None else None
    return memory


def fetched(session: Session, report: Report) -> Ledger | None:
    """Return the ledger of the session's target, fetched where it has a remote; `None` where there is none yet.

    Raises `WrongUsage` outside of git.
    """
    return _ledger(session, report, need_repository(session))


def tell_notes(report: Report, options: Options) -> None:
    """Tell on standard error what a run should know that gives no document."""
    for note in report.notes:
        notice(f"note: {plain(note.message)}", options)


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
    memory.default = NOTHING_APPLIED if ledger.complete else None
    if not session.whole:
        memory.bases = ledger.bases(one.ref for one in session.selected)
        return
    memory.bases = _part(ledger.everything(), memory.shard)
    memory.released = _released(memory.bases, session)


def _take_revision(memory: Memory, session: Session, report: Report, revision: str) -> None:
    if revision == NO_BASE:
        report.remark("no_base", "--base none: nothing counts as known")
        return
    from reconciler.cli.revisions import declared_at

    declared = declared_at(session.settings, session.manifest_paths, session.repository, revision, session.cache)
    memory.part = BasePart(revision=revision, commit=declared.commit)
    memory.default = NOTHING_APPLIED
    memory.untold = frozenset(
        one.ref for one in session.declared if one.location and one.location.file in declared.unknown
    )
    then = declared.resources if session.whole else declared.some({one.ref for one in session.selected})
    bases = {ref: _as_base(desired, declared.commit) for ref, desired in then.items()}
    memory.bases = _part(bases, memory.shard)
    if session.whole:
        memory.released = _released(memory.bases, session)


def _part(bases: dict[Ref, Base], shard: Shard | None) -> dict[Ref, Base]:
    """Return the bases of what falls to the shard of the run; all of them where it is none."""
    return bases if shard is None else {ref: base for ref, base in bases.items() if shard.has(ref)}


def _as_base(desired: Desired, commit: str) -> Base:
    return Base(desired.metadata, desired.ownership, desired.ignore, desired.protect, commit=commit)


def _released(bases: Mapping[Ref, Base], session: Session) -> dict[Ref, Base]:
    declared = {one.ref for one in session.declared}
    return {ref: base for ref, base in bases.items() if ref not in declared}


def _fetch_hint(session: Session, repository: Repository) -> str:
    remotes = (repository.ask("remote") or "").split("\n")
    usual = remotes[0] if remotes[0] and "origin" not in remotes else "origin"
    ref, remote = store.ref_of(session.target.name), session.target.ledger_remote or usual
    return f"there is no ledger here; if there is one elsewhere, `git fetch {remote} {ref}:{ref}` brings it"


# --- what ended without a record --------------------------------------------------------------------------------------


def _left_over(session: Session, report: Report, repository: Repository, ledger: Ledger | None) -> tuple[LeftOver, ...]:
    entries = journal.unfinished(repository, session.target.name)
    recorded = {run.id: run for _, run in store.runs(repository, session.target.name)} if entries else {}
    found = []
    for entry in entries:
        if entry.run in recorded:  # it ended between its record and the end of its journal
            entry.settle()
            continue
        try:
            document = planfile.loads(entry.content, entry.run)
        except InvalidInput:
            message = f"the run {entry.run} ended without a record, and its journal is damaged: delete {entry.path}"
            report.remark("unfinished", message)
            continue
        undone = recorded.get(document.undoes or "")
        changes = {change.ref: change for change in document.changes}
        outdated = _recorded_since(document.record, ledger, repository, changes)
        touched = undone.touched if undone else {}
        found.append(LeftOver(entry, document.head, changes, document.undoes, touched, outdated))
        report.remark("unfinished", _told(entry.run, document.changes))
    return tuple(found)


def _recorded_since(
    record: str | None, ledger: Ledger | None, repository: Repository, refs: Iterable[Ref]
) -> frozenset[Ref]:
    """Return the resources whose base is no more the one that a run began with, at the ledger's commit `record`."""
    if ledger is None or ledger.tip == record:
        return frozenset()
    wanted = list(refs)
    then = store.read(repository, ledger.target, record) if record and holds(repository, record) else None
    before, now = then.bases(wanted) if then else {}, ledger.bases(wanted)
    return frozenset(ref for ref in wanted if not alike(before.get(ref), now.get(ref)))


_TOLD = 5


def _told(run: str, changes: Iterable[ChangePart]) -> str:
    names = [str(change.ref) for change in changes]
    more = f" and {len(names) - _TOLD} more" if len(names) > _TOLD else ""
    return (
        f"the apply {run} ended without a record: it may have written to {', '.join(names[:_TOLD])}{more}; "
        "what it wrote and is still there counts as applied"
    )
