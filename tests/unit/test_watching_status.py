"""The server of the status page: what it answers, and whom it gives up."""

import contextlib
import http.client
import socket
import threading
import time

import pytest

from reconciler.errors import ReconcilerError
from reconciler.watching import status
from reconciler.watching.bell import Bell
from reconciler.watching.status import Answer, Place, StatusServer, parse_place, serving


@pytest.mark.parametrize(
    ("text", "place", "private"),
    [
        ("127.0.0.1:9464", Place("127.0.0.1", 9464), True),
        ("localhost:80", Place("127.0.0.1", 80), True),
        ("9464", Place("127.0.0.1", 9464), True),
        (":9464", Place("127.0.0.1", 9464), True),
        ("[::1]:9464", Place("::1", 9464), True),
        ("0.0.0.0:9464", Place("0.0.0.0", 9464), False),
        ("[::]:0", Place("::", 0), False),
        ("10.1.2.3:65535", Place("10.1.2.3", 65535), False),
    ],
)
def test_a_place_is_an_address_and_a_port(text, place, private):
    assert parse_place(text) == place
    assert parse_place(text).private is private


@pytest.mark.parametrize(
    "text", ["", "host.example:80", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "256.0.0.1:1", "[::g]:1", "::1:80",
             "http://127.0.0.1:80", "127.0.0.1:80/x", "1.2.3:4", "127.0.0.1:8 0", "-1"]
)  # fmt: skip
def test_what_is_no_place_is_refused(text):
    with pytest.raises(ValueError, match=r"write ADDRESS:PORT|is no address|is no port"):
        parse_place(text)


def broken(_accept):
    raise ValueError("s3cret")


PAGES = {"/": lambda accept: Answer(f"accepts {accept}\n"), "/broken": broken}


@pytest.fixture
def server():
    with StatusServer(Place("127.0.0.1", 0), PAGES) as made:
        yield made


def ask(server, path="/", method="GET", **headers):
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", server.place.port, timeout=20)) as connection:
        connection.request(method, path, headers=headers)
        response = connection.getresponse()
        return response.status, response.read().decode()


def raw(server, text):
    with socket.create_connection(("127.0.0.1", server.place.port), timeout=20) as caller:
        caller.sendall(text)
        found = b""
        while chunk := caller.recv(65536):
            found += chunk
        return found


def test_a_page_is_made_for_whoever_asks(server):
    assert ask(server, "/?x=1", Accept="text/x") == (200, "accepts text/x\n")


def test_a_mistake_in_a_page_is_told_without_its_reason(server):
    assert ask(server, "/broken") == (500, "internal error\n")
    assert ask(server)[0] == 200


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: localhost\r\n\r\n", b"403"),
        (b"GET / HTTP/1.1\r\n\r\n", b"403"),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n", b"403"),
        (b"GET / HTTP/1.1\r\nHost: LOCALHOST\r\n\r\n", b"200"),
        (b"<script>\x1b[31m\r\n\r\n", b"400"),
        (b"GET / HTTP/9.9\r\n\r\n", b"505"),
        (b"GET /%s HTTP/1.1\r\n\r\n" % (b"a" * 70000), b"414"),
        (b"BREW / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"405"),
    ],
)
def test_odd_requests_are_answered_plainly(server, text, code):
    found = raw(server, text)
    assert found.split(b" ", 2)[1] == code
    assert b"script" not in found
    assert b"Python" not in found


def test_too_many_callers_are_sent_away_and_the_others_served(server, monkeypatch):
    with contextlib.ExitStack() as stack:
        for _ in range(status.CALLERS):
            stack.enter_context(socket.create_connection(("127.0.0.1", server.place.port))).sendall(b"GET ")
        found = b""
        while b"503" not in found:
            found = raw(server, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    deadline = time.monotonic() + 20
    while ask(server)[0] != 200:
        assert time.monotonic() < deadline


def test_a_caller_that_takes_too_long_is_given_up(monkeypatch):
    monkeypatch.setattr(status, "WHOLE", 0.2)
    sent = []
    with (
        StatusServer(Place("127.0.0.1", 0), PAGES) as server,
        socket.create_connection(("127.0.0.1", server.place.port), timeout=20) as caller,
    ):
        with contextlib.suppress(OSError):
            for _ in range(400):  # one byte now and then
                caller.sendall(b"G")
                time.sleep(0.05)
                sent.append(1)
        assert len(sent) < 400


def test_a_taken_port_is_an_error_that_names_it():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ReconcilerError, match=rf"cannot listen on 127\.0\.0\.1:{port} \("):
            StatusServer(Place("127.0.0.1", port), PAGES)


def test_nowhere_is_a_place_as_well():
    with serving(None, PAGES) as place:
        assert place is None


def test_the_port_is_free_again_at_the_end():
    with serving(Place("127.0.0.1", 0), PAGES) as place:
        assert place.url == f"http://127.0.0.1:{place.port}/"
    with socket.socket() as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(("127.0.0.1", place.port))


def test_a_bell_that_rang_before_anybody_waited_is_heard_once():
    bell = Bell()
    for _ in range(100_000):  # more than a pipe holds
        bell.ring()
    while bell.wait(0):
        pass
    assert not bell.wait(0)
    threading.Timer(0.05, bell.ring).start()
    assert bell.wait(20)
    bell.close()
