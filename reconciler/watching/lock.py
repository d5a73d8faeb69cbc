"""Who is at work on a target from this checkout: one watch, and no apply while a run of it writes.

The locks are those of the system: they end with the process that holds them, however it ends. They are no protection
against other machines; that is the look before each write, and the ledger.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from reconciler import OWN_FOLDER
from reconciler.errors import ReconcilerError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from reconciler.git import Repository

_WATCH, _RUN = "watch.lock", "run.lock"
_A_LOOK = 0.5
"""Seconds after which a lock is somebody's who is at work. Who merely looks whether it is taken has it for a moment."""
_AGAIN = 0.01
"""Seconds between two attempts."""


class AtWork(ReconcilerError):
    """Somebody else is at work on the target."""

    code = "at_work"


@dataclass(frozen=True, slots=True)
class Holder:
    """A watch that goes on: its process, and whether it reports or applies."""

    pid: int
    mode: str

    def __str__(self) -> str:
        return f"a watch (process {self.pid}, --mode {self.mode})"


@dataclass(frozen=True, slots=True)
class Mark:
    """A file whose being there is all that it says; a watch that begins finds what an earlier one knew."""

    path: Path

    @property
    def there(self) -> bool:
        """Tell whether it is there."""
        return self.path.exists()

    def put(self, there: bool) -> None:  # noqa: FBT001 - a fact
        """Put it there or take it away, as far as the disk allows."""
        with contextlib.suppress(OSError):
            self.path.touch() if there else self.path.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class Locks:
    """The locks of one target: in the git directory that all work trees share, or beside the settings outside of git.

    In the git directory they lie beside the journal, whose entries are locked while an apply goes on.
    """

    target: str
    folder: Path
    prefix: str = ""

    @contextlib.contextmanager
    def watching(self, mode: str) -> Iterator[None]:
        """Be the one watch of the target. Raises `AtWork` where there is one already."""
        with self._open(_WATCH) as held:
            if not _taken(held, fcntl.LOCK_EX, within=_A_LOOK):
                holder = _holder(held)
                raise AtWork(
                    f"{holder or 'a watch'} is at work on target {self.target} from this checkout already; end it first"
                )
            held.truncate(0)
            held.write(json.dumps({"pid": os.getpid(), "mode": mode}))
            held.flush()
            try:
                yield
            finally:
                with contextlib.suppress(OSError):  # whoever looks is not to take it for one that goes on
                    held.truncate(0)

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Be the one that writes. Raises `AtWork` where an apply is going on."""
        message = f"an apply is at work on target {self.target}; the next run looks again"
        with self._open(_RUN) as held:
            if not _taken(held, fcntl.LOCK_EX, within=_A_LOOK) or self._applying():
                raise AtWork(message)
            yield

    @contextlib.contextmanager
    def beside(self) -> Iterator[None]:
        """Write beside a watch, whose runs wait meanwhile, and beside others who do the same.

        Raises `AtWork` where a run of the watch writes. Where no lock can be made, no watch can have one either.
        """
        try:
            held = self._open(_RUN)
        except ReconcilerError:
            yield
            return
        with held:
            if not _taken(held, fcntl.LOCK_SH):
                who = self.watch() or "a watch"
                raise AtWork(f"{who} writes to target {self.target} just now; try again after its run")
            yield

    @property
    def told(self) -> Mark:
        """Return the mark that the webhook was told of drift, and not yet that it is gone."""
        return Mark(self._path("watch.told"))

    def watch(self) -> Holder | None:
        """Return the watch that goes on, if one does; makes no file."""
        try:
            with self._path(_WATCH).open("r+", encoding="utf-8") as file:
                return None if _taken(file, fcntl.LOCK_SH) else _holder(file)
        except OSError:
            return None

    def _applying(self) -> bool:
        """Tell whether an apply goes on that began before there was a lock to be held."""
        return any(map(_is_held, self.folder.glob("[!.]*.json")))

    def _path(self, name: str) -> Path:
        return self.folder / f"{self.prefix}{name}"

    def _open(self, name: str) -> IO[str]:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            ignore = self.folder / ".gitignore"
            if self.folder.name == OWN_FOLDER and not ignore.exists():
                ignore.write_text("*\n", encoding="utf-8")
            return self._path(name).open("a+", encoding="utf-8")
        except OSError as error:
            message = f"{self.folder} cannot be written to ({error.strerror}), so that no watch can take place here"
            raise ReconcilerError(message) from error


def locks_around(root: Path, target: str, around: Repository | None) -> Locks:
    """Return the locks of a target whose settings are in the folder `root`; `around`: the repository around it."""
    if around is None:
        return Locks(target, root / OWN_FOLDER, f"{target}.")
    return Locks(target, around.common / "reconciler" / target)


def _taken(file: IO[str], how: int, *, within: float = 0.0) -> bool:
    """Take a lock, and tell whether that worked; somebody else's is waited for no longer than `within` seconds."""
    until = time.monotonic() + within
    while True:
        try:
            fcntl.flock(file, how | fcntl.LOCK_NB)
        except OSError:
            if time.monotonic() >= until:
                return False
            time.sleep(_AGAIN)
        else:
            return True


def _holder(file: IO[str]) -> Holder | None:
    """Return the watch that a file tells of, `None` where it tells of none (yet)."""
    try:
        file.seek(0)
        told = json.load(file)
        return Holder(int(told["pid"]), "apply" if told["mode"] == "apply" else "report")
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _is_held(path: Path) -> bool:
    try:
        with path.open(encoding="utf-8") as file:
            return not _taken(file, fcntl.LOCK_SH)
    except OSError:
        return False
