"""What ends a run whose every call fails, and what does not: readings and outcomes as values, and whole phases."""

from __future__ import annotations

import asyncio

import pytest
from fakes import FakeApi

from reconciler.compare import Rules, judge
from reconciler.dialects import REPLACE
from reconciler.engine import Application, Brake, Observation, apply, observe
from reconciler.engine.breaker import AT_LARGE, BREAKER, PATIENT_BREAKER, Breaker
from reconciler.errors import ApiError, Fault
from reconciler.events import Outcome, OutcomeStatus
from reconciler.model import NOTHING_APPLIED, Desired, Missing, Observed, Ref, Unread

MANY = [Ref("thread", f"t{index:03}") for index in range(300)]
ABOUT_ONE = ["rejected", "credential_echoed", "internal", "no_metadata", "not_applied"]
RULES = Rules(REPLACE)


class Failing(FakeApi):
    """A server whose reads or writes fail with a fault, but for the calls (counted from 1) that are `spared`."""

    def __init__(self, code, method="GET", spared=lambda _number: False):
        super().__init__(REPLACE, dict.fromkeys(MANY, {}))
        self.fault, self.method, self.spared = Fault(code, f"it is {code}", 503, "req_1"), method, spared

    async def fetch(self, ref):
        reading = await super().fetch(ref)
        failing = self.method == "GET" and not self.spared(sum(self.gets.values()))
        return Unread(self.fault) if failing else reading

    async def modify(self, ref, entries, attempt=0):
        answer = await super().modify(ref, entries, attempt)
        if self.method == "POST" and not self.spared(len(self.posts)):
            self.held[ref] = {}
            raise ApiError(self.fault)
        return answer


def look(api, refs=MANY, parallelism=4):
    return asyncio.run(observe(api, refs, parallelism=parallelism, brake=Brake()))


def write(api, refs=MANY, parallelism=4):
    changes = [judge(Desired(ref, {"a": "1"}), Observed({}), NOTHING_APPLIED, RULES) for ref in refs]
    return asyncio.run(apply(api, changes, lambda _: RULES, parallelism=parallelism, brake=Brake()))


def codes(refusals):
    return [refusal.fault.code for refusal in refusals]


# --- reading


@pytest.mark.parametrize("parallelism", [1, 4, 40])
@pytest.mark.parametrize(
    ("code", "limit"),
    [*((code, BREAKER) for code in sorted(AT_LARGE)), *((code, PATIENT_BREAKER) for code in ABOUT_ONE)],
)
def test_a_run_whose_every_read_fails_is_ended(code, limit, parallelism):
    limit = max(limit, parallelism + 1)
    seen = look(Failing(code), parallelism=parallelism)
    assert seen.reads < limit + parallelism
    assert codes(seen.refusals) == ["breaker"]
    assert f"{limit} resources in a row failed, and none succeeded in between" in str(seen.refusals[0])
    assert f"it is {code} (request req_1)" in str(seen.refusals[0])
    found = [reading.fault.code for reading in seen.readings.values()]
    assert (found.count(code), found.count("not_attempted")) == (limit, len(MANY) - limit)


@pytest.mark.parametrize("code", ["dns", "tls", "network"])
def test_one_bad_moment_for_all_calls_in_flight_ends_nothing(code):
    seen = look(Failing(code, spared=lambda number: number > 100), parallelism=100)
    assert (len(seen.readings), seen.refusals) == (300, [])


@pytest.mark.parametrize("code", ABOUT_ONE)
def test_many_bad_resources_side_by_side_do_not_keep_the_others_from_their_turn(code):
    seen = look(Failing(code, spared=lambda number: not 50 <= number < 290))
    assert (seen.reads, seen.refusals) == (300, [])


def test_signs_of_an_unserved_kind_neither_count_nor_reassure():
    breaker = Breaker(Brake(), [], 1)
    for _ in range(2 * PATIENT_BREAKER):
        breaker.note_reading(Unread(Fault("unserved", "404")))
    for _ in range(BREAKER - 1):
        breaker.note_reading(Unread(Fault("network", "reset")))
    breaker.note_reading(Unread(Fault("unserved", "404")))
    assert not breaker.brake.pulled
    breaker.note_reading(Unread(Fault("network", "reset")))
    assert breaker.brake.pulled


def test_what_is_about_one_resource_does_not_reassure_where_the_way_is_broken():
    breaker = Breaker(Brake(), [], 1)
    for number in range(BREAKER):
        assert not breaker.brake.pulled, number
        breaker.note_reading(Unread(Fault("rejected", "no")))
        breaker.note_reading(Unread(Fault("network", "reset")))
    assert breaker.brake.pulled


@pytest.mark.parametrize("success", [Observed({}), Missing(Fault("missing", "gone"))])
def test_a_success_in_between_begins_the_count_anew(success):
    breaker = Breaker(Brake(), [], 1)
    for number in range(10 * BREAKER):
        breaker.note_reading(success if number % BREAKER == 0 else Unread(Fault("timeout", "slow")))
    assert not breaker.brake.pulled


def test_a_run_that_ends_already_is_not_ended_once_more():
    brake, refusals = Brake(), []
    breaker = Breaker(brake, refusals, 1)
    brake.pull("interrupted by SIGINT")
    for _ in range(2 * BREAKER):
        breaker.note_reading(Unread(Fault("dns", "unknown")))
    assert refusals == []
    assert brake.reason == "interrupted by SIGINT"


# --- writing


@pytest.mark.parametrize(("code", "limit"), [("server_error", BREAKER), ("rejected", PATIENT_BREAKER)])
def test_a_run_whose_every_write_fails_is_ended(code, limit):
    api = Failing(code, "POST")
    done = write(api)
    found = [outcome.status for outcome in done.outcomes]
    assert found.count(OutcomeStatus.FAILED) == len(api.posts) < limit + 4
    assert found.count(OutcomeStatus.NOT_ATTEMPTED) == len(MANY) - len(api.posts)
    assert codes(done.refusals) == ["breaker"]
    assert "in a row failed" in done.outcomes[-1].fault.message


def test_writes_that_succeed_now_and_then_end_no_run():
    api = Failing("server_error", "POST", lambda number: number % 20 == 0)
    done = write(api, parallelism=1)
    assert (len(api.posts), done.refusals) == (300, [])


@pytest.mark.parametrize("status", [OutcomeStatus.FAILED, OutcomeStatus.NOT_ATTEMPTED])
def test_what_no_call_was_made_for_does_not_count(status):
    breaker = Breaker(Brake(), [], 1)
    for _ in range(2 * PATIENT_BREAKER):
        breaker.note_outcome(Outcome(MANY[0], status, Fault("network", "reset")))
    assert not breaker.brake.pulled


def test_what_was_broken_off_neither_counts_nor_reassures():
    breaker = Breaker(Brake(), [], 1)
    for number in range(BREAKER):
        assert not breaker.brake.pulled, number
        breaker.note_outcome(Outcome(MANY[0], OutcomeStatus.NOT_ATTEMPTED, Fault("not_attempted", "no"), 1))
        breaker.note_outcome(Outcome(MANY[0], OutcomeStatus.FAILED, Fault("network", "reset"), 1))
    assert breaker.brake.pulled


# --- broken off, and the cost of it


def test_reading_that_is_broken_off_has_read_what_it_has_read():
    class Mute(FakeApi):
        async def fetch(self, ref):
            return await (super().fetch(ref) if len(self.gets) < 3 else asyncio.Event().wait())

    seen, brake = Observation(), Brake()

    async def run():
        task = asyncio.ensure_future(
            observe(Mute(REPLACE, dict.fromkeys(MANY, {})), MANY[:9], parallelism=2, brake=brake, into=seen)
        )
        await asyncio.sleep(0.02)
        brake.reason = "interrupted by SIGINT"  # told to nobody, as if nobody listened
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return task.cancelled()

    assert asyncio.run(run())
    found = [getattr(reading, "fault", None) for reading in seen.readings.values()]
    assert [fault is None for fault in found] == [True] * 3 + [False] * 6
    assert {fault.message for fault in found if fault} == {"not attempted: interrupted by SIGINT"}


@pytest.mark.parametrize("reads", [0, 1, 5])
def test_a_brake_costs_something_only_where_something_is_left(reads):
    brake = Brake()

    class Slow(FakeApi):
        async def fetch(self, ref):
            reading = await super().fetch(ref)
            if sum(self.gets.values()) == reads:
                asyncio.get_running_loop().call_soon(brake.pull, "the time is over")
            return reading

    if not reads:
        brake.pull("the time is over")
    asyncio.run(observe(Slow(REPLACE, dict.fromkeys(MANY, {})), MANY[:5], parallelism=1, brake=brake))
    assert brake.pulled
    assert brake.cost == (reads < 5)


def test_an_application_that_is_complete_costs_nothing():
    brake, done = Brake(), Application()

    class Pulling(FakeApi):
        async def modify(self, ref, entries, attempt=0):
            brake.pull("the time is over")
            return await super().modify(ref, entries, attempt)

    changes = [judge(Desired(ref, {"a": "1"}), Observed({}), NOTHING_APPLIED, RULES) for ref in MANY[:1]]
    api = Pulling(REPLACE, {MANY[0]: {}})
    asyncio.run(apply(api, changes, lambda _: RULES, parallelism=1, brake=brake, into=done))
    assert ([outcome.status for outcome in done.outcomes], brake.cost) == ([OutcomeStatus.APPLIED], False)
