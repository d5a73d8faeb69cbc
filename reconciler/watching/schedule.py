"""When the next run is due, and whether all is well: arithmetic, without a clock and without chance of its own."""

from __future__ import annotations

import re
from dataclasses import dataclass

SHORTEST = 0.05
"""Seconds between two runs, at least."""
LONGEST = 7 * 24 * 3600.0
"""Seconds between two runs, at most."""
FACTOR = 2.0
"""Each failed run in a row makes the next wait so many times as long."""
MOST = 16.0
"""How many times as long as the interval a wait becomes, at most."""
CEILING = 3600.0
"""Seconds that failures make a wait, at most; a longer interval stays what it is."""

_FORM = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)(s|m|h)?", re.ASCII)
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


def parse_interval(text: str) -> float:
    """Return the seconds that `90`, `30s`, `5m` or `1h` means; raises `ValueError` with what is wrong with it."""
    found = _FORM.fullmatch(text.strip())
    if found is None:
        raise ValueError("write seconds, or a number with a unit, such as 30s, 5m or 1h")
    seconds = float(found[1]) * _UNITS[found[2] or "s"]
    if not SHORTEST <= seconds <= LONGEST:
        raise ValueError(f"an interval is {SHORTEST:g} s at least and {LONGEST / 3600:g}h at most")
    return seconds


def duration(seconds: float) -> str:
    """Return such as `0.2 s`, `298 s`, `40 min` and `2.5 h`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 600:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


@dataclass(frozen=True, slots=True)
class Rhythm:
    """How long to wait between the end of a run and the beginning of the next.

    `interval` in seconds; `jitter` is the part of a wait that chance may add or take away, from 0 to 1, so that many
    that were started at once do not stay together.
    """

    interval: float
    jitter: float = 0.1

    def backed_off(self, failures: int) -> float:
        """Return the wait after so many failed runs in a row, chance aside: twice as long for each, within bounds."""
        # A power of any number of failures would be too large for a float.
        many = min(FACTOR ** min(failures, 64), MOST)
        return max(self.interval, min(self.interval * many, CEILING))

    def pause(self, failures: int, chance: float) -> float:
        """Return the seconds to wait; `chance` is a number in [0, 1)."""
        return self.backed_off(failures) * (1 + self.jitter * (2 * chance - 1))


@dataclass(frozen=True, slots=True)
class Health:
    """Whether all is well, and a word on it."""

    well: bool
    word: str


def health(now: float, succeeded: float | None, *, runs: int, within: float, refused: bool) -> Health:
    """Tell whether all is well at `now`.

    `succeeded`: when the last good run ended, `None` where none did; `runs`: how many have ended; `within`: the seconds
    after which a success no longer counts; `refused`: the target refuses us, which no further run will mend.
    """
    if not runs:
        return Health(well=True, word="starting")
    if refused:
        return Health(well=False, word="refused: the target refuses us, or does not serve this API")
    if succeeded is None:
        return Health(well=False, word="failing: no run has succeeded yet")
    age = max(0.0, now - succeeded)
    if age > within:
        return Health(well=False, word=f"stale: the last run that succeeded ended {duration(age)} ago")
    return Health(well=True, word="ok")
