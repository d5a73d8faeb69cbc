"""What a fuzz run does to the samples: YAML as a text with a structure, a plan as a tree with a digest."""

from __future__ import annotations

import contextlib
import copy
import json
import re
from typing import TYPE_CHECKING, Any

from reconciler import planfile

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from random import Random

LARGEST = 64 * 1024
"""Bytes of an input; what reading one may cost is bounded with this in mind."""
_DEPTHS = (2, 30, 63, 64, 65, 200, 400, 900, 1000, 5000, 20_000)

# --- YAML -------------------------------------------------------------------------------------------------------------

TOKENS = (
    *("&a ", "*a", "&a *a", "*b", "<<: *a\n", "<<: [*a, *a]\n", "<<: 1\n", '"<<": x\n', "&\u00e9 ", "&a &a "),
    *("!!str ", "!!binary ", "!<tag:x> ", "!x ", "!", "%YAML 1.1\n", "%YAML 1.2\n", "%TAG ! tag:x,2000:\n", "%X y\n"),
    *("---\n", "...\n", "--- ", "? ", "? - ", ": ", "- ", "-", "|\n", ">-\n", "|9+\n", "|0\n", "'", '"', "[", "]", "{"),
    *("}", ", ", ",", "#", " # c", "\t", "\r", "\r\n", "\n\n", "\n", " ", "  ", "\v", "\f", "\x85", "\u2028", "\u2029"),
    *("\ufeff", "\x00", "\x07", "\x1b[31m", "\x7f", "\x9b", "\u202e", "\ufffe", "\ufdd0", "\U0010ffff", "\ue000"),
    *('"\\ud83d\\ude00"', '"\\ud800"', '"\\x00"', '"\\0"', '"\\u2028\\ue000"', '"\\U00110000"', '"\\q"', '"\\', "\\"),
    *("12:30:45", "0x1F", "0o17", "0b1", "1e999", "-.inf", ".nan", "1_000", "9" * 400, "9" * 5000, "007", "-0", "+"),
    *("2024-01-01", "2024-13-45", "2024-02-30T25:61:61Z", "~", "null", "yes", "true", "=", "<<", "@", "`", "''", '""'),
    *("version: 1\n", "version: 2\n", "threads:\n", "threads: {", "metadata: {", "defaults: {metadata: {a: b}}\n"),
    *(
        "ownership: exclusive\n",
        "ignore: ['*']\n",
        "protect: yes\n",
        "accept: []\n",
        "a/b",
        "..",
        "thread_1:",
        "k" * 65,
    ),
    *(
        "v" * 513,
        "\u00e9",
        "e\u0301",
        "\U0001f600",
        "targets: {t: {",
        "provider: emulator",
        "base_url: http://[",
        "30%",
    ),
)
_VALUE = re.compile(r"(?<=: )[^\n]+")


def yaml(random: Random, corpus: Sequence[bytes]) -> bytes:
    """Return a sample after a few mutations."""
    text = random.choice(corpus).decode("utf-8", "surrogateescape")
    for _ in range(random.choice((1, 1, 2, 3, 6))):
        text = random.choice(_TEXT_MUTATIONS)(random, text, corpus)[:LARGEST]
    return _encoded(random, text)[:LARGEST]


def _encoded(random: Random, text: str) -> bytes:
    raw = text.encode("utf-8", "surrogatepass") if random.random() < 0.1 else text.encode("utf-8", "replace")
    choice = random.random()
    if choice < 0.02:
        return text.encode(random.choice(("utf-16", "utf-16-le", "utf-32", "utf-7")), "replace")
    if choice < 0.04:
        return b"\xef\xbb\xbf" * random.choice((1, 2)) + raw
    if choice < 0.1 and raw:
        at = random.randrange(len(raw))
        broken = random.choice(
            (b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\x80", bytes([random.randrange(256)]))
        )
        return raw[:at] + broken + raw[at + random.randrange(2) :]
    return raw


def _place(random: Random, text: str) -> int:
    return random.randrange(len(text) + 1)


def _put(random: Random, text: str, what: str) -> str:
    at = _place(random, text)
    if random.random() < 0.5:  # where a line begins, behind its indentation
        at = text.rfind("\n", 0, at) + 1
        at += len(text[at:]) - len(text[at:].lstrip(" "))
    return text[:at] + what + text[at:]


def _insert(random: Random, text: str, _: Sequence[bytes]) -> str:
    return _put(random, text, random.choice(TOKENS))


def _revalue(random: Random, text: str, _: Sequence[bytes]) -> str:
    values = list(_VALUE.finditer(text))
    if not values:
        return _put(random, text, random.choice(TOKENS))
    found = random.choice(values)
    return text[: found.start()] + random.choice(TOKENS) + text[found.end() :]


def _drop(random: Random, text: str, _: Sequence[bytes]) -> str:
    start = _place(random, text)
    return text[:start] + text[start + random.choice((1, 1, 2, 8, 80)) :]


def _lines(random: Random, text: str, _: Sequence[bytes]) -> str:
    lines = text.split("\n")
    one, other = random.randrange(len(lines)), random.randrange(len(lines))
    act = random.randrange(6)
    if act == 0:
        lines[one], lines[other] = lines[other], lines[one]
    elif act == 1:
        lines.insert(other, lines[one])
    elif act == 2:
        del lines[one]
    elif act == 3:
        lines[one] = " " * random.choice((1, 2, 3, 7, 100, 5000)) + lines[one]
    elif act == 4:
        lines[one] = lines[one].lstrip(" ")
    else:
        lines[one:other] = [random.choice(("\t", "  ", "- ", "#", "&a ")) + line for line in lines[one:other]]
    return random.choice(("\n", "\n", "\n", "\n", "\r", "\r\n", "\x85", "\u2028")).join(lines)


def _splice(random: Random, text: str, corpus: Sequence[bytes]) -> str:
    other = random.choice(corpus).decode("utf-8", "surrogateescape")
    return text[: _place(random, text)] + other[_place(random, other) :]


def _repeat(random: Random, text: str, _: Sequence[bytes]) -> str:
    start = _place(random, text)
    piece = text[start : start + random.choice((1, 3, 20, 200))]
    return text[:start] + piece * random.choice((2, 17, 300, 5000)) + text[start:]


def _nest(random: Random, text: str, _: Sequence[bytes]) -> str:
    depth = random.choice(_DEPTHS)
    opened, closed = random.choice((("[", "]"), ("{a: ", "}"), ("- ", ""), ("? ", ""), ("[{a: ", "}]"), ("&a [", "]")))
    if random.random() < 0.2:
        tower = "".join(f"{' ' * level}a:\n" for level in range(min(depth, 300)))
    else:
        tower = opened * depth + "x" + closed * random.choice((depth, depth, depth - 1, 0))
    return _put(random, text, tower + random.choice(("", "\n")))


def _bomb(random: Random, text: str, _: Sequence[bytes]) -> str:
    width, height = random.choice((2, 9, 40)), random.choice((3, 9, 30))
    first = random.choice(("&a0 [x, x]", "&a0 {x: y}", "&a0 x"))
    rows = [f"- {first}"]
    for level in range(1, height):
        names = ", ".join([f"*a{level - 1}"] * width)
        rows.append(
            random.choice((f"- &a{level} [{names}]", f"- &a{level} {{<<: [{names}], k{level}: *a{level - 1}}}"))
        )
    indent = " " * random.choice((0, 2, 4))
    return _put(random, text, "\nbomb:\n" + "".join(f"{indent}{row}\n" for row in rows))


_TEXT_MUTATIONS: tuple[Callable[[Random, str, Sequence[bytes]], str], ...] = (
    *(_insert, _insert, _insert, _revalue, _revalue, _drop, _drop, _lines, _lines, _splice, _repeat, _nest, _bomb),
)

# --- plans ------------------------------------------------------------------------------------------------------------

_ODD: tuple[Any, ...] = (
    *(
        None,
        True,
        False,
        0,
        1,
        -1,
        2**31,
        2**63,
        2**64,
        -(2**70),
        10**400,
        0.5,
        -0.0,
        1e308,
        float("nan"),
        float("inf"),
    ),
    *("", "x", "\x00", "\x1b[31mred\r\n", "\u202e", "\ud800", "\ude00\ud83d", "\U0001f600", "k" * 65, "v" * 513, "1.9"),
    *("2.0", "1", "..", "a/b", "thread_1/msg_1", "update", "keep", "missing", "failed", "plan", "apply", "replace"),
    *("merge", "auto", "thread", "message", "exclusive", "remove", "add", "not_attempted", "pending", "not a code"),
    *([], {}, [[]], {"": None}, {"a": {"b": 1}}, [1, "2", None], {"known": True}, {"code": "x", "message": "y"}),
    *({"file": "f", "line": 10**30, "column": -1}, ["a"] * 40, {f"k{n}": "v" for n in range(17)}),
)
_TEXT_TOKENS = (
    *(
        '"kind": "plan", ',
        '"changes": [], ',
        "NaN, ",
        "Infinity",
        "-0",
        "1e999",
        "9" * 4000,
        "9" * 5000,
        "[",
        "{",
        "]",
        "}",
    ),
    *(
        ",",
        ":",
        '"',
        "\\",
        "\\u0000",
        "\\ud800",
        "\t",
        "\n",
        "\r",
        "\x00",
        "\ufeff",
        "//",
        "null",
        "true",
        "'",
        "\u2028",
    ),
)


def plan(random: Random, corpus: Sequence[bytes]) -> bytes:
    """Return a plan after a few mutations, mostly with a digest that fits it: nothing else gets past the door."""
    raw = random.choice(corpus)
    try:
        content = json.loads(raw)
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict) or random.random() < 0.1:
        return _spoilt_text(random, raw.decode("utf-8", "replace")).encode("utf-8", "surrogatepass")[:LARGEST]
    for _ in range(random.choice((1, 1, 1, 2, 3, 6))):
        with contextlib.suppress(RecursionError):  # a tower is left as it is
            content = _mutated(random, content, corpus)
    text = _dumped(random, content)
    if random.random() < 0.1:
        text = _spoilt_text(random, text)
    return (signed(text) if random.random() < 0.97 else text).encode("utf-8", "surrogatepass")


def signed(text: str) -> str:
    """Return the text with the digest that its content asks for, where it has any content."""
    try:
        content = json.loads(text)
        fits = planfile.digest(content)
    except (ValueError, RecursionError, AttributeError, TypeError):
        return text
    end = text.rfind("}")
    comma = ", " if content else ""
    return f'{text[:end]}{comma}"digest": "{fits}"{text[end:]}'


def _dumped(random: Random, content: dict[str, Any]) -> str:
    content = {name: value for name, value in content.items() if name != "digest"}
    try:
        text = json.dumps(content, ensure_ascii=random.random() < 0.8)
    except (RecursionError, ValueError):
        return "{}"
    if random.random() < 0.15:  # deeper than any encoder of ours goes
        depth = random.choice((*_DEPTHS, random.randrange(900, 1100), random.randrange(150, 350)))
        opened, closed = random.choice((("[", "]"), ('{"a": ', "}")))
        tower = opened * depth + "1" + closed * depth
        scalars = [found.span() for found in re.finditer(r'(?<=: )(?:null|\d+|"[^"\\]*")', text)]
        start, end = random.choice(scalars or [(1, 1)])
        text = text[:start] + tower + text[end:]
    return text[: LARGEST * 4]


def _spoilt_text(random: Random, text: str) -> str:
    at = _place(random, text)
    return text[:at] + random.choice(_TEXT_TOKENS) + text[at + random.choice((0, 0, 1, 5)) :]


def _paths(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for name, below in items:
        if len(path) < 12:
            found += _paths(below, (*path, name))
    return found


def _at(node: Any, path: Sequence[Any]) -> Any:
    for name in path:
        node = node[name]
    return node


def _mutated(random: Random, content: dict[str, Any], corpus: Sequence[bytes]) -> dict[str, Any]:
    content = copy.deepcopy(content)
    paths = _paths(content)
    if not paths:
        return {"format_version": "1.0", "kind": "plan"}
    path = random.choice(paths)
    holder, name = _at(content, path[:-1]), path[-1]
    act = random.randrange(8)
    if act == 0:
        del holder[name]
    elif act == 1 and isinstance(holder, list):
        holder.insert(random.randrange(len(holder) + 1), copy.deepcopy(holder[name]))
    elif act == 1:
        holder[random.choice(("a", "error", "lost", "masked", "__k", "k\x1b[0m", *map(str, holder)))] = holder[name]
    elif act == 2:
        other = random.choice(paths)
        holder[name] = copy.deepcopy(_at(content, other))
    elif act == 3:
        holder[name] = _borrowed(random, corpus, str(name))
    elif act == 4 and isinstance(holder[name], str):
        holder[name] = (
            holder[name][::-1] if random.random() < 0.3 else holder[name] + random.choice(("\x00", "x", "\u202e"))
        )
    elif act == 4 and isinstance(holder[name], dict):
        holder[name][random.choice(("a", "plan", "__k", ""))] = random.choice(_ODD)
    else:
        holder[name] = copy.deepcopy(random.choice(_ODD))
    return content


def _borrowed(random: Random, corpus: Sequence[bytes], name: str) -> Any:
    """Return what stands under the same name elsewhere in the corpus."""
    try:
        other = json.loads(random.choice(corpus))
    except (ValueError, RecursionError):
        return None
    found = [path for path in _paths(other) if str(path[-1]) == name]
    return _at(other, random.choice(found)) if found else random.choice(_ODD)
