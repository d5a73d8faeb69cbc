"""The threads that everything here is measured on: made up, but of the size and shape of real ones.

    python -m bench.corpus FOLDER THREADS PER_FILE EDITED

Writes the manifests of THREADS threads, so many per file; EDITED of them, spread evenly, declare another value than the
server holds. Files that hold what they should already are left alone.
"""

from __future__ import annotations

import sys
from hashlib import blake2b
from pathlib import Path

INHERITED = {"managed_by": "git"}
"""What the defaults of every manifest declare."""


def thread_id(number: int) -> str:
    """Return the id of a thread: 24 hexadecimal digits, in no order."""
    return f"thread_{blake2b(str(number).encode(), digest_size=12).hexdigest()}"


def declared(number: int, edition: str = "") -> dict[str, str]:
    """Return the five pairs that a manifest declares of a thread; another `edition` changes one of them."""
    some = blake2b(f"pairs of {number}".encode(), digest_size=10).hexdigest()
    return {
        "project": f"apollo-{number % 97}",
        "owner": f"team-{number % 13}@example.com",
        "ticket": f"{number}",
        "stage": f"{'prod' if number % 3 else 'test'}{edition}",
        "summary": f"Customer {some[:8]} asked about invoice {some[8:]}",
    }


def observed(number: int, *, changed: bool) -> dict[str, str]:
    """Return what the server holds of a thread: as declared, or with one value that differs."""
    return {**INHERITED, **declared(number, " by hand" if changed else "")}


def spread(edited: int, threads: int) -> frozenset[int]:
    """Return the numbers of the threads to edit, as far from each other as they can be."""
    return frozenset(index * threads // edited for index in range(edited))


def write_manifests(folder: Path, threads: int, per_file: int, edited: frozenset[int] = frozenset()) -> None:
    """Write the manifests of the threads from 0 on."""
    folder.mkdir(parents=True, exist_ok=True)
    for start in range(0, threads, per_file):
        text = manifest(range(start, min(threads, start + per_file)), edited)
        path = folder / f"threads-{start // per_file:04}.yaml"
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def manifest(numbers: range, edited: frozenset[int] = frozenset()) -> str:
    """Return a manifest; the threads in `edited` have another value than the others would lead one to expect."""
    lines = ["version: 1", "defaults:", "  metadata:"]
    lines += [f"    {key}: {value}" for key, value in INHERITED.items()]
    lines.append("threads:")
    for number in numbers:
        lines += [f"  {thread_id(number)}:", "    metadata:"]
        pairs = declared(number, " edited" if number in edited else "")
        lines += [f"      {key}: {_scalar(value)}" for key, value in pairs.items()]
    return "\n".join(lines) + "\n"


def _scalar(value: str) -> str:
    return f'"{value}"' if value.isdecimal() else value


if __name__ == "__main__":
    count, size, edits = map(int, sys.argv[2:])
    write_manifests(Path(sys.argv[1]), count, size, spread(edits, count))
