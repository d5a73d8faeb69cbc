"""How long to wait, as arithmetic: back-off, hints of the server, and a steady pace.

Nothing here sleeps, reads a clock or rolls dice; instants and chance come as arguments, in seconds. The numbers are
those of the official client (API.md, "Pace, retries, headers").
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from email.utils import mktime_tz, parsedate_tz
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

RETRIES = 2
"""Attempts after the first one."""
FIRST_WAIT = 0.5
LONGEST_WAIT = 8.0
JITTER = 0.25
"""A wait is shortened by up to this share, so that clients that failed together do not return together."""
LONGEST_HINT = 120.0
"""A server that asks for more than this is not asked again in this run."""

RETRIED = frozenset({408, 409, 429})
"""Statuses that may pass, beside all from 500 on."""
HOPELESS = frozenset({"insufficient_quota", "credit_balance_exhausted", "billing_hard_limit_reached"})
"""Codes of a 429 that no waiting cures; so are those that speak of a spend limit."""

_NUMBER = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*\Z", re.ASCII)


def backoff(attempt: int, chance: float) -> float:
    """Return the seconds to wait after failed attempt number `attempt` (from 0); `chance` is in [0, 1)."""
    return min(FIRST_WAIT * 2.0**attempt, LONGEST_WAIT) * (1 - JITTER * chance)


def wait_hint(headers: Mapping[str, str], now: float) -> float | None:
    """Return the seconds that the server asks to wait, or `None` where it does not ask.

    `retry-after-ms` counts before `retry-after`, which is a number of seconds or an HTTP date; `now` is the time in
    seconds since 1970. `headers` are looked up in lower case. What is no longer in the future is no hint.
    """
    wait = _number(headers.get("retry-after-ms"))
    if wait is not None:
        wait /= 1000
    else:
        hint = headers.get("retry-after")
        wait = _number(hint)
        if wait is None:
            wait = _seconds_until(hint, now)
    return wait if wait is not None and wait > 0 else None


def _number(text: str | None) -> float | None:
    # float() alone would also take "nan", "1_000" and a minus sign.
    found = _NUMBER.match(text) if text else None
    return float(found[1]) if found else None


def _seconds_until(date: str | None, now: float) -> float | None:
    parsed = parsedate_tz(date) if date else None
    if parsed is None:
        return None
    try:
        return float(mktime_tz(parsed)) - now
    except (ValueError, OverflowError):
        return None


def should_retry(status: int, headers: Mapping[str, str], *codes: str | None) -> bool:
    """Tell whether an answer is worth another attempt; `codes` are the API's own names for the error."""
    advice = headers.get("x-should-retry", "").strip().lower()
    if advice in ("true", "false"):
        return advice == "true"
    if status == 429 and any(_hopeless(code) for code in codes if code):
        return False
    return status in RETRIED or status >= 500


def _hopeless(code: str) -> bool:
    return code in HOPELESS or "spend_limit" in code


def retry_wait(attempt: int, chance: float, hint: float | None) -> float | None:
    """Return the seconds before the next attempt: the hint, else the back-off; `None`: the hint is too long."""
    if hint is None:
        return backoff(attempt, chance)
    return hint if hint <= LONGEST_HINT else None


@dataclass(frozen=True, slots=True)
class Pace:
    """Slots at a steady distance: `interval` seconds apart, the next one `free` at an instant of some clock.

    Unused slots are not saved up, so there never is a burst. An interval of 0 is no ceiling.
    """

    interval: float = 0.0
    free: float = -math.inf

    @classmethod
    def per_minute(cls, ceiling: float | None) -> Pace:
        """Return the pace that keeps `ceiling` calls a minute, or no pace for `None`."""
        if ceiling is None:
            return cls()
        if not ceiling > 0:
            raise ValueError("a ceiling is above 0")
        return cls(60 / ceiling)

    def take(self, now: float) -> tuple[float, Pace]:
        """Take the next slot: the seconds until it begins, and the pace after it."""
        start = max(now, self.free)
        return start - now, Pace(self.interval, start + self.interval)

    def held(self, until: float) -> Pace:
        """Return the pace with no slot before `until`."""
        return Pace(self.interval, max(self.free, until))
