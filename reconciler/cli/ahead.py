"""Reading from the API while later manifests are still being parsed.

Files are parsed one after the other in a thread, and what they declare is read as soon as it is worth a round of calls.
Whatever is decided (the plan, the ledger, what left the manifests) waits until all of them are known.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol, TypeVar

from reconciler import manifest
from reconciler.engine import Observation, Observer
from reconciler.model import Ref

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence

    from reconciler.cli.session import Session
    from reconciler.manifest import FileManifest, Found

    Parsed = tuple[str, FileManifest]

ROUNDS = 2
"""Begin to read once there is enough for so many calls of each worker: less is over before the rest is parsed."""


NEARBY = 0.02
"""Seconds that a call takes at most where the server is next to us: dozens of calls in flight wait for each other."""


class Known(Protocol):
    """What is known once all manifests are: at least, which resources are to be read."""

    @property
    def refs(self) -> Sequence[Ref]:
        """Return them; each is to be read once."""
        ...


K = TypeVar("K", bound=Known)


def look_while_parsing(session: Session, found: Found, know: Callable[[], K]) -> tuple[K, Observation]:
    """Parse the manifests, give them to the session, and read all that `know` asks for then; some of it before.

    Raises `InvalidInput` with every problem of every manifest, and what `know` raises; `KeyboardInterrupt` or
    `Terminated` where a signal came before all was parsed.
    """
    observation, known = Observation(), list[K]()

    async def observing() -> Observation:
        async with session.gateway(read_only=True) as reader:
            observer = Observer(reader, session.parallelism, session.brake, observation)
            manifests = await _parse(session, found, observer)
            if session.interruption.ended_by is not None:
                return observation
            session.take(manifest.combine(manifests, found.problems).resources)
            known.append(know())
            refs = known[0].refs
            with session.progress(len(refs) - len(observation.readings), "Reading") as observer.emit:
                await observer.observe(refs)
        return observation

    session.interruption.run(observing, so_far=observation)
    if not known:
        raise session.interruption.exception
    return known[0], observation


async def _parse(session: Session, found: Found, observer: Observer) -> dict[str, FileManifest]:
    """Return every manifest by the name of its file; as long as nothing is wrong with any, read what they declare."""
    manifests: dict[str, FileManifest] = {}
    waiting, wrong = list[Ref](), bool(found.problems)
    async for arrived in _arriving(session, found):
        manifests |= arrived
        for parsed in dict(arrived).values():
            wrong = wrong or bool(parsed.problems)
            session.keep_key_out(parsed.resources)
            waiting += [one.ref for one in session.chosen(parsed.resources)]
        enough = len(waiting) >= ROUNDS * session.parallelism and len(manifests) < len(found.files)
        if enough and not wrong and _is_worth_it(session):
            await observer.ahead(waiting)
            waiting.clear()
    return manifests


def _is_worth_it(session: Session) -> bool:
    """Tell whether calls wait for the server, as far as is known; else parser and calls only take turns at the CPU."""
    spent = session.pacer.round_trip("GET")
    return spent is None or spent > NEARBY


async def _arriving(session: Session, found: Found) -> AsyncIterator[list[Parsed]]:
    """Yield what has been parsed since the last time; to the end, or until a signal comes."""
    arrived: asyncio.Queue[Parsed | Exception | None] = asyncio.Queue()

    def stop() -> None:
        # Not at the end of a run's time: what is declared is told all the same, as not attempted.
        if session.interruption.ended_by is not None:
            arrived.put_nowait(None)

    with session.brake.tells(stop):
        _start_parsing(session, found, arrived)
        more = True
        while more:
            items = [await arrived.get(), *(arrived.get_nowait() for _ in range(arrived.qsize()))]
            more = None not in items
            yield list(_without_failures(items))


def _start_parsing(session: Session, found: Found, arrived: asyncio.Queue[Parsed | Exception | None]) -> None:
    loop = asyncio.get_running_loop()

    def parse() -> None:
        # Whatever it raises is raised where it is waited for. That the loop is closed is the end of a run given up.
        with suppress(RuntimeError):
            try:
                for parsed in manifest.parsed(found.files, session.cache):
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
