"""Reading from the API while later manifests are still being parsed.

Files are parsed one after the other in a thread, and what each declares is read from then on. Whatever is decided (the
plan, the ledger, what left the manifests) waits until all of them are known.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from reconciler import manifest
from reconciler.engine import Feed, Observation, Observer
from reconciler.model import Ref

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence

    from reconciler.cli.session import Session
    from reconciler.errors import Problem
    from reconciler.manifest import FileManifest, Found

    Parsed = tuple[str, FileManifest]


def look_while_parsing(session: Session, found: Found, know: Callable[[], Sequence[Ref]], into: Observation) -> None:
    """Parse the manifests, give them to the session, and read all that `know` asks for then; some of it before.

    Raises `InvalidInput` with every problem of every manifest, and what `know` raises; `KeyboardInterrupt` or
    `Terminated` where a signal came before all was parsed.
    """
    whole = list[bool]()

    async def observing() -> Observation:
        async with session.gateway(read_only=True) as reader:
            observer = Observer(reader, session.parallelism, session.brake, into)
            manifests, problems = await _parse(session, found, observer)
            if len(manifests) == len(found.files):  # else a part of what is declared says nothing of what is not
                session.take(manifest.combine(manifests, problems).resources)
                whole.append(True)
                manifests.clear()  # as large as what was made of them
                # Git is asked here, in the way of the loop: no call is in flight.
                refs = know()
                with session.progress(len(refs) - len(into.readings), "Reading") as emit:
                    await observer.observe(refs, emit)
        return into

    session.interruption.run(observing, so_far=into)
    if not whole:
        raise session.interruption.exception


SWITCH = 1e-4
"""Seconds that a thread keeps the interpreter while another one wants it. By default it is fifty times as long, and
each step on a socket gives it away: while the parser runs, a hundred calls would take half a second to begin."""


@contextmanager
def _taking_turns() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


async def _parse(
    session: Session, found: Found, observer: Observer
) -> tuple[dict[str, FileManifest], Sequence[Problem]]:
    """Return every manifest by the name of its file, and what is wrong beside them; read what they declare meanwhile.

    Once anything is wrong, nothing is read any more: the run will end without a plan.
    """
    manifests: dict[str, FileManifest] = {}
    feed, invalid, problems = Feed[Ref](), False, list(found.problems)
    async with asyncio.TaskGroup() as group:
        reading = group.create_task(observer.ahead(feed))
        async for arrived in _arriving(session, found):
            manifests |= arrived
            for parsed in dict(arrived).values():
                invalid = invalid or bool(parsed.problems)
                problems += session.leaks_of_key(parsed.resources)
            if invalid or problems:
                reading.cancel()
            elif len(manifests) < len(found.files):
                feed.add(one.ref for parsed in dict(arrived).values() for one in session.chosen(parsed.resources))
        feed.close()
    return manifests, problems


async def _arriving(session: Session, found: Found) -> AsyncIterator[list[Parsed]]:
    """Yield what has been parsed since the last time; to the end, or until a signal comes."""
    arrived: asyncio.Queue[Parsed | Exception | None] = asyncio.Queue()

    def stop() -> None:
        # Not at the end of a run's time: what is declared is told all the same, as not attempted.
        if session.interruption.ended_by is not None:
            arrived.put_nowait(None)

    given_up = threading.Event()
    with session.brake.tells(stop), _taking_turns():
        stop()  # a signal may have come before anybody listened
        _start_parsing(session, found, arrived, given_up)
        more = True
        try:
            while more:
                items = [await arrived.get(), *(arrived.get_nowait() for _ in range(arrived.qsize()))]
                more = None not in items
                yield list(_without_failures(items))
        finally:
            given_up.set()


def _start_parsing(
    session: Session, found: Found, arrived: asyncio.Queue[Parsed | Exception | None], given_up: threading.Event
) -> None:
    loop = asyncio.get_running_loop()

    def parse() -> None:
        # Whatever it raises is raised where it is waited for. That the loop is closed is the end of a run given up.
        with suppress(RuntimeError):
            try:
                for parsed in manifest.parsed(found.files, session.cache):
                    if given_up.is_set():
                        return
                    loop.call_soon_threadsafe(arrived.put_nowait, parsed)
                loop.call_soon_threadsafe(arrived.put_nowait, None)
            except Exception as error:  # noqa: BLE001
                loop.call_soon_threadsafe(arrived.put_nowait, error)

    # A daemon: a run that is given up does not wait for the rest of a large file.
    threading.Thread(target=parse, name="parsing manifests", daemon=True).start()


def _without_failures(items: Iterable[Parsed | Exception | None]) -> Iterator[Parsed]:
    for item in items:
        if isinstance(item, Exception):
            raise item
        if item is not None:
            yield item
