"""How long to wait, as arithmetic: back-off, hints of the server, and the pace that everybody keeps.

Nothing here sleeps, reads a clock or rolls dice; instants and chance come as arguments, in seconds. The numbers of
retries are those of the official client (API.md, "Pace, retries, headers"), but for 429.

A `Pace` is what all calls of one method at one target share. It knows a ceiling where one was told; walls that it ran
into (429: the rate is halved, then grows by the same step every second); and what the server says is left. Each of them
is a least distance between two calls, and the longest counts.

It is kept twice: by a row of slots, in which calls wait for their turn, and by a gate, through which they leave.
Between the two a write looks at what it is about to change, and that may take long: so the row is what makes it wait,
and the gate what the ceiling is kept by.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from email.utils import mktime_tz, parsedate_tz
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

RETRIES = 2
"""Attempts after the first one."""
LIMITED_RETRIES = 5
"""Attempts after the first one where the last answer was a 429: that is about everybody's pace, not this request."""
FIRST_WAIT = 0.5
LONGEST_WAIT = 8.0
JITTER = 0.25
"""A wait is shortened by up to this share, so that clients that failed together do not return together."""
LONGEST_HINT = 120.0
"""A server that asks for more than this is not asked again in this run."""

RETRIED = frozenset({408, 409, 429})
"""Statuses that may pass, beside all from 500 on."""
HOPELESS = frozenset({"insufficient_quota", "credit_balance_exhausted", "billing_hard_limit_reached", "quota_exceeded"})
"""Codes of a 429 that no waiting cures; so are those that speak of a spend limit."""

HEAD_ROOM = 0.97
"""The share of a ceiling that is used. Calls that leave in 60 seconds may arrive within 59: latencies differ, and some
leave late by `LATE`."""
LATE = 0.5
"""Seconds by which a call may leave late without those behind it being later, too: so much that was idle is made up
for. Less than what the head room leaves of a minute."""
PATIENCE = 1.0
"""Seconds that a call may wait at the gate; where it would be more, it takes another slot. For a write it is the time
for which a look at its resource is good: after a longer wait it has to look again."""
DECREASE = 0.5
"""What is left of the rate after a wall."""
INCREASE = 0.1
"""The share of the rate at a wall by which the rate grows every second after it."""
SLOWEST = 0.1
"""Calls a second below which no wall brings the rate: nothing may stand still."""
FIRST_HOLD = 0.5
HOLD_GROWTH = 3.0
HOLD_GROWTHS = 4
"""A wall without a hint holds everybody back, each further one in a row three times as long. The first five are
60.5 seconds: they outlast the minute by which limits are counted."""
MEMORY = 3.0
"""Seconds after which a call counts for a third in the estimate of the rate at which calls are made."""
FEW = 0.1
"""The share of a limit that is few: what is left of it is spread over the time until it is reset."""

_EPOCH = 1e9
"""A reset later than this is an instant since 1970, not a number of seconds (which would be 30 years)."""

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


class Outlook(NamedTuple):
    """Whether an answer is worth another attempt, and (`spent`) whether it is a 429 that no waiting cures."""

    retried: bool
    spent: bool = False


def outlook(status: int, headers: Mapping[str, str], *codes: str | None) -> Outlook:
    """Return what may be hoped for after an answer; `codes` are the API's own names for the error.

    The server's advice counts more than anything else: asked to come again, nobody has run out of anything. `headers`
    are looked up in lower case.
    """
    advice = headers.get("x-should-retry", "").strip().lower()
    if advice == "true":
        return Outlook(retried=True)
    spent = status == 429 and any(_spent(code.strip().lower()) for code in codes if code)
    return Outlook(advice != "false" and not spent and (status in RETRIED or status >= 500), spent)


def _spent(code: str) -> bool:
    return code in HOPELESS or "spend_limit" in code or "spending_limit" in code


def retries(status: int) -> int:
    """Return the number of attempts after the first one that a call may have whose last answer had this status."""
    return LIMITED_RETRIES if status == 429 else RETRIES


def retry_wait(attempt: int, chance: float, hint: float | None) -> float | None:
    """Return the seconds before the next attempt: the hint, else the back-off; `None`: the hint is too long."""
    if hint is None:
        return backoff(attempt, chance)
    return hint if hint <= LONGEST_HINT else None


# --- what the server says is left -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a server says is left: `remaining` calls until it is reset in `reset` seconds; `limit` may be unknown."""

    remaining: float
    reset: float
    limit: float | None = None


_FAMILIES = tuple((f"{before}ratelimit-", after) for before in ("x-", "") for after in ("-requests", ""))
ALLOWANCE_HEADERS = frozenset(f"{before}remaining{after}".encode() for before, after in _FAMILIES)
"""Without one of these (in lower case), headers tell no allowance."""
ALLOWANCE_LENGTHS = frozenset(map(len, ALLOWANCE_HEADERS))

_UNITS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ms|us|µs|ns|[dhms])", re.ASCII)


def allowance(headers: Mapping[str, str], now: float) -> Allowance | None:
    """Return what the `x-ratelimit-*` headers say is left, `None` where they do not say it, or not so that it is clear.

    `headers` are looked up in lower case; `now` is the time in seconds since 1970.
    """
    for before, after in _FAMILIES:
        remaining = _number(headers.get(f"{before}remaining{after}"))
        reset = duration(headers.get(f"{before}reset{after}"))
        if remaining is None or reset is None:
            continue
        if reset > _EPOCH:
            reset = max(reset - now, 0.0)
        return Allowance(remaining, reset, _number(headers.get(f"{before}limit{after}")))
    return None


def duration(text: str | None) -> float | None:
    """Return the seconds in `6m0s`, `1.5s`, `20ms`, `1h2m` or a plain number of seconds; `None` for anything else."""
    plain = _number(text)
    if plain is not None or not text:
        return plain
    compact = text.strip().lower()
    parts = _PART.findall(compact)
    if not parts or sum(len(number) + len(unit) for number, unit in parts) != len(compact):
        return None
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


# --- the pace ---------------------------------------------------------------------------------------------------------


class Tally(NamedTuple):
    """How many calls a second are made: a count in which each call fades, as it was at the last of them.

    A named tuple because one is made with every call, which has to cost nothing.
    """

    weight: float = 0.0
    at: float = -math.inf
    begun: float = -math.inf

    def noted(self, now: float) -> Tally:
        """Count a call. After a pause the count begins anew: what was before says nothing about now."""
        gap = now - self.at
        if gap > MEMORY:
            return Tally(1.0, now, now)
        return Tally(1.0 + self.weight * math.exp(-gap / MEMORY), now, self.begun)

    def rate(self, now: float) -> float:
        """Return the calls a second, also where the count has just begun."""
        age = max(now - self.begun, 0.001)
        return self.weight * math.exp((self.at - now) / MEMORY) / (MEMORY * -math.expm1(-age / MEMORY))


@dataclass(frozen=True, slots=True)
class Restraint:
    """What a wall leaves: `rate` calls a second at `since`, `step` more with every second, none at all from `top` on.

    `walls` is the number of them in a row.
    """

    rate: float
    since: float
    step: float
    top: float
    walls: int = 1

    def at(self, instant: float) -> float:
        """Return the calls a second that are allowed."""
        return self.rate + self.step * max(instant - self.since, 0.0)


@dataclass(frozen=True, slots=True)
class Pace:
    """Slots at a distance: the next one `free` at an instant of some clock, none before `hold`.

    `interval` is the distance by the ceiling, 0 where there is none. Unused slots are not saved up, so there never is
    a burst. `spread` is a distance that counts `until` an instant. `era` counts the walls met so far. The gate `opens`
    for the next call at that instant, never before `hold` either.
    """

    interval: float = 0.0
    free: float = -math.inf
    hold: float = -math.inf
    restraint: Restraint | None = None
    spread: float = 0.0
    until: float = -math.inf
    era: int = 0
    opens: float = -math.inf

    @classmethod
    def per_minute(cls, ceiling: float | None) -> Pace:
        """Return the pace that stays under `ceiling` calls a minute, or no pace for `None`."""
        if ceiling is None:
            return cls()
        if not ceiling > 0:
            raise ValueError("a ceiling is above 0")
        return cls(60 / (ceiling * HEAD_ROOM))

    def distance(self, instant: float) -> float:
        """Return the seconds between a slot at `instant` and the next one."""
        least = self.interval
        if self.restraint is not None:
            least = max(least, 1 / self.restraint.at(instant))
        return max(least, self.spread) if instant < self.until else least

    def idle(self, now: float) -> bool:
        """Tell whether nothing is in the way of a call at `now`, nor of any number of them: no slot has to be taken."""
        return not self.interval and self.restraint is None and now >= max(self.until, self.free, self.opens)

    def take(self, now: float) -> tuple[float, Pace]:
        """Take the next slot: the instant at which it begins, and the pace after it."""
        start = max(now, self.free)
        restraint = self.restraint
        if restraint is not None and restraint.at(start) >= restraint.top:
            restraint = None  # from here on it would restrain nobody
        if not self.interval and restraint is None and start >= self.until:
            # No pace: only a hold can be in the way. The same object does, so that nothing is made.
            return start, self if self.restraint is None else replace(self, restraint=None)
        after = start + self.distance(start)
        return start, Pace(self.interval, after, self.hold, restraint, self.spread, self.until, self.era, self.opens)

    def stands(self, era: int, start: float) -> bool:
        """Tell whether a place that was given out in an era, for an instant, is still to be used."""
        return era == self.era and start >= self.hold

    def leave(self, now: float) -> tuple[float | None, Pace]:
        """Pass the gate: the instant at which to leave, and the pace after it.

        `None` where that is too far away to wait for it here.
        """
        start = max(now, self.opens)
        if start - now > PATIENCE:
            return None, self
        distance = self.distance(start)
        if not distance:
            return start, self
        opens = max(self.opens, start - LATE) + distance
        return start, Pace(
            self.interval, self.free, self.hold, self.restraint, self.spread, self.until, self.era, opens
        )

    def held(self, until: float) -> Pace:
        """Return the pace with no slot before `until`. What is idle until then is not made up for."""
        if until <= self.hold:
            return self
        return replace(self, free=max(self.free, until), hold=until, opens=max(self.opens, until))

    def slowed(self, now: float, era: int, sending: float, hint: float | None) -> Pace:
        """Return the pace after a 429 at `now` to a call that left in an era, while `sending` calls a second were made.

        `hint` is what the server asks to wait. A call from before the last wall tells of no new one. Slots that were
        given out already no longer stand.
        """
        known = self.restraint
        if era != self.era:
            return self if hint is None else self.held(now + hint)
        walls = known.walls + 1 if known else 1
        wait = hint if hint is not None else FIRST_HOLD * HOLD_GROWTH ** min(walls - 1, HOLD_GROWTHS)
        hold = max(self.hold, now + wait)
        rate = self._rate(now, sending)
        slower = max(rate * DECREASE, SLOWEST)
        top = 1 / self.interval if self.interval else max(rate, known.top if known else 0.0)
        restraint = Restraint(slower, hold, rate * INCREASE, top, walls)
        # The places given out are void, all but the last one used: that was now at the latest.
        used = now + self.distance(now)
        free, opens = max(hold, min(self.free, used)), max(hold, min(self.opens, used))
        return replace(self, free=free, hold=hold, restraint=restraint, era=era + 1, opens=opens)

    def _rate(self, now: float, sending: float) -> float:
        """Return the calls a second at a wall: those that are made, or those allowed where they are what restrains."""
        distance = self.distance(now)
        if not distance:
            return max(sending, SLOWEST)
        # Just after a hold the count knows only of a pause, but somebody waits for a slot: the pace is what is sent.
        return 1 / distance if self.free > now else min(max(sending, SLOWEST), 1 / distance)

    def eased(self, era: int) -> Pace:
        """Return the pace after an answer other than 429 to a call that left in an era: its wall is behind us."""
        known = self.restraint
        if known is None or era != self.era or not known.walls:
            return self
        return replace(self, restraint=replace(known, walls=0))

    def allowed(self, left: Allowance, now: float, in_flight: int) -> Pace:
        """Return the pace that spares what is left, where that is little."""
        end = now + min(left.reset, LONGEST_HINT)
        if left.remaining < 1:
            return self.held(end)
        few = max(2.0 * in_flight, FEW * left.limit if left.limit is not None else 0.0)
        if left.remaining >= few:
            return self if self.until <= now else replace(self, spread=0.0, until=-math.inf)
        # Calls in flight may not be counted in it yet.
        return replace(self, spread=(end - now) / max(left.remaining - in_flight, 1.0), until=end)


# --- a forecast -------------------------------------------------------------------------------------------------------


def expected_seconds(calls: int, interval: float, round_trip: float, parallelism: int) -> float:
    """Return how long `calls` calls take that begin `interval` seconds apart, at most `parallelism` of them at once.

    Each takes `round_trip` seconds.
    """
    if calls < 1:
        return 0.0
    rounds, place = divmod(calls - 1, parallelism)
    return rounds * max(round_trip, parallelism * interval) + place * interval + round_trip
