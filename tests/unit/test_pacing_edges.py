"""The pace where one rule meets another: what a wall leaves, where it ends, and the last call that is left."""

import pytest

from reconciler.gateway.pacing import MEMORY, Allowance, Pace, Tally, allowance, retries

NOW = 1_792_000_000.0


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
