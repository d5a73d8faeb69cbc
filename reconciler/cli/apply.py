"""`reconciler apply`: plan (or take a saved plan), ask, write, verify."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import click

from reconciler.cli.options import GUARDS, OUTPUT, READING, WHERE, Options, options
from reconciler.cli.report import Report, reported

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from typing import Any

    from reconciler.cli.session import Session
    from reconciler.compare import Change
    from reconciler.engine import Application
    from reconciler.errors import ExitCode
    from reconciler.events import Outcome
    from reconciler.guard import Guards, Scale


@click.command()
@options("paths", *WHERE, *READING, "only", "all", *GUARDS, "yes", *OUTPUT)
def apply(**given: Any) -> int:
    r"""Make the fewest calls that bring the metadata to what the manifests declare.

    Shows the plan and asks. Just before each write the resource is read again, and left alone if a key that was decided
    on has moved; after it the answer is compared. PATH may be one plan file that `plan --out json=FILE` wrote:
    then exactly that is carried out.

    \b
    Example:
      reconciler apply
      reconciler apply --yes --only add,replace
      reconciler apply plan.json --yes
    """
    chosen = Options(**given)
    return reported("apply", chosen, lambda report: _apply(report, chosen))


@dataclass(frozen=True, slots=True)
class _Proposal:
    """What is to be carried out, and how much was looked at to find it."""

    session: Session
    changes: Sequence[Change]
    scale: Scale
    guarded: bool = True


def _apply(report: Report, chosen: Options) -> None:
    from reconciler.errors import WrongUsage

    if not chosen.yes and not sys.stdin.isatty():
        raise WrongUsage("there is no terminal to ask on; say --yes to apply without asking")
    saved = _plan_file(chosen)
    proposal = _saved_proposal(report, chosen, saved) if saved else _fresh_proposal(report, chosen)
    _carry_out(report, proposal)


def _plan_file(chosen: Options) -> Path | None:
    """Return the plan file, if the one PATH given is a file and no manifest."""
    paths = [chosen.at(path) for path in chosen.paths]
    if len(paths) == 1 and paths[0].is_file() and paths[0].suffix not in (".yaml", ".yml"):
        return paths[0]
    return None


def _fresh_proposal(report: Report, chosen: Options) -> _Proposal:
    from reconciler.cli.planning import judge_run, observe_and_plan
    from reconciler.cli.session import open_session
    from reconciler.errors import GuardRefused
    from reconciler.guard import scale_of

    session = open_session(chosen, report)
    if not session.declared:
        raise GuardRefused("the manifests declare nothing at all; that is more likely a mistake than a wish")
    made = observe_and_plan(session, report)
    judge_run(session, report, made)
    report.codes = [code for code in report.codes if not _told_by_outcomes(code)]
    return _Proposal(session, made.plan.changes, scale_of(made.plan.changes))


def _told_by_outcomes(code: ExitCode) -> bool:
    """Tell whether a code of the planning is superseded: an apply tells of missing and failed ones by its outcomes."""
    from reconciler.errors import ExitCode

    return code is ExitCode.ERROR


def _saved_proposal(report: Report, chosen: Options, file: Path) -> _Proposal:
    from reconciler import planfile
    from reconciler.cli.session import open_session
    from reconciler.cli.show import read_plan
    from reconciler.document import Requests

    _refuse_restrictions(chosen)
    document = read_plan(file, chosen)
    session = open_session(replace(chosen, paths=()), report, manifests=False)
    name = chosen.paths[0]
    planfile.check_target(document, report.document(), name)
    changes = planfile.changes_of(document, session.rules_of, name)
    report.parts |= {
        part: getattr(document, part) for part in ("base", "summary", "looked_at", "changes", "left", "released")
    }
    report.parts["requests"] = Requests(writes=document.requests.writes)
    return _Proposal(session, changes, planfile.scale(document))


def _refuse_restrictions(chosen: Options) -> None:
    from reconciler.errors import WrongUsage

    if chosen.select or chosen.only:
        raise WrongUsage("a saved plan is carried out as it is; --select and --only belong to `plan`")


def _carry_out(report: Report, proposal: _Proposal) -> None:
    from reconciler.compare import Action

    session = proposal.session
    _show_plan(report, session)
    report.parts["outcomes"] = ()
    changes = [change for change in proposal.changes if change.action is not Action.KEEP]
    try:
        if any(change.writable for change in changes if change.action is Action.UPDATE) and not session.brake.reason:
            _check_guards(proposal)
            _ask(report, session)
    except BaseException:
        report.parts["outcomes"] = _not_attempted(changes)
        raise
    _record(report, session, _write(session, changes))


def _show_plan(report: Report, session: Session) -> None:
    """Show the plan as text before the question: on standard output, or beside another format on standard error."""
    from reconciler.cli.output import say
    from reconciler.render import terminal

    text = session.options.format == "text"
    if session.options.quiet or (not text and session.options.yes):
        return
    say(terminal.plan(report.document()), session.options, err=not text)
    if text:
        report.told = len(report.problems)


def _check_guards(proposal: _Proposal) -> None:
    from reconciler.errors import GuardRefused
    from reconciler.guard import refusals

    reasons = refusals(proposal.changes, proposal.scale, _guards(proposal.session))
    if reasons:
        raise GuardRefused("; ".join(reasons))


def _guards(session: Session) -> Guards:
    options, guards = session.options, session.settings.guards
    if options.max_changed is not None:
        guards = replace(guards, max_changed=options.max_changed)
    if options.max_removed is not None:
        guards = replace(guards, max_removed=options.max_removed)
    return guards


def _ask(report: Report, session: Session) -> None:
    from reconciler.errors import ConsentRefused

    if session.options.yes:
        return
    summary, writes = report.document().summary, report.document().requests.writes
    removals = f", {summary.pairs.remove} removals among them" if summary.pairs.remove else ""
    click.echo(f"Send {writes} modify calls to target {session.target.name}{removals}? Type yes: ", err=True, nl=False)
    if sys.stdin.readline().strip().lower() not in ("yes", "y"):
        raise ConsentRefused("not confirmed; nothing was written")


def _not_attempted(changes: Sequence[Change]) -> tuple[Any, ...]:
    from reconciler.document import outcome_part
    from reconciler.errors import Fault
    from reconciler.events import Outcome, Result

    fault = Fault("not_attempted", "not attempted: the apply was refused")
    return tuple(outcome_part(Outcome(change.ref, Result.NOT_ATTEMPTED, fault)) for change in changes)


def _write(session: Session, changes: Sequence[Change]) -> Application:
    from reconciler import engine

    async def write() -> Application:
        async with session.gateway(read_only=False) as writer:
            with session.progress(len(changes), "Applying") as emit:
                return await engine.apply(
                    writer,
                    changes,
                    session.rules_of,
                    parallelism=session.parallelism,
                    brake=session.brake,
                    emit=emit,
                )

    return session.run(write) if changes else engine.Application()


def _record(report: Report, session: Session, done: Application) -> None:
    """Fill in the document's outcomes and calls, and note the codes that follow from them."""
    from reconciler.document import Requests, outcome_part

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
    if session.ended_by is not None and session.ended_by not in report.codes:
        session.note_interruption(report)


def _code(outcome: Outcome, session: Session) -> ExitCode:
    from reconciler.errors import ExitCode
    from reconciler.events import Result

    codes = {
        Result.FAILED: ExitCode.INCOMPLETE,
        Result.BLOCKED: ExitCode.INCOMPLETE,
        Result.STALE: ExitCode.STALE,
        Result.MISSING: ExitCode.INCOMPLETE if session.target.missing == "error" else ExitCode.DONE,
    }
    return codes.get(outcome.result, ExitCode.DONE)
