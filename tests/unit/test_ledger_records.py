"""What a ledger holds, as bytes and back."""

import json

import pytest

from reconciler.bases import Touched
from reconciler.ledger.records import (
    FORMAT,
    SHARD,
    Head,
    Malformed,
    Run,
    Server,
    bits_for,
    differing,
    dump_bases,
    dump_head,
    dump_run,
    dump_touched,
    laid_over,
    load_bases,
    load_head,
    load_run,
    load_touched,
    path_of,
    sharded,
    subject,
)
from reconciler.model import Base, Ownership, Ref

SERVER = Server("openai", "https://api.example.org/v1", None, "proj_1", "ops/reconciler.yaml")
RUN = Run("20261122T141037Z-1a2b3c", "apply", "2026-11-22T14:10:37Z", "A <a@example.org>", "c" * 40, False, "1.0")
ONE, TWO = Ref("thread", "thread_1"), Ref("message", "thread_1/msg_2")


def test_a_file_of_bases_has_a_line_for_each_resource_sorted_and_without_defaults():
    bases = {
        ONE: Base({"b": "é\u2028\x1b", "a": None}, commit="c" * 40),
        TWO: Base({}, Ownership.EXCLUSIVE, ("run.*",), True, frozenset({"y", "x"}), frozenset({"z"})),
        Ref("thread", "empty"): Base({}),
    }
    assert dump_bases(bases).decode("ascii").splitlines() == [
        "{",
        (
            '"message/thread_1/msg_2": {"ownership": "exclusive", "ignore": ["run.*"], "protect": true, '
            '"unknown": ["x", "y"], "silent": ["z"]},'
        ),
        '"thread/empty": {},',
        '"thread/thread_1": {"metadata": {"a": null, "b": "\\u00e9\\u2028\\u001b"}, "commit": "' + "c" * 40 + '"}',
        "}",
    ]
    assert load_bases(dump_bases(bases)) == bases
    assert load_bases(dump_bases(bases))[ONE].commit == "c" * 40


def test_truths_stay_truths_and_numbers_numbers():
    pairs = {"t": True, "one": 1, "float": 1.0, "text": "1"}
    again = load_bases(dump_bases({ONE: Base(pairs)}))[ONE].metadata
    assert {key: (type(value), value) for key, value in again.items()} == {
        key: (type(value), value) for key, value in pairs.items()
    }


def test_a_base_that_was_read_cannot_be_changed():
    with pytest.raises(TypeError):
        load_bases(dump_bases({ONE: Base({"a": "1"})}))[ONE].metadata["a"] = "2"


def test_before_images_keep_any_json():
    touched = {
        ONE: (
            Touched("a", {"deep": [1, True, None, "\ud800"]}, "x", owned=False),
            Touched("b", "x", None, owned=True),
            Touched("c", None, "x", owned=False),
        ),
        TWO: (),
    }
    assert load_touched(dump_touched(touched)) == touched
    assert json.loads(dump_touched(touched))["thread/thread_1"][1:] == [
        {"key": "b", "before": "x", "owned": True},
        {"key": "c", "after": "x"},
    ]


@pytest.mark.parametrize(
    "run",
    [
        RUN,
        Run("1", "rollback", "now", "\ud800\x1b", None, None, "", "0", {"applied": 2, "failed": 0}),
        Run("1", "apply", "now", "", None, True, ""),
    ],
)
def test_a_run_survives_without_its_before_images(run):
    assert load_run(dump_run(run)) == run
    touched = {ONE: (Touched("a", None, "1", owned=False),)}
    assert load_run(dump_run(run), touched).touched == touched


@pytest.mark.parametrize(
    ("kind", "outcomes", "said"),
    [
        ("apply", {"applied": 3}, "apply 1: 3 applied"),
        ("rollback", {"stale": 1, "applied": 2, "failed": 0}, "rollback 1: 2 applied, 1 stale"),
        ("forget", {}, "forget 1"),
        ("for\nget\x1b", {}, "for\\nget\\u001b 1"),
    ],
)
def test_the_subject_of_a_run_is_one_printable_line(kind, outcomes, said):
    assert subject(Run("1", kind, "now", "A", None, None, "", None, outcomes)) == said


@pytest.mark.parametrize("head", [Head(SERVER, "c" * 40, 3, 800), Head(Server("p", "u", None, None, None), None)])
def test_a_head_survives(head):
    assert load_head(dump_head(head)) == head


def test_servers_differ_by_name():
    assert differing(SERVER, SERVER) == ()
    other = Server("openai", "https://other.example.org/v1", "org", None, "ops/reconciler.yaml")
    assert differing(SERVER, other) == (
        "base_url was https://api.example.org/v1 and is https://other.example.org/v1",
        "organization was none and is org",
        "project was proj_1 and is none",
    )


# --- shards -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("resources", "before", "after"),
    [
        (0, 0, 0),
        (SHARD, 0, 0),
        (SHARD + 1, 0, 1),
        (SHARD * 2, 1, 1),
        (SHARD * 2 + 1, 1, 2),
        (100_000, 0, 9),
        (SHARD // 2, 1, 1),  # it shrinks only well below where it grew
        (SHARD // 2 - 1, 1, 0),
        (0, 9, 0),
        (SHARD, 2, 2),
        (SHARD - 1, 2, 1),
    ],
)
def test_the_number_of_files_follows_the_number_of_resources(resources, before, after):
    assert bits_for(resources, before) == after


def test_a_count_that_goes_to_and_fro_moves_no_shards():
    bits, changes = 0, 0
    for resources in [SHARD, SHARD + 1] * 5 + [SHARD // 2, SHARD // 2 - 1] * 5 + [SHARD, SHARD + 1] * 5:
        changes += bits_for(resources, bits) != bits
        bits = bits_for(resources, bits)
    assert changes == 3


@pytest.mark.parametrize(
    ("bits", "path"),
    [(0, "base/0.json"), (1, "base/1.json"), (4, "base/e.json"), (5, "base/1c.json"), (24, "base/e3db0e.json")],
)
def test_the_file_of_a_resource_never_changes(bits, path):
    assert path_of("base", Ref("thread", "thread_7"), bits) == path


def test_records_are_sorted_into_files():
    records = {Ref("thread", f"t{number}"): number for number in range(100)}
    files = sharded("run", records, 2)
    assert set(files) == {f"run/{shard}.json" for shard in range(4)}
    assert {ref: number for shard in files.values() for ref, number in shard.items()} == records


# --- what is no record ------------------------------------------------------------------------------------------------

HEAD = json.loads(dump_head(Head(SERVER, None)))


def changed(part, **changes):
    return json.dumps({**part, **changes}).encode()


@pytest.mark.parametrize(
    ("load", "raw", "said"),
    [
        (load_head, b"", "no record of ours"),
        (load_head, b"\xff", "no record of ours"),
        (load_head, b"[" * 100_000, "no record of ours"),
        (load_head, b"[]", "list where dict"),
        (load_head, b"{}", "has no format"),
        (load_head, changed(HEAD, format=FORMAT + 1), "is of format 2, and this reconciler knows 1: update"),
        (load_head, changed(HEAD, format=0), "never one of ours"),
        (load_head, changed(HEAD, format=True), "unusable format"),
        (load_head, changed(HEAD, server=None), "NoneType where dict"),
        (load_head, changed(HEAD, server={**HEAD["server"], "provider": None}), "unusable provider"),
        (load_head, changed(HEAD, applied=1), "unusable applied"),
        (load_head, changed(HEAD, bits=-1), "files"),
        (load_head, changed(HEAD, bits=25), "files"),
        (load_head, changed(HEAD, resources=-1), "files"),
        (load_run, b"{}", "has no id"),
        (load_run, changed(json.loads(dump_run(RUN)), dirty=0), "unusable dirty"),
        (load_run, changed(json.loads(dump_run(RUN)), outcomes={"applied": "1"}), "counts outcomes"),
        (load_run, changed(json.loads(dump_run(RUN)), outcomes=[]), "list where dict"),
        (load_bases, b'{"thread": {}}', "thread, which is no resource"),
        (load_bases, b'{"thread/a": []}', "no record of ours"),
        (load_bases, b'{"thread/a": {"metadata": []}}', "list where dict"),
        (load_bases, b'{"thread/a": {"metadata": {"k": []}}}', "no manifest can declare"),
        (load_bases, b'{"thread/a": {"ownership": "shared"}}', "no record of ours"),
        (load_bases, b'{"thread/a": {"protect": 1}}', "unusable protect"),
        (load_bases, b'{"thread/a": {"ignore": "x"}}', "unusable ignore"),
        (load_bases, b'{"thread/a": {"unknown": [1]}}', "unusable unknown"),
        (load_bases, b'{"thread/a": {"commit": 1}}', "unusable commit"),
        (load_touched, b'{"thread/a": {}}', "dict where list"),
        (load_touched, b'{"thread/a": [{}]}', "has no key"),
        (load_touched, b'{"thread/a": [{"key": "k", "owned": 1}]}', "unusable owned"),
    ],
)
def test_what_is_no_record_is_refused(load, raw, said):
    with pytest.raises(Malformed) as refused:
        load(raw)
    assert said in str(refused.value)


# --- two writers ------------------------------------------------------------------------------------------------------


def test_our_fields_are_laid_over_theirs_and_a_dispute_is_told():
    origin = {ONE: Base({"a": "0", "b": "0", "c": "0"}), TWO: Base({"k": "0"})}
    ours = {ONE: Base({"a": "1", "b": "0", "c": "1"})}
    theirs = {ONE: Base({"a": "0", "b": "2", "c": "2"}), TWO: Base({"k": "0"})}
    moved, disputed = laid_over([TWO, ONE], origin, ours, theirs)
    assert moved == {ONE: Base({"a": "1", "b": "2", "c": "1"}), TWO: None}
    assert disputed == ((ONE, "c"),)
