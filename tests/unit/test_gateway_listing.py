"""What a page of a list means, from servers that nobody here wrote: hostile pages as cases."""

import asyncio
import json

import httpx
import pytest
from pydantic import SecretStr

from reconciler.errors import ApiError, InvalidInput, TargetRefused
from reconciler.gateway.client import Connection, open_gateway
from reconciler.gateway.listing import LONGEST_CURSOR, LONGEST_ID, MOST, USUAL
from reconciler.gateway.providers import PROVIDERS, filters
from reconciler.gateway.transport import Surroundings
from reconciler.kinds import KINDS
from reconciler.manifest import notation, writer
from reconciler.model import Ref

BASE = "https://api.example/v1"
SECRET = "sk-a-credential-of-some-length"


async def no_sleep(_seconds):
    await asyncio.sleep(0)


class Server:
    """Answers with each of some responses in turn, the last one again and again, and remembers what was asked."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.targets = []

    def __call__(self, request):
        self.targets.append(request.extensions["target"].decode())
        given = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return httpx.Response(given.status_code, headers=given.headers, content=given.content)


def asked(server, kind="thread", parent="", *, base=BASE, provider="openai", times=1, **how):
    """Return the page that a gateway makes of what a server answers, the last of some."""

    async def run():
        to = Connection(PROVIDERS[provider], base, SecretStr(SECRET))
        around = Surroundings(lambda: 0.0, lambda: 0.0, no_sleep, lambda: 0.0)
        async with open_gateway(to, transport=httpx.MockTransport(server), around=around) as gateway:
            for _ in range(times - 1):
                await gateway.page(kind, parent, **how)
            return await gateway.page(kind, parent, **how)

    return asyncio.run(run())


def page_of(body, kind="thread", parent="", **how):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return asked(Server(httpx.Response(200, content=content)), kind, parent, **how)


def thread(own, **more):
    return {"id": own, "object": "thread", "metadata": {"a": "1"}, **more}


def ids(page):
    return [ref.id for ref, _ in page.found]


# --- what is asked for ------------------------------------------------------------------------------------------------

END = httpx.Response(200, json={"data": [], "has_more": False})


@pytest.mark.parametrize(
    ("kind", "parent", "how", "target"),
    [
        ("thread", "", {}, "/v1/threads?limit=100&order=asc"),
        ("thread", "", {"after": "thread_1"}, "/v1/threads?limit=100&order=asc&after=thread_1"),
        ("chat_completion", "", {"where": {"a b": "c&d=e"}},
         "/v1/chat/completions?limit=100&order=asc&metadata%5Ba%20b%5D=c%26d%3De"),
        ("message", "t.1", {"after": "../x?y#z\n"},
         "/v1/threads/t.1/messages?limit=100&order=asc&after=..%2Fx%3Fy%23z%0A"),
        ("vault_credential", "vlt:1", {}, "/v1/vaults/vlt:1/credentials?limit=100&order=asc"),
        ("thread", "", {"after": "é", "where": {"k": "日本"}},
         "/v1/threads?limit=100&order=asc&after=%C3%A9&metadata%5Bk%5D=%E6%97%A5%E6%9C%AC"),
    ],
)  # fmt: skip
def test_a_page_is_asked_for_oldest_first_and_everything_in_its_query_is_escaped(kind, parent, how, target):
    server = Server(END)
    asked(server, kind, parent, **how)
    assert server.targets == [target]


def test_what_a_provider_adds_to_every_url_stays():
    server = Server(END)
    asked(server, base="https://x.services.ai.azure.com/api/projects/p", provider="azure-foundry", after="a")
    assert server.targets == ["/api/projects/p/threads?api-version=v1&limit=100&order=asc&after=a"]


@pytest.mark.parametrize(
    ("kind", "parent"), [("thread", "x"), ("message", ""), ("message", ".."), ("message", "a/b"), ("run", "a b")]
)
def test_a_parent_never_leaves_its_place_in_the_path(kind, parent):
    server = Server(END)
    with pytest.raises(InvalidInput):
        asked(server, kind, parent)
    assert server.targets == []


def test_a_filter_is_sent_only_where_it_is_known():
    chats, threads = KINDS["chat_completion"], KINDS["thread"]
    assert filters(chats, PROVIDERS["openai"], "api.openai.com")
    assert filters(chats, PROVIDERS["emulator"], "emulator.invalid")
    assert not filters(chats, PROVIDERS["openai"], "127.0.0.1")
    assert not filters(chats, PROVIDERS["azure-openai"], "x.openai.azure.com")
    assert not filters(threads, "emulator", "emulator.invalid")


# --- where a list goes on ---------------------------------------------------------------------------------------------

TWO = [thread("thread_1"), thread("thread_2")]


@pytest.mark.parametrize(
    ("envelope", "after", "told"),
    [
        ({"data": TWO, "has_more": True, "last_id": "thread_2"}, "thread_2", True),
        ({"data": TWO, "has_more": True, "last_id": "opaque+/=="}, "opaque+/==", True),
        ({"data": TWO, "has_more": True}, "thread_2", True),
        ({"data": TWO, "has_more": True, "last_id": None}, "thread_2", True),
        ({"data": TWO, "has_more": True, "last_id": 7}, "thread_2", True),
        ({"data": TWO, "has_more": True, "last_id": "x" * (LONGEST_CURSOR + 1)}, "thread_2", True),
        ({"data": TWO, "has_more": True, "last_id": "\ud800"}, "thread_2", True),
        ({"data": [], "has_more": True, "last_id": "thread_2"}, "thread_2", True),
        ({"data": TWO, "has_more": False, "last_id": "thread_2"}, None, True),
        ({"data": TWO, "last_id": "thread_2"}, "thread_2", False),
        ({"data": TWO}, "thread_2", False),
        ({"data": TWO, "has_more": None}, "thread_2", False),
        ({"data": TWO, "has_more": "true"}, "thread_2", False),
        ({"data": []}, None, False),
        ({"data": None}, None, False),
        ({"data": [], "last_id": "thread_2"}, None, False),
        (TWO, "thread_2", False),
        ([], None, False),
        ({"threads": TWO, "has_more": False}, None, True),
        ({"items": TWO}, "thread_2", False),
        ({"data": [thread("thread_1"), 5]}, None, False),
    ],
)
def test_a_list_says_where_it_goes_on_or_its_last_object_does(envelope, after, told):
    page = page_of(envelope)
    assert (page.after, page.told) == (after, told)


@pytest.mark.parametrize(
    "body",
    [
        b"", b"   ", b"[", b"null", b"5", b'"data"', b"{}", b'{"data": 5}', b'{"data": {"id": "x"}}', b"\xff\xfe",
        b"<html><title>Sign in</title></html>", b'{"data": [NaN]}', b'{"data": [1e999]}', b"[" * 100_000,
        b'{"error": {"message": "no"}}', b'{"data": [], "has_more": true}',
        b'{"data": [{"object": "thread"}], "has_more": true}', b'{"data": [null], "has_more": true, "last_id": ""}',
    ],
)  # fmt: skip
def test_what_is_no_page_is_asked_for_again_and_is_a_failure_then(body):
    server = Server(httpx.Response(200, content=body, headers={"x-request-id": "req_1"}))
    with pytest.raises(ApiError) as caught:
        asked(server)
    assert not isinstance(caught.value, TargetRefused)
    assert (caught.value.fault.code, caught.value.fault.request_id) == ("invalid_answer", "req_1")
    assert len(server.targets) == 3
    good = Server(httpx.Response(200, content=body), httpx.Response(200, json={"data": TWO, "has_more": False}))
    assert ids(asked(good)) == ["thread_1", "thread_2"]


# --- what it shows ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("found", "metadata"),
    [
        ({"id": "thread_1", "metadata": {"a": "1", "b": None, "c": 5}}, {"a": "1", "c": 5}),
        ({"id": "thread_1", "metadata": None}, {}),
        ({"id": "thread_1", "metadata": {}}, {}),
        ({"id": "thread_1"}, None),
        ({"id": "thread_1", "object": None, "created_at": "2026-01-01T00:00:00Z"}, None),
        ({"id": "5b0f1d5e-1111-4222-8333-444455556666", "metadata": {}}, {}),
        ({"thread_id": "thread_1", "metadata": {}}, {}),
        ({"id": None, "thread_id": "thread_1", "metadata": {}}, {}),
        ({"id": "thread_1", "object": "Thread", "metadata": {}}, {}),
        ({"id": "thread_1", "metadata": {"odd\ud800": "\ud800", "": "\u202e"}}, {"odd\ud800": "\ud800", "": "\u202e"}),
    ],
)
def test_an_object_is_taken_as_the_list_shows_it(found, metadata):
    page = page_of({"data": [found], "has_more": False})
    ((ref, held),) = page.found
    assert ref == Ref("thread", found.get("id") or found["thread_id"])
    assert (None if held is None else dict(held)) == metadata
    assert page.odd == ()


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (None, "no object"), (5, "no object"), ("thread_1", "no object"), ([], "no object"),
        ({}, "no id"), ({"id": None}, "no id"), ({"id": ""}, "no id"), ({"id": 5}, "no id"), ({"id": ["a"]}, "no id"),
        ({"id": ".."}, "characters"), ({"id": "a/b"}, "characters"), ({"id": "a b"}, "characters"),
        ({"id": "a\n::error::x"}, "characters"), ({"id": "\u202eabc"}, "characters"), ({"id": "é"}, "characters"),
        ({"id": "x" * (LONGEST_ID + 1)}, "1,001 characters"),
        (thread("thread_1", object="assistant"), "assistant"),
        (thread("thread_1", object="\x1b[31m"), "thread"),
        (thread("thread_1", metadata="a=b"), "no object"),
        (thread("thread_1", metadata=[1]), "no object"),
        (thread("thread_1", metadata={"a": json.loads("[" * 90 + "]" * 90)}), "deeply"),
        (thread("thread_1", metadata={"note": f"my {SECRET}"}), "credential"),
    ],
)  # fmt: skip
def test_an_odd_object_costs_nothing_but_itself(found, says):
    page = page_of({"data": [thread("thread_0"), found, thread("thread_2")], "has_more": False})
    assert ids(page) == ["thread_0", "thread_2"]
    (odd,) = page.odd
    assert says in odd.reason
    assert len(odd.name) <= 60
    assert (odd.name + odd.reason).isprintable()
    assert SECRET not in odd.name + odd.reason


def test_an_id_that_is_just_short_enough_can_be_declared_moved_and_read_again():
    own = "x" * LONGEST_ID
    assert ids(page_of({"data": [thread(own)], "has_more": False})) == [own]
    made = writer.declare(None, "m.yaml", [writer.Declaration(Ref("thread", own), {})])
    assert (made.refused, own in made.data.decode()) == ((), True)
    moved = writer.move(made.data, "m.yaml", {Ref("thread", own): Ref("conversation", "12" * (LONGEST_ID // 2))})
    assert (moved.refused, f'"{"12" * (LONGEST_ID // 2)}"' in moved.data.decode()) == ((), True)
    assert notation.LONGEST_ID == LONGEST_ID


def test_of_a_kind_below_a_parent_an_object_of_another_one_is_odd():
    found = [
        {"id": "msg_1", "object": "thread.message", "thread_id": "thread_1", "metadata": {}},
        {"id": "msg_2", "object": "message", "metadata": {}},
        {"id": "msg_3", "thread_id": "thread_2", "metadata": {}},
        {"id": "thread_1/msg_4", "metadata": {}},
    ]
    upper = [{"id": "msg_1", "thread_id": "5B0F1D5E-1111-4222-8333-444455556666", "metadata": {}}]
    of_uuid = page_of({"data": upper, "has_more": False}, "message", "5b0f1d5e-1111-4222-8333-444455556666")
    assert (len(of_uuid.found), of_uuid.odd) == (1, ()), "servers may change the case of a UUID"
    page = page_of({"data": found, "has_more": False}, "message", "thread_1")
    assert ids(page) == ["thread_1/msg_1", "thread_1/msg_2"]
    assert ["thread_2" in page.odd[0].reason, len(page.odd)] == [True, 2]


def test_the_field_is_that_of_the_kind():
    found = [{"id": "file-1", "object": "vector_store.file", "attributes": {"n": 1, "t": True}, "metadata": {"x": "y"}}]
    page = page_of({"data": found, "has_more": False}, "vector_store_file", "vs_1")
    assert dict(page.found[0][1]) == {"n": 1, "t": True}


# --- what it refuses --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body", "code", "refused"),
    [
        (401, {"error": {"message": "bad key"}}, "unauthorized", True),
        (403, {"error": {"message": "no"}}, "forbidden", True),
        (401, {"error": {"message": "no", "code": "missing_scope"}}, "forbidden", True),
        (404, {"detail": "Not Found"}, "unlisted", False),
        (404, {"error": {"message": "whatever"}}, "unlisted", False),
        (405, {"detail": "Method Not Allowed"}, "unlisted", False),
        (501, {"error": "not implemented"}, "unlisted", False),
        (400, {"error": {"message": "unknown parameter"}}, "rejected", False),
        (302, None, "redirected", False),
    ],
)
def test_a_refusal_tells_whether_it_is_about_the_list_or_about_us(status, body, code, refused):
    with pytest.raises(ApiError) as caught:
        asked(Server(httpx.Response(status, json=body)))
    assert (caught.value.fault.code, isinstance(caught.value, TargetRefused)) == (code, refused)
    assert caught.value.fault.status == status


def test_a_parent_that_is_gone_is_told_from_a_list_that_is_not_there():
    for message, code in [("No thread found with id 'thread_1'.", "missing"), ("Not found", "unlisted")]:
        answer = httpx.Response(404, json={"error": {"message": message}})
        with pytest.raises(ApiError) as caught:
            asked(Server(answer), "message", "thread_1")
        assert caught.value.fault.code == code


def test_where_so_many_objects_cannot_be_had_fewer_are_asked_for():
    refusal = httpx.Response(422, json={"detail": [{"loc": ["query", "limit"], "msg": "at most 50"}]})
    server = Server(refusal, httpx.Response(200, json={"data": TWO, "has_more": False}))
    assert len(asked(server).found) == 2
    assert [f"limit={MOST}" in server.targets[0], f"limit={USUAL}&" in server.targets[1]] == [True, True]
    huge = httpx.Response(200, content=b'{"data": ["' + b"x" * (11 * 1024 * 1024) + b'"]}')
    server = Server(huge, httpx.Response(200, json={"data": TWO, "has_more": False}))
    assert len(asked(server).found) == 2
    assert "limit=10&" in server.targets[1]
    with pytest.raises(ApiError):
        asked(Server(refusal))


def test_where_a_list_knows_no_order_it_is_asked_for_without_one():
    refusal = httpx.Response(400, json={"error": {"message": "Unknown parameter: 'order'.", "param": "order"}})
    server = Server(refusal, httpx.Response(200, json={"data": TWO, "has_more": False}))
    assert len(asked(server, after="thread_0").found) == 2
    assert server.targets[1] == "/v1/threads?limit=100&after=thread_0"


NO_LIMIT = httpx.Response(400, json={"error": {"message": "too many", "param": "limit"}})
NO_ORDER = httpx.Response(422, json={"detail": "Unexpected parameter `order`."})


def test_what_a_server_wanted_once_is_remembered_for_its_kind():
    server = Server(NO_LIMIT, NO_ORDER, httpx.Response(200, json={"data": TWO, "has_more": False}))
    asked(server, times=5)
    assert server.targets[:2] == ["/v1/threads?limit=100&order=asc", f"/v1/threads?limit={USUAL}&order=asc"]
    assert server.targets[2:] == [f"/v1/threads?limit={USUAL}"] * 5
    fewer = Server(httpx.Response(200, json={"data": TWO, "has_more": False}))
    asked(fewer, times=2, limit=5)
    assert fewer.targets == ["/v1/threads?limit=5&order=asc"] * 2


ABOUT_NOTHING_OF_OURS = [
    "rate limit exceeded", "the limit of your plan", "in order to list threads, sign in", "no recorder",
    "at the border", "name the 'limits'", "limit", "order",
]  # fmt: skip


@pytest.mark.parametrize("message", ABOUT_NOTHING_OF_OURS)
def test_a_word_in_a_complaint_names_no_parameter(message):
    for body in ({"error": {"message": message, "param": "after"}}, {"detail": message}, [message], message):
        server = Server(httpx.Response(400, json=body))
        with pytest.raises(ApiError):
            asked(server)
        assert len(server.targets) == 1


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": "no", "param": "query.limit"}},
        {"error": {"message": "Invalid 'limit': above maximum", "param": None}},
        {"detail": [{"loc": ["query", "limit"], "msg": "no"}]},
        {"param": "limit", "message": "no"},
        {"error": 'bad value for "limit"'},
        ["`limit` is too large"],
    ],
)
def test_a_limit_that_is_refused_is_told_in_many_ways(body):
    server = Server(httpx.Response(422, json=body), httpx.Response(200, json={"data": TWO, "has_more": False}))
    assert len(asked(server).found) == 2
    assert f"limit={USUAL}&" in server.targets[1]


def test_a_page_that_is_too_large_whatever_is_asked_for_ends():
    server = Server(httpx.Response(200, content=b'{"data": ["' + b"x" * (11 * 1024 * 1024) + b'"]}'))
    with pytest.raises(ApiError, match="too large"):
        asked(server, limit=15)
    assert [target.partition("limit=")[2].partition("&")[0] for target in server.targets] == ["15", "1"]
