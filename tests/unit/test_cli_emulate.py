"""`reconciler emulate` as a person or a script runs it."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager

import click
import httpx
import pytest
from click.testing import CliRunner

from reconciler.cli.emulate import emulate
from reconciler.emulator.store import opened
from reconciler.errors import ReconcilerError
from reconciler.model import Ref

COMMAND = [sys.executable, "-c", "from reconciler.cli.emulate import emulate; emulate()"]
READY = re.compile(r"emulating the API at (http://127\.0\.0\.1:\d+/v1) \(Ctrl-C ends it\)\n")


@contextmanager
def emulating(*arguments, ended_by=signal.SIGINT, **variables):
    """Run the command on a free port; give its base URL; expect a clean end and nothing on standard error."""
    process = subprocess.Popen(
        [*COMMAND, "--port", "0", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **variables},
    )
    try:
        ready = READY.fullmatch(process.stdout.readline())
        yield ready[1] if ready else pytest.fail(process.stderr.read())
        process.send_signal(ended_by)
        rest, errors = process.communicate(timeout=20)
        assert (process.returncode, rest, errors) == (0, "", "")
    finally:
        process.kill()
        process.communicate()


def refused(*arguments, **variables):
    result = CliRunner(env=variables).invoke(emulate, arguments, standalone_mode=False)
    assert isinstance(result.exception, click.UsageError), result.output
    return result.exception.format_message()


@pytest.mark.parametrize("ended_by", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_it_prints_its_address_serves_and_ends_cleanly(ended_by):
    with emulating(ended_by=ended_by) as url:
        own = httpx.post(f"{url}/threads", json={"metadata": {"a": "b"}}).json()["id"]
        assert httpx.get(f"{url}/threads/{own}").json()["metadata"] == {"a": "b"}


def test_a_database_outlives_it(tmp_path):
    path = tmp_path / ".reconciler" / "x.db"
    with emulating("--database", path) as url:
        own = httpx.post(f"{url}/threads", json={"metadata": {"a": "b"}}).json()["id"]
    with opened(path) as store:
        assert store.get(Ref("thread", own)).pairs == {"a": "b"}


def test_the_ids_of_manifests_are_seeded_empty(tmp_path):
    manifests = tmp_path / "manifests"
    manifests.mkdir()
    (manifests / "a.yaml").write_text("version: 1\nthreads:\n  thread_a:\n    metadata: {a: b}\n  thread_b: {}\n")
    (tmp_path / "b.yaml").write_text("version: 1\nconversations:\n  conv_a: {}\n")
    with emulating("--seed", manifests, "--seed", tmp_path / "b.yaml") as url:
        assert httpx.get(f"{url}/threads/thread_a").json()["metadata"] == {}
        assert httpx.get(f"{url}/threads/thread_b").status_code == 200
        assert httpx.get(f"{url}/conversations/conv_a").status_code == 200


def test_a_dialect_for_one_kind_beats_one_for_all():
    with emulating("--writes", "agent=merge-null", "--writes", "replace") as url:
        left = []
        for kind, sent in (("threads", {"b": "2"}), ("agents", {"a": None, "b": "2"})):
            own = httpx.post(f"{url}/{kind}", json={"metadata": {"a": "1", "c": "3"}}).json()["id"]
            left.append(httpx.post(f"{url}/{kind}/{own}", json={"metadata": sent}).json()["metadata"])
    assert left == [{"b": "2"}, {"c": "3", "b": "2"}]


def test_a_key_is_asked_for_when_a_variable_holds_one():
    with emulating("--require-key", "EMULATED_KEY", EMULATED_KEY="sk-secret") as url:
        assert httpx.get(f"{url}/threads").status_code == 401
        assert httpx.get(f"{url}/threads", headers={"Authorization": "Bearer sk-secret"}).status_code == 200


def test_faults_and_the_seconds_to_wait_are_told():
    with emulating("--fault", "429=1", "--retry-after", "3", "--fault-seed", "5", "--latency", "1") as url:
        answer = httpx.get(f"{url}/threads")
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "3")


def test_localhost_means_the_loopback_address():
    with emulating("--host", "localhost") as url:
        assert httpx.get(f"{url}/threads").status_code == 200


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--host", "0.0.0.0"], "not a loopback address"),
        (["--host", "example.com"], "not a loopback address"),
        (["--port", "70000"], "70000"),
        (["--writes", "mergenull"], "did you mean merge-null?"),
        (["--writes", "auto"], "there is no dialect auto; known are replace, merge, merge-null, merge-empty"),
        (["--writes", "threads=merge"], "did you mean thread?"),
        (["--writes", "=merge"], 'there is no kind ""'),
        (["--writes", "thread="], 'there is no dialect ""'),
        (["--fault", "reset=0.1"], "did you mean reset-"),
        (["--fault", "503"], "write NAME=PROBABILITY"),
        (["--fault", "503=often"], "write NAME=PROBABILITY"),
        (["--fault", "503=1.1"], "write NAME=PROBABILITY"),
        (["--fault", "503=nan"], "write NAME=PROBABILITY"),
        (["--fault", "503=0.6", "--fault", "500=0.6"], "add up to more than 1"),
        (["--latency", "-1"], "-1"),
        (["--retry-after", "-1"], "-1"),
        (["--seed", "there/is/no/such.yaml"], "does not exist"),
        (["--require-key", "RECONCILER_UNSET_VARIABLE"], "not set"),
        (["extra"], "extra"),
    ],
)
def test_what_makes_no_sense_is_wrong_usage(arguments, says):
    assert says in refused(*arguments)


def test_probabilities_that_add_up_to_one_are_allowed_although_floats_do_not_quite():
    ten = [word for _ in range(10) for word in ("--fault", "503=0.1")]
    assert "loopback" in refused(*ten, "--host", "0.0.0.0")


@pytest.mark.parametrize("pasted", ["sk-proj-abcdef0123456789", "skabcdef0123456789"])
def test_a_key_pasted_in_place_of_its_variable_is_not_repeated(pasted):
    assert pasted not in refused("--require-key", pasted)


def test_a_port_in_use_is_a_clean_error():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        result = CliRunner().invoke(emulate, ["--port", port])
    assert isinstance(result.exception, ReconcilerError)
    assert port in str(result.exception)


def test_a_database_that_is_none_is_a_clean_error(tmp_path):
    (tmp_path / "x.db").write_text("no database at all, but long enough to have a header" * 100)
    result = CliRunner().invoke(emulate, ["--port", "0", "--database", str(tmp_path / "x.db")])
    assert isinstance(result.exception, ReconcilerError)


def test_the_help_shows_an_example_and_every_choice():
    text = CliRunner().invoke(emulate, ["--help"]).output
    for word in ("\n    reconciler emulate --seed manifests", "merge-empty", "reset-after", "fieldless", "ENV_NAME"):
        assert word in text
