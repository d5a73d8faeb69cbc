"""Two maps to field differences."""

import pytest

from reconciler.diff import Difference, Op, differences, equal


def test_nothing_differs_between_equal_maps():
    assert differences({"a": 1, "b": {"c": [True]}}, {"b": {"c": [True]}, "a": 1.0}) == ()


@pytest.mark.parametrize(
    ("before", "after"),
    [({"a": True}, {"a": 1}), ({"a": 0}, {"a": False}), ({"a": "1"}, {"a": 1}), ({"a": "1"}, {}), ({}, {"a": "1"})],
    ids=["true for 1", "0 for false", "text for a number", "gone", "new"],
)
def test_maps_that_python_may_take_for_equal_are_not(before, after):
    assert not equal(before, after)
    assert [each.key for each in differences(before, after)] == ["a"]


def test_every_key_that_differs_is_told_once_and_in_order_however_few_are_shared():
    before = {"b": "1", "__private": "1", "z": {"x": 1, "y": [1, 2]}, "same": "1"}
    after = {"a": "2", "__private": "2", "z": {"x": 2, "y": [3, 4]}, "same": "1"}
    assert differences(before, after) == (
        Difference("__private", Op.REPLACE, "1", "2"),
        Difference("a", Op.ADD, None, "2"),
        Difference("b", Op.REMOVE, "1", None),
        Difference("z", Op.REPLACE, {"x": 1, "y": [1, 2]}, {"x": 2, "y": [3, 4]}),
    )


def test_a_number_of_another_type_is_no_difference_beside_one():
    assert [each.key for each in differences({"a": 1, "b": "1"}, {"a": 1.0, "b": "2"})] == ["b"]
