"""`reconciler plan`: read, compare, show. Nothing but GET is ever sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from reconciler.cli.options import OUTPUT, READING, TOLD, WHERE, Options, options

if TYPE_CHECKING:
    from typing import Any

    from reconciler.cli.report import Report


@click.command()
@options("paths", *WHERE, *READING, "base", "offline", "prune", "only", *TOLD, "detailed_exitcode", *OUTPUT)
def plan(**given: Any) -> int:
    """Read the current metadata, show what differs from the manifests, and why.

    Nothing is written: no other call than GET is ever sent. Each field that differs has a cause: pending (git has
    changed since the last apply), drift (the API has), conflict (both have), or unattributed (nobody knows what was
    applied last). A plan that was saved as JSON can be shown by `show` and carried out by `apply`.

    With a PATH only the manifests there are read, and nothing else is looked at.

    \b
    Signs: + add a key   ~ replace a value   - remove a key

    \b
    Examples:
      reconciler plan
      reconciler plan --select 'thread/*' --out json=plan.json --quiet
      reconciler plan manifests/support.yaml --all --blame --color never
      reconciler plan --target production --parallelism 8 --max-requests 500 -v
      reconciler plan --only pending,remove --prune --detailed-exitcode
      reconciler plan --changed-since origin/main --mark-since origin/main
      reconciler plan --offline --base origin/main --format json
      reconciler plan --shard 1/2 -C . --config reconciler.yaml
      reconciler plan --out markdown=plan.md --max-bytes 60000
    """
    from reconciler.cli.report import reported

    chosen = Options(**given)
    return reported("plan", chosen, lambda report: _plan(report, chosen))


def _plan(report: Report, chosen: Options) -> None:
    from reconciler.cli.forecast import Calls, forecast
    from reconciler.cli.output import notice
    from reconciler.cli.planning import judge_run, observe_and_plan
    from reconciler.cli.recording import to_remember
    from reconciler.cli.session import When, open_session
    from reconciler.document import agreeing_parts
    from reconciler.errors import ExitCode

    session = open_session(chosen, report, manifests=When.LATER)
    made = observe_and_plan(session, report)
    report.parts["whole"] = session.whole
    report.parts["agreeing"] = agreeing_parts(
        to_remember(made, git=session.repository is not None and not chosen.offline)
    )
    judge_run(session, report, made.plan.changes, made.observation.refusals)
    if made.plan.writes and not chosen.offline:
        # What a direct apply would send: it looks again, and once more just before each write.
        calls = Calls(made.observation.reads + made.plan.writes, made.plan.writes)
        notice(f"Forecast of an apply: {forecast(session, calls)}.", chosen)
    if chosen.detailed_exitcode and made.plan.differs:
        report.note(ExitCode.DIFFERENCES)
