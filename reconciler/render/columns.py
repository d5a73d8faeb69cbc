"""Texts in the cells of a terminal: how wide they are, and where their lines break.

A cell is what one Latin letter takes. East Asian wide characters take two, marks that sit on the one before them none
(Unicode, annex 11); what is measured has been made printable before, and has no colours yet.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING
from unicodedata import category, east_asian_width

from click import style

from reconciler.words import plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

NARROWEST = 20
"""Columns that lines are laid out for at least: with fewer there is no layout that helps."""
_MARKS = frozenset(["Mn", "Me"])
_SIMPLE = re.compile("[ -\u02ff\u2192\u2026]*").fullmatch
"""Latin letters and the signs between our values, which take one cell each: nobody has to look them up."""
_JAMO = range(0x1160, 0x1200)
"""Korean vowels and final consonants, which join the letter before them."""
_WORD = re.compile(r"[^ `]*`[^`]{1,160}`[^ `]*|[^ ]+")
"""A word, or a command in backquotes, which is copied as one."""


def cells(text: str) -> int:
    """Return how many cells a printable text takes."""
    if text.isascii() or _SIMPLE(text):
        return len(text)
    return sum(map(_cells_of, text))


@lru_cache(4096)
def _cells_of(char: str) -> int:
    if joins(char):
        return 0
    return 2 if east_asian_width(char) in "WF" else 1


def joins(char: str) -> bool:
    """Tell whether a character sits on the one before it, so that the two are not to be torn apart."""
    return category(char) in _MARKS or ord(char) in _JAMO


def padded(text: str, width: int) -> str:
    """Return `text` with spaces behind it up to a width in cells."""
    return text + " " * (width - cells(text))


def _look(**of_style: bool | str) -> Callable[[str], str]:
    """Return `click.style` with these arguments, which costs thousands of rows less time so."""
    begin, _, end = style("\0", **of_style).partition("\0")  # type: ignore[arg-type]
    return lambda text: f"{begin}{text}{end}"


bold, dim = _look(bold=True), _look(dim=True)
red, green, yellow, magenta = _look(fg="red"), _look(fg="green"), _look(fg="yellow"), _look(fg="magenta")


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a sentence: printable text, how it looks, and whether it stays whole (an id, a place)."""

    text: str
    look: Callable[[str], str] = str
    whole: bool = False


def flowed(pieces: Iterable[Piece | str], width: int | None, indent: int = 4) -> Iterator[str]:
    """Yield the lines of a sentence; those after the first begin with `indent` spaces.

    Pieces follow each other with a space between them. A word that is longer than a line is broken, unless it is to
    stay whole: the terminal then wraps it, and it can be copied. Nothing is broken where nothing bounds a line.
    """
    given = [Piece(piece) if isinstance(piece, str) else piece for piece in pieces]
    if width is None or sum(cells(piece.text) + 1 for piece in given) <= width + 1:
        yield " ".join([piece.look(piece.text) for piece in given])
        return
    width = max(width, NARROWEST)
    line, used, first = "", 0, True
    for word in _words(given, width - indent):
        size = cells(word.text)
        if not first and used + 1 + size > width:
            yield line
            line, used, first = " " * indent, indent, True
            # Behind white space at the start of a line a CI service takes `::` for the beginning of a command.
            word = Piece(plain(word.text), word.look)
            size = cells(word.text)
        line += word.look(word.text) if first else f" {word.look(word.text)}"
        used += size if first else size + 1
        first = False
    yield line


def _words(pieces: Iterable[Piece], width: int) -> Iterator[Piece]:
    for piece in pieces:
        if piece.whole:
            yield piece
            continue
        for word in _WORD.findall(piece.text):
            parts = [word] if word.count("`") > 1 else broken(word, width)
            yield from (Piece(part, piece.look) for part in parts)


def broken(text: str, width: int) -> Iterator[str]:
    """Yield a text in parts of at most `width` cells, marks with what they sit on."""
    if cells(text) <= width:
        yield text
        return
    part, used = "", 0
    for char in text:
        size = _cells_of(char)
        if part and used + size > width and size:
            yield part
            part, used = "", 0
        part += char
        used += size
    yield part
