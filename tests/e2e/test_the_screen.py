"""What is seen on a screen: how wide the lines are, what is suggested at the end, and what progress leaves behind."""

import re
import shlex
import subprocess
import sys

import pytest
from scratch import Answer, Api, finished, staged

from reconciler.render.columns import cells

LETTER = "The customer asked twice for an invoice that names the second address; see the letter of May. " * 5
MANIFEST = f"""\
threads:
  thread_1:
    metadata: {{plan: gold, old: null, note: "{LETTER}", customer_with_a_long_name_of_a_key: 日本語の顧客の長い名前}}
  thread_2:
    metadata: {{plan: gold}}
"""
HELD = {
    "thread/thread_1": {"plan": "silver", "old": "x", "note": LETTER.replace("May", "June", 1)},
    "thread/thread_2": {"plan": "gold"},
}
ESCAPE = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


@pytest.fixture
def stage(tmp_path):
    with staged(tmp_path, MANIFEST, Api(HELD, {"thread": "replace"}), "writes: {thread: replace}") as stage:
        yield stage


def suggested(done):
    """Return the command lines that standard error suggests, as a shell splits them."""
    return [shlex.split(line.partition(": ")[2]) for line in done.err.splitlines() if line.startswith("Next")]


# --- how wide it is ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [40, 80, 160])
@pytest.mark.parametrize("line", ["plan", "kinds", "validate manifests"])
def test_no_line_is_wider_than_the_terminal(line, columns, stage):
    if line.startswith("validate"):
        stage.scratch.manifest(f"threads:\n  thread_1: {{metadata: {{a: {'1' * 30}}}}}\n  thread_1: {{}}\n")
    done = stage.scratch.at_terminal(line, env={"COLUMNS": str(columns)}, out=True)
    lines = ESCAPE.sub("", done.out).splitlines()
    whole = re.compile(r" *\S+|    path: \S+")
    assert [each for each in lines if cells(each) > columns and not whole.fullmatch(each)] == []


def test_without_a_terminal_nothing_is_wrapped_and_long_values_are_shortened_all_the_same(stage):
    done = stage.run("plan")
    row = next(line for line in done.lines if line.startswith("  ~ note"))
    assert "June" in row
    assert "May" in row
    assert "…(" in row
    assert re.search(r"  unattributed  manifests/m\.yaml:\d+:\d+$", row)
    assert len(row) < 300


def test_the_json_document_has_the_whole_of_what_the_screen_shortens(stage):
    change = stage.run("plan --format json").document["changes"][0]
    assert LETTER in [field["after"] for field in change["fields"]]


# --- what to do next --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "following"),
    [
        ("plan", "apply"),
        ("plan --select 'thread/*' --target test", "apply --target test --select 'thread/*'"),
        ("plan --only add --parallelism 3 manifests", "apply --parallelism 3 --only add manifests"),
        ("plan --config reconciler.yaml -C .", "apply --config reconciler.yaml"),
        ("plan --out json=plan.json --only add --target test", "apply --target test plan.json"),
        ("plan --base none --prune --detailed-exitcode --all", "apply --base none --prune"),
    ],
)
def test_after_a_plan_its_apply_is_suggested_and_the_suggestion_works(line, following, stage):
    done = stage.run(line)
    assert suggested(done) == [["reconciler", *shlex.split(following)]]
    applied = stage.run(f"{shlex.join(suggested(done)[0][1:])} --yes --max-changed 100% --max-removed 100%")
    assert applied.code == 0, applied
    assert suggested(applied) == []


def test_what_waits_is_suggested_beside_an_id_that_is_missing(stage):
    stage.scratch.manifest(f"{MANIFEST}  thread_gone: {{metadata: {{plan: gold}}}}\n")
    done = stage.run("plan")
    assert done.code == 1
    assert suggested(done) == [["reconciler", "apply"]]
    applied = stage.run("apply --yes --max-changed 100% --max-removed 100%")
    assert (applied.code, "1 applied, 1 missing" in applied.out) == (4, True)
    assert stage.run("plan --select '*gone'").err.count("Next") == 0


def test_no_apply_is_suggested_that_its_bound_on_calls_would_refuse(stage):
    for allowed, code in ((3, 6), (4, 0)):
        done = stage.run(f"plan --max-requests {allowed}")
        assert done.code == 0
        assert suggested(done) == ([["reconciler", "apply", "--max-requests", "4"]] if code == 0 else [])
        assert (f"--max-requests {allowed} allows fewer calls than an apply takes, which are 4" in done.err) is bool(
            code
        )
        assert stage.run(f"apply --yes --max-removed 100% --max-requests {allowed}").code == code


def test_what_is_told_beside_the_result_fits_the_terminal_and_commands_stay_whole(stage):
    select = " ".join(f"--select thread/{'x' * 9}{number}" for number in range(9))
    stage.scratch.manifest(f"{MANIFEST}  thread_{'gone' * 3}: {{metadata: {{plan: gold}}}}\n")
    shown = stage.scratch.at_terminal(
        f"plan --select 'thread/*' {select} --color never", env={"COLUMNS": "40"}, out=True
    )
    lines = ESCAPE.sub("", shown.err).splitlines()
    asked = next(number for number, line in enumerate(lines) if "thread_gonegonegone: missing" in line)
    assert lines[asked + 1].startswith("  ")
    assert [
        line for line in lines if cells(line) > 40 and not re.fullmatch(r" *\S+|Next: reconciler apply .*", line)
    ] == []
    assert next(line for line in lines if line.startswith("Next")).endswith("thread/xxxxxxxxx8")


def test_a_suggestion_is_quoted_for_the_shell_and_acts_on_no_terminal(stage):
    hostile = "thread/thread_[12];rm -rf $HOME`id`*"
    done = finished(stage.scratch.start(f"plan --select {shlex.quote(hostile)} --select 'thread/*'"))
    assert suggested(done)[0][3] == hostile
    done = finished(stage.scratch.start("plan --select 'thread/*' --select \"$(printf 'a\\x1b[31m')\""))
    assert "\x1b" not in done.err


@pytest.mark.parametrize(
    "line", ["plan --quiet", "plan --format json", "plan --format markdown", "plan --select thread/thread_2"]
)
def test_nothing_is_suggested_where_it_is_not_wanted_or_nothing_is_to_be_done(line, stage):
    assert "Next" not in stage.run(line).err


def test_nothing_is_suggested_after_an_invalid_manifest(stage):
    stage.scratch.manifest("threads:\n  thread_1: {metadata: {a: 5}}\n")
    for command in ("validate", "plan", "apply --yes"):
        done = stage.run(command)
        assert done.code == 3
        assert suggested(done) == []


def test_after_drift_both_ways_out_are_suggested(stage):
    assert suggested(stage.run("drift")) == [["reconciler", "adopt", "--unattributed"], ["reconciler", "apply"]]
    stage.scratch.commit()
    assert stage.run("apply --yes --max-changed 100% --max-removed 100%").code == 0
    assert suggested(stage.run("drift")) == []
    stage.api.put("thread/thread_2", {"plan": "lead"})
    assert suggested(stage.run("drift --now 2026-11-23")) == [
        ["reconciler", "adopt", "--now", "2026-11-23"],
        ["reconciler", "apply"],
    ]


def test_after_a_stale_apply_a_plan_is_suggested(stage):
    assert stage.run("plan --out json=plan.json").code == 0
    stage.api.put("thread/thread_1", {"plan": "lead"})
    done = stage.run("apply plan.json --yes --target test --max-changed 100% --max-removed 100%")
    assert done.code == 5
    assert suggested(done) == [["reconciler", "plan", "--target", "test"]]


def test_after_an_incomplete_apply_a_plan_is_suggested(tmp_path):
    refused = {"POST /v1/threads/thread_2": [Answer(400, {"error": {"message": "no"}})]}
    held = {"thread/thread_1": {}, "thread/thread_2": {}}
    manifest = "threads:\n  thread_1: {metadata: {a: b}}\n  thread_2: {metadata: {a: b}}\n"
    with staged(tmp_path, manifest, Api(held, {"thread": "merge"}, refused), "writes: {thread: merge}") as stage:
        done = stage.run("apply --yes")
    assert done.code == 4
    assert suggested(done) == [["reconciler", "plan"]]


# --- what progress leaves behind --------------------------------------------------------------------------------------


def drawn(text):
    """Return what a terminal shows after a text with redrawn lines."""
    lines = [""]
    for part in re.split(r"(\r|\n|\x1b\[K)", text):
        if part == "\n":
            lines.append("")
        elif part == "\x1b[K":
            lines[-1] = ""
        elif part != "\r":
            lines[-1] += part
    return lines


def test_progress_leaves_no_debris(stage):
    done = stage.scratch.at_terminal("plan --color never")
    assert "Reading  0/2  0%" in done.err
    shown = drawn(done.err)
    assert not any("Reading" in line for line in shown)
    assert [line.partition(":")[0] for line in shown if line] == ["Forecast of an apply", "Next"]


def test_a_dumb_terminal_gets_no_redrawn_line_and_no_colour(stage):
    done = stage.scratch.at_terminal("plan", env={"TERM": "dumb"}, out=True)
    assert "\x1b" not in done.err + done.out
    assert "\r" not in done.err + done.out
    assert "Reading" not in done.err


@pytest.mark.parametrize("streams", ["1>&- 2>&-", ">/dev/null 2>/dev/null", "2>&-"])
def test_it_works_with_no_terminal_at_all(streams, stage):
    done = subprocess.run(
        f"exec {shlex.quote(sys.executable)} -m reconciler plan --out json=plan.json {streams} </dev/null",
        shell=True,
        cwd=stage.scratch.folder, env=stage.scratch.environment({}), check=False, timeout=60, capture_output=True,
    )  # fmt: skip
    assert done.returncode == 0
    assert '"thread_1"' in stage.scratch.read("plan.json")
