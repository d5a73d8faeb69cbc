"""What an unquoted scalar stands for, by the rules of YAML 1.2."""

from __future__ import annotations

import datetime as dt
import math
import re
from typing import Any

from reconciler.manifest.tree import Plain, Unclear
from reconciler.words import shown

_NULLS = frozenset(["", "~", "null", "Null", "NULL"])
_BOOLEANS = {text: text.lower() == "true" for text in ("true", "True", "TRUE", "false", "False", "FALSE")}
_NUMBER = re.compile(
    r"""[-+]?(?: 0b[01_]+ | 0o?[0-7_]+ | 0x[0-9a-fA-F_]+ | [0-9][0-9_]*(?:\.[0-9_]*)?(?:[eE][-+]?[0-9]+)?
        | \.[0-9][0-9_]*(?:[eE][-+]?[0-9]+)? | \.(?:inf|Inf|INF) ) | \.(?:nan|NaN|NAN)""",
    re.VERBOSE,
)
_CLEAR_NUMBER = re.compile(r"[-+]?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_TIMESTAMP = re.compile(
    r"\d{4}-\d\d?-\d\d?(?:[Tt]|[ \t]+)\d\d?:\d\d:\d\d(?:\.\d*)?(?:[ \t]*(?:Z|[-+]\d\d?(?::\d\d)?))?", re.ASCII
)
_LONGEST_NUMBER = 300
"""Digits; beyond it Python refuses to convert (4300), and no API keeps them."""


def resolve(text: str) -> tuple[Any, Plain | None]:
    """Return what an unquoted scalar stands for, and how to call it where it is no string."""
    if text in _NULLS:
        return None, Plain(text, "null")
    if text in _BOOLEANS:
        return _BOOLEANS[text], Plain(text, "boolean")
    if _NUMBER.fullmatch(text):
        return _number(text), Plain(text, "number")
    if _DATE.fullmatch(text) or _TIMESTAMP.fullmatch(text):
        return _date(text), Plain(text, "date")
    return text, None


def _number(text: str) -> int | float | Unclear:
    clear = _CLEAR_NUMBER.fullmatch(text)
    if clear is None or len(text) > _LONGEST_NUMBER:
        return Unclear(text)
    if clear[1] is None and clear[2] is None:
        return int(text)
    number = float(text)
    return number if math.isfinite(number) else Unclear(text)


def _date(text: str) -> dt.date | Unclear:
    try:
        return dt.date.fromisoformat(text) if _DATE.fullmatch(text) else Unclear(text)
    except ValueError:
        return Unclear(text)


def not_a_string(plain: Plain, what: str) -> str:
    """Say that an unquoted scalar is no string, with the fix."""
    if not plain.raw:
        return f'nothing is written here; {what} are strings: write "" for the empty one'
    return f'{shown(plain.raw)} is a YAML {plain.sort}; {what} are strings: write "{shown(plain.raw)}"'
