"""`reconciler merge-reports`: the documents of a run's shards as one, with one exit code."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from reconciler.cli.options import OUTPUT, Options, completing, options

if TYPE_CHECKING:
    from typing import Any

    from reconciler.document import Document


@click.command("merge-reports")
@click.argument("files", nargs=-1, required=True, metavar="FILE...", shell_complete=completing("paths"))
@options("directory", *OUTPUT)
def merge_reports(files: tuple[str, ...], **given: Any) -> int:
    """Make one document of the documents of a run's shards, and end with the exit code that counts of theirs.

    Merged plans are the plan of one run over everything: `show` shows it, `apply` carries it out. What is not of one
    run is refused; a shard without a document is an error in the merged one.

    \b
    Examples:
      reconciler plan --shard 1/2 --out json=shard-1.json
      reconciler plan --shard 2/2 --out json=shard-2.json
      reconciler merge-reports shard-1.json shard-2.json --out json=plan.json
    """
    from reconciler.cli.advice import advised_once
    from reconciler.cli.output import check_files, deliver, write_files
    from reconciler.masks import masked
    from reconciler.merging import merge
    from reconciler.settings import masks_around

    chosen = Options(**given, paths=files)
    check_files(chosen)
    merged = merge(_read(files, chosen))
    merged = merged.model_copy(update={"errors": advised_once(merged.errors)})
    document = masked(merged, masks_around(chosen.cwd, os.environ))
    for error in write_files(document, chosen):
        raise error
    deliver(document, chosen)
    return document.exit_code


def _read(files: tuple[str, ...], chosen: Options) -> dict[str, Document]:
    """Return the documents by the names of their files; raises with all that is wrong with any of them."""
    from dataclasses import replace

    from reconciler.cli.show import read_plan
    from reconciler.errors import InvalidInput, Problem, WrongUsage

    documents: dict[str, Document] = {}
    problems: list[Problem] = []
    for file in files:
        if file in documents:
            raise WrongUsage(f"{file} is named twice; name each file once")
        try:
            documents[file] = read_plan(chosen.at(file), replace(chosen, paths=(file,)))
        except InvalidInput as unsound:
            problems += unsound.found
    if problems:
        raise InvalidInput(*problems)
    return documents
