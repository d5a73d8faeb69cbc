"""Targets whose credential is a token that ends, and kinds that are retired: the real command over loopback."""

from __future__ import annotations

import json
import os
import signal
import time

import pytest
from scratch import Answer, Api, Scratch, complaint, staged, until

MANIFEST = "threads:\n" + "".join(f"  thread_{n}: {{metadata: {{plan: gold}}}}\n" for n in range(6))
ALLOWED = {"RECONCILER_ALLOW_COMMANDS": "1"}
GIVE = """\
#!/bin/sh
echo run >> given
n=$(wc -l < given)
{more}
echo '{{"accessToken": "token-number-'$n'-of-this-run", "expires_on": '$(($(date +%s) + {lasting}))'}}'
"""
TOKEN = "token-number-{}-of-this-run"


def give(scratch, *, lasting=3600, more=""):
    path = scratch.write("give", GIVE.format(lasting=lasting, more=more))
    path.chmod(0o755)


def asked(scratch):
    path = scratch.folder / "given"
    return len(path.read_text().splitlines()) if path.exists() else 0


@pytest.fixture
def stage(tmp_path):
    api = Api({f"thread/thread_{n}": {"plan": "silver"} for n in range(6)}, {"thread": "replace"})
    with staged(tmp_path, MANIFEST, api, "token_command: [./give, --scope, x]") as made:
        give(made.scratch)
        yield made


def sent(api):
    return [call.headers.get("authorization", "").removeprefix("Bearer ") for call in api.calls]


def test_one_run_asks_once_for_a_token_and_shows_it_nowhere(stage):
    done = stage.run("apply --yes --verbose --format json --out html=page.html", ALLOWED)
    assert done.code == 0, done.err
    assert asked(stage.scratch) == 1
    assert set(sent(stage.api)) == {TOKEN.format(1)}
    held = [path.read_bytes() for path in stage.scratch.folder.parent.rglob("*") if path.is_file()]
    assert not [data for data in [done.out.encode(), done.err.encode(), *held] if b"token-number-1" in data]


def test_nothing_runs_unless_the_environment_allows_it_and_nothing_offline_runs_it(stage):
    refused = stage.run("plan --format json")
    assert refused.code == 3
    (error,) = refused.document["errors"]
    assert (error["code"], error["source"]["line"]) == ("command_not_allowed", 3)
    for line in ("validate", "fmt --check", "kinds", "schema settings"):
        assert stage.run(line, ALLOWED).code == 0, line
    assert stage.run("validate").code == 0
    assert (asked(stage.scratch), stage.api.calls) == (0, [])


def test_a_short_lived_token_is_renewed_during_a_run_once_for_all(tmp_path):
    api = Api({f"thread/thread_{n}": {"plan": "gold"} for n in range(40)}, lag={"GET": 0.25})
    manifest = "threads:\n" + "".join(f"  thread_{n}: {{metadata: {{plan: gold}}}}\n" for n in range(40))
    with staged(tmp_path, manifest, api, "token_command: [./give], parallelism: 4") as made:
        give(made.scratch, lasting=2)
        done = made.run("plan", ALLOWED)
    assert done.code == 0, done.err
    seen = set(sent(api))
    assert 2 <= len(seen) <= asked(made.scratch) <= 4
    assert len(api.calls) == 40


def test_a_token_that_is_refused_in_the_middle_costs_no_resource(tmp_path):
    refusal = complaint(401, f"The token {TOKEN.format(1)} has been revoked.")
    api = Api(
        {f"thread/thread_{n}": {"plan": "silver"} for n in range(6)}, {"thread": "replace"},
        instead={"POST /v1/threads/thread_3": [refusal, None], "GET /v1/threads/thread_5": [refusal, None]},
    )  # fmt: skip
    with staged(tmp_path, MANIFEST, api, "token_command: [./give], parallelism: 1") as made:
        give(made.scratch)
        done = made.run("apply --yes --format json", ALLOWED)
    assert done.code == 0, done.err
    assert set(done.outcomes().values()) == {"applied"}
    assert asked(made.scratch) == 3
    told = [str(call) for call in api.calls]
    first, again = (at for at, call in enumerate(told) if call == "POST /v1/threads/thread_3")
    assert told[first + 1 : again] == ["GET /v1/threads/thread_3"]  # a look comes before every write
    assert TOKEN.format(1) not in done.out + done.err


def test_a_token_that_stays_refused_ends_the_run_with_7(tmp_path):
    api = Api(instead={f"GET /v1/threads/thread_{n}": [complaint(401, "no")] for n in range(6)})
    with staged(tmp_path, MANIFEST, api, "token_command: [./give]") as made:
        give(made.scratch)
        done = made.run("plan --format json", ALLOWED)
    assert done.code == 7
    assert [error["code"] for error in done.document["errors"]] == ["unauthorized"]


def test_a_command_that_fails_is_one_error_and_no_call(stage):
    give(stage.scratch, more="echo 'got token-number-9-of-this-run' ; echo 'ERROR: \033[31mlog in' >&2; exit 5")
    done = stage.run("plan --format json", ALLOWED)
    assert (done.code, stage.api.calls) == (7, [])
    (error,) = done.document["errors"]
    assert error["code"] == "no_token"
    assert "ended with status 5: ERROR: log in" in error["message"]
    assert "token-number" not in done.out + done.err


def test_a_token_that_has_ended_on_arrival_is_an_error_and_not_asked_for_again(stage):
    give(stage.scratch, lasting=-60)
    done = stage.run("plan --format json", ALLOWED)
    assert done.code == 7
    assert [error["code"] for error in done.document["errors"]] == ["no_token"]
    assert asked(stage.scratch) == 1


def test_a_manifest_that_declares_the_token_is_refused_before_any_call(tmp_path):
    api = Api({"thread/thread_1": {}})
    with staged(tmp_path, "threads:\n  thread_1: {metadata: {a: x-token-number-1-of-this-run}}\n", api,
                "token_command: [./give]") as made:  # fmt: skip
        give(made.scratch)
        done = made.run("plan --format json", ALLOWED)
    assert (done.code, api.calls) == (3, [])
    assert [error["code"] for error in done.document["errors"]] == ["secret_like"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("line", ["plan --format json", "apply --yes --format json"])
def test_a_signal_ends_a_run_that_waits_for_a_token_and_the_command_with_it(stage, number, code, line):
    give(stage.scratch, more="echo $$ > own; sleep 600")
    process = stage.scratch.start(line, ALLOWED)
    own = stage.scratch.folder / "own"
    until(lambda: own.exists() and own.read_text().strip(), "the command")
    begun = time.monotonic()
    process.send_signal(number)
    out, _ = process.communicate(timeout=30)
    assert (process.returncode, time.monotonic() - begun < 15) == (code, True)
    assert json.loads(out)["exit_code"] == code
    until(lambda: not alive(int(own.read_text())), "the end of the command")


@pytest.mark.parametrize(("line", "lag"), [("plan --format json", "GET"), ("apply --yes --format json", "POST")])
def test_a_signal_ends_a_run_in_which_a_token_has_ended_and_the_next_one_hangs(tmp_path, line, lag):
    held = {f"thread/thread_{n}": {"plan": "silver"} for n in range(6)}
    api = Api(held, {"thread": "replace"}, lag={lag: 0.8})
    with staged(tmp_path, MANIFEST, api, "token_command: [./give], parallelism: 1") as made:
        give(made.scratch, lasting=2, more='[ "$n" = 1 ] || { echo $$ > own; sleep 600; }')
        process = made.scratch.start(line, ALLOWED)
        own = made.scratch.folder / "own"
        until(lambda: own.exists() and own.read_text().strip() and len(api.calls) > 1, "the second asking")
        until(lambda: len(sent(api)) > 1 and time.time() > own.stat().st_mtime + 2.5, "the end of the first token")
        begun = time.monotonic()
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=30)
    assert (process.returncode, time.monotonic() - begun < 15) == (130, True)
    assert json.loads(out)["exit_code"] == 130
    until(lambda: not alive(int(own.read_text())), "the end of the command")


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_headers_and_query_of_the_target_arrive_and_secrets_of_them_show_nowhere(tmp_path):
    api = Api(instead={f"GET /v1/threads/thread_{n}?x=a%20b": [Answer(403, "no gate-secret-1")] for n in range(6)})
    api.judge.query, api.judge.also = {"x": "a b"}, frozenset({"x-team", "x-gate"})
    more = "headers: {X-Team: support desk}, headers_env: {X-Gate: GATE}, query: {x: a b}"
    with staged(tmp_path, MANIFEST, api, more) as made:
        unset = made.run("plan --format json")
        done = made.run("plan --verbose --format json", {"GATE": "gate-secret-1"})
    assert unset.code == 3
    assert [error["code"] for error in unset.document["errors"]] == ["no_key"]
    assert done.code == 7
    assert {(call.headers["x-team"], call.headers["x-gate"]) for call in api.calls} == {
        ("support desk", "gate-secret-1")
    }
    assert "gate-secret-1" not in done.out + done.err
    assert "a%20b" not in done.out + done.err


def test_no_call_is_made_for_retired_kinds_and_one_diagnosis_tells_where_to_go(tmp_path):
    scratch = Scratch(tmp_path)
    scratch.manifest(
        "threads:\n" + "".join(f"  thread_{n}: {{metadata: {{a: b}}}}\n" for n in range(80)) +
        "assistants:\n  asst_1: {metadata: {a: b}}\n"
    )  # fmt: skip
    scratch.settings("https://api.openai.com/v1")
    # Whatever is sent fails at this port, and would be told as an error of the network.
    nowhere = {"HTTPS_PROXY": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9", "OPENAI_API_KEY": "sk-1"}
    done = scratch.run("plan --verbose --format json", nowhere)
    assert done.code == 7
    errors = done.document["errors"]
    assert [error["code"] for error in errors] == ["unserved", "unserved"]
    kinds = ("assistants", "threads, messages and runs")
    for error, kind in zip(sorted(error["message"] for error in errors), kinds, strict=True):
        assert f"api.openai.com retired {kind} on 2026-08-26, so no call is made for them" in error
        assert "2027-03-31" in error
        assert "check `base_url`" not in error
    assert "GET" not in done.err


def test_a_saved_plan_with_retired_kinds_is_refused_as_an_apply_is(tmp_path):
    scratch = Scratch(tmp_path)
    scratch.manifest("threads: {thread_1: {metadata: {a: b}}, thread_2: {metadata: {a: b}}}\n")
    scratch.settings("https://api.openai.com./v1", "api_key_env: KEY")
    nowhere = {"HTTPS_PROXY": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9", "KEY": "sk-1"}
    scratch.commit()
    assert scratch.run("plan --out json=p.json", nowhere).code == 7
    saved = scratch.run("apply p.json --yes --format json", nowhere)
    direct = scratch.run("apply --yes --format json", nowhere)
    for done in (saved, direct):
        assert done.code == 7
        (error,) = done.document["errors"]
        assert "api.openai.com retired threads" in error["message"]
        assert set(done.outcomes().values()) == {"failed"}
        assert done.document["requests"] == {"reads": 0, "writes": 0}
    assert scratch.git("for-each-ref", "refs/reconciler") == ""  # nothing was looked at, so nothing is known


def test_a_token_is_asked_for_with_the_first_call_not_where_none_is_made(stage):
    stage.scratch.commit()
    assert stage.run("plan --changed-since HEAD", ALLOWED).code == 0
    assert stage.run("plan --select 'thread/none'", ALLOWED).code == 64
    assert asked(stage.scratch) == 0
    assert stage.run("plan", ALLOWED).code == 0
    assert asked(stage.scratch) == 1


def test_a_watch_that_can_never_work_ends_before_its_first_run(stage):
    for env, code in [({}, "command_not_allowed"), ({**ALLOWED, "RECONCILER_ALLOWED_HOSTS": "x.example"}, "allows")]:
        done = stage.run("watch --interval 1h --listen none", env)
        assert done.code == 3, done
        assert "run 1" not in done.err
        assert {"command_not_allowed": "RECONCILER_ALLOW_COMMANDS=1"}.get(code, code) in done.err
    assert stage.api.calls == []


def test_what_is_retired_is_told_offline_and_counts_as_no_read(tmp_path):
    scratch = Scratch(tmp_path)
    scratch.manifest("threads: {thread_1: {}, thread_2: {}}\nconversations: {conv_1: {}}\n")
    scratch.settings("https://api.openai.com/v1")
    told = scratch.run("validate")
    assert (told.code, told.out.count("retired threads")) == (0, 1)
    assert "Valid: 3 resources." in told.out
    assert [note["code"] for note in scratch.run("validate --format json").document["notes"]] == ["unserved"]
    made = scratch.run("plan --select 'thread/*' --format json", {"OPENAI_API_KEY": "sk-1"})
    assert (made.code, made.document["requests"]) == (7, {"reads": 0, "writes": 0})
