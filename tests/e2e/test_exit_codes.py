"""Which exit code each command ends with: the table of the contract's section 5, line by line."""

import os
import signal
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pytest
from scratch import Answer, Api, Scratch, complaint, finished, staged, thread, until

ONE = """\
threads:
  thread_1:
    metadata: {plan: gold}
"""
TWO = ONE + """\
  thread_2:
    metadata: {plan: gold}
"""
DIFFERENT = {"thread/thread_1": {"plan": "silver"}}
EQUAL = {"thread/thread_1": {"plan": "gold"}}
FIRST, SECOND = "GET /v1/threads/thread_1", "GET /v1/threads/thread_2"
UNKNOWN_PATH = Answer(404, {"detail": "Not Found"})
WRONG_KEY = complaint(401, "Incorrect API key provided: sk-…")
NO_TERMINAL = "apply"


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
    writes: Mapping[str, str] = field(default_factory=dict)
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
    Case("validate manifests/m.yaml", 0, "one file that is in order", silent=True),
    Case("validate", 3, "a value is no string", manifest="threads:\n  thread_1:\n    metadata: {a: 1}\n", silent=True,
         says="m.yaml:4:19"),
    Case("validate", 3, "the settings name an unknown provider", more="provider: nope", silent=True),
    Case("validate --no-such", 64, "unknown option", says="--no-such", silent=True),
    Case("validate nowhere", 64, "PATH does not exist", says="nowhere", silent=True),

    Case("plan", 0, "there are changes"),
    Case("plan", 0, "nothing to do", held=EQUAL),
    Case("plan --detailed-exitcode", 0, "nothing to do", held=EQUAL),
    Case("plan --detailed-exitcode", 2, "there are changes"),
    Case("plan", 1, "a declared id is missing", held={}, says="thread_1"),
    Case("plan", 0, "a missing id is only warned of", held={}, more="missing: warn", says="thread_1"),
    Case("plan --detailed-exitcode", 1, "an error counts before differences", manifest=TWO, says="thread_2"),
    Case("plan", 1, "one resource answers with an error", manifest=TWO, says="no good",
         held={**DIFFERENT, "thread/thread_2": {}}, instead={SECOND: [complaint(400, "no good")]}),
    Case("plan --out json=nowhere/p.json", 1, "a file cannot be written", says="nowhere/p.json"),
    Case("plan", 3, "a bad manifest", manifest="threads:\n  thread_1: {metadata: null}\n", silent=True, says="m.yaml"),
    Case("plan", 3, "bad settings", rest="guards: {max_changed: 200%}\n", says="reconciler.yaml", silent=True),
    Case("plan", 3, "the default target is unknown", rest="default_target: tset\n", says="test", silent=True),
    Case("plan", 3, "the variable of the key is not set", more="api_key_env: NO_KEY", says="NO_KEY", silent=True),
    Case("plan", 3, "the manifest path of the target does not exist", more="manifests: [gone]", silent=True),
    Case("plan", 7, "the key is refused", instead={FIRST: [WRONG_KEY]}, says="Incorrect API key"),
    Case("plan", 7, "access is forbidden", instead={FIRST: [complaint(403, "missing scope")]}, says="missing scope"),
    Case("plan", 7, "the path is not served", instead={FIRST: [UNKNOWN_PATH]}, says="does not serve threads"),
    Case("plan", 7, "a refusal counts before a failure", manifest=TWO,
         instead={FIRST: [complaint(400, "no good")], SECOND: [WRONG_KEY]}),
    Case("plan --no-such", 64, "unknown option", says="--no-such", silent=True),
    Case("plan nowhere", 64, "PATH does not exist", says="nowhere", silent=True),
    Case("plan --select thread/x*", 64, "--select matches nothing", says="thread/x", silent=True),
    Case("plan --select Thread/thread_1", 64, "--select is case-sensitive", silent=True),
    Case("plan --target tset", 64, "--target names no target", says="test", silent=True),
    Case("plan --config no.yaml", 64, "--config names no file", says="no.yaml", silent=True),
    Case("plan --format yaml", 64, "unknown format", silent=True),
    Case("plan --out yaml=x", 64, "unknown format of a file", silent=True),
    Case("plan --only sometimes", 64, "--only knows no such word", silent=True),
    Case("plan -C nowhere", 64, "-C names no folder", silent=True),
    Case("plan --parallelism 0", 64, "no call at a time", silent=True),

    Case("apply --yes", 0, "everything was written"),
    Case("apply --yes", 0, "nothing to do", held=EQUAL),
    Case("apply --yes", 3, "a bad manifest", manifest="threads:\n  thread_1: {metadata: null}\n", silent=True),
    Case("apply --yes", 4, "a write failed", says="no good",
         instead={"POST /v1/threads/thread_1": [complaint(400, "no good")]}),
    Case("apply --yes", 4, "a read failed", manifest=TWO, instead={SECOND: [complaint(400, "no good")]}),
    Case("apply --yes", 4, "a removal is blocked", manifest="threads:\n  thread_1:\n    metadata: {plan: null}\n",
         more="writes: {thread: merge}", says="unremovable|cannot remove"),
    Case("apply --yes", 4, "a declared id is missing", manifest=TWO, says="thread_2"),
    Case("apply --yes", 0, "a missing id is only warned of", manifest=TWO, more="missing: warn", says="thread_2"),
    Case("apply --yes", 4, "the answer is not what was planned",
         instead={"POST /v1/threads/thread_1": [thread("thread_1", plan="silver")]}),
    Case("apply --yes", 5, "a resource moved in between",
         instead={FIRST: [None, thread("thread_1", plan="bronze")]}, says="stale"),
    Case("apply --yes", 4, "a failure counts before a stale resource", manifest=TWO,
         instead={FIRST: [None, thread("thread_1", plan="bronze")]}),
    Case("apply --yes", 6, "too many resources would change", manifest=fleet(10, "{plan: gold}"), says="max_changed",
         held=held_by(10, plan="silver")),
    Case("apply --yes", 6, "too many pairs would be removed", manifest=fleet(10, "{plan: null}"), says="max_removed",
         held=held_by(10, plan="silver"), more="writes: {thread: replace}", rest="guards: {max_changed: 100%}\n"),
    Case("apply --yes --max-changed 100%", 0, "a flag opens the guard", manifest=fleet(10, "{plan: gold}"),
         held=held_by(10, plan="silver")),
    Case("apply --yes", 0, "nine resources are too few for a guard", manifest=fleet(9, "{plan: gold}"),
         held=held_by(9, plan="silver")),
    Case("apply --yes", 0, "additions never count", manifest=fleet(10, "{plan: gold}"), held=held_by(10)),
    Case("apply --yes", 6, "a guard counts before a missing id", manifest=fleet(11, "{plan: gold}"),
         held=held_by(10, plan="silver")),
    Case("apply --yes", 6, "the manifests are empty", manifest="threads: {}\n", silent=True),
    Case("apply --yes", 7, "the key is refused", instead={FIRST: [WRONG_KEY]}),
    Case("apply --yes", 7, "writing is forbidden", instead={"POST /v1/threads/thread_1": [complaint(403, "no scope")]}),
    Case("apply --yes", 7, "a refusal counts before failures", manifest=TWO,
         instead={"POST /v1/threads/thread_1": [complaint(401, "no longer")]}),
    Case(NO_TERMINAL, 64, "there is no terminal to ask on", says="--yes", silent=True),
    Case("apply --yes nowhere.json", 64, "there is no such plan file", says="nowhere.json", silent=True),
    Case("apply --yes --max-changed 101%", 64, "no percentage", silent=True),
    Case("apply --yes --select thread/x*", 64, "--select matches nothing", silent=True),

    Case("show nowhere.json", 64, "there is no such file", says="nowhere.json", silent=True),
    Case("show", 64, "no file is named", silent=True),
    Case("show manifests/m.yaml", 3, "the file is no plan", says="m.yaml", silent=True),
    Case("kinds", 0, "always", says="conversation", silent=True),
    Case("kinds --format yaml", 64, "unknown format", silent=True),
    Case("emulate --host 0.0.0.0", 64, "an address of the network", silent=True),
    Case("emulate --fault 5O3=1", 64, "an unknown fault", says="503", silent=True),
    Case("", 64, "no command", says="Usage", silent=True),
    Case("pln", 64, "an unknown command", says="plan", silent=True),
    Case("aply --yes", 64, "another unknown command", says="apply", silent=True),
    Case("--version", 0, "always", says=r"reconciler \d+\.", silent=True),
]  # fmt: skip


@pytest.mark.parametrize("case", ORDINARY, ids=str)
def test_a_command_ends_with_the_code_of_its_situation(case, tmp_path, request):
    import re

    api = Api(case.held, case.writes, case.instead)
    more = case.more.replace("provider: nope", "missing: maybe")
    with staged(tmp_path, case.manifest, api, more, case.rest) as stage:
        if "manifests: [gone]" in more:
            stage.scratch.settings(stage.url)
            text = stage.scratch.read("reconciler.yaml").replace("[manifests]", "[gone]")
            stage.scratch.write("reconciler.yaml", text)
        done = stage.run(case.command)
    assert done.code == case.code, done
    assert re.search(case.says, done.out + done.err), done
    assert "Traceback" not in done.out + done.err
    assert not (case.silent and api.calls)
