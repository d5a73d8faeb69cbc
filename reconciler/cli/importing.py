"""`reconciler import`: write manifests for resources that exist."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

from reconciler.cli.options import WHERE, Options, completing, options

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path
    from typing import Any

    from reconciler.cli.report import Report
    from reconciler.cli.session import Session
    from reconciler.manifest.writer import Declaration
    from reconciler.model import Reading, Ref


@click.command("import")
@click.argument("names", nargs=-1, metavar="[KIND/ID]...", shell_complete=completing("importable"))
@click.option(
    "--ids-from",
    metavar="FILE|-",
    shell_complete=completing("paths"),
    help="Read more of them from a file, or standard input: one a line.",
)
@click.option(
    "--into",
    metavar="FILE",
    shell_complete=completing("paths"),
    help="The manifest to write or extend; else it goes to standard output.",
)
@options(*WHERE, "parallelism", "verbose", "color", "quiet")
def command(names: tuple[str, ...], ids_from: str | None, into: str | None, **given: Any) -> int:
    """Write what exists into a manifest, so that the next plan finds nothing to do.

    What is declared already is left alone, and so is what no manifest may hold; both are told. Without --into the
    manifest goes to standard output.

    \b
    Examples:
      reconciler import thread/thread_abc123 --into manifests/support.yaml
      reconciler import --ids-from ids.txt --parallelism 8 --verbose
      sed 's|^|thread/|' threads.txt | \\
        reconciler import --ids-from - --into manifests/all.yaml
    """
    from reconciler.cli.output import room_on, say
    from reconciler.cli.planning import look
    from reconciler.cli.report import Report
    from reconciler.cli.session import When, open_session
    from reconciler.errors import WrongUsage
    from reconciler.render import terminal

    chosen, report = Options(**given), Report("plan")
    if not names and ids_from is None:
        raise WrongUsage("name what to import: KIND/ID, or --ids-from FILE")
    session = open_session(chosen, report, manifests=When.NONE)
    if session.target.mask and into is None:
        raise WrongUsage("the settings mask values, and standard output would show them: name a file by --into")
    _check_place(chosen, into)
    wanted = list(dict.fromkeys(map(_ref, [*names, *_lines(chosen, ids_from)])))
    known = _declared(session)
    observation = look(session, [ref for ref in wanted if ref not in known])
    _tell(chosen, known, wanted)
    for refusal in observation.refusals:
        report.fail(refusal)
    _write(report, chosen, session, list(_declarations(report, observation.readings)), into)
    session.interruption.note(report)
    say(terminal.errors(report.view(), room_on(sys.stderr, chosen)), chosen, err=True)
    return report.exit_code


# --- which resources --------------------------------------------------------------------------------------------------


def _lines(chosen: Options, ids_from: str | None) -> Iterator[str]:
    """Yield the lines that name something; empty ones and those that begin with # do not."""
    from reconciler.errors import WrongUsage
    from reconciler.manifest.files import read_file

    if ids_from is None:
        return
    try:
        data = sys.stdin.buffer.read() if ids_from == "-" else read_file(chosen.at(ids_from), pipes=True)
        text = data.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else error.strerror
        raise WrongUsage(f"cannot read {ids_from}: {reason}; name a file with a KIND/ID on each line") from error
    yield from (line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#"))


def _ref(name: str) -> Ref:
    """Return the reference that a name stands for. Raises `WrongUsage`."""
    from reconciler.errors import WrongUsage
    from reconciler.kinds import KINDS
    from reconciler.model import Ref
    from reconciler.words import meant, shown

    kind, slash, own = name.partition("/")
    if not slash:
        raise WrongUsage(f"{shown(name)} names no resource: write KIND/ID, such as thread/thread_abc123")
    if kind not in KINDS:
        raise WrongUsage(f"there is no kind {shown(kind)}; {meant(kind, KINDS)}")
    if not KINDS[kind].valid_id(own):
        form = "parent/child, both" if KINDS[kind].nested else "an id"
        raise WrongUsage(f"{shown(own)} is no id of a {KINDS[kind].noun}: write {form} of A-Z a-z 0-9 . _ : -")
    return Ref(kind, own)


def _declared(session: Session) -> dict[Ref, str]:
    """Return what the manifests that there are declare already, and where."""
    from reconciler import manifest

    loaded = manifest.load(_manifests(session), root=session.settings.root)
    return {one.ref: str(one.location) for one in loaded.resources}


def _manifests(session: Session) -> list[Path]:
    """Return the manifests that there are by now."""
    from reconciler import manifest

    existing = [path for path in session.target.manifests if path.exists()]
    found = manifest.find(existing, root=session.settings.root, skip=session.settings.own_files)
    return [file.path for file in found.files]


def _tell(chosen: Options, known: Mapping[Ref, str], wanted: Iterable[Ref]) -> None:
    from reconciler.cli.output import notice

    for ref in wanted:
        if ref in known:
            notice(f"{ref} is declared already, at {known[ref]}; it is left alone", chosen)


def _declarations(report: Report, readings: Mapping[Ref, Reading]) -> Iterator[Declaration]:
    """Yield what was found; what was not is told."""
    from reconciler.cli.planning import RUN_WIDE
    from reconciler.errors import ExitCode, Problem
    from reconciler.manifest.writer import Declaration
    from reconciler.model import EMPTY, Observed

    for ref, reading in sorted(readings.items()):
        if isinstance(reading, Observed):
            yield Declaration(ref, reading.metadata or EMPTY)
        elif reading.fault.code not in RUN_WIDE:
            report.note(ExitCode.ERROR, Problem(reading.fault.code, f"{ref}: {reading.fault}"))


def _check_place(chosen: Options, into: str | None) -> None:
    """Raise `WrongUsage` where the manifest cannot be written, before any call; folders on the way are made later."""
    from reconciler.errors import WrongUsage

    if into is None:
        return
    path = chosen.at(into).resolve()
    above = next(one for one in path.parents if os.path.lexists(one))
    if path.is_dir():
        raise WrongUsage(f"--into: {into} is a folder; name a file in it")
    if not above.is_dir():
        raise WrongUsage(f"--into: {above} is no folder; name another file")
    if not os.access(above, os.W_OK | os.X_OK):
        raise WrongUsage(f"--into: you may not write into {above}; make that possible, or name another file")


# --- the manifest -----------------------------------------------------------------------------------------------------


def _write(
    report: Report, chosen: Options, session: Session, declarations: list[Declaration], into: str | None
) -> None:
    from reconciler.cli.output import make_folder, notice, say, write_file
    from reconciler.errors import ExitCode, Problem
    from reconciler.manifest import writer
    from reconciler.manifest.files import name_of
    from reconciler.words import amount

    path = chosen.at(into) if into is not None else None
    name = name_of(path, session.settings.root) if path else "the manifest"
    before = _before(path, name)
    written = writer.declare(before, name, declarations)
    for refusal in written.refused:
        named = f", {refusal.key}" if refusal.key else ""
        message = f"{refusal.ref}{named}: {refusal.message}"
        report.note(ExitCode.ERROR, Problem("not_imported", message, refusal.location))
    if path is None:
        say(written.data.decode(), chosen)
        return
    if written.data != (before or b""):
        make_folder(path.parent)
        write_file(path, written.data)
    whole = {refusal.ref for refusal in written.refused if refusal.key is None}
    imported = len(declarations) - len(whole)
    if imported:
        notice(f"Imported {amount(imported, 'resource')} into {name}.", chosen)
    if path.exists() and not any(path.samefile(known) for known in _manifests(session)):
        notice(f"{name} is not among the manifests of target {session.target.name}: nothing will read it.", chosen)


def _before(path: Path | None, name: str) -> bytes | None:
    from reconciler.errors import WrongUsage
    from reconciler.manifest.files import read_file

    if path is None or not path.exists():
        return None
    try:
        return read_file(path)
    except OSError as error:
        raise WrongUsage(f"cannot read {name}: {error.strerror}; name another file by --into") from error
