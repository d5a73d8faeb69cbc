"""Laws of the canonical form: whatever a manifest looks like, it means the same, keeps its comments, and is settled."""

import json
import random
from pathlib import Path

import pytest
from fuzz import mutations
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from reconciler.manifest import read_manifest
from reconciler.manifest.canonical import canonical
from reconciler.manifest.writer import Declaration, Drop, Put, declare, edit
from reconciler.model import MAX_KEY, MAX_VALUE, Ref

FILE = "f.yaml"
ROOT = Path(__file__).resolve().parents[2]
SAMPLES = [
    path.read_bytes() for folder in ("manifests", "tests/cases/fmt") for path in sorted((ROOT / folder).glob("*.y*ml"))
]
PLAIN = [
    "gold",
    "Acme Corp.",
    "é",
    "😀",
    "https://x/y?z=1",
    "it's",
    "a-b",
    "x,y",
    "a: b"[:1],
    "k.v",
    "/x",
    "a#b",
    "007x",
]
ODD = ["yes", "null", "~", "007", "1e3", "2024-01-01", "12:30:45", "<<", "a: b", "#x", "a #b", "- a", "*a", "&a", "{a}"]
ODD += ["[", "'", '"', "\\", " a ", "a\nb\n", "\n", "a\r\nb", "\t", "\x85", "\u2028", "\ufeff", "e\u0301", "\ue000"]
ODD += [
    "\x07",
    "\u202e",
    "|",
    ">-",
    "%a",
    "@a",
    "`",
    "---",
    "...",
    "",
    "::error::x",
    "##[group]x",
    '{"a": "b\\n"}',
    "=",
    "y",
]
characters = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
texts = st.sampled_from([*PLAIN, *ODD, "x" * MAX_VALUE]) | st.text(characters, max_size=40)
keys = st.sampled_from(["plan", "customer", "team", *PLAIN[:8], *(text for text in ODD if text)])
keys |= st.text(characters, min_size=1, max_size=MAX_KEY)
IDS = ["thread_a", "thread_b", "thread_c", "B", "007", "a:b", "null", "-", "1.5", "x" * 1100]
BREAKS = ["\n", "\n", "\r\n", "\r"]


def pick(draw, *some):
    return draw(st.sampled_from(some))


class Scribe:
    """Writes a manifest in the oddest of ways, and remembers which comments it made."""

    def __init__(self, draw, *, anchored):
        self.draw = draw
        self.anchored = anchored
        self.comments = []
        self.anchors = {}
        self.lines = []
        self.deepest = 99

    def pick(self, *some):
        return pick(self.draw, *some)

    def sometimes(self):
        return self.pick(False, False, True)

    def comment(self):
        text = "#" + self.pick("", " ", "!", "# ", " - ", " é \u2028") + f"c{len(self.comments)};"
        text += self.pick("", "", " {a: b}, [c]", " it's", ' "', " a: b", " # again", " &x *y", " |")
        self.comments.append(text)
        return text + self.pick("", "", "  ", "\t")

    def some(self, *choices):
        """One of some lists of lines, a comment in the place of each `#`."""
        return [line.replace("#", self.comment()) if "#" in line else line for line in self.pick(*choices)]

    def end(self):
        return self.pick("", "", "", "  ", " ") and f"{self.pick(' ', '   ')}{self.comment()}"

    def between(self, indent):
        """Comments and blank lines, anywhere above an entry."""
        for _ in range(self.pick(0, 0, 0, 1, 2, 3)):
            if self.sometimes():
                self.lines.append(self.pick("", " ", "   "))
            else:
                column = self.pick(0, indent, indent, indent + 1, indent + 2, max(indent - 1, 0))
                self.lines.append(" " * min(column, self.deepest) + self.comment())
        self.deepest = 99

    def quoted(self, text, *, flow=False):
        style = self.pick("", "'", '"', '"')
        if style == "'" and text.isprintable():
            return "'" + text.replace("'", "''") + "'"
        if style == "" and text in PLAIN and not (flow and (set(text) & set(",:#?"))):
            return text
        return json.dumps(text, ensure_ascii=self.pick(True, False) or not text.isprintable())

    def anchor(self, kind):
        if self.anchored and self.sometimes() and self.sometimes():
            name = self.pick("a", "b", "c")
            self.anchors[name] = kind
            return f"&{name} "
        return ""

    def alias(self, kind):
        names = [name for name, known in self.anchors.items() if known == kind]
        return self.pick(*names) if names and self.sometimes() else None

    def value(self, value, *, flow=False):
        alias = self.alias("value")
        if alias:
            return f"*{alias} " if flow else f"*{alias}"
        if value is None:
            return self.anchor("value") + self.pick("null", "~", "Null")
        return self.anchor("value") + self.quoted(value, flow=flow)

    # -- mappings of metadata

    def metadata(self, indent, pairs):
        """Write `metadata:` below a resource whose fields are indented so far."""
        pad = " " * indent
        alias = self.alias("map")
        if alias and self.sometimes():
            self.lines.append(f"{pad}metadata: *{alias}{self.end()}")
            return
        merge = [f"<<: *{alias}"] if alias else []
        if not pairs and not merge:
            self.lines.append(f"{pad}metadata: {self.pick('{}', '{ }')}{self.end()}")
            return
        form = self.pick("block", "block", "flow", "ragged", "explicit")
        name = self.anchor("")
        getattr(self, f"_{form}")(indent, name, merge, pairs)
        if name:
            self.anchors[name[1:-1]] = "map"

    def _block(self, indent, name, merge, pairs):
        deeper = indent + self.pick(1, 2, 3, 8)
        self.lines.append(f"{' ' * indent}metadata: {name}".rstrip() + self.end())
        for entry in merge:
            self.between(deeper)
            self.lines.append(f"{' ' * deeper}{entry}{self.end()}")
        for key, value in pairs.items():
            self.between(deeper)
            self._pair(deeper, key, value)

    def _pair(self, indent, key, value):
        pad, start = " " * indent, f"{' ' * indent}{self.anchor('value')}{self.quoted(key)}"
        form = self.pick("line", "line", "line", "literal", "folded", "below", "nothing")
        if form == "line":
            self.lines.append(f"{start}{self.pick('', ' ')}:{self.pick(' ', '   ')}{self.value(value)}{self.end()}")
        elif form == "nothing" or value is None:
            self.lines.append(f"{start}:{self.end()}")
        elif form == "below":
            self.lines.append(f"{start}:{self.end()}")
            self.lines += [f"{pad}  {self.comment()}"] if self.sometimes() else []
            self.lines.append(f"{pad} {self.quoted(value)}{self.end()}")
        else:
            words = self.draw(
                st.lists(st.sampled_from(["a", "b # no", "c: d", "", " e", "é'\"", "f\t", "::x"]), max_size=5)
            )
            mark = "|" if form == "literal" else ">"
            deeper = self.pick(1, 2, 5)
            chomping = self.pick("", "-", "+")
            self.lines.append(f"{start}: {mark}{deeper}{chomping}{self.end()}")
            self.lines += [" " * (indent + deeper) + word if word else self.pick("", " ") for word in ["x", *words]]
            self.deepest = indent

    def _flow(self, indent, name, merge, pairs):
        entries = [
            *merge,
            *(f"{self.quoted(key, flow=True)}: {self.value(value, flow=True)}" for key, value in pairs.items()),
        ]
        gap, edge, comma = self.pick(", ", " , ", ","), self.pick("", " "), self.pick("", ",")
        entries = [entry + " " if entry.startswith("<<") else entry for entry in entries]
        self.lines.append(f"{' ' * indent}metadata: {name}{{{edge}{gap.join(entries)}{comma}{edge}}}{self.end()}")

    def _ragged(self, indent, name, merge, pairs):
        self.lines.append(f"{' ' * indent}metadata: {name}{{{self.end()}")
        entries = [*merge, *(None for _ in pairs)]
        left = iter(pairs.items())
        for number, entry in enumerate(entries):
            self.between(indent + 2)
            if entry is None:
                key, value = next(left)
                entry = f"{self.quoted(key, flow=True)}: {self.value(value, flow=True)}"
            comma = " ," if number + 1 < len(entries) or self.sometimes() else ""
            self.lines.append(f"{' ' * (indent + self.pick(1, 2, 4))}{entry}{comma}{self.end()}")
        self.between(indent + 1)
        self.lines.append(f"{' ' * (indent + 1)}}}{self.end()}")

    def _explicit(self, indent, name, merge, pairs):
        self.lines.append(f"{' ' * indent}metadata: {name}".rstrip() + self.end())
        pad = " " * (indent + 2)
        self.lines += [f"{pad}{entry}{self.end()}" for entry in merge]
        for key, value in pairs.items():
            self.between(indent + 2)
            self.lines.append(f"{pad}? {self.quoted(key)}{self.end()}")
            self.lines += [f"{pad}{self.comment()}"] if self.sometimes() else []
            self.lines.append(f"{pad}: {self.value(value)}{self.end()}")

    # -- the rest

    def ignore(self, indent):
        pad = " " * indent
        if self.sometimes():
            self.lines.append(f"{pad}ignore: [ zz.*,'zzz' ]{self.end()}")
            return
        self.lines.append(f"{pad}ignore:{self.end()}")
        deeper = indent + self.pick(0, 1, 4)
        for glob in ("zz.*", "'zzz*'", '"zy?"'):
            self.between(deeper)
            self.lines.append(f"{' ' * deeper}-{self.pick(' ', '   ')}{glob}{self.end()}")

    def accept(self, indent):
        self.lines.append(f"{' ' * indent}accept:{self.end()}")
        deeper = indent + self.pick(0, 2)
        for _ in range(self.pick(1, 2)):
            self.between(deeper)
            fields = self.draw(st.permutations(["value: ~", "key: k", "until: 2030-01-31", "reason: 'so: it is'"]))
            form = self.pick("flow", "inline", "below")
            if form == "flow":
                self.lines.append(f"{' ' * deeper}- {{{', '.join(fields)}}}{self.end()}")
                continue
            if form == "below":
                self.lines.append(f"{' ' * deeper}-{self.end()}")
            for number, one in enumerate(fields):
                if number or form == "below":
                    self.between(deeper + 2)
                start = "- " if form == "inline" and not number else "  "
                self.lines.append(f"{' ' * deeper}{start}{one}{self.end()}")

    def simple(self, indent, name):
        values = {"ownership": ["exclusive", "'declared'"], "protect": ["True", "false"], "allow_secret_like": ["true"]}
        self.lines.append(f"{' ' * indent}{name}: {self.pick(*values[name])}{self.end()}")

    def field(self, indent, name):
        self.between(indent)
        if name == "metadata":
            self.metadata(indent, self.draw(st.dictionaries(keys, st.none() | texts, max_size=4)))
        elif name in ("ignore", "accept"):
            getattr(self, name)(indent)
        else:
            self.simple(indent, name)

    def defaults(self):
        self.lines.append(f"{self.pick('defaults', '? defaults', chr(34) + 'defaults' + chr(34))}{self.end()}")
        if self.lines[-1].startswith("?"):
            self.lines.append(f":{self.end()}")
        else:
            head, hash_, rest = self.lines[-1].partition("#")
            self.lines[-1] = f"{head.rstrip()}:{' ' if hash_ else ''}{hash_}{rest}"
        indent = self.pick(1, 2, 4)
        names = self.draw(st.lists(st.sampled_from(["metadata", "ownership", "ignore"]), min_size=1, unique=True))
        for name in names:
            self.field(indent, name)

    def section(self, plural):
        self.lines.append(f"{plural}:{self.end()}")
        indent = self.pick(1, 2, 4)
        pad = " " * indent
        fields = ["metadata", "metadata", "ownership", "ignore", "protect", "accept", "allow_secret_like"]
        for id_ in self.draw(st.lists(st.sampled_from(IDS), max_size=4, unique=True)):
            self.between(indent)
            start = f"{pad}? {self.quoted(id_)}\n{pad}:" if len(id_) > 999 else f"{pad}{self.key(id_)}:"
            names = self.draw(st.lists(st.sampled_from(fields), max_size=4, unique=True))
            alias = self.alias("resource")
            if alias:
                self.lines += f"{start} *{alias}{self.end()}".split("\n")
                continue
            if not names:
                self.lines += f"{start}{self.pick('', ' {}', ' ~', ' { }')}{self.end()}".split("\n")
                continue
            name = self.anchor("") if len(id_) < 999 else ""
            self.lines += (f"{start} {name}".rstrip() + self.end()).split("\n")
            deeper = indent + self.pick(1, 2, 4)
            for one in names:
                self.field(deeper, one)
            if name:
                self.anchors[name[1:-1]] = "resource"

    def key(self, id_):
        return (
            json.dumps(id_)
            if id_ in ("007", "null", "-", "1.5", "a:b")
            else self.pick(id_, f"'{id_}'", json.dumps(id_))
        )

    def write(self):
        """Write all of it; returns the bytes."""
        self.lines += self.some([], [], ["---"], ["--- #"], ["%YAML 1.2", "---"])
        for part in self.draw(st.permutations(["version", "defaults", "threads", "conversations"])):
            self.between(0)
            if part == "version":
                self.lines.append(f"version: {self.pick('1', '1 ')}{self.end()}")
            elif part == "defaults":
                self.defaults()
            else:
                self.section(part)
        self.between(0)
        self.lines += self.some([], [], [""], ["...", "#"], ["#"], ["", "  #", ""])
        mark, break_, end = self.pick("", "\ufeff"), self.pick(*BREAKS), self.pick("", "\n")
        return (mark + break_.join(self.lines) + end.replace("\n", break_)).encode()


@st.composite
def manifests(draw, *, anchored=True):
    """A valid manifest, and the comments in it."""
    scribe = Scribe(draw, anchored=anchored)
    data = scribe.write()
    # What two entries have in common (a key given twice, a key that is ignored) makes few of them invalid.
    problems = read_manifest(data, FILE).problems
    event(problems[0].code if problems else "valid")
    assume(not problems)
    return data, scribe.comments


def declared(data):
    manifest = read_manifest(data, FILE)
    assert manifest.problems == ()
    fields = ("ownership", "ignore", "protect", "accept")
    return {one.ref: (dict(one.metadata), *(getattr(one, name) for name in fields)) for one in manifest.resources}


def formatted(data):
    done = canonical(data, FILE)
    assert done.problems == ()
    return done.data


def settled(data):
    """Return the canonical form, which has to mean the same as the data and be its own canonical form."""
    after = formatted(data)
    assert declared(after) == declared(data)
    assert formatted(after) == after
    return after


@settings(max_examples=120)
@given(manifests())
def test_the_canonical_form_means_the_same_keeps_every_comment_and_is_its_own(world):
    data, comments = world
    lines = settled(data).decode().split("\n")
    for comment in comments:
        assert sum(line.endswith(comment) for line in lines) == 1
    assert sum(line.lstrip().startswith("#") for line in lines) <= len(comments) + data.decode().count("b # no")


@given(manifests())
def test_the_canonical_form_has_one_way_of_breaking_and_indenting_lines(world):
    data, _ = world
    text = formatted(data).decode()
    assert "\r" not in text
    assert not text.startswith(("\ufeff", "\n", "---"))
    assert text.endswith("\n")
    assert text == "\n" or not text.endswith("\n\n")
    if not set("|>") & set(text):
        assert "\n\n\n" not in text
        assert not any(line.endswith((" ", "\t")) for line in text.split("\n"))
        assert all((len(line) - len(line.lstrip(" "))) % 2 == 0 for line in text.split("\n"))


@given(manifests(anchored=False))
def test_without_anchors_everything_is_in_order(world):
    manifest = read_manifest(formatted(world[0]), FILE)
    ids = [one.ref for one in manifest.resources]
    assert ids == sorted(ids, key=lambda ref: (list(manifest.table.ids).index(ref.kind), ref.id))
    places = [one.location for one in manifest.resources]
    assert places == sorted(places)
    for one in manifest.resources:
        own = [key for key, at in sorted(one.sources.items(), key=lambda pair: pair[1]) if at > one.location]
        assert own == sorted(own)


def written(resources, draw, order):
    """A manifest with nothing but what is declared, in the order given."""
    lines = ["version: 1", "threads:"]
    for id_ in order:
        lines.append(f"  {json.dumps(id_)}:{'' if resources[id_] else ' {}'}")
        lines += ["    metadata:"] if resources[id_] else []
        pairs = draw(st.permutations(sorted(resources[id_].items())))
        lines += [f"      {json.dumps(key)}: {json.dumps(value)}" for key, value in pairs]
    return "\n".join(lines).encode()


@given(
    st.dictionaries(
        st.sampled_from(IDS[:-1]), st.dictionaries(keys, st.none() | texts, max_size=5), min_size=1, max_size=5
    ),
    st.data(),
)
def test_the_order_in_which_things_were_written_leaves_no_trace(resources, data):
    one, other = (written(resources, data.draw, data.draw(st.permutations(sorted(resources)))) for _ in range(2))
    assume(not read_manifest(one, FILE).problems)
    assert formatted(one) == formatted(other)


@settings(max_examples=120)
@given(st.dictionaries(keys, texts, min_size=1, max_size=4), st.sampled_from([(1, 1), (1, 2)]), st.booleans())
def test_any_reader_of_yaml_1_1_and_1_2_reads_these_very_strings(pairs, version, flow):
    inner = ", ".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in pairs.items())
    block = "".join(f"\n      {json.dumps(key)}: {json.dumps(value)}" for key, value in pairs.items())
    metadata = f" {{{inner}}}" if flow else block
    data = f"version: 1\nthreads:\n  a:\n    metadata:{metadata}\n    allow_secret_like: true\n".encode()
    assume(not read_manifest(data, FILE).problems)
    reader = YAML(typ="safe", pure=True)
    reader.version = version
    assert reader.load(formatted(data))["threads"]["a"]["metadata"] == pairs


@settings(max_examples=120)
@given(st.integers(0, 2**32))
def test_whatever_becomes_of_a_sample_what_is_valid_can_be_formatted(seed):
    data = mutations.yaml(random.Random(seed), SAMPLES)
    if read_manifest(data, FILE).problems:
        assert canonical(data, FILE).data == data
        return
    event("valid")
    settled(data)


@pytest.mark.parametrize("data", SAMPLES)
def test_every_manifest_of_this_repository_can_be_formatted(data):
    settled(data)


@given(manifests(), st.lists(st.tuples(st.sampled_from(["plan", "yes", "a b"]), st.none() | texts), max_size=3))
def test_what_is_adopted_and_imported_into_a_canonical_file_is_formatted_without_a_change_of_meaning(world, pairs):
    data = formatted(world[0])
    refs = [one.ref for one in read_manifest(data, FILE).resources]
    edits = [Put(ref, key, value) if value else Drop(ref, key) for ref in refs[:2] for key, value in pairs]
    adopted = edit(data, FILE, edits).data
    imported = declare(adopted, FILE, [Declaration(Ref("vault", "v"), dict(pairs))]).data
    settled(imported)
