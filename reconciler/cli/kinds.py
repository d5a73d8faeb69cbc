"""`reconciler kinds`: the table of kinds."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from reconciler.cli.options import Options
from reconciler.cli.output import say
from reconciler.dialects import AUTO
from reconciler.kinds import KINDS

if TYPE_CHECKING:
    from reconciler.kinds import Kind


@click.command()
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
def kinds(form: str) -> None:
    """List the kinds of resources whose metadata can be declared.

    "Writes" is the dialect in which updates go to the vendor's own host: the one that a primary source confirms, else
    `auto`, which gets to know the server by what it answers (with what it likely is). Other servers start as `auto`.
    In JSON it is the likely dialect, and "confirmed" says whether it is used.

    \b
    Example:
      reconciler kinds
      reconciler kinds --format json
    """
    text = json.dumps([_row(kind) for kind in KINDS.values()], indent=2) if form == "json" else _table()
    say(f"{text}\n", Options())


def _row(kind: Kind) -> dict[str, object]:
    return {
        "kind": kind.name,
        "section": kind.plural,
        "path": kind.path,
        "field": kind.field,
        "writes": kind.writes.name,
        "confirmed": kind.confirmed,
        "listable": kind.listable,
        "retired": kind.retired,
    }


def _writes(kind: Kind) -> str:
    """Return what is done on the vendor's own host."""
    if kind.confirmed:
        return kind.writes.name
    return f"{AUTO.name} (likely {kind.writes.name})" if kind.writes.settled else AUTO.name


def _cells(kind: Kind) -> dict[str, object]:
    cells = {**_row(kind), "writes": _writes(kind)}
    del cells["confirmed"]
    return cells


def _table() -> str:
    rows = [_cells(kind) for kind in KINDS.values()]
    lines = [[*rows[0]], *([str(cell or "-") for cell in row.values()] for row in rows)]
    widths = [max(len(line[index]) for line in lines) for index in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )
