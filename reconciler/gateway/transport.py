"""The layers between the client and the wire; each has one job and any of them can be left out or replaced.

`stack` puts them in order::

    ReadOnlyTransport    refuses to write            outermost: what it refuses costs no slot and no wait
    RetryingTransport    tries reads again
    PacedTransport       keeps the pace              inside the retries: a retry takes a slot like any other request
    LoggingTransport     one line a request          inside both: its milliseconds are those of the server
    BodyTransport        reads the whole body        inside the retries: a body that breaks off is tried again, and so
                                                     is an exchange without an end
    WireTransport or HandlerTransport                sockets, or a function in this process
"""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import httpx

from reconciler.errors import ReconcilerError
from reconciler.gateway.answers import complaint
from reconciler.gateway.pacing import (
    ALLOWANCE_HEADERS,
    ALLOWANCE_LENGTHS,
    LONGEST_HINT,
    RETRIES,
    Outlook,
    Pace,
    Tally,
    allowance,
    backoff,
    outlook,
    retries,
    retry_wait,
    wait_hint,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Awaitable, Callable, Mapping

    Sleep: TypeAlias = Callable[[float], Awaitable[None]]
    """Waits for so many seconds."""

    Sent: TypeAlias = tuple[int, float]
    """A call that has left: the era of its pace, and when it left."""

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
    sleep: Sleep = asyncio.sleep
    chance: Callable[[], float] = random.random


def target_of(request: httpx.Request) -> bytes:
    """Return the path and query of a request as on the wire.

    Ours carry it as httpx's extension `target`: taking a URL apart anew for each request costs more than sending it.
    """
    target: bytes | None = request.extensions.get("target")
    return request.url.raw_path if target is None else target


class Whole(httpx.ByteStream):
    """The body of an answer that is read, and not compressed (any more): `data`.

    httpx would read a `Response(content=...)` once more through its decoders, which takes as long as sending it.
    """

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.data = data


def body_of(response: httpx.Response) -> bytes:
    """Return the body of an answer that is read."""
    return response.stream.data if isinstance(response.stream, Whole) else response.content


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
    if not prospects(response).retried:
        return None
    return retry_wait(attempt, around.chance(), wait_hint(response.headers, around.wall()))


def prospects(response: httpx.Response) -> Outlook:
    """Return what may be hoped for after an answer that is read; it is made out once, and kept with the answer."""
    known: Outlook | None = response.extensions.get("outlook")
    if known is None:
        codes: tuple[str | None, ...] = ()
        if response.status_code == 429:  # the only status where the API's names decide something here
            said = complaint(body_of(response))
            codes = said.code, said.type
        known = outlook(response.status_code, response.headers, *codes)
        response.extensions["outlook"] = known
    return known


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

    __slots__ = ("ended", "failed", "in_flight", "pace", "retries", "spent", "tally")

    def __init__(self, pace: Pace) -> None:
        self.pace = pace
        self.tally = Tally()
        self.in_flight = 0
        self.ended = 0
        self.spent = 0.0
        self.failed = set[bytes]()
        self.retries = 0


class Pacer:
    """The pace of reads and that of writes, each with its own slots, shared by everybody at one target.

    A call waits in the row of its method (`approach`), then passes its gate (`leave`). Between the two a write looks at
    its resource; nothing is between them for a read (`turn`). What is learned stays, whoever made the calls: there is
    one of these for a whole run.
    """

    def __init__(self, reads: Pace, writes: Pace, around: Surroundings) -> None:
        self._lanes = {"GET": _Lane(reads), "POST": _Lane(writes)}
        self._around = around

    async def approach(self, method: str, sleep: Sleep) -> None:
        """Wait for a slot. Who waits while a wall is met takes another one after it: it was one in a faster row.

        `sleep` waits, so many seconds; what it raises ends this.
        """
        lane, clock = self._lanes[method], self._around.clock
        while True:
            now, era = clock(), lane.pace.era
            start, lane.pace = lane.pace.take(now)
            if start <= now:
                return
            await sleep(start - now)
            if lane.pace.stands(era, start):
                return

    async def leave(self, method: str, sleep: Sleep) -> bool:
        """Tell whether the call may be sent now, after a moment's wait at most; else it has to approach again."""
        lane, now = self._lanes[method], self._around.clock()
        start, lane.pace = lane.pace.leave(now)
        if start is None:
            return False
        if start <= now:
            return True
        era = lane.pace.era
        await sleep(start - now)
        return lane.pace.stands(era, start)

    async def turn(self, method: str) -> None:
        """Wait until a call may be sent that nothing goes ahead of."""
        if self._lanes[method].pace.idle(self._around.clock()):
            return
        sleep = self._around.sleep
        await self.approach(method, sleep)
        while not await self.leave(method, sleep):
            await self.approach(method, sleep)

    def sent(self, method: str) -> Sent:
        """Count a call that leaves now."""
        lane, now = self._lanes[method], self._around.clock()
        lane.tally = lane.tally.noted(now)
        lane.in_flight += 1
        return lane.pace.era, now

    def ended(self, method: str, call: Sent) -> None:
        """Count a call as answered, or as failed."""
        lane = self._lanes[method]
        lane.in_flight -= 1
        lane.ended += 1
        lane.spent += self._around.clock() - call[1]

    def heed(self, method: str, call: Sent, response: httpx.Response) -> None:
        """Let everybody learn from the answer to a call."""
        lane, era = self._lanes[method], call[0]
        if response.status_code == 429:
            if not self._wall(lane, era, response):
                return
        elif lane.pace.restraint is not None:
            lane.pace = lane.pace.eased(era)
        if _tells_allowance(response.headers):
            left = allowance(response.headers, self._around.wall())
            if left is not None:
                lane.pace = lane.pace.allowed(left, self._around.clock(), lane.in_flight)

    def _wall(self, lane: _Lane, era: int, response: httpx.Response) -> bool:
        """Slow everybody down; returns whether waiting is of any use."""
        hint = wait_hint(response.headers, self._around.wall())
        if prospects(response).spent:
            return False
        if hint is not None and hint > LONGEST_HINT:
            hint = None  # nobody waits so long, and this call is not made again; the others slow down all the same
        now = self._around.clock()
        lane.pace = lane.pace.slowed(now, era, lane.tally.rate(now), hint)
        return True

    # --- for a report -------------------------------------------------------------------------------------------------

    def begun(self, method: str, target: bytes) -> None:
        """Count a call as a retry where the last one of its method for the same target had failed in passing."""
        lane = self._lanes[method]
        if target in lane.failed:
            lane.failed.discard(target)
            lane.retries += 1

    def failed(self, method: str, target: bytes) -> None:
        """Note a call that failed in passing: the next one like it repeats it."""
        self._lanes[method].failed.add(target)

    def calls(self) -> dict[str, int]:
        """Return how many calls ended, by method, retries included."""
        return {method: lane.ended for method, lane in self._lanes.items()}

    def retries(self) -> dict[str, int]:
        """Return how many calls repeated one that had failed in passing, by method."""
        return {method: lane.retries for method, lane in self._lanes.items()}

    # --- for a forecast -----------------------------------------------------------------------------------------------

    def delay(self, method: str) -> float:
        """Return the seconds until somebody who comes now may begin, 0 where nobody waits."""
        now = self._around.clock()
        return self._lanes[method].pace.take(now)[0] - now

    def interval(self, method: str) -> float:
        """Return the seconds between two slots as things stand, 0 where nobody waits."""
        start, after = self._lanes[method].pace.take(self._around.clock())
        return after.distance(start)

    def round_trip(self, method: str) -> float | None:
        """Return the seconds that a call took on average from when it was sent, `None` where none was."""
        lane = self._lanes[method]
        return lane.spent / lane.ended if lane.ended else None


def _tells_allowance(headers: httpx.Headers) -> bool:
    # By length first, and by a plain loop: this is asked of every answer, and few have such a header.
    for name, _ in headers.raw:  # noqa: SIM110 - a generator takes half as long again
        if len(name) in ALLOWANCE_LENGTHS and name.lower() in ALLOWANCE_HEADERS:
            return True
    return False


class PacedTransport(_Layer):
    """Lets reads wait for their turn. Writes have waited for theirs already, as they look before they leave.

    A 429 slows everybody down who comes later, not only the one that was told: the others would run into the same
    wall and use up their retries on it.
    """

    def __init__(self, inner: httpx.AsyncBaseTransport, pacer: Pacer) -> None:
        super().__init__(inner)
        self._pacer = pacer

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Wait for a turn, then pass the request on, and heed what is answered."""
        pacer, method, target = self._pacer, request.method, target_of(request)
        if method == "GET":
            await pacer.turn(method)
        pacer.begun(method, target)
        call = pacer.sent(method)
        try:
            response = await self._inner.handle_async_request(request)
        except PASSING:
            pacer.failed(method, target)
            raise
        finally:
            pacer.ended(method, call)
        pacer.heed(method, call, response)
        if response.status_code >= 400 and prospects(response).retried:
            pacer.failed(method, target)
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
        path = target_of(request).partition(b"?")[0].decode("ascii")
        spent = (self._around.clock() - begun) * 1000
        self._log(f"{request.method} {path} {outcome} {spent:.0f} ms {request_id}".rstrip())


class BodyTransport(_Layer):
    """Reads the whole body, decoded and bounded, so that all of an answer's failures happen in one place.

    `longest` is what one exchange may take altogether, in seconds. Timeouts below count from byte to byte: without this
    a server that sends a byte now and then keeps a call, and a run that waits for it, for ever. One timer does for all,
    set for the oldest call in flight; a timer for each would cost more than anything else here.
    """

    def __init__(self, inner: httpx.AsyncBaseTransport, limit: int = MAX_ANSWER, longest: float | None = None) -> None:
        super().__init__(inner)
        self._limit = limit
        self._longest = longest
        self._begun: dict[asyncio.Task[object], float] = {}  # in this order
        self._overdue: set[asyncio.Task[object]] = set()
        self._timer: asyncio.TimerHandle | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Return an answer that is read and closed.

        Raise `AnswerTooLarge` past the limit, and `ReadTimeout` for an exchange that does not come to an end.
        """
        task = asyncio.current_task()
        if self._longest is None or task is None:
            return await self._exchange(request)
        loop, cancelling = asyncio.get_running_loop(), task.cancelling()
        self._begun[task] = loop.time()
        if self._timer is None:
            self._timer = loop.call_later(self._longest, self._end_overdue, self._longest)
        try:
            return await self._exchange(request)
        except asyncio.CancelledError:
            # The cancellation may be ours alone, or somebody's beside it: theirs goes on.
            if task in self._overdue and task.cancelling() - 1 <= cancelling:
                raise httpx.ReadTimeout(f"not complete after {self._longest:g} s", request=request) from None
            raise
        finally:
            del self._begun[task]
            if task in self._overdue:
                self._overdue.discard(task)
                task.uncancel()

    def _end_overdue(self, longest: float) -> None:
        """End the exchanges that take too long, and look again when the next one would."""
        loop = asyncio.get_running_loop()
        now, self._timer = loop.time(), None
        for task, begun in self._begun.items():
            if begun + longest > now:
                self._timer = loop.call_at(begun + longest, self._end_overdue, longest)
                return
            if task not in self._overdue:
                self._overdue.add(task)
                task.cancel()

    async def aclose(self) -> None:
        """Close what is inside."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        await super().aclose()

    async def _exchange(self, request: httpx.Request) -> httpx.Response:
        response = await self._inner.handle_async_request(request)
        if isinstance(response.stream, Whole):
            return response
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
        return httpx.Response(response.status_code, headers=headers, stream=Whole(body), request=request)

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
        target = target_of(request).decode("ascii")
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
    longest: float | None = None,
) -> httpx.AsyncBaseTransport:
    """Return the layers around `wire`, in the order that the module's picture gives.

    `longest` is what one exchange may take, in seconds; `None` is no bound.
    """
    layers: httpx.AsyncBaseTransport = BodyTransport(wire, longest=longest)
    if log is not None:
        layers = LoggingTransport(layers, log, around)
    layers = RetryingTransport(PacedTransport(layers, pacer), around)
    return ReadOnlyTransport(layers) if read_only else layers
