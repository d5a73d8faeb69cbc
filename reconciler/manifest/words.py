"""Wording that every problem shares: how a name is shown, and what was probably meant."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

LONGEST = 60
"""Characters of a foreign text that a message repeats."""


def shown(text: str) -> str:
    """Return `text` for use in a sentence: shortened, and what does not print is escaped."""
    if not text:
        return '""'
    short = text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in short)


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
