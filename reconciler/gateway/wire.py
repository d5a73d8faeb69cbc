"""The layer that owns sockets: httpx's interface over aiohttp's connections.

httpx's own pool slows down with many connections (640 requests a second with 50 of them, where this one does
thousands), so the transport is `httpx_aiohttp`, on a session of our own making. Its table of exceptions is coarse:
in version 0.2 a reset connection and a server that hangs up both arrive as `ConnectTimeout`, a malformed answer
arrives as an exception of aiohttp. So the first cause is looked up here, and translated again.

Left to itself, aiohttp sends a GET that loses its connection before any answer a second time, at once and below our
layers. It is kept from that here: retries are decided above, in turn with the pace.
"""

from __future__ import annotations

import ssl
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

import aiohttp
import httpx
from aiohttp.http_exceptions import HttpProcessingError
from httpx_aiohttp import AiohttpTransport

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

KEEPALIVE = 30.0
"""Seconds that an idle connection is kept. Load balancers drop theirs after 60 or more; ours goes first."""

_TRANSLATIONS: tuple[tuple[type[BaseException], type[httpx.RequestError]], ...] = (
    # The first row that fits counts: aiohttp's timeouts are also its connection errors, and those are also OSErrors.
    (aiohttp.ClientProxyConnectionError, httpx.ProxyError),
    (aiohttp.ClientHttpProxyError, httpx.ProxyError),
    (aiohttp.ConnectionTimeoutError, httpx.ConnectTimeout),
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
    """Return httpx's truthful equivalent of an error of aiohttp or of the system; `None` for any other error.

    What `httpx_aiohttp` has translated already is judged by its cause.
    """
    cause = error.__cause__ if isinstance(error, httpx.HTTPError) and error.__cause__ else error
    for foreign, ours in _TRANSLATIONS:
        if isinstance(cause, foreign):
            return ours(_detail(cause))
    return None


def _detail(error: BaseException) -> str:
    if isinstance(error, aiohttp.ClientConnectorError):
        return str(error.os_error) or type(error.os_error).__name__
    if isinstance(error, aiohttp.ClientResponseError | HttpProcessingError):
        # Only the first line: the parser quotes what it stumbled over below it.
        return (error.message or "malformed answer").partition("\n")[0].rstrip(": ")
    return str(error) or type(error).__name__


@contextmanager
def _truthfully() -> Iterator[None]:
    """Raise what `translated` makes of an exception, and other exceptions as they are."""
    try:
        yield
    except Exception as error:
        truth = translated(error)
        if truth is None:
            raise
        raise truth from error


class _TranslatedStream(httpx.AsyncByteStream):
    """A body whose errors are httpx's."""

    def __init__(self, inner: httpx.AsyncByteStream) -> None:
        self._inner = inner

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _truthfully():
            async for chunk in self._inner:
                yield chunk

    async def aclose(self) -> None:
        with _truthfully():
            await self._inner.aclose()


class WireTransport(httpx.AsyncBaseTransport):
    """Sends requests over aiohttp's connections; raises httpx's exceptions, and truthful ones."""

    def __init__(self, inner: AiohttpTransport) -> None:
        self._inner = inner

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request; its body is still to be read."""
        with _truthfully():
            response = await self._inner.handle_async_request(request)
        # httpx types it as one for either world; this one comes from `httpx_aiohttp`.
        response.stream = _TranslatedStream(cast("httpx.AsyncByteStream", response.stream))
        return response

    async def aclose(self) -> None:
        """Close the session and its connections."""
        await self._inner.aclose()


def wire_transport(parallelism: int, *, tls: bool) -> WireTransport:
    """Return a transport with at most `parallelism` connections; its session begins with the first request.

    Without `tls` no certificate authority is loaded, which takes longer than many a run over loopback.
    """
    context = httpx.create_ssl_context() if tls else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

    def session() -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(limit=parallelism, keepalive_timeout=KEEPALIVE, ssl=context)
        made = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())
        # aiohttp would resend a GET on a lost connection by itself, unpaced and untold; retries are decided above.
        made._retry_connection = False  # noqa: SLF001 - there is no public switch
        return made

    return WireTransport(AiohttpTransport(verify=context, client=session))
