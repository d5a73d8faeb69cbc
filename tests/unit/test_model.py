"""The values everything speaks in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.dialects import AUTO, DIALECTS, MERGE
from reconciler.diff import Difference, Op, differences, equal
from reconciler.errors import (
    PRECEDENCE,
    ExitCode,
    Fault,
    InvalidInput,
    Location,
    Problem,
    ReconcilerError,
    worst,
)
from reconciler.kinds import BY_PLURAL, KINDS, OPENAI_HOST
from reconciler.model import (
    MAX_KEY,
    MAX_PAIRS,
    MAX_VALUE,
    NOTHING_APPLIED,
    Base,
    Ownership,
    Ref,
    frozen_map,
    matches,
    same,
)

scalars = st.text(max_size=3) | st.integers(-3, 3) | st.sampled_from([0.0, 1.0, 0.5]) | st.booleans()
maps = st.dictionaries(st.sampled_from(["a", "b", "__c", "d'e", 'f"g', "root['h']"]) | st.text(max_size=2), scalars)


def test_a_frozen_map_is_a_read_only_copy():
    pairs = {"a": "1"}
    frozen = frozen_map(pairs)
    pairs["a"] = "2"
    assert frozen == {"a": "1"}
    with pytest.raises(TypeError):
        frozen["a"] = "3"


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [(1, 1.0, True), (True, 1, False), (0, False, False), (True, True, True), ("1", 1, False), (None, None, True)],
)
def test_values_are_the_same_by_type_and_value(one, other, expected):
    assert same(one, other) is expected
    assert same(other, one) is expected


@pytest.mark.parametrize(
    ("name", "globs", "expected"),
    [
        ("runtime.load", ("runtime.*",), True),
        ("Runtime.load", ("runtime.*",), False),
        ("thread/parent/child", ("thread/*",), True),
        ("a", ("b", "?"), True),
        ("ab", ("[!a]b",), False),
        ("a\nb", ("a*",), True),
        ("a", (), False),
    ],
)
def test_globs_match_whole_names_case_sensitively(name, globs, expected):
    assert matches(name, globs) is expected


def test_references_sort_by_kind_then_id():
    assert str(Ref("thread", "a/b")) == "thread/a/b"
    assert min([Ref("thread", "a"), Ref("conversation", "z")]).kind == "conversation"


@given(maps, maps)
def test_differences_are_what_a_plain_comparison_finds(before, after):
    expected = []
    for key in sorted({*before, *after}):
        if key not in before:
            expected.append(Difference(key, Op.ADD, None, after[key]))
        elif key not in after:
            expected.append(Difference(key, Op.REMOVE, before[key], None))
        elif not same(before[key], after[key]):
            expected.append(Difference(key, Op.REPLACE, before[key], after[key]))
    assert list(differences(before, after)) == expected
    assert equal(before, after) is (not expected)


def test_an_observed_structure_differs_from_a_string_as_a_whole():
    (difference,) = differences({"a": {"deep": [1, 2]}}, {"a": "text"})
    assert difference == Difference("a", Op.REPLACE, {"deep": [1, 2]}, "text")


@pytest.mark.parametrize(
    ("base", "mentioned", "implied"),
    [
        (Base({"a": "1", "b": None}), "ab", ""),
        (Base({"a": "1"}, Ownership.EXCLUSIVE), "abcd", "abcd"),
        (Base({"a": "1"}, Ownership.EXCLUSIVE, ignore=("c", "a")), "abd", "bd"),
        (Base({"a": "1"}, Ownership.EXCLUSIVE, silent=frozenset("ad")), "abc", "abcd"),
        (Base({}, silent=frozenset("a")), "", ""),
        (NOTHING_APPLIED, "", ""),
    ],
    ids=["declared", "exclusive", "ignored", "silent", "nothing", "never applied"],
)
def test_a_base_speaks_of_what_it_names_and_under_exclusive_of_all_others(base, mentioned, implied):
    assert "".join(filter(base.mentions, "abcd")) == mentioned
    assert "".join(filter(base.implies, "abcd")) == implied


def test_a_base_knows_every_key_but_those_that_were_never_verified():
    assert Base({"a": "1"}, unknown=frozenset("b")).knows("a")
    assert Base({"a": "1"}, unknown=frozenset("b")).knows("c")
    assert not Base({"a": "1"}, unknown=frozenset("b")).knows("b")


def test_a_resource_of_which_nothing_is_known_was_never_seen_as_declared():
    assert NOTHING_APPLIED.verified
    assert Base({"a": None}, unknown=frozenset("b")).verified
    assert not Base({}, unknown=frozenset("b")).verified


def test_the_limits_are_those_of_the_api():
    assert (MAX_PAIRS, MAX_KEY, MAX_VALUE) == (16, 64, 512)


# --- kinds


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
def test_every_row_is_complete(kind):
    assert BY_PLURAL[kind.plural] is kind
    assert kind.path.startswith("/")
    assert kind.path.endswith("/{id}")
    assert kind.collection == kind.path[: -len("/{id}")]
    assert kind.nested == ("{parent}" in kind.path)
    assert not kind.nested or kind.path.startswith(KINDS[kind.parent].collection)
    assert kind.valid_id("p_1/c_1" if kind.nested else "x_1")
    assert not kind.valid_id("x_1" if kind.nested else "p_1/c_1")
    assert kind.noun
    assert (kind.retired is None) == (kind.successor is None)
    assert kind.successor is None or kind.successor in KINDS
    assert "{id}" in kind.not_found


@pytest.mark.parametrize("text", ["", ".", "..", "a b", "a/b", "ä", "a%2e", "a\n", "../x", "a?b", "a#b"])
def test_ids_that_could_leave_their_place_are_no_ids(text):
    assert not KINDS["thread"].valid_id(text)


@pytest.mark.parametrize("text", ["thread_abc123", "a", "...", "6f9619ff-8b86-d011-b42d-00cf4fc964ff", "a:b.c-d_e"])
def test_safe_ids_of_any_form_are_ids(text):
    assert KINDS["thread"].valid_id(text)


def test_a_rows_dialect_holds_only_where_it_is_confirmed():
    assert KINDS["thread"].default_dialect(OPENAI_HOST) is MERGE
    assert KINDS["thread"].default_dialect("threads.example") is AUTO
    assert KINDS["conversation"].default_dialect(OPENAI_HOST) is AUTO


def test_only_the_vendors_own_host_has_retired_anything():
    assert KINDS["thread"].retired_at(OPENAI_HOST)
    assert not KINDS["thread"].retired_at("threads.example")
    assert not KINDS["conversation"].retired_at(OPENAI_HOST)


def test_dialects_are_told_by_their_names():
    assert list(DIALECTS) == ["replace", "merge", "merge-null", "merge-empty", "auto"]


# --- errors


def test_each_exit_code_has_its_place_in_the_order():
    assert sorted(PRECEDENCE) == sorted(ExitCode)
    assert worst([]) is ExitCode.DONE
    assert worst([ExitCode.DIFFERENCES, ExitCode.ERROR, ExitCode.STALE]) is ExitCode.STALE
    assert worst([ExitCode.REFUSED, ExitCode.INTERRUPTED]) is ExitCode.INTERRUPTED


def test_problems_and_faults_read_as_sentences():
    assert str(Problem("x", "wrong", Location("a.yaml", 2, 3))) == "a.yaml:2:3: wrong"
    assert str(Problem("x", "wrong")) == "wrong"
    assert str(Fault("x", "wrong", 500, "req_1")) == "wrong (request req_1)"
    assert str(Fault("x", "wrong")) == "wrong"


def test_an_error_gives_the_entries_that_stand_for_it():
    first, second = Problem("a", "one"), Problem("b", "two")
    assert InvalidInput(first, second).problems() == (first, second)
    assert ReconcilerError("broken").problems() == (Problem("error", "broken"),)
