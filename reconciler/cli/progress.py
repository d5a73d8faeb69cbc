"""How far the work is, on standard error: one line that is redrawn at a terminal, a line now and then in a log.

    Reading  1,234/10,000  12%  3,021/s  3 s left

The line at a terminal is taken away before anything else is written there, and at the end.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections import deque
from typing import TYPE_CHECKING, TypeVar

from reconciler.events import ChangeDone, OutcomeStatus, ReadDone, silence
from reconciler.model import Unread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import TextIO, TypeAlias

    from reconciler.events import Emit, Event

    Tell: TypeAlias = Callable[[int, int, int], None]

REDRAWN = 0.2
"""Seconds between two looks of the line at a terminal, at least."""
LOGGED = 5.0
"""Seconds between two lines in a log, at least: short runs write none."""
_RECENT = 25
"""Looks back that the rate is taken over: the pace of a server changes while it is being read."""
_WIPED = "\r\x1b[K"


class Meter:
    """Counts what is done, and writes how far that is once enough time has passed on the clock.

    `columns` tells the width of a terminal; without it the stream is a log. A stream that fails ends the writing,
    never the work.
    """

    def __init__(
        self,
        length: int,
        label: str,
        stream: TextIO,
        clock: Callable[[], float] = time.monotonic,
        columns: Callable[[], int] | None = None,
    ) -> None:
        self.length, self.label = length, label
        self.done = self.failed = 0
        self._stream, self._clock, self._columns = stream, clock, columns
        self._every = LOGGED if columns is None else REDRAWN
        self._looks = deque([(clock(), 0)], _RECENT)
        self._next = self._looks[0][0] + self._every
        self._drawn = self._broken = False
        if columns is not None:
            self._draw(0.0)

    def __call__(self, event: Event) -> None:
        """Count a resource that was read, or a change that was carried out, in success or failure."""
        if isinstance(event, ReadDone):
            self.count(failed=isinstance(event.reading, Unread))
        elif isinstance(event, ChangeDone):
            self.count(failed=event.outcome.status is OutcomeStatus.FAILED)

    def count(self, done: int = 1, failed: int = 0) -> None:
        """Count what is done, and how many of it in failure; look if it is time to."""
        self.done += done
        self.failed += failed
        if self._clock() >= self._next:
            self._look()

    def text(self, rate: float, columns: int | None) -> str:
        """Return what there is to tell at such a pace, `""` where it has no room in the columns."""
        return line(self.label, self.done, self.length, self.failed, rate, columns)

    def wipe(self) -> None:
        """Take the line away from the terminal; the next look draws it again."""
        if self._drawn:
            self._drawn = False
            self._write(_WIPED)

    def _look(self) -> None:
        now = self._clock()
        then, done = self._looks[0]
        rate = (self.done - done) / (now - then) if now > then else 0.0
        self._looks.append((now, self.done))
        self._next = now + self._every
        self._draw(rate)

    def _draw(self, rate: float) -> None:
        columns = None if self._columns is None else self._columns()
        text = self.text(rate, columns)
        if columns is None:
            self._write(f"{text}\n")
        elif text:
            self._drawn = True
            self._write(f"{_WIPED}{text}")

    def _write(self, text: str) -> None:
        if self._broken:
            return
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):  # a terminal that went away, a stream that was closed
            self._broken = True


class Tally(Meter):
    """Counts what lists have shown: how many that will be, nobody knows."""

    lists: tuple[int, int] = (0, 0)

    def add(self, shown: int, lists: int, known: int) -> None:
        """Count the objects of a page; so many lists of those that are known are done."""
        self.lists = (lists, known)
        self.count(shown)

    def text(self, rate: float, columns: int | None) -> str:
        """Return how many objects were shown, and how many lists are done."""
        done, known = self.lists
        pace = f"  {rate:,.0f}/s" if rate else ""
        text = f"{self.label}  {self.done:,} objects  {done:,}/{known:,} lists{pace}"
        return text if columns is None or len(text) < columns else ""


def line(label: str, done: int, length: int, failed: int, rate: float, columns: int | None = None) -> str:
    """Return how far the work is in one line: as much of it as fits into the columns, what is done first."""
    parts = [
        label,
        f"{done:,}/{length:,}",
        f"{min(100, 100 * done // length)}%",
        *([f"{failed:,} failed"] if failed else []),
        *([f"{_amount(rate)}/s"] if rate else []),
        *([f"{duration((length - done) / rate)} left"] if rate and done < length else []),
    ]
    # The last column stays free: a terminal would go on to the next line.
    while columns is not None and len(parts) > 1 and len("  ".join(parts)) >= columns:
        parts.pop()
    text = "  ".join(parts)
    return text if columns is None or len(text) < columns else text[: max(0, columns - 1)]


def _amount(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.1f}"


_MINUTES, _HOURS = 120, 7200


def duration(seconds: float) -> str:
    """Return such as `9 s`, `3 min`, `2.5 h`."""
    if seconds < _MINUTES:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < _HOURS else f"{seconds / 3600:.1f} h"


# --- which stream -----------------------------------------------------------------------------------------------------

_M = TypeVar("_M", bound=Meter)
_shown: list[Meter] = []
"""The meters that may have a line on the terminal."""


@contextlib.contextmanager
def progress(
    length: int,
    label: str,
    *,
    wanted: bool,
    clock: Callable[[], float] = time.monotonic,
    stream: TextIO | None = None,
) -> Iterator[Emit]:
    """Show how many of `length` resources are done, on standard error unless another stream is given."""
    stream = sys.stderr if stream is None else stream
    if not wanted or not length or stream is None:
        yield silence
        return
    with _showing(Meter(length, label, stream, clock, _columns(stream))) as meter:
        yield meter


@contextlib.contextmanager
def tally(label: str, *, wanted: bool) -> Iterator[Tell]:
    """Show on standard error how many objects lists have shown."""
    stream = sys.stderr
    if not wanted or stream is None:
        yield lambda *_: None
        return
    with _showing(Tally(0, label, stream, columns=_columns(stream))) as meter:
        yield meter.add


@contextlib.contextmanager
def _showing(meter: _M) -> Iterator[_M]:
    """Let a meter have its line until the end."""
    _shown.append(meter)
    try:
        yield meter
    finally:
        _shown.remove(meter)
        meter.wipe()


def _columns(stream: TextIO) -> Callable[[], int] | None:
    """Return what tells the width of a terminal whose line can be drawn again; `None` for any other stream."""
    return (lambda: columns_of(stream)) if redraws(stream, os.environ) else None


def step_aside() -> None:
    """Take the line away from the terminal, for something else is about to be written there."""
    for meter in _shown:
        meter.wipe()


def redraws(stream: TextIO, environment: Mapping[str, str]) -> bool:
    """Tell whether a line can be drawn again: not in a log, nor where the terminal is a dumb one."""
    try:
        return stream.isatty() and environment.get("TERM") != "dumb"
    except ValueError:  # it is closed
        return False


def columns_of(stream: TextIO, environment: Mapping[str, str] = os.environ) -> int:
    """Return the columns of the terminal that a stream is; COLUMNS overrides them, and 80 are as good as unknown."""
    told = environment.get("COLUMNS", "")
    if told.isdecimal() and int(told):
        return int(told)
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80
    except (OSError, ValueError):
        return 80
