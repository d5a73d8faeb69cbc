"""The work of `apply`: a proposal, consent, and what became of it."""

from __future__ import annotations

import contextlib
import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from reconciler import engine, planfile
from reconciler.cli.forecast import Calls, check_requests, forecast
from reconciler.cli.memory import remember
from reconciler.cli.output import confirm, room_on, say
from reconciler.cli.planning import RUN_WIDE, judge_run, observe_and_plan
from reconciler.cli.recording import Book, counted, first_bases, unmoved
from reconciler.cli.session import When, open_session
from reconciler.cli.show import read_plan
from reconciler.compare import Action
from reconciler.document import Requests, outcome_part
from reconciler.errors import ExitCode, Fault, GuardRefused, TargetRefused, WrongUsage
from reconciler.events import Outcome, OutcomeStatus
from reconciler.git import history
from reconciler.git.history import Kinship
from reconciler.guard import refusals, scale_of
from reconciler.remembering import moved_by, touched_by
from reconciler.render import terminal
from reconciler.watching.lock import locks_around
from reconciler.words import amount

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from reconciler.cli.options import Options
    from reconciler.cli.planning import Made
    from reconciler.cli.report import Report
    from reconciler.cli.session import Session
    from reconciler.compare import Change
    from reconciler.document import Document
    from reconciler.guard import Guards, Scale


@dataclass(frozen=True, slots=True)
class Proposal:
    """What is to be carried out, how much was looked at to find it, and the book that it is recorded in.

    `changes` are all, those with nothing to write as well: they are remembered, too.
    """

    session: Session
    changes: Sequence[Change]
    scale: Scale
    book: Book

    @property
    def due(self) -> list[Change]:
        """Return the changes that there is something to do about."""
        return [change for change in self.changes if change.action is not Action.KEEP]


def carry_out(report: Report, chosen: Options) -> None:
    """Do all of an apply; every error of our family may leave it, and the report is complete all the same."""
    report.parts["outcomes"] = ()
    check_consent(chosen)
    saved = _plan_file(chosen)
    proposal = _saved(report, chosen, saved) if saved else _fresh(report, chosen)
    rewind = rewinding(report, proposal.book)
    with beside_a_watch(report, proposal.session) as begin:
        show_plan(report, proposal.session)
        if rewind is not None:
            raise rewind
        done = perform(report, proposal, begin)
        remember_run(report, proposal.book, proposal.changes, done.outcomes)


@contextlib.contextmanager
def beside_a_watch(report: Report, session: Session) -> Iterator[Callable[[], None]]:
    """Tell of a watch on the target, and give what keeps its runs from writing until the end of this context.

    That is for the moment before the first write: nobody is kept waiting while a person reads a plan, and no file is
    made where nothing is written. It raises `AtWork` where a run of the watch writes just then.
    """
    locks = locks_around(session.settings.root, session.target.name, session.repository)
    watch = locks.watch()
    if watch is not None:
        report.remark("watched", f"{watch} is at work on target {session.target.name} from this checkout, too")
    with contextlib.ExitStack() as held:
        yield lambda: held.enter_context(locks.beside())


def check_consent(chosen: Options) -> None:
    """Raise `WrongUsage` where nobody has agreed and nobody can be asked."""
    if not chosen.yes and not _at_a_terminal():
        raise WrongUsage("there is no terminal to ask on; say --yes to go on without asking")


def _at_a_terminal() -> bool:
    return sys.stdin is not None and sys.stdin.isatty()


def perform(report: Report, proposal: Proposal, begin: Callable[[], None] = lambda: None) -> engine.Application:
    """Get consent and write; whatever ends it, every change has an outcome in the report.

    `begin` is called between the two, where anything is to be written.
    """
    done, book = engine.Application(), proposal.book
    try:
        if _get_consent(report, proposal, proposal.due):
            begin()
        book.intend(report.document().changes)
        _write(proposal.session, proposal.due, done)
    except BaseException:
        book.break_off(wrote=any(outcome.writes for outcome in done.outcomes))
        raise
    finally:
        _record(report, proposal.session, _complete(done, proposal.due))
    return done


def remember_run(report: Report, book: Book, changes: Sequence[Change], outcomes: Sequence[Outcome]) -> None:
    """Record what was applied, or found as declared, in the ledger."""
    memory = book.memory
    moved = moved_by(changes, outcomes, memory.base, None if book.head.dirty else book.head.commit)
    moved = {**first_bases(memory), **memory.taken_over(), **moved}
    settled = any(change.action is Action.KEEP for change in changes)
    settled = settled or any(outcome.status is OutcomeStatus.APPLIED for outcome in outcomes)
    book.record(report, moved, touched_by(changes, outcomes, memory.base), counted(outcomes), settled=settled)


# --- what to carry out ------------------------------------------------------------------------------------------------


def _plan_file(chosen: Options) -> Path | None:
    """Return the plan file, if the one PATH given is a file and no manifest."""
    paths = [chosen.at(path) for path in chosen.paths]
    if len(paths) == 1 and paths[0].is_file() and paths[0].suffix not in (".yaml", ".yml"):
        return paths[0]
    return None


def _fresh(report: Report, chosen: Options) -> Proposal:
    session = open_session(chosen, report, manifests=When.LATER)
    return propose(report, session, observe_and_plan(session, report, recording=True))


def propose(report: Report, session: Session, made: Made) -> Proposal:
    """Return what is to be carried out of a plan that was just made. Raises `GuardRefused` where it is of nothing."""
    if not session.declared and session.whole:
        raise GuardRefused(
            "the manifests declare nothing at all, more likely a mistake than a wish; see what `manifests` in the "
            "settings names"
        )
    judge_run(session, report, made.plan.changes, made.observation.refusals, outcomes_follow=True)
    whole = session.whole and all(map(looked_at, made.plan.changes))
    book = Book(session, made.memory, report.parts["head"], "apply", whole=whole)
    return Proposal(session, made.plan.changes, scale_of(made.plan.changes), book)


def _saved(report: Report, chosen: Options, file: Path) -> Proposal:
    if chosen.select or chosen.only or chosen.prune or chosen.changed_since or chosen.base:
        raise WrongUsage("a saved plan is carried out as it is; what to plan and how is said to `plan`")
    document = planfile.check_kind(read_plan(file, chosen), chosen.paths[0])
    session = open_session(replace(chosen, paths=()), report, manifests=When.NONE)
    name = chosen.paths[0]
    planfile.check_target(document, report.document(), name)
    changes = planfile.changes_of(document, session.rules_of, name)
    memory = remember(session, report, recording=True)
    if memory.ledger is None and document.base.revision is not None:
        memory.bases |= {part.ref: planfile.base_of(part) for part in document.changes}
    kept = ("base", "summary", "looked_at", "changes", "left", "spared", "released", "shard", "since")
    report.parts |= {part: getattr(document, part) for part in kept}
    report.parts["requests"] = Requests(writes=document.requests.writes)
    judge_run(session, report, changes, refused_then(changes), outcomes_follow=True)
    book = Book(session, memory, document.head, "apply", whole=document.whole and all(map(looked_at, changes)))
    agreeing = unmoved(planfile.agreeing_of(document, session.rules_of), document.record, memory)
    return Proposal(session, (*changes, *agreeing), planfile.scale(document), book)


def refused_then(changes: Sequence[Change]) -> list[TargetRefused]:
    """Return what the target refused while a saved plan was made: such a resource alone does not say why.

    One refusal for each kind that is not served, as `apply` without a plan gives it; of the others the first is enough.
    """
    found: dict[tuple[str, str], TargetRefused] = {}
    for change in changes:
        fault = change.fault
        if change.action is Action.FAILED and fault is not None and fault.code in _REFUSALS:
            kind = change.ref.kind if fault.code == "unserved" else ""
            found.setdefault((fault.code, kind), TargetRefused(fault))
    return list(found.values())


_REFUSALS = RUN_WIDE - {"not_attempted"}


def looked_at(change: Change) -> bool:
    """Tell whether a look showed what there is of a resource, or that there is none."""
    return change.observed is not None or change.action is Action.MISSING


# --- consent ----------------------------------------------------------------------------------------------------------


def rewinding(report: Report, book: Book) -> GuardRefused | None:
    """Return a refusal where the commit to apply is older than the applied one: a job of the past, run again.

    A history that does not tell is told to the report.
    """
    session = book.session
    ledger, head = book.memory.ledger, book.head.commit
    if ledger is None or ledger.applied is None or head is None or session.repository is None:
        return None
    kinship = history.kinship(session.repository, head, ledger.applied)
    if kinship is Kinship.ANCESTOR and not session.options.allow_rewind:
        return GuardRefused(
            f"commit {head[:10]} is older than {ledger.applied[:10]}, which was applied last; "
            "--allow-rewind goes on all the same"
        )
    if kinship is Kinship.UNDECIDED:
        message = (
            f"whether commit {head[:10]} is older than {ledger.applied[:10]}, which was applied last, cannot be told "
            "here: that commit, or some of the history between the two, is not in this clone (`git fetch --unshallow` "
            "brings the rest of a shallow one)"
        )
        report.remark("history_undecided", message)
    return None


def show_plan(report: Report, session: Session) -> None:
    """Show the plan as text before the question: on standard output, or beside another format on standard error."""
    text = session.options.format == "text"
    if session.options.quiet or (not text and session.options.yes):
        return
    stream = sys.stdout if text else sys.stderr
    say(terminal.plan(report.view(), room_on(stream, session.options)), session.options, err=not text)
    if text:
        report.told = len(report.problems)


def _get_consent(report: Report, proposal: Proposal, changes: Sequence[Change]) -> bool:
    """Tell whether anything is to be written, and ask only then.

    Raises `GuardRefused` or `ConsentRefused` where it may not be.
    """
    writable = any(change.writable for change in changes if change.action is Action.UPDATE)
    due = writable and not proposal.session.brake.pulled
    if due:
        requests = report.document().requests
        to_come = Calls(requests.writes, requests.writes)  # each is preceded by a read
        _check_guards(proposal)
        check_requests(proposal.session, to_come, made=requests.reads)
        _ask(report.view(), proposal.session, to_come)
    return due


def _check_guards(proposal: Proposal) -> None:
    reasons = refusals(proposal.changes, proposal.scale, _guards(proposal.session))
    if reasons:
        raise GuardRefused(f"{'; '.join(reasons)}; if that is meant, raise it by {_raised(reasons)}")


def _raised(reasons: Sequence[str]) -> str:
    """Return the options that raise the lines which were crossed; each reason begins with the name of its guard."""
    return " and ".join(f"`--{reason.partition(' ')[0].replace('_', '-')}`" for reason in reasons)


def _guards(session: Session) -> Guards:
    options, guards = session.options, session.settings.guards
    if options.max_changed is not None:
        guards = replace(guards, max_changed=options.max_changed)
    if options.max_removed is not None:
        guards = replace(guards, max_removed=options.max_removed)
    return guards


def _ask(document: Document, session: Session, to_come: Calls) -> None:
    if not session.options.yes:
        say(terminal.proposal(document, forecast(session, to_come)), session.options, err=True)
        confirm(_question(document), session.target.confirm or "yes")


def _question(document: Document) -> str:
    writes, removed = document.requests.writes, document.summary.pairs.remove
    removals = f" (removals among them: {removed})" if removed else ", no removals among them,"
    return f"Send {amount(writes, 'modify call')}{removals} to target {document.target.name}?"


# --- writing ----------------------------------------------------------------------------------------------------------


def _write(session: Session, changes: Sequence[Change], done: engine.Application) -> None:
    async def write() -> None:
        async with session.gateway(read_only=False) as writer:
            with session.progress(len(changes), "Applying") as emit:
                await engine.apply(
                    writer,
                    changes,
                    session.rules_of,
                    parallelism=session.parallelism,
                    brake=session.brake,
                    emit=emit,
                    into=done,
                )

    if changes:
        session.interruption.run(write)


def _complete(done: engine.Application, changes: Sequence[Change]) -> engine.Application:
    """Give every change an outcome, those too that the work never came to."""
    finished = {outcome.ref for outcome in done.outcomes}
    fault = Fault("not_attempted", "not attempted: the apply ended before it")
    done.outcomes += [
        Outcome(change.ref, OutcomeStatus.NOT_ATTEMPTED, fault) for change in changes if change.ref not in finished
    ]
    return done


def _record(report: Report, session: Session, done: engine.Application) -> None:
    """Fill in the document's outcomes and calls, and note the codes that follow from them."""
    read_before = report.document().requests.reads
    report.parts["outcomes"] = tuple(map(outcome_part, done.outcomes))
    report.parts["learned"] = done.learned
    report.parts["requests"] = Requests(
        reads=read_before + sum(outcome.reads for outcome in done.outcomes),
        writes=sum(outcome.writes for outcome in done.outcomes),
    )
    for refusal in done.refusals:
        report.fail(refusal)
    for outcome in done.outcomes:
        report.note(_code(outcome, session))
    session.interruption.note(report)


def _code(outcome: Outcome, session: Session) -> ExitCode:
    codes = {
        OutcomeStatus.FAILED: ExitCode.INCOMPLETE,
        OutcomeStatus.BLOCKED: ExitCode.INCOMPLETE,
        OutcomeStatus.STALE: ExitCode.STALE,
        OutcomeStatus.MISSING: ExitCode.INCOMPLETE if session.target.missing == "error" else ExitCode.DONE,
    }
    return codes.get(outcome.status, ExitCode.DONE)
