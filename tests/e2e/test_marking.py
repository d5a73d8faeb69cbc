"""`--mark-since REV`: what the change under review asks for, told apart from what was pending or had drifted before."""

import json
import shutil

import pytest
from repositories import git
from scratch import Api, Scratch, staged

OLD = "threads:\n  thread_1: {metadata: {plan: gold, team: a}}\n  thread_2: {metadata: {plan: gold, old: x}}\n"
NEW = "threads:\n  thread_1: {metadata: {plan: gold, team: b}}\n  thread_2: {metadata: {plan: gold}}\n"
HELD = {"thread/thread_1": {"plan": "tin", "team": "a"}, "thread/thread_2": {"plan": "tin", "old": "x"}}


@pytest.fixture
def stage(tmp_path):
    """A repository whose `main` is applied; on a branch, two declarations change, and behind git's back one value."""
    with staged(tmp_path, OLD, Api(HELD, {"thread": "merge-null"}), "writes: {thread: merge-null}") as made:
        made.scratch.write(".gitignore", ".reconciler/\n")
        made.scratch.commit()
        made.scratch.git("branch", "-M", "main")
        assert made.run("apply --yes").code == 0
        made.scratch.git("checkout", "-q", "-b", "change")
        made.scratch.manifest(NEW)
        made.scratch.git("commit", "-qam", "Another team")
        made.api.put("thread/thread_1", {"plan": "tin", "team": "a"})
        yield made


def introduced(document):
    return {
        (change["id"], field["key"]): field.get("introduced", False)
        for change in document["changes"]
        for field in change["fields"]
    }


def test_what_the_change_asks_for_is_marked_and_the_rest_is_not(stage):
    document = stage.run("plan --mark-since main --format json").document
    assert introduced(document) == {
        ("thread_1", "plan"): False,
        ("thread_1", "team"): True,
        ("thread_2", "old"): True,
    }
    assert document["since"] == {"revision": "main", "commit": stage.scratch.git("rev-parse", "main")}


def test_nothing_is_marked_where_nobody_asks(stage):
    document = stage.run("plan --format json").document
    assert "since" not in document
    assert not any(introduced(document).values())


def test_commits_that_the_branch_does_not_have_yet_are_none_of_its_changes(stage):
    stage.scratch.git("checkout", "-q", "main")
    stage.scratch.manifest(OLD.replace("plan: gold, team: a", "plan: silver, team: a"))
    stage.scratch.git("commit", "-qam", "Meanwhile")
    stage.scratch.git("checkout", "-q", "change")
    document = stage.run("plan --mark-since main --format json").document
    assert introduced(document)[("thread_1", "plan")] is False
    assert document["since"]["commit"] == stage.scratch.git("merge-base", "main", "change")


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("metadata: {plan: gold}", "metadata: {plan: gold}, ownership: exclusive", {"old": True, "plan": False}),
        ("metadata: {plan: gold}", "metadata: {plan: gold, old: null}", {"old": True, "plan": False}),
        ("metadata: {plan: gold, old: null}", "metadata: {plan: gold}, ownership: exclusive",
         {"old": False, "plan": False}),
        ("metadata: {plan: tin}, ignore: [old]", "metadata: {plan: gold}, ignore: [old]", {"plan": True}),
        ("metadata: {plan: gold}, protect: true", "metadata: {plan: gold}", {"plan": False}),
    ],
    ids=["becomes exclusive", "null for silent", "null, then exclusive", "a value beside an ignored key", "protection"],
)  # fmt: skip
def test_what_counts_is_what_is_asked_for_a_key(tmp_path, before, after, expected):
    api = Api({"thread/thread_1": {"plan": "silver", "old": "x"}}, {"thread": "merge-null"})
    with staged(tmp_path, f"threads:\n  thread_1: {{{before}}}\n", api, "writes: {thread: merge-null}") as made:
        made.scratch.commit()
        made.scratch.manifest(f"threads:\n  thread_1: {{{after}}}\n")
        document = made.run("plan --mark-since HEAD --format json").document
    assert {key: marked for (_, key), marked in introduced(document).items()} == expected


def test_a_resource_that_is_new_in_the_change_is_marked(stage):
    stage.scratch.manifest(NEW + "  thread_3: {metadata: {plan: gold}}\n")
    stage.api.put("thread/thread_3", {})
    document = stage.run("plan --mark-since main --format json").document
    assert introduced(document)[("thread_3", "plan")] is True


def test_keys_of_a_resource_that_the_change_takes_out_are_marked_when_pruned(stage):
    stage.scratch.manifest("threads:\n  thread_1: {metadata: {plan: gold, team: b}}\n")
    document = stage.run("plan --prune --mark-since main --format json").document
    assert introduced(document)[("thread_2", "old")] is True


def test_an_unknown_revision_is_wrong_usage(stage):
    done = stage.run("plan --mark-since nowhere")
    assert (done.code, "nowhere" in done.err) == (64, True)


def test_outside_of_git_there_is_no_change_to_mark(tmp_path):
    with staged(tmp_path, NEW, Api(HELD)) as made:
        done = made.run("plan --mark-since main")
    assert done.code == 64
    assert "--mark-since" in done.err


def test_manifests_that_were_invalid_then_are_a_note_and_no_failure(stage):
    stage.scratch.git("checkout", "-q", "-b", "broken", "main")
    stage.scratch.manifest("threads: 7\n")
    stage.scratch.git("commit", "-qam", "Break it")
    stage.scratch.manifest(NEW)
    done = stage.run("plan --mark-since HEAD --format json")
    assert done.code == 0
    assert "unmarked" in [note["code"] for note in done.document["notes"]]
    assert "since" not in done.document


def test_a_saved_plan_keeps_its_marks(stage):
    assert stage.run("plan --mark-since main --out json=plan.json").code == 0
    document = stage.run("show plan.json --format json").document
    assert introduced(document)[("thread_1", "team")] is True


def test_the_marks_of_shards_are_those_of_one_run(stage):
    for shard in ("1/2", "2/2"):
        assert stage.run(f"plan --mark-since main --shard {shard} --out json=s{shard[0]}.json").code == 0
    assert stage.run("plan --mark-since main --out json=whole.json").code == 0
    assert stage.run("merge-reports s1.json s2.json --out json=merged.json").code == 0
    assert json.loads(stage.scratch.read("merged.json")) == json.loads(stage.scratch.read("whole.json"))


def test_shards_that_were_held_against_different_commits_are_not_of_one_run(stage):
    assert stage.run("plan --mark-since main --shard 1/2 --out json=s1.json").code == 0
    assert stage.run("plan --mark-since HEAD --shard 2/2 --out json=s2.json").code == 0
    assert stage.run("merge-reports s1.json s2.json").code == 3


def test_places_are_told_from_the_top_of_the_repository(tmp_path):
    with staged(tmp_path, NEW, Api(HELD)) as made:
        scratch: Scratch = made.scratch
        top = scratch.folder / "ops" / "threads"
        top.mkdir(parents=True)
        for name in ("reconciler.yaml", "manifests"):
            shutil.move(scratch.folder / name, top / name)
        scratch.commit()
        assert made.run("plan -C ops/threads --format json").document["head"]["prefix"] == "ops/threads"
        git(scratch.folder, "mv", "ops/threads/reconciler.yaml", "ops/threads/manifests", ".")
        assert "prefix" not in made.run("plan --format json").document["head"]
