"""Laws of what is remembered: how bases move, why a field differs as time goes by, and how a run is turned back.

`Past` is the reference: it keeps, field by field, what was last verified, and judges by the tables of the contract. It
shares with the code under test only how values and globs are compared. The server is the fake of the other laws.
"""

import asyncio
from dataclasses import dataclass, replace

from fakes import FakeApi
from hypothesis import assume, event, given
from hypothesis import strategies as st

from reconciler.bases import united
from reconciler.compare import Action, Cause, Rules, Selection, judge, settle
from reconciler.dialects import AUTO, MERGE, MERGE_EMPTY, MERGE_NULL, REPLACE, Removals
from reconciler.diff import Op
from reconciler.engine import Brake, apply, observe
from reconciler.errors import ApiError, Fault
from reconciler.events import OutcomeStatus
from reconciler.model import MAX_PAIRS, NOTHING_APPLIED, Base, Desired, Missing, Observed, Ownership, Ref, matches, same
from reconciler.plan import make_plan, released_desire
from reconciler.remembering import moved_by, restored_by, touched_by, undone

# --- worlds -----------------------------------------------------------------------------------------------------------

KEYS = ("a", "b", "c", "d", "__k", "run.x", "run.y")
REFS = tuple(Ref("thread", f"t{index}") for index in range(3))
IGNORES = ((), ("run.*",))

keys = st.sampled_from(KEYS)
either = st.booleans()
values = st.sampled_from(["", "1", "2", "3"]) | st.sampled_from([1, True])
foreign_values = values | st.sampled_from([7, False, ["x"], {"deep": 1}])
observed_maps = st.dictionaries(keys, foreign_values)
edits = st.dictionaries(keys, st.none() | foreign_values, min_size=1, max_size=3)
removals = st.sampled_from(list(Removals))
told = st.sampled_from([(REPLACE, REPLACE), (MERGE, MERGE), (MERGE_NULL, MERGE_NULL), (MERGE_EMPTY, MERGE_EMPTY)])
guessed = st.sampled_from([(REPLACE, AUTO), (MERGE, AUTO), (MERGE_NULL, AUTO)])
dialects = told | guessed
"""How a server behaves, and what it is told to be; `merge-empty` is never learned."""
selections = st.builds(
    Selection,
    st.frozensets(st.sampled_from(list(Cause)), max_size=3),
    st.frozensets(st.sampled_from(list(Op)), max_size=2),
)


@st.composite
def declarations(draw, ref=REFS[0], protect=either):
    ignore = draw(st.sampled_from(IGNORES))
    free = keys.filter(lambda key: not matches(key, ignore))
    metadata = draw(st.dictionaries(free, st.none() | values))
    return Desired(ref, metadata, draw(st.sampled_from(list(Ownership))), ignore, draw(protect))


@st.composite
def records(draw, protect=either):
    """A base as a ledger may hold it: every key spoken of once, silence named where it would count as null."""
    declared = draw(declarations(protect=protect))
    rest = [key for key in KEYS if key not in declared.metadata and not matches(key, declared.ignore)]
    others = st.frozensets(st.sampled_from(rest)) if rest else st.just(frozenset())
    unknown = draw(others)
    silent = draw(others) - unknown if declared.ownership is Ownership.EXCLUSIVE else frozenset()
    return Base(declared.metadata, declared.ownership, declared.ignore, declared.protect, unknown, silent)


bases = st.none() | st.just(NOTHING_APPLIED) | records()
unprotected = st.none() | st.just(NOTHING_APPLIED) | records(st.just(False))


class Server(FakeApi):
    """A fake that refuses updates of some resources, or carries them out and fails all the same."""

    def __init__(self, dialect, held):
        super().__init__(dialect, held)
        self.refuses, self.fails_after = set(), set()

    async def modify(self, ref, entries, attempt=0):
        if ref in self.refuses:
            self.posts.append((ref, dict(entries)))
            raise ApiError(Fault("api", "out of order", 500))
        answer = await super().modify(ref, entries, attempt)
        if ref in self.fails_after:
            raise ApiError(Fault("api", "out of order", 500))
        return answer

    def edit(self, ref, pairs):
        """Somebody else changes a resource by hand."""
        self.held[ref] = as_held(self.dialect, {**self.held[ref], **pairs})


def as_held(dialect, pairs):
    """Return the map without what no server of this dialect holds."""
    empty = {None, ""} if dialect is MERGE_EMPTY else {None}
    return {key: value for key, value in pairs.items() if isinstance(value, list | dict) or value not in empty}


@dataclass
class World:
    """What git declares, what the server holds, what is remembered, and how the server is told to update."""

    declared: dict
    server: Server
    bases: dict
    rules: Rules

    def base(self, ref):
        return self.bases[ref]

    def twin(self):
        """Return an equal world that goes its own way."""
        server = Server(self.server.dialect, self.server.held)
        return World(dict(self.declared), server, dict(self.bases), self.rules)

    def change(self, ref):
        """Return what the next plan says of a resource, once it is known how the server updates."""
        rules = replace(self.rules, dialect=self.server.dialect)
        return judge(self.declared[ref], Observed(self.server.held[ref]), self.bases[ref], rules)

    def fields(self, ref):
        return {field.key: field for field in self.change(ref).fields}

    def causes(self):
        return {(ref, key): field.cause for ref in self.declared for key, field in self.fields(ref).items()}

    def held(self):
        return {ref: dict(pairs) for ref, pairs in self.server.held.items()}


@st.composite
def worlds(draw, bases=bases, dialects=dialects, declared=declarations, removing=removals):
    refs = REFS[: draw(st.integers(1, len(REFS)))]
    behaves, called = draw(dialects)
    server = Server(behaves, {ref: draw(observed_maps) for ref in refs})
    return World(
        {ref: replace(draw(declared()), ref=ref) for ref in refs},
        server,
        {ref: draw(bases) for ref in refs},
        Rules(called, draw(removing)),
    )


@dataclass(frozen=True)
class Run:
    """One apply or rollback: its changes, what became of them, the before-images, and the bases from before."""

    changes: tuple
    outcomes: dict
    touched: dict


def carry_out(world, changes):
    async def carried_out():
        done = await apply(world.server, changes, lambda _kind: world.rules, parallelism=2, brake=Brake())
        return {outcome.ref: outcome for outcome in done.outcomes}

    return asyncio.run(carried_out())


def apply_to(world, refs=None, only=None, meanwhile=None):
    """Plan and apply some resources as `apply` does, with others' edits in between; the bases move."""
    refs = list(world.declared) if refs is None else refs
    seen = asyncio.run(observe(world.server, refs, parallelism=2, brake=Brake()))
    known = {ref: base for ref, base in world.bases.items() if base is not None}
    desired = [world.declared[ref] for ref in refs]
    plan = make_plan(desired, seen.readings, lambda _kind: world.rules, bases=known, only=only)
    for ref, pairs in (meanwhile or {}).items():
        world.server.edit(ref, pairs)
    outcomes = carry_out(world, plan.changes)
    touched = touched_by(plan.changes, outcomes.values(), world.base)
    world.bases |= moved_by(plan.changes, outcomes.values(), world.base, "c0ffee")
    return Run(plan.changes, outcomes, touched)


def roll_back(world, run):
    """Turn a run back as `rollback` does; the bases move."""
    readings = {ref: Observed(dict(world.server.held[ref])) for ref in run.touched}
    changes = tuple(
        undone(ref, fields, readings[ref], world.bases[ref], world.rules) for ref, fields in sorted(run.touched.items())
    )
    outcomes = carry_out(world, changes)
    touched = touched_by(changes, outcomes.values(), world.base)
    world.bases |= restored_by(changes, outcomes.values(), run.touched, world.base)
    return Run(changes, outcomes, touched)


# --- the reference ----------------------------------------------------------------------------------------------------

UNKNOWN, SILENT, NULL, ABSENT, VALUE = "unknown", "silent", "null", "absent", "value"
"""What was last applied to a field: `absent` is the null that an exclusive manifest means without naming the key."""


def said_by(base, key):
    """Return what a base says of a key, as (what, value)."""
    if base is None or key in base.unknown:
        return UNKNOWN, None
    if key in base.metadata:
        value = base.metadata[key]
        return (NULL, None) if value is None else (VALUE, value)
    exclusive = base.ownership is Ownership.EXCLUSIVE and key not in base.silent and not matches(key, base.ignore)
    return (ABSENT if exclusive else SILENT), None


class Past:
    """What was last applied to one resource, field by field, and how it is judged by that."""

    def __init__(self, base):
        self.said = {key: said_by(base, key) for key in KEYS}
        self.protect = base is not None and base.protect

    def asks(self, desired, key):
        """Tell whether a key is ours, and what it shall be."""
        if key in desired.metadata:
            return True, desired.metadata[key]
        if matches(key, desired.ignore):
            return False, None
        return self.said[key][0] in (NULL, VALUE) or desired.ownership is Ownership.EXCLUSIVE, None

    def differs(self, desired, seen, key, rules):
        ours, wanted = self.asks(desired, key)
        return ours and not as_wanted(seen.get(key), wanted, rules)

    def cause(self, desired, seen, key, rules):
        what, value = self.said[key]
        if what == UNKNOWN:
            return Cause.UNATTRIBUTED
        if what == SILENT or as_wanted(seen.get(key), value, rules):
            return Cause.PENDING
        return Cause.DRIFT if same(self.asks(desired, key)[1], value) else Cause.CONFLICT

    def causes(self, desired, seen, rules):
        return {key: self.cause(desired, seen, key, rules) for key in KEYS if self.differs(desired, seen, key, rules)}

    def protected(self, desired, seen, rules):
        if not (self.protect or desired.protect):
            return set()
        return {key for key in self.causes(desired, seen, rules) if key in seen and self.asks(desired, key)[1] is None}

    def look(self, desired, seen, rules):
        """Take in that a run looked at the resource and saw this last."""
        self.said = {key: self._after(desired, seen, key, rules) for key in KEYS}
        self.protect = desired.protect

    def _after(self, desired, seen, key, rules):
        ours, wanted = self.asks(desired, key)
        if not ours:
            return SILENT, None
        if not as_wanted(seen.get(key), wanted, rules):
            exclusive = desired.ownership is Ownership.EXCLUSIVE
            return (NULL, None) if self.said[key] == (ABSENT, None) and not exclusive else self.said[key]
        if key in desired.metadata:
            return (NULL, None) if wanted is None else (VALUE, wanted)
        return (ABSENT if desired.ownership is Ownership.EXCLUSIVE else SILENT), None


def as_wanted(found, wanted, rules):
    """Tell whether a field is as it shall be: with `removals: blank`, "" is absent where the key shall not exist."""
    return same(found, wanted) or (wanted is None and found == "" and rules.removals is Removals.BLANK)


# --- after an apply ---------------------------------------------------------------------------------------------------


def stuck(run):
    """Return the resources that were not applied in full."""
    return {ref for ref, outcome in run.outcomes.items() if outcome.status is not OutcomeStatus.APPLIED}


@given(worlds())
def test_after_an_apply_only_what_could_not_be_written_is_planned_and_for_the_reason_it_had(world):
    before = {ref: world.fields(ref) for ref in world.declared}
    run = apply_to(world)
    event(", ".join(sorted({outcome.status for outcome in run.outcomes.values()})) or "nothing to do")

    for ref in world.declared:
        left = world.fields(ref)
        result = run.outcomes[ref].status if ref in run.outcomes else None
        if result is OutcomeStatus.FAILED:
            assert left.keys() <= before[ref].keys()
        else:
            # Protection that only the base had is gone once an apply has read the resource.
            free = {key for key, field in before[ref].items() if field.blocked and field.blocked.code == "protected"}
            assert all(field.blocked or key in free for key, field in left.items())
            assert left.keys() == {key for key, field in before[ref].items() if field.blocked}
        for key, field in left.items():
            assert field.cause is before[ref][key].cause


@given(worlds())
def test_an_apply_leaves_no_drift_but_that_of_fields_that_it_could_not_write(world):
    before = {ref: world.fields(ref) for ref in world.declared}
    run = apply_to(world)
    for ref in world.declared:
        findings = {key: field for key, field in world.fields(ref).items() if field.cause is not Cause.PENDING}
        assert not findings or ref in stuck(run)
        for key, field in findings.items():
            assert before[ref][key].blocked or run.outcomes[ref].status is OutcomeStatus.FAILED
            assert field.cause is before[ref][key].cause
            if field.cause is Cause.UNATTRIBUTED:
                assert world.bases[ref].unknown >= {key}


@given(worlds(bases=unprotected, dialects=told))
def test_a_second_apply_neither_writes_nor_moves_a_base(world):
    apply_to(world)
    held, remembered, sent = world.held(), dict(world.bases), len(world.server.posts)
    run = apply_to(world)
    assert not run.touched
    assert len(world.server.posts) == sent
    assert_same(world.held(), held)
    assert world.bases == remembered


@given(worlds(), st.none() | selections)
def test_foreign_keys_survive_an_apply_and_its_rollback(world, only):
    before = world.held()
    foreign = {ref: settle(one, world.bases[ref]).foreign(before[ref]) for ref, one in world.declared.items()}
    run = apply_to(world, only=only)
    assert_kept(world, before, foreign)
    roll_back(world, run)
    assert_kept(world, before, foreign)


def assert_kept(world, before, foreign):
    for ref, names in foreign.items():
        for key in names:
            assert same(world.server.held[ref][key], before[ref][key])


@given(
    worlds(dialects=st.just((REPLACE, MERGE)), bases=unprotected, declared=lambda: declarations(protect=st.just(False)))
)
def test_pairs_that_a_wrong_setting_cost_come_back_with_the_rollback(world):
    before = world.held()
    run = apply_to(world)
    assume(any(outcome.lost for outcome in run.outcomes.values()))
    world.rules = Rules(REPLACE)
    roll_back(world, run)
    assert_same(world.held(), before)


def assert_same(one, other):
    """Assert that the maps of two worlds are equal, true and 1 told apart."""
    assert one == other
    assert all(same(value, other[ref][key]) for ref, pairs in one.items() for key, value in pairs.items())


# --- causes over time -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class GitEdit:
    """git declares something else for a resource."""

    index: int
    desired: Desired


@dataclass(frozen=True)
class OthersEdit:
    """Somebody changes a resource by hand; null removes a key."""

    index: int
    pairs: dict


@dataclass(frozen=True)
class Apply:
    """An apply of some resources and fields; some updates fail, and others edit between its plan and its writes."""

    refs: frozenset
    only: Selection | None
    refuses: frozenset
    fails_after: frozenset
    meanwhile: dict


def indices(**sizes):
    return st.frozensets(st.integers(0, len(REFS) - 1), **sizes)


steps = st.one_of(
    st.builds(GitEdit, st.integers(0, len(REFS) - 1), declarations()),
    st.builds(OthersEdit, st.integers(0, len(REFS) - 1), edits),
    st.builds(
        Apply,
        indices(min_size=1),
        st.none() | selections,
        indices(max_size=1),
        indices(max_size=1),
        st.just({}) | st.dictionaries(st.integers(0, len(REFS) - 1), edits, max_size=1),
    ),
)


def take_step(world, pasts, step):
    """Do one step in the world, and in the reference what it means there."""
    refs = list(world.declared)
    if isinstance(step, GitEdit):
        ref = refs[step.index % len(refs)]
        world.declared[ref] = replace(step.desired, ref=ref)
    elif isinstance(step, OthersEdit):
        world.server.edit(refs[step.index % len(refs)], step.pairs)
    else:
        world.server.refuses = {REFS[index] for index in step.refuses}
        world.server.fails_after = {REFS[index] for index in step.fails_after}
        chosen = sorted({refs[index % len(refs)] for index in step.refs})
        meanwhile = {refs[index % len(refs)]: pairs for index, pairs in step.meanwhile.items()}
        run = apply_to(world, chosen, step.only, meanwhile)
        for change in run.changes:
            outcome = run.outcomes.get(change.ref)
            event(f"apply: {outcome.status if outcome else change.action}")
            last = change.observed
            if outcome is not None and outcome.seen is not None:
                last = outcome.seen
                assert last == world.server.held[change.ref]
            pasts[change.ref].look(change.desired, last, world.rules)


def assert_as_remembered(world, pasts):
    rules = replace(world.rules, dialect=world.server.dialect)
    for ref, desired in world.declared.items():
        seen, past, change = world.server.held[ref], pasts[ref], world.change(ref)
        assert {field.key: field.cause for field in change.fields} == past.causes(desired, seen, rules)
        protected = {field.key for field in change.blocked if field.blocked.code == "protected"}
        assert protected == past.protected(desired, seen, rules)


@given(worlds(), st.lists(steps, max_size=8))
def test_every_field_has_the_cause_that_its_own_history_gives(world, history):
    pasts = {ref: Past(base) for ref, base in world.bases.items()}
    assert_as_remembered(world, pasts)
    for step in history:
        take_step(world, pasts, step)
        assert_as_remembered(world, pasts)


@given(records(), keys, values, st.lists(values, min_size=1, max_size=3), st.booleans())
def test_an_edit_from_outside_after_a_blocked_field_is_not_pending_for_ever(base, key, found, edited, known):
    ref, declared = REFS[0], Desired(REFS[0], {key: None})
    base = replace(
        base,
        metadata={**base.metadata, key: found} if known else base.metadata,
        unknown=frozenset(),
        silent=frozenset(),
    )
    assume(known or base.mentions(key))
    world = World({ref: declared}, Server(MERGE, {ref: {key: found}}), {ref: base}, Rules(MERGE))
    before = base.metadata.get(key)
    apply_to(world)
    assert world.fields(ref)[key].blocked
    for value in edited:
        world.server.edit(ref, {key: value})
        apply_to(world)
        expected = Cause.PENDING if same(value, before) else Cause.DRIFT if before is None else Cause.CONFLICT
        assert world.fields(ref)[key].cause is expected


# --- in parts ---------------------------------------------------------------------------------------------------------

parts = st.lists(st.tuples(indices(min_size=1), st.none() | selections), max_size=4)
futures = st.lists(steps.filter(lambda step: not isinstance(step, Apply)), max_size=4)


@given(worlds(bases=unprotected), parts, futures)
def test_applies_in_parts_and_then_in_full_equal_one_in_full(world, chosen, future):
    twin = world.twin()
    whole = apply_to(twin)
    assume(OutcomeStatus.FAILED not in {outcome.status for outcome in whole.outcomes.values()})
    refs = list(world.declared)
    for picked, only in chosen:
        apply_to(world, sorted({refs[index % len(refs)] for index in picked}), only)
    apply_to(world)

    assert_same(world.held(), twin.held())
    assert world.bases == twin.bases
    for step in future:
        take_step(world, {}, step)
        take_step(twin, {}, step)
        assert world.causes() == twin.causes()


# --- turned back ------------------------------------------------------------------------------------------------------


def free():
    return declarations(protect=st.just(False))


def written(run, ref):
    """Return the fields of a resource that a run gave another value."""
    return [field for field in run.touched.get(ref, ()) if not same(field.before, field.after)]


def assert_given_back(world, before, run):
    """Assert that every map is as before the run; where a blank counts as absent, the run's fields may be blank."""
    for ref, pairs in before.items():
        blanks = {field.key for field in run.touched.get(ref, ()) if field.before is None}
        for key in KEYS:
            now = world.server.held[ref].get(key)
            blank = world.rules.removals is Removals.BLANK and key in blanks and now == ""
            assert blank or same(now, pairs.get(key))


able = st.sampled_from([(REPLACE, REPLACE), (MERGE_NULL, MERGE_NULL), (MERGE_EMPTY, MERGE_EMPTY)]) | st.sampled_from(
    [(REPLACE, AUTO), (MERGE_NULL, AUTO)]
)
"""Servers that can remove a key."""


@given(worlds(dialects=able, bases=unprotected, declared=free), st.none() | selections)
def test_a_rollback_gives_back_what_was_there(world, only):
    before = world.held()
    run = apply_to(world, only=only)
    after = world.held()
    back = roll_back(world, run)

    assert {outcome.status for outcome in back.outcomes.values()} <= {OutcomeStatus.APPLIED}
    assert_given_back(world, before, run)
    for ref in world.declared:
        changed = {key for key in KEYS if not same(before[ref].get(key), after[ref].get(key))}
        assert {field.key for field in written(run, ref)} == changed


@given(worlds(dialects=st.sampled_from([(MERGE, MERGE), (MERGE, AUTO)])))
def test_where_keys_cannot_be_removed_a_rollback_gives_back_the_rest(world):
    before = world.held()
    run = apply_to(world)
    after = world.held()
    roll_back(world, run)
    for ref in world.declared:
        touched = {field.key: field for field in written(run, ref)}
        for key in KEYS:
            now = world.server.held[ref].get(key)
            if key not in touched:
                assert same(now, after[ref].get(key))
            elif touched[key].before is not None:
                assert same(now, before[ref].get(key))
            elif world.rules.removals is Removals.BLOCK or world.bases[ref].protect:
                assert same(now, after[ref].get(key))
            else:
                assert now == ""


@given(worlds(declared=free, bases=unprotected))
def test_after_a_rollback_its_fields_are_pending_and_no_drift_was_made(world):
    run = apply_to(world)
    before = {ref: world.fields(ref) for ref in world.declared}
    roll_back(world, run)
    for ref in world.declared:
        touched = {field.key for field in run.touched.get(ref, ())}
        for key, field in world.fields(ref).items():
            if key in touched:
                assert field.cause is Cause.PENDING
            else:
                assert field.cause is before[ref][key].cause


@given(
    worlds(dialects=able, bases=unprotected, declared=free), st.lists(declarations(protect=st.just(False)), max_size=3)
)
def test_after_git_is_reverted_too_nothing_is_planned_for_the_fields_of_the_run(world, following):
    apply_to(world)
    assume(all(not world.change(ref).fields for ref in world.declared))
    declared = dict(world.declared)
    for ref, desired in zip(declared, following, strict=False):
        world.declared[ref] = replace(desired, ref=ref)
    run = apply_to(world)
    roll_back(world, run)
    world.declared = declared
    for ref in declared:
        touched = {field.key for field in run.touched.get(ref, ())}
        assert not touched & world.fields(ref).keys()


@given(worlds(dialects=told | guessed, declared=free, bases=unprotected))
def test_rolling_back_twice_is_nothing_to_do(world):
    run = apply_to(world)
    first = roll_back(world, run)
    held, remembered = world.held(), dict(world.bases)
    second = roll_back(world, run)
    for change in second.changes:
        blocked = first.outcomes.get(change.ref) and first.outcomes[change.ref].status is OutcomeStatus.BLOCKED
        assert change.action is Action.KEEP or blocked
    assert not any(written(second, ref) for ref in second.touched)
    assert_same(world.held(), held)
    assert world.bases == remembered


# Where nothing is blank instead of absent.
@given(worlds(dialects=able, bases=unprotected, declared=free, removing=st.just(Removals.BLOCK)))
def test_rolling_back_the_rollback_gives_the_state_after_the_apply(world):
    run = apply_to(world)
    held, remembered = world.held(), dict(world.bases)
    back = roll_back(world, run)
    roll_back(world, back)
    assert_same(world.held(), held)
    for ref, base in world.bases.items():
        assert rules_of(base) == rules_of(remembered[ref])
        for key in KEYS:
            assert agree(meaning(base, key), meaning(remembered[ref], key))


@given(worlds(dialects=able, bases=unprotected, declared=free), st.lists(steps, max_size=3))
def test_causes_after_a_rollback_are_those_of_fields_that_were_given_back(world, future):
    pasts_before = {ref: Past(base) for ref, base in world.bases.items()}
    run = apply_to(world)
    back = roll_back(world, run)
    pasts = {ref: Past(None) for ref in world.declared}
    for ref, past in pasts.items():
        past.said = {key: said_by(world.bases[ref], key) for key in KEYS}
        for field in run.touched.get(ref, ()):
            owned = pasts_before[ref].said[field.key][0] in (NULL, ABSENT, VALUE)
            what, value = past.said[field.key]
            if isinstance(field.before, list | dict):
                continue  # no manifest can declare it; that it is pending is told by another law
            assert (what in (NULL, ABSENT, VALUE)) == owned
            assert not owned or same(value, field.before)
            assert owned or what == SILENT
    assert not {outcome.fault for outcome in back.outcomes.values()} - {None}
    for step in future:
        take_step(world, pasts, step)
        assert_as_remembered(world, pasts)


@given(worlds(dialects=told), st.data())
def test_a_field_that_somebody_moved_since_the_run_makes_the_resource_stale(world, data):
    run = apply_to(world)
    refs = [ref for ref in sorted(run.touched) if written(run, ref)]
    assume(refs)
    ref = data.draw(st.sampled_from(refs))
    field = data.draw(st.sampled_from(written(run, ref)))
    world.server.edit(ref, {field.key: data.draw(st.sampled_from(["moved", None, ["moved"], {"deep": 2}]))})
    value = world.server.held[ref].get(field.key)
    blank = world.rules.removals is Removals.BLANK and (value, field.before) in ((None, ""), ("", None))
    assume(not same(value, field.before) and not same(value, field.after) and not blank)
    held, remembered, sent = world.held(), dict(world.bases), len(world.server.posts)
    back = roll_back(world, run)

    assert {change.ref: change.action for change in back.changes}[ref] is Action.FAILED
    assert back.outcomes[ref].status is OutcomeStatus.STALE
    assert back.outcomes[ref].fault.code == "stale"
    assert ref not in {posted for posted, _ in world.server.posts[sent:]}
    assert ref not in back.touched
    assert world.held()[ref] == held[ref]
    assert world.bases[ref] == remembered[ref]


# --- released, protected ----------------------------------------------------------------------------------------------


@given(records(st.just(False)), observed_maps, dialects, removals)
def test_pruning_a_released_resource_takes_away_what_the_base_had_and_nothing_else(base, pairs, dialect, removing):
    behaves, called = dialect
    ref = REFS[0]
    server = Server(behaves, {ref: pairs})
    before = dict(server.held[ref])
    world = World({ref: released_desire(ref, base)}, server, {ref: base}, Rules(called, removing))
    stays = behaves is MERGE and removing is Removals.BLOCK
    apply_to(world)

    for key in KEYS:
        now, was = server.held[ref].get(key), before.get(key)
        if key not in base.metadata or stays:
            assert same(now, was)
        elif behaves is MERGE:
            assert now in (None, "")
        else:
            # Behind a whole map a blank counts as absent, so it may stay.
            assert now is None or (now == was == "" and removing is Removals.BLANK)
    left = {key for key in base.metadata if key in server.held[ref]} if stays else set()
    kept = {key for key in left if server.held[ref][key] != "" or removing is Removals.BLOCK}
    if kept:
        assert world.bases[ref].metadata == {key: base.metadata[key] for key in kept}
    else:
        assert world.bases[ref] is None


@given(records())
def test_a_released_resource_that_is_gone_is_forgotten(base):
    ref, reading = REFS[0], Missing(Fault("missing", "no such id", 404))
    change = judge(released_desire(ref, base), reading, base, Rules(REPLACE))
    assert change.action is Action.KEEP
    assert moved_by([change], [], lambda _ref: base, None) == {ref: None}


@given(records(st.just(True)), observed_maps)
def test_protection_blocks_the_pruning_of_a_released_resource_once(base, pairs):
    ref = REFS[0]
    server = Server(REPLACE, {ref: pairs})
    before = dict(server.held[ref])
    world = World({ref: released_desire(ref, base)}, server, {ref: base}, Rules(REPLACE))
    assume(base.metadata.keys() & before.keys())
    apply_to(world)
    assert world.held()[ref] == before
    assert not world.bases[ref].protect
    apply_to(world)
    assert not world.held()[ref].keys() & base.metadata.keys()
    assert world.bases[ref] is None


@given(worlds(bases=records(st.just(True)), declared=free, dialects=able))
def test_protection_outlives_the_manifest_by_one_apply(world):
    before = world.held()
    shall_go = {
        ref: {key for key, field in world.fields(ref).items() if field.op is Op.REMOVE} for ref in world.declared
    }
    run = apply_to(world)
    assume(OutcomeStatus.FAILED not in {outcome.status for outcome in run.outcomes.values()})
    for ref, names in shall_go.items():
        assert all(same(world.server.held[ref].get(key), before[ref][key]) for key in names)
        assert not world.bases[ref].protect
    apply_to(world)
    for ref, names in shall_go.items():
        assert not names & world.server.held[ref].keys()


@given(worlds(declared=lambda: declarations(protect=st.just(True))), st.lists(steps, max_size=4))
def test_a_protected_resource_loses_no_pair_to_us(world, history):
    for step in history:
        if isinstance(step, GitEdit):
            step = replace(step, desired=replace(step.desired, protect=True))
        before = {ref: set(pairs) for ref, pairs in world.server.held.items()}
        take_step(world, {ref: Past(base) for ref, base in world.bases.items()}, step)
        if isinstance(step, Apply) and not step.meanwhile:
            assert all(before[ref] <= world.server.held[ref].keys() for ref in world.declared)


# --- together with another writer's -----------------------------------------------------------------------------------

maybe = st.none() | records()
declared_records = records().map(lambda base: replace(base, ownership=Ownership.DECLARED, silent=frozenset()))
SILENCE = (SILENT, None)
UNSURE = (UNKNOWN, None)


def rules_of(base):
    return (base.ownership, base.ignore, base.protect)


def alike(origin, one, other):
    """Tell whether at most one of two writers moved ownership, ignored keys or protection."""
    if one is None or other is None:
        return True
    return rules_of(one) == rules_of(other) or (
        origin is not None and rules_of(origin) in (rules_of(one), rules_of(other))
    )


@given(maybe, maybe)
def test_where_one_writer_moved_nothing_the_other_ones_base_counts(origin, moved):
    assert exactly(united(origin, origin, moved).base, moved)
    assert exactly(united(origin, moved, origin).base, moved)
    assert not united(origin, origin, moved).disputed
    assert not united(origin, moved, origin).disputed


@given(maybe, maybe)
def test_writers_who_moved_alike_agree(origin, moved):
    assert exactly(united(origin, moved, moved).base, moved)
    assert not united(origin, moved, moved).disputed


@given(maybe, maybe, maybe)
def test_uniting_again_changes_nothing(origin, ours, theirs):
    once = united(origin, ours, theirs).base
    assert exactly(united(origin, once, theirs).base, once)
    assert exactly(united(theirs, once, theirs).base, once)


@given(maybe, maybe, maybe)
def test_what_nobody_disputes_is_the_same_whoever_comes_last(origin, ours, theirs):
    one, other = united(origin, ours, theirs), united(origin, theirs, ours)
    assert one.disputed == other.disputed
    assume(not one.disputed and alike(origin, ours, theirs))
    assert exactly(one.base, other.base)


def exactly(one, other):
    """Tell whether two bases say the same, true and 1 told apart."""
    if one is None or other is None:
        return one is other
    return one == other and all(same(value, other.metadata[key]) for key, value in one.metadata.items())


@given(records(), records(), records())
def test_every_field_is_ours_where_we_moved_it_and_theirs_where_we_did_not(origin, ours, theirs):
    both = united(origin, ours, theirs)
    assume(alike(origin, ours, theirs))
    for key in KEYS:
        was, our, their = (meaning(base, key) for base in (origin, ours, theirs))
        if UNSURE in (our, their):  # nobody ever verifies that: it gives way to whatever the other one knows
            assert key not in both.disputed
        elif agree(our, was):
            assert agree(meaning(both.base, key), their)
            assert key not in both.disputed
        else:
            assert agree(meaning(both.base, key), our)
            assert (key in both.disputed) == (not agree(their, was) and not agree(our, their))


def meaning(base, key):
    """Return what a base says of a key, the null that it means without naming it like any other."""
    what, value = said_by(base, key)
    return (NULL if what == ABSENT else what), value


def agree(one, other):
    return one[0] == other[0] and same(one[1], other[1])


@given(records())
def test_forgetting_wins_over_nothing_done(origin):
    assert united(origin, None, origin).base is None
    assert united(origin, origin, None).base is None


@given(declared_records, declared_records)
def test_what_we_forgot_stays_forgotten_and_what_others_edited_in_it_is_disputed(origin, edited):
    both = united(origin, None, edited)
    assume(not agree_on_all(origin, edited))
    for key in KEYS:
        was, their, now = meaning(origin, key), meaning(edited, key), meaning(both.base or NOTHING_APPLIED, key)
        if was == SILENCE:
            assert agree(now, SILENCE if their == UNSURE else their)
        else:
            assert now == SILENCE
            assert (key in both.disputed) == (their not in (SILENCE, UNSURE) and not agree(their, was))
    assert (both.base is None) == all(meaning(both.base, key) == SILENCE for key in KEYS if both.base)


@given(declared_records, declared_records)
def test_what_we_edited_stays_where_others_forgot_the_rest_and_is_disputed(origin, edited):
    both = united(origin, edited, None)
    assume(not agree_on_all(origin, edited))
    for key in KEYS:
        was, our, now = meaning(origin, key), meaning(edited, key), meaning(both.base or NOTHING_APPLIED, key)
        assert agree(now, SILENCE if agree(our, was) or our == UNSURE else our)
        assert (key in both.disputed) == (SILENCE not in (was, our) and our != UNSURE and not agree(our, was))


def agree_on_all(one, other):
    return all(agree(meaning(one, key), meaning(other, key)) for key in KEYS)


def test_no_world_of_these_laws_is_larger_than_a_server_takes():
    assert len(KEYS) <= MAX_PAIRS
