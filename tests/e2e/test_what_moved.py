"""What moved outside git: the cause of each difference, what `drift` tells, where values came from, what is known."""

import datetime as dt
import json
import shlex
import subprocess

import pytest
from scratch import SETTINGS, Api, Scratch, complaint, staged

ONE = """\
threads:
  thread_1:
    metadata: {plan: gold}
"""
HELD = {"thread/thread_1": {"plan": "gold", "seen": "bot"}}
LEDGER = "refs/reconciler/test"


def moved(done):
    """Return the cause of every field in a document."""
    changes = done.document["changes"]
    return {f"{each['id']}.{field['key']}": field["cause"] for each in changes for field in each["fields"]}


def fields(done):
    """Return the fields of the one resource in a document, by key."""
    [change] = done.document["changes"]
    return {field["key"]: field for field in change["fields"]}


def notes(done):
    return [each["code"] for each in done.document["notes"]]


def told(stage, line):
    """Run a command once, for its document and for its text."""
    done = stage.run(f"{line} --format json --out text=told.txt")
    return done, stage.scratch.read("told.txt")


def applied(stage, line="apply --yes"):
    """Commit everything and apply it; the calls made so far are forgotten."""
    commit = stage.scratch.commit()
    done = stage.run(line)
    assert done.code == 0, done
    stage.api.calls.clear()
    return commit


# --- causes -----------------------------------------------------------------------------------------------------------

FIRST = """\
threads:
  thread_1:
    metadata:
      by_git: "1"
      by_api: "1"
      by_both: "1"
      left: "1"
      left_and_moved: "1"
      stuck: null
"""
SECOND = """\
threads:
  thread_1:
    metadata:
      by_git: "2"
      by_api: "1"
      by_both: "2"
      stuck: null
      new: "2"
"""


def test_all_four_causes_stand_in_one_plan_and_drift_lists_what_may_have_moved_outside_git(tmp_path):
    api = Api({"thread/thread_1": {"stuck": "x", "seen": "bot"}}, {"thread": "merge"})
    with staged(tmp_path, FIRST, api, "writes: {thread: merge}") as stage:
        first = stage.scratch.commit()
        assert stage.run("apply --yes").code == 4  # this server cannot remove `stuck`, so its base stays unknown
        stage.scratch.manifest(SECOND)
        second = stage.scratch.commit()
        api.put(
            "thread/thread_1",
            {**api.held("thread/thread_1"), "by_api": "3", "by_both": "3", "stuck": "y", "left_and_moved": "3"},
        )
        api.calls.clear()

        plan = stage.run("plan --format json")
        assert moved(plan) == {
            "thread_1.by_api": "drift",
            "thread_1.by_both": "conflict",
            "thread_1.by_git": "pending",
            "thread_1.left": "pending",
            "thread_1.left_and_moved": "conflict",
            "thread_1.new": "pending",
            "thread_1.stuck": "unattributed",
        }
        assert plan.document["summary"]["causes"] == {"pending": 3, "drift": 1, "conflict": 2, "unattributed": 1}
        assert plan.document["head"]["commit"] == second
        assert plan.document["base"] == {"revision": LEDGER, "commit": first}
        bases = {key: field["base"] for key, field in fields(plan).items()}
        assert bases == {
            "by_api": {"known": True, "value": "1"},
            "by_both": {"known": True, "value": "1"},
            "by_git": {"known": True, "value": "1"},
            "left": {"known": True, "value": "1"},
            "left_and_moved": {"known": True, "value": "1"},
            "new": {"known": True, "value": None},
            "stuck": {"known": False, "value": None},
        }

        drift, text = told(stage, "drift")
        assert drift.code == 2
        assert drift.document["kind"] == "drift"
        assert moved(drift) == {
            "thread_1.by_api": "drift",
            "thread_1.by_both": "conflict",
            "thread_1.left_and_moved": "conflict",
            "thread_1.stuck": "unattributed",
        }
        assert drift.document["summary"]["causes"] == {"pending": 0, "drift": 1, "conflict": 2, "unattributed": 1}
        assert drift.document["base"] == {"revision": LEDGER, "commit": first}
        assert 'git says "1", there: "3"' in text
        assert 'git says nothing, there: "3"' in text
        assert "by_git" not in text
        assert text.splitlines()[-1].startswith("Drift: 4 fields on 1 resource moved, or may have")
        assert {call.method for call in api.calls} == {"GET"}


def test_changes_of_git_that_wait_for_an_apply_are_no_drift(tmp_path):
    with staged(tmp_path, ONE, Api(HELD)) as stage:
        applied(stage)
        stage.scratch.manifest("threads:\n  thread_1:\n    metadata: {plan: lead, team: support, gone: null}\n")
        done, text = told(stage, "drift")
        assert (done.code, done.document["changes"]) == (0, [])
        assert text.startswith("No drift: 1 resource looked at")
        assert text.count("\n") == 1
        assert set(moved(stage.run("plan --format json")).values()) == {"pending"}


def test_drift_is_told_from_the_other_side_and_an_apply_turns_it_back(tmp_path):
    manifest = """\
defaults: {metadata: {plan: gold, trial: null}}
threads: {thread_1: {}, thread_2: {}, thread_3: {}}
"""
    names = [f"thread/thread_{at}" for at in (1, 2, 3)]
    api = Api({name: {"plan": "gold", "seen": "bot"} for name in names}, {"thread": "replace"})
    with staged(tmp_path, manifest, api, "writes: {thread: replace}") as stage:
        applied(stage)
        api.put("thread/thread_1", {"seen": "bot"})
        api.put("thread/thread_2", {"plan": "silver", "seen": "bot"})
        api.put("thread/thread_3", {"plan": "gold", "trial": "yes", "seen": "bot"})
        done, text = told(stage, "drift")
        assert done.code == 2
        assert set(moved(done).values()) == {"drift"}
        assert [each["fields"][0]["op"] for each in done.document["changes"]] == ["add", "replace", "remove"]
        for line in (
            '  - plan  git says "gold", and it is gone',
            '  ~ plan  git says "gold", there: "silver"',
            '  + trial  git says nothing, there: "yes"',
        ):
            assert line in text
        assert "3 fields on 3 resources" in text
        assert stage.run("apply --yes").code == 0
        assert [api.held(name) for name in names] == [{"plan": "gold", "seen": "bot"}] * 3
        assert stage.run("drift").code == 0


def test_foreign_and_ignored_keys_are_no_drift_unless_every_key_is_ours(tmp_path):
    manifest = """\
defaults: {ignore: ["runtime.*"]}
threads:
  thread_1: {metadata: {plan: gold}}
  thread_2: {metadata: {plan: gold}, ownership: exclusive}
"""
    held = {"thread/thread_1": {"plan": "gold"}, "thread/thread_2": {"plan": "gold"}}
    with staged(tmp_path, manifest, Api(held)) as stage:
        applied(stage)
        for name in held:
            stage.api.put(name, {"plan": "gold", "by_hand": "x", "runtime.at": "now"})
        done = stage.run("drift --format json")
        assert (done.code, moved(done)) == (2, {"thread_2.by_hand": "drift"})


def test_after_a_blocked_field_a_later_edit_from_outside_does_not_read_as_pending(tmp_path):
    api = Api({"thread/thread_1": {"plan": "gold", "old": "x"}}, {"thread": "merge"})
    with staged(tmp_path, ONE.replace("gold}", "gold, old: x}"), api, "writes: {thread: merge}") as stage:
        applied(stage)
        stage.scratch.manifest(ONE)
        stage.scratch.commit()
        assert stage.run("apply --yes").code == 4
        api.put("thread/thread_1", {"plan": "silver", "old": "x"})
        assert moved(stage.run("plan --format json")) == {"thread_1.plan": "drift", "thread_1.old": "pending"}
        assert moved(stage.run("drift --format json")) == {"thread_1.plan": "drift"}


def test_drift_touches_neither_the_api_nor_the_repository(tmp_path):
    with staged(tmp_path, ONE, Api(HELD)) as stage:
        applied(stage)
        stage.api.put("thread/thread_1", {"plan": "silver"})

        def state():
            return [stage.scratch.git(*line.split()) for line in ("for-each-ref", "status --porcelain", "stash list")]

        before = state()
        assert stage.run("drift --blame").code == 2
        assert stage.api.told == ["GET /v1/threads/thread_1"]
        assert state() == before
        assert stage.api.held("thread/thread_1") == {"plan": "silver"}


# --- missing ids, failures --------------------------------------------------------------------------------------------

TWO = ONE + "  thread_2:\n    metadata: {plan: gold}\n"
BOTH = {**HELD, "thread/thread_2": {"plan": "gold"}}


@pytest.mark.parametrize("more", ["", "missing: warn"])
def test_an_id_that_is_gone_after_an_apply_is_drift(more, tmp_path):
    with staged(tmp_path, TWO, Api(BOTH), more) as stage:
        applied(stage)
        stage.api.delete("thread/thread_2")
        done, text = told(stage, "drift")
        assert done.code == 2, done
        [change] = done.document["changes"]
        assert (change["id"], change["action"]) == ("thread_2", "missing")
        assert done.document["summary"]["missing"] == 1
        assert "thread/thread_2" in text
        assert "1 resource missing" in text.splitlines()[-1]


def test_a_view_with_nothing_but_a_missing_id_names_its_base_too(tmp_path):
    with staged(tmp_path, TWO, Api(BOTH)) as stage:
        applied(stage)
        stage.api.delete("thread/thread_2")
        assert f"base: {LEDGER} of" in stage.run("plan").out
        assert f"base: {LEDGER} of" in stage.run("drift").out


def test_a_missing_id_without_any_base_is_an_error_and_no_drift(tmp_path):
    with staged(tmp_path, TWO, Api({"thread/thread_1": {"plan": "gold"}})) as stage:
        stage.scratch.commit()
        done = stage.run("drift --format json")
        assert done.code == 1, done
        [error] = done.document["errors"]
        assert (error["code"], error["source"]["line"]) == ("missing", 5)
        assert "thread/thread_2" in error["message"]


def test_a_missing_id_without_any_base_is_told_and_no_error_where_the_target_only_warns(tmp_path):
    with staged(tmp_path, TWO, Api({"thread/thread_1": {"plan": "gold"}}), "missing: warn") as stage:
        stage.scratch.commit()
        done = stage.run("drift")
        assert stage.run("plan").code == 0
    assert done.code == 0, done
    assert "thread/thread_2" in done.out + done.err


def test_an_id_that_no_apply_ever_found_is_no_drift(tmp_path):
    with staged(tmp_path, TWO, Api(HELD)) as stage:
        stage.scratch.commit()
        assert stage.run("apply --yes").code == 4
        assert stage.run("drift").code == 1


def test_an_id_that_was_declared_after_the_last_apply_and_is_missing_is_no_drift(tmp_path):
    with staged(tmp_path, ONE, Api(HELD)) as stage:
        applied(stage)
        stage.scratch.manifest(TWO)
        assert stage.run("drift").code == 1


@pytest.mark.parametrize(("status", "code"), [(400, 1), (401, 7)])
def test_what_cannot_be_read_counts_before_drift(status, code, tmp_path):
    api = Api({"thread/thread_1": {"plan": "silver"}}, instead={"GET /v1/threads/thread_2": [complaint(status, "no")]})
    with staged(tmp_path, TWO, api) as stage:
        stage.scratch.commit()
        done = stage.run("drift --format json --parallelism 1")
    assert done.code == code, done
    assert done.document["errors"]
    assert "thread_2.plan" not in moved(done)


# --- an unknown base --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("more", "remote"), [("", "origin"), ("ledger_remote: upstream", "upstream")])
def test_without_a_ledger_everything_is_unattributed_and_the_line_that_fetches_it_is_named(more, remote, tmp_path):
    with staged(tmp_path, ONE.replace("gold}", "lead, gone: null}"), Api(HELD), more) as stage:
        stage.scratch.commit()
        if more:  # there is such a remote, and it has no ledger either
            subprocess.run(["git", "init", "-q", "--bare", str(tmp_path / "up.git")], check=True)
            stage.scratch.git("remote", "add", remote, str(tmp_path / "up.git"))
        line = f"git fetch {remote} {LEDGER}:{LEDGER}"
        done, text = told(stage, "drift")
        assert (done.code, moved(done)) == (2, {"thread_1.plan": "unattributed"})
        assert done.document["base"] == {"revision": None, "commit": None}
        [note] = [each["message"] for each in done.document["notes"] if each["code"] == "no_ledger"]
        assert f"`{line}`" in note
        assert line in text
        assert "base: unknown" in text
        assert "the base does not say" in text


def test_outside_of_git_drift_says_what_it_cannot_know(tmp_path):
    with staged(tmp_path, ONE.replace("gold", "lead"), Api(HELD)) as stage:
        done, text = told(stage, "drift --blame")
        assert (done.code, moved(done)) == (2, {"thread_1.plan": "unattributed"})
        assert notes(done) == ["no_git"]
        assert "no git repository" in text
        assert done.document["head"] == {"commit": None, "dirty": None}
        assert not {"blame", "origin"} & fields(done)["plan"].keys()
        assert stage.run("apply --yes").code == 0
        nothing = stage.run("drift")
        assert (nothing.code, nothing.lines) == (0, ["No drift: 1 resource looked at (base: unknown)."])
        refused = stage.run("drift --base HEAD")
    assert refused.code == 64
    assert "no git repository" in refused.err


# --- where a value came from ------------------------------------------------------------------------------------------


def manifest_of(**pairs):
    lines = "".join(f"      {key}: {'null' if value is None else value}\n" for key, value in pairs.items())
    return f"threads:\n  thread_1:\n    metadata:\n{lines}"


def committed(scratch, who, day):
    """Commit everything as somebody on some day."""
    scratch.git("init", "-q")
    scratch.git("add", "-A")
    scratch.git("commit", "-q", "-m", "x", f"--author={who} <w@example.org>", f"--date={day}T12:00:00+0200")
    return scratch.git("rev-parse", "HEAD")


def test_a_drifted_value_is_told_by_the_commit_that_once_declared_it(tmp_path):
    api = Api({"thread/thread_1": {}})
    with staged(
        tmp_path, manifest_of(landed="one", never="a", branch="a", nulled=None, edited="a", gone="a"), api
    ) as st:
        scratch = st.scratch
        first = committed(scratch, "Zoë Ž", "2026-01-02")
        assert st.run("apply --yes").code == 0
        scratch.git("checkout", "-q", "-b", "other")
        scratch.manifest(manifest_of(landed="one", never="a", branch="there", nulled=None, edited="a", gone="a"))
        beside = committed(scratch, "Bo", "2026-01-03")
        scratch.git("checkout", "-q", "-")
        scratch.manifest(manifest_of(landed="two", never="waited", branch="a", nulled="x", edited="a", gone="a"))
        waited = committed(scratch, "Cy", "2026-01-04")
        scratch.manifest(manifest_of(landed="two", never="b", branch="a", nulled="x", edited="a", gone="a"))
        last = committed(scratch, "Di", "2026-01-05")
        assert st.run("apply --yes").code == 0
        assert st.run("drift").code == 0

        api.put("thread/thread_1", {"landed": "one", "never": "waited", "branch": "there", "edited": "by hand"})
        done, text = told(st, "drift")
        assert done.code == 2
        assert set(moved(done).values()) == {"drift"}
        assert {key: field.get("origin") for key, field in fields(done).items()} == {
            "landed": {"commit": first, "author": "Zoë Ž", "date": "2026-01-02"},
            "never": {"commit": waited, "author": "Cy", "date": "2026-01-04"},
            "branch": {"commit": beside, "author": "Bo", "date": "2026-01-03"},
            "nulled": {"commit": first, "author": "Zoë Ž", "date": "2026-01-02"},
            "edited": None,
            "gone": None,
        }
    ours = "an apply that never landed, or was undone"
    assert f"the value of commit {first[:7]}, 2026-01-02, Zoë Ž: {ours}" in text
    assert f"the value of commit {waited[:7]}, 2026-01-04, Cy: {ours}" in text
    assert f"the value of commit {beside[:7]}, 2026-01-03, Bo: {ours}" in text
    assert text.count("    an edit from outside") == 2
    assert last[:7] not in text.split("thread/thread_1", 1)[1]


def test_a_value_that_was_inherited_once_is_told_by_its_commit_and_so_is_one_of_a_file_that_was_renamed(tmp_path):
    api = Api({"thread/thread_1": {}})
    with staged(tmp_path, "defaults: {metadata: {team: first}}\n" + ONE, api) as stage:
        inherited = stage.scratch.commit()
        stage.scratch.manifest("defaults: {metadata: {team: second}}\n" + ONE)
        stage.scratch.commit()
        stage.scratch.git("mv", "manifests/m.yaml", "manifests/named otherwise.yaml")
        applied(stage)
        api.put("thread/thread_1", {"plan": "gold", "team": "first"})
        assert fields(stage.run("drift --format json"))["team"]["origin"]["commit"] == inherited


def test_a_value_that_another_resource_or_key_declared_is_an_edit_from_outside(tmp_path):
    manifest = "threads:\n  thread_1:\n    metadata: {plan: %s, tier: %s}\n  thread_2:\n    metadata: {plan: %s}\n"
    api = Api({"thread/thread_1": {}, "thread/thread_2": {}})
    with staged(tmp_path, manifest % ("gold", "silver", "lead"), api) as stage:
        applied(stage)
        stage.scratch.manifest(manifest % ("gold", "zinc", "zinc"))
        applied(stage)
        api.put("thread/thread_1", {"plan": "silver", "tier": "lead"})
        assert [field.get("origin") for field in fields(stage.run("drift --format json")).values()] == [None, None]


# --- known drift ------------------------------------------------------------------------------------------------------

ACCEPTING = """\
threads:
  thread_1:
    metadata: {plan: gold, trial: "on", tier: a}
    accept:
      - {key: plan, value: silver, until: 2026-05-31, reason: agreed with sales}
      - {key: trial, value: null}
"""


def accepted(done):
    return {key: field.get("accepted") for key, field in fields(done).items()}


def test_known_drift_raises_no_alarm_until_its_day_is_over_or_the_value_moves_on(tmp_path):
    api = Api({"thread/thread_1": {}})
    with staged(tmp_path, ACCEPTING, api) as stage:
        applied(stage)
        api.put("thread/thread_1", {"plan": "silver", "tier": "a"})
        forever = {"until": None, "reason": None}

        last, text = told(stage, "drift --now 2026-05-31")
        assert last.code == 0, last
        assert last.document["now"] == "2026-05-31"
        assert accepted(last) == {"plan": {"until": "2026-05-31", "reason": "agreed with sales"}, "trial": forever}
        assert notes(last) == []
        assert "accepted until 2026-05-31: agreed with sales" in text
        assert "2 of them accepted" in text.splitlines()[-1]

        over, text = told(stage, "drift --now 2026-06-01")
        assert over.code == 2, over
        assert accepted(over) == {"plan": None, "trial": forever}
        [note] = over.document["notes"]
        assert note["code"] == "expired"
        assert "thread/thread_1" in note["message"]
        assert "2026-05-31" in note["message"]
        assert "was accepted until 2026-05-31" in text

        api.put("thread/thread_1", {"plan": "bronze", "tier": "a", "trial": "off"})
        on = stage.run("drift --format json --now 2026-05-31")
        assert (on.code, accepted(on)) == (2, {"plan": None, "trial": None})

        api.put("thread/thread_1", {"plan": "silver", "tier": "b", "trial": "on"})
        beside = stage.run("drift --format json --now 2026-05-31")
        assert beside.code == 2, "an accepted field keeps quiet about no other"
        assert accepted(beside)["tier"] is None
        assert accepted(beside)["plan"] is not None


def today():
    return dt.datetime.now().astimezone().date()


def test_the_day_is_today_unless_it_is_told(tmp_path):
    tomorrow = today() + dt.timedelta(days=1)
    text = ACCEPTING.replace("2026-05-31", f"{tomorrow}").replace('trial: "on", ', "")
    api = Api({"thread/thread_1": {}})
    with staged(tmp_path, text, api) as stage:
        applied(stage)
        api.put("thread/thread_1", {"plan": "silver", "tier": "a"})
        before = today()
        done = stage.run("drift --format json")
        assert done.code == 0
        assert before.isoformat() <= done.document["now"] <= today().isoformat()
        assert stage.run(f"drift --now {tomorrow + dt.timedelta(days=1)}").code == 2


@pytest.mark.parametrize("day", ["2026-02-30", "20260531", "''"])
def test_what_is_no_day_is_wrong_usage_before_any_call(day, tmp_path):
    with staged(tmp_path, ONE, Api(HELD)) as stage:
        done = stage.run(f"drift --now {day}")
    assert (done.code, stage.api.calls) == (64, [])


def test_acceptance_holds_whatever_the_cause_and_git_wins_all_the_same(tmp_path):
    api = Api({"thread/thread_1": {"plan": "silver", "tier": "a"}})
    with staged(tmp_path, ACCEPTING, api) as stage:
        stage.scratch.commit()
        done = stage.run("drift --format json --now 2026-01-01")
        assert done.code == 0, "an unattributed value that the manifest names is known, too"
        assert set(moved(done).values()) == {"unattributed"}
        assert all(accepted(done).values())
        assert stage.run("apply --yes").code == 0
        assert api.held("thread/thread_1")["plan"] == "gold"
        # Git has moved as well: a conflict.
        api.put("thread/thread_1", {"plan": "silver", "tier": "a", "trial": "on"})
        stage.scratch.manifest(ACCEPTING.replace("plan: gold", "plan: lead"))
        conflict = stage.run("drift --format json --now 2026-01-01")
        assert (conflict.code, moved(conflict)) == (0, {"thread_1.plan": "conflict"})


# --- who declared it --------------------------------------------------------------------------------------------------

DECLARED = """\
defaults:
  metadata:
    team: support
threads:
  thread_1:
    metadata:
      plan: gold
"""


def test_every_field_names_its_line_and_on_demand_the_commit_that_wrote_it(tmp_path):
    with staged(tmp_path, DECLARED, Api({"thread/thread_1": {}})) as stage:
        first = committed(stage.scratch, "Ann", "2026-02-01")
        stage.scratch.manifest(DECLARED.replace("gold", "lead"))
        second = committed(stage.scratch, "Bo", "2026-02-02")
        stage.scratch.manifest(DECLARED.replace("gold", "lead") + "      new: x\n")

        plain = fields(stage.run("plan --format json"))
        places = {key: (each["source"]["file"], each["source"]["line"]) for key, each in plain.items()}
        assert places == {
            "team": ("manifests/m.yaml", 4),
            "plan": ("manifests/m.yaml", 8),
            "new": ("manifests/m.yaml", 9),
        }
        assert not any("blame" in each for each in plain.values())

        blamed = {
            "team": {"commit": first, "author": "Ann", "date": "2026-02-01"},
            "plan": {"commit": second, "author": "Bo", "date": "2026-02-02"},
            "new": {"commit": None, "author": None, "date": None},
        }
        for command in ("plan", "drift"):
            done, text = told(stage, f"{command} --blame")
            assert {key: each["blame"] for key, each in fields(done).items()} == blamed
            assert f"declared by {first[:7]}, 2026-02-01, Ann" in text
            assert f"declared by {second[:7]}, 2026-02-02, Bo" in text
            assert "declared by a line that is not committed yet" in text
        at_apply = stage.run("apply --yes --blame --format json")
        assert {key: each["blame"] for key, each in fields(at_apply).items()} == blamed


def test_what_only_the_base_mentions_has_no_place_and_nobody_to_blame(tmp_path):
    with staged(tmp_path, DECLARED, Api({"thread/thread_1": {}})) as stage:
        applied(stage)
        stage.scratch.manifest(ONE)
        done = fields(stage.run("plan --blame --format json"))
    assert done["team"]["op"] == "remove"
    assert done["team"]["source"] is None
    assert "blame" not in done["team"]


def test_outside_of_git_there_is_nobody_to_blame(tmp_path):
    with staged(tmp_path, DECLARED, Api({"thread/thread_1": {}})) as stage:
        done = stage.run("plan --blame --format json")
    assert done.code == 0
    assert not any("blame" in each for each in fields(done).values())
    assert notes(done) == ["no_git"]


# --- what it is about -------------------------------------------------------------------------------------------------


def test_drift_is_about_what_was_named(tmp_path):
    held = {f"thread/thread_{at}": {"plan": "gold"} for at in (1, 2, 3)}
    with staged(tmp_path, TWO, Api(held)) as stage:
        stage.scratch.write("manifests/three.yaml", "version: 1\nthreads:\n  thread_3: {metadata: {plan: gold}}\n")
        applied(stage)
        for name in ("thread/thread_1", "thread/thread_3"):
            stage.api.put(name, {"plan": "silver"})
        assert set(moved(stage.run("drift --format json"))) == {"thread_1.plan", "thread_3.plan"}
        stage.api.calls.clear()
        assert set(moved(stage.run("drift --format json --select thread/*[12]"))) == {"thread_1.plan"}
        assert stage.run("drift --select thread/thread_2").code == 0
        assert sorted(set(stage.api.told)) == ["GET /v1/threads/thread_1", "GET /v1/threads/thread_2"]
        assert set(moved(stage.run("drift --format json manifests/three.yaml"))) == {"thread_3.plan"}
        assert stage.run("drift --select thread/nothing").code == 64
        assert stage.run("drift nowhere").code == 64


def test_resources_that_did_not_move_are_listed_on_demand_and_quiet_leaves_the_summary(tmp_path):
    with staged(tmp_path, TWO, Api(BOTH)) as stage:
        applied(stage)
        stage.api.put("thread/thread_1", {"plan": "silver"})
        done = stage.run("drift --all --format json --out text=drift.txt --out json=drift.json")
        assert [(each["id"], each["action"]) for each in done.document["changes"]] == [
            ("thread_1", "update"),
            ("thread_2", "keep"),
        ]
        assert json.loads(stage.scratch.read("drift.json")) == done.document
        assert "as declared" in stage.scratch.read("drift.txt")
        shown = stage.run("show drift.json")
        assert (shown.code, shown.out) == (0, stage.scratch.read("drift.txt"))
        quiet = stage.run("drift --quiet")
        assert (quiet.code, len(quiet.lines), quiet.err) == (2, 1, "")
        assert stage.run("apply drift.json --yes").code == 3


def test_the_same_drift_has_the_same_bytes(tmp_path):
    with staged(tmp_path, ONE, Api(HELD)) as stage:
        applied(stage)
        stage.api.put("thread/thread_1", {"plan": "silver"})
        seeds = ({"PYTHONHASHSEED": "1"}, {"PYTHONHASHSEED": "2"})  # else the order of a set would be the same one
        once, twice = (stage.run("drift --format json --now 2026-01-01", seed) for seed in seeds)
    assert once.out == twice.out


def test_hostile_values_reach_no_terminal_as_they_are(tmp_path):
    hostile = "\x1b[31mred\x1b[0m\n::error::boo\u202e"
    with staged(tmp_path, ONE, Api(HELD)) as stage:
        applied(stage)
        stage.api.put("thread/thread_1", {"plan": hostile, "seen": "bot"})
        done = stage.run("drift --color always")
    assert done.code == 2
    assert "\x1b[31mred" not in done.out
    assert "\u202e" not in done.out
    assert "\n::error" not in done.out


# --- where it runs ----------------------------------------------------------------------------------------------------

ODD_NAMES = ["two words.yaml", 'it\'s "so".yaml', "Überläufer-日本.yaml", "new\nline.yaml", "tab\t#.yml", "*?[x].yaml"]


def test_everything_works_with_files_of_unusual_names(tmp_path):
    names = {f"thread_{at}": f"manifests/{name}" for at, name in enumerate(ODD_NAMES)}
    api = Api({f"thread/{id_}": {} for id_ in names})
    with staged(tmp_path, "threads: {}\n", api) as stage:
        for plan in ("once", "now"):
            for id_, name in names.items():
                stage.scratch.write(name, f"version: 1\nthreads:\n  {id_}:\n    metadata: {{plan: {plan}}}\n")
            commit = stage.scratch.commit()
            once = commit if plan == "once" else once  # noqa: F821 - the first of two
        assert stage.run("apply --yes").code == 0
        for id_ in names:
            api.put(f"thread/{id_}", {"plan": "once"})
        done, text = told(stage, "drift --blame")
        assert done.code == 2
        for change in done.document["changes"]:
            [field] = change["fields"]
            assert field["source"] == {"file": names[change["id"]], "line": 4, "column": 16}
            assert field["origin"]["commit"] == once
            assert field["blame"]["commit"] == commit
        assert len(done.document["changes"]) == len(names)
        assert "manifests/new\\nline.yaml:3:3" in text
        one = stage.run(f"drift --format json {shlex.quote(names['thread_3'])} --select thread/*")
        assert [each["id"] for each in one.document["changes"]] == ["thread_3"]


def test_everything_works_with_settings_in_a_subfolder_and_from_any_folder_below(tmp_path):
    api = Api({"thread/thread_1": {}})
    scratch = Scratch(tmp_path)
    with api.listening() as url:
        scratch.write("infra/meta data/reconciler.yaml", SETTINGS.format(url=url, more="", rest=""))
        scratch.write("infra/meta data/manifests/m.yaml", f"version: 1\n{DECLARED.replace('gold', 'once')}")
        once = scratch.commit()
        scratch.write("infra/meta data/manifests/m.yaml", f"version: 1\n{DECLARED}")
        scratch.write("infra/meta data/manifests/deep/er/.keep", "")
        now = scratch.commit()
        assert scratch.run("apply --yes -C 'infra/meta data'").code == 0
        api.put("thread/thread_1", {"plan": "once", "team": "support"})
        done = scratch.run("drift -C 'infra/meta data/manifests/deep/er' --blame --format json")
        assert done.code == 2
        assert done.document["base"] == {"revision": LEDGER, "commit": now}
        plan = fields(done)["plan"]
        assert plan["source"] == {"file": "manifests/m.yaml", "line": 8, "column": 7}
        assert plan["origin"]["commit"] == once
        assert plan["blame"]["commit"] == now
        outside = scratch.run("drift --config 'infra/meta data/reconciler.yaml' --format json")
        assert fields(outside)["plan"]["source"]["file"] == "manifests/m.yaml"


def test_a_linked_work_tree_shares_the_ledger_and_has_manifests_of_its_own(tmp_path):
    api = Api(HELD)
    with staged(tmp_path, ONE, api) as stage:
        applied(stage)
        stage.scratch.git("worktree", "add", "-q", "-b", "side", str(tmp_path / "linked"))
        api.put("thread/thread_1", {"plan": "silver"})
        linked = f"-C {tmp_path / 'linked'}"
        done = stage.run(f"drift {linked} --format json --blame")
        assert (done.code, moved(done)) == (2, {"thread_1.plan": "drift"})
        assert fields(done)["plan"]["blame"]["author"] == "A"
        (tmp_path / "linked/manifests/m.yaml").write_text(f"version: 1\n{ONE.replace('gold', 'lead')}")
        assert moved(stage.run(f"drift {linked} --format json")) == {"thread_1.plan": "conflict"}
        assert moved(stage.run("drift --format json")) == {"thread_1.plan": "drift"}
        assert stage.run(f"apply {linked} --yes").code == 0
        assert moved(stage.run("plan --format json")) == {"thread_1.plan": "pending"}
        assert stage.run("drift").code == 0


def test_a_detached_head_and_a_dirty_tree_are_no_obstacle(tmp_path):
    with staged(tmp_path, ONE.replace("gold", "once"), Api(HELD)) as stage:
        once = applied(stage)
        stage.scratch.manifest(ONE)
        stage.scratch.commit()
        stage.scratch.git("checkout", "-q", "--detach")
        assert stage.run("apply --yes").code == 0
        stage.api.put("thread/thread_1", {"plan": "once"})
        done = stage.run("drift --format json")
        assert (done.code, fields(done)["plan"]["origin"]["commit"]) == (2, once)
        assert stage.scratch.git("status", "--porcelain", "--branch") == "## HEAD (no branch)"

        stage.scratch.manifest(ONE.replace("gold", "dirt"))
        assert stage.run("apply --yes").code == 0
        clean = stage.run("drift --format json")
        assert (clean.code, clean.document["changes"]) == (0, [])
        assert clean.document["head"]["dirty"] is True
        stage.scratch.git("checkout", "-q", "--", ".")
        assert moved(stage.run("plan --format json")) == {"thread_1.plan": "pending"}


def test_a_repository_without_a_commit_has_a_ledger_all_the_same(tmp_path):
    with staged(tmp_path, ONE, Api({"thread/thread_1": {}})) as stage:
        stage.scratch.git("init", "-q")
        assert stage.run("apply --yes").code == 0
        assert stage.run("drift").code == 0
        stage.api.put("thread/thread_1", {"plan": "silver"})
        done = stage.run("drift --format json --blame")
        assert (done.code, moved(done)) == (2, {"thread_1.plan": "drift"})
        assert fields(done)["plan"]["blame"] == {"commit": None, "author": None, "date": None}


@pytest.mark.parametrize("name", ['it\'s "ü" [*]', "new\nline"])
def test_a_repository_in_a_folder_of_an_unusual_name_works(name, tmp_path):
    with staged(tmp_path / name, ONE, Api(HELD)) as stage:
        applied(stage)
        stage.api.put("thread/thread_1", {"plan": "silver"})
        done = stage.run("drift --format json --blame")
    assert (done.code, moved(done)) == (2, {"thread_1.plan": "drift"}), done
    assert fields(done)["plan"]["blame"]["author"] == "A"
