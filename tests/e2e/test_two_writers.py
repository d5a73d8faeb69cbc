"""Nobody's record is lost: two clones with one remote, two applies in one clone, an apply that dies on the way."""

import json
import os
import shutil
import signal

import pytest
from repositories import (
    REF,
    Meeting,
    clone,
    git,
    hook,
    journal,
    ledger,
    publish,
    runs,
    shared,
    tip,
)
from scratch import Api, Scratch, finished, staged, until

TWO = """\
threads:
  thread_1: {metadata: {plan: gold}}
  thread_2: {metadata: {plan: gold}}
"""
HELD = {"thread/thread_1": {"plan": "silver"}, "thread/thread_2": {"plan": "silver"}}
REPLACE = "writes: {thread: replace}"
KIND = {"thread": "replace"}
BASES = {name: {"metadata": {"plan": "gold"}} for name in HELD}


def codes(done):
    """Return the codes of a document's errors."""
    return [each["code"] for each in done.document["errors"]]


def causes(done):
    """Return the cause of each field that differs."""
    return {
        (change["id"], each["key"]): each["cause"] for change in done.document["changes"] for each in change["fields"]
    }


def at_once(*starts):
    """Run commands side by side, each a scratch folder and a line, and return what they left behind."""
    processes = [scratch.start(line) for scratch, line in starts]
    return [finished(process) for process in processes]


# --- a remote ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def both(tmp_path):
    with shared(tmp_path, TWO, Api(HELD, KIND)) as both:
        yield both


def test_a_clone_that_never_fetched_the_ledger_knows_what_another_one_applied(both):
    # The very first run: the remote has no ledger, and that is no error.
    assert both.one.run("apply --yes").code == 0
    assert tip(both.remote) == tip(both.one.folder)
    # What CI checks out is one commit of one branch.
    job = clone(both.remote, both.remote.parent / "job", "--depth=1", "--single-branch", "--branch=main")
    both.api.put("thread/thread_1", {"plan": "edited"})
    assert tip(job.folder) is None
    before = git(job.folder, "for-each-ref")
    assert causes(job.run("plan --format json")) == {("thread_1", "plan"): "drift"}
    assert job.run("drift").code == 2
    assert job.run("apply --yes").code == 0
    assert tip(job.folder) == tip(both.remote)
    assert [run.run["outcomes"] for run in runs(both.remote)][-1] == {"applied": 2}
    assert [line for line in git(job.folder, "for-each-ref").splitlines() if REF not in line] == before.splitlines()
    assert not (job.folder / ".git/FETCH_HEAD").exists()
    # And the first clone follows.
    assert both.one.run("plan").code == 0
    assert tip(both.one.folder) == tip(both.remote)


def test_a_plan_fetches_and_does_not_push(both):
    assert both.one.run("apply --yes").code == 0
    at = tip(both.remote)
    for line in ("plan", "history"):
        assert both.two.run(line).code == 0, line
        assert tip(both.two.folder) == tip(both.remote) == at
        git(both.two.folder, "update-ref", "-d", REF)


@pytest.mark.parametrize("begun", [False, True], ids=["the first records", "later records"])
def test_two_clones_that_apply_side_by_side_both_have_their_record_in_the_remote(begun, tmp_path):
    with shared(tmp_path, TWO, Meeting(HELD, KIND)) as both:
        if begun:
            assert both.one.run("baseline").code == 0
        for done in at_once(
            (both.one, "apply --yes --select thread/thread_1 --format json"),
            (both.two, "apply --yes --select thread/thread_2 --format json"),
        ):
            assert (done.code, set(done.outcomes().values())) == (0, {"applied"}), done.document["errors"]
        assert ledger(both.remote).bases == BASES
        touched = [list(run.touched) for run in runs(both.remote) if run.touched]
        assert sorted(touched) == [["thread/thread_1"], ["thread/thread_2"]]
        for scratch in (both.one, both.two):
            assert len(scratch.run("history").lines) == 2 + begun
            assert tip(scratch.folder) == tip(both.remote)
            assert journal(scratch) == []


def test_two_clones_that_apply_the_same_at_once_agree(tmp_path):
    with shared(tmp_path, TWO, Meeting(HELD, KIND, of=4)) as both:
        assert [done.code for done in at_once((both.one, "apply --yes"), (both.two, "apply --yes"))] == [0, 0]
        assert ledger(both.remote).bases == BASES
        assert len(runs(both.remote)) == 2


def test_different_fields_of_one_resource_are_both_kept(tmp_path):
    held = {"thread/thread_1": {}}
    with shared(tmp_path, TWO, Meeting(held, {"thread": "merge"}), "writes: {thread: merge}") as both:
        both.one.manifest("threads:\n  thread_1: {metadata: {a: one}}\n")
        both.two.manifest("threads:\n  thread_1: {metadata: {b: two}}\n")
        assert [done.code for done in at_once((both.one, "apply --yes"), (both.two, "apply --yes"))] == [0, 0]
        assert both.api.held("thread/thread_1") == {"a": "one", "b": "two"}
        assert ledger(both.remote).bases == {"thread/thread_1": {"metadata": {"a": "one", "b": "two"}}}


def test_a_field_that_two_clones_applied_differently_at_once_is_told(tmp_path):
    with shared(tmp_path, TWO, Meeting(HELD, KIND)) as both:
        both.two.manifest("threads:\n  thread_1: {metadata: {plan: iron}}\n")
        line = "apply --yes --select thread/thread_1 --format json"
        done = at_once((both.one, line), (both.two, line))
        assert sorted(one.code for one in done) == [0, 4], done
        (late,) = [one for one in done if one.code == 4]
        assert codes(late) == ["disputed"]
        assert "thread/thread_1: plan" in late.document["errors"][0]["message"]
        assert len(runs(both.remote)) == 2
        assert len(ledger(both.remote).parents) == 2
        # Whoever is asked next sees where it stands: one of the two is there, the other one is not.
        assert both.one.run("apply --yes").code == 0
        assert both.one.run("drift").code == 0


def test_a_record_that_could_not_be_pushed_is_kept_and_pushed_by_the_next_apply(both):
    assert both.one.run("baseline").code == 0
    at = tip(both.remote)
    refusing = hook(both.remote, "pre-receive", "echo no ledgers here >&2; exit 1")
    done = both.one.run("apply --yes --format json")
    assert done.code == 4, done
    assert codes(done) == ["not_pushed"]
    assert set(done.outcomes().values()) == {"applied"}
    assert "no ledgers here" in done.document["errors"][0]["message"]
    assert tip(both.remote) == at
    kept = ledger(both.one.folder)
    assert kept.bases == BASES
    assert journal(both.one) == []
    # Neither a fetch of ours nor one by a person gives it up.
    git(both.one.folder, "config", "--add", "remote.origin.fetch", "+refs/heads/*:refs/remotes/origin/*")
    assert both.one.run("plan").code == 0
    assert tip(both.one.folder) == kept.commit
    refusing.unlink()
    # There is nothing to write any more; the record is still owed.
    assert both.one.run("apply --yes").code == 0
    assert tip(both.remote) == tip(both.one.folder) == kept.commit


def test_a_record_that_is_owed_is_pushed_together_with_the_next_one(both):
    refusing = hook(both.remote, "pre-receive", "exit 1")
    assert both.one.run("apply --yes --select thread/thread_1").code == 4
    refusing.unlink()
    assert both.two.run("apply --yes --select thread/thread_2").code == 0
    assert both.one.run("apply --yes").code == 0
    assert ledger(both.remote).bases == BASES
    touched = [list(run.touched) for run in runs(both.remote)]
    assert ["thread/thread_1"] in touched
    assert ["thread/thread_2"] in touched


def test_a_mirror_that_overwrites_its_refs_does_not_cost_a_record(both):
    git(both.one.folder, "config", "remote.origin.fetch", "+refs/*:refs/*")
    assert both.one.run("baseline").code == 0
    refusing = hook(both.remote, "pre-receive", "exit 1")
    assert both.one.run("apply --yes --select thread/thread_1").code == 4
    refusing.unlink()
    assert both.two.run("apply --yes --select thread/thread_2").code == 0
    assert both.one.run("plan").code == 0
    assert ledger(both.one.folder).bases == BASES


def test_pushing_the_ledger_publishes_no_branch_and_no_commit(both):
    both.one.write("secret.txt", "not yet public")
    unpublished = both.one.commit()
    both.one.git("tag", "-a", "v1", "-m", "Not public either")
    for name, value in [
        ("push.default", "matching"),
        ("push.followTags", "true"),
        ("remote.origin.push", "refs/heads/*:refs/heads/*"),
    ]:
        git(both.one.folder, "config", name, value)
    hook(both.one.folder, "pre-push", "touch pushed; exit 1")
    before = git(both.remote, "for-each-ref")
    assert both.one.run("apply --yes").code == 0
    after = [line for line in git(both.remote, "for-each-ref").splitlines() if REF not in line]
    assert after == before.splitlines()
    assert ledger(both.remote).applied == unpublished
    found = git(both.remote, "cat-file", "--batch-check", given=unpublished.encode())
    assert found == f"{unpublished} missing"
    assert not (both.one.folder / "pushed").exists()


def test_where_the_remote_cannot_be_asked_nothing_is_called(both):
    assert both.one.run("apply --yes").code == 0
    both.remote.rename(both.remote.parent / "elsewhere.git")
    both.api.calls.clear()
    for line in ("plan", "apply --yes", "rollback --yes"):
        done = both.one.run(f"{line} --format json")
        assert (done.code, codes(done)) == (3, ["ledger_unreadable"]), (line, done)
        assert "origin" in done.document["errors"][0]["message"]
    for line in ("history", "forget thread/thread_1"):
        assert both.one.run(line).code == 3, line
    assert both.api.calls == []
    # Neither asks anybody: the comparison of what git says with what git said, and the check of the manifests.
    for line in ("plan --offline --base HEAD", "validate"):
        assert both.one.run(line).code == 0, line


def test_a_password_in_the_address_of_the_remote_is_not_told(both):
    git(both.one.folder, "remote", "set-url", "origin", "https://somebody:hunter2@127.0.0.1:9/x.git")
    done = both.one.run("plan --format json")
    assert done.code == 3
    assert "hunter2" not in done.out + done.err


def test_a_damaged_ledger_in_the_remote_is_no_reason_to_begin_a_new_one(both):
    blob = git(both.remote, "hash-object", "-w", "--stdin", given=b"nothing of ours")
    git(both.remote, "update-ref", REF, blob)
    both.api.calls.clear()
    done = both.one.run("apply --yes --format json")
    assert (done.code, codes(done)) == (3, ["ledger_unreadable"]), done
    assert both.api.calls == []
    assert tip(both.one.folder) is None


def test_a_clone_whose_ledger_is_shallow_can_still_be_united_with_the_others(both):
    assert both.one.run("baseline").code == 0
    assert both.one.run("apply --yes --select thread/thread_1").code == 0
    git(both.two.folder, "fetch", "-q", "--depth=1", "origin", f"{REF}:{REF}")
    refusing = hook(both.remote, "pre-receive", "exit 1")
    assert both.two.run("apply --yes --select thread/thread_2").code == 4
    refusing.unlink()
    both.one.manifest(TWO + "  thread_3: {metadata: {plan: gold}}\n")
    both.api.put("thread/thread_3", {})
    assert both.one.run("apply --yes --select thread/thread_3").code == 0
    both.api.put("thread/thread_2", {"plan": "edited"})
    done = both.two.run("apply --yes --format json")
    assert done.code == 0, done
    assert ledger(both.remote).bases.keys() == {f"thread/thread_{at}" for at in (1, 2, 3)}
    assert len(both.one.run("history").lines) == len(runs(both.remote)) == 5


# --- one clone --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("begun", [False, True], ids=["the first records", "later records"])
def test_two_applies_at_once_in_one_clone_are_both_recorded(begun, tmp_path):
    with staged(tmp_path, TWO, Meeting(HELD, KIND), REPLACE) as stage:
        stage.scratch.commit()
        if begun:
            assert stage.run("baseline").code == 0
        for done in at_once(
            (stage.scratch, "apply --yes --select thread/thread_1 --format json"),
            (stage.scratch, "apply --yes --select thread/thread_2 --format json"),
        ):
            assert done.code == 0, done.document["errors"]
        assert ledger(stage.scratch.folder).bases == BASES
        assert len(runs(stage.scratch.folder)) == 2 + begun
        assert journal(stage.scratch) == []


def test_two_work_trees_that_apply_a_field_differently_at_once_do_not_go_unnoticed(tmp_path):
    with staged(tmp_path, TWO, Meeting(HELD, KIND), REPLACE) as stage:
        stage.scratch.commit()
        there = Scratch(tmp_path / "there")
        stage.scratch.git("worktree", "add", "-q", "-B", "other", str(there.folder))
        there.manifest("threads:\n  thread_1: {metadata: {plan: iron}}\n")
        line = "apply --yes --select thread/thread_1 --format json"
        done = at_once((stage.scratch, line), (there, line))
        assert sorted(one.code for one in done) == [0, 4], done
        (late,) = [one for one in done if one.code == 4]
        assert codes(late) == ["disputed"]


def test_an_apply_that_is_still_going_on_is_not_taken_for_one_that_died(tmp_path):
    with staged(tmp_path, TWO, Meeting(HELD, KIND), REPLACE) as stage:
        stage.scratch.commit()
        assert stage.run("baseline").code == 0
        process = stage.scratch.start("apply --yes --select thread/thread_1")
        until(lambda: journal(stage.scratch), "the journal")
        assert stage.run("plan --format json").document["notes"] == []
        assert stage.run("apply --yes --select thread/thread_2").code == 0
        assert finished(process).code == 0
        assert len(runs(stage.scratch.folder)) == 3


# --- a crash ----------------------------------------------------------------------------------------------------------


def kill(process):
    """End a process as a crash does."""
    process.send_signal(signal.SIGKILL)
    with process:
        process.communicate()


def crash_at_the_record(stage, moment):
    """Crash when git is about to move the ref (`prepared`), or has moved it (`committed`)."""
    pid = stage.scratch.folder.parent / "pid"
    blow = f'test "$1" = {moment} && grep -q {REF} && kill -9 $(cat "{pid}") && exit 1; exit 0'
    path = hook(stage.scratch.folder, "reference-transaction", blow)
    process = stage.scratch.start("apply --yes")
    pid.write_text(str(process.pid))
    with process:
        process.communicate()
    assert process.returncode == -signal.SIGKILL
    path.unlink()


def crash_while_writing(stage, number):
    """Crash once so many updates have arrived; what has arrived is carried out."""
    process = stage.scratch.start("apply --yes --parallelism 1")
    until(lambda: len(stage.api.sent("POST")) >= number, "a write")
    kill(process)
    until(lambda: stage.api.held(f"thread/thread_{number}")["plan"] == "gold", "the write that was on its way")


CRASHES = {
    "in the first write": (lambda stage: crash_while_writing(stage, 1), {"thread_1"}),
    "in the last write": (lambda stage: crash_while_writing(stage, 2), {"thread_1", "thread_2"}),
    "before the record": (lambda stage: crash_at_the_record(stage, "prepared"), {"thread_1", "thread_2"}),
    "after the record": (lambda stage: crash_at_the_record(stage, "committed"), {"thread_1", "thread_2"}),
}


@pytest.mark.parametrize(("moment", "begun"), [*((moment, True) for moment in CRASHES), ("in the first write", False)])
def test_after_a_crash_the_next_run_knows_which_writes_may_have_happened(moment, begun, tmp_path):
    crash, written = CRASHES[moment]
    with staged(tmp_path, TWO, Api(HELD, KIND, lag={"POST": 0.3}), REPLACE) as stage:
        commit = stage.scratch.commit()
        if begun:
            stage.scratch.manifest(TWO.replace("gold", "silver"))
            assert stage.run("baseline").code == 0
            stage.scratch.manifest(TWO)
        crash(stage)
        (left,) = journal(stage.scratch)
        plan = stage.run("plan --format json")
        # What landed is as declared; what did not waits, as it did before.
        waits = {"thread_1", "thread_2"} - written
        assert causes(plan) == {(own, "plan"): "pending" if begun else "unattributed" for own in waits}
        notes = {note["code"]: note["message"] for note in plan.document["notes"]}
        if moment == "after the record":  # nothing is left to be told: only the journal had not come to its end
            assert "unfinished" not in notes
        else:
            assert left.stem in notes["unfinished"]
            assert "thread/thread_1" in notes["unfinished"]
            assert journal(stage.scratch) == [left]
        assert stage.run("drift").code == (2 if waits and not begun else 0)
        assert stage.run("apply --yes").code == 0
        assert {stage.api.held(name)["plan"] for name in HELD} == {"gold"}
        record = ledger(stage.scratch.folder)
        assert (record.bases, record.applied) == (BASES, commit)
        assert journal(stage.scratch) == []
        # The run that died is in the history, once, with what was there before it.
        found = [run for run in runs(stage.scratch.folder) if run.run["id"] == left.stem]
        assert len(found) == 1
        assert found[0].touched == {name: {"plan": ("silver", "gold")} for name in HELD}


def test_a_run_that_died_can_be_rolled_back(tmp_path):
    with staged(tmp_path, TWO, Api(HELD, KIND, lag={"POST": 0.3}), REPLACE) as stage:
        stage.scratch.commit()
        crash_while_writing(stage, 1)
        (left,) = journal(stage.scratch)
        assert stage.run("apply --yes").code == 0
        done = stage.run(f"rollback {left.stem} --yes --format json")
        assert done.code == 0, done
        assert {stage.api.held(name)["plan"] for name in HELD} == {"silver"}


def test_a_crash_before_anything_was_written_leaves_nothing_behind(tmp_path):
    with staged(tmp_path, TWO, Api(HELD, KIND, lag={"GET": 0.3}), REPLACE) as stage:
        stage.scratch.commit()
        process = stage.scratch.start("apply --yes")
        until(lambda: stage.api.calls, "a read")
        kill(process)
        assert journal(stage.scratch) == []
        assert tip(stage.scratch.folder) is None


@pytest.mark.parametrize("how", ["lost", "damaged"])
def test_without_the_journal_of_a_crash_only_the_cause_is_lost(how, tmp_path):
    with staged(tmp_path, TWO, Api(HELD, KIND, lag={"POST": 0.3}), REPLACE) as stage:
        stage.scratch.commit()
        crash_while_writing(stage, 1)
        if how == "lost":
            shutil.rmtree(stage.scratch.folder / ".git/reconciler")
        else:
            (left,) = journal(stage.scratch)
            left.write_text(left.read_text()[:-20])
        assert causes(stage.run("plan --format json")) == {("thread_2", "plan"): "unattributed"}
        assert stage.run("apply --yes").code == 0
        assert ledger(stage.scratch.folder).bases == BASES


def test_a_crash_while_a_clone_pushes_costs_nothing(both):
    pid = both.one.folder.parent / "pid"
    blow = hook(both.remote, "pre-receive", f'kill -9 $(cat "{pid}"); exit 1')
    process = both.one.start("apply --yes")
    pid.write_text(str(process.pid))
    with process:
        process.communicate()
    assert process.returncode == -signal.SIGKILL
    blow.unlink()
    assert ledger(both.one.folder).bases == BASES
    assert both.one.run("plan --detailed-exitcode").code == 0
    both.one.manifest(TWO.replace("thread_2: {metadata: {plan: gold}}", "thread_2: {metadata: {plan: lead}}"))
    assert both.one.run("apply --yes").code == 0
    assert len(runs(both.remote)) == 2


# --- an interruption --------------------------------------------------------------------------------------------------


def test_what_was_finished_before_an_interruption_is_recorded(tmp_path):
    with staged(tmp_path, TWO, Api(HELD, KIND, lag={"POST": 0.5}), REPLACE) as stage:
        stage.scratch.commit()
        process = stage.scratch.start("apply --yes --parallelism 1 --format json")
        until(lambda: stage.api.sent("POST"), "a write")
        os.kill(process.pid, signal.SIGINT)
        done = finished(process)
        assert done.code == 130
        assert done.outcomes() == {"thread/thread_1": "applied", "thread/thread_2": "not_attempted"}
        record = ledger(stage.scratch.folder)
        assert record.bases["thread/thread_1"] == {"metadata": {"plan": "gold"}}
        assert record.touched.keys() == {"thread/thread_1"}
        assert journal(stage.scratch) == []
        stage.api.put("thread/thread_1", {"plan": "edited"})
        assert causes(stage.run("plan --format json")) == {
            ("thread_1", "plan"): "drift",
            ("thread_2", "plan"): "unattributed",
        }


def test_after_a_second_interruption_the_next_run_knows_what_was_in_flight(tmp_path):
    with staged(tmp_path, TWO, Api(HELD, KIND, lag={"POST": 2.0}), REPLACE) as stage:
        stage.scratch.commit()
        process = stage.scratch.start("apply --yes --parallelism 1 --format json")
        until(lambda: stage.api.sent("POST"), "a write")
        os.kill(process.pid, signal.SIGINT)
        assert "finishing the writes in flight" in process.stderr.readline()
        os.kill(process.pid, signal.SIGINT)
        done = finished(process)
        assert done.code == 130
        (left,) = journal(stage.scratch)
        until(lambda: stage.api.held("thread/thread_1")["plan"] == "gold", "the write that was in flight")
        plan = stage.run("plan --format json")
        assert causes(plan) == {("thread_2", "plan"): "unattributed"}
        assert "unfinished" in [note["code"] for note in plan.document["notes"]]
        assert stage.run("apply --yes").code == 0
        assert journal(stage.scratch) == []
        assert ledger(stage.scratch.folder).bases == BASES
        (died,) = [run for run in runs(stage.scratch.folder) if run.run["id"] == left.stem]
        assert "thread/thread_1" in died.touched


# --- an apply of the past ---------------------------------------------------------------------------------------------


def declare(scratch, manifest):
    """Commit and push another manifest, and return the commit."""
    scratch.manifest(manifest)
    return publish(scratch)


LATER = TWO.replace("gold", "lead")


def test_a_rerun_of_an_old_checkout_is_refused_unless_it_is_meant(both):
    old = both.one.git("rev-parse", "HEAD")
    assert both.one.run("apply --yes").code == 0
    new = declare(both.one, LATER)
    assert both.one.run("apply --yes").code == 0
    both.two.git("checkout", "-q", old)
    both.two.git("fetch", "-q", "origin")
    both.api.calls.clear()
    for line in ("apply --yes", "baseline"):
        done = both.two.run(f"{line} --format json")
        assert (done.code, codes(done)) == (6, ["guard_refused"]), (line, done)
        for word in (old[:10], new[:10], "--allow-rewind"):
            assert word in done.document["errors"][0]["message"]
    assert both.api.bodies == []
    assert ledger(both.remote).applied == new
    # Looking is no apply.
    assert set(causes(both.two.run("plan --format json")).values()) == {"pending"}
    assert both.two.run("apply --yes --allow-rewind").code == 0
    assert both.api.held("thread/thread_1") == {"plan": "gold"}
    assert ledger(both.remote).applied == old


def test_a_saved_plan_of_an_old_commit_is_refused_as_the_commit_would_be(both):
    assert both.one.run("baseline").code == 0
    assert both.one.run("plan --out json=old.json --select thread/thread_2").code == 0
    declare(both.one, LATER)
    assert both.one.run("apply --yes --select thread/thread_1").code == 0
    both.api.calls.clear()
    done = both.one.run("apply old.json --yes --format json")
    assert (done.code, codes(done)) == (6, ["guard_refused"]), done
    assert both.api.calls == []
    assert both.one.run("apply old.json --yes --allow-rewind").code == 0
    assert both.api.held("thread/thread_2") == {"plan": "gold"}


def test_a_commit_beside_the_applied_one_is_no_rewind(both):
    both.one.git("checkout", "-q", "-b", "beside")
    both.one.write("beside.txt", "beside")
    both.one.commit()
    assert both.one.run("apply --yes").code == 0
    both.two.write("other.txt", "other")
    both.two.commit()
    both.two.git("fetch", "-q", str(both.one.folder), "beside")
    done = both.two.run("apply --yes --format json")
    assert done.code == 0, done
    assert done.document["notes"] == []


def test_where_the_history_is_cut_short_it_is_said_that_nothing_can_be_said(both):
    old = both.one.git("rev-parse", "HEAD")
    declare(both.one, LATER)
    assert both.one.run("apply --yes").code == 0
    job = clone(both.remote, both.remote.parent / "job", "--depth=1")
    git(job.folder, "fetch", "-q", "--depth=1", "origin", old)
    git(job.folder, "checkout", "-q", old)
    git(job.folder, "update-ref", "-d", "refs/remotes/origin/main")
    done = job.run("apply --yes --out json=a.json")
    assert done.code == 0, done
    (note,) = json.loads(job.read("a.json"))["notes"]
    assert note["code"] == "history_undecided"
    assert "--unshallow" in note["message"]
    assert note["message"] in done.out
    # With the history there, there is no doubt.
    assert both.one.run("apply --yes").code == 0
    git(job.folder, "fetch", "-q", "--unshallow", "origin", "+refs/heads/*:refs/remotes/origin/*")
    assert job.run("apply --yes").code == 6


def test_what_was_recorded_since_a_crash_is_the_later_word(tmp_path):
    with staged(tmp_path, TWO, Api(HELD, KIND, lag={"POST": 0.3}), REPLACE) as stage:
        stage.scratch.manifest(TWO.replace("gold", "silver"))
        stage.scratch.commit()
        assert stage.run("baseline").code == 0
        stage.scratch.manifest(TWO)
        crash_while_writing(stage, 1)
        assert stage.run("apply --yes --select thread/thread_1").code == 0
        stage.scratch.manifest(TWO.replace("gold", "platinum"))
        assert stage.run("apply --yes --select thread/thread_1").code == 0
        assert journal(stage.scratch)  # nobody has looked at the other resource yet
        stage.api.put("thread/thread_1", {"plan": "gold"})  # by hand: the value that the crashed run wrote
        drift = stage.run("drift --format json")
        assert (drift.code, causes(drift)) == (2, {("thread_1", "plan"): "drift"})


def test_what_a_crashed_run_wrote_and_git_dropped_since_is_released(tmp_path):
    with staged(tmp_path, TWO, Api(HELD, KIND, lag={"POST": 0.3}), REPLACE) as stage:
        one = "threads:\n  thread_2: {metadata: {plan: silver}}\n"
        stage.scratch.manifest(one)
        stage.scratch.commit()
        assert stage.run("apply --yes").code == 0
        stage.scratch.manifest(TWO)
        crash_while_writing(stage, 1)
        stage.scratch.manifest(one)
        plan = stage.run("plan --format json")
        assert [part["id"] for part in plan.document["released"]] == ["thread_1"]
        assert stage.run("apply --yes").code == 0
        assert journal(stage.scratch) == []
        assert stage.run("apply --yes --prune").code == 0
        assert stage.api.held("thread/thread_1") == {}
        assert set(ledger(stage.scratch.folder).bases) == {"thread/thread_2"}


def test_a_tag_in_the_place_of_the_ledger_stops_an_apply_before_any_call(tmp_path):
    with staged(tmp_path, TWO, Api(HELD, KIND), REPLACE) as stage:
        stage.scratch.commit()
        stage.scratch.git("tag", "-a", "-m", "odd", "odd")
        stage.scratch.git("update-ref", REF, "refs/tags/odd")
        assert stage.run("apply --yes").code == 3
        assert stage.api.told == []
