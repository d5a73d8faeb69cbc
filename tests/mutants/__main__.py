"""Run mutmut over the pure core in a copy of this checkout, and hold the score against what was agreed on."""

from __future__ import annotations

import ast
import difflib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
COPIED = ("reconciler", "tests", "manifests", "pyproject.toml")
PROCESSES = "2"
SURVIVED, NO_TESTS = 0, (5, 33)
"""What mutmut notes where every test passed, and where none came by; anything else is a failed or endless test run."""
UNCHECKED = (None, 2)


@dataclass(frozen=True)
class Mutant:
    """One change that was tried: where, the lines that it took away and put there, and what became of it."""

    module: str
    function: str
    before: str
    after: str
    code: int | None

    @property
    def killed(self) -> bool:
        """Tell whether a test noticed."""
        return self.code not in (SURVIVED, *NO_TESTS, *UNCHECKED)


def main(arguments: list[str]) -> int:
    """Try all mutants, or those of the modules named; return 0 where enough of them were killed."""
    configured = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["mutmut"]
    agreed = tomllib.loads((HERE / "agreed.toml").read_text(encoding="utf-8"))
    modules = [name for name in configured["only_mutate"] if not arguments or Path(name).stem in arguments]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copy(folder)
        for module in modules:
            undecorate(folder / module)
        done = run(folder, [f"{dotted(module)}.*" for module in modules] if arguments else [])
        if done:
            return done
        mutants = [mutant for module in modules for mutant in results(folder, module)]
    return report(mutants, agreed, complete=not arguments)


def copy(folder: Path) -> None:
    """Copy what the tests need, so that neither mutmut's files nor a changed module is ever seen in the checkout."""
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", ".hypothesis"))
        else:
            shutil.copy2(ROOT / name, folder / name)


def undecorate(path: Path) -> None:
    """Rewrite what mutmut passes over because of a decorator, in the copy: properties, and functions with a cache.

    A property becomes a method and an assignment. The cache goes: it would answer for the mutant with what the
    function had returned before it was changed.
    """
    lines = path.read_text(encoding="utf-8").split("\n")
    functions = [node for node in ast.walk(ast.parse("\n".join(lines))) if isinstance(node, ast.FunctionDef)]
    for node in sorted(functions, key=lambda node: node.lineno, reverse=True):
        match [ast.unparse(decorator) for decorator in node.decorator_list]:
            case ["property"]:
                first = node.lineno - 1
                lines[first] = lines[first].replace(f"def {node.name}(", f"def _{node.name}(", 1)
                lines.insert(node.end_lineno or first, f"{' ' * node.col_offset}{node.name} = property(_{node.name})")
            case [one] if one.startswith(("lru_cache", "cache")):
                pass
            case _:
                continue
        del lines[node.decorator_list[0].lineno - 1]
    path.write_text("\n".join(lines), encoding="utf-8")


def run(folder: Path, patterns: list[str]) -> int:
    """Let mutmut make the mutants and try them; its progress is a line that changes, for terminals only."""
    command = [sys.executable, "-m", "mutmut", "run", "--max-children", PROCESSES, *patterns]
    environment = {**os.environ, "PYTHONPATH": ""}
    if sys.stdout.isatty():
        return subprocess.run(command, cwd=folder, env=environment, check=False).returncode
    print("trying the mutants of", *(patterns or ["all modules"]), flush=True)
    with (folder / "progress").open("w+", encoding="utf-8") as progress:
        done = subprocess.run(command, cwd=folder, env=environment, stdout=progress, check=False)
        progress.seek(0)
        if done.returncode:
            print(progress.read()[-4000:])
    return done.returncode


# --- what came of it --------------------------------------------------------------------------------------------------


def dotted(module: str) -> str:
    """Return the name that a module is imported by."""
    return module.removesuffix(".py").replace("/", ".")


def results(folder: Path, module: str) -> Iterator[Mutant]:
    """Yield the mutants of a module, with the lines that differ from the original function."""
    written = folder / "mutants" / module
    functions = bodies(written.read_text(encoding="utf-8"))
    codes: dict[str, Any] = json.loads(Path(f"{written}.meta").read_text(encoding="utf-8"))["exit_code_by_key"]
    for key, code in codes.items():
        name = key.rpartition(".")[2]
        stem = name.rpartition("__mutmut_")[0]
        before, after = changed(functions[f"{stem}__mutmut_orig"], functions[name])
        yield Mutant(module, stem[2:].replace("ǁ", "."), before, after, code)  # x_function or xǁClassǁmethod


def bodies(text: str) -> dict[str, list[str]]:
    """Return the lines below the name of every function, without indentation."""
    lines = text.split("\n")
    return {
        node.name: [line.strip() for line in lines[node.lineno : node.end_lineno]]
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef)
    }


def changed(original: list[str], mutated: list[str]) -> tuple[str, str]:
    """Return the lines that only one of two bodies has, each as one line of text."""
    differing = list(difflib.ndiff(original, mutated))
    return tuple(" ".join(line[2:] for line in differing if line.startswith(mark)) for mark in ("- ", "+ "))


def report(mutants: list[Mutant], agreed: dict[str, Any], *, complete: bool) -> int:
    """Print the survivors and the scores; return 1 where one is below what was agreed on."""
    same = [(each["function"], each["before"], after) for each in agreed["equivalent"] for after in each["after"]]
    left = [each for each in mutants if (each.function, each.before, each.after) not in same]
    for mutant in left:
        if not mutant.killed:
            told = "not checked" if mutant.code in UNCHECKED else "no test" if mutant.code in NO_TESTS else "survived"
            print(f"{mutant.module} {mutant.function}: {told}\n  - {mutant.before}\n  + {mutant.after}")
    if complete:
        tried = {(each.function, each.before, each.after) for each in mutants}
        for function, before, _ in (each for each in same if each not in tried):
            print(f"agreed.toml: there is no such mutant any more: {function}: {before}")
    total, killed = Counter(each.module for each in left), Counter(each.module for each in left if each.killed)
    print()
    for module, number in total.items():
        print(f"{module:32} {killed[module]:5} of {number:5}  {percent(killed[module], number):5.1f} %")
    score = percent(killed.total(), total.total())
    print(
        f"{'all':32} {killed.total():5} of {total.total():5}  {score:5.1f} %   ({len(mutants) - len(left)} equivalent)"
    )
    low = [module for module, number in total.items() if percent(killed[module], number) < agreed["each_module"]]
    if score >= agreed["all"] and not low:
        return 0
    print(
        f"below what was agreed on ({agreed['all']} % of all, {agreed['each_module']} % of each module): {low or 'all'}"
    )
    return 1


def percent(part: int, whole: int) -> float:
    """Return a share; all of nothing is all."""
    return 100 * part / whole if whole else 100.0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
