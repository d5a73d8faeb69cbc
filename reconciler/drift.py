"""From a plan with a base to findings: what moved outside git.

Pending changes are no drift: there git has moved, and the API has not. Where both have (a conflict), the API has moved,
too. A field whose base is unknown may be either, so it is told.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeAlias

from reconciler.compare import Action, Cause, Change, FieldChange
from reconciler.model import Acceptance, Ref, same

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Iterable, Iterator, Mapping

MOVED = frozenset({Cause.DRIFT, Cause.CONFLICT, Cause.UNATTRIBUTED})
"""The causes that say, or may say, that something moved outside git."""

Place: TypeAlias = tuple[Ref, str]
"""One field: a reference and a key."""


@dataclass(frozen=True, slots=True)
class Drift:
    """What was found. `changes` are all resources, their fields those that moved; what did not move is `keep`.

    `accepted` are the findings that the manifest knows about, `expired` those that it knew about until a past day.
    """

    changes: tuple[Change, ...]
    accepted: Mapping[Place, Acceptance] = field(default_factory=dict)
    expired: Mapping[Place, Acceptance] = field(default_factory=dict)

    @property
    def alarms(self) -> Iterator[Change]:
        """Yield the resources of which the manifests do not know all that moved."""
        for change in self.changes:
            unknown = any((change.ref, each.key) not in self.accepted for each in change.fields)
            if change.action is Action.MISSING or (change.action is Action.UPDATE and unknown):
                yield change

    @property
    def alarming(self) -> bool:
        """Tell whether there is anything that the manifests do not know about."""
        return any(True for _ in self.alarms)


def find(changes: Iterable[Change], recorded: Callable[[Ref], bool], today: dt.date) -> Drift:
    """Return what moved outside git; `recorded` tells whether anything was ever applied to a resource.

    A missing id is drift where it was there once; one that never was is a failure of the declaration.
    """
    found, accepted, expired = [], dict[Place, Acceptance](), dict[Place, Acceptance]()
    for change in changes:
        narrowed = _narrowed(change, recorded=recorded(change.ref))
        for each in narrowed.fields:
            acceptance = _acceptance(narrowed, each)
            if acceptance is not None:
                kind = expired if _is_over(acceptance, today) else accepted
                kind[change.ref, each.key] = acceptance
        found.append(narrowed)
    return Drift(tuple(found), accepted, expired)


def _narrowed(change: Change, *, recorded: bool) -> Change:
    """Return a change with the fields that moved; one that only cannot be written is no failure to look at."""
    if change.action is Action.MISSING and not recorded:
        return replace(change, action=Action.FAILED)
    if change.observed is None:
        return change
    moved = tuple(each for each in change.fields if each.cause in MOVED)
    return replace(change, action=Action.UPDATE if moved else Action.KEEP, fields=moved, fault=None)


def _acceptance(change: Change, moved: FieldChange) -> Acceptance | None:
    """Return the entry of `accept` that is pinned to the value found; of several the one that holds longest."""
    fitting = [entry for entry in change.desired.accept if entry.key == moved.key and same(entry.value, moved.before)]
    return max(fitting, key=lambda entry: entry.until or "9999-12-31", default=None)


def _is_over(acceptance: Acceptance, today: dt.date) -> bool:
    return acceptance.until is not None and acceptance.until < today.isoformat()
