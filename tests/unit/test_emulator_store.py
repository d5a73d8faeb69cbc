"""Both stores keep the same promises; the file outlives its process and is shared by several."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.dialects import REPLACE
from reconciler.emulator import embedded
from reconciler.emulator.service import Held, Span
from reconciler.emulator.store import MemoryStore, opened
from reconciler.errors import ExitCode, ReconcilerError
from reconciler.model import Ref

A, B = Ref("thread", "a"), Ref("thread", "b")
CHILD = Ref("message", "a/m")


@contextmanager
def memory(_path):
    yield MemoryStore()


@pytest.fixture(params=[memory, opened], ids=["memory", "sqlite"])
def store(request, tmp_path):
    with request.param(tmp_path / "objects.db") as made:
        yield made


def test_what_was_never_held_is_not_there(store):
    assert store.get(A) is None
    assert store.position(A) is None


@pytest.mark.parametrize(
    "pairs",
    [{}, {"z": "1", "a": "2"}, {"k": True, "n": 1.5, "i": 3}, {"k": "\u0000\ud800😀"}, {"odd": None, "list": [1]}],
)
def test_what_is_put_is_got_byte_for_byte_and_in_its_order(store, pairs):
    store.put(A, Held(7, pairs))
    held = store.get(A)
    assert held.created_at == 7
    assert list(held.pairs.items()) == list(pairs.items())


def test_a_second_put_replaces_the_first_and_keeps_its_place(store):
    store.put(A, Held(1, {"a": "1"}))
    store.put(B, Held(1))
    place = store.position(A)
    store.put(A, Held(1, {"b": "2"}))
    assert store.get(A).pairs == {"b": "2"}
    assert store.position(A) == place < store.position(B)


def test_what_is_buried_is_gone_and_remembered(store):
    store.put(A, Held(1))
    place = store.position(A)
    store.bury(A)
    assert store.get(A) is None
    assert store.position(A) == place
    store.plant([A, B], 2)
    assert store.get(A) is None
    assert store.get(B) == Held(2)


def test_planting_leaves_what_is_held(store):
    store.put(A, Held(1, {"a": "b"}))
    store.plant([A, A, B, B], 2)
    assert store.get(A) == Held(1, {"a": "b"})
    assert store.get(B) == Held(2)


def test_kinds_and_parents_do_not_mix(store):
    store.plant([A, Ref("run", "a/m"), CHILD, Ref("message", "b/m")], 1)
    assert [ref for ref, _ in store.page("message", "a", Span(None, None, descending=False, count=9))] == [CHILD]
    assert [ref for ref, _ in store.page("thread", "", Span(None, None, descending=False, count=9))] == [A]
    assert store.page("eval", "", Span(None, None, descending=False, count=9)) == []


def test_a_step_that_fails_leaves_the_store_usable(store):
    with pytest.raises(KeyError), store.exclusively():
        raise KeyError
    store.put(A, Held(1))
    assert store.get(A) == Held(1)


@given(
    buried=st.sets(st.integers(0, 9)),
    bounds=st.tuples(st.integers(0, 9) | st.none(), st.integers(0, 9) | st.none()),
    descending=st.booleans(),
    count=st.integers(1, 11),
)
def test_both_stores_cut_the_same_page(tmp_path_factory, buried, bounds, descending, count):
    refs = [Ref("thread", f"t{number}") for number in range(10)]
    pages = []
    for kind in (memory, opened):
        with kind(tmp_path_factory.mktemp("page") / "objects.db") as store:
            store.plant(refs, 1)
            for number in buried:
                store.bury(refs[number])
            low, high = (None if bound is None else store.position(refs[bound]) for bound in bounds)
            pages.append(list(store.page("thread", "", Span(low, high, descending, count))))
    assert pages[0] == pages[1]


def test_several_threads_may_use_one_store(store):
    def write(number):
        for _ in range(20):
            with store.exclusively():
                held = store.get(A) or Held(1, {"count": 0})
                store.put(A, Held(1, {"count": held.pairs["count"] + 1}))
        return number

    with ThreadPoolExecutor(8) as pool:
        assert len(list(pool.map(write, range(8)))) == 8
    assert store.get(A).pairs == {"count": 160}


# The file.


@pytest.fixture
def path(tmp_path):
    return tmp_path / ".reconciler" / "local.db"


def test_the_file_is_still_there_when_it_is_opened_again(path):
    with opened(path) as store:
        store.put(A, Held(1, {"a": "b"}))
        store.put(B, Held(1))
        store.bury(B)
    with opened(path) as store:
        assert store.get(A) == Held(1, {"a": "b"})
        assert store.get(B) is None
        assert store.position(B) is not None


def test_a_folder_of_ours_ignores_itself(path):
    with opened(path):
        assert (path.parent / ".gitignore").read_text() == "*\n"


def test_a_gitignore_that_somebody_changed_is_left_alone(path):
    path.parent.mkdir()
    (path.parent / ".gitignore").write_text("mine\n")
    with opened(path):
        assert (path.parent / ".gitignore").read_text() == "mine\n"


def test_another_folder_is_made_without_a_gitignore(tmp_path):
    with opened(tmp_path / "state" / "x.db"):
        assert not (tmp_path / "state" / ".gitignore").exists()


def test_an_empty_file_becomes_a_database(tmp_path):
    (tmp_path / "x.db").touch()
    with opened(tmp_path / "x.db") as store:
        store.put(A, Held(1))


def test_two_that_have_the_file_open_see_each_other(path):
    with opened(path) as one, opened(path) as other:
        one.put(A, Held(1, {"a": "b"}))
        assert other.get(A) == Held(1, {"a": "b"})
        other.bury(A)
        assert one.get(A) is None


def test_a_step_taken_alone_is_undone_as_a_whole(path):
    def put_and_fail(store):
        with store.exclusively():
            store.put(A, Held(1))
            raise KeyError

    with opened(path) as store:
        with pytest.raises(KeyError):
            put_and_fail(store)
        assert store.get(A) is None


def not_a_database(path):
    path.write_bytes(b"no database at all, but long enough to have a header" * 100)


def of_another_program(path):
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    connection.close()


def marked_by_another_program(path):
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA application_id = 7")
    connection.close()


def a_folder(path):
    path.mkdir()


@pytest.mark.parametrize("made", [not_a_database, of_another_program, marked_by_another_program, a_folder])
def test_a_file_that_is_not_ours_is_a_clean_error_and_stays_as_it_was(tmp_path, made):
    path = tmp_path / "x.db"
    made(path)
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(ReconcilerError, match=r"x\.db") as caught, opened(path):
        pass
    assert caught.value.exit_code is ExitCode.ERROR
    assert "; move it away (or remove it" in str(caught.value)
    assert before is None or path.read_bytes() == before


def test_a_folder_that_cannot_be_made_is_a_clean_error(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path / "file" / "x.db", tmp_path / "file" / "below" / "x.db"):
        with pytest.raises(ReconcilerError, match="/file is no folder; move it away"), opened(path):
            pass


def test_a_file_damaged_while_it_is_open_is_a_clean_error(path):
    with opened(path) as store:
        store.put(A, Held(1))
        with sqlite3.connect(path) as connection:
            connection.execute("UPDATE objects SET pairs = '{'")
        connection.close()
        with pytest.raises(ReconcilerError, match="cannot be used"):
            store.get(A)


def test_a_file_that_somebody_holds_for_too_long_is_a_clean_error(path, monkeypatch):
    monkeypatch.setattr("reconciler.emulator.store.PATIENCE", 0.02)
    path.parent.mkdir()
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    with pytest.raises(ReconcilerError, match="locked; end what else has it open"), opened(path):
        pass
    holder.close()


WRITER = """
import sys
from pathlib import Path
from reconciler.emulator import embedded
with embedded(Path(sys.argv[1]), {}, []) as api:
    number = 0
    while True:
        number += 1
        api.handle("POST", "/v1/threads/a", {}, b'{"metadata": {"count": "%d"}}' % number)
        print(number, flush=True)
"""


def test_what_was_answered_survives_a_killed_process(path):
    with opened(path) as store:
        store.plant([A], 1)
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
    seen = [writer.stdout.readline() for _ in range(200)]
    os.kill(writer.pid, signal.SIGKILL)
    rest = writer.communicate()[0].splitlines()
    answered = int(rest[-1] if rest and rest[-1] else seen[-1])
    with opened(path) as store:
        assert int(store.get(A).pairs["count"]) >= answered >= 200


OPENER = """
import sys
from pathlib import Path
from reconciler.emulator import embedded
from reconciler.model import Ref
sys.stdin.readline()
for number in range(15):
    with embedded(Path(sys.argv[1]) / f"{number}.db", {}, [Ref("thread", "a")]) as api:
        for _ in range(5):
            assert api.handle("POST", "/v1/threads/a", {}, b'{"metadata": {"a": "b"}}')[0] == 200
"""


def test_several_processes_may_make_and_use_one_file_at_the_same_moment(tmp_path):
    command = [sys.executable, "-c", OPENER, str(tmp_path)]
    openers = [subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(6)]
    for opener in openers:
        opener.stdin.write("\n")
        opener.stdin.flush()
    assert [opener.communicate(timeout=60)[1] for opener in openers] == [""] * 6


# The embedded API.


def test_the_embedded_api_creates_declared_ids_empty_and_keeps_them(path):
    with embedded(path, {}, [A, CHILD]) as api:
        assert api.handle("GET", "/v1/threads/a/messages/m", {}, b"")[0] == 200
        assert api.handle("POST", "/v1/threads/a", {}, b'{"metadata": {"a": "b"}}')[0] == 200
    with embedded(path, {}, [A]) as api:
        status, headers, body = api.handle("GET", "/v1/threads/a", {"Authorization": "any"}, b"")
        assert status == 200
        assert headers["content-type"] == "application/json"
        assert b'"metadata": {"a": "b"}' in body


def test_the_embedded_api_does_not_bring_back_what_was_deleted(path):
    with embedded(path, {}, [A]) as api:
        assert api.handle("DELETE", "/v1/threads/a", {}, b"")[0] == 200
    with embedded(path, {}, [A]) as api:
        assert api.handle("GET", "/v1/threads/a", {}, b"")[0] == 404


def test_the_embedded_api_writes_in_the_dialect_it_is_told_and_takes_a_query(path):
    with embedded(path, {"thread": REPLACE}, [A]) as api:
        api.handle("POST", "/v1/threads/a", {}, b'{"metadata": {"a": "1", "b": "2"}}')
        api.handle("POST", "/v1/threads/a?api-version=v1", {}, b'{"metadata": {"a": "1"}}')
        assert b'"metadata": {"a": "1"}' in api.handle("GET", "/v1/threads?limit=1", {}, b"")[2]


def test_a_new_object_has_a_random_id_and_the_time_of_the_system(path):
    with embedded(path, {}, []) as api:
        bodies = [api.handle("POST", "/v1/threads", {}, b"")[2] for _ in range(2)]
    assert bodies[0] != bodies[1]
    assert str(int(time.time()))[:5].encode() in bodies[0]


def test_many_declared_ids_and_many_reads_are_quick(path):
    refs = [Ref("thread", f"t{number}") for number in range(100_000)]
    begun = time.perf_counter()
    with embedded(path, {}, refs) as api:
        ready = time.perf_counter()
        for number in range(10_000):
            api.handle("GET", f"/v1/threads/t{number}", {}, b"")
        read = time.perf_counter()
    # Many times what they take, so that a busy machine does not fail the run.
    assert ready - begun < 8
    assert read - ready < 5


def test_importing_the_embedded_api_brings_in_no_server():
    code = "import sys, reconciler.emulator; sys.exit('aiohttp' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
