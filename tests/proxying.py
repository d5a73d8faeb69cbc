"""A network with a proxy at its border, on loopback: a server that speaks TLS, and the only way to it, which records.

The certificates are of an authority made here. What the proxy is told and what flows through it is kept to the byte.
"""

from __future__ import annotations

import asyncio
import ssl
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trustme

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOST = "api.example"
"""The name of the server, which only the proxy knows."""
AUTHORITY = trustme.CA()
GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
OPENED = b"HTTP/1.1 200 Connection established\r\n\r\n"


def certificate(*names: str, authority: trustme.CA = AUTHORITY) -> ssl.SSLContext:
    """Return what a server needs to show a certificate for these names."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    return context


def authority_file(folder: Path) -> Path:
    """Write the certificate of the authority into a file."""
    path = folder / "authority.pem"
    AUTHORITY.cert_pem.write_to_path(path)
    return path


def answer(status: int, *headers: str) -> bytes:
    """Return an answer of the proxy to CONNECT; its words are hostile."""
    lines = [f"HTTP/1.1 {status} \x1b[31m::error::no", *headers, "Content-Length: 0"]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


@dataclass
class Border:
    """The proxy, and what it saw: the heads of the requests to it, and all bytes that it was to pass on.

    `says` has what it answers, one for each request; the last one stays. What is not `OPENED` ends the connection, and
    `None` leaves the caller without an answer.
    """

    says: list[bytes | None]
    secure: bool = False
    port: int = 0
    heads: list[bytes] = field(default_factory=list)
    passed: bytearray = field(default_factory=bytearray)
    asked: list[bytes] = field(default_factory=list)
    """The heads of the requests that arrived at the server, behind TLS."""

    @property
    def url(self) -> str:
        """Return the URL of the proxy."""
        return f"{'https' if self.secure else 'http'}://127.0.0.1:{self.port}"


@contextmanager
def border(
    *says: bytes | None,
    shown: ssl.SSLContext | None = None,
    tls: ssl.SSLContext | None = None,
    behind: int | None = None,
) -> Iterator[Border]:
    """Run a proxy and the server behind it, in a thread with its own loop.

    `shown` is the certificate of the server, `tls` that of the proxy, where it is an `https://` one. The server answers
    by itself, or is the one on the loopback port `behind`.
    """
    there = Border(list(says) or [OPENED], tls is not None)
    ready: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def live() -> None:
        over = asyncio.Event()
        serve = asyncio.start_server(_server(there, behind), "127.0.0.1", 0, ssl=shown or certificate(HOST))
        async with await serve as server:
            proxy = _proxy(there, server.sockets[0].getsockname()[1], over)
            async with await asyncio.start_server(proxy, "127.0.0.1", 0, ssl=tls) as outer:
                there.port = outer.sockets[0].getsockname()[1]
                ready.set_result((asyncio.get_running_loop(), over))
                await over.wait()

    with ThreadPoolExecutor(1, thread_name_prefix="border") as pool:
        ended = pool.submit(lambda: asyncio.run(live()))
        loop, over = ready.result(30)
        try:
            yield there
        finally:
            loop.call_soon_threadsafe(over.set)
            ended.result()


def _server(there: Border, behind: int | None):
    async def serve(reader, writer):
        with suppress(OSError, asyncio.IncompleteReadError):
            if behind is not None:
                await _joined((reader, writer), await asyncio.open_connection("127.0.0.1", behind))
            while behind is None:
                there.asked.append(await reader.readuntil(b"\r\n\r\n"))
                writer.write(GOOD)
                await writer.drain()
        writer.close()

    return serve


def _proxy(there: Border, port: int, over: asyncio.Event):
    async def serve(reader, writer):
        with suppress(OSError, asyncio.IncompleteReadError), closing(writer):
            begun = await reader.readexactly(1)
            if begun == b"\x16":  # a handshake, where none is expected
                writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                return
            there.heads.append(begun + await reader.readuntil(b"\r\n\r\n"))
            said = there.says.pop(0) if len(there.says) > 1 else there.says[0]
            if said is None:
                await over.wait()
            else:
                writer.write(said)
                await writer.drain()
            if said == OPENED:
                inner = await asyncio.open_connection("127.0.0.1", port)
                await _joined((reader, writer), inner, there.passed)

    return serve


async def _joined(one, other, record: bytearray | None = None) -> None:
    """Pass on whatever two sides say until one of them has ended."""

    async def pump(reader, writer, copy):
        with suppress(OSError):
            while data := await reader.read(65536):
                if copy is not None:
                    copy += data
                writer.write(data)
                await writer.drain()
        writer.close()

    await asyncio.gather(pump(one[0], other[1], record), pump(other[0], one[1], None))
