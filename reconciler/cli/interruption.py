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
    from collections.abc import Callable, Coroutine

    from reconciler.cli.report import Report

T = TypeVar("T")

_SIGNALS = {signal.SIGINT: ExitCode.INTERRUPTED, signal.SIGTERM: ExitCode.TERMINATED}


@dataclass(slots=True)
class Interruption:
    """Listens to signals while a run talks to the API. `notify` is told the first one, in a sentence."""

    notify: Callable[[str], None]
    brake: Brake = field(default_factory=Brake)
    ended_by: signal.Signals | None = None

    def run(self, work: Callable[[], Coroutine[object, object, T]]) -> T:
        """Run `work`; raises `KeyboardInterrupt` or `Terminated` where a second signal broke it off."""
        before = {number: signal.getsignal(number) for number in _SIGNALS}
        try:
            return asyncio.run(self._listening(work))
        except asyncio.CancelledError:
            raise (KeyboardInterrupt if self.ended_by is signal.SIGINT else Terminated) from None
        finally:
            for number, handler in before.items():
                with contextlib.suppress(ValueError):
                    signal.signal(number, handler)

    async def _listening(self, work: Callable[[], Coroutine[object, object, T]]) -> T:
        loop, task = asyncio.get_running_loop(), asyncio.ensure_future(work())
        for number in _SIGNALS:
            # Not every place has signals: another thread, another system. There the run goes on without.
            with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
                loop.add_signal_handler(number, self._take, number, task)
        return await task

    def _take(self, number: signal.Signals, task: asyncio.Task[object]) -> None:
        if self.ended_by is not None:
            task.cancel()
            return
        self.ended_by = number
        self.brake.pull(f"interrupted by {number.name}")
        self.notify(f"{number.name}: finishing the writes in flight; once more to end at once")

    def note(self, report: Report) -> None:
        """Add the signal that ended the run, if one did, to the report."""
        if self.ended_by is not None:
            report.interrupted(_SIGNALS[self.ended_by], self.ended_by.name)
