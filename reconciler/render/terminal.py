"""The document as text for people at a terminal.

Colours say the same as the signs (`+ ~ -`), never more; whoever prints the text may strip them.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING
from unicodedata import normalize

from click import style

from reconciler.compare import Action
from reconciler.diff import Op
from reconciler.events import OutcomeStatus
from reconciler.words import plain, quoted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from reconciler.document import ChangePart, Document, FieldPart, OutcomePart, Place

_SIGNS = {Op.ADD: style("+", fg="green"), Op.REPLACE: style("~", fg="yellow"), Op.REMOVE: style("-", fg="red")}


def render(document: Document) -> str:
    """Return the whole document as text, ending in a newline."""
    if document.kind == "validate":
        return validation(document)
    if document.kind == "apply":
        return plan(document) + application(document, told=len(document.errors))
    return plan(document)


def validation(document: Document) -> str:
    """Return what a validation found."""
    lines = list(_errors(document))
    count = len(document.errors)
    if count:
        lines.append(style(f"Invalid: {_count(count, 'problem')}.", fg="red", bold=True))
    else:
        lines.append(f"Valid: {_count(document.summary.resources, 'resource')}.")
    return _text(lines)


def plan(document: Document) -> str:
    """Return the plan: what differs, the summary last. One line if nothing does."""
    if not (document.errors or document.changes or document.left):
        return _text(
            [f"Nothing to do: {_count(document.summary.resources, 'resource')} as declared ({_base(document)})."]
        )
    # What has no fields to show is told by the errors; a missing id that is only warned of is in none of them.
    shown = [change for change in document.changes if change.fields or change.action is Action.KEEP]
    lines = [_heading(document), ""] if shown else []
    for change in shown:
        lines += [*_change(change), ""]
    lines += [*_warnings(document), *_errors(document)]
    lines.append(style(_summary(document), bold=True))
    return _text(lines)


def application(document: Document, told: int = 0) -> str:
    """Return what became of a plan, the summary last; `told` errors were shown with the plan."""
    outcomes = document.outcomes or ()
    lines = [*_errors(document)][told:] + [line for outcome in outcomes for line in _outcome(outcome)]
    lines += _unattempted(outcomes)
    for kind, dialect in sorted((document.learned or {}).items()):
        said = plain(f"`writes: {{{kind}: {dialect}}}`")
        lines.append(f"Learned: a {plain(kind)} is updated by `{plain(dialect)}` here; {said} says so from now on.")
    if outcomes:  # else the plan has said already that there was nothing to do
        lines.append(style(_tally(document, outcomes), bold=True))
    return _text(lines)


def brief(document: Document) -> str:
    """Return what `--quiet` leaves: the errors, and the summary."""
    return errors(document) + render(document).splitlines(keepends=True)[-1]


def errors(document: Document) -> str:
    """Return the errors alone."""
    return _text(_errors(document))


def _text(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _heading(document: Document) -> str:
    target = document.target
    where = "the embedded emulator" if target.provider == "emulator" else target.base_url or "?"
    causes = "" if document.base.revision else ", so every difference is unattributed"
    return f"Target {plain(target.name or '?')} ({plain(where)}), {_base(document)}{causes}."


def _base(document: Document) -> str:
    revision = document.base.revision
    return f"base: {plain(revision)}" if revision else "base: unknown"


def _place(source: Place | None) -> str:
    return f"{plain(source.file)}:{source.line}:{source.column}" if source else ""


def _change(change: ChangePart) -> Iterator[str]:
    yield f"{style(plain(str(change.ref)), bold=True)}  {style(_place(change.source), dim=True)}".rstrip()
    yield from _fields(change.fields)
    if change.action is Action.KEEP:
        yield "  = as declared"
    if change.foreign:
        yield style(f"    foreign, kept: {', '.join(map(plain, change.foreign))}", dim=True)


def _fields(fields: Iterable[FieldPart]) -> Iterator[str]:
    rows = [(field, plain(field.key), _values(field)) for field in fields]
    keys = max((len(key) for _, key, _ in rows), default=0)
    values = max((min(len(value), 48) for _, _, value in rows), default=0)
    for field, key, value in rows:
        place = style(_place(field.source), dim=True) if field.source else ""
        yield f"  {_SIGNS[field.op]} {key:<{keys}}  {value:<{values}}  {field.cause}  {place}".rstrip()
        if field.blocked:
            yield f"    {style('blocked', fg='red')} ({field.blocked.code}): {plain(field.blocked.message)}"


def _values(field: FieldPart) -> str:
    if field.op is Op.ADD:
        return quoted(field.after)
    if field.op is Op.REMOVE:
        return quoted(field.before)
    before, after = quoted(field.before), quoted(field.after)
    if normalize("NFC", before) == normalize("NFC", after):
        # They would look the same: composed and decomposed characters are different values.
        before, after = json.dumps(field.before), json.dumps(field.after)
    return f"{before} → {after}"


def _warnings(document: Document) -> Iterator[str]:
    if any(error.code == "missing" for error in document.errors):
        return
    for change in document.changes:
        if change.action is Action.MISSING and change.error:
            message = plain(f"{change.ref}: {change.error.message}")
            yield f"{_place(change.source)}: {style('warning', fg='yellow')}: {message} [missing]"


def _errors(document: Document) -> Iterator[str]:
    for error in document.errors:
        place = f"{_place(error.source)}: " if error.source else ""
        yield f"{place}{style('error', fg='red')}: {plain(error.message)} [{error.code}]"


def _summary(document: Document) -> str:
    summary, pairs = document.summary, document.summary.pairs
    parts = [
        f"{summary.update} to update (+{pairs.add} ~{pairs.replace} -{pairs.remove})",
        f"{summary.keep} unchanged",
        *([f"{summary.missing} missing"] if summary.missing else []),
        *([f"{summary.failed} failed"] if summary.failed else []),
        *([f"{_count(summary.blocked, 'field')} blocked"] if summary.blocked else []),
        *([f"{_count(document.left, 'field')} left alone by --only"] if document.left else []),
        _count(document.requests.writes, "modify call"),
    ]
    return f"Plan: {', '.join(parts)}."


def _outcome(outcome: OutcomePart) -> Iterator[str]:
    if outcome.outcome in (OutcomeStatus.APPLIED, OutcomeStatus.NOT_ATTEMPTED):
        return
    if outcome.outcome in (OutcomeStatus.MISSING, OutcomeStatus.FAILED) and not outcome.requests.reads:
        return  # the plan has told it
    reason = f": {plain(outcome.error.message)}" if outcome.error else ""
    yield f"{plain(f'{outcome.kind}/{outcome.id}')}: {style(outcome.outcome.value, fg='red')}{reason}"
    for key, value in (outcome.lost or {}).items():
        yield f"  {style('lost', fg='red')} {plain(key)} = {quoted(value)}"


def _unattempted(outcomes: Iterable[OutcomePart]) -> Iterator[str]:
    """Tell of what was not begun by its reasons: one line each, not one for every resource."""
    left = [outcome for outcome in outcomes if outcome.outcome is OutcomeStatus.NOT_ATTEMPTED]
    for reason, count in Counter(outcome.error.message if outcome.error else "" for outcome in left).items():
        yield f"{_count(count, 'resource')} not attempted: {plain(reason.removeprefix('not attempted: '))}"


def _tally(document: Document, outcomes: Iterable[OutcomePart]) -> str:
    results = [outcome.outcome for outcome in outcomes]
    counted = [f"{results.count(result)} {result.replace('_', ' ')}" for result in OutcomeStatus if result in results]
    fine = {OutcomeStatus.APPLIED}
    if not any(error.code == "missing" for error in document.errors):
        fine.add(OutcomeStatus.MISSING)  # the target only warns of those
    word = "Applied" if set(results) <= fine else "Apply incomplete"
    return f"{word}: {', '.join(counted)}, {_count(document.requests.writes, 'modify call')}."
