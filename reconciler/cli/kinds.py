"""`reconciler kinds`: the table of kinds."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from reconciler.cli.options import FORMATS
from reconciler.kinds import KINDS

if TYPE_CHECKING:
    from reconciler.kinds import Kind


@click.command()
@click.option("--format", "form", type=click.Choice(FORMATS), default="text", show_default=True)
def kinds(form: str) -> None:
    """List the kinds of resources whose metadata can be declared.

    "Writes" is how the vendor's own API treats an update; other servers may differ, and are got to know as `auto`.

    \b
    Example:
      reconciler kinds
      reconciler kinds --format json
    """
    rows = [_row(kind) for kind in KINDS.values()]
    click.echo(json.dumps(rows, indent=2) if form == "json" else _table(rows))


def _row(kind: Kind) -> dict[str, str | None]:
    return {
        "kind": kind.name,
        "section": kind.plural,
        "path": kind.path,
        "field": kind.field,
        "writes": kind.writes.name,
        "listable": kind.listable,
        "retired": kind.retired,
    }


def _table(rows: list[dict[str, str | None]]) -> str:
    columns = list(rows[0])
    lines = [columns, *([row[column] or "-" for column in columns] for row in rows)]
    widths = [max(len(line[index]) for line in lines) for index in range(len(columns))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )
