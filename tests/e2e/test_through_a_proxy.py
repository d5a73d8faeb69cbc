"""The whole command where the only way out is a proxy."""

from __future__ import annotations

from base64 import b64encode
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest
from proxying import HOST, OPENED, answer, authority_file, border, certificate
from scratch import Api, Scratch

MANIFEST = """\
threads:
  thread_1: {metadata: {plan: gold}}
  thread_2: {metadata: {plan: gold}}
"""
HELD = {"thread/thread_1": {"plan": "silver"}, "thread/thread_2": {"plan": "silver"}}
KEY, PASSWORD = "sk-of-the-target", "hunter2"


class Office:
    """A folder to run the command in, the proxy, and the server behind it."""

    def __init__(self, scratch, proxy, api, authority):
        self.scratch, self.proxy, self.api = scratch, proxy, api
        self.usual = {
            "OPENAI_API_KEY": KEY,
            "HTTPS_PROXY": proxy.url.replace("://", f"://worker:{PASSWORD}@"),
            "REQUESTS_CA_BUNDLE": str(authority),
        }
        self.said = ""

    def run(self, line, **env):
        """Run a command line; no secret may be in anything that it prints."""
        done = self.scratch.run(line, {**self.usual, **env})
        self.said += done.out + done.err
        for secret in (KEY, PASSWORD, b64encode(f"worker:{PASSWORD}".encode()).decode()):
            assert secret not in self.said
        return done


@contextmanager
def office(place, *says, tls=None):
    scratch, api = Scratch(place), Api(HELD, {"thread": "merge"})
    scratch.manifest(MANIFEST)
    scratch.settings(f"https://{HOST}/v1", "api_key_env: OPENAI_API_KEY, writes: {thread: merge}")
    with api.listening() as url, border(*says, tls=tls, behind=urlsplit(url).port) as proxy:
        yield Office(scratch, proxy, api, authority_file(place))


@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
def test_a_manifest_is_applied_through_a_proxy_that_learns_nothing(secure, tmp_path):
    with office(tmp_path, tls=certificate("127.0.0.1") if secure else None) as there:
        done = there.run("apply --yes --verbose --max-changed 100%")
        assert done.code == 0, done
        assert there.run("plan --detailed-exitcode").code == 0
        seen = b"".join(there.proxy.heads) + bytes(there.proxy.passed)
    assert there.api.held("thread/thread_1") == {"plan": "gold"}
    assert {call.headers["authorization"] for call in there.api.calls} == {f"Bearer {KEY}"}
    assert all("proxy-authorization" not in call.headers for call in there.api.calls)
    assert {head.split(b"\r\n")[0] for head in there.proxy.heads} == {f"CONNECT {HOST}:443 HTTP/1.1".encode()}
    assert b"sk-of" not in seen
    assert b"thread_1" not in seen


def test_a_proxy_that_refuses_is_asked_once_for_each_resource_and_told_in_words(tmp_path):
    with office(tmp_path, answer(407, "Proxy-Authenticate: Basic realm=x")) as there:
        done = there.run("plan --format json")
    place = f"127.0.0.1:{there.proxy.port}"
    faults = [change["error"] for change in done.document["changes"]]
    assert (done.code, [fault["code"] for fault in faults]) == (1, ["network", "network"]), done
    words = f"the proxy {place} of HTTPS_PROXY does not accept the user and password that HTTPS_PROXY has (407)"
    assert words in faults[0]["message"]
    assert len(there.proxy.heads) == 2


def test_a_proxy_that_fails_in_passing_is_asked_again(tmp_path):
    with office(tmp_path, answer(502), answer(503), OPENED) as there:
        assert there.run("plan").code == 0
    assert len(there.proxy.heads) > 2


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ({"HTTPS_PROXY": f"socks5://u:{PASSWORD}@127.0.0.1:1"}, "HTTPS_PROXY names a proxy of the kind socks5"),
        ({"https_proxy": f"http://u:{PASSWORD}#@p"}, "https_proxy has no URL of a proxy"),
        (
            {"REQUESTS_CA_BUNDLE": "/nowhere/a.pem"},
            "REQUESTS_CA_BUNDLE names /nowhere/a.pem, and there is no such file",
        ),
    ],
)
@pytest.mark.parametrize("line", ["plan --format json", "apply --yes --format json"])
def test_a_variable_that_cannot_be_used_is_told_before_the_first_call(line, env, words, tmp_path):
    with office(tmp_path) as there:
        done = there.run(line, **env)
    assert done.code == 3, done
    (error,) = done.document["errors"]
    assert error["code"] == "bad_variable"
    assert words in error["message"]
    assert "orrect or unset it" in error["message"]
    assert there.proxy.heads == there.api.calls == []


def test_a_server_on_this_machine_needs_none_of_these_variables(tmp_path):
    with office(tmp_path) as there, there.api.listening() as url:
        there.scratch.settings(url)
        done = there.run("plan", ALL_PROXY="socks5://x", HTTP_PROXY=there.proxy.url, SSL_CERT_FILE="/nowhere")
        assert (done.code, len(there.api.calls)) == (0, 2), done
    assert there.proxy.heads == []
