"""Every format in one run of the real command line: for what can go well and for what can go wrong."""

import json
import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from jsonschema import Draft4Validator
from scratch import Answer, Api, complaint, staged

from reconciler.render import FORMATS

SCHEMA = json.loads((Path(__file__).parents[1] / "schemas" / "sarif-2.1.0.json").read_text(encoding="utf-8"))
MANIFEST = """\
threads:
  thread_1: {metadata: {plan: gold, team: support}}
  thread_2: {metadata: {plan: gold}}
"""
HELD = {
    "thread/thread_1": {"plan": "tin", "note": "<b>@octo</b> | `x` ::error::boo"},
    "thread/thread_2": {"plan": "tin"},
}
MERGING = "writes: {thread: merge-null}"
SUFFIXES = {"markdown": "md", "junit": "xml"}
OURS = [form for form in FORMATS if form != "html"]


def outs(forms=OURS):
    """Return the options that write a file in each format."""
    return " ".join(f"--out {form}={form}.{SUFFIXES.get(form, 'out')}" for form in forms)


def check(scratch, forms=OURS):
    """Hold every file against what its readers expect; returns the texts by format."""
    texts = {form: scratch.read(f"{form}.{SUFFIXES.get(form, 'out')}") for form in forms}
    kind = json.loads(texts["json"])["kind"]
    assert texts["markdown"].startswith(f"<!-- reconciler:{kind}:")
    assert len(texts["markdown"].encode()) <= 65_536
    suite = ET.fromstring(texts["junit"])[0]
    assert int(suite.get("tests")) == len(suite.findall("testcase")) > 0
    assert not list(Draft4Validator(SCHEMA).iter_errors(json.loads(texts["sarif"])))
    commands = [line for line in texts["github"].splitlines() if line.lstrip().startswith("::")]
    assert all(re.match(r"::(error|warning|notice) ", line) for line in commands)
    assert all(text.endswith("\n") for text in texts.values())
    return texts


@pytest.fixture
def stage(tmp_path):
    with staged(tmp_path, MANIFEST, Api(HELD, {"thread": "merge-null"}), MERGING) as made:
        made.scratch.write(".gitignore", "*.out\n*.md\n*.xml\n.reconciler/\n")
        made.scratch.commit()
        yield made


def test_a_plan_is_written_in_every_format(stage):
    done = stage.run(f"plan {outs()}")
    assert done.code == 0
    texts = check(stage.scratch)
    assert done.out == texts["text"]
    assert "::notice file=manifests/m.yaml,line=3," in texts["github"]
    assert "**Plan: 2 to update (`+1 ~2 -0`)" in texts["markdown"]


def test_an_apply_is_written_in_every_format_and_so_is_the_next_one_that_has_nothing_to_do(stage):
    assert stage.run(f"apply --yes {outs()}").code == 0
    assert "**Applied: 2 applied, 2 modify calls;" in check(stage.scratch)["markdown"]
    assert stage.run(f"apply --yes {outs()}").code == 0
    texts = check(stage.scratch)
    assert texts["markdown"].splitlines()[1].startswith("Nothing to do: 2 resources as declared")
    assert texts["github"] == "Nothing to do: 2 resources as declared.\n"


def test_drift_is_written_in_every_format(stage):
    assert stage.run("apply --yes").code == 0
    stage.api.put("thread/thread_1", {"plan": "<i>@x</i>", "team": "support"})
    assert stage.run(f"drift {outs()}").code == 2
    texts = check(stage.scratch)
    assert texts["github"].startswith("::warning file=manifests/m.yaml,line=3,col=")
    assert "Exit code 2." in texts["markdown"]
    assert ET.fromstring(texts["junit"]).get("failures") == "1"
    assert json.loads(texts["sarif"])["runs"][0]["results"][0]["ruleId"] == "drift"


def test_a_validation_is_written_in_every_format_and_names_every_problem(stage):
    assert stage.run(f"validate {outs()}").code == 0
    check(stage.scratch)
    stage.scratch.manifest("threads:\n  thread_1: {metadata: {a: 5, b: true}}\n")
    assert stage.run(f"validate {outs()}").code == 3
    texts = check(stage.scratch)
    assert texts["github"].count("::error file=manifests/m.yaml,line=3,") == 2
    assert ET.fromstring(texts["junit"]).get("failures") == "2"
    assert len(json.loads(texts["sarif"])["runs"][0]["results"]) == 2
    assert "**Invalid: 2 problems.** Exit code 3." in texts["markdown"]


@pytest.mark.parametrize("command", ["plan", "apply --yes", "drift"])
def test_every_file_is_written_when_a_manifest_is_invalid(stage, command):
    stage.scratch.manifest("threads:\n  thread_1: {metadata: {a: 5}}\n")
    assert stage.run(f"{command} {outs()}").code == 3
    texts = check(stage.scratch)
    assert "::error file=manifests/m.yaml,line=3,col=" in texts["github"]
    assert "Exit code 3." in texts["markdown"]
    assert stage.api.calls == []


def test_every_file_is_written_when_a_guard_refuses(tmp_path):
    manifest = "threads:\n" + "".join(f"  thread_{number}: {{metadata: {{plan: gold}}}}\n" for number in range(12))
    held = {f"thread/thread_{number}": {"plan": "tin"} for number in range(12)}
    with staged(tmp_path, manifest, Api(held, {"thread": "merge-null"}), MERGING) as made:
        assert made.run(f"apply --yes {outs()}").code == 6
        texts = check(made.scratch)
    assert "title=guard_refused" in texts["github"]
    assert "**Apply incomplete: 12 not attempted, 0 modify calls; planned: 12 to update" in texts["markdown"]
    assert ET.fromstring(texts["junit"]).get("failures") == "12"
    assert made.api.bodies == []


def test_every_file_is_written_when_the_target_refuses_us(tmp_path):
    refusal = complaint(401, "no <script>@octo</script> | here")
    instead = {f"GET /v1/threads/thread_{number}": [refusal] for number in (1, 2)}
    with staged(tmp_path, MANIFEST, Api(HELD, {"thread": "merge-null"}, instead), MERGING) as made:
        assert made.run(f"plan {outs()}").code == 7
        texts = check(made.scratch)
    assert "Exit code 7." in texts["markdown"]
    assert "<script>" not in texts["markdown"]


def test_every_file_is_written_when_a_write_fails(tmp_path):
    instead = {"POST /v1/threads/thread_1": [Answer(400, {"error": {"message": "::error::no"}})]}
    with staged(tmp_path, MANIFEST, Api(HELD, {"thread": "merge-null"}, instead), MERGING) as made:
        assert made.run(f"apply --yes {outs()}").code == 4
        texts = check(made.scratch)
    assert "::error file=manifests/m.yaml,line=3,col=3,title=thread/thread_1%3A failed::" in texts["github"]
    assert ET.fromstring(texts["junit"]).get("failures") == "1"
    assert "1 applied, 1 failed" in texts["markdown"]


def test_every_file_is_written_for_wrong_usage(stage):
    assert stage.run(f"plan --select nothing {outs()}").code == 64
    assert "Exit code 64." in check(stage.scratch)["markdown"]


@pytest.mark.parametrize("form", [form for form in OURS if form != "text"])
def test_a_saved_plan_is_shown_as_the_run_itself_wrote_it(stage, form):
    assert stage.run(f"plan {outs()}").code == 0
    shown = stage.run(f"show json.out --format {form}")
    assert shown.code == 0
    assert shown.out == check(stage.scratch)[form]


def test_masked_values_are_in_no_format(tmp_path):
    manifest = MANIFEST.replace("team: support", "token_of: hunter22")
    with staged(tmp_path, manifest, Api(HELD, {"thread": "merge-null"}), f"{MERGING}, mask: [token_of]") as made:
        assert made.run(f"plan {outs()}").code == 0
        texts = check(made.scratch)
    assert not any("hunter22" in text for text in texts.values())
    assert "values that the settings mask are shown as `***`" in texts["markdown"]


def test_merged_reports_of_shards_are_written_in_every_format(stage):
    for index in (1, 2):
        assert stage.run(f"plan --shard {index}/2 --out json={index}.out --out markdown={index}.md").code == 0
        assert stage.scratch.read(f"{index}.md").startswith(f"<!-- reconciler:plan:test:{index}-of-2 -->\n")
    assert stage.run(f"merge-reports 1.out 2.out {outs()}").code == 0
    texts = check(stage.scratch)
    assert texts["markdown"].startswith("<!-- reconciler:plan:test -->\n")
    assert "2 to update" in texts["markdown"]


def test_a_comment_is_as_long_as_it_may_be(tmp_path):
    manifest = "threads:\n" + "".join(f"  thread_{number}: {{metadata: {{plan: gold}}}}\n" for number in range(200))
    held = {f"thread/thread_{number}": {} for number in range(200)}
    with staged(tmp_path, manifest, Api(held, {"thread": "merge-null"}), MERGING) as made:
        done = made.run("plan --format markdown --max-bytes 4000")
    assert done.code == 0
    assert 3000 < len(done.out.encode()) <= 4000
    assert "Plan: 200 to update" in done.out
    assert "Not shown, for want of room: " in done.out


def test_what_a_change_under_review_asks_for_is_told_apart(stage):
    stage.scratch.git("branch", "-M", "main")
    assert stage.run("apply --yes").code == 0
    stage.scratch.git("checkout", "-q", "-b", "change")
    stage.scratch.manifest(MANIFEST.replace("team: support", "team: sales"))
    stage.scratch.git("commit", "-qam", "Another team")
    stage.api.put("thread/thread_2", {"plan": "lead"})
    assert stage.run(f"plan --mark-since main {outs()}").code == 0
    texts = check(stage.scratch)
    asked, _, before = texts["markdown"].partition("#### There before this change")
    assert "thread/thread_1</code>" in asked
    assert "thread/thread_2</code>" in before
    assert "(pending, asked for by this change)" in texts["github"]
    assert "(drift, there before this change)" in texts["github"]


def test_places_are_below_the_top_of_the_repository(tmp_path):
    with staged(tmp_path, MANIFEST, Api(HELD, {"thread": "merge-null"}), MERGING) as made:
        made.scratch.git("init", "-q", "..")
        made.scratch.git("add", ".")
        made.scratch.git("commit", "-q", "-m", "All of it")
        assert made.run(f"plan {outs()}").code == 0
        texts = check(made.scratch)
    assert "file=work/manifests/m.yaml,line=3" in texts["github"]
    assert '"uri": "work/manifests/m.yaml"' in texts["sarif"]
    assert 'file="work/manifests/m.yaml" line="3"' in texts["junit"]


def test_places_are_below_the_top_of_a_repository_without_a_commit_as_well(tmp_path):
    with staged(tmp_path, MANIFEST, Api(HELD, {"thread": "merge-null"}), MERGING) as made:
        made.scratch.git("init", "-q", "..")
        done = made.run("plan --format json")
        head = done.document["head"]
        assert (head["commit"], head["prefix"]) == (None, "work")
        assert "file=work/manifests/m.yaml,line=3" in made.run("plan --format github").out


def test_no_out_file_takes_the_place_of_what_is_read(stage):
    assert stage.run("plan --out json=plan.json").code == 0
    plan, manifest = stage.scratch.read("plan.json"), stage.scratch.read("manifests/m.yaml")
    for line in (
        "show plan.json --out markdown=./plan.json",
        "merge-reports plan.json --out json=plan.json",
        "apply plan.json --yes --out json=plan.json",
        "plan --out json=manifests/m.yaml",
        "plan --out json=-",
    ):
        done = stage.run(line)
        assert (done.code, "--out" in done.err) == (64, True), line
    assert (stage.scratch.read("plan.json"), stage.scratch.read("manifests/m.yaml")) == (plan, manifest)
    assert not (stage.scratch.folder / "-").exists()
    assert [call for call in stage.api.calls if call.method != "GET"] == []
