"""The table of dialects: how an API treats an update of a metadata map.

========== ================= ==================================
dialect    a call carries    a key is removed by
========== ================= ==================================
replace    the whole map     leaving it out
merge      the changed pairs nothing (blocked, or blanked)
merge-null the changed pairs sending null
merge-empty the changed pairs sending the empty string
auto       the whole map     leaving it out, to see what happens
========== ================= ==================================

`auto` is the dialect of a server that we have not got to know: the whole planned map is right under all of them, and
the first key left out tells more (`reconciler.calls.learn`). `PROBE_NULL` is its second stage: keys left out are
known to survive, whether null removes them is not; it still sends the whole map, so that an error costs nothing.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Removal(enum.StrEnum):
    """How a key is removed."""

    OMIT = "omit"
    NULL = "null"
    EMPTY = "empty"
    IMPOSSIBLE = "impossible"


class Removals(enum.StrEnum):
    """What a target wants done where a key cannot be removed: say so, or write the empty string."""

    BLOCK = "block"
    BLANK = "blank"


@dataclass(frozen=True, slots=True)
class Dialect:
    """One row: `whole` calls carry the whole planned map, the others only what changes."""

    name: str
    whole: bool
    removal: Removal
    settled: bool = True

    @property
    def stores_empty(self) -> bool:
        """Tell whether the empty string can be a value: not where sending it removes the key."""
        return self.removal is not Removal.EMPTY


REPLACE = Dialect("replace", whole=True, removal=Removal.OMIT)
MERGE = Dialect("merge", whole=False, removal=Removal.IMPOSSIBLE)
MERGE_NULL = Dialect("merge-null", whole=False, removal=Removal.NULL)
MERGE_EMPTY = Dialect("merge-empty", whole=False, removal=Removal.EMPTY)
AUTO = Dialect("auto", whole=True, removal=Removal.OMIT, settled=False)
PROBE_NULL = Dialect("auto", whole=True, removal=Removal.NULL, settled=False)

DIALECTS: dict[str, Dialect] = {row.name: row for row in (REPLACE, MERGE, MERGE_NULL, MERGE_EMPTY, AUTO)}
"""The dialects that a settings file may name."""
