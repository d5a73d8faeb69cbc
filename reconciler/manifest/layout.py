"""A manifest as its author laid it out: every entry with the comments and the blank lines that belong to it.

What belongs to whom is told by where it stands. A comment behind something on its line belongs to what ends there. A
comment on a line of its own belongs to the entry below it, unless it is indented further than that: then it belongs to
the innermost entry above that it is indented further than, as if it stood inside of it. What stands above the first
entry of the file is its head, up to the last blank line if there is one; what stands below the last entry and is not
indented is its tail.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from reconciler.manifest.spans import AliasSpan, MapSpan, ScalarSpan, SequenceSpan

if TYPE_CHECKING:
    from collections.abc import Iterator

    from reconciler.manifest.spans import Source, Span

ANCHOR = re.compile(r"&[^ \t\r\n,\[\]{}]+")
BLOCK = frozenset("|>")
"""The first characters of block scalars."""
_COMMENT = re.compile(r"#[^\n]*")
_HEADER = re.compile(r"[|>][-+0-9]*")
_PUNCTUATION = re.compile(r"[ \t\n{}\[\],:?.-]*")
"""What may stand between two nodes, comments aside."""
_MARKERS = frozenset(["", "---", "..."])


class Unclear(Exception):
    """The text is not what its tree says: a comment might be overlooked."""


@dataclass(slots=True, eq=False)
class Line:
    """A comment on a line of its own; `blank`: there is a blank line above it."""

    text: str
    blank: bool


@dataclass(slots=True, eq=False)
class Item:
    """An entry of a mapping (with a key) or of a list, or the root.

    `above` are the comments above it, `ends` those on its line (of a collection: on the line of its key), `below` those
    that stand inside of it, below everything else. `blank`: there is a blank line right above it.
    """

    value: Span
    key: Span | None = None
    name: str = ""
    merges: bool = False
    column: int = 0
    blank: bool = False
    above: list[Line] = field(default_factory=list)
    ends: list[str] = field(default_factory=list)
    below: list[Line] = field(default_factory=list)
    children: list[Item] = field(default_factory=list)
    flow: bool = False

    @property
    def opens(self) -> bool:
        """Tell whether entries stand below it on lines of their own."""
        return bool(self.children) and not self.flow

    @property
    def remarked(self) -> bool:
        """Tell whether there is a comment on it or anywhere below."""
        return bool(self.above or self.ends or self.below) or any(child.remarked for child in self.children)

    @property
    def apart(self) -> bool:
        """Tell whether a blank line stands between it, with its comments, and what is above."""
        return self.above[0].blank if self.above else self.blank

    @apart.setter
    def apart(self, blank: bool) -> None:
        if self.above:
            self.above[0].blank = blank
        else:
            self.blank = blank


@dataclass(slots=True, eq=False)
class Layout:
    """The root; the comments at the top of the file and at its end, and whether a blank line ends those at the top."""

    root: Item
    head: list[Line]
    tail: list[Line]
    head_apart: bool


@dataclass(slots=True, eq=False)
class _Comment:
    """A comment where it stands; `own`: on a line of its own."""

    at: int
    text: str
    column: int
    own: bool
    blank: bool
    end: int

    @property
    def line(self) -> Line:
        return Line(self.text, self.blank)


def layout(source: Source) -> Layout:
    """Return the layout of a text whose lines end with `\\n`. Raises `Unclear`."""
    return _Builder(source, list(_comments(source))).layout()


def comments(source: Source) -> list[str]:
    """Return the texts of all comments, in order. Raises `Unclear`."""
    return [comment.text for comment in _comments(source)]


# -- Finding comments ---------------------------------------------------------------------------------------------


def _comments(source: Source) -> Iterator[_Comment]:
    """Yield the comments: they are what begins with `#` outside of every node."""
    ranges = list[tuple[int, int]]()
    _add_ranges(source, source.root, ranges)
    done, clean = 0, source.clean
    for start, end in [*ranges, (len(clean), len(clean))]:
        if "#" in clean[done:start]:
            for one in _COMMENT.finditer(clean, done, start):
                if source.text[one.start()] != "%":  # a directive, which the reader takes for a comment
                    yield _comment(source, one)
        if not _PUNCTUATION.fullmatch(_COMMENT.sub("", clean[done:start])):
            raise Unclear
        done = end


def _comment(source: Source, found: re.Match[str]) -> _Comment:
    at = found.start()
    column = at - source.line_start(at)
    before = source.clean[at - column : at].strip(" \t")
    text = source.text[at : found.end()].rstrip(" \t")
    return _Comment(at, text, column, before in _MARKERS, _blank_above(source, at), found.end())


def _blank_above(source: Source, at: int) -> bool:
    """Tell whether the line above that of `at` is blank, and nothing stands before it on its own line."""
    end = at
    while end and source.clean[end - 1] in " \t":
        end -= 1
    if not end or source.clean[end - 1] != "\n":
        return False
    start = end = end - 1
    while start and source.clean[start - 1] in " \t":
        start -= 1
    return start > 0 and source.clean[start - 1] == "\n"


def _add_ranges(source: Source, node: Span, ranges: list[tuple[int, int]]) -> None:
    """Add where the anchors, aliases and scalars of a tree stand, in order: no comment begins there."""
    if node.start > node.at:
        anchor = ANCHOR.match(source.clean, node.at)
        ranges.append((node.at, anchor.end() if anchor else node.start))
    if isinstance(node, MapSpan):
        for entry in node.entries:
            _add_ranges(source, entry.key, ranges)
            _add_ranges(source, entry.value, ranges)
    elif isinstance(node, SequenceSpan):
        for item in node.items:
            _add_ranges(source, item, ranges)
    elif isinstance(node, ScalarSpan):
        _add_scalar(source, node, ranges)
    else:
        ranges.append((node.at, node.end))


def _add_scalar(source: Source, node: ScalarSpan, ranges: list[tuple[int, int]]) -> None:
    if node.style in BLOCK and node.style:
        header = _HEADER.match(source.clean, node.start)
        end = header.end() if header else node.start
        body = source.clean.find("\n", end)
        ranges.append((node.start, end))
        if 0 <= body < node.end:
            ranges.append((body, node.end))
        return
    written = source.text[node.start : node.end]
    if node.style:
        if written[0] != node.style or written[-1] != node.style:
            raise Unclear
    elif written != node.text and "".join(written.split()) != "".join(node.text.split()):
        raise Unclear
    if written:
        ranges.append((node.start, node.end))


# -- Whose they are -----------------------------------------------------------------------------------------------


class _Builder:
    """Walks through a tree in the order of the text, and hands out the comments on the way."""

    def __init__(self, source: Source, found: list[_Comment]) -> None:
        self._source = source
        self._found = found
        self._next = 0

    def layout(self) -> Layout:
        """Return the layout."""
        root = Item(self._source.root)
        first = self._source.root.entries[0].start
        head = self._take(first)
        self._fill(root)
        top = root.children[0]
        apart, split = top.blank, len(head)
        if not top.blank:
            split = max((index for index, one in enumerate(head) if index and one.blank), default=len(head))
            apart = split < len(head)
        top.blank = False
        top.above = [one.line for one in head[split:]] + top.above
        return Layout(root, [one.line for one in head[:split]], self._tail(root), apart)

    def _tail(self, root: Item) -> list[Line]:
        """Return what stands below everything."""
        group = self._take(len(self._source.text) + 1)
        if root.flow:
            return [*root.below, *(one.line for one in group)]
        return self._share(root.children[-1], None, group)

    def _take(self, until: int) -> list[_Comment]:
        """Return the comments up to a place that nobody has taken yet."""
        start, found = self._next, self._found
        while self._next < len(found) and found[self._next].at < until:
            self._next += 1
        return found[start : self._next]

    def _fill(self, item: Item) -> None:
        """Give an item its children, and the comments inside of it."""
        node = item.value
        if isinstance(node, MapSpan | SequenceSpan):
            item.flow = node.flow if isinstance(node, MapSpan) else self._source.clean[node.start] == "["
            self._fill_collection(item, node)
            return
        for one in self._take(node.end):
            if one.own:
                item.above.append(one.line)
            else:
                item.ends.append(one.text)

    def _fill_collection(self, item: Item, node: MapSpan | SequenceSpan) -> None:
        for child, start in self._children(node):
            group = self._take(start)
            if item.children:
                if item.flow:
                    self._share_in_flow(item.children[-1], child, group)
                else:
                    self._share(item.children[-1], child, group)
            else:
                self._begin(item, child, group)
            item.children.append(child)
            self._fill(child)
        if item.flow:
            self._end_flow(item, self._take(node.end))

    def _children(self, node: MapSpan | SequenceSpan) -> Iterator[tuple[Item, int]]:
        """Yield the entries of a collection, and where each begins."""
        if isinstance(node, MapSpan):
            for entry in node.entries:
                name, merges = entry.name, entry.merges
                item = Item(entry.value, entry.key, name, merges, self._column(entry.start), self._blank(entry.start))
                yield item, entry.start
            return
        for value in node.items:
            start = self._dash(value.at) if self._source.clean[node.start] == "-" else value.at
            yield Item(value, column=self._column(start), blank=self._blank(start)), start

    def _dash(self, at: int) -> int:
        """Return where the dash of an item stands; comments may lie between."""
        behind = self._next
        while behind < len(self._found) and self._found[behind].at < at:
            behind += 1
        for comment in reversed(self._found[self._next : behind]):
            if "-" in self._source.clean[comment.end : at]:
                break
            at = comment.at
        return self._source.clean.rfind("-", 0, at)

    def _column(self, at: int) -> int:
        return at - self._source.line_start(at)

    def _blank(self, at: int) -> bool:
        return _blank_above(self._source, at)

    def _begin(self, item: Item, child: Item, group: list[_Comment]) -> None:
        """Share out what stands before the first entry."""
        for one in group:
            if not one.own:
                item.ends.append(one.text)
            elif item.flow and one.at < item.value.start:
                item.above.append(one.line)
            else:
                child.above.append(one.line)

    @staticmethod
    def _share_in_flow(previous: Item, following: Item, group: list[_Comment]) -> None:
        for one in group:
            if one.own:
                following.above.append(one.line)
            else:
                previous.ends.append(one.text)

    @staticmethod
    def _end_flow(item: Item, group: list[_Comment]) -> None:
        """Share out what stands before the closing bracket."""
        for one in group:
            if one.own:
                item.below.append(one.line)
            else:
                (item.children[-1] if item.children else item).ends.append(one.text)

    @staticmethod
    def _share(previous: Item, following: Item | None, group: list[_Comment]) -> list[Line]:
        """Share out what stands between two entries; return what belongs to neither, where none follows."""
        if not group:
            return []
        chain = [previous]
        while chain[-1].opens:
            chain.append(chain[-1].children[-1])
        left = list[Line]()
        last = chain[-1]
        for one in group:
            if not one.own:
                last.ends.append(one.text)
                continue
            # What was given to an outer entry stands below everything inside of it, and so does all that follows.
            while chain and (chain[-1].column >= one.column or is_block_scalar(chain[-1].value)):
                chain.pop()
            (chain[-1].below if chain else following.above if following else left).append(one.line)
        return left


def is_block_scalar(node: Span) -> bool:
    """Tell whether a node is written as a block scalar."""
    return isinstance(node, ScalarSpan) and node.style != "" and node.style in BLOCK


def name_of(node: Span, source: Source) -> str:
    """Return the name of an alias, or of the anchor of a node; empty where it has none."""
    if isinstance(node, AliasSpan):
        return source.text[node.at + 1 : node.end]
    anchor = ANCHOR.match(source.text, node.at) if node.start > node.at else None
    return anchor[0][1:] if anchor else ""
