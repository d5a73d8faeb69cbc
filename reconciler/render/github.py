"""The document as annotations of a GitHub workflow: commands that put a message on a line of a manifest.

A step may show ten annotations of each level; what is beyond is dropped silently, so the last one names how many
there are (docs.github.com, workflow commands, and the limits that the runner's toolkit documents).
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from reconciler.render.rows import Level, clipped, headline, line, path, rows, spot
from reconciler.words import amount, plain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from reconciler.document import Document
    from reconciler.render import Room
    from reconciler.render.rows import Row

MOST = 10
"""Annotations of a level that one step shows."""
_LONGEST = 2000
"""Characters of a message: GitHub takes 64 KiB, and nobody reads more than this in the margin of a file."""
_LONGEST_TITLE = 120
_NOTES = 20
"""Notes that are told, as plain lines."""
_COMMANDS = {Level.ERROR: "error", Level.WARNING: "warning", Level.NOTE: "notice"}


def render(document: Document, _room: Room) -> str:
    """Return the commands, the worst level first, then notes and the counts as lines that are none."""
    by_level: dict[Level, list[Row]] = {level: [] for level in Level}
    for row in rows(document):
        by_level[row.level].append(row)
    lines = [command for level in Level for command in _commands(level, by_level[level], document)]
    lines += [f"note: {clipped(note.message, _LONGEST)}" for note in document.notes[:_NOTES]]
    lines += [f"and {amount(len(document.notes) - _NOTES, 'note')} more"] if len(document.notes) > _NOTES else []
    code = f" Exit code {document.exit_code}." if document.exit_code else ""
    return "".join(f"{each}\n" for each in [*lines, f"{headline(document)}.{code}"])


def _commands(level: Level, found: list[Row], document: Document) -> Iterator[str]:
    """Yield the annotations of one level; those that the change under review asks for come first."""
    ordered = sorted(found, key=lambda row: not (row.field and row.field.introduced))
    for number, row in enumerate(islice(ordered, MOST), 1):
        beyond = len(found) - MOST if number == MOST else 0
        yield _command(level, row, document, beyond)


def _command(level: Level, row: Row, document: Document, beyond: int) -> str:
    below = path(document, row.place)
    message = clipped(row.message, _LONGEST)
    if row.place and below is None:  # outside of the repository there is no line to put it on
        message = f"{spot(document, row.place)}: {message}"
    if beyond:
        kind = f"{_COMMANDS[level]}s"
        message = f"{message} (and {beyond} more {kind}: a JSON document, --out json=FILE, lists all of them)"
    properties = {"title": clipped(f"{row.subject}: {row.code}" if row.subject else row.code, _LONGEST_TITLE)}
    if row.place and below is not None:
        spots = {"line": str(line(row.place.line)), "col": str(line(row.place.column))}
        properties = {"file": plain(below), **spots, **properties}
    told = ",".join(f"{name}={_property(value)}" for name, value in properties.items())
    return f"::{_COMMANDS[level]} {told}::{_data(message)}"


def _data(text: str) -> str:
    """Return a message as the runner takes it back to what it was."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    """Return the value of a property; there, separators mean something as well."""
    return _data(text).replace(":", "%3A").replace(",", "%2C")
