"""Bytes to a tree: what arrives, what is refused, and where."""

from __future__ import annotations

import datetime as dt
import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reconciler.errors import Location
from reconciler.manifest import reader
from reconciler.manifest.reader import MAX_DEPTH, read
from reconciler.manifest.tree import Map, Seq, Unclear, YamlFile


def problems(document: YamlFile) -> list[tuple[str, int, int]]:
    return [(found.code, found.location.line, found.location.column) for found in document.problems]


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        pytest.param("a: yes\nb: on\nc: NO\nd: off", {"a": "yes", "b": "on", "c": "NO", "d": "off"}, id="yes"),
        pytest.param("a: 12:30:45", {"a": "12:30:45"}, id="no base 60"),
        pytest.param("[1, -2, +3, 0]", [1, -2, 3, 0], id="integers"),
        pytest.param("[1.5, 1e3, -0.5]", [1.5, 1000.0, -0.5], id="floats"),
        pytest.param("[true, False, null, ~, Null]", [True, False, None, None, None], id="words"),
        pytest.param("a:\nb: ''", {"a": None, "b": ""}, id="nothing is null, quotes are empty"),
        pytest.param("[2026-01-31]", [dt.date(2026, 1, 31)], id="date"),
        pytest.param("[_, +, ., .., =, v1, 1.2.3, 1e, 0x, '5', \"true\"]",
                     ["_", "+", ".", "..", "=", "v1", "1.2.3", "1e", "0x", "5", "true"], id="strings that look odd"),
        pytest.param("a: |\n  x\n  y\nb: >-\n  x\n  y\n", {"a": "x\ny\n", "b": "x y"}, id="blocks"),
        pytest.param("{url: https://x}", {"url": "https://x"}, id="a colon inside braces"),
        pytest.param("{t: 12:30:45}", {"t": "12:30:45"}, id="colons inside braces"),
        pytest.param("{a: b?c=d}", {"a": "b?c=d"}, id="a question mark inside braces"),
        pytest.param("[:x]", [":x"], id="a colon first"),
        pytest.param("- &a.b x\n- *a.b", ["x", "x"], id="a dot in an anchor"),
        pytest.param(r'["\ud83d\ude00"]', ["😀"], id="a surrogate pair"),
        pytest.param(r'["\ud83d\ude00", &a 5, *a, {"k": 1}]', ["😀", 5, 5, {"k": 1}], id="the slow parser, more"),
        pytest.param('["\\N\\L\\P\\_\\e"]', ["\x85\u2028\u2029\xa0\x1b"], id="escapes of YAML"),
        pytest.param("\ufeffa: b", {"a": "b"}, id="byte order mark"),
        pytest.param("%YAML 1.2\n---\na: yes\n", {"a": "yes"}, id="directive of today"),
        pytest.param("# x\n\n%YAML 1.2 # y\n---\na: b\n...\n", {"a": "b"}, id="directive behind a comment"),
        pytest.param("a: &x [1, {b: c}]\nd: *x", {"a": [1, {"b": "c"}], "d": [1, {"b": "c"}]}, id="alias"),
        pytest.param("a: &x b\n*x : c", {"a": "b", "b": "c"}, id="an alias as a key"),
        pytest.param("- &x 1\n- *x\n- &x 2\n- *x", [1, 1, 2, 2], id="an anchor that moves"),
        pytest.param("- &m {a: 1, b: 2}\n- {<<: *m, b: own}", [{"a": 1, "b": 2}, {"b": "own", "a": 1}], id="merge"),
        pytest.param("- &m {a: 1}\n- &n {a: 2, c: 3}\n- {<<: [*m, *n]}",
                     [{"a": 1}, {"a": 2, "c": 3}, {"a": 1, "c": 3}], id="merge of a list"),
        pytest.param("{\"<<\": x, '<<a': y}", {"<<": "x", "<<a": "y"}, id="a quoted merge key is a key"),
        pytest.param("", None, id="empty"),
        pytest.param("# only a comment", None, id="comment"),
        pytest.param("---\n...\n", None, id="empty document"),
    ],
)  # fmt: skip
def test_reads_what_yaml_1_2_says(text: str, tree: object) -> None:
    document = read(text.encode(), "f")
    assert (document.problems, document.readable, document.root) == ([], True, tree)


@pytest.mark.parametrize(
    "number", ["007", "1_000", "0x1F", "0o17", "0b1", ".5", "5.", ".inf", "-.INF", ".nan", "1e999", "9" * 5000]
)
def test_a_number_that_readers_disagree_on_stays_what_was_written(number: str) -> None:
    assert read(f"[{number}]".encode(), "f").root == [Unclear(number)]


@pytest.mark.parametrize("date", ["2024-13-01", "2024-01-01T10:00:00Z", "2024-1-1 1:00:00.5 +01:00"])
def test_a_date_that_is_no_day_stays_what_was_written(date: str) -> None:
    assert read(f"- {date}".encode(), "f").root == [Unclear(date)]


_CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
_SHORT = st.text(_CHARACTERS, max_size=64)  # a key cannot be written with more than 1024 characters
_TEXT = st.text(_CHARACTERS)
_ODD = st.text(
    max_size=64, alphabet=st.sampled_from("\x85\u2028\u2029\ufeff\ue000\ue001 \t\r\n\\\"'!&*{}[]:#%😀aé\x07\x7f\ufffe")
)


def _quoted(text: str, escape: str = "\x85\u2028\u2029") -> str:
    """Write `text` in double quotes; what YAML forbids, line breaks and `escape` become escapes."""
    out = []
    for char in text:
        plain = char.isprintable() or (char in "\x85\u2028\u2029\ufeff" and char not in escape)
        out.append(char if plain and char not in '"\\' else f"\\U{ord(char):08x}")
    return f'"{"".join(out)}"'


@given(st.dictionaries(_SHORT | _ODD, _TEXT | _ODD))
@example({"\ue000\u2028": "\x85\ue001", "\ufeff": "\u2029 "})
def test_what_is_quoted_arrives_byte_for_byte(pairs: dict[str, str]) -> None:
    for escape in ("", "\x85\u2028\u2029\ufeff"):
        lines = "".join(f"{_quoted(key, escape)}: {_quoted(value, escape)}\n" for key, value in pairs.items())
        document = read(lines.encode() or b"{}", "f")
        assert (document.problems, document.root) == ([], pairs)


@given(st.dictionaries(_SHORT, _TEXT | _ODD))
def test_json_is_read_as_it_is(pairs: dict[str, str]) -> None:
    document = read(json.dumps({"x": pairs, "y": [pairs]}).encode(), "f")
    assert (document.problems, document.root) == ([], {"x": pairs, "y": [pairs]})


@given(st.binary() | st.text(st.sampled_from("ab01.:-?,[]{}&*!|>'\"%@`\\#~<= \t\r\n\x85\u2028😀")).map(str.encode))
@example(b"\xff\xfea\0")
@example(b'{a: b?c, "\\ud83d": ')
@example(b'["\\ud83d", "\\UFFFFFFFF"]')
@example(b"%")
@example(b"%FOO")
@example(b"...\n%YAML 1.2\n---\n")
@example(b"&a : *a")
def test_no_bytes_make_the_reader_raise(data: bytes) -> None:
    document = read(data, "f")
    assert document.readable or document.problems


@given(st.text(st.sampled_from("ab: -?,[]{}&*!'\"\\\n")))
def test_places_are_inside_the_text(text: str) -> None:
    lines = text.split("\n")
    for line, column in ((found.location.line, found.location.column) for found in read(text.encode(), "f").problems):
        assert 1 <= line <= len(lines)
        assert 1 <= column <= len(lines[line - 1]) + 1


@pytest.mark.parametrize(
    ("data", "expected", "words"),
    [
        pytest.param("ä: \n b".encode() + b"\xff", ("invalid_utf8", 2, 3), "save the file as UTF-8", id="bad byte"),
        pytest.param("\ufeffaé\r\nb\rc".encode() + b"\xc3", ("invalid_utf8", 3, 2), "0xc3", id="other line breaks"),
        pytest.param("a".encode("utf-16"), ("invalid_utf8", 1, 1), "UTF-8", id="UTF-16"),
        pytest.param(b"a: \x07", ("control_character", 1, 4), r'"\u0007"', id="bell"),
        pytest.param("a: b\n#\x9b".encode(), ("control_character", 2, 2), "U+009B", id="C1 in a comment"),
        pytest.param("a: \ufffe".encode(), ("control_character", 1, 4), "U+FFFE", id="no character"),
        pytest.param(b"a: b\0", ("null_character", 1, 5), "remove it", id="null"),
        pytest.param(b"\ta: b", ("yaml_syntax", 1, 1), "use spaces", id="tab first"),
        pytest.param(b"a:\n  b: c\n \td: e", ("yaml_syntax", 3, 2), "use spaces", id="tab in the indent"),
        pytest.param(b"a:b\nc: d", ("yaml_syntax", 1, 2), "a space is missing after this colon", id="no space"),
        pytest.param(b"a: b: c", ("yaml_syntax", 1, 5), 'contains ": " has to be quoted', id="a colon inside"),
        pytest.param(b"a: b\n  c: d", ("yaml_syntax", 2, 4), "indented too far", id="indented too far"),
        pytest.param(b"a: b\nplain\nc: d", ("yaml_syntax", 2, 1), 'line 2 is no "key: value"', id="no colon"),
        pytest.param(b"a: 'b\n", ("yaml_syntax", 1, 4), "never closed", id="open quote"),
        pytest.param(b"a: {b: c\nd: e", ("yaml_syntax", 2, 2), '"," or "}" is expected here', id="open brace"),
        pytest.param(b"a: [b\nc: d", ("yaml_syntax", 2, 2), 'the "[" of line 1', id="open bracket"),
        pytest.param(b"a: [b, ]]", ("yaml_syntax", 1, 9), 'nothing that this "]" could close', id="a bracket too many"),
        pytest.param(b"a: {b: }}", ("yaml_syntax", 1, 9), 'nothing that this "}" could close', id="a brace too many"),
        pytest.param(b"a: {,}", ("yaml_syntax", 1, 5), "a value is expected here", id="a comma too many"),
        pytest.param(b"a:\n  b: c\n d: e", ("yaml_syntax", 3, 2), "indentation of what begins on line 1", id="indent"),
        pytest.param(b"[a]\nb: c", ("yaml_syntax", 2, 1), "does not belong to what stands above", id="two things"),
        pytest.param(b"-\ta: b", ("yaml_syntax", 1, 2), "use spaces", id="tab behind a dash"),
        pytest.param(b"a: b\n" + b"k" * 1030 + b": 1", ("yaml_syntax", 2, 1), "more than 1024", id="a very long key"),
        pytest.param(b"a: @b", ("yaml_syntax", 1, 4), 'cannot begin with "@"', id="at sign"),
        pytest.param(b'a: "\\q"', ("yaml_syntax", 1, 5), "single quotes", id="escape"),
        pytest.param(b"a: *b", ("yaml_syntax", 1, 4), "*b refers to an anchor &b", id="unknown alias"),
        pytest.param(b"a: &b [*b]", ("alias_cycle", 1, 8), "itself", id="cycle"),
        pytest.param(b"a: b\n--- \nc: d", ("second_document", 2, 1), "one YAML document", id="two documents"),
        pytest.param(b"%YAML 1.1\n---\na: b", ("yaml_directive", 1, 1), "YAML 1.2", id="old version"),
        pytest.param(b"%TAG ! x:\n---\na: b", ("yaml_tag", 1, 1), "%TAG", id="tag directive"),
        pytest.param(b"a: b\n...\n%WHAT\n---\n", ("yaml_syntax", 3, 6), "", id="directive behind the document"),
        pytest.param(b'{u: https://x, a: "\\ud83d"}', ("lone_surrogate", 1, 19), "\\ud83d is half", id="half a pair"),
        pytest.param(b"{u: https://x, a: &x [*x]}", ("alias_cycle", 1, 23), "itself", id="cycle, slow parser"),
        pytest.param(b"{u: https://x, a: b", ("yaml_syntax", 1, 20), "expected here", id="open brace, slow parser"),
        pytest.param(b'["\\ud83d", "\\UFFFFFFFF"]', ("yaml_syntax", 1, 3), "", id="what breaks the slow parser"),
        pytest.param(b"%YAML 1.1\n---\n{u: https://x}", ("yaml_directive", 1, 1), "", id="directive, slow parser"),
    ],
)  # fmt: skip
def test_a_fault_is_told_at_its_place_with_the_fix(data: bytes, expected: tuple[str, int, int], words: str) -> None:
    document = read(data, "f")
    (found,) = document.problems
    assert words in found.message
    if words or expected[0] != "yaml_syntax":
        assert problems(document) == [expected]


def test_a_fault_names_its_file() -> None:
    (found,) = read(b"a: *b", "x/y.yaml").problems
    assert found.location == Location("x/y.yaml", 1, 4)


def test_entries_know_their_places() -> None:
    document = read("é: {k: v}\n😀é: [x, y]\nm: &m {a: 1}\nn: {<<: *m, b: *m}\n".encode(), "f")
    root = document.root
    assert isinstance(root, Map)
    assert isinstance(root["😀é"], Seq)
    assert [str(document.location(at)) for at in root.keys_at.values()] == ["f:1:1", "f:2:1", "f:3:1", "f:4:1"]
    assert [str(document.location(at)) for at in root.values_at.values()] == ["f:1:4", "f:2:5", "f:3:4", "f:4:4"]
    assert [str(document.location(at)) for at in root["😀é"].items_at] == ["f:2:6", "f:2:9"]
    assert str(document.location(root["n"].keys_at["a"])) == "f:3:8"
    assert str(document.location(root["n"].values_at["b"])) == "f:4:16"


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "? ", "[{a: "])
def test_deep_nesting_is_refused_before_it_costs_anything(opening: str) -> None:
    assert [code for code, _, _ in problems(read(opening.encode() * 100_000, "f"))] == ["too_deep"]


def test_nesting_up_to_the_bound_is_read() -> None:
    assert read(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH, "f").problems == []


def test_depth_counts_through_aliases() -> None:
    lines = ["a0: &a0 [x]", *(f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, MAX_DEPTH))]
    assert [code for code, _, _ in problems(read("\n".join(lines).encode(), "f"))] == ["too_deep"]


def _bomb(levels: int, line: str) -> bytes:
    lines = ["a0: &a0 {k: x}", *(line.format(n=n, aliases=", ".join([f"*a{n - 1}"] * 9)) for n in range(1, levels))]
    return "\n".join(lines).encode()


@pytest.mark.parametrize("line", ["a{n}: &a{n} [{aliases}]", "a{n}: &a{n} {{<<: [{aliases}], k{n}: x}}"])
def test_an_alias_bomb_is_refused_before_it_goes_off(line: str) -> None:
    assert [code for code, _, _ in problems(read(_bomb(30, line), "f"))] == ["alias_bomb"]


def test_aliases_that_stay_small_are_read_however_many_there_are() -> None:
    shared = "common: &common {" + ", ".join(f"k{n}: v" for n in range(16)) + "}\n"
    lines = (f"  thread_{n:06d}: {{metadata: *common}}\n" for n in range(10_000))
    document = read((shared + "threads:\n" + "".join(lines)).encode(), "f")
    assert document.problems == []
    assert len(document.root["threads"]["thread_009999"]["metadata"]) == 16


def test_private_use_characters_of_the_text_are_left_alone() -> None:
    text = "".join(map(chr, range(0xE000, 0xE010))) + "\u2028" + r"\uE010\U0000e011"
    document = read(f'["{text}"]'.encode(), "f")
    assert document.root == ["".join(map(chr, range(0xE000, 0xE010))) + "\u2028\ue010\ue011"]


def test_what_cannot_be_guessed_is_told_in_the_words_of_the_parser() -> None:
    (found,) = read(b"a: &", "f").problems
    assert found.message.startswith("this is no valid YAML: ")


def test_the_fast_parser_is_libyaml() -> None:
    assert "_ruamel_yaml" in reader.FAST_PARSER.__module__
