"""`reconciler demo`: the main job from declaring to converging, each command printed before it runs."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reconciler.errors import ReconcilerError

if TYPE_CHECKING:
    from collections.abc import Iterator

SETTINGS = """\
version: 1
default_target: local
targets:
  local: {provider: emulator, manifests: [manifests]}   # embedded: no key, no network
"""

EDITED = "threads/thread_onboarding_001"
EDIT = {"metadata": {"plan": "silver", "seen_by": "support-bot"}}


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
    _tell("A folder of manifests says which metadata each thread should carry.")
    _command(folder, "validate")
    _tell("What is there, and what differs? Nothing is written yet.")
    _command(folder, "plan")
    _tell("Make it so. (Without --yes it asks.)")
    _command(folder, "apply", "--yes")
    _tell("Now there is nothing left to do.")
    _command(folder, "plan")
    _tell("Somebody changes a thread behind git's back.")
    _edit_behind_gits_back(folder)
    _tell("The next plan shows it; the key that nobody declared is foreign and stays.")
    _command(folder, "plan", "--detailed-exitcode", expect=2)
    _command(folder, "apply", "--yes")
    _tell("Converged again.")
    _command(folder, "plan", "--detailed-exitcode")


def samples() -> Path:
    """Return the folder of sample manifests: the checkout's, or the copy inside an installed package."""
    package = Path(__file__).parent.parent
    return next(folder for folder in (package / "samples", package.parent / "manifests") if folder.is_dir())


def _tell(sentence: str) -> None:
    click.echo(f"\n# {sentence}")


def _command(folder: Path, *arguments: str, expect: int = 0) -> None:
    _show("reconciler", *arguments)
    done = subprocess.run([sys.executable, "-m", "reconciler", *arguments], cwd=folder, check=False)  # noqa: S603 - ours
    if done.returncode != expect:
        raise ReconcilerError(f"the demo expected exit code {expect}, and got {done.returncode}")


def _show(*words: str) -> None:
    click.secho(f"$ {shlex.join(words)}", bold=True)
    sys.stdout.flush()


def _edit_behind_gits_back(folder: Path) -> None:
    """Change a thread over HTTP, as any other program would."""
    import httpx

    arguments = ["emulate", "--database", ".reconciler/local.sqlite", "--port", "0"]
    _show("reconciler", *arguments, "&")
    with _running(folder, arguments) as url:
        address = f"{url}/{EDITED}"
        _show("curl", "-X", "POST", address, "-H", "content-type: application/json", "-d", json.dumps(EDIT))
        answer = httpx.post(address, json=EDIT, trust_env=False)
        click.echo(json.dumps(answer.json()["metadata"]))


@contextmanager
def _running(folder: Path, arguments: list[str]) -> Iterator[str]:
    """Run the emulator, and give the URL that it announces."""
    command = [sys.executable, "-m", "reconciler", *arguments]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as server:  # noqa: S603 - ours
        try:
            yield _announced(server)
        finally:
            server.terminate()


def _announced(server: subprocess.Popen[str]) -> str:
    line = server.stdout.readline() if server.stdout else ""
    click.echo(line, nl=False)
    words = [word for word in line.split() if word.startswith("http://")]
    if not words:
        raise ReconcilerError("the emulator did not start")
    return words[0]
