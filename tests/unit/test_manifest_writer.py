"""Editing manifests in place: what changes, what stays, and what is refused."""

from __future__ import annotations

import textwrap

import pytest

from reconciler.errors import Location
from reconciler.manifest import read_manifest, writer
from reconciler.manifest.writer import Declaration, Drop, NotMoved, Put, Refusal, Written, declare, edit, move, patch
from reconciler.model import Desired, Ref

FILE = "f.yaml"
A = Ref("thread", "a")
B = Ref("thread", "b")


def text(block: str) -> str:
    return textwrap.dedent(block).removeprefix("\n")


def resource(block: str) -> str:
    """A manifest whose resource `a` is `block`."""
    return f"version: 1\nthreads:\n{textwrap.indent(text(block), '  ')}"


def edited(manifest: str, *edits: Put | Drop) -> str:
    done = edit(manifest.encode(), FILE, edits)
    assert done.refused == ()
    return done.data.decode()


def refused(manifest: str, *edits: Put | Drop) -> list[str]:
    done = edit(manifest.encode(), FILE, edits)
    assert done.data == manifest.encode()
    return [one.message for one in done.refused]


def resources(data: bytes) -> dict[Ref, Desired]:
    manifest = read_manifest(data, FILE)
    assert manifest.problems == ()
    return {one.ref: one for one in manifest.resources}


# Each case: what `a` looks like, the edits, and what it looks like afterwards.
CASES = {
    "a plain value is replaced by a plain one, its comment stays": (
        "a:\n  metadata:\n    plan:  gold   # sold\n",
        [Put(A, "plan", "silver plan")],
        "a:\n  metadata:\n    plan:  silver plan   # sold\n",
    ),
    "a plain value may be written with a colon and umlauts": (
        "a:\n  metadata:\n    plan: gold\n",
        [Put(A, "plan", "https://x.example/größe?")],
        'a:\n  metadata:\n    plan: "https://x.example/größe?"\n',
    ),
    "a plain url stays plain": (
        "a:\n  metadata:\n    plan: gold\n",
        [Put(A, "plan", "https://x.example/a")],
        "a:\n  metadata:\n    plan: https://x.example/a\n",
    ),
    "in a flow mapping a url is quoted, for a parser that knows no better": (
        "a: {metadata: {plan: gold}}\n",
        [Put(A, "plan", "https://x.example/a")],
        'a: {metadata: {plan: "https://x.example/a"}}\n',
    ),
    "single quotes stay": (
        "a:\n  metadata:\n    plan: 'gold'\n",
        [Put(A, "plan", "it's: #1")],
        "a:\n  metadata:\n    plan: 'it''s: #1'\n",
    ),
    "single quotes give way to what they cannot hold": (
        "a:\n  metadata:\n    plan: 'gold'\n",
        [Put(A, "plan", "a\nb\u2028")],
        'a:\n  metadata:\n    plan: "a\\nb\\u2028"\n',
    ),
    "double quotes stay": (
        'a:\n  metadata:\n    plan: "gold"\n',
        [Put(A, "plan", "silver")],
        'a:\n  metadata:\n    plan: "silver"\n',
    ),
    "null is a plain word": (
        'a:\n  metadata:\n    plan: "gold"  # c\n    b: null\n',
        [Put(A, "plan", None), Put(A, "b", "gold")],
        "a:\n  metadata:\n    plan: null  # c\n    b: gold\n",
    ),
    "an empty value is filled in": (
        "a:\n  metadata:\n    plan:  # c\n    b:\n    d: ~\n",
        [Put(A, "plan", "gold"), Put(A, "b", "yes"), Put(A, "d", "x")],
        'a:\n  metadata:\n    plan: gold  # c\n    b: "yes"\n    d: x\n',
    ),
    "a literal text stays one, with its indentation and comment": (
        "a:\n  metadata:\n    note: |-  # c\n       one\n\n       two\n\n    plan: gold\n",
        [Put(A, "note", "one\n\n  three\n")],
        "a:\n  metadata:\n    note: |  # c\n       one\n\n         three\n\n    plan: gold\n",
    ),
    "a literal text that keeps its blank lines is replaced with them": (
        "a:\n  metadata:\n    note: |+\n      one\n\n\n    plan: gold\n",
        [Put(A, "note", "two\nthree")],
        "a:\n  metadata:\n    note: |-\n      two\n      three\n    plan: gold\n",
    ),
    "what is added behind a literal text leaves the blank lines that it keeps": (
        "a:\n  metadata:\n    note: |+\n      one\n\n  protect: true\n",
        [Put(A, "plan", "gold")],
        "a:\n  metadata:\n    note: |+\n      one\n\n    plan: gold\n  protect: true\n",
    ),
    "a literal text with an indentation of its own": (
        "a:\n  metadata:\n    note: |2\n        one\n    plan: gold\n",
        [Put(A, "note", "two\nthree")],
        "a:\n  metadata:\n    note: |-\n      two\n      three\n    plan: gold\n",
    ),
    "a literal text without lines": (
        "a:\n  metadata:\n    note: |\n    plan: gold\n",
        [Put(A, "note", "two\nthree")],
        "a:\n  metadata:\n    note: |-\n      two\n      three\n    plan: gold\n",
    ),
    "a literal text becomes one line where it cannot stay literal": (
        "a:\n  metadata:\n    note: |  # c\n      one\n      two\n    plan: gold\n    x: |\n      y\n",
        [Put(A, "note", " indented\nx"), Put(A, "x", "one line")],
        'a:\n  metadata:\n    note: " indented\\nx"  # c\n    plan: gold\n    x: "one line"\n',
    ),
    "literal lines need to be printable": (
        "a:\n  metadata:\n    note: |\n      one\n",
        [Put(A, "note", "a\tb\nc")],
        'a:\n  metadata:\n    note: "a\\tb\\nc"\n',
    ),
    "literal lines do not end with blank ones": (
        "a:\n  metadata:\n    note: |\n      one\n",
        [Put(A, "note", "a\n\n")],
        'a:\n  metadata:\n    note: "a\\n\\n"\n',
    ),
    "a folded text and a text of several lines are replaced as a whole": (
        'a:\n  metadata:\n    note: >\n      one\n      two\n    b: "x\n      y"  # c\n    c: x\n      y\n',
        [Put(A, "note", "three"), Put(A, "b", "z"), Put(A, "c", "w")],
        'a:\n  metadata:\n    note: three\n    b: "z"  # c\n    c: w\n',
    ),
    "a dropped key takes its line with it; comments above stay": (
        "a:\n  metadata:\n    # about b\n    b: x  # c\n    # about d\n    d: |\n      y\n      z\n    e: f\n",
        [Drop(A, "b"), Drop(A, "d")],
        "a:\n  metadata:\n    # about b\n    # about d\n    e: f\n",
    ),
    "the last key leaves an empty map": (
        "a:\n  metadata:  # c\n    b: x\n    d: y\n  protect: true\n",
        [Drop(A, "b"), Drop(A, "d")],
        "a:\n  metadata: {}  # c\n  protect: true\n",
    ),
    "the last key leaves an empty map behind an anchor": (
        "a:\n  metadata: &m  # c\n    b: x\n",
        [Drop(A, "b")],
        "a:\n  metadata: &m {}  # c\n",
    ),
    "all keys are exchanged": (
        "a:\n  metadata:\n      b: x\n  protect: true\n",
        [Drop(A, "b"), Put(A, "d", "w")],
        "a:\n  metadata:\n      d: w\n  protect: true\n",
    ),
    "new keys stand at the end, quoted like the last one": (
        "a:\n  metadata:\n    'b': 'x'\n      # deeper\n    # not deeper\n  protect: true\n",
        [Put(A, "d", "y"), Put(A, "e f", "\x07")],
        (
            "a:\n  metadata:\n    'b': 'x'\n      # deeper\n    'd': 'y'\n    'e f': \"\\u0007\"\n"
            "    # not deeper\n  protect: true\n"
        ),
    ),
    "keys are quoted where they have to be": (
        "a:\n  metadata: {b: x}\n",
        [Put(A, key, None) for key in ["a: b", "#x", "yes", "7", "<<", "é", "😀", "\x1b", "\u2028", "a\nb", "? x"]],
        (
            'a:\n  metadata: {b: x, "a: b": null, "#x": null, "yes": null, "7": null, "<<": null, "é": null, '
            '"😀": null, "\\u001b": null, "\\u2028": null, "a\\nb": null, "? x": null}\n'
        ),
    ),
    "a character beyond sixteen bits is escaped as YAML knows it": (
        "a:\n  metadata: {b: x}\n",
        [Put(A, "b", "\U000e0001")],
        'a:\n  metadata: {b: "\\U000e0001"}\n',
    ),
    "keys are found however they are written": (
        'a:\n  metadata:\n    "b": x\n    \'d\': x\n    "\\u0065": x\n    ? f\n    : x\n    ? g\n    ? "h"  # c\n',
        [Put(A, key, "new") for key in "bdefgh"],
        (
            'a:\n  metadata:\n    "b": new\n    \'d\': new\n    "\\u0065": new\n    ? f\n    : new\n'
            '    ? g\n    : new\n    ? "h"  # c\n    : new\n'
        ),
    ),
    "an explicit key is dropped whole": (
        "a:\n  metadata:\n    ? b\n    : x\n    d: y\n",
        [Drop(A, "b")],
        "a:\n  metadata:\n    d: y\n",
    ),
    "a quoted << is a key, a plain one merges": (
        'a:\n  metadata:\n    <<: {b: x}\n    "<<": y\n',
        [Drop(A, "<<"), Put(A, "b", "z")],
        'a:\n  metadata:\n    <<: {b: x}\n    "b": z\n',
    ),
    "a flow mapping on one line": (
        "a: {metadata: {b: x, d: 'y', e: z}, protect: true}  # c\n",
        [Drop(A, "b"), Put(A, "d", "new"), Put(A, "f", "g")],
        "a: {metadata: {d: 'new', e: z, f: g}, protect: true}  # c\n",
    ),
    "a flow mapping loses its last keys": (
        "a: {metadata: { b: x , d: y , e: z }}\n",
        [Drop(A, "d"), Drop(A, "e")],
        "a: {metadata: { b: x  }}\n",
    ),
    "a flow mapping loses all keys": (
        "a: {metadata: {b: x, d: y,}}\n",
        [Drop(A, "b"), Drop(A, "d")],
        "a: {metadata: {}}\n",
    ),
    "a flow mapping exchanges all keys": (
        "a: {metadata: {b: x, d: y,}}\n",
        [Drop(A, "b"), Drop(A, "d"), Put(A, "e", "f")],
        "a: {metadata: {e: f}}\n",
    ),
    "a trailing comma stays": ("a: {metadata: {b: x,}}\n", [Put(A, "d", "w")], "a: {metadata: {b: x, d: w,}}\n"),
    "empty values in a flow mapping": (
        "a: {metadata: {b: , d, e: }}\n",
        [Put(A, "b", "x"), Put(A, "d", "w"), Put(A, "e", "z")],
        "a: {metadata: {b: x , d: w, e: z }}\n",
    ),
    "a key is added behind an empty value": ("a: {metadata: {b}}\n", [Put(A, "d", "w")], "a: {metadata: {b, d: w}}\n"),
    "JSON stays JSON": (
        'a: {"metadata":{"b":"x"}}\n',
        [Put(A, "b", "y"), Put(A, "d", "z")],
        'a: {"metadata":{"b": "y", "d": "z"}}\n',
    ),
    "a flow mapping on several lines": (
        "a:\n  metadata: {\n    b: x,  # b\n    # above d\n    d: y,  # d\n    e: z   # e\n  }\n",
        [Drop(A, "d"), Put(A, "e", "new"), Put(A, "f", "g"), Put(A, "h", None)],
        "a:\n  metadata: {\n    b: x,  # b\n    # above d\n    e: new,   # e\n    f: g,\n    h: null\n  }\n",
    ),
    "a flow mapping on several lines loses its last key": (
        "a:\n  metadata: {\n    b: x,  # b\n    e: z,  # e\n  }\n",
        [Drop(A, "e")],
        "a:\n  metadata: {\n    b: x,  # b\n  }\n",
    ),
    "a flow mapping on several lines keeps its last comma": (
        "a:\n  metadata: {\n    b: x,\n  }\n",
        [Put(A, "d", "w")],
        "a:\n  metadata: {\n    b: x,\n    d: w,\n  }\n",
    ),
    "commas may lead the lines": (
        "a:\n  metadata: { b: x  # b\n            , d: y\n            , e: z }\n",
        [Drop(A, "d"), Put(A, "e", "new")],
        "a:\n  metadata: { b: x  # b\n            , e: new }\n",
    ),
    "the comment of a line that is shared stays": (
        "a:\n  metadata: {b: x, d: y,  # both\n             e: z}\n",
        [Drop(A, "d")],
        "a:\n  metadata: {b: x,   # both\n             e: z}\n",
    ),
    "the last key goes from below a comment": (
        "a:\n  metadata: {b: x,  # b\n             d: y}\n",
        [Drop(A, "d")],
        "a:\n  metadata: {b: x,  # b\n             }\n",
    ),
    "the first key goes from the line of the brace": (
        "a:\n  metadata: {b: x,\n             d: y}\n",
        [Drop(A, "b")],
        "a:\n  metadata: {\n             d: y}\n",
    ),
    "nothing becomes a map": (
        "a:  # c\n    # below\nb:\n",
        [Put(A, "b", "x"), Put(B, "d", "w")],
        "a:  # c\n    # below\n  metadata:\n    b: x\nb:\n  metadata:\n    d: w\n",
    ),
    "null becomes a map": ("a: null  # c\n", [Put(A, "b", "x")], "a:  # c\n  metadata:\n    b: x\n"),
    "nothing behind an anchor becomes a map": (
        "a: &a  # c\n",
        [Put(A, "b", "x")],
        "a: &a  # c\n  metadata:\n    b: x\n",
    ),
    "an empty map becomes a full one": ("a: {}  # c\n", [Put(A, "b", "x")], "a:  # c\n  metadata:\n    b: x\n"),
    "an empty map with a comment stays a flow mapping": (
        "a: { # c\n  }\n",
        [Put(A, "b", "x")],
        "a: {metadata: {b: x} # c\n  }\n",
    ),
    "empty metadata are filled": ("a: {metadata: {}}\n", [Put(A, "b", "x")], "a: {metadata: {b: x}}\n"),
    "metadata are added": (
        "a:\n    protect: true\n    ignore:\n    - x\n",
        [Put(A, "b", "x")],
        "a:\n    protect: true\n    ignore:\n    - x\n    metadata:\n      b: x\n",
    ),
    "metadata are added in a flow mapping": (
        "a: {protect: true}\n",
        [Put(A, "b", "x")],
        "a: {protect: true, metadata: {b: x}}\n",
    ),
    "an alias of a value is replaced": (
        "a:\n  metadata:\n    b: &x y\n    d: *x  # c\n",
        [Put(A, "d", "z")],
        "a:\n  metadata:\n    b: &x y\n    d: z  # c\n",
    ),
    "an anchor that nobody uses stays": (
        "a:\n  metadata:\n    b: &x y\n    d: &y\n    e: &z |\n      one\n",
        [Put(A, "b", "z"), Put(A, "d", "z"), Put(A, "e", "z")],
        "a:\n  metadata:\n    b: &x z\n    d: &y z\n    e: &z z\n",
    ),
    "an alias as metadata becomes a merge key": (
        "b:\n  metadata: &m {d: x, e: y}\na:\n  metadata: *m  # c\n",
        [Put(A, "d", "z"), Drop(A, "e")],
        "b:\n  metadata: &m {d: x, e: y}\na:\n  metadata:  # c\n    <<: *m\n    e: null\n    d: z\n",
    ),
    "an alias as metadata in a flow mapping": (
        "b: {metadata: &m {d: x}}\na: {metadata: *m}\n",
        [Put(A, "d", "z")],
        "b: {metadata: &m {d: x}}\na: {metadata: {<<: *m, d: z}}\n",
    ),
    "a merged key is overridden": (
        "b:\n  metadata: &m {d: x, e: y, f: null}\na:\n  metadata:\n    <<: [*m, {d: 1st}]\n    e: own\n    f: g\n",
        [Put(A, "d", "z"), Drop(A, "e"), Drop(A, "f")],
        "b:\n  metadata: &m {d: x, e: y, f: null}\na:\n  metadata:\n    <<: [*m, {d: 1st}]\n    e: null\n    d: z\n",
    ),
    "a resource that is an alias": (
        "b: &b\n  protect: true\n  metadata: {d: x, e: y}\na: *b  # c\n",
        [Put(A, "d", "z")],
        'b: &b\n  protect: true\n  metadata: {d: x, e: y}\na:  # c\n  <<: *b\n  metadata:\n    d: z\n    e: "y"\n',
    ),
    "a resource that is an alias of nothing": (
        "b: &b\na: *b\n",
        [Put(A, "d", "z")],
        "b: &b\na:\n  metadata:\n    d: z\n",
    ),
    "a resource that merges another": (
        "b: &b\n  metadata: {d: x}\na:\n  <<: *b\n  protect: true\n",
        [Drop(A, "d")],
        "b: &b\n  metadata: {d: x}\na:\n  <<: *b\n  protect: true\n  metadata:\n    d: null\n",
    ),
    "a merged value changes with nobody who shows it": (
        "b:\n  metadata: &m {d: x}\na:\n  metadata: {<<: *m, d: y}\n",
        [Put(B, "d", "z")],
        "b:\n  metadata: &m {d: z}\na:\n  metadata: {<<: *m, d: y}\n",
    ),
    "what is so already stays as it is written": (
        "a:\n  metadata:\n    b:   'x'\n    d: ~\n",
        [Put(A, "b", "x"), Put(A, "d", None), Drop(A, "none")],
        "a:\n  metadata:\n    b:   'x'\n    d: ~\n",
    ),
    "of several edits of one key the last one counts": (
        "a:\n  metadata:\n    b: x\n",
        [Put(A, "b", "y"), Drop(A, "b"), Put(A, "b", "z")],
        "a:\n  metadata:\n    b: z\n",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_an_edit_changes_just_what_it_has_to(name: str) -> None:
    before, edits, after = CASES[name]
    assert edited(resource(before), *edits) == resource(after)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("line_break", ["\r\n", "\r"])
def test_line_endings_survive(name: str, line_break: str) -> None:
    before, edits, after = CASES[name]
    assert edited(resource(before).replace("\n", line_break), *edits) == resource(after).replace("\n", line_break)


@pytest.mark.parametrize("name", [name for name in CASES if "literal" not in name and "blank" not in name])
def test_a_byte_order_mark_and_a_missing_final_newline_survive(name: str) -> None:
    before, edits, after = CASES[name]
    changed = edited("\ufeff" + resource(before).removesuffix("\n"), *edits)
    assert changed == "\ufeff" + resource(after).removesuffix("\n")


DEFAULTS = "version: 1\ndefaults:\n  metadata: {team: support, tier: null}\nthreads:\n"


@pytest.mark.parametrize(
    ("before", "one", "after"),
    [
        ("  a:\n", Put(A, "team", "sales"), "  a:\n    metadata:\n      team: sales\n"),
        ("  a:\n", Put(A, "team", "support"), "  a:\n"),
        ("  a:\n", Put(A, "tier", "x"), "  a:\n    metadata:\n      tier: x\n"),
        ("  a:\n", Drop(A, "team"), "  a:\n    metadata:\n      team: null\n"),
        ("  a:\n", Drop(A, "tier"), "  a:\n"),
        ("  a: {metadata: {team: x}}\n", Drop(A, "team"), "  a: {metadata: {team: null}}\n"),
        ("  a: {metadata: {team: null}}\n", Drop(A, "team"), "  a: {metadata: {team: null}}\n"),
        ("  a: {metadata: {tier: x}}\n", Drop(A, "tier"), "  a: {metadata: {}}\n"),
    ],
)
def test_what_the_defaults_declare_is_overridden_in_the_resource(before: str, one: Put | Drop, after: str) -> None:
    assert edited(DEFAULTS + before, one) == DEFAULTS + after


@pytest.mark.parametrize(
    "value",
    ["a\x85b", "\u2028", "\u2029", "\ufeff", "\ue000", "😀", "", " ", "\r\n", "a\\", "007", "x" * 512, "\U0010ffff"],
)
def test_a_value_arrives_whatever_characters_it_has_or_stands_beside(value: str) -> None:
    manifest = "# \u2028 \x85\nversion: 1\nthreads:\n  a:\n    metadata:\n      b: \u2029x\ufeff\n      d: 'y\u2028'\n"
    changed = edited(manifest, Put(A, "b", value), Put(A, "new", value))
    assert resources(changed.encode())[A].metadata == {"b": value, "d": "y\u2028", "new": value}
    assert "    d: 'y\u2028'\n" in changed
    assert "# \u2028 \x85\n" in changed


def test_what_the_fast_parser_rejects_can_be_edited_too() -> None:
    manifest = resource('a: {metadata: {u: https://x, t: 12:30:45, s: "\\ud83d\\ude00", "\\ud83d\\ude00": z}}  # c\n')
    changed = edited(manifest, Put(A, "😀", "new"), Drop(A, "t"))
    assert changed == resource('a: {metadata: {u: https://x, s: "\\ud83d\\ude00", "\\ud83d\\ude00": new}}  # c\n')


def test_directives_and_document_marks_stay() -> None:
    top, end = "%YAML 1.2\n---\n", "...\n# end\n"
    before, after = resource("a: {}\n"), resource("a:\n  metadata:\n    b: x\n")
    assert edited(top + before + end, Put(A, "b", "x")) == top + after + end


def test_numbers_and_booleans_are_values_of_some_kinds() -> None:
    ref = Ref("vector_store_file", "v/f")
    manifest = "version: 1\nvector_store_files:\n  v/f:\n    metadata: {n: 1, b: true, s: '1'}\n"
    edits = [Put(ref, "n", 2.5), Put(ref, "b", 1), Put(ref, "s", False), Put(ref, "e", 1e300)]
    expected = manifest.replace("{n: 1, b: true, s: '1'}", "{n: 2.5, b: 1, s: false, e: 1e+300}")
    assert edited(manifest, *edits) == expected
    assert edited(manifest, Put(ref, "n", 1.0)) == manifest


# -- What is refused ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("", "x", "has 1 to 64 characters, this one has 0"),
        ("k" * 65, "x", "this one has 65"),
        (5, "x", "no string"),
        ("a\0", "x", "U+0000"),
        ("a\ud800", "x", "half of a character"),
        ("b", "x" * 513, "this one has 513"),
        ("b", "a\0", "U+0000"),
        ("b", "\udfff", "half of a character"),
        ("b", 5, "a number is no string"),
        ("b", True, "a boolean is no string"),
        ("b", ["x"], "a list is no string"),
        ("b", {"x": "y"}, "a map is no string"),
        ("run.x", "y", "is ignored"),
        ("seen", None, "is ignored"),
    ],
)
def test_what_no_manifest_may_hold_is_reported_and_not_written(key: str, value: object, says: str) -> None:
    manifest = "version: 1\ndefaults: {ignore: ['run.*']}\nthreads:\n  a:\n    ignore: [seen]\n    metadata: {b: x}\n"
    done = edit(manifest.encode(), FILE, [Put(A, key, value), Put(A, "good", "yes")])
    assert done.data.decode() == manifest.replace("{b: x}", '{b: x, good: "yes"}')
    (refusal,) = done.refused
    assert (refusal.ref, refusal.key) == (A, key)
    assert says in refusal.message
    assert refusal.location == (Location(FILE, 6, 16) if key == "b" else Location(FILE, 4, 3))


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), 10**400, pytest.param(-(10**5000), id="huge"), ["x"], {}]
)
def test_numbers_that_cannot_be_written_are_reported(value: object) -> None:
    ref = Ref("vector_store_file", "v/f")
    manifest = "version: 1\nvector_store_files:\n  v/f: {}\n"
    assert len(refused(manifest, Put(ref, "n", value))) == 1


def test_more_than_sixteen_pairs_are_reported_and_removals_make_room_first() -> None:
    pairs = ", ".join(f"k{number}: x" for number in range(16))
    manifest = resource(f"a: {{metadata: {{{pairs}, gone: null}}}}\n")
    assert refused(manifest, Put(A, "new", "x")) == [
        "thread/a declares 16 pairs already, as many as there can be: remove one of them first"
    ]
    done = edit(manifest.encode(), FILE, [Put(A, "n1", "x"), Put(A, "n2", "x"), Drop(A, "k3"), Put(A, "k4", None)])
    assert done.refused == ()
    done = edit(manifest.encode(), FILE, [Put(A, "gone", "x"), Put(A, "n2", "x"), Drop(A, "k3"), Put(A, "k5", "y")])
    assert [one.key for one in done.refused] == ["n2"]
    assert resources(done.data)[A].metadata["gone"] == "x"


def test_a_resource_that_this_file_does_not_declare_is_reported() -> None:
    unknown = [Put(Ref("thread", "zz"), "b", "x"), Drop(Ref("wrong", "a"), "b")]
    assert refused(resource("a:\n"), *unknown) == [
        "thread/zz is not declared in this file",
        "wrong/a is not declared in this file",
    ]


@pytest.mark.parametrize("data", [b"", b"version: 2\n", b"\xff", "version: 1\n".encode("utf-16"), b"version: 1\n: {"])
def test_nothing_is_written_to_a_file_that_is_not_valid(data: bytes) -> None:
    done = edit(data, FILE, [Put(A, "b", "x"), Drop(A, "d")])
    assert done.data == data
    assert [one.key for one in done.refused] == ["b", "d"]
    assert all(one.message.startswith("this file is not valid") and one.location for one in done.refused)


SHARED = """\
b:
  metadata: &m
    plan: &p gold
    &k seen: x
    more: y
a:
  metadata: {plan: *p, *k : z}
d:
  metadata: *m
"""


@pytest.mark.parametrize("one", [Put(B, "plan", "x"), Drop(B, "seen"), Drop(B, "more"), Drop(B, "plan")])
def test_what_is_used_elsewhere_too_is_not_changed(one: Put | Drop) -> None:
    done = edit(resource(SHARED).encode(), FILE, [one, Put(A, "plan", "silver")])
    assert done.data.decode() == resource(SHARED).replace("plan: *p", "plan: silver")
    (refusal,) = done.refused
    assert (refusal.ref, refusal.key) == (B, one.key)
    assert "change it by hand" in refusal.message


def test_a_refusal_names_the_line_that_would_change_as_well() -> None:
    done = edit(resource(SHARED).encode(), FILE, [Put(B, "more", "x")])
    message = (
        "what is written here is used again by an alias in line 11, where it would change as well: "
        "write it out there first, or change it by hand"
    )
    assert done.refused == (Refusal(B, "more", message, Location(FILE, 7, 7)),)


@pytest.mark.parametrize(
    ("manifest", "one"),
    [
        ("version: 1\nthreads:\n  <<: {a: {metadata: {b: x}}}\n", Put(A, "b", "y")),
        ("version: 1\nthreads: &t {a: {metadata: {b: x}}}\nevals: *t\n", Put(Ref("eval", "a"), "b", "y")),
        ("version: 1\n<<: {threads: {a: {}}}\n", Put(A, "b", "y")),
        ("version: 1\nthreads:\n  ? a\n", Put(A, "b", "y")),
        ("version: 1\nthreads:\n  a:\n    null\n", Put(A, "b", "y")),
        ("version: 1\nthreads:\n  a:\n    ? metadata\n    : b: x\n      d: y\n", Drop(A, "b")),
        ("version: 1\nthreads:\n  a:\n    metadata:\n      b: |\n        one\n        two", Put(A, "d", "x")),
        (
            "version: 1\nthreads:\n  a:\n    metadata:\n      b: |+\n        one\n\n      d: x\n      e: y\n",
            Drop(A, "d"),
        ),
    ],
)
def test_what_is_written_in_a_way_that_cannot_be_edited_safely_is_refused_or_done_right(
    manifest: str, one: Put | Drop
) -> None:
    before = resources(manifest.encode())
    done = edit(manifest.encode(), FILE, [one])
    after = resources(done.data)
    if done.refused:
        assert done.data == manifest.encode()
        assert "by hand" in done.refused[0].message
        return
    want = dict(before[one.ref].metadata)
    want.update({one.key: one.value} if isinstance(one, Put) else {})
    if isinstance(one, Drop):
        del want[one.key]
    assert after[one.ref].metadata == want


def test_one_edit_that_cannot_be_made_does_not_keep_the_others_from_being_made() -> None:
    manifest = resource("a:\n  ? metadata\n  : b: x\n    d: y\nb:\n  metadata: {d: x}\n")
    done = edit(manifest.encode(), FILE, [Put(B, "d", "1k"), Drop(A, "b"), Put(A, "d", "z"), Put(B, "e", "y")])
    assert [(one.ref, one.key) for one in done.refused] == [(A, "b")]
    assert done.data.decode() == manifest.replace("d: y", "d: z").replace("{d: x}", '{d: 1k, e: "y"}')


# -- Declarations -------------------------------------------------------------------------------------------------


def declared(manifest: str | None, *some: Declaration) -> str:
    done = declare(None if manifest is None else manifest.encode(), FILE, some)
    assert done.refused == ()
    return done.data.decode()


NEW = Declaration(Ref("thread", "t"), {"plan": "gold", "a b": "yes"})
OTHER = Declaration(Ref("conversation", "conv_1"), {})
NESTED = Declaration(Ref("vector_store_file", "vs_1/file-1"), {"n": 1, "b": True, "f": 1.5, "s": "1"})


def test_a_new_file_has_its_sections_in_the_order_of_appearance() -> None:
    assert declared(None, OTHER, NEW, NESTED) == text("""
        version: 1
        conversations:
          conv_1: {}
        threads:
          t:
            metadata:
              "a b": "yes"
              plan: gold
        vector_store_files:
          vs_1/file-1:
            metadata:
              b: true
              f: 1.5
              "n": 1
              s: "1"
        """)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            "version: 1\nthreads:\n    a:\n        # inner\n    # tail\nevals:\n    e: {}\n",
            (
                "version: 1\nthreads:\n    a:\n        # inner\n    t:\n        metadata:\n"
                '            "a b": "yes"\n            plan: gold\n    # tail\nevals:\n    e: {}\n'
            ),
        ),
        (
            "version: 1\r\nthreads: {}  # c\r\n# end",
            'version: 1\r\nthreads:  # c\r\n  t:\r\n    metadata:\r\n      "a b": "yes"\r\n      plan: gold\r\n# end',
        ),
        (
            "version: 1\nthreads:\n",
            'version: 1\nthreads:\n  t:\n    metadata:\n      "a b": "yes"\n      plan: gold\n',
        ),
        (
            "version: 1\nthreads: {a: {}}\n",
            'version: 1\nthreads: {a: {}, t: {metadata: {"a b": "yes", plan: gold}}}\n',
        ),
        (
            '{"version": 1, "threads": {"a": {}}}',
            '{"version": 1, "threads": {"a": {}, "t": {"metadata": {"a b": "yes", "plan": "gold"}}}}',
        ),
        ('{"version": 1}\n', '{"version": 1, "threads": {"t": {"metadata": {"a b": "yes", "plan": "gold"}}}}\n'),
        (
            "version: 1\nevals: &e\n  e:\nthreads: *e\n",
            (
                "version: 1\nevals: &e\n  e:\nthreads:\n  <<: *e\n  t:\n"
                '    metadata:\n      "a b": "yes"\n      plan: gold\n'
            ),
        ),
        (
            "version: 1\nevals:\n  e:\n    protect: true",
            (
                'version: 1\nevals:\n  e:\n    protect: true\nthreads:\n  t:\n    metadata:\n      "a b": "yes"\n'
                "      plan: gold"
            ),
        ),
    ],
)
def test_a_declaration_extends_what_is_there(before: str, after: str) -> None:
    assert declared(before, NEW) == after


def test_the_defaults_are_taken_into_account() -> None:
    manifest = (
        "version: 1\ndefaults:\n  ignore: ['run.*']\n  metadata: {team: x, tier: y, plan: z, gone: null, old: null}\n"
    )
    found = {"team": "x", "tier": "other", "gone": "back", "run.id": "1", "own": "k", "none": None}
    changed = declared(manifest, Declaration(Ref("thread", "t"), found))
    assert changed == manifest + text("""
        threads:
          t:
            metadata:
              gone: back
              own: k
              plan: null
              tier: other
        """)


def test_a_resource_that_is_declared_already_is_reported_with_its_line() -> None:
    manifest = resource("a:\n")
    done = declare(manifest.encode(), FILE, [Declaration(A, {"b": "x"}), NEW, NEW])
    assert [(one.ref, one.message) for one in done.refused] == [
        (A, "thread/a is declared already, in line 3 of this file: take its changes over instead"),
        (NEW.ref, "thread/t is given twice: give it once"),
    ]
    assert done.refused[0].location == Location(FILE, 3, 3)
    assert resources(done.data).keys() == {A, NEW.ref}


@pytest.mark.parametrize("ref", [Ref("wrong", "a"), Ref("thread", ".."), Ref("thread", "a/b"), Ref("message", "m")])
def test_what_names_no_resource_is_reported(ref: Ref) -> None:
    done = declare(None, FILE, [Declaration(ref, {})])
    assert done.data == b""
    assert [(one.ref, one.key) for one in done.refused] == [(ref, None)]


def test_pairs_that_no_manifest_may_hold_are_reported_and_the_rest_is_written() -> None:
    found = {"good": "x", "number": 5, "long": "x" * 513, "": "y", "k" * 65: "z"}
    done = declare(None, FILE, [Declaration(A, found)])
    assert {one.key for one in done.refused} == {"number", "long", "", "k" * 65}
    assert resources(done.data)[A].metadata == {"good": "x"}


def test_of_too_many_pairs_those_of_the_defaults_come_first() -> None:
    found = {f"k{number:02}": "x" for number in range(18)} | {"team": "y"}
    done = declare(b"version: 1\ndefaults: {metadata: {team: x}}\n", FILE, [Declaration(A, found)])
    assert [one.key for one in done.refused] == ["k15", "k16", "k17"]
    assert "at most 16 pairs" in done.refused[0].message
    assert resources(done.data)[A].metadata == {
        key: found[key] for key in sorted(found) if key not in ("k15", "k16", "k17")
    }


@pytest.mark.parametrize(
    ("defaults", "says"),
    [("{ownership: exclusive}", "the defaults of this file own every key"), ("{metadata: {n: x}}", "declare it")],
)
def test_a_resource_that_applying_would_change_is_not_declared(defaults: str, says: str) -> None:
    manifest = f"version: 1\ndefaults: {defaults}\n".encode()
    done = declare(manifest, FILE, [Declaration(A, {"n": 5, "good": "x"})])
    assert done.data == manifest
    (refusal,) = done.refused
    assert (refusal.ref, refusal.key) == (A, None)
    assert says in refusal.message
    assert "no string" in refusal.message


@pytest.mark.parametrize("data", [b"version: 2\n", b"\xff", b"# only a comment\n"])
def test_nothing_is_declared_in_a_file_that_is_not_valid(data: bytes) -> None:
    done = declare(data, FILE, [NEW])
    assert done.data == data
    assert done.refused[0].message.startswith("this file is not valid")


def test_a_blank_file_is_a_new_one() -> None:
    assert declare(b"\n", FILE, [OTHER]).data == b"version: 1\nconversations:\n  conv_1: {}\n"
    assert declare(b"\n", FILE, []) == Written(b"\n")
    assert declare(None, FILE, []) == Written(b"")


def test_a_section_that_would_make_the_defaults_invalid_is_refused_and_the_others_are_written() -> None:
    manifest = "version: 1\ndefaults: {metadata: {n: 1}}\nvector_store_files:\n  v/f:\n"
    done = declare(manifest.encode(), FILE, [NEW, Declaration(Ref("vector_store_file", "v/g"), {"n": 1})])
    assert [one.ref for one in done.refused] == [NEW.ref]
    assert "would not be valid any more" in done.refused[0].message
    assert done.data.decode() == manifest + "  v/g: {}\n"


# -- Patches ------------------------------------------------------------------------------------------------------


def test_a_patch_shows_what_changed() -> None:
    assert patch(b"a\nb\nc", b"a\nx\nc", "d/f.yaml") == (
        "--- a/d/f.yaml\n+++ b/d/f.yaml\n@@ -1,3 +1,3 @@\n a\n-b\n+x\n c\n\\ No newline at end of file\n"
    )
    assert patch(b"", b"a\n", "f.yaml") == "--- /dev/null\n+++ b/f.yaml\n@@ -0,0 +1 @@\n+a\n"
    assert patch(b"a", b"a", "f.yaml") == ""


def test_names_are_written_as_git_reads_them() -> None:
    assert patch(b"a\n", b"b\n", "my file").startswith("--- a/my file\t\n+++ b/my file\t\n")
    assert patch(b"a\n", b"b\n", 'q"é\n').startswith('--- "a/q\\042\\303\\251\\012"\n')


# -- Many at once -------------------------------------------------------------------------------------------------


def test_many_declarations_and_edits_at_once_are_all_made() -> None:
    made = [Declaration(Ref("thread", f"t{index}"), {"plan": "gold", "k": str(index)}) for index in range(1000)]
    data = declare(None, FILE, made).data
    changed = edit(data, FILE, [Put(one.ref, "plan", "silver") for one in made])
    assert changed.refused == ()
    assert patch(data, changed.data, FILE).count("\n+") == 1001


# --- other references -------------------------------------------------------------------------------------------------


def moved(manifest: str, **places: str) -> str:
    """The manifest after threads went to `kind/id`."""
    done = move(manifest.encode(), FILE, refs_of(places))
    assert done.refused == ()
    return done.data.decode()


def refs_of(places: dict[str, str]) -> dict[Ref, Ref]:
    return {Ref("thread", name): Ref(*place.split("/", 1)) for name, place in places.items()}


HOUSE = """\
# top

version: 1

# support
threads:  # all of them
  # about a
  a:  # beside a
    # inside
    metadata: {plan: gold}
    # below a

  # --- the others

  # about b
  "b":
    metadata:
      note: |
        text

  c:
  # the end of the list

# vaults
vaults:
    v1:
"""

MOVES = {
    "within a kind only the key changes, with its quotes, and a swap is one": (
        HOUSE,
        {"a": "thread/b", "b": "thread/a", "c": "thread/007"},
        HOUSE.replace("  a:", "  b:").replace('"b":', '"a":').replace("  c:", '  "007":'),
    ),
    "a section that all entries leave becomes the other one where it lies": (
        HOUSE,
        {"a": "conversation/x", "b": "conversation/w", "c": "conversation/z"},
        HOUSE.replace("threads:", "conversations:")
        .replace("  a:", "  x:")
        .replace('"b":', '"w":')
        .replace("  c:", "  z:"),
    ),
    "an entry takes its comments to a new section, and leaves the heading of others": (
        HOUSE,
        {"b": "conversation/w"},
        HOUSE.replace('\n  # about b\n  "b":\n    metadata:\n      note: |\n        text\n', "").replace(
            "\n# vaults",
            '\nconversations:\n  # about b\n  "w":\n    metadata:\n      note: |\n        text\n\n# vaults',
        ),
    ),
    "the first entry leaves no blank line behind": (
        HOUSE,
        {"a": "conversation/x"},
        HOUSE.replace(
            "  # about a\n  a:  # beside a\n    # inside\n    metadata: {plan: gold}\n    # below a\n\n", ""
        ).replace(
            "\n# vaults",
            "\nconversations:\n  # about a\n  x:  # beside a\n    # inside\n    metadata: {plan: gold}\n    # below a\n"
            "\n# vaults",
        ),
    ),
    "to a section that is there they go below, at its indentation, with the comments on their own": (
        HOUSE,
        {"a": "vault/x", "b": "vault/w", "c": "vault/z"},
        """\
# top

version: 1

# vaults
vaults:
    v1:

    # support
    # all of them
    # about a
    x:  # beside a
      # inside
      metadata: {plan: gold}
      # below a

    # --- the others

    # about b
    "w":
      metadata:
        note: |
          text

    z:
    # the end of the list
""",
    ),
    "CRLF, a byte order mark and an open end stay": (
        "\ufeffversion: 1\r\nthreads:\r\n  a: # c\r\n  b:\r\nconversations:\r\n  d:",
        {"a": "conversation/x"},
        "\ufeffversion: 1\r\nthreads:\r\n  b:\r\nconversations:\r\n  d:\r\n  x: # c",
    ),
    "to an empty section, whose comment stays": (
        "version: 1\nthreads:\n   a:\n   b:\nconversations: {}  # none yet\nvaults: {}\n",
        {"a": "conversation/x", "b": "vault/w"},
        "version: 1\nconversations:  # none yet\n   x:\nvaults:\n   w:\n",
    ),
    "from braces to a section in braces": (
        "version: 1\nthreads: {a: {metadata: {k: v}}, b: {}}\n",
        {"a": "conversation/x:1"},
        'version: 1\nthreads: {b: {}}\nconversations: {"x:1": {metadata: {k: v}}}\n',
    ),
    "nothing said, in braces": (
        "version: 1\nthreads: {a: , b: {}}\nconversations: {c: }\n",
        {"a": "conversation/x"},
        "version: 1\nthreads: {b: {}}\nconversations: {c: , x:  }\n",
    ),
    "from braces to lines": (
        'version: 1\nthreads: {"a":{metadata: {k: v}}, b: {}}  # c\nconversations:\n  d:\n',
        {"a": "conversation/x", "b": "conversation/w"},
        'version: 1\nconversations:\n  d:\n  # c\n  "x": {metadata: {k: v}}\n  w: {}\n',
    ),
    "in JSON": (
        '{"version": 1,\n "threads": {\n  "a":{"metadata": {"k": "v"}},\n  "b":{}\n }\n}\n',
        {"a": "conversation/x"},
        '{"version": 1,\n "threads": {\n  "b":{}\n },\n "conversations": {"x":{"metadata": {"k": "v"}}}\n}\n',
    ),
    "in JSON, to a section that says nothing": (
        '{"version": 1, "threads": {"a":{}}, "conversations": null}\n',
        {"a": "conversation/x"},
        '{"version": 1, "conversations": {"x":{}}}\n',
    ),
    "an alias goes below its anchor, and an anchor with its section": (
        "version: 1\nthreads:\n  a: &x {metadata: {k: v}}\n  b: *x\n",
        {"b": "conversation/w"},
        "version: 1\nthreads:\n  a: &x {metadata: {k: v}}\nconversations:\n  w: *x\n",
    ),
    "merge keys inside of an entry go with it": (
        "version: 1\ndefaults: {metadata: &m {k: v}}\nthreads:\n  a: {metadata: {<<: *m}}\n  b:\n",
        {"a": "conversation/w"},
        "version: 1\ndefaults: {metadata: &m {k: v}}\nthreads:\n  b:\nconversations:\n  w: {metadata: {<<: *m}}\n",
    ),
    "a new section stands in the order of the kinds, set off like the others": (
        "version: 1\n\nthreads:\n  a:\n  b:\n\nassistants:\n  c:\n\nvaults:\n  d:\n",
        {"b": "conversation/w"},
        "version: 1\n\nthreads:\n  a:\n\nassistants:\n  c:\n\nconversations:\n  w:\n\nvaults:\n  d:\n",
    ),
    "before the document ends": (
        "--- # c\nversion: 1\nthreads:\n  a:\n  b:\n...\n# rest\n",
        {"b": "conversation/w"},
        "--- # c\nversion: 1\nthreads:\n  a:\nconversations:\n  w:\n...\n# rest\n",
    ),
    "a key of several forms": (
        "version: 1\nthreads:\n  ? a\n  : protect: true\n  ? &k b\n  : {}\n",
        {"a": "thread/x", "b": "thread/w"},
        "version: 1\nthreads:\n  ? x\n  : protect: true\n  ? &k w\n  : {}\n",
    ),
}


@pytest.mark.parametrize(("manifest", "places", "expected"), MOVES.values(), ids=MOVES)
def test_entries_move_with_all_that_belongs_to_them(manifest: str, places: dict[str, str], expected: str):
    assert moved(manifest, **places) == expected
    before, after = resources(manifest.encode()), resources(expected.encode())
    refs = refs_of(places)
    assert {refs.get(ref, ref): one.metadata for ref, one in before.items()} == {
        r: o.metadata for r, o in after.items()
    }
    if not set(refs) & set(refs.values()):
        assert moved(expected, **places) == expected


def test_two_sections_trade_their_entries():
    manifest = "version: 1\nthreads:  # t\n  a: {protect: true}\nconversations:  # c\n  x:\n"
    refs = {Ref("thread", "a"): Ref("conversation", "x"), Ref("conversation", "x"): Ref("thread", "a")}
    done = move(manifest.encode(), FILE, refs)
    assert done.data.decode() == "version: 1\nthreads:  # t\n  a:\nconversations:  # c\n  x: {protect: true}\n"


IMMOVABLE = {
    "an anchor that stays in use": (
        "version: 1\nthreads:\n  a: &x {metadata: {k: v}}\n  b: *x\n",
        {"a": "conversation/x"},
        (3, "an anchor ties it to other places (line 4)"),
    ),
    "what is merged in": (
        "version: 1\nvaults: &v\n  a:\nthreads: *v\n",
        {"a": "conversation/x"},
        (3, "is merged in from another mapping"),
    ),
    "what would be renamed elsewhere, too": (
        "version: 1\nvaults: &v\n  b:\n  &k c:\nthreads:\n  *k : {protect: true}\n  a:\n    metadata: {k: *k}\n",
        {"c": "vault/x"},
        None,
    ),
    "several lines in braces": (
        "version: 1\nthreads: {a: {metadata: {\n k: v}}, b: {}}\nconversations:\n  d:\n",
        {"a": "conversation/x"},
        (2, "`reconciler fmt` does"),
    ),
    "comments in braces": (
        "version: 1\nthreads: {  # c\n a: {}, b: {}}\n",
        {"a": "conversation/x"},
        (3, "`reconciler fmt` does"),
    ),
    "lines to braces": (
        "version: 1\nthreads:\n  a:\n    protect: true\nconversations: {d: {}}\n",
        {"a": "conversation/x"},
        (3, "written in braces"),
    ),
    "the last text without a line break": (
        "version: 1\nconversations:\n  d:\nthreads:\n  a:\n  b:\n    metadata:\n      k: |\n        v",
        {"b": "conversation/x"},
        (6, "write |- there"),
    ),
    "a text that keeps the blank lines below it, at the end": (
        "version: 1\nthreads:\n  b:\n  a:\n    metadata:\n      k: |+\n        f\n\nassistants:\n  c: {}\n\n",
        {"a": "conversation/x"},
        (6, "write it with | alone"),
    ),
    "a text that keeps the blank lines below it, where something comes": (
        "version: 1\nthreads:\n  a:\n  b:\n    metadata:\n      k: >+\n        f\nassistants:\n  c:\n\n# end\n",
        {"b": "conversation/x"},
        (6, "write it with > alone"),
    ),
    "an id that is longer than a key of YAML": (
        "version: 1\nthreads:\n  a: {}\n",
        {"a": f"conversation/{'x' * 1001}"},
        (3, "at most 1,000"),
    ),
}


@pytest.mark.parametrize(("manifest", "places", "told"), IMMOVABLE.values(), ids=IMMOVABLE)
def test_what_cannot_move_is_refused_with_its_place(
    manifest: str, places: dict[str, str], told: tuple[int, str] | None
):
    done = move(manifest.encode(), FILE, refs_of(places))
    if told is None:
        assert done.refused == ()
        return
    assert done.data == manifest.encode()
    (refusal,) = done.refused
    assert refusal.location is not None
    assert refusal.location.line == told[0]
    assert told[1] in refusal.message


def test_numbers_do_not_go_where_values_are_strings():
    manifest = b"version: 1\nvector_store_files:\n  v/a: {metadata: {n: 1, b: true, s: x}}\n  v/b: {metadata: {s: x}}\n"
    refs = {Ref("vector_store_file", "v/a"): Ref("thread", "a"), Ref("vector_store_file", "v/b"): Ref("thread", "b")}
    done = move(manifest, FILE, refs)
    assert done.data == manifest
    assert [(one.key, one.location) for one in done.refused] == [
        ("n", Location(FILE, 3, 20)),
        ("b", Location(FILE, 3, 26)),
    ]
    only = {ref: new for ref, new in refs.items() if ref.id == "v/b"}
    assert b"threads:\n  b: {metadata: {s: x}}" in move(manifest, FILE, only).data


@pytest.mark.parametrize(
    ("lost", "instead"), [("  # say\n", ""), ("ownership: exclusive", "ownership: declared"), ("b: {}", "c: {}")]
)
def test_a_move_that_would_lose_anything_is_a_mistake_of_ours_and_reaches_no_file(lost, instead, monkeypatch):
    def losing(state, wanted):
        return moved_all(state, wanted).replace(lost, instead)

    manifest = b"version: 1\nthreads:\n  # say\n  a: {metadata: {x: y}, ownership: exclusive}\n  b: {}\n"
    refs = {A: Ref("conversation", "x")}
    assert lost.encode() in move(manifest, FILE, refs).data
    moved_all = writer._moved_all
    monkeypatch.setattr(writer, "_moved_all", losing)
    with pytest.raises(NotMoved, match="would not declare the same"):
        move(manifest, FILE, refs)


def test_an_invalid_file_is_left_alone_and_an_unmoved_one_stays_byte_for_byte():
    refs = {A: Ref("conversation", "x")}
    assert move(b"threads: [", FILE, refs).refused[0].ref == A
    manifest = b"version: 1\r\nthreads: {b: {}}   "
    assert move(manifest, FILE, refs) == Written(manifest)
