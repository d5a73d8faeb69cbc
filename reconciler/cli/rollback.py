"""`reconciler rollback`: turn one apply back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from reconciler.cli.options import GUARDS, OUTPUT, WHERE, Options, completing, options

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import Any

    from reconciler.cli.memory import Memory
    from reconciler.cli.report import Report
    from reconciler.cli.session import Session
    from reconciler.compare import Change
    from reconciler.guard import Scale
    from reconciler.ledger import Run


@click.command()
@click.argument("run", required=False, shell_complete=completing("runs"))
@options(*WHERE, "parallelism", "max_requests", "verbose", *GUARDS, "yes", *OUTPUT)
def rollback(run: str | None, **given: Any) -> int:
    """Give every field that one apply wrote the value that it had before; the last apply, unless RUN names another.

    Shows the plan and asks. A resource on which such a field has moved since is stale, and left alone. Git is ahead
    afterwards: revert the commit first, or the next apply brings it back. `reconciler history` lists the runs; the
    beginning of the id of one is enough.

    \b
    Examples:
      reconciler rollback
      reconciler rollback 20261122T141037Z-1a2b3c --yes --max-changed 100%
    """
    from reconciler.cli.report import reported

    chosen = Options(**given)
    return reported("apply", chosen, lambda report: _roll_back(report, chosen, run))


def _roll_back(report: Report, chosen: Options, name: str | None) -> None:
    from reconciler.cli.applying import Proposal, beside_a_watch, check_consent, perform, show_plan
    from reconciler.cli.memory import remember
    from reconciler.cli.planning import judge_run, look
    from reconciler.cli.recording import Book, counted
    from reconciler.cli.session import When, need_repository, open_session
    from reconciler.document import plan_parts
    from reconciler.plan import Plan
    from reconciler.remembering import restored_by, touched_by, undone

    report.parts["outcomes"] = ()
    check_consent(chosen)
    session = open_session(chosen, report, manifests=When.NONE)
    need_repository(session)
    memory = remember(session, report, recording=True)
    run = find_run(session, name)
    report.parts["undoes"] = run.id
    observation = look(session, sorted(run.touched))
    memory.take_in(observation.readings, session.rules_of)
    changes = tuple(
        undone(ref, fields, observation.readings[ref], memory.base(ref), session.rules_of(ref.kind))
        for ref, fields in sorted(run.touched.items())
    )
    report.parts |= plan_parts(Plan(changes), observation.reads, keeps=False)
    judge_run(session, report, changes, observation.refusals, outcomes_follow=True)
    book = Book(session, memory, report.parts["head"], "rollback", undoes=run.id)
    proposal = Proposal(session, changes, _scale(changes, memory), book)
    with beside_a_watch(report, session) as begin:
        show_plan(report, session)
        done = perform(report, proposal, begin)
        moved = restored_by(changes, done.outcomes, run.touched, memory.base)
        book.record(report, moved, touched_by(changes, done.outcomes, memory.base), counted(done.outcomes))


def _scale(changes: Sequence[Change], memory: Memory) -> Scale:
    """Return what the guards hold a rollback against: all that the ledger knows of, not just what the run touched."""
    from reconciler.guard import Scale, scale_of

    seen, read = scale_of(changes), {change.ref for change in changes if change.observed is not None}
    rest = [base for ref, base in memory.bases.items() if ref not in read]
    pairs = sum(1 for base in rest for value in base.metadata.values() if value is not None)
    return Scale(seen.read + len(rest), seen.pairs + pairs)


def find_run(session: Session, name: str | None) -> Run:
    """Return a recorded run: the one whose id begins with `name`, or the last that wrote anything to be undone.

    Raises `WrongUsage` where there is none, or more than one.
    """
    from reconciler.errors import WrongUsage
    from reconciler.ledger import store

    runs = [run for _, run in store.runs(session.repository, session.target.name)] if session.repository else []
    if name is None:
        last = next((run for run in _in_effect(runs) if run.kind == "apply" and run.touched), None)
        if last is None:
            raise WrongUsage(
                "the ledger has no apply that could be turned back; `reconciler history` lists what it has"
            )
        return last
    found = [run for run in runs if run.id.startswith(name)]
    if len(found) == 1:
        return found[0]
    what = "more than one run" if found else "no run"
    cut = session.repository is not None and store.shallow(session.repository, session.target.name)
    more = "; older ones were never fetched" if cut else ""
    raise WrongUsage(f"the ledger has {what} that begins with {name}; `reconciler history` lists them{more}")


def _in_effect(runs: Iterable[Run]) -> Iterator[Run]:
    """Yield the runs, newest first, that no rollback in effect has turned back, the whole of them."""
    undone = set[str]()
    for run in runs:
        if run.id in undone:
            continue
        if run.undoes is not None and run.outcomes.keys() <= {"applied"}:
            undone.add(run.undoes)
        yield run
