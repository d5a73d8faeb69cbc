"""The layer that owns sockets: httpx's interface over aiohttp's connections.

httpx's own pool slows down with many connections (640 requests a second with 50 of them, where aiohttp's does
thousands). Between the two there is little to do: a request is handed over, its answer taken back, and whatever goes
wrong translated to the most precise of httpx's exceptions.

Left to itself, aiohttp sends a GET that loses its connection before any answer a second time, at once and below our
layers. It is kept from that here: retries are decided above, in turn with the pace.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
import ssl
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import httpx
from aiohttp import hdrs
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.http_exceptions import HttpProcessingError
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from reconciler.gateway.failures import CertificateRefused, HostUnknown, TlsFailed
from reconciler.gateway.transport import Whole

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    Found = list[ResolveResult] | Exception

KEEPALIVE = 30.0
"""Seconds that an idle connection is kept. Load balancers drop theirs after 60 or more; ours goes first."""
AT_ONCE = 256 * 1024
"""Bytes of a body that is read in one go, where its length is told; what is longer is left to whoever bounds it."""

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
        return _distrust(error.certificate_error)
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


_NOT_YET_VALID, _EXPIRED, _OTHER_HOSTS = 9, 10, frozenset({62, 63, 64})
"""What OpenSSL (`X509_V_ERR_…`) calls a certificate out of its time, or made out to somebody else."""


def _distrust(error: Exception) -> str:
    """Return why a certificate cannot be verified, and what helps."""
    reason = (getattr(error, "verify_message", "") or str(error)).rstrip(".")
    code = getattr(error, "verify_code", 0)
    if code in _OTHER_HOSTS:
        return reason
    if code in (_NOT_YET_VALID, _EXPIRED):
        return f"{reason}; the server needs another one, or the clock of this machine is wrong"
    named = os.environ.get("SSL_CERT_FILE", "")
    if named and not os.path.isfile(named):  # noqa: PTH113 - a name with a null byte is no file either
        return f"{reason}; SSL_CERT_FILE names a file that is not there"
    return (
        f"{reason}; for a private certificate authority, name the file with its certificate in SSL_CERT_FILE, "
        "or add it to the system's store"
    )


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
    session begins with the first request, for it belongs to a loop.
    """

    def __init__(self, parallelism: int, context: ssl.SSLContext, connect: float | None, read: float | None) -> None:
        self._parallelism = parallelism
        self._context = context
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
                self._known[raw] = known
        return known

    def _opened(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            limit=self._parallelism, keepalive_timeout=KEEPALIVE, ssl=self._context, resolver=Resolver()
        )
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


def wire_transport(
    parallelism: int, *, tls: bool, connect: float | None = None, read: float | None = None
) -> WireTransport:
    """Return a transport with at most `parallelism` connections; timeouts are in seconds, `None` is no bound.

    Without `tls` no certificate authority is loaded, which takes longer than many a run over loopback.
    """
    context = trusting_the_system() if tls else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return WireTransport(parallelism, context, connect, read)


_HOLDS_NO_FILE = frozenset({"darwin", "win32"})
"""Systems whose store is a service that is asked about each certificate."""


def trusting_the_system(platform: str = sys.platform) -> ssl.SSLContext:
    """Return a context that trusts what the system trusts, or what SSL_CERT_FILE and SSL_CERT_DIR name in its place."""
    import truststore

    context = truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if platform in _HOLDS_NO_FILE:
        return context
    # Elsewhere the store is a file, which truststore finds, but reads anew for every connection: 20 ms each, in which
    # the loop stands still. After one pretended connection the context inside has it all.
    context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname="localhost")
    filled: ssl.SSLContext = context._ctx  # noqa: SLF001 - there is no public way to it
    if _is_empty(filled):
        # A slim container without any store: what httpx brings along is what was trusted there all the time.
        import certifi

        filled.load_verify_locations(certifi.where())
    return filled


_HASHED = re.compile(r"[0-9a-f]{8}\.\d+")
"""How OpenSSL names the files of a folder of certificates."""


def _is_empty(context: ssl.SSLContext) -> bool:
    """Tell whether a context trusts nobody, and nobody has asked for that."""
    if context.cert_store_stats()["x509"] or {"SSL_CERT_FILE", "SSL_CERT_DIR"} & os.environ.keys():
        return False
    paths = ssl.get_default_verify_paths()
    if paths.cafile:
        return False
    # Of a folder, nothing is loaded before it is needed.
    return not (paths.capath and any(_HASHED.fullmatch(file.name) for file in Path(paths.capath).iterdir()))
