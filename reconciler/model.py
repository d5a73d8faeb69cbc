"""The values that everything else speaks in: references, metadata maps, what is desired, observed, remembered.

All of them are immutable. A metadata map is a read-only mapping (`frozen_map`), because a frozen
dataclass around a plain dict would still be open to change.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import translate
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from reconciler.errors import Fault, Location

Value: TypeAlias = str | int | float | bool
"""What a manifest may declare for a key; numbers and booleans only where the kind's row allows them."""

Json: TypeAlias = Any
"""What an API may answer for a key: any JSON value. Non-strings are carried unchanged while foreign."""

Metadata: TypeAlias = Mapping[str, Json]
"""A metadata map as observed or planned. Null means absent, so it holds no `None`."""

MAX_PAIRS = 16
"""Pairs on one resource, and entries in one modify call (API.md, "Limits and their error texts")."""
MAX_KEY = 64
"""Code points in a key (same source)."""
MAX_VALUE = 512
"""Code points in a string value (same source)."""

ID_PATTERN = re.compile(r"(?!\.{1,2}(?:/|$))[A-Za-z0-9._:-]+")
"""One segment of an id (`Kind.valid_id` judges a whole one): `.` and `..` would leave their place in a path."""

EMPTY: Metadata = MappingProxyType({})


def frozen_map(pairs: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a read-only copy of `pairs`."""
    return MappingProxyType(dict(pairs))


def same(one: Json, other: Json) -> bool:
    """Tell whether two values are equal: booleans differ from numbers, numbers compare by value."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    return bool(one == other)


@lru_cache(maxsize=4096)
def _matcher(globs: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(translate(glob) for glob in globs))


def matches(name: str, globs: tuple[str, ...]) -> bool:
    """Tell whether `name` matches one of the globs: case-sensitive, `*` crosses every character."""
    return bool(globs) and _matcher(globs).match(name) is not None


@dataclass(frozen=True, slots=True, order=True)
class Ref:
    """A kind and an id: names exactly one resource. With a parent the id is `parent/child`."""

    kind: str
    id: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.id}"


class Ownership(enum.StrEnum):
    """Which observed keys a manifest owns: those it declares, or all but the ignored ones."""

    DECLARED = "declared"
    EXCLUSIVE = "exclusive"


@dataclass(frozen=True, slots=True)
class Acceptance:
    """One entry of `accept`: a drifted value that is known about, until a date (ISO) if one is given."""

    key: str
    value: Value | None
    until: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Desired:
    """What a manifest asks for on one resource, its file's defaults merged in.

    `metadata` maps a key to its value, or to `None` where the key shall not exist; a key that it does not
    mention is silent. `location` is that of the id, `sources` has the place of each declared key. A resource that is
    `released` left the manifests: nothing is asked for, so that what only the base mentions goes.
    """

    ref: Ref
    metadata: Mapping[str, Value | None]
    ownership: Ownership = Ownership.DECLARED
    ignore: tuple[str, ...] = ()
    protect: bool = False
    accept: tuple[Acceptance, ...] = ()
    location: Location | None = None
    sources: Mapping[str, Location] = field(default_factory=dict)
    released: bool = False


@dataclass(frozen=True, slots=True)
class Base:
    """What we last applied to one resource, per field.

    A key in `metadata` has its value there, or `None` (null: it shall not exist). Nothing is known of those in
    `unknown`: they never were verified. Every other key was silent; under `exclusive` silence asked for its absence,
    except for ignored keys and those in `silent`. `commit` is the one whose declaration this was, for people.
    """

    metadata: Mapping[str, Value | None]
    ownership: Ownership = Ownership.DECLARED
    ignore: tuple[str, ...] = ()
    protect: bool = False
    unknown: frozenset[str] = frozenset()
    silent: frozenset[str] = frozenset()
    commit: str | None = field(default=None, compare=False)

    def mentions(self, key: str) -> bool:
        """Tell whether the base speaks of a key; one that was exclusive asked for the absence of all others."""
        if key in self.metadata:
            return True
        return key not in self.silent and self.implies(key)

    def implies(self, key: str) -> bool:
        """Tell whether a key of which nothing is said was asked to be absent."""
        return self.ownership is Ownership.EXCLUSIVE and not matches(key, self.ignore)

    @property
    def verified(self) -> bool:
        """Tell whether the resource was ever seen with anything as it was declared."""
        return bool(self.metadata) or not self.unknown

    def knows(self, key: str) -> bool:
        """Tell whether anything is known of a key, be it that it was silent."""
        return key not in self.unknown


NOTHING_APPLIED = Base(EMPTY)
"""The base of a resource that was never applied, where it is known that it never was."""


@dataclass(frozen=True, slots=True)
class Observed:
    """What the API answered for one resource; `metadata` is `None` where the answer had no such field."""

    metadata: Metadata | None


@dataclass(frozen=True, slots=True)
class Missing:
    """The API knows no such id."""

    fault: Fault


@dataclass(frozen=True, slots=True)
class Unread:
    """The resource could not be read."""

    fault: Fault


Reading: TypeAlias = Observed | Missing | Unread
"""What became of reading one resource."""
