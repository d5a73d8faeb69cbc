"""What `plan` and `apply` have in common: observing the selected resources, and what that means for the run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from reconciler.cli.output import notice
from reconciler.compare import Action
from reconciler.document import plan_parts
from reconciler.engine import Observation, observe
from reconciler.errors import ExitCode, Problem
from reconciler.model import Missing
from reconciler.plan import Plan, make_plan
from reconciler.words import plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from reconciler.cli.report import Report
    from reconciler.cli.session import Session
    from reconciler.compare import Change
    from reconciler.errors import ReconcilerError

RUN_WIDE = frozenset({"unauthorized", "forbidden", "unserved", "not_attempted"})
"""Faults that are told once for the run; naming each resource that they hit would bury the reason."""


@dataclass(frozen=True, slots=True)
class Made:
    """A plan, and the observation that it was made from."""

    plan: Plan
    observation: Observation


def observe_and_plan(session: Session, report: Report) -> Made:
    """Read every selected resource and make the plan; its parts go into the report's document."""
    options = session.options
    refs = [desired.ref for desired in session.selected]

    async def look() -> Observation:
        async with session.gateway(read_only=True) as reader:
            with session.progress(len(refs), "Reading") as emit:
                return await observe(reader, refs, parallelism=session.parallelism, brake=session.brake, emit=emit)

    observation = session.interruption.run(look, breakable=False)
    _tell_requests(session, observation)
    plan = make_plan(session.selected, observation.readings, session.rules_of, only=options.only)
    report.parts |= plan_parts(plan, observation.reads, keeps=options.show_all)
    return Made(plan, observation)


_REQUESTS_TOLD = 20
"""Request ids of missing resources that are told; `--verbose` logs every request."""


def _tell_requests(session: Session, observation: Observation) -> None:
    """Tell on standard error by which requests ids were found missing; the document has the same bytes each time."""
    asked = [
        f"{ref}: missing (request {reading.fault.request_id})"
        for ref, reading in observation.readings.items()
        if isinstance(reading, Missing) and reading.fault.request_id
    ]
    for line in sorted(asked)[:_REQUESTS_TOLD]:
        notice(plain(line), session.options)
    if len(asked) > _REQUESTS_TOLD:
        notice(f"and {len(asked) - _REQUESTS_TOLD} more missing; --verbose logs every request", session.options)


def judge_run(
    session: Session, report: Report, changes: Sequence[Change], refusals: Iterable[ReconcilerError] = ()
) -> None:
    """Add to the report what went wrong while reading: refusals, failures, missing ids, an interruption."""
    for refusal in refusals:
        report.fail(refusal)
    failed = _problems(changes, Action.FAILED)
    if failed:
        report.note(ExitCode.ERROR, *failed)
    missing = _problems(changes, Action.MISSING)
    if missing and session.target.missing == "error":
        report.note(ExitCode.ERROR, *missing)
    session.interruption.note(report)


def _problems(changes: Iterable[Change], action: Action) -> list[Problem]:
    return [
        Problem(change.fault.code, f"{change.ref}: {change.fault}", change.desired.location)
        for change in changes
        if change.action is action and change.fault is not None and change.fault.code not in RUN_WIDE
    ]
