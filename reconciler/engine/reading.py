"""Observe every resource."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

from reconciler.engine.brake import for_each, for_each_arriving
from reconciler.engine.breaker import Breaker
from reconciler.errors import Fault, ReconcilerError, TargetRefused, internal_fault
from reconciler.events import ReadDone, silence
from reconciler.model import Missing, Observed, Reading, Ref, Unread

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from reconciler.engine.brake import Brake, Feed
    from reconciler.events import Emit

SAMPLE = 50
"""So many references of a kind, spread over all, are read first. If every one of them gives signs of an unserved
kind and none of a served one, the rest is not asked."""


class Reader(Protocol):
    """What planning needs of the API."""

    async def fetch(self, ref: Ref) -> Reading:
        """Read one resource. Raises `TargetRefused` where going on makes no sense."""
        ...


@dataclass(slots=True)
class Observation:
    """What reading showed: a reading for every reference asked for, and what the run as a whole was refused for."""

    readings: dict[Ref, Reading] = field(default_factory=dict)
    refusals: list[ReconcilerError] = field(default_factory=list)
    reads: int = 0


async def observe(
    reader: Reader,
    refs: Sequence[Ref],
    *,
    parallelism: int,
    brake: Brake,
    emit: Emit = silence,
    into: Observation | None = None,
) -> Observation:
    """Read every reference; see `Observer.observe`. Returns `into` (or a new one), complete even if cancelled."""
    seen = into if into is not None else Observation()
    await Observer(reader, parallelism, brake, seen).observe(refs, emit)
    return seen


class Observer:
    """Reads references into an observation: some ahead, as they become known, and in the end all of them."""

    def __init__(self, reader: Reader, parallelism: int, brake: Brake, seen: Observation) -> None:
        self._emit: Emit = silence
        self._reader = reader
        self._parallelism = parallelism
        self._brake = brake
        self._seen = seen
        self._unserved = _UnservedKinds()
        self._breaker = Breaker(brake, seen.refusals, 0)

    async def ahead(self, feed: Feed[Ref]) -> None:
        """Read what arrives, until the feed is closed. Of a kind that may not be served, the rest is for `observe`."""
        self._breaker.parallelism = self._parallelism

        async def read(ref: Ref) -> None:
            if ref not in self._seen.readings and self._unserved.fault(ref.kind) is None:
                await self._read(ref)

        await for_each_arriving(feed, read, self._parallelism, self._brake)

    async def observe(self, refs: Sequence[Ref], emit: Emit = silence) -> None:
        """Read what was not read ahead. In the end there is one reading for each reference, even if this is cancelled.

        It is `Unread` with `not_attempted` for those that were not begun.
        """
        self._emit, readings = emit, self._seen.readings
        try:
            await self._read_all([ref for ref in refs if ref not in readings])
        finally:
            self._unserved.settle(self._seen)
            for ref in refs:
                if ref not in readings:
                    readings[ref] = Unread(self._unserved.fault(ref.kind) or self._brake.not_attempted())

    async def _read_all(self, refs: Sequence[Ref]) -> None:
        self._breaker.parallelism = max(self._breaker.parallelism, min(self._parallelism, len(refs)))
        sample, rest = _sampled(refs, self._unserved.served)
        await self._each(sample)
        await self._each([ref for ref in rest if self._unserved.fault(ref.kind) is None])

    async def _each(self, refs: Sequence[Ref]) -> None:
        await for_each(refs, self._read, min(self._parallelism, len(refs)), self._brake, give_up=True)

    async def _read(self, ref: Ref) -> None:
        seen, brake = self._seen, self._brake
        seen.reads += 1
        try:
            reading = await self._reader.fetch(ref)
        except TargetRefused as refusal:
            if not brake.pulled:  # the others in flight are refused for the same reason
                seen.refusals.append(refusal)
            reading = Unread(refusal.fault)
            brake.pull(refusal.fault.message)
        except Exception as error:  # noqa: BLE001 - nothing about one resource may cost the others
            reading = Unread(internal_fault(error))
        if isinstance(reading, Unread) and reading.fault.code == "unserved" and reading.fault.status is None:
            seen.reads -= 1  # the host is known not to serve the kind, and was not asked
        self._unserved.note(ref.kind, reading)
        seen.readings[ref] = reading
        self._breaker.note_reading(reading)
        self._emit(ReadDone(ref, reading))


def _sampled(refs: Sequence[Ref], served: Collection[str]) -> tuple[list[Ref], list[Ref]]:
    """Return a few references of each kind that is not known to be served, evenly spread, and the others."""
    by_kind: dict[str, list[Ref]] = defaultdict(list)
    for ref in refs:
        if ref.kind not in served:
            by_kind[ref.kind].append(ref)
    sample = {ref for same in by_kind.values() for ref in same[:: -(-len(same) // SAMPLE)]}
    return [ref for ref in refs if ref in sample], [ref for ref in refs if ref not in sample]


class _UnservedKinds:
    """Tells a kind that the server does not serve from resources that it does not have.

    One answer with signs of an unserved path proves nothing: some servers answer so for an unknown id. It is
    held against the other answers for the same kind; if one of those shows that the path is served,
    the resource is missing.
    """

    def __init__(self) -> None:
        self.served: set[str] = set()
        self._signs: dict[str, Fault] = {}

    def note(self, kind: str, reading: Reading) -> None:
        if isinstance(reading, Unread) and reading.fault.code == "unserved":
            self._signs.setdefault(kind, reading.fault)
        elif isinstance(reading, Observed | Missing):
            self.served.add(kind)

    def fault(self, kind: str) -> Fault | None:
        """Return why a kind counts as unserved; `None` if it is served, or nothing speaks against it."""
        return None if kind in self.served else self._signs.get(kind)

    def settle(self, seen: Observation) -> None:
        """Give one refusal for each unserved kind; call the others' odd answers missing."""
        seen.refusals += [TargetRefused(fault) for kind in self._signs if (fault := self.fault(kind))]
        for ref, reading in seen.readings.items():
            if isinstance(reading, Unread) and reading.fault.code == "unserved" and ref.kind in self.served:
                seen.readings[ref] = missing_after_all(ref, reading.fault)


def missing_after_all(ref: Ref, fault: Fault) -> Missing:
    """Return what signs of an unserved path mean where the path is known to be served."""
    message = f"the server knows no {ref} (it answers for others of this kind)"
    return Missing(replace(fault, code="missing", message=message))
