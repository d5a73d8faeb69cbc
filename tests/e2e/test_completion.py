"""What the shells offer: each script is sourced in its own shell, which is then asked, or has Tab pressed in it."""

import contextlib
import os
import pty
import re
import select
import shlex
import shutil
import subprocess
import sys
import time

import pytest
from scratch import PATIENCE, Scratch

from reconciler.cli import COMMANDS
from reconciler.cli.completing import MOST
from reconciler.kinds import KINDS
from reconciler.render import FORMATS

SETTINGS = """\
version: 1
default_target: local
targets:
  local: {provider: emulator, manifests: [manifests]}
  production: {provider: openai, base_url: "https://api.example/v1", manifests: [manifests]}
"""
MANIFEST = """\
threads:
  thread_abc:
    metadata: {plan: gold}
  thread_abd: {metadata: {plan: gold}}
  thread:1: {metadata: {plan: gold}}
conversations:
  conv_1: {metadata: {plan: gold}}
messages:
  thread_abc/msg_1: {metadata: {plan: gold}}
"""
COMMAND = """\
#!/bin/sh
case "$_RECONCILER_COMPLETE$1" in
    bash*|zsh*|fish*|completion) exec {python} -m reconciler "$@" ;;
esac
for word; do printf '<%s>' "$word"; done
"""
"""The command as far as a shell asks it something; everything else it only repeats, each word in angle brackets."""
IDS = ["conversation/conv_1", "message/thread_abc/msg_1", "thread/thread:1", "thread/thread_abc", "thread/thread_abd"]


def needs(shell):
    return pytest.mark.skipif(shutil.which(shell) is None, reason=f"{shell} is not installed here")


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    """Give a repository with two targets and five ids, two branches, a tag, and a `reconciler` on the path."""
    made = Scratch(tmp_path_factory.mktemp("shells"))
    made.write("reconciler.yaml", SETTINGS)
    made.manifest(MANIFEST)
    made.write(".gitignore", ".reconciler/\nother/\n")
    made.commit()
    made.git("branch", "feature/x")
    made.git("branch", "a$(touch${IFS}hit)b")
    made.git("tag", "v1.0")
    made.write("plan.json", "{}")
    made.write("folder/inside.txt", "")
    command = made.home.parent / "bin" / "reconciler"
    command.parent.mkdir()
    command.write_text(COMMAND.format(python=shlex.quote(sys.executable)), encoding="utf-8")
    command.chmod(0o755)
    return made


def environment(scratch, **more):
    env = scratch.environment(more)
    return {**env, "PATH": f"{scratch.home.parent / 'bin'}:{env['PATH']}", "LC_ALL": "C.UTF-8", "TERM": "xterm"}


def shell(scratch, *command, given=""):
    done = subprocess.run(
        command, cwd=scratch.folder, env=environment(scratch), input=given, capture_output=True, text=True,
        check=False, timeout=120,
    )  # fmt: skip
    assert done.stderr == "", done
    return done.stdout.splitlines()


def in_bash(scratch, *words):
    """Return what bash's function leaves in COMPREPLY; words as bash takes a line apart."""
    script = f"""
    eval "$(reconciler completion bash)"
    COMP_WORDS=({shlex.join(words)}) COMP_CWORD={len(words) - 1}
    _reconciler_completion reconciler
    printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    return [line for line in shell(scratch, "bash", "--norc", "--noprofile", "-c", script) if line]


def in_fish(scratch, *words):
    """Return what fish would offer, without the descriptions."""
    line = " ".join(words)
    script = f"reconciler completion fish | source\ncomplete -C {shlex.quote(line)}"
    return [found.partition("\t")[0] for found in shell(scratch, "fish", "--no-config", "-c", script)]


def in_zsh(scratch, *words):
    """Return what zsh would add: its own functions are replaced by ones that print what they are given."""
    script = f"""
    compdef() {{ : }}
    compset() {{ : }}
    _files() {{ print -r -- "FILES $*" }}
    _describe() {{ print -rl -- "${{(@P)argv[-1]}}" }}
    compadd() {{ print -rl -- "${{(@P)argv[-1]}}" }}
    eval "$(reconciler completion zsh)"
    words=({shlex.join(words)}) CURRENT={len(words)}
    _reconciler_completion
    """
    found = shell(scratch, "zsh", "--no-rcs", "-c", script)
    return [re.split(r"(?<!\\):", line)[0].replace("\\:", ":") for line in found]


SHELLS = [
    pytest.param(in_bash, id="bash", marks=needs("bash")),
    pytest.param(in_zsh, id="zsh", marks=needs("zsh")),
    pytest.param(in_fish, id="fish", marks=needs("fish")),
]
each_shell = pytest.mark.parametrize("offered", SHELLS)

ASKED = {
    "commands": (("reconciler", ""), sorted(COMMANDS)),
    "commands that begin so": (("reconciler", "pl"), ["plan"]),
    "commands below a group": (("reconciler", "ledger", ""), ["show"]),
    "options": (("reconciler", "plan", "--max"), ["--max-bytes", "--max-requests"]),
    "targets": (("reconciler", "plan", "--target", ""), ["local", "production"]),
    "targets that begin so": (("reconciler", "apply", "--target", "pr"), ["production"]),
    "choices": (("reconciler", "plan", "--color", ""), ["always", "auto", "never"]),
    "formats": (("reconciler", "plan", "--format", ""), sorted(FORMATS)),
    "formats of files": (("reconciler", "plan", "--out", "j"), ["json=", "junit="]),
    "ids to select": (("reconciler", "plan", "--select", ""), IDS),
    "ids to forget": (("reconciler", "forget", "thread/thread_a"), ["thread/thread_abc", "thread/thread_abd"]),
    "ids of the ledger": (("reconciler", "ledger", "show", "conv"), ["conversation/conv_1"]),
    "ids to import": (("reconciler", "import", "thread/thread_"), ["thread/thread_abc", "thread/thread_abd"]),
    "kinds to import": (("reconciler", "import", "vault"), ["vault/", "vault_credential/"]),
    "revisions": (("reconciler", "plan", "--changed-since", ""), ["HEAD", "feature/x", "master", "v1.0"]),
    "revisions to mark": (("reconciler", "plan", "--mark-since", "v"), ["v1.0"]),
    "a base": (("reconciler", "plan", "--base", "no"), ["none"]),
    "causes and ops": (("reconciler", "apply", "--only", "drift,p"), ["drift,pending"]),
    "shells": (("reconciler", "completion", ""), ["bash", "fish", "zsh"]),
    "dialects of an emulator": (("reconciler", "emulate", "--writes", "thread=merge-"),
                                ["thread=merge-empty", "thread=merge-null"]),
    "faults of an emulator": (("reconciler", "emulate", "--fault", "50"), ["500=", "503="]),
    "nothing behind an unknown command": (("reconciler", "nosuch", ""), []),
}  # fmt: skip


def apart(words):
    """Take words apart as bash does at `=` and `:`, and give what of the last one is left to complete."""
    return [part for word in words for part in (word.replace("=", "\0=\0").split("\0") if "=" in word else [word])]


@pytest.mark.parametrize(("words", "found"), ASKED.values(), ids=ASKED)
@each_shell
def test_a_shell_offers_what_may_stand_there(offered, words, found, scratch):
    if offered is in_bash and "=" in words[-1]:
        words, found = apart(words), [value.partition("=")[2] for value in found]
    answer = offered(scratch, *words)
    assert sorted(answer) == sorted(found)


@needs("fish")
def test_fish_completes_the_names_of_files_behind_a_format_as_well(scratch):
    assert in_fish(scratch, "reconciler", "show", "pl") == ["plan.json"]
    assert in_fish(scratch, "reconciler", "plan", "--out", "json=pl") == ["json=plan.json"]
    assert in_fish(scratch, "reconciler", "plan", "-C", "fo") == ["folder/"]
    assert in_fish(scratch, "reconciler", "plan", "--target=p") == ["--target=production"]


@needs("bash")
@pytest.mark.parametrize(
    ("words", "found"),
    [
        (("thread/thread", ":", ""), ["1"]),
        (("thread/thread", ":"), ["1"]),
        (("'thread/thread:",), ["thread/thread:1"]),
        (('"thread/thread_abc',), ["thread/thread_abc"]),
    ],
)
def test_bash_completes_ids_with_colons_and_in_quotes(words, found, scratch):
    assert in_bash(scratch, "reconciler", "plan", "--select", *words) == found


# --- at the keyboard --------------------------------------------------------------------------------------------------


def typed(scratch, command, setup, line, wanted):
    """Type a line, Tab and Enter into an interactive shell, and wait for the words that the command is called with."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        command, cwd=scratch.folder, env=environment(scratch), stdin=follower, stdout=follower, stderr=follower,
        start_new_session=True,
    )  # fmt: skip
    os.close(follower)
    try:
        os.write(leader, f"{setup}; PS1='ready''> '; PROMPT=$PS1\n".encode())
        _wait(leader, "ready> ")
        os.write(leader, f"{line}\t\n".encode())
        _wait(leader, wanted)
    finally:
        process.kill()
        process.wait()
        os.close(leader)


def _wait(leader, wanted):
    seen = ""
    deadline = time.monotonic() + PATIENCE
    while wanted not in seen:
        assert time.monotonic() < deadline, f"no {wanted!r} in {seen!r}"
        if select.select([leader], [], [], 0.1)[0]:
            with contextlib.suppress(OSError):
                seen += os.read(leader, 65536).decode(errors="replace")


BASH = ("bash", "--norc", "--noprofile", "-i")
BASH_SETUP = 'eval "$(reconciler completion bash)"'
ZSH = ("zsh", "--no-rcs", "-i")
ZSH_SETUP = 'autoload -Uz compinit; compinit -u -D; eval "$(reconciler completion zsh)"'
AT_THE_KEYBOARD = [
    ("reconciler pla", "<plan>"),
    ("reconciler plan --target pr", "<plan><--target><production>"),
    ("reconciler plan --target=pr", "<plan><--target=production>"),
    ("reconciler forget thread/thread:", "<forget><thread/thread:1>"),
    ("reconciler plan --select 'thread/thread:", "<plan><--select><thread/thread:1>"),
    ("reconciler show pl", "<show><plan.json>"),
    ("reconciler plan --out json=pl", "<plan><--out><json=plan.json>"),
    ("reconciler plan --out jso", "<plan><--out><json=>"),
    ("reconciler plan -C fol", "<plan><-C><folder/>"),
    ("reconciler -C fol", "<-C><folder/>"),
    ("reconciler import vault_", "<import><vault_credential/>"),
]


@pytest.mark.parametrize(("line", "wanted"), AT_THE_KEYBOARD)
@needs("bash")
def test_tab_completes_in_bash(line, wanted, scratch):
    # Without a completion package bash leaves out the slash behind a folder: its own way with `-o dirnames`.
    typed(scratch, BASH, BASH_SETUP, line, wanted.replace("/>", "") if "-C" in line else wanted)


@pytest.mark.parametrize(("line", "wanted"), AT_THE_KEYBOARD)
@needs("zsh")
def test_tab_completes_in_zsh(line, wanted, scratch):
    typed(scratch, ZSH, ZSH_SETUP, line, wanted.replace("/>", "") if "-C" in line else wanted)


# --- whatever is wrong ------------------------------------------------------------------------------------------------

BROKEN = {
    "settings that are no YAML": ("reconciler.yaml", "targets: {\n"),
    "settings with an unknown provider": ("reconciler.yaml", SETTINGS.replace("emulator", "nosuch")),
    "a manifest that is no YAML": ("manifests/m.yaml", "threads: {\n\x00"),
    "a manifest with a mistake": ("manifests/m.yaml", "version: 1\nthreads:\n  thread_1: {metadata: null}\n"),
    "ids that would act": (
        "manifests/m.yaml",
        "version: 1\nthreads:\n  $(touch hit): {metadata: {a: b}}\n  '`x`': {}\n",
    ),
    "targets that would act": ("reconciler.yaml", "version: 1\ntargets:\n  $(touch hit): {provider: emulator}\n"),
}


def asked(scratch, shell, *words, **env):
    """Ask as a script does, and return what comes back, on either stream."""
    separator = "\x1f" if shell == "fish" else "\n"
    env |= {"COMP_WORDS": separator.join(words), "COMP_CWORD": str(len(words) - 1), "_RECONCILER_COMPLETE": shell}
    return scratch.run("", env)


@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize("words", [("plan", "--select", ""), ("plan", "--target", ""), ("rollback", "")])
def test_nothing_is_said_of_what_is_wrong(words, broken, tmp_path):
    scratch = Scratch(tmp_path)
    scratch.write("reconciler.yaml", SETTINGS)
    scratch.manifest(MANIFEST)
    scratch.write(*BROKEN[broken])
    for shell in ("bash", "zsh", "fish"):
        done = asked(scratch, shell, "reconciler", *words)
        assert (done.code, done.err) == (0, "")
        assert not set("$`();&|<>'\"\\*?[]{}") & set(done.out)


def test_a_broken_manifest_hides_its_own_ids_alone(tmp_path):
    scratch = Scratch(tmp_path)
    scratch.write("reconciler.yaml", SETTINGS)
    scratch.manifest(MANIFEST)
    scratch.write("manifests/broken.yaml", "version: 1\nthreads: {\n")
    assert asked(scratch, "fish", "reconciler", "plan", "--select", "conv").lines == ["plain\tconversation/conv_1"]


def test_what_cannot_be_asked_is_answered_with_nothing(scratch):
    for env in ({}, {"COMP_WORDS": "reconciler", "COMP_CWORD": "x"}, {"COMP_WORDS": "", "COMP_CWORD": "7"}):
        done = scratch.run("", {"_RECONCILER_COMPLETE": "bash", **env})
        assert (done.code, done.err) == (0, "")
    done = scratch.run("--version", {"_RECONCILER_COMPLETE": "tcsh"})  # no shell of ours asks: the command is meant
    assert (done.code, done.out.split()[0]) == (0, "reconciler")


# --- many ids ---------------------------------------------------------------------------------------------------------


def fleet(size):
    return "version: 1\nthreads:\n" + "".join(f"  thread_{n:06}:\n    metadata: {{plan: gold}}\n" for n in range(size))


@pytest.mark.parametrize("cache", ["off", None])
def test_of_a_hundred_thousand_ids_an_even_choice_is_offered(cache, tmp_path):
    scratch = Scratch(tmp_path)
    scratch.write("reconciler.yaml", SETTINGS)
    scratch.write("manifests/m.yaml", fleet(100_000))
    env = {} if cache is None else {"RECONCILER_CACHE": cache}
    lines = asked(scratch, "fish", "reconciler", "plan", "--select", "thread/thread_0", **env).lines
    assert len(lines) == MOST
    assert lines == sorted(set(lines))
    assert (lines[0], lines[-1]) == ("plain\tthread/thread_000000", "plain\tthread/thread_099999")
    few = asked(scratch, "fish", "reconciler", "plan", "--select", "thread/thread_09999", **env).lines
    assert few == [f"plain\tthread/thread_09999{n}" for n in range(10)]


def test_every_kind_can_be_completed_to_be_imported(scratch):
    lines = asked(scratch, "zsh", "reconciler", "import", "").lines
    assert [line for line in lines if line.startswith("open")] == [f"open\t{kind}/" for kind in KINDS]
