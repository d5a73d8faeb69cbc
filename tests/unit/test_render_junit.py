"""The JUnit report, held against golden files, and read by an XML parser.

After a wanted change: `UPDATE_GOLDEN=1 pytest tests/unit/test_render_junit.py`, then read the difference.
"""

import re
from xml.etree import ElementTree as ET

import pytest
from documents import DOCUMENTS, GOLDEN, MISSING, RICH, at, desired, hold, outcomes, planned, told
from hypothesis import given
from nasty import NASTY, documents

from reconciler.compare import Action
from reconciler.dialects import MERGE_NULL
from reconciler.document import AcceptedPart, Document, Reason, finding
from reconciler.errors import Fault, Location, Problem
from reconciler.events import Outcome, OutcomeStatus
from reconciler.model import Base, Observed, Ref, Unread
from reconciler.render import ANY_ROOM, junit, markdown, rendered
from reconciler.words import plain

VERDICTS = ("failure", "error", "skipped")


def render(document):
    return junit.render(document, ANY_ROOM)


def read(document):
    """Return the report as a parser reads it, once it is as every reader expects it."""
    text = render(document)
    assert not any(line.lstrip().startswith("::") for line in text.splitlines())
    root = ET.fromstring(text)
    (suite,) = root
    assert [root.tag, suite.tag] == ["testsuites", "testsuite"]
    cases = suite.findall("testcase")
    counted = {
        "tests": len(cases),
        "failures": len(suite.findall("testcase/failure")),
        "errors": len(suite.findall("testcase/error")),
        "skipped": len(suite.findall("testcase/skipped")),
    }
    for element in (root, suite):
        assert {name: int(element.get(name)) for name in counted} == counted
        assert element.get("time") is None
    for case in cases:
        assert {"classname", "name"} <= set(case.attrib) <= {"classname", "name", "file", "line"}
        assert sum(child.tag in VERDICTS for child in case) <= 1
    assert cases
    return suite


def verdicts(document):
    """Return how each test case went, by its name."""
    return {
        case.get("name"): next((child.tag for child in case if child.tag in VERDICTS), "passed")
        for case in read(document).findall("testcase")
    }


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_report_is_as_in_the_golden_file(name):
    hold(f"{name}.junit.xml", render(DOCUMENTS[name]))


def test_every_golden_report_belongs_to_a_document():
    assert {file.name.removesuffix(".junit.xml") for file in GOLDEN.glob("*.junit.xml")} == set(DOCUMENTS)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_counts_agree_with_the_elements(name):
    read(DOCUMENTS[name])


@pytest.mark.parametrize("name", ["plan_of_nothing", "plan_nothing_to_do", "validate", "drift_none"])
def test_a_report_about_nothing_has_the_run_as_its_test_case(name):
    assert verdicts(DOCUMENTS[name]) == {DOCUMENTS[name].kind: "passed"}


# --- verdicts ---------------------------------------------------------------------------------------------------------


def test_changes_of_a_plan_pass_and_say_what_will_be_done():
    document = DOCUMENTS["plan_with_base"]
    assert verdicts(document) == {"thread/thread_abc": "passed", "thread/thread_def": "passed"}
    case = read(document).find("testcase")
    assert case.attrib == {
        "classname": "thread", "name": "thread/thread_abc", "file": "manifests/support.yaml", "line": "8",
    }  # fmt: skip
    assert case.findtext("system-out") == 'plan: "silver" → "gold" (drift)\nteam: add "support" (pending)'


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("plan", {"thread/thread_abc": "passed", "thread/thread_def": "failure"}),
        (
            "plan_all",
            {"thread/thread_abc": "passed", "thread/thread_def": "failure", "thread/thread_ghi": "passed"},
        ),
        (
            "plan_missing",
            {"thread/thread_abc": "passed", "thread/thread_def": "failure", "thread/thread_gone": "failure"},
        ),
        ("plan_missing_warned", {"thread/thread_gone": "skipped"}),
        ("plan_failed", {"thread/thread_slow": "error"}),
        ("drift", {"thread/thread_abc": "failure", "thread/thread_gone": "failure"}),
        ("apply", {"thread/thread_abc": "passed"}),
        (
            "apply_incomplete",
            {
                "thread/thread_abc": "failure",
                "thread/thread_def": "failure",
                "thread/thread_ghi": "failure",
                "thread/thread_jkl": "failure",
            },
        ),
        ("validate_invalid", {"manifests/support.yaml:3:12: not_a_string": "failure", "no_key": "failure"}),
    ],
)
def test_what_fails_is_what_went_wrong(name, expected):
    assert verdicts(DOCUMENTS[name]) == expected


@pytest.mark.parametrize("status", OutcomeStatus)
def test_an_outcome_that_is_not_applied_is_a_failure(status):
    outcome = Outcome(Ref("thread", "thread_abc"), status, Fault("x", "because of that"), reads=1)
    document = planned(RICH[0], kind="apply", outcomes=outcomes(outcome), errors=[Problem("missing", "one is missing")])
    expected = "passed" if status is OutcomeStatus.APPLIED else "failure"
    assert verdicts(document)["thread/thread_abc"] == expected


def test_an_apply_that_was_refused_skips_what_it_would_have_written():
    document = planned(RICH[0], kind="apply", errors=[Problem("guard_refused", "too much")])
    assert verdicts(document) == {"thread/thread_abc": "skipped", "guard_refused": "error"}


def test_drift_that_is_accepted_is_no_failure():
    document = planned(RICH[0], rules=MERGE_NULL, remembered=Base({"plan": "gold", "team": "a"}), kind="drift")
    accepted = {"accepted": AcceptedPart(until="2026-12-31", reason="known")}
    assert verdicts(document) == {"thread/thread_abc": "failure"}
    assert verdicts(told(document, plan=accepted)) == {"thread/thread_abc": "failure"}
    assert verdicts(told(document, plan=accepted, team=accepted)) == {"thread/thread_abc": "passed"}


def test_an_id_that_never_was_there_is_missing_in_a_drift_report_too():
    never = planned(MISSING, kind="drift", exit_code=1)
    error = finding(Problem("missing", "thread/thread_gone: No thread found", at(40)))
    changes = [change.model_copy(update={"action": Action.FAILED}) for change in never.changes]
    summary = never.summary.model_copy(update={"missing": 0, "failed": 1})
    never = never.model_copy(update={"changes": tuple(changes), "summary": summary, "errors": (error,)})
    assert verdicts(never) == {"thread/thread_gone": "failure"}
    assert "1 resource missing, 1 resource looked at" in render(never)
    assert "| missing |" in markdown.render(never)
    for form in ("text", "markdown", "html", "junit"):
        assert "missing" in rendered(never, form)
        assert not re.search(r"\b1 failed|failed to read</dt>|\| failed \||badge bad\">failed", rendered(never, form))


def test_what_the_run_refused_to_read_is_an_error_of_each_resource():
    refused = (desired("thread_abc", {"plan": "gold"}), Unread(Fault("unauthorized", "The API answered 401")))
    document = planned(refused, errors=[Problem("unauthorized", "The API answered 401")])
    assert verdicts(document) == {"thread/thread_abc": "error", "unauthorized": "error"}


def test_problems_at_one_place_have_names_of_their_own():
    errors = [Problem("bad_id", f"wrong {number}", at(3)) for number in range(3)]
    document = Document(kind="validate", errors=tuple(map(finding, errors)))
    assert len(verdicts(document)) == 3


def test_an_error_of_a_resource_is_told_in_its_test_case_only():
    suite = read(DOCUMENTS["plan_missing"])
    assert len(suite.findall("testcase")) == len(DOCUMENTS["plan_missing"].changes)
    assert "No thread found (request req_7)" in suite.find("testcase/failure[@type='missing']").text


def test_files_are_named_from_the_top_of_the_repository():
    case = read(DOCUMENTS["plan_marked"]).find("testcase")
    assert case.get("file") == "ops/threads/manifests/support.yaml"


def test_what_the_run_ended_with_is_told():
    assert "Exit code 2." in read(DOCUMENTS["drift"]).findtext("system-out")


# --- strangers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("nasty", NASTY)
def test_whatever_a_stranger_writes_it_is_xml_and_visible(nasty):
    document = planned(
        (desired(nasty, {nasty: nasty}), Observed({nasty: "other"})),
        MISSING,
        errors=[Problem("rejected", nasty, Location(nasty, 1, 1))],
        notes=(Reason(code="x", message=nasty),),
        kind="apply",
        outcomes=outcomes(Outcome(Ref("thread", nasty), OutcomeStatus.FAILED, Fault("x", nasty), lost={nasty: nasty})),
    )
    suite = read(document)
    case = next(case for case in suite.findall("testcase") if case.get("name") == plain(f"thread/{nasty}"))
    assert plain(f"failed: {nasty}") in case.find("failure").text
    known = {"testsuite", "testcase", "failure", "error", "skipped", "system-out"}
    assert {element.tag for element in suite.iter()} <= known


@given(documents)
def test_every_document_gives_a_report(document):
    read(document)
