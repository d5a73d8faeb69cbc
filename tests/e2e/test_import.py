"""`import` writes manifests for what exists: whatever it wrote, the next plan has nothing to do."""

import subprocess

import pytest
from scratch import Answer, Api, Scratch, complaint, finished, staged

from reconciler.model import MAX_KEY, MAX_PAIRS, MAX_VALUE

NOTHING = "threads: {}\n"
GOLD = {"plan": "gold", "team": "a b"}


@pytest.fixture
def empty(tmp_path):
    """Give a stage whose manifest declares nothing, and whose server has three threads and a conversation."""
    held = {f"thread/thread_{at}": GOLD for at in (1, 2, 3)} | {"conversation/conv_1": {"topic": "x"}}
    with staged(tmp_path, NOTHING, Api(held)) as stage:
        yield stage


def settled(stage):
    """Hold that a plan has nothing to do, and that an apply sends nothing and records it."""
    plan = stage.run("plan --format json")
    assert (plan.code, plan.document["changes"], plan.document["errors"]) == (0, [], []), plan
    stage.api.calls.clear()
    done = stage.run("apply --yes")
    assert (done.code, stage.api.sent("POST")) == (0, [])
    assert done.out.startswith("Nothing to do")
    return plan


# --- which resources --------------------------------------------------------------------------------------------------


def test_what_exists_is_written_into_a_new_file_and_plans_to_nothing(empty):
    done = empty.run("import thread/thread_2 conversation/conv_1 thread/thread_1 --into manifests/new.yaml")
    assert (done.code, done.out) == (0, "")
    assert "Imported 3 resources into manifests/new.yaml" in done.err
    assert sorted(empty.api.told) == [
        "GET /v1/conversations/conv_1",
        "GET /v1/threads/thread_1",
        "GET /v1/threads/thread_2",
    ]
    assert empty.scratch.read("manifests/new.yaml") == (
        "version: 1\n"
        "conversations:\n  conv_1:\n    metadata:\n      topic: x\n"
        'threads:\n  thread_1:\n    metadata:\n      plan: gold\n      team: "a b"\n'
        '  thread_2:\n    metadata:\n      plan: gold\n      team: "a b"\n'
    )
    assert settled(empty).document["summary"]["resources"] == 3


def test_ids_come_from_a_file_too_or_from_standard_input(empty):
    empty.scratch.write("ids.txt", "\ufeff# all of them\n\nthread/thread_1\r\n  thread/thread_2  \nthread/thread_1\n")
    assert empty.run("import --ids-from ids.txt conversation/conv_1 --into manifests/a.yaml").code == 0
    assert len(empty.api.calls) == 3, "an id that is named twice is read once"
    process = empty.scratch.start("import --ids-from - --into manifests/b.yaml", stdin=subprocess.PIPE)
    process.stdin.write("thread/thread_3\n")
    process.stdin.close()
    process.stdin = None
    done = finished(process)
    assert done.code == 0, done
    assert "thread_3" in empty.scratch.read("manifests/b.yaml")
    assert settled(empty).document["summary"]["resources"] == 4


def test_without_a_file_the_manifest_goes_to_standard_output_and_nothing_else_does(empty):
    done = empty.run("import thread/thread_1 thread/thread_2 thread/thread_9")
    assert done.code == 1
    assert "thread_9" in done.err
    assert "thread_9" not in done.out
    assert empty.run("import thread/thread_1 thread/thread_2 --into -").out == done.out
    empty.scratch.write("manifests/out.yaml", done.out)
    assert settled(empty).document["summary"]["resources"] == 2


def test_no_id_at_all_writes_nothing(empty):
    empty.scratch.write("ids.txt", "# none\n")
    done = empty.run("import --ids-from ids.txt --into manifests/new.yaml")
    assert (done.code, empty.api.calls) == (0, [])
    assert not (empty.scratch.folder / "manifests/new.yaml").exists()


def test_an_id_that_is_missing_is_told_and_the_rest_is_written(empty):
    done = empty.run("import thread/thread_1 thread/thread_9 --into manifests/new.yaml")
    assert done.code == 1
    assert "thread/thread_9" in done.err
    assert "[missing]" in done.err
    assert "Imported 1 resource into" in done.err
    assert settled(empty).document["summary"]["resources"] == 1
    alone = empty.run("import thread/thread_9 --into manifests/alone.yaml")
    assert alone.code == 1
    assert not (empty.scratch.folder / "manifests/alone.yaml").exists()


def test_what_is_declared_already_is_left_alone_and_told_with_its_place(empty):
    text = "version: 1\nthreads:\n  thread_1: {metadata: {plan: other}}  # mine\n"
    empty.scratch.write("manifests/mine.yaml", text)
    done = empty.run("import thread/thread_1 thread/thread_2 --into manifests/mine.yaml")
    assert done.code == 0
    assert "thread/thread_1 is declared already, at manifests/mine.yaml:3:3" in done.err
    assert empty.api.told == ["GET /v1/threads/thread_2"]
    now = empty.scratch.read("manifests/mine.yaml")
    assert now.startswith(text)
    assert "thread_2" in now[len(text) :]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("import", "KIND/ID"),
        ("import thing/x", "thing"),
        ("import threads/thread_1", "thread"),
        ("import thread_1", "KIND/ID"),
        ("import thread/", "thread"),
        ("import thread/..", "thread"),
        ("import thread/a/b", "a/b"),
        ("import 'thread/a b'", "a b"),
        ("import message/msg_1", "msg_1"),
        ("import thread/thread_1 thing/x", "thing"),
        ("import --ids-from nowhere", "nowhere"),
    ],
)
def test_what_names_nothing_is_wrong_usage_before_any_call(line, says, empty):
    done = empty.run(line)
    assert (done.code, done.out) == (64, ""), done
    assert says in done.err
    assert empty.api.calls == []


def test_a_folder_is_no_file_to_write_into(empty):
    done = empty.run("import thread/thread_1 --into manifests")
    assert done.code == 64
    assert "manifests" in done.err


@pytest.mark.parametrize(("status", "code"), [(401, 7), (400, 1)])
def test_what_cannot_be_read_is_told_and_not_written(status, code, tmp_path):
    api = Api({"thread/thread_1": GOLD}, instead={"GET /v1/threads/thread_1": [complaint(status, "no such luck")]})
    with staged(tmp_path, NOTHING, api) as stage:
        done = stage.run("import thread/thread_1 --into manifests/new.yaml")
    assert done.code == code
    assert "no such luck" in done.err
    assert not (stage.scratch.folder / "manifests/new.yaml").exists()


def test_manifests_that_are_invalid_stop_an_import_before_any_call(empty):
    text = "version: 1\nthreads: {thread_9: {metadata: {a: 1}}}\n"
    empty.scratch.write("manifests/bad.yaml", text)
    done = empty.run("import thread/thread_1 --into manifests/bad.yaml")
    assert (done.code, empty.api.calls) == (3, [])
    assert "manifests/bad.yaml:2:" in done.err
    assert empty.scratch.read("manifests/bad.yaml") == text


# --- extending a file -------------------------------------------------------------------------------------------------

EXISTING = """\
# ours
version: 1
defaults:
    ownership: {ownership}
    ignore: ["runtime.*"]
    metadata: {{team: support, region: eu}}   # for all
threads:
    thread_0:     # the first
        metadata: {{'plan': 'gold'}}

conversations: {{}}
# the end"""


@pytest.mark.parametrize("ownership", ["declared", "exclusive"])
def test_a_file_with_defaults_is_extended_so_that_nothing_is_left_to_do(ownership, tmp_path):
    held = {
        "thread/thread_0": {"plan": "gold", "team": "support", "region": "eu"},
        "thread/thread_1": {"plan": "gold", "team": "support", "region": "eu", "runtime.at": "now"},
        "thread/thread_2": {"team": "sales", "note": "x", "runtime.odd": {"deep": 1}},
        "thread/thread_3": {},
        "conversation/conv_1": {"region": "us"},
    }
    with staged(tmp_path, NOTHING, Api(held)) as stage:
        text = EXISTING.format(ownership=ownership)
        stage.scratch.write("manifests/m.yaml", text)
        names = " ".join(name for name in held if name != "thread/thread_0")
        done = stage.run(f"import {names} --into manifests/m.yaml")
        assert done.code == 0, done
        now = stage.scratch.read("manifests/m.yaml")
        lines = now.split("\n")
        assert [line for line in text.split("\n") if line not in lines] in ([], ["conversations: {}"])
        assert "runtime.at" not in now
        assert not now.endswith("\n")
        assert settled(stage).document["summary"]["resources"] == 5
        for name, pairs in held.items():
            assert stage.api.held(name) == pairs


def test_line_ends_of_a_file_that_is_extended_survive(empty):
    path = empty.scratch.folder / "manifests/w.yaml"
    text = b"version: 1\r\nthreads:\r\n  thread_1:\r\n    metadata: {plan: gold}\r\n"
    path.write_bytes(text)
    assert empty.run("import thread/thread_2 --into manifests/w.yaml").code == 0
    now = path.read_bytes()
    assert now.startswith(text)
    assert now.count(b"\n") == now.count(b"\r\n")
    assert settled(empty)


def test_what_is_outside_of_the_manifests_is_written_and_told(empty):
    done = empty.run("import thread/thread_1 --into elsewhere.yaml")
    assert done.code == 0
    assert "elsewhere.yaml is not among the manifests of target test" in done.err
    again = empty.run("import thread/thread_1 --into elsewhere.yaml")
    assert again.code == 1, "it is declared there already"
    assert "declared already" in again.err


def test_a_first_import_begins_a_project(tmp_path):
    api = Api({"thread/thread_1": GOLD})
    scratch = Scratch(tmp_path)
    with api.listening() as url:
        scratch.settings(url)
        done = scratch.run("import thread/thread_1 --into manifests/deep/first.yaml")
        assert done.code == 0, done
        assert scratch.run("plan --detailed-exitcode").code == 0


# --- whatever the strings are -----------------------------------------------------------------------------------------

NASTY = [
    "", " ", "  a  ", "null", "Null", "~", "true", "yes", "No", "on", "y", "007", "0o7", "0x1F", "1e3", "-1", "+.5",
    "1_000", ".inf", "-.INF", ".nan", "2024-01-01", "2024-01-01T12:30:45Z", "12:30:45", "1:2", "<<", "=", "*a", "&a",
    "!a", "!!str a", "%YAML 1.2", "@a", "`a`", "# a", "a #b", "a: b", "a:", ":", "- a", "-", "--- a", "---", "...",
    "? a", "?", "|", ">-", "[a]", "{a: b}", "{", "]", ",", "a, b", "'", '"', "it's", '"quoted"', "'quoted'", "\\",
    "\\n", "a\\", "C:\\x\\u0041", "a\nb", "a\nb\n", "\n", "\n\n", "a\n\n", " \na", "a\n b", "\ta", "a\tb\t", "a\rb",
    "a\r\nb", "\r", "\x07", "\x1b[31m", "\x7f", "\x85", "\xa0", "\xad", "\u200b", "\u2028", "\u2029", "\u202e",
    "\ufeff", "\ufffd", "\ufffe", "\uffff", "\ue000", "é", "e\u0301", "ﬁ", "日本語", "😀", "\U0010ffff", "\U000e0001",
    "::error::boo", "<script>", "$HOME", "${{ x }}", "%s", "https://x/y?z=1#w", "a@b.example", '{"json": [1, "x"]}',
    "x" * MAX_VALUE, "\n" * MAX_VALUE, "😀" * MAX_VALUE, '"' * MAX_VALUE, "a " * (MAX_VALUE // 2),
    "version: 1\nthreads: {}\n",
]  # fmt: skip
NASTY_KEYS = [each for each in NASTY if 0 < len(each) <= MAX_KEY] + ["x" * MAX_KEY, "😀" * MAX_KEY]


def crowd(pairs):
    """Return threads that hold these pairs, as many on each as there may be."""
    chunks = [pairs[at : at + MAX_PAIRS] for at in range(0, len(pairs), MAX_PAIRS)]
    return {f"thread/thread_{at}": dict(chunk) for at, chunk in enumerate(chunks)}


@pytest.mark.parametrize("into", ["manifests/new.yaml", "manifests/old.yaml", "standard output"])
def test_whatever_the_strings_are_the_next_plan_has_nothing_to_do(into, tmp_path):
    pairs = [(f"k{at}", value) for at, value in enumerate(NASTY)] + [(key, key) for key in NASTY_KEYS]
    held = crowd(pairs)
    with staged(tmp_path, NOTHING, Api(held)) as stage:
        stage.scratch.write(
            "manifests/old.yaml", "version: 1\nthreads: {thread_x: {}}\ndefaults: {ownership: exclusive}\n"
        )
        stage.api.put("thread/thread_x", {})
        if into == "standard output":
            done = stage.run(f"import {' '.join(held)}", {"PYTHONIOENCODING": "ascii"})
            stage.scratch.write("manifests/new.yaml", done.out)
        else:
            done = stage.run(f"import {' '.join(held)} --into {into}")
        assert done.code == 0, done.err
        assert settled(stage).document["summary"]["resources"] == len(held) + 1
        assert {name: stage.api.held(name) for name in held} == held


def test_what_no_manifest_may_hold_is_told_and_stays_foreign(tmp_path):
    pairs = {"nul": "a\x00", "half": "\ud83d", "number": 7, "flag": True, "map": {"a": "b"}, "fine": "x", "k\x00": "v"}
    there = Answer(200, {"id": "thread_1", "object": "thread", "created_at": 1, "metadata": {**pairs, "none": None}})
    with staged(tmp_path, NOTHING, Api(instead={"GET /v1/threads/thread_1": [there]})) as stage:
        done = stage.run("import thread/thread_1 --into manifests/new.yaml")
        assert done.code == 1
        assert done.err.count("[not_imported]") == len(pairs) - 1
        assert stage.scratch.read("manifests/new.yaml") == (
            "version: 1\nthreads:\n  thread_1:\n    metadata:\n      fine: x\n"
        )
        settled(stage)


def test_what_no_manifest_may_hold_is_not_left_to_be_removed_by_one_that_owns_every_key(tmp_path):
    with staged(tmp_path, NOTHING, Api({"thread/thread_1": {"number": 7, "fine": "x"}})) as stage:
        text = "version: 1\ndefaults: {ownership: exclusive}\n"
        stage.scratch.write("manifests/m.yaml", text)
        done = stage.run("import thread/thread_1 --into manifests/m.yaml")
        assert (done.code, stage.scratch.read("manifests/m.yaml")) == (1, text)
        assert "[not_imported]" in done.err


# --- kinds ------------------------------------------------------------------------------------------------------------


def test_a_kind_below_a_parent_is_written_with_its_parent(tmp_path):
    held = {"message/thread_1/msg_1": {"a": "b"}, "run/thread_1/run_1": {"a": "c"}}
    with staged(tmp_path, NOTHING, Api(held)) as stage:
        assert stage.run(f"import {' '.join(held)} --into manifests/new.yaml").code == 0
        assert "\n  thread_1/msg_1:\n" in stage.scratch.read("manifests/new.yaml")
        assert settled(stage).document["summary"]["resources"] == 2


def test_numbers_and_booleans_are_values_where_the_kind_has_them(tmp_path):
    attributes = {
        "flag": True, "off": False, "one": 1, "zero": 0, "price": 12.5, "small": 1e-9, "large": 2**53, "minus": -3,
        "text": "1", "word": "true", "float": 1.0,
    }  # fmt: skip
    with staged(tmp_path, NOTHING, Api({"vector_store_file/vs_1/file-1": attributes})) as stage:
        assert stage.run("import vector_store_file/vs_1/file-1 --into manifests/new.yaml").code == 0
        text = stage.scratch.read("manifests/new.yaml")
        for line in ("flag: true", "one: 1", 'text: "1"', 'word: "true"', "price: 12.5"):
            assert f"      {line}\n" in text
        settled(stage)
        assert stage.api.held("vector_store_file/vs_1/file-1") == attributes
        stage.api.put("vector_store_file/vs_1/file-1", {**attributes, "one": True})
        assert stage.run("plan --detailed-exitcode").code == 2, "a boolean is no number"


# --- where it runs ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["manifests/two 'words' ü.yaml", "manifests/-dash #[x].yml"])
def test_a_file_of_an_unusual_name_is_written_and_extended(name, empty):
    for id_ in ("thread_1", "thread_2"):
        assert empty.run(f'import thread/{id_} --into "{name}"').code == 0
    assert empty.scratch.read(name).count("thread_") == 2
    empty.scratch.commit()
    assert settled(empty).document["summary"]["resources"] == 2
    assert empty.run("drift").code == 0


def test_paths_are_relative_to_the_folder_of_the_run(empty):
    empty.scratch.write("manifests/deep/.keep", "")
    empty.scratch.commit()
    assert empty.run("import thread/thread_1 --into one.yaml -C manifests/deep").code == 0
    assert "thread_1" in empty.scratch.read("manifests/deep/one.yaml")
    settled(empty)
