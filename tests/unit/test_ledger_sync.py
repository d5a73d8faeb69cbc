"""The ledger shared by clones over a real bare remote."""

import subprocess
from itertools import count

import pytest

from reconciler.errors import ExitCode, InvalidInput
from reconciler.git import GitFailed, objects, remotes
from reconciler.git import repository as around
from reconciler.ledger import (
    NotPushed,
    NotRecorded,
    Run,
    Server,
    fetch,
    push,
    read,
    record,
    runs,
    shallow,
    sync,
)
from reconciler.model import Base, Ref

SERVER = Server("openai", "https://api.example.org/v1", None, None, "reconciler.yaml")
OTHER = Server("openai", "https://other.example.org/v1", None, None, "reconciler.yaml")
REF = "refs/reconciler/test"
ONE, TWO = Ref("thread", "thread_1"), Ref("thread", "thread_2")
DEFAULTS = {"kind": "apply", "at": "2026-11-22T14:10:37Z", "actor": "A", "commit": None, "dirty": None, "tool": "1"}


def git(folder, *arguments):
    command = ["git", "-C", str(folder), "-c", "user.name=A", "-c", "user.email=a@example.org", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture(params=["sha1", "sha256"])
def bare(request, tmp_path):
    """Return a bare repository with a branch of three commits."""
    folder = tmp_path / "shared.git"
    git(tmp_path, "init", "-q", "--bare", "-b", "main", f"--object-format={request.param}", str(folder))
    first = tmp_path / "seed"
    git(tmp_path, "init", "-q", f"--object-format={request.param}", str(first))
    for number in range(3):
        git(first, "commit", "-q", "--allow-empty", "-m", f"{number}")
    git(first, "push", "-q", str(folder), "HEAD:main")
    return folder


def clone(bare, name, *options):
    git(bare.parent, "clone", "-q", *options, f"file://{bare}", str(bare.parent / name))
    return around(bare.parent / name)


@pytest.fixture
def one(bare):
    return clone(bare, "one")


@pytest.fixture
def other(bare):
    return clone(bare, "other")


def add(repository, name, pairs, ref=ONE, applied=None, server=SERVER):
    """Record a run that applied these pairs, on top of what is here, and return the tip."""
    known = read(repository, "test")
    before = known.base(ref) if known else None
    base = Base({**(before.metadata if before else {}), **pairs})
    run = Run(**{**DEFAULTS, "id": name})
    return record(repository, "test", known, {ref: base}, run, server, applied).ledger.tip


def local(repository):
    return objects.tip(repository, REF)


def shared(bare):
    return git(bare, "for-each-ref", "--format=%(objectname)", REF)


def names(repository):
    return {run.id for _, run in runs(repository, "test")}


# --- fetching ---------------------------------------------------------------------------------------------------------


def test_where_neither_side_has_a_ledger_there_is_nothing_to_fetch(one):
    assert fetch(one, "test", "origin") == ()
    assert local(one) is None


def test_a_default_clone_fetches_what_the_remote_has(one, other):
    tip = add(one, "1", {"k": "1"})
    push(one, "test", "origin")
    assert fetch(other, "test", "origin") == ()
    assert local(other) == tip
    assert read(other, "test").everything() == {ONE: Base({"k": "1"})}


def test_a_ledger_that_the_remote_does_not_have_stays(one):
    tip = add(one, "1", {"k": "1"})
    assert fetch(one, "test", "origin") == ()
    assert local(one) == tip


def test_a_local_ledger_that_is_behind_follows(one, other):
    add(one, "1", {"k": "1"})
    push(one, "test", "origin")
    fetch(other, "test", "origin")
    tip = add(one, "2", {"k": "2"})
    push(one, "test", "origin")
    assert fetch(other, "test", "origin") == ()
    assert local(other) == tip


def test_a_local_ledger_that_is_ahead_stays(one, other):
    add(one, "1", {"k": "1"})
    push(one, "test", "origin")
    tip = add(one, "2", {"k": "2"})
    assert fetch(one, "test", "origin") == ()
    assert local(one) == tip


@pytest.mark.parametrize("apart", ["from the start", "later"])
def test_ledgers_that_grew_apart_are_united(one, other, bare, apart):
    if apart == "later":
        add(one, "0", {"a": "0", "b": "0", "c": "0"}, applied="a" * 40)
        push(one, "test", "origin")
        fetch(other, "test", "origin")
    theirs = add(one, "1", {"a": "1", "c": "1"}, applied="b" * 40)
    push(one, "test", "origin")
    ours = add(other, "2", {"b": "2", "c": "2"}, applied="b" * 40 if apart == "later" else "c" * 40)
    assert fetch(other, "test", "origin") == ((ONE, "c"),)
    assert read(other, "test").everything() == {ONE: Base({"a": "1", "b": "2", "c": "2"})}
    assert git(other.top, "log", "-1", "--format=%P", REF).split() == [theirs, ours]
    assert push(other, "test", "origin") == ()
    assert shared(bare) == local(other)
    assert fetch(one, "test", "origin") == ()
    assert local(one) == local(other)
    assert names(one) >= {"1", "2"}


def test_two_that_united_the_same_have_no_dispute_about_it(one, other, bare):
    """Both clones unite the same two tips: the ledgers that result have two in common, none of them the later one."""
    add(one, "0", {"a": "0", "b": "0", "c": "0"})
    push(one, "test", "origin")
    fetch(other, "test", "origin")
    left, right = add(one, "1", {"a": "1"}), add(other, "2", {"b": "2"})
    for repository, remote in ((one, other), (other, one)):
        remotes.fetch(repository, str(remote.top), REF)
    for repository, theirs in ((one, right), (other, left)):
        joined = sync._joined(repository, read(repository, "test"), read(repository, "test", theirs))
        objects.move(repository, REF, joined.ledger.tip, local(repository))
    tip = add(one, "3", {"a": "3"})
    push(one, "test", "origin")
    remotes.fetch(other, "origin", REF)
    assert set(objects.merge_bases(other, add(other, "4", {"b": "4"}), tip)) == {left, right}
    assert fetch(other, "test", "origin") == ()
    assert read(other, "test").everything() == {ONE: Base({"a": "3", "b": "4", "c": "0"})}
    assert names(other) == {"0", "1", "2", "3", "4"}


@pytest.mark.parametrize("remote", ["nowhere", "--upload-pack=x"])
def test_a_remote_that_cannot_be_asked_is_no_remote_without_a_ledger(one, remote):
    with pytest.raises(InvalidInput) as refused:
        fetch(one, "test", remote)
    (problem,) = refused.value.problems()
    assert problem.code == "ledger_unreadable"
    assert remote in problem.message
    assert REF in problem.message


def test_a_password_in_the_address_of_a_remote_is_not_repeated(one):
    with pytest.raises(InvalidInput) as refused:
        fetch(one, "test", "https://user:s3cret@127.0.0.1:9/r.git")
    assert "s3cret" not in str(refused.value)
    add(one, "1", {"k": "1"})
    with pytest.raises(NotPushed) as failed:
        push(one, "test", "https://user:s3cret@127.0.0.1:9/r.git")
    assert "s3cret" not in str(failed.value)


def test_a_remote_ledger_of_another_format_is_refused_and_nothing_moves(one, other):
    first = add(one, "1", {"k": "1"})
    push(one, "test", "origin")
    fetch(other, "test", "origin")
    blob = objects.write_blobs(one, [b'{"format": 2}'])[0]
    tip = objects.write_commit(one, objects.write_tree(one, {"ledger.json": blob}), [first], "newer")
    objects.move(one, REF, tip, first)
    remotes.push(one, "origin", REF)
    with pytest.raises(InvalidInput, match="format 2"):
        fetch(other, "test", "origin")
    assert local(other) == first


def test_ledgers_of_different_servers_are_not_united(one, other):
    add(one, "1", {"k": "1"}, server=OTHER)
    push(one, "test", "origin")
    mine = add(other, "2", {"k": "2"})
    with pytest.raises(InvalidInput) as refused:
        fetch(other, "test", "origin")
    assert refused.value.problems()[0].code == "other_server"
    with pytest.raises(NotPushed, match=r"other\.example\.org"):
        push(other, "test", "origin")
    assert local(other) == mine


def test_a_ref_that_never_holds_still_is_given_up(one, other, monkeypatch):
    add(one, "1", {"k": "1"})
    push(one, "test", "origin")
    monkeypatch.setattr(objects, "move", lambda *_: False)
    with pytest.raises(NotRecorded, match="kept moving"):
        fetch(other, "test", "origin")


# --- pushing ----------------------------------------------------------------------------------------------------------


def test_without_a_ledger_there_is_nothing_to_push(one, bare):
    assert push(one, "test", "origin") == ()
    assert shared(bare) == ""


def test_a_rejected_push_unites_and_pushes_again(one, other, bare):
    add(one, "0", {"a": "0", "b": "0"})
    push(one, "test", "origin")
    fetch(other, "test", "origin")
    add(one, "1", {"a": "1"})
    push(one, "test", "origin")
    add(other, "2", {"a": "2", "b": "2"})
    assert push(other, "test", "origin") == ((ONE, "a"),)
    assert shared(bare) == local(other)
    assert names(other) == {"0", "1", "2"}
    assert push(other, "test", "origin") == ()


def test_whoever_is_overtaken_again_tries_again(one, other, bare, monkeypatch):
    """The other clone gets in between each fetch of ours and our next push, three times."""
    faster = count(1)
    real = remotes.push

    def overtaken(repository, remote, ref):
        number = next(faster)
        if number <= 3:
            fetch(other, "test", "origin")
            add(other, f"o{number}", {f"k{number}": "1"})
            real(other, remote, ref)
        real(repository, remote, ref)

    add(one, "mine", {"a": "1"})
    monkeypatch.setattr(remotes, "push", overtaken)
    assert push(one, "test", "origin") == ()
    assert shared(bare) == local(one)
    assert names(one) == {"mine", "o1", "o2", "o3"}
    assert read(one, "test").base(ONE) == Base({"a": "1", "k1": "1", "k2": "1", "k3": "1"})


def test_whoever_is_always_overtaken_is_told(one, monkeypatch):
    add(one, "1", {"k": "1"})

    def refuse(*_):
        add(one, "more", {"k": "2"})
        raise GitFailed("[rejected]")

    monkeypatch.setattr(remotes, "push", refuse)
    monkeypatch.setattr(sync, "ATTEMPTS", 3)
    with pytest.raises(NotPushed, match="others kept pushing first"):
        push(one, "test", "origin")


def test_what_the_remote_refuses_is_told_in_its_words_and_stays_here(one, bare, monkeypatch):
    waited = []
    monkeypatch.setattr(sync, "sleep", waited.append)
    (bare / "hooks").mkdir(exist_ok=True)
    hook = bare / "hooks" / "pre-receive"
    hook.write_text("#!/bin/sh\necho no refs but branches >&2\nexit 1\n")
    hook.chmod(0o755)
    tip = add(one, "1", {"k": "1"})
    with pytest.raises(NotPushed, match="no refs but branches") as failed:
        push(one, "test", "origin")
    assert failed.value.exit_code is ExitCode.INCOMPLETE
    assert failed.value.problems()[0].code == "not_pushed"
    assert tuple(waited) == sync.PATIENCE
    assert local(one) == tip
    hook.unlink()
    push(one, "test", "origin")
    assert shared(bare) == tip


def test_a_remote_that_is_gone_is_told(one, bare):
    add(one, "1", {"k": "1"})
    bare.rename(bare.parent / "gone.git")
    with pytest.raises(NotPushed, match="origin"):
        push(one, "test", "origin")


def test_a_broken_ledger_is_not_pushed(one):
    add(one, "1", {"k": "1"})
    (one.common / REF).write_text("")
    with pytest.raises(NotPushed):
        push(one, "test", "origin")


def test_pushing_publishes_no_branch(one, bare):
    git(one.top, "commit", "-q", "--allow-empty", "-m", "secret")
    head = git(one.top, "rev-parse", "HEAD")
    add(one, "1", {"k": "1"}, applied=head)
    push(one, "test", "origin")
    assert read(one, "test").applied == head
    assert git(bare, "for-each-ref", "--format=%(refname)").splitlines() == ["refs/heads/main", REF]
    assert subprocess.run(["git", "-C", str(bare), "cat-file", "-e", head], check=False, capture_output=True).returncode


def test_work_tree_index_branches_and_fetch_head_are_not_touched(one, other):
    def state():
        files = {name: (other.common / name).read_bytes() for name in ("HEAD", "index", "FETCH_HEAD")}
        refs = [line for line in git(other.top, "for-each-ref").splitlines() if REF not in line]
        return git(other.top, "status", "--porcelain=v2", "--branch", "--show-stash"), files, refs

    (other.top / "file").write_text("1")
    git(other.top, "add", "-A")
    git(other.top, "fetch", "-q")
    before = state()
    add(one, "1", {"a": "1"})
    push(one, "test", "origin")
    add(other, "2", {"b": "2"})
    push(other, "test", "origin")
    assert state() == before


# --- shallow clones ---------------------------------------------------------------------------------------------------


def test_a_shallow_clone_fetches_and_pushes(one, bare):
    add(one, "0", {"a": "0"})
    add(one, "1", {"a": "1"})
    push(one, "test", "origin")
    ci = clone(bare, "ci", "--depth", "1")
    fetch(ci, "test", "origin")
    tip = add(ci, "2", {"b": "2"})
    assert push(ci, "test", "origin") == ()
    assert shared(bare) == tip
    assert names(ci) == {"0", "1", "2"}
    assert git(ci.top, "rev-list", "--count", "HEAD") == "1"


@pytest.fixture
def cut(one, bare):
    """Return a clone whose ledger was fetched with its tip only."""
    add(one, "0", {"a": "0", "b": "0"})
    add(one, "1", {"a": "1"})
    push(one, "test", "origin")
    ci = clone(bare, "ci", "--depth", "1")
    git(ci.top, "fetch", "-q", "--depth", "1", "origin", f"{REF}:{REF}")
    assert shallow(ci, "test")
    return ci


def test_a_cut_ledger_can_be_added_to_and_pushed(cut, bare):
    tip = add(cut, "2", {"b": "2"})
    assert fetch(cut, "test", "origin") == ()
    assert push(cut, "test", "origin") == ()
    assert shared(bare) == tip


def test_a_history_that_cannot_be_completed_is_told(cut, one, monkeypatch):
    add(one, "2", {"b": "2"})
    push(one, "test", "origin")
    add(cut, "3", {"a": "3"})
    real = remotes.fetch

    def hasty(repository, remote, ref, depth=None):
        if depth:
            raise GitFailed("the line went dead")
        real(repository, remote, ref)

    monkeypatch.setattr(remotes, "fetch", hasty)
    with pytest.raises(InvalidInput, match="line went dead"):
        fetch(cut, "test", "origin")


def test_a_cut_ledger_follows_the_remote(cut, one):
    tip = add(one, "2", {"b": "2"})
    push(one, "test", "origin")
    fetch(cut, "test", "origin")
    assert local(cut) == tip


def test_a_cut_ledger_is_united_with_the_remotes(cut, one, bare):
    add(one, "2", {"b": "2"})
    push(one, "test", "origin")
    add(cut, "3", {"a": "3"})
    assert push(cut, "test", "origin") == ()
    assert shared(bare) == local(cut)
    assert read(cut, "test").base(ONE) == Base({"a": "3", "b": "2"})
    fetch(one, "test", "origin")
    assert names(one) == names(cut) == {"0", "1", "2", "3"}


def test_tips_that_were_fetched_one_by_one_are_not_taken_for_strangers(cut, one):
    """The local tip is an ancestor of the remote's, but this clone was told to forget what lies between."""
    add(one, "2", {"a": "2"})
    tip = add(one, "3", {"b": "3"})
    push(one, "test", "origin")
    git(cut.top, "fetch", "-q", "--depth", "1", "origin", REF)
    assert objects.merge_bases(cut, local(cut), tip) == ()
    assert fetch(cut, "test", "origin") == ()
    assert local(cut) == tip
    assert git(cut.top, "rev-list", "--count", "HEAD") == "1"
