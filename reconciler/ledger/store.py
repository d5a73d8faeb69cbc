"""The ledger of a target as it stands at a commit, and recording a run in it."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from reconciler.errors import ExitCode, InvalidInput, Problem, ReconcilerError
from reconciler.git import GitFailed, objects
from reconciler.ledger.records import (
    BASES,
    HEAD,
    RUN,
    TOUCHED,
    Dispute,
    Head,
    Malformed,
    bits_for,
    differing,
    dump_bases,
    dump_head,
    dump_run,
    dump_touched,
    laid_over,
    load_bases,
    load_head,
    load_run,
    load_touched,
    path_of,
    sharded,
    subject,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from reconciler.bases import Touched
    from reconciler.git import Repository
    from reconciler.model import Base, Ref
    from reconciler.runs import Images, Run, Server

ATTEMPTS = 50
"""How often a writer starts again because another one was faster. Each time somebody's record got in."""
_AT_ONCE = 200
"""Runs that are read together, where perhaps only the newest are asked for."""

_T = TypeVar("_T")


class NotRecorded(ReconcilerError):
    """What a run did could not be recorded, in this clone or in its remote; the message has what git said."""

    exit_code = ExitCode.INCOMPLETE
    code = "not_recorded"


def ref_of(target: str) -> str:
    """Return the full name of the ref that holds the ledger of a target."""
    return f"refs/reconciler/{target}"


# --- reading ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ledger:
    """The ledger of a target as it stands at the commit `tip`. Files are read when they are asked for, once.

    Whatever reads may raise `InvalidInput` (`ledger_unreadable`).
    """

    target: str
    tip: str
    head: Head
    _repository: Repository = field(repr=False, compare=False)
    _files: Mapping[str, str] = field(repr=False, compare=False)
    _read: dict[str, dict[Ref, Base]] = field(repr=False, compare=False, default_factory=dict)

    @property
    def server(self) -> Server:
        """Return whom the target was when this was recorded."""
        return self.head.server

    @property
    def applied(self) -> str | None:
        """Return the commit whose manifests were applied last."""
        return self.head.applied

    @property
    def complete(self) -> bool:
        """Tell whether a resource without a record was never applied; else nothing is known of it."""
        return self.head.complete

    @property
    def shards(self) -> dict[str, str]:
        """Return the files that hold the bases, with the ids of their contents."""
        return {path: blob for path, blob in self._files.items() if path.startswith(f"{BASES}/")}

    def base(self, ref: Ref) -> Base | None:
        """Return the base of a resource; `None` where there is no record of it."""
        return self.bases([ref]).get(ref)

    def bases(self, refs: Iterable[Ref]) -> dict[Ref, Base]:
        """Return the bases of these resources, as far as there are any; only the files that hold them are read."""
        places = {ref: self.path_of(ref) for ref in refs}
        shards = self.load(places.values())
        return {ref: shards[path][ref] for ref, path in places.items() if ref in shards[path]}

    def everything(self) -> dict[Ref, Base]:
        """Return all bases, in no particular order."""
        shards = self.load(self.shards)
        return {ref: base for shard in shards.values() for ref, base in shard.items()}

    def refs(self) -> tuple[Ref, ...]:
        """Return every resource that there is a record of, sorted."""
        return tuple(sorted(self.everything(), key=lambda ref: (ref.kind, ref.id)))

    def path_of(self, ref: Ref) -> str:
        """Return the file that holds the base of a resource, if there is any."""
        return path_of(BASES, ref, self.head.bits)

    def load(self, paths: Iterable[str]) -> dict[str, Mapping[Ref, Base]]:
        """Return what these files of bases hold; nothing for one that is not there."""
        wanted = set(paths)
        missing = {path: self._files[path] for path in sorted(wanted) if path in self._files and path not in self._read}
        with _reading(self.target, self.tip):
            for path, raw in _contents(self._repository, missing):
                self._read[path] = _load(load_bases, path, raw)
        return {path: self._read.get(path, {}) for path in wanted}


def read(repository: Repository, target: str, commit: str | None = None) -> Ledger | None:
    """Return the ledger of a target as it is now, or as it was at one of its commits; `None` where there is no ref.

    Raises `InvalidInput` (`ledger_unreadable`) where there is one that cannot be read or is of another format.
    """
    with _reading(target, commit):
        at = commit or objects.tip(repository, ref_of(target))
    if at is None:
        return None
    with _reading(target, at):
        files = objects.entries(repository, at)
        if HEAD not in files:
            raise Malformed(f"{HEAD} is not there")
        ((path, raw),) = _contents(repository, {HEAD: files[HEAD]})
        return Ledger(target, at, _load(load_head, path, raw), repository, files)


def check_server(ledger: Ledger, server: Server) -> None:
    """Raise `InvalidInput` (`other_server`) where the ledger is that of another server than the target is now."""
    found = differing(ledger.server, server)
    if not found:
        return
    ref = ref_of(ledger.target)
    message = (
        f"the ledger {ref} records another server: {', '.join(found)}; give this target a name of its own, or, if that "
        f"record is of no more use, delete it: `git update-ref -d {ref}`, and in every remote that has it"
    )
    raise InvalidInput(Problem("other_server", message))


@contextlib.contextmanager
def _reading(target: str, commit: str | None) -> Iterator[None]:
    """Turn what goes wrong with reading a ledger into `InvalidInput`."""
    try:
        yield
    except (GitFailed, Malformed) as error:
        what = f"the ledger {ref_of(target)}" + (f" at {commit[:12]}" if commit else "")
        raise unreadable(f"{what} cannot be read: {error}") from error


def unreadable(message: str) -> InvalidInput:
    """Return the error for a ledger that cannot be read."""
    return InvalidInput(Problem("ledger_unreadable", message))


def _contents(repository: Repository, files: Mapping[str, str]) -> Iterator[tuple[str, bytes]]:
    """Read files, by path and id, in one process. Raises `Malformed` for one whose content is missing."""
    found = objects.contents(repository, files.values())
    for path, blob in files.items():
        raw = found[blob]
        if raw is None:
            raise Malformed(f"the content of {path} is missing")
        yield path, raw


def _load(load: Callable[[bytes], _T], path: str, raw: bytes) -> _T:
    try:
        return load(raw)
    except Malformed as error:
        raise Malformed(f"{path} {error}") from error


# --- writing ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Recorded:
    """The ledger after it was written to, and what two writers had recorded differently.

    `united`: somebody else had recorded meanwhile, so that it holds what they did, too.
    """

    ledger: Ledger
    disputed: tuple[Dispute, ...] = ()
    united: bool = False


def record(
    repository: Repository,
    target: str,
    known: Ledger | None,
    moved: Mapping[Ref, Base | None],
    run: Run,
    server: Server,
    applied: str | None,
    *,
    complete: bool = True,
) -> Recorded:
    """Record a run, and the bases that it moved (`None`: forgotten), on top of the ledger that it was planned with.

    `complete`: the run looked at all that was declared, or an earlier one did (see `records.Head`). Where another
    process of this clone has recorded meanwhile, ours is laid over it. Raises `InvalidInput` for a ledger of another
    server, or that cannot be read; `NotRecorded` where git cannot write.
    """
    if known is not None:
        check_server(known, server)
    try:
        shards = _rewritten(known, moved)
        head = Head(server, applied, shards.bits, shards.resources, complete)
        parents = [known.tip] if known else []
        ours = _committed(repository, target, head, shards, _run_files(run), parents, subject(run))
        return _in_place(repository, known, ours)
    except GitFailed as error:
        raise NotRecorded(
            f"the run could not be recorded in {ref_of(target)}: {error}; mend that, and the next apply records it"
        ) from error


def _in_place(repository: Repository, known: Ledger | None, ours: Ledger) -> Recorded:
    """Move the ref from what was known to our commit, united with what got there first."""
    ref = ref_of(ours.target)
    there, wanted = known, Recorded(ours)
    for _ in range(ATTEMPTS):
        if objects.move(repository, ref, wanted.ledger.tip, there.tip if there else None):
            return wanted
        there = read(repository, ours.target)
        wanted = unite(repository, known, ours, there) if there else Recorded(ours)
    raise NotRecorded(
        f"the run could not be recorded in {ref}: other processes kept moving it; the next apply records it"
    )


def unite(repository: Repository, origin: Ledger | None, ours: Ledger, theirs: Ledger) -> Recorded:
    """Write the commit that unites two ledgers: the fields that we moved since `origin` laid over theirs. No ref moves.

    Raises `InvalidInput` where they are those of different servers.
    """
    check_server(theirs, ours.server)
    refs = _perhaps_moved(origin, ours, theirs)
    moved, disputed = laid_over(refs, origin.bases(refs) if origin else {}, ours.bases(refs), theirs.bases(refs))
    shards = _rewritten(theirs, moved)
    unmoved = origin is not None and ours.applied == origin.applied
    complete = ours.head.complete or theirs.head.complete
    applied = theirs.applied if unmoved else ours.applied
    head = Head(ours.server, applied, shards.bits, shards.resources, complete)
    message = f"unite {ours.tip[:12]} with {theirs.tip[:12]}"
    united = _committed(repository, ours.target, head, shards, {}, [theirs.tip, ours.tip], message)
    return Recorded(united, disputed, united=True)


def _perhaps_moved(origin: Ledger | None, ours: Ledger, theirs: Ledger) -> set[Ref]:
    """Return the resources whose base may have to be laid over theirs; files that are the same are not even read."""
    old, mine, other = origin.shards if origin else {}, ours.shards, theirs.shards
    if origin is not None and origin.head.bits != ours.head.bits:
        return {*origin.everything(), *ours.everything()}
    paths = {path for path in old.keys() | mine.keys() if old.get(path) != mine.get(path)}
    if theirs.head.bits == ours.head.bits:
        paths = {path for path in paths if mine.get(path) != other.get(path)}
    ledgers = [ours] if origin is None else [origin, ours]
    return {ref for ledger in ledgers for shard in ledger.load(paths).values() for ref in shard}


@dataclass(frozen=True, slots=True)
class _Shards:
    """All bases as they are to be written: files that stay, by id, and files with new content."""

    bits: int
    resources: int
    kept: dict[str, str]
    fresh: dict[str, dict[Ref, Base]]


def _rewritten(on: Ledger | None, moved: Mapping[Ref, Base | None]) -> _Shards:
    bits, resources = (on.head.bits, on.head.resources) if on else (0, 0)
    changes = sharded(BASES, moved, bits)
    old = on.load(changes) if on else {}
    fresh = {path: _changed(old.get(path, {}), part) for path, part in changes.items()}
    resources += sum(len(shard) - len(old.get(path, ())) for path, shard in fresh.items())
    fit = bits_for(resources, bits)
    if fit != bits:
        everything = _changed(on.everything() if on else {}, moved)
        return _Shards(fit, resources, {}, sharded(BASES, everything, fit))
    kept = {path: blob for path, blob in on.shards.items() if path not in fresh} if on else {}
    return _Shards(bits, resources, kept, {path: shard for path, shard in fresh.items() if shard})


def _changed(bases: Mapping[Ref, Base], moved: Mapping[Ref, Base | None]) -> dict[Ref, Base]:
    return {ref: base for ref, base in {**bases, **moved}.items() if base is not None}


def _run_files(run: Run) -> dict[str, bytes]:
    shards = sharded(TOUCHED, run.touched, bits_for(len(run.touched)))
    return {RUN: dump_run(run), **{path: dump_touched(shard) for path, shard in shards.items()}}


def _committed(
    repository: Repository,
    target: str,
    head: Head,
    shards: _Shards,
    run: Mapping[str, bytes],
    parents: Sequence[str],
    message: str,
) -> Ledger:
    fresh = {HEAD: dump_head(head), **run, **{path: dump_bases(shard) for path, shard in shards.fresh.items()}}
    ids = objects.write_blobs(repository, list(fresh.values()))
    files = {**shards.kept, **dict(zip(fresh, ids, strict=True))}
    tip = objects.write_commit(repository, objects.write_tree(repository, files), parents, message)
    return Ledger(target, tip, head, repository, files, dict(shards.fresh))


# --- what was recorded ------------------------------------------------------------------------------------------------


def runs(repository: Repository, target: str, *, limit: int | None = None) -> list[tuple[str, Run]]:
    """Return the recorded runs, newest first, each with the commit of the ledger that records it.

    Where the ledger was fetched cut (`shallow`), these are not all. The before-images of a run are read when they are
    looked at. Raises `InvalidInput` (`ledger_unreadable`).
    """
    found: list[tuple[str, Run]] = []
    with _reading(target, None):
        tip = objects.tip(repository, ref_of(target))
        commits = objects.history(repository, tip) if tip else []
        for start in range(0, len(commits), _AT_ONCE):
            found += _runs_in(repository, target, commits[start : start + _AT_ONCE])
            if limit is not None and len(found) >= limit:
                break
    return found[:limit]


def _runs_in(repository: Repository, target: str, commits: Sequence[str]) -> Iterator[tuple[str, Run]]:
    names = {commit: f"{commit}:{RUN}" for commit in commits}
    raws = objects.contents(repository, names.values())
    for commit, name in names.items():
        raw = raws[name]
        if raw is not None:
            yield commit, _load(lambda raw: load_run(raw, _Touched(repository, target, commit)), name, raw)  # noqa: B023
        elif RUN in objects.entries(repository, commit):
            raise Malformed(f"the content of {name} is missing")
        # Else it unites two, and has lost its parents in a clone that is cut.


def shallow(repository: Repository, target: str) -> bool:
    """Tell whether the history of a ledger ends early in this clone. Raises `InvalidInput`."""
    with _reading(target, None):
        tip = objects.tip(repository, ref_of(target))
        return tip is not None and objects.cut(repository, tip)


class _Touched(Mapping["Ref", "tuple[Touched, ...]"]):
    """The before-images of one run, read when they are first looked at: most readers of a history never do."""

    def __init__(self, repository: Repository, target: str, commit: str) -> None:
        self._repository = repository
        self._target = target
        self._commit = commit
        self._images: Images | None = None

    def __getitem__(self, ref: Ref) -> tuple[Touched, ...]:
        return self._loaded()[ref]

    def __iter__(self) -> Iterator[Ref]:
        return iter(self._loaded())

    def __len__(self) -> int:
        return len(self._loaded())

    def __repr__(self) -> str:
        return f"<what {self._commit[:12]} touched>"

    def _loaded(self) -> Images:
        if self._images is None:
            images: dict[Ref, tuple[Touched, ...]] = {}
            with _reading(self._target, self._commit):
                files = objects.entries(self._repository, self._commit)
                mine = {path: blob for path, blob in files.items() if path.startswith(f"{TOUCHED}/")}
                for path, raw in _contents(self._repository, mine):
                    images |= _load(load_touched, path, raw)
            self._images = images
        return self._images
