"""The JSON Schema of manifests: as the reader sees them, as far as a schema can tell, and with words for everything."""

from __future__ import annotations

import datetime as dt
import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.kinds import KINDS
from reconciler.manifest import read_manifest
from reconciler.manifest import schema as models
from reconciler.manifest.jsonschema import example_id, manifest_schema
from reconciler.manifest.reader import read
from reconciler.manifest.tree import Map, Seq, Unclear
from reconciler.model import MAX_KEY, MAX_PAIRS, MAX_VALUE

TESTS = Path(__file__).parent.parent
BAD = sorted((TESTS / "cases" / "bad_manifests").glob("*.yaml"))
GOOD = sorted((TESTS.parent / "manifests").iterdir())
BEYOND = {
    "a_version_with_a_fraction": "JSON knows no difference between 1 and 1.0",
    "an_alias_of_itself": "an editor says itself that the alias leads nowhere",
    "an_old_yaml_version": "a directive is no part of the document",
    "ignored_keys_are_told_where_they_are_declared": "globs against keys, in several places",
    "merge_keys_that_merge_nothing": "an editor merges before it checks",
    "tags_everywhere": "tags are gone once YAML was read",
    "the_same_resource_twice": "keys that stand twice are gone once YAML was read; an editor says so itself",
    "too_many_pairs_with_the_defaults": "the sum of two maps",
    "two_documents": "an editor checks each of several documents",
}
"""The bad manifests that a schema accepts, and why it cannot know better."""
BEYOND_CODES = {"ignored_key", "too_many_pairs", "lone_surrogate", "secret_like", "duplicate_resource"}

BLOCKS = re.findall(r"```yaml\n(.*?)```", (TESTS.parent / "README.md").read_text(encoding="utf-8"), re.DOTALL)
README = [text for text in BLOCKS if "version: 1" in text and "targets:" not in text]
SCHEMA = manifest_schema()
VALIDATOR = jsonschema.Draft7Validator(SCHEMA, format_checker=jsonschema.FormatChecker())


def seen(node: Any) -> Any:
    """Return a tree as an editor sees it: in YAML 1.2 a date is a string, and so is what is no plain number."""
    if isinstance(node, Map):
        return {key: seen(value) for key, value in node.items()}
    if isinstance(node, Seq):
        return [seen(each) for each in node]
    if isinstance(node, dt.date):
        return node.isoformat()
    return node.raw if isinstance(node, Unclear) else node


def errors(root: Any) -> list[str]:
    return [error.message for error in VALIDATOR.iter_errors(root)]


def tree(data: bytes) -> Any:
    return seen(read(data, "f.yaml").root)


def parts(schema: Any = SCHEMA, path: str = "") -> Any:
    """Yield every schema of a property, with the path to it."""
    for name, value in schema.items() if isinstance(schema, dict) else ():
        if name in ("properties", "definitions"):
            for key, part in value.items():
                yield (f"{path}/{key}", part) if name == "properties" else (f"{path}/definitions/{key}", None)
                yield from parts(part, f"{path}/{key}")
        elif name in ("additionalProperties", "items"):
            yield from parts(value, f"{path}/*")


PROPERTIES = {path: part for path, part in parts() if part is not None}


def test_the_schema_is_one_of_draft_7():
    assert SCHEMA["$schema"] == "http://json-schema.org/draft-07/schema#"
    jsonschema.Draft7Validator.check_schema(SCHEMA)


# --- agreement with the reader ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.stem)
def test_a_manifest_of_the_samples_is_accepted(path):
    assert read_manifest(path.read_bytes(), path.name).problems == ()
    assert errors(tree(path.read_bytes())) == []


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_a_bad_manifest_is_refused_unless_no_schema_can_know(path):
    assert bool(errors(tree(path.read_bytes()))) is (path.stem not in BEYOND or path.stem == "an_alias_of_itself")


@pytest.mark.parametrize("text", README)
def test_a_manifest_of_the_readme_is_accepted(text):
    assert read_manifest(text.encode(), "f.yaml").problems == ()
    assert errors(tree(text.encode())) == []


def test_the_list_of_what_no_schema_can_know_names_cases_only():
    assert BEYOND.keys() <= {path.stem for path in BAD}


NAMES = st.one_of(
    st.sampled_from(["a", "plan", "runtime.x", "k" * MAX_KEY, "\U0001f600" * MAX_KEY, "<>"]),
    st.sampled_from(["", "k" * (MAX_KEY + 1), "\0"]),
    st.text("abé\U0001f600\n", max_size=3),
)
TEXTS = st.one_of(
    st.none(),
    st.text("xé\U0001f600\n\t", max_size=3),
    st.sampled_from(["v" * MAX_VALUE, "\U0001f600" * MAX_VALUE, "true", "2026-01-01", "0"]),
)
ODD = st.sampled_from([1, 0, 1.5, True, ["x"], {}, "v" * (MAX_VALUE + 1), "\0"])
MANY = st.integers(MAX_PAIRS - 1, MAX_PAIRS + 2).map(lambda count: {f"k{number}": "v" for number in range(count)})


def maps(odd: bool) -> Any:
    values = st.one_of(TEXTS, TEXTS, TEXTS, ODD) if odd else TEXTS
    pairs = st.dictionaries(NAMES if odd else st.sampled_from(["a", "b", "c.d"]), values, max_size=4)
    return st.one_of(pairs, st.tuples(MANY, pairs).map(lambda both: both[0] | both[1]))


def accepted(odd: bool) -> Any:
    fields: dict[str, Any] = {"key": st.sampled_from(["a", ""] if odd else ["a"]), "value": TEXTS}
    more = {
        "until": st.sampled_from(["2026-12-31", None, *(["2026-02-30", "soon", 5] if odd else [])]),
        "reason": st.one_of(st.none(), st.text("ab", max_size=2)),
    }
    return st.lists(st.fixed_dictionaries(fields, optional=more), max_size=2)


def bodies(odd: bool, *, resource: bool) -> Any:
    fields: dict[str, Any] = {
        "metadata": maps(odd),
        "ownership": st.sampled_from(["declared", "exclusive", *(["all", None] if odd else [])]),
        "ignore": st.lists(st.sampled_from(["run*", "c.*", *([""] if odd else [])]), max_size=2),
    }
    if resource:
        flags = st.sampled_from([True, False, *(["yes", 1, None] if odd else [])])
        fields |= {"protect": flags, "allow_secret_like": flags, "accept": accepted(odd)}
    if odd:
        fields["metdata"] = st.just({})
    made = st.fixed_dictionaries({}, optional=fields)
    return st.one_of(st.none(), made, made, made)


def manifests(odd: bool) -> Any:
    ids = ["thread_1", "a/b", "x", *(["..", "a b", "", "a/..", "x/"] if odd else [])]
    sections = {
        kind.plural: st.one_of(
            st.none(),
            st.dictionaries(
                st.sampled_from([one for one in ids if odd or kind.valid_id(one)]),
                bodies(odd, resource=True),
                max_size=2,
            ),
        )
        for kind in KINDS.values()
        if kind.name in ("thread", "message", "vector_store_file")
    }
    more: dict[str, Any] = {"defaults": bodies(odd, resource=False), **sections}
    if odd:
        more["thread"] = st.just({})
    return st.fixed_dictionaries({"version": st.sampled_from([1, *([2, "1", True] if odd else [])])}, optional=more)


ANY = st.booleans().flatmap(manifests)


@given(ANY)
def test_what_the_reader_accepts_the_schema_accepts(content):
    if read_manifest(json.dumps(content, ensure_ascii=False).encode(), "f.yaml").problems == ():
        assert errors(content) == []


@given(ANY)
def test_what_the_schema_accepts_the_reader_accepts_but_for_what_no_schema_can_know(content):
    if not errors(content):
        problems = read_manifest(json.dumps(content, ensure_ascii=False).encode(), "f.yaml").problems
        assert {problem.code for problem in problems} <= BEYOND_CODES


def pairs(count: int, nulls: int = 0) -> dict[str, Any]:
    return {f"k{number}": None if number < nulls else "v" for number in range(count)}


@pytest.mark.parametrize(
    ("metadata", "fits"),
    [
        (pairs(MAX_PAIRS), True),
        (pairs(MAX_PAIRS + 1), False),
        (pairs(MAX_PAIRS + 1, nulls=1), True),
        (pairs(60, nulls=44), True),
    ],
)
def test_null_keys_do_not_count_to_sixteen(metadata, fits):
    content = {"version": 1, "threads": {"thread_1": {"metadata": metadata}}}
    assert (read_manifest(json.dumps(content).encode(), "f.yaml").problems == ()) is fits
    assert (errors(content) == []) is fits


@pytest.mark.parametrize(
    ("sections", "fits"),
    [
        ({"vector_store_files": {}}, True),
        ({"vector_store_files": None}, True),
        ({}, False),
        ({"vector_store_files": {}, "threads": None}, False),
    ],
)
def test_defaults_may_be_numbers_where_all_kinds_of_the_file_take_them(sections, fits):
    content = {"version": 1, "defaults": {"metadata": {"chapter": 3, "public": True}}, **sections}
    assert (read_manifest(json.dumps(content).encode(), "f.yaml").problems == ()) is fits
    assert (errors(content) == []) is fits


# --- words for everything ---------------------------------------------------------------------------------------------


def test_every_field_of_every_model_is_in_the_schema():
    resource, scalar = (SCHEMA["definitions"][name] for name in ("resource", "scalar_resource"))
    defaults = SCHEMA["properties"]["defaults"]
    shown = {
        models.Manifest: SCHEMA,
        models.ScalarManifest: SCHEMA,
        models.Defaults: defaults,
        models.ScalarDefaults: defaults,
        models.Resource: resource,
        models.ScalarResource: scalar,
        models.Accepted: resource["properties"]["accept"]["items"],
        models.ScalarAccepted: scalar["properties"]["accept"]["items"],
    }
    for model, schema in shown.items():
        assert schema["properties"].keys() == model.model_fields.keys()
        assert schema["additionalProperties"] is False
        required = {name for name, field in model.model_fields.items() if field.is_required()}
        assert set(schema.get("required", ())) == required


@pytest.mark.parametrize("path", PROPERTIES)
def test_every_property_has_a_description_and_examples_that_are_valid(path):
    part = PROPERTIES[path]
    assert re.fullmatch(r"[A-Z].{10,}\.", part["description"])
    assert part["examples"]
    own = jsonschema.Draft7Validator({**part, "definitions": SCHEMA["definitions"]})
    for example in part["examples"]:
        assert list(own.iter_errors(example)) == []


def test_every_value_of_an_enumeration_is_described():
    enumerations = [part for part in PROPERTIES.values() if "enum" in part]
    assert enumerations
    for part in enumerations:
        assert len(part["enumDescriptions"]) == len(part["enum"])


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
def test_the_section_of_a_kind_takes_its_ids_alone(kind):
    content = {"version": 1, kind.plural: {example_id(kind): {"metadata": {"a": "b"}}}}
    assert errors(content) == []
    assert read_manifest(json.dumps(content).encode(), "f.yaml").problems == ()
    assert errors({"version": 1, kind.plural: {"a/b/c": {}}})
    assert bool(errors({"version": 1, kind.plural: {example_id(kind): {"metadata": {"a": 1}}}})) is not kind.scalars
    description = SCHEMA["properties"][kind.plural]["description"]
    assert kind.noun in description
    assert (str(kind.retired) in description) is (kind.retired is not None)


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
def test_numbers_and_booleans_are_values_of_the_kinds_whose_api_takes_them(kind):
    for value, fits in [("1", True), (None, True), (1, kind.scalars), (0.5, kind.scalars), (True, kind.scalars)]:
        content = {"version": 1, kind.plural: {example_id(kind): {"metadata": {"a": value}}}}
        assert (errors(content) == []) is fits, value
        assert (read_manifest(json.dumps(content).encode(), "f.yaml").problems == ()) is fits, value
    for value in ([], {}, "v" * (MAX_VALUE + 1)):
        assert errors({"version": 1, kind.plural: {example_id(kind): {"metadata": {"a": value}}}})
    description = SCHEMA["properties"][kind.plural]["description"]
    assert ("numbers and booleans" in description) is kind.scalars
    assert (f"calls the map {kind.field}" in description) is (kind.field != "metadata")
    assert ("parent/child" in description) is kind.nested
