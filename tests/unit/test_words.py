"""How foreign texts are shown, and what was meant by a name."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.words import LONGEST, closest, meant, plain, shown

COMMANDS = ("plan", "apply", "validate")


def test_a_foreign_text_is_shown_short_and_without_control_characters():
    assert shown("a\x1b[31m\u202e\x7f\n") == "a\\u001b[31m\\u202e\\u007f\\n"
    assert len(shown("x" * 1000)) == LONGEST
    assert shown("") == '""'


@given(st.text(st.characters(exclude_characters='"\\\\')))
def test_a_plain_text_prints_and_can_be_read_back(text):
    assert plain(text).isprintable()
    assert json.loads(f'"{plain(text)}"') == text


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("paln", "plan"),
        ("APPLY", "apply"),
        ("validator", "validate"),
        ("zzz", None),
        ("", None),
        ("plan" * 10**6, None),
    ],
    ids=["turned", "upper case", "ending", "nothing like it", "empty", "endless"],
)
def test_the_closest_name_is_found_if_one_is_close(name, match):
    assert closest(name, COMMANDS) == match


def test_an_unknown_name_is_told_with_what_was_meant_or_with_what_there_is():
    assert meant("paln", COMMANDS) == "did you mean plan?"
    assert meant("zzz", COMMANDS) == "known are plan, apply, validate"
