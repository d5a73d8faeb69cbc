from __future__ import annotations

import asyncio
import gzip
import math
import random
import selectors
import zlib
from contextlib import closing, suppress

import httpx
import pytest
import virtual_time

import reconciler.gateway.transport as gateway_transport
from reconciler.errors import ReconcilerError
from reconciler.gateway.answers import complaint
from reconciler.gateway.pacing import FIRST_HOLD, HEAD_ROOM, Pace
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
    body_of,
    prospects,
    stack,
    wait_after,
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
    "no more to spend": ([(429, {}, error_body("Monthly_Spending_Limit")), 200], (429, 1, [])),
    "an empty purse, but advised to": (
        [(429, {"x-should-retry": "true"}, error_body("insufficient_quota")), 200],
        (200, 2, [0.5]),
    ),
    "a 429, but advised not to": ([(429, {"x-should-retry": "false"}, b""), 200], (429, 1, [])),
    "five more attempts after a 429": ([429] * 5 + [200], (200, 6, [0.5, 1.0, 2.0, 4.0, 8.0])),
    "no sixth retry": ([429] * 7, (429, 6, [0.5, 1.0, 2.0, 4.0, 8.0])),
    "another failure after three of them": ([429, 429, 429, 503, 200], (503, 4, [0.5, 1.0, 2.0])),
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
    pacer = Pacer(Pace.per_minute(reads), Pace.per_minute(writes), time.around())
    return PacedTransport(script, pacer), pacer


def test_reads_and_writes_each_have_their_own_slots():
    time = FakeTime()
    transport, pacer = paced(time, Script(200, 200, 200, 200), reads=60, writes=30)
    send(transport)
    asyncio.run(pacer.turn("POST"))
    send(transport, "POST")
    assert pacer.delay("POST") == pytest.approx(2 / HEAD_ROOM)
    send(transport)
    assert time.slept == [pytest.approx(1 / HEAD_ROOM)]  # a write has waited for its turn before it comes here


def test_without_ceilings_nothing_waits():
    time = FakeTime()
    transport, pacer = paced(time, Script(200, 200))
    send(transport)
    send(transport)
    assert time.slept == []
    assert pacer.interval("GET") == 0


def test_what_a_forecast_needs_can_be_asked_for():
    time = FakeTime()

    class Slow(Script):
        async def handle_async_request(self, request):
            time.now += 0.3 if request.method == "GET" else 2.0
            return await super().handle_async_request(request)

    transport, pacer = paced(
        time, Slow(200, 500, httpx.ReadError("x"), 200, (429, {"retry-after": "9"}, b"")), reads=60
    )
    assert (pacer.interval("GET"), pacer.interval("POST")) == (pytest.approx(1 / HEAD_ROOM), 0)
    assert (pacer.round_trip("GET"), pacer.round_trip("POST"), pacer.delay("GET")) == (None, None, 0)
    for _ in range(2):
        send(transport)
    with pytest.raises(httpx.ReadError):
        send(transport)
    send(transport, "POST")
    assert len(time.slept) == 2
    # What was waited for is the pace's: a call takes the time from when it was sent.
    assert (pacer.round_trip("GET"), pacer.round_trip("POST")) == (pytest.approx(0.3), pytest.approx(2.0))
    time.now += 100
    send(transport)
    assert pacer.delay("GET") == 9.0
    assert pacer.interval("GET") == pytest.approx(2 / HEAD_ROOM)


NOTATIONS = [
    {"retry-after": "5"},
    {"retry-after": "5.0"},
    {"retry-after-ms": "5000"},
    {"retry-after": "Thu, 01 Jan 1970 00:16:45 GMT"},
    {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "5s"},
]


@pytest.mark.parametrize("headers", NOTATIONS)
def test_a_429_with_a_hint_holds_back_later_requests_of_its_sort(headers):
    time = FakeTime()
    transport, pacer = paced(time, Script((429, headers, b""), 200, (429, {"retry-after": "7"}, b"")))
    send(transport)
    assert pacer.delay("POST") == 0
    send(transport)
    assert time.slept == [5.0]
    time.now += 100
    assert pacer.delay("POST") == 0
    send(transport, "POST")
    assert pacer.delay("POST") == 7.0


def test_a_429_without_a_hint_holds_everybody_back_for_a_moment():
    time = FakeTime()
    transport, _ = paced(time, Script(429, 200))
    send(transport)
    send(transport)
    assert time.slept == [FIRST_HOLD]


def test_an_answer_of_another_sort_ends_a_row_of_429s():
    time = FakeTime()
    transport, pacer = paced(time, Script(429, 429, 200, 429))
    for _ in range(3):
        send(transport)
    time.now += 10
    send(transport)
    assert pacer.delay("GET") == pytest.approx(FIRST_HOLD)


OF_NO_USE = [
    (429, {"retry-after": "5"}, error_body("insufficient_quota")),
    (429, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "9"}, error_body("credit_balance_exhausted")),
]


@pytest.mark.parametrize("answer", OF_NO_USE)
def test_a_429_that_no_waiting_cures_holds_nobody_back(answer):
    time = FakeTime()
    transport, pacer = paced(time, Script(answer, 200))
    send(transport)
    send(transport)
    assert time.slept == []
    assert pacer.interval("GET") == 0


def test_a_429_that_asks_for_too_long_a_wait_slows_the_others_down_all_the_same():
    time = FakeTime()
    transport, pacer = paced(time, Script((429, {"retry-after": "3600"}, b""), 200))
    send(transport)
    assert pacer.delay("GET") == pytest.approx(FIRST_HOLD)
    assert pacer.interval("GET") > 0


def test_advice_makes_a_hopeless_429_one_like_any_other():
    time = FakeTime()
    answer = (429, {"retry-after": "5", "x-should-retry": " True"}, error_body("insufficient_quota"))
    transport, pacer = paced(time, Script(answer))
    send(transport)
    assert pacer.delay("GET") == 5.0


def test_a_body_is_looked_into_once_for_what_may_be_hoped_for(monkeypatch):
    looked = []
    monkeypatch.setattr(gateway_transport, "complaint", lambda body: looked.append(body) or complaint(body))
    response = send(stacked(Script((429, {}, error_body("insufficient_quota"))), FakeTime()))
    assert wait_after(response, 0, FakeTime().around()) is None
    assert prospects(response) == (False, True)
    assert len(looked) == 1


def test_a_request_without_an_answer_is_no_longer_in_flight():
    time = FakeTime()
    left = {"ratelimit-remaining": "6", "ratelimit-reset": "12"}
    transport, pacer = paced(
        time, Script(httpx.ReadError("x"), (200, left, b""), (200, left | {"RateLimit-Limit": "90"}, b""))
    )
    with pytest.raises(httpx.ReadError):
        send(transport)
    send(transport)
    assert pacer.interval("GET") == 0  # six are more than nobody needs
    send(transport)
    assert pacer.interval("GET") == 2.0


@pytest.mark.parametrize("name", ["X-RateLimit-Remaining-Requests", "x-ratelimit-remaining", "RateLimit-Remaining"])
def test_an_answer_that_says_that_nothing_is_left_holds_the_others(name):
    time = FakeTime()
    told = {name: "0", name.lower().replace("remaining", "reset"): "1m30s"}
    transport, _ = paced(time, Script((200, told, b""), 200))
    send(transport)
    send(transport)
    assert time.slept == [90.0]


@pytest.mark.parametrize(
    "told",
    [
        {"x-ratelimit-remaining-requests": "none", "x-ratelimit-reset-requests": "1m"},
        {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "tomorrow"},
        {"x-ratelimit-remaining-requests": "500", "x-ratelimit-reset-requests": "1m"},
        {"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "1m"},
        {"openai-organizations": "nineteen and one"},
    ],
)
def test_other_headers_change_nothing(told):
    time = FakeTime()
    transport, pacer = paced(time, Script((200, told, b"")))
    send(transport)
    assert (pacer.delay("GET"), pacer.interval("GET")) == (0, 0)


def test_parallel_requests_get_different_slots():
    async def all_at_once():
        loop = asyncio.get_running_loop()
        pacer = Pacer(Pace.per_minute(60), Pace(), Surroundings(loop.time, loop.time))
        server = Limited(None, loop, 0.0)
        transport = PacedTransport(server, pacer)
        await asyncio.gather(*(transport.handle_async_request(httpx.Request("GET", URL)) for _ in range(4)))
        return server.arrived

    assert virtual_time.run(all_at_once()) == pytest.approx([number / HEAD_ROOM for number in range(4)], abs=1e-3)


# --- many workers against a limit, on a clock that jumps from one event to the next -----------------------------------


class JumpingSelector(selectors.SelectSelector):
    """Does not wait: its clock is set to when the next thing happens."""

    now = 0.0

    def select(self, timeout=None):
        assert timeout is not None, "everybody waits for nothing"
        self.now += max(timeout, 0.0)
        return super().select(0)


class Bucket:
    """Lets calls pass as long as there are tokens, of which so many come every minute."""

    def __init__(self, rate, capacity):
        self.rate, self.capacity = rate / 60, capacity
        self.tokens, self.at = capacity, 0.0

    def ask(self, now):
        """Return how long a call would have to wait; 0 lets it pass."""
        self.tokens, self.at = min(self.capacity, self.tokens + (now - self.at) * self.rate), now
        if self.tokens < 1:
            return (1 - self.tokens) / self.rate
        self.tokens -= 1
        return 0.0


class Window:
    """Lets so many calls pass every minute, by the minute of the clock."""

    def __init__(self, limit):
        self.limit, self.minute, self.passed = limit, 0, 0

    def ask(self, now):
        minute = now // 60
        self.passed = 0 if minute != self.minute else self.passed
        self.minute = minute
        if self.passed >= self.limit:
            return (minute + 1) * 60 - now
        self.passed += 1
        return 0.0

    def left(self, now):
        """Return the headers of a server that tells what is left."""
        names = {"limit": self.limit, "remaining": self.limit - self.passed, "reset": f"{60 - now % 60:.3f}s"}
        return {f"x-ratelimit-{name}-requests": str(value) for name, value in names.items()}


HINTS = {
    "none": lambda _wait: {},
    "seconds": lambda wait: {"retry-after": str(math.ceil(wait))},
    "milliseconds": lambda wait: {"retry-after-ms": str(math.ceil(wait * 1000))},
}


class Limited(httpx.AsyncBaseTransport):
    """A server with a limit; every call takes about `round_trip` seconds there and back, none exactly."""

    def __init__(self, limit, loop, round_trip, hint=HINTS["none"], tells=False):
        self.limit, self.loop, self.round_trip, self.hint, self.tells = limit, loop, round_trip, hint, tells
        self.arrived, self.refused = [], 0
        self.chance = random.Random(4)

    async def handle_async_request(self, request):
        await asyncio.sleep(self.round_trip * self.chance.uniform(0.2, 0.8))
        now = self.loop.time()
        self.arrived.append(now)
        wait = self.limit.ask(now) if self.limit else 0.0
        told = self.limit.left(now) if self.tells else {}
        await asyncio.sleep(self.round_trip * self.chance.uniform(0.2, 0.8))
        if not wait:
            return httpx.Response(200, headers=told, content=b"{}")
        self.refused += 1
        return httpx.Response(429, headers=self.hint(wait) | told, content=b"")


def played(limit=None, *, calls=3000, workers=16, round_trip=0.03, ceiling=None, **more):
    """Play a run of reads: the server, the statuses, and how many seconds it would have taken."""
    selector = JumpingSelector()
    with closing(asyncio.SelectorEventLoop(selector)) as loop:
        loop.time = lambda: selector.now
        server = Limited(limit, loop, round_trip, **more)
        around = Surroundings(loop.time, loop.time, asyncio.sleep, random.Random(9).random)
        pacer = Pacer(Pace.per_minute(ceiling), Pace(), around)
        layers = stack(server, pacer=pacer, read_only=True, log=None, around=around)
        left, statuses = iter(range(calls)), []

        async def work():
            for _ in left:
                response = await layers.handle_async_request(httpx.Request("GET", URL))
                statuses.append(response.status_code)

        async def everybody():
            await asyncio.gather(*(work() for _ in range(workers)))

        loop.run_until_complete(everybody())
        return server, statuses, loop.time()


def busiest(instants, span):
    """Return the most instants in any span of so many seconds."""
    most = first = 0
    for last, instant in enumerate(instants):
        while instants[first] <= instant - span:
            first += 1
        most = max(most, last - first + 1)
    return most


@pytest.mark.parametrize(
    ("ceiling", "workers", "round_trip"), [(60, 16, 0.03), (300, 100, 1.0), (1000, 16, 0.03), (1000, 100, 1.0)]
)
def test_a_run_stays_under_its_ceiling_from_the_first_second_and_uses_nine_tenths(ceiling, workers, round_trip):
    server, _, _ = played(calls=3 * ceiling, workers=workers, round_trip=round_trip, ceiling=ceiling)
    arrived = server.arrived
    assert busiest(arrived, 60) <= ceiling
    assert all(sum(instant <= end for instant in arrived) <= ceiling * end / 60 + 1 for end in (1, 5, 15, 60))
    assert (len(arrived) - 1) / (arrived[-1] - arrived[0]) >= 0.9 * ceiling / 60


BURSTS, STEADY, BY_THE_MINUTE = (lambda: Bucket(1000, 1000)), (lambda: Bucket(1000, 50)), (lambda: Window(1000))


@pytest.mark.parametrize(
    ("limit", "hint", "workers", "round_trip", "ideal"),
    [
        pytest.param(BURSTS, "seconds", 16, 0.03, 120, id="a bucket of 1000"),
        pytest.param(BURSTS, "milliseconds", 100, 0.5, 120, id="a bucket of 1000 and many workers"),
        pytest.param(STEADY, "milliseconds", 16, 0.03, 177, id="a bucket of 50"),
        pytest.param(STEADY, "seconds", 100, 0.5, 177, id="a bucket of 50 and many workers"),
        pytest.param(BY_THE_MINUTE, "seconds", 16, 0.03, 120, id="a window"),
        pytest.param(BY_THE_MINUTE, "milliseconds", 100, 0.5, 120, id="a window and many workers"),
    ],
)
def test_with_hints_a_run_takes_little_longer_than_the_limit_makes_it_take(limit, hint, workers, round_trip, ideal):
    server, statuses, seconds = played(limit(), workers=workers, round_trip=round_trip, hint=HINTS[hint])
    assert statuses == [200] * 3000
    assert seconds <= 1.1 * ideal
    assert server.refused < 500


@pytest.mark.parametrize(
    ("limit", "workers", "round_trip", "longest"),
    [
        pytest.param(BURSTS, 16, 0.03, 130, id="a bucket of 1000"),
        pytest.param(STEADY, 100, 0.5, 190, id="a bucket of 50 and many workers"),
        pytest.param(BY_THE_MINUTE, 16, 0.03, 220, id="a window"),
        pytest.param(BY_THE_MINUTE, 100, 0.5, 240, id="a window and many workers"),
        pytest.param(BY_THE_MINUTE, 1, 0.03, 270, id="a window and one worker"),
    ],
)
def test_without_hints_no_read_is_given_up_either(limit, workers, round_trip, longest):
    server, statuses, seconds = played(limit(), workers=workers, round_trip=round_trip)
    assert statuses == [200] * 3000
    assert seconds <= longest
    assert server.refused < 500


def test_who_is_told_what_is_left_runs_into_no_wall():
    server, statuses, seconds = played(Window(1000), calls=2500, tells=True)
    assert (set(statuses), server.refused) == ({200}, 0)
    assert seconds <= 125


def test_who_wakes_late_enough_takes_another_slot_at_once():
    time = FakeTime()
    transport, pacer = paced(time, Script(200, 200), reads=60)
    send(transport)
    wall = httpx.Response(429, headers={"retry-after": "2"})

    async def sleep(seconds):
        pacer.heed("GET", (0, time.now), wall)
        await time.sleep(seconds + 5)

    pacer._around = Surroundings(lambda: time.now, lambda: time.now, sleep)
    send(transport)
    assert len(time.slept) == 1
    assert pacer.delay("GET") > 1


def test_who_all_wake_late_do_not_leave_all_at_once():
    time = FakeTime()
    _, pacer = paced(time, Script(), reads=60)
    left, stalled = [], []

    async def sleep(seconds):
        if not stalled:  # the machine sleeps for a while, and everybody's turn has come when it wakes
            stalled.append(True)
            await asyncio.sleep(0)
            time.now += 30
        else:
            await asyncio.sleep(0)
            time.now += seconds

    async def leave():
        await pacer.turn("GET")
        left.append(time.now)

    async def everybody():
        await asyncio.gather(*(leave() for _ in range(10)))

    pacer._around = Surroundings(lambda: time.now, lambda: time.now, sleep)
    asyncio.run(everybody())
    assert len(left) == 10
    assert busiest(sorted(left), 5) <= 6


def test_who_waits_for_a_slot_while_a_wall_is_met_takes_another_one():
    class Once(Limited):
        async def handle_async_request(self, request):
            response = await super().handle_async_request(request)
            return response if len(self.arrived) != 3 else httpx.Response(429, headers={"retry-after": "20"})

    selector = JumpingSelector()
    with closing(asyncio.SelectorEventLoop(selector)) as loop:
        loop.time = lambda: selector.now
        server = Once(None, loop, 0.01)
        around = Surroundings(loop.time, loop.time, asyncio.sleep)
        transport = PacedTransport(server, Pacer(Pace.per_minute(60), Pace(), around))

        async def everybody():
            await asyncio.gather(*(transport.handle_async_request(httpx.Request("GET", URL)) for _ in range(8)))

        loop.run_until_complete(everybody())
    assert len(server.arrived) == 8
    assert server.arrived[2] < 2.2
    assert server.arrived[3] >= 22
    assert all(later - earlier >= 1 for earlier, later in zip(server.arrived[3:], server.arrived[4:], strict=False))


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
    assert (body_of(response), response.headers["x-request-id"]) == (b'{"id": "x"}', "r")


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
    return body_of(send(BodyTransport(httpx.MockTransport(lambda _: reply), limit)))


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
    assert body_of(send(RetryingTransport(inner, time.around()))) == b"{}"
    assert time.slept == [0.5]


class Drip(httpx.AsyncBaseTransport, httpx.AsyncByteStream):
    """Answers with a byte every half second, so many of them, to the `first` calls; a second after any others."""

    def __init__(self, first=1, headers_after=0.0, number=10_000):
        self.first, self.headers_after, self.number = first, headers_after, number
        self.requests = self.closed = 0

    async def handle_async_request(self, request):
        self.requests += 1
        slow = self.requests <= self.first
        await asyncio.sleep(self.headers_after if slow else 1)
        return httpx.Response(200, stream=self if slow else Stream(b"{}"))

    async def __aiter__(self):
        for _ in range(self.number):
            await asyncio.sleep(0.5)
            yield b"x"

    async def aclose(self):
        self.closed += 1


def in_no_time(work):
    """Run a coroutine on a clock that jumps: its result or httpx's error, and the seconds that it would have taken."""

    async def timed():
        loop = asyncio.get_running_loop()
        try:
            ending = await work
        except httpx.HTTPError as error:
            ending = error
        return ending, loop.time()

    return virtual_time.run(timed())


def get(transport):
    return transport.handle_async_request(httpx.Request("GET", URL))


def test_a_body_that_drips_is_given_up_as_a_timeout_and_closed():
    drip = Drip()
    ending, seconds = in_no_time(get(BodyTransport(drip, longest=20)))
    assert isinstance(ending, httpx.ReadTimeout)
    assert str(ending) == "not complete after 20 s"
    assert (seconds, drip.closed) == (pytest.approx(20), 1)


def test_an_answer_that_does_not_begin_is_given_up_too():
    ending, seconds = in_no_time(get(BodyTransport(Drip(headers_after=3600), longest=20)))
    assert isinstance(ending, httpx.ReadTimeout)
    assert seconds == pytest.approx(20)


def test_a_body_that_drips_and_ends_in_time_is_read():
    ending, seconds = in_no_time(get(BodyTransport(Drip(number=30), longest=20)))
    assert (body_of(ending), seconds) == (b"x" * 30, pytest.approx(15))


def test_what_drips_is_tried_again_like_any_timeout():
    drip = Drip()
    around = Surroundings(sleep=asyncio.sleep, chance=lambda: 0.0)
    ending, seconds = in_no_time(get(RetryingTransport(BodyTransport(drip, longest=20), around)))
    assert (body_of(ending), seconds) == (b"{}", pytest.approx(20 + 0.5 + 1))


def test_each_exchange_has_its_own_time_and_what_ends_in_time_is_let_alone():
    drip = Drip(first=3)
    transport = BodyTransport(drip, longest=20)

    async def begun(after):
        await asyncio.sleep(after)
        try:
            response = await get(transport)
        except httpx.ReadTimeout:
            response = None
        return response and body_of(response), asyncio.get_running_loop().time()

    async def several():
        return await asyncio.gather(*map(begun, (0, 5, 12, 25, 100)))

    ends = virtual_time.run(several())
    assert [content for content, _ in ends] == [None, None, None, b"{}", b"{}"]
    assert [instant for _, instant in ends] == pytest.approx([20, 25, 32, 26, 101])


def test_who_is_cancelled_is_cancelled_and_not_timed_out():
    async def cancelled(after, *, twice):
        transport = BodyTransport(Drip(), longest=20)
        task = asyncio.ensure_future(get(transport))
        await asyncio.sleep(after)
        if twice:  # in the same instant as the exchange has taken too long
            transport._overdue.add(task)
            task.cancel()
        task.cancel()
        await asyncio.wait([task])
        return task.cancelled(), transport._begun, transport._overdue

    for twice in (False, True):
        assert virtual_time.run(cancelled(5, twice=twice)) == (True, {}, set())


def test_another_failure_of_what_has_taken_too_long_is_told_as_it_is():
    class Failing(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request):
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                raise httpx.ReadError("torn down") from None

    async def asked():
        with pytest.raises(httpx.ReadError, match="torn down"):
            await get(BodyTransport(Failing(), longest=20))
        return asyncio.current_task().cancelling()

    assert virtual_time.run(asked()) == 0


def test_what_does_not_end_even_so_is_not_cancelled_again_and_no_timer_outlives_the_door():
    cancelled = []

    class Stubborn(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request):
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                cancelled.append(asyncio.get_running_loop().time())
                await asyncio.sleep(100)
                raise

    async def asked():
        transport = BodyTransport(Stubborn(), longest=20)
        first = asyncio.ensure_future(get(transport))
        await asyncio.sleep(30)
        second = asyncio.ensure_future(get(transport))
        done = await asyncio.gather(first, second, return_exceptions=True)
        assert transport._timer is None
        third = asyncio.ensure_future(get(transport))
        await asyncio.sleep(1)
        timer = transport._timer
        third.cancel()
        await transport.aclose()
        await transport.aclose()
        return [type(each) for each in done], timer.cancelled()

    assert virtual_time.run(asked()) == ([httpx.ReadTimeout] * 2, True)
    assert cancelled[:2] == pytest.approx([20, 50])


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
    assert time.slept == pytest.approx([0.5, 10 / HEAD_ROOM - 0.5])
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


def test_calls_and_those_that_repeat_a_failed_one_are_counted():
    time = FakeTime()
    around = time.around()
    pacer = Pacer(Pace(), Pace(), around)
    script = Script(503, httpx.ConnectError("gone"), 200, 200, 404, 503, 200, 200)
    layers = stack(script, pacer=pacer, read_only=False, log=None, around=around)
    for method in ("GET", "GET", "GET", "POST", "POST", "POST"):
        send(layers, method, content=b"{}" if method == "POST" else None)
    assert pacer.calls() == {"GET": 5, "POST": 3}
    assert pacer.retries() == {"GET": 2, "POST": 1}
