"""What a ledger holds, as bytes and back, and which file a record belongs to. Pure.

::

    ledger.json          Head: format, server, applied commit, how many resources in how many shards
    base/<shard>.json    the base of each resource, one line each, by `kind/id`
    run.json             the run that this commit records, without
    run/<shard>.json     the before-images of the fields that it wrote, one line per resource

All of it is plain ASCII JSON: every string that an API may answer survives, lone surrogates as well, and nothing acts
on the terminal that `git show` prints it to. What equals its default is left out. A shard is a share of all references,
by their hash: its file stays small however many there are, and a change of one resource is a change of one small file.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from reconciler.bases import Touched, united
from reconciler.model import Base, Ownership, Ref, frozen_map
from reconciler.runs import EMPTY_IMAGES, Images, Run, Server
from reconciler.words import plain, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from reconciler.model import Json

FORMAT = 1
"""The version of all of this. A ledger of another one is not read: what it says could be misread."""
SHARD = 256
"""Resources in one file, on average, at the most."""
MAX_BITS = 24
"""More shards than that are no ledger of ours."""

HEAD = "ledger.json"
RUN = "run.json"
BASES = "base"
TOUCHED = "run"

_T = TypeVar("_T")


class Malformed(ValueError):
    """These bytes are no such record; the message goes on after the name of the file."""


@dataclass(frozen=True, slots=True)
class Head:
    """What a ledger says of itself: whose it is, the commit applied last, its `resources` in 2^`bits` shards.

    `complete`: some run looked at all that was declared, so that a resource without a record was never applied; else
    nothing is known of it.
    """

    server: Server
    applied: str | None
    bits: int = 0
    resources: int = 0
    complete: bool = True


# --- which file -------------------------------------------------------------------------------------------------------


def bits_for(resources: int, bits: int = 0) -> int:
    """Return the bits of the number of shards for so many resources, where there are 2^`bits` of them now.

    There come to be more where files would grow too large, and fewer only well below that: a count that goes up and
    down by a few must not move every record each time.
    """
    if resources > SHARD << bits:
        return _least_bits(resources, SHARD)
    if resources < (SHARD // 4) << bits:
        return min(bits, _least_bits(resources, SHARD // 2))
    return bits


def _least_bits(resources: int, each: int) -> int:
    return max(0, (resources - 1) // each).bit_length()


def path_of(folder: str, ref: Ref, bits: int) -> str:
    """Return the file in `folder` that holds the record of a resource, among 2^`bits` of them."""
    digest = hashlib.sha256(str(ref).encode("utf-8", "surrogatepass")).digest()
    shard = int.from_bytes(digest[:4]) >> (32 - bits)
    return f"{folder}/{shard:0{max(1, -(-bits // 4))}x}.json"


def sharded(folder: str, records: Mapping[Ref, _T], bits: int) -> dict[str, dict[Ref, _T]]:
    """Return the records by the file in `folder` that holds them."""
    files: dict[str, dict[Ref, _T]] = {}
    for ref, record in records.items():
        files.setdefault(path_of(folder, ref, bits), {})[ref] = record
    return files


# --- bases ------------------------------------------------------------------------------------------------------------


def dump_bases(bases: Mapping[Ref, Base]) -> bytes:
    """Return the file of these bases."""
    return _lines((ref, _base_part(base)) for ref, base in bases.items())


def load_bases(raw: bytes) -> dict[Ref, Base]:
    """Return the bases in a file. Raises `Malformed`."""
    return _resources(raw, _base)


def _base_part(base: Base) -> dict[str, Json]:
    part: dict[str, Json] = {}
    if base.metadata:
        part["metadata"] = dict(sorted(base.metadata.items()))
    if base.ownership is not Ownership.DECLARED:
        part["ownership"] = base.ownership.value
    if base.ignore:
        part["ignore"] = list(base.ignore)
    if base.protect:
        part["protect"] = True
    if base.unknown:
        part["unknown"] = sorted(base.unknown)
    if base.silent:
        part["silent"] = sorted(base.silent)
    if base.commit is not None:
        part["commit"] = base.commit
    return part


_SCALARS: frozenset[object] = frozenset({str, int, float, bool, type(None)})
_TEXT: frozenset[object] = frozenset({str})
_MAYBE_TEXT: frozenset[object] = frozenset({str, type(None)})
_TRUTH: frozenset[object] = frozenset({bool})
_MAYBE_TRUTH: frozenset[object] = frozenset({bool, type(None)})
_COUNT: frozenset[object] = frozenset({int})
_COMMON = {"metadata", "commit"}
"""What most bases have and no more: a hundred thousand of them are read in half the time."""


_KNOWN = {"metadata", "ownership", "ignore", "protect", "unknown", "silent", "commit"}


def _base(part: dict[str, Json]) -> Base:
    metadata = _of(part.get("metadata", {}), dict)
    if not part.keys() <= _KNOWN:
        raise Malformed(f"has a base with {', '.join(map(shown, sorted(part.keys() - _KNOWN)))}, which nobody knows")
    if not _SCALARS.issuperset(map(type, metadata.values())):
        raise Malformed("has a base with a value that no manifest can declare")
    commit = _get(part, "commit", _MAYBE_TEXT, default=None)
    if part.keys() <= _COMMON:
        return Base(MappingProxyType(metadata), commit=commit)
    return Base(
        MappingProxyType(metadata),
        Ownership(part.get("ownership", Ownership.DECLARED)),
        tuple(_texts(part, "ignore")),
        _get(part, "protect", _TRUTH, default=False),
        frozenset(_texts(part, "unknown")),
        frozenset(_texts(part, "silent")),
        commit,
    )


# --- runs -------------------------------------------------------------------------------------------------------------


def dump_run(run: Run) -> bytes:
    """Return the file of a run, without its before-images."""
    part: dict[str, Json] = {
        "id": run.id,
        "kind": run.kind,
        "at": run.at,
        "actor": run.actor,
        "commit": run.commit,
        "dirty": run.dirty,
        "tool": run.tool,
    }
    if run.undoes is not None:
        part["undoes"] = run.undoes
    if run.outcomes:
        part["outcomes"] = dict(sorted(run.outcomes.items()))
    return _whole(part)


def load_run(raw: bytes, touched: Images = EMPTY_IMAGES) -> Run:
    """Return the run in a file, with the before-images that it is given. Raises `Malformed`."""

    def read(part: dict[str, Json]) -> Run:
        outcomes = _of(part.get("outcomes", {}), dict)
        if not _COUNT.issuperset(map(type, outcomes.values())):
            raise Malformed("counts outcomes by something else than numbers")
        return Run(
            id=_get(part, "id", _TEXT),
            kind=_get(part, "kind", _TEXT),
            at=_get(part, "at", _TEXT),
            actor=_get(part, "actor", _TEXT),
            commit=_get(part, "commit", _MAYBE_TEXT),
            dirty=_get(part, "dirty", _MAYBE_TRUTH),
            tool=_get(part, "tool", _TEXT),
            undoes=_get(part, "undoes", _MAYBE_TEXT, default=None),
            outcomes=frozen_map(outcomes),
            touched=touched,
        )

    return _parsed(raw, read)


def subject(run: Run) -> str:
    """Return the subject of the commit that records a run: `apply 20261122T141037Z-1a2b3c: 3 applied, 1 failed`."""
    counts = ", ".join(f"{count} {outcome}" for outcome, count in sorted(run.outcomes.items()) if count)
    return plain(f"{run.kind} {run.id}: {counts}" if counts else f"{run.kind} {run.id}")


def dump_touched(touched: Images) -> bytes:
    """Return the file of these before-images."""
    return _lines((ref, [_field_part(one) for one in fields]) for ref, fields in touched.items())


def load_touched(raw: bytes) -> dict[Ref, tuple[Touched, ...]]:
    """Return the before-images in a file. Raises `Malformed`."""
    return _resources(raw, lambda fields: tuple(map(_field, _of(fields, list))))


def _field_part(one: Touched) -> dict[str, Json]:
    part: dict[str, Json] = {"key": one.key}
    if one.before is not None:
        part["before"] = one.before
    if one.after is not None:
        part["after"] = one.after
    if one.owned:
        part["owned"] = True
    return part


def _field(part: dict[str, Json]) -> Touched:
    return Touched(
        _get(part, "key", _TEXT), part.get("before"), part.get("after"), _get(part, "owned", _TRUTH, default=False)
    )


# --- the head ---------------------------------------------------------------------------------------------------------

_SERVER = ("provider", "base_url", "organization", "project", "settings")


def dump_head(head: Head) -> bytes:
    """Return the file of a head."""
    server = {name: getattr(head.server, name) for name in _SERVER}
    return _whole(
        {
            "format": FORMAT,
            "server": server,
            "applied": head.applied,
            "complete": head.complete,
            "resources": head.resources,
            "bits": head.bits,
        }
    )


def load_head(raw: bytes) -> Head:
    """Return the head in a file. Raises `Malformed`, also where it is that of another format."""

    def read(part: dict[str, Json]) -> Head:
        version = _get(part, "format", _COUNT)
        if version != FORMAT:
            advice = "update reconciler" if version > FORMAT else "it was never one of ours"
            raise Malformed(f"is of format {version}, and this reconciler knows {FORMAT}: {advice}")
        server = _of(part["server"], dict)
        bits, resources = _get(part, "bits", _COUNT), _get(part, "resources", _COUNT)
        if not (0 <= bits <= MAX_BITS and resources >= 0):
            raise Malformed(f"speaks of {resources} resources in 2^{bits} files")
        known = Server(
            _get(server, "provider", _TEXT),
            _get(server, "base_url", _TEXT),
            *(_get(server, name, _MAYBE_TEXT) for name in ("organization", "project", "settings")),
        )
        return Head(known, _get(part, "applied", _MAYBE_TEXT), bits, resources, _get(part, "complete", _TRUTH))

    return _parsed(raw, read)


def differing(recorded: Server, now: Server) -> tuple[str, ...]:
    """Return how two servers differ, a phrase for each part: `base_url was A and is B`."""

    def said(value: str | None) -> str:
        return "none" if value is None else shown(value)

    pairs = ((name, getattr(recorded, name), getattr(now, name)) for name in _SERVER)
    return tuple(f"{name} was {said(old)} and is {said(new)}" for name, old, new in pairs if old != new)


# --- two writers ------------------------------------------------------------------------------------------------------

Dispute: TypeAlias = tuple[Ref, str]
"""A resource and one of its keys, which two writers recorded differently."""


def laid_over(
    refs: Iterable[Ref], origin: Mapping[Ref, Base], ours: Mapping[Ref, Base], theirs: Mapping[Ref, Base]
) -> tuple[dict[Ref, Base | None], tuple[Dispute, ...]]:
    """Return what to record on top of theirs so that the fields that we moved since `origin` count; and the disputes.

    The base of a resource that is to have no record is `None`.
    """
    moved: dict[Ref, Base | None] = {}
    disputed: list[Dispute] = []
    for ref in sorted(refs):
        one = united(origin.get(ref), ours.get(ref), theirs.get(ref))
        moved[ref] = one.base
        disputed += [(ref, key) for key in sorted(one.disputed)]
    return moved, tuple(disputed)


# --- JSON -------------------------------------------------------------------------------------------------------------

_encode = json.JSONEncoder().encode


def _lines(records: Iterable[tuple[Ref, Json]]) -> bytes:
    """Return an object with one line for each resource, sorted: `git diff` then shows the resources that changed."""
    lines = sorted((str(ref), record) for ref, record in records)
    return ("{\n" + ",\n".join(f"{_encode(name)}: {_encode(record)}" for name, record in lines) + "\n}\n").encode(
        "ascii"
    )


def _whole(part: Json) -> bytes:
    return (json.dumps(part, indent=2) + "\n").encode("ascii")


def _parsed(raw: bytes, read: Callable[[dict[str, Json]], _T]) -> _T:
    try:
        return read(_of(json.loads(raw), dict))
    except Malformed:
        raise
    except KeyError as error:
        raise Malformed(f"has no {shown(str(error.args[0]))}") from error
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise Malformed(f"is no record of ours ({shown(str(error))})") from error


def _resources(raw: bytes, read: Callable[[Any], _T]) -> dict[Ref, _T]:
    return _parsed(raw, lambda whole: {_ref(name): read(record) for name, record in whole.items()})


def _ref(name: str) -> Ref:
    kind, slash, own = name.partition("/")
    if not slash:
        raise Malformed(f"names {shown(name)}, which is no resource")
    return Ref(kind, own)


def _of(value: Json, wanted: type[_T]) -> _T:
    if not isinstance(value, wanted):
        raise Malformed(f"has {type(value).__name__} where {wanted.__name__} belongs")
    return value


_REQUIRED: Any = object()


def _get(part: dict[str, Json], name: str, types: frozenset[object], *, default: Any = _REQUIRED) -> Any:
    """Return one entry of an object. By `type`: to Python, a truth is a number."""
    value = part[name] if default is _REQUIRED else part.get(name, default)
    if type(value) not in types:
        raise Malformed(f"has an unusable {name}")
    return value


def _texts(part: dict[str, Json], name: str) -> list[str]:
    values = part.get(name)
    if values is None:
        return []
    if not (isinstance(values, list) and _TEXT.issuperset(map(type, values))):
        raise Malformed(f"has an unusable {name}")
    return values
