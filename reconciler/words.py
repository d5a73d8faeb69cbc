"""How texts from outside are shown, and what was probably meant by one: the wording that every message shares.

Metadata values, keys, ids, command lines and the words of an API are data: no control sequence, newline, or
bidirectional override may reach a terminal raw, and no command for a CI service may reach its log. What must not be
printed is shown as the escape that JSON has for it.
"""

from __future__ import annotations

import difflib
import json
import re
from typing import TYPE_CHECKING
from unicodedata import is_normalized

from reconciler.credentials import looks_like

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_BESIDE_LETTERS = frozenset("._:/@+-")
_FILLERS = frozenset("\u115f\u1160\u3164\uffa0")
"""Letters to Unicode, and printable to Python, that nobody sees."""

LONGEST = 60
"""Characters of a foreign text that a sentence repeats."""

# A CI service takes what it finds in a log for its own: GitHub a line that begins with `::` after white space, and in
# its old form `##[command]` anywhere in it; Azure Pipelines `##vso[`, TeamCity `##teamcity[`, anywhere as well.
# A colon alone counts, because what comes behind it may begin with the second one.
_COMMAND_INSIDE = re.compile(r"#(?=#\w*\[)")
_COMMAND_FIRST = re.compile(r"( *):(?=:|\Z)")


def plain(text: str) -> str:
    r"""Return `text` with everything that is not printable written as JSON escapes it: `\n`, `\u001b`.

    So are the first characters of what a CI service would take for a command. Done twice, it is as done once.
    """
    if not text.isprintable():
        text = "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in text)
    if "##" in text:
        text = without_commands(text)
    if ":" in text[:1] or (text[:1] == " " and ":" in text):
        text = _COMMAND_FIRST.sub(r"\1\\u003a", text, count=1) if _COMMAND_FIRST.match(text) else text
    return text


def without_commands(text: str) -> str:
    r"""Return `text` (plain, or the inside of double quotes) with the `#` of a CI service's commands as `\u0023`."""
    return _COMMAND_INSIDE.sub(r"\\u0023", text) if "##" in text else text


def commands_in(text: str) -> bool:
    """Tell whether a CI service would take a part of this for a command, whatever line it stands in."""
    return "##" in text and _COMMAND_INSIDE.search(text) is not None


def dumped(content: object, indent: int | None = 2) -> str:
    """Return JSON text of ASCII characters that no terminal and no CI service takes for anything else."""
    return without_commands(json.dumps(content, indent=indent))


def quoted(value: object) -> str:
    """Return a value as JSON shows it: strings in double quotes, nothing unprintable."""
    return plain(json.dumps(value, ensure_ascii=False))


def named(key: str) -> str:
    """Return a key for a place where other words stand beside it: bare where it cannot be taken for any of them.

    That is one of letters, digits and `._:/@+-` alone. Any other is in double quotes, as JSON shows it, so that no key
    imitates a column; and where two could look the same, letters beyond ASCII are escaped.
    """
    return spelling(key)(key)


def spelling(key: str) -> Callable[[str], str]:
    """Return how a key, and each part of it, is written."""
    if not key.isascii() and not (is_normalized("NFC", key) and _FILLERS.isdisjoint(key)):
        return _escaped
    bare = key[:1] not in ("", ":") and all(char.isalnum() or char in _BESIDE_LETTERS for char in key)
    return str if bare else quoted


def _escaped(text: str) -> str:
    return without_commands(json.dumps(text))


def shown(text: str) -> str:
    """Return `text` for use in a sentence: plain and shortened; the empty one as quotes, and no key."""
    if not text:
        return '""'
    if (what := looks_like(text)) is not None:
        return f"(not shown: it looks like {what})"
    return plain(text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…")


def amount(number: int, noun: str) -> str:
    """Return such as `1 read` and `2 reads`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def closest(name: str, known: Iterable[str]) -> str | None:
    """Return the one of `known` that was probably meant by `name`, upper and lower case aside."""
    by_lower = {candidate.lower(): candidate for candidate in known}
    found = difflib.get_close_matches(name[:LONGEST].lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[found[0]] if found else None


def meant(name: str, known: Iterable[str]) -> str:
    """Return the end of a sentence about an unknown name: what was meant, or what there is."""
    known = list(known)
    match = closest(name, known)
    return f"did you mean {shown(match)}?" if match else f"known are {', '.join(map(shown, known))}"
