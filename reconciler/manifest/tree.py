"""The tree of one YAML document: plain data whose mappings and lists know where each entry stands."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from reconciler.errors import Location, Problem

Place: TypeAlias = int
"""A line and a column, both from 0, packed into one number (`line << 32 | column`): cheap by the hundred thousand."""

COLUMNS = 0xFFFFFFFF
"""The part of a place that is its column."""
LINE_BREAK = re.compile(r"\r\n?|\n")


@dataclass(frozen=True, slots=True)
class Unclear:
    """A number or a date that readers of YAML disagree on, or that is none (`007`, `1_000`, `.inf`, `2024-13-01`)."""

    raw: str


@dataclass(frozen=True, slots=True)
class Plain:
    """What was written where an unquoted scalar is no string: its text, and what YAML takes it for."""

    raw: str
    sort: str


class Map(dict[str, Any]):
    """A mapping, merge keys resolved: `keys_at` and `values_at` have the places of each entry.

    `size` and `depth` are those of the whole below it, with aliases written out.
    """

    __slots__ = ("at", "depth", "keys_at", "size", "values_at")

    def __init__(self, at: Place = 0) -> None:
        super().__init__()
        self.at = at
        self.keys_at: dict[str, Place] = {}
        self.values_at: dict[str, Place] = {}
        self.size = 1
        self.depth = 1


class Seq(list[Any]):
    """A list; `items_at` has the place of each entry, `size` and `depth` as in `Map`."""

    __slots__ = ("at", "depth", "items_at", "size")

    def __init__(self, at: Place = 0) -> None:
        super().__init__()
        self.at = at
        self.items_at: list[Place] = []
        self.size = 1
        self.depth = 1


@dataclass(frozen=True, slots=True)
class Twice:
    """A key that a mapping has twice; the first one counts."""

    owner: Map
    key: str
    first: Place
    second: Place


@dataclass(slots=True)
class YamlFile:
    """One file: its tree, and what was wrong with it already as YAML.

    `readable` is false where no whole tree could be built. An empty file is readable and its root is `None`. `cut`
    is the place of the fault where the tree ends too early: then `root` has what stands before it, for the sake of
    its problems only. `odd_keys` are the places of keys that are no strings (already a problem). `plains` has the
    unquoted scalars that are no strings, by place, `undefined` the places of aliases that refer to nothing (a
    problem too, whatever else might be said there).
    """

    file: str
    root: Any = None
    readable: bool = False
    cut: Location | None = None
    problems: list[Problem] = field(default_factory=list)
    twice: list[Twice] = field(default_factory=list)
    plains: dict[Place, Plain] = field(default_factory=dict)
    odd_keys: set[Place] = field(default_factory=set)
    undefined: set[Location] = field(default_factory=set)

    def location(self, place: Place) -> Location:
        """Return the place as people count it."""
        return location(self.file, place)

    def complain(self, code: str, message: str, place: Place) -> None:
        """Note a problem."""
        self.problems.append(Problem(code, message, self.location(place)))


def location(file: str, place: Place) -> Location:
    """Return a packed place as people count it: from 1."""
    return Location(file, (place >> 32) + 1, (place & COLUMNS) + 1)


def place_of(text: str, index: int) -> Place:
    """Return the place of the character at `index`."""
    line, start = 0, 0
    for found in LINE_BREAK.finditer(text, 0, index):
        line, start = line + 1, found.end()
    return line << 32 | (index - start)
