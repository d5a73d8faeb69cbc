"""When the next run is due, and whether all is well."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.watching.schedule import CEILING, LONGEST, MOST, SHORTEST, Rhythm, duration, health, parse_interval

INTERVALS = st.floats(SHORTEST, LONGEST)
FAILURES = st.integers(0, 10_000)
CHANCES = st.floats(0, 1, exclude_max=True)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("30s", 30), ("5m", 300), ("1h", 3600), ("0.2", 0.2), ("0.5m", 30), (" 10s ", 10), ("168h", LONGEST)],
)
def test_an_interval_is_seconds_or_has_a_unit(text, seconds):
    assert parse_interval(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "s", "-5", "+5", "5 m", "5d", "1h30m", "nan", "inf", "1e3", "٥", "0x10", "5.", ".5"]
)
def test_what_is_no_interval_is_refused(text):
    with pytest.raises(ValueError, match="such as 30s, 5m or 1h"):
        parse_interval(text)


@pytest.mark.parametrize("text", ["0", "0.01", "169h", "999999999h"])
def test_an_interval_has_bounds(text):
    with pytest.raises(ValueError, match="at least and 168h at most"):
        parse_interval(text)


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (0, "0.0 s"),
        (0.24, "0.2 s"),
        (12.4, "12 s"),
        (599, "599 s"),
        (600, "10 min"),
        (7199, "120 min"),
        (9000, "2.5 h"),
    ],
)
def test_a_duration_is_told_in_a_unit_that_fits(seconds, told):
    assert duration(seconds) == told


@pytest.mark.parametrize(
    ("interval", "waits"),
    [
        (1, [1, 2, 4, 8, 16, 16, 16]),
        (300, [300, 600, 1200, 2400, 3600, 3600]),
        (3600, [3600, 3600, 3600]),
        (7200, [7200, 7200]),
    ],
)
def test_each_failure_in_a_row_doubles_the_wait_up_to_a_bound(interval, waits):
    assert [Rhythm(interval).backed_off(failures) for failures in range(len(waits))] == waits


@given(INTERVALS, FAILURES)
def test_a_wait_never_is_shorter_than_the_interval_nor_longer_than_its_bounds(interval, failures):
    wait = Rhythm(interval).backed_off(failures)
    assert interval <= wait <= max(interval, min(interval * MOST, CEILING))
    assert wait <= Rhythm(interval).backed_off(failures + 1)


@given(INTERVALS, st.floats(0, 1), FAILURES, CHANCES)
def test_jitter_adds_or_takes_its_part_at_most(interval, jitter, failures, chance):
    rhythm = Rhythm(interval, jitter)
    wait, middle = rhythm.pause(failures, chance), rhythm.backed_off(failures)
    assert middle * (1 - jitter) - 1e-6 <= wait <= middle * (1 + jitter) + 1e-6


@pytest.mark.parametrize(("chance", "seconds"), [(0, 90), (0.25, 95), (0.5, 100), (0.75, 105)])
def test_jitter_goes_both_ways_alike(chance, seconds):
    assert Rhythm(100, 0.1).pause(0, chance) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("succeeded", "runs", "refused", "well", "word"),
    [
        (None, 0, False, True, "starting"),
        (None, 1, False, False, "failing: no run has succeeded yet"),
        (990.0, 5, False, True, "ok"),
        (970.0, 5, False, True, "ok"),
        (969.0, 5, False, False, "stale: the last run that succeeded ended 31 s ago"),
        (990.0, 5, True, False, "refused: the target refuses us, or does not serve this API"),
        (1005.0, 5, False, True, "ok"),
    ],
    ids=["starting", "failing", "well", "just well", "stale", "refused", "a clock set back"],
)
def test_all_is_well_while_the_last_success_is_not_too_old(succeeded, runs, refused, well, word):
    found = health(1000.0, succeeded, runs=runs, within=30.0, refused=refused)
    assert (found.well, found.word) == (well, word)
