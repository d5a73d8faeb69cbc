"""Who is at work on a target."""

import fcntl
import os
import threading

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


def test_whoever_looks_is_told_of_a_watch_and_leaves_nothing_where_there_is_none(locks):
    assert locks.watch() is None
    assert not locks.folder.exists()
    with locks.watching("apply"):
        assert str(locks.watch()) == f"a watch (process {os.getpid()}, --mode apply)"
    assert locks.watch() is None


def test_a_watch_is_not_kept_from_beginning_by_somebody_who_merely_looks(locks):
    with locks.watching("report"):
        pass
    with (locks.folder / "watch.lock").open() as look:
        fcntl.flock(look, fcntl.LOCK_SH)
        over = threading.Timer(0.05, fcntl.flock, (look, fcntl.LOCK_UN))
        over.start()
        with locks.watching("report"):
            pass
        over.join()


def test_the_first_apply_of_all_keeps_a_watch_from_writing(locks):
    with locks.beside(), locks.watching("apply"), pytest.raises(AtWork, match="an apply is at work on target a"):
        locks.writing().__enter__()


def test_an_apply_goes_on_where_no_lock_can_be_made(locks):
    locks.folder.write_text("in the way")
    with locks.beside():
        assert locks.watch() is None


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
    locks = locks_around(tmp_path, "a", None)
    with locks.watching("report"), locks_around(tmp_path, "b", None).watching("report"):
        assert (tmp_path / ".reconciler" / ".gitignore").read_text() == "*\n"
        assert (tmp_path / ".reconciler" / "a.watch.lock").exists()
