"""`reconciler show`: a saved plan in any format."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from reconciler.cli.options import OUTPUT, Options, options

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from reconciler.document import Document


@click.command()
@click.argument("planfile")
@options("directory", *OUTPUT)
def show(planfile: str, **given: Any) -> int:
    """Show a saved plan, or the document of an apply, in any format.

    \b
    Example:
      reconciler plan --out json=plan.json
      reconciler show plan.json
    """
    from reconciler.cli.output import check_files, deliver, write_files
    from reconciler.errors import ExitCode
    from reconciler.masks import masked

    chosen = Options(**given, paths=(planfile,))
    check_files(chosen)
    document = read_plan(chosen.at(planfile), chosen)
    document = masked(document, _mask_here(chosen, document))
    for error in write_files(document, chosen):
        raise error
    deliver(document, chosen)
    return ExitCode.DONE


def _mask_here(chosen: Options, document: Document) -> tuple[str, ...]:
    """Return what the settings around mask at the plan's target; nothing where there are none, or others."""
    import os

    from reconciler.errors import ReconcilerError
    from reconciler.settings import resolve

    try:
        return resolve(cwd=chosen.cwd, env=os.environ, config=None, target=document.target.name).target.mask
    except ReconcilerError:
        return ()


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
        raise WrongUsage(f"cannot read {name}: {error.strerror}") from error
    return planfile.loads(text, name)
