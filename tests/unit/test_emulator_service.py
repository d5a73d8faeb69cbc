"""The emulated API: every kind, every dialect, every limit, every error text.

Each answer is held against the published API.
"""

from __future__ import annotations

import json
from itertools import count

import pytest
from api.judge import Judge
from hypothesis import given
from hypothesis import strategies as st

from reconciler.dialects import AUTO, MERGE, MERGE_EMPTY, MERGE_NULL, PROBE_NULL, REPLACE
from reconciler.emulator.service import Behaviour, Held, Request, Response, handle, seed
from reconciler.emulator.shapes import SHAPES
from reconciler.emulator.store import MemoryStore
from reconciler.kinds import KINDS
from reconciler.model import Ref

DIALECTS = (REPLACE, MERGE, MERGE_NULL, MERGE_EMPTY)
BY_NAME = pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
IN_EACH = pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
PATH = "/v1/threads/thread_a"
FULL = {f"key{number}": "value" for number in range(16)}


class Api:
    """The service with a store, a clock that stands still, and tokens that count."""

    def __init__(self, dialect=None, key=None):
        numbers = count(1)
        writes = dict.fromkeys(KINDS, dialect) if dialect else {}
        self.behaviour = Behaviour(lambda: 1_700_000_000, lambda: f"token{next(numbers)}", writes, key)
        self.store = MemoryStore()

    def hold(self, kind, own, **pairs):
        self.store.put(Ref(kind, own), Held(5, pairs))
        return self

    def call(self, method, target, body=None, raw=None, **headers) -> Response:
        content = raw if raw is not None else (b"" if body is None else json.dumps(body).encode())
        answer = handle(self.store, Request.aimed(method, target, headers, content), self.behaviour)
        judge = Judge()
        judge.answer(method, target, answer.status, answer.headers, answer.body)
        judge.verdict()
        return answer

    def post(self, target, body) -> Response:
        return self.call("POST", target, body)

    def pairs(self, kind="thread", own="thread_a"):
        return self.store.get(Ref(kind, own)).pairs


def content(response):
    return json.loads(response.body)


def message(response):
    return content(response)["error"]["message"]


def path_of(kind, own="x-1", parent="p-1"):
    return "/v1" + kind.path.format(id=own, parent=parent)


def id_of(kind, own="x-1", parent="p-1"):
    return f"{parent}/{own}" if kind.nested else own


# Every kind.


@BY_NAME
def test_every_kind_is_read_as_its_row_says(kind):
    api = Api().hold(kind.name, id_of(kind), team="support")
    response = api.call("GET", path_of(kind))
    shown = content(response)
    assert response.status == 200
    assert shown["id"] == "x-1"
    assert shown["object"] == (kind.object or kind.name)
    assert shown[SHAPES[kind.name].created] == 5
    assert shown[kind.field] == {"team": "support"}


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("message", "thread_id"),
        ("run", "thread_id"),
        ("vector_store_file", "vector_store_id"),
        ("vault_credential", "vault_id"),
    ],
)
def test_a_nested_object_names_its_parent(kind, name):
    api = Api().hold(kind, "p-1/x-1")
    assert content(api.call("GET", path_of(KINDS[kind])))[name] == "p-1"


@BY_NAME
def test_every_kind_is_updated_and_answers_with_the_map_it_now_holds(kind):
    api = Api().hold(kind.name, id_of(kind))
    response = api.post(path_of(kind), {kind.field: {"team": "support"}})
    assert response.status == 200
    assert content(response)[kind.field] == {"team": "support"}
    assert api.pairs(kind.name, id_of(kind)) == {"team": "support"}


@BY_NAME
def test_every_kind_is_deleted_once_and_then_missing(kind):
    api = Api().hold(kind.name, id_of(kind))
    deleted = content(api.call("DELETE", path_of(kind)))
    assert deleted == {
        SHAPES[kind.name].deleted_id: "x-1",
        "object": f"{kind.object or kind.name}.deleted",
        "deleted": True,
    }
    assert api.call("GET", path_of(kind)).status == 404
    assert api.call("DELETE", path_of(kind)).status == 404
    assert api.post(path_of(kind), {kind.field: {}}).status == 404


@BY_NAME
def test_every_kind_is_created_with_an_id_that_its_prefix_begins(kind):
    api = Api()
    collection = "/v1" + kind.collection.format(parent="p-1")
    made = content(api.call("POST", collection, {kind.field: {"a": "b"}, "model": "any"}))
    assert made["id"] == f"{kind.prefix}token1"
    assert made[SHAPES[kind.name].created] == 1_700_000_000
    assert content(api.call("GET", f"{collection}/{made['id']}"))[kind.field] == {"a": "b"}


@BY_NAME
def test_every_kind_is_listed(kind):
    api = Api().hold(kind.name, id_of(kind))
    listed = content(api.call("GET", "/v1" + kind.collection.format(parent="p-1")))
    assert [shown["id"] for shown in listed["data"]] == ["x-1"]


@BY_NAME
def test_an_unknown_id_is_missing_and_the_message_names_it(kind):
    own = f"{kind.prefix}none"
    response = Api().call("GET", path_of(kind, own))
    expected = (
        f"Conversation with id '{own}' not found."
        if kind.name == "conversation"
        else f"No {kind.noun} found with id '{own}'."
    )
    assert response.status == 404
    assert content(response)["error"] == {
        "message": expected,
        "type": "invalid_request_error",
        "param": None,
        "code": None,
    }


def test_something_is_created_without_a_body():
    assert content(Api().call("POST", "/v1/threads"))["metadata"] == {}


def test_what_is_created_obeys_the_limits():
    assert Api().post("/v1/threads", {"metadata": {"k": 1}}).status == 400


def test_an_id_without_the_usual_prefix_is_served_if_it_is_held():
    api = Api().hold("thread", "0b5c-any.thing:1")
    assert api.call("GET", "/v1/threads/0b5c-any.thing%3A1").status == 200


@pytest.mark.parametrize("own", ["a%2Fb", "..", ".", "%20", "%00", "%ff", "ü"])
def test_an_id_with_an_unsafe_character_is_missing(own):
    response = Api().hold("message", "a/b").call("GET", f"/v1/threads/thread_{own}")
    assert response.status == 404
    assert "No thread found" in message(response)


def test_an_id_that_does_not_begin_like_the_vendors_is_malformed_unless_it_was_ever_held():
    api = Api().hold("thread", "held").hold("thread", "gone")
    api.call("DELETE", "/v1/threads/gone")
    response = api.call("GET", "/v1/threads/x")
    assert response.status == 400
    assert message(response) == "Invalid 'thread_id': 'x'. Expected an ID that begins with 'thread'."
    assert [api.call("GET", f"/v1/threads/{own}").status for own in ("held", "gone", "..")] == [200, 404, 400]


def test_an_escaped_slash_does_not_lead_to_the_child_of_another_object():
    api = Api().hold("message", "a/b/c")
    assert api.call("GET", "/v1/threads/a%2Fb/messages/c").status == 404


def test_a_deleted_parent_takes_its_children_with_it():
    api = Api().hold("thread", "t").hold("message", "t/m")
    assert api.call("GET", "/v1/threads/t/messages/m").status == 200
    api.call("DELETE", "/v1/threads/t")
    assert message(api.call("GET", "/v1/threads/t/messages/m")) == "No thread found with id 't'."
    assert api.call("GET", "/v1/threads/t/messages").status == 404
    assert api.post("/v1/threads/t/messages", {}).status == 404


def test_a_parent_that_was_never_held_is_no_obstacle():
    assert Api().hold("message", "t/m").call("GET", "/v1/threads/t/messages/m").status == 200


def test_a_literal_path_beats_one_with_an_id():
    api = Api().hold("agent", "sessions")
    assert content(api.call("GET", "/v1/agents/sessions"))["object"] == "list"


def test_a_seed_creates_what_was_never_held_and_leaves_the_rest():
    api = Api().hold("thread", "held", a="b").hold("thread", "gone")
    api.call("DELETE", "/v1/threads/gone")
    seed(api.store, [Ref("thread", "held"), Ref("thread", "gone"), Ref("thread", "new")], api.behaviour)
    assert api.pairs(own="held") == {"a": "b"}
    assert api.call("GET", "/v1/threads/gone").status == 404
    assert content(api.call("GET", "/v1/threads/new")) == {
        "id": "new",
        "object": "thread",
        "created_at": 1_700_000_000,
        "tool_resources": None,
        "metadata": {},
    }


def test_every_kind_has_a_shape_and_shows_nothing_of_it_twice():
    assert SHAPES.keys() == KINDS.keys()
    for kind in KINDS.values():
        shape = SHAPES[kind.name]
        own = {"id", "object", f"{kind.parent}_id", kind.field, shape.created}
        assert not own & {*shape.properties, *shape.times}
        assert not set(shape.times) & set(shape.properties)


@BY_NAME
def test_the_same_object_is_shown_the_same_each_time(kind):
    shown = [Api().hold(kind.name, id_of(kind), a="b").call("GET", path_of(kind)).body for _ in range(2)]
    assert shown[0] == shown[1]


# Paths, methods, headers, keys.


@pytest.mark.parametrize(
    "target",
    ["/", "/v1", "/v1/", "/v1/unknown", "/v1/threads/", "/v1/threads/a/", "/v2/threads/a", "/x/v1/threads/a",
     "/v1/threads/a/messages/b/c", "/v1//threads/a", "//v1/threads/a", "*"],
)  # fmt: skip
def test_a_path_that_is_not_served_answers_like_a_web_framework(target):
    response = Api().hold("thread", "a").call("GET", target)
    assert response.status == 404
    assert content(response) == {"detail": "Not Found"}


@pytest.mark.parametrize(
    ("method", "target", "allowed"),
    [("PUT", PATH, "GET, POST, DELETE"), ("PATCH", PATH, "GET, POST, DELETE"), ("DELETE", "/v1/threads", "GET, POST")],
)
def test_a_method_that_is_not_served_is_refused_with_those_that_are(method, target, allowed):
    response = Api().call(method, target)
    assert response.status == 405
    assert response.headers["allow"] == allowed


def test_every_answer_is_json_with_a_request_id_of_its_own():
    api = Api().hold("thread", "thread_a")
    answers = [api.call("GET", target) for target in (PATH, PATH, "/v1/none", "/v1/threads/none")]
    assert {answer.headers["content-type"] for answer in answers} == {"application/json"}
    ids = [answer.headers["x-request-id"] for answer in answers]
    assert ids == ["req_token1", "req_token2", "req_token3", "req_token4"]


KEY = "sk-secret-0123456789-wxyz"


@pytest.mark.parametrize("sent", [f"Bearer {KEY}", f"bearer {KEY}", f"Bearer  {KEY} "])
def test_the_right_key_is_let_in(sent):
    assert Api(key=KEY).hold("thread", "thread_a").call("GET", PATH, Authorization=sent).status == 200


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("Bearer sk-other-0123456789-abcd", "sk-***abcd"),
        ("Bearer short", "***"),
        ("Bearer", "***"),
        (f"Basic {KEY}", "sk-***wxyz"),
        (None, "***"),
    ],
)
def test_a_wrong_key_is_refused_and_never_repeated(sent, shown):
    headers = {} if sent is None else {"Authorization": sent}
    response = Api(key=KEY).hold("thread", "thread_a").call("GET", PATH, **headers)
    assert response.status == 401
    assert content(response)["error"]["code"] == "invalid_api_key"
    assert message(response) == f"Incorrect API key provided: {shown}."


def test_a_behaviour_does_not_show_its_key():
    assert KEY not in repr(Api(key=KEY).behaviour)


# Bodies.


@pytest.mark.parametrize(
    "raw",
    [b"", b"{", b"metadata", b'{"metadata": NaN}', b'{"metadata": {"k": 1e999}}', b"\xff", b"[" * 100_000,
     b'\xef\xbb\xbf{"metadata": {}}', b'{"metadata": Infinity}'],
    ids=["empty", "cut", "word", "nan", "overflow", "not-utf8", "deep", "bom", "infinity"],
)  # fmt: skip
def test_a_body_that_is_no_json_is_refused(raw):
    response = Api().hold("thread", "thread_a").call("POST", PATH, raw=raw)
    assert response.status == 400
    assert "JSON" in message(response)


@pytest.mark.parametrize(
    ("body", "got"), [([], "an array"), ("x", "a string"), (None, "null"), (1, "an integer"), (True, "a boolean")]
)
def test_a_body_that_is_no_object_is_refused(body, got):
    response = Api().hold("thread", "thread_a").call("POST", PATH, raw=json.dumps(body).encode())
    assert response.status == 400
    assert message(response) == f"Invalid type for the body: expected an object, but got {got} instead."


@BY_NAME
def test_an_unknown_property_is_refused(kind):
    response = Api().hold(kind.name, id_of(kind), a="b").post(path_of(kind), {kind.field: {}, "title": "x"})
    assert response.status == 400
    assert content(response)["error"] == {
        "message": "Unknown parameter: 'title'.",
        "type": "invalid_request_error",
        "param": "title",
        "code": "unknown_parameter",
    }


@BY_NAME
def test_a_missing_field_is_refused_where_it_is_required_and_else_changes_nothing(kind):
    api = Api().hold(kind.name, id_of(kind), a="b")
    response = api.post(path_of(kind), {})
    assert response.status == (400 if kind.required else 200)
    assert api.pairs(kind.name, id_of(kind)) == {"a": "b"}
    if kind.required:
        assert content(response)["error"]["code"] == "missing_required_parameter"


@BY_NAME
@IN_EACH
def test_a_null_field_is_refused_or_clears_or_changes_nothing(kind, dialect):
    api = Api(dialect).hold(kind.name, id_of(kind), a="b")
    response = api.post(path_of(kind), {kind.field: None})
    assert response.status == (200 if kind.nullable else 400)
    assert api.pairs(kind.name, id_of(kind)) == ({} if kind.nullable and dialect is REPLACE else {"a": "b"})
    if not kind.nullable:
        assert message(response) == f"Invalid type for '{kind.field}': expected an object, but got null instead."


@pytest.mark.parametrize(("sent", "got"), [("x", "a string"), ([], "an array"), (1.5, "a decimal number")])
@IN_EACH
def test_a_field_that_is_no_object_is_refused(sent, got, dialect):
    api = Api(dialect).hold("thread", "thread_a", a="b")
    response = api.post(PATH, {"metadata": sent})
    assert response.status == 400
    assert message(response) == f"Invalid type for 'metadata': expected an object, but got {got} instead."
    assert api.pairs() == {"a": "b"}


# Limits.

TOO_LONG_KEY = "k" * 65
LIMITS = {
    "17-pairs": (
        {**FULL, "more": "x"},
        (
            "Invalid 'metadata': too many properties. Expected an object with at most 16 properties, "
            "but got an object with 17 properties instead."
        ),
        "object_above_max_properties",
        "metadata",
    ),
    "long-value": (
        {"k": "v" * 695},
        (
            "Invalid 'metadata.k': string too long. Expected a string with maximum length 512, "
            "but got a string with length 695 instead."
        ),
        "string_above_max_length",
        "metadata.k",
    ),
    "long-value-in-code-points": (
        {"k": "😀" * 513},
        (
            "Invalid 'metadata.k': string too long. Expected a string with maximum length 512, "
            "but got a string with length 513 instead."
        ),
        "string_above_max_length",
        "metadata.k",
    ),
    "long-key": (
        {TOO_LONG_KEY: "v"},
        (
            f"Invalid property name in 'metadata': '{TOO_LONG_KEY}' is too long. "
            "Expected a string with maximum length 64, but got a string with length 65 instead."
        ),
        "property_name_above_max_length",
        "metadata",
    ),
    **{
        f"value-{name}": (
            {"k": value},
            f"Invalid type for 'metadata.k': expected a string, but got {name} instead.",
            "invalid_type",
            "metadata.k",
        )
        for name, value in {
            "a boolean": True,
            "an integer": 7,
            "a decimal number": 7.0,
            "an array": ["x"],
            "an object": {"x": "y"},
        }.items()
    },
}


@pytest.mark.parametrize(("sent", "text", "code", "param"), LIMITS.values(), ids=LIMITS)
@IN_EACH
def test_each_limit_is_refused_with_its_text_and_nothing_is_written(sent, text, code, param, dialect):
    api = Api(dialect).hold("thread", "thread_a", a="b")
    response = api.post(PATH, {"metadata": sent})
    assert response.status == 400
    assert content(response)["error"] == {
        "message": text,
        "type": "invalid_request_error",
        "param": param,
        "code": code,
    }
    assert api.pairs() == {"a": "b"}


@pytest.mark.parametrize(
    "sent",
    [FULL, {"k": "v" * 512}, {"k": "😀" * 512}, {"k" * 64: "v"}, {"": "v"}, {"k": "\u0000\ud800"}],
    ids=["16-pairs", "512", "512-astral", "64", "empty-key", "odd-characters"],
)
@IN_EACH
def test_what_just_keeps_the_limits_is_stored_as_it_is(sent, dialect):
    api = Api(dialect).hold("thread", "thread_a")
    assert content(api.post(PATH, {"metadata": sent}))["metadata"] == sent
    assert api.pairs() == sent


@pytest.mark.parametrize("dialect", [MERGE, MERGE_NULL, MERGE_EMPTY], ids=lambda dialect: dialect.name)
def test_merging_counts_the_pairs_that_would_be_there_afterwards(dialect):
    api = Api(dialect).hold("thread", "thread_a", **FULL)
    response = api.post(PATH, {"metadata": {"more": "x"}})
    assert "got an object with 17 properties" in message(response)
    assert api.pairs() == FULL


@pytest.mark.parametrize(("dialect", "removing"), [(MERGE_NULL, None), (MERGE_EMPTY, "")], ids=["null", "empty"])
def test_a_removal_makes_room_in_the_same_call(dialect, removing):
    api = Api(dialect).hold("thread", "thread_a", **FULL)
    assert api.post(PATH, {"metadata": {"key0": removing, "more": "x"}}).status == 200
    assert len(api.pairs()) == 16


def test_removals_count_among_the_entries_of_a_call():
    api = Api(MERGE_NULL).hold("thread", "thread_a")
    assert api.post(PATH, {"metadata": {f"key{number}": None for number in range(17)}}).status == 400


def test_replacing_counts_only_what_is_sent():
    api = Api(REPLACE).hold("thread", "thread_a", **FULL)
    assert api.post(PATH, {"metadata": {"more": "x"}}).status == 200
    assert api.pairs() == {"more": "x"}


# Dialects.


@pytest.mark.parametrize(
    ("dialect", "status", "left"),
    [
        (REPLACE, 400, {"a": "1", "b": "2"}),
        (MERGE, 400, {"a": "1", "b": "2"}),
        (MERGE_NULL, 200, {"b": "2"}),
        (MERGE_EMPTY, 400, {"a": "1", "b": "2"}),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_null_removes_a_key_in_one_dialect_only(dialect, status, left):
    api = Api(dialect).hold("thread", "thread_a", a="1", b="2")
    response = api.post(PATH, {"metadata": {"a": None, "never": None}})
    assert response.status == status
    assert api.pairs() == left
    if status == 400:
        assert message(response) == "Invalid type for 'metadata.a': expected a string, but got null instead."


@pytest.mark.parametrize(
    ("dialect", "left"),
    [
        (REPLACE, {"a": ""}),
        (MERGE, {"a": "", "b": "2"}),
        (MERGE_NULL, {"a": "", "b": "2"}),
        (MERGE_EMPTY, {"b": "2"}),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_the_empty_string_removes_a_key_in_one_dialect_only(dialect, left):
    api = Api(dialect).hold("thread", "thread_a", a="1", b="2")
    assert api.post(PATH, {"metadata": {"a": ""}}).status == 200
    assert api.pairs() == left


@pytest.mark.parametrize("told", [None, AUTO, PROBE_NULL], ids=["none", "auto", "probe"])
@BY_NAME
def test_a_kind_that_is_told_no_settled_dialect_is_written_as_its_row_says_or_merges(kind, told):
    expected = kind.writes if kind.writes.settled else MERGE
    assert Api(told).behaviour.dialect(kind) == expected


@pytest.mark.parametrize(
    ("value", "status"),
    [(True, 200), (7, 200), (7.5, 200), ("x", 200), ("v" * 513, 400), ([], 400), ({}, 400), (None, 400)],
)
def test_attributes_take_strings_numbers_and_booleans(value, status):
    api = Api().hold("vector_store_file", "vs/f")
    response = api.post("/v1/vector_stores/vs/files/f", {"attributes": {"k": value}})
    assert response.status == status
    if status == 200:
        assert api.pairs("vector_store_file", "vs/f") == {"k": value}
        assert type(content(response)["attributes"]["k"]) is type(value)


def test_a_value_of_another_type_among_attributes_says_what_they_take():
    api = Api().hold("vector_store_file", "vs/f")
    response = api.post("/v1/vector_stores/vs/files/f", {"attributes": {"k": []}})
    expected = "Invalid type for 'attributes.k': expected a string, number or boolean, but got an array instead."
    assert message(response) == expected


def modelled(dialect, held, sent):
    """Return what an update leaves, in plain words: the oracle of the law below."""
    if dialect is REPLACE:
        return dict(sent)
    left = {**held, **sent}
    gone = {MERGE: object(), MERGE_NULL: None, MERGE_EMPTY: ""}[dialect]
    return {key: value for key, value in left.items() if value != gone}


KEYS = st.sampled_from([f"k{number}" for number in range(12)])
VALUES = st.text(max_size=4)


@given(
    dialect=st.sampled_from(DIALECTS),
    held=st.dictionaries(KEYS, VALUES.filter(bool)),
    calls=st.lists(st.dictionaries(KEYS, VALUES | st.none()), max_size=5),
)
def test_in_every_dialect_the_stored_map_is_that_of_a_plain_model(dialect, held, calls):
    api = Api(dialect).hold("thread", "thread_a", **held)
    for sent in calls:
        refused = None in sent.values() and dialect is not MERGE_NULL
        response = api.post(PATH, {"metadata": sent})
        held = held if refused else modelled(dialect, held, sent)
        assert response.status == (400 if refused else 200)
        assert api.pairs() == held
        assert content(api.call("GET", PATH))["metadata"] == held


# Lists.


@pytest.fixture
def listing():
    api = Api()
    for number in range(1, 8):
        api.hold("thread", f"t{number}").hold("message", f"t1/m{number}")
    return api


@pytest.mark.parametrize(
    ("query", "ids", "more"),
    [
        ("", "7654321", False),
        ("?order=desc", "7654321", False),
        ("?order=asc", "1234567", False),
        ("?limit=3", "765", True),
        ("?limit=7", "7654321", False),
        ("?limit=3&order=asc&after=t2", "345", True),
        ("?limit=3&after=t3", "21", False),
        ("?after=t1", "", False),
        ("?limit=2&order=asc&before=t5", "34", True),
        ("?limit=2&before=t5", "76", False),
        ("?limit=9&order=asc&after=t2&before=t6", "345", False),
        ("?limit=2&order=asc&after=t2&before=t6", "34", True),
        ("?limit=9&after=t6&before=t2", "543", False),
    ],
)
def test_a_list_is_cut_into_pages(listing, query, ids, more):
    listed = content(listing.call("GET", f"/v1/threads{query}"))
    names = [f"t{number}" for number in ids]
    assert [shown["id"] for shown in listed["data"]] == names
    assert listed["has_more"] is more
    assert listed["object"] == "list"
    assert listed["first_id"] == (names[0] if names else None)
    assert listed["last_id"] == (names[-1] if names else None)


def test_a_page_holds_twenty_unless_told_otherwise_and_a_hundred_at_most():
    api = Api()
    for number in range(120):
        api.hold("thread", f"t{number}")
    assert len(content(api.call("GET", "/v1/threads"))["data"]) == 20
    assert len(content(api.call("GET", "/v1/threads?limit=100"))["data"]) == 100


def test_a_nested_list_has_the_children_of_one_parent(listing):
    listing.hold("message", "t2/other")
    listed = content(listing.call("GET", "/v1/threads/t1/messages?after=m3"))
    assert [shown["id"] for shown in listed["data"]] == ["m2", "m1"]
    assert {shown["thread_id"] for shown in listed["data"]} == {"t1"}


def test_a_deleted_object_leaves_the_list_and_stays_a_cursor(listing):
    listing.call("DELETE", "/v1/threads/t4")
    listed = content(listing.call("GET", "/v1/threads?after=t4"))
    assert [shown["id"] for shown in listed["data"]] == ["t3", "t2", "t1"]
    assert len(content(listing.call("GET", "/v1/threads"))["data"]) == 6


@pytest.mark.parametrize(
    ("query", "code", "param"),
    [
        ("limit=0", "integer_below_min_value", "limit"),
        ("limit=-1", "integer_below_min_value", "limit"),
        ("limit=101", "integer_above_max_value", "limit"),
        ("limit=many", "invalid_type", "limit"),
        ("limit=", "invalid_type", "limit"),
        ("order=up", "invalid_value", "order"),
        ("after=none", "invalid_value", "after"),
        ("before=none", "invalid_value", "before"),
        ("after=", "invalid_value", "after"),
        ("metadata[k]=v", "unknown_parameter", "metadata[k]"),
    ],
)
def test_a_list_refuses_what_it_does_not_understand(listing, query, code, param):
    response = listing.call("GET", f"/v1/threads?{query}")
    assert response.status == 400
    assert content(response)["error"]["code"] == code
    assert content(response)["error"]["param"] == param
