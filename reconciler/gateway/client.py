"""Reading and modifying one resource of any kind; the border where foreign exceptions become ours.

Every request carries what the provider's and the kind's rows and the target's own settings say, and nothing else: no
cookies, no redirects followed, no credentials taken from the environment beyond those that the target names.
"""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

import httpx

from reconciler import __version__
from reconciler.addresses import InsecureUrl, is_header_value, parse_base_url
from reconciler.errors import ApiError, Fault, InvalidInput, Problem, ReconcilerError, TargetRefused
from reconciler.gateway.answers import ECHO_FROM, Answer, Secrets, presentable, redacted
from reconciler.gateway.failures import CertificateRefused, HostUnknown, NoTunnel, TlsFailed
from reconciler.gateway.listing import MOST, Lister, Size, page_path
from reconciler.gateway.pacing import RETRIES, Pace, backoff
from reconciler.gateway.providers import Scheme
from reconciler.gateway.transport import (
    AnswerTooLarge,
    Pacer,
    Surroundings,
    body_of,
    prospects,
    stack,
    wait_after,
    wait_after_failure,
)
from reconciler.gateway.verdicts import Judge, retirement
from reconciler.kinds import KINDS
from reconciler.model import EMPTY, Unread

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from pydantic import SecretStr

    from reconciler.gateway.keeper import Keeper
    from reconciler.gateway.listing import Page
    from reconciler.gateway.providers import Provider
    from reconciler.gateway.transport import Sleep
    from reconciler.kinds import Kind
    from reconciler.model import Json, Observed, Reading, Ref

CONNECT_TIMEOUT = 10.0
"""Seconds for a TCP connection and its TLS handshake: a server that needs longer is not there."""
READ_TIMEOUT = 60.0
"""Seconds without a byte. One GET took 2.8 s on a healthy server (API.md), and busy ones queue."""
WHOLE = 2
"""Times the read timeout that one exchange may take after it is connected: a request, and all of its answer. An answer
is some 10 kB, a packet or a few; what needs longer than two of the longest silences only drips."""
USER_AGENT = f"reconciler/{__version__}"

_TELLING = ECHO_FROM
"""Characters from which on a part of a secret header is taken for a secret itself, not for the name of a scheme."""
_ENTRA_TOKEN = re.compile(r"eyJ[\w-]+\.[\w-]+\.[\w-]*", re.ASCII)

TRANSLATIONS: Mapping[type[Exception], tuple[str, str]] = {
    httpx.TimeoutException: ("timeout", "The API did not answer in time"),
    httpx.ConnectTimeout: ("timeout", "The server could not be reached in time"),
    httpx.ReadTimeout: ("timeout", "The API did not answer in time"),
    httpx.WriteTimeout: ("timeout", "The API did not take the request in time"),
    httpx.PoolTimeout: ("timeout", "No connection became free in time"),
    httpx.ConnectError: ("network", "No connection to the server"),
    HostUnknown: ("dns", "The name of the server cannot be resolved"),
    TlsFailed: ("tls", "No TLS with the server"),
    CertificateRefused: ("tls", "The server's certificate cannot be trusted"),
    httpx.ReadError: ("network", "The connection broke before the answer was complete"),
    httpx.WriteError: ("network", "The connection broke while the request was sent"),
    httpx.CloseError: ("network", "The connection could not be closed"),
    httpx.NetworkError: ("network", "The connection failed"),
    httpx.ProxyError: ("network", "The proxy failed"),
    NoTunnel: ("network", "The proxy opens no way to the server"),
    httpx.RemoteProtocolError: ("network", "The server broke off or broke the rules of HTTP"),
    httpx.LocalProtocolError: ("network", "The request breaks the rules of HTTP"),
    httpx.ProtocolError: ("network", "The rules of HTTP were broken"),
    httpx.UnsupportedProtocol: ("network", "The URL is not one of http or https"),
    httpx.TransportError: ("network", "The request failed on its way"),
    httpx.DecodingError: ("invalid_answer", "The answer's compression is broken"),
    AnswerTooLarge: ("invalid_answer", "The answer is too large"),
    httpx.TooManyRedirects: ("redirected", "The API redirects without end"),
    httpx.RequestError: ("network", "The request failed"),
    httpx.HTTPStatusError: ("rejected", "The API refused the request"),
    httpx.HTTPError: ("network", "The request failed"),
    httpx.InvalidURL: ("invalid_url", "The URL is invalid"),
    httpx.CookieConflict: ("internal", "Internal error: cookies are in use"),
    httpx.StreamConsumed: ("internal", "Internal error: a body was read twice"),
    httpx.StreamClosed: ("internal", "Internal error: a body was read after its end"),
    httpx.ResponseNotRead: ("internal", "Internal error: an answer was not read"),
    httpx.RequestNotRead: ("internal", "Internal error: a request was not read"),
    httpx.StreamError: ("internal", "Internal error in the use of a body"),
}
"""Every exception that httpx has, to a code and a sentence; a test compares the two."""

FOREIGN = (httpx.HTTPError, httpx.InvalidURL, httpx.CookieConflict, httpx.StreamError)


def fault_of(error: Exception, secret: str | Secrets = "") -> Fault:
    """Return the fault that stands for an exception of httpx, by the most precise row; `secret` never shows in it."""
    code, sentence = next(TRANSLATIONS[ancestor] for ancestor in type(error).__mro__ if ancestor in TRANSLATIONS)
    detail = str(error)
    return Fault(code, presentable(f"{sentence} ({detail})." if detail else f"{sentence}.", secret))


@dataclass(frozen=True, slots=True)
class Connection:
    """Where to go and as whom. `InvalidInput` is raised for a URL or a credential that must not be used.

    `credential` is a key; tokens that end are a `Keeper`'s. `headers` and `query` are sent with every call,
    `secret_headers` as well, and hold more that must not show; they are checked where they are read.
    """

    provider: Provider
    base_url: str
    credential: SecretStr | None = None
    organization: str | None = None
    project: str | None = None
    extra_headers: tuple[tuple[str, str], ...] = ()
    secret_headers: tuple[tuple[str, SecretStr], ...] = ()
    query: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        problem = self._url_problem() or self._header_problem()
        if problem:
            raise InvalidInput(problem)

    @property
    def embedded(self) -> bool:
        """Tell whether an emulator in this process answers, and no server."""
        return self.provider.embedded and self.base_url == self.provider.base_url

    @property
    def url(self) -> httpx.URL:
        """Return the base URL in parts."""
        return httpx.URL(self.base_url)

    @property
    def secret(self) -> str:
        """Return the credential, `""` where there is none; spaces around it (a file's last newline) are not its own."""
        return self.credential.get_secret_value().strip() if self.credential else ""

    def secrets(self) -> Secrets:
        """Return all that must not show: the credential, and the headers that are as secret, with their parts."""
        values = [value.get_secret_value() for _, value in self.secret_headers]
        # `Basic abc…`: a server that repeats it may leave out the first word.
        parts = [part for value in values for part in value.split() if len(part) >= _TELLING]
        return Secrets(self.secret, *values, *parts)

    @property
    def suffix(self) -> str:
        """Return the query of every URL with its `?`: what the target says goes before what the provider's row says."""
        pairs = {**dict(self.provider.query), **dict(self.query)}
        return f"?{urlencode(pairs, quote_via=quote, safe='')}" if pairs else ""

    def more_headers(self) -> dict[str, str]:
        """Return the headers that the target adds; they may replace ours."""
        return {**dict(self.extra_headers), **{name: value.get_secret_value() for name, value in self.secret_headers}}

    def headers(self) -> dict[str, str]:
        """Return the headers that the provider's row asks for."""
        named = {"OpenAI-Organization": self.organization, "OpenAI-Project": self.project}
        tenancy = {name: value for name, value in named.items() if value and self.provider.tenancy}
        return {**self._authentication(), **tenancy}

    def _authentication(self) -> dict[str, str]:
        secret, scheme = self.secret, self.provider.scheme
        if not secret or scheme is Scheme.NONE:
            return {}
        if scheme is Scheme.API_KEY and not _ENTRA_TOKEN.fullmatch(secret):
            return {"api-key": secret}
        return {"Authorization": f"Bearer {secret}"}

    def _url_problem(self) -> Problem | None:
        if self.embedded:
            return None
        try:
            httpx.URL(parse_base_url(self.base_url))
        except InsecureUrl as error:
            return Problem("insecure_url", str(error))
        except (ValueError, httpx.InvalidURL) as error:
            return Problem("invalid_url", f"the base URL cannot be used: {error}")
        return None

    def _header_problem(self) -> Problem | None:
        values = {"the credential": self.secret, "the organization": self.organization, "the project": self.project}
        for name, value in values.items():
            if value and not is_header_value(value):
                return Problem("invalid_credential", f"{name} holds characters that a header cannot carry")
        return None


@dataclass(frozen=True, slots=True)
class _Route:
    """What all requests of one kind share, made once."""

    kind: Kind
    reading: httpx.Headers
    writing: httpx.Headers
    judge: Judge
    lister: Lister
    retired: Fault | None


_NO_BODY = httpx.ByteStream(b"")


class Gateway:
    """Reads and modifies resources at one connection, through the layers that have the policies."""

    def __init__(
        self,
        connection: Connection,
        layers: httpx.AsyncBaseTransport,
        pacer: Pacer,
        around: Surroundings,
        keeper: Keeper | None = None,
    ) -> None:
        self._base = url = connection.url
        self._layers = layers
        self._pacer = pacer
        self._around = around
        self._keeper = keeper
        self._secret = _secrets(connection, keeper)
        self._prefix = url.raw_path.decode("ascii").rstrip("/")
        self._suffix = connection.suffix
        self._routes = {name: _route(kind, connection, self._secret) for name, kind in KINDS.items()}
        self._token = ""
        self._signed: dict[int, httpx.Headers] = {}
        self._refused: set[bytes] = set()
        self._eased: dict[str, Size] = {}

    async def fetch(self, ref: Ref) -> Reading:
        """Read one resource; raise `TargetRefused` for 401, 403 and a used up quota, everything else is a reading.

        A 2xx that is no answer (a page, garbage, another object) is asked for again here, as often as the layers below
        do with failures that they can tell by themselves. Once those have given up, nothing is tried again.
        """
        reading = await self._read(ref)
        for attempt in range(RETRIES):
            if not _is_no_answer(reading):
                break
            await self._around.sleep(backoff(attempt, self._around.chance()))
            reading = await self._read(ref)
        return reading

    async def _read(self, ref: Ref) -> Reading:
        route = self._routes[ref.kind]
        if route.retired is not None:
            return Unread(route.retired)
        try:
            answer = await self._send("GET", self._target(route.kind, ref), route.reading)
        except TargetRefused:  # before it was asked: there is no token
            raise
        except ApiError as error:
            return Unread(error.fault)
        return route.judge.reading(ref, answer)

    async def page(
        self,
        kind: str,
        parent: str = "",
        *,
        after: str | None = None,
        where: Mapping[str, str] = EMPTY,
        limit: int = MOST,
    ) -> Page:
        """Return one page of the list of a kind, below its parent where it has one; `listing.py` says what it means.

        `where` are pairs that the server is to look for, `after` is the cursor of the page before. Raise
        `TargetRefused` for 401, 403 and a used up quota, else `ApiError`. A 2xx that is no page is asked for again
        here, as `fetch` does; where a page of so many objects cannot be had, a smaller one is asked for, from then on.
        """
        size, attempt = Size(limit).within(self._eased.get(kind, Size())), 0
        eased = False
        while True:
            try:
                page = await self._page(kind, parent, after, where, size)
            except ApiError as error:
                easier = size.easier(error, too_large=isinstance(error.__cause__, AnswerTooLarge))
                no_page = error.fault.code == "invalid_answer" and error.fault.status is not None
                if easier is None and (attempt == RETRIES or not no_page):
                    raise
            else:
                if eased:
                    self._eased[kind] = size.within(self._eased.get(kind, Size()))
                return page
            if easier is None:
                await self._around.sleep(backoff(attempt, self._around.chance()))
                attempt += 1
            size, eased = easier or size, eased or easier is not None

    async def _page(self, kind: str, parent: str, after: str | None, where: Mapping[str, str], size: Size) -> Page:
        route = self._routes[kind]
        if route.retired is not None:
            raise TargetRefused(route.retired)
        path = page_path(route.kind, parent, self._suffix, after, where, size)
        answer = await self._send("GET", f"{self._prefix}{path}".encode("ascii"), route.reading)
        return route.lister.page(parent, answer)

    async def write_slot(self, sleep: Sleep) -> None:
        """Wait for a place in the pace of writes; then the resource is to be looked at. What `sleep` raises ends it."""
        if self._keeper is not None and self._keeper.at_hand() is None:
            await _meanwhile(self._keeper, sleep)
        await self._pacer.approach("POST", sleep)

    async def write_start(self, sleep: Sleep) -> bool:
        """Tell whether a write may be sent now, after a second's wait at most; else it needs another slot and look."""
        return await self._pacer.leave("POST", sleep)

    async def modify(self, ref: Ref, entries: Mapping[str, Json], attempt: int = 0) -> Observed:
        """Send `entries` as the resource's field, once, and return the metadata of the answer.

        `None` stands for an answer without a usable map: only another read tells what the write did. An entry is
        `None` where the dialect removes a key by it. Raise `TargetRefused` for 401, 403, a used up quota and a path
        that is not served, `ApiError` for everything else; after attempt number `attempt` (from 0), `retry_in` of its
        fault has the seconds to wait before another one, `None` where that is of no use.
        """
        route = self._routes[ref.kind]
        if route.retired is not None:
            raise TargetRefused(route.retired)
        # Escaped to ASCII: a lone surrogate among foreign values could not be encoded otherwise.
        body = json.dumps({route.kind.field: dict(entries)}, allow_nan=False, separators=(",", ":")).encode("ascii")
        answer = await self._send("POST", self._target(route.kind, ref), route.writing, body, attempt)
        try:
            return route.judge.written(ref, answer)
        except TargetRefused:
            raise
        except ApiError as error:
            raise ApiError(replace(error.fault, retry_in=answer.retry_in)) from None

    def _target(self, kind: Kind, ref: Ref) -> bytes:
        return f"{self._prefix}{resource_path(kind, ref)}{self._suffix}".encode("ascii")

    async def _send(
        self, method: str, target: bytes, headers: httpx.Headers, body: bytes | None = None, attempt: int = RETRIES
    ) -> Answer:
        keeper = self._keeper
        if keeper is None:
            return await self._exchange(method, target, headers, body, attempt)
        token = keeper.at_hand() or await keeper.current()
        answer = await self._exchange(method, target, self._with_token(headers, token), body, attempt)
        if answer.status != _UNAUTHORIZED:
            if body is not None:  # the look that comes before each write has the same target
                self._refused.discard(target)
            return answer
        if body is not None and target in self._refused:
            return answer
        another = await keeper.renewed(after=token)
        if another is None:
            return answer
        if body is None:
            return await self._exchange(method, target, self._with_token(headers, another), body, attempt)
        # Nothing was written. But time has passed since the look at what is there, and the next call needs a place in
        # the pace: whoever writes begins anew, once.
        self._refused.add(target)
        raise ApiError(Fault("unauthorized", "The token was refused; there is another one.", 401, None, 0.0))

    def _with_token(self, headers: httpx.Headers, token: str) -> httpx.Headers:
        """Return the headers of a route with a token, made once for each of both."""
        if token != self._token:
            self._token, self._signed = token, {}
        signed = self._signed.get(id(headers))
        if signed is None:
            signed = self._signed[id(headers)] = httpx.Headers([*headers.raw, (b"Authorization", _bearer(token))])
        return signed

    async def _exchange(
        self, method: str, target: bytes, headers: httpx.Headers, body: bytes | None, attempt: int
    ) -> Answer:
        # Straight to the layers: httpx's client object would add cookies, redirects and credentials from the
        # environment, none of which is wanted, and costs as much as all of them together.
        try:
            response = await self._layers.handle_async_request(self._request(method, target, headers, body))
        except FOREIGN as error:
            fault = fault_of(error, self._secret)
            raise ApiError(replace(fault, retry_in=wait_after_failure(error, attempt, self._around))) from error
        found, status, content = response.headers, response.status_code, body_of(response)
        return Answer(
            status,
            content if status < 300 else redacted(content, self._secret),
            found.get("x-request-id"),
            found.get("location"),
            wait_after(response, attempt, self._around),
            status == 429 and prospects(response).spent,
        )

    def _request(self, method: str, target: bytes, headers: httpx.Headers, body: bytes | None) -> httpx.Request:
        extensions = {"target": target}
        if body is not None:
            return httpx.Request(method, self._base, headers=headers, content=body, extensions=extensions)
        # With `content`, be it none, httpx looks for headers to add; ours are complete.
        request = httpx.Request(method, self._base, headers=headers, stream=_NO_BODY, extensions=extensions)
        request.read()
        return request


def _is_no_answer(reading: Reading) -> bool:
    """Tell whether an answer arrived in whole, with a 2xx, and does not show the resource that was asked for."""
    return isinstance(reading, Unread) and reading.fault.code == "invalid_answer" and reading.fault.status is not None


def _bearer(token: str) -> bytes:
    return f"Bearer {token}".encode("ascii")


def _secrets(connection: Connection, keeper: Keeper | None) -> Secrets:
    """Return what must not show: a token that comes later will be in it, too."""
    if keeper is None:
        return connection.secrets()
    keeper.secrets.add(*connection.secrets())
    return keeper.secrets


async def _meanwhile(keeper: Keeper, sleep: Sleep) -> None:
    """Wait until there is a token; what `sleep` raises ends the wait, not the asking, which others may wait for."""

    async def pause() -> None:
        await sleep(_ASKING)

    asking, pausing = asyncio.ensure_future(keeper.current()), asyncio.ensure_future(pause())
    try:
        await asyncio.wait((asking, pausing), return_when=asyncio.FIRST_COMPLETED)
        if pausing.done():
            pausing.result()
        await asking
    finally:
        for one in (asking, pausing):
            one.cancel()
        await asyncio.gather(asking, pausing, return_exceptions=True)


_UNAUTHORIZED = 401
_ASKING = 3600.0
"""Seconds that outlast every asking for a token: those are bounded by themselves."""


def _route(kind: Kind, connection: Connection, secrets: Secrets) -> _Route:
    # The body is small and the same connection is used again: asking for compression would only cost time.
    common = {"Host": connection.url.netloc.decode("ascii"), "Accept": "application/json", "User-Agent": USER_AGENT}
    reading = httpx.Headers({**common, "Accept-Encoding": "identity", **connection.headers(), **kind.headers})
    reading.update(connection.more_headers())
    writing = httpx.Headers([*reading.raw, (b"Content-Type", b"application/json")])
    host = connection.url.host
    below = connection.provider.below.get(kind.name, "")
    addressed = replace(kind, path=f"{below}{kind.path}") if below else kind
    judge, lister = Judge(kind, host, secrets), Lister(kind, host, secrets)
    return _Route(addressed, reading, writing, judge, lister, retirement(kind, host))


def resource_path(kind: Kind, ref: Ref) -> str:
    """Return the path of one resource below the base URL; raise `InvalidInput` for an id that would leave it."""
    # httpx resolves dot segments: /threads/.. would become the collection, or worse.
    if not kind.valid_id(ref.id):
        raise InvalidInput(Problem("invalid_id", f"{ref} is not the id of a {kind.noun}"))
    # Nothing that an id may hold has to be escaped in a path, and some servers compare it to the letter.
    parent, _, own = ref.id.rpartition("/")
    return kind.path.format(parent=parent, id=own)


@asynccontextmanager
async def open_gateway(
    connection: Connection,
    *,
    pacer: Pacer | None = None,
    parallelism: int = 16,
    read_only: bool = False,
    transport: httpx.AsyncBaseTransport | None = None,
    log: Callable[[str], None] | None = None,
    around: Surroundings | None = None,
    connect_timeout: float = CONNECT_TIMEOUT,
    read_timeout: float = READ_TIMEOUT,
    keeper: Keeper | None = None,
) -> AsyncIterator[Gateway]:
    """Open the door: the stack of `transport.stack` around `transport`, or around sockets where none is given.

    `pacer` is shared by all that is opened at one target; without one there are no ceilings, and what the server asks
    for is forgotten at the end. `parallelism` is the number of connections. `log` takes one line a request. The
    embedded emulator needs its `transport`; everything is closed at the end. `keeper` has the token that is sent, where
    that is no key of the connection's. Timeouts are in seconds: for a connection
    with its TLS handshake, and without a byte of an answer (see also `WHOLE`).
    """
    if transport is None and connection.embedded:
        raise ReconcilerError("internal error: the embedded emulator was opened without a transport to it")
    around = around or Surroundings()
    pacer = pacer or Pacer(Pace(), Pace(), around)
    layers = stack(
        transport or _wire(connection, parallelism, connect_timeout, read_timeout),
        pacer=pacer,
        read_only=read_only,
        log=_shielded(log, _secrets(connection, keeper)) if log else None,
        around=around,
        longest=connect_timeout + WHOLE * read_timeout,
    )
    async with layers:
        try:
            yield Gateway(connection, layers, pacer, around, keeper)
        finally:
            if keeper is not None:
                await keeper.aclose()


def _wire(connection: Connection, parallelism: int, connect: float, read: float) -> httpx.AsyncBaseTransport:
    # Imported late: aiohttp is a tenth of a second that the embedded emulator does not need.
    from reconciler.gateway.wire import wire_to

    return wire_to(connection.base_url, parallelism, connect=connect, read=read)


def _shielded(log: Callable[[str], None], secret: Secrets) -> Callable[[str], None]:
    """Return `log` with every line made presentable: a request id is the server's, and may hold anything."""
    return lambda line: log(presentable(line, secret, 2000))
