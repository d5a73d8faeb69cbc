"""The text for people, held against golden files.

After a wanted change: `UPDATE_GOLDEN=1 pytest tests/unit/test_terminal.py`, then read the difference.
"""

import os
from pathlib import Path

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.compare import Cause, Rules, Selection, judge
from reconciler.dialects import AUTO, MERGE, MERGE_NULL, REPLACE
from reconciler.diff import Op
from reconciler.document import BasePart, Document, Reason, TargetPart, finding, outcome_part, plan_parts
from reconciler.errors import Fault, Location, Problem
from reconciler.events import Outcome, OutcomeStatus
from reconciler.model import Base, Desired, Missing, Observed, Ownership, Ref, Unread
from reconciler.plan import Plan, make_plan
from reconciler.render import terminal
from reconciler.words import plain, quoted

GOLDEN = Path(__file__).parent.parent / "golden"
TARGET = TargetPart(name="production", provider="openai", base_url="https://threads.example/v1")

BASE = BasePart(revision="refs/reconciler/production", commit="abc1234")


def at(line, column=3):
    return Location("manifests/support.yaml", line, column)


def desired(name, metadata, line=8, **more):
    sources = {key: at(line + 2 + number, 7) for number, key in enumerate(metadata)}
    return Desired(Ref("thread", name), metadata, location=at(line), sources=sources, **more)


def planned(*pairs, rules=MERGE, remembered=None, keeps=False, only=None, errors=(), kind="plan", **more):
    """A document over (desired, reading) pairs."""
    readings = {one.ref: reading for one, reading in pairs}
    bases = remembered and dict.fromkeys(readings, remembered)
    plan = make_plan([one for one, _ in pairs], readings, lambda _kind: Rules(rules), bases=bases, only=only)
    parts = plan_parts(plan, len(pairs), keeps=keeps)
    return Document(kind=kind, target=TARGET, errors=tuple(map(finding, errors)), **{**parts, **more})


RICH = (
    (desired("thread_abc", {"plan": "gold", "team": "support"}), Observed({"plan": "silver", "seen": "1", "at": "2"})),
    (desired("thread_def", {"trial": None}, 20), Observed({"trial": "yes"})),
    (desired("thread_ghi", {"plan": "gold"}, 30), Observed({"plan": "gold"})),
)
MISSING = (desired("thread_gone", {"plan": "gold"}, 40), Missing(Fault("missing", "No thread found", 404, "req_7")))
FAILED = (desired("thread_slow", {"plan": "gold"}, 50), Unread(Fault("timeout", "The API did not answer in time.")))
HOSTILE = "\x1b[31mred\x1b[0m\n::error::boo\u202e\u0085\u200b\x7f\ud800"


def outcomes(*made):
    return tuple(map(outcome_part, made))


DOCUMENTS = {
    "plan": planned(*RICH),
    "plan_with_base": planned(*RICH, rules=MERGE_NULL, remembered=Base({"plan": "gold", "trial": "yes"}), base=BASE),
    "plan_all": planned(*RICH, keeps=True),
    "plan_nothing_to_do": planned(RICH[2]),
    "plan_of_nothing": planned(),
    "plan_missing": planned(
        *RICH, MISSING, errors=[Problem("missing", "thread/thread_gone: No thread found (request req_7)", at(40))]
    ),
    "plan_missing_warned": planned(RICH[2], MISSING),
    "plan_failed": planned(
        FAILED, errors=[Problem("timeout", "thread/thread_slow: The API did not answer in time.", at(50))]
    ),
    "plan_only": planned(*RICH, only=Selection(frozenset({Cause.UNATTRIBUTED}), frozenset({Op.ADD}))),
    "plan_hostile": planned(
        (desired("thread_abc", {"plan": "gold", "k": HOSTILE}), Observed({"plan": HOSTILE, HOSTILE: "foreign"})),
        (desired("thread_def", {}, 20, ownership=Ownership.EXCLUSIVE), Observed({HOSTILE: {"deep": [HOSTILE]}})),
        rules=REPLACE,
        errors=[Problem("rejected", HOSTILE, Location(HOSTILE, 1, 1))],
    ),
    "apply": planned(
        RICH[0],
        kind="apply",
        outcomes=outcomes(Outcome(Ref("thread", "thread_abc"), OutcomeStatus.APPLIED, reads=1, writes=1)),
        requests={"reads": 2, "writes": 1},
    ),
    "apply_incomplete": planned(
        *RICH,
        rules=AUTO,
        kind="apply",
        learned={"thread": "merge"},
        requests={"reads": 5, "writes": 3},
        outcomes=outcomes(
            Outcome(Ref("thread", "thread_abc"), OutcomeStatus.STALE, Fault("stale", "it moved since it was planned")),
            Outcome(
                Ref("thread", "thread_def"),
                OutcomeStatus.FAILED,
                Fault("lost_pairs", "dropped"),
                reads=1,
                writes=1,
                lost={"seen": HOSTILE},
            ),
            Outcome(
                Ref("thread", "thread_ghi"), OutcomeStatus.NOT_ATTEMPTED, Fault("halted", "not attempted: it replaces")
            ),
            Outcome(
                Ref("thread", "thread_jkl"), OutcomeStatus.NOT_ATTEMPTED, Fault("halted", "not attempted: it replaces")
            ),
        ),
    ),
    "apply_nothing_to_do": planned(RICH[2], kind="apply", outcomes=()),
    "validate": Document(kind="validate", summary={"resources": 1}),
    "validate_invalid": Document(
        kind="validate",
        errors=(
            finding(Problem("not_a_string", '5 is a YAML number: write "5"', at(3, 12))),
            finding(Problem("no_key", "export OPENAI_API_KEY")),
        ),
    ),
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_text_is_as_in_the_golden_file(name):
    shown = click.unstyle(terminal.render(DOCUMENTS[name]))
    file = GOLDEN / f"{name}.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        file.write_text(shown, encoding="utf-8")
    assert shown == file.read_text(encoding="utf-8")


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
