"""The journal of one apply: what it is about to write, on disk before the first write.

It lies in the git directory that all work trees share. A run that ends well takes it away again; what is left over
tells the next run which writes may have happened. Losing it costs nothing but that: the resources are read in any case.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from reconciler.errors import ReconcilerError

if TYPE_CHECKING:
    from reconciler.git import Repository

_SUFFIX = ".json"


class Unwritable(ReconcilerError):
    """The git directory cannot be written to, so neither could the ledger be: nothing may be applied."""

    code = "ledger_unwritable"


@dataclass(frozen=True, slots=True)
class Unfinished:
    """What a run that ended without a record was about to write."""

    run: str
    content: str
    path: Path

    def settle(self) -> None:
        """Take it away: its knowledge is in the ledger."""
        self.path.unlink(missing_ok=True)


class Journal:
    """The entry of a run that is going on; held open, because its lock is what tells it from one left over."""

    def __init__(self, path: Path, held: IO[str]) -> None:
        self._path = path
        self._held = held

    def settle(self) -> None:
        """Take the entry away: what was done is in the ledger."""
        self._path.unlink(missing_ok=True)
        self._held.close()

    def leave(self) -> None:
        """Let the next run find the entry."""
        self._held.close()


def begin(repository: Repository, target: str, run: str, content: str) -> Journal:
    """Write what a run intends, synced to the disk before this returns. Raises `Unwritable`."""
    folder = _folder(repository, target)
    path = folder / f"{run}{_SUFFIX}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=folder, prefix=".")
        held = os.fdopen(handle, "w", encoding="utf-8")
        try:
            fcntl.flock(held, fcntl.LOCK_EX)
            held.write(content)
            held.flush()
            os.fsync(held.fileno())
            Path(temporary).rename(path)
            _sync(folder)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            held.close()
            raise
    except OSError as error:
        message = f"the git directory cannot be written to ({error.strerror}), so that no apply could be recorded"
        raise Unwritable(message) from error
    return Journal(path, held)


def unfinished(repository: Repository, target: str) -> tuple[Unfinished, ...]:
    """Return what runs left over that did not come to their record, oldest first; those that go on are passed over."""
    try:
        paths = sorted(_folder(repository, target).glob(f"[!.]*{_SUFFIX}"))
    except OSError:
        return ()
    found = ((path, _left_over(path)) for path in paths)
    return tuple(Unfinished(path.stem, content, path) for path, content in found if content is not None)


def _left_over(path: Path) -> str | None:
    try:
        with path.open(encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return file.read()
    except (OSError, UnicodeDecodeError):
        return None


def _folder(repository: Repository, target: str) -> Path:
    return repository.common / "reconciler" / target


def _sync(folder: Path) -> None:
    """Make the name of a new file as durable as its content."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
