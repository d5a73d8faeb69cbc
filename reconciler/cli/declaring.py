"""Writing what exists into manifests: what is declared already, what can be declared, and the files that get it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from reconciler.cli.options import Options
    from reconciler.cli.report import Report
    from reconciler.cli.session import Session
    from reconciler.manifest.writer import Declaration, Written
    from reconciler.model import Ref

_NAMED = 20
"""Files that are told by name."""


def declared(session: Session) -> dict[Ref, str]:
    """Return what the manifests that there are declare already, and where. Raises `InvalidInput`."""
    from reconciler import manifest

    loaded = manifest.load(manifests(session), root=session.settings.root, cache=session.cache)
    return {one.ref: str(one.location) for one in loaded.resources}


def manifests(session: Session) -> list[Path]:
    """Return the manifests that there are by now."""
    from reconciler import manifest

    existing = [path for path in session.target.manifests if path.exists()]
    found = manifest.find(existing, root=session.settings.root, skip=session.settings.own_files)
    return [file.path for file in found.files]


def check_place(chosen: Options, into: str | None) -> None:
    """Raise `WrongUsage` where the manifest cannot be written, before any call; folders on the way are made later."""
    from reconciler.errors import WrongUsage

    if into is None:
        return
    path = chosen.at(into).resolve()
    if path.is_dir():
        raise WrongUsage(f"--into: {into} is a folder; name a file in it")
    check_above(path)


def check_above(path: Path) -> None:
    """Raise `WrongUsage` where nothing can be made at a path, or in a folder that is there."""
    from reconciler.errors import WrongUsage

    above = path if path.is_dir() else next(one for one in path.parents if os.path.lexists(one))
    if not above.is_dir():
        raise WrongUsage(f"--into: {above} is no folder; name another file")
    if not os.access(above, os.W_OK | os.X_OK):
        raise WrongUsage(f"--into: you may not write into {above}; make that possible, or name another file")


@dataclass(slots=True)
class Files:
    """Writes declarations into manifests, each file once, and tells what became of them."""

    report: Report
    session: Session
    written: list[tuple[Path | None, str, int]] = field(default_factory=list)

    def write(self, path: Path | None, declarations: Sequence[Declaration]) -> None:
        """Declare resources in a file, which is extended or made; `None` prints a manifest of them."""
        from reconciler.cli.output import make_folder, say, write_file
        from reconciler.errors import ReconcilerError
        from reconciler.manifest import writer
        from reconciler.manifest.files import MAX_FILE, name_of

        name = name_of(path, self.session.settings.root) if path else "the manifest"
        before = _before(path, name)
        made = writer.declare(before, name, declarations)
        self._tell_refused(made)
        whole = {refusal.ref for refusal in made.refused if refusal.key is None}
        self.written.append((path, name, len(declarations) - len(whole)))
        if path is None:
            say(made.data.decode(), self.session.options)
            return
        if len(made.data) > MAX_FILE:
            size = MAX_FILE // 1024 // 1024
            why = f"{name} would be larger than {size} MiB, which is more than a manifest may have"
            raise ReconcilerError(f"{why}: make several by --split-by KEY")
        if made.data != (before or b""):
            make_folder(path.parent)
            write_file(path, made.data)

    def _tell_refused(self, made: Written) -> None:
        from reconciler.errors import ExitCode, Problem

        for refusal in made.refused:
            named = f", {refusal.key}" if refusal.key else ""
            message = f"{refusal.ref}{named}: {refusal.message}"
            self.report.note(ExitCode.ERROR, Problem("not_imported", message, refusal.location))

    def tell(self) -> None:
        """Tell which files have how many more resources, and which of them nobody will read."""
        from reconciler.cli.output import notice
        from reconciler.words import amount

        options = self.session.options
        counted = [(name, count) for path, name, count in self.written if path and count]
        for name, count in counted[:_NAMED]:
            notice(f"Imported {amount(count, 'resource')} into {name}.", options)
        if len(counted) > _NAMED:
            rest = sum(count for _, count in counted[_NAMED:])
            notice(f"Imported {amount(rest, 'resource')} into {len(counted) - _NAMED} more files.", options)
        for name in self._unread()[:_NAMED]:
            target = self.session.target.name
            notice(f"{name} is not among the manifests of target {target}: nothing will read it.", options)

    def _unread(self) -> list[str]:
        known = {os.path.realpath(path) for path in manifests(self.session)}
        there = [(path, name) for path, name, _ in self.written if path is not None and path.exists()]
        return [name for path, name in there if os.path.realpath(path) not in known]


def tell_declared(chosen: Options, known: dict[Ref, str], wanted: Iterable[Ref]) -> None:
    """Tell what is left alone because a manifest has it."""
    from reconciler.cli.output import notice

    for ref in wanted:
        if ref in known:
            notice(f"{ref} is declared already, at {known[ref]}; it is left alone", chosen)


def _before(path: Path | None, name: str) -> bytes | None:
    from reconciler.errors import WrongUsage
    from reconciler.manifest.files import read_file

    if path is None or not path.exists():
        return None
    try:
        return read_file(path)
    except OSError as error:
        raise WrongUsage(f"cannot read {name}: {error.strerror}; name another file by --into") from error
