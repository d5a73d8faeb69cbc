"""What is offered to a shell: the parts that need none."""

import re

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.cli import cli, completing
from reconciler.cli.completing import MOST, SCRIPTS, _Line, _offered, scan
from reconciler.manifest import read_manifest

MANIFEST = """\
version: 1
defaults:
  metadata: {thread_0: not an id}
threads: # the first section
  # a remark
  thread_1:
    metadata:
      plan: gold
  'thread_2': {}
  "thread:3": {metadata: {a: b}}
messages:
    thread_1/msg_1:
        metadata: {a: b}
nothing_known:
  thread_9: {}
"""


def names(tables):
    return sorted(f"{kind}/{own}" for kind, ids in tables for own in ids)


def test_the_lines_of_a_manifest_show_its_ids():
    assert names(scan(MANIFEST)) == ["message/thread_1/msg_1", "thread/thread:3", "thread/thread_1", "thread/thread_2"]


@given(st.lists(st.from_regex(r"thread_[A-Za-z0-9._:-]{1,20}", fullmatch=True), unique=True, max_size=20))
def test_the_lines_of_a_manifest_in_block_style_show_what_a_parser_reads(ids):
    text = "version: 1\nthreads:\n" + "".join(f'  "{own}":\n    metadata: {{a: b}}\n' for own in ids)
    text = text if ids else "version: 1\n"
    assert names(scan(text)) == names(read_manifest(text.encode(), "m.yaml").table.ids.items())


@given(st.text())
def test_no_text_stops_the_scan(text):
    assert isinstance(list(scan(text)), list)


@given(st.integers(0, 3 * MOST), st.integers(0, 10**9))
def test_of_too_many_names_those_are_offered_that_share_what_all_share(size, first):
    every = sorted(f"thread/t{number}" for number in range(first, first + size))
    offered = [item.value for item in _offered(every, "thread/")]
    assert len(offered) == len(set(offered)) == min(size, MOST)
    assert offered[:1] + offered[-1:] == every[:1] + every[-1:]


def item_source(values):
    return lambda _context, _parameter, _begun: list(map(click.shell_completion.CompletionItem, values))


@given(st.lists(st.text(min_size=1)))
def test_nothing_is_offered_that_means_something_to_a_shell(values):
    hostile = [*values, "$(x)", "`x`", "a;b", "a b", "a\tb", "a\nb", "=ls", "~", "*", "a'b", 'a"b', "\\", "é", "\ud800"]
    option = click.Option(["--x"], shell_complete=item_source(hostile))
    command = click.Command("c", params=[option])
    for _, value, _ in _Line(command, ["--x"], "").offers():
        assert re.fullmatch(r"[A-Za-z0-9._/:@,+=-]+", value)
        assert value[0] not in "=~+"


def offers(*words):
    return [value for _, value, _ in _Line(cli, words[:-1], words[-1]).offers()]


def test_commands_are_offered_without_loading_any_of_them():
    assert offers("pl") == ["plan"]
    assert offers("ledger", "") == ["show"]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (("plan", "--format", "j"), ["json", "junit"]),
        (("plan", "--format=j"), ["--format=json", "--format=junit"]),
        (("plan", "--only", "add,re"), ["add,replace", "add,remove"]),
        (("plan", "--only", "add,replace,re"), ["add,replace,remove"]),
        (("plan", "--out", "sa"), ["sarif="]),
        (("plan", "--out", "nosuch="), []),
        (("-C", "/", "plan", "--det"), ["--detailed-exitcode"]),
        (("-C", ""), [""]),
    ],
)
def test_a_line_is_completed(words, found):
    assert offers(*words) == found


def test_of_too_many_targets_a_choice_is_offered(tmp_path):
    rows = "".join(f"  t{number:04}: {{provider: emulator}}\n" for number in range(MOST + 500))
    (tmp_path / "reconciler.yaml").write_text(f"version: 1\ntargets:\n{rows}", encoding="utf-8")
    found = offers("-C", str(tmp_path), "plan", "--target", "")
    assert (len(found), found[0], found[-1]) == (MOST, "t0000", f"t{MOST + 499:04}")


def test_bash_is_put_together_again_where_it_takes_words_apart():
    def read(*words, breaks="=:"):
        env = {"COMP_WORDS": "\n".join(words), "COMP_CWORD": str(len(words) - 1), "COMP_BREAKS": breaks}
        return completing._of_bash(env)

    assert read("reconciler", "plan", "") == (["plan"], "", "")
    assert read("reconciler", "plan", "--out", "json", "=", "p") == (["plan", "--out"], "json=p", "json=")
    assert read("reconciler", "plan", "--out", "json", "=") == (["plan", "--out"], "json=", "json=")
    assert read("reconciler", "plan", "--format", "=", "json", "") == (["plan", "--format=json"], "", "")
    assert read("reconciler", "forget", "thread/t", ":", "1", ":", "2") == (["forget"], "thread/t:1:2", "thread/t:1:")
    assert read("reconciler", "plan", "'thread/*") == (["plan"], "thread/*", "")


def test_every_shell_that_the_command_knows_has_a_script():
    command = cli.get_command(click.Context(cli), "completion")
    assert list(command.params[0].type.choices) == list(SCRIPTS)
