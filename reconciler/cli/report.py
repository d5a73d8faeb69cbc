"""What a command will say at its end: the parts of its document, its errors, its exit code.

A document is written before the process ends, whatever happened; so every command does its work inside
`reported`, which turns errors of our family into entries of the document and an exit code.
"""

from __future__ import annotations

import sys
import traceback
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from reconciler.cli.advice import advised
from reconciler.cli.output import check_files, deliver, notice, room_on, say, write_files
from reconciler.cli.signals import delivering
from reconciler.cli.suggestion import suggestions
from reconciler.document import Document, DocumentKind, Reason, ShardPart, finding
from reconciler.errors import ExitCode, Problem, ReconcilerError, Terminated, WrongUsage, internal_fault, worst
from reconciler.masks import masked
from reconciler.render import terminal
from reconciler.words import plain

if TYPE_CHECKING:
    from collections.abc import Callable

    from reconciler.cli.options import Options


@dataclass(slots=True)
class Report:
    """Grows while a command works; `told` errors, and the plan if there were any, were shown already as text.

    `mask` are the globs of keys whose values nobody is shown: `document` has the true values, `view` is for everybody.
    """

    kind: DocumentKind
    parts: dict[str, Any] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    codes: list[ExitCode] = field(default_factory=list)
    notes: list[Reason] = field(default_factory=list)
    told: int | None = None
    mask: tuple[str, ...] = ()
    _noted: set[Problem] = field(default_factory=set)
    _advised: set[str] = field(default_factory=set)

    def note(self, code: ExitCode, *problems: Problem) -> None:
        """Add entries to `errors`, each once, the first of a kind with advice, and a code that the run may end with."""
        self.codes.append(code)
        for problem in problems:
            if problem not in self._noted:
                self.problems.append(problem if problem.code in self._advised else advised(problem))
            self._noted.add(problem)
            self._advised.add(problem.code)

    def remark(self, code: str, message: str) -> None:
        """Add something that a reader should know beside the result; it changes no exit code."""
        self.notes.append(Reason(code=code, message=message))

    def fail(self, error: ReconcilerError) -> None:
        """Add an error of our family."""
        self.note(error.exit_code, *error.problems())

    def interrupted(self, code: ExitCode, name: str) -> None:
        """Add an interruption by the signal of this name, unless one is told already."""
        if not {ExitCode.INTERRUPTED, ExitCode.TERMINATED} & set(self.codes):
            self.note(code, Problem("interrupted", f"the run was interrupted by {name}"))

    def document(self) -> Document:
        """Return the document as it stands, with all values; what leaves the program is `view`."""
        errors = tuple(map(finding, self.problems))
        code = int(self.exit_code)
        return Document(kind=self.kind, errors=errors, notes=tuple(self.notes), exit_code=code, **self.parts)

    def view(self) -> Document:
        """Return the document as it may be shown and written to files."""
        return masked(self.document(), self.mask)

    @property
    def exit_code(self) -> ExitCode:
        """Return the code that counts."""
        return worst(self.codes)


def reported(kind: DocumentKind, options: Options, work: Callable[[Report], None]) -> int:
    """Do the work of a command, deliver its document, and return its exit code."""
    report = begun(kind, options)
    failed = filled(report, options, work)
    with delivering():
        _deliver(report, options, failed=failed)
        if options.format == "text" and not options.quiet:
            for said in suggestions(report.view(), options):
                notice(said, options, whole=True)
    return report.exit_code


def begun(kind: DocumentKind, options: Options) -> Report:
    """Return the report of a command that begins."""
    return Report(kind, parts={"shard": _shard_part(options)})


def filled(report: Report, options: Options, work: Callable[[Report], None]) -> bool:
    """Do the work of a command; whatever ends it early is in the report. Tell whether anything did."""
    try:
        check_files(options)
        _check_shard(report.kind, options)
        work(report)
    except ReconcilerError as error:
        report.fail(error)
    except KeyboardInterrupt:
        report.interrupted(ExitCode.INTERRUPTED, "SIGINT")
    except Terminated:
        report.interrupted(ExitCode.TERMINATED, "SIGTERM")
    except Exception as error:  # noqa: BLE001 - a mistake of ours must not cost the document, nor show a trace
        report.note(ExitCode.ERROR, Problem("internal", _internal(error, options)))
    else:
        return False
    return True


def _check_shard(kind: DocumentKind, options: Options) -> None:
    """Raise `WrongUsage` for a shard of a saved plan: its digest, and whoever looked at it, speak of all of it."""
    files = (path for path in map(options.at, options.paths) if path.suffix not in (".yaml", ".yml"))
    if kind == "apply" and options.shard is not None and any(path.is_file() for path in files):
        raise WrongUsage("a saved plan is carried out as it is; --shard is said to `plan`")


def _shard_part(options: Options) -> ShardPart | None:
    """Return which shard the command line asks for, and of what: that much the shards of a run have in common."""
    if options.shard is None:
        return None
    only = sorted(map(str, [*options.only.causes, *options.only.ops])) if options.only else ()
    asked = {
        "--select": sorted(set(options.select)),
        "--changed-since": [options.changed_since] if options.changed_since else (),
        "--base": [options.base] if options.base else (),
        "--only": [",".join(only)] if only else (),
    }
    words = [f"{name} {value}" for name, values in asked.items() for value in values]
    words += ["--prune"] if options.prune else []
    paths = sorted(set(options.paths))
    return ShardPart(index=options.shard.index, count=options.shard.count, asked=(*paths, *words))


def _internal(error: Exception, options: Options) -> str:
    if options.verbose:
        # Where it happened, not what its text says: that may hold values.
        lines = "".join(traceback.format_tb(error.__traceback__)).splitlines()
        say("".join(f"{plain(line)}\n" for line in [*lines, type(error).__name__]), options, err=True)
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return internal_fault(error).message


def _deliver(report: Report, options: Options, *, failed: bool) -> None:
    """Write the files first: whoever reads standard output may have gone away."""
    unwritten = write_files(report.view(), options)
    for error in unwritten if ExitCode.USAGE not in report.codes else ():
        report.note(error.exit_code)
        say(f"error: {plain(str(error))}\n", options, err=True)
    try:
        _show(report, options, failed=failed)
    except ReconcilerError as error:
        report.note(error.exit_code)
        say(f"error: {plain(str(error))}\n", options, err=True)


def _show(report: Report, options: Options, *, failed: bool) -> None:
    document = report.view()
    if options.format != "text":
        deliver(document, options)
    elif report.told is not None:
        say(terminal.application(document, report.told, room_on(sys.stdout, options)), options)
    elif failed and (report.kind != "validate" or ExitCode.USAGE in report.codes):
        # What kept a command from having a result is no result: it goes to standard error.
        say(terminal.errors(document, room_on(sys.stderr, options)), options, err=True)
    else:
        deliver(document, options)
