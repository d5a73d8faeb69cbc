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

import re
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

from reconciler.errors import Problem
from reconciler.manifest.scalars import not_a_string, resolve
from reconciler.manifest.syntax import may_be_valid, syntax_problem, unreadable_at
from reconciler.manifest.tree import Map, Place, Seq, Twice, YamlFile, place_of
from reconciler.words import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MAX_DEPTH = 64
"""Levels of nesting, aliases followed. A manifest has six."""
FREE_SIZE = 100_000
"""Nodes that aliases may add to any file; beyond that `SIZE_PER_CHARACTER`."""
SIZE_PER_CHARACTER = 4
"""Nodes that aliases may add per character of the file: an honest `metadata: *common` stays below 2."""

Event: TypeAlias = Any
"""An event of ruamel.yaml; its classes carry no types."""

FAST_PARSER = YAML(typ="safe", pure=False).Parser
"""libyaml (ruamel.yaml.clib)."""
_BREAKS = "\x85\u2028\u2029\ufeff"
_PRIVATE_USE = range(0xE000, 0xF900)
_SURROGATE = re.compile("[\ud800-\udfff]")
_NULL_ESCAPE = re.compile(r"\\(?:0|x00|u0000|U00000000)")
_BLANK_LINE = re.compile(r"[ \t]*(?:#[^\r\n]*)?(?:\r\n?|\n)")
_DIRECTIVE = re.compile(r"%([^\r\n]*)(?:\r\n?|\n|\Z)")
_YAML_1_2 = re.compile(r"YAML[ \t]+1\.2[ \t]*(?:#.*)?")
_BEFORE_TAG = re.compile(r"(?:&\S*\s+)?(?:#[^\r\n]*\s+)*")


def read(data: bytes, file: str) -> YamlFile:
    """Read one YAML document. Never raises for what the bytes hold: whatever is wrong is among the problems."""
    document = YamlFile(file)
    text = _decoded(data, document)
    text, restore = without_breaks(text)
    text = without_directives(text, document)
    noted = len(document.problems)
    careful = bool(restore) or _NULL_ESCAPE.search(text) is not None
    attempt = _Composer(text, document, restore, careful=careful)
    try:
        attempt.compose(FAST_PARSER(text).get_event)
    except YAMLError as error:
        again = YamlFile(file, problems=document.problems[:noted], cut=document.cut)
        if document.cut is None and (index := unreadable_at(error, text)) is not None:
            return _read_before(text[:index], syntax_problem(error, text, file), again, restore)
        if document.cut is None and may_be_valid(error, text):
            return _read_slowly(text, again, restore, error)
        _cut(document, attempt, syntax_problem(error, text, file))
    except _Refused as refused:
        document.problems.append(refused.problem)
    return document


def _cut(document: YamlFile, attempt: _Composer, problem: Problem) -> None:
    """Keep of a file what stands before its first fault, so that what is wrong there is told as well."""
    document.root = attempt.salvaged if document.root is None else document.root
    if document.cut is None:  # else bytes that are no text come first: what follows them is not looked at
        document.problems.append(problem)
        document.cut = problem.location


def _read_before(text: str, problem: Problem, again: YamlFile, restore: Mapping[str, str]) -> YamlFile:
    """Read the whole lines before a character that no parser takes."""
    again.problems.append(problem)
    again.cut = problem.location
    text = _whole_lines(text)
    attempt = _Composer(text, again, restore, careful=True)
    try:
        attempt.compose(FAST_PARSER(text).get_event)
    except YAMLError:
        again.root = attempt.salvaged if again.root is None else again.root
    except _Refused as refused:
        again.problems.append(refused.problem)
    return again


def _whole_lines(text: str) -> str:
    """Return the text without its last line, of which only a part may be there."""
    return text[: max(text.rfind("\n"), text.rfind("\r")) + 1]


def _read_slowly(text: str, again: YamlFile, restore: Mapping[str, str], rejected: YAMLError) -> YamlFile:
    """Read with the other parser what libyaml rejected."""
    attempt = _Composer(text, again, restore, careful=True)
    try:
        attempt.compose(SlowParser(text).get_event)
    except YAMLError as error:
        _cut(again, attempt, syntax_problem(error, text, again.file))
    except _Refused as refused:
        again.problems.append(refused.problem)
    except (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError):
        # The pure parser trips over some nonsense with errors of all sorts; libyaml has already named the fault.
        again.problems.append(syntax_problem(rejected, text, again.file))
    return again


class SlowParser(Reader, Scanner, Parser):
    """ruamel's own parser without its composer, always by the rules of YAML 1.2."""

    processing_version = (1, 2)

    def __init__(self, text: str) -> None:
        self.comment_handling = None
        self._resolver = self
        Reader.__init__(self, text, loader=self)
        Scanner.__init__(self, loader=self)
        Parser.__init__(self, loader=self)


# -- From bytes to a text that both parsers read alike ------------------------------------------------------------


def _decoded(data: bytes, document: YamlFile) -> str:
    """Return the text; of bytes that are none, what stands before them."""
    try:
        return data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8").removeprefix("\ufeff")
        message = f"byte 0x{data[error.start]:02x} is no valid UTF-8 here; save the file as UTF-8"
        document.complain("invalid_utf8", message, place_of(before, len(before)))
        document.cut = document.problems[-1].location
        return _whole_lines(before)


def without_breaks(text: str) -> tuple[str, Mapping[str, str]]:
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


def without_directives(text: str, document: YamlFile) -> str:
    """Turn the directives at the top into comments: `%YAML 1.2` says nothing new, any other is a problem."""
    start = 0
    while found := _BLANK_LINE.match(text, start) or _DIRECTIVE.match(text, start):
        directive = found[1] if text[start] == "%" else None
        if directive is not None:
            _judge_directive(directive, document, place_of(text, start))
            text = f"{text[:start]}#{text[start + 1 :]}"
        start = found.end()
        if start >= len(text):
            break
    return text


def _judge_directive(directive: str, document: YamlFile, place: Place) -> None:
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

    def __init__(self, text: str, document: YamlFile, restore: Mapping[str, str], *, careful: bool) -> None:
        self._text = text
        self._document = document
        self._restore = restore
        self._careful = careful
        self._anchors: dict[str, Any] = {}
        self._keys: dict[str, str] = {}
        self._open = 0
        self._aliased = 0
        self._next: Callable[[], Event] = lambda: None
        self.salvaged: Any = None

    def compose(self, next_event: Callable[[], Event]) -> None:
        """Build the tree and note what is wrong with it; the parser's own errors come through."""
        self._next = next_event
        next_event()
        event = next_event()
        if type(event) is StreamEndEvent:
            self._document.readable = self._document.cut is None
            return
        event = next_event()
        self._document.root = self._node(event, _place(event))
        next_event()
        event = next_event()
        if type(event) is DocumentStartEvent:
            message = "a file holds one YAML document: move what follows into a file of its own"
            self._document.complain("second_document", message, _place(event))
        self._document.readable = self._document.cut is None

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
        node, merged = Map(place), list[Map]()
        try:
            self._fill(node, merged)
        except YAMLError:
            node.keys_at.pop(_MERGE, None)
            self.salvaged = node
            raise
        node.keys_at.pop(_MERGE, None)
        for source in merged:
            self._take_over(node, source)
        return node

    def _fill(self, node: Map, merged: list[Map]) -> None:
        keys_at, values_at, next_event = node.keys_at, node.values_at, self._next
        while type(event := next_event()) is not MappingEndEvent:
            at = _place(event)
            key = self._key(event, at)
            event = next_event()
            value_at = _place(event)
            try:
                value = self._node(event, value_at)
            except YAMLError:
                if self.salvaged is not None and key not in keys_at and key != _MERGE:
                    node[key], keys_at[key], values_at[key] = self.salvaged, at, value_at
                raise
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

    def _sequence(self, place: Place) -> Seq:
        node = Seq(place)
        try:
            while type(event := self._next()) is not SequenceEndEvent:
                at = _place(event)
                value = self._node(event, at)
                node.append(value)
                node.items_at.append(at)
                self._grow(node, value)
        except YAMLError:
            self.salvaged = None  # half a list would be complained of for what it is not
            raise
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
            return self._keys.setdefault(key, key)  # one text for all resources that have the key
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
            message = f"*{name} refers to an anchor &{name} that this file does not set above"
            self._document.complain("yaml_syntax", message, place)
            self._document.undefined.add(self._document.location(place))
            return ""
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
        place = _place(event) if at == start else place_of(self._text, at)
        message = "tags (!…) are not used here: remove it, and quote what is meant as a string"
        self._document.complain("yaml_tag", message, place)

    def _check_depth(self, depth: int, place: Place) -> None:
        if depth > MAX_DEPTH:
            self._refuse("too_deep", f"this is nested more than {MAX_DEPTH} levels deep: take levels out", place)

    def _refuse(self, code: str, message: str, place: Place) -> NoReturn:
        raise _Refused(Problem(code, message, self._document.location(place)))
