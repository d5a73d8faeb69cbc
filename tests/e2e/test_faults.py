"""Whatever goes wrong on the way, one resource is named with its cause, the others are done, running again ends well.

The server here spoils single calls at its socket: before it carries them out, or after. Four ways stand for all; what
each of the others is taken for is held by the tests of the wire and of the gateway.
"""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import struct
import threading
from collections import defaultdict

import pytest
import trustme
from scratch import Answer, Api, Call, Scratch, _Desk, _Server, complaint, staged

WAYS = ("reset", "stall", "503", "html")
CODES = {"reset": "network", "stall": "timeout", "503": "server_error", "html": "invalid_answer"}
WORDS = {"reset": "broke", "stall": "in time", "503": "A bad moment", "html": "One moment"}
SPOILT = {f"thread_{way}": way for way in WAYS}
"""The resource for which each way is kept; `thread_1` and `thread_2` have nothing to fear."""
IDS = ["thread_1", "thread_2", *SPOILT]
MANIFEST = "threads:\n" + "".join(f"  {own}: {{metadata: {{plan: gold}}}}\n" for own in IDS)
HELD = {f"thread/{own}": {"plan": "silver", "seen": "bot"} for own in IDS}
GOLD = {"plan": "gold", "seen": "bot"}
QUICK = "timeouts: {connect: 2, read: 0.8}"
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
        elif way[:3].isdigit():
            final = {"x-should-retry": "false"} if way.endswith("final") else {}
            self._send(int(way[:3]), json.dumps(complaint(int(way[:3]), "A bad moment.").body).encode(), **final)
        else:
            self._send(answer.status, b"<html><title>One moment</title></html>" if way == "html" else body)

    def _send(self, status, body, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def spoiling(method, when, times=None):
    """Return a server that does to each resource's calls by this method what its name says."""
    return Rough(spoilt={f"{method} /v1/threads/{own}": (f"{when} {way}", times) for own, way in SPOILT.items()})


def errors_of_outcomes(done):
    return {each["id"]: each["error"]["code"] for each in done.document["outcomes"] if each.get("error")}


def outcome_of(done, name):
    return next(each for each in done.document["outcomes"] if f"{each['kind']}/{each['id']}" == name)


def heal(stage):
    """Let the server do nothing wrong any more, and hold that running again ends as declared."""
    stage.api.spoilt.clear()
    done = stage.run("apply --yes --format json")
    assert done.code == 0, done
    assert all(stage.api.held(name) == GOLD for name in HELD)
    assert stage.run("plan --detailed-exitcode").code == 0


def calls_about(stage, own):
    return [call.method for call in stage.api.calls if call.path.endswith(f"/{own}")]


def test_a_resource_that_cannot_be_read_is_named_and_the_others_are_done(tmp_path):
    with staged(tmp_path, MANIFEST, spoiling("GET", "after"), REPLACE) as stage:
        done = stage.run("apply --yes --format json")
        assert done.code == 4, done
        assert done.outcomes() == {name: "failed" if name[7:] in SPOILT else "applied" for name in HELD}
        assert errors_of_outcomes(done) == {own: CODES[way] for own, way in SPOILT.items()}
        for own, way in SPOILT.items():
            assert WORDS[way] in outcome_of(done, f"thread/{own}")["error"]["message"]
            assert calls_about(stage, own) == ["GET"] * 3
        heal(stage)


def test_a_read_that_fails_in_passing_is_tried_again(tmp_path):
    with staged(tmp_path, MANIFEST, spoiling("GET", "after", times=2), REPLACE) as stage:
        done = stage.run("apply --yes --format json")
        assert (done.code, set(done.outcomes().values())) == (0, {"applied"}), done
        assert all(stage.api.held(name) == GOLD for name in HELD)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_write_that_fails_once_ends_as_planned_and_is_never_sent_blindly(when, tmp_path):
    with staged(tmp_path, MANIFEST, spoiling("POST", when, times=1), REPLACE) as stage:
        done = stage.run("apply --yes --format json")
        # A page with status 200 for a write that was not done: that is told, not tried again.
        told = {"thread_html": "not_applied"} if when == "before" else {}
        assert (done.code, errors_of_outcomes(done)) == (4 if told else 0, told), done
        for own in SPOILT:
            # Before each write there is a look, and after one without a usable answer.
            again = ["POST"] if when == "before" and own not in told else []
            looks = ["GET"] * (5 if own in told else 1)
            assert calls_about(stage, own) == ["GET", "GET", "POST", *looks, *again], own
            assert stage.api.held(f"thread/{own}")["plan"] == ("silver" if own in told else "gold")


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_write_that_always_fails_is_named_unless_it_took_effect(when, tmp_path):
    with staged(tmp_path, MANIFEST, spoiling("POST", when), REPLACE) as stage:
        done = stage.run("apply --yes --format json")
        named = {own: "not_applied" if way == "html" else CODES[way] for own, way in SPOILT.items()}
        told = named if when == "before" else {}
        assert (done.code, errors_of_outcomes(done)) == (4 if told else 0, told), done
        assert done.outcomes() == {name: "failed" if name[7:] in told else "applied" for name in HELD}
        writes = sum(call.method == "POST" for call in stage.api.calls)
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
        assert (done.code, list(done.outcomes().values()).count("applied")) == (4, len(IDS) - 1), done
        assert "it may have taken effect" in error["message"]
        heal(stage)


# --- what is everybody's --------------------------------------------------------------------------------------------


def fleet(count):
    ids = [f"thread_{number:03}" for number in range(count)]
    manifest = "threads:\n" + "".join(f"  {own}: {{metadata: {{plan: gold}}}}\n" for own in ids)
    return manifest, {f"thread/{own}": {"plan": "silver"} for own in ids}


@pytest.mark.parametrize(
    ("way", "limit", "attempts", "words"),
    [("html", 25, 3, "One moment"), ("400", 100, 1, "A bad moment")],
    ids=["no answers", "a refusal of everything"],
)
def test_a_run_whose_every_read_fails_is_ended(way, limit, attempts, words, tmp_path):
    manifest, held = fleet(limit + 50)
    with staged(tmp_path, manifest, Rough(held, {"*": (f"after {way}", None)}), REPLACE) as stage:
        done = stage.run("plan --format json")
    assert done.code == 1, done
    (error,) = [each for each in done.document["errors"] if each["code"] == "breaker"]
    assert f"{limit} resources in a row failed, and none succeeded in between" in error["message"]
    assert words in error["message"]
    assert len(stage.api.calls) <= attempts * (limit + 16)
    codes = [each["error"]["code"] for each in done.document["changes"]]
    assert codes.count("not_attempted") >= 50 - 16


def test_a_run_whose_every_write_fails_is_ended_and_the_next_one_goes_on(tmp_path):
    manifest, held = fleet(40)

    class WritesFail(Rough):
        def way(self, call):
            return "before 503 final" if self.spoilt and call.method == "POST" else None

    with staged(tmp_path, manifest, WritesFail(held, {"on": (None, None)}), REPLACE) as stage:
        done = stage.run("apply --yes --format json --max-changed 100 --parallelism 4")
        assert done.code == 4, done
        assert [each["code"] for each in done.document["errors"]] == ["breaker"]
        outcomes = list(done.outcomes().values())
        assert outcomes.count("failed") + outcomes.count("not_attempted") == 40
        assert outcomes.count("not_attempted") >= 40 - 25 - 4
        stage.api.spoilt.clear()
        assert stage.run("apply --yes --max-changed 100").code == 0
        assert stage.run("plan --detailed-exitcode").code == 0


def plan_at(tmp_path, url, count=2, quick=QUICK):
    scratch = Scratch(tmp_path)
    scratch.manifest(fleet(count)[0])
    scratch.settings(url, quick)
    return scratch.run("plan --format json", {"OPENAI_API_KEY": "sk-any"})


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
    done = plan_at(tmp_path, "https://nowhere.invalid/v1")
    assert (done.code, errors_of(done)) == (1, {"dns"}), done
    assert "nowhere.invalid" in done.document["errors"][0]["message"]


def test_a_server_that_accepts_and_never_speaks_is_given_up(tmp_path):
    with socket.create_server(("127.0.0.1", 0), backlog=64) as mute:
        port = mute.getsockname()[1]
        for scheme, words in (("https", "could not be reached in time"), ("http", "did not answer in time")):
            quick = "timeouts: {connect: 0.3, read: 0.3}"
            done = plan_at(tmp_path / scheme, f"{scheme}://127.0.0.1:{port}/v1", quick=quick)
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
