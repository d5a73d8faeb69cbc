"""What a page tells of a watch that goes on, beside the last document."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sample:
    """What one run found: fields that differ, by cause. `at`: seconds since 1970; `failed`: it ended with an error."""

    at: float
    pending: int = 0
    drift: int = 0
    conflict: int = 0
    unattributed: int = 0
    failed: bool = False


@dataclass(frozen=True, slots=True)
class Watch:
    """What is watched, and how it went: `samples`, the oldest first. Times are seconds since 1970; `interval` seconds.

    `next_at` is `None` while a run is under way; `failures` counts the failed runs since the last good one; `error` has
    the sentence of the last one that failed, `None` after a good one.
    """

    mode: str
    interval: float
    started: float
    samples: tuple[Sample, ...] = ()
    next_at: float | None = None
    failures: int = 0
    error: str | None = None
