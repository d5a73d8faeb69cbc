"""One manifest: what it asks for, and every problem at its place."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.errors import Location
from reconciler.kinds import KINDS
from reconciler.manifest import FileManifest, read_manifest
from reconciler.manifest.schema import Manifest, ScalarManifest
from reconciler.model import Acceptance, Desired, Ownership, Ref

BAD = sorted((Path(__file__).parent.parent / "cases" / "bad_manifests").glob("*.yaml"))
EXPECTED = re.compile(r"^# problem: (\d+):(\d+) (\w+)$", re.MULTILINE)


def read(text: str) -> FileManifest:
    return read_manifest(text.encode(), "f.yaml")


def only(text: str) -> Desired:
    manifest = read(text)
    assert manifest.problems == ()
    (desired,) = manifest.resources
    return desired


def message(text: str) -> str:
    (problem,) = read(text).problems
    return problem.message


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_every_problem_of_a_bad_manifest_is_told_at_its_place(path: Path) -> None:
    data = path.read_bytes()
    expected = [Location(path.name, int(line), int(column)) for line, column, _ in EXPECTED.findall(data.decode())]
    manifest = read_manifest(data, path.name)
    assert manifest.resources == ()
    assert sorted((found.location, found.code) for found in manifest.problems) == sorted(
        zip(expected, (code for _, _, code in EXPECTED.findall(data.decode())), strict=True)
    )


def test_the_problems_of_a_file_are_in_the_order_of_their_places() -> None:
    for path in BAD:
        places = [found.location for found in read_manifest(path.read_bytes(), path.name).problems]
        assert places == sorted(places)


def test_a_resource_carries_everything_that_it_declares() -> None:
    desired = only("""\
version: 1
defaults:
  ignore: ["runtime.*"]
  metadata: {team: support, plan: free}
threads:
  thread_abc123:
    metadata:
      plan: gold
      trial_ends: null
    ownership: exclusive
    ignore: [seen, "runtime.*"]
    protect: true
    accept:
      - {key: plan, value: silver, until: 2026-12-31, reason: known}
      - {key: team, value: null, until: "2027-01-01"}
""")
    assert desired.ref == Ref("thread", "thread_abc123")
    assert desired.metadata == {"team": "support", "plan": "gold", "trial_ends": None}
    assert (desired.ownership, desired.ignore, desired.protect) == (Ownership.EXCLUSIVE, ("runtime.*", "seen"), True)
    assert desired.accept == (
        Acceptance("plan", "silver", "2026-12-31", "known"),
        Acceptance("team", None, "2027-01-01"),
    )
    assert desired.location == Location("f.yaml", 6, 3)
    assert {key: (at.line, at.column) for key, at in desired.sources.items()} == {
        "team": (4, 14), "plan": (8, 7), "trial_ends": (9, 7)
    }  # fmt: skip
    assert len(desired.sources) == 3


@pytest.mark.parametrize("body", ["", " {}", " null", " {metadata: {}}"])
def test_a_resource_that_says_nothing_inherits_the_defaults(body: str) -> None:
    defaults = "defaults: {ownership: exclusive, ignore: [x], metadata: {a: b, c: null}}"
    desired = only(f"version: 1\n{defaults}\nthreads:\n  t:{body}\n")
    assert desired.metadata == {"a": "b", "c": None}
    assert (desired.ownership, desired.ignore, desired.protect) == (Ownership.EXCLUSIVE, ("x",), False)


def test_a_resource_that_says_declared_overrides_defaults_that_say_exclusive() -> None:
    desired = only("version: 1\ndefaults: {ownership: exclusive}\nthreads: {t: {ownership: declared}}")
    assert desired.ownership is Ownership.DECLARED


def test_a_null_overrides_a_default_and_a_value_overrides_a_null() -> None:
    desired = only("version: 1\ndefaults: {metadata: {a: x, b: null}}\nthreads: {t: {metadata: {a: null, b: y}}}")
    assert desired.metadata == {"a": None, "b": "y"}


@pytest.mark.parametrize(
    "text", ["version: 1", "version: 1\ndefaults:\nthreads:\n", "version: 1\ndefaults: {}\nthreads: {}\nruns: null"]
)
def test_a_file_may_declare_nothing(text: str) -> None:
    assert read(text) == FileManifest()


def test_every_kind_has_a_section_and_every_id_its_form() -> None:
    lines = (f"{kind.plural}: {{{'p/c' if kind.nested else 'c'}: }}\n" for kind in KINDS.values())
    manifest = read("version: 1\n" + "".join(lines))
    assert manifest.problems == ()
    assert [resource.ref.kind for resource in manifest.resources] == list(KINDS)


def test_numbers_and_booleans_are_values_where_the_kind_takes_them() -> None:
    desired = only("version: 1\nvector_store_files: {v/f: {metadata: {a: 1, b: 1.0, c: true, d: x, e: null}}}")
    assert [(key, type(value)) for key, value in desired.metadata.items()] == [
        ("a", int), ("b", float), ("c", bool), ("d", str), ("e", type(None))
    ]  # fmt: skip


def test_defaults_take_numbers_where_every_kind_of_the_file_does() -> None:
    desired = only(
        "version: 1\ndefaults: {metadata: {n: 5}}\nvector_store_files: {v/f: {accept: [{key: n, value: 6}]}}"
    )
    assert (desired.metadata, desired.accept) == ({"n": 5}, (Acceptance("n", 6),))


def test_merged_keys_know_where_they_stand() -> None:
    desired = only("""\
version: 1
threads:
  t:
    metadata:
      <<: {a: x, b: y}
      b: own
""")
    assert desired.metadata == {"b": "own", "a": "x"}
    assert (desired.sources["a"].line, desired.sources["a"].column) == (5, 12)
    assert (desired.sources["b"].line, desired.sources["b"].column) == (6, 7)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("threads: {t: {metadata: {a: 5}}}",
                     '5 is a YAML number; metadata values are strings: write "5"', id="number"),
        pytest.param("threads: {t: {metadata: {a: true}}}",
                     'true is a YAML boolean; metadata values are strings: write "true"', id="boolean"),
        pytest.param("vector_store_files: {v/f: {metadata: {a: " + "x" * 513 + "}}}",
                     "this one has 513", id="long scalar"),
        pytest.param("threads: {t: {accept: [{key: a, value: b, until: '2026-13-01'}]}}",
                     "written YYYY-MM-DD", id="until"),
        pytest.param("threads: {t: {metadata: {5: a}}}", '5 is a YAML number; keys are strings: write "5"', id="key"),
        pytest.param("threads: {t: {metadata: {? : a}}}",
                     'nothing is written here; keys are strings: write ""', id="empty key"),
        pytest.param("threads: {t: {metadata: {a: [x]}}}", "a list is no metadata value", id="list"),
        pytest.param("thread: {}", "did you mean threads?", id="singular"),
        pytest.param("Threads: {}", "did you mean threads?", id="capital"),
        pytest.param("xyz: {}", "known are threads, messages", id="nothing is close"),
        pytest.param("threads: {t: {metdata: {}}}", "did you mean metadata?", id="field"),
        pytest.param("threads: {t: {accept: [{key: a, value: b, reasons: c}]}}",
                     "did you mean reason?", id="field of accept"),
        pytest.param("defaults: {ignored: []}", "did you mean ignore?", id="field of defaults"),
        pytest.param("threads: {t: {metadata: {a: " + "x" * 513 + "}}}", "this one has 513", id="long value"),
        pytest.param("threads: {t: {metadata: {" + "x" * 65 + ": a}}}", "this one has 65", id="long key"),
        pytest.param("threads: {t: {ownership: all}}", "ownership must be declared or exclusive", id="ownership"),
        pytest.param("threads: {t: }\nthreads: {}",
                     "the key threads stands twice, first in line 2, column 1", id="twice"),
        pytest.param("threads: {t: , t: }",
                     "thread/t is declared twice, first in line 2, column 11", id="resource twice"),
        pytest.param('threads: {"a\\e[31m": }', "a\\u001b[31m is no id", id="escape sequence"),
        pytest.param("messages: {m: }", "that of a message is written parent/child", id="parent"),
        pytest.param("vector_store_files: {v/f: {metadata: {a: 007}}}", 'or "007" for the text', id="octal or not"),
        pytest.param("vector_store_files: {v/f: {metadata: {a: 2024-01-01}}}", "2024-01-01 is a YAML date", id="date"),
    ],
)  # fmt: skip
def test_a_problem_says_what_to_do(text: str, words: str) -> None:
    assert words in message(f"version: 1\n{text}")


def test_a_key_like_the_marker_of_pydantic_is_a_key_like_any_other() -> None:
    (problem,) = read('version: 1\nthreads: {t: {metadata: {"[key]": 5}}}').problems
    assert (problem.code, problem.location) == ("not_a_string", Location("f.yaml", 2, 35))


def test_a_file_with_problems_still_tells_what_it_declares() -> None:
    manifest = read("version: 1\nthreads: {a: {metadata: {k: 5}}, b: }")
    assert list(manifest.declared()) == [
        (Ref("thread", "a"), Location("f.yaml", 2, 11)),
        (Ref("thread", "b"), Location("f.yaml", 2, 34)),
    ]


def test_a_secret_in_the_wrong_place_is_not_repeated() -> None:
    assert "sk-secret" not in message("version: 1\nthreads: {t: sk-secret}")


_KEYS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=64)
_VALUES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=512)


@given(st.dictionaries(_KEYS, _VALUES | st.none(), max_size=16))
def test_every_map_that_the_limits_allow_is_declared_as_it_is(pairs: dict[str, str | None]) -> None:
    body = json.dumps({"version": 1, "threads": {"t": {"metadata": pairs}}})
    assert dict(only(body).metadata) == pairs


_NAMES = "version threads messages vector_store_files defaults metadata ignore accept protect ownership key value until"
_WORDS = st.sampled_from([*_NAMES.split(), "[key]", "a/b", "t"]) | st.text(max_size=3)
_YAMLISH = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_WORDS, inner, max_size=4),
    max_leaves=25,
)


@given(_YAMLISH)
def test_no_document_makes_the_schema_raise(tree: object) -> None:
    manifest = read_manifest(json.dumps(tree).encode(), "f")
    assert not (manifest.problems and manifest.resources)
    assert all(problem.location for problem in manifest.problems)


@pytest.mark.parametrize("model", [Manifest, ScalarManifest])
def test_the_models_give_a_json_schema_with_descriptions(model: type[Manifest]) -> None:
    schema = model.model_json_schema()
    assert all("description" in part for part in schema["properties"].values())
    assert set(schema["properties"]) == {"version", "defaults", *(kind.plural for kind in KINDS.values())}


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (
            b'version: 1\nthreads:\n  a:\n    metadata:\n      n: 5\n    bogus: x\n  b:\n    metadata: {k: "v}\n',
            [("not_a_string", 5), ("unknown_field", 6), ("yaml_syntax", 8)],
        ),
        (
            b"version: 1\nthreads:\n  a: {metadata: {n: 5}}\n  b: {metadata: {k: \xff}}\n  c: {metadata: {n: 5}}\n",
            [("not_a_string", 3), ("invalid_utf8", 4)],
        ),
        (b"threads:\n  a: {metadata: {k: v}}\n  b: [\n", [("yaml_syntax", 4)]),
        (
            b"version: 2\nthreads:\n  a: {accept: [{key: a}], metadata: {b: 'c\n",
            [("bad_version", 1), ("yaml_syntax", 3)],
        ),
        (b"thread: {}\n  x: y\n", [("unknown_kind", 1), ("yaml_syntax", 2)]),
        (b"- a\nb: {", [("yaml_syntax", 2)]),
        (
            b"version: 1\nthreads:\n  a: {metadata: {n: 5}}\n  b: *nowhere\n  c: {x: y}\n",
            [("not_a_string", 3), ("yaml_syntax", 4), ("unknown_field", 5)],
        ),
        (
            b"version: 1\nthreads:\n  a: {metadata: *nowhere}\n  *nothing : {}\n",
            [("yaml_syntax", 3), ("yaml_syntax", 4)],
        ),
        (
            b"version: 1\nthreads:\n  a: {metadata: {n: 5}}\n  b: {metadata: {k: \x07}}\n  c: {x: y}\n",
            [("not_a_string", 3), ("control_character", 4)],
        ),
        (b"version: 1\nthreads: {a: {x: y}}\n...\n}\n", [("unknown_field", 2), ("yaml_syntax", 4)]),
        (b"version: 1\nthreads:\n  a: {metadata: {n: 5}}\n  1\xff2: {}\n", [("not_a_string", 3), ("invalid_utf8", 4)]),
        (b"%TAG ! x\n---\nversion: 1\nthreads: {a: {metadata: {u: https://x}}}\n", [("yaml_tag", 1)]),
        ("version: 1\n".encode("utf-16"), [("invalid_utf8", 1)]),
    ],
    ids=[
        "open quote",
        "no utf-8",
        "open list",
        "open map",
        "indentation",
        "no map",
        "undefined aliases",
        "undefined aliases as map and as key",
        "control character",
        "after the end",
        "half a key",
        "the slow parser",
        "utf-16",
    ],
)
def test_a_fault_hides_only_the_rest_of_its_file(data, expected):
    problems = read_manifest(data, "m.yaml").problems
    assert [(problem.code, problem.location.line) for problem in problems] == expected


def test_what_stands_before_a_fault_counts_for_resources_declared_twice():
    found = read_manifest(b"version: 1\nthreads:\n  a: {}\n  b: {{\n", "m.yaml")
    assert [str(ref) for ref, _ in found.declared()] == ["thread/a", "thread/b"]
    assert not found.resources


def test_a_merge_key_in_a_file_that_ends_too_early_is_no_resource():
    found = read_manifest(b"version: 1\nthreads:\n  <<: {x: {}}\n  a: {{\n", "m.yaml")
    assert [str(ref) for ref, _ in found.declared()] == ["thread/a"]


KEY = "sk-proj-" + "Ab3_" * 10


def secrets(text: str) -> list[str]:
    problems = read(f"version: 1\n{text}").problems
    assert all("Ab3_" not in problem.message for problem in problems)
    return [f"{one.location.line}:{one.location.column}" for one in problems if one.code == "secret_like"]


def test_a_value_that_looks_like_a_key_is_refused_at_its_place() -> None:
    assert secrets(f"threads: {{a: {{metadata: {{x: ok, y: {KEY}}}}}}}") == ["2:36"]
    assert secrets(f"threads: {{a: {{metadata: {{y: 'token={KEY};'}}}}}}") == ["2:29"]
    assert secrets(f"threads: {{a: {{metadata: {{y: 'x'}}, accept: [{{key: y, value: {KEY}}}]}}}}") == ["2:60"]
    assert secrets(f'threads: {{a: {{metadata: {{y: "\\x73k-{KEY[3:]}"}}}}}}') == ["2:29"]
    assert secrets("threads: {a: {metadata: {y: task-list}}}") == []
    told = message(f"version: 1\nthreads: {{a: {{metadata: {{y: {KEY}}}}}}}")
    assert "looks like an OpenAI key" in told
    assert "allow_secret_like: true on the resource" in told


def test_a_resource_may_allow_for_what_looks_like_a_key() -> None:
    assert only(f"version: 1\nthreads: {{a: {{metadata: {{y: {KEY}}}, allow_secret_like: true}}}}").metadata == {
        "y": KEY
    }
    assert secrets(f"threads: {{a: {{metadata: {{y: {KEY}}}, allow_secret_like: false}}}}") == ["2:29"]
    assert "bad_allow_secret_like" in {
        one.code for one in read("version: 1\nthreads: {a: {allow_secret_like: 1}}").problems
    }
    assert "unknown_field" in {one.code for one in read("version: 1\ndefaults: {allow_secret_like: true}").problems}


@pytest.mark.parametrize(
    ("resources", "refused"),
    [
        ("{a: {allow_secret_like: true}, b: {allow_secret_like: true}}", False),
        ("{a: {allow_secret_like: true}, b: {metadata: {y: own}}}", False),
        ("{a: {allow_secret_like: true}, b: }", True),
        ("{a: {metadata: {y: own}}}", True),
        ("{}", True),
    ],
)
def test_a_key_among_the_defaults_has_to_be_allowed_for_by_everybody_who_inherits_it(resources, refused) -> None:
    assert secrets(f"defaults: {{metadata: {{y: {KEY}}}}}\nthreads: {resources}") == (["2:26"] if refused else [])


@pytest.mark.parametrize(
    "text",
    [
        f"{KEY}: 1",
        f"threads: {{a: {{{KEY}: 1}}}}",
        f"threads: {{a: {{metadata: {{{KEY}: 1, {KEY}: 2}}}}}}",
        f"threads: {{'{KEY} x': {{}}}}",
        f"threads: {{a: {{metadata: {{y: '{KEY * 20}'}}}}}}",
        f"threads: {{a: {{metadata: {{{KEY * 3}: y}}}}}}",
        f"threads: {{a: {{protect: {KEY}}}}}",
        f"threads: {KEY}",
        f"defaults: {KEY}",
        f"threads: {{a: {{ownership: {KEY}, ignore: {KEY}, accept: {KEY}}}}}",
        f"threads: {{a: {{ignore: ['*'], metadata: {{{KEY}: x}}}}}}",
    ],
)
def test_no_problem_repeats_a_key(text) -> None:
    problems = read(f"version: 1\n{text}").problems
    assert problems
    assert all("Ab3_" not in problem.message for problem in problems), problems
