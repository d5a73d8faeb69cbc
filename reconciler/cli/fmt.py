"""`reconciler fmt`: manifests in canonical form."""

from __future__ import annotations

import contextlib
import gc
import os
import stat
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import click

from reconciler.cli.options import WHERE, Options, options
from reconciler.errors import ReconcilerError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Any

    from reconciler.cli.report import Report
    from reconciler.errors import Problem
    from reconciler.manifest import Found
    from reconciler.manifest.files import ManifestFile

STDIN = "-"
_STDIN_NAME = "<stdin>"
_WRITABLE = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH
"""A file that has none of these nobody means to be written to, not even by root, who may."""


@click.command()
@click.option("--check", is_flag=True, help="Write nothing; exit with 3 if any file would change.")
@click.option("--diff", is_flag=True, help="Show what changes as a patch, in place of the names of the files.")
@options("paths", *WHERE, "color", "quiet")
def fmt(*, check: bool, diff: bool, **given: Any) -> int:
    """Write manifests in canonical form: one order, one way of quoting; comments stay with what they belong to.

    Resources are sorted by id, metadata by key. What is declared stays the same, which is checked before a file is
    written. Files that are in canonical form are left alone, and so are invalid ones, whose problems are listed
    (exit code 3). The PATH - formats standard input to standard output.

    \b
    Example:
      reconciler fmt
      reconciler fmt --check --diff
      reconciler fmt - < manifests/support.yaml
    """
    from reconciler.cli.output import room_on, say
    from reconciler.cli.report import Report
    from reconciler.render import terminal

    # To the report, this is a validation: it has problems, and nothing else to tell.
    chosen, report = Options(**given), Report("validate")
    run = _Run(chosen, report, check=check, diff=diff)
    try:
        run.standard_input() if STDIN in chosen.paths else run.files()
    except ReconcilerError as error:
        report.fail(error)
    report.mask = run.mask
    say(terminal.errors(report.view(), room_on(sys.stderr, chosen)), chosen, err=True)
    return report.exit_code


@dataclass(frozen=True, slots=True)
class _Changed:
    """A manifest that is not in canonical form; `path` is `None` for standard input."""

    name: str
    path: Path | None
    before: bytes
    after: bytes


@dataclass(slots=True)
class _Run:
    """One run of the command; `mask` are the globs of keys whose values nobody is shown."""

    options: Options
    report: Report
    check: bool
    diff: bool
    mask: tuple[str, ...] = field(default=())

    # --- where manifests come from ------------------------------------------------------------------------------------

    def files(self) -> None:
        """Format the manifests among the paths, or those of the target."""
        found = self._find()
        self._invalid(*found.problems)
        changed = 0
        for file in found.files:
            one = self._read(file)
            if one is not None and self._formatted(one):
                changed += 1
        self._sum_up(changed, len(found.files))

    def standard_input(self) -> None:
        """Format standard input to standard output; a patch, or no more than a verdict, where that was asked for."""
        from reconciler.errors import WrongUsage
        from reconciler.settings import masks_around

        if self.options.paths != (STDIN,):
            raise WrongUsage("- is standard input, and no other PATH can be given with it: leave one of them out")
        self.mask = masks_around(self.options.cwd, os.environ, self.options.config)
        before = self._all_of_standard_input()
        after = self._canonical(before, _STDIN_NAME)
        if after is None:
            return
        if self.check or self.diff:
            if after != before:
                self._tell(_Changed(_STDIN_NAME, None, before, after))
            self._sum_up(int(after != before), 1)
        else:
            _print(after)

    def _all_of_standard_input(self) -> bytes:
        from reconciler.errors import WrongUsage
        from reconciler.manifest.files import MAX_FILE

        if sys.stdin is None:
            raise WrongUsage("standard input is closed; send a manifest there, or name a PATH")
        try:
            data = sys.stdin.buffer.read(MAX_FILE + 1)
        except OSError as error:
            raise WrongUsage(f"cannot read standard input: {error.strerror}; name a PATH instead") from error
        if len(data) > MAX_FILE:
            raise WrongUsage(f"standard input is larger than {MAX_FILE // 1024 // 1024} MiB; split the manifest")
        return data

    def _find(self) -> Found:
        """Look for the manifests. Files that are named can be formatted whatever is wrong with the settings."""
        from reconciler import settings
        from reconciler.cli.session import find_manifests
        from reconciler.errors import InvalidInput

        chosen = self.options
        try:
            found = settings.resolve(cwd=chosen.cwd, env=os.environ, config=chosen.config, target=chosen.target)
        except InvalidInput as invalid:
            if not chosen.paths:
                raise
            self.mask = settings.masks_around(chosen.cwd, os.environ, chosen.config)
            return self._find_without_settings(invalid)
        self.mask = found.target.mask
        return find_manifests(found, chosen)

    def _find_without_settings(self, invalid: ReconcilerError) -> Found:
        from reconciler import manifest, settings
        from reconciler.errors import WrongUsage

        cwd, names = self.options.cwd, self.options.paths
        own = {folder / settings.FILE_NAME for folder in (cwd, *cwd.parents)}
        root = cwd
        if isinstance(invalid, settings.InvalidSettings):
            own, root = {invalid.file}, invalid.root
            self.mask = ("*",) if invalid.masks else ()
        try:
            found = manifest.find([self.options.at(name) for name in names], root=root, skip=frozenset(own))
        except FileNotFoundError as error:
            raise WrongUsage(f"{error.filename} does not exist; name a manifest, or a folder of them") from error
        if not found.files and not found.problems:
            raise WrongUsage(f"no manifests (*.yaml, *.yml) at {', '.join(names)}; name a file or folder that has some")
        return found

    # --- one manifest -------------------------------------------------------------------------------------------------

    def _read(self, file: ManifestFile) -> _Changed | None:
        """Return a file that is to be changed, with its canonical form."""
        from reconciler.errors import Location, Problem
        from reconciler.manifest.files import read_file

        try:
            before = read_file(file.path)
        except OSError as error:
            message = f"this file cannot be read: {error.strerror}"
            self._invalid(Problem("unreadable_file", message, Location(file.name, 1, 1)))
            return None
        after = self._canonical(before, file.name)
        return None if after is None or after == before else _Changed(file.name, file.path, before, after)

    def _canonical(self, data: bytes, name: str) -> bytes | None:
        """Return the canonical form; `None` where there is none, which is told."""
        from reconciler.manifest.canonical import canonical

        try:
            with _without_collector():
                done = canonical(data, name)
        except ReconcilerError as error:
            self.report.fail(error)
            return None
        self._invalid(*done.problems)
        return None if done.problems else done.data

    def _invalid(self, *problems: Problem) -> None:
        from reconciler.errors import ExitCode

        if problems:
            self.report.note(ExitCode.INVALID, *problems)

    def _formatted(self, one: _Changed) -> bool:
        """Write a file, or tell that it would be written; tell whether that could be done."""
        if not self.check:
            try:
                _write(one)
            except ReconcilerError as error:
                self.report.fail(error)
                return False
        self._tell(one)
        return True

    # --- what is said -------------------------------------------------------------------------------------------------

    def _tell(self, one: _Changed) -> None:
        from reconciler.cli.output import say
        from reconciler.errors import ExitCode
        from reconciler.words import plain

        if self.check:
            self.report.note(ExitCode.INVALID)
        lines = self._patch(one) if self.diff else [plain(one.name)]
        say("".join(f"{line}\n" for line in lines), self.options)

    def _patch(self, one: _Changed) -> Iterator[str]:
        from reconciler.manifest.patch import patch
        from reconciler.words import plain

        if _has_masked(one, self.mask):
            yield plain(f"{one.name}: it has values that are masked, so that its lines are not shown")
            return
        for line in patch(one.before, one.after, one.name).split("\n")[:-1]:
            yield _coloured(plain(line))

    def _sum_up(self, changed: int, count: int) -> None:
        from reconciler.cli.output import notice, say
        from reconciler.words import amount

        if changed and self.options.paths == (STDIN,) and not self.check:
            return  # nothing was written anywhere
        if changed:
            many = f"{changed} of {amount(count, 'file')}"
            notice(f"{many} would change." if self.check else f"Formatted {many}.", self.options)
        elif not self.report.codes and not self.options.quiet:
            files = f"{amount(count, 'file')} {'is' if count == 1 else 'are'} in canonical form"
            say(f"Nothing to do: {files if count else 'there are no manifests'}.\n", self.options)


def _write(one: _Changed) -> None:
    """Write a file, unless somebody else has written it meanwhile."""
    from reconciler.cli.output import write_file
    from reconciler.manifest.files import read_file

    if one.path is None:
        return
    try:
        now = read_file(one.path)
    except OSError as error:
        raise ReconcilerError(
            f"cannot read {one.name}: {error.strerror}; see whether it is there, and whose it is"
        ) from error
    if now != one.before:
        raise ReconcilerError(f"{one.name} was changed meanwhile; it is left as it is now, format it again")
    # The file is replaced by another one, which its folder alone has to allow.
    if not one.path.stat().st_mode & _WRITABLE or not os.access(one.path, os.W_OK):
        raise ReconcilerError(
            f"cannot write {one.name}: it is read-only; make it writable (`chmod u+w`) if it is to be formatted"
        )
    write_file(one.path, one.after)


def _has_masked(one: _Changed, mask: tuple[str, ...]) -> bool:
    """Tell whether any line of a manifest may show a value that is masked."""
    from reconciler.manifest import read_manifest
    from reconciler.model import matches

    if not mask:
        return False
    resources = read_manifest(one.before, one.name).resources
    accepted = {each.key for resource in resources for each in resource.accept}
    keys = {key for resource in resources for key in resource.metadata} | accepted
    return any(matches(key, mask) for key in keys) or any(set(glob) & set("*?[") for glob in accepted)


def _coloured(line: str) -> str:
    colours = {"+": "green", "-": "red", "@": "cyan"}
    return click.style(line, fg=colours[line[0]]) if line[:1] in colours else line


def _print(data: bytes) -> None:
    """Print bytes as they are. A reader that went away is no error."""
    out = sys.stdout.buffer
    try:
        out.write(data)
        out.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            raise ReconcilerError(
                f"cannot write to standard output: {error.strerror}; make room, or send it elsewhere"
            ) from error


@contextlib.contextmanager
def _without_collector() -> Iterator[None]:
    """Keep the collector of garbage from looking through large trees again and again, a third of the time otherwise."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
