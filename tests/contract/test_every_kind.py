"""Every kind, through the gateway and as it is on the wire: each exchange is held against the published API."""

from __future__ import annotations

import json
from itertools import count

import pytest
from api.descriptions import OPERATIONS
from api.judge import ANSWERS, Judge
from doors import EVERY, REAL, SERVERS, attempt, embedded, ref_of, through
from hypothesis import given
from hypothesis import strategies as st

from reconciler.dialects import MERGE, MERGE_NULL, REPLACE, Removal
from reconciler.emulator.mishaps import Mishap, MishapRule, Mishaps, answer
from reconciler.emulator.service import Behaviour, Held, Request, handle
from reconciler.emulator.store import MemoryStore
from reconciler.kinds import KINDS
from reconciler.model import Missing, Observed, Ref

TOO_MUCH = {
    "17 pairs": {f"k{number}": "v" for number in range(17)},
    "65 in a key": {"k" * 65: "v"},
    "513 in a value": {"k": "v" * 513},
    "an array": {"k": []},
}
ONLY_STRINGS = {"an integer": {"k": 1}, "a decimal number": {"k": 0.5}, "a boolean": {"k": True}}


# Through the gateway.


@REAL
@EVERY
def test_every_kind_is_read_updated_and_found_missing(door, kind, tmp_path):
    ref, absent = ref_of(kind), ref_of(kind, f"{kind.prefix}absent")

    async def work(api):
        before = await api.fetch(ref)
        answer = await attempt(api, ref, {"a": "1", "b": "2"})
        missing = await api.fetch(absent)
        return before, answer, await attempt(api, ref, {"b": "2"}), await api.fetch(ref), missing

    before, answer, fewer, after, missing = through(door, REPLACE, tmp_path, work, refs=[ref])
    assert before == Observed({})
    assert answer == {"a": "1", "b": "2"}
    assert fewer == {"b": "2"}
    assert after == Observed({"b": "2"})
    assert isinstance(missing, Missing)
    assert kind.not_found.format(noun=kind.noun, id=f"{kind.prefix}absent") in missing.fault.message


@EVERY
def test_every_kind_loses_a_key_that_is_sent_as_null_where_null_removes(kind, tmp_path):
    async def work(api):
        await attempt(api, ref_of(kind), {"a": "1", "b": "2"})
        return await attempt(api, ref_of(kind), {"a": None})

    assert through(embedded, MERGE_NULL, tmp_path, work, refs=[ref_of(kind)]) == {"b": "2"}


@REAL
@EVERY
def test_every_kind_is_listed_behind_a_cursor_and_by_its_pairs_where_that_can_be(door, kind, tmp_path):
    refs = [ref_of(kind, f"one_{number}") for number in range(3)]
    parent = refs[0].id.rpartition("/")[0]

    async def work(api):
        await api.modify(refs[1], {"team": "ü & =", "b": "2"})
        whole = await api.page(kind.name, parent)
        rest = await api.page(kind.name, parent, after="one_0")
        where = {"where": {"team": "ü & =", "b": "2"}} if kind.filtered else {}
        return whole, rest, await api.page(kind.name, parent, **where)

    whole, rest, asked = through(door, REPLACE, tmp_path, work, refs=refs)
    held = [(ref, {"team": "ü & =", "b": "2"} if ref is refs[1] else {}) for ref in refs]
    assert list(whole.found) == held
    assert list(rest.found) == held[1:]
    assert whole.after is rest.after is None
    assert whole.odd == rest.odd == ()
    assert [ref for ref, _ in asked.found] == (refs[1:2] if kind.filtered else refs)


@EVERY
def test_every_kind_refuses_what_breaks_a_limit(kind, tmp_path):
    async def work(api):
        return [await attempt(api, ref_of(kind), entries) for entries in (TOO_MUCH | ONLY_STRINGS).values()]

    refused = through(embedded, REPLACE, tmp_path, work, refs=[ref_of(kind)])
    assert refused[: len(TOO_MUCH)] == [("rejected", 400)] * len(TOO_MUCH)
    assert [answer == ("rejected", 400) for answer in refused[len(TOO_MUCH) :]] == [not kind.scalars] * 3


# On the wire.


class Wire:
    """The emulator's function, called as the description of each kind has it; every exchange is judged."""

    def __init__(self, dialect=REPLACE, key=None):
        numbers = count(1)
        writes = dict.fromkeys(KINDS, dialect)
        self.behaviour = Behaviour(lambda: 1_700_000_000, lambda: f"token{next(numbers)}", writes, key)
        self.store = MemoryStore()
        self.judge = Judge(nulls=dialect.removal is Removal.NULL, ours=False)

    def hold(self, kind, own="x-1", **pairs):
        self.store.put(Ref(kind.name, f"p-1/{own}" if kind.nested else own), Held(5, pairs))
        return self

    def call(self, kind, method, own=None, body=None, query=""):
        """Call one object, or the collection where none is named; returns the status and what was answered."""
        operation = OPERATIONS[kind.name]
        path = (operation.collection if own is None else operation.path).format(parent="p-1", id=own)
        sent = b"" if body is None else json.dumps(body).encode()
        headers = {"accept": "application/json", **({"content-type": "application/json"} if sent else {})}
        headers |= {"openai-beta": operation.beta} if operation.beta else {}
        target = f"/v1{path}{query}"
        answer = handle(self.store, Request.aimed(method, target, headers, sent), self.behaviour)
        self.judge.exchange(method, target, headers, sent, answer.status, answer.headers, answer.body)
        self.judge.verdict()
        return answer.status, json.loads(answer.body)


def life(wire, kind):
    """Lead one object of a kind through all that can be done with it."""
    _, made = wire.call(kind, "POST", body={**OPERATIONS[kind.name].example, kind.field: {"a": "1"}})
    own = made["id"]
    steps = [
        wire.call(kind, "GET", own),
        wire.call(kind, "POST", own, {kind.field: {"a": "2"}}),
        wire.call(kind, "GET"),
        wire.call(kind, "POST", own, {kind.field: {"k" * 65: "v"}}),
        wire.call(kind, "DELETE", own),
        wire.call(kind, "GET", own),
        wire.call(kind, "GET"),
    ]
    return made, steps


@EVERY
def test_every_kind_leads_the_life_that_the_description_gives_it(kind):
    wires = [Wire(dialect) for dialect in SERVERS]
    lives = [life(wire, kind) for wire in wires]
    assert lives == lives[:1] * len(SERVERS)
    wire, (made, steps) = wires[0], lives[0]
    assert [status for status, _ in steps] == [200, 200, 200, 400, 200, 404, 200]
    assert made == steps[0][1]
    assert made["id"].startswith(kind.prefix)
    assert steps[1][1] == {**made, kind.field: {"a": "2"}}
    assert steps[2][1]["data"] == [steps[1][1]]
    assert steps[-1][1] == {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}
    roles = {*ANSWERS, "missing", "refused"}
    assert {role for name, role in wire.judge.seen if name == kind.name} == roles


def test_every_description_was_judged_in_every_role():
    wire = Wire()
    for kind in KINDS.values():
        life(wire, kind)
    assert wire.judge.seen.keys() == {(name, role) for name in OPERATIONS for role in (*ANSWERS, "missing", "refused")}


@EVERY
def test_a_field_that_is_left_out_or_null_is_taken_where_the_description_takes_it(kind):
    for dialect in SERVERS:
        wire = Wire(dialect).hold(kind, a="b")
        assert wire.call(kind, "POST", "x-1", {})[0] == (400 if kind.required else 200)
        assert wire.call(kind, "GET", "x-1")[1][kind.field] == {"a": "b"}
        assert wire.call(kind, "POST", "x-1", {kind.field: None})[0] == (200 if kind.nullable else 400)


@EVERY
def test_every_refusal_of_every_kind_is_one_of_the_description(kind):
    for dialect in SERVERS:
        wire = Wire(dialect).hold(kind, a="b")
        for entries in TOO_MUCH.values():
            assert wire.call(kind, "POST", "x-1", {kind.field: entries})[0] == 400
        for entries in ONLY_STRINGS.values():
            assert wire.call(kind, "POST", "x-1", {kind.field: entries})[0] == (200 if kind.scalars else 400)
        status, _ = wire.call(kind, "POST", "x-1", {kind.field: {"a": None}})
        assert status == (200 if dialect is MERGE_NULL else 400)
        assert wire.call(kind, "POST", "x-1", {kind.field: {}, "title": "x"})[0] == 400
        assert wire.call(kind, "POST", f"{kind.prefix}none", {kind.field: {}})[0] == 404
        assert wire.call(kind, "GET", query="?limit=20&order=asc&after=x-1")[0] == 200
        assert Wire(key="sk-secret").call(kind, "GET", "x-1")[0] == 401


@EVERY
def test_a_map_that_would_grow_too_large_is_refused_by_count(kind):
    wire = Wire(MERGE).hold(kind, **{f"k{number}": "v" for number in range(16)})
    status, told = wire.call(kind, "POST", "x-1", {kind.field: {"more": "v"}})
    assert (status, told["error"]["code"]) == (400, "object_above_max_properties")


@EVERY
def test_a_child_is_missing_with_its_parent(kind):
    wire = Wire().hold(kind)
    if kind.nested:
        parent = KINDS[kind.parent]
        wire.hold(parent, "p-1")
        assert wire.call(parent, "DELETE", "p-1")[0] == 200
        assert wire.call(kind, "GET")[0] == 404
    assert wire.call(kind, "GET", "x-1")[0] == (404 if kind.nested else 200)


NAMES = st.sampled_from(["a", "", "k" * 64, "k" * 65, "😀" * 64, "'", "\ud800"])
VALUES = st.one_of(
    st.sampled_from(["b", "", "v" * 512, "v" * 513, "😀" * 512, "\x00"]),
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([[], {}, ["b"], {"c": "d"}]),
)
MANY = st.sampled_from([{f"k{number}": "v" for number in range(count)} for count in (15, 16, 17)])
MAPS = st.one_of(st.dictionaries(NAMES, VALUES, max_size=3), MANY, VALUES)


@given(
    kind=st.sampled_from(list(KINDS.values())),
    dialect=st.sampled_from(SERVERS),
    field=st.sampled_from(["metadata", "attributes"]),
    sent=MAPS,
    more=st.sampled_from([{}, {}, {}, {"title": "x"}]),
)
def test_an_update_is_taken_exactly_where_the_description_takes_it(kind, dialect, field, sent, more):
    wire = Wire(dialect).hold(kind)
    status, _ = wire.call(kind, "POST", "x-1", {field: sent, **more})
    assert status in {200, 400}
    assert wire.call(kind, "GET", "x-1")[0] == 200


@pytest.mark.parametrize("mishap", [Mishap.RATE_LIMITED, Mishap.FAILED, Mishap.OVERLOADED])
def test_a_mishap_that_refuses_uses_the_words_of_the_api(mishap):
    wire = Wire()
    for kind in KINDS.values():
        wire.hold(kind)
        target = f"/v1{kind.path.format(parent='p-1', id='x-1')}"
        response = answer(wire.store, Request("GET", target), wire.behaviour, Mishaps((MishapRule(mishap),)), 0)
        wire.judge.answer("GET", target, response.status, response.headers, response.body)
    wire.judge.verdict()
    assert wire.judge.seen.keys() == {(name, "refused") for name in KINDS}


# Lists.

FILTERED = [kind for kind in KINDS.values() if kind.filtered]


@pytest.mark.parametrize("kind", FILTERED, ids=lambda kind: kind.name)
@pytest.mark.parametrize(
    ("query", "ids", "more"),
    [
        ("metadata[team]=red", "02468", False),
        ("metadata[team]=red&limit=2", "02", True),
        ("metadata[team]=red&limit=2&after=n2", "46", True),
        ("metadata[team]=red&limit=2&after=n6", "8", False),
        ("metadata[team]=red&metadata[size]=3", "06", False),
        ("metadata[team]=red&order=desc&limit=3", "864", True),
        ("metadata%5Bteam%5D=r%65d&limit=1", "0", True),
        ("metadata[team]=green", "", False),
        ("metadata[team]=", "", False),
        ("metadata[other]=red", "", False),
    ],
)
def test_a_filtered_list_has_what_carries_all_pairs_in_pages(kind, query, ids, more):
    wire = Wire()
    for number in range(10):
        pairs = {"team": "blue" if number % 2 else "red", **({"size": "3"} if number % 3 == 0 else {})}
        wire.hold(kind, f"n{number}", **pairs)
    order = "" if "order=" in query else "&order=asc"
    _, listed = wire.call(kind, "GET", query=f"?{query}{order}")
    assert [each["id"] for each in listed["data"]] == [f"n{number}" for number in ids]
    assert listed["has_more"] is more


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_a_filter_finds_the_few_among_the_many(order):
    wire, kind, rare = Wire(), FILTERED[0], {3, 120, 330}
    for number in range(350):
        wire.hold(kind, f"n{number}", team="rare" if number in rare else "usual")
    pages, after = [], ""
    while True:
        _, listed = wire.call(kind, "GET", query=f"?metadata[team]=rare&limit=1&order={order}{after}")
        pages += [each["id"] for each in listed["data"]]
        if not listed["has_more"]:
            break
        after = f"&after={listed['last_id']}"
    assert pages == [f"n{number}" for number in sorted(rare, reverse=order == "desc")]


@pytest.mark.parametrize("kind", FILTERED, ids=lambda kind: kind.name)
def test_a_filter_beyond_the_limits_is_refused(kind):
    wire = Wire().hold(kind)
    many = "&".join(f"metadata[k{number}]=v" for number in range(17))
    wire.judge = Judge(ours=False)
    statuses = []
    for query in (many, f"metadata[{'k' * 65}]=v", f"metadata[k]={'v' * 513}"):
        target = f"/v1{kind.collection}?{query}"
        answer = handle(wire.store, Request.aimed("GET", target, {}, b""), wire.behaviour)
        wire.judge.answer("GET", target, answer.status, answer.headers, answer.body)
        statuses.append(answer.status)
    wire.judge.verdict()
    assert statuses == [400, 400, 400]


@EVERY
def test_a_filter_is_never_ignored(kind):
    wire = Wire().hold(kind, a="b")
    target = f"/v1{kind.collection.format(parent='p-1')}?metadata[a]=other"
    answer = handle(wire.store, Request.aimed("GET", target, {}, b""), wire.behaviour)
    shown = json.loads(answer.body)
    if kind.filtered:
        assert shown["data"] == []
    else:
        assert (answer.status, shown["error"]["code"]) == (400, "unknown_parameter")


def test_chat_completions_and_evals_are_listed_upwards_unless_told_otherwise():
    upwards = set()
    for kind in KINDS.values():
        wire = Wire().hold(kind, "first").hold(kind, "second")
        if wire.call(kind, "GET")[1]["first_id"] == "first":
            upwards.add(kind.name)
    assert upwards == {"chat_completion", "eval"}
