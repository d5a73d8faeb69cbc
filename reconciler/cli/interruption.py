"""What ends a run early: signals, and a limit of time. A document is left behind in any case.

The first signal lets writes in flight finish, as the end of the time does; a second one ends the run at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from reconciler.engine import Brake
from reconciler.errors import ExitCode, Problem, Terminated

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from reconciler.cli.report import Report

T = TypeVar("T")

BURST = 1.0
"""Seconds in which signals after the first one are taken for the same wish, once the work has ended by it."""

_SIGNALS = {signal.SIGINT: ExitCode.INTERRUPTED, signal.SIGTERM: ExitCode.TERMINATED}


@dataclass(slots=True)
class Interruption:
    """Listens to signals while a run talks to the API. `notify` is told the first one, in a sentence.

    `limit`: the seconds by the steady `clock`, from now on, after which the brake is pulled; `None` for no limit.
    """

    notify: Callable[[str], None]
    limit: float | None = None
    clock: Callable[[], float] = time.monotonic
    brake: Brake = field(default_factory=Brake)
    ended_by: signal.Signals | None = None
    expired: bool = False
    _begun: float = field(init=False)
    _stopped: float = 0.0
    _told: bool = False
    _loop: asyncio.AbstractEventLoop | None = None
    _task: asyncio.Task[object] | None = None

    def __post_init__(self) -> None:
        """Let the time begin."""
        self._begun = self.clock()

    def run(self, work: Callable[[], Coroutine[object, object, T]], *, breakable: bool) -> T:
        """Run `work`; where it is `breakable`, a second signal breaks it off by `KeyboardInterrupt` or `Terminated`.

        Work that ends by itself when the brake is pulled need not be.
        """
        try:
            # Not the loop's own handlers: closing a loop would leave a moment in which a signal kills the process.
            with handling(self._take):
                return asyncio.run(self._within_reach(work, breakable=breakable))
        except asyncio.CancelledError:
            if self.ended_by is None:
                raise
            raise _raised_by(self.ended_by) from None
        finally:
            self._loop = self._task = None
            if self.ended_by is not None:
                _listen(self._take_late)

    async def _within_reach(self, work: Callable[[], Coroutine[object, object, T]], *, breakable: bool) -> T:
        self._loop = asyncio.get_running_loop()
        self._watch_the_time(self._loop)
        task = asyncio.ensure_future(work())
        self._task = task if breakable else None
        return await task

    def _watch_the_time(self, loop: asyncio.AbstractEventLoop) -> None:
        """Pull the brake when the time is over; at once, before any work, where it is over already."""
        if self.limit is None:
            return
        remaining = self._begun + self.limit - self.clock()
        if remaining <= 0:
            self._expire()
        else:
            loop.call_later(remaining, self._expire)  # what is left of it goes with the loop

    def _expire(self) -> None:
        if self.brake.pulled:
            return  # the run is ending already, and not for this reason
        self.expired = True
        self.brake.pull(self._overtime)
        self.notify(f"{self._overtime}: finishing the writes in flight")

    @property
    def _overtime(self) -> str:
        return f"the run took longer than {self.limit:g} s"

    def _take(self, number: int, _frame: object) -> None:
        """Handle a signal; what concerns the loop is left to the loop, whose thread this may have broken into.

        One that arrives before the first was answered (a terminal's and a wrapper's, in the same instant) is that one.
        """
        first = self.ended_by is None
        if not first and not self._told:
            return
        self.ended_by = self.ended_by or signal.Signals(number)
        self._stopped = self.clock() if first else self._stopped
        act = self._stop if first else self._break_off
        if self._loop is None:
            act()
        else:
            self._loop.call_soon_threadsafe(act)

    def _take_late(self, number: int, _frame: object) -> None:
        """Handle a signal between the work and its result: the last of a burst would cost the document its parts."""
        if self.clock() - self._stopped >= BURST:
            raise _raised_by(signal.Signals(number))

    def _stop(self) -> None:
        name = self.ended_by.name if self.ended_by else ""
        self.brake.pull(f"interrupted by {name}")
        # Before it is shown: whoever reads it may answer before this line has ended.
        self._told = True
        self.notify(f"{name}: finishing the writes in flight; once more to end at once")

    def _break_off(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def note(self, report: Report) -> None:
        """Add to the report what ended the run early, if anything did; once, however often it is asked."""
        if self.expired:
            problem = Problem("timeout", f"{self._overtime}, which is its limit; what is left waits for the next one")
            # The code each time: what is left to the outcomes of an apply would forget it.
            report.note(ExitCode.ERROR, *([] if problem in report.problems else [problem]))
        if self.ended_by is not None:
            report.interrupted(_SIGNALS[self.ended_by], self.ended_by.name)


def _raised_by(number: signal.Signals) -> BaseException:
    return KeyboardInterrupt() if number is signal.SIGINT else Terminated()


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
    _listen(signal.SIG_IGN)


def _listen(handler: Callable[[int, object], object] | signal.Handlers) -> None:
    """Give both signals to `handler` from now on; in other threads than the main one, to nobody else."""
    for number in _SIGNALS:
        with contextlib.suppress(ValueError):
            signal.signal(number, handler)
