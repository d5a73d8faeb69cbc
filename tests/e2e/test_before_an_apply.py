"""What a person is told and asked before anything is written: counts, target, removals, base, calls and time."""

from __future__ import annotations

import re

import pytest
from scratch import Api, staged

MANIFEST = """\
threads:
  thread_1: {metadata: {plan: gold, team: support, trial: null}}
  thread_2: {metadata: {plan: gold}}
  thread_3: {metadata: {plan: gold}}
"""
HELD = {
    "thread/thread_1": {"plan": "silver", "trial": "x", "foreign": "f"},
    "thread/thread_2": {"plan": "silver"},
    "thread/thread_3": {"plan": "gold"},
}
REPLACES = "writes: {thread: replace}"


@pytest.fixture
def stage(tmp_path):
    """Give a server with two threads to update, one of them with a removal, in a git repository."""
    with staged(tmp_path, MANIFEST, Api(HELD, {"thread": "replace"}), REPLACES) as one:
        one.scratch.commit()
        yield one


def test_the_question_shows_counts_target_removals_base_and_calls(stage):
    done = stage.scratch.at_terminal("apply --color never", "no")
    assert done.code == 1
    told = next(line for line in done.err.split("\n") if "to update" in line)
    assert f"Target test ({stage.url}), base: unknown: 2 resources to update (+1 ~2 -1), " in told
    assert re.search(r"2 reads, 2 writes, about \d+ s\.$", told)
    assert "Send 2 modify calls (removals among them: 1) to target test? Type yes: " in done.err
    assert stage.api.bodies == []

    assert stage.run("apply --yes").code == 0
    stage.api.put("thread/thread_2", {"plan": "lead"})
    again = stage.scratch.at_terminal("apply --quiet", "yes")
    assert again.code == 0
    assert re.search(
        r"base: refs/reconciler/test of [0-9a-f]{10}: 1 resource to update \(\+0 ~1 -0\), 1 read, ", again.err
    )


@pytest.mark.parametrize(
    ("typed", "code", "writes"),
    [("production", 0, 1), ("yes", 1, 0), ("Production", 1, 0), ("", 1, 0)],
)
def test_a_target_can_demand_its_own_word(tmp_path, typed, code, writes):
    with staged(tmp_path, MANIFEST, Api(HELD), 'confirm: "production"') as stage:
        done = stage.scratch.at_terminal("apply --select '*/thread_2'", typed, prompt="Type production: ")
        assert done.code == code, done
        assert len(stage.api.bodies) == writes
        assert "Type yes" not in done.err


def test_where_nobody_is_asked_no_word_is_demanded(tmp_path):
    with staged(tmp_path, MANIFEST, Api(HELD), "confirm: production") as stage:
        assert stage.run("apply --select '*/thread_2'").code == 64
        assert stage.run("apply --select '*/thread_2' --yes").code == 0


def test_what_only_leaves_alone_is_named_and_stays(stage):
    done = stage.run("apply --yes --only add")
    assert done.code == 0
    assert "  thread/thread_1  plan, trial\n  thread/thread_2  plan\n" in done.out
    assert stage.api.held("thread/thread_1") == {**HELD["thread/thread_1"], "team": "support"}
    assert stage.api.held("thread/thread_2") == HELD["thread/thread_2"]

    planned = stage.run("plan --only drift --format json --out json=p.json").document
    assert planned["spared"] == [
        {"kind": "thread", "id": "thread_1", "keys": ["plan", "trial"]},
        {"kind": "thread", "id": "thread_2", "keys": ["plan"]},
    ]
    assert planned["left"] == 3
    assert stage.run("apply --yes p.json --format json").document["spared"] == planned["spared"]


def test_a_plan_forecasts_the_calls_of_its_apply(stage):
    planned = stage.run("plan")
    told = re.search(r"^Forecast of an apply: (\d+) reads, (\d+) writes, about \d+ s\.$", planned.err, re.MULTILINE)
    assert told is not None
    before = len(stage.api.calls)
    assert stage.run("apply --yes").code == 0
    made = stage.api.calls[before:]
    assert [int(told[1]), int(told[2])] == [sum(call.method == each for call in made) for each in ("GET", "POST")]
    assert "Forecast" not in stage.run("plan").err, "nothing to do"
    assert stage.run("plan --quiet").err == ""


def test_a_ceiling_tells_beforehand_how_long_reading_takes(tmp_path):
    rate = "rate: {reads_per_minute: 600, writes_per_minute: 60}"
    with staged(tmp_path, MANIFEST, Api(HELD, {"thread": "replace"}), f"{REPLACES}, {rate}") as stage:
        done = stage.run("plan")
    assert "Forecast: 3 reads, about 1 s.\n" in done.err
    assert re.search(r"^Forecast of an apply: 5 reads, 2 writes, about \d+ s\.$", done.err, re.MULTILINE)


@pytest.mark.parametrize(
    ("line", "code", "calls"),
    [
        pytest.param("plan --max-requests 2", 6, 0, id="a plan needs more"),
        pytest.param("plan --max-requests 3", 0, 3, id="a plan needs just that"),
        pytest.param("drift --base none --max-requests 2", 6, 0, id="so does drift"),
        pytest.param("apply --yes --max-requests 0", 6, 0, id="an apply may not even look"),
        pytest.param("apply --yes --max-requests 6", 6, 3, id="an apply needs one more, seen after its reads"),
        pytest.param("apply --yes --max-requests 7", 0, 7, id="an apply needs just that"),
    ],
)
def test_no_run_begins_what_takes_more_calls_than_allowed(stage, line, code, calls):
    done = stage.run(f"{line} --format json")
    assert done.code == code, done
    assert len(stage.api.calls) == calls
    if code:
        assert stage.api.bodies == []
        assert [error["code"] for error in done.document["errors"]] == ["guard_refused"]
        assert "--max-requests allows" in done.document["errors"][0]["message"]


def test_a_saved_plan_and_a_rollback_are_bounded_as_well(stage):
    assert stage.run("plan --out json=p.json").code == 0
    assert stage.run("apply p.json --yes --max-requests 3").code == 6
    assert stage.run("apply p.json --yes --max-requests 4").code == 0
    assert stage.run("rollback --yes --max-requests 5").code == 6
    assert stage.run("rollback --yes --max-requests 6").code == 0
