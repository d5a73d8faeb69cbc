"""The canonical form, situation by situation: `tests/cases/fmt/` has each file before and after."""

from pathlib import Path

import pytest

from reconciler.kinds import KINDS
from reconciler.manifest import canonical as module
from reconciler.manifest import read_manifest
from reconciler.manifest.canonical import ORDER, NotKept, canonical
from reconciler.manifest.layout import layout
from reconciler.manifest.schema import Accepted, Defaults, Manifest, Resource
from reconciler.manifest.spans import compose
from reconciler.manifest.writer import Declaration, declare
from reconciler.model import Ref

FILE = "f.yaml"
CASES = sorted((Path(__file__).parent.parent / "cases" / "fmt").glob("*.before.yaml"))
HEAD = "version: 1\nthreads:\n  a:\n    metadata:\n"


def formatted(text):
    done = canonical(text.encode() if isinstance(text, str) else text, FILE)
    assert done.problems == ()
    return done.data.decode()


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.name.partition(".")[0])
def test_a_manifest_comes_out_as_its_case_says(path):
    after = path.with_name(path.name.replace(".before.", ".after.")).read_text(encoding="utf-8")
    assert formatted(path.read_bytes()) == after
    assert formatted(after) == after


def test_every_case_has_both_sides():
    names = {path.name.partition(".")[0] for path in CASES[0].parent.iterdir()}
    assert names == {path.name.partition(".")[0] for path in CASES}


@pytest.mark.parametrize(
    ("role", "model"), [("root", Manifest), ("defaults", Defaults), ("resource", Resource), ("accepted", Accepted)]
)
def test_every_field_has_its_place(role, model):
    assert sorted(ORDER[role]) == sorted(model.model_fields)


def test_sections_stand_in_the_order_of_the_table_of_kinds():
    plurals = [kind.plural for kind in KINDS.values()]
    text = "version: 1\n" + "".join(f"{plural}:\n" for plural in reversed(plurals))
    assert formatted(text) == "version: 1\n" + "".join(f"{plural}:\n" for plural in plurals)


LINES = {
    "CRLF": "\r\n",
    "CR": "\r",
    "LF": "\n",
}


@pytest.mark.parametrize("break_", LINES.values(), ids=LINES)
def test_lines_end_with_lf_and_there_is_no_byte_order_mark(break_):
    text = f'{HEAD}      a: |\n        x\n        y\n      b: "c\\r\\n"  # d\n'
    raw = "\ufeff" + text.replace("\n", break_)
    assert formatted(raw) == text
    assert formatted(raw.removesuffix(break_)) == text


def test_a_block_scalar_that_the_file_ends_in_the_middle_of_gets_no_line_break():
    assert formatted(f"{HEAD}      a: |\n        x") == f"{HEAD}      a: |-\n        x\n"


VALUES = {
    "a word": ("'gold'", "gold"),
    "words": ('"Acme Corp."', "Acme Corp."),
    "a number": ("'42'", '"42"'),
    "a number of YAML 1.1": ("'1_000'", '"1_000"'),
    "a time of YAML 1.1": ("'1:30'", '"1:30"'),
    "a boolean of YAML 1.1": ("'off'", '"off"'),
    "a date": ("'2026-01-31'", '"2026-01-31"'),
    "nothing": ("''", '""'),
    "an alias, nearly": ("'*a'", '"*a"'),
    "a comment, nearly": ("'a #b'", '"a #b"'),
    "JSON": ('"{\\"a\\": [1]}"', "'{\"a\": [1]}'"),
    "a pattern": ('"\\\\d+"', "'\\d+'"),
    "both quotes": ("'\"it''s\"'", '"\\"it\'s\\""'),
    "an apostrophe": ("'it''s'", "it's"),
    "a line break": ('"a\\nb"', '"a\\nb"'),
    "what cannot be seen": ('"a\u202eb\u00a0c"', '"a\\u202eb\\u00a0c"'),
    "a character beyond the first plane": ('"\\ud83d\\ude00"', '"😀"'),
    "a command of a CI service": ("'##[group]x'", '"\\u0023#[group]x"'),
    "null": ("~", "null"),
    "null, not written": ("", "null"),
    "a block scalar with what cannot be seen": ("|-\n        a\u2028b", '"a\\u2028b"'),
    "a block scalar with blank lines at its end": ("|+\n        a\n\n\n", '"a\\n\\n\\n\\n"'),
    "a block scalar with one line": ('|-\n          "x": y', '|-\n        "x": y'),
    "an empty block scalar": ("|", '""'),
    "a folded text": (">-\n         a\n         b\n\n         c", ">-\n        a\n        b\n\n        c"),
    "a folded text that is indented further": (">2\n          a\n        b", '"  a\\nb\\n"'),
    "a text over several lines": ('"a\n        b\\\n        c"', "a bc"),
}


@pytest.mark.parametrize(("before", "after"), VALUES.values(), ids=VALUES)
def test_a_value_is_written_in_one_way(before, after):
    assert formatted(f"{HEAD}      k: {before}\n") == f"{HEAD}      k: {after}\n"


def test_a_key_that_is_too_long_for_a_line_keeps_its_question_mark():
    long = "x" * 2000
    text = f"version: 1\nthreads:\n  ? {long}\n  :  # why\n    metadata:\n      a: b\n"
    assert formatted(text) == text
    assert formatted(text.replace(long, f'"{long}"').replace("?  ", "? ")) == text


def test_an_invalid_manifest_stays_as_it_is_with_every_problem():
    data = b"version: 1\nthreads:\n  a: {metadata: {x: 1}, foo: 2}\n"
    done = canonical(data, FILE)
    assert done.data == data
    assert done.problems == read_manifest(data, FILE).problems
    assert [str(problem.location) for problem in done.problems] == ["f.yaml:3:21", "f.yaml:3:25"]


def test_thousands_of_anchors_are_sorted_as_far_as_they_let_themselves():
    named = [f"  t{9999 - n}:\n    metadata:\n      a: &n{n} x\n" for n in range(3000)]
    using = [f"  s{n}:\n    metadata:\n      a: *n{n}\n" for n in range(3000)]
    after = formatted("version: 1\nthreads:\n" + "".join(named + using))
    ids = [one.ref.id for one in read_manifest(after.encode(), FILE).resources]
    using_in_order = sorted(f"s{n}" for n in range(3000))
    assert ids == [id_ for name in using_in_order for id_ in (f"t{9999 - int(name[1:])}", name)]


def test_resources_that_each_need_the_one_below_keep_their_order():
    links = [f"  t{9999 - n}:\n    <<: *n{n - 1}\n    protect: true\n" for n in range(1, 40)]
    named = [link.replace(":\n", f": &n{n}\n", 1) for n, link in enumerate(links, 1)]
    text = "version: 1\nthreads:\n  t9999: &n0\n    protect: false\n" + "".join(named)
    assert formatted(text) == text


def test_what_import_writes_is_canonical_but_for_quotes_that_are_not_needed():
    metadata = {"plan": "gold", "count": "7", "on": "yes", "text": "Acme Corp."}
    data = declare(None, FILE, [Declaration(Ref("thread", "b"), metadata), Declaration(Ref("thread", "c"), {})]).data
    assert data.decode() == formatted(data).replace("Acme Corp.", '"Acme Corp."')


# --- the proof --------------------------------------------------------------------------------------------------------


SPOILT = {
    "a value changes": lambda text: text.replace("gold", "silver"),
    "a key is lost": lambda text: text.replace("      plan: gold  # why\n", "      # why\n"),
    "a comment is lost": lambda text: text.replace("  # why", ""),
    "a comment changes": lambda text: text.replace("# why", "# who"),
    "a comment becomes a value": lambda text: text.replace("gold  # why", "gold# why"),
    "it is no YAML": lambda text: text + "  {",
    "a field that nobody compares changes": lambda text: text.replace(
        "allow_secret_like: true", "allow_secret_like: false"
    ),
}


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
def test_a_form_that_says_something_else_never_comes_out(spoil, monkeypatch):
    class Spoiling(module._Writer):
        def text(self, found):
            return spoil(super().text(found))

    monkeypatch.setattr(module, "_Writer", Spoiling)
    data = f"{HEAD}      plan:   gold  # why\n    allow_secret_like: true\n".encode()
    with pytest.raises(NotKept, match=r"internal error.*f\.yaml is left as it is"):
        canonical(data, FILE)


def test_the_layout_knows_whose_a_comment_is():
    found = layout(
        compose(
            "# head\n\nversion: 1  # v\nthreads:\n  # a's\n  a:\n    # inside\n  # b's\n  b: {}\n  # last\n# tail\n"
        )
    )
    threads = found.root.children[1]
    assert [line.text for line in found.head] == ["# head"]
    assert found.root.children[0].ends == ["# v"]
    assert [[line.text for line in item.above] for item in threads.children] == [["# a's"], ["# b's"]]
    assert [[line.text for line in item.below] for item in (*threads.children, threads)] == [
        ["# inside"],
        [],
        ["# last"],
    ]
    assert [line.text for line in found.tail] == ["# tail"]
