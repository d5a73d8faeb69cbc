"""Text from strangers, made harmless for a terminal.

Metadata values, keys, and the words of an API are data: no control sequence, newline, or bidirectional override may
reach a terminal raw. What cannot be printed is shown as the escape that JSON has for it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reconciler.model import Json


def plain(text: str) -> str:
    r"""Return `text` with everything that is not printable written as `\\uXXXX`."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else _escape(character) for character in text)


def quoted(value: Json) -> str:
    """Return a value as JSON shows it: strings in double quotes, nothing unprintable."""
    return plain(json.dumps(value, ensure_ascii=False))


def _escape(character: str) -> str:
    return json.dumps(character)[1:-1] if ord(character) > 0x7E or ord(character) < 0x20 else f"\\u{ord(character):04x}"
