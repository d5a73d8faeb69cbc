"""Reading begins while later manifests are still being parsed, and that changes nothing but the time it takes."""

import json
import signal
import subprocess
import sys
import time

import pytest
from scratch import Answer, Api, finished, staged, until

FILES, EACH = 4, 12
NAMES = [f"thread_{number:02}" for number in range(FILES * EACH)]
HELD = {f"thread/{name}": {"plan": "gold" if number % 5 else "tin"} for number, name in enumerate(NAMES)}
DRIVER = """
import sys, time
from pathlib import Path
from reconciler import manifest

parsed = manifest.parsed

def slowly(files, cache=None):
    *first, last = files
    yield from parsed(first, cache)
    Path("parsing").touch()
    deadline = time.monotonic() + {seconds}
    while not Path("seen").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    if {raises}:
        raise LookupError("not the manifest's fault")
    if {strict} and not Path("seen").exists():
        raise TimeoutError("nobody was asked before all was parsed")
    yield from parsed([last], cache)

manifest.parsed = slowly
sys.argv[0] = "reconciler"
from reconciler.__main__ import run
run()
"""


class Watching(Api):
    """A server that leaves a file named `seen` when it is called for the first time."""

    def __init__(self, *given, **more):
        super().__init__(*given, **more)
        self.folder = None

    def answer(self, call, raw):
        if self.folder is not None:
            (self.folder / "seen").touch()
        return super().answer(call, raw)


def manifests(stage, names=NAMES):
    """Write the manifests, the same number of threads in each."""
    (stage.scratch.folder / "manifests" / "m.yaml").unlink()
    for number in range(FILES):
        some = names[number * EACH : (number + 1) * EACH]
        text = "".join(f"  {name}:\n    metadata: {{plan: gold}}\n" for name in some)
        stage.scratch.write(f"manifests/{number}.yaml", f"version: 1\nthreads:\n{text}")


def start(stage, *line, seconds=None, raises=False):
    """Start a command whose last manifest is parsed once the server was called, or after so many seconds."""
    driver = DRIVER.format(seconds=seconds or 30.0, strict=seconds is None, raises=raises)
    return subprocess.Popen(
        [sys.executable, "-c", driver, *line],
        cwd=stage.scratch.folder, env=stage.scratch.environment({}), text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


@pytest.fixture
def stage(tmp_path):
    api = Watching(HELD, lag={"GET": 0.03})
    with staged(tmp_path, "threads: {}\n", api, "parallelism: 4") as made:
        manifests(made)
        yield made


@pytest.mark.parametrize("command", ["plan", "drift", "adopt --yes", "baseline", "apply --yes"])
def test_reading_begins_while_later_manifests_are_still_parsed(stage, command):
    stage.scratch.commit()
    stage.api.folder = stage.scratch.folder
    done = finished(start(stage, *command.split()))
    assert done.code in (0, 2), done.err
    assert len(stage.api.sent("GET")) >= len(NAMES)


def test_the_document_is_the_one_of_a_run_that_parses_first(stage):
    stage.scratch.commit()
    first = stage.run("plan --format json --max-requests 1000")
    calls = sorted(stage.api.told)
    stage.api.calls.clear()
    stage.api.folder = stage.scratch.folder
    ahead = finished(start(stage, "plan", "--format", "json"))
    assert ahead.out == first.out
    assert sorted(stage.api.told) == calls
    assert ahead.document["summary"]["update"] == 10


def test_what_is_not_selected_is_not_read(stage):
    stage.api.folder = stage.scratch.folder
    done = finished(start(stage, "plan", "--format", "json", "--select", "thread/*[02468]"))
    assert done.document["summary"]["resources"] == len(NAMES) / 2 == len(stage.api.calls)


def test_a_fault_in_a_manifest_that_comes_last_ends_the_run_without_a_plan(stage):
    stage.scratch.write("manifests/3.yaml", "version: 1\nthreads:\n  thread_00: {metadata: {plan: 7}}\n  thread_01:\n")
    stage.api.folder = stage.scratch.folder
    done = finished(start(stage, "plan", "--format", "json"))
    assert done.code == 3
    assert [error["code"] for error in done.document["errors"]] == [
        "duplicate_resource", "not_a_string", "duplicate_resource",
    ]  # fmt: skip
    assert done.document["changes"] == []


def test_a_manifest_with_the_key_of_the_target_is_refused_when_it_comes(stage):
    key = "an-api-key-of-no-vendor-we-know"
    stage.scratch.settings(stage.url, "parallelism: 4, api_key_env: KEY")
    for number in (2, 3):
        text = f"version: 1\nthreads:\n  thread_9{number}: {{metadata: {{plan: {key}}}}}\n"
        stage.scratch.write(f"manifests/{number}.yaml", text)
    stage.scratch.write("manifests/4.yaml", "version: 1\nthreads: []\n")
    done = stage.scratch.run("plan --format json", {"KEY": key})
    found = [(error["code"], error["source"]["file"]) for error in done.document["errors"]]
    assert found[:2] == [("secret_like", "manifests/2.yaml"), ("secret_like", "manifests/3.yaml")]
    assert (done.code, len(found)) == (3, 3)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_while_manifests_are_parsed_ends_the_run_at_once(stage, number, code):
    with start(stage, "plan", "--format", "json", seconds=60.0) as process:
        until((stage.scratch.folder / "parsing").exists, "the last manifest")
        until(lambda: stage.api.calls, "a first call")
        process.send_signal(number)
        done = finished(process)
    assert done.code == code
    document = done.document
    assert [error["code"] for error in document["errors"]] == ["interrupted"]
    assert (document["changes"], document["released"]) == ([], [])
    assert document["requests"] == {"reads": len(stage.api.calls), "writes": 0}


def test_what_was_released_is_not_taken_for_what_was_not_parsed_yet(stage):
    stage.scratch.commit()
    assert stage.run("apply --yes").code == 0
    stage.api.calls.clear()
    with start(stage, "apply", "--prune", "--yes", "--format", "json", seconds=60.0) as process:
        until(lambda: stage.api.calls, "a first call")
        process.send_signal(signal.SIGINT)
        done = finished(process)
    assert (done.code, done.document["changes"], stage.api.bodies) == (130, [], stage.api.bodies[:0])


def test_an_error_that_is_no_fault_of_a_manifest_ends_the_run_and_is_no_plan_of_half_of_them(stage):
    done = finished(start(stage, "plan", "--format", "json", seconds=0.1, raises=True))
    assert (done.code, [error["code"] for error in done.document["errors"]]) == (1, ["internal"])
    assert done.document["changes"] == []


def test_once_a_manifest_is_found_wrong_nothing_more_is_read(tmp_path):
    names = [f"thread_{number:03}" for number in range(400)]
    api = Watching({f"thread/{name}": {"plan": "gold"} for name in names}, lag={"GET": 0.05})
    with staged(tmp_path, "threads:\n" + "".join(f"  {name}:\n" for name in names), api, "parallelism: 4") as stage:
        stage.scratch.write("manifests/z.yaml", "version: 1\nthreads:\n  thread_1: {metadata: {plan: 7}}\n")
        api.folder = stage.scratch.folder
        done = finished(start(stage, "plan", "--format", "json"))
    assert (done.code, [error["code"] for error in done.document["errors"]]) == (3, ["not_a_string"])
    assert 1 <= len(api.calls) < 100
    assert done.document["requests"]["reads"] >= len(api.calls)


def test_when_the_time_is_over_while_manifests_are_parsed_all_are_told_as_not_attempted(stage):
    stage.scratch.settings(stage.url, "parallelism: 4, timeouts: {run: 0.6}")
    done = finished(start(stage, "plan", "--format", "json", seconds=1.5))
    assert done.code == 1
    assert "timeout" in [error["code"] for error in done.document["errors"]]
    assert done.document["summary"]["resources"] == len(NAMES)
    assert "not_attempted" in {change.get("error", {}).get("code") for change in done.document["changes"]}


def test_ids_that_are_gone_at_the_beginning_do_not_make_a_kind_look_unserved(tmp_path):
    nothing = {f"GET /v1/threads/{name}": [Answer(404, "")] for name in NAMES[:EACH]}
    api = Watching(dict(list(HELD.items())[EACH:]), instead=nothing, lag={"GET": 0.03})
    with staged(tmp_path, "threads: {}\n", api, "parallelism: 2") as stage:
        manifests(stage)
        api.folder = stage.scratch.folder
        done = finished(start(stage, "plan", "--format", "json"))
    assert done.code == 1
    assert (done.document["summary"]["missing"], done.document["summary"]["failed"]) == (EACH, 0)
    assert sorted(api.told) == sorted(f"GET /v1/threads/{name}" for name in NAMES)


def test_a_kind_that_is_not_served_is_told_once(tmp_path):
    api = Watching(instead={f"GET /v1/threads/{name}": [Answer(404, "")] for name in NAMES})
    with staged(tmp_path, "threads: {}\n", api, "parallelism: 2") as stage:
        manifests(stage)
        api.folder = stage.scratch.folder
        done = finished(start(stage, "plan", "--format", "json"))
    assert (done.code, len(done.document["errors"])) == (7, 1)


def test_a_refusal_while_manifests_are_parsed_stops_the_reading_and_not_the_parsing(tmp_path):
    refused = Answer(401, json.dumps({"error": {"message": "no such key"}}))
    api = Watching(instead={f"GET /v1/threads/{name}": [refused] for name in NAMES})
    with staged(tmp_path, "threads: {}\n", api, "parallelism: 2") as stage:
        manifests(stage)
        api.folder = stage.scratch.folder
        begun = time.monotonic()
        done = finished(start(stage, "plan", "--format", "json", seconds=20.0))
    assert time.monotonic() - begun < 20
    assert (done.code, done.document["summary"]["failed"]) == (7, len(NAMES))
    assert len(api.calls) <= 2
