"""The descriptions of the published API, from `schemas/`: validators by kind and part, and operations by path."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match
from referencing import Registry, Resource

FOLDER = Path(__file__).parent / "schemas"
PARTS = ("update", "create", "object", "list", "deleted")
"""What each kind describes."""
_BASE = "https://reconciler.invalid/api/"
_END = 150
"""Characters of a long message that are shown of either end."""
_SHARED = ("shared", "errors")

FILES: dict[str, Any] = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in FOLDER.glob("*.json")}
"""The files by name."""
_REGISTRY: Registry = Registry().with_resources((file["$id"], Resource.from_contents(file)) for file in FILES.values())


@cache
def validator(file: str, part: str) -> Draft202012Validator:
    """Return the validator of one definition."""
    return Draft202012Validator({"$ref": f"{_BASE}{file}.json#/$defs/{part}"}, registry=_REGISTRY)


def faults(file: str, part: str, content: Any) -> list[str]:
    """Return what is wrong with a content by one definition, each with its place."""
    deepest = (best_match([fault]) for fault in validator(file, part).iter_errors(content))
    return [f"{fault.json_path}: {_shortened(fault.message)}" for fault in deepest]


def _shortened(message: str) -> str:
    return message if len(message) <= 2 * _END else f"{message[:_END]}…{message[-_END:]}"


@dataclass(frozen=True)
class Operation:
    """How one kind is addressed, by its description.

    `listed` tells where it can be (`parent`: below one), `missing` has the words of a 404.
    """

    kind: str
    path: str
    beta: str | None
    field: str
    query: tuple[str, ...]
    filter: bool
    listed: str
    missing: str

    @property
    def parent(self) -> Operation | None:
        """Return the operation of the parent's kind."""
        above = self.path.partition("/{parent}")[0] + "/{id}"
        return next((each for each in OPERATIONS.values() if each.path == above and each is not self), None)

    @property
    def collection(self) -> str:
        """Return the path of the collection."""
        return self.path.removesuffix("/{id}")

    @property
    def example(self) -> Any:
        """Return a body that creates one."""
        return FILES[self.kind]["$defs"]["create"]["examples"][0]


def _operation(kind: str) -> Operation:
    told = FILES[kind]["x-operation"]
    return Operation(kind, **{**told, "query": tuple(told["query"])})


OPERATIONS = {kind: _operation(kind) for kind in sorted(FILES) if kind not in _SHARED}
"""The operations by kind."""


@dataclass(frozen=True)
class Place:
    """Where a path leads: one object or the collection of a kind, and the ids that stand in the path."""

    operation: Operation
    one: bool
    ids: dict[str, str]


def place(segments: list[str]) -> Place | None:
    """Return where a path below the base leads; one without braces goes first, as `/agents/sessions` does."""
    found = [
        Place(operation, one, ids)
        for operation in OPERATIONS.values()
        for path, one in ((operation.path, True), (operation.collection, False))
        if (ids := _matched(path.strip("/").split("/"), segments)) is not None
    ]
    return min(found, key=lambda each: len(each.ids), default=None)


def _matched(parts: list[str], segments: list[str]) -> dict[str, str] | None:
    pairs = list(zip(parts, segments, strict=False))
    if len(parts) != len(segments) or any(not part.startswith("{") and part != segment for part, segment in pairs):
        return None
    return {part.strip("{}"): segment for part, segment in pairs if part.startswith("{")}
