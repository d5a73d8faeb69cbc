"""May this plan be applied? A refusal says which number crossed which line.

Additions never count: they destroy nothing. The percentages sleep below a number of resources, because one of three
is 33 % and no disaster.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from reconciler.compare import Action
from reconciler.diff import Op

if TYPE_CHECKING:
    from collections.abc import Iterable

    from reconciler.compare import Change


@dataclass(frozen=True, slots=True)
class Guards:
    """The lines: percentages of resources changed and of pairs removed, awake from `at_least` resources read."""

    max_changed: float = 30.0
    max_removed: float = 30.0
    at_least: int = 10


@dataclass(frozen=True, slots=True)
class Scale:
    """How much was looked at: resources that could be read, and pairs observed on them."""

    read: int
    pairs: int


def scale_of(changes: Iterable[Change]) -> Scale:
    """Return how much was looked at."""
    observed = [change.observed for change in changes if change.observed is not None]
    return Scale(len(observed), sum(map(len, observed)))


def refusals(changes: Iterable[Change], scale: Scale, guards: Guards) -> tuple[str, ...]:
    """Return why these changes may not be applied, a sentence per guard; empty if they may.

    A guard refuses what lies above its line, not on it.
    """
    if scale.read < guards.at_least:
        return ()
    destructive = [_destroyed(change) for change in changes if change.action is Action.UPDATE]
    changed = sum(1 for ops in destructive if ops)
    removed = sum(ops.count(Op.REMOVE) for ops in destructive)
    checks = (
        ("max_changed", guards.max_changed, changed, scale.read, "resources would have values replaced or removed"),
        ("max_removed", guards.max_removed, removed, scale.pairs, "observed pairs would be removed"),
    )
    return tuple(
        f"{name} is {limit:g}%, but {part} of {whole} {what} ({100 * part / whole:.1f}%)"
        for name, limit, part, whole, what in checks
        if whole and 100 * part > limit * whole
    )


def _destroyed(change: Change) -> list[Op]:
    return [field.op for field in change.writable if field.op is not Op.ADD]
