"""The document as text, part by part: its bytes, what comes back of it, and the words of every refusal."""

import hashlib
import json

import pytest

from reconciler import planfile
from reconciler.compare import Action, BaseField, Blocked, Cause, FieldChange, Intent, Rules, judge, restrict
from reconciler.compare import Selection as Only
from reconciler.dialects import MERGE, MERGE_NULL, REPLACE, Removals
from reconciler.diff import Op
from reconciler.document import (
    AcceptedPart,
    CommitPart,
    Document,
    Identity,
    OutcomePart,
    SparedPart,
    TargetPart,
    agreeing_parts,
    plan_parts,
)
from reconciler.errors import Fault, InvalidInput, Location
from reconciler.events import OutcomeStatus
from reconciler.guard import Scale
from reconciler.model import Base, Desired, Missing, Observed, Ownership, Ref, Unread
from reconciler.plan import Plan
from reconciler.planfile import (
    agreeing_of,
    base_of,
    changes_of,
    check_kind,
    check_target,
    desired_of,
    digest,
    dumps,
    loads,
    scale,
)

THREAD = Ref("thread", "t")
A_PLAN = "name a file that `reconciler plan --out json=FILE` wrote"
DESIRED = Desired(
    THREAD,
    {"a": "1", "b": None, "same": "1"},
    Ownership.EXCLUSIVE,
    ("run.*",),
    location=Location("m.yaml", 3, 5),
    sources={"a": Location("m.yaml", 4, 7), "same": Location("m.yaml", 5, 7)},
)
OBSERVED = {"a": "0", "b": "0", "same": "1", "run.x": "9", "stranger": "8"}
BASE = Base({"a": "0", "old": "1"}, Ownership.EXCLUSIVE, protect=True, unknown=frozenset({"b"}))


def merging(kind):
    return Rules(MERGE_NULL)


def saved(*changes, **parts):
    """Return the document of a plan with these changes."""
    return Document(**{"kind": "plan", **plan_parts(Plan(tuple(changes)), len(changes), keeps=True), **parts})


def change(desired=DESIRED, reading=None, base=None, rules=None):
    return judge(desired, reading or Observed(OBSERVED), base, rules or Rules(MERGE_NULL))


def refusal(run):
    """Return the code and the words of what a call refuses, which has to name the file."""
    with pytest.raises(InvalidInput) as caught:
        run()
    (problem,) = caught.value.found
    assert problem.location == Location("plan.json", 1, 1)
    return problem.code, problem.message


def resealed(content):
    return json.dumps(content | {"digest": digest(content)})


# --- bytes


def test_the_text_is_indented_by_two_and_ends_in_a_newline():
    lines = dumps(Document(kind="plan")).split("\n")
    assert lines[0] == "{"
    assert lines[1].startswith('  "format_version": "')
    assert '  "target": {' in lines
    assert '    "name": null,' in lines
    assert lines[-2:] == ["}", ""]


def test_the_digest_is_that_of_plain_json_with_sorted_keys_and_without_spaces_or_digest():
    expected = hashlib.sha256(b'{"a":[1,2],"b":"\\u00e9"}').hexdigest()
    assert digest({"b": "é", "a": [1, 2]}) == f"sha256:{expected}"
    assert digest({"digest": "x", "a": [1, 2], "b": "é"}) == f"sha256:{expected}"
    assert json.loads(dumps(Document(kind="plan")))["digest"] == digest(json.loads(dumps(Document(kind="plan"))))


SOMETIMES = {
    "outcomes": (OutcomePart(kind="thread", id="t", outcome=OutcomeStatus.APPLIED),),
    "learned": {"thread": "merge"},
    "agreeing": agreeing_parts([change()]),
    "whole": True,
    "record": "c0ffee",
    "offline": True,
    "now": "2026-01-01",
    "undoes": "run",
    "spared": (SparedPart(kind="thread", id="t", keys=("a",)),),
    "masked": True,
}


@pytest.mark.parametrize("part", SOMETIMES)
def test_what_belongs_to_some_runs_is_left_out_of_the_others(part):
    assert part not in json.loads(dumps(Document(kind="plan")))
    document = Document(kind="plan", **{part: SOMETIMES[part]})
    assert part in json.loads(dumps(document))
    assert loads(dumps(document), "plan.json") == document


def test_that_an_apply_has_no_outcomes_is_told_and_every_other_empty_part_stays():
    content = json.loads(dumps(Document(kind="apply", outcomes=())))
    assert content["outcomes"] == []
    assert content["errors"] == content["notes"] == content["changes"] == content["released"] == []
    assert content["left"] == 0


def test_what_belongs_to_some_changes_fields_and_outcomes_is_left_out_of_the_others():
    unread = change(Desired(Ref("thread", "u"), {}), Unread(Fault("timeout", "slow")))
    plain = saved(change(), unread)
    fields = [
        plain.changes[0].fields[0].model_copy(update=told)
        for told in (
            {"blame": CommitPart(commit="c")},
            {"origin": CommitPart(commit="c")},
            {"accepted": AcceptedPart(reason="known")},
            {},
        )
    ]
    outcomes = tuple(
        OutcomePart(kind="thread", id=name, outcome=OutcomeStatus.APPLIED, lost=lost)
        for name, lost in (("t", {"x": "9"}), ("u", None))
    )
    told = plain.model_copy(
        update={
            "changes": (plain.changes[0].model_copy(update={"fields": tuple(fields)}), plain.changes[1]),
            "outcomes": outcomes,
        }
    )
    content = json.loads(dumps(told))
    assert [("error" in each) for each in content["changes"]] == [False, True]
    shown = content["changes"][0]["fields"]
    assert [{"blame", "origin", "accepted"} & each.keys() for each in shown] == [
        {"blame"},
        {"origin"},
        {"accepted"},
        set(),
    ]
    assert [("lost" in each) for each in content["outcomes"]] == [True, False]
    assert content["outcomes"][1]["error"] is None


# --- what comes back


@pytest.mark.parametrize(
    ("desired", "base", "only"),
    [
        (DESIRED, None, None),
        (DESIRED, BASE, None),
        (DESIRED, BASE, Only(ops=frozenset({Op.REPLACE}))),
        (Desired(THREAD, {"a": "1"}, protect=True), None, None),
        (Desired(THREAD, {"b": None}, protect=True), BASE, None),
        (Desired(THREAD, {}, ignore=("x",), released=True), Base({"a": "0"}), None),
        (Desired(THREAD, {"same": "1"}), None, None),
    ],
    ids=["exclusive", "with a base", "only", "protected", "blocked", "released", "kept"],
)
def test_a_change_comes_back_as_it_was(desired, base, only):
    original = change(desired, base=base)
    if only:
        original = restrict(original, base, only)
    (back,) = changes_of(loads(dumps(saved(original)), "plan.json"), merging, "plan.json")
    sources = {field.key: field.source for field in original.fields if field.source}
    assert back.desired.sources == sources
    assert (back.action, back.rules, back.intent) == (original.action, original.rules, original.intent)
    assert (back.observed, back.planned, back.fields) == (original.observed, original.planned, original.fields)
    for name in ("ref", "metadata", "ownership", "ignore", "protect", "released", "location"):
        assert getattr(back.desired, name) == getattr(desired, name), name


def test_a_field_comes_back_with_all_that_is_known_of_it():
    (back,) = changes_of(saved(change(base=BASE)), merging, "plan.json")
    replaced, removed, stranger = back.fields
    assert replaced == FieldChange(
        "a", Op.REPLACE, "0", "1", Cause.PENDING, BaseField(known=True, value="0"), None, Location("m.yaml", 4, 7)
    )
    assert (removed.cause, removed.base) == (Cause.UNATTRIBUTED, BaseField(known=False))
    message = "the resource is protected; an apply without `protect: true` frees the next one"
    assert removed.blocked == Blocked("protected", message)
    assert (stranger.cause, stranger.source) == (Cause.DRIFT, None)


def test_maps_that_come_back_are_read_only():
    (back,) = changes_of(saved(change()), merging, "plan.json")
    for pairs in (back.observed, back.planned, back.desired.metadata, back.intent.demands):
        with pytest.raises(TypeError):
            pairs["a"] = "2"


def test_what_was_missing_or_failed_comes_back_with_its_cause():
    gone = change(Desired(Ref("thread", "m"), {}), Missing(Fault("missing", "gone", 404)))
    full = change(Desired(Ref("thread", "n"), {"a": "1"}), Observed({f"k{n}": "1" for n in range(16)}))
    unread = change(Desired(Ref("thread", "u"), {}), Unread(Fault("timeout", "slow")))
    missing, failed, other = changes_of(saved(gone, full, unread), merging, "plan.json")
    assert (missing.action, missing.fault, missing.observed) == (Action.MISSING, Fault("missing", "gone"), None)
    assert (failed.action, failed.fault, failed.planned) == (Action.FAILED, full.fault, full.planned)
    assert (other.action, other.fault, other.planned) == (Action.FAILED, Fault("timeout", "slow"), None)


def test_a_change_that_is_restored_asks_for_the_rules_of_its_own_kind():
    conversation = change(Desired(Ref("conversation", "c"), {"a": "1"}), rules=Rules(REPLACE))
    rules = {"thread": Rules(MERGE_NULL), "conversation": Rules(REPLACE, Removals.BLANK)}
    first, second = changes_of(saved(conversation, change()), rules.__getitem__, "plan.json")
    assert (first.rules, second.rules) == (rules["conversation"], rules["thread"])


def test_what_was_declared_comes_back_with_its_places():
    (part,) = saved(change()).changes
    back = desired_of(part)
    assert back.location == Location("m.yaml", 3, 5)
    assert back.sources == {"a": Location("m.yaml", 4, 7)}
    assert back.metadata == DESIRED.metadata
    (bare,) = saved(change(Desired(THREAD, {"a": "1"}))).changes
    assert (desired_of(bare).location, desired_of(bare).sources) == (None, {})


def test_of_the_base_the_fields_that_differ_come_back():
    (part,) = saved(change(base=BASE)).changes
    assert base_of(part) == Base({"a": "0"}, ignore=("run.*",), protect=True, unknown=frozenset({"b"}))
    (part,) = saved(change(Desired(THREAD, {"a": "1"}))).changes
    assert base_of(part) == Base({}, unknown=frozenset({"a"}))


def test_resources_to_remember_come_back_where_their_kind_and_id_are_known():
    kept = change(Desired(THREAD, {"same": "1"}, ignore=("run.*",), protect=True), base=Base({"old": "1"}))
    document = saved(agreeing=agreeing_parts([kept]))
    (back,) = agreeing_of(document, {"thread": Rules(MERGE_NULL)}.__getitem__)
    assert (back.action, back.rules) == (Action.KEEP, Rules(MERGE_NULL))
    assert back.desired == Desired(THREAD, {"same": "1"}, ignore=("run.*",), protect=True)
    assert back.intent == kept.intent
    for unknown in ({"kind": "poem"}, {"id": "../x"}):
        strange = tuple(part.model_copy(update=unknown) for part in document.agreeing)
        assert agreeing_of(document.model_copy(update={"agreeing": strange}), merging) == ()


def test_what_was_pruned_is_asked_for_as_absent_and_what_is_left_is_not_asked_for():
    original = restrict(change(base=BASE), BASE, Only(causes=frozenset({Cause.PENDING})))
    (back,) = changes_of(saved(original), merging, "plan.json")
    assert back.intent == Intent(
        {"a": "1", "same": "1", "old": None},
        exclusive=True,
        ignore=("run.*",),
        left=frozenset({"b", "stranger"}),
        protect=True,
    )


def test_the_guards_get_what_the_plan_looked_at():
    unread = change(Desired(Ref("thread", "u"), {}), Unread(Fault("timeout", "slow")))
    assert scale(saved(change(), change(Desired(Ref("thread", "v"), {})), unread)) == Scale(read=2, pairs=10)


# --- what is refused


@pytest.mark.parametrize("cut", ["format_version", "digest"])
def test_a_document_without_its_version_or_digest_is_refused(cut):
    content = json.loads(dumps(saved()))
    del content[cut]
    text = resealed(content) if cut != "digest" else json.dumps(content)
    words = f"this is no plan file: it has no format_version and digest; {A_PLAN}"
    assert refusal(lambda: loads(text, "plan.json")) == ("not_a_plan", words)


@pytest.mark.parametrize("text", ["[]", '"format_version digest"', '["format_version", "digest"]', "3", "null"])
def test_json_that_is_no_object_is_refused(text):
    words = f"this is no plan file: it has no format_version and digest; {A_PLAN}"
    assert refusal(lambda: loads(text, "plan.json")) == ("not_a_plan", words)


def test_text_that_is_no_json_is_refused_with_the_place():
    words = "this is no plan file: Expecting value: line 2 column 1 (char 1)"
    assert refusal(lambda: loads("\nplan", "plan.json")) == ("not_json", words)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[" * 100_000, "it is nested too deeply"),
        ("9" * 401, "a number of 401 digits is no number that JSON has"),
        ("1e999", "1e999 is no number that JSON has"),
        ("NaN", "NaN is no number that JSON has"),
        ('{"a": 1, "b": 2, "c": 3, "b": 4}', "the name b stands twice in one place"),
    ],
    ids=["deep", "long", "infinite", "none", "twice"],
)
def test_json_that_readers_may_take_differently_is_refused_in_words(text, words):
    assert refusal(lambda: loads(text, "plan.json")) == ("not_json", f"this is no plan file: {words}")


@pytest.mark.parametrize("text", ["9" * 400, "1.5", "-1e300", '{"a": 1, "b": {"a": 1}}'])
def test_json_that_everybody_reads_alike_is_refused_only_for_what_it_lacks(text):
    assert refusal(lambda: loads(text, "plan.json"))[0] == "not_a_plan"


@pytest.mark.parametrize(("limit", "measure"), [("MAX_TEXT", len), ("MAX_PARTS", lambda text: text.count(","))])
def test_a_text_up_to_the_limit_is_read_and_a_larger_one_is_not(monkeypatch, limit, measure):
    text = dumps(saved(change()))
    monkeypatch.setattr(planfile, limit, measure(text))
    assert loads(text, "plan.json").kind == "plan"
    monkeypatch.setattr(planfile, limit, measure(text) - 1)
    words = "this is no plan file: it is larger than any plan; plan less at a time (--select, --shard)"
    assert refusal(lambda: loads(text, "plan.json")) == ("not_json", words)


def test_an_edited_document_is_refused_with_advice():
    text = dumps(saved()).replace('"left": 0', '"left": 1')
    words = "the plan file was edited or cut: its digest does not fit; plan again"
    assert refusal(lambda: loads(text, "plan.json")) == ("damaged", words)


def test_another_major_version_is_refused_and_a_later_minor_one_is_not():
    content = json.loads(dumps(saved()))
    words = "the plan file has format 2.0.1, this version reads 1.x; plan again with this version"
    told = refusal(lambda: loads(resealed(content | {"format_version": "2.0.1"}), "plan.json"))
    assert told == ("format_version", words)
    words = "the plan file has format of no name, this version reads 1.x; plan again with this version"
    told = refusal(lambda: loads(resealed(content | {"format_version": 1}), "plan.json"))
    assert told == ("format_version", words)
    assert loads(resealed(content | {"format_version": "1.0.1"}), "plan.json").format_version == "1.0.1"


def test_a_part_of_the_wrong_shape_is_named():
    content = json.loads(dumps(saved(change())))
    content["changes"][0]["fields"][0]["key"] = 7
    code, words = refusal(lambda: loads(resealed(content), "plan.json"))
    assert (code, words) == (
        "not_a_plan",
        f"this is no plan file: changes.0.fields.0.key: Value error, must be a string; {A_PLAN}",
    )


@pytest.mark.parametrize("kind", ["apply", "drift", "validate"])
def test_the_document_of_another_run_is_refused_by_name(kind):
    words = f"this is the document of a run of `{kind}`, no plan; plan again"
    assert refusal(lambda: check_kind(Document(kind=kind), "plan.json")) == ("not_a_plan", words)


def test_a_plan_that_nobody_looked_for_or_that_hides_values_is_refused():
    assert check_kind(Document(kind="plan"), "plan.json") == Document(kind="plan")
    code, words = refusal(lambda: check_kind(Document(kind="plan", offline=True), "plan.json"))
    assert code == "offline_plan"
    assert words == "this plan was made offline, from git alone: nobody looked at what is there; plan again"
    code, words = refusal(lambda: check_kind(Document(kind="plan", masked=True), "plan.json"))
    assert code == "masked_plan"
    assert words == (
        "values are masked in this plan (`mask` in the settings), so it is for viewing: plan again without the mask, "
        "or let apply make its own plan"
    )


def test_a_plan_for_another_target_is_refused_with_both_names():
    here = Document(kind="plan", target=TargetPart(name="a"), identity=Identity(project="p"))
    check_target(here, here, "plan.json")
    other = here.model_copy(update={"target": TargetPart(name="b")})
    words = "the plan was made for a target whose name is b; here it is a"
    assert refusal(lambda: check_target(other, here, "plan.json")) == ("other_target", words)
    other = here.model_copy(update={"identity": Identity(project="q")})
    words = "the plan was made for a target whose project is q; here it is p"
    assert refusal(lambda: check_target(other, here, "plan.json")) == ("other_target", words)
    words = "the plan was made for a target whose project is q; here it is not set"
    here = here.model_copy(update={"identity": Identity()})
    assert refusal(lambda: check_target(other, here, "plan.json")) == ("other_target", words)


def altered(rules=merging, **update):
    """Carry a change back of which some parts were altered."""
    (part,) = saved(change()).changes
    document = saved().model_copy(update={"changes": (part.model_copy(update=update),)})
    return lambda: changes_of(document, rules, "plan.json")


UNDECLARABLE = saved(change()).changes[0].declared.model_copy(update={"metadata": {"a": ["1"], "b": "2"}})


@pytest.mark.parametrize(
    ("run", "code", "words"),
    [
        (altered(kind="poem"), "unknown_kind", ("the plan names the kind", "poem", "; plan again with this one")),
        (altered(id="../x"), "bad_id", ("the plan names the thread", "../x", "which is no id; plan again")),
        (
            altered(declared=UNDECLARABLE),
            "not_a_plan",
            ("the plan declares a value for thread/t that no manifest can declare; plan again",),
        ),
        (
            altered(lambda _kind: Rules(MERGE)),
            "other_dialect",
            ("thread was planned as `merge-null`, the settings now say `merge`; plan again",),
        ),
        (
            altered(planned={"a": "2"}),
            "not_a_plan",
            ("the plan contradicts itself about thread/t; plan again",),
        ),
    ],
    ids=["kind", "id", "value", "dialect", "contradiction"],
)
def test_a_change_that_cannot_be_carried_back_is_refused_in_words(run, code, words):
    told = refusal(run)
    assert told[0] == code
    assert told[1].startswith(words[0])
    assert told[1].endswith(words[-1])
    assert all(part in told[1] for part in words)


def test_a_resource_that_is_named_twice_or_was_never_come_to_is_refused_in_words():
    twice = saved(change(), change())
    words = "the plan names a resource twice; plan again"
    assert refusal(lambda: changes_of(twice, merging, "plan.json")) == ("not_a_plan", words)
    unread = change(reading=Unread(Fault("not_attempted", "stopped")))
    words = "the plan was broken off before it came to thread/t; plan again"
    assert refusal(lambda: changes_of(saved(unread), merging, "plan.json")) == ("not_a_plan", words)


def test_the_order_of_pairs_is_no_contradiction_and_true_for_one_is():
    (part,) = saved(change(Desired(THREAD, {"a": 1}), Observed({"x": 1, "y": 2}))).changes
    turned = part.model_copy(update={"planned": {"y": 2, "x": 1, "a": 1}})
    (back,) = changes_of(saved().model_copy(update={"changes": (turned,)}), merging, "plan.json")
    assert back.planned == {"x": 1, "y": 2, "a": 1}
    lied = part.model_copy(update={"planned": {"x": True, "y": 2, "a": 1}})
    told = refusal(lambda: changes_of(saved().model_copy(update={"changes": (lied,)}), merging, "plan.json"))
    assert told == ("not_a_plan", "the plan contradicts itself about thread/t; plan again")


def test_a_block_that_would_not_be_there_is_a_contradiction():
    (part,) = saved(change(base=BASE)).changes
    freed = tuple(field.model_copy(update={"blocked": None}) for field in part.fields)
    told = refusal(
        lambda: changes_of(
            saved().model_copy(update={"changes": (part.model_copy(update={"fields": freed}),)}), merging, "plan.json"
        )
    )
    assert told[1] == "the plan contradicts itself about thread/t; plan again"
