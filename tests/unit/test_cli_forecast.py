"""Forecasts: calls, and the time that they take at the known pace."""

from __future__ import annotations

from dataclasses import dataclass, field

import httpx
import pytest

from reconciler.cli.forecast import Calls, forecast
from reconciler.gateway.pacing import Pace
from reconciler.gateway.transport import Pacer, Surroundings


@dataclass
class Known:
    """What a forecast looks at of a session: ceilings, and how long a read and a write took so far."""

    reads_per_minute: float | None = None
    writes_per_minute: float | None = None
    read: float | None = None
    write: float | None = None
    parallelism: int = 10
    answers: tuple = ()
    pacer: Pacer = field(init=False)

    def __post_init__(self):
        now = [1000.0]
        around = Surroundings(lambda: now[0], lambda: now[0])
        self.pacer = Pacer(Pace.per_minute(self.reads_per_minute), Pace.per_minute(self.writes_per_minute), around)
        for method, seconds in (("GET", self.read), ("POST", self.write)):
            if seconds is not None:
                call = self.pacer.sent(method)
                now[0] += seconds
                self.pacer.ended(method, call)
        for method, answer in self.answers:
            self.pacer.heed(method, (0, now[0]), answer)


def limited(wait):
    return httpx.Response(429, headers={"retry-after": str(wait)})


@pytest.mark.parametrize(
    ("known", "calls", "told"),
    [
        pytest.param(Known(), Calls(312, 41), "312 reads, 41 writes", id="nothing known: no time"),
        pytest.param(Known(read=0.1), Calls(10), "10 reads, about 1 s", id="never less than a second"),
        pytest.param(Known(read=0.1), Calls(1, 1), "1 read, 1 write, about 1 s", id="one of each"),
        pytest.param(Known(read=0.1), Calls(1000), "1000 reads, about 10 s", id="as many at once as allowed"),
        pytest.param(
            Known(read=0.1), Calls(1000, 1000), "1000 reads, 1000 writes, about 20 s", id="a read before each write"
        ),
        pytest.param(
            Known(read=0.1, write=0.4), Calls(1000, 1000), "1000 reads, 1000 writes, about 50 s", id="slow writes"
        ),
        pytest.param(Known(60), Calls(31), "31 reads, about 31 s", id="a ceiling is known before the first call"),
        pytest.param(Known(60, 30, read=0.001), Calls(41, 10), "41 reads, 10 writes, about 49 s", id="both ceilings"),
        pytest.param(Known(None, 30), Calls(1, 16), "1 read, 16 writes, about 31 s", id="writes alone"),
        pytest.param(Known(60), Calls(601), "601 reads, about 10 min", id="minutes"),
        pytest.param(Known(60), Calls(9001), "9001 reads, about 2.6 h", id="hours"),
        pytest.param(
            Known(60, read=0.1, answers=[("GET", limited(9))]),
            Calls(21),
            "21 reads, about 50 s",
            id="told to wait: half the pace after that",
        ),
        pytest.param(
            Known(read=0.1, answers=[("POST", limited(40))]), Calls(10), "10 reads, about 1 s", id="only writes wait"
        ),
        pytest.param(
            Known(read=0.1, answers=[("POST", limited(40))]),
            Calls(1, 1),
            "1 read, 1 write, about 40 s",
            id="and a write does",
        ),
    ],
)
def test_a_forecast_tells_calls_and_time(known, calls, told):
    assert forecast(known, calls) == told
