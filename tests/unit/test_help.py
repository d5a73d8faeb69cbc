"""The pages of help: complete, true, readable, and quick to come by."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from reconciler.cli import COMMANDS, cli
from reconciler.cli import _said as spoken
from reconciler.cli.helping import FILES, GROUPS, HEADINGS, MEANINGS, PAGES, VARIABLES, described, examples
from reconciler.errors import ExitCode

ROOT = Path(__file__).parent.parent.parent
HEAVY = {"aiohttp", "asyncio", "deepdiff", "httpx", "jinja2", "pydantic", "ruamel", "sqlite3"}


def found(names):
    """Yield the names of all commands that there are, those below a group as well, with the commands."""
    context = click.Context(cli, info_name="reconciler")
    for name in names:
        try:
            command = cli.get_command(context, name)
        except ModuleNotFoundError:  # a part of the program that is not there cannot be asked
            continue
        yield name, command
        for inner, below in getattr(command, "commands", {}).items():
            yield f"{name} {inner}", below


ALL = dict(found(COMMANDS))
each = pytest.mark.parametrize("name", ALL)


def page(name, width=80):
    """Return what a command's `--help` prints at a width."""
    context = click.Context(cli, info_name="reconciler", terminal_width=width, max_content_width=width)
    for word in name.split():
        command = context.command.get_command(context, word)
        context = click.Context(command, context, word, terminal_width=width, max_content_width=width)
    return context.get_help()


def section(text, heading):
    """Return the lines below a heading, without their indentation."""
    lines = text.split("\n")
    start = lines.index(f"{heading}:") + 1
    rest = lines[start:]
    return rest[: rest.index("")] if "" in rest else rest


def test_every_command_stands_in_one_group():
    assert sorted(name for names in GROUPS.values() for name in names) == sorted(COMMANDS)


def test_every_command_has_a_page_and_every_page_a_command():
    assert set(PAGES) - set(ALL) <= set(COMMANDS)
    assert set(ALL) <= set(PAGES)


def test_every_exit_code_has_a_meaning():
    assert set(MEANINGS) == set(ExitCode)


@pytest.mark.parametrize("name", PAGES)
def test_a_page_leads_to_what_there_is(name):
    known = {*COMMANDS, *(each for each in PAGES)}
    assert set(PAGES[name].see) <= known
    assert name not in PAGES[name].see
    assert set(PAGES[name].variables) <= VARIABLES.keys()
    assert set(PAGES[name].files) <= FILES.keys()


@each
def test_a_page_has_every_part_that_a_page_has(name):
    text = page(name)
    for heading in ("Name", "Description", "Examples", "Exit codes", "See also"):
        assert f"\n{heading}:\n" in text, heading
    assert text.startswith(f"Usage: reconciler {name}")


@each
def test_every_option_says_what_it_is_for_under_a_heading(name):
    text = page(name)
    for option in (one for one in ALL[name].params if isinstance(one, click.Option)):
        assert option.help, option.opts
        headings = [heading for heading in HEADINGS if f"\n{heading}:\n" in text]
        told = [heading for heading in headings if any(option.opts[-1] in line for line in section(text, heading))]
        assert told, option.opts


@each
@pytest.mark.parametrize("width", [80, 160])
def test_a_page_fits_its_width(name, width):
    assert [line for line in page(name, width).split("\n") if len(line) > width] == []


@pytest.mark.parametrize("name", ["plan", "watch", "emulate"])
def test_only_what_is_copied_is_wider_than_a_narrow_page(name):
    text = page(name, 60)
    copied = section(text, "Examples")
    assert [line for line in text.split("\n") if len(line) > 60 and line not in copied] == []


def test_what_is_wrong_with_an_option_is_said_of_its_command_with_one_that_may_be_meant():
    def said(*words):
        with pytest.raises(click.UsageError) as caught:
            cli.main(words, standalone_mode=False)
        return spoken(caught.value)

    assert said("plan", "--se") == "there is no option --se; did you mean --select?"
    assert said("plan", "--formt", "json") == "there is no option --formt; did you mean --format?"
    assert said("plan", "--zzz") == "there is no option --zzz"
    assert said("--vers") == "there is no option --vers; did you mean --version?"
    assert said("ledger", "foo") == "ledger has no command foo; known are show"
    with pytest.raises(click.UsageError) as caught:
        cli.main(["plan", "--select"], standalone_mode=False)
    assert caught.value.ctx.command_path.endswith(" plan")


@each
def test_a_command_is_described_in_sentences(name):
    told = described(ALL[name])
    assert told[0].isupper()
    assert told.split("\n\n")[0].rstrip().endswith(".")
    assert "Example" not in told


@each
def test_every_command_has_an_example_that_names_it(name):
    assert any(f"reconciler {name}" in line for line in examples(ALL[name]))


def ordinary():
    """Return the cases of `test_exit_codes.py`, by the command that each is about."""
    spec = importlib.util.spec_from_file_location("cases_of_exit_codes", ROOT / "tests/e2e/test_exit_codes.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look themselves up there
    spec.loader.exec_module(module)
    return [case for case in module.ORDINARY if case.command.partition(" ")[0] in COMMANDS]


def test_the_codes_of_a_page_are_those_that_its_command_was_seen_to_end_with():
    untold = [str(case) for case in ordinary() if case.code not in PAGES[case.command.partition(" ")[0]].codes]
    assert untold == []


@each
def test_the_codes_of_a_page_are_shown_in_order(name):
    shown = [line.split()[0] for line in section(page(name, 160), "Exit codes")]
    assert shown == [str(int(code)) for code in sorted(PAGES[name].codes)]


def test_the_page_of_all_lists_commands_codes_and_where_help_goes_on():
    text = cli.get_help(click.Context(cli, info_name="reconciler", terminal_width=80))
    for name in COMMANDS:
        assert f"\n  {name} " in text
    for heading in (*GROUPS, "Exit codes", "Environment variables", "Files", "More help"):
        assert f"\n{heading}:\n" in text
    assert [line for line in text.split("\n") if len(line) > 80] == []


DRIVER = """
import atexit, json, sys
atexit.register(lambda: print(json.dumps(sorted(sys.modules)), file=sys.stderr))
sys.argv[0] = "reconciler"
from reconciler.__main__ import run
run()
"""


@pytest.mark.parametrize("words", [["--help"], ["plan", "--help"], ["apply", "--help"], ["drift", "-h"]], ids=" ".join)
def test_help_loads_nothing_heavy(words):
    # Without what measures coverage in every process: it loads half of the library.
    env = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    done = subprocess.run([sys.executable, "-c", DRIVER, *words], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("Usage: reconciler")
    assert {name.partition(".")[0] for name in json.loads(done.stderr)} & HEAVY == set()
