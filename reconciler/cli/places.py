"""Which manifest a resource that was listed goes to: one per kind, or one per value of a key.

A name is made of the kind or the value alone, never of what other values there are: the next run finds the same file.
"""

from __future__ import annotations

import hashlib
import json
import re
from functools import lru_cache
from typing import TYPE_CHECKING

from reconciler.errors import WrongUsage
from reconciler.kinds import KINDS
from reconciler.manifest.files import SUFFIXES
from reconciler.manifest.notation import unfit_key, unfit_secret, unfit_value
from reconciler.model import matches

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from reconciler.cli.options import Options
    from reconciler.cli.session import Session
    from reconciler.model import Json, Metadata, Ref, Value

OTHERS = "_other"
"""The name of the file for resources without the key; no value has a name that begins so."""
LONGEST = 60
"""Characters of a value that its file's name has; every file system has room for these, a hash and an ending."""

_PLAIN = re.compile(rf"[a-z0-9][a-z0-9._-]{{0,{LONGEST - 1}}}")
_HASHED = re.compile(r"-[0-9a-f]{10}")
_RESERVED = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\..*)?|reconciler")
"""What Windows takes for a device, whatever ending follows; and what we take for settings, with that of a manifest."""


def name_of_value(value: Json, kind: str) -> str:
    """Return the name, without its ending, of the file for one value of the chosen key.

    A value of small letters, digits, `.`, `_` and `-` is its own name. Every other one has a hash behind what of it can
    be shown, so that no two values share a name, not even where a file system ignores case. What no manifest may hold
    is no value.
    """
    if isinstance(value, str):
        return _name_of_text(value, kind)
    return OTHERS if value is None or unfit_value(value, kind) else _with_hash(value)


@lru_cache(maxsize=65536)
def _name_of_text(value: str, kind: str) -> str:
    if unfit_value(value, kind) or unfit_secret(value):
        return OTHERS
    return value if _is_plain(value) else _with_hash(value)


def _with_hash(value: Value) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    begun = re.sub(r"[^a-z0-9]+", "-", text.lower())[:LONGEST].strip("-")
    digest = hashlib.sha256(json.dumps(value).encode("ascii")).hexdigest()[:10]
    return f"{begun or 'value'}-{digest}"


def _is_plain(text: str) -> bool:
    tail = text[-11:]
    return (
        _PLAIN.fullmatch(text) is not None
        and not text.endswith(".")
        and _RESERVED.fullmatch(text) is None
        and _HASHED.fullmatch(tail) is None
    )


def place_of(session: Session, into: str | None, split_by: str | None) -> Callable[[Ref, Metadata], Path | None]:
    """Return what tells the file of a resource; `None` is standard output. Raises `WrongUsage` before any call."""
    _check_split(session, into, split_by)
    if into == "-":
        return lambda _ref, _metadata: None
    if into is not None and not _is_folder(session.options, into):
        path = session.options.at(into)
        return lambda _ref, _metadata: path
    folder = session.options.at(into) if into is not None else _first_folder(session)
    if split_by is None:
        return lambda ref, _metadata: _in(folder, KINDS[ref.kind].plural)
    return lambda ref, metadata: _in(folder, name_of_value(metadata.get(split_by), ref.kind))


def _check_split(session: Session, into: str | None, split_by: str | None) -> None:
    mask = session.target.mask
    if mask and into == "-":
        raise WrongUsage("the settings mask values, and standard output would show them: name a folder by --into")
    if split_by is None:
        return
    if unfit_key(split_by):
        raise WrongUsage("--split-by: no resource has such a key; write one of 1 to 64 characters")
    if matches(split_by, mask):
        raise WrongUsage(f"the settings mask the values of {split_by}, and the names of files would show them")
    if into is not None and (into == "-" or not _is_folder(session.options, into)):
        raise WrongUsage("--split-by makes a file for each value: name a folder by --into, or leave it out")


def _is_folder(options: Options, into: str) -> bool:
    """Tell whether a name is meant as a folder: it is one, or it is none yet and does not end like a manifest."""
    path = options.at(into)
    if path.is_dir() or into.endswith("/"):
        return True
    return not path.exists() and path.suffix not in SUFFIXES


def _first_folder(session: Session) -> Path:
    """Return the first of the target's manifest paths that is a folder, or would be."""
    for path in session.target.manifests:
        if path.is_dir() or (not path.exists() and path.suffix not in SUFFIXES):
            return path
    raise WrongUsage(f"target {session.target.name} has no folder among its manifests: name one, or a file, by --into")


def _in(folder: Path, name: str) -> Path:
    """Return the manifest of a name; one that is there already with the other ending stays the one."""
    other = folder / f"{name}.yml"
    return other if other.is_file() else folder / f"{name}.yaml"
