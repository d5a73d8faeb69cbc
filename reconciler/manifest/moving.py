"""A draft in which entries go to other sections.

An entry that goes to another section takes along what belongs to it: the comments right above it, those inside of it,
and those below that are indented further.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, cast

from reconciler.manifest.draft import Draft, Unsafe
from reconciler.manifest.notation import FRESH, scalar
from reconciler.manifest.spans import Entry, MapSpan, ScalarSpan
from reconciler.manifest.tree import LINE_BREAK

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence


_ASIDE = re.compile(r"([ \t]*)(#[^\r\n]*)?(?:\r\n?|\n)")
"""A line that is blank, or has nothing but a comment."""
_BLANK = re.compile(r"[ \t]*(?:\r\n?|\n)")
_REMARK = re.compile(r"(?<![^ \t\r\n])#[^\r\n]*")
_LINE = re.compile(r"[^\r\n]*(?:\r\n?|\n)")
_ANCHOR = re.compile(r"[ \t]*&[^ \t\r\n,\[\]{}]+")
_FMT = "write it in lines first, which `reconciler fmt` does"


@dataclass(frozen=True, slots=True)
class Move:
    """One entry of a section shall have another key, and stand in the section `plural`, which may be another one."""

    section: Entry
    entry: Entry
    plural: str
    name: str

    @property
    def leaves(self) -> bool:
        """Tell whether the entry goes to another section."""
        return self.section.name != self.plural


@dataclass(frozen=True, slots=True)
class _Chunk:
    """An entry on its way to another section.

    `lines` are its own, with the comments and blank lines that belong to it, `column` their indentation. `apart`:
    there was a blank line above; `None` where nothing tells. `inline`: what can stand between the commas of a flow
    mapping, `None` where it cannot.
    """

    at: int
    lines: tuple[str, ...] = ()
    column: int = 0
    apart: bool | None = None
    inline: str | None = None


@dataclass(frozen=True, slots=True)
class _Stretch:
    """An entry of a block mapping with what is above and below.

    ::

        # about others          start
        ⏎                       blank
        # about this            above
        thread_a:               own
          metadata: {}
          # below               end

    From `start` to `end`, it follows upon the stretch before. What stands between `start` and `blank` does not belong
    to the entry.
    """

    start: int
    blank: int
    above: int
    own: int
    end: int

    @property
    def apart(self) -> bool:
        """Tell whether a blank line stands above the entry and its comments."""
        return self.blank < self.above


@dataclass(frozen=True, slots=True)
class _FlowChange:
    """What goes out of a flow mapping, and what comes in."""

    node: MapSpan
    drops: list[Entry] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)


_Flows = dict[int, _FlowChange]


@dataclass(slots=True)
class MovingDraft(Draft):
    """A draft that can also move entries from section to section (`move`)."""

    def move(self, moves: Sequence[Move], order: Sequence[str]) -> None:
        """Give entries of sections other keys, and take those that leave to their sections, all at once.

        They keep their order, and go below what stands there already. A section that is not there is made; one that
        all entries leave is taken away, with its comments going above its first entry, or becomes the other section
        where it lies. `order` are the names of all sections.
        """
        root = self.source.root
        renamed = {id(section): (section, plural) for section, plural in _whole(moves, root)}
        leaving: defaultdict[int, list[Move]] = defaultdict(list)
        for move in moves:
            if move.leaves and id(move.section) not in renamed:
                leaving[id(move.section)].append(move)
            else:
                self._rename(move.entry, move.name)
        for section, plural in renamed.values():
            self._rename(section, plural)
        self._relocate(list(leaving.values()), order)

    def _relocate(self, groups: Sequence[list[Move]], order: Sequence[str]) -> None:
        """Take entries from their sections to others; each group is of one section."""
        root, flows = self.source.root, _Flows()
        gone: list[Entry] = []
        chunks: defaultdict[str, list[_Chunk]] = defaultdict(list)
        arrivals = {move.plural for group in groups for move in group}
        for group in groups:
            section = group[0].section
            node = _mapping(section)
            group.sort(key=lambda move: move.entry.start)
            emptied = len(group) == len(node.entries) and section.name not in arrivals
            gone += [section] if emptied else []
            cut = self._taken_flow(group, flows, emptied=emptied) if node.flow else self._taken(group, emptied=emptied)
            for move, chunk in zip(group, cut, strict=True):
                chunks[move.plural].append(chunk)
        arriving = {name: sorted(chunks[name], key=lambda chunk: chunk.at) for name in order if name in chunks}
        known = root.own()
        # Those of a section that is there go first: a new one may begin where it ends.
        for name in sorted(arriving, key=lambda name: name not in known):
            if name in known:
                self._arrive(known[name], arriving[name], flows)
            else:
                self._found(name, arriving[name], order, flows)
        if root.flow and gone:
            self._leave_flow(root, gone, flows)
        for change in flows.values():
            self._change_flow(change.node, change.drops, change.texts)

    def _rename(self, entry: Entry, name: str) -> None:
        key = entry.key
        self._note(key.start, key.end, self._spelt(entry, name))

    @staticmethod
    def _spelt(entry: Entry, name: str) -> str:
        """Return a key quoted like that of an entry."""
        style = entry.key.style if isinstance(entry.key, ScalarSpan) else FRESH
        return scalar(name, style, flow=entry.owner.flow)

    # what leaves a section that is written in lines

    def _taken(self, group: Sequence[Move], *, emptied: bool) -> Iterator[_Chunk]:
        """Cut entries out of a section, and yield them."""
        section = group[0].section
        node = _mapping(section)
        stretches = self._stretches(node, self._header_end(section))
        leaving = {id(move.entry): move for move in group}
        usual = [one.apart for one in stretches[1:]]
        apart = 2 * sum(usual) >= len(usual) if usual else None
        heading, start, end = self._heading(section) if emptied else ((), 0, 0)
        if emptied:
            self._note(start, end)
            stretches[-1] = replace(stretches[-1], end=end)
        for index, (entry, one) in enumerate(zip(node.entries, stretches, strict=True)):
            if id(entry) in leaving:
                bare = self._unblanked(one.start, one.own)
                chunk = self._chunk(leaving[id(entry)], bare if emptied else one.above, one.end)
                lines = tuple(" " * chunk.column + text + self._break(one.own) for text in (() if index else heading))
                set_off = one.start < bare if emptied else one.apart
                inline = None if lines else chunk.inline
                yield replace(chunk, lines=lines + chunk.lines, apart=set_off if index else apart, inline=inline)
        if not emptied:
            self._cut(node, stretches, leaving.keys())

    def _cut(self, node: MapSpan, stretches: Sequence[_Stretch], leaving: Collection[int]) -> None:
        """Remove stretches, each with the blank lines above it, or else below where it was the first."""
        opening = not stretches[0].apart
        for index, (entry, one) in enumerate(zip(node.entries, stretches, strict=True)):
            if id(entry) in leaving:
                follows = stretches[index + 1] if index + 1 < len(stretches) else None
                # What stays above it is set off from what comes next, too.
                keeps = one.start < one.blank and not (follows and _BLANK.match(self.source.clean, one.end))
                self._note(one.above if keeps else one.blank, one.end)
                opening = opening and one.start == one.blank
            elif opening and index:
                self._note(one.start, self._unblanked(one.start, one.own))
                opening = False
            else:
                opening = False

    def _unblanked(self, start: int, until: int) -> int:
        """Return where the blank lines that begin at `start` end."""
        while start < until and (blank := _BLANK.match(self.source.clean, start)):
            start = blank.end()
        return start

    def _chunk(self, move: Move, begin: int, end: int) -> _Chunk:
        entry, text = move.entry, self.source.text
        key = self._spelt(entry, move.name)
        whole = text[begin : entry.key.start] + key + text[entry.key.end : end]
        lines = tuple(_LINE.findall(whole))
        inline = None
        if len(lines) == 1 and not _REMARK.search(whole):
            said = entry.value.at < entry.value.end
            inline = self._spelt_in_flow(move) + (text[entry.key.end : entry.end] if said else ": ")
        return _Chunk(entry.start, lines, len(self._column(entry)), inline=inline)

    def _spelt_in_flow(self, move: Move) -> str:
        style = move.entry.key.style if isinstance(move.entry.key, ScalarSpan) else FRESH
        return scalar(move.name, style, flow=True)

    def _stretches(self, node: MapSpan, start: int) -> list[_Stretch]:
        found = list[_Stretch]()
        for entry in node.entries:
            own = self.source.line_start(entry.start)
            if self.source.clean[own : entry.start].strip(" "):
                raise Unsafe(f"keys do not stand on lines of their own here: {_FMT}")
            blank, above = self._gap(start, own)
            end = self._below(entry.end, len(self._column(entry)))
            found.append(_Stretch(start, blank, above, own, end))
            start = end
        return found

    def _gap(self, start: int, own: int) -> tuple[int, int]:
        """Return where the blank lines right above an entry and its comments begin, and where these begin."""
        blank: int | None = None
        above: int | None = None
        at = start
        while at < own:
            line = _ASIDE.match(self.source.clean, at)
            if line is None:  # a marker of a document, say
                blank = above = None
            elif line[2] is None:
                blank, above = (at if blank is None or above is not None else blank), None
            elif above is None:
                above, blank = at, (at if blank is None else blank)
            at = line.end() if line else self.source.next_line(at + 1)
        above = own if above is None else above
        return (above if blank is None else blank), above

    def _below(self, end: int, column: int) -> int:
        """Return where that ends which stands below an entry and is indented further than it is."""
        at = done = self.source.next_line(end)
        while line := _ASIDE.match(self.source.clean, at):
            if line[2] is not None:
                if len(line[1]) <= column:
                    break
                done = line.end()
            at = line.end()
        return done

    def _header_end(self, section: Entry) -> int:
        """Return where the line ends on which a section begins."""
        colon = self.source.colon(section)
        if colon is None:
            raise Unsafe(f"{section.name} has no colon: {_FMT}")
        anchor = _ANCHOR.match(self.source.clean, colon)
        if section.value.at < section.value.start and anchor is None:
            raise Unsafe(f"the anchor of {section.name} stands on a line of its own: {_FMT}")
        return self.source.next_line(anchor.end() if anchor else colon)

    def _heading(self, section: Entry) -> tuple[tuple[str, ...], int, int]:
        """Return the comments on a section itself, and from where to where it goes together with them."""
        own, root = self.source.line_start(section.start), self.source.root
        index = next(index for index, one in enumerate(root.entries) if one is section)
        node, clean = _mapping(section), self.source.clean
        if root.flow or clean[own : section.start].strip(" "):
            raise Unsafe(f"{section.name} does not stand on a line of its own: {_FMT}")
        end = self._below(section.end, 0)
        start = above = own
        if index:
            start, above = self._gap(self._below(root.entries[index - 1].end, 0), own)
        places = [(above, own), (section.key.end, node.start if node.flow else self._header_end(section))]
        places += [(node.end, end)] if node.flow else []
        found = (comment[0] for place in places for comment in _REMARK.finditer(clean[slice(*place)]))
        return tuple(comment.rstrip(" \t") for comment in found), start, end

    # what leaves a section that is written in braces

    def _taken_flow(self, group: Sequence[Move], flows: _Flows, *, emptied: bool) -> Iterator[_Chunk]:
        section = group[0].section
        node, clean = _mapping(section), self.source.clean
        heading = list[str]()
        if not emptied:
            self._leave_flow(node, [move.entry for move in group], flows)
        elif not self.source.root.flow:
            if _REMARK.search(clean[node.start : node.end]):
                raise Unsafe(f"{section.name} has comments between its braces: {_FMT}")
            found, start, end = self._heading(section)
            heading += found
            self._note(start, end)
        for index, move in enumerate(group):
            entry, ending = move.entry, self._break(move.entry.start)
            said = entry.value.at < entry.value.end
            rest = self.source.text[entry.key.end : entry.end] if said else ":"
            loose = rest.replace(":", ": ", 1) if re.match(r"[ \t]*:(?=[^ \t\r\n])", rest) else rest
            lines = [*(heading if index == 0 else []), f"{self._spelt(entry, move.name)}{loose}"]
            inline = None if heading and index == 0 else self._spelt(entry, move.name) + (rest if said else ": ")
            wide = LINE_BREAK.search(rest) is not None
            yield _Chunk(entry.start, () if wide else tuple(line + ending for line in lines), inline=inline)

    def _leave_flow(self, node: MapSpan, entries: Sequence[Entry], flows: _Flows) -> None:
        """Note that entries leave a flow mapping; not those with comments beside them, which would be lost."""
        leaving = {id(entry) for entry in entries}
        for segment in self._segments(node):
            if id(segment.entry) in leaving and _REMARK.search(self.source.clean[segment.lead : segment.tail]):
                raise Unsafe(f"there are comments between the braces here: {_FMT}")
        _flow_of(node, flows).drops.extend(entries)

    # where they go

    def _arrive(
        self,
        section: Entry,
        chunks: Sequence[_Chunk],
        flows: _Flows,
    ) -> None:
        """Write entries below those of a section."""
        node = section.value
        if isinstance(node, MapSpan) and node.flow and (node.entries or section.owner.flow):
            _flow_of(node, flows).texts.extend(_inline(section.name, chunks))
            return
        if section.owner.flow and isinstance(node, ScalarSpan) and node.null:
            self._write(section, f"{{{', '.join(_inline(section.name, chunks))}}}")
            return
        if isinstance(node, MapSpan) and node.entries:
            last = node.entries[-1]
            stretches = self._stretches(node, self._header_end(section))
            usual = [one.apart for one in stretches[1:]]
            apart = 2 * sum(usual) >= len(usual) if usual else None
            self._write_chunks(chunks, last, stretches[-1].end, len(self._column(last)), apart=apart)
            return
        bare = isinstance(node, MapSpan) and not _REMARK.search(self.source.clean[node.start : node.end])
        if not (bare or (isinstance(node, ScalarSpan) and node.null)):
            raise Unsafe(f"{section.name} is not written out: {_FMT}")
        start = node.start
        while self.source.clean[start - 1] in " \t":
            start -= 1
        if self.source.colon(section) is None or self.source.clean[start - 1] in "\r\n":
            raise Unsafe(f"the value of {section.name} does not stand on the line of its key: {_FMT}")
        if node.start < node.end:
            self._note(start, node.end)
        self._write_chunks(
            chunks, section, self._below(node.end, 0), self._usual_column(chunks), apart=None, opening=True
        )

    def _found(
        self,
        plural: str,
        chunks: Sequence[_Chunk],
        order: Sequence[str],
        flows: _Flows,
    ) -> None:
        """Make a section of some entries: where it belongs in `order`, and in the style of what they come from."""
        root = self.source.root
        sections = [entry for entry in root.entries if entry.name in order]
        style = next((entry.key.style for entry in sections if isinstance(entry.key, ScalarSpan)), FRESH)
        key = scalar(plural, style, flow=root.flow)
        if root.flow:
            _flow_of(root, flows).texts.append(f"{key}: {{{', '.join(_inline(plural, chunks))}}}")
            return
        above = [entry for entry in sections if order.index(entry.name) < order.index(plural)]
        before = root.entries.index(sections[0])
        last = above[-1] if above else root.entries[before - 1]  # where nothing is above, the last one of all
        at, ending = self._below(last.end, 0), self._break(last.start)
        if all(not chunk.column and chunk.inline is not None for chunk in chunks):
            lines = [f"{key}: {{{', '.join(_inline(plural, chunks))}}}{ending}"]
        else:
            column = self._usual_column(chunks)
            lines = [f"{key}:{ending}", *_written(chunks, column, ending, apart=None, opening=True)]
        gaps = [one.apart for one in self._stretches(root, 0)[1:]]
        blank = [ending] if 2 * sum(gaps) > len(gaps) else []
        self._note(at, at, "".join([*blank, *lines]))

    def _usual_column(self, chunks: Iterable[_Chunk]) -> int:
        return next((chunk.column for chunk in chunks if chunk.column), len(self.step))

    def _write_chunks(
        self, chunks: Sequence[_Chunk], above: Entry, at: int, column: int, *, apart: bool | None, opening: bool = False
    ) -> None:
        lines = _written(chunks, column, self._break(above.start), apart=apart, opening=opening)
        self._note(at, at, "".join(lines))


def _whole(moves: Sequence[Move], root: MapSpan) -> Iterator[tuple[Entry, str]]:
    """Yield the sections that become other ones where they lie, with the names of these."""
    groups: defaultdict[int, list[Move]] = defaultdict(list)
    for move in moves:
        groups[id(move.section)].append(move)
    taken = {entry.name for entry in root.entries}
    sources = Counter(plural for group in groups.values() for plural in {move.plural for move in group})
    for group in groups.values():
        section, plural = group[0].section, group[0].plural
        alone = sources[plural] == 1 and sources[section.name] == 0 and plural not in taken
        if alone and len(group) == len(_mapping(section).entries) and {move.plural for move in group} == {plural}:
            yield section, plural


def _mapping(section: Entry) -> MapSpan:
    """Return the mapping of a section; nothing moves out of any other."""
    return cast("MapSpan", section.value)


def _flow_of(node: MapSpan, flows: _Flows) -> _FlowChange:
    """Return what is to be changed about a flow mapping."""
    return flows.setdefault(id(node), _FlowChange(node))


def _written(chunks: Sequence[_Chunk], column: int, ending: str, *, apart: bool | None, opening: bool) -> Iterator[str]:
    """Yield the lines of entries at another indentation; `opening`: they are the first of their section."""
    for chunk in chunks:
        if not chunk.lines:
            raise Unsafe(f"an entry in braces has several lines: {_FMT}")
        if not opening and (apart if chunk.apart is None else chunk.apart):
            yield ending
        opening = False
        for line in chunk.lines:
            yield _shifted(line, column - chunk.column)


def _inline(name: str, chunks: Iterable[_Chunk]) -> Iterator[str]:
    for chunk in chunks:
        if chunk.inline is None:
            raise Unsafe(f"{name} is written in braces, which an entry of several lines does not fit into: {_FMT}")
        yield chunk.inline


def _shifted(line: str, by: int) -> str:
    """Return a line indented further, or less, as far as it can be."""
    if by >= 0:
        return " " * by + line if line.strip() else line
    return line[min(-by, len(line) - len(line.lstrip(" "))) :]
