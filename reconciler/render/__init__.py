"""The document in every format: each is a function of the document, and of how much room there is for it.

A row of `FORMATS` names the module whose `render` makes it, so that only what is asked for is loaded.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from reconciler.document import Document


@dataclass(frozen=True, slots=True)
class Room:
    """How much room there is.

    `width`: the columns of the terminal that text is for, `None` where nothing bounds a line. `max_bytes`: how long a
    comment may be, in bytes of UTF-8; `None` for the format's own bound.
    """

    width: int | None = None
    max_bytes: int | None = None


ANY_ROOM = Room()

FORMATS: Mapping[str, str] = MappingProxyType(
    {
        "text": "terminal",
        "json": "jsontext",
        "markdown": "markdown",
        "html": "html",
        "github": "github",
        "junit": "junit",
        "sarif": "sarif",
    }
)
"""Each format's module in this package."""


def rendered(document: Document, form: str, room: Room = ANY_ROOM) -> str:
    """Return the document in one of the formats, ending in a newline; text is styled, whoever prints it strips that."""
    text = importlib.import_module(f"reconciler.render.{FORMATS[form]}").render(document, room)
    assert isinstance(text, str)  # noqa: S101 - for the type checker: every row's module promises it
    return text
