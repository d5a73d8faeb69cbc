"""Bounded parallel work, and the brake that ends it."""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from reconciler.errors import Fault

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator

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

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(worker()) for _ in range(parallelism)]
        if give_up:
            with brake.tells(lambda: [task.cancel() for task in tasks]):
                await asyncio.wait(tasks) if tasks else None
