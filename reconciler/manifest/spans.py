"""A manifest as it is written: every node with its beginning and its end, so that a text can be edited in place.

The reader's tree tells what a file means and forgets how it is written; this one keeps quotes, anchors, aliases and
merge keys as they stand. It is composed only of what the reader has found valid, from the same events of the same
parsers: indexes count the characters of the text, whatever these are to a parser.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ruamel.yaml.error import YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
)

from reconciler.manifest.reader import FAST_PARSER, SlowParser, without_breaks, without_directives
from reconciler.manifest.scalars import resolve
from reconciler.manifest.tree import LINE_BREAK, YamlFile

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_ANCHOR = re.compile(r"&[^ \t\r\n,\[\]{}]+")
_NOTHING = re.compile(r"(?:[ \t\r\n]|#[^\r\n]*)*")
"""White space, line breaks and comments, where no token begins."""
_LITERAL = frozenset("|>")


@dataclass(slots=True, eq=False)
class Span:
    """One node as written.

    It goes from `at` to `end`; what an anchor at its beginning names starts at `start`. A block collection ends with
    its last entry, a block scalar with its last line (before the break), an empty node where it would be written.
    `uses` are the places of the aliases that name it.
    """

    at: int
    start: int
    end: int
    uses: list[int] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class ScalarSpan(Span):
    """A scalar; `style` is its first quotation mark or `|` or `>`, and empty for a plain one."""

    style: str = ""
    text: str = ""

    @property
    def null(self) -> bool:
        """Tell whether this is null, written out or not at all."""
        return not self.style and resolve(self.text)[0] is None

    def keeps_blanks(self, text: str) -> bool:
        """Tell whether this is a block scalar of `text` whose value has the blank lines below it (`|+`)."""
        return self.style in _LITERAL and "+" in text[self.start : self.start + 3]


@dataclass(slots=True, eq=False)
class MapSpan(Span):
    """A mapping, merge keys unresolved."""

    flow: bool = False
    entries: list[Entry] = field(default_factory=list)

    def own(self) -> dict[str, Entry]:
        """Return the entries that are written here, by key."""
        return {entry.name: entry for entry in self.entries if not entry.merges}


@dataclass(slots=True, eq=False)
class SequenceSpan(Span):
    """A list."""

    items: list[Span] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class AliasSpan(Span):
    """An alias, and what it names."""

    target: Span = field(default_factory=lambda: Span(0, 0, 0))


@dataclass(slots=True, eq=False)
class Entry:
    """One entry of a mapping: from `start` (that of its key, or the `?` before it) to `end`."""

    owner: MapSpan
    start: int
    key: Span
    value: Span

    @property
    def end(self) -> int:
        """Where the entry ends."""
        return max(self.key.end, self.value.end)

    @property
    def name(self) -> str:
        """The key."""
        key = followed(self.key)
        return key.text if isinstance(key, ScalarSpan) else ""

    @property
    def merges(self) -> bool:
        """Tell whether this is a merge key; a quoted "<<" is a key like any other."""
        return isinstance(self.key, ScalarSpan) and not self.key.style and self.key.text == "<<"


def followed(span: Span) -> Span:
    """Return the node itself, where an alias names it."""
    while isinstance(span, AliasSpan):
        span = span.target
    return span


def pairs_of(span: Span) -> dict[str, Span]:
    """Return what a mapping says, by key: what it merges included, aliases followed; nothing for other nodes."""
    node = followed(span)
    if not isinstance(node, MapSpan):
        return {}
    pairs = {entry.name: followed(entry.value) for entry in node.entries if not entry.merges}
    return {**merged_into(node), **pairs}


def merged_into(node: MapSpan) -> dict[str, Span]:
    """Return what the merge keys of a mapping bring in; of several sources the first wins."""
    merged: dict[str, Span] = {}
    for entry in node.entries:
        if entry.merges:
            value = followed(entry.value)
            for source in value.items if isinstance(value, SequenceSpan) else [value]:
                merged = {**pairs_of(source), **merged}
    return merged


@dataclass(frozen=True, slots=True)
class Source:
    """A text and its tree.

    `clean` is what the parsers have read: as long as `text`, and only a carriage return or a newline breaks its lines.
    """

    text: str
    clean: str
    root: MapSpan

    def line_start(self, index: int) -> int:
        """Return where the line of a character begins."""
        start = self.clean.rfind("\n", 0, index) + 1
        return max(start, self.clean.rfind("\r", start, index) + 1)

    def next_line(self, index: int) -> int:
        """Return where the line after that of `index` begins; a line that begins at `index` is that one."""
        if self.line_start(index) == index:
            return index
        found = LINE_BREAK.search(self.clean, index)
        return found.end() if found else len(self.clean)

    def line_number(self, index: int) -> int:
        """Return the number of the line, as people count."""
        return sum(1 for _ in LINE_BREAK.finditer(self.clean, 0, index)) + 1

    def colon(self, entry: Entry) -> int | None:
        """Return the place behind the colon of an entry; `None` where it has none."""
        return _colon(self.clean, entry.key.end)


def compose(text: str) -> Source:
    """Return the tree of a text that the reader has found to be a valid manifest."""
    clean, restore = without_breaks(text)
    clean = without_directives(clean, YamlFile(""))
    try:
        root = _Composer(clean, restore, FAST_PARSER(clean).get_event).document()
    except YAMLError:  # valid all the same: the reader has read it with the other parser
        root = _Composer(clean, restore, SlowParser(clean).get_event).document()
    return Source(text, clean, root)


def _colon(text: str, index: int) -> int | None:
    skipped = _NOTHING.match(text, index)
    at = skipped.end() if skipped else index
    return at + 1 if text[at : at + 1] == ":" else None


class _Composer:
    """Builds the tree of one document from the events of a parser."""

    def __init__(self, text: str, restore: Mapping[str, str], next_event: Callable[[], Any]) -> None:
        self._text = text
        self._restore = restore
        self._next = next_event
        self._anchors: dict[str, Span] = {}

    def document(self) -> MapSpan:
        """Return the root."""
        self._next()
        self._next()
        root = self._node(self._next())
        return root if isinstance(root, MapSpan) else MapSpan(0, 0, 0)

    def _node(self, event: Any) -> Span:
        kind = type(event)
        at: int = event.start_mark.index
        if kind is AliasEvent:
            target = self._anchors[event.anchor]
            target.uses.append(at)
            return AliasSpan(at, at, event.end_mark.index, target=target)
        start = at if event.anchor is None else self._behind_anchor(event)
        node: Span
        if kind is ScalarEvent:
            node = self._scalar(event, at, start)
        elif kind is MappingStartEvent:
            node = self._mapping(MapSpan(at, start, start, flow=bool(event.flow_style)))
        else:
            node = self._sequence(SequenceSpan(at, start, start), flow=bool(event.flow_style))
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        return node

    def _behind_anchor(self, event: Any) -> int:
        at: int = event.start_mark.index
        anchor = _ANCHOR.match(self._text, at)
        end = anchor.end() if anchor else at
        if type(event) is ScalarEvent and event.end_mark.index <= end:
            return end
        skipped = _NOTHING.match(self._text, end)
        return skipped.end() if skipped else end

    def _scalar(self, event: Any, at: int, start: int) -> ScalarSpan:
        end: int = event.end_mark.index
        style = event.style or ""
        if style in _LITERAL and "+" not in self._text[start : start + 3]:
            end = start + len(self._text[start:end].rstrip(" \t\r\n"))
            found = LINE_BREAK.search(self._text, end)
            end = found.start() if found else len(self._text)
        return ScalarSpan(at, start, max(end, start), style=style, text=self._restored(event.value))

    def _restored(self, text: str) -> str:
        for stand_in, break_ in self._restore.items():
            text = text.replace(stand_in, break_)
        if not text.isascii():  # the pure parser leaves a JSON surrogate pair as two halves
            text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        return text

    def _mapping(self, node: MapSpan) -> MapSpan:
        end = node.start
        while type(event := self._next()) is not MappingEndEvent:
            key = self._node(event)
            value = self._node(self._next())
            if value.at == value.end:
                # Parsers put an empty value anywhere before the next token.
                value.at = value.start = value.end = _colon(self._text, key.end) or key.end
            entry = Entry(node, self._entry_start(key.at), key, value)
            node.entries.append(entry)
            end = entry.end
        node.end = event.end_mark.index if node.flow else end
        return node

    def _entry_start(self, at: int) -> int:
        before = at
        while before and self._text[before - 1] in " \t":
            before -= 1
        return before - 1 if before < at and self._text[before - 1] == "?" else at

    def _sequence(self, node: SequenceSpan, *, flow: bool) -> SequenceSpan:
        end = node.start
        while type(event := self._next()) is not SequenceEndEvent:
            node.items.append(self._node(event))
            end = node.items[-1].end
        node.end = event.end_mark.index if flow else end
        return node
