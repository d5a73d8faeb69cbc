"""The comparison of one resource, situation by situation: see tests/cases/README.md."""

from pathlib import Path

import pytest
from ruamel.yaml import YAML

from reconciler.calls import calls
from reconciler.compare import Action, Cause, Rules, Selection, judge, restrict
from reconciler.dialects import DIALECTS, Removals
from reconciler.diff import Op
from reconciler.errors import Fault
from reconciler.model import Base, Desired, Missing, Observed, Ownership, Ref, Unread

CASES = sorted((Path(__file__).parent.parent / "cases" / "compare").glob("*.yaml"))
REF = Ref("thread", "thread_1")


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
