"""The emulator behind a loopback socket, for tests that have no event loop of their own."""

from __future__ import annotations

import asyncio
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from reconciler.emulator.mishaps import NO_MISHAPS
from reconciler.emulator.server import HOST, serve

if TYPE_CHECKING:
    from collections.abc import Iterator

    from reconciler.emulator.mishaps import Mishaps
    from reconciler.emulator.server import Server
    from reconciler.emulator.service import Behaviour, Store


@contextmanager
def running(
    store: Store, behaviour: Behaviour | None = None, mishaps: Mishaps = NO_MISHAPS, host: str = HOST, port: int = 0
) -> Iterator[Server]:
    """Do what `serve` does, in a thread with its own loop, for callers that have none."""
    ready: Future[tuple[Server, asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def live() -> None:
        stop = asyncio.Event()
        async with serve(store, behaviour, mishaps, host, port) as server:
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
