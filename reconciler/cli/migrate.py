"""`reconciler migrate`: rewrite manifests to new references, such as threads to conversations."""

from __future__ import annotations

import shlex
import sys
import time
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import click

from reconciler.cli.options import WHERE, Options, completing, options
from reconciler.kinds import KINDS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping
    from pathlib import Path
    from typing import Any

    from reconciler.cli.session import Session
    from reconciler.errors import Location, Problem
    from reconciler.manifest import FileManifest, ManifestFile
    from reconciler.manifest.mapping import Row
    from reconciler.model import Ref

STDIN = "-"
_NAMED = 10
"""References that a sentence names, at most."""


@click.command()
@click.argument("mapping", metavar="MAPPING|-", shell_complete=completing("paths"))
@click.option("--from", "old_kind", type=click.Choice(list(KINDS)), metavar="KIND", help="The kind of old ids alone.")
@click.option("--to", "new_kind", type=click.Choice(list(KINDS)), metavar="KIND", help="The kind of new ids alone.")
@click.option("--dry-run", is_flag=True, help="Show the patch, and write nothing.")
@options("paths", *WHERE, "yes", "color", "quiet")
def migrate(*, mapping: str, old_kind: str | None, new_kind: str | None, dry_run: bool, **given: Any) -> int:
    """Give resources new references, as a mapping tells: CSV with the columns old,new, or a YAML map of old to new.

    References are KIND/ID; with --from and --to ids alone will do. Each entry keeps its metadata, its comments and
    its order; to another kind it goes to the section of that kind in the same file. Shows the patch and asks;
    nobody is called, and nothing is committed. All rows hold at once, and all files are rewritten, or none.

    \b
    Examples:
      echo thread/thread_1,conversation/conv_1 | reconciler migrate - --dry-run
      printf 'thread/thread_1: conversation/conv_1' > moved.yaml && \\
        reconciler migrate moved.yaml manifests/support.yaml --yes
      printf '%s;%s' thread_1 conv_1 > ids.csv && \\
        reconciler migrate ids.csv --from thread --to conversation --yes
    """
    from reconciler.cli.output import room_on, say
    from reconciler.cli.report import Report
    from reconciler.cli.session import When, open_session
    from reconciler.errors import ReconcilerError
    from reconciler.render import terminal

    # To the report, this is a validation: it has problems, and nothing else to tell.
    chosen, report = Options(**given), Report("validate")
    try:
        _check_usage(chosen, mapping, dry_run=dry_run)
        session = open_session(chosen, report, manifests=When.LATER)
        _carry_out(session, _move(session, mapping, (old_kind, new_kind)), dry_run=dry_run)
    except ReconcilerError as error:
        report.fail(error)
    say(terminal.errors(report.view(), room_on(sys.stderr, chosen)), chosen, err=True)
    return report.exit_code


def _check_usage(chosen: Options, mapping: str, *, dry_run: bool) -> None:
    from reconciler.cli.applying import check_consent
    from reconciler.errors import WrongUsage

    if dry_run and chosen.yes:
        raise WrongUsage("--dry-run writes nothing, so that there is nothing to say --yes to: leave one of them out")
    if mapping == STDIN and not (chosen.yes or dry_run):
        raise WrongUsage("no question can be answered where the mapping comes from: say --yes, or name a file")
    if not dry_run:
        check_consent(chosen)


# --- what is to move --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Declared:
    """What the manifests declare, by reference: in the files in question, and in all of the target."""

    files: tuple[ManifestFile, ...]
    manifests: Mapping[str, FileManifest]
    here: Mapping[Ref, Location]
    anywhere: Mapping[Ref, Location]


@dataclass(frozen=True)
class _Move:
    """The rows of a mapping by what becomes of them.

    `moving` are carried out; `done` are in the manifests already, `elsewhere` are in manifests beyond those that were
    named, and `unknown` are nowhere.
    """

    declared: _Declared
    moving: tuple[Row, ...]
    done: tuple[Row, ...]
    elsewhere: tuple[Row, ...]
    unknown: tuple[Row, ...]

    @cached_property
    def refs(self) -> dict[Ref, Ref]:
        """What takes the place of what."""
        return {row.old: row.new for row in self.moving}

    @property
    def links(self) -> int:
        """Return how many rows lead to where another row begins: done twice, they would go on."""
        return sum(row.new in self.refs for row in self.moving)

    @property
    def children(self) -> list[Ref]:
        """Return what lies below something that moves, and does not move itself."""
        parents = {(old.kind, old.id) for old in self.refs}
        return sorted(
            ref
            for ref in self.declared.anywhere
            if KINDS[ref.kind].nested
            and ref not in self.refs
            and (KINDS[ref.kind].parent, ref.id.partition("/")[0]) in parents
        )


def _move(session: Session, name: str, kinds: tuple[str | None, str | None]) -> _Move:
    """Return what is to be done. Raises `InvalidInput` with all that is wrong with mapping and manifests."""
    from reconciler.errors import InvalidInput, WrongUsage
    from reconciler.manifest.mapping import read_mapping
    from reconciler.manifest.problems import in_order

    shown_name, data = _mapping(session.options, name)
    mapping = read_mapping(data, shown_name, old_kind=kinds[0], new_kind=kinds[1])
    problems = list(mapping.problems)
    declared = _declared(session, problems)
    if not mapping.rows and not problems:
        raise WrongUsage(f"{name} has no rows: write an old and a new reference in each")
    moving = {row.old for row in mapping.rows if row.old in declared.here}
    problems += _taken(mapping.rows, moving, declared)
    if problems:
        raise InvalidInput(*in_order(problems))
    groups: dict[str, list[Row]] = {"moving": [], "done": [], "elsewhere": [], "unknown": []}
    for row in mapping.rows:
        if row.old in moving:
            groups["moving"].append(row)
        elif row.old in declared.anywhere:
            groups["elsewhere"].append(row)
        else:
            groups["done" if row.new in declared.anywhere else "unknown"].append(row)
    if not groups["moving"] and not groups["done"]:
        where = f" at {', '.join(session.options.paths)}" if session.options.paths else ""
        raise WrongUsage(f"no manifest{where} declares any of the old references: name the right mapping or target")
    return _Move(declared, **{name: tuple(rows) for name, rows in groups.items()})


def _mapping(chosen: Options, name: str) -> tuple[str, bytes]:
    """Return how a mapping is called, and what it holds. Raises `WrongUsage`."""
    from reconciler.errors import WrongUsage
    from reconciler.manifest.files import MAX_FILE, read_file

    try:
        if name != STDIN:
            return name, read_file(chosen.at(name), pipes=True)
        data = sys.stdin.buffer.read(MAX_FILE + 1) if sys.stdin is not None else b""
    except OSError as error:
        called = "standard input" if name == STDIN else name
        raise WrongUsage(f"cannot read {called}: {error.strerror}; name a mapping, or - for standard input") from error
    if len(data) > MAX_FILE:
        raise WrongUsage(f"standard input is larger than {MAX_FILE // 1024 // 1024} MiB; split the mapping")
    return "<stdin>", data


def _declared(session: Session, problems: list[Problem]) -> _Declared:
    """Return what the manifests declare; what is wrong with those in question is added to the problems."""
    from reconciler import manifest
    from reconciler.cli.session import find_manifests
    from reconciler.errors import InvalidInput

    found = find_manifests(session.settings, session.options)
    manifests = dict(manifest.parsed(found.files, session.cache))
    try:
        manifest.combine(manifests, found.problems)
    except InvalidInput as invalid:
        problems += invalid.found
    here = {ref: at for one in manifests.values() for ref, at in one.declared()}
    anywhere = dict(here)
    if session.options.paths:
        existing = [path for path in session.target.manifests if path.exists()]
        all_ = manifest.find(existing, root=session.settings.root, skip=session.settings.own_files)
        others = [file for file in all_.files if file.name not in manifests]
        for _, one in manifest.parsed(others, session.cache):
            anywhere = {**dict(one.declared()), **anywhere}
    return _Declared(found.files, manifests, here, anywhere)


def _taken(rows: Iterable[Row], moving: Collection[Ref], declared: _Declared) -> Iterator[Problem]:
    """Yield a problem for each new reference that is declared, and stays so."""
    from reconciler.errors import Problem

    for row in rows:
        if row.old in moving and row.new in declared.anywhere and row.new not in moving:
            message = f"{row.new} is declared already, at {declared.anywhere[row.new]}: keep one of the two by hand"
            yield Problem("duplicate_resource", message, row.new_at)


# --- the files --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Rewritten:
    """A manifest before and after, and what moves in it."""

    path: Path
    name: str
    before: bytes
    after: bytes
    refs: Mapping[Ref, Ref]


def _carry_out(session: Session, move: _Move, *, dry_run: bool) -> None:
    from reconciler.cli.output import confirm, notice, say
    from reconciler.words import amount

    chosen = session.options
    files = _rewritten(move)
    _tell(move, chosen)
    if not files:
        say("Nothing to migrate.\n", chosen)
        return
    for file in files:
        _show(file, move, session)
    if dry_run:
        would = f"{amount(len(move.refs), 'resource')} in {amount(len(files), 'file')}"
        notice(f"Would migrate {would}.", chosen)
        return
    if not chosen.yes:
        confirm(f"Write this into {amount(len(files), 'file')}?")
    _write(files, chosen)
    notice(f"Migrated {amount(len(move.refs), 'resource')} in {amount(len(files), 'file')}.", chosen)
    _tell_next(session, move)


def _rewritten(move: _Move) -> list[_Rewritten]:
    """Return the manifests that change. Raises `InvalidInput` where one cannot be rewritten: then none is."""
    from reconciler.cli.output import read_again
    from reconciler.errors import InvalidInput, Problem
    from reconciler.manifest import writer
    from reconciler.manifest.problems import in_order

    refs: dict[str, dict[Ref, Ref]] = {}
    for row in move.moving:
        refs.setdefault(move.declared.here[row.old].file, {})[row.old] = row.new
    files, problems = [], []
    for file in (file for file in move.declared.files if file.name in refs):
        before = read_again(file.path, file.name)
        written = writer.move(before, file.name, refs[file.name])
        problems += [Problem("not_migrated", f"{one.ref}: {one.message}", one.location) for one in written.refused]
        files.append(_Rewritten(file.path, file.name, before, written.data, refs[file.name]))
    if problems:
        raise InvalidInput(*in_order(problems))
    return files


def _write(files: Iterable[_Rewritten], chosen: Options) -> None:
    """Write all files, or none: where one cannot be written, those before it are as they were.

    All of them lie beside their places before the first one gets there, so that this takes but a moment.
    """
    from reconciler.cli.output import Prepared, prepare, say, sweep
    from reconciler.words import plain

    files = list(files)
    beside: list[Prepared] = []
    begun: list[_Rewritten] = []
    sweep({file.path.resolve().parent for file in files}, time.time())
    try:
        for file in files:
            beside.append(prepare(file.path, file.after))  # noqa: PERF401 - those before one that fails are discarded
        for file in files:
            _check_unchanged(file)
        for file, new in zip(files, beside, strict=True):
            _check_unchanged(file)
            begun.append(file)  # before it is in its place: an interrupt may come at once
            new.carry_out()
    except BaseException:
        for new in beside:
            new.discard()
        if stayed := [file.name for file in begun if not _is_put_back(file)]:
            names = plain(", ".join(stayed))
            say(f"error: not all is as it was: {names} could not be put back; restore it from git\n", chosen, err=True)
        raise


def _is_put_back(file: _Rewritten) -> bool:
    """Let a file be as it was, unless it holds what somebody else wrote; tell whether it is not rewritten (any more).

    Whatever goes wrong with one, another interrupt included, costs none of the others their turn.
    """
    from reconciler.cli.output import read_again, write_file

    try:
        if read_again(file.path, file.name) == file.after:
            write_file(file.path, file.before)
    except BaseException:  # noqa: BLE001 - the first error is the one that is raised
        return False
    return True


def _check_unchanged(file: _Rewritten) -> None:
    from reconciler.cli.output import read_again
    from reconciler.errors import ReconcilerError

    if read_again(file.path, file.name) != file.before:
        raise ReconcilerError(f"{file.name} was changed meanwhile; nothing was written, migrate again")


# --- what is told -----------------------------------------------------------------------------------------------------


def _show(file: _Rewritten, move: _Move, session: Session) -> None:
    from reconciler.cli.output import say_patch
    from reconciler.manifest import writer

    if _has_masked(move.declared.manifests[file.name], session.target.mask):
        lines = [f"{file.name}: it has values that are masked, so that its lines are not shown"]
        for old, new in file.refs.items():
            lines += [f"-{old}", f"+{new}"]
    else:
        lines = writer.patch(file.before, file.after, file.name).split("\n")[:-1]
    say_patch(lines, session.options)


def _has_masked(manifest: FileManifest, mask: tuple[str, ...]) -> bool:
    """Tell whether any line of a manifest may show a value that is masked."""
    from reconciler.model import matches

    if not mask:
        return False
    keys = {key for one in manifest.resources for key in (*one.metadata, *(each.key for each in one.accept))}
    return any(matches(key, mask) or set(key) & set("*?[") for key in keys)


def _tell(move: _Move, chosen: Options) -> None:
    """Tell what becomes of the rows that are not carried out, and what is left behind by the others."""
    from reconciler.cli.output import notice
    from reconciler.words import amount

    for rows, said in (
        (move.done, "in the manifests already"),
        (move.elsewhere, "declared in other manifests of the target, which were not named"),
        (move.unknown, "declared nowhere, and passed over"),
    ):
        if rows:
            verb = "is" if len(rows) == 1 else "are"
            notice(f"{amount(len(rows), 'row')} {verb} {said}: {_listed(_told(row) for row in rows)}", chosen)
    if move.children:
        below = amount(len(move.children), "resource")
        said = "below what moves, and not in the mapping: map them as well, or remove them"
        notice(
            f"{below} {'is' if len(move.children) == 1 else 'are'} {said}: {_listed(map(str, move.children))}", chosen
        )
    if move.links:
        said = "lead to where other rows begin; carried out a second time, they would lead further"
        notice(f"{amount(move.links, 'row')} {said}: migrate once", chosen)


def _told(row: Row) -> str:
    return f"{row.old} ({row.old_at.file}:{row.old_at.line})"


def _listed(texts: Iterable[str]) -> str:
    every = list(texts)
    more = f" and {len(every) - _NAMED} more" if len(every) > _NAMED else ""
    return ", ".join(every[:_NAMED]) + more


def _tell_next(session: Session, move: _Move) -> None:
    """Tell what follows: a commit, a plan, and letting go of what the ledger has of the old references."""
    from reconciler.cli.declaring import recorded
    from reconciler.cli.output import notice
    from reconciler.cli.suggestion import command_line

    chosen = session.options
    whole = Options(directory=chosen.directory, config=chosen.config, target=chosen.target)
    notice(f"Next, once it is committed: {command_line('plan', whole)}", chosen, whole=True)
    known = recorded(session) or ()
    left = sorted(set(known) & move.refs.keys() - set(move.refs.values()))
    if left:
        names, others = _names(left, known, {move.refs.get(ref, ref) for ref in move.declared.anywhere})
        also = f" (and of {others} more that left the manifests)" if others else ""
        notice(
            f"Next, to let go of what the ledger has of the old references{also}: "
            f"{command_line('forget', whole)} {shlex.join(names)}",
            chosen,
            whole=True,
        )


def _names(left: list[Ref], recorded: Iterable[Ref], declared: Collection[Ref]) -> tuple[list[str], int]:
    """Return what to call some released resources, globs where they are many, and how many others these mean."""
    if len(left) <= _NAMED:
        return list(map(str, left)), 0
    kinds = sorted({ref.kind for ref in left})
    meant = sum(ref.kind in kinds and ref not in declared for ref in recorded)
    return [f"{kind}/*" for kind in kinds], meant - len(left)
