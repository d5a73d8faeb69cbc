"""What the ledger remembers, as text for people and as JSON: the runs, what each wrote, the base of each resource."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from click import style

from reconciler.model import Ownership
from reconciler.words import amount, plain, quoted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from reconciler.bases import Touched
    from reconciler.model import Base, Ref
    from reconciler.runs import Run


def runs(recorded: Sequence[Run]) -> str:
    """Return one line for each run, newest first: its id, its time, who, which commit, what."""
    if not recorded:
        return "Nothing is recorded yet.\n"
    rows = [(plain(one.id), plain(one.at), plain(one.actor), _commit(one), _what(one)) for one in recorded]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return "".join(
        "  ".join([*(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=False)), row[4]]) + "\n"
        for row in rows
    )


def run(one: Run) -> str:
    """Return a run with every field that it wrote: what was there before, and after."""
    lines = [style(f"{plain(one.id)}  {_what(one)}", bold=True), f"{plain(one.at)}  {plain(one.actor)}  {_commit(one)}"]
    for ref, fields in sorted(one.touched.items()):
        lines += ["", style(plain(str(ref)), bold=True), *(f"  {_touched(field)}" for field in fields)]
    return "\n".join(lines) + "\n"


def ledger(tip: str, applied: str | None, bases: Mapping[Ref, Base]) -> str:
    """Return the base of each resource."""
    lines = [f"Ledger {tip[:10]}, applied: {plain(applied[:10]) if applied else 'no commit'}."]
    for ref, base in sorted(bases.items()):
        lines += ["", f"{style(plain(str(ref)), bold=True)}  {_rules(base)}".rstrip(), *_fields(base)]
    return "\n".join(lines) + "\n"


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


def _touched(field: Touched) -> str:
    key = plain(field.key)
    if field.before is None:
        return f"{style('+', fg='green')} {key}  {quoted(field.after)}"
    if field.after is None:
        return f"{style('-', fg='red')} {key}  {quoted(field.before)}"
    return f"{style('~', fg='yellow')} {key}  {quoted(field.before)} → {quoted(field.after)}"


def _rules(base: Base) -> str:
    words = [
        *(["exclusive"] if base.ownership is Ownership.EXCLUSIVE else []),
        *(["protected"] if base.protect else []),
        *([f"ignores {', '.join(map(plain, base.ignore))}"] if base.ignore else []),
        *([f"of {plain(base.commit[:10])}"] if base.commit else []),
    ]
    return style(", ".join(words), dim=True) if words else ""


def _fields(base: Base) -> Iterator[str]:
    for key, value in sorted(base.metadata.items()):
        yield f"  {plain(key)}  {'absent' if value is None else quoted(value)}"
    for key in sorted(base.unknown):
        yield f"  {plain(key)}  unknown: it could never be verified"
    for key in sorted(base.silent):
        yield f"  {plain(key)}  not ours yet"
