"""How the base of a resource moves: on with an apply, back with a rollback, together with another writer's.

A base is kept per field. A base per resource would be wrong: after an apply that could write only some fields of a
resource, an edit of the others from outside would read as pending for ever.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

from reconciler.compare import compare, settle
from reconciler.diff import equal
from reconciler.model import EMPTY, Base, Desired, Json, Metadata, Observed, Ownership, frozen_map, same

if TYPE_CHECKING:
    from collections.abc import Iterable

    from reconciler.compare import Rules


@dataclass(frozen=True, slots=True)
class Touched:
    """One field that an apply wrote: before → after (`None`: absent), and whether it was ours before.

    A field that only this apply made ours goes back to being silent when the apply is undone: kept as ours, it would be
    removed by the first apply after git is reverted, too.
    """

    key: str
    before: Json
    after: Json
    owned: bool


def open_keys(desired: Desired, seen: Metadata, base: Base | None, rules: Rules) -> frozenset[str]:
    """Return the keys that differ from what is asked for on a resource that was last seen like this."""
    change = compare(desired, settle(desired, base), Observed(seen), base, rules)
    return frozenset(field.key for field in change.fields)


# --- on with an apply -------------------------------------------------------------------------------------------------


def advanced(base: Base | None, desired: Desired, still_open: Iterable[str], commit: str | None = None) -> Base:
    """Return the base after a look that showed every field as desired except those `still_open`.

    A field that is still open keeps the base that it had, possibly unknown. `commit` is that of the declaration.
    """
    rest = frozenset(still_open)
    metadata = {key: value for key, value in desired.metadata.items() if key not in rest}
    frame = Base(EMPTY, desired.ownership, desired.ignore, desired.protect, commit=commit)
    unknown, silent = set[str](), set[str]()
    for key in rest:
        if base is None or not base.knows(key):
            unknown.add(key)
        elif key in base.metadata:
            metadata[key] = base.metadata[key]
        elif not base.mentions(key):
            silent.add(key)
        elif not frame.implies(key):  # named, it would be ours even when git owns only what it declares
            metadata[key] = None
    new = replace(frame, metadata=frozen_map(metadata), unknown=frozenset(unknown), silent=_said(silent, frame))
    return base if base is not None and alike(base, new) else new


def alike(one: Base | None, other: Base | None) -> bool:
    """Tell whether two bases say the same; `==` alone would take true for 1."""
    return one == other and (one is None or other is None or equal(one.metadata, other.metadata))


def unverified(desired: Desired) -> Base:
    """Return the base of a resource that the first apply of all did not come to: nothing is known of its fields."""
    return Base(EMPTY, ignore=desired.ignore, protect=desired.protect, unknown=frozenset(desired.metadata))


def _said(silent: Iterable[str], frame: Base) -> frozenset[str]:
    """Return the silent keys that have to be named: those whose silence would count as null."""
    return frozenset(filter(frame.implies, silent))


# --- back with a rollback ---------------------------------------------------------------------------------------------


def restored(base: Base | None, touched: Iterable[Touched]) -> Base:
    """Return the base once these fields have been given back the values that they had before.

    What was ours has the restored value as its base, so that the next plan says pending; what was not is silent again.
    """
    base = base or Base(EMPTY)
    metadata, silent = dict(base.metadata), set(base.silent)
    keys = set[str]()
    for field in touched:
        keys.add(field.key)
        metadata.pop(field.key, None)
        silent.discard(field.key)
        if not field.owned or isinstance(field.before, list | dict):  # which no manifest can declare, nor a base hold
            silent.add(field.key)
        elif field.before is not None or not base.implies(field.key):
            metadata[field.key] = field.before
    return replace(
        base,
        metadata=frozen_map(metadata),
        unknown=base.unknown - keys,
        silent=_said(silent, base),
        commit=None,  # what is there now is of an older one, and not of one alone
    )


# --- together with another writer's -----------------------------------------------------------------------------------

_Said: TypeAlias = tuple[str, Json]


@dataclass(frozen=True, slots=True)
class United:
    """One base out of two that grew apart (`None`: no record), and the keys that both wrote differently."""

    base: Base | None
    disputed: frozenset[str] = frozenset()


def united(origin: Base | None, ours: Base | None, theirs: Base | None) -> United:
    """Lay the fields that we moved since `origin` over the base that others recorded meanwhile; ours win."""
    if alike(ours, theirs) or alike(theirs, origin):
        return United(ours)
    if alike(ours, origin):
        return United(theirs)
    keys = {key for base in (origin, ours, theirs) if base for key in (*base.metadata, *base.unknown, *base.silent)}
    frame = _frame(origin, ours, theirs)
    fields, disputed = dict[str, _Said](), set[str]()
    for key in keys:
        was, our, their = _says(origin, key), _says(ours, key), _says(theirs, key)
        yields = our == _UNKNOWN or (their != _UNKNOWN and _equal(our, was))
        fields[key] = their if yields else our
        if not (_equal(our, was) or _equal(their, was) or _equal(our, their) or _UNKNOWN in (our, their)):
            disputed.add(key)
    if (ours is None or theirs is None) and all(said == _SILENT for said in fields.values()):
        return United(None, frozenset(disputed))
    named = {key for base in (ours, theirs) if base for key, value in base.metadata.items() if value is None}
    for key in [key for key, said in fields.items() if said == _NULL and frame.implies(key) and key not in named]:
        del fields[key]  # the frame says so without naming it
    return United(_put_together(frame, fields), frozenset(disputed))


_SILENT: _Said = ("silent", None)
_NULL: _Said = ("value", None)
_UNKNOWN: _Said = ("unknown", None)
"""Gives way to whatever the other writer knows: nobody ever verifies that."""


def _says(base: Base | None, key: str) -> _Said:
    """Return what a base says of a key, be it by saying nothing."""
    if base is None:
        return _SILENT
    if not base.knows(key):
        return _UNKNOWN
    return ("value", base.metadata.get(key)) if base.mentions(key) else _SILENT


def _equal(one: _Said, other: _Said) -> bool:
    return one[0] == other[0] and same(one[1], other[1])


def _frame(origin: Base | None, ours: Base | None, theirs: Base | None) -> Base:
    """Return the base whose ownership, ignored keys and protection count."""
    if ours is None or theirs is None:
        return ours or theirs or Base(EMPTY)
    unmoved = origin is not None and _rules(ours) == _rules(origin)
    return replace(theirs if unmoved else ours, commit=ours.commit)


def _rules(base: Base) -> tuple[Ownership, tuple[str, ...], bool]:
    return base.ownership, base.ignore, base.protect


def _put_together(frame: Base, fields: dict[str, _Said]) -> Base:
    def keys(what: str) -> frozenset[str]:
        return frozenset(key for key, (said, _) in fields.items() if said == what)

    metadata = {key: value for key, (said, value) in fields.items() if said == "value"}
    return replace(
        frame,
        metadata=frozen_map(metadata),
        unknown=keys("unknown"),
        silent=_said(keys("silent"), frame),
    )
