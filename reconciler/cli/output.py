"""Where a document goes: standard output, and files that are never seen half-written."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reconciler.errors import ReconcilerError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from reconciler.cli.options import Options
    from reconciler.document import Document


def rendered(document: Document, form: str) -> str:
    """Return the document in one of the formats; text is styled, whoever prints it strips that."""
    from reconciler import planfile
    from reconciler.render import terminal

    renderers: Mapping[str, Callable[[Document], str]] = {"text": terminal.render, "json": planfile.dumps}
    return renderers[form](document)


def deliver(document: Document, options: Options) -> None:
    """Print the document in the chosen format."""
    text = rendered(document, options.format)
    if options.quiet and options.format == "text":
        text = text.splitlines(keepends=True)[-1]
    say(text, options)


def say(text: str, options: Options, *, err: bool = False) -> None:
    """Print styled text, with its colours where they are wanted."""
    stream = sys.stderr if err else sys.stdout
    click.echo(text, nl=False, err=err, color=wants_color(options.color, stream.isatty(), os.environ))


def wants_color(choice: str, terminal: bool, environment: Mapping[str, str]) -> bool:  # noqa: FBT001 - a fact, not a mode
    """Tell whether to colour: NO_COLOR (no-color.org) counts unless colours were asked for by name."""
    return choice == "always" or (choice == "auto" and terminal and not environment.get("NO_COLOR"))


def write_files(document: Document, options: Options) -> None:
    """Write every `--out` file, each whole or not at all. Raises `ReconcilerError` where one cannot be written."""
    for form, name in options.out:
        write_file(options.at(name), click.unstyle(rendered(document, form)))


def write_file(path: Path, text: str) -> None:
    """Write a file through a temporary one beside it, synced and renamed, so that nobody sees half of it."""
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace", newline="") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(temporary, 0o666 & ~_umask())  # noqa: PTH101 - mkstemp's 0600 is not what a report has
            os.replace(temporary, path)  # noqa: PTH105 - the atomic rename is the point
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise ReconcilerError(f"cannot write {path}: {error.strerror or error}") from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
