"""What each command loads: nothing that it does not need, for every module is time before the first byte."""

import json
import subprocess
import sys

import pytest
from scratch import Api, staged

DRIVER = """
import atexit, json, sys

@atexit.register
def tell():
    with open("loaded.json", "w") as file:
        json.dump(sorted(sys.modules), file)

sys.argv[0] = "reconciler"
from reconciler.__main__ import run
run()
"""
SOCKETS = {"aiohttp", "multidict", "truststore", "yarl"}
WITH_PYDANTIC = {"click", "email", "hashlib", "inspect", "pydantic", "ruamel", "subprocess"}
READING = WITH_PYDANTIC | SOCKETS | {"asyncio", "certifi", "concurrent", "httpx", "logging", "ssl"}
HEAVY = READING | {"deepdiff", "multiprocessing", "sqlite3", "unittest", "xml"}
"""Packages whose loading takes milliseconds, of the standard library and beyond it."""
FLOORS = frozenset(["emulator", "engine", "gateway.client", "ledger", "manifest", "manifest.schema", "render"])
"""Parts of ours that some commands do without."""
SAME = "threads:\n  thread_1:\n    metadata: {plan: gold}\n"
EMBEDDED = "version: 1\ntargets:\n  local: {provider: emulator, manifests: [manifests]}\n"


def loaded(stage, *line):
    """Return what a command loaded: the heavy packages, and the parts of ours."""
    # Without what measures coverage in every process: it loads half of the library.
    env = {name: value for name, value in stage.scratch.environment({}).items() if not name.startswith("COVERAGE_")}
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, *line], cwd=stage.scratch.folder, env=env,
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    names = set(json.loads(stage.scratch.read("loaded.json")))
    ours = {name for name in FLOORS if f"reconciler.{name}" in names}
    return names & HEAVY, ours


@pytest.fixture
def stage(tmp_path):
    with staged(tmp_path, SAME, Api({"thread/thread_1": {"plan": "gold"}})) as made:
        yield made


def test_the_version_needs_the_parser_of_options_alone(stage):
    heavy, ours = loaded(stage, "--version")
    assert heavy <= {"click", "inspect"}
    assert ours == set()


def test_validating_needs_no_network_and_no_comparison(stage):
    heavy, ours = loaded(stage, "validate")
    assert heavy <= WITH_PYDANTIC
    assert ours == {"manifest", "manifest.schema", "render"}


def test_a_plan_without_a_difference_needs_no_deepdiff_and_no_emulator(stage):
    heavy, ours = loaded(stage, "plan")
    assert heavy <= READING
    assert ours == {"engine", "gateway.client", "ledger", "manifest", "manifest.schema", "render"}


def test_a_plan_against_the_embedded_emulator_needs_no_sockets(stage):
    stage.scratch.write("reconciler.yaml", EMBEDDED)
    heavy, _ = loaded(stage, "plan")
    assert heavy.isdisjoint(SOCKETS | {"certifi"})


def test_a_plan_with_a_difference_loads_deepdiff(stage):
    stage.api.put("thread/thread_1", {"plan": "tin"})
    assert "deepdiff" in loaded(stage, "plan")[0]
