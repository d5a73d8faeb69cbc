"""Laws of the cache of manifests: what comes out of it is what parsing gives, whatever happens to it."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st

from reconciler.manifest import FileManifest, cache, read_manifest
from reconciler.manifest.cache import Cache

if TYPE_CHECKING:
    from collections.abc import Iterator

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
KEYS = st.sampled_from(["plan", "team", "k.v", "<<", "1", "true"]) | TEXT.filter(bool)
NUMBERS = st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
STRINGS = st.none() | TEXT | st.sampled_from(["1", "1.0", "true", "null", "\n", "\u2028", "😀"])
GLOBS = st.lists(st.sampled_from(["runtime.*", "?x/", "[!-~]y/"]))


def _some(**parts: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=parts)


def _resource(values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any] | None]:
    accepted = st.fixed_dictionaries(
        {"key": KEYS, "value": values}, optional={"until": st.dates().map(str), "reason": TEXT | st.none()}
    )
    return st.none() | _some(
        metadata=st.dictionaries(KEYS, values, max_size=5),
        ownership=st.sampled_from(["declared", "exclusive"]),
        ignore=GLOBS,
        protect=st.booleans(),
        accept=st.lists(accepted, max_size=2),
    )


def _file(values: st.SearchStrategy[Any], first: list[str], **ids: list[str]) -> st.SearchStrategy[dict[str, Any]]:
    """Return files with a section of vector store files that is not empty, and perhaps others."""
    sections = {
        name: st.none() | st.dictionaries(st.sampled_from(some), _resource(values), max_size=4)
        for name, some in ids.items()
    }
    defaults = _some(
        metadata=st.dictionaries(KEYS, values, max_size=3),
        ownership=st.sampled_from(["declared", "exclusive"]),
        ignore=GLOBS,
    )
    needed = {
        "version": st.just(1),
        "vector_store_files": st.dictionaries(st.sampled_from(first), _resource(values), min_size=1, max_size=4),
    }
    return st.fixed_dictionaries(needed, optional={"defaults": defaults, **sections})


FILES = ["v/f", "v/g", "w/f"]
TREES = _file(STRINGS, FILES, threads=["t", "u", "1:2"], messages=["p/c"]) | _file(STRINGS | NUMBERS, FILES)


def _block(node: object, indent: str) -> Iterator[str]:
    """Yield the lines of a tree in block style, all scalars as JSON writes them."""
    if not isinstance(node, dict) or not node:
        yield f" {json.dumps(node)}"
        return
    yield ""
    for key, value in node.items():
        first, *rest = _block(value, f"{indent}  ")
        yield f"{indent}{json.dumps(key)}:{first}"
        yield from rest


@st.composite
def manifests(draw: st.DrawFn) -> bytes:
    """Valid manifests in several styles, some of which share parts by anchors."""
    tree = draw(TREES)
    if draw(st.booleans()):  # defaults below what they are for
        tree["defaults"] = tree.pop("defaults", None)
    style = draw(st.sampled_from(["block", "shared", "flow", "lines"]))
    if style == "flow":
        text = json.dumps(tree, ensure_ascii=draw(st.booleans()))
    elif style == "lines":
        text = json.dumps(tree, indent=draw(st.integers(0, 3)))
    else:
        text = "\n".join(_block(tree, ""))
    if style == "shared":
        before, anchor, after = text.replace('"v/f":', '"v/f": &f', 1).partition("&f")
        text = before + anchor + after.replace('"v/g": null', '"v/g": *f').replace('"w/f": {}', '"w/f": {<<: *f}')
    data = text.encode()
    read = read_manifest(data, "m.yaml")
    assume(read.resources and not read.problems)
    return data


def facts(manifest: FileManifest) -> list[object]:
    """All that can be seen of what a file declares: `repr` tells 1, 1.0 and true apart, and the order of keys."""
    assert manifest.problems == ()
    return [
        (
            one.ref,
            repr(one.metadata),
            one.ownership,
            one.ignore,
            one.protect,
            repr(one.accept),
            one.location,
            list(one.sources.items()),
            one.released,
        )
        for one in manifest.resources
    ]


@pytest.fixture(autouse=True, scope="module")
def _keep_everything() -> Iterator[None]:
    """Let the cache keep the smallest files."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cache, "FREE", 0)
        patch.setattr(cache, "TINY", 0)
        yield


@given(manifests())
def test_what_was_kept_is_what_was_parsed(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        plain = facts(read_manifest(data, "m.yaml"))
        event(f"{min(len(plain), 3)} resources")
        assert facts(read_manifest(data, "m.yaml", Cache(Path(folder)))) == plain
        store = Cache(Path(folder))
        table = store.get(store.key(data) or "", "m.yaml")
        assert table is not None
        assert facts(FileManifest(table)) == plain
        assert facts(read_manifest(data, "other.yaml", store)) == facts(read_manifest(data, "other.yaml"))
        for index, one in enumerate(read_manifest(data, "m.yaml").resources):
            assert facts(FileManifest(table))[index] == plain[index]
            assert table.resource(one.ref, index) == one


@settings(max_examples=400)
@given(manifests(), st.data())
def test_damage_of_any_kind_changes_nothing_of_what_is_read(data: bytes, draw: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        plain = facts(read_manifest(data, "m.yaml", Cache(Path(folder))))
        (entry,) = (Path(folder) / "manifests").iterdir()
        good = entry.read_bytes()
        at = draw.draw(st.integers(0, len(good) - 1))
        kind = draw.draw(st.sampled_from(["flipped", "cut off", "longer", "shorter", "other"]))
        bad = {
            "flipped": good[:at] + bytes([good[at] ^ draw.draw(st.integers(1, 255))]) + good[at + 1 :],
            "cut off": good[:at],
            "longer": good + draw.draw(st.binary(min_size=1, max_size=9)),
            "shorter": good[:at] + good[at + 1 :],
            "other": draw.draw(st.binary(max_size=200)),
        }[kind]
        entry.write_bytes(bad)
        store = Cache(Path(folder))
        assert store.get(entry.name, "m.yaml") is None
        assert facts(read_manifest(data, "m.yaml", store)) == plain
        assert entry.read_bytes() == good
