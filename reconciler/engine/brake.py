"""Bounded parallel work, and the brake that ends it."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

from reconciler.errors import Fault

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator

T = TypeVar("T")


@dataclass(slots=True)
class Brake:
    """Stops a run from starting anything new; the first reason stays. Pulled from the thread of the event loop.

    `cost`: whether anything was left undone for it.
    """

    reason: str | None = None
    cost: bool = False
    _listeners: list[Callable[[], object]] = field(default_factory=list)

    @property
    def pulled(self) -> bool:
        """Tell whether the run is to end."""
        return self.reason is not None

    def pull(self, reason: str) -> None:
        """Stop, remember why, and wake whoever waits."""
        if self.reason is None:
            self.reason = reason
            for listener in [*self._listeners]:
                listener()

    def not_attempted(self) -> Fault:
        """Return the fault of what was not begun any more."""
        self.cost = True
        return Fault("not_attempted", f"not attempted: {self.reason}")

    @contextmanager
    def tells(self, listener: Callable[[], object]) -> Iterator[None]:
        """Call `listener` when the brake is pulled within this context."""
        self._listeners.append(listener)
        try:
            yield
        finally:
            self._listeners.remove(listener)

    async def sleep(self, seconds: float) -> None:
        """Wait; no longer than until the brake is pulled."""
        if self.pulled or seconds <= 0:
            return
        woken = asyncio.Event()
        with self.tells(woken.set), contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await woken.wait()


async def for_each(
    items: Iterable[T], work: Callable[[T], Awaitable[None]], parallelism: int, brake: Brake, *, give_up: bool = False
) -> None:
    """Work on all items, at most `parallelism` at a time, until the brake is pulled.

    What is in flight then is finished, or cancelled where the work may be given up.
    """
    remaining = iter(items)

    async def worker() -> None:
        # The iterator is shared: each worker takes the next item when it has finished one.
        for item in remaining:
            if brake.pulled:
                return
            await work(item)

    await _together(worker, parallelism, brake, give_up=give_up)


async def for_each_arriving(
    feed: Feed[T], work: Callable[[T], Awaitable[None]], parallelism: int, brake: Brake
) -> None:
    """Work on what arrives, at most `parallelism` at a time, until there is no more or the brake is pulled.

    What is in flight then is finished, or cancelled by the brake.
    """

    async def worker() -> None:
        async for item in feed:
            if brake.pulled:
                return
            await work(item)

    await _together(worker, parallelism, brake, give_up=True)


async def _together(
    worker: Callable[[], Coroutine[object, object, None]], number: int, brake: Brake, *, give_up: bool
) -> None:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(worker()) for _ in range(number)]
        if give_up:
            with brake.tells(lambda: [task.cancel() for task in tasks]):
                await asyncio.wait(tasks) if tasks else None


class Feed(Generic[T]):
    """Items that arrive one after the other, for several workers; it ends when it is closed."""

    def __init__(self) -> None:
        self._items: deque[T] = deque()
        self._news = asyncio.Event()
        self._closed = False

    def add(self, items: Iterable[T]) -> None:
        """Let more arrive."""
        self._items.extend(items)
        self._news.set()

    def close(self) -> None:
        """Let nothing be taken any more, not even what has arrived."""
        self._items.clear()
        self._closed = True
        self._news.set()

    def __aiter__(self) -> Feed[T]:
        return self

    async def __anext__(self) -> T:
        while not self._items:
            if self._closed:
                raise StopAsyncIteration
            self._news.clear()
            await self._news.wait()
        return self._items.popleft()
