"""What changed between two states of git: `--changed-since`, the plan without a server, and a revision as the base."""

import json
import os
import shlex
import shutil

import pytest
from scratch import SETTINGS, Api, Scratch, staged

HEAD = "version: 1\n"
LEDGER = "refs/reconciler/test"


def moved(done):
    """Return the cause of every field in a document."""
    changes = done.document["changes"]
    return {f"{each['id']}.{field['key']}": field["cause"] for each in changes for field in each["fields"]}


def by_key(done):
    """Return (op, before, after, cause, blocked) of every field in a document."""
    return {
        f"{each['id']}.{field['key']}": (
            field["op"],
            field["before"],
            field["after"],
            field["cause"],
            field["blocked"] and field["blocked"]["code"],
        )
        for each in done.document["changes"]
        for field in each["fields"]
    }


def released(done):
    return {each["id"]: each["keys"] for each in done.document["released"]}


def notes(done):
    return [each["code"] for each in done.document["notes"]]


def read_by(api):
    """Return the ids that were read since the last time, in order of the ids; nothing else may have been sent."""
    assert {call.method for call in api.calls} <= {"GET"}
    ids = sorted(call.path.rpartition("/")[2] for call in api.calls)
    api.calls.clear()
    return ids


# --- which resources --------------------------------------------------------------------------------------------------

A = """\
version: 1
defaults: {metadata: {team: support}, ignore: ["runtime.*"]}
threads:
  thread_1:
    metadata: {plan: gold}
  thread_2:
    metadata: {plan: gold, team: own}
"""
B = """\
version: 1
threads:
  thread_3: {metadata: {plan: gold, trial: null}}
  thread_4: {metadata: {plan: gold}, protect: true}
  thread_5: {metadata: {plan: gold}}
"""
HELD = {f"thread/thread_{at}": {"plan": "silver"} for at in range(1, 9)}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    """Give a stage for runs that only read; its first commit, on which the tag `first` is, has two manifests."""
    with staged(tmp_path_factory.mktemp("fleet"), "threads: {}\n", Api(HELD)) as stage:
        stage.scratch.write("manifests/a.yaml", A)
        stage.scratch.write("manifests/b.yaml", B)
        stage.scratch.commit()
        stage.scratch.git("tag", "first")
        yield stage


@pytest.fixture
def changed(fleet):
    """Return a function that writes manifests and returns which ids a plan then reads; all is put back at the end."""

    def reads(files, line="plan --format json --changed-since first", code=0):
        for name, text in files.items():
            if text is None:
                (fleet.scratch.folder / "manifests" / name).unlink()
            else:
                fleet.scratch.write(f"manifests/{name}", text)
        fleet.api.calls.clear()
        done = fleet.run(line)
        assert done.code == code, done
        return read_by(fleet.api)

    yield reads
    fleet.scratch.git("checkout", "-q", "first", "--", "manifests")
    fleet.scratch.git("clean", "-qfd", "manifests")


COSMETIC = """\
# a word at the top
version: 1
threads:
  thread_5:   {metadata: {"plan": 'gold'}}
  "thread_4":
    protect: true
    metadata:
      plan: gold   # why
  thread_3: {ownership: declared, metadata: {trial: ~, plan: gold}}
"""

CHANGES = {
    "one value": ({"b.yaml": B.replace("gold}}", "lead}}")}, ["thread_5"]),
    "a default, for those that inherit it": ({"a.yaml": A.replace("support", "sales")}, ["thread_1"]),
    "a new default, for all": ({"a.yaml": A.replace("team: support", "team: support, x: y")}, ["thread_1", "thread_2"]),
    "what is ignored": ({"a.yaml": A.replace("runtime", "bot")}, ["thread_1", "thread_2"]),
    "protection": ({"b.yaml": B.replace(", protect: true", "")}, ["thread_4"]),
    "ownership": ({"b.yaml": B.replace("protect: true", "protect: true, ownership: exclusive")}, ["thread_4"]),
    "null in place of silence": ({"b.yaml": B.replace(", trial: null", "")}, ["thread_3"]),
    "what is accepted": (
        {"b.yaml": B.replace("protect: true", "protect: true, accept: [{key: plan, value: x}]")},
        ["thread_4"],
    ),
    "a file that git does not know": (
        {"c.yaml": f"{HEAD}threads: {{thread_6: {{metadata: {{a: b}}}}}}\n"},
        ["thread_6"],
    ),
    "comments, quotes, styles, order": ({"b.yaml": COSMETIC}, []),
    "a file that has another name and folder": ({"b.yaml": None, "deep/moved file.yml": B}, []),
    "a resource that is in another file": (
        {
            "a.yaml": A + "  thread_5: {metadata: {plan: gold, team: null}}\n",
            "b.yaml": B.replace("  thread_5: {metadata: {plan: gold}}\n", ""),
        },
        ["thread_5"],
    ),
    "a resource that is gone": ({"b.yaml": B.replace("  thread_5: {metadata: {plan: gold}}\n", "")}, []),
    "a whole file that is gone": ({"b.yaml": None}, []),
    "nothing": ({}, []),
}


@pytest.mark.parametrize("what", CHANGES)
def test_exactly_the_resources_that_are_declared_otherwise_are_read(what, changed):
    files, ids = CHANGES[what]
    assert changed(files) == ids


def test_a_resource_that_only_moved_to_another_file_is_not_read(changed):
    files = {"b.yaml": B.replace("  thread_5: {metadata: {plan: gold}}\n", "")}
    assert changed({**files, "c.yaml": f"{HEAD}threads:\n  thread_5: {{metadata: {{plan: gold}}}}\n"}) == []


def test_paths_and_selections_narrow_it_further(changed, fleet):
    both = {"a.yaml": A.replace("gold", "lead"), "b.yaml": B.replace("gold", "lead")}
    line = "plan --changed-since first"
    assert changed(both) == ["thread_1", "thread_2", "thread_3", "thread_4", "thread_5"]
    assert changed({}, f"{line} --select '*[15]'") == ["thread_1", "thread_5"]
    assert changed({}, f"{line} manifests/b.yaml --select '*[15]'") == ["thread_5"]
    assert changed({}, f"{line} --select thread/none") == [], "nothing to do, not wrong usage"
    assert changed({}, "drift --changed-since first --select thread/thread_2", code=2) == ["thread_2"]
    fleet.scratch.write("elsewhere/notes.txt", "no manifest")
    assert changed({}, f"{line} nowhere", code=64) == []


def test_a_file_that_did_not_change_is_not_even_parsed(changed, fleet):
    fleet.scratch.write("manifests/broken.yaml", "version: 1\nthreads: {thread_7: {metadata: {a: 1}}\n")
    fleet.scratch.git("add", "-A")
    fleet.scratch.git("commit", "-q", "-m", "Broken")
    try:
        # Bounded, a plan asks nobody before all is parsed.
        assert changed({"b.yaml": B.replace("gold}}", "lead}}")}, "plan --max-requests 100", code=3) == []
        assert changed({}, "plan --changed-since HEAD") == ["thread_5"]
        assert changed({}, "plan --changed-since first", code=3) == []
    finally:
        fleet.scratch.git("reset", "-q", "--hard", "first")


@pytest.mark.parametrize(
    "revision", ["nonsense", "0123456789", "HEAD:manifests", "^HEAD", "first..HEAD", "--all", "''"]
)
def test_an_unknown_revision_is_wrong_usage_before_any_call(revision, changed, fleet):
    assert changed({}, f"plan --changed-since={revision}", code=64) == []


@pytest.mark.parametrize("revision", ["HEAD", "HEAD@{0}", "first^{commit}", ":/All", "refs/tags/first"])
def test_a_revision_is_written_as_git_writes_it(revision, changed):
    line = f"plan --changed-since {shlex.quote(revision)}"
    assert changed({"b.yaml": B.replace("gold}}", "lead}}")}, line) == ["thread_5"]


def test_an_unknown_revision_names_what_a_shallow_clone_lacks(fleet):
    assert "fetch" in fleet.run("plan --changed-since nonsense").err


def test_outside_of_git_there_is_no_revision(tmp_path):
    with staged(tmp_path, "threads: {}\n", Api()) as stage:
        for line in ("plan --changed-since HEAD", "plan --base HEAD", "plan --offline --base HEAD"):
            done = stage.run(line)
            assert done.code == 64, line
            assert "git" in done.err


def test_nothing_changed_is_nothing_to_do_for_an_apply_too(tmp_path):
    with staged(tmp_path, "threads:\n  thread_1: {metadata: {plan: gold}}\n", Api(HELD)) as stage:
        stage.scratch.commit()
        for line in ("plan --changed-since HEAD --detailed-exitcode", "apply --changed-since HEAD --yes"):
            done = stage.run(line)
            assert (done.code, len(done.lines)) == (0, 1), done
            assert done.out.startswith("Nothing to do")
        assert stage.api.calls == []


def test_a_resource_that_left_is_not_released_by_a_look_at_what_changed(tmp_path):
    manifest = "threads:\n  thread_1: {metadata: {plan: gold}}\n  thread_2: {metadata: {plan: gold}}\n"
    with staged(tmp_path, manifest, Api(HELD)) as stage:
        before = stage.scratch.commit()
        assert stage.run("apply --yes").code == 0
        stage.scratch.manifest("threads:\n  thread_1: {metadata: {plan: lead}}\n")
        stage.scratch.commit()
        stage.api.calls.clear()
        done = stage.run(f"plan --changed-since {before} --format json")
        assert (moved(done), released(done)) == ({"thread_1.plan": "pending"}, {})
        assert read_by(stage.api) == ["thread_1"]
        assert stage.run(f"plan --changed-since {before} --prune").code == 64
        assert stage.run(f"apply --changed-since {before} --yes").code == 0
        whole = stage.run("plan --format json")
        assert (moved(whole), released(whole)) == ({}, {"thread_2": ["plan"]}), "the ledger has kept it"


def test_ten_of_very_many_are_ten_reads_and_few_calls_of_git(tmp_path):
    api = Api({f"thread/t{at}": {} for at in range(0, 2000, 200)})
    with staged(tmp_path, "threads: {}\n", api) as stage:
        for file in range(400):
            lines = "".join(f"  t{at}: {{metadata: {{a: b}}}}\n" for at in range(file * 5, file * 5 + 5))
            stage.scratch.write(f"manifests/{file}.yaml", f"{HEAD}threads:\n{lines}")
        stage.scratch.commit()
        for file in range(0, 400, 40):
            path = f"manifests/{file}.yaml"
            stage.scratch.write(path, stage.scratch.read(path).replace("a: b", "a: c", 1))
        env, log = counting_git(tmp_path)
        done = stage.scratch.run("plan --changed-since HEAD --format json", env)
        assert (done.code, len(read_by(api))) == (0, 10)
        assert len(log.read_text().splitlines()) < 20

        log.unlink()
        offline = stage.scratch.run("plan --offline --base HEAD --format json", env)
        assert (offline.code, len(offline.document["changes"])) == (0, 10)
        assert len(log.read_text().splitlines()) < 20, "one process for all files of the base, not one for each"


def counting_git(tmp_path):
    """Return an environment in which git writes a line for each time that it is called, and the file with those."""
    log = tmp_path / "calls of git"
    wrapper = tmp_path / "bin/git"
    wrapper.parent.mkdir()
    wrapper.write_text(f'#!/bin/sh\necho "$3" >> {shlex.quote(str(log))}\nexec {shutil.which("git")} "$@"\n')
    wrapper.chmod(0o755)
    return {"PATH": f"{wrapper.parent}:{os.environ['PATH']}"}, log


# --- the plan from git to git -----------------------------------------------------------------------------------------

BEFORE = """\
defaults: {metadata: {team: support}}
threads:
  thread_1: {metadata: {plan: gold, old: x}}
  thread_2: {metadata: {plan: gold, old: x}, protect: true}
  thread_3: {metadata: {plan: gold}}
  thread_4: {metadata: {plan: gold}}
"""
AFTER = """\
defaults: {metadata: {team: support}}
threads:
  thread_1: {metadata: {plan: lead, new: y}}
  thread_2: {metadata: {plan: gold}}
  thread_4: {metadata: {plan: gold}}
  thread_5: {metadata: {plan: gold}}
"""
GIT_TO_GIT = {
    "thread_1.new": ("add", None, "y", "pending", None),
    "thread_1.old": ("remove", "x", None, "pending", None),
    "thread_1.plan": ("replace", "gold", "lead", "pending", None),
    "thread_2.old": ("remove", "x", None, "pending", "protected"),
    "thread_5.plan": ("add", None, "gold", "pending", None),
    "thread_5.team": ("add", None, "support", "pending", None),
}


@pytest.fixture(scope="module")
def fork(tmp_path_factory):
    """Give a stage like the checkout of a fork's pull request: no key, no ledger; `base` is where it began."""
    more = "api_key_env: NO_SUCH_KEY, writes: {thread: replace}"
    with staged(tmp_path_factory.mktemp("fork"), BEFORE, Api(HELD), more) as stage:
        stage.scratch.commit()
        stage.scratch.git("branch", "base")
        stage.scratch.manifest(AFTER)
        stage.scratch.commit()
        yield stage


def test_a_plan_from_git_to_git_needs_neither_a_key_nor_a_server(fork):
    done = fork.run("plan --offline --base base --format json --out text=p.txt --out json=p.json")
    assert done.code == 0, done
    assert fork.api.calls == []
    document, text = done.document, fork.scratch.read("p.txt")
    assert by_key(done) == GIT_TO_GIT
    assert released(done) == {"thread_3": ["plan", "team"]}
    assert document["offline"] is True
    assert document["base"] == {"revision": "base", "commit": fork.scratch.git("rev-parse", "base")}
    assert document["requests"] == {"reads": 0, "writes": 2}
    assert document["summary"]["blocked"] == 1
    assert "offline" in text
    assert "thread/thread_3" in text
    assert "blocked (protected)" in text
    assert "base: base of" in text
    assert "no ledger" not in text
    assert fork.run("plan --offline --base base --detailed-exitcode").code == 2
    assert fork.api.calls == []


def test_a_plan_from_git_to_git_is_shown_and_not_applied(fork):
    assert fork.run("plan --offline --base base --out json=p.json").code == 0
    shown = fork.run("show p.json")
    assert shown.code == 0
    assert "offline" in shown.out
    done = fork.run("apply p.json --yes", {"NO_SUCH_KEY": "sk-1"})
    assert (done.code, fork.api.calls) == (3, []), done


def test_a_plan_from_git_to_git_can_be_narrowed_and_blamed(fork):
    narrowed = fork.run("plan --offline --base base --select thread/thread_5 --blame --format json")
    assert set(moved(narrowed)) == {"thread_5.plan", "thread_5.team"}
    assert released(narrowed) == {}
    blamed = {field["blame"]["commit"] for field in narrowed.document["changes"][0]["fields"]}
    # The line of `defaults` is as old as the base.
    assert blamed == {fork.scratch.git("rev-parse", revision) for revision in ("HEAD", "base")}
    since = fork.run("plan --offline --base base --changed-since base --format json")
    assert (by_key(since), released(since)) == (GIT_TO_GIT, {})


def test_removals_that_an_api_cannot_make_are_blocked_in_a_plan_from_git_to_git(fork):
    settings = fork.scratch.read("reconciler.yaml")
    fork.scratch.write("merge.yaml", settings.replace("thread: replace", "thread: merge"))
    done = fork.run("plan --offline --base base --config merge.yaml --format json")
    assert by_key(done)["thread_1.old"] == ("remove", "x", None, "pending", "unremovable")


@pytest.mark.parametrize(
    ("line", "code", "says"),
    [
        ("plan --offline", 64, "--base"),
        ("plan --offline --base none", 64, "--base"),
        ("plan --offline --base nonsense", 3, "nonsense"),
        ("drift --offline --base base", 64, "--offline"),
        ("apply --offline --base base --yes", 64, "--offline"),
        ("drift --base nonsense", 3, "nonsense"),
        ("apply --base nonsense --yes", 3, "nonsense"),
    ],
)
def test_a_base_that_does_not_serve_is_refused_before_any_call(line, code, says, fork):
    done = fork.run(line, {"NO_SUCH_KEY": "sk-1"})
    assert (done.code, fork.api.calls) == (code, []), done
    assert says in done.err


def test_problems_of_a_base_are_told_with_their_revision_and_place(tmp_path):
    with staged(tmp_path, "threads:\n  thread_1: {metadata: {a: 1}}\n", Api(HELD)) as stage:
        stage.scratch.commit()
        stage.scratch.manifest("threads:\n  thread_1: {metadata: {a: b}}\n")
        done = stage.run("plan --offline --base HEAD --format json")
    assert done.code == 3
    [error] = done.document["errors"]
    assert error["code"] == "not_a_string"
    assert error["source"] == {"file": "HEAD:manifests/m.yaml", "line": 3, "column": 28}


def test_with_a_ledger_no_revision_has_to_be_named(tmp_path):
    with staged(tmp_path, BEFORE, Api(HELD, {"thread": "replace"}), "writes: {thread: replace}") as stage:
        stage.scratch.commit()
        assert stage.run("apply --yes").code == 0
        stage.scratch.manifest(AFTER)
        stage.api.calls.clear()
        done = stage.run("plan --offline --format json")
        assert (by_key(done), stage.api.calls) == (GIT_TO_GIT, [])
        assert done.document["base"]["revision"] == LEDGER


# --- a revision in place of the ledger --------------------------------------------------------------------------------

OLD = "threads:\n  thread_1: {metadata: {plan: gold, left: x, same: s}}\n  thread_2: {metadata: {plan: gold}}\n"
NEW = "threads:\n  thread_1: {metadata: {plan: lead, same: s, new: n}}\n"
THERE = {
    "thread/thread_1": {"plan": "gold", "left": "x", "same": "moved", "foreign": "f"},
    "thread/thread_2": {"plan": "gold"},
}
BY_REVISION = {
    "thread_1.left": ("remove", "x", None, "pending", None),
    "thread_1.new": ("add", None, "n", "pending", None),
    "thread_1.plan": ("replace", "gold", "lead", "pending", None),
    "thread_1.same": ("replace", "moved", "s", "drift", None),
}


@pytest.fixture
def ahead(tmp_path):
    """Give a stage without a ledger whose HEAD is one commit after what was applied once."""
    with staged(tmp_path, OLD, Api(THERE, {"thread": "replace"}), "writes: {thread: replace}") as stage:
        stage.scratch.commit()
        stage.scratch.manifest(NEW)
        stage.scratch.commit()
        yield stage


def bases(stage):
    return json.loads(stage.run("ledger show --format json").out)


def test_a_revision_counts_as_what_was_applied_last(ahead):
    scratch = ahead.scratch
    unknown = ahead.run("plan --format json")
    assert set(moved(unknown).values()) == {"unattributed"}
    assert "thread_1.left" not in moved(unknown), "nothing is removed for having left the manifest"
    assert released(unknown) == {}

    plan = ahead.run("plan --base HEAD~1 --format json --out text=p.txt")
    assert by_key(plan) == BY_REVISION
    assert released(plan) == {"thread_2": ["plan"]}
    assert plan.document["base"] == {"revision": "HEAD~1", "commit": scratch.git("rev-parse", "HEAD~1")}
    assert "no_ledger" not in notes(plan)
    assert "base: HEAD~1 of" in scratch.read("p.txt")

    drift = ahead.run("drift --base HEAD~1 --format json")
    assert (drift.code, moved(drift)) == (2, {"thread_1.same": "drift"})

    assert ahead.run("apply --base HEAD~1 --yes").code == 0
    assert ahead.api.held("thread/thread_1") == {"plan": "lead", "same": "s", "new": "n", "foreign": "f"}
    assert ahead.api.held("thread/thread_2") == {"plan": "gold"}
    recorded = bases(ahead)
    assert recorded["applied"] == scratch.git("rev-parse", "HEAD")
    assert recorded["bases"]["thread/thread_1"]["metadata"] == {"plan": "lead", "same": "s", "new": "n"}
    # What the revision declared and nobody declares now is remembered as released.
    assert recorded["bases"]["thread/thread_2"]["metadata"] == {"plan": "gold"}
    after = ahead.run("plan --format json")
    assert (moved(after), released(after)) == ({}, {"thread_2": ["plan"]})
    assert ahead.run("drift").code == 0


def test_an_id_that_is_gone_was_there_if_the_revision_declared_it(ahead):
    ahead.api.delete("thread/thread_1")
    assert ahead.run("drift --base HEAD~1").code == 2
    assert ahead.run("drift --base none").code == 1


def test_without_any_base_nothing_is_known_and_nothing_removed(ahead):
    plan = ahead.run("plan --base none --format json")
    assert by_key(plan) == {
        "thread_1.new": ("add", None, "n", "unattributed", None),
        "thread_1.plan": ("replace", "gold", "lead", "unattributed", None),
        "thread_1.same": ("replace", "moved", "s", "unattributed", None),
    }
    assert plan.document["base"] == {"revision": None, "commit": None}
    assert "no_base" in notes(plan)
    assert ahead.run("apply --base none --yes").code == 0
    assert ahead.api.held("thread/thread_1") == {"plan": "lead", "same": "s", "new": "n", "left": "x", "foreign": "f"}
    recorded = bases(ahead)["bases"]
    assert recorded["thread/thread_1"]["metadata"] == {"plan": "lead", "same": "s", "new": "n"}
    assert recorded["thread/thread_1"]["unknown"] == []
    assert "thread/thread_2" not in recorded


def test_a_base_that_is_named_beats_the_ledger_for_one_run(ahead):
    ahead.scratch.git("checkout", "-q", "HEAD~1")
    assert ahead.run("apply --yes").code == 0
    ahead.scratch.git("checkout", "-q", "-")
    ledger = ahead.run("plan --format json")
    assert set(moved(ledger).values()) == {"pending"}
    none = ahead.run("plan --base none --format json")
    assert set(moved(none).values()) == {"unattributed"}
    assert released(none) == {}
    drift = ahead.run("drift --base none --format json")
    assert (drift.code, set(moved(drift).values())) == (2, {"unattributed"})
    head = ahead.run("plan --base HEAD --format json")
    assert moved(head) == {"thread_1.new": "drift", "thread_1.plan": "drift"}
    assert ahead.run("apply --base HEAD --yes").code == 0
    recorded = bases(ahead)
    assert recorded["bases"]["thread/thread_1"]["metadata"] == {"plan": "lead", "same": "s", "new": "n"}
    assert recorded["bases"]["thread/thread_2"]["metadata"] == {"plan": "gold"}, "it was not looked at"
    assert moved(ahead.run("plan --format json")) == {}


def test_a_field_that_could_not_be_written_stays_unknown_after_an_apply_without_a_base(tmp_path):
    manifest = "threads:\n  thread_1: {metadata: {plan: lead, old: null}}\n"
    api = Api({"thread/thread_1": {"plan": "gold", "old": "x"}}, {"thread": "merge"})
    with staged(tmp_path, manifest, api, "writes: {thread: merge}") as stage:
        stage.scratch.commit()
        assert stage.run("apply --base none --yes").code == 4
        one = bases(stage)["bases"]["thread/thread_1"]
        assert (one["metadata"], one["unknown"]) == ({"plan": "lead"}, ["old"])
        assert moved(stage.run("plan --format json")) == {"thread_1.old": "unattributed"}


# --- where it runs ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["two 'words' \"ü\".yaml", "new\nline.yaml", "-dash *?[x].yml"])
def test_files_of_unusual_names_are_compared_with_themselves(name, tmp_path):
    api = Api(HELD)
    with staged(tmp_path, "threads: {}\n", api) as stage:
        text = f"{HEAD}threads:\n  thread_1: {{metadata: {{plan: gold}}}}\n  thread_2: {{metadata: {{plan: gold}}}}\n"
        stage.scratch.write(f"manifests/{name}", text)
        stage.scratch.commit()
        stage.scratch.write(f"manifests/{name}", text.replace("gold", "lead", 1))
        assert stage.run("plan --changed-since HEAD").code == 0
        assert read_by(api) == ["thread_1"]
        done = stage.run("plan --offline --base HEAD --format json")
        assert by_key(done) == {"thread_1.plan": ("replace", "gold", "lead", "pending", None)}
        assert done.document["changes"][0]["fields"][0]["source"]["file"] == f"manifests/{name}"
        assert done.document["released"] == []


def test_settings_below_the_top_and_linked_work_trees_are_compared_with_their_own_past(tmp_path):
    api, scratch = Api(HELD), Scratch(tmp_path)
    with api.listening() as url:
        text = f"{HEAD}threads:\n  thread_1: {{metadata: {{plan: gold}}}}\n"
        scratch.write("one/reconciler.yaml", SETTINGS.format(url=url, more="", rest=""))
        scratch.write("one/manifests/m.yaml", text)
        scratch.write("manifests/m.yaml", text.replace("thread_1", "thread_8"))
        scratch.commit()
        scratch.write("one/manifests/m.yaml", text.replace("gold", "lead"))
        scratch.write("manifests/m.yaml", text.replace("gold", "lead"))
        scratch.git("stash", "-q")
        scratch.git("worktree", "add", "-q", "--detach", str(tmp_path / "linked"))
        scratch.git("stash", "pop", "-q")
        for place in ("one", "one/manifests"):
            assert scratch.run(f"plan -C {place} --changed-since HEAD").code == 0
            assert read_by(api) == ["thread_1"]
        linked = tmp_path / "linked/one"
        assert scratch.run(f"plan -C {linked} --changed-since HEAD").code == 0
        assert read_by(api) == []
        (linked / "manifests/m.yaml").write_text(text.replace("gold", "zinc"))
        done = scratch.run(f"plan -C {linked} --offline --base HEAD --format json")
        assert by_key(done) == {"thread_1.plan": ("replace", "gold", "zinc", "pending", None)}
        assert done.document["head"]["dirty"] is True
