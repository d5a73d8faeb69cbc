"""Writing what exists into manifests: what is declared already, what can be declared, and the files that get it.

::

    what is declared now ── a new file beside each ── is all as it was? ── each in its place
            ▲                                              │
            └────────── what was changed meanwhile ────────┘

Listing may take hours, in which people go on working. So what is declared is read again before anything is written,
every manifest is looked at again right before it is replaced, and one import at a time does so.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from pathlib import Path

    from reconciler.cli.options import Options
    from reconciler.cli.output import Prepared
    from reconciler.cli.report import Report
    from reconciler.cli.session import Session
    from reconciler.errors import ReconcilerError
    from reconciler.manifest.writer import Declaration, Refusal, Written
    from reconciler.model import Ref

    Groups = Mapping[Path, Sequence[Declaration]]
    Stamps = dict[str, tuple[int, int, int]]

_NAMED = 20
"""Files, and resources, that are told by name."""
_TRIES = 4
"""Times that a manifest is written anew because somebody else has changed it."""


def declared(session: Session) -> dict[Ref, str]:
    """Return what the manifests that there are declare already, and where. Raises `InvalidInput`."""
    from reconciler import manifest

    existing = [path for path in session.target.manifests if os.path.lexists(path)]
    try:
        loaded = manifest.load(
            existing, root=session.settings.root, skip=session.settings.own_files, cache=session.cache
        )
    except FileNotFoundError as error:
        raise _dangling(session, error) from error
    return {one.ref: str(one.location) for one in loaded.resources}


def _dangling(session: Session, error: FileNotFoundError) -> Exception:
    from pathlib import Path

    from reconciler.errors import InvalidInput, Location, Problem
    from reconciler.manifest.files import name_of

    name = name_of(Path(str(error.filename)), session.settings.root)
    message = "this link leads to no file: remove it, or correct where it leads"
    return InvalidInput(Problem("link_nowhere", message, Location(name, 1, 1)))


def recorded(session: Session) -> Collection[Ref] | None:
    """Return what the ledger has of resources that were applied once; `None` where nothing is known of that."""
    from reconciler.errors import ReconcilerError
    from reconciler.ledger import store

    if session.repository is None:
        return None
    try:
        ledger = store.read(session.repository, session.target.name)
        return None if ledger is None else ledger.everything().keys()
    except ReconcilerError:
        return None


def manifests(session: Session) -> list[Path]:
    """Return the manifests that there are by now."""
    from reconciler import manifest

    existing = [path for path in session.target.manifests if path.exists()]
    found = manifest.find(existing, root=session.settings.root, skip=session.settings.own_files)
    return [file.path for file in found.files]


def check_place(session: Session, into: str | None) -> None:
    """Raise `WrongUsage` where the manifest cannot be written, before any call; folders on the way are made later."""
    from reconciler.errors import WrongUsage

    if into is None:
        return
    path = session.options.at(into).resolve()
    if path.is_dir():
        raise WrongUsage(f"--into: {into} is a folder; name a file in it")
    check_above(session, path)


def check_above(session: Session, path: Path) -> None:
    """Raise `WrongUsage` where nothing can be made at a path, or in a folder that is there."""
    from reconciler.errors import WrongUsage

    if path in {own.resolve() for own in session.settings.own_files}:
        raise WrongUsage(f"--into: {path.name} is the settings file; name another file")
    above = path if path.is_dir() else next(one for one in path.parents if os.path.lexists(one))
    if not above.is_dir():
        raise WrongUsage(f"--into: {above} is no folder; name another file")
    if not os.access(above, os.W_OK | os.X_OK):
        raise WrongUsage(f"--into: you may not write into {above}; make that possible, or name another file")


@dataclass(slots=True)
class _Draft:
    """A manifest with what it is to declare: as it was read, and as it lies beside its place (`None`: unchanged)."""

    before: bytes | None
    made: Written
    refs: tuple[Ref, ...]
    beside: Prepared | None = None

    def discard(self) -> None:
        if self.beside is not None:
            self.beside.discard()


@dataclass(slots=True)
class Files:
    """Writes declarations into manifests, each file once, and tells what became of them.

    `declared` is what was in a manifest by the time of writing (`known` tells where); `failed` are files that could
    not be written. `done`: nothing has to be tried again.
    """

    report: Report
    session: Session
    written: list[tuple[Path, str, int]] = field(default_factory=list)
    declared: set[Ref] = field(default_factory=set)
    failed: list[Path] = field(default_factory=list)
    known: dict[Ref, str] = field(default_factory=dict)
    done: bool = True
    _refused: list[Refusal] = field(default_factory=list)
    _stamps: Stamps | None = None

    def print(self, declarations: Sequence[Declaration]) -> None:
        """Print a manifest of resources."""
        from reconciler.cli.output import say
        from reconciler.manifest import writer

        made = writer.declare(None, "the manifest", declarations)
        self._refused += made.refused
        say(made.data.decode(), self.session.options)

    def write(self, groups: Groups) -> None:
        """Declare resources in files, which are extended or made; what a manifest has by now is left alone.

        Raises `InvalidInput` where the manifests are not valid any more, and `AtWork`: what is not among `written` was
        not written then.
        """
        from reconciler.cli.output import sweep
        from reconciler.cli.spool import writing
        from reconciler.errors import ReconcilerError

        if not groups:
            return
        self.done = False
        with writing(self.session):
            sweep({path.resolve().parent for path in groups}, time.time())
            open_ = dict(groups)
            for _ in range(_TRIES):
                open_ = self._attempt(open_)
                if not open_:
                    self.done = not self.failed
                    return
            for path in open_:
                why = f"{self._name(path)} was changed meanwhile, {_TRIES} times; import again"
                self._fail(path, ReconcilerError(f"{why}, nothing was written to it"))

    def _attempt(self, groups: Groups) -> dict[Path, Sequence[Declaration]]:
        """Write all files that nobody touches meanwhile; return the others."""
        from reconciler.errors import ReconcilerError

        self._look_again()
        drafts: dict[Path, _Draft] = {}
        again: dict[Path, Sequence[Declaration]] = {}
        try:
            for path, declarations in sorted(groups.items()):
                try:
                    if (draft := self._draft(path, declarations)) is not None:
                        drafts[path] = draft
                except ReconcilerError as error:
                    self._fail(path, error)
            self._look_again()
            for path in list(drafts):
                draft = drafts.pop(path)
                if not self._put(path, draft):
                    again[path] = groups[path]
        finally:
            for draft in drafts.values():
                draft.discard()
        return again

    def _look_again(self) -> None:
        """Read what is declared, if any manifest is another one than when that was read."""
        stamps = _stamps(self.session)
        if stamps != self._stamps:
            self.known = declared(self.session)
            self._stamps = stamps

    def _draft(self, path: Path, declarations: Sequence[Declaration]) -> _Draft | None:
        """Write a manifest beside its place; `None` where all that it is to declare is declared."""
        from reconciler.cli.output import make_folder, prepare
        from reconciler.errors import ReconcilerError
        from reconciler.manifest import writer
        from reconciler.manifest.files import MAX_FILE

        here = {one.ref for one in declarations if one.ref in self.known}
        self.declared |= here
        fresh = [one for one in declarations if one.ref not in here]
        if declarations and not fresh:
            return None
        name, before = self._name(path), self._read(path)
        made = writer.declare(before, name, fresh)
        if made.invalid is not None:
            at = made.invalid.location
            raise ReconcilerError(f"{at or name}: nothing is written to this file: {made.invalid.message}")
        if len(made.data) > MAX_FILE:
            size = MAX_FILE // 1024 // 1024
            why = f"{name} would be larger than {size} MiB, which is more than a manifest may have"
            raise ReconcilerError(f"{why}: make several by --split-by KEY")
        draft = _Draft(before, made, tuple(one.ref for one in fresh))
        if made.data != (before or b""):
            make_folder(path.parent)
            draft.beside = prepare(path, made.data)
        return draft

    def _put(self, path: Path, draft: _Draft) -> bool:
        """Put a manifest in its place, unless it is another one by now, or something of it is declared elsewhere."""
        from reconciler.errors import ReconcilerError

        try:
            if self._read(path) != draft.before or any(ref in self.known for ref in draft.refs):
                draft.discard()
                return False
            if draft.beside is not None:
                draft.beside.carry_out()
        except ReconcilerError as error:
            draft.discard()
            self._fail(path, error)
            return True
        self._refused += draft.made.refused
        whole = {refusal.ref for refusal in draft.made.refused if refusal.key is None}
        self.written.append((path, self._name(path), len(draft.refs) - len(whole)))
        return True

    def _fail(self, path: Path, error: ReconcilerError) -> None:
        self.report.fail(error)
        self.failed.append(path)

    def _name(self, path: Path) -> str:
        from reconciler.manifest.files import name_of

        return name_of(path, self.session.settings.root)

    def _read(self, path: Path) -> bytes | None:
        """Return what a manifest holds now; `None` where there is none."""
        from reconciler.errors import ReconcilerError
        from reconciler.manifest.files import read_file

        if not os.path.lexists(path):
            return None
        try:
            return read_file(path)
        except OSError as error:
            name = self._name(path)
            raise ReconcilerError(f"cannot read {name}: {error.strerror}; name another file by --into") from error

    def tell(self) -> None:
        """Tell which files have how many more resources, what is in none, and which of them nobody will read."""
        from reconciler.cli.output import notice
        from reconciler.words import amount

        self._tell_refused()
        options = self.session.options
        counted = [(name, count) for _, name, count in self.written if count]
        for name, count in counted[:_NAMED]:
            notice(f"Imported {amount(count, 'resource')} into {name}.", options)
        if len(counted) > _NAMED:
            rest = sum(count for _, count in counted[_NAMED:])
            notice(f"Imported {amount(rest, 'resource')} into {len(counted) - _NAMED} more files.", options)
        for name in self._unread()[:_NAMED]:
            target = self.session.target.name
            notice(f"{name} is not among the manifests of target {target}: nothing will read it.", options)

    def _tell_refused(self) -> None:
        from reconciler.cli.candidates import brief
        from reconciler.errors import ExitCode, Problem
        from reconciler.words import shown

        for refusal in self._refused[:_NAMED]:
            named = f", {shown(str(refusal.key))}" if refusal.key is not None else ""
            message = f"{brief(refusal.ref)}{named}: {refusal.message}"
            self.report.note(ExitCode.ERROR, Problem("not_imported", message, refusal.location))
        if (more := len(self._refused) - _NAMED) > 0:
            message = f"and {more:,} more values and resources that no manifest can hold as they are"
            self.report.note(ExitCode.ERROR, Problem("not_imported", message))

    def _unread(self) -> list[str]:
        known = {os.path.realpath(path) for path in manifests(self.session)}
        there = [(path, name) for path, name, _ in self.written if path.exists()]
        return [name for path, name in there if os.path.realpath(path) not in known]


def tell_declared(chosen: Options, known: Mapping[Ref, str], wanted: Iterable[Ref]) -> None:
    """Tell what is left alone because a manifest has it."""
    from reconciler.cli.output import notice

    for ref in wanted:
        if ref in known:
            notice(f"{ref} is declared already, at {known[ref]}; it is left alone", chosen)


def _stamps(session: Session) -> Stamps:
    """Return what tells whether a manifest was changed, and whether there are others."""
    found: Stamps = {}
    for path in manifests(session):
        try:
            known = path.stat()
        except OSError:
            continue
        found[str(path)] = (known.st_mtime_ns, known.st_size, known.st_ino)
    return found
