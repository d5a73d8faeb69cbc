"""What an apply records in git, what that is good for, and that nothing else of the repository moves."""

import json
import shutil

import pytest
from repositories import REF, footprint, git, hook, journal, ledger, overwrite, runs, tip
from scratch import Api, Scratch, complaint, staged

ONE = "threads:\n  thread_1:\n    metadata: {plan: gold}\n"
HELD = {"thread/thread_1": {"plan": "silver", "seen": "bot"}}
REPLACE = "writes: {thread: replace}"
MERGE = "writes: {thread: merge}"


@pytest.fixture
def stage(tmp_path):
    with staged(tmp_path, ONE, Api(HELD, {"thread": "replace"}), REPLACE) as stage:
        stage.scratch.commit()
        yield stage


def threads(**metadata):
    """Return a manifest of threads: their metadata, as YAML writes a map on one line."""
    return "threads:\n" + "".join(f"  {own}: {{metadata: {pairs}}}\n" for own, pairs in metadata.items())


def declare(stage, manifest):
    """Commit another manifest, and return the commit."""
    stage.scratch.manifest(manifest)
    return stage.scratch.commit()


def applied(stage, line="apply --yes", code=0):
    """Apply, and return the ledger afterwards."""
    done = stage.run(f"{line} --format json")
    assert done.code == code, done
    return ledger(stage.scratch.folder)


def causes(stage, line="plan"):
    """Return the cause of each field that differs."""
    document = stage.run(f"{line} --format json").document
    return {(change["id"], each["key"]): each["cause"] for change in document["changes"] for each in change["fields"]}


def codes(done):
    """Return the codes of a document's errors."""
    return [each["code"] for each in done.document["errors"]]


# --- what moves in the repository, and what does not ------------------------------------------------------------------


def test_an_apply_moves_nothing_in_the_repository_but_its_own_ref(stage):
    scratch = stage.scratch
    scratch.git("branch", "other")
    scratch.git("tag", "-a", "v1", "-m", "A tag")
    scratch.git("fetch", "-q", ".", "other")
    scratch.write("shelved.txt", "for later")
    scratch.git("stash", "push", "-q", "-u")
    scratch.write("staged.txt", "in the index alone")
    scratch.git("add", "staged.txt")
    scratch.write("staged.txt", "and changed since")
    scratch.write("untracked.txt", "nobody's")
    # Signing, hooks and settings that would act on an ordinary commit.
    scratch.git("config", "commit.gpgsign", "true")
    scratch.git("config", "user.signingkey", "nobody")
    for name in ("pre-commit", "commit-msg", "post-commit", "pre-push", "post-checkout"):
        hook(scratch.folder, name, "touch hooked; exit 1")
    before = footprint(scratch)
    assert "stash" in "".join(before["refs"])
    assert "FETCH_HEAD" in before["git"]
    for line in (
        "plan",
        "apply --yes",
        "drift",
        "baseline",
        "history",
        "ledger show",
        "rollback --yes",
        "apply --yes --only drift",
    ):
        assert stage.run(line).code == 0, line
        assert footprint(scratch) == before, line
    assert [run.run["kind"] for run in runs(scratch.folder)][-2:] == ["rollback", "apply"]
    assert journal(scratch) == []


def test_a_record_has_the_identity_that_git_knows_or_one_of_its_own(stage):
    def who():
        return git(stage.scratch.folder, "log", "-1", "--format=%an <%ae> %cn <%ce>", REF)

    # Nobody is configured here, and git is not to guess.
    stage.scratch.git("config", "user.useConfigOnly", "true")
    assert applied(stage).run["actor"]
    assert who() == " ".join(["reconciler <reconciler@localhost>"] * 2)
    stage.scratch.git("config", "user.name", "Anybody")
    stage.scratch.git("config", "user.email", "anybody@example.org")
    declare(stage, threads(thread_1="{plan: lead}"))
    assert applied(stage).run["actor"] == "Anybody <anybody@example.org>"
    assert who() == " ".join(["Anybody <anybody@example.org>"] * 2)
    declare(stage, ONE)
    assert stage.run("apply --yes", {"GITHUB_ACTOR": "octo"}).code == 0
    assert ledger(stage.scratch.folder).run["actor"] == "octo"


RESOLVED = """\
defaults:
  ignore: ["runtime.*"]
  metadata: {team: support, plan: basic, region: eu}
threads:
  thread_1:
    metadata: {plan: gold, region: null}
    protect: true
  thread_2:
    ownership: exclusive
    ignore: [mine]
  thread_3: {}
"""


def test_a_fetch_of_the_ref_alone_is_enough_to_read_what_was_applied(tmp_path):
    held = {
        "thread/thread_1": {"plan": "silver", "runtime.x": "1"},
        "thread/thread_2": {"stranger": "x", "mine": "m"},
        "thread/thread_3": {"team": "support", "plan": "basic", "region": "eu"},
    }
    with staged(tmp_path / "one", RESOLVED, Api(held, {"thread": "replace"}), REPLACE) as stage:
        commit = stage.scratch.commit()
        applied(stage)
        assert applied(stage, f"apply --yes --out json={tmp_path}/a.json").commit  # a second look records nothing
        there = Scratch(tmp_path / "there")
        git(there.folder, "init", "-q")
        git(there.folder, "fetch", "-q", "--depth=1", f"file://{stage.scratch.folder}", f"{REF}:{REF}")
        record = ledger(there.folder)
        defaults = {"team": "support", "plan": "basic", "region": "eu"}
        assert record.bases == {
            "thread/thread_1": {
                "metadata": {"team": "support", "plan": "gold", "region": None},
                "ignore": ["runtime.*"],
                "protect": True,
            },
            "thread/thread_2": {"metadata": defaults, "ownership": "exclusive", "ignore": ["runtime.*", "mine"]},
            "thread/thread_3": {"metadata": defaults, "ignore": ["runtime.*"]},
        }
        assert record.applied == commit
        assert set(record.sources.values()) == {commit}
        assert record.head["server"] == {
            "provider": "openai",
            "base_url": stage.url,
            "organization": None,
            "project": None,
            "settings": "reconciler.yaml",
        }
        # The commit of the manifests did not come along: it is named, and no parent.
        assert git(there.folder, "cat-file", "--batch-check", given=commit.encode()) == f"{commit} missing"
        assert record.parents == []
        # And the tool itself needs no more than that.
        shutil.copytree(stage.scratch.folder / "manifests", there.folder / "manifests")
        shutil.copy(stage.scratch.folder / "reconciler.yaml", there.folder)
        stage.api.put("thread/thread_3", {"team": "sales", "plan": "basic", "region": "eu"})
        done = there.run("plan --format json")
        (change,) = done.document["changes"]
        assert [(each["key"], each["cause"]) for each in change["fields"]] == [("team", "drift")]
        assert done.document["base"] == {"revision": REF, "commit": commit}


def test_a_commit_that_was_applied_is_no_ancestor_of_the_ledger(stage):
    commits = {stage.scratch.git("rev-parse", "HEAD")}
    applied(stage)
    commits.add(declare(stage, threads(thread_1="{plan: lead}")))
    record = applied(stage)
    assert len(record.parents) == 1
    assert not commits & set(git(stage.scratch.folder, "rev-list", "--objects", REF).split())


def test_the_base_lies_in_files_of_bounded_size_and_a_change_rewrites_one_of_them(tmp_path):
    count = 600
    pairs = {f"thread_{at}": "{plan: gold}" for at in range(count)}
    held = {f"thread/{own}": {"plan": "gold"} for own in pairs}
    with staged(tmp_path, threads(**pairs), Api(held, {"thread": "replace"}), REPLACE) as stage:
        stage.scratch.commit()
        assert stage.run("baseline --parallelism 50").code == 0
        first = ledger(stage.scratch.folder)
        sizes = [len(file) for path, file in first.files.items() if path.startswith("base/")]
        assert (sum(sizes), len(first.bases)) == (count, count)
        assert max(sizes) < 256
        pairs["thread_7"] = "{plan: lead}"
        declare(stage, threads(**pairs))
        applied(stage, "apply --yes --select thread/thread_7")
        changed = git(stage.scratch.folder, "diff", "--name-only", first.commit, REF).split()
        assert len([path for path in changed if path.startswith("base/")]) == 1
        assert len(ledger(stage.scratch.folder).bases) == count


# --- what is recorded -------------------------------------------------------------------------------------------------


def test_a_run_is_recorded_with_who_when_which_commit_and_what_was_there_before(stage):
    stage.api.put("thread/thread_1", {"plan": "silver", "seen": "bot"})
    declare(stage, threads(thread_1="{plan: gold, team: support, seen: null}"))
    stage.scratch.write("manifests/more.yaml", "version: 1\n")
    record = applied(stage)
    commit = stage.scratch.git("rev-parse", "HEAD")
    assert record.touched == {
        "thread/thread_1": {"plan": ("silver", "gold"), "team": (None, "support"), "seen": ("bot", None)}
    }
    run = record.run
    assert (run["kind"], run["commit"], run["dirty"], run["outcomes"]) == ("apply", commit, True, {"applied": 1})
    assert run["id"].startswith(run["at"].replace("-", "").replace(":", ""))
    assert git(stage.scratch.folder, "log", "-1", "--format=%s", REF).startswith(f"apply {run['id']}")


def test_a_foreign_value_is_stored_only_where_we_removed_it(tmp_path):
    manifest = "threads:\n  thread_1: {metadata: {plan: gold}}\n"
    held = {"thread/thread_1": {"plan": "silver", "foreign": "s3cret"}}
    with staged(tmp_path, manifest, Api(held, {"thread": "replace"}), REPLACE) as stage:
        stage.scratch.commit()
        assert "s3cret" not in json.dumps(applied(stage).files)
        declare(stage, "threads:\n  thread_1: {metadata: {plan: gold}, ownership: exclusive}\n")
        record = applied(stage)
        assert record.touched == {"thread/thread_1": {"foreign": ("s3cret", None)}}
        assert "s3cret" not in json.dumps(record.bases)
        assert stage.run("rollback --yes").code == 0
        assert stage.api.held("thread/thread_1") == {"plan": "gold", "foreign": "s3cret"}


def test_where_nothing_moved_nothing_is_recorded(stage):
    first = applied(stage)
    for line in ("baseline", "apply --yes manifests"):
        assert applied(stage, line).commit == first.commit, line
    stage.scratch.write("notes.txt", "of no consequence")
    later = stage.scratch.commit()
    # That a later commit has been applied as well is worth remembering: it is what keeps an older one out.
    second = applied(stage)
    assert (second.applied, second.bases, second.parents) == (later, first.bases, [first.commit])
    assert applied(stage).commit == second.commit


def test_a_kept_resource_is_recorded_as_well_as_a_written_one(tmp_path):
    manifest = threads(thread_1="{plan: gold}", thread_2="{plan: gold, old: null}")
    held = {"thread/thread_1": {"plan": "silver"}, "thread/thread_2": {"plan": "gold"}}
    with staged(tmp_path, manifest, Api(held, {"thread": "replace"}), REPLACE) as stage:
        stage.scratch.commit()
        record = applied(stage)
        assert record.bases["thread/thread_2"] == {"metadata": {"plan": "gold", "old": None}}
        assert "thread/thread_2" not in record.touched
        stage.api.put("thread/thread_2", {"plan": "gold", "old": "back"})
        assert causes(stage) == {("thread_2", "old"): "drift"}


# --- a base for each field --------------------------------------------------------------------------------------------


def test_a_blocked_field_keeps_its_base_so_that_an_edit_from_outside_is_seen(tmp_path):
    manifest = threads(thread_1="{plan: gold, old: x}")
    with staged(tmp_path, manifest, Api({"thread/thread_1": {}}, {"thread": "merge"}), MERGE) as stage:
        stage.scratch.commit()
        applied(stage)
        declare(stage, threads(thread_1="{plan: lead}"))
        # This server cannot remove a key; the other field of the same resource goes on.
        record = applied(stage, code=4)
        assert record.bases == {"thread/thread_1": {"metadata": {"plan": "lead", "old": "x"}}}
        assert stage.run("drift").code == 0
        stage.api.put("thread/thread_1", {"plan": "lead", "old": "edited"})
        assert causes(stage) == {("thread_1", "old"): "conflict"}
        assert stage.run("drift").code == 2
        assert applied(stage, code=4).bases == record.bases


def test_a_field_that_never_was_verified_has_no_base_while_the_others_of_its_resource_have_one(tmp_path):
    manifest = threads(thread_1="{plan: gold, old: null}")
    held = {"thread/thread_1": {"plan": "silver", "old": "x"}}
    with staged(tmp_path, manifest, Api(held, {"thread": "merge"}), MERGE) as stage:
        stage.scratch.commit()
        record = applied(stage, code=4)
        assert record.bases == {"thread/thread_1": {"metadata": {"plan": "gold"}, "unknown": ["old"]}}
        stage.api.put("thread/thread_1", {"plan": "iron", "old": "x"})
        assert causes(stage) == {("thread_1", "old"): "unattributed", ("thread_1", "plan"): "drift"}


def test_a_failed_write_leaves_the_base_where_it_was(tmp_path):
    refusal = {"POST /v1/threads/thread_1": [None, complaint(400, "not today")]}
    held = {"thread/thread_1": {}, "thread/thread_2": {}}
    api = Api(held, {"thread": "replace"}, instead=refusal)
    with staged(tmp_path, threads(thread_1="{plan: gold}", thread_2="{plan: gold}"), api, REPLACE) as stage:
        stage.scratch.commit()
        applied(stage)
        declare(stage, threads(thread_1="{plan: lead, team: a}", thread_2="{plan: lead}"))
        record = applied(stage, code=4)
        assert record.bases == {
            "thread/thread_1": {"metadata": {"plan": "gold"}},
            "thread/thread_2": {"metadata": {"plan": "lead"}},
        }
        assert causes(stage) == {("thread_1", "plan"): "pending", ("thread_1", "team"): "pending"}


def test_fields_that_only_left_alone_keep_their_base(tmp_path):
    with staged(
        tmp_path, threads(thread_1="{a: one, b: two}"), Api({"thread/thread_1": {}}, {"thread": "replace"}), REPLACE
    ) as stage:
        stage.scratch.commit()
        applied(stage)
        stage.api.put("thread/thread_1", {"a": "edited", "b": "two"})
        declare(stage, threads(thread_1="{a: one, b: three}"))
        record = applied(stage, "apply --yes --only pending")
        assert stage.api.held("thread/thread_1") == {"a": "edited", "b": "three"}
        assert record.bases["thread/thread_1"]["metadata"] == {"a": "one", "b": "three"}
        assert causes(stage) == {("thread_1", "a"): "drift"}


def test_each_field_has_its_own_cause(tmp_path):
    base = "{pending: a, drift: a, conflict: a, dropped: a, moved: a, same: a}"
    with staged(
        tmp_path, threads(thread_1=base), Api({"thread/thread_1": {}}, {"thread": "replace"}), REPLACE
    ) as stage:
        stage.scratch.commit()
        applied(stage)
        declare(stage, threads(thread_1="{pending: b, drift: a, conflict: b, new: b, same: b}"))
        now = {"pending": "a", "drift": "c", "conflict": "c", "dropped": "a", "moved": "c", "same": "b", "alien": "c"}
        stage.api.put("thread/thread_1", now)
        assert causes(stage) == {
            ("thread_1", "pending"): "pending",
            ("thread_1", "new"): "pending",
            ("thread_1", "dropped"): "pending",
            ("thread_1", "drift"): "drift",
            ("thread_1", "conflict"): "conflict",
            ("thread_1", "moved"): "conflict",
        }
        applied(stage)
        assert stage.api.held("thread/thread_1") == {
            "pending": "b",
            "drift": "a",
            "conflict": "b",
            "new": "b",
            "same": "b",
            "alien": "c",
        }


# --- a saved plan -----------------------------------------------------------------------------------------------------

SAVED = {
    "written, kept, blocked, missing": (
        f"{MERGE}, missing: warn",
        threads(thread_1="{plan: gold, old: x}", thread_2="{plan: gold}", thread_3="{plan: gold}"),
        threads(
            thread_1="{plan: lead}", thread_2="{plan: gold, odd: null}", thread_3="{plan: gold}", thread_9="{a: b}"
        ),
        {"thread_1": {"plan": "gold", "old": "x"}, "thread_2": {"plan": "gold"}, "thread_3": {"plan": "gold"}},
        "",
    ),
    "kept with new rules": (
        REPLACE,
        threads(thread_1="{plan: gold}", thread_2="{plan: gold}"),
        (
            "threads:\n  thread_1: {metadata: {plan: gold}, protect: true, ignore: [x]}\n"
            "  thread_2: {metadata: {plan: gold}, ownership: exclusive}\n"
        ),
        {"thread_1": {"plan": "gold"}, "thread_2": {"plan": "gold"}},
        "",
    ),
    "of some fields": (
        REPLACE,
        threads(thread_1="{plan: gold, team: a}", thread_2="{plan: gold}"),
        threads(thread_1="{plan: lead, team: a, new: b}", thread_2="{plan: gold, new: b}"),
        {"thread_1": {"plan": "gold", "team": "edited"}, "thread_2": {"plan": "gold", "new": "b"}},
        "--only add",
    ),
    "of some resources": (
        REPLACE,
        threads(thread_1="{plan: gold}", thread_2="{plan: gold}"),
        threads(thread_1="{plan: lead}", thread_2="{plan: lead}"),
        {"thread_1": {"plan": "gold"}, "thread_2": {"plan": "gold"}},
        "--select thread/thread_1",
    ),
    "pruned and released": (
        REPLACE,
        threads(thread_1="{plan: gold}", thread_2="{plan: gold}", thread_3="{plan: gold}"),
        threads(thread_1="{plan: gold}"),
        {name: {"plan": "gold", "seen": "bot"} for name in ("thread_1", "thread_2", "thread_3")},
        "--prune",
    ),
}
FIRST_OF_ALL = ("written, kept, blocked, missing", "of some resources")
"""Those that are told of a first apply, too: what it did not verify is unknown from then on."""


@pytest.mark.parametrize(
    ("name", "begun"), [*((name, True) for name in SAVED), *((name, False) for name in FIRST_OF_ALL)]
)
def test_a_saved_plan_records_what_the_same_apply_would_have_recorded(name, begun, tmp_path):
    more, before, after, then, flags = SAVED[name]
    held = {f"thread/{own}": {} for own in then}
    dialect = "merge" if MERGE in more else "replace"
    with staged(tmp_path, before, Api(held, {"thread": dialect}), more) as stage:
        stage.scratch.commit()
        if begun:
            applied(stage)
        declare(stage, after)
        start = tip(stage.scratch.folder)

        def both_ways(*lines):
            for own, pairs in then.items():
                stage.api.put(f"thread/{own}", pairs)
            done = [stage.run(line) for line in lines][-1]
            record = ledger(stage.scratch.folder)
            stage.scratch.git("update-ref", *([REF, start] if start else ["-d", REF]))
            return done.code, done.outcomes(), record.bases, record.head, record.touched, record.sources

        direct = both_ways(f"apply --yes --format json {flags}")
        saved = both_ways(f"plan --quiet --out json=p.json {flags}", "apply p.json --yes --format json")
        assert saved == direct


def test_a_plan_that_was_saved_against_a_revision_records_as_if_that_had_been_applied(stage):
    stage.api.put("thread/thread_1", {"plan": "gold", "seen": "bot", "old": "x"})
    before = declare(stage, threads(thread_1="{plan: gold, old: x}"))
    declare(stage, threads(thread_1="{plan: gold}"))
    assert stage.run(f"plan --base {before} --out json=p.json").code == 0
    record = applied(stage, "apply p.json --yes")
    assert stage.api.held("thread/thread_1") == {"plan": "gold", "seen": "bot"}
    assert record.bases == {"thread/thread_1": {"metadata": {"plan": "gold"}}}


# --- a ledger that cannot be used -------------------------------------------------------------------------------------

OTHERS = {
    "another address": ("reconciler.yaml", "{url}", "http://127.0.0.1:9/v1", "base_url"),
    "another organisation": ("reconciler.yaml", "{replace}", f"{REPLACE}, organization: org_2", "organization"),
    "another project": ("reconciler.yaml", "{replace}", f"{REPLACE}, project: proj_2", "project"),
    "another settings file": ("other/reconciler.yaml", "[manifests]", "[../manifests]", "settings"),
}


READERS = ("plan", "drift", "apply --yes", "baseline", "rollback --yes")
"""Commands that cannot do without the base."""


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    with staged(tmp_path_factory.mktemp("recorded"), ONE, Api(HELD, {"thread": "replace"}), REPLACE) as stage:
        stage.scratch.commit()
        yield stage, applied(stage).commit


@pytest.fixture
def sound(recorded):
    """Give a stage as it was after one apply."""
    stage, commit = recorded
    (stage.scratch.folder / ".git" / REF).write_text(f"{commit}\n")
    stage.scratch.settings(stage.url, REPLACE)
    stage.scratch.manifest(ONE)
    stage.api.calls.clear()
    return stage


def assert_refused(stage, code, lines=("apply --yes",)):
    """Assert that these commands end with 3 before any call, and return what they say of the ledger."""
    at = (stage.scratch.folder / ".git" / REF).read_bytes()
    messages = set()
    for line in lines:
        done = stage.run(f"{line} --format json")
        assert (done.code, codes(done)) == (3, [code]), (line, done)
        assert "Traceback" not in done.err
        messages.add(done.document["errors"][0]["message"])
    assert stage.api.calls == []
    assert (stage.scratch.folder / ".git" / REF).read_bytes() == at
    (message,) = messages
    assert REF in message
    return message


@pytest.mark.parametrize("name", OTHERS)
def test_a_ledger_of_another_server_is_refused_before_any_call(name, sound):
    file, old, new, part = OTHERS[name]
    text = sound.scratch.read("reconciler.yaml")
    sound.scratch.write(file, text.replace(old.format(url=sound.url, replace=REPLACE), new))
    assert f"{part} was" in assert_refused(sound, "other_server", (f"apply --yes --config {file}",))


def test_every_command_refuses_a_ledger_of_another_server(sound):
    sound.scratch.settings(sound.url, f"{REPLACE}, project: proj_2")
    assert_refused(sound, "other_server", READERS)
    for line in ("forget thread/thread_1", "history", "ledger show"):
        assert sound.run(line).code == 3, line


def test_a_saved_plan_does_not_get_round_a_ledger_of_another_server(sound):
    sound.scratch.manifest(threads(thread_1="{plan: lead}"))
    assert sound.run("plan --out json=p.json").code == 0
    text = sound.scratch.read("reconciler.yaml")
    sound.scratch.write("other/reconciler.yaml", text.replace("[manifests]", "[../manifests]"))
    sound.api.calls.clear()
    assert_refused(sound, "other_server", ("apply p.json --yes --config other/reconciler.yaml",))


DAMAGE = {
    "no head": ("ledger.json", None),
    "a head that is no JSON": ("ledger.json", b"{"),
    "a head of a later format": ("ledger.json", b'{"format": 2}'),
    "a head without a server": ("ledger.json", b'{"format": 1, "resources": 1, "bits": 0, "applied": null}'),
    "bases that are no JSON": ("base/0.json", b"<<<<<<< ours"),
    "bases that are a list": ("base/0.json", b"[]"),
    "a base without a shape": ("base/0.json", b'{"thread/thread_1": {"metadata": {"plan": []}}}'),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_ledger_is_an_error_and_never_a_guess(name, sound):
    overwrite(sound.scratch.folder, *DAMAGE[name])
    assert_refused(sound, "ledger_unreadable")


@pytest.mark.parametrize("content", [b"", b"nonsense\n", b"1" * 40 + b"\n"], ids=["empty", "no id", "of nothing"])
def test_a_damaged_ref_is_an_error_and_no_ledger_that_is_absent(content, sound):
    (sound.scratch.folder / ".git" / REF).write_bytes(content)
    assert_refused(sound, "ledger_unreadable")


def test_every_command_refuses_a_damaged_ledger(sound):
    overwrite(sound.scratch.folder, "ledger.json", b"[]")
    assert_refused(sound, "ledger_unreadable", READERS)
    for line in ("forget thread/thread_1", "ledger show"):
        done = sound.run(line)
        assert done.code == 3, line
        assert "Traceback" not in done.err


@pytest.mark.parametrize("base", ["none", "HEAD"])
def test_a_damaged_ledger_stops_an_apply_that_takes_its_base_from_elsewhere(base, sound):
    overwrite(sound.scratch.folder, "base/0.json", b"{")
    sound.scratch.manifest(threads(thread_1="{plan: lead}"))
    # What would be written could not be recorded.
    assert_refused(sound, "ledger_unreadable", (f"apply --yes --base {base}",))


def test_a_ledger_with_an_object_missing_is_an_error(stage):
    applied(stage)
    blob = git(stage.scratch.folder, "rev-parse", f"{REF}:base/0.json")
    (stage.scratch.folder / ".git/objects" / blob[:2] / blob[2:]).unlink(missing_ok=True)
    for pack in (stage.scratch.folder / ".git/objects/pack").glob("*"):
        pack.unlink()
    stage.api.calls.clear()
    assert_refused(stage, "ledger_unreadable", ("plan",))


def test_where_a_record_cannot_be_kept_nothing_is_said_to_be_done(stage):
    # Somebody's own rule refuses the ref; the writes have been made.
    hook(stage.scratch.folder, "reference-transaction", 'test "$1" != prepared || ! grep -q refs/reconciler/')
    done = stage.run("apply --yes --format json")
    assert done.code == 4, done
    assert codes(done) == ["not_recorded"]
    assert done.outcomes() == {"thread/thread_1": "applied"}
    assert tip(stage.scratch.folder) is None
    assert len(journal(stage.scratch)) == 1
    # The next run knows what may have been written, and records it.
    (stage.scratch.folder / ".git/hooks/reference-transaction").unlink()
    stage.api.put("thread/thread_1", {"plan": "gold", "seen": "later"})
    assert applied(stage).bases == {"thread/thread_1": {"metadata": {"plan": "gold"}}}
    assert journal(stage.scratch) == []
    assert [run.touched for run in runs(stage.scratch.folder)] == [
        {},
        {"thread/thread_1": {"plan": ("silver", "gold")}},
    ]


# --- released ---------------------------------------------------------------------------------------------------------

TWO = threads(thread_1="{plan: gold}", thread_2="{plan: gold, team: a, old: null}")
HELD_TWO = {"thread/thread_1": {"plan": "gold"}, "thread/thread_2": {"plan": "gold", "team": "a", "seen": "bot"}}


@pytest.fixture
def two(tmp_path):
    """Give a stage where thread_2 has been applied and has left the manifests."""
    with staged(tmp_path, TWO, Api(HELD_TWO, {"thread": "replace"}), REPLACE) as stage:
        stage.scratch.commit()
        applied(stage)
        declare(stage, threads(thread_1="{plan: gold}"))
        stage.api.calls.clear()
        yield stage


def released(stage, line="plan"):
    """Return the released resources with the keys that were ours."""
    document = stage.run(f"{line} --format json").document
    assert document["summary"]["released"] == len(document["released"])
    return {f"{one['kind']}/{one['id']}": one["keys"] for one in document["released"]}


def test_a_resource_that_left_the_manifests_is_listed_and_left_alone_until_it_is_dealt_with(two):
    expected = {"thread/thread_2": ["plan", "team"]}
    text = two.run("plan").out
    for word in ("thread/thread_2", "--prune", "forget"):
        assert word in text
    for line in ("drift", "apply --yes", "plan"):
        assert released(two, line) == expected
    assert two.api.held("thread/thread_2") == HELD_TWO["thread/thread_2"]
    assert {call.path for call in two.api.calls} == {"/v1/threads/thread_1"}
    assert "thread/thread_2" in ledger(two.scratch.folder).bases


def test_prune_removes_the_keys_that_we_owned_and_forgets_the_resource(two):
    done = two.run("plan --prune --format json")
    (change,) = done.document["changes"]
    assert [(each["key"], each["op"], each["cause"]) for each in change["fields"]] == [
        ("plan", "remove", "pending"),
        ("team", "remove", "pending"),
    ]
    assert two.api.bodies == []
    record = applied(two, "apply --yes --prune")
    assert two.api.held("thread/thread_2") == {"seen": "bot"}
    assert record.bases.keys() == {"thread/thread_1"}
    assert released(two) == {}
    assert two.run("drift").code == 0


def test_prune_removes_even_what_somebody_changed_and_says_so(two):
    two.api.put("thread/thread_2", {"plan": "edited", "seen": "bot", "old": "back"})
    assert causes(two, "plan --prune") == {("thread_2", "plan"): "conflict", ("thread_2", "old"): "drift"}
    applied(two, "apply --yes --prune")
    assert two.api.held("thread/thread_2") == {"seen": "bot"}


def test_prune_forgets_what_is_gone(two):
    two.api.delete("thread/thread_2")
    assert two.run("plan").code == 0
    assert applied(two, "apply --yes --prune").bases.keys() == {"thread/thread_1"}


def test_a_resource_that_is_declared_again_is_not_released_any_more_and_has_kept_its_base(two):
    applied(two)
    declare(two, threads(thread_1="{plan: gold}", thread_2="{plan: lead}"))
    assert released(two) == {}
    assert causes(two) == {("thread_2", "plan"): "pending", ("thread_2", "team"): "pending"}


def test_what_is_forgotten_is_nobodys_and_a_later_declaration_starts_anew(two):
    done = two.run("forget thread/thread_2")
    assert done.code == 0
    assert "thread/thread_2" in done.out
    assert two.api.calls == []
    assert ledger(two.scratch.folder).bases.keys() == {"thread/thread_1"}
    assert ledger(two.scratch.folder).run["kind"] == "forget"
    assert released(two) == {}
    applied(two, "apply --yes --prune")
    assert two.api.held("thread/thread_2") == HELD_TWO["thread/thread_2"]
    declare(two, threads(thread_1="{plan: gold}", thread_2="{plan: lead}"))
    assert causes(two) == {("thread_2", "plan"): "pending"}


def test_only_what_left_the_manifests_can_be_forgotten(two):
    before = tip(two.scratch.folder)
    for name, words in [("thread/thread_1", "declared"), ("thread/THREAD_2", "no released resource")]:
        done = two.run(f"forget thread/thread_2 {name}")
        assert done.code == 64, done
        assert words in done.err
    assert tip(two.scratch.folder) == before
    assert two.run("forget 'thread/*'").code == 0
    assert ledger(two.scratch.folder).bases.keys() == {"thread/thread_1"}


def test_a_run_about_a_part_of_the_manifests_releases_nothing(two):
    two.scratch.write("manifests/more.yaml", "version: 1\nthreads: {thread_3: {metadata: {plan: gold}}}\n")
    two.api.put("thread/thread_3", {})
    commit = two.scratch.commit()
    for flags in ("manifests/m.yaml", "--select thread/thread_1", "--changed-since HEAD~1"):
        assert released(two, f"apply --yes {flags}") == {}, flags
        assert two.run(f"apply --yes --prune {flags}").code == 64
    assert two.api.held("thread/thread_2") == HELD_TWO["thread/thread_2"]
    record = ledger(two.scratch.folder)
    assert record.applied == commit
    assert record.bases.keys() == {"thread/thread_1", "thread/thread_2", "thread/thread_3"}
    assert released(two).keys() == {"thread/thread_2"}


# --- protection -------------------------------------------------------------------------------------------------------


def test_protection_outlives_the_commit_that_drops_it_by_one_apply(tmp_path):
    protected = "threads:\n  thread_1: {metadata: {plan: gold, team: a}, protect: true}\n"
    with staged(tmp_path, protected, Api({"thread/thread_1": {}}, {"thread": "replace"}), REPLACE) as stage:
        stage.scratch.commit()
        assert applied(stage).bases["thread/thread_1"]["protect"] is True
        declare(stage, threads(thread_1="{plan: lead}"))
        record = applied(stage, code=4)
        assert stage.api.held("thread/thread_1") == {"plan": "lead", "team": "a"}
        assert record.bases == {"thread/thread_1": {"metadata": {"plan": "lead", "team": "a"}}}
        applied(stage)
        assert stage.api.held("thread/thread_1") == {"plan": "lead"}


def test_a_protected_resource_that_left_the_manifests_is_pruned_in_two_steps(tmp_path):
    protected = "threads:\n  thread_1: {metadata: {plan: gold}}\n  thread_2: {metadata: {plan: gold}, protect: true}\n"
    held = {"thread/thread_1": {}, "thread/thread_2": {"seen": "bot"}}
    with staged(tmp_path, protected, Api(held, {"thread": "replace"}), REPLACE) as stage:
        stage.scratch.commit()
        applied(stage)
        declare(stage, threads(thread_1="{plan: gold}"))
        # An apply that does not look at it frees nothing.
        applied(stage)
        document = stage.run("plan --prune --format json").document
        assert [each["blocked"]["code"] for change in document["changes"] for each in change["fields"]] == ["protected"]
        applied(stage, "apply --yes --prune", code=4)
        assert stage.api.held("thread/thread_2") == {"plan": "gold", "seen": "bot"}
        assert applied(stage, "apply --yes --prune").bases.keys() == {"thread/thread_1"}
        assert stage.api.held("thread/thread_2") == {"seen": "bot"}


# --- baseline ---------------------------------------------------------------------------------------------------------


def test_a_baseline_takes_what_agrees_and_sends_nothing(tmp_path):
    manifest = threads(thread_1="{plan: gold, team: a, old: null}", thread_2="{plan: gold}")
    held = {"thread/thread_1": {"plan": "silver", "team": "a"}, "thread/thread_2": {"plan": "gold"}}
    with staged(tmp_path, manifest, Api(held, {"thread": "replace"}), REPLACE) as stage:
        commit = stage.scratch.commit()
        assert stage.run("baseline").code == 0
        assert stage.api.bodies == []
        record = ledger(stage.scratch.folder)
        assert (record.run["kind"], record.applied, record.touched) == ("baseline", commit, {})
        assert record.bases == {
            "thread/thread_1": {"metadata": {"team": "a", "old": None}, "unknown": ["plan"]},
            "thread/thread_2": {"metadata": {"plan": "gold"}},
        }
        stage.api.put("thread/thread_1", {"plan": "silver", "team": "b", "old": "x"})
        assert causes(stage) == {
            ("thread_1", "old"): "drift",
            ("thread_1", "plan"): "unattributed",
            ("thread_1", "team"): "drift",
        }
        assert stage.run("drift").code == 2


def test_a_baseline_of_a_part_leaves_the_rest_unknown(tmp_path):
    manifest = threads(thread_1="{plan: gold}", thread_2="{plan: gold}")
    held = {"thread/thread_1": {"plan": "gold"}, "thread/thread_2": {"plan": "gold"}}
    with staged(tmp_path, manifest, Api(held, {"thread": "replace"}), REPLACE) as stage:
        stage.scratch.commit()
        assert stage.run("baseline --select thread/thread_1").code == 0
        for own in ("thread_1", "thread_2"):
            stage.api.put(f"thread/{own}", {"plan": "edited"})
        assert causes(stage) == {("thread_1", "plan"): "drift", ("thread_2", "plan"): "unattributed"}


# --- looking at it ----------------------------------------------------------------------------------------------------


def test_the_history_tells_who_when_which_commit_and_what(stage):
    assert stage.run("history").lines == ["Nothing is recorded yet."]
    commits = [stage.scratch.git("rev-parse", "HEAD")]
    assert stage.run("apply --yes", {"GITHUB_ACTOR": "octo"}).code == 0
    commits.append(declare(stage, threads(thread_1="{plan: lead}")))
    applied(stage)
    second, first = stage.run("history --format json").document
    assert [first["commit"], second["commit"]] == commits
    assert (first["actor"], first["kind"], first["dirty"], first["outcomes"]) == (
        "octo",
        "apply",
        False,
        {"applied": 1},
    )
    assert first["touched"] == {"thread/thread_1": {"plan": {"before": "silver", "after": "gold"}}}
    newest, oldest = stage.run("history").lines
    for line, run in ((newest, second), (oldest, first)):
        for word in (run["id"], run["at"], run["actor"], run["commit"][:10], "1 applied", "1 field"):
            assert word in line
    assert [run["id"] for run in stage.run("history --limit 1 --format json").document] == [second["id"]]
    one = stage.run(f"history {first['id'][:-2]}")
    assert '"silver" → "gold"' in one.out
    assert stage.run(f"history {first['id']} --format json").document == first
    for name, words in (("nonsense", "no run"), (first["id"][:4], "more than one run")):
        done = stage.run(f"history {name}")
        assert done.code == 64
        assert words in done.err


def test_ledger_show_gives_the_base_of_each_resource_or_of_those_that_are_named(tmp_path):
    held = {f"thread/thread_{at}": {"runtime.x": "1"} for at in (1, 2, 3)}
    with staged(tmp_path, RESOLVED, Api(held, {"thread": "replace"}), REPLACE) as stage:
        commit = stage.scratch.commit()
        assert stage.run("ledger show").code == 64
        record = applied(stage)
        document = stage.run("ledger show --format json").document
        assert (document["ledger"], document["applied"]) == (record.commit, commit)
        assert list(document["bases"]) == [f"thread/thread_{at}" for at in (1, 2, 3)]
        assert document["bases"]["thread/thread_1"] == {
            "metadata": {"team": "support", "plan": "gold", "region": None},
            "ownership": "declared",
            "ignore": ["runtime.*"],
            "protect": True,
            "unknown": [],
            "silent": [],
            "commit": commit,
        }
        text = stage.run("ledger show thread/thread_1").out
        for words in ('plan  "gold"', "region  absent", "protected", commit[:10]):
            assert words in text
        assert "thread_2" not in text
        named = stage.run("ledger show 'thread/thread_[12]' --format json").document["bases"]
        assert list(named) == ["thread/thread_1", "thread/thread_2"]
        assert stage.run("ledger show 'conversation/*'").code == 64


# --- where it works ---------------------------------------------------------------------------------------------------


def drifted(scratch, api, line=""):
    """Apply in a scratch folder, let somebody edit, and return the documents of the apply and of the drift after it."""
    done = scratch.run(f"apply --yes --format json {line}")
    assert done.code == 0, done
    api.put("thread/thread_1", {"plan": "edited"})
    drift = scratch.run(f"drift --format json {line}")
    assert drift.code == 2, drift
    (change,) = drift.document["changes"]
    assert [each["cause"] for each in change["fields"]] == ["drift"]
    return done.document, drift.document


def test_all_work_trees_share_the_ledger_and_the_journal(stage):
    scratch, there = stage.scratch, Scratch(stage.scratch.folder.parent / "linked")
    scratch.git("worktree", "add", "-q", "-B", "other", str(there.folder))
    drifted(there, stage.api)
    assert causes(stage) == {("thread_1", "plan"): "drift"}
    assert journal(there) == []
    assert not (there.folder / ".reconciler").exists()
    # Each has a commit of its own.
    there.manifest(threads(thread_1="{plan: lead}"))
    commit = there.commit()
    assert there.run("apply --yes").code == 0
    assert ledger(scratch.folder).applied == commit


def test_settings_in_a_subfolder_are_known_by_their_path_in_the_repository(tmp_path):
    with staged(tmp_path, ONE, Api(HELD, {"thread": "replace"}), REPLACE) as stage:
        scratch = stage.scratch
        for name in ("reconciler.yaml", "manifests/m.yaml"):
            scratch.write(f"deep/some where/{name}", scratch.read(name))
        scratch.write("deep/some where/inside/.keep", "")
        scratch.commit()
        drifted(scratch, stage.api, "-C 'deep/some where/inside'")
        assert ledger(scratch.folder).head["server"]["settings"] == "deep/some where/reconciler.yaml"
        # The other settings have a target of the same name: not the same ledger.
        assert stage.run("plan").code == 3


def test_a_detached_head_and_a_dirty_tree_are_recorded_as_what_they_are(stage):
    commit = stage.scratch.git("rev-parse", "HEAD")
    stage.scratch.git("checkout", "-q", "--detach")
    stage.scratch.manifest(threads(thread_1="{plan: lead}"))
    drifted(stage.scratch, stage.api)
    record = ledger(stage.scratch.folder)
    assert (record.applied, record.run["dirty"]) == (commit, True)
    assert record.bases["thread/thread_1"]["metadata"] == {"plan": "lead"}
    assert stage.scratch.git("rev-parse", "HEAD") == commit


def test_before_the_first_commit_there_is_a_ledger_already(tmp_path):
    with staged(tmp_path, ONE, Api(HELD, {"thread": "replace"}), REPLACE) as stage:
        git(stage.scratch.folder, "init", "-q")
        drifted(stage.scratch, stage.api)
        record = ledger(stage.scratch.folder)
        assert (record.applied, record.run["commit"], record.run["dirty"]) == (None, None, None)
        assert applied(stage).applied is None
        commit = stage.scratch.commit()
        assert applied(stage).applied == commit


def test_outside_of_git_it_works_and_says_what_it_cannot_know(tmp_path):
    with staged(tmp_path, ONE, Api(HELD, {"thread": "replace"}), REPLACE) as stage:
        assert "no git repository" in stage.run("plan").out
        assert stage.run("apply --yes").code == 0
        stage.api.put("thread/thread_1", {"plan": "edited"})
        assert causes(stage, "drift") == {("thread_1", "plan"): "unattributed"}
        stage.api.calls.clear()
        for line in ("history", "ledger show", "rollback --yes", "baseline", "forget thread/thread_1"):
            done = stage.run(line)
            assert done.code == 64, line
            assert "git repository" in done.err
        assert stage.api.calls == []


def test_without_a_ledger_the_way_to_one_is_told(stage):
    done = stage.run("plan --out json=p.json")
    document = json.loads(stage.scratch.read("p.json"))
    (note,) = document["notes"]
    assert note["code"] == "no_ledger"
    assert f"git fetch origin {REF}:{REF}" in note["message"]
    assert note["message"] in done.out
    assert document["base"] == {"revision": None, "commit": None}


@pytest.mark.parametrize("name", ["-ä 'b\" $(x);", "u\u2028v", "two\nlines"])
def test_the_names_of_folders_and_files_may_be_anything(name, tmp_path):
    with staged(tmp_path / name, ONE, Api(HELD, {"thread": "replace"}), REPLACE) as stage:
        scratch = stage.scratch
        scratch.write(f"sub {name}/reconciler.yaml", scratch.read("reconciler.yaml"))
        scratch.write(f"sub {name}/manifests/{name}.yaml", scratch.read("manifests/m.yaml"))
        scratch.commit()
        inside = Scratch(tmp_path / "inside")
        inside.folder = scratch.folder / f"sub {name}"
        document, _ = drifted(inside, stage.api)
        assert document["head"]["dirty"] is False
        (change,) = document["changes"]
        assert change["source"]["file"] == f"manifests/{name}.yaml"
        assert ledger(scratch.folder).head["server"]["settings"] == f"sub {name}/reconciler.yaml"


def test_a_repository_may_name_its_objects_by_sha256(tmp_path):
    with staged(tmp_path, ONE, Api(HELD, {"thread": "replace"}), REPLACE) as stage:
        git(stage.scratch.folder, "init", "-q", "--object-format=sha256")
        commit = stage.scratch.commit()
        assert len(commit) == 64
        drifted(stage.scratch, stage.api)
        assert ledger(stage.scratch.folder).applied == commit


def test_inside_a_hook_of_git_the_repository_around_the_settings_is_meant(stage):
    env = {"GIT_DIR": "/nowhere", "GIT_INDEX_FILE": "/nowhere/index", "GIT_WORK_TREE": "/nowhere"}
    assert stage.run("apply --yes", env).code == 0
    assert ledger(stage.scratch.folder).bases.keys() == {"thread/thread_1"}
