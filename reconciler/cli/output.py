"""Where a document goes: standard output, and files that are never seen half-written."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reconciler.cli.progress import columns_of, step_aside
from reconciler.errors import ConsentRefused, ReconcilerError, WrongUsage
from reconciler.render import Room, rendered
from reconciler.render.columns import flowed
from reconciler.words import plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import TextIO

    from reconciler.cli.options import Options
    from reconciler.document import Document


def room_on(stream: TextIO, options: Options) -> Room:
    """Return how much room a stream has: columns where it is a terminal (COLUMNS overrides them), else any number."""
    return Room(width=columns_of(stream) if stream.isatty() else None, max_bytes=options.max_bytes)


def deliver(document: Document, options: Options) -> None:
    """Print the document in the chosen format."""
    from reconciler.render import terminal

    brief = options.quiet and options.format == "text"
    room = room_on(sys.stdout, options)
    if options.format == "text" and not (brief or document.changes or document.errors):
        say(terminal.aside(document, room_on(sys.stderr, options)), options, err=True)
    say(terminal.brief(document, room) if brief else rendered(document, options.format, room), options)


def say(text: str, options: Options, *, err: bool = False) -> None:
    """Print styled text, with its colours where they are wanted. A reader that went away is no error."""
    stream = sys.stderr if err else sys.stdout
    step_aside()
    try:
        click.echo(text, nl=False, err=err, color=wants_color(options.color, stream.isatty(), os.environ))
        stream.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    except OSError as error:
        if err:
            return  # there is nobody left to tell
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        raise ReconcilerError(
            f"cannot write to standard output: {error.strerror}; make room, or send it elsewhere"
        ) from error


def notice(line: str, options: Options, *, whole: bool = False) -> None:
    """Tell a person something beside the result; in one line, unless a terminal is narrower than that.

    `whole`: it is in one line all the same, as a command that is to be copied.
    """
    if not options.quiet:
        width = None if whole else room_on(sys.stderr, options).width
        say("".join(f"{each}\n" for each in flowed([plain(line)], width, 2)), options, err=True)


def say_patch(lines: Iterable[str], options: Options) -> None:
    """Print the lines of a patch, those that come green and those that go red."""
    say("".join(f"{_coloured(plain(line))}\n" for line in lines), options)


def _coloured(line: str) -> str:
    colours = {"+": "green", "-": "red", "@": "cyan"}
    return click.style(line, fg=colours[line[0]]) if line[:1] in colours else line


def confirm(question: str, word: str = "yes") -> None:
    """Ask on the terminal; raises `ConsentRefused` for any other answer than `word` (yes in upper case will do)."""
    click.echo(plain(f"{question} Type {word}: "), err=True, nl=False)
    answer = sys.stdin.readline().strip()
    if answer != word and (word, answer.lower()) != ("yes", "yes"):
        raise ConsentRefused(f"not confirmed; nothing was written (type {word} at the question, or say --yes)")


def wants_color(choice: str, terminal: bool, environment: Mapping[str, str]) -> bool:  # noqa: FBT001 - a fact, not a mode
    """Tell whether to colour: NO_COLOR (no-color.org) and dumb terminals count unless colours were asked for."""
    plain_only = environment.get("NO_COLOR") or environment.get("TERM") == "dumb"
    return choice == "always" or (choice == "auto" and terminal and not plain_only)


def check_files(options: Options) -> None:
    """Raise `WrongUsage` for an `--out` file that cannot or must not be written, before anything is done."""
    written: dict[Path, str] = {}
    for _, name in options.out:
        path = options.at(name).resolve()
        if why := _unfit(name, options):
            raise WrongUsage(f"--out: {why}")
        if path in written and not _is_special(path):
            raise WrongUsage(f"--out: {written[path]} and {name} are the same file; name one for each format")
        written[path] = name
        if path.is_dir():
            raise WrongUsage(f"--out: {name} is a folder; name a file in it")
        if not path.parent.is_dir():
            raise WrongUsage(f"--out: there is no folder {path.parent}; create it, or name another")
        # A regular file is replaced by a new one in its folder; anything else is written to as it is.
        place = path if _is_special(path) else path.parent
        if not os.access(place, os.W_OK):
            raise WrongUsage(f"--out: {name} cannot be written; name a file that you may write")


def _unfit(name: str, options: Options) -> str | None:
    """Return why nothing may be written to a file, whether that can be done or not: it is there for something else."""
    path = options.at(name).resolve()
    if name == "-":
        return "- is no file; what goes to standard output is said by --format"
    if {Path(name).suffix.lower(), path.suffix.lower()} & {".yaml", ".yml"}:
        return f"{name} has the name of a manifest or of settings, which no format is; name another file"
    if ".git" in path.parts:
        return f"{name} lies in the folder that belongs to git; name a file elsewhere"
    if any(_is_same(path, options.at(each)) for each in options.paths):
        return f"{name} is what this command reads; name another file"
    from reconciler.settings import CONFIG_VARIABLE

    config = options.config or os.environ.get(CONFIG_VARIABLE)
    if config and _is_same(path, options.at(config)):
        return f"{name} is the settings file; name another file"
    return None


def _is_same(path: Path, other: Path) -> bool:
    try:
        return path == other.resolve() or (not _is_special(path) and path.samefile(other))
    except OSError:
        return False


def _is_special(path: Path) -> bool:
    """Tell whether this is a pipe or a device: there is nothing to lose in it."""
    return path.exists() and not path.is_file() and not path.is_dir()


def write_files(document: Document, options: Options) -> list[ReconcilerError]:
    """Write every `--out` file that can be written, each whole or not at all; returns what failed.

    What must not be written is passed over: `check_files` has told of it. Of two for the same file the first counts.
    """
    failed: list[ReconcilerError] = []
    seen: set[Path] = set()
    for form, name in options.out:
        path = options.at(name).resolve()
        if _unfit(name, options) or (path in seen and not _is_special(path)):
            continue
        seen.add(path)
        try:
            text = rendered(document, form, Room(max_bytes=options.max_bytes))
            write_file(options.at(name), click.unstyle(text) if form == "text" else text)
        except ReconcilerError as error:
            failed.append(error)
    return failed


def read_again(path: Path, name: str) -> bytes:
    """Return what a manifest that was read before holds now."""
    from reconciler.manifest.files import read_file

    try:
        return read_file(path)
    except OSError as error:
        raise ReconcilerError(f"cannot read {name}: {error.strerror}; see whether it is there") from error


def write_file(path: Path, content: str | bytes) -> None:
    """Write a file through a temporary one beside it, synced and renamed, so that nobody sees half of it.

    A link is followed; what is no regular file (a pipe, a device) is written to as it is.
    """
    data = content if isinstance(content, bytes) else content.encode("utf-8", "backslashreplace")
    with _told(path):
        path = path.resolve()
        if path.exists() and not path.is_file():
            path.write_bytes(data)
            return
    prepare(path, data).carry_out()


@dataclass(slots=True)
class Prepared:
    """A file that is written, and not yet in its place: `temporary` lies beside it, synced."""

    path: Path
    temporary: Path

    def carry_out(self) -> None:
        """Put the file in its place; in the moment that this takes nobody sees half of it."""
        try:
            with _told(self.path):
                os.replace(self.temporary, self.path)  # noqa: PTH105 - the atomic rename is the point
        except BaseException:
            self.discard()
            raise

    def discard(self) -> None:
        """Take away what was not put in its place."""
        with contextlib.suppress(OSError):
            self.temporary.unlink(missing_ok=True)


def prepare(path: Path, data: bytes) -> Prepared:
    """Write what a file is to hold beside it, and let it have the rights of the file that it is to replace."""
    with _told(path):
        path = path.resolve()
        return Prepared(path, _written_beside(path, data))


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ReconcilerError(
            f"cannot write {path}: {error.strerror or error}; make that possible, or name another file"
        ) from error


def make_folder(folder: Path) -> None:
    """Create a folder and those above it, where they are not there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ReconcilerError(f"cannot create {folder}: {error.strerror}; create it, or name another file") from error


_UNFINISHED = ".new"
_TEMPORARY = re.compile(rf"\..+\.ya?ml\.[a-z0-9_]{{8}}{re.escape(_UNFINISHED)}")
"""The name of a manifest that is not in its place yet; it begins with a point, so that nobody takes it for one."""
STALE = 3600.0
"""Seconds after which nobody writes to a temporary file any more: whoever did was killed."""


def sweep(folders: Iterable[Path], now: float) -> None:
    """Take away the temporary files that runs have left in these folders when they were killed."""
    for folder in folders:
        with contextlib.suppress(OSError):
            for entry in os.scandir(folder):
                mine = _TEMPORARY.fullmatch(entry.name) is not None
                if mine and entry.is_file(follow_symlinks=False) and now - entry.stat().st_mtime > STALE:
                    os.unlink(entry.path)  # noqa: PTH108 - the entry of a scan has no path object


def _written_beside(path: Path, data: bytes) -> Path:
    known = path.stat() if path.exists() else None
    mode = known.st_mode & 0o777 if known is not None else 0o666 & ~_umask()
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=_UNFINISHED)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if known is not None:
            with contextlib.suppress(OSError):  # only root may give a file away; a group one can be a member of
                os.chown(temporary, known.st_uid, known.st_gid)
        os.chmod(temporary, mode)  # noqa: PTH101 - mkstemp's 0600 is not what a report has
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return Path(temporary)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
