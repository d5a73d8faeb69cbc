"""What a run leaves behind: an entry in the journal before its first write, a record in the ledger after its last."""

from __future__ import annotations

import datetime as dt
import getpass
import os
import secrets
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from reconciler import __version__, planfile
from reconciler.bases import Touched, alike
from reconciler.cli.memory import LeftOver, Memory, server_of, told_dispute
from reconciler.cli.output import notice
from reconciler.cli.signals import undisturbed
from reconciler.compare import Action
from reconciler.document import Document, Head
from reconciler.errors import ExitCode, Problem, ReconcilerError, Terminated
from reconciler.ledger import Run, journal, store, sync
from reconciler.remembering import kept, owned

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from reconciler.cli.planning import Made
    from reconciler.cli.report import Report
    from reconciler.cli.session import Session
    from reconciler.compare import Change
    from reconciler.document import ChangePart
    from reconciler.events import Outcome
    from reconciler.git import Repository
    from reconciler.ledger import Dispute, Ledger
    from reconciler.model import Base, Ref
    from reconciler.remembering import Moved


_STAMP = "%Y%m%dT%H%M%SZ"
_TIME = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(slots=True)
class Book:
    """The ledger of a target as one run writes it. Outside of git nothing is written.

    `head` is the commit whose declarations the run carries out; `whole`: it looked at all that they declare, or at all
    that falls to its shard, and saw each of it, or that it is missing.
    """

    session: Session
    memory: Memory
    head: Head
    kind: str
    undoes: str | None = None
    whole: bool = False
    at: dt.datetime = field(default_factory=lambda: dt.datetime.now(dt.UTC))
    run: str = ""
    _journal: journal.Journal | None = None

    def __post_init__(self) -> None:
        """Name the run by its time, and by chance where two begin in the same second."""
        self.run = f"{self.at:{_STAMP}}-{secrets.token_hex(3)}"

    def intend(self, parts: Sequence[ChangePart]) -> None:
        """Write down which changes are about to be written. Raises where that, and so the record, is not possible."""
        repository, known = self.session.repository, self.memory.ledger
        due = (part for part in parts if part.action is Action.UPDATE)
        writing = tuple(part for part in due if any(each.blocked is None for each in part.fields))
        if repository is not None and writing:
            content = planfile.dumps(
                Document(
                    kind="apply",
                    head=self.head,
                    record=known.tip if known else None,
                    undoes=self.undoes,
                    changes=writing,
                )
            )
            self._journal = journal.begin(repository, self.session.target.name, self.run, content)

    def break_off(self, *, wrote: bool) -> None:
        """End without a record: where anything may have been written, the next run finds the journal."""
        if self._journal is not None and wrote:
            self._journal.leave()
        else:
            self.settle()

    def settle(self) -> None:
        """End with nothing to record, or with everything recorded."""
        if self._journal is not None:
            self._journal.settle()

    def record(
        self,
        report: Report,
        moved: Moved,
        touched: Mapping[Ref, tuple[Touched, ...]],
        outcomes: Mapping[str, int],
        *,
        settled: bool = False,
    ) -> bool:
        """Record the run, and tell whether that worked; what went wrong is told to the report: the writes are done.

        `settled`: some resource is as the run's commit declares it.
        """
        repository = self.session.repository
        if repository is None:
            return False
        run = Run(
            self.run, self.kind, f"{self.at:{_TIME}}", actor(repository), self.head.commit, self.head.dirty,
            __version__, self.undoes, outcomes, touched,
        )  # fmt: skip
        try:
            with undisturbed():
                self._write(report, repository, changed_only(moved, self.memory), run, settled=settled)
            self._push(report, repository)
        except ReconcilerError as error:
            self.break_off(wrote=bool(touched))
            report.note(ExitCode.INCOMPLETE, Problem(error.code, f"{error}; the run is {self.run}"))
            return False
        return True

    def _write(self, report: Report, repository: Repository, moved: Moved, run: Run, *, settled: bool) -> None:
        known, target, server = self.memory.ledger, self.session.target.name, server_of(self.session)
        verified = settled or any(base is not None and base.verified for base in moved.values())
        applied = self._applied(known, verified=verified)
        complete = (self.whole and self.session.options.shard is None) or (known is not None and known.complete)
        news = run.touched or self.memory.taken_in or any(_tells(base) for base in moved.values())
        if not news and (applied, complete) == ((known.applied, known.complete) if known else (None, False)):
            self.settle()  # nothing is known that was not before: what is unknown stays so without a record
            return
        for left in self.memory.taken_in:
            known = self._record_unfinished(repository, left, known, run)
        recorded = store.record(repository, target, known, moved, run, server, applied, complete=complete)
        _tell_disputes(report, recorded.disputed)
        self.memory.ledger = recorded.ledger
        for left in self.memory.taken_in:
            left.entry.settle()
        self.settle()
        notice(f"Recorded as {self.run} under {store.ref_of(target)}.", self.session.options)

    def _record_unfinished(
        self, repository: Repository, left: LeftOver, known: Ledger | None, now: Run
    ) -> Ledger | None:
        """Record a run that ended without a record; its bases move with ours. Returns what ours goes on from.

        Where somebody else recorded meanwhile, that stays what it was: else theirs would be overwritten unseen.
        """
        run = _unfinished_run(left, self.memory.ledger, now)
        before, complete = (known.applied, known.complete) if known else (None, False)
        target, server = self.session.target.name, server_of(self.session)
        recorded = store.record(repository, target, known, {}, run, server, before, complete=complete)
        return known if recorded.united else recorded.ledger

    def _applied(self, known: Ledger | None, *, verified: bool) -> str | None:
        """Return the commit that counts as applied from now on: this one, if anything of it was verified.

        A rollback leaves git ahead.
        """
        before = known.applied if known else None
        return self.head.commit or before if verified and self.kind in APPLYING else before

    def _push(self, report: Report, repository: Repository) -> None:
        """Push, even where nothing was recorded now: an earlier record may not have got through."""
        remote = self.session.target.ledger_remote
        if remote is None:
            return
        try:
            with self.session.interruption.patiently("pushing what was recorded"):
                _tell_disputes(report, sync.push(repository, self.session.target.name, remote))
        except (KeyboardInterrupt, Terminated):
            message = f"the record was not pushed to {remote}: the run was interrupted; the next apply pushes it"
            report.note(ExitCode.INCOMPLETE, Problem(sync.NotPushed.code, message))
            raise
        finally:
            self.session.interruption.note(report)


def _tell_disputes(report: Report, disputed: Iterable[Dispute]) -> None:
    for dispute in disputed:
        report.note(ExitCode.INCOMPLETE, Problem("disputed", told_dispute(dispute)))


APPLYING = frozenset({"apply", "baseline"})
"""The kinds of runs that bring a commit's declarations to the target."""


def actor(repository: Repository) -> str:
    """Return who is running this: as CI knows them, as git knows them, as the machine does."""
    for variable in ("GITHUB_ACTOR", "GITLAB_USER_LOGIN", "BUILDKITE_BUILD_CREATOR"):
        if os.environ.get(variable):
            return os.environ[variable]
    name, email = repository.ask("config", "user.name"), repository.ask("config", "user.email")
    if name or email:
        return f"{name or ''} <{email}>".strip() if email else str(name)
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


# --- what moved -------------------------------------------------------------------------------------------------------


def to_remember(made: Made, *, git: bool) -> list[Change]:
    """Return the changes with nothing to write which an apply would remember otherwise than they are remembered."""
    if not git:
        return []
    memory = made.memory
    as_declared = (change for change in made.plan.changes if change.action is Action.KEEP)
    return [one for one in as_declared if not alike(kept(one, memory.base(one.ref), None), memory.bases.get(one.ref))]


def unmoved(agreeing: Sequence[Change], record: str | None, memory: Memory) -> list[Change]:
    """Return, of what a saved plan found as declared, the resources whose base is still the one that it was made with.

    `record`: the commit of the ledger then. Where others have recorded since, theirs is the later look.
    """
    if memory.ledger is None or memory.ledger.tip == record:
        return list(agreeing)
    repository, refs = memory.repository, [change.ref for change in agreeing]
    then = store.read(repository, memory.ledger.target, record) if repository and record else None
    before, now = then.bases(refs) if then else {}, memory.ledger.bases(refs)
    return [one for one in agreeing if alike(before.get(one.ref), now.get(one.ref))]


def changed_only(moved: Moved, memory: Memory) -> Moved:
    """Return of the bases those that differ from what the ledger holds."""
    held = memory.ledger.bases(moved) if memory.ledger else {}
    return {ref: base for ref, base in moved.items() if not alike(base, held.get(ref))}


def _tells(base: Base | None) -> bool:
    """Tell whether a base says anything: not where no look has verified any of it."""
    return base is None or base.verified


def first_bases(memory: Memory) -> Moved:
    """Return what a first record has to hold beside what was applied: what `--base REV` says of the other resources."""
    return {} if memory.ledger else dict(memory.bases)


def counted(outcomes: Iterable[Outcome]) -> dict[str, int]:
    """Return how many changes came to each outcome."""
    return dict(sorted(Counter(str(outcome.status) for outcome in outcomes).items()))


def _unfinished_run(left: LeftOver, ledger: Ledger | None, now: Run) -> Run:
    """Return the record of an apply that ended without one: what its journal says that it was about to write."""
    run, touched = left.entry.run, {}
    for ref, change in left.changes.items():
        base = ledger.base(ref) if ledger else None
        touched[ref] = tuple(
            Touched(each.key, each.before, each.after, owned(base, each.key))
            for each in change.fields
            if each.blocked is None
        )
    at = dt.datetime.strptime(run.partition("-")[0], _STAMP).replace(tzinfo=dt.UTC)
    return Run(
        run, "rollback" if left.undoes else "apply", f"{at:{_TIME}}", now.actor, left.head.commit, left.head.dirty,
        now.tool, left.undoes, {"unfinished": len(touched)}, touched,
    )  # fmt: skip
