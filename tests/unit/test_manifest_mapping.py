"""Mapping files: what takes the place of what, from CSV and YAML, and every problem with its place."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.manifest.mapping import read_mapping
from reconciler.model import Ref

A, B = Ref("thread", "a"), Ref("conversation", "b")
C, D = Ref("message", "a/m"), Ref("conversation", "d")
BOTH = {A: B, C: D}


def refs(text, file="m.csv", **kinds):
    mapping = read_mapping(text if isinstance(text, bytes) else text.encode(), file, **kinds)
    assert mapping.problems == ()
    return {row.old: row.new for row in mapping.rows}


def told(text, file="m.csv", **kinds):
    """The problems as `line:column code`."""
    mapping = read_mapping(text if isinstance(text, bytes) else text.encode(), file, **kinds)
    return [f"{one.location.line}:{one.location.column} {one.code}" for one in mapping.problems]


SAME = {
    "with a header": "old,new\nthread/a,conversation/b\nmessage/a/m,conversation/d\n",
    "without a header": "thread/a,conversation/b\nmessage/a/m,conversation/d\n",
    "with a byte order mark and CRLF": "\ufeffOld,New\r\nthread/a,conversation/b\r\nmessage/a/m,conversation/d\r\n",
    "with semicolons, and without a last line break": "old;new\nthread/a;conversation/b\nmessage/a/m;conversation/d",
    "with tabs": "thread/a\tconversation/b\nmessage/a/m\tconversation/d\n",
    "in quotes, with spaces": '"thread/a" , "conversation/b"\n message/a/m,  "conversation/d"\n',
    "with comments": "# moved\n\nold,new\n # why\nthread/a,conversation/b\n,\nmessage/a/m,conversation/d",
    "with other columns": 'n,new,x,old\n1,conversation/b,"a\n""b""",thread/a\n2,conversation/d,,message/a/m\n',
    "with empty columns at the end": "thread/a,conversation/b,,\nmessage/a/m,conversation/d,,\n",
}


@pytest.mark.parametrize("text", SAME.values(), ids=SAME)
def test_csv_says_the_same_however_it_is_written(text):
    assert refs(text) == BOTH
    assert refs(text, "<stdin>") == BOTH


YAML = {
    "a map": "thread/a: conversation/b\nmessage/a/m: conversation/d\n",
    "with comments and quotes": "# moved\n\"thread/a\": 'conversation/b'  # why\nmessage/a/m: conversation/d\n",
    "in braces": "{thread/a: conversation/b, message/a/m: conversation/d}\n",
    "as JSON": '{"thread/a": "conversation/b",\n "message/a/m": "conversation/d"}\n',
    "behind a marker": "---\nthread/a: conversation/b\nmessage/a/m: conversation/d\n",
}


@pytest.mark.parametrize("text", YAML.values(), ids=YAML)
def test_yaml_says_the_same_however_it_is_written(text):
    assert refs(text, "m.yaml") == BOTH
    assert refs(text, "<stdin>") == BOTH


def test_ids_alone_are_of_the_kinds_that_are_told():
    kinds = {"old_kind": "thread", "new_kind": "conversation"}
    assert refs("a,b\nmessage/a/m,d\n", **kinds) == BOTH
    assert refs("a: b\nmessage/a/m: conversation/d\n", "m.yaml", **kinds) == BOTH
    assert refs("a/m,b\n", old_kind="message", new_kind="conversation") == {C: B}
    assert told("123: b\n", "m.yaml", **kinds) == ["1:1 not_a_string"]


def test_a_swap_and_a_chain_are_in_order():
    assert refs("thread/a,thread/b\nthread/b,thread/a\n") == {A: Ref("thread", "b"), Ref("thread", "b"): A}
    assert len(refs("thread/a,thread/b\nthread/b,thread/c\n")) == 2


@pytest.mark.parametrize("file", ["m.csv", "m.yaml", "<stdin>"])
def test_a_mapping_may_be_empty(file):
    assert refs("# nothing\n", file) == {}


WRONG = {
    "an unknown kind": ("tread/a,conversation/b\n", ["1:1 unknown_kind"]),
    "malformed ids": ("thread/..,conversation/a/b\n", ["1:1 bad_id", "1:11 bad_id"]),
    "an endless id": (f"thread/a,conversation/{'x' * 1001}\n", ["1:10 bad_id"]),
    "no kind": ("old,new\na,conversation/b\n", ["2:1 bad_reference"]),
    "twice the same old one": ("thread/a,vault/b\nthread/a,vault/c\n", ["2:1 mapped_twice"]),
    "twice the same new one": ("thread/a,vault/b\n thread/c , vault/b\n", ["2:13 mapped_twice"]),
    "old is new": ("thread/a,thread/a\n", ["1:1 same_reference"]),
    "one column": ("thread/a,vault/b\nthread/c\n", ["2:1 bad_csv"]),
    "three columns": ("thread/a,vault/b,x\n", ["1:1 bad_csv"]),
    "an open quote hides the rest": ('thread/a,"vault/b\nthread/a,thread/a\n', ["1:10 bad_csv"]),
    "a quote inside": ('thread/a,va"ult/b\n', ["1:10 unknown_kind"]),
    "behind a field of two lines": ('old,new,x\nthread/a,vault/b,"1\n2"\nthread/..,vault/c,\n', ["4:1 bad_id"]),
    "no UTF-8": (b"thread/a,vault/b\nthread/\xff,vault/c\n", ["2:8 invalid_utf8"]),
    "hostile": (
        "\x1b[31m::error::/a,\u202e##[group]x/\ud800b\n".encode("utf-8", "replace"),
        ["1:1 unknown_kind", "1:18 unknown_kind"],
    ),
}


@pytest.mark.parametrize(("text", "problems"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_with_csv_is_told_with_its_place(text, problems):
    assert told(text) == problems


WRONG_YAML = {
    "a list": ("- thread/a\n", ["1:1 not_a_mapping"]),
    "a text": ("thread/a\n", ["1:1 not_a_mapping"]),
    "no new one": ("thread/a:\nthread/b: null\n", ["1:10 not_a_string", "2:11 not_a_string"]),
    "a map for a new one": ("thread/a: {x: y}\nthread/b: [c]\n", ["1:11 not_a_string", "2:11 not_a_string"]),
    "a number for a new one": ("thread/a: 12\n", ["1:11 not_a_string"]),
    "twice": ("thread/a: vault/b\nthread/a: vault/c\n", ["2:1 mapped_twice"]),
    "a tag": ("thread/a: !!python/object vault/b\n", ["1:11 yaml_tag"]),
    "a second document": ("thread/a: vault/b\n---\n{}\n", ["2:1 second_document"]),
    "a cycle": ("thread/a: &x [*x]\n", ["1:15 alias_cycle"]),
    "an unknown alias": ("thread/a: *x\n", ["1:11 yaml_syntax"]),
    "broken": ("thread/a: vault/b\nthread/..: [\n", ["2:1 bad_id", "3:1 yaml_syntax"]),
}


@pytest.mark.parametrize(("text", "problems"), WRONG_YAML.values(), ids=WRONG_YAML)
def test_what_is_wrong_with_yaml_is_told_with_its_place(text, problems):
    found = told(text, "m.yaml")
    assert set(problems) - {"2:1 bad_id"} <= set(found)
    assert len(found) <= len(problems)


def test_an_alias_is_as_good_as_what_it_names():
    assert refs("thread/a: &x conversation/b\n", "m.yaml") == {A: B}
    assert told("thread/a: &x vault/b\nthread/b: *x\n", "m.yaml") == ["2:11 mapped_twice"]


def test_every_problem_of_a_file_is_told_at_once():
    text = "tread/a,x/b\nthread/a,vault/b,c\nthread/a,thread/a\nthread/b,vault/b\nthread/b,vault/b\n"
    places = ["1:1 unknown_kind", "1:9 unknown_kind", "2:1 bad_csv", "3:1 same_reference", "5:1 mapped_twice"]
    assert told(text) == places


pieces = st.sampled_from(
    ["thread/a", "vault/b", "old", "new", ",", ";", "\t", '"', '""', "\n", "\r", " ", "#", ": ", "{", "*x"]
)


@settings(max_examples=100)
@given(
    st.binary(max_size=30) | st.lists(pieces, max_size=12).map(lambda some: "".join(some).encode()),
    st.sampled_from(["m.csv", "m.yaml", "-"]),
    st.sampled_from([None, "thread", "message"]),
)
def test_nothing_in_a_mapping_raises_and_every_problem_lies_in_the_file(data, file, kind):
    mapping = read_mapping(data, file, old_kind=kind, new_kind=kind)
    lines = len(data.splitlines()) + 2
    assert all(one.location.file == file and 1 <= one.location.line <= lines for one in mapping.problems)
    if not mapping.problems:
        assert len(mapping.rows) == len({row.old for row in mapping.rows}) == len({row.new for row in mapping.rows})
