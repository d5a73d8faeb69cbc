"""Where documents go: whole files or none, and colours only where they are wanted."""

import pytest

from reconciler.cli.options import Options
from reconciler.cli.output import wants_color, write_file, write_files
from reconciler.cli.suggestion import command_line
from reconciler.compare import Cause, Selection
from reconciler.diff import Op
from reconciler.document import Document
from reconciler.errors import ReconcilerError
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


def test_every_out_file_is_written_without_colours(tmp_path):
    document = Document(kind="validate")
    write_files(document, Options(directory=str(tmp_path), out=(("text", "a.txt"), ("json", "a.json"))))
    assert (tmp_path / "a.txt").read_text() == "Valid: 0 resources.\n"
    assert (tmp_path / "a.json").read_text().startswith("{")


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
