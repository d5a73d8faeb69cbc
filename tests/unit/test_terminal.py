"""The text for people, held against golden files.

After a wanted change: `UPDATE_GOLDEN=1 pytest tests/unit/test_terminal.py`, then read the difference.
"""

import json
import re

import click
import pytest
from documents import (
    BASE,
    DOCUMENTS,
    GOLDEN,
    MISSING,
    OURS,
    RICH,
    SINCE,
    TARGET,
    desired,
    hold,
    outcomes,
    planned,
    told,
)
from hypothesis import given
from hypothesis import strategies as st

from reconciler.compare import Rules, judge
from reconciler.dialects import MERGE, MERGE_NULL
from reconciler.document import Document, Reason, ReleasedPart, finding, plan_parts
from reconciler.errors import Fault, Problem
from reconciler.events import Outcome, OutcomeStatus
from reconciler.model import Observed, Ref
from reconciler.plan import Plan
from reconciler.render import Room, terminal
from reconciler.render.columns import cells
from reconciler.words import named, plain, quoted


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_text_is_as_in_the_golden_file(name):
    hold(f"{name}.txt", click.unstyle(terminal.render(DOCUMENTS[name])))


def test_every_golden_file_belongs_to_a_document():
    assert {file.stem for file in GOLDEN.glob("*.txt")} == set(DOCUMENTS)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_nothing_of_a_stranger_acts_on_the_terminal(name):
    shown = terminal.render(DOCUMENTS[name])
    assert "\x1b[31mred" not in shown
    assert all(character.isprintable() or character in "\n\x1b" for character in shown)
    assert not any(line.startswith("::") for line in shown.splitlines())


def test_colours_say_nothing_that_signs_do_not():
    lines = click.unstyle(terminal.plan(DOCUMENTS["plan"])).splitlines()
    assert [line.split()[0] for line in lines if line.startswith("  ") and line[2] in "+~-"] == ["~", "+", "-"]


def test_errors_that_were_shown_with_the_plan_are_not_shown_again():
    document = DOCUMENTS["plan_failed"]
    assert "did not answer" in terminal.application(document)
    assert "did not answer" not in terminal.application(document, told=1)
    assert terminal.errors(document).count("\n") == 1


def test_quiet_leaves_the_errors_and_the_summary():
    lines = click.unstyle(terminal.brief(DOCUMENTS["plan_missing"])).splitlines()
    assert [line.split(":")[0] for line in lines] == ["manifests/support.yaml", "Plan"]
    assert terminal.brief(DOCUMENTS["apply"]).count("\n") == 1


@pytest.mark.parametrize("status", [status for status in OutcomeStatus if status is not OutcomeStatus.NOT_ATTEMPTED])
def test_quiet_says_why_a_resource_was_not_written(status):
    fine = status is OutcomeStatus.APPLIED
    fault = None if fine else Fault("why", "for \x1b[31mthis\n::error::reason")
    ended = Outcome(Ref("thread", "thread_1"), status, fault, 1, 1)
    document = DOCUMENTS["apply"].model_copy(update={"outcomes": outcomes(ended), "exit_code": 0 if fine else 4})
    *said, summary = click.unstyle(terminal.brief(document)).splitlines()
    assert said == ([] if fine else [f"thread/thread_1: {status.value}: {plain(fault.message)}"])
    assert summary.startswith("Applied: 1 applied" if fine else f"Apply incomplete: 1 {status.value}")


@pytest.mark.parametrize(("code", "word"), [(0, "Applied"), (4, "Apply incomplete")])
def test_an_id_that_went_missing_before_its_write_is_a_failure_unless_the_target_only_warns(code, word):
    gone = Outcome(Ref("thread", "thread_1"), OutcomeStatus.MISSING, Fault("missing", "No thread found"), 1)
    document = DOCUMENTS["apply"].model_copy(update={"outcomes": outcomes(gone), "exit_code": code})
    assert f"{word}: 1 missing" in click.unstyle(terminal.render(document))
    assert "thread/thread_1: missing: No thread found" in click.unstyle(terminal.brief(document))


def test_an_outcome_that_the_plan_has_told_is_not_told_again():
    gone = Outcome(Ref("thread", "thread_gone"), OutcomeStatus.MISSING, Fault("missing", "No thread found"))
    document = DOCUMENTS["plan_missing"].model_copy(update={"kind": "apply", "outcomes": outcomes(gone)})
    assert click.unstyle(terminal.render(document)).count("No thread found") == 1


@given(st.text())
def test_escaped_text_is_printable_and_says_the_same(text):
    assert plain(text).isprintable()
    assert quoted(text).isprintable()
    if text.isprintable() and "##" not in text and not text.lstrip(" ").startswith(":"):  # else a CI service may act
        assert plain(text) == text


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("a", '"a"'),
        (1, "1"),
        (True, "true"),
        (None, "null"),
        ({"a": ["\u202e"]}, '{"a": ["\\u202e"]}'),
        ("é", '"é"'),
        ("\x7f", '"\\u007f"'),
    ],
)
def test_values_are_shown_as_json(value, shown):
    assert quoted(value) == shown


def test_a_change_of_one_resource_can_be_rendered_alone():
    change = judge(desired("thread_abc", {"plan": "gold"}), Observed({}), None, Rules(MERGE))
    text = terminal.plan(Document(kind="plan", target=TARGET, **plan_parts(Plan((change,)), 1, keeps=False)))
    assert "thread/thread_abc" in text


MANY = 5_000
ERRORS = [Problem("missing", f"thread/thread_{number}: No thread found") for number in range(MANY)]
REF = Ref("thread", "thread_abc")


@pytest.mark.parametrize(
    ("document", "noun"),
    [
        (planned(*RICH, errors=ERRORS), "errors"),
        (planned(*RICH[:2]).model_copy(update={"changes": planned(*RICH[:1]).changes * MANY}), "resources"),
        (planned(MISSING).model_copy(update={"changes": planned(MISSING).changes * MANY}), "warnings"),
        (planned(*RICH).model_copy(update={"notes": (Reason(code="expired", message="over"),) * MANY}), "notes"),
        (
            planned(MISSING, kind="drift").model_copy(update={"changes": planned(MISSING).changes * MANY}),
            "missing resources",
        ),
        (Document(kind="validate", errors=tuple(map(finding, ERRORS))), "errors"),
        (
            planned(*RICH, kind="apply").model_copy(
                update={"outcomes": outcomes(Outcome(REF, OutcomeStatus.STALE, reads=1)) * MANY}
            ),
            "resources",
        ),
    ],
    ids=["errors", "changes", "missing ids", "notes", "missing ids of a drift", "problems", "outcomes"],
)
def test_however_much_there_is_the_screen_has_an_end_and_says_how_much_is_left_out(document, noun):
    text = terminal.render(document)
    assert text.count("\n") < 10 * terminal.LISTED
    assert f"and {MANY - terminal.LISTED} {noun} more" in text
    assert terminal.brief(document).count("\n") <= terminal.LISTED + 2


# --- how wide it is ---------------------------------------------------------------------------------------------------

WIDE = {
    "日本語": "日本語" * 30,
    "e\u0301" * 20: "e\u0301" * 100,
    "k" * 64: "v" * 512,
    "url": "https://threads.example/" + "a/" * 100,
}
LAID_OUT = {
    **DOCUMENTS,
    "wide": planned((desired("thread_abc", WIDE), Observed({key: f"x{value}" for key, value in WIDE.items()}))),
}


@pytest.mark.parametrize("width", [40, 80, 120, 160])
@pytest.mark.parametrize("name", LAID_OUT)
def test_no_line_is_longer_than_the_terminal_but_for_ids_and_places(name, width):
    text = click.unstyle(terminal.render(LAID_OUT[name], Room(width=width)))
    alone = re.compile(r" *(- )?\S+/\S+|\S+:\d+:\d+:")
    assert [line for line in text.splitlines() if cells(line) > width and not alone.fullmatch(line)] == []


@pytest.mark.parametrize("width", [1, 7, 20])
@pytest.mark.parametrize("name", LAID_OUT)
def test_a_terminal_that_is_too_narrow_for_anything_shows_the_summary_all_the_same(name, width):
    summary = terminal.brief(LAID_OUT[name]).splitlines()[-1]
    shown = click.unstyle(terminal.render(LAID_OUT[name], Room(width=width)))
    assert "".join(shown.split()).endswith("".join(click.unstyle(summary).split()))


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_narrow_terminal_is_told_the_same(name):
    """All words of the wide text stand in the narrow one; values and keys may be shortened there."""
    wide, narrow = (click.unstyle(terminal.render(DOCUMENTS[name], Room(width=width))) for width in (400, 40))
    said = narrow.split()
    for word in re.findall(r"(?<![\w\\.])[a-z]{4,}(?![\w\\.…])", re.sub(r'"[^"]*"|`[^`]*`|\S*[\\x]{2}\S*', "", wide)):
        assert any(word in each for each in said), word


def test_a_wide_terminal_and_none_show_the_same_rows():
    document = DOCUMENTS["plan"]
    assert terminal.render(document, Room(width=160)) == terminal.render(document)


def test_the_columns_of_a_resource_are_aligned_also_where_letters_are_wide():
    document = planned(
        (desired("thread_abc", {"日本": "a", "abcde": "日本語"}), Observed({"日本": "b"})), remembered=OURS
    )
    lines = [line for line in click.unstyle(terminal.plan(document)).splitlines() if line[2:3] in ("+", "~")]
    assert len(lines) == 2
    columns = [(cells(line[: line.index('"')]), cells(line[: line.index("manifests/")])) for line in lines]
    assert columns[0] == columns[1]


def test_a_row_that_does_not_fit_leaves_the_others_in_their_columns():
    declared = {"long": "The letter of May " * 3, "plan": "gold", "team": "support"}
    document = planned((desired("thread_abc", declared), Observed({"plan": "silver"})))
    lines = click.unstyle(terminal.plan(document, Room(width=80))).splitlines()
    rows = [line for line in lines if line[2:3] in ("+", "~")]
    assert [line.endswith(":7") for line in rows] == [False, True, True]
    assert len({line.index("unattributed") for line in rows[1:]}) == 1
    below = lines[lines.index(rows[0]) + 1]
    assert below == "    unattributed  manifests/support.yaml:10:7"


# --- what should not be overlooked ------------------------------------------------------------------------------------


def many(count, **metadata):
    """A plan of so many resources with something to add, replace, and remove."""
    declared = {"plan": "gold", "team": "support", "old": None, **metadata}
    pairs = [
        (desired(f"thread_{number:05}", declared), Observed({"plan": "silver", "old": f"was {number}"}))
        for number in range(count)
    ]
    return planned(*pairs, rules=MERGE_NULL)


def removals(document, **room):
    lines = click.unstyle(terminal.plan(document, Room(**room))).splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("Removals"))
    return lines[at : lines.index("", at)], lines


def test_removals_are_repeated_at_the_end_with_their_values():
    listed, lines = removals(many(10))
    assert listed == ["Removals: 10", *(f'  - thread/thread_{number:05}  old  "was {number}"' for number in range(10))]
    assert lines[-1].startswith("Plan: 10 to update (+10 ~10 -10)")
    assert lines[-2] == ""


def test_what_is_seen_at_a_glance_is_not_repeated():
    assert "Removals:" not in terminal.plan(many(2))
    assert "Removals:" not in terminal.plan(DOCUMENTS["plan"])


def test_a_plan_without_removals_has_no_list_of_them():
    pairs = [(desired(f"thread_{number}", {"a": "b"}), Observed({})) for number in range(30)]
    assert "Removals:" not in terminal.plan(planned(*pairs))


def test_of_many_removals_the_first_are_repeated_and_all_are_counted():
    listed, _ = removals(many(2000))
    assert listed[0] == "Removals: 2000"
    assert len(listed) == 52
    assert listed[-1] == "  and 1950 removals more: a JSON document (--out json=FILE) lists all of them"


def test_removals_that_are_blocked_are_told_after_those_that_will_happen():
    def pair(name, **rules):
        return desired(name, {"old": None}, **rules), Observed({"old": "x"})

    kept = [pair(f"thread_{number}", protect=True) for number in range(60)]
    document = planned(*kept, pair("thread_z"), rules=MERGE_NULL)
    lines = click.unstyle(terminal.plan(document)).splitlines()
    at = lines.index("Removals: 1")
    assert lines[at + 1 : at + 4] == [
        '  - thread/thread_z  old  "x"', "", "Removals that are blocked, so that the keys stay: 60"
    ]  # fmt: skip
    assert lines[at + 54] == "  and 10 removals more: a JSON document (--out json=FILE) lists all of them"
    blocked, _ = removals(planned(*kept, rules=MERGE_NULL))
    assert blocked[0] == "Removals that are blocked, so that the keys stay: 60"


def test_an_empty_line_parts_errors_from_removals():
    document = many(10).model_copy(update={"errors": DOCUMENTS["plan_failed"].errors})
    lines = click.unstyle(terminal.plan(document)).splitlines()
    at = lines.index("Removals: 10")
    assert lines[at - 1] == ""
    assert lines[at - 2].endswith("[timeout]")


def test_no_key_looks_like_a_column_or_like_another_key():
    gone = 'x  "y"  drift  m.yaml:1:1'
    keys = {
        "a b": '"a b"',
        "": '""',
        gone: json.dumps(gone),
        'a"': '"a\\""',
        "e\u0301": '"e\\u0301"',
        "\u00e9": "\u00e9",
    }
    pair = desired("thread_abc", dict.fromkeys(keys, "1")), Observed(dict.fromkeys((f"{key}~" for key in keys), "2"))
    document = planned(pair, released=(ReleasedPart(kind="thread", id="thread_r", keys=tuple(keys)),))
    text = click.unstyle(terminal.plan(document))
    for key, said in keys.items():
        assert f"  + {said} " in text
        foreign = named(f"{key}~")
        assert f" {foreign}," in text or f" {foreign}\n" in text
    assert f"keys that were ours: {', '.join(keys.values())}\n" in text


@pytest.mark.parametrize("width", [40, 80])
def test_removals_fit_into_a_terminal(width):
    listed, _ = removals(many(10), width=width)
    assert all(cells(line) <= width for line in listed[1:])
    assert sum('"was' in line for line in listed) == 10


# --- what a change under review asks for ------------------------------------------------------------------------------


def parts_of(document):
    text = click.unstyle(terminal.plan(document))
    caused, _, before = text.partition("Pending or drifted before it:")
    return caused.partition("Caused by this change:")[2], before


def test_what_this_change_asks_for_stands_apart_from_what_was_pending_or_drifted_before():
    caused, before = parts_of(DOCUMENTS["plan_marked"])
    assert "team" in caused
    assert "plan " not in caused
    assert "trial" not in caused
    assert "plan " in before
    assert "trial" in before
    assert "team" not in before
    assert caused.count("thread/thread_abc ") == before.count("thread/thread_abc ") == 1


def test_a_part_with_nothing_in_it_says_so():
    nothing = told(DOCUMENTS["plan_marked"], team={"introduced": False})
    assert parts_of(nothing)[0].strip() == "nothing"
    everything = told(DOCUMENTS["plan_marked"], **dict.fromkeys(("plan", "trial", "team"), {"introduced": True}))
    assert parts_of(everything)[1].startswith(" nothing\n")


def test_nothing_is_told_apart_where_nobody_asked():
    unmarked = DOCUMENTS["plan_marked"].model_copy(update={"since": None})
    assert "Caused by" not in terminal.plan(unmarked)


def test_resources_that_stay_as_they_are_are_no_part_of_the_change():
    document = told(
        planned(*RICH, rules=MERGE_NULL, remembered=OURS, base=BASE, since=SINCE, keeps=True), team={"introduced": True}
    )
    text = click.unstyle(terminal.plan(document))
    assert text.index("Pending or drifted") < text.index("As declared:") < text.index("thread/thread_ghi")


# --- what is left out -------------------------------------------------------------------------------------------------


def test_the_mark_of_a_shortened_value_is_explained_once_and_only_where_there_is_one():
    assert terminal.plan(DOCUMENTS["plan_long"]).count("characters that are left out") == 1
    assert "characters that are left out" not in terminal.plan(DOCUMENTS["plan"])
    assert "characters that are left out" in terminal.drift(DOCUMENTS["plan_long"].model_copy(update={"kind": "drift"}))
