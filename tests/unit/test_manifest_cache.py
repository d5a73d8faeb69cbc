"""What is kept of manifests between runs, and that nothing of it is ever believed or missed that should not be."""

from __future__ import annotations

import json
import os
import resource
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from reconciler.errors import InvalidInput, Location
from reconciler.manifest import FileManifest, ManifestFile, cache, combine, load, parsed, read_manifest
from reconciler.manifest.cache import DAY, FREE, MAX_AGE, TINY, Cache, at, version
from reconciler.model import Ref

if TYPE_CHECKING:
    from collections.abc import Iterator

    from reconciler.manifest.table import Table

NOW = 1_800_000_000.0
TEXT = """\
version: 1
defaults: {metadata: {team: support}, ignore: ["runtime.*"]}
threads:
  thread_a: {metadata: {plan: gold, gone: null}}
  thread_b:
    metadata:
      plan: "1"
"""
DATA = TEXT.encode() + b"#" * FREE + b"\n"
PLAIN = read_manifest(DATA, "m.yaml")


@pytest.fixture
def store(tmp_path: Path) -> Cache:
    """Give an empty cache in which entries are as old as they were made to be."""
    return Cache(tmp_path / "cache", now=lambda: NOW)


@pytest.fixture
def entry(store: Cache, tmp_path: Path) -> Path:
    """Give the file that `DATA` is kept in."""
    read_manifest(DATA, "m.yaml", store)
    (path,) = entries(tmp_path)
    return path


def entries(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache" / "manifests").glob("*"))


def aged(path: Path, seconds: float) -> None:
    os.utime(path, (NOW - seconds, NOW - seconds))


def kept(store: Cache) -> Table | None:
    """Return what is known of `DATA` without parsing it."""
    key = store.key(DATA)
    assert key is not None
    return store.get(key, "m.yaml")


def facts(manifest: FileManifest) -> list[object]:
    return [(repr(one.ref), repr(one.metadata), one.ignore, dict(one.sources)) for one in manifest.resources]


# --- where it is ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("env", "folder"),
    [
        ({"HOME": "/home/a"}, "/home/a/.cache/reconciler"),
        ({"HOME": "/home/a", "XDG_CACHE_HOME": "/x"}, "/x/reconciler"),
        ({"HOME": "/home/a", "XDG_CACHE_HOME": "x"}, "/home/a/.cache/reconciler"),
        ({"HOME": "/home/a", "XDG_CACHE_HOME": "/x", "RECONCILER_CACHE": "/ci/cache"}, "/ci/cache"),
        ({"HOME": "/home/a", "RECONCILER_CACHE": "off"}, None),
        ({"HOME": "/home/a", "XDG_CACHE_HOME": "/x", "RECONCILER_CACHE": ""}, None),
        ({"HOME": "/home/a", "RECONCILER_CACHE": "ci/cache"}, None),
        ({"HOME": "a"}, None),
        ({}, None),
    ],
)
def test_the_environment_says_where_the_cache_is(env: dict[str, str], folder: str | None) -> None:
    found = at(env)
    assert (found and str(found._folder)) == (folder and f"{folder}/manifests")


def test_the_clock_of_a_cache_is_that_of_the_machine(tmp_path: Path) -> None:
    found = at({"RECONCILER_CACHE": str(tmp_path / "cache")})
    read_manifest(DATA, "m.yaml", found)
    (path,) = entries(tmp_path)
    aged(path, MAX_AGE)  # by another clock: for this one it lies years ahead, or behind
    assert found is not None
    assert kept(found) is not None


# --- what is kept -----------------------------------------------------------------------------------------------------


def test_a_file_is_known_by_what_it_holds_and_told_by_the_name_that_it_has_now(store: Cache, entry: Path) -> None:
    found = read_manifest(DATA, "moved.yaml", store)
    assert facts(found) == facts(read_manifest(DATA, "moved.yaml"))
    assert found.resources[1].location == Location("moved.yaml", 5, 3)
    assert dict(found.resources[1].sources) == {
        "team": Location("moved.yaml", 2, 23), "plan": Location("moved.yaml", 7, 7)
    }  # fmt: skip
    assert found.resources == read_manifest(DATA, "moved.yaml").resources


def test_what_is_known_is_not_parsed_again(store: Cache, entry: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reconciler.manifest.read", None)
    assert facts(read_manifest(DATA, "m.yaml", store)) == facts(PLAIN)


def test_a_file_that_has_changed_by_a_byte_is_another(store: Cache, entry: Path) -> None:
    assert store.get(store.key(DATA + b" ") or "", "m.yaml") is None
    assert store.key(DATA.replace(b"gold", b"gola")) != store.key(DATA)


def test_a_file_with_problems_is_not_kept_and_tells_them_each_time(store: Cache, tmp_path: Path) -> None:
    wrong = DATA.replace(b'"1"', b"1")
    for _ in range(2):
        assert [problem.code for problem in read_manifest(wrong, "m.yaml", store).problems] == ["not_a_string"]
    assert entries(tmp_path) == []


def test_a_file_that_declares_nothing_is_not_kept(store: Cache, tmp_path: Path) -> None:
    assert read_manifest(b"version: 1\n" + b"#" * FREE, "m.yaml", store) == FileManifest()
    assert entries(tmp_path) == []


def test_a_run_that_reads_little_keeps_nothing(store: Cache, tmp_path: Path) -> None:
    small = TEXT.encode() + b"#" * TINY + b"\n"
    for _ in range(FREE // len(small)):
        read_manifest(small, "m.yaml", store)
    assert not (tmp_path / "cache").exists()
    read_manifest(small, "m.yaml", store)
    assert len(entries(tmp_path)) == 1


def test_a_tiny_file_is_never_kept(store: Cache, entry: Path) -> None:
    assert store.key(b" " * (TINY - 1)) is None
    assert store.key(b" " * TINY) is not None


def test_entries_are_for_the_users_eyes_only_and_nothing_else_is_left_behind(entry: Path) -> None:
    assert entry.stat().st_mode & 0o777 == 0o600
    assert entry.parent.stat().st_mode & 0o777 == 0o700
    assert [path.name for path in entry.parent.iterdir()] == [entry.name]


def test_many_files_are_loaded_as_without_a_cache_the_second_time_too(store: Cache, tmp_path: Path) -> None:
    folder = tmp_path / "m"
    folder.mkdir()
    for name in "abc":
        text = "".join(f"  thread_{name}{number}: {{metadata: {{n: '{number}'}}}}\n" for number in range(2000))
        (folder / f"{name}.yaml").write_text(f"version: 1\nthreads:\n{text}messages: {{a/{name}: }}\n")
    plain = load([folder], root=tmp_path)
    for _ in range(2):
        found = load([folder], root=tmp_path, cache=store)
        assert (len(found), found.files) == (6003, ("m/a.yaml", "m/b.yaml", "m/c.yaml"))
        assert found.resources == plain.resources
        assert list(map(str, (one.ref for one in found.resources[:3]))) == ["message/a/a", "message/a/b", "message/a/c"]
    assert len(entries(tmp_path)) == 3
    (folder / "d.yaml").write_bytes((folder / "c.yaml").read_bytes())
    with pytest.raises(InvalidInput) as caught:
        load([folder], root=tmp_path, cache=store)
    assert len(caught.value.found) == 2001
    assert str(caught.value.found[0]).startswith(
        "m/d.yaml:3:3: thread/thread_c0 is declared twice, first at m/c.yaml:3:3"
    )


def test_some_resources_can_be_had_without_the_others(store: Cache, entry: Path) -> None:
    refs = [Ref("thread", "thread_b"), Ref("thread", "thread_z"), Ref("message", "thread_a"), Ref("thread", "thread_a")]
    for known in (None, store):
        found = combine({"m.yaml": read_manifest(DATA, "m.yaml", known)})
        assert found.some(refs) == PLAIN.resources
        assert found.some(refs[:2]) == PLAIN.resources[1:]


def test_files_are_read_one_after_the_other_in_any_thread(store: Cache, entry: Path, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(DATA)
    files = [ManifestFile(tmp_path / "a.yaml", "a"), ManifestFile(tmp_path / "gone.yaml", "gone")]
    steps = parsed(files, store)
    assert next(steps)[0] == "a"  # before the other one is looked at
    found: dict[str, FileManifest] = {}
    thread = threading.Thread(target=lambda: found.update(parsed(files, store)))
    thread.start()
    thread.join()
    assert facts(found["a"]) == facts(read_manifest(DATA, "a"))
    assert [problem.code for problem in found["gone"].problems] == ["unreadable_file"]


# --- what is not believed ---------------------------------------------------------------------------------------------


def test_an_entry_that_is_no_file_or_no_entry_is_written_anew(store: Cache, entry: Path, tmp_path: Path) -> None:
    good = entry.read_bytes()
    other = tmp_path / "other"
    other.write_bytes(b"precious")

    def folder() -> None:
        entry.mkdir()

    def pipe() -> None:
        os.mkfifo(entry)

    def link() -> None:
        entry.symlink_to(other)

    def text() -> None:
        entry.write_bytes(b"{}")

    for make in (folder, pipe, link, text):
        entry.unlink()
        make()
        assert facts(read_manifest(DATA, "m.yaml", store)) == facts(PLAIN), make
        if make is folder:
            entry.rmdir()
            read_manifest(DATA, "m.yaml", store)
        assert entry.read_bytes() == good, make
    assert other.read_bytes() == b"precious"


def test_an_entry_is_none_under_the_name_of_another(store: Cache, entry: Path) -> None:
    entry.rename(entry.parent / (store.key(DATA + b"\n") or ""))
    assert kept(store) is None
    assert store.get(store.key(DATA + b"\n") or "", "m.yaml") is None


@pytest.mark.parametrize(
    "content",
    [
        b"", b"\n", b"[]\n{}", b"{}\n{}", b"[{},[],[],[]]", b'[{"thread":["a"]},[1],[{}],[0]]\n{}\n{}', b"[1,2,3,4]\n",
        b'[{"thread":["a","b"]},[1],[{}],[0]]\n{}', b'[{"thread":["a"]},[1],[{}],[]]\n{}', b"\xff\n{}",
        b"[" * 99_999 + b"\n",
        b'[{"thread":["a"]},[1],[{}],[0]]\n\xe9', b"[[],[],[],[]]\n", b'[{"thread":3},[1],[{}],[0]]\n{}',
    ],
)  # fmt: skip
def test_what_has_a_digest_and_no_sense_counts_as_absent(store: Cache, entry: Path, content: bytes) -> None:
    entry.write_bytes(cache._digest(entry.name, content) + content)
    assert kept(store) is None
    assert facts(read_manifest(DATA, "m.yaml", store)) == facts(PLAIN)


def test_an_entry_that_is_too_large_is_neither_written_nor_read(
    store: Cache, entry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = entry.stat().st_size
    monkeypatch.setattr(cache, "MAX_ENTRY", size)
    assert kept(store) is not None
    monkeypatch.setattr(cache, "MAX_ENTRY", size - 1)
    assert kept(store) is None
    entry.unlink()
    read_manifest(DATA, "m.yaml", store)
    assert not entry.exists()


def test_entries_of_another_version_are_none(store: Cache, entry: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "version", lambda: b"another")
    assert kept(Cache(store._folder.parent)) is None


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a package that the version is made of."""
    package = tmp_path / "reconciler" / "manifest"
    package.mkdir(parents=True)
    (package / "cache.py").write_text("")
    (package.parent / "kinds.py").write_text("ROWS = 1\n")
    monkeypatch.setattr(cache, "__file__", str(package / "cache.py"))
    return package


def test_the_version_changes_with_the_code_and_with_what_it_reads_with(
    code: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions = [version()]
    assert versions == [version()]
    for path, text in ((code / "cache.py", "#"), (code / "more.py", ""), (code.parent / "kinds.py", "ROWS = 2\n")):
        path.write_text(text)
        versions.append(version())
    for name in ("pydantic.VERSION", "ruamel.yaml.__version__", "sys.version"):
        monkeypatch.setattr(name, "0")
        versions.append(version())
    parser = code / "parser.so"
    parser.write_bytes(b"12345")
    monkeypatch.setattr("_ruamel_yaml.__file__", str(parser))
    versions.append(version())
    assert len(set(versions)) == len(versions)


@pytest.mark.parametrize("how", ["no sources", "unreadable source", "no parser"])
def test_where_the_version_cannot_be_told_nothing_is_kept(
    code: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    if how == "no sources":
        monkeypatch.setattr(cache, "__file__", str(tmp_path / "archive.zip" / "reconciler" / "manifest" / "cache.py"))
    elif how == "unreadable source":
        (code / "odd.py").symlink_to("nowhere")
    else:
        monkeypatch.setattr("_ruamel_yaml.__file__", None)
    assert version() == b""
    assert facts(read_manifest(DATA, "m.yaml", Cache(tmp_path / "cache"))) == facts(PLAIN)
    assert not (tmp_path / "cache").exists()


# --- where there can be none ------------------------------------------------------------------------------------------


def test_a_folder_that_others_may_write_to_is_left_alone(store: Cache, entry: Path) -> None:
    for mode, usable in ((0o777, False), (0o720, False), (0o755, True), (0o700, True)):
        entry.parent.chmod(mode)
        assert (Cache(entry.parents[1]).key(DATA) is not None) == usable, oct(mode)


def test_a_folder_of_somebody_else_is_left_alone(entry: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    user = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: user + 1)
    assert Cache(entry.parents[1]).key(DATA) is None


def test_a_link_is_no_folder_of_the_cache(entry: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "manifests").symlink_to(entry.parent)
    assert Cache(tmp_path / "mine").key(DATA) is None
    (tmp_path / "theirs").symlink_to(entry.parents[1])
    assert Cache(tmp_path / "theirs").key(DATA) is not None  # a cache folder may lie on another disk


def test_a_folder_that_appears_meanwhile_has_to_be_ours_as_well(store: Cache, tmp_path: Path) -> None:
    assert store.key(DATA) is not None
    (tmp_path / "cache" / "manifests").mkdir(parents=True)
    (tmp_path / "cache" / "manifests").chmod(0o777)
    assert facts(read_manifest(DATA, "m.yaml", store)) == facts(PLAIN)
    assert entries(tmp_path) == []


@pytest.mark.parametrize("place", ["cache", "cache/manifests"])
def test_a_file_in_the_place_of_the_folder_means_no_cache(tmp_path: Path, place: str) -> None:
    (tmp_path / place).parent.mkdir(exist_ok=True)
    (tmp_path / place).write_text("precious")
    store = Cache(tmp_path / "cache")
    for _ in range(2):
        assert facts(read_manifest(DATA, "m.yaml", store)) == facts(PLAIN)
    assert (tmp_path / place).read_text() == "precious"


def test_a_folder_that_cannot_be_made_means_no_cache() -> None:
    assert facts(read_manifest(DATA, "m.yaml", Cache(Path("/proc/nobody/cache")))) == facts(PLAIN)


@pytest.fixture
def full_disk() -> Iterator[None]:
    """Let no file grow beyond a few bytes."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.usefixtures("full_disk")
def test_a_full_disk_leaves_nothing_behind(store: Cache, tmp_path: Path) -> None:
    assert facts(read_manifest(DATA, "m.yaml", store)) == facts(PLAIN)
    assert entries(tmp_path) == []


def test_the_folder_may_be_deleted_at_any_time(store: Cache, entry: Path) -> None:
    entry.unlink()
    entry.parent.rmdir()
    assert facts(read_manifest(DATA, "m.yaml", store)) == facts(PLAIN)
    assert entry.exists()


# --- what is swept away -----------------------------------------------------------------------------------------------


def test_a_sweep_removes_what_was_not_used_for_long_and_nothing_that_is_not_ours(entry: Path, tmp_path: Path) -> None:
    stale, fresh, killed = entry.parent / ("a" * 64), entry.parent / ("b" * 64), entry.parent / ".new-abc_1"
    foreign = [entry.parent / name for name in ("notes.txt", "A" * 64, "a" * 63, "a" * 65)]
    for path in (stale, fresh, killed, *foreign):
        path.write_text("x")
        aged(path, MAX_AGE + 1)
    aged(fresh, MAX_AGE - 1)
    aged(entry, 0)
    Cache(tmp_path / "cache", now=lambda: NOW).put("c" * 64, PLAIN.table)
    assert {path.name for path in entries(tmp_path)} == {
        entry.name, fresh.name, "c" * 64, *(path.name for path in foreign)
    }  # fmt: skip


def test_a_sweep_keeps_the_folder_within_bounds_the_oldest_going_first(
    entry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for age, name in enumerate("abcd"):
        (entry.parent / (name * 64)).write_bytes(b"x" * 100)
        aged(entry.parent / (name * 64), age)
    aged(entry, 9)
    monkeypatch.setattr(cache, "MAX_TOTAL", 300)
    Cache(tmp_path / "cache", now=lambda: NOW).put("e" * 64, PLAIN.table)
    assert [path.name[0] for path in entries(tmp_path)] == ["a", "b", "c", "e"]


def test_a_run_sweeps_once_and_only_if_it_writes(store: Cache, entry: Path, tmp_path: Path) -> None:
    stale = entry.parent / ("a" * 64)
    stale.write_text("x")
    aged(stale, 2 * MAX_AGE)
    kept(store)
    store.put("b" * 64, PLAIN.table)
    assert stale.exists()  # `store` has swept before it wrote the first one
    other = Cache(tmp_path / "cache", now=lambda: NOW)
    kept(other)
    assert stale.exists()
    other.put("c" * 64, PLAIN.table)
    assert not stale.exists()


def test_an_entry_in_use_stays(store: Cache, entry: Path) -> None:
    aged(entry, DAY - 1)
    before = entry.stat().st_mtime
    kept(store)
    assert entry.stat().st_mtime == before  # noted by the day
    aged(entry, DAY + 1)
    kept(store)
    assert entry.stat().st_mtime != NOW - DAY - 1


def test_an_entry_says_in_plain_text_what_the_file_says(entry: Path) -> None:
    first, *lines = entry.read_bytes()[64:].decode("ascii").split("\n")
    assert json.loads(first)[0] == {"thread": ["thread_a", "thread_b"]}
    assert [json.loads(line)[0] for line in lines] == [
        {"team": "support", "plan": "gold", "gone": None}, {"team": "support", "plan": "1"}
    ]  # fmt: skip
