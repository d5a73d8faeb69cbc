from __future__ import annotations

import asyncio
import gzip
import zlib
from contextlib import suppress

import httpx
import pytest

from reconciler.errors import ReconcilerError
from reconciler.gateway.pacing import Pace
from reconciler.gateway.transport import (
    AnswerTooLarge,
    BodyTransport,
    HandlerTransport,
    LoggingTransport,
    PacedTransport,
    Pacer,
    ReadOnlyTransport,
    RetryingTransport,
    Surroundings,
    stack,
)

URL = "https://api.example/v1/threads/thread_1?api-version=v1"


class FakeTime:
    """A clock that only moves when somebody sleeps; remembers every sleep."""

    def __init__(self):
        self.now = 1000.0
        self.slept = []

    async def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds

    def around(self, chance=0.0):
        return Surroundings(lambda: self.now, lambda: self.now, self.sleep, lambda: chance)


class Script(httpx.AsyncBaseTransport):
    """Answers with the next entry: a status, (status, headers, body), or an exception; remembers the requests."""

    def __init__(self, *entries):
        self.entries = list(entries)
        self.requests = []
        self.closed = False

    async def handle_async_request(self, request):
        self.requests.append(request)
        entry = self.entries.pop(0)
        if isinstance(entry, BaseException):
            raise entry
        status, headers, body = entry if isinstance(entry, tuple) else (entry, {}, b"")
        return httpx.Response(status, headers=headers, content=body)

    async def aclose(self):
        self.closed = True


def send(transport, method="GET", url=URL, **more):
    return asyncio.run(transport.handle_async_request(httpx.Request(method, url, **more)))


def retried(*entries, chance=0.0):
    """Send one request through the retries: the last status or exception, the number of attempts, the waits."""
    time, script = FakeTime(), Script(*entries)
    try:
        ending = send(RetryingTransport(script, time.around(chance))).status_code
    except httpx.HTTPError as error:
        ending = error
    return ending, len(script.requests), time.slept


def error_body(code):
    return b'{"error": {"message": "no", "code": "%s"}}' % code.encode()


CASES = {
    "a success": ([200], (200, 1, [])),
    "a redirect": ([302], (302, 1, [])),
    "a client error": ([400], (400, 1, [])),
    "one bad moment": ([500, 200], (200, 2, [0.5])),
    "two bad moments": ([503, 502, 200], (200, 3, [0.5, 1.0])),
    "no third retry": ([500, 500, 500, 200], (500, 3, [0.5, 1.0])),
    "408": ([408, 200], (200, 2, [0.5])),
    "409": ([409, 200], (200, 2, [0.5])),
    "429": ([429, 200], (200, 2, [0.5])),
    "a broken connection": ([httpx.ReadError("x"), 200], (200, 2, [0.5])),
    "a timeout": ([httpx.ConnectTimeout("x"), 200], (200, 2, [0.5])),
    "a server that hangs up": ([httpx.RemoteProtocolError("x"), 200], (200, 2, [0.5])),
    "an error, then a status": ([httpx.ReadError("x"), 500, 200], (200, 3, [0.5, 1.0])),
    "a hint in seconds": ([(429, {"Retry-After": "7"}, b""), 200], (200, 2, [7.0])),
    "a hint in milliseconds": ([(503, {"Retry-After-Ms": "1500"}, b""), 200], (200, 2, [1.5])),
    "a hint too long": ([(429, {"retry-after": "121"}, b""), 200], (429, 1, [])),
    "advised to": ([(400, {"x-should-retry": "true"}, b""), 200], (200, 2, [0.5])),
    "advised not to": ([(500, {"x-should-retry": "false"}, b""), 200], (500, 1, [])),
    "advice on a success": ([(200, {"x-should-retry": "true"}, b""), 500], (200, 1, [])),
    "an empty purse": ([(429, {}, error_body("insufficient_quota")), 200], (429, 1, [])),
    "no more credit": ([(429, {}, error_body("credit_balance_exhausted")), 200], (429, 1, [])),
    "a limit of pace": ([(429, {}, error_body("rate_limit_exceeded")), 200], (200, 2, [0.5])),
}


@pytest.mark.parametrize("case", CASES)
def test_requests_are_retried_as_the_official_client_does(case):
    entries, expected = CASES[case]
    assert retried(*entries) == expected


def test_waits_are_shortened_by_chance():
    assert retried(500, 500, 200, chance=0.8) == (200, 3, pytest.approx([0.4, 0.8]))


@pytest.mark.parametrize(
    "error", [httpx.ReadTimeout("slow"), httpx.ConnectError("refused"), httpx.WriteError("x"), httpx.ProxyError("x")]
)
def test_the_last_error_is_raised_when_the_retries_are_used_up(error):
    ending, attempts, waits = retried(error, error, error)
    assert (ending, attempts, waits) == (error, 3, [0.5, 1.0])


@pytest.mark.parametrize("error", [httpx.UnsupportedProtocol("x"), httpx.LocalProtocolError("x"), AnswerTooLarge("x")])
def test_what_no_waiting_cures_is_not_retried(error):
    assert retried(error) == (error, 1, [])


def test_a_post_is_sent_once_whatever_comes_of_it():
    time, script = FakeTime(), Script(503, httpx.ReadError("x"))
    assert send(RetryingTransport(script, time.around()), "POST", content=b"{}").status_code == 503
    with pytest.raises(httpx.ReadError):
        send(RetryingTransport(script, time.around()), "POST", content=b"{}")
    assert (len(script.requests), time.slept) == (2, [])


def paced(time, script, reads=None, writes=None):
    around = time.around()
    pacer = Pacer(Pace.per_minute(reads), Pace.per_minute(writes), around)
    return PacedTransport(script, pacer, around), pacer


def test_reads_and_writes_each_have_their_own_slots():
    time = FakeTime()
    transport, pacer = paced(time, Script(200, 200, 200, 200), reads=60, writes=30)
    send(transport)
    assert pacer.slot("POST") == 0
    send(transport, "POST")
    assert pacer.slot("POST") == 2.0
    send(transport)
    assert time.slept == [1.0]  # a write has waited for its slot before it comes here


def test_without_ceilings_nothing_waits():
    time = FakeTime()
    transport, _ = paced(time, Script(200, 200))
    send(transport)
    send(transport)
    assert time.slept == []


def test_a_429_with_a_hint_holds_back_later_requests_of_its_sort():
    time = FakeTime()
    transport, pacer = paced(time, Script((429, {"retry-after": "5"}, b""), 200, (429, {"retry-after": "7"}, b"")))
    send(transport)
    assert pacer.slot("POST") == 0
    send(transport)
    assert time.slept == [5.0]
    send(transport, "POST")
    assert pacer.slot("POST") == 7.0


@pytest.mark.parametrize("headers", [{}, {"retry-after": "3600"}])
def test_a_429_without_a_usable_hint_holds_nobody_back(headers):
    time = FakeTime()
    transport, _ = paced(time, Script((429, headers, b""), 200))
    send(transport)
    send(transport)
    assert time.slept == []


def test_parallel_requests_get_different_slots():
    time = FakeTime()
    transport, _ = paced(time, Script(*[200] * 4), reads=60)
    slept = []

    async def sleep(seconds):
        slept.append(seconds)

    transport._around = transport._pacer._around = Surroundings(lambda: 0.0, lambda: 0.0, sleep)

    async def all_at_once():
        await asyncio.gather(*(transport.handle_async_request(httpx.Request("GET", URL)) for _ in range(4)))

    asyncio.run(all_at_once())
    assert slept == [1.0, 2.0, 3.0]


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "HEAD"])
def test_a_read_only_transport_lets_nothing_but_get_reach_the_network(method):
    script = Script(200)
    with pytest.raises(ReconcilerError, match=f"internal error: a {method} request"):
        send(ReadOnlyTransport(script), method)
    assert script.requests == []
    assert send(ReadOnlyTransport(script)).status_code == 200


def logged(*entries, method="GET", **more):
    lines, time = [], FakeTime()

    class Slow(Script):
        async def handle_async_request(self, request):
            time.now += 0.0421
            return await super().handle_async_request(request)

    transport = LoggingTransport(Slow(*entries), lines.append, time.around())
    with suppress(httpx.HTTPError, asyncio.CancelledError, KeyError):
        send(transport, method, **more)
    return lines


def test_a_line_tells_method_path_status_milliseconds_and_request_id():
    assert logged((200, {"x-request-id": "req_1"}, b"")) == ["GET /v1/threads/thread_1 200 42 ms req_1"]


def test_a_line_is_complete_without_a_request_id():
    assert logged(404, method="POST", content=b"{}") == ["POST /v1/threads/thread_1 404 42 ms"]


@pytest.mark.parametrize("error", [httpx.ReadTimeout("x"), asyncio.CancelledError(), KeyError("x")])
def test_a_request_without_an_answer_has_a_line_too(error):
    assert logged(error) == [f"GET /v1/threads/thread_1 {type(error).__name__} 42 ms"]


def test_a_line_holds_no_header_body_or_query():
    lines = logged(200, method="POST", headers={"authorization": "Bearer sk-1"}, content=b"secret")
    assert not any(word in lines[0] for word in ("sk-1", "secret", "api-version", "?"))


@pytest.mark.parametrize("encoding", [None, "gzip", "deflate"])
def test_a_body_is_read_and_decoded_once(encoding):
    content = {None: bytes, "gzip": gzip.compress, "deflate": zlib.compress}[encoding](b'{"id": "x"}')
    headers = {"content-encoding": encoding} if encoding else {}

    async def twice():
        client = httpx.AsyncClient(transport=BodyTransport(httpx.MockTransport(lambda _: reply)))
        async with client:
            return await client.get(URL)

    reply = httpx.Response(200, headers=headers | {"x-request-id": "r"}, stream=Stream(content))
    response = asyncio.run(twice())
    assert (response.content, response.headers["x-request-id"]) == (b'{"id": "x"}', "r")


class Stream(httpx.AsyncByteStream):
    """Yields chunks, raises an exception among them; remembers whether it was closed."""

    def __init__(self, *chunks):
        self.chunks = chunks
        self.closed = False

    async def __aiter__(self):
        for chunk in self.chunks:
            if isinstance(chunk, Exception):
                raise chunk
            yield chunk

    async def aclose(self):
        self.closed = True


def body(stream, limit=100, **headers):
    reply = httpx.Response(
        200, headers={name.replace("_", "-"): value for name, value in headers.items()}, stream=stream
    )
    return send(BodyTransport(httpx.MockTransport(lambda _: reply), limit)).content


def test_a_body_past_the_limit_is_dropped_and_closed():
    stream = Stream(b"x" * 60, b"x" * 60, AssertionError("read on"))
    with pytest.raises(AnswerTooLarge, match="more than 100 bytes"):
        body(stream)
    assert stream.closed


def test_the_limit_counts_decoded_bytes():
    with pytest.raises(AnswerTooLarge):
        body(Stream(gzip.compress(b"x" * 5000)), content_encoding="gzip")


def test_a_body_at_the_limit_is_read():
    stream = Stream(b"x" * 60, b"x" * 40)
    assert body(stream) == b"x" * 100
    assert stream.closed


def test_broken_compression_is_httpxs_error():
    with pytest.raises(httpx.DecodingError):
        body(Stream(b"no gzip"), content_encoding="gzip")


def test_a_body_that_breaks_off_is_tried_again():
    replies = [
        httpx.Response(200, stream=Stream(b'{"a"', httpx.ReadError("reset"))),
        httpx.Response(200, content=b"{}"),
    ]
    time = FakeTime()
    inner = BodyTransport(httpx.MockTransport(lambda _: replies.pop(0)))
    assert send(RetryingTransport(inner, time.around())).content == b"{}"
    assert time.slept == [0.5]


def test_a_handler_answers_in_this_process():
    seen = []

    def handle(method, path, headers, body):
        seen.append((method, path, headers["content-type"], body))
        return 201, {"X-Request-Id": "r1"}, b"{}"

    response = send(HandlerTransport(handle), "POST", headers={"Content-Type": "application/json"}, content=b"[]")
    assert seen == [("POST", "/v1/threads/thread_1?api-version=v1", "application/json", b"[]")]
    assert (response.status_code, response.headers["x-request-id"], response.content) == (201, "r1", b"{}")


@pytest.mark.parametrize(
    ("error", "ours", "text"),
    [
        (ConnectionResetError(), httpx.ReadError, "the connection was reset"),
        (ConnectionResetError("bye"), httpx.ReadError, "bye"),
        (TimeoutError(), httpx.ReadTimeout, "no answer in time"),
    ],
)
def test_a_handlers_lost_connection_arrives_as_httpxs(error, ours, text):
    def handle(*_):
        raise error

    with pytest.raises(ours, match=text):
        send(HandlerTransport(handle))


def stacked(script, time, *, read_only=False, log=None, reads=None):
    around = time.around()
    pacer = Pacer(Pace.per_minute(reads), Pace.per_minute(reads), around)
    return stack(script, pacer=pacer, read_only=read_only, log=log, around=around)


def test_a_retry_takes_a_slot_of_its_own_and_a_line_of_its_own():
    time, lines = FakeTime(), []
    response = send(stacked(Script(500, 200), time, log=lines.append, reads=6))
    assert response.status_code == 200
    assert time.slept == [0.5, 9.5]
    assert [line.split()[2] for line in lines] == ["500", "200"]


def test_a_refused_write_costs_no_wait_and_no_line():
    time, lines = FakeTime(), []
    with pytest.raises(ReconcilerError):
        send(stacked(Script(), time, read_only=True, log=lines.append), "POST")
    assert (time.slept, lines) == ([], [])


def test_closing_the_stack_closes_the_wire():
    script = Script()
    asyncio.run(stacked(script, FakeTime(), read_only=True, log=print).aclose())
    assert script.closed
