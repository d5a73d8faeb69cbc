"""One ref, fetched and pushed between real repositories."""

import os
import signal
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

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


# --- nobody is there


ACTS = pytest.mark.parametrize("act", [remotes.remote_tip, remotes.fetch, remotes.push])


@pytest.fixture
def slow(tmp_path, one, monkeypatch):
    """A repository whose ssh waits for ever, with the file that its process and that of its child are told in."""
    objects.move(one, REF, chain(one, 1)[0], None)
    script = tmp_path / "ssh.sh"
    script.write_text(
        f'#!/bin/sh\nsleep 600 &\necho "$$ $!" >"{tmp_path}/told" && mv "{tmp_path}/told" "{tmp_path}/pids"\nwait\n'
    )
    script.chmod(0o755)
    monkeypatch.setenv("GIT_SSH_COMMAND", str(script))
    monkeypatch.setattr(remotes, "PATIENCE", 1.0)
    return one, tmp_path / "pids"


def is_running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"


def ended(pids):
    pids = list(pids)
    deadline = time.monotonic() + 10
    while any(map(is_running, pids)) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not any(map(is_running, pids))


@ACTS
def test_a_remote_that_never_answers_is_given_up_with_all_that_was_started(act, slow):
    repository, told = slow
    with pytest.raises(GitFailed, match=r"git [a-z-]+ had not ended after 1 s and was given up.*try the same by hand"):
        act(repository, "ssh://git@host.invalid/r.git", REF)
    assert ended(map(int, told.read_text().split()))


def test_an_interruption_ends_what_was_started(slow):
    repository, told = slow

    def interrupt():
        while not told.exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    other = threading.Thread(target=interrupt)
    other.start()
    with pytest.raises(KeyboardInterrupt):
        repository.reach("ls-remote", "ssh://git@host.invalid/r.git", within=60)
    other.join()
    assert ended(map(int, told.read_text().split()))


def asked_with(one, tmp_path, monkeypatch, **env):
    """Let git start what it reaches a remote with, and return the environment that it was started in."""
    folder = tmp_path / "bin"
    folder.mkdir()
    ssh = folder / "ssh"
    ssh.write_text(f'#!/bin/sh\nenv >"{tmp_path}/env"\necho "$@" >"{tmp_path}/arguments"\nexit 255\n')
    ssh.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(GitFailed):
        remotes.remote_tip(one, "ssh://git@host.invalid/r.git", REF)
    lines = (line.partition("=") for line in (tmp_path / "env").read_text().splitlines())
    return {name: value for name, _, value in lines}, (tmp_path / "arguments").read_text()


def test_ssh_is_told_to_ask_nobody(one, tmp_path, monkeypatch):
    found, arguments = asked_with(one, tmp_path, monkeypatch, GIT_ASKPASS="window", SSH_ASKPASS="window")
    assert "-o BatchMode=yes" in arguments
    assert (found["SSH_ASKPASS"], found["SSH_ASKPASS_REQUIRE"]) == ("", "never")
    assert found["GIT_ASKPASS"] == "window", "a CI may hand over its token so"
    assert (found["GIT_TERMINAL_PROMPT"], found["GCM_INTERACTIVE"]) == ("0", "never")


@pytest.mark.parametrize("how", ["GIT_SSH_COMMAND", "GIT_SSH", "core.sshCommand"])
def test_an_ssh_that_the_user_chose_is_left_alone(how, one, tmp_path, monkeypatch):
    chosen = "ssh" if how == "GIT_SSH" else "ssh -o Mine=yes"
    if how == "core.sshCommand":
        git(one.top, "config", how, chosen)
    _, arguments = asked_with(one, tmp_path, monkeypatch, **({} if "." in how else {how: chosen}))
    assert "BatchMode" not in arguments
    assert ("Mine=yes" in arguments) is (how != "GIT_SSH")


def test_a_remote_that_wants_a_password_is_told_with_what_helps(one):
    with Locked() as port, pytest.raises(GitFailed, match="nobody can be asked here: a credential helper"):
        remotes.remote_tip(one, f"http://127.0.0.1:{port}/r.git", REF)


class Locked:
    """A web server that lets nobody in."""

    def __enter__(self):
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Doorkeeper)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()
        return self.server.server_address[1]

    def __exit__(self, *_):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


class Doorkeeper(BaseHTTPRequestHandler):
    """What such a server answers."""

    def do_GET(self):
        self.send_response(401)
        self.send_header("www-authenticate", 'Basic realm="r"')
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        """Say nothing."""
