"""The difference of two versions of a file, as `git apply` takes it.

difflib compares all lines with all others, which takes minutes where thousands of resources change. Lines that are
unique in both versions (each id is one) divide the files into short pieces first.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_LINE = re.compile(r"[^\n]*\n|[^\n]+")


def patch(before: bytes, after: bytes, file: str) -> str:
    r"""Return the unified diff; with an empty `before` that of a new file. Write it without converting any `\n`."""
    if before == after:
        return ""
    old, new = (_LINE.findall(data.decode("utf-8", "replace")) for data in (before, after))
    parts = [f"--- {_name(f'a/{file}') if before else '/dev/null'}\n+++ {_name(f'b/{file}')}\n"]
    for group in _Matcher(old, new).get_grouped_opcodes(3):
        (_, old_start, _, new_start, _), (_, _, old_end, _, new_end) = group[0], group[-1]
        parts.append(f"@@ -{_range(old_start, old_end)} +{_range(new_start, new_end)} @@\n")
        for tag, i1, i2, j1, j2 in group:
            if tag == "equal":
                parts += _marked(" ", old[i1:i2])
            else:
                parts += [*_marked("-", old[i1:i2]), *_marked("+", new[j1:j2])]
    return "".join(parts)


def _name(name: str) -> str:
    if name.isprintable() and not set(name) & {'"', "\\"}:
        return f"{name}\t" if " " in name else name  # a tab ends a name that contains spaces
    octal = (chr(byte) if 32 <= byte < 127 and byte not in b'"\\' else f"\\{byte:03o}" for byte in name.encode())
    return f'"{"".join(octal)}"'


def _range(start: int, end: int) -> str:
    """Return the lines of one side of a hunk; an empty one is named after the line before it."""
    if end - start == 1:
        return f"{end}"
    return f"{start + 1 if end > start else start},{end - start}"


def _marked(mark: str, lines: Sequence[str]) -> Iterator[str]:
    for line in lines:
        yield mark + line if line.endswith("\n") else f"{mark}{line}\n\\ No newline at end of file\n"


class _Matcher(difflib.SequenceMatcher[str]):
    """difflib's matcher between lines that are known to match."""

    def __init__(self, old: Sequence[str], new: Sequence[str]) -> None:
        super().__init__(None, "", "")
        self.a, self.b = old, new

    def get_matching_blocks(self) -> list[difflib.Match]:
        """Return what both versions have in common, in order, and an empty block at the end."""
        blocks, i, j = list[difflib.Match](), 0, 0
        for next_i, next_j in [*_anchors(self.a, self.b), (len(self.a), len(self.b))]:
            piece = difflib.SequenceMatcher(None, self.a[i:next_i], self.b[j:next_j])
            blocks += [difflib.Match(i + one.a, j + one.b, one.size) for one in piece.get_matching_blocks() if one.size]
            blocks.append(difflib.Match(next_i, next_j, 1))
            i, j = next_i + 1, next_j + 1
        return _joined(blocks[:-1], difflib.Match(len(self.a), len(self.b), 0))


def _anchors(old: Sequence[str], new: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Yield where the lines stand that are unique in both versions and in the same order."""
    counts, place = Counter(old), {line: index for index, line in enumerate(new)}
    once = {line for line, count in Counter(new).items() if count == 1}
    last = -1
    for index, line in enumerate(old):
        if line in once and counts[line] == 1 and place[line] > last:
            last = place[line]
            yield index, last


def _joined(blocks: Sequence[difflib.Match], end: difflib.Match) -> list[difflib.Match]:
    joined: list[difflib.Match] = []
    for block in blocks:
        before = joined[-1] if joined else None
        if before and before.a + before.size == block.a and before.b + before.size == block.b:
            joined[-1] = difflib.Match(before.a, before.b, before.size + block.size)
        else:
            joined.append(block)
    return [*joined, end]
