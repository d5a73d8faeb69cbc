"""Every example of every command's help is run for real, and every option has one, or stands in the README."""

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest
from scratch import Api, Scratch, finished, until

from reconciler import emulator
from reconciler.cli import COMMANDS, cli
from reconciler.cli.helping import PAGES, example_lines, examples
from reconciler.dialects import REPLACE

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
RUN = "20261122T141037Z-1a2b3c"
"""Stands in the examples for the id of a run."""

SETTINGS = """\
version: 1
default_target: local
targets:
  local: {provider: emulator, manifests: [manifests], writes: {thread: replace, conversation: replace}}
  production: {provider: openai, base_url: "URL", api_key_env: THREADS_API_KEY, manifests: [manifests]}
"""
BEFORE = """\
version: 1
threads:
  thread_1:
    metadata: {plan: gold}
  thread_2:
    metadata: {plan: gold}
  thread_abc123:
    metadata: {plan: gold}
conversations:
  conv_1:
    metadata: {plan: gold}
"""
AFTER = """\
version: 1
threads:
  thread_1:
    metadata: {plan: silver, team: support}
  thread_2:
    metadata: {plan: gold}
"""
HELD = {"thread/thread_1": {"plan": "gold"}, "thread/thread_2": {"plan": "gold"}}
KEYS = {"THREADS_API_KEY": "key-of-a-test", "EMULATOR_KEY": "key-of-a-test", "DRIFT_WEBHOOK": "http://127.0.0.1:9/hook"}
MEANT = {
    "reconciler -C . plan --detailed-exitcode": 2,
    "reconciler plan --only pending,remove --prune --detailed-exitcode": 2,
    "reconciler drift": 2,
    "reconciler drift --select 'thread/*' --format json --out json=drift.json": 2,
    "reconciler drift --now 2026-12-31 --all --blame": 2,
}
"""The examples that end with another code than 0, and rightly so: something differs, something has drifted."""
ASKED = {"reconciler apply", "reconciler rollback", "reconciler adopt"}
"""The examples that ask before they write, and are answered with yes."""
SERVING = {"emulate": "emulating the API at ", "watch": " run 1"}
"""The commands that go on until somebody ends them, and what they say once they are at work."""
IN_ORDER = {"merge-reports", "show", "schema"}
"""The commands whose examples build upon each other."""
DRIFTED = {"drift", "adopt", "watch"}
"""The commands before whose examples somebody has changed a thread behind git's back."""


def found():
    """Yield the words of every command that there is, with the command."""
    context = click.Context(cli, info_name="reconciler")
    yield "", cli
    for name in COMMANDS:
        with contextlib.suppress(ModuleNotFoundError):
            command = cli.get_command(context, name)
            yield name, command
            yield from ((f"{name} {inner}", below) for inner, below in getattr(command, "commands", {}).items())


ALL = dict(found())


# --- a repository in which all of it makes sense ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """Give a repository with a remote, an apply of the past, a commit to come, released resources, a saved plan."""
    scratch = Scratch(tmp_path_factory.mktemp("template"))
    scratch.write("reconciler.yaml", SETTINGS.replace("URL", "http://127.0.0.1:9/v1"))
    scratch.write("manifests/support.yaml", BEFORE)
    scratch.write(".gitignore", ".reconciler/\n")
    scratch.commit()
    assert scratch.run("apply --yes").code == 0
    scratch.git("branch", "-M", "main")
    subprocess.run(["git", "init", "-q", "--bare", scratch.home.parent / "origin.git"], check=True)
    scratch.git("remote", "add", "origin", "../origin.git")
    scratch.git("push", "-q", "origin", "main")
    scratch.git("fetch", "-q", "origin")
    scratch.write("manifests/support.yaml", AFTER)
    scratch.git("commit", "-qam", "Change it")
    assert scratch.run("plan --out json=plan.json").code == 0
    scratch.write("ids.txt", "# two of them\nthread/thread_abc123\n\nconversation/conv_1\n")
    scratch.write("threads.txt", "thread_abc123\n")
    return scratch.folder.parent


def move(scratch, path, metadata):
    """Change what the embedded emulator holds, as somebody else would."""
    with emulator.embedded(
        scratch.folder / ".reconciler" / "local.sqlite", {"thread": REPLACE, "conversation": REPLACE}, []
    ) as api:
        assert api.handle("POST", f"/v1/{path}", {}, json.dumps({"metadata": metadata}).encode())[0] == 200


@contextlib.contextmanager
def world(template, place, name):
    """Copy the repository, and let a server listen for its target `production`."""
    shutil.copytree(template, place, symlinks=True)
    scratch = object.__new__(Scratch)
    scratch.folder, scratch.home = place / "work", place / "home"
    command = place / "bin" / "reconciler"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m reconciler "$@"\n', encoding="utf-8")
    command.chmod(0o755)
    with Api(HELD).listening() as url:
        scratch.write("reconciler.yaml", SETTINGS.replace("URL", url))
        if name in DRIFTED:
            move(scratch, "threads/thread_2", {"plan": "bronze"})
        if name == "schema":
            (scratch.folder / ".schemas").mkdir()
        if name == "init":
            shutil.rmtree(scratch.folder)
            (scratch.folder / "ops" / "threads").mkdir(parents=True)
            scratch.git("init", "-q")
        yield scratch


def carried_out(scratch, name, line):
    """Run an example; returns what it left behind."""
    env = {**KEYS, "PATH": f"{scratch.folder.parent / 'bin'}:{os.environ['PATH']}"}
    if RUN in line:
        (run, *_) = json.loads(scratch.run("history --format json").out)
        line = line.replace(RUN, run["run"] if "run" in run else run["id"])
    if line in ASKED:
        return scratch.at_terminal(line.removeprefix("reconciler "), "yes", env)
    if name in SERVING:
        return served(scratch, name, line, env)
    done = subprocess.Popen(
        ["sh", "-c", line], cwd=scratch.folder, env=scratch.environment(env), text=True, encoding="utf-8",
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    return finished(done)


def served(scratch, name, line, env):
    """Start what serves, see that it does, and end it. It gets a free port, whatever the example says."""
    words = shlex.split(line)[1:]
    words += {"emulate": ["--port", "0"], "watch": ["--listen", "127.0.0.1:0"]}[name] if "none" not in words else []
    log = scratch.folder.parent / "said"
    with log.open("w", encoding="utf-8") as said:
        process = scratch.start(shlex.join(words), env, stdout=said, stderr=said)
    until(lambda: SERVING[name] in log.read_text() or process.poll() is not None, line)
    process.send_signal(signal.SIGTERM)
    done = finished(process)
    return type(done)(done.code, log.read_text(), "")


EACH = [(name, [line]) for name in ALL if name not in IN_ORDER for line in examples(ALL[name])]
TOGETHER = [(name, examples(ALL[name])) for name in ALL if name in IN_ORDER]


@pytest.mark.parametrize(
    ("name", "lines"), EACH + TOGETHER, ids=lambda value: value if isinstance(value, str) else value[0]
)
def test_the_examples_of_a_help_do_what_they_show(name, lines, template, tmp_path):
    with world(template, tmp_path / "world", name) as scratch:
        for line in lines:
            done = carried_out(scratch, name, line)
            assert done.code == MEANT.get(line, 0), (line, done)
            assert "Traceback" not in done.out + done.err
            if name:  # the page of all commands has no codes of its own
                assert done.code in {int(code) for code in PAGES[name].codes}


def test_the_table_of_codes_and_questions_is_about_examples():
    every = {line for command in ALL.values() for line in examples(command)}
    assert MEANT.keys() <= every
    assert every >= ASKED


def test_an_example_in_several_lines_is_one_command():
    command = click.Command("c", help="What it does.\n\n\b\nExamples:\n  # a remark\n  one | \\\n    two\n  three\n")
    assert examples(command) == ["one | two", "three"]
    assert example_lines(command)[0] == "# a remark"


# --- every option -----------------------------------------------------------------------------------------------------


def shown_in(option, lines):
    return any(re.search(rf"(?<![\w-]){re.escape(flag)}(?![\w-])", line) for flag in option.opts for line in lines)


def shared(option):
    """Return the examples of all commands that have the same option, which `options.py` declares once for all."""
    for command in ALL.values():
        twins = [one for one in command.params if isinstance(one, click.Option)]
        if any((one.opts, one.help) == (option.opts, option.help) for one in twins):
            yield from examples(command)


@pytest.mark.parametrize("name", ALL)
def test_every_option_has_an_example_or_stands_in_the_readme(name):
    options = [one for one in ALL[name].params if isinstance(one, click.Option)]
    lacking = [one.opts for one in options if not shown_in(one, [*examples(ALL[name]), *shared(one), README])]
    assert lacking == []
