"""The document as a comment on a pull request: counts first, one table, the fields of each resource folded away.

Every word from outside stands in a code span, or in `<code>` within a summary: there no Markdown, no HTML, no mention
and no link is looked for. The whole never takes more room than there is: what matters most is chosen first, whole rows
and blocks are left out, and the counts say how many.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, zip_longest
from typing import TYPE_CHECKING, TypeAlias, TypeVar
from urllib.parse import quote

from reconciler.compare import Action, Cause
from reconciler.diff import Op
from reconciler.document import Reason
from reconciler.render import ANY_ROOM
from reconciler.render.excerpts import LEGEND, marked, one, two
from reconciler.render.rows import (
    SIGNS,
    beside,
    beside_errors,
    clipped,
    headline,
    key,
    name,
    spot,
    subject,
)
from reconciler.render.wording import OUTSIDE, idle, is_missing
from reconciler.words import amount

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from reconciler.document import ChangePart, Document, FieldPart, Finding, OutcomePart, ReleasedPart, SparedPart
    from reconciler.render import Room
    from reconciler.render.rows import Row

MAX_BYTES = 65_536
"""Room for a comment on GitHub, in characters there; bytes are never fewer than these."""
_SENTENCE = 500
"""Characters of an error or a note that are shown."""
_NAME = 60
"""The same of the name of a target, a revision, a code."""
_KEYS = 16
"""Keys of a list that are named."""
_FIELDS = 64
"""Fields of a resource that are shown: an API has 16, a saved plan may say anything."""
_MISFITS = 10
"""Entries that were too long for the room before no shorter one is looked for."""

T = TypeVar("T")


def render(document: Document, room: Room = ANY_ROOM) -> str:
    """Return the comment, ending in a newline."""
    limit = MAX_BYTES if room.max_bytes is None else room.max_bytes
    sections = _sections(document)
    opening = f"{marker(document)}\n{_headline(document)}\n"
    counts = _by_origin(document)
    longest = _left_out(sections, lambda section: len(section.entries))
    legend = f"\n{LEGEND}\n"
    room_left = limit - sum(map(_size, (opening, longest, counts, legend)))
    facts = _facts(document)
    # What it was made against gives way to what it says.
    facts = facts if _size(facts) <= room_left // 3 else ""
    _fill(sections, room_left - _size(facts))
    left = _left_out(sections, lambda section: section.left)
    shown = "".join(section.text() for section in sections)
    return opening + counts + left + facts + shown + (legend if marked(shown) else "")


def marker(document: Document) -> str:
    """Return the hidden comment by which a job finds the comment that it wrote before.

    The name of the target is the part of a stranger: percent-encoded, it cannot end the comment.
    """
    target = quote(document.target.name or "", safe="", errors="backslashreplace").replace("--", "-%2D")
    shard = f":{document.shard.index}-of-{document.shard.count}" if document.shard else ""
    return f"<!-- reconciler:{document.kind}:{target[:100]}{shard} -->"


# --- words from outside -----------------------------------------------------------------------------------------------

_TICKS = re.compile("`+")
_LONGEST_TICKS = 3
"""A longer run of backticks is written as escapes: fences need not grow."""
_TAG = re.compile(r"<(?=[A-Za-z/!?])")
_END = re.compile(r"--(!?)>")


def code(text: str) -> str:
    """Return plain text as a code span, its fence longer than any run of backticks in it.

    No tag would act there. A job that looks for its marker in the text of comments would find one there all the same:
    what begins like a tag, or ends like a comment, is written as JSON escapes it.
    """
    text = _END.sub(r"--\1\\u003e", _TAG.sub(r"\\u003c", text)) or '""'
    longest = max((len(run) for run in _TICKS.findall(text)), default=0)
    if longest > _LONGEST_TICKS:
        text, longest = text.replace("`", "\\u0060"), 0
    fence = "`" * (longest + 1)
    pad = " " if text[0] in "` " or text[-1] in "` " else ""
    return f"{fence}{pad}{text}{pad}{fence}"


def cell(text: str) -> str:
    """Return plain text as a code span within a table, where a pipe would end the cell; readers differ on `\\|`."""
    return code(text.replace("|", "\\u007c").replace("`", "\\u0060"))


def html_code(text: str) -> str:
    """Return plain text for a line of HTML; nothing in it looks like Markdown either, for readers that look there."""
    return f"<code>{re.sub('[^A-Za-z0-9 ._/-]', lambda found: f'&#{ord(found[0])};', text)}</code>"


# --- room -------------------------------------------------------------------------------------------------------------


Tell: TypeAlias = "Callable[[int | None], str]"
"""Makes the text of an entry: the whole of it, or as much as fits into so many bytes; nothing where that is too few."""


@dataclass(slots=True)
class _Section:
    """A part of the comment that is shown as far as there is room.

    `entries` has what there is to show, the most important first, each with its place in the order that people read.
    `share` is the section's part of the room that is left when its turn comes; `noun` names what is left out.
    """

    noun: str
    opening: str
    share: float
    entries: Sequence[tuple[int, Tell]]
    shown: list[tuple[int, str]] = field(default_factory=list)
    tried: int = 0

    @property
    def left(self) -> int:
        """Return how many entries are not shown."""
        return len(self.entries) - len(self.shown)

    def fill(self, room: int, *, last: bool) -> int:
        """Take entries as long as they fit, and return the bytes that they took.

        When this is the `last` time, entries are shortened to the room, and some that do not fit are passed over.
        """
        room_before, misfits = room, 0
        room -= 0 if self.shown else _size(self.opening)
        while self.tried < len(self.entries):
            place, tell = self.entries[self.tried]
            text = tell(room if last else None)
            if text and _size(text) <= room:
                self.shown.append((place, text))
                room -= _size(text)
            elif not last or (misfits := misfits + 1) > _MISFITS:
                break
            self.tried += 1
        return room_before - room if self.shown else 0

    def text(self) -> str:
        """Return what is shown, in the order that people read."""
        return f"{self.opening}{''.join(text for _, text in sorted(self.shown))}" if self.shown else ""


def _fill(sections: Sequence[_Section], room: int) -> None:
    """Let the sections share the room, and then have what the others left of it."""
    for section in sections:
        room -= section.fill(int(room * section.share), last=False)
    for section in sections:
        room -= section.fill(room, last=True)


def _size(text: str) -> int:
    return len(text.encode())


def _left_out(sections: Iterable[_Section], count: Callable[[_Section], int]) -> str:
    """Return the line that says how much is not shown; nothing where all of it is."""
    told = [amount(count(section), section.noun) for section in sections if count(section)]
    if not told:
        return ""
    return f"\nNot shown, for want of room: {', '.join(told)}. A JSON document (`--out json=FILE`) has all of it.\n"


# --- the counts -------------------------------------------------------------------------------------------------------


def _headline(document: Document) -> str:
    """Return the counts, and what the run ended with."""
    counts = _OPS.sub(r"(`\1`)", headline(document))  # a tilde may strike words out
    ended = f" Exit code {document.exit_code}." if document.exit_code or not idle(document) else ""
    return f"{counts} ({_base(document)}).{ended}" if idle(document) else f"**{counts}.**{ended}"


_OPS = re.compile(r"\((\+\d+ ~\d+ -\d+)\)")


def _base(document: Document) -> str:
    base = document.base
    if not base.revision:
        return "base: unknown"
    return f"base: {code(clipped(base.revision, _NAME))}" + (
        f" of {code(name(base.commit[:10]))}" if base.commit else ""
    )


def _by_origin(document: Document) -> str:
    """Return how much the change under review asks for, apart from what differed before it."""
    if document.since is None or idle(document):
        return ""
    found = [(change, each) for change in document.changes for each in change.fields]
    since = code(clipped(document.since.revision, _NAME))
    lines = [
        f"- asked for by this change, since {since}: {_counted(found, asked=True)}",
        f"- there before this change: {_counted(found, asked=False)}",
    ]
    return "\n" + "".join(f"{line}\n" for line in lines)


def _counted(found: Iterable[tuple[ChangePart, FieldPart]], *, asked: bool) -> str:
    some = [(change, each) for change, each in found if each.introduced is asked]
    if not some:
        return "nothing"
    resources = amount(len({subject(change) for change, _ in some}), "resource")
    fields = [each for _, each in some]
    return f"{amount(len(some), 'field')} on {resources} ({code(_ops(fields, zeros=True))}): {_causes(fields)}"


def _ops(fields: Iterable[FieldPart], *, drifted: bool = False, zeros: bool = False) -> str:
    """Return how many fields are added, replaced, removed; in a drift report by what somebody did."""
    counts = Counter(OUTSIDE[each.op] if drifted else each.op for each in fields)
    return " ".join(f"{SIGNS[op]}{counts[op]}" for op in Op if zeros or counts[op])


def _causes(fields: Iterable[FieldPart]) -> str:
    counts = Counter(each.cause for each in fields)
    return ", ".join(f"{counts[cause]} {cause}" for cause in Cause if counts[cause])


def _facts(document: Document) -> str:
    """Return where, and against what, this was found; nothing for what is said in one line."""
    if idle(document):
        return ""
    target, head = document.target, document.head
    told = [
        *([f"target {code(clipped(target.name, _NAME))}"] if target.name else []),
        *([code(clipped(target.base_url, 2 * _NAME))] if target.base_url else []),
        *([_base(document)] if document.kind != "validate" else []),
        *(
            [f"commit {code(name(head.commit[:10]))}{' with changes that are not committed' if head.dirty else ''}"]
            if head.commit
            else []
        ),
        *([f"shard {document.shard.shard}"] if document.shard else []),
        *([f"undoing the run {code(clipped(document.undoes, _NAME))}"] if document.undoes else []),
        *(["offline: what the base declares stands for what is there"] if document.offline else []),
        *(["values that the settings mask are shown as `***`"] if document.masked else []),
    ]
    line = ", ".join(told)
    return f"\n{line[:1].upper()}{line[1:]}.\n" if told else ""


# --- what there is to show --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Piece:
    """The fields of a resource that one row and one block tell: all, or those of one origin."""

    change: ChangePart
    fields: tuple[FieldPart, ...]
    asked: bool = False

    @property
    def rank(self) -> int:
        """Return how soon this should be seen; the least first."""
        if any(each.op is Op.REMOVE or each.cause is Cause.CONFLICT or each.blocked for each in self.fields):
            return 0
        if self.change.action in (Action.MISSING, Action.FAILED) or any(
            each.cause is Cause.DRIFT for each in self.fields
        ):
            return 1
        return 2 if self.fields else 3


def _sections(document: Document) -> list[_Section]:
    pieces = _pieces(document)
    notes = [note for note in document.notes if note.code != "expired"]
    worse = "outcome" if document.kind == "apply" else "warning"
    return [
        _listed("error", "Errors", 0.4, document.errors, partial(_error, document)),
        _listed(worse, f"{worse.capitalize()}s", 0.4, list(beside_errors(document)), partial(_row, document)),
        _listed("note", "Notes", 0.1, [*notes, *_learned(document)], _note),
        _table(document, pieces),
        *_details(document, pieces),
        _listed(
            "released resource", "Released: left the manifests, their metadata untouched", 0.1, document.released, _keys
        ),
        _listed("spared resource", "Left alone by --only, although it differs", 0.1, document.spared, _keys),
    ]


def _listed(noun: str, title: str, share: float, entries: Iterable[T], tell: Callable[[T], str]) -> _Section:
    tells = [(place, partial(_item, tell, entry)) for place, entry in enumerate(entries)]
    return _Section(noun, f"\n#### {title}\n\n", share, tells)


def _item(tell: Callable[[T], str], entry: T, _room: int | None) -> str:
    return f"- {tell(entry)}\n"


def _error(document: Document, error: Finding) -> str:
    place = f"{code(spot(document, error.source))}: " if error.source else ""
    return f"{place}{code(clipped(error.message, _SENTENCE))} ({code(clipped(error.code, _NAME))})"


def _row(document: Document, row: Row) -> str:
    place = f" at {code(spot(document, row.place))}" if row.place else ""
    return f"{code(clipped(row.message, _SENTENCE))}{place}"


def _note(note: Reason) -> str:
    return code(clipped(note.message, _SENTENCE))


def _learned(document: Document) -> Iterator[Reason]:
    for kind, dialect in sorted((document.learned or {}).items()):
        message = f"a {kind} is updated by {dialect} here; writes: {{{kind}: {dialect}}} in the settings says so"
        yield Reason(code="learned", message=message)


def _keys(part: ReleasedPart | SparedPart) -> str:
    return f"{code(name(subject(part)))}: {_named(part.keys)}"


def _named(keys: Sequence[str]) -> str:
    more = f" and {len(keys) - _KEYS} more" if len(keys) > _KEYS else ""
    return (", ".join(code(key(each)) for each in keys[:_KEYS]) or "no keys") + more


def _pieces(document: Document) -> list[_Piece]:
    """Return what the table and the details tell, in the order that people read: what is asked for now comes first."""
    if document.since is None:
        return [_Piece(change, change.fields) for change in document.changes]
    asked, before = [], []
    for change in document.changes:
        ours = tuple(each for each in change.fields if each.introduced)
        others = tuple(each for each in change.fields if not each.introduced)
        asked += [_Piece(change, ours, asked=True)] if ours else []
        before += [_Piece(change, others)] if others or not ours else []
    return [*asked, *before]


def _ranked(pieces: Iterable[tuple[int, _Piece]]) -> list[tuple[int, _Piece]]:
    """Return pieces, the most important first; those that are asked for now by turns with those that are not."""
    some = sorted(pieces, key=lambda piece: piece[1].rank)
    turns = zip_longest((one for one in some if one[1].asked), (one for one in some if not one[1].asked))
    return [piece for piece in chain.from_iterable(turns) if piece is not None]


# --- the table --------------------------------------------------------------------------------------------------------


def _table(document: Document, pieces: Sequence[_Piece]) -> _Section:
    outcomes = {subject(outcome): outcome for outcome in document.outcomes or ()}
    heads = [
        *(["asked for"] if document.since else []),
        "resource",
        "fields",
        "cause",
        *(["outcome"] if document.outcomes is not None else []),
        "place",
    ]
    opening = f"\n{_line(heads)}{_line(['---'] * len(heads))}"
    rows = [(place, partial(_table_row, document, outcomes, piece)) for place, piece in _ranked(enumerate(pieces))]
    return _Section("table row", opening, 0.4, rows)


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |\n"


def _table_row(document: Document, outcomes: Mapping[str, OutcomePart], piece: _Piece, _room: int | None) -> str:
    change = piece.change
    outcome = outcomes.get(subject(change))
    became = "" if outcome is None else outcome.outcome.replace("_", " ")
    cells = [
        *(["by this change" if piece.asked else "before"] if document.since else []),
        cell(name(subject(change))),
        _extent(piece, document),
        _causes(piece.fields),
        *([became] if document.outcomes is not None else []),
        cell(spot(document, change.source))
        if change.source
        else "left the manifests"
        if change.declared.released
        else "",
    ]
    return _line(cells)


def _extent(piece: _Piece, document: Document) -> str:
    """Return what happens to a resource, in a few words."""
    if not piece.fields:
        kept = "as declared" if piece.change.action is Action.KEEP else str(piece.change.action)
        return str(Action.MISSING) if is_missing(piece.change) else kept
    drifted = document.kind == "drift"
    blocked = 0 if drifted else sum(1 for each in piece.fields if each.blocked)
    accepted = sum(1 for each in piece.fields if each.accepted)
    told = [code(_ops(piece.fields, drifted=drifted))]
    told += [f"{blocked} blocked"] if blocked else []
    told += [f"{accepted} accepted"] if accepted else []
    return ", ".join(told)


# --- the details ------------------------------------------------------------------------------------------------------


def _details(document: Document, pieces: Sequence[_Piece]) -> Iterator[_Section]:
    """Yield the blocks, where there is a change under review in two parts."""
    found = [(place, piece) for place, piece in enumerate(pieces) if piece.fields or piece.change.foreign]
    if document.since is None:
        yield _blocks(document, "", 1.0, found)
    else:
        yield _blocks(document, "Asked for by this change", 0.5, [one for one in found if one[1].asked])
        yield _blocks(document, "There before this change", 1.0, [one for one in found if not one[1].asked])


def _blocks(document: Document, title: str, share: float, found: Sequence[tuple[int, _Piece]]) -> _Section:
    blocks = [(place, partial(_block, document, piece)) for place, piece in _ranked(found)]
    return _Section("details block", f"\n#### {title}\n\n" if title else "\n", share, blocks)


def _block(document: Document, piece: _Piece, room: int | None) -> str:
    """Return the folded details of a resource, with as many fields as there is room for; nothing if that is none."""
    what = (
        f" {html_code(_ops(piece.fields, drifted=document.kind == 'drift'))} {_causes(piece.fields)}"
        if piece.fields
        else ""
    )
    opening = f"<details><summary>{html_code(name(subject(piece.change)))}{what}</summary>\n\n"
    foreign = (
        f"- foreign, kept: {_named(piece.change.foreign)}\n" if piece.change.foreign and not document.undoes else ""
    )
    closing = "\n</details>\n"
    left = None if room is None else room - _size(opening + foreign + closing) - _MORE
    items = _fitting(document, piece.fields, left)
    if piece.fields and not items:
        return ""
    more = len(piece.fields) - len(items)
    beyond = f"- and {amount(more, 'field')} more\n" if more else ""
    return f"{opening}{''.join(items)}{beyond}{foreign}{closing}"


_MORE = 40
"""Bytes for the number of fields that are left out."""


def _fitting(document: Document, fields: Sequence[FieldPart], room: int | None) -> list[str]:
    """Return the fields that fit, in their order; where not all do, removals, conflicts and drift go first."""
    ranked = sorted(enumerate(fields), key=lambda each: _urgency(each[1]))[:_FIELDS]
    items: list[tuple[int, str]] = []
    for place, each in ranked:
        text = _field(document, each)
        if room is not None:
            room -= _size(text)
            if room < 0:
                break
        items.append((place, text))
    return [text for _, text in sorted(items)]


def _urgency(each: FieldPart) -> int:
    if each.op is Op.REMOVE or each.cause is Cause.CONFLICT or each.blocked:
        return 0
    return 1 if each.cause is Cause.DRIFT else 2


def _field(document: Document, each: FieldPart) -> str:
    drifted = document.kind == "drift"
    sign = SIGNS[OUTSIDE[each.op] if drifted else each.op]
    values = _drifted(each) if drifted else _planned(each)
    place = f", {code(spot(document, each.source))}" if each.source else ""
    lines = [f"- {code(sign)} {code(key(each.key))}: {values}: {each.cause}{place}"]
    lines += [f"  - {code(told)}" for told in beside(each, drifted=drifted)]
    return "".join(f"{line}\n" for line in lines)


def _planned(each: FieldPart) -> str:
    if each.op is Op.REPLACE:
        return " → ".join(map(code, two(each.before, each.after)))
    return code(one(each.after if each.op is Op.ADD else each.before))


def _drifted(each: FieldPart) -> str:
    git, there = two(each.after, each.before)
    said = "nothing" if each.after is None else code(git)
    return f"git says {said}, and it is gone" if each.before is None else f"git says {said}, there: {code(there)}"
