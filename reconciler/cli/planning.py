"""What `plan` and `apply` have in common: observing the selected resources, and what that means for the run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from reconciler.cli.ahead import look_while_parsing
from reconciler.cli.forecast import Calls, check_requests, forecast
from reconciler.cli.memory import NO_BASE, Memory, begin_to_remember, remember_declared
from reconciler.cli.output import notice
from reconciler.cli.session import declared, find_manifests, may_read_ahead
from reconciler.compare import Action
from reconciler.document import Requests, plan_parts
from reconciler.engine import Observation, observe
from reconciler.errors import ExitCode, Problem, WrongUsage
from reconciler.model import NOTHING_APPLIED, Missing, Observed
from reconciler.plan import Plan, make_plan, released_desire
from reconciler.words import plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from reconciler.cli.options import Options
    from reconciler.cli.report import Report
    from reconciler.cli.session import Session
    from reconciler.compare import Change
    from reconciler.errors import ReconcilerError
    from reconciler.model import Desired, Reading, Ref

RUN_WIDE = frozenset({"unauthorized", "forbidden", "unserved", "out_of_quota", "no_token", "not_attempted"})
"""Faults that are told once for the run; naming each resource that they hit would bury the reason."""


@dataclass(frozen=True, slots=True)
class Made:
    """A plan, the observation that it was made from, and what was known of the past."""

    plan: Plan
    observation: Observation
    memory: Memory


def observe_and_plan(session: Session, report: Report, *, recording: bool = False) -> Made:
    """Read every selected resource and make the plan; its parts go into the report's document.

    `recording`: an apply is to follow, which will add to the ledger.
    """
    options = session.options
    _check_combination(session)

    known, observation = _observed(session, report, recording=recording)
    memory, wanted = known.memory, known.wanted
    if not options.offline:
        memory.take_in(observation.readings, session.rules_of, [one.ref for one in wanted])
    released = {} if options.prune else memory.released
    bases = {one.ref: base for one in wanted if (base := memory.base(one.ref)) is not None}
    plan = make_plan(wanted, observation.readings, session.rules_of, bases=bases, only=options.only, released=released)
    report.parts |= plan_parts(plan, observation.reads, keeps=options.show_all)
    report.parts["offline"] = options.offline
    if options.mark_since is not None:
        from reconciler.cli.marking import mark

        mark(session, report, options.mark_since)
    if options.blame and session.repository is not None:
        from reconciler.cli.provenance import with_blame

        report.parts["changes"] = with_blame(report.parts["changes"], session.repository, session.settings.root)
    return Made(plan, observation, memory)


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known before anything is decided: the past, what is asked for, and all that is to be read for it."""

    memory: Memory
    wanted: Sequence[Desired]
    refs: Sequence[Ref]


def _observed(session: Session, report: Report, *, recording: bool) -> tuple[_Known, Observation]:
    """Return what is known, once all manifests are, and what is there."""
    if may_read_ahead(session):
        return _observed_ahead(session, report, recording=recording)
    session.take(declared(session, report))
    known = _known(session, report, begin_to_remember(session, report, recording=recording), recording=recording)
    return known, _assumed(known) if session.options.offline else look(session, known.refs)


def _observed_ahead(session: Session, report: Report, *, recording: bool) -> tuple[_Known, Observation]:
    """Do the same with reading and parsing at the same time."""
    found = find_manifests(session.settings, session.options)
    memory = begin_to_remember(session, report, recording=recording)
    observation, known = Observation(), list[_Known]()

    def know() -> Sequence[Ref]:
        known.append(_known(session, report, memory, recording=recording))
        return known[0].refs

    try:
        look_while_parsing(session, found, know, observation)
    finally:
        report.parts["requests"] = Requests(reads=observation.reads)  # also where there is going to be no plan
    _tell_requests(session, observation)
    return known[0], observation


def _known(session: Session, report: Report, memory: Memory, *, recording: bool) -> _Known:
    """Return what is known now that the manifests are; the memory has begun."""
    remember_declared(memory, session, report, recording=recording)
    wanted = _wanted(session, memory)
    refs = [one.ref for one in wanted]
    return _Known(memory, wanted, [*refs, *memory.unaccounted(refs, whole=session.whole)])


def look(session: Session, refs: Sequence[Ref]) -> Observation:
    """Read resources, as many at a time as allowed. Raises `GuardRefused` where `--max-requests` allows fewer."""
    calls = Calls(len(refs))
    check_requests(session, calls)
    if session.target.rate.reads_per_minute:
        notice(f"Forecast: {forecast(session, calls)}.", session.options)
    observation = Observation()

    async def observing() -> Observation:
        async with session.gateway(read_only=True) as reader:
            with session.progress(len(refs), "Reading") as emit:
                return await observe(
                    reader, refs, parallelism=session.parallelism, brake=session.brake, emit=emit, into=observation
                )

    session.interruption.run(observing, so_far=observation)
    _tell_requests(session, observation)
    return observation


def check_prune(options: Options) -> None:
    """Raise `WrongUsage` where --prune is to be seen by a part of what is declared."""
    if options.prune and (options.paths or options.select or options.changed_since):
        raise WrongUsage("--prune looks at everything: leave out PATH, --select and --changed-since")


def _check_combination(session: Session) -> None:
    options = session.options
    check_prune(options)
    if options.offline and options.base == NO_BASE:
        raise WrongUsage("--offline needs a base to compare with: --base REV")


def _wanted(session: Session, memory: Memory) -> Sequence[Desired]:
    """Return what is asked for: the selected resources, and with `--prune` nothing of those that are released."""
    if not session.options.prune:
        return session.selected
    return [*session.selected, *(released_desire(ref, base) for ref, base in memory.released.items())]


def _assumed(known: _Known) -> Observation:
    """Return what would be read if everything were as the base declares it."""
    memory = known.memory
    if memory.part.revision is None:
        raise WrongUsage("--offline needs a base to compare with: --base REV, or a ledger")
    readings: dict[Ref, Reading] = {}
    for one in known.wanted:
        base = memory.base(one.ref) or NOTHING_APPLIED
        readings[one.ref] = Observed({key: value for key, value in base.metadata.items() if value is not None})
    return Observation(readings)


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
    session: Session,
    report: Report,
    changes: Sequence[Change],
    refusals: Iterable[ReconcilerError] = (),
    *,
    outcomes_follow: bool = False,
) -> None:
    """Add to the report what went wrong while reading: refusals, failures, missing ids, an interruption.

    `outcomes_follow`: each failed or missing resource will have an outcome with a code of its own.
    """
    code = ExitCode.DONE if outcomes_follow else ExitCode.ERROR
    for refusal in refusals:
        report.fail(refusal)
    failed = _problems(changes, Action.FAILED)
    if failed:
        report.note(code, *failed)
    missing = _problems(changes, Action.MISSING)
    if missing and session.target.missing == "error":
        report.note(code, *missing)
    session.interruption.note(report)


def _problems(changes: Iterable[Change], action: Action) -> list[Problem]:
    return [
        Problem(change.fault.code, f"{change.ref}: {change.fault}", change.desired.location)
        for change in changes
        if change.action is action and change.fault is not None and change.fault.code not in RUN_WIDE
    ]
