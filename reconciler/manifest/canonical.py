"""The canonical form of a manifest: one order, one way of quoting, every comment kept.

**Order.** `version`, `defaults`, then the sections in the order of the table of kinds; resources by id and metadata by
key, in the order of their code points; the fields of a resource as metadata, ownership, ignore, protect, accept,
allow_secret_like, those of the defaults as ownership, ignore, metadata, those of accepted drift as key, value, until,
reason. A merge key (`<<`) comes first. Lists keep their order. An anchor has to stand above its aliases, so an entry
whose anchor is used moves up to right above the first that uses it; where an anchor is set twice under one name, all
entries that set or use that name keep their order.

**Lines.** Two spaces a level, those of a list included. One entry a line, but a flow collection (`{a: b}`, `[a, b]`)
that has no comment inside and fits on its line of 100 columns stays one; the file and its sections never do. A text
stands on one line, however long, and block scalars (`|`, `>`) stay what they are, unless their text has characters
that cannot be seen, a command of a CI service, or blank lines at its end. Line breaks are LF, also the one at the end;
there is no byte order mark, no `---`, no `...` and no directive.

**Quotes.** None for a text that any parser of YAML 1.1 and 1.2 reads as this very string: letters, digits, spaces and
such marks as begin nothing (`notation.scalar` has the list; adopt and import write by it as well, with quotes around
still more). Else double ones; single ones for a text with double quotes or backslashes (and no single quotes), such as
JSON, so that it can be read. Globs of `ignore` always have double quotes, for `*` and `?` begin something else in YAML.
What is no string stays as it is written, but null is `null` and a boolean `true` or `false`. A section or resource, or
the defaults, of which nothing is said, have nothing behind the colon: `null` would read as if it should not exist.

**Comments.** See `layout` for what belongs to whom. A comment moves with its entry; behind an entry it stands after two
spaces. The comments at the top of the file stay there, and so do those at its end.

**Blank lines.** One at most, never below what opens a collection. Where entries change places, they stand between all
entries of that collection, if at least half of the gaps had one, or else between none.

Whatever comes out is read again and held against what went in (`canonical`): it has to be the same data with the same
comments.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ruamel.yaml.error import YAMLError

from reconciler.errors import ReconcilerError
from reconciler.kinds import BY_PLURAL
from reconciler.manifest.layout import Item, Line, Unclear, comments, is_block_scalar, layout, name_of
from reconciler.manifest.notation import FRESH, PLAIN, scalar
from reconciler.manifest.reader import read
from reconciler.manifest.scalars import resolve
from reconciler.manifest.schema import read_document
from reconciler.manifest.spans import AliasSpan, MapSpan, ScalarSpan, SequenceSpan, compose
from reconciler.manifest.tree import LINE_BREAK
from reconciler.words import commands_in

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reconciler.errors import Problem
    from reconciler.manifest.layout import Layout
    from reconciler.manifest.spans import Source, Span
    from reconciler.manifest.table import FileManifest
    from reconciler.manifest.tree import YamlFile

WIDTH = 100
"""Columns within which a flow collection stays on its line."""
STEP = 2
_LONGEST_KEY = 1000
"""Characters of a key that can stand before its colon without a `?`; YAML wants at most 1024."""

ORDER = {
    "root": ("version", "defaults", *BY_PLURAL),
    "defaults": ("ownership", "ignore", "metadata"),
    "resource": ("metadata", "ownership", "ignore", "protect", "accept", "allow_secret_like"),
    "accepted": ("key", "value", "until", "reason"),
}
"""The order of fields by the role of their mapping; in those without a row keys go by their code points."""
_ROLES = {"metadata": "metadata", "ignore": "ignore", "accept": "accept"}
_WHOLE = frozenset(["root", "section"])
"""Roles of mappings that always have a line for each entry."""
_MAY_SAY_NOTHING = frozenset(["section", "resource", "defaults"])


class NotKept(ReconcilerError):
    """What came out is not what went in: a mistake of ours, which must not reach a file."""

    code = "internal"


@dataclass(frozen=True, slots=True)
class Formatted:
    """The canonical form, or with problems the data as they were."""

    data: bytes
    problems: tuple[Problem, ...] = ()


def canonical(data: bytes, file: str) -> Formatted:
    """Return the canonical form of a manifest; one that is not valid stays as it is.

    Raises `NotKept` where what comes out would not declare the same, or not have the same comments.
    """
    document = read(data, file)
    manifest = read_document(document)
    if manifest.problems:
        return Formatted(data, manifest.problems)
    source = compose(LINE_BREAK.sub("\n", data.decode("utf-8").removeprefix("\ufeff")))
    try:
        text = _Writer(source).text(layout(source))
        if text.encode() != data:
            _check(text, source, document, manifest)
    except Unclear as error:
        raise NotKept(_sorry(file, "its comments cannot be told from its values")) from error
    return Formatted(text.encode())


def _sorry(file: str, why: str) -> str:
    return f"internal error, please report it: {file} is left as it is, for in canonical form {why}"


# -- The proof ----------------------------------------------------------------------------------------------------


def _check(text: str, source: Source, before: YamlFile, manifest: FileManifest) -> None:
    """Raise `NotKept` unless `text` has the data, the declarations and the comments of what it was made of."""
    after = read(text.encode(), before.file)
    again = read_document(after)
    if again.problems or not _same(before.root, after.root) or _declared(manifest) != _declared(again):
        raise NotKept(_sorry(before.file, "it would not declare the same"))
    if Counter(comments(source)) != Counter(comments(compose(text))):
        raise NotKept(_sorry(before.file, "comments would be lost"))


def _same(one: Any, other: Any) -> bool:
    """Tell whether two trees hold the same; the order of mappings does not count, the types of values do."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_same(value, other[key]) for key, value in one.items())
    if isinstance(one, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)


def _declared(manifest: FileManifest) -> dict[tuple[str, str], Any]:
    table = manifest.table
    names = [(kind, id_) for kind, _, ids in table.sections() for id_ in ids]
    return dict(zip(names, table.rows, strict=True))


# -- Order --------------------------------------------------------------------------------------------------------


def _role_below(role: str, item: Item) -> str:
    """Return the role of the value of an entry."""
    if item.key is None:
        return {"accept": "accepted", "ignore": "glob"}.get(role, role)  # else a list of what is merged
    if item.merges:
        return role
    if role == "root":
        return "section" if item.name in BY_PLURAL else "defaults" if item.name == "defaults" else "value"
    if role == "section":
        return "resource"
    return _ROLES.get(item.name, "value") if role in ("resource", "defaults") else "value"


def _rank(role: str, item: Item) -> tuple[bool, int, str]:
    order = ORDER.get(role, ())
    return not item.merges, order.index(item.name) if item.name in order else len(order), item.name


class _Names:
    """Which entries set and use which anchors. Without an alias in the file nobody has to ask."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._named: dict[int, dict[str, bool]] = {}

    def below(self, item: Item) -> dict[str, bool]:
        """Return the names that an entry sets (true) or only uses (false)."""
        known = self._named.get(id(item))
        if known is None:
            known = self._named[id(item)] = {}
            for node in (item.key, item.value):
                if node is not None and (name := name_of(node, self._source)):
                    known[name] = known.get(name, False) or not isinstance(node, AliasSpan)
            for child in item.children:
                for name, sets in self.below(child).items():
                    known[name] = known.get(name, False) or sets
        return known


def _needs(items: Sequence[Item], names: _Names, twice: frozenset[str]) -> list[set[int]]:
    """Return for each of some entries, in the order of the text, which others have to stand above it."""
    needs = [set[int]() for _ in items]
    last: dict[str, int] = {}
    for index, item in enumerate(items):
        for name, sets in names.below(item).items():
            if name in last and (name in twice or not sets):
                needs[index].add(last[name])
            if name in twice or sets:
                last[name] = index
    return needs


def _ordered(order: Sequence[int], needs: Sequence[set[int]]) -> list[int]:
    """Return entries in their order, each below what it needs, which moves up to it where it has to."""
    place = {index: place for place, index in enumerate(order)}
    done: dict[int, None] = {}
    for first in order:
        stack = [first]
        while stack:
            missing = needs[stack[-1]] - done.keys()
            stack += sorted(missing, key=place.__getitem__, reverse=True)
            if not missing:
                done[stack.pop()] = None
    return list(done)


class _Arranger:
    """Puts the entries of every mapping in order, and blank lines between them."""

    def __init__(self, names: _Names | None, twice: frozenset[str]) -> None:
        self._names = names
        self._twice = twice

    def arrange(self, item: Item, role: str) -> None:
        """Arrange what is below an item."""
        for child in item.children:
            self.arrange(child, _role_below(role, child))
        if isinstance(item.value, MapSpan):
            self._sort(item, role)
        if item.children:
            item.children[0].apart = False

    def _sort(self, item: Item, role: str) -> None:
        items = item.children
        order = sorted(range(len(items)), key=lambda index: _rank(role, items[index]))
        if self._names is not None:
            order = _ordered(order, _needs(items, self._names, self._twice))
        if order == list(range(len(items))):
            return
        apart = 2 * sum(child.apart for child in items[1:]) >= len(items) - 1
        item.children = [items[index] for index in order]
        for child in item.children:
            child.apart = apart


# -- Text ---------------------------------------------------------------------------------------------------------


class _Writer:
    """Writes a layout in canonical form."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._lines: list[str] = []
        self._scalars: dict[tuple[str, bool], str] = {}

    def text(self, found: Layout) -> str:
        """Return the text."""
        root = found.root
        self._arranger().arrange(root, "root")
        top = root.children[0]
        self._add_lines(found.head, 0)
        top.apart = bool(found.head) and (found.head_apart or bool(top.above))
        for child in root.children:
            self._entry(child, 0, "root")
        self._add_lines(found.tail, 0)
        if self._lines[0] == "":
            del self._lines[0]
        return "\n".join([*self._lines, ""])

    def _arranger(self) -> _Arranger:
        text = self._source.clean
        if "*" not in text or "&" not in text:
            return _Arranger(None, frozenset())
        set_ = Counter(_anchors(self._source.root, self._source))
        return _Arranger(_Names(self._source), frozenset(name for name in set_ if set_[name] > 1))

    def _add_lines(self, lines: Sequence[Line], column: int) -> None:
        for line in lines:
            if line.blank:
                self._lines.append("")
            self._lines.append(" " * column + line.text)

    # -- entries

    def _entry(self, item: Item, column: int, role: str) -> None:
        """Write an entry of a mapping, or an item of a list, of this role."""
        inner = _role_below(role, item)
        head = f"{' ' * column}{self._key(item, column)}" if item.key is not None else f"{' ' * column}-"
        self._add_lines(item.above, column)
        if item.blank:
            self._lines.append("")
        self._add_lines([Line(text, blank=False) for text in item.ends[:-1]], column)
        end = f"  {item.ends[-1]}" if item.ends else ""
        room = WIDTH - len(head.rpartition("\n")[2]) - 1
        block = self._block_scalar(item, column, inner)
        if block:
            self._lines.append(f"{head} {self._anchor(item.value)}{block[0]}{end}")
            self._lines += block[1:]
        elif (text := self._on_line(item, inner, room)) is not None:
            self._lines.append(f"{head} {text}{end}" if text else f"{head}{end}")
        else:
            self._collection(item, column, inner, head, end)
        self._add_lines(item.below, column + STEP)

    def _collection(self, item: Item, column: int, role: str, head: str, end: str) -> None:
        anchor = self._anchor(item.value).rstrip()
        if item.key is not None or anchor:
            self._lines.append(f"{head} {anchor}{end}" if anchor else f"{head}{end}")
            for child in item.children:
                self._entry(child, column + STEP, role)
            return
        # The first entry stands behind the dash, so that what is said about it, or about the dash, stands above both.
        first = item.children[0]
        texts = [*item.ends[-1:], *(line.text for line in first.above), *first.ends[:-1]]
        self._add_lines([Line(text, blank=False) for text in texts], column)
        first.above, first.ends, first.blank = [], first.ends[-1:], False
        at = len(self._lines)
        for child in item.children:
            self._entry(child, column + STEP, role)
        self._lines[at] = f"{head} {self._lines[at][column + STEP :]}"

    # -- keys and values on one line

    def _key(self, item: Item, column: int) -> str:
        """Return the key with its colon."""
        key = item.key
        if item.merges or key is None:
            text = "<<"
        elif isinstance(key, AliasSpan):
            return f"*{name_of(key, self._source)} :"
        else:
            text = self._anchor(key) + self._string(item.name, flow=False)
        return f"{text}:" if len(text) <= _LONGEST_KEY else f"? {text}\n{' ' * column}:"

    def _anchor(self, node: Span) -> str:
        name = name_of(node, self._source) if node.start > node.at else ""
        return f"&{name} " if name else ""

    def _on_line(self, item: Item, role: str, room: int) -> str | None:
        """Return a value as it stands on the line of its key; `None` for what takes more lines."""
        node = item.value
        if isinstance(node, MapSpan | SequenceSpan):
            if item.children and (not item.flow or role in _WHOLE or any(child.remarked for child in item.children)):
                return None
            text = self._in_flow(item, role)
            return text if len(text) <= room or not item.children else None
        if role in _MAY_SAY_NOTHING and node.start == node.at and isinstance(node, ScalarSpan) and node.null:
            return ""
        return self._leaf(node, role, flow=False)

    def _in_flow(self, item: Item, role: str) -> str:
        """Return a value as it stands inside of a flow collection, or is one."""
        node = item.value
        if not isinstance(node, MapSpan | SequenceSpan):
            return self._leaf(node, role, flow=True)
        parts = [(child, self._in_flow(child, _role_below(role, child))) for child in item.children]
        if isinstance(node, SequenceSpan):
            return f"{self._anchor(node)}[{', '.join(text for _, text in parts)}]"
        return f"{self._anchor(node)}{{{', '.join(f'{self._flow_key(child)} {text}' for child, text in parts)}}}"

    def _flow_key(self, item: Item) -> str:
        key = item.key
        if item.merges or key is None:
            return "<<:"
        if isinstance(key, AliasSpan):
            return f"*{name_of(key, self._source)} :"
        return f"{self._anchor(key)}{self._string(item.name, flow=True)}:"

    def _leaf(self, node: Span, role: str, *, flow: bool) -> str:
        if isinstance(node, AliasSpan):
            return f"*{name_of(node, self._source)}"
        if not isinstance(node, ScalarSpan):
            raise Unclear
        anchor = self._anchor(node)
        if not node.style:
            value, plain = resolve(node.text)
            if plain is not None:
                known = value is None or isinstance(value, bool)
                return anchor + (scalar(value, PLAIN) if known else node.text)
        if role == "glob":
            return anchor + self._quoted(node.text, '"')
        return anchor + self._string(node.text, flow=flow)

    def _string(self, text: str, *, flow: bool) -> str:
        known = self._scalars.get((text, flow))
        if known is None:
            known = scalar(text, PLAIN, flow=flow)
            if known[0] == '"':
                known = self._quoted(text, FRESH)
            self._scalars[text, flow] = known
        return known

    @staticmethod
    def _quoted(text: str, otherwise: str) -> str:
        single = ('"' in text or "\\" in text) and "'" not in text
        return scalar(text, "'" if single else otherwise)

    # -- block scalars

    def _block_scalar(self, item: Item, column: int, role: str) -> list[str] | None:
        """Return the lines of a block scalar (without the key), `None` where it cannot or should not be one."""
        node = item.value
        if not is_block_scalar(node) or not isinstance(node, ScalarSpan) or item.key is None or role == "glob":
            return None
        if not _fits_block(node.text):
            return None
        body = node.text.removesuffix("\n")
        lines = body.split("\n") if node.style == "|" else self._folded(node)
        if lines is None:
            return None
        chomping = "" if node.text.endswith("\n") else "-"
        first = next(line for line in lines if line)
        indicator = str(STEP) if first[0] == " " else ""
        indent = " " * (column + STEP)
        return [f"{node.style}{indicator}{chomping}", *(indent + line if line else "" for line in lines)]

    def _folded(self, node: ScalarSpan) -> list[str] | None:
        """Return the lines of a folded scalar as they are written, if they say the same without their indentation."""
        raw = self._source.text[node.start : node.end].rstrip().split("\n")[1:]
        written = [line for line in raw if line.strip(" ")]
        if not written or not all(_visible(line.strip(" ")) for line in written):
            return None
        margin = min(len(line) - len(line.lstrip(" ")) for line in written)
        lines = [line[margin:] if line.strip(" ") else "" for line in raw]
        chomping = "" if node.text.endswith("\n") else "-"
        trial = "\n".join([f"a: >{chomping}", *("  " + line if line else "" for line in lines), ""])
        try:
            value = compose(trial).root.entries[0].value
        except (YAMLError, IndexError):
            return None
        return lines if isinstance(value, ScalarSpan) and value.text == node.text else None


def _anchors(node: Span, source: Source) -> list[str]:
    """Return the name of every anchor that is set below a node, as often as it is set."""
    found = [name_of(node, source)] if node.start > node.at else []
    if isinstance(node, MapSpan):
        for entry in node.entries:
            found += [*_anchors(entry.key, source), *_anchors(entry.value, source)]
    elif isinstance(node, SequenceSpan):
        for item in node.items:
            found += _anchors(item, source)
    return found


def _fits_block(text: str) -> bool:
    """Tell whether a text can stand in the lines of a block scalar, for whatever reads it, and is seen there."""
    body = text.removesuffix("\n")
    if not body.strip(" \n") or body.endswith("\n") or commands_in(text) or re.search(r"(?m)^ *::", text):
        return False
    return all(not line or _visible(line) for line in body.split("\n"))


def _visible(line: str) -> bool:
    """Tell whether a line is made of what can be seen; a tab may stand inside of it."""
    return line[0] != "\t" and line.strip(" \t") != "" and line.replace("\t", "").isprintable()
