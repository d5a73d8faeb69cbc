"""Who is told of drift, and when."""

import contextlib
import json
import socket
import ssl
import threading
import time
from functools import partial

import pytest
from proxying import HOST, answer, authority_file, border
from scratch import PATIENCE, until

from reconciler.document import Document
from reconciler.gateway.proxies import proxy_to
from reconciler.gateway.trust import trusting_the_system
from reconciler.watching import webhook
from reconciler.watching.course import Run
from reconciler.watching.lock import Locks
from reconciler.watching.webhook import Messenger, Sender, Undelivered, UnfitUrl, event, parse_hook


class Post:
    """Takes events, or fails as often as it is told."""

    def __init__(self, failures=0):
        self.failures = failures
        self.got = []

    def __call__(self, content):
        if self.failures:
            self.failures -= 1
            raise Undelivered("away")
        self.got.append(content["drift"])


def tell(messenger, drift):
    with contextlib.suppress(Undelivered):
        messenger.after(drift, lambda: {"drift": drift})


@pytest.mark.parametrize(
    ("seen", "failures", "told"),
    [
        ([False, False], 0, []),
        ([True], 0, [True]),
        ([True, True, True], 0, [True]),
        ([True, None, True, None, None, True], 0, [True]),
        ([True, False, False, True], 0, [True, False, True]),
        ([True, None, False], 0, [True, False]),
        ([True, True], 1, [True]),
        ([True, None], 1, [True]),
        ([True, False], 1, []),
        ([True, False, True], 1, [True]),
        ([None, None], 0, []),
    ],
)
def test_each_change_is_told_once_and_none_that_is_over(seen, failures, told):
    post = Post(failures)
    messenger = Messenger(post)
    for each in seen:
        tell(messenger, each)
    assert post.got == told


def test_what_was_told_is_known_after_a_restart(tmp_path):
    mark, post = Locks("a", tmp_path).told, Post(1)

    def begun():
        return Messenger(post, told=mark.there, keep=mark.put)

    messenger = begun()
    tell(messenger, True)
    assert not mark.there
    tell(messenger, True)
    for drift in (True, None):
        tell(begun(), drift)
    assert post.got == [True]
    for drift in (False, False):
        tell(begun(), drift)
    assert post.got == [True, False]
    assert not list(tmp_path.iterdir())


def test_an_event_that_waits_is_sent_as_it_was_made():
    post, made = Post(1), []
    messenger = Messenger(post)

    def make():
        made.append(1)
        return {"drift": len(made)}

    for _ in range(3):
        with contextlib.suppress(Undelivered):
            messenger.after(True, make)
    assert post.got == [1]


def test_an_event_names_resources_and_counts_and_no_values():
    counts = {"pending": 1, "drift": 2, "conflict": 0, "unattributed": 0}
    run = Run(1, 2, 0, "success", Document(kind="plan"), changes=counts, drift=True, moved=("thread/a", "thread/b"))
    found = event(run, "production", "2026-11-23T00:00:00Z")
    assert found["event"] == "drift_appeared"
    assert found["causes"] == counts
    assert found["text"] == "Drift on target production (1 pending, 2 drift): thread/a, thread/b"
    assert json.loads(json.dumps(found)) == found


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("https://hooks.example/a?b=c", None),
        ("https://hooks.example:8443/a", "hooks.example"),
        ("https://HOOKS.example/a", "*.example"),
        ("http://127.0.0.1:1/a", None),
        ("http://localhost/a", "localhost"),
        ("http://[::1]:80/", None),
    ],
)
def test_a_url_of_https_or_loopback_may_be_used(url, allowed):
    hook = parse_hook(url, allowed)
    assert hook.path.startswith("/")
    assert "/a" not in repr(hook)


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("http://hooks.example/", None),
        ("http://127.0.0.1.evil.example/", None),
        ("https://", None),
        ("hooks.example/a", None),
        ("https://hooks.example/ä", None),
        ("https://hooks.example/a b", None),
        ("https://hooks.example:99999/", None),
        ("https://u:p@hooks.example/", None),
        ("https://hooks.example/", ""),
        ("https://hooks.example/", "other.example"),
    ],
)
def test_any_other_url_is_refused_and_not_repeated(url, allowed):
    with pytest.raises(UnfitUrl) as refused:
        parse_hook(url, allowed)
    assert "hooks.example" not in str(refused.value)


class Reluctant:
    """A socket that takes calls and answers with what it is given, or with nothing."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.calls = 0
        self._kept = []

    @contextlib.contextmanager
    def listening(self):
        with socket.socket() as server:
            server.bind(("127.0.0.1", 0))
            server.listen()
            thread = threading.Thread(target=self._serve, args=(server,), daemon=True)
            thread.start()
            try:
                yield f"http://127.0.0.1:{server.getsockname()[1]}/a"
            finally:
                for each in (server, *self._kept):
                    with contextlib.suppress(OSError):
                        each.shutdown(socket.SHUT_RDWR)  # closing alone wakes nobody who waits in it
                thread.join(PATIENCE)
                for caller in self._kept:
                    caller.close()

    def _serve(self, server):
        with contextlib.suppress(OSError):
            while True:
                caller, _ = server.accept()
                self._kept.append(caller)
                caller.recv(65536)
                self.calls += 1
                answer = self.answers.pop(0) if self.answers else None
                if answer is not None:
                    caller.sendall(answer)
                    caller.close()


def calling():
    """Return how many calls have not ended."""
    return sum(thread.name == "webhook" for thread in threading.enumerate())


def send(url, wait=lambda _: True):
    Sender(parse_hook(url, None), ssl.create_default_context, wait)({"a": 1})


def test_what_fails_in_passing_is_sent_again_some_times():
    waits = []
    server = Reluctant(b"HTTP/1.1 503 Later\r\n\r\n", b"nonsense\r\n\r\n", b"HTTP/1.1 204 Done\r\n\r\n")
    with server.listening() as url:
        send(url, lambda seconds: waits.append(seconds) or True)
    assert (server.calls, [seconds for seconds in waits if seconds]) == (3, [0.5, 1.0])


def test_nothing_is_sent_again_once_the_end_is_wished_for(monkeypatch):
    monkeypatch.setattr(webhook, "LAST", PATIENCE)
    server = Reluctant(b"HTTP/1.1 503 Later\r\n\r\n")
    with server.listening() as url, pytest.raises(Undelivered, match="503"):
        send(url, lambda _: False)
    assert server.calls == 1


def test_a_server_that_never_answers_is_given_up(monkeypatch):
    monkeypatch.setattr(webhook, "PATIENCE", 0.1)
    monkeypatch.setattr(webhook, "ATTEMPTS", 1)
    begun = time.monotonic()
    with Reluctant().listening() as url, pytest.raises(Undelivered, match=r"no answer within 0\.1 s"):
        send(url)
    assert time.monotonic() - begun < 10


def test_a_call_is_not_waited_for_once_the_end_is_wished_for(monkeypatch):
    monkeypatch.setattr(webhook, "LAST", 0.1)
    monkeypatch.setattr(webhook, "PATIENCE", 2 * PATIENCE)
    begun = time.monotonic()
    with Reluctant().listening() as url, pytest.raises(Undelivered, match=r"no answer within 0\.\d"):
        send(url, lambda _: False)
    assert time.monotonic() - begun < PATIENCE
    until(lambda: not calling(), "the end of the call")


def test_there_is_one_call_at_a_time(monkeypatch):
    monkeypatch.setattr(webhook, "PATIENCE", 0.05)
    monkeypatch.setattr(webhook, "BETWEEN", 0)
    stuck, found = threading.Event(), []

    def trust():
        found.append(calling())
        stuck.wait(PATIENCE)
        return ssl.create_default_context()

    sender = Sender(parse_hook("https://127.0.0.1:9/", None), trust, lambda _: True)
    for _ in range(2):
        with pytest.raises(Undelivered, match="an earlier call has not ended yet"):
            sender({"a": 1})
    assert found == [1]
    stuck.set()
    until(lambda: not calling(), "the end of the call")
    monkeypatch.setattr(webhook, "PATIENCE", PATIENCE)  # what is tried now may take its time
    with pytest.raises(Undelivered, match="refused"):
        sender({"a": 1})


def test_a_server_that_answers_byte_by_byte_is_given_up_and_no_call_stays_behind(monkeypatch):
    monkeypatch.setattr(webhook, "PATIENCE", 0.3)
    monkeypatch.setattr(webhook, "ATTEMPTS", 1)
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()

        def drip():
            with contextlib.suppress(OSError):
                caller, _ = server.accept()
                with caller:
                    while True:
                        caller.sendall(b"H")
                        time.sleep(0.05)

        threading.Thread(target=drip, daemon=True).start()
        with pytest.raises(Undelivered, match="no answer within"):
            send(f"http://127.0.0.1:{server.getsockname()[1]}/a")
        until(lambda: not calling(), "the end of the call")


def test_a_port_where_nobody_listens_is_told_without_the_url():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    with pytest.raises(Undelivered) as failed:
        send(f"http://127.0.0.1:{port}/s3cret", lambda _: False)
    assert "s3cret" not in str(failed.value)
    assert "refused" in str(failed.value)


# --- through a proxy --------------------------------------------------------------------------------------------------


def deliver(there, authority, variable="http://u:hunter2@127.0.0.1:{}", hook=f"https://{HOST}/s3cret"):
    where = parse_hook(hook, None)
    proxy = proxy_to(where.origin, {"HTTPS_PROXY": variable.format(there.port)})
    trust = partial(ssl.create_default_context, cafile=authority)
    Sender(where, trust, lambda seconds: not seconds, proxy)({"a": 1})


def test_a_proxy_on_the_way_is_told_the_host_and_its_password_and_no_more(tmp_path):
    with border() as there:
        deliver(there, authority_file(tmp_path))
    (head,) = there.heads
    assert head.startswith(f"CONNECT {HOST}:443 ".encode())
    assert b"Proxy-Authorization: Basic dTpodW50ZXIy\r\n" in head
    assert b"s3cret" not in head + bytes(there.passed)
    (asked,) = there.asked
    assert asked.startswith(b"POST /s3cret ")
    assert b"proxy" not in asked.lower()


@pytest.mark.parametrize(
    ("said", "words", "passing"),
    [
        (answer(407), "the proxy 127.0.0.1:{} answers with 407", False),
        (answer(502), "the proxy 127.0.0.1:{} answers with 502", True),
        (b"", "by the proxy 127.0.0.1:{}: RemoteDisconnected", True),
        (b"nonsense\r\n\r\n", "by the proxy 127.0.0.1:{}: BadStatusLine", True),
    ],
)
def test_a_proxy_that_opens_no_way_is_told_without_its_words_and_its_password(said, words, passing, tmp_path):
    with border(said) as there, pytest.raises(Undelivered) as failed:
        deliver(there, authority_file(tmp_path))
    assert (str(failed.value), failed.value.passing) == (words.format(there.port), passing)
    assert len(there.heads) == 1


def test_a_proxy_that_never_answers_holds_nobody_up(monkeypatch, tmp_path):
    monkeypatch.setattr(webhook, "PATIENCE", 0.3)
    with border(None) as there, pytest.raises(Undelivered, match="no answer within"):
        deliver(there, authority_file(tmp_path))
    until(lambda: not calling(), "the end of the call")


def test_a_proxy_behind_tls_is_refused_and_a_webhook_on_this_machine_needs_none(tmp_path):
    with border() as there:
        with pytest.raises(Undelivered, match="is an https:// one: name an http:// one"):
            deliver(there, authority_file(tmp_path), "https://127.0.0.1:{}")
        with Reluctant(b"HTTP/1.1 204 Done\r\n\r\n").listening() as url:
            deliver(there, authority_file(tmp_path), hook=url)
        assert there.heads == []


def test_certificates_that_cannot_be_used_are_told_in_words(monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere/a.pem")
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)
    sender = Sender(parse_hook(f"https://{HOST}/s3cret", None), trusting_the_system, lambda seconds: not seconds)
    with pytest.raises(Undelivered, match="^SSL_CERT_FILE names /nowhere/a.pem, and there is no such file$"):
        sender({"a": 1})
