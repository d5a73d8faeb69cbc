"""A run that is ended early, at any moment: it ends at once or as soon as it is safe, and says what it did not do."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest
from repositories import journal, ledger, shared
from scratch import PATIENCE, Answer, Api, Scratch, finished, staged, until

from reconciler.cli.signals import BURST

IDS = [f"thread_{number}" for number in range(6)]
MANIFEST = "threads:\n" + "".join(f"  {own}: {{metadata: {{plan: gold}}}}\n" for own in IDS)
HELD = {f"thread/{own}": {"plan": "silver"} for own in IDS}
KIND = {"thread": "replace"}
REPLACE = "writes: {thread: replace}"
SIGNALS = pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["SIGINT", "SIGTERM"]
)


class Holding(Api):
    """A server that holds every write back until it is told to go on."""

    def __init__(self):
        super().__init__(HELD, KIND)
        self.go_on = threading.Event()
        self.arrived = 0

    def answer(self, call, raw):
        if call.method == "POST":
            with self._lock:
                self.arrived += 1
            self.go_on.wait(PATIENCE)
        return super().answer(call, raw)


def ended_by(process, *numbers):
    """Send signals and return what the command left behind; it has to end long before anything it could wait for."""
    for number in numbers:
        os.kill(process.pid, number)
    done = finished(process)
    assert "Traceback" not in done.err
    return done


def hear(process, words, times=1):
    """Wait until a command has said something on standard error, so many times."""
    while times:
        line = process.stderr.readline()
        assert line, f"it ended without: {words}"
        times -= words in line


@SIGNALS
def test_a_signal_while_writing_finishes_verifies_and_records_what_was_in_flight(number, code, tmp_path):
    with staged(tmp_path, MANIFEST, Holding(), REPLACE) as stage:
        stage.scratch.commit()
        process = stage.scratch.start("apply --yes --parallelism 2 --format json --out json=a.json")
        until(lambda: stage.api.arrived == 2, "two writes")
        os.kill(process.pid, number)
        hear(process, "finishing the writes in flight; once more to end at once")
        stage.api.go_on.set()
        done = finished(process)
        written = {name for name in HELD if stage.api.held(name)["plan"] == "gold"}
        assert (done.code, len(stage.api.bodies)) == (code, 2), done
        assert {name for name, outcome in done.outcomes().items() if outcome == "applied"} == written
        assert list(done.outcomes().values()).count("not_attempted") == 4
        assert json.loads(stage.scratch.read("a.json")) == done.document
        assert ledger(stage.scratch.folder).touched.keys() == written
        assert journal(stage.scratch) == []
        assert stage.run("apply --yes").code == 0
        assert stage.run("plan --detailed-exitcode").code == 0


@SIGNALS
def test_two_signals_in_the_same_instant_are_one(number, code, tmp_path):
    with staged(tmp_path, MANIFEST, Holding(), REPLACE) as stage:
        process = stage.scratch.start("apply --yes --parallelism 2 --format json")
        until(lambda: stage.api.arrived == 2, "two writes")
        # Stopped meanwhile, so that both arrive before any is answered.
        for each in (signal.SIGSTOP, number, signal.SIGINT if code == 143 else signal.SIGTERM, signal.SIGCONT):
            os.kill(process.pid, each)
        hear(process, "finishing the writes in flight")
        stage.api.go_on.set()
        done = finished(process)
    assert done.code in (130, 143), done
    assert sorted(done.outcomes().values()) == ["applied"] * 2 + ["not_attempted"] * 4


@SIGNALS
def test_a_signal_ends_the_wait_for_a_slot(number, code, tmp_path):
    more = f"{REPLACE}, rate: {{writes_per_minute: 1}}"
    with staged(tmp_path, MANIFEST, Api(HELD, KIND), more) as stage:
        process = stage.scratch.start("apply --yes --format json")
        until(lambda: len(stage.api.sent("POST")) == 1, "the first write")
        done = ended_by(process, number)
    assert done.code == code
    assert sorted(done.outcomes().values()) == ["applied"] + ["not_attempted"] * 5


@SIGNALS
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_signal_ends_the_wait_for_another_attempt(method, number, code, tmp_path):
    busy = Answer(503, {"error": {"message": "Later."}}, {"retry-after": "100"})
    instead = {f"{method} /v1/threads/{own}": [busy] for own in IDS}
    with staged(tmp_path, MANIFEST, Api(HELD, KIND, instead), REPLACE) as stage:
        process = stage.scratch.start("apply --yes --verbose --format json")
        hear(process, " 503 ", times=6 if method == "GET" else 1)
        done = ended_by(process, number)
    assert done.code == code
    assert "applied" not in done.outcomes().values()
    assert len(stage.api.sent("POST")) == done.document["requests"]["writes"]


def test_a_write_whose_answer_is_lost_is_looked_at_before_the_run_ends(tmp_path):
    class Landing(Api):
        """A server that carries writes out and says that it was too busy."""

        def _emulated(self, call, raw):
            answer = super()._emulated(call, raw)
            busy = Answer(503, {"error": {"message": "Later."}}, {"retry-after": "100"})
            return busy if call.method == "POST" else answer

    with staged(tmp_path, MANIFEST, Landing(HELD, KIND), REPLACE) as stage:
        process = stage.scratch.start("apply --yes --verbose --parallelism 2 --format json")
        hear(process, " 503 ", times=2)
        done = ended_by(process, signal.SIGINT)
    assert done.code == 130
    assert sorted(done.outcomes().values()) == ["applied"] * 2 + ["not_attempted"] * 4


def test_a_lookup_that_hangs_holds_up_no_end(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        "import socket, time\n"
        f"socket.getaddrinfo = lambda *_, **__: (open({str(tmp_path / 'asked')!r}, 'w').close(), time.sleep(600))\n"
    )
    scratch = Scratch(tmp_path)
    scratch.manifest(MANIFEST)
    scratch.settings("https://api.example/v1", "timeouts: {connect: 300}")
    process = scratch.start("plan --format json", {"PYTHONPATH": str(tmp_path), "OPENAI_API_KEY": "sk-any"})
    until((tmp_path / "asked").exists, "a lookup")
    done = ended_by(process, signal.SIGINT)
    assert done.code == 130, done
    assert {each["error"]["code"] for each in done.document["changes"]} == {"not_attempted"}
    assert "SIGINT: giving up reading\n" in done.err


# --- while git speaks with a remote -----------------------------------------------------------------------------------


def hang(place, program):
    """Return an environment whose ssh hangs where git starts that program of the remote's, and serves all others."""
    script = place / "ssh.sh"
    script.write_text(
        f'#!/bin/sh\nfor last; do :; done\ncase "$last" in {program}*) sleep 600 & echo "$$ $!" >"{place}/told"; '
        f'mv "{place}/told" "{place}/pids"; wait;; esac\nexec sh -c "$last"\n'
    )
    script.chmod(0o755)
    return {"GIT_SSH_COMMAND": str(script)}, place / "pids"


def is_running(pid):
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


@SIGNALS
@pytest.mark.parametrize("program", ["git-upload-pack", "git-receive-pack"])
def test_a_signal_ends_what_git_started(program, number, code, tmp_path):
    with shared(tmp_path, MANIFEST, Api(HELD, KIND)) as both:
        both.one.git("remote", "set-url", "origin", f"ssh://git@host.invalid{both.remote}")
        env, told = hang(tmp_path, program)
        process = both.one.start("apply --yes --format json", env)
        until(told.exists, "a hanging ssh")
        pushing = program == "git-receive-pack"
        if pushing:  # a first signal lets it finish
            process.send_signal(number)
            time.sleep(BURST + 0.2)
        done = ended_by(process, number)
        pids = [int(pid) for pid in told.read_text().split()]
        until(lambda: not any(map(is_running, pids)), "the end of what git started")
        assert done.code == code, done
        codes = {each["code"] for each in done.document["errors"]}
        assert codes == ({"interrupted", "not_pushed"} if pushing else {"interrupted"})
        if pushing:  # all is written and recorded here; only the remote does not know yet
            assert set(done.outcomes().values()) == {"applied"}
            assert ledger(both.one.folder).touched.keys() == HELD.keys()
        else:
            assert both.api.calls == []
        assert journal(both.one) == []
        both.one.git("remote", "set-url", "origin", f"file://{both.remote}")
        assert both.one.run("apply --yes").code == 0
        assert ledger(both.remote).bases.keys() == HELD.keys()


# --- a limit of time ------------------------------------------------------------------------------------------------


def test_a_run_that_takes_too_long_while_reading_writes_nothing(tmp_path):
    more = f"{REPLACE}, timeouts: {{run: 0.5}}"
    with staged(tmp_path, MANIFEST, Api(HELD, KIND, lag={"GET": 0.3}), more) as stage:
        plan = stage.run("plan --format json --parallelism 1")
        assert plan.code == 1, plan
        assert [each["code"] for each in plan.document["errors"]] == ["timeout"]
        assert "the run took longer than 0.5 s" in plan.document["errors"][0]["message"]
        done = stage.run("apply --yes --format json --parallelism 1")
    assert done.code != 0
    assert [each["code"] for each in done.document["errors"]] == ["timeout"]
    assert set(done.outcomes().values()) == {"not_attempted"}
    assert stage.api.bodies == []


@pytest.mark.parametrize("in_flight", [2, 6])
def test_a_run_that_takes_too_long_while_writing_finishes_what_is_in_flight(in_flight, tmp_path):
    with staged(tmp_path, MANIFEST, Holding(), REPLACE) as stage:
        stage.scratch.commit()
        begun = time.monotonic()
        assert stage.run("plan").code == 0
        # As this machine is at present: long enough to come to the writes.
        limit = round(1 + 2 * (time.monotonic() - begun), 1)
        stage.scratch.settings(stage.url, f"{REPLACE}, timeouts: {{run: {limit}}}")
        process = stage.scratch.start(f"apply --yes --format json --parallelism {in_flight}")
        hear(process, f"the run took longer than {limit:g} s: finishing the writes in flight")
        assert stage.api.arrived == in_flight
        stage.api.go_on.set()
        done = finished(process)
        written = {name for name in HELD if stage.api.held(name)["plan"] == "gold"}
        assert len(written) == in_flight
        assert {name for name, outcome in done.outcomes().items() if outcome == "applied"} == written
        # A limit that has left nothing undone is no error.
        told = [] if in_flight == 6 else ["timeout"]
        assert (done.code, [each["code"] for each in done.document["errors"]]) == (len(told), told), done
        assert ledger(stage.scratch.folder).touched.keys() == written
        stage.scratch.settings(stage.url, REPLACE)
        assert stage.run("apply --yes").code == 0
        assert stage.run("plan --detailed-exitcode").code == 0
