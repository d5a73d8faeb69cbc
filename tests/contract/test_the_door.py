"""One suite for every door to the API: the fake, the gateway over the embedded emulator, the gateway over a socket.

What holds for all of them is what the engine may rely on, and what the laws may trust the fake for. Whatever goes
through the last two is held against the published API (see `doors.py`).
"""

import pytest
from doors import ABSENT, DIALECTS, DOORS, REAL, REF, attempt, ref_of, through

from reconciler.dialects import MERGE, MERGE_EMPTY, MERGE_NULL, REPLACE
from reconciler.kinds import KINDS
from reconciler.model import Missing, Observed


@DOORS
def test_an_empty_object_reads_as_an_empty_map(door, tmp_path):
    assert through(door, MERGE, tmp_path, lambda api: api.fetch(REF)) == Observed({})


@DOORS
def test_an_unknown_id_is_missing(door, tmp_path):
    reading = through(door, MERGE, tmp_path, lambda api: api.fetch(ABSENT))
    assert isinstance(reading, Missing)
    assert (reading.fault.code, reading.fault.status) == ("missing", 404)


@DOORS
def test_writing_to_an_unknown_id_is_a_fault(door, tmp_path):
    assert through(door, MERGE, tmp_path, lambda api: attempt(api, ABSENT, {"a": "1"})) == ("missing", 404)


@DOORS
@DIALECTS
def test_the_answer_to_a_write_is_what_a_read_shows(door, dialect, tmp_path):
    async def work(api):
        answer = await api.modify(REF, {"a": "1", "b": "2"})
        return answer, await api.fetch(REF)

    answer, reading = through(door, dialect, tmp_path, work)
    assert answer == reading == Observed({"a": "1", "b": "2"})


@DOORS
@pytest.mark.parametrize(
    ("dialect", "expected"),
    [(REPLACE, {"b": "2"}), (MERGE, {"a": "1", "b": "2"}), (MERGE_NULL, {"a": "1", "b": "2"})],
    ids=["replace", "merge", "merge-null"],
)
def test_a_key_left_out_survives_unless_the_map_is_replaced(door, dialect, expected, tmp_path):
    async def work(api):
        await api.modify(REF, {"a": "1"})
        return await attempt(api, REF, {"b": "2"})

    assert through(door, dialect, tmp_path, work) == expected


@DOORS
@pytest.mark.parametrize(
    ("dialect", "expected"),
    [(REPLACE, ("rejected", 400)), (MERGE, ("rejected", 400)), (MERGE_NULL, {"b": "2"})],
    ids=["replace", "merge", "merge-null"],
)
def test_null_removes_under_one_dialect_and_is_rejected_under_others(door, dialect, expected, tmp_path):
    async def work(api):
        await api.modify(REF, {"a": "1", "b": "2"})
        return await attempt(api, REF, {"a": None})

    assert through(door, dialect, tmp_path, work) == expected


@DOORS
@pytest.mark.parametrize(
    ("dialect", "expected"),
    [(REPLACE, {"a": ""}), (MERGE, {"a": "", "b": "2"}), (MERGE_EMPTY, {"b": "2"})],
    ids=["replace", "merge", "merge-empty"],
)
def test_the_empty_string_is_a_value_except_where_it_removes(door, dialect, expected, tmp_path):
    async def work(api):
        await api.modify(REF, {"a": "1", "b": "2"})
        return await attempt(api, REF, {"a": ""})

    assert through(door, dialect, tmp_path, work) == expected


@DOORS
@DIALECTS
@pytest.mark.parametrize(
    "entries",
    [{f"k{index}": "1" for index in range(17)}, {"k" * 65: "1"}, {"k": "v" * 513}],
    ids=["17 pairs", "65 in a key", "513 in a value"],
)
def test_limits_are_kept(door, dialect, entries, tmp_path):
    assert through(door, dialect, tmp_path, lambda api: attempt(api, REF, entries)) == ("rejected", 400)


@DOORS
@DIALECTS
def test_the_limits_themselves_are_allowed(door, dialect, tmp_path):
    entries = {**{f"k{index}": "1" for index in range(14)}, "k" * 64: "1", "😀": "😀" * 512}
    assert through(door, dialect, tmp_path, lambda api: attempt(api, REF, entries)) == entries


@DOORS
@pytest.mark.parametrize("dialect", [MERGE, MERGE_NULL], ids=["merge", "merge-null"])
def test_pairs_are_counted_after_merging(door, dialect, tmp_path):
    async def work(api):
        await api.modify(REF, {f"k{index}": "1" for index in range(16)})
        return await attempt(api, REF, {"one_more": "1"}), await attempt(api, REF, {"k0": "2"})

    refused, allowed = through(door, dialect, tmp_path, work)
    assert refused == ("rejected", 400)
    assert allowed["k0"] == "2"


@DOORS
def test_values_arrive_byte_for_byte(door, tmp_path):
    entries = {
        "nfc é": "é",
        "nfd e\u0301": "e\u0301",
        "text": 'a\n\t"\\ \u2028\u0085\u202e😀',
        "base64": "H4sIAAAA+/==",
    }
    assert through(door, REPLACE, tmp_path, lambda api: attempt(api, REF, entries)) == entries


@REAL
def test_kinds_with_scalars_keep_their_types(door, tmp_path):
    ref = ref_of(KINDS["vector_store_file"])
    entries = {"number": 1, "fraction": 0.5, "flag": True, "text": "1"}
    answer = through(door, REPLACE, tmp_path, lambda api: attempt(api, ref, entries), refs=[ref])
    assert {key: (type(value), value) for key, value in answer.items()} == {
        key: (type(value), value) for key, value in entries.items()
    }
