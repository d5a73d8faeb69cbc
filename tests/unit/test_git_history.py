"""What git remembers, asked of real repositories."""

import hashlib
import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.git import Repository
from reconciler.git import repository as around
from reconciler.git.history import (
    Commit,
    Kinship,
    TreeFile,
    below,
    blame,
    commit_of,
    files_at,
    holds,
    kinship,
    lookup,
    path_in,
    sizes,
    versions,
)

ODD_NAMES = [
    " a b.yaml",
    "new\nline.yaml",
    'qu"ote.yaml',
    "tab\t.yaml",
    "ü.yaml",
    "-x.yaml",
    ":(top)*.yaml",
    "\\.yaml",
    "cr\r",
]
NO_TEXT = os.fsdecode(b"bytes\xff\xfe.yaml")
NOWHERE = "0123456789" * 4


def git(folder, *arguments, author="A", day="2026-03-01", **env):
    command = ["git", "-C", str(folder), "-c", f"user.name={author}", "-c", "user.email=a@example.org"]
    allowed = ["-c", "protocol.file.allow=always"]
    dates = {"GIT_AUTHOR_DATE": f"{day}T12:00:00+0000", "GIT_COMMITTER_DATE": f"{day}T12:00:00+0000"}
    done = subprocess.run(
        [*command, *allowed, *arguments], capture_output=True, check=True, env=os.environ | dates | env
    )
    return done.stdout.decode("utf-8", "surrogateescape").strip()


def start(folder):
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    return folder


def commit(folder, name, content, **more):
    """Write a file (bytes, text, or nothing for its removal) and commit everything; return the commit's id."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "--allow-empty", "-m", f"Write {name!a}", **more)
    return git(folder, "rev-parse", "HEAD")


@pytest.fixture
def top(tmp_path):
    return start(tmp_path / "repo")


def names(repository, revision, *paths):
    return [file.path for file in files_at(repository, revision, paths)]


# --- commits ----------------------------------------------------------------------------------------------------------


def test_a_revision_is_whatever_git_takes_for_a_commit(top):
    first = commit(top, "a", "1", day="2026-03-01")
    second = commit(top, "a", "2", day="2026-03-02")
    git(top, "tag", "-a", "v1", "-m", "tagged", first)
    repository = around(top)
    for revision in ("HEAD", "main", "@", second, second[:10], "HEAD^{}"):
        assert commit_of(repository, revision) == second
    for revision in ("HEAD~1", "v1", "HEAD^", "HEAD~1^0"):
        assert commit_of(repository, revision) == first
    assert commit_of(repository, ":/Write 'a'") == second  # a search takes all the rest for words


@pytest.mark.parametrize(
    "revision",
    [
        "",
        " ",
        "nothing",
        "-x",
        "--all",
        "--show-toplevel",
        "^HEAD",
        "HEAD..HEAD",
        "HEAD^@",
        "HEAD:a",
        NOWHERE,
        "ü",
        "a\nb",
    ],
)
def test_what_is_no_commit_here_is_none(top, revision):
    commit(top, "a", "1")
    assert commit_of(around(top), revision) is None


def test_before_the_first_commit_git_knows_no_revision(top):
    assert commit_of(around(top), "HEAD") is None


def test_commits_are_looked_up_at_once_and_those_that_are_not_here_left_out(top):
    first = commit(top, "a", "1", author="Ann Ø. \\n \"' X", day="2026-03-01")
    second = commit(top, "a", "2", author="Ben", day="2026-03-02")
    tree = git(top, "rev-parse", "HEAD^{tree}")
    found = lookup(around(top), [second, NOWHERE, first, second, tree, "HEAD", "-x", "", "a\nb"])
    assert found == {
        second: Commit(second, "Ben", "2026-03-02"),
        first: Commit(first, "Ann Ø. \\n \"' X", "2026-03-01"),
    }
    assert lookup(around(top), [NOWHERE]) == lookup(around(top), ["HEAD"]) == lookup(around(top), []) == {}


def test_the_date_is_the_day_of_the_author_where_the_author_was(top):
    id_ = commit(top, "a", "1\n", GIT_AUTHOR_DATE="2026-03-01T23:30:00-0330", GIT_COMMITTER_DATE="2026-04-01T00:00:00Z")
    assert lookup(around(top), [id_])[id_].date == "2026-03-01"
    assert blame(around(top), top / "a", [1])[1].date == "2026-03-01"
    assert versions(around(top), top / "a", 9)[0][0].date == "2026-03-01"
    other = commit(top, "a", "2\n", GIT_AUTHOR_DATE="2026-03-02T00:15:00+0545")
    assert lookup(around(top), [other])[other].date == blame(around(top), top / "a", [1])[1].date == "2026-03-02"


def test_an_author_is_told_in_readable_text_whatever_the_commit_was_written_in(top):
    git(top, "config", "i18n.commitEncoding", "ISO-8859-1")
    git(top, "config", "i18n.logOutputEncoding", "ISO-8859-1")
    latin = commit(top, "a", "1\n", author=os.fsdecode("Jürgen".encode("latin-1")))
    assert lookup(around(top), [latin])[latin].author == "Jürgen"
    assert blame(around(top), top / "a", [1])[1].author == "Jürgen"
    assert versions(around(top), top / "a", 1)[0][0].author == "Jürgen"


def test_a_commit_is_the_same_an_ancestor_or_another(top):
    first = commit(top, "a", "1", day="2026-03-01")
    second = commit(top, "a", "2", day="2026-03-02")
    git(top, "checkout", "-q", "-b", "side", first)
    side = commit(top, "b", "3", day="2026-03-03")
    git(top, "checkout", "-q", "--orphan", "lonely")
    lonely = commit(top, "c", "4")
    repository = around(top)
    assert kinship(repository, second, second) is Kinship.SAME
    assert kinship(repository, first, second) is Kinship.ANCESTOR
    assert kinship(repository, second, first) is Kinship.OTHER
    assert kinship(repository, side, second) is Kinship.OTHER
    assert kinship(repository, lonely, second) is Kinship.OTHER
    git(top, "checkout", "-q", "main")
    git(top, "merge", "-q", "-m", "Merge", "side")
    assert kinship(repository, side, "HEAD") is kinship(repository, first, "HEAD") is Kinship.ANCESTOR


def test_dates_that_run_backwards_mislead_nobody(top):
    first = commit(top, "a", "0", day="2030-01-01")
    for number in range(12):
        commit(top, "a", f"{number}x", day=f"2020-01-{12 - number:02}")
    assert kinship(around(top), first, "HEAD") is Kinship.ANCESTOR
    assert kinship(around(top), "HEAD", first) is Kinship.OTHER


def test_a_commit_that_is_not_here_leaves_kinship_undecided(top):
    first = commit(top, "a", "1")
    assert kinship(around(top), NOWHERE, first) is Kinship.UNDECIDED
    assert kinship(around(top), first, NOWHERE) is Kinship.UNDECIDED
    assert kinship(around(top), NOWHERE, NOWHERE) is Kinship.UNDECIDED
    assert kinship(around(top), "-x", first) is Kinship.UNDECIDED


def test_a_commit_missing_on_the_way_leaves_kinship_undecided(top):
    first, second, third = (commit(top, "a", str(number), day=f"2026-03-0{number}") for number in (1, 2, 3))
    (top / ".git" / "objects" / second[:2] / second[2:]).unlink()
    assert kinship(around(top), first, third) is Kinship.UNDECIDED


def test_in_a_shallow_clone_only_a_path_that_is_there_decides(top, tmp_path):
    commits = [commit(top, "a", str(number), day=f"2026-03-0{number}") for number in (1, 2, 3)]
    git(top, "branch", "old", commits[0])
    git(tmp_path, "clone", "-q", "--depth=2", "--no-single-branch", f"file://{top}", "shallow")
    repository = around(tmp_path / "shallow")
    assert kinship(repository, commits[1], commits[2]) is Kinship.ANCESTOR
    assert kinship(repository, commits[2], commits[1]) is Kinship.OTHER
    git(tmp_path, "clone", "-q", "--depth=1", "--no-single-branch", f"file://{top}", "shallower")
    assert kinship(around(tmp_path / "shallower"), commits[0], commits[2]) is Kinship.UNDECIDED


def test_where_history_was_rewritten_in_place_no_path_decides_nothing(top):
    first = commit(top, "a", "1", day="2026-03-01")
    second = commit(top, "a", "2", day="2026-03-02")
    git(top, "replace", "--graft", second)
    assert kinship(around(top), first, second) is Kinship.UNDECIDED
    git(top, "replace", "-d", second)
    (top / ".git" / "info").mkdir(exist_ok=True)
    (top / ".git" / "info" / "grafts").write_text(f"{second}\n")
    assert kinship(around(top), first, second) is Kinship.UNDECIDED


# --- files of a revision ----------------------------------------------------------------------------------------------


def test_files_are_listed_below_the_paths_as_they_were(top):
    for name in ("m/a.yaml", "m/sub/b.yaml", "m.yaml", "m0/c.yaml", "n/d"):
        commit(top, name, name)
    old = git(top, "rev-parse", "HEAD")
    git(top, "rm", "-r", "-q", "m")
    git(top, "commit", "-q", "-m", "Remove")
    repository = around(top)
    assert names(repository, old, top / "m") == ["m/a.yaml", "m/sub/b.yaml"]
    assert names(repository, old, top / "m" / "sub", top / "m", top / "m.yaml") == [
        "m.yaml",
        "m/a.yaml",
        "m/sub/b.yaml",
    ]
    assert names(repository, old, top / "m" / ".." / "m") == ["m/a.yaml", "m/sub/b.yaml"]
    assert len(names(repository, old, top)) == 5
    assert names(repository, "HEAD", top / "m", top / "nothing") == []
    assert files_at(repository, old, [top / "n"]) == (TreeFile("n/d", git(top, "rev-parse", "HEAD:n/d")),)


def test_links_and_submodules_are_passed_over(top, tmp_path):
    other = start(tmp_path / "other")
    commit(other, "x.yaml", "1")
    commit(top, "m/a.yaml", "1")
    (top / "m" / "l.yaml").symlink_to("a.yaml")
    git(top, "submodule", "--quiet", "add", str(other), "m/sub")
    commit(top, "m/run", "1")
    assert names(around(top), "HEAD", top / "m") == ["m/a.yaml", "m/run"]
    assert names(around(top), "HEAD", top / "m" / "sub", top / "m" / "sub" / "x.yaml") == []


def test_what_lies_outside_is_passed_over_and_links_to_the_inside_are_followed(top, tmp_path):
    commit(top, "m/a.yaml", "1")
    (tmp_path / "linked").symlink_to(top / "m")
    (tmp_path / "repo-2").mkdir()
    repository = around(top)
    assert names(repository, "HEAD", tmp_path / "repo-2", tmp_path) == []
    assert names(repository, "HEAD", tmp_path / "linked", tmp_path) == ["m/a.yaml"]
    assert path_in(repository, tmp_path / "linked" / "a.yaml") == "m/a.yaml"
    assert path_in(repository, top / "m" / "..") == ""
    assert path_in(repository, tmp_path / "repo-2") is path_in(repository, tmp_path) is None


@pytest.mark.parametrize("name", [*ODD_NAMES, NO_TEXT], ids=ascii)
def test_names_may_hold_any_character(top, name):
    first = commit(top, f"m/{name}", "1\n", author="Ann", day="2026-03-01")
    commit(top, "m/other.yaml", "2\n")
    repository = around(top)
    assert f"m/{name}" in names(repository, "HEAD", top / "m")
    assert names(repository, "HEAD", top / "m" / name) == [f"m/{name}"]
    assert blame(repository, top / "m" / name, [1]) == {1: Commit(first, "Ann", "2026-03-01")}
    assert [one.id for one, _ in versions(repository, top / "m" / name, 9)] == [first]


def test_more_paths_than_a_command_takes_are_listed_all_the_same(top):
    commit(top, "m/a.yaml", "1")
    commit(top, "n/b.yaml", "1")
    many = [top / f"{'x' * 200}{number}" for number in range(1000)]
    assert names(around(top), "HEAD", *many, top / "m", top / "m" / "a.yaml") == ["m/a.yaml"]


PARTS = st.sampled_from(["a", "b", "a.b", "a-b", "a0", "ü", "\udcff"])
PLACES = st.lists(PARTS, min_size=1, max_size=3).map("/".join)


@given(st.sets(PLACES), PLACES | st.just(""))
def test_what_is_below_a_place_stands_at_it_or_behind_its_slash(paths, place):
    files = [TreeFile(path, "") for path in sorted(paths)]
    exact = [file for file in files if file.path == place]
    behind = [file for file in files if not place or file.path.startswith(f"{place}/")]
    assert list(below(files, place)) == (exact or behind)


def test_bytes_are_held_against_blobs_as_git_counts_them(top):
    for data in (b"", b"a\n", b"a\r\nb\r\n", bytes(range(256))):
        commit(top, "f", data)
        assert holds(data, git(top, "rev-parse", "HEAD:f"))
    commit(top, "f", b"a\nb\n")
    blob = git(top, "rev-parse", "HEAD:f")
    assert holds(b"a\r\nb\r\n", blob)
    assert not holds(b"a\nb", blob)
    assert not holds(b"a\rb\r", blob)
    assert not holds(b"a\r\nc\r\n", blob)


def test_a_repository_may_hash_by_sha256(tmp_path):
    top = tmp_path / "repo"
    git(tmp_path, "init", "-q", "--object-format=sha256", "repo")
    first = commit(top, "a", "1\n")
    repository = around(top)
    (file,) = files_at(repository, first, [top])
    assert file.blob == hashlib.sha256(b"blob 2\0001\n").hexdigest()
    assert holds(b"1\n", file.blob)
    assert commit_of(repository, "HEAD") == blame(repository, top / "a", [1])[1].id == first
    assert kinship(repository, first, commit(top, "a", "2\n")) is Kinship.ANCESTOR
    assert lookup(repository, [first])[first].author == "A"


def test_sizes_are_those_of_the_blobs_that_are_here(top):
    commit(top, "a", "12345")
    blob = git(top, "rev-parse", "HEAD:a")
    assert sizes(around(top), [blob, NOWHERE, blob]) == {blob: 5}
    assert sizes(around(top), []) == {}


def test_another_work_tree_and_a_detached_head_are_as_good(top, tmp_path):
    first = commit(top, "m/a.yaml", "1\n", day="2026-03-01")
    second = commit(top, "m/a.yaml", "1\n2\n", day="2026-03-02")
    git(top, "worktree", "add", "-q", "--detach", str(tmp_path / "beside"), first)
    beside = tmp_path / "beside"
    repository = around(beside / "m")
    assert commit_of(repository, "HEAD") == first
    assert names(repository, "main", beside / "m") == ["m/a.yaml"]
    assert names(repository, "main", top / "m") == []  # the files of another work tree are not this one's
    assert list(blame(repository, beside / "m" / "a.yaml", [1, 2])) == [1]
    assert [one.id for one, _ in versions(repository, beside / "m" / "a.yaml", 9)] == [second, first]
    assert kinship(repository, "HEAD", second) is Kinship.ANCESTOR


# --- one file through time --------------------------------------------------------------------------------------------


def test_versions_come_newest_first_with_the_commits_that_made_them(top):
    ids = [commit(top, "a.yaml", f"{number}\n", author=f"N{number}", day=f"2026-03-0{number}") for number in (1, 2, 3)]
    commit(top, "other", "1", day="2026-03-04")
    found = versions(around(top), top / "a.yaml", 9)
    assert [one for one, _ in found] == [Commit(ids[at - 1], f"N{at}", f"2026-03-0{at}") for at in (3, 2, 1)]
    assert [git(top, "cat-file", "blob", blob) for _, blob in found] == ["3", "2", "1"]
    assert versions(around(top), top / "a.yaml", 2) == found[:2]


def texts(top, name):
    return [git(top, "cat-file", "blob", blob) for _, blob in versions(around(top), top / name, 50)]


def test_versions_of_branches_that_were_never_merged_are_among_them(top, tmp_path):
    commit(top, "a.yaml", "main", day="2026-03-01")
    git(top, "checkout", "-q", "-b", "side")
    commit(top, "a.yaml", "side", day="2026-03-02")
    git(top, "checkout", "-q", "main")
    assert texts(top, "a.yaml") == ["side", "main"]
    git(tmp_path, "clone", "-q", str(top), "clone")
    assert texts(tmp_path / "clone", "a.yaml") == ["side", "main"]
    git(tmp_path / "clone", "checkout", "-q", "--detach")
    commit(tmp_path / "clone", "a.yaml", "detached", day="2026-03-03")
    assert texts(tmp_path / "clone", "a.yaml") == ["detached", "side", "main"]
    git(tmp_path / "clone", "checkout", "-q", "--orphan", "unborn")
    assert texts(tmp_path / "clone", "a.yaml") == ["side", "main"]


def test_what_a_merge_undid_and_what_it_made_up_are_versions(top):
    commit(top, "a.yaml", "base", day="2026-03-01")
    git(top, "checkout", "-q", "-b", "side")
    commit(top, "a.yaml", "side", day="2026-03-02")
    git(top, "checkout", "-q", "main")
    commit(top, "b.yaml", "1", day="2026-03-03")
    git(top, "merge", "-q", "-s", "ours", "-m", "Merge", "side", day="2026-03-04")
    git(top, "branch", "-D", "-q", "side")
    assert texts(top, "a.yaml") == ["side", "base"]
    git(top, "checkout", "-q", "-b", "again")
    commit(top, "a.yaml", "again", day="2026-03-05")
    git(top, "checkout", "-q", "main")
    git(top, "merge", "-q", "--no-ff", "--no-commit", "again", day="2026-03-06")
    commit(top, "a.yaml", "made up", day="2026-03-06")
    assert texts(top, "a.yaml") == ["made up", "again", "side", "base"]


def test_a_rename_is_followed_and_a_removal_or_a_link_is_no_version(top):
    commit(top, "old.yaml", "1\n2\n3\n", day="2026-03-01")
    git(top, "mv", "old.yaml", "new.yaml")
    git(top, "commit", "-q", "-m", "Move", day="2026-03-02")
    assert texts(top, "new.yaml") == ["1\n2\n3", "1\n2\n3"]
    commit(top, "new.yaml", None, day="2026-03-03")
    (top / "new.yaml").symlink_to("nowhere")
    git(top, "add", "-A")
    git(top, "commit", "-q", "-m", "Link", day="2026-03-04")
    (top / "new.yaml").unlink()
    commit(top, "new.yaml", "4", day="2026-03-05")
    assert texts(top, "new.yaml")[0] == "4"
    assert [len(text) for text in texts(top, "new.yaml")][1:] == [5, 5]


def test_a_file_that_git_does_not_know_has_no_versions(top, tmp_path):
    assert versions(around(top), top / "a.yaml", 9) == ()
    commit(top, "a.yaml", "1")
    (top / "untracked.yaml").write_text("1")
    (tmp_path / "outside.yaml").write_text("1")
    for path in (top / "untracked.yaml", tmp_path / "outside.yaml", top):
        assert versions(around(top), path, 9) == ()


def test_a_history_with_holes_tells_no_versions(top):
    commit(top, "a.yaml", "1", day="2026-03-01")
    tree = git(top, "rev-parse", "HEAD^{tree}")
    commit(top, "a.yaml", "2", day="2026-03-02")
    (top / ".git" / "objects" / tree[:2] / tree[2:]).unlink()
    assert versions(around(top), top / "a.yaml", 9) == ()


def test_settings_of_the_user_change_no_answer(top):
    commit(top, "a.yaml", "1\n", author="Ann", day="2026-03-01")
    settings = {
        "log.showRoot": "false",
        "log.showSignature": "true",
        "log.date": "raw",
        "color.ui": "always",
        "core.quotePath": "false",
        "diff.noprefix": "true",
        "blame.ignoreRevsFile": "no-such-file",
        "blame.showEmail": "true",
        "blame.date": "relative",
        "format.pretty": "oneline",
        "log.follow": "false",
        "diff.renames": "false",
    }
    for name, value in settings.items():
        git(top, "config", name, value)
    ((one, _),) = versions(around(top), top / "a.yaml", 9)
    assert one == blame(around(top), top / "a.yaml", [1])[1] == lookup(around(top), [one.id])[one.id]
    assert (one.author, one.date) == ("Ann", "2026-03-01")


def test_each_line_has_the_commit_that_wrote_it_last(top):
    first = commit(top, "a.yaml", "1\n2\n3\n", author="Ann", day="2026-03-01")
    second = commit(top, "a.yaml", "1\ntwo\n3\n", author="Ben", day="2026-03-02")
    ann, ben = Commit(first, "Ann", "2026-03-01"), Commit(second, "Ben", "2026-03-02")
    assert blame(around(top), top / "a.yaml", [3, 2, 1]) == {1: ann, 2: ben, 3: ann}
    assert blame(around(top), top / "a.yaml", {3}) == {3: ann}
    assert blame(around(top), top / "a.yaml", []) == {}
    assert blame(around(top), top / "a.yaml", [0, 3, 4, 99]) == {3: ann}


def test_a_line_that_is_not_committed_has_none_staged_or_not(top):
    first = commit(top, "a.yaml", "1\n2\n3\n")
    (top / "a.yaml").write_text("0\n1\ntwo\n3\n")
    ann = lookup(around(top), [first])[first]
    dirty = {1: None, 2: ann, 3: None, 4: ann}
    assert blame(around(top), top / "a.yaml", range(1, 5)) == dirty
    git(top, "add", "-A")
    assert blame(around(top), top / "a.yaml", range(1, 5)) == dirty


@pytest.mark.parametrize("place", ["new.yaml", "staged.yaml", "ignored.yaml", "../outside.yaml", "nested/x.yaml"])
def test_a_file_that_git_does_not_have_has_no_commit_on_any_line(top, place):
    commit(top, ".gitignore", "ignored.yaml\n")
    start(top / "nested")
    commit(top / "nested", "x.yaml", "1\n2\n")
    (top / place).write_text("1\n2\n")
    if place == "staged.yaml":
        git(top, "add", place)
    assert blame(around(top), top / place, [1, 2]) == {1: None, 2: None}


def test_before_the_first_commit_no_line_has_one(top):
    (top / "a.yaml").write_text("1\n")
    assert blame(around(top), top / "a.yaml", [1]) == {1: None}


def test_a_file_that_is_gone_and_one_that_git_cannot_read_tell_nothing(top):
    commit(top, "a.yaml", "1\n", day="2026-03-01")
    blob = git(top, "rev-parse", "HEAD:a.yaml")
    commit(top, "a.yaml", "1\n2\n", day="2026-03-02")
    assert blame(around(top), top / "gone.yaml", [1]) == {}
    (top / ".git" / "objects" / blob[:2] / blob[2:]).unlink()
    assert blame(around(top), top / "a.yaml", [1]) == {}


def test_a_line_that_is_older_than_a_shallow_clone_has_no_author_made_up(top, tmp_path):
    commit(top, "a.yaml", "1\n2\n", author="Ann", day="2026-03-01")
    commit(top, "b.yaml", "1\n", author="Ben", day="2026-03-02")
    third = commit(top, "a.yaml", "1\ntwo\n", author="Cleo", day="2026-03-03")
    git(tmp_path, "clone", "-q", "--depth=2", f"file://{top}", "shallow")
    shallow = tmp_path / "shallow"
    with (shallow / "a.yaml").open("a") as file:
        file.write("3\n")
    cleo = Commit(third, "Cleo", "2026-03-03")
    assert blame(around(shallow), shallow / "a.yaml", [1, 2, 3]) == {2: cleo, 3: None}


def test_a_link_is_blamed_where_it_leads(top):
    first = commit(top, "real/a.yaml", "1\n2\n")
    (top / "link.yaml").symlink_to("real/a.yaml")
    assert blame(around(top), top / "link.yaml", [2])[2].id == first


def test_line_ends_that_git_converts_are_no_change(top):
    git(top, "config", "core.autocrlf", "true")
    first = commit(top, "a.yaml", b"1\r\n2\r\n")
    assert blame(around(top), top / "a.yaml", [1, 2])[2].id == first
    assert holds((top / "a.yaml").read_bytes(), git(top, "rev-parse", "HEAD:a.yaml"))


def test_lines_are_counted_as_yaml_does_even_where_a_lone_return_ends_them(top):
    first = commit(top, "a.yaml", b"1\r2\r3\n4\n5", day="2026-03-01")
    second = commit(top, "a.yaml", b"1\r2\r3\n4\nfive", day="2026-03-02")
    found = blame(around(top), top / "a.yaml", range(1, 9))
    assert {line: one.id for line, one in found.items()} == {1: first, 2: first, 3: first, 4: first, 5: second}


def test_very_many_lines_are_asked_for_in_one_go(top):
    first = commit(top, "a.yaml", "x\n" * 3000)
    found = blame(around(top), top / "a.yaml", range(1, 3000, 2))
    assert len(found) == 1500
    assert {one.id for one in found.values()} == {first}


def test_a_hook_of_git_leads_nobody_elsewhere(top, tmp_path, monkeypatch):
    first = commit(top, "a.yaml", "1\n")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "nowhere"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "nowhere"))
    repository = around(top)
    assert repository == Repository(top.resolve(), (top / ".git").resolve())
    assert blame(repository, Path(top / "a.yaml"), [1])[1].id == first
