"""Laws of the main job: whatever is declared, observed and remembered, in every dialect.

The server is a fake whose behaviour the contract suite holds against the emulator.
"""

import asyncio

import pytest
import virtual_time
from fakes import FakeApi
from hypothesis import assume, event, given
from hypothesis import strategies as st

from reconciler.compare import Action, Cause, Rules, compare, judge, settle
from reconciler.dialects import AUTO, DIALECTS, MERGE, MERGE_EMPTY, MERGE_NULL, REPLACE, Removals
from reconciler.document import Document, outcome_part, plan_parts
from reconciler.engine import Brake, apply, observe
from reconciler.events import OutcomeStatus
from reconciler.model import MAX_PAIRS, Base, Desired, Observed, Ownership, Ref, matches
from reconciler.plan import make_plan, summarise
from reconciler.planfile import changes_of, dumps, loads

SERVERS = (REPLACE, MERGE, MERGE_NULL, MERGE_EMPTY)

keys = st.sampled_from([f"k{n}" for n in range(12)] + ["__k", "run.a", "run.b", "clé", "k\u0301"])
values = st.sampled_from(["", "1", "2", "3", "x" * 512, "é", "e\u0301", '"\\\n'])
observed_maps = st.dictionaries(keys, values, max_size=MAX_PAIRS)
declared_maps = st.dictionaries(
    keys.filter(lambda key: not key.startswith("run.")), st.none() | values, max_size=MAX_PAIRS
)
ignores = st.sampled_from([(), ("run.*",)])
ownerships = st.sampled_from(list(Ownership))
bases = st.none() | st.builds(
    Base,
    declared_maps,
    ownerships,
    ignores,
    st.just(False),
    st.frozensets(keys, max_size=2),
)


@st.composite
def worlds(draw, servers=SERVERS):
    """Some resources as declared, as observed, and a server of some dialect that holds them."""
    number = draw(st.integers(1, 4))
    refs = [Ref("thread", f"t{index}") for index in range(number)]
    desired = [Desired(ref, draw(declared_maps), draw(ownerships), draw(ignores)) for ref in refs]
    return desired, FakeApi(draw(st.sampled_from(servers)), {ref: draw(observed_maps) for ref in refs})


def run(api, desired, rules, base=None):
    """Plan and apply; returns the plan and what became of it."""

    async def both():
        brake = Brake()
        seen = await observe(api, [one.ref for one in desired], parallelism=3, brake=brake)
        plan = make_plan(desired, seen.readings, lambda _kind: rules, bases=base and dict.fromkeys(seen.readings, base))
        return plan, await apply(api, plan.changes, lambda _kind: rules, parallelism=3, brake=brake)

    return virtual_time.run(both())


def converged(api, desired, rules):
    """Return the resources whose next plan has something writable."""
    changes = [judge(one, Observed(api.held[one.ref]), None, rules) for one in desired]
    return [change.ref for change in changes if change.writable]


@given(worlds(), st.sampled_from(list(Removals)))
def test_an_apply_in_the_servers_own_dialect_leaves_nothing_to_write(world, removals):
    desired, api = world
    rules = Rules(api.dialect, removals)
    plan, done = run(api, desired, rules)
    results = {outcome.ref: outcome.status for outcome in done.outcomes}
    event(", ".join(sorted(set(results.values()))) or "nothing to do")

    for change in plan.changes:
        result = results.get(change.ref)
        if change.action is Action.UPDATE:
            assert result is (OutcomeStatus.BLOCKED if change.blocked else OutcomeStatus.APPLIED)
            assert api.held[change.ref] == change.planned
        elif change.action is Action.FAILED:
            assert result is OutcomeStatus.FAILED
    again, second = run(api, desired, rules)
    assert again.writes == 0
    assert not [outcome for outcome in second.outcomes if outcome.writes]


@given(worlds(), st.sampled_from([*SERVERS, AUTO]), st.sampled_from(list(Removals)))
def test_what_nobody_declared_survives_unless_the_loss_is_reported(world, told, removals):
    desired, api = world
    before = {ref: dict(pairs) for ref, pairs in api.held.items()}
    _, done = run(api, desired, Rules(told, removals))
    lost = {outcome.ref: outcome.lost for outcome in done.outcomes}

    for one in desired:
        foreign = settle(one, None).foreign(before[one.ref])
        for key in foreign:
            if key in api.held[one.ref]:
                assert api.held[one.ref][key] == before[one.ref][key]
            else:
                assert lost[one.ref][key] == before[one.ref][key]


@given(worlds(servers=(REPLACE, MERGE, MERGE_NULL)), st.sampled_from(list(Removals)))
def test_auto_loses_nothing_and_ends_where_the_told_dialect_ends(world, removals):
    desired, api = world
    twin = FakeApi(api.dialect, api.held)
    _, learned = run(api, desired, Rules(AUTO, removals))
    _, told = run(twin, desired, Rules(twin.dialect, removals))
    rejected = {outcome.ref for outcome in learned.outcomes if outcome.status is OutcomeStatus.FAILED}

    for outcome in learned.outcomes:
        assert not outcome.lost
        assert outcome.writes <= 3
    for one in desired:
        if one.ref not in rejected and one.ref not in {
            bad.ref for bad in told.outcomes if bad.status is OutcomeStatus.FAILED
        }:
            assert api.held[one.ref] == twin.held[one.ref]
    if learned.learned:
        assert learned.learned == {"thread": api.dialect.name}


@given(worlds(), st.sampled_from([*SERVERS, AUTO]), st.sampled_from(list(Removals)))
def test_no_call_carries_more_than_the_limit_and_success_is_never_a_lie(world, told, removals):
    desired, api = world
    _, done = run(api, desired, Rules(told, removals))
    assert all(len(entries) <= MAX_PAIRS for _, entries in api.posts)

    for outcome in done.outcomes:
        if outcome.status is not OutcomeStatus.APPLIED:
            continue
        (one,) = (each for each in desired if each.ref == outcome.ref)
        for key, value in one.metadata.items():
            held = api.held[one.ref].get(key)
            assert held == value or (removals is Removals.BLANK and value is None and held == "")
        if one.ownership is Ownership.EXCLUSIVE:
            strangers = {key for key in api.held[one.ref] if key not in one.metadata and not matches(key, one.ignore)}
            assert all(removals is Removals.BLANK and api.held[one.ref][key] == "" for key in strangers)


@given(worlds(servers=(REPLACE,)), st.data())
def test_dialects_that_can_do_it_end_in_the_same_state(world, data):
    desired, api = world
    assume(all(value != "" for one in desired for value in one.metadata.values()))
    held = {ref: {key: value for key, value in pairs.items() if value != ""} for ref, pairs in api.held.items()}
    ends = []
    for dialect in (REPLACE, MERGE_NULL, MERGE_EMPTY):
        server = FakeApi(dialect, held)
        run(server, desired, Rules(dialect))
        ends.append(server.held)
    assert ends[0] == ends[1] == ends[2]


@given(worlds(), bases, st.sampled_from(list(DIALECTS.values())), st.booleans())
def test_a_document_survives_being_written_and_read(world, base, dialect, keeps):
    desired, api = world
    rules = Rules(dialect)
    plan, done = run(api, desired, rules, base)
    parts = plan_parts(plan, len(desired), keeps=keeps)
    document = Document(kind="apply", outcomes=tuple(map(outcome_part, done.outcomes)), learned=done.learned, **parts)
    text = dumps(document)

    assert loads(text, "plan.json") == document
    assert dumps(loads(text, "plan.json")) == text
    assert text.isascii()
    restored = changes_of(document, lambda _kind: rules, "plan.json")
    original = [change for change in plan.changes if keeps or change.action is not Action.KEEP]
    for one, other in zip(restored, original, strict=True):
        assert (one.intent, one.planned, one.fields, one.fingerprint) == (
            other.intent,
            other.planned,
            other.fields,
            other.fingerprint,
        )


@given(declared_maps, observed_maps, bases, ownerships, ignores)
def test_every_difference_has_the_cause_that_the_table_gives(declared, observed, base, ownership, ignore):
    desired = Desired(Ref("thread", "t"), declared, ownership, ignore)
    change = judge(desired, Observed(observed), base, Rules(REPLACE))
    for field in change.fields:
        mentions = base is not None and (
            field.key in base.metadata
            or (base.ownership is Ownership.EXCLUSIVE and not matches(field.key, base.ignore))
        )
        if base is None or field.key in base.unknown:
            assert field.cause is Cause.UNATTRIBUTED
        elif not mentions or base.metadata.get(field.key) == field.before:
            assert field.cause is Cause.PENDING
        elif base.metadata.get(field.key) == field.after:
            assert field.cause is Cause.DRIFT
        else:
            assert field.cause is Cause.CONFLICT
    ours = set(declared) | (set(base.metadata) if base else set())
    if ownership is Ownership.EXCLUSIVE:
        ours |= set(observed)
    ours = {key for key in ours if key in declared or not matches(key, ignore)}
    differing = {key for key in ours if observed.get(key) != declared.get(key)}
    assert {field.key for field in change.fields} == differing
    assert set(change.foreign) == set(observed) - ours


@given(declared_maps, observed_maps, bases, st.sampled_from(list(Removals)), st.sampled_from(list(DIALECTS.values())))
def test_what_was_planned_is_planned_no_more(declared, observed, base, removals, dialect):
    desired, rules = Desired(Ref("thread", "t"), declared), Rules(dialect, removals)
    change = judge(desired, Observed(observed), base, rules)
    assume(change.action is Action.UPDATE)
    after = compare(desired, change.intent, Observed(change.planned), base, rules)
    assert not after.writable
    assert {field.key for field in after.fields} == {field.key for field in change.blocked}


@given(worlds())
def test_the_sums_add_up(world):
    desired, api = world
    changes = [judge(one, Observed(api.held[one.ref]), None, Rules(api.dialect)) for one in desired]
    summary = summarise(changes)
    assert summary.resources == len(desired) == sum(summary.actions.values())
    assert sum(summary.ops.values()) == sum(summary.causes.values()) == sum(len(change.fields) for change in changes)


@pytest.mark.parametrize("parallelism", [1, 2, 7])
def test_no_more_calls_are_in_flight_than_allowed(parallelism):
    refs = [Ref("thread", f"t{index}") for index in range(40)]
    api = FakeApi(REPLACE, {ref: {} for ref in refs})
    desired = [Desired(ref, {"a": "1"}) for ref in refs]

    async def both():
        brake = Brake()
        seen = await observe(api, refs, parallelism=parallelism, brake=brake)
        plan = make_plan(desired, seen.readings, lambda _kind: Rules(REPLACE))
        await apply(api, plan.changes, lambda _kind: Rules(REPLACE), parallelism=parallelism, brake=brake)

    asyncio.run(both())
    assert api.busiest == parallelism
    assert len(api.posts) == 40
    assert set(api.gets.values()) == {2}
