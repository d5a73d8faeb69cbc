"""Long values, cut so that what matters of them stays in sight.

What is left out is told outside the quotes, as a number of characters: `(87)…"see the letter of May"…(322)`. So no
value can be mistaken for a shortened one, or the other way round. The whole values are in the JSON document.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from functools import lru_cache
from json.encoder import encode_basestring
from typing import TYPE_CHECKING, NamedTuple
from unicodedata import normalize

from reconciler.render.columns import cells, joins
from reconciler.words import plain, spelling, without_commands

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

LONGEST = 80
"""Cells of a value, or a key, that are shown where there is room for any number."""
LEAST = 24
"""The same where there is hardly room."""
LEGEND = "…(N) stands for N characters that are left out; a JSON document (`--out json=FILE`) has the whole values."
_AROUND = (20, 12, 8, 4, 2, 0)
"""Characters shown on either side of a difference: as many as there is room for."""
_GAP = 8
"""Characters that are not worth leaving out: the mark in their place is as long."""
_BESIDE = 4
"""The same where what differs is too long itself."""
_TWO_PARTS = 48
"""Cells from which on the beginning and the end of what differs are shown; with fewer, its beginning."""


def marked(text: str) -> bool:
    """Tell whether a text may have something left out, so that a reader needs the legend."""
    return "…(" in text or ")…" in text


def one(value: object, room: int = LONGEST) -> str:
    """Return a value, its beginning and its end if it is longer than `room` cells."""
    room = max(room, LEAST)
    if not isinstance(value, str):
        text = _Text(json.dumps(value, ensure_ascii=False), plain)
        return text.part(0, len(text.raw), room) or text.ends(0, len(text.raw), room)
    if len(value) <= room and (short := _short(value))[1] <= room:
        return short[0]
    return _Text(value, _quoted).ends(0, len(value), room)


def two(before: object, after: object, room: int = LONGEST) -> tuple[str, str]:
    """Return two values that differ, each around the difference if it is longer than `room` cells.

    Values that would look the same (composed and decomposed characters) are shown with escapes.
    """
    if not (isinstance(before, str) and isinstance(after, str)):
        return one(before, room), one(after, room)
    room = max(room, LEAST)
    if _look_the_same(before, after):
        return _around(before, after, room, _escaped)
    if max(len(before), len(after)) <= room:
        first, second = _short(before), _short(after)
        if max(first[1], second[1]) <= room:
            return first[0], second[0]
    return _around(before, after, room, _quoted)


@lru_cache(4096)
def name(text: str, room: int = LONGEST) -> str:
    """Return a key as `words.named` does, its beginning and its end if it is longer than `room` cells."""
    room = max(room, LEAST)
    whole = _Text(text, spelling(text))
    return whole.part(0, len(text), room) or whole.ends(0, len(text), room, parts=2)


@lru_cache(4096)
def _short(text: str) -> tuple[str, int]:
    """Return a short string in quotes, and its cells: the same ones stand on many resources."""
    shown = _quoted(text)
    return shown, cells(shown)


# --- which part -------------------------------------------------------------------------------------------------------


def _around(before: str, after: str, room: int, look: Callable[[str], str]) -> tuple[str, str]:
    """Return both with as much around the difference as there is room for, the same for both."""
    head, tail = _shared(before, after)
    texts = _Text(before, look), _Text(after, look)
    found: list[str | None] = [None, None]
    for around in _AROUND:
        shown = [text.part(head - around, len(text.raw) - tail + around, room) for text in texts]
        found = [first or then for first, then in zip(found, shown, strict=True)] if None in shown else [*shown]
        if None not in shown:
            break
    first, second = (
        shown or text.ends(head, len(text.raw) - tail, room) for shown, text in zip(found, texts, strict=True)
    )
    return first, second


def _shared(before: str, after: str) -> tuple[int, int]:
    """Return how many characters two texts have in common at their beginnings, and behind that at their ends."""
    shorter = min(len(before), len(after))
    # Comparing slices is quick, and values that others wrote may have any length.
    head = bisect_left(range(1, shorter + 1), 1, key=lambda size: before[:size] != after[:size])
    while head and any(head < len(text) and joins(text[head]) for text in (before, after)):
        head -= 1  # a mark differs, so what it sits on looks different as well
    rest = shorter - head
    tail = bisect_left(range(1, rest + 1), 1, key=lambda size: before[-size:] != after[-size:])
    while tail and joins(before[-tail]):
        tail -= 1
    return head, tail


class _Text(NamedTuple):
    """A text, and how characters of it are written."""

    raw: str
    look: Callable[[str], str]

    def part(self, start: int, end: int, room: int) -> str | None:
        """Return all of it if that fits, else a part with what is not worth leaving out; `None` if not even that."""
        size = len(self.raw)
        if size <= room and cells(whole := self.look(self.raw)) <= room:
            return whole
        start, end = 0 if start <= _GAP else start, size if size - end <= _GAP else end
        if end - start <= room and (start, end) != (0, size) and cells(shown := self._joined([(start, end)])) <= room:
            return shown
        return None

    def ends(self, start: int, end: int, room: int, parts: int | None = None) -> str:
        """Return the beginning and the end of a part that is too long, with a little before and behind it."""
        digits = len(str(len(self.raw)))
        parts = parts or (2 if room >= _TWO_PARTS else 1)
        half = (room - (parts + 1) * (digits + 4)) // parts - 2
        before = start - self._little(max(0, start - _BESIDE), start, half)
        first = self._forward(before, half)
        if parts == 1 or first >= end:
            return self._joined([(before, first)])
        behind = end + self._little(end, min(len(self.raw), end + _BESIDE), half)
        return self._joined([(before, first), (max(first, self._backward(behind, half)), behind)])

    def _little(self, start: int, end: int, half: int) -> int:
        """Return how many characters are shown beside a part: none where they would leave too little room for it."""
        return end - start if cells(self.look(self.raw[start:end])) - 2 <= half // 2 else 0

    def _forward(self, start: int, room: int) -> int:
        end = start + self._fitting(lambda size: self.raw[start : start + size], room, len(self.raw) - start)
        while start + 1 < end < len(self.raw) and joins(self.raw[end]):
            end -= 1
        return end

    def _backward(self, end: int, room: int) -> int:
        start = end - self._fitting(lambda size: self.raw[end - size : end], room, end)
        while start < end - 1 and joins(self.raw[start]):
            start += 1
        return start

    def _fitting(self, cut: Callable[[int], str], room: int, most: int) -> int:
        """Return how many characters of a cut fit into a room; one at least, if there is any."""
        size = min(most, room)
        while size > 1 and (over := cells(self.look(cut(size))) - 2 - room) > 0:
            size = max(1, size - max(1, over // 12))  # no character takes more than 12 cells
        return size

    def _joined(self, spans: Sequence[tuple[int, int]]) -> str:
        shown, at = "", 0
        for start, end in spans:
            left = start - at
            shown += (f"…({left})…" if at else f"({left})…") if left else ""
            shown += self.look(self.raw[start:end])
            at = end
        left = len(self.raw) - at
        return shown + (f"…({left})" if left else "")


# --- how it is written ------------------------------------------------------------------------------------------------


def _quoted(text: str) -> str:
    """Return what `words.quoted` does of a string, in half the time."""
    return plain(encode_basestring(text))


def _look_the_same(before: str, after: str) -> bool:
    if before.isascii() and after.isascii():
        return False
    return normalize("NFC", before) == normalize("NFC", after)


def _escaped(text: str) -> str:
    return without_commands(json.dumps(text))
