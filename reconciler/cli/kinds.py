"""`reconciler kinds`: the table of kinds."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import click

from reconciler.cli.options import Options
from reconciler.cli.output import room_on, say
from reconciler.dialects import AUTO
from reconciler.gateway.providers import listable, lists_of
from reconciler.kinds import KINDS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from reconciler.kinds import Kind


@click.command()
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="What goes to standard output.",
)
def kinds(form: str) -> None:
    """List the kinds of resources whose metadata can be declared.

    "Writes" is the dialect in which updates go to the vendor's own host: the one that a primary source confirms, else
    `auto`, which gets to know the server by what it answers (with what it likely is). Other servers start as `auto`.
    In JSON it is the likely dialect, and "confirmed" says whether it is used.

    "Retired" is the day on which the vendor's own host stopped serving the kind, and the kind that came in its place.

    JSON has all that is known of a kind: also the headers of its requests, how its ids begin, whether a body must have
    the field and may have null there, where its list can be had ("listed_at": providers, null for all of them) and
    filtered by pairs, and whether reads are late ("lags").

    \b
    Example:
      reconciler kinds
      reconciler kinds --format json
    """
    width = room_on(sys.stdout, Options()).width
    text = json.dumps([_row(kind) for kind in KINDS.values()], indent=2) if form == "json" else _table(width)
    say(f"{text}\n", Options())


def _row(kind: Kind) -> dict[str, object]:
    return {
        "kind": kind.name,
        "section": kind.plural,
        "noun": kind.noun,
        "parent": kind.parent or None,
        "path": kind.path,
        "prefix": kind.prefix or None,
        "headers": dict(kind.headers),
        "field": kind.field,
        "values": ["string", "number", "boolean"] if kind.scalars else ["string"],
        "required": kind.required,
        "nullable": kind.nullable,
        "writes": kind.writes.name,
        "confirmed": kind.confirmed,
        "listable": listable(kind),
        "listed_at": None if kind.listed else sorted(row.name for row in lists_of(kind)),
        "filter": kind.filtered,
        "lags": kind.lags,
        "retired": kind.retired,
        "successor": kind.successor,
    }


def _writes(kind: Kind) -> str:
    """Return what is done on the vendor's own host."""
    if kind.confirmed:
        return kind.writes.name
    return f"{AUTO.name} (likely {kind.writes.name})" if kind.writes.settled else AUTO.name


def _cells(kind: Kind) -> dict[str, object]:
    row = {**_row(kind), "writes": _writes(kind), "retired": kind.retired and f"{kind.retired} → {kind.successor}"}
    return {name: row[name] for name in _SHOWN}


_SHOWN: Sequence[str] = ("kind", "section", "path", "field", "writes", "listable", "retired")
"""What the text shows of a kind: what a reader looks for, as much as a wide terminal has room for."""
_FIRST: Sequence[str] = ("kind", "path", "writes")
"""What stands in the first line of a kind where one line cannot hold all of it."""


def _table(width: int | None) -> str:
    """Return the table: a line for each kind, and where the terminal is too narrow for that, lines below it."""
    rows = [_cells(kind) for kind in KINDS.values()]
    lines = [[*rows[0]], *([str(cell or "-") for cell in row.values()] for row in rows)]
    table = _columns(lines)
    if width is None or max(map(len, table)) <= width:
        return "\n".join(table)
    names = _FIRST
    heads = _columns([names, *([str(row[name]) for name in names] for row in rows)])
    if max(map(len, heads)) > width:
        names, heads = _FIRST[:1], ["kinds", *(str(row["kind"]) for row in rows)]
    below = [_below(row, names, width) for row in rows]
    return "\n".join([heads[0], *(line for head, more in zip(heads[1:], below, strict=True) for line in (head, *more))])


def _columns(lines: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]


def _below(row: Mapping[str, object], told: Sequence[str], width: int) -> list[str]:
    """Return what the first line has not told, as many parts in a line as fit."""
    lines = [""]
    for part in (f"{name}: {value}" for name, value in row.items() if value and name not in told):
        longer = f"{lines[-1]}; {part}" if lines[-1] else f"    {part}"
        if len(longer) < width or not lines[-1]:
            lines[-1] = longer
        else:
            lines[-1] += ";"
            lines.append(f"    {part}")
    return lines
