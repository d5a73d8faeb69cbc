"""From files to what they ask for: `load` reads every manifest, or tells everything that is wrong with them.

`read_manifest` does one file and knows of no other, so that files can be read from anywhere (a folder, a revision of
git) and in any order; only resources that are declared twice have to be looked for across files.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from reconciler.errors import InvalidInput, Location, Problem
from reconciler.manifest.files import Found, ManifestFile, find, read_file
from reconciler.manifest.problems import in_order
from reconciler.manifest.reader import read
from reconciler.manifest.schema import FileManifest, read_document

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from reconciler.model import Desired, Ref

__all__ = ["FileManifest", "Found", "ManifestFile", "Manifests", "combine", "find", "load", "read_manifest"]


@dataclass(frozen=True, slots=True)
class Manifests:
    """What all manifests together ask for, sorted by reference; `files` are the names of those that were read."""

    resources: tuple[Desired, ...] = ()
    files: tuple[str, ...] = ()


def load(paths: Sequence[Path], *, root: Path, skip: frozenset[Path] = frozenset()) -> Manifests:
    """Read the manifests among `paths`; names of files are relative to `root`.

    Raises `InvalidInput` with every problem of every file, and `FileNotFoundError` for a path that does not exist (see
    `find`).
    """
    found = find(paths, root=root, skip=skip)
    return combine({file.name: _read_file(file) for file in found.files}, found.problems)


def read_manifest(data: bytes, file: str) -> FileManifest:
    """Read one manifest. Never raises for what the bytes hold: whatever is wrong is among the problems."""
    return read_document(read(data, file))


def combine(manifests: Mapping[str, FileManifest], problems: Iterable[Problem] = ()) -> Manifests:
    """Put files together, by name; raises `InvalidInput` with their problems, `problems` and what they both declare."""
    found = [*problems, *_declared_twice(manifests)]
    for manifest in manifests.values():
        found += manifest.problems
    if found:
        raise InvalidInput(*in_order(found))
    resources = (resource for manifest in manifests.values() for resource in manifest.resources)
    return Manifests(tuple(sorted(resources, key=lambda resource: resource.ref)), tuple(sorted(manifests)))


def _read_file(file: ManifestFile) -> FileManifest:
    try:
        data = read_file(file.path)
    except OSError as error:
        message = f"this file cannot be read: {error.strerror}"
        return FileManifest(problems=(Problem("unreadable_file", message, Location(file.name, 1, 1)),))
    return read_manifest(data, file.name)


def _declared_twice(manifests: Mapping[str, FileManifest]) -> Iterator[Problem]:
    """Yield a problem for each resource that an earlier file (by name) declares already."""
    first: dict[Ref, Location | None] = {}
    for name in sorted(manifests):
        for ref, at in manifests[name].declared():
            if ref in first:
                message = f"{ref} is declared twice, first at {first[ref]}: keep one of the two"
                yield Problem("duplicate_resource", message, at)
            else:
                first[ref] = at
