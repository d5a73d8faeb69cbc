from __future__ import annotations

import asyncio
import inspect
import json

import httpx
import pytest
import virtual_time
from pydantic import SecretStr

from reconciler import __version__
from reconciler.errors import ApiError, InvalidInput, ReconcilerError, TargetRefused
from reconciler.gateway.client import FOREIGN, TRANSLATIONS, Connection, fault_of, open_gateway, resource_path
from reconciler.gateway.failures import CertificateRefused, HostUnknown, TlsFailed
from reconciler.gateway.pacing import Pace
from reconciler.gateway.providers import PROVIDERS
from reconciler.gateway.transport import HandlerTransport, Pacer, Surroundings
from reconciler.kinds import KINDS
from reconciler.model import Missing, Observed, Ref, Unread

THREAD = Ref("thread", "thread_abc")
BASE = "https://api.example/v1"
OK = httpx.Response(200, json={"id": "thread_abc", "metadata": {"a": "1"}})


def around():
    """Return surroundings in which only sleep takes time, and none of ours."""
    slept = []

    async def sleep(seconds):
        slept.append(seconds)
        await asyncio.sleep(0)

    return Surroundings(lambda: sum(slept), lambda: sum(slept), sleep, lambda: 0.0)


def connection(provider="openai", base_url=BASE, credential="sk-123", **more):
    return Connection(PROVIDERS[provider], base_url, SecretStr(credential) if credential else None, **more)


class Api:
    """A handler that answers with one response (or raises) and remembers the requests."""

    def __init__(self, answer=OK):
        self.answer = answer
        self.requests = []

    def __call__(self, request):
        self.requests.append(request)
        if isinstance(self.answer, Exception):
            raise self.answer
        given = self.answer
        return httpx.Response(given.status_code, headers=given.headers, content=given.content)


def ask(call, api=None, *, to=None, **options):
    async def run():
        transport = httpx.MockTransport(api or Api())
        async with open_gateway(to or connection(), transport=transport, around=around(), **options) as gateway:
            return await call(gateway)

    return asyncio.run(run())


def fetch(api=None, ref=THREAD, **options):
    return ask(lambda gateway: gateway.fetch(ref), api, **options)


def modify(api=None, ref=THREAD, entries=None, **options):
    return ask(lambda gateway: gateway.modify(ref, entries or {"a": "1"}), api, **options)


def url_of(request):
    return str(request.url.copy_with(raw_path=request.extensions["target"]))


def only_request(call, **options):
    api = Api()
    call(api, **options)
    (request,) = api.requests
    return request


def test_a_read_is_one_get():
    api = Api()
    assert fetch(api) == Observed({"a": "1"})
    (request,) = api.requests
    assert (request.method, url_of(request), request.content) == ("GET", f"{BASE}/threads/thread_abc", b"")


def test_a_read_carries_the_headers_of_its_rows_and_no_others():
    request = only_request(fetch, to=connection(organization="org-1", project="proj_1"))
    assert dict(request.headers) == {
        "host": "api.example",
        "accept": "application/json",
        "accept-encoding": "identity",
        "user-agent": f"reconciler/{__version__}",
        "authorization": "Bearer sk-123",
        "openai-organization": "org-1",
        "openai-project": "proj_1",
        "openai-beta": "assistants=v2",
    }


def test_a_write_is_one_post_of_the_field_and_nothing_else():
    api = Api()
    entries = {"ключ": "🎉", "gone": None, "kept": "\ud800"}
    assert modify(api, entries=entries) == Observed({"a": "1"})
    (request,) = api.requests
    assert (request.method, url_of(request)) == ("POST", f"{BASE}/threads/thread_abc")
    assert json.loads(request.content) == {"metadata": entries}
    assert request.headers["content-type"] == "application/json"
    assert request.headers["content-length"] == str(len(request.content))


def test_an_empty_map_is_sent_as_such():
    assert json.loads(only_request(lambda api: ask(lambda g: g.modify(THREAD, {}), api)).content) == {"metadata": {}}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_addressed_by_its_row(kind):
    row = KINDS[kind]
    ref = Ref(kind, "p.1/c:1" if row.nested else "c:1")
    answer = httpx.Response(200, json={"id": "c:1", row.field: {"k": "v"}})
    api = Api(answer)
    assert fetch(api, ref) == Observed({"k": "v"})
    assert modify(api, ref, {"k": "w"}) == Observed({"k": "v"})
    read, write = api.requests
    path = row.path.format(parent="p.1", id="c:1").encode()
    assert read.extensions["target"] == write.extensions["target"] == b"/v1" + path
    assert json.loads(write.content) == {row.field: {"k": "w"}}
    for request in (read, write):
        assert request.headers.get("openai-beta") == row.headers.get("OpenAI-Beta")


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("thread", "."), ("thread", ".."), ("thread", ""), ("thread", "a/b"), ("message", "a"), ("message", "a/.."),
        ("message", "../a"), ("message", "/a"), ("message", "a/"), ("message", "a/b/c"), ("thread", "a?b#c d%2e"),
    ],
)  # fmt: skip
def test_an_id_never_leaves_its_path_segment(kind, name):
    with pytest.raises(InvalidInput, match="is not the id of a"):
        resource_path(KINDS[kind], Ref(kind, name))


TOKEN = "eyJhbGciOi.eyJzdWIi.c2lnbmF0dXJl"


@pytest.mark.parametrize(
    ("provider", "credential", "expected"),
    [
        ("openai", "sk-1", ("Bearer sk-1", None)),
        ("openai", " sk-1\n", ("Bearer sk-1", None)),
        ("openai", None, (None, None)),
        ("openai", " ", (None, None)),
        ("azure-openai", "0a1b2c", (None, "0a1b2c")),
        ("azure-openai", TOKEN, (f"Bearer {TOKEN}", None)),
        ("azure-foundry", TOKEN, (f"Bearer {TOKEN}", None)),
        ("emulator", "sk-1", (None, None)),
    ],
)
def test_a_credential_is_sent_as_the_provider_wants_it(provider, credential, expected):
    headers = only_request(fetch, to=connection(provider, credential=credential)).headers
    assert (headers.get("authorization"), headers.get("api-key")) == expected


def test_organization_and_project_go_only_where_they_are_known():
    headers = only_request(fetch, to=connection("azure-openai", organization="o", project="p")).headers
    assert not any(name.startswith(("openai-o", "openai-p")) for name in headers)


@pytest.mark.parametrize(
    ("provider", "base_url", "url"),
    [
        ("openai", "https://a.example/v1/", "https://a.example/v1/threads/thread_abc"),
        ("openai", "https://a.example", "https://a.example/threads/thread_abc"),
        ("azure-foundry", "https://a.example/p", "https://a.example/p/threads/thread_abc?api-version=v1"),
        ("openai", "http://127.0.0.1:80/v1", "http://127.0.0.1/v1/threads/thread_abc"),
        ("openai", "http://localhost:8123/v1", "http://localhost:8123/v1/threads/thread_abc"),
        ("openai", "http://[::1]:8123/v1", "http://[::1]:8123/v1/threads/thread_abc"),
    ],
)
def test_paths_go_below_the_base_url_and_the_query_behind(provider, base_url, url):
    request = only_request(fetch, to=connection(provider, base_url))
    assert url_of(request) == url
    assert request.headers["host"] == request.url.netloc.decode()


@pytest.mark.parametrize(
    ("base_url", "code"),
    [
        ("http://api.example/v1", "insecure_url"),
        ("http://127.0.0.1.nip.io/v1", "insecure_url"),
        ("http://10.0.0.1/v1", "insecure_url"),
        ("http://localhost.example/v1", "insecure_url"),
        ("ftp://api.example/v1", "invalid_url"),
        ("api.example/v1", "invalid_url"),
        ("https:///v1", "invalid_url"),
        ("https://api.example/v1#x", "invalid_url"),
        ("https://api.example/v1?x=1", "invalid_url"),
        ("https://user:pw@api.example/v1", "invalid_url"),
        ("http://127.0.0.1\\@api.example/", "invalid_url"),
        ("https://api.example:port/v1", "invalid_url"),
        ("https://api.example/v1\n", "invalid_url"),
        ("", "invalid_url"),
    ],
)
def test_a_url_that_must_not_be_used_is_refused_at_once(base_url, code):
    with pytest.raises(InvalidInput) as caught:
        connection(base_url=base_url)
    assert [problem.code for problem in caught.value.found] == [code]
    assert "pw" not in str(caught.value).replace("password", "")


@pytest.mark.parametrize("part", ["credential", "organization", "project"])
@pytest.mark.parametrize("value", ["a\nHost: evil", "ключ", "a\x00b", "a\x7f", "a b"])
def test_what_a_header_cannot_carry_is_refused_without_being_shown(part, value):
    with pytest.raises(InvalidInput, match=f"the {part} holds characters") as caught:
        connection(**{part: value})
    assert value not in str(caught.value)


def test_only_the_default_url_of_the_emulator_is_embedded():
    url = PROVIDERS["emulator"].base_url
    assert connection("emulator", url).embedded
    assert not connection("emulator", "http://127.0.0.1:8123/v1").embedded
    with pytest.raises(InvalidInput, match="plain http"):
        connection("emulator", "http://emulator.example/v1")


def test_a_connection_never_shows_its_credential():
    assert "sk-123" not in repr(connection())


def test_the_embedded_emulator_is_reached_without_a_socket():
    def handle(method, path, headers, body):
        return 200, {}, json.dumps({"metadata": {"seen": f"{method} {path} {body.decode()}"}}).encode()

    async def run():
        to = connection("emulator", PROVIDERS["emulator"].base_url)
        async with open_gateway(to, transport=HandlerTransport(handle)) as gateway:
            return await gateway.fetch(THREAD), await gateway.modify(THREAD, {})

    seen = asyncio.run(run())
    assert [reading.metadata["seen"] for reading in seen] == [
        "GET /v1/threads/thread_abc ",
        'POST /v1/threads/thread_abc {"metadata":{}}',
    ]


def test_the_embedded_emulator_is_never_looked_for_on_the_network():
    async def run():
        async with open_gateway(connection("emulator", PROVIDERS["emulator"].base_url)):
            raise AssertionError("opened")

    with pytest.raises(ReconcilerError, match="without a transport"):
        asyncio.run(run())


def test_no_cookie_is_kept():
    api = Api(httpx.Response(200, headers={"set-cookie": "a=b"}, json={"metadata": {}}))

    async def twice(gateway):
        await gateway.fetch(THREAD)
        await gateway.fetch(THREAD)

    ask(twice, api)
    assert not any("cookie" in request.headers for request in api.requests)


@pytest.mark.parametrize("location", ["https://evil.example/v1/threads/thread_abc", "/other", "https://"])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_never_followed(status, location):
    api = Api(httpx.Response(status, headers={"location": location}))
    reading = fetch(api)
    assert (len(api.requests), reading.fault.code) == (1, "redirected")
    with pytest.raises(ApiError) as caught:
        modify(api)
    assert (len(api.requests), caught.value.fault.code) == (2, "redirected")


def test_a_redirect_to_nonsense_is_a_fault_too():
    assert fetch(Api(httpx.Response(302, headers={"location": "https://a:b:c"}))).fault.code == "redirected"


def test_a_missing_object_is_missing_with_the_request_id():
    answer = httpx.Response(404, headers={"x-request-id": "req_7"}, json={"error": {"message": "No thread found"}})
    reading = fetch(Api(answer))
    assert isinstance(reading, Missing)
    assert reading.fault.request_id == "req_7"


@pytest.mark.parametrize("call", [fetch, modify])
def test_a_refused_credential_ends_the_run_and_is_not_shown(call):
    answer = httpx.Response(401, json={"error": {"message": "Incorrect API key provided: sk-123.", "code": "invalid"}})
    with pytest.raises(TargetRefused) as caught:
        call(Api(answer))
    assert caught.value.fault.message == "The API answered 401: Incorrect API key provided: ***. [invalid]"


def test_a_read_that_fails_after_its_retries_is_unread():
    api = Api(httpx.ReadTimeout("slow"))
    reading = fetch(api)
    assert isinstance(reading, Unread)
    assert (reading.fault.code, len(api.requests)) == ("timeout", 3)


def test_a_write_without_an_answer_is_an_api_error_that_says_whether_to_try_again():
    api = Api(httpx.ConnectError("refused, sk-123"))
    with pytest.raises(ApiError) as caught:
        modify(api)
    assert str(caught.value) == "No connection to the server (refused, ***)."
    assert isinstance(caught.value.__cause__, httpx.ConnectError)
    assert 0.3 < caught.value.fault.retry_in <= 0.5
    assert len(api.requests) == 1


@pytest.mark.parametrize(
    ("response", "attempt", "expected"),
    [
        (httpx.Response(429, headers={"retry-after": "7"}), 0, 7.0),
        (httpx.Response(429, headers={"retry-after": "7"}), 1, 7.0),
        (httpx.Response(429, headers={"retry-after": "7"}), 5, None),
        (httpx.Response(500), 2, None),
        (httpx.Response(429, headers={"retry-after": "121"}), 0, None),
        (httpx.Response(429, json={"error": {"code": "insufficient_quota", "message": "no"}}), 0, None),
        (httpx.Response(500, headers={"x-should-retry": "false"}), 0, None),
        (httpx.Response(400, json={"error": {"message": "no"}}), 0, None),
    ],
    ids=["hint", "again", "used up", "an error, used up", "too long", "hopeless", "advice", "rejected"],
)
def test_a_write_that_was_refused_says_whether_to_try_again(response, attempt, expected):
    async def run():
        async with open_gateway(connection(), transport=httpx.MockTransport(lambda _request: response)) as gateway:
            with pytest.raises(ApiError) as caught:
                await gateway.modify(THREAD, {}, attempt)
            return caught.value.fault.retry_in

    assert asyncio.run(run()) == expected


NO_ANSWERS = {
    "HTML": httpx.Response(200, html="<title>One moment</title>"),
    "garbage": httpx.Response(200, content=b"garbage"),
    "empty": httpx.Response(200),
    "cut off": httpx.Response(200, content=b'{"id": "thread_abc", "meta'),
    "another object": httpx.Response(200, json={"id": "thread_x", "metadata": {}}),
}


class Sequel(Api):
    """A handler that gives the next answer each time; the last one stays."""

    def __init__(self, *answers):
        super().__init__()
        self.answers = list(answers)

    def __call__(self, request):
        self.answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return super().__call__(request)


@pytest.mark.parametrize("case", NO_ANSWERS)
def test_what_is_no_answer_is_asked_for_again(case):
    api = Sequel(NO_ANSWERS[case], NO_ANSWERS[case], OK)
    assert fetch(api) == Observed({"a": "1"})
    assert len(api.requests) == 3


@pytest.mark.parametrize("case", NO_ANSWERS)
def test_what_stays_no_answer_is_unread_after_its_retries(case):
    api = Api(NO_ANSWERS[case])
    reading = fetch(api)
    assert (reading.fault.code, reading.fault.status, len(api.requests)) == ("invalid_answer", 200, 3)


def test_no_answer_that_turns_into_a_failure_is_not_tried_longer_than_that():
    api = Sequel(NO_ANSWERS["HTML"], httpx.Response(400, json={"error": {"message": "no"}}))
    assert fetch(api).fault.code == "rejected"
    assert len(api.requests) == 2
    api = Sequel(NO_ANSWERS["HTML"], httpx.Response(503))
    assert fetch(api).fault.code == "server_error"
    assert len(api.requests) == 4  # three below, none above


def test_the_waits_for_an_answer_grow():
    slept = []

    async def sleep(seconds):
        slept.append(seconds)

    async def run():
        around = Surroundings(lambda: 0.0, lambda: 0.0, sleep, lambda: 0.0)
        transport = httpx.MockTransport(Api(NO_ANSWERS["empty"]))
        async with open_gateway(connection(), transport=transport, around=around) as gateway:
            await gateway.fetch(THREAD)

    asyncio.run(run())
    assert slept == [0.5, 1.0]


@pytest.mark.parametrize("case", NO_ANSWERS)
def test_a_write_without_a_usable_answer_is_sent_once_and_left_to_a_read(case):
    api = Api(NO_ANSWERS[case])
    assert modify(api) == Observed(None)
    assert len(api.requests) == 1


@pytest.mark.parametrize("call", [fetch, modify])
@pytest.mark.parametrize("code", ["insufficient_quota", "credit_balance_exhausted", "organization_spend_limit_reached"])
def test_a_quota_that_is_used_up_ends_the_run_at_once(call, code):
    api = Api(httpx.Response(429, json={"error": {"message": "You ran out.", "code": code}}))
    with pytest.raises(TargetRefused, match="You ran out") as caught:
        call(api)
    assert (caught.value.fault.code, len(api.requests)) == ("out_of_quota", 1)


def test_a_server_that_wants_to_be_asked_again_has_not_run_out():
    answer = {"json": {"error": {"message": "no", "code": "insufficient_quota"}}, "headers": {"x-should-retry": "true"}}
    api = Api(httpx.Response(429, **answer))
    assert fetch(api).fault.code == "rate_limited"
    assert len(api.requests) > 1
    with pytest.raises(ApiError) as caught:
        modify(api)
    assert caught.value.fault.code == "rate_limited"
    assert caught.value.fault.retry_in is not None


@pytest.mark.parametrize("call", [fetch, modify])
def test_a_credential_that_comes_back_in_the_metadata_is_not_carried_on(call):
    secret = "sk-0123456789abcdefghij"
    api = Api(httpx.Response(200, json={"id": "thread_abc", "metadata": {"seen": f"Bearer {secret}"}}))
    try:
        fault = call(api, to=connection(credential=secret)).fault
    except ApiError as error:
        fault = error.fault
    assert (fault.code, len(api.requests)) == ("credential_echoed", 1)
    assert secret[:8] not in str(fault)


@pytest.mark.parametrize(
    ("error", "code", "attempts"), [(HostUnknown, "dns", 3), (TlsFailed, "tls", 3), (CertificateRefused, "tls", 1)]
)
def test_a_way_that_is_barred_is_told_and_tried_again_where_that_may_help(error, code, attempts):
    api = Api(error("why"))
    reading = fetch(api)
    assert (reading.fault.code, len(api.requests)) == (code, attempts)
    assert reading.fault.message.endswith("(why).")


def test_an_exchange_may_take_the_connection_and_two_of_the_longest_silences():
    class Dripping(httpx.AsyncByteStream):
        async def __aiter__(self):
            while True:
                await asyncio.sleep(0.5)
                yield b" "

    requests = []

    async def drip(request):
        requests.append(request)
        return httpx.Response(200, stream=Dripping())

    async def run():
        loop = asyncio.get_running_loop()
        times = {"connect_timeout": 10.0, "read_timeout": 5.0}
        times["around"] = Surroundings(loop.time, loop.time, chance=lambda: 0.0)
        async with open_gateway(connection(), transport=httpx.MockTransport(drip), **times) as gateway:
            reading = await gateway.fetch(THREAD)
            read = loop.time()
            with pytest.raises(ApiError) as caught:
                await gateway.modify(THREAD, {"a": "1"})
            return reading.fault, caught.value.fault, read, loop.time()

    reading, written, read, wrote = virtual_time.run(run())
    assert (reading.code, written.code, len(requests)) == ("timeout", "timeout", 4)
    assert (read, wrote - read) == (pytest.approx(3 * 20 + 0.5 + 1.0), pytest.approx(20))
    assert written.retry_in == 0.5


def test_an_answer_too_large_is_an_invalid_one():
    reading = fetch(Api(httpx.Response(200, content=b"x" * (10 * 1024 * 1024 + 1))))
    assert (reading.fault.code, reading.fault.message[:23]) == ("invalid_answer", "The answer is too large")


def test_a_gateway_that_reads_only_refuses_to_write():
    api = Api()
    with pytest.raises(ReconcilerError, match="only reads"):
        modify(api, read_only=True)
    assert api.requests == []
    assert fetch(api, read_only=True) == Observed({"a": "1"})


def test_log_lines_are_clean_and_without_the_credential():
    lines = []
    answer = httpx.Response(200, headers={"x-request-id": "req_sk-123_\x7f"}, json={"metadata": {}})
    fetch(Api(answer), log=lines.append)
    assert lines == ["GET /v1/threads/thread_abc 200 0 ms req_***_"]


def test_what_one_door_has_learned_holds_at_the_next_one_of_the_same_pace():
    spent = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "8s"}

    async def run():
        loop = asyncio.get_running_loop()
        virtual = Surroundings(loop.time, loop.time, chance=lambda: 0.0)
        pacer, answers, seen = Pacer(Pace.per_minute(60), Pace.per_minute(30), virtual), [], []

        def serve(request):
            seen.append((request.method, loop.time()))
            return answers.pop(0) if answers else OK

        async def door(work, **more):
            to, transport = connection(), httpx.MockTransport(serve)
            async with open_gateway(to, transport=transport, pacer=pacer, around=virtual, **more) as gateway:
                await work(gateway)

        async def plan(gateway):
            await gateway.fetch(THREAD)
            answers.append(httpx.Response(200, headers=spent, json={"id": "thread_abc", "metadata": {}}))
            await gateway.fetch(THREAD)

        async def write(gateway):
            for _ in range(2):
                await gateway.write_slot(asyncio.sleep)
                await gateway.fetch(THREAD)
                assert await gateway.write_start(asyncio.sleep)
                await gateway.modify(THREAD, {"a": "1"})

        await door(plan, read_only=True)
        await door(write)
        return seen

    seen = virtual_time.run(run())
    assert [method for method, _ in seen] == ["GET", "GET", "GET", "POST", "GET", "POST"]
    assert [instant for _, instant in seen] == pytest.approx([0, 1.03, 9.03, 9.03, 10.06, 10.6], abs=0.05)


def httpx_exceptions():
    found = [getattr(httpx, name) for name in httpx.__all__]
    return sorted((it for it in found if inspect.isclass(it) and issubclass(it, Exception)), key=lambda it: it.__name__)


@pytest.mark.parametrize("foreign", httpx_exceptions())
def test_every_exception_of_httpx_has_a_translation_of_its_own(foreign):
    assert foreign in TRANSLATIONS
    assert issubclass(foreign, FOREIGN)


def exceptions_below(family):
    return {family, *(error for child in family.__subclasses__() for error in exceptions_below(child))}


@pytest.mark.parametrize("family", FOREIGN)
def test_every_exception_below_those_that_we_catch_becomes_a_fault(family):
    for foreign in exceptions_below(family):
        error = foreign.__new__(foreign)
        error.args = ("why sk-1",)
        fault = fault_of(error, "sk-1")
        assert fault.code
        assert fault.message.endswith("(why ***).")


def test_an_exception_without_words_has_a_sentence_all_the_same():
    assert fault_of(httpx.ReadTimeout("")).message == "The API did not answer in time."


def test_the_gateway_reads_over_a_real_socket():
    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        body = b'{"id": "thread_abc", "metadata": {"over": "the wire"}}'
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        await writer.drain()
        writer.close()

    async def run():
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        try:
            async with open_gateway(connection(base_url=f"http://127.0.0.1:{port}/v1"), parallelism=2) as gateway:
                return await gateway.fetch(THREAD)
        finally:
            server.close()
            await server.wait_closed()

    assert asyncio.run(run()) == Observed({"over": "the wire"})
