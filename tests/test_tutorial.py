"""The tutorial of the README, done as it stands: each command in one shell, each output as shown.

After a wanted change: `UPDATE_GOLDEN=1 pytest tests/test_tutorial.py` writes the outputs anew: read the difference.
"""

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from scratch import ROOT

FILE = Path(__file__).parent.parent / "README.md"
README = FILE.read_text(encoding="utf-8")
TITLE = "## Ten minutes to drift detection"
TUTORIAL = re.search(rf"^{TITLE}.*?(?=^## )", README, re.DOTALL | re.MULTILINE)[0]
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", TUTORIAL, re.DOTALL)
DAY = "2026-11-22T12:00:00Z"
"""When it takes place, so that its commits have the same ids each time."""
PORT = "4010"
"""The port that the reader uses; here it is one that is free."""
TIME = re.compile(r"about \d+ s\b")
"""How long an apply may take is a matter of the machine."""
END = "--- done: "


class Shell:
    """One bash for the whole tutorial, as the reader has one."""

    def __init__(self, place: Path) -> None:
        folder = place / "bin"
        folder.mkdir()
        (folder / "reconciler").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m reconciler "$@"\n')
        (folder / "reconciler").chmod(0o755)
        names = {f"GIT_{role}_{part}": "x" for role in ("AUTHOR", "COMMITTER") for part in ("NAME", "EMAIL")}
        env = {
            **names, "GIT_AUTHOR_DATE": DAY, "GIT_COMMITTER_DATE": DAY, "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull, "HOME": str(place), "PATH": f"{folder}:{os.environ['PATH']}",
            "PYTHONPATH": ROOT,
        }  # fmt: skip
        self._process = subprocess.Popen(
            ["bash", "--noprofile", "--norc"], cwd=place, env=env, text=True, bufsize=1,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def run(self, command: str) -> str:
        """Type a command, and return what the screen then shows."""
        self._process.stdin.write(f"{command}\necho '{END}'$?\n")
        self._process.stdin.flush()
        lines = []
        for line in self._process.stdout:
            if line.startswith(END):
                return "".join(lines)
            lines.append(line)
        raise AssertionError(f"the shell ended at: {command}\n{''.join(lines)}")

    def leave(self) -> None:
        """End the shell; what it started in the background has been ended by the tutorial."""
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(60)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """The folder in which the tutorial was done, and the blocks as they came out."""
    place = tmp_path_factory.mktemp("tutorial")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shell = Shell(place)
    shown = []
    for language, text in BLOCKS:
        assert language == "console", "a reader types what stands in a block"
        for command in re.findall(r"^\$ (.*(?:\\\n.*)*)$", text, re.MULTILINE):
            out = shell.run(command.replace(PORT, port)).replace(port, PORT)
            shown.append((text, f"$ {command}\n{TIME.sub('about 1 s', out)}"))
    shell.leave()
    return place, shown


def blocks(shown):
    texts = {}
    for text, part in shown:
        texts[text] = texts.get(text, "") + part
    return texts


def test_each_command_shows_what_the_tutorial_says(done):
    _, shown = done
    came_out = blocks(shown)
    if os.environ.get("UPDATE_GOLDEN"):
        told = README
        for before, after in came_out.items():
            told = told.replace(f"```console\n{before}```", f"```console\n{after}```")
        FILE.write_text(told, encoding="utf-8")
    assert list(came_out.values()) == [text for _, text in BLOCKS]


def test_the_tutorial_comes_to_drift_that_is_found_and_to_a_workflow_that_looks_for_it(done):
    place, shown = done
    drift = [part for _, part in shown if part.startswith("$ reconciler drift")]
    assert any("Drift: 1 field on 1 resource" in part for part in drift)
    (workflow,) = (place / "support" / ".github" / "workflows").iterdir()
    assert "schedule" in workflow.read_text(encoding="utf-8")
    assert json.loads((place / "support" / ".schemas" / "reconciler-manifest.json").read_text(encoding="utf-8"))
