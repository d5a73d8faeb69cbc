"""How keys and values are written, and which ones no manifest may hold.

Whatever may be held is written so that YAML 1.2 and 1.1 read the same string, whichever parser reads it, and so that
no CI service takes it for a command when a manifest is printed to a log.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from reconciler.credentials import looks_like
from reconciler.kinds import KINDS
from reconciler.manifest.scalars import resolve
from reconciler.model import MAX_KEY, MAX_VALUE
from reconciler.words import commands_in, without_commands

if TYPE_CHECKING:
    from collections.abc import Iterator

    from reconciler.model import Json, Value

PLAIN = ""
"""Without quotes wherever that is safe; the other styles are a quotation mark, and `FRESH`."""
FRESH = "fresh"
"""The style of what is written anew: words of letters without quotes, anything else in double ones."""

_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*")
_PLAIN_IN_FLOW = re.compile(r"[\w/][\w ./@+=()&;!%*~'$^-]*(?<! )")
_PLAIN_IN_BLOCK = re.compile(r"[\w/](?:[\w ./@+=()&;!%*~'$^-]|:(?=[\w/]))*(?<! )")
_WORDS_OF_YAML_1_1 = frozenset(["y", "n", "yes", "no", "on", "off", "true", "false", "null"])
_MAYBE_A_NUMBER = re.compile(r"[0-9][0-9a-fxotz_:., +-]*", re.IGNORECASE)
"""What might be a number, a date or a time to some reader."""


@dataclass(frozen=True, slots=True)
class Fresh:
    """A mapping that is to be written: `merge` is what its merge key names (`*common`), if it has one."""

    pairs: Mapping[str, Content]
    merge: str = ""


Content: TypeAlias = "Value | Fresh | None"


@dataclass(frozen=True, slots=True)
class Quotes:
    """How keys and values are quoted by preference."""

    keys: str = FRESH
    values: str = FRESH


# -- How a scalar is written --------------------------------------------------------------------------------------


def scalar(value: Value | None, style: str, *, flow: bool = False) -> str:
    """Return `value` on one line, in `style` where that can hold it, else in double quotes."""
    if value is None:
        return "null"
    if not isinstance(value, str):
        return json.dumps(value)
    if commands_in(value):
        style = FRESH
    if style in (PLAIN, FRESH) and _plain(value, style, flow=flow):
        return value
    if style == "'" and value.isprintable():
        return "'" + value.replace("'", "''") + "'"
    return f'"{without_commands("".join(map(_escaped, value)))}"'


def _plain(text: str, style: str, *, flow: bool) -> bool:
    form = _WORD if style == FRESH else _PLAIN_IN_FLOW if flow else _PLAIN_IN_BLOCK
    if not form.fullmatch(text) or not text.isprintable() or text.lower() in _WORDS_OF_YAML_1_1:
        return False
    return not _MAYBE_A_NUMBER.fullmatch(text) and resolve(text)[1] is None


def _escaped(char: str) -> str:
    if char in '"\\':
        return f"\\{char}"
    if char.isprintable():
        return char
    # libyaml knows no surrogate pairs, which is how JSON would write it.
    return f"\\U{ord(char):08x}" if ord(char) > 0xFFFF else json.dumps(char)[1:-1]


def in_flow(fresh: Fresh, quotes: Quotes) -> str:
    """Return a flow mapping, on one line."""
    return f"{{{', '.join(flow_entries(fresh, quotes))}}}"


def flow_entries(fresh: Fresh, quotes: Quotes) -> Iterator[str]:
    """Yield what stands between the commas of a flow mapping."""
    if fresh.merge:
        yield f"<<: {fresh.merge}"
    for name, value in fresh.pairs.items():
        key = scalar(name, quotes.keys, flow=True)
        written = in_flow(value, quotes) if isinstance(value, Fresh) else scalar(value, quotes.values, flow=True)
        yield f"{key}: {written}"


def in_block(fresh: Fresh, indent: str, step: str, quotes: Quotes) -> Iterator[str]:
    """Yield the lines of a block mapping, without their breaks."""
    if fresh.merge:
        yield f"{indent}<<: {fresh.merge}"
    for name, value in fresh.pairs.items():
        key = scalar(name, quotes.keys)
        if not isinstance(value, Fresh):
            yield f"{indent}{key}: {scalar(value, quotes.values)}"
        elif value.pairs or value.merge:
            yield f"{indent}{key}:"
            yield from in_block(value, indent + step, step, quotes)
        else:
            yield f"{indent}{key}: {{}}"


def fits_literal(text: str) -> bool:
    """Tell whether a text can be a literal block scalar: printable lines, the first of them not indented."""
    body = text.removesuffix("\n")
    if commands_in(text) or re.search(r"(?m)^ *::", text):
        return False
    if "\n" not in text or body[:1] in ("", " ", "\n") or body.endswith("\n"):
        return False
    return all(line.isprintable() for line in body.split("\n"))


# -- What cannot be written ------------------------------------------------------------------------------------------


LONGEST_ID = 1000
"""Characters of an id that can be the key of a resource: YAML ends a key on one line at 1,024, quotes included."""


def unfit_id(own: str) -> str | None:
    """Say why no resource with this id can be declared; `None` for one that can."""
    if len(own) <= LONGEST_ID:
        return None
    return f"this id has {len(own):,} characters, and that of a resource in a manifest at most {LONGEST_ID:,}"


def unfit_key(key: Json) -> str | None:
    """Say why no manifest may hold this key; `None` for one that any may."""
    if not isinstance(key, str):
        return "this key is no string, and manifests declare nothing else: remove it at the API, or leave it to others"
    if not 1 <= len(key) <= MAX_KEY:
        return f"a key has 1 to {MAX_KEY} characters, this one has {len(key)}: rename it at the API"
    return _unwritable(key, "this key")


def unfit_value(value: Json, kind: str) -> str | None:
    """Say why no manifest may hold this value on a resource of `kind`; `None` for one that may stand there."""
    if isinstance(value, str):
        if len(value) > MAX_VALUE:
            return f"a value has at most {MAX_VALUE} characters, this one has {len(value)}: shorten it at the API"
        return _unwritable(value, "this value")
    if not KINDS[kind].scalars:
        return f"{_described(value)} is no string, and nothing else can be declared here: store it as a string"
    if isinstance(value, bool):
        return None
    if not isinstance(value, int | float):
        return f"{_described(value)} is no string, number or boolean, which is all that can be declared: store a string"
    if abs(value) >= _TOO_LARGE if isinstance(value, int) else not math.isfinite(value):
        return "this number cannot be written as one: store it as a string"
    return None


def unfit_secret(value: Json) -> str | None:
    """Say why a manifest that does not allow for it may not hold this value: it looks like a key."""
    what = looks_like(value) if isinstance(value, str) else None
    if what is None:
        return None
    return (
        f"this value looks like {what}, which is not written to a manifest: take it off the API (and revoke it, if it "
        "is one), or declare it by hand, with allow_secret_like: true on the resource"
    )


_SURROGATE = re.compile("[\ud800-\udfff]")
_TOO_LARGE = 10**290
"""Readers take numbers of up to 300 characters."""


def _unwritable(text: str, what: str) -> str | None:
    if "\0" in text:
        return f"{what} contains U+0000, which no manifest may hold: remove it at the API"
    if _SURROGATE.search(text):
        return (
            f"{what} contains half of a character (a lone surrogate), which no manifest may hold: store the whole one"
        )
    return None


def _described(value: Json) -> str:
    if isinstance(value, int | float):
        return "a boolean" if isinstance(value, bool) else "a number"
    return "a map" if isinstance(value, Mapping) else "a list"
