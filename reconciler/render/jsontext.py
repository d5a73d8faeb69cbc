"""The document as JSON: what a saved plan is, and what every other format is a function of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler import planfile

if TYPE_CHECKING:
    from reconciler.document import Document
    from reconciler.render import Room


def render(document: Document, _room: Room) -> str:
    """Return the document as JSON text; it has all of it, whatever the room."""
    return planfile.dumps(document)
