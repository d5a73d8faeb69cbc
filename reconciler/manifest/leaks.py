"""Values in manifests that look like keys: whoever can read the file, or the API, could use them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.credentials import any_looks_so, looks_like
from reconciler.errors import Location, Problem
from reconciler.manifest.tree import Map, Seq

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from reconciler.manifest.schema import Entry
    from reconciler.manifest.tree import YamlFile


def leaks(entries: Sequence[Entry], inherited: Map, document: YamlFile) -> Iterator[Problem]:
    """Yield the values that look like keys, where nobody says that they may; of the defaults everybody has to."""
    # One look at all values together: there hardly ever is any, and files are large.
    if not any_looks_so(text for node in _nodes(entries, inherited) for text in node.values() if type(text) is str):
        return
    for key, what in _likes(inherited):
        heirs = [entry for entry in entries if key not in entry.metadata]
        if not heirs or not all(allows(entry.node) for entry in heirs):
            yield _problem(what, document.location(inherited.values_at[key]), "every resource that inherits it")
    for entry in entries:
        if not allows(entry.node):
            for node in (entry.metadata, *_accepted(entry)):
                for key, what in _likes(node):
                    yield _problem(what, document.location(node.values_at[key]), "the resource")


def allows(resource: Map) -> bool:
    """Tell whether a resource says that its values may look like keys."""
    return resource.get("allow_secret_like") is True


def _nodes(entries: Sequence[Entry], inherited: Map) -> Iterator[Map]:
    """Yield every mapping of which no value may be a key."""
    yield inherited
    for entry in entries:
        yield entry.metadata
        if "accept" in entry.node:
            yield from _accepted(entry)


def _accepted(entry: Entry) -> Iterator[Map]:
    accepted = entry.node.get("accept")
    yield from (one for one in accepted if isinstance(one, Map)) if isinstance(accepted, Seq) else ()


def _likes(node: Map) -> Iterator[tuple[str, str]]:
    for key, value in node.items():
        if isinstance(value, str) and (what := looks_like(value)) is not None:
            yield key, what


def _problem(what: str, at: Location, whose: str) -> Problem:
    message = (
        f"this value looks like {what}, and whoever can read this file or the API could use it: take it out (and "
        f"revoke it, if it is one), or write allow_secret_like: true on {whose}"
    )
    return Problem("secret_like", message, at)
