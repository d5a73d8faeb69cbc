"""What is to be remembered of a run: how the bases move, what was there before, and how to turn a run back.

The base of a field advances when a look at the resource showed it as declared, written or not; every other field keeps
the base that it had. What was there before a write is kept beside, so that the run can be undone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

from reconciler.bases import Touched, advanced, open_keys, restored, unverified
from reconciler.compare import Action, Change, compare, judge, settle
from reconciler.errors import Fault
from reconciler.events import Outcome, OutcomeStatus
from reconciler.model import EMPTY, Base, Desired, Observed, Ref, frozen_map, same

if TYPE_CHECKING:
    from reconciler.compare import Rules
    from reconciler.model import Metadata, Reading

BaseOf: TypeAlias = Callable[[Ref], Base | None]
"""From a reference to its base; `None` where it is unknown."""
Moved: TypeAlias = dict[Ref, Base | None]
"""The bases that a record is to hold; `None`: the resource is forgotten."""


# --- after an apply ---------------------------------------------------------------------------------------------------


def moved_by(changes: Iterable[Change], outcomes: Iterable[Outcome], base_of: BaseOf, commit: str | None) -> Moved:
    """Return the bases after an apply, for every resource that was looked at. `commit`: that of the declarations."""
    seen = {outcome.ref: outcome.seen for outcome in outcomes}
    moved: Moved = {}
    for change in changes:
        base, look = base_of(change.ref), seen.get(change.ref)
        last = change.observed if look is None else look
        if change.action is Action.KEEP:
            moved[change.ref] = kept(change, base, commit)
        elif last is not None:
            still_open = open_keys(change.desired, last, base, change.rules)
            moved[change.ref] = _unless_pruned(change, advanced(base, change.desired, still_open, commit))
        elif base is None and change.desired.metadata:
            moved[change.ref] = unverified(change.desired)
    return moved


def kept(change: Change, base: Base | None, commit: str | None) -> Base | None:
    """Return the base of a resource that was found as declared; what `--only` left alone was not."""
    return _unless_pruned(change, advanced(base, change.desired, change.intent.left, commit))


def _unless_pruned(change: Change, base: Base) -> Base | None:
    """Return the base, unless it is that of a released resource with nothing left of ours."""
    return None if change.desired.released and not (base.metadata or base.unknown) else base


def touched_by(
    changes: Iterable[Change], outcomes: Iterable[Outcome], base_of: BaseOf
) -> dict[Ref, tuple[Touched, ...]]:
    """Return the fields that an apply wrote, or may have written, with what was there before."""
    by_ref = {change.ref: change for change in changes}
    found = {
        outcome.ref: _touched(by_ref[outcome.ref], outcome, base_of(outcome.ref))
        for outcome in outcomes
        if outcome.writes
    }
    return {ref: fields for ref, fields in found.items() if fields}


def _touched(change: Change, outcome: Outcome, base: Base | None) -> tuple[Touched, ...]:
    before, planned = change.observed or EMPTY, change.planned or EMPTY
    after = planned if outcome.seen is None else outcome.seen
    fields = []
    for key in sorted({each.key for each in change.writable} | outcome.lost.keys()):
        was, now, aim = outcome.lost.get(key, before.get(key)), after.get(key), planned.get(key)
        blanked = aim is None and now == ""
        if outcome.status is OutcomeStatus.FAILED and key not in outcome.lost and not blanked:
            now = aim  # the write may yet turn out to have been carried out; another value is somebody else's
        if not same(was, now):
            fields.append(Touched(key, was, now, owned(base, key)))
    return tuple(fields)


def owned(base: Base | None, key: str) -> bool:
    """Tell whether a field was ours already."""
    return base is not None and base.knows(key) and base.mentions(key)


# --- turning a run back -----------------------------------------------------------------------------------------------


def undone(ref: Ref, touched: Iterable[Touched], reading: Reading, base: Base | None, rules: Rules) -> Change:
    """Return the change that gives the fields which a run touched the values that they had before.

    A field that has neither the value from before nor the one that the run wrote was moved by somebody since: then
    the whole resource is stale.
    """
    fields = tuple(touched)
    desired = Desired(ref, _before(fields))
    if not isinstance(reading, Observed):
        return judge(desired, reading, None, rules)
    intent = replace(settle(desired, None), protect=base is not None and base.protect)
    change = compare(desired, intent, reading, base, rules)
    if change.observed is None:
        return change  # the answer hides what there is
    differing = {field.key: field.before for field in change.fields}
    moved = [one.key for one in fields if one.key in differing and not same(differing[one.key], one.after)]
    if not moved:
        return change
    fault = Fault("stale", f"moved since the run that is to be undone: {', '.join(moved)}; nothing is written to it")
    return replace(change, action=Action.FAILED, fields=(), planned=None, fault=fault)


def _before(touched: Iterable[Touched]) -> Metadata:
    return frozen_map({field.key: field.before for field in touched})


def restored_by(
    changes: Iterable[Change],
    outcomes: Iterable[Outcome],
    touched: Mapping[Ref, tuple[Touched, ...]],
    base_of: BaseOf,
) -> Moved:
    """Return the bases after a rollback: those of the fields that have their old values again go back, too."""
    seen = {outcome.ref: outcome.seen for outcome in outcomes}
    moved: Moved = {}
    for change in changes:
        look = seen.get(change.ref)
        last = change.observed if look is None else look
        if last is None or change.ref not in touched or change.action is Action.FAILED:
            continue
        fields = given_back(change.ref, touched[change.ref], last, change.rules)
        if fields:
            moved[change.ref] = restored(base_of(change.ref), fields)
    return moved


def given_back(ref: Ref, touched: Iterable[Touched], last: Metadata, rules: Rules) -> list[Touched]:
    """Return those of the fields that have the values from before, as the last look showed it."""
    fields = list(touched)
    rest = open_keys(Desired(ref, _before(fields)), last, None, rules)
    return [field for field in fields if field.key not in rest]
