"""`reconciler demo`: the main job from declaring to converging, each command printed before it runs."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reconciler import OWN_FOLDER
from reconciler.errors import ReconcilerError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SETTINGS = """\
version: 1
default_target: local
targets:
  local: {provider: emulator, manifests: [manifests]}   # embedded: no key, no network
"""

FOREIGN = ("RECONCILER_", "OPENAI_", "AZURE_", "GIT_")
"""How variables begin that would lead a command elsewhere, or give it a key: no command of the tour sees them."""
PATIENCE = 30.0
"""Seconds that the emulator has for an answer."""
EDITED = "threads/thread_abc124"
EDIT = {"metadata": {"plan": "free", "seen_by": "support-bot"}}


@click.command()
def demo() -> None:
    """Show the main job at work, in a temporary folder, against the embedded emulator.

    Every command that runs is printed first; all of them work the same in a folder of your own.

    \b
    Example:
      reconciler demo
    """
    with tempfile.TemporaryDirectory(prefix="reconciler-demo-") as name:
        _tour(Path(name))


def _tour(folder: Path) -> None:
    shutil.copytree(samples(), folder / "manifests")
    (folder / "reconciler.yaml").write_text(SETTINGS, encoding="utf-8")
    _tell("A folder of manifests says which metadata each thread and conversation should carry.")
    _commit(folder)
    _command(folder, "validate")
    _tell("What is there, and what differs? Nothing is written; the plan is kept in a file.")
    _command(folder, "plan", "--out", "json=plan.json")
    _tell("Carry out just that plan. (Without --yes it asks; without a plan file it makes a plan first.)")
    _command(folder, "apply", "plan.json", "--yes", "--quiet")
    _tell("Now there is nothing left to do.")
    _command(folder, "plan")
    _tell("Somebody changes a thread behind git's back.")
    _edit_behind_gits_back(folder)
    _tell("The next look shows it: exit code 2. The key that no manifest declares is foreign: it stays.")
    _command(folder, "drift", expect=2)
    _tell("Git wins. (`reconciler adopt` would take the change into the manifest.)")
    _command(folder, "apply", "--yes", "--quiet")
    _tell("Converged: exit code 0 where any difference would be 2.")
    _command(folder, "plan", "--detailed-exitcode")


def _commit(folder: Path) -> None:
    """Put everything into a repository, where there is git: then the applies are remembered."""
    if shutil.which("git") is None:
        return
    (folder / ".gitignore").write_text(f"{OWN_FOLDER}/\n", encoding="utf-8")
    who = ("-c", "user.name=demo", "-c", "user.email=demo@localhost", "-c", "commit.gpgsign=false")
    for arguments in (("init", "--quiet"), ("add", "--all"), (*who, "commit", "--quiet", "--message", "Declare it")):
        _show(f"git {shlex.join(one for one in arguments if one not in who)}")
        subprocess.run(["git", *arguments], cwd=folder, env=_environment(), check=True)  # noqa: S603, S607 - ours


def samples() -> Path:
    """Return the folder of sample manifests: the checkout's, or the copy inside an installed package."""
    package = Path(__file__).parent.parent
    return next(folder for folder in (package / "samples", package.parent / "manifests") if folder.is_dir())


def _tell(sentence: str) -> None:
    click.echo(f"\n# {sentence}")


def _command(folder: Path, *arguments: str, expect: int = 0) -> None:
    _show(f"reconciler {shlex.join(arguments)}")
    done = subprocess.run(_process(arguments), cwd=folder, env=_environment(), check=False)  # noqa: S603 - ours
    if done.returncode != expect:
        raise ReconcilerError(
            f"the demo expected exit code {expect}, and got {done.returncode}; see above what went wrong, and report it"
        )


def _process(arguments: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "reconciler", *arguments]


def _environment() -> dict[str, str]:
    """Return the environment without what could redirect a command: the tour never leaves its folder."""
    return {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}


def _show(command: str) -> None:
    click.secho(f"$ {command}", bold=True)
    sys.stdout.flush()


def _edit_behind_gits_back(folder: Path) -> None:
    """Change a thread over HTTP, as any other program would."""
    arguments = ["emulate", "--database", f"{OWN_FOLDER}/local.sqlite", "--port", "0"]
    _show(f"reconciler {shlex.join(arguments)} &")
    with _running(folder, arguments) as url:
        address = f"{url}/{EDITED}"
        _show(f"curl -X POST {address} -H 'content-type: application/json' -d '{json.dumps(EDIT)}'")
        click.echo(_post(address))


def _post(address: str) -> str:
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(address, json.dumps(EDIT).encode(), headers)  # noqa: S310 - our own loopback server
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(request, timeout=PATIENCE) as answer:
            return json.dumps(json.load(answer))
    except (OSError, HTTPException, ValueError) as error:
        raise ReconcilerError(f"the demo could not change the thread at {address}: {error}; run it again") from error


@contextmanager
def _running(folder: Path, arguments: list[str]) -> Iterator[str]:
    """Run the emulator, and give the URL that it announces."""
    with subprocess.Popen(  # noqa: S603 - ours
        _process(arguments), cwd=folder, env=_environment(), stdout=subprocess.PIPE, text=True
    ) as server:
        try:
            yield _announced(server)
        finally:
            server.terminate()


def _announced(server: subprocess.Popen[str]) -> str:
    line = server.stdout.readline() if server.stdout else ""
    click.echo(line, nl=False)
    words = [word for word in line.split() if word.startswith("http://")]
    if not words:
        raise ReconcilerError("the emulator did not start; try `reconciler emulate --port 0` by itself")
    return words[0]
