"""What the manifests declared at a revision of git, and what of today's declarations differs from one.

Which files are manifests, and how they are called, follows the rules of `manifest.find`, read off the tree of the
revision instead of the folders of the work tree.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import TYPE_CHECKING

from reconciler import manifest
from reconciler.diff import equal
from reconciler.errors import InvalidInput, Problem, WrongUsage
from reconciler.git import GitFailed
from reconciler.git.history import below, commit_of, files_at, holds, path_in
from reconciler.git.objects import contents
from reconciler.manifest.files import SUFFIXES, name_of
from reconciler.manifest.table import desired_of, row_of
from reconciler.model import Ref
from reconciler.words import shown

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from reconciler.git import Repository
    from reconciler.git.history import TreeFile
    from reconciler.manifest.cache import Cache
    from reconciler.manifest.table import Table
    from reconciler.model import Acceptance, Desired
    from reconciler.settings import Settings


@dataclass(frozen=True)
class DeclaredAt:
    """What the manifests declared at a revision: all of it (`resources`), or that of some resources (`some`).

    `unknown` has the names of today's manifests of which the revision can tell nothing, because they lie outside of
    the repository or in another one (a submodule): it is silent on them, which must not be taken for a word.
    """

    revision: str
    commit: str
    manifests: manifest.Manifests
    unknown: frozenset[str] = frozenset()

    @property
    def files(self) -> int:
        """How many manifests there were."""
        return len(self.manifests.files)

    @cached_property
    def resources(self) -> Mapping[Ref, Desired]:
        """What was declared, by reference and sorted so."""
        return MappingProxyType({resource.ref: resource for resource in self.manifests.resources})

    def some(self, refs: Collection[Ref]) -> Mapping[Ref, Desired]:
        """Return what was declared of some resources, and make nothing of all the others."""
        return {resource.ref: resource for resource in self.manifests.some(refs)}


@dataclass(frozen=True, slots=True)
class ChangedSince:
    """The resources whose declaration in the work tree differs from the one at a revision, sorted by reference.

    `files`: how many manifests there are; `compared`: how many were parsed because their bytes differ or because they
    are gone; `among`: how many resources are declared in those that are left. The resources of two sorts of files all
    count as changed, for want of something to compare with; their names are in `unknown`, see `DeclaredAt`, and in
    `unreadable`: they were no valid manifests then, or git has lost what they held.
    """

    revision: str
    commit: str
    resources: tuple[Desired, ...]
    files: int
    compared: int
    among: int
    unknown: frozenset[str] = frozenset()
    unreadable: frozenset[str] = frozenset()


def declared_at(
    settings: Settings,
    paths: Sequence[Path],
    repository: Repository | None,
    revision: str,
    cache: Cache | None = None,
) -> DeclaredAt:
    """Return what the manifests among `paths` declared at a revision; the paths need not exist now.

    Raises `WrongUsage` outside of git, and `InvalidInput` where git does not know the revision or cannot read it, or
    with every problem of the manifests there, their places written `REV:FILE`.
    """
    if repository is None:
        raise WrongUsage(_no_git("--base", settings))
    commit = commit_of(repository, revision)
    if commit is None:
        raise InvalidInput(Problem("unknown_revision", _unknown(revision)))
    then = _at(commit, settings, paths, repository)
    texts = _texts(then, repository, revision)
    declared = _declared(texts, revision, cache)
    # The search does not raise for a path that cannot be looked at, so neither may the question whether it is there.
    existing = [path for path in paths if os.path.exists(path)]  # noqa: PTH110
    now = manifest.find(existing, root=settings.root, skip=settings.own_files)
    elsewhere = _Elsewhere(repository)
    unknown = frozenset(file.name for file in now.files if elsewhere.has(path_in(repository, file.path)))
    return DeclaredAt(revision, commit, declared, unknown)


def changed_since(
    settings: Settings,
    paths: Sequence[Path],
    repository: Repository | None,
    revision: str,
    cache: Cache | None = None,
) -> ChangedSince:
    """Return the resources of the manifests among `paths` that are declared otherwise than at a revision.

    Only files whose bytes differ are parsed, as they are now and as they were; what is wrong in others, such as a
    resource that is declared in one of them again, stays unseen. A resource that moved from one of the files to another
    is compared with itself. Raises `WrongUsage` outside of git and for a revision that git does not know,
    `InvalidInput` with every problem of the files that are parsed, and what `manifest.find` raises.
    """
    if repository is None:
        raise WrongUsage(_no_git("--changed-since", settings))
    commit = commit_of(repository, revision)
    if commit is None:
        raise WrongUsage(_unknown(revision))
    then = _at(commit, settings, paths, repository)
    found = manifest.find(paths, root=settings.root, skip=settings.own_files)
    places = {file: path_in(repository, file.path) for file in found.files}
    differing = {
        file: place for file, place in places.items() if not _unchanged(file.path, then.blobs.get(place or ""))
    }
    gone = then.names.keys() - places.values()
    before, unreadable = _before(then, repository, gone.union(place for place in differing.values() if place), cache)
    now = manifest.combine(dict(manifest.parsed(differing, cache)), found.problems)
    elsewhere = _Elsewhere(repository)
    return ChangedSince(
        revision,
        commit,
        tuple(sorted(_differing([one.table for one in now.manifests], before), key=lambda resource: resource.ref)),
        files=len(places),
        compared=len(differing) + len(gone),
        among=len(now),
        unknown=frozenset(file.name for file, place in differing.items() if elsewhere.has(place)),
        unreadable=unreadable,
    )


# --- the revision -----------------------------------------------------------------------------------------------------


def _no_git(option: str, settings: Settings) -> str:
    return (
        f"{option} names a revision of git, and {shown(str(settings.root))} is in no git repository; leave it out there"
    )


def _unknown(revision: str) -> str:
    return (
        f"git knows no commit by the name {shown(revision)} here; if there is one elsewhere, fetch it first (a shallow "
        "clone by `git fetch --unshallow`, the checkout of a CI job with `fetch-depth: 0`)"
    )


@dataclass(frozen=True, slots=True)
class _Then:
    """The files of a commit by their paths below the top: the blobs of all, the names of those that are manifests."""

    blobs: Mapping[str, str]
    names: Mapping[str, str]


def _at(commit: str, settings: Settings, paths: Sequence[Path], repository: Repository) -> _Then:
    try:
        files = files_at(repository, commit, paths)
    except GitFailed as error:
        raise InvalidInput(Problem("unreadable_revision", f"git cannot read {commit}: {error}")) from error
    names: dict[str, str] = {}
    for path in paths:
        for place, name in _manifests(files, path, path_in(repository, path), settings.root):
            names.setdefault(place, name)
    for path in settings.own_files:
        names.pop(path_in(repository, path) or "", None)
    return _Then({file.path: file.blob for file in files}, names)


def _manifests(files: Sequence[TreeFile], path: Path, place: str | None, root: Path) -> Iterator[tuple[str, str]]:
    """Yield the manifests at or below a path with their names: what `manifest.find` would have found."""
    if place is None:
        return
    for file in below(files, place):
        rest = file.path[len(place) :].lstrip("/")
        if not rest:
            yield file.path, name_of(path, root)
        elif _counts(PurePosixPath(rest)):
            yield file.path, name_of(path / rest, root)


def _counts(rest: PurePosixPath) -> bool:
    return rest.suffix in SUFFIXES and not any(part.startswith(".") for part in rest.parts)


class _Elsewhere:
    """Tells which places a repository knows nothing of: outside of it, or in another one below its top."""

    def __init__(self, repository: Repository) -> None:
        self._folders: dict[Path, bool] = {repository.top: False}
        self._top = repository.top

    def has(self, place: str | None) -> bool:
        """Tell whether a file at this place (`path_in`) is somewhere else."""
        return place is None or self._nested((self._top / place).parent)

    def _nested(self, folder: Path) -> bool:
        if folder not in self._folders:
            self._folders[folder] = (folder / ".git").exists() or self._nested(folder.parent)
        return self._folders[folder]


# --- as it was --------------------------------------------------------------------------------------------------------


def _texts(then: _Then, repository: Repository, revision: str) -> dict[str, tuple[str, bytes]]:
    """Return every manifest by its path: its name and its bytes."""
    texts, lost = {}, []
    read = contents(repository, [then.blobs[place] for place in then.names])
    for place, name in then.names.items():
        data = read[then.blobs[place]]
        if data is None:
            lost.append(
                Problem("unreadable_revision", f"git does not have {shown(f'{revision}:{name}')} here: fetch it")
            )
        else:
            texts[place] = (name, data)
    if lost:
        raise InvalidInput(*lost)
    return texts


def _declared(texts: Mapping[str, tuple[str, bytes]], revision: str, cache: Cache | None) -> manifest.Manifests:
    try:
        return _combined(texts, "", cache)
    except InvalidInput:
        return _combined(texts, f"{revision}:", cache)  # raises again, with the revision in every place


def _combined(texts: Mapping[str, tuple[str, bytes]], prefix: str, cache: Cache | None) -> manifest.Manifests:
    return manifest.combine(
        {at: manifest.read_manifest(data, f"{prefix}{name}", cache) for at, (name, data) in texts.items()}
    )


def _before(
    then: _Then, repository: Repository, places: Iterable[str], cache: Cache | None
) -> tuple[list[Table], frozenset[str]]:
    """Return what the files at `places` declared, and the names of those that cannot tell."""
    blobs = {place: then.blobs[place] for place in places if place in then.blobs}
    read = contents(repository, blobs.values())
    declared: list[Table] = []
    unreadable: set[str] = set()
    for place, blob in blobs.items():
        name, data = then.names.get(place, place), read[blob]
        parsed = manifest.read_manifest(data, name, cache) if data is not None else None
        if parsed is None or parsed.problems:
            unreadable.add(name)
        else:
            declared.append(parsed.table)
    return declared, frozenset(unreadable)


# --- as it is ---------------------------------------------------------------------------------------------------------


def _unchanged(file: Path, blob: str | None) -> bool:
    try:
        return blob is not None and holds(file.read_bytes(), blob)
    except OSError:
        return False  # it will be told when the file is read as a manifest


# --- what differs -----------------------------------------------------------------------------------------------------


def _differing(now: Sequence[Table], before: Sequence[Table]) -> Iterator[Desired]:
    """Yield the resources that are declared otherwise than before, or were not, whichever files they stood in.

    Nearly all of many are declared by the same line as before; only the others are made into what they mean.
    """
    first, others = _lines_of(before)
    for table in now:
        lines = table.lines()
        for kind, start, ids in table.sections():
            known = first.get(kind, {})
            for index, id_ in enumerate(ids, start):
                if known.get(id_) == lines[index] and not others:
                    continue
                ref = Ref(kind, id_)
                resource, then = table.resource(ref, index), others.get(ref, [])
                then = [known[id_], *then] if id_ in known else then
                if not _was_declared(resource, [desired_of(ref, row_of(line)) for line in then]):
                    yield resource


def _lines_of(tables: Iterable[Table]) -> tuple[dict[str, dict[str, str]], dict[Ref, list[str]]]:
    """Return every resource's line, by kind and id, and the further ones of those that several files declare.

    There are none of those but where the files of a revision contradict each other.
    """
    first: dict[str, dict[str, str]] = {}
    others: dict[Ref, list[str]] = {}
    for table in tables:
        lines = table.lines()
        for kind, start, ids in table.sections():
            known = first.setdefault(kind, {})
            for id_, line in zip(ids, islice(lines, start, None), strict=False):
                if known.setdefault(id_, line) is not line:
                    others.setdefault(Ref(kind, id_), []).append(line)
    return first, others


def _was_declared(resource: Desired, before: Sequence[Desired]) -> bool:
    """Tell whether all that was declared of a resource before, if anything, is what is declared now."""
    return bool(before) and all(_alike(resource, one) for one in before)


def _alike(one: Desired, other: Desired) -> bool:
    """Tell whether two declarations ask for the same; neither their places nor the order of lists count."""
    return (
        equal(one.metadata, other.metadata)
        and (one.ownership, one.protect) == (other.ownership, other.protect)
        and frozenset(one.ignore) == frozenset(other.ignore)
        and frozenset(map(_accepted, one.accept)) == frozenset(map(_accepted, other.accept))
    )


def _accepted(one: Acceptance) -> tuple[object, ...]:
    return one.key, isinstance(one.value, bool), one.value, one.until, one.reason
