"""`reconciler init`: what a folder needs to begin with, as files to be read and changed."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from reconciler.cli.options import Options, options
from reconciler.errors import ReconcilerError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from reconciler.errors import Problem

SERVICES = ("github", "gitlab")
SETTINGS, MANIFEST, IGNORED = "reconciler.yaml", "manifests/threads.yaml", ".gitignore"
WORKFLOW = {"github": ".github/workflows/reconciler.yaml", "gitlab": ".gitlab/reconciler.yml"}
"""Where the workflow of each service goes, below the top of a repository."""
ENTRY = ".gitlab-ci.yml"
"""The file that GitLab looks for; it includes ours."""
SCHEMAS = {"settings": ".schemas/reconciler-settings.json", "manifest": ".schemas/reconciler-manifest.json"}
"""Beside the settings, so that they are there offline and in every clone; the files name them in their first lines."""
WRITTEN, ADDED, KEPT = "written", "added to", "left alone"
"""What becomes of a file."""
TEMPLATES = Path(__file__).parent.parent / "templates" / "init"


@click.command()
@options("directory")
@click.option(
    "--ci",
    type=click.Choice([*SERVICES, "none"]),
    help="Whose workflow to write; else by the git remote or by a .gitlab-ci.yml, else github.",
)
def init(ci: str | None, **given: Any) -> None:
    """Write what a folder needs to begin with; asks nothing, and overwrites nothing.

    That is reconciler.yaml with every setting in it, a first manifest, a CI workflow, a line in .gitignore, and schemas
    by which an editor completes, explains and checks what is typed into the first two. After it `plan`, `apply` and
    `drift` work, against the emulator inside the tool: no key and no network is needed.

    What exists is left alone, and named. Where a file cannot be written, none is. The CI workflow names the folder
    below the top of the repository; one with a control character or `${{` in its name can do without (--ci none).

    \b
    Example:
      reconciler init
      reconciler init --ci gitlab -C ops/threads
      reconciler init && reconciler plan
    """
    from reconciler.cli.output import say

    chosen = Options(**given)
    around, known = _around(chosen.cwd), _known(chosen.cwd)
    parts = {part: _state(part, chosen.cwd) for part in _parts(chosen.cwd, around, ci or _service(around), known)}
    _write([part for part, state in parts.items() if state != KEPT])
    lines = [*_told(parts, chosen.cwd), *_notes(parts, chosen.cwd, around), *_lacks(known, chosen.cwd), ""]
    say("\n".join([*lines, _heading(known), *_next(chosen.directory)]) + "\n", chosen)


class NothingWritten(ReconcilerError):
    """A file can be neither written nor left alone."""

    code = "not_written"

    def __init__(self, why: str) -> None:
        super().__init__(f"nothing was written: {why}")


# --- where this is ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Around:
    """What is around a folder: the top of its repository (else itself), the remote's host, the main branch."""

    top: Path
    host: str = ""
    branch: str = "main"


def _around(folder: Path) -> Around:
    """Look at what is around a folder. A repository that git cannot be asked about is known by its top alone."""
    from reconciler.git import repository

    above = (folder, *folder.parents)
    top = next((one for one in above if os.path.lexists(one / ".git")), None)
    if top is None:
        return Around(folder)
    try:
        found = repository(folder)
    except ReconcilerError:
        found = None
    return Around(top) if found is None else Around(top, _host(found.ask), _branch(found.ask))


def _host(ask: Callable[..., str | None]) -> str:
    """Return the host of the remote, in lower case; nothing where there is none, or a folder."""
    import re

    names = (ask("remote") or "").split("\n")
    url = ask("remote", "get-url", "origin" if "origin" in names else names[0]) if names[0] else None
    found = re.match(r"(?:[a-z][a-z0-9+.-]*://(?:[^@/]*@)?|(?:[^@/:]+@)?(?=[^/:]+:))([A-Za-z0-9._-]+)", url or "")
    return found[1].lower() if found else ""


def _branch(ask: Callable[..., str | None]) -> str:
    """Return the main branch: the remote's where it is known, else `main` or `master`, else the one that is here."""
    import re

    known = (ask("symbolic-ref", "--quiet", "--short", "refs/remotes/origin/HEAD") or "").removeprefix("origin/")
    usual = (name for name in ("main", "master") if ask("rev-parse", "--verify", "--quiet", f"refs/heads/{name}"))
    branch = known or next(usual, None) or ask("symbolic-ref", "--quiet", "--short", "HEAD") or "main"
    return branch if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._/-]*", branch) else "main"


def _service(around: Around) -> str:
    named = next((service for service in SERVICES if service in around.host), None)
    if named is not None:
        return named
    return "gitlab" if os.path.lexists(around.top / ENTRY) else "github"


# --- what is to be there ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Part:
    """One file: its path, the folder that it must not leave, what it holds, and what it is for.

    `rule`: a line that is added where the file exists and lacks it. `unless`: something that stands in its place.
    """

    path: Path
    within: Path
    content: Callable[[], str]
    purpose: str
    rule: str = ""
    unless: Path | None = None


@dataclass(frozen=True, slots=True)
class Known:
    """What settings that exist say: where manifests are, for whatever target, and the first thing wrong with them."""

    manifests: frozenset[Path] = frozenset()
    problem: Problem | None = None

    @property
    def lost(self) -> list[Path]:
        """Return the manifests that are named and do not exist."""
        return sorted(path for path in self.manifests if not path.exists())


def _parts(folder: Path, around: Around, service: str, known: Known | None) -> Iterator[Part]:
    from functools import partial

    from reconciler import OWN_FOLDER
    from reconciler.cli.schema import schema_text

    rule = f"{OWN_FOLDER}/"
    yield Part(folder / SETTINGS, folder, _template("reconciler.yaml"), "the settings: targets, guards")
    sample = Part(folder / MANIFEST, folder, _template("threads.yaml"), "a first manifest")
    if os.path.lexists(sample.path):
        yield sample
    elif (there := _manifests(folder, known)) is not None:
        yield replace(sample, unless=there)
    elif _would_be_read(sample, known):
        yield sample
    yield Part(folder / IGNORED, folder, _template("gitignore"), f"keeps {rule} out of git", rule)
    for what, name in SCHEMAS.items():
        yield Part(folder / name, folder, partial(schema_text, what), "completion and checks in editors")
    if service in WORKFLOW:
        path = around.top / WORKFLOW[service]
        content = partial(_workflow, folder, around, service)
        yield Part(path, around.top, content, "plans, applies, looks for drift", unless=_of_other_ending(path))
    if service == "gitlab":
        yield Part(around.top / ENTRY, around.top, partial(_entry, folder, around), "runs the one above")


def _template(name: str) -> Callable[[], str]:
    return lambda: (TEMPLATES / name).read_text(encoding="utf-8")


def _manifests(folder: Path, known: Known | None) -> Path | None:
    """Return what has manifests already, in place of a first one: our folder, or what the settings there are name."""
    from reconciler.manifest.files import SUFFIXES

    own = folder / Path(MANIFEST).parent
    if any(path.suffix in SUFFIXES for path in own.rglob("*")):
        return own
    there = {path for path in known.manifests if path.exists()} if known is not None else set()
    return None if not there or any(own.is_relative_to(one) for one in there) else min(there)


def _would_be_read(sample: Part, known: Known | None) -> bool:
    """Tell whether some target would read a first manifest; of settings that are invalid nobody can tell."""
    if known is None:
        return True
    return known.problem is None and any(sample.path.is_relative_to(one) for one in known.manifests)


def _known(folder: Path) -> Known | None:
    """Return what the settings say, `None` where there are none."""
    from reconciler.errors import InvalidInput
    from reconciler.settings.file import read_settings

    settings = folder / SETTINGS
    if not settings.is_file():
        return None
    try:
        model, _ = read_settings(settings)
    except InvalidInput as invalid:
        return Known(problem=invalid.found[0])
    named = (folder / name for target in model.targets.values() for name in target.manifests)
    return Known(frozenset(Path(os.path.normpath(path)) for path in named))


def _of_other_ending(path: Path) -> Path | None:
    """Return a file that a service takes as it would take ours: one that differs in `.yml` and `.yaml` alone."""
    other = path.with_suffix(".yml" if path.suffix == ".yaml" else ".yaml")
    return other if os.path.lexists(other) and not os.path.lexists(path) else None


def _workflow(folder: Path, around: Around, service: str) -> str:
    """Return the workflow of a service, filled in with what is known."""
    import re

    if service == "gitlab":  # it takes everything from variables, which stand where it is included
        return _template("../gitlab-ci.yml")()
    text = _template("github.yaml")().replace("[main]", f"[{around.branch}]")
    known = _source()
    if known is not None:
        text = re.sub(r"you/reconciler@0+ +# replace", f"{known[0]}@{known[1]}", text)
    return text.replace('FOLDER: "."', f"FOLDER: {_scalar(_below(folder, around))}")


def _entry(folder: Path, around: Around) -> str:
    """Return the file that GitLab begins with, filled in with what is known."""
    import re

    text, known = _template(ENTRY.lstrip("."))(), _source()
    if known is not None:
        text = re.sub(r"git\.example/you/reconciler@\S+ +# replace", f"github.com/{known[0]}@{known[1]}", text)
    settings = (Path(_below(folder, around)) / SETTINGS).as_posix()
    # GitLab puts values of other variables behind every $ but a doubled one.
    return text.replace(f'"{SETTINGS}"', _scalar(settings.replace("$", "$$")))


def _scalar(text: str) -> str:
    """Return printable text as YAML has it in double quotes: as JSON does."""
    import json

    return json.dumps(text, ensure_ascii=False)


def _below(folder: Path, around: Around) -> str:
    """Return where a folder is below the top of its repository; raises `NothingWritten` if no CI file can say so."""
    from reconciler.words import shown

    below = folder.relative_to(around.top).as_posix()
    if not below.isprintable() or "${{" in below:  # the latter GitHub evaluates wherever it stands
        raise NothingWritten(
            f"no CI file can name the folder {shown(below)}: rename it, or leave the file out by --ci none"
        )
    return below


def _source() -> tuple[str, str] | None:
    """Return the repository on GitHub, as owner/name, and the commit that this was installed from, where it was."""
    import importlib.metadata
    import json
    import re

    try:
        text = importlib.metadata.distribution("reconciler").read_text("direct_url.json")
        told = json.loads(text or "{}")
        url, commit = str(told.get("url", "")), str(told.get("vcs_info", {}).get("commit_id", ""))
    except (importlib.metadata.PackageNotFoundError, ValueError, AttributeError):
        return None
    found = re.fullmatch(r"https://github\.com/([A-Za-z0-9._-]+/[A-Za-z0-9._-]+?)(?:\.git)?/?", url)
    return (found[1], commit) if found and re.fullmatch(r"[0-9a-f]{40}", commit) else None


# --- writing it -------------------------------------------------------------------------------------------------------


def _state(part: Part, folder: Path) -> str:
    """Return what is to become of a file; raises `NothingWritten` where it can be neither written nor left alone."""
    hindrance = _hindrance(part, folder)
    if hindrance is not None:
        raise NothingWritten(hindrance)
    if part.unless is not None:
        return KEPT
    if not os.path.lexists(part.path):
        return WRITTEN
    return ADDED if part.rule and not _has(part) else KEPT


def _hindrance(part: Part, folder: Path) -> str | None:
    """Return why a file can be neither written nor left alone."""
    from reconciler.manifest.files import name_of
    from reconciler.words import plain

    name = plain(name_of(part.path, folder))
    if not Path(os.path.realpath(part.path)).is_relative_to(os.path.realpath(part.within)):
        return f"a link leads from {name} out of {plain(str(part.within))}: remove it, or begin in another folder (-C)"
    if part.unless is not None:
        return None
    above = next(one for one in part.path.parents if os.path.lexists(one))
    what = plain(name_of(above, folder))
    if not above.is_dir():
        return f"{what} is no folder, and {name} belongs there: move it away"
    if part.path.is_dir():
        return f"{name} is a folder, and a file of that name is needed: move it away"
    if os.path.lexists(part.path) and not part.path.exists():
        return f"{name} is a link that leads nowhere: remove it"
    if (not part.path.exists() or part.rule) and not os.access(above, os.W_OK | os.X_OK):
        where = "this folder" if what == "." else what
        return f"you may not write into {where}, and {name} belongs there: make that possible, or name another by -C"
    return None


def _has(part: Part) -> bool:
    """Tell whether a file has the rule that it needs, in one of the ways in which it may be written."""
    rules = {line.strip().strip(b"/") for line in (_before(part.path) or b"").splitlines()}
    return part.rule.strip("/").encode() in rules


def _before(path: Path) -> bytes | None:
    """Return what a file holds; `None` where there is none. Raises `NothingWritten`."""
    from reconciler.manifest.files import read_file
    from reconciler.words import plain

    if not path.exists():
        return None
    try:
        return read_file(path)
    except OSError as error:
        what = f"{plain(str(path))} cannot be read: {error.strerror}"
        raise NothingWritten(f"{what}; see what it is, and move it away") from error


def _write(parts: list[Part]) -> None:
    """Write all files; where one of them cannot be written, what was written before it goes again."""
    import contextlib

    from reconciler.cli.output import make_folder, write_file

    made = [(part.path, before := _before(part.path), _content(part, before or b"")) for part in parts]
    done: list[tuple[Path, bytes | None]] = []
    try:
        for path, before, content in made:
            make_folder(path.parent)
            done.append((path, before))
            write_file(path, content)
    except BaseException:
        for path, before in done:
            with contextlib.suppress(OSError, ReconcilerError):
                path.unlink(missing_ok=True) if before is None else write_file(path, before)
        raise


def _content(part: Part, before: bytes) -> bytes:
    """Return what a file is to hold; what is there stays, and so do its line ends."""
    added = part.content().encode()
    if not before:
        return added
    end = b"\r\n" if b"\r\n" in before else b"\n"
    gap = b"" if before.endswith(b"\n") else end
    return before + gap + end + added.replace(b"\n", end)


# --- telling it -------------------------------------------------------------------------------------------------------


def _told(parts: Mapping[Part, str], folder: Path) -> Iterator[str]:
    """Yield a line for each file."""
    from reconciler.manifest.files import name_of
    from reconciler.words import plain

    names = [plain(name_of(part.unless or part.path, folder)) for part in parts]
    width = max(map(len, names))
    for (part, state), name in zip(parts.items(), names, strict=True):
        yield f"{state}: {name}" if state == KEPT else f"{state + ':':11} {name.ljust(width)}  {part.purpose}"


def _notes(parts: Mapping[Part, str], folder: Path, around: Around) -> Iterator[str]:
    """Yield what else is worth knowing, a line each."""
    from reconciler.manifest.files import name_of
    from reconciler.settings import CONFIG_VARIABLE, TARGET_VARIABLE
    from reconciler.words import plain, shown

    between = [one for one in folder.parents if one.is_relative_to(around.top)]
    further = next((one / SETTINGS for one in between if os.path.lexists(one / SETTINGS)), None)
    if further is not None:
        name = plain(name_of(further, folder))
        yield f"note: there is a {name} further up; in this folder its own {SETTINGS} counts, not that one"
    for variable, what in ((CONFIG_VARIABLE, "settings file"), (TARGET_VARIABLE, "target")):
        if os.environ.get(variable):
            yield f"note: {variable} is set: commands use the {what} {shown(os.environ[variable])}"
    for part, state in parts.items():
        advice = _advice(part, state, folder, around)
        if advice is not None:
            yield f"note: {plain(name_of(part.path, folder))} {advice}"


def _lacks(known: Known | None, folder: Path) -> Iterator[str]:
    """Yield what the settings there are lack before a command can work, a line each."""
    from reconciler.manifest.files import name_of
    from reconciler.words import plain

    if known is None:
        return
    if known.problem is not None:
        written = "" if (folder / MANIFEST).exists() else "; no manifest was written, for they say where it belongs"
        yield f"note: the settings are invalid, `reconciler validate` lists why{written}"
        yield f"note: {plain(str(known.problem))}"
    for path in known.lost:
        name = plain(name_of(path, folder))
        yield f"note: the settings look for manifests in {name}, which does not exist: create it"


def _heading(known: Known | None) -> str:
    """Return the line above the commands that come next."""
    if known is None:
        return "Next, against the emulator inside the tool:"
    if known.problem is not None:
        return "Next, once the settings are valid:"
    if known.lost:
        return "Next, once that is there, against the target of the settings there are:"
    return "Next, against the target of the settings there are:"


def _advice(part: Part, state: str, folder: Path, around: Around) -> str | None:
    """Return what is to be done about a file."""
    if state != KEPT:
        workflow = part.path in {around.top / name for name in WORKFLOW.values()}
        return "says at its beginning what it needs before it works" if workflow else None
    what = next((what for what, name in SCHEMAS.items() if part.path == folder / name), None)
    if what is not None and part.path.is_file() and _before(part.path) != part.content().encode():
        return f"is not what this version has; `reconciler schema {what} > {SCHEMAS[what]}` renews it"
    if (
        part.path == around.top / ENTRY
        and part.path.is_file()
        and b"/reconciler.yml" not in (_before(part.path) or b"")
    ):
        return f"has to include the other: `include: [{{local: /{WORKFLOW['gitlab']}}}]`"
    return None


def _next(directory: str) -> Iterator[str]:
    """Yield the commands that come next."""
    import shlex

    from reconciler.words import plain

    here = "" if directory == "." else f" -C {shlex.quote(directory)}"
    steps = {
        "plan": "shows what would be written",
        "apply": "asks, and writes it",
        "drift": "tells what others changed since",
    }
    lines = {plain(f"reconciler {name}{here}"): what for name, what in steps.items()}
    width = max(map(len, lines))
    for line, what in lines.items():
        yield f"  {line.ljust(width)}  {what}"
