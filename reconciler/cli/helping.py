"""The help of every command as a page of a manual: what it does, its options under headings, examples, exit codes.

A command says what it does in its docstring, with its examples at the end, and its options say what each is for. All
else that its page shows is taken from the tables here: the heading that an option stands under, the codes that a
command can end with, the variables and files that matter to it, and what to read next.
"""

from __future__ import annotations

import inspect
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from reconciler.errors import PRECEDENCE, ExitCode, WrongUsage

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

GROUPS: Mapping[str, tuple[str, ...]] = {
    "To start": ("init", "import", "orphans", "migrate", "demo"),
    "Every day": ("validate", "fmt", "plan", "apply", "drift", "adopt"),
    "The memory of what was applied": ("history", "rollback", "baseline", "forget", "ledger"),
    "In CI and unattended": ("show", "merge-reports", "watch"),
    "Tools": ("kinds", "schema", "completion", "emulate"),
}
"""The commands in the groups that `reconciler --help` shows."""

OWN = "Of this command"
HEADINGS: Mapping[str, tuple[str, ...]] = {
    OWN: (),
    "Where": ("-C", "--config", "--target", "--into", "--split-by", "--ids-from"),
    "What": (
        "--kind", "--where", "--below", "--select", "--shard", "--changed-since", "--only", "--prune", "--conflicts",
        "--unattributed",
    ),
    "The base": ("--base", "--offline", "--now", "--allow-rewind"),
    "Consent": ("--yes",),
    "Limits": ("--parallelism", "--max-requests", "--max-changed", "--max-removed", "--limit"),
    "Output": (
        "--format", "--out", "--max-bytes", "--all", "--mark-since", "--blame", "--detailed-exitcode", "--color",
        "--quiet", "--verbose",
    ),
    "Help": ("--help", "--version"),
}  # fmt: skip
"""The headings in their order, and the options below each; one that stands nowhere is of its command alone."""

MEANINGS: Mapping[ExitCode, str] = {
    ExitCode.DONE: "Done.",
    ExitCode.ERROR: "An operational error: the network, the API, a file that cannot be written, an internal error.",
    ExitCode.DIFFERENCES: "There are differences.",
    ExitCode.INVALID: "A manifest, a setting, a base or a plan file is invalid; no write was attempted.",
    ExitCode.INCOMPLETE: "Not all writes succeeded (failed, blocked, missing), or they could not be recorded.",
    ExitCode.STALE: "Some resource has moved since it was planned; nothing was written to it.",
    ExitCode.GUARDED: "A guard refused.",
    ExitCode.REFUSED: "The target refuses us (401, 403, a used-up quota), or does not serve this API.",
    ExitCode.USAGE: "Wrong usage; nothing was done.",
    ExitCode.INTERRUPTED: "Interrupted by Ctrl-C (SIGINT).",
    ExitCode.TERMINATED: "Ended by SIGTERM.",
}
"""What each exit code means wherever a command has no words of its own for it."""

VARIABLES: Mapping[str, str] = {
    "RECONCILER_CONFIG": "The settings file, where --config names none.",
    "RECONCILER_TARGET": "The target, where --target names none.",
    "RECONCILER_CACHE": "The folder in which parsed manifests are kept (an absolute path), or off.",
    "RECONCILER_ALLOWED_HOSTS": "The only hosts that are talked to, whatever the settings say.",
    "RECONCILER_ALLOW_COMMANDS": "1: settings may name commands: for tokens, and what makes git run one.",
    "OPENAI_BASE_URL, OPENAI_API_KEY, OPENAI_ORG_ID, OPENAI_PROJECT_ID":
        "The target `default`, only where there is no settings file.",
    "HTTPS_PROXY, ALL_PROXY, NO_PROXY": "The proxy to other machines, and the hosts that need none; lower case wins.",
    "SSL_CERT_FILE, SSL_CERT_DIR": "Certificates to trust in place of the system's.",
    "REQUESTS_CA_BUNDLE, CURL_CA_BUNDLE": "The same (a file or a folder), where neither of those is set.",
    "NO_COLOR, COLUMNS": "No colours; how wide the text is on a terminal.",
}  # fmt: skip
"""The environment variables that matter to some command."""

FILES: Mapping[str, str] = {
    "reconciler.yaml": "The settings, searched upwards to the root of the repository.",
    "manifests/": "The manifests, unless the target names other folders.",
    ".reconciler/TARGET.sqlite": "What the embedded emulator holds for a target.",
    "refs/reconciler/TARGET": "The ledger: what was applied last, in commits beside the branches.",
    ".git/reconciler/": "The journal of an apply, and what an import has listed, of runs that go on or were killed.",
    "~/.cache/reconciler/": "Manifests that were parsed before; may be deleted at any time.",
}
"""The files that matter to some command."""

_SETTINGS = ("RECONCILER_CONFIG", "RECONCILER_TARGET")
_CALLING = (
    "OPENAI_BASE_URL, OPENAI_API_KEY, OPENAI_ORG_ID, OPENAI_PROJECT_ID",
    "RECONCILER_ALLOWED_HOSTS",
    "RECONCILER_ALLOW_COMMANDS",
    "HTTPS_PROXY, ALL_PROXY, NO_PROXY",
    "SSL_CERT_FILE, SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE, CURL_CA_BUNDLE",
)
_PARSING = ("RECONCILER_CACHE",)
_SHOWING = ("NO_COLOR, COLUMNS",)
_GIT = ("RECONCILER_ALLOW_COMMANDS",)
_LEDGER = ("refs/reconciler/TARGET",)
_WRITING = (*_LEDGER, ".git/reconciler/")
_READ = ("reconciler.yaml", "manifests/", "~/.cache/reconciler/")
_SERVED = (".reconciler/TARGET.sqlite",)

_ALWAYS = dict.fromkeys((ExitCode.DONE, ExitCode.ERROR, ExitCode.USAGE), "")
_SIGNALS = dict.fromkeys((ExitCode.INTERRUPTED, ExitCode.TERMINATED), "")
_OVER_REQUESTS = "--max-requests allows fewer calls than this would take."
_NO_REPOSITORY = "Wrong usage, or this is no git repository; nothing was done."
_UNREADABLE = "A setting or the ledger is invalid, or cannot be read."
_NOT_FETCHED = "The ledger could not be brought up to that of its remote (`ledger_remote`): somebody kept pushing."
_NOT_RECORDED = "The run could not be recorded, or its record could not be pushed."
_GUARDED = "A guard refused: max_changed, max_removed, --max-requests"


@dataclass(frozen=True, slots=True)
class Page:
    """What a page shows beside what its command says of itself.

    `codes` are those that the command can end with; an empty text stands for that of `MEANINGS`.
    """

    codes: Mapping[ExitCode, str]
    see: tuple[str, ...]
    variables: tuple[str, ...] = ()
    files: tuple[str, ...] = ()

    def rows(self) -> Iterator[tuple[str, str]]:
        """Yield the codes in numerical order, with what they mean."""
        for code, meaning in sorted(self.codes.items()):
            yield str(int(code)), meaning or MEANINGS[code]


def _reading(see: tuple[str, ...], codes: Mapping[ExitCode, str], files: tuple[str, ...] = _LEDGER) -> Page:
    """Return the page of a command that reads what the API has of what manifests declare."""
    usual = {
        **_ALWAYS,
        ExitCode.INVALID: "",
        ExitCode.INCOMPLETE: _NOT_FETCHED,
        ExitCode.GUARDED: _OVER_REQUESTS,
        ExitCode.REFUSED: "",
        **_SIGNALS,
    }
    variables = (*_SETTINGS, *_CALLING, *_PARSING, *_SHOWING)
    return Page({**usual, **codes}, see, variables, (*_READ, *_SERVED, *files))


_LOOKING = Page(
    {
        **_ALWAYS,
        ExitCode.INVALID: _UNREADABLE,
        ExitCode.INCOMPLETE: _NOT_FETCHED,
        ExitCode.USAGE: _NO_REPOSITORY,
        **_SIGNALS,
    },
    (),
    (*_SETTINGS, *_GIT, *_SHOWING),
    ("reconciler.yaml", *_LEDGER),
)
"""The page of a command that looks into the ledger and calls nobody."""

PAGES: Mapping[str, Page] = {
    "init": Page(
        {**_ALWAYS, ExitCode.DONE: "The files are there.", **_SIGNALS},
        ("demo", "import", "plan", "schema"),
        files=("reconciler.yaml", "manifests/"),
    ),
    "validate": Page(
        {**_ALWAYS, ExitCode.DONE: "Everything is in order.",
         ExitCode.ERROR: "A file of --out cannot be written, or an internal error.",
         ExitCode.INVALID: "A manifest or a setting is invalid; all problems are listed.", **_SIGNALS},
        ("fmt", "plan", "schema"),
        (*_SETTINGS, *_PARSING, *_SHOWING),
        _READ,
    ),
    "fmt": Page(
        {**_ALWAYS, ExitCode.DONE: "Every manifest is in canonical form by now.",
         ExitCode.ERROR: "A file cannot be written, or an internal error.",
         ExitCode.INVALID: "A manifest cannot be read; with --check, also: some manifest is not in canonical form.",
         **_SIGNALS},
        ("validate", "adopt"),
        (*_SETTINGS, *_SHOWING),
        ("reconciler.yaml", "manifests/"),
    ),
    "plan": _reading(
        ("apply", "show", "drift", "merge-reports"),
        {ExitCode.DONE: "The plan was made, whether anything differs or not (see --detailed-exitcode).",
         ExitCode.ERROR: "A call failed, an id is missing (unless `missing: warn`), or an internal error.",
         ExitCode.DIFFERENCES: "Something differs, and --detailed-exitcode was given."},
    ),
    "apply": _reading(
        ("plan", "rollback", "history", "drift"),
        {ExitCode.DONE: "Everything is as declared, and recorded.",
         ExitCode.ERROR: "The question was not answered with yes, a call failed, or an internal error.",
         ExitCode.INCOMPLETE: "",
         ExitCode.STALE: "",
         ExitCode.GUARDED: f"{_GUARDED}, an empty set of manifests, a commit older than the applied one.",
         ExitCode.USAGE: "Wrong usage; also no terminal and no --yes. Nothing was done.",
         ExitCode.INTERRUPTED: "Interrupted by Ctrl-C (SIGINT): writes in flight were finished, the rest not begun.",
         ExitCode.TERMINATED: "Ended by SIGTERM, in the same way."},
        _WRITING,
    ),
    "drift": _reading(
        ("adopt", "apply", "plan", "watch"),
        {ExitCode.DONE: "Nothing has moved outside git (or it is accepted in a manifest).",
         ExitCode.ERROR: "A call failed, an id was never there, or an internal error.",
         ExitCode.DIFFERENCES: "Something has moved outside git."},
    ),
    "adopt": _reading(
        ("drift", "apply", "import"),
        {ExitCode.DONE: "What was found is in the manifests, or there is nothing to adopt.",
         ExitCode.ERROR: "A call or an edit failed, an id is gone, the question was not answered with yes.",
         ExitCode.USAGE: "Wrong usage; also no terminal and no --yes. Nothing was done."},
    ),
    "import": Page(
        {**_ALWAYS, ExitCode.DONE: "What exists is in the manifests.",
         ExitCode.ERROR: "An id does not exist, a call or a list failed, something can be in no manifest, or a file "
                         "cannot be written; the others are imported.",
         ExitCode.INVALID: "A manifest or a setting is invalid.", ExitCode.REFUSED: "",
         ExitCode.INTERRUPTED: "Interrupted by Ctrl-C (SIGINT); with --all the same command goes on from there.",
         ExitCode.TERMINATED: "Ended by SIGTERM, in the same way."},
        ("orphans", "kinds", "plan"),
        (*_SETTINGS, *_CALLING, *_PARSING, *_SHOWING),
        (*_READ, *_SERVED, ".git/reconciler/"),
    ),
    "orphans": Page(
        {**_ALWAYS, ExitCode.DONE: "The list is complete, whether anything is in it or not (see --detailed-exitcode).",
         ExitCode.ERROR: "A call or a list failed, or an object is odd: the list is not complete.",
         ExitCode.DIFFERENCES: "Something is declared nowhere, and --detailed-exitcode was given.",
         ExitCode.INVALID: "A manifest or a setting is invalid.", ExitCode.REFUSED: "", **_SIGNALS},
        ("import", "kinds", "drift"),
        (*_SETTINGS, *_CALLING, *_PARSING, *_SHOWING),
        (*_READ, *_SERVED),
    ),
    "migrate": Page(
        {**_ALWAYS, ExitCode.DONE: "The manifests have the new references, or with --dry-run would have them.",
         ExitCode.ERROR: "A file cannot be written, the question was not answered with yes, or an internal error.",
         ExitCode.INVALID: "A manifest, a setting or the mapping is invalid, or an entry cannot be moved safely; "
                           "nothing was written.",
         ExitCode.USAGE: "Wrong usage; also no terminal and no --yes, and no old reference that is declared.",
         **_SIGNALS},
        ("import", "plan", "forget"),
        (*_SETTINGS, *_PARSING, *_GIT, *_SHOWING),
        (*_READ, *_LEDGER),
    ),
    "show": Page(
        {**_ALWAYS, ExitCode.DONE: "The plan is shown, whatever is in it.",
         ExitCode.ERROR: "The result cannot be written, or an internal error.",
         ExitCode.INVALID: "The file is no plan file, is damaged, or is of another major version.", **_SIGNALS},
        ("plan", "apply", "merge-reports"),
        _SHOWING,
        ("reconciler.yaml",),
    ),
    "merge-reports": Page(
        {**{code: f"As a shard ended: {MEANINGS[code][0].lower()}{MEANINGS[code][1:]}" for code in ExitCode},
         ExitCode.DONE: "Every shard ended so.",
         ExitCode.ERROR: "A shard has no document, or ended so; or the result cannot be written.",
         ExitCode.INVALID: "A file is no document, they are not of one run, or a shard ended so."},
        ("plan", "show", "apply"),
        _SHOWING,
        ("reconciler.yaml",),
    ),
    "history": replace(_LOOKING, see=("ledger show", "rollback")),
    "rollback": _reading(
        ("history", "apply", "ledger show"),
        {ExitCode.DONE: "Every field that can be turned back has its value from before.",
         ExitCode.ERROR: "The question was not answered with yes, a call failed, or an internal error.",
         ExitCode.INVALID: _UNREADABLE,
         ExitCode.INCOMPLETE: "",
         ExitCode.STALE: "A field has moved since that apply; nothing was written to its resource.",
         ExitCode.GUARDED: f"{_GUARDED}.",
         ExitCode.USAGE: "Wrong usage, no such run, no git repository; also no terminal and no --yes. "
                         "Nothing was done."},
        _WRITING,
    ),
    "baseline": _reading(
        ("drift", "ledger show", "import"),
        {ExitCode.DONE: "What agrees is recorded; nothing was written to any resource.",
         ExitCode.ERROR: "A call failed, an id is missing (unless `missing: warn`), or an internal error.",
         ExitCode.INCOMPLETE: _NOT_RECORDED,
         ExitCode.GUARDED: "--max-requests allows fewer calls, or the commit is older than the applied one.",
         ExitCode.USAGE: _NO_REPOSITORY},
    ),
    "forget": Page(
        {**_LOOKING.codes, ExitCode.DONE: "They are out of the ledger.", ExitCode.INCOMPLETE: _NOT_RECORDED,
         ExitCode.INVALID: "A manifest, a setting or the ledger is invalid.",
         ExitCode.USAGE: "Wrong usage: no released resource has such a name, or no git repository; nothing was done."},
        ("plan", "ledger show", "apply"),
        (*_SETTINGS, *_PARSING, *_GIT, *_SHOWING),
        (*_READ, *_LEDGER),
    ),
    "ledger": Page({ExitCode.DONE: "", ExitCode.USAGE: ""}, ("ledger show", "history"), files=_LEDGER),
    "ledger show": Page(
        {**_LOOKING.codes, ExitCode.USAGE: "Wrong usage: no ledger, nothing of that name in it, no git repository."},
        ("history", "forget", "baseline"),
        _LOOKING.variables,
        _LOOKING.files,
    ),
    "watch": _reading(
        ("drift", "apply", "plan"),
        {ExitCode.DONE: "It was told to end, and nothing was cut short; with --runs: the last run was good.",
         ExitCode.ERROR: "The port is taken, another watch is at work on the target, or the last of --runs failed.",
         ExitCode.INCOMPLETE: "",
         ExitCode.STALE: "",
         ExitCode.GUARDED: f"{_GUARDED}, a commit older than the applied one."},
        _WRITING,
    ),
    "kinds": Page({**_ALWAYS, **_SIGNALS}, ("schema", "import")),
    "schema": Page({**_ALWAYS, **_SIGNALS}, ("validate", "kinds", "fmt")),
    "completion": Page({**_ALWAYS, ExitCode.DONE: "The script was printed."}, ("kinds", "schema")),
    "emulate": Page(
        {**_ALWAYS, ExitCode.DONE: "It was ended by Ctrl-C or SIGTERM, as it should be.",
         ExitCode.ERROR: "The port is taken, the database cannot be used, or an internal error.",
         ExitCode.INVALID: "A manifest of --seed is invalid."},
        ("demo", "kinds", "plan"),
        files=(".reconciler/TARGET.sqlite",),
    ),
    "demo": Page(
        {**_ALWAYS, ExitCode.ERROR: "A step did not do what it should.", **_SIGNALS},
        ("init", "emulate", "plan"),
    ),
}  # fmt: skip
"""What each command's page shows, by the words that it is called by."""


# --- what a command says of itself -----------------------------------------------------------------------------------

_EXAMPLES = ("\b\nExample:", "\b\nExamples:")


def described(command: click.Command) -> str:
    """Return what a command says of itself, without its examples."""
    return "\n\n".join(part for part in _paragraphs(command) if not part.startswith(_EXAMPLES))


def example_lines(command: click.Command) -> list[str]:
    """Return the lines of a command's examples as they are shown, without what indents them."""
    blocks = (part.split("\n")[2:] for part in _paragraphs(command) if part.startswith(_EXAMPLES))
    return [line.removeprefix("  ") for block in blocks for line in block]


def examples(command: click.Command) -> list[str]:
    """Return the command lines of a command's examples, those in several lines joined, without remarks."""
    joined = "\n".join(example_lines(command)).replace("\\\n", " ").split("\n")
    return [" ".join(line.split()) for line in joined if line.strip() and not line.lstrip().startswith("#")]


def _paragraphs(command: click.Command) -> list[str]:
    texts = map(inspect.cleandoc, (command.help or "", command.epilog or ""))
    return [part.strip("\n") for text in texts for part in text.split("\n\n") if part.strip("\n ")]


def heading_of(option: click.Option) -> str:
    """Return the heading that an option stands under."""
    if option.name == "everything":  # `--all` of `import`; others list all by it
        return "What"
    return next((heading for heading, names in HEADINGS.items() if {*option.opts} & {*names}), OWN)


# --- the page --------------------------------------------------------------------------------------------------------


class Paged(click.Command):
    """A command whose help is a page of the manual, and that runs in a folder which exists."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take the words of a command line; whatever is wrong with them is said of this command."""
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            error.ctx = error.ctx or ctx
            raise

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command, where there is something that its paths are relative to."""
        folder = ctx.params.get("directory")
        if folder is not None and not Path(folder).is_absolute():
            need_working_directory()
        return super().invoke(ctx)

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the name with what it stands for, and what the command says of itself."""
        with formatter.section("Name"):
            formatter.write_text(f"{ctx.command_path}: {self.get_short_help_str(200)}")
        with formatter.section("Description"):
            formatter.write_text(described(self))

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options under their headings."""
        _write_options(self.get_params(ctx), ctx, formatter)
        if isinstance(self, click.Group):
            self.format_commands(ctx, formatter)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write what follows from the tables."""
        _write_lines("Examples", example_lines(self), formatter)
        page = PAGES.get(ctx.command_path.partition(" ")[2])
        if page is None:
            return
        _write_rows("Exit codes", page.rows(), formatter)
        _write_rows("Environment variables", ((name, VARIABLES[name]) for name in page.variables), formatter)
        _write_rows("Files", ((name, FILES[name]) for name in page.files), formatter)
        with formatter.section("See also"):
            formatter.write_text(", ".join(f"`reconciler {name} --help`" for name in page.see))


class PagedGroup(Paged, click.Group):
    """A group whose help is a page of the manual, and that says what it has in place of an unknown command."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that the first word names."""
        names = self.list_commands(ctx)
        if args and args[0] not in names:
            from reconciler.words import meant, shown

            whose = f"{ctx.info_name} has" if ctx.parent else "there is"
            ctx.fail(f"{whose} no command {shown(args[0])}; {meant(args[0], names)}")
        return super().resolve_command(ctx, args)


def need_working_directory() -> None:
    """Raise `WrongUsage` where the folder that the process was started in has been removed."""
    try:
        os.getcwd()  # noqa: PTH109 - a path is not wanted
    except FileNotFoundError:
        raise WrongUsage("the working directory is gone: `cd` to one that exists, or name one by -C") from None


def paged(command: click.Command, sentence: str) -> click.Command:
    """Return a command as one whose help is a page, which begins with a sentence about it."""
    if isinstance(command, Paged):
        return command
    values: dict[str, Any] = {
        "name": command.name,
        "context_settings": command.context_settings,
        "callback": command.callback,
        "params": command.params,
        "help": command.help,
        "epilog": command.epilog,
        "short_help": sentence,
        "no_args_is_help": command.no_args_is_help,
    }
    if not isinstance(command, click.Group):
        return Paged(**values)
    inner = {name: paged(one, one.get_short_help_str(200)) for name, one in command.commands.items()}
    return PagedGroup(commands=inner, **values)


def _write_options(params: Iterable[click.Parameter], ctx: click.Context, formatter: click.HelpFormatter) -> None:
    options = [one for one in params if isinstance(one, click.Option)]
    for heading in HEADINGS:
        records = (one.get_help_record(ctx) for one in options if heading_of(one) == heading)
        _write_rows(heading, (record for record in records if record is not None), formatter)


def _write_rows(heading: str, rows: Iterable[tuple[str, str]], formatter: click.HelpFormatter) -> None:
    found = list(rows)
    if found:
        with formatter.section(heading):
            room = formatter.width - formatter.current_indent
            formatter.write_dl([part for row in found for part in _fitting(row, room)])


def _fitting(row: tuple[str, str], room: int) -> Iterator[tuple[str, str]]:
    """Yield a row of a table, one row for each of its names where they have no room beside each other."""
    names, text = row
    before, last = names.split(", ")[:-1] if len(names) > room else [], names
    if before:
        last = names.split(", ")[-1]
    yield from ((f"{name},", "") for name in before)
    yield last, text


def _write_lines(heading: str, lines: Iterable[str], formatter: click.HelpFormatter) -> None:
    found = list(lines)
    if found:
        with formatter.section(heading):
            for line in found:
                formatter.write(f"{'':{formatter.current_indent}}{line}\n")


# --- the page of all -------------------------------------------------------------------------------------------------


def write_commands(sentences: Mapping[str, str], formatter: click.HelpFormatter) -> None:
    """Write the list of commands, in groups."""
    for heading, names in GROUPS.items():
        _write_rows(heading, ((name, sentences[name]) for name in names), formatter)


def write_manual(lines: Iterable[str], formatter: click.HelpFormatter) -> None:
    """Write what holds for every command, and where help goes on."""
    _write_lines("Examples", lines, formatter)
    _write_rows("Exit codes", Page(MEANINGS, ()).rows(), formatter)
    with formatter.section("Which code counts"):
        order = ", ".join(str(int(code)) for code in PRECEDENCE)
        formatter.write_text(f"Where several hold, the first of {order} does.")
    _write_rows("Environment variables", VARIABLES.items(), formatter)
    _write_rows("Files", FILES.items(), formatter)
    with formatter.section("More help"):
        formatter.write_text(
            "`reconciler COMMAND --help` has the options, examples and exit codes of each command. `reconciler demo` "
            "shows the main job at work in a temporary folder. README.md tells how everything fits together."
        )


def with_advice(said: str, ctx: click.Context | None) -> str:
    """Return what was said of a wrong command line, with the command that helps further."""
    path = ctx.command_path if ctx is not None else "reconciler"
    return f"{said}{'' if said.endswith('?') else ';'} `{path} --help` tells what there is"
