"""What every format says in the same words: the counts of a document, and where a value or a line comes from."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from reconciler.compare import Action, Cause
from reconciler.diff import Op
from reconciler.events import OutcomeStatus
from reconciler.words import amount, plain

if TYPE_CHECKING:
    from reconciler.document import ChangePart, CommitPart, Document, FieldPart

OUTSIDE = {Op.ADD: Op.REMOVE, Op.REPLACE: Op.REPLACE, Op.REMOVE: Op.ADD}
"""What somebody did outside git, by what would undo it."""


# --- the counts -------------------------------------------------------------------------------------------------------


def idle(document: Document) -> bool:
    """Tell whether there is nothing to do, and nothing to tell but that."""
    if document.kind == "validate" or document.errors or document.changes:
        return False
    return document.kind == "drift" or not document.left


def counts(document: Document) -> str:
    """Return what comes of a document, in numbers and our own words only, without the stop at its end."""
    if document.kind == "validate":
        return _validity(document)
    if document.kind == "drift":
        return _drift(document)
    return tally(document) if document.outcomes else planned(document)


def planned(document: Document) -> str:
    """Return how much of what a plan makes, whatever became of it."""
    if idle(document):
        released = f", {len(document.released)} released" if document.released else ""
        return f"Nothing to do: {amount(document.summary.resources, 'resource')} as declared{released}"
    return f"Plan: {scope(document)}, {amount(document.requests.writes, 'modify call')}"


def scope(document: Document) -> str:
    """Return what a plan is about, without the calls that it takes."""
    summary, (missing, failed) = document.summary, unusable(document)
    parts = [
        f"{summary.update} to update {ops(document)}",
        f"{summary.keep} unchanged",
        *([f"{missing} missing"] if missing else []),
        *([f"{failed} failed"] if failed else []),
        *([f"{amount(summary.blocked, 'field')} blocked"] if summary.blocked else []),
        *([f"{len(document.released)} released"] if document.released else []),
        *([f"{amount(document.left, 'field')} left alone by --only"] if document.left else []),
    ]
    return ", ".join(parts)


def ops(document: Document) -> str:
    """Return how many pairs are added, replaced, removed."""
    pairs = document.summary.pairs
    return f"(+{pairs.add} ~{pairs.replace} -{pairs.remove})"


def tally(document: Document) -> str:
    """Return what became of the changes of an apply."""
    results = Counter(outcome.outcome for outcome in document.outcomes or ())
    if not results:
        return "Nothing was applied"
    told = [f"{results[status]} {status.replace('_', ' ')}" for status in OutcomeStatus if results[status]]
    fine = {OutcomeStatus.APPLIED} | (set() if told_missing(document) else {OutcomeStatus.MISSING})
    word = "Applied" if results.keys() <= fine else "Apply incomplete"
    return f"{word}: {', '.join(told)}, {amount(document.requests.writes, 'modify call')}"


def told_missing(document: Document) -> bool:
    """Tell whether the target makes an error of a missing id; else it only warns of one.

    One that was there when the plan was made is named by its outcome alone: then the exit code tells.
    """
    if any(error.code == "missing" for error in document.errors):
        return True
    late = (one for one in document.outcomes or () if one.outcome is OutcomeStatus.MISSING and one.requests.reads)
    return document.exit_code != 0 and any(late)


def is_missing(change: ChangePart) -> bool:
    """Tell whether the API does not know an id, be it that a drift report calls one that never was there failed."""
    return change.action is Action.MISSING or (change.error is not None and change.error.code == "missing")


def unusable(document: Document) -> tuple[int, int]:
    """Return how many resources are missing, and how many failed for another reason."""
    never = sum(1 for change in document.changes if change.action is Action.FAILED and is_missing(change))
    return document.summary.missing + never, document.summary.failed - never


def _validity(document: Document) -> str:
    if found := len(document.errors):
        return f"Invalid: {amount(found, 'problem')}"
    return f"Valid: {amount(document.summary.resources, 'resource')}"


def _drift(document: Document) -> str:
    if idle(document):
        return f"No drift: {amount(document.summary.resources, 'resource')} looked at"
    found, summary = [field for change in document.changes for field in change.fields], document.summary
    accepted = sum(1 for field in found if field.accepted)
    unsure = any(field.cause is Cause.UNATTRIBUTED for field in found)
    moved = "moved, or may have moved, outside git" if unsure else "moved outside git"
    resources = amount(sum(1 for change in document.changes if change.fields), "resource")
    missing, failed = unusable(document)
    parts = [
        f"{amount(len(found), 'field')} on {resources} {moved}",
        *([f"{accepted} of them accepted"] if accepted else []),
        *([f"{amount(missing, 'resource')} missing"] if missing else []),
        *([f"{failed} failed"] if failed else []),
        f"{amount(summary.resources, 'resource')} looked at",
    ]
    quiet = "Drift unknown" if summary.failed or document.errors else "No drift"
    word = "Drift" if summary.missing or len(found) > accepted else "Accepted drift" if found else quiet
    return f"{word}: {', '.join(parts)}"


# --- where it comes from ----------------------------------------------------------------------------------------------


def base(document: Document) -> str:
    """Return which base a document was made against."""
    part = document.base
    if not part.revision:
        return "base: unknown"
    return f"base: {plain(part.revision)}" + (f" of {plain(part.commit[:10])}" if part.commit else "")


def commit(part: CommitPart) -> str:
    """Return a commit as people look for it."""
    if part.commit is None:
        return "a line that is not committed yet"
    return ", ".join(plain(word) for word in (part.commit[:7], part.date, part.author) if word)


def origin(field: FieldPart) -> str:
    """Return where the value that was found comes from."""
    if field.origin is not None:
        return f"the value of commit {commit(field.origin)}: an apply that never landed, or was undone"
    if field.cause is Cause.UNATTRIBUTED:
        return "an edit from outside, or a change of git that waits: the base does not say"
    return "an edit from outside"
