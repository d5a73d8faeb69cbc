"""Carry out changes: read again, write, verify.

One change goes through these steps, each of which can end it (`_Stop`)::

    turn      wait while another write is about to teach how the server treats updates
    slot      wait for a place in the pace of writes, so that nothing lies between the read and the write
    read      stale if a key that was decided on has moved; foreign keys are taken as they are now
    compare   anew, under what is known of the dialect by now
    send      the calls of the dialect; an answer may teach, or show lost pairs and halt the kind
    verify    nothing may be left to write; if the answer taught something, compare and send again
    again     a call that failed in passing is repeated only after another slot and another read
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

from reconciler.calls import calls, learn, learn_from_rejection, lost_pairs, shows, verify
from reconciler.compare import Action, Change, compare, fingerprint, owned, usable
from reconciler.dialects import AUTO, MERGE, PROBE_NULL
from reconciler.engine.brake import for_each
from reconciler.engine.lessons import Lessons
from reconciler.engine.reading import Reader, missing_after_all
from reconciler.errors import ApiError, Fault, ReconcilerError, TargetRefused, internal_fault
from reconciler.events import ChangeDone, Outcome, OutcomeStatus, silence
from reconciler.model import EMPTY, Metadata, Missing, Observed, Ref, Unread, same

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from reconciler.calls import Call
    from reconciler.dialects import Dialect
    from reconciler.engine.brake import Brake
    from reconciler.engine.lessons import Lesson
    from reconciler.events import Emit
    from reconciler.model import Json
    from reconciler.plan import RulesOf

_ROUNDS = 3
"""Calls to learn with: the whole map, then null, then (where neither removes) a blank or nothing more."""

_NOT_ALLOWED = 405


class Writer(Reader, Protocol):
    """What applying needs beside."""

    def write_slot(self) -> float:
        """Take the next place in the pace of writes; returns the seconds until it begins."""
        ...

    async def modify(self, ref: Ref, entries: Mapping[str, Json], attempt: int) -> Observed:
        """Send one modify call; a map of `None` is an answer without usable metadata.

        `attempt` counts from 0. Raises `ApiError`; its fault's `retry_in` says whether another attempt may help.
        """
        ...


@dataclass(slots=True)
class Application:
    """What became of a plan: an outcome for every change but `keep`, sorted, and what ended the run early.

    It fills while the work goes on, so that it tells what was done even where the work was broken off.
    """

    outcomes: list[Outcome] = field(default_factory=list)
    refusals: list[ReconcilerError] = field(default_factory=list)
    learned: dict[str, str] = field(default_factory=dict)


async def apply(
    writer: Writer,
    changes: Sequence[Change],
    rules_of: RulesOf,
    *,
    parallelism: int,
    brake: Brake,
    emit: Emit = silence,
    into: Application | None = None,
) -> Application:
    """Carry out the changes; returns `into` (or a new one), which is complete even if this is cancelled."""
    done = into if into is not None else Application()
    lessons = Lessons(rules_of, emit)
    done.learned = lessons.learned
    begun: dict[Ref, _Work] = {}

    async def carry_out(change: Change) -> None:
        begun[change.ref] = work = _Work(writer, change, lessons, brake, done.refusals)
        outcome = await work.run()
        done.outcomes.append(outcome)
        emit(ChangeDone(outcome))

    due = [change for change in changes if change.action is not Action.KEEP]
    try:
        await for_each(due, carry_out, min(parallelism, len(due)), brake)
    finally:
        finished = {outcome.ref for outcome in done.outcomes}
        done.outcomes += [
            begun[change.ref].broken_off() if change.ref in begun else _unbegun(change, brake)
            for change in due
            if change.ref not in finished
        ]
        done.outcomes.sort(key=lambda outcome: outcome.ref)
    return done


def _unbegun(change: Change, brake: Brake) -> Outcome:
    return Outcome(change.ref, OutcomeStatus.NOT_ATTEMPTED, brake.not_attempted())


class _Stop(Exception):
    """Ends the work on one change with an outcome."""

    def __init__(self, status: OutcomeStatus, fault: Fault | None = None, lost: Metadata = EMPTY) -> None:
        self.status = status
        self.fault = fault
        self.lost = lost


@dataclass(frozen=True, slots=True)
class _Sent:
    """What sending showed: the map in the last answer, and what the answers taught.

    Or the call that failed in passing, with the map from before it and the seconds to wait before another attempt.
    """

    observed: Metadata
    taught: Dialect
    failed: Call | None = None
    retry_in: float = 0.0


class _Work:
    """The work on one change: counts its calls, and ends with its outcome."""

    def __init__(
        self, writer: Writer, change: Change, lessons: Lessons, brake: Brake, refusals: list[ReconcilerError]
    ) -> None:
        self._writer = writer
        self._change = change
        self._lessons = lessons
        self._brake = brake
        self._refusals = refusals
        self._reads = 0
        self._writes = 0
        self._has_slot = False

    async def run(self) -> Outcome:
        """Return what became of the change; no error of one resource leaves here."""
        try:
            return self._outcome(await self._attempt())
        except _Stop as stop:
            return self._outcome(stop.status, stop.fault, stop.lost)
        except TargetRefused as refusal:
            return self._refused(refusal)
        except ApiError as error:
            missing = error.fault.code == "missing"
            return self._outcome(OutcomeStatus.MISSING if missing else OutcomeStatus.FAILED, error.fault)
        except Exception as error:  # noqa: BLE001 - nothing about one resource may cost the others' outcomes
            return self._outcome(OutcomeStatus.FAILED, internal_fault(error))

    def broken_off(self) -> Outcome:
        """Return the outcome of work that was cancelled."""
        if not self._writes:
            return self._outcome(OutcomeStatus.NOT_ATTEMPTED, self._brake.not_attempted())
        fault = Fault("in_flight", "ended while a write was in flight: it may have happened; plan again to see")
        return self._outcome(OutcomeStatus.FAILED, fault)

    def _outcome(self, status: OutcomeStatus, fault: Fault | None = None, lost: Metadata = EMPTY) -> Outcome:
        if status is OutcomeStatus.BLOCKED:
            fault = _blocked_fault(self._change)
        return Outcome(self._change.ref, status, fault, self._reads, self._writes, lost)

    def _refused(self, refusal: TargetRefused) -> Outcome:
        """Stop the run, or only this kind's writes where only these are not served; one diagnosis is enough."""
        fault, ref = refusal.fault, self._change.ref
        if fault.code == "unserved" and fault.status != _NOT_ALLOWED:
            # The object was read a moment ago, so the path is served: the object is gone.
            return self._outcome(OutcomeStatus.MISSING, missing_after_all(ref, fault).fault)
        lesson = self._lessons.of(ref.kind)
        if not self._brake.pulled and lesson.halted is None:
            self._refusals.append(refusal)
        if fault.code == "unserved":
            lesson.halted = lesson.halted or Fault("not_attempted", f"not attempted: {fault.message}")
        else:
            self._brake.pull(fault.message)
        return self._outcome(OutcomeStatus.FAILED, fault)

    async def _attempt(self) -> OutcomeStatus:
        change = self._change
        if change.action is not Action.UPDATE:
            raise _Stop(*_unwritten(change))
        if not change.writable:
            return OutcomeStatus.BLOCKED
        async with self._lessons.turn(change) as lesson:
            await self._take_slot(lesson)
            before = await self._read_before_writing()
            if fingerprint(change.intent, before.metadata or EMPTY, change.rules) != change.fingerprint:
                raise _Stop(OutcomeStatus.STALE, _STALE)
            return await self._write(lesson, before)

    async def _write(self, lesson: Lesson, observed: Observed) -> OutcomeStatus:
        """Write until the answer is as planned: again where one taught something, or a call failed in passing."""
        dialect, rounds, attempt = lesson.rules.dialect, 0, 0
        while True:
            rules = replace(lesson.rules, dialect=dialect)
            change = compare(self._change.desired, self._change.intent, observed, None, rules)
            if change.action is Action.FAILED:
                raise _Stop(OutcomeStatus.FAILED, change.fault)
            self._check_approved(change)
            if not change.writable:
                return self._finished(change)
            sent = await self._send(lesson, change, attempt)
            if sent.failed is not None:
                attempt += 1
                observed = await self._look_again(lesson, change, sent)
                continue
            observed = Observed(sent.observed)
            fault = verify(change, sent.observed)
            if fault is None:
                return self._finished(change)
            rounds += 1
            following = _following(change, sent.taught, lesson)
            if following is dialect or rounds == _ROUNDS:
                raise _Stop(OutcomeStatus.FAILED, fault)
            dialect = following

    def _finished(self, change: Change) -> OutcomeStatus:
        self._change = change
        return OutcomeStatus.BLOCKED if change.blocked else OutcomeStatus.APPLIED

    def _check_approved(self, change: Change) -> None:
        """Stop before a field is written that the plan showed as blocked."""
        approved = {field.key for field in self._change.writable}
        extra = [field.key for field in change.writable if field.key not in approved]
        if extra:
            fault = Fault("not_planned", f"the plan did not have this written: {', '.join(extra)}; plan again")
            raise _Stop(OutcomeStatus.FAILED, fault)

    async def _look_again(self, lesson: Lesson, change: Change, sent: _Sent) -> Observed:
        """Wait, and read what a call that failed in passing left behind: it may have been carried out all the same."""
        await self._brake.sleep(sent.retry_in)
        await self._take_slot(lesson)
        again = await self._read_before_writing()
        now = again.metadata or EMPTY
        if fingerprint(change.intent, now, change.rules) == fingerprint(change.intent, sent.observed, change.rules):
            return again
        lost = lost_pairs(sent.failed, sent.observed, now) if sent.failed else EMPTY
        if lost:
            raise _Stop(OutcomeStatus.FAILED, _halt(lesson, lost), lost)
        if _moved_by_others(change, sent.observed, now):
            raise _Stop(OutcomeStatus.STALE, _STALE)
        return again

    async def _send(self, lesson: Lesson, change: Change, attempt: int) -> _Sent:
        """Send the calls of a change. Each answer may teach, or halt the kind."""
        asked, observed = change.rules.dialect, change.observed or EMPTY
        taught = asked
        for call in calls(change):
            if not self._has_slot:
                await self._take_slot(lesson)
            try:
                answer = await self._modify(asked, call, observed, attempt)
            except ApiError as error:
                taught = learn_from_rejection(asked, call, error.fault)
                self._lessons.take(change.ref.kind, asked, taught)
                if taught is not asked:
                    return _Sent(observed, taught)
                if error.fault.retry_in is None:
                    raise
                return _Sent(observed, taught, call, error.fault.retry_in)
            lost = lost_pairs(call, observed, answer)
            if lost:
                raise _Stop(OutcomeStatus.FAILED, _halt(lesson, lost), lost)
            lesson.proven = lesson.proven or bool(observed.keys() - call.entries.keys())
            observed = answer
            taught = learn(asked, call, answer)
            self._lessons.take(change.ref.kind, asked, taught)
        return _Sent(observed, taught)

    async def _modify(self, asked: Dialect, call: Call, before: Metadata, attempt: int) -> Metadata:
        """Send one call; returns the map in its answer, or the one that a read shows where the answer does not tell."""
        self._has_slot = False
        self._writes += 1
        answer = await self._writer.modify(self._change.ref, call.entries, attempt)
        untold = answer.metadata is None or not (asked.settled or shows(call, before, answer.metadata))
        if untold:
            answer = await self._read()
        metadata = usable(answer, asked)
        if metadata is None:
            fault = Fault("no_metadata", "neither the answer nor a read after it has any metadata")
            raise _Stop(OutcomeStatus.FAILED, fault)
        return metadata

    async def _read_before_writing(self) -> Observed:
        """Read; given up where the brake is pulled, since nothing is in flight."""
        reading = asyncio.ensure_future(self._read())
        with self._brake.tells(reading.cancel):
            await asyncio.wait([reading])
        if reading.cancelled():
            raise _Stop(OutcomeStatus.NOT_ATTEMPTED, self._brake.not_attempted())
        return reading.result()

    async def _read(self) -> Observed:
        self._reads += 1
        reading = await self._writer.fetch(self._change.ref)
        if isinstance(reading, Unread) and reading.fault.code == "unserved":
            reading = missing_after_all(self._change.ref, reading.fault)
        if isinstance(reading, Missing):
            raise _Stop(OutcomeStatus.MISSING, reading.fault)
        if isinstance(reading, Unread):
            raise _Stop(OutcomeStatus.FAILED, reading.fault)
        return reading

    async def _take_slot(self, lesson: Lesson) -> None:
        """Wait for a place in the pace of writes; stop if writes have come to an end meanwhile."""
        self._check_brakes(lesson)
        await self._brake.sleep(self._writer.write_slot())
        self._check_brakes(lesson)
        self._has_slot = True

    def _check_brakes(self, lesson: Lesson) -> None:
        fault = lesson.halted or (self._brake.not_attempted() if self._brake.pulled else None)
        if fault is not None:
            raise _Stop(OutcomeStatus.NOT_ATTEMPTED, fault)


_STALE = Fault("stale", "it moved since it was planned; nothing was written to it")


def _following(change: Change, taught: Dialect, lesson: Lesson) -> Dialect:
    """Return the dialect to go on in after an answer that was not as planned; the same one if there is none."""
    asked = change.rules.dialect
    if taught is not asked:
        return taught
    if not change.planned and not asked.settled:
        # Some servers ignore an empty map, so its answer taught nothing; for this one resource, ask in words.
        return PROBE_NULL if asked is AUTO else MERGE
    return lesson.rules.dialect


def _moved_by_others(change: Change, before: Metadata, now: Metadata) -> bool:
    """Tell whether a key of ours has neither the value from before nor the one that we were writing."""
    maps = [owned(change.intent, pairs, change.rules) for pairs in (before, now, change.planned or EMPTY)]
    was, found, planned = maps
    return any(
        not same(found.get(key), was.get(key)) and not same(found.get(key), planned.get(key))
        for key in {*was, *found, *planned}
    )


def _unwritten(change: Change) -> tuple[OutcomeStatus, Fault | None]:
    """Return the outcome of a change that there is nothing to write for."""
    if change.action is Action.MISSING:
        return OutcomeStatus.MISSING, change.fault
    attempted = change.fault is None or change.fault.code != "not_attempted"
    return (OutcomeStatus.FAILED if attempted else OutcomeStatus.NOT_ATTEMPTED), change.fault


def _blocked_fault(change: Change) -> Fault | None:
    """Return one fault for the blocked fields of a change: the first one's code, everybody's keys."""
    reasons = [field.blocked for field in change.blocked if field.blocked is not None]
    keys = ", ".join(field.key for field in change.blocked)
    return Fault(reasons[0].code, f"{keys}: {reasons[0].message}") if reasons else None


def _halt(lesson: Lesson, lost: Metadata) -> Fault:
    """Let no further write of this kind start: each might cost somebody's pairs."""
    message = f"the server dropped pairs that were not sent ({', '.join(lost)}): it replaces where merging was expected"
    if lesson.halted is None:
        lesson.halted = Fault("halted", f"not attempted: {message}")
    return Fault("lost_pairs", message)
