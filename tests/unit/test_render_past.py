"""What the ledger remembers, as text and as JSON."""

import json

import click
import pytest

from reconciler.bases import Touched
from reconciler.ledger import Run
from reconciler.model import Base, Ownership, Ref
from reconciler.render import past

ONE, TWO = Ref("thread", "thread_1"), Ref("conversation", "conv_1")
COMMIT = "0123456789abcdef0123456789abcdef01234567"
HOSTILE = "\x1b[31mred\x1b[0m\n::error::boo\u202e\ud800"
TOUCHED = {
    ONE: (
        Touched("added", None, "1", owned=False),
        Touched("changed", "1", "2", owned=True),
        Touched("removed", "1", None, owned=True),
    ),
    TWO: (Touched("topic", "a", "b", owned=True),),
}


def run_of(id_="20260101T000000Z-aaaaaa", **more):
    told = {"kind": "apply", "at": "2026-01-01T00:00:00Z", "actor": "A <a@example.org>", "commit": COMMIT}
    return Run(**{"id": id_, "dirty": False, "tool": "1.2.3", **told, **more})


APPLY = run_of(outcomes={"applied": 2}, touched=TOUCHED)


def text(rendered):
    return click.unstyle(rendered)


# --- the list of runs -------------------------------------------------------------------------------------------------


def test_without_a_run_one_line_says_so():
    assert past.runs([]) == "Nothing is recorded yet.\n"


def test_each_run_has_a_line_with_who_when_which_commit_and_what():
    assert text(past.runs([APPLY])) == (
        "20260101T000000Z-aaaaaa  2026-01-01T00:00:00Z  A <a@example.org>  0123456789  apply: 2 applied (4 fields)\n"
    )


def test_the_columns_of_all_runs_are_aligned_and_their_order_is_kept():
    other = run_of("20250101T000000Z-bbbbbb", actor="Somebody with a name", commit=None)
    lines = text(past.runs([APPLY, other])).splitlines()
    assert [line[:15] for line in lines] == ["20260101T000000", "20250101T000000"]
    assert len({line.index("apply: ") for line in lines}) == 1
    assert not any(line != line.rstrip() for line in lines)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({}, "apply: nothing to write"),
        ({"outcomes": {"applied": 1, "not_attempted": 2}}, "apply: 1 applied, 2 not attempted"),
        ({"outcomes": {"applied": 1}, "touched": {TWO: TOUCHED[TWO]}}, "apply: 1 applied (1 field)"),
        ({"kind": "rollback", "undoes": "20250101T-b"}, "rollback of 20250101T-b: nothing to write"),
        ({"kind": "baseline"}, "baseline: nothing to write"),
        ({"commit": None, "dirty": None}, "no commit  apply"),
        ({"dirty": True}, "0123456789 (dirty)  apply"),
    ],
    ids=str,
)
def test_a_run_says_what_it_did_from_where(more, words):
    assert words in text(past.runs([run_of(**more)]))


# --- one run ----------------------------------------------------------------------------------------------------------


def test_a_run_shows_every_field_that_it_wrote_before_and_after():
    assert text(past.run(APPLY)) == (
        "20260101T000000Z-aaaaaa  apply: 2 applied (4 fields)\n"
        "2026-01-01T00:00:00Z  A <a@example.org>  0123456789\n"
        "\n"
        "conversation/conv_1\n"
        '  ~ topic  "a" → "b"\n'
        "\n"
        "thread/thread_1\n"
        '  + added  "1"\n'
        '  ~ changed  "1" → "2"\n'
        '  - removed  "1"\n'
    )


def test_an_empty_value_is_shown_as_a_value():
    shown = text(
        past.run(run_of(touched={ONE: (Touched("a", "", None, owned=True), Touched("b", None, "", owned=True))}))
    )
    assert '  - a  ""\n' in shown
    assert '  + b  ""\n' in shown


def test_a_run_as_json_has_everything():
    content = past.run_content(run_of(outcomes={"applied": 1}, touched={TWO: TOUCHED[TWO]}, undoes="x"))
    assert json.loads(json.dumps(content)) == {
        "id": "20260101T000000Z-aaaaaa",
        "kind": "apply",
        "at": "2026-01-01T00:00:00Z",
        "actor": "A <a@example.org>",
        "commit": COMMIT,
        "dirty": False,
        "tool": "1.2.3",
        "undoes": "x",
        "outcomes": {"applied": 1},
        "touched": {"conversation/conv_1": {"topic": {"before": "a", "after": "b"}}},
    }


# --- the bases --------------------------------------------------------------------------------------------------------

RICH = Base(
    {"plan": "gold", "trial": None, "count": 3},
    Ownership.EXCLUSIVE,
    ("runtime.*", "x"),
    protect=True,
    unknown=frozenset({"stuck"}),
    silent=frozenset({"foreign"}),
    commit=COMMIT,
)


def test_the_ledger_shows_the_base_of_each_field_and_its_rules():
    assert text(past.ledger("f" * 40, COMMIT, {ONE: RICH, TWO: Base({"a": "1"})})) == (
        "Ledger ffffffffff, applied: 0123456789.\n"
        "\n"
        "conversation/conv_1\n"
        '  a  "1"\n'
        "\n"
        "thread/thread_1  exclusive, protected, ignores runtime.*, x, of 0123456789\n"
        "  count  3\n"
        '  plan  "gold"\n'
        "  trial  absent\n"
        "  stuck  unknown: it could never be verified\n"
        "  foreign  not ours yet\n"
    )


def test_a_ledger_without_a_commit_or_a_resource_says_so():
    assert text(past.ledger("f" * 40, None, {})) == "Ledger ffffffffff, applied: no commit.\n"


def test_a_ledger_as_json_has_everything():
    content = past.ledger_content("f" * 40, None, {ONE: RICH})
    assert json.loads(json.dumps(content)) == {
        "ledger": "f" * 40,
        "applied": None,
        "bases": {
            "thread/thread_1": {
                "metadata": {"plan": "gold", "trial": None, "count": 3},
                "ownership": "exclusive",
                "ignore": ["runtime.*", "x"],
                "protect": True,
                "unknown": ["stuck"],
                "silent": ["foreign"],
                "commit": COMMIT,
            }
        },
    }


# --- what comes from outside ------------------------------------------------------------------------------------------


def test_nothing_that_comes_from_outside_acts_on_a_terminal():
    hostile_run = run_of(
        HOSTILE,
        kind=HOSTILE,
        actor=HOSTILE,
        undoes=HOSTILE,
        outcomes={HOSTILE: 1},
        touched={ONE: (Touched(HOSTILE, HOSTILE, None, owned=True), Touched("k", HOSTILE, HOSTILE, owned=True))},
    )
    base = Base(
        {HOSTILE: HOSTILE}, ignore=(HOSTILE,), unknown=frozenset({HOSTILE + "u"}), silent=frozenset({HOSTILE + "s"})
    )
    for shown in (past.runs([hostile_run]), past.run(hostile_run), past.ledger("f" * 40, None, {ONE: base})):
        lines = text(shown).splitlines()
        assert all(line.isprintable() for line in lines)
        assert not any(line.startswith("::") for line in lines)
        assert "\\u202e" in shown
