"""The workers: isolation, brakes, staleness, learning, and what counts as success."""

import asyncio
import itertools
import json

import httpx
import pytest
import virtual_time
from fakes import FakeApi

from reconciler.compare import Action, Rules, judge
from reconciler.dialects import AUTO, MERGE, MERGE_EMPTY, MERGE_NULL, REPLACE, Removals
from reconciler.engine import Application, Brake, Feed, Observation, Observer, apply, observe
from reconciler.engine.lessons import Lessons
from reconciler.engine.reading import SAMPLE
from reconciler.errors import ApiError, Fault, ReconcilerError, TargetRefused
from reconciler.events import ChangeDone, DialectLearned, OutcomeStatus, ReadDone, silence
from reconciler.gateway.client import Connection, open_gateway
from reconciler.gateway.pacing import Pace
from reconciler.gateway.providers import PROVIDERS
from reconciler.gateway.transport import Pacer, Surroundings
from reconciler.model import Desired, Missing, Observed, Ref, Unread

REFS = [Ref("thread", f"t{index}") for index in range(6)]


def desire(metadata, refs=REFS, **more):
    return [Desired(ref, metadata, **more) for ref in refs]


def changes_for(desired, api, rules):
    return [judge(one, Observed(dict(api.held[one.ref])), None, rules) for one in desired]


def carry_out(api, changes, rules, *, parallelism=2, brake=None, emit=silence):
    work = apply(api, changes, lambda _kind: rules, parallelism=parallelism, brake=brake or Brake(), emit=emit)
    return virtual_time.run(work)


def look(api, refs=REFS, parallelism=2, brake=None, emit=silence):
    return virtual_time.run(observe(api, refs, parallelism=parallelism, brake=brake or Brake(), emit=emit))


def results(done):
    return [outcome.status for outcome in done.outcomes]


class Scripted(FakeApi):
    """A fake whose answers can be replaced: `on_get` and `on_post` return or raise what the caller gets."""

    def __init__(self, dialect, held, on_get=None, on_post=None):
        super().__init__(dialect, held)
        self.on_get, self.on_post = on_get, on_post

    async def fetch(self, ref):
        reading = await super().fetch(ref)
        return self.on_get(self, ref, reading) if self.on_get else reading

    async def modify(self, ref, entries, attempt=0):
        answer = await super().modify(ref, entries, attempt)
        return self.on_post(self, ref, answer) if self.on_post else answer


# --- observing


def test_one_failed_read_does_not_stop_the_others():
    def get(api, ref, reading):
        return Unread(Fault("timeout", "slow")) if ref == REFS[2] else reading

    seen = look(Scripted(REPLACE, dict.fromkeys(REFS, {}), on_get=get))
    assert [isinstance(seen.readings[ref], Observed) for ref in REFS] == [True, True, False, True, True, True]
    assert seen.reads == 6
    assert not seen.refusals


def test_a_refusal_stops_the_run_and_is_told_once():
    def get(api, ref, reading):
        raise TargetRefused(Fault("unauthorized", "wrong key", 401))

    seen = look(Scripted(REPLACE, {}, on_get=get), REFS * 1, parallelism=3)
    assert len(seen.refusals) == 1
    assert seen.reads == 3
    codes = [seen.readings[ref].fault.code for ref in REFS]
    assert codes == ["unauthorized"] + ["not_attempted"] * 5


def test_events_tell_of_every_read():
    events = []
    look(FakeApi(REPLACE, dict.fromkeys(REFS, {})), emit=events.append)
    assert sorted(event.ref for event in events if isinstance(event, ReadDone)) == REFS


def unserved(api, ref, reading):
    return Unread(Fault("unserved", "no such path", 404))


def test_a_kind_that_only_gives_signs_of_an_unserved_path_is_refused_once():
    seen = look(Scripted(REPLACE, {}, on_get=unserved))
    assert [refusal.fault.code for refusal in seen.refusals] == ["unserved"]
    assert {reading.fault.code for reading in seen.readings.values()} == {"unserved"}


def test_an_unserved_kind_is_not_asked_ten_thousand_times():
    refs = [Ref("thread", f"t{index:03}") for index in range(400)]
    api = Scripted(REPLACE, {}, on_get=unserved)
    seen = look(api, refs, parallelism=4)
    assert seen.reads == SAMPLE
    assert {ref.id[-1] for ref in api.gets} >= {"0", "8", "6"}  # spread over all of them
    assert len(seen.readings) == 400
    assert len(seen.refusals) == 1


def test_dead_ids_at_the_front_do_not_condemn_the_others():
    refs = [Ref("thread", f"t{index:03}") for index in range(200)]

    def get(api, ref, reading):
        return unserved(api, ref, reading) if ref < refs[100] else reading

    seen = look(Scripted(REPLACE, dict.fromkeys(refs, {}), on_get=get), refs, parallelism=4)
    assert [isinstance(seen.readings[ref], Missing) for ref in refs] == [True] * 100 + [False] * 100
    assert seen.reads == 200
    assert not seen.refusals


def test_a_mistake_of_ours_while_reading_is_confined_to_its_resource():
    def get(api, ref, reading):
        if ref == REFS[1]:
            raise ReconcilerError("database is locked")
        if ref == REFS[2]:
            raise KeyError("oops")
        return reading

    seen = look(Scripted(REPLACE, dict.fromkeys(REFS, {}), on_get=get))
    assert seen.readings[REFS[1]].fault == Fault("error", "database is locked")
    assert seen.readings[REFS[2]].fault.code == "internal"
    assert sum(isinstance(reading, Observed) for reading in seen.readings.values()) == 4


def test_reads_in_flight_are_given_up_when_the_brake_is_pulled():
    brake = Brake()

    class Slow(FakeApi):
        async def fetch(self, ref):
            brake.pull("interrupted by SIGINT")
            await asyncio.sleep(3600)

    seen = look(Slow(REPLACE, {}), brake=brake)
    assert {reading.fault.code for reading in seen.readings.values()} == {"not_attempted"}


def test_an_odd_answer_for_one_id_of_a_served_kind_means_missing():
    def get(api, ref, reading):
        return unserved(api, ref, reading) if ref == REFS[0] else reading

    seen = look(Scripted(REPLACE, dict.fromkeys(REFS, {}), on_get=get))
    assert isinstance(seen.readings[REFS[0]], Missing)
    assert seen.readings[REFS[0]].fault.code == "missing"
    assert not seen.refusals


def test_kinds_are_judged_apart():
    refs = [Ref("thread", "a"), Ref("conversation", "b")]

    def get(api, ref, reading):
        return unserved(api, ref, reading) if ref.kind == "thread" else Observed({})

    seen = look(Scripted(REPLACE, {}, on_get=get), refs)
    assert isinstance(seen.readings[refs[1]], Observed)
    assert len(seen.refusals) == 1


def test_a_pulled_brake_leaves_the_rest_unread():
    brake = Brake()

    def get(api, ref, reading):
        brake.pull("interrupted by SIGINT")
        brake.pull("a later reason")
        return reading

    seen = look(Scripted(REPLACE, dict.fromkeys(REFS, {}), on_get=get), parallelism=1, brake=brake)
    assert seen.reads == 1
    assert seen.readings[REFS[5]].fault.message == "not attempted: interrupted by SIGINT"


# --- applying


def test_what_is_kept_has_no_outcome_and_what_cannot_be_written_has_one_without_calls():
    api = FakeApi(REPLACE, dict.fromkeys(REFS, {}))
    rules = Rules(REPLACE)
    (kept,) = changes_for(desire({}, REFS[:1]), api, rules)
    missing = judge(*desire({"a": "1"}, REFS[1:2]), Missing(Fault("missing", "gone")), None, rules)
    failed = judge(*desire({"a": "1"}, REFS[2:3]), Unread(Fault("timeout", "slow")), None, rules)
    unread = judge(*desire({"a": "1"}, REFS[3:4]), Unread(Fault("not_attempted", "stopped")), None, rules)
    done = carry_out(api, [kept, missing, failed, unread], rules)
    assert [(one.ref, one.status) for one in done.outcomes] == [
        (REFS[1], OutcomeStatus.MISSING),
        (REFS[2], OutcomeStatus.FAILED),
        (REFS[3], OutcomeStatus.NOT_ATTEMPTED),
    ]
    assert not api.posts
    assert not api.gets


def test_each_update_takes_one_fresh_read_and_one_write():
    events = []
    api = FakeApi(MERGE, dict.fromkeys(REFS, {"x": "1"}))
    rules = Rules(MERGE)
    done = carry_out(api, changes_for(desire({"a": "1"}), api, rules), rules, emit=events.append)
    assert [(one.status, one.reads, one.writes) for one in done.outcomes] == [(OutcomeStatus.APPLIED, 1, 1)] * 6
    assert len([event for event in events if isinstance(event, ChangeDone)]) == 6


def test_a_kind_that_is_retired_since_it_was_planned_is_refused_once_and_nobody_takes_its_ids_for_missing():
    def get(api, ref, reading):
        return Unread(Fault("unserved", "retired"))

    api, rules = Scripted(MERGE, dict.fromkeys(REFS, {"x": "1"}), on_get=get), Rules(MERGE)
    done = carry_out(api, changes_for(desire({"a": "1"}), api, rules), rules, parallelism=1)
    assert results(done) == [OutcomeStatus.FAILED] + [OutcomeStatus.NOT_ATTEMPTED] * 5
    assert [refusal.fault.message for refusal in done.refusals] == ["retired"]
    assert (sum(one.reads for one in done.outcomes), api.posts) == (0, [])


def test_a_decided_key_that_moved_makes_the_change_stale():
    api = FakeApi(REPLACE, dict.fromkeys(REFS, {"a": "0"}))
    rules = Rules(REPLACE)
    changes = changes_for(desire({"a": "1"}), api, rules)
    api.held[REFS[0]]["a"] = "moved"
    done = carry_out(api, changes, rules)
    assert results(done) == [OutcomeStatus.STALE] + [OutcomeStatus.APPLIED] * 5
    assert api.held[REFS[0]] == {"a": "moved"}


def test_a_foreign_key_that_moved_is_taken_over():
    api = FakeApi(REPLACE, dict.fromkeys(REFS, {"a": "0", "seen": "1"}))
    rules = Rules(REPLACE)
    changes = changes_for(desire({"a": "1"}), api, rules)
    api.held[REFS[0]] |= {"seen": "2", "new": "3"}
    done = carry_out(api, changes, rules)
    assert results(done) == [OutcomeStatus.APPLIED] * 6
    assert api.held[REFS[0]] == {"a": "1", "seen": "2", "new": "3"}


def test_foreign_keys_that_came_since_the_plan_count_against_the_limit():
    api = FakeApi(MERGE, {REFS[0]: {}})
    rules = Rules(MERGE)
    changes = changes_for(desire({"a": "1"}, REFS[:1]), api, rules)
    api.held[REFS[0]] = {f"f{index}": "1" for index in range(16)}
    (outcome,) = carry_out(api, changes, rules).outcomes
    assert (outcome.status, outcome.fault.code, outcome.writes) == (OutcomeStatus.FAILED, "too_many_pairs", 0)


def test_a_resource_that_went_away_since_the_plan_is_missing():
    api = FakeApi(REPLACE, dict.fromkeys(REFS[:2], {}))
    rules = Rules(REPLACE)
    changes = changes_for(desire({"a": "1"}, REFS[:2]), api, rules)
    del api.held[REFS[0]]
    assert results(carry_out(api, changes, rules)) == [OutcomeStatus.MISSING, OutcomeStatus.APPLIED]


def test_a_resource_that_goes_away_between_read_and_write_is_missing():
    def get(api, ref, reading):
        api.held.pop(ref, None)
        return reading

    api = Scripted(REPLACE, dict.fromkeys(REFS[:1], {}))
    rules = Rules(REPLACE)
    changes = changes_for(desire({"a": "1"}, REFS[:1]), api, rules)
    api.on_get = get
    assert results(carry_out(api, changes, rules)) == [OutcomeStatus.MISSING]


def test_a_fresh_read_that_fails_writes_nothing():
    api = Scripted(REPLACE, dict.fromkeys(REFS[:1], {}), on_get=lambda *_: Unread(Fault("timeout", "slow")))
    rules = Rules(REPLACE)
    (outcome,) = carry_out(api, changes_for(desire({"a": "1"}, REFS[:1]), api, rules), rules).outcomes
    assert (outcome.status, outcome.fault.code, outcome.writes) == (OutcomeStatus.FAILED, "timeout", 0)


class Stripping(FakeApi):
    """A server behind a proxy that strips the metadata from the body: it answers 200 with the old object."""

    async def modify(self, ref, entries, attempt=0):
        self.posts.append((ref, dict(entries)))
        return Observed(dict(self.held[ref]))


@pytest.mark.parametrize("dialect", [REPLACE, MERGE, MERGE_NULL, AUTO], ids=lambda dialect: dialect.name)
@pytest.mark.parametrize(
    "declared", [{"a": "1"}, {"a": None}, {"a": "1", "old": None}], ids=["value", "removal", "both"]
)
def test_an_answer_with_the_old_object_is_a_failure_if_a_read_shows_the_same(dialect, declared):
    api = Stripping(dialect, {REFS[0]: {"a": "0", "old": "1", "seen": "1"}})
    rules = Rules(dialect)
    done = carry_out(api, changes_for(desire(declared, REFS[:1]), api, rules), rules)
    (outcome,) = done.outcomes
    if dialect is MERGE and declared == {"a": None}:
        assert outcome.status is OutcomeStatus.BLOCKED
    else:
        assert (outcome.status, outcome.fault.code) == (OutcomeStatus.FAILED, "not_applied")
        assert outcome.writes == (2 if dialect is AUTO and declared == {"a": None} else 1)
    assert done.learned == {}


def test_a_foreign_key_that_was_sent_and_is_not_in_the_answer_is_a_failure():
    api = Scripted(REPLACE, {REFS[0]: {"seen": "1"}}, on_post=lambda *_: Observed({"a": "1"}))
    rules = Rules(REPLACE)
    (outcome,) = carry_out(api, changes_for(desire({"a": "1"}, REFS[:1]), api, rules), rules).outcomes
    assert (outcome.status, outcome.fault.code) == (OutcomeStatus.FAILED, "not_applied")


def test_a_foreign_key_that_somebody_changed_meanwhile_is_no_failure():
    api = Scripted(REPLACE, {REFS[0]: {"seen": "1"}}, on_post=lambda *_: Observed({"a": "1", "seen": "2", "new": "3"}))
    rules = Rules(REPLACE)
    assert results(carry_out(api, changes_for(desire({"a": "1"}, REFS[:1]), api, rules), rules)) == [
        OutcomeStatus.APPLIED
    ]


def test_an_answer_without_metadata_is_settled_by_a_read():
    api = Scripted(REPLACE, {REFS[0]: {"a": "0"}}, on_post=lambda *_: Observed(None))
    rules = Rules(REPLACE)
    (outcome,) = carry_out(api, changes_for(desire({"a": "1"}, REFS[:1]), api, rules), rules).outcomes
    assert (outcome.status, outcome.reads, outcome.writes) == (OutcomeStatus.APPLIED, 2, 1)


def test_metadata_that_no_read_shows_is_a_failure_where_the_whole_map_is_sent():
    api = Scripted(REPLACE, {REFS[0]: {"a": "0"}}, on_post=lambda *_: Observed(None))
    rules = Rules(REPLACE)
    changes = changes_for(desire({"a": "1"}, REFS[:1]), api, rules)
    readings = iter([Observed({"a": "0"}), Observed(None)])
    api.on_get = lambda *_: next(readings)
    (outcome,) = carry_out(api, changes, rules).outcomes
    assert (outcome.status, outcome.fault.code) == (OutcomeStatus.FAILED, "no_metadata")


def test_a_missing_field_is_empty_where_pairs_are_merged():
    api = Scripted(MERGE_NULL, {REFS[0]: {"a": "0"}}, on_post=lambda *_: Observed(None))
    rules = Rules(MERGE_NULL)
    changes = changes_for(desire({"a": None}, REFS[:1]), api, rules)
    readings = iter([Observed({"a": "0"}), Observed(None)])
    api.on_get = lambda *_: next(readings)
    assert results(carry_out(api, changes, rules)) == [OutcomeStatus.APPLIED]


def test_a_rejected_write_stops_nobody_else():
    def post(api, ref, answer):
        if ref == REFS[1]:
            raise ApiError(Fault("rejected", "no", 400))
        return answer

    api = Scripted(REPLACE, dict.fromkeys(REFS, {}), on_post=post)
    rules = Rules(REPLACE)
    assert results(carry_out(api, changes_for(desire({"a": "1"}), api, rules), rules)).count(OutcomeStatus.APPLIED) == 5


def test_a_mistake_of_ours_is_confined_to_its_resource():
    def post(api, ref, answer):
        if ref == REFS[1]:
            raise KeyError("oops")
        return answer

    api = Scripted(REPLACE, dict.fromkeys(REFS, {}), on_post=post)
    rules = Rules(REPLACE)
    done = carry_out(api, changes_for(desire({"a": "1"}), api, rules), rules)
    assert [one.fault.code for one in done.outcomes if one.status is OutcomeStatus.FAILED] == ["internal"]
    assert results(done).count(OutcomeStatus.APPLIED) == 5


def test_a_refused_write_stops_the_run_and_is_told_once():
    def post(api, ref, answer):
        raise TargetRefused(Fault("forbidden", "read only key", 403))

    api = Scripted(REPLACE, dict.fromkeys(REFS, {}), on_post=post)
    rules = Rules(REPLACE)
    done = carry_out(api, changes_for(desire({"a": "1"}), api, rules), rules)
    assert len(done.refusals) == 1
    assert results(done) == [OutcomeStatus.FAILED] * 2 + [OutcomeStatus.NOT_ATTEMPTED] * 4
    assert len(api.posts) == 2


def test_a_kind_whose_writes_are_not_served_leaves_other_kinds_alone():
    refs = [Ref("thread", "a"), Ref("thread", "b"), Ref("conversation", "c")]

    def post(api, ref, answer):
        if ref.kind == "thread":
            raise TargetRefused(Fault("unserved", "POST is not served", 405))
        return answer

    api = Scripted(REPLACE, dict.fromkeys(refs, {}), on_post=post)
    rules = Rules(REPLACE)
    done = carry_out(api, changes_for(desire({"a": "1"}, refs), api, rules), rules, parallelism=1)
    assert {one.ref: one.status for one in done.outcomes} == {
        refs[0]: OutcomeStatus.FAILED,
        refs[1]: OutcomeStatus.NOT_ATTEMPTED,
        refs[2]: OutcomeStatus.APPLIED,
    }
    assert len(done.refusals) == 1


def test_a_pulled_brake_lets_writes_in_flight_finish_and_starts_no_other():
    brake = Brake()

    def post(api, ref, answer):
        brake.pull("interrupted by SIGTERM")
        return answer

    api = Scripted(REPLACE, dict.fromkeys(REFS, {}), on_post=post)
    rules = Rules(REPLACE)
    done = carry_out(api, changes_for(desire({"a": "1"}), api, rules), rules, parallelism=1, brake=brake)
    assert results(done) == [OutcomeStatus.APPLIED] + [OutcomeStatus.NOT_ATTEMPTED] * 5
    assert len(api.posts) == 1


def test_a_brake_pulled_during_the_fresh_read_prevents_the_write():
    brake = Brake()

    def get(api, ref, reading):
        brake.pull("interrupted by SIGTERM")
        return reading

    api = Scripted(REPLACE, dict.fromkeys(REFS[:1], {}), on_get=get)
    rules = Rules(REPLACE)
    done = carry_out(api, changes_for(desire({"a": "1"}, REFS[:1]), api, rules), rules, brake=brake)
    assert results(done) == [OutcomeStatus.NOT_ATTEMPTED]
    assert not api.posts


def test_blocked_fields_are_never_called_done():
    api = FakeApi(MERGE, {REFS[0]: {"old": "1"}, REFS[1]: {"old": "1"}})
    rules = Rules(MERGE)
    changes = changes_for(desire({"old": None}, REFS[:1]) + desire({"old": None, "a": "1"}, REFS[1:2]), api, rules)
    done = carry_out(api, changes, rules)
    assert [(one.status, one.fault.code, one.writes) for one in done.outcomes] == [
        (OutcomeStatus.BLOCKED, "unremovable", 0),
        (OutcomeStatus.BLOCKED, "unremovable", 1),
    ]
    assert api.held[REFS[1]] == {"old": "1", "a": "1"}


# --- dialects


def test_pairs_that_vanish_unsent_halt_the_kind_after_one_write():
    api = FakeApi(REPLACE, dict.fromkeys(REFS, {"seen": "precious", "a": "0"}))
    rules = Rules(MERGE)
    done = carry_out(api, changes_for(desire({"a": "1"}), api, rules), rules, parallelism=6)
    assert len(api.posts) == 1
    failed = [one for one in done.outcomes if one.status is OutcomeStatus.FAILED]
    assert [(one.fault.code, dict(one.lost)) for one in failed] == [("lost_pairs", {"seen": "precious"})]
    assert results(done).count(OutcomeStatus.NOT_ATTEMPTED) == 5


def test_halting_one_kind_leaves_the_others_alone():
    refs = [Ref("thread", "a"), Ref("thread", "b"), Ref("conversation", "c")]
    api = FakeApi(REPLACE, {refs[0]: {"seen": "1"}, refs[1]: {"seen": "1"}, refs[2]: {}})
    rules = Rules(MERGE)
    done = carry_out(api, changes_for(desire({"a": "1"}, refs), api, rules), rules, parallelism=1)
    assert {one.ref: one.status for one in done.outcomes}[refs[2]] is OutcomeStatus.APPLIED


@pytest.mark.parametrize(
    ("server", "removals", "expected", "calls"),
    [
        (REPLACE, Removals.BLOCK, OutcomeStatus.APPLIED, [{"seen": "1"}]),
        (MERGE_NULL, Removals.BLOCK, OutcomeStatus.APPLIED, [{"seen": "1"}, {"seen": "1", "old": None}]),
        (MERGE, Removals.BLOCK, OutcomeStatus.BLOCKED, [{"seen": "1"}, {"seen": "1", "old": None}]),
        (MERGE, Removals.BLANK, OutcomeStatus.APPLIED, [{"seen": "1"}, {"seen": "1", "old": None}, {"old": ""}]),
    ],
    ids=["replace", "merge-null", "merge", "merge-blanked"],
)
def test_auto_gets_to_know_the_server_by_one_resource(server, removals, expected, calls):
    events = []
    api = FakeApi(server, dict.fromkeys(REFS, {"old": "1", "seen": "1"}))
    rules = Rules(AUTO, removals)
    done = carry_out(api, changes_for(desire({"old": None}), api, rules), rules, parallelism=6, emit=events.append)
    assert results(done) == [expected] * 6
    first = api.posts[0][0]
    assert [entries for ref, entries in api.posts if ref == first] == calls
    assert done.learned == {"thread": server.name}
    assert [event for event in events if isinstance(event, DialectLearned)] == [DialectLearned("thread", server.name)]
    # The others use what was learned: one call each where something can be done, none where not.
    assert len(api.posts) == len(calls) + (5 if expected is OutcomeStatus.APPLIED else 0)


def test_a_server_that_stores_null_without_an_error_cannot_remove():
    class StoresNull(FakeApi):
        async def modify(self, ref, entries, attempt=0):
            self.posts.append((ref, dict(entries)))
            self.held[ref] |= {key: "null" if value is None else value for key, value in entries.items()}
            return Observed(dict(self.held[ref]))

    for held, learned in (({"old": "1", "seen": "1"}, {"thread": "merge"}), ({"old": "1"}, {})):
        api = StoresNull(MERGE, {REFS[0]: held})
        rules = Rules(AUTO)
        done = carry_out(api, changes_for(desire({"old": None}, REFS[:1]), api, rules), rules)
        assert results(done) == [OutcomeStatus.BLOCKED]
        assert done.learned == learned
        assert len(api.posts) == 2


def test_without_a_removal_auto_learns_nothing_and_needs_one_call_each():
    api = FakeApi(MERGE, dict.fromkeys(REFS, {"seen": "1"}))
    rules = Rules(AUTO)
    done = carry_out(api, changes_for(desire({"a": "1"}), api, rules), rules, parallelism=3)
    assert results(done) == [OutcomeStatus.APPLIED] * 6
    assert done.learned == {}
    assert [entries for _, entries in api.posts] == [{"seen": "1", "a": "1"}] * 6


def test_an_answer_that_lost_only_some_of_the_left_out_keys_teaches_nothing():
    api = Scripted(
        REPLACE, {REFS[0]: {"a": "1", "b": "1", "x": "1"}}, on_post=lambda *_: Observed({"a": "1", "x": "1"})
    )
    rules = Rules(AUTO)
    done = carry_out(api, changes_for(desire({"a": None, "b": None}, REFS[:1]), api, rules), rules)
    assert results(done) == [OutcomeStatus.APPLIED]  # the read before the next call shows that both are gone
    assert done.learned == {}


def test_a_server_error_while_probing_teaches_nothing():
    def post(api, ref, answer):
        if len(api.posts) == 2:
            raise ApiError(Fault("server_error", "oops", 500))
        return answer

    api = Scripted(MERGE_NULL, {REFS[0]: {"old": "1"}}, on_post=post)
    rules = Rules(AUTO)
    done = carry_out(api, changes_for(desire({"old": None}, REFS[:1]), api, rules), rules)
    assert results(done) == [OutcomeStatus.APPLIED]  # it took effect all the same, as a read shows
    assert done.learned == {}


def test_a_dialect_that_was_told_wrong_is_a_failure_not_a_lesson():
    api = FakeApi(MERGE, {REFS[0]: {"old": "1"}})
    rules = Rules(REPLACE)
    changes = changes_for(desire({"old": None}, REFS[:1]), api, rules)
    assert changes[0].action is Action.UPDATE
    done = carry_out(api, changes, rules)
    assert results(done) == [OutcomeStatus.FAILED]
    assert len(api.posts) == 1


def test_more_entries_than_a_call_may_carry_are_verified_at_the_end():
    old = {f"o{index:02}": "1" for index in range(10)}
    new = {f"n{index:02}": "1" for index in range(10)}
    api = FakeApi(MERGE_NULL, {REFS[0]: old})
    rules = Rules(MERGE_NULL)
    (outcome,) = carry_out(
        api, changes_for(desire({**dict.fromkeys(old), **new}, REFS[:1]), api, rules), rules
    ).outcomes
    assert (outcome.status, outcome.writes) == (OutcomeStatus.APPLIED, 2)
    assert api.held[REFS[0]] == new


def test_nothing_to_do_is_done_at_once():
    assert carry_out(FakeApi(REPLACE, {}), [], Rules(REPLACE)).outcomes == []
    assert look(FakeApi(REPLACE, {}), []).readings == {}


# --- what a server may do to us


class Lagging(FakeApi):
    """A server that answers writes with the object from before them."""

    async def modify(self, ref, entries, attempt=0):
        before = dict(self.held[ref])
        await super().modify(ref, entries, attempt)
        return Observed(before)


@pytest.mark.parametrize("declared", [{"old": None}, {"old": None, "a": "1"}], ids=["removal", "removal and addition"])
def test_an_old_object_in_the_answer_teaches_nothing_and_costs_no_foreign_key(declared):
    api = Lagging(REPLACE, dict.fromkeys(REFS, {"old": "1", "seen": "1"}))
    rules = Rules(AUTO)
    done = carry_out(api, changes_for(desire(declared), api, rules), rules, parallelism=3)
    assert results(done) == [OutcomeStatus.APPLIED] * 6
    assert done.learned == {"thread": "replace"}
    assert all(pairs["seen"] == "1" for pairs in api.held.values())


def test_a_server_that_ignores_an_empty_map_is_not_taken_for_one_that_merges():
    class IgnoresEmpty(FakeApi):
        async def modify(self, ref, entries, attempt=0):
            self.posts.append((ref, dict(entries)))
            if entries:
                self.held[ref] = {key: value for key, value in entries.items() if value is not None}
            return Observed(dict(self.held[ref]))

    api = IgnoresEmpty(REPLACE, {REFS[0]: {"old": "1"}, REFS[1]: {"seen": "1"}, REFS[2]: {"seen": "1"}})
    rules = Rules(AUTO)
    desired = desire({"old": None}, REFS[:1]) + desire({"a": "1"}, REFS[1:3])
    done = carry_out(api, changes_for(desired, api, rules), rules, parallelism=1)
    assert results(done) == [OutcomeStatus.APPLIED] * 3
    assert api.held == {REFS[0]: {}, REFS[1]: {"seen": "1", "a": "1"}, REFS[2]: {"seen": "1", "a": "1"}}
    assert done.learned == {}


def failing(times, fault, *, lands=False):
    """A server whose first `times` writes fail in passing; where they land, only the answer is lost."""

    class Failing(FakeApi):
        async def modify(self, ref, entries, attempt=0):
            if len(self.posts) < times:
                if lands:
                    await super().modify(ref, entries, attempt)
                else:
                    self.posts.append((ref, dict(entries)))
                raise ApiError(fault if attempt < 2 else Fault(fault.code, fault.message))
            return await super().modify(ref, entries, attempt)

    return Failing


PASSING = Fault("network", "connection reset", retry_in=0.001)


def test_a_write_that_failed_in_passing_is_sent_again_after_another_read():
    api = failing(2, PASSING)(REPLACE, {REFS[0]: {"a": "0"}})
    rules = Rules(REPLACE)
    (outcome,) = carry_out(api, changes_for(desire({"a": "1"}, REFS[:1]), api, rules), rules).outcomes
    assert (outcome.status, outcome.reads, outcome.writes) == (OutcomeStatus.APPLIED, 3, 3)


def test_a_write_that_keeps_failing_is_a_failure():
    api = failing(9, PASSING)(REPLACE, {REFS[0]: {"a": "0"}})
    rules = Rules(REPLACE)
    (outcome,) = carry_out(api, changes_for(desire({"a": "1"}, REFS[:1]), api, rules), rules).outcomes
    assert (outcome.status, outcome.fault.code, outcome.writes) == (OutcomeStatus.FAILED, "network", 3)


def test_a_write_whose_answer_was_lost_is_found_to_be_done():
    api = failing(1, PASSING, lands=True)(REPLACE, {REFS[0]: {"a": "0"}})
    rules = Rules(REPLACE)
    (outcome,) = carry_out(api, changes_for(desire({"a": "1"}, REFS[:1]), api, rules), rules).outcomes
    assert (outcome.status, outcome.writes) == (OutcomeStatus.APPLIED, 1)


def test_what_others_wrote_while_we_waited_is_kept():
    class Busy(failing(1, PASSING)):
        async def fetch(self, ref):
            if self.posts:
                self.held[ref]["seen"] = "new"
            return await super().fetch(ref)

    api = Busy(REPLACE, {REFS[0]: {"a": "0"}})
    rules = Rules(REPLACE)
    assert results(carry_out(api, changes_for(desire({"a": "1"}, REFS[:1]), api, rules), rules)) == [
        OutcomeStatus.APPLIED
    ]
    assert api.held[REFS[0]] == {"a": "1", "seen": "new"}


def test_a_decided_key_that_others_wrote_while_we_waited_is_left_alone():
    class Busy(failing(1, PASSING)):
        async def fetch(self, ref):
            if self.posts:
                self.held[ref]["a"] = "theirs"
            return await super().fetch(ref)

    api = Busy(REPLACE, {REFS[0]: {"a": "0"}})
    rules = Rules(REPLACE)
    (outcome,) = carry_out(api, changes_for(desire({"a": "1"}, REFS[:1]), api, rules), rules).outcomes
    # Not stale: that would say that nothing was written, and the first write may have taken effect.
    assert (outcome.status, outcome.fault.code) == (OutcomeStatus.FAILED, "moved")
    assert api.held[REFS[0]] == {"a": "theirs"}


@pytest.mark.parametrize("told", [MERGE, MERGE_NULL], ids=lambda dialect: dialect.name)
def test_losses_are_seen_behind_old_answers_and_behind_final_failures(told):
    class Failing(FakeApi):
        async def modify(self, ref, entries, attempt=0):
            await super().modify(ref, entries, attempt)
            raise ApiError(Fault("server_error", "oops", 500))

    for kind in (Lagging, Failing):
        api = kind(REPLACE, dict.fromkeys(REFS, {"a": "0", "seen": "1"}))
        rules = Rules(told)
        done = carry_out(api, changes_for(desire({"a": "1"}), api, rules), rules, parallelism=3)
        assert [one.fault.code for one in done.outcomes].count("lost_pairs") == 1
        assert results(done).count(OutcomeStatus.NOT_ATTEMPTED) == 5
        assert len(api.posts) == 1


def test_a_write_that_failed_for_good_but_took_effect_is_applied():
    class Failing(FakeApi):
        async def modify(self, ref, entries, attempt=0):
            await super().modify(ref, entries, attempt)
            raise ApiError(Fault("timeout", "slow"))

    api = Failing(REPLACE, {REFS[0]: {"a": "0"}})
    rules = Rules(REPLACE)
    assert results(carry_out(api, changes_for(desire({"a": "1"}, REFS[:1]), api, rules), rules)) == [
        OutcomeStatus.APPLIED
    ]


class Meddled(FakeApi):
    """A server on which somebody else writes while we wait for our second slot."""

    def __init__(self, dialect, held, meddling):
        super().__init__(dialect, held)
        self.meddling = meddling

    async def write_slot(self, sleep):
        for ref in self.held if self.posts else ():
            self.held[ref] |= self.meddling


@pytest.mark.parametrize(
    ("meddling", "status"),
    [({"seen": "new"}, OutcomeStatus.APPLIED), ({"a": "theirs"}, OutcomeStatus.FAILED)],
    ids=["a foreign key", "one of ours"],
)
def test_every_further_call_of_a_change_has_a_read_before_it(meddling, status):
    api = Meddled(MERGE_NULL, {REFS[0]: {"old": "1", "seen": "1", "a": "0"}}, meddling)
    rules = Rules(AUTO)
    (outcome,) = carry_out(api, changes_for(desire({"old": None, "a": "1"}, REFS[:1]), api, rules), rules).outcomes
    assert outcome.status is status
    assert api.held[REFS[0]] | meddling == api.held[REFS[0]]
    assert outcome.reads == 2


class Crowded(FakeApi):
    """A server before which a write has to wait too long, so many times; `meddling` comes between."""

    def __init__(self, dialect, held, times, meddling):
        super().__init__(dialect, held)
        self.times, self.meddling, self.slots = times, meddling, 0

    async def write_slot(self, sleep):
        self.slots += 1

    async def write_start(self, sleep):
        self.times -= 1
        if self.times >= 0:
            for ref in self.held:
                self.held[ref] |= self.meddling
        return self.times < 0


@pytest.mark.parametrize(
    ("meddling", "status"),
    [({}, "applied"), ({"seen": "2"}, "applied"), ({"a": "theirs"}, "stale"), ({"a": "1"}, "applied")],
    ids=["nothing new", "a foreign key", "one of ours", "what we were about to write"],
)
def test_who_cannot_write_soon_after_a_look_takes_another_slot_and_looks_again(meddling, status):
    api = Crowded(REPLACE, {REFS[0]: {"a": "0", "seen": "1"}}, 3, meddling)
    rules = Rules(REPLACE)
    (outcome,) = carry_out(api, changes_for(desire({"a": "1"}, REFS[:1]), api, rules), rules).outcomes
    looks = 4 if meddling in ({}, {"seen": "2"}) else 2
    assert (outcome.status, outcome.reads, api.slots) == (status, looks, looks)
    assert outcome.writes == len(api.posts) == (looks == 4)
    assert api.held[REFS[0]] == {"a": "1" if status == "applied" else "theirs", "seen": meddling.get("seen", "1")}


def test_a_change_of_two_calls_reads_before_each():
    old = {f"o{index:02}": "1" for index in range(10)}
    api = FakeApi(MERGE_NULL, {REFS[0]: old})
    rules = Rules(MERGE_NULL)
    declared = {**dict.fromkeys(old), **{f"n{index:02}": "1" for index in range(10)}}
    (outcome,) = carry_out(api, changes_for(desire(declared, REFS[:1]), api, rules), rules).outcomes
    assert (outcome.status, outcome.reads, outcome.writes) == (OutcomeStatus.APPLIED, 2, 2)


def test_a_kind_that_is_halted_while_others_read_gets_no_write_of_theirs():
    class Late(FakeApi):
        async def fetch(self, ref):
            reading = await super().fetch(ref)
            if ref != REFS[0]:
                await asyncio.sleep(0.01)
            return reading

    api = Late(REPLACE, {REFS[0]: {"seen": "1"}, **{ref: {} for ref in REFS[1:]}})
    rules = Rules(MERGE)
    done = carry_out(api, changes_for(desire({"a": "1"}), api, rules), rules, parallelism=6)
    assert len(api.posts) == 1
    assert results(done).count(OutcomeStatus.NOT_ATTEMPTED) == 5


def test_a_refusal_after_a_halted_kind_is_still_told():
    refs = [Ref("thread", "a"), Ref("conversation", "b")]

    def post(api, ref, answer):
        if ref.kind == "conversation":
            raise TargetRefused(Fault("unauthorized", "wrong key", 401))
        return answer

    api = Scripted(REPLACE, {refs[0]: {"seen": "1"}, refs[1]: {}}, on_post=post)
    rules = Rules(MERGE)
    done = carry_out(api, changes_for(desire({"a": "1"}, refs), api, rules), rules, parallelism=1)
    assert [refusal.fault.code for refusal in done.refusals] == ["unauthorized"]


def test_pairs_lost_by_a_write_whose_answer_was_lost_halt_the_kind():
    api = failing(1, PASSING, lands=True)(REPLACE, dict.fromkeys(REFS[:2], {"a": "0", "seen": "1"}))
    rules = Rules(MERGE)
    done = carry_out(api, changes_for(desire({"a": "1"}, REFS[:2]), api, rules), rules)
    assert [one.fault.code for one in done.outcomes] == ["lost_pairs", "halted"]


def test_a_pair_of_ours_that_such_a_write_lost_is_not_blamed_on_others():
    api = failing(1, PASSING, lands=True)(REPLACE, {REFS[0]: {"a": "0", "b": "1"}})
    rules = Rules(MERGE)
    changes = changes_for(desire({"a": "1", "b": "1"}, REFS[:1]), api, rules)
    (outcome,) = carry_out(api, changes, rules).outcomes
    assert (outcome.fault.code, outcome.lost) == ("lost_pairs", {"b": "1"})


def test_an_interruption_ends_the_wait_for_another_attempt():
    brake = Brake()

    class Throttled(FakeApi):
        async def modify(self, ref, entries, attempt=0):
            self.posts.append((ref, dict(entries)))
            asyncio.get_running_loop().call_soon(brake.pull, "interrupted by SIGINT")
            raise ApiError(Fault("rate_limited", "slow down", 429, retry_in=3600))

    api = Throttled(REPLACE, {REFS[0]: {"a": "0"}})
    rules = Rules(REPLACE)
    (outcome,) = carry_out(api, changes_for(desire({"a": "1"}, REFS[:1]), api, rules), rules, brake=brake).outcomes
    # Never "not attempted": a write was sent.
    assert (outcome.status, outcome.fault.code) == (OutcomeStatus.FAILED, "in_flight")
    assert len(api.posts) == 1


def test_an_interruption_ends_the_wait_for_a_slot_and_the_read_before_a_write():
    class Paced(FakeApi):
        async def write_slot(self, sleep):
            asyncio.get_running_loop().call_soon(brake.pull, "interrupted by SIGINT")
            await sleep(3600)

    class AtTheGate(FakeApi):
        async def write_start(self, sleep):
            asyncio.get_running_loop().call_soon(brake.pull, "interrupted by SIGINT")
            await sleep(3600)

    class Reading(FakeApi):
        async def fetch(self, ref):
            asyncio.get_running_loop().call_soon(brake.pull, "interrupted by SIGINT")
            await asyncio.sleep(3600)

    rules = Rules(REPLACE)
    held = dict.fromkeys(REFS, {})
    changes = changes_for(desire({"a": "1"}), FakeApi(REPLACE, held), rules)
    for api in (Paced(REPLACE, {}), AtTheGate(REPLACE, held), Reading(REPLACE, {})):
        brake = Brake()
        assert results(carry_out(api, changes, rules, brake=brake)) == [OutcomeStatus.NOT_ATTEMPTED] * 6
        assert not api.posts


def test_an_object_that_a_served_kind_answers_oddly_for_is_missing():
    odd = TargetRefused(Fault("unserved", "it answered 404 with an empty body", 404))

    def get(api, ref, reading):
        return unserved(api, ref, reading) if ref == REFS[0] else reading

    def post(api, ref, answer):
        if ref == REFS[1]:
            raise odd
        return answer

    api = Scripted(REPLACE, dict.fromkeys(REFS, {}), on_get=get, on_post=post)
    rules = Rules(REPLACE)
    done = carry_out(api, changes_for(desire({"a": "1"}), api, rules), rules)
    assert results(done) == [OutcomeStatus.MISSING] * 2 + [OutcomeStatus.APPLIED] * 4
    assert not done.refusals


def test_a_field_that_the_plan_showed_as_blocked_is_not_written():
    api = FakeApi(MERGE, {REFS[0]: {"old": "1", "a": "0"}})
    (change,) = changes_for(desire({"old": None, "a": "1"}, REFS[:1]), api, Rules(MERGE))
    blanking = Rules(MERGE, Removals.BLANK)
    (outcome,) = carry_out(api, [change], blanking).outcomes
    assert (outcome.status, outcome.fault.code, outcome.writes) == (OutcomeStatus.FAILED, "not_planned", 0)


def test_a_blank_that_appears_where_it_counts_as_absent_is_not_stale():
    api = FakeApi(MERGE, {REFS[0]: {"a": "0"}})
    rules = Rules(MERGE, Removals.BLANK)
    changes = changes_for(desire({"old": None, "a": "1"}, REFS[:1]), api, rules)
    api.held[REFS[0]]["old"] = ""
    assert results(carry_out(api, changes, rules)) == [OutcomeStatus.APPLIED]


# --- interleavings


class Gated(FakeApi):
    """A fake whose writes wait until the test lets them go; `waiting` has the references in their order of arrival."""

    def __init__(self, dialect, held):
        super().__init__(dialect, held)
        self.waiting: list[Ref] = []
        self.gates: dict[Ref, asyncio.Event] = {}

    async def modify(self, ref, entries, attempt=0):
        self.waiting.append(ref)
        self.gates[ref] = asyncio.Event()
        await self.gates[ref].wait()
        return await super().modify(ref, entries, attempt)

    async def settled(self):
        """Let everybody go as far as they can."""
        for _ in range(50):
            await asyncio.sleep(0)


def step_through(api, changes, rules, script, parallelism=6):
    """Apply with a script that opens the gates; returns what became of it."""

    async def both():
        work = asyncio.ensure_future(apply(api, changes, lambda _kind: rules, parallelism=parallelism, brake=Brake()))
        await api.settled()
        await script(api)
        while not work.done():
            await api.settled()
            for gate in api.gates.values():
                gate.set()
        return await work

    return virtual_time.run(both())


@pytest.mark.parametrize(
    ("rules", "declared"),
    [(Rules(MERGE), {"a": "1"}), (Rules(AUTO), {"old": None})],
    ids=["the first merging write", "the first removal under auto"],
)
def test_one_write_goes_alone_and_the_others_follow_together(rules, declared):
    server = MERGE if rules.dialect is MERGE else REPLACE
    api = Gated(server, dict.fromkeys(REFS, {"old": "1", "seen": "1"}))
    counts = []

    async def script(api):
        counts.append(len(api.waiting))
        api.gates[api.waiting[0]].set()
        await api.settled()
        counts.append(len(api.waiting))

    done = step_through(api, changes_for(desire(declared), api, rules), rules, script)
    assert counts == [1, 6]
    assert results(done) == [OutcomeStatus.APPLIED] * 6


def test_a_write_beside_nothing_else_need_not_go_alone():
    api = Gated(MERGE, dict.fromkeys(REFS, {}))
    counts = []

    async def script(api):
        counts.append(len(api.waiting))

    rules = Rules(MERGE)
    step_through(api, changes_for(desire({"a": "1"}), api, rules), rules, script)
    assert counts == [6]


def test_a_late_answer_does_not_unteach_what_was_learned():
    api = Gated(REPLACE, dict.fromkeys(REFS, {"old": "1", "seen": "1"}))
    rules = Rules(AUTO)
    changes = changes_for(desire({"a": "1"}, REFS[:1]) + desire({"old": None}, REFS[1:]), api, rules)
    counts = []

    async def script(api):
        assert set(api.waiting) == {REFS[0], REFS[1]}  # an addition, and the one probe
        api.gates[REFS[1]].set()
        await api.settled()
        api.gates[REFS[0]].set()  # its answer comes after the lesson
        await api.settled()
        counts.append(len(api.waiting))

    done = step_through(api, changes, rules, script)
    assert counts == [6]
    assert done.learned == {"thread": "replace"}
    assert {one.writes for one in done.outcomes} == {1}


def test_what_was_in_flight_when_the_work_is_broken_off_is_told():
    api = Gated(REPLACE, dict.fromkeys(REFS, {}))
    rules = Rules(REPLACE)
    changes = changes_for(desire({"a": "1"}), api, rules)
    told = Application()

    async def broken_off():
        brake = Brake()
        work = asyncio.ensure_future(apply(api, changes, lambda _kind: rules, parallelism=2, brake=brake, into=told))
        await api.settled()
        brake.pull("interrupted by SIGINT")
        work.cancel()
        await asyncio.wait([work])

    asyncio.run(broken_off())
    assert [one.fault.code for one in told.outcomes] == ["in_flight"] * 2 + ["not_attempted"] * 4
    assert [one.writes for one in told.outcomes] == [1, 1, 0, 0, 0, 0]


def test_the_first_reason_of_a_brake_stays():
    brake = Brake()
    brake.pull("first")
    brake.pull("second")
    assert brake.not_attempted().message == "not attempted: first"


@pytest.mark.parametrize("limited", [True, False], ids=["a limit after the merge", "no limit"])
def test_a_key_can_be_swapped_where_there_is_no_room_for_a_null_beside_the_map(limited):
    class Unlimited(FakeApi):
        async def modify(self, ref, entries, attempt=0):
            self.posts.append((ref, dict(entries)))
            merged = {**self.held[ref], **entries}
            self.held[ref] = {key: value for key, value in merged.items() if value is not None}
            return Observed(dict(self.held[ref]))

    full = {f"f{index:02}": "1" for index in range(15)} | {"old": "1"}
    api = (FakeApi if limited else Unlimited)(MERGE_NULL, {REFS[0]: full})
    rules = Rules(AUTO)
    desired = desire({"old": None, "new": "1"}, REFS[:1])
    done = carry_out(api, changes_for(desired, api, rules), rules)
    assert results(done) == [OutcomeStatus.APPLIED]
    assert api.held[REFS[0]].keys() == full.keys() - {"old"} | {"new"}
    assert all(len(entries) <= 16 for _, entries in api.posts)
    assert done.learned == {"thread": "merge-null"}


@pytest.mark.parametrize("fault", [Fault("rate_limited", "slow", 429, retry_in=0.001), PASSING], ids=["429", "reset"])
def test_a_pair_that_others_removed_while_we_waited_is_no_loss_of_ours(fault):
    class Busy(failing(1, fault)):
        async def fetch(self, ref):
            if self.posts:
                self.held[ref].pop("seen", None)
            return await super().fetch(ref)

    api = Busy(MERGE, {REFS[0]: {"a": "0", "seen": "1"}})
    rules = Rules(MERGE)
    done = carry_out(api, changes_for(desire({"a": "1"}, REFS[:1]), api, rules), rules)
    assert [(one.status, dict(one.lost)) for one in done.outcomes] == [(OutcomeStatus.APPLIED, {})]


def test_a_write_that_was_rejected_is_not_looked_at_again():
    def post(api, ref, answer):
        raise ApiError(Fault("rejected", "no", 400))

    api = Scripted(REPLACE, {REFS[0]: {"a": "0"}}, on_post=post)
    rules = Rules(REPLACE)
    (outcome,) = carry_out(api, changes_for(desire({"a": "1"}, REFS[:1]), api, rules), rules).outcomes
    assert (outcome.status, outcome.fault.code, outcome.reads) == (OutcomeStatus.FAILED, "rejected", 1)


def test_a_lesson_is_taken_once_and_a_late_one_not_at_all():
    told = []
    lessons = Lessons(lambda _kind: Rules(AUTO), told.append)
    lessons.take("thread", AUTO, REPLACE)
    lessons.take("thread", AUTO, MERGE)  # an answer to a call from before that lesson
    lessons.take("thread", REPLACE, REPLACE)
    assert lessons.of("thread").rules.dialect is REPLACE
    assert told == [DialectLearned("thread", "replace")]


def test_a_brake_that_is_pulled_already_lets_nobody_sleep():
    brake = Brake()
    brake.pull("stop")

    async def nap():
        sleeping = asyncio.ensure_future(brake.sleep(3600))
        await asyncio.sleep(0)
        slept = sleeping.done()
        sleeping.cancel()
        return slept

    assert asyncio.run(nap())


@pytest.mark.parametrize("told", [MERGE_NULL, MERGE_EMPTY], ids=lambda dialect: dialect.name)
def test_calls_that_bring_a_large_change_no_further_come_to_an_end(told):
    old = {f"o{index:02}": "1" for index in range(10)}
    rules = Rules(told)
    declared = {**dict.fromkeys(old), **{f"n{index:02}": "1" for index in range(10)}}
    for api in (Stripping(told, {REFS[0]: old}), FakeApi(MERGE, {REFS[0]: old})):
        (outcome,) = carry_out(api, changes_for(desire(declared, REFS[:1]), api, rules), rules).outcomes
        assert outcome.status is OutcomeStatus.FAILED
        assert outcome.writes <= 2


# --- a write of which nobody knows


DARK = Unread(Fault("timeout", "no answer to the look"))


def after_a_write(reading):
    return lambda api, _ref, found: reading if api.posts else found


@pytest.mark.parametrize(
    ("fault", "code"),
    [(Fault("network", "reset"), "network"), (Fault("server_error", "oops", 503), "server_error")],
    ids=["reset", "503"],
)
def test_a_write_that_cannot_be_looked_at_afterwards_may_have_taken_effect(fault, code):
    def post(api, ref, answer):
        raise ApiError(fault)

    api = Scripted(REPLACE, {REFS[0]: {"a": "0"}}, on_get=after_a_write(DARK), on_post=post)
    rules = Rules(REPLACE)
    (outcome,) = carry_out(api, changes_for(desire({"a": "1"}, REFS[:1]), api, rules), rules).outcomes
    assert (outcome.status, outcome.fault.code, outcome.seen) == (OutcomeStatus.FAILED, code, {"a": "0"})
    assert outcome.fault.message == f"{fault.message} (a write was sent before: it may have taken effect)"


def test_an_unusable_answer_that_no_look_settles_may_have_taken_effect():
    api = Scripted(REPLACE, {REFS[0]: {"a": "0"}}, on_get=after_a_write(DARK), on_post=lambda *_: Observed(None))
    rules = Rules(REPLACE)
    (outcome,) = carry_out(api, changes_for(desire({"a": "1"}, REFS[:1]), api, rules), rules).outcomes
    assert (outcome.status, outcome.fault.code) == (OutcomeStatus.FAILED, "timeout")
    assert "it may have taken effect" in outcome.fault.message


def test_a_resource_that_is_gone_after_a_failed_write_is_missing():
    def post(api, ref, answer):
        raise ApiError(Fault("server_error", "oops", 500))

    gone = Missing(Fault("missing", "gone", 404))
    api = Scripted(REPLACE, {REFS[0]: {"a": "0"}}, on_get=after_a_write(gone), on_post=post)
    rules = Rules(REPLACE)
    assert results(carry_out(api, changes_for(desire({"a": "1"}, REFS[:1]), api, rules), rules)) == [
        OutcomeStatus.MISSING
    ]


def test_a_rejected_write_says_nothing_of_an_effect():
    def post(api, ref, answer):
        raise ApiError(Fault("rejected", "no", 400))

    api = Scripted(REPLACE, {REFS[0]: {"a": "0"}}, on_post=post)
    rules = Rules(REPLACE)
    (outcome,) = carry_out(api, changes_for(desire({"a": "1"}, REFS[:1]), api, rules), rules).outcomes
    assert outcome.fault.message == "no"


@pytest.mark.parametrize(
    ("lands", "status", "code"),
    [(True, OutcomeStatus.APPLIED, None), (False, OutcomeStatus.FAILED, "in_flight")],
    ids=["landed", "did not"],
)
def test_a_write_whose_answer_is_lost_while_the_run_ends_is_looked_at_once(lands, status, code):
    brake = Brake()

    class Lost(FakeApi):
        async def modify(self, ref, entries, attempt=0):
            if lands:
                await super().modify(ref, entries, attempt)
            else:
                self.posts.append((ref, dict(entries)))
            brake.pull("interrupted by SIGINT")
            raise ApiError(Fault("network", "reset", retry_in=3600))

    api = Lost(REPLACE, dict.fromkeys(REFS, {"a": "0"}))
    rules = Rules(REPLACE)
    done = carry_out(api, changes_for(desire({"a": "1"}), api, rules), rules, parallelism=1, brake=brake)
    first = done.outcomes[0]
    assert (first.status, first.fault and first.fault.code, first.reads) == (status, code, 2)
    assert len(api.posts) == 1


ANSWERS = {
    "right": lambda _fake, answer: answer,
    "without metadata": lambda *_: Observed(None),
    "an empty map": lambda *_: Observed({}),
    "500, to be tried again": Fault("server_error", "oops", 500, retry_in=0.1),
    "500": Fault("server_error", "oops", 500),
    "reset": Fault("network", "reset"),
    "400": Fault("rejected", "no", 400),
    "401": Fault("unauthorized", "no key", 401),
}
"""What is answered to a call that was carried out, but for those that say that it was not."""


@pytest.mark.parametrize(
    ("server", "told"),
    [(MERGE, AUTO), (MERGE_NULL, AUTO), (REPLACE, AUTO), (MERGE_NULL, MERGE_NULL)],
    ids=lambda dialect: dialect.name,
)
@pytest.mark.parametrize("dark_from", [2, 3, 4, 99])
@pytest.mark.parametrize("kind", ["thread", "chat_completion"])
def test_what_was_written_in_part_is_told_whatever_the_failure_is(server, told, dark_from, kind):
    ref = Ref(kind, "x")
    old = {f"o{index:02}": "1" for index in range(10)}
    declared = {"a": "1", **dict.fromkeys(old), **{f"n{index:02}": "1" for index in range(6)}}
    untold = []
    for first, second in itertools.product(ANSWERS, ANSWERS):
        script = [ANSWERS[first], ANSWERS[second]]

        def post(api, one, answer, script=script):
            act = script[min(len(api.posts), len(script)) - 1]
            if not isinstance(act, Fault):
                return act(api, answer)
            if act.status in (400, 401):
                api.held[one] = api.last  # undone: it was not carried out
            raise (TargetRefused if act.status == 401 else ApiError)(act)

        def get(api, one, reading):
            api.last = dict(api.held[one])
            return DARK if api.gets[one] >= dark_from else reading

        api, rules = Scripted(server, {ref: {"a": "0", **old}}, get, post), Rules(told)
        changes = changes_for(desire(declared, [ref]), api, rules)
        before = dict(api.held[ref])
        (outcome,) = carry_out(api, changes, rules).outcomes
        said = outcome.fault.message if outcome.fault else ""
        noted = "may have taken effect" in said or "part of the change was written" in said
        if outcome.status is OutcomeStatus.FAILED and api.held[ref] != before and not noted:
            untold.append((first, second, outcome.fault.code, said))
    assert untold == []


# --- many writers at one pace, with the real gateway ------------------------------------------------------------------


class Busy(httpx.AsyncBaseTransport):
    """A server that knows when each call came; a look takes `look` seconds, and `refuse` may refuse a call."""

    def __init__(self, refuse=lambda *_: None, look=lambda _number: 0.05):
        self.refuse, self.look = refuse, look
        self.came = {"GET": [], "POST": []}
        self.looked, self.ages, self.told = {}, [], None

    async def handle_async_request(self, request):
        loop, path, came = asyncio.get_running_loop(), request.extensions["target"].decode(), self.came[request.method]
        came.append(loop.time())
        number = len(came)
        if request.method == "POST":
            self.ages.append(loop.time() - self.looked[path])
        await asyncio.sleep(self.look(number) if request.method == "GET" else 0.05)
        hint = self.refuse(request.method, number)
        if hint is not None:
            self.told = loop.time()
            return httpx.Response(429, headers={"retry-after": str(hint)})
        self.looked[path] = loop.time()
        held = json.loads(request.content)["metadata"] if request.content else {}
        return httpx.Response(200, json={"id": path.rpartition("/")[2], "metadata": held})


def written_by_many(server, number, writers, writes_per_minute):
    """Let writers carry out changes at a pace, on a clock that jumps: the outcomes."""

    async def run():
        loop = asyncio.get_running_loop()
        around = Surroundings(loop.time, loop.time, chance=lambda: 0.0)
        pacer = Pacer(Pace(), Pace.per_minute(writes_per_minute), around)
        refs = [Ref("thread", f"thread_{each:04}") for each in range(number)]
        rules = Rules(REPLACE)
        changes = [judge(one, Observed({}), None, rules) for one in desire({"a": "1"}, refs)]
        to = Connection(PROVIDERS["openai"], "http://127.0.0.1:1/v1")
        async with open_gateway(to, transport=server, pacer=pacer, around=around) as gateway:
            return await apply(gateway, changes, lambda _kind: rules, parallelism=writers, brake=Brake())

    return virtual_time.run(run())


def most_within(instants, seconds):
    """Return the most instants in any span of so many seconds."""
    return max(sum(first <= each < first + seconds for each in instants) for first in instants)


def used(instants, ceiling):
    """Return the share of a ceiling that was used from the first to the last."""
    return (len(instants) - 1) / (instants[-1] - instants[0]) / (ceiling / 60)


def test_a_write_that_is_told_to_wait_holds_back_all_writers_and_slows_them_down():
    server = Busy(lambda method, number: 8 if (method, number) == ("POST", 1) else None)
    done = written_by_many(server, 60, 30, 120)
    assert set(results(done)) == {OutcomeStatus.APPLIED}
    early = [each for each in server.came["POST"] if server.told < each < server.told + 8]
    assert early == []
    assert most_within(server.came["POST"], 5) <= 11
    after = [each for each in server.came["POST"] if each > server.told]
    assert most_within(after[:4], 1) <= 2  # half of what it was, to begin with
    assert max(server.ages) <= 1.1


def test_after_a_hold_on_reads_the_writes_keep_their_ceiling_and_have_just_looked():
    server = Busy(lambda method, number: 12 if (method, number) == ("GET", 6) else None)
    done = written_by_many(server, 80, 40, 60)
    assert set(results(done)) == {OutcomeStatus.APPLIED}
    posts = server.came["POST"]
    assert most_within(posts, 1) <= 2
    assert most_within(posts, 10) <= 11
    assert most_within(posts, 60) <= 60
    assert max(server.ages) <= 1.1
    later = [each for each in posts if each > server.told + 30]
    assert used(later, 60) >= 0.9


LOOKS = {
    "even": lambda _number: 0.3,
    "uneven": lambda number: (0.05, 0.3, 1.2, 0.1, 0.6)[number % 5],
    "slow": lambda _number: 2.8,
    "slow and uneven": lambda number: (2.8, 3.4, 2.2)[number % 3],
    "now and then very slow": lambda number: 6.0 if number % 20 == 7 else 0.1,
}


@pytest.mark.parametrize("ceiling", [6, 60, 300])
@pytest.mark.parametrize("looks", LOOKS)
def test_however_long_looks_take_a_ceiling_on_writes_is_kept_and_used(looks, ceiling):
    server = Busy(look=LOOKS[looks])
    done = written_by_many(server, max(20, 2 * ceiling), 40, ceiling)
    assert set(results(done)) == {OutcomeStatus.APPLIED}
    posts = server.came["POST"]
    assert most_within(posts, 60) <= ceiling
    assert most_within(posts, 1) <= 2 + 1.5 * ceiling / 60
    assert used(posts, ceiling) >= 0.9
    assert max(server.ages) <= 1.1
    assert len(server.came["GET"]) <= 1.25 * len(posts)


# --- reading ahead ----------------------------------------------------------------------------------------------------


def read_ahead(fetch, arriving, refs, parallelism=3):
    """Let references arrive one batch after the other, then read all; the observation and what was asked for."""
    asked = []

    class Door:
        async def fetch(self, ref):
            asked.append(ref)
            await asyncio.sleep(0)
            return fetch(ref)

    async def run():
        seen, feed = Observation(), Feed()
        observer = Observer(Door(), parallelism, Brake(), seen)
        reading = asyncio.ensure_future(observer.ahead(feed))
        for batch in arriving:
            feed.add(batch)
            await asyncio.sleep(0.01)
        ahead = len(asked)
        feed.close()
        await reading
        await observer.observe(refs)
        return seen, ahead

    return *asyncio.run(run()), asked


AHEAD = [Ref("thread", f"thread_{number}") for number in range(120)]
UNSERVED = Unread(Fault("unserved", "an empty 404"))


def test_what_was_read_ahead_is_not_read_again_and_the_rest_is_read_at_the_end():
    seen, ahead, asked = read_ahead(lambda _: Observed({}), [AHEAD[:10], AHEAD[5:20]], AHEAD)
    assert (ahead, len(asked), seen.reads) == (20, 120, 120)
    assert list(dict.fromkeys(asked)) == asked
    assert set(seen.readings) == set(AHEAD)


def test_what_arrives_but_was_not_begun_when_the_feed_is_closed_is_left_for_the_end():
    async def run():
        feed = Feed()
        feed.add([1, 2])
        taken = [await anext(feed)]
        feed.close()
        return taken + [item async for item in feed]

    assert asyncio.run(run()) == [1]


def test_of_a_kind_with_signs_of_not_being_served_nothing_more_is_read_ahead():
    _, ahead, asked = read_ahead(lambda _: UNSERVED, [AHEAD[:60], AHEAD[60:]], AHEAD)
    assert ahead <= 3
    assert len(asked) <= 3 + 60


def test_signs_of_an_unserved_kind_mean_nothing_once_it_has_been_served():
    seen, _, _ = read_ahead(lambda ref: Observed({}) if ref == AHEAD[0] else UNSERVED, [AHEAD[:60]], AHEAD)
    assert sum(isinstance(reading, Missing) for reading in seen.readings.values()) == len(AHEAD) - 1
    assert seen.refusals == []


def test_reading_ahead_ends_where_one_resource_after_the_other_fails():
    broken = Unread(Fault("network", "no route"))
    seen, ahead, asked = read_ahead(lambda _: broken, [AHEAD], AHEAD)
    assert len(asked) == ahead == 25 + 2
    assert [error.code for error in seen.refusals] == ["breaker"]
