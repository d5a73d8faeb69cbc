"""How wide texts are, where lines break, and what is left of long values."""

import re
from unicodedata import combining

import click
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from reconciler.render.columns import NARROWEST, Piece, bold, broken, cells, flowed, padded
from reconciler.render.excerpts import LEAST, LONGEST, marked, name, one, two
from reconciler.words import plain, quoted

LETTER = "The customer asked twice for an invoice that names the second address; see the letter of May. " * 5
VALUES = st.one_of(
    st.text(),
    st.text("ab\u0301日\x1b\u202e\ud800🙂", min_size=60, max_size=300),
    st.text("ab ", min_size=60, max_size=600),
)


@pytest.mark.parametrize(
    ("text", "width"),
    [
        ("abc", 3),
        ("", 0),
        ("é", 1),
        ("e\u0301", 1),
        ("日本", 4),
        ("🙂", 2),
        ("→…", 2),
        ("각", 2),
        ("ﾊ", 1),
        ("Ａ", 2),
        ("\u20dd", 0),
    ],
)
def test_a_text_is_as_wide_as_a_terminal_draws_it(text, width):
    assert cells(text) == width
    assert cells(padded(text, 10)) == 10


@given(st.text("ab 日e\u0301", max_size=200), st.integers(2, 40))
def test_a_broken_text_loses_nothing_and_keeps_marks_on_their_letters(text, width):
    parts = list(broken(text, width))
    assert "".join(parts) == text
    assert all(cells(part) <= width for part in parts)
    assert not any(combining(part[0]) for part in parts[1:])


@given(st.lists(st.text().map(plain)), st.integers(1, 120), st.integers(0, 6))
def test_no_line_of_a_sentence_is_longer_than_the_terminal_and_no_word_is_lost(pieces, width, indent):
    assume(not any("`" in piece for piece in pieces))
    lines = list(flowed(pieces, width, indent))
    assert all(cells(line) <= max(width, NARROWEST) for line in lines)
    assert not any(line.lstrip(" ").startswith("::") for line in lines[1:])
    said = "".join(lines).replace(" ", "").replace("\\u003a", ":")
    assert said == "".join(pieces).replace(" ", "").replace("\\u003a", ":")


def test_what_stays_whole_is_not_broken_nor_is_a_command():
    ref, command = "thread/" + "x" * 90, "`git fetch origin refs/reconciler/production`"
    lines = list(flowed([Piece(ref, bold, whole=True), f"run ({command}) here"], 40))
    assert ref in click.unstyle(lines[0])
    assert any(command in line for line in lines)


def test_no_line_begins_with_what_a_ci_service_takes_for_a_command():
    lines = list(flowed(["x" * 30 + " ::error::boo"], 32))
    assert len(lines) == 2
    assert not lines[1].strip().startswith("::")


# --- long values ------------------------------------------------------------------------------------------------------


def test_two_long_values_show_the_one_place_in_which_they_differ_and_how_much_is_left_out():
    place = LETTER.index("second", 200)
    other = f"{LETTER[:place]}third{LETTER[place + 6 :]}"
    first, second = two(LETTER, other)
    assert '"' in first
    assert "second address" in first
    assert "third address" in second
    for shown, whole in ((first, LETTER), (second, other)):
        before, inside, behind = re.fullmatch(r'\((\d+)\)…"(.*)"…\((\d+)\)', shown).groups()
        assert whole[int(before) : len(whole) - int(behind)] == inside


@pytest.mark.parametrize("room", [LEAST, 32, 40, 60, LONGEST, 200])
@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (LETTER, LETTER.replace("May", "June"), ("May", "June")),
        (LETTER, f"{LETTER}x", (" ", "x")),
        ("日本語" * 60, f"{'日本語' * 30}中{'日本語' * 30}", ("語", "中")),
        ("\x1b" * 300, "b".join(["\x1b" * 150] * 2), ('"', "b")),
        ("a" * 500, "", ("a", '""')),
    ],
    ids=["words", "the end", "wide", "escapes", "empty"],
)
def test_what_differs_stays_in_sight_however_little_room_there_is(before, after, told, room):
    shown = two(before, after, room)
    assert told[0] in shown[0]
    assert told[1] in shown[1]
    assert all(cells(each) <= max(room, LEAST) for each in shown)


@given(VALUES, VALUES, st.sampled_from([LEAST, 32, 47, 48, LONGEST, 150]))
def test_values_that_differ_never_look_the_same_and_fit_into_their_room(before, after, room):
    assume(before != after)
    first, second = two(before, after, room)
    assert first != second
    assert all(cells(shown) <= room + 12 for shown in (first, second)), "one character may take twelve cells"
    assert all(shown.isprintable() for shown in (first, second))


@given(VALUES, st.integers(1, 400), st.text(min_size=1, max_size=3))
def test_a_difference_in_one_place_shows_on_both_sides(value, at, new):
    after = f"{value[:at]}{new}{value[at:]}"
    first, second = two(value, after, LONGEST)
    assert first != second
    assert marked(first) <= (len(value) > LONGEST // 12)
    assert marked(second) <= (len(after) > LONGEST // 12)


@pytest.mark.parametrize("value", ["", "a", 5, True, None, {"a": ["\u202e"]}, "é", "x" * 78, "(87)…", "\x7f"])
def test_what_is_short_is_shown_as_it_is(value):
    assert one(value) == quoted(value)


def test_a_long_value_shows_its_ends_and_a_value_of_another_type_too():
    assert re.fullmatch(r'"The customer.*"…\(\d+\)…".*of May\. "', one(LETTER))
    assert re.fullmatch(r'\{"a": "x+…\(\d+\)…x+"\}', one({"a": "x" * 500}))
    assert all(cells(text) <= LONGEST for text in (one(LETTER), one({"a": "x" * 500}), *two(LETTER, {"a": LETTER})))


def test_a_value_cannot_pretend_to_be_shortened():
    assert one('a"…(400)') == '"a\\"…(400)"'


def test_values_that_would_look_the_same_are_shown_with_escapes_however_long_they_are():
    assert two("e\u0301", "é") == ('"e\\u0301"', '"\\u00e9"')
    first, second = two(f"{LETTER}e\u0301", f"{LETTER}é")
    assert "e\\u0301" in first
    assert "\\u00e9" in second
    assert "##[" not in "".join(two("##[group]e\u0301", "##[group]é"))


def test_a_mark_is_shown_with_the_letter_that_it_sits_on():
    first, second = two(f"{'ab' * 200}e\u0301{'cd' * 200}", f"{'ab' * 200}e\u0300{'cd' * 200}")
    assert "e\u0301" in first
    assert "e\u0300" in second


def test_a_long_key_shows_both_its_ends():
    assert name("k" * 64) == "k" * 64
    assert re.fullmatch(r"a+…\(\d+\)…a+b", name("a" * 63 + "b", 30))
    assert name("") == '""'
