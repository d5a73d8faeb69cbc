"""Reads that lag behind writes, as the emulator brings them about: in the store, and by `emulate --lag`."""

import signal
import subprocess
import sys
import threading

import click
import httpx
import pytest
from click.testing import CliRunner

from reconciler.cli.emulate import emulate
from reconciler.emulator.mishaps import Mishap, MishapRule, Mishaps, answer
from reconciler.emulator.service import Behaviour, Held, Request, Span, handle
from reconciler.emulator.store import Lag, LaggingStore, MemoryStore, opened
from reconciler.model import Ref, frozen_map

BEHAVIOUR = Behaviour(lambda: 1, lambda: "token")
REF = Ref("chat_completion", "chatcmpl-a")
OTHER = Ref("thread", "thread_a")
PATH = "/v1/chat/completions/chatcmpl-a"
ALL = Span(None, None, descending=False, count=10)


@pytest.fixture(params=["memory", "sqlite"])
def inner(request, tmp_path):
    if request.param == "memory":
        yield MemoryStore()
    else:
        with opened(tmp_path / "x.db") as store:
            yield store


class Clock:
    """A clock that stands until it is moved."""

    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def lagging(inner, clock, lag):
    for ref in (REF, OTHER):
        inner.put(ref, Held(1, frozen_map({"n": "0"})))
    return LaggingStore(inner, {REF.kind: lag}, clock)


def write(store, number, ref=REF):
    store.put(ref, Held(1, frozen_map({"n": str(number)})))


def shown(store, ref=REF):
    return store.get(ref).pairs["n"]


def test_for_so_many_seconds_a_read_shows_what_was_there_before_each_write(inner, clock):
    store = lagging(inner, clock, Lag(seconds=2))
    write(store, 1)
    clock.now += 1.5
    write(store, 2)
    assert shown(store) == "0"
    assert [held.pairs["n"] for _, held in store.page(REF.kind, "", ALL)] == ["0"]
    clock.now += 0.5
    assert shown(store) == "1"
    clock.now += 1.5
    assert shown(store) == "2"


def test_for_so_many_reads_of_it_a_read_shows_what_was_there_before(inner, clock):
    store = lagging(inner, clock, Lag(reads=2))
    write(store, 1)
    assert [shown(store) for _ in range(4)] == ["0", "0", "1", "1"]
    write(store, 2)
    assert [held.pairs["n"] for _ in range(3) for _, held in store.page(REF.kind, "", ALL)] == ["1", "1", "2"]


def test_kinds_without_a_lag_are_read_as_they_are(inner, clock):
    store = lagging(inner, clock, Lag(seconds=2))
    write(store, 1, OTHER)
    assert shown(store, OTHER) == "1"


def test_who_writes_begins_with_what_is_there_and_others_do_not_see_it_meanwhile(inner, clock):
    store, seen = lagging(inner, clock, Lag(seconds=2)), []
    write(store, 1)
    with store.exclusively():
        assert shown(store) == "1"
        if isinstance(inner, MemoryStore):
            reader = threading.Thread(target=lambda: seen.append(shown(store)))
            reader.start()
            reader.join()
            assert seen == ["0"]
    assert shown(store) == "0"


def test_what_is_created_or_deleted_is_so_at_once(inner, clock):
    store = lagging(inner, clock, Lag(seconds=2))
    new = Ref(REF.kind, "chatcmpl-b")
    write(store, 7, new)
    assert shown(store, new) == "7"
    write(store, 1)
    store.bury(REF)
    assert store.get(REF) is None
    assert store.position(REF) is not None
    write(store, 2)
    assert shown(store) == "2"


def test_the_api_answers_a_write_rightly_and_reads_later(inner, clock):
    store = lagging(inner, clock, Lag(seconds=2))
    updated = handle(store, Request("POST", PATH, body=b'{"metadata": {"n": "1"}}'), BEHAVIOUR)
    assert b'"n": "1"' in updated.body
    assert b'"n": "0"' in handle(store, Request("GET", PATH), BEHAVIOUR).body
    assert b'"n": "0"' in handle(store, Request("GET", "/v1/chat/completions"), BEHAVIOUR).body
    # A second write merges into what is there, not into what is seen.
    again = handle(store, Request("POST", PATH, body=b'{"metadata": {"m": "1"}}'), BEHAVIOUR)
    assert b'"n": "1", "m": "1"' in again.body
    clock.now += 2
    assert b'"n": "1", "m": "1"' in handle(store, Request("GET", PATH), BEHAVIOUR).body


OLD = Mishaps((MishapRule(Mishap.OLD),))


def test_an_old_answer_shows_the_object_from_before_the_write_that_was_carried_out(inner, clock):
    store = lagging(inner, clock, Lag())
    response = answer(store, Request("POST", PATH, body=b'{"metadata": {"n": "1"}}'), BEHAVIOUR, OLD, 0)
    assert (response.status, b'"n": "0"' in response.body) == (200, True)
    assert shown(store) == "1"


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", PATH, b"", 200),
        ("POST", "/v1/threads", b"{}", 200),
        ("POST", PATH, b'{"metadata": {"n": 1}}', 400),
        ("POST", f"{PATH}x", b'{"metadata": {}}', 404),
    ],
    ids=["a read", "a creation", "a refusal", "nothing there"],
)
def test_an_old_answer_takes_nothing_else_s_place(inner, clock, method, path, body, status):
    store = lagging(inner, clock, Lag())
    response = answer(store, Request(method, path, body=body), BEHAVIOUR, OLD, 0)
    assert (response.status, b'"object": "list"' in response.body) == (status, False)


@pytest.mark.parametrize(
    ("told", "says"),
    [
        ("soon", "write [KIND=]SECONDS"),
        ("-1", "write [KIND=]SECONDS"),
        ("nan", "write [KIND=]SECONDS"),
        ("3 reads", "write [KIND=]SECONDS"),
        ("٣", "write [KIND=]SECONDS"),
        ("thread=", "write [KIND=]SECONDS"),
        (".", "write [KIND=]SECONDS"),
        ("1000000", "1000000 is too large; 999999 seconds or reads are the most"),
        ("thread=1000000reads", "is too large; 999999 seconds or reads"),
        ("9" * 5000, "is too large; 999999 seconds or reads"),
        ("threads=1", "did you mean thread?"),
        ("=1", 'there is no kind ""'),
        ("\x1b[31m=1", "there is no kind"),
    ],
)
def test_a_lag_that_makes_no_sense_is_wrong_usage(told, says):
    result = CliRunner().invoke(emulate, ["--lag", told], standalone_mode=False)
    assert isinstance(result.exception, click.UsageError), result.output
    assert says in result.exception.format_message()
    assert "\x1b" not in result.exception.format_message()


@pytest.mark.parametrize(
    ("told", "lag"),
    [(".5", Lag(0.5)), ("1.", Lag(1.0)), ("0.0000001", Lag(1e-7)), ("999999", Lag(999_999.0)), ("0reads", Lag())],
)
def test_a_lag_is_told_as_people_write_numbers(told, lag):
    assert emulate.make_context("emulate", ["--lag", f"thread={told}"]).params["lags"] == {"thread": lag}


def test_emulate_lets_the_reads_of_a_kind_lag():
    command = [sys.executable, "-c", "from reconciler.cli.emulate import emulate; emulate()", "--port", "0"]
    with subprocess.Popen(
        [*command, "--lag", "900", "--lag", "chat_completion=2reads", "--lag", "vault=0"],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        url = process.stdout.readline().split()[4]
        seen = {}
        for path in ("threads", "chat/completions", "vaults"):
            own = httpx.post(f"{url}/{path}", json={"metadata": {"n": "0"}}).json()["id"]
            sent = httpx.post(f"{url}/{path}/{own}", json={"metadata": {"n": "1"}}).json()["metadata"]
            reads = [httpx.get(f"{url}/{path}/{own}").json()["metadata"]["n"] for _ in range(3)]
            seen[path] = (sent["n"], "".join(reads))
        process.send_signal(signal.SIGINT)
    assert seen == {"threads": ("1", "000"), "chat/completions": ("1", "001"), "vaults": ("1", "111")}
