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

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.errors import ReconcilerError

if TYPE_CHECKING:
    from collections.abc import Mapping

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


def run(folder: Path, *arguments: str, given: bytes = b"", env: Mapping[str, str] | None = None) -> bytes:
    """Return what a git command prints, run in `folder`. Raises `GitFailed`, and `FileNotFoundError` without git."""
    done = subprocess.run(  # noqa: S603 - no shell
        ["git", "-C", str(folder), *arguments],  # noqa: S607 - the user's own git is the one that is meant
        input=given,
        capture_output=True,
        env=environment() | dict(env or {}),
        check=False,
    )
    if done.returncode != 0:
        said = "; ".join(line.strip() for line in text(done.stderr).split("\n") if line.strip())
        raise GitFailed(said or f"git {arguments[0]} failed ({done.returncode})")
    return done.stdout


def environment() -> dict[str, str]:
    """Return the environment that git commands run in."""
    inherited = {name: value for name, value in os.environ.items() if name not in _LOCAL}
    # Reading must not write: without the first, `status` refreshes the index. Nothing may wait for a password
    # that nobody is there to type. Messages are looked at, so they come in one language.
    return inherited | {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C", "LANGUAGE": ""}


def text(output: bytes) -> str:
    """Return output as text; bytes that are none (in the name of a file) survive as surrogates."""
    return output.decode("utf-8", "surrogateescape")
