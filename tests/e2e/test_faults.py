"""Whatever goes wrong on the way, one resource is named with its cause, the others are done, running again ends well.

The server here spoils single calls at its socket: before it carries them out, or after.
"""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import struct
import threading
import time
from collections import defaultdict

import pytest
import trustme
from scratch import Answer, Api, Call, Scratch, _Desk, _Server, complaint, staged

MANIFEST = "threads:\n" + "".join(f"  thread_{number}: {{metadata: {{plan: gold}}}}\n" for number in (1, 2, 3))
HELD = {f"thread/thread_{number}": {"plan": "silver", "seen": "bot"} for number in (1, 2, 3)}
GOLD = {"plan": "gold", "seen": "bot"}
QUICK = "timeouts: {connect: 0.5, read: 0.5}"
REPLACE = f"writes: {{thread: replace}}, {QUICK}"


class Rough(Api):
    """A server that spoils calls: `spoilt` maps `METHOD /v1/path` (or `*`) to a way, and how often (`None`: always)."""

    def __init__(self, held=HELD, spoilt=None, writes=None, context=None):
        super().__init__(held, writes or {"thread": "replace"})
        self.spoilt = dict(spoilt or {})
        self.context = context
        self.over = threading.Event()
        self._spoilt = defaultdict(int)

    def way(self, call):
        name = str(call) if str(call) in self.spoilt else "*"
        way, times = self.spoilt.get(name, (None, None))
        with self._lock:
            self._spoilt[name] += 1
            return way if times is None or self._spoilt[name] <= times else None

    @contextlib.contextmanager
    def listening(self):
        server = _Server(("127.0.0.1", 0), type("Desk", (Spoiling,), {"api": self}))
        if self.context is not None:
            server.socket = self.context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http{'s' if self.context else ''}://127.0.0.1:{server.server_address[1]}/v1"
        finally:
            self.over.set()
            server.shutdown()
            thread.join()
            server.server_close()


class Spoiling(_Desk):
    """A desk that does to its calls what the server's `way` says."""

    def _respond(self):
        raw = self.rfile.read(int(self.headers.get("content-length", "0")))
        call = Call(self.command, self.path, {}, json.loads(raw) if raw else None)
        when, _, way = (self.api.way(call) or "").partition(" ")
        if when == "before":
            self.api.calls.append(call)
            answer = Answer(200, "{}")
        else:
            answer = self.api.answer(call, raw)
        body = (answer.body if isinstance(answer.body, str) else json.dumps(answer.body)).encode()
        if way == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            self.connection.close()
        elif way == "stall":
            self.api.over.wait(5)
            self.close_connection = True
        elif way == "cut":
            self._send(200, body[: len(body) // 2], len(body))
            self.close_connection = True
        elif way.isdigit():
            self._send(int(way), json.dumps(complaint(int(way), "A bad moment.").body).encode())
        else:
            self._send(answer.status, NO_ANSWERS.get(way, body))

    def _send(self, status, body, length=None):
        self.send_response(status)
        self.send_header("content-length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)


NO_ANSWERS = {
    "html": b"<html><title>One moment</title></html>",
    "garbage": b"\x00\x01garbage",
    "empty": b"",
    "half": b'{"id": "thread_2", "metadata": {"plan": "go',
    "wrong": b'{"id": "thread_9", "metadata": {"plan": "lead"}}',
}
CODES = {
    "reset": "network", "stall": "timeout", "cut": "network", "500": "server_error", "503": "server_error",
    **dict.fromkeys(NO_ANSWERS, "invalid_answer"),
}  # fmt: skip
WORDS = {
    "reset": "broke", "stall": "in time", "cut": "broke", "500": "A bad moment", "503": "A bad moment",
    "html": "One moment", "garbage": "no JSON", "empty": "is empty", "half": "no JSON", "wrong": "thread_9",
}  # fmt: skip


def outcome_of(done, name):
    return next(each for each in done.document["outcomes"] if f"{each['kind']}/{each['id']}" == name)


def heal(stage):
    """Let the server do nothing wrong any more, and hold that running again ends as declared."""
    stage.api.spoilt.clear()
    done = stage.run("apply --yes --format json")
    assert done.code == 0, done
    assert all(stage.api.held(name) == GOLD for name in HELD)
    assert stage.run("plan --detailed-exitcode").code == 0


@pytest.mark.parametrize("way", CODES)
def test_a_resource_that_cannot_be_read_is_named_and_the_others_are_done(way, tmp_path):
    api = Rough(spoilt={"GET /v1/threads/thread_2": (f"after {way}", None)})
    with staged(tmp_path, MANIFEST, api, REPLACE) as stage:
        done = stage.run("apply --yes --format json")
        assert done.code == 4, done
        assert done.outcomes() == {
            "thread/thread_1": "applied", "thread/thread_2": "failed", "thread/thread_3": "applied"
        }  # fmt: skip
        error = outcome_of(done, "thread/thread_2")["error"]
        assert (error["code"], WORDS[way] in error["message"]) == (CODES[way], True), error
        assert api.told.count("GET /v1/threads/thread_2") == 3
        heal(stage)


@pytest.mark.parametrize("way", CODES)
def test_a_read_that_fails_in_passing_is_tried_again(way, tmp_path):
    api = Rough(spoilt={"GET /v1/threads/thread_2": (f"after {way}", 2)})
    with staged(tmp_path, MANIFEST, api, REPLACE) as stage:
        assert stage.run("apply --yes").code == 0
        assert api.held("thread/thread_2") == GOLD


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("way", CODES)
def test_a_write_that_fails_once_ends_as_planned_and_is_never_sent_blindly(way, when, tmp_path):
    api = Rough(spoilt={"POST /v1/threads/thread_2": (f"{when} {way}", 1)})
    with staged(tmp_path, MANIFEST, api, REPLACE) as stage:
        done = stage.run("apply --yes --format json")
        calls = [call for call in api.told if call.endswith("thread_2")]
    outcome = outcome_of(done, "thread/thread_2")
    if when == "before" and way in NO_ANSWERS:
        # It said 200 and did nothing: that is told, not tried again.
        assert (done.code, outcome["outcome"], outcome["error"]["code"]) == (4, "failed", "not_applied"), done
        return
    assert (done.code, outcome["outcome"], api.held("thread/thread_2")) == (0, "applied", GOLD), done
    methods = [call.partition(" ")[0] for call in calls]
    assert methods.count("POST") == (2 if when == "before" else 1)
    # Before each write there is a look, and after one without a usable answer.
    assert methods == ["GET", "GET", "POST", "GET", *(["POST"] if when == "before" else [])]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("way", ["reset", "stall", "503", "html"])
def test_a_write_that_always_fails_is_named_unless_it_took_effect(way, when, tmp_path):
    api = Rough(spoilt={"POST /v1/threads/thread_2": (f"{when} {way}", None)})
    with staged(tmp_path, MANIFEST, api, REPLACE) as stage:
        done = stage.run("apply --yes --format json")
        outcome = outcome_of(done, "thread/thread_2")
        assert [done.outcomes()[f"thread/thread_{other}"] for other in (1, 3)] == ["applied"] * 2
        if when == "after":
            assert (done.code, outcome["outcome"]) == (0, "applied"), done
        else:
            code = "not_applied" if way == "html" else CODES[way]
            assert (done.code, outcome["outcome"], outcome["error"]["code"]) == (4, "failed", code), done
        writes = sum(call.method == "POST" for call in api.calls)
        assert done.document["requests"]["writes"] == writes  # every one is accounted for
        heal(stage)


@pytest.mark.parametrize("way", ["reset", "html"])
def test_a_write_that_nobody_can_look_at_afterwards_may_have_taken_effect(way, tmp_path):
    class GoingDark(Rough):
        def way(self, call):
            dark = call.path.endswith("thread_2") and (call.method == "POST" or self.sent_to_2())
            return f"after {way}" if dark and self.spoilt else None

        def sent_to_2(self):
            return "POST /v1/threads/thread_2" in self.told

    with staged(tmp_path, MANIFEST, GoingDark(spoilt={"on": (None, None)}), REPLACE) as stage:
        done = stage.run("apply --yes --format json")
        error = outcome_of(done, "thread/thread_2")["error"]
        assert (done.code, list(done.outcomes().values()).count("applied")) == (4, 2), done
        assert "it may have taken effect" in error["message"]
        heal(stage)


# --- what is everybody's --------------------------------------------------------------------------------------------


def fleet(count):
    ids = [f"thread_{number:03}" for number in range(count)]
    manifest = "threads:\n" + "".join(f"  {own}: {{metadata: {{plan: gold}}}}\n" for own in ids)
    return manifest, {f"thread/{own}": {"plan": "silver"} for own in ids}


@pytest.mark.parametrize("way", ["503", "html"])
def test_a_run_whose_every_read_fails_is_ended(way, tmp_path):
    manifest, held = fleet(150)
    with staged(tmp_path, manifest, Rough(held, {"*": (f"after {way}", None)}), REPLACE) as stage:
        done = stage.run("plan --format json")
    assert done.code == 1, done
    (error,) = [each for each in done.document["errors"] if each["code"] == "breaker"]
    assert "25 resources in a row failed, and none succeeded in between" in error["message"]
    assert WORDS[way] in error["message"]
    assert len(stage.api.calls) <= 3 * (25 + 16)
    codes = [each["error"]["code"] for each in done.document["changes"]]
    assert codes.count("not_attempted") >= 150 - 25 - 16


def test_a_run_whose_every_write_fails_is_ended_and_the_next_one_goes_on(tmp_path):
    manifest, held = fleet(80)

    class WritesFail(Rough):
        def way(self, call):
            return "before 503" if self.spoilt and call.method == "POST" else None

    with staged(tmp_path, manifest, WritesFail(held, {"on": (None, None)}), REPLACE) as stage:
        done = stage.run("apply --yes --format json --max-changed 100")
        assert done.code == 4, done
        assert [each["code"] for each in done.document["errors"]] == ["breaker"]
        outcomes = list(done.outcomes().values())
        assert outcomes.count("failed") + outcomes.count("not_attempted") == 80
        assert outcomes.count("not_attempted") >= 80 - 25 - 16
        stage.api.spoilt.clear()
        assert stage.run("apply --yes --max-changed 100").code == 0
        assert stage.run("plan --detailed-exitcode").code == 0


def plan_at(tmp_path, url, env=None, count=2):
    scratch = Scratch(tmp_path)
    scratch.manifest(fleet(count)[0])
    scratch.settings(url, QUICK)
    begun = time.monotonic()
    done = scratch.run("plan --format json", {"OPENAI_API_KEY": "sk-any", **(env or {})})
    assert time.monotonic() - begun < 15
    return done


def unused_port():
    with socket.create_server(("127.0.0.1", 0)) as holder:
        return holder.getsockname()[1]


def errors_of(done):
    return {(each["error"]["code"]) for each in done.document["changes"] if "error" in each}


def test_a_server_that_is_not_there_is_told_for_each_resource(tmp_path):
    done = plan_at(tmp_path, f"http://127.0.0.1:{unused_port()}/v1")
    assert (done.code, errors_of(done)) == (1, {"network"}), done
    assert "Connect call failed" in done.out


def test_a_name_that_does_not_exist_is_told_by_name(tmp_path):
    done = plan_at(tmp_path, "https://nowhere.invalid/v1", count=10)
    assert done.code == 1, done
    assert "dns" in errors_of(done)
    assert "nowhere.invalid" in done.document["errors"][0]["message"]
    assert "breaker" in [each["code"] for each in done.document["errors"]]


def test_a_server_that_accepts_and_never_speaks_is_given_up(tmp_path):
    with socket.create_server(("127.0.0.1", 0), backlog=64) as mute:
        port = mute.getsockname()[1]
        for scheme, words in (("https", "could not be reached in time"), ("http", "did not answer in time")):
            done = plan_at(tmp_path / scheme, f"{scheme}://127.0.0.1:{port}/v1")
            assert (done.code, errors_of(done)) == (1, {"timeout"}), done
            assert words in done.out


# --- TLS ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


def encrypted(authority, name="127.0.0.1"):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return Rough(context=context)


def test_a_private_certificate_authority_is_trusted_where_it_is_named(authority, tmp_path):
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    named = {"SSL_CERT_FILE": str(tmp_path / "ca.pem")}
    with staged(tmp_path, MANIFEST, encrypted(authority), REPLACE) as stage:
        done = stage.run("plan --format json")
        assert (done.code, errors_of(done)) == (1, {"tls"}), done
        assert "for a private certificate authority, name the file" in done.document["errors"][0]["message"]
        assert stage.api.calls == []
        assert stage.run("apply --yes", named).code == 0
        assert all(stage.api.held(name) == GOLD for name in HELD)


def test_a_certificate_for_another_host_is_not_trusted(authority, tmp_path):
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    with staged(tmp_path, MANIFEST, encrypted(authority, "other.example"), REPLACE) as stage:
        done = stage.run("plan --format json", {"SSL_CERT_FILE": str(tmp_path / "ca.pem")})
    assert (done.code, errors_of(done)) == (1, {"tls"}), done
    assert "certificate is not valid for '127.0.0.1'" in done.out


def test_a_server_that_speaks_plainly_where_tls_is_expected_is_told_as_such(tmp_path):
    with Api(HELD).listening() as url:
        done = plan_at(tmp_path, url.replace("http://", "https://"))
    assert (done.code, errors_of(done)) == (1, {"tls"}), done
    assert "maybe plain http" in done.out


# --- what ends a run, and what is hidden ------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_quota_that_is_used_up_ends_the_run_with_one_diagnosis(method, tmp_path):
    spent = Answer(429, {"error": {"message": "You exceeded your quota.", "code": "insufficient_quota"}})
    manifest, held = fleet(40)
    api = Api(held, {"thread": "replace"}, {f"{method} /v1/threads/{name[7:]}": [spent] for name in held})
    with staged(tmp_path, manifest, api, REPLACE) as stage:
        done = stage.run("apply --yes --format json --max-changed 100 --parallelism 4")
    assert done.code == 7, done
    assert [each["code"] for each in done.document["errors"]].count("out_of_quota") == 1
    assert 0 < len(api.sent(method)) <= 4 + (40 if method == "GET" else 0)
    assert list(done.outcomes().values()).count("not_attempted") >= 36


def test_a_credential_that_the_server_puts_into_the_metadata_goes_nowhere(tmp_path):
    key = "sk-0123456789abcdefghijklmnop"
    echo = Answer(200, {"id": "thread_2", "metadata": {"plan": "silver", "log": f"Authorization: Bearer {key}"}})
    api = Api(HELD, {"thread": "replace"}, {"GET /v1/threads/thread_2": [echo]})
    with staged(tmp_path, MANIFEST, api, f"api_key_env: MY_KEY, {REPLACE}") as stage:
        stage.scratch.commit()
        done = stage.run("apply --yes --verbose --format json --out json=a.json", {"MY_KEY": key})
        assert done.outcomes()["thread/thread_2"] == "failed"
        assert outcome_of(done, "thread/thread_2")["error"]["code"] == "credential_echoed"
        assert api.sent("POST")[0].headers["authorization"] == f"Bearer {key}"
        shown = done.out + done.err + stage.scratch.read("a.json") + stage.scratch.git("log", "--all", "-p")
        assert key not in shown
        assert not any(key.encode() in path.read_bytes() for path in stage.scratch.folder.rglob("*") if path.is_file())
