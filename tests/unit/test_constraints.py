"""The versions that are installed where a job gets a key: all that is needed to run, and each fit for it."""

import re
import tomllib
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
LINES = (ROOT / "reconciler/templates/constraints.txt").read_text(encoding="utf-8").splitlines()
PINNED = [Requirement(line) for line in LINES if not line.startswith("#")]
VERSIONS = {canonicalize_name(one.name): next(iter(one.specifier)).version for one in PINNED}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def needed(lines, extras=("",)):
    """Return what requirements ask for here, and what that asks for, as far as it is installed."""
    found, left = [], [Requirement(line) for line in lines]
    seen = set()
    while left:
        one = left.pop()
        if one.marker is not None and not any(one.marker.evaluate({"extra": extra}) for extra in extras):
            continue
        found.append(one)
        name = canonicalize_name(one.name)
        if name not in seen:
            seen.add(name)
            try:
                left += map(Requirement, requires(name) or ())
            except PackageNotFoundError:
                continue
    return found


def test_each_line_names_one_package_and_one_exact_version():
    assert len(VERSIONS) == len(PINNED)
    for one in PINNED:
        assert re.fullmatch(r"==[0-9][0-9.]*", str(one.specifier)), one
        assert str(one) == f"{one.name}{one.specifier}"  # no address, no extra, no condition


def test_all_that_is_needed_to_run_and_to_build_is_named_in_a_version_that_will_do():
    wanted = needed([*PROJECT["project"]["dependencies"], *PROJECT["build-system"]["requires"]])
    assert len(wanted) > len(PROJECT["project"]["dependencies"])
    for one in wanted:
        assert one.specifier.contains(VERSIONS[canonicalize_name(one.name)], prereleases=True), one


def test_nothing_is_named_that_nothing_needs():
    wanted = {canonicalize_name(one.name) for one in needed(PROJECT["project"]["dependencies"])}
    building = LINES.index("# What builds it.")
    assert wanted == {canonicalize_name(Requirement(line).name) for line in LINES[2:building]}
