"""`reconciler drift`: what changed outside git since the last apply."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import click

from reconciler.cli.options import OUTPUT, READING, WHERE, Options, options

if TYPE_CHECKING:
    from typing import Any

    from reconciler.cli.planning import Made
    from reconciler.cli.report import Report
    from reconciler.cli.session import Session
    from reconciler.compare import Change
    from reconciler.drift import Drift


@click.command()
@options("paths", *WHERE, *READING, "base", "now", "all", "blame", *OUTPUT)
def drift(**given: Any) -> int:
    """Tell what somebody changed outside git since the last apply. Exit code 2 if anything is found.

    Changes of git that wait for an apply are no drift. What a manifest names under `accept`, with just the value that
    is found, is listed and raises no alarm, until its day is over. A value that git or the ledger knew before is told
    with its commit.

    \b
    Signs: + a key appeared  ~ a value changed  - a key vanished

    \b
    Examples:
      reconciler drift
      reconciler drift --select 'thread/*' --format json --out json=drift.json
      reconciler drift --now 2026-12-31 --all --blame
    """
    from reconciler.cli.report import reported

    chosen = Options(**given)
    return reported("drift", chosen, lambda report: _drift(report, chosen))


def _drift(report: Report, chosen: Options) -> None:
    from reconciler.cli.planning import observe_and_plan
    from reconciler.cli.session import When, open_session
    from reconciler.errors import ExitCode

    session = open_session(chosen, report, manifests=When.LATER)
    made = observe_and_plan(session, report)
    found = find_drift(report, session, made)
    show_drift(report, session, made, found)
    if found.alarming:
        report.note(ExitCode.DIFFERENCES)


def find_drift(report: Report, session: Session, made: Made) -> Drift:
    """Return what moved outside git, and tell the report what went wrong while looking."""
    today = session.options.now or dt.datetime.now().astimezone().date()
    report.parts["now"] = today.isoformat()
    found = moved_outside(made, today)
    judge_drift(report, session, made, found)
    return found


def moved_outside(made: Made, today: dt.date) -> Drift:
    """Return what moved outside git, by a plan and the past that it was made with."""
    from reconciler.drift import find

    bases = made.memory.bases
    return find(made.plan.changes, lambda ref: ref in bases and bases[ref].verified, today)


def judge_drift(report: Report, session: Session, made: Made, found: Drift) -> None:
    """Tell the report what went wrong while looking: what was not seen, and ids that never were there.

    Whoever looks for drift judges by this: what has gone since the last apply is found, it is no failure to look.
    """
    from reconciler.cli.planning import judge_run
    from reconciler.compare import Action

    for (ref, key), entry in found.expired.items():
        report.remark("expired", f"{ref}: {key} was accepted until {entry.until}, which is over")
    failures = []
    for change in found.changes:
        if change.action is Action.FAILED and _only_warned_of(change, session):
            report.remark("missing", f"{change.ref}: {change.fault}")
        elif change.action is Action.FAILED:
            failures.append(change)
    judge_run(session, report, failures, made.observation.refusals)


def _only_warned_of(change: Change, session: Session) -> bool:
    """Tell whether a failure is an id that never was there, on a target that makes little of it."""
    missing = change.fault is not None and change.fault.code == "missing"
    return missing and session.target.missing == "warn"


def show_drift(report: Report, session: Session, made: Made, found: Drift) -> None:
    """Put the findings into the document, with what is known of where their values came from."""
    from reconciler.cli.origins import with_origins
    from reconciler.cli.provenance import with_blame
    from reconciler.document import Requests, plan_parts, with_accepted
    from reconciler.plan import Plan

    keeps = session.options.show_all
    parts = plan_parts(Plan(found.changes, released=made.plan.released), made.observation.reads, keeps=keeps)
    changes = with_accepted(parts["changes"], found.accepted)
    if session.repository is not None:
        changes = with_origins(changes, session, made)
        if session.options.blame:
            changes = with_blame(changes, session.repository, session.settings.root)
    report.parts |= {**parts, "changes": changes, "requests": Requests(reads=made.observation.reads)}
