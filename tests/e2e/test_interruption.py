"""A run that is ended early, at any moment: it ends at once or as soon as it is safe, and says what it did not do."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest
from repositories import journal, ledger, shared
from scratch import Answer, Api, finished, staged, until

IDS = [f"thread_{number}" for number in range(6)]
MANIFEST = "threads:\n" + "".join(f"  {own}: {{metadata: {{plan: gold}}}}\n" for own in IDS)
HELD = {f"thread/{own}": {"plan": "silver"} for own in IDS}
KIND = {"thread": "replace"}
REPLACE = "writes: {thread: replace}"
SIGNALS = pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["SIGINT", "SIGTERM"]
)


def ended_within(process, seconds, *numbers):
    """Send signals and return what the command left behind; it has to end within so many seconds."""
    begun = time.monotonic()
    for number in numbers:
        os.kill(process.pid, number)
    done = finished(process)
    assert time.monotonic() - begun < seconds, done
    assert "Traceback" not in done.err
    return done


@SIGNALS
def test_a_signal_while_writing_finishes_verifies_and_records_what_was_in_flight(number, code, tmp_path):
    with staged(tmp_path, MANIFEST, Api(HELD, KIND, lag={"POST": 0.5}), REPLACE) as stage:
        stage.scratch.commit()
        process = stage.scratch.start("apply --yes --parallelism 2 --format json --out json=a.json")
        until(lambda: len(stage.api.sent("POST")) == 2, "two writes")
        done = ended_within(process, 5, number)
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
    with staged(tmp_path, MANIFEST, Api(HELD, KIND, lag={"POST": 0.5}), REPLACE) as stage:
        process = stage.scratch.start("apply --yes --parallelism 2 --format json")
        until(lambda: len(stage.api.sent("POST")) == 2, "two writes")
        os.kill(process.pid, signal.SIGSTOP)  # so that both arrive before any is answered
        done = ended_within(process, 5, number, signal.SIGINT if code == 143 else signal.SIGTERM, signal.SIGCONT)
    assert done.code in (130, 143), done
    assert sorted(done.outcomes().values()) == ["applied"] * 2 + ["not_attempted"] * 4


@SIGNALS
def test_a_signal_ends_the_wait_for_a_slot(number, code, tmp_path):
    more = f"{REPLACE}, rate: {{writes_per_minute: 1}}"
    with staged(tmp_path, MANIFEST, Api(HELD, KIND), more) as stage:
        process = stage.scratch.start("apply --yes --format json")
        until(lambda: len(stage.api.sent("POST")) == 1, "the first write")
        time.sleep(0.2)
        done = ended_within(process, 5, number)
    assert done.code == code
    assert sorted(done.outcomes().values()) == ["applied"] + ["not_attempted"] * 5


@SIGNALS
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_signal_ends_the_wait_for_another_attempt(method, number, code, tmp_path):
    busy = Answer(503, {"error": {"message": "Later."}}, {"retry-after": "100"})
    instead = {f"{method} /v1/threads/{own}": [busy] for own in IDS}
    with staged(tmp_path, MANIFEST, Api(HELD, KIND, instead), REPLACE) as stage:
        process = stage.scratch.start("apply --yes --format json")
        until(lambda: stage.api.sent(method), f"a {method}")
        time.sleep(0.5)
        done = ended_within(process, 5, number)
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
        process = stage.scratch.start("apply --yes --parallelism 2 --format json")
        until(lambda: len(stage.api.sent("POST")) == 2, "two writes")
        time.sleep(0.3)
        done = ended_within(process, 5, signal.SIGINT)
    assert done.code == 130
    assert sorted(done.outcomes().values()) == ["applied"] * 2 + ["not_attempted"] * 4


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
        done = ended_within(process, 5, number)
        pids = [int(pid) for pid in told.read_text().split()]
        until(lambda: not any(map(is_running, pids)), "the end of what git started")
        assert done.code == code, done
        assert [each["code"] for each in done.document["errors"]] == ["interrupted"]
        if program == "git-receive-pack":  # all is written and recorded here; only the remote does not know yet
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
    more = f"{REPLACE}, timeouts: {{run: 1}}"
    with staged(tmp_path, MANIFEST, Api(HELD, KIND, lag={"GET": 0.7}), more) as stage:
        plan = stage.run("plan --format json --parallelism 1")
        assert plan.code == 1, plan
        assert [each["code"] for each in plan.document["errors"]] == ["timeout"]
        assert "the run took longer than 1 s" in plan.document["errors"][0]["message"]
        done = stage.run("apply --yes --format json --parallelism 1")
    assert done.code != 0
    assert [each["code"] for each in done.document["errors"]] == ["timeout"]
    assert set(done.outcomes().values()) == {"not_attempted"}
    assert stage.api.bodies == []


def test_a_run_that_takes_too_long_while_writing_finishes_what_is_in_flight(tmp_path):
    more = f"{REPLACE}, timeouts: {{run: 1.5}}"
    with staged(tmp_path, MANIFEST, Api(HELD, KIND, lag={"POST": 1.2}), more) as stage:
        stage.scratch.commit()
        done = stage.run("apply --yes --format json --parallelism 2")
        written = {name for name in HELD if stage.api.held(name)["plan"] == "gold"}
        assert done.code == 1, done
        assert 0 < len(written) < 6
        assert {name for name, outcome in done.outcomes().items() if outcome == "applied"} == written
        assert [each["code"] for each in done.document["errors"]] == ["timeout"]
        assert ledger(stage.scratch.folder).touched.keys() == written
        stage.scratch.settings(stage.url, REPLACE)
        assert stage.run("apply --yes").code == 0
        assert stage.run("plan --detailed-exitcode").code == 0
