"""What git says of the work tree, asked of real repositories."""

import subprocess

import pytest

from reconciler.git import GitFailed, Repository
from reconciler.git import repository as around
from reconciler.git.worktree import WorkTree, work_tree


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
    assert work_tree(around(repository), [repository / "manifests"]) == WorkTree(
        git(repository, "rev-parse", "HEAD"), dirty=False
    )


def test_a_changed_manifest_is_dirty(repository):
    (repository / "manifests" / "a.yaml").write_text("version: 1 # changed\n")
    assert work_tree(around(repository), [repository / "manifests"]).dirty


def test_a_new_manifest_is_dirty(repository):
    (repository / "manifests" / "ä \n.yaml").write_text("version: 1\n")
    assert work_tree(around(repository), [repository / "manifests"]).dirty


def test_other_files_do_not_count(repository):
    (repository / "other.txt").write_text("2\n")
    assert work_tree(around(repository), [repository / "manifests"]).dirty is False
    assert work_tree(around(repository), []).dirty is False


def test_a_file_beyond_the_repository_cannot_be_told(repository, tmp_path):
    assert work_tree(around(repository), [tmp_path / "elsewhere"]).dirty is None


def test_asking_writes_nothing(repository):
    index = (repository / ".git" / "index").read_bytes()
    (repository / "manifests" / "a.yaml").touch()
    work_tree(around(repository), [repository / "manifests"])
    assert (repository / ".git" / "index").read_bytes() == index


def test_outside_git_and_before_the_first_commit_there_is_none(tmp_path):
    assert around(tmp_path) is None
    git(tmp_path, "init", "-q")
    assert work_tree(around(tmp_path), []) is None


def test_without_git_a_repository_is_not_taken_for_none(repository, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert around(tmp_path) is None
    with pytest.raises(GitFailed, match="no git"):
        around(repository)


def test_a_repository_that_lost_its_insides_is_not_taken_for_none(repository):
    (repository / ".git" / "HEAD").unlink()
    with pytest.raises(GitFailed):
        around(repository / "manifests")


def test_a_subfolder_and_another_work_tree_share_one_repository(repository, tmp_path):
    git(repository, "worktree", "add", "-q", str(tmp_path / "beside"))
    common = (repository / ".git").resolve()
    assert around(repository / "manifests") == Repository(repository.resolve(), common)
    assert around(tmp_path / "beside" / "manifests") == Repository((tmp_path / "beside").resolve(), common)


def test_variables_that_a_hook_is_started_with_lead_nowhere_else(repository, tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "nowhere"))
    assert around(repository) is not None


def test_a_repository_that_git_refuses_to_look_at_is_an_error(repository):
    (repository / ".git" / "HEAD").write_text("ref: refs/heads/main\n")
    (repository / ".git" / "config").write_text("[core\n")
    with pytest.raises(GitFailed, match="config"):
        around(repository)
