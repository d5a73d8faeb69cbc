"""A fake of the API for the engine: the same door as the gateway, with a dictionary behind it.

The contract suite holds it against the gateway and the emulator over a socket, so that it cannot lie.
"""

from __future__ import annotations

import asyncio
from collections import Counter

from reconciler.dialects import MERGE_EMPTY, MERGE_NULL, REPLACE, Dialect
from reconciler.errors import ApiError, Fault
from reconciler.model import MAX_KEY, MAX_PAIRS, MAX_VALUE, Metadata, Missing, Observed, Ref


def merged(dialect: Dialect, held: Metadata, entries: Metadata) -> dict:
    """Return the map that a server of this dialect holds after an update; raises where it refuses."""
    if dialect is REPLACE:
        result = dict(entries)
    else:
        result = {**held, **entries}
        if dialect is MERGE_NULL:
            result = {key: value for key, value in result.items() if value is not None}
        if dialect is MERGE_EMPTY:
            result = {key: value for key, value in result.items() if value != ""}
    if any(value is None for value in result.values()):
        raise ApiError(Fault("rejected", "expected a string, but got null instead", 400))
    if len(result) > MAX_PAIRS or len(entries) > MAX_PAIRS:
        raise ApiError(Fault("rejected", "too many properties", 400))
    if any(len(key) > MAX_KEY for key in entries):
        raise ApiError(Fault("rejected", "property name too long", 400))
    if any(isinstance(value, str) and len(value) > MAX_VALUE for value in entries.values()):
        raise ApiError(Fault("rejected", "string too long", 400))
    return result


class FakeApi:
    """Reads and writes a dictionary from references to maps; `posts` has every update in order."""

    def __init__(self, dialect: Dialect, held: dict[Ref, Metadata]) -> None:
        self.dialect = dialect
        # A server to which the empty string means removal holds none.
        self.held = {
            ref: {key: value for key, value in pairs.items() if value != "" or dialect is not MERGE_EMPTY}
            for ref, pairs in held.items()
        }
        self.posts: list[tuple[Ref, dict]] = []
        self.gets: Counter[Ref] = Counter()
        self.busy = self.busiest = 0

    async def fetch(self, ref: Ref):
        self.gets[ref] += 1
        await self._work()
        if ref not in self.held:
            return Missing(Fault("missing", "no such id", 404))
        return Observed(dict(self.held[ref]))

    async def write_slot(self, sleep) -> None:
        """Let everybody write at once."""

    async def write_start(self, sleep) -> bool:
        return True

    async def modify(self, ref: Ref, entries: Metadata, attempt: int = 0) -> Observed:
        self.posts.append((ref, dict(entries)))
        await self._work()
        if ref not in self.held:
            raise ApiError(Fault("missing", "no such id", 404))
        self.held[ref] = merged(self.dialect, self.held[ref], entries)
        return Observed(dict(self.held[ref]))

    async def _work(self) -> None:
        self.busy += 1
        self.busiest = max(self.busiest, self.busy)
        await asyncio.sleep(0)
        self.busy -= 1


class LaggingApi(FakeApi):
    """A fake whose reads show a resource as it was so many seconds ago; `old` answers to writes are no better."""

    def __init__(self, dialect: Dialect, held: dict[Ref, Metadata], lag: float, *, old: bool = False) -> None:
        super().__init__(dialect, held)
        self.lag, self.old = lag, old
        self.past: dict[Ref, list[tuple[float, dict]]] = {ref: [] for ref in held}

    def seen(self, ref: Ref) -> dict:
        """Return what a read shows now."""
        now = asyncio.get_running_loop().time()
        return next((pairs for until, pairs in self.past[ref] if until > now), dict(self.held[ref]))

    def change(self, ref: Ref, pairs: Metadata) -> None:
        """Let somebody write, whose write is seen as late as any other."""
        self.past[ref].append((asyncio.get_running_loop().time() + self.lag, dict(self.held[ref])))
        self.held[ref] = dict(pairs)

    async def fetch(self, ref: Ref):
        reading = await super().fetch(ref)
        return Observed(self.seen(ref)) if isinstance(reading, Observed) else reading

    async def modify(self, ref: Ref, entries: Metadata, attempt: int = 0) -> Observed:
        before, shown = dict(self.held[ref]), self.seen(ref)
        answer = await super().modify(ref, entries, attempt)
        self.past[ref].append((asyncio.get_running_loop().time() + self.lag, before))
        return Observed(shown) if self.old else answer
