"""Reading and writing blobs, trees, commits and refs by plumbing: no work tree, index or branch is touched."""

from __future__ import annotations

from time import sleep, time
from typing import TYPE_CHECKING

from reconciler.git import GitFailed, text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from reconciler.git import Repository

FALLBACK = ("reconciler", "reconciler@localhost")
"""Name and address of whoever git knows nothing of, as in most CI jobs: `commit-tree` fails without any."""
PATIENCE = (0.02, 0.05, 0.1, 0.2, 0.4)
"""Seconds between the attempts to move a ref that somebody else holds locked."""
ABANDONED = 5.0
"""Seconds after which a lock that nobody has touched since counts as left behind by a git that was killed."""
_LOOKS = 20
"""How often that is looked at meanwhile."""

_DURABLE = ("-c", "core.fsync=all")
"""A ref must not outlive, in a crash, the objects that it leads to."""


# --- reading ----------------------------------------------------------------------------------------------------------


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


def entries(repository: Repository, tree: str) -> dict[str, str]:
    """Return the files of a tree or a commit, in all its folders: path to blob id. Raises `GitFailed`."""
    found: dict[str, str] = {}
    for entry in text(repository.run("ls-tree", "-r", "-z", "--full-tree", tree)).split("\0")[:-1]:
        about, _, path = entry.partition("\t")
        found[path] = about.split(" ")[2]
    return found


def tip(repository: Repository, ref: str) -> str | None:
    """Return the commit that a ref, by its full name, is at; `None` where there is none.

    Raises `GitFailed` for a ref that is broken, so that it does not pass for one that is absent.
    """
    try:
        found = repository.line("show-ref", "--verify", "--hash", ref)
    except GitFailed as error:
        if f"fatal: '{ref}' - not a valid ref" not in str(error):
            raise
    else:
        kind = repository.ask("cat-file", "-t", found)
        if kind not in (None, "commit"):  # one that is not here is told by whoever needs it
            raise GitFailed(f"{ref} is at a {kind} and no commit")
        return found
    # That is what it says of an empty file, too, as a crash may leave it; this one warns of it.
    try:
        repository.run("rev-parse", "--verify", ref)
    except GitFailed as error:
        if "broken" in str(error):
            raise
    return None


def holds(repository: Repository, commit: str) -> bool:
    """Tell whether a commit is here."""
    return repository.ask("cat-file", "-t", commit) == "commit"


def merge_bases(repository: Repository, one: str, other: str) -> tuple[str, ...]:
    """Return the best common ancestors of two commits; a commit that is an ancestor of the other is the only one.

    Raises `GitFailed` where one of the two is not here.
    """
    # Not `merge-base`: it fails in the same way for two commits that share nothing and for one that is not here.
    lines = repository.line("rev-parse", f"{one}...{other}").splitlines()
    return tuple(line[1:] for line in lines if line.startswith("^"))


def history(repository: Repository, commit: str) -> list[str]:
    """Return the commits behind this one and itself, newest first, without those that unite others."""
    return repository.line("rev-list", "--no-merges", commit).splitlines()


def cut(repository: Repository, *commits: str) -> bool:
    """Tell whether the history behind these commits ends early here, as in a shallow clone."""
    ends = repository.line("rev-list", "--max-parents=0", *commits).splitlines()
    # What a commit itself says of its parents stays true where the clone has been told to forget them.
    heads = ((raw or b"").partition(b"\n\n")[0] for raw in contents(repository, ends).values())
    return any(b"\nparent " in head for head in heads)


# --- writing ----------------------------------------------------------------------------------------------------------


def write_blobs(repository: Repository, blobs: Sequence[bytes]) -> list[str]:
    """Write blobs, all in one process, and return their ids in the same order. Raises `GitFailed`."""
    if not blobs:
        return []
    stream = bytearray(b"feature done\n")  # with it, a stream that is cut off is an error
    for mark, content in enumerate(blobs, 1):
        stream += b"blob\nmark :%d\ndata %d\n%b\nget-mark :%d\n" % (mark, len(content), content, mark)
    stream += b"done\n"
    ids = text(repository.run(*_DURABLE, "fast-import", "--quiet", given=bytes(stream))).split()
    if len(ids) != len(blobs):
        raise GitFailed(f"git fast-import wrote {len(ids)} of {len(blobs)} objects")
    return ids


def write_tree(repository: Repository, files: Mapping[str, str]) -> str:
    """Write a tree of blobs that are there already (path to blob id) and return its id. Raises `GitFailed`."""
    folders: dict[str, dict[str, str]] = {}
    lines: list[str] = []
    for path, blob in files.items():
        folder, inside, rest = path.partition("/")
        if inside:
            folders.setdefault(folder, {})[rest] = blob
        else:
            lines.append(f"100644 blob {blob}\t{path}\0")
    lines += [f"040000 tree {write_tree(repository, below)}\t{folder}\0" for folder, below in folders.items()]
    return text(repository.run(*_DURABLE, "mktree", "-z", given="".join(lines).encode())).strip()


def write_commit(repository: Repository, tree: str, parents: Sequence[str], message: str) -> str:
    """Write a commit and return its id; who made it is as git is configured, or `FALLBACK`. Raises `GitFailed`."""
    options = [option for parent in parents for option in ("-p", parent)]
    command = (*_DURABLE, "commit-tree", "--no-gpg-sign", tree, *options)
    return text(repository.run(*command, given=message.encode("utf-8", "replace"), env=_identity(repository))).strip()


def _identity(repository: Repository) -> dict[str, str]:
    name, address = FALLBACK
    env: dict[str, str] = {}
    for role in ("AUTHOR", "COMMITTER"):
        if repository.ask("var", f"GIT_{role}_IDENT") is None:
            env |= {f"GIT_{role}_NAME": name, f"GIT_{role}_EMAIL": address}
    return env


def move(repository: Repository, ref: str, new: str, old: str | None) -> bool:
    """Move a ref from `old` (`None`: create it) to `new`; return `False`, moving nothing, where it is elsewhere.

    Raises `GitFailed` where it cannot be moved at all.
    """
    command = f"create {ref} {new}\n" if old is None else f"update {ref} {new} {old}\n"
    pauses, abandoned = iter(PATIENCE), False
    while True:
        try:
            repository.run(*_DURABLE, "update-ref", "--no-deref", "--stdin", given=command.encode())
        except GitFailed:
            if tip(repository, ref) != old:
                return False
            # Whoever holds the lock is about to move the ref, or left the lock behind when it died.
            pause = next(pauses, None)
            if pause is None:
                if abandoned or not _take_away(_lock_of(repository, ref)):
                    raise
                abandoned, pause = True, 0.0
            sleep(pause)
        else:
            return True


def _lock_of(repository: Repository, ref: str) -> Path:
    return repository.common / f"{ref}.lock"


def _take_away(lock: Path) -> bool:
    """Remove a lock file that nobody has touched for longer than any git needs; tell whether another try may help.

    Whoever held it was killed. Git itself leaves that to people, because it cannot know who else writes; these refs are
    ours, and a move of one takes milliseconds.
    """
    first = _known(lock)
    if first is None:
        return False
    for _ in range(_LOOKS):  # and no more, whatever the clock says that the file was touched by
        if time() - first[1] >= ABANDONED:
            break
        sleep(ABANDONED / _LOOKS)
        if _known(lock) != first:
            return True  # it is in use
    lock.unlink(missing_ok=True)
    return True


def _known(lock: Path) -> tuple[int, float] | None:
    try:
        found = lock.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime
