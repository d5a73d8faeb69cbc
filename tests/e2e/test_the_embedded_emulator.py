"""A target with `provider: emulator`: no server, no key, and a database beside the settings file."""

import pytest
from scratch import PATIENCE, Scratch

from reconciler.emulator.store import opened
from reconciler.model import Ref

SETTINGS = """\
version: 1
targets:
  local: {provider: emulator, manifests: [manifests]}
"""
REMOTE = """\
version: 1
targets:
  with: {{provider: openai, base_url: "{url}", manifests: [manifests], api_key_env: MY_KEY}}
  without: {{provider: openai, base_url: "{url}", manifests: [manifests]}}
"""
MANIFEST = """\
threads:
  thread_1:
    metadata: {plan: gold}
  thread_2:
    metadata: {plan: silver}
agents:
  agent_1:
    metadata: {owner: me}
"""


@pytest.fixture
def scratch(tmp_path):
    scratch = Scratch(tmp_path)
    scratch.write("reconciler.yaml", SETTINGS)
    scratch.manifest(MANIFEST)
    return scratch


def test_declared_ids_are_there_empty_and_what_was_applied_stays(scratch):
    first = scratch.run("plan --format json")
    assert first.code == 0
    assert [change["observed"] for change in first.document["changes"]] == [{}, {}, {}]
    assert first.document["target"]["provider"] == "emulator"
    assert scratch.run("apply --yes").code == 0
    again = scratch.run("plan --detailed-exitcode")
    assert again.code == 0
    assert "Nothing to do: 3 resources" in again.out


def test_an_id_that_was_deleted_stays_missing(scratch):
    assert scratch.run("plan").code == 0
    with opened(scratch.folder / ".reconciler/local.sqlite") as store:
        store.bury(Ref("thread", "thread_2"))
    done = scratch.run("plan --format json")
    assert done.code == 1
    assert [change["id"] for change in done.document["changes"] if change["action"] == "missing"] == ["thread_2"]


def test_its_database_is_no_business_of_git(scratch):
    commit = scratch.commit()
    assert scratch.run("apply --yes").code == 0
    assert (scratch.folder / ".reconciler").is_dir()
    assert scratch.git("status", "--porcelain", "--untracked-files=all") == ""
    assert scratch.run("plan --format json").document["head"] == {"commit": commit, "dirty": False}


def test_the_server_shows_what_was_applied_and_asks_for_its_key(scratch):
    assert scratch.run("apply --yes").code == 0
    key = {"MY_KEY": "sk-test-0123456789abcdefghijklmnop"}
    line = "emulate --port 0 --database .reconciler/local.sqlite --require-key MY_KEY"
    with scratch.start(line, key) as server:
        try:
            url = next(word for word in server.stdout.readline().split() if word.startswith("http"))
            scratch.write("remote.yaml", REMOTE.format(url=url))
            seen = scratch.run("plan --config remote.yaml --target with --detailed-exitcode", key)
            refused = scratch.run("plan --config remote.yaml --target without")
        finally:
            server.terminate()
            server.wait(PATIENCE)
    assert (seen.code, refused.code) == (0, 7)
    assert "Nothing to do" in seen.out
