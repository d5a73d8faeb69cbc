"""git, asked as a command.

It is on every machine that has a repository, and knows worktrees, submodules, odd file names and its own settings
better than any library.

::

    worktree   the commit that is checked out, and whether files differ from it
    objects    reading and writing blobs, trees, commits and refs by plumbing
    remotes    fetching and pushing one ref
    history    what changed since a revision, a file as it was, who wrote a line
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.errors import ReconcilerError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_LOCAL = (
    "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_COMMON_DIR", "GIT_OBJECT_DIRECTORY",
    "GIT_NAMESPACE",
)  # fmt: skip
"""Variables that name a repository. Hooks of git are started with them; meant here is the one around a folder."""


class GitFailed(ReconcilerError):
    """A git command failed; the message is what git said."""

    code = "git_failed"


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository: the top of its work tree, and the git directory that all its work trees share."""

    top: Path
    common: Path

    def run(self, *arguments: str, given: bytes = b"", env: Mapping[str, str] | None = None) -> bytes:
        """Return what a git command prints, `given` on its standard input. Raises `GitFailed`."""
        return run(self.top, *arguments, given=given, env=env)

    def reach(self, *arguments: str, within: float) -> bytes:
        """Return what a git command prints that speaks with another machine, and may take so many seconds for it.

        Nobody is asked anything meanwhile. Raises `GitFailed`.
        """
        return run(self.top, *arguments, env=_unattended(self), within=within)

    def line(self, *arguments: str, env: Mapping[str, str] | None = None) -> str:
        """Return the one line that a git command prints. Raises `GitFailed`."""
        return text(self.run(*arguments, env=env)).strip()

    def ask(self, *arguments: str) -> str | None:
        """Return the one line that a git command prints; `None` where it fails."""
        try:
            return self.line(*arguments)
        except GitFailed:
            return None


_PLACES = ("--show-toplevel", "--git-common-dir")


def repository(folder: Path) -> Repository | None:
    """Return the repository around a folder; `None` outside of any.

    Raises `GitFailed` where there is one that git refuses to look at (somebody else's, a broken one), or that nobody
    can look at because there is no git: to take that for "outside" would forget all that was applied.
    """
    try:
        # One question each: the name of a folder may have line breaks of its own.
        top, common = (text(run(folder, "rev-parse", what)).removesuffix("\n") for what in _PLACES)
    except (GitFailed, FileNotFoundError) as error:
        here = folder.resolve()
        if not any((above / ".git").exists() or (above / ".git").is_symlink() for above in (here, *here.parents)):
            return None
        if isinstance(error, FileNotFoundError):
            raise GitFailed("there is a git repository, and no git to look at it with") from error
        raise
    return Repository(Path(top), (folder / common).resolve())


def run(
    folder: Path,
    *arguments: str,
    given: bytes = b"",
    env: Mapping[str, str] | None = None,
    within: float | None = None,
) -> bytes:
    """Return what a git command prints, run in `folder`. Raises `GitFailed`, and `FileNotFoundError` without git.

    Told `within` how many seconds, it runs in a session of its own, without a terminal that anything could ask on;
    all of that ends when the time is over, and when anything breaks into the waiting.
    """
    # A folder of the tree that is itself a bare repository has settings of its own, and they may name commands.
    command = ["git", "-c", "safe.bareRepository=explicit", "-C", str(folder), *arguments]
    full = environment() | dict(env or {})
    pipe = subprocess.PIPE
    with subprocess.Popen(  # noqa: S603 - no shell
        command, stdin=pipe, stdout=pipe, stderr=pipe, env=full, start_new_session=within is not None
    ) as process:
        try:
            out, err = process.communicate(given, timeout=within)
        except subprocess.TimeoutExpired:
            _end(process)
            message = (
                f"git {_verb(arguments)} had not ended after {within:g} s and was given up: the network is slow or "
                "gone, or something waits for an answer that nobody gives; try the same by hand"
            )
            raise GitFailed(message) from None
        except BaseException:
            _end(process) if within is not None else process.kill()
            raise
    if process.returncode != 0:
        said = "; ".join(line.strip() for line in text(err).split("\n") if line.strip())
        said = said or f"git {_verb(arguments)} failed ({process.returncode})"
        raise GitFailed(f"{said} ({_HINT})" if within is not None and _ASKED.search(said) else said)
    return out


_LAST_WORDS = 1.0
"""Seconds for git to take its lock files away."""
_ASKED = re.compile(r"terminal prompts disabled|Permission denied \(|Host key verification failed")
_HINT = "nobody can be asked here: a credential helper, a key without a passphrase, a known host key is needed"


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process that leads a session, and all that it has started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_LAST_WORDS)


def _verb(arguments: Sequence[str]) -> str:
    """Return the name of a git command, which options with a value of their own may precede."""
    rest = list(arguments)
    while rest[0] == "-c":
        del rest[:2]
    return rest[0]


def _unattended(repository: Repository) -> dict[str, str]:
    """Return variables under which nothing that git starts asks a person: no ssh, no helper with a window."""
    silent = {"SSH_ASKPASS": "", "SSH_ASKPASS_REQUIRE": "never", "GCM_INTERACTIVE": "never"}
    if "GIT_ASKPASS" not in os.environ:  # by which a CI may hand over a token
        # Empty, git takes it for the answer which program to ask with: none, whatever its own settings say.
        silent["GIT_ASKPASS"] = ""
    chosen = {"GIT_SSH_COMMAND", "GIT_SSH"} & os.environ.keys() or repository.ask("config", "core.sshCommand")
    return silent if chosen else silent | {"GIT_SSH_COMMAND": "ssh -o BatchMode=yes"}


def environment() -> dict[str, str]:
    """Return the environment that git commands run in."""
    inherited = {name: value for name, value in os.environ.items() if name not in _LOCAL and "TRACE" not in name}
    # Reading must not write: without the first, `status` refreshes the index. Nothing may wait for a password
    # that nobody is there to type. Messages are looked at, so they come in one language and without a trace.
    return inherited | {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C", "LANGUAGE": ""}


def text(output: bytes) -> str:
    """Return output as text; bytes that are none (in the name of a file) survive as surrogates."""
    return output.decode("utf-8", "surrogateescape")
