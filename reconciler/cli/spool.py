"""What lists have shown so far, on disk, so that an import that was interrupted goes on where it was.

A file that only grows: a first line that says what it is about, then one line for each page, and for each resource
that had to be read by itself. It lies in the git directory beside the journal of an apply (outside of git in
`.reconciler/`), where nobody commits it, and nobody but its owner may read it: its values are not masked. A line that
was cut short by a crash counts as not written.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from reconciler import OWN_FOLDER
from reconciler.cli.candidates import Collection
from reconciler.errors import ReconcilerError
from reconciler.kinds import KINDS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path
    from typing import BinaryIO, TypeAlias

    from reconciler.cli.candidates import Scope
    from reconciler.cli.session import Session
    from reconciler.model import Metadata
    from reconciler.settings import Target

    Entry: TypeAlias = "Turn | Read | Again"

FORMAT = 1
LONGEST_AGE = 24 * 3600.0
"""Seconds after which what a list has shown is too old to go on from: it would be written as if it were there now."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One page of a list, as far as it is kept.

    `found` are the resources that are wanted, with their metadata (`None`: to be read); `ids` what other lists live
    below. `after` is where the next page begins, `None` where the list is complete. `odd` are names and reasons.
    """

    collection: Collection
    after: str | None
    shown: int
    found: tuple[tuple[str, Metadata | None], ...] = ()
    ids: tuple[str, ...] = ()
    odd: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Read:
    """What reading one resource by itself showed; `None`: it is gone."""

    kind: str
    id: str
    metadata: Metadata | None


@dataclass(frozen=True, slots=True)
class Again:
    """A list was read from its top again: its pages before this do not count twice."""

    collection: Collection


@dataclass(slots=True)
class Spool:
    """The file of one import; `earlier` has what a run before this one put there."""

    path: Path
    file: BinaryIO
    earlier: list[Entry] = field(default_factory=list)
    failed: str | None = None

    def add(self, entry: Entry) -> None:
        """Append an entry. Where that fails (a full disk), the run goes on without: it only cannot be resumed."""
        if self.failed is not None:
            return
        try:
            self.file.write(_line(_as_json(entry)))
        except OSError as error:
            self.failed = error.strerror or str(error)

    def settle(self) -> None:
        """Take the file away: what it has is in the manifests."""
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)
        self.leave()

    def leave(self) -> None:
        """Let the next run find the file."""
        with contextlib.suppress(OSError):
            self.file.close()


class Unusable(Exception):
    """There can be no file; the text says why."""


class AtWork(ReconcilerError):
    """Another run has the file open, or writes manifests just now."""

    code = "import_at_work"


def open_spool(session: Session, scope: Scope, *, fresh: bool, clock: float | None = None) -> Spool:
    """Open the file of an import: what was there is in `earlier`, unless it is too old, or `fresh`.

    Raises `Unusable` where there can be none, `AtWork` where another run has it open.
    """
    now = time.time() if clock is None else clock
    bound = _bound(session, scope)
    digest = hashlib.sha256(_line(bound)).hexdigest()[:16]
    try:
        folder = _folder(session)
        path = folder / f"import-{digest}.jsonl"
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise Unusable(f"{error.strerror or error}") from error
    file = os.fdopen(handle, "r+b", buffering=0)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise AtWork("another import of the same is at work here; wait until it has ended, or end it") from error
    spool = Spool(path, file)
    good = 0 if fresh else _take_earlier(spool, bound, now)
    try:
        file.truncate(good)
        if not good:
            file.write(_line({**bound, "begun": now}))
    except OSError as error:
        spool.failed = error.strerror or str(error)
    return spool


def sweep(session: Session, clock: float | None = None) -> None:
    """Take away what imports have left that is too old to go on from, whatever they were about."""
    now = time.time() if clock is None else clock
    with contextlib.suppress(OSError):
        for path in _place(session).glob("import-*.jsonl"):
            _take_away(path, now)


def _take_away(path: Path, now: float) -> None:
    """Remove a file that is too old, unless a run has it open."""
    with contextlib.suppress(OSError, ValueError, OverflowError, RecursionError), path.open("rb") as file:
        head = json.loads(file.readline(_LONGEST_HEAD))
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if isinstance(head, dict) and not _is_young(head.get("begun"), now):
            path.unlink()


_LONGEST_HEAD = 1 << 20
PATIENCE = 60.0
"""Seconds that an import waits for another one to have written."""


@contextlib.contextmanager
def writing(session: Session, patience: float = PATIENCE) -> Iterator[None]:
    """Be the only import that writes manifests of these settings; wait for one that does.

    Raises `AtWork` where that takes too long. The folder of the settings itself is locked, so that nothing is left.
    """
    try:
        handle = os.open(session.settings.root, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        yield  # a folder that cannot be opened has no lock; what cannot be written is told then
        return
    try:
        _wait_for(handle, time.monotonic() + patience)
        yield
    finally:
        os.close(handle)


def _wait_for(handle: int, until: float) -> None:
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() >= until:
                message = "another import writes manifests here; wait until it has ended, and run this again"
                raise AtWork(message) from error
            time.sleep(0.05)
        except OSError:
            return  # there are file systems without locks
        else:
            return


def _bound(session: Session, scope: Scope) -> dict[str, Any]:
    """Return what a file is about: it is of no use to a run that asks for anything else."""
    target = session.target
    return {
        "format": FORMAT,
        "target": [target.name, target.provider.name, target.base_url, target.organization, target.project],
        "sent": _sent(target),
        "kinds": sorted(scope.kinds),
        "asked": sorted(scope.asked),
        "where": [[one.key, one.text] for one in scope.where],
        "fixed": {kind: sorted(ids) for kind, ids in sorted(scope.fixed.items())},
    }


def _sent(target: Target) -> list[Any]:
    """Return what goes with every call, and may choose a tenant: of what is secret nothing but a digest."""
    secret = [(name, variable, os.environ.get(variable, "").strip()) for name, variable in target.secret_headers]
    digest = hashlib.sha256(_line([target.base_url, sorted(secret)])).hexdigest()
    names = sorted([name, variable] for name, variable, _ in secret)
    return [sorted(map(list, target.query)), sorted(map(list, target.headers)), names, digest if secret else ""]


def _folder(session: Session) -> Path:
    """Return the folder, made where it is not there."""
    folder = _place(session)
    folder.mkdir(parents=True, exist_ok=True)
    ignore = folder / ".gitignore"
    if session.repository is None and not ignore.exists():
        ignore.write_text("*\n", encoding="utf-8")
    return folder


def _place(session: Session) -> Path:
    if session.repository is None:
        return session.settings.root / OWN_FOLDER
    return session.repository.common / "reconciler" / session.target.name


# --- lines ------------------------------------------------------------------------------------------------------------


def _line(content: Any) -> bytes:
    # ASCII: a lone surrogate among foreign values could not be encoded otherwise.
    return json.dumps(content, separators=(",", ":")).encode("ascii") + b"\n"


def _as_json(entry: Entry) -> list[Any]:
    if isinstance(entry, Read):
        return ["read", entry.kind, entry.id, None if entry.metadata is None else dict(entry.metadata)]
    if isinstance(entry, Again):
        return ["again", entry.collection.kind, entry.collection.parent]
    found = [[own, None if held is None else dict(held)] for own, held in entry.found]
    where = (entry.collection.kind, entry.collection.parent)
    return ["page", *where, entry.after, entry.shown, found, list(entry.ids), list(map(list, entry.odd))]


def _take_earlier(spool: Spool, bound: Mapping[str, Any], now: float) -> int:
    """Read what an earlier run has left, up to the first line that is not whole; return how many bytes that is."""
    good, earlier = 0, list["Entry"]()
    try:
        for line in _lines(spool):
            if good:
                earlier.append(_entry(line))
            elif not _is_head(json.loads(line), bound, now):
                return 0
            good += len(line)
    except (OSError, ValueError, TypeError, OverflowError, RecursionError):
        pass  # cut short, or damaged: what stands before it is as good as it was
    spool.earlier = earlier
    return good


def _lines(spool: Spool) -> Iterator[bytes]:
    """Yield the lines that have an end."""
    with spool.path.open("rb") as file:
        yield from (line for line in file if line.endswith(b"\n"))


def _is_head(head: Any, bound: Mapping[str, Any], now: float) -> bool:
    if not isinstance(head, dict):
        return False
    return _is_young(head.pop("begun", None), now) and head == bound


def _is_young(begun: Any, now: float) -> bool:
    return isinstance(begun, int | float) and 0 <= now - begun <= LONGEST_AGE


def _entry(line: bytes) -> Entry:
    """Return what a line says. Raises `ValueError` or `TypeError` for one that says nothing of ours."""
    sort, kind, *rest = json.loads(line)
    row = KINDS.get(kind)
    if row is None:
        raise ValueError(kind)
    if sort == "read":
        own, held = rest
        return Read(kind, _own(own), None if held is None else {**held})
    if sort == "again":
        (above,) = rest
        return Again(Collection(kind, _text(above)))
    parent, after, shown, found, ids, odd = rest
    if not isinstance(parent, str) or not (after is None or isinstance(after, str)):
        raise ValueError("no cursor")
    pairs = tuple((_own(own), None if held is None else {**held}) for own, held in found)
    names = tuple((str(name), str(reason)) for name, reason in odd)
    return Turn(Collection(kind, parent), after, int(shown), pairs, tuple(map(_own, ids)), names)


def _text(text: Any) -> str:
    if not isinstance(text, str):
        raise ValueError("no text")  # noqa: TRY004 - whatever is wrong with a line is one thing
    return text


def _own(own: Any) -> str:
    if not isinstance(own, str) or not own:
        raise ValueError("no id")
    return own
