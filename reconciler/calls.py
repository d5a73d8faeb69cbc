"""From one change to the modify calls that carry it out, and from the answers to a verdict.

What a call may carry depends on the dialect; whether it did what it should is told by its answer alone: proxies
strip bodies, servers replace where we thought that they merge. `verify` and `lost_pairs` hold an answer against
the plan, `learn` gets to know a server that is spoken to as `auto`::

    AUTO ── a key left out is gone ─────────▶ REPLACE
      └──── it survived ──▶ PROBE_NULL ── null removed it ──▶ MERGE_NULL
                                 └─────── it is still there, or null was rejected ──▶ MERGE

Only an answer that shows the rest of what was sent teaches anything: an old object, as a proxy or a lagging server
may answer, does not, nor does a call that sent an empty map, which some servers ignore. Where a removal is all that
a change wants, its key still being there says little; that one resource is asked by null before anything is believed.

Where reads lag behind writes, the look before a call may show pairs that are gone already: a key that is not in the
answer then proves nothing, unless an earlier answer showed that it was there (`certain`), and a pair that vanished
unsent was taken away by somebody else if any other pair survived unsent.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from reconciler.compare import compare
from reconciler.dialects import AUTO, MERGE, MERGE_NULL, PROBE_NULL, REPLACE, Dialect, Removal
from reconciler.errors import Fault
from reconciler.model import EMPTY, MAX_PAIRS, Json, Metadata, Observed, frozen_map, same

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from reconciler.compare import Change

_REMOVERS = {Removal.NULL: None, Removal.EMPTY: "", Removal.IMPOSSIBLE: ""}
"""What is sent for a key that shall go; where removal is impossible, only a blank gets this far."""

_REJECTIONS = frozenset({400, 422})
"""How servers say that a body is not to their liking (API.md; FastAPI's own is 422)."""


@dataclass(frozen=True, slots=True)
class Call:
    """One modify call: its entries (`None` asks for removal) and the keys it leaves out so that they go."""

    entries: Mapping[str, Json]
    omitted: frozenset[str] = frozenset()

    @property
    def nulled(self) -> frozenset[str]:
        """Return the keys that are sent as null."""
        return frozenset(key for key, value in self.entries.items() if value is None)


def calls(change: Change) -> tuple[Call, ...]:
    """Return the calls that carry out a change: none where nothing is writable, one in nearly every case."""
    if not change.writable or change.planned is None:
        return ()
    if change.rules.dialect.whole:
        return _whole(change, change.planned)
    return tuple(Call(frozen_map(dict(chunk))) for chunk in _chunks(_entries(change)))


def _whole(change: Change, planned: Metadata) -> tuple[Call, ...]:
    """Return the calls with the whole map: one, or two where nulls beside the planned map would be too many entries.

    Then the removals go first, beside as much as there is room for of what stays: foreign pairs before ours, which the
    second call brings again.
    """
    removed = _removed(change)
    if change.rules.dialect.removal is not Removal.NULL:
        return (Call(planned, omitted=removed),)
    nulls = dict.fromkeys(sorted(removed))
    if len(planned) + len(nulls) <= MAX_PAIRS:
        return (Call(frozen_map({**planned, **nulls})),)
    staying = sorted((change.observed or EMPTY).keys() - removed, key=lambda key: (change.intent.owns(key), key))
    kept = {key: planned[key] for key in staying[: max(MAX_PAIRS - len(nulls), 0)] if key in planned}
    return (Call(frozen_map({**kept, **dict(islice(nulls.items(), MAX_PAIRS))})), Call(planned))


def _removed(change: Change) -> frozenset[str]:
    return frozenset(field.key for field in change.writable if field.after is None)


def _entries(change: Change) -> Iterator[tuple[str, Json]]:
    """Yield removals first: a later call may need the room that they make."""
    remover = _REMOVERS[change.rules.dialect.removal]
    yield from ((field.key, remover) for field in change.writable if field.after is None)
    yield from ((field.key, field.after) for field in change.writable if field.after is not None)


def _chunks(entries: Iterable[tuple[str, Json]]) -> Iterator[list[tuple[str, Json]]]:
    remaining = iter(entries)
    while chunk := list(islice(remaining, MAX_PAIRS)):
        yield chunk


def lost_pairs(call: Call, before: Metadata, answer: Metadata, *, merges: bool = False) -> Metadata:
    """Return the pairs that were there before, were not sent, and are gone.

    There are some only where the server replaces although we thought that it merges. Where reads lag, a pair may have
    been gone before the call: one that vanished from a server that is known to merge was taken away by somebody else.
    """
    gone = before.keys() - answer.keys() - call.entries.keys() - call.omitted
    return EMPTY if merges else frozen_map({key: before[key] for key in sorted(gone)})


def survivors(call: Call, before: Metadata, answer: Metadata) -> frozenset[str]:
    """Return the keys that were there before, were not sent, and are there still: the server merges."""
    return frozenset((before.keys() & answer.keys()) - call.entries.keys() - call.omitted)


def verify(change: Change, answer: Metadata) -> Fault | None:
    """Return why the last answer to a change is a failure; `None` if it did what it should.

    The comparison itself is the judge: held against the answer, nothing may be left to write. Foreign keys that we
    sent must be there; that somebody else changed or added some meanwhile is no failure.
    """
    remaining = compare(change.desired, change.intent, Observed(answer), None, change.rules)
    unequal = {field.key for field in remaining.writable}
    sent = (change.planned or EMPTY).keys() if change.rules.dialect.whole else set()
    dropped = set(change.intent.foreign(sent)) - answer.keys()
    if not unequal and not dropped:
        return None
    keys = ", ".join(sorted(unequal | dropped))
    return Fault("not_applied", f"the answer differs from what was planned, in: {keys}")


def shows(call: Call, before: Metadata, answer: Metadata) -> bool:
    """Tell whether an answer shows anything of a call: a key that it was to change has another value than before.

    The old object, as a proxy that strips bodies or a lagging server answers it, does not.
    """
    touched = call.omitted.union(key for key, value in call.entries.items() if not same(value, before.get(key)))
    return any(not same(answer.get(key), before.get(key)) for key in touched)


def complete(dialect: Dialect, call: Call, answer: Metadata) -> bool:
    """Tell whether an answer shows all of a call, as a server of this dialect would that does what it is asked."""
    gone = {key for key, value in call.entries.items() if value is None or (value == "" and not dialect.stores_empty)}
    return not (call.omitted | gone) & answer.keys() and all(
        key in answer and same(answer[key], value) for key, value in call.entries.items() if key not in gone
    )


def leaves_pairs(call: Call, before: Metadata) -> bool:
    """Tell whether some pair is there after a call that was carried out: one of its own, or one left alone."""
    sent = any(value is not None for value in call.entries.values())
    return sent or bool(before.keys() - call.entries.keys() - call.omitted)


def must_show(dialect: Dialect, call: Call, before: Metadata) -> bool:
    """Tell whether a call that was carried out leaves a trace under every dialect that the server may turn out to have.

    As long as it is not known whether a key can be removed, one that is still there is no trace of anything.
    """
    return dialect.settled or any(
        value is not None and not same(value, before.get(key)) for key, value in call.entries.items()
    )


def learn(dialect: Dialect, call: Call, before: Metadata, answer: Metadata, certain: Metadata | None = None) -> Dialect:
    """Return what an answer teaches about the dialect; the same one if it teaches nothing.

    What is gone teaches by itself, if it was there: `certain` is what surely was, by default all that was seen before.
    What is still there teaches only if the answer shows that the call took effect.
    """
    there = (before if certain is None else certain).keys()
    sent = {key: value for key, value in call.entries.items() if value is not None}
    if not sent or not all(same(answer.get(key), value) for key, value in sent.items()):
        return dialect
    if dialect is AUTO and call.omitted:
        survived = call.omitted & answer.keys()
        if not survived:
            return REPLACE if call.omitted & there else AUTO
        # Some gone and some not: somebody else was writing at the same time, which teaches nothing.
        return PROBE_NULL if survived == call.omitted and shows(call, before, answer) else AUTO
    if dialect is PROBE_NULL and call.nulled:
        if not call.nulled & answer.keys():
            return MERGE_NULL if call.nulled & there else PROBE_NULL
        return MERGE if shows(call, before, answer) else PROBE_NULL
    return dialect


def learn_from_rejection(dialect: Dialect, call: Call, before: Metadata, fault: Fault) -> Dialect:
    """Return what a rejected call teaches; the same dialect if it teaches nothing.

    A server that rejects a null cannot remove a key. One that rejects a whole map that would, merged with what is
    there, be too large, may be merging: then the removals are tried first.
    """
    if fault.status not in _REJECTIONS:
        return dialect
    if dialect is PROBE_NULL and call.nulled:
        return MERGE
    overfull = len(before.keys() | call.entries.keys()) > MAX_PAIRS
    return PROBE_NULL if dialect is AUTO and call.omitted and overfull else dialect
