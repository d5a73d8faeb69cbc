"""Where documents go: whole files or none, and colours only where they are wanted."""

import pytest

from reconciler.cli.options import Options
from reconciler.cli.output import STALE, check_files, prepare, sweep, wants_color, write_file, write_files
from reconciler.cli.report import Report
from reconciler.cli.suggestion import command_line
from reconciler.compare import Cause, Selection
from reconciler.diff import Op
from reconciler.document import Document
from reconciler.errors import ExitCode, Problem, ReconcilerError, WrongUsage
from reconciler.manifest import find
from reconciler.shards import Shard


def test_a_file_is_replaced_as_a_whole_and_nothing_is_left_beside_it(tmp_path):
    path = tmp_path / "plan.json"
    path.write_text("old")
    write_file(path, "new →\n")
    assert path.read_text(encoding="utf-8") == "new →\n"
    assert list(tmp_path.iterdir()) == [path]
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask()


def umask():
    import os

    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_what_cannot_be_written_leaves_nothing_behind(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(ReconcilerError, match="cannot write"):
        write_file(tmp_path / "folder", "text")
    with pytest.raises(ReconcilerError, match="cannot write"):
        write_file(tmp_path / "nowhere" / "file", "text")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_what_a_killed_run_left_beside_manifests_is_taken_away_after_a_while_and_nothing_else_is(tmp_path):
    new = prepare(tmp_path / "m.yaml", b"version: 1\n")
    kept = [tmp_path / name for name in (".hidden.new", ".m.yaml.swp", "m.yaml.abcd1234.new", ".m.yaml")]
    for path in kept:
        path.write_text("")
    assert find([tmp_path], root=tmp_path).files == ()
    now = new.temporary.stat().st_mtime
    sweep([tmp_path, tmp_path / "nowhere"], now + STALE)
    assert new.temporary.exists()
    sweep([tmp_path], now + STALE + 1)
    assert sorted(tmp_path.iterdir()) == sorted(kept)
    with pytest.raises(ReconcilerError, match="cannot write"):
        new.carry_out()


def test_every_out_file_is_written_without_colours(tmp_path):
    document = Document(kind="validate")
    write_files(document, Options(directory=str(tmp_path), out=(("text", "a.txt"), ("json", "a.json"))))
    assert (tmp_path / "a.txt").read_text() == "Valid: 0 resources.\n"
    assert (tmp_path / "a.json").read_text().startswith("{")


REFUSED = {
    "-": "--format",
    "manifests/m.yaml": "name of a manifest",
    "report.YML": "name of a manifest",
    "link.txt": "name of a manifest",
    ".git/config": "belongs to git",
    "plan.json": "what this command reads",
    "./other/../plan.json": "what this command reads",
    "hard.json": "what this command reads",
    "settings.conf": "the settings file",
}


@pytest.mark.parametrize(("name", "why"), REFUSED.items())
def test_no_out_file_is_what_the_command_reads(name, why, tmp_path):
    for folder in ("manifests", ".git", "other"):
        (tmp_path / folder).mkdir()
    for file in ("manifests/m.yaml", ".git/config", "plan.json", "settings.conf"):
        (tmp_path / file).write_text("kept")
    (tmp_path / "link.txt").symlink_to("manifests/m.yaml")
    (tmp_path / "hard.json").hardlink_to(tmp_path / "plan.json")
    options = Options(
        directory=str(tmp_path), paths=("plan.json",), config="settings.conf", out=(("json", name), ("text", "a.txt"))
    )
    with pytest.raises(WrongUsage, match=why):
        check_files(options)
    assert write_files(Document(kind="validate"), options) == []
    texts = {path: path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
    assert texts.pop(tmp_path / "a.txt").startswith("Valid")
    assert set(texts.values()) == {"kept"}


def test_two_formats_need_two_files_but_not_two_devices(tmp_path):
    (tmp_path / "link").symlink_to("a")
    twice = Options(directory=str(tmp_path), out=(("json", "a"), ("text", "./link")))
    with pytest.raises(WrongUsage, match="a and ./link are the same file"):
        check_files(twice)
    write_files(Document(kind="validate"), twice)
    assert (tmp_path / "a").read_text().startswith("{")
    check_files(Options(directory=str(tmp_path), out=(("json", "/dev/null"), ("text", "/dev/null"))))


def test_advice_is_given_once_for_each_code_and_no_problem_is_told_twice():
    report = Report("plan")
    report.note(ExitCode.ERROR, Problem("dns", "thread/a: unknown"), Problem("dns", "thread/b: unknown"))
    report.note(ExitCode.ERROR, Problem("dns", "thread/a: unknown"), Problem("dns", "thread/c: unknown"))
    report.note(ExitCode.ERROR, Problem("tls", "thread/d: refused"))
    told = [problem.message for problem in report.problems]
    assert [message.partition(";")[0] for message in told] == [
        "thread/a: unknown", "thread/b: unknown", "thread/c: unknown", "thread/d: refused"
    ]  # fmt: skip
    assert [";" in message for message in told] == [True, False, False, True]


@pytest.mark.parametrize(
    ("choice", "terminal", "environment", "expected"),
    [
        ("auto", True, {}, True),
        ("auto", False, {}, False),
        ("auto", True, {"NO_COLOR": "1"}, False),
        ("auto", True, {"NO_COLOR": ""}, True),
        ("always", False, {"NO_COLOR": "1"}, True),
        ("never", True, {}, False),
        ("auto", True, {"TERM": "dumb"}, False),
        ("auto", True, {"TERM": "xterm"}, True),
        ("always", True, {"TERM": "dumb"}, True),
    ],
)
def test_colours_follow_the_option_then_no_color_then_the_terminal(choice, terminal, environment, expected):
    assert wants_color(choice, terminal, environment) is expected


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({}, "reconciler apply"),
        ({"directory": "a b", "config": "-c.yaml"}, "reconciler apply -C 'a b' --config -c.yaml"),
        ({"select": ("thread/*", "$(id)")}, "reconciler apply --select 'thread/*' --select '$(id)'"),
        ({"paths": ("-m.yaml", "it's")}, "reconciler apply -- -m.yaml 'it'\"'\"'s'"),
        ({"shard": Shard(2, 4), "max_requests": 0}, "reconciler apply --shard 2/4 --max-requests 0"),
        (
            {"only": Selection(frozenset([Cause.DRIFT]), frozenset([Op.ADD])), "prune": True, "base": ""},
            "reconciler apply --base '' --only add,drift --prune",
        ),
        ({"quiet": True, "show_all": True, "mark_since": "main", "color": "never", "yes": True}, "reconciler apply"),
    ],
)  # fmt: skip
def test_a_suggested_command_says_what_it_is_about_as_a_shell_reads_it(given, line):
    assert command_line("apply", Options(**given)) == line
