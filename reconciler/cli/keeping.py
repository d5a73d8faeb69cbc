"""One run of `watch`: the work of a `plan` or an `apply`, whose document is kept instead of shown."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import signal
import time
from collections import Counter
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING

from reconciler.cli.applying import perform, propose, remember_run, rewinding
from reconciler.cli.drift import judge_drift, moved_outside
from reconciler.cli.output import write_files
from reconciler.cli.planning import observe_and_plan
from reconciler.cli.recording import to_remember
from reconciler.cli.report import Report, begun, filled
from reconciler.cli.session import When, open_session
from reconciler.cli.signals import SIGNALS, handling, listen, raised_by
from reconciler.compare import Action
from reconciler.document import agreeing_parts
from reconciler.errors import ExitCode, Problem, Terminated, WrongUsage, worst
from reconciler.events import OutcomeStatus
from reconciler.git import GitFailed, repository
from reconciler.git.remotes import pull, without_password
from reconciler.settings import CONFIG_VARIABLE
from reconciler.watching.course import NAMED, NO_COUNTS, Run
from reconciler.words import amount

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from reconciler.cli.options import Options
    from reconciler.cli.planning import Made
    from reconciler.cli.session import Session
    from reconciler.document import Document, Finding
    from reconciler.drift import Drift
    from reconciler.git import Repository
    from reconciler.watching.lock import Locks

_CUT = frozenset(SIGNALS.values())


@dataclass(slots=True)
class Keeper:
    """Makes the runs of a watch, one after the other; each reads settings and manifests anew.

    `hear` takes what a person should know at once. `ended` is told a signal that is to end the watch, and that came
    while it could not break into anything.
    """

    chosen: Options
    mode: str
    pull: bool
    locks: Locks
    hear: Callable[[str], None]
    ended: Callable[[int], None]
    wall: Callable[[], float] = time.time

    def run(self) -> Run:
        """Make one run; whatever goes wrong is in what it returns."""
        began = self.wall()
        # What is said beside the result is for a person at a command; here each run is one line.
        options = replace(self.chosen, format="json", quiet=not self.chosen.verbose, yes=True)
        work = _Work(self, options, begun("plan", options))
        with handling(self._later):
            failed = work.do()
            report = work.report
            cut_short = self._settle(work, failed=failed)
            for error in write_files(report.view(), options):
                report.note(error.exit_code, *error.problems())
        return _told(work, began, self.wall(), cut_short=cut_short)

    def _settle(self, work: _Work, *, failed: bool) -> bool:
        """Tell whether a signal cut the run short; one that kept nothing from being done is no error of it."""
        report = work.report
        signals = [number for number, code in SIGNALS.items() if code in report.codes]
        for number in signals:
            self.ended(number)
        if not signals or failed or work.left_undone:
            return bool(signals)
        report.codes = [code for code in report.codes if code not in _CUT]
        report.problems = [problem for problem in report.problems if problem.code != "interrupted"]
        return False

    def _later(self, number: int, _frame: object) -> None:
        self.ended(number)

    @contextlib.contextmanager
    def undisturbed(self) -> Iterator[None]:
        """Keep signals waiting within this context; they are told to the watch at its end, none is lost.

        Blocked, they wait even where something inside ignores them for a while, and no process that is started here
        gets them.
        """
        with handling(self._later):
            before = signal.pthread_sigmask(signal.SIG_BLOCK, set(SIGNALS))
            try:
                yield
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)


@dataclass(slots=True)
class _Work:
    """The work of one run, and what was seen of it."""

    keeper: Keeper
    options: Options
    report: Report
    session: Session | None = None
    made: Made | None = None
    drift: Drift | None = None

    def do(self) -> bool:
        """Do it, and tell whether anything ended it early."""
        try:
            with handling(self._break_in):
                return filled(self.report, self.options, self._work)
        except (KeyboardInterrupt, Terminated) as error:  # in the moment before it began, or after its end
            name = signal.SIGINT if isinstance(error, KeyboardInterrupt) else signal.SIGTERM
            listen(self.keeper._later)  # noqa: SLF001 - the handler around may not be back
            self.report.interrupted(SIGNALS[name], name.name)
            return True

    @property
    def left_undone(self) -> bool:
        """Tell whether anything was left undone because the run was to end."""
        outcomes = self.report.document().outcomes or ()
        undone = any(outcome.outcome is OutcomeStatus.NOT_ATTEMPTED for outcome in outcomes)
        return undone or self.session is None or self.session.brake.cost

    def _break_in(self, number: int, _frame: object) -> None:
        raise raised_by(signal.Signals(number))

    def _work(self, report: Report) -> None:
        current = self._pulled() if self.keeper.pull else True
        self.session = session = open_session(self.options, report, manifests=When.LATER)
        session.interruption.notify = self.keeper.hear
        if self.keeper.mode == "apply" and current:
            if session.target.confirm is not None and not self.keeper.chosen.yes:
                raise WrongUsage(unconfirmed(session.target.name))
            with self.keeper.locks.writing():
                self._apply(report, session)
        else:
            self._compare(report, session)

    # --- the newest commit --------------------------------------------------------------------------------------------

    def _pulled(self) -> bool:
        """Bring the checkout up to its remote, and tell whether that worked; what is old is never applied."""
        try:
            pull(checkout(self.options), self.keeper.undisturbed)
        except GitFailed as error:
            so = "nothing is applied" if self.keeper.mode == "apply" else "what is compared may be old"
            message = f"git pull failed, so that {so}: {without_password(str(error))}"
            self.report.note(ExitCode.ERROR, Problem("pull_failed", message))
            return False
        return True

    # --- comparing ----------------------------------------------------------------------------------------------------

    def _compare(self, report: Report, session: Session) -> None:
        made, found = self._look(report, session, recording=False)
        report.parts["whole"] = session.whole
        report.parts["agreeing"] = agreeing_parts(to_remember(made, git=session.repository is not None))
        judge_drift(report, session, made, found)

    def _look(self, report: Report, session: Session, *, recording: bool) -> tuple[Made, Drift]:
        self.made = made = observe_and_plan(session, report, recording=recording)
        today = dt.datetime.fromtimestamp(self.keeper.wall()).astimezone().date()
        self.drift = found = moved_outside(made, today)
        return made, found

    # --- applying -----------------------------------------------------------------------------------------------------

    def _apply(self, report: Report, session: Session) -> None:
        """Do what `apply --yes` does, with the same guards."""
        report.kind, report.parts["outcomes"] = "apply", ()
        made, _ = self._look(report, session, recording=True)
        proposal = propose(report, session, made)
        rewind = rewinding(report, proposal.book)
        if rewind is not None:
            raise rewind
        done = perform(report, proposal)
        with self.keeper.undisturbed():
            remember_run(report, proposal.book, proposal.changes, done.outcomes)


def unconfirmed(target: str) -> str:
    """Return what is said where a watch would apply to a target that asks for more than yes."""
    return f"target {target} asks for a word to be typed before an apply (confirm): say --yes to apply without it"


# --- git --------------------------------------------------------------------------------------------------------------


def checkout(options: Options) -> Repository:
    """Return the repository to pull: the one around the settings. Raises `WrongUsage` outside of any."""
    named = options.config or os.environ.get(CONFIG_VARIABLE)
    found = repository(options.at(named).parent if named else options.cwd)
    if found is None:
        raise WrongUsage("--pull: this is no git repository")
    return found


# --- what a run came to -----------------------------------------------------------------------------------------------


def _told(work: _Work, began: float, ended: float, *, cut_short: bool) -> Run:
    report, made, session = work.report, work.made, work.session
    document, code = report.view(), worst(report.codes)
    outcomes = Counter(str(each.outcome) for each in document.outcomes or ())
    good = code in {ExitCode.DONE, ExitCode.DIFFERENCES}
    summary = document.summary
    return Run(
        began,
        ended,
        int(code),
        "interrupted" if cut_short else "success" if good else "failure",
        document,
        # What could not be read may differ as well: such a run says nothing of how much does.
        changes=summary.causes.model_dump() if made is not None and not _unseen(made) else None,
        resources=summary.resources,
        converged=summary.keep + outcomes[OutcomeStatus.APPLIED],
        drift=_drifted(made, work.drift),
        moved=_moved(work.drift),
        calls=session.pacer.calls() if session is not None else NO_COUNTS,
        retries=session.pacer.retries() if session is not None else NO_COUNTS,
        outcomes=dict(outcomes),
        error=None if good else _sentence(document),
        refused=code is ExitCode.REFUSED,
        cut_short=cut_short,
    )


def _drifted(made: Made | None, drift: Drift | None) -> bool | None:
    """Tell whether anything moved outside git; `None` where a resource that was not seen may have.

    Where nothing is declared, nothing was looked at: manifests that are gone for a moment end no drift.
    """
    if made is None or drift is None or not made.plan.changes:
        return None
    return True if drift.alarming else None if _unseen(made) else False


def _unseen(made: Made) -> bool:
    """Tell whether a resource could not be read: a missing one was seen to be so."""
    return any(change.observed is None and change.action is Action.FAILED for change in made.plan.changes)


def _moved(drift: Drift | None) -> tuple[str, ...]:
    if drift is None:
        return ()
    return tuple(str(change.ref) for change in islice(drift.alarms, NAMED))


def _sentence(document: Document) -> str:
    """Return in one sentence why a run failed: its first error, and how many more there are."""
    errors = [_located(error) for error in document.errors]
    wrong = [
        f"{each.kind}/{each.id}: {each.error.message if each.error else each.outcome}"
        for each in document.outcomes or ()
        if each.outcome not in {OutcomeStatus.APPLIED, OutcomeStatus.NOT_ATTEMPTED}
    ]
    found = errors or wrong or [f"exit code {document.exit_code}"]
    return found[0] if len(found) == 1 else f"{found[0]} (and {amount(len(found) - 1, 'more error')})"


def _located(error: Finding) -> str:
    place = error.source
    return f"{place.file}:{place.line}:{place.column}: {error.message}" if place else error.message


__all__ = ["Keeper", "checkout", "unconfirmed"]
