"""A mapping file: which reference takes the place of which, as CSV or as YAML, every problem with its place.

**CSV** as RFC 4180 has it, in UTF-8 with or without a byte order mark: two columns, the old reference and the new one.
What separates them is a comma, a semicolon or a tab, whichever stands first in the first row. Where the first row has
the names `old` and `new`, these tell the columns, and any others are passed over; it may be left out. So may blank
lines and those that begin with `#`. Spaces around a text without quotes do not count.

**YAML** is a map of old references to new ones, read as strictly as a manifest.

A file whose name ends with `.yaml` or `.yml` is YAML, one that ends with `.csv` or `.tsv` is CSV. Any other, standard
input above all, is CSV if its first row has one of the separators, and YAML if not.

All rows hold at once: `a` to `b` and `b` to `a` is a swap, and `a` to `b` and `b` to `c` never makes `a` a `c`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from reconciler.errors import Location, Problem
from reconciler.kinds import KINDS
from reconciler.manifest.notation import unfit_id
from reconciler.manifest.problems import in_order
from reconciler.manifest.reader import read
from reconciler.manifest.scalars import not_a_string
from reconciler.manifest.tree import LINE_BREAK, Map
from reconciler.model import Ref
from reconciler.words import meant, shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from reconciler.manifest.tree import YamlFile

_YAML = (".yaml", ".yml")
_CSV = (".csv", ".tsv")
_SEPARATORS = ",;\t"
_COLUMNS = 2
_NAMES = ("old", "new")


@dataclass(frozen=True, slots=True)
class Row:
    """One row: what takes the place of what, and where each of the two stands."""

    old: Ref
    new: Ref
    old_at: Location
    new_at: Location


@dataclass(frozen=True, slots=True)
class Mapping:
    """The rows of a file, or with problems those that are in order."""

    rows: tuple[Row, ...] = ()
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class _Text:
    """A reference as it is written."""

    text: str
    at: Location


def read_mapping(data: bytes, file: str, *, old_kind: str | None = None, new_kind: str | None = None) -> Mapping:
    """Read a mapping. Never raises for what the bytes hold: whatever is wrong is among the problems.

    A text without a kind is an id of `old_kind`, or of `new_kind` in the other column.
    """
    problems: list[Problem] = []
    pairs = list(_yaml_pairs(data, file, problems) if _is_yaml(data, file) else _csv_pairs(data, file, problems))
    rows = []
    for old, new in pairs:
        old_ref, new_ref = _ref(old, old_kind, problems), _ref(new, new_kind, problems)
        if old_ref and new_ref:
            rows.append(Row(old_ref, new_ref, old.at, new.at))
    problems += _across(rows)
    return Mapping(tuple(rows), in_order(problems))


def _is_yaml(data: bytes, file: str) -> bool:
    name = file.lower()
    if name.endswith((*_YAML, *_CSV)):
        return name.endswith(_YAML)
    lines = (line.strip(" ") for line in LINE_BREAK.split(data.decode("utf-8-sig", "replace")))
    first = next((line for line in lines if line and not line.startswith("#")), "")
    return first.startswith(("{", "---", "%")) or not set(first) & set(_SEPARATORS)


# -- References -------------------------------------------------------------------------------------------------------


class BadReference(ValueError):
    """A text stands for no reference; the message says why, `code` is that of the problem."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def reference(text: str, default: str | None = None) -> Ref:
    """Return the reference that `KIND/ID` stands for, or an id alone of the kind `default`. Raises `BadReference`."""
    kind, slash, own = text.partition("/")
    if not slash or (kind not in KINDS and default is not None and KINDS[default].nested):
        kind, own = default or "", text
    if not kind and not slash:
        message = f"{shown(text)} names no resource: write KIND/ID, such as thread/thread_abc123"
        raise BadReference("bad_reference", message)
    if kind not in KINDS:
        raise BadReference("unknown_kind", f"there is no kind {shown(kind)}; {meant(kind, KINDS)}")
    if not KINDS[kind].valid_id(own):
        form = "parent/child, both" if KINDS[kind].nested else "one without a slash,"
        noun, characters = KINDS[kind].noun, "A-Z a-z 0-9 . _ : - (not . or ..)"
        raise BadReference("bad_id", f"{shown(own)} is no id of a {noun}: write {form} of {characters}")
    return Ref(kind, own)


def _ref(written: _Text, default: str | None, problems: list[Problem]) -> Ref | None:
    """Return the reference that a text stands for; what is wrong with it is a problem."""
    try:
        ref = reference(written.text, default)
    except BadReference as bad:
        way = ", or say of which kind all ids are (--from, --to)" if bad.code == "bad_reference" else ""
        problems.append(Problem(bad.code, f"{bad}{way}", written.at))
        return None
    if (unfit := unfit_id(ref.id)) is not None:
        problems.append(Problem("bad_id", f"{unfit}: {shown(ref.id)}", written.at))
        return None
    return ref


def _across(rows: Iterable[Row]) -> Iterator[Problem]:
    """Yield what is wrong with rows beside each other."""
    olds: dict[Ref, Location] = {}
    news: dict[Ref, Location] = {}
    for row in rows:
        if row.old == row.new:
            yield Problem("same_reference", f"{row.old} is to go by the name that it has: remove this row", row.old_at)
            continue
        if row.old in olds:
            message = f"{row.old} is mapped twice, first at {_near(olds[row.old])}: keep one of the two"
            yield Problem("mapped_twice", message, row.old_at)
        elif row.new in news:
            message = f"{row.new} takes the place of another one already, at {_near(news[row.new])}: each has its own"
            yield Problem("mapped_twice", message, row.new_at)
        olds.setdefault(row.old, row.old_at)
        news.setdefault(row.new, row.new_at)


def _near(at: Location) -> str:
    return f"{at.line}:{at.column}"


# -- YAML -------------------------------------------------------------------------------------------------------------


def _yaml_pairs(data: bytes, file: str, problems: list[Problem]) -> Iterator[tuple[_Text, _Text]]:
    document = read(data, file)
    problems += document.problems
    root: Any = document.root
    if root is None:
        return
    if not isinstance(root, Map):
        message = "a mapping is a map of old references to new ones, such as thread/thread_1: conversation/conv_1"
        problems.append(Problem("not_a_mapping", message, document.location(getattr(root, "at", 0))))
        return
    for twice in document.twice:
        if twice.owner is root:
            first = _near(document.location(twice.first))
            message = f"{shown(twice.key)} is mapped twice, first at {first}: keep one of the two"
            problems.append(Problem("mapped_twice", message, document.location(twice.second)))
    for key in root:
        old, new = _Text(key, document.location(root.keys_at[key])), _yaml_text(root, key, document, problems)
        if new is not None and root.keys_at[key] not in document.odd_keys:
            yield old, new


def _yaml_text(root: Map, key: str, document: YamlFile, problems: list[Problem]) -> _Text | None:
    value, place = root[key], root.values_at[key]
    at = document.location(place)
    if isinstance(value, str) and at not in document.undefined:
        return _Text(value, at)
    if at not in document.undefined and (document.cut is None or at < document.cut):
        plain = document.plains.get(place)
        named = f"the new reference of {shown(key)}"
        message = f"{named} is missing: write KIND/ID, or remove this row"
        if plain is not None and value is not None:
            message = not_a_string(plain, "references")
        elif value is not None:
            message = f"{named} is written as KIND/ID, not as a map or a list"
        problems.append(Problem("not_a_string", message, at))
    return None


# -- CSV --------------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Table:
    """Reads rows of CSV one after the other."""

    text: str
    file: str
    problems: list[Problem]
    separator: str = ""
    columns: tuple[int, int] = (0, 1)
    width: int = _COLUMNS
    _begun: bool = field(default=False)

    def pairs(self) -> Iterator[tuple[_Text, _Text]]:
        """Yield the old and the new one of every row."""
        at, line = 0, 1
        while at < len(self.text):
            end = LINE_BREAK.search(self.text, at)
            rest = self.text[at : end.start() if end else len(self.text)]
            if not rest.strip(" \t;,") or rest.lstrip(" ").startswith("#"):
                at, line = (end.end() if end else len(self.text)), line + 1
                continue
            fields, at, lines = self._row(at, line)
            if fields is not None:
                yield from self._taken(fields, line)
            line += lines

    def _row(self, at: int, line: int) -> tuple[list[_Text] | None, int, int]:
        """Return the fields of the row that begins at `at`, where the next one begins, and how many lines it has.

        Without fields the row is wrong, and the rest of the file cannot be read.
        """
        self.separator = self.separator or self._separator_in(at)
        fields, start, text = list[_Text](), at, self.text
        while True:
            found = self._field.match(text, at)
            quoted = found is not None and found[1] is not None
            end = found.end() if found else at
            if end < len(text) and text[end] not in (self.separator, "\r", "\n"):
                place = Location(self.file, *self._place(start, line, at))
                message = 'a field in quotes ends with one, and a quotation mark inside is doubled (""): correct it'
                self.problems.append(Problem("bad_csv", message, place))
                return None, len(text), 1  # where the next row begins nobody can tell
            blanks = 0 if quoted else len(text[at:end]) - len(text[at:end].lstrip(" "))
            written = found[1].replace('""', '"') if found and quoted else text[at:end].strip(" ")
            fields.append(_Text(written, Location(self.file, *self._place(start, line, at + blanks))))
            if text[end : end + 1] != self.separator:
                following = LINE_BREAK.match(text, end)
                at = following.end() if following else len(text)
                return fields, at, max(1, len(LINE_BREAK.findall(text, start, at)))
            at = end + 1

    @property
    def _field(self) -> re.Pattern[str]:
        return re.compile(rf'[ ]*"([^"]*(?:""[^"]*)*)"[ ]*|[^"{self.separator}\r\n][^{self.separator}\r\n]*|')

    def _separator_in(self, at: int) -> str:
        quoted = False
        for char in self.text[at:]:
            if char == '"':
                quoted = not quoted
            elif not quoted and char in _SEPARATORS:
                return char
            elif not quoted and char in "\r\n":
                break
        return ","

    def _place(self, start: int, line: int, at: int) -> tuple[int, int]:
        """Return the line and the column of a character of the row that begins with `line` at `start`."""
        breaks = list(LINE_BREAK.finditer(self.text, start, at))
        return line + len(breaks), at - (breaks[-1].end() if breaks else start) + 1

    def _taken(self, fields: list[_Text], line: int) -> Iterator[tuple[_Text, _Text]]:
        if not self._begun:
            self._begun = True
            names = [one.text.lower() for one in fields]
            if set(_NAMES) <= set(names):
                self.columns = names.index(_NAMES[0]), names.index(_NAMES[1])
                self.width = len(names)
                return
        while len(fields) > self.width and not fields[-1].text:
            fields.pop()  # spreadsheets end rows with empty columns
        if len(fields) != self.width:
            message = (
                f"this row has {len(fields)} columns in place of {self.width}: the old reference and the new one, or "
                "name them by old and new in the first row"
            )
            self.problems.append(Problem("bad_csv", message, Location(self.file, line, 1)))
            return
        yield fields[self.columns[0]], fields[self.columns[1]]


def _csv_pairs(data: bytes, file: str, problems: list[Problem]) -> Iterator[tuple[_Text, _Text]]:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        start = data[: error.start].decode("utf-8-sig")
        breaks = list(LINE_BREAK.finditer(start))
        at = Location(file, len(breaks) + 1, len(start) - (breaks[-1].end() if breaks else 0) + 1)
        message = f"byte 0x{data[error.start]:02x} is no valid UTF-8 here; save the file as UTF-8"
        problems.append(Problem("invalid_utf8", message, at))
        return
    yield from _Table(text, file, problems).pairs()
