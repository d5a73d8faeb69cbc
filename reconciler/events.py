"""What happened while observing and applying, as values; whoever listens shows or records them."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from reconciler.model import EMPTY, Metadata, Reading, Ref

if TYPE_CHECKING:
    from reconciler.errors import Fault


class OutcomeStatus(enum.StrEnum):
    """What became of one change."""

    APPLIED = "applied"
    STALE = "stale"
    FAILED = "failed"
    BLOCKED = "blocked"
    MISSING = "missing"
    NOT_ATTEMPTED = "not_attempted"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one change, why if it was not applied, and the calls that it took.

    `blocked` includes the case where other fields of the resource were written. `lost` are pairs that the
    server dropped although they were not sent, with the values that they had. `seen` is the map that the last look at
    the resource showed, `None` where there was none after the plan's own.
    """

    ref: Ref
    status: OutcomeStatus
    fault: Fault | None = None
    reads: int = 0
    writes: int = 0
    lost: Metadata = field(default_factory=lambda: EMPTY)
    seen: Metadata | None = None


@dataclass(frozen=True, slots=True)
class ReadDone:
    """A resource was read, or could not be."""

    ref: Ref
    reading: Reading


@dataclass(frozen=True, slots=True)
class ChangeDone:
    """A change was carried out, or was not."""

    outcome: Outcome


@dataclass(frozen=True, slots=True)
class DialectLearned:
    """The answers told how the target treats an update of a kind that it was asked about as `auto`."""

    kind: str
    dialect: str


Event: TypeAlias = ReadDone | ChangeDone | DialectLearned
Emit: TypeAlias = Callable[[Event], None]


def silence(_: Event) -> None:
    """Listen to nothing."""
