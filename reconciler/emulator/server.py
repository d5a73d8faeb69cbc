"""The API behind a loopback socket: waiting, counting and breaking connections happen here, deciding does not."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import Counter
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiohttp import web

from reconciler.addresses import is_loopback_address
from reconciler.emulator import live_behaviour
from reconciler.emulator.maps import envelope
from reconciler.emulator.mishaps import NO_MISHAPS, answer
from reconciler.emulator.service import BASE_PATH, Request, respond
from reconciler.errors import ReconcilerError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from reconciler.emulator.mishaps import Mishaps
    from reconciler.emulator.service import Behaviour, Response, Store

HOST = "127.0.0.1"
BACKLOG = 4096
"""Connections that may wait to be accepted: a thousand callers may come at the same moment."""
OPEN_FILES = 8192
"""File handles to ask the system for; each connection takes one."""
FAREWELL = 1.0
"""Seconds that calls in flight get when the server stops."""
_RESET = struct.pack("ii", 1, 0)
"""`SO_LINGER` switched on with no time to linger: closing sends a reset rather than a polite end."""


@dataclass(frozen=True, slots=True)
class Server:
    """A server that listens; `port` is the one it got."""

    host: str
    port: int

    @property
    def url(self) -> str:
        """Return the base URL of the API."""
        name = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{name}:{self.port}{BASE_PATH}"


@asynccontextmanager
async def serve(
    store: Store, behaviour: Behaviour | None = None, mishaps: Mishaps = NO_MISHAPS, host: str = HOST, port: int = 0
) -> AsyncIterator[Server]:
    """Listen until the block ends; port 0 picks a free one.

    `ReconcilerError` where the address is not of this machine alone or cannot be listened on.
    """
    if not is_loopback_address(host):
        raise ReconcilerError(
            f"the emulator listens on loopback addresses only, and {host} is none; use 127.0.0.1 or ::1"
        )
    allow_open_files(OPEN_FILES)
    desk = _Desk(store, behaviour or live_behaviour(), mishaps)
    runner = web.ServerRunner(web.Server(desk.respond, access_log=None), shutdown_timeout=FAREWELL)
    await runner.setup()
    try:
        yield await _listening(runner, host, port)
    finally:
        await runner.cleanup()


async def _listening(runner: web.ServerRunner, host: str, port: int) -> Server:
    try:
        await web.TCPSite(runner, host, port, backlog=BACKLOG).start()
    except OSError as error:
        raise ReconcilerError(
            f"cannot listen on {host}, port {port}: {error.strerror}; choose another one by --port (0: a free one)"
        ) from error
    return Server(host, runner.addresses[0][1])


class _Desk:
    """Where calls arrive: it counts how often each was made, as far as there are mishaps that want to know."""

    def __init__(self, store: Store, behaviour: Behaviour, mishaps: Mishaps) -> None:
        self._store = store
        self._behaviour = behaviour
        self._mishaps = mishaps
        self._made: Counter[tuple[str, str]] = Counter()

    async def respond(self, call: web.BaseRequest) -> web.StreamResponse:
        """Answer one call, late and wrongly where the mishaps say so."""
        request = Request.aimed(call.method, call.raw_path, call.headers, await call.read())
        if self._mishaps.latency:
            await asyncio.sleep(self._mishaps.latency / 1000)
        response = self._answer(request)
        if response.lost:
            _reset(call)
            return web.Response()
        return web.Response(status=response.status, headers=response.headers, body=response.body)

    def _answer(self, request: Request) -> Response:
        try:
            return answer(self._store, request, self._behaviour, self._mishaps, self._occurrence(request))
        except ReconcilerError as error:
            return respond(self._behaviour, 500, envelope(str(error), None, kind="server_error"))

    def _occurrence(self, request: Request) -> int:
        """Return how often a call was made before; without mishaps nothing is kept of it, however long this runs."""
        if not self._mishaps.rules:
            return 0
        self._made[request.method, request.path] += 1
        return self._made[request.method, request.path] - 1


def _reset(call: web.BaseRequest) -> None:
    """Break the connection of a call; one that its caller closed already needs no breaking."""
    if call.transport is None:
        return
    call.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    call.transport.abort()


def allow_open_files(wanted: int) -> None:
    """Raise the number of files that this process may have open, as far as the system lets it."""
    with suppress(ImportError, ValueError, OSError):
        # Missing on some systems, which have no such limit.
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        ceiling = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        if soft != resource.RLIM_INFINITY and soft < ceiling:
            resource.setrlimit(resource.RLIMIT_NOFILE, (ceiling, hard))
