"""Documents of shards made one: equal to what one run writes, and refused where they are of none."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.compare import Action, Rules, Selection
from reconciler.dialects import MERGE
from reconciler.diff import Op
from reconciler.document import (
    BasePart,
    Document,
    Finding,
    Head,
    OutcomePart,
    Reason,
    ReleasedPart,
    RememberedPart,
    Requests,
    ShardPart,
    SummaryPart,
    TargetPart,
    agreeing_parts,
    plan_parts,
)
from reconciler.errors import PRECEDENCE, ExitCode, Fault, InvalidInput, worst
from reconciler.events import OutcomeStatus
from reconciler.masks import masked
from reconciler.merging import merge
from reconciler.model import Base, Desired, Missing, Observed, Ref, Unread
from reconciler.plan import make_plan
from reconciler.planfile import dumps, loads
from reconciler.shards import Shard

TARGET = TargetPart(name="test", provider="openai", base_url="http://127.0.0.1/v1")
FOUND = {"same": Observed({"a": "1"}), "other": Observed({"a": "0", "b": "2"}), "more": Observed({"a": "1", "c": "3"})}
READINGS = {**FOUND, "gone": Missing(Fault("missing", "no such id")), "slow": Unread(Fault("timeout", "too slow"))}


def finding(change):
    return Finding(code=change.fault.code, message=f"{change.ref}: {change.fault}")


def planned(readings, released, shard=None, only=None):
    """Return the document of a plan over what falls to a shard, as the command puts it together."""
    mine = {ref: reading for ref, reading in readings.items() if shard is None or shard.has(ref)}
    left = {ref: base for ref, base in released.items() if shard is None or shard.has(ref)}
    desired = [Desired(ref, {"a": "1"}) for ref in mine]
    plan = make_plan(desired, mine, lambda _: Rules(MERGE), released=left, only=only)
    wrong = [change for change in plan.changes if change.fault is not None]
    wrong.sort(key=lambda change: change.action is Action.MISSING)
    code = ExitCode.ERROR if wrong else ExitCode.DONE
    return Document(
        kind="plan",
        target=TARGET,
        head=Head(commit="c1", dirty=False),
        base=BasePart(revision="refs/reconciler/test", commit="c0"),
        **plan_parts(plan, len(mine), keeps=False),
        agreeing=agreeing_parts(change for change in plan.changes if change.action is Action.KEEP),
        whole=True,
        record="c2",
        shard=shard and ShardPart(index=shard.index, count=shard.count),
        exit_code=code,
        notes=(Reason(code="no_git", message="this is no git repository"),),
        errors=tuple(map(finding, wrong)),
    )


def of(index, count=2, **parts):
    """Return an empty document of a shard."""
    return Document(**{"kind": "plan", "target": TARGET, "shard": ShardPart(index=index, count=count), **parts})


def refusals(*documents):
    """Return what is said of documents that are named `1.json`, `2.json` and so on."""
    with pytest.raises(InvalidInput) as caught:
        merge(named(*documents))
    assert all(problem.location and problem.location.line == 1 for problem in caught.value.found)
    return [f"{problem.location.file}: {problem.message}" for problem in caught.value.found]


def named(*documents):
    return {f"{number}.json": document for number, document in enumerate(documents, 1)}


# --- the law ----------------------------------------------------------------------------------------------------------

REFS = st.builds(Ref, st.sampled_from(["thread", "conversation"]), st.from_regex(r"[a-z]{1,6}", fullmatch=True))


@given(
    readings=st.dictionaries(REFS, st.sampled_from(sorted(READINGS)).map(READINGS.get), max_size=20),
    released=st.sets(REFS, max_size=5),
    count=st.integers(1, 7),
    order=st.randoms(use_true_random=False),
    only=st.sampled_from([None, Selection(ops=frozenset({Op.ADD}))]),
)
def test_the_merged_plans_of_all_shards_are_the_plan_of_one_run_byte_for_byte(readings, released, count, order, only):
    gone = {ref: Base({"a": "1"}, commit="c0") for ref in released if ref not in readings}
    one = planned(readings, gone, only=only)
    shards = [planned(readings, gone, Shard(index, count), only=only) for index in range(1, count + 1)]
    order.shuffle(shards)
    files = [loads(dumps(shard), "shard.json") for shard in shards]
    merged = merge(named(*files))
    assert dumps(merged) == dumps(one)


@given(codes=st.lists(st.sampled_from(PRECEDENCE), min_size=1, max_size=5))
def test_the_exit_code_is_the_one_that_counts_of_all_shards(codes):
    shards = [of(index, len(codes), exit_code=code) for index, code in enumerate(codes, 1)]
    assert merge(named(*shards)).exit_code == worst(codes)


# --- do they belong together ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("theirs", "told"),
    [
        ({"kind": "drift"}, "kind is drift, that of 1.json is plan"),
        ({"tool_version": "9.9"}, "tool version is 9.9, that of 1.json is 0.1.0"),
        ({"target": TargetPart(name="x")}, "target (name) is x, that of 1.json is test"),
        ({"head": Head(commit="c2")}, "head (commit) is c2, that of 1.json is not set"),
        ({"head": Head(dirty=True)}, "head (dirty) is True, that of 1.json is not set"),
        ({"base": BasePart(revision="main")}, "base (revision) is main, that of 1.json is not set"),
        ({"record": "c3"}, "record is c3, that of 1.json is not set"),
        ({"offline": True}, "offline is True, that of 1.json is False"),
        ({"now": "2026-11-22"}, "now is 2026-11-22, that of 1.json is not set"),
        ({"undoes": "run"}, "undoes is run, that of 1.json is not set"),
        ({"shard": ShardPart(index=2, count=3)}, "number of shards is 3, that of 1.json is 2"),
        (
            {"shard": ShardPart(index=2, count=2, asked=("--select a*", "--prune"))},
            "selection is --select a* --prune, that of 1.json is everything",
        ),
    ],
)
def test_documents_that_are_not_of_one_run_are_refused_with_what_differs(theirs, told):
    version = {"tool_version": "0.1.0"}
    (said,) = refusals(of(1, **version), of(2, **{**version, **theirs}))
    assert said == f"2.json: this document's {told}: they are not of one run"


def test_every_disagreement_is_told():
    said = refusals(of(1), of(2, 3, kind="drift", head=Head(commit="c9")))
    assert [line.split(" is ")[0] for line in said] == [
        "2.json: this document's kind",
        "2.json: this document's head (commit)",
        "2.json: this document's number of shards",
    ]


def test_a_document_of_another_format_is_refused_because_parts_of_it_would_be_lost():
    (said,) = refusals(of(1), of(2, format_version="1.9"))
    assert said == (
        "2.json: this document has format 1.9, and this version merges 1.0: merge with the version that wrote it"
    )


@pytest.mark.parametrize("first", [True, False])
def test_a_document_of_no_shard_beside_one_of_a_shard_is_refused(first):
    one, other = of(1), of(1, shard=None)
    said = refusals(one, other) if first else refusals(other, one)
    whole, part = ("2.json", "1.json") if first else ("1.json", "2.json")
    assert said == [f"{whole}: this document is of no shard, and {part} is of one"]


def test_a_shard_beyond_the_last_one_is_refused():
    assert refusals(of(3)) == ["1.json: this document is of shard 3/2, which there cannot be"]


def test_two_documents_of_one_shard_are_refused_with_both_names():
    assert refusals(of(2), of(1), of(2)) == ["3.json: this document is of shard 2/2, and so is 1.json"]


@pytest.mark.parametrize("part", ["agreeing", "released", "outcomes"])
def test_a_resource_that_is_in_two_documents_is_refused_with_both_names(part):
    declared = {"metadata": {}, "ownership": "declared", "ignore": (), "protect": False}
    entries = {
        "agreeing": [RememberedPart(kind="thread", id=own, declared=declared) for own in "ab"],
        "released": [ReleasedPart(kind="thread", id=own, keys=()) for own in "ab"],
        "outcomes": [OutcomePart(kind="thread", id=own, outcome=OutcomeStatus.APPLIED) for own in "ab"],
    }[part]
    one, two = of(1, **{part: tuple(entries)}), of(2, **{part: tuple(reversed(entries))})
    assert refusals(one, two) == ["2.json: thread/a and 1 more is in this document, and in 1.json as well"]
    two = of(2, **{part: (entries[1],)})
    assert refusals(one, two) == ["2.json: thread/b is in this document, and in 1.json as well"]


def test_runs_over_everything_have_nothing_to_merge():
    said = refusals(of(1, shard=None), of(1, shard=None, whole=True))
    assert said == ["2.json: this document is of a run over everything, so that there is nothing to merge"]


# --- runs that ended early --------------------------------------------------------------------------------------------


def test_a_shard_that_failed_before_it_came_to_a_target_is_told_beside_the_others():
    failed = Document(
        kind="plan",
        shard=ShardPart(index=1, count=2),
        exit_code=ExitCode.INVALID,
        errors=(Finding(code="bad_setting", message="no such target"),),
    )
    fine = of(2, head=Head(commit="c1"), base=BasePart(revision="main"), record="c3", whole=True)
    merged = merge(named(failed, fine))
    assert (merged.target, merged.head, merged.base) == (fine.target, fine.head, fine.base)
    assert (merged.record, merged.exit_code, merged.whole) == ("c3", ExitCode.INVALID, False)
    assert [error.code for error in merged.errors] == ["bad_setting"]


def test_a_shard_that_looked_and_failed_then_speaks_of_everything():
    errors = (Finding(code="timeout", message="thread/a: slow"),)
    one = of(1, errors=errors, summary=SummaryPart(resources=1, failed=1))
    (said,) = refusals(of(2, offline=True), one)
    assert "offline is False, that of 1.json is True" in said


def test_what_all_shards_say_is_said_once():
    wrong = (Finding(code="bad_value", message="m.yaml is wrong"),)
    shards = [of(index, 3, target=TargetPart(), errors=wrong, exit_code=ExitCode.INVALID) for index in (1, 2, 3)]
    merged = merge(named(*shards))
    assert (merged.errors, merged.exit_code, merged.target) == (wrong, ExitCode.INVALID, TargetPart())


def test_missing_shards_are_an_error_of_the_merged_document():
    merged = merge(named(of(2, 4, whole=True)))
    assert (merged.exit_code, merged.whole, merged.shard) == (ExitCode.ERROR, False, None)
    (error,) = merged.errors
    assert error.code == "shard_missing"
    assert error.message == "no document of the shards 1/4, 3/4, 4/4: nothing is known of what falls to them"


def test_a_missing_shard_counts_for_more_than_differences_and_less_than_a_refusal():
    assert merge(named(of(1, exit_code=ExitCode.DIFFERENCES))).exit_code == ExitCode.ERROR
    assert merge(named(of(1, exit_code=ExitCode.REFUSED))).exit_code == ExitCode.REFUSED


def test_of_many_missing_shards_some_are_named():
    (error,) = merge(named(of(1, 13))).errors
    assert error.message.startswith("no document of the shards 2/13, ")
    assert "11/13 and 2 more: nothing is known of what falls to them" in error.message
    (error,) = merge(named(of(1))).errors
    assert error.message == "no document of the shard 2/2: nothing is known of what falls to it"


def test_errors_are_told_in_the_order_of_one_run():
    def failing(index, *words):
        changes = [change for word in words for change in CHANGES.get(word, ())]
        errors = [ERRORS[word] for word in words]
        return of(index, 3, changes=tuple(changes), errors=tuple(errors), summary=SummaryPart(resources=9))

    merged = merge(
        named(
            failing(1, "refused", "c", "a missing", "late"), failing(2, "b", "b missing", "cut"), failing(3, "refused")
        )
    )
    assert [error.message for error in merged.errors] == [
        "refused", "thread/b: too slow", "thread/c: too slow", "thread/a1: no such id", "thread/b1: no such id",
        "late", "the run was interrupted",
    ]  # fmt: skip


def broken(own, reading):
    desired = Desired(Ref("thread", own), {"a": "1"})
    plan = make_plan([desired], {desired.ref: reading}, lambda _: Rules(MERGE))
    return plan_parts(plan, 1, keeps=False)["changes"]


CHANGES = {
    "b": broken("b", READINGS["slow"]),
    "c": broken("c", READINGS["slow"]),
    "a missing": broken("a1", READINGS["gone"]),
    "b missing": broken("b1", READINGS["gone"]),
}
ERRORS = {
    "refused": Finding(code="unauthorized", message="refused"),
    "b": Finding(code="timeout", message="thread/b: too slow"),
    "c": Finding(code="timeout", message="thread/c: too slow"),
    "a missing": Finding(code="missing", message="thread/a1: no such id"),
    "b missing": Finding(code="missing", message="thread/b1: no such id"),
    "late": Finding(code="not_pushed", message="late"),
    "cut": Finding(code="interrupted", message="the run was interrupted"),
}


def test_notes_on_resources_come_last_those_of_one_code_together():
    def noting(index, *notes):
        return of(index, notes=tuple(Reason(code=code, message=message) for code, message in notes))

    one = noting(1, ("no_git", "no git"), ("expired", "thread/c: old"), ("missing", "thread/a: gone"))
    two = noting(2, ("no_git", "no git"), ("unfinished", "a run"), ("expired", "thread/b: old"))
    assert [note.message for note in merge(named(one, two)).notes] == [
        "no git", "a run", "thread/b: old", "thread/c: old", "thread/a: gone",
    ]  # fmt: skip


def test_errors_without_an_exit_code_are_no_success():
    errors = (Finding(code="timeout", message="slow"),)
    assert merge(named(of(1, shard=None, errors=errors))).exit_code == ExitCode.ERROR
    assert merge(named(of(1, shard=None, exit_code=99))).exit_code == ExitCode.ERROR


# --- applies, drift, validations --------------------------------------------------------------------------------------


def test_outcomes_requests_and_what_was_learned_are_those_of_all_shards():
    def applied(index, own, **parts):
        outcomes = (OutcomePart(kind="thread", id=own, outcome=OutcomeStatus.APPLIED, requests=Requests(reads=1)),)
        requests = Requests(reads=2, writes=1)
        return of(index, kind="apply", outcomes=outcomes, requests=requests, **parts)

    merged = merge(named(applied(1, "b", learned={"thread": "replace"}), applied(2, "a", learned={})))
    assert [outcome.id for outcome in merged.outcomes] == ["a", "b"]
    assert merged.requests == Requests(reads=4, writes=2)
    assert merged.learned == {"thread": "replace"}
    assert merge(named(of(1, kind="apply", outcomes=()), of(2, kind="apply"))).outcomes == ()


def test_what_shards_learned_differently_is_told_and_left_out():
    one, two = (of(index, kind="apply", learned={"thread": name}) for index, name in ((1, "replace"), (2, "merge")))
    merged = merge(named(one, two))
    assert merged.learned == {}
    assert [(note.code, note.message) for note in merged.notes] == [
        ("learned_differently", "shards learned different things of how a thread is updated: merge, replace")
    ]


@pytest.mark.parametrize(
    ("one", "two", "merged"),
    [
        (BasePart(revision="r", commit="c"), BasePart(revision="r", commit="c"), BasePart(revision="r", commit="c")),
        (BasePart(revision="r", commit="c"), BasePart(revision="r", commit="d"), BasePart(revision="r")),
        (BasePart(), BasePart(revision="r", commit="d"), BasePart()),
    ],
)
def test_applies_one_after_the_other_have_in_common_what_all_of_them_say_of_the_base(one, two, merged):
    documents = [of(index, kind="apply", base=base, record=str(base)) for index, base in ((1, one), (2, two))]
    found = merge(named(*documents))
    assert found.base == merged
    assert found.record == (str(one) if one == two else None)


def test_looks_for_drift_rely_on_the_base_and_not_on_the_record():
    one, two = of(1, kind="drift", record="a"), of(2, kind="drift", record="b")
    assert merge(named(one, two)).record is None
    (said,) = refusals(one, of(2, kind="drift", base=BasePart(commit="c")))
    assert "base (commit)" in said


def test_documents_without_a_shard_merge_where_they_have_nothing_in_common():
    shares = [of(1, shard=None, kind="validate", summary=SummaryPart(resources=count)) for count in (2, 3)]
    merged = merge(named(*shares))
    assert (merged.summary.resources, merged.whole, merged.errors) == (5, False, ())


def test_one_whole_document_is_what_it_was():
    one = planned({Ref("thread", "a"): FOUND["other"]}, {})
    assert dumps(merge(named(one))) == dumps(one)


def test_masked_documents_merge_to_a_masked_one():
    readings = {Ref("thread", own): FOUND["other"] for own in "abcdef"}
    shards = [masked(planned(readings, {}, Shard(index, 2)), ("a",)) for index in (1, 2)]
    merged = merge(named(*shards))
    assert merged.masked
    assert dumps(merged) == dumps(masked(planned(readings, {}), ("a",)))
    assert merge(named(of(1, masked=True), of(2))).masked


def test_a_part_of_a_document_that_names_its_shard_survives_the_file():
    document = of(2, 4, exit_code=ExitCode.DIFFERENCES)
    content = json.loads(dumps(document))
    assert content["shard"] == {"index": 2, "count": 4, "asked": []}
    assert content["exit_code"] == 2
    assert loads(dumps(document), "x.json") == document
    plain = json.loads(dumps(of(1, shard=None)))
    assert "shard" not in plain
    assert "exit_code" not in plain
