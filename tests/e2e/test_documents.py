"""What a run says: every command in every format, held against the contract's section 5."""

import json
import re

import pytest
from scratch import Answer, Api, Scratch, staged

from reconciler import __version__
from reconciler.kinds import KINDS

MANIFEST = """\
defaults:
  metadata: {team: support}
threads:
  thread_busy:
    metadata:
      plan: gold
      tier: "1"
      trial: null
  thread_calm:
    metadata: {plan: gold}
  thread_gone:
    metadata: {plan: gold}
  thread_safe:
    metadata: {legacy: null, plan: free}
    protect: true
conversations:
  conv_1:
    metadata: {topic: billing, draft: null}
"""
HELD = {
    "thread/thread_busy": {"team": "support", "plan": "silver", "trial": "yes", "seen": "bot"},
    "thread/thread_calm": {"team": "support", "plan": "gold"},
    "thread/thread_safe": {"team": "support", "plan": "paid", "legacy": "x"},
    "conversation/conv_1": {"team": "support", "topic": "billing", "draft": "yes"},
}
TOLD = "writes: {thread: replace, conversation: merge}"
UNKNOWN = {"known": False, "value": None}


def at(line, column):
    return {"file": "manifests/m.yaml", "line": line, "column": column}


def row(key, op, before, after, place, blocked=None):
    return {
        "key": key, "op": op, "before": before, "after": after, "cause": "unattributed",
        "blocked": blocked, "base": UNKNOWN, "source": place,
    }  # fmt: skip


BUSY = {
    "kind": "thread", "id": "thread_busy", "action": "update", "dialect": "replace", "source": at(5, 3),
    "observed": {"team": "support", "plan": "silver", "trial": "yes", "seen": "bot"},
    "planned": {"team": "support", "plan": "gold", "tier": "1", "seen": "bot"},
    "foreign": ["seen"],
    "fields": [
        row("plan", "replace", "silver", "gold", at(7, 7)),
        row("tier", "add", None, "1", at(8, 7)),
        row("trial", "remove", "yes", None, at(9, 7)),
    ],
}  # fmt: skip
SAFE = {
    "kind": "thread", "id": "thread_safe", "action": "update", "dialect": "replace", "source": at(14, 3),
    "observed": {"team": "support", "plan": "paid", "legacy": "x"},
    "planned": {"team": "support", "plan": "free", "legacy": "x"},
    "foreign": [],
    "fields": [
        row("legacy", "remove", "x", None, at(15, 16), "protected"),
        row("plan", "replace", "paid", "free", at(15, 30)),
    ],
}  # fmt: skip
CONVERSATION = {
    "kind": "conversation", "id": "conv_1", "action": "update", "dialect": "merge", "source": at(18, 3),
    "observed": {"team": "support", "topic": "billing", "draft": "yes"},
    "planned": {"team": "support", "topic": "billing", "draft": "yes"},
    "foreign": [],
    "fields": [row("draft", "remove", "yes", None, at(19, 32), "unremovable")],
}  # fmt: skip
GONE = {
    "kind": "thread", "id": "thread_gone", "action": "missing", "dialect": "replace", "source": at(12, 3),
    "observed": None, "planned": None, "foreign": [], "fields": [],
}  # fmt: skip
CALM = {
    "kind": "thread", "id": "thread_calm", "action": "keep", "dialect": "replace", "source": at(10, 3),
    "observed": {"team": "support", "plan": "gold"}, "planned": {"team": "support", "plan": "gold"},
    "foreign": [], "fields": [],
}  # fmt: skip
SUMMARY = {
    "resources": 5, "update": 3, "keep": 1, "missing": 1, "failed": 0, "blocked": 2, "released": 0,
    "pairs": {"add": 1, "replace": 2, "remove": 3},
    "causes": {"pending": 0, "drift": 0, "conflict": 0, "unattributed": 6},
}  # fmt: skip


def essence(change):
    """Return a change as the contract lists it: a reason by its code, without fingerprint and what was declared."""
    part = {name: change[name] for name in BUSY}
    part["fields"] = [{**each, "blocked": each["blocked"] and each["blocked"]["code"]} for each in change["fields"]]
    return part


def only_missing(err):
    """Tell whether standard error has the line about the request that found an id missing, and at most a forecast."""
    line = r"thread/thread_gone: missing \(request req_\w+\)\n"
    return re.fullmatch(rf"{line}(Forecast of an apply: \d+ reads, \d+ writes?, about \d+ s\.\n)?", err) is not None


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    with staged(tmp_path_factory.mktemp("rich"), MANIFEST, Api(HELD), TOLD) as rich:
        yield rich


@pytest.fixture(scope="module")
def planned(stage):
    done = stage.run("plan --format json --out json=plan.json --out text=plan.txt")
    assert (done.code, only_missing(done.err)) == (1, True)
    return done


@pytest.fixture(scope="module")
def told(stage):
    """Return the plan as text, with resources that stay as they are."""
    return stage.run("plan --all --out json=all.json")


# --- plan, json -------------------------------------------------------------------------------------------------------


def test_the_document_says_where_it_was_made(planned, stage):
    document = planned.document
    assert (document["format_version"], document["tool_version"]) == ("1.0", __version__)
    assert document["kind"] == "plan"
    assert document["target"] == {"name": "test", "provider": "openai", "base_url": stage.url}
    assert document["head"] == {"commit": None, "dirty": None}
    assert document["base"] == {"revision": None, "commit": None}


def test_the_document_has_the_sums(planned):
    assert planned.document["summary"] == SUMMARY
    assert planned.document["requests"] == {"reads": 5, "writes": 2}


def test_the_document_lists_what_differs_sorted_by_kind_and_id(planned):
    assert list(map(essence, planned.document["changes"])) == [CONVERSATION, BUSY, GONE, SAFE]


def test_resources_that_stay_as_they_are_are_listed_when_asked_for(told, stage):
    document = json.loads(stage.scratch.read("all.json"))
    assert list(map(essence, document["changes"])) == [CONVERSATION, BUSY, CALM, GONE, SAFE]
    assert document["summary"] == SUMMARY


def test_a_blocked_field_says_why(planned):
    reasons = [each["blocked"] for change in planned.document["changes"] for each in change["fields"]]
    assert all(set(reason) == {"code", "message"} and reason["message"] for reason in reasons if reason)


def test_a_missing_id_is_an_error_with_its_place(planned):
    [error] = planned.document["errors"]
    assert (error["code"], error["source"]) == ("missing", at(12, 3))
    assert "thread_gone" in error["message"]
    assert planned.document["released"] == []


def test_each_resource_that_was_read_has_a_fingerprint(planned):
    prints = {each["id"]: each["fingerprint"] for each in planned.document["changes"]}
    assert prints.pop("thread_gone") is None
    assert all(re.fullmatch("sha256:[0-9a-f]{64}", value) for value in prints.values())


def test_the_same_state_gives_the_same_bytes_and_the_file_has_them_too(planned, stage):
    line = "plan --select thread/thread_busy --select conversation/* --format json"
    once, again = stage.run(f"{line} --out json=again.json"), stage.run(f"{line} --parallelism 1")
    assert once.out == again.out == stage.scratch.read("again.json")
    assert re.fullmatch("sha256:[0-9a-f]{64}", once.document["digest"])


def test_the_same_state_gives_the_same_bytes_where_an_id_is_missing_too(planned, stage):
    assert stage.run("plan --format json --parallelism 1").out == planned.out


# --- plan, text -------------------------------------------------------------------------------------------------------


def test_the_text_has_a_row_for_each_field_with_sign_cause_and_place(told):
    rows = [line.split() for line in told.lines]
    assert ["~", "plan", '"silver"', "→", '"gold"', "unattributed", "manifests/m.yaml:7:7"] in rows
    assert ["+", "tier", '"1"', "unattributed", "manifests/m.yaml:8:7"] in rows
    assert ["-", "trial", '"yes"', "unattributed", "manifests/m.yaml:9:7"] in rows


def test_the_text_names_resources_foreign_keys_and_what_is_blocked(told):
    assert any("thread/thread_busy" in line and "manifests/m.yaml:5:3" in line for line in told.lines)
    assert any("thread/thread_calm" in line for line in told.lines)
    assert any("foreign" in line and "seen" in line for line in told.lines)
    assert len([line for line in told.lines if "blocked" in line and "(protected)" in line]) == 1
    assert len([line for line in told.lines if "blocked" in line and "(unremovable)" in line]) == 1
    assert any("thread_gone" in line and "manifests/m.yaml:12:3" in line for line in told.lines)


def test_the_summary_is_the_last_line(told, stage):
    assert "3 to update (+1 ~2 -3)" in told.lines[-1]
    assert "1 missing" in told.lines[-1]
    assert "2 fields blocked" in told.lines[-1]
    quiet = stage.run("plan --quiet").lines
    assert (len(quiet), "thread_gone" in quiet[0], quiet[-1]) == (2, True, told.lines[-1])


def test_the_text_names_the_base_that_it_used(told):
    assert "base" in told.lines[0]
    assert "unknown" in told.lines[0]


def test_a_file_has_the_text_without_colours(told, stage, planned):
    done = stage.run("plan --color always --out text=bare.txt")
    assert "\x1b[" in done.out
    assert re.sub(r"\x1b\[[0-9;]*m", "", done.out) == stage.scratch.read("bare.txt")


def test_nothing_to_do_is_one_line(tmp_path):
    with staged(
        tmp_path, "threads:\n  thread_1:\n    metadata: {a: x}\n", Api({"thread/thread_1": {"a": "x"}})
    ) as calm:
        done, applied = calm.run("plan --out text=plan.txt"), calm.run("apply --yes --out text=apply.txt")
        assert (len(done.lines), done.err) == (1, "")
        assert "Nothing to do" in done.out
        assert (applied.lines, applied.err) == (done.lines, "")
        assert calm.scratch.read("plan.txt") == calm.scratch.read("apply.txt") == done.out


# --- show -------------------------------------------------------------------------------------------------------------


def test_a_saved_plan_is_shown_in_any_format_as_the_plan_was(planned, stage):
    shown = stage.run("show plan.json --format json --out text=shown.txt")
    assert (shown.code, shown.out, shown.err) == (0, planned.out, "")
    text = stage.scratch.read("plan.txt")
    assert stage.run("show plan.json").out == stage.scratch.read("shown.txt") == text


# --- validate ---------------------------------------------------------------------------------------------------------

INVALID = """\
threads:
  thread_1:
    metadata: {count: 7, when: 2026-01-01}
  thread_2:
    metdata: {}
"""


@pytest.mark.parametrize(
    ("manifest", "code", "problems"),
    [(MANIFEST, 0, []), (INVALID, 3, [(4, 23), (4, 32), (6, 5)])],
    ids=["in order", "invalid"],
)
def test_a_validation_has_every_problem_with_its_place_in_every_format(manifest, code, problems, tmp_path):
    with staged(tmp_path, manifest, Api()) as stage:
        done = stage.run("validate --format json --out json=v.json --out text=v.txt")
        text = stage.run("validate")
        assert (done.code, text.code, done.err, text.err) == (code, code, "", "")
        assert done.out == stage.scratch.read("v.json")
        assert text.out == stage.scratch.read("v.txt")
    assert not problems or "metadata" in text.lines[-2], "the closest match is told"
    assert done.document["kind"] == "validate"
    assert [each["source"] for each in done.document["errors"]] == [at(*place) for place in problems]
    rows = [line.split(" ")[0] for line in text.lines[:-1]]
    assert rows == [f"manifests/m.yaml:{line}:{column}:" for line, column in problems]


# --- apply ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def applied(tmp_path_factory):
    api = Api(HELD, {"thread": "replace", "conversation": "merge"})
    with staged(tmp_path_factory.mktemp("applied"), MANIFEST, api, TOLD) as rich:
        done = rich.run("apply --yes --format json --out json=a.json --out text=a.txt")
        yield done, rich


def test_an_apply_document_has_the_plan_and_what_became_of_it(applied):
    done, _ = applied
    assert (done.code, only_missing(done.err)) == (4, True)
    assert done.document["kind"] == "apply"
    assert done.document["summary"] == SUMMARY
    assert list(map(essence, done.document["changes"])) == [CONVERSATION, BUSY, GONE, SAFE]
    assert [(each["kind"], each["id"], each["outcome"]) for each in done.document["outcomes"]] == [
        ("conversation", "conv_1", "blocked"),
        ("thread", "thread_busy", "applied"),
        ("thread", "thread_gone", "missing"),
        ("thread", "thread_safe", "blocked"),
    ]


def test_an_outcome_says_why_and_with_how_many_calls(applied):
    outcomes = applied[0].document["outcomes"]
    assert [each["error"] and each["error"]["code"] for each in outcomes] == [
        "unremovable",
        None,
        "missing",
        "protected",
    ]
    assert [each["requests"]["writes"] for each in outcomes] == [0, 1, 0, 1]
    assert applied[0].document["requests"]["writes"] == 2 == len(applied[1].api.bodies)
    assert applied[0].document["requests"]["reads"] == len(applied[1].api.sent("GET"))


def test_an_apply_is_the_same_in_files(applied):
    done, stage = applied
    assert stage.scratch.read("a.json") == done.out
    text = stage.scratch.read("a.txt").splitlines()
    assert "1 applied" in text[-1]
    assert "2 blocked" in text[-1]
    assert any("conversation/conv_1" in line and "draft" in line and "blocked" in line for line in text)


def test_an_apply_document_has_outcomes_whatever_happened(tmp_path):
    with staged(tmp_path, INVALID, Api()) as stage:
        done = stage.run("apply --yes --format json")
    assert done.code == 3
    assert len(done.document["errors"]) == 3
    assert done.document["outcomes"] == []


# --- kinds ------------------------------------------------------------------------------------------------------------


def test_the_kinds_are_listed_in_both_formats(tmp_path):
    scratch = Scratch(tmp_path)
    rows = json.loads(scratch.run("kinds --format json").out)
    assert [each["kind"] for each in rows] == list(KINDS)
    lines = scratch.run("kinds").lines
    assert [line.split()[0] for line in lines[1:]] == list(KINDS)


def test_the_kinds_tell_what_is_confirmed_from_what_is_likely(tmp_path):
    scratch = Scratch(tmp_path)
    rows = {
        each["kind"]: (each["writes"], each["confirmed"]) for each in json.loads(scratch.run("kinds --format json").out)
    }
    lines = {line.split()[0]: re.split(r"\s{2,}", line)[4] for line in scratch.run("kinds").lines}
    assert (rows["agent"], lines["agent"]) == (("replace", True), "replace")
    assert (rows["message"], lines["message"]) == (("merge", False), "auto (likely merge)")
    assert (rows["eval"], lines["eval"]) == (("auto", False), "auto")


# --- what strangers wrote ---------------------------------------------------------------------------------------------

HOSTILE = {
    "escape": "\x1b[2J\x1b]0;owned\x07",
    "lines": "a\nb\r\nc\u2028d\u2029e\x85f\x0bg\x0ch",
    "bidi": "\u202eexe.\u2066txt\u200f\u061c",
    "zero": "nul\x00 bell\x07 back\x08",
    "delete": "\x7f",
    "c1": "\x9b31m",
    "tag": "\U000e0041 \ufeff\u200b",
    "half": "\ud800",
    "bad\x1b[31m\nkey\u202e\x7f": "x",
}
RAW = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff\U000e0000-\U000e007f]"
)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """Give a stage where everything that others can write tries to get out of its place."""
    message = "no\x1b[31m \u202e\x7f\n good"
    answers = {
        "GET /v1/threads/thread_1": [Answer(200, {"id": "thread_1", "object": "thread", "metadata": HOSTILE})],
        "GET /v1/threads/thread_2": [Answer(400, {"error": {"message": message, "code": "bad\x1b[31m"}})],
    }
    keys = ["escape", "lines", "bidi", "zero", "delete", "c1", "tag", "half"]
    manifest = f"""\
threads:
  thread_1:
    metadata: {{{", ".join(f"{key}: harmless" for key in keys)}}}
  thread_2:
    metadata: {{a: b}}
"""
    with staged(tmp_path_factory.mktemp("hostile"), manifest, Api(instead=answers)) as stage:
        yield stage


@pytest.mark.parametrize("command", ["plan --all --verbose", "apply --yes"])
def test_nothing_that_strangers_wrote_is_printed_raw(command, hostile):
    done = hostile.run(f"{command} --out json=h.json --out text=h.txt")
    printed = {
        "stdout": done.out,
        "stderr": done.err,
        "json": hostile.scratch.read("h.json"),
        "text": hostile.scratch.read("h.txt"),
    }
    assert {place: sorted(set(RAW.findall(text))) for place, text in printed.items() if RAW.search(text)} == {}
    assert "thread_1" in done.out
    assert printed["json"].isascii()


def test_what_strangers_wrote_arrives_in_the_document_unchanged(hostile):
    done = hostile.run("plan --format json")
    assert done.document["changes"][0]["observed"] == HOSTILE
    assert RAW.findall(done.out + done.err) == []


def test_a_plan_file_of_a_stranger_is_harmless_too(tmp_path):
    scratch = Scratch(tmp_path)
    scratch.write("p.json", json.dumps({"format_version": "\x1b[2J\u202e9", "digest": "\x1b[2J"}))
    done = scratch.run("show p.json")
    assert done.code == 3
    assert RAW.findall(done.out + done.err) == []


def test_an_output_without_arrows_is_no_reason_to_crash(stage):
    done = stage.run("plan", {"PYTHONIOENCODING": "latin-1"})
    assert done.code == 1
    assert "\\u2192" in done.out
