"""Objects and refs written by plumbing into real repositories, of both object formats."""

import os
import subprocess
import time

import pytest

from reconciler.git import GitFailed, objects
from reconciler.git import repository as around

REF = "refs/reconciler/test"


def git(folder, *arguments):
    command = ["git", "-C", str(folder), "-c", "user.name=A", "-c", "user.email=a@example.org", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture(params=["sha1", "sha256"])
def repository(request, tmp_path):
    folder = tmp_path / "repo"
    git(tmp_path, "init", "-q", f"--object-format={request.param}", str(folder))
    return around(folder)


@pytest.fixture
def commit(repository):
    """Return a function that writes an empty commit."""

    def write(message="one", *parents):
        return objects.write_commit(repository, objects.write_tree(repository, {}), parents, message)

    return write


@pytest.mark.parametrize("count", [1, 3, 150])  # from a hundred on, git keeps the pack that they arrive in
def test_many_blobs_are_written_at_once_and_keep_their_order(repository, count):
    blobs = [b"\x00\n%d data 5\ndone\n" % number for number in range(count)]
    ids = objects.write_blobs(repository, blobs)
    assert len(set(ids)) == count
    assert list(objects.contents(repository, ids).values()) == blobs


def test_the_same_content_twice_has_one_id(repository):
    one, other = objects.write_blobs(repository, [b"same", b"same"])
    assert one == other
    assert objects.write_blobs(repository, [b"same"]) == [one]


def test_nothing_to_write_asks_nobody(repository):
    assert objects.write_blobs(repository, []) == []


def test_a_repository_that_cannot_be_written_to_is_noticed(repository):
    (repository.common / "objects" / "pack").rmdir()
    (repository.common / "objects" / "pack").write_text("in the way")
    with pytest.raises(GitFailed):
        objects.write_blobs(repository, [b"%d" % number for number in range(150)])


def test_fewer_ids_than_blobs_are_an_error(tmp_path):
    class Silent:
        def run(self, *arguments, **_):
            return b""

    with pytest.raises(GitFailed, match="0 of 1"):
        objects.write_blobs(Silent(), [b"x"])


def test_a_tree_has_its_files_in_their_folders(repository):
    one, other = objects.write_blobs(repository, [b"1", b"2"])
    files = {"b.json": one, "a/1.json": one, "a/b/2.json": other, "ä\n.json": other}
    tree = objects.write_tree(repository, files)
    assert objects.entries(repository, tree) == files
    assert git(repository.top, "fsck", "--strict", "--no-dangling") == ""


def test_entries_of_what_is_no_tree_fail(repository):
    with pytest.raises(GitFailed):
        objects.entries(repository, "0" * 40)


def test_a_commit_has_its_parents_and_its_message(repository, commit):
    one, other = commit("one"), commit("other")
    both = commit("both: ä \ud800", one, other)
    assert git(repository.top, "log", "-1", "--format=%P %s", both) == f"{one} {other} both: ä ?"


def test_a_commit_is_by_whom_git_knows(repository, commit):
    git(repository.top, "config", "user.name", "B")
    git(repository.top, "config", "user.email", "b@example.org")
    assert git(repository.top, "log", "-1", "--format=%an %ae %cn %ce", commit()) == "B b@example.org B b@example.org"


def test_where_git_knows_nobody_there_is_a_fallback(repository, commit):
    git(repository.top, "config", "user.useConfigOnly", "true")
    assert git(repository.top, "log", "-1", "--format=%an <%ae> %cn <%ce>", commit()) == (
        "reconciler <reconciler@localhost> reconciler <reconciler@localhost>"
    )


def test_a_signature_is_never_asked_for(repository, commit):
    git(repository.top, "config", "commit.gpgSign", "true")
    git(repository.top, "config", "gpg.program", "false")
    assert commit()


def test_a_ref_that_is_absent_has_no_tip(repository):
    assert objects.tip(repository, REF) is None


def test_a_branch_of_a_like_name_is_not_taken_for_the_ref(repository, commit):
    git(repository.top, "update-ref", f"refs/heads/{REF}", commit())
    assert objects.tip(repository, REF) is None


@pytest.mark.parametrize("content", ["", "garbage\n", "1" * 40 + "\n"], ids=["empty", "garbage", "dangling"])
def test_a_broken_ref_does_not_pass_for_an_absent_one(repository, content):
    path = repository.common / REF
    path.parent.mkdir(parents=True)
    path.write_text(content)
    with pytest.raises(GitFailed):
        objects.tip(repository, REF)


def test_a_ref_is_created_and_moved(repository, commit):
    one, other = commit("one"), commit("other")
    assert objects.move(repository, REF, one, None)
    assert objects.tip(repository, REF) == one
    assert objects.move(repository, REF, other, one)
    assert objects.tip(repository, REF) == other


def test_a_ref_that_is_elsewhere_stays(repository, commit):
    one, other, third = commit("one"), commit("other"), commit("third")
    assert not objects.move(repository, REF, one, other)
    assert objects.tip(repository, REF) is None
    assert objects.move(repository, REF, one, None)
    assert not objects.move(repository, REF, third, other)
    assert not objects.move(repository, REF, third, None)
    assert objects.tip(repository, REF) == one


def test_a_symbolic_ref_does_not_lead_the_move_to_a_branch(repository, commit):
    one, other = commit("one"), commit("other")
    git(repository.top, "update-ref", "refs/heads/side", one)
    git(repository.top, "symbolic-ref", REF, "refs/heads/side")
    objects.move(repository, REF, other, one)
    assert objects.tip(repository, "refs/heads/side") == one


@pytest.fixture
def lock(repository):
    """The lock file of the ref, held by somebody."""
    path = repository.common / f"{REF}.lock"
    path.parent.mkdir(parents=True)
    path.write_text("")
    return path


def test_a_lock_that_somebody_keeps_fails_after_some_patience(repository, commit, lock, monkeypatch):
    waited, new = [], commit()

    def pause(seconds):
        waited.append(seconds)
        now = time.time() + len(waited)
        os.utime(lock, (now, now))

    monkeypatch.setattr(objects, "sleep", pause)
    with pytest.raises(GitFailed, match="lock"):
        objects.move(repository, REF, new, None)
    assert tuple(waited[: len(objects.PATIENCE)]) == objects.PATIENCE
    assert lock.exists()


@pytest.mark.parametrize("age", [0, 3600, -3600], ids=["now", "long ago", "tomorrow"])
def test_a_lock_that_was_left_behind_is_taken_away(repository, commit, lock, monkeypatch, age):
    monkeypatch.setattr(objects, "ABANDONED", 0.1)
    then = time.time() - age
    os.utime(lock, (then, then))
    assert objects.move(repository, REF, commit(), None)
    assert not lock.exists()


def test_what_fails_without_a_lock_is_not_waited_for_any_longer(repository, commit, monkeypatch):
    waited = []
    monkeypatch.setattr(objects, "sleep", waited.append)
    (repository.common / REF / "in" / "the" / "way").mkdir(parents=True)
    (repository.common / REF / "in" / "the" / "way" / "file").touch()
    with pytest.raises(GitFailed, match="cannot lock ref"):
        objects.move(repository, REF, commit(), None)
    assert tuple(waited) == objects.PATIENCE


def test_a_lock_that_is_given_back_is_waited_for(repository, commit, lock, monkeypatch):
    monkeypatch.setattr(objects, "sleep", lambda _: lock.unlink())
    assert objects.move(repository, REF, commit(), None)


def test_what_two_commits_have_in_common(repository, commit):
    root = commit("root")
    one, other, stranger = commit("one", root), commit("other", root), commit("stranger")
    assert objects.merge_bases(repository, one, other) == (root,)
    assert objects.merge_bases(repository, root, one) == (root,)
    assert objects.merge_bases(repository, one, one) == (one,)
    assert objects.merge_bases(repository, one, stranger) == ()
    left, right = commit("left", one, other), commit("right", other, one)
    assert set(objects.merge_bases(repository, left, right)) == {one, other}


def test_a_commit_that_is_not_here_has_nothing_in_common_by_error(repository, commit):
    with pytest.raises(GitFailed):
        objects.merge_bases(repository, commit(), "1" * len(commit()))


def test_a_commit_is_here_or_not(repository, commit):
    one = commit()
    assert objects.holds(repository, one)
    assert not objects.holds(repository, "1" * len(one))
    assert not objects.holds(repository, objects.write_tree(repository, {}))


def test_a_history_is_newest_first_and_without_what_unites(repository, commit):
    root = commit("root")
    one, other = commit("one", root), commit("other", root)
    both = commit("both", one, other)
    last = commit("last", both)
    found = objects.history(repository, last)
    assert (found[0], found[-1], set(found)) == (last, root, {root, one, other, last})


def test_a_history_is_cut_only_where_parents_are_missing(repository, commit):
    root = commit("parent x")
    last = commit("last\n\nparent of all", root)
    assert not objects.cut(repository, last)
    (repository.common / "shallow").write_text(f"{last}\n")
    assert objects.cut(repository, last)
    assert objects.cut(repository, root, last)
    assert not objects.cut(repository, root)


def test_no_work_tree_index_or_branch_is_touched(repository, commit):
    (repository.top / "file").write_text("1")
    git(repository.top, "add", "-A")
    index = (repository.common / "index").read_bytes()
    before = git(repository.top, "status", "--porcelain", "--branch"), (repository.common / "HEAD").read_text()
    objects.write_tree(repository, {"file": objects.write_blobs(repository, [b"2"])[0]})
    objects.move(repository, REF, commit(), None)
    assert (repository.common / "index").read_bytes() == index
    after = git(repository.top, "status", "--porcelain", "--branch"), (repository.common / "HEAD").read_text()
    assert before == after
    assert git(repository.top, "for-each-ref", "--format=%(refname)") == REF


def test_an_answer_that_goes_on_after_what_was_asked_for_is_an_error():
    class Talkative:
        def run(self, *arguments, **_):
            return b"x missing\nmore"

    with pytest.raises(GitFailed, match="something else"):
        objects.contents(Talkative(), ["x"])
