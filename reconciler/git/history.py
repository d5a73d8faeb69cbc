"""What git remembers: the commit that a revision means, what stood where at it, who wrote a line, what a file held.

Files are asked for by the paths of the work tree; links on the way are followed, since git knows a file only by the
place where it really is. What git answers are paths below the top of the repository.
"""

from __future__ import annotations

import datetime as dt
import enum
import hashlib
import os
import re
from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reconciler.git import GitFailed, text

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from pathlib import Path

    from reconciler.git import Repository

_ID = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_LITERALLY = {"GIT_LITERAL_PATHSPECS": "1"}
"""Names of files are no patterns, whatever characters they have."""
_NAMED = 100_000
"""Bytes of paths that are handed to one command; where there are more, it lists everything."""
_RANGES = 500
"""Ranges of lines that one blame is asked for; where there are more, it is asked for all between."""
_COMMIT = ("--date=short", "--encoding=UTF-8", "--format=%H%x09%ad%x09%aN")


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit, as people look for it: its id, its author, and the ISO day of the author's date."""

    id: str
    author: str
    date: str


class Kinship(enum.StrEnum):
    """What one commit is to another; `UNDECIDED` where the history that would tell is not here."""

    SAME = "same"
    ANCESTOR = "ancestor"
    OTHER = "other"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True)
class TreeFile:
    """A file of a revision: its path below the top of the repository, and the id of its contents."""

    path: str
    blob: str


# --- commits ----------------------------------------------------------------------------------------------------------


def commit_of(repository: Repository, revision: str) -> str | None:
    """Return the id of the commit that a revision means; `None` where git knows none."""
    # In two steps, since a search (":/words") takes all that follows for words.
    named = _resolved(repository, revision)
    return _resolved(repository, f"{named}^{{commit}}") if named else None


def _resolved(repository: Repository, revision: str) -> str | None:
    found = repository.ask("rev-parse", "--verify", "--quiet", "--end-of-options", revision)
    return found if found and _ID.fullmatch(found) else None  # "^HEAD" is answered as well, with a "^"


def lookup(repository: Repository, ids: Collection[str]) -> dict[str, Commit]:
    """Return those of the commits that exist here, by id. Raises `GitFailed`."""
    wanted = [id_ for id_ in dict.fromkeys(ids) if _ID.fullmatch(id_)]
    if not wanted:
        return {}
    given = "".join(f"{id_}\n" for id_ in wanted).encode()
    listing = ("rev-list", "--no-walk=unsorted", "--ignore-missing", "--no-commit-header", *_COMMIT, "--stdin")
    output = repository.run(*listing, given=given)
    return {commit.id: commit for commit in map(_commit, _readable(output).split("\n")[:-1])}


def _commit(line: str) -> Commit:
    id_, date, author = line.split("\t", 2)
    return Commit(id_, author, date)


def kinship(repository: Repository, one: str, other: str) -> Kinship:
    """Tell what the commit `one` is to `other`: the same, an ancestor, or anything else.

    Undecided where one of the two is not here (never fetched), and where no path leads from `other` to `one` but the
    history is cut short (a shallow clone) or rewritten (grafts, replacements).
    """
    first, second = commit_of(repository, one), commit_of(repository, other)
    if first is None or second is None:
        return Kinship.UNDECIDED
    if first == second:
        return Kinship.SAME
    # Those of the two that cannot be reached from the other one.
    alone = repository.ask("merge-base", "--independent", first, second)
    if alone == second:
        return Kinship.ANCESTOR
    if alone == first:
        return Kinship.OTHER
    return Kinship.UNDECIDED if alone is None or _is_cut(repository, first, second) else Kinship.OTHER


def _is_cut(repository: Repository, first: str, second: str) -> bool:
    """Tell whether commits may have other parents than those that can be seen, or some are not here."""
    if _shallow(repository) or (repository.common / "info" / "grafts").exists():
        return True
    if repository.ask("for-each-ref", "--count=1", "refs/replace") != "":
        return True
    # Some versions of git end the search for a common ancestor without a word at a commit that is not here.
    return repository.ask("rev-list", "--count", second, f"^{first}") is None


def _shallow(repository: Repository) -> frozenset[str]:
    """Return the commits at which the history of a shallow clone ends."""
    try:
        return frozenset((repository.common / "shallow").read_text("ascii").split())
    except FileNotFoundError:
        return frozenset()


# --- files of a revision ----------------------------------------------------------------------------------------------


def path_in(repository: Repository, path: Path) -> str | None:
    """Return the path below the top of the repository that `path` really leads to (the top itself is the empty text).

    `None` where it leads out of the repository.
    """
    top = os.fspath(repository.top)
    real = os.path.realpath(path)
    if real == top:
        return ""
    start = os.path.join(top, "")  # noqa: PTH118 - asked for every file, by the ten thousand
    return real[len(start) :].replace(os.sep, "/") if real.startswith(start) else None


def files_at(repository: Repository, revision: str, paths: Sequence[Path]) -> tuple[TreeFile, ...]:
    """Return the files at and below these paths as they were at a revision, sorted by path.

    The paths (files or folders) need not exist now; those outside of the repository are passed over. So are links,
    and submodules, whose files are another repository's. Raises `GitFailed`.
    """
    places = sorted({place for path in paths if (place := path_in(repository, path)) is not None})
    if not places:
        return ()
    few = "" not in places and sum(map(len, places)) <= _NAMED
    named = ("--", *places) if few else ()
    listing = repository.run("ls-tree", "-r", "-z", "--full-tree", revision, *named, env=_LITERALLY)
    files = sorted(_tree_files(listing), key=_path)
    if few:
        return tuple(files)
    chosen = {file.path: file for place in places for file in below(files, place)}
    return tuple(sorted(chosen.values(), key=_path))


def below(files: Sequence[TreeFile], place: str) -> Sequence[TreeFile]:
    """Return those of the sorted `files` that stand at `place` or below it."""
    if not place:
        return files
    at = bisect_left(files, place, key=_path)
    if at < len(files) and files[at].path == place:
        return files[at : at + 1]
    after = chr(ord("/") + 1)
    return files[bisect_left(files, f"{place}/", key=_path) : bisect_left(files, f"{place}{after}", key=_path)]


def _path(file: TreeFile) -> str:
    return file.path


def _tree_files(listing: bytes) -> Iterator[TreeFile]:
    for entry in listing.split(b"\0")[:-1]:
        about, _, path = entry.partition(b"\t")
        mode, _, blob = about.decode().split(" ")
        if mode.startswith("100"):
            yield TreeFile(text(path), blob)


def holds(data: bytes, blob: str) -> bool:
    r"""Tell whether a file of the work tree with these bytes is what git knows as `blob`.

    It is where the bytes are the same, and where they differ by `\r\n` for `\n` only: git converts line ends when it
    writes and reads a work tree (`core.autocrlf`).
    """
    return _blob_id(data, blob) == blob or (b"\r\n" in data and _blob_id(data.replace(b"\r\n", b"\n"), blob) == blob)


def _blob_id(data: bytes, like: str) -> str:
    # The index of git is not asked: it believes in flags (assume-unchanged, skip-worktree) and in times.
    algorithm = hashlib.sha256 if len(like) == 64 else hashlib.sha1
    return algorithm(b"blob %d\0%b" % (len(data), data), usedforsecurity=False).hexdigest()


def sizes(repository: Repository, blobs: Collection[str]) -> dict[str, int]:
    """Return the sizes in bytes of those blobs that are here. Raises `GitFailed`."""
    wanted = list(dict.fromkeys(blobs))
    if not wanted:
        return {}
    given = "".join(f"{blob}\n" for blob in wanted).encode()
    answers = repository.run("cat-file", "--batch-check=%(objectsize)", given=given).decode().splitlines()
    return {blob: int(size) for blob, size in zip(wanted, answers, strict=True) if size.isdecimal()}


# --- one file through time --------------------------------------------------------------------------------------------


def versions(repository: Repository, file: Path, limit: int) -> tuple[tuple[Commit, str], ...]:
    """Return the last `limit` versions of a file with the commits that made them and their blobs, newest first.

    Looked at are HEAD and all branches, local and remote, with what came in by merges: a version that was undone or
    never merged is among them. Renames are followed as far as `git log --follow` does.
    """
    place = path_in(repository, file)
    if not place:
        return ()
    asked = ("-c", "log.showRoot=true", "log", "--follow", "-c", "--raw", "--no-abbrev", "--no-color")
    bounds = ("--no-show-signature", f"--max-count={limit}", "--ignore-missing", "HEAD", "--branches", "--remotes")
    try:
        output = repository.run(*asked, *_COMMIT, *bounds, "--", place, env=_LITERALLY)
    except GitFailed:
        return ()  # a part of the history is not here
    return tuple(_versions(_readable(output)))


def _versions(log: str) -> Iterator[tuple[Commit, str]]:
    commit = None
    for line in log.split("\n"):
        if line.startswith(":"):
            # As many colons as parents, then their modes and that of the result, their blobs and that of the result.
            parents = len(line) - len(line.lstrip(":"))
            words = line[parents:].split("\t", 1)[0].split(" ")
            if commit is not None and words[parents].startswith("100"):
                yield commit, words[2 * parents + 1]
        elif line:
            commit = _commit(line)


def blame(repository: Repository, file: Path, lines: Collection[int]) -> dict[int, Commit | None]:
    """Return who last wrote these lines, counted from 1, as the file stands in the work tree.

    `None`: no commit of this repository has the line. A line is left out where nothing can be told: the file cannot be
    read or has no such line, or a shallow clone ends at a commit that may only have inherited it.
    """
    try:
        numbers = _as_git_counts(file.read_bytes(), lines)
    except OSError:
        return {}
    place = path_in(repository, file)
    if not place or not numbers:
        return dict.fromkeys(numbers)
    try:
        written = _blamed(repository, place, set(numbers.values()))
    except GitFailed as error:
        # Not tracked, or there is no commit yet. Anything else (an object that is not here) tells nothing.
        return dict.fromkeys(numbers) if "no such" in str(error) else {}
    ends = _shallow(repository)
    return {
        line: commit
        for line, number in numbers.items()
        if (commit := written.get(number)) is None or commit.id not in ends
    }


def _as_git_counts(data: bytes, lines: Collection[int]) -> dict[int, int]:
    r"""Return git's number of each line that exists: a lone `\r` ends a line for us, not for git."""
    starts = [0, *(found.end() for found in re.finditer(rb"\r\n?|\n", data))]
    if starts[-1] == len(data):
        starts.pop()
    plain = b"\r" not in data.replace(b"\r\n", b"")
    existing = (line for line in sorted(set(lines)) if 0 < line <= len(starts))
    return {line: line if plain else data.count(b"\n", 0, starts[line - 1]) + 1 for line in existing}


def _blamed(repository: Repository, place: str, numbers: set[int]) -> dict[int, Commit | None]:
    asked = [argument for first, last in _ranges(sorted(numbers)) for argument in ("-L", f"{first},{last}")]
    # A list of revisions to ignore would name an older commit than the one that wrote the line, and fail where the
    # file of that list, which may be configured for all repositories, is not there.
    command = ("blame", "--line-porcelain", "--encoding=UTF-8", "--no-ignore-revs-file")
    output = repository.run(*command, *asked, "--", place, env=_LITERALLY)
    return dict(_lines(_readable(output)))


def _ranges(numbers: Sequence[int]) -> list[tuple[int, int]]:
    ranges: list[tuple[int, int]] = []
    for number in numbers:
        if ranges and ranges[-1][1] == number - 1:
            ranges[-1] = (ranges[-1][0], number)
        else:
            ranges.append((number, number))
    return ranges if len(ranges) <= _RANGES else [(numbers[0], numbers[-1])]


def _lines(porcelain: str) -> Iterator[tuple[int, Commit | None]]:
    """Yield each line with its commit: a header `ID OLD NEW`, words about the commit, and after a tab the line."""
    about: dict[str, str] = {}
    for line in porcelain.split("\n"):
        if line.startswith("\t"):
            yield int(about["line"]), _author(about)
            about = {}
        elif about:
            word, _, rest = line.partition(" ")
            about[word] = rest
        elif line:
            id_, _, number, *_ = line.split(" ")
            about = {"id": id_, "line": number}


def _author(about: dict[str, str]) -> Commit | None:
    if not about["id"].strip("0"):
        return None
    zone = int(about["author-tz"])  # ±HHMM
    minutes = (abs(zone) // 100 * 60 + abs(zone) % 100) * (1 if zone >= 0 else -1)
    there = dt.datetime.fromtimestamp(int(about["author-time"]), dt.UTC) + dt.timedelta(minutes=minutes)
    return Commit(about["id"], about["author"], there.date().isoformat())


def _readable(output: bytes) -> str:
    """Return output in which the names of authors are shown; bytes that are no text are marked as such."""
    return output.decode("utf-8", "replace")
