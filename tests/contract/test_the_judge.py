"""The judge refuses what it should: known bad requests and answers, one fault each; and the rows say what it says."""

from __future__ import annotations

import json

import pytest
from api.descriptions import FILES, OPERATIONS, PARTS, validator
from api.judge import Judge
from doors import EVERY
from jsonschema import Draft202012Validator

from reconciler.emulator import live_behaviour
from reconciler.emulator.service import Held, Request, handle
from reconciler.emulator.store import MemoryStore
from reconciler.gateway.providers import PROVIDERS, Listing, listing
from reconciler.kinds import KINDS
from reconciler.model import Ref

READING = {"host": "x", "accept": "application/json", "openai-beta": "assistants=v2"}
WRITING = {**READING, "content-type": "application/json"}
PLAIN = {name: value for name, value in READING.items() if name != "openai-beta"}
FULL = {f"k{number}": "v" for number in range(16)}


def sent(content):
    return json.dumps({"metadata": content}).encode()


def complaints(method, target, headers, body, **settings):
    judge = Judge(**settings)
    judge.request(method, target, headers, body)
    return judge.complaints


# Requests.

GOOD = {
    "read": ("GET", "/v1/threads/t", READING, b""),
    "odd id": ("GET", "/v1/threads/6f9619ff-8b86:x.y_z", READING, b""),
    "update": ("POST", "/v1/threads/t", WRITING, sent({"a": "b"})),
    "16 pairs": ("POST", "/v1/threads/t", WRITING, sent(FULL)),
    "64 in a key": ("POST", "/v1/threads/t", WRITING, sent({"😀" * 64: "😀" * 512})),
    "null field": ("POST", "/v1/threads/t", WRITING, sent(None)),
    "list": ("GET", "/v1/threads?limit=100&order=asc&after=t&before=u", READING, b""),
    "filter": ("GET", "/v1/chat/completions?metadata[a]=b&limit=1", PLAIN, b""),
    "child": ("GET", "/v1/threads/t/messages/m", READING, b""),
    "attributes": (
        "POST", "/v1/vector_stores/v/files/f", WRITING, b'{"attributes": {"a": 1, "b": true, "c": 0.5, "d": ""}}',
    ),
}  # fmt: skip
BAD = {
    "path": ("GET", "/v1/thread/t", READING, b"", "no GET at this path"),
    "base": ("GET", "/v2/threads/t", READING, b"", "no GET at this path"),
    "method": ("PATCH", "/v1/threads/t", WRITING, sent({}), "no PATCH at this path"),
    "deletion": ("DELETE", "/v1/threads/t", READING, b"", "nothing of ours sends a delete"),
    "creation": ("POST", "/v1/threads", WRITING, sent({}), "nothing of ours sends a create"),
    "unsafe id": ("GET", "/v1/threads/a%20b", READING, b"", "'a b' is no id"),
    "climbing id": ("GET", "/v1/threads/..", READING, b"", "'..' is no id"),
    "escaped slash": ("GET", "/v1/threads/a%2Fb", READING, b"", "'a/b' is no id"),
    "wrong beta": ("GET", "/v1/threads/t", {**READING, "openai-beta": "assistants=v1"}, b"", "the beta header"),
    "no beta": ("GET", "/v1/threads/t", PLAIN, b"", "the beta header"),
    "beta too many": ("GET", "/v1/conversations/c", READING, b"", "the beta header"),
    "beta of another kind": ("GET", "/v1/agents/a", READING, b"", "the beta header"),
    "foreign header": ("GET", "/v1/threads/t", {**READING, "Cookie": "a=b"}, b"", "the header cookie"),
    "no accept": ("GET", "/v1/threads/t", {"openai-beta": "assistants=v2"}, b"", "accept is None"),
    "body of a read": ("GET", "/v1/threads/t", WRITING, sent({}), "a GET has a body"),
    "type without body": ("GET", "/v1/threads/t", WRITING, b"", "content-type"),
    "body without type": ("POST", "/v1/threads/t", READING, sent({}), "content-type"),
    "parameter of a read": ("GET", "/v1/threads/t?limit=1", READING, b"", "has no place here"),
    "parameter of an update": ("POST", "/v1/threads/t?order=asc", WRITING, sent({}), "has no place here"),
    "unknown parameter": ("GET", "/v1/threads?page=2", READING, b"", "no parameter page"),
    "before where there is none": ("GET", "/v1/evals?before=e", PLAIN, b"", "no parameter before"),
    "limit": ("GET", "/v1/threads?limit=101", READING, b"", "limit is '101'"),
    "no limit": ("GET", "/v1/threads?limit=0", READING, b"", "limit is '0'"),
    "order": ("GET", "/v1/threads?order=up", READING, b"", "order is 'up'"),
    "empty cursor": ("GET", "/v1/threads?after=", READING, b"", "after is empty"),
    "twice": ("GET", "/v1/threads?after=a&after=b", READING, b"", "stands twice"),
    "filter of another kind": ("GET", "/v1/threads?metadata[a]=b", READING, b"", "takes no filter"),
    "filter too long": ("GET", f"/v1/chat/completions?metadata[a]={'v' * 513}", PLAIN, b"", "is too long"),
    "wrong field": ("POST", "/v1/threads/t", WRITING, b'{"attributes": {}}', "'attributes' was unexpected"),
    "more than it": ("POST", "/v1/threads/t", WRITING, b'{"metadata": {}, "name": "x"}', "'name' was unexpected"),
    "missing field": ("POST", "/v1/conversations/c", {**PLAIN, "content-type": "application/json"}, b"{}", "required"),
    "null field": (
        "POST", "/v1/vaults/v", {**WRITING, "openai-beta": "agents=v1"}, sent(None), "not of type 'object'",
    ),
    "number": ("POST", "/v1/threads/t", WRITING, sent({"a": 1}), "1 is not of type 'string'"),
    "boolean": ("POST", "/v1/threads/t", WRITING, sent({"a": True}), "True is not of type 'string'"),
    "null": ("POST", "/v1/threads/t", WRITING, sent({"a": None}), "None is not of type 'string'"),
    "17 pairs": ("POST", "/v1/threads/t", WRITING, sent({**FULL, "more": "v"}), "more than 16 entries"),
    "65 in a key": ("POST", "/v1/threads/t", WRITING, sent({"k" * 65: "v"}), "not valid under any"),
    "513 in a value": ("POST", "/v1/threads/t", WRITING, sent({"k": "v" * 513}), "is too long"),
    "array": ("POST", "/v1/threads/t", WRITING, sent([]), "not valid under any"),
    "no object": ("POST", "/v1/threads/t", WRITING, b"[]", "is not of type 'object'"),
    "no JSON": ("POST", "/v1/threads/t", WRITING, b"{", "the body is no JSON"),
    "nothing": ("POST", "/v1/threads/t", READING, b"", "the body is no JSON"),
    "key twice": ("POST", "/v1/threads/t", WRITING, b'{"metadata": {"a": "1", "a": "2"}}', "a key stands twice"),
    "array as attribute": (
        "POST", "/v1/vector_stores/v/files/f", WRITING, b'{"attributes": {"a": []}}', "[] is not of type",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("method", "target", "headers", "body"), GOOD.values(), ids=GOOD)
def test_a_good_request_passes(method, target, headers, body):
    assert complaints(method, target, headers, body) == []


@pytest.mark.parametrize(("method", "target", "headers", "body", "told"), BAD.values(), ids=BAD)
def test_a_bad_request_is_refused_for_its_one_fault(method, target, headers, body, told):
    found = complaints(method, target, headers, body)
    assert any(told in each for each in found), found
    judge = Judge(complaints=found)
    with pytest.raises(AssertionError, match="^(GET|POST|PATCH|DELETE) /v"):
        judge.verdict()


def test_what_a_provider_adds_to_every_url_must_be_there_and_nothing_else():
    own = {"query": {"api-version": "v1"}}
    assert complaints("GET", "/v1/threads/t?api-version=v1", READING, b"", **own) == []
    assert complaints("GET", "/v1/threads?api-version=v1&limit=2", READING, b"", **own) == []
    assert complaints("GET", "/v1/threads/t", READING, b"", **own)
    assert complaints("GET", "/v1/threads/t?api-version=v2", READING, b"", **own)
    assert complaints("GET", "/v1/threads/t?api-version=v1", READING, b"")


def test_a_header_that_a_target_adds_is_told_to_the_judge():
    headers = {**READING, "X-Team": "a"}
    assert complaints("GET", "/v1/threads/t", headers, b"")
    assert complaints("GET", "/v1/threads/t", headers, b"", also=frozenset({"x-team"})) == []


def test_a_removal_by_null_passes_where_the_server_knows_it_and_counts_as_an_entry():
    removals = {f"k{number}": None for number in range(17)}
    assert complaints("POST", "/v1/threads/t", WRITING, sent({"a": None, "b": "c"}), nulls=True) == []
    assert complaints("POST", "/v1/threads/t", WRITING, sent(removals), nulls=True)


# Answers.

HEADERS = {"content-type": "application/json", "x-request-id": "req_1"}
THREAD = {"id": "t", "object": "thread", "created_at": 1, "metadata": {"a": "b"}, "tool_resources": None}
MESSAGE_LIST = {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}


def envelope(message, code=None, param=None, kind="invalid_request_error", **more):
    return {"error": {"message": message, "type": kind, "param": param, "code": code, **more}}


MISSING = envelope("No thread found with id 't'.")
WRONG = {
    "no type": ("/v1/threads/t", 200, THREAD, {"x-request-id": "req_1"}, "content-type"),
    "no request id": ("/v1/threads/t", 200, THREAD, {"content-type": "application/json"}, "x-request-id"),
    "no JSON": ("/v1/threads/t", 200, "<html>", HEADERS, "no JSON"),
    "no number": ("/v1/threads/t", 200, '{"id": NaN}', HEADERS, "no JSON"),
    "no object": ("/v1/threads/t", 200, [], HEADERS, "is not of type 'object'"),
    "wrong field": ("/v1/threads/t", 200, {**THREAD, "attributes": {}}, HEADERS, "'attributes' was unexpected"),
    "wrong object": ("/v1/threads/t", 200, {**THREAD, "object": "assistant"}, HEADERS, "'thread' was expected"),
    "wrong id": ("/v1/threads/other", 200, THREAD, HEADERS, "it is about 't'"),
    "ISO date": ("/v1/threads/t", 200, {**THREAD, "created_at": "2026-01-01"}, HEADERS, "is not of type 'integer'"),
    "number as value": ("/v1/threads/t", 200, {**THREAD, "metadata": {"a": 1}}, HEADERS, "1 is not of type 'string'"),
    "17 pairs": ("/v1/threads/t", 200, {**THREAD, "metadata": {**FULL, "a": "b"}}, HEADERS, "too many properties"),
    "unknown path": ("/v1/unknown", 200, THREAD, HEADERS, "nothing at this path"),
    "created": ("/v1/chat/completions/c", 200, {**THREAD, "id": "c"}, HEADERS, "'created' is a required property"),
    "a list without its end": (
        "/v1/threads/p/messages", 200, {**MESSAGE_LIST, "has_more": None}, HEADERS, "is not of type 'boolean'",
    ),
    "an empty list with ids": ("/v1/threads", 200, {**MESSAGE_LIST, "first_id": "t"}, HEADERS, "not of type 'null'"),
    "a list of other ids": (
        "/v1/threads", 200, {**MESSAGE_LIST, "data": [THREAD], "first_id": "t", "last_id": "u"}, HEADERS,
        "begins and ends",
    ),
    "a list of others": (
        "/v1/assistants", 200, {**MESSAGE_LIST, "data": [THREAD], "first_id": "t", "last_id": "t"}, HEADERS,
        "'assistant' was expected",
    ),
    "201": ("/v1/threads/t", 201, THREAD, HEADERS, "neither a 200 nor a refusal"),
    "no envelope": ("/v1/threads/t", 404, {"detail": "Not Found"}, HEADERS, "'error' is a required property"),
    "an envelope with more": ("/v1/threads/t", 404, envelope("x", status=1), HEADERS, "'status' was unexpected"),
    "a message of another id": (
        "/v1/threads/t", 404, envelope("No thread found with id 'x'."), HEADERS, "its words are",
    ),
    "a message of another kind": ("/v1/assistants/t", 404, MISSING, HEADERS, "its words are"),
    "a code with a 404": ("/v1/threads/t", 404, envelope("x", code="not_found"), HEADERS, "is not of type 'null'"),
    "the text of a limit": (
        "/v1/threads/t", 400, envelope("Too many.", "object_above_max_properties", "metadata"), HEADERS,
        "does not match",
    ),
    "the place of a limit": (
        "/v1/threads/t", 400,
        envelope(
            "Invalid 'metadata.k': string too long. Expected a string with maximum length 512, "
            "but got a string with length 513 instead.", "string_above_max_length", "metadata",
        ),
        HEADERS, "does not match",
    ),
    "the type of a 400": ("/v1/threads/t", 400, envelope("x", kind="server_error"), HEADERS, "was expected"),
    "another key refused": ("/v1/threads/t", 401, envelope("No."), HEADERS, "'invalid_api_key' was expected"),
    "a code for a 429": ("/v1/threads/t", 429, envelope("x", "slow", kind="requests"), HEADERS, "is not one of"),
    "an unserved path": ("/v1/unknown", 404, MISSING, HEADERS, "'detail' is a required property"),
}  # fmt: skip


@pytest.mark.parametrize(("target", "status", "content", "headers", "told"), WRONG.values(), ids=WRONG)
def test_a_wrong_answer_is_refused_for_its_one_fault(target, status, content, headers, told):
    judge = Judge()
    body = (content if isinstance(content, str) else json.dumps(content)).encode()
    judge.answer("GET", target, status, headers, body)
    assert any(told in each for each in judge.complaints), judge.complaints


@pytest.mark.parametrize(
    ("target", "status", "content"),
    [
        ("/v1/threads/t", 200, THREAD),
        ("/v1/threads/t", 404, MISSING),
        ("/v1/threads/t/messages/m", 404, MISSING),
        ("/v1/unknown", 404, {"detail": "Not Found"}),
        ("/v1/threads/t", 429, envelope("x", "rate_limit_exceeded", kind="requests")),
        ("/v1/threads/t", 503, envelope("x", "server_is_overloaded", kind="server_error")),
    ],
)
def test_a_right_answer_passes(target, status, content):
    judge = Judge()
    judge.answer("GET", target, status, HEADERS, json.dumps(content).encode())
    assert judge.complaints == []


@pytest.mark.parametrize(
    ("metadata", "right"), [({"a": 1}, True), ({**FULL, "a": {"deep": []}}, True), ([], False), (None, True)]
)
def test_where_odd_maps_are_held_the_rest_is_judged_all_the_same(metadata, right):
    odd = {**THREAD, "metadata": metadata}
    page = {**MESSAGE_LIST, "data": [odd], "first_id": "t", "last_id": "t"}
    for target, content in [("/v1/threads/t", odd), ("/v1/threads", page)]:
        judge = Judge(odd=True)
        judge.answer("GET", target, 200, HEADERS, json.dumps(content).encode())
        assert (judge.complaints == []) is right
    judge.answer("GET", "/v1/threads/t", 200, HEADERS, json.dumps({**odd, "surprise": 1}).encode())
    assert "surprise" in judge.complaints[-1]


def shown(kind):
    """Return an object of a kind as the emulator shows it."""
    store = MemoryStore()
    store.put(Ref(kind.name, "p/x" if kind.nested else "x"), Held(1, {"a": "b"}))
    path = f"/v1{kind.path.format(parent='p', id='x')}"
    return path, json.loads(handle(store, Request("GET", path), live_behaviour()).body)


@EVERY
def test_nothing_can_be_taken_from_an_object_or_put_into_it_unnoticed(kind):
    path, content = shown(kind)
    required = set(FILES[kind.name]["$defs"]["object"]["required"])
    changed = [{**content, "surprise": 1}, {**content, "object": "surprise"}, {**content, kind.field: {"a": []}}]
    changed += [{name: value for name, value in content.items() if name != gone} for gone in required]
    for each in [content, *changed]:
        judge = Judge()
        judge.answer("GET", path, 200, HEADERS, json.dumps(each).encode())
        assert bool(judge.complaints) is (each is not content), each


def test_a_bad_body_passes_only_where_it_is_refused_and_a_good_one_only_where_it_is_taken():
    for body, status, content, right in [
        (sent({"a": 1}), 200, THREAD, False),
        (sent({"a": 1}), 400, envelope("x", "invalid_type", "a"), True),
        (sent({"a": "b"}), 200, THREAD, True),
        (sent({"a": "b"}), 400, envelope("x", "invalid_type", "a"), False),
    ]:
        judge = Judge()
        judge.exchange("POST", "/v1/threads/t", WRITING, body, status, HEADERS, json.dumps(content).encode())
        assert (judge.complaints == []) is right, judge.complaints


# The descriptions, and the rows.


@pytest.mark.parametrize("name", FILES)
def test_every_file_is_a_schema_and_names_its_source(name):
    Draft202012Validator.check_schema(FILES[name])
    assert len(FILES[name]["$comment"]) > 40
    assert FILES[name]["$schema"] == Draft202012Validator.META_SCHEMA["$schema"]


@EVERY
def test_every_kind_describes_all_its_parts_by_examples_that_fit(kind):
    description = FILES[kind.name]
    assert tuple(description["$defs"]) == PARTS
    for example in description["$defs"]["create"]["examples"]:
        validator(kind.name, "create").validate(example)


def test_every_kind_has_a_description_and_every_description_a_kind():
    assert OPERATIONS.keys() == KINDS.keys()


@EVERY
def test_every_row_says_what_the_description_says(kind):
    operation, parts = OPERATIONS[kind.name], FILES[kind.name]["$defs"]
    update, shared = parts["update"], FILES["shared"]["$defs"]
    held = update["properties"][kind.field]["$ref"].rpartition("/")[2]
    assert kind.path == operation.path
    assert kind.collection == operation.collection
    assert dict(kind.headers) == ({"OpenAI-Beta": operation.beta} if operation.beta else {})
    assert kind.field == operation.field
    assert list(update["properties"]) == [kind.field]
    assert kind.required is (kind.field in update.get("required", ()))
    assert kind.nullable is held.endswith("_or_null")
    values = shared[held.removesuffix("_or_null")]["additionalProperties"]["type"]
    assert kind.scalars is (values == ["string", "number", "boolean"])
    assert (kind.object or kind.name) == parts["object"]["properties"]["object"]["const"]
    assert kind.parent == (operation.parent.kind if operation.parent else "")
    assert kind.not_found.format(noun=kind.noun, id="{id}") == operation.missing
    assert kind.filtered is operation.filter


@EVERY
def test_every_row_is_listed_where_the_description_says(kind):
    listed = OPERATIONS[kind.name].listed
    assert kind.nested is (listed == "parent")
    assert kind.listed is (listed != "foundry")
    openai, foundry = PROVIDERS["openai"], PROVIDERS["azure-foundry"]
    assert listing(kind, openai, "api.openai.com") is (Listing.NO if listed == "foundry" else Listing.YES)
    assert listing(kind, openai, "threads.example") is (Listing.UNTOLD if listed == "foundry" else Listing.YES)
    assert listing(kind, foundry, "x.services.ai.azure.com") is Listing.YES
