"""The workers of one run: read all, apply all, in parallel, each resource for itself.

A failed resource does not stop the others. What ends the run (a refusal by the target, a signal) pulls the `Brake`: no
new read or write starts, those in flight are finished and verified. How a target treats updates is shared by all
workers (`Lessons`), so that what one answer teaches holds for the rest of the run.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol, TypeVar

from reconciler.calls import calls, learn, learn_from_rejection, lost_pairs, verify
from reconciler.compare import Action, Change, Rules, compare, fingerprint, usable
from reconciler.errors import ApiError, Fault, ReconcilerError, TargetRefused
from reconciler.events import ChangeDone, DialectLearned, Emit, Outcome, ReadDone, Result, silence
from reconciler.model import EMPTY, Metadata, Missing, Observed, Reading, Ref, Unread

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence

    from reconciler.calls import Call
    from reconciler.dialects import Dialect
    from reconciler.model import Json
    from reconciler.plan import RulesOf

UNSERVED_AFTER = 50
"""So many signs of an unserved kind, and none of a served one, end the reads of that kind."""

_ROUNDS = 3
"""Calls to learn with: the whole map, then null, then (where neither removes) a blank or nothing more."""

T = TypeVar("T")


class Reader(Protocol):
    """What planning needs of the API."""

    async def fetch(self, ref: Ref) -> Reading:
        """Read one resource. Raises `TargetRefused` where going on makes no sense."""
        ...


class Writer(Reader, Protocol):
    """What applying needs beside."""

    async def modify(self, ref: Ref, entries: Mapping[str, Json]) -> Observed:
        """Send one modify call; a map of `None` is an answer without usable metadata. Raises `ApiError`."""
        ...


@dataclass(slots=True)
class Brake:
    """Stops a run from starting anything new; the first reason stays."""

    reason: str | None = None

    def pull(self, reason: str) -> None:
        """Stop, and remember why."""
        self.reason = self.reason or reason

    def not_attempted(self) -> Fault:
        """Return the fault of what was not begun any more."""
        return Fault("not_attempted", f"not attempted: {self.reason}")


async def _for_each(items: Iterable[T], work: Callable[[T], Awaitable[None]], parallelism: int, brake: Brake) -> None:
    """Work on all items, at most `parallelism` at a time, until the brake is pulled."""
    remaining = iter(items)

    async def worker() -> None:
        # The iterator is shared: each worker takes the next item when it has finished one.
        for item in remaining:
            if brake.reason is not None:
                return
            await work(item)

    async with asyncio.TaskGroup() as group:
        for _ in range(parallelism):
            group.create_task(worker())


# --- reading ----------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Observation:
    """What reading showed: a reading for every reference asked for, and what the run as a whole was refused for."""

    readings: dict[Ref, Reading] = field(default_factory=dict)
    refusals: list[ReconcilerError] = field(default_factory=list)
    reads: int = 0


async def observe(
    reader: Reader, refs: Sequence[Ref], *, parallelism: int, brake: Brake, emit: Emit = silence
) -> Observation:
    """Read every reference. One reading each; `Unread` with `not_attempted` for those that were not begun."""
    seen = Observation()
    unserved = _UnservedKinds()

    async def read(ref: Ref) -> None:
        if unserved.hopeless(ref.kind):
            return
        seen.reads += 1
        try:
            reading = await reader.fetch(ref)
        except TargetRefused as refusal:
            if brake.reason is None:  # the others in flight are refused for the same reason
                seen.refusals.append(refusal)
            brake.pull(refusal.fault.message)
            reading = Unread(refusal.fault)
        unserved.note(ref.kind, reading)
        seen.readings[ref] = reading
        emit(ReadDone(ref, reading))

    await _for_each(refs, read, min(parallelism, len(refs)), brake)
    unserved.settle(seen)
    for ref in refs:
        if ref not in seen.readings:
            seen.readings[ref] = Unread(unserved.fault(ref.kind) or brake.not_attempted())
    return seen


class _UnservedKinds:
    """Tells a kind that the server does not serve from resources that it does not have.

    One answer with signs of an unserved path proves nothing: some servers answer so for an unknown id. It is
    held against the other answers for the same kind; if one of those shows that the path is served,
    the resource is missing.
    """

    def __init__(self) -> None:
        self._served: set[str] = set()
        self._signs: dict[str, list[Fault]] = {}

    def note(self, kind: str, reading: Reading) -> None:
        if isinstance(reading, Unread) and reading.fault.code == "unserved":
            self._signs.setdefault(kind, []).append(reading.fault)
        elif isinstance(reading, Observed | Missing):
            self._served.add(kind)

    def hopeless(self, kind: str) -> bool:
        return self.fault(kind) is not None and len(self._signs[kind]) >= UNSERVED_AFTER

    def fault(self, kind: str) -> Fault | None:
        """Return why a kind counts as unserved; `None` if it is served, or nothing speaks against it."""
        return self._signs[kind][0] if kind in self._signs and kind not in self._served else None

    def settle(self, seen: Observation) -> None:
        """Give one refusal for each unserved kind; call the others' odd answers missing."""
        seen.refusals += [TargetRefused(fault) for kind in self._signs if (fault := self.fault(kind))]
        for ref, reading in seen.readings.items():
            if isinstance(reading, Unread) and reading.fault.code == "unserved" and ref.kind in self._served:
                message = f"the server knows no {ref} (it answers for others of this kind)"
                seen.readings[ref] = Missing(replace(reading.fault, code="missing", message=message))


# --- writing ----------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Lesson:
    """What is known of updates of one kind; `halted` says why no more are sent."""

    rules: Rules
    probe: asyncio.Lock = field(default_factory=asyncio.Lock)
    proven: bool = False
    halted: Fault | None = None

    def probed_by(self, change: Change) -> bool:
        """Tell whether the answer to this change shows something that others should wait for.

        To a server in `auto` mode the first removal does. Where only changed pairs are sent, the first
        write beside other pairs does: if the server replaces after all, one resource suffers, not one per worker.
        """
        dialect = self.rules.dialect
        if not dialect.settled:
            return any(field.after is None for field in change.writable)
        sent = {field.key for field in change.writable}
        return not dialect.whole and not self.proven and bool((change.observed or EMPTY).keys() - sent)


class Lessons:
    """What this run knows, and learns, of how the target treats updates of each kind."""

    def __init__(self, rules_of: RulesOf, emit: Emit = silence) -> None:
        self._rules_of = rules_of
        self._emit = emit
        self._by_kind: dict[str, _Lesson] = {}
        self.learned: dict[str, str] = {}

    def of(self, kind: str) -> _Lesson:
        """Return the lesson of a kind, shared by everyone."""
        if kind not in self._by_kind:
            self._by_kind[kind] = _Lesson(self._rules_of(kind))
        return self._by_kind[kind]

    def take(self, kind: str, dialect: Dialect) -> None:
        """Remember what an answer taught."""
        lesson = self.of(kind)
        if lesson.rules.dialect is dialect:
            return
        lesson.rules = replace(lesson.rules, dialect=dialect)
        if dialect.settled:
            self.learned[kind] = dialect.name
            self._emit(DialectLearned(kind, dialect.name))

    @asynccontextmanager
    async def turn(self, change: Change) -> AsyncIterator[_Lesson]:
        """Wait while somebody else's write is about to teach what this one needs to know: one probe at a time."""
        lesson = self.of(change.ref.kind)
        probing = lesson.probed_by(change)
        if probing:
            await lesson.probe.acquire()
            if not lesson.probed_by(change):  # somebody found out while we waited: no need to go one by one
                lesson.probe.release()
                probing = False
        try:
            yield lesson
        finally:
            if probing:
                lesson.probe.release()


class _Stop(Exception):
    """Ends the work on one change with an outcome."""

    def __init__(self, result: Result, fault: Fault | None = None, lost: Metadata = EMPTY) -> None:
        self.result = result
        self.fault = fault
        self.lost = lost


@dataclass(slots=True)
class Application:
    """What became of a plan: an outcome for every change but `keep`, sorted, and what ended the run early."""

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
) -> Application:
    """Carry out the changes: read again, write, verify. Nothing is written where a decided key has moved."""
    done = Application()
    lessons = Lessons(rules_of, emit)
    finished: set[Ref] = set()

    async def carry_out(change: Change) -> None:
        outcome = await _Work(writer, change, lessons, brake, done.refusals).run()
        finished.add(change.ref)
        done.outcomes.append(outcome)
        emit(ChangeDone(outcome))

    wanted = [change for change in changes if change.action is not Action.KEEP]
    await _for_each(wanted, carry_out, min(parallelism, len(wanted)), brake)
    done.outcomes += [
        Outcome(change.ref, Result.NOT_ATTEMPTED, brake.not_attempted())
        for change in wanted
        if change.ref not in finished
    ]
    done.outcomes.sort(key=lambda outcome: outcome.ref)
    done.learned = lessons.learned
    return done


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

    async def run(self) -> Outcome:
        """Return what became of the change; no error of one resource leaves here."""
        try:
            result, fault, lost = await self._attempt(), None, EMPTY
        except _Stop as stop:
            result, fault, lost = stop.result, stop.fault, stop.lost
        except TargetRefused as refusal:
            self._give_up(refusal)
            result, fault, lost = Result.FAILED, refusal.fault, EMPTY
        except ApiError as error:
            missing = error.fault.code == "missing"
            result, fault, lost = (Result.MISSING if missing else Result.FAILED), error.fault, EMPTY
        except Exception as error:  # noqa: BLE001 - a mistake of ours must not cost the outcomes of the others
            fault = Fault("internal", f"internal error, please report it ({type(error).__name__}: {error})")
            result, lost = Result.FAILED, EMPTY
        if result is Result.BLOCKED:
            fault = _blocked_fault(self._change)
        return Outcome(self._change.ref, result, fault, self._reads, self._writes, lost)

    async def _attempt(self) -> Result:
        change = self._change
        if change.action is not Action.UPDATE:
            raise _Stop(*_unwritten(change))
        if not change.writable:
            return Result.BLOCKED
        async with self._lessons.turn(change) as lesson:
            self._check_brakes(lesson)
            before = await self._read()
            if fingerprint(change.intent, usable(before, lesson.rules.dialect) or EMPTY) != change.fingerprint:
                raise _Stop(Result.STALE, Fault("stale", "it moved since it was planned; nothing was written"))
            return await self._write(lesson, before)

    async def _write(self, lesson: _Lesson, observed: Observed) -> Result:
        """Write until the answer is as planned; more than once only where an answer taught something."""
        fault: Fault | None = None
        for _ in range(_ROUNDS):
            rules = lesson.rules
            change = compare(self._change.desired, self._change.intent, observed, None, rules)
            if change.action is Action.FAILED:
                raise _Stop(Result.FAILED, change.fault)
            if not change.writable:
                self._change = change
                return Result.BLOCKED if change.blocked else Result.APPLIED
            observed = await self._send(lesson, change)
            fault = verify(change, observed.metadata or EMPTY)
            if fault is None:
                self._change = change
                return Result.BLOCKED if change.blocked else Result.APPLIED
            if lesson.rules.dialect is rules.dialect:
                break
        raise _Stop(Result.FAILED, fault)

    async def _send(self, lesson: _Lesson, change: Change) -> Observed:
        """Send the calls of a change; returns the last answer. Each answer may teach, or halt the kind."""
        observed = change.observed or EMPTY
        for call in calls(change):
            self._check_brakes(lesson)
            answer = await self._modify(lesson, change.rules.dialect, call)
            if answer is None:
                break
            lost = lost_pairs(call, observed, answer)
            if lost:
                raise _Stop(Result.FAILED, _halt(lesson, lost), lost)
            lesson.proven = lesson.proven or bool(observed.keys() - call.entries.keys())
            observed = answer
            self._lessons.take(change.ref.kind, learn(change.rules.dialect, call, answer))
        return Observed(observed)

    async def _modify(self, lesson: _Lesson, dialect: Dialect, call: Call) -> Metadata | None:
        """Send one call; returns the map in its answer, `None` if the rejection itself taught something."""
        ref = self._change.ref
        self._writes += 1
        try:
            answer = await self._writer.modify(ref, call.entries)
        except ApiError as error:
            taught = learn_from_rejection(dialect, call, error.fault)
            if taught is dialect:
                raise
            self._lessons.take(ref.kind, taught)
            return None
        if answer.metadata is None:
            answer = await self._read()
        metadata = usable(answer, lesson.rules.dialect)
        if metadata is None:
            raise _Stop(Result.FAILED, Fault("no_metadata", "neither the answer nor a read after it has any metadata"))
        return metadata

    async def _read(self) -> Observed:
        self._reads += 1
        reading = await self._writer.fetch(self._change.ref)
        if isinstance(reading, Missing):
            raise _Stop(Result.MISSING, reading.fault)
        if isinstance(reading, Unread):
            raise _Stop(Result.FAILED, reading.fault)
        return reading

    def _give_up(self, refusal: TargetRefused) -> None:
        """Stop the run, or only this kind's writes where only this kind is not served; one diagnosis is enough."""
        lesson = self._lessons.of(self._change.ref.kind)
        if self._brake.reason is None and lesson.halted is None:
            self._refusals.append(refusal)
        if refusal.fault.code == "unserved":
            lesson.halted = lesson.halted or Fault("not_attempted", f"not attempted: {refusal.fault.message}")
        else:
            self._brake.pull(refusal.fault.message)

    def _check_brakes(self, lesson: _Lesson) -> None:
        if lesson.halted is not None:
            raise _Stop(Result.NOT_ATTEMPTED, lesson.halted)
        if self._brake.reason is not None:
            raise _Stop(Result.NOT_ATTEMPTED, self._brake.not_attempted())


def _unwritten(change: Change) -> tuple[Result, Fault | None]:
    """Return the outcome of a change that there is nothing to write for."""
    if change.action is Action.MISSING:
        return Result.MISSING, change.fault
    attempted = change.fault is None or change.fault.code != "not_attempted"
    return (Result.FAILED if attempted else Result.NOT_ATTEMPTED), change.fault


def _blocked_fault(change: Change) -> Fault | None:
    """Return one fault for the blocked fields of a change: the first one's code, everybody's keys."""
    reasons = [field.blocked for field in change.blocked if field.blocked is not None]
    keys = ", ".join(field.key for field in change.blocked)
    return Fault(reasons[0].code, f"{keys}: {reasons[0].message}") if reasons else None


def _halt(lesson: _Lesson, lost: Metadata) -> Fault:
    """Let no further write of this kind start: each might cost somebody's pairs."""
    message = f"the server dropped pairs that were not sent ({', '.join(lost)}): it replaces where merging was expected"
    if lesson.halted is None:
        lesson.halted = Fault("halted", f"not attempted: {message}")
    return Fault("lost_pairs", message)
