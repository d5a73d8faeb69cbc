from __future__ import annotations

import json

import pytest

from reconciler.cli.advice import advised
from reconciler.errors import ApiError, Problem, TargetRefused
from reconciler.gateway.answers import Answer
from reconciler.gateway.providers import PROVIDERS, Listing, listing
from reconciler.gateway.verdicts import Judge, retirement
from reconciler.kinds import KINDS
from reconciler.model import Missing, Observed, Ref, Unread

THREAD = Ref("thread", "thread_abc")
HERE = "threads.example"


def judge(kind="thread", host=HERE, secret="sk-123"):
    return Judge(KINDS[kind], host, secret)


def answer(body, status=200, **more):
    return Answer(status, body if isinstance(body, bytes) else json.dumps(body).encode(), **more)


def read(body, status=200, ref=THREAD, host=HERE, **more):
    return judge(ref.kind, host).reading(ref, answer(body, status, **more))


def write(body, status=200, ref=THREAD, host=HERE, **more):
    return judge(ref.kind, host).written(ref, answer(body, status, **more))


@pytest.mark.parametrize(
    ("body", "metadata"),
    [
        pytest.param({"id": "thread_abc", "metadata": {"a": "1", "b": None, "c": 2}}, {"a": "1", "c": 2}, id="a map"),
        pytest.param({"id": "thread_abc", "metadata": None}, {}, id="null is empty"),
        pytest.param({"id": "thread_abc"}, None, id="no field"),
        pytest.param({"metadata": {"a": "1"}}, {"a": "1"}, id="no id"),
        pytest.param({"id": 7, "metadata": {}}, {}, id="an id of another type"),
        pytest.param({"id": "THREAD_ABC", "metadata": {}}, {}, id="an id in another case"),
        pytest.param({"id": "thread_abc", "error": None}, None, id="a null error beside an object"),
        pytest.param(
            {"id": "thread_abc", "object": "thread", "message": "hi", "deleted": False}, None, id="words of an object"
        ),
        pytest.param({"id": "thread_abc", "created_at": 5, "detail": "x"}, None, id="a dated object"),
        pytest.param({"id": "thread_abc", "error": "of a tool", "metadata": {}}, {}, id="an error beside the field"),
        pytest.param({"id": "thread_abc", "metadata": {}, "metadata_": {}, "meta_data": "x"}, {}, id="empty namesakes"),
        pytest.param({"id": "thread_abc", "metadata": {"a": "1"}, "metaData": {"b": "2"}}, {"a": "1"}, id="namesakes"),
    ],
)
def test_a_readable_answer_is_observed(body, metadata):
    assert read(body) == Observed(metadata)


def test_an_observed_map_cannot_be_changed():
    observed = read({"metadata": {"a": "1"}})
    with pytest.raises(TypeError):
        observed.metadata["a"] = "2"


def test_the_field_is_the_one_of_the_kinds_row():
    ref = Ref("vector_store_file", "vs_1/file-1")
    assert read({"id": "file-1", "attributes": {"n": 1.5}, "metadata": {"x": "y"}}, ref=ref) == Observed({"n": 1.5})


def test_an_object_of_a_kind_that_has_an_error_of_its_own_is_no_complaint():
    body = {"id": "s1", "object": "agent.session", "created_at": 5, "error": {"message": "the run failed"}}
    assert read(body, ref=Ref("agent_session", "s1")) == Observed(None)


@pytest.mark.parametrize("name", ["msg_1", "thread_abc/msg_1"])
def test_an_object_below_a_parent_is_known_by_its_last_segment(name):
    assert read({"id": name, "metadata": {}}, ref=Ref("message", "thread_abc/msg_1")) == Observed({})


@pytest.mark.parametrize(
    ("body", "words"),
    [
        pytest.param(b"", "The answer is empty where a JSON object was expected.", id="empty"),
        pytest.param(b"<html><title>Sign in</title>", "The answer is an HTML page titled “Sign in” where", id="HTML"),
        pytest.param(b"garbage", "The answer is no JSON where", id="garbage"),
        pytest.param([], "The answer is JSON, but no object.", id="a list"),
        pytest.param({"metadata": []}, "The answer has a `metadata` that is no object.", id="a field of another type"),
        pytest.param({"id": "thread_x", "metadata": {}}, "about another object, thread_x", id="another object"),
        pytest.param({"thread_id": "thread_x", "metadata": {}}, "about another object, thread_x", id="of another name"),
        pytest.param({"object": "list", "data": [], "metadata": None}, "is a list", id="a list"),
        pytest.param(b'{"metadata": {"a": NaN}}', "holds NaN", id="NaN"),
        pytest.param(b'{"metadata": ' + b'{"a":' * 50_000, "nested too deeply", id="deep"),
        pytest.param({"error": {"message": "quota"}}, "an error in spite of its status: quota", id="an error as 200"),
        pytest.param(
            {"object": "error", "message": "maintenance", "id": None}, "its status: maintenance", id="an error's object"
        ),
        pytest.param(
            {"id": "thread_abc", "object": "error", "message": "busy"}, "its status: busy", id="the id of an error"
        ),
        pytest.param({"id": "thread_abc", "error": {"message": "busy"}}, "its status: busy", id="an error with the id"),
        pytest.param({"id": "thread_abc", "detail": "busy"}, "its status: busy", id="a detail with the id"),
        pytest.param(
            {"id": "thread_abc", "created_at": 1, "error": "busy"}, "its status: busy", id="an error with a date"
        ),
        pytest.param(
            {"id": None, "metadata": None, "error": {"message": "busy"}}, "its status: busy", id="an error with null"
        ),
        pytest.param(
            {"code": 404, "msg": "no such row", "metadata": {}}, "an error in spite of its status", id="msg with {}"
        ),
        pytest.param({"id": None}, "neither `id` nor `metadata`", id="null for an id"),
        pytest.param(
            {"id": "thread_abc", "object": "thread.deleted", "deleted": True}, "the thread is deleted", id="deleted"
        ),
        pytest.param(
            {"id": "thread_abc", "deleted": True, "metadata": {}}, "the thread is deleted", id="deleted and empty"
        ),
        pytest.param({"id": "thread_abc", "object": "thread.deleted"}, "the thread is deleted", id="deleted by name"),
        pytest.param(
            {"id": "thread_abc", "metadata": None, "meta_data": {"a": "1"}}, "pairs in `meta_data`", id="meta_data"
        ),
        pytest.param(
            {"id": "thread_abc", "metadata": {}, "metadata_": {"a": "1"}}, "pairs in `metadata_`", id="metadata_"
        ),
        pytest.param({"id": "thread_abc", "metaData": {"a": "1"}}, "in `metaData`, where they", id="metaData alone"),
        pytest.param({"id": "thread_abc", "\x1b[2JMetadata": {"a": "1"}, "Meta-Data": {"b": "1"}},
                     "in `Meta-Data`, where", id="other letters are another name"),
    ],
)  # fmt: skip
def test_an_unreadable_answer_is_unread_never_empty(body, words):
    reading = read(body, request_id="req_1")
    assert isinstance(reading, Unread)
    assert (reading.fault.code, reading.fault.status, reading.fault.request_id) == ("invalid_answer", 200, "req_1")
    assert words in reading.fault.message


STATUSES = [
    (302, "redirected"),
    (304, "redirected"),
    (400, "rejected"),
    (402, "rejected"),
    (408, "timeout"),
    (409, "rejected"),
    (413, "rejected"),
    (422, "rejected"),
    (429, "rate_limited"),
    (499, "rejected"),
    (500, "server_error"),
    (503, "server_error"),
    (599, "server_error"),
]


@pytest.mark.parametrize(("status", "code"), STATUSES)
def test_each_status_has_its_fault_when_reading(status, code):
    reading = read({"error": {"message": "so it is", "code": "why"}}, status)
    assert isinstance(reading, Unread)
    assert (reading.fault.code, reading.fault.status) == (code, status)


@pytest.mark.parametrize(("status", "code"), STATUSES)
def test_each_status_has_its_fault_when_writing(status, code):
    with pytest.raises(ApiError) as caught:
        write({"error": {"message": "so it is"}}, status)
    assert not isinstance(caught.value, TargetRefused)
    assert (caught.value.fault.code, caught.value.fault.status) == (code, status)


@pytest.mark.parametrize("act", [read, write])
@pytest.mark.parametrize(("status", "code"), [(401, "unauthorized"), (403, "forbidden")])
def test_a_refusal_is_one_of_the_target(act, status, code):
    with pytest.raises(TargetRefused, match="so it is") as caught:
        act({"error": {"message": "so it is"}}, status)
    assert caught.value.fault.code == code


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        pytest.param(
            {"error": {"message": "Too long.", "code": "string_above_max_length"}}, 400,
            "The API answered 400: Too long. [string_above_max_length]", id="with the code",
        ),
        pytest.param({"error": "code c here", "code": "c"}, 422, "The API answered 422: code c here", id="code said"),
        pytest.param(b"", 503, "The API answered 503: Service Unavailable", id="the phrase where there are no words"),
        pytest.param(b"", 599, "The API answered 599: without a word", id="no phrase either"),
        pytest.param({"error": "bad key sk-123"}, 400, "The API answered 400: bad key ***", id="without the secret"),
        pytest.param(b"a\x1b[2Jb\nc", 500, "The API answered 500: a [2Jb c", id="without control sequences"),
    ],
)  # fmt: skip
def test_a_fault_repeats_the_apis_words(body, status, message):
    assert read(body, status).fault.message == message


def test_a_request_id_is_shown_clean_and_without_the_secret():
    assert read(b"", 500, request_id="req\x1b_sk-123").fault.request_id == "req _***"
    assert read(b"", 500, request_id="\x00").fault.request_id is None


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("https://user:pw@Evil.example:8443/steal?token=1", "to evil.example, and"),
        ("/v2/threads", "elsewhere, and"),
        ("http://[broken", "elsewhere, and"),
        (None, "elsewhere, and"),
    ],
)
def test_a_redirect_names_only_the_host_it_points_to(location, words):
    message = read(b"", 307, location=location).fault.message
    assert message == f"The API redirects (307) {words} redirects are not followed."


UNSERVED = [
    pytest.param(b"", 404, "404 with an empty body", id="empty"),
    pytest.param(b" \n", 404, "404 with an empty body", id="blank"),
    pytest.param(b"<html><title>404</title>", 404, "404 with an HTML page titled “404”", id="HTML"),
    pytest.param({"detail": "Not Found"}, 404, "answered 404: Not Found", id="FastAPI"),
    pytest.param(b"404 page not found\n", 404, "404 page not found", id="Go"),
    pytest.param(b"404: Not Found", 404, "404: Not Found", id="aiohttp"),
    pytest.param({"error": {"message": "Invalid URL (GET /v1/x)"}}, 404, "Invalid URL (GET", id="OpenAI's router"),
    pytest.param({"detail": "Method Not Allowed"}, 405, "405, method not allowed", id="405"),
    pytest.param(b"", 410, "410 with an empty body", id="410"),
]


@pytest.mark.parametrize(("body", "status", "words"), UNSERVED)
def test_signs_of_an_unserved_path_make_a_read_unread(body, status, words):
    reading = read(body, status)
    assert isinstance(reading, Unread)
    assert (reading.fault.code, reading.fault.status) == ("unserved", status)
    assert "does not serve threads" in reading.fault.message
    assert words in reading.fault.message


@pytest.mark.parametrize(("body", "status", "words"), UNSERVED)
def test_signs_of_an_unserved_path_end_a_write_for_the_target(body, status, words):
    with pytest.raises(TargetRefused, match="does not serve threads") as caught:
        write(body, status)
    assert caught.value.fault.code == "unserved"


def test_a_retired_kind_is_unserved_whatever_its_404_says():
    fault = read({"error": {"message": "No thread found with id 'thread_abc'."}}, 404, host="api.openai.com").fault
    assert fault.code == "unserved"
    assert "api.openai.com retired them on 2026-08-26, its successor is conversation" in fault.message


def test_a_kind_that_is_not_retired_can_be_missing_at_the_same_host():
    ref = Ref("conversation", "conv_1")
    body = {"error": {"message": "Conversation with id 'conv_1' not found."}}
    assert isinstance(read(body, 404, ref=ref, host="api.openai.com"), Missing)


@pytest.mark.parametrize(
    ("ref", "body"),
    [
        pytest.param(THREAD, {"error": {"message": "No thread found with id 'thread_abc'."}}, id="OpenAI"),
        pytest.param(THREAD, {"detail": "Thread not found"}, id="the kind"),
        pytest.param(THREAD, {"detail": "Object 'thread_abc' is gone"}, id="the id"),
        pytest.param(THREAD, b"No thread found", id="plain text"),
        pytest.param(Ref("thread", "A-1"), {"error": "a-1"}, id="the id in another case"),
        pytest.param(Ref("chat_completion", "x"), {"error": "chat completion doesn't exist"}, id="a noun of two words"),
        pytest.param(Ref("message", "thread_abc/msg_1"), {"error": "thread_abc?"}, id="the parent"),
        pytest.param(Ref("conversation", "c"), {"detail": "Conversation 'c' not found."}, id="conversation"),
    ],
)
def test_a_404_that_names_the_object_says_that_it_is_missing(ref, body):
    reading = read(body, 404, ref=ref, request_id="req_9")
    assert isinstance(reading, Missing)
    assert (reading.fault.code, reading.fault.status, reading.fault.request_id) == ("missing", 404, "req_9")
    assert reading.fault.message.startswith(f"The API knows no such {KINDS[ref.kind].noun}: ")


@pytest.mark.parametrize(
    ("ref", "body"),
    [
        pytest.param(THREAD, {"error": "not found"}, id="a bare error"),
        pytest.param(THREAD, {"error": {"code": "404", "message": "Resource not found"}}, id="Azure"),
        pytest.param(THREAD, {"detail": "Not Found", "path": "/x"}, id="almost FastAPI"),
        pytest.param(Ref("thread", "not"), {"error": "nothing found"}, id="an id inside a word"),
        pytest.param(THREAD, b"no route", id="plain text"),
        pytest.param(THREAD, {}, id="an empty object"),
    ],
)
def test_a_404_that_tells_nothing_is_missing_and_says_so(ref, body):
    reading = read(body, 404, ref=ref)
    assert isinstance(reading, Missing)
    assert "404, the answer does not tell whether the path or the thread is missing: " in reading.fault.message


def test_a_write_to_a_missing_object_fails_for_it_alone():
    with pytest.raises(ApiError) as caught:
        write({"error": {"message": "No thread found with id 'thread_abc'."}}, 404)
    assert caught.value.fault.code == "missing"
    assert not isinstance(caught.value, TargetRefused)


@pytest.mark.parametrize(
    ("body", "metadata"),
    [
        pytest.param({"id": "thread_abc", "metadata": {"a": "1"}}, {"a": "1"}, id="a map"),
        pytest.param({"id": "thread_abc", "metadata": None}, {}, id="null is empty"),
        pytest.param({"id": "thread_abc"}, None, id="missing"),
        pytest.param({"id": "thread_abc", "meta_data": {"a": "1"}}, None, id="misnamed"),
        pytest.param({"id": "thread_abc", "metadata": {}, "metadata_": {"a": "1"}}, None, id="misnamed beside empty"),
        pytest.param({"id": "thread_abc", "deleted": True, "metadata": {}}, None, id="deleted"),
        pytest.param({"id": "thread_abc", "metadata": "a=1"}, None, id="no object"),
        pytest.param({"id": "thread_other", "metadata": {"a": "1"}}, None, id="another object"),
        pytest.param([], None, id="a list"),
        pytest.param(b"", None, id="empty"),
        pytest.param(b"<html>", None, id="HTML"),
        pytest.param(b"OK", None, id="no JSON"),
    ],
)
def test_a_write_is_judged_by_its_answers_map_or_not_at_all(body, metadata):
    assert write(body) == Observed(metadata)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_judged_by_its_row(kind):
    row = KINDS[kind]
    ref = Ref(kind, "p/c" if row.nested else "c")
    assert read({"id": "c", row.field: {"k": "v"}}, ref=ref) == Observed({"k": "v"})
    assert read({"error": f"{row.noun} not found"}, 404, ref=ref).fault.code == "missing"
    assert f"does not serve {row.plural}" in read(b"", 404, ref=ref).fault.message


SPENT = {"error": {"message": "You exceeded your quota.", "type": "requests", "code": "insufficient_quota"}}
LONG_KEY = "sk-0123456789abcdefghij"


@pytest.mark.parametrize("act", [read, write])
def test_a_429_that_no_waiting_cures_is_a_refusal(act):
    with pytest.raises(TargetRefused, match="You exceeded your quota") as caught:
        act(SPENT, 429, spent=True)
    assert (caught.value.fault.code, caught.value.fault.status) == ("out_of_quota", 429)


def test_a_429_of_which_the_server_says_that_it_passes_is_none():
    assert read(SPENT, 429).fault.code == "rate_limited"


def test_the_same_words_with_another_status_are_no_refusal():
    assert read(SPENT, 400).fault.code == "rejected"


@pytest.mark.parametrize("status", [200, 201])
def test_a_map_with_our_own_credential_is_neither_read_nor_taken_for_written(status):
    judge_of_ours = judge(secret=LONG_KEY)
    given = answer({"id": "thread_abc", "metadata": {"a": {"b": [LONG_KEY]}}}, status, request_id="req_1")
    reading = judge_of_ours.reading(THREAD, given)
    with pytest.raises(ApiError) as caught:
        judge_of_ours.written(THREAD, given)
    assert reading.fault == caught.value.fault
    assert (reading.fault.code, reading.fault.status, reading.fault.request_id) == (
        "credential_echoed",
        status,
        "req_1",
    )
    assert LONG_KEY not in reading.fault.message


def test_a_map_without_it_is_observed_with_a_long_credential_too():
    held = {"a": "b\\c", "n": {"deep": ["x"]}}
    assert judge(secret=LONG_KEY).reading(THREAD, answer({"metadata": held})) == Observed(held)


# --- retired kinds ----------------------------------------------------------------------------------------------------

RETIRED = [name for name, kind in KINDS.items() if kind.retired]


@pytest.mark.parametrize("name", RETIRED)
def test_a_retired_kind_is_told_with_all_the_ways_on(name):
    kind = KINDS[name]
    fault = retirement(kind, "api.openai.com")
    assert (fault.code, fault.status) == ("unserved", None)
    ways = (kind.plural, kind.retired, kind.successor, "Azure AI Foundry (classic)", "2027-03-31", "azure-foundry")
    assert [way for way in (*ways, "compatible servers") if way not in fault.message] == []
    assert ("`reconciler migrate`" in fault.message) is (kind.successor == "conversation")
    advised_problem = advised(Problem(fault.code, fault.message))
    assert advised_problem.message == fault.message  # it says itself what to do, and that no URL is wrong
    assert advised(Problem("unserved", f"The server does not serve it: {fault.message}")).message != fault.message


def test_kinds_with_the_same_way_on_share_a_sentence():
    told = {name: retirement(KINDS[name], "api.openai.com") for name in RETIRED}
    assert told["thread"] == told["message"] == told["run"] != told["assistant"]
    assert "retired threads, messages and runs on" in told["thread"].message


@pytest.mark.parametrize("host", ["api.openai.com.", "eu.api.openai.com", "EU.api.openai.com."])
def test_the_vendor_is_known_by_its_regions_and_with_the_dot_of_the_root(host):
    assert f"{host.removesuffix('.')} retired threads" in retirement(KINDS["thread"], host).message
    assert listing(KINDS["thread"], PROVIDERS["openai"], host) is Listing.NO
    assert retirement(KINDS["thread"], "api.openai.com.example") is None
    assert retirement(KINDS["thread"], "notapi.openai.com") is None


@pytest.mark.parametrize("name", KINDS)
def test_nothing_is_retired_elsewhere_nor_what_is_served(name):
    assert retirement(KINDS[name], "threads.example") is None
    assert (retirement(KINDS[name], "api.openai.com") is None) is (KINDS[name].retired is None)
