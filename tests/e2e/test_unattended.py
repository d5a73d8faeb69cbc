"""What a job relies on that nobody watches: a code that tells the truth, and nothing that goes where it should not."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time

import pytest
from repositories import hook, shared, tip
from scratch import Api, Scratch, complaint, finished, staged, until

KEY = "0123456789abcdef0123456789"


def many(number: int) -> str:
    return "threads:\n" + "".join(f"  t{index}: {{metadata: {{k: v}}}}\n" for index in range(number))


def closed_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.mark.parametrize("command", ["apply --yes", "apply --yes --prune", "plan", "drift"])
def test_an_outage_never_ends_as_if_all_were_well(tmp_path, command):
    scratch = Scratch(tmp_path)
    scratch.manifest(many(30))
    scratch.settings(f"http://127.0.0.1:{closed_port()}/v1")
    scratch.commit()
    done = scratch.run(f"{command} --format json")
    assert done.code == 1, done.err
    assert "breaker" in [error["code"] for error in done.document["errors"]]
    if command.startswith("apply"):
        assert set(done.outcomes().values()) <= {"failed", "not_attempted"}


def test_a_rollback_in_an_outage_says_so(tmp_path):
    held = {f"thread/t{index}": {} for index in range(30)}
    with staged(tmp_path, many(30), Api(held)) as stage:
        stage.scratch.commit()
        assert stage.run("apply --yes").code == 0
        stage.api._instead = {f"GET /v1/threads/t{index}": [complaint(500, "down")] for index in range(30)}
        done = stage.run("rollback --yes --max-changed 100 --max-removed 100 --format json")
    assert done.code == 1
    assert set(done.outcomes().values()) <= {"failed", "not_attempted"}


@pytest.mark.parametrize("sort", ["a link that leads nowhere", "a folder"])
def test_settings_that_cannot_be_read_are_not_taken_for_none(tmp_path, sort):
    with Api({"thread/t0": {}}).listening() as url:
        scratch = Scratch(tmp_path)
        scratch.manifest(many(1))
        path = scratch.folder / "reconciler.yaml"
        path.mkdir() if sort == "a folder" else path.symlink_to("nowhere")
        done = scratch.run("apply --yes", {"OPENAI_BASE_URL": url, "OPENAI_API_KEY": KEY})
    assert done.code == 3
    assert "settings file cannot be read" in done.err


def test_a_git_that_tells_what_it_does_is_understood_all_the_same(tmp_path):
    with staged(tmp_path, many(1), Api({"thread/t0": {}})) as stage:
        stage.scratch.commit()
        assert stage.run("apply --yes", {"GIT_TRACE": "1", "GIT_TRACE_SETUP": "1"}).code == 0
        assert stage.run("drift", {"GIT_TRACE": "1"}).code == 0


def test_the_targets_own_key_is_not_written_into_metadata(tmp_path):
    manifest = f"threads: {{t0: {{metadata: {{a: 'x{KEY}', '{KEY}': b}}}}, {KEY}: {{}}}}\n"
    with staged(tmp_path, manifest, Api({"thread/t0": {}}), "api_key_env: K") as stage:
        done = stage.run("plan --format json", {"K": KEY})
        assert stage.api.calls == []
    assert done.code == 3
    assert {(error["code"], error["source"]["line"]) for error in done.document["errors"]} == {("secret_like", 2)}
    assert len(done.document["errors"]) == 3
    assert KEY not in done.out + done.err


def test_a_plan_that_was_saved_openly_is_shown_masked_where_the_settings_mask(tmp_path):
    with staged(tmp_path, "threads: {t0: {metadata: {pin: '48151623'}}}\n", Api({"thread/t0": {}})) as stage:
        assert stage.run("plan --out json=p.json").code == 0
        assert "48151623" in stage.run("show p.json").out
        stage.scratch.settings(stage.url, "mask: [pin]")
        for form in ("text", "json"):
            assert "48151623" not in stage.run(f"show p.json --format {form} --out {form}=out").out
            assert "48151623" not in stage.scratch.read("out")


def test_settings_that_cannot_be_read_mask_everything_in_what_is_shown(tmp_path):
    with staged(tmp_path, "threads: {t0: {metadata: {pin: '48151623'}}}\n", Api({"thread/t0": {}})) as stage:
        assert stage.run("plan --out json=p.json").code == 0
        for settings in ("version: 1\ntargets: [\n", "version: 1\nmask: [pin]\nnonsense: 1\n"):
            stage.scratch.write("reconciler.yaml", settings)
            done = stage.run("show p.json")
            assert done.code == 0
            assert "48151623" not in done.out


def test_a_value_that_is_masked_is_not_repeated_where_it_is_wrong(tmp_path):
    pins = "pin: 48151623, pin2: *S48151623"
    manifest = f"threads: {{t0: {{metadata: {{{pins}}}, accept: [{{key: pin, value: 2026-01-02}}]}}}}\n"
    with staged(tmp_path, manifest, Api(), "mask: [pin]") as stage:
        for command in ("validate", "plan", "validate --format json"):
            done = stage.run(command)
            assert done.code == 3
            assert "48151623" not in done.out + done.err
            assert "2026-01-02" not in done.out + done.err
        stage.scratch.settings(stage.url, "mask: [pin], nonsense: 1")
        broken = stage.run("validate --format json")
    assert "48151623" not in broken.out
    assert {"unknown_field", "not_a_string"} <= {error["code"] for error in json.loads(broken.out)["errors"]}


@pytest.fixture
def pushing(tmp_path):
    """Give a scratch folder whose ledger goes to a remote that takes its time, that remote, and what it touches."""
    held = {f"thread/t{index}": {} for index in range(3)}
    with shared(tmp_path, many(3), Api(held)) as both:
        mark = tmp_path / "mark"
        hook(both.remote, "pre-receive", f"touch {mark}; sleep 2")
        yield both.one, both.remote, mark


def test_a_first_signal_lets_the_record_be_pushed(pushing):
    scratch, remote, mark = pushing
    process = scratch.start("apply --yes --format json")
    until(mark.exists, "the push")
    process.send_signal(signal.SIGTERM)
    done = finished(process)
    assert done.code == 143
    assert [error["code"] for error in done.document["errors"]] == ["interrupted"]
    assert "SIGTERM: pushing what was recorded; once more to end at once" in done.err
    assert tip(remote) == tip(scratch.folder)


def test_a_second_signal_breaks_off_the_push_and_the_report_says_so(pushing):
    scratch, remote, mark = pushing
    hook(remote, "pre-receive", f"touch {mark}; sleep 20")
    process = scratch.start("apply --yes --format json")
    until(mark.exists, "the push")
    process.send_signal(signal.SIGINT)
    time.sleep(1.2)  # what comes at once is taken for the same wish
    process.send_signal(signal.SIGINT)
    done = finished(process)
    assert done.code == 130
    assert {error["code"] for error in done.document["errors"]} == {"interrupted", "not_pushed"}
    assert set(done.outcomes().values()) == {"applied"}
    hook(remote, "pre-receive", "true")
    assert scratch.run("apply --yes").code == 0
    assert tip(remote) == tip(scratch.folder)


def test_a_reader_that_takes_nothing_is_no_prison(tmp_path):
    held = {f"thread/t{index}": {} for index in range(300)}
    with staged(tmp_path, many(300), Api(held)) as stage:
        read, write = os.pipe()
        process = stage.scratch.start("plan --format json --quiet", stdout=write, stderr=subprocess.DEVNULL)
        os.close(write)
        until(lambda: len(stage.api.calls) == 300, "all reads")
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        time.sleep(1.2)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) in (130, 0), "0: it was done before"
        os.close(read)
