"""`reconciler ledger`: look into the record of what was applied."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from reconciler.cli.options import WHERE, Options, completing, options

if TYPE_CHECKING:
    from typing import Any

    from reconciler.ledger import Ledger
    from reconciler.model import Base, Ref


@click.group()
def ledger() -> None:
    """Look into the record of what was applied to a target.

    It lies in commits under refs/reconciler/TARGET of this repository, beside the branches.

    \b
    Example:
      reconciler ledger show 'thread/*'
    """


@ledger.command()
@click.argument("names", nargs=-1, metavar="[KIND/ID]...", shell_complete=completing("recorded"))
@options(*WHERE, "listing", "color")
def show(names: tuple[str, ...], **given: Any) -> int:
    """Show the base of each resource: what was last applied to it, field by field. Names may be globs.

    As text and as JSON only.

    \b
    Examples:
      reconciler ledger show
      reconciler ledger show 'thread/*' --target local --color never
      reconciler ledger show thread/thread_abc123 --format json
    """
    from reconciler.cli.memory import fetched, tell_notes
    from reconciler.cli.output import room_on, say
    from reconciler.cli.report import Report
    from reconciler.cli.session import When, open_session
    from reconciler.errors import WrongUsage
    from reconciler.masks import masked_base
    from reconciler.render import past
    from reconciler.words import dumped

    chosen, report = Options(**given), Report("plan")
    session = open_session(chosen, report, manifests=When.NONE)
    found = fetched(session, report)
    tell_notes(report, chosen)
    if found is None:
        raise WrongUsage(
            "there is no ledger of this target here; the first `reconciler apply` makes one, `git fetch` brings one"
        )
    bases = {ref: masked_base(base, session.target.mask) for ref, base in _chosen(found, names).items()}
    if chosen.format == "json":
        say(dumped(past.ledger_content(found.tip, found.applied, bases)) + "\n", chosen)
    else:
        say(past.ledger(found.tip, found.applied, bases, room_on(sys.stdout, chosen)), chosen)
    return 0


def _chosen(found: Ledger, names: tuple[str, ...]) -> dict[Ref, Base]:
    from reconciler.errors import WrongUsage
    from reconciler.model import matches
    from reconciler.words import shown

    everything = found.everything()
    if not names:
        return everything
    chosen = {ref: base for ref, base in everything.items() if matches(str(ref), names)}
    if not chosen:
        raise WrongUsage(
            f"the ledger has nothing of {shown(' '.join(names))}; `reconciler ledger show` lists what it has"
        )
    return chosen
