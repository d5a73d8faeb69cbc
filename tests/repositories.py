"""What an end-to-end test needs of git: a bare remote and its clones, hooks, and a ledger read with nothing but git.

Reading by git alone keeps the tests honest: what they find is what anybody finds who never ran the tool.
"""

from __future__ import annotations

import json
import subprocess
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from scratch import PATIENCE, Api, Scratch, staged

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from scratch import Answer, Call, Stage

REF = "refs/reconciler/test"
"""The ledger of the target that every stage has."""
REMOTE = "ledger_remote: origin"


def git(folder: Path, *arguments: str, given: bytes = b"") -> str:
    """Run git in a folder, with bytes on its standard input, and return what it prints."""
    command = ["git", "-C", str(folder), "-c", "user.name=A", "-c", "user.email=a@example.org", *arguments]
    done = subprocess.run(command, input=given, capture_output=True, check=False)
    assert done.returncode == 0, (command, done.stderr)
    return done.stdout.decode("utf-8", "surrogateescape").strip()


def tip(folder: Path, ref: str = REF) -> str | None:
    """Return the commit that a ref is at; `None` where there is none."""
    return git(folder, "for-each-ref", "--format=%(objectname)", ref) or None


# --- a ledger ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Record:
    """A commit of a ledger, its files as the JSON that they hold."""

    folder: Path
    commit: str

    @cached_property
    def files(self) -> dict[str, Any]:
        """Return all files by their paths."""
        paths = git(self.folder, "ls-tree", "-r", "--name-only", self.commit).splitlines()
        return {path: json.loads(git(self.folder, "cat-file", "blob", f"{self.commit}:{path}")) for path in paths}

    @property
    def head(self) -> dict[str, Any]:
        """Return what the ledger says of itself."""
        return self.files["ledger.json"]

    @property
    def applied(self) -> str | None:
        """Return the commit that counts as applied."""
        return self.head["applied"]

    @property
    def run(self) -> dict[str, Any]:
        """Return the run that this commit records."""
        return self.files["run.json"]

    @property
    def bases(self) -> dict[str, dict[str, Any]]:
        """Return the bases by `kind/id`, without the commits that declared them."""
        whole = self._merged("base/")
        return {name: {part: base[part] for part in base if part != "commit"} for name, base in whole.items()}

    @property
    def sources(self) -> dict[str, str | None]:
        """Return the commit that declared each resource."""
        return {name: base.get("commit") for name, base in self._merged("base/").items()}

    @property
    def touched(self) -> dict[str, dict[str, tuple[Any, Any]]]:
        """Return the fields that the run wrote, by `kind/id` and key: before and after."""
        return {
            name: {each["key"]: (each.get("before"), each.get("after")) for each in fields}
            for name, fields in self._merged("run/").items()
        }

    @property
    def parents(self) -> list[str]:
        """Return the commits that this one stands on."""
        return git(self.folder, "rev-list", "--parents", "-1", self.commit).split()[1:]

    def _merged(self, folder: str) -> dict[str, Any]:
        return {
            name: part
            for path, file in sorted(self.files.items())
            if path.startswith(folder)
            for name, part in file.items()
        }


def ledger(folder: Path, ref: str = REF) -> Record:
    """Return the ledger as it stands."""
    found = tip(folder, ref)
    assert found is not None, f"there is no {ref}"
    return Record(folder, found)


def runs(folder: Path, ref: str = REF) -> list[Record]:
    """Return the commits of a ledger that record a run, newest first."""
    commits = git(folder, "rev-list", "--no-merges", ref).split()
    return [Record(folder, commit) for commit in commits]


def overwrite(folder: Path, path: str, content: bytes | None, ref: str = REF) -> None:
    """Put a commit on a ledger that changes one file of it, or takes it away."""
    change = b"D %s\n" % path.encode()
    if content is not None:
        change = b"M 644 inline %s\ndata %d\n%b\n" % (path.encode(), len(content), content)
    head = f"commit {ref}\ncommitter A <a@example.org> 0 +0000\ndata 3\nodd\nfrom {ref}^0\n".encode()
    git(folder, "fast-import", "--quiet", "--force", given=head + change)


def journal(scratch: Scratch) -> list[Path]:
    """Return what applies that are going on, or ended without a record, have in the git directory, locks aside."""
    common = scratch.folder / git(scratch.folder, "rev-parse", "--git-common-dir")
    files = (path for path in (common / "reconciler").rglob("*") if path.is_file())
    return sorted(path for path in files if path.suffix != ".lock")


# --- everything but the ledger ----------------------------------------------------------------------------------------

_OURS = ("objects/", "reconciler/", "refs/reconciler/", "logs/refs/reconciler/")


def footprint(scratch: Scratch) -> dict[str, Any]:
    """Return all that git and the work tree hold beside the ledger: every file, byte for byte, and what git says."""
    folder, common = scratch.folder, scratch.folder / ".git"
    said = {
        "status": git(folder, "--no-optional-locks", "status", "--porcelain=v2", "--branch", "--show-stash"),
        "refs": [line for line in git(folder, "for-each-ref").splitlines() if "refs/reconciler/" not in line],
        "stash": git(folder, "stash", "list"),
    }
    inside = {
        name: path.read_bytes()
        for path in common.rglob("*")
        if path.is_file() and not (name := path.relative_to(common).as_posix()).startswith(_OURS)
    }
    files = {
        path.relative_to(folder).as_posix(): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file() and common not in path.parents
    }
    return {**said, "git": inside, "files": files}


# --- remotes and clones -----------------------------------------------------------------------------------------------


def bare(place: Path) -> Path:
    """Make a bare repository."""
    remote = place / "remote.git"
    remote.mkdir(parents=True)
    git(remote, "init", "-q", "--bare", "-b", "main")
    return remote


def clone(remote: Path, place: Path, *options: str) -> Scratch:
    """Clone a repository into a scratch folder of its own, over a URL, so that it may be shallow."""
    scratch = Scratch(place)
    git(scratch.folder, "clone", "-q", *options, f"file://{remote}", ".")
    return scratch


def publish(scratch: Scratch) -> str:
    """Commit everything, push the branch, and return the commit."""
    commit = scratch.commit()
    git(scratch.folder, "push", "-q", "origin", "HEAD:refs/heads/main")
    return commit


def hook(repository: Path, name: str, script: str) -> Path:
    """Install a hook in a repository: its git directory, or a folder that has one."""
    folder = repository / ".git" if (repository / ".git").is_dir() else repository
    path = folder / "hooks" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


@dataclass(frozen=True)
class Shared:
    """A bare remote, a stage whose repository has it as `origin`, and a clone of it."""

    remote: Path
    stage: Stage
    two: Scratch

    @property
    def one(self) -> Scratch:
        """Return the scratch folder of the stage."""
        return self.stage.scratch

    @property
    def api(self) -> Api:
        """Return the server."""
        return self.stage.api


@contextmanager
def shared(place: Path, manifest: str, api: Api, more: str = "writes: {thread: replace}") -> Iterator[Shared]:
    """Set up a stage that shares its ledger with a clone through a bare remote."""
    remote = bare(place)
    with staged(place / "one", manifest, api, f"{more}, {REMOTE}") as stage:
        git(stage.scratch.folder, "init", "-q")
        git(stage.scratch.folder, "remote", "add", "origin", f"file://{remote}")
        publish(stage.scratch)
        yield Shared(remote, stage, clone(remote, place / "two"))


class Meeting(Api):
    """A server at which the first updates wait for each other: all were decided on before any is carried out."""

    def __init__(self, held: Mapping[str, Mapping[str, Any]], writes: Mapping[str, str], of: int = 2) -> None:
        super().__init__(held, writes)
        self._waiting = threading.Barrier(of)
        self._met = threading.Event()

    def answer(self, call: Call, raw: bytes) -> Answer:
        """Let an update wait for the others, then answer like any other server."""
        if call.method == "POST" and not self._met.is_set():
            self._waiting.wait(PATIENCE)
            self._met.set()
        return super().answer(call, raw)
