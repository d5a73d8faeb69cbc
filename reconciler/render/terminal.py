"""The document as text for people at a terminal.

Colours say the same as signs and words, never more; whoever prints the text may strip them. Where the terminal has a
width no line is longer, but for ids and places, which stay in one piece.
"""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from typing import TYPE_CHECKING, TypeVar

from reconciler.compare import Action
from reconciler.diff import Op
from reconciler.events import OutcomeStatus
from reconciler.render import ANY_ROOM
from reconciler.render.columns import Piece, bold, cells, dim, flowed, green, padded, red, yellow
from reconciler.render.excerpts import LEGEND, LONGEST, marked, name, one
from reconciler.render.fields import SIGNS, indented, place, rows, values, values_of_drift
from reconciler.render.wording import base, commit, counts, idle, ops, origin, planned
from reconciler.words import amount, named, plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from reconciler.document import ChangePart, Document, FieldPart, Finding, OutcomePart, Place
    from reconciler.render import Room

Entry = TypeVar("Entry")
LISTED = 1000
"""Entries of a list that are shown, at most: nobody reads more, and the JSON document has them all."""
_ASIDE = 20
"""The same for what only stands beside the result."""
_REPEATED = 50
"""The same for removals, which were listed before."""
_GLANCE = 20
"""Lines that are taken in at a glance: a removal among more of them is told once more at the end."""


def render(document: Document, room: Room = ANY_ROOM) -> str:
    """Return the whole document as text, ending in a newline."""
    if document.kind == "validate":
        return validation(document, room)
    if document.kind == "apply":
        return plan(document, room) + application(document, len(document.errors), room)
    return drift(document, room) if document.kind == "drift" else plan(document, room)


def validation(document: Document, room: Room = ANY_ROOM) -> str:
    """Return what a validation found."""
    told = [*_notes(document, room.width), *_errors(document.errors, room.width)]
    return _text([*told, *_summary(document, counts(document), room.width)])


def plan(document: Document, room: Room = ANY_ROOM) -> str:
    """Return the plan: what differs, the summary last. One line if nothing does."""
    width = room.width
    summary = _summary(document, planned(document), width)
    if idle(document):
        return _text([*_released(document, width), *_notes(document, width), *summary])
    lines = [*_heading(document, width), "", *_differences(document, width)]
    seen = len(lines)
    lines += [*_released(document, width), *_spared(document, width), *_notes(document, width)]
    lines += [*_warnings(document, width), *_errors(document.errors, width)]
    removals = [*_removals(document, width)] if seen > _GLANCE else []
    lines += ["", *removals] if removals and lines[-1] else removals
    return _text([*lines, *_legend(lines, width), *summary])


def drift(document: Document, room: Room = ANY_ROOM) -> str:
    """Return what moved outside git, the summary last. One line if nothing did."""
    width = room.width
    if idle(document):
        return _text([*_notes(document, width), *_summary(document, counts(document), width)])
    lines = [
        *_heading(document, width),
        "",
        *_listed(_with_something(document), _Resource(document, width), "resource"),
    ]
    lines += [*_missing(document, width), *_notes(document, width), *_errors(document.errors, width)]
    return _text([*lines, *_legend(lines, width), *_summary(document, counts(document), width)])


def application(document: Document, told: int = 0, room: Room = ANY_ROOM) -> str:
    """Return what became of a plan, the summary last; `told` errors were shown with the plan."""
    outcomes, width = document.outcomes or (), room.width
    lines = [*_errors(document.errors[told:], width), *_mishaps(outcomes, width)]
    lines += _unattempted(outcomes, width)
    for kind, dialect in sorted((document.learned or {}).items()):
        said = plain(f"`writes: {{{kind}: {dialect}}}`")
        learned = f"Learned: a {plain(kind)} is updated by `{plain(dialect)}` here; {said} says so from now on."
        lines += flowed([learned], width)
    lines += _legend(lines, width)
    if outcomes:  # else the plan has said already that there was nothing to do
        lines += _summary(document, counts(document), width)
    return _text(lines)


def proposal(document: Document, forecast: str, room: Room = ANY_ROOM) -> str:
    """Return what a person should know before agreeing to an apply: where, against which base, how much."""
    summary = document.summary
    parts = [
        f"{amount(summary.update, 'resource')} to update {ops(document)}",
        *([f"{amount(summary.blocked, 'field')} blocked"] if summary.blocked else []),
        forecast,
    ]
    return _text(flowed([f"Target {_where(document)}, {base(document)}: {', '.join(parts)}."], room.width, 2))


def aside(document: Document, room: Room = ANY_ROOM) -> str:
    """Return what a result of one line leaves out: why its base is unknown, and how to get at it."""
    told = [note.message for note in document.notes if note.code == "no_ledger"]
    return _text(line for message in told for line in flowed([plain(message)], room.width, 2))


def brief(document: Document, room: Room = ANY_ROOM) -> str:
    """Return what `--quiet` leaves: the errors, what was not written as it should be, and the summary."""
    lines = [*_errors(document.errors, room.width), *_mishaps(document.outcomes or (), room.width)]
    return _text([*lines, *_legend(lines, room.width), *_summary(document, counts(document), room.width)])


def errors(document: Document, room: Room = ANY_ROOM) -> str:
    """Return the errors alone."""
    return _text(_errors(document.errors, room.width))


def _text(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


_ON_THE_BASE = frozenset({"no_ledger", "no_git"})
"""Notes that say why the base is unknown, and how to get at it."""


def _heading(document: Document, width: int | None) -> Iterator[str]:
    unknown = not document.base.revision and not _attributed(document)
    causes = ", so every difference is unattributed" if unknown else ""
    undoes = f", undoing the run {plain(document.undoes)}" if document.undoes else ""
    yield from flowed([f"Target {_where(document)}, {base(document)}{causes}{undoes}."], width, 2)
    for note in document.notes:
        if note.code in _ON_THE_BASE:
            yield from flowed([Piece(f"({plain(note.message)})", dim)], width, 2)
    if document.undoes:
        ahead = "Git stays ahead of a rollback: revert the commit as well, or the next apply brings it back."
        yield from flowed([ahead], width, 2)
    if document.since:
        since = f"{plain(document.since.commit[:10])}, where it left {plain(document.since.revision)}"
        yield from flowed([Piece(f"(This change: what the manifests say otherwise than at {since}.)", dim)], width, 2)


def _where(document: Document) -> str:
    target = document.target
    where = "the embedded emulator" if target.provider == "emulator" else target.base_url or "?"
    where = "offline: what the base declares stands for what is there" if document.offline else where
    return f"{plain(target.name or '?')} ({plain(where)})"


def _attributed(document: Document) -> bool:
    """Tell whether any difference has a cause, as after an apply that ended without a record."""
    causes = document.summary.causes
    return bool(causes.pending or causes.drift or causes.conflict)


def _notes(document: Document, width: int | None) -> Iterator[str]:
    """Yield what to know beside the result; the heading has told of the base."""
    notes = [note for note in document.notes if note.code not in _ON_THE_BASE]
    yield from _listed(notes, lambda note: flowed([Piece("note:", yellow), plain(note.message)], width), "note")


# --- the resources ----------------------------------------------------------------------------------------------------


def _with_something(document: Document) -> list[ChangePart]:
    """Return the changes that have something to show.

    What has no fields is told by the errors; a missing id that is only warned of is in none of them.
    """
    return [change for change in document.changes if change.fields or change.action is Action.KEEP]


def _differences(document: Document, width: int | None) -> Iterator[str]:
    """Yield the changes; what a change under review asks for apart from what would differ without it."""
    shown, tell = _with_something(document), _Resource(document, width)
    if document.since is None:
        yield from _listed(shown, tell, "resource")
        return
    for title, introduced in (("Caused by this change:", True), ("Pending or drifted before it:", False)):
        part = [change for change in shown if any(field.introduced is introduced for field in change.fields)]
        yield bold(title) if part else f"{bold(title)} nothing"
        yield from _listed(part, _Resource(document, width, introduced), "resource")
        if not part:
            yield ""
    kept = [change for change in shown if not change.fields]
    if kept:
        yield bold("As declared:")
        yield from _listed(kept, tell, "resource")


class _Resource:
    """Yields the lines of a resource; where `introduced` is given only the fields that are, or are not."""

    def __init__(self, document: Document, width: int | None, introduced: bool | None = None) -> None:  # noqa: FBT001
        self.drift = document.kind == "drift"
        self.undoing = document.undoes is not None
        self.width = width
        self.introduced = introduced

    def __call__(self, change: ChangePart) -> list[str]:
        """Return the lines, an empty one last."""
        source = "left the manifests" if change.declared.released else place(change.source)
        fields: Sequence[FieldPart] = change.fields
        if self.introduced is not None:
            fields = [field for field in fields if field.introduced is self.introduced]
        lines = _headed(plain(f"{change.kind}/{change.id}"), source, self.width)
        lines += (_drifted if self.drift else _planned)(fields, self.width)
        if change.action is Action.KEEP:
            lines.append("  = as declared")
        if change.foreign and not self.undoing:
            foreign = f"foreign, kept: {', '.join(map(named, change.foreign))}"
            lines += indented([Piece(foreign, dim)], self.width)
        lines.append("")
        return lines


def _headed(ref: str, source: str, width: int | None) -> list[str]:
    """Return the line of a resource: its name and its place, on a line of its own where it does not fit."""
    if not source:
        return [bold(ref)]
    beside = width is None or cells(ref) + 2 + cells(source) <= width
    return [f"{bold(ref)}  {dim(source)}"] if beside else [bold(ref), f"  {dim(source)}"]


def _planned(fields: Sequence[FieldPart], width: int | None) -> list[str]:
    told: list[str] = []
    for field, lines in rows(fields, values, width):
        told += lines
        told += _blamed(field, width)
        if field.blocked:
            told += _blocked(field.blocked.code, field.blocked.message, width)
    return told


@lru_cache(64)
def _blocked(code: str, message: str, width: int | None) -> Sequence[str]:
    """Return why a field is blocked: there are few reasons, and perhaps thousands of fields."""
    return tuple(indented([Piece("blocked", red), f"({code}): {plain(message)}"], width))


def _drifted(fields: Sequence[FieldPart], width: int | None) -> list[str]:
    """Return drifted fields, told from the other side: what became of what git says."""
    told: list[str] = []
    for field, lines in rows(fields, values_of_drift, width, outside=True):
        told += lines
        told += _blamed(field, width)
        told += indented([origin(field)], width)
        if field.accepted:
            until, reason = plain(field.accepted.until or ""), plain(field.accepted.reason or "")
            words = [word for word in (f"accepted until {until}" if until else "accepted", reason) if word]
            told += indented([Piece(": ".join(words), green)], width)
    return told


def _blamed(field: FieldPart, width: int | None) -> Iterator[str]:
    if field.blame:
        yield from indented([Piece(f"declared by {commit(field.blame)}", dim)], width)


def _removals(document: Document, width: int | None) -> Iterator[str]:
    """Yield what will be gone, once more: the one thing of a plan that nobody should overlook; then what stays."""
    removed = [
        (plain(str(change.ref)), field)
        for change in document.changes
        for field in change.fields
        if field.op is Op.REMOVE
    ]
    gone = [each for each in removed if not each[1].blocked]
    kept = [each for each in removed if each[1].blocked]
    yield from _repeated(f"Removals: {len(gone)}", gone, width)
    yield from _repeated(f"Removals that are blocked, so that the keys stay: {len(kept)}", kept, width)


def _repeated(title: str, found: Sequence[tuple[str, FieldPart]], width: int | None) -> Iterator[str]:
    if not found:
        return
    yield from flowed([Piece(title, bold)], width, 2)
    told = found[:_REPEATED]
    columns = [max((size for size in map(cells, column) if size <= LONGEST // 2), default=0)
               for column in ([ref for ref, _ in told], [name(field.key) for _, field in told])]  # fmt: skip
    for ref, field in told:
        line = f"{padded(ref, columns[0])}  {padded(name(field.key), columns[1])}  {one(field.before)}"
        yield from [f"  {SIGNS[Op.REMOVE]} {line}"] if _fits(line, width) else _removal(ref, field, width)
    if len(found) > len(told):
        yield from indented([_beyond(len(found) - len(told), "removal")], width, 2)
    yield ""


def _fits(line: str, width: int | None) -> bool:
    return width is None or 4 + cells(line) <= width


def _removal(ref: str, field: FieldPart, width: int | None) -> Iterator[str]:
    """Yield a removal on two lines."""
    room = LONGEST if width is None else min(LONGEST, width - 8)
    yield f"  {SIGNS[Op.REMOVE]} {ref}"
    yield from indented([name(field.key, room), f" {one(field.before, room)}"], width, 6)


# --- beside the resources ---------------------------------------------------------------------------------------------


def _released(document: Document, width: int | None) -> Iterator[str]:
    """Yield the resources that left the manifests, and what can be done about them."""
    if not document.released:
        return
    yield from flowed([Piece("Released (left the manifests, their metadata untouched):", bold)], width)
    told = [
        (
            f"{each.kind}/{each.id}",
            f"keys that were ours: {', '.join(map(named, each.keys))}" if each.keys else "no keys were ours",
        )
        for each in document.released[:_ASIDE]
    ]
    yield from _aligned(told, width)
    if len(document.released) > _ASIDE:
        yield f"  and {len(document.released) - _ASIDE} more"
    yield from indented(["--prune removes these keys, `reconciler forget KIND/ID` lets go of them."], width, 2)
    yield ""


def _spared(document: Document, width: int | None) -> Iterator[str]:
    """Yield what `--only` leaves alone, although it differs."""
    if not document.spared:
        return
    yield from flowed([Piece("Left alone by --only, although it differs:", bold)], width)
    told = [(f"{each.kind}/{each.id}", ", ".join(map(named, each.keys))) for each in document.spared[:_ASIDE]]
    yield from _aligned(told, width)
    if len(document.spared) > _ASIDE:
        yield f"  and {amount(len(document.spared) - _ASIDE, 'resource')} more"
    yield ""


def _aligned(told: Sequence[tuple[str, str]], width: int | None) -> Iterator[str]:
    """Yield resources and what is told of each, in two columns where they fit."""
    refs = [plain(ref) for ref, _ in told]
    column = max((size for size in map(cells, refs) if size <= LONGEST // 2), default=0)
    for ref, (_, said) in zip(refs, told, strict=True):
        if width is None or 4 + max(column, cells(ref)) + cells(said) <= width:
            yield f"  {padded(ref, column)}  {said}"
        else:
            yield f"  {ref}"
            yield from indented([said], width, 4)


def _missing(document: Document, width: int | None) -> Iterator[str]:
    """Yield the ids that are gone though something was applied to them: drift, in a drift report."""

    def tell(change: ChangePart) -> Iterator[str]:
        yield from _headed(plain(str(change.ref)), place(change.source), width)
        yield from indented([Piece("missing:", red), plain(change.error.message if change.error else "")], width, 2)
        yield ""

    missing = [change for change in document.changes if change.action is Action.MISSING and change.error]
    yield from _listed(missing, tell, "missing resource")


def _warnings(document: Document, width: int | None) -> Iterator[str]:
    if any(error.code == "missing" for error in document.errors):
        return

    def tell(change: ChangePart) -> Iterator[str]:
        message = plain(f"{change.ref}: {change.error.message if change.error else ''}")
        return flowed([*_placed(change.source), Piece("warning:", yellow), message, "[missing]"], width)

    missing = [change for change in document.changes if change.action is Action.MISSING and change.error]
    yield from _listed(missing, tell, "warning")


def _errors(found: Sequence[Finding], width: int | None) -> Iterator[str]:
    def tell(error: Finding) -> Iterator[str]:
        return flowed([*_placed(error.source), Piece("error:", red), plain(error.message), f"[{error.code}]"], width)

    yield from _listed(found, tell, "error")


def _placed(source: Place | None) -> list[Piece]:
    return [Piece(f"{place(source)}:", whole=True)] if source else []


def _legend(lines: Iterable[str], width: int | None) -> Iterator[str]:
    """Yield what the mark of a shortened value means, where there is one."""
    if any(map(marked, lines)):
        yield from flowed([Piece(LEGEND, dim)], width, 2)


def _listed(entries: Sequence[Entry], tell: Callable[[Entry], Iterable[str]], noun: str) -> Iterator[str]:
    """Yield the lines of the first entries, and how many there are beyond them."""
    for entry in entries[:LISTED]:
        yield from tell(entry)
    if len(entries) > LISTED:
        yield _beyond(len(entries) - LISTED, noun)


def _beyond(number: int, noun: str) -> str:
    return f"and {amount(number, noun)} more: a JSON document (--out json=FILE) lists all of them"


# --- what became of it ------------------------------------------------------------------------------------------------


def _is_told(outcome: OutcomePart) -> bool:
    """Tell whether an outcome has a line of its own: not what went well, was not begun, or stands in the plan."""
    if outcome.outcome in (OutcomeStatus.APPLIED, OutcomeStatus.NOT_ATTEMPTED):
        return False
    return outcome.outcome not in (OutcomeStatus.MISSING, OutcomeStatus.FAILED) or bool(outcome.requests.reads)


def _mishaps(outcomes: Iterable[OutcomePart], width: int | None) -> Iterator[str]:
    """Yield what was not written as it should be, and why."""
    yield from _listed(list(filter(_is_told, outcomes)), lambda outcome: _outcome(outcome, width), "resource")


def _outcome(outcome: OutcomePart, width: int | None) -> Iterator[str]:
    colon = ":" if outcome.error else ""
    reason: list[Piece | str] = [plain(outcome.error.message)] if outcome.error else []
    ref = Piece(f"{plain(f'{outcome.kind}/{outcome.id}')}:", whole=True)
    yield from flowed([ref, Piece(f"{outcome.outcome.value}{colon}", red), *reason], width)
    for key, value in (outcome.lost or {}).items():
        room = LONGEST if width is None else min(LONGEST, width - 4)
        yield from indented([Piece("lost", red), name(key, room), "=", one(value, room)], width, 2)


def _unattempted(outcomes: Iterable[OutcomePart], width: int | None) -> Iterator[str]:
    """Tell of what was not begun by its reasons: one line each, not one for every resource."""
    left = [outcome for outcome in outcomes if outcome.outcome is OutcomeStatus.NOT_ATTEMPTED]
    for reason, count in Counter(outcome.error.message if outcome.error else "" for outcome in left).items():
        said = f"{amount(count, 'resource')} not attempted: {plain(reason.removeprefix('not attempted: '))}"
        yield from flowed([said], width)


# --- the last line ----------------------------------------------------------------------------------------------------


def _summary(document: Document, said: str, width: int | None) -> Iterator[str]:
    """Yield what comes of a document; that all is well is said without emphasis, and against which base."""
    if document.kind == "validate":
        look = (lambda text: red(bold(text))) if document.errors else str
        return flowed([Piece(f"{said}.", look)], width, 2)
    if idle(document):
        return flowed([f"{said} ({base(document)})."], width, 2)
    return flowed([Piece(f"{said}.", bold)], width, 2)
