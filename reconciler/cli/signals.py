"""Who listens to SIGINT and SIGTERM, and for how long."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from typing import TYPE_CHECKING

from reconciler.errors import ExitCode, Terminated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    Handler = Callable[[int, Any], Any] | int | signal.Handlers | None

BURST = 1.0
"""Seconds in which signals after the first one are taken for the same wish, once the work has ended by it."""

SIGNALS = {signal.SIGINT: ExitCode.INTERRUPTED, signal.SIGTERM: ExitCode.TERMINATED}


def raised_by(number: signal.Signals) -> BaseException:
    """Return what stands for a signal: `KeyboardInterrupt` or `Terminated`."""
    return KeyboardInterrupt() if number is signal.SIGINT else Terminated()


@contextlib.contextmanager
def handling(handler: Handler) -> Iterator[None]:
    """Give SIGINT and SIGTERM to `handler` within this context; in other threads than the main one, to nobody else."""
    before = listen(handler)
    try:
        yield
    finally:
        restore(before)


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Let no signal break into this context, nor end a process that is started in it."""
    with handling(signal.SIG_IGN):
        yield


@contextlib.contextmanager
def delivering() -> Iterator[None]:
    """Let no burst of signals disturb the delivery of a result; a later one ends the process at once.

    Whoever should take the result may never do so: a pipe that nobody reads. Afterwards nothing is left to break off,
    and Python, at its own end, would give the signals back to the system, which kills.
    """
    first = list[float]()

    def take(number: int, _frame: object) -> None:
        first.append(time.monotonic())
        if first[-1] - first[0] >= BURST:
            os._exit(SIGNALS[signal.Signals(number)])

    listen(take)
    try:
        yield
    finally:
        listen(signal.SIG_IGN)


def _ignored(number: signal.Signals) -> bool:
    """Tell whether whoever started the process wants a signal ignored, as a script does for what it left behind."""
    return signal.getsignal(number) is signal.SIG_IGN


def listen(handler: Handler) -> dict[signal.Signals, Handler]:
    """Give both signals to `handler` from now on, and return who had them; in other threads than the main one, nobody.

    `restore` gives them back.
    """
    before: dict[signal.Signals, Handler] = {}
    for number in SIGNALS:
        if _ignored(number):
            continue
        with contextlib.suppress(ValueError):  # only the main thread may listen
            before[number] = signal.signal(number, handler)
    return before


def restore(before: dict[signal.Signals, Handler]) -> None:
    """Give the signals back to whoever had them."""
    for number, handler in before.items():
        signal.signal(number, handler)
