"""`reconciler import --all`: what lists show, into manifests."""

from __future__ import annotations

import sys
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reconciler.cli.candidates import scope_of
from reconciler.cli.declaring import Files, check_above, declared
from reconciler.cli.listing import list_all, tell_listed
from reconciler.cli.output import notice, room_on, say
from reconciler.cli.places import place_of
from reconciler.cli.report import Report
from reconciler.cli.session import When, open_session
from reconciler.cli.spool import Spool, Unusable, open_spool, sweep
from reconciler.errors import ReconcilerError
from reconciler.manifest.writer import Declaration
from reconciler.words import amount

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from reconciler.cli.candidates import Scope
    from reconciler.cli.listing import Listed
    from reconciler.cli.options import Options
    from reconciler.cli.session import Session
    from reconciler.model import Metadata, Ref

    Place = Callable[[Ref, Metadata], Path | None]


@dataclass(frozen=True, slots=True)
class Wish:
    """What of all that can be listed is wanted, and where it is to go."""

    kinds: tuple[str, ...] = ()
    where: tuple[str, ...] = ()
    below: tuple[str, ...] = ()
    into: str | None = None
    split_by: str | None = None
    fresh: bool = False


def import_all(chosen: Options, wish: Wish) -> int:
    """List everything that is wished for, and declare what no manifest declares; return the exit code."""
    report = Report("plan")
    session = open_session(chosen, report, manifests=When.NONE)
    place = place_of(session, wish.into, wish.split_by)
    if wish.into not in (None, "-"):
        check_above(session, chosen.at(str(wish.into)).resolve())
    known = declared(session)
    scope = scope_of(session.target, wish.kinds, wish.where, wish.below, known)
    spool = _spool(session, scope, fresh=wish.fresh)
    try:
        listed = list_all(session, scope, lambda ref: ref not in known, spool=spool)
        tell_listed(session, report, scope, listed)
        if session.brake.pulled:
            _tell_kept(session, listed, spool)
        else:
            _write(session, report, listed, place, spool)
    finally:
        if spool is not None:
            spool.leave()
    session.interruption.note(report)
    say(_errors(report, chosen), chosen, err=True)
    return report.exit_code


def _errors(report: Report, chosen: Options) -> str:
    """Return the errors of a run as text for standard error."""
    from reconciler.render import terminal

    return terminal.errors(report.view(), room_on(sys.stderr, chosen))


def _spool(session: Session, scope: Scope, *, fresh: bool) -> Spool | None:
    """Return where what lists show is kept for a run after this one; `None` where that cannot be."""
    sweep(session)
    try:
        spool = open_spool(session, scope, fresh=fresh)
    except Unusable as error:
        notice(f"This import cannot be resumed if it is interrupted: {error}.", session.options)
        return None
    if spool.earlier:
        notice("Going on where an interrupted import of the same was; --fresh begins anew.", session.options)
    return spool


def _tell_kept(session: Session, listed: Listed, spool: Spool | None) -> None:
    """Tell what has become of what was listed before the run ended early: nothing of it is in a manifest."""
    if spool is not None and spool.failed is None and listed.shown:
        objects = amount(listed.shown, "object")
        notice(f"No manifest was written; {objects} were listed. The same command goes on from there.", session.options)
    else:
        notice("No manifest was written.", session.options)


def _write(session: Session, report: Report, listed: Listed, place: Place, spool: Spool | None) -> None:
    """Write the manifests; what can be listed next time only, the spool keeps its place for."""
    files = Files(report, session)
    groups: dict[Path, list[Declaration]] = defaultdict(list)
    printed: list[Declaration] = []
    for ref in sorted(listed.found):
        metadata = listed.found.pop(ref)
        path = place(ref, metadata)
        (printed if path is None else groups[path]).append(Declaration(ref, metadata))
    if printed:
        files.print(printed)
    try:
        files.write(groups)
    except ReconcilerError as error:
        report.fail(error)
        if not files.written:
            _tell_kept(session, listed, spool)
            return
    files.tell()
    _tell_left(session, listed.declared | files.declared)
    if not (files.written or printed or listed.declared or files.declared or report.problems):
        notice("There is nothing to import.", session.options)
    if spool is not None:
        _end(session, spool, settled=listed.complete and files.done)


def _tell_left(session: Session, left: set[Ref]) -> None:
    if left:
        are = "is" if len(left) == 1 else "are"
        notice(f"{amount(len(left), 'resource')} {are} declared already, and left alone.", session.options)


def _end(session: Session, spool: Spool, *, settled: bool) -> None:
    """Take the spool away where everything is in the manifests; else the next run goes on from it."""
    if settled:
        spool.settle()
    elif spool.failed is None:
        notice("The same command tries again what failed, and only that.", session.options)
