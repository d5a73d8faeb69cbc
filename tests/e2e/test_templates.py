"""The templates that are shipped: as their published schemas have them, and each step of them run for real."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import kubernetes_validate
import pytest
from repositories import clone, git, ledger, shared, tip
from ruamel.yaml import YAML
from scratch import PATIENCE, Api, Scratch

TEMPLATES = Path(__file__).parents[2] / "reconciler" / "templates"
WORKFLOW = TEMPLATES / "github-actions-shards.yaml"
JOBS = TEMPLATES / "kubernetes-shards.yaml"
KEY = "key-of-the-target"
NAMES = [f"thread_1{number:02}" for number in range(24)]
MANIFEST = "threads:\n" + "".join(f"  {name}: {{metadata: {{plan: gold}}}}\n" for name in NAMES)
HELD = {f"thread/{name}": {"plan": "silver", "seen": "1"} if number % 2 else {} for number, name in enumerate(NAMES)}
MORE = "writes: {thread: replace}, api_key_env: THREADS_API_KEY"
LOOSE = "guards: {max_changed: 100%}\n"
HERE = {"TARGET": "test", "THREADS_API_KEY": KEY, "RECONCILER_ALLOWED_HOSTS": "127.0.0.1"}
"""What somebody who uses a template replaces."""


def documents(path):
    return list(YAML(typ="safe", pure=True).load_all(path.read_text(encoding="utf-8")))


(ACTIONS,) = documents(WORKFLOW)
SHARDS, REPORT = documents(JOBS)
MATRIX = ("plan", "apply", "drift")


# --- schemas ----------------------------------------------------------------------------------------------------------


def checked_workflow(path):
    """Hold a workflow against the schema of SchemaStore, as check-jsonschema ships it."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows", str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_workflow_is_as_the_schema_of_workflows_has_it():
    done = checked_workflow(WORKFLOW)
    assert done.returncode == 0, done.stdout


def test_the_schema_of_workflows_refuses_what_is_none(tmp_path):
    text = WORKFLOW.read_text(encoding="utf-8")
    (tmp_path / "w.yaml").write_text(text.replace("fail-fast: false", "fail_fast: false"), encoding="utf-8")
    assert checked_workflow(tmp_path / "w.yaml").returncode == 1


@pytest.mark.parametrize("version", ["1.29", "1.33", "1.37"])
@pytest.mark.parametrize("job", [SHARDS, REPORT], ids=["shards", "report"])
def test_the_jobs_are_as_the_schema_of_kubernetes_has_them(job, version):
    assert kubernetes_validate.validate(job, version, strict=True) == version


def test_the_schema_of_kubernetes_refuses_what_is_none():
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate({**SHARDS, "spec": {**SHARDS["spec"], "completionmode": "x"}}, "1.37", strict=True)


# --- the workflow -----------------------------------------------------------------------------------------------------


def filled(text, shard=0, of=0):
    """Return a text of the workflow with its expressions evaluated, those that a matrix job has."""
    values = {"matrix.shard": shard, "strategy.job-total": of, "secrets.THREADS_API_KEY": KEY}
    return re.sub(r"\$\{\{ (.*?) \}\}", lambda found: str(values[found[1]]), text)


def steps(job):
    return ACTIONS["jobs"][job]["steps"]


def scripts(job):
    """Return the steps of a job that run something, but for installing: that would ask a package index."""
    return [step for step in steps(job) if "run" in step and step["name"] != "Install"]


@pytest.fixture
def command(tmp_path):
    """Put `reconciler`, as it is here, on a path of its own; returns that path."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "reconciler").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m reconciler "$@"\n')
    (folder / "reconciler").chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


@pytest.fixture
def both(tmp_path):
    api = Api(HELD, {"thread": "replace"})
    with shared(tmp_path / "shared", MANIFEST, api, MORE) as both:
        settings = both.one.read("reconciler.yaml")
        both.one.write("reconciler.yaml", settings + LOOSE)
        git(both.one.folder, "add", "-A")
        git(both.one.folder, "commit", "-q", "-m", "Guards")
        git(both.one.folder, "push", "-q", "origin", "HEAD:refs/heads/main")
        yield both


def start(scratch, shell, script, env, path, folder=None):
    """Start a script in a shell, as a runner does."""
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    full = {**scratch.environment({}), **env, "PATH": path}
    return subprocess.Popen([*shell, script], cwd=folder or scratch.folder, env=full, text=True, **pipes)


def end(process):
    """Return the code and the output of a script."""
    with process:
        try:
            out = process.communicate(timeout=4 * PATIENCE)[0]
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    return process.returncode, out


def workflow(both, place, name, path):
    """Run a job of the workflow for each shard at once, each in a clone of its own, then the report of all of them.

    Returns the codes of the shards, and code, output and document of the report.
    """
    job, report = ACTIONS["jobs"][name], Scratch(place / "report")
    numbers = job["strategy"]["matrix"]["shard"]
    (script,) = scripts(name)
    running = []
    for number in numbers:
        env = {**ACTIONS["env"], **job["env"], **script["env"]}
        env = {variable: filled(value, number, len(numbers)) for variable, value in env.items()} | HERE
        here = clone(both.remote, place / str(number))
        running.append((number, here, start(here, ["bash", "-ec"], script["run"], env, path)))
    codes = []
    for number, here, process in running:
        codes.append(end(process)[0])
        (upload,) = (step["with"] for step in steps(name) if "upload-artifact" in step.get("uses", ""))
        file = here.folder / filled(upload["path"], number)
        assert filled(upload["name"], number).startswith("shard-")
        shutil.copy(file, report.folder)
    (merging,) = scripts("report")
    code, out = end(start(report, ["bash", "-ec"], merging["run"], ACTIONS["env"] | HERE, path))
    return codes, code, out, report.read("report.json")


def alone(both, place, line, env=HERE):
    """Run a command over everything in a clone of its own."""
    return clone(both.remote, place).run(line, env)


def test_the_matrix_plans_applies_and_finds_drift_as_one_run_does(both, tmp_path, command):
    codes, code, out, text = workflow(both, tmp_path / "plan", "plan", command)
    one = alone(both, tmp_path / "alone", "plan --format json")
    assert (codes, code) == ([0, 0, 0, 0], one.code)
    assert text == one.out
    assert "Plan: 24 to update (+12 ~12 -0), 0 unchanged, 24 modify calls." in out
    assert not both.api.sent("POST")

    codes, code, out, text = workflow(both, tmp_path / "apply", "apply", command)
    merged = json.loads(text)
    assert (codes, code) == ([0, 0, 0, 0], 0), out
    assert merged["changes"] == one.document["changes"]
    assert [each["id"] for each in merged["outcomes"]] == NAMES
    assert len(both.api.bodies) == len(NAMES)
    assert sorted(ledger(both.remote).bases) == sorted(HELD)
    assert "Applied: 24 applied, 24 modify calls." in out
    assert {call.headers["authorization"] for call in both.api.calls} == {f"Bearer {KEY}"}

    both.api.put("thread/thread_103", {"plan": "lead"})
    both.api.delete("thread/thread_110")
    codes, code, _, text = workflow(both, tmp_path / "drift", "drift", command)
    one = alone(both, tmp_path / "again", "drift --format json")
    assert (sorted(set(codes)), code, one.code) == ([0, 2], 2, 2)
    assert text == one.out


def test_every_action_is_pinned_to_a_commit_and_names_its_version():
    lines = [line for line in WORKFLOW.read_text(encoding="utf-8").splitlines() if "uses:" in line]
    assert lines
    assert all(re.fullmatch(r" +- uses: actions/[a-z-]+@[0-9a-f]{40} +# v\d+\.\d+\.\d+", line) for line in lines)


def test_only_the_apply_may_write_and_only_the_step_that_needs_it_gets_the_key():
    assert ACTIONS["permissions"] == {"contents": "read"}
    granted = {name: job["permissions"] for name, job in ACTIONS["jobs"].items() if "permissions" in job}
    assert granted == {"apply": {"contents": "write"}, "report": {}}
    text = WORKFLOW.read_text(encoding="utf-8")
    assert text.count("secrets.") == len(MATRIX)
    assert all("secrets." in script["env"]["THREADS_API_KEY"] for name in MATRIX for script in scripts(name))


@pytest.mark.parametrize("name", MATRIX)
def test_a_shard_has_the_whole_history_and_leaves_its_document_however_it_ends(name):
    job = ACTIONS["jobs"][name]
    assert job["strategy"]["matrix"] == {"shard": [1, 2, 3, 4]}
    assert job["strategy"]["fail-fast"] is False
    assert steps(name)[0]["with"] == {"fetch-depth": 0}
    assert steps(name)[-1]["if"] == "always()"
    assert filled(job["env"]["REPORT"], 3) == filled(steps(name)[-1]["with"]["path"], 3)


def test_applies_never_overlap_and_no_expression_stands_in_a_script():
    assert ACTIONS["concurrency"]["cancel-in-progress"] is False
    assert "github.event_name == 'push' && 'apply'" in ACTIONS["concurrency"]["group"]
    assert ACTIONS["jobs"]["report"]["needs"] == list(MATRIX)
    runs = [step["run"] for job in ACTIONS["jobs"] for step in steps(job) if "run" in step]
    assert not any("${{" in run for run in runs)  # a shell would run what an expression gives


# --- the jobs ---------------------------------------------------------------------------------------------------------


def container(job, kind="containers"):
    (found,) = job["spec"]["template"]["spec"][kind]
    return found


def pod(scratch, part, env, path):
    """Start the command of a container with its own variables, as far as `env` does not replace them."""
    own = {each["name"]: each["value"] for each in part["env"] if "value" in each}
    (script,) = part["args"]
    return start(scratch, part["command"], script, own | env, path)


def test_the_indexed_job_applies_as_one_run_does_and_its_report_waits_for_all_shards(both, tmp_path, command):
    one = alone(both, tmp_path / "alone", "plan --format json").document
    reports = tmp_path / "reports" / "run-1"
    waiting = pod(Scratch(tmp_path / "merging"), container(REPORT), {"REPORTS": str(reports)}, command)
    running = []
    for index in range(SHARDS["spec"]["completions"]):
        here = Scratch(tmp_path / f"pod-{index}")
        env = {
            "WORK": str(here.folder),
            "REPORTS": str(reports),
            "REPOSITORY": f"file://{both.remote}",
            "REVISION": tip(both.remote, "refs/heads/main"),
            "JOB_COMPLETION_INDEX": str(index),
            **HERE,
        }
        code, out = end(pod(here, container(SHARDS, "initContainers"), env, command))
        assert code == 0, out
        running.append(pod(here, container(SHARDS), env, command))
    for process in running:
        code, out = end(process)
        assert code == 0, out
    code, out = end(waiting)
    assert code == 0, out
    assert "Applied: 24 applied, 24 modify calls." in out
    merged = json.loads((reports / "report.json").read_text())
    assert merged["changes"] == one["changes"]
    assert [each["id"] for each in merged["outcomes"]] == NAMES
    assert len(both.api.bodies) == len(NAMES)
    assert sorted(ledger(both.remote).bases) == sorted(HELD)
    assert alone(both, tmp_path / "after", "plan --detailed-exitcode").code == 0


@pytest.mark.parametrize(("failures", "reported"), [("0", False), ("1", False), ("2", True)])
def test_the_document_of_a_try_that_another_one_follows_stays_out_of_the_report(
    both, tmp_path, command, failures, reported
):
    here = Scratch(tmp_path / "pod")
    clone(both.remote, here.folder / "x")
    reports = tmp_path / "run-1"
    env = {
        "WORK": str(here.folder), "REPORTS": str(reports), "JOB_COMPLETION_INDEX": "2", "FAILURES": failures, **HERE,
        "REPOSITORY": f"file://{both.remote}", "REVISION": tip(both.remote, "refs/heads/main"),
    }  # fmt: skip
    code, out = end(pod(here, container(SHARDS, "initContainers"), env, command))
    assert code == 0, out
    settings = here.folder / "repository" / "reconciler.yaml"
    settings.write_text(re.sub(r"http://127.0.0.1:\d+", "http://127.0.0.1:9", settings.read_text()))
    code, out = end(pod(here, container(SHARDS), env, command))
    assert code == 4, out
    assert (reports / "shard-3.json").exists() is reported


def test_a_shard_that_never_came_is_told_once_the_report_has_waited_long_enough(both, tmp_path, command):
    reports = tmp_path / "run-1"
    reports.mkdir()
    here = clone(both.remote, tmp_path / "here")
    assert here.run(f"plan --shard 2/4 --out json={reports}/shard-2.json", HERE).code == 0
    env = {"REPORTS": str(reports), "WAIT": "0"}
    code, out = end(pod(here, container(REPORT), env, command))
    assert code == 1
    assert "no document of the shards 1/4, 3/4, 4/4" in out


def test_the_shards_of_the_jobs_are_as_many_as_their_indexes():
    spec = SHARDS["spec"]
    told = [each["value"] for job in (SHARDS, REPORT) for each in container(job)["env"] if each["name"] == "SHARDS"]
    assert told == [str(spec["completions"])] * 2
    assert (spec["completionMode"], spec["parallelism"]) == ("Indexed", spec["completions"])


@pytest.mark.parametrize("job", [SHARDS, REPORT], ids=["shards", "report"])
def test_no_container_may_more_than_it_needs(job):
    spec = job["spec"]["template"]["spec"]
    assert spec["restartPolicy"] == "Never"
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    for part in [*spec["containers"], *spec.get("initContainers", ())]:
        assert {"cpu", "memory"} <= part["resources"]["requests"].keys()
        assert part["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


def test_what_ends_the_same_each_time_is_not_tried_again():
    (rule,) = SHARDS["spec"]["podFailurePolicy"]["rules"]
    assert rule["onExitCodes"]["values"] == [2, 3, 6, 7, 64]
    assert rule["onExitCodes"]["containerName"] == container(SHARDS)["name"]
    (key,) = (each for each in container(SHARDS)["env"] if "secretKeyRef" in each.get("valueFrom", {}))
    assert key["valueFrom"] == {"secretKeyRef": {"name": "reconciler", "key": key["name"]}}
