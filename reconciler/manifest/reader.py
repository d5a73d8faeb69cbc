"""Bytes to a tree that remembers its places.

The tree is plain data (`dict`, `list`, `str`, `int`, `float`, `bool`, `date`, `None`), so that a schema can judge it,
and its mappings and lists know where each of their entries stands. It is built from the parser's events, never
by constructing objects: nothing in a file can run code. Strings follow YAML 1.2 (`yes` and `on` are strings), whatever
a `%YAML` directive says, and what is quoted arrives byte for byte.

Two parsers serve. libyaml is fast, but it rejects some valid documents; those go to ruamel's own parser, which in
turn hands a JSON surrogate pair on as two halves (they are joined here). Traps that both share, and what is done:

* U+0085, U+2028 and U+2029 are line breaks to them (YAML 1.1) and a U+FEFF has no width: these are replaced by
  private-use characters that the text does not contain, and restored in every scalar.
* Nesting is bounded while events arrive, so that depth can neither crash nor hang.
* An alias shares what it names, and the size that the whole would have when written out is summed up and bounded.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    StreamEndEvent,
)
from ruamel.yaml.parser import Parser
from ruamel.yaml.reader import Reader
from ruamel.yaml.scanner import Scanner

from reconciler.errors import Location, Problem
from reconciler.manifest.words import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Place: TypeAlias = int
"""A line and a column, both from 0, packed into one number (`line << 32 | column`): cheap by the hundred thousand."""

MAX_DEPTH = 64
"""Levels of nesting, aliases followed. A manifest has six."""
FREE_SIZE = 100_000
"""Nodes that aliases may add to any file; beyond that `SIZE_PER_CHARACTER`."""
SIZE_PER_CHARACTER = 4
"""Nodes that aliases may add per character of the file: an honest `metadata: *common` stays below 2."""

Event: TypeAlias = Any
"""An event of ruamel.yaml; its classes carry no types."""

_FAST_PARSER = YAML(typ="safe", pure=False).Parser
"""libyaml (ruamel.yaml.clib)."""
_COLUMNS = 0xFFFFFFFF
_BREAKS = "\x85\u2028\u2029\ufeff"
_PRIVATE_USE = range(0xE000, 0xF900)
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ufffe\uffff]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_NULL_ESCAPE = re.compile(r"\\(?:0|x00|u0000|U00000000)")
_LINE_BREAK = re.compile(r"\r\n?|\n")
_BLANK_LINE = re.compile(r"[ \t]*(?:#[^\r\n]*)?(?:\r\n?|\n)")
_DIRECTIVE = re.compile(r"%([^\r\n]*)(?:\r\n?|\n|\Z)")
_YAML_1_2 = re.compile(r"YAML[ \t]+1\.2[ \t]*(?:#.*)?")
_BEFORE_TAG = re.compile(r"(?:&\S*\s+)?(?:#[^\r\n]*\s+)*")


@dataclass(frozen=True, slots=True)
class Unclear:
    """A number or a date that readers of YAML disagree on, or that is none (`007`, `1_000`, `.inf`, `2024-13-01`)."""

    raw: str


@dataclass(frozen=True, slots=True)
class Plain:
    """What was written where an unquoted scalar is no string: its text, and what YAML takes it for."""

    raw: str
    sort: str


class Map(dict[str, Any]):
    """A mapping, merge keys resolved: `keys_at` and `values_at` have the places of each entry.

    `size` and `depth` are those of the whole below it, with aliases written out.
    """

    __slots__ = ("at", "depth", "keys_at", "size", "values_at")

    def __init__(self, at: Place = 0) -> None:
        super().__init__()
        self.at = at
        self.keys_at: dict[str, Place] = {}
        self.values_at: dict[str, Place] = {}
        self.size = 1
        self.depth = 1


class Seq(list[Any]):
    """A list; `items_at` has the place of each entry, `size` and `depth` as in `Map`."""

    __slots__ = ("at", "depth", "items_at", "size")

    def __init__(self, at: Place = 0) -> None:
        super().__init__()
        self.at = at
        self.items_at: list[Place] = []
        self.size = 1
        self.depth = 1


@dataclass(frozen=True, slots=True)
class Twice:
    """A key that a mapping has twice; the first one counts."""

    owner: Map
    key: str
    first: Place
    second: Place


@dataclass(slots=True)
class Document:
    """One file: its tree, and what was wrong with it already as YAML.

    `readable` is false where no tree could be built: then nothing but `problems` means anything. An empty file is
    readable and its root is `None`. `odd_keys` are the places of keys that are no strings (already a problem).
    `plains` has the unquoted scalars that are no strings, by place.
    """

    file: str
    root: Any = None
    readable: bool = False
    problems: list[Problem] = field(default_factory=list)
    twice: list[Twice] = field(default_factory=list)
    plains: dict[Place, Plain] = field(default_factory=dict)
    odd_keys: set[Place] = field(default_factory=set)

    def location(self, place: Place) -> Location:
        """Return the place as people count it."""
        return location(self.file, place)

    def complain(self, code: str, message: str, place: Place) -> None:
        """Note a problem."""
        self.problems.append(Problem(code, message, self.location(place)))


def location(file: str, place: Place) -> Location:
    """Return a packed place as people count it: from 1."""
    return Location(file, (place >> 32) + 1, (place & _COLUMNS) + 1)


def read(data: bytes, file: str) -> Document:
    """Read one YAML document. Never raises for what the bytes hold: whatever is wrong is among the problems."""
    document = Document(file)
    text = _decoded(data, document)
    if text is None:
        return document
    text, restore = _without_breaks(text)
    text = _without_directives(text, document)
    careful = bool(restore) or _NULL_ESCAPE.search(text) is not None
    attempt = _Composer(text, document, restore, careful=careful)
    try:
        attempt.compose(_FAST_PARSER(text).get_event)
    except YAMLError as error:
        if _may_be_valid(error, text):
            return _read_slowly(text, document, restore, error)
        document.problems.append(_syntax_problem(error, text, file))
    except _Refused as refused:
        document.problems.append(refused.problem)
    return document


def _read_slowly(text: str, document: Document, restore: Mapping[str, str], rejected: YAMLError) -> Document:
    """Read with the other parser what libyaml rejected."""
    document.problems = [problem for problem in document.problems if problem.code == "yaml_directive"]
    again = Document(document.file, problems=document.problems)
    try:
        _Composer(text, again, restore, careful=True).compose(_SlowParser(text).get_event)
    except YAMLError as error:
        again.problems.append(_syntax_problem(error, text, document.file))
    except _Refused as refused:
        again.problems.append(refused.problem)
    except (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError):
        # The pure parser trips over some nonsense with errors of all sorts; libyaml has already named the fault.
        again.problems.append(_syntax_problem(rejected, text, document.file))
    return again


class _SlowParser(Reader, Scanner, Parser):
    """ruamel's own parser without its composer, always by the rules of YAML 1.2."""

    processing_version = (1, 2)

    def __init__(self, text: str) -> None:
        self.comment_handling = None
        self._resolver = self
        Reader.__init__(self, text, loader=self)
        Scanner.__init__(self, loader=self)
        Parser.__init__(self, loader=self)


# -- From bytes to a text that both parsers read alike ------------------------------------------------------------


def _decoded(data: bytes, document: Document) -> str | None:
    try:
        return data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8").removeprefix("\ufeff")
        message = f"byte 0x{data[error.start]:02x} is no valid UTF-8 here; save the file as UTF-8"
        document.complain("invalid_utf8", message, _place_of(before, len(before)))
        return None


def _place_of(text: str, index: int) -> Place:
    """Return the place of the character at `index`."""
    line, start = 0, 0
    for found in _LINE_BREAK.finditer(text, 0, index):
        line, start = line + 1, found.end()
    return line << 32 | (index - start)


def _without_breaks(text: str) -> tuple[str, Mapping[str, str]]:
    """Replace what both parsers take for line breaks; also return what stands for what."""
    restore: dict[str, str] = {}
    if text.isascii():
        return text, restore
    lower = text.lower()
    # Neither the character itself nor an escape that gives it (`\\ue000`) may be in the text.
    free = (chr(point) for point in _PRIVATE_USE if chr(point) not in text and f"{point:04x}" not in lower)
    for break_ in _BREAKS:
        if break_ in text:
            restore[(stand_in := next(free))] = break_
            text = text.replace(break_, stand_in)
    return text, restore


def _without_directives(text: str, document: Document) -> str:
    """Turn the directives at the top into comments: `%YAML 1.2` says nothing new, any other is a problem."""
    start = 0
    while found := _BLANK_LINE.match(text, start) or _DIRECTIVE.match(text, start):
        directive = found[1] if text[start] == "%" else None
        if directive is not None:
            _judge_directive(directive, document, _place_of(text, start))
            text = f"{text[:start]}#{text[start + 1 :]}"
        start = found.end()
        if start >= len(text):
            break
    return text


def _judge_directive(directive: str, document: Document, place: Place) -> None:
    if directive.startswith("TAG"):
        document.complain("yaml_tag", "tags are not used here: remove this %TAG line", place)
    elif not _YAML_1_2.fullmatch(directive):
        message = "files are read by the rules of YAML 1.2, whatever a directive says: remove this line"
        document.complain("yaml_directive", message, place)


# -- From events to the tree --------------------------------------------------------------------------------------


class _Refused(Exception):
    """Reading stops here: going on would cost too much, or makes no sense."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


_COLLECTIONS = (Map, Seq)
_OPEN = object()
"""Stands for a collection that is named by an anchor and not complete yet."""
_MERGE = "\0<<"
"""The merge key; a quoted "<<" is a key like any other."""
_SPECIAL = frozenset(["", *"tTfF-+.0123456789~nN<"])
"""What an unquoted scalar that is no string can begin with; `<` for the merge key."""


def _place(event: Event) -> Place:
    mark = event.start_mark
    place: Place = mark.line << 32 | mark.column
    return place


class _Composer:
    """Builds the tree of one document from events."""

    def __init__(self, text: str, document: Document, restore: Mapping[str, str], *, careful: bool) -> None:
        self._text = text
        self._document = document
        self._restore = restore
        self._careful = careful
        self._anchors: dict[str, Any] = {}
        self._open = 0
        self._aliased = 0
        self._next: Callable[[], Event] = lambda: None

    def compose(self, next_event: Callable[[], Event]) -> None:
        """Build the tree and note what is wrong with it; the parser's own errors come through."""
        self._next = next_event
        next_event()
        event = next_event()
        if type(event) is StreamEndEvent:
            self._document.readable = True
            return
        event = next_event()
        self._document.root = self._node(event, _place(event))
        next_event()
        event = next_event()
        if type(event) is DocumentStartEvent:
            message = "a file holds one YAML document: move what follows into a file of its own"
            self._document.complain("second_document", message, _place(event))
        self._document.readable = True

    def _node(self, event: Event, place: Place) -> Any:
        kind = type(event)
        if kind is ScalarEvent:
            return self._scalar(event, place)
        if kind is AliasEvent:
            return self._alias(event, place)
        if event.tag is not None:
            self._tagged(event)
        self._open += 1
        self._check_depth(self._open, place)
        if event.anchor is not None:
            self._anchors[event.anchor] = _OPEN
        node = self._mapping(place) if kind is MappingStartEvent else self._sequence(place)
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        self._open -= 1
        return node

    def _mapping(self, place: Place) -> Map:
        node = Map(place)
        keys_at, values_at, next_event = node.keys_at, node.values_at, self._next
        merged: list[Map] = []
        while type(event := next_event()) is not MappingEndEvent:
            at = _place(event)
            key = self._key(event, at)
            event = next_event()
            value_at = _place(event)
            value = self._node(event, value_at)
            if key in keys_at:
                self._document.twice.append(Twice(node, key.removeprefix("\0"), keys_at[key], at))
                continue
            keys_at[key] = at
            if key == _MERGE:
                self._merge(value, value_at, merged)
            else:
                node[key] = value
                values_at[key] = value_at
                self._grow(node, value)
        keys_at.pop(_MERGE, None)
        for source in merged:
            self._take_over(node, source)
        return node

    def _sequence(self, place: Place) -> Seq:
        node = Seq(place)
        while type(event := self._next()) is not SequenceEndEvent:
            at = _place(event)
            value = self._node(event, at)
            node.append(value)
            node.items_at.append(at)
            self._grow(node, value)
        return node

    @staticmethod
    def _grow(node: Map | Seq, value: Any) -> None:
        if type(value) is str or not isinstance(value, _COLLECTIONS):
            node.size += 1
        else:
            node.size += value.size
            node.depth = max(node.depth, value.depth + 1)

    def _key(self, event: Event, place: Place) -> str:
        """Return the key as a string; one that is none is a problem."""
        if type(event) is ScalarEvent and not event.style and event.value == "<<":
            return _MERGE
        key = self._node(event, place)
        if type(key) is str:
            return key
        self._document.odd_keys.add(place)
        if isinstance(key, _COLLECTIONS):
            what = "a map" if isinstance(key, Map) else "a list"
            self._document.complain("not_a_string", f"{what} cannot be a key: keys are strings", place)
            return f"({what})"
        self._document.complain("not_a_string", not_a_string(self._document.plains[place], "keys"), place)
        return self._document.plains[place].raw

    def _merge(self, value: Any, place: Place, merged: list[Map]) -> None:
        sources = value if isinstance(value, Seq) else [value]
        if all(isinstance(source, Map) for source in sources):
            merged.extend(sources)
        else:
            message = '"<<" merges a map, or a list of maps, named by an alias; to use it as a key, quote it'
            self._document.complain("bad_merge", message, place)

    @staticmethod
    def _take_over(node: Map, source: Map) -> None:
        """Add what `node` does not say itself; of several sources the first wins."""
        for key, value in source.items():
            if key not in node:
                node[key] = value
                node.keys_at[key] = source.keys_at[key]
                node.values_at[key] = source.values_at[key]
        node.size += source.size
        node.depth = max(node.depth, source.depth)

    def _alias(self, event: Event, place: Place) -> Any:
        if event.anchor not in self._anchors:
            name = shown(event.anchor)
            self._refuse("yaml_syntax", f"*{name} refers to an anchor &{name} that this file does not set above", place)
        node = self._anchors[event.anchor]
        if node is _OPEN:
            self._refuse("alias_cycle", f"*{shown(event.anchor)} refers to what it is itself a part of", place)
        if isinstance(node, _COLLECTIONS):
            self._check_depth(self._open + node.depth, place)
            self._aliased += node.size
            if self._aliased > FREE_SIZE + SIZE_PER_CHARACTER * len(self._text):
                self._refuse("alias_bomb", "the aliases of this file multiply without bounds: write out less", place)
            return node
        value, plain = node
        if plain is not None:
            self._document.plains[place] = plain
        return value

    def _scalar(self, event: Event, place: Place) -> Any:
        text: str = event.value
        if event.tag is not None:
            self._tagged(event)
        if self._careful:
            text = self._cleaned(text, place)
        value: Any = text
        plain = None
        if not event.style and text[:1] in _SPECIAL:
            value, plain = resolve(text)
            if plain is not None:
                self._document.plains[place] = plain
        if event.anchor is not None:
            self._anchors[event.anchor] = value, plain
        return value

    def _cleaned(self, text: str, place: Place) -> str:
        """Restore what was replaced, join surrogate pairs; what cannot be sent to any server is a problem."""
        for stand_in, break_ in self._restore.items():
            text = text.replace(stand_in, break_)
        if "\x00" in text:
            self._document.complain("null_character", "U+0000 cannot be stored: remove the \\0 from the text", place)
        if _SURROGATE.search(text):
            text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
        if half := _SURROGATE.search(text):
            message = f"\\u{ord(half[0]):04x} is half of a character; write the whole one, or both halves together"
            self._document.complain("lone_surrogate", message, place)
            text = _SURROGATE.sub("\ufffd", text)
        return text

    def _tagged(self, event: Event) -> None:
        """Note an explicit tag; where an anchor stands before it, find the tag behind that."""
        start = event.start_mark.index
        skipped = _BEFORE_TAG.match(self._text, start)
        at = start if skipped is None else skipped.end()
        place = _place(event) if at == start else _place_of(self._text, at)
        message = "tags (!…) are not used here: remove it, and quote what is meant as a string"
        self._document.complain("yaml_tag", message, place)

    def _check_depth(self, depth: int, place: Place) -> None:
        if depth > MAX_DEPTH:
            self._refuse("too_deep", f"this is nested more than {MAX_DEPTH} levels deep", place)

    def _refuse(self, code: str, message: str, place: Place) -> NoReturn:
        raise _Refused(Problem(code, message, self._document.location(place)))


# -- What an unquoted scalar is -----------------------------------------------------------------------------------

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


# -- What the parsers reject --------------------------------------------------------------------------------------

_LIBYAML_ALONE = (
    "found unexpected ':'",  # {url: https://x}
    "found invalid Unicode character escape code",  # "\ud83d\ude00"
    "did not find expected alphabetic or numeric character",  # *name: with other characters than A-Z a-z 0-9 _ -
    "did not find expected node content",  # [:x]
)


def _may_be_valid(error: Any, text: str) -> bool:
    """Tell whether libyaml may have rejected what is valid.

    Found by feeding random documents to both parsers. Other faults are not tried again: the slow parser would
    take many seconds to tell the same of a large file.
    """
    problem = getattr(error, "problem", None) or ""
    if problem.startswith("did not find expected ','"):  # {a: b?c}
        at: int = error.problem_mark.index
        return text[at : at + 1] == "?"
    return problem in _LIBYAML_ALONE


def _syntax_problem(error: Any, text: str, file: str) -> Problem:
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
    at, point = location(file, _place_of(text, found.start())), ord(found[0])
    if point == 0:
        return Problem("null_character", "U+0000 cannot stand in a text file: remove it", at)
    fix = f'remove it, or write "\\u{point:04x}" in double quotes'
    return Problem("control_character", f"the control character U+{point:04X} cannot stand in YAML: {fix}", at)


class _Fault:
    """What a parser said, with the text around it."""

    def __init__(self, error: Any, text: str) -> None:
        self.problem = shown(error.problem or error.context or "")
        self.context = error.context or ""
        mark, lines = error.problem_mark, _LINE_BREAK.split(text)
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
        if _LONGEST_KEY < fault.place - fault.start < _COLUMNS:
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
