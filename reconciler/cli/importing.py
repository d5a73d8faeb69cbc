"""`reconciler import`: write manifests for resources that exist."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from reconciler.cli.options import WHERE, Options, completing, narrowing, options

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from reconciler.cli.report import Report
    from reconciler.manifest.writer import Declaration
    from reconciler.model import Reading, Ref


@click.command("import")
@click.argument("names", nargs=-1, metavar="[KIND/ID]...", shell_complete=completing("importable"))
@click.option(
    "--ids-from",
    metavar="FILE|-",
    shell_complete=completing("paths"),
    help="Read more of them from a file, or standard input: one a line.",
)
@click.option("--all", "everything", is_flag=True, help="Everything that can be listed, page by page.")
@narrowing("With --all: only")
@click.option(
    "--into",
    metavar="FILE|DIR|-",
    shell_complete=completing("paths"),
    help="The manifest to write or extend, or - for standard output; with --all also a folder.",
)
@click.option("--split-by", metavar="KEY", help="With --all: a file for each value of this key, not for each kind.")
@click.option("--fresh", is_flag=True, help="With --all: begin anew, not where an interrupted import was.")
@options(*WHERE, "parallelism", "verbose", "color", "quiet")
def command(
    names: tuple[str, ...],
    ids_from: str | None,
    into: str | None,
    *,
    everything: bool,
    kinds: tuple[str, ...],
    where: tuple[str, ...],
    below: tuple[str, ...],
    split_by: str | None,
    fresh: bool,
    **given: Any,
) -> int:
    """Write what exists into manifests, so that the next plan finds nothing to do.

    What is declared already is left alone, and so is what no manifest may hold; the latter is told. Resources that are
    named go to standard output as one manifest, unless --into names a file.

    With --all the server is asked for its lists. Each kind gets a file in the target's first folder of manifests. An
    import that was interrupted goes on where it was when it is run again within a day.

    \b
    Examples:
      reconciler import thread/thread_abc123 --into manifests/support.yaml
      reconciler import --ids-from ids.txt --parallelism 8 --verbose
      sed 's|^|thread/|' threads.txt | \\
        reconciler import --ids-from - --into manifests/all.yaml
      reconciler import --all
      reconciler import --all --kind conversation --where plan=gold --into -
      reconciler import --all --kind message --below thread/thread_1 --fresh
      reconciler import --all --kind thread --split-by plan --into manifests/plans
    """
    chosen = Options(**given)
    if everything:
        from reconciler.cli.importing_all import Wish, import_all

        _check_alone(names, ids_from)
        return import_all(chosen, Wish(kinds, where, below, into, split_by, fresh))
    _check_not_listed({"--kind": kinds, "--where": where, "--below": below, "--split-by": split_by, "--fresh": fresh})
    return _import_named(chosen, names, ids_from, into)


def _import_named(chosen: Options, names: tuple[str, ...], ids_from: str | None, into: str | None) -> int:
    from reconciler.cli.declaring import Files, check_place, declared, tell_declared
    from reconciler.cli.output import room_on, say
    from reconciler.cli.planning import look
    from reconciler.cli.report import Report
    from reconciler.cli.session import When, open_session
    from reconciler.errors import ReconcilerError, WrongUsage
    from reconciler.render import terminal

    report, into = Report("plan"), None if into == "-" else into
    if not names and ids_from is None:
        raise WrongUsage("name what to import: KIND/ID, or --ids-from FILE, or --all")
    session = open_session(chosen, report, manifests=When.NONE)
    if session.target.mask and into is None:
        raise WrongUsage("the settings mask values, and standard output would show them: name a file by --into")
    check_place(session, into)
    wanted = list(dict.fromkeys(map(_ref, [*names, *_lines(chosen, ids_from)])))
    known = declared(session)
    observation = look(session, [ref for ref in wanted if ref not in known])
    tell_declared(chosen, known, wanted)
    for refusal in observation.refusals:
        report.fail(refusal)
    files = Files(report, session)
    found = list(_declarations(report, observation.readings))
    if into is None:
        files.print(found)
    else:
        try:
            files.write({chosen.at(into): found})
        except ReconcilerError as error:
            report.fail(error)
    files.tell()
    tell_declared(chosen, files.known, sorted(files.declared))
    session.interruption.note(report)
    say(terminal.errors(report.view(), room_on(sys.stderr, chosen)), chosen, err=True)
    return report.exit_code


def _check_alone(names: tuple[str, ...], ids_from: str | None) -> None:
    from reconciler.errors import WrongUsage

    if names or ids_from is not None:
        raise WrongUsage("--all asks the server what there is: leave out KIND/ID and --ids-from, or --all")


def _check_not_listed(given: Mapping[str, object]) -> None:
    from reconciler.errors import WrongUsage

    if wrong := [name for name, value in given.items() if value]:
        raise WrongUsage(f"{' and '.join(wrong)} choose of what the server lists: say --all as well")


# --- which resources --------------------------------------------------------------------------------------------------


def _lines(chosen: Options, ids_from: str | None) -> Iterator[str]:
    """Yield the lines that name something; empty ones and those that begin with # do not."""
    from reconciler.errors import WrongUsage
    from reconciler.manifest.files import read_file

    if ids_from is None:
        return
    try:
        data = sys.stdin.buffer.read() if ids_from == "-" else read_file(chosen.at(ids_from), pipes=True)
        text = data.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else error.strerror
        raise WrongUsage(f"cannot read {ids_from}: {reason}; name a file with a KIND/ID on each line") from error
    yield from (line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#"))


def _ref(name: str) -> Ref:
    """Return the reference that a name stands for. Raises `WrongUsage`."""
    from reconciler.errors import WrongUsage
    from reconciler.manifest.mapping import BadReference, reference

    try:
        return reference(name)
    except BadReference as bad:
        raise WrongUsage(str(bad)) from None


def _declarations(report: Report, readings: Mapping[Ref, Reading]) -> Iterator[Declaration]:
    """Yield what was found; what was not is told."""
    from reconciler.cli.planning import RUN_WIDE
    from reconciler.errors import ExitCode, Problem
    from reconciler.manifest.writer import Declaration
    from reconciler.model import EMPTY, Observed

    for ref, reading in sorted(readings.items()):
        if isinstance(reading, Observed):
            yield Declaration(ref, reading.metadata or EMPTY)
        elif reading.fault.code not in RUN_WIDE:
            report.note(ExitCode.ERROR, Problem(reading.fault.code, f"{ref}: {reading.fault}"))
