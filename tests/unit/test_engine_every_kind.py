"""Every row of the table of kinds, in every dialect: planned, applied, verified, learned and converged.

The gateway, the engine and the emulator are the real ones; there is no socket between them, and no time passes.
"""

import pytest
import virtual_time

from reconciler.compare import Action, Rules
from reconciler.dialects import AUTO, MERGE, MERGE_EMPTY, MERGE_NULL, REPLACE
from reconciler.emulator.mishaps import Mishap, MishapRule, Mishaps, answer
from reconciler.emulator.service import Behaviour, Held, Request
from reconciler.emulator.store import Lag, LaggingStore, MemoryStore
from reconciler.engine import Brake, apply, observe
from reconciler.events import OutcomeStatus
from reconciler.gateway.client import Connection, open_gateway
from reconciler.gateway.providers import PROVIDERS
from reconciler.gateway.transport import HandlerTransport
from reconciler.kinds import KINDS
from reconciler.model import MAX_PAIRS, Desired, Ownership, Ref, frozen_map
from reconciler.plan import make_plan

SERVERS = (REPLACE, MERGE, MERGE_NULL, MERGE_EMPTY)
TOLD = [*((server, server) for server in SERVERS), *((server, AUTO) for server in SERVERS[:3])]
NAMES = [f"{server.name} as {told.name}" for server, told in TOLD]
BEFORE = {"keep": "1", "change": "old", "drop": "x"}
APPLIED, BLOCKED = OutcomeStatus.APPLIED, OutcomeStatus.BLOCKED


def ref_of(row, number=0):
    own = f"{row.prefix or 'x_'}{number}"
    return Ref(row.name, f"{KINDS[row.parent].prefix or 'p_'}0/{own}" if row.nested else own)


class World:
    """One kind at an emulator of one dialect, spoken to in another one."""

    def __init__(self, row, server, told, held, lag=None, mishap=None):
        self.row, self.rules = row, Rules(told)
        self.inner = MemoryStore()
        self.behaviour = Behaviour(lambda: 1, lambda: "token", {row.name: server})
        for ref, pairs in held.items():
            self.inner.put(ref, Held(1, frozen_map(pairs)))
        self.now = 0.0
        self.store = LaggingStore(self.inner, {row.name: lag}, lambda: self.now) if lag else self.inner
        self.mishaps = Mishaps((MishapRule(mishap, methods=frozenset({"POST"})),) if mishap else ())
        self.posts = []

    def handle(self, method, path, headers, body):
        import asyncio

        self.now = asyncio.get_running_loop().time()
        self.posts += [path] if method == "POST" else []
        response = answer(self.store, Request.aimed(method, path, headers, body), self.behaviour, self.mishaps, 0)
        return response.status, response.headers, response.body

    def held(self, ref):
        return dict(self.inner.get(ref).pairs)

    def run(self, desired):
        """Plan, apply and plan again; returns the plan, what became of it, and the next plan."""

        async def both():
            connection = Connection(PROVIDERS["emulator"], "http://127.0.0.1:1/v1")
            async with open_gateway(connection, transport=HandlerTransport(self.handle)) as gateway:
                refs, brake = [one.ref for one in desired], Brake()
                seen = await observe(gateway, refs, parallelism=4, brake=brake)
                plan = make_plan(desired, seen.readings, lambda _: self.rules)
                done = await apply(gateway, plan.changes, lambda _: self.rules, parallelism=4, brake=brake)
                again = await observe(gateway, refs, parallelism=4, brake=brake)
                return plan, done, make_plan(desired, again.readings, lambda _: self.rules)

        return virtual_time.run(both())


def told_of(done):
    return [(one.status, one.fault.code if one.fault else None) for one in done.outcomes]


@pytest.mark.parametrize(("server", "told"), TOLD, ids=NAMES)
@pytest.mark.parametrize("row", KINDS.values(), ids=KINDS)
def test_a_value_is_added_replaced_and_removed_and_the_next_plan_is_empty(row, server, told):
    refs = [ref_of(row, number) for number in range(3)]
    world = World(row, server, told, dict.fromkeys(refs, BEFORE))
    _, done, after = world.run([Desired(ref, {"change": "new", "add": "1", "drop": None}) for ref in refs])
    wanted = {"keep": "1", "change": "new", "add": "1"}
    if server is MERGE:
        assert told_of(done) == [(BLOCKED, "unremovable")] * 3
        wanted["drop"] = "x"
    else:
        assert told_of(done) == [(APPLIED, None)] * 3
        assert {change.action for change in after.changes} == {Action.KEEP}
    assert [world.held(ref) for ref in refs] == [wanted] * 3
    # Where reads lag, a key that is gone teaches nothing: it might have been gone before.
    silent = row.lags and server is REPLACE
    assert done.learned == ({} if told is not AUTO or silent else {row.name: server.name})
    assert len(world.posts) <= (3 if told is not AUTO else 3 + 2)


@pytest.mark.parametrize(("server", "told"), TOLD, ids=NAMES)
@pytest.mark.parametrize("row", KINDS.values(), ids=KINDS)
def test_sixteen_pairs_are_exchanged_for_sixteen_others(row, server, told):
    ref = ref_of(row)
    old, new = ({f"{name}{index:02}": "1" for index in range(MAX_PAIRS)} for name in ("old", "new"))
    world = World(row, server, told, {ref: old})
    _, done, after = world.run([Desired(ref, new, Ownership.EXCLUSIVE)])
    if server is MERGE:  # nothing can make room
        assert [status for status, _ in told_of(done)] == [OutcomeStatus.FAILED]
        assert world.held(ref) == old
    else:
        assert told_of(done) == [(APPLIED, None)]
        assert world.held(ref) == new
        assert [change.action for change in after.changes] == [Action.KEEP]


@pytest.mark.parametrize(("server", "told"), TOLD, ids=NAMES)
@pytest.mark.parametrize("row", KINDS.values(), ids=KINDS)
def test_everything_is_removed_where_anything_can_be(row, server, told):
    ref = ref_of(row)
    world = World(row, server, told, {ref: {"a": "1", "b": "2"}})
    _, done, after = world.run([Desired(ref, {}, Ownership.EXCLUSIVE)])
    assert told_of(done) == [(BLOCKED, "unremovable") if server is MERGE else (APPLIED, None)]
    assert world.held(ref) == ({"a": "1", "b": "2"} if server is MERGE else {})
    assert server is MERGE or [change.action for change in after.changes] == [Action.KEEP]


SCALAR = next(row for row in KINDS.values() if row.scalars)


@pytest.mark.parametrize(
    ("before", "declared", "writes"),
    [
        ({"a": 1}, {"a": 1.0}, 0),
        ({"a": 1.0}, {"a": 1}, 0),
        ({"a": True}, {"a": 1}, 1),
        ({"a": 0}, {"a": False}, 1),
        ({"a": "1"}, {"a": 1}, 1),
        ({"a": 1}, {"a": "1"}, 1),
        ({"a": True}, {"a": "true"}, 1),
        ({"a": False}, {"a": None}, 1),
        ({"a": 0, "b": 0.5}, {"a": 0, "b": -0.5}, 1),
        ({}, {"a": 2**53, "b": 1e308, "c": False, "d": ""}, 1),
    ],
    ids=str,
)
@pytest.mark.parametrize(("server", "told"), TOLD, ids=NAMES)
def test_scalars_are_compared_and_written_by_type_and_value(before, declared, writes, server, told):
    ref = ref_of(SCALAR)
    if server is MERGE_EMPTY:
        declared = {key: value for key, value in declared.items() if value != ""}
    world = World(SCALAR, server, told, {ref: {**before, "seen": True}})
    _, done, after = world.run([Desired(ref, declared)])
    if server is MERGE and None in declared.values():
        assert told_of(done) == [(BLOCKED, "unremovable")]
        return
    assert told_of(done) == [(APPLIED, None)] * writes
    held = world.held(ref)
    for key, value in {**declared, "seen": True}.items():
        assert held.get(key) == value
        assert isinstance(held.get(key), bool) is isinstance(value, bool)
    assert [change.action for change in after.changes] == [Action.KEEP]


@pytest.mark.parametrize("mishap", [None, Mishap.OLD, Mishap.FIELDLESS, Mishap.EMPTY], ids=str)
@pytest.mark.parametrize(("server", "told"), TOLD, ids=NAMES)
@pytest.mark.parametrize("row", [row for row in KINDS.values() if row.lags], ids=lambda row: row.name)
def test_a_kind_whose_reads_lag_ends_as_the_others_do(row, server, told, mishap):
    refs = [ref_of(row, number) for number in range(3)]
    world = World(row, server, told, dict.fromkeys(refs, BEFORE), lag=Lag(1.0), mishap=mishap)
    _, done, after = world.run([Desired(ref, {"change": "new", "add": "1", "drop": None}) for ref in refs])
    wanted = {"keep": "1", "change": "new", "add": "1"} | ({"drop": "x"} if server is MERGE else {})
    assert told_of(done) == [(BLOCKED, "unremovable") if server is MERGE else (APPLIED, None)] * 3
    assert [world.held(ref) for ref in refs] == [wanted] * 3
    assert all(value == server.name for value in done.learned.values())
    assert server is MERGE or {change.action for change in after.changes} == {Action.KEEP}
