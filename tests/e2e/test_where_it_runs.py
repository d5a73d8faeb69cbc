"""Which settings, target, manifests and resources a run is about."""

import json
from contextlib import ExitStack

import pytest
from scratch import SETTINGS, Api, Scratch, staged

ONE = "threads:\n  thread_1:\n    metadata: {plan: gold}\n"
HELD = {"thread/thread_1": {"plan": "silver"}}
KEY = "sk-test-0123456789abcdefghijklmnop"
GET = "GET /v1/threads/thread_1"


@pytest.fixture
def two(tmp_path):
    """Give a scratch folder without settings, and two servers that listen, with their addresses."""
    with ExitStack() as stack:
        apis = Api(HELD), Api(HELD)
        urls = [stack.enter_context(api.listening()) for api in apis]
        scratch = Scratch(tmp_path)
        scratch.manifest(ONE)
        yield scratch, apis, urls


def where(done):
    """Return the name and the address of the target that a run was about."""
    target = done.document["target"]
    return target["name"], target["base_url"]


# --- the environment, or a file ---------------------------------------------------------------------------------------


def test_without_a_settings_file_the_environment_makes_up_a_target(two):
    scratch, (api, _), (url, _) = two
    env = {"OPENAI_BASE_URL": url, "OPENAI_API_KEY": KEY, "OPENAI_ORG_ID": "org-1", "OPENAI_PROJECT_ID": "proj_1"}
    done = scratch.run("plan --format json", env)
    assert (done.code, where(done)) == (0, ("default", url))
    [call] = api.calls
    assert call.headers["authorization"] == f"Bearer {KEY}"
    assert (call.headers["openai-organization"], call.headers["openai-project"]) == ("org-1", "proj_1")
    assert done.document["changes"][0]["source"] == {"file": "manifests/m.yaml", "line": 3, "column": 3}


def test_a_settings_file_is_not_redirected_by_the_environment(two):
    scratch, (ours, other), (url, elsewhere) = two
    scratch.settings(url)
    env = {"OPENAI_BASE_URL": elsewhere, "OPENAI_API_KEY": KEY, "OPENAI_ORG_ID": "org-1", "OPENAI_PROJECT_ID": "p"}
    done = scratch.run("plan --format json", env)
    assert (done.code, where(done)) == (0, ("test", url))
    assert (ours.told, other.told) == ([GET], [])
    # Nor does the key go to a server that the file did not name it for.
    assert not {"authorization", "openai-organization", "openai-project"} & ours.calls[0].headers.keys()


def test_without_settings_and_without_a_key_nothing_goes_to_the_vendor(two):
    scratch, *_ = two
    done = scratch.run("plan")
    assert done.code == 3
    assert "OPENAI_API_KEY" in done.err


def test_a_key_does_not_travel_over_plain_http(two):
    scratch, *_ = two
    done = scratch.run("plan", {"OPENAI_BASE_URL": "http://api.example.org/v1", "OPENAI_API_KEY": KEY})
    assert done.code == 3
    assert "https" in done.err
    assert KEY not in done.err


BOTH = """\
version: 1
default_target: one
targets:
  one: {{provider: openai, base_url: "{0}", manifests: [manifests]}}
  two: {{provider: openai, base_url: "{1}", manifests: [manifests]}}
"""


@pytest.mark.parametrize(
    ("flag", "env", "name"),
    [
        ("", {}, "one"),
        ("", {"RECONCILER_TARGET": "two"}, "two"),
        ("--target two", {}, "two"),
        ("--target one", {"RECONCILER_TARGET": "two"}, "one"),
    ],
    ids=["default_target", "variable", "flag", "a flag beats the variable"],
)
def test_the_target_is_told_by_flag_or_variable_or_file(flag, env, name, two):
    scratch, apis, urls = two
    scratch.write("reconciler.yaml", BOTH.format(*urls))
    done = scratch.run(f"validate --format json {flag}", env)
    assert where(done) == (name, urls[name == "two"])
    assert [api.told for api in apis] == [[], []]


@pytest.mark.parametrize(
    ("flag", "env", "file"),
    [
        ("", {"RECONCILER_CONFIG": "conf/other.yaml"}, "conf/other.yaml"),
        ("--config conf/other.yaml", {}, "conf/other.yaml"),
        ("--config reconciler.yaml", {"RECONCILER_CONFIG": "conf/other.yaml"}, "reconciler.yaml"),
    ],
    ids=["variable", "flag", "a flag beats the variable"],
)
def test_the_settings_file_is_told_by_flag_or_variable(flag, env, file, two):
    scratch, _, (url, other) = two
    scratch.settings(url)
    scratch.write(
        "conf/other.yaml", SETTINGS.format(url=other, more="", rest="").replace("[manifests]", "[../manifests]")
    )
    done = scratch.run(f"validate --format json {flag}", env)
    assert (done.code, where(done)[1]) == (0, other if file.startswith("conf") else url)


def test_the_settings_are_searched_upwards_to_the_root_of_the_repository(two):
    scratch, (inner, outer), (url, outside) = two
    scratch.settings(outside)
    scratch.write("repo/manifests/m.yaml", f"version: 1\n{ONE}")
    scratch.write("repo/deep/down/.keep", "")
    scratch.git("init", "-q", "repo")
    line = "plan -C repo/deep/down --format json"
    assert where(scratch.run(line, {"OPENAI_BASE_URL": "http://127.0.0.1:1/v1"}))[0] != "test"
    assert outer.told == []
    scratch.write("repo/reconciler.yaml", SETTINGS.format(url=url, more="", rest=""))
    done = scratch.run(f"{line} --out json=p.json")
    assert (done.code, where(done)[1], inner.told) == (0, url, [GET])
    # Places are relative to the settings file, paths on the command line to the folder of `-C`.
    assert done.document["changes"][0]["source"]["file"] == "manifests/m.yaml"
    assert json.loads(scratch.read("repo/deep/down/p.json")) == done.document


# --- what the work tree says ------------------------------------------------------------------------------------------


def test_the_head_is_the_commit_and_dirty_means_manifests_or_settings(tmp_path):
    with staged(tmp_path, ONE, Api(HELD)) as stage:
        commit = stage.scratch.commit()

        def head():
            return stage.run("validate --format json").document["head"]

        stage.scratch.write("notes.txt", "not ours")
        assert head() == {"commit": commit, "dirty": False}
        stage.scratch.write("manifests/new.yaml", "version: 1\n")
        assert head() == {"commit": commit, "dirty": True}
        (stage.scratch.folder / "manifests/new.yaml").unlink()
        stage.scratch.write("reconciler.yaml", stage.scratch.read("reconciler.yaml") + "# a word\n")
        assert head() == {"commit": commit, "dirty": True}


# --- which resources, which fields ------------------------------------------------------------------------------------

SEVERAL = """\
threads:
  thread_1:
    metadata: {plan: gold, team: support, old: null}
  thread_2:
    metadata: {plan: gold}
messages:
  thread_1/msg_1:
    metadata: {plan: gold}
"""
SEVERAL_HELD = {
    "thread/thread_1": {"plan": "silver", "old": "x"},
    "thread/thread_2": {},
    "message/thread_1/msg_1": {},
}


@pytest.fixture(scope="module")
def several(tmp_path_factory):
    """Give a stage for runs that only read."""
    with staged(tmp_path_factory.mktemp("several"), SEVERAL, Api(SEVERAL_HELD)) as stage:
        stage.scratch.write("manifests/more/b.yml", "version: 1\nthreads:\n  thread_9: {metadata: {a: b}}\n")
        yield stage


@pytest.mark.parametrize(
    ("line", "ids"),
    [
        ("--select thread/*", {"thread_1", "thread_2", "thread_9"}),
        ("--select *thread_1 --select message/*", {"thread_1", "thread_1/msg_1"}),
        ("manifests/more", {"thread_9"}),
        ("manifests/m.yaml manifests/more/b.yml", {"thread_1", "thread_2", "thread_9", "thread_1/msg_1"}),
    ],
)
def test_a_run_is_about_what_was_named(line, ids, several):
    several.api.calls.clear()
    done = several.run(f"plan --format json --all {line}")
    assert {each["id"] for each in done.document["changes"]} == ids
    assert {call.path.rpartition("/")[2] for call in several.api.calls} == {one.rpartition("/")[2] for one in ids}


@pytest.mark.parametrize(
    ("only", "fields"),
    [
        ("add,replace", [("thread_1", "plan"), ("thread_1", "team"), ("thread_2", "plan")]),
        ("unattributed,remove", [("thread_1", "old")]),
        ("pending", []),
    ],
)
def test_only_restricts_what_is_written_and_says_how_much_is_left(only, fields, several):
    done = several.run(f"plan --select thread/thread_[12] --format json --only {only}")
    found = [(change["id"], each["key"]) for change in done.document["changes"] for each in change["fields"]]
    assert found == fields
    assert done.document["left"] == 4 - len(fields)


def test_an_apply_of_additions_leaves_the_rest_as_it_is(tmp_path):
    api = Api(SEVERAL_HELD, {"thread": "replace"})
    with staged(tmp_path, SEVERAL, api, "writes: {thread: replace}") as stage:
        assert stage.run("apply --yes --only add --select thread/*").code == 0
        assert stage.api.held("thread/thread_1") == {"plan": "silver", "old": "x", "team": "support"}


# --- guards -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "rest", "code"),
    [
        ("", "", 6),
        ("--max-changed 10", "", 0),
        ("--max-removed 0 --max-changed 100", "", 6),
        ("--max-changed 0", "guards: {max_changed: 100%}\n", 6),
        ("", "guards: {at_least: 11}\n", 0),
    ],
)
def test_a_guard_is_set_by_the_file_and_a_flag_beats_it(flags, rest, code, tmp_path):
    manifest = "threads:\n" + "".join(f"  thread_{at}: {{metadata: {{a: b, old: null}}}}\n" for at in range(10))
    held = {f"thread/thread_{at}": {"a": "b"} for at in range(9)} | {"thread/thread_9": {"a": "b", "old": "x"}}
    rest = rest or "guards: {max_changed: 5%}\n"
    with staged(tmp_path, manifest, Api(held, {"thread": "replace"}), "writes: {thread: replace}", rest) as stage:
        done = stage.run(f"apply --yes --format json {flags}")
    assert done.code == code, done
    assert len(stage.api.bodies) == (1 if code == 0 else 0)
    if code:
        assert [each["code"] for each in done.document["errors"]] == ["guard_refused"]
        assert "%" in done.document["errors"][0]["message"]
        assert done.outcomes() == {"thread/thread_9": "not_attempted"}
