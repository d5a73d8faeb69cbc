"""The SARIF log, held against golden files and against the schema that OASIS publishes.

After a wanted change: `UPDATE_GOLDEN=1 pytest tests/unit/test_render_sarif.py`, then read the difference.
"""

import json
from pathlib import Path
from urllib.parse import unquote

import pytest
from documents import DOCUMENTS, GOLDEN, RICH, at, desired, hold, outcomes, planned
from hypothesis import HealthCheck, given, settings
from jsonschema import Draft4Validator
from nasty import NASTY, documents

from reconciler.dialects import MERGE_NULL
from reconciler.document import Document, Head, Reason, TargetPart, finding
from reconciler.errors import Fault, Location, Problem
from reconciler.events import Outcome, OutcomeStatus
from reconciler.model import Base, Missing, Observed, Ref, Unread
from reconciler.render import ANY_ROOM, sarif

SCHEMA = json.loads((Path(__file__).parents[1] / "schemas" / "sarif-2.1.0.json").read_text(encoding="utf-8"))
VALIDATOR = Draft4Validator(SCHEMA, format_checker=Draft4Validator.FORMAT_CHECKER)


def render(document):
    return sarif.render(document, ANY_ROOM)


def run(document, *, valid=True):
    """Return the one run of the log, once the schema and what code scanning asks for beyond it hold."""
    text = render(document)
    assert text.isascii()
    log = json.loads(text)
    if valid:
        assert not list(VALIDATOR.iter_errors(log))
    (found,) = log["runs"]
    rules = [rule["id"] for rule in found["tool"]["driver"]["rules"]]
    assert len(set(rules)) == len(rules)
    for result in found["results"]:
        assert rules[result["ruleIndex"]] == result["ruleId"]
        (location,) = result["locations"]
        uri = location["physicalLocation"]["artifactLocation"]["uri"]
        assert not uri.startswith("/")
        assert ":" not in uri
        assert ".." not in uri.split("/")
        assert location["physicalLocation"]["region"]["startLine"] >= 1
    marks = [result["partialFingerprints"]["reconcilerFinding/v1"] for result in found["results"]]
    assert len(set(marks)) == len(marks)
    return found


def results(document):
    return [(each["ruleId"], each["level"]) for each in run(document)["results"]]


def notifications(document):
    (invocation,) = run(document)["invocations"]
    return [(each["descriptor"]["id"], each["level"]) for each in invocation["toolExecutionNotifications"]]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_log_is_as_in_the_golden_file(name):
    hold(f"{name}.sarif", render(DOCUMENTS[name]))


def test_every_golden_log_belongs_to_a_document():
    assert {file.stem for file in GOLDEN.glob("*.sarif")} == set(DOCUMENTS)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_schema_holds(name):
    run(DOCUMENTS[name])


def test_the_schema_refuses_what_is_no_log():
    log = json.loads(render(DOCUMENTS["drift"]))
    log["runs"][0]["results"][0]["locations"][0]["physicalLocation"]["region"]["startLine"] = 0
    assert list(VALIDATOR.iter_errors(log))


# --- results ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("plan", [("blocked", "error"), ("unattributed", "note"), ("unattributed", "note")]),
        ("plan_with_base", [("drift", "warning"), ("pending", "note"), ("pending", "note")]),
        ("plan_missing_warned", [("missing", "warning")]),
        ("plan_failed", [("timeout", "error")]),
        ("drift", [("missing", "warning"), ("drift", "warning"), ("conflict", "note")]),
        ("apply_incomplete", [("stale", "error"), ("failed", "error")]),
        ("validate_invalid", [("not_a_string", "error")]),
        ("plan_nothing_to_do", []),
    ],
)
def test_findings_are_results_of_a_rule_at_a_level(name, expected):
    assert results(DOCUMENTS[name]) == expected


def test_what_has_no_place_is_a_notification():
    assert notifications(DOCUMENTS["validate_invalid"]) == [("no_key", "error")]
    assert notifications(DOCUMENTS["apply_incomplete"]) == [("not_attempted", "error")]
    assert notifications(DOCUMENTS["plan_notes"]) == [("no_ledger", "note"), ("unfinished", "note")]


def test_each_resource_that_a_run_did_not_come_to_is_a_result_at_its_place():
    """What was uploaded before is closed where the next log does not have it."""
    fault = Fault("not_attempted", "not attempted: the target refuses us")
    refused = desired("thread_def", {"plan": "gold"}, 20), Unread(fault)
    halted = Outcome(Ref("thread", "thread_abc"), OutcomeStatus.NOT_ATTEMPTED, fault)
    for document in (
        planned(RICH[0], refused, kind="apply", outcomes=outcomes(halted), exit_code=7),
        planned((RICH[0][0], refused[1]), refused, errors=[Problem("unauthorized", "401")], exit_code=7),
    ):
        found = [result for result in run(document)["results"] if result["ruleId"] == "not_attempted"]
        spots = [each["locations"][0]["physicalLocation"]["region"]["startLine"] for each in found]
        assert [each["level"] for each in found] == ["error", "error"]
        assert spots == [8, 20]
        assert all("the target refuses us" in each["message"]["text"] for each in found)
        assert ("not_attempted", "error") in notifications(document)
    many = [(desired(f"thread_{number}", {"plan": "gold"}), refused[1]) for number in range(6000)]
    assert len(run(planned(*many), valid=False)["results"]) == 5000


def test_every_rule_says_what_to_do():
    rules = run(DOCUMENTS["plan_failed"])["tool"]["driver"]["rules"]
    assert {"drift", "conflict", "pending", "unattributed", "blocked", "missing", "timeout"} <= {r["id"] for r in rules}
    assert all(rule["help"]["text"] and rule["shortDescription"]["text"] for rule in rules)


def test_an_error_with_a_code_of_its_own_has_a_rule():
    document = Document(kind="validate", errors=(finding(Problem("brand_new", "wrong", at(3))),))
    assert run(document)["tool"]["driver"]["rules"][-1]["id"] == "brand_new"


def test_accepted_drift_is_suppressed_for_its_reason():
    accepted = run(DOCUMENTS["drift"])["results"][-1]
    assert accepted["suppressions"] == [{"kind": "inSource", "justification": "moves with the new team"}]


def test_what_a_change_asks_for_is_a_property():
    found = run(DOCUMENTS["plan_marked"])["results"]
    assert [each["properties"]["introduced"] for each in found] == [True, False, False]


@pytest.mark.parametrize(
    ("prefix", "file", "expected"),
    [
        (None, "manifests/a b.yaml", "manifests/a%20b.yaml"),
        ("ops/é", "m#1?.yaml", "ops/%C3%A9/m%231%3F.yaml"),
        (None, "c:/x%.yaml", "c%3A/x%25.yaml"),
        ("ops", "../m.yaml", "m.yaml"),
    ],
)
def test_places_are_uris_below_the_top_of_the_repository(prefix, file, expected):
    document = Document(
        kind="validate", head=Head(prefix=prefix), errors=(finding(Problem("x", "wrong", Location(file, 3, 7))),)
    )
    (result,) = run(document)["results"]
    place = result["locations"][0]["physicalLocation"]
    assert place == {
        "artifactLocation": {"uri": expected, "uriBaseId": "%SRCROOT%"},
        "region": {"startLine": 3, "startColumn": 7},
    }


def test_a_file_outside_of_the_repository_is_no_place():
    errors = tuple(finding(Problem("x", "wrong", Location(file, 3, 7))) for file in ("../m.yaml", "/etc/m.yaml"))
    document = Document(kind="validate", errors=errors)
    assert run(document)["results"] == []
    assert notifications(document) == [("x", "error")] * 2


def test_the_commit_is_told_and_no_repository_invented():
    found = run(DOCUMENTS["plan_marked"])
    assert "versionControlProvenance" not in found
    assert found["properties"]["commit"] == "f" * 40


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (DOCUMENTS["plan"], True),
        (DOCUMENTS["drift"], True),
        (DOCUMENTS["plan_failed"], False),
        (DOCUMENTS["apply"].model_copy(update={"exit_code": 130}), False),
    ],
)
def test_a_run_succeeded_if_it_came_to_its_end_without_errors(document, expected):
    (invocation,) = run(document)["invocations"]
    assert invocation["executionSuccessful"] is expected
    assert invocation["exitCode"] == document.exit_code


# --- fingerprints -----------------------------------------------------------------------------------------------------


def marks(document):
    return [each["partialFingerprints"] for each in run(document)["results"]]


def test_fingerprints_stay_when_lines_and_values_move():
    base = Base({"plan": "gold"})
    here = planned((desired("thread_abc", {"plan": "gold"}, 8), Observed({"plan": "x"})), remembered=base)
    later = planned((desired("thread_abc", {"plan": "gold"}, 90), Observed({"plan": "y"})), remembered=base)
    other = planned((desired("thread_def", {"plan": "gold"}, 8), Observed({"plan": "x"})), remembered=base)
    assert marks(here) == marks(later) != marks(other)


def test_the_id_of_a_request_is_no_part_of_a_fingerprint():
    def asked(request):
        return Document(kind="plan", errors=(finding(Problem("timeout", f"late (request {request})", at(3))),))

    assert marks(asked("req_1")) == marks(asked("req_2"))


def test_a_missing_id_has_one_fingerprint_whatever_the_api_says():
    documents = [planned((desired("t", {"a": "b"}), Missing(Fault("missing", words)))) for words in ("gone", "what?")]
    assert marks(documents[0]) == marks(documents[1])


# --- limits -----------------------------------------------------------------------------------------------------------


def test_beyond_what_code_scanning_shows_the_number_left_out_is_told():
    pairs = [(desired(f"thread_{number}", {"plan": "gold"}), Observed({"plan": "x"})) for number in range(6000)]
    late = (desired("thread_zzz", {"plan": "gold", "old": "y"}), Observed({"plan": "gold", "old": "z"}))
    base = Base({"plan": "x", "old": "y"})
    document = planned(*pairs, late, rules=MERGE_NULL, remembered=base)
    found = run(document, valid=False)
    assert len(found["results"]) == 5000
    assert found["results"][0]["ruleId"] == "drift"  # the worst comes first
    (told,) = found["invocations"][0]["toolExecutionNotifications"]
    assert "1001 results left out of 6001" in told["message"]["text"]


def test_notifications_have_an_end_too():
    document = Document(kind="plan", notes=(Reason(code="x", message="y" * 10**5),) * 5000)
    told = run(document)["invocations"][0]["toolExecutionNotifications"]
    assert len(told) == 1001
    assert "4000 notifications more" in told[-1]["message"]["text"]
    assert len(render(document)) < 5_000_000


# --- strangers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("nasty", NASTY)
def test_whatever_a_stranger_writes_the_schema_holds_and_nothing_is_a_link(nasty):
    document = planned(
        (desired("thread_abc", {nasty: nasty, "link": f"[a]({nasty})"}), Observed({"link": nasty})),
        errors=[Problem("rejected", f"[a]({nasty})", Location(nasty, 1, 1))],
        kind="apply",
        outcomes=outcomes(Outcome(Ref("thread", "thread_abc"), OutcomeStatus.FAILED, Fault("x", f"[l](1) {nasty}"))),
    ).model_copy(update={"target": TargetPart(name=nasty)})
    found = run(document)
    texts = [result["message"]["text"] for result in found["results"]]
    assert not any("](" in text for text in texts)
    assert all(character.isprintable() for text in texts for character in text)
    assert not any("##[" in line or line.lstrip().startswith("::") for line in render(document).splitlines())


@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=40)
@given(documents)
def test_every_document_gives_a_log_that_the_schema_allows(document):
    found = run(document)
    for result in found["results"]:
        uri = result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
        assert uri.isascii()
        assert unquote(uri)


def test_runs_of_different_targets_do_not_replace_each_other():
    names = ["a", "b", "a/b", "é"]
    made = [run(planned(*RICH).model_copy(update={"target": TargetPart(name=name)})) for name in names]
    assert len({each["automationDetails"]["id"] for each in made}) == len(names)
