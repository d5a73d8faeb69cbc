"""An event loop in which nobody waits: where all tasks sleep, its clock jumps to the moment when the first one wakes.

Everything that counts by the loop is carried along, `asyncio.sleep` and `asyncio.timeout` among it. Nothing may come
from outside: a loop with nothing left to wake up to stands still for ever, which is an error here.
"""

from __future__ import annotations

import asyncio
import selectors
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping

T = TypeVar("T")


class StandsStill(AssertionError):
    """Every task waits for something that nobody will bring about."""


class _Jumping(selectors.BaseSelector):
    """Selects what is ready by now; in place of waiting for more, it moves the clock."""

    def __init__(self) -> None:
        self._inner = selectors.DefaultSelector()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = self._inner.select(0)
        if not ready:
            if timeout is None:
                raise StandsStill("nothing is left to wake up to")
            if timeout > 0:
                self.now += max(timeout, 1e-6)  # so that no rounding keeps it from arriving
        return ready

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._inner.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._inner.unregister(fileobj)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._inner.get_map()

    def close(self) -> None:
        self._inner.close()


class VirtualTime(asyncio.SelectorEventLoop):
    """A loop whose time passes only while everybody sleeps."""

    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        """Return the seconds since the loop was made."""
        return self._jumping.now


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine as `asyncio.run` does, without waiting for anything."""
    with asyncio.Runner(loop_factory=VirtualTime) as runner:
        return runner.run(work)
