"""What a record says and what it does not: what a run looked at, what it carried out, and who declared what."""

import json
import shlex
import signal
from contextlib import contextmanager

import pytest
from repositories import REF, git, hook, journal, ledger, overwrite, runs, shared, tip
from scratch import Api, complaint, staged, thread, until

KIND = {"thread": "replace"}
REPLACE = "writes: {thread: replace}"
SILVER = {"plan": "silver"}
GOLD = {"plan": "gold"}


def threads(**metadata):
    """Return a manifest of threads: their metadata, as YAML writes a map on one line."""
    return "threads:\n" + "".join(f"  {own}: {{metadata: {pairs}}}\n" for own, pairs in metadata.items())


ONE = threads(thread_1="{plan: gold}")


@contextmanager
def repository(place, manifest, held, more=REPLACE, kind="replace", instead=None):
    """Give a stage whose folder is a repository with one commit."""
    with staged(place, manifest, Api(held, {"thread": kind}, instead), more) as stage:
        stage.scratch.commit()
        yield stage


def declare(stage, manifest, author="A"):
    """Commit another manifest, and return the commit."""
    stage.scratch.manifest(manifest)
    stage.scratch.git("add", "-A")
    stage.scratch.git("commit", "-q", "-m", "x", f"--author={author} <a@example.org>")
    return stage.scratch.git("rev-parse", "HEAD")


def ran(stage, line, code=0):
    """Run a command, hold its exit code, and return its document."""
    done = stage.run(f"{line} --format json")
    assert done.code == code, done
    return done.document


def fields(document):
    """Return every field of a document, by resource and key."""
    return {f"{each['id']}.{one['key']}": one for each in document["changes"] for one in each["fields"]}


def causes(document):
    """Return the cause of every field of a document."""
    return {name: each["cause"] for name, each in fields(document).items()}


def outcomes(document):
    """Return what became of each change."""
    return {each["id"]: each["outcome"] for each in document["outcomes"]}


def codes(document):
    """Return the codes of a document's errors."""
    return [each["code"] for each in document["errors"]]


def ids(stage):
    """Return the ids of the runs, newest first."""
    return [run.run["id"] for run in runs(stage.scratch.folder)]


# --- a run that looked at a part --------------------------------------------------------------------------------------

PARTS = {
    "a path": ["apply --yes manifests/m.yaml"],
    "a selection": ["apply --yes --select thread/thread_1"],
    "what changed": ["apply --yes --changed-since HEAD~1"],
    "a saved plan": ["plan --select thread/thread_1 --out json=p.json", "apply p.json --yes"],
}


@pytest.mark.parametrize("part", PARTS)
def test_what_a_first_apply_of_a_part_did_not_look_at_stays_unattributed(part, tmp_path):
    held = {f"thread/thread_{at}": SILVER for at in (1, 2)}
    with repository(tmp_path, threads(thread_1="{plan: iron}"), held) as stage:
        stage.scratch.write("manifests/more.yaml", f"version: 1\n{threads(thread_2='{plan: gold}')}")
        stage.scratch.commit()
        declare(stage, ONE)
        for line in PARTS[part]:
            assert stage.run(line).code == 0, line
        assert stage.api.held("thread/thread_1") == GOLD
        assert causes(ran(stage, "plan")) == {"thread_2.plan": "unattributed"}
        assert causes(ran(stage, "drift", 2)) == {"thread_2.plan": "unattributed"}


@pytest.mark.parametrize("whole", ["apply --yes", "baseline"])
def test_once_a_run_has_looked_at_everything_what_is_declared_anew_is_pending_and_no_drift(whole, tmp_path):
    held = {"thread/thread_1": SILVER, "thread/thread_2": GOLD, "thread/thread_3": SILVER}
    with repository(tmp_path, threads(thread_1="{plan: gold}", thread_2="{plan: gold}"), held) as stage:
        assert stage.run("apply --yes --select thread/thread_1").code == 0
        assert stage.run(whole).code == 0
        declare(stage, threads(thread_1="{plan: gold}", thread_2="{plan: gold}", thread_3="{plan: gold}"))
        assert causes(ran(stage, "plan")) == {"thread_3.plan": "pending"}
        assert causes(ran(stage, "drift")) == {}


def test_a_run_that_was_refused_everything_makes_nothing_known(tmp_path):
    refusal = {"GET /v1/threads/thread_1": [complaint(401, "no")]}
    held = {"thread/thread_1": SILVER, "thread/thread_2": SILVER}
    with repository(tmp_path, ONE, held, instead=refusal) as stage:
        assert stage.run("apply --yes").code == 7
        assert stage.run("history").code == 0
        assert stage.scratch.git("for-each-ref", "refs/reconciler") == ""
        declare(stage, threads(thread_2="{plan: gold}"))
        assert causes(ran(stage, "plan")) == {"thread_2.plan": "unattributed"}


def test_a_run_that_could_not_read_all_says_nothing_of_what_is_declared_later(tmp_path):
    held = {f"thread/thread_{at}": SILVER for at in (1, 2, 3)}
    refusal = {"GET /v1/threads/thread_2": [complaint(400, "no"), None]}
    with repository(tmp_path, threads(thread_1="{plan: gold}", thread_2="{plan: gold}"), held,
                    "writes: {thread: replace}, parallelism: 1", instead=refusal) as stage:  # fmt: skip
        assert stage.run("apply --yes").code == 4
        declare(stage, threads(thread_1="{plan: iron}", thread_2="{plan: gold}", thread_3="{plan: gold}"))
        told = causes(ran(stage, "plan"))
        assert (told["thread_2.plan"], told["thread_3.plan"]) == ("unattributed", "unattributed")
        assert stage.run("apply --yes").code == 0
        declare(stage, threads(thread_1="{plan: zinc}", thread_2="{plan: gold}", thread_3="{plan: zinc}"))
        assert set(causes(ran(stage, "plan")).values()) == {"pending"}


# --- a rollback that died ---------------------------------------------------------------------------------------------


def die_at_the_record(stage, line):
    """Crash when git is about to move the ref."""
    pid = stage.scratch.folder.parent / "pid"
    blow = f'test "$1" = prepared && grep -q {REF} && kill -9 $(cat "{pid}") && exit 1; exit 0'
    path = hook(stage.scratch.folder, "reference-transaction", blow)
    process = stage.scratch.start(line)
    pid.write_text(str(process.pid))
    with process:
        process.communicate()
    path.unlink()
    return process.returncode


def die_in_the_write(stage, line):
    """Crash once the write has arrived, before it is answered."""
    before = len(stage.api.sent("POST"))
    process = stage.scratch.start(line)
    until(lambda: len(stage.api.sent("POST")) > before, "the write")
    process.send_signal(signal.SIGKILL)
    with process:
        process.communicate()
    until(lambda: stage.api.held("thread/thread_1")["plan"] == "gold", "the write that was on its way")
    return process.returncode


@pytest.mark.parametrize("die", [die_at_the_record, die_in_the_write])
def test_a_rollback_that_died_before_its_record_is_recorded_as_a_rollback_by_the_next_apply(die, tmp_path):
    api = Api({"thread/thread_1": {}}, KIND, lag={"POST": 0.2})
    with staged(tmp_path, threads(thread_1="{plan: gold, other: o}"), api, REPLACE) as stage:
        stage.scratch.commit()
        assert stage.run("apply --yes").code == 0
        declare(stage, threads(thread_1="{plan: lead, other: o, new: n}"))
        assert stage.run("apply --yes").code == 0
        last = ids(stage)[0]
        assert die(stage, "rollback --yes") == -signal.SIGKILL
        assert api.held("thread/thread_1") == {"plan": "gold", "other": "o"}
        (left,) = journal(stage.scratch)

        assert causes(ran(stage, "drift")) == {}
        assert causes(ran(stage, "plan")) == {"thread_1.plan": "pending", "thread_1.new": "pending"}
        # What the rollback did not write is judged as ever.
        api.put("thread/thread_1", {"plan": "gold"})
        assert causes(ran(stage, "drift", 2)) == {"thread_1.other": "drift"}

        assert stage.run("apply --yes").code == 0
        assert api.held("thread/thread_1") == {"plan": "lead", "other": "o", "new": "n"}
        assert journal(stage.scratch) == []
        history = json.loads(stage.run("history --format json").out)
        assert [each["kind"] for each in history] == ["apply", "rollback", "apply", "apply"]
        assert (history[1]["id"], history[1]["undoes"]) == (left.stem, last)
        assert history[1]["touched"] == {
            "thread/thread_1": {
                "plan": {"before": "lead", "after": "gold"},
                "new": {"before": "n", "after": None},
            }
        }
        assert stage.run("drift").code == 0


# --- a commit that never came to be applied ---------------------------------------------------------------------------

BROKEN = complaint(500, "not now", x_should_retry="false")
FAILURES = {
    "no write worked": ("POST /v1/threads/thread_1", BROKEN, "apply --yes", 4),
    "nothing could be read": ("GET /v1/threads/thread_1", BROKEN, "apply --yes", 4),
    "no answer could be understood": ("GET /v1/threads/thread_1", thread("thread_other"), "apply --yes", 4),
    "nothing agreed": (None, None, "baseline", 0),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_a_commit_of_which_nothing_was_carried_out_does_not_count_as_applied(failure, tmp_path):
    call, answer, line, code = FAILURES[failure]
    instead = {call: [None]}
    with repository(tmp_path, ONE, {"thread/thread_1": SILVER}, instead=instead) as stage:
        first = stage.scratch.git("rev-parse", "HEAD")
        assert stage.run("apply --yes").code == 0
        declare(stage, threads(thread_1="{plan: lead}"))
        instead[call] = [answer]
        ran(stage, line, code)
        assert ledger(stage.scratch.folder).applied == first
        instead.clear()
        stage.scratch.git("checkout", "-q", first)
        assert codes(ran(stage, line)) == []
        assert stage.api.held("thread/thread_1") == GOLD


def test_a_first_apply_of_which_nothing_was_carried_out_does_not_count_either(tmp_path):
    refused = {"POST /v1/threads/thread_1": [complaint(500, "down")]}
    with repository(tmp_path, ONE, {"thread/thread_1": SILVER}, instead=refused) as stage:
        assert stage.run("apply --yes").code == 4
        assert ledger(stage.scratch.folder).applied is None


# --- which run a rollback means ---------------------------------------------------------------------------------------


def test_a_rollback_that_did_not_get_through_is_tried_again_and_older_applies_are_left_alone(tmp_path):
    both = threads(thread_1="{plan: gold}", thread_2="{plan: gold}")
    held = {f"thread/thread_{at}": SILVER for at in (1, 2)}
    with repository(tmp_path, both, held) as stage:
        assert stage.run("apply --yes").code == 0
        declare(stage, both.replace("gold", "lead"))
        assert stage.run("apply --yes").code == 0
        last, first = ids(stage)
        stage.api.put("thread/thread_1", {"plan": "edited"})
        document = ran(stage, "rollback --yes", 5)
        assert (document["undoes"], outcomes(document)) == (last, {"thread_1": "stale", "thread_2": "applied"})
        stage.api.calls.clear()
        document = ran(stage, "rollback --yes", 5)
        assert document["undoes"] == last
        assert outcomes(document)["thread_1"] == "stale"
        assert stage.api.bodies == []
        assert stage.api.held("thread/thread_2") == GOLD
        # Once nothing stands in its way it is brought to its end, and only then the apply before it is next.
        stage.api.put("thread/thread_1", {"plan": "lead"})
        document = ran(stage, "rollback --yes")
        assert (document["undoes"], outcomes(document)["thread_1"]) == (last, "applied")
        assert [stage.api.held(name) for name in held] == [GOLD, GOLD]
        assert ran(stage, "rollback --yes")["undoes"] == first
        assert [stage.api.held(name) for name in held] == [SILVER, SILVER]


# --- who declared a value ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("meanwhile", ["the same commit", "a commit about others"])
def test_a_value_is_told_by_the_commit_that_declared_it_whatever_was_rolled_back_and_applied_since(meanwhile, tmp_path):
    def origin(value):
        stage.api.put("thread/thread_1", {"plan": value})
        return fields(ran(stage, "drift", 2))["thread_1.plan"]["origin"]

    def declared(plan, beside, author):
        manifest = threads(thread_1=f"{{plan: {plan}}}", thread_2=f"{{plan: {beside}}}")
        return declare(stage, manifest, author)

    with repository(tmp_path, "threads: {}\n", {"thread/thread_1": {}, "thread/thread_2": {}}) as stage:
        first = declared("one", "a", "Ann")
        assert stage.run("apply --yes").code == 0
        second = declared("two", "a", "Bo")
        assert stage.run("apply --yes").code == 0
        assert stage.run("rollback --yes").code == 0
        if meanwhile != "the same commit":
            declared("two", "b", "Cy")
        assert stage.run("apply --yes").code == 0
        declared("three", "b", "Di")
        assert stage.run("apply --yes").code == 0
        two = origin("two")
        assert (two["commit"], two["author"]) == (second, "Bo")
        one = origin("one")
        assert (one["commit"], one["author"]) == (first, "Ann")


# --- a record that is owed --------------------------------------------------------------------------------------------


def test_the_first_record_of_all_is_owed_until_an_apply_gets_it_through_whatever_that_has_to_do(tmp_path):
    with shared(tmp_path, ONE, Api({"thread/thread_1": SILVER}, KIND)) as both:
        refusing = hook(both.remote, "pre-receive", "exit 1")
        assert codes(ran(both.stage, "apply --yes", 4)) == ["not_pushed"]
        # There is nothing to do, and still it is not done.
        assert codes(ran(both.stage, "apply --yes", 4)) == ["not_pushed"]
        assert both.one.run("plan --out json=p.json").code == 0
        assert tip(both.remote) is None
        refusing.unlink()
        both.api.calls.clear()
        assert codes(ran(both.stage, "apply p.json --yes")) == []
        assert both.api.bodies == []
        assert tip(both.remote) == tip(both.one.folder)
        assert len(runs(both.remote)) == 1
        assert both.two.run("drift").code == 0


# --- odd names --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["next\u0085line", "two\nlines"])
def test_separators_of_lines_in_the_names_of_people_and_folders_do_no_harm(name, tmp_path):
    person = "Ann\u2028Other"
    with staged(tmp_path / name, "threads: {}\n", Api({"thread/thread_1": {}}, KIND), REPLACE) as stage:
        scratch, inside = stage.scratch, f"sub {name}"
        scratch.write(f"{inside}/reconciler.yaml", scratch.read("reconciler.yaml"))
        git(scratch.folder, "init", "-q")
        git(scratch.folder, "config", "user.name", person)
        commits = []
        for plan in ("once", "now"):
            scratch.write(f"{inside}/manifests/{name}.yaml", f"version: 1\n{ONE.replace('gold', plan)}")
            scratch.git("add", "-A")
            scratch.git("commit", "-q", "-m", "x", f"--author={person} <a@example.org>")
            commits.append(scratch.git("rev-parse", "HEAD"))
        there = f"-C {shlex.quote(inside)}"
        plan = fields(ran(stage, f"plan --blame {there}"))["thread_1.plan"]
        assert (plan["blame"]["commit"], plan["blame"]["author"]) == (commits[1], person)
        assert plan["source"]["file"] == f"manifests/{name}.yaml"
        assert ran(stage, f"apply --yes {there}")["head"] == {
            "commit": commits[1],
            "dirty": False,
            "prefix": inside,
        }
        assert ledger(scratch.folder).run["actor"].startswith(person)
        assert ran(stage, f"drift {there}")["changes"] == []
        stage.api.put("thread/thread_1", {"plan": "once"})
        drift = fields(ran(stage, f"drift --blame {there}", 2))["thread_1.plan"]
        assert (drift["origin"]["commit"], drift["origin"]["author"]) == (commits[0], person)
        (line,) = stage.run(f"history {there}").lines
        assert "\u2028" not in line


# --- git that cannot be asked -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["no git", "no head"])
def test_a_repository_that_cannot_be_asked_is_an_error_and_not_taken_for_none(how, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    env = {"PATH": str(empty)} if how == "no git" else None
    with repository(tmp_path, ONE, {"thread/thread_1": SILVER}) as stage:
        assert stage.run("baseline").code == 0
        stage.api.calls.clear()
        if how == "no head":
            (stage.scratch.folder / ".git/HEAD").unlink()
        for line in ("plan", "apply --yes"):
            done = stage.run(f"{line} --format json", env)
            assert done.code == 3, (line, done)
            assert done.document["errors"]
            assert "Traceback" not in done.err
        assert stage.api.calls == []
        assert stage.api.held("thread/thread_1") == SILVER


def test_outside_of_a_repository_no_git_is_needed(tmp_path):
    (tmp_path / "empty").mkdir()
    env = {"PATH": str(tmp_path / "empty")}
    with staged(tmp_path, ONE, Api({"thread/thread_1": SILVER}, KIND), REPLACE) as stage:
        assert stage.run("plan", env).code == 0
        done = stage.run("apply --yes --format json", env)
        assert (done.code, done.outcomes()) == (0, {"thread/thread_1": "applied"})
        assert stage.api.held("thread/thread_1") == GOLD


def test_a_remote_of_the_ledger_outside_of_a_repository_is_an_invalid_setting(tmp_path):
    more = f"{REPLACE}, ledger_remote: origin"
    with staged(tmp_path, ONE, Api({"thread/thread_1": SILVER}, KIND), more) as stage:
        for line in ("plan", "drift", "apply --yes"):
            document = ran(stage, line, 3)
            assert "ledger_remote" in document["errors"][0]["message"], line
        assert stage.api.calls == []


# --- guards -----------------------------------------------------------------------------------------------------------


def test_the_guards_hold_a_rollback_against_all_that_is_recorded(tmp_path):
    def pairs(changed, plan):
        return threads(**{f"thread_{at}": f"{{plan: {plan if at < changed else 'gold'}}}" for at in range(100)})

    held = {f"thread/thread_{at}": GOLD for at in range(100)}
    with repository(tmp_path, pairs(0, ""), held, f"{REPLACE}, parallelism: 30") as stage:
        assert stage.run("baseline").code == 0
        declare(stage, pairs(12, "lead"))
        assert stage.run("apply --yes").code == 0
        assert set(outcomes(ran(stage, "rollback --yes")).values()) == {"applied"}
        assert all(stage.api.held(name) == GOLD for name in held)
        declare(stage, pairs(60, "iron"))
        assert stage.run("apply --yes --max-changed 100").code == 0
        stage.api.calls.clear()
        assert codes(ran(stage, "rollback --yes", 6)) == ["guard_refused"]
        assert stage.api.bodies == []


# --- letting go -------------------------------------------------------------------------------------------------------


def test_what_could_not_be_recorded_as_forgotten_is_not_forgotten(tmp_path):
    held = {"thread/thread_1": GOLD, "thread/thread_2": GOLD}
    with repository(tmp_path, threads(thread_1="{plan: gold}", thread_2="{plan: gold}"), held) as stage:
        assert stage.run("baseline").code == 0
        declare(stage, ONE)
        before = tip(stage.scratch.folder)
        refusing = hook(stage.scratch.folder, "reference-transaction", "exit 1")
        done = stage.run("forget thread/thread_2")
        assert (done.code, done.out) == (4, ""), done
        assert "orgot" not in done.err
        assert tip(stage.scratch.folder) == before
        refusing.unlink()
        assert [each["id"] for each in ran(stage, "plan")["released"]] == ["thread_2"]
        assert stage.run("forget thread/thread_2").out != ""


# --- a saved plan -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("begun", [True, False])
def test_a_saved_plan_does_not_put_back_the_base_of_what_it_only_found_as_declared(begun, tmp_path):
    held = {"thread/thread_1": GOLD, "thread/thread_2": {"plan": "gold", "new": "n"}}
    with repository(tmp_path, threads(thread_1="{plan: gold}", thread_2="{plan: gold}"), held) as stage:
        if begun:
            assert stage.run("apply --yes").code == 0
        declare(stage, threads(thread_1="{plan: lead}", thread_2="{plan: gold, new: n}"))
        assert stage.run("plan --out json=p.json").code == 0
        # Meanwhile somebody takes thread_2 further.
        stage.scratch.manifest(threads(thread_1="{plan: lead}", thread_2="{plan: lead, new: n}"))
        assert stage.run("apply --yes --select thread/thread_2").code == 0
        assert stage.run("apply p.json --yes").code == 0
        assert ledger(stage.scratch.folder).bases == {
            "thread/thread_1": {"metadata": {"plan": "lead"}},
            "thread/thread_2": {"metadata": {"plan": "lead", "new": "n"}},
        }
        stage.api.put("thread/thread_2", {"plan": "gold", "new": "n"})
        assert causes(ran(stage, "drift", 2)) == {"thread_2.plan": "drift"}


# --- a ledger that somebody meddled with ------------------------------------------------------------------------------


def test_a_base_with_a_field_that_nobody_knows_is_an_error_and_never_a_guess(tmp_path):
    with repository(tmp_path, ONE, {"thread/thread_1": SILVER}) as stage:
        assert stage.run("apply --yes").code == 0
        (path,) = [path for path in ledger(stage.scratch.folder).files if path.startswith("base/")]
        base = {"thread/thread_1": {"metadata": GOLD, "surprise": 1}}
        overwrite(stage.scratch.folder, path, json.dumps(base).encode())
        stage.api.calls.clear()
        for line in ("plan", "apply --yes"):
            assert codes(ran(stage, line, 3)) == ["ledger_unreadable"], line
        assert stage.api.calls == []


HOSTILE = "\x1b[31mred\x1b[0m\n::error::boo\u202e\x07\x85"


def test_what_a_ledger_says_of_its_runs_and_bases_is_shown_harmlessly(tmp_path):
    with repository(tmp_path, ONE, {"thread/thread_1": SILVER}) as stage:
        folder = stage.scratch.folder
        assert stage.run("apply --yes").code == 0
        files = ledger(folder).files
        overwrite(folder, "ledger.json", json.dumps(files["ledger.json"] | {"applied": HOSTILE}).encode())
        (path,) = [path for path in files if path.startswith("base/")]
        base = {name: part | {"commit": HOSTILE, "ignore": [HOSTILE]} for name, part in files[path].items()}
        overwrite(folder, path, json.dumps(base).encode())
        run = dict.fromkeys(("actor", "at", "commit", "tool", "undoes", "kind"), HOSTILE)
        run |= {"id": "odd", "dirty": False, "outcomes": {HOSTILE: 1}}
        overwrite(folder, "run.json", json.dumps(run).encode())
        stage.api.put("thread/thread_1", {"plan": "edited"})
        for line, code in {"history": 0, "history odd": 0, "ledger show": 0, "plan": 0, "drift": 2}.items():
            done = stage.run(f"{line} --color always")
            assert done.code == code, done
            assert "[31mre" in done.out, line  # it is told, and told so that it does nothing
            for bad in ("\x1b[31mre", "\n::error", "\u202e", "\x07", "\x85"):
                assert bad not in done.out + done.err, (line, bad)


# --- values that are no strings ---------------------------------------------------------------------------------------


class Loose(Api):
    """A server that takes any value there is; an update replaces the whole map."""

    def __init__(self, held):
        super().__init__(held, judged=False)

    def _emulated(self, call, raw):
        if call.method == "POST":
            self.put(call.path.removeprefix("/v1/").replace("threads/", "thread/"), call.body["metadata"])
        return super()._emulated(call if call.method == "GET" else _looking(call), b"")


def _looking(call):
    return type(call)("GET", call.path, call.headers, None)


def test_a_rollback_gives_back_a_foreign_value_that_is_no_string(tmp_path):
    before = {"plan": ["a", {"b": 1}], "gone": {"x": [1, None]}, "count": 7, "kept": [1]}
    manifest = threads(thread_1="{plan: gold, gone: null, count: seven}")
    with staged(tmp_path, manifest, Loose({"thread/thread_1": before}), REPLACE) as stage:
        stage.scratch.commit()
        assert stage.run("apply --yes").code == 0
        assert stage.api.held("thread/thread_1") == {"plan": "gold", "count": "seven", "kept": [1]}
        done = stage.run("rollback --yes --format json")
        assert (done.code, codes(done.document)) == (0, []), done
        assert stage.api.held("thread/thread_1") == before
        assert stage.run("drift").code == 0
        text = stage.run(f"history {ids(stage)[0]}")
        assert (text.code, text.err) == (0, "")


# --- blanks in place of removals --------------------------------------------------------------------------------------


def test_a_key_that_a_rollback_could_only_blank_is_pending_and_no_drift(tmp_path):
    more = "writes: {thread: merge}, removals: blank"
    held = {"thread/thread_1": SILVER}
    with repository(tmp_path, threads(thread_1="{plan: silver, team: a}"), held, more, "merge") as stage:
        assert stage.run("apply --yes").code == 0
        assert outcomes(ran(stage, "rollback --yes")) == {"thread_1": "applied"}
        assert stage.api.held("thread/thread_1") == {"plan": "silver", "team": ""}
        assert causes(ran(stage, "plan")) == {"thread_1.team": "pending"}
        assert causes(ran(stage, "drift")) == {}
        # And with git turned back as well, all is as it should be.
        declare(stage, threads(thread_1="{plan: silver}"))
        assert causes(ran(stage, "plan")) == {}


# --- what no manifest may hold ----------------------------------------------------------------------------------------


def test_a_value_that_no_manifest_may_hold_is_told_with_its_key(tmp_path):
    manifest = threads(thread_1="{plan: gold, tags: x}")
    with repository(tmp_path, manifest, {"thread/thread_1": {}, "thread/thread_2": {}}) as stage:
        assert stage.run("apply --yes").code == 0
        stage.api.put("thread/thread_1", {"plan": "gold", "tags": ["x"]})
        stage.api.put("thread/thread_2", {"plan": "gold", "labels": ["x"]})
        refusals = [
            (stage.run("adopt --yes"), "[not_adopted]", "thread/thread_1", "tags", "plan"),
            (
                stage.run("import thread/thread_2 --into manifests/new.yaml"),
                "[not_imported]",
                "thread/thread_2",
                "labels",
                "plan",
            ),
        ]
        for done, code, ref, key, other in refusals:
            assert done.code == 1, done
            (line,) = [line for line in done.err.split("\n") if code in line]
            assert ref in line
            assert key in line
            assert other not in line
        assert stage.scratch.read("manifests/m.yaml") == f"version: 1\n{manifest}"


INTO = {"manifests/new.txt": False, "manifests/.new.yaml": False, "elsewhere/new.yaml": False, "manifests/a.yml": True}


def test_an_import_into_a_file_that_nothing_reads_says_so(tmp_path):
    with staged(tmp_path, "threads: {}\n", Api({"thread/thread_1": GOLD})) as stage:
        for into, read in INTO.items():
            done = stage.run(f"import thread/thread_1 --into {into}")
            assert done.code == 0, done
            assert (stage.scratch.folder / into).exists()
            assert ("nothing will read it" in done.err) is not read, into
        assert ran(stage, "plan")["summary"]["resources"] == 1


# --- settings elsewhere -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("absolute", [False, True], ids=["by a path with ..", "by an absolute path"])
def test_settings_outside_of_the_repository_of_the_manifests_have_its_ledger_all_the_same(absolute, tmp_path):
    with repository(tmp_path, ONE, {"thread/thread_1": SILVER}) as stage:
        scratch, out = stage.scratch, tmp_path / "out"
        out.mkdir()
        text = scratch.read("reconciler.yaml").replace("[manifests]", f"[../{scratch.folder.name}/manifests]")
        (out / "reconciler.yaml").write_text(text)
        (scratch.folder / "reconciler.yaml").unlink()
        commit = scratch.commit()
        line = f"--config {out if absolute else '../out'}/reconciler.yaml"
        document = ran(stage, f"apply --yes {line}")
        assert document["head"]["commit"] == commit
        record = ledger(scratch.folder)
        assert (record.applied, record.bases) == (commit, {"thread/thread_1": {"metadata": GOLD}})
        stage.api.put("thread/thread_1", {"plan": "edited"})
        drift = ran(stage, f"drift --blame {line}", 2)
        assert causes(drift) == {"thread_1.plan": "drift"}
        assert drift["base"] == {"revision": REF, "commit": commit}
        assert fields(drift)["thread_1.plan"]["blame"]["commit"] is not None
        assert stage.run(f"rollback --yes {line}").code == 5
        assert list(out.iterdir()) == [out / "reconciler.yaml"]
