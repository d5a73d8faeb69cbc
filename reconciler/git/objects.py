"""Reading and writing blobs, trees, commits and refs by plumbing: no work tree, index or branch is touched."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.git import GitFailed, text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from reconciler.git import Repository


def contents(repository: Repository, names: Iterable[str]) -> dict[str, bytes | None]:
    """Return what objects hold, by the names that were asked for (an id, `REV:path`); `None` where there is none.

    One process reads them all. Raises `GitFailed`.
    """
    wanted = list(dict.fromkeys(names))
    if not wanted:
        return {}
    given = "".join(f"{name}\n" for name in wanted).encode("utf-8", "surrogateescape")
    output = memoryview(repository.run("cat-file", "--batch", given=given))
    found: dict[str, bytes | None] = {}
    at = 0
    for name in wanted:
        end = at + bytes(output[at : at + 4096]).index(b"\n")
        head = text(bytes(output[at:end])).rsplit(" ", 2)
        at = end + 1
        if not head[-1].isdecimal():
            found[name] = None
            continue
        size = int(head[-1])
        found[name] = bytes(output[at : at + size])
        at += size + 1
    if at != len(output):
        raise GitFailed("git cat-file answered with something else than was asked for")
    return found
