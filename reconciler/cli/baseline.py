"""`reconciler baseline`: take what agrees now as the base, without writing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from reconciler.cli.options import OUTPUT, READING, WHERE, Options, options

if TYPE_CHECKING:
    from typing import Any

    from reconciler.cli.report import Report


@click.command()
@options("paths", *WHERE, *READING, "base", "allow_rewind", *OUTPUT)
def baseline(**given: Any) -> int:
    """Record every field that is as the manifests declare it, as an apply would. Nothing is sent but GET.

    For a start with resources that are in order already, and after a ledger was lost: from then on drift can be
    told from what git has yet to change. What differs keeps the base that it had.

    \b
    Examples:
      reconciler baseline
      reconciler baseline --select 'thread/*' --allow-rewind
    """
    from reconciler.cli.report import reported

    chosen = Options(**given)
    return reported("plan", chosen, lambda report: _baseline(report, chosen))


def _baseline(report: Report, chosen: Options) -> None:
    from reconciler.cli.applying import remember_run, rewinding
    from reconciler.cli.output import notice
    from reconciler.cli.planning import judge_run, observe_and_plan
    from reconciler.cli.recording import Book
    from reconciler.cli.session import When, need_repository, open_session
    from reconciler.words import amount

    session = open_session(chosen, report, manifests=When.LATER)
    need_repository(session)
    made = observe_and_plan(session, report, recording=True)
    judge_run(session, report, made.plan.changes, made.observation.refusals)
    book = Book(session, made.memory, report.parts["head"], "baseline", whole=session.whole)
    rewind = rewinding(report, book)
    if rewind is not None:
        raise rewind
    remember_run(report, book, made.plan.changes, ())
    differing = sum(len(change.fields) for change in made.plan.changes)
    as_declared = report.parts["summary"].keep
    told = f"{amount(as_declared, 'resource')} {'is' if as_declared == 1 else 'are'} as declared"
    rest = (
        f"{amount(differing, 'field')} that {'differs keeps' if differing == 1 else 'differ keep'} the base from before"
    )
    notice(f"Nothing was written: {told}, and {rest}.", chosen)
