"""`reconciler validate`: manifests and settings, offline."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from reconciler.cli.options import OUTPUT, WHERE, Options, options
from reconciler.cli.report import Report, reported

if TYPE_CHECKING:
    from typing import Any


@click.command()
@options("paths", *WHERE, *OUTPUT)
def validate(**given: Any) -> int:
    """Check manifests and settings, offline.

    Every problem of all files is listed in one run, each with its place and what to do about it. Exit code 3 if
    there are any.

    \b
    Example:
      reconciler validate
      reconciler validate manifests/support.yaml --format json
    """
    chosen = Options(**given)
    return reported("validate", chosen, lambda report: _validate(report, chosen))


def _validate(report: Report, chosen: Options) -> None:
    from reconciler.cli.session import When, load, open_session
    from reconciler.document import SummaryPart

    session = open_session(chosen, report, manifests=When.LATER)
    # Their number is all that is wanted of what is valid: no resource is made for it.
    report.parts["summary"] = SummaryPart(resources=len(load(session.settings, chosen, session.cache)))
