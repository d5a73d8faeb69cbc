"""The text for people, held against golden files.

After a wanted change: `UPDATE_GOLDEN=1 pytest tests/unit/test_terminal.py`, then read the difference.
"""

import click
import pytest
from documents import DOCUMENTS, GOLDEN, MISSING, RICH, TARGET, desired, hold, outcomes, planned
from hypothesis import given
from hypothesis import strategies as st

from reconciler.compare import Rules, judge
from reconciler.dialects import MERGE
from reconciler.document import Document, Reason, finding, plan_parts
from reconciler.errors import Fault, Problem
from reconciler.events import Outcome, OutcomeStatus
from reconciler.model import Observed, Ref
from reconciler.plan import Plan
from reconciler.render import terminal
from reconciler.words import plain, quoted


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


def test_an_outcome_that_the_plan_has_told_is_not_told_again():
    gone = Outcome(Ref("thread", "thread_gone"), OutcomeStatus.MISSING, Fault("missing", "No thread found"))
    document = DOCUMENTS["plan_missing"].model_copy(update={"kind": "apply", "outcomes": outcomes(gone)})
    assert click.unstyle(terminal.render(document)).count("No thread found") == 1


@given(st.text())
def test_escaped_text_is_printable_and_says_the_same(text):
    assert plain(text).isprintable()
    assert quoted(text).isprintable()
    if text.isprintable():
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
