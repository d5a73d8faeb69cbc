"""From what a pydantic model refuses to problems at their places, in our own words.

pydantic says which check failed and along which path; the document knows where that path leads. Words that depend
on the field belong to the schema (of manifests, of settings); what holds for any schema is said here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from reconciler.errors import Problem
from reconciler.manifest.tree import Map, Plain, Seq
from reconciler.words import meant, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from reconciler.manifest.tree import Place, YamlFile

Path: TypeAlias = tuple[str | int, ...]
"""The keys and indexes that lead from the root of a document to a node."""

VERSION = 1
"""The version of the format of manifests and settings."""
Version = Annotated[int, Field(ge=VERSION, le=VERSION, description="The version of this format: 1.")]

OURS = "ours:"
"""Begins the type of an error that our own validators raise: the code of the problem follows, its message is final."""

_UNKNOWN = "extra_forbidden"
_ABSENT = "missing"
_TYPE_ERRORS = ("_type", "_parsing", "literal_error", "finite_number")


class Strict(BaseModel):
    """What every model at the border shares: nothing is converted, nothing unknown passes."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


@dataclass(frozen=True, slots=True)
class Violation:
    """One node that was refused.

    `type` and `message` are pydantic's (of several branches of a union the one that fits the value best). `path`
    leads to the node and `value` is what stands there; `on_key` where not the value but its key was refused.
    """

    type: str
    message: str
    path: Path
    value: Any
    place: Place
    plain: Plain | None
    on_key: bool = False

    @property
    def unknown(self) -> bool:
        """Tell whether this is a field that the model does not know."""
        return self.type == _UNKNOWN

    @property
    def absent(self) -> bool:
        """Tell whether this is a field that has to be there and is not."""
        return self.type == _ABSENT

    @property
    def ours(self) -> bool:
        """Tell whether code and message are ours already."""
        return self.type.startswith(OURS)

    @property
    def name(self) -> str:
        """The last key of the path."""
        return next((str(step) for step in reversed(self.path) if isinstance(step, str)), "")

    def described(self) -> str:
        """Return what stands there, fit to be shown; texts are not repeated, for they may be secrets."""
        if self.plain is not None:
            return shown(self.plain.raw) if self.plain.raw else "nothing"
        if isinstance(self.value, Map):
            return "a map"
        return "a list" if isinstance(self.value, Seq) else "this text"


def violations(error: ValidationError, document: YamlFile) -> list[Violation]:
    """Return every node that was refused, each once."""
    found: dict[tuple[Path, bool], Violation] = {}
    for entry in error.errors(include_url=False, include_context=False, include_input=False):
        violation = _violation(entry["type"], entry["msg"], entry["loc"], document)
        if violation.on_key and violation.place in document.odd_keys:
            continue
        known = found.get((violation.path, violation.on_key))
        if known is None or known.type.endswith(_TYPE_ERRORS):
            found[violation.path, violation.on_key] = violation
    return list(found.values())


def _violation(kind: str, message: str, loc: Path, document: YamlFile) -> Violation:
    """Follow `loc` through the tree as far as it goes: names of union branches lead nowhere and are left out."""
    node, path = document.root, list[str | int]()
    place, key_place, on_key = getattr(node, "at", 0), 0, kind == _UNKNOWN
    for step in loc:
        if isinstance(node, Map) and step in node:
            place, key_place, node = node.values_at[str(step)], node.keys_at[str(step)], node[str(step)]
        elif isinstance(node, Seq) and isinstance(step, int):
            place, node = node.items_at[step], node[step]
        else:
            on_key = on_key or step == "[key]"
            path.extend([step] if kind == _ABSENT else [])
            break
        path.append(step)
    plain = document.plains.get(place) if not isinstance(node, str | Map | Seq) else None
    return Violation(kind, message, tuple(path), node, key_place if on_key else place, plain, on_key=on_key)


def problem_of(violation: Violation, document: YamlFile, expected: Mapping[str, str], known: Iterable[str]) -> Problem:
    """Word a violation by what holds for every schema.

    `expected` has, by name of a field, the end of the sentence "… must be …"; the innermost field on the path that is
    named there speaks. `known` are the fields that could stand where an unknown one stands.
    """
    at = document.location(violation.place)
    if violation.ours:
        return Problem(violation.type.removeprefix(OURS), violation.message, at)
    if violation.unknown:
        name = shown(violation.name)
        return Problem("unknown_field", f"there is no field {name} here; {meant(violation.name, known)}", at)
    if violation.absent:
        ending = f": {expected[violation.name]}" if violation.name in expected else ""
        return Problem("missing_field", f"{violation.name} is missing here{ending}", at)
    name = next((str(step) for step in reversed(violation.path) if step in expected), violation.name)
    must = expected.get(name, "a map of fields and values")
    code = f"bad_{name}" if name in expected else "not_a_mapping"
    return Problem(code, f"{shown(name) if name else 'the file'} must be {must}, not {violation.described()}", at)


def twice_problems(document: YamlFile, wording: Callable[[Map, str], tuple[str, str] | None]) -> list[Problem]:
    """Return a problem for every key that stands twice; `wording` may have other words for some mappings."""
    problems = []
    for twice in document.twice:
        first = document.location(twice.first)
        code, what = wording(twice.owner, twice.key) or ("duplicate_key", f"the key {shown(twice.key)} stands")
        message = f"{what} twice, first in line {first.line}, column {first.column}: keep one of the two"
        problems.append(Problem(code, message, document.location(twice.second)))
    return problems


def in_order(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Return the problems sorted by place, each once."""
    return tuple(sorted(dict.fromkeys(problems), key=_order))


def _order(problem: Problem) -> tuple[str, int, int, str, str]:
    at = problem.location
    place = (at.file, at.line, at.column) if at else ("", 0, 0)
    return (*place, problem.code, problem.message)
