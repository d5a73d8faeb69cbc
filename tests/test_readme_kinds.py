"""The README's table of kinds is the table of kinds."""

from pathlib import Path

import pytest

from reconciler.dialects import AUTO
from reconciler.gateway.providers import listable
from reconciler.kinds import KINDS

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
HEAD = ("kind", "section", "path", "field", "updates on the vendor's host", "listed", "beta header", "notes")


def table():
    """Return the table as the README has it."""
    rows = [HEAD, ("---",) * len(HEAD), *(cells(kind) for kind in KINDS.values())]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def cells(kind):
    return (
        kind.name,
        f"`{kind.plural}`",
        f"`{kind.path}`",
        kind.field,
        written(kind),
        listable(kind),
        ", ".join(f"`{value}`" for value in kind.headers.values()) or "–",
        " ".join(notes(kind)) or "–",
    )


def written(kind):
    """Return the dialect on the vendor's own host, and the likely one where nobody confirms any."""
    if kind.confirmed or not kind.writes.settled:
        return kind.writes.name
    return f"{AUTO.name} (likely {kind.writes.name})"


def notes(kind):
    if kind.retired:
        yield f"retired on {kind.retired}, now {kind.successor}"
    if kind.scalars:
        yield "values may be numbers and booleans"
    if kind.lags:
        yield "reads lag writes"


def test_the_readme_has_the_table_of_kinds():
    assert table() in README, f"the README's table of kinds is another one; it should be:\n\n{table()}"


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
def test_no_cell_breaks_the_table(kind):
    assert all(cell and "|" not in cell and "\n" not in cell for cell in cells(kind))
