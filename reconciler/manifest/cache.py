"""Manifests that were read before, kept in the user's cache folder by what their files hold.

A file is found again whatever it is called and whenever it was written, and not once a byte of it has changed. What is
kept is what a valid manifest declares (`Table`), as JSON behind a digest; a file with problems is parsed each time. An
entry that is cut off, altered, unreadable or of another version counts as absent, and so does the whole cache where it
cannot be used: it never fails a run, and whoever deletes it loses nothing but time.

Entries hold what the manifests hold, so they are made for the user's eyes only; a folder that others may write to, or
that is somebody else's, is left alone. The digest shows damage, it is no signature: whoever can write here could as
well write the manifests.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import stat
import sys
import tempfile
import time
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import pydantic
import ruamel.yaml

from reconciler.manifest.files import read_file
from reconciler.manifest.reader import FAST_PARSER
from reconciler.manifest.table import Lines, Table

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

VARIABLE = "RECONCILER_CACHE"
"""Names the folder by an absolute path; anything else in it (`off`) means that there is to be none."""

FREE = 64 * 1024
"""Bytes that a run parses without asking here, within some 10 ms: a small repository needs no cache."""
TINY = 2 * 1024
"""Bytes of a file that is never kept: to parse it costs about as much as to write it down, 0.4 ms."""
MAX_ENTRY = 256 * 1024 * 1024
"""Bytes of an entry, at most. Where no anchors are used it has about as many as its file."""
MAX_TOTAL = 512 * 1024 * 1024
"""Bytes of all entries that a sweep leaves: manifests of two million resources."""
DAY = 24 * 3600.0
"""Seconds. So exactly is it known when an entry was last used."""
MAX_AGE = 30 * DAY
"""Seconds for which an entry is kept that nobody asks for."""

_NAME = re.compile(r"[0-9a-f]{64}|\.new-\w+")
"""What a sweep may remove: entries, and those that were being written when a run was killed."""
_DIGEST = 64
"""The hexadecimal characters of a digest, with which an entry begins."""
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_UNFIT = (ValueError, LookupError, TypeError, AttributeError, RecursionError)
"""What text may raise that is taken for an entry and is none."""


def at(env: Mapping[str, str]) -> Cache | None:
    """Return the cache that an environment asks for, `None` for none.

    It is in the folder that `RECONCILER_CACHE` names, else in `reconciler` below `XDG_CACHE_HOME` or `~/.cache`.
    Relative paths count for nothing, as the XDG specification has it.
    """
    if VARIABLE in env:
        folder = Path(env[VARIABLE])
    elif Path(env.get("XDG_CACHE_HOME", "")).is_absolute():
        folder = Path(env["XDG_CACHE_HOME"], "reconciler")
    else:
        folder = Path(env.get("HOME", ""), ".cache", "reconciler")
    return Cache(folder) if folder.is_absolute() else None


class Cache:
    """Entries in a folder of their own below `folder`. Any number of processes and threads may use it at once."""

    def __init__(self, folder: Path, now: Callable[[], float] = time.time) -> None:
        self._folder = folder / "manifests"
        self._now = now
        self._swept = False
        self._seen = 0

    def key(self, data: bytes) -> str | None:
        """Return what a file is kept by; `None` for one that is not worth it, or where no cache can be used."""
        self._seen += len(data)
        if self._seen < FREE or len(data) < TINY or not self._usable:
            return None
        whole = hashlib.sha256(self._version)
        whole.update(data)
        return whole.hexdigest()

    def get(self, key: str, file: str) -> Table | None:
        """Return what the file with this key declares, which by now is called `file`; `None` if that is not known."""
        path = self._folder / key
        try:
            entry = read_file(path, MAX_ENTRY)
            if entry[:_DIGEST] != _digest(key, memoryview(entry)[_DIGEST:]):
                return None
            table = _table(entry, file)
        except (OSError, *_UNFIT):
            return None
        with contextlib.suppress(OSError):
            if self._now() - path.stat().st_mtime > DAY:
                os.utime(path)
        return table

    def put(self, key: str, table: Table) -> None:
        """Keep what a file declares, where that is possible."""
        with contextlib.suppress(OSError, *_UNFIT):
            content = _content(table)
            if len(content) > MAX_ENTRY - _DIGEST:
                return
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if self._ours():
                self._sweep()
                self._write(key, _digest(key, content) + content)

    @cached_property
    def _usable(self) -> bool:
        try:
            return bool(self._version) and self._ours()
        except FileNotFoundError:
            return True
        except OSError:
            return False

    @cached_property
    def _version(self) -> bytes:
        return version()

    def _ours(self) -> bool:
        """Tell whether the folder is this user's, and nobody else may put anything there. Raises `OSError`."""
        known = self._folder.lstat()
        return stat.S_ISDIR(known.st_mode) and known.st_uid == os.geteuid() and not known.st_mode & _OTHERS_WRITE

    def _write(self, key: str, entry: bytes) -> None:
        """Write an entry so that nobody sees half of it; if it is cut off by a crash, its digest tells."""
        handle, temporary = tempfile.mkstemp(dir=self._folder, prefix=".new-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(entry)
            Path(temporary).replace(self._folder / key)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise

    def _sweep(self) -> None:
        """Remove what nobody has used for long, and the oldest of the rest until it fits; once, before the first entry.

        Only a run that has parsed something large gets here, so that looking at every entry is nothing beside that.
        """
        if self._swept:
            return
        self._swept = True
        with os.scandir(self._folder) as found:
            entries = [(entry.stat(follow_symlinks=False), entry) for entry in found if _NAME.fullmatch(entry.name)]
        entries.sort(key=lambda one: one[0].st_mtime, reverse=True)
        total, oldest = 0, self._now() - MAX_AGE
        for known, entry in entries:
            total += known.st_size
            if total > MAX_TOTAL or known.st_mtime < oldest:
                Path(entry).unlink(missing_ok=True)


# --- one entry --------------------------------------------------------------------------------------------------------


def _digest(key: str, content: bytes | memoryview) -> bytes:
    """Return the digest of an entry; its name counts, so that it is none under any other."""
    whole = hashlib.sha256(key.encode())
    whole.update(content)
    return whole.hexdigest().encode()


def _content(table: Table) -> bytes:
    """Return a table as text: a line with all columns but the rows, then a line for each of those."""
    columns = json.dumps([table.ids, table.places, table.shapes, table.forms], separators=(",", ":"))
    return "\n".join([columns, *table.lines()]).encode("ascii")


def _table(entry: bytes, file: str) -> Table:
    """Return the table of an entry with a good digest."""
    end = entry.index(b"\n")
    ids, places, shapes, forms = json.loads(entry[_DIGEST:end])
    rows = Lines(str(memoryview(entry)[end + 1 :], "ascii"))
    if not sum(map(len, ids.values())) == len(places) == len(forms) == len(rows):
        raise ValueError("the columns of a table are of one length")
    return Table(file, ids, places, shapes, forms, rows)


# --- which version made it --------------------------------------------------------------------------------------------


def version() -> bytes:
    """Return what changes with everything that decides what a file declares; nothing where that cannot be told.

    It is made of the code itself, of this package and of all that it imports, since a checkout keeps its version
    while it is worked on; and of the versions of what it reads and checks with.
    """
    here = Path(__file__).parent
    sources = sorted((*here.glob("*.py"), *here.parent.glob("*.py")))
    parser = sys.modules[FAST_PARSER.__module__].__file__
    if not sources or parser is None:
        return b""
    known = hashlib.sha256(f"{sys.version} {pydantic.VERSION} {ruamel.yaml.__version__}".encode())
    try:
        # The C parser tells no version of its own, but hardly are two builds of it of one size.
        known.update(str(Path(parser).stat().st_size).encode())
        for source in sources:
            known.update(hashlib.sha256(source.read_bytes()).digest())
    except OSError:
        return b""
    return known.digest()
