"""The document as a JUnit report: XML that CI services read, one test case for each resource.

There is no official schema; this keeps to what GitLab, Jenkins and Azure Pipelines have in common: one suite, test
cases with at most one `failure`, `error` or `skipped`, and no times, because the document has none. A change that a
plan makes is no failure: its test case passes and says what will be done.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, TypeAlias

from reconciler.compare import Action
from reconciler.events import OutcomeStatus
from reconciler.render.rows import (
    became,
    clipped,
    errors_by_subject,
    headline,
    key,
    line,
    only_warned_of,
    path,
    sentence,
    spot,
    subject,
)
from reconciler.render.wording import is_missing
from reconciler.words import plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from reconciler.document import ChangePart, Document, Finding, OutcomePart, Place
    from reconciler.render import Room

_SUMMARY = 300
"""Characters of the attribute that a list of failures shows; the text below it has all."""
_LONGEST = 10_000


@dataclass(frozen=True, slots=True)
class _Case:
    """One test case; `verdict` is the element that tells how it went, and nothing where it passed."""

    group: str
    name: str
    place: Place | None = None
    verdict: str = ""
    code: str = ""
    reasons: tuple[str, ...] = ()
    lines: tuple[str, ...] = ()


def render(document: Document, _room: Room) -> str:
    """Return the report; a document about nothing has one test case, that of the run, because some readers need one."""
    cases = [*_of_resources(document), *_of_errors(document)] or [_of_the_run(document)]
    counts = Counter(case.verdict for case in cases)
    numbers = {
        "tests": len(cases),
        "failures": counts["failure"],
        "errors": counts["error"],
        "skipped": counts["skipped"],
    }
    suite = " ".join(f'{name}="{number}"' for name, number in numbers.items())
    title = f"reconciler {document.kind} {document.target.name or ''}".strip()
    title += f" {document.shard.shard}" if document.shard else ""
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f'<testsuites name="reconciler" {suite}>',
        f'  <testsuite name="{_attribute(title)}" {suite}>',
        *(line for case in cases for line in _element(case, document)),
        f"    <system-out>{_text(_about(document))}</system-out>",
        "  </testsuite>",
        "</testsuites>",
    ]
    return "".join(f"{each}\n" for each in lines)


def _about(document: Document) -> list[str]:
    notes = [f"note: {note.message}" for note in document.notes]
    return [f"{headline(document)}.", f"Exit code {document.exit_code}.", *notes]


# --- which cases there are --------------------------------------------------------------------------------------------


def _of_the_run(document: Document) -> _Case:
    return _Case("reconciler", document.kind, lines=(headline(document),))


def _of_resources(document: Document) -> Iterator[_Case]:
    known = {subject(change) for change in document.changes}
    blamed = errors_by_subject(document, known)
    outcomes = {subject(outcome): outcome for outcome in document.outcomes or ()}
    for change in document.changes:
        about = subject(change)
        judged = _judged(change, outcomes.pop(about, None), blamed.get(about, ()), document)
        lines = tuple(sentence(field, document) for field in change.fields)
        yield _Case(change.kind, about, change.source, *judged, lines)
    for about, outcome in outcomes.items():
        yield _Case(outcome.kind, about, None, *_of_outcome(outcome, document))


_Judged: TypeAlias = tuple[str, str, tuple[str, ...]]
"""A verdict, the code for it, and why."""
_PASSED: _Judged = ("", "", ())


def _judged(change: ChangePart, outcome: OutcomePart | None, errors: Sequence[str], document: Document) -> _Judged:
    """Return how a resource did: that it differs is a failure of a drift report only."""
    if errors:
        code = change.error.code if change.error else "error"
        return ("failure" if is_missing(change) else "error"), code, tuple(errors)
    if outcome is not None:
        return _of_outcome(outcome, document)
    if change.error is not None and change.action in (Action.MISSING, Action.FAILED):
        return _unusable(change, document), change.error.code, (change.error.message,)
    if document.kind == "drift":
        return _of_drift(change, document)
    blocked = tuple(f"{key(field.key)}: {field.blocked.message}" for field in change.fields if field.blocked)
    if blocked:
        return "failure", "blocked", blocked
    if document.kind == "apply" and change.fields:
        return "skipped", "not_applied", ("nothing was written",)
    return _PASSED


def _unusable(change: ChangePart, document: Document) -> str:
    """Return the verdict on a resource that is missing or could not be read, and that no error names."""
    if document.kind == "drift" and change.action is Action.MISSING:
        return "failure"  # it was there once
    return "skipped" if is_missing(change) else "error"


def _of_drift(change: ChangePart, document: Document) -> _Judged:
    alarming = tuple(sentence(field, document) for field in change.fields if not field.accepted)
    return ("failure", "drift", alarming) if alarming else _PASSED


def _of_outcome(outcome: OutcomePart, document: Document) -> _Judged:
    if outcome.outcome is OutcomeStatus.APPLIED:
        return _PASSED
    return ("skipped" if only_warned_of(outcome, document) else "failure"), str(outcome.outcome), (became(outcome),)


def _of_errors(document: Document) -> Iterator[_Case]:
    """Yield a case for each error that is of no resource: in a validation, one for each problem of a file."""
    known = errors_by_subject(document, {subject(change) for change in document.changes})
    told = {message for messages in known.values() for message in messages}
    names: Counter[str] = Counter()
    for error in document.errors:
        if error.message not in told:
            yield _of_error(error, document, names)


def _of_error(error: Finding, document: Document, names: Counter[str]) -> _Case:
    """Return the case of an error; of several by the same name, readers would show one."""
    file = (path(document, error.source) or error.source.file) if error.source else "reconciler"
    name = f"{spot(document, error.source)}: {error.code}" if error.source else error.code
    names[name] += 1
    name += f" ({names[name]})" if names[name] > 1 else ""
    verdict = "failure" if document.kind == "validate" else "error"
    return _Case(file, name, error.source, verdict, error.code, (error.message,))


# --- as XML -----------------------------------------------------------------------------------------------------------


def _element(case: _Case, document: Document) -> Iterator[str]:
    attributes: Mapping[str, str] = {"classname": case.group, "name": case.name, **_where(case.place, document)}
    opened = " ".join(f'{name}="{_attribute(value)}"' for name, value in attributes.items())
    if not (case.verdict or case.lines):
        yield f"    <testcase {opened}/>"
        return
    yield f"    <testcase {opened}>"
    if case.verdict:
        told = f'message="{_attribute("; ".join(map(plain, case.reasons)))}"'
        typed = "" if case.verdict == "skipped" else f' type="{_attribute(case.code)}"'
        text = [*case.reasons, *([f"at {spot(document, case.place)}"] if case.place else [])]
        yield f"      <{case.verdict} {told}{typed}>{_text(text)}</{case.verdict}>"
    if case.lines:
        yield f"      <system-out>{_text(case.lines)}</system-out>"
    yield "    </testcase>"


def _where(place: Place | None, document: Document) -> dict[str, str]:
    return {"file": path(document, place) or place.file, "line": str(line(place.line))} if place else {}


def _attribute(text: str) -> str:
    """Return a text for an attribute; what XML 1.0 cannot hold is not printable, and so written as JSON escapes it."""
    return escape(clipped(text, _SUMMARY))


def _text(lines: Iterable[str]) -> str:
    return "\n".join(escape(clipped(each, _LONGEST)) for each in lines)
