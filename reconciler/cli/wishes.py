"""What a person or a machine wishes of a watch that goes on: signals, taken as wishes until somebody looks at them."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reconciler.cli.signals import listen
from reconciler.watching.bell import Bell

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(slots=True)
class Wishes:
    """What signals have asked for: another run (`again`), or the end (`ended`)."""

    bell: Bell
    detached: bool
    again: bool = False
    ended: bool = False

    @classmethod
    @contextlib.contextmanager
    def listening(cls) -> Iterator[Wishes]:
        """Listen to signals within this context, and to none from its end on: nothing is left to break off."""
        # Who is told to survive a hangup (nohup) is not ended by one.
        ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        wishes = cls(Bell(), detached=ignored or not _has_terminal())
        listen(lambda number, _frame: wishes.end(number))
        signal.signal(signal.SIGHUP, wishes._hang_up)
        try:
            yield wishes
        finally:
            listen(signal.SIG_IGN)
            signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def end(self, _number: int) -> None:
        """Take the wish for an end."""
        self.ended = True
        self.bell.ring()

    def _hang_up(self, _number: int, _frame: object) -> None:
        """Take the wish for another run; of a terminal that was closed it is one for the end."""
        if not self.detached and not _has_terminal():
            self.ended = True
        self.again = True
        self.bell.ring()

    def wait(self, seconds: float) -> None:
        """Wait so long, or until there is a wish."""
        until = time.monotonic() + seconds
        while not (self.again or self.ended) and (left := until - time.monotonic()) > 0:
            self.bell.wait(left)


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True
