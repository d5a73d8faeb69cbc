"""From files to what they ask for: `load` reads every manifest, or tells everything that is wrong with them.

`read_manifest` does one file and knows of no other, so that files can be read from anywhere (a folder, a revision of
git) and in any order, `parsed` one after the other; only resources that are declared twice have to be looked for across
files (`combine`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from operator import attrgetter
from typing import TYPE_CHECKING

from reconciler.errors import InvalidInput, Location, Problem
from reconciler.manifest.files import Found, ManifestFile, find, read_file
from reconciler.manifest.problems import in_order
from reconciler.manifest.reader import read
from reconciler.manifest.table import FileManifest
from reconciler.model import Ref

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from reconciler.manifest.cache import Cache
    from reconciler.model import Desired

__all__ = ["FileManifest", "Found", "ManifestFile", "Manifests", "combine", "find", "load", "parsed", "read_manifest"]


@dataclass(frozen=True)
class Manifests:
    """What all manifests together ask for; `files` are the names of those that were read, sorted.

    Its length is the number of the resources, which are counted without being made.
    """

    manifests: tuple[FileManifest, ...] = ()
    files: tuple[str, ...] = ()

    def __len__(self) -> int:
        return sum(len(manifest.table) for manifest in self.manifests)

    @cached_property
    def resources(self) -> tuple[Desired, ...]:
        """What the resources ask for, sorted by reference."""
        return _in_order(resource for manifest in self.manifests for resource in manifest.resources)

    def some(self, refs: Collection[Ref]) -> tuple[Desired, ...]:
        """Return what those among `refs` ask for that are declared, sorted by reference; no other is made."""
        wanted: dict[str, set[str]] = {}
        for ref in refs:
            wanted.setdefault(ref.kind, set()).add(ref.id)
        found = [
            manifest.table.resource(Ref(kind, id_), index)
            for manifest in self.manifests
            for kind, start, ids in manifest.table.sections()
            for index, id_ in enumerate(ids, start)
            if id_ in wanted.get(kind, ())
        ]
        return _in_order(found)


def _in_order(resources: Iterable[Desired]) -> tuple[Desired, ...]:
    made = list(resources)
    # The second sort keeps the order of the first. Texts compare many times faster than references do.
    made.sort(key=attrgetter("ref.id"))
    made.sort(key=attrgetter("ref.kind"))
    return tuple(made)


def load(
    paths: Sequence[Path], *, root: Path, skip: frozenset[Path] = frozenset(), cache: Cache | None = None
) -> Manifests:
    """Read the manifests among `paths`; names of files are relative to `root`.

    Raises `InvalidInput` with every problem of every file, and `FileNotFoundError` for a path that does not exist (see
    `find`).
    """
    found = find(paths, root=root, skip=skip)
    return combine(dict(parsed(found.files, cache)), found.problems)


def parsed(files: Iterable[ManifestFile], cache: Cache | None = None) -> Iterator[tuple[str, FileManifest]]:
    """Yield what each file declares with the file's name, in order, as soon as it is read. Any thread may ask."""
    for file in files:
        yield file.name, _read_file(file, cache)


def read_manifest(data: bytes, file: str, cache: Cache | None = None) -> FileManifest:
    """Read one manifest. Never raises for what the bytes hold: whatever is wrong is among the problems."""
    key = cache.key(data) if cache else None
    if cache is None or key is None:
        return _parse(data, file)
    table = cache.get(key, file)
    if table is not None:
        return FileManifest(table)
    manifest = _parse(data, file)
    if len(manifest.table):  # which one with problems has none of
        cache.put(key, manifest.table)
    return manifest


def combine(manifests: Mapping[str, FileManifest], problems: Iterable[Problem] = ()) -> Manifests:
    """Put files together, by name; raises `InvalidInput` with their problems, `problems` and what they both declare."""
    found = [*problems, *_declared_twice(manifests)]
    for manifest in manifests.values():
        found += manifest.problems
    if found:
        raise InvalidInput(*in_order(found))
    return Manifests(tuple(manifests.values()), tuple(sorted(manifests)))


def _parse(data: bytes, file: str) -> FileManifest:
    from reconciler.manifest.schema import read_document  # to build its models takes longer than a run with a cache

    return read_document(read(data, file))


def _read_file(file: ManifestFile, cache: Cache | None) -> FileManifest:
    try:
        data = read_file(file.path)
    except OSError as error:
        message = f"this file cannot be read: {error.strerror}"
        return FileManifest(problems=(Problem("unreadable_file", message, Location(file.name, 1, 1)),))
    return read_manifest(data, file.name, cache)


def _declared_twice(manifests: Mapping[str, FileManifest]) -> Iterator[Problem]:
    """Yield a problem for each resource that an earlier file (by name) declares already."""
    if all(manifest.refused == () for manifest in manifests.values()) and _all_differ(manifests.values()):
        return
    first: dict[Ref, Location] = {}
    for name in sorted(manifests):
        for ref, at in manifests[name].declared():
            if ref in first:
                message = f"{ref} is declared twice, first at {first[ref]}: keep one of the two"
                yield Problem("duplicate_resource", message, at)
            else:
                first[ref] = at


def _all_differ(manifests: Iterable[FileManifest]) -> bool:
    """Tell whether no two resources of valid files are the same, as they hardly ever are: a look at the ids will do."""
    seen: dict[str, set[str]] = {}
    for manifest in manifests:
        for kind, ids in manifest.table.ids.items():
            known = seen.setdefault(kind, set())
            before = len(known)
            known.update(ids)
            if len(known) - before != len(ids):
                return False
    return True
