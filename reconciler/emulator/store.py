"""Where the emulator keeps its objects: in memory, or in a SQLite file that outlives the process.

The file is in WAL mode: readers do not wait for a writer, several processes may have it open, and one that is
killed leaves no half-written object. Both stores may be used from several threads. Around either there may be a
`LaggingStore`, whose reads show objects as they were a while ago.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from bisect import bisect_left, bisect_right
from collections import defaultdict, deque
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from threading import RLock, get_ident
from typing import TYPE_CHECKING, TypeVar

from reconciler import OWN_FOLDER
from reconciler.emulator.service import Held
from reconciler.errors import ReconcilerError
from reconciler.model import Ref

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from reconciler.emulator.service import Span, Store

T = TypeVar("T")

APPLICATION = 0x7265636F
"""What SQLite's `application_id` says in a file of ours ("reco"), so that no other database is touched."""
PATIENCE = 10.0
"""Seconds that a write waits for another process before it gives up."""
_PAUSE = 0.005
_PRIMARY = 0xFF
"""The part of an SQLite error code that names the error; the rest says which variety of it."""
_LARGEST = 2**63 - 1

_SCHEMA = f"""
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS objects (
    position INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    parent TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    pairs TEXT,
    UNIQUE (kind, id)
);
CREATE INDEX IF NOT EXISTS by_parent ON objects (kind, parent, position);
PRAGMA application_id = {APPLICATION};
COMMIT;
"""
_GET = "SELECT created_at, pairs FROM objects WHERE kind = ? AND id = ?"
_PUT = """
INSERT INTO objects (kind, id, parent, created_at, pairs) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (kind, id) DO UPDATE SET created_at = excluded.created_at, pairs = excluded.pairs
"""
_PLANT = "INSERT OR IGNORE INTO objects (kind, id, parent, created_at, pairs) VALUES (?, ?, ?, ?, '{}')"
_BURY = "UPDATE objects SET pairs = NULL WHERE kind = ? AND id = ?"
_POSITION = "SELECT position FROM objects WHERE kind = ? AND id = ?"
_UPWARDS = """
SELECT id, created_at, pairs FROM objects
WHERE kind = ? AND parent = ? AND position > ? AND position < ? AND pairs IS NOT NULL ORDER BY position LIMIT ?
"""
_DOWNWARDS = _UPWARDS.replace("ORDER BY position", "ORDER BY position DESC")


def _parent(ref: Ref) -> str:
    return ref.id.rpartition("/")[0]


class MemoryStore:
    """Objects in memory, gone with the process."""

    def __init__(self) -> None:
        self._lock = RLock()
        self._objects: dict[Ref, Held | None] = {}
        self._positions: dict[Ref, int] = {}
        self._siblings: dict[tuple[str, str], list[Ref]] = {}

    @contextmanager
    def exclusively(self) -> Iterator[None]:
        """Keep every other thread out."""
        with self._lock:
            yield

    def get(self, ref: Ref) -> Held | None:
        """Return the object, or `None` where it is not held (any more)."""
        return self._objects.get(ref)

    def put(self, ref: Ref, held: Held) -> None:
        """Hold the object, new or in place of what was held."""
        with self._lock:
            if ref not in self._positions:
                self._positions[ref] = len(self._positions)
                self._siblings.setdefault((ref.kind, _parent(ref)), []).append(ref)
            self._objects[ref] = held

    def plant(self, refs: Iterable[Ref], created_at: int) -> None:
        """Hold an empty object for each ref that was never held."""
        with self._lock:
            for ref in refs:
                if ref not in self._positions:
                    self.put(ref, Held(created_at))

    def bury(self, ref: Ref) -> None:
        """Delete the object and remember that it was held."""
        with self._lock:
            self._objects[ref] = None

    def position(self, ref: Ref) -> int | None:
        """Return its place in the order of creation, deleted or not; `None` where it was never held."""
        return self._positions.get(ref)

    def page(self, kind: str, parent: str, span: Span) -> Sequence[tuple[Ref, Held]]:
        """Return the objects of a kind below a parent within a span, in its order."""
        with self._lock:
            refs = self._siblings.get((kind, parent), [])
            low = 0 if span.low is None else bisect_right(refs, span.low, key=self._positions.__getitem__)
            high = len(refs) if span.high is None else bisect_left(refs, span.high, key=self._positions.__getitem__)
            within = reversed(refs[low:high]) if span.descending else refs[low:high]
            found = ((ref, held) for ref in within if (held := self._objects[ref]) is not None)
            return [pair for pair, _ in zip(found, range(span.count), strict=False)]


class SqliteStore:
    """Objects in a SQLite file. What the file cannot give is a `ReconcilerError` that names it."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self._path = path
        self._lock = RLock()

    @contextmanager
    def exclusively(self) -> Iterator[None]:
        """Keep every other thread and process out, in one transaction."""
        with self._lock:
            self._do(lambda: self._connection.execute("BEGIN IMMEDIATE"))
            try:
                yield
                self._do(self._connection.commit)
            except BaseException:
                self._connection.rollback()
                raise

    def get(self, ref: Ref) -> Held | None:
        """Return the object, or `None` where it is not held (any more)."""
        row = self._row(_GET, ref)
        return None if row is None or row[1] is None else self._held(row[0], row[1])

    def put(self, ref: Ref, held: Held) -> None:
        """Hold the object, new or in place of what was held."""
        values = (ref.kind, ref.id, _parent(ref), held.created_at, json.dumps(dict(held.pairs)))
        self._do(lambda: self._connection.execute(_PUT, values))

    def plant(self, refs: Iterable[Ref], created_at: int) -> None:
        """Hold an empty object for each ref that was never held; many at once, in one transaction."""
        rows = ((ref.kind, ref.id, _parent(ref), created_at) for ref in refs)
        with self.exclusively():
            self._do(lambda: self._connection.executemany(_PLANT, rows))

    def bury(self, ref: Ref) -> None:
        """Delete the object and remember that it was held."""
        self._do(lambda: self._connection.execute(_BURY, (ref.kind, ref.id)))

    def position(self, ref: Ref) -> int | None:
        """Return its place in the order of creation, deleted or not; `None` where it was never held."""
        row = self._row(_POSITION, ref)
        return None if row is None else int(row[0])

    def page(self, kind: str, parent: str, span: Span) -> Sequence[tuple[Ref, Held]]:
        """Return the objects of a kind below a parent within a span, in its order."""
        low = -1 if span.low is None else span.low
        high = _LARGEST if span.high is None else span.high
        statement = _DOWNWARDS if span.descending else _UPWARDS
        rows = self._do(lambda: self._connection.execute(statement, (kind, parent, low, high, span.count)).fetchall())
        return [(Ref(kind, row[0]), self._held(row[1], row[2])) for row in rows]

    def _row(self, statement: str, ref: Ref) -> sqlite3.Row | None:
        row: sqlite3.Row | None = self._do(lambda: self._connection.execute(statement, (ref.kind, ref.id)).fetchone())
        return row

    def _held(self, created_at: int, pairs: str) -> Held:
        return Held(created_at, self._do(lambda: json.loads(pairs)))

    def _do(self, step: Callable[[], T]) -> T:
        """Take one step with the database, alone among the threads, and translate what goes wrong."""
        with self._lock:
            try:
                return step()
            except (sqlite3.Error, ValueError) as error:
                raise ReconcilerError(f"the database {self._path} cannot be used: {_told(error)}") from error


@dataclass(frozen=True, slots=True)
class Lag:
    """How far reads lag behind a write: for so many seconds, and for so many reads of the object, whichever is more."""

    seconds: float = 0.0
    reads: int = 0


@dataclass(slots=True)
class _Past:
    """What one object was before each of its last writes: until when, and until which read of it, that is shown."""

    read: int = 0
    states: deque[tuple[float, int, Held]] = field(default_factory=deque)


class LaggingStore:
    """A store whose objects are read as they were before their last writes, for the lag of their kind.

    Objects in lists lag as well. A write always begins with what is there, and its answer shows what it made of that;
    what is created or deleted is so at once. The past is in memory, for this process alone.
    """

    def __init__(self, inner: Store, lags: Mapping[str, Lag], clock: Callable[[], float]) -> None:
        self._inner = inner
        self._lags = lags
        self._clock = clock
        self._lock = RLock()
        self._past: dict[Ref, _Past] = defaultdict(_Past)
        self._writer: int | None = None

    @contextmanager
    def exclusively(self) -> Iterator[None]:
        """Keep every other writer out; within, everything is as it is."""
        with self._inner.exclusively():
            self._writer = get_ident()
            try:
                yield
            finally:
                self._writer = None

    def get(self, ref: Ref) -> Held | None:
        """Return the object as far as reads have caught up, or `None` where it is not held (any more)."""
        held = self._inner.get(ref)
        return held if held is None or self._writer == get_ident() else self._seen(ref, held)

    def put(self, ref: Ref, held: Held) -> None:
        """Hold the object; for a while, reads show the one that it takes the place of."""
        before, lag = self._inner.get(ref), self._lags.get(ref.kind)
        self._inner.put(ref, held)
        if before is not None and lag is not None:
            with self._lock:
                past = self._past[ref]
                past.states.append((self._clock() + lag.seconds, past.read + lag.reads, before))

    def plant(self, refs: Iterable[Ref], created_at: int) -> None:
        """Hold an empty object for each ref that was never held."""
        self._inner.plant(refs, created_at)

    def bury(self, ref: Ref) -> None:
        """Delete the object, with its past."""
        self._inner.bury(ref)
        with self._lock:
            self._past.pop(ref, None)

    def position(self, ref: Ref) -> int | None:
        """Return its place in the order of creation, deleted or not; `None` where it was never held."""
        return self._inner.position(ref)

    def page(self, kind: str, parent: str, span: Span) -> Sequence[tuple[Ref, Held]]:
        """Return the objects of a kind below a parent within a span, as far as reads have caught up."""
        return [(ref, self._seen(ref, held)) for ref, held in self._inner.page(kind, parent, span)]

    def _seen(self, ref: Ref, held: Held) -> Held:
        """Return what a read made now shows, and count it."""
        with self._lock:
            past = self._past.get(ref)
            if past is None:
                return held
            past.read += 1
            while past.states and past.states[0][0] <= self._clock() and past.states[0][1] < past.read:
                past.states.popleft()
            if not past.states:
                del self._past[ref]
                return held
            return past.states[0][2]


@contextmanager
def opened(path: Path) -> Iterator[SqliteStore]:
    """Open the database, made where there is none; `ReconcilerError` where the file is something else.

    A folder named `.reconciler` is given a `.gitignore` that covers everything in it.
    """
    try:
        _prepare_folder(path.parent)
        if path.is_dir():
            raise ReconcilerError(f"the database {path} cannot be opened: it is a folder; {_MOVE}")
        connection = sqlite3.connect(path, timeout=PATIENCE, isolation_level=None, check_same_thread=False)
    except OSError as error:
        raise ReconcilerError(f"the database {path} cannot be opened: {_in_the_way(path.parent, error)}") from error
    except sqlite3.Error as error:
        raise ReconcilerError(f"the database {path} cannot be opened: {_told(error)}") from error
    with closing(connection):
        _prepare(connection, path)
        yield SqliteStore(connection, path)


_MOVE = "move it away (or remove it, if what it holds is not needed) to begin with a new one"


def _told(error: Exception) -> str:
    """Return what the database says is wrong, with what helps; what is wrong with a value is wrong with the file."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & _PRIMARY
    return f"{error}; {_ADVICE.get(code, _MOVE)}"


_ADVICE = {
    sqlite3.SQLITE_BUSY: "end what else has it open, then run this again",
    sqlite3.SQLITE_LOCKED: "end what else has it open, then run this again",
    sqlite3.SQLITE_FULL: "make room on the disk, then run this again",
    sqlite3.SQLITE_IOERR: "see whether the disk is in order and has room",
    sqlite3.SQLITE_READONLY: "make the file and its folder writable",
    sqlite3.SQLITE_PERM: "make the file and its folder writable",
    sqlite3.SQLITE_CANTOPEN: "make the file and its folder writable",
}
"""What helps against an error of SQLite; against all others, a new file does."""


def _in_the_way(folder: Path, error: OSError) -> str:
    """Return why a folder cannot be used, with what helps."""
    lowest = next(one for one in (folder, *folder.parents) if os.path.lexists(one))
    if not lowest.is_dir():
        return f"{lowest} is no folder; move it away, or remove it if what it holds is not needed"
    return f"{folder}: {error.strerror}; make that folder writable"


def _prepare_folder(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    ignore = folder / ".gitignore"
    if folder.name == OWN_FOLDER and not ignore.exists():
        ignore.write_text("*\n", encoding="utf-8")


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Make the table in a new file; a file that another program made is not changed."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return _make(connection, path)
        except sqlite3.Error as error:
            connection.rollback()
            # SQLite does not wait on its own when two processes turn the log of a new file on at the same moment.
            busy = getattr(error, "sqlite_errorcode", 0) & _PRIMARY == sqlite3.SQLITE_BUSY
            if not busy or time.monotonic() > deadline:
                raise ReconcilerError(f"the file {path} cannot be used as a database: {_told(error)}") from error
            time.sleep(_PAUSE)


def _make(connection: sqlite3.Connection, path: Path) -> None:
    application, tables = _owner(connection)
    if application != APPLICATION and (application, tables) != (0, 0):
        raise ReconcilerError(f"the file {path} is a database of another program; {_MOVE}")
    connection.execute("PRAGMA journal_mode = WAL")
    # With the log, every commit outlives the process without waiting for the disk.
    connection.execute("PRAGMA synchronous = NORMAL")
    if application != APPLICATION:
        connection.executescript(_SCHEMA)


def _owner(connection: sqlite3.Connection) -> tuple[int, int]:
    """Return whose file this is and the number of things in it, both of the same moment."""
    connection.execute("BEGIN")
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    connection.execute("COMMIT")
    return application, tables
