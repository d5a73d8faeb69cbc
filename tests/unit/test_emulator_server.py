"""The API over a real loopback socket: a thousand callers at once, broken connections, spoiled answers."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from contextlib import asynccontextmanager

import httpx
import pytest
from api.judge import Judge
from serving import running

from reconciler.dialects import REPLACE
from reconciler.emulator import live_behaviour
from reconciler.emulator.mishaps import NO_MISHAPS, Mishap, MishapRule, Mishaps
from reconciler.emulator.server import Server, _Desk, allow_open_files, serve
from reconciler.emulator.service import Held, Request
from reconciler.emulator.store import MemoryStore, opened
from reconciler.errors import ReconcilerError
from reconciler.kinds import KINDS
from reconciler.model import Ref

REF = Ref("thread", "a")


def held(**pairs):
    store = MemoryStore()
    store.put(REF, Held(1, pairs))
    return store


def faulty(*mishaps, **more):
    return Mishaps(tuple(MishapRule(mishap) for mishap in mishaps), **more)


def test_objects_are_read_written_listed_and_deleted_over_the_socket():
    with (
        running(held(a="b"), live_behaviour({"thread": REPLACE})) as server,
        httpx.Client(base_url=server.url) as client,
    ):
        assert client.get("/threads/a").json()["metadata"] == {"a": "b"}
        answer = client.post("/threads/a", json={"metadata": {"c": "ü😀"}})
        assert answer.json()["metadata"] == {"c": "ü😀"}
        assert answer.headers["x-request-id"].startswith("req_")
        assert answer.headers["content-type"] == "application/json"
        assert client.get("/threads?limit=1").json()["last_id"] == "a"
        assert client.delete("/threads/a").json()["deleted"] is True
        assert client.get("/threads/a").status_code == 404


def test_every_kind_is_shown_over_the_socket_as_the_api_is_published():
    store, judge = MemoryStore(), Judge()
    for kind in KINDS.values():
        store.put(Ref(kind.name, "p/x" if kind.nested else "x"), Held(1, {"team": "ü & ="}))
    with running(store) as server, httpx.Client(base_url=server.url) as client:
        for kind in KINDS.values():
            collection = kind.collection.format(parent="p")
            wanted = {"metadata[team]": "ü & ="} if kind.filtered else {}
            answers = [client.get(f"{collection}/x"), client.get(collection, params=wanted)]
            for answer in [*answers, client.get(f"{collection}/{kind.prefix}none")]:
                target = answer.request.url.raw_path.decode()
                judge.answer("GET", target, answer.status_code, answer.headers, answer.content)
            assert [each["id"] for each in answers[1].json()["data"]] == ["x"]
    judge.verdict()
    assert judge.seen.keys() == {(name, role) for name in KINDS for role in ("read", "list", "missing")}


def test_a_key_is_asked_for_in_whatever_case_the_header_is_written():
    with running(held(), live_behaviour(key="sk-secret")) as server:
        assert httpx.get(f"{server.url}/threads/a").status_code == 401
        assert httpx.get(f"{server.url}/threads/a", headers={"AUTHORIZATION": "Bearer sk-secret"}).status_code == 200


def test_an_id_that_climbs_out_of_its_path_is_not_followed():
    store = held()
    with running(store) as server, socket.create_connection((server.host, server.port)) as caller:
        caller.sendall(b"GET /v1/threads/x/../a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert b" 404 " in caller.makefile("rb").readline()


def test_a_body_beyond_all_measure_is_refused():
    with running(held()) as server:
        assert httpx.post(f"{server.url}/threads/a", content=b" " * 2_000_000).status_code == 413


def test_a_thousand_connections_are_served_while_all_of_them_are_open():
    store = MemoryStore()
    store.plant([Ref("thread", f"t{number}") for number in range(1000)], 1)

    async def one(server, number, everyone):
        reader, writer = await asyncio.open_connection(server.host, server.port)
        await everyone.wait()
        body = json.dumps({"metadata": {"n": str(number)}})
        head = f"POST /v1/threads/t{number} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\nConnection: close\r\n"
        writer.write(f"{head}\r\n{body}".encode())
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        return json.loads(answer.partition(b"\r\n\r\n")[2])["metadata"]

    async def main():
        everyone = asyncio.Barrier(1000)
        async with serve(store) as server:
            return await asyncio.gather(*(one(server, number, everyone) for number in range(1000)))

    assert asyncio.run(main()) == [{"n": str(number)} for number in range(1000)]


@pytest.mark.parametrize(("mishap", "left"), [(Mishap.RESET_BEFORE, {}), (Mishap.RESET_AFTER, {"a": "b"})])
def test_a_connection_is_reset_before_or_after_the_write(mishap, left):
    store = held()
    with running(store, mishaps=faulty(mishap)) as server, pytest.raises(httpx.TransportError):
        httpx.post(f"{server.url}/threads/a", json={"metadata": {"a": "b"}})
    assert store.get(REF).pairs == left


def test_a_reset_is_a_reset_and_no_polite_end():
    mishaps = faulty(Mishap.RESET_BEFORE)
    with running(held(), mishaps=mishaps) as server, socket.create_connection((server.host, server.port)) as caller:
        caller.sendall(b"GET /v1/threads/a HTTP/1.1\r\nHost: x\r\n\r\n")
        with pytest.raises(ConnectionResetError):
            caller.recv(1000)


def test_a_caller_that_has_left_does_not_harm_the_others():
    with running(held(), mishaps=faulty(Mishap.RESET_AFTER, latency=100)) as server:
        with socket.create_connection((server.host, server.port)) as caller:
            caller.sendall(b"GET /v1/threads/a HTTP/1.1\r\nHost: x\r\n\r\n")
        with pytest.raises(httpx.TransportError):
            httpx.get(f"{server.url}/threads/a")


def test_a_call_that_failed_once_succeeds_when_it_is_repeated():
    rules = (MishapRule(Mishap.OVERLOADED, methods=frozenset({"POST"}), first=1),)
    with running(held(), mishaps=Mishaps(rules)) as server:
        calls = [httpx.post(f"{server.url}/threads/a", json={"metadata": {}}).status_code for _ in range(3)]
        assert calls == [503, 200, 200]


@pytest.mark.parametrize(
    ("mishap", "begins"),
    [(Mishap.HTML, b"<!doctype html>"), (Mishap.TRUNCATED, b'{"id"'), (Mishap.EMPTY, b""), (Mishap.FIELDLESS, b"{")],
)
def test_a_spoiled_answer_arrives_with_200(mishap, begins):
    with running(held(a="b"), mishaps=faulty(mishap)) as server:
        answer = httpx.get(f"{server.url}/threads/a")
        assert answer.status_code == 200
        assert answer.content.startswith(begins)
        assert b'"metadata"' not in answer.content
        if mishap is Mishap.TRUNCATED:
            with pytest.raises(json.JSONDecodeError):
                answer.json()


def test_a_rate_limit_names_the_seconds_to_wait():
    with running(held(), mishaps=faulty(Mishap.RATE_LIMITED, retry_after=7)) as server:
        answer = httpx.get(f"{server.url}/threads/a")
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "7")


def test_latency_delays_every_answer():
    with running(held(), mishaps=Mishaps(latency=120)) as server:
        begun = time.perf_counter()
        httpx.get(f"{server.url}/threads/a")
        assert time.perf_counter() - begun >= 0.12


@pytest.mark.parametrize(("mishaps", "kept"), [(NO_MISHAPS, 0), (Mishaps(latency=1), 0), (faulty(Mishap.FAILED), 2)])
def test_calls_are_counted_only_where_a_mishap_may_depend_on_it(mishaps, kept):
    desk = _Desk(held(), live_behaviour(), mishaps)
    for path in ("/v1/threads/a", "/v1/threads/b", "/v1/threads/a"):
        desk._answer(Request("GET", path))
    assert len(desk._made) == kept


def test_a_store_that_fails_is_a_server_error_without_a_trace(tmp_path, caplog):
    with opened(tmp_path / "x.db") as store:
        store.put(REF, Held(1))
    # The store is closed by now.
    with running(store) as server:
        answer = httpx.get(f"{server.url}/threads/a")
    assert answer.status_code == 500
    assert "x.db" in answer.json()["error"]["message"]
    assert caplog.text == ""


def test_a_file_serves_several_servers(tmp_path):
    path = tmp_path / "x.db"
    with opened(path) as one, opened(path) as other, running(one) as first, running(other) as second:
        own = httpx.post(f"{first.url}/threads", json={"metadata": {"a": "b"}}).json()["id"]
        assert httpx.get(f"{second.url}/threads/{own}").json()["metadata"] == {"a": "b"}


# Starting and stopping.


def test_another_address_is_not_listened_on():
    with pytest.raises(ReconcilerError, match="loopback"), running(held(), host="0.0.0.0"):
        pass


def test_a_port_in_use_is_a_clean_error():
    with (
        running(held()) as server,
        pytest.raises(ReconcilerError, match=f"port {server.port}"),
        running(held(), port=server.port),
    ):
        pass


def test_an_address_of_the_sixth_version_stands_in_brackets():
    assert Server("::1", 80).url == "http://[::1]:80/v1"


def test_a_server_that_stopped_listens_no_more_and_leaves_no_thread():
    before = threading.active_count()
    with running(held()) as server:
        httpx.get(f"{server.url}/threads/a")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((server.host, server.port))
    assert threading.active_count() == before


def test_a_server_stops_although_a_caller_keeps_its_connection():
    begun = time.perf_counter()
    with httpx.Client() as client, running(held()) as server:
        client.get(f"{server.url}/threads/a")
    assert time.perf_counter() - begun < 5


def test_a_failure_of_the_caller_stops_the_server_too():
    @asynccontextmanager
    async def caller():
        async with serve(held()) as server:
            yield server

    async def main():
        async with caller() as server:
            raise KeyError(server.port)

    with pytest.raises(KeyError) as caught:
        asyncio.run(main())
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", caught.value.args[0]))


def test_the_number_of_open_files_is_raised_as_far_as_the_system_lets_it():
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        allow_open_files(300)
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 300
        allow_open_files(200)
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 300
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
