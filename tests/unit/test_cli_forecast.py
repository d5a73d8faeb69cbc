"""Forecasts: calls, and the time that they take at the known pace."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from reconciler.cli.forecast import Calls, forecast, round_trip
from reconciler.settings import Rate


@dataclass
class Known:
    """What a forecast looks at of a session, which is its own target here."""

    rate: Rate = field(default_factory=Rate)
    parallelism: int = 10
    round_trip: float | None = None

    @property
    def target(self):
        return self


@pytest.mark.parametrize(
    ("known", "calls", "told"),
    [
        pytest.param(Known(), Calls(312, 41), "312 reads, 41 writes", id="nothing known: no time"),
        pytest.param(Known(round_trip=0.1), Calls(10), "10 reads, about 1 s", id="never less than a second"),
        pytest.param(Known(round_trip=0.1), Calls(1, 1), "1 read, 1 write, about 1 s", id="one of each"),
        pytest.param(Known(round_trip=0.1), Calls(1000), "1000 reads, about 10 s", id="as many at once as allowed"),
        pytest.param(
            Known(round_trip=0.1),
            Calls(1000, 1000),
            "1000 reads, 1000 writes, about 20 s",
            id="a read before each write",
        ),
        pytest.param(
            Known(Rate(60, None)), Calls(31), "31 reads, about 31 s", id="a ceiling is known before the first call"
        ),
        pytest.param(
            Known(Rate(60, 30), round_trip=0.001), Calls(41, 10), "41 reads, 10 writes, about 49 s", id="both ceilings"
        ),
        pytest.param(Known(Rate(60, None)), Calls(601), "601 reads, about 10 min", id="minutes"),
        pytest.param(Known(Rate(60, None)), Calls(9001), "9001 reads, about 2.6 h", id="hours"),
    ],
)
def test_a_forecast_tells_calls_and_time(known, calls, told):
    assert forecast(known, calls) == told


@pytest.mark.parametrize(("calls", "parallelism", "seconds"), [(0, 4, None), (1, 4, 2.0), (4, 4, 2.0), (8, 4, 1.0)])
def test_the_time_of_one_call_follows_from_that_of_all(calls, parallelism, seconds):
    assert round_trip(calls, 2.0, parallelism) == seconds
