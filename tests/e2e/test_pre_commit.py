"""The hooks for pre-commit: as pre-commit has them, and tried by it on a repository with manifests, good and bad."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from repositories import git
from ruamel.yaml import YAML
from scratch import Scratch

ROOT = Path(__file__).parents[2]
FILE = ROOT / ".pre-commit-hooks.yaml"
HOOKS = {hook["id"]: hook for hook in YAML(typ="safe", pure=True).load(FILE.read_text(encoding="utf-8"))}
CHECK, FORMAT = HOOKS
PIP_CONFIGURATION = Path("~/.config/pip/pip.conf").expanduser()
"""Where this machine says which package index there is; asked before `conftest.py` gives everybody an empty home."""
SETTINGS = "version: 1\ntargets: {local: {provider: emulator, manifests: [manifests]}}\n"
GOOD = "version: 1\nthreads:\n  thread_a:\n    metadata:\n      plan: gold\n"


def validated(path):
    command = [sys.executable, "-m", "pre_commit", "validate-manifest", str(path)]
    env = {**os.environ, "PRE_COMMIT_HOME": str(path.parent / "home")}
    return subprocess.run(command, env=env, cwd=path.parent, capture_output=True, text=True, check=False)


def test_the_hooks_are_as_pre_commit_has_them_and_it_refuses_others(tmp_path):
    shutil.copy(FILE, tmp_path / "good.yaml")
    done = validated(tmp_path / "good.yaml")
    assert done.returncode == 0, done.stdout
    (tmp_path / "bad.yaml").write_text(FILE.read_text().replace("language: python", "language: pythonic"))
    assert validated(tmp_path / "bad.yaml").returncode == 1


def environment(home):
    """Return what pre-commit and its pip need to find their way, the user's package index among it."""
    own = re.compile(r"PIP_.*|.*_proxy|PATH|SSL_CERT_.*|GIT_CONFIG_.*", re.IGNORECASE)
    env = {name: value for name, value in os.environ.items() if own.fullmatch(name)}
    if PIP_CONFIGURATION.is_file():
        env.setdefault("PIP_CONFIG_FILE", str(PIP_CONFIGURATION))
    return {**env, "HOME": str(home), "PRE_COMMIT_HOME": str(home / "pre-commit"), "PRE_COMMIT_COLOR": "never"}


@pytest.fixture
def source(tmp_path):
    """A repository with everything that this checkout holds, committed or not."""
    place = tmp_path / "source"
    listing = ["git", "-c", f"safe.directory={ROOT}", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0"):
        if (ROOT / name).is_file() and not name.startswith("tests/"):
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, place / name)
    git(place, "init", "-q")
    git(place, "add", "-A")
    git(place, "commit", "-q", "-m", "All of it")
    return place


def tried(source, scratch, hook):
    """Let pre-commit try a hook on everything in a repository."""
    command = [sys.executable, "-m", "pre_commit", "try-repo", str(source), hook, "--all-files", "--verbose"]
    env = environment(scratch.home)
    done = subprocess.run(command, cwd=scratch.folder, env=env, capture_output=True, text=True, check=False)
    if re.search(r"No matching distribution|ConnectionError|Temporary failure in name", done.stdout + done.stderr):
        pytest.skip(f"the package registry cannot be reached: {done.stdout[-300:]}")
    return done


def repository(tmp_path, files):
    scratch = Scratch(tmp_path / "scratch")
    for name, text in files.items():
        scratch.write(name, text)
    scratch.commit()
    return scratch


def test_good_manifests_pass_the_check(source, tmp_path):
    done = tried(source, repository(tmp_path, {"reconciler.yaml": SETTINGS, "manifests/a.yaml": GOOD}), CHECK)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Passed" in done.stdout


def test_a_resource_that_two_files_declare_fails_the_check(source, tmp_path):
    files = {"reconciler.yaml": SETTINGS, "manifests/a.yaml": GOOD, "manifests/b.yaml": GOOD}
    done = tried(source, repository(tmp_path, files), CHECK)
    assert done.returncode == 1
    assert "exit code: 3" in done.stdout
    assert "manifests/b.yaml" in done.stdout


def test_a_manifest_that_is_not_canonical_is_formatted_and_fails_once(source, tmp_path):
    text = GOOD.replace("      plan: gold\n", "      plan:   gold   # kept\n\n\n\n")
    scratch = repository(tmp_path, {"reconciler.yaml": SETTINGS, "manifests/a.yaml": text})
    done = tried(source, scratch, FORMAT)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "files were modified by this hook" in done.stdout
    assert scratch.read("manifests/a.yaml") != text
    assert "# kept" in scratch.read("manifests/a.yaml")
    git(scratch.folder, "add", "-A")
    again = scratch.run("fmt --check manifests/a.yaml")
    assert again.code == 0, again.err


@pytest.mark.parametrize(
    ("path", "hooks"),
    [
        ("manifests/a.yaml", 2),
        ("teams/one/manifests/deep/a.yml", 2),
        ("reconciler.yaml", 1),
        ("ops/reconciler.yml", 1),
        ("docs/a.yaml", 0),
        ("manifests/a.json", 0),
        ("myreconciler.yaml", 0),
    ],
)
def test_the_hooks_are_for_manifests_and_the_check_for_settings_as_well(path, hooks):
    assert sum(re.search(hook["files"], path) is not None for hook in HOOKS.values()) == hooks
