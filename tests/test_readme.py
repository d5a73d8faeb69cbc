"""The README shows what really happens: its example is run, its files are read."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from scratch import ROOT

from reconciler import emulator
from reconciler.cli.demo import SETTINGS, samples
from reconciler.dialects import REPLACE
from reconciler.manifest import load, read_manifest
from reconciler.settings import resolve

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)
CONSOLE = next(text for language, text in BLOCKS if language == "console")
YAML = [text for language, text in BLOCKS if language == "yaml"]
MANIFESTS = [text for text in YAML if "version: 1" in text and "targets:" not in text]
DAY = "2026-11-22T12:00:00Z"
"""When the example takes place, so that its commit has the same id each time."""


def run(folder, command):
    words = command.split()
    assert words[0] == "reconciler"
    done = subprocess.run(
        [sys.executable, "-m", "reconciler", *words[1:]], cwd=folder, env={**os.environ, "PYTHONPATH": ROOT},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.stdout


def commit(folder):
    (folder / ".gitignore").write_text(".reconciler/\n", encoding="utf-8")
    names = {f"GIT_{role}_{part}": "x" for role in ("AUTHOR", "COMMITTER") for part in ("NAME", "EMAIL")}
    dates = {"GIT_AUTHOR_DATE": DAY, "GIT_COMMITTER_DATE": DAY}
    for line in ("init -q", "add -A", "commit -q -m Start"):
        subprocess.run(["git", *line.split()], cwd=folder, env={**os.environ, **names, **dates}, check=True)


def test_the_first_example_prints_what_the_readme_shows(tmp_path):
    (tmp_path / "manifests").mkdir()
    (tmp_path / "manifests" / "support.yaml").write_text(YAML[0], encoding="utf-8")
    settings = SETTINGS.replace("manifests: [manifests]", "manifests: [manifests], writes: {thread: replace}")
    (tmp_path / "reconciler.yaml").write_text(settings, encoding="utf-8")
    declared = [desired.ref for desired in load([tmp_path / "manifests"], root=tmp_path).resources]
    before = {"customer": "acme", "plan": "silver", "trial_ends": "2026-05-01", "last_seen": "2026-11-20"}
    with emulator.embedded(tmp_path / ".reconciler" / "local.sqlite", {"thread": REPLACE}, declared) as api:
        body = json.dumps({"metadata": before}).encode()
        assert api.handle("POST", "/v1/threads/thread_abc123", {}, body)[0] == 200

    commit(tmp_path)
    shown = "\n".join(
        f"$ {command}\n{run(tmp_path, command)}" for command in re.findall(r"^\$ (.*)$", CONSOLE, re.MULTILINE)
    )
    assert shown == CONSOLE


@pytest.mark.parametrize("text", [text for text in YAML if "targets:" in text], ids=["start", "reference"])
def test_the_settings_of_the_readme_are_valid(tmp_path, text):
    (tmp_path / "reconciler.yaml").write_text(text, encoding="utf-8")
    assert resolve(cwd=tmp_path, env={}, config=None, target="local").target.provider.embedded


@pytest.mark.parametrize("text", MANIFESTS, ids=["example", "reference"])
def test_the_manifests_of_the_readme_are_valid(text):
    assert read_manifest(text.encode(), "m.yaml").problems == ()


def test_the_accepted_drift_of_the_readme_is_valid():
    (fragment,) = (text for text in YAML if "accept:" in text and text not in MANIFESTS)
    (resource,) = read_manifest(f"version: 1\nthreads:\n{fragment}".encode(), "m.yaml").resources
    assert resource.accept[0].until == "2026-12-31"


def test_the_samples_are_valid_and_show_what_manifests_can_say():
    found = load([samples()], root=samples())
    assert len(found.files) >= 3
    assert {desired.ref.kind for desired in found.resources} >= {"thread", "conversation"}
    assert any(desired.ignore for desired in found.resources)
    assert any(None in desired.metadata.values() for desired in found.resources)
    assert any(desired.ownership == "exclusive" for desired in found.resources)
