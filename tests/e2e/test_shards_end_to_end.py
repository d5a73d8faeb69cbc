"""A run in shards: together they are one run over everything, and `merge-reports` says so."""

import json

import pytest
from repositories import journal, ledger
from scratch import Api, complaint, staged

from reconciler.model import Ref
from reconciler.shards import Shard

COUNT = 3
NAMES = [f"thread_1{number:02}" for number in range(16)]
MANIFEST = "threads:\n" + "".join(f"  {name}: {{metadata: {{plan: gold, team: a}}}}\n" for name in NAMES)
WRITES = {"thread": "replace"}
AS_TOLD = "writes: {thread: replace}"
LOOSE = "guards: {max_changed: 100%, max_removed: 100%}\n"


def held(**others):
    """Return what a server holds: every third thread as declared, the others with another plan."""
    found = {name: {"plan": "gold" if number % 3 == 0 else "silver", "team": "a"} for number, name in enumerate(NAMES)}
    return {f"thread/{name}": pairs for name, pairs in (found | others).items()}


def part_of(index, names=NAMES, count=COUNT):
    """Return which threads fall to a shard."""
    return [name for name in names if Shard(index, count).has(Ref("thread", name))]


@pytest.fixture
def stage(tmp_path):
    api = Api(held(), WRITES)
    with staged(tmp_path, MANIFEST, api, AS_TOLD, LOOSE) as stage:
        stage.scratch.commit()
        yield stage


def in_shards(stage, line, count=COUNT):
    """Run a command once for each shard, their documents in `shard-I.json`; returns what they left behind."""
    return [stage.run(f"{line} --shard {index}/{count} --out json=shard-{index}.json") for index in range(1, count + 1)]


def merged(stage, count=COUNT, options=""):
    """Merge the documents of all shards."""
    files = " ".join(f"shard-{index}.json" for index in range(count, 0, -1))
    return stage.run(f"merge-reports {files} {options}")


def same_as_one_run(stage, line, count=COUNT):
    """Hold the merged documents of shards, and their code, against those of one run over everything."""
    in_shards(stage, line, count)
    together = merged(stage, count, "--format json")
    alone = stage.run(f"{line} --format json")
    assert together.out == alone.out
    assert together.code == alone.code
    assert merged(stage, count).out == stage.run(line).out
    return together


# --- plan -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 5])
def test_the_merged_plan_of_all_shards_is_that_of_one_run_byte_for_byte(stage, count):
    assert same_as_one_run(stage, "plan", count).code == 0
    assert same_as_one_run(stage, "plan --detailed-exitcode --all", count).code == 2


def test_each_shard_reads_its_own_resources_and_no_others(stage):
    for index in range(1, COUNT + 1):
        stage.api.calls.clear()
        done = stage.run(f"plan --all --shard {index}/{COUNT} --format json")
        read = [call.path.rpartition("/")[2] for call in stage.api.sent("GET")]
        assert sorted(read) == part_of(index)
        assert [change["id"] for change in done.document["changes"]] == part_of(index)
        assert done.document["shard"] == {"index": index, "count": COUNT, "asked": []}


def test_with_a_ledger_causes_released_resources_and_faults_are_those_of_one_run(stage):
    stage.run("apply --yes")
    gone = part_of(1)[0], part_of(2)[0], part_of(2)[1]
    lines = [line for line in MANIFEST.splitlines() if not any(name in line for name in gone)]
    stage.scratch.manifest("\n".join(lines).replace("team: a", "team: b") + "\n  thread_never: {metadata: {a: b}}\n")
    stage.scratch.commit()
    stage.api.put(f"thread/{part_of(3)[0]}", {"plan": "lead", "team": "a"})
    stage.api.delete(f"thread/{part_of(2)[2]}")
    stage.api._instead = {f"GET /v1/threads/{part_of(3)[1]}": [complaint(400, "no")]}
    done = same_as_one_run(stage, "plan")
    assert done.code == 1
    assert [one["id"] for one in done.document["released"]] == sorted(gone)
    assert done.document["summary"]["causes"]["conflict"] + done.document["summary"]["causes"]["drift"] > 0
    assert [error["code"] for error in done.document["errors"]].count("missing") == 2
    assert same_as_one_run(stage, "plan --only pending --select 'thread/thread_10*'").code == 1
    assert same_as_one_run(stage, "plan --prune").code == 1
    assert same_as_one_run(stage, "drift").code == 1
    assert same_as_one_run(stage, "plan --offline --base HEAD~1").code == 0


def test_a_shard_to_which_nothing_falls_is_nothing_to_do(stage):
    index = next(index for index in range(1, 41) if not part_of(index, count=40))
    for command in ("plan", "drift", "apply --yes", "baseline"):
        done = stage.run(f"{command} --shard {index}/40 --quiet")
        assert (done.code, len(done.lines)) == (0, 1)
    assert stage.run(f"adopt --yes --shard {index}/40").out == "Nothing to adopt.\n"
    assert not stage.api.calls
    assert stage.run("plan --changed-since HEAD --shard 1/2").code == 0


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("plan --shard 0/4", "shards count from 1: the first one is 1/4"),
        ("drift --shard 5/4", "there is no shard 5 of 4; the last one is 4/4"),
        ("adopt --shard x", "'x' is no shard; write I/N, such as 2/4"),
        ("plan --shard 1/2 --select nothing/*", "--select nothing/* matches none of 16 resources"),
        ("plan --shard 1/2 nowhere", "nowhere does not exist"),
    ],
)
def test_what_makes_no_sense_is_wrong_usage(stage, line, told):
    done = stage.run(line)
    assert done.code == 64
    assert told in done.err
    assert not stage.api.calls


# --- apply ------------------------------------------------------------------------------------------------------------


def test_applies_of_all_shards_do_what_one_apply_does(stage):
    assert [done.code for done in in_shards(stage, "apply --yes")] == [0] * COUNT
    done = merged(stage, options="--format json")
    outcomes = done.outcomes()
    assert list(outcomes) == sorted(outcomes)
    assert set(outcomes.values()) == {"applied"}
    assert len(outcomes) == len(stage.api.bodies) == done.document["requests"]["writes"] == 10
    assert all(stage.api.held(f"thread/{name}") == {"plan": "gold", "team": "a"} for name in NAMES)
    text = merged(stage)
    assert text.lines[0].startswith("Target test (http://127.0.0.1")
    assert text.lines[-2:] == ["Plan: 10 to update (+0 ~10 -0), 6 unchanged, 10 modify calls.",
                               "Applied: 10 applied, 10 modify calls."]  # fmt: skip
    assert stage.run("plan --detailed-exitcode").code == 0


def test_shards_record_their_own_and_only_a_run_over_everything_makes_the_ledger_complete(stage):
    stage.run(f"apply --yes --shard 1/{COUNT}")
    assert sorted(ledger(stage.scratch.folder).bases) == [f"thread/{name}" for name in part_of(1)]
    in_shards(stage, "apply --yes")
    assert len(ledger(stage.scratch.folder).bases) == len(NAMES)
    assert not ledger(stage.scratch.folder).head["complete"]
    stage.run("baseline")
    assert ledger(stage.scratch.folder).head["complete"]


def test_a_merged_plan_is_carried_out_as_that_of_one_run(stage):
    in_shards(stage, "plan")
    assert merged(stage, options="--out json=plan.json").code == 0
    done = stage.run("apply plan.json --yes --format json")
    assert (done.code, len(done.outcomes())) == (0, 10)
    assert ledger(stage.scratch.folder).head["complete"]
    assert len(ledger(stage.scratch.folder).bases) == len(NAMES)


def test_the_plan_of_one_shard_is_carried_out_and_does_not_count_as_a_look_at_everything(stage):
    in_shards(stage, "plan")
    done = stage.run("apply shard-2.json --yes --format json")
    assert done.code == 0
    assert {f"thread/{name}" for name in part_of(2)} >= done.outcomes().keys()
    assert sorted(ledger(stage.scratch.folder).bases) == [f"thread/{name}" for name in part_of(2)]
    assert not ledger(stage.scratch.folder).head["complete"]


def test_a_shard_of_a_saved_plan_is_wrong_usage(stage):
    stage.run("plan --out json=plan.json")
    done = stage.run("apply plan.json --yes --shard 1/2")
    assert done.code == 64
    assert "a saved plan is carried out as it is; --shard is said to `plan`" in done.err
    assert not stage.api.sent("POST")
    assert stage.run("apply manifests/m.yaml --yes --shard 1/2").code == 0


def test_released_keys_are_pruned_by_the_shard_that_they_fall_to(stage):
    stage.run("apply --yes")
    gone = [part_of(index)[0] for index in (1, 2)]
    stage.scratch.manifest("\n".join(line for line in MANIFEST.splitlines() if not any(name in line for name in gone)))
    stage.scratch.commit()
    in_shards(stage, "apply --yes --prune")
    assert list(merged(stage, options="--format json").outcomes()) == [f"thread/{name}" for name in sorted(gone)]
    assert all(stage.api.held(f"thread/{name}") == {} for name in gone)


def test_the_guards_are_held_against_each_shard_by_itself(tmp_path):
    moved = dict.fromkeys(part_of(1)[:2], {"plan": "lead", "team": "a"})
    api = Api(held(**dict.fromkeys(NAMES, {"plan": "gold", "team": "a"}) | moved), WRITES)
    with staged(tmp_path, MANIFEST, api, AS_TOLD, "guards: {at_least: 5}\n") as stage:
        stage.scratch.commit()
        assert [done.code for done in in_shards(stage, "apply --yes")] == [6, 0, 0]
        done = merged(stage)
        assert (done.code, "2 of 5 resources would have values replaced or removed (40.0%)" in done.out) == (6, True)
        assert stage.run("apply --yes").code == 0  # 2 of 16


def test_first_records_of_shards_with_a_base_have_nothing_to_dispute(stage):
    in_shards(stage, "apply --yes --base HEAD")
    assert merged(stage).code == 0
    found = ledger(stage.scratch.folder)
    assert sorted(found.bases) == [f"thread/{name}" for name in NAMES]


def test_what_an_apply_without_a_record_left_is_read_once_and_told_once(stage):
    _leave_a_journal(stage)
    stage.scratch.manifest("".join(line for line in MANIFEST.splitlines(keepends=True) if "thread_101" not in line))
    stage.scratch.commit()
    stage.api.calls.clear()
    same_as_one_run(stage, "plan")
    shards = stage.api.sent("GET")[: len(NAMES)]
    assert sorted(call.path.rpartition("/")[2] for call in shards) == NAMES
    done = merged(stage, options="--format json")
    assert [one["id"] for one in done.document["released"]] == ["thread_101"]
    assert [note["code"] for note in done.document["notes"]].count("unfinished") == 1


def _leave_a_journal(stage):
    """Let an apply die between its writes and its record."""
    process = stage.scratch.start("apply --yes --base none", {"GIT_COMMITTER_DATE": "never"})
    process.communicate()
    assert process.returncode == 4
    assert journal(stage.scratch)


# --- adopt, baseline --------------------------------------------------------------------------------------------------


def test_adopt_in_shards_takes_each_change_once(stage):
    stage.run("apply --yes")
    for name in NAMES:
        stage.api.put(f"thread/{name}", {"plan": "lead", "team": "a"})
    seen = []
    for index in range(1, COUNT + 1):
        before = stage.scratch.read("manifests/m.yaml").count("lead")
        assert stage.run(f"adopt --yes --shard {index}/{COUNT}").code == 0
        seen.append(stage.scratch.read("manifests/m.yaml").count("lead") - before)
    assert seen == [len(part_of(index)) for index in range(1, COUNT + 1)]


# --- merge-reports ----------------------------------------------------------------------------------------------------


def test_a_shard_whose_machine_died_is_told_and_the_others_are_reported(stage):
    in_shards(stage, "drift")
    done = stage.run("merge-reports shard-1.json shard-3.json --out json=report.json")
    assert done.code == 1
    assert "error: no document of the shard 2/3: nothing is known of what falls to it [shard_missing]" in done.lines
    assert json.loads(stage.scratch.read("report.json"))["exit_code"] == 1


def test_what_is_not_of_one_run_is_refused_with_the_files(stage):
    in_shards(stage, "plan")
    stage.run("plan --shard 2/3 --select 'thread/thread_10*' --out json=shard-2.json")
    stage.scratch.write("torn.json", stage.scratch.read("shard-1.json")[:-40])
    stage.scratch.write("cut.json", stage.scratch.read("shard-1.json").replace("silver", "gold"))
    done = merged(stage)
    assert (done.code, done.out) == (3, "")
    said = (
        "shard-2.json:1:1: error: this document's selection is --select thread/thread_10*, that of shard-3.json is "
        "everything"
    )
    assert said in done.err
    done = stage.run("merge-reports torn.json cut.json shard-1.json")
    assert done.code == 3
    assert [line.partition(":1:1")[0] for line in done.err.splitlines()] == ["torn.json", "cut.json"]
    assert stage.run("merge-reports shard-1.json shard-1.json").code == 64
    assert stage.run("merge-reports shard-1.json none.json").code == 64
    assert stage.run("merge-reports").code == 64
    assert stage.run("merge-reports shard-1.json --out json=no/where.json").code == 64


def test_the_options_of_a_run_are_what_its_shards_have_in_common(stage):
    line = "plan manifests --select 'thread/*' --select 'a*' --changed-since HEAD --base HEAD --only drift,add"
    done = stage.run(f"{line} --shard 1/2 --format json")
    assert done.document["shard"]["asked"] == [
        "manifests", "--select a*", "--select thread/*", "--changed-since HEAD", "--base HEAD", "--only add,drift",
    ]  # fmt: skip
    assert stage.run("plan --prune --shard 1/2 --format json").document["shard"]["asked"] == ["--prune"]


def test_an_invalid_manifest_is_told_once(stage):
    stage.scratch.manifest("threads: {thread_100: {metadata: {a: 1}}}\n")
    assert [done.code for done in in_shards(stage, "plan")] == [3] * COUNT
    done = merged(stage, options="--format json")
    assert (done.code, len(done.document["errors"])) == (3, 1)


def test_masked_documents_stay_masked(tmp_path):
    with staged(tmp_path, MANIFEST, Api(held(), WRITES), AS_TOLD, "mask: [plan]\n") as stage:
        stage.scratch.commit()
        assert '"***"' in same_as_one_run(stage, "plan").out
        merged(stage, options="--out json=plan.json")
        done = stage.run("apply plan.json --yes")
        assert (done.code, "masked" in done.err) == (3, True)


def test_an_output_file_that_cannot_be_written_after_all_ends_with_an_error(stage):
    in_shards(stage, "plan", 1)
    done = stage.run("merge-reports shard-1.json --out json=/dev/full")
    assert done.code == 1
    assert "cannot write" in done.err
