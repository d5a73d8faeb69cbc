"""What the tool is measured against: each does the least that could be called the same job, and prints its seconds.

    python -m bench.rivals read PORT THREADS PARALLELISM        a bare aiohttp loop of GETs, each answer parsed as JSON
    python -m bench.rivals write PORT THREADS PARALLELISM       the same, then another GET and a POST of each
    python -m bench.rivals official PORT THREADS PARALLELISM    GETs of the official asynchronous client
    python -m bench.rivals parse FOLDER                         ruamel.yaml's C loader, file by file

The seconds are those of the work alone; imports do not count for the rivals (they do for the tool).
"""

from __future__ import annotations

import asyncio
import sys
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from .corpus import observed, thread_id
from .server import HOST

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    import aiohttp

    Job = Callable[[int], Awaitable[object]]


async def each(numbers: Iterable[int], parallelism: int, job: Job) -> None:
    """Do the job for every thread, so many at a time."""
    left = iter(numbers)

    async def worker() -> None:
        for number in left:
            await job(number)

    await asyncio.gather(*(worker() for _ in range(parallelism)))


def session(port: int, parallelism: int) -> aiohttp.ClientSession:
    """Return a session of aiohttp with a connection for each worker."""
    import aiohttp

    return aiohttp.ClientSession(f"http://{HOST}:{port}", connector=aiohttp.TCPConnector(limit=parallelism))


async def read(port: int, threads: int, parallelism: int) -> float:
    """Read with aiohttp and nothing else."""
    paths = [f"/v1/threads/{thread_id(number)}" for number in range(threads)]
    async with session(port, parallelism) as client:

        async def get(number: int) -> None:
            async with client.get(paths[number]) as response:
                await response.json()

        begun = time.perf_counter()
        await each(range(threads), parallelism, get)
        return time.perf_counter() - begun


async def write(port: int, threads: int, parallelism: int) -> float:
    """Make the calls of an apply with aiohttp and nothing else: read all; then read each again and write it."""
    paths = [f"/v1/threads/{thread_id(number)}" for number in range(threads)]
    bodies = [{"metadata": observed(number, changed=False)} for number in range(threads)]
    async with session(port, parallelism) as client:

        async def get(number: int) -> None:
            async with client.get(paths[number]) as response:
                await response.json()

        async def change(number: int) -> None:
            await get(number)
            async with client.post(paths[number], json=bodies[number]) as response:
                await response.json()

        begun = time.perf_counter()
        await each(range(threads), parallelism, get)
        await each(range(threads), parallelism, change)
        return time.perf_counter() - begun


async def official(port: int, threads: int, parallelism: int) -> float:
    """Read with the official client as it comes: its own pool allows 1,000 connections and keeps 100."""
    import openai

    warnings.simplefilter("ignore", DeprecationWarning)
    names = [thread_id(number) for number in range(threads)]
    async with openai.AsyncOpenAI(base_url=f"http://{HOST}:{port}/v1", api_key="none") as client:
        begun = time.perf_counter()
        await each(range(threads), parallelism, lambda number: client.beta.threads.retrieve(names[number]))
        return time.perf_counter() - begun


def parse(folder: Path) -> float:
    """Load every file with the C loader."""
    from ruamel.yaml import YAML

    begun = time.perf_counter()
    for path in sorted(folder.glob("*.yaml")):
        YAML(typ="safe", pure=False).load(path.read_bytes())
    return time.perf_counter() - begun


def main(arguments: list[str]) -> None:
    """Do one job."""
    if arguments[0] == "parse":
        seconds = parse(Path(arguments[1]))
    else:
        job = {"read": read, "write": write, "official": official}[arguments[0]]
        seconds = asyncio.run(job(*map(int, arguments[1:])))
    print(seconds)


if __name__ == "__main__":
    main(sys.argv[1:])
