"""What git says of the work tree: the commit, and whether our files differ from it.

git itself is asked, as a command: it is on every machine that has a repository, and knows worktrees, submodules, odd
file names and its own settings better than any library.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class WorkTree:
    """The commit that is checked out, and whether the files asked about differ from it (untracked ones count).

    `dirty` is `None` where git cannot tell, as for a file outside the repository.
    """

    commit: str
    dirty: bool | None


def work_tree(folder: Path, files: Iterable[Path]) -> WorkTree | None:
    """Return the state of `files` in the repository around `folder`; `None` outside git or before a first commit."""
    commit = _git(folder, "rev-parse", "--verify", "--quiet", "HEAD")
    if not commit:
        return None
    paths = [str(file) for file in files]
    status = _git(folder, "status", "--porcelain", "--untracked-files=all", "--", *paths) if paths else ""
    return WorkTree(commit, dirty=None if status is None else status != "")


def _git(folder: Path, *arguments: str) -> str | None:
    """Return what a git command prints; `None` where it fails or there is no git."""
    # Reading must not write: without this, `status` refreshes the index.
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}
    try:
        done = subprocess.run(  # noqa: S603 - no shell, and paths stand behind `--`
            ["git", "-C", str(folder), *arguments],  # noqa: S607 - the user's own git is the one that is meant
            capture_output=True,
            env=environment,
            check=False,
        )
    except OSError:
        return None
    return done.stdout.decode("utf-8", "surrogateescape").strip() if done.returncode == 0 else None
