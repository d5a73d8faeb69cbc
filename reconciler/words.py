"""How texts from outside are shown, and what was probably meant by one: the wording that every message shares.

Metadata values, keys, ids, command lines and the words of an API are data: no control sequence, newline, or
bidirectional override may reach a terminal raw. What cannot be printed is shown as the escape that JSON has for it.
"""

from __future__ import annotations

import difflib
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

LONGEST = 60
"""Characters of a foreign text that a sentence repeats."""


def plain(text: str) -> str:
    r"""Return `text` with everything that is not printable written as JSON escapes it: `\n`, `\u001b`."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in text)


def quoted(value: object) -> str:
    """Return a value as JSON shows it: strings in double quotes, nothing unprintable."""
    return plain(json.dumps(value, ensure_ascii=False))


def shown(text: str) -> str:
    """Return `text` for use in a sentence: plain and shortened; the empty one as quotes."""
    if not text:
        return '""'
    return plain(text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…")


def closest(name: str, known: Iterable[str]) -> str | None:
    """Return the one of `known` that was probably meant by `name`, upper and lower case aside."""
    by_lower = {candidate.lower(): candidate for candidate in known}
    found = difflib.get_close_matches(name[:LONGEST].lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[found[0]] if found else None


def meant(name: str, known: Iterable[str]) -> str:
    """Return the end of a sentence about an unknown name: what was meant, or what there is."""
    known = list(known)
    match = closest(name, known)
    return f"did you mean {match}?" if match else f"known are {', '.join(known)}"
