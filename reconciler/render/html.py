"""The document as one page for a browser, and the status page of a watch.

The page needs nothing but itself: style and script are in it, allowed by their hashes, and everything else is forbidden
to it (`default-src 'none'`). What comes from outside is text and nothing else: the template escapes whatever it is
given, and writes what cannot be seen as `words.plain` does. The script reads what is on the page; no data is handed
to it beside that, and without it everything is there to read.
"""

from __future__ import annotations

import hashlib
import json
import re
from base64 import b64encode
from collections import Counter
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import cache
from importlib import resources
from itertools import islice
from typing import TYPE_CHECKING
from unicodedata import normalize

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup, escape

from reconciler.compare import Action, Cause
from reconciler.diff import Op
from reconciler.events import OutcomeStatus
from reconciler.render import ANY_ROOM, plot
from reconciler.render.wording import OUTSIDE, base, commit, counts, idle, is_missing, origin, unusable
from reconciler.words import amount, named, plain, quoted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from reconciler.document import ChangePart, Document, FieldPart, Finding, OutcomePart, Place
    from reconciler.model import Json
    from reconciler.render import Room
    from reconciler.render.status import Watch

LISTED = 2_000
"""Resources and problems on the page, at most each: beyond that a browser is no longer quick. The counts are of all."""
ROWS = 8_000
"""Fields on the page, at most: the same bound where resources have many."""
ASIDE = 200
"""Entries of a list that only stands beside the result."""
FILES = 12
"""Files in a chart; those with fewer changes are one row together."""
FOLD = 140
"""Characters from which on a value is folded."""
_SOONEST, _LATEST = 5, 60
"""Seconds between two looks at the status page, at least and at most."""


def render(document: Document, _room: Room = ANY_ROOM) -> str:
    """Return the document as one self-contained page, ending in a newline; how long it gets is bounded by `LISTED`."""
    return _page(document, None)


def status(document: Document | None, watch: Watch, now: float) -> str:
    """Return the page of the last document with what a watch does and has found on top; `now`: seconds since 1970."""
    return _page(document, _watched(watch, now))


@cache
def policy() -> str:
    """Return the content security policy that every page has in itself: no script and no style but its own."""
    script, style = _hash(_asset("page.js")), _hash(_asset("page.css"))
    own = f"default-src 'none'; script-src {script}; style-src {style}; img-src data:"
    return f"{own}; base-uri 'none'; form-action 'none'"


def _page(document: Document | None, watch: Mapping[str, object] | None) -> str:
    style, script = _asset("page.css"), _asset("page.js")
    return _environment().get_template("page.html").render(
        style=Markup(style),  # noqa: S704 - our own file
        script=Markup(script),  # noqa: S704 - our own file
        policy=policy(),
        watch=watch,
        title=_title(document, watching=watch is not None),
        report=None if document is None else _report(document),
    )  # fmt: skip


@cache
def _environment() -> Environment:
    return Environment(
        loader=FunctionLoader(_asset),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_seen,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


@cache
def _asset(name: str) -> str:
    return resources.files("reconciler.render").joinpath("page", name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """Return what a content security policy calls an inline style or script."""
    return f"'sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


# Characters that are printable to Python and that no browser shows: fillers, joiners, variation selectors; but not the
# one that asks for a symbol as a picture, where it follows a symbol.
_UNSEEN = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0e\uffa0\U000e0100-\U000e01ef]"
    "|(?<![\u203c-\u3299\U0001f000-\U0001faff])\ufe0f"
)


def _seen(value: object) -> object:
    """Return what the template is about to show: every text as `plain` has it; it is escaped after this."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return _visible(plain(value))
    return value


def _visible(text: str) -> str:
    return text if text.isascii() else _UNSEEN.sub(lambda found: json.dumps(found[0])[1:-1], text)


# --- the whole --------------------------------------------------------------------------------------------------------

_TITLES = {"plan": "Plan", "apply": "Apply", "drift": "Drift", "validate": "Validation"}
_WITH_TARGET = {"plan": "Plan for", "apply": "Apply to", "drift": "Drift of", "validate": "Validation of"}
_EXITS = {
    0: "done", 1: "operational error", 2: "differences", 3: "invalid input", 4: "incomplete", 5: "stale",
    6: "refused by a guard", 7: "refused by the target", 64: "wrong usage", 130: "interrupted", 143: "terminated",
}  # fmt: skip


def _title(document: Document | None, *, watching: bool) -> str:
    if document is None or not document.target.name:
        return "Watch" if watching or document is None else _TITLES[document.kind]
    return f"{'Watch of' if watching else _WITH_TARGET[document.kind]} {document.target.name}"


def _report(document: Document) -> dict[str, object]:
    """Return what the template shows of a document."""
    against = f" ({base(document)})" if idle(document) else ""
    verdict = f"{counts(document)}{against}."
    listing = _Listing(document)
    sections = listing.sections()
    errors = [_problem(error) for error in document.errors[:LISTED]]
    return {
        "kind": document.kind,
        "name": _TITLES[document.kind],
        "verdict": verdict,
        "tone": _tone(document, verdict),
        "facts": list(_facts(document)),
        "tiles": list(_tiles(document)),
        "charts": list(_charts(document)),
        "headings": _HEADINGS["drift" if document.kind == "drift" else "plan"],
        "sections": sections,
        "left_out": listing.left_out,
        "fields": sum(len(group.rows) for section in sections for group in section.groups),
        "resources": len({group.number for section in sections for group in section.groups}),
        "choices": _choices(sections, errors),
        "errors": errors,
        "more_errors": max(0, len(document.errors) - LISTED),
        "notes": [note.message for note in document.notes[:LISTED]],
        "released": [
            (f"{one.kind}/{one.id}", [*map(named, one.keys)], one.commit) for one in document.released[:ASIDE]
        ],
        "more_released": max(0, len(document.released) - ASIDE),
        "spared": [(f"{one.kind}/{one.id}", [*map(named, one.keys)]) for one in document.spared[:ASIDE]],
        "more_spared": max(0, len(document.spared) - ASIDE),
        "version": document.tool_version,
    }


_GOOD = ("Nothing to do", "No drift", "Valid", "Applied", "Accepted drift")


def _tone(document: Document, verdict: str) -> str:
    """Return whether the verdict is good, bad, a warning, or plainly says what is ahead."""
    if document.errors or verdict.startswith(("Apply incomplete", "Invalid")):
        return "bad"
    if verdict.startswith(_GOOD):
        return "good"
    return "warn" if verdict.startswith("Drift") or document.summary.blocked else "info"


def _facts(document: Document) -> Iterator[tuple[str, str]]:
    """Yield where the document was made, and against what: names and texts."""
    target, head, base = document.target, document.head, document.base
    if document.kind != "validate":
        yield "Target", target.name or "not named"
        embedded = target.provider == "emulator"
        yield "Server", "the embedded emulator" if embedded else f"{target.base_url or 'unknown'} ({target.provider})"
        revision = f"{base.revision} of {base.commit[:10]}" if base.commit else base.revision
        yield "Base", revision or f"unknown{_unattributed(document)}"
    if head.commit:
        changed = ", with changes that are not committed" if head.dirty else ""
        folder = f", folder {head.prefix}" if head.prefix else ""
        yield "Commit", f"{head.commit[:10]}{changed}{folder}"
    yield from _circumstances(document)
    if document.kind != "validate":
        yield "Calls", f"{amount(document.requests.reads, 'read')}, {amount(document.requests.writes, 'write')}"
    meaning = _EXITS.get(document.exit_code)
    yield "Exit code", f"{document.exit_code} ({meaning})" if meaning else str(document.exit_code)


def _unattributed(document: Document) -> str:
    causes = document.summary.causes
    known = causes.pending or causes.drift or causes.conflict
    return "" if known or not causes.unattributed else ", so that every difference is unattributed"


def _circumstances(document: Document) -> Iterator[tuple[str, str]]:
    """Yield what holds for some documents only."""
    if document.since:
        yield "Change under review", f"since {document.since.revision}, branched off at {document.since.commit[:10]}"
    if document.shard:
        yield "Shard", f"{document.shard.index} of {document.shard.count}"
    if document.undoes:
        yield "Undoes", f"the run {document.undoes}; git stays ahead: revert the commit as well"
    if document.offline:
        yield "Offline", "nothing was read; what the base declares stands for what is there"
    if document.masked:
        yield "Masked", "some values are hidden, so that this cannot be carried out"
    if document.now:
        yield "Accepted drift", f"as of {document.now}"
    if document.left:
        yield "Left alone", f"{amount(document.left, 'field')} by --only"
    for kind, dialect in sorted((document.learned or {}).items()):
        yield "Learned", f"a {kind} is updated by {dialect}: writes: {{{kind}: {dialect}}}"


def _tiles(document: Document) -> Iterator[tuple[str, int, str]]:
    """Yield the numbers that matter: what of, how many, and the name of the style."""
    summary, pairs = document.summary, document.summary.pairs
    if document.kind == "validate":
        yield "problems", len(document.errors), "bad" if document.errors else "good"
        yield "resources", summary.resources, ""
        return
    drifted = document.kind == "drift"
    yield from _outcome_tiles(document)
    yield "resources looked at" if drifted else "resources", summary.resources, ""
    yield "moved outside git" if drifted else "to update", summary.update, ""
    yield "unchanged", summary.keep, ""
    counts = {Op.ADD: pairs.add, Op.REPLACE: pairs.replace, Op.REMOVE: pairs.remove}
    for op in Op:
        yield _TOLD[op], counts[OUTSIDE[op] if drifted else op], op.value
    if document.since:
        yield "caused by this change", sum(field.introduced for one in document.changes for field in one.fields), ""
    missing, failed = unusable(document)
    serious = (("missing", missing), ("failed to read", failed), ("blocked fields", summary.blocked))
    yield from ((name, count, "bad") for name, count in serious if count)
    if document.released:
        yield "released", len(document.released), ""
    if document.errors:
        yield "errors", len(document.errors), "bad"


def _outcome_tiles(document: Document) -> Iterator[tuple[str, int, str]]:
    counted = Counter(outcome.outcome for outcome in document.outcomes or ())
    for outcome in OutcomeStatus:
        if counted[outcome]:
            yield (
                outcome.value.replace("_", " "),
                counted[outcome],
                "good" if outcome is OutcomeStatus.APPLIED else "bad",
            )


_TOLD = {Op.ADD: "added", Op.REPLACE: "replaced", Op.REMOVE: "removed"}
_SIGNS = {Op.ADD: "+", Op.REPLACE: "~", Op.REMOVE: "−"}
_HEADINGS = {"plan": ("There now", "Declared"), "drift": ("Git says", "There now")}


# --- charts -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Chart:
    """A table with a bar in each row: its name, its columns, and rows of a label, a style, numbers and the bar."""

    title: str
    columns: tuple[tuple[str, str], ...]
    rows: tuple[tuple[str, str, tuple[int, ...], Markup], ...]


def _charts(document: Document) -> Iterator[Chart]:
    if document.kind == "validate":
        problems = Counter(error.source.file if error.source else _NOWHERE for error in document.errors)
        if problems:
            rows = [(file, (count,)) for file, count in problems.most_common()]
            yield Chart("Problems by file", (("Problems", "bad"),), tuple(_bars(rows, ("bad",))))
        return
    found = [(change, field) for change in document.changes for field in change.fields]
    if not found:
        return
    causes = Counter(field.cause for _, field in found)
    most = max(causes.values())
    yield Chart(
        "Fields by cause",
        (("Fields", ""),),
        tuple((each.value, each.value, (causes[each],), _bar([(each.value, causes[each] / most)])) for each in Cause),
    )
    ops = tuple(op.value for op in Op)
    counts = _by_file(found, outside=document.kind == "drift")
    yield Chart(
        "Changes by file", tuple((_SIGNS[op], op.value) for op in Op), tuple(_bars(_most(counts), ops))
    )  # fmt: skip


_NOWHERE = "in no file"


def _by_file(found: Iterable[tuple[ChangePart, FieldPart]], *, outside: bool) -> list[tuple[str, tuple[int, ...]]]:
    counted: dict[str, Counter[Op]] = {}
    for change, field in found:
        counted.setdefault(_file(change, field) or _NOWHERE, Counter())[OUTSIDE[field.op] if outside else field.op] += 1
    rows = [(file, tuple(counts[op] for op in Op)) for file, counts in counted.items()]
    return sorted(rows, key=lambda row: (-sum(row[1]), row[0]))


def _most(rows: Sequence[tuple[str, tuple[int, ...]]]) -> list[tuple[str, tuple[int, ...]]]:
    """Return the first rows, and the others as one."""
    if len(rows) <= FILES:
        return list(rows)
    rest = rows[FILES - 1 :]
    sums = tuple(map(sum, zip(*(counts for _, counts in rest), strict=True)))
    return [*rows[: FILES - 1], (f"{len(rest)} other files", sums)]


def _bars(
    rows: Sequence[tuple[str, tuple[int, ...]]], names: Sequence[str]
) -> Iterator[tuple[str, str, tuple[int, ...], Markup]]:
    most = max((sum(counts) for _, counts in rows), default=0) or 1
    for label, each in _most(rows):
        yield label, "file", each, _bar((name, count / most) for name, count in zip(names, each, strict=True))


def _bar(shares: Iterable[tuple[str, float]]) -> Markup:
    return Markup(plot.bar(shares))  # noqa: S704 - made of numbers and our own names


def _file(change: ChangePart, field: FieldPart | None = None) -> str:
    """Return the file that a field is declared in, else its resource."""
    source = (field.source if field else None) or change.source
    return source.file if source else ""


# --- the list of changes ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Row:
    """One field: its sign, key and values, why it differs, what to know of it; `states` are words to filter by."""

    op: str
    sign: str
    key: str
    left: Markup
    right: Markup
    cause: str
    place: str
    remarks: tuple[tuple[str, str, str], ...]
    states: str


@dataclass(frozen=True, slots=True)
class Group:
    """One resource: `number` tells it from others; `badges` are a style and a word, `remarks` a text as well."""

    number: int
    ref: str
    kind: str
    file: str
    place: str
    badges: tuple[tuple[str, str], ...]
    remarks: tuple[tuple[str, str, str], ...]
    states: str
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Section:
    """A table of resources with its heading."""

    name: str
    title: str
    hint: str
    groups: tuple[Group, ...]

    @property
    def fields(self) -> int:
        """Return how many fields are listed."""
        return sum(len(group.rows) for group in self.groups)


class _Listing:
    """The resources of one document, as many as there is room for."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._outside = document.kind == "drift"
        self._outcomes = {(one.kind, one.id): one for one in document.outcomes or ()}
        self._marker = _Marker()
        known = {(change.kind, change.id) for change in document.changes}
        self._unplanned = [one for key, one in self._outcomes.items() if key not in known]
        self._shown = tuple(islice(_fitting(document.changes), LISTED))
        self.left_out = len(document.changes) - len(self._shown)

    def sections(self) -> list[Section]:
        """Return the tables: one, or what the change under review asks for apart from the rest."""
        if self._document.since is None:
            groups = [self._group(number, change, change.fields) for number, change in enumerate(self._shown)]
            title = "Resources" if self._outside else "Changes"
            return _filled([Section("changes", title, "", (*groups, *self._others()))])
        return _filled(
            [
                Section("introduced", "Caused by this change", _INTRODUCED, tuple(self._part(introduced=True))),
                Section(
                    "others", "Pending or drifted before it", _BEFORE, (*self._part(introduced=False), *self._others())
                ),
            ]
        )

    def _part(self, *, introduced: bool) -> Iterator[Group]:
        for number, change in enumerate(self._shown):
            fields = [field for field in change.fields if field.introduced is introduced]
            if fields or not (introduced or change.fields):
                yield self._group(number, change, fields)

    def _others(self) -> Iterator[Group]:
        """Yield the outcomes of resources that are not among the changes."""
        start = len(self._document.changes)
        for number, one in enumerate(self._unplanned[: LISTED - len(self._shown)], start):
            badges, remarks = (_outcome_badge(one),), tuple(_outcome_remarks(one))
            states = _states([one.outcome.value, *(["lost"] if one.lost else [])])
            yield Group(number, f"{one.kind}/{one.id}", one.kind, "", "", badges, remarks, states, ())

    def _group(self, number: int, change: ChangePart, fields: Sequence[FieldPart]) -> Group:
        outcome = self._outcomes.get((change.kind, change.id))
        badges, remarks, states = list(_badges(change)), list(_remarks(change, self._document)), [_action(change).value]
        if outcome:
            badges.append(_outcome_badge(outcome))
            remarks += _outcome_remarks(outcome)
            states += [outcome.outcome.value, *(["lost"] if outcome.lost else [])]
        rows = tuple(self._row(field) for field in fields)
        place = "left the manifests" if change.declared.released else _place(change.source)
        file = _file(change, change.fields[0] if change.fields else None)
        return Group(
            number, str(change.ref), change.kind, file, place, tuple(badges), tuple(remarks), _states(states), rows
        )  # fmt: skip

    def _row(self, field: FieldPart) -> Row:
        before, after = self._marker.marked(field.before, field.after)
        op = OUTSIDE[field.op] if self._outside else field.op
        left, right = (after, before) if self._outside else (before, after)
        marks = {"blocked": field.blocked, "accepted": field.accepted, "introduced": field.introduced}
        states = _states(name for name, holds in marks.items() if holds)
        remarks = tuple(_field_remarks(field, outside=self._outside))
        return Row(
            op.value,
            _SIGNS[op],
            named(field.key),
            left,
            right,
            field.cause.value,
            _place(field.source),
            remarks,
            states,
        )


_INTRODUCED = "What the change under review asks for."
_BEFORE = "What differs without the change under review as well."


def _filled(sections: Iterable[Section]) -> list[Section]:
    return [section for section in sections if section.groups]


def _fitting(changes: Iterable[ChangePart]) -> Iterator[ChangePart]:
    """Yield the changes whose fields are among the first `ROWS`."""
    rows = 0
    for change in changes:
        rows += len(change.fields)
        if rows > ROWS:
            return
        yield change


def _states(words: Iterable[str]) -> str:
    return " ".join(words)


def _place(source: Place | None) -> str:
    return f"{source.file}:{source.line}:{source.column}" if source else ""


def _action(change: ChangePart) -> Action:
    """Return what is done for a resource; an id that the API does not know is missing in a drift report as well."""
    return Action.MISSING if is_missing(change) else change.action


def _badges(change: ChangePart) -> Iterator[tuple[str, str]]:
    if change.action is Action.KEEP:
        yield "good", "as declared"
    elif change.action is not Action.UPDATE:
        yield "bad", _action(change).value


def _remarks(change: ChangePart, document: Document) -> Iterator[tuple[str, str, str]]:
    if change.error:
        yield "bad", change.error.code, change.error.message
    if change.foreign and document.undoes is None:
        yield "", "foreign, kept", ", ".join(map(named, change.foreign))


def _outcome_badge(one: OutcomePart) -> tuple[str, str]:
    return "good" if one.outcome is OutcomeStatus.APPLIED else "bad", one.outcome.value.replace("_", " ")


def _outcome_remarks(one: OutcomePart) -> Iterator[tuple[str, str, str]]:
    if one.error:
        yield "bad", one.error.code, one.error.message
    for key, value in (one.lost or {}).items():
        yield "bad", "lost pair", f"{named(key)} = {quoted(value)}"


def _field_remarks(field: FieldPart, *, outside: bool) -> Iterator[tuple[str, str, str]]:
    if field.blocked:
        yield "bad", f"blocked ({field.blocked.code})", field.blocked.message
    if field.accepted:
        until = f"until {field.accepted.until}" if field.accepted.until else ""
        yield "good", "accepted", ": ".join(filter(None, (until, field.accepted.reason)))
    if field.cause is Cause.CONFLICT and field.base.known:
        yield "", "base", "nothing" if field.base.value is None else quoted(field.base.value)
    if outside or field.origin:
        yield "", "origin", origin(field)
    if field.blame:
        yield "", "declared by", commit(field.blame)


def _problem(error: Finding) -> dict[str, str]:
    file = error.source.file if error.source else ""
    return {"file": file, "place": _place(error.source), "message": error.message, "code": error.code}


def _choices(sections: Sequence[Section], errors: Sequence[Mapping[str, str]]) -> dict[str, list[tuple[str, str]]]:
    """Return what there is to filter by: for each control the values that occur, and how they are called."""
    groups = [group for section in sections for group in section.groups]
    rows = [row for group in groups for row in group.rows]
    causes, kinds = {row.cause for row in rows}, {group.kind for group in groups}
    files = {group.file for group in groups} | {error["file"] for error in errors}
    states = {
        state for said in (*(group.states for group in groups), *(row.states for row in rows)) for state in said.split()
    }
    return {
        "cause": [(cause.value, cause.value) for cause in Cause if cause.value in causes],
        "kind": [(kind, kind) for kind in sorted(kinds)],
        "file": [(file, file) for file in sorted(files - {""})],
        "state": [(state, name) for state, name in _STATES.items() if state in states],
    }


_STATES = {
    "introduced": "caused by this change", "update": "to update", "keep": "as declared", "missing": "missing",
    "failed": "failed", "blocked": "blocked", "accepted": "accepted", "lost": "with lost pairs", "applied": "applied",
    "stale": "stale", "not_attempted": "not attempted",
}  # fmt: skip


# --- values, and where they differ ------------------------------------------------------------------------------------

_TOKEN = re.compile(r"\\u[0-9a-f]{4}|\\.| ?[^\W_]+|.", re.DOTALL)
_HALF_ESCAPE = re.compile(r"\\(u[0-9a-f]{0,3})?$")
_ABSENT = Markup('<span class="absent">absent</span>')
_Pieces = list[tuple[str, bool]]


class _Marker:
    """Finds where two values differ, with care where that is cheap.

    Comparing word by word can take the square of the length; `_EFFORT` bounds what one page may cost. Beyond it only
    what two values have in common at both ends is left unmarked.
    """

    _EFFORT = 4_000_000

    def __init__(self) -> None:
        self._left = self._EFFORT

    def marked(self, before: Json, after: Json) -> tuple[Markup, Markup]:
        """Return two values for the page, the parts that differ marked; null is absent."""
        if before is None or after is None:
            return _whole(before), _whole(after)
        left, right = _visible(quoted(before)), _visible(quoted(after))
        if normalize("NFC", left) == normalize("NFC", right):
            # They would look the same: composed and decomposed characters are different values.
            left, right = plain(json.dumps(before)), plain(json.dumps(after))
        first, second = self._pieces(_TOKEN.findall(left), _TOKEN.findall(right))
        return _folded(first), _folded(second)

    def _pieces(self, left: list[str], right: list[str]) -> tuple[_Pieces, _Pieces]:
        start = _common(left, right)
        end = _common(left[start:][::-1], right[start:][::-1])
        inner_left, inner_right = left[start : len(left) - end], right[start : len(right) - end]
        first, second = self._inner(inner_left, inner_right)
        head, tail = "".join(left[:start]), "".join(left[len(left) - end :])
        return _merged([(head, False), *first, (tail, False)]), _merged([(head, False), *second, (tail, False)])

    def _inner(self, left: list[str], right: list[str]) -> tuple[_Pieces, _Pieces]:
        effort = self._effort(left, right)
        if effort > self._left:
            return _ends("".join(left), "".join(right))
        self._left -= effort
        first: _Pieces = []
        second: _Pieces = []
        for op, a, b, c, d in SequenceMatcher(None, left, right, autojunk=False).get_opcodes():
            one, other = "".join(left[a:b]), "".join(right[c:d])
            more = ([(one, False)], [(other, False)]) if op == "equal" else _ends(one, other)
            first += more[0]
            second += more[1]
        return first, second

    @staticmethod
    def _effort(left: Sequence[str], right: Sequence[str]) -> int:
        """Return a bound on the steps of comparing: pairs of equal tokens, for as many passes as there can be."""
        counts, others = Counter(left), Counter(right)
        pairs = sum(count * others[token] for token, count in counts.items())
        return (pairs + len(left)) * (1 + min(len(left), len(right)) // 8)


def _ends(one: str, other: str) -> tuple[_Pieces, _Pieces]:
    """Return two texts that differ, marked but for a space before both and for the ends that long ones share."""
    if one[:1] == other[:1] == " ":
        first, second = _ends(one[1:], other[1:])
        return [(" ", False), *first], [(" ", False), *second]
    if min(len(one), len(other)) < FOLD // 4 or not one.isascii() or "\\" in one + other:
        return [(one, True)], [(other, True)]
    start = _common(one, other)
    end = _common(one[start:][::-1], other[start:][::-1])
    return (
        [(one[:start], False), (one[start : len(one) - end], True), (one[len(one) - end :], False)],
        [(other[:start], False), (other[start : len(other) - end], True), (other[len(other) - end :], False)],
    )


def _common(left: Sequence[str], right: Sequence[str]) -> int:
    """Return how many entries two sequences have in common at the beginning."""
    for number, (one, other) in enumerate(zip(left, right, strict=False)):
        if one != other:
            return number
    return min(len(left), len(right))


def _merged(pieces: Iterable[tuple[str, bool]]) -> _Pieces:
    """Return the pieces without empty ones, and neighbours of one sort as one."""
    merged: _Pieces = []
    for text, marked in pieces:
        if text and merged and merged[-1][1] is marked:
            merged[-1] = (merged[-1][0] + text, marked)
        elif text:
            merged.append((text, marked))
    return merged


def _whole(value: Json) -> Markup:
    return _ABSENT if value is None else _folded([(_visible(quoted(value)), False)])


def _folded(pieces: _Pieces) -> Markup:
    """Return a value as the page shows it: folded behind the part that matters where it is long."""
    length = sum(len(text) for text, _ in pieces)
    code = Markup("<code>{}</code>").format(_markup(pieces))
    if length <= FOLD:
        return code
    said = Markup('<summary><code class="excerpt">{}</code> <span class="more">{}</span></summary>')
    return Markup('<details class="long">{}{}</details>').format(
        said.format(_markup(_excerpt(pieces)), f"all {length:,} characters"), code
    )


def _markup(pieces: _Pieces) -> Markup:
    return Markup("").join(
        Markup("<mark>{}</mark>").format(text) if marked else escape(text) for text, marked in pieces
    )


def _excerpt(pieces: _Pieces) -> _Pieces:
    """Return what a folded value shows: from a little before the first difference on."""
    skipped = 0
    if pieces[0][1] is False and len(pieces) > 1:
        skipped = max(0, len(pieces[0][0]) - FOLD // 4)
    head = pieces[0][0][skipped:]
    if skipped:
        head = "…" + head[head.find(" ") + 1 :] if " " in head else "…" + head
    shown: _Pieces = []
    room = FOLD * 3 // 4
    for text, marked in [(head, pieces[0][1]), *pieces[1:]]:
        shown.append((_HALF_ESCAPE.sub("", text[:room]) if len(text) > room else text, marked))
        room -= len(text)
        if room <= 0:
            return [*shown, ("…", False)]
    return shown


# --- a watch ----------------------------------------------------------------------------------------------------------


def _watched(watch: Watch, now: float) -> dict[str, object]:
    """Return what the template shows of a watch."""
    shown = plot.points(watch.samples)
    last = watch.samples[-1].at if watch.samples else None
    waits = watch.interval if watch.next_at is None else watch.next_at - now + 1
    return {
        "mode": watch.mode,
        "interval": _span(watch.interval),
        "started": _moment(watch.started),
        "now": _moment(now),
        "last": None if last is None else _moment(last),
        "next": None if watch.next_at is None else _moment(watch.next_at),
        "late": watch.next_at is not None and watch.next_at < now,
        "failures": watch.failures,
        "error": watch.error,
        "refresh": round(min(max(waits, _SOONEST), _LATEST)),
        "plot": Markup(plot.drift_over_time(shown)) if shown else None,  # noqa: S704 - it escapes its texts itself
        "legend": [(name, _key(name)) for name in (*map(str, Cause), "failed")],
        "points": [(_moment(point.at), point, [point.counts[cause] for cause in Cause]) for point in reversed(shown)],
        "causes": [cause.value for cause in Cause],
        "runs": len(watch.samples),
        "together": max((point.runs for point in shown), default=1),
    }


def _key(name: str) -> Markup:
    return Markup(plot.key(name))  # noqa: S704 - it is ours


def _moment(at: float) -> tuple[str, str]:
    """Return a time as machines read it, and as people do."""
    text = plot.moment(at)
    day, time, _ = text.split()
    return f"{day}T{time}Z", text


def _span(seconds: float) -> str:
    """Return a duration in the largest unit that it is a whole number of."""
    for size, noun in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size and seconds % size == 0:
            return amount(int(seconds // size), noun)
    return amount(int(seconds), "second") if seconds == int(seconds) else f"{seconds:g} seconds"
