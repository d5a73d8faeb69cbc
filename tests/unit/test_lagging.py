"""Reads that lag behind writes: what is waited for, what is believed, and what it costs."""

import asyncio

import pytest
import virtual_time
from fakes import LaggingApi, merged
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.compare import Action, Rules, judge
from reconciler.dialects import AUTO, MERGE, MERGE_EMPTY, MERGE_NULL, REPLACE
from reconciler.engine import Brake, apply
from reconciler.engine.lessons import LOOKS
from reconciler.errors import ApiError, Fault
from reconciler.events import OutcomeStatus
from reconciler.model import Desired, Observed, Ownership, Ref

LAGS = "chat_completion"
CURRENT = "thread"
WHOLE_WAIT = sum(LOOKS)
APPLIED, FAILED = OutcomeStatus.APPLIED, OutcomeStatus.FAILED


def refs_of(kind, number=1):
    return [Ref(kind, f"x{index:03}") for index in range(number)]


def written(api, desired, rules, *, planned_from=None, parallelism=2, brake=None):
    """Carry out the changes for what was read; returns what became of them and the seconds that it took."""

    async def run():
        changes = [
            judge(one, Observed((planned_from or {}).get(one.ref, api.seen(one.ref))), None, rules) for one in desired
        ]
        done = await apply(api, changes, lambda _kind: rules, parallelism=parallelism, brake=brake or Brake())
        next_plan = [judge(one, Observed(api.seen(one.ref)), None, rules) for one in desired]
        return done, asyncio.get_running_loop().time(), next_plan

    return virtual_time.run(run())


@pytest.mark.parametrize("dialect", [REPLACE, MERGE, MERGE_NULL, MERGE_EMPTY], ids=lambda dialect: dialect.name)
@pytest.mark.parametrize("kind", [LAGS, CURRENT])
@pytest.mark.parametrize("lag", [0.1, 0.6, 1.6, 3.5])
def test_an_old_answer_and_old_reads_are_waited_for(dialect, kind, lag):
    (ref,) = refs_of(kind)
    api = LaggingApi(dialect, {ref: {"a": "0", "seen": "1"}}, lag, old=True)
    done, took, after = written(api, [Desired(ref, {"a": "1"})], Rules(dialect))
    (outcome,) = done.outcomes
    assert (outcome.status, outcome.writes, outcome.seen) == (APPLIED, 1, {"a": "1", "seen": "1"})
    assert lag <= took <= 2 * lag + LOOKS[0]
    assert [change.action for change in after] == [Action.KEEP]


@pytest.mark.parametrize("kind", [LAGS, CURRENT])
def test_a_write_that_no_read_shows_is_a_failure_that_says_how_long_was_looked(kind):
    (ref,) = refs_of(kind)
    api = LaggingApi(REPLACE, {ref: {"a": "0"}}, 60, old=True)
    done, took, _ = written(api, [Desired(ref, {"a": "1"})], Rules(REPLACE))
    (outcome,) = done.outcomes
    assert (outcome.status, outcome.fault.code, outcome.reads) == (FAILED, "not_applied", 2 + len(LOOKS))
    assert "after 3.75 s of looking" in outcome.fault.message
    assert took == pytest.approx(WHOLE_WAIT, abs=0.01)


@pytest.mark.parametrize("kind", [LAGS, CURRENT])
def test_a_proxy_that_never_shows_a_write_is_waited_for_by_the_first_alone(kind):
    class Stripping(LaggingApi):
        async def modify(self, ref, entries, attempt=0):
            self.posts.append((ref, dict(entries)))
            return Observed(dict(self.held[ref]))

    refs = refs_of(kind, 24)  # one more, and so many failures would end the run
    api = Stripping(REPLACE, dict.fromkeys(refs, {"a": "0"}), 0)
    done, took, _ = written(api, [Desired(ref, {"a": "1"}) for ref in refs], Rules(REPLACE), parallelism=4)
    assert {one.fault.code for one in done.outcomes} == {"not_applied"}
    assert took < WHOLE_WAIT + 0.5
    assert sum(api.gets.values()) <= 2 * 24 + 4 * len(LOOKS)


def test_while_a_few_wait_the_others_go_on_once_waiting_has_helped():
    refs = refs_of(LAGS, 60)
    api = LaggingApi(REPLACE, dict.fromkeys(refs, {"a": "0"}), 1.5, old=True)
    done, took, after = written(api, [Desired(ref, {"a": "1"}) for ref in refs], Rules(REPLACE), parallelism=2)
    assert {one.status for one in done.outcomes} == {APPLIED}
    assert took < 6  # one after the other, by twos, it would be a minute
    assert api.busiest <= 2
    assert {change.action for change in after} == {Action.KEEP}


def test_answers_that_are_right_cost_one_look_for_the_kind_and_the_next_plan_is_empty():
    refs = refs_of(LAGS, 40)
    api = LaggingApi(REPLACE, dict.fromkeys(refs, {"a": "0"}), 1.0)
    done, took, after = written(api, [Desired(ref, {"a": "1"}) for ref in refs], Rules(REPLACE))
    assert {one.status for one in done.outcomes} == {APPLIED}
    assert {change.action for change in after} == {Action.KEEP}
    assert sum(api.gets.values()) == sum(one.reads for one in done.outcomes) <= 40 + 1 + len(LOOKS)
    assert 1.0 <= took < 2.0


def test_a_write_that_its_answer_showed_is_applied_whatever_the_last_look_says():
    (ref,) = refs_of(LAGS)
    api = LaggingApi(REPLACE, {ref: {"a": "0"}}, 60)
    done, took, _ = written(api, [Desired(ref, {"a": "1"})], Rules(REPLACE))
    assert [(one.status, one.seen) for one in done.outcomes] == [(APPLIED, {"a": "1"})]
    assert took == pytest.approx(WHOLE_WAIT, abs=0.01)


def test_a_kind_that_does_not_lag_is_not_looked_at_again():
    refs = refs_of(CURRENT, 4)
    api = LaggingApi(REPLACE, dict.fromkeys(refs, {"a": "0"}), 60)
    done, took, _ = written(api, [Desired(ref, {"a": "1"}) for ref in refs], Rules(REPLACE))
    assert [(one.status, one.reads) for one in done.outcomes] == [(APPLIED, 1)] * 4
    assert took == 0


# --- a further call, and one whose answer was lost ---

OLD = {f"o{index:02}": "1" for index in range(10)}
NEW = {f"n{index:02}": "1" for index in range(10)}


@pytest.mark.parametrize("kind", [LAGS, CURRENT])
@pytest.mark.parametrize("rules", [Rules(MERGE_NULL), Rules(AUTO)], ids=["merge-null", "auto"])
@pytest.mark.parametrize("old", [False, True], ids=["right answers", "old answers"])
def test_a_change_of_several_calls_waits_until_reads_show_the_one_before(kind, rules, old):
    (ref,) = refs_of(kind)
    api = LaggingApi(MERGE_NULL, {ref: {**OLD, "seen": "1"}}, 1.2, old=old)
    desired = Desired(ref, {**dict.fromkeys(OLD), **NEW}, Ownership.DECLARED)
    done, _, after = written(api, [desired], rules)
    (outcome,) = done.outcomes
    assert outcome.status is APPLIED, outcome
    assert api.held[ref] == {**NEW, "seen": "1"}
    assert outcome.writes <= 4
    assert [change.action for change in after] == [Action.KEEP]


def test_a_further_call_is_not_made_on_what_reads_show_from_before_the_last():
    (ref,) = refs_of(CURRENT)
    api = LaggingApi(MERGE_NULL, {ref: OLD}, 60)
    done, took, _ = written(api, [Desired(ref, {**dict.fromkeys(OLD), **NEW})], Rules(MERGE_NULL))
    (outcome,) = done.outcomes
    assert (outcome.status, outcome.fault.code, outcome.writes) == (FAILED, "not_applied", 1)  # nobody else is blamed
    assert "the reads do not show" in outcome.fault.message
    assert "part of the change was written" in outcome.fault.message
    assert outcome.seen == api.held[ref]
    assert took == pytest.approx(WHOLE_WAIT, abs=0.01)


def lossy(times, fault):
    class Lossy(LaggingApi):
        async def modify(self, ref, entries, attempt=0):
            answer = await super().modify(ref, entries, attempt)
            if len(self.posts) <= times:
                raise ApiError(fault)
            return answer

    return Lossy


@pytest.mark.parametrize(
    ("kind", "status", "wait"),
    [(LAGS, APPLIED, 1.75), (CURRENT, FAILED, 0)],
    ids=["where reads lag", "elsewhere a look is believed"],
)
def test_a_lost_answer_is_looked_for_where_reads_are_known_to_lag(kind, status, wait):
    (ref,) = refs_of(kind)
    api = lossy(1, Fault("server_error", "oops", 500))(REPLACE, {ref: {"a": "0"}}, 1.2)
    done, took, _ = written(api, [Desired(ref, {"a": "1"})], Rules(REPLACE))
    assert [one.status for one in done.outcomes] == [status]
    assert took == pytest.approx(wait, abs=0.01)


def test_a_lost_answer_that_no_read_shows_may_have_taken_effect():
    (ref,) = refs_of(LAGS)
    api = lossy(1, Fault("server_error", "oops", 500))(REPLACE, {ref: {"a": "0"}}, 60)
    done, _, _ = written(api, [Desired(ref, {"a": "1"})], Rules(REPLACE))
    assert [(one.status, one.fault.code) for one in done.outcomes] == [(FAILED, "server_error")]
    assert "it may have taken effect" in done.outcomes[0].fault.message


@pytest.mark.parametrize("dialect", [REPLACE, MERGE_NULL], ids=lambda dialect: dialect.name)
def test_a_call_that_is_sent_again_because_no_read_shows_it_does_no_harm(dialect):
    (ref,) = refs_of(LAGS)
    passing = Fault("network", "reset", retry_in=0.01)
    api = lossy(1, passing)(dialect, {ref: {"a": "0", "old": "1", "seen": "1"}}, 2)
    done, _, _ = written(api, [Desired(ref, {"a": "1", "old": None})], Rules(AUTO))
    assert [(one.status, dict(one.lost)) for one in done.outcomes] == [(APPLIED, {})]
    assert api.held[ref] == {"a": "1", "seen": "1"}
    assert done.learned in ({}, {LAGS: dialect.name})


# --- lessons, losses, and a brake ---


@pytest.mark.parametrize("dialect", [REPLACE, MERGE, MERGE_NULL], ids=lambda dialect: dialect.name)
@pytest.mark.parametrize("declared", [{"old": None}, {"old": None, "a": "1"}], ids=["removal", "both"])
@pytest.mark.parametrize("old", [False, True], ids=["right answers", "old answers"])
@pytest.mark.parametrize(
    "hidden", [{"seen": "1"}, {"seen": "1", "a": "1"}, {"seen": "1", "a": "1", "old": "1"}], ids=str
)
def test_what_reads_hide_teaches_nothing_wrong(dialect, declared, old, hidden):
    """Our own last run, or somebody else, has written already what the look before the write does not show."""
    refs = refs_of(LAGS, 3)
    before = {"old": "1", "seen": "1", "a": "0"}
    api = LaggingApi(dialect, dict.fromkeys(refs, before), 2.5, old=old)
    rules = Rules(AUTO)

    async def run():
        for ref in refs:
            api.change(ref, hidden)
        changes = [judge(Desired(ref, declared), Observed(api.seen(ref)), None, rules) for ref in refs]
        return await apply(api, changes, lambda _kind: rules, parallelism=2, brake=Brake())

    done = virtual_time.run(run())
    assert done.learned in ({}, {LAGS: dialect.name})
    assert not any(one.lost for one in done.outcomes)
    # What they wrote is seen sooner or later, and is theirs.
    assert {one.fault.code for one in done.outcomes if one.fault} <= {"unremovable", "moved", "stale"}
    assert all(pairs["seen"] == "1" for pairs in api.held.values())
    for one in done.outcomes:
        if one.status is APPLIED:
            assert "old" not in api.held[one.ref]


def test_a_pair_that_others_removed_behind_a_lagging_read_is_no_loss_of_ours():
    (ref,) = refs_of(LAGS)
    api = LaggingApi(MERGE, {ref: {"a": "0", "seen": "1", "other": "1"}}, 2)
    rules = Rules(MERGE)

    async def run():
        api.change(ref, {"a": "0", "other": "1"})
        change = judge(Desired(ref, {"a": "1"}), Observed(api.seen(ref)), None, rules)
        return await apply(api, [change], lambda _kind: rules, parallelism=1, brake=Brake())

    assert [(one.status, dict(one.lost)) for one in virtual_time.run(run()).outcomes] == [(APPLIED, {})]


def test_a_server_that_replaces_where_it_should_merge_is_found_out_behind_lagging_reads():
    refs = refs_of(LAGS, 4)
    api = LaggingApi(REPLACE, dict.fromkeys(refs, {"a": "0", "seen": "1", "other": "1"}), 1.5, old=True)
    done, _, _ = written(api, [Desired(ref, {"a": "1"}) for ref in refs], Rules(MERGE))
    assert sorted(one.fault.code for one in done.outcomes) == ["halted"] * 3 + ["lost_pairs"]
    assert len(api.posts) == 1


@pytest.mark.parametrize("lands", [True, False], ids=["landed", "ignored"])
def test_a_signal_ends_the_wait_and_nobody_is_told_that_it_failed(lands):
    (ref,) = refs_of(LAGS)
    brake = Brake()

    class Interrupted(LaggingApi):
        async def modify(self, ref, entries, attempt=0):
            asyncio.get_running_loop().call_later(0.1, brake.pull, "interrupted by SIGINT")
            self.posts.append((ref, dict(entries)))
            if lands:
                self.change(ref, merged(REPLACE, self.held[ref], entries))
            return Observed(self.seen(ref))

    api = Interrupted(REPLACE, {ref: {"a": "0"}}, 2)
    done, took, _ = written(api, [Desired(ref, {"a": "1"})], Rules(REPLACE), brake=brake)
    assert [(one.status, one.fault.code) for one in done.outcomes] == [(FAILED, "in_flight")]
    assert took == pytest.approx(0.1, abs=0.01)


@pytest.mark.parametrize("kind", [LAGS, CURRENT])
def test_a_first_removal_at_a_server_that_merges_costs_no_wait_where_reads_do_not_lag(kind):
    refs = refs_of(kind, 3)
    api = LaggingApi(MERGE_NULL, dict.fromkeys(refs, {"old": "1", "seen": "1"}), 0)
    done, took, _ = written(api, [Desired(ref, {"old": None}) for ref in refs], Rules(AUTO))
    assert {one.status for one in done.outcomes} == {APPLIED}
    assert done.learned == {kind: "merge-null"}
    assert took <= (WHOLE_WAIT + 0.1 if kind == LAGS else 0)


# --- places among the workers, and the turn of the one that finds out ---


@pytest.mark.parametrize("parallelism", [1, 2, 3])
@pytest.mark.parametrize("kind", [LAGS, CURRENT])
@pytest.mark.parametrize("dialect", [REPLACE, MERGE, MERGE_NULL], ids=lambda dialect: dialect.name)
def test_who_waits_for_a_turn_never_holds_the_place_that_the_prober_needs(dialect, kind, parallelism):
    """A loop in which everybody waits for somebody else raises `StandsStill`."""
    refs = refs_of(kind, 7)
    before = {"a": "0", "old": "1", "seen": "1"}
    api = LaggingApi(dialect, dict.fromkeys(refs, before), 1, old=True)
    desired = [Desired(ref, {"a": "1", "old": None}) for ref in refs]
    done, _, after = written(api, desired, Rules(AUTO), parallelism=parallelism)
    kept = {"old": "1"} if dialect is MERGE else {}
    assert list(api.held.values()) == [{"a": "1", "seen": "1", **kept}] * 7, done
    assert {one.status for one in done.outcomes} == {OutcomeStatus.BLOCKED if dialect is MERGE else APPLIED}
    assert done.learned in ({}, {kind: dialect.name})
    assert api.busiest <= parallelism
    assert {change.action for change in after} == {Action.UPDATE if dialect is MERGE else Action.KEEP}


@pytest.mark.parametrize("moment", [0.1, 0.6, 1.2, 2.0, 3.3])
@pytest.mark.parametrize("parallelism", [1, 2])
def test_a_signal_ends_a_run_in_which_one_finds_out_and_the_others_wait(moment, parallelism):
    refs = refs_of(CURRENT, 7)
    api = LaggingApi(MERGE_NULL, dict.fromkeys(refs, {"a": "0", "old": "1", "seen": "1"}), 1, old=True)
    rules = Rules(AUTO)

    async def run():
        brake = Brake()
        asyncio.get_running_loop().call_later(moment, brake.pull, "interrupted by SIGINT")
        changes = [judge(Desired(ref, {"a": "1", "old": None}), Observed(api.seen(ref)), None, rules) for ref in refs]
        done = await apply(api, changes, lambda _kind: rules, parallelism=parallelism, brake=brake)
        return done, asyncio.get_running_loop().time()

    done, took = virtual_time.run(run())
    assert took <= moment + 0.01
    assert len(done.outcomes) == 7
    assert "not_attempted" in {one.fault.code for one in done.outcomes if one.fault} <= {"in_flight", "not_attempted"}


class Odd(LaggingApi):
    """Every write is carried out; by a number for each, its answer is right, old, empty, lost or lost for good."""

    odds = ()

    async def modify(self, ref, entries, attempt=0):
        shown = self.seen(ref)
        answer = await super().modify(ref, entries, attempt)
        odd = self.odds[len(self.posts) % len(self.odds)]
        if odd == "lost":
            raise ApiError(Fault("network", "reset", retry_in=0.2 if attempt < 2 else None))
        if odd == "failed":
            raise ApiError(Fault("server_error", "oops", 500))
        return {"right": answer, "old": Observed(shown), "empty": Observed({}), "fieldless": Observed(None)}[odd]


@settings(max_examples=60, deadline=None)
@given(
    dialect=st.sampled_from([REPLACE, MERGE, MERGE_NULL]),
    odds=st.lists(st.sampled_from(["right", "old", "empty", "fieldless", "lost", "failed"]), min_size=1, max_size=5),
    lag=st.sampled_from([0, 0.3, 1, 2.5]),
    parallelism=st.integers(1, 4),
    signal=st.none() | st.floats(0, 8),
    declared=st.sampled_from([{"old": None}, {"a": "1", "old": None}, {"a": "1"}]),
)
def test_a_run_ends_whatever_is_answered_and_a_signal_ends_it_at_once(
    dialect, odds, lag, parallelism, signal, declared
):
    refs = [*refs_of(CURRENT, 5), *refs_of(LAGS, 5)]
    api = Odd(dialect, dict.fromkeys(refs, {"a": "0", "old": "1", "seen": "1"}), lag)
    api.odds, rules = tuple(odds), Rules(AUTO)

    async def run():
        brake = Brake()
        if signal is not None:
            asyncio.get_running_loop().call_later(signal, brake.pull, "interrupted by SIGINT")
        changes = [judge(Desired(ref, declared), Observed(api.seen(ref)), None, rules) for ref in refs]
        done = await apply(api, changes, lambda _kind: rules, parallelism=parallelism, brake=brake)
        return done, asyncio.get_running_loop().time()

    done, took = virtual_time.run(run())
    assert [one.ref for one in done.outcomes] == sorted(refs)
    assert all(pairs["seen"] == "1" for pairs in api.held.values())
    assert not any(one.lost for one in done.outcomes)
    assert signal is None or took <= signal + 0.01


# --- an empty map in an answer to a write ---


class Emptied(LaggingApi):
    """Answers every write with an empty map, and carries out only those that `lands` allows."""

    lands = False

    async def modify(self, ref, entries, attempt=0):
        if self.lands:
            await super().modify(ref, entries, attempt)
        else:
            self.posts.append((ref, dict(entries)))
        return Observed({})


class EmptiedAndWritten(Emptied):
    """Carries them all out."""

    lands = True


BOTH, REMOVAL, VALUE = {"a": "1", "old": None}, {"old": None}, {"a": "1"}


@pytest.mark.parametrize("kind", [LAGS, CURRENT])
@pytest.mark.parametrize(
    ("dialect", "declared"),
    [
        (MERGE, BOTH), (MERGE, VALUE), (MERGE_NULL, BOTH), (MERGE_NULL, REMOVAL), (MERGE_NULL, VALUE),
        (MERGE_EMPTY, BOTH), (MERGE_EMPTY, REMOVAL), (MERGE_EMPTY, VALUE),
    ],
    ids=str,
)  # fmt: skip
def test_an_empty_answer_costs_nobody_pairs_that_reads_show(dialect, declared, kind):
    refs = refs_of(kind, 5)
    before = {"a": "0", "old": "1", "seen": "1"}
    desired = [Desired(ref, declared) for ref in refs]
    api = Emptied(dialect, dict.fromkeys(refs, before), 0)
    done, _, _ = written(api, desired, Rules(dialect))
    assert [(one.status, one.fault.code, one.seen, dict(one.lost)) for one in done.outcomes] == [
        (FAILED, "not_applied", before, {})
    ] * 5
    api = EmptiedAndWritten(dialect, dict.fromkeys(refs, before), 0)
    done, _, _ = written(api, desired, Rules(dialect))
    assert {one.status for one in done.outcomes} == {
        OutcomeStatus.BLOCKED if dialect is MERGE and "old" in declared else APPLIED
    }


def test_an_empty_answer_that_a_read_agrees_with_is_a_loss():
    refs = refs_of(CURRENT, 3)
    api = LaggingApi(REPLACE, dict.fromkeys(refs, {"a": "0", "seen": "1"}), 0)

    async def wiping(ref, entries, attempt=0):
        api.posts.append((ref, dict(entries)))
        api.held[ref] = {}
        return Observed({})

    api.modify = wiping
    done, _, _ = written(api, [Desired(ref, {"a": None}) for ref in refs], Rules(MERGE_NULL))
    assert sorted(one.fault.code for one in done.outcomes) == ["halted", "halted", "lost_pairs"]
    assert len(api.posts) == 1
