"""Who is at work on a target."""

import fcntl
import os

import pytest

from reconciler.watching.lock import AtWork, Locks, locks_around


@pytest.fixture
def locks(tmp_path):
    return Locks("a", tmp_path / "x")


def test_there_is_one_watch_at_a_time(locks):
    with locks.watching("report"), pytest.raises(AtWork, match=rf"process {os.getpid()}, --mode report"):
        locks.watching("apply").__enter__()
    with locks.watching("apply"):
        pass


def test_an_apply_is_told_of_a_watch_and_leaves_nothing_where_there_is_none(locks):
    with locks.beside() as holder:
        assert holder is None
    assert not locks.folder.exists()
    with locks.watching("apply"), locks.beside() as holder:
        assert str(holder) == f"a watch (process {os.getpid()}, --mode apply)"
    with locks.beside() as holder:
        assert holder is None


def test_a_run_and_an_apply_exclude_each_other_and_applies_do_not(locks):
    with locks.writing(), pytest.raises(AtWork, match="writes to target a just now"):
        locks.beside().__enter__()
    with locks.beside(), locks.beside(), pytest.raises(AtWork, match="an apply is at work on target a"):
        locks.writing().__enter__()
    with locks.writing():
        pass


def test_an_apply_that_began_before_there_was_a_lock_is_known_by_its_journal(locks):
    locks.folder.mkdir()
    with (locks.folder / "20261123T000000Z-abc.json").open("w") as entry:
        fcntl.flock(entry, fcntl.LOCK_EX)
        with pytest.raises(AtWork):
            locks.writing().__enter__()
    with locks.writing():
        pass


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": "x", "mode": 1}', "\x00"])
def test_a_lock_whose_holder_cannot_be_told_is_a_lock_all_the_same(locks, content):
    with locks.watching("report"):
        (locks.folder / "watch.lock").write_text(content)
        with pytest.raises(AtWork, match="a watch is at work on target a"):
            locks.watching("report").__enter__()


def test_outside_of_git_the_locks_lie_in_a_folder_that_git_never_has(tmp_path):
    locks = locks_around(tmp_path, "a")
    with locks.watching("report"), locks_around(tmp_path, "b").watching("report"):
        assert (tmp_path / ".reconciler" / ".gitignore").read_text() == "*\n"
        assert (tmp_path / ".reconciler" / "a.watch.lock").exists()
