"""The template for Kubernetes: as its published schemas have it, and its commands run for real."""

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import kubernetes_validate
import pytest
from repositories import shared
from ruamel.yaml import YAML
from scratch import PATIENCE, Api, Scratch, until

TEMPLATE = Path(__file__).parents[2] / "reconciler" / "templates" / "kubernetes-watch.yaml"
DEPLOYMENT, SERVICE, POLICY = YAML(typ="safe", pure=True).load_all(TEMPLATE.read_text(encoding="utf-8"))
POD = DEPLOYMENT["spec"]["template"]["spec"]
(CLONE,), (WATCH,) = POD["initContainers"], POD["containers"]
KEY = "key-of-the-target"
MANIFEST = "threads:\n  thread_a: {metadata: {plan: gold}}\n"
MORE = "writes: {thread: replace}, api_key_env: THREADS_API_KEY"


@pytest.mark.parametrize("version", ["1.29", "1.33", "1.37"])
@pytest.mark.parametrize("part", [DEPLOYMENT, SERVICE, POLICY], ids=lambda part: part["kind"])
def test_it_is_as_the_schema_of_kubernetes_has_it(part, version):
    assert kubernetes_validate.validate(part, version, strict=True) == version


def test_the_schema_of_kubernetes_refuses_what_is_none():
    wrong = {**DEPLOYMENT, "spec": {**DEPLOYMENT["spec"], "replica": 1}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, "1.37", strict=True)


def test_there_is_one_pod_at_a_time_and_no_container_may_more_than_it_needs():
    spec = DEPLOYMENT["spec"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})
    assert POD["automountServiceAccountToken"] is False
    assert POD["securityContext"]["runAsNonRoot"] is True
    for part in (CLONE, WATCH):
        assert {"cpu", "memory"} <= part["resources"]["requests"].keys()
        assert part["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
    assert [volume for volume in POD["volumes"] if "emptyDir" in volume]


def test_probes_service_policy_and_annotations_meet_where_it_listens():
    labels = DEPLOYMENT["spec"]["template"]["metadata"]["labels"]
    assert SERVICE["spec"]["selector"] == POLICY["spec"]["podSelector"]["matchLabels"] == labels
    assert DEPLOYMENT["spec"]["selector"]["matchLabels"] == labels
    (port,) = WATCH["ports"]
    assert {WATCH[probe]["httpGet"]["port"] for probe in WATCH if probe.endswith("Probe")} == {port["name"]}
    assert {WATCH[probe]["httpGet"]["path"] for probe in WATCH if probe.endswith("Probe")} == {"/healthz"}
    assert SERVICE["spec"]["ports"][0]["targetPort"] == port["name"]
    assert POLICY["spec"]["ingress"][0]["ports"] == [{"port": port["name"]}]
    told = {each["name"]: each.get("value") for each in WATCH["env"]}
    assert told["LISTEN"] == f"0.0.0.0:{port['containerPort']}"
    annotations = DEPLOYMENT["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == str(port["containerPort"])
    (key,) = (each for each in WATCH["env"] if "valueFrom" in each)
    assert key["valueFrom"] == {"secretKeyRef": {"name": "reconciler", "key": key["name"]}}


def start(part, folder, env):
    """Start the command of a container with its own variables, as far as `env` does not replace them."""
    own = {each["name"]: each["value"] for each in part["env"] if "value" in each}
    (script,) = part["args"]
    full = {**folder.environment({}), **own, **env}
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    return subprocess.Popen([*part["command"], script], cwd=folder.folder, env=full, text=True, **streams)


@pytest.fixture
def path(tmp_path):
    """Put `reconciler`, as it is here, on a path of its own."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "reconciler").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m reconciler "$@"\n')
    (folder / "reconciler").chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


@pytest.mark.parametrize(("mode", "held"), [("report", "silver"), ("apply", "gold")])
def test_the_pod_clones_watches_answers_its_probes_and_ends_in_order(mode, held, tmp_path, path):
    api = Api({"thread/thread_a": {"plan": "silver"}}, {"thread": "replace"})
    with shared(tmp_path / "shared", MANIFEST, api, MORE) as both:
        pod = Scratch(tmp_path / "pod")
        env = {
            "PATH": path, "WORK": str(pod.folder), "REPOSITORY": f"file://{both.remote}", "TARGET": "test",
            "MODE": mode, "LISTEN": "127.0.0.1:0", "INTERVAL": "1h", "THREADS_API_KEY": KEY,
            "RECONCILER_ALLOWED_HOSTS": "127.0.0.1",
        }  # fmt: skip
        with start(CLONE, pod, env) as cloning:
            said = cloning.communicate(timeout=PATIENCE)[1]
            assert cloning.returncode == 0, said
        with start(WATCH, pod, env) as process:
            lines = []
            thread = threading.Thread(target=lambda: lines.extend(iter(process.stderr.readline, "")))
            thread.start()
            until(lambda: any("run 1: " in line for line in lines), "the first run")
            port = int(re.search(r"http://127\.0\.0\.1:(\d+)/", lines[0])[1])
            answers = {}
            for probe in (each for each in WATCH if each.endswith("Probe")):
                with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)) as connection:
                    connection.request("GET", WATCH[probe]["httpGet"]["path"])
                    answers[probe] = connection.getresponse().status
            with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)) as connection:
                connection.request("GET", "/document.json")
                document = json.loads(connection.getresponse().read())
            process.send_signal(signal.SIGTERM)  # what a kubelet sends
            assert process.wait(PATIENCE) == 0, lines
            thread.join(PATIENCE)
    assert set(answers.values()) == {200}
    assert document["target"]["name"] == "test"
    assert api.held("thread/thread_a") == {"plan": held}
    assert {call.headers["authorization"] for call in api.calls} == {f"Bearer {KEY}"}
