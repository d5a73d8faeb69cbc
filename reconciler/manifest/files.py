"""Which files are manifests: the paths a person gave, searched in an order that never changes."""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.errors import Location, Problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import BinaryIO

SUFFIXES = frozenset([".yaml", ".yml"])
"""The endings of manifests inside a folder; a file that is given by name may have any."""


MAX_FILE = 64 * 1024 * 1024
"""Bytes of a manifest, at most: 100,000 resources with six pairs have some 25 million."""


def read_file(path: Path, limit: int = MAX_FILE, *, pipes: bool = False) -> bytes:
    """Return what a file holds. Raises `OSError` (its `strerror` says why), also for what is larger than `limit`.

    What is no regular file could keep the run waiting for ever, so only a person may name one (`pipes`).
    """
    # Opening a pipe that nobody writes to would wait already.
    flag = 0 if pipes else os.O_NONBLOCK
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | flag)) as file:
        known = os.fstat(file.fileno())
        if not stat.S_ISREG(known.st_mode) and not pipes:
            raise OSError(errno.EINVAL, "it is no regular file", str(path))
        # As much as is told, and a byte to see whether that is all: asked for the limit, Python sets that much aside.
        data = file.read(known.st_size + 1) if known.st_size <= limit else b""
        more = list(_chunks(file, limit - len(data))) if len(data) > known.st_size else []
    size = len(data) + sum(map(len, more))
    if max(size, known.st_size) > limit:
        raise OSError(errno.EFBIG, f"it is larger than {limit // 1024 // 1024} MiB", str(path))
    return b"".join([data, *more])


def _chunks(file: BinaryIO, left: int) -> Iterator[bytes]:
    """Yield the rest of a pipe, or of a file that grows; not much more than `left` bytes of it."""
    while left >= 0 and (chunk := file.read(_CHUNK)):
        left -= len(chunk)
        yield chunk


_CHUNK = 1 << 16


@dataclass(frozen=True, slots=True)
class ManifestFile:
    """A file to read: where it is, and how it is called in every message (`Location.file`)."""

    path: Path
    name: str


@dataclass(frozen=True, slots=True)
class Found:
    """The files, sorted by name, and what was in the way."""

    files: tuple[ManifestFile, ...]
    problems: tuple[Problem, ...] = ()


def name_of(path: Path, root: Path) -> str:
    """Return the name of `path` relative to `root`, with slashes; `../x` where it lies outside."""
    relative = os.path.relpath(path, root).replace(os.sep, "/")
    # Names may hold bytes that are no text. They are spelt out, so that two files never share a name.
    return relative.encode("utf-8", "backslashreplace").decode("utf-8")


def find(paths: Sequence[Path], *, root: Path, skip: frozenset[Path] = frozenset()) -> Found:
    """Return the manifests among `paths`, which are files or folders (searched recursively).

    Hidden names, links to folders and the files in `skip` are left out; a file that is reached twice counts once. A
    file link that leads out of the folder that was given, a path below `root` that a link leads out of it, and what
    cannot be looked into, is a problem. Raises
    `FileNotFoundError` (its `filename` is the path) for a path that does not exist: the caller knows who named it.
    """
    search = _Search(root)
    for path in paths:
        if not _exists(path):
            raise FileNotFoundError(2, "no such file or folder", str(path))
        if search.leads_out(path):
            continue
        if path.is_dir():
            search.folder(path)
        else:
            search.take(path)
    left_out = {Path(os.path.realpath(path)) for path in skip}
    files = (ManifestFile(path, name_of(path, root)) for real, path in search.reached.items() if real not in left_out)
    return Found(tuple(sorted(files, key=lambda file: file.name)), tuple(search.problems))


def _exists(path: Path) -> bool:
    """Tell whether `path` leads to something; what must not be looked at counts as absent."""
    try:
        return path.exists()
    except OSError:
        return False


class _Search:
    """Collects files by what they really are, so that none is taken twice."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.reached: dict[Path, Path] = {}
        self.problems: list[Problem] = []

    def leads_out(self, path: Path) -> bool:
        """Tell whether a path looks as if it were below the root, and a link on the way leads out of there."""
        if not Path(os.path.abspath(path)).is_relative_to(os.path.abspath(self._root)):  # noqa: PTH100 - no links followed
            return False
        if Path(os.path.realpath(path)).is_relative_to(os.path.realpath(self._root)):
            return False
        message = "this link leads out of the folder of the settings: name the place that it leads to instead"
        self._complain("link_outside", path, message)
        return True

    def take(self, path: Path) -> None:
        """Take a file; of several names the first that is no link stays."""
        real = Path(os.path.realpath(path))
        known = self.reached.get(real)
        if known is None or (known.is_symlink() and not path.is_symlink()):
            self.reached[real] = path

    def folder(self, folder: Path) -> None:
        """Take every manifest below `folder`."""
        inside = Path(os.path.realpath(folder))
        for path in self._below(folder):
            if not path.is_symlink():
                self.take(path)
            elif not Path(os.path.realpath(path)).is_relative_to(inside):
                name = name_of(folder, self._root)
                self._complain("link_outside", path, f"this link leads out of {name}: put a copy of the file there")
            elif path.is_file():
                self.take(path)
            else:
                self._complain("link_nowhere", path, "this link leads to no file: remove it, or correct where it leads")

    def _below(self, folder: Path) -> Iterator[Path]:
        """Yield the manifests below `folder` by name, those of a folder where its name stands."""
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            self._complain("unreadable_file", folder, f"this folder cannot be searched: {error.strerror}")
            return
        for entry in entries:
            if entry.name.startswith("."):
                continue
            path = folder / entry.name
            if entry.is_dir(follow_symlinks=False):
                yield from self._below(path)
            elif path.suffix in SUFFIXES and not (path.is_symlink() and path.is_dir()):
                yield path  # whatever it is: what cannot be read is told by who tries

    def _complain(self, code: str, path: Path, message: str) -> None:
        self.problems.append(Problem(code, message, Location(name_of(path, self._root), 1, 1)))
