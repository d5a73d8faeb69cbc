"""A run in parts: which shard a resource falls to.

The part is a matter of the reference alone, by a hash that is the same on every machine, in every version and for
every seed of Python's own: so shards that know nothing of each other never share a resource, and leave none out.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reconciler.model import Ref

MAX_SHARDS = 10_000
"""Parts, at most: more is a slip of the keyboard."""

_FORM = re.compile(r"([0-9]{1,9})/([0-9]{1,9})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Shard:
    """One of `count` parts of a whole; `index` counts from 1, as people do."""

    index: int
    count: int

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    def has(self, ref: Ref) -> bool:
        """Tell whether a resource falls to this shard; of the shards of one count it is exactly one."""
        return share(ref) % self.count == self.index - 1


def share(ref: Ref) -> int:
    """Return the number that decides on the shard of a resource. It never changes: saved documents rely on it.

    64 evenly spread bits, so that parts differ as by chance: by some sqrt(N / resources) of their size.
    """
    return int.from_bytes(hashlib.blake2b(str(ref).encode(), digest_size=8).digest())


def parse_shard(text: str) -> Shard:
    """Return the shard that `I/N` names; raises `ValueError` with what is wrong with it."""
    form = _FORM.fullmatch(text)
    if form is None:
        raise ValueError(f"{text!r} is no shard; write I/N, such as 2/4.")
    index, count = int(form[1]), int(form[2])
    if not 1 <= count <= MAX_SHARDS:
        raise ValueError(f"{count} is no number of shards; it is 1 to {MAX_SHARDS}.")
    if index == 0:
        raise ValueError(f"shards count from 1: the first one is 1/{count}.")
    if index > count:
        raise ValueError(f"there is no shard {index} of {count}; the last one is {count}/{count}.")
    return Shard(index, count)
