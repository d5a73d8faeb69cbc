"""The comparison of one resource, situation by situation: see tests/cases/README.md."""

import hashlib
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from reconciler.calls import calls
from reconciler.compare import Action, Cause, Intent, Rules, Selection, judge, restrict, settle
from reconciler.dialects import DIALECTS, MERGE_EMPTY, PROBE_NULL, Removals
from reconciler.diff import Op
from reconciler.errors import Fault
from reconciler.model import Base, Desired, Missing, Observed, Ownership, Ref, Unread

CASES = sorted((Path(__file__).parent.parent / "cases" / "compare").glob("*.yaml"))
REF = Ref("thread", "thread_1")
RULES = Rules(DIALECTS["replace"])


def load(path):
    return YAML(typ="safe").load(path.read_text(encoding="utf-8"))


def base_of(case):
    told = case.get("base")
    if told is None:
        return None
    return Base(
        told["metadata"],
        Ownership(told.get("ownership", "declared")),
        tuple(told.get("ignore", ())),
        protect=told.get("protect", False),
        unknown=frozenset(told.get("unknown", ())),
    )


def change_of(case):
    desired = Desired(
        REF,
        case["declared"],
        Ownership(case.get("ownership", "declared")),
        tuple(case.get("ignore", ())),
        protect=case.get("protect", False),
    )
    rules = Rules(DIALECTS[case["dialect"]], Removals(case.get("removals", "block")))
    base = base_of(case)
    change = judge(desired, Observed(case["observed"]), base, rules)
    if only := case.get("only"):
        selection = Selection(frozenset(map(Cause, only.get("causes", ()))), frozenset(map(Op, only.get("ops", ()))))
        change = restrict(change, base, selection)
    return change


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_a_change_is_as_the_case_says(path):
    case = load(path)
    change, expected = change_of(case), case["expect"]

    assert change.action == expected["action"]
    assert (change.fault.code if change.fault else None) == expected.get("fault")
    if "fields" in expected:
        shown = {field.key: [field.op, field.before, field.after, field.cause] for field in change.fields}
        assert shown == expected["fields"]
        assert [field.key for field in change.fields] == sorted(expected["fields"])
    assert {field.key: field.blocked.code for field in change.blocked} == expected.get("blocked", {})
    if "foreign" in expected:
        assert list(change.foreign) == expected["foreign"]
    if "planned" in expected:
        assert change.planned == expected["planned"]
    if expected["calls"] is not None:
        sent = [list(call.entries.items()) for call in calls(change)]
        assert [dict(entries) for entries in sent] == expected["calls"]
        assert all(len(entries) <= 16 for entries in sent)


def test_removals_come_first_where_one_call_cannot_carry_all():
    path = next(path for path in CASES if path.stem.startswith("more_than_sixteen"))
    first, second = calls(change_of(load(path)))
    assert list(first.entries.values())[:10] == [None] * 10
    assert None not in second.entries.values()


def test_an_unknown_id_is_missing_and_an_unreadable_one_has_failed():
    desired, rules = Desired(REF, {"plan": "gold"}), Rules(DIALECTS["merge"])
    missing = judge(desired, Missing(Fault("missing", "gone")), None, rules)
    unread = judge(desired, Unread(Fault("timeout", "slow")), None, rules)
    assert (missing.action, unread.action) == (Action.MISSING, Action.FAILED)
    assert missing.foreign == ()


def test_restricting_to_what_is_there_anyway_changes_nothing():
    change = change_of({"declared": {"a": "1"}, "observed": {}, "dialect": "merge"})
    assert restrict(change, None, Selection(ops=frozenset({Op.ADD}))) is change


def test_the_fingerprint_covers_the_decided_keys_and_no_other():
    def fingerprint(observed, ownership="declared", ignore=()):
        return change_of(
            {"declared": {"a": "1"}, "observed": observed, "dialect": "merge", "ownership": ownership, "ignore": ignore}
        ).fingerprint

    assert fingerprint({"a": "0", "x": "1"}) == fingerprint({"a": "0", "x": "2"})
    assert fingerprint({"a": "0"}) != fingerprint({"a": "2"})
    assert fingerprint({"a": "0", "x": "1"}, "exclusive") != fingerprint({"a": "0", "x": "2"}, "exclusive")
    assert fingerprint({"a": "0", "x": "1"}, "exclusive", ["x"]) == fingerprint(
        {"a": "0", "x": "2"}, "exclusive", ["x"]
    )


def test_a_field_names_the_base_that_it_was_held_against():
    case = {"declared": {"a": "1", "b": "2"}, "observed": {}, "dialect": "merge"}
    known = change_of({**case, "base": {"metadata": {"a": "0"}}}).fields
    assert [(field.base.known, field.base.value) for field in known] == [(True, "0"), (True, None)]
    assert not change_of(case).fields[0].base.known


def test_the_fingerprint_is_that_of_plain_json_with_sorted_keys_and_without_spaces():
    change = change_of(
        {"declared": {"b": "1", "a": None}, "observed": {"b": "é", "x": "1", "a": 2}, "dialect": "merge"}
    )
    assert change.fingerprint == "sha256:" + hashlib.sha256(b'{"a":2,"b":"\\u00e9"}').hexdigest()
    unread = judge(change.desired, Unread(Fault("timeout", "slow")), None, change.rules)
    assert unread.fingerprint == "sha256:" + hashlib.sha256(b"{}").hexdigest()


def test_a_missing_resource_is_told_without_the_request_that_showed_it():
    desired, rules = Desired(REF, {"a": "1"}, protect=True), Rules(DIALECTS["merge"])
    change = judge(desired, Missing(Fault("missing", "gone", 404, "req_1")), Base({"b": "1"}), rules)
    assert change.fault == Fault("missing", "gone", 404)
    assert (change.desired, change.rules, change.intent) == (desired, rules, settle(desired, Base({"b": "1"})))
    assert (change.observed, change.planned, change.fields) == (None, None, ())


def test_an_unread_resource_is_told_with_its_fault_as_it_was():
    desired, rules = Desired(REF, {"a": "1"}), Rules(DIALECTS["merge"])
    fault = Fault("timeout", "slow", None, "req_1")
    change = judge(desired, Unread(fault), Base({"b": "1"}), rules)
    assert change.fault == fault
    assert (change.desired, change.rules, change.intent) == (desired, rules, settle(desired, Base({"b": "1"})))


def test_a_released_resource_that_is_gone_has_nothing_left_to_prune():
    change = judge(Desired(REF, {}, released=True), Missing(Fault("missing", "gone")), Base({"a": "1"}), RULES)
    assert (change.action, change.observed, change.planned, change.fields) == (Action.KEEP, {}, {}, ())


def test_the_intent_is_what_is_declared_and_what_only_the_base_mentions_as_absent():
    desired = Desired(REF, {"a": "1", "b": None}, Ownership.EXCLUSIVE, ("run.*",))
    assert settle(desired, None) == Intent({"a": "1", "b": None}, exclusive=True, ignore=("run.*",))
    base = Base({"a": "0", "run.x": "1", "old": "1", "none": None}, protect=True)
    assert settle(desired, base) == Intent(
        {"a": "1", "b": None, "old": None, "none": None}, exclusive=True, ignore=("run.*",), protect=True
    )
    assert settle(Desired(REF, {}, protect=True), None) == Intent({}, protect=True)


def test_keys_that_are_left_alone_are_foreign_to_the_intent_and_to_nobody_in_the_plan():
    intent = settle(Desired(REF, {"a": "1", "b": "1"}, Ownership.EXCLUSIVE), None).without(frozenset("bx"))
    assert intent == Intent({"a": "1"}, exclusive=True, left=frozenset("bx"))
    assert intent.without(frozenset("c")).left == frozenset("bcx")
    assert intent.foreign("yxba") == ("b", "x")
    case = {"declared": {"a": "1"}, "observed": {"a": "0", "y": "1", "x": "1"}, "dialect": "merge"}
    change = change_of(case | {"only": {"ops": ["remove"]}})
    assert change.intent.left == {"a"}
    assert change.foreign == ("x", "y")


def test_an_answer_without_metadata_is_told_with_the_setting_that_would_help():
    change = change_of({"declared": {"a": "1"}, "observed": None, "dialect": "auto"})
    assert (change.desired, change.rules) == (Desired(REF, {"a": "1"}), Rules(DIALECTS["auto"]))
    assert change.intent == Intent({"a": "1"})
    assert change.fault == Fault(
        "no_metadata",
        "the answer has no metadata, and a write under `auto` could wipe what it hides; if this server just leaves out "
        "an empty map, say how it updates, such as `writes: {thread: merge-null}`",
    )


def test_too_many_pairs_are_told_with_whose_they_are():
    observed = {f"x{number:02}": "1" for number in range(15)}
    case = {"declared": {"a": "1", "b": "2"}, "observed": observed, "dialect": "replace"}
    assert change_of(case).fault == Fault(
        "too_many_pairs",
        "the write would leave 17 pairs (2 of the manifest, 15 foreign); at most 16 are allowed",
    )


@pytest.mark.parametrize(
    ("dialect", "number", "declared", "fails"),
    [
        ("merge", 17, {"x00": "2"}, False),
        ("replace", 17, {"x00": "2"}, True),
        ("replace", 17, {"x00": None}, False),
        ("merge-null", 18, {"x00": None}, False),
        ("replace", 18, {"x00": None}, True),
        ("merge", 15, {"a": "1"}, False),
        ("merge", 16, {"a": "1"}, True),
        ("merge-null", 17, {"a": "1", "x00": None}, False),
        ("replace", 17, {"x00": "1"}, False),
    ],
)
def test_the_limit_bounds_what_rises_and_what_is_sent(dialect, number, declared, fails):
    observed = {f"x{index:02}": "1" for index in range(number)}
    change = change_of({"declared": declared, "observed": observed, "dialect": dialect})
    assert (change.action is Action.FAILED) == fails
    assert (change.fault is not None) == fails


@pytest.mark.parametrize(
    ("case", "code", "words"),
    [
        (
            {"declared": {"a": None}, "observed": {"a": "1"}, "dialect": "replace", "protect": True},
            "protected",
            "the resource is protected; an apply without `protect: true` frees the next one",
        ),
        (
            {"declared": {"a": None}, "observed": {"a": "1"}, "dialect": "merge"},
            "unremovable",
            "this API cannot remove a key; `removals: blank` would write an empty value",
        ),
        (
            {"declared": {"a": ""}, "observed": {"a": "1"}, "dialect": "merge-empty"},
            "empty_unsupported",
            "this API removes a key that is sent empty, so it cannot store an empty value",
        ),
    ],
)
def test_a_field_says_in_words_what_blocks_it(case, code, words):
    change = change_of(case)
    assert [(field.blocked.code, field.blocked.message) for field in change.blocked] == [(code, words)]
    assert change.writable == ()
    assert change.planned == case["observed"]


def test_only_that_restricts_nothing_of_what_could_be_read_leaves_a_failure_as_it_was():
    unread = judge(Desired(REF, {"a": "1"}), Unread(Fault("timeout", "slow")), None, RULES)
    assert restrict(unread, None, Selection(ops=frozenset({Op.ADD}))) is unread


@pytest.mark.parametrize(
    ("selection", "keys"),
    [
        (Selection(), ["a", "b"]),
        (Selection(ops=frozenset({Op.ADD})), ["a"]),
        (Selection(causes=frozenset({Cause.DRIFT})), ["b"]),
        (Selection(frozenset({Cause.DRIFT}), frozenset({Op.ADD})), []),
        (Selection(frozenset({Cause.PENDING}), frozenset({Op.ADD})), ["a"]),
    ],
    ids=["nothing named", "an op", "a cause", "both, of different fields", "both, of one"],
)
def test_only_selects_fields_of_a_named_cause_and_of_a_named_op(selection, keys):
    desired, base = Desired(REF, {"a": "1", "b": "1"}), Base({"b": "1"})
    change = restrict(judge(desired, Observed({"b": "0"}), base, RULES), base, selection)
    assert [field.key for field in change.fields] == keys


def test_a_blank_is_absent_only_where_removals_are_blanked_and_nothing_is_wanted():
    blanking = Rules(PROBE_NULL, Removals.BLANK)
    assert judge(Desired(REF, {"a": None}), Observed({"a": ""}), None, blanking).action is Action.KEEP
    assert judge(Desired(REF, {"a": None}), Observed({"a": ""}), None, Rules(PROBE_NULL)).action is Action.UPDATE
    assert judge(Desired(REF, {"a": "1"}), Observed({"a": ""}), None, blanking).fields[0].op is Op.REPLACE
    assert judge(Desired(REF, {"a": "1"}), Observed({}), None, Rules(MERGE_EMPTY)).fields[0].op is Op.ADD


def test_a_blank_that_we_left_ourselves_is_no_drift():
    desired, base = Desired(REF, {"a": "1"}), Base({"a": None})
    blanked = judge(desired, Observed({"a": ""}), base, Rules(DIALECTS["merge"], Removals.BLANK))
    assert [field.cause for field in blanked.fields] == [Cause.PENDING]
    blocked = judge(desired, Observed({"a": ""}), base, Rules(DIALECTS["merge"]))
    assert [field.cause for field in blocked.fields] == [Cause.CONFLICT]
