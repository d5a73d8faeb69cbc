"""Where values come from, asked of real repositories."""

import os
import subprocess

import pytest

from reconciler.cli import provenance
from reconciler.cli.provenance import Drifted, manifest_origins, part_of, with_blame
from reconciler.compare import Action, Cause
from reconciler.diff import Op
from reconciler.document import BaseFieldPart, ChangePart, CommitPart, Declared, FieldPart, Place
from reconciler.git import repository as around
from reconciler.git.history import Commit
from reconciler.kinds import KINDS
from reconciler.model import Ownership, Ref

REF = Ref("thread", "t_1")


def git(folder, *arguments, author="A", day="2026-03-01"):
    command = ["git", "-C", str(folder), "-c", f"user.name={author}", "-c", "user.email=a@example.org", *arguments]
    dates = {"GIT_AUTHOR_DATE": f"{day}T12:00:00Z", "GIT_COMMITTER_DATE": f"{day}T12:00:00Z"}
    return subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | dates).stdout.strip()


def commit(folder, name, content, *, author="A", day="2026-03-01"):
    """Write and commit a file; return the commit as the document has it."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, newline="")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "--allow-empty", "-m", "Change", author=author, day=day)
    return CommitPart(commit=git(folder, "rev-parse", "HEAD"), author=author, date=day)


@pytest.fixture
def top(tmp_path):
    folder = tmp_path / "repo"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    return folder


def declaring(pairs, id_="t_1", more=""):
    return f"version: 1\n{more}threads:\n  {id_}:\n    metadata: {pairs}\n"


# --- who declared it --------------------------------------------------------------------------------------------------


def field(key, file=None, line=0):
    place = Place(file=file, line=line, column=1) if file else None
    base = BaseFieldPart(known=False)
    return FieldPart(key=key, op=Op.ADD, before=None, after="v", cause=Cause.PENDING, base=base, source=place)


def change(id_, *fields):
    declared = Declared(metadata={}, ownership=Ownership.DECLARED, ignore=(), protect=False)
    return ChangePart(
        kind="thread", id=id_, action=Action.UPDATE, dialect="merge", source=None, observed={}, planned={}, foreign=(),
        fields=fields, fingerprint=None, declared=declared,
    )  # fmt: skip


def blames(changes):
    return [[one.blame for one in change.fields] for change in changes]


def test_each_field_is_told_with_the_commit_that_wrote_its_line(top):
    ann = commit(top, "m/a.yaml", "1\n2\n3\n", author="Ann", day="2026-03-01")
    ben = commit(top, "m/b.yaml", "1\n2\n", author="Ben", day="2026-03-02")
    cleo = commit(top, "m/a.yaml", "1\ntwo\n3\n", author="Cleo", day="2026-03-03")
    (top / "m" / "b.yaml").write_text("one\n2\n")
    changes = [
        change("t_1", field("k", "m/a.yaml", 1), field("l", "m/a.yaml", 2), field("gone")),
        change("t_2", field("k", "m/b.yaml", 1), field("l", "m/b.yaml", 2), field("m", "m/a.yaml", 1)),
        change("t_3"),
    ]
    told = with_blame(changes, around(top), top)
    assert blames(told) == [[ann, cleo, None], [CommitPart(), ben, ann], []]
    assert [one.model_copy(update={"fields": ()}) for one in told] == [
        one.model_copy(update={"fields": ()}) for one in changes
    ]
    assert [(one.key, one.source) for one in told[0].fields] == [(one.key, one.source) for one in changes[0].fields]


def test_files_are_those_below_the_settings(top):
    ann = commit(top, "team/m/a.yaml", "1\n", author="Ann")
    told = with_blame([change("t_1", field("k", "m/a.yaml", 1))], around(top), top / "team")
    assert blames(told) == [[ann]]


def test_where_nothing_can_be_told_nothing_is(top, tmp_path):
    commit(top, "a.yaml", "1\n")
    changes = (change("t_1", field("k", "a.yaml", 1)),)
    assert with_blame(changes, None, top) == changes
    gone = [change("t_1", field("k", "gone.yaml", 1), field("l", "a.yaml", 9))]
    assert with_blame(gone, around(top), top) == tuple(gone)
    (tmp_path / "outside.yaml").write_text("1\n")
    outside = [change("t_1", field("k", "../outside.yaml", 1))]
    assert blames(with_blame(outside, around(top), top)) == [[CommitPart()]]


def test_a_commit_is_told_by_id_author_and_day():
    assert part_of(Commit("abc", "Ann", "2026-03-01")) == CommitPart(commit="abc", author="Ann", date="2026-03-01")


# --- who declared it once ---------------------------------------------------------------------------------------------


def origin(top, value, key="plan", file="a.yaml", ref=REF):
    return manifest_origins([Drifted(ref, key, value, file)], around(top), top).get((ref, key))


def test_the_newest_commit_that_declared_the_value_is_its_origin(top):
    commit(top, "a.yaml", declaring("{plan: silver}"), author="Ann", day="2026-03-01")
    ben = commit(top, "a.yaml", declaring("{plan: silver, more: x}"), author="Ben", day="2026-03-02")
    cleo = commit(top, "a.yaml", declaring("{plan: brass}"), author="Cleo", day="2026-03-03")
    commit(top, "a.yaml", declaring("{plan: gold}"), day="2026-03-04")
    assert origin(top, "silver") == ben
    assert origin(top, "brass") == cleo
    assert origin(top, "tin") is None
    assert origin(top, "silver", key="more") is None
    assert origin(top, "silver", ref=Ref("thread", "t_2")) is None
    assert origin(top, "silver", ref=Ref("conversation", "t_1")) is None


def test_a_value_that_reached_the_resource_by_a_default_or_an_escape_counts(top):
    ann = commit(top, "a.yaml", declaring("{}", more="defaults: {metadata: {plan: silver}}\n"), author="Ann")
    ben = commit(top, "a.yaml", declaring('{plan: "bra\\x73s"}'), author="Ben", day="2026-03-02")
    cleo = commit(top, "a.yaml", declaring('{plan: "two\n\n      words"}'), author="Cleo", day="2026-03-03")
    dora = commit(top, "a.yaml", declaring("{plan: tin}", id_='"t\\u005f1"'), author="Dora", day="2026-03-04")
    commit(top, "a.yaml", declaring("{plan: gold}"), day="2026-03-05")
    assert [origin(top, value) for value in ("silver", "brass", "two\nwords", "tin")] == [ann, ben, cleo, dora]


def test_an_absent_key_was_declared_only_by_null(top):
    commit(top, "a.yaml", declaring("{other: x}"), author="Ann", day="2026-03-01")
    commit(top, "a.yaml", declaring('{plan: "null"}'), author="Ben", day="2026-03-02")
    commit(top, "a.yaml", declaring("{plan: gold}"), day="2026-03-03")
    assert origin(top, None) is None
    cleo = commit(top, "a.yaml", declaring("{plan: null}"), author="Cleo", day="2026-03-04")
    commit(top, "a.yaml", declaring("{plan: gold}"), day="2026-03-05")
    assert origin(top, None) == cleo
    assert origin(top, "null") != cleo


@pytest.mark.parametrize("value", [True, 1, ["silver"], {"silver": "silver"}, "", "Silver", " silver"])
def test_only_exactly_the_same_value_counts(top, value):
    commit(top, "a.yaml", declaring('{plan: silver, one: "1", yes: "true"}'))
    commit(top, "a.yaml", declaring("{plan: gold}"))
    assert [origin(top, value, key) for key in ("plan", "one", "yes")] == [None, None, None]


def test_numbers_and_truths_count_where_they_may_be_declared(top):
    kind = next(kind for kind in KINDS.values() if kind.scalars)
    ref = Ref(kind.name, "p_1/t_1" if kind.nested else "t_1")
    text = f"version: 1\n{kind.plural}:\n  {ref.id}:\n    metadata: "
    ann = commit(top, "a.yaml", text + "{plan: 1}\n", author="Ann", day="2026-03-01")
    ben = commit(top, "a.yaml", text + "{plan: true}\n", author="Ben", day="2026-03-02")
    commit(top, "a.yaml", text + "{plan: 2}\n", day="2026-03-03")
    assert [origin(top, value, ref=ref) for value in (1, 1.0, True, "1")] == [ann, ann, ben, None]


def test_branches_that_never_landed_and_merges_that_were_undone_are_searched(top):
    commit(top, "a.yaml", declaring("{plan: gold}"), day="2026-03-01")
    git(top, "checkout", "-q", "-b", "side")
    ann = commit(top, "a.yaml", declaring("{plan: silver}"), author="Ann", day="2026-03-02")
    git(top, "checkout", "-q", "main")
    assert origin(top, "silver") == ann
    git(top, "merge", "-q", "--no-ff", "-m", "Merge", "side", day="2026-03-03")
    git(top, "branch", "-q", "-D", "side")
    git(top, "revert", "-m", "1", "--no-edit", "HEAD", day="2026-03-04")
    assert origin(top, "silver") == ann


def test_a_dirty_tree_does_not_hide_that_the_last_commit_declared_what_was_found(top):
    ann = commit(top, "a.yaml", declaring("{plan: silver}"), author="Ann")
    (top / "a.yaml").write_text(declaring("{plan: gold}"))
    assert origin(top, "silver") == ann
    assert origin(top, "gold") is None


def test_a_renamed_file_is_followed(top):
    more = "".join(f"# {number}\n" for number in range(20))
    ann = commit(top, "old.yaml", declaring("{plan: silver}", more=more), author="Ann", day="2026-03-01")
    commit(top, "old.yaml", declaring("{plan: gold}", more=more), day="2026-03-02")
    git(top, "mv", "old.yaml", "a.yaml")
    commit(top, "b.yaml", "version: 1\n", day="2026-03-03")
    assert origin(top, "silver") == ann


def test_versions_that_cannot_be_read_are_passed_over(top):
    ann = commit(top, "a.yaml", declaring("{plan: silver}"), author="Ann", day="2026-03-01")
    commit(top, "a.yaml", declaring("{plan: silver}") + "conversations: {", author="Ben", day="2026-03-02")
    lost = commit(top, "a.yaml", declaring("{plan: silver, more: x}"), author="Cleo", day="2026-03-03")
    commit(top, "a.yaml", declaring("{plan: gold}"), day="2026-03-04")
    blob = git(top, "rev-parse", f"{lost.commit}:a.yaml")
    (top / ".git" / "objects" / blob[:2] / blob[2:]).unlink()
    assert origin(top, "silver") == ann


def test_many_fields_of_many_files_are_answered_together(top):
    ann = commit(top, "a.yaml", declaring("{plan: silver, more: x}"), author="Ann", day="2026-03-01")
    ben = commit(top, "sub/b.yaml", declaring("{plan: silver}", id_="t_2"), author="Ben", day="2026-03-02")
    commit(top, "a.yaml", declaring("{}"), day="2026-03-03")
    commit(top, "sub/b.yaml", declaring("{}", id_="t_2"), day="2026-03-03")
    other = Ref("thread", "t_2")
    drifted = [
        Drifted(REF, "plan", "silver", "a.yaml"),
        Drifted(REF, "more", "x", "a.yaml"),
        Drifted(REF, "new", "x", "a.yaml"),
        Drifted(other, "plan", "silver", "sub/b.yaml"),
        Drifted(other, "plan", "silver", "nothing.yaml"),
    ]
    assert manifest_origins(drifted, around(top), top) == {
        (REF, "plan"): ann,
        (REF, "more"): ann,
        (other, "plan"): ben,
    }
    assert manifest_origins(drifted, around(top / "sub"), top / "sub" / "..") != {}


def test_outside_of_git_and_before_the_first_commit_nothing_has_an_origin(top, tmp_path):
    drifted = [Drifted(REF, "plan", "silver", "a.yaml")]
    (top / "a.yaml").write_text(declaring("{plan: silver}"))
    assert manifest_origins(drifted, around(top), top) == manifest_origins(drifted, None, top) == {}
    assert manifest_origins([], around(top), top) == {}
    commit(top, "a.yaml", declaring("{plan: silver}"))
    assert manifest_origins(drifted, around(top), tmp_path) == {}


# --- bounds -----------------------------------------------------------------------------------------------------------


def test_only_the_last_versions_are_looked_at(top, monkeypatch):
    days = [f"2026-03-{day:02}" for day in range(1, 8)]
    parts = [commit(top, "a.yaml", declaring(f"{{plan: p{at}}}"), day=day) for at, day in enumerate(days)]
    monkeypatch.setattr(provenance, "MAX_VERSIONS", 3)
    assert [origin(top, f"p{at}") for at in range(7)] == [None] * 4 + parts[4:]


@pytest.mark.parametrize(("texts", "explained"), [(4, {"a.yaml", "b.yaml"}), (3.9, {"a.yaml"}), (2.9, set())])
def test_only_so_many_bytes_are_looked_at_and_the_newest_of_every_file_come_first(top, monkeypatch, texts, explained):
    refs = {"a.yaml": REF, "b.yaml": Ref("thread", "t_2")}
    older = {}
    for at in range(3):
        for name, ref in refs.items():
            part = commit(top, name, declaring(f"{{plan: p{at}}}", id_=ref.id), day=f"2026-03-0{at + 1}")
            older |= {name: part} if at == 1 else {}
    monkeypatch.setattr(provenance, "MAX_BYTES", int(texts * len(declaring("{plan: p0}"))))
    found = manifest_origins([Drifted(ref, "plan", "p1", name) for name, ref in refs.items()], around(top), top)
    assert found == {(refs[name], "plan"): older[name] for name in explained}


def test_only_so_many_files_are_looked_at(top, monkeypatch):
    for name, id_ in (("a.yaml", "t_1"), ("b.yaml", "t_2")):
        commit(top, name, declaring("{plan: silver}", id_=id_))
    monkeypatch.setattr(provenance, "MAX_FILES", 1)
    assert origin(top, "silver", file="b.yaml", ref=Ref("thread", "t_2")) is not None
    drifted = [Drifted(Ref("thread", "t_2"), "plan", "silver", "b.yaml"), Drifted(REF, "plan", "silver", "a.yaml")]
    assert list(manifest_origins(drifted, around(top), top)) == [(REF, "plan")]


def test_a_version_is_parsed_once_and_only_while_it_may_explain_what_is_left(top, monkeypatch):
    texts = [declaring(pairs) for pairs in ("{plan: tin}", "{plan: silver, n: abc}", "{plan: gold}", "{plan: brass}")]
    for day in (1, 2, 3, 4):
        commit(top, "a.yaml", texts[day - 1], day=f"2026-03-0{day}")
    commit(top, "a.yaml", texts[1], day="2026-03-05")
    commit(top, "a.yaml", texts[2], day="2026-03-06")
    parsed = []
    read = provenance.read_manifest
    monkeypatch.setattr(
        provenance, "read_manifest", lambda data, name: parsed.append(data.decode()) or read(data, name)
    )
    found = manifest_origins(
        [Drifted(REF, "plan", "silver", "a.yaml"), Drifted(REF, "n", "abc", "a.yaml")], around(top), top
    )
    assert ({part.date for part in found.values()}, parsed) == ({"2026-03-05"}, [texts[1]])
    parsed.clear()
    assert manifest_origins([Drifted(REF, "n", None, "a.yaml")], around(top), top) == {}
    assert parsed == [texts[2], texts[1], texts[3], texts[0]]  # a null may be anywhere; the same text is read once
    parsed.clear()
    assert manifest_origins([Drifted(REF, "plan", "nowhere", "a.yaml")], around(top), top) == {}
    assert manifest_origins([Drifted(Ref("thread", "t_9"), "n", None, "a.yaml")], around(top), top) == {}
    assert parsed == []
