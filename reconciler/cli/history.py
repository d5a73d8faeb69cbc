"""`reconciler history`: what each apply did."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from reconciler.cli.options import WHERE, Options, completing, options

if TYPE_CHECKING:
    from typing import Any

    from reconciler.cli.session import Session
    from reconciler.ledger import Run


@click.command()
@click.argument("run", required=False, shell_complete=completing("runs"))
@click.option("--limit", metavar="N", type=click.IntRange(1), default=20, show_default=True, help="Runs to list.")
@options(*WHERE, "listing", "color")
def history(run: str | None, limit: int, **given: Any) -> int:
    """List the runs that the ledger records: who, when, which commit, what. With RUN, each field that it wrote.

    RUN is the id of a run, or the beginning of one that no other begins with.

    \b
    Examples:
      reconciler history
      reconciler history --limit 5 --format json
      reconciler history 20261122T141037Z-1a2b3c
    """
    from reconciler.cli.memory import fetched, tell_notes
    from reconciler.cli.output import room_on, say
    from reconciler.cli.report import Report
    from reconciler.cli.rollback import find_run
    from reconciler.cli.session import When, open_session
    from reconciler.masks import masked_run
    from reconciler.render import past
    from reconciler.words import dumped

    chosen, report = Options(**given), Report("plan")
    session = open_session(chosen, report, manifests=When.NONE)
    fetched(session, report)
    tell_notes(report, chosen)
    found = [find_run(session, run)] if run is not None else _runs(session, limit)
    found = [masked_run(one, session.target.mask) for one in found]
    if chosen.format == "json":
        content = [past.run_content(one) for one in found]
        say(dumped(content if run is None else content[0]) + "\n", chosen)
    else:
        room = room_on(sys.stdout, chosen)
        say(past.runs(found, room) if run is None else past.run(found[0], room), chosen)
    return 0


def _runs(session: Session, limit: int) -> list[Run]:
    from reconciler.cli.output import notice
    from reconciler.cli.session import need_repository
    from reconciler.ledger import store

    repository, target = need_repository(session), session.target.name
    runs = [run for _, run in store.runs(repository, target, limit=limit)]
    if len(runs) < limit and store.shallow(repository, target):
        notice("Older runs are recorded, and were never fetched into this clone.", session.options)
    return runs
