"""What the ledger remembers, as text for people and as JSON: the runs, what each wrote, the base of each resource."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reconciler.diff import Op
from reconciler.model import Ownership
from reconciler.render import ANY_ROOM
from reconciler.render.columns import Piece, bold, cells, dim, flowed, padded
from reconciler.render.excerpts import LEGEND, LONGEST, marked, name, two
from reconciler.render.excerpts import one as one_value
from reconciler.render.fields import SIGNS, indented
from reconciler.words import amount, plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from reconciler.bases import Touched
    from reconciler.model import Base, Ref
    from reconciler.render import Room
    from reconciler.runs import Run


def runs(recorded: Sequence[Run], room: Room = ANY_ROOM) -> str:
    """Return one line for each run, newest first: its id, its time, who, which commit, what.

    Where one line cannot hold that, what it did stands first, and the rest on a line below.
    """
    if not recorded:
        return "Nothing is recorded yet.\n"
    rows = [(plain(one.id), plain(one.at), plain(one.actor), _commit(one), _what(one)) for one in recorded]
    widths = [max(cells(row[column]) for row in rows) for column in range(4)]
    width = room.width
    if width is None or max(sum(widths) + 8 + cells(row[4]) for row in rows) <= width:
        return _text("  ".join([*map(padded, row[:4], widths), row[4]]) for row in rows)
    return _text(line for row in rows for line in _run_below(row, widths[0], width))


def _run_below(row: tuple[str, str, str, str, str], ids: int, width: int) -> Iterator[str]:
    name, at, actor, commit, what = row
    yield from flowed([Piece(padded(name, ids), bold, whole=True), f" {what}"], width)
    yield from indented([f"{at} ", f"{commit} ", actor], width)


def run(one: Run, room: Room = ANY_ROOM) -> str:
    """Return a run with every field that it wrote: what was there before, and after."""
    width = room.width
    lines = [*flowed([Piece(plain(one.id), bold, whole=True), Piece(f" {_what(one)}", bold)], width)]
    lines += flowed([f"{plain(one.at)} ", f"{plain(one.actor)} ", _commit(one)], width)
    for ref, fields in sorted(one.touched.items()):
        lines += ["", bold(plain(str(ref))), *_touched(fields, width)]
    return _text([*lines, *(["", *flowed([Piece(LEGEND, dim)], width, 2)] if any(map(marked, lines)) else [])])


def ledger(tip: str, applied: str | None, bases: Mapping[Ref, Base], room: Room = ANY_ROOM) -> str:
    """Return the base of each resource."""
    width = room.width
    lines = [f"Ledger {tip[:10]}, applied: {plain(applied[:10]) if applied else 'no commit'}."]
    for ref, base in sorted(bases.items()):
        rules = _rules(base)
        said = [Piece(f" {rules}", dim)] if rules else []
        lines += ["", *flowed([Piece(plain(str(ref)), bold, whole=True), *said], width), *_fields(base, width)]
    return _text([*lines, *(["", *flowed([Piece(LEGEND, dim)], width, 2)] if any(map(marked, lines)) else [])])


def _text(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def run_content(one: Run) -> dict[str, Any]:
    """Return a run as JSON has it."""
    touched = {
        str(ref): {field.key: {"before": field.before, "after": field.after} for field in fields}
        for ref, fields in sorted(one.touched.items())
    }
    names = ("id", "kind", "at", "actor", "commit", "dirty", "tool", "undoes")
    return {name: getattr(one, name) for name in names} | {"outcomes": dict(one.outcomes), "touched": touched}


def ledger_content(tip: str, applied: str | None, bases: Mapping[Ref, Base]) -> dict[str, Any]:
    """Return a ledger as JSON has it."""
    return {"ledger": tip, "applied": applied, "bases": {str(ref): _base(base) for ref, base in sorted(bases.items())}}


def _base(base: Base) -> dict[str, Any]:
    return {
        "metadata": dict(base.metadata),
        "ownership": base.ownership,
        "ignore": list(base.ignore),
        "protect": base.protect,
        "unknown": sorted(base.unknown),
        "silent": sorted(base.silent),
        "commit": base.commit,
    }


def _commit(one: Run) -> str:
    if one.commit is None:
        return "no commit"
    return plain(one.commit[:10]) + (" (dirty)" if one.dirty else "")


def _what(one: Run) -> str:
    counts = ", ".join(f"{count} {plain(outcome.replace('_', ' '))}" for outcome, count in one.outcomes.items())
    wrote = sum(map(len, one.touched.values()))
    fields = amount(wrote, "field")
    undoes = f" of {plain(one.undoes)}" if one.undoes else ""
    return f"{plain(one.kind)}{undoes}: {counts or 'nothing to write'}" + (f" ({fields})" if wrote else "")


def _touched(fields: Sequence[Touched], width: int | None) -> Iterator[str]:
    room = _room(width)
    for field in fields:
        if field.before is None:
            sign, sides = SIGNS[Op.ADD], [one_value(field.after, room)]
        elif field.after is None:
            sign, sides = SIGNS[Op.REMOVE], [one_value(field.before, room)]
        else:
            before, after = two(field.before, field.after, room)
            sign, sides = SIGNS[Op.REPLACE], [before, f"→ {after}"]
        yield from _field(sign, name(field.key, room), sides, width)


def _room(width: int | None) -> int:
    """Return how many cells a value may take, with all that stands before it on a line of its own."""
    return LONGEST if width is None else min(LONGEST, width - 10)


def _field(sign: str, key: str, sides: Sequence[str], width: int | None) -> Iterator[str]:
    """Yield a key and its values, those below it where one line cannot hold them."""
    line = "  ".join([key, " ".join(sides)])
    if width is None or 4 + cells(line) <= width:
        yield f"  {sign} {line}"
        return
    yield f"  {sign} {key}"
    for side in sides:
        yield from indented([side], width, 6)


def _rules(base: Base) -> str:
    words = [
        *(["exclusive"] if base.ownership is Ownership.EXCLUSIVE else []),
        *(["protected"] if base.protect else []),
        *([f"ignores {', '.join(map(plain, base.ignore))}"] if base.ignore else []),
        *([f"of {plain(base.commit[:10])}"] if base.commit else []),
    ]
    return ", ".join(words)


def _fields(base: Base, width: int | None) -> Iterator[str]:
    told = [
        (key, "absent" if value is None else one_value(value, _room(width)))
        for key, value in sorted(base.metadata.items())
    ]
    told += [(key, "unknown: it could never be verified") for key in sorted(base.unknown)]
    told += [(key, "not ours yet") for key in sorted(base.silent)]
    for key, said in told:
        yield from indented([f"{name(key, _room(width))} ", said], width, 2)
