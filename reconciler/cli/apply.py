"""`reconciler apply`: plan (or take a saved plan), ask, write, verify."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from reconciler.cli.options import GUARDS, OUTPUT, READING, TOLD, WHERE, Options, options

if TYPE_CHECKING:
    from typing import Any


@click.command()
@options("paths", *WHERE, *READING, "base", "prune", "only", *TOLD, *GUARDS, "allow_rewind", "yes", *OUTPUT)
def apply(**given: Any) -> int:
    """Make the fewest calls that bring the metadata to what the manifests declare.

    Shows the plan and asks. Just before each write the resource is read again, and left alone if a key that was decided
    on has moved; after it the answer is compared. What was applied is recorded in git, beside the branches. PATH may
    be one plan file that `plan --out json=FILE` wrote: then exactly that is carried out, and what to plan is not said
    again.

    The guards refuse an apply that would change or remove more than their share; raise them where that is meant.

    \b
    Examples:
      reconciler apply
      reconciler apply --yes --only add,replace
      reconciler apply plan.json --yes
      reconciler apply --target production --yes --max-changed 50% --max-removed 10%
      reconciler apply --yes --prune --allow-rewind --out json=applied.json
    """
    from reconciler.cli.applying import carry_out
    from reconciler.cli.report import reported

    chosen = Options(**given)
    return reported("apply", chosen, lambda report: carry_out(report, chosen))
