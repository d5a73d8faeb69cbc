"""What manifests declared at a revision, and what changed since one, in real repositories."""

import os
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from reconciler import settings as settings_of
from reconciler.cli.revisions import ChangedSince, changed_since, declared_at
from reconciler.errors import ExitCode, InvalidInput, Location, WrongUsage
from reconciler.git import repository as around
from reconciler.kinds import KINDS
from reconciler.manifest import cache, load
from reconciler.manifest.cache import Cache
from reconciler.model import Ref

SETTINGS = "version: 1\ntargets: {local: {provider: emulator, manifests: [manifests]}}\n"
NO_TEXT = os.fsdecode(b"bytes\xff.yaml")
ODD_NAMES = ["a b.yaml", "new\nline.yaml", "'qu\"ote.yaml", "-x.yaml", ":(top)*.yml", "ü.yaml", "back\\slash.yaml"]


def git(folder, *arguments, **env):
    command = ["git", "-C", str(folder), "-c", "user.name=A", "-c", "user.email=a@example.org"]
    command += ["-c", "protocol.file.allow=always", *arguments]
    done = subprocess.run(command, capture_output=True, check=True, env=os.environ | env)
    return done.stdout.decode("utf-8", "surrogateescape").strip()


def manifest(ids, more=""):
    """A manifest that declares threads: `{id: its metadata as YAML}`."""
    return f"version: 1\n{more}threads:\n" + "".join(f"  {id_}: {{metadata: {pairs}}}\n" for id_, pairs in ids.items())


def write(folder, files):
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)


def commit(folder, files=(), message="Change"):
    write(folder, dict(files))
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "--allow-empty", "-m", message)
    return git(folder, "rev-parse", "HEAD")


@pytest.fixture
def top(tmp_path):
    """A repository with two manifests."""
    folder = tmp_path / "repo"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    commit(
        folder,
        {
            "reconciler.yaml": SETTINGS,
            "manifests/a.yaml": manifest({"t_1": "{plan: gold}", "t_2": "{plan: gold, gone: null}"}),
            "manifests/sub/b.yml": manifest({"t_3": "{}"}, "defaults: {metadata: {team: support}}\n"),
        },
    )
    return folder


def asked(function, root, revision, paths=None):
    settings = settings_of.resolve(cwd=root, env={}, config=None, target=None)
    return function(settings, paths or list(settings.target.manifests), around(root), revision)


def at(root, revision="HEAD", *paths):
    return asked(declared_at, root, revision, [root / path for path in paths])


def since(root, revision="HEAD", *paths):
    return asked(changed_since, root, revision, [root / path for path in paths])


def ids(found):
    return [resource.ref.id for resource in found.resources]


def ids_at(*arguments):
    return [ref.id for ref in at(*arguments).resources]


# --- what was declared ------------------------------------------------------------------------------------------------


def test_the_manifests_of_a_revision_declare_what_they_did_whatever_stands_there_now(top):
    old = git(top, "rev-parse", "HEAD")
    now = load([top / "manifests"], root=top).resources
    commit(top, {"manifests/a.yaml": manifest({"t_9": "{}"})})
    (top / "manifests" / "sub" / "b.yml").write_text("{")
    found = at(top, "HEAD~1")
    assert (found.revision, found.commit, found.files, found.unknown) == ("HEAD~1", old, 2, frozenset())
    assert tuple(found.resources.values()) == now
    assert [dict(one.sources) for one in found.resources.values()] == [dict(one.sources) for one in now]
    assert found.resources[Ref("thread", "t_2")].metadata == {"plan": "gold", "gone": None}
    assert found.resources[Ref("thread", "t_3")].location == Location("manifests/sub/b.yml", 4, 3)


def test_of_a_revision_some_resources_can_be_had_without_the_others(top):
    found = at(top)
    refs = [Ref("thread", name) for name in ("t_9", "t_3", "t_1")]
    assert found.some(refs) == {ref: found.resources[ref] for ref in refs[1:]}


def test_the_same_files_count_as_in_a_folder(top):
    commit(
        top,
        {
            name: manifest({f"t_{number}": "{}"})
            for number, name in enumerate(
                ["m/a.yaml", "m/sub/.deep/x.yaml", "m/.hidden.yaml", "m/notes.txt", "m/z.YAML", "m/b.yml", "m/.yaml"]
            )
        },
    )
    (top / "m" / "link.yaml").symlink_to("a.yaml")
    (top / "m" / "loop").symlink_to(".")
    commit(top)
    for paths in (
        ["m"],
        ["m/notes.txt", "m/.hidden.yaml"],
        ["m", "m/sub/.deep"],
        ["m/../m", "m/a.yaml"],
        ["m/link.yaml"],
    ):
        then = [str(one.location) for one in at(top, "HEAD", *paths).resources.values()]
        now = load([top / path for path in paths], root=top)
        assert then == [str(one.location) for one in now.resources], paths


def test_the_settings_file_is_no_manifest(top):
    assert ids_at(top, "HEAD", ".") == ["t_1", "t_2", "t_3"]


def test_a_path_that_is_gone_or_came_later_is_asked_for_all_the_same(top):
    commit(top, {"later/c.yaml": manifest({"t_4": "{}"})})
    shutil.rmtree(top / "manifests")
    assert ids_at(top, "HEAD~1", "manifests", "later", "never") == ["t_1", "t_2", "t_3"]
    assert ids_at(top, "HEAD", "later/c.yaml") == ["t_4"]


def test_names_are_relative_to_the_settings_wherever_these_are(top):
    commit(top, {"team/reconciler.yaml": SETTINGS, "team/manifests/t.yaml": manifest({"t_5": "{}"})})
    (found,) = at(top / "team").resources.values()
    assert found.location.file == "manifests/t.yaml"
    (found,) = at(top / "team", "HEAD", "../manifests/sub").resources.values()
    assert found.location.file == "../manifests/sub/b.yml"


def test_what_was_invalid_then_is_told_with_the_revision_in_every_place(top):
    commit(top, {"manifests/a.yaml": manifest({"t_1": "{n: 1}", "t_3": "{}"}), "manifests/c.yaml": b"\xff"})
    commit(top, {"manifests/a.yaml": manifest({"t_1": "{}"})})
    with pytest.raises(InvalidInput) as caught:
        at(top, "HEAD~1")
    assert [(one.code, str(one.location)) for one in caught.value.found] == [
        ("not_a_string", "HEAD~1:manifests/a.yaml:3:23"),
        ("invalid_utf8", "HEAD~1:manifests/c.yaml:1:1"),
        ("duplicate_resource", "HEAD~1:manifests/sub/b.yml:4:3"),
    ]
    assert "first at HEAD~1:manifests/a.yaml:4:3" in caught.value.found[2].message


@pytest.mark.parametrize("revision", ["nothing", "-x", "0" * 40, "", "HEAD~9", "\x1b[31m"])
def test_a_revision_that_git_does_not_know_is_an_error_that_says_how_to_fetch_it(top, revision):
    with pytest.raises(InvalidInput, match="--unshallow.*fetch-depth: 0") as caught:
        at(top, revision)
    assert [problem.code for problem in caught.value.found] == ["unknown_revision"]
    with pytest.raises(WrongUsage, match="--unshallow.*fetch-depth: 0") as caught:
        since(top, revision)
    assert caught.value.exit_code is ExitCode.USAGE
    assert "\x1b" not in str(caught.value)


def test_before_the_first_commit_no_revision_is_known(tmp_path):
    write(tmp_path, {"reconciler.yaml": SETTINGS, "manifests/a.yaml": manifest({"t_1": "{}"})})
    git(tmp_path, "init", "-q")
    with pytest.raises(InvalidInput, match="no commit by the name HEAD"):
        at(tmp_path)
    with pytest.raises(WrongUsage, match="no commit by the name HEAD"):
        since(tmp_path)


def test_outside_of_git_both_say_so(tmp_path):
    write(tmp_path, {"reconciler.yaml": SETTINGS, "manifests/a.yaml": manifest({"t_1": "{}"})})
    with pytest.raises(WrongUsage, match="--base names a revision of git, and .* is in no git repository"):
        at(tmp_path)
    with pytest.raises(WrongUsage, match="--changed-since names a revision of git, and .* is in no git repository"):
        since(tmp_path)


def lose(top, name):
    id_ = git(top, "rev-parse", name)
    (top / ".git" / "objects" / id_[:2] / id_[2:]).unlink()


def test_a_base_that_git_has_in_part_only_is_an_error(top):
    lose(top, "HEAD:manifests/a.yaml")
    with pytest.raises(InvalidInput, match="HEAD:manifests/a.yaml here: fetch it") as caught:
        at(top)
    assert [problem.code for problem in caught.value.found] == ["unreadable_revision"]
    lose(top, "HEAD:manifests")
    for ask in (at, since):
        with pytest.raises(InvalidInput) as caught:
            ask(top)
        assert [problem.code for problem in caught.value.found] == ["unreadable_revision"]


def test_of_files_elsewhere_a_revision_knows_nothing_and_says_which(top, tmp_path):
    other = tmp_path / "other"
    write(other, {"o.yaml": manifest({"t_6": "{}"})})
    git(other, "init", "-q")
    commit(other)
    git(top, "submodule", "--quiet", "add", str(other), "manifests/inner")
    commit(top)
    shutil.copytree(other, top / "manifests" / "nested" / "deep")
    assert "manifests/nested/" in git(top, "status", "--porcelain")
    write(top, {"manifests/nested/deep/o.yaml": manifest({"t_7": "{}"}), "manifests/new.yaml": manifest({"t_8": "{}"})})
    elsewhere = {"../other/o.yaml", "manifests/inner/o.yaml", "manifests/nested/deep/o.yaml"}
    found = at(top, "HEAD", "manifests", "../other/o.yaml", "reconciler.yaml/nothing")
    assert (set(found.resources), found.unknown) == ({Ref("thread", f"t_{at}") for at in (1, 2, 3)}, elsewhere)
    git(top, "rm", "-q", "--cached", "manifests/inner")
    (other / "o.yaml").write_text(manifest({"t_9": "{}"}))
    changed = since(top, "HEAD", "manifests", "../other/o.yaml")
    assert (ids(changed), changed.unknown) == (["t_6", "t_7", "t_8", "t_9"], elsewhere)


# --- what changed since -----------------------------------------------------------------------------------------------


def test_a_clean_work_tree_has_no_changes(top):
    commit_ = git(top, "rev-parse", "HEAD")
    assert since(top) == ChangedSince("HEAD", commit_, (), files=2, compared=0, among=0)


def test_only_what_is_declared_otherwise_is_changed_and_only_files_that_differ_are_parsed(top):
    commit(top, {f"manifests/n{number}.yaml": "version: 1\nthreads: {" for number in range(9)})  # invalid, so unread
    write(top, {"manifests/a.yaml": manifest({"t_2": "{gone: null, plan: silver}", "t_1": "{'plan': \"gold\"}"})})
    found = since(top)
    assert ids(found) == ["t_2"]
    assert (found.files, found.compared, found.among) == (11, 1, 2)
    (changed,) = found.resources
    assert (changed.metadata, changed.location) == (
        {"plan": "silver", "gone": None},
        Location("manifests/a.yaml", 3, 3),
    )
    assert changed.sources["plan"].line == 3


def test_a_changed_default_changes_every_resource_that_it_reaches(top):
    text = manifest({"t_3": "{}", "t_4": "{team: support}"}, "defaults: {metadata: {team: support}}\n")
    commit(top, {"manifests/sub/b.yml": text})
    write(top, {"manifests/sub/b.yml": text.replace("{team: support}}\n", "{team: sales}}\n", 1)})
    assert ids(since(top)) == ["t_3"]


OTHERWISE = [
    ("{metadata: {k: v}}", "{metadata: {k: w}}"),
    ("{metadata: {k: v}}", "{metadata: {k: null}}"),
    ("{metadata: {k: v}}", "{metadata: {}}"),
    ("{metadata: {k: null}}", "{metadata: {}}"),
    ("{metadata: {k: null}}", '{metadata: {k: "null"}}'),
    ("{}", "{ownership: exclusive}"),
    ("{}", "{protect: true}"),
    ("{}", "{ignore: [x.*]}"),
    ("{}", "{accept: [{key: k, value: v}]}"),
    ("{accept: [{key: k, value: v}]}", "{accept: [{key: k, value: null}]}"),
    ("{accept: [{key: k, value: v, until: 2026-01-01}]}", "{accept: [{key: k, value: v, until: 2026-01-02}]}"),
    ("{accept: [{key: k, value: v, reason: r}]}", "{accept: [{key: k, value: v, reason: s}]}"),
]
ALIKE = [
    ("{metadata: {k: v, l: w}}", "{metadata: {l: 'w', \"k\": v}}  # so"),
    ("{metadata: {k: null}}", "{metadata: {k: ~}}"),
    ("{}", ""),
    ("{}", "{ownership: declared, protect: false, ignore: [], accept: [], metadata: {}}"),
    ("{ignore: [a, b]}", "{ignore: [b, a, b]}"),
    ("{accept: [{key: k, value: v}, {key: l, value: w}]}", "{accept: [{value: w, key: l}, {key: k, value: v}]}"),
]


def of_one(body):
    return f"version: 1\nthreads:\n  t_1: {body}\n"


@pytest.mark.parametrize(("before", "after"), [*OTHERWISE, *((after, before) for before, after in OTHERWISE)])
def test_every_part_of_a_declaration_counts(top, before, after):
    commit(top, {"manifests/a.yaml": of_one(before)})
    write(top, {"manifests/a.yaml": of_one(after)})
    assert ids(since(top)) == ["t_1"]


@pytest.mark.parametrize(("before", "after"), ALIKE)
def test_how_a_declaration_is_written_does_not_count(top, before, after):
    commit(top, {"manifests/a.yaml": of_one(before)})
    write(top, {"manifests/a.yaml": "# moved down\n\n" + of_one(after)})
    found = since(top)
    assert (ids(found), found.compared, found.among) == ([], 1, 1)


@pytest.mark.parametrize(
    ("value", "accepted", "changed"),
    [("1.0", "1.0", False), ("true", "1", True), ("1", "true", True), ("'1'", "1", True)],
)
def test_numbers_compare_by_value_and_a_truth_is_none(top, value, accepted, changed):
    kind = next(kind for kind in KINDS.values() if kind.scalars)
    id_ = "p_1/t_1" if kind.nested else "t_1"

    def declaring(value, accepted):
        body = f"{{metadata: {{k: {value}}}, accept: [{{key: k, value: {accepted}}}]}}"
        return f"version: 1\n{kind.plural}:\n  {id_}: {body}\n"

    commit(top, {"manifests/a.yaml": declaring("1", "1")})
    write(top, {"manifests/a.yaml": declaring(value, accepted)})
    assert ids(since(top)) == [id_] * changed


def test_a_resource_that_moved_unchanged_is_not_changed_and_one_that_left_is_not_listed(top):
    (top / "manifests" / "sub" / "b.yml").unlink()
    write(
        top,
        {
            "manifests/a.yaml": manifest({"t_2": "{plan: gold, gone: null}"}),
            "manifests/new.yaml": manifest({"t_3": "{team: support}", "t_1": "{plan: brass}"}),
        },
    )
    found = since(top)
    assert ids(found) == ["t_1"]
    assert (found.files, found.compared, found.among) == (2, 3, 3)
    git(top, "mv", "manifests/a.yaml", "manifests/moved.yaml")
    assert ids(since(top)) == ["t_1"]


@pytest.mark.parametrize(
    "how", ["modified", "staged", "committed", "untracked", "ignored", "assumed", "skipped", "meant"]
)
def test_what_git_thinks_of_the_file_does_not_matter(top, how):
    commit(top, {".gitignore": "ignored.yaml\n"})
    start = git(top, "rev-parse", "HEAD")
    name = "a" if how in ("modified", "staged", "committed", "assumed", "skipped") else how
    flag = {"assumed": "--assume-unchanged", "skipped": "--skip-worktree"}.get(how)
    if flag:
        git(top, "update-index", flag, "manifests/a.yaml")
    extra = {} if name != "a" else {"t_1": "{plan: gold}", "t_2": "{plan: gold, gone: null}"}
    write(top, {f"manifests/{name}.yaml": manifest({**extra, "t_4": "{}"})})
    if how == "staged":
        git(top, "add", "-A")
    if how == "meant":
        git(top, "add", "--intent-to-add", "manifests/meant.yaml")
    if how == "committed":
        commit(top)
    assert ids(since(top, start)) == ["t_4"]


def test_a_file_that_was_only_touched_or_unstaged_or_made_executable_is_not_changed(top):
    (top / "manifests" / "a.yaml").touch()
    git(top, "rm", "-q", "--cached", "manifests/sub/b.yml")
    (top / "manifests" / "sub" / "b.yml").chmod(0o755)
    assert since(top).compared == 0


def test_asking_writes_nothing(top):
    (top / "manifests" / "a.yaml").touch()
    before = {path: path.read_bytes() for path in (top / ".git").rglob("*") if path.is_file()}
    since(top)
    at(top)
    assert {path: path.read_bytes() for path in (top / ".git").rglob("*") if path.is_file()} == before


def test_line_ends_that_git_converts_are_no_change(top):
    git(top, "config", "core.autocrlf", "true")
    path = top / "manifests" / "a.yaml"
    path.unlink()
    git(top, "checkout", "-q", "--", ".")
    assert b"\r\n" in path.read_bytes()
    assert since(top).compared == 0
    path.write_bytes(path.read_bytes().replace(b"t_1: {metadata: {plan: gold}}", b"t_1: {metadata: {plan: tin}}"))
    assert ids(since(top)) == ["t_1"]


@pytest.mark.parametrize("name", [*ODD_NAMES, NO_TEXT], ids=ascii)
def test_names_may_hold_any_character(top, name):
    commit(top, {f"manifests/{name}": manifest({"t_4": "{}", "t_5": "{}"})})
    assert ids_at(top) == ["t_1", "t_2", "t_3", "t_4", "t_5"]
    assert since(top).compared == 0
    write(top, {f"manifests/{name}": manifest({"t_4": "{k: v}", "t_5": "{}"})})
    assert (ids(since(top)), since(top).compared) == (["t_4"], 1)


def test_names_that_read_alike_because_they_are_no_text_are_two_files(top):
    files = {os.fsdecode(b"manifests/\xff.yaml"): "t_4", os.fsdecode(b"manifests/\xfe.yaml"): "t_5"}
    commit(top, {name: manifest({id_: "{}"}) for name, id_ in files.items()})
    assert ids_at(top) == ["t_1", "t_2", "t_3", "t_4", "t_5"]


def test_a_link_is_judged_by_the_file_that_it_leads_to(top):
    commit(
        top, {"manifests/.data/x.txt": manifest({"t_4": "{}"}), "manifests/.data/y.txt": manifest({"t_4": "{k: v}"})}
    )
    link = top / "manifests" / "link.yaml"
    link.symlink_to(".data/x.txt")
    commit(top)
    assert since(top).compared == 0
    write(top, {"manifests/.data/x.txt": manifest({"t_4": "{}", "t_5": "{}"})})
    assert ids(since(top)) == ["t_5"]
    git(top, "checkout", "-q", "--", ".")
    shutil.copy(top / "manifests" / ".data" / "x.txt", top / "manifests" / ".data" / "z.txt")
    link.unlink()
    link.symlink_to(".data/z.txt")
    assert ids(since(top)) == ["t_4"]  # untracked: nothing to compare it with


def test_a_folder_behind_a_link_is_followed(top, tmp_path):
    (top / "linked").symlink_to("manifests")
    commit(top, {"manifests/sub/b.yml": manifest({"t_3": "{k: v}"})})
    assert ids(since(top, "HEAD~1", "linked")) == ["t_3"]
    assert [one.location.file for one in at(top, "HEAD", "linked", "manifests").resources.values()] == [
        "linked/a.yaml",
        "linked/a.yaml",
        "linked/sub/b.yml",
    ]
    (tmp_path / "other-way").symlink_to(top)
    assert ids(since(tmp_path / "other-way", "HEAD~1")) == ["t_3"]


def test_paths_bound_what_is_looked_at(top):
    write(top, {"manifests/a.yaml": manifest({"t_1": "{}"}), "manifests/sub/b.yml": manifest({"t_3": "{}"})})
    assert ids(since(top, "HEAD", "manifests/sub")) == ["t_3"]
    assert ids(since(top, "HEAD", "manifests/a.yaml")) == ["t_1"]
    with pytest.raises(FileNotFoundError):
        since(top, "HEAD", "nothing")


def test_a_subfolder_another_work_tree_and_a_detached_head_are_as_good(top, tmp_path):
    commit(top, {"team/reconciler.yaml": SETTINGS, "team/manifests/t.yaml": manifest({"t_5": "{}"})})
    git(top, "worktree", "add", "-q", "--detach", str(tmp_path / "beside"), "HEAD")
    team = tmp_path / "beside" / "team"
    write(team, {"manifests/t.yaml": manifest({"t_5": "{}", "t_6": "{}"})})
    assert ids(since(team)) == ["t_6"]
    assert ids(since(top / "team")) == []
    assert ids_at(team, "main") == ["t_5"]


def test_a_revision_before_and_after_a_merge_is_compared_as_a_whole(top):
    git(top, "checkout", "-q", "-b", "side")
    commit(top, {"manifests/side.yaml": manifest({"t_7": "{}"})})
    git(top, "checkout", "-q", "main")
    commit(top, {"manifests/main.yaml": manifest({"t_8": "{}"})})
    git(top, "merge", "-q", "-m", "Merge", "side")
    assert ids(since(top, "HEAD^1")) == ["t_7"]
    assert ids(since(top, "HEAD^2")) == ["t_8"]
    assert ids(since(top, "HEAD")) == []


def test_what_is_wrong_in_files_that_differ_is_told(top):
    write(
        top,
        {
            "manifests/a.yaml": manifest({"t_1": "{n: 1}"}),
            "manifests/c.yaml": manifest({"t_9": "{}"}),
            "manifests/d.yaml": manifest({"t_9": "{}"}),
        },
    )
    (top / "manifests" / "lost.yaml").symlink_to("nowhere")
    with pytest.raises(InvalidInput) as caught:
        since(top)
    assert [(one.code, str(one.location)) for one in caught.value.found] == [
        ("not_a_string", "manifests/a.yaml:3:23"),
        ("duplicate_resource", "manifests/d.yaml:3:3"),
        ("link_nowhere", "manifests/lost.yaml:1:1"),
    ]
    git(top, "clean", "-q", "-f", "manifests/c.yaml")
    git(top, "checkout", "-q", "--", ".")
    with pytest.raises(InvalidInput) as caught:
        since(top)
    assert [one.code for one in caught.value.found] == ["link_nowhere"]


def test_a_file_that_cannot_be_read_is_a_problem(top, monkeypatch):
    monkeypatch.chdir(top / "manifests")  # the name of a socket has to be short
    Path("a.yaml").unlink()
    with socket.socket(socket.AF_UNIX) as unreadable:
        unreadable.bind("a.yaml")
        with pytest.raises(InvalidInput, match="manifests/a.yaml:1:1: this file cannot be read"):
            since(top, "HEAD", "manifests/a.yaml")


def test_a_file_that_was_invalid_or_is_lost_then_has_all_its_resources_changed(top):
    commit(top, {"manifests/a.yaml": "version: 1\nthreads: {t_1: ["})
    write(
        top, {"manifests/a.yaml": manifest({"t_1": "{plan: gold}", "t_2": "{}"}), "manifests/sub/b.yml": manifest({})}
    )
    found = since(top)
    assert (ids(found), found.unreadable) == (["t_1", "t_2"], {"manifests/a.yaml"})
    git(top, "checkout", "-q", "--", ".")
    write(top, {"manifests/sub/b.yml": manifest({"t_3": "{team: support}"})})
    write(top, {"manifests/a.yaml": manifest({})})
    assert ids(since(top)) == []
    lose(top, "HEAD:manifests/sub/b.yml")
    found = since(top)
    assert (ids(found), found.unreadable) == (["t_3"], {"manifests/a.yaml", "manifests/sub/b.yml"})


def test_what_was_declared_twice_is_unchanged_only_if_both_agreed(top):
    twice = {"manifests/x.yaml": manifest({"t_9": "{}"}), "manifests/y.yaml": manifest({"t_9": "{k: v}"})}
    commit(top, twice)
    (top / "manifests" / "x.yaml").unlink()
    write(top, {"manifests/y.yaml": "# so\n" + twice["manifests/y.yaml"]})
    assert ids(since(top)) == ["t_9"]
    commit(top, {"manifests/x.yaml": twice["manifests/y.yaml"]})
    (top / "manifests" / "x.yaml").unlink()
    write(top, {"manifests/y.yaml": twice["manifests/y.yaml"]})
    assert ids(since(top)) == []


# --- many files -------------------------------------------------------------------------------------------------------


@pytest.fixture
def calls(tmp_path, monkeypatch):
    """A file that gets a line for each git process."""
    real, log, folder = shutil.which("git"), tmp_path / "calls", tmp_path / "shim"
    folder.mkdir()
    (folder / "git").write_text(f'#!/bin/sh\necho "$@" >> "{log}"\nexec "{real}" "$@"\n')
    (folder / "git").chmod(0o755)
    log.touch()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return log


@pytest.mark.parametrize("ask", [declared_at, changed_since])
def test_the_number_of_processes_does_not_grow_with_the_files(top, calls, ask):
    commit(top, {f"manifests/n{number}.yaml": manifest({f"n_{number}": "{}"}) for number in range(300)})
    write(top, {f"manifests/n{number}.yaml": manifest({f"n_{number}": "{k: v}"}) for number in range(150)})
    calls.write_text("")
    found = asked(ask, top, "HEAD")
    assert len(found.resources) == (303 if ask is declared_at else 150)
    options = {"-c", "-C"}  # each with a value, before the command
    lines = [line.split() for line in calls.read_text().splitlines()]
    commands = [
        next(word for word, before in zip(line, ["", *line], strict=False) if not {word, before} & options)
        for line in lines
    ]
    assert commands == [*["rev-parse"] * 4, "ls-tree", "cat-file"]  # the first two find the repository


# --- with a cache -----------------------------------------------------------------------------------------------------


def test_what_was_read_before_is_not_parsed_again_and_tells_the_same(top, tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "FREE", 0)
    monkeypatch.setattr(cache, "TINY", 0)
    more = "vector_store_files: {v/f: {metadata: {n: 1}}}\n"
    commit(
        top,
        {
            "manifests/a.yaml": manifest({"t_1": "{a: x, b: y}", "t_2": "{}", "t_4": "{}", "t_5": "{}"}) + more,
            "manifests/c.yaml": manifest({"t_1": "{a: x, b: y}", "t_2": "{}, protect: true", "t_6": "{}"}),
        },
    )
    write(
        top,
        {
            "manifests/a.yaml": manifest({"t_1": "{b: y, a: x}", "t_2": "{}", "t_6": "{}"}) + more.replace("1", "1.0"),
            "manifests/c.yaml": manifest({"t_4": "{}", "t_5": "{a: x}", "t_7": "{}"}),
        },
    )
    store = tmp_path / "cache"

    def both(known):
        settings = settings_of.resolve(cwd=top, env={}, config=None, target=None)
        asked_for = list(settings.target.manifests), around(top)
        declared = declared_at(settings, *asked_for, "HEAD~1", known)
        return changed_since(settings, *asked_for, "HEAD", known), dict(declared.resources), declared.files

    plain = both(None)
    assert ids(plain[0]) == ["t_2", "t_5", "t_7"]
    assert both(Cache(store)) == plain
    monkeypatch.setattr("reconciler.manifest.read", None)
    assert both(Cache(store)) == plain
