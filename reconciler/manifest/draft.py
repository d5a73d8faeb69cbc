"""A text with changes pencilled in: nothing else than what they touch is written anew.

Each change notes which characters give way to which; the draft carries it all out at once (`Draft.result`). Whether
the text then means what it should is for others to judge.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from reconciler.manifest.notation import FRESH, Fresh, Quotes, fits_literal, flow_entries, in_block, in_flow, scalar
from reconciler.manifest.spans import Entry, MapSpan, ScalarSpan, followed
from reconciler.manifest.tree import LINE_BREAK

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from reconciler.manifest.spans import Source, Span
    from reconciler.model import Value

_LITERAL_HEADER = re.compile(r"[|>]([-+0-9]*)([ \t]+#[^\r\n]*)?")


class Unsafe(Exception):
    """An edit cannot be made here without a risk to what stands around it; the message says why."""


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

    # -- where things stand

    def _column(self, entry: Entry) -> str:
        """Return the indentation of an entry."""
        return " " * (entry.start - self.source.line_start(entry.start))

    def _break(self, index: int) -> str:
        """Return the line break that is used around a place."""
        found = LINE_BREAK.search(self.source.clean, index) or LINE_BREAK.search(self.source.clean)
        return found[0] if found else "\n"


def _nested(fresh: Fresh) -> bool:
    return any(isinstance(value, Fresh) for value in fresh.pairs.values())


def _quotes(node: MapSpan) -> Quotes:
    """Return the quotes of the last entry: what is added beside it is quoted alike."""
    last = next((entry for entry in reversed(node.entries) if not entry.merges), None)
    keys, values = (_quote(last.key), _quote(last.value)) if last else (FRESH, FRESH)
    return Quotes(keys, '"' if node.flow and keys == '"' else values)


def _quote(span: Span) -> str:
    return span.style if isinstance(span, ScalarSpan) and span.style in ("'", '"') else FRESH
