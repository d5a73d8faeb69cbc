"""What happens at the edges of a process: closed streams, readers that go away, people who press Ctrl-C twice."""

import json
import os
import shlex
import subprocess
import sys
import threading
import time
from signal import SIGINT, SIGTERM

import pytest
from scratch import PATIENCE, Api, Scratch, finished, staged, until

THREE = "threads:\n" + "".join(f"  thread_{number}: {{metadata: {{plan: gold}}}}\n" for number in (1, 2, 3))
HELD = {f"thread/thread_{number}": {"plan": "silver", "seen": "bot"} for number in (1, 2, 3)}


class Holding(Api):
    """A server that holds the calls of one method back until it is told to go on."""

    def __init__(self, method):
        super().__init__(HELD)
        self.method, self.go_on = method, threading.Event()
        self.arrived = 0

    def answer(self, call, raw):
        if call.method == self.method:
            with self._lock:
                self.arrived += 1
            self.go_on.wait(PATIENCE)
        return super().answer(call, raw)


@pytest.fixture
def stage(tmp_path):
    with staged(tmp_path, THREE, Api(HELD), "writes: {thread: merge}") as stage:
        yield stage


def shell(stage, line):
    """Run a command line through a shell, `reconciler` standing for the tool."""
    tool = f"{shlex.quote(sys.executable)} -m reconciler"
    return finished(
        subprocess.Popen(
            ["bash", "-c", line.replace("reconciler", tool)],
            cwd=stage.scratch.folder,
            env=stage.scratch.environment({}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    )


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("reconciler plan --out json=p.json >&-", 0),
        ("reconciler plan --out json=p.json 2>&-", 0),
        ("reconciler plan --verbose --out json=p.json 2>&-", 0),
        ("reconciler plan --out json=p.json | true; exit ${PIPESTATUS[0]}", 0),
        ("reconciler plan --detailed-exitcode --out json=p.json | true; exit ${PIPESTATUS[0]}", 2),
        ("reconciler plan --verbose --out json=p.json 2> >(true)", 0),
        ("reconciler plan --out json=p.json >/dev/full", 1),
        ("reconciler apply --yes --out json=p.json | true; exit ${PIPESTATUS[0]}", 0),
        ("reconciler --version >/dev/full", 1),
        ("reconciler kinds | true; exit ${PIPESTATUS[0]}", 0),
    ],
)
def test_a_broken_stream_costs_neither_the_file_nor_the_exit_code(stage, line, code):
    done = shell(stage, line)
    assert done.code == code, done
    assert "Traceback" not in done.err
    if "p.json" in line:
        assert json.loads(stage.scratch.read("p.json"))["errors"] == []


def test_a_closed_input_is_no_terminal(stage):
    done = shell(stage, "reconciler apply <&-")
    assert done.code == 64
    assert "there is no terminal to ask on" in done.err
    assert not stage.api.calls


def test_one_unwritable_file_does_not_cost_the_others(stage):
    done = stage.run("plan --out json=/dev/full --out text=p.txt")
    assert done.code == 1
    assert "cannot write /dev/full" in done.err
    assert stage.scratch.read("p.txt").endswith("3 modify calls.\n")


def test_a_link_is_written_through_and_keeps_its_mode(stage):
    target = stage.scratch.write("real.json", "old")
    target.chmod(0o600)
    (stage.scratch.folder / "link.json").symlink_to(target)
    assert stage.run("plan --out json=link.json").code == 0
    assert (stage.scratch.folder / "link.json").is_symlink()
    assert json.loads(target.read_text())["kind"] == "plan"
    assert target.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(("number", "code"), [(SIGINT, 130), (SIGTERM, 143)], ids=["SIGINT", "SIGTERM"])
def test_a_second_signal_ends_at_once_and_tells_what_was_in_flight(tmp_path, number, code):
    with staged(tmp_path, THREE, Holding("POST"), "writes: {thread: replace}") as stage:
        process = stage.scratch.start("apply --yes --parallelism 2 --out json=a.json")
        until(lambda: stage.api.arrived == 2, "two writes")
        os.kill(process.pid, number)
        # Whoever waits for the message knows that the first signal was taken.
        assert "finishing the writes in flight" in process.stderr.readline()
        os.kill(process.pid, SIGTERM if number is SIGINT else SIGINT)
        done = finished(process)
        stage.api.go_on.set()
        document = json.loads(stage.scratch.read("a.json"))
    assert done.code == code
    faults = sorted(each["error"]["code"] for each in document["outcomes"])
    assert faults == ["in_flight", "in_flight", "not_attempted"]
    assert document["requests"] == {"reads": 5, "writes": 2}
    assert [each["code"] for each in document["errors"]] == ["interrupted"]


def test_the_first_signal_says_what_happens_next(tmp_path):
    with staged(tmp_path, THREE, Api(HELD, lag={"POST": 0.4}), "writes: {thread: replace}") as stage:
        process = stage.scratch.start("apply --yes --parallelism 1")
        until(lambda: stage.api.sent("POST"), "a write")
        os.kill(process.pid, SIGINT)
        done = finished(process)
    assert done.code == 130
    assert "finishing the writes in flight" in done.err
    assert done.lines[-1] == "Apply incomplete: 1 applied, 2 not attempted, 1 modify call."


def test_a_refused_apply_counts_no_calls(stage):
    done = stage.scratch.at_terminal("apply --out json=a.json", "no\n")
    document = json.loads(stage.scratch.read("a.json"))
    assert done.code == 1
    assert document["requests"] == {"reads": 3, "writes": 0}
    assert {each["outcome"] for each in document["outcomes"]} == {"not_attempted"}
    assert done.out.splitlines()[-1] == "Apply incomplete: 3 not attempted, 0 modify calls."


def test_the_folder_may_be_named_before_the_command(stage):
    done = stage.run(f"-C {stage.scratch.folder.parent / 'work'} plan --quiet")
    assert (done.code, done.lines[-1][:17]) == (0, "Plan: 3 to update")


def test_bad_settings_do_not_hide_bad_manifests(stage):
    stage.scratch.write("reconciler.yaml", "version: 1\ntargets:\n  test: {provider: emulator, paralellism: 5}\n")
    stage.scratch.manifest("threads:\n  thread_1: {metadata: {n: 5}}\n")
    for command in ("validate", "plan", "apply --yes"):
        done = stage.run(f"{command} --format json")
        assert done.code == 3
        assert [(each["code"], each["source"]["file"]) for each in done.document["errors"]] == [
            ("unknown_field", "reconciler.yaml"),
            ("not_a_string", "manifests/m.yaml"),
        ]


def test_a_bad_manifest_does_not_make_the_document_forget_the_target(stage):
    commit = stage.scratch.commit()
    stage.scratch.manifest("threads:\n  thread_1: {metadata: {n: 5}}\n")
    document = stage.run("plan --format json").document
    assert document["target"]["name"] == "test"
    assert document["head"] == {"commit": commit, "dirty": True}


def test_a_saved_plan_of_some_fields_leaves_the_others_alone(tmp_path):
    manifest = "threads:\n  thread_1: {metadata: {plan: gold, team: support}}\n"
    with staged(tmp_path, manifest, Api(HELD), "writes: {thread: replace}") as stage:
        assert stage.run("plan --only add --out json=p.json").code == 0
        done = stage.run("apply p.json --yes --format json")
        assert done.code == 0, done
        assert done.document["left"] == 1
        assert stage.api.bodies == [{"metadata": {"plan": "silver", "seen": "bot", "team": "support"}}]


def test_a_plan_that_blocks_a_removal_does_not_blank_it_later(tmp_path):
    manifest = "threads:\n  thread_1: {metadata: {seen: null, plan: gold}}\n"
    with staged(tmp_path, manifest, Api(HELD, {"thread": "merge"}), "writes: {thread: merge}") as stage:
        assert stage.run("plan --out json=p.json").code == 0
        stage.scratch.settings(stage.url, "writes: {thread: merge}, removals: blank")
        done = stage.run("apply p.json --yes")
    assert done.code == 3
    assert "removals" in done.err
    assert not stage.api.bodies


def test_the_same_id_under_two_targets_is_not_called_twice_declared_while_the_settings_are_invalid(stage):
    for folder in ("one", "two"):
        stage.scratch.write(f"{folder}/m.yaml", "version: 1\nthreads: {thread_1: {}}\n")
    targets = "  one: {provider: emulator, manifests: [one]}\n  two: {provider: emulator, manifests: [two], x: y}\n"
    stage.scratch.write("reconciler.yaml", f"version: 1\ntargets:\n{targets}")
    done = stage.run("validate --format json")
    assert [each["code"] for each in done.document["errors"]] == ["unknown_field"]


def test_show_checks_its_files_like_every_other_command(stage):
    assert stage.run("plan --out json=p.json").code == 0
    done = stage.run("show p.json --out text=nowhere/p.txt")
    assert done.code == 64
    assert "there is no folder" in done.err


def test_a_plan_that_was_broken_off_is_not_applied(tmp_path):
    with staged(tmp_path, THREE, Holding("GET")) as stage:
        process = stage.scratch.start("plan --parallelism 2 --quiet --out json=p.json")
        until(lambda: stage.api.arrived == 2, "two reads")
        os.kill(process.pid, SIGINT)
        assert finished(process).code == 130
        stage.api.go_on.set()
        done = stage.run("apply p.json --yes")
    assert done.code == 3
    assert "broken off" in done.err


@pytest.mark.parametrize("number", [SIGINT, SIGTERM])
def test_many_signals_while_reading_cost_nothing_of_the_document(tmp_path, number):
    with staged(tmp_path, THREE, Holding("GET")) as stage:
        process = stage.scratch.start("plan --format json --parallelism 2")
        until(lambda: stage.api.arrived == 2, "two reads")
        for _ in range(5):
            os.kill(process.pid, number)
            time.sleep(0.002)
        done = finished(process)
        stage.api.go_on.set()
    assert "giving up reading\n" in done.err
    assert done.code == {SIGINT: 130, SIGTERM: 143}[number]
    assert done.document["requests"]["reads"] == 2
    assert done.document["summary"]["failed"] == 3
    assert [each["code"] for each in done.document["errors"]] == ["interrupted"]


def test_the_request_that_found_an_id_missing_is_told_beside_the_result(tmp_path):
    manifest = "threads:\n" + "".join(f"  thread_{number:02}: {{}}\n" for number in range(25))
    with staged(tmp_path, manifest, Api({})) as stage:
        done = stage.run("plan --format json")
        assert stage.run("plan --quiet").err == ""
    assert done.code == 1
    assert done.err.count("missing (request req_") == 20
    assert done.err.endswith("and 5 more missing; --verbose logs every request\n")
    assert "req_" not in done.out


def test_a_working_directory_that_is_gone_is_told_with_what_to_do(tmp_path):
    scratch = Scratch(tmp_path)
    scratch.write("reconciler.yaml", "version: 1\ntargets: {t: {provider: emulator}}\n")
    scratch.manifest("threads: {}\n")
    for line, code in [
        ("plan", 64),
        ("show plan.json", 64),
        ("emulate --seed .", 64),
        ("validate -C {}", 0),
        ("kinds", 0),
    ]:
        removed = tmp_path / "removed"
        removed.mkdir()
        done = subprocess.run(
            ["bash", "-c", f"rmdir ../removed; exec {sys.executable} -m reconciler {line.format(scratch.folder)}"],
            cwd=removed, env=scratch.environment({}), capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == code, line
        assert ("error: the working directory is gone: `cd` to one that exists" in done.stderr) is (code == 64), line


def test_where_an_import_cannot_write_nothing_is_asked(tmp_path):
    scratch = Scratch(tmp_path)
    scratch.settings("http://127.0.0.1:9")  # where nobody answers
    scratch.manifest("threads: {}\n")
    for place, said in [("manifests", "is a folder"), ("reconciler.yaml/x.yaml", "reconciler.yaml is no folder")]:
        done = scratch.run(f"import thread/thread_1 --into {place}")
        assert (done.code, done.out) == (64, "")
        assert said in done.err
    assert "Imported" not in scratch.run("import thread/thread_1 --into manifests/new.yaml").err
