"""Which files are read, and what they ask for together."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from reconciler.errors import InvalidInput, Location, Problem
from reconciler.kinds import KINDS
from reconciler.manifest import Manifests, combine, find, load, read_manifest
from reconciler.manifest.files import read_file
from reconciler.model import Ref

EMPTY = "version: 1\n"


def write(root: Path, *names: str, text: str = EMPTY) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def names(root: Path, *paths: str, skip: tuple[str, ...] = ()) -> list[str]:
    found = find([root / path for path in paths], root=root, skip=frozenset(root / name for name in skip))
    assert found.problems == ()
    return [file.name for file in found.files]


def codes(root: Path, path: str) -> list[tuple[str, str]]:
    found = find([root / path], root=root)
    return [(problem.code, str(problem.location)) for problem in found.problems]


def test_folders_are_searched_at_every_depth_in_the_order_of_names(tmp_path: Path) -> None:
    write(tmp_path, "m/b.yaml", "m/a.yml", "m/sub/deep/c.yaml", "m/A.yaml", "m/notes.txt", "m/z.json")
    assert names(tmp_path, "m") == ["m/A.yaml", "m/a.yml", "m/b.yaml", "m/sub/deep/c.yaml"]


def test_hidden_names_and_skipped_files_are_left_out(tmp_path: Path) -> None:
    write(tmp_path, "a.yaml", ".hidden.yaml", ".git/b.yaml", ".reconciler/c.yaml", "reconciler.yaml")
    assert names(tmp_path, ".", skip=("reconciler.yaml",)) == ["a.yaml"]


def test_a_file_that_is_named_is_read_whatever_its_ending(tmp_path: Path) -> None:
    write(tmp_path, "a.txt", ".b.yaml")
    assert names(tmp_path, "a.txt", ".b.yaml") == [".b.yaml", "a.txt"]


def test_a_file_that_is_reached_twice_is_read_once(tmp_path: Path) -> None:
    write(tmp_path, "m/b.yaml")
    (tmp_path / "m" / "a.yaml").symlink_to("b.yaml")
    assert names(tmp_path, "m", "m/b.yaml", "m/../m") == ["m/b.yaml"]


def test_a_path_outside_of_the_root_has_a_name_that_leads_there(tmp_path: Path) -> None:
    write(tmp_path, "other/a.yaml")
    found = find([tmp_path / "other"], root=tmp_path / "repo")
    assert [file.name for file in found.files] == ["../other/a.yaml"]


def test_links_to_folders_are_not_followed(tmp_path: Path) -> None:
    write(tmp_path, "m/a.yaml", "elsewhere/b.yaml")
    (tmp_path / "m" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "m" / "round.yaml").symlink_to(tmp_path / "m")
    assert names(tmp_path, "m") == ["m/a.yaml"]


def test_a_link_out_of_the_folder_is_a_problem_and_is_not_read(tmp_path: Path) -> None:
    write(tmp_path, "secret.yaml")
    write(tmp_path, "m/a.yaml")
    (tmp_path / "m" / "link.yaml").symlink_to(tmp_path / "secret.yaml")
    found = find([tmp_path / "m"], root=tmp_path)
    assert [file.name for file in found.files] == ["m/a.yaml"]
    assert codes(tmp_path, "m") == [("link_outside", "m/link.yaml:1:1")]


def test_a_link_to_nothing_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "link.yaml").symlink_to("gone.yaml")
    assert codes(tmp_path, "m") == [("link_nowhere", "m/link.yaml:1:1")]


def test_a_link_round_to_itself_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "a.yaml").symlink_to("a.yaml")
    assert codes(tmp_path, "m") == [("link_nowhere", "m/a.yaml:1:1")]


def test_a_folder_that_cannot_be_searched_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "m").mkdir()

    def refuse(folder: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.scandir", refuse)
    assert codes(tmp_path, "m") == [("unreadable_file", "m:1:1")]


def test_a_path_that_does_not_exist_is_left_to_the_caller(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        find([tmp_path / "gone"], root=tmp_path)
    assert caught.value.filename == str(tmp_path / "gone")


def test_a_path_that_cannot_be_looked_at_counts_as_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "exists", refuse)
    with pytest.raises(FileNotFoundError):
        find([tmp_path], root=tmp_path)


def test_resources_of_all_files_come_sorted_by_reference(tmp_path: Path) -> None:
    write(tmp_path, "a.yaml", text="version: 1\nthreads: {t2: , t10: }\n")
    write(tmp_path, "b/b.yaml", text="version: 1\nconversations: {c: }\nthreads: {t1: }\n")
    manifests = load([tmp_path], root=tmp_path)
    assert [str(resource.ref) for resource in manifests.resources] == [
        "conversation/c",
        "thread/t1",
        "thread/t10",
        "thread/t2",
    ]
    assert manifests.files == ("a.yaml", "b/b.yaml")
    assert manifests.resources[1].location == Location("b/b.yaml", 3, 11)


def test_the_problems_of_all_files_are_told_at_once_in_order(tmp_path: Path) -> None:
    write(tmp_path, "b.yaml", text="version: 1\nthreads: {t: {metadata: {a: 5}}}\n")
    write(tmp_path, "a.yaml", text="version: 1\nthreads: {t: {protect: 1}, u: {own: 1}}\n")
    write(tmp_path, "c.yaml", text="version: 1\nthreads: [\n")
    write(tmp_path, "d.yaml", text="version: 1\nthreads: {t: }\n")
    (tmp_path / "e.yaml").symlink_to("/dev/null")
    with pytest.raises(InvalidInput) as caught:
        load([tmp_path], root=tmp_path)
    assert [(problem.code, problem.location.file) for problem in caught.value.problems()] == [
        ("bad_protect", "a.yaml"),
        ("unknown_field", "a.yaml"),
        ("duplicate_resource", "b.yaml"),
        ("not_a_string", "b.yaml"),
        ("yaml_syntax", "c.yaml"),
        ("duplicate_resource", "d.yaml"),
        ("link_outside", "e.yaml"),
    ]


def test_a_resource_in_two_files_is_told_at_the_later_and_names_the_other() -> None:
    files = {name: read_manifest(b"version: 1\nthreads: {t: }", name) for name in ("b.yaml", "a.yaml")}
    with pytest.raises(InvalidInput) as caught:
        combine(files)
    assert caught.value.problems() == (
        Problem(
            "duplicate_resource",
            "thread/t is declared twice, first at a.yaml:2:11: keep one of the two",
            Location("b.yaml", 2, 11),
        ),
    )


def test_a_file_that_cannot_be_read_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "a.yaml")

    def refuse(path: Path, flags: int) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(InvalidInput, match="a.yaml:1:1: this file cannot be read: Permission denied"):
        load([tmp_path], root=tmp_path)


def test_no_files_are_no_resources() -> None:
    assert combine({}) == Manifests()


def test_the_sample_manifests_are_valid() -> None:
    root = Path(__file__).parent.parent.parent
    manifests = load([root / "manifests"], root=root)
    assert Ref("thread", "thread_abc123") in {resource.ref for resource in manifests.resources}
    assert len(manifests.files) >= 3
    for resource in manifests.resources:
        assert resource.ref.id.startswith(KINDS[resource.ref.kind].prefix)


def test_only_regular_files_of_a_size_are_read(tmp_path: Path) -> None:
    write(tmp_path, "a.yaml")
    path = tmp_path / "a.yaml"
    assert read_file(path) == path.read_bytes()
    assert read_file(path, len(path.read_bytes())) == path.read_bytes()
    with pytest.raises(OSError, match="larger than 0 MiB"):
        read_file(path, len(path.read_bytes()) - 1)
    with pytest.raises(IsADirectoryError):
        read_file(tmp_path)
    with pytest.raises(OSError, match="no regular file"):
        read_file(Path("/dev/zero"))
    with pytest.raises(OSError, match="larger than 1 MiB"):
        read_file(Path("/dev/zero"), 1 << 20, pipes=True)


def test_a_pipe_in_a_folder_is_a_problem_that_nobody_waits_for(tmp_path: Path) -> None:
    write(tmp_path, "m/a.yaml", "m/folder.yaml/b.yaml", "m/pipe.txt/c.yaml")
    os.mkfifo(tmp_path / "m" / "pipe.yaml")
    os.mkfifo(tmp_path / "m" / "other")
    with pytest.raises(InvalidInput) as caught:
        load([tmp_path / "m"], root=tmp_path)
    (problem,) = caught.value.found
    assert (problem.code, str(problem.location)) == ("unreadable_file", "m/pipe.yaml:1:1")
    assert "it is no regular file" in problem.message


def test_a_path_that_a_link_leads_out_of_the_root_is_a_problem(tmp_path: Path) -> None:
    outside, root = tmp_path / "outside", tmp_path / "root"
    outside.mkdir()
    root.mkdir()
    write(outside, "a.yaml")
    file = outside / "a.yaml"
    (root / "folder").symlink_to(outside)
    (root / "b.yaml").symlink_to(file)
    (root / "inner").symlink_to(root)
    found = find([root / "folder", root / "b.yaml", root / "folder" / "a.yaml"], root=root)
    assert [problem.code for problem in found.problems] == ["link_outside"] * 3
    assert found.files == ()
    # Whoever names the place outside, or reaches the root itself by a link, means it.
    assert [one.path for one in find([outside], root=root).files] == [file]
    (root / "b.yaml").unlink()
    assert find([root / "inner"], root=root).problems == ()
