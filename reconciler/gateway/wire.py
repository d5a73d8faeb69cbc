"""The layer that owns sockets: httpx's interface over aiohttp's connections.

httpx's own pool slows down with many connections (640 requests a second with 50 of them, where this one does
thousands), so the transport is `httpx_aiohttp`, on a session of our own making. Its table of exceptions is coarse:
in version 0.2 a reset connection and a server that hangs up both arrive as `ConnectTimeout`, a malformed answer
arrives as an exception of aiohttp. So the first cause is looked up here, and translated again.

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
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, cast

import aiohttp
import httpx
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.http_exceptions import HttpProcessingError
from httpx_aiohttp import AiohttpTransport

from reconciler.gateway.failures import CertificateRefused, HostUnknown, TlsFailed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    Found = list[ResolveResult] | Exception

KEEPALIVE = 30.0
"""Seconds that an idle connection is kept. Load balancers drop theirs after 60 or more; ours goes first."""

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
    """Return httpx's truthful equivalent of an error of aiohttp or of the system; `None` for any other error.

    What `httpx_aiohttp` has translated already is judged by its cause.
    """
    cause = error.__cause__ if isinstance(error, httpx.HTTPError) and error.__cause__ else error
    for foreign, ours in _TRANSLATIONS:
        if isinstance(cause, foreign):
            return ours(_detail(cause))
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


def wire_transport(parallelism: int, *, tls: bool) -> WireTransport:
    """Return a transport with at most `parallelism` connections; its session begins with the first request.

    Without `tls` no certificate authority is loaded, which takes longer than many a run over loopback.
    """
    context = trusting_the_system() if tls else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

    def session() -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            limit=parallelism, keepalive_timeout=KEEPALIVE, ssl=context, resolver=Resolver()
        )
        made = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())
        # aiohttp would resend a GET on a lost connection by itself, unpaced and untold; retries are decided above.
        made._retry_connection = False  # noqa: SLF001 - there is no public switch
        return made

    return WireTransport(AiohttpTransport(verify=context, client=session))


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
