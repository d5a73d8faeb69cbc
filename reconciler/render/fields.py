"""The fields of one resource as rows: sign, key, values, cause and place in columns.

A row that is too long for the terminal is laid out below itself, first its cause and place, then its values as well.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from reconciler.compare import Cause
from reconciler.diff import Op
from reconciler.render.columns import Piece, cells, dim, flowed, green, magenta, padded, red, yellow
from reconciler.render.excerpts import LONGEST, name, one, two
from reconciler.render.wording import OUTSIDE
from reconciler.words import plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from reconciler.document import FieldPart, Place

    Tell: TypeAlias = Callable[[FieldPart, int], Sequence["Side"]]

SIGNS = {Op.ADD: green("+"), Op.REPLACE: yellow("~"), Op.REMOVE: red("-")}
_CAUSES: dict[Cause, Callable[[str], str]] = {Cause.DRIFT: magenta, Cause.CONFLICT: red}
_ALIGNED = 48
"""Cells of values that others are aligned with; longer ones stand out instead of pushing all others away."""
_ALIGNED_KEY = 32
"""The same of keys."""


class Side(NamedTuple):
    """One of the values of a field, with the word before it."""

    word: str
    text: str

    def __str__(self) -> str:
        """Return both as they stand in a row."""
        return f"{self.word} {self.text}" if self.word else self.text


def values(field: FieldPart, room: int) -> Sequence[Side]:
    """Return what is there and what will be, each in so many cells."""
    if field.op is Op.ADD:
        return [Side("", one(field.after, room))]
    if field.op is Op.REMOVE:
        return [Side("", one(field.before, room))]
    before, after = two(field.before, field.after, room)
    return [Side("", before), Side("→", after)]


def values_of_drift(field: FieldPart, room: int) -> Sequence[Side]:
    """Return the same told from the other side: what git says, and what became of it."""
    if field.before is None:
        return [Side("git says", f"{one(field.after, room)},"), Side("", "and it is gone")]
    if field.after is None:
        return [Side("git says", "nothing,"), Side("there:", one(field.before, room))]
    there, git = two(field.before, field.after, room)
    return [Side("git says", f"{git},"), Side("there:", there)]


class _Row(NamedTuple):
    """A field with its key, values and place as they are shown, and the cells that each of them takes."""

    field: FieldPart
    key: str
    key_size: int
    sides: Sequence[Side]
    text: str
    text_size: int
    place: str
    place_size: int

    @classmethod
    def of(cls, field: FieldPart, tell: Tell) -> _Row:
        """Return the row of a field."""
        sides = tell(field, LONGEST)
        text = sides[0].text if len(sides) == 1 else " ".join([str(side) for side in sides])
        key, where = name(field.key), place(field.source)
        return cls(field, key, cells(key), sides, text, cells(text), where, cells(where))

    def width(self, keys: int, long: int, causes: int) -> int:
        """Return the cells of its one line, with columns of these widths."""
        size = 8 + max(keys, self.key_size) + max(long, self.text_size)
        return size + (causes + 2 + self.place_size if self.place else len(self.field.cause))

    def line(self, sign: str, keys: int, long: int, causes: int) -> str:
        """Return its one line, with columns of these widths."""
        key, text = self.key + " " * (keys - self.key_size), self.text + " " * (long - self.text_size)
        cause = _cause(self.field, causes if self.place else 0)
        return (
            f"  {sign} {key}  {text}  {cause}  {dim(self.place)}" if self.place else f"  {sign} {key}  {text}  {cause}"
        )


def rows(
    fields: Sequence[FieldPart], tell: Tell, width: int | None, *, outside: bool = False
) -> Iterator[tuple[FieldPart, Sequence[str]]]:
    """Yield each field with the lines of its row; `outside`: the signs are for what somebody did, not what we will."""
    made = [_Row.of(field, tell) for field in fields]
    keys = max([row.key_size for row in made if row.key_size <= _ALIGNED_KEY], default=0)
    causes = max([len(row.field.cause) for row in made], default=0)
    short = [row for row in made if width is None or row.width(keys, 0, causes) <= width]
    long = max([min(row.text_size, _ALIGNED) for row in short], default=0)
    for row in made:
        sign = SIGNS[OUTSIDE[row.field.op] if outside else row.field.op]
        if width is None or row.width(keys, long, causes) <= width:
            yield row.field, (row.line(sign, keys, long, causes),)
        else:
            yield row.field, tuple(_stacked(row, sign, min(keys, width // 3), width, tell))


def _cause(field: FieldPart, width: int = 0) -> str:
    cause = field.cause.ljust(width)
    return _CAUSES[field.cause](cause) if field.cause in _CAUSES else cause


def _stacked(row: _Row, sign: str, keys: int, width: int, tell: Tell) -> Iterator[str]:
    """Yield a row whose cause and place stand below it; so do its values where they, too, are too long."""
    if 6 + max(keys, row.key_size) + row.text_size <= width:
        yield f"  {sign} {padded(row.key, keys)}  {row.text}"
    else:
        yield f"  {sign} {name(row.field.key, min(LONGEST, width - 4))}"
        yield from _below(row, width, tell)
    if not row.place:
        yield f"    {_cause(row.field)}"
    elif 6 + len(row.field.cause) + row.place_size <= width:
        yield f"    {_cause(row.field)}  {dim(row.place)}"
    else:
        yield from (f"    {_cause(row.field)}", f"    {dim(row.place)}")


def _below(row: _Row, width: int, tell: Tell) -> Iterator[str]:
    """Yield the values one below the other, the words before them at their right."""
    before = 6 + max(cells(side.word) + 1 if side.word else 0 for side in row.sides)
    room = width - before - 1
    fitting = all(cells(side.text) <= room for side in row.sides)
    for side in row.sides if fitting else tell(row.field, min(LONGEST, room)):
        word = f"{side.word} " if side.word else ""
        yield f"{' ' * (before - cells(word))}{word}{side.text}"


def indented(pieces: Sequence[Piece | str], width: int | None, by: int = 4) -> Iterator[str]:
    """Yield the lines of a sentence, all of them indented."""
    room = None if width is None else width - by
    for line in flowed(pieces, room, indent=2):
        yield f"{' ' * by}{line}"


def place(source: Place | None) -> str:
    """Return such as `manifests/support.yaml:9:7`."""
    return f"{_file(source.file)}:{source.line}:{source.column}" if source else ""


_file = lru_cache(1024)(plain)
"""A file name made printable: few files have many places."""
