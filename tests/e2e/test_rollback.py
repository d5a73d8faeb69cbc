"""Turning one apply back: just its fields, as they were, unless somebody moved them since."""

import json

import pytest
from repositories import git, journal, ledger, runs, shared, tip
from scratch import Api, staged

REPLACE = "writes: {thread: replace}"
KIND = {"thread": "replace"}


def threads(**metadata):
    """Return a manifest of threads: their metadata, as YAML writes a map on one line."""
    return "threads:\n" + "".join(f"  {own}: {{metadata: {pairs}}}\n" for own, pairs in metadata.items())


FIRST = threads(thread_1="{plan: gold, old: x}", thread_2="{plan: gold}")
SECOND = threads(thread_1="{plan: lead, new: y}", thread_2="{plan: gold}")
HELD = {"thread/thread_1": {"plan": "silver", "seen": "bot"}, "thread/thread_2": {"plan": "gold"}}
AFTER_FIRST = {"plan": "gold", "old": "x", "seen": "bot"}
AFTER_SECOND = {"plan": "lead", "new": "y", "seen": "bot"}


@pytest.fixture
def stage(tmp_path):
    """Give a stage where two commits have been applied."""
    with staged(tmp_path, FIRST, Api(HELD, KIND), REPLACE) as stage:
        stage.scratch.commit()
        assert stage.run("apply --yes").code == 0
        stage.scratch.manifest(SECOND)
        stage.scratch.commit()
        assert stage.run("apply --yes").code == 0
        assert stage.api.held("thread/thread_1") == AFTER_SECOND
        stage.api.calls.clear()
        yield stage


def ids(stage):
    """Return the ids of the runs, newest first."""
    return [run.run["id"] for run in runs(stage.scratch.folder)]


def rolled_back(stage, line="rollback --yes", code=0):
    """Roll back, and return the document."""
    done = stage.run(f"{line} --format json")
    assert done.code == code, done
    return done.document


def fields(document):
    """Return each field of a document's changes: cause, or why it is blocked."""
    return {
        (change["id"], each["key"]): each["blocked"]["code"] if each["blocked"] else each["cause"]
        for change in document["changes"]
        for each in change["fields"]
    }


def plan(stage):
    """Return the fields that a plan finds different."""
    return fields(stage.run("plan --format json").document)


def outcomes(document):
    """Return what became of each change."""
    return {each["id"]: each["outcome"] for each in document["outcomes"]}


# --- what it does -----------------------------------------------------------------------------------------------------


def test_the_fields_of_the_last_apply_get_back_what_they_had_and_nothing_else_moves(stage):
    last = ids(stage)[0]
    applied = ledger(stage.scratch.folder).applied
    stage.api.put("thread/thread_1", {**AFTER_SECOND, "seen": "later", "foreign": "f"})
    document = rolled_back(stage)
    assert (document["kind"], document["undoes"]) == ("apply", last)
    assert stage.api.held("thread/thread_1") == {"plan": "gold", "old": "x", "seen": "later", "foreign": "f"}
    # What the run did not touch is not even read.
    assert {call.path for call in stage.api.calls} == {"/v1/threads/thread_1"}
    assert len(stage.api.bodies) == 1
    record = ledger(stage.scratch.folder)
    assert (record.run["kind"], record.run["undoes"]) == ("rollback", last)
    assert record.touched == {"thread/thread_1": {"plan": ("lead", "gold"), "new": ("y", None), "old": (None, "x")}}
    assert record.bases["thread/thread_1"] == {"metadata": {"plan": "gold", "old": "x"}}
    # Git is as far as it was, and so is what keeps an older commit out.
    assert record.applied == applied
    assert journal(stage.scratch) == []


def test_the_next_plan_says_pending_and_there_is_no_drift_until_git_is_reverted_too(stage):
    rolled_back(stage)
    assert plan(stage) == {
        ("thread_1", "plan"): "pending",
        ("thread_1", "new"): "pending",
        ("thread_1", "old"): "pending",
    }
    assert stage.run("drift").code == 0
    stage.scratch.git("revert", "--no-edit", "HEAD")
    assert plan(stage) == {}
    assert stage.run("apply --yes --max-changed 0").code == 0
    assert stage.run("drift").code == 0
    assert stage.api.held("thread/thread_1") == AFTER_FIRST


def test_without_a_revert_the_next_apply_brings_it_back_and_the_output_warns_of_that(stage):
    done = stage.run("rollback --yes")
    assert done.code == 0
    assert "revert" in done.out
    assert ids(stage)[1] in done.out
    assert '"lead" → "gold"' in done.out
    assert stage.run("apply --yes").code == 0
    assert stage.api.held("thread/thread_1") == AFTER_SECOND


def test_a_key_that_only_the_apply_made_ours_is_foreign_again(stage):
    # thread_1's `plan` was there before our first apply, and nobody's of ours.
    first = ids(stage)[-1]
    rolled_back(stage)
    stage.scratch.git("revert", "--no-edit", "HEAD")
    rolled_back(stage, f"rollback {first} --yes")
    assert stage.api.held("thread/thread_1") == {"plan": "silver", "seen": "bot"}
    assert stage.run("drift").code == 0
    assert plan(stage) == {("thread_1", "plan"): "pending", ("thread_1", "old"): "pending"}
    stage.scratch.manifest(threads(thread_1="{}", thread_2="{plan: gold}"))
    stage.scratch.commit()
    assert plan(stage) == {}


def test_the_manifests_need_not_even_be_sound(stage):
    stage.scratch.manifest("threads: [")
    rolled_back(stage)
    assert stage.api.held("thread/thread_1") == AFTER_FIRST


# --- which run --------------------------------------------------------------------------------------------------------


def test_a_run_is_named_by_the_beginning_of_its_id(stage):
    last, first = ids(stage)
    for name, words in [("nonsense", "no run"), (first[:3], "more than one run"), ("''", "more than one run")]:
        done = stage.run(f"rollback {name} --yes")
        assert done.code == 64, done
        assert words in done.err
    assert stage.api.calls == []
    # The first apply has been overwritten since, field by field, but for what nobody touched.
    document = rolled_back(stage, f"rollback {last[:-1]} --yes")
    assert document["undoes"] == last


def test_once_more_turns_the_apply_before_that_back_and_then_there_is_none(stage):
    last, first = ids(stage)
    assert rolled_back(stage)["undoes"] == last
    assert rolled_back(stage)["undoes"] == first
    assert stage.api.held("thread/thread_1") == {"plan": "silver", "seen": "bot"}
    done = stage.run("rollback --yes")
    assert done.code == 64
    assert "no apply" in done.err
    assert stage.run("drift").code == 0


def test_the_same_run_twice_finds_nothing_to_do(stage):
    last = ids(stage)[0]
    rolled_back(stage)
    stage.api.calls.clear()
    rolled_back(stage, f"rollback {last} --yes")
    assert stage.api.bodies == []
    assert ledger(stage.scratch.folder).bases["thread/thread_1"] == {"metadata": {"plan": "gold", "old": "x"}}
    assert stage.run("drift").code == 0


def test_a_rollback_can_be_turned_back_as_well(stage):
    rolled_back(stage)
    undoing = ids(stage)[0]
    assert rolled_back(stage, f"rollback {undoing} --yes")["undoes"] == undoing
    assert stage.api.held("thread/thread_1") == AFTER_SECOND
    assert plan(stage) == {}
    assert stage.run("drift").code == 0


def test_without_a_ledger_there_is_nothing_to_turn_back(tmp_path):
    with staged(tmp_path, FIRST, Api(HELD, KIND), REPLACE) as stage:
        stage.scratch.commit()
        for line in ("rollback --yes", "rollback 2026 --yes"):
            assert stage.run(line).code == 64
        assert stage.run("baseline").code == 0
        assert stage.run("rollback --yes").code == 64


# --- what stops it ----------------------------------------------------------------------------------------------------


def test_nothing_is_written_without_consent(stage):
    before = tip(stage.scratch.folder)
    done = stage.run("rollback")
    assert (done.code, stage.api.calls) == (64, [])
    done = stage.scratch.at_terminal("rollback", "no")
    assert done.code == 1
    assert "3 removals" not in done.err
    assert "1 modify call" in done.err
    assert stage.api.bodies == []
    assert tip(stage.scratch.folder) == before
    assert journal(stage.scratch) == []
    assert stage.scratch.at_terminal("rollback", "yes").code == 0
    assert stage.api.held("thread/thread_1") == AFTER_FIRST


def test_the_guards_hold_for_a_rollback_as_well(tmp_path):
    pairs = {f"thread_{at}": "{plan: gold}" for at in range(10)}
    held = {f"thread/{own}": {"other": "x"} for own in pairs}
    with staged(tmp_path, threads(**pairs), Api(held, KIND), REPLACE) as stage:
        stage.scratch.commit()
        assert stage.run("apply --yes").code == 0
        stage.api.calls.clear()
        document = rolled_back(stage, code=6)
        assert [each["code"] for each in document["errors"]] == ["guard_refused"]
        assert set(outcomes(document).values()) == {"not_attempted"}
        assert stage.api.bodies == []
        assert len(ids(stage)) == 1
        rolled_back(stage, "rollback --yes --max-changed 100 --max-removed 100")
        assert {tuple(stage.api.held(name)) for name in held} == {("other",)}


def test_a_resource_with_a_field_that_moved_since_is_stale_and_the_others_are_restored(tmp_path):
    with staged(tmp_path, FIRST, Api(HELD, KIND), REPLACE) as stage:
        stage.scratch.commit()
        assert stage.run("apply --yes").code == 0
        stage.scratch.manifest(threads(thread_1="{plan: lead, old: y}", thread_2="{plan: lead}"))
        stage.scratch.commit()
        assert stage.run("apply --yes").code == 0
        stage.api.put("thread/thread_1", {"plan": "lead", "old": "edited"})
        document = rolled_back(stage, code=5)
        assert outcomes(document) == {"thread_1": "stale", "thread_2": "applied"}
        assert "old" in next(each["error"]["message"] for each in document["outcomes"] if each["id"] == "thread_1")
        assert stage.api.held("thread/thread_1") == {"plan": "lead", "old": "edited"}
        assert stage.api.held("thread/thread_2") == {"plan": "gold"}
        assert ledger(stage.scratch.folder).bases == {
            "thread/thread_1": {"metadata": {"plan": "lead", "old": "y"}},
            "thread/thread_2": {"metadata": {"plan": "gold"}},
        }
        assert plan(stage) == {("thread_1", "old"): "drift", ("thread_2", "plan"): "pending"}


def test_a_field_that_a_later_apply_wrote_is_stale(stage):
    first = ids(stage)[-1]
    document = rolled_back(stage, f"rollback {first} --yes", code=5)
    assert set(outcomes(document).values()) == {"stale"}
    assert stage.api.bodies == []
    assert stage.api.held("thread/thread_1") == AFTER_SECOND


def test_a_field_that_somebody_has_put_back_already_is_no_obstacle(stage):
    stage.api.put("thread/thread_1", {**AFTER_SECOND, "plan": "gold"})
    rolled_back(stage)
    assert stage.api.held("thread/thread_1") == AFTER_FIRST
    assert stage.run("drift").code == 0


def test_a_resource_that_is_gone_is_missing_and_the_others_are_restored(tmp_path):
    manifest = threads(thread_1="{plan: gold}", thread_2="{plan: lead}")
    with staged(tmp_path, manifest, Api(HELD, KIND), REPLACE) as stage:
        stage.scratch.commit()
        assert stage.run("apply --yes").code == 0
        stage.api.delete("thread/thread_1")
        document = rolled_back(stage, code=4)
        assert outcomes(document) == {"thread_1": "missing", "thread_2": "applied"}
        assert stage.api.held("thread/thread_2") == {"plan": "gold"}


def test_what_the_api_cannot_remove_is_blocked_and_stays_recorded_as_applied(tmp_path):
    manifest = threads(thread_1="{plan: gold, team: a}")
    held = {"thread/thread_1": {"plan": "silver"}}
    with staged(tmp_path, manifest, Api(held, {"thread": "merge"}), "writes: {thread: merge}") as stage:
        stage.scratch.commit()
        assert stage.run("apply --yes").code == 0
        stage.api.calls.clear()
        document = rolled_back(stage, code=4)
        assert fields(document) == {("thread_1", "plan"): "pending", ("thread_1", "team"): "unremovable"}
        assert stage.api.bodies == [{"metadata": {"plan": "silver"}}]
        assert stage.api.held("thread/thread_1") == {"plan": "silver", "team": "a"}
        assert ledger(stage.scratch.folder).bases["thread/thread_1"]["metadata"].get("team") == "a"
        assert plan(stage) == {("thread_1", "plan"): "pending"}
        assert stage.run("drift").code == 0


def test_a_protected_resource_loses_no_key_by_a_rollback(tmp_path):
    manifest = "threads:\n  thread_1: {metadata: {plan: gold, team: a}, protect: true}\n"
    with staged(tmp_path, manifest, Api({"thread/thread_1": {"plan": "silver"}}, KIND), REPLACE) as stage:
        stage.scratch.commit()
        assert stage.run("apply --yes").code == 0
        document = rolled_back(stage, code=4)
        assert fields(document)["thread_1", "team"] == "protected"
        assert stage.api.held("thread/thread_1") == {"plan": "silver", "team": "a"}


# --- resources that left the manifests --------------------------------------------------------------------------------


@pytest.fixture
def pruned(tmp_path):
    """Give a stage where thread_2 has left the manifests and was pruned."""
    held = {"thread/thread_1": {"plan": "gold"}, "thread/thread_2": {"seen": "bot"}}
    with staged(tmp_path, FIRST, Api(held, KIND), REPLACE) as stage:
        stage.scratch.commit()
        assert stage.run("apply --yes").code == 0
        stage.scratch.manifest(threads(thread_1="{plan: gold, old: x}"))
        stage.scratch.commit()
        assert stage.run("apply --yes --prune").code == 0
        assert stage.api.held("thread/thread_2") == {"seen": "bot"}
        yield stage


def test_what_was_pruned_comes_back_and_is_released_again(pruned):
    rolled_back(pruned)
    assert pruned.api.held("thread/thread_2") == {"seen": "bot", "plan": "gold"}
    document = pruned.run("plan --format json").document
    assert [(one["id"], one["keys"]) for one in document["released"]] == [("thread_2", ["plan"])]
    assert document["changes"] == []
    assert pruned.run("drift").code == 0
    # With git reverted it is as if nothing had happened.
    pruned.scratch.git("revert", "--no-edit", "HEAD")
    assert plan(pruned) == {}


def test_a_resource_that_was_released_since_is_turned_back_all_the_same(stage):
    stage.scratch.manifest(threads(thread_2="{plan: gold}"))
    stage.scratch.commit()
    assert stage.run("apply --yes").code == 0
    rolled_back(stage)
    assert stage.api.held("thread/thread_1") == AFTER_FIRST
    document = stage.run("plan --format json").document
    assert [(one["id"], one["keys"]) for one in document["released"]] == [("thread_1", ["old", "plan"])]


# --- elsewhere --------------------------------------------------------------------------------------------------------


def test_a_rollback_in_another_clone_finds_the_run_and_is_pushed(tmp_path):
    with shared(tmp_path, FIRST, Api(HELD, KIND)) as both:
        assert both.one.run("apply --yes").code == 0
        done = both.two.run("rollback --yes --format json")
        assert done.code == 0, done
        assert both.api.held("thread/thread_1") == HELD["thread/thread_1"]
        assert ledger(both.remote).run["kind"] == "rollback"
        (newest, oldest) = json.loads(both.one.run("history --format json").out)
        assert newest["undoes"] == oldest["id"]
        assert f"rollback of {oldest['id']}" in both.one.run("history").out


def test_a_rollback_works_where_the_commit_of_the_apply_is_not_even_known(stage):
    stage.scratch.git("checkout", "-q", "--orphan", "empty")
    git(stage.scratch.folder, "reflog", "expire", "--expire=now", "--all")
    rolled_back(stage)
    assert stage.api.held("thread/thread_1") == AFTER_FIRST
