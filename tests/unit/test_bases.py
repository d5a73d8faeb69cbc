"""How the base of a resource moves: on, back, and together with another writer's."""

import pytest

from reconciler.bases import Touched, United, advanced, open_keys, restored, united, unverified
from reconciler.compare import Cause, Rules, judge
from reconciler.dialects import MERGE, MERGE_NULL, REPLACE, Removals
from reconciler.ledger.records import dump_bases, load_bases
from reconciler.model import NOTHING_APPLIED, Base, Desired, Observed, Ownership, Ref

REF = Ref("thread", "thread_1")
EXCLUSIVE = Ownership.EXCLUSIVE


def desired(metadata=None, **rules):
    return Desired(REF, metadata or {}, **rules)


def base(metadata=None, *, unknown=(), silent=(), **rules):
    return Base(metadata or {}, unknown=frozenset(unknown), silent=frozenset(silent), **rules)


def exclusive(metadata=None, **rules):
    return base(metadata, ownership=EXCLUSIVE, **rules)


def exactly(one, other):
    """Tell whether two bases say the same, true and 1 told apart."""
    return one == other and all(type(value) is type(other.metadata[key]) for key, value in one.metadata.items())


# --- what is open -----------------------------------------------------------------------------------------------------

OPEN = {
    "a declared key with another value is open": (desired({"a": "1"}), {"a": "2"}, None, Removals.BLOCK, {"a"}),
    "a declared key that is absent is open": (desired({"a": "1"}), {}, None, Removals.BLOCK, {"a"}),
    "a declared key that is as declared is not": (desired({"a": "1"}), {"a": "1"}, None, Removals.BLOCK, set()),
    "a key that shall not exist and does is open": (desired({"a": None}), {"a": "1"}, None, Removals.BLOCK, {"a"}),
    "a key that only the base has is open": (desired(), {"a": "1"}, base({"a": "1"}), Removals.BLOCK, {"a"}),
    "a foreign key is not": (desired(), {"a": "1"}, base(), Removals.BLOCK, set()),
    "a stranger is open under exclusive": (desired(ownership=EXCLUSIVE), {"a": "1"}, None, Removals.BLOCK, {"a"}),
    "an ignored key is not": (desired(ownership=EXCLUSIVE, ignore=("a",)), {"a": "1"}, None, Removals.BLOCK, set()),
    "a blank is open where removals are blocked": (desired({"a": None}), {"a": ""}, None, Removals.BLOCK, {"a"}),
    "a blank counts as absent where removals are blanked": (
        desired({"a": None}),
        {"a": ""},
        None,
        Removals.BLANK,
        set(),
    ),
}


@pytest.mark.parametrize(("declared", "seen", "known", "removals", "expected"), OPEN.values(), ids=OPEN)
def test_open_are_the_fields_that_differ_from_what_is_asked_for(declared, seen, known, removals, expected):
    assert open_keys(declared, seen, known, Rules(MERGE, removals)) == expected


# --- on with an apply -------------------------------------------------------------------------------------------------

ADVANCED = {
    "what was verified is as declared": (None, desired({"a": "1", "b": None}), {}, base({"a": "1", "b": None})),
    "what was verified replaces what was known": (base({"a": "0"}), desired({"a": "1"}), {}, base({"a": "1"})),
    "a key that git dropped and that is gone is silent": (base({"a": "0"}), desired(), {}, base()),
    "a key that git dropped and that is still there keeps its base": (
        base({"a": "0"}),
        desired(),
        {"a"},
        base({"a": "0"}),
    ),
    "an open field keeps its value": (base({"a": "0"}), desired({"a": "1"}), {"a"}, base({"a": "0"})),
    "an open field keeps its null": (base({"a": None}), desired({"a": "1"}), {"a"}, base({"a": None})),
    "an open field that was silent stays silent": (base(), desired({"a": "1"}), {"a"}, base()),
    "an open field of an unknown base is unknown": (None, desired({"a": "1"}), {"a"}, base(unknown="a")),
    "an open field that was unknown stays unknown": (base(unknown="a"), desired({"a": "1"}), {"a"}, base(unknown="a")),
    "an unknown field that was verified is known": (base(unknown="a"), desired({"a": "1"}), {}, base({"a": "1"})),
    "an unknown field that git does not ask for is silent": (base(unknown="a"), desired(), {}, base()),
    "an open stranger that was silent is named under exclusive": (
        base(),
        desired(ownership=EXCLUSIVE),
        {"a"},
        exclusive(silent="a"),
    ),
    "an open stranger of an unknown base is unknown under exclusive": (
        None,
        desired(ownership=EXCLUSIVE),
        {"a"},
        exclusive(unknown="a"),
    ),
    "a named silence ends where the field was verified": (
        exclusive(silent="a"),
        desired(ownership=EXCLUSIVE),
        {},
        exclusive(),
    ),
    "a named silence need not be named any more once only declared keys are ours": (
        exclusive(silent="a"),
        desired({"a": "1"}),
        {"a"},
        base(),
    ),
    "a null that was meant is named once only declared keys are ours": (
        exclusive(),
        desired({"a": "1"}),
        {"a"},
        base({"a": None}),
    ),
    "ownership, ignored keys and protection are those of the manifest": (
        base(protect=True),
        desired(ownership=EXCLUSIVE, ignore=("run.*",)),
        {},
        exclusive(ignore=("run.*",)),
    ),
    "protection begins with the manifest's": (None, desired(protect=True), {}, base(protect=True)),
    "a true that was 1 has moved": (base({"a": 1}), desired({"a": True}), {}, base({"a": True})),
}


@pytest.mark.parametrize(("known", "declared", "still_open", "expected"), ADVANCED.values(), ids=ADVANCED)
def test_a_look_moves_the_base_of_what_it_verified(known, declared, still_open, expected):
    assert exactly(advanced(known, declared, still_open), expected)


def test_a_stranger_that_could_not_be_removed_is_not_named_by_a_base_that_means_it_anyway():
    kept = advanced(exclusive(), desired(ownership=EXCLUSIVE), {"seen"})
    assert kept == exclusive()


def test_a_stranger_that_could_not_be_removed_is_foreign_once_git_owns_only_what_it_declares():
    kept = advanced(exclusive(), desired(ownership=EXCLUSIVE), {"seen"})
    change = judge(desired(), Observed({"seen": "yesterday"}), kept, Rules(REPLACE))
    assert change.fields == ()
    assert change.foreign == ("seen",)


def test_a_base_that_moved_names_the_commit_and_one_that_did_not_keeps_its_own():
    before = base({"a": "1"}, commit="first")
    assert advanced(before, desired({"a": "1"}), (), "second") is before
    assert advanced(before, desired({"a": "2"}), (), "second").commit == "second"
    assert advanced(None, desired({"a": "1"}), (), "second").commit == "second"


def test_nothing_is_known_of_the_fields_of_a_resource_that_the_first_apply_did_not_come_to():
    left = unverified(desired({"a": "1", "b": None}, ignore=("run.*",), protect=True))
    assert left == base(unknown="ab", ignore=("run.*",), protect=True)


# --- back with a rollback ---------------------------------------------------------------------------------------------

OURS, NOT_OURS = True, False
RESTORED = {
    "what was ours has its old value": (base({"a": "1"}), [Touched("a", "0", "1", OURS)], base({"a": "0"})),
    "what was ours and absent is null": (base({"a": "1"}), [Touched("a", None, "1", OURS)], base({"a": None})),
    "what was ours and went is ours again": (base(), [Touched("a", "0", None, OURS)], base({"a": "0"})),
    "what was not ours is silent again": (base({"a": "1"}), [Touched("a", None, "1", NOT_OURS)], base()),
    "what was not ours is named as silent under exclusive": (
        exclusive({"a": "1"}),
        [Touched("a", "0", "1", NOT_OURS)],
        exclusive(silent="a"),
    ),
    "what is ignored need not be named": (
        exclusive(ignore=("run.*",)),
        [Touched("run.a", "0", "1", NOT_OURS)],
        exclusive(ignore=("run.*",)),
    ),
    "what was silent and is ours again is silent no more": (
        exclusive(silent="a"),
        [Touched("a", "0", "1", OURS)],
        exclusive({"a": "0"}),
    ),
    "what was unknown is known": (base(unknown="ab"), [Touched("a", "0", "1", OURS)], base({"a": "0"}, unknown="b")),
    "what was unknown and not ours is silent": (base(unknown="a"), [Touched("a", "0", "1", NOT_OURS)], base()),
    "other fields stay as they are": (
        base({"a": "1", "b": "2"}),
        [Touched("a", "0", "1", OURS)],
        base({"a": "0", "b": "2"}),
    ),
    "a resource without a base gets one": (None, [Touched("a", "0", "1", OURS)], base({"a": "0"})),
    "ownership, ignored keys and protection stay": (
        exclusive({"a": "1"}, protect=True),
        [Touched("a", "0", "1", OURS)],
        exclusive({"a": "0"}, protect=True),
    ),
}


@pytest.mark.parametrize(("known", "touched", "expected"), RESTORED.values(), ids=RESTORED)
def test_a_rollback_gives_back_the_base_of_what_it_gave_back(known, touched, expected):
    assert restored(known, touched) == expected


def test_what_a_rollback_gave_back_is_not_of_the_commit_that_was_turned_back():
    assert restored(base({"a": "1"}, commit="first"), [Touched("a", "0", "1", OURS)]).commit is None


def test_a_null_that_an_exclusive_base_means_anyway_is_not_named_by_a_rollback():
    assert restored(exclusive({"a": "1"}), [Touched("a", None, "1", OURS)]) == exclusive()


@pytest.mark.parametrize("before", [["x"], {"deep": 1}], ids=["a list", "an object"])
def test_a_ledger_can_be_read_after_a_drift_to_what_no_manifest_declares_was_given_back(before):
    back = restored(base({"a": "1"}), [Touched("a", before, "1", OURS)])
    assert load_bases(dump_bases({REF: back})) == {REF: back}


# --- together with another writer's -----------------------------------------------------------------------------------

ORIGIN = base({"a": "1", "b": "1"})
UNITED = {
    "nobody moved": (ORIGIN, ORIGIN, ORIGIN, ORIGIN, set()),
    "only we moved": (ORIGIN, base({"a": "2", "b": "1"}), ORIGIN, base({"a": "2", "b": "1"}), set()),
    "only they moved": (ORIGIN, ORIGIN, base({"a": "2", "b": "1"}), base({"a": "2", "b": "1"}), set()),
    "both moved alike": (ORIGIN, base({"a": "2"}), base({"a": "2"}), base({"a": "2"}), set()),
    "each moved another field": (
        ORIGIN,
        base({"a": "2", "b": "1"}),
        base({"a": "1", "b": "2"}),
        base({"a": "2", "b": "2"}),
        set(),
    ),
    "one field alike and another not": (
        ORIGIN,
        base({"a": "2", "b": "2"}),
        base({"a": "2", "b": "1", "c": "1"}),
        base({"a": "2", "b": "2", "c": "1"}),
        set(),
    ),
    "ours wins where both moved": (
        ORIGIN,
        base({"a": "2", "b": "1"}),
        base({"a": "3", "b": "1"}),
        base({"a": "2", "b": "1"}),
        {"a"},
    ),
    "we dropped what they moved": (ORIGIN, base({"b": "1"}), base({"a": "3", "b": "1"}), base({"b": "1"}), {"a"}),
    "we verified what was unknown": (
        base(unknown="ab"),
        base({"a": "1"}, unknown="b"),
        base({"b": "1"}, unknown="a"),
        base({"a": "1", "b": "1"}),
        set(),
    ),
    "silence is named as it was by whoever named it": (
        exclusive(silent="ab"),
        exclusive(silent="a"),
        exclusive({"c": "1"}, silent="ab"),
        exclusive({"c": "1"}, silent="a"),
        set(),
    ),
    "their ownership counts where we left it": (
        ORIGIN,
        base({"a": "2", "b": "1"}),
        exclusive({"a": "1", "b": "1"}, protect=True),
        exclusive({"a": "2", "b": "1"}, protect=True),
        set(),
    ),
    "our ownership counts where we moved it": (
        ORIGIN,
        exclusive({"a": "1", "b": "1"}),
        base({"a": "2", "b": "1"}, protect=True),
        exclusive({"a": "2", "b": "1"}),
        set(),
    ),
    "two first records": (None, base({"a": "1"}), base({"b": "1"}), base({"a": "1", "b": "1"}), set()),
    "two first records that differ": (None, base({"a": "1"}), base({"a": "2"}), base({"a": "1"}), {"a"}),
    "we forgot, they did nothing": (ORIGIN, None, ORIGIN, None, set()),
    "they forgot, we did nothing": (ORIGIN, ORIGIN, None, None, set()),
    "both forgot": (ORIGIN, None, None, None, set()),
    "we forgot what they edited": (ORIGIN, None, base({"a": "2", "b": "1"}), None, {"a"}),
    "we forgot, they added a field": (ORIGIN, None, base({"a": "1", "b": "1", "c": "1"}), base({"c": "1"}), set()),
    "they forgot what we edited": (ORIGIN, base({"a": "2", "b": "1"}), None, base({"a": "2"}), {"a"}),
    "we recorded first what is silent": (None, base(), base({"a": "1"}), base({"a": "1"}), set()),
    "we moved 1 to true": (base({"a": 1}), base({"a": True}), base({"a": 1}), base({"a": True}), set()),
    "they moved 1 to true": (base({"a": 1}), base({"a": 1}), base({"a": True}), base({"a": True}), set()),
    "we say true, they say 1": (base({"a": 0}), base({"a": True}), base({"a": 1}), base({"a": True}), {"a"}),
    "we left silent what they applied, though it had to be named": (
        base(),
        exclusive(silent="a"),
        base({"a": "1"}),
        exclusive({"a": "1"}),
        set(),
    ),
    "we verified as absent what they applied, though it need not be named": (
        base(),
        exclusive(),
        base({"a": "1"}),
        exclusive(),
        {"a"},
    ),
}


@pytest.mark.parametrize(("origin", "ours", "theirs", "expected", "disputed"), UNITED.values(), ids=UNITED)
def test_two_writers_bases_are_laid_over_each_other(origin, ours, theirs, expected, disputed):
    both = united(origin, ours, theirs)
    assert both == United(expected, frozenset(disputed))
    assert expected is None or exactly(both.base, expected)


def test_a_base_of_two_writers_names_our_commit():
    both = united(ORIGIN, base({"a": "2", "b": "1"}, commit="ours"), base({"a": "1", "b": "2"}, commit="theirs"))
    assert both.base.commit == "ours"


def test_a_field_that_was_pending_and_one_that_drifted_are_told_apart_after_others_recorded():
    ours = advanced(ORIGIN, desired({"a": "2", "b": "1"}), ())
    theirs = advanced(ORIGIN, desired({"a": "1", "b": "2"}), ())
    both = united(ORIGIN, ours, theirs).base
    change = judge(desired({"a": "3", "b": "2"}), Observed({"a": "2", "b": "9"}), both, Rules(MERGE_NULL))
    assert {field.key: field.cause for field in change.fields} == {"a": Cause.PENDING, "b": Cause.DRIFT}


def test_a_resource_that_never_was_applied_is_silent_on_every_field():
    change = judge(desired({"a": "1"}), Observed({"a": "0"}), NOTHING_APPLIED, Rules(MERGE))
    assert [field.cause for field in change.fields] == [Cause.PENDING]
