"""`schema`: JSON Schema on standard output, without settings and without a network."""

import json

import jsonschema
import pytest
from documents import DOCUMENTS
from scratch import Scratch

from reconciler import planfile
from reconciler.cli.schema import WORDS

DRAFTS = {
    "manifest": jsonschema.Draft7Validator,
    "settings": jsonschema.Draft7Validator,
    "document": jsonschema.Draft202012Validator,
}


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    made = Scratch(tmp_path_factory.mktemp("schema"))
    made.write("reconciler.yaml", "version: 2\n")  # nobody reads it
    return made


@pytest.fixture(scope="module")
def document(scratch):
    return scratch.run("schema document").document


@pytest.mark.parametrize("what", DRAFTS)
def test_each_schema_is_one_of_its_draft_in_ascii_and_the_same_each_time(scratch, what):
    done = scratch.run(f"schema {what}")
    assert (done.code, done.err) == (0, "")
    assert done.out.isascii()
    assert done.out.endswith("}\n")
    assert DRAFTS[what].META_SCHEMA["$id"].rstrip("#") == done.document["$schema"].rstrip("#")
    DRAFTS[what].check_schema(done.document)
    assert {"title", "description", "properties"} <= done.document.keys()
    assert scratch.run(f"schema {what}", {"PYTHONHASHSEED": "7"}).out == done.out


@pytest.mark.parametrize("line", ["schema", "schema nonsense", "schema manifest settings"])
def test_another_word_is_wrong_usage(scratch, line):
    done = scratch.run(line)
    assert (done.code, done.out) == (64, "")


def test_the_help_has_lines_that_work(scratch):
    told = scratch.run("schema --help").out
    for what in DRAFTS:
        assert f"reconciler schema {what} > " in told


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_document_is_as_its_schema_has_it(document, name):
    validator = jsonschema.Draft202012Validator(document)
    content = json.loads(planfile.dumps(DOCUMENTS[name]))
    assert [error.message for error in validator.iter_errors(content)] == []


def test_the_schema_of_the_document_refuses_what_is_none(document):
    validator = jsonschema.Draft202012Validator(document)
    content = json.loads(planfile.dumps(DOCUMENTS["plan"]))
    content["changes"][0]["action"] = "delete"
    content["changes"][0]["observed"] = [1]
    assert len(list(validator.iter_errors(content))) == 2


def test_every_part_of_the_document_has_a_title_and_a_description(document):
    fields = set()
    for name, part in {**document["$defs"], "Document": document}.items():
        assert part["description"], name
        assert part["title"], name
        for key, field in part.get("properties", {}).items():
            assert field.get("description", "").endswith("."), f"WORDS of cli/schema.py has nothing on {name}.{key}"
            fields |= {key, f"{name}.{key}"}
    assert WORDS.keys() <= fields


def test_what_stands_in_every_document_is_required(document):
    written = [json.loads(planfile.dumps(made)).keys() for made in DOCUMENTS.values()]
    assert set(document["required"]) <= set.intersection(*map(set, written))
    assert {"kind", "target", "changes", "errors", "digest"} <= set(document["required"])
