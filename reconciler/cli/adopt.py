"""`reconciler adopt`: take what changed outside git into the manifests."""

from __future__ import annotations

import sys
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from reconciler.cli.options import READING, WHERE, Options, options

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Any

    from reconciler.cli.report import Report
    from reconciler.cli.session import Session
    from reconciler.drift import Drift
    from reconciler.manifest.writer import Drop, Put


@click.command()
@options("paths", *WHERE, *READING, "base", "conflicts", "unattributed", "now", "yes", "color", "quiet")
def adopt(**given: Any) -> int:
    """Write into the manifests what somebody changed outside git: the change becomes the declaration.

    Only the affected lines change. Shows the patch and asks; nothing is committed. What the manifests accept already
    is left as it is, and so is what git has changed as well (--conflicts), or may have (--unattributed).

    \b
    Examples:
      reconciler adopt
      reconciler adopt --select 'thread/*' --yes
      reconciler adopt manifests/support.yaml --conflicts --unattributed --yes
    """
    from reconciler.cli.applying import check_consent
    from reconciler.cli.drift import find_drift
    from reconciler.cli.output import room_on, say
    from reconciler.cli.planning import observe_and_plan
    from reconciler.cli.report import Report
    from reconciler.cli.session import When, open_session
    from reconciler.render import terminal

    chosen, report = Options(**given), Report("drift")
    check_consent(chosen)
    session = open_session(chosen, report, manifests=When.LATER)
    made = observe_and_plan(session, report)
    found = find_drift(report, session, made)
    edits = _edits(found, chosen)
    _tell_missing(report, found)
    _write(chosen, _edited(session, report, edits), session.target.mask)
    say(terminal.errors(report.view(), room_on(sys.stderr, chosen)), chosen, err=True)
    return report.exit_code


# --- which fields -----------------------------------------------------------------------------------------------------


def _edits(found: Drift, chosen: Options) -> dict[str, list[Put | Drop]]:
    """Return the edits that make the manifests declare what was found, by file."""
    from reconciler.compare import Cause
    from reconciler.manifest.writer import Drop, Put

    causes = {Cause.DRIFT}
    causes |= {Cause.CONFLICT} if chosen.conflicts else set()
    causes |= {Cause.UNATTRIBUTED} if chosen.unattributed else set()
    edits: defaultdict[str, list[Put | Drop]] = defaultdict(list)
    for change in found.changes:
        for field in change.fields:
            location = change.desired.location
            if field.cause in causes and location and (change.ref, field.key) not in found.accepted:
                edit = Drop(change.ref, field.key) if field.before is None else Put(change.ref, field.key, field.before)
                edits[location.file].append(edit)
    return dict(edits)


def _tell_missing(report: Report, found: Drift) -> None:
    from reconciler.compare import Action
    from reconciler.errors import ExitCode, Problem

    for change in found.changes:
        if change.action is Action.MISSING:
            message = f"{change.ref} is gone: remove it from the manifest, if that is right"
            report.note(ExitCode.ERROR, Problem("missing", message, change.desired.location))


# --- the files --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Edited:
    """A manifest before and after, and the edits that lie between."""

    path: Path
    name: str
    before: bytes
    after: bytes
    edits: tuple[Put | Drop, ...]


def _edited(session: Session, report: Report, edits: dict[str, list[Put | Drop]]) -> list[_Edited]:
    from reconciler.cli.output import read_again
    from reconciler.cli.session import manifest_files
    from reconciler.errors import ExitCode, Problem
    from reconciler.manifest import writer

    files, paths = [], manifest_files(session)
    for name, wanted in sorted(edits.items()):
        path = paths[name]
        before = read_again(path, name)
        written = writer.edit(before, name, wanted)
        for refusal in written.refused:
            message = (
                f"{refusal.ref}, {refusal.key}: {refusal.message}"
                if refusal.key
                else f"{refusal.ref}: {refusal.message}"
            )
            report.note(ExitCode.ERROR, Problem("not_adopted", message, refusal.location))
        if written.data != before:
            refused = {(refusal.ref, refusal.key) for refusal in written.refused}
            made = tuple(edit for edit in wanted if (edit.ref, edit.key) not in refused)
            files.append(_Edited(path, name, before, written.data, made))
    return files


def _write(chosen: Options, files: list[_Edited], mask: tuple[str, ...]) -> None:
    from reconciler.cli.output import confirm, notice, read_again, say, say_patch, write_file
    from reconciler.errors import ReconcilerError
    from reconciler.words import amount

    if not files:
        say("Nothing to adopt.\n", chosen)
        return
    for file in files:
        say_patch(_shown(file, mask), chosen)
    if not chosen.yes:
        confirm(f"Write this into {amount(len(files), 'file')}?")
    for file in files:
        if read_again(file.path, file.name) != file.before:
            raise ReconcilerError(f"{file.name} was changed meanwhile; nothing was written to it, adopt again")
        write_file(file.path, file.after)
    fields = sum(len(file.edits) for file in files)
    notice(f"Adopted {amount(fields, 'field')}; commit it, and the next apply records it.", chosen)


def _shown(file: _Edited, mask: tuple[str, ...]) -> Iterator[str]:
    """Yield the lines of the patch; where the file has values that are masked, the edits one by one in their place."""
    from reconciler.manifest import writer
    from reconciler.masks import MASKED
    from reconciler.model import matches
    from reconciler.words import named, quoted

    if not _has_masked(file, mask):
        yield from writer.patch(file.before, file.after, file.name).split("\n")[:-1]
        return
    yield f"{file.name}: it has values that are masked, so that its lines are not shown"
    for edit in file.edits:
        value = getattr(edit, "value", None)
        told = MASKED if matches(edit.key, mask) else quoted(value)
        key = named(edit.key)
        yield f"- {edit.ref}  {key}" if value is None else f"+ {edit.ref}  {key}  {told}"


def _has_masked(file: _Edited, mask: tuple[str, ...]) -> bool:
    """Tell whether any line of a manifest, before or after, may show a value that is masked."""
    from reconciler.manifest import read_manifest
    from reconciler.model import matches

    if not mask:
        return False
    resources = [one for data in (file.before, file.after) for one in read_manifest(data, file.name).resources]
    globs = {each.key for one in resources for each in one.accept}
    keys = {key for one in resources for key in one.metadata} | globs
    return any(matches(key, mask) for key in keys) or any(set(glob) & set("*?[") for glob in globs)
