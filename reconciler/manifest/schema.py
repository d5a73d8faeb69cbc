"""What a manifest may say: models at the border, and the checks that reach across several fields.

The models judge the tree that the reader built; what they refuse becomes problems at its place. The
checks across fields (merged defaults, ignored keys) look at the tree itself, so that they speak up even where a model
has refused some other part of the same file.
"""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    StringConstraints,
    ValidationError,
    WithJsonSchema,
    create_model,
)
from pydantic_core import PydanticCustomError

from reconciler.errors import Location, Problem
from reconciler.kinds import BY_PLURAL, KINDS, Kind
from reconciler.manifest.leaks import leaks
from reconciler.manifest.problems import (
    OURS,
    VERSION,
    Strict,
    Version,
    Violation,
    in_order,
    problem_of,
    twice_problems,
    violations,
)
from reconciler.manifest.scalars import not_a_string
from reconciler.manifest.table import FileManifest, Table
from reconciler.manifest.tree import Map, Seq, Unclear
from reconciler.model import MAX_KEY, MAX_PAIRS, MAX_VALUE, Ownership, Ref, matches
from reconciler.words import meant, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from reconciler.manifest.table import Row, Shape
    from reconciler.manifest.tree import Place, YamlFile
    from reconciler.model import Value

_ISO_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


def _iso_date(value: object) -> object:
    """Take a date in quotes for the date; anything else is left to the model."""
    if not isinstance(value, str) or not _ISO_DATE.fullmatch(value):
        return value
    try:
        return dt.date.fromisoformat(value)
    except ValueError:
        return value


Key = Annotated[str, StringConstraints(min_length=1, max_length=MAX_KEY)]
Text = Annotated[str, StringConstraints(max_length=MAX_VALUE)]
Glob = Annotated[str, StringConstraints(min_length=1)]
_DAY = "^[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])$"
Day = Annotated[
    dt.date,
    BeforeValidator(_iso_date),
    WithJsonSchema(
        {"type": "string", "format": "date", "pattern": _DAY, "patternErrorMessage": "A date, written YYYY-MM-DD."}
    ),
]

# Descriptions and examples are for `jsonschema.py`: an editor shows them. Validation does not look at them.
_PAIRS = (
    f"Pairs to put on the resource, at most {MAX_PAIRS} with those of the defaults; null: this key shall not exist. "
    "Overrides the defaults key by key."
)
_SHARED_PAIRS = "Pairs for every resource of this file, merged under its own; null: this key shall not exist."
_TEXTS: list[Any] = [{"customer": "acme", "plan": "gold", "trial_ends": None}]
_SCALARS: list[Any] = [{"chapter": 3, "public": True, "language": "en"}]
_ACCEPT = "Drift that is known about and raises no alarm, for one value each. An apply brings the declared value back."
_ACCEPT_EXAMPLE = {"key": "plan", "value": "silver", "until": "2026-12-31", "reason": "Until the dispute is settled."}
_OWNERSHIPS: list[Any] = [
    "The keys that are mentioned are ours; every other key is foreign, and stays.",
    "Every key is ours: one that is not declared is removed, unless it is ignored.",
]


class _Acceptance(Strict):
    key: Glob = Field(description="The key that may differ.", examples=["plan"])
    until: Day | None = Field(
        default=None,
        description="The last day on which it is accepted (YYYY-MM-DD); without one it is for good.",
        examples=["2026-12-31"],
    )
    reason: str | None = Field(
        default=None, description="Why, for whoever reads this later.", examples=["Until the dispute is settled."]
    )


class Accepted(_Acceptance):
    """A drifted value that is known about."""

    value: str | None = Field(
        description="The value that is accepted; null: the key may be absent.", examples=["silver", None]
    )


class ScalarAccepted(_Acceptance):
    """A drifted value that is known about, where values may be numbers and booleans."""

    value: str | int | float | bool | None = Field(
        description="The value that is accepted; null: the key may be absent.", examples=["silver", 3, True, None]
    )


class _Owned(Strict):
    ownership: Literal["declared", "exclusive"] = Field(
        default="declared",
        description="The keys that are ours: those that are declared, or all but the ignored ones.",
        json_schema_extra={"enumDescriptions": _OWNERSHIPS},
    )
    ignore: list[Glob] = Field(
        default_factory=list,
        description="Globs (case-sensitive) of keys that others own: never touched, never drift. "
        "Those of a resource add to the defaults'.",
        examples=[["runtime.*", "last_seen"]],
    )


class Defaults(_Owned):
    """What holds for every resource of the file unless it says otherwise."""

    metadata: dict[Key, Text | None] = Field(default_factory=dict, description=_SHARED_PAIRS, examples=_TEXTS)


class ScalarDefaults(_Owned):
    """What holds for every resource of a file of nothing but kinds that take numbers and booleans."""

    metadata: dict[Key, Text | int | float | bool | None] = Field(
        default_factory=dict, description=_SHARED_PAIRS, examples=_SCALARS
    )


class _Declared(_Owned):
    protect: bool = Field(default=False, description="Block every removal on this resource.")
    allow_secret_like: bool = Field(
        default=False,
        description="Values in the format of a vendor's key may stand here; else they are an error.",
    )


class Resource(_Declared):
    """What is declared for one id; whatever is left out comes from the defaults."""

    metadata: dict[Key, Text | None] = Field(default_factory=dict, description=_PAIRS, examples=_TEXTS)
    accept: list[Accepted] = Field(default_factory=list, description=_ACCEPT, examples=[[_ACCEPT_EXAMPLE]])


class ScalarResource(_Declared):
    """What is declared for one id of a kind that takes numbers and booleans; the rest comes from the defaults."""

    metadata: dict[Key, Text | int | float | bool | None] = Field(
        default_factory=dict, description=_PAIRS, examples=_SCALARS
    )
    accept: list[ScalarAccepted] = Field(default_factory=list, description=_ACCEPT, examples=[[_ACCEPT_EXAMPLE]])


def _id_of(kind: Kind) -> object:
    """Return the type of an id of this kind."""
    form = "is written parent/child, both" if kind.nested else "has no slash and is"

    def check(text: str) -> str:
        if not kind.valid_id(text):
            message = f"{shown(text)} is no id: that of a {kind.noun} {form} of A-Z a-z 0-9 . _ : - (not . or ..)"
            raise PydanticCustomError(f"{OURS}bad_id", "{message}", {"message": message})
        return text

    return Annotated[str, AfterValidator(check), WithJsonSchema({"type": "string", "pattern": kind.id_pattern})]


def _section(kind: Kind) -> tuple[Any, Any]:
    resource: Any = ScalarResource if kind.scalars else Resource
    ids: Any = _id_of(kind)
    what = f"Every {kind.noun} that is managed here, by id."
    return dict[ids, resource | None] | None, Field(default=None, description=what)


def _model(name: str, defaults: type[Strict]) -> type[Strict]:
    """Return the model of a file; it has a section per row of the table of kinds."""
    what = Field(
        default=None,
        description="What holds for every resource of this file unless it says otherwise.",
        examples=[{"metadata": {"team": "support"}, "ignore": ["runtime.*"]}],
    )
    fields: dict[str, Any] = {"version": (Version, ...), "defaults": (defaults | None, what)}
    fields |= {kind.plural: _section(kind) for kind in KINDS.values()}
    return create_model(name, __base__=Strict, **fields)


Manifest = _model("Manifest", Defaults)
"""The model of a manifest."""
ScalarManifest = _model("ScalarManifest", ScalarDefaults)
"""The model of a manifest that has sections only of kinds that take numbers and booleans: so may its defaults."""


# -- From a document to resources ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Entry:
    """One resource as it stands in the tree: `node` is its mapping, empty where it says nothing (valid)."""

    kind: Kind
    id: str
    place: Place
    node: Map
    metadata: Map
    ignore: tuple[str, ...]

    @property
    def ref(self) -> Ref:
        """The reference that the resource goes by."""
        return Ref(self.kind.name, self.id)


def read_document(document: YamlFile) -> FileManifest:
    """Turn a document into resources, or into every problem that it has."""
    cut = document.cut if isinstance(document.root, Map) else None
    if not document.readable and cut is None:
        return FileManifest(problems=in_order(document.problems))
    if not isinstance(document.root, Map):
        return FileManifest(problems=in_order([*document.problems, _no_manifest(document)]))
    entries = list(_entries(document.root))
    defaults = _part(document.root, "defaults")
    problems = list(twice_problems(document, _twice_wording(document.root)))
    try:
        # Of interest is only whether it objects: what it makes is a copy, which is let go of at once.
        _model_for(document.root).model_validate(document.root)
    except ValidationError as error:
        problems += [_worded(violation, document) for violation in violations(error, document)]
    problems += _across(entries, defaults, document)
    problems = [*document.problems, *(one for one in problems if _holds(one, cut, document))]
    if problems:
        refused = tuple((entry.ref, document.location(entry.place)) for entry in entries)
        return FileManifest(problems=in_order(problems), refused=refused)
    return FileManifest(_table(entries, defaults, document.file))


def _holds(problem: Problem, cut: Location | None, document: YamlFile) -> bool:
    """Tell whether a problem is one of what was written, not of an undefined alias or of a file that ends too early."""
    if problem.location is None or problem.location in document.undefined:
        return False
    absence = problem.code == "missing_field" or (problem.code == "bad_version" and "version" not in document.root)
    return cut is None or (problem.location < cut and not absence)


def _no_manifest(document: YamlFile) -> Problem:
    at = document.location(getattr(document.root, "at", 0))
    if document.root is None:
        return Problem("bad_version", f"the file is empty: begin with version: {VERSION}", at)
    return Problem("not_a_mapping", f"a manifest is a map that begins with version: {VERSION}", at)


def _model_for(root: Map) -> type[Strict]:
    kinds = [BY_PLURAL[name] for name in root if name in BY_PLURAL]
    return ScalarManifest if kinds and all(kind.scalars for kind in kinds) else Manifest


_NOTHING = Map()


def _part(node: Map, name: str) -> Map:
    """Return the mapping below `name`, an empty one where there is none."""
    part = node.get(name)
    return part if isinstance(part, Map) else _NOTHING


def _globs(node: Map) -> tuple[str, ...]:
    globs = node.get("ignore")
    return tuple(glob for glob in globs if isinstance(glob, str)) if isinstance(globs, Seq) else ()


def _entries(root: Map) -> Iterator[Entry]:
    """Yield every resource of the tree, valid or not."""
    inherited = _globs(_part(root, "defaults"))
    for kind in KINDS.values():
        section = _part(root, kind.plural)
        for id_, place in section.keys_at.items():
            node = _part(section, id_)
            ignore = inherited if "ignore" not in node else tuple(dict.fromkeys(inherited + _globs(node)))
            yield Entry(kind, id_, place, node, _part(node, "metadata"), ignore)


def _table(entries: list[Entry], defaults: Map, file: str) -> Table:
    """Return what the entries declare; everything has been found valid."""
    if not entries:
        return Table()  # whatever the file is called
    inherited = _part(defaults, "metadata")
    ids: dict[str, list[str]] = {}
    forms, shapes = list[int](), dict[tuple[tuple[str, ...], tuple[int, ...]], int]()
    for entry in entries:
        ids.setdefault(entry.kind.name, []).append(entry.id)
        start, keys_at = entry.place, entry.metadata.keys_at
        offsets = [at - start if at >= start else ~at for at in keys_at.values()]
        forms.append(shapes.setdefault((tuple(keys_at), tuple(offsets)), len(shapes)))
    above: Shape = {key: ~at for key, at in inherited.keys_at.items()}
    ownership = defaults.get("ownership", Ownership.DECLARED)
    return Table(
        file,
        ids,
        [entry.place for entry in entries],
        [above | dict(zip(*shape, strict=True)) for shape in shapes],
        forms,
        [_row(entry, inherited, ownership) for entry in entries],
    )


def _row(entry: Entry, inherited: Map, ownership: str) -> Row:
    node, metadata = entry.node, {**inherited, **entry.metadata}
    owner = node.get("ownership", ownership)
    protect, accept = node.get("protect", False), node.get("accept", ())
    if owner == Ownership.DECLARED and not (entry.ignore or protect or accept):
        return metadata
    return [metadata, str(owner), list(entry.ignore), protect, list(map(_acceptance, accept))]


def _acceptance(accepted: Map) -> list[str | Value | None]:
    until = accepted.get("until")
    day = until.isoformat() if isinstance(until, dt.date) else until
    return [accepted["key"], accepted["value"], day, accepted.get("reason")]


# -- Checks across fields -----------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Ignored:
    """Tells whether a key is ignored, and remembers: the same few keys stand on thousands of resources."""

    known: dict[tuple[str, ...], dict[str, bool]] = field(default_factory=dict)

    def __call__(self, keys: Map, globs: tuple[str, ...]) -> list[str]:
        """Return those of `keys` that match one of the globs."""
        if not globs:
            return []
        known = self.known.setdefault(globs, {})
        for key in keys:
            if key not in known:
                known[key] = matches(key, globs)
        return [key for key in keys if known[key]]


def _across(entries: list[Entry], defaults: Map, document: YamlFile) -> Iterator[Problem]:
    """Yield what is wrong with the sum of a resource and the defaults."""
    inherited, ignored = _part(defaults, "metadata"), _Ignored()
    own_fault = frozenset(ignored(inherited, _globs(defaults)))
    for key in own_fault:
        yield _ignored_problem(key, document.location(inherited.keys_at[key]))
    for entry in entries:
        if len(inherited) + len(entry.metadata) > MAX_PAIRS:
            yield from _too_many(entry, inherited, document)
        if not entry.ignore:
            continue
        for key in ignored(entry.metadata, entry.ignore):
            yield _ignored_problem(key, document.location(entry.metadata.keys_at[key]))
        for key in ignored(inherited, entry.ignore):
            if key not in own_fault and key not in entry.metadata:
                yield _ignored_problem(key, document.location(entry.place), " of the defaults")
    yield from leaks(entries, inherited, document)


def _ignored_problem(key: str, at: Location, whose: str = "") -> Problem:
    message = f"the key {shown(key)}{whose} is declared and ignored: remove it, or narrow the globs of ignore"
    return Problem("ignored_key", message, at)


def _too_many(entry: Entry, inherited: Map, document: YamlFile) -> Iterator[Problem]:
    count = sum(value is not None for value in {**inherited, **entry.metadata}.values())
    if count > MAX_PAIRS:
        part = ", those of the defaults included" if inherited else ""
        message = f"{count} pairs are declared{part}; a {entry.kind.noun} holds at most {MAX_PAIRS}"
        yield Problem("too_many_pairs", message, document.location(entry.place))


# -- Words --------------------------------------------------------------------------------------------------------

_EXPECTED = {
    "version": f"the number {VERSION}",
    "defaults": "a map of ownership, ignore, metadata",
    "ownership": "declared or exclusive",
    "ignore": "a list of globs, none of them empty",
    "protect": "true or false",
    "allow_secret_like": "true or false",
    "accept": "a list of maps with key, value, until, reason",
    "key": "a string that is not empty",
    "value": "a string, or null where the key may be absent",
    "until": "a date, written YYYY-MM-DD",
    "reason": "a string",
}
_FIELDS = {"resource": tuple(Resource.model_fields), "defaults": tuple(Defaults.model_fields)}


def _twice_wording(root: Map) -> Callable[[Map, str], tuple[str, str] | None]:
    sections = {id(root[plural]): kind for plural, kind in BY_PLURAL.items() if plural in root}

    def wording(owner: Map, key: str) -> tuple[str, str] | None:
        kind = sections.get(id(owner))
        return ("duplicate_resource", f"{kind.name}/{shown(key)} is declared") if kind else None

    return wording


def _worded(violation: Violation, document: YamlFile) -> Problem:
    """Say what a violation means in a manifest."""
    path = violation.path
    if path == ("version",):
        message = f"the version of the format is missing or unknown: write version: {VERSION}"
        return Problem("bad_version", message, document.location(violation.place))
    if len(path) == 1 and violation.unknown:
        return _unknown_kind(violation, document)
    if len(path) == 2 and path[0] != "defaults" and not violation.ours:
        message = f"{shown(violation.name)} must be a map of fields, or nothing, not {violation.described()}"
        return Problem("not_a_mapping", message, document.location(violation.place))
    inside = path[1:] if path[0] == "defaults" else path[2:]
    if inside[:1] == ("metadata",) and not violation.unknown:
        return _metadata_problem(violation, inside, document)
    return problem_of(violation, document, _EXPECTED, _known_fields(path))


def _known_fields(path: tuple[str | int, ...]) -> tuple[str, ...]:
    if "accept" in path[2:-1]:
        return tuple(Accepted.model_fields)
    return _FIELDS["defaults" if path[0] == "defaults" else "resource"]


def _unknown_kind(violation: Violation, document: YamlFile) -> Problem:
    name = violation.name
    names = [*BY_PLURAL, "defaults", "version"]
    hint = f"did you mean {KINDS[name].plural}?" if name in KINDS else meant(name, names)
    return Problem("unknown_kind", f"there is no kind {shown(name)}; {hint}", document.location(violation.place))


def _metadata_problem(violation: Violation, inside: tuple[str | int, ...], document: YamlFile) -> Problem:
    at = document.location(violation.place)
    if len(inside) == 1:
        if violation.value is None:
            message = "metadata: null is not allowed: leave the line out, or give single keys the value null"
            return Problem("null_metadata", message, at)
        return Problem("not_a_mapping", f"metadata must be a map of keys and values, not {violation.described()}", at)
    if violation.on_key:
        message = f"a key has 1 to {MAX_KEY} characters, this one has {len(violation.name)}"
        return Problem("key_length", message, at)
    if violation.type == "string_too_long":
        message = f"a value has at most {MAX_VALUE} characters, this one has {len(violation.value)}"
        return Problem("value_length", message, at)
    return _value_problem(violation, at, scalars=_takes_scalars(violation.path, document))


def _takes_scalars(path: tuple[str | int, ...], document: YamlFile) -> bool:
    if path[0] == "defaults":
        return _model_for(document.root) is ScalarManifest
    return BY_PLURAL[str(path[0])].scalars


def _value_problem(violation: Violation, at: Location, *, scalars: bool) -> Problem:
    if violation.plain is None:
        message = f"{violation.described()} is no metadata value: write one string, for instance JSON in single quotes"
        return Problem("not_a_scalar" if scalars else "not_a_string", message, at)
    if not scalars:
        return Problem("not_a_string", not_a_string(violation.plain, "metadata values"), at)
    text = shown(violation.plain.raw)
    if isinstance(violation.value, Unclear) and violation.plain.sort == "number":
        message = f'{text} is no plain decimal number: write it as one, or "{text}" for the text'
    else:
        message = f'{text} is a YAML {violation.plain.sort}; values are strings, numbers and booleans: write "{text}"'
    return Problem("not_a_scalar", message, at)
