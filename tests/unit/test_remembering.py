"""What is remembered of a run, and how a run is turned back."""

import pytest

from reconciler.bases import Touched
from reconciler.compare import Action, Cause, Rules, Selection, judge, restrict
from reconciler.dialects import MERGE, MERGE_NULL, REPLACE, Removals
from reconciler.diff import Op
from reconciler.errors import Fault
from reconciler.events import Outcome, OutcomeStatus
from reconciler.model import NOTHING_APPLIED, Base, Desired, Missing, Observed, Ownership, Ref, Unread
from reconciler.plan import released_desire
from reconciler.remembering import kept, moved_by, owned, restored_by, touched_by, undone

REF = Ref("thread", "thread_1")
EXCLUSIVE = Ownership.EXCLUSIVE
APPLIED, BLOCKED, FAILED = OutcomeStatus.APPLIED, OutcomeStatus.BLOCKED, OutcomeStatus.FAILED
GONE = Fault("missing", "no such id", 404)


def base(metadata=None, *, unknown=(), **rules):
    return Base(metadata or {}, unknown=frozenset(unknown), **rules)


def change_of(declared, observed, known=None, *, dialect=MERGE_NULL, removals=Removals.BLOCK, only=None, **rules):
    change = judge(Desired(REF, declared, **rules), Observed(observed), known, Rules(dialect, removals))
    return restrict(change, known, only) if only else change


def outcome(status=APPLIED, seen=None, writes=1, lost=None):
    return Outcome(REF, status, writes=writes, lost=lost or {}, seen=seen)


# --- how bases move ---------------------------------------------------------------------------------------------------

MOVED = {
    "found as declared: verified without a write": (
        change_of({"a": "1"}, {"a": "1"}, base({"a": "0"})),
        None,
        base({"a": "0"}),
        base({"a": "1"}),
    ),
    "applied: verified by the answer": (
        change_of({"a": "1"}, {"a": "0"}, base({"a": "0"})),
        outcome(seen={"a": "1"}),
        base({"a": "0"}),
        base({"a": "1"}),
    ),
    "blocked: the field keeps its base, the others move": (
        change_of({"a": None, "b": "1"}, {"a": "0"}, base({"a": "0"}), dialect=MERGE),
        outcome(BLOCKED, {"a": "0", "b": "1"}),
        base({"a": "0"}),
        base({"a": "0", "b": "1"}),
    ),
    "blocked with nothing to write: nobody looked again": (
        change_of({"a": None, "b": "1"}, {"a": "0", "b": "1"}, dialect=MERGE),
        outcome(BLOCKED, writes=0),
        None,
        base({"b": "1"}, unknown="a"),
    ),
    "failed: what the plan saw as declared is verified all the same": (
        change_of({"a": "1", "b": "1"}, {"a": "0", "b": "1"}),
        outcome(FAILED, {"a": "0", "b": "1"}),
        NOTHING_APPLIED,
        base({"b": "1"}),
    ),
    "failed half-way: what the last look showed as declared is verified": (
        change_of({"a": "1", "b": "1"}, {}),
        outcome(FAILED, {"a": "1"}),
        None,
        base({"a": "1"}, unknown="b"),
    ),
    "stale: others made it as declared meanwhile": (
        change_of({"a": "1"}, {"a": "0"}),
        outcome(OutcomeStatus.STALE, {"a": "1"}, writes=0),
        None,
        base({"a": "1"}),
    ),
    "not attempted: the look of the plan counts": (
        change_of({"a": "1", "b": "1"}, {"b": "1"}, base({"a": "0"})),
        outcome(OutcomeStatus.NOT_ATTEMPTED, writes=0),
        base({"a": "0"}),
        base({"a": "0", "b": "1"}),
    ),
    "left alone by --only: the field keeps its base": (
        change_of({"a": "1", "b": "1"}, {"a": "0"}, base({"a": "0"}), only=Selection(ops=frozenset({Op.ADD}))),
        outcome(seen={"a": "0", "b": "1"}),
        base({"a": "0"}),
        base({"a": "0", "b": "1"}),
    ),
    "all left alone by --only: nothing that differs is verified": (
        change_of({"a": "1", "b": "1"}, {"a": "0", "b": "1"}, only=Selection(ops=frozenset({Op.ADD}))),
        None,
        None,
        base({"b": "1"}, unknown="a"),
    ),
    "a blank counts as absent where removals are blanked": (
        change_of({"a": None}, {"a": "0"}, base({"a": "0"}), dialect=MERGE, removals=Removals.BLANK),
        outcome(seen={"a": ""}),
        base({"a": "0"}),
        base({"a": None}),
    ),
}


@pytest.mark.parametrize(("change", "done", "known", "expected"), MOVED.values(), ids=MOVED)
def test_a_base_moves_with_what_a_look_verified(change, done, known, expected):
    assert moved_by([change], [done] if done else [], lambda _ref: known, None) == {REF: expected}


@pytest.mark.parametrize(
    "reading", [Missing(GONE), Unread(Fault("timeout", "slow"))], ids=["a missing one", "one that could not be read"]
)
def test_the_base_of_a_resource_that_nobody_saw_does_not_move(reading):
    change = judge(Desired(REF, {"a": "1"}), reading, base({"a": "0"}), Rules(REPLACE))
    status = OutcomeStatus.MISSING if isinstance(reading, Missing) else FAILED
    assert moved_by([change], [outcome(status, writes=0)], lambda _ref: base({"a": "0"}), None) == {}


def test_a_base_that_moved_names_the_commit():
    change = change_of({"a": "1"}, {"a": "1"})
    assert moved_by([change], [], lambda _ref: None, "c0ffee")[REF].commit == "c0ffee"
    assert kept(change, base({"a": "1"}, commit="first"), "c0ffee").commit == "first"


def test_a_blanked_key_that_git_wants_again_is_pending():
    rules = {"dialect": MERGE, "removals": Removals.BLANK}
    blanked = change_of({"a": None}, {"a": "0"}, base({"a": "0"}), **rules)
    moved = moved_by([blanked], [outcome(seen={"a": ""})], lambda _ref: base({"a": "0"}), None)
    (field,) = change_of({"a": "1"}, {"a": ""}, moved[REF], **rules).fields
    assert (field.before, field.after, field.cause) == ("", "1", Cause.PENDING)


def pruned(known, observed, dialect=MERGE_NULL):
    reading = Missing(GONE) if observed is None else Observed(observed)
    return judge(released_desire(REF, known), reading, known, Rules(dialect))


PRUNED = {
    "pruned: forgotten": (base({"a": "1"}), {"a": "1", "x": "2"}, outcome(seen={"x": "2"}), MERGE_NULL, None),
    "nothing left of ours: forgotten": (base({"a": "1"}), {"x": "2"}, None, MERGE_NULL, None),
    "gone: forgotten": (base({"a": "1"}), None, None, MERGE_NULL, None),
    "blocked: the base stays": (
        base({"a": "1", "b": "1"}),
        {"a": "1"},
        outcome(BLOCKED, writes=0),
        MERGE,
        base({"a": "1"}),
    ),
    "protected: blocked, and free the next time": (
        base({"a": "1"}, protect=True),
        {"a": "1"},
        outcome(BLOCKED, writes=0),
        MERGE_NULL,
        base({"a": "1"}),
    ),
    "what the base does not know is foreign": (base(unknown="a"), {"a": "1"}, None, MERGE_NULL, None),
}


@pytest.mark.parametrize(("known", "observed", "done", "dialect", "expected"), PRUNED.values(), ids=PRUNED)
def test_a_released_resource_is_forgotten_once_nothing_of_ours_is_left(known, observed, done, dialect, expected):
    change = pruned(known, observed, dialect)
    assert moved_by([change], [done] if done else [], lambda _ref: known, None) == {REF: expected}


# --- what a run touched -----------------------------------------------------------------------------------------------

OURS, NOT_OURS = True, False
TOUCHED = {
    "a value that was ours": (
        change_of({"a": "1"}, {"a": "0"}, base({"a": "0"})),
        outcome(seen={"a": "1"}),
        base({"a": "0"}),
        [Touched("a", "0", "1", OURS)],
    ),
    "a key that became ours": (
        change_of({"a": "1"}, {"x": "0"}),
        outcome(seen={"a": "1", "x": "0"}),
        None,
        [Touched("a", None, "1", NOT_OURS)],
    ),
    "a key that went": (
        change_of({}, {"a": "0"}, base({"a": "0"})),
        outcome(seen={}),
        base({"a": "0"}),
        [Touched("a", "0", None, OURS)],
    ),
    "a key that was blanked": (
        change_of({"a": None}, {"a": "0"}, dialect=MERGE, removals=Removals.BLANK),
        outcome(seen={"a": ""}),
        NOTHING_APPLIED,
        [Touched("a", "0", "", NOT_OURS)],
    ),
    "not a blocked one": (
        change_of({"a": None, "b": "1"}, {"a": "0"}, dialect=MERGE),
        outcome(BLOCKED, {"a": "0", "b": "1"}),
        None,
        [Touched("b", None, "1", NOT_OURS)],
    ),
    "not one that turned out to be unremovable": (
        change_of({"a": None, "b": "1"}, {"a": "0"}),
        outcome(BLOCKED, {"a": "0", "b": "1"}),
        None,
        [Touched("b", None, "1", NOT_OURS)],
    ),
    "a pair that the server dropped": (
        change_of({"a": "1"}, {"x": "0"}, dialect=MERGE),
        outcome(FAILED, {"a": "1"}, lost={"x": "0"}),
        None,
        [Touched("a", None, "1", NOT_OURS), Touched("x", "0", None, NOT_OURS)],
    ),
    "a pair that was dropped has the value that it had just before": (
        change_of({"a": "1"}, {"x": "0"}, dialect=MERGE),
        outcome(FAILED, {"a": "1"}, lost={"x": "new"}),
        None,
        [Touched("a", None, "1", NOT_OURS), Touched("x", "new", None, NOT_OURS)],
    ),
    "what a write that failed may yet have done": (
        change_of({"a": "1"}, {"a": "0"}),
        outcome(FAILED, {"a": "0"}),
        None,
        [Touched("a", "0", "1", NOT_OURS)],
    ),
    "what was planned where nobody looked afterwards": (
        change_of({"a": "1"}, {"a": "0"}),
        outcome(FAILED),
        None,
        [Touched("a", "0", "1", NOT_OURS)],
    ),
}


@pytest.mark.parametrize(("change", "done", "known", "expected"), TOUCHED.values(), ids=TOUCHED)
def test_touched_is(change, done, known, expected):
    assert touched_by([change], [done], lambda _ref: known) == {REF: tuple(expected)}


def test_nothing_was_touched_without_a_write():
    change = change_of({"a": "1"}, {"a": "0"})
    assert touched_by([change], [outcome(OutcomeStatus.STALE, {"a": "2"}, writes=0)], lambda _ref: None) == {}


def test_nothing_was_touched_where_a_write_changed_nothing():
    change = change_of({"a": None}, {"a": "0"})
    assert touched_by([change], [outcome(BLOCKED, {"a": "0"})], lambda _ref: None) == {}


def test_a_value_that_somebody_else_wrote_during_the_run_is_not_taken_for_ours():
    change = change_of({"a": "1"}, {"a": "0"})
    touched = touched_by([change], [outcome(FAILED, {"a": "theirs"})], lambda _ref: None)
    back = undone(REF, touched[REF], Observed({"a": "theirs"}), None, Rules(MERGE_NULL))
    assert (back.action, back.fault.code) == (Action.FAILED, "stale")


OWNED = {
    "a key with a value is": (base({"a": "1"}), True),
    "a key that shall not exist is": (base({"a": None}), True),
    "any key is under exclusive": (base(ownership=EXCLUSIVE), True),
    "a silent key is not": (base(), False),
    "an ignored key is not": (base(ownership=EXCLUSIVE, ignore=("a",)), False),
    "a key named as silent is not": (base(ownership=EXCLUSIVE, silent=frozenset("a")), False),
    "an unknown key is not": (base(unknown="a"), False),
    "no key is where the base is unknown": (None, False),
}


@pytest.mark.parametrize(("known", "expected"), OWNED.values(), ids=OWNED)
def test_ours_already(known, expected):
    assert owned(known, "a") is expected


# --- turned back ------------------------------------------------------------------------------------------------------

ADDED, REPLACED, REMOVED = Touched("n", None, "1", OURS), Touched("a", "0", "1", OURS), Touched("r", "0", None, OURS)


def back(touched, now, known=None, dialect=MERGE_NULL, removals=Removals.BLOCK):
    return undone(REF, touched, Observed(now), known, Rules(dialect, removals))


def test_the_inverse_gives_every_field_its_old_value_and_leaves_the_others():
    change = back([ADDED, REPLACED, REMOVED], {"n": "1", "a": "1", "x": "9"})
    assert change.action is Action.UPDATE
    assert change.planned == {"a": "0", "r": "0", "x": "9"}
    assert {field.key: field.op for field in change.fields} == {"n": Op.REMOVE, "a": Op.REPLACE, "r": Op.ADD}


def test_a_field_that_has_its_old_value_already_is_nothing_to_do():
    assert back([REPLACED], {"a": "0", "x": "9"}).action is Action.KEEP
    assert [field.key for field in back([ADDED, REPLACED], {"n": "1", "a": "0"}).fields] == ["n"]


def test_one_moved_field_makes_the_whole_resource_stale():
    change = back([ADDED, REPLACED], {"n": "1", "a": "2"})
    assert (change.action, change.fault.code) == (Action.FAILED, "stale")
    assert change.fault.message.startswith("moved since the run that is to be undone: a;")
    assert (change.fields, change.planned) == ((), None)


def test_an_added_field_that_is_gone_has_its_old_value_and_a_removed_one_that_came_back_otherwise_has_moved():
    assert back([ADDED], {}).action is Action.KEEP
    assert back([REMOVED], {"r": "2"}).fault.code == "stale"


def test_protection_of_the_base_blocks_the_removals_of_a_rollback():
    change = back([ADDED, REPLACED], {"n": "1", "a": "1"}, base({"n": "1"}, protect=True))
    assert {field.key: field.blocked.code for field in change.blocked} == {"n": "protected"}
    assert change.planned == {"n": "1", "a": "0"}


def test_the_causes_of_a_rollback_come_from_the_base():
    (field,) = back([REPLACED], {"a": "1"}, base({"a": "1"})).fields
    assert field.cause is Cause.PENDING


def test_a_resource_that_is_gone_or_cannot_be_read_cannot_be_turned_back():
    gone = undone(REF, [REPLACED], Missing(GONE), None, Rules(REPLACE))
    unread = undone(REF, [REPLACED], Unread(Fault("timeout", "slow")), None, Rules(REPLACE))
    assert (gone.action, unread.action) == (Action.MISSING, Action.FAILED)
    assert unread.fault.code == "timeout"


def test_an_answer_without_metadata_is_told_as_such_and_not_as_stale():
    change = undone(REF, [REPLACED], Observed(None), None, Rules(REPLACE))
    assert (change.action, change.fault.code) == (Action.FAILED, "no_metadata")


def test_an_answer_without_metadata_is_empty_where_maps_are_merged():
    assert undone(REF, [REMOVED], Observed(None), None, Rules(MERGE_NULL)).planned == {"r": "0"}


@pytest.mark.parametrize(
    ("before", "now"),
    [({"deep": 1}, {"deep": 2}), (["x"], ["y"]), (["x"], [])],
    ids=["objects that differ within", "lists that differ within", "lists of different lengths"],
)
def test_a_foreign_value_that_somebody_changed_within_has_moved(before, now):
    assert back([Touched("a", before, "1", NOT_OURS)], {"a": now}).fault.code == "stale"


def test_a_foreign_value_that_is_no_string_is_given_back():
    assert back([Touched("a", ["x"], "1", NOT_OURS)], {"a": "1"}).planned == {"a": ["x"]}


def test_a_field_that_a_rollback_blanked_is_nothing_to_do_for_the_next_one():
    assert back([ADDED], {"n": ""}, dialect=MERGE, removals=Removals.BLANK).action is Action.KEEP


# --- and what is remembered of that -----------------------------------------------------------------------------------


def restored_after(touched, now, seen, known, status=APPLIED, **rules):
    change = back(touched, now, known, **rules)
    done = [] if change.action is Action.KEEP else [outcome(status, seen)]
    return restored_by([change], done, {REF: tuple(touched)}, lambda _ref: known)


RESTORED = {
    "a field that has its old value again": ([REPLACED], {"a": "1"}, {"a": "0"}, base({"a": "1"}), base({"a": "0"})),
    "a field that had it already": ([REPLACED], {"a": "0"}, None, base({"a": "1"}), base({"a": "0"})),
    "a field that was ours and absent": ([ADDED], {"n": "1"}, {}, base({"n": "1"}), base({"n": None})),
    "a field that was not ours": ([Touched("n", None, "1", NOT_OURS)], {"n": "1"}, {}, base({"n": "1"}), base()),
    "of two fields only the one that could be given back": (
        [ADDED, REPLACED],
        {"n": "1", "a": "1"},
        {"n": "1", "a": "0"},
        base({"n": "1", "a": "1"}),
        base({"n": "1", "a": "0"}),
    ),
}


@pytest.mark.parametrize(("touched", "now", "seen", "known", "expected"), RESTORED.values(), ids=RESTORED)
def test_the_base_goes_back_with(touched, now, seen, known, expected):
    assert restored_after(touched, now, seen, known) == {REF: expected}


def test_no_base_goes_back_where_nothing_was_given_back():
    assert restored_after([ADDED], {"n": "1"}, {"n": "1"}, base({"n": "1"}), FAILED) == {}


def test_the_base_of_a_blanked_field_goes_back_too():
    known, rules = base({"n": "1"}), {"dialect": MERGE, "removals": Removals.BLANK}
    assert restored_after([ADDED], {"n": "1"}, {"n": ""}, known, **rules) == {REF: base({"n": None})}


def test_no_base_of_a_stale_resource_goes_back():
    known = base({"n": "1", "a": "1"})
    change = back([ADDED, REPLACED], {"n": "moved", "a": "0"}, known)
    done = outcome(OutcomeStatus.STALE, writes=0)
    assert restored_by([change], [done], {REF: (ADDED, REPLACED)}, lambda _ref: known) == {}


def test_no_base_of_a_resource_that_nobody_saw_goes_back():
    change = undone(REF, [REPLACED], Missing(GONE), None, Rules(REPLACE))
    done = outcome(OutcomeStatus.MISSING, writes=0)
    assert restored_by([change], [done], {REF: (REPLACED,)}, lambda _ref: None) == {}


def test_no_base_of_a_resource_that_the_run_did_not_touch_goes_back():
    assert restored_by([change_of({}, {"a": "0"})], [], {}, lambda _ref: None) == {}
