"""One ref, fetched and pushed between real repositories."""

import subprocess

import pytest

from reconciler.git import GitFailed, objects, remotes
from reconciler.git import repository as around

REF = "refs/reconciler/test"


def git(folder, *arguments):
    command = ["git", "-C", str(folder), "-c", "user.name=A", "-c", "user.email=a@example.org", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def chain(repository, length, parent=None):
    """Write that many commits, one upon the other, unlike those of other clones, and return them."""
    found = [] if parent is None else [parent]
    for number in range(length):
        blob = objects.write_blobs(repository, [f"{number} {repository.top.name}".encode()])[0]
        tree = objects.write_tree(repository, {"file": blob})
        found.append(objects.write_commit(repository, tree, found[-1:], f"{number}"))
    return found


@pytest.fixture(params=["sha1", "sha256"])
def bare(request, tmp_path):
    folder = tmp_path / "shared.git"
    git(tmp_path, "init", "-q", "--bare", "-b", "main", f"--object-format={request.param}", str(folder))
    first = tmp_path / "first"
    git(tmp_path, "init", "-q", f"--object-format={request.param}", str(first))
    git(first, "remote", "add", "origin", str(folder))
    (first / "file").write_text("1")
    git(first, "add", "-A")
    for number in range(3):
        git(first, "commit", "-q", "--allow-empty", "-m", f"{number}")
    git(first, "push", "-q", "origin", "HEAD:main")
    return folder


def clone(bare, name, *options):
    folder = bare.parent / name
    git(bare.parent, "clone", "-q", *options, f"file://{bare}", str(folder))
    return around(folder)


@pytest.fixture
def one(bare):
    return clone(bare, "one")


@pytest.fixture
def other(bare):
    return clone(bare, "other")


def test_a_remote_without_the_ref_has_no_tip(one):
    assert remotes.remote_tip(one, "origin", REF) is None


def test_a_remote_that_cannot_be_asked_is_no_remote_without_the_ref(one):
    with pytest.raises(GitFailed):
        remotes.remote_tip(one, "nowhere", REF)


def test_a_ref_that_only_ends_alike_is_another(one, bare):
    git(bare, "update-ref", f"refs/heads/{REF}", "main")
    assert remotes.remote_tip(one, "origin", REF) is None


def test_what_is_pushed_can_be_fetched(one, other):
    commits = chain(one, 2)
    objects.move(one, REF, commits[-1], None)
    remotes.push(one, "origin", REF)
    assert remotes.remote_tip(other, "origin", REF) == commits[-1]
    remotes.fetch(other, "origin", REF)
    assert objects.history(other, commits[-1]) == commits[::-1]
    assert objects.tip(other, REF) is None  # fetching moves nothing


def test_a_push_that_would_lose_something_is_refused_with_what_git_says(one, other):
    for side in (one, other):
        git(side.top, "config", "color.ui", "always")
        objects.move(side, REF, chain(side, 1)[0], None)
    remotes.push(one, "origin", REF)
    with pytest.raises(GitFailed, match=r"\[rejected\]") as refused:
        remotes.push(other, "origin", REF)
    assert "hint" not in str(refused.value)
    assert "\x1b" not in str(refused.value)
    assert remotes.remote_tip(one, "origin", REF) == objects.tip(one, REF)


def test_neither_direction_does_anything_on_the_side(one, other, bare, tmp_path):
    for side in (one, other):
        for name, value in {
            "push.followTags": "true",
            "fetch.prune": "true",
            "push.recurseSubmodules": "check",
        }.items():
            git(side.top, "config", name, value)
        hook = side.common / "hooks" / "pre-push"
        hook.parent.mkdir(exist_ok=True)
        hook.write_text("#!/bin/sh\nexit 1\n")
        hook.chmod(0o755)
    git(one.top, "tag", "-a", "-m", "x", "v1")
    git(other.top, "update-ref", "refs/remotes/origin/gone", "HEAD")
    git(bare, "update-ref", "refs/heads/more", "main")
    objects.move(one, REF, chain(one, 1)[0], None)
    remotes.push(one, "origin", REF)
    before = git(other.top, "for-each-ref"), sorted(path.name for path in other.common.iterdir())
    remotes.fetch(other, "origin", REF)
    assert (git(other.top, "for-each-ref"), sorted(path.name for path in other.common.iterdir())) == before
    assert "v1" not in git(bare, "tag")


def test_a_mirror_keeps_the_ref_that_is_ahead(one, other):
    base = chain(one, 1)
    objects.move(one, REF, base[-1], None)
    remotes.push(one, "origin", REF)
    remotes.fetch(other, "origin", REF)
    mine = chain(other, 2, base[-1])[-1]
    objects.move(other, REF, mine, None)
    git(other.top, "config", "--add", "remote.origin.fetch", "+refs/*:refs/*")
    remotes.fetch(other, "origin", REF)
    assert objects.tip(other, REF) == mine


def test_a_cut_ledger_is_completed_and_the_branches_stay_cut(one, bare):
    commits = chain(one, 4)
    objects.move(one, REF, commits[-1], None)
    remotes.push(one, "origin", REF)
    shallow = clone(bare, "shallow", "--depth", "1")
    git(shallow.top, "fetch", "-q", "--depth", "1", "origin", f"{REF}:{REF}")
    assert objects.cut(shallow, commits[-1])
    remotes.fetch(shallow, "origin", REF, depth=remotes.EVERYTHING)
    assert objects.history(shallow, commits[-1]) == commits[::-1]
    assert git(shallow.top, "rev-list", "--count", "HEAD") == "1"


def test_a_partial_clone_gets_the_files_with_the_ref(one, bare):
    git(bare, "config", "uploadpack.allowFilter", "true")
    commits = chain(one, 2)
    objects.move(one, REF, commits[-1], None)
    remotes.push(one, "origin", REF)
    partial = clone(bare, "partial", "--filter=blob:none", "--no-checkout")
    remotes.fetch(partial, "origin", REF)
    git(partial.top, "remote", "set-url", "origin", str(bare.parent / "gone"))
    assert objects.contents(partial, [f"{commits[-1]}:file"]) == {f"{commits[-1]}:file": b"1 one"}


@pytest.mark.parametrize("remote", ["--upload-pack=touch ran;", "-x", "--receive-pack=touch ran;"])
def test_a_remote_that_begins_with_a_dash_is_no_option(one, remote):
    objects.move(one, REF, chain(one, 1)[0], None)
    for act in (remotes.remote_tip, remotes.fetch, remotes.push):
        with pytest.raises(GitFailed):
            act(one, remote, REF)
    assert not (one.top / "ran").exists()


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("https://user:secret@example.org/r.git", "https://example.org/r.git"),
        (
            "fatal: 'https://token@example.org/r' and ssh://git@example.org",
            "fatal: 'https://example.org/r' and ssh://example.org",
        ),
        ("git@example.org:r.git", "git@example.org:r.git"),
        ("https://example.org/a@b", "https://example.org/a@b"),
    ],
)
def test_a_password_in_a_url_is_not_repeated(said, shown):
    assert remotes.without_password(said) == shown
