"""Laws of the ledger: what is recorded is read again, and two writers never lose a record.

The pure parts are held against many examples, those in real repositories against few.
"""

import json
import subprocess
import tempfile
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from reconciler.bases import Touched
from reconciler.git import repository as around
from reconciler.ledger import Run, Server, fetch, push, read, record, runs
from reconciler.ledger.records import (
    SHARD,
    Head,
    bits_for,
    dump_bases,
    dump_head,
    dump_run,
    dump_touched,
    load_bases,
    load_head,
    load_run,
    load_touched,
    path_of,
    sharded,
)
from reconciler.model import EMPTY, Base, Ownership, Ref, same

SERVER = Server("openai", "https://api.example.org/v1", None, None, None)


def as_json_has_it(value):
    """Return a value as JSON gives it back: two surrogates that meet become the one character that they mean."""
    return json.loads(json.dumps(value))


texts = st.text(st.characters(), max_size=8).map(as_json_has_it)  # lone surrogates and controls among them
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=8
)
refs = st.builds(Ref, st.sampled_from(["thread", "message"]), st.from_regex(r"[A-Za-z0-9._:/-]{1,12}", fullmatch=True))
keysets = st.frozensets(texts, max_size=3)
bases = st.builds(
    Base,
    st.dictionaries(texts, scalars, max_size=6),
    st.sampled_from(Ownership),
    st.lists(texts, max_size=3).map(tuple),
    st.booleans(),
    keysets,
    keysets,
    st.none() | texts,
)
touched = st.lists(st.builds(Touched, texts, anything, anything, st.booleans()), max_size=3).map(tuple)
maybe = st.none() | texts
servers = st.builds(Server, texts, texts, maybe, maybe, maybe)
all_runs = st.builds(
    Run,
    *(texts,) * 4,
    maybe,
    st.none() | st.booleans(),
    texts,
    maybe,
    st.dictionaries(texts, st.integers(0), max_size=3),
    st.just(EMPTY),
)


def exactly(value):
    """Return a value in a form in which a truth is no number and a whole number no fraction."""
    return json.dumps(value, sort_keys=True)


@given(st.dictionaries(refs, bases, max_size=4))
def test_bases_survive(known):
    raw = dump_bases(known)
    assert raw.isascii()
    again = load_bases(raw)
    assert again == known
    for ref, base in known.items():
        assert exactly(dict(again[ref].metadata)) == exactly(dict(base.metadata))
        assert again[ref].commit == base.commit
    assert dump_bases(dict(sorted(again.items(), reverse=True))) == raw
    assert raw.count(b"\n") == max(len(known), 1) + 2  # one line each, whatever is in them


@given(st.dictionaries(refs, touched, max_size=4))
def test_before_images_survive(images):
    again = load_touched(dump_touched(images))
    assert again == images
    assert [exactly([one.before, one.after]) for fields in again.values() for one in fields] == [
        exactly([one.before, one.after])
        for _, fields in sorted(images.items(), key=lambda pair: str(pair[0]))
        for one in fields
    ]


@given(all_runs, servers, maybe, st.integers(0, 24), st.integers(0))
def test_runs_and_heads_survive(run, server, applied, bits, resources):
    head = Head(server, applied, bits, resources)
    assert load_run(dump_run(run)) == run
    assert load_head(dump_head(head)) == head
    assert (dump_run(run) + dump_head(head)).isascii()


@given(refs, st.integers(0, 23))
def test_a_resource_has_one_file_and_more_files_only_divide_it(ref, bits):
    assert path_of("base", ref, bits) == path_of("base", ref, bits)
    file, finer = (int(path_of("base", ref, some)[5:-5], 16) for some in (bits, bits + 1))
    assert finer // 2 == file
    assert 0 <= file < 2**bits


@given(st.lists(st.integers(0, 3_000), max_size=6), st.integers(0, 1_000_000))
def test_no_file_grows_beyond_its_bound(counts, seed):
    bits = 0
    for resources in counts:
        bits = bits_for(resources, bits)
        assert bits_for(resources, bits) == bits
        assert resources <= SHARD << bits
        assert bits == 0 or resources >= (SHARD // 4) << bits  # nor are there many files with little in them
    records = {Ref("thread", f"thread_{seed}_{number}"): number for number in range(counts[-1] if counts else 0)}
    files = sharded("base", records, bits)
    assert max(map(len, files.values()), default=0) <= SHARD * 3 // 2


# --- clones that share a remote ---------------------------------------------------------------------------------------

FIELD = Ref("thread", "thread_1")


def git(folder, *arguments):
    subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, check=True)


def shared(place, clones):
    """Return clones of a bare repository at `place`."""
    git(place, "init", "-q", "--bare", "remote.git")
    found = []
    for number in range(clones):
        git(place, "init", "-q", f"c{number}")
        git(place / f"c{number}", "remote", "add", "origin", str(place / "remote.git"))
        found.append(around(place / f"c{number}"))
    return found


def write(repository, name, pairs):
    """Record a run that applied these pairs; return what was disputed."""
    known = read(repository, "t")
    before = (known.base(FIELD) if known else None) or Base(EMPTY)
    run = Run(name, "apply", "", "", None, None, "")
    base = Base({**before.metadata, **pairs})
    return record(repository, "t", known, {FIELD: base, Ref("run", name): Base({})}, run, SERVER, name).disputed


def settle(clones):
    """Let all clones push and fetch until all have the same, and return what was disputed."""
    disputed = [push(clone, "t", "origin") for clone in clones]
    return disputed + [fetch(clone, "t", "origin") for clone in clones]


steps = st.tuples(st.integers(0, 2), st.sampled_from(["own", "common", "fetch", "push"]))


@settings(max_examples=12)
@given(st.integers(2, 3), st.lists(steps, min_size=3, max_size=12))
def test_clones_that_share_a_remote_lose_no_record(count, actions):
    with tempfile.TemporaryDirectory() as folder:
        clones = shared(Path(folder), count)
        written, disputed, names = {}, [], set()
        for number, (which, action) in enumerate(actions):
            clone, name = which % count, f"r{number}"
            if action in ("own", "common"):
                key = "common" if action == "common" else f"own{clone}"
                disputed.append(write(clones[clone], name, {key: name}))
                written[key] = name
                names.add(name)
            else:
                disputed.append({"fetch": fetch, "push": push}[action](clones[clone], "t", "origin"))
        disputed += settle(clones)
        disputes = Counter(key for found in disputed for _, key in found)
        event(f"disputed: {bool(disputes)}")
        ledgers = [read(clone, "t") for clone in clones]
        assert len({ledger and ledger.tip for ledger in ledgers}) == 1
        assert {run.id for _, run in runs(clones[0], "t")} == names
        assert disputes.keys() <= {"common"}
        if ledgers[0] is None:
            assert not names
            return
        everything = ledgers[0].everything()
        assert {ref.id for ref in everything} == names | {FIELD.id}
        assert ledgers[0].head.resources == len(everything)
        assert ledgers[0].applied in names
        found = everything[FIELD].metadata
        assert found.keys() == written.keys()
        for key, name in written.items():
            assert disputes[key] or same(found[key], name)
        assert found.get("common") in {None, *names}


@settings(max_examples=3)
@given(st.integers(2, 4))
def test_clones_that_record_and_push_at_once_lose_no_record(count):
    with tempfile.TemporaryDirectory() as folder:
        clones = shared(Path(folder), count)
        together = threading.Barrier(count)

        def work(number):
            together.wait()
            found = []
            for turn in range(2):
                found += write(clones[number], f"c{number}.{turn}", {f"own{number}": str(turn)})
                found += push(clones[number], "t", "origin")
            return found

        with ThreadPoolExecutor(count) as pool:
            assert list(pool.map(work, range(count))) == [[]] * count
        settle(clones)
        ledger = read(clones[0], "t")
        assert ledger.base(FIELD) == Base({f"own{number}": "1" for number in range(count)})
        assert {run.id for _, run in runs(clones[0], "t")} == {
            f"c{number}.{turn}" for number in range(count) for turn in "01"
        }


@pytest.mark.parametrize("turns", [2])
def test_one_clone_used_by_two_at_once_pushes_all_it_records(tmp_path, turns):
    (clone,) = shared(tmp_path, 1)
    together = threading.Barrier(2)

    def work(name):
        together.wait()
        for turn in range(turns):
            write(clone, f"{name}{turn}", {name: str(turn)})
            push(clone, "t", "origin")

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(work, "ab"))
    (fresh,) = shared_again(tmp_path)
    fetch(fresh, "t", "origin")
    assert {run.id for _, run in runs(fresh, "t")} == {f"{name}{turn}" for name in "ab" for turn in range(turns)}
    assert read(fresh, "t").base(FIELD) == Base(dict.fromkeys("ab", str(turns - 1)))


def shared_again(place):
    """Return one more clone of the remote at `place`."""
    git(place, "init", "-q", "fresh")
    git(place / "fresh", "remote", "add", "origin", str(place / "remote.git"))
    return [around(place / "fresh")]
