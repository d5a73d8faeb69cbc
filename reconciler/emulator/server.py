"""The API behind a loopback socket: waiting, counting and breaking connections happen here, deciding does not."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import Counter
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from aiohttp import web

from reconciler.emulator import live_rules
from reconciler.emulator.faults import NO_FAULTS, answer
from reconciler.emulator.maps import complaint
from reconciler.emulator.service import BASE_PATH, Request, respond
from reconciler.errors import ReconcilerError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from reconciler.emulator.faults import Faults
    from reconciler.emulator.service import Response, Rules, Store

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


def is_loopback(host: str) -> bool:
    """Tell whether this is an address (not a name) that only this machine can reach."""
    with suppress(ValueError):
        return ip_address(host).is_loopback
    return False


@asynccontextmanager
async def serve(
    store: Store, rules: Rules | None = None, faults: Faults = NO_FAULTS, host: str = HOST, port: int = 0
) -> AsyncIterator[Server]:
    """Listen until the block ends; port 0 picks a free one.

    `ReconcilerError` where the address is not of this machine alone or cannot be listened on.
    """
    if not is_loopback(host):
        raise ReconcilerError(f"The emulator listens on loopback addresses only, and {host} is none.")
    allow_open_files(OPEN_FILES)
    desk = _Desk(store, rules or live_rules(), faults)
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
        raise ReconcilerError(f"Cannot listen on {host}, port {port}: {error.strerror}.") from error
    return Server(host, runner.addresses[0][1])


@contextmanager
def running(
    store: Store, rules: Rules | None = None, faults: Faults = NO_FAULTS, host: str = HOST, port: int = 0
) -> Iterator[Server]:
    """Do what `serve` does, in a thread with its own loop, for callers that have none."""
    ready: Future[tuple[Server, asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def live() -> None:
        stop = asyncio.Event()
        async with serve(store, rules, faults, host, port) as server:
            ready.set_result((server, asyncio.get_running_loop(), stop))
            await stop.wait()

    with ThreadPoolExecutor(1, thread_name_prefix="emulator") as pool:
        ended = pool.submit(lambda: asyncio.run(live()))
        either: tuple[Future[Any], Future[Any]] = (ready, ended)
        wait(either, return_when=FIRST_COMPLETED)
        if not ready.done():
            ended.result()
        server, loop, stop = ready.result()
        try:
            yield server
        finally:
            loop.call_soon_threadsafe(stop.set)
            ended.result()


class _Desk:
    """Where calls arrive: it counts how often each was made, which is what the faults want to know."""

    def __init__(self, store: Store, rules: Rules, faults: Faults) -> None:
        self._store = store
        self._rules = rules
        self._faults = faults
        self._made: Counter[tuple[str, str]] = Counter()

    async def respond(self, call: web.BaseRequest) -> web.StreamResponse:
        """Answer one call, late and wrongly where the faults say so."""
        request = Request.aimed(call.method, call.raw_path, call.headers, await call.read())
        if self._faults.latency:
            await asyncio.sleep(self._faults.latency / 1000)
        response = self._answer(request)
        if response.lost:
            _reset(call)
            return web.Response()
        return web.Response(status=response.status, headers=response.headers, body=response.body)

    def _answer(self, request: Request) -> Response:
        occurrence = self._made[request.method, request.path]
        self._made[request.method, request.path] += 1
        try:
            return answer(self._store, request, self._rules, self._faults, occurrence)
        except ReconcilerError as error:
            return respond(self._rules, 500, complaint(str(error), None, kind="server_error"))


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
