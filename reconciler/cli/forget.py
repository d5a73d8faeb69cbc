"""`reconciler forget`: let go of resources that left the manifests."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from reconciler.cli.options import WHERE, Options, completing, options

if TYPE_CHECKING:
    from typing import Any

    from reconciler.cli.memory import Memory
    from reconciler.cli.session import Session
    from reconciler.model import Ref


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="KIND/ID...", shell_complete=completing("recorded"))
@options(*WHERE, "color", "quiet")
def forget(names: tuple[str, ...], **given: Any) -> int:
    """Take released resources out of the ledger; what is on them stays, and is none of ours any more.

    A resource is released when it has left the manifests; `reconciler plan` lists what is. To remove our keys from it
    first, use `apply --prune`. Names may be globs, which match as they do in --select.

    \b
    Examples:
      reconciler forget thread/thread_abc123
      reconciler forget 'conversation/*' --quiet
    """
    from reconciler.cli.memory import remember
    from reconciler.cli.output import room_on, say
    from reconciler.cli.recording import Book
    from reconciler.cli.report import Report
    from reconciler.cli.session import need_repository, open_session
    from reconciler.render import terminal
    from reconciler.words import plain

    _check(names)
    chosen, report = Options(**given), Report("apply")
    session = open_session(chosen, report)
    need_repository(session)
    memory = remember(session, report, recording=True)
    forgotten = sorted({ref for name in names for ref in _released(session, memory, name)})
    book = Book(session, memory, report.parts["head"], "forget")
    if book.record(report, dict.fromkeys(forgotten), {}, {"forgotten": len(forgotten)}):
        say(f"Forgotten: {plain(', '.join(map(str, forgotten)))}.\n", chosen)
    say(terminal.errors(report.view(), room_on(sys.stderr, chosen)), chosen, err=True)
    return report.exit_code


def _check(names: tuple[str, ...]) -> None:
    """Raise `WrongUsage` for a name that can match nothing: every one of a resource has a slash."""
    from reconciler.errors import WrongUsage
    from reconciler.words import shown

    for name in names:
        if not set(name) & set("/*?["):
            raise WrongUsage(f"{shown(name)} names no resource: write KIND/ID, such as thread/thread_abc123, or a glob")


def _released(session: Session, memory: Memory, name: str) -> list[Ref]:
    """Return the released resources that a name or glob matches; raises `WrongUsage` where there are none."""
    from reconciler.errors import WrongUsage
    from reconciler.model import matches

    found = [ref for ref in memory.released if matches(str(ref), (name,))]
    if found:
        return found
    if any(matches(str(one.ref), (name,)) for one in session.declared):
        raise WrongUsage(
            f"{name} is declared by a manifest; remove it there first: only what left them can be forgotten"
        )
    raise WrongUsage(f"no released resource is named {name}; `reconciler plan` lists those that there are")
