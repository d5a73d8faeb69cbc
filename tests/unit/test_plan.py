"""The plan as a whole: its order, its sums, and what `--only` leaves alone."""

import pytest

from reconciler.compare import Action, Cause, Rules, Selection
from reconciler.dialects import MERGE, MERGE_NULL, REPLACE
from reconciler.diff import Op
from reconciler.errors import Fault
from reconciler.model import Base, Desired, Missing, Observed, Ownership, Ref, Unread
from reconciler.plan import Plan, Summary, make_plan, released_desire, summarise

A, B, C = Ref("conversation", "c"), Ref("thread", "a"), Ref("thread", "b")
OLD = {A: Observed({"a": "0", "b": "0", "gone": "1"}), B: Observed({"a": "1"}), C: Observed({})}
WANTED = [Desired(C, {"a": "1"}), Desired(A, {"a": "1", "b": "0", "gone": None}), Desired(B, {"a": "1"})]


def replacing(kind):
    return Rules(REPLACE)


def test_changes_are_in_the_order_of_their_references():
    plan = make_plan(WANTED, OLD, replacing)
    assert [(change.ref, change.action) for change in plan.changes] == [
        (A, Action.UPDATE),
        (B, Action.KEEP),
        (C, Action.UPDATE),
    ]
    assert (plan.spared, plan.left, plan.released, plan.differs, plan.writes) == ({}, 0, {}, True, 2)


def test_each_kind_is_judged_by_its_own_rules_and_each_resource_by_its_own_base():
    rules = {"conversation": Rules(MERGE), "thread": Rules(REPLACE)}
    plan = make_plan(WANTED, OLD, rules.__getitem__, bases={A: Base({"a": "1"})})
    assert [change.rules for change in plan.changes] == [Rules(MERGE), Rules(REPLACE), Rules(REPLACE)]
    causes = {(change.ref, field.key): field.cause for change in plan.changes for field in change.fields}
    assert causes == {
        (A, "a"): Cause.DRIFT,
        (A, "gone"): Cause.PENDING,
        (C, "a"): Cause.UNATTRIBUTED,
    }


@pytest.mark.parametrize("only", [None, Selection(ops=frozenset({Op.ADD}))])
def test_released_resources_are_carried_along(only):
    released = {Ref("thread", "z"): Base({"a": "1"})}
    assert make_plan(WANTED, OLD, replacing, only=only, released=released).released == released


def test_what_only_leaves_alone_is_named_where_there_is_any():
    plan = make_plan(WANTED, OLD, replacing, only=Selection(ops=frozenset({Op.REPLACE})))
    assert plan.spared == {A: ("gone",), C: ("a",)}
    assert plan.left == 2
    assert [[field.key for field in change.fields] for change in plan.changes] == [["a"], [], []]
    assert plan.released == {}


def test_only_selects_by_the_cause_that_the_base_gives():
    only = Selection(causes=frozenset({Cause.DRIFT}))
    plan = make_plan(WANTED, OLD, replacing, bases={A: Base({"a": "1"})}, only=only)
    assert {change.ref: [field.cause for field in change.fields] for change in plan.changes} == {
        A: [Cause.DRIFT],
        B: [],
        C: [],
    }
    assert plan.spared == {A: ("gone",), C: ("a",)}


def test_several_fields_of_one_resource_are_spared_in_their_order():
    plan = make_plan(
        [Desired(B, {"x": "1", "y": "1", "z": "1"})],
        {B: Observed({"y": "0"})},
        replacing,
        only=Selection(ops=frozenset({Op.REPLACE})),
    )
    assert plan.spared == {B: ("x", "z")}
    assert plan.left == 2


def test_writes_are_the_calls_of_what_is_updated():
    many = {f"k{number:02}": "1" for number in range(16)} | {f"old{number:02}": None for number in range(16)}
    held = {f"old{number:02}": "1" for number in range(16)}

    def planned(dialect):
        return make_plan([Desired(B, many), Desired(C, {})], {B: Observed(held), C: Observed({})}, lambda _: dialect)

    assert planned(Rules(MERGE_NULL)).writes == 2
    assert planned(Rules(REPLACE)).writes == 1
    assert planned(Rules(MERGE)).writes == 0  # too many pairs, as nothing can be removed


def test_nothing_differs_where_everything_is_kept():
    kept = make_plan([Desired(B, {"a": "1"})], OLD, replacing)
    assert not kept.differs
    assert not Plan(()).differs
    gone = make_plan([Desired(B, {})], {B: Missing(Fault("missing", "gone"))}, replacing)
    assert gone.differs
    assert gone.writes == 0


def test_the_sums_count_resources_fields_and_what_is_blocked():
    changes = make_plan(
        [
            Desired(A, {"a": "1", "b": "2", "gone": None}, protect=True),
            Desired(B, {"a": "1"}),
            Desired(C, {"a": "1"}),
            Desired(Ref("thread", "x"), {"a": "1", "old": None, "older": None}, protect=True),
            Desired(Ref("thread", "y"), {}),
        ],
        {
            **OLD,
            Ref("thread", "x"): Observed({"old": "1", "older": "1"}),
            Ref("thread", "y"): Unread(Fault("timeout", "slow")),
        },
        replacing,
        bases={C: Base({})},
    ).changes
    assert summarise(changes, 7) == Summary(
        {Action.UPDATE: 3, Action.KEEP: 1, Action.FAILED: 1},
        {Op.ADD: 2, Op.REPLACE: 2, Op.REMOVE: 3},
        {Cause.UNATTRIBUTED: 6, Cause.PENDING: 1},
        blocked=3,
        released=7,
    )
    assert summarise(changes).released == 0
    assert summarise(changes).resources == 5
    assert summarise([]) == Summary({}, {}, {}, 0)
    assert summarise([]).resources == 0


def test_of_a_released_resource_nothing_is_wanted_and_what_was_ignored_stays_so():
    base = Base({"a": "1"}, Ownership.EXCLUSIVE, ignore=("run.*",), protect=True)
    assert released_desire(B, base) == Desired(B, {}, ignore=("run.*",), released=True)
