"""What one valid manifest declares, as plain columns: cheap to make, to keep in a cache and to compare.

A resource becomes a `Desired` only when somebody asks for it. To count resources, to look for what is declared twice
and to tell what differs from another version of the file, the columns are enough. They are lists, dicts, strings and
numbers, all of which come back from JSON as they were, so that a manifest from the cache is the one that was parsed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain, repeat
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

from reconciler.errors import Location, Problem
from reconciler.manifest.tree import location
from reconciler.model import Acceptance, Desired, Ownership, Ref

if TYPE_CHECKING:
    from reconciler.manifest.tree import Place

Row: TypeAlias = dict[str, Any] | list[Any]
"""What is declared for one resource, the defaults merged in.

Its metadata, or `[metadata, ownership, ignore, protect, accept]` where those are not what they are without a word; an
entry of `accept` is `[key, value, until, reason]`.
"""

Shape: TypeAlias = dict[str, int]
"""Where the keys of a resource stand: that far behind its id, or `~place` for what stands elsewhere (the defaults, an
anchor). Resources that are written alike share one, however many they are."""

_text = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


class Places(Mapping[str, Location]):
    """Where each key of a resource stands; the locations are made when somebody asks."""

    __slots__ = ("_at", "_file", "_shape")

    def __init__(self, file: str, at: Place, shape: Shape) -> None:
        self._file = file
        self._at = at
        self._shape = shape

    def __getitem__(self, key: str) -> Location:
        offset = self._shape[key]
        return location(self._file, self._at + offset if offset >= 0 else ~offset)

    def __iter__(self) -> Iterator[str]:
        return iter(self._shape)

    def __len__(self) -> int:
        return len(self._shape)


class Lines:
    """Rows as they are kept: a line of JSON each, taken apart when somebody asks. The same line declares the same."""

    def __init__(self, text: str) -> None:
        self._text = text

    @cached_property
    def lines(self) -> list[str]:
        """The lines, in order."""
        return self._text.split("\n")

    def __len__(self) -> int:
        return self._text.count("\n") + 1

    def __getitem__(self, index: int) -> Row:
        return row_of(self.lines[index])

    def __iter__(self) -> Iterator[Row]:
        # No string of JSON has a line break, so all lines can be read in one go.
        yield from json.loads("[" + self._text.replace("\n", ",") + "]")


def row_of(line: str) -> Row:
    """Return the row that a line of JSON holds."""
    row: Row = json.loads(line)
    return row


@dataclass(frozen=True, slots=True)
class Table:
    """The resources of one file: `ids` by the name of their kind, and columns in the same order.

    `places` has the place of each id, `forms` the index of each one's shape among `shapes`, `rows` what it declares.
    """

    file: str = ""
    ids: Mapping[str, Sequence[str]] = field(default_factory=dict)
    places: Sequence[Place] = ()
    shapes: Sequence[Shape] = ()
    forms: Sequence[int] = ()
    rows: Sequence[Row] | Lines = ()

    def __len__(self) -> int:
        return len(self.places)

    def lines(self) -> Sequence[str]:
        """Return what each resource declares as a line of JSON."""
        return self.rows.lines if isinstance(self.rows, Lines) else list(map(_text, self.rows))

    def sections(self) -> Iterator[tuple[str, int, Sequence[str]]]:
        """Yield each kind, where its resources begin in the columns, and their ids."""
        start = 0
        for kind, ids in self.ids.items():
            yield kind, start, ids
            start += len(ids)

    def declared(self) -> Iterator[tuple[Ref, Location]]:
        """Yield every resource with the place of its id."""
        for ref, at in zip(self._refs(), self.places, strict=True):
            yield ref, location(self.file, at)

    def resources(self) -> Iterator[Desired]:
        """Yield what every resource asks for."""
        for ref, at, form, row in zip(self._refs(), self.places, self.forms, self.rows, strict=True):
            yield desired_of(ref, row, location(self.file, at), Places(self.file, at, self.shapes[form]))

    def resource(self, ref: Ref, index: int) -> Desired:
        """Return what one resource asks for; `index` is its place in the columns."""
        at, shape = self.places[index], self.shapes[self.forms[index]]
        return desired_of(ref, self.rows[index], location(self.file, at), Places(self.file, at, shape))

    def _refs(self) -> Iterator[Ref]:
        return chain.from_iterable(map(Ref, repeat(kind), ids) for kind, ids in self.ids.items())


@dataclass(frozen=True)
class FileManifest:
    """What one file declares, or what is wrong with it.

    A file with problems has no resources; `refused` has what it declares all the same, so that a resource declared
    twice is found across files in any case.
    """

    table: Table = field(default_factory=Table)
    problems: tuple[Problem, ...] = ()
    refused: tuple[tuple[Ref, Location], ...] = ()

    @cached_property
    def resources(self) -> tuple[Desired, ...]:
        """What the resources of the file ask for, in the order of the kinds and then of the file."""
        return tuple(self.table.resources())

    def declared(self) -> Iterator[tuple[Ref, Location]]:
        """Yield every resource with the place of its id."""
        yield from self.refused
        yield from self.table.declared()


def desired_of(
    ref: Ref, row: Row, place: Location | None = None, sources: Mapping[str, Location] = MappingProxyType({})
) -> Desired:
    """Return what a row asks for."""
    if isinstance(row, dict):
        return Desired(ref, MappingProxyType(row), location=place, sources=sources)
    metadata, ownership, ignore, protect, accept = row
    accepted = tuple(Acceptance(*one) for one in accept)
    frozen = MappingProxyType(metadata)
    return Desired(ref, frozen, Ownership(ownership), tuple(ignore), protect, accepted, place, sources)
