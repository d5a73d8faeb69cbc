"""Laws of writing manifests: whatever a manifest looks like and whatever is written into it."""

import json
import re
import subprocess

from hypothesis import event, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from reconciler.compare import Action, Rules, judge
from reconciler.dialects import MERGE_NULL
from reconciler.manifest import read_manifest
from reconciler.manifest.notation import FRESH, PLAIN, scalar
from reconciler.manifest.patch import patch
from reconciler.manifest.writer import Declaration, Drop, Put, Written, declare, edit, move
from reconciler.model import MAX_KEY, MAX_PAIRS, MAX_VALUE, Observed, Ref, matches, same

FILE = "f.yaml"
ODD = ["yes", "null", "~", "007", "1e3", "2024-01-01", "12:30:45", "<<", "a: b", "#x", "a #b", "- a", "? a", "*a", "&a"]
ODD += [
    "{a}",
    "[",
    "a,b",
    "it's",
    '"',
    "\\",
    " a ",
    "a\nb\n",
    "\n",
    "a\r\nb",
    "\t",
    "\x85",
    "\u2028",
    "\ufeff",
    "😀",
    "é",
]
ODD += [
    "e\u0301",
    "\ue000",
    "\x07",
    "\u202e",
    "https://x/y?z=1",
    "x" * MAX_KEY,
    "|",
    ">-",
    "%a",
    "@a",
    "`",
    "---",
    "...",
]
characters = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
keys = st.sampled_from(["plan", "customer", "team", "k.v", *(text for text in ODD)]) | st.text(
    characters, min_size=1, max_size=MAX_KEY
)
values = st.sampled_from(["gold", "", "Acme Corp.", "x" * MAX_VALUE, *ODD]) | st.text(characters, max_size=MAX_VALUE)
pairs = st.dictionaries(keys, st.none() | values, max_size=5)
IDS = ["thread_a", "thread_b", "007", "a:b", "null", "-"]
UNQUOTED = {"plan", "customer", "team", "k.v", "gold", "Acme Corp.", "é", "😀", "https://x/y?z=1", "it's"}
BREAKS = ["\n", "\r\n", "\r"]


def quoted(text, style):
    """Write a string for the sake of a test: in single quotes where they can hold it, else as JSON does."""
    if style == "'" and text.isprintable():
        return "'" + text.replace("'", "''") + "'"
    if style == "" and text in UNQUOTED:
        return text
    return json.dumps(text, ensure_ascii=True)


def written(value, style):
    return "null" if value is None else quoted(value, style)


@st.composite
def metadata_lines(draw, indent, own):
    """The lines of `metadata:` in one of several styles; none of them changes what it means."""
    style, comment = draw(st.sampled_from(["", "'", '"'])), draw(st.sampled_from(["", "  # why", " # {a: b}, c"]))
    entries = [f"{quoted(key, style)}: {written(value, style)}" for key, value in own.items()]
    form = draw(st.sampled_from(["block", "flow", "lines", "ragged", "trailing", "explicit"]))
    if not own:
        return draw(st.sampled_from([[], [f"{indent}metadata: {{}}{comment}"], [f"{indent}metadata: {{ }}"]]))
    if form == "block":
        above = draw(st.sampled_from([[], [f"{indent}  # above"], [""]]))
        lines = [[*above, f"{indent}  {entry}{comment}"] for entry in entries]
        return [f"{indent}metadata:{comment}", *(line for some in lines for line in some)]
    if form == "explicit":
        lines = [f"{indent}  ? {quoted(k, style)}{comment}\n{indent}  : {written(v, style)}" for k, v in own.items()]
        return [f"{indent}metadata:", *"\n".join(lines).split("\n")]
    if form == "flow":
        return [f"{indent}metadata: {{{', '.join(entries)}}}{comment}"]
    if form == "trailing":
        return [f"{indent}metadata: {{ {' , '.join(entries)}, }}{comment}"]
    if form == "ragged":
        joined = f",{comment}\n{indent}  ".join(entries)
        return f"{indent}metadata: {{{joined}}}{comment}".split("\n")
    lines = [f"{indent}  {entry}," for entry in entries]
    lines[-1] = lines[-1].removesuffix(draw(st.sampled_from(["", ","])))
    return [f"{indent}metadata: {{", *(line + comment for line in lines), f"{indent}}}"]


@st.composite
def manifests(draw):
    """A manifest as a person may have written it: its bytes, its line break, and whose each of its lines is."""
    step = draw(st.sampled_from(["  ", " ", "    "]))
    lines = [("# top", None), ("version: 1", None)]
    defaults = draw(pairs)
    if defaults:
        lines += [(line, None) for line in ["defaults:", *draw(metadata_lines(step, defaults))]]
    lines.append(("threads:  # all of them", None))
    for id_ in draw(st.lists(st.sampled_from(IDS), min_size=1, unique=True)):
        block = [f'{step}"{id_}":', *draw(metadata_lines(step * 2, draw(pairs)))]
        block += draw(st.sampled_from([[], [f"{step * 2}protect: true"], [f"{step * 2}# tail"]]))
        if len(block) == 1:
            block[0] += draw(st.sampled_from(["", " {}", "  # nothing", " ~", " null  # c"]))
        lines += [(line, id_) for line in block]
        lines += [(line, None) for line in draw(st.sampled_from([[], [""], ["# between"], [f"{step}# between"]]))]
    break_ = draw(st.sampled_from(BREAKS))
    end = draw(st.sampled_from(["", break_, break_ * 2, f"{break_}..."]))
    mark = draw(st.sampled_from(["", "\ufeff"]))
    text = mark + break_.join(line for line, _ in lines) + end
    return text.encode(), break_, [id_ for _, id_ in lines] + [None] * end.count(break_)


@st.composite
def worlds(draw):
    """A manifest and some edits, of which about half name keys that are declared."""
    data, break_, owners = draw(manifests())
    manifest = read_manifest(data, FILE)
    assert not manifest.problems
    declared = [(one.ref, key) for one in manifest.resources for key in one.metadata]
    refs = st.sampled_from([one.ref for one in manifest.resources])
    places = st.tuples(refs, keys) | (st.sampled_from(declared) if declared else st.nothing())
    chosen = draw(st.lists(places, min_size=1, max_size=8, unique=True))
    some = [Drop(*place) if draw(st.booleans()) else Put(*place, draw(st.none() | values)) for place in chosen]
    return data, some, break_, owners


def declared(data):
    manifest = read_manifest(data, FILE)
    assert manifest.problems == ()
    return {one.ref: one for one in manifest.resources}


def intended(before, done, defaults):
    """What each resource should declare after the edits."""
    want = {ref: dict(one.metadata) for ref, one in before.items()}
    for one in done:
        if isinstance(one, Put):
            want[one.ref][one.key] = one.value
        elif one.key in defaults:
            want[one.ref][one.key] = None
        else:
            want[one.ref].pop(one.key, None)
    return want


@settings(max_examples=300)
@given(worlds())
def test_an_edited_file_declares_what_was_meant_and_everything_else_as_before(world):
    data, some, *_ = world
    before = declared(data)
    done = edit(data, FILE, some)
    event("refused" if done.refused else "written")
    refused = {(one.ref, one.key) for one in done.refused}
    after = declared(done.data)
    assert after.keys() == before.keys()
    want = intended(before, [one for one in some if (one.ref, one.key) not in refused], defaults_of(data))
    for ref, one in after.items():
        assert one.metadata == want[ref]
        assert (one.ownership, one.ignore, one.protect, one.accept) == (
            before[ref].ownership,
            before[ref].ignore,
            before[ref].protect,
            before[ref].accept,
        )


def defaults_of(data):
    """Return the keys that every resource inherits."""
    probe = declare(data, FILE, [Declaration(Ref("vault", "probe"), {})])
    assert not probe.refused
    return declared(probe.data)[Ref("vault", "probe")].metadata.keys()


@given(worlds())
def test_nothing_that_a_manifest_may_hold_is_refused_without_need(world):
    data, some, *_ = world
    before = declared(data)
    counts = {ref: len(one.metadata) for ref, one in before.items()}
    done = edit(data, FILE, some)
    assert all(counts[one.ref] > 8 for one in done.refused)


@settings(max_examples=200)
@given(worlds())
def test_lines_of_other_resources_stay_byte_for_byte_and_in_order(world):
    data, some, break_, owners = world
    done = edit(data, FILE, some)
    old, new = data.decode().split(break_), done.data.decode().split(break_)
    touched = {one.ref.id for one in some}
    left = iter(new)
    for line, id_ in zip(old, owners, strict=True):
        if id_ not in touched or line.strip() in ("# above", "# tail"):
            assert line in left
    assert data.decode().endswith(break_) == done.data.decode().endswith(break_)
    assert not any(other in done.data.decode() for other in BREAKS if other not in break_ and break_ not in other)


@given(worlds())
def test_editing_twice_is_editing_once(world):
    data, some, *_ = world
    once = edit(data, FILE, some)
    again = edit(once.data, FILE, some)
    assert again.data == once.data


words = st.text(st.sampled_from("yYnNoOeEaf xt0129.:_+-/,Zé~=<"), max_size=8)
readers = st.sampled_from([((1, 1), True), ((1, 2), True), ((1, 2), False)])


@settings(max_examples=500)
@given(values | words, st.sampled_from([PLAIN, FRESH, "'", '"']), st.booleans(), readers)
def test_every_reader_of_yaml_1_1_and_1_2_reads_the_same_string(text, style, flow, reader):
    version, pure = reader
    yaml = YAML(typ="safe", pure=pure)
    yaml.version = version
    written = scalar(text, style, flow=flow)
    event("plain" if written == text else written[0])
    both = f"[{written}, {{{written}: v}}]" if flow else f"- {written}\n- {written}: v\n"
    assert yaml.load(both) == [text, {text: "v"}]


observed = st.dictionaries(keys, values, max_size=MAX_PAIRS)
numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.booleans()


@given(manifests(), st.lists(observed, min_size=1, max_size=3), st.booleans())
def test_what_was_imported_plans_to_nothing(world, found, fresh):
    data = None if fresh else world[0]
    refs = [Ref(kind, f"new_{index}") for index in range(len(found)) for kind in ("thread", "vault")]
    made = [Declaration(ref, found[index // 2]) for index, ref in enumerate(refs)]
    done = declare(data, FILE, made)
    assert done.refused == ()
    after = declared(done.data)
    for one in made:
        assert judge(after[one.ref], Observed(one.metadata), None, Rules(MERGE_NULL)).action is Action.KEEP
        assert all(same(one.metadata.get(key), value) for key, value in after[one.ref].metadata.items())
    if data is not None:
        before = declared(data)
        assert all(after[ref].metadata == one.metadata for ref, one in before.items())


@given(st.dictionaries(keys, values | numbers, max_size=MAX_PAIRS))
def test_numbers_and_booleans_plan_to_nothing_where_they_are_values(found):
    ref = Ref("vector_store_file", "vs_1/file-1")
    done = declare(None, FILE, [Declaration(ref, found)])
    assert done.refused == ()
    change = judge(declared(done.data)[ref], Observed(found), None, Rules(MERGE_NULL))
    assert change.action is Action.KEEP


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=600),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=70), inner, max_size=2),
    max_leaves=4,
)


@given(
    st.binary(max_size=40) | st.just(b"version: 1\nthreads:\n  a: {ignore: ['x*']}\n"),
    st.dictionaries(st.text(max_size=70), anything, max_size=20),
)
def test_strange_input_is_refused_and_never_raises(data, found):
    ref = Ref("thread", "a")
    done = edit(data, FILE, [Put(ref, key, value) for key, value in found.items()])
    again = declare(data, FILE, [Declaration(Ref("thread", "b"), found)])
    for result, key_of in ((done, ref), (again, Ref("thread", "b"))):
        assert all(one.ref == key_of and one.message for one in result.refused)
    manifest = read_manifest(done.data, FILE)
    if not manifest.problems:
        for one in manifest.resources:
            assert all(found[key] == value and not matches(key, one.ignore) for key, value in one.metadata.items())


@settings(max_examples=30)
@given(worlds(), st.booleans(), st.sampled_from(["f.yaml", "a b.yaml", 'q"\\.yaml', "é/😀.yml"]))
def test_git_applies_a_patch_to_the_same_bytes(tmp_path_factory, world, new, name):
    before, some, *_ = world
    after = edit(before, FILE, some).data
    before = b"" if new else before
    folder = tmp_path_factory.mktemp("patch")
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    if before:
        path.write_bytes(before)
    text = patch(before, after, name)
    if text:
        done = subprocess.run(["git", "apply", "-"], cwd=folder, input=text.encode(), capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
    assert path.read_bytes() == after


lines = st.lists(st.sampled_from(["a\n", "b\n", "c\r\n", "\n", "é\n", "\x0c\n", "\u2028\n"]), max_size=30)


@settings(max_examples=30)
@given(lines, lines, st.sampled_from(["", "end"]), st.sampled_from(["", "end", "other"]))
def test_git_applies_a_patch_of_any_two_texts(tmp_path_factory, old, new, old_end, new_end):
    before, after = "".join([*old, old_end]).encode(), "".join([*new, new_end]).encode()
    folder = tmp_path_factory.mktemp("patch")
    if not before or not after:
        return
    (folder / FILE).write_bytes(before)
    text = patch(before, after, FILE)
    if text:
        done = subprocess.run(["git", "apply", "-"], cwd=folder, input=text.encode(), capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
    assert (folder / FILE).read_bytes() == after


# --- other references -------------------------------------------------------------------------------------------------

SECTIONS = {"threads": "thread", "messages": "message", "conversations": "conversation", "vaults": "vault"}


def said(count):
    """Return the next comment; no two are the same."""
    count.append(None)
    return f"# say {len(count)}: {{a: b}}, c"


@st.composite
def asides(draw, count, indent):
    """Blank lines and comments between two entries."""
    forms = st.sampled_from([[], [], [""], ["#"], ["", "#"], ["#", ""], ["#", "", "#"], ["", "#", "#"]])
    return [f"{indent}{said(count)}" if line else "" for line in draw(forms)]


@st.composite
def entry_lines(draw, count, indent, step, key):
    """An entry of a section with what is beside, inside and below, indented further."""
    beside = draw(st.sampled_from(["", f"  {said(count)}"]))
    form = draw(st.sampled_from(["nothing", "braces", "fields", "fields", "literal"]))
    below = [f"{indent}{step}{said(count)}"] if draw(st.booleans()) else []
    if form == "nothing":
        return [f"{indent}{key}:{beside}", *below]
    if form == "braces":
        return [f"{indent}{key}: {{metadata: {{plan: gold}}, protect: true}}{beside}", *below]
    if form == "literal":
        fields = [f"{step}metadata:", f"{step * 2}note: |", f"{step * 3}one # no comment", "", f"{step * 3}- two"]
    else:
        fields = [f"{step}metadata: {{plan: 'a#b', team: \"it's\"}}", f"{step}ignore: ['x.*']  {said(count)}"]
    return [f"{indent}{key}:{beside}", *(f"{indent}{line}" if line else "" for line in fields), *below]


@st.composite
def houses(draw):
    """A manifest with several sections, whose lines each is of an entry or of none, and who moves where."""
    count, lines, refs = [], [(line, None) for line in draw(asides([], ""))], []
    count.extend([None] * 10)
    lines.append((f"version: 1  {said(count)}", None))
    for plural in draw(st.lists(st.sampled_from(list(SECTIONS)), min_size=1, unique=True)):
        lines += [(line, plural) for line in draw(asides(count, ""))]
        step = draw(st.sampled_from(["  ", " ", "    "]))
        names = draw(st.lists(st.sampled_from(IDS), min_size=0 if refs else 1, unique=True))
        if names and draw(st.sampled_from([False, False, False, True])):
            pairs_ = [f'"{name_in(plural, name)}": {{metadata: {{plan: gold}}}}' for name in names]
            lines.append(
                (f"{plural}: {{{', '.join(pairs_)}}}{draw(st.sampled_from(['', f'  {said(count)}']))}", plural)
            )
        else:
            lines.append((f"{plural}:{draw(st.sampled_from(['', f'  {said(count)}']))}", plural))
            for name in names:
                ref = Ref(SECTIONS[plural], name_in(plural, name))
                lines += [(line, plural) for line in draw(asides(count, step))]
                lines += [(line, ref) for line in draw(entry_lines(count, step, step, f'"{ref.id}"'))]
        refs += [Ref(SECTIONS[plural], name_in(plural, name)) for name in names]
    lines += [(line, None) for line in draw(asides(count, ""))]
    break_ = draw(st.sampled_from(BREAKS))
    text = draw(st.sampled_from(["", "\ufeff"])) + break_.join(line for line, _ in lines)
    moving = draw(st.lists(st.sampled_from(refs), min_size=1, unique=True))
    kinds = [draw(st.sampled_from(["thread", "conversation", "conversation", "vault"])) for _ in moving]
    mapping = {ref: Ref(kind, f"new_{index}") for index, (ref, kind) in enumerate(zip(moving, kinds, strict=True))}
    return (text + draw(st.sampled_from(["", break_]))).encode(), break_, lines, mapping


def name_in(plural, name):
    return f"t/{name}" if plural == "messages" else name


def rules(one):
    return one.metadata, one.ownership, one.ignore, one.protect, one.accept


def texts_of(lines):
    """Return the lines that say something, without their indentation, ends and byte order mark."""
    return [line.strip(" \ufeff") for line in lines if line.strip(" \ufeff")]


@settings(max_examples=60)
@given(houses())
def test_moved_entries_keep_what_they_say_and_their_comments_and_all_others_their_lines(house):
    data, break_, lines, mapping = house
    done = move(data, FILE, mapping)
    if done.refused:
        event("refused")
        assert done.data == data
        why = "fmt" if '{"' in data.decode() else "line break at its end"
        assert all(why in one.message or "line break at its end" in one.message for one in done.refused)
        return
    before, after = declared(data), declared(done.data)
    assert {mapping.get(ref, ref): rules(one) for ref, one in before.items()} == {r: rules(o) for r, o in after.items()}
    new = done.data.decode().split(break_)
    assert sorted(re.findall("# say [0-9]+", data.decode())) == sorted(re.findall("# say [0-9]+", done.data.decode()))
    left = iter(line.removeprefix("\ufeff") for line in new)
    for line, owner in lines:
        if isinstance(owner, Ref) and owner not in mapping and line:
            assert line in left
    for ref in mapping:
        own = [line.replace(f'"{ref.id}"', f'"{mapping[ref].id}"') for line, owner in lines if owner == ref]
        assert "\n".join(texts_of(own)) in "\n".join(texts_of(new))
    assert done.data.decode().endswith(break_) or not data.decode().endswith(break_)
    assert move(done.data, FILE, mapping) == Written(done.data)
