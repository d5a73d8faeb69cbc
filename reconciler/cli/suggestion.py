"""What to do next, as a command line that can be copied: the command that follows, with the same options."""

from __future__ import annotations

import shlex
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from reconciler.compare import Action, Cause
from reconciler.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from reconciler.cli.options import Options
    from reconciler.document import Document

_MANIFESTS = (".yaml", ".yml")
_MADE = frozenset([ExitCode.DONE, ExitCode.DIFFERENCES])
_UNFINISHED = frozenset([ExitCode.INCOMPLETE, ExitCode.STALE, ExitCode.INTERRUPTED, ExitCode.TERMINATED])


def suggestions(document: Document, options: Options) -> list[str]:
    """Return the sentences that name what to do after the command that is running; none where nothing follows."""
    context = click.get_current_context(silent=True)
    command = context.info_name if context else None
    if command == "plan":
        return _after_plan(document, options)
    if command == "drift":
        return _after_drift(document, options)
    return _after_apply(document, options) if command in ("apply", "rollback") else []


def _after_plan(document: Document, options: Options) -> list[str]:
    if not (_is_made(document) and document.requests.writes):
        return []
    if document.offline:
        return [f"Next: {command_line('plan', options)}"]
    saved = None if document.masked else _saved(options)
    # An apply looks before each write, and one without a file at everything first.
    calls = 2 * document.requests.writes + (document.requests.reads if saved is None else 0)
    if _too_many(calls, options):
        return [_bounded(calls, options)]
    if saved is not None:
        # What to plan, and how, stands in the file; said again it is refused.
        here = replace(options, paths=(saved,), select=(), shard=None, changed_since=None, base=None)
        return [f"Next: {command_line('apply', replace(here, prune=False, only=None))}"]
    return [f"Next: {command_line('apply', options)}"]


def _is_made(document: Document) -> bool:
    """Tell whether there is a plan: all that went wrong is that some resources are missing, or could not be read."""
    if document.exit_code in _MADE:
        return not document.errors
    unusable = {str(one.ref) for one in document.changes if one.action in (Action.MISSING, Action.FAILED)}
    about = (error.message.partition(": ")[0] for error in document.errors)
    return document.exit_code == ExitCode.ERROR and bool(document.errors) and all(each in unusable for each in about)


def _too_many(calls: int, options: Options) -> bool:
    return options.max_requests is not None and calls > options.max_requests


def _bounded(calls: int, options: Options) -> str:
    """Return why no apply is suggested: it would be refused."""
    return (
        f"--max-requests {options.max_requests} allows fewer calls than an apply takes, which are {calls}: "
        "raise it, or take less by --select"
    )


def _saved(options: Options) -> str | None:
    """Return the file that the plan was saved in, if `apply` takes it for one."""
    files = [name for form, name in options.out if form == "json"]
    return next((name for name in files if options.at(name).is_file()), None)


def _after_drift(document: Document, options: Options) -> list[str]:
    causes = {field.cause for change in document.changes for field in change.fields if not field.accepted}
    if not causes or document.exit_code != ExitCode.DIFFERENCES:
        return []
    wanted = () if Cause.DRIFT in causes else causes
    adopting = replace(options, conflicts=Cause.CONFLICT in wanted, unattributed=Cause.UNATTRIBUTED in wanted)
    moved = sum(1 for change in document.changes if any(not field.blocked for field in change.fields))
    calls = document.requests.reads + 2 * moved
    applying = f"Next, to write what git declares: {command_line('apply', replace(options, now=None))}"
    return [
        f"Next, to take it into the manifests: {command_line('adopt', adopting)}",
        _bounded(calls, options) if _too_many(calls, options) else applying,
    ]


def _after_apply(document: Document, options: Options) -> list[str]:
    if not document.outcomes or document.exit_code not in _UNFINISHED:
        return []
    saved = any(options.at(path).is_file() and not path.endswith(_MANIFESTS) for path in options.paths)
    return [f"Next: {command_line('plan', replace(options, paths=()) if saved else options)}"]


def command_line(command: str, options: Options) -> str:
    """Return a command with all options that say what it is about, quoted for a shell."""
    words = ["reconciler", command, *_options(options)]
    if any(path.startswith("-") for path in options.paths):
        words.append("--")
    return shlex.join([*words, *options.paths])


def _options(options: Options) -> Iterator[str]:
    only = sorted(map(str, [*options.only.causes, *options.only.ops])) if options.only else []
    shard = f"{options.shard.index}/{options.shard.count}" if options.shard else None
    given: list[tuple[str, object]] = [
        ("-C", options.directory if options.directory != "." else None),
        ("--config", options.config),
        ("--target", options.target),
        *(("--select", glob) for glob in options.select),
        ("--shard", shard),
        ("--changed-since", options.changed_since),
        ("--parallelism", options.parallelism),
        ("--max-requests", options.max_requests),
        ("--base", options.base),
        ("--only", ",".join(only) or None),
        ("--now", options.now),
    ]
    for name, value in given:
        if value is not None:
            yield from (name, str(value))
    flags = {"--prune": options.prune, "--conflicts": options.conflicts, "--unattributed": options.unattributed}
    yield from (name for name, wanted in flags.items() if wanted)
