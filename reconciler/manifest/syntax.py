"""What a parser rejects, in words that help to mend it."""

from __future__ import annotations

import re
from typing import Any, TypeAlias

from reconciler.errors import Problem
from reconciler.manifest.tree import COLUMNS, LINE_BREAK, Place, location, place_of
from reconciler.words import shown

_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ufffe\uffff]")

_LIBYAML_ALONE = (
    "found unexpected ':'",  # {url: https://x}
    "found invalid Unicode character escape code",  # "\ud83d\ude00"
    "did not find expected alphabetic or numeric character",  # *name: with other characters than A-Z a-z 0-9 _ -
    "did not find expected node content",  # [:x]
)


def may_be_valid(error: Any, text: str) -> bool:
    """Tell whether libyaml may have rejected what is valid.

    Found by feeding random documents to both parsers. Other faults are not tried again: the slow parser would
    take many seconds to tell the same of a large file.
    """
    problem = getattr(error, "problem", None) or ""
    if problem.startswith("did not find expected ','"):  # {a: b?c}
        at: int = error.problem_mark.index
        return text[at : at + 1] == "?"
    return problem in _LIBYAML_ALONE


def unreadable_at(error: Any, text: str) -> int | None:
    """Return where the character stands that a parser refuses to read at all; `None` for other faults."""
    found = _CONTROL.search(text) if getattr(error, "problem_mark", None) is None else None
    return found.start() if found else None


def syntax_problem(error: Any, text: str, file: str) -> Problem:
    """Say where the text stops being YAML, and how to mend it where that can be guessed."""
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return _character_problem(text, file)
    fault = _Fault(error, text)
    for recognise in (_tab, _colon, _open_quote, _flow, _indentation, _document, _start, _escape):
        if (found := recognise(fault)) is not None:
            message, place = found
            return Problem("yaml_syntax", message, location(file, place))
    return Problem("yaml_syntax", f"this is no valid YAML: {fault.problem}", location(file, fault.place))


def _character_problem(text: str, file: str) -> Problem:
    """Name the character that the parsers refuse to read, wherever it stands."""
    found = _CONTROL.search(text)
    if found is None:  # not known to happen: libyaml refuses just these characters without naming a place
        return Problem("yaml_syntax", "this is no valid YAML", location(file, 0))
    at, point = location(file, place_of(text, found.start())), ord(found[0])
    if point == 0:
        return Problem("null_character", "U+0000 cannot stand in a text file: remove it", at)
    fix = f'remove it, or write "\\u{point:04x}" in double quotes'
    return Problem("control_character", f"the control character U+{point:04X} cannot stand in YAML: {fix}", at)


class _Fault:
    """What a parser said, with the text around it."""

    def __init__(self, error: Any, text: str) -> None:
        self.problem = shown(error.problem or error.context or "")
        self.context = error.context or ""
        mark, lines = error.problem_mark, LINE_BREAK.split(text)
        # libyaml ends a text without a line break one line further down than there is text.
        line = min(mark.line, len(lines) - 1)
        column = min(mark.column if line == mark.line else len(lines[line]), len(lines[line]))
        start = error.context_mark or mark
        self.place: Place = line << 32 | column
        self.start: Place = min(start.line << 32 | start.column, self.place)
        self.line = lines[line]
        self.above = lines[line - 1] if line else ""
        self.before = self.line[:column]
        self.character = self.line[column : column + 1]

    @property
    def start_line(self) -> int:
        """The line, from 1, of the construct that the parser was in."""
        return (self.start >> 32) + 1


_Hint: TypeAlias = tuple[str, Place] | None


def _tab(fault: _Fault) -> _Hint:
    indent = fault.line[: len(fault.line) - len(fault.line.lstrip())]
    if "\t" not in indent:
        return None
    return "a tab cannot indent in YAML: use spaces", (fault.place >> 32) << 32 | indent.index("\t")


_LONGEST_KEY = 1024
"""Characters between the beginning of a key and its colon, at most (YAML 1.2, section 7.4)."""
_NO_SPACE = re.compile(r"\s*[\w.-]+:[^\s/]")


def _colon(fault: _Fault) -> _Hint:
    if "mapping values are not allowed" in fault.problem:
        if ": " in fault.before:
            return 'a text that contains ": " has to be quoted', fault.place
        if _NO_SPACE.match(fault.above):
            above = fault.place >> 32
            place = (above - 1) << 32 | fault.above.index(":")
            return "a space is missing after this colon", place
        return "this line is indented too far, or the line above is not complete", fault.place
    if "could not find expected ':'" in fault.problem:
        if _LONGEST_KEY < fault.place - fault.start < COLUMNS:
            return f"a key that is written with more than {_LONGEST_KEY} characters cannot be read", fault.start
        line = fault.start_line
        return f'line {line} is no "key: value": a colon with a space behind it is missing', fault.start
    return None


def _open_quote(fault: _Fault) -> _Hint:
    if "quoted scalar" in fault.context and ("end of stream" in fault.problem or "document" in fault.problem):
        return "the quotation mark that opens here is never closed", fault.start
    return None


def _flow(fault: _Fault) -> _Hint:
    if "while parsing a flow" not in fault.context:
        return None
    if "node" in fault.context:
        return "a value is expected here; quote it if it begins with a special character", fault.place
    closing = "}" if "mapping" in fault.context else "]"
    opening = "{" if closing == "}" else "["
    return f'"," or "{closing}" is expected here, to go on with the "{opening}" of line {fault.start_line}', fault.place


def _indentation(fault: _Fault) -> _Hint:
    if "while parsing a block" not in fault.context:
        return None
    if fault.character in {"]", "}"}:
        return f'there is nothing that this "{fault.character}" could close', fault.place
    return f"this does not fit the indentation of what begins on line {fault.start_line}", fault.place


def _document(fault: _Fault) -> _Hint:
    if "document start" in fault.problem:
        return "this does not belong to what stands above it: check its indentation", fault.place
    return None


def _start(fault: _Fault) -> _Hint:
    if "cannot start any token" in fault.problem:
        if fault.character == "\t":
            return "a tab cannot stand here: use spaces", fault.place
        return f'a value cannot begin with "{shown(fault.character)}": quote it', fault.place
    return None


def _escape(fault: _Fault) -> _Hint:
    if "escape" not in fault.problem:
        return None
    return "double quotes know no such escape: write \\\\ for a backslash, or use single quotes", fault.place
