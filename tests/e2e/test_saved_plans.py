"""A plan that was saved is carried out as it is, once, wherever the resources are still as it found them."""

import json

import pytest
from scratch import Api, staged

TWO = """\
threads:
  thread_1:
    metadata: {plan: gold, old: null}
  thread_2:
    metadata: {plan: gold}
"""
HELD = {"thread/thread_1": {"plan": "silver", "old": "x", "seen": "bot"}, "thread/thread_2": {"plan": "silver"}}


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    place = tmp_path_factory.mktemp("saved")
    with staged(place, TWO, Api(HELD, {"thread": "replace"}), "writes: {thread: replace}") as stage:
        assert stage.run("plan --out json=p.json").code == 0
        yield stage


@pytest.fixture
def stage(planned):
    """Give the stage as it was when `p.json` was planned."""
    planned.scratch.manifest(TWO)
    for name, pairs in HELD.items():
        planned.api.put(name, pairs)
    planned.api.calls.clear()
    return planned


def test_a_saved_plan_is_applied_once(stage):
    done = stage.run("apply p.json --yes --format json")
    assert done.code == 0, done
    assert done.outcomes() == {"thread/thread_1": "applied", "thread/thread_2": "applied"}
    assert stage.api.held("thread/thread_1") == {"plan": "gold", "seen": "bot"}
    assert sorted(stage.api.told) == sorted(
        f"{method} /v1/threads/thread_{number}" for method in ("GET", "POST") for number in (1, 2)
    )
    planned = json.loads(stage.scratch.read("p.json"))
    assert done.document["changes"] == planned["changes"]
    assert done.document["summary"] == planned["summary"]
    again = stage.run("apply p.json --yes --format json")
    assert again.code == 5
    assert set(again.outcomes().values()) == {"stale"}
    assert len(stage.api.bodies) == 2


def test_a_resource_that_moved_is_left_alone_and_the_others_are_written(stage):
    stage.api.put("thread/thread_1", {"plan": "bronze", "old": "x"})
    done = stage.run("apply p.json --yes --out json=a.json")
    assert done.code == 5, done
    assert "thread/thread_1: stale" in done.out
    assert "1 applied, 1 stale" in done.lines[-1]
    assert stage.api.held("thread/thread_1") == {"plan": "bronze", "old": "x"}
    assert stage.api.held("thread/thread_2") == {"plan": "gold"}


def test_a_foreign_key_that_came_in_between_is_kept(stage):
    stage.api.put("thread/thread_1", {"plan": "silver", "old": "x", "seen": "later", "new": "n"})
    assert stage.run("apply p.json --yes").code == 0
    assert stage.api.held("thread/thread_1") == {"plan": "gold", "seen": "later", "new": "n"}


def test_manifests_that_changed_in_between_do_not_matter(stage):
    stage.scratch.manifest("threads:\n  thread_1:\n    metadata: {plan: lead}\n  thread_9: {}\n")
    assert stage.run("apply p.json --yes").code == 0
    assert stage.api.held("thread/thread_1")["plan"] == "gold"


@pytest.mark.parametrize("flag", ["--select thread/thread_1", "--only add"])
def test_a_saved_plan_cannot_be_restricted(flag, stage):
    done = stage.run(f"apply p.json --yes {flag}")
    assert (done.code, stage.api.calls) == (64, [])


def test_a_saved_plan_asks_too_where_nobody_said_yes(stage):
    assert stage.run("apply p.json").code == 64
    assert stage.api.calls == []


def test_a_deleted_resource_is_missing_and_the_others_are_written(stage):
    stage.api.delete("thread/thread_1")
    done = stage.run("apply p.json --yes --format json")
    assert done.code == 4
    assert done.outcomes() == {"thread/thread_1": "missing", "thread/thread_2": "applied"}


def test_a_plan_of_nothing_is_applied_without_a_word_to_the_server(stage):
    assert stage.run("apply p.json --yes").code == 0
    assert stage.run("plan --out json=q.json").code == 0
    stage.api.calls.clear()
    done = stage.run("apply q.json --yes")
    assert (done.code, stage.api.calls, len(done.lines)) == (0, [], 1)
