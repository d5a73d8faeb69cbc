"""A text with changes pencilled in: nothing else than what they touch is written anew.

Each change notes which characters give way to which; the draft carries it all out at once (`Draft.result`). Whether
the text then means what it should is for others to judge. An entry that goes to another section (`Draft.move`) takes
along what belongs to it: the comments right above it, those inside of it, and those below that are indented further.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, cast

from reconciler.manifest.notation import FRESH, Fresh, Quotes, fits_literal, flow_entries, in_block, in_flow, scalar
from reconciler.manifest.spans import Entry, MapSpan, ScalarSpan, followed
from reconciler.manifest.tree import LINE_BREAK

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from reconciler.manifest.spans import Source, Span
    from reconciler.model import Value

_LITERAL_HEADER = re.compile(r"[|>]([-+0-9]*)([ \t]+#[^\r\n]*)?")
_ASIDE = re.compile(r"([ \t]*)(#[^\r\n]*)?(?:\r\n?|\n)")
"""A line that is blank, or has nothing but a comment."""
_BLANK = re.compile(r"[ \t]*(?:\r\n?|\n)")
_REMARK = re.compile(r"(?<![^ \t\r\n])#[^\r\n]*")
_LINE = re.compile(r"[^\r\n]*(?:\r\n?|\n)")
_ANCHOR = re.compile(r"[ \t]*&[^ \t\r\n,\[\]{}]+")
_FMT = "write it in lines first, which `reconciler fmt` does"


class Unsafe(Exception):
    """An edit cannot be made here without a risk to what stands around it; the message says why."""


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


@dataclass(slots=True)
class _Segment:
    """One entry of a flow mapping with what stands around it.

    ::

        {a: x,  # about a⏎
          b: y }
        lead | entry | … comma | tail (to the end of the line)

    `lead` is where the white space and the comments before the entry begin; `comma` is `None` where none follows;
    `tail` is where the next lead, or what stands before the closing brace, begins.
    """

    entry: Entry
    lead: int
    comma: int | None
    tail: int

    @property
    def behind(self) -> int:
        """The place behind the entry and its comma."""
        return self.entry.end if self.comma is None else self.comma + 1


@dataclass(frozen=True, slots=True)
class _FlowChange:
    """What goes out of a flow mapping, and what comes in."""

    node: MapSpan
    drops: list[Entry] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)


_Flows = dict[int, _FlowChange]


@dataclass(slots=True)
class Draft:
    """The changes to one text.

    `step` is the indentation that it uses. `loses_end`: the break at the end of the text is going to be taken away.
    """

    source: Source
    step: str = "  "
    loses_end: bool = False
    _pieces: list[tuple[int, int, str]] = field(default_factory=list)

    def result(self) -> str:
        """Return the text with all changes made; of pieces that overlap each removes what is left of it."""
        parts, done = list[str](), 0
        for start, end, new in sorted(self._pieces, key=lambda piece: piece[:2]):
            parts += [self.source.text[done:start], new]
            done = max(done, end)
        return "".join([*parts, self.source.text[done:]])

    def revise(self, entry: Entry, pairs: Mapping[str, Value | None], drops: Collection[str]) -> None:
        """Let the mapping that is the value of `entry` have `pairs` and not `drops`, which stand in it."""
        node = entry.value
        if not isinstance(node, MapSpan):
            self.extend(entry, Fresh(pairs))
            return
        own = node.own()
        for key in pairs.keys() & own.keys():
            self._replace(own[key], pairs[key])
        added = {key: value for key, value in pairs.items() if key not in own}
        self._change(node, [own[key] for key in own if key in drops], Fresh(added), entry)

    def extend(self, entry: Entry, fresh: Fresh) -> None:
        """Add to the mapping that is the value of `entry`; an alias becomes a merge key, nothing becomes a mapping."""
        node = entry.value
        if isinstance(node, MapSpan):
            bare = not node.entries and "#" not in self.source.clean[node.start : node.end]
            if entry.owner.flow or not bare or not _nested(fresh):
                self._change(node, [], fresh, entry)
                return
        elif isinstance(followed(node), MapSpan):
            fresh = Fresh(fresh.pairs, self.source.text[node.at : node.end])
        self._become(entry, fresh)

    def add(self, node: MapSpan, fresh: Fresh) -> None:
        """Add to a mapping that has entries."""
        self._change(node, [], fresh, node.entries[-1])

    def _note(self, start: int, end: int, new: str = "") -> None:
        self._pieces.append((start, end, new))

    # -- one value

    def _replace(self, entry: Entry, value: Value | None) -> None:
        node, flow = entry.value, entry.owner.flow
        if not isinstance(node, ScalarSpan):
            self._write(entry, scalar(value, FRESH, flow=flow))
        elif node.style in ("|", ">"):
            self._replace_block_scalar(entry, node, value)
        else:
            self._write(entry, scalar(value, node.style, flow=flow))

    def _write(self, entry: Entry, text: str) -> None:
        """Put a text in the place of a value; an anchor before it stays."""
        node, clean = entry.value, self.source.clean
        if node.start == node.end and self.source.colon(entry) is None:
            if entry.owner.flow:
                self._note(node.start, node.end, f": {text}")
                return
            column = self._column(entry)
            at = self.source.next_line(node.end)
            self._note(at, at, f"{column}: {text}{self._break(node.end)}")
            return
        space = "" if clean[node.start - 1] in " \t\r\n" else " "
        self._note(node.start, node.end, space + text)

    def _replace_block_scalar(self, entry: Entry, node: ScalarSpan, value: Value | None) -> None:
        old = self.source.clean[node.start : node.end]
        header = _LITERAL_HEADER.match(old)
        marks, comment = (header[1], header[2] or "") if header else ("", "")
        if node.style != "|" or self.loses_end or not isinstance(value, str) or not fits_literal(value):
            self._note(node.start, self._last_line(node), scalar(value, FRESH) + comment)
            return
        first = re.search(r"[\r\n]( +)[^ \r\n]", old)
        indent = first[1] if first and not re.search(r"\d", marks) else self._column(entry) + self.step
        lines = [indent + line if line else "" for line in value.removesuffix("\n").split("\n")]
        chomping = "" if value.endswith("\n") else "-"
        self._note(node.start, self._last_line(node), self._break(node.start).join([f"|{chomping}{comment}", *lines]))

    def _last_line(self, node: Span) -> int:
        """Return the end of the last line of a block scalar; one that keeps its blank lines ends below them."""
        return self._line_above(node.end) if self.source.clean[node.end - 1] in "\r\n" else node.end

    # -- entries of a mapping

    def _change(self, node: MapSpan, drops: Sequence[Entry], fresh: Fresh, entry: Entry) -> None:
        if not drops and not fresh.pairs:
            return
        if node.flow:
            self._change_flow(node, drops, list(flow_entries(fresh, _quotes(node))))
            return
        for dropped in drops:
            self._drop_lines(dropped)
        if fresh.pairs:
            last = node.entries[-1]
            self._insert_lines(fresh, last.end, self._column(last), _quotes(node))
        elif len(drops) == len(node.entries):
            anchor = self.source.clean[node.at : node.start].split()[:1]
            at = node.at + len(anchor[0]) if anchor else self.source.colon(entry) or entry.key.end
            self._note(at, at, " {}")

    def _drop_lines(self, entry: Entry) -> None:
        start = self.source.line_start(entry.start)
        if self.source.clean[start : entry.start].strip(" "):
            raise Unsafe("its keys do not stand on lines of their own")
        self._note(start, self.source.next_line(entry.end))

    def _insert_lines(self, fresh: Fresh, after: int, indent: str, quotes: Quotes, deeper: str = "") -> None:
        """Write lines below the line of `after`, and below the comments that are indented further than `indent`."""
        at = self.source.next_line(after)
        below = re.compile(rf"(?:{deeper or indent + ' '} *#[^\r\n]*(?:\r\n?|\n))*").match(self.source.clean, at)
        at = below.end() if below else at
        ending = self._break(after)
        self._note(at, at, "".join(line + ending for line in in_block(fresh, indent, self.step, quotes)))

    def _become(self, entry: Entry, fresh: Fresh) -> None:
        """Write a mapping in the place of an alias, of an empty mapping or of nothing."""
        node, clean = entry.value, self.source.clean
        if entry.owner.flow:
            self._write(entry, in_flow(fresh, _quotes(entry.owner)))
            return
        start = node.start
        while clean[start - 1] in " \t":
            start -= 1
        if self.source.colon(entry) is None or clean[start - 1] in "\r\n":
            raise Unsafe("its value does not stand on the line of its key")
        if node.start < node.end:
            self._note(start, node.end)
        column = self._column(entry)
        self._insert_lines(fresh, node.end, column + self.step, Quotes(), deeper=column + " ")

    # -- a flow mapping

    def _change_flow(self, node: MapSpan, drops: Sequence[Entry], texts: Sequence[str]) -> None:
        segments = self._segments(node)
        gone = {id(entry) for entry in drops}
        kept = [segment for segment in segments if id(segment.entry) not in gone]
        for segment, following in zip(segments, [*segments[1:], None], strict=False):
            if id(segment.entry) in gone:
                self._drop_segment(segment, following, last=not kept or segment.lead > kept[-1].lead)
        if texts:
            self._add_segments(node, segments, kept, texts)
        elif kept and kept[-1] is not segments[-1]:
            self._drop_last_comma(kept[-1], segments[-1])

    def _segments(self, node: MapSpan) -> list[_Segment]:
        segments, lead = list[_Segment](), node.start + 1
        for entry, following in zip(node.entries, [*node.entries[1:], None], strict=False):
            until = following.start if following else node.end - 1
            comma = self._comma(entry.end, until)
            tail = entry.end if comma is None else comma + 1
            found = LINE_BREAK.search(self.source.clean, tail, until)
            segments.append(_Segment(entry, lead, comma, found.start() if found else tail))
            lead = segments[-1].tail
        return segments

    def _comma(self, start: int, end: int) -> int | None:
        gap = re.sub(r"#[^\r\n]*", lambda comment: "#" * len(comment[0]), self.source.clean[start:end])
        return start + gap.index(",") if "," in gap else None

    def _starts_line(self, index: int) -> bool:
        return self.source.clean[index] in "\r\n"

    def _alone(self, segment: _Segment) -> bool:
        """Tell whether an entry of a flow mapping has its lines for itself."""
        lead = self.source.clean[segment.lead : segment.entry.start]
        return LINE_BREAK.search(lead) is not None and self._starts_line(segment.tail)

    def _drop_segment(self, segment: _Segment, following: _Segment | None, *, last: bool) -> None:
        clean = self.source.clean
        if self._alone(segment):
            self._note(self._line_above(segment.entry.start), segment.tail)
        elif "#" in clean[segment.behind : segment.tail]:  # of the whole line, so it stays
            self._note(segment.entry.start, segment.behind)
        elif last and not clean[segment.lead : segment.entry.start].strip(" \t"):
            self._note(segment.lead, segment.behind)
        else:
            inline = following is not None and not self._starts_line(segment.tail)
            self._note(segment.entry.start, following.entry.start if following and inline else segment.behind)

    def _line_above(self, index: int) -> int:
        """Return where the line above that of `index` ends."""
        start = self.source.line_start(index)
        return start - (2 if self.source.clean[start - 2 : start] == "\r\n" else 1)

    def _drop_last_comma(self, segment: _Segment, last: _Segment) -> None:
        """Remove the comma of an entry that has become the last one, where lines do not end with commas anyway."""
        if last.comma is not None or segment.comma is None or self._alone(last):
            return
        if not re.search(r"[#\r\n]", self.source.clean[segment.comma : last.entry.start]):
            self._note(segment.comma, segment.comma + 1)

    def _add_segments(
        self, node: MapSpan, segments: Sequence[_Segment], kept: Sequence[_Segment], texts: Sequence[str]
    ) -> None:
        if not kept:
            self._note(node.start + 1, node.start + 1, ", ".join(texts))
            return
        last = kept[-1]
        trailing = "," if segments[-1].comma is not None and last is segments[-1] else ""
        # Right behind a colon a comma would be part of the key.
        comma = " ," if self.source.clean[last.entry.end - 1] == ":" else ","
        comma = "" if last.comma is not None else comma
        if not self._alone(last):
            self._note(last.behind, last.behind, f"{comma} {', '.join(texts)}{trailing}")
            return
        if last.comma is None:
            self._note(last.entry.end, last.entry.end, comma)
        start = self.source.line_start(last.entry.start)
        margin = self._break(start) + self.source.text[start : last.entry.start]
        self._note(last.tail, last.tail, margin + f",{margin}".join(texts) + trailing)

    # -- entries that go to other sections

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

    # -- where things stand

    def _column(self, entry: Entry) -> str:
        """Return the indentation of an entry."""
        return " " * (entry.start - self.source.line_start(entry.start))

    def _break(self, index: int) -> str:
        """Return the line break that is used around a place."""
        found = LINE_BREAK.search(self.source.clean, index) or LINE_BREAK.search(self.source.clean)
        return found[0] if found else "\n"


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


def _nested(fresh: Fresh) -> bool:
    return any(isinstance(value, Fresh) for value in fresh.pairs.values())


def _quotes(node: MapSpan) -> Quotes:
    """Return the quotes of the last entry: what is added beside it is quoted alike."""
    last = next((entry for entry in reversed(node.entries) if not entry.merges), None)
    keys, values = (_quote(last.key), _quote(last.value)) if last else (FRESH, FRESH)
    return Quotes(keys, '"' if node.flow and keys == '"' else values)


def _quote(span: Span) -> str:
    return span.style if isinstance(span, ScalarSpan) and span.style in ("'", '"') else FRESH
