"""What strangers write (values, ids, files of a pull request, plan files) acts on nobody who looks at it."""

from __future__ import annotations

import json
import os
import re
import shlex
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from repositories import git, hook, tip
from ruamel.yaml import YAML
from scratch import Answer, Api, Scratch, complaint

from reconciler import settings
from reconciler.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ESCAPES = "\x1b[31mred\x1b]0;title\x07\x9b31m"
TURNED = "\u202egnp.exe\u2066\u2028next\u2029\u0085line"
GITHUB = "::error file=a.py,line=1::owned"
HOSTILE = {
    "lines": f"one\n{GITHUB}\r\n  ::add-mask::two\r::stop-commands::x",
    "old form": "x ##[command]y ##[error]z ###[group]w",
    "azure": "##vso[task.setvariable variable=PATH]/tmp",
    "teamcity": "a##teamcity[buildProblem description='b']",
    "terminal": ESCAPES,
    "order": TURNED,
    "::warning::key": GITHUB,
    "##vso[key]": "##[x]",
    "\n::error::key": "v",
}
COMMAND = re.compile(r"^\s*::|##\w*\[", re.MULTILINE)


def harmless(text: str) -> None:
    """Hold a text against what a terminal and the log of a CI service would do with it."""
    lines = text.split("\n")
    for line in lines:
        assert line.isprintable(), repr(line)
        assert not COMMAND.search(line), line
    assert "\r" not in text


@pytest.fixture
def scratch(tmp_path: Path) -> Scratch:
    return Scratch(tmp_path)


@contextmanager
def serving(scratch: Scratch, more: str = "", rest: str = "", **given: object) -> Iterator[Api]:
    api = Api(**given)
    with api.listening() as url:
        scratch.settings(url, more, rest)
        api.url = url
        yield api


def manifest_of(pairs: dict[str, str | None]) -> str:
    return f"threads:\n  thread_1:\n    metadata: {json.dumps(pairs)}\n"


def all_files(folder: Path) -> Iterator[Path]:
    yield from (path for path in folder.rglob("*") if path.is_file() and ".git" not in path.parts)


def test_no_command_shows_a_hostile_value_raw_in_any_format(scratch):
    """From the first look to the last record, on both streams and in every file."""
    declared = {key: f"{value} declared" for key, value in HOSTILE.items()}
    with serving(scratch, held={"thread/thread_1": HOSTILE, "thread/thread_2": HOSTILE}, writes={"thread": "merge"}):
        scratch.manifest(manifest_of(declared))
        scratch.git("init", "-q")
        scratch.git("add", "-A")
        scratch.git("-c", f"user.name={GITHUB} ##[x]", "commit", "-q", "-m", GITHUB)
        lines = [
            "validate",
            "plan --blame --out text=plan.txt --out json=plan.json",
            "plan --format json",
            "show plan.json",
            "apply --yes",
            "plan --all",
            "drift --blame",
            "history",
            "history --format json",
            "ledger show",
            "ledger show --format json",
            "import thread/thread_2",
            "import thread/thread_2 --into manifests/other.yaml",
        ]
        for line in lines:
            done = scratch.run(line)
            assert done.code in (0, 2), (line, done)
            harmless(done.out)
            harmless(done.err)
        run = scratch.run("history --format json").document[0]["id"]
        for line in (f"history {run}", f"history {run} --format json", f"rollback {run[:8]} --yes", "adopt --yes"):
            done = scratch.run(line)
            assert done.code == 0, (line, done)
            harmless(done.out)
            harmless(done.err)
    for path in all_files(scratch.folder):
        if path.name != "m.yaml":  # a person wrote that one
            harmless(path.read_text(encoding="utf-8"))


def test_what_is_made_harmless_keeps_its_value(scratch):
    with serving(scratch, held={"thread/thread_1": {}, "thread/thread_2": HOSTILE}):
        scratch.manifest(manifest_of(HOSTILE))
        change = scratch.run("plan --format json").document["changes"][0]
        assert change["planned"] == HOSTILE
        printed = scratch.run("import thread/thread_2").out
        assert YAML(typ="safe", pure=True).load(printed)["threads"]["thread_2"]["metadata"] == HOSTILE
        scratch.run("plan --out json=plan.json")
        assert scratch.run("apply plan.json --yes --quiet").code == 0
        assert scratch.run("plan --detailed-exitcode").code == 0


def test_what_a_server_says_is_no_command(scratch):
    words = f"{GITHUB}\n::error::{ESCAPES} ##vso[x]y {TURNED}"
    answer = complaint(418, words, x_request_id="##[x]")
    with serving(scratch, instead={f"GET /v1/threads/thread_{number}": [answer] for number in (1, 9)}):
        scratch.manifest(manifest_of({"a": "b"}))
        for line in ("plan --verbose", "plan --format json", "import thread/thread_9", "drift"):
            done = scratch.run(line)
            assert done.code == 1
            harmless(done.out)
            harmless(done.err)


def test_the_user_s_own_lines_are_harmless_in_a_patch(scratch):
    with serving(scratch, held={"thread/thread_1": {"a": "there", "text": "::error::x\n"}}):
        scratch.manifest("threads:\n  thread_1:\n    metadata:\n      text: |\n        ::error::x\n      a: b\n")
        done = scratch.run("adopt --unattributed --base none --yes")
        assert done.code == 0, done
        harmless(done.out)
        assert "+      a: there" in done.out
        assert "::error::x\n" in scratch.read("manifests/m.yaml")


BAD_LINES = [
    ["plan", f"--{GITHUB}"],
    ["plan", "--format", f"x\n{GITHUB}\n##[error]y"],
    ["plan", f"{GITHUB}\n::error::x.yaml"],
    ["plan", "--only", f"##vso[x]\n{GITHUB}"],
    ["plan", "--now", GITHUB],
    ["plan", "-C", f"x\n{GITHUB}"],
    ["plan", "--select", f"\n{GITHUB}"],
    ["plan", "--target", f"\n{GITHUB}"],
    ["plan", "--config", f"\n{GITHUB}"],
    ["plan", "--base", f"\n{GITHUB}"],
    ["plan", "--changed-since", f"\n{GITHUB}"],
    ["plan", "--out", f"json=no\n{GITHUB}/x"],
    ["drift", "--now", f"\n{GITHUB}"],
    ["show", f"\n{GITHUB}"],
    ["import", f"thread/\n{GITHUB}"],
    ["import", "--ids-from", f"\n{GITHUB}"],
    ["history", f"\n{GITHUB}"],
    ["ledger", "show", f"\n{GITHUB}"],
    ["forget", f"\n{GITHUB}"],
    [f"\n{GITHUB}"],
    ["apply", f"\n{GITHUB}", "--yes"],
    ["emulate", "--writes", f"\n{GITHUB}"],
]


@pytest.mark.parametrize("words", BAD_LINES, ids=lambda words: " ".join(words)[:20].strip())
def test_a_command_line_is_repeated_without_what_a_log_would_obey(scratch, words):
    scratch.settings("http://127.0.0.1:9")
    scratch.manifest("threads: {thread_1: {}}")
    scratch.commit()
    done = scratch.run(shlex.join(words))
    assert done.code not in (0, 2), done
    assert "Traceback" not in done.err
    harmless(done.out)
    harmless(done.err)


HOSTILE_FILES = {
    "a field": f"threads: {{thread_1: {{{json.dumps(GITHUB)}: 1}}}}",
    "a kind": f"{json.dumps(chr(10) + GITHUB)}: {{}}",
    "an id": f"threads: {{{json.dumps('##[x]' + ESCAPES)}: {{}}}}",
    "a number": "threads: {thread_1: {metadata: {a: 5}}}",
    "a key": f"threads: {{thread_1: {{metadata: {{{json.dumps('##vso[x]' * 10)}: v}}}}}}",
    "twice": f"threads: {{thread_1: {{metadata: {{{json.dumps(GITHUB)}: v, {json.dumps(GITHUB)}: v}}}}}}",
    "syntax": f"threads: [{GITHUB}\n##[x]: }}",
}


@pytest.mark.parametrize("text", HOSTILE_FILES.values(), ids=HOSTILE_FILES)
@pytest.mark.parametrize("form", ["text", "json"])
def test_an_invalid_manifest_is_told_without_what_a_log_would_obey(scratch, text, form):
    scratch.settings("http://127.0.0.1:9")
    scratch.write("manifests/\n::error::x ##[y].yaml", f"version: 1\n{text}\n")
    done = scratch.run(f"validate --format {form}")
    assert done.code == 3
    harmless(done.out)
    harmless(done.err)


# --- which hosts, which commands --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hosts", "allowed"),
    [
        *(
            (hosts, False)
            for hosts in ("", " ", "api.openai.com", "*.example.org, api.openai.com:443", "127.0.0.1:1", "*")
        ),
        *((hosts, True) for hosts in ("127.0.0.1", "x 127.0.0.1:9")),
    ],
)
def test_a_host_that_is_not_allowed_gets_no_key(scratch, hosts, allowed):
    scratch.settings("http://127.0.0.1:9", "api_key_env: THE_KEY")
    env = {"RECONCILER_ALLOWED_HOSTS": hosts, "THE_KEY": "k"}
    target = settings.resolve(cwd=scratch.folder, env=env, config=None, target=None).target
    if allowed:
        assert target.credential(env).get_secret_value() == "k"
    else:
        with pytest.raises(InvalidInput, match="RECONCILER_ALLOWED_HOSTS allows"):
            target.credential(env)
        with pytest.raises(InvalidInput, match="RECONCILER_ALLOWED_HOSTS allows"):  # no key is looked for before
            target.credential({"RECONCILER_ALLOWED_HOSTS": hosts})


def test_a_host_that_is_not_allowed_gets_no_call(scratch):
    with serving(scratch, held={"thread/thread_1": {}}) as api:
        scratch.manifest(manifest_of({"a": "b"}))
        done = scratch.run("apply --yes", {"RECONCILER_ALLOWED_HOSTS": "api.openai.com"})
        assert (done.code, api.calls) == (3, []), done
        assert "RECONCILER_ALLOWED_HOSTS allows" in done.err
        assert scratch.run("plan", {"RECONCILER_ALLOWED_HOSTS": "127.0.0.1"}).code == 0
        assert api.calls


def test_the_bound_holds_where_the_environment_names_the_server_too(scratch):
    scratch.manifest(manifest_of({"a": "b"}))
    env = {"OPENAI_BASE_URL": "http://127.0.0.1:9/v1", "RECONCILER_ALLOWED_HOSTS": "api.openai.com"}
    done = scratch.run("plan", env)
    assert done.code == 3
    assert "RECONCILER_ALLOWED_HOSTS allows api.openai.com" in done.err
    assert "127.0.0.1:9" in done.err


def test_the_embedded_emulator_is_always_allowed(scratch):
    scratch.write("reconciler.yaml", "version: 1\ntargets: {local: {provider: emulator}}\n")
    scratch.manifest(manifest_of({"a": "b"}))
    assert scratch.run("plan", {"RECONCILER_ALLOWED_HOSTS": ""}).code == 0


@pytest.mark.parametrize(
    ("remote", "line"), [("ext::sh -c touch% owned", "plan"), ("evil.git", "apply --yes"), ("../evil.git", "history")]
)
def test_a_ledger_remote_that_is_no_name_needs_leave(scratch, remote, line):
    """Which ones those are is held by the tests of the settings."""
    scratch.git("init", "-q", "--bare", "evil.git")
    scratch.write("evil.git/hooks/post-update", "#!/bin/sh\ntouch owned\n").chmod(0o755)
    scratch.manifest(manifest_of({"a": "b"}))
    scratch.settings("http://127.0.0.1:9", f"ledger_remote: {json.dumps(remote)}")
    scratch.commit()
    done = scratch.run(line)
    assert done.code == 3, done
    assert re.search("must be the name of a (git )?remote", done.err + done.out)
    assert not (scratch.folder / "owned").exists()


def test_a_ledger_remote_that_git_does_not_know_is_not_asked(scratch):
    """To git, a name that it does not know is a path: here a repository whose hooks somebody else wrote."""
    outside = scratch.home / "origin"
    outside.mkdir()
    git(outside, "init", "-q", "--bare")
    hook(outside, "pre-receive", f"touch {scratch.folder}/owned")
    with serving(scratch, "ledger_remote: origin", held={"thread/thread_1": {}}) as api:
        scratch.manifest(manifest_of({"a": "b"}))
        scratch.commit()
        for line in ("plan", "apply --yes"):
            done = scratch.run(line)
            assert (done.code, api.calls) == (3, []), done
            assert "git knows no remote of that name" in done.err
        # Whoever set the environment has agreed to a path as well.
        scratch.settings(api.url, f"ledger_remote: {json.dumps(str(outside))}")
        scratch.commit()
        assert scratch.run("apply --yes", {"RECONCILER_ALLOW_COMMANDS": "1"}).code == 0
    assert tip(outside) is not None
    assert (scratch.folder / "owned").exists()


# --- files ------------------------------------------------------------------------------------------------------------


def secret_place(scratch: Scratch) -> Path:
    outside = scratch.home / "outside"
    outside.mkdir()
    (outside / "private.yaml").write_text("version: 1\nthreads: {thread_private: {}}\n")
    return outside


@pytest.mark.parametrize(
    ("link", "leads_to"),
    [
        ("manifests/x.yaml", "{outside}/private.yaml"),
        ("manifests/a/b/x.yaml", "../../../../home/outside/private.yaml"),
        ("manifests", "{outside}"),
        ("manifests", "../home/outside"),
    ],
)
def test_a_link_that_leads_out_is_not_followed(scratch, link, leads_to):
    outside = secret_place(scratch)
    scratch.settings("http://127.0.0.1:9")
    path = scratch.folder / link
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(leads_to.format(outside=outside))
    done = scratch.run("validate")
    assert done.code == 3, done
    assert "[link_outside]" in done.out
    assert "private" not in done.out.replace("private.yaml", "")


def test_a_link_to_a_folder_and_a_loop_of_links_are_left_out(scratch):
    outside = secret_place(scratch)
    scratch.settings("http://127.0.0.1:9")
    scratch.manifest("threads: {thread_1: {}}")
    (scratch.folder / "manifests/out").symlink_to(outside)
    (scratch.folder / "manifests/out.yaml").symlink_to(outside)
    (scratch.folder / "manifests/loop").symlink_to(".")
    done = scratch.run("validate --format json")
    assert "thread_private" not in done.out
    (scratch.folder / "manifests/out.yaml").unlink()
    assert scratch.run("validate --format json").document["summary"]["resources"] == 1
    (scratch.folder / "manifests/self.yaml").symlink_to("self.yaml")
    assert scratch.run("validate").code == 3


def test_what_is_no_file_keeps_nobody_waiting(scratch):
    scratch.write(
        "reconciler.yaml", "version: 1\ntargets: {a: {provider: emulator, manifests: [manifests, pipe.yaml]}}\n"
    )
    scratch.manifest("threads: {thread_1: {}}")
    os.mkfifo(scratch.folder / "manifests/pipe.yaml")
    os.mkfifo(scratch.folder / "pipe.yaml")
    done = scratch.run("validate")
    assert done.code == 3
    assert "pipe.yaml:1:1: error: this file cannot be read: it is no regular file" in done.out
    assert "/dev/zero" in scratch.run("validate /dev/zero").out
    os.mkfifo(scratch.folder / "settings.yaml")
    assert scratch.run("validate --config settings.yaml").code == 64


@pytest.mark.parametrize("name", ["manifests/m.yaml", "reconciler.yaml"])
def test_a_gigantic_file_is_refused_unread(scratch, name):
    scratch.settings("http://127.0.0.1:9")
    scratch.manifest("threads: {thread_1: {}}")
    os.truncate(scratch.folder / name, 1 << 40)
    done = scratch.run("validate")
    assert done.code == 3
    assert "it is larger than 64 MiB" in done.out


PLANS = {
    "deep": "[" * 1_000_000,
    "deep map": '{"a":' * 100_000,
    "deep version": '{"digest": "x", "format_version": ' + "[" * 900 + "]" * 900 + "}",
    "a long number": '{"digest": ' + "9" * 1_000_000 + "}",
    "no number": '{"digest": NaN, "format_version": "1.0"}',
    "an endless one": '{"digest": 1e999, "format_version": "1.0"}',
    "twice": '{"digest": "a", "digest": "b", "format_version": "1.0"}',
    "halves": '{"digest": "\\ud800", "format_version": "\\udfff::error::"}',
    "a hostile version": json.dumps({"digest": "x", "format_version": f"\n{GITHUB}"}),
}


@pytest.mark.parametrize("text", PLANS.values(), ids=PLANS)
def test_a_plan_file_that_is_none_ends_in_one_sentence(scratch, text):
    scratch.settings("http://127.0.0.1:9")
    scratch.write("plan.json", text)
    for line in ("show plan.json", "apply plan.json --yes"):
        done = scratch.run(line)
        assert done.code == 3, done
        assert "Traceback" not in done.err
        assert len(done.err) < 1000
        harmless(done.err)


def test_a_plan_may_come_through_a_pipe(scratch):
    with serving(scratch, held={"thread/thread_1": {}}):
        scratch.manifest(manifest_of({"a": "b"}))
        scratch.run("plan --out json=plan.json")
    os.mkfifo(scratch.folder / "pipe")
    with scratch.start("show pipe") as process:
        (scratch.folder / "pipe").write_text(scratch.read("plan.json"))
        out, _ = process.communicate(timeout=30)
    assert "thread/thread_1" in out
    assert process.returncode == 0


# --- masks ------------------------------------------------------------------------------------------------------------

VALUE = "hush-4711-declared"
THERE = "hush-4711-there"


def tells(text: str) -> bool:
    return "hush-4711" in text


def test_masked_values_are_shown_by_no_command_and_in_no_file(scratch):
    held = {"thread/thread_1": {"token": THERE, "plan": "gold"}, "thread/thread_2": {"token": THERE}}
    words = f"Invalid 'metadata.token': {VALUE!r} and {THERE}"
    refused = {"POST /v1/threads/thread_1": [complaint(400, words), None]}
    with serving(scratch, rest='mask: ["tok*"]\n', held=held, instead=refused) as api:
        scratch.manifest(manifest_of({"token": VALUE, "plan": "silver"}))
        scratch.commit()
        for line in (
            "plan --out text=plan.txt --out json=plan.json",
            "plan --format json --all",
            "apply --yes",
            "apply --yes --format json --verbose --out json=done.json",
            "plan --all --format json",
            "drift --all",
            "ledger show",
            "ledger show --format json",
            "history",
        ):
            done = scratch.run(line)
            assert not tells(done.out + done.err), (line, done)
        run = scratch.run("history --format json").document[0]["id"]
        for line in (f"history {run}", f"history {run} --format json"):
            done = scratch.run(line)
            assert "***" in done.out, done
            assert not tells(done.out + done.err), (line, done)
        assert api.held("thread/thread_1")["token"] == VALUE
        api.put("thread/thread_1", {"token": THERE, "plan": "bronze"})
        done = scratch.run("adopt --yes")
        assert done.code == 0, done
        assert "token  ***" in done.out
        assert 'plan  "bronze"' in done.out
        assert not tells(done.out + done.err)
        assert THERE in scratch.read("manifests/m.yaml")
        done = scratch.run("import thread/thread_2")
        assert done.code == 64
        assert "--into" in done.err
        done = scratch.run("import thread/thread_2 --into manifests/two.yaml")
        assert (done.code, tells(done.out + done.err)) == (0, False)
        assert THERE in scratch.read("manifests/two.yaml")
    for name in ("plan.txt", "plan.json", "done.json"):
        assert not tells(scratch.read(name)), name


def test_a_masked_plan_is_for_viewing(scratch):
    with serving(scratch, more='mask: ["token"]', held={"thread/thread_1": {}}) as api:
        scratch.manifest(manifest_of({"token": VALUE}))
        scratch.run("plan --out json=plan.json")
        plan = json.loads(scratch.read("plan.json"))
        assert plan["masked"] is True
        assert plan["changes"][0]["fingerprint"] is None
        assert plan["changes"][0]["fields"][0]["before"] is None
        assert '"***"' in scratch.run("show plan.json").out
        done = scratch.run("apply plan.json --yes")
        assert (done.code, "masked_plan" in done.err) == (3, True)
        assert api.held("thread/thread_1") == {}
        scratch.manifest(manifest_of({"plan": "gold"}))
        scratch.run("plan --out json=plan.json")
        assert "masked" not in scratch.read("plan.json")
        assert scratch.run("apply plan.json --yes").code == 0


# --- keys in manifests ------------------------------------------------------------------------------------------------

KEY = "sk-proj-" + "Ab3_" * 20


def test_a_key_in_a_manifest_is_refused_and_never_shown(scratch):
    scratch.settings("http://127.0.0.1:9")
    scratch.manifest(
        f"threads:\n  thread_1:\n    metadata:\n      a: {KEY}\n      {KEY}: x\n      c: {{{KEY}: 1}}\n"
        f"    {KEY}: 1\n    accept: [{{key: z, value: {KEY}}}]\n    {KEY}: 2\n  {KEY}/x: {{}}\n{KEY}: 1\n"
    )
    for form in ("text", "json"):
        done = scratch.run(f"validate --format {form}")
        assert done.code == 3
        assert "Ab3_" not in done.out + done.err, done
    found = {(one["code"], one["source"]["line"], one["source"]["column"]) for one in done.document["errors"]}
    assert {("secret_like", 5, 10), ("secret_like", 9, 30)} <= found
    assert "an OpenAI key" in done.out


def test_a_resource_may_say_that_its_values_only_look_like_keys(scratch):
    with serving(scratch, held={"thread/thread_1": {}, "thread/thread_2": {"a": KEY, "b": "c"}}):
        allowed = "    allow_secret_like: true\n"
        scratch.manifest(manifest_of({"a": KEY}) + allowed)
        assert scratch.run("apply --yes").code == 0
        for line in ("import thread/thread_2", "import thread/thread_2 --into manifests/two.yaml"):
            done = scratch.run(line)
            assert done.code == 1, done
            assert "thread/thread_2, a: this value looks like an OpenAI key" in done.err
            assert "Ab3_" not in done.out + done.err
        assert "Ab3_" not in scratch.read("manifests/two.yaml")


def test_a_key_is_not_adopted(scratch):
    with serving(scratch, held={"thread/thread_1": {"a": KEY, "b": "new"}}):
        scratch.manifest(manifest_of({"a": "x", "b": "y"}))
        done = scratch.run("adopt --unattributed --base none --yes")
        assert done.code == 1
        assert "thread/thread_1, a: this value looks like an OpenAI key" in done.err
        assert "Ab3_" not in done.out + done.err + scratch.read("manifests/m.yaml")
        assert '"b": new' in scratch.read("manifests/m.yaml") or '"b": "new"' in scratch.read("manifests/m.yaml")


@pytest.mark.parametrize(
    ("more", "key", "line"),
    [
        ("api_key_env: {}", KEY, "validate"),
        ("organization: {}", "ghp_" + "a1B2" * 9, "validate --format json"),
        ("ledger_remote: 'https://{}@x'", "AKIA" + "ABCDEFGHIJKLMNOP", "plan"),
        ("{}: 1", KEY, "plan --format json"),
    ],
    ids=["variable", "organization", "remote", "field"],
)
def test_a_key_in_the_settings_is_refused_and_never_shown(scratch, more, key, line):
    scratch.manifest("threads: {}")
    scratch.settings("http://127.0.0.1:9", more.format(key))
    done = scratch.run(line)
    assert done.code == 3, done
    assert key not in done.out + done.err
    assert "secret_like" in done.out + done.err


def test_an_answer_without_a_body_says_nothing_hostile(scratch):
    with serving(scratch, instead={"GET /v1/threads/thread_1": [Answer(502, f"<title>\n{GITHUB} ##[x]</title>")]}):
        scratch.manifest(manifest_of({"a": "b"}))
        done = scratch.run("plan --verbose")
        harmless(done.out)
        harmless(done.err)
