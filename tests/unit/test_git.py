"""What git says of the work tree, asked of real repositories."""

import subprocess

import pytest

from reconciler.git import WorkTree, work_tree


def git(folder, *arguments):
    command = ["git", "-C", str(folder), "-c", "user.name=A", "-c", "user.email=a@example.org", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def repository(tmp_path):
    folder = tmp_path / "repo"
    (folder / "manifests").mkdir(parents=True)
    (folder / "manifests" / "a.yaml").write_text("version: 1\n")
    (folder / "other.txt").write_text("1\n")
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "First")
    return folder


def test_a_clean_work_tree_has_its_commit(repository):
    assert work_tree(repository, [repository / "manifests"]) == WorkTree(
        git(repository, "rev-parse", "HEAD"), dirty=False
    )


def test_a_changed_manifest_is_dirty(repository):
    (repository / "manifests" / "a.yaml").write_text("version: 1 # changed\n")
    assert work_tree(repository, [repository / "manifests"]).dirty


def test_a_new_manifest_is_dirty(repository):
    (repository / "manifests" / "ä \n.yaml").write_text("version: 1\n")
    assert work_tree(repository, [repository / "manifests"]).dirty


def test_other_files_do_not_count(repository):
    (repository / "other.txt").write_text("2\n")
    assert work_tree(repository, [repository / "manifests"]).dirty is False
    assert work_tree(repository, []).dirty is False


def test_a_file_beyond_the_repository_cannot_be_told(repository, tmp_path):
    assert work_tree(repository, [tmp_path / "elsewhere"]).dirty is None


def test_asking_writes_nothing(repository):
    index = (repository / ".git" / "index").read_bytes()
    (repository / "manifests" / "a.yaml").touch()
    work_tree(repository, [repository / "manifests"])
    assert (repository / ".git" / "index").read_bytes() == index


def test_outside_git_and_before_the_first_commit_there_is_none(tmp_path):
    assert work_tree(tmp_path, []) is None
    git(tmp_path, "init", "-q")
    assert work_tree(tmp_path, []) is None


def test_without_git_there_is_none(repository, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert work_tree(repository, []) is None
