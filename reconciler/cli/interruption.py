"""What ends a run early: signals, and a limit of time. A document is left behind in any case.

The first signal gives up reading, and lets writes in flight finish, as the end of the time does; a second one ends the
run at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from reconciler.cli.signals import BURST, SIGNALS, handling, listen, raised_by, restore
from reconciler.engine import Brake
from reconciler.errors import ExitCode, Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from reconciler.cli.report import Report

T = TypeVar("T")


@dataclass(slots=True)
class Interruption:
    """Listens to signals while a run talks to the API. `notify` is told the first one, in a sentence.

    `limit`: the seconds by the steady `clock`, from when the run `begun` (now), after which the brake is pulled; `None`
    for no limit.
    """

    notify: Callable[[str], None]
    limit: float | None = None
    clock: Callable[[], float] = time.monotonic
    brake: Brake = field(default_factory=Brake)
    ended_by: signal.Signals | None = None
    expired: bool = False
    begun: float | None = None
    _stopped: float = 0.0
    _told: bool = False
    _working: bool = False
    _writing: bool = False
    _loop: asyncio.AbstractEventLoop | None = None
    _task: asyncio.Task[object] | None = None

    def __post_init__(self) -> None:
        """Let the time begin."""
        if self.begun is None:
            self.begun = self.clock()

    def run(self, work: Callable[[], Coroutine[object, object, T]], *, so_far: T | None = None) -> T:
        """Run `work`; a second signal breaks it off by `KeyboardInterrupt` or `Terminated`.

        `so_far` is for work that fills it as it goes, and may be given up at any moment: it is what is returned of work
        that was broken off. Without it, there are writes to finish.
        """
        self._writing = so_far is None
        self._working = True
        # Not the loop's own handlers: closing a loop would leave a moment in which a signal kills the process. And one
        # handler from the beginning of the work to the result: in between two, the next signal of a burst would do so.
        before = listen(self._take)
        try:
            return asyncio.run(self._within_reach(work))
        except asyncio.CancelledError:
            if self.ended_by is None:
                raise
            if so_far is not None:
                return so_far
            raise raised_by(self.ended_by) from None
        finally:
            self._loop = self._task = None
            self._working = False
            if self.ended_by is None:
                restore(before)
            elif not self._told:  # it came when the loop did nothing any more
                self._stop()

    async def _within_reach(self, work: Callable[[], Coroutine[object, object, T]]) -> T:
        self._loop = asyncio.get_running_loop()
        self._watch_the_time(self._loop)
        self._task = task = asyncio.ensure_future(work())
        return await task

    def _watch_the_time(self, loop: asyncio.AbstractEventLoop) -> None:
        """Pull the brake when the time is over; at once, before any work, where it is over already."""
        if self.limit is None:
            return
        remaining = (self.begun or 0.0) + self.limit - self.clock()
        if remaining <= 0:
            self._expire()
        else:
            loop.call_later(remaining, self._expire)  # what is left of it goes with the loop

    def _expire(self) -> None:
        if self.brake.pulled:
            return  # the run is ending already, and not for this reason
        self.expired = True
        self.brake.pull(self._overtime)
        self.notify(f"{self._overtime}: {self._following}")

    @property
    def _following(self) -> str:
        return "finishing the writes in flight" if self._writing else "giving up reading"

    @property
    def _overtime(self) -> str:
        return f"the run took longer than {self.limit:g} s"

    def _take(self, number: int, _frame: object) -> None:
        """Handle a signal; what concerns the loop is left to the loop, whose thread this may have broken into.

        One that arrives before the first was answered (a terminal's and a wrapper's, in the same instant) is that one.
        """
        if not self._working:
            self._take_late(number)
            return
        first = self.ended_by is None
        if not first and not self._told:
            return
        self.ended_by = self.ended_by or signal.Signals(number)
        self._stopped = self.clock() if first else self._stopped
        act = self._stop if first else self._break_off
        try:
            if self._loop is not None:
                self._loop.call_soon_threadsafe(act)
                return
        except RuntimeError:  # it is closed: the work is done
            pass
        act()

    def _take_late(self, number: int) -> None:
        """Handle a signal between the work and its result: the last of a burst would cost the document its parts."""
        if self.ended_by is None or self.clock() - self._stopped >= BURST:
            raise raised_by(signal.Signals(number))

    def _stop(self) -> None:
        if self._told:
            return
        name = self.ended_by.name if self.ended_by else ""
        self.brake.pull(f"interrupted by {name}")
        # Before it is shown: whoever reads it may answer before this line has ended.
        self._told = True
        # Reading ends at once by itself.
        self.notify(f"{name}: {self._following}{'; once more to end at once' if self._writing else ''}")

    def _break_off(self) -> None:
        if self._task is not None:
            self._task.cancel()

    @property
    def exception(self) -> BaseException:
        """Return what stands for the signal that ended the work: `KeyboardInterrupt` or `Terminated`."""
        return raised_by(self.ended_by or signal.SIGINT)

    @contextlib.contextmanager
    def patiently(self, doing: str) -> Iterator[None]:
        """Let a first signal wait for the end of something (`doing`, for a person); a second one breaks into it."""

        def take(number: int, _frame: object) -> None:
            if self.ended_by is not None:
                self._take_late(number)
                return
            self.ended_by, self._stopped = signal.Signals(number), self.clock()
            self.notify(f"{self.ended_by.name}: {doing}; once more to end at once")

        with handling(take):
            yield

    def note(self, report: Report) -> None:
        """Add to the report what ended the run early, if anything did; once, however often it is asked.

        A limit of time that was passed while all that there was to do was being finished has ended nothing.
        """
        if self.expired and self.brake.cost:
            problem = Problem("timeout", f"{self._overtime}, which is its limit; what is left waits for the next one")
            if problem not in report.problems:
                report.note(ExitCode.ERROR, problem)
        if self.ended_by is not None:
            report.interrupted(SIGNALS[self.ended_by], self.ended_by.name)
