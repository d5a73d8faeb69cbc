"""One resource: what is desired, observed and remembered, to a change.

Ownership is settled first (`settle`): whatever we must not touch is carried over into the planned map, so that the
comparison itself is plain. Then every field that differs gets its cause from the base.

================ ================= =================================================
base             observed          cause
================ ================= =================================================
unknown          anything          `unattributed`
silent           anything          `pending` (we never asked for this key before)
any              equal to the base `pending` (the manifest moved)
equal to desired anything          `drift` (the API moved)
any              anything else     `conflict` (both moved)
================ ================= =================================================

"Equal to desired" includes "desired and base both want the key absent". Equality of desired and observed is no change,
whatever the base says.
"""

from __future__ import annotations

import enum
import hashlib
import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from reconciler.dialects import Dialect, Removal, Removals
from reconciler.diff import Op, differences
from reconciler.errors import Fault, Location
from reconciler.model import (
    EMPTY,
    MAX_PAIRS,
    Base,
    Desired,
    Json,
    Metadata,
    Missing,
    Observed,
    Ownership,
    Reading,
    Ref,
    Unread,
    Value,
    frozen_map,
    matches,
    same,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from reconciler.diff import Difference


class Action(enum.StrEnum):
    """What a change is for its resource."""

    UPDATE = "update"
    KEEP = "keep"
    MISSING = "missing"
    FAILED = "failed"


class Cause(enum.StrEnum):
    """Why a field differs."""

    PENDING = "pending"
    DRIFT = "drift"
    CONFLICT = "conflict"
    UNATTRIBUTED = "unattributed"


@dataclass(frozen=True, slots=True)
class Blocked:
    """Why a field that differs cannot be, or must not be, written."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class BaseField:
    """What the base says of one key; `value` is `None` for null and for silent."""

    known: bool
    value: Value | None = None


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One metadata key that differs: before → after (`None`: absent), why, and whether something blocks it."""

    key: str
    op: Op
    before: Json
    after: Value | None
    cause: Cause
    base: BaseField
    blocked: Blocked | None = None
    source: Location | None = None


@dataclass(frozen=True, slots=True)
class Intent:
    """What we want of one resource once ownership is settled.

    `demands` maps every key that was named to its value, or to `None` where it shall not exist; under
    `exclusive` every other key is unwanted too, unless ignored. `left` are keys that this run leaves
    alone (`--only`): they count as foreign. `protect` blocks removals.
    """

    demands: Mapping[str, Value | None]
    exclusive: bool = False
    ignore: tuple[str, ...] = ()
    left: frozenset[str] = frozenset()
    protect: bool = False

    def owns(self, key: str) -> bool:
        """Tell whether this key is ours to decide on."""
        if key in self.demands:
            return True
        return self.exclusive and key not in self.left and not matches(key, self.ignore)

    def foreign(self, observed: Iterable[str]) -> tuple[str, ...]:
        """Return the observed keys that are not ours, sorted."""
        return tuple(sorted(key for key in observed if not self.owns(key)))

    def without(self, keys: frozenset[str]) -> Intent:
        """Return the intent that leaves `keys` alone."""
        demands = {key: value for key, value in self.demands.items() if key not in keys}
        return replace(self, demands=frozen_map(demands), left=self.left | keys)


@dataclass(frozen=True, slots=True)
class Rules:
    """How the target treats an update of this kind, and what to do where it cannot remove a key."""

    dialect: Dialect
    removals: Removals = Removals.BLOCK

    @property
    def blanks(self) -> bool:
        """Tell whether a removal writes the empty string."""
        return self.dialect.removal is Removal.IMPOSSIBLE and self.removals is Removals.BLANK


@dataclass(frozen=True, slots=True)
class Change:
    """What happens to one resource.

    `observed` is `None` where it could not be read; `planned` is the map expected after the calls, and
    `None` unless the action is `update` or `keep`.
    """

    desired: Desired
    action: Action
    rules: Rules
    intent: Intent
    observed: Metadata | None = None
    planned: Metadata | None = None
    fields: tuple[FieldChange, ...] = ()
    fault: Fault | None = None

    @property
    def ref(self) -> Ref:
        """Return the reference of the resource."""
        return self.desired.ref

    @property
    def foreign(self) -> tuple[str, ...]:
        """Return the observed keys that no manifest of ours owns, sorted."""
        return tuple(key for key in self.intent.foreign(self.observed or EMPTY) if key not in self.intent.left)

    @property
    def writable(self) -> tuple[FieldChange, ...]:
        """Return the fields that nothing blocks."""
        return tuple(field for field in self.fields if field.blocked is None)

    @property
    def blocked(self) -> tuple[FieldChange, ...]:
        """Return the fields that something blocks."""
        return tuple(field for field in self.fields if field.blocked is not None)

    @property
    def fingerprint(self) -> str:
        """Return the hash of the observed keys that were decided on."""
        return fingerprint(self.intent, self.observed or EMPTY, self.rules)


def settle(desired: Desired, base: Base | None) -> Intent:
    """Return what we want: the declared keys, and as absent those that only the base mentions."""
    demands: dict[str, Value | None] = dict(desired.metadata)
    if base is not None:
        for key in base.metadata:
            if key not in demands and not matches(key, desired.ignore):
                demands[key] = None
    return Intent(
        frozen_map(demands),
        exclusive=desired.ownership is Ownership.EXCLUSIVE,
        ignore=desired.ignore,
        protect=desired.protect or (base is not None and base.protect),
    )


def fingerprint(intent: Intent, observed: Metadata, rules: Rules) -> str:
    """Return `sha256:…` over the pairs of `observed` that the intent decides on."""
    canonical = json.dumps(owned(intent, observed, rules), sort_keys=True, separators=(",", ":"))
    return f"sha256:{hashlib.sha256(canonical.encode()).hexdigest()}"


def judge(desired: Desired, reading: Reading, base: Base | None, rules: Rules) -> Change:
    """Return the change of one resource: what reading it showed, held against what is desired."""
    intent = settle(desired, base)
    if isinstance(reading, Missing) and desired.released:
        reading = Observed(EMPTY)  # what is gone has nothing left to prune
    if isinstance(reading, Missing):
        # Missing is a state, told in the same bytes each time; the id of the request that showed it is not part of it.
        return Change(desired, Action.MISSING, rules, intent, fault=replace(reading.fault, request_id=None))
    if isinstance(reading, Unread):
        return Change(desired, Action.FAILED, rules, intent, fault=reading.fault)
    return compare(desired, intent, reading, base, rules)


def compare(desired: Desired, intent: Intent, reading: Observed, base: Base | None, rules: Rules) -> Change:
    """Return the change that turns an observed resource into what the intent asks for."""
    observed = usable(reading, rules.dialect)
    if observed is None:
        return Change(desired, Action.FAILED, rules, intent, fault=_hidden(desired.ref.kind, rules.dialect))
    found = differences(owned(intent, observed, rules), _demanded(intent))
    fields = tuple(_field(desired, intent, difference, base, rules) for difference in found)
    planned = _planned(observed, fields, rules)
    fault = _overfull(intent, observed, planned, rules.dialect) if planned != observed else None
    action = Action.FAILED if fault else Action.UPDATE if fields else Action.KEEP
    return Change(desired, action, rules, intent, observed, planned, fields, fault)


def _hidden(kind: str, dialect: Dialect) -> Fault:
    message = (
        f"the answer has no metadata, and a write under `{dialect.name}` could wipe what it hides; if this server just "
        f"leaves out an empty map, say how it updates, such as `writes: {{{kind}: merge-null}}`"
    )
    return Fault("no_metadata", message)


def usable(reading: Observed, dialect: Dialect) -> Metadata | None:
    """Return the observed map; a missing one is empty, but unknown where what a call leaves out may be wiped."""
    if reading.metadata is None and dialect.removal is not Removal.OMIT:
        return EMPTY
    return reading.metadata


def restrict(change: Change, base: Base | None, only: Selection) -> Change:
    """Return the change with the fields that `only` does not select left alone."""
    left = frozenset(field.key for field in change.fields if not only.selects(field))
    if not left or change.observed is None:
        return change
    return compare(change.desired, change.intent.without(left), Observed(change.observed), base, change.rules)


@dataclass(frozen=True, slots=True)
class Selection:
    """What `--only` names; an empty set of causes or of ops restricts nothing."""

    causes: frozenset[Cause] = frozenset()
    ops: frozenset[Op] = frozenset()

    def selects(self, field: FieldChange) -> bool:
        """Tell whether a field is of a named cause and of a named op."""
        return (not self.causes or field.cause in self.causes) and (not self.ops or field.op in self.ops)


def _demanded(intent: Intent) -> Metadata:
    return {key: value for key, value in intent.demands.items() if value is not None}


def owned(intent: Intent, observed: Metadata, rules: Rules) -> dict[str, Json]:
    """Return the observed pairs that we decide on; a blank counts as absent where the key shall be absent."""
    ours = {key: value for key, value in observed.items() if intent.owns(key)}
    if rules.removals is Removals.BLANK:
        return {key: value for key, value in ours.items() if value != "" or intent.demands.get(key) is not None}
    return ours


def _field(desired: Desired, intent: Intent, difference: Difference, base: Base | None, rules: Rules) -> FieldChange:
    key, before, after = difference.key, difference.before, difference.after
    return FieldChange(
        key=key,
        op=difference.op,
        before=before,
        after=after,
        cause=_cause(base, key, before, after, rules),
        base=_remembered(base, key),
        blocked=_blocked(difference, intent, rules),
        source=desired.sources.get(key),
    )


def _remembered(base: Base | None, key: str) -> BaseField:
    if base is None or not base.knows(key):
        return BaseField(known=False)
    return BaseField(known=True, value=base.metadata.get(key))


def _cause(base: Base | None, key: str, observed: Json, desired: Value | None, rules: Rules) -> Cause:
    """Return why a field differs, by the table at the top of this module."""
    if base is None or not base.knows(key):
        return Cause.UNATTRIBUTED
    if not base.mentions(key):
        return Cause.PENDING
    remembered = base.metadata.get(key)
    blank = remembered is None and observed == "" and rules.removals is Removals.BLANK
    if blank or same(observed, remembered):
        return Cause.PENDING
    return Cause.DRIFT if same(desired, remembered) else Cause.CONFLICT


def _blocked(difference: Difference, intent: Intent, rules: Rules) -> Blocked | None:
    removes = difference.op is Op.REMOVE
    if removes and intent.protect:
        return Blocked("protected", "the resource is protected; an apply without `protect: true` frees the next one")
    if removes and rules.dialect.removal is Removal.IMPOSSIBLE and not rules.blanks:
        return Blocked("unremovable", "this API cannot remove a key; `removals: blank` would write an empty value")
    if difference.after == "" and not rules.dialect.stores_empty:
        return Blocked(
            "empty_unsupported", "this API removes a key that is sent empty, so it cannot store an empty value"
        )
    return None


def _planned(observed: Metadata, fields: Iterable[FieldChange], rules: Rules) -> Metadata:
    planned = dict(observed)
    for field in fields:
        if field.blocked is not None:
            continue
        if field.after is not None:
            planned[field.key] = field.after
        elif rules.blanks:
            planned[field.key] = ""
        else:
            del planned[field.key]
    return frozen_map(planned)


def _overfull(intent: Intent, observed: Metadata, planned: Metadata, dialect: Dialect) -> Fault | None:
    """Tell of a write that would raise the count above the limit, or of a call that would carry too much.

    A resource that holds more already (other people's doing) may be written as long as the count does
    not rise and the call itself stays within the limit, which one that carries the whole map cannot.
    """
    raised = len(planned) > len(observed)
    if len(planned) <= MAX_PAIRS or not (raised or dialect.whole):
        return None
    foreign = len(intent.foreign(planned))
    message = (
        f"the write would leave {len(planned)} pairs ({len(planned) - foreign} of the manifest, {foreign} foreign); "
        f"at most {MAX_PAIRS} are allowed"
    )
    return Fault("too_many_pairs", message)
