"""`reconciler show`: a saved plan in any format."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from reconciler.cli.options import OUTPUT, Options, completing, options

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from reconciler.document import Document


@click.command()
@click.argument("planfile", shell_complete=completing("paths"))
@options("directory", *OUTPUT)
def show(planfile: str, **given: Any) -> int:
    """Show a saved plan, or the document of an apply, in any format. Nobody is asked anything.

    A file that was edited or cut, or is of another major version of the format, is refused.

    \b
    Examples:
      reconciler plan --out json=plan.json
      reconciler show plan.json
      reconciler show plan.json --format markdown --max-bytes 60000
    """
    from reconciler.cli.output import check_files, deliver, write_files
    from reconciler.errors import ExitCode
    from reconciler.masks import masked
    from reconciler.settings import masks_around

    chosen = Options(**given, paths=(planfile,))
    check_files(chosen)
    document = masked(read_plan(chosen.at(planfile), chosen), masks_around(chosen.cwd, os.environ))
    for error in write_files(document, chosen):
        raise error
    deliver(document, chosen)
    return ExitCode.DONE


def read_plan(file: Path, chosen: Options) -> Document:
    """Return the document in a file; raises `WrongUsage` or `InvalidInput` with the file's name as it was given."""
    from reconciler import planfile
    from reconciler.errors import InvalidInput, Location, Problem, WrongUsage
    from reconciler.manifest.files import read_file

    name = chosen.paths[0]
    try:
        text = read_file(file, planfile.MAX_TEXT, pipes=True).decode("utf-8")
    except UnicodeDecodeError as error:
        problem = Problem("not_json", "this is no plan file: it is not UTF-8", Location(name, 1, 1))
        raise InvalidInput(problem) from error
    except OSError as error:
        raise WrongUsage(
            f"cannot read {name}: {error.strerror}; `reconciler plan --out json=FILE` writes one"
        ) from error
    return planfile.loads(text, name)
