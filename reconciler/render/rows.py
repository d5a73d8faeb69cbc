"""What several formats say in the same words: the counts, the sentence of a field, and which things are told where.

A `Row` is one thing to tell at one place of the manifests. Its level: what went wrong is an error, what moved outside
git or is missing and only warned of a warning, what is planned, done or accepted a note.
"""

from __future__ import annotations

import enum
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reconciler.compare import Action, Cause
from reconciler.diff import Op
from reconciler.events import OutcomeStatus
from reconciler.render.excerpts import name as key_name
from reconciler.render.excerpts import one, two
from reconciler.render.wording import commit, counts, idle, is_missing, scope, tally, told_missing
from reconciler.words import amount, plain

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from reconciler.document import (
        ChangePart,
        Document,
        FieldPart,
        OutcomePart,
        Place,
        ReleasedPart,
        SparedPart,
    )

LONGEST_NAME = 160
"""Characters of a key, an id or a file name that are shown."""

SIGNS = {Op.ADD: "+", Op.REPLACE: "~", Op.REMOVE: "-"}


class Level(enum.IntEnum):
    """How bad it is; the worst comes first."""

    ERROR = 0
    WARNING = 1
    NOTE = 2


@dataclass(frozen=True, slots=True)
class Row:
    """One thing to tell: a stable code (a cause, `blocked`, `missing`, that of an error), a sentence, its place.

    `subject` is what it is about: `kind/id`, or nothing. `field` is the one that differs, where there is one.
    """

    level: Level
    code: str
    message: str
    place: Place | None = None
    subject: str = ""
    field: FieldPart | None = None


# --- names and values -------------------------------------------------------------------------------------------------


def name(text: str) -> str:
    """Return a name from outside as plain text; of a very long one the beginning and the end."""
    if len(text) > LONGEST_NAME:
        text = f"{text[: LONGEST_NAME // 2]}…{text[-LONGEST_NAME // 2 + 1 :]}"
    return plain(text)


def key(text: str) -> str:
    """Return a key as `words.named` does; of a very long one the beginning and the end."""
    return key_name(text, LONGEST_NAME)


def clipped(text: str, longest: int) -> str:
    """Return a text as plain text, its end cut off where it is longer than that."""
    return plain(text if len(text) <= longest else f"{text[: longest - 1]}…")


def subject(part: ChangePart | OutcomePart | ReleasedPart | SparedPart) -> str:
    """Return the reference as people write it."""
    return f"{part.kind}/{part.id}"


# --- sentences --------------------------------------------------------------------------------------------------------


def sentence(field: FieldPart, document: Document) -> str:
    """Return what differs of a field, why, and what stands in its way: one line of plain text."""
    drifted = document.kind == "drift"
    values = drifted_values(field) if drifted else planned_values(field)
    told = f"{key(field.key)}: {values} ({cause(field, document)})"
    return "; ".join([told, *beside(field, drifted=drifted)])


def cause(field: FieldPart, document: Document) -> str:
    """Return why a field differs, and whether the change under review asks for it."""
    if document.since is None:
        return str(field.cause)
    return f"{field.cause}, {'asked for by this change' if field.introduced else 'there before this change'}"


def planned_values(field: FieldPart) -> str:
    """Return what will be made of what is there."""
    if field.op is Op.ADD:
        return f"add {one(field.after)}"
    if field.op is Op.REMOVE:
        return f"remove {one(field.before)}"
    return " → ".join(two(field.before, field.after))


def drifted_values(field: FieldPart) -> str:
    """Return what git says, and what became of it."""
    git, there = two(field.after, field.before)
    git = "nothing" if field.after is None else git
    return f"git says {git}, and it is gone" if field.before is None else f"git says {git}, there: {there}"


def beside(field: FieldPart, *, drifted: bool) -> Iterator[str]:
    """Yield what there is to know of a field beside its values."""
    if field.blocked and not drifted:
        yield f"blocked ({field.blocked.code}): {clipped(field.blocked.message, 500)}"
    if field.blame:
        yield f"declared by {commit(field.blame)}"
    if field.origin and drifted:
        yield f"the value of commit {commit(field.origin)}"
    if field.accepted:
        until = f" until {name(field.accepted.until)}" if field.accepted.until else ""
        reason = f": {clipped(field.accepted.reason, 500)}" if field.accepted.reason else ""
        yield f"accepted{until}{reason}"


# --- the counts -------------------------------------------------------------------------------------------------------


def headline(document: Document) -> str:
    """Return the counts as one sentence of numbers and our own words only; of an apply those of its plan, too."""
    told = [counts(document)]
    if document.kind == "apply" and not idle(document):
        told = [tally(document), f"planned: {scope(document)}"]
    errors = [amount(len(document.errors), "error")] if document.errors and document.kind != "validate" else []
    return "; ".join([*told, *errors])


# --- places -----------------------------------------------------------------------------------------------------------


def path(document: Document, place: Place | None) -> str | None:
    """Return a file's path below the top of the repository; `None` where it is not there."""
    if place is None or place.file.startswith("/"):
        return None
    steps: list[str] = []
    for step in f"{document.head.prefix or ''}/{place.file}".split("/"):
        if step == ".." and not steps:
            return None
        if step == "..":
            steps.pop()
        elif step not in ("", "."):
            steps.append(step)
    return "/".join(steps) or None


def line(number: int) -> int:
    """Return a line or column as every reader takes it: from 1 on, in 31 bits."""
    return max(1, min(number, 2**31 - 1))


def spot(document: Document, place: Place | None) -> str:
    """Return a place as people write it, plain, below the top of the repository if it is there; else nothing."""
    return f"{name(path(document, place) or place.file)}:{place.line}:{place.column}" if place else ""


# --- what is told -----------------------------------------------------------------------------------------------------


def rows(document: Document, *, each: bool = False) -> Iterator[Row]:
    """Yield everything that is told at a place: errors, what stands beside them, then the fields that differ.

    `each`: also every resource that was not looked at or not attempted, at its place, beside their number.
    """
    known = {subject(change) for change in document.changes}
    for error in document.errors:
        yield Row(Level.ERROR, error.code, error.message, error.source, _subject_of(error.message, known))
    yield from beside_errors(document)
    if each:
        yield from _untouched(document)
    yield from _differing(document)


def beside_errors(document: Document) -> Iterator[Row]:
    """Yield what went otherwise than it should and is no entry of `errors`: outcomes, missing ids, what nobody read."""
    known = {subject(change) for change in document.changes}
    blamed = errors_by_subject(document, known)
    if document.kind == "apply" and document.outcomes is not None:
        yield from _not_applied(document, document.outcomes, blamed)
    else:
        yield from _unusable(document, blamed)
    for note in document.notes:
        if note.code == "expired":
            yield Row(Level.WARNING, note.code, note.message, subject=_subject_of(note.message, known))


def errors_by_subject(document: Document, known: Collection[str]) -> dict[str, list[str]]:
    """Return the messages of the errors that begin with one of the known subjects, by it."""
    found: dict[str, list[str]] = {}
    for error in document.errors:
        about = _subject_of(error.message, known)
        if about:
            found.setdefault(about, []).append(error.message)
    return found


def _subject_of(message: str, known: Collection[str]) -> str:
    about = message.partition(": ")[0]
    return about if about in known else ""


def _unusable(document: Document, blamed: Collection[str]) -> Iterator[Row]:
    """Yield missing ids, and once for all such resources what the whole run could not read for one reason."""
    reasons: Counter[tuple[str, str]] = Counter()
    for change in document.changes:
        about = subject(change)
        if change.error is None or about in blamed or change.action not in (Action.MISSING, Action.FAILED):
            continue
        if is_missing(change):
            yield Row(Level.WARNING, "missing", f"{about}: {change.error.message}", change.source, about)
        else:
            reasons[change.error.code, change.error.message] += 1
    for (code, message), count in reasons.items():
        yield Row(Level.ERROR, code, f"{amount(count, 'resource')} could not be read: {message}")


def _not_applied(document: Document, outcomes: Iterable[OutcomePart], blamed: Collection[str]) -> Iterator[Row]:
    places = {subject(change): change.source for change in document.changes}
    left: Counter[str] = Counter()
    for outcome in outcomes:
        about = subject(outcome)
        if outcome.outcome is OutcomeStatus.NOT_ATTEMPTED:
            left[_reason(outcome)] += 1
        elif outcome.outcome is not OutcomeStatus.APPLIED and (about not in blamed or outcome.requests.reads):
            message = f"{about}: {became(outcome)}"
            yield Row(_badness(outcome, document), str(outcome.outcome), message, places.get(about), about)
    for reason, count in left.items():
        yield Row(Level.ERROR, "not_attempted", f"{amount(count, 'resource')} not attempted{reason}")


def _untouched(document: Document) -> Iterator[Row]:
    """Yield the resources that `beside_errors` only counts: what could not be read, and what was not attempted."""
    changes = {subject(change): change for change in document.changes}
    blamed = errors_by_subject(document, changes)
    for outcome in document.outcomes or ():
        about = subject(outcome)
        if outcome.outcome is OutcomeStatus.NOT_ATTEMPTED and about in changes:
            message = f"{about}: not attempted{_reason(outcome)}"
            yield Row(Level.ERROR, "not_attempted", message, changes.pop(about).source, about)
    for about, change in changes.items():
        if change.action is Action.FAILED and change.error and about not in blamed and not is_missing(change):
            message = f"{about}: could not be read: {change.error.message.removeprefix('not attempted: ')}"
            yield Row(Level.ERROR, "not_attempted", message, change.source, about)


def _badness(outcome: OutcomePart, document: Document) -> Level:
    return Level.WARNING if only_warned_of(outcome, document) else Level.ERROR


def only_warned_of(outcome: OutcomePart, document: Document) -> bool:
    """Tell whether this is a missing id on a target that makes little of it: then no error names one."""
    return outcome.outcome is OutcomeStatus.MISSING and not told_missing(document)


def _differing(document: Document) -> Iterator[Row]:
    """Yield the fields that differ; once an apply has come to writing those that it wrote."""
    outcomes = None if document.kind != "apply" else document.outcomes
    applied = {subject(outcome) for outcome in outcomes or () if outcome.outcome is OutcomeStatus.APPLIED}
    for change in document.changes:
        about = subject(change)
        if outcomes is None or about in applied:
            for field in change.fields:
                level, code = _judged(field, document)
                told = f"{about}: {'applied: ' if applied else ''}{sentence(field, document)}"
                yield Row(Level.NOTE if applied else level, code, told, field.source or change.source, about, field)


def _judged(field: FieldPart, document: Document) -> tuple[Level, str]:
    """Return how bad it is that a field differs, and the code for it."""
    if document.kind == "drift":
        return (Level.NOTE if field.accepted else Level.WARNING), str(field.cause)
    if field.blocked:
        return Level.ERROR, "blocked"
    return (Level.WARNING if field.cause in (Cause.DRIFT, Cause.CONFLICT) else Level.NOTE), str(field.cause)


def became(outcome: OutcomePart) -> str:
    """Return what became of a change, why, and which pairs were lost: one sentence, its words from outside raw."""
    lost = [f"{key(lost)} = {one(value)}" for lost, value in list((outcome.lost or {}).items())[:_LOST]]
    return f"{outcome.outcome.replace('_', ' ')}{_reason(outcome)}{'; lost: ' + ', '.join(lost) if lost else ''}"


_LOST = 16
"""Pairs that are named as lost; an object has no more."""


def _reason(outcome: OutcomePart) -> str:
    return f": {outcome.error.message.removeprefix('not attempted: ')}" if outcome.error else ""
