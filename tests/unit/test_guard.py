"""The guards: which number crosses which line."""

import pytest

from reconciler.compare import Rules, judge
from reconciler.dialects import MERGE, REPLACE
from reconciler.errors import Fault
from reconciler.guard import Guards, Scale, refusals, scale_of
from reconciler.model import Desired, Missing, Observed, Ref


def changes(*specs, dialect=REPLACE):
    """One change for each (declared, observed)."""
    return [
        judge(Desired(Ref("thread", f"t{index}"), declared), Observed(observed), None, Rules(dialect))
        for index, (declared, observed) in enumerate(specs)
    ]


REPLACED = ({"a": "1"}, {"a": "0"})
REMOVED = ({"a": None}, {"a": "0"})
ADDED = ({"a": "1"}, {})
KEPT = ({"a": "1"}, {"a": "1"})


@pytest.mark.parametrize(
    ("specs", "guards", "named"),
    [
        ([REPLACED] * 3 + [KEPT] * 7, Guards(), []),
        ([REPLACED] * 4 + [KEPT] * 6, Guards(), ["max_changed"]),
        ([REMOVED] * 4 + [KEPT] * 6, Guards(), ["max_changed", "max_removed"]),
        ([REMOVED] * 3 + [KEPT] * 7, Guards(), []),
        ([ADDED] * 10, Guards(), []),
        ([REMOVED] * 9, Guards(), []),
        ([REMOVED] * 9, Guards(at_least=9), ["max_changed", "max_removed"]),
        ([REPLACED] * 10, Guards(max_changed=100), []),
        ([REPLACED] + [KEPT] * 9, Guards(max_changed=0), ["max_changed"]),
        ([], Guards(at_least=0), []),
    ],
    ids=[
        "at the line", "above the line", "removals count for both", "removals at the line", "additions never count",
        "asleep", "awake at the number", "all may change", "none may change", "nothing",
    ],
)  # fmt: skip
def test_a_guard_refuses_what_lies_above_its_line(specs, guards, named):
    found = changes(*specs)
    reasons = refusals(found, scale_of(found), guards)
    assert [reason.split()[0] for reason in reasons] == named


def test_a_refusal_says_which_number_crossed_which_line():
    found = changes(*[REPLACED] * 4, *[KEPT] * 6)
    assert refusals(found, Scale(10, 10), Guards()) == (
        "max_changed is 30%, but 4 of 10 resources would have values replaced or removed (40.0%)",
    )


def test_what_is_blocked_destroys_nothing():
    found = changes(*[REMOVED] * 10, dialect=MERGE)
    assert refusals(found, scale_of(found), Guards()) == ()


def test_only_what_was_read_counts_as_looked_at():
    found = changes(KEPT, REPLACED)
    found.append(judge(Desired(Ref("thread", "x"), {}), Missing(Fault("missing", "gone")), None, Rules(REPLACE)))
    assert scale_of(found) == Scale(read=2, pairs=2)


def test_a_refusal_of_removals_counts_pairs():
    found = changes(*[REMOVED] * 4, *[KEPT] * 6)
    assert refusals(found, Scale(20, 10), Guards(max_removed=39.5)) == (
        "max_removed is 39.5%, but 4 of 10 observed pairs would be removed (40.0%)",
    )


def test_the_lines_are_at_thirty_percent_from_ten_resources_on():
    assert Guards() == Guards(max_changed=30.0, max_removed=30.0, at_least=10)
    found = changes(*[REPLACED] * 10)
    assert not refusals(found, Scale(9, 9), Guards())
    assert len(refusals(found, Scale(10, 10), Guards())) == 1


def test_one_resource_counts_once_however_much_of_it_changes():
    many = ({"a": None, "b": None, "c": "1", "d": "1"}, {"a": "0", "b": "0", "c": "0"})
    assert refusals(changes(many), Scale(10, 10), Guards(max_changed=5, max_removed=5)) == (
        "max_changed is 5%, but 1 of 10 resources would have values replaced or removed (10.0%)",
        "max_removed is 5%, but 2 of 10 observed pairs would be removed (20.0%)",
    )
