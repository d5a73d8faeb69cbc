"""The layer that owns sockets: httpx's interface over aiohttp's connections.

httpx's own pool slows down with many connections (640 requests a second with 50 of them, where aiohttp's does
thousands). Between the two there is little to do: a request is handed over, its answer taken back, and whatever goes
wrong translated to the most precise of httpx's exceptions.

Left to itself, aiohttp sends a GET that loses its connection before any answer a second time, at once and below our
layers. It is kept from that here: retries are decided above, in turn with the pace.

What it would take from the environment by itself (`trust_env`) it is not left to, for that has credentials in it
(`.netrc`). The proxy and the certificates to trust are read by `wire_to`, and what is wrong with them is told before
any call.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
import ssl
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import aiohttp
import httpx
from aiohttp import hdrs
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.http_exceptions import HttpProcessingError
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from reconciler import __version__
from reconciler.gateway.failures import CertificateRefused, HostUnknown, NoTunnel, TlsFailed
from reconciler.gateway.proxies import proxy_to
from reconciler.gateway.transport import Whole
from reconciler.gateway.trust import distrust, leads_to_nobody, trusting_the_system

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp.client_proto import ResponseHandler
    from aiohttp.tracing import Trace

    from reconciler.gateway.proxies import Proxy

    Found = list[ResolveResult] | Exception

KEEPALIVE = 30.0
"""Seconds that an idle connection is kept. Load balancers drop theirs after 60 or more; ours goes first."""
AT_ONCE = 256 * 1024
"""Bytes of a body that is read in one go, where its length is told; what is longer is left to whoever bounds it."""
_REMEMBERED = 64
"""Sets of headers that are kept in aiohttp's form: one for each kind, and again with each token of a long run."""

_TRANSLATIONS: tuple[tuple[type[BaseException], type[httpx.RequestError]], ...] = (
    # The first row that fits counts: aiohttp's timeouts are also its connection errors, and those are also OSErrors.
    (aiohttp.ClientProxyConnectionError, httpx.ProxyError),
    (aiohttp.ClientHttpProxyError, httpx.ProxyError),
    (aiohttp.ConnectionTimeoutError, httpx.ConnectTimeout),
    (aiohttp.ClientConnectorDNSError, HostUnknown),
    (aiohttp.ClientConnectorCertificateError, CertificateRefused),
    (aiohttp.ClientConnectorSSLError, TlsFailed),
    (aiohttp.ClientConnectorError, httpx.ConnectError),
    (aiohttp.ServerFingerprintMismatch, httpx.ConnectError),
    (TimeoutError, httpx.ReadTimeout),
    (aiohttp.ServerDisconnectedError, httpx.RemoteProtocolError),
    (aiohttp.InvalidURL, httpx.UnsupportedProtocol),
    (aiohttp.NonHttpUrlClientError, httpx.UnsupportedProtocol),
    (aiohttp.ClientResponseError, httpx.RemoteProtocolError),
    (HttpProcessingError, httpx.RemoteProtocolError),
    (aiohttp.ClientError, httpx.ReadError),
    (OSError, httpx.ReadError),
)


def translated(error: BaseException) -> httpx.RequestError | None:
    """Return httpx's truthful equivalent of an error of aiohttp or of the system; `None` for any other error."""
    for foreign, ours in _TRANSLATIONS:
        if isinstance(error, foreign):
            return ours(_detail(error))
    return None


def _detail(error: BaseException) -> str:
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return distrust(error.certificate_error)
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return f"{error.host}: {error.os_error.strerror or error.os_error}"
    if isinstance(error, aiohttp.ClientConnectorSSLError):
        return _no_tls(error.os_error)
    if isinstance(error, aiohttp.ClientConnectorError):
        return str(error.os_error) or type(error.os_error).__name__
    if isinstance(error, aiohttp.ClientResponseError | HttpProcessingError):
        # Only the first line: the parser quotes what it stumbled over below it.
        return (error.message or "malformed answer").partition("\n")[0].rstrip(": ")
    return str(error) or type(error).__name__


_PLAIN = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE"})
"""What OpenSSL stumbles over where the other side does not speak TLS."""


def _no_tls(error: OSError) -> str:
    reason = getattr(error, "reason", None) or str(error) or type(error).__name__
    words = reason.lower().replace("_", " ")
    return f"{words}: what answers at this port speaks no TLS, maybe plain http" if reason in _PLAIN else words


class _Body(httpx.AsyncByteStream):
    """A body that is still to be read, and whose errors are httpx's."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._response.content.iter_any():
                yield chunk
        except Exception as error:
            truth = translated(error)
            if truth is None:
                raise
            raise truth from error

    async def aclose(self) -> None:
        """Give the connection back, or up where not everything was read."""
        self._response.close()


class WireTransport(httpx.AsyncBaseTransport):
    """Sends requests over aiohttp's connections; raises httpx's exceptions, and truthful ones.

    `connect` and `read` are seconds: for a connection with its TLS handshake, and without a byte of an answer. The
    session begins with the first request, for it belongs to a loop. Through a `proxy` goes nothing but TLS.
    """

    def __init__(
        self,
        parallelism: int,
        context: ssl.SSLContext,
        connect: float | None,
        read: float | None,
        proxy: Proxy | None = None,
    ) -> None:
        self._parallelism = parallelism
        self._context = context
        self._proxy = proxy
        self._through = _through(proxy) if proxy else {}
        # Not the wait for a free connection: that is our own parallelism, not the server's fault.
        self._timeout = aiohttp.ClientTimeout(total=None, connect=None, sock_connect=connect, sock_read=read)
        self._session: aiohttp.ClientSession | None = None
        self._known: dict[tuple[tuple[bytes, bytes], ...], CIMultiDictProxy[str]] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request. A small body of a known length is read already, any other is still to be read."""
        session = self._session or self._opened()
        try:
            response = await session.request(
                request.method,
                _url(request),
                headers=self._fields(request),
                data=request.content or None,
                allow_redirects=False,
                **(self._through if request.url.scheme == "https" else {}),
            )
            return await _taken_back(response, request)
        except Exception as error:
            truth = translated(error)
            if truth is None:
                raise
            raise truth from error

    def _fields(self, request: httpx.Request) -> CIMultiDictProxy[str]:
        """Return headers as aiohttp wants them; those of the GETs of a kind are the same each time."""
        raw = tuple(request.headers.raw)
        known = self._known.get(raw)
        if known is None:
            known = CIMultiDictProxy(CIMultiDict((name.decode("ascii"), value.decode("ascii")) for name, value in raw))
            if request.method == "GET":
                if len(self._known) >= _REMEMBERED:
                    self._known.clear()
                self._known[raw] = known
        return known

    def _opened(self) -> aiohttp.ClientSession:
        connector = _Connector(
            limit=self._parallelism, keepalive_timeout=KEEPALIVE, ssl=self._context, resolver=Resolver()
        )
        connector.proxy = self._proxy
        self._session = session = aiohttp.ClientSession(
            connector=connector, cookie_jar=aiohttp.DummyCookieJar(), timeout=self._timeout, auto_decompress=False
        )
        # aiohttp would resend a GET on a lost connection by itself, unpaced and untold; retries are decided above.
        session._retry_connection = False  # noqa: SLF001 - there is no public switch
        return session

    async def aclose(self) -> None:
        """Close the session and its connections."""
        if self._session is not None:
            await self._session.close()


def _url(request: httpx.Request) -> URL:
    """Return where a request goes, to the letter: it is encoded already."""
    target = request.extensions.get("target")
    if target is None:
        return URL(str(request.url), encoded=True)
    return URL(f"{request.url.scheme}://{request.url.netloc.decode('ascii')}{target.decode('ascii')}", encoded=True)


async def _taken_back(response: aiohttp.ClientResponse, request: httpx.Request) -> httpx.Response:
    """Return an answer as one of httpx, with its body where that is small, of a known length and not compressed."""
    length = response.content_length
    if length is None or length > AT_ONCE or hdrs.CONTENT_ENCODING in response.headers:
        return httpx.Response(
            response.status, headers=list(response.raw_headers), stream=_Body(response), request=request
        )
    body = await response.read()  # closes the connection where that fails
    return httpx.Response(response.status, headers=list(response.raw_headers), stream=Whole(body), request=request)


# --- through a proxy --------------------------------------------------------------------------------------------------


def _through(proxy: Proxy) -> dict[str, Any]:
    """Return what aiohttp has to know of a proxy with each request; the headers are those of CONNECT alone."""
    headers = {"User-Agent": f"reconciler/{__version__}"}
    if proxy.authorization:
        headers["Proxy-Authorization"] = proxy.authorization
    return {"proxy": URL(proxy.url), "proxy_headers": headers}


class _Connector(aiohttp.TCPConnector):
    """Makes connections, with a bound on how long a proxy may take for one, and words for what goes wrong there.

    aiohttp bounds each of its steps, but the answer to CONNECT not at all; and its errors do not tell whether it was
    the proxy's or the server's. What comes after the connection is as it is without a proxy.
    """

    proxy: Proxy | None = None

    async def _create_connection(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - the name is aiohttp's
    ) -> ResponseHandler:
        proxy = self.proxy
        if proxy is None or req.proxy is None:
            return await super()._create_connection(req, traces, timeout)
        # Two connections are made: to the proxy, and by the proxy to the server.
        bound = None if timeout.sock_connect is None else 2 * timeout.sock_connect
        try:
            async with asyncio.timeout(bound):
                return await super()._create_connection(req, traces, timeout)
        except Exception as error:
            truth = _untunnelled(error, proxy, req.host)
            if truth is None:
                raise
        # Not from here to there: the errors of aiohttp have the headers of CONNECT with them, so the password.
        raise truth


def _untunnelled(error: Exception, proxy: Proxy, host: str) -> httpx.RequestError | None:
    """Return the truth about a way through a proxy that did not come about; `None` for an error of another kind."""
    which = f"the proxy {proxy.place} of {proxy.variable}"
    if isinstance(error, aiohttp.ClientHttpProxyError):
        words = f"{which} {_refusal(error, proxy, host)}"
        lasting = 400 <= error.status < 500 and error.status not in _PASSING
        return NoTunnel(words) if lasting else httpx.ProxyError(words)
    if isinstance(error, TimeoutError):
        return httpx.ConnectTimeout(f"{which} did not open the way to {host}")
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return httpx.ProxyError(f"the name of {which} cannot be resolved: {_detail(error).partition(': ')[2]}")
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ClientConnectorCertificateError):
        at_proxy = (error.host, error.port) == (proxy.host, proxy.port)
        return _unconnected(error, which) if at_proxy else _unconnected_behind(error, which)
    if isinstance(error, aiohttp.ClientResponseError | HttpProcessingError):
        return httpx.ProxyError(f"{which} answers no HTTP: {_detail(error)}")
    if isinstance(error, aiohttp.ClientError | OSError):
        return httpx.ProxyError(f"{which} broke off")
    return None


_PASSING = frozenset({408, 425, 429})
"""What a proxy says where asking again may help, among what it says of the request."""
_SCHEMES = re.compile(r"(?:^|,)\s*(Basic|Digest|Kerberos|Negotiate|NTLM)\b", re.ASCII | re.IGNORECASE)


def _refusal(error: aiohttp.ClientHttpProxyError, proxy: Proxy, host: str) -> str:
    """Return what a proxy says instead of opening a way; its own words are not repeated."""
    if error.status == 407:
        offers = error.headers.getall(hdrs.PROXY_AUTHENTICATE, []) if error.headers else []
        offered = _SCHEMES.findall(",".join(offers))
        if offered and "basic" not in map(str.lower, offered):
            return f"takes no user and password, which is all that is sent here, but {', '.join(offered)} (407)"
        if proxy.authorization:
            return f"does not accept the user and password that {proxy.variable} has (407): correct them there"
        return (
            f"asks for a user and password (407): write them into {proxy.variable}, "
            f"as {proxy.scheme}://USER:PASSWORD@{proxy.place}"
        )
    if error.status in {401, 403, 405}:
        return f"does not let us through to {host} ({error.status}): have it allowed there, or write it into NO_PROXY"
    if error.status in {502, 503, 504}:
        return f"does not reach {host} ({error.status})"
    return f"opens no way to {host}, it answers with {error.status}"


def _unconnected(
    error: aiohttp.ClientConnectorError | aiohttp.ClientConnectorCertificateError, which: str
) -> httpx.RequestError:
    """Return the truth about a proxy that cannot be talked to."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return NoTunnel(f"the certificate of {which} cannot be trusted: {_detail(error)}")
    if isinstance(error, aiohttp.ClientConnectorSSLError):
        return httpx.ProxyError(f"no TLS with {which}, which says https://: {_detail(error)}")
    return httpx.ProxyError(f"no connection to {which}: {_detail(error)}")


def _unconnected_behind(
    error: aiohttp.ClientConnectorError | aiohttp.ClientConnectorCertificateError, which: str
) -> httpx.RequestError:
    """Return the truth about a server that cannot be talked to through an open way."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        inspected = leads_to_nobody(error.certificate_error)
        hint = f" ({which} may look into TLS, and shows certificates of its own authority then)" if inspected else ""
        return CertificateRefused(f"{_detail(error)}{hint}")
    if isinstance(error, aiohttp.ClientConnectorSSLError):
        return TlsFailed(f"{_detail(error)} (behind {which})")
    return httpx.ProxyError(f"the way through {which} broke before there was TLS: {_detail(error)}")


_NUMERIC = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV


class Resolver(AbstractResolver):
    """Looks names up as the system does, each in a thread that nobody has to wait for.

    A lookup cannot be broken off, and may take half a minute where the network is gone. Threads of the loop's own
    executor are joined at its end, and again at that of the process: the run would end no sooner.
    """

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the addresses of a host. Raises `OSError`."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Found] = loop.create_future()

        def tell(found: Found) -> None:
            if not answer.done():  # nobody waits any more
                answer.set_result(found)

        def look() -> None:
            try:
                found: Found = _looked_up(host, port, family)
            except Exception as error:  # noqa: BLE001 - raised where it is waited for
                found = error
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(tell, found)

        threading.Thread(target=look, name=f"looking up {host}", daemon=True).start()
        found = await answer
        if isinstance(found, Exception):
            raise found
        return found

    async def close(self) -> None:
        """Leave the lookups to themselves."""


def _looked_up(host: str, port: int, family: socket.AddressFamily) -> list[ResolveResult]:
    flags = socket.AI_ADDRCONFIG
    found = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM, flags=flags)
    return [
        # An address of one link alone names its interface.
        ResolveResult(
            hostname=host,
            host=f"{name!s}%{rest[1]}" if len(rest) > 1 and rest[1] else str(name),
            port=int(at),
            family=of,
            proto=proto,
            flags=_NUMERIC,
        )
        for of, _, proto, _, (name, at, *rest) in found
    ]


def wire_to(
    base_url: str, parallelism: int, *, connect: float | None = None, read: float | None = None
) -> WireTransport:
    """Return a transport to the server of a base URL, the way that the environment says.

    Raises `InvalidInput` for a variable that names no proxy, or no certificates, that can be used. Otherwise as
    `wire_transport`.
    """
    proxy = proxy_to(base_url, os.environ)
    return wire_transport(parallelism, tls=base_url.startswith("https:"), connect=connect, read=read, proxy=proxy)


def wire_transport(
    parallelism: int,
    *,
    tls: bool,
    connect: float | None = None,
    read: float | None = None,
    proxy: Proxy | None = None,
) -> WireTransport:
    """Return a transport with at most `parallelism` connections; timeouts are in seconds, `None` is no bound.

    Without `tls` no certificate authority is loaded, which takes longer than many a run over loopback.
    """
    context = trusting_the_system() if tls else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return WireTransport(parallelism, context, connect, read, proxy)
