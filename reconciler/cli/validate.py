"""`reconciler validate`: manifests and settings, offline."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from reconciler.cli.options import OUTPUT, WHERE, Options, options

if TYPE_CHECKING:
    from typing import Any

    from reconciler.cli.report import Report


@click.command()
@options("paths", *WHERE, *OUTPUT)
def validate(**given: Any) -> int:
    """Check manifests and settings. It works offline: nobody is asked anything.

    Every problem of all files is listed in one run, each with its place and what to do about it. Exit code 3 if
    there are any.

    \b
    Examples:
      reconciler validate
      reconciler validate manifests/support.yaml --format json
      reconciler validate -C . --config reconciler.yaml --quiet
    """
    from reconciler.cli.report import reported

    chosen = Options(**given)
    return reported("validate", chosen, lambda report: _validate(report, chosen))


def _validate(report: Report, chosen: Options) -> None:
    from reconciler.cli.session import When, load, open_session, remark_retired
    from reconciler.document import SummaryPart

    session = open_session(chosen, report, manifests=When.LATER)
    # Their number is all that is wanted of what is valid: no resource is made for it.
    found = load(session.settings, chosen, session.cache)
    report.parts["summary"] = SummaryPart(resources=len(found))
    remark_retired(report, session.target, found)
