"""The container: as hadolint would have it, and its build run here as far as that goes without a container."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from scratch import Scratch

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "Containerfile").read_text(encoding="utf-8")
IGNORED = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
PIP_CONFIGURATION = Path("~/.config/pip/pip.conf").expanduser()
"""Where this machine says which package index there is; asked before `conftest.py` gives everybody an empty home."""


def instructions(text):
    """Return the instructions as pairs of a word and its arguments, a list for each stage."""
    lines = "\n".join(line for line in text.splitlines() if not line.startswith("#")).replace("\\\n", " ")
    stages = []
    for line in filter(str.strip, lines.splitlines()):
        word, rest = line.split(maxsplit=1)
        if word == "FROM":
            stages.append([])
        stages[-1].append((word, rest))
    return stages


BUILD, FINAL = instructions(TEXT)


def linted(text):
    program = Path(sys.executable).parent / "hadolint"
    return subprocess.run([str(program), "-"], input=text, capture_output=True, text=True, check=False)


def test_the_file_is_as_hadolint_would_have_it():
    done = linted(TEXT)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("right", "wrong"),
    [("slim-bookworm AS build", "latest AS build"), ("--no-install-recommends", ""), ("WORKDIR /", "WORKDIR ")],
)
def test_hadolint_refuses_another_file(right, wrong):
    text = re.sub(r"python:\S+ AS", "python:latest AS", TEXT) if "latest" in wrong else TEXT.replace(right, wrong)
    assert text != TEXT
    assert linted(text).returncode == 1


def test_the_base_is_pinned_and_the_same_for_both_stages():
    bases = {rest.split()[0] for stage in (BUILD, FINAL) for word, rest in stage if word == "FROM"}
    (base,) = bases
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+", base)


def test_it_runs_as_nobody_in_particular_and_starts_the_command():
    said = dict(FINAL)
    assert re.fullmatch(r"[1-9]\d+:[1-9]\d+", said["USER"])
    assert said["ENTRYPOINT"] == '["reconciler"]'
    assert said["WORKDIR"] == "/work"
    (installing,) = (rest for word, rest in FINAL if word == "RUN")
    assert "ca-certificates git" in installing
    assert installing.index("apt-get install") < installing.index("rm -rf /var/lib/apt/lists/*")
    assert not re.search(r"(?i)(key|token|secret)=", TEXT)
    (building,) = (rest for word, rest in BUILD if word == "RUN")
    assert "install --no-cache-dir" in building


def context(place):
    """Copy what the builder is sent: what .dockerignore lets through."""
    kept = [line[1:] for line in IGNORED if line.startswith("!")]
    assert IGNORED[0] == "*"
    for name in kept:
        path = ROOT / name
        if path.is_dir():
            shutil.copytree(path, place / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(path, place / name)


def installed(tmp_path):
    """Do what the first stage does, in folders of this test; returns what it leaves for the second one."""
    sent, source, place = tmp_path / "sent", tmp_path / "source", tmp_path / "reconciler"
    sent.mkdir()
    source.mkdir()
    context(sent)
    for word, rest in BUILD:
        if word == "COPY":
            *names, to = rest.split()
            for name in names:
                target = source / to / name if to == "./" else source / to
                copy = shutil.copytree if (sent / name).is_dir() else shutil.copy
                copy(sent / name, target)
    (script,) = (rest for word, rest in BUILD if word == "RUN")
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    (programs / "python").chmod(0o755)
    own = re.compile(r"PIP_.*|.*_proxy|SSL_CERT_.*", re.IGNORECASE)
    env = {name: value for name, value in os.environ.items() if own.fullmatch(name)}
    if PIP_CONFIGURATION.is_file():
        env.setdefault("PIP_CONFIG_FILE", str(PIP_CONFIGURATION))
    env |= {"PATH": f"{programs}:{os.environ['PATH']}", "HOME": str(tmp_path)}
    line = ["sh", "-ec", script.replace("/opt/reconciler", str(place))]
    done = subprocess.run(line, cwd=source, env=env, capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    if done.returncode and re.search(r"No matching distribution|ConnectionError|Temporary failure in name", said):
        pytest.skip(f"the package registry cannot be reached: {said[-300:]}")
    assert done.returncode == 0, said
    return place


def test_what_the_first_stage_leaves_runs_and_writes_nothing_beside_the_work(tmp_path):
    place = installed(tmp_path)
    assert not list(place.rglob("pip"))
    before = {path: path.stat().st_mtime_ns for path in place.rglob("*")}
    modules = [path for path in before if path.suffix == ".py" and "site-packages" in path.parts]
    # What pip itself would leave out is no module either: a file that is a template, say.
    uncompiled = [path for path in modules if not list((path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"))]
    assert not uncompiled
    scratch = Scratch(tmp_path / "scratch")
    scratch.write("reconciler.yaml", "version: 1\ntargets: {local: {provider: emulator, manifests: [manifests]}}\n")
    scratch.manifest("threads: {thread_a: {metadata: {plan: gold}}}\n")
    scratch.commit()
    told = dict(part.split("=", 1) for part in " ".join(rest for word, rest in FINAL if word == "ENV").split())
    assert told["PATH"].startswith("/opt/reconciler/bin:")
    nowhere = tmp_path / "home-that-is-none"
    env = {**told, "PATH": f"{place}/bin:{os.environ['PATH']}", "HOME": str(nowhere)}
    for line, code in (("validate", 0), ("plan --detailed-exitcode", 2), ("apply --yes", 0), ("drift", 0)):
        done = subprocess.run(
            ["reconciler", *line.split()], cwd=scratch.folder, env=env, capture_output=True, text=True, check=False
        )
        assert done.returncode == code, done.stderr
    assert {path: path.stat().st_mtime_ns for path in place.rglob("*")} == before
    assert not nowhere.exists()
