"""Values that nobody is shown: in no part of a document, and in no sentence."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler import planfile
from reconciler.bases import Touched
from reconciler.document import (
    AcceptedPart,
    BaseFieldPart,
    ChangePart,
    Declared,
    Document,
    FieldPart,
    Finding,
    OutcomePart,
    Reason,
    RememberedPart,
)
from reconciler.errors import InvalidInput
from reconciler.masks import MASKED, masked, masked_base, masked_run
from reconciler.model import Base, Ref
from reconciler.runs import Run

SECRET = "hush\n4711"


def field(key: str, before: object, after: object, base: object = None, words: str = "") -> FieldPart:
    return FieldPart(
        key=key,
        op="replace",
        before=before,
        after=after,
        cause="drift",
        base=BaseFieldPart(known=True, value=base),
        blocked=Reason(code="protected", message=words) if words else None,
        accepted=AcceptedPart(reason=words) if words else None,
    )


def declared(**metadata: object) -> Declared:
    return Declared(metadata=metadata, ownership="declared", ignore=(), protect=False)


def change(fields: tuple[FieldPart, ...] = (), error: str = "", **observed: object) -> ChangePart:
    return ChangePart(
        kind="thread",
        id="thread_1",
        action="update",
        dialect="merge",
        source=None,
        observed=observed,
        planned={**observed, "token": f"{SECRET} planned"},
        foreign=(),
        fields=fields,
        fingerprint="sha256:x",
        error=Reason(code="x", message=error) if error else None,
        declared=declared(token=f"{SECRET} declared", plan="gold"),
    )


def whole(words: str = "") -> Document:
    hit = field("token", f"{SECRET} before", f"{SECRET} after", f"{SECRET} base", words)
    return Document(
        kind="apply",
        changes=(change((hit, field("plan", None, "gold")), words, token=f"{SECRET} before", other=1),),
        outcomes=(
            OutcomePart(
                kind="thread",
                id="thread_1",
                outcome="failed",
                error=Reason(code="x", message=words),
                lost={"token": f"{SECRET} lost", "b": "c"},
            ),
        ),
        agreeing=(RememberedPart(kind="thread", id="thread_2", declared=declared(token=f"{SECRET} agreed")),),
        notes=(Reason(code="x", message=words),),
        errors=(Finding(code="x", message=words),),
    )


def test_every_value_of_a_masked_key_is_hidden_and_no_other():
    document = masked(whole(), ("tok*",))
    text = planfile.dumps(document)
    assert "4711" not in text
    assert document.masked
    shown = document.changes[0]
    assert (shown.observed, shown.planned) == ({"token": MASKED, "other": 1}, {"token": MASKED, "other": 1})
    assert (shown.fields[0].before, shown.fields[0].after, shown.fields[0].base.value) == (MASKED, MASKED, MASKED)
    assert shown.declared.metadata == {"token": MASKED, "plan": "gold"}
    assert shown.fingerprint is None
    assert shown.fields[1] == field("plan", None, "gold")
    assert document.outcomes[0].lost == {"token": MASKED, "b": "c"}
    assert document.agreeing[0].declared.metadata == {"token": MASKED}


FORMS = (lambda text: text, lambda text: json.dumps(text), repr, lambda text: json.dumps(text)[1:20] + "…")


@pytest.mark.parametrize("form", FORMS)
def test_no_sentence_tells_a_masked_value(form):
    text = planfile.dumps(masked(whole(f"a {form(f'{SECRET} before')} b"), ("token",)))
    assert "4711" not in text
    assert "a ***" in text or 'a \\"***' in text or "a '***" in text


def test_null_stays_null_and_changes_without_a_masked_value_keep_their_fingerprint():
    before = Document(
        kind="plan",
        changes=(
            change((field("token", None, "value"),)),
            change((field("plan", "a", "b"),)).model_copy(update={"planned": {}, "declared": declared(plan="b")}),
        ),
    )
    after = masked(before, ("token",))
    assert after.changes[0].fields[0].before is None
    assert after.changes[0].fields[0].base.value is None
    assert after.changes[1] == before.changes[1]


def test_a_document_without_masked_values_is_the_same_one():
    document = Document(kind="plan", changes=(change((field("plan", "a", "b"),)),))
    assert masked(document, ()) is document
    assert masked(document, ("nothing",)) is document


def test_short_values_are_not_looked_for_in_sentences():
    one = change((field("token", "abc", "abcd"),)).model_copy(update={"planned": {}, "declared": declared()})
    document = masked(
        Document(kind="plan", changes=(one,), notes=(Reason(code="x", message="abc abcd abcde"),)), ("token",)
    )
    assert document.notes[0].message == "abc *** ***e"


def test_values_that_are_no_strings_are_masked_too():
    one = change((field("token", 12345, True),)).model_copy(
        update={"planned": None, "observed": None, "declared": declared()}
    )
    document = masked(
        Document(kind="plan", changes=(one,), errors=(Finding(code="x", message="got 12345"),)), ("token",)
    )
    assert (document.changes[0].fields[0].before, document.errors[0].message) == (MASKED, "got ***")
    assert document.changes[0].observed is None


@given(st.dictionaries(st.text(max_size=4), st.text(min_size=4)), st.text())
def test_no_masked_value_of_any_kind_is_left(pairs, words):
    values = [value for value in pairs.values() if value != MASKED]
    words = words + "".join(values)
    one = change().model_copy(update={"observed": pairs, "planned": {}, "declared": declared()})
    document = masked(Document(kind="plan", changes=(one,), notes=(Reason(code="x", message=words),)), ("*",))
    assert set(document.changes[0].observed.values()) <= {MASKED}
    assert all(value not in document.notes[0].message or set(value) <= {"*"} for value in values if len(value) > 3)


def test_runs_and_bases_are_masked():
    ref = Ref("thread", "t")
    run = Run(
        "r",
        "apply",
        "now",
        "me",
        None,
        None,
        "1",
        touched={ref: (Touched("token", None, "v", True), Touched("b", 1, 2, True))},
    )
    assert masked_run(run, ("token",)).touched[ref] == (Touched("token", None, MASKED, True), Touched("b", 1, 2, True))
    assert masked_run(run, ()) is run
    assert masked_base(Base({"token": "v", "x": None, "b": "c"}), ("token", "x")).metadata == {
        "token": MASKED,
        "x": None,
        "b": "c",
    }


def test_a_masked_plan_is_not_carried_out():
    with pytest.raises(InvalidInput, match="values are masked in this plan") as refused:
        planfile.check_kind(Document(kind="plan", masked=True), "plan.json")
    assert refused.value.found[0].code == "masked_plan"


@pytest.mark.parametrize("code", ["not_a_string", "not_a_scalar", "bad_value"])
def test_what_is_wrong_with_a_value_is_told_without_the_value(code):
    findings = (Finding(code=code, message="4711 is a YAML number"), Finding(code="bad_id", message="4711 is no id"))
    document = Document(kind="validate", errors=findings)
    first, second = masked(document, ("pin",)).errors
    assert "4711" not in first.message
    assert "put it in quotes" in first.message
    assert second == findings[1]
    assert masked(document, ()) is document
