"""The plan: every change of one run, in one order, with its sums.

A plan is put in order once, here; every reader sees the same sequence (by kind, then id).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from reconciler.calls import calls
from reconciler.compare import Action, Cause, Change, Rules, Selection, judge, restrict
from reconciler.model import EMPTY, Desired

if TYPE_CHECKING:
    from reconciler.diff import Op
    from reconciler.model import Base, Reading, Ref

RulesOf: TypeAlias = Callable[[str], Rules]
"""From the name of a kind to how the target treats an update of it."""


@dataclass(frozen=True, slots=True)
class Summary:
    """The sums of a plan. `blocked` counts fields; `ops` and `causes` count every field that differs."""

    actions: Mapping[Action, int]
    ops: Mapping[Op, int]
    causes: Mapping[Cause, int]
    blocked: int
    released: int = 0

    @property
    def resources(self) -> int:
        """Return how many resources were looked at."""
        return sum(self.actions.values())


@dataclass(frozen=True, slots=True)
class Plan:
    """The changes, sorted by reference, `keep` included; `spared` has the keys that `--only` leaves alone.

    `released` has the resources that left the manifests, with what we last applied to them; nothing happens to them.
    """

    changes: tuple[Change, ...]
    spared: Mapping[Ref, tuple[str, ...]] = field(default_factory=dict)
    released: Mapping[Ref, Base] = field(default_factory=dict)

    @property
    def left(self) -> int:
        """Return how many fields `--only` leaves alone."""
        return sum(map(len, self.spared.values()))

    @property
    def writes(self) -> int:
        """Return how many modify calls carry it out (`auto` may need one more to learn)."""
        return sum(len(calls(change)) for change in self.changes if change.action is Action.UPDATE)

    @property
    def differs(self) -> bool:
        """Tell whether anything is not as it should be."""
        return any(change.action is not Action.KEEP for change in self.changes)


def make_plan(
    desired: Iterable[Desired],
    readings: Mapping[Ref, Reading],
    rules_of: RulesOf,
    *,
    bases: Mapping[Ref, Base] | None = None,
    only: Selection | None = None,
    released: Mapping[Ref, Base] | None = None,
) -> Plan:
    """Judge every desired resource by its reading and its base; `only` leaves other fields alone.

    Of a resource that is not among the `bases`, nothing is known of what was applied last.
    """
    known = bases or {}
    whole = [judge(one, readings[one.ref], known.get(one.ref), rules_of(one.ref.kind)) for one in desired]
    whole.sort(key=lambda change: change.ref)
    if only is None:
        return Plan(tuple(whole), released=released or {})
    kept = [restrict(change, known.get(change.ref), only) for change in whole]
    pairs = ((one.ref, _spared(one, other)) for one, other in zip(whole, kept, strict=True))
    return Plan(tuple(kept), {ref: keys for ref, keys in pairs if keys}, released or {})


def _spared(whole: Change, kept: Change) -> tuple[str, ...]:
    remaining = {each.key for each in kept.fields}
    return tuple(each.key for each in whole.fields if each.key not in remaining)


def released_desire(ref: Ref, base: Base) -> Desired:
    """Return what is asked for on a resource that left the manifests, once it is to be pruned: nothing."""
    return Desired(ref, EMPTY, ignore=base.ignore, released=True)


def summarise(changes: Iterable[Change], released: int = 0) -> Summary:
    """Return the sums over changes."""
    actions: Counter[Action] = Counter()
    ops: Counter[Op] = Counter()
    causes: Counter[Cause] = Counter()
    blocked = 0
    for change in changes:
        actions[change.action] += 1
        ops.update(field.op for field in change.fields)
        causes.update(field.cause for field in change.fields)
        blocked += len(change.blocked)
    return Summary(actions, ops, causes, blocked, released)
