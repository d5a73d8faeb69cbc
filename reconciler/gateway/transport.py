"""The layers between the client and the wire; each has one job and any of them can be left out or replaced.

`stack` puts them in order::

    ReadOnlyTransport    refuses to write            outermost: what it refuses costs no slot and no wait
    RetryingTransport    tries reads again
    PacedTransport       keeps the pace              inside the retries: a retry takes a slot like any other request
    LoggingTransport     one line a request          inside both: its milliseconds are those of the server
    BodyTransport        reads the whole body        inside the retries: a body that breaks off is tried again
    WireTransport or HandlerTransport                sockets, or a function in this process
"""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

import httpx

from reconciler.errors import ReconcilerError
from reconciler.gateway.answers import complaint
from reconciler.gateway.pacing import (
    ALLOWANCE_HEADERS,
    ALLOWANCE_LENGTHS,
    LONGEST_HINT,
    RETRIES,
    Pace,
    Tally,
    allowance,
    backoff,
    hopeless,
    retries,
    retry_wait,
    should_retry,
    wait_hint,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Awaitable, Callable, Mapping

    Handle: TypeAlias = Callable[[str, str, Mapping[str, str], bytes], tuple[int, Mapping[str, str], bytes]]
    """A server as a function: method, request target (path and query as on the wire, percent-encoded), headers
    (names in lower case) and body, to status, headers and body. `ConnectionResetError` stands for a lost connection,
    `TimeoutError` for a server that does not answer."""

MAX_ANSWER = 10 * 1024 * 1024
"""Bytes of a body, decoded. An object with 16 pairs is some 10 kB; this keeps a stray download out of memory."""

PASSING = (httpx.TimeoutException, httpx.NetworkError, httpx.RemoteProtocolError, httpx.ProxyError)
"""What may pass by itself; the other transport errors are mistakes in the request."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Time and chance: a steady clock and the time since 1970 in seconds, a way to sleep, a number in [0, 1)."""

    clock: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    chance: Callable[[], float] = random.random


class AnswerTooLarge(httpx.RequestError):
    """A body is larger than `MAX_ANSWER`; trying again would only fetch it again."""


class _Layer(httpx.AsyncBaseTransport):
    """A transport around another one."""

    def __init__(self, inner: httpx.AsyncBaseTransport) -> None:
        self._inner = inner

    async def aclose(self) -> None:
        """Close what is inside."""
        await self._inner.aclose()


class ReadOnlyTransport(_Layer):
    """Lets nothing pass but GET, so that a plan cannot write even through a mistake of ours."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Pass a GET on; raise `ReconcilerError` for everything else before it reaches the network."""
        if request.method != "GET":
            raise ReconcilerError(f"internal error: a {request.method} request in a run that only reads")
        return await self._inner.handle_async_request(request)


def wait_after(response: httpx.Response, attempt: int, around: Surroundings) -> float | None:
    """Return the seconds to wait before another attempt after this answer, `None` where it is to be kept.

    `attempt` counts all attempts of the call, from 0. There are more of them after a 429 than after other failures.
    """
    status = response.status_code
    if status < 400 or attempt >= retries(status):
        return None
    if not should_retry(status, response.headers, *_codes(response)):
        return None
    return retry_wait(attempt, around.chance(), wait_hint(response.headers, around.wall()))


def _codes(response: httpx.Response) -> tuple[str | None, ...]:
    """Return the API's names for a 429, the only status where they decide something here."""
    if response.status_code != 429:
        return ()
    said = complaint(response.content)
    return said.code, said.type


def wait_after_failure(error: Exception, attempt: int, around: Surroundings) -> float | None:
    """Return the seconds to wait before another attempt after a request without an answer, `None` for no use."""
    if attempt >= RETRIES or not isinstance(error, PASSING):
        return None
    return backoff(attempt, around.chance())


class RetryingTransport(_Layer):
    """Tries reads again as the official client does; waits and limits are those of `pacing`.

    Not writes: after a wait, what is there has to be looked at before anything is sent again, which is decided above.
    Expects answers that are read (`BodyTransport`), for it looks into some of them.
    """

    def __init__(self, inner: httpx.AsyncBaseTransport, around: Surroundings) -> None:
        super().__init__(inner)
        self._around = around

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Return the first answer worth having, or the last one; raise the last error."""
        if request.method != "GET":
            return await self._inner.handle_async_request(request)
        attempt = 0
        while True:
            try:
                response = await self._inner.handle_async_request(request)
            except PASSING as error:
                wait = wait_after_failure(error, attempt, self._around)
                if wait is None:
                    raise
            else:
                wait = wait_after(response, attempt, self._around)
                if wait is None:
                    return response
            await self._around.sleep(wait)
            attempt += 1


class _Lane:
    """What all calls of one method share."""

    __slots__ = ("in_flight", "pace", "tally")

    def __init__(self, pace: Pace) -> None:
        self.pace = pace
        self.tally = Tally()
        self.in_flight = 0


class Pacer:
    """The pace of reads and that of writes, each with its own slots, shared by everybody at one target."""

    def __init__(self, reads: Pace, writes: Pace, around: Surroundings) -> None:
        self._lanes = {"GET": _Lane(reads), "POST": _Lane(writes)}
        self._around = around

    def slot(self, method: str) -> float:
        """Take the next slot; returns the seconds until it begins. Two callers never get the same one."""
        lane = self._lanes[method]
        wait, lane.pace = lane.pace.take(self._around.clock())
        return wait

    def interval(self, method: str) -> float:
        """Return the seconds between two slots as things stand, 0 where nobody waits."""
        return self._lanes[method].pace.distance(self._around.clock())

    async def turn(self, method: str, wait: float) -> None:
        """Wait for a slot that was taken just now. Who waits while a wall is met takes another one after it.

        The place was one in a faster row.
        """
        lane = self._lanes[method]
        while wait > 0:
            era, start = lane.pace.era, self._around.clock() + wait
            await self._around.sleep(wait)
            if lane.pace.stands(era, start):
                return
            wait = self.slot(method)

    def sent(self, method: str) -> int:
        """Count a call that leaves now; returns the era of its pace."""
        lane, now = self._lanes[method], self._around.clock()
        lane.tally = lane.tally.noted(now)
        lane.in_flight += 1
        # What leaves during a hold is a write whose slot is from before it: its 429 would be no new wall.
        return lane.pace.era if now >= lane.pace.hold else lane.pace.era - 1

    def ended(self, method: str) -> None:
        """Count a call as answered, or as failed."""
        self._lanes[method].in_flight -= 1

    def heed(self, method: str, era: int, response: httpx.Response) -> None:
        """Let everybody learn from an answer to a call that left in an era."""
        lane = self._lanes[method]
        if response.status_code == 429:
            if not self._wall(lane, method, era, response):
                return
        elif lane.pace.restraint is not None:
            lane.pace = lane.pace.eased(era)
        if _tells_allowance(response.headers):
            left = allowance(response.headers, self._around.wall())
            if left is not None:
                lane.pace = lane.pace.allowed(left, self._around.clock(), lane.in_flight)

    def _wall(self, lane: _Lane, method: str, era: int, response: httpx.Response) -> bool:
        """Slow everybody down; returns whether waiting is of any use."""
        hint = wait_hint(response.headers, self._around.wall())
        advised = response.headers.get("x-should-retry", "").strip().lower() == "true"
        if not advised and hopeless(*_codes(response)):
            return False
        if hint is not None and hint > LONGEST_HINT:
            return False
        now, free = self._around.clock(), lane.pace.free
        lane.pace = lane.pace.slowed(now, era, lane.tally.rate(now), hint)
        if method != "GET":
            # Who has a slot for a write already will use it: the next ones come after all of them.
            lane.pace = replace(lane.pace, free=max(free, lane.pace.free))
        return True


def _tells_allowance(headers: httpx.Headers) -> bool:
    # By length first, and by a plain loop: this is asked of every answer, and few have such a header.
    for name, _ in headers.raw:  # noqa: SIM110 - a generator takes half as long again
        if len(name) in ALLOWANCE_LENGTHS and name.lower() in ALLOWANCE_HEADERS:
            return True
    return False


class PacedTransport(_Layer):
    """Lets reads wait for their slots. Writes have theirs already, from before the read that goes ahead of them.

    A 429 slows everybody down who comes later, not only the one that was told: the others would run into the same
    wall and use up their retries on it.
    """

    def __init__(self, inner: httpx.AsyncBaseTransport, pacer: Pacer) -> None:
        super().__init__(inner)
        self._pacer = pacer

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Wait for the next slot, then pass the request on, and heed what is answered."""
        pacer, method = self._pacer, request.method
        if method == "GET":
            wait = pacer.slot(method)
            if wait > 0:
                await pacer.turn(method, wait)
        era = pacer.sent(method)
        try:
            response = await self._inner.handle_async_request(request)
        finally:
            pacer.ended(method)
        pacer.heed(method, era, response)
        return response


class LoggingTransport(_Layer):
    """Tells one line a request: method, path, status or error, milliseconds, the API's request id.

    Never headers, bodies or the query: that is where secrets and values are.
    """

    def __init__(self, inner: httpx.AsyncBaseTransport, log: Callable[[str], None], around: Surroundings) -> None:
        super().__init__(inner)
        self._log = log
        self._around = around

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Pass the request on and tell about it, whatever becomes of it."""
        begun = self._around.clock()
        try:
            response = await self._inner.handle_async_request(request)
        except BaseException as error:  # an interruption is told too
            self._tell(request, type(error).__name__, begun)
            raise
        self._tell(request, str(response.status_code), begun, response.headers.get("x-request-id", ""))
        return response

    def _tell(self, request: httpx.Request, outcome: str, begun: float, request_id: str = "") -> None:
        path = request.url.raw_path.partition(b"?")[0].decode("ascii")
        spent = (self._around.clock() - begun) * 1000
        self._log(f"{request.method} {path} {outcome} {spent:.0f} ms {request_id}".rstrip())


class BodyTransport(_Layer):
    """Reads the whole body, decoded and bounded, so that all of an answer's failures happen in one place."""

    def __init__(self, inner: httpx.AsyncBaseTransport, limit: int = MAX_ANSWER) -> None:
        super().__init__(inner)
        self._limit = limit

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Return an answer that is read and closed; raise `AnswerTooLarge` past the limit."""
        response = await self._inner.handle_async_request(request)
        encoded = "content-encoding" in response.headers
        source: AsyncIterable[bytes] = response.aiter_bytes()
        if not encoded and isinstance(response.stream, httpx.AsyncByteStream):
            source = response.stream  # is the body already; going round the decoder is worth a tenth of a GET
        try:
            body = await self._collect(source)
        finally:
            await response.aclose()
        headers = response.headers
        if encoded:  # no longer: a second decoder would fail on it
            headers = httpx.Headers([pair for pair in headers.raw if pair[0].lower() != b"content-encoding"])
        return httpx.Response(response.status_code, headers=headers, content=body, request=request)

    async def _collect(self, source: AsyncIterable[bytes]) -> bytes:
        chunks: list[bytes] = []
        size = 0
        async for chunk in source:
            size += len(chunk)
            if size > self._limit:
                raise AnswerTooLarge(f"more than {self._limit} bytes")
            chunks.append(chunk)
        return b"".join(chunks)


class HandlerTransport(httpx.AsyncBaseTransport):
    """Answers with a function of this process, without a socket."""

    def __init__(self, handle: Handle) -> None:
        self._handle = handle

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Call the function; its `ConnectionResetError` and `TimeoutError` arrive as httpx's."""
        body = await request.aread()
        target = request.url.raw_path.decode("ascii")
        try:
            status, headers, content = self._handle(request.method, target, dict(request.headers), body)
        except ConnectionResetError as error:
            raise httpx.ReadError(str(error) or "the connection was reset", request=request) from error
        except TimeoutError as error:
            raise httpx.ReadTimeout(str(error) or "no answer in time", request=request) from error
        return httpx.Response(status, headers=dict(headers), content=content, request=request)


def stack(
    wire: httpx.AsyncBaseTransport,
    *,
    pacer: Pacer,
    read_only: bool,
    log: Callable[[str], None] | None,
    around: Surroundings,
) -> httpx.AsyncBaseTransport:
    """Return the layers around `wire`, in the order that the module's picture gives."""
    layers: httpx.AsyncBaseTransport = BodyTransport(wire)
    if log is not None:
        layers = LoggingTransport(layers, log, around)
    layers = RetryingTransport(PacedTransport(layers, pacer), around)
    return ReadOnlyTransport(layers) if read_only else layers
