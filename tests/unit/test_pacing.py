from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.gateway.pacing import (
    FIRST_HOLD,
    HEAD_ROOM,
    LATE,
    LIMITED_RETRIES,
    LONGEST_HINT,
    MEMORY,
    PATIENCE,
    RETRIES,
    SLOWEST,
    Allowance,
    Pace,
    Tally,
    allowance,
    backoff,
    duration,
    expected_seconds,
    outlook,
    retries,
    retry_wait,
    wait_hint,
)

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
    assert outlook(status, {}) == (True, False)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 410, 413, 422])
def test_other_failures_are_not_retried(status):
    assert outlook(status, {}) == (False, False)


SPENT = ("insufficient_quota",)


@pytest.mark.parametrize(
    ("status", "advice", "codes", "expected"),
    [
        pytest.param(400, "true", (), (True, False), id="advised to"),
        pytest.param(503, "false", (), (False, False), id="advised not to"),
        pytest.param(429, "False", (), (False, False), id="advised not to, and it is the pace"),
        pytest.param(429, "TRUE ", SPENT, (True, False), id="advice overrides all"),
        pytest.param(429, "false", SPENT, (False, True), id="advised not to, with good reason"),
        pytest.param(503, "maybe", (), (True, False), id="other advice is none"),
        pytest.param(429, "maybe", SPENT, (False, True), id="nor does it hide the reason"),
        pytest.param(503, "", SPENT, (True, False), id="only a 429 speaks of what is spent"),
        pytest.param(400, "", SPENT, (False, False), id="whatever it is called"),
    ],
)
def test_the_servers_advice_decides(status, advice, codes, expected):
    assert outlook(status, {"x-should-retry": advice}, *codes) == expected


@pytest.mark.parametrize(
    "codes",
    [
        ("insufficient_quota", None),
        ("429", "insufficient_quota"),
        ("credit_balance_exhausted",),
        ("billing_hard_limit_reached",),
        ("org_spend_limit",),
        ("monthly_spending_limit_reached",),
        ("quota_exceeded",),
        (None, "Insufficient_Quota "),
    ],
)
def test_a_429_that_no_waiting_cures_is_not_retried(codes):
    assert outlook(429, {}, *codes) == (False, True)


@pytest.mark.parametrize("codes", [(), (None,), ("",), ("rate_limit_exceeded", "requests"), ("slow_down",)])
def test_other_codes_of_a_429_leave_hope(codes):
    assert outlook(429, {}, *codes) == (True, False)


def test_a_429_is_about_everybody_and_has_more_retries():
    assert (retries(429), retries(503), retries(408)) == (LIMITED_RETRIES, RETRIES, RETRIES)
    assert LIMITED_RETRIES > RETRIES


def test_a_hint_wins_over_the_backoff():
    assert retry_wait(0, 0.0, 7.0) == 7.0
    assert retry_wait(0, 0.0, 120.0) == 120.0
    assert retry_wait(1, 0.0, None) == 1.0


def test_a_hint_beyond_two_minutes_means_no_retry():
    assert retry_wait(0, 0.0, 120.5) is None


# --- slots ------------------------------------------------------------------------------------------------------------

HELD_FOR = [FIRST_HOLD * 3**number for number in range(5)]


def taken(pace, now, number):
    """Take slots at one instant: when they begin, and the pace after them."""
    starts = []
    for _ in range(number):
        start, pace = pace.take(now)
        starts.append(start)
    return starts, pace


def test_slots_lie_at_a_steady_distance_a_little_below_the_ceiling():
    starts, _ = taken(Pace.per_minute(120), 100.0, 4)
    assert [later - earlier for earlier, later in pairwise(starts)] == pytest.approx([0.5 / HEAD_ROOM] * 3)
    assert starts[0] == 100.0


def test_the_head_room_leaves_more_than_nine_tenths_of_a_ceiling():
    starts, _ = taken(Pace.per_minute(1000), 0.0, 1001)
    assert 950 <= sum(start < 60 for start in starts) < 1000


def test_unused_slots_are_not_saved_up():
    _, pace = Pace.per_minute(60).take(0.0)
    first, pace = pace.take(1000.0)
    second, pace = pace.take(1000.0)
    assert (first, second) == (1000.0, pytest.approx(1000 + 1 / HEAD_ROOM))


def test_without_a_ceiling_nobody_waits_and_nothing_is_made():
    pace = Pace.per_minute(None)
    start, after = pace.take(5.0)
    assert start == 5.0
    assert after is pace
    assert pace.leave(5.0) == (5.0, pace)
    assert pace.leave(5.0)[1] is pace
    assert pace.distance(5.0) == 0.0
    assert pace.idle(5.0)


def test_a_held_pace_has_no_slot_before_that_instant():
    start, pace = Pace.per_minute(60).held(10.0).take(4.0)
    assert start == 10.0
    assert pace.held(0.0) is pace


def test_a_hold_ends_where_there_is_no_ceiling():
    starts, pace = taken(Pace().held(10.0), 4.0, 3)
    assert starts == [10.0] * 3
    assert taken(pace, 11.0, 2)[0] == [11.0] * 2


def test_a_hold_that_is_shorter_than_the_pace_changes_no_slot():
    _, pace = Pace.per_minute(6).take(100.0)
    assert pace.held(105.0).take(100.0)[0] == pytest.approx(100 + 10 / HEAD_ROOM)


def test_a_slot_from_before_a_hold_stands_where_it_begins_after_it():
    pace = Pace.per_minute(60).held(10.0)
    assert not pace.stands(0, 9.9)
    assert pace.stands(0, 10.0)


@pytest.mark.parametrize("ceiling", [0, -1, math.nan])
def test_a_ceiling_is_above_zero(ceiling):
    with pytest.raises(ValueError, match="above 0"):
        Pace.per_minute(ceiling)


@given(st.lists(st.floats(0, 10), max_size=60), st.floats(1, 6000))
def test_no_minute_holds_more_calls_than_the_ceiling(gaps, ceiling):
    pace, now, starts = Pace.per_minute(ceiling), 0.0, []
    for gap in gaps:
        now += gap
        start, pace = pace.take(now)
        starts.append(start)
    distances = [later - earlier for earlier, later in pairwise(starts)]
    assert all(distance >= 60 / ceiling - 1e-9 for distance in distances)


# --- the gate ---------------------------------------------------------------------------------------------------------


def left(pace, *instants):
    """Pass the gate at some instants: when each leaves, and the pace after them."""
    leavings = []
    for now in instants:
        start, pace = pace.leave(now)
        leavings.append(start)
    return leavings, pace


MINUTE = Pace(2.0)
"""A call every two seconds."""


def test_who_comes_through_on_time_leaves_at_once():
    assert left(MINUTE, 100.0, 102.0, 104.0)[0] == [100.0, 102.0, 104.0]


def test_who_is_late_pushes_nobody_back_as_long_as_it_is_little():
    assert left(MINUTE, 100.0, 102.0 + LATE, 104.0, 106.0)[0] == [100.0, 102.5, 104.0, 106.0]
    assert left(MINUTE, 100.0, 102.7, 104.0)[0] == [100.0, 102.7, pytest.approx(104.2)]


def test_what_came_late_all_at_once_leaves_one_by_one_and_the_rest_has_to_come_again():
    pace = Pace(0.4)
    leavings, after = left(pace, *[100.0] * 9)
    assert leavings == [100.0, 100.0, *(pytest.approx(each) for each in (100.3, 100.7)), *[None] * 5]
    assert left(after, 100.2)[0] == [pytest.approx(101.1)]


def test_who_would_wait_as_long_as_patience_waits_and_no_longer():
    assert left(Pace(1.0 + LATE), 100.0, 100.0)[0] == [100.0, 101.0]
    assert left(Pace(1.001 + LATE), 100.0, 100.0)[0] == [100.0, None]


def test_nobody_leaves_during_a_hold_and_nothing_is_made_up_for_after_it():
    held = Pace(0.2).held(110.0)
    assert left(held, 105.0, 109.5)[0] == [None, 110.0]
    assert left(held, *[110.0] * 3)[0] == pytest.approx([110.0, 110.2, 110.4])


def test_after_a_wall_the_gate_is_as_slow_as_the_row():
    slowed = Pace().slowed(100.0, 0, 20.0, 3.0)
    assert left(slowed, 101.0, 102.5, 102.5)[0] == [None, 103.0, pytest.approx(103.1)]


def test_places_at_the_gate_from_before_a_wall_are_given_again():
    _, pace = left(Pace(0.5), *[100.0] * 4)
    assert pace.opens == pytest.approx(101.5)
    slowed = pace.slowed(100.1, 0, 2.0, 0.2)
    assert slowed.opens == pytest.approx(100.6)


# --- walls ------------------------------------------------------------------------------------------------------------


def test_after_a_wall_the_rate_is_halved_and_held_for_as_long_as_the_hint_says():
    starts, pace = taken(Pace().slowed(100.0, 0, 20.0, 3.0), 100.0, 2)
    assert starts == [103.0, pytest.approx(103.1)]
    assert pace.distance(103.0) == pytest.approx(0.1)


def test_the_rate_grows_by_the_same_step_every_second():
    pace = Pace().slowed(100.0, 0, 20.0, 3.0)
    rates = [1 / pace.distance(103.0 + second) for second in range(5)]
    assert rates == pytest.approx([10, 12, 14, 16, 18])


def test_a_pace_that_no_longer_restrains_is_dropped():
    pace = Pace().slowed(100.0, 0, 20.0, 3.0)
    assert pace.take(107.9)[1].restraint is not None
    assert pace.take(108.0)[1] == Pace(hold=103.0, free=103.0, era=1, opens=103.0)


def test_growth_ends_at_the_ceiling():
    ceiling = Pace.per_minute(60)
    pace = ceiling.slowed(100.0, 0, 500.0, 3.0)
    assert pace.distance(103.0) == pytest.approx(2 * ceiling.interval)
    assert pace.distance(200.0) == ceiling.interval
    after = pace.take(200.0)[1]
    assert (after.restraint, after.free) == (None, 200.0 + ceiling.interval)


def test_without_a_hint_walls_in_a_row_hold_ever_longer():
    pace, now, holds = Pace(), 100.0, []
    for _ in range(7):
        pace = pace.slowed(now, pace.era, 20.0, None)
        holds.append(pace.hold - now)
        now = pace.hold
    assert holds == pytest.approx([*HELD_FOR, HELD_FOR[-1], HELD_FOR[-1]])
    assert sum(HELD_FOR) > 60


def test_an_answer_that_is_no_wall_ends_the_row():
    once = Pace().slowed(100.0, 0, 20.0, None)
    assert once.eased(0) is once  # it left before the wall
    eased = once.eased(1)
    assert eased.slowed(102.0, 1, 20.0, None).hold == 102.0 + FIRST_HOLD
    assert eased.eased(1) is eased
    assert Pace().eased(0) == Pace()


def test_a_429_from_before_the_last_wall_tells_only_its_hint():
    once = Pace().slowed(100.0, 0, 20.0, 3.0)
    assert once.slowed(101.0, 0, 20.0, None) is once
    assert once.slowed(101.0, 0, 20.0, 1.0) is once
    longer = once.slowed(101.0, 0, 20.0, 5.0)
    assert (longer.hold, longer.restraint) == (106.0, once.restraint)


def test_slots_from_before_a_wall_no_longer_stand_and_their_places_are_given_again():
    starts, pace = taken(Pace.per_minute(60), 100.0, 10)
    slowed = pace.slowed(101.5, 0, 1.0, 2.0)
    assert not any(slowed.stands(0, start) for start in starts)
    assert slowed.take(101.5)[0] == 103.5
    assert slowed.stands(1, 103.5)


def test_a_short_hint_brings_no_slot_closer_to_the_last_one_used():
    _, pace = Pace.per_minute(6).take(100.0)
    assert pace.slowed(100.1, 0, 1.0, 0.2).take(100.1)[0] == pytest.approx(100 + 10 / HEAD_ROOM)


def test_slots_given_ahead_count_on_the_growth_until_they_begin():
    starts, pace = taken(Pace().slowed(100.0, 0, 20.0, 3.0), 100.0, 120)
    distances = [later - earlier for earlier, later in pairwise(starts)]
    assert distances[0] == pytest.approx(0.1)
    assert all(after < before for before, after in pairwise(distances[:70]))
    assert (distances[-1], pace.restraint) == (0.0, None)


def test_after_several_walls_the_pace_grows_to_what_was_sent_before_the_first():
    once = Pace().slowed(100.0, 0, 20.0, 3.0)
    assert once.slowed(103.5, 1, 5.0, 1.0).restraint.top == 20.0


def test_where_somebody_waits_the_pace_is_what_is_sent():
    _, pace = taken(Pace().slowed(100.0, 0, 20.0, 3.0), 100.0, 5)
    again = pace.slowed(103.2, 1, 1.0, None)  # the estimate knows of little but the hold
    assert again.distance(again.hold) == pytest.approx(2 * pace.distance(103.2))


def test_where_nobody_waits_the_estimate_is_what_is_sent():
    pace = Pace().slowed(100.0, 0, 20.0, 3.0)
    again = pace.slowed(105.0, 1, 4.0, None)
    assert again.distance(again.hold) == pytest.approx(1 / 2.0)
    faster = pace.slowed(105.0, 1, 400.0, None)
    assert faster.distance(faster.hold) == pytest.approx(2 * pace.distance(105.0))


def test_nothing_stands_still():
    pace, now = Pace(), 100.0
    for _ in range(30):
        pace = pace.slowed(now, pace.era, 20.0, 1.0)
        now = pace.hold
    assert pace.distance(now) == pytest.approx(1 / SLOWEST)
    slow = Pace.per_minute(3).slowed(100.0, 0, 0.05, 1.0)
    assert slow.distance(101.0) == Pace.per_minute(3).interval  # never faster than the ceiling either


INSTANTS = st.floats(0, 30)
EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("take"), INSTANTS),
        st.tuples(st.just("leave"), INSTANTS),
        st.tuples(st.just("leave"), st.floats(0, 0.5)),
        st.tuples(st.just("wall"), INSTANTS, st.floats(0, 1000), st.none() | st.floats(0.001, 120)),
        st.tuples(st.just("stale"), INSTANTS, st.floats(0, 1000), st.none() | st.floats(0.001, 120)),
        st.tuples(st.just("fine"), INSTANTS),
        st.tuples(st.just("left"), INSTANTS, st.floats(0, 100), st.floats(0, 200), st.integers(0, 20)),
    ),
    max_size=50,
)
PACES = st.builds(Pace.per_minute, st.none() | st.floats(1, 6000))


def lived(pace, events):
    """Let a pace live through events: every state with its instant, and the slots and the leavings that were used."""
    now, states, slots, leavings = 0.0, [(0.0, pace)], [], []
    for name, gap, *more in events:
        now += gap
        if name == "take":
            start, pace = pace.take(now)
            slots.append((pace.era, start))
        elif name == "leave":
            start, pace = pace.leave(now)
            if start is not None:
                leavings.append((pace.era, start))
        elif name in ("wall", "stale"):
            pace = pace.slowed(now, pace.era if name == "wall" else pace.era - 1, *more)
        elif name == "fine":
            pace = pace.eased(pace.era)
        else:
            remaining, reset, in_flight = more
            pace = pace.allowed(Allowance(remaining, reset), now, in_flight)
        states.append((now, pace))
    return states, used(slots, states), used(leavings, states)


def used(places, states):
    """Return the instants that still stood when they came."""
    return sorted(start for era, start in places if state_at(states, start).stands(era, start))


def state_at(states, instant):
    """Return the pace as it is when somebody who waited for a slot wakes."""
    return [pace for since, pace in states if since <= instant][-1]


@given(PACES, EVENTS)
def test_whatever_happens_no_two_slots_are_closer_than_the_ceiling_allows(ceiling, events):
    _, slots, _ = lived(ceiling, events)
    assert all(later - earlier >= ceiling.interval - 1e-6 for earlier, later in pairwise(slots))


@given(PACES, EVENTS)
def test_whatever_happens_no_span_has_more_leavings_than_the_ceiling_and_some_that_are_late(ceiling, events):
    _, _, leavings = lived(ceiling, events)
    for number, first in enumerate(leavings):
        for further, last in enumerate(leavings[number:]):
            assert last - first >= further * ceiling.interval - LATE - 1e-6


@given(PACES, EVENTS, st.floats(0, 200))
def test_an_idle_pace_gives_its_slots_at_once_and_takes_no_notice_of_them(ceiling, events, later):
    now, pace = lived(ceiling, events)[0][-1]
    for instant in (now, now + later):
        at_once = [pace.take(instant), pace.leave(instant)] == [(instant, pace)] * 2
        assert pace.idle(instant) == (at_once and pace.restraint is None)


@given(PACES, EVENTS)
def test_nobody_leaves_during_a_hold_or_waits_long_at_the_gate(ceiling, events):
    now, pace = lived(ceiling, events)[0][-1]
    start, after = pace.leave(now)
    if start is None:
        assert after is pace
        assert max(pace.hold, pace.opens) > now + PATIENCE
    else:
        assert max(now, pace.hold) <= start <= now + PATIENCE
        assert after.take(now)[0] == pace.take(now)[0]


@given(PACES, EVENTS, st.lists(st.floats(0, 500), min_size=2, max_size=5))
def test_whatever_happened_the_rate_stays_below_the_ceiling_and_recovers_steadily(ceiling, events, later):
    now, pace = lived(ceiling, events)[0][-1]
    pace = pace.held(now)
    spreading = [now + each for each in sorted(later) if now + each >= pace.until]
    distances = [pace.distance(each) for each in spreading]
    assert all(each >= ceiling.interval for each in distances)
    assert all(after <= before for before, after in pairwise(distances))
    end = pace.take(max(now, pace.free) + 1e7)[1]
    assert (end.restraint, end.distance(now + 2e7)) == (None, ceiling.interval)


@given(PACES, EVENTS, st.floats(0, 1000), st.none() | st.floats(0.001, 120), st.booleans())
def test_a_429_never_speeds_anything_up(ceiling, events, sending, hint, stale):
    now, pace = lived(ceiling, events)[0][-1]
    after = pace.slowed(now, pace.era - stale, sending, hint)
    assert after.hold >= pace.hold
    assert after.distance(now) >= pace.distance(now) - 1e-9
    assert after.free >= min(pace.free, now)
    if hint is not None:
        assert after.take(now)[0] >= now + hint - 1e-6
        assert after.leave(now)[0] is None or hint <= PATIENCE + 1e-6


# --- the rate at which calls are made ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "gap"), [(3, 0.01), (50, 0.01), (200, 0.1), (2000, 0.01)])
def test_the_estimate_is_near_the_rate_from_the_first_calls_on(number, gap):
    tally, now = Tally(), 50.0
    for _ in range(number):
        now += gap
        tally = tally.noted(now)
    assert 0.9 / gap <= tally.rate(now + gap) <= 1.2 / gap


def test_the_estimate_fades_and_begins_anew_after_a_pause():
    tally = Tally()
    assert tally.rate(5.0) == 0
    assert tally.noted(5.0).rate(5.0) == pytest.approx(1000, rel=0.01)  # no time has passed: it is a lot, not endless
    for number in range(100):
        tally = tally.noted(number / 10)
    assert tally.rate(9.9 + 3) == pytest.approx(tally.rate(9.9) / math.e, rel=0.1)
    assert tally.noted(20.0) == Tally(1.0, 20.0, 20.0)


# --- what the server says is left -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("6m0s", 360),
        ("1.5s", 1.5),
        ("20ms", 0.02),
        ("1h2m", 3720),
        ("1d", 86400),
        ("2m59.56s", 179.56),
        ("250us", 0.00025),
        ("250µs", 0.00025),
        ("5ns", 5e-9),
        (" 7 ", 7),
        (" 6m0s ", 360),
        ("0", 0),
        ("0.25", 0.25),
        ("1H", 3600),
        (None, None),
        ("", None),
        ("  ", None),
        ("soon", None),
        ("5 s", None),
        ("-1s", None),
        ("1m!", None),
        ("m", None),
        ("1x", None),
    ],
)
def test_a_duration_is_read(text, seconds):
    assert duration(text) == (seconds if seconds is None else pytest.approx(seconds))


def told(remaining="0", reset="5s", limit="100", before="x-ratelimit-", after="-requests"):
    named = {"remaining": remaining, "reset": reset, "limit": limit}
    return {f"{before}{name}{after}": value for name, value in named.items() if value is not None}


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        pytest.param({}, None, id="nothing"),
        pytest.param(told(), Allowance(0, 5, 100), id="all"),
        pytest.param(told(after=""), Allowance(0, 5, 100), id="without the sort"),
        pytest.param(told(before="ratelimit-", after=""), Allowance(0, 5, 100), id="standard names"),
        pytest.param(told(before="ratelimit-"), Allowance(0, 5, 100), id="without the x"),
        pytest.param(told(limit=None), Allowance(0, 5, None), id="no limit"),
        pytest.param(told(limit="100, 100;w=60"), Allowance(0, 5, None), id="a limit that is no number"),
        pytest.param(told(remaining=None), None, id="no remaining"),
        pytest.param(told(remaining="-1"), None, id="a negative number"),
        pytest.param(told(reset="soon"), None, id="a garbled reset"),
        pytest.param(told(reset="soon") | told("7", after=""), Allowance(7, 5, 100), id="garbage is passed over"),
        pytest.param(told("7") | told("8", after=""), Allowance(7, 5, 100), id="requests come first"),
        pytest.param(told(reset=str(NOW + 9)), Allowance(0, 9, 100), id="an instant"),
        pytest.param(told(reset=str(NOW - 9)), Allowance(0, 0, 100), id="an instant in the past"),
        pytest.param(told(after="-tokens"), None, id="tokens are no calls"),
    ],
)
def test_what_is_left_is_read_from_the_headers(headers, expected):
    assert allowance(headers, NOW) == expected


WORDS = st.text(max_size=20) | st.from_regex(r"[0-9.]{0,5}(ms|s|m|h|d)?[0-9]{0,400}[a-z]?", fullmatch=True)


@given(WORDS, WORDS, WORDS, PACES, st.integers(0, 1000))
def test_no_text_breaks_the_reading_of_what_is_left(remaining, reset, limit, pace, in_flight):
    left = allowance(told(remaining, reset, limit), NOW)
    if left is not None:
        after = pace.allowed(left, 100.0, in_flight)
        assert after.take(100.0)[0] <= 100 + LONGEST_HINT
        assert pace.distance(100.0) <= after.distance(100.0) <= max(LONGEST_HINT, pace.interval)


@pytest.mark.parametrize(("reset", "held"), [(5.0, 5.0), (3600.0, LONGEST_HINT), (math.inf, LONGEST_HINT)])
def test_nothing_left_holds_until_the_reset_but_not_forever(reset, held):
    assert Pace().allowed(Allowance(0, reset, 100), 50.0, 0).take(50.0)[0] == 50 + held


def test_few_left_are_spread_over_the_time_to_the_reset():
    pace = Pace().allowed(Allowance(8, 12.0, 100), 50.0, 2)
    starts, after = taken(pace, 50.0, 8)
    assert [later - earlier for earlier, later in pairwise(starts)] == pytest.approx([2.0] * 6 + [0.0])
    assert after.distance(62.0) == 0


def test_few_is_also_fewer_than_may_be_in_flight_twice():
    assert Pace().allowed(Allowance(31, 10.0), 50.0, 16).distance(50.0) == pytest.approx(10 / 15)
    assert Pace().allowed(Allowance(3, 10.0), 50.0, 16).distance(50.0) == pytest.approx(10.0)
    assert Pace().allowed(Allowance(32, 10.0), 50.0, 16) == Pace()


def test_plenty_left_changes_nothing_and_ends_the_spreading():
    pace = Pace.per_minute(60)
    assert pace.allowed(Allowance(50, 10.0, 100), 50.0, 2) is pace
    spread = pace.allowed(Allowance(5, 30.0, 100), 50.0, 0)
    assert spread.distance(50.0) == 6.0
    assert spread.allowed(Allowance(50, 30.0, 100), 51.0, 0) == pace


def test_spreading_never_goes_above_the_ceiling():
    pace = Pace.per_minute(60).allowed(Allowance(5, 1.0, 100), 50.0, 0)
    assert pace.distance(50.0) == Pace.per_minute(60).interval


# --- a forecast -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("calls", "interval", "round_trip", "parallelism", "seconds"),
    [
        (0, 1.0, 0.5, 16, 0.0),
        (1, 1.0, 0.5, 16, 0.5),
        (16, 0.0, 0.5, 16, 0.5),
        (17, 0.0, 0.5, 16, 1.0),
        (10, 0.0, 0.5, 1, 5.0),
        (11, 1.0, 0.5, 16, 10.5),
        (11, 1.0, 3.0, 2, 18.0),
    ],
)
def test_a_forecast_is_what_pace_and_round_trips_come_to(calls, interval, round_trip, parallelism, seconds):
    assert expected_seconds(calls, interval, round_trip, parallelism) == pytest.approx(seconds)


@given(st.integers(1, 200), st.floats(0, 2), st.floats(0, 5), st.integers(1, 40))
def test_a_forecast_agrees_with_playing_it_through(calls, interval, round_trip, parallelism):
    starts = []
    for number in range(calls):
        by_pace = starts[-1] + interval if starts else 0.0
        by_worker = starts[number - parallelism] + round_trip if number >= parallelism else 0.0
        starts.append(max(by_pace, by_worker))
    assert expected_seconds(calls, interval, round_trip, parallelism) == pytest.approx(starts[-1] + round_trip)


# --- where one rule meets another -------------------------------------------------------------------------------------


def test_an_answer_that_is_no_wall_lifts_no_restraint():
    slowed = Pace().slowed(100.0, 0, 20.0, 3.0)
    eased = slowed.eased(1)
    assert eased.restraint is not None
    assert [eased.distance(103.0 + second) for second in range(9)] == [
        slowed.distance(103.0 + second) for second in range(9)
    ]


def test_a_pace_below_its_ceiling_grows_to_the_ceiling_by_steps_and_not_at_once():
    ceiling = Pace.per_minute(120)
    slowed = ceiling.slowed(100.0, 0, 0.5, 1.0)
    rates = [1 / slowed.distance(101.0 + second) for second in (0, 5, 10, 20, 30)]
    assert rates == pytest.approx([0.25, 0.5, 0.75, 1.25, 1.75])
    assert slowed.take(101.0 + 33)[1].restraint is not None
    assert slowed.take(101.0 + 34)[1].restraint is None  # 1.94 a second are what is left of 2
    assert slowed.restraint.top == pytest.approx(1 / ceiling.interval)


def test_where_few_calls_are_made_their_rate_is_what_a_wall_grows_back_to():
    assert Pace().slowed(100.0, 0, 0.5, 1.0).restraint.top == 0.5


def test_a_slot_that_begins_just_now_is_nobodys_wait():
    _, pace = Pace.per_minute(60).take(100.0)
    assert pace.slowed(pace.free, 0, 0.4, 1.0).restraint.rate == pytest.approx(0.2)
    assert pace.slowed(pace.free - 0.001, 0, 0.4, 1.0).restraint.rate == pytest.approx(0.485)


def test_one_call_that_is_left_may_be_made_and_less_than_one_may_not():
    pace = Pace.per_minute(60)
    assert pace.allowed(Allowance(1.0, 10.0), 100.0, 0) is pace
    assert pace.allowed(Allowance(0.9, 10.0), 100.0, 0).hold == 110.0


def test_a_reset_counts_as_an_instant_only_where_it_can_be_no_number_of_seconds():
    def reset(text):
        return allowance({"x-ratelimit-remaining": "1", "x-ratelimit-reset": text}, NOW).reset

    assert reset("1000000000") == 1e9
    assert reset("1792000009") == 9.0
    assert reset("1000000001") == 0.0


@pytest.mark.parametrize("ceiling", [0, -1])
def test_a_ceiling_that_is_none_is_refused_in_these_words(ceiling):
    with pytest.raises(ValueError, match=r"^a ceiling is above 0$"):
        Pace.per_minute(ceiling)


def test_a_count_goes_on_over_a_gap_as_long_as_its_memory_and_no_longer():
    begun = Tally().noted(100.0)
    assert begun.noted(100.0 + MEMORY).begun == 100.0
    assert begun.noted(100.1 + MEMORY) == Tally(1.0, 100.1 + MEMORY, 100.1 + MEMORY)


def test_the_numbers_are_those_that_were_decided_on():
    assert (retries(500), retries(429)) == (2, 5)
    pace = Pace().slowed(100.0, 0, 0.0, None)
    assert (pace.hold, pace.distance(100.5)) == (100.5, 10.0)  # a hold of half a second, then a call in ten seconds
    assert pace.slowed(100.5, 1, 0.0, None).hold == 102.0
    plenty = Allowance(11.0, 60.0, 100.0)
    assert Pace().allowed(plenty, 100.0, 0) == Pace()
    assert Pace().allowed(Allowance(9.0, 60.0, 100.0), 100.0, 0).spread == pytest.approx(60 / 9)
