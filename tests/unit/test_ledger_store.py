"""The ledger in real repositories: reading it, and recording in it."""

import json
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from reconciler.bases import Touched
from reconciler.errors import ExitCode, InvalidInput
from reconciler.git import GitFailed, objects
from reconciler.git import repository as around
from reconciler.ledger import NotRecorded, Run, Server, check_server, read, record, ref_of, runs, shallow, store
from reconciler.ledger.records import SHARD
from reconciler.model import Base, Ownership, Ref

SERVER = Server("openai", "https://api.example.org/v1", None, None, "reconciler.yaml")
REF = "refs/reconciler/test"
ONE, TWO = Ref("thread", "thread_1"), Ref("thread", "thread_2")
DEFAULTS = {"kind": "apply", "at": "2026-11-22T14:10:37Z", "actor": "A", "commit": None, "dirty": None, "tool": "1"}


def git(folder, *arguments):
    command = ["git", "-C", str(folder), "-c", "user.name=A", "-c", "user.email=a@example.org", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def run(name, **more):
    return Run(**{**DEFAULTS, "id": name, **more})


def base(value):
    return Base({"k": value})


def many(count, value="1"):
    return {Ref("thread", f"thread_{number}"): base(value) for number in range(count)}


def add(repository, moved, name="1", applied=None, known=None, **more):
    """Record a run on top of what is there, or of `known`, and return the ledger."""
    known = known or read(repository, "test")
    return record(repository, "test", known, moved, run(name, **more), SERVER, applied).ledger


def cut_clone(repository, folder):
    """Return a clone that has nothing but the tip of the ledger."""
    kind = git(repository.top, "rev-parse", "--show-object-format")
    git(repository.top, "init", "-q", f"--object-format={kind}", str(folder))
    git(folder, "fetch", "-q", "--depth", "1", f"file://{repository.top}", f"{REF}:{REF}")
    return around(folder)


def blobs(ledger):
    return set(ledger.shards.items())


@pytest.fixture(params=["sha1", "sha256"])
def repository(request, tmp_path):
    folder = tmp_path / "repo"
    git(tmp_path, "init", "-q", f"--object-format={request.param}", str(folder))
    return around(folder)


# --- recording and reading --------------------------------------------------------------------------------------------


def test_without_a_ref_there_is_no_ledger(repository):
    assert read(repository, "test") is None
    assert runs(repository, "test") == []
    assert not shallow(repository, "test")


def test_what_is_recorded_is_read_again(repository):
    bases = {
        ONE: Base({"a": "1", "b": None}, Ownership.EXCLUSIVE, ("x*",), True, frozenset("u"), frozenset("s"), "c" * 40),
        TWO: Base({}),
    }
    written = add(repository, bases, applied="c" * 40)
    ledger = read(repository, "test")
    assert ledger == written
    assert (ledger.target, ledger.tip, ledger.server, ledger.applied) == ("test", written.tip, SERVER, "c" * 40)
    assert ledger.everything() == written.everything() == bases
    assert ledger.base(ONE) == bases[ONE]
    assert ledger.base(ONE).commit == "c" * 40
    assert ledger.base(Ref("thread", "thread_3")) is None
    assert ledger.bases([TWO, Ref("message", "x")]) == {TWO: bases[TWO]}
    assert ledger.refs() == (ONE, TWO)


def test_before_a_first_commit_there_is_a_ledger_already(repository):
    assert git(repository.top, "for-each-ref") == ""
    assert add(repository, {ONE: base("1")}).applied is None


def test_a_forgotten_resource_has_no_record(repository):
    add(repository, {ONE: base("1"), TWO: base("1")})
    assert add(repository, {ONE: None}).refs() == (TWO,)
    assert read(repository, "test").refs() == (TWO,)
    add(repository, {TWO: None})
    assert read(repository, "test").refs() == ()
    assert add(repository, {ONE: base("2")}).everything() == {ONE: base("2")}


def test_an_earlier_state_can_be_read(repository):
    first = add(repository, {ONE: base("1")})
    add(repository, {ONE: base("2")})
    assert read(repository, "test", first.tip).base(ONE) == base("1")


def test_only_the_files_that_changed_are_written_anew(repository):
    before = add(repository, many(SHARD * 4))
    assert len(before.shards) == 4
    after = add(repository, {ONE: base("2")})
    assert len(blobs(before) & blobs(after)) == 3
    assert blobs(after) == blobs(read(repository, "test"))
    assert after.everything() == read(repository, "test").everything() == {**many(SHARD * 4), ONE: base("2")}


def test_more_resources_come_to_lie_in_more_files_and_fewer_in_fewer(repository):
    first = add(repository, many(SHARD))
    assert (len(first.shards), first.head.resources) == (1, SHARD)
    second = add(repository, {**many(SHARD * 3), ONE: base("2")})
    assert (len(second.shards), second.head.resources) == (4, SHARD * 3)
    third = add(repository, dict.fromkeys(list(many(SHARD * 3))[SHARD // 2 :]))
    assert (len(third.shards), third.head.resources) == (1, SHARD // 2)
    assert read(repository, "test").everything() == {**many(SHARD // 2), ONE: base("2")}


def test_the_count_stays_right_when_nothing_is_new(repository):
    add(repository, {ONE: base("1")})
    assert add(repository, {ONE: base("2"), TWO: None}).head.resources == 1


def test_the_tip_alone_is_enough_to_read(repository, tmp_path):
    for number in range(3):
        ledger = add(repository, {ONE: base(str(number)), TWO: base("1")}, name=str(number))
    ci = cut_clone(repository, tmp_path / "ci")
    assert read(ci, "test").everything() == ledger.everything()
    assert [one.id for _, one in runs(ci, "test")] == ["2"]
    assert shallow(ci, "test")
    assert not shallow(repository, "test")


def test_the_tree_is_readable_for_people(repository):
    tip = add(
        repository, {ONE: base("1")}, touched={ONE: (Touched("k", None, "1", owned=False),)}, applied="c" * 40
    ).tip
    paths = ["base/0.json", "ledger.json", "run.json", "run/0.json"]
    assert git(repository.top, "ls-tree", "-r", "--name-only", tip).splitlines() == paths
    assert git(repository.top, "show", f"{tip}:base/0.json") == '{\n"thread/thread_1": {"metadata": {"k": "1"}}\n}'
    assert json.loads(git(repository.top, "show", f"{tip}:ledger.json")) == {
        "format": 1,
        "complete": True,
        "server": {
            "provider": "openai",
            "base_url": "https://api.example.org/v1",
            "organization": None,
            "project": None,
            "settings": "reconciler.yaml",
        },
        "applied": "c" * 40,
        "resources": 1,
        "bits": 0,
    }


def test_a_commit_has_the_ledgers_last_one_as_its_only_parent_and_says_what_was_done(repository):
    first = add(repository, {ONE: base("1")}, outcomes={"applied": 1})
    second = add(repository, {}, name="2", kind="forget")
    log = git(repository.top, "log", "--format=%H|%P|%s", REF).splitlines()
    assert log == [f"{second.tip}|{first.tip}|forget 2", f"{first.tip}||apply 1: 1 applied"]


def test_where_git_knows_nobody_a_run_is_recorded_all_the_same(repository):
    git(repository.top, "config", "user.useConfigOnly", "true")
    tip = add(repository, {ONE: base("1")}).tip
    assert git(repository.top, "log", "-1", "--format=%an <%ae>", tip) == "reconciler <reconciler@localhost>"


# --- what is not touched ----------------------------------------------------------------------------------------------


def state(folder):
    """Return everything of a repository that recording has to leave alone."""
    own = around(folder)
    inside = own.common if (folder / ".git").is_dir() else None
    files = ("HEAD", "FETCH_HEAD", "index", "logs/refs/stash", "ORIG_HEAD")
    return (
        git(folder, "status", "--porcelain=v2", "--branch", "--show-stash"),
        [line for line in git(folder, "for-each-ref").splitlines() if REF not in line],
        git(folder, "symbolic-ref", "--quiet", "HEAD") if inside else git(folder, "rev-parse", "HEAD"),
        {name: (inside / name).read_bytes() for name in files if inside and (inside / name).exists()},
    )


@pytest.fixture
def busy(repository):
    """Return a repository with a stash, a staged change, a changed and an untracked file."""
    top = repository.top
    (top / "file").write_text("1")
    (top / "sub").mkdir()
    (top / "sub" / "file").write_text("1")
    git(top, "add", "-A")
    git(top, "commit", "-q", "-m", "First")
    (top / "file").write_text("2")
    git(top, "stash", "-q")
    (top / "file").write_text("3")
    git(top, "add", "-A")
    (top / "sub" / "file").write_text("4")
    (top / "new").write_text("5")
    git(top, "fetch", "-q", ".", "HEAD")
    return repository


def test_nothing_but_the_ref_is_touched(busy):
    before = state(busy.top)
    assert {"HEAD", "FETCH_HEAD", "index", "logs/refs/stash"} <= set(before[3])
    add(busy, {ONE: base("1")}, applied=git(busy.top, "rev-parse", "HEAD"))
    add(busy, {ONE: base("2")}, applied=git(busy.top, "rev-parse", "HEAD"))
    assert state(busy.top) == before


def test_a_linked_work_tree_has_the_same_ledger(busy, tmp_path):
    linked = tmp_path / "linked"
    git(busy.top, "worktree", "add", "-q", "--detach", str(linked))
    before = state(linked), state(busy.top)
    written = add(around(linked), {ONE: base("1")})
    assert (state(linked), state(busy.top)) == before
    assert read(busy, "test") == written


def test_a_folder_below_the_top_and_a_detached_head_will_do(busy):
    git(busy.top, "checkout", "-q", "--detach")
    written = add(around(busy.top / "sub"), {ONE: base("1")})
    assert read(busy, "test") == written
    assert git(busy.top, "rev-parse", "--abbrev-ref", "HEAD") == "HEAD"


def test_a_hook_of_gits_own_environment_does_not_lead_elsewhere(repository, tmp_path, monkeypatch):
    git(tmp_path, "init", "-q", "elsewhere")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere" / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "index"))
    add(repository, {ONE: base("1")})
    monkeypatch.undo()
    assert git(tmp_path / "elsewhere", "for-each-ref") == ""
    assert not (tmp_path / "index").exists()


# --- whose it is ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (Server("emulator", SERVER.base_url, None, None, "reconciler.yaml"), "provider was openai and is emulator"),
        (
            Server("openai", "https://x/v1", None, None, "reconciler.yaml"),
            "base_url was https://api.example.org/v1 and",
        ),
        (Server("openai", SERVER.base_url, "org_1", None, "reconciler.yaml"), "organization was none and is org_1"),
        (Server("openai", SERVER.base_url, None, "p", "reconciler.yaml"), "project was none and is p"),
        (Server("openai", SERVER.base_url, None, None, None), "settings was reconciler.yaml and is none"),
    ],
)
def test_a_ledger_of_another_server_is_refused(repository, other, said):
    ledger = add(repository, {ONE: base("1")})
    check_server(ledger, SERVER)
    for act in (
        lambda: check_server(ledger, other),
        lambda: record(repository, "test", ledger, {}, run("2"), other, None),
        lambda: record(repository, "test", None, {ONE: base("2")}, run("2"), other, None),  # somebody was faster
    ):
        with pytest.raises(InvalidInput) as refused:
            act()
        (problem,) = refused.value.problems()
        assert problem.code == "other_server"
        assert "git update-ref -d refs/reconciler/test" in problem.message
    with pytest.raises(InvalidInput, match=said):
        check_server(ledger, other)
    assert read(repository, "test") == ledger


# --- damage -----------------------------------------------------------------------------------------------------------


def forged(repository, **files):
    """Put the ref at a ledger in which these files have other contents (`None`: no such file)."""
    ledger = add(repository, {ONE: base("1")}, touched={ONE: (Touched("k", None, "1", owned=False),)})
    entries = objects.entries(repository, ledger.tip)
    for name, content in files.items():
        path = name.replace("__", "/") + ".json"
        del entries[path]
        if content is not None:
            entries[path] = objects.write_blobs(repository, [content])[0]
    tip = objects.write_commit(repository, objects.write_tree(repository, entries), [ledger.tip], "forged")
    objects.move(repository, REF, tip, ledger.tip)
    return tip


def lose(repository, name):
    """Lose an object."""
    own = git(repository.top, "rev-parse", name)
    (repository.common / "objects" / own[:2] / own[2:]).unlink()


def look(repository):
    ledger = read(repository, "test")
    ledger.everything()
    for _, one in runs(repository, "test"):
        dict(one.touched)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"ledger": None}, "ledger.json is not there"),
        ({"ledger": b"{"}, "ledger.json is no record of ours"),
        ({"ledger": b'{"format": 2}'}, "ledger.json is of format 2"),
        ({"base__0": b"[]"}, "base/0.json has list"),
        ({"run": b"null"}, "run.json has NoneType"),
        ({"run__0": b"null"}, "run/0.json has NoneType"),
    ],
)
def test_a_file_that_is_no_record_of_ours_is_invalid(repository, files, said):
    tip = forged(repository, **files)
    with pytest.raises(InvalidInput) as refused:
        look(repository)
    (problem,) = refused.value.problems()
    assert problem.code == "ledger_unreadable"
    assert said in problem.message
    assert REF in problem.message
    assert said.startswith("run.json") or tip[:12] in problem.message


@pytest.mark.parametrize("name", ["", "^{tree}", ":base", ":ledger.json", ":base/0.json", ":run.json", ":run/0.json"])
def test_a_ledger_with_a_missing_object_is_invalid(repository, name):
    add(repository, {ONE: base("1")}, touched={ONE: (Touched("k", None, "1", owned=False),)})
    lose(repository, f"{REF}{name}")
    with pytest.raises(InvalidInput) as refused:
        look(repository)
    assert refused.value.problems()[0].code == "ledger_unreadable"


def test_a_broken_ref_is_no_absent_ledger(repository):
    add(repository, {ONE: base("1")})
    (repository.common / REF).write_text("")
    for act in (read, runs, shallow):
        with pytest.raises(InvalidInput) as refused:
            act(repository, "test")
        assert refused.value.problems()[0].code == "ledger_unreadable"


def test_a_commit_that_is_not_there_is_invalid(repository):
    with pytest.raises(InvalidInput):
        read(repository, "test", "1" * 40)


def test_a_run_that_cannot_be_written_is_told(repository):
    ledger = add(repository, {ONE: base("1")})
    hook = repository.common / "hooks" / "reference-transaction"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    with pytest.raises(NotRecorded, match="hook") as failed:
        add(repository, {ONE: base("2")}, known=ledger)
    assert failed.value.exit_code is ExitCode.INCOMPLETE
    hook.unlink()
    assert read(repository, "test") == ledger


# --- two processes of one clone ---------------------------------------------------------------------------------------


def test_what_another_process_recorded_meanwhile_is_kept(repository):
    known = add(repository, {ONE: Base({"a": "0", "b": "0", "c": "0"}), TWO: base("0")}, applied="a" * 40)
    add(repository, {ONE: Base({"a": "1", "b": "0", "c": "1"})}, name="theirs", known=known, applied="a" * 40)
    late = record(
        repository, "test", known, {ONE: Base({"a": "0", "b": "2", "c": "2"}), TWO: None}, run("ours"), SERVER, "b" * 40
    )
    assert late.disputed == ((ONE, "c"),)
    assert late.ledger == read(repository, "test")
    assert late.ledger.everything() == {ONE: Base({"a": "1", "b": "2", "c": "2"})}
    assert late.ledger.applied == "b" * 40
    assert late.ledger.head.resources == 1
    assert {one.id for _, one in runs(repository, "test")} == {"1", "theirs", "ours"}
    assert "run.json" not in objects.entries(repository, late.ledger.tip)
    parents = git(repository.top, "log", "-1", "--format=%P", REF).split()
    assert [git(repository.top, "log", "-1", "--format=%s", one) for one in parents] == ["apply theirs", "apply ours"]


def test_the_applied_commit_is_theirs_where_we_did_not_move_it(repository):
    known = add(repository, {ONE: base("0")}, applied="a" * 40)
    add(repository, {ONE: base("1")}, known=known, applied="b" * 40)
    assert add(repository, {TWO: base("1")}, known=known, applied="a" * 40).applied == "b" * 40


def test_two_first_records_are_united_without_an_origin(repository):
    add(repository, {ONE: Base({"a": "1", "b": "1"}), TWO: base("1")}, name="theirs")
    late = record(repository, "test", None, {ONE: Base({"a": "2", "c": "2"})}, run("ours"), SERVER, None)
    assert late.ledger.everything() == {ONE: Base({"a": "2", "b": "1", "c": "2"}), TWO: base("1")}
    assert late.disputed == ((ONE, "a"),)


@pytest.mark.parametrize(
    ("before", "theirs", "ours"),
    [(SHARD, SHARD * 2, 1), (9, SHARD * 2, 1), (SHARD, 1, SHARD * 2), (1, SHARD * 2, SHARD * 5), (SHARD * 4, 1, 1)],
)
def test_ledgers_in_different_numbers_of_files_are_united(repository, before, theirs, ours):
    known = add(repository, many(before, "0"))
    more = {Ref("message", f"m{number}"): base("1") for number in range(theirs)}
    add(repository, more, known=known)
    mine = {Ref("conversation", f"c{number}"): base("2") for number in range(ours)}
    both = add(repository, {**mine, ONE: base("2")}, known=known)
    assert both.everything() == {**many(before, "0"), **more, **mine, ONE: base("2")}
    assert both.head.resources == len(both.everything())


def test_a_deleted_ref_comes_back_with_what_was_known(repository):
    known = add(repository, {ONE: base("1")})
    git(repository.top, "update-ref", "-d", REF)
    add(repository, {TWO: base("1")}, name="2", known=known)
    assert [one.id for _, one in runs(repository, "test")] == ["2", "1"]


def test_a_ref_that_never_holds_still_is_given_up(repository, monkeypatch):
    known = add(repository, {ONE: base("1")})
    add(repository, {ONE: base("2")})
    monkeypatch.setattr(store, "ATTEMPTS", 1)
    with pytest.raises(NotRecorded, match="kept moving"):
        add(repository, {TWO: base("1")}, known=known)


def test_threads_that_record_at_once_lose_nothing(repository):
    known = add(repository, {ONE: Base({}), TWO: base("0")}, name="first")
    names = [f"w{number}" for number in range(6)]
    together = threading.Barrier(len(names))

    def work(name):
        together.wait()
        return record(repository, "test", known, {ONE: Base({name: "1"})}, run(name), SERVER, None)

    with ThreadPoolExecutor(len(names)) as pool:
        found = list(pool.map(work, names))
    assert [one.disputed for one in found] == [()] * len(names)
    assert read(repository, "test").everything() == {ONE: Base(dict.fromkeys(names, "1")), TWO: base("0")}
    assert {one.id for _, one in runs(repository, "test")} == {"first", *names}


PROCESS = """
import sys
from pathlib import Path
from reconciler.git import repository
from reconciler.ledger import Run, Server, read, record
from reconciler.model import Base, Ref
here, name = repository(Path(sys.argv[1])), sys.argv[2]
for number in range(4):
    known = read(here, "test")
    ref = Ref("thread", name)
    base = Base({"k": str(number)})
    server = Server("openai", "https://api.example.org/v1", None, None, "reconciler.yaml")
    record(here, "test", known, {ref: base}, Run(f"{name}{number}", "apply", "", "", None, None, ""), server, None)
"""


def test_processes_that_record_at_once_lose_nothing(repository):
    command = [sys.executable, "-c", PROCESS, str(repository.top)]
    processes = [subprocess.Popen([*command, name]) for name in "ab"]
    assert [process.wait(60) for process in processes] == [0, 0]
    assert read(repository, "test").everything() == {Ref("thread", name): base("3") for name in "ab"}
    assert {one.id for _, one in runs(repository, "test")} == {
        f"{name}{number}" for name in "ab" for number in range(4)
    }


# --- runs -------------------------------------------------------------------------------------------------------------


def test_runs_are_newest_first_with_the_commits_that_record_them(repository):
    tips = [add(repository, {ONE: base(str(number))}, name=str(number)).tip for number in range(4)]
    assert [(tip, one.id) for tip, one in runs(repository, "test")] == [(tips[n], str(n)) for n in (3, 2, 1, 0)]
    assert [one.id for _, one in runs(repository, "test", limit=2)] == ["3", "2"]
    assert len(runs(repository, "test", limit=9)) == 4


def test_many_runs_are_read_a_part_at_a_time(repository, monkeypatch):
    for number in range(4):
        add(repository, {ONE: base(str(number))}, name=str(number))
    monkeypatch.setattr(store, "_AT_ONCE", 2)
    assert [one.id for _, one in runs(repository, "test")] == ["3", "2", "1", "0"]
    assert [one.id for _, one in runs(repository, "test", limit=1)] == ["3"]


def test_a_run_has_its_before_images(repository):
    touched = {ref: (Touched("k", ["x"], "1", owned=True),) for ref in many(SHARD * 2)}
    full = run("1", touched=touched, outcomes={"applied": 2}, undoes="0", commit="c" * 40, dirty=True)
    record(repository, "test", None, {ONE: base("1")}, full, SERVER, None)
    ((_, found),) = runs(repository, "test")
    assert "touched" in repr(found)
    assert found.touched == touched
    assert found == full
    assert (len(found.touched), found.touched[ONE]) == (len(touched), touched[ONE])
    assert len([path for path in objects.entries(repository, REF) if path.startswith("run/")]) == 2


def test_a_ledger_cut_at_what_unites_has_only_the_runs_that_are_there(repository, tmp_path):
    known = add(repository, {ONE: base("0")})
    add(repository, {ONE: base("1")}, name="theirs", known=known)
    add(repository, {TWO: base("1")}, name="ours", known=known)
    ci = cut_clone(repository, tmp_path / "ci")
    assert runs(ci, "test") == []
    assert shallow(ci, "test")


def test_a_ref_is_named_after_its_target():
    assert ref_of("production") == "refs/reconciler/production"


def test_the_failure_of_git_in_reading_is_translated(repository, monkeypatch):
    add(repository, {ONE: base("1")})
    ledger = read(repository, "test")

    def fail(*_):
        raise GitFailed("fatal: loose object is corrupt")

    monkeypatch.setattr(objects, "contents", fail)
    with pytest.raises(InvalidInput, match="corrupt"):
        ledger.everything()
