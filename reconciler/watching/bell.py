"""What wakes a watch that waits: signals ring it, and a ring that comes too early is not lost."""

from __future__ import annotations

import contextlib
import os
import select
import time


class Bell:
    """A pipe to itself: what a handler of signals may use at any moment, where a lock could wait for its own thread."""

    def __init__(self) -> None:
        self._out, self._in = os.pipe()
        for end in (self._out, self._in):
            os.set_blocking(end, False)

    def ring(self) -> None:
        """Wake whoever waits, or whoever waits next."""
        with contextlib.suppress(OSError):  # full: it rings already
            os.write(self._in, b"!")

    def wait(self, seconds: float) -> bool:
        """Wait for a ring, so many seconds at most; tell whether there was one. It is used up by that."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 or seconds <= 0:
            # In pieces: a machine that sleeps in between should not wait on for what it slept through.
            ready, _, _ = select.select([self._out], [], [], min(max(left, 0.0), 3600.0))
            if ready:
                with contextlib.suppress(OSError):
                    os.read(self._out, 4096)
                return True
            if seconds <= 0:
                return False
        return False

    def close(self) -> None:
        """Give the pipe back."""
        for end in (self._out, self._in):
            os.close(end)
