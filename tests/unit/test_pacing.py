from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.gateway.pacing import Pace, backoff, retry_wait, should_retry, wait_hint

NOW = 1_792_000_000.0  # Wed, 14 Oct 2026 17:46:40 GMT


@pytest.mark.parametrize(
    ("attempt", "chance", "seconds"),
    [(0, 0.0, 0.5), (1, 0.0, 1.0), (2, 0.0, 2.0), (4, 0.0, 8.0), (9, 0.0, 8.0), (0, 0.5, 0.4375), (9, 0.8, 6.4)],
)
def test_backoff_doubles_up_to_eight_seconds_less_a_quarter_at_most(attempt, chance, seconds):
    assert backoff(attempt, chance) == pytest.approx(seconds)


@given(st.integers(0, 1000), st.floats(0, 1, exclude_max=True))
def test_backoff_stays_within_its_bounds(attempt, chance):
    assert 0.375 <= backoff(attempt, chance) <= 8


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        pytest.param({}, None, id="no hint"),
        pytest.param({"retry-after": "3"}, 3, id="whole seconds"),
        pytest.param({"retry-after": " 1.5 "}, 1.5, id="fractions"),
        pytest.param({"retry-after-ms": "250"}, 0.25, id="milliseconds"),
        pytest.param({"retry-after-ms": "250", "retry-after": "3"}, 0.25, id="milliseconds come first"),
        pytest.param({"retry-after-ms": "soon", "retry-after": "3"}, 3, id="garbled milliseconds are passed over"),
        pytest.param({"retry-after": "Wed, 14 Oct 2026 17:46:50 GMT"}, 10, id="a date"),
        pytest.param({"retry-after": "Wed, 14 Oct 2026 17:46:30 GMT"}, None, id="a date in the past"),
        pytest.param({"retry-after": "0"}, None, id="zero"),
        pytest.param({"retry-after": "-5"}, None, id="negative"),
        pytest.param({"retry-after": "nan"}, None, id="nan"),
        pytest.param({"retry-after": "1_0"}, None, id="no Python number"),
        pytest.param({"retry-after": "soon"}, None, id="a word"),
        pytest.param({"retry-after": ""}, None, id="empty"),
        pytest.param({"retry-after": "Wed, 14 Oct 999999999999 17:46:50 GMT"}, None, id="a date out of range"),
        pytest.param({"retry-after": "9" * 400}, math.inf, id="absurdly long"),
    ],
)
def test_a_hint_is_read_from_the_headers(headers, seconds):
    assert wait_hint(headers, NOW) == seconds


@given(st.text(max_size=40))
def test_no_header_text_breaks_the_reading_of_hints(text):
    hint = wait_hint({"retry-after": text, "retry-after-ms": text}, NOW)
    assert hint is None or hint > 0


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504, 529])
def test_passing_failures_are_retried(status):
    assert should_retry(status, {})


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 410, 413, 422])
def test_other_failures_are_not_retried(status):
    assert not should_retry(status, {})


@pytest.mark.parametrize(
    ("status", "advice", "codes", "expected"),
    [
        pytest.param(400, "true", (), True, id="advised to"),
        pytest.param(503, "false", (), False, id="advised not to"),
        pytest.param(429, "TRUE ", ("insufficient_quota",), True, id="advice overrides all"),
        pytest.param(503, "maybe", (), True, id="other advice is none"),
    ],
)
def test_the_servers_advice_decides(status, advice, codes, expected):
    assert should_retry(status, {"x-should-retry": advice}, *codes) is expected


@pytest.mark.parametrize(
    "codes",
    [("insufficient_quota", None), ("429", "insufficient_quota"), ("credit_balance_exhausted",), ("org_spend_limit",)],
)
def test_a_429_that_no_waiting_cures_is_not_retried(codes):
    assert not should_retry(429, {}, *codes)


def test_a_plain_rate_limit_is_retried():
    assert should_retry(429, {}, "rate_limit_exceeded", None)


def test_a_hint_wins_over_the_backoff():
    assert retry_wait(0, 0.0, 7.0) == 7.0
    assert retry_wait(0, 0.0, 120.0) == 120.0
    assert retry_wait(1, 0.0, None) == 1.0


def test_a_hint_beyond_two_minutes_means_no_retry():
    assert retry_wait(0, 0.0, 120.5) is None


def test_slots_lie_at_a_steady_distance():
    pace = Pace.per_minute(120)
    waits = []
    for _ in range(4):
        wait, pace = pace.take(100.0)
        waits.append(wait)
    assert waits == [0.0, 0.5, 1.0, 1.5]


def test_unused_slots_are_not_saved_up():
    _, pace = Pace.per_minute(60).take(0.0)
    first, pace = pace.take(1000.0)
    second, pace = pace.take(1000.0)
    assert (first, second) == (0.0, 1.0)


def test_without_a_ceiling_nobody_waits():
    pace = Pace.per_minute(None)
    for _ in range(3):
        wait, pace = pace.take(5.0)
        assert wait == 0.0


def test_a_held_pace_has_no_slot_before_that_instant():
    wait, pace = Pace.per_minute(60).held(10.0).take(4.0)
    assert wait == 6.0
    assert pace.held(0.0) == pace


@pytest.mark.parametrize("ceiling", [0, -1, math.nan])
def test_a_ceiling_is_above_zero(ceiling):
    with pytest.raises(ValueError, match="above 0"):
        Pace.per_minute(ceiling)


@given(st.lists(st.floats(0, 10), max_size=60), st.floats(1, 6000))
def test_no_minute_holds_more_calls_than_the_ceiling(gaps, ceiling):
    pace, now, starts = Pace.per_minute(ceiling), 0.0, []
    for gap in gaps:
        now += gap
        wait, pace = pace.take(now)
        starts.append(now + wait)
    distances = [later - earlier for earlier, later in pairwise(starts)]
    assert all(distance >= 60 / ceiling - 1e-9 for distance in distances)
