"""The schema of manifests as JSON Schema, for editors: made of the models and of the table of kinds.

Draft 7, because it is the one that the YAML language server knows completely. What a schema cannot express stays to
`reconciler validate`: what concerns several places at once (defaults and ignored keys, resources declared twice), and
what a text looked like before YAML was read (an unquoted date, a tag). Nothing that the reader accepts is refused.

`described` serves the schema of the settings, too.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, TypeAlias

from reconciler.kinds import KINDS, OPENAI_HOST, Kind
from reconciler.manifest.schema import Manifest, ScalarManifest
from reconciler.model import MAX_PAIRS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pydantic import BaseModel

Schema: TypeAlias = dict[str, Any]

DRAFT = "http://json-schema.org/draft-07/schema#"
NULL: Schema = {"type": "null"}


def manifest_schema() -> Schema:
    """Return the JSON Schema of a manifest."""
    loose, strict = described(ScalarManifest), described(Manifest)
    values = _stored(strict["properties"]["defaults"], scalars=False)
    _stored(loose["properties"]["defaults"], scalars=True)
    loose |= {"title": "A manifest of reconciler", "description": "Which metadata each resource should carry."}
    # What is shown of the defaults is what holds in most files.
    words, pairs = strict["properties"]["defaults"], strict["properties"]["defaults"]["properties"]["metadata"]
    loose["properties"]["defaults"] |= {"title": words["title"], "description": words["description"]}
    loose["properties"]["defaults"]["properties"]["metadata"]["examples"] = pairs["examples"]
    definitions: Schema = {}
    for kind in KINDS.values():
        section = loose["properties"][kind.plural]
        name = "scalar_resource" if kind.scalars else "resource"
        definitions[name] = _limited(section["additionalProperties"])
        _stored(definitions[name], scalars=kind.scalars)
        section["additionalProperties"] = {"$ref": f"#/definitions/{name}"}
        section |= {"description": _description(kind), "examples": [_example(kind)]}
        section["propertyNames"] |= {"description": "An id.", "patternErrorMessage": _id_message(kind)}
    # Only a file of nothing but kinds that take numbers may have numbers in its defaults.
    loose["if"] = _any_of_other_kinds()
    loose["then"] = {"properties": {"defaults": {"properties": {"metadata": {"additionalProperties": values}}}}}
    return {"$schema": DRAFT, **loose, "definitions": definitions}


_TEXTS_ONLY = "A value is a string: put it in quotes. (null: this key shall not exist.)"
_NO_NULL = {"pattern": "^[^\\u0000]*$", "patternErrorMessage": "U+0000 cannot be stored."}
"""What the reader says of every text. Of lone surrogates, which cannot be stored either, no pattern can tell pairs."""


def _stored(part: Schema, *, scalars: bool) -> Schema:
    """Say what keys and values can be stored as metadata, of a resource or of the defaults; returns that of values."""
    metadata: Schema = part["properties"]["metadata"]
    metadata["propertyNames"] |= _NO_NULL
    values: Schema = metadata["additionalProperties"]
    values |= _NO_NULL
    if not scalars:
        values["errorMessage"] = _TEXTS_ONLY
    return values


def _limited(resource: Schema) -> Schema:
    """Say of a resource, as far as can be said, how many pairs it holds: null keys do not count, nor can be counted."""
    resource["properties"]["metadata"] |= {
        "if": {"additionalProperties": {"not": NULL}},
        "then": {"maxProperties": MAX_PAIRS},
    }
    return resource


def _any_of_other_kinds() -> Schema:
    """Return what holds for every file but those whose sections are all of kinds that take numbers and booleans."""
    scalar, others = ([one.plural for one in KINDS.values() if one.scalars is wanted] for wanted in (True, False))
    return {"anyOf": [*_present(others), {"not": {"anyOf": _present(scalar)}}]}


def _present(names: Iterable[str]) -> list[Schema]:
    return [{"required": [name]} for name in names]


# --- words of a kind --------------------------------------------------------------------------------------------------


def _description(kind: Kind) -> str:
    ids = "parent/child" if kind.nested else "id"
    sentences = [f"Every {kind.noun} that is managed here, by {ids}; reconciler calls it {kind.name}/{ids}."]
    if kind.field != "metadata":
        sentences.append(f"The API calls the map {kind.field}.")
    if kind.scalars:
        sentences.append("Values may be numbers and booleans, and are compared by type and value.")
    if kind.retired:
        sentences.append(f"Not served by {OPENAI_HOST} since {kind.retired} (successor: {kind.successor}).")
    return " ".join(sentences)


def _example(kind: Kind) -> Schema:
    return {example_id(kind): {"metadata": {"chapter": 3} if kind.scalars else {"customer": "acme", "draft": None}}}


def example_id(kind: Kind) -> str:
    """Return an id that looks like those of a kind."""
    own = f"{kind.prefix}abc123"
    if not kind.nested:
        return own
    return f"{KINDS[kind.parent].prefix}abc123/{own}"


def _id_message(kind: Kind) -> str:
    form = "is written parent/child, both" if kind.nested else "is"
    return f"The id of a {kind.noun} {form} of A-Z a-z 0-9 . _ : - (not . or ..)"


# --- from pydantic's schema to one for editors ------------------------------------------------------------------------


def described(model: type[BaseModel]) -> Schema:
    """Return the schema of a model without references, in words that an editor can show."""
    schema = model.model_json_schema()
    definitions = schema.pop("$defs", {})
    made: Schema = _plain(schema, definitions)
    return made


def _plain(node: Any, definitions: Mapping[str, Schema]) -> Any:
    """Return a part of pydantic's schema as an editor understands it best: one flat map for one value."""
    if isinstance(node, list):
        return [_plain(each, definitions) for each in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        known = definitions[node["$ref"].removeprefix("#/$defs/")]
        return _plain({**known, **{name: value for name, value in node.items() if name != "$ref"}}, definitions)
    made = {name: _entry(name, value, definitions) for name, value in node.items() if name != "title"}
    if "pattern" in made:
        made["pattern"] = _to_the_end(made["pattern"])
    if "properties" in made:
        made["title"] = _WORDS.sub(" ", node["title"].removesuffix("Model")).capitalize()
    return _with_examples(_named(_one_of_its_types(made)))


_WORDS = re.compile(r"(?<=[a-z])(?=[A-Z])")
_LITERAL = frozenset(["default", "examples", "enum", "const", "required", "enumDescriptions", "type", "description"])
"""Keywords whose value is no schema."""


def _entry(keyword: str, value: Any, definitions: Mapping[str, Schema]) -> Any:
    if keyword in ("properties", "patternProperties"):
        return {name: _plain(part, definitions) for name, part in value.items()}
    return value if keyword in _LITERAL else _plain(value, definitions)


def _one_of_its_types(node: Schema) -> Schema:
    """Put `anyOf` of several types into one: an editor then names what is wrong instead of "matches nothing"."""
    branches = node.pop("anyOf", None)
    if branches is None:
        return node
    types: list[str] = []
    merged: Schema = {}
    for branch in branches:
        kinds = branch["type"]
        types += [kinds] if isinstance(kinds, str) else kinds
        merged |= {name: value for name, value in branch.items() if name not in ("type", "examples")}
    if "number" in types:
        types.remove("integer") if "integer" in types else None
    return {**merged, **node, "type": types}


def _named(node: Schema) -> Schema:
    """Say of a map what its keys may be called, so that an editor can offer them, and tells what else is wrong."""
    patterns = node.pop("patternProperties", None)
    if patterns is not None:
        ((pattern, values),) = patterns.items()
        node["additionalProperties"] = values
        node["propertyNames"] = {"type": "string", **node.get("propertyNames", {}), "pattern": _to_the_end(pattern)}
    names = node.get("propertyNames", {}).get("enum")
    if names is not None:
        del node["propertyNames"]
        values = node["additionalProperties"]
        node |= {"properties": {name: dict(values) for name in names}, "additionalProperties": False}
    if "minimum" in node and node["minimum"] == node.get("maximum"):
        node["const"] = node.pop("minimum")
        del node["maximum"]
    if node.get("default", ...) in (None, [], {}) or isinstance(node.get("default"), dict):
        del node["default"]
    return node


def _to_the_end(pattern: str) -> str:
    """Return a pattern whose last `$` is the end of the text: some readers of schemas take a line break there."""
    return f"{pattern}(?!\\n)" if pattern.endswith("$") else pattern


def _with_examples(node: Schema) -> Schema:
    """Give examples to what has few values; the others have theirs from the models."""
    if "examples" not in node and "description" in node:
        if "const" in node:
            node["examples"] = [node["const"]]
        elif "enum" in node:
            node["examples"] = node["enum"][:1]
        elif node.get("type") == "boolean":
            node["examples"] = [True]
    return node
