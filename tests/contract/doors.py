"""The doors to the API, and work that is done through one: what passes one with a server behind it is judged."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest
from api.judge import Judge, JudgingTransport
from fakes import FakeApi
from serving import running

from reconciler import emulator
from reconciler.dialects import MERGE, MERGE_EMPTY, MERGE_NULL, REPLACE, Removal
from reconciler.emulator.service import seed
from reconciler.emulator.store import MemoryStore
from reconciler.errors import ApiError
from reconciler.gateway.client import Connection, _wire, open_gateway
from reconciler.gateway.providers import PROVIDERS
from reconciler.gateway.transport import HandlerTransport
from reconciler.kinds import KINDS
from reconciler.model import Ref

SERVERS = (REPLACE, MERGE, MERGE_NULL, MERGE_EMPTY)
REF = Ref("thread", "thread_1")
ABSENT = Ref("thread", "thread_absent")


@asynccontextmanager
async def fake(dialect, refs, _tmp_path, _judge):
    yield FakeApi(dialect, dict.fromkeys(refs, {}))


@asynccontextmanager
async def embedded(dialect, refs, tmp_path, judge):
    writes = dict.fromkeys(KINDS, dialect)
    row = PROVIDERS["emulator"]
    with emulator.embedded(tmp_path / "db.sqlite", writes, refs) as api:
        transport = JudgingTransport(HandlerTransport(api.handle), judge)
        async with open_gateway(Connection(row, row.base_url), transport=transport) as gateway:
            yield gateway


@asynccontextmanager
async def socket(dialect, refs, _tmp_path, judge):
    behaviour = emulator.live_behaviour(dict.fromkeys(KINDS, dialect))
    store = MemoryStore()
    seed(store, refs, behaviour)
    with running(store, behaviour) as server:
        connection = Connection(PROVIDERS["openai"], server.url)
        transport = JudgingTransport(_wire(connection, 16, 10, 60), judge)
        async with open_gateway(connection, transport=transport) as gateway:
            yield gateway


DOORS = pytest.mark.parametrize("door", [fake, embedded, socket], ids=lambda door: door.__name__)
REAL = pytest.mark.parametrize("door", [embedded, socket], ids=lambda door: door.__name__)
DIALECTS = pytest.mark.parametrize("dialect", SERVERS, ids=lambda dialect: dialect.name)
EVERY = pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)


def ref_of(kind, own="one_1"):
    return Ref(kind.name, f"parent_1/{own}" if kind.nested else own)


def through(door, dialect, tmp_path, work, refs=(REF,), seen=None):
    """Open a door to a server that holds empty objects, do some work through it, and judge all of it.

    `seen` is told what was judged.
    """
    judge = Judge(nulls=dialect.removal is Removal.NULL)

    async def inside():
        async with door(dialect, refs, tmp_path, judge) as api:
            return await work(api)

    result = asyncio.run(inside())
    judge.verdict()
    assert bool(judge.seen) is (door is not fake), "what passes a door is judged"
    if seen is not None:
        seen.update(judge.seen)
    return result


async def attempt(api, ref, entries):
    """Modify; returns the map of the answer, or the code and status of the fault."""
    try:
        return dict((await api.modify(ref, entries)).metadata)
    except ApiError as error:
        return (error.fault.code, error.fault.status)
