"""Carry out changes: read again, write, verify.

One change goes through these steps, each of which can end it (`_Stop`)::

    turn      wait while another write is about to teach how the server treats updates
    slot      wait for a place in the pace of writes, so that little lies between the read and the write
    read      stale if a key that was decided on has moved; foreign keys are taken as they are now
    compare   anew, under what is known of the dialect by now
    start     wait for a moment where too many are about to write; where it would be longer, back to slot and read
    send      one call; its answer may teach, or show lost pairs and halt the kind; one that shows nothing of the call
              is settled by a read
    verify    nothing may be left to write; what is left goes through slot, read, compare and send again: further
              calls of the change, what an answer taught, and calls that failed in passing

A read may lag behind writes, for kinds whose row says so, and for servers that nobody knows. What then holds:

- A read that contradicts a write which was answered with 2xx is repeated after short waits (`LOOKS`) before it is
  believed, as is one before a further call that shows less than what an answer showed before. A write whose answer was
  lost is only looked for so where reads are known to lag: elsewhere it was most likely not carried out. For kinds whose
  reads lag, a read has to show all of a call; elsewhere, the first trace of it is judged.
- The first of a kind that a whole wait did not help is the last that waits: a proxy that strips bodies would cost as
  much for every resource. Once a wait has helped, who waits lets somebody else have its place among the workers; but
  not the one for whose turn others wait: they hold the other places, and it would never get one back.
- An empty map in an answer to a write that should leave pairs is no evidence of anything: a read tells.
- After the last write of a kind whose reads lag, that one resource is read until it shows the write: what was written
  before it has had longer, so that the next plan is empty. One look for each resource would double the reads. A write
  whose own answer showed it is applied, whatever this look says.
- Where reads lag, a pair that is gone after a call does not teach `auto` anything, unless an answer showed it before.

What cannot be told: that the read just before the first write hides what somebody else wrote meanwhile. A key of ours
is then written over, a foreign one sent along under a whole map is turned back; and a foreign pair that they removed
counts as lost if it was the only one not sent and nothing has shown yet that the server merges.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

from reconciler.calls import (
    calls,
    complete,
    learn,
    learn_from_rejection,
    leaves_pairs,
    lost_pairs,
    must_show,
    shows,
    survivors,
    verify,
)
from reconciler.compare import Action, Change, compare, owned, usable
from reconciler.dialects import AUTO, MERGE, PROBE_NULL
from reconciler.engine.brake import for_each
from reconciler.engine.breaker import Breaker
from reconciler.engine.lessons import LOOKS, Lessons
from reconciler.engine.reading import Reader, missing_after_all
from reconciler.errors import ApiError, Fault, ReconcilerError, TargetRefused, internal_fault
from reconciler.events import ChangeDone, Outcome, OutcomeStatus, silence
from reconciler.model import EMPTY, Metadata, Missing, Observed, Ref, Unread, same

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from reconciler.calls import Call
    from reconciler.dialects import Dialect
    from reconciler.engine.brake import Brake
    from reconciler.engine.lessons import Lesson
    from reconciler.events import Emit
    from reconciler.model import Json
    from reconciler.plan import RulesOf

_ROUNDS = 3
"""Calls to learn with: the whole map, then null, then (where neither removes) a blank or nothing more."""

_NO_ID_AT_ALL = (405, None)
"""Statuses of a path that takes no writes; `None`: the host is known not to serve the kind, and was not asked."""


class Writer(Reader, Protocol):
    """What applying needs beside."""

    async def write_slot(self, sleep: Callable[[float], Awaitable[None]]) -> None:
        """Wait for a place in the pace of writes, by calls of `sleep` with seconds; what that raises ends it."""
        ...

    async def write_start(self, sleep: Callable[[float], Awaitable[None]]) -> bool:
        """Tell whether a write may be sent now, after a second's wait at most; else it needs another slot and read."""
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
    due = [change for change in changes if change.action is not Action.KEEP]
    width = min(parallelism, len(due))
    breaker, places = Breaker(brake, done.refusals, width), asyncio.Semaphore(width)

    async def conclude(work: _Work) -> None:
        async with places:
            outcome = await work.run()
        done.outcomes.append(outcome)
        breaker.note_outcome(outcome)
        emit(ChangeDone(outcome))

    try:
        async with asyncio.TaskGroup() as group:

            async def carry_out(change: Change) -> None:
                """Begin; return when it is done, or when others may go on while it waits."""
                begun[change.ref] = work = _Work(writer, change, lessons, brake, done.refusals, places)
                group.create_task(conclude(work)).add_done_callback(lambda _: work.aside.set())
                await work.aside.wait()

            await for_each(due, carry_out, width, brake)
        await _await_the_last(lessons, done)
    finally:
        finished = {outcome.ref for outcome in done.outcomes}
        done.outcomes += [
            begun[change.ref].broken_off() if change.ref in begun else _unbegun(change, brake)
            for change in due
            if change.ref not in finished
        ]
        done.outcomes.sort(key=lambda outcome: outcome.ref)
    return done


async def _await_the_last(lessons: Lessons, done: Application) -> None:
    """Look at the last write of each kind whose reads lag until it is seen, so that the next plan sees them all."""
    looks = [lesson.last() for lesson in lessons.all() if lesson.last is not None and lesson.lags and not lesson.vain]
    reads = dict(await asyncio.gather(*looks))
    done.outcomes[:] = [replace(one, reads=one.reads + reads.get(one.ref, 0)) for one in done.outcomes]


def _unbegun(change: Change, brake: Brake) -> Outcome:
    return Outcome(change.ref, OutcomeStatus.NOT_ATTEMPTED, brake.not_attempted())


class _Stop(Exception):
    """Ends the work on one change with an outcome."""

    def __init__(self, status: OutcomeStatus, fault: Fault | None = None, lost: Metadata = EMPTY) -> None:
        self.status = status
        self.fault = fault
        self.lost = lost


class _Work:
    """The work on one change: counts its calls, and ends with its outcome."""

    def __init__(
        self,
        writer: Writer,
        change: Change,
        lessons: Lessons,
        brake: Brake,
        refusals: list[ReconcilerError],
        places: asyncio.Semaphore,
    ) -> None:
        self._writer = writer
        self._change = change
        self._lessons = lessons
        self._brake = brake
        self._refusals = refusals
        self._places = places
        self._placed = True
        self.aside = asyncio.Event()
        self._reads = 0
        self._writes = 0
        self._landed = 0
        self._failed: Call | None = None
        self._unsettled = False
        self._seen: Metadata | None = None
        self._waited = 0.0
        self._certain: Metadata = EMPTY
        self._left_behind: list[Metadata] = []

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
        return self._outcome(OutcomeStatus.NOT_ATTEMPTED, self._brake.not_attempted())

    def _outcome(self, status: OutcomeStatus, fault: Fault | None = None, lost: Metadata = EMPTY) -> Outcome:
        if status is OutcomeStatus.BLOCKED:
            fault = _blocked_fault(self._change)
        elif self._writes and status in _UNTOUCHED:
            # Nothing was done is what these say, and a write was sent: it may have taken effect.
            status, fault = OutcomeStatus.FAILED, _UNFINISHED[status]
        elif self._unsettled and fault is not None and status is OutcomeStatus.FAILED and fault.code != "in_flight":
            fault = replace(fault, message=f"{fault.message} (a write was sent before: it may have taken effect)")
        elif self._landed and fault is not None and status is OutcomeStatus.FAILED:
            fault = replace(fault, message=f"{fault.message} (part of the change was written before)")
        return Outcome(self._change.ref, status, fault, self._reads, self._writes, lost, self._seen)

    def _refused(self, refusal: TargetRefused) -> Outcome:
        """Stop the run, or only this kind's writes where only these are not served; one diagnosis is enough."""
        fault, ref = refusal.fault, self._change.ref
        if fault.code == "unserved" and fault.status not in _NO_ID_AT_ALL:
            # The object was read a moment ago, so the path is served: the object is gone.
            return self._outcome(OutcomeStatus.MISSING, missing_after_all(ref, fault).fault)
        lesson = self._lessons.of(ref.kind)
        if fault.code == "unserved" and lesson.halted is None:
            self._refusals.append(refusal)
            lesson.halted = Fault("not_attempted", f"not attempted: {fault.message}")
        elif fault.code != "unserved" and not self._brake.pulled:
            self._refusals.append(refusal)
            self._brake.pull(fault.message)
        return self._outcome(OutcomeStatus.FAILED, fault)

    async def _attempt(self) -> OutcomeStatus:
        change = self._change
        if change.action is not Action.UPDATE:
            raise _Stop(*_unwritten(change))
        if not change.writable:
            return OutcomeStatus.BLOCKED
        async with self._lessons.turn(change) as lesson:
            return await self._write(lesson)

    async def _write(self, lesson: Lesson) -> OutcomeStatus:
        """Write until nothing is left to write: call by call, each with a read before it."""
        dialect, rounds, attempt = lesson.rules.dialect, 0, 0
        known, aim = self._change.observed or EMPTY, self._change.observed or EMPTY
        unfinished: Fault | None = None
        left = 0
        while True:
            change = await self._due(lesson, dialect, known, aim)
            if not change.writable:
                return self._finished(change)
            if unfinished is not None and len(change.writable) >= left:
                raise _Stop(OutcomeStatus.FAILED, unfinished)  # a further call would do as little
            known, aim = change.observed or EMPTY, change.planned or EMPTY
            call, *more = calls(change)
            sent = await self._try(lesson, change, call, attempt)
            if sent.retry_in is not None:
                attempt += 1
                continue
            self._left_behind.append(known)
            attempt, known = 0, sent.answer
            fault = self._verify(change, known)
            if fault is None:
                # What came between the look and the write is judged as well: it may be blocked.
                return self._finished(compare(change.desired, change.intent, Observed(known), None, change.rules))
            unfinished, left = (fault, len(change.writable)) if more else (None, 0)
            if more and sent.taught is dialect:
                continue
            rounds += 1
            following = _following(change, sent.taught, lesson)
            if following is dialect or rounds == _ROUNDS:
                raise _Stop(OutcomeStatus.FAILED, fault)
            dialect = following

    async def _due(self, lesson: Lesson, dialect: Dialect, known: Metadata, aim: Metadata) -> Change:
        """Return what is left to write by a look at what is there; if anything is, it may be sent at once."""
        while True:
            observed, rules = await self._look(lesson, known, aim), replace(lesson.rules, dialect=dialect)
            change = compare(self._change.desired, self._change.intent, observed, None, rules)
            if change.action is Action.FAILED:
                raise _Stop(OutcomeStatus.FAILED, change.fault)
            self._check_approved(change)
            if not change.writable or await self._may_start(lesson):
                return change
            known, aim = change.observed or EMPTY, change.planned or EMPTY  # too old by the time that it may be sent

    async def _look(self, lesson: Lesson, known: Metadata, aim: Metadata) -> Observed:
        """Wait for a slot, then read; stop where a key of ours has neither the value known nor the one aimed at."""
        await self._take_slot(lesson)
        observed = await self._read_up_to(lesson, known)
        now, change = observed.metadata or EMPTY, self._change
        if self._failed is not None and shows(self._failed, known, now):  # it took effect, though it failed
            self._landed += 1
            self._check_losses(lesson, self._failed, known, now)  # before others are blamed for what it dropped
        if _moved_by_others(change, known, aim, now):
            raise _Stop(OutcomeStatus.STALE, _STALE)
        return observed

    async def _read_up_to(self, lesson: Lesson, known: Metadata) -> Observed:
        """Read what is there; again, for some time, while that is less than our own calls have shown before."""

        def current(now: Metadata) -> bool:
            ours, latest, *older = (
                owned(self._change.intent, pairs, lesson.rules) for pairs in (now, known, *self._left_behind)
            )
            return _equal(ours, latest) or not any(_equal(ours, each) for each in older)

        observed = await self._read_before_writing()
        observed = await self._repeatedly(lesson, observed, current, self._read_before_writing, current)
        if current(observed.metadata or EMPTY):
            return observed
        self._seen = known  # what the answer showed is newer
        self._check_brakes(lesson)
        raise _Stop(OutcomeStatus.FAILED, _looked(_BEHIND, self._waited))

    async def _repeatedly(
        self,
        lesson: Lesson,
        reading: Observed,
        enough: Callable[[Metadata], bool],
        read: Callable[[], Awaitable[Observed]],
        trace: Callable[[Metadata], bool] | None = None,
    ) -> Observed:
        """Return the reading, or the first after it that shows enough, or the last one after a bounded time.

        A whole wait without the least `trace`, where one was to be expected, says that waiting is of no use here.
        """
        self._waited = 0.0
        for pause in LOOKS:
            if enough(reading.metadata or EMPTY) or lesson.vain or self._brake.pulled:
                break
            await self._stand_aside(lesson, pause)
            self._waited += pause
            reading = await read()
        if self._waited and enough(reading.metadata or EMPTY):
            lesson.waited(of_use=True)
        elif self._waited == sum(LOOKS) and not self._brake.pulled:
            self._certain = reading.metadata or EMPTY  # as old as it may be, this was there after the last call
            if trace is not None and not trace(reading.metadata or EMPTY):
                lesson.waited(of_use=False)
        return reading

    async def _stand_aside(self, lesson: Lesson, seconds: float) -> None:
        """Wait; once waiting is known to help, others take our place meanwhile.

        Before that everybody keeps it: of a server that never shows a write, a few resources are asked, not all. The
        prober always does: those who wait for its turn hold places, and it would wait for one of them.
        """
        if not lesson.helped or not self._placed or lesson.prober == self._change.ref:
            await self._brake.sleep(seconds)
            return
        self.aside.set()
        self._places.release()
        try:
            await self._brake.sleep(seconds)
        finally:
            await self._places.acquire()

    def _verify(self, change: Change, answer: Metadata) -> Fault | None:
        """Return why a call is a failure, with how long it was looked for."""
        fault = verify(change, answer)
        return fault and _looked(fault, self._waited)

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

    def _check_losses(self, lesson: Lesson, call: Call, before: Metadata, now: Metadata) -> None:
        """Stop, and halt the kind, where pairs vanished that a call did not carry."""
        merges = lesson.lags and (lesson.proven or bool(survivors(call, before, now)))
        lost = lost_pairs(call, before, now, merges=merges)
        if lost:
            raise _Stop(OutcomeStatus.FAILED, _halt(lesson, lost), lost)

    async def _try(self, lesson: Lesson, change: Change, call: Call, attempt: int) -> _Sent:
        """Send one call, and wait where another attempt may help.

        Where the run ends meanwhile there is none: one look tells whether the last one worked.
        """
        sent = await self._send(lesson, change, call, attempt)
        if sent.retry_in is None:
            return sent
        await self._brake.sleep(sent.retry_in)
        if not (self._brake.pulled and self._unsettled):
            return sent
        return await self._settle(lesson, change, call, ApiError(_UNFINISHED[OutcomeStatus.NOT_ATTEMPTED]))

    async def _send(self, lesson: Lesson, change: Change, call: Call, attempt: int) -> _Sent:
        """Send one call. Its answer may teach, or halt the kind."""
        kind, asked, before = change.ref.kind, change.rules.dialect, change.observed or EMPTY
        # A probe of one resource alone teaches the kind, unless it had nothing else to send that could be seen.
        taught_by = AUTO if asked is PROBE_NULL and lesson.rules.dialect is AUTO and change.planned else asked
        self._failed, certain = None, self._certain
        self._check_brakes(lesson)  # others may have been told something while this one was reading
        try:
            answer = await self._modify(lesson, asked, call, before, attempt)
        except ApiError as error:
            taught = learn_from_rejection(asked, call, before, error.fault)
            if taught is not asked:
                if taught.settled:  # else a guess, for this resource alone
                    self._lessons.take(kind, taught_by, taught)
                return _Sent(before, taught)
            self._failed = call
            self._unsettled = not _did_nothing(error.fault)
            if error.fault.retry_in is None:
                return await self._settle(lesson, change, call, error)
            return _Sent(before, asked, error.fault.retry_in)
        self._check_losses(lesson, call, before, answer)
        if shows(call, before, answer):
            self._landed += 1
            lesson.proven = lesson.proven or bool(survivors(call, before, answer))
        taught = learn(asked, call, before, answer, certain if lesson.lags else None)
        if taught is not asked:
            self._lessons.take(kind, taught_by, taught)
        return _Sent(answer, taught)

    async def _settle(self, lesson: Lesson, change: Change, call: Call, error: ApiError) -> _Sent:
        """Return what a write that failed for good did all the same; raise its error if it did not do all of it."""
        before = change.observed or EMPTY
        if _did_nothing(error.fault):
            raise error
        try:
            reading = await self._read()
            if lesson.lags:
                reading = await self._repeatedly(
                    lesson, reading, lambda now: complete(change.rules.dialect, call, now), self._read
                )
        except _Stop as stop:
            # What made the write fail is the cause, where the look after it fails as well.
            raise error if stop.status is OutcomeStatus.FAILED else stop from None
        now = reading.metadata or EMPTY
        if shows(call, before, now):
            self._check_losses(lesson, call, before, now)
            self._landed += 1
        if verify(change, now) is not None:
            self._unsettled = lesson.lags  # it may yet be seen
            raise error
        return _Sent(now, change.rules.dialect)

    async def _modify(self, lesson: Lesson, asked: Dialect, call: Call, before: Metadata, attempt: int) -> Metadata:
        """Send one call; returns the map in its answer, or that of a read where the answer does not tell."""
        self._writes += 1
        self._waited = 0.0
        answer = await self._writer.modify(self._change.ref, call.entries, attempt)
        self._unsettled = False
        # Some servers answer with an empty map, whether they write or not: where pairs should be left, a read tells.
        emptied = not answer.metadata and leaves_pairs(call, before)
        if not emptied and self._tells(lesson, asked, call, before, answer.metadata):
            self._certain = answer.metadata or EMPTY
            lesson.last = lambda: self._await_sight(lesson, asked, call)
        else:
            self._unsettled = True
            try:
                answer = await self._look_after(lesson, asked, call, before, answer)
            except _Stop:
                self._seen = self._newest(call, before, answer)
                raise
            lesson.last = None  # a read has caught up with what was written before, or waiting is of no use
        metadata = usable(answer, asked)
        if metadata is None:
            self._unsettled = True
            fault = Fault("no_metadata", "neither the answer nor a read after it has any metadata")
            raise _Stop(OutcomeStatus.FAILED, fault)
        self._seen = metadata
        return metadata

    def _tells(self, lesson: Lesson, asked: Dialect, call: Call, before: Metadata, answer: Metadata | None) -> bool:
        """Tell whether a map says what became of a call: for kinds whose reads lag, only one that shows all of it."""
        if answer is None:
            return False
        return complete(asked, call, answer) if lesson.lags else shows(call, before, answer)

    async def _look_after(
        self, lesson: Lesson, asked: Dialect, call: Call, before: Metadata, answer: Observed
    ) -> Observed:
        """Return what a read shows after an answer that does not tell; repeated where it should show more."""

        def trace(now: Metadata) -> bool:
            return shows(call, before, now)

        reading = await self._read()
        # An empty map is no evidence: some servers answer so whatever they did.
        answered = bool(answer.metadata) and trace(answer.metadata or EMPTY)
        # Under `auto`, a key that was left out and is still there is what a server answers that merges. A null that
        # did nothing is odd enough to look again.
        if lesson.lags or asked is PROBE_NULL or must_show(asked, call, before):
            reading = await self._repeatedly(
                lesson,
                reading,
                lambda now: self._tells(lesson, asked, call, before, now),
                self._read,
                trace if must_show(asked, call, before) and not answered else None,
            )
        if trace(usable(reading, asked) or EMPTY):
            return reading
        if self._brake.pulled and (self._waited or lesson.lags):
            raise _Stop(OutcomeStatus.NOT_ATTEMPTED)  # the wait was cut short: nobody knows
        return answer if answered else reading  # it is newer

    def _newest(self, call: Call, before: Metadata, answer: Observed) -> Metadata | None:
        """Return the map of the last look, unless the answer to the call showed more of it."""
        if not answer.metadata or shows(call, before, self._seen or EMPTY):
            return self._seen
        return answer.metadata if shows(call, before, answer.metadata) else self._seen

    async def _await_sight(self, lesson: Lesson, asked: Dialect, call: Call) -> tuple[Ref, int]:
        """Read until a read shows a call that its answer showed; returns whose it was, and the reads that it took."""
        begun, seen, self._placed = self._reads, self._seen, False
        try:
            if not self._brake.pulled:
                reading = await self._read()
                await self._repeatedly(lesson, reading, lambda now: complete(asked, call, now), self._read)
        except Exception:  # noqa: BLE001, S110 - the write is verified: what becomes of this look changes nothing
            pass
        self._seen = seen
        return self._change.ref, self._reads - begun

    async def _read_before_writing(self) -> Observed:
        """Read; given up where the brake is pulled, since nothing is in flight."""
        reading = asyncio.ensure_future(self._read())
        try:
            with self._brake.tells(reading.cancel):
                await asyncio.wait([reading])
        finally:
            reading.cancel()
        if reading.cancelled():
            raise _Stop(OutcomeStatus.NOT_ATTEMPTED, self._brake.not_attempted())
        return reading.result()

    async def _read(self) -> Observed:
        self._reads += 1
        reading = await self._writer.fetch(self._change.ref)
        if isinstance(reading, Unread) and reading.fault.code == "unserved":
            if reading.fault.status is None:
                self._reads -= 1
                raise TargetRefused(reading.fault)
            reading = missing_after_all(self._change.ref, reading.fault)
        if isinstance(reading, Missing):
            raise _Stop(OutcomeStatus.MISSING, reading.fault)
        if isinstance(reading, Unread):
            raise _Stop(OutcomeStatus.FAILED, reading.fault)
        self._seen = usable(reading, self._change.rules.dialect)
        self._unsettled = False
        return reading

    async def _take_slot(self, lesson: Lesson) -> None:
        """Wait for a place in the pace of writes; stop if writes have come to an end meanwhile."""
        self._check_brakes(lesson)
        await self._writer.write_slot(lambda seconds: self._pause(lesson, seconds))
        self._check_brakes(lesson)

    async def _may_start(self, lesson: Lesson) -> bool:
        """Tell whether to write now, after a moment at most; stop if writes have come to an end meanwhile."""
        return await self._writer.write_start(lambda seconds: self._pause(lesson, seconds))

    async def _pause(self, lesson: Lesson, seconds: float) -> None:
        """Wait; stop if writes have come to an end meanwhile."""
        await self._brake.sleep(seconds)
        self._check_brakes(lesson)

    def _check_brakes(self, lesson: Lesson) -> None:
        fault = lesson.halted or (self._brake.not_attempted() if self._brake.pulled else None)
        if fault is not None:
            raise _Stop(OutcomeStatus.NOT_ATTEMPTED, fault)


_STALE = Fault("stale", "it moved since it was planned; nothing was written to it")
_UNFINISHED = {
    OutcomeStatus.STALE: Fault("moved", "somebody else changed it while it was being written; plan again"),
    OutcomeStatus.NOT_ATTEMPTED: Fault(
        "in_flight", "ended after a write was sent: it may have taken effect; plan again"
    ),
}
_BEHIND = Fault("not_applied", "the reads do not show what the answer to the call before showed; plan again")
_UNTOUCHED = _UNFINISHED.keys()
_BY_FAULT = {"not_attempted": OutcomeStatus.NOT_ATTEMPTED, "stale": OutcomeStatus.STALE}
"""What became of a change that its plan already found impossible, where that is not just a failure."""


@dataclass(frozen=True, slots=True)
class _Sent:
    """What sending one call showed: the map afterwards, and what was taught.

    Or `retry_in`, the seconds to wait before another attempt: then the call failed in passing, and the map is that
    from before it.
    """

    answer: Metadata
    taught: Dialect
    retry_in: float | None = None


def _looked(fault: Fault, seconds: float) -> Fault:
    """Return the fault with how long was looked for something else."""
    if not seconds:
        return fault
    return replace(fault, message=f"{fault.message} (after {seconds:g} s of looking)")


def _equal(one: Metadata, other: Metadata) -> bool:
    return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())


def _did_nothing(fault: Fault) -> bool:
    """Tell whether the answer to a write says that it was not carried out; a failure of the server's does not."""
    return fault.status is not None and 400 <= fault.status < 500


def _following(change: Change, taught: Dialect, lesson: Lesson) -> Dialect:
    """Return the dialect to go on in after an answer that was not as planned; the same one if there is none."""
    asked = change.rules.dialect
    if taught is not asked:
        return taught
    removes_only = all(field.after is None for field in change.writable)
    if asked is AUTO and removes_only:
        return PROBE_NULL  # nothing else was sent that could have been seen: ask for the removal in words
    if asked is PROBE_NULL:
        # A map with nothing else in it could not teach: for this resource alone, its key cannot be removed.
        return asked if change.planned else MERGE
    return lesson.rules.dialect


def _moved_by_others(change: Change, known: Metadata, aim: Metadata, now: Metadata) -> bool:
    """Tell whether a key of ours has neither the value that was known nor the one that we were writing."""
    was, wanted, found = (owned(change.intent, pairs, change.rules) for pairs in (known, aim, now))
    return any(
        not same(found.get(key), was.get(key)) and not same(found.get(key), wanted.get(key))
        for key in {*was, *found, *wanted}
    )


def _unwritten(change: Change) -> tuple[OutcomeStatus, Fault | None]:
    """Return the outcome of a change that there is nothing to write for."""
    if change.action is Action.MISSING:
        return OutcomeStatus.MISSING, change.fault
    code = change.fault.code if change.fault else ""
    return _BY_FAULT.get(code, OutcomeStatus.FAILED), change.fault


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
