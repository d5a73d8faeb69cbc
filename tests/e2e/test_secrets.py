"""The key appears nowhere: run every command against servers that repeat it, and look into everything that is left."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from typing import TYPE_CHECKING

import pytest
from scratch import Answer, Api, Scratch, complaint

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KEY = 'sk-test-"Quoted"/Key+4711=0815-that-nobody-may-see'
ENV = {"THE_KEY": KEY}
FORMS = {
    "plain": KEY,
    "in JSON": json.dumps(KEY)[1:-1],
    "in JSON twice": json.dumps(json.dumps(KEY))[3:-3],
    "as base64": base64.b64encode(KEY.encode()).decode().rstrip("=")[:-2],
    "as base64 behind Bearer": base64.b64encode(f"Bearer {KEY}".encode()).decode()[16:60],
    "a part": "that-nobody-may-see",
}
HEADER = f"Bearer {KEY}"


def left_over(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield every file, those of git unpacked."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != "m.yaml":
            yield str(path), path.read_bytes().decode("utf-8", "replace")
    objects = ["git", "cat-file", "--batch-all-objects", "--batch", "--unordered"]
    if (folder / ".git").exists():
        yield (
            "git",
            subprocess.run(objects, cwd=folder, capture_output=True, check=True).stdout.decode("utf-8", "replace"),
        )


def clean(text: str, where: object) -> None:
    for form, secret in FORMS.items():
        assert secret not in text, (form, where)


ANSWERS = {
    "refused": complaint(401, f"Incorrect API key provided: {KEY}. You sent Authorization: {HEADER}"),
    "forbidden": Answer(403, {"detail": {"headers": {"authorization": HEADER}}}),
    "broken": complaint(500, f"headers={{'Authorization': {HEADER!r}}}", x_request_id=KEY, x_should_retry="false"),
    "html": Answer(502, f"<html><title>{HEADER}</title>{HEADER}</html>", {"x-should-retry": "false"}),
    "text": Answer(418, f"you said {HEADER}"),
    "another object": Answer(200, {"id": KEY, "object": HEADER, "metadata": {"a": "b"}}),
    "no object": Answer(200, HEADER),
    "a redirect": Answer(307, "", {"location": f"http://127.0.0.1:9/{KEY}"}),
}
LINES = (
    "validate",
    "plan --verbose --out json=plan.json --out text=plan.txt",
    "plan --format json --all",
    "show plan.json",
    "apply --yes --verbose",
    "apply --yes --format json --out json=done.json",
    "drift --format json",
    "baseline",
    "history --format json",
    "ledger show",
    "rollback --yes",
    "adopt --yes --unattributed --base none",
    "import thread/thread_1 thread/other_1",
    "import thread/other_1 --into manifests/more.yaml",
    "plan --target nowhere",
    "plan --no-such-option",
)


FEW = ("apply --yes --format json --verbose --out json=done.json", "import {others} --verbose")
ENDING = frozenset({"refused", "forbidden"})
"""Answers that end a run: each has one for itself, all others come in the same."""
TOGETHER = tuple(name for name in ANSWERS if name not in ENDING)


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("names", [("refused",), ("forbidden",), TOGETHER], ids=" ".join)
def test_a_server_that_repeats_the_key_does_not_make_us_repeat_it(tmp_path, method, names):
    repeat_it(tmp_path, method, names, FEW)


def test_no_command_repeats_the_key(tmp_path):
    repeat_it(tmp_path, "GET", ("broken",), LINES)


def repeat_it(place, method, names, lines):
    """Let a server answer so, each way for resources of its own, and hold all that is left behind against the key."""
    scratch = Scratch(place)
    ways = {f"{kind}_{number}": ANSWERS[name] for kind in ("thread", "other") for number, name in enumerate(names, 1)}
    instead = {f"{method} /v1/threads/{own}": [answer] for own, answer in ways.items()}
    api = Api({f"thread/{own}": {"a": "old"} for own in (*ways, "thread_0")}, instead=instead)
    with api.listening() as url:
        scratch.settings(url, "api_key_env: THE_KEY")
        declared = [own for own in ways if own.startswith("thread")]
        scratch.manifest(
            "threads:\n" + "".join(f"  {own}: {{metadata: {{a: b}}}}\n" for own in ("thread_0", *declared))
        )
        scratch.commit()
        others = " ".join(f"thread/{own}" for own in ways if own.startswith("other"))
        for line in lines:
            done = scratch.run(line.replace("{others}", others), ENV)
            clean(done.out, line)
            clean(done.err, line)
            assert "Traceback" not in done.err
    assert {call.path.rpartition("/")[2] for call in api.sent(method)} & set(declared)
    assert any(call.headers.get("authorization") == HEADER for call in api.calls)
    for name, text in left_over(scratch.folder):
        clean(text, name)


@pytest.mark.parametrize("key", [f"{KEY} x", f"{KEY}\nx", f"é{KEY}"], ids=["space", "line", "letter"])
def test_a_key_that_no_header_carries_is_not_shown(tmp_path, key):
    scratch = Scratch(tmp_path)
    scratch.settings("http://127.0.0.1:9", "api_key_env: THE_KEY")
    scratch.manifest("threads:\n  thread_1: {metadata: {a: b}}\n")
    for line in ("plan --verbose", "apply --yes --format json"):
        done = scratch.run(line, {"THE_KEY": key})
        assert done.code == 3
        clean(done.out + done.err, line)


def test_a_server_that_is_not_there_does_not_make_us_tell_the_key(tmp_path):
    scratch = Scratch(tmp_path)
    scratch.settings("http://127.0.0.1:9", "api_key_env: THE_KEY")
    scratch.manifest("threads:\n  thread_1: {metadata: {a: b}}\n")
    for line in ("plan --verbose", "plan --format json", "apply --yes --verbose"):
        done = scratch.run(line, ENV)
        assert done.code in (1, 4)
        clean(done.out + done.err, line)


def test_no_process_that_is_started_is_given_the_key_as_an_argument(tmp_path):
    scratch = Scratch(tmp_path)
    tools = tmp_path / "tools"
    tools.mkdir()
    real = subprocess.run(["which", "git"], capture_output=True, text=True, check=True).stdout.strip()
    (tools / "git").write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >> {tmp_path}/arguments\nexec {real} "$@"\n')
    (tools / "git").chmod(0o755)
    api = Api({"thread/thread_1": {"a": "old"}})
    with api.listening() as url:
        scratch.settings(url, "api_key_env: THE_KEY")
        scratch.manifest("threads:\n  thread_1: {metadata: {a: b}}\n")
        scratch.commit()
        env = {**ENV, "PATH": f"{tools}:{os.environ['PATH']}"}
        assert scratch.run("apply --yes", env).code == 0
    clean((tmp_path / "arguments").read_text(), "the arguments of git")
