"""The command line: the shell around everything, and the only place that knows everybody.

One module per command; each is imported when it is called, so that `--version` and `--help` start at once.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click
from click.exceptions import NoArgsIsHelpError

from reconciler import __version__
from reconciler.cli.helping import (
    PagedGroup,
    example_lines,
    need_working_directory,
    paged,
    with_advice,
    write_commands,
    write_manual,
)
from reconciler.errors import ExitCode, ReconcilerError, Terminated

if TYPE_CHECKING:
    from collections.abc import Sequence

    from click.shell_completion import CompletionItem

    from reconciler.errors import Problem

COMMANDS = {
    "init": "Begin here: settings, a manifest, a CI workflow.",
    "validate": "Check manifests and settings, offline.",
    "fmt": "Write manifests in canonical form.",
    "plan": "Read the current metadata and show what differs; never writes.",
    "apply": "Write what differs, after asking, and verify each answer.",
    "drift": "Tell what changed outside git since the last apply.",
    "adopt": "Take what changed outside git into the manifests.",
    "import": "Write manifests for resources that exist.",
    "orphans": "List what exists and is declared nowhere.",
    "migrate": "Rewrite manifests to new references, such as threads to conversations.",
    "show": "Show a saved plan.",
    "merge-reports": "Make one document of the documents of shards.",
    "history": "List what each apply did.",
    "rollback": "Turn one apply back.",
    "baseline": "Take what agrees now as the base, without writing.",
    "forget": "Let go of resources that left the manifests.",
    "ledger": "Look into the record of what was applied.",
    "watch": "Keep reconciling, with metrics and a status page.",
    "schema": "Print the JSON Schema of manifests or settings.",
    "completion": "Print the completion script of a shell.",
    "kinds": "List the kinds of resources that can be declared.",
    "emulate": "Serve the embedded API on loopback.",
    "demo": "A guided run of the main job, in a temporary folder.",
}
"""Each command's module has its name; the sentence is repeated here so that a list needs no import."""

_ELSEWHERE = {"import": ("importing", "command"), "merge-reports": ("merge_reports", "merge_reports")}
"""Module and function of a command whose name is a word of Python, or no name in it."""

COMPLETION_VARIABLE = "_RECONCILER_COMPLETE"
"""By which the script of a shell asks what could stand on its command line."""


class _Commands(PagedGroup):
    """A group whose commands are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        name, function = _ELSEWHERE.get(cmd_name, (cmd_name, cmd_name))
        command = getattr(importlib.import_module(f"reconciler.cli.{name}"), function)
        return paged(command, COMMANDS[cmd_name]) if isinstance(command, click.Command) else None

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        found = [CompletionItem(name, help=told) for name, told in COMMANDS.items() if name.startswith(incomplete)]
        return [*found, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        write_commands(COMMANDS, formatter)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        write_manual(example_lines(self), formatter)


def _folders(context: click.Context, parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    from reconciler.cli.completing import folders

    return folders(context, parameter, begun)


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    short_help="git as the source of truth for the metadata of threads and conversations.",
)
@click.version_option(__version__, prog_name="reconciler", message="%(prog)s %(version)s")
@click.option(
    "-C",
    "directory",
    metavar="DIR",
    shell_complete=_folders,
    help="Run as if started in this folder; also after the command.",
)
@click.pass_context
def cli(ctx: click.Context, directory: str | None) -> None:
    """Keep the metadata of threads and conversations as git declares it.

    YAML manifests declare the metadata that each id should carry. `plan` shows what differs and why, `apply` makes
    the fewest calls that remove the difference, `drift` tells what somebody changed behind git's back, and `adopt`
    takes such a change into the manifests. What the manifests do not mention belongs to others, and stays.

    The result goes to standard output; progress, questions and errors go to standard error.

    \b
    Example:
      reconciler validate
      reconciler plan
      reconciler -C . plan --detailed-exitcode
      reconciler apply --yes
      reconciler --version
    """
    if directory is not None:
        ctx.default_map = {name: {"directory": directory} for name in COMMANDS}


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit with one of the contract's codes."""
    _open_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # an arrow must not crash a terminal that has none
            stream.reconfigure(errors="backslashreplace")
    with contextlib.suppress(ValueError):  # only the main thread may listen to signals
        if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, _terminate)
    shell = os.environ.pop(COMPLETION_VARIABLE, None)  # click would look at it as well
    sys.exit(_complete(shell) if shell is not None and _has_script(shell) else _run(arguments))


def _open_closed_streams() -> None:
    """Give the process an output to nowhere where it was started with a closed one (`>&-`)."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - open to the end


def _terminate(_number: int, _frame: object) -> NoReturn:
    raise Terminated


def _has_script(shell: str) -> bool:
    """Tell whether a script of ours asks; a variable that anything else has set must not silence a command."""
    from reconciler.cli.completing import SCRIPTS

    return shell in SCRIPTS


def _complete(shell: str) -> int:
    from reconciler.cli.completing import answer

    return answer(cli, shell)


def _run(arguments: Sequence[str] | None) -> int:
    try:
        code = cli.main(arguments, prog_name="reconciler", standalone_mode=False)
    except click.ClickException as error:
        _show(error)
        return ExitCode.USAGE if isinstance(error, click.UsageError) else ExitCode.ERROR
    except click.Abort:
        return ExitCode.INTERRUPTED
    except ReconcilerError as error:
        for problem in error.problems():
            click.echo(_line(problem), err=True)
        return error.exit_code
    except OSError as error:
        return _of_system(error)
    except Terminated:
        return ExitCode.TERMINATED
    except Exception as error:  # noqa: BLE001 - a mistake of ours must not end in a trace
        return _told(error)
    return code if isinstance(code, int) else ExitCode.DONE


def _show(error: click.ClickException) -> None:
    """Show what click says of a command line, which it repeats as it is, in the form of every other error."""
    from reconciler.errors import Problem

    if isinstance(error, NoArgsIsHelpError):
        click.echo(error.format_message(), err=True)
        return
    said = _said(error)
    if not isinstance(error, click.UsageError):
        click.echo(_line(Problem("error", said)), err=True)
        return
    if error.ctx is not None:
        click.echo(error.ctx.get_usage(), err=True)
    click.echo(_line(Problem("wrong_usage", with_advice(said, error.ctx))), err=True)


def _said(error: click.ClickException) -> str:
    if isinstance(error, click.NoSuchOption):
        return _of_option(error)
    said = " ".join(error.format_message().split()).rstrip(".")
    return f"{said[:1].lower()}{said[1:]}"


def _of_option(error: click.NoSuchOption) -> str:
    """Say that there is no such option, and the one that was probably meant: begun like it, else much like it."""
    from reconciler.words import closest, shown

    params = error.ctx.command.get_params(error.ctx) if error.ctx is not None else []
    known = [name for one in params if isinstance(one, click.Option) for name in one.opts if name.startswith("--")]
    name = error.option_name
    match = next((one for one in known if one.startswith(name)), None) or closest(name, known)
    return f"there is no option {shown(name)}{f'; did you mean {match}?' if match else ''}"


def _line(problem: Problem) -> str:
    """Return an error as every command words one: its place, what is wrong, its code."""
    from reconciler.cli.advice import advised
    from reconciler.words import plain

    problem = advised(problem)
    place = f"{plain(str(problem.location))}: " if problem.location else ""
    return f"{place}error: {plain(problem.message)} [{problem.code}]"


def _told(error: Exception) -> int:
    """Tell of an error that nobody made one of ours."""
    from reconciler.errors import Problem, internal_fault

    if isinstance(error, OSError):
        message = f"{error.filename}: {error.strerror}; see whether it is there, and whose it is"
        click.echo(_line(Problem("error", message)), err=True)
    else:
        click.echo(_line(Problem("internal", internal_fault(error).message)), err=True)
    return ExitCode.ERROR


def _of_system(error: OSError) -> int:
    """Tell of an error of the system; one that names no file is about the working directory, or the streams."""
    if error.filename is not None:
        return _told(error)
    try:
        need_working_directory()
    except ReconcilerError as gone:
        click.echo(_line(gone.problems()[0]), err=True)
        return gone.exit_code
    _silence()  # the streams themselves: a full disk, a reader that went away
    return ExitCode.DONE if isinstance(error, BrokenPipeError) else ExitCode.ERROR


def _silence() -> None:
    """Let nobody write to standard output again: the interpreter would try once more at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
