"""How foreign texts are shown, and what was meant by a name."""

from __future__ import annotations

import json
import re
from unicodedata import normalize

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.words import LONGEST, closest, commands_in, dumped, meant, named, plain, quoted, shown

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


@pytest.mark.parametrize("key", ["plan", "a.b_c:d/e@f+g-1", "顧客", "клиент", "é", "a::b"])
def test_a_key_of_letters_digits_and_few_signs_is_bare(key):
    assert named(key) == key


@pytest.mark.parametrize(
    "key",
    [
        "",
        "a b",
        " a",
        'a"',
        '"a"',
        "a,b",
        "(3)…",
        "a…",
        "::error::",
        "##[group]",
        "a|b",
        "\u3164",
        "e\u0301",
        "a\u200b",
        "\ud800",
    ],
)
def test_any_other_key_is_in_quotes(key):
    assert json.loads(named(key)) == key
    assert named(key).isprintable()
    assert "\u3164" not in named(key)
    assert not re.search(r"^\s*::|##\w*\[", named(key))


@given(st.text(max_size=3), st.text(max_size=3))
def test_two_keys_never_look_the_same(one, other):
    assert (named(one) == named(other)) is (one == other)
    assert normalize("NFC", named(one)) != normalize("NFC", named(other)) or one == other


COMMANDS_OF_CI = (
    "::error::x",
    "  ::error file=a,line=1::x",
    ":",
    " :",
    "##[error]x",
    "a ##[group]",
    "x##vso[task.setvariable]y",
    "###teamcity[x]",
    "####[x]",
    "##[##vso[",
)


@pytest.mark.parametrize("text", COMMANDS_OF_CI)
def test_no_ci_service_takes_a_plain_text_for_a_command(text):
    for before in ("", ":", "  "):
        assert not re.search(r"^\s*::|##\w*\[", f"{before if text[:1] == ':' else ''}{plain(text)}:")
    assert json.loads(f'"{plain(text)}"') == text
    assert plain(plain(text)) == plain(text)
    assert json.loads(dumped({text: [text]})) == {text: [text]}
    assert not re.search(r"^\s*::|##\w*\[", dumped({text: [text]}), re.MULTILINE)
    assert json.loads(quoted(text)) == text


@pytest.mark.parametrize("text", ["a::b", "12:30", "#1", "# title", "## title", "[x]", "a#[b]", "## [x]", "x:", " a:"])
def test_what_is_no_command_is_left_as_it_is(text):
    assert plain(text) == text
    assert commands_in(text) is False


@given(st.text(st.sampled_from("#[:v \n\\")))
def test_plain_is_harmless_and_done_twice_is_done_once(text):
    assert not re.search(r"^\s*::|##\w*\[", plain(text))
    assert plain(plain(text)) == plain(text)


def test_no_sentence_shows_a_key():
    key = "sk-proj-" + "x" * 40
    assert shown(f"a {key}") == "(not shown: it looks like an OpenAI key)"
    assert "xxx" not in meant("zzz", [key])


def test_the_names_that_there_are_are_shown_plain():
    assert meant("zzz", ["a\n::error::b"]) == "known are a\\n::error::b"
