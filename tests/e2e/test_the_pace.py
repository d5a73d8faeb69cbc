"""When the calls of a run arrive: told a ceiling, told to wait, told what is left."""

import contextlib
import json
import threading
import time
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from scratch import Answer, Api, Scratch, complaint, staged

NAMES = [f"thread_{number:02}" for number in range(20)]
MANIFEST = "threads:\n" + "".join(f"  {name}:\n    metadata: {{plan: gold}}\n" for name in NAMES)
HELD = {f"thread/{name}": {"plan": "gold"} for name in NAMES}
BARE = {f"thread/{name}": {} for name in NAMES}
UNLUCKY = "GET /v1/threads/thread_03"


class Timed(Api):
    """A server that knows when each call arrived; `first` makes its first answer to one call."""

    def __init__(self, *given, call=UNLUCKY, first=None, **more):
        super().__init__(*given, **more)
        self.arrivals = []
        self.call, self.first = call, first
        self.said = None

    def answer(self, call, raw):
        now = time.monotonic()
        self.arrivals.append((now, call.method))
        answer = super().answer(call, raw)
        if str(call) == self.call and self.first is not None and self.said is None:
            self.said = time.monotonic()
            return self.first(answer)
        return answer

    def times(self, method):
        """Return when the calls of a method arrived."""
        return sorted(instant for instant, of in self.arrivals if of == method)

    def arrived_within(self, seconds, method="GET"):
        """Return how many calls of a method arrived so soon after what was said first."""
        return sum(self.said < instant < self.said + seconds for instant in self.times(method))


def refusal(headers):
    """Return a way to refuse a call; the headers are made when it is refused."""
    return lambda _answer: Answer(429, complaint(429, "Rate limit reached").body, headers())


NOTATIONS = {
    "fractions": lambda: {"Retry-After": "0.7"},
    "an HTTP date": lambda: {"Retry-After": formatdate(time.time() + 2, usegmt=True)},
}


@pytest.mark.parametrize("notation", NOTATIONS)
def test_one_call_that_is_told_to_wait_holds_back_all_and_all_are_read_in_the_end(notation, tmp_path):
    api = Timed(HELD, first=refusal(NOTATIONS[notation]), lag={"GET": 0.02})
    with staged(tmp_path, MANIFEST, api) as stage:
        done = stage.run("plan --format json --parallelism 2")
    assert (done.code, done.document["errors"]) == (0, [])
    assert sorted(set(api.told)) == [f"GET /v1/threads/{name}" for name in NAMES]
    assert len(api.calls) == 21
    assert api.arrived_within(0.65) <= 1  # the other one was on its way
    assert len([instant for instant in api.times("GET") if instant > api.said]) > 10


def test_a_server_that_says_that_nothing_is_left_is_left_alone_until_the_reset(tmp_path):
    told = {
        "X-RateLimit-Limit-Requests": "60",
        "X-RateLimit-Remaining-Requests": "0",
        "X-RateLimit-Reset-Requests": "0.7s",
    }
    api = Timed(HELD, first=lambda answer: Answer(answer.status, answer.body, told), lag={"GET": 0.02})
    with staged(tmp_path, MANIFEST, api) as stage:
        assert stage.run("plan --parallelism 2").code == 0
    assert len(api.calls) == 20  # nobody was refused, so nobody came again
    assert api.arrived_within(0.65) <= 1


def test_a_call_that_shall_not_be_made_again_is_not_though_it_was_a_matter_of_pace(tmp_path):
    refused = complaint(429, "not you", x_should_retry="false", retry_after="0.1")
    api = Timed(HELD, instead={UNLUCKY: [refused]})
    with staged(tmp_path, MANIFEST, api) as stage:
        done = stage.run("plan --format json --parallelism 2")
    assert done.code == 1
    (error,) = done.document["errors"]
    assert error["message"].startswith("thread/thread_03: The API answered 429: not you; ")
    assert sorted(api.told) == [f"GET /v1/threads/{name}" for name in NAMES]


def test_a_write_may_be_told_to_wait_five_times(tmp_path):
    wait = complaint(429, "Rate limit reached", retry_after_ms="30")
    api = Timed(BARE, {"thread": "replace"}, instead={"POST /v1/threads/thread_03": [*[wait] * 5, None]})
    with staged(tmp_path, MANIFEST, api, "writes: {thread: replace}") as stage:
        assert stage.run("apply --yes --select thread/thread_03").code == 0
    assert len(api.sent("POST")) == 6
    assert api.held("thread/thread_03") == {"plan": "gold"}


def test_one_write_that_is_told_to_wait_holds_back_all_writers(tmp_path):
    api = Timed(
        BARE, {"thread": "replace"}, call="POST /v1/threads/thread_03", first=refusal(lambda: {"Retry-After": "1"})
    )
    with staged(tmp_path, MANIFEST, api, "writes: {thread: replace}, rate: {writes_per_minute: 1200}") as stage:
        assert stage.run("apply --yes --parallelism 12").code == 0
    assert {str(call) for call in api.sent("POST")} == {f"POST /v1/threads/{name}" for name in NAMES}
    assert api.arrived_within(0.95, "POST") <= 2  # some may have been on their way


def test_what_is_left_after_reading_holds_for_writing(tmp_path):
    told = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1s"}
    api = Timed(BARE, {"thread": "replace"}, first=lambda answer: Answer(answer.status, answer.body, told))
    with staged(tmp_path, MANIFEST, api, "writes: {thread: replace}") as stage:
        assert stage.run("apply --yes --select thread/thread_03").code == 0
    assert api.told == ["GET /v1/threads/thread_03", "GET /v1/threads/thread_03", "POST /v1/threads/thread_03"]
    assert api.arrived_within(0.95) == api.arrived_within(0.95, "POST") == 0


def test_a_body_that_drips_is_given_up_like_a_timeout_and_asked_for_again(tmp_path):
    with dripping(1) as (url, asked):
        scratch = Scratch(tmp_path)
        scratch.manifest("threads: {thread_03: {metadata: {plan: gold}}}\n")
        scratch.settings(url, "timeouts: {connect: 0.2, read: 0.4}")
        done = scratch.run("plan --format json")
    assert (done.code, done.document["errors"]) == (0, [])
    assert asked == ["GET /v1/threads/thread_03"] * 2


@contextlib.contextmanager
def dripping(first):
    """Serve one object, byte by byte to the first calls; gives the base URL and the calls."""
    asked, over = [], threading.Event()

    class Desk(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(f"{self.command} {self.path}")
            self.send_response(200)
            body = json.dumps({"id": "thread_03", "metadata": {"plan": "gold"}}).encode()
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            slow = len(asked) <= first
            with contextlib.suppress(OSError):
                for byte in body:
                    self.wfile.write(bytes([byte]))
                    if slow and over.wait(0.1):
                        return

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Desk)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1", asked
    finally:
        over.set()
        server.shutdown()
        thread.join()
        server.server_close()


def kept(instants, ceiling):
    """Tell whether no span from one call to another has more of them than a ceiling allows, give or take a second's.

    Calls that leave on time may arrive late, all the more on a busy machine; those after them do not.
    """
    return all(
        further <= (last - first + 1.0) * ceiling / 60
        for number, first in enumerate(instants)
        for further, last in enumerate(instants[number:])
    )


def test_reads_and_writes_of_one_run_each_keep_their_ceiling(tmp_path):
    api = Timed(BARE, {"thread": "replace"})
    rate = "writes: {thread: replace}, rate: {reads_per_minute: 1800, writes_per_minute: 960}"
    with staged(tmp_path, MANIFEST, api, rate) as stage:
        assert stage.run("apply --yes").code == 0
    assert len(api.sent("GET")) >= 40
    assert len(api.sent("POST")) == 20
    assert kept(api.times("GET"), 1800)
    assert kept(api.times("POST"), 960)
