"""The commit that is checked out, and whether files differ from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from reconciler.git import GitFailed, text

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from reconciler.git import Repository


@dataclass(frozen=True, slots=True)
class WorkTree:
    """The commit that is checked out, and whether the files asked about differ from it (untracked ones count).

    `dirty` is `None` where git cannot tell, as for a file outside the repository.
    """

    commit: str
    dirty: bool | None


def work_tree(repository: Repository, files: Iterable[Path]) -> WorkTree | None:
    """Return the state of `files`; `None` before a first commit."""
    commit = repository.ask("rev-parse", "--verify", "--quiet", "HEAD")
    if not commit:
        return None
    paths = [str(file) for file in files]
    return WorkTree(commit, dirty=_dirty(repository, paths) if paths else False)


def _dirty(repository: Repository, paths: list[str]) -> bool | None:
    try:
        return text(repository.run("status", "--porcelain", "--untracked-files=all", "--", *paths)) != ""
    except GitFailed:
        return None
