"""The document as text for people at a terminal.

Colours say the same as the signs (`+ ~ -`), never more; whoever prints the text may strip them.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, TypeVar
from unicodedata import normalize

from click import style

from reconciler.compare import Action, Cause
from reconciler.diff import Op
from reconciler.events import OutcomeStatus
from reconciler.render import ANY_ROOM
from reconciler.words import amount, plain, quoted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from reconciler.document import ChangePart, CommitPart, Document, FieldPart, Finding, OutcomePart, Place
    from reconciler.render import Room

Entry = TypeVar("Entry")
LISTED = 1000
"""Entries of a list that are shown, at most: nobody reads more, and the JSON document has them all."""
_ASIDE = 20
"""The same for what only stands beside the result."""
_SIGNS = {Op.ADD: style("+", fg="green"), Op.REPLACE: style("~", fg="yellow"), Op.REMOVE: style("-", fg="red")}


def render(document: Document, room: Room = ANY_ROOM) -> str:
    """Return the whole document as text, ending in a newline."""
    if document.kind == "validate":
        return validation(document)
    if document.kind == "apply":
        return plan(document, room) + application(document, told=len(document.errors))
    return drift(document, room) if document.kind == "drift" else plan(document, room)


def validation(document: Document) -> str:
    """Return what a validation found."""
    lines = list(_errors(document.errors))
    count = len(document.errors)
    if count:
        lines.append(style(f"Invalid: {amount(count, 'problem')}.", fg="red", bold=True))
    else:
        lines.append(f"Valid: {amount(document.summary.resources, 'resource')}.")
    return _text(lines)


def plan(document: Document, _room: Room = ANY_ROOM) -> str:
    """Return the plan: what differs, the summary last. One line if nothing does."""
    if not (document.errors or document.changes or document.left):
        released = f", {len(document.released)} released" if document.released else ""
        count = amount(document.summary.resources, "resource")
        lines = [f"Nothing to do: {count} as declared{released} ({_base(document)})."]
        return _text([*_released(document), *_notes(document), *lines])
    lines = [*_heading(document), "", *_shown(document, _fields), *_released(document), *_spared(document)]
    lines += [*_notes(document), *_warnings(document), *_errors(document.errors)]
    lines.append(style(_summary(document), bold=True))
    return _text(lines)


def drift(document: Document, _room: Room = ANY_ROOM) -> str:
    """Return what moved outside git, the summary last. One line if nothing did."""
    if not (document.errors or document.changes):
        count = amount(document.summary.resources, "resource")
        return _text([*_notes(document), f"No drift: {count} looked at ({_base(document)})."])
    lines = [*_heading(document), "", *_shown(document, _moved_fields), *_missing(document)]
    lines += [*_notes(document), *_errors(document.errors)]
    lines.append(style(_drift_summary(document), bold=True))
    return _text(lines)


def _shown(document: Document, fields: Callable[[Sequence[FieldPart]], Iterable[str]]) -> Iterator[str]:
    """Yield the changes that have something to show.

    What has no fields is told by the errors; a missing id that is only warned of is in none of them.
    """
    shown = [change for change in document.changes if change.fields or change.action is Action.KEEP]
    undoing = document.undoes is not None
    yield from _listed(shown, lambda change: (*_change(change, fields, undoing=undoing), ""), "resource")


def application(document: Document, told: int = 0) -> str:
    """Return what became of a plan, the summary last; `told` errors were shown with the plan."""
    outcomes = document.outcomes or ()
    unlike = [outcome for outcome in outcomes if _is_told(outcome)]
    lines = [*_errors(document.errors[told:]), *_listed(unlike, _outcome, "resource")]
    lines += _unattempted(outcomes)
    for kind, dialect in sorted((document.learned or {}).items()):
        said = plain(f"`writes: {{{kind}: {dialect}}}`")
        lines.append(f"Learned: a {plain(kind)} is updated by `{plain(dialect)}` here; {said} says so from now on.")
    if outcomes:  # else the plan has said already that there was nothing to do
        lines.append(style(_tally(document, outcomes), bold=True))
    return _text(lines)


def proposal(document: Document, forecast: str) -> str:
    """Return what a person should know before agreeing to an apply: where, against which base, how much."""
    summary, pairs = document.summary, document.summary.pairs
    counts = [
        f"{amount(summary.update, 'resource')} to update (+{pairs.add} ~{pairs.replace} -{pairs.remove})",
        *([f"{amount(summary.blocked, 'field')} blocked"] if summary.blocked else []),
        forecast,
    ]
    return _text([f"Target {_where(document)}, {_base(document)}: {', '.join(counts)}."])


def aside(document: Document) -> str:
    """Return what a result of one line leaves out: why its base is unknown, and how to get at it."""
    return _text(plain(note.message) for note in document.notes if note.code == "no_ledger")


def brief(document: Document, room: Room = ANY_ROOM) -> str:
    """Return what `--quiet` leaves: the errors, and the summary."""
    return errors(document) + render(document, room).splitlines(keepends=True)[-1]


def errors(document: Document) -> str:
    """Return the errors alone."""
    return _text(_errors(document.errors))


def _text(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


_ON_THE_BASE = frozenset({"no_ledger", "no_git"})
"""Notes that say why the base is unknown, and how to get at it."""


def _heading(document: Document) -> Iterator[str]:
    unknown = not document.base.revision and not _attributed(document)
    causes = ", so every difference is unattributed" if unknown else ""
    undoes = f", undoing the run {plain(document.undoes)}" if document.undoes else ""
    yield f"Target {_where(document)}, {_base(document)}{causes}{undoes}."
    for note in document.notes:
        if note.code in _ON_THE_BASE:
            yield style(f"({plain(note.message)})", dim=True)
    if document.undoes:
        yield "Git stays ahead of a rollback: revert the commit as well, or the next apply brings it back."


def _where(document: Document) -> str:
    target = document.target
    where = "the embedded emulator" if target.provider == "emulator" else target.base_url or "?"
    where = "offline: what the base declares stands for what is there" if document.offline else where
    return f"{plain(target.name or '?')} ({plain(where)})"


def _attributed(document: Document) -> bool:
    """Tell whether any difference has a cause, as after an apply that ended without a record."""
    causes = document.summary.causes
    return bool(causes.pending or causes.drift or causes.conflict)


def _notes(document: Document) -> Iterator[str]:
    """Yield what to know beside the result; the heading has told of the base."""
    notes = [note for note in document.notes if note.code not in _ON_THE_BASE]
    yield from _listed(notes, lambda note: [f"{style('note', fg='yellow')}: {plain(note.message)}"], "note")


def _base(document: Document) -> str:
    base = document.base
    if not base.revision:
        return "base: unknown"
    return f"base: {plain(base.revision)}" + (f" of {plain(base.commit[:10])}" if base.commit else "")


def _place(source: Place | None) -> str:
    return f"{plain(source.file)}:{source.line}:{source.column}" if source else ""


def _change(
    change: ChangePart, fields: Callable[[Sequence[FieldPart]], Iterable[str]], *, undoing: bool
) -> Iterator[str]:
    place = "left the manifests" if change.declared.released else _place(change.source)
    yield style(plain(str(change.ref)), bold=True) + (f"  {style(place, dim=True)}" if place else "")
    yield from fields(change.fields)
    if change.action is Action.KEEP:
        yield "  = as declared"
    if change.foreign and not undoing:
        yield style(f"    foreign, kept: {', '.join(map(plain, change.foreign))}", dim=True)


def _fields(fields: Sequence[FieldPart]) -> Iterator[str]:
    for field, row in _aligned(fields, [_values(field) for field in fields]):
        yield f"  {_SIGNS[field.op]} {row}"
        yield from _blamed(field)
        if field.blocked:
            yield f"    {style('blocked', fg='red')} ({field.blocked.code}): {plain(field.blocked.message)}"


def _moved_fields(fields: Sequence[FieldPart]) -> Iterator[str]:
    """Yield drifted fields, told from the other side: what became of what git says."""
    for field, row in _aligned(fields, [_values_of_drift(field) for field in fields]):
        yield f"  {_SIGNS[_OUTSIDE[field.op]]} {row}"
        yield from _blamed(field)
        yield f"    {_origin(field)}"
        if field.accepted:
            until = f" until {plain(field.accepted.until)}" if field.accepted.until else ""
            reason = f": {plain(field.accepted.reason)}" if field.accepted.reason else ""
            yield f"    {style('accepted', fg='green')}{until}{reason}"


_OUTSIDE = {Op.ADD: Op.REMOVE, Op.REPLACE: Op.REPLACE, Op.REMOVE: Op.ADD}
"""What somebody did, by what would undo it."""


def _aligned(fields: Sequence[FieldPart], texts: Sequence[str]) -> Iterator[tuple[FieldPart, str]]:
    """Yield each field with its row: key, values, cause and place, in columns."""
    keys = [plain(field.key) for field in fields]
    wide, long = max(map(len, keys), default=0), max((min(len(text), 48) for text in texts), default=0)
    for field, key, text in zip(fields, keys, texts, strict=True):
        place = style(_place(field.source), dim=True) if field.source else ""
        yield field, f"{key:<{wide}}  {text:<{long}}  {field.cause}  {place}".rstrip()


def _values_of_drift(field: FieldPart) -> str:
    git = "nothing" if field.after is None else quoted(field.after)
    there = "it is gone" if field.before is None else quoted(field.before)
    return f"git says {git}, there: {there}" if field.before is not None else f"git says {git}, and {there}"


def _blamed(field: FieldPart) -> Iterator[str]:
    if field.blame is not None:
        yield style(f"    declared by {_commit(field.blame)}", dim=True)


def _origin(field: FieldPart) -> str:
    if field.origin is not None:
        return f"the value of commit {_commit(field.origin)}: an apply that never landed, or was undone"
    if field.cause is Cause.UNATTRIBUTED:
        return "an edit from outside, or a change of git that waits: the base does not say"
    return "an edit from outside"


def _commit(part: CommitPart) -> str:
    if part.commit is None:
        return "a line that is not committed yet"
    return ", ".join(plain(word) for word in (part.commit[:7], part.date, part.author) if word)


def _released(document: Document) -> Iterator[str]:
    """Yield the resources that left the manifests, and what can be done about them."""
    if not document.released:
        return
    yield style("Released (left the manifests, their metadata untouched):", bold=True)
    for one in document.released[:_ASIDE]:
        keys = f"keys that were ours: {', '.join(map(plain, one.keys))}" if one.keys else "no keys were ours"
        yield f"  {plain(f'{one.kind}/{one.id}')}  {keys}"
    if len(document.released) > _ASIDE:
        yield f"  and {len(document.released) - _ASIDE} more"
    yield from ("  --prune removes these keys, `reconciler forget KIND/ID` lets go of them.", "")


def _spared(document: Document) -> Iterator[str]:
    """Yield what `--only` leaves alone, although it differs."""
    if not document.spared:
        return
    yield style("Left alone by --only, although it differs:", bold=True)
    for one in document.spared[:_ASIDE]:
        yield f"  {plain(f'{one.kind}/{one.id}')}  {', '.join(map(plain, one.keys))}"
    if len(document.spared) > _ASIDE:
        yield f"  and {amount(len(document.spared) - _ASIDE, 'resource')} more"
    yield ""


def _missing(document: Document) -> Iterator[str]:
    """Yield the ids that are gone though something was applied to them: drift, in a drift report."""
    missing = [change for change in document.changes if change.action is Action.MISSING and change.error]
    yield from _listed(missing, _missing_id, "missing resource")


def _missing_id(change: ChangePart) -> Iterator[str]:
    yield f"{style(plain(str(change.ref)), bold=True)}  {style(_place(change.source), dim=True)}".rstrip()
    yield from (f"  {style('missing', fg='red')}: {plain(change.error.message if change.error else '')}", "")


def _drift_summary(document: Document) -> str:
    found = [field for change in document.changes for field in change.fields]
    accepted = sum(1 for field in found if field.accepted)
    resources = sum(1 for change in document.changes if change.fields)
    missing = document.summary.missing
    unsure = any(field.cause is Cause.UNATTRIBUTED for field in found)
    moved = "moved, or may have moved, outside git" if unsure else "moved outside git"
    parts = [
        f"{amount(len(found), 'field')} on {amount(resources, 'resource')} {moved}",
        *([f"{accepted} of them accepted"] if accepted else []),
        *([f"{amount(missing, 'resource')} missing"] if missing else []),
        *([f"{document.summary.failed} failed"] if document.summary.failed else []),
        f"{amount(document.summary.resources, 'resource')} looked at",
    ]
    quiet = "Drift unknown" if document.summary.failed else "No drift"
    word = "Drift" if missing or len(found) > accepted else "Accepted drift" if found else quiet
    return f"{word}: {', '.join(parts)}."


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
    missing = [change for change in document.changes if change.action is Action.MISSING and change.error]
    yield from _listed(missing, _warning, "warning")


def _warning(change: ChangePart) -> Iterator[str]:
    message = plain(f"{change.ref}: {change.error.message if change.error else ''}")
    place = f"{_place(change.source)}: " if change.source else ""
    yield f"{place}{style('warning', fg='yellow')}: {message} [missing]"


def _errors(found: Sequence[Finding]) -> Iterator[str]:
    yield from _listed(found, _error, "error")


def _error(error: Finding) -> Iterator[str]:
    place = f"{_place(error.source)}: " if error.source else ""
    yield f"{place}{style('error', fg='red')}: {plain(error.message)} [{error.code}]"


def _listed(entries: Sequence[Entry], tell: Callable[[Entry], Iterable[str]], noun: str) -> Iterator[str]:
    """Yield the lines of the first entries, and how many there are beyond them."""
    for entry in entries[:LISTED]:
        yield from tell(entry)
    if len(entries) > LISTED:
        yield f"and {amount(len(entries) - LISTED, noun)} more: a JSON document (--out json=FILE) lists all of them"


def _summary(document: Document) -> str:
    summary, pairs = document.summary, document.summary.pairs
    parts = [
        f"{summary.update} to update (+{pairs.add} ~{pairs.replace} -{pairs.remove})",
        f"{summary.keep} unchanged",
        *([f"{summary.missing} missing"] if summary.missing else []),
        *([f"{summary.failed} failed"] if summary.failed else []),
        *([f"{amount(summary.blocked, 'field')} blocked"] if summary.blocked else []),
        *([f"{len(document.released)} released"] if document.released else []),
        *([f"{amount(document.left, 'field')} left alone by --only"] if document.left else []),
        amount(document.requests.writes, "modify call"),
    ]
    return f"Plan: {', '.join(parts)}."


def _is_told(outcome: OutcomePart) -> bool:
    """Tell whether an outcome has a line of its own: not what went well, was not begun, or stands in the plan."""
    if outcome.outcome in (OutcomeStatus.APPLIED, OutcomeStatus.NOT_ATTEMPTED):
        return False
    return outcome.outcome not in (OutcomeStatus.MISSING, OutcomeStatus.FAILED) or bool(outcome.requests.reads)


def _outcome(outcome: OutcomePart) -> Iterator[str]:
    reason = f": {plain(outcome.error.message)}" if outcome.error else ""
    yield f"{plain(f'{outcome.kind}/{outcome.id}')}: {style(outcome.outcome.value, fg='red')}{reason}"
    for key, value in (outcome.lost or {}).items():
        yield f"  {style('lost', fg='red')} {plain(key)} = {quoted(value)}"


def _unattempted(outcomes: Iterable[OutcomePart]) -> Iterator[str]:
    """Tell of what was not begun by its reasons: one line each, not one for every resource."""
    left = [outcome for outcome in outcomes if outcome.outcome is OutcomeStatus.NOT_ATTEMPTED]
    for reason, count in Counter(outcome.error.message if outcome.error else "" for outcome in left).items():
        yield f"{amount(count, 'resource')} not attempted: {plain(reason.removeprefix('not attempted: '))}"


def _tally(document: Document, outcomes: Iterable[OutcomePart]) -> str:
    results = [outcome.outcome for outcome in outcomes]
    counted = [f"{results.count(result)} {result.replace('_', ' ')}" for result in OutcomeStatus if result in results]
    fine = {OutcomeStatus.APPLIED}
    if not any(error.code == "missing" for error in document.errors):
        fine.add(OutcomeStatus.MISSING)  # the target only warns of those
    word = "Applied" if set(results) <= fine else "Apply incomplete"
    return f"{word}: {', '.join(counted)}, {amount(document.requests.writes, 'modify call')}."
