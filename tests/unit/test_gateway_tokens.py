"""Calls with a token that ends, with headers and a query of the target's own, and calls that are not made at all."""

from __future__ import annotations

import asyncio
import json
from urllib.parse import parse_qsl

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from reconciler.errors import ApiError, TargetRefused
from reconciler.gateway.client import Connection, open_gateway
from reconciler.gateway.keeper import Keeper
from reconciler.gateway.providers import PROVIDERS
from reconciler.gateway.tokens import NoToken, Token
from reconciler.gateway.transport import Surroundings
from reconciler.kinds import KINDS
from reconciler.model import Observed, Ref, Unread

THREAD = Ref("thread", "thread_abc")
ENDPOINT = "https://r.example/api/projects/p"
BODY = {"id": "thread_abc", "metadata": {"a": "1"}}
TOKENS = [f"token-number-{number}-of-this-run" for number in range(9)]


class Source:
    """Gives the tokens of a list (the last one stays), each for `lasting` seconds by a clock that a test moves."""

    runs_commands = False

    def __init__(self, *given, lasting=None):
        self.given = list(given) or TOKENS
        self.lasting = lasting
        self.asked = 0
        self.now = 1000.0

    def wall(self):
        return self.now

    async def obtain(self, wall):
        found = self.given[min(self.asked, len(self.given) - 1)]
        self.asked += 1
        await asyncio.sleep(0)
        if isinstance(found, Exception):
            raise found
        return Token(found, None if self.lasting is None else wall() + self.lasting)


class Server:
    """Answers calls whose token is `good` with the object, others with 401; remembers what came."""

    def __init__(self, good=None, body=None, refusal="no"):
        self.good = good
        self.body = body or BODY
        self.refusal = refusal
        self.requests = []

    async def __call__(self, request):
        self.requests.append(request)
        await asyncio.sleep(0)
        if self.good is not None and request.headers.get("authorization") not in [f"Bearer {one}" for one in self.good]:
            return httpx.Response(401, json={"error": {"message": self.refusal}})
        return httpx.Response(200, json=self.body)

    @property
    def tokens(self):
        return [request.headers.get("authorization", "").removeprefix("Bearer ") for request in self.requests]


def talk(work, server, source=None, *, log=None, provider="azure-foundry", base_url=ENDPOINT, credential=None, **more):
    connection = Connection(PROVIDERS[provider], base_url, credential and SecretStr(credential), **more)
    keeper = Keeper(source, source.wall) if source else None

    async def sleep(seconds):
        await asyncio.sleep(0)

    async def run():
        around = Surroundings(lambda: 0.0, lambda: 0.0, sleep, lambda: 0.0)
        transport = httpx.MockTransport(server)
        async with open_gateway(connection, transport=transport, around=around, keeper=keeper, log=log) as gateway:
            return await work(gateway)

    return asyncio.run(run())


def reading(gateway):
    return gateway.fetch(THREAD)


def many(number):
    async def work(gateway):
        return await asyncio.gather(*(gateway.fetch(THREAD) for _ in range(number)))

    return work


# --- tokens -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("provider", ["openai", "azure-openai", "azure-foundry"])
def test_a_token_goes_as_bearer_wherever_it_goes(provider):
    server = Server()
    assert talk(reading, server, Source("plain-token"), provider=provider) == Observed({"a": "1"})
    (request,) = server.requests
    assert request.headers.get_list("authorization") == ["Bearer plain-token"]
    assert "api-key" not in request.headers


def test_one_asking_does_for_all_calls_in_flight():
    source, server = Source(), Server()
    talk(many(40), server, source)
    assert (source.asked, set(server.tokens)) == (1, {TOKENS[0]})


def test_a_token_is_followed_by_the_next_one_during_a_run():
    source, server = Source(lasting=3600), Server()

    async def work(gateway):
        for _ in range(6):
            await gateway.fetch(THREAD)
            source.now += 1000

    talk(work, server, source)
    assert sorted(set(server.tokens)) == TOKENS[:2]
    assert source.asked == 2


def test_a_refused_read_is_made_once_more_with_another_token():
    source, server = Source(), Server(good=[TOKENS[1]])
    assert talk(many(20), server, source) == [Observed({"a": "1"})] * 20
    assert source.asked == 2
    assert len(server.requests) == 40


@pytest.mark.parametrize(("given", "asked", "calls"), [(TOKENS[:1], 2, 1), (TOKENS, 2, 2)])
def test_a_token_that_stays_refused_ends_the_run(given, asked, calls):
    source, server = Source(*given), Server(good=[])
    with pytest.raises(TargetRefused) as caught:
        talk(reading, server, source)
    assert caught.value.fault.code == "unauthorized"
    assert (source.asked, len(server.requests)) == (asked, calls)


def test_a_source_that_fails_ends_the_run_before_any_call():
    server = Server()
    with pytest.raises(TargetRefused, match="it is broken"):
        talk(reading, server, Source(NoToken("it is broken")))
    assert server.requests == []


def test_a_refused_write_is_left_to_whoever_looks_again_before_it_once():
    source, server = Source(), Server(good=[TOKENS[1]])

    async def work(gateway):
        with pytest.raises(ApiError) as caught:
            await gateway.modify(THREAD, {"a": "2"})
        assert not isinstance(caught.value, TargetRefused)
        assert (caught.value.fault.status, caught.value.fault.retry_in) == (401, 0.0)
        return await gateway.modify(THREAD, {"a": "2"}, 1)

    assert talk(work, server, source) == Observed({"a": "1"})
    assert server.tokens == TOKENS[:2]
    assert [json.loads(request.content) for request in server.requests] == [{"metadata": {"a": "2"}}] * 2


def test_a_write_that_stays_refused_is_refused():
    server = Server(good=[])

    async def work(gateway):
        with pytest.raises(ApiError):
            await gateway.modify(THREAD, {"a": "2"})
        with pytest.raises(TargetRefused):
            await gateway.modify(THREAD, {"a": "2"}, 1)

    talk(work, server, Source())
    assert len(server.requests) == 2


def test_a_token_that_may_read_and_not_write_is_refused_after_one_more_try():
    class Reading(Server):
        """Reads for everybody, and writes for nobody."""

        async def __call__(self, request):
            self.good = None if request.method == "GET" else []
            return await super().__call__(request)

    server = Reading()

    async def work(gateway):
        for _ in range(2):
            assert isinstance(await gateway.fetch(THREAD), Observed)
            with pytest.raises(ApiError) as raised:
                await gateway.modify(THREAD, {"a": "2"})
        assert isinstance(raised.value, TargetRefused)

    talk(work, server, Source())
    assert [request.method for request in server.requests] == ["GET", "POST"] * 2


def test_a_token_that_has_ended_is_given_to_nobody_while_its_successor_is_asked_for():
    source = Source(lasting=100)

    async def work():
        keeper = Keeper(source, source.wall)
        first = await keeper.current()
        source.now += 99  # its successor is due
        assert keeper.at_hand() == first
        source.now += 1
        assert keeper.at_hand() is None
        assert await keeper.current() == TOKENS[1]
        await keeper.aclose()

    asyncio.run(work())


@pytest.mark.parametrize("token", ["tok-42", "Ab3dE-9xK2", "GatewayPass", "s3cr3t!"])
def test_why_there_is_no_other_token_is_told_without_the_one_that_there_was(token):
    source = Source(token, NoToken(f"the session {token} has ended"), lasting=100)

    async def work():
        keeper = Keeper(source, source.wall)
        await keeper.current()
        source.now += 100
        with pytest.raises(NoToken, match=r"^the session \*\*\* has ended$"):
            await keeper.current()

    asyncio.run(work())


def test_a_token_that_has_ended_is_given_to_nobody_after_an_asking_that_failed():
    source = Source(TOKENS[0], NoToken("not now"), TOKENS[1], lasting=100)

    async def work():
        keeper = Keeper(source, source.wall)
        await keeper.current()
        source.now += 99
        keeper.at_hand()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        source.now += 2
        assert keeper.at_hand() is None
        assert await keeper.current() == TOKENS[1]

    asyncio.run(work())


def test_a_slot_for_a_write_is_given_with_a_token_that_has_not_ended():
    source, server = Source(lasting=100), Server()

    async def work(gateway):
        await gateway.write_slot(asyncio.sleep)
        assert source.asked == 1
        source.now += 100
        await gateway.write_slot(asyncio.sleep)
        await gateway.modify(THREAD, {"a": "2"})

    talk(work, server, source)
    assert (server.tokens, source.asked) == ([TOKENS[1]], 2)


def test_who_waits_for_a_token_to_write_with_is_woken_by_what_ends_the_run():
    class Stopped(Exception):
        """What stands for the end of a run."""

    source = Source()

    async def hanging(wall):
        await asyncio.Event().wait()

    source.obtain = hanging

    async def stop(seconds):
        await asyncio.sleep(0.01)
        raise Stopped

    async def work(gateway):
        with pytest.raises(Stopped):
            await gateway.write_slot(stop)

    talk(work, Server(), source)


def test_no_token_of_a_run_shows_in_a_message_a_log_or_a_reading():
    lines = []
    said = f"not {TOKENS[0]} and not {TOKENS[1]}"
    server = Server(good=[], refusal=said)
    with pytest.raises(TargetRefused) as caught:
        talk(reading, server, Source(), log=lines.append, query=(("code", "shown-nowhere"),))
    assert "not *** and not ***" in str(caught.value)
    assert lines
    assert not [line for line in lines if "token-number" in line or "shown-nowhere" in line]


@pytest.mark.parametrize("echoed", TOKENS[:2])
def test_metadata_with_any_token_of_the_run_is_not_looked_at(echoed):
    server = Server(good=[TOKENS[1]], body={"id": "thread_abc", "metadata": {"note": f"<{echoed}>"}})
    found = talk(reading, server, Source())
    assert isinstance(found, Unread)
    assert found.fault.code == "credential_echoed"


# --- headers ----------------------------------------------------------------------------------------------------------


def test_headers_of_the_target_go_with_every_call_and_may_replace_ours():
    server = Server()

    async def work(gateway):
        await gateway.fetch(THREAD)
        await gateway.modify(THREAD, {})

    more = {
        "extra_headers": (("X-Team", "support desk"), ("user-agent", "mine"), ("OPENAI-BETA", "other=v9")),
        "secret_headers": (("X-Gate", SecretStr("Basic gate-secret")),),
    }
    talk(work, server, Source("tok"), **more)
    for request in server.requests:
        sent = request.headers
        assert (sent["x-team"], sent["x-gate"]) == ("support desk", "Basic gate-secret")
        assert [sent.get_list(name) for name in ("user-agent", "openai-beta", "host", "authorization")] == [
            ["mine"], ["other=v9"], ["r.example"], ["Bearer tok"],
        ]  # fmt: skip
    assert server.requests[1].headers.get_list("content-type") == ["application/json"]


@pytest.mark.parametrize("part", ["Basic gate-secret", "gate-secret"])
def test_a_secret_header_shows_nowhere_nor_does_what_is_secret_in_it(part):
    lines = []
    with pytest.raises(TargetRefused) as caught:
        talk(
            reading, Server(good=[], refusal=f"is {part}?"), log=lines.append,
            credential="sk-1234567890", secret_headers=(("X-Gate", SecretStr("Basic gate-secret")),),
        )  # fmt: skip
    assert "is ***?" in str(caught.value)
    assert "gate-secret" not in "".join(lines) + str(caught.value)


# --- query and paths --------------------------------------------------------------------------------------------------


def targets(server):
    return [request.extensions["target"].decode() for request in server.requests]


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_where_foundry_has_it(kind):
    row = KINDS[kind]
    ref = Ref(kind, "p/c" if row.nested else "c")
    server = Server(body={"id": "c", row.field: {}})

    async def work(gateway):
        await gateway.fetch(ref)
        await gateway.modify(ref, {})

    talk(work, server, Source("t"))
    below = PROVIDERS["azure-foundry"].below.get(kind, "")
    path = f"/api/projects/p{below}{row.path.format(parent='p', id='c')}?api-version=v1"
    assert targets(server) == [path, path]


def test_a_query_of_the_target_beats_that_of_the_row():
    server = Server()
    talk(reading, server, Source("t"), query=(("api-version", "2025-05-01"), ("x", "a b")))
    assert targets(server) == ["/api/projects/p/threads/thread_abc?api-version=2025-05-01&x=a%20b"]


@given(st.dictionaries(st.text("aé[]&=%+ ?#/", min_size=1), st.text("aé&=%+ ?#/\U0001f600"), max_size=3))
def test_a_query_arrives_as_it_was_written(query):
    server = Server()
    talk(reading, server, provider="openai", query=tuple(query.items()))
    (target,) = targets(server)
    assert target.isascii()
    path, _, sent = target.partition("?")
    assert path.endswith("/threads/thread_abc")
    assert dict(parse_qsl(sent, keep_blank_values=True)) == query


# --- calls that are not made ------------------------------------------------------------------------------------------


def test_no_call_is_made_for_what_the_vendor_retired_and_others_are():
    server = Server(body={"id": "conv_1", "metadata": {}})

    async def work(gateway):
        refs = [Ref("thread", "t"), Ref("message", "t/m"), Ref("run", "t/r"), Ref("assistant", "a")]
        found = [await gateway.fetch(ref) for ref in refs]
        for ref in refs:
            with pytest.raises(TargetRefused, match="2027-03-31"):
                await gateway.modify(ref, {})
        assert server.requests == []
        return [*found, await gateway.fetch(Ref("conversation", "conv_1"))]

    *retired, served = talk(work, server, provider="openai", base_url="https://api.openai.com/v1", credential="sk-1")
    assert {(type(each), each.fault.code) for each in retired} == {(Unread, "unserved")}
    assert served == Observed({})
    assert targets(server) == ["/v1/conversations/conv_1"]


def test_what_the_vendor_retired_is_asked_for_elsewhere():
    server = Server()
    assert talk(reading, server, provider="openai", credential="k") == Observed({"a": "1"})
    assert len(server.requests) == 1
