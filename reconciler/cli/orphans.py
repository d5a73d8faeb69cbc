"""`reconciler orphans`: what exists, and is declared nowhere."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from reconciler.cli.options import WHERE, Options, narrowing, options

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from typing import Any

    from reconciler.cli.candidates import Scope
    from reconciler.cli.listing import Listed
    from reconciler.cli.report import Report
    from reconciler.cli.session import Session
    from reconciler.model import Ref

FORMAT_VERSION = "1.0"


@click.command()
@narrowing("Only")
@click.option("--detailed-exitcode", is_flag=True, help="Exit with 2 if there are any.")
@options(*WHERE, "select", "parallelism", "listing", "verbose", "color", "quiet")
def orphans(
    kinds: tuple[str, ...], where: tuple[str, ...], below: tuple[str, ...], *, detailed_exitcode: bool, **given: Any
) -> int:
    """List what the server lists, and no manifest of the target declares: one KIND/ID a line, and nothing else.

    What cannot be listed is told on standard error, and makes the list incomplete where it failed.

    \b
    Examples:
      reconciler orphans
      reconciler orphans --kind thread --where plan=gold --format json
      reconciler orphans --below thread/thread_1 --select 'message/*'
      reconciler orphans --kind vault --detailed-exitcode
      reconciler orphans | reconciler import --ids-from - --into manifests/rest.yaml
    """
    from reconciler.cli.candidates import scope_of
    from reconciler.cli.declaring import declared
    from reconciler.cli.listing import list_all, tell_listed
    from reconciler.cli.output import room_on, say
    from reconciler.cli.report import Report
    from reconciler.cli.session import When, open_session
    from reconciler.cli.spool import sweep
    from reconciler.errors import ExitCode
    from reconciler.render import terminal

    chosen, report = Options(**given), Report("plan")
    session = open_session(chosen, report, manifests=When.NONE)
    sweep(session)
    known = declared(session)
    scope = scope_of(session.target, kinds, where, below, known)
    as_json = chosen.format == "json"
    listed = list_all(session, scope, _wanted(session, known), pairs=as_json)
    tell_listed(session, report, scope, listed)
    session.interruption.note(report)
    if listed.found and detailed_exitcode:
        report.note(ExitCode.DIFFERENCES)
    say(_json(session, report, scope, listed) if as_json else _text(listed), chosen)
    _tell(session, report, listed)
    say(terminal.errors(report.view(), room_on(sys.stderr, chosen)), chosen, err=True)
    return report.exit_code


def _wanted(session: Session, known: Collection[Ref]) -> Callable[[Ref], bool]:
    from reconciler.model import matches

    globs = session.options.select
    return lambda ref: ref not in known and (not globs or matches(str(ref), globs))


def _text(listed: Listed) -> str:
    """Return one name a line; an id is of safe characters, so nothing in it acts on a terminal."""
    return "".join(f"{ref}\n" for ref in sorted(listed.found))


def _tell(session: Session, report: Report, listed: Listed) -> None:
    from reconciler.cli.output import notice
    from reconciler.words import amount

    count = len(listed.found)
    found = f"{amount(count, 'resource')} {'is' if count == 1 else 'are'} declared nowhere."
    notice(found if count else "Everything that was listed and asked for is declared.", session.options)
    if not _complete(report):
        notice("The list is not complete.", session.options)


def _complete(report: Report) -> bool:
    """Tell whether all that was to be listed was; what is passed over may be an orphan as well."""
    return not report.problems


def _json(session: Session, report: Report, scope: Scope, listed: Listed) -> str:
    from reconciler.cli.declaring import recorded
    from reconciler.cli.listing import unlisted
    from reconciler.masks import masked_pairs
    from reconciler.words import dumped

    target, released = session.target, recorded(session)
    view = report.view()
    found = [
        {
            "kind": ref.kind,
            "id": ref.id,
            "metadata": dict(masked_pairs(listed.found[ref], target.mask)),
            "released": None if released is None else ref in released,
        }
        for ref in sorted(listed.found)
    ]
    content = {
        "format_version": FORMAT_VERSION,
        "kind": "orphans",
        "target": {"name": target.name, "provider": target.provider.name, "base_url": target.base_url},
        "complete": _complete(report),
        "summary": {"listed": listed.shown, "orphans": len(found), "passed_over": len(listed.odd)},
        "kinds": sorted(scope.kinds),
        "unlisted": [{"kind": kind, "reason": why} for kind, why in sorted(unlisted(scope, listed).items())],
        "orphans": found,
        "errors": [{"code": each.code, "message": each.message} for each in view.errors],
        "exit_code": int(report.exit_code),
    }
    return f"{dumped(content)}\n"
