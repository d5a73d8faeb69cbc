"""Where a value comes from: the commit that wrote its line, or the one that once declared what was found."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from reconciler.document import CommitPart, with_fields
from reconciler.git.history import blame, sizes, versions
from reconciler.git.objects import contents
from reconciler.manifest import read_manifest
from reconciler.model import Json, Ref, same

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from reconciler.document import ChangePart, FieldPart
    from reconciler.git import Repository
    from reconciler.git.history import Commit

MAX_FILES = 50
"""Files whose history is searched in one run: each takes a walk through all commits."""
MAX_VERSIONS = 50
"""Versions of each that are looked at."""
MAX_BYTES = 8 * 1024 * 1024
"""Bytes of manifests that are looked at in one run, the newest versions of all files first."""

_SIMPLE = re.compile(r"[A-Za-z0-9_]+")


def part_of(commit: Commit) -> CommitPart:
    """Return a commit as a part of the document."""
    return CommitPart(commit=commit.id, author=commit.author, date=commit.date)


# --- who declared it --------------------------------------------------------------------------------------------------


def with_blame(changes: Sequence[ChangePart], repository: Repository | None, root: Path) -> tuple[ChangePart, ...]:
    """Return the changes, told in each field with a place who wrote the line of its key.

    The part of a line that is not committed has nulls only; a field has no such part where nothing can be told, as
    outside of git. Files are relative to `root`.
    """
    if repository is None:
        return tuple(changes)
    lines: defaultdict[str, set[int]] = defaultdict(set)
    for change in changes:
        for field in change.fields:
            if field.source is not None:
                lines[field.source.file].add(field.source.line)
    written = {file: blame(repository, root / file, numbers) for file, numbers in lines.items()}

    def author(_ref: Ref, field: FieldPart) -> Mapping[str, Any]:
        at = field.source
        if at is None or at.line not in written[at.file]:
            return {}
        commit = written[at.file][at.line]
        return {"blame": part_of(commit) if commit else CommitPart()}

    return with_fields(changes, author)


# --- who declared it once ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Drifted:
    """A value that was found on a resource (`None`: the key was absent), and the file that declares the resource."""

    ref: Ref
    key: str
    value: Json
    file: str


def manifest_origins(
    drifted: Iterable[Drifted], repository: Repository | None, root: Path
) -> dict[tuple[Ref, str], CommitPart]:
    """Return by resource and key the newest commit whose version of the file declared the very value that was found.

    An absent key was declared where it was null. What is not in the result was declared by none of the versions that
    were looked at: `MAX_VERSIONS` of each of `MAX_FILES` files, `MAX_BYTES` in all. Versions that are no valid
    manifests are passed over. Files are relative to `root`.
    """
    if repository is None:
        return {}
    wanted: defaultdict[str, list[Drifted]] = defaultdict(list)
    for one in drifted:
        wanted[one.file].append(one)
    files = sorted(wanted)[:MAX_FILES]
    past = _affordable(repository, {file: _distinct(versions(repository, root / file, MAX_VERSIONS)) for file in files})
    found: dict[tuple[Ref, str], CommitPart] = {}
    read = contents(repository, [blob for ones in past.values() for _, blob in ones])
    for file, ones in past.items():
        found |= _explained(wanted[file], ((commit, read[blob] or b"") for commit, blob in ones))
    return found


def _distinct(past: Iterable[tuple[Commit, str]]) -> list[tuple[Commit, str]]:
    """Return the versions without those that a newer one is equal to."""
    newest: dict[str, Commit] = {}
    for commit, blob in past:
        newest.setdefault(blob, commit)
    return [(commit, blob) for blob, commit in newest.items()]


def _affordable(
    repository: Repository, past: Mapping[str, Sequence[tuple[Commit, str]]]
) -> dict[str, list[tuple[Commit, str]]]:
    """Return as many versions as `MAX_BYTES` allows: the newest of every file, then the second newest, and so on."""
    size = sizes(repository, [blob for ones in past.values() for _, blob in ones])
    left = MAX_BYTES
    chosen: dict[str, list[tuple[Commit, str]]] = {file: [] for file in past}
    for _, file, commit, blob in _by_age(past):
        if blob not in size:
            continue  # never fetched
        left -= size[blob]
        if left < 0:
            break
        chosen[file].append((commit, blob))
    return chosen


def _by_age(past: Mapping[str, Sequence[tuple[Commit, str]]]) -> list[tuple[int, str, Commit, str]]:
    ranked = ((rank, file, commit, blob) for file, ones in past.items() for rank, (commit, blob) in enumerate(ones))
    return sorted(ranked, key=lambda one: one[:2])


def _explained(
    drifted: Sequence[Drifted], past: Iterable[tuple[Commit, bytes]]
) -> Iterator[tuple[tuple[Ref, str], CommitPart]]:
    """Yield what the versions of one file explain; each is parsed once, and only while something is left to explain."""
    left = list(drifted)
    for commit, data in past:
        worth = [one for one in left if _may_declare(data, one)]
        if not worth:
            continue
        declared = {resource.ref: resource.metadata for resource in read_manifest(data, "").resources}
        for one in worth:
            metadata = declared.get(one.ref, {})
            if one.key in metadata and same(metadata[one.key], one.value):
                yield (one.ref, one.key), part_of(commit)
                left.remove(one)


def _may_declare(data: bytes, one: Drifted) -> bool:
    """Tell whether a version may declare this: searching it for the words takes a thousandth of parsing it.

    An id, and a value of letters and digits, stand in a file as they are, unless it has escapes.
    """
    words = [one.ref.id]
    if isinstance(one.value, str) and _SIMPLE.fullmatch(one.value):
        words.append(one.value)
    return b"\\" in data or all(word.encode() in data for word in words)
