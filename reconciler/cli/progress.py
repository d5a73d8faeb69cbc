"""A progress bar on standard error, where that is a terminal."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING

import click

from reconciler.events import ChangeDone, ReadDone, silence

if TYPE_CHECKING:
    from collections.abc import Iterator

    from reconciler.events import Emit, Event

_STEPS = 200
"""How often a bar is drawn, at most."""


@contextlib.contextmanager
def progress(length: int, label: str, *, wanted: bool) -> Iterator[Emit]:
    """Show a bar of `length` resources; each one that is done moves it."""
    if not wanted or not length or not sys.stderr.isatty():
        yield silence
        return
    with click.progressbar(
        length=length, label=label, file=sys.stderr, update_min_steps=max(1, length // _STEPS)
    ) as bar:

        def move(event: Event) -> None:
            if isinstance(event, ReadDone | ChangeDone):
                with contextlib.suppress(OSError):  # a terminal that went away must not end the work
                    bar.update(1)

        yield move
