"""Signals: the first one lets calls in flight finish, a second one ends the run at once; both leave a document."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from reconciler.engine import Brake
from reconciler.errors import ExitCode, Terminated

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from reconciler.cli.report import Report

T = TypeVar("T")

_SIGNALS = {signal.SIGINT: ExitCode.INTERRUPTED, signal.SIGTERM: ExitCode.TERMINATED}


@dataclass(slots=True)
class Interruption:
    """Listens to signals while a run talks to the API. `notify` is told the first one, in a sentence."""

    notify: Callable[[str], None]
    brake: Brake = field(default_factory=Brake)
    ended_by: signal.Signals | None = None
    _loop: asyncio.AbstractEventLoop | None = None
    _task: asyncio.Task[object] | None = None

    def run(self, work: Callable[[], Coroutine[object, object, T]], *, breakable: bool) -> T:
        """Run `work`; where it is `breakable`, a second signal breaks it off by `KeyboardInterrupt` or `Terminated`.

        Work that ends by itself when the brake is pulled need not be.
        """
        # Not the loop's own handlers: closing a loop would leave a moment in which a signal kills the process.
        with handling(self._take):
            try:
                return asyncio.run(self._within_reach(work, breakable=breakable))
            except asyncio.CancelledError:
                if self.ended_by is None:
                    raise
                raise (KeyboardInterrupt if self.ended_by is signal.SIGINT else Terminated) from None
            finally:
                self._loop = self._task = None

    async def _within_reach(self, work: Callable[[], Coroutine[object, object, T]], *, breakable: bool) -> T:
        task = asyncio.ensure_future(work())
        self._loop, self._task = asyncio.get_running_loop(), task if breakable else None
        return await task

    def _take(self, number: int, _frame: object) -> None:
        """Handle a signal; what concerns the loop is left to the loop, whose thread this may have broken into."""
        first, name = self.ended_by is None, signal.Signals(number)
        self.ended_by = self.ended_by or name
        act = self._stop if first else self._break_off
        if self._loop is None:
            act()
        else:
            self._loop.call_soon_threadsafe(act)

    def _stop(self) -> None:
        name = self.ended_by.name if self.ended_by else ""
        self.brake.pull(f"interrupted by {name}")
        self.notify(f"{name}: finishing the writes in flight; once more to end at once")

    def _break_off(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def note(self, report: Report) -> None:
        """Add the signal that ended the run, if one did, to the report."""
        if self.ended_by is not None:
            report.interrupted(_SIGNALS[self.ended_by], self.ended_by.name)


@contextlib.contextmanager
def handling(handler: Callable[[int, object], object] | signal.Handlers) -> Iterator[None]:
    """Give SIGINT and SIGTERM to `handler` within this context; in other threads than the main one, to nobody else."""
    before = {}
    for number in _SIGNALS:
        with contextlib.suppress(ValueError):  # only the main thread may listen
            before[number] = signal.signal(number, handler)
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Let no signal break into this context, nor end a process that is started in it."""
    with handling(signal.SIG_IGN):
        yield


def ignore_signals() -> None:
    """Let nothing disturb the rest of the process: its result is there, and is about to be delivered."""
    for number in _SIGNALS:
        with contextlib.suppress(ValueError):
            signal.signal(number, signal.SIG_IGN)
