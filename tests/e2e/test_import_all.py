"""`import --all` pages through what a server lists; `orphans` lists what of it no manifest declares."""

import json
import signal
import stat
import subprocess

import pytest
from scratch import Answer, Api, Scratch, complaint, finished, staged, until

NOTHING = "threads: {}\n"
HELD = {
    **{f"thread/thread_{at}": {"customer": "acme" if at % 2 else "Acme", "n": str(at)} for at in range(5)},
    "message/thread_1/msg_1": {"a": "b"},
    "run/thread_2/run_1": {},
    "conversation/conv_1": {"topic": "a b"},
    "vector_store/vs_1": {"team": "x"},
    "vector_store_file/vs_1/file-1": {"n": 1, "flag": True, "text": "1"},
    "vault/vlt_1": {},
    "vault_credential/vlt_1/cred_1": {"a": "b"},
    "automation/auto_1": {"a": "b"},
}
LIST = "GET /v1/threads?limit=100&order=asc"


def files(stage):
    folder = stage.scratch.folder / "manifests"
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def crowd(number):
    return {f"thread/thread_{at:04}": {"n": str(at)} for at in range(number)}


# --- everything -------------------------------------------------------------------------------------------------------


def test_everything_that_is_listed_gets_into_a_manifest_per_kind_and_plans_to_nothing(tmp_path):
    with staged(tmp_path, NOTHING, Api(HELD)) as stage:
        kept = "version: 1\n# by hand\nthreads:\n  thread_3: {metadata: {n: '3', customer: acme}}  # mine\n"
        stage.scratch.write("manifests/threads.yaml", kept)
        done = stage.run("import --all")
        assert (done.code, done.out) == (0, ""), done
        assert "Imported 4 resources into manifests/threads.yaml." in done.err
        assert "1 resource is declared already, and left alone." in done.err
        assert files(stage) == [
            "automations.yaml", "conversations.yaml", "m.yaml", "messages.yaml", "runs.yaml", "threads.yaml",
            "vault_credentials.yaml", "vaults.yaml", "vector_store_files.yaml", "vector_stores.yaml",
        ]  # fmt: skip
        assert stage.scratch.read("manifests/threads.yaml").startswith(kept)
        assert "\n  vs_1/file-1:\n" in stage.scratch.read("manifests/vector_store_files.yaml")
        assert not any("GET /v1/threads/thread_" in call and "?" not in call for call in stage.api.told)
        plan = stage.run("plan --format json")
        assert (plan.code, plan.document["changes"], plan.document["summary"]["resources"]) == (0, [], len(HELD))
        before = {name: stage.scratch.read(f"manifests/{name}") for name in files(stage)}
        again = stage.run("import --all")
        assert (again.code, "13 resources are declared already" in again.err) == (0, True), again
        assert {name: stage.scratch.read(f"manifests/{name}") for name in files(stage)} == before
        assert not list((stage.scratch.folder / ".reconciler").glob("*.jsonl"))


def test_a_file_for_each_value_of_a_key_and_only_what_has_a_pair(tmp_path):
    with staged(tmp_path, NOTHING, Api({**HELD, "thread/thread_9": {"n": "9"}})) as stage:
        done = stage.run("import --all --kind thread --split-by customer --into manifests/by")
        assert done.code == 0, done
        other, upper, lower = files(stage)[:3]
        assert [other, lower] == ["by/_other.yaml", "by/acme.yaml"]
        assert upper.startswith("by/acme-")
        assert "thread_9" in stage.scratch.read("manifests/by/_other.yaml")
        assert stage.run("plan --detailed-exitcode").code == 0
        shown = stage.run("import --all --kind vector_store_file --kind conversation --where n=1 --into -")
        assert (shown.code, shown.out.splitlines()[:3]) == (
            0,
            ["version: 1", "vector_store_files:", "  vs_1/file-1:"],
        ), shown
        one = stage.run("import --all --kind message --below thread/thread_1 --into all.yaml")
        assert (one.code, "msg_1" in stage.scratch.read("all.yaml")) == (0, True)
        assert "all.yaml is not among the manifests" in one.err


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("import --all thread/thread_1", "leave out"),
        ("import --all --ids-from ids.txt", "leave out"),
        ("import thread/thread_1 --kind thread --fresh", "--kind and --fresh"),
        ("import --all --kind threads", "did you mean thread?"),
        ("import --all --into reconciler.yaml/deep", "no folder"),
        ("import --all --into reconciler.yaml", "is the settings file"),
        ("import thread/thread_1 --into reconciler.yaml", "is the settings file"),
        ("orphans --where x", "KEY=VALUE"),
    ],
)
def test_what_makes_no_sense_is_wrong_usage_before_any_call(line, says, tmp_path):
    with staged(tmp_path, NOTHING, Api(HELD)) as stage:
        done = stage.run(line)
        assert (done.code, done.out, stage.api.calls) == (64, "", []), done
        assert says in done.err


def test_what_nobody_can_list_at_a_place_is_told_before_any_call(tmp_path):
    scratch = Scratch(tmp_path)
    scratch.settings("https://api.openai.com/v1")
    for kind, says in [("thread", "retired"), ("conversation", "--ids-from")]:
        done = scratch.run(f"import --all --kind {kind}")
        assert (done.code, done.out) == (64, "")
        assert says in done.err


# --- servers of every sort --------------------------------------------------------------------------------------------

HOSTILE = [
    {"id": "thread_1", "object": "thread", "metadata": {"plan": "gold", "evil": "\x1b[31m::error::"}},
    {"id": "a\n::error::b", "metadata": {}},
    {"id": "\x1b]0;x\x07", "metadata": {}},
    {"id": "##[group]", "metadata": {}},
    {"id": "asst_1", "object": "assistant", "metadata": {}},
    {"id": "thread_2", "metadata": {"fine": "x", "k\x00": "v", "half": "\ud800", "number": 5}},
    {"id": "thread_1", "object": "thread", "metadata": {"plan": "twice"}},
    {"id": "thread_3"},
    None,
]


def test_odd_objects_are_told_and_passed_over_and_the_rest_is_imported(tmp_path):
    api = Api(
        {"thread/thread_3": {"by": "itself"}}, instead={LIST: [Answer(200, {"data": HOSTILE, "has_more": False})]}
    )
    with staged(tmp_path, NOTHING, api) as stage:
        done = stage.run("import --all --kind thread --verbose --color always")
        assert done.code == 1
        assert done.err.count("is passed over: ") == 5
        for each in ("\x1b]", "\x07", "\x1b[31m:", "\n::error::", "##[group]"):
            assert each not in done.err
        assert "Imported 3 resources into manifests/threads.yaml." in done.err
        text = stage.scratch.read("manifests/threads.yaml")
        assert [line for line in text.split("\n") if line.startswith("  thread_")] == [
            "  thread_1:",
            "  thread_2:",
            "  thread_3:",
        ]
        assert ["twice" in text, "by: itself" in text, "fine: x" in text] == [False, True, True]
        assert stage.run("validate").code == 0


def test_a_kind_that_a_server_does_not_list_is_passed_over_or_an_error_where_it_was_asked_for(tmp_path):
    api = Api(HELD, instead={LIST: [Answer(404, {"detail": "Not Found"})]})
    with staged(tmp_path, "threads: {thread_1: {metadata: {}}}\n", api) as stage:
        done = stage.run("import --all --kind message --kind thread --kind conversation")
        assert done.code == 1
        assert "The server does not list threads" in done.err
        assert "--ids-from" in done.err
        assert files(stage) == ["conversations.yaml", "m.yaml", "messages.yaml"], "declared threads have messages"
        rest = stage.run("orphans")
        assert (rest.code, "Not listed here, and passed over: threads" in rest.err) == (0, True), rest
        assert "vault/vlt_1" in rest.lines


def test_a_list_that_does_not_come_to_an_end_is_an_error(tmp_path):
    same = Answer(200, {"data": [{"id": "thread_1", "metadata": {}}], "has_more": True, "last_id": "thread_1"})
    api = Api(HELD, instead={LIST: [same], f"{LIST}&after=thread_1": [same]})
    with staged(tmp_path, NOTHING, api) as stage:
        done = stage.run("orphans --kind thread --kind conversation")
    assert (done.code, done.lines) == (1, ["conversation/conv_1", "thread/thread_1"])
    assert "does not come to an end" in done.err
    assert "The list is not complete." in done.err


@pytest.mark.parametrize("line", ["import --all --kind thread", "orphans --kind thread --detailed-exitcode"])
def test_a_server_that_refuses_us_ends_the_run(line, tmp_path):
    api = Api(HELD, instead={LIST: [complaint(401, "Incorrect API key provided")]})
    with staged(tmp_path, NOTHING, api) as stage:
        done = stage.run(line)
    assert (done.code, done.out, len(stage.api.calls)) == (7, "", 1)
    assert "Incorrect API key provided" in done.err
    assert files(stage) == ["m.yaml"]


# --- interrupted ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)], ids=["INT", "TERM", "KILL"]
)
def test_an_import_that_was_interrupted_goes_on_where_it_was(sent, code, tmp_path):
    api = Api(crowd(1000), lag={"GET": 0.05})
    with staged(tmp_path, NOTHING, api) as stage:
        if sent == signal.SIGTERM:
            stage.scratch.commit()
        process = stage.scratch.start("import --all --kind thread")
        until(lambda: len(api.calls) >= 4, "a few pages")
        process.send_signal(sent)
        done = finished(process)
        assert (done.code, files(stage)) == (code, ["m.yaml"]), done
        (spool,) = stage.scratch.folder.rglob("import-*.jsonl")
        assert spool.parent.name == ("test" if sent == signal.SIGTERM else ".reconciler")
        assert stat.S_IMODE(spool.stat().st_mode) == 0o600
        if sent == signal.SIGTERM:
            assert stage.scratch.git("status", "--porcelain") == ""
        first = [call for call in api.told if "&after=" in call]
        other = stage.run("import --all --kind thread --where n=7 --into -")
        assert (other.code, other.out.count("thread_")) == (0, 1), "another import begins at its own beginning"
        api.calls.clear()
        again = stage.run("import --all --kind thread")
        assert (again.code, "Going on where an interrupted import" in again.err) == (0, True), again
        assert len(api.calls) <= 9
        assert len({*first, *(call for call in api.told if "&after=" in call)}) == 9
        assert stage.scratch.read("manifests/threads.yaml").count("\n  thread_") == 1000
        assert not spool.exists()


def test_a_run_that_took_longer_than_its_limit_writes_nothing_and_the_next_one_goes_on(tmp_path):
    with staged(tmp_path, NOTHING, Api(crowd(800), lag={"GET": 0.35}), more="timeouts: {run: 2.5}") as stage:
        done = stage.run("import --all --kind thread")
        assert (done.code, "[timeout]" in done.err, files(stage)) == (1, True, ["m.yaml"]), done
        assert "No manifest was written" in done.err
        stage.scratch.settings(stage.url)
        assert stage.run("import --all --kind thread").code == 0
        assert stage.scratch.read("manifests/threads.yaml").count("\n  thread_") == 800
        assert len(stage.api.calls) <= 9


def test_where_nothing_at_all_is_listed_that_is_an_error_that_names_a_way_out(tmp_path):
    scratch = Scratch(tmp_path)
    with Api(judged=False).listening() as url:
        scratch.settings(f"{url}/nowhere")
        done = scratch.run("import --all")
        assert (done.code, done.out) == (1, "")
        assert "nothing can be listed here" in done.err
        assert "--ids-from" in done.err


def test_what_failed_is_tried_again_alone_and_fresh_begins_anew(tmp_path):
    page = f"{LIST}&after=thread_0099"
    api = Api(crowd(250), instead={page: [complaint(400, "no such luck"), complaint(400, "no such luck"), None]})
    with staged(tmp_path, NOTHING, api) as stage:
        done = stage.run("import --all --kind thread")
        assert (done.code, "no such luck" in done.err) == (1, True)
        assert stage.scratch.read("manifests/threads.yaml").count("\n  thread_") == 100
        assert "The same command tries again what failed" in done.err
        api.calls.clear()
        again = stage.run("import --all --kind thread")
        assert (again.code, len(api.calls)) == (0, 2), again
        assert stage.scratch.read("manifests/threads.yaml").count("\n  thread_") == 250


def test_a_list_that_breaks_off_with_not_found_is_not_complete_and_is_tried_again(tmp_path):
    page, gone = f"{LIST}&after=thread_0099", complaint(404, "No such cursor")
    api = Api(crowd(150), instead={page: [gone, gone, gone, gone, None]})
    with staged(tmp_path, NOTHING, api) as stage:
        shown = stage.run("orphans --kind thread --format json")
        assert (shown.code, shown.document["complete"], shown.document["summary"]["listed"]) == (1, False, 100)
        done = stage.run("import --all --kind thread")
        assert (done.code, "The list broke off" in done.err, "nothing to import" in done.err) == (1, True, False), done
        again = stage.run("import --all --kind thread")
        assert (again.code, "Imported 50 resources" in again.err) == (0, True), again


# --- orphans ----------------------------------------------------------------------------------------------------------


def test_orphans_are_one_name_a_line_which_import_takes(tmp_path):
    declared = "threads: {thread_1: {metadata: {}}, thread_77: {metadata: {}}}\n"
    with staged(tmp_path, declared, Api(HELD), more="mask: [topic]") as stage:
        done = stage.run("orphans --detailed-exitcode")
        assert (done.code, done.lines) == (2, sorted(HELD.keys() - {"thread/thread_1"}))
        assert f"{len(HELD) - 1} resources are declared nowhere." in done.err
        shown = stage.run("orphans --kind thread --kind conversation --select 'con*' --format json")
        assert (shown.code, shown.err.count("\n")) == (0, 1)
        assert shown.document["orphans"] == [
            {"kind": "conversation", "id": "conv_1", "metadata": {"topic": "***"}, "released": None}
        ]
        assert (shown.document["complete"], shown.document["summary"]["listed"]) == (True, 6)
        process = stage.scratch.start("import --ids-from - --into manifests/rest.yaml", stdin=subprocess.PIPE)
        process.stdin.write(done.out)
        process.stdin.close()
        process.stdin = None
        assert finished(process).code == 0
        rest = stage.run("orphans --detailed-exitcode --quiet")
        assert (rest.code, rest.out, rest.err) == (0, "", "")


def test_what_was_applied_once_is_told_from_what_never_was(tmp_path):
    with staged(tmp_path, "threads: {thread_1: {metadata: {n: '1'}}}\n", Api(HELD)) as stage:
        stage.scratch.commit()
        assert stage.run("apply --yes").code == 0
        stage.scratch.manifest("threads: {thread_2: {metadata: {n: '2'}}}\n")
        found = stage.run("orphans --kind thread --format json").document["orphans"]
        assert {each["id"]: each["released"] for each in found} == {
            "thread_0": False,
            "thread_1": True,
            "thread_3": False,
            "thread_4": False,
        }


def test_the_json_of_a_list_that_failed_says_that_it_is_not_complete(tmp_path):
    odd = {"data": [{"id": "a\x1b[31mb ##[group]x"}], "has_more": False}
    api = Api(HELD, instead={LIST: [Answer(200, odd)], "GET /v1/vaults?limit=100&order=asc": [complaint(403, "no")]})
    with staged(tmp_path, NOTHING, api) as stage:
        done = stage.run("orphans --format json")
    assert (done.code, done.document["complete"], done.document["exit_code"]) == (7, False, 7)
    assert sorted(each["code"] for each in done.document["errors"]) == ["forbidden", "odd_object"]
    assert done.document["summary"]["passed_over"] == 1
    assert ["\x1b" in done.out, "##[" in done.out, "\x1b[31mb" in done.err] == [False, False, False]
    assert json.loads(done.out)["orphans"]
