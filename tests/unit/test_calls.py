"""From a change to its calls, and from answers to verdicts."""

import pytest

from reconciler.calls import (
    Call,
    calls,
    complete,
    learn,
    learn_from_rejection,
    leaves_pairs,
    lost_pairs,
    must_show,
    shows,
    survivors,
    verify,
)
from reconciler.compare import Rules, judge
from reconciler.dialects import AUTO, MERGE, MERGE_EMPTY, MERGE_NULL, PROBE_NULL, REPLACE, Removal, Removals
from reconciler.errors import Fault
from reconciler.model import Desired, Observed, Ownership, Ref


def change(declared, observed, dialect, removals=Removals.BLOCK, ownership=Ownership.DECLARED):
    return judge(Desired(Ref("thread", "t"), declared, ownership), Observed(observed), None, Rules(dialect, removals))


def numbered(name, number, value="1"):
    return {f"{name}{index:02}": value for index in range(number)}


# --- what is sent


@pytest.mark.parametrize(
    ("dialect", "expected"),
    [
        (REPLACE, [Call({"new": "1", "x": "9"}, frozenset({"old"}))]),
        (AUTO, [Call({"new": "1", "x": "9"}, frozenset({"old"}))]),
        (PROBE_NULL, [Call({"new": "1", "x": "9", "old": None})]),
        (MERGE, [Call({"new": "1"})]),
        (MERGE_NULL, [Call({"old": None, "new": "1"})]),
        (MERGE_EMPTY, [Call({"old": "", "new": "1"})]),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_a_call_carries_what_its_dialect_needs(dialect, expected):
    assert list(calls(change({"new": "1", "old": None}, {"old": "0", "x": "9"}, dialect))) == expected


def test_a_blank_is_sent_for_what_cannot_be_removed():
    assert calls(change({"old": None}, {"old": "0"}, MERGE, Removals.BLANK)) == (Call({"old": ""}),)


def test_nothing_is_sent_where_nothing_is_to_be_written():
    assert calls(change({"a": "1"}, {"a": "1"}, REPLACE)) == ()
    assert calls(change({"a": None}, {"a": "1"}, MERGE)) == ()
    assert calls(change({"a": "1"}, numbered("x", 16), REPLACE)) == (Call(numbered("x", 16) | {"a": "1"}),)


def test_nulls_go_with_the_planned_map_as_long_as_there_is_room():
    wanted = numbered("new", 8) | numbered("old", 8, None)
    (call,) = calls(change(wanted, numbered("old", 8), PROBE_NULL))
    assert call == Call(wanted)
    assert call.nulled == frozenset(numbered("old", 8))


def test_without_room_the_removals_go_first_with_foreign_pairs_before_ours():
    foreign, ours, old, new = numbered("z", 3), numbered("a", 3), numbered("old", 10), numbered("new", 10)
    wanted = ours | dict.fromkeys(old) | new
    first, second = calls(change(wanted, foreign | ours | old, PROBE_NULL))
    assert first == Call(foreign | numbered("a", 3) | dict.fromkeys(old))
    assert len(first.entries) == 16
    assert second == Call(foreign | ours | new)


def test_where_not_all_that_stays_has_room_beside_the_nulls_foreign_pairs_have_it():
    foreign, ours, old = numbered("z", 2), numbered("a", 2), numbered("old", 12)
    wanted = dict.fromkeys(ours, "2") | dict.fromkeys(old) | {"new": "1"}
    first, second = calls(change(wanted, foreign | ours | old, PROBE_NULL))
    assert first.entries == foreign | dict.fromkeys(ours, "2") | dict.fromkeys(old)
    assert second.entries == foreign | dict.fromkeys(ours, "2") | {"new": "1"}

    first, _ = calls(change(wanted | {"old12": None}, foreign | ours | old | {"old12": "1"}, PROBE_NULL))
    assert first.entries == foreign | {"a00": "2"} | dict.fromkeys([*old, "old12"])


def test_a_call_never_carries_more_nulls_than_are_allowed():
    old = numbered("old", 20)
    first, second = calls(change(dict.fromkeys(old) | {"new": "1"}, old, PROBE_NULL))
    assert first.entries == dict.fromkeys(list(old)[:16])
    assert second.entries == {"new": "1"}
    first, second = calls(change(dict.fromkeys(old) | {"new": "1"}, old | {"x": "9"}, PROBE_NULL))
    assert first.entries == dict.fromkeys(list(old)[:16])
    assert second.entries == {"new": "1", "x": "9"}


@pytest.mark.parametrize(("number", "sizes"), [(16, [16]), (17, [16, 1]), (33, [16, 16, 1])])
def test_entries_are_cut_into_calls_of_sixteen(number, sizes):
    found = calls(change(numbered("k", number, None), numbered("k", number), MERGE_NULL))
    assert [len(call.entries) for call in found] == sizes


# --- what came of it


def test_lost_is_what_was_there_was_not_sent_and_is_gone():
    call = Call({"sent": "1", "null": None}, frozenset({"omitted"}))
    before = {"z": "1", "a": 2, "sent": "0", "null": "0", "omitted": "0", "stays": "1"}
    assert dict(lost_pairs(call, before, {"stays": "2", "other": "1"})) == {"a": 2, "z": "1"}
    assert list(lost_pairs(call, before, {})) == ["a", "stays", "z"]


@pytest.mark.parametrize(
    ("dialect", "answer", "keys"),
    [
        (REPLACE, {"a": "1", "x": "9"}, None),
        (REPLACE, {"a": "1", "x": "moved", "y": "new"}, None),
        (REPLACE, {"a": "0", "x": "9"}, "a"),
        (REPLACE, {"a": "1"}, "x"),
        (REPLACE, {"old": "0"}, "a, old, x"),
        (MERGE_NULL, {"a": "1"}, None),
        (MERGE_NULL, {"a": "1", "old": "0", "x": "9"}, "old"),
    ],
)
def test_an_answer_is_held_against_the_plan(dialect, answer, keys):
    fault = verify(change({"a": "1", "old": None}, {"a": "0", "old": "0", "x": "9"}, dialect), answer)
    expected = keys and Fault("not_applied", f"the answer differs from what was planned, in: {keys}")
    assert fault == expected


@pytest.mark.parametrize(
    ("call", "answer", "expected"),
    [
        (Call({"a": "1"}), {"a": "1", "b": "0"}, True),
        (Call({"a": "1"}), {"a": "0", "b": "0"}, False),
        (Call({"a": "0"}), {"a": "1", "b": "0"}, False),
        (Call({"b": None}), {"a": "0"}, True),
        (Call({}, frozenset({"b"})), {"a": "0"}, True),
        (Call({}, frozenset({"b"})), {"a": "0", "b": "0"}, False),
        (Call({"a": "1", "c": "1"}), {"a": "0", "b": "0", "c": "1"}, True),
    ],
    ids=["changed", "old object", "nothing to change", "nulled", "omitted", "kept", "one of two"],
)
def test_an_answer_shows_a_call_where_a_key_that_it_touches_has_moved(call, answer, expected):
    assert shows(call, {"a": "0", "b": "0"}, answer) is expected


OMITTING = Call({"a": "1"}, frozenset({"x", "y"}))
NULLING = Call({"a": "1", "x": None, "y": None})
BEFORE = {"a": "0", "x": "0", "y": "0"}


@pytest.mark.parametrize(
    ("dialect", "call", "answer", "taught"),
    [
        (AUTO, OMITTING, {"a": "1"}, REPLACE),
        (AUTO, OMITTING, {"a": "1", "x": "0", "y": "0"}, PROBE_NULL),
        (AUTO, OMITTING, {"a": "1", "x": "0"}, AUTO),
        (AUTO, OMITTING, {"a": "0"}, AUTO),
        (AUTO, Call({"a": "1"}), {"a": "1"}, AUTO),
        (AUTO, Call({}, frozenset({"x"})), {}, AUTO),
        (AUTO, Call({"a": "0"}, frozenset({"x", "y"})), BEFORE, AUTO),
        (PROBE_NULL, NULLING, {"a": "1"}, MERGE_NULL),
        (PROBE_NULL, NULLING, {"a": "1", "x": "0"}, MERGE),
        (PROBE_NULL, NULLING, {"a": "0"}, PROBE_NULL),
        (PROBE_NULL, Call({"a": "0", "x": None}), BEFORE, PROBE_NULL),
        (PROBE_NULL, Call({"x": None}), {"a": "0"}, PROBE_NULL),
        (PROBE_NULL, OMITTING, {"a": "1"}, PROBE_NULL),
        (MERGE, OMITTING, {"a": "1"}, MERGE),
        (REPLACE, NULLING, {"a": "1"}, REPLACE),
    ],
)
def test_an_answer_teaches_only_what_it_shows(dialect, call, answer, taught):
    assert learn(dialect, call, BEFORE, answer) is taught


@pytest.mark.parametrize("status", [400, 422])
@pytest.mark.parametrize(
    ("dialect", "call", "before", "taught"),
    [
        (PROBE_NULL, NULLING, BEFORE, MERGE),
        (PROBE_NULL, OMITTING, numbered("k", 16), PROBE_NULL),
        (MERGE_NULL, NULLING, numbered("k", 16), MERGE_NULL),
        (AUTO, OMITTING, numbered("k", 16), PROBE_NULL),
        (AUTO, OMITTING, numbered("k", 15), AUTO),
        (AUTO, OMITTING, numbered("k", 15) | {"a": "0"}, AUTO),
        (AUTO, Call({"a": "1"}), numbered("k", 16), AUTO),
        (AUTO, NULLING, BEFORE, AUTO),
        (MERGE, OMITTING, numbered("k", 16), MERGE),
    ],
)
def test_a_rejection_teaches_that_null_is_refused_or_that_the_maps_are_merged(status, dialect, call, before, taught):
    assert learn_from_rejection(dialect, call, before, Fault("rejected", "no", status)) is taught


@pytest.mark.parametrize("status", [None, 401, 404, 409, 429, 500])
def test_other_failures_teach_nothing(status):
    assert learn_from_rejection(PROBE_NULL, NULLING, BEFORE, Fault("failed", "no", status)) is PROBE_NULL


# --- where reads lag behind writes


@pytest.mark.parametrize(
    ("dialect", "entries", "answer", "is_complete"),
    [
        (REPLACE, {"a": "1"}, {"a": "1"}, True),
        (REPLACE, {"a": "1"}, {"a": "1", "old": "1"}, False),
        (REPLACE, {"a": ""}, {}, False),
        (MERGE, {"a": ""}, {"a": "", "old": "1"}, True),
        (MERGE_EMPTY, {"a": "", "b": "1"}, {"b": "1"}, True),
        (MERGE_EMPTY, {"a": ""}, {"a": "0"}, False),
        (MERGE_NULL, {"a": None, "b": "1"}, {"b": "1"}, True),
        (MERGE_NULL, {"a": None, "b": "1"}, {"a": "0", "b": "1"}, False),
        (REPLACE, {"a": 1, "b": True}, {"a": 1.0, "b": True}, True),
        (REPLACE, {"a": 1}, {"a": True}, False),
    ],
)
def test_an_answer_is_complete_when_all_of_the_call_is_in_it(dialect, entries, answer, is_complete):
    assert (
        complete(dialect, Call(dict(entries), frozenset({"old"} if dialect.removal is Removal.OMIT else ())), answer)
        is is_complete
    )


@pytest.mark.parametrize(
    ("dialect", "call", "expected"),
    [
        (REPLACE, Call({"a": "1"}, frozenset({"old"})), True),
        (AUTO, Call({"a": "1"}, frozenset({"old"})), False),
        (AUTO, Call({"a": "2"}, frozenset({"old"})), True),
        (PROBE_NULL, Call({"a": "1", "old": None}), False),
        (PROBE_NULL, Call({"a": "2", "old": None}), True),
    ],
)
def test_only_what_every_server_would_show_has_to_be_shown(dialect, call, expected):
    assert must_show(dialect, call, {"a": "1", "old": "1"}) is expected


@pytest.mark.parametrize(
    ("dialect", "call", "certain", "taught"),
    [
        (AUTO, Call({"a": "1"}, frozenset({"old"})), None, REPLACE),
        (AUTO, Call({"a": "1"}, frozenset({"old"})), {}, AUTO),
        (AUTO, Call({"a": "1"}, frozenset({"old"})), {"old": "1"}, REPLACE),
        (PROBE_NULL, Call({"a": "1", "old": None}), None, MERGE_NULL),
        (PROBE_NULL, Call({"a": "1", "old": None}), {"a": "1"}, PROBE_NULL),
        (PROBE_NULL, Call({"a": "1", "old": None}), {"old": "1"}, MERGE_NULL),
    ],
)
def test_a_key_that_is_gone_teaches_only_if_it_was_there(dialect, call, certain, taught):
    assert learn(dialect, call, {"old": "1"}, {"a": "1"}, certain) is taught


def test_a_pair_that_vanished_from_a_server_that_merges_was_taken_by_others():
    call, before, answer = Call({"a": "1"}), {"a": "0", "seen": "1", "other": "1"}, {"a": "1", "other": "1"}
    assert survivors(call, before, answer) == {"other"}
    assert lost_pairs(call, before, answer) == {"seen": "1"}
    assert lost_pairs(call, before, answer, merges=True) == {}


@pytest.mark.parametrize(
    ("call", "before", "left"),
    [
        (Call({"a": "1"}), {}, True),
        (Call({"a": None}), {"a": "0"}, False),
        (Call({"a": None}), {"a": "0", "b": "0"}, True),
        (Call({}, frozenset({"a"})), {"a": "0"}, False),
        (Call({"b": "0"}, frozenset({"a"})), {"a": "0", "b": "0"}, True),
        (Call({"a": ""}), {"a": "0"}, True),
    ],
    ids=str,
)
def test_a_call_leaves_pairs_that_it_sends_or_does_not_touch(call, before, left):
    assert leaves_pairs(call, before) is left
