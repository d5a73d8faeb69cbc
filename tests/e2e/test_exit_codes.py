"""Which exit code each command ends with: the table of the contract's section 5, line by line."""

import json
import os
import re
import signal
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pytest
from scratch import Answer, Api, Scratch, complaint, finished, staged, thread, until

from reconciler.cli import COMMANDS
from reconciler.planfile import digest

ONE = """\
threads:
  thread_1:
    metadata: {plan: gold}
"""
TWO = (
    ONE
    + """\
  thread_2:
    metadata: {plan: gold}
"""
)
DIFFERENT = {"thread/thread_1": {"plan": "silver"}}
EQUAL = {"thread/thread_1": {"plan": "gold"}}
FIRST, SECOND = "GET /v1/threads/thread_1", "GET /v1/threads/thread_2"
UNKNOWN_PATH = Answer(404, {"detail": "Not Found"})
WRONG_KEY = complaint(401, "Incorrect API key provided: sk-…")


@dataclass(frozen=True)
class Case:
    """A command line in a situation, the code that it ends with, and a word that it says about it."""

    command: str
    code: int
    situation: str
    manifest: str = ONE
    held: Mapping[str, Mapping[str, str]] = field(default_factory=lambda: DIFFERENT)
    more: str = ""
    rest: str = ""
    edit: tuple[str, str] = ("", "")
    """What to replace in the settings file, and by what."""
    instead: Mapping[str, Sequence[Answer | None]] = field(default_factory=dict)
    says: str = ""
    silent: bool = False
    """No call at all reaches the server."""

    def __str__(self) -> str:
        return f"{self.command} → {self.code}: {self.situation}"


def fleet(size: int, fields: str) -> str:
    return "threads:\n" + "".join(f"  thread_{number}:\n    metadata: {fields}\n" for number in range(size))


def held_by(size: int, **metadata: str) -> dict[str, dict[str, str]]:
    return {f"thread/thread_{number}": metadata for number in range(size)}


ORDINARY = [
    Case("validate", 0, "everything is in order", says="1 resource", silent=True),
    Case("validate", 3, "a value is no string", manifest="threads:\n  thread_1:\n    metadata: {a: 1}\n", silent=True,
         says="m.yaml:4:19"),
    Case("validate", 3, "the settings name an unknown provider", edit=("openai", "opnai"), says="openai",
         silent=True),
    Case("validate --no-such", 64, "unknown option", says="--no-such", silent=True),
    Case("validate nowhere", 64, "PATH does not exist", says="nowhere", silent=True),

    Case("plan --detailed-exitcode", 0, "nothing to do", held=EQUAL),
    Case("plan --detailed-exitcode", 2, "there are changes"),
    Case("plan", 1, "a declared id is missing", held={}, says="thread_1"),
    Case("plan", 0, "a missing id is only warned of", held={}, more="missing: warn", says="thread_1"),
    Case("plan --detailed-exitcode", 1, "an error counts before differences", manifest=TWO, says="thread_2"),
    Case("plan", 1, "one resource answers with an error", manifest=TWO, says="no good.*req_4711",
         held={**DIFFERENT, "thread/thread_2": {}},
         instead={SECOND: [complaint(400, "no good", x_request_id="req_4711")]}),
    Case("plan --out json=nowhere/p.json", 64, "a file cannot be written", says="nowhere", silent=True),
    Case("plan --out json=/dev/full", 1, "a disk is full", says="/dev/full: No space left"),
    Case("plan", 3, "a bad manifest", manifest="threads:\n  thread_1: {metadata: null}\n", silent=True, says="m.yaml"),
    Case("plan", 3, "bad settings", rest="guards: {max_changed: 200%}\n", says="reconciler.yaml", silent=True),
    Case("plan", 3, "the default target is unknown", rest="default_target: tset\n", says="test", silent=True),
    Case("plan", 3, "the variable of the key is not set", more="api_key_env: NO_KEY", says="NO_KEY", silent=True),
    Case("plan", 3, "the manifest path of the target does not exist", edit=("[manifests]", "[gone]"), silent=True,
         says="gone"),
    Case("plan", 7, "the key is refused", instead={FIRST: [WRONG_KEY]}, says="Incorrect API key"),
    Case("plan", 7, "access is forbidden", instead={FIRST: [complaint(403, "missing scope")]}, says="missing scope"),
    Case("plan", 7, "the path is not served", instead={FIRST: [UNKNOWN_PATH]}, says="does not serve threads"),
    Case("plan --no-such", 64, "unknown option", says="--no-such", silent=True),
    Case("plan nowhere", 64, "PATH does not exist", says="nowhere", silent=True),
    Case("plan --select Thread/thread_1", 64, "--select is case-sensitive", says="Thread/thread_1", silent=True),
    Case("plan --target tset", 64, "--target names no target", says="test", silent=True),
    Case("plan --config no.yaml", 64, "--config names no file", says="no.yaml", silent=True),
    Case("plan --format yaml", 64, "unknown format", silent=True),
    Case("plan --out yaml=x", 64, "unknown format of a file", silent=True),
    Case("plan --only sometimes", 64, "--only knows no such word", silent=True),
    Case("plan -C nowhere", 64, "-C names no folder", silent=True),
    Case("plan --parallelism 0", 64, "no call at a time", silent=True),

    Case("apply --yes", 3, "a bad manifest", manifest="threads:\n  thread_1: {metadata: null}\n", silent=True),
    Case("apply --yes", 4, "a write failed", says="no good",
         instead={"POST /v1/threads/thread_1": [complaint(400, "no good")]}),
    Case("apply --yes", 4, "a read failed", manifest=TWO, instead={SECOND: [complaint(400, "no good")]}),
    Case("apply --yes", 4, "a declared id is missing", manifest=TWO, says="thread_2"),
    Case("apply --yes", 0, "a missing id is only warned of", manifest=TWO, more="missing: warn", says="thread_2"),
    Case("apply --yes", 5, "a resource moved in between",
         instead={FIRST: [None, thread("thread_1", plan="bronze")]}, says="stale"),
    Case("apply --yes", 4, "a failure counts before a stale resource", manifest=TWO,
         instead={FIRST: [None, thread("thread_1", plan="bronze")]}),
    Case("apply --yes", 6, "too many resources would change", manifest=fleet(10, "{plan: gold}"), says="max_changed",
         held=held_by(10, plan="silver")),
    Case("apply --yes", 6, "too many pairs would be removed", manifest=fleet(10, "{plan: null}"), says="max_removed",
         held=held_by(10, plan="silver"), more="writes: {thread: replace}", rest="guards: {max_changed: 100%}\n"),
    Case("apply --yes", 0, "nine resources are too few for a guard", manifest=fleet(9, "{plan: gold}"),
         held=held_by(9, plan="silver")),
    Case("apply --yes", 6, "a guard counts before a missing id", manifest=fleet(11, "{plan: gold}"),
         held=held_by(10, plan="silver")),
    Case("apply --yes", 6, "the manifests are empty", manifest="threads: {}\n", silent=True),
    Case("apply --yes", 7, "the key is refused", instead={FIRST: [WRONG_KEY]}),
    Case("apply --yes", 7, "writing is forbidden", instead={"POST /v1/threads/thread_1": [complaint(403, "no scope")]}),
    Case("apply --yes", 7, "a refusal counts before failures", manifest=TWO,
         instead={"POST /v1/threads/thread_1": [complaint(401, "no longer")]}),
    Case("apply", 64, "there is no terminal to ask on", says="--yes", silent=True),
    Case("apply --yes nowhere.json", 64, "there is no such plan file", says="nowhere.json", silent=True),
    Case("apply --yes --max-changed 101%", 64, "no percentage", silent=True),

    Case("show nowhere.json", 64, "there is no such file", says="nowhere.json", silent=True),
    Case("show", 64, "no file is named", silent=True),
    Case("show manifests/m.yaml", 3, "the file is no plan", says="m.yaml", silent=True),
    Case("kinds", 0, "always", says="conversation", silent=True),
    Case("emulate --host 0.0.0.0", 64, "an address of the network", silent=True),
    Case("emulate --fault 5O3=1", 64, "an unknown fault", says="503", silent=True),
    Case("", 64, "no command", says="Usage", silent=True),
    Case("pln", 64, "an unknown command", says="plan", silent=True),
    Case("--version", 0, "always", says=r"reconciler \d+\.", silent=True),
]  # fmt: skip


@pytest.mark.parametrize("case", ORDINARY, ids=str)
def test_a_command_ends_with_the_code_of_its_situation(case, tmp_path):
    api = Api(case.held, instead=case.instead)
    with staged(tmp_path, case.manifest, api, case.more, case.rest) as stage:
        stage.scratch.write("reconciler.yaml", stage.scratch.read("reconciler.yaml").replace(*case.edit))
        done = stage.run(case.command)
    assert done.code == case.code, done
    assert re.search(case.says, done.out + done.err), done
    assert "Traceback" not in done.out + done.err
    assert not (case.silent and api.calls)


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_every_command_has_help(command, tmp_path):
    done = Scratch(tmp_path).run(f"{command} --help")
    assert (done.code, done.err) == (0, "")
    assert f"Usage: reconciler {command}".rstrip() in done.out


def test_no_connection_is_an_operational_error(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    scratch = Scratch(tmp_path)
    scratch.manifest(ONE)
    scratch.settings(f"http://127.0.0.1:{port}/v1")
    done = scratch.run("plan --format json --detailed-exitcode")
    assert done.code == 1
    assert [(each["code"], each["source"]["line"]) for each in done.document["errors"]] == [("network", 3)]
    assert done.document["changes"][0]["action"] == "failed"


# --- a saved plan -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Give a stage with the plan `p.json` of one difference."""
    with staged(tmp_path_factory.mktemp("saved"), ONE, Api(DIFFERENT)) as stage:
        assert stage.run("plan --out json=p.json").code == 0
        settings = stage.scratch.read("reconciler.yaml")
        stage.scratch.write("two.yaml", settings.replace("  test:", "  twin:"))
        yield stage


def spoiled(text, how):
    """Return the text of a plan file, damaged; where it says `resigned` its digest fits."""
    content = json.loads(text)
    match how:
        case "edited":
            return text.replace('"gold"', '"lead"')
        case "truncated":
            return text[: len(text) // 2]
        case "of no known format":
            content["format_version"] = "2.0"
        case "about another id":
            content["changes"][0]["id"] = "../assistants"
        case "about an unknown kind":
            content["changes"][0]["kind"] = "thing"
    return json.dumps({**content, "digest": digest(content)})


SPOILED = ("edited", "truncated", "of no known format")
MISLEADING = ("about another id", "about an unknown kind")


@pytest.mark.parametrize("how", SPOILED + MISLEADING)
def test_a_plan_file_that_is_unsound_is_invalid_before_any_call(how, saved):
    saved.scratch.write("bad.json", spoiled(saved.scratch.read("p.json"), how))
    before = len(saved.api.calls)
    done = saved.run("apply bad.json --yes")
    assert (done.code, len(saved.api.calls)) == (3, before), done
    assert "bad.json" in done.err
    assert "Traceback" not in done.err


def test_an_unsound_plan_file_is_not_shown(saved):
    saved.scratch.write("bad.json", spoiled(saved.scratch.read("p.json"), "edited"))
    done = saved.run("show bad.json")
    assert (done.code, done.out) == (3, "")
    assert "bad.json" in done.err


def test_a_sound_plan_file_is_shown(saved):
    assert saved.run("show p.json").code == 0


@pytest.mark.parametrize(
    "other", ["--config two.yaml", "--config elsewhere.yaml", "--config org.yaml"], ids=["name", "address", "tenant"]
)
def test_a_plan_for_another_target_is_refused_before_any_call(other, saved):
    settings = saved.scratch.read("reconciler.yaml")
    saved.scratch.write("elsewhere.yaml", settings.replace("127.0.0.1", "localhost"))
    saved.scratch.write("org.yaml", settings.replace("provider: openai", "provider: openai, organization: org_2"))
    before = len(saved.api.calls)
    done = saved.run(f"apply p.json --yes {other}")
    assert (done.code, len(saved.api.calls)) == (3, before), done


def test_a_guard_is_computed_again_for_a_saved_plan(tmp_path):
    with staged(tmp_path, fleet(10, "{plan: gold}"), Api(held_by(10, plan="silver"))) as stage:
        assert stage.run("plan --out json=p.json").code == 0
        assert stage.run("apply p.json --yes").code == 6
        assert stage.api.bodies == []
        assert stage.run("apply p.json --yes --max-changed 100").code == 0


# --- signals ----------------------------------------------------------------------------------------------------------

SIGNALS = pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["SIGINT", "SIGTERM"]
)


def interrupted(stage, line, number, method):
    """Run a command line and send a signal once a call of this method has arrived."""
    process = stage.scratch.start(line)
    until(lambda: stage.api.sent(method), f"a {method}")
    os.kill(process.pid, number)
    return finished(process)


@SIGNALS
def test_a_signal_ends_a_plan_with_its_document_written(number, code, tmp_path):
    with staged(tmp_path, fleet(8, "{plan: gold}"), Api(held_by(8), lag={"GET": 0.4})) as stage:
        done = interrupted(stage, "plan --format json --parallelism 2", number, "GET")
    assert done.code == code, done
    read = [each for each in done.document["changes"] if each["action"] == "update"]
    rest = [each["error"]["code"] for each in done.document["changes"] if each["action"] == "failed"]
    assert len(read) <= len(stage.api.calls) < 8  # reads in flight are given up
    assert rest == ["not_attempted"] * (8 - len(read))
    assert [each["code"] for each in done.document["errors"]] == ["interrupted"]


@SIGNALS
def test_a_signal_lets_writes_in_flight_finish_and_reports_the_rest(number, code, tmp_path):
    with staged(tmp_path, fleet(8, "{plan: gold}"), Api(held_by(8), lag={"POST": 0.4})) as stage:
        done = interrupted(stage, "apply --yes --parallelism 2 --out json=done.json", number, "POST")
        document = json.loads(stage.scratch.read("done.json"))
        written = {number for number in range(8) if stage.api.held(f"thread/thread_{number}")}
    assert done.code == code, done
    outcomes = [each["outcome"] for each in document["outcomes"]]
    assert {at for at, outcome in enumerate(outcomes) if outcome == "applied"} == written
    assert 0 < outcomes.count("applied") == len(stage.api.bodies) < 8
    assert outcomes.count("not_attempted") == 8 - len(written)
    assert "not attempted" in done.lines[-1]


def test_a_signal_while_an_apply_still_reads_means_that_nothing_is_written(tmp_path):
    with staged(tmp_path, fleet(8, "{plan: gold}"), Api(held_by(8), lag={"GET": 0.4})) as stage:
        done = interrupted(stage, "apply --yes --parallelism 2 --format json", signal.SIGINT, "GET")
    assert done.code == 130, done
    assert stage.api.bodies == []
    assert set(done.outcomes().values()) == {"not_attempted"}


# --- the emulator and the demo ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_the_ordinary_end_of_the_emulator(number, tmp_path):
    process = Scratch(tmp_path).start("emulate --port 0")
    assert "http://127.0.0.1:" in process.stdout.readline()
    os.kill(process.pid, number)
    assert finished(process).code == 0


def test_a_port_in_use_is_an_operational_error(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        done = Scratch(tmp_path).run(f"emulate --port {server.getsockname()[1]}")
    assert done.code == 1
    assert "Traceback" not in done.err


def test_the_demo_ends_well_and_leaves_nothing_behind(tmp_path):
    scratch = Scratch(tmp_path)
    kept = tmp_path / "temporary"
    kept.mkdir()
    done = scratch.run("demo", {"TMPDIR": str(kept)})
    assert done.code == 0
    assert re.fullmatch(r"((Forecast of an apply|Next).*\n)*", done.err)
    assert "foreign, kept: seen_by" in done.out
    assert list(kept.iterdir()) == list(scratch.folder.iterdir()) == []
