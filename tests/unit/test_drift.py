"""What of a plan is drift: which fields and which missing ids, and what of them the manifests know about."""

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.compare import Action, Cause, Rules, judge
from reconciler.dialects import MERGE, MERGE_NULL, REPLACE
from reconciler.drift import MOVED, find
from reconciler.errors import Fault
from reconciler.model import Acceptance, Base, Desired, Missing, Observed, Ref, Unread

REF = Ref("thread", "thread_1")
TODAY = dt.date(2026, 6, 1)
YESTERDAY, TOMORROW = "2026-05-31", "2026-06-02"
BASE = Base({"by_api": "1", "by_both": "1", "by_git": "1", "same": "1"}, unknown=frozenset({"unclear"}))
DECLARED = {"by_api": "1", "by_both": "2", "by_git": "2", "same": "1", "unclear": "1"}
SEEN = {"by_api": "3", "by_both": "3", "by_git": "1", "same": "1", "unclear": "3"}


def change(declared=DECLARED, reading=None, base=BASE, dialect=MERGE_NULL, accept=()):
    return judge(Desired(REF, declared, accept=tuple(accept)), reading or Observed(SEEN), base, Rules(dialect))


def look(*changes, recorded=True, today=TODAY):
    return find(changes, lambda _: recorded, today)


def one(*changes, **more):
    [only] = look(*changes, **more).changes
    return only


# --- fields -----------------------------------------------------------------------------------------------------------


def test_only_the_fields_that_moved_or_may_have_moved_outside_git_are_found():
    found = look(change())
    assert {each.key: each.cause for each in found.changes[0].fields} == {
        "by_api": Cause.DRIFT,
        "by_both": Cause.CONFLICT,
        "unclear": Cause.UNATTRIBUTED,
    }
    assert found.alarming


def test_a_resource_with_nothing_but_pending_fields_is_kept_and_raises_no_alarm():
    found = look(change({"a": "2"}, Observed({"a": "1"}), Base({"a": "1"})))
    assert [(each.action, each.fields) for each in found.changes] == [(Action.KEEP, ())]
    assert not found.alarming


def test_a_resource_that_could_not_be_written_is_looked_at_all_the_same():
    crowded = {f"k{at}": "x" for at in range(16)}
    failed = change({"new": "1"}, Observed(crowded), Base({"new": "1"}))
    assert failed.action is Action.FAILED
    found = one(failed)
    assert (found.action, found.fault, [each.cause for each in found.fields]) == (Action.UPDATE, None, [Cause.DRIFT])


def test_a_field_that_cannot_be_written_has_moved_all_the_same():
    blocked = change({"a": None}, Observed({"a": "x"}), Base({"a": None}), MERGE)
    assert one(blocked).fields[0].blocked is not None
    assert look(blocked).alarming


def test_what_was_given_is_found_in_the_same_order():
    several = [judge(Desired(Ref("thread", id_), {}), Observed({}), None, Rules(MERGE)) for id_ in "cab"]
    assert [each.ref.id for each in look(*several).changes] == ["c", "a", "b"]
    assert not look().alarming


# --- resources that were not read -------------------------------------------------------------------------------------

GONE = Missing(Fault("missing", "no such id", 404))


def test_an_id_that_is_gone_is_drift_if_anything_was_ever_applied_to_it():
    found = look(change(reading=GONE), recorded=True)
    assert (found.changes[0].action, found.alarming) == (Action.MISSING, True)


def test_an_id_that_never_was_there_is_a_failure_and_no_drift():
    found = look(change(reading=GONE), recorded=False)
    assert (found.changes[0].action, found.alarming) == (Action.FAILED, False)
    assert found.changes[0].fault.code == "missing"


def test_each_missing_id_is_asked_about_by_its_own_reference():
    known = Ref("thread", "known")
    changes = [judge(Desired(ref, {}), GONE, None, Rules(MERGE)) for ref in (known, REF)]
    found = find(changes, lambda ref: ref == known, TODAY)
    assert [each.action for each in found.changes] == [Action.MISSING, Action.FAILED]


@pytest.mark.parametrize("reading", [Unread(Fault("timeout", "slow")), Observed(None)], ids=["unread", "no metadata"])
def test_what_could_not_be_seen_stays_a_failure_with_its_reason(reading):
    given_ = change(reading=reading, dialect=REPLACE)
    found = look(given_)
    assert found.changes == (given_,)
    assert (given_.action, given_.fault is None, found.alarming) == (Action.FAILED, False, False)


# --- what is accepted -------------------------------------------------------------------------------------------------


def accepting(*entries, **more):
    return look(change({"a": "1"}, Observed({"a": "2"}), Base({"a": "1"}), accept=entries), **more)


@pytest.mark.parametrize("until", [None, TODAY.isoformat(), TOMORROW])
def test_an_accepted_value_raises_no_alarm_up_to_its_day_inclusive(until):
    entry = Acceptance("a", "2", until, "why")
    found = accepting(entry)
    assert (found.accepted, found.expired, found.alarming) == ({(REF, "a"): entry}, {}, False)
    assert found.changes[0].fields, "it is listed all the same"


def test_an_accepted_value_raises_the_alarm_once_its_day_is_over():
    entry = Acceptance("a", "2", YESTERDAY)
    found = accepting(entry)
    assert (found.accepted, found.expired, found.alarming) == ({}, {(REF, "a"): entry}, True)


@pytest.mark.parametrize("entry", [Acceptance("a", "3"), Acceptance("b", "2"), Acceptance("a", None)])
def test_an_entry_for_another_value_or_key_accepts_nothing(entry):
    found = accepting(entry)
    assert (found.accepted, found.expired, found.alarming) == ({}, {}, True)


@pytest.mark.parametrize(
    ("entries", "counts"),
    [
        ((YESTERDAY, TOMORROW), TOMORROW),
        ((TOMORROW, YESTERDAY), TOMORROW),
        ((None, TOMORROW), None),
        ((TOMORROW, None), None),
        (("2026-01-01", YESTERDAY), YESTERDAY),
    ],
)
def test_of_several_entries_for_a_value_the_one_that_holds_longest_counts(entries, counts):
    found = accepting(*(Acceptance("a", "2", until) for until in entries))
    [entry] = [*found.accepted.values(), *found.expired.values()]
    assert entry.until == counts


def test_several_values_of_a_key_may_be_accepted():
    assert not accepting(Acceptance("a", "9"), Acceptance("a", "2")).alarming


def test_a_key_that_vanished_is_accepted_by_null():
    gone = change({"a": "1"}, Observed({}), Base({"a": "1"}), accept=[Acceptance("a", None)])
    assert not look(gone).alarming


@pytest.mark.parametrize(("value", "seen", "alarming"), [(1, 1.0, False), (1, True, True), (False, 0, True)])
def test_accepted_numbers_compare_by_value_and_differ_from_booleans(value, seen, alarming):
    entry = Acceptance("a", value)
    assert look(change({"a": "x"}, Observed({"a": seen}), Base({"a": "x"}), accept=[entry])).alarming is alarming


@pytest.mark.parametrize("base", [None, Base({"a": "0"})], ids=["unattributed", "conflict"])
def test_a_value_is_accepted_whatever_the_cause(base):
    assert not look(change({"a": "1"}, Observed({"a": "2"}), base, accept=[Acceptance("a", "2")])).alarming


def test_an_accepted_field_keeps_quiet_about_no_other_and_no_other_resource():
    accept = [Acceptance("a", "2")]
    beside = change({"a": "1", "b": "1"}, Observed({"a": "2", "b": "2"}), Base({"a": "1", "b": "1"}), accept=accept)
    assert look(beside).alarming
    other = judge(Desired(Ref("thread", "thread_2"), {"a": "1"}), Observed({"a": "2"}), None, Rules(MERGE))
    assert look(change({"a": "1"}, Observed({"a": "2"}), Base({"a": "1"}), accept=accept), other).alarming


def test_what_waits_for_an_apply_needs_no_acceptance():
    pending = change({"a": "2"}, Observed({"a": "1"}), Base({"a": "1"}), accept=[Acceptance("a", "1", YESTERDAY)])
    found = look(pending)
    assert (found.accepted, found.expired, found.alarming) == ({}, {}, False)


# --- a law ------------------------------------------------------------------------------------------------------------

maps = st.dictionaries(st.sampled_from("abc"), st.sampled_from(["1", "2"]))
declarations = st.dictionaries(st.sampled_from("abc"), st.none() | st.sampled_from(["1", "2"]))


@given(declarations, maps, st.none() | st.builds(Base, declarations), st.booleans())
def test_drift_is_the_plan_without_what_is_pending(declared, seen, base, accepts):
    entries = [Acceptance(key, seen.get(key)) for key in "abc"] if accepts else []
    planned = change(declared, Observed(seen), base, accept=entries)
    found = look(planned)
    [narrowed] = found.changes
    assert narrowed.fields == tuple(each for each in planned.fields if each.cause is not Cause.PENDING)
    assert {each.cause for each in narrowed.fields} <= MOVED
    assert narrowed.action is (Action.UPDATE if narrowed.fields else Action.KEEP)
    assert found.alarming is (bool(narrowed.fields) and not accepts)
    assert found.accepted.keys() == ({(REF, each.key) for each in narrowed.fields} if accepts else set())
