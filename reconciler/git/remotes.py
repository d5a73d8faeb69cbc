"""Fetching and pushing one ref, and pulling a branch, without anything that git would do on the side.

For a ref: no tags, no submodules, no hooks before a push, no tracking refs, no FETCH_HEAD, no maintenance; and no
refspec has a `+`, so that neither side can lose what the other does not have.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from reconciler.git import text

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from reconciler.git import Repository

EVERYTHING = 1_000_000_000
"""A depth that no history has. Not git's own word for it, `--unshallow`: that completes all branches, too."""

PATIENCE = 120.0
"""Seconds for one command that speaks with a remote. A ledger is small; a history that has to be completed takes longer
than its tip, and still not this long."""

_FETCH = (
    "--quiet", "--refmap=", "--no-tags", "--no-prune", "--no-write-fetch-head", "--no-recurse-submodules",
    "--no-auto-maintenance", "--no-write-commit-graph", "--no-filter",
)  # fmt: skip
"""What fetching leaves alone. Without the empty `--refmap`, a mirror's `+refs/*:refs/*` would overwrite our own ref;
with the filter of a partial clone, every file of the ledger would be asked for one by one."""

_PUSH = ("--no-verify", "--no-follow-tags", "--recurse-submodules=no", "--no-signed")

_QUIET = ("-c", "advice.pushUpdateRejected=false", "-c", "color.ui=false")
"""What git says goes into one sentence of ours: advice about branches would mislead there."""


_ALONE = (
    "-c", "core.hooksPath=/dev/null", "-c", "advice.diverging=false", "-c", "color.ui=false", "-c", "gc.auto=0",
    "-c", "maintenance.auto=false", "-c", "submodule.recurse=false", "-c", "merge.autoStash=false",
)  # fmt: skip
"""What a pull leaves alone: no hook runs, nothing is tidied up, no submodule and no change of a person's is moved."""
_UPSTREAM = ("remotename", "remoteref")


def remote_tip(repository: Repository, remote: str, ref: str) -> str | None:
    """Return the commit that a ref is at in a remote; `None` where it has none. Raises `GitFailed`."""
    # The argument is a pattern that also matches at the end of longer names.
    for line in _asked(repository, "ls-remote", "--", remote, ref).splitlines():
        commit, _, name = line.partition("\t")
        if name == ref:
            return commit
    return None


def fetch(repository: Repository, remote: str, ref: str, depth: int | None = None) -> None:
    """Fetch what a ref of a remote leads to; no ref of ours moves. Raises `GitFailed`.

    `depth` completes, in a clone that was cut, the history of this ref alone.
    """
    deepen = () if depth is None else (f"--depth={depth}",)
    _asked(repository, *_QUIET, "fetch", *_FETCH, *deepen, "--", remote, ref)


def push(repository: Repository, remote: str, ref: str) -> None:
    """Push a ref to the one of its name in a remote. Raises `GitFailed`, also where the remote has something else."""
    _asked(repository, *_QUIET, "push", *_PUSH, "--", remote, f"{ref}:{ref}")


def pull(repository: Repository, undisturbed: Callable[[], AbstractContextManager[None]]) -> None:
    """Do what `git pull --ff-only` does, in its two steps. Raises `GitFailed`.

    Fetching may be broken off at any moment; while the files of the work tree change, nothing breaks in, by
    `undisturbed`.
    """
    repository.run("rev-parse", "--abbrev-ref", "@{upstream}")  # says best what is wrong where there is none
    branch = repository.line("symbolic-ref", "HEAD")
    # By its name, so that a branch which is gone there is an error and no nothing.
    remote, upstream = (repository.line("for-each-ref", f"--format=%(upstream:{part})", branch) for part in _UPSTREAM)
    _asked(
        repository, *_ALONE, "fetch", "--quiet", "--no-recurse-submodules", "--no-auto-maintenance", "--", remote,
        upstream,
    )  # fmt: skip
    with undisturbed():
        _asked(repository, *_ALONE, "merge", "--quiet", "--ff-only", "--no-autostash", "FETCH_HEAD")


def _asked(repository: Repository, *arguments: str) -> str:
    return text(repository.reach(*arguments, within=PATIENCE))


def without_password(text: str) -> str:
    """Return a text (the name of a remote, what git said) with users and passwords taken out of its URLs."""
    return re.sub(r"(://)[^/\s@]+@", r"\1", text)
