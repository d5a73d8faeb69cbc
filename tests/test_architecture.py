"""Promises about the whole: floors, exit codes, the README."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from reconciler.cli import COMMANDS, cli
from reconciler.errors import ExitCode, ReconcilerError
from reconciler.kinds import KINDS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
ARCHITECTURE = (ROOT / "reconciler" / "ARCHITECTURE.md").read_text(encoding="utf-8")
SOURCES = sorted((ROOT / "reconciler").rglob("*.py"))


def test_imports_only_go_down():
    # The linter finds the contracts in pyproject.toml of the folder that it runs in.
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run()"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def family(root):
    return [root, *(found for child in root.__subclasses__() for found in family(child))]


def test_each_branch_of_the_error_family_owns_its_exit_code():
    own = {error: error.__dict__["exit_code"] for error in family(ReconcilerError) if "exit_code" in error.__dict__}
    assert len(set(own.values())) == len(own)
    assert all(error.__doc__ for error in own)


@pytest.mark.parametrize("code", ExitCode)
def test_the_readme_tells_every_exit_code(code):
    assert re.search(rf"^\| .*\b{code.value}\b.* \|", README, re.MULTILINE)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_in_the_readme_and_its_help_has_an_example(name):
    command = cli.get_command(click.Context(cli), name)
    assert f"`{name}" in README
    assert "\\b" not in (command.help or "")  # a raw docstring would show click's mark instead of obeying it
    assert f"reconciler {name}" in (command.help or "") + (command.epilog or "")
    for parameter in command.params:
        for flag in parameter.opts if isinstance(parameter, click.Option) else ():
            assert f"`{flag}" in README or f"{flag} " in README or len(flag) == 2, (
                f"{flag} of {name} is not in the README"
            )


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
def test_every_kind_is_in_the_readme(kind):
    assert f"| {kind.name} | `{kind.plural}` | `{kind.path}` | {kind.field} |" in README


@pytest.mark.parametrize(
    "path", [path for path in SOURCES if not path.stem.startswith("__")], ids=lambda path: str(path.relative_to(ROOT))
)
def test_every_module_has_its_place_in_the_architecture(path):
    assert re.search(rf"(?<![\w.]){re.escape(path.name)}\b", ARCHITECTURE)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_code_asks_for_one_kind_by_name(path):
    if path.name == "kinds.py" and path.parent.name == "reconciler":
        return
    tree = ast.parse(path.read_text(encoding="utf-8"))
    asked = [
        ast.unparse(node)
        for node in ast.walk(tree)
        if isinstance(node, ast.Compare)
        for part in (node.left, *node.comparators)
        if isinstance(part, ast.Constant) and part.value in KINDS
    ]
    assert not asked


def test_the_top_level_holds_what_it_should():
    done = subprocess.run(
        ["git", "-c", f"safe.directory={ROOT}", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert {name.split("/")[0] for name in done.stdout.split()} == {
        ".ci",
        ".dockerignore",
        ".gitignore",
        ".pre-commit-hooks.yaml",
        "CHANGELOG.md",
        "Containerfile",
        "Makefile",
        "README.md",
        "action.yml",
        "manifests",
        "pyproject.toml",
        "reconciler",
        "tests",
    }
