"""The options that several commands share, and the value that holds them."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from reconciler.compare import Cause, Selection
from reconciler.diff import Op
from reconciler.render import FORMATS

if TYPE_CHECKING:
    from collections.abc import Callable

    from click.shell_completion import CompletionItem

    from reconciler.shards import Shard

Command = TypeVar("Command", bound="Callable[..., object]")

LEAST_BYTES = 2048
"""What `--max-bytes` may be at least: less has no room for the counts."""


@dataclass(frozen=True, slots=True)
class Options:
    """What was said on the command line; a command that lacks an option leaves its default."""

    directory: str = "."
    config: str | None = None
    target: str | None = None
    paths: tuple[str, ...] = ()
    select: tuple[str, ...] = ()
    shard: Shard | None = None
    parallelism: int | None = None
    format: str = "text"
    out: tuple[tuple[str, str], ...] = ()
    color: str = "auto"
    quiet: bool = False
    verbose: bool = False
    show_all: bool = False
    detailed_exitcode: bool = False
    only: Selection | None = None
    max_changed: float | None = None
    max_removed: float | None = None
    yes: bool = False
    base: str | None = None
    changed_since: str | None = None
    blame: bool = False
    prune: bool = False
    offline: bool = False
    allow_rewind: bool = False
    now: dt.date | None = None
    conflicts: bool = False
    unattributed: bool = False
    max_requests: int | None = None
    max_bytes: int | None = None
    mark_since: str | None = None

    @property
    def cwd(self) -> Path:
        """Return the folder that paths are relative to."""
        return Path(self.directory).resolve()

    def at(self, path: str) -> Path:
        """Return a path as it was meant."""
        return self.cwd / path


class _Number(click.IntRange):
    """A whole number of at least `least` and at most `most`; any other is told with an example."""

    def __init__(self, least: int, most: int | None, example: int) -> None:
        super().__init__(least, most)
        self.example = example

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number; raises `click.BadParameter`."""
        try:
            number: int = super().convert(value, param, ctx)
        except click.BadParameter:
            bounds = f"from {self.min} to {self.max}" if self.max is not None else f"of {self.min} or more"
            self.fail(f"{value!r} is no whole number {bounds}; write such as {self.example}.", param, ctx)
        return number


def _out(_context: click.Context, _option: click.Parameter, values: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    found = []
    for value in values:
        form, equals, file = value.partition("=")
        if not equals or not file or form not in FORMATS:
            raise click.BadParameter(
                f"write FORMAT=FILE with a format out of {', '.join(FORMATS)}, such as json=plan.json."
            )
        found.append((form, file))
    return tuple(found)


def _only(_context: click.Context, _option: click.Parameter, value: str | None) -> Selection | None:
    if value is None:
        return None
    words = [word.strip() for word in value.split(",")]
    causes, ops = {str(cause) for cause in Cause}, {str(op) for op in Op}
    unknown = [word for word in words if word not in causes | ops]
    if unknown:
        known = ", ".join([*map(str, Cause), *map(str, Op)])
        raise click.BadParameter(f"{unknown[0]!r} is neither a cause nor an op; known: {known}.")
    return Selection(
        frozenset(Cause(word) for word in words if word in causes), frozenset(Op(word) for word in words if word in ops)
    )


def _shard(_context: click.Context, _option: click.Parameter, value: str | None) -> Shard | None:
    from reconciler.shards import parse_shard

    if value is None:
        return None
    try:
        return parse_shard(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def _percent(_context: click.Context, _option: click.Parameter, value: str | None) -> float | None:
    from reconciler.settings import parse_percent

    if value is None:
        return None
    try:
        return parse_percent(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def _day(_context: click.Context, _option: click.Parameter, value: str | None) -> dt.date | None:
    if value is None:
        return None
    try:
        day = dt.date.fromisoformat(value)
    except ValueError:
        day = None
    if day is None or day.isoformat() != value:  # other forms of ISO 8601 are read as well
        raise click.BadParameter(f"{value!r} is no date; write YYYY-MM-DD.")
    return day


def _directory(_context: click.Context, _option: click.Parameter, value: str) -> str:
    if not Path(value).is_dir():
        raise click.BadParameter(f"{value} is no folder; name one that is there.")
    return value


def completing(source: str) -> Callable[[click.Context, click.Parameter, str], list[CompletionItem]]:
    """Return what completes a parameter from one of the sources of `completing`, loaded once a shell asks."""

    def complete(context: click.Context, parameter: click.Parameter, begun: str) -> list[CompletionItem]:
        from reconciler.cli import completing as sources

        found: list[CompletionItem] = getattr(sources, source)(context, parameter, begun)
        return found

    return complete


_OPTIONS: dict[str, Callable[[Any], Any]] = {
    "paths": click.argument("paths", nargs=-1, metavar="[PATH]...", shell_complete=completing("paths")),
    "directory": click.option("-C", "directory", metavar="DIR", default=".", callback=_directory,
                              shell_complete=completing("folders"),
                              help="Run as if started in this folder."),
    "config": click.option("--config", metavar="FILE", shell_complete=completing("paths"),
                           help="The settings file; else RECONCILER_CONFIG, else reconciler.yaml, searched upwards."),
    "target": click.option("--target", metavar="NAME", shell_complete=completing("targets"),
                           help="The target; else RECONCILER_TARGET, else the settings' default_target."),
    "select": click.option("--select", metavar="GLOB", multiple=True, shell_complete=completing("declared"),
                           help="Only resources whose kind/id matches (case-sensitive, * crosses /).  [repeatable]"),
    "shard": click.option("--shard", metavar="I/N", callback=_shard,
                          help="Only the I-th of N parts, such as 2/4; together they are the whole."),
    "parallelism": click.option("--parallelism", metavar="N", type=_Number(1, 1000, 8),
                                help="Calls at a time; else the target's own."),
    "format": click.option("--format", type=click.Choice(list(FORMATS)), default="text", show_default=True,
                           help="What goes to standard output."),
    "listing": click.option("--format", type=click.Choice(["text", "json"]), default="text", show_default=True,
                            help="What goes to standard output."),
    "out": click.option("--out", metavar="FORMAT=FILE", multiple=True, callback=_out,
                        shell_complete=completing("files_of_formats"),
                        help="Write the result to a file as well.  [repeatable]"),
    "max_bytes": click.option("--max-bytes", metavar="N", type=_Number(LEAST_BYTES, None, 60000),
                              help="How long markdown may be; else 65536, the limit of a GitHub comment."),
    "color": click.option("--color", type=click.Choice(["auto", "always", "never"]), default="auto", show_default=True,
                          help="Colours; auto means on a terminal, unless NO_COLOR is set."),
    "quiet": click.option("--quiet", "-q", is_flag=True, help="No progress, and of text only errors and the summary."),
    "verbose": click.option("--verbose", "-v", is_flag=True, help="Log each request on standard error."),
    "all": click.option("--all", "show_all", is_flag=True, help="List resources that stay as they are, too."),
    "detailed_exitcode": click.option("--detailed-exitcode", is_flag=True, help="Exit with 2 if anything differs."),
    "only": click.option("--only", metavar="CAUSE|OP,...", callback=_only, shell_complete=completing("causes_and_ops"),
                         help="Only fields of these causes and ops, such as drift or add,replace."),
    "max_changed": click.option("--max-changed", metavar="P", callback=_percent,
                                help="Refuse to replace or remove on more than P % of the resources."),
    "max_removed": click.option("--max-removed", metavar="P", callback=_percent,
                                help="Refuse to remove more than P % of the pairs."),
    "max_requests": click.option("--max-requests", metavar="N", type=_Number(0, None, 500),
                                 help="Refuse to begin what is forecast to take more calls than this."),
    "yes": click.option("--yes", is_flag=True, help="Do not ask; needed where there is no terminal."),
    "base": click.option("--base", metavar="REV|none", shell_complete=completing("bases"),
                         help="Take what this revision declares for what was applied last, in place of the ledger."),
    "changed_since": click.option("--changed-since", metavar="REV", shell_complete=completing("revisions"),
                                  help="Only resources whose declaration differs from that of a revision."),
    "mark_since": click.option("--mark-since", metavar="REV", shell_complete=completing("revisions"),
                               help="Tell apart what differs because of changes since they branched off a revision."),
    "blame": click.option("--blame", is_flag=True, help="Name the commit, author and date of each declared field."),
    "prune": click.option("--prune", is_flag=True,
                          help="Remove what was applied to resources that left the manifests."),
    "offline": click.option("--offline", is_flag=True,
                            help="Ask nobody: what the base declares stands for what is there."),
    "allow_rewind": click.option("--allow-rewind", is_flag=True, help="Apply a commit older than the applied one."),
    "now": click.option("--now", metavar="DATE", callback=_day,
                        help="The day that accepted drift is held against (YYYY-MM-DD); else today."),
    "conflicts": click.option("--conflicts", is_flag=True, help="Take fields, too, that git has changed as well."),
    "unattributed": click.option("--unattributed", is_flag=True, help="Take fields, too, whose base is unknown."),
}  # fmt: skip

WHERE = ("directory", "config", "target")
OUTPUT = ("format", "out", "max_bytes", "color", "quiet")
READING = ("select", "shard", "changed_since", "parallelism", "max_requests", "verbose")
TOLD = ("all", "mark_since", "blame")
GUARDS = ("max_changed", "max_removed")


def options(*names: str) -> Callable[[Command], Command]:
    """Return a decorator that gives a command these options, listed in this order in its help."""

    def decorate(command: Command) -> Command:
        for name in reversed(names):
            command = _OPTIONS[name](command)
        return command

    return decorate


def narrowing(only: str) -> Callable[[Command], Command]:
    """Give a command the options that tell what of all that can be listed is meant; each help begins with `only`."""
    kind = click.option(
        "--kind",
        "kinds",
        metavar="KIND",
        multiple=True,
        shell_complete=completing("kinds"),
        help=f"{only} this kind; an error where it cannot be listed.  [repeatable]",
    )
    where = click.option(
        "--where",
        metavar="KEY=VALUE",
        multiple=True,
        help=f"{only} what has this pair; several must all hold.  [repeatable]",
    )
    below = click.option(
        "--below",
        metavar="KIND/ID",
        multiple=True,
        shell_complete=completing("importable"),
        help=f"{only} what lives below this parent, which need not be listed itself.  [repeatable]",
    )
    return lambda command: kind(where(below(command)))
