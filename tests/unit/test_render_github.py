"""Annotations of a GitHub workflow, held against golden files, and read the way in which the runner reads them.

After a wanted change: `UPDATE_GOLDEN=1 pytest tests/unit/test_render_github.py`, then read the difference.
"""

from collections import Counter
from dataclasses import dataclass

import pytest
from documents import DOCUMENTS, FAILED, GOLDEN, MISSING, RICH, at, desired, hold, outcomes, planned
from hypothesis import given
from nasty import NASTY, documents

from reconciler.dialects import MERGE_NULL
from reconciler.document import Document, Head, Place, Reason, SincePart, finding
from reconciler.errors import Fault, Location, Problem
from reconciler.events import Outcome, OutcomeStatus
from reconciler.model import Base, Observed, Ref
from reconciler.render import ANY_ROOM, github
from reconciler.words import plain


@dataclass(frozen=True)
class Command:
    """What the runner makes of a line that begins with `::`: properties up to the next one, data behind it."""

    name: str
    properties: dict[str, str]
    message: str


def command(line):
    """Return what the runner takes a line for: a command, or nothing."""
    text = line.lstrip()
    if not text.startswith("::") or "::" not in text[2:]:
        assert "##[" not in text  # the old form, which it looks for anywhere
        return None
    info, _, data = text[2:].partition("::")
    name, _, rest = info.partition(" ")
    properties = dict(pair.split("=", 1) for pair in rest.split(","))
    return Command(name, {key: unescaped(value) for key, value in properties.items()}, unescaped(data))


def unescaped(text):
    for code, character in {"%0D": "\r", "%0A": "\n", "%3A": ":", "%2C": ",", "%25": "%"}.items():
        text = text.replace(code, character)
    return text


def render(document):
    return github.render(document, ANY_ROOM)


def annotations(document):
    return [found for line in render(document).split("\n") if (found := command(line)) is not None]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_annotations_are_as_in_the_golden_file(name):
    hold(f"{name}.github", render(DOCUMENTS[name]))


def test_every_golden_file_of_annotations_belongs_to_a_document():
    assert {file.stem for file in GOLDEN.glob("*.github")} == set(DOCUMENTS)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_last_line_has_the_counts_and_is_no_command(name):
    last = render(DOCUMENTS[name]).splitlines()[-1]
    assert command(last) is None
    assert last.split(":")[0].split()[0] in {"Plan", "Nothing", "Applied", "Apply", "Drift", "No", "Valid", "Invalid"}


# --- levels -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("plan_with_base", {"warning": 1, "notice": 2}),
        ("plan", {"error": 1, "notice": 2}),
        ("plan_missing", {"error": 2, "notice": 2}),
        ("plan_missing_warned", {"warning": 1}),
        ("plan_failed", {"error": 1}),
        ("plan_nothing_to_do", {}),
        ("drift", {"warning": 2, "notice": 1}),
        ("apply", {"notice": 2}),
        ("apply_incomplete", {"error": 3}),
        ("validate_invalid", {"error": 2}),
    ],
)
def test_what_went_wrong_is_an_error_what_moved_a_warning_what_is_planned_a_notice(name, expected):
    assert Counter(found.name for found in annotations(DOCUMENTS[name])) == expected


def test_lost_pairs_are_told():
    assert any("; lost: seen = " in found.message for found in annotations(DOCUMENTS["apply_incomplete"]))


@pytest.mark.parametrize("status", sorted(set(OutcomeStatus) - {OutcomeStatus.APPLIED}))
def test_every_outcome_that_is_not_applied_is_an_error(status):
    outcome = Outcome(Ref("thread", "thread_abc"), status, Fault("moved", "it moved"), reads=1)
    document = planned(RICH[0], kind="apply", outcomes=outcomes(outcome), errors=[Problem("missing", "x")])
    (_, found) = annotations(document)
    assert (found.name, "it moved" in found.message) == ("error", True)


def test_an_error_is_told_once_although_the_resource_has_it_too():
    error = Problem("timeout", "thread/thread_slow: The API did not answer in time.", at(50))
    gone = Outcome(Ref("thread", "thread_slow"), OutcomeStatus.FAILED, FAILED[1].fault)
    document = planned(FAILED, kind="apply", outcomes=outcomes(gone), errors=[error])
    (found,) = annotations(document)
    assert found.properties == {
        "file": "manifests/support.yaml", "line": "50", "col": "3", "title": "thread/thread_slow: timeout",
    }  # fmt: skip


def test_what_a_change_asks_for_comes_first_and_is_named():
    found = [each.message for each in annotations(DOCUMENTS["plan_marked"])]
    assert found[0].endswith("(conflict, asked for by this change)")
    assert found[1].endswith("(drift, there before this change)")


# --- places -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prefix", "file", "expected"),
    [
        (None, "manifests/m.yaml", "manifests/m.yaml"),
        ("ops/threads", "manifests/m.yaml", "ops/threads/manifests/m.yaml"),
        ("ops/threads", "../../m.yaml", "m.yaml"),
        ("ops/threads", "./a//b.yaml", "ops/threads/a/b.yaml"),
        ("ops", "../../outside.yaml", None),
        (None, "/etc/passwd", None),
        (None, "..", None),
        (None, "a,line=9::b.yaml", "a,line=9::b.yaml"),
        (None, "100%.yaml", "100%.yaml"),
        (None, "two\nlines.yaml", "two\\nlines.yaml"),
    ],
)
def test_files_are_named_from_the_top_of_the_repository(prefix, file, expected):
    document = Document(
        kind="validate", head=Head(prefix=prefix), errors=(finding(Problem("x", "wrong", Location(file, 3, 7))),)
    )
    (found,) = annotations(document)
    assert found.properties.get("file") == expected
    assert found.properties.get("line") == (None if expected is None else "3")
    assert found.message == ("wrong" if expected else f"{plain(file)}:3:7: wrong")


@pytest.mark.parametrize("number", [0, -5, 2**40])
def test_lines_are_numbers_that_a_runner_takes(number):
    place = Place(file="m.yaml", line=number, column=number)
    document = Document(kind="validate", errors=({"code": "x", "message": "y", "source": place},))
    assert 1 <= int(annotations(document)[0].properties["line"]) < 2**31


# --- limits -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 9, 10, 11, 10_000])
def test_beyond_ten_of_a_level_the_last_one_says_how_many_there_are(count):
    errors = [Problem("missing", f"thread/thread_{number}: No thread found", at(1)) for number in range(count)]
    found = annotations(Document(kind="validate", errors=tuple(map(finding, errors))))
    assert len(found) == min(count, 10)
    told = f"{count - 10} more errors"
    assert (told in found[-1].message) is (count > 10)
    assert not any("more errors" in each.message for each in found[:-1])


def test_each_level_has_a_limit_of_its_own():
    pairs = [
        (desired(f"thread_{number}", {"plan": "gold", "team": "b"}), Observed({"plan": "x"})) for number in range(30)
    ]
    errors = [Problem("other", "wrong", at(1)) for _ in range(40)]
    base = Base({"plan": "gold", "team": "a"})
    document = planned(
        *pairs, rules=MERGE_NULL, remembered=base, errors=errors, notes=(Reason(code="n", message="n"),) * 99
    )
    found = annotations(document)
    assert Counter(each.name for each in found) == {"error": 10, "warning": 10}
    assert "30 more errors" in found[9].message
    assert "50 more warnings" in found[19].message
    assert render(document).count("\n") < 50


@pytest.mark.parametrize("text", ["x" * 10**6, "%" * 10**6, "\U0001f600" * 10**6, "\u202e" * 10**6])
def test_messages_stay_far_below_the_limit_of_64_kib(text):
    place = Location(text, 1, 1)
    document = planned((desired("thread_abc", {text: text}), Observed({})), errors=[Problem("x", text, place)])
    for line in render(document.model_copy(update={"changes": document.changes})).splitlines():
        message = command(line).message if command(line) else line
        assert len(message.encode()) < 32_768


# --- strangers --------------------------------------------------------------------------------------------------------


def check(document):
    text = render(document)
    assert all(character.isprintable() or character == "\n" for character in text)
    for line in text.split("\n")[:-1]:
        found = command(line)
        if found is not None:
            assert line.startswith("::")
            assert found.name in {"error", "warning", "notice"}
            assert set(found.properties) <= {"file", "line", "col", "title"}
            assert "file" in found.properties or "line" not in found.properties
    return text


@pytest.mark.parametrize("nasty", NASTY)
def test_nothing_of_a_stranger_is_a_command(nasty):
    document = planned(
        (desired(nasty, {nasty: nasty}), Observed({"plan": nasty})),
        errors=[Problem("rejected", nasty, Location(nasty, 1, 1)), Problem("rejected", nasty)],
        notes=(Reason(code="x", message=nasty),),
    )
    check(document)
    assert Counter(found.name for found in annotations(document)) == {"error": 2, "notice": 1}


@given(documents)
def test_nothing_of_any_document_is_a_command(document):
    check(document)


def test_a_message_arrives_as_it_was():
    said = "100% of `a:b,c` is 50%0A"
    (found,) = annotations(
        Document(kind="validate", errors=(finding(Problem("x", said, Location("a%3Ab.yaml", 1, 2))),))
    )
    assert found.message == said
    assert found.properties["file"] == "a%3Ab.yaml"


def test_marks_are_told_only_where_there_is_a_change_under_review():
    since = SincePart(revision="main", commit="e" * 40)
    assert "this change" not in render(planned(*RICH, MISSING))
    assert "this change" in render(planned(*RICH, MISSING, since=since))
