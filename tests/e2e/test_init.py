"""`init`: from an empty folder to the first apply, without a question, and without touching what is there."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
from ruamel.yaml import YAML
from scratch import Scratch

from reconciler.settings.file import GuardsModel, RateModel, SettingsModel, TargetModel, TimeoutsModel

TOP = Path(__file__).parents[2]
ALWAYS = (
    "reconciler.yaml",
    "manifests/threads.yaml",
    ".gitignore",
    ".schemas/reconciler-settings.json",
    ".schemas/reconciler-manifest.json",
)
GITHUB = ".github/workflows/reconciler.yaml"
GITLAB = (".gitlab/reconciler.yml", ".gitlab-ci.yml")
OPTIONAL = re.compile(r"^( *)# ( *(?:- \{|[a-z_0-9/]+:).*)$", re.MULTILINE)
"""A line of a file that is a comment, and would be a part of the file without its #."""


def parsed(text):
    return YAML(typ="safe", pure=True).load(text)


def files(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and ".git" not in path.relative_to(folder).parts[:1]
    }


def commands_of(text):
    """Return the command lines that the result names."""
    return [line.split("  ")[1].strip() for line in text.split("\n") if line.startswith("  reconciler ")]


@pytest.fixture(params=["outside of git", "in git"])
def scratch(request, tmp_path):
    made = Scratch(tmp_path)
    if request.param == "in git":
        made.git("init", "-q", "-b", "main")
    return made


@pytest.fixture
def begun(tmp_path):
    made = Scratch(tmp_path)
    assert made.run("init").code == 0
    return made


# --- an empty folder --------------------------------------------------------------------------------------------------


def test_an_empty_folder_is_ready_for_the_whole_round(scratch):
    done = scratch.run("init")
    assert (done.code, done.err) == (0, "")
    assert sorted(files(scratch.folder)) == sorted([*ALWAYS, GITHUB])
    assert [name for name in (*ALWAYS, GITHUB) if f"written:    {name} " in done.out] == [*ALWAYS, GITHUB]
    assert commands_of(done.out) == ["reconciler plan", "reconciler apply", "reconciler drift"]
    assert scratch.run("validate").code == 0
    plan = scratch.run("plan --format json")
    assert plan.code == 0
    assert plan.document["target"]["name"] == "local"
    assert plan.document["summary"]["pairs"]["add"] > 3
    assert plan.document["summary"]["pairs"]["replace"] == plan.document["summary"]["pairs"]["remove"] == 0
    assert scratch.run("apply --yes").code == 0
    assert scratch.run("plan --detailed-exitcode").code == 0
    assert scratch.run("drift").code == 0


def test_what_was_written_is_in_canonical_form(begun):
    assert begun.run("fmt --check").code == 0


def test_a_committed_folder_stays_clean_whatever_is_run(tmp_path):
    scratch = Scratch(tmp_path)
    scratch.git("init", "-q", "-b", "main")
    scratch.run("init")
    scratch.commit()
    assert scratch.run("apply --yes").code == 0
    assert scratch.git("status", "--porcelain") == ""


def test_a_second_time_everything_is_left_alone(scratch):
    scratch.run("init")
    before = files(scratch.folder)
    done = scratch.run("init")
    assert done.code == 0
    assert [line for line in done.lines if line.startswith("left alone: ")] == [
        f"left alone: {name}" for name in (*ALWAYS, GITHUB)
    ]
    assert "written" not in done.out.split("\n\n")[0]
    assert files(scratch.folder) == before


def test_another_folder_is_named_in_the_next_commands(tmp_path):
    scratch = Scratch(tmp_path)
    (scratch.folder / "my $HOME").mkdir()
    done = scratch.run("init --ci none -C 'my $HOME'")
    assert done.code == 0
    for line in commands_of(done.out)[:1]:
        assert scratch.run(shlex.join(shlex.split(line)[1:])).code == 0


# --- what is there ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*ALWAYS[:2], *ALWAYS[3:], GITHUB])
def test_a_file_that_exists_is_left_alone(tmp_path, name):
    scratch = Scratch(tmp_path)
    content = "version: 1\ntargets: {t: {provider: emulator}}\n" if name == "reconciler.yaml" else "mine\n"
    scratch.write(name, content)
    done = scratch.run("init")
    assert done.code == 0
    assert f"left alone: {name}" in done.lines
    assert scratch.read(name) == content
    assert files(scratch.folder).keys() == {*ALWAYS, GITHUB}


RULE = "# The embedded emulator's data, and what reconciler keeps on this machine.\n.reconciler/\n"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", RULE),
        ("*.log", f"*.log\n\n{RULE}"),
        ("a\r\nb\r\n", f"a\nb\n\n{RULE}".replace("\n", "\r\n")),
        (".reconciler/", None),
        ("x\n/.reconciler/\n", None),
        (".reconciler\n", None),
        ("# .reconciler/\n", f"# .reconciler/\n\n{RULE}"),
    ],
)
def test_gitignore_gets_the_line_that_it_lacks_and_no_other(tmp_path, before, after):
    scratch = Scratch(tmp_path)
    (scratch.folder / ".gitignore").write_bytes(before.encode())
    done = scratch.run("init")
    assert (scratch.folder / ".gitignore").read_bytes().decode() == (before if after is None else after)
    assert ("left alone: .gitignore" in done.lines) is (after is None)
    assert ("added to:   .gitignore " in done.out) is (after is not None)


def test_no_sample_is_put_beside_manifests_that_exist(tmp_path):
    scratch = Scratch(tmp_path)
    scratch.write("manifests/deep/mine.yml", "version: 1\nthreads: {thread_1: {metadata: {a: b}}}\n")
    done = scratch.run("init")
    assert "left alone: manifests" in done.lines
    assert not (scratch.folder / "manifests/threads.yaml").exists()
    assert "1 resource" in scratch.run("validate").out


@pytest.mark.parametrize(
    ("settings", "written", "told"),
    [
        (
            "targets: {t: {provider: emulator, manifests: [ops]}}\n",
            False,
            "manifests in ops, which does not exist",
        ),
        ("targets: {t: {provider: emulator, manifests: [there]}}\n", False, "left alone: there\n"),
        (
            "targets: {t: {provider: nobody, manifests: [ops]}}\n",
            False,
            "note: reconciler.yaml:2:25: there is",
        ),
        ("targets: [\n", False, "`reconciler validate` lists why; no manifest was written"),
        ("targets: {t: {provider: emulator, manifests: [manifests]}}\n", True, "the target of the settings there are:"),
        ("targets: {t: {provider: emulator, manifests: [.]}}\n", True, "the target of the settings there are:"),
        ("targets: {t: {provider: emulator}}\n", True, "the target of the settings there are:"),
    ],
)
def test_settings_that_exist_say_where_a_sample_would_be_read(tmp_path, settings, written, told):
    scratch = Scratch(tmp_path)
    scratch.write("reconciler.yaml", f"version: 1\n{settings}")
    (scratch.folder / "there").mkdir()
    done = scratch.run("init")
    assert done.code == 0
    assert (scratch.folder / "manifests/threads.yaml").exists() is written
    assert told in done.out
    assert "left alone: ops" not in done.lines
    assert scratch.run("validate").code == (0 if written or "there" in settings else 3)


def test_a_workflow_of_the_other_ending_is_ours(tmp_path):
    scratch = Scratch(tmp_path)
    name = ".github/workflows/reconciler.yml"
    scratch.write(name, "on: push\n")
    assert f"left alone: {name}" in scratch.run("init").lines
    assert files(scratch.folder).keys() == {*ALWAYS, name}


def test_settings_further_up_and_variables_that_lead_elsewhere_are_told(tmp_path):
    scratch = Scratch(tmp_path)
    scratch.git("init", "-q")
    scratch.write("reconciler.yaml", "version: 1\ntargets: {t: {provider: emulator}}\n")
    (scratch.folder / "a/b").mkdir(parents=True)
    env = {"RECONCILER_TARGET": "x\x1b[31m\n::error::", "RECONCILER_CONFIG": "other.yaml"}
    done = scratch.run("init -C a/b", env)
    assert done.code == 0
    assert "note: there is a ../../reconciler.yaml further up" in done.out
    assert "note: RECONCILER_CONFIG is set: commands use the settings file other.yaml" in done.lines
    assert "\x1b" not in done.out
    assert not any(line.startswith("::") for line in done.lines)
    assert scratch.run("plan -C a/b").code == 0
    assert "further up" not in scratch.run("init").out


def test_a_schema_of_another_version_is_told_and_renewed_by_the_command_that_is_named(begun):
    begun.write(".schemas/reconciler-manifest.json", "{}")
    done = begun.run("init")
    assert "`reconciler schema manifest > .schemas/reconciler-manifest.json` renews it" in done.out
    begun.write(".schemas/reconciler-manifest.json", begun.run("schema manifest").out)
    assert "renews" not in begun.run("init").out


# --- what cannot be written -------------------------------------------------------------------------------------------


def folder_in_the_place_of_a_file(scratch):
    (scratch.folder / ".gitignore").mkdir()


def file_in_the_place_of_a_folder(scratch):
    scratch.write("manifests", "")


def link_out(scratch):
    (scratch.folder / "manifests").symlink_to(scratch.home)


def file_link_out(scratch):
    (scratch.folder / "reconciler.yaml").symlink_to(scratch.home / "elsewhere.yaml")


def link_to_nowhere(scratch):
    (scratch.folder / "reconciler.yaml").symlink_to("nowhere.yaml")


def link_to_itself(scratch):
    (scratch.folder / ".schemas").symlink_to(".schemas")


def pipe_in_the_place_of_a_list(scratch):
    os.mkfifo(scratch.folder / ".gitignore")


@pytest.mark.parametrize(
    ("obstacle", "said"),
    [
        (folder_in_the_place_of_a_file, ".gitignore is a folder"),
        (file_in_the_place_of_a_folder, "manifests is no folder"),
        (link_out, "a link leads from manifests/threads.yaml out of"),
        (file_link_out, "a link leads from reconciler.yaml out of"),
        (link_to_nowhere, "reconciler.yaml is a link that leads nowhere"),
        (link_to_itself, ".schemas is no folder"),
        (pipe_in_the_place_of_a_list, ".gitignore cannot be read: it is no regular file"),
    ],
)
def test_where_one_file_cannot_be_written_none_is(tmp_path, obstacle, said):
    scratch = Scratch(tmp_path)
    obstacle(scratch)
    before, names = files(scratch.folder), sorted(scratch.folder.iterdir())
    done = scratch.run("init")
    assert (done.code, done.out) == (1, "")
    assert said in done.err
    assert "nothing was written" in done.err
    assert "[not_written]" in done.err
    assert re.search(": (remove it|move it away)|, and move it away", done.err)
    assert (files(scratch.folder), sorted(scratch.folder.iterdir())) == (before, names)
    assert list(scratch.home.iterdir()) == []


@pytest.mark.parametrize(("folder", "mode"), [(".", 0o500), ("manifests", 0o500), (".gitignore", 0o000)])
def test_what_may_not_be_written_to_or_read_is_told(tmp_path, folder, mode):
    scratch = Scratch(tmp_path)
    if folder == ".gitignore":
        scratch.write(folder, "x\n")
    place = scratch.folder / folder
    place.exists() or place.mkdir()
    place.chmod(mode)
    # Root may do everything, unless it gives that up.
    given_up = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
    if given_up and shutil.which("setpriv") is None:
        pytest.skip("root may write everywhere")
    done = subprocess.run(
        [*given_up, sys.executable, "-m", "reconciler", "init"], cwd=scratch.folder, env=scratch.environment({}),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    place.chmod(0o700)
    assert done.returncode == 1
    assert re.search("you may not write into|cannot be read: Permission denied", done.stderr)
    assert files(scratch.folder).keys() <= {".gitignore"}


def test_what_fails_halfway_is_undone(tmp_path):
    scratch = Scratch(tmp_path)
    scratch.write(".gitignore", "mine\n")
    # The largest file that the shell allows is smaller than a schema is, and larger than the settings are.
    line = f"trap '' XFSZ; ulimit -f 8; exec {sys.executable} -m reconciler init"
    done = subprocess.run(
        ["bash", "-c", line], cwd=scratch.folder, env=scratch.environment({"PYTHONDONTWRITEBYTECODE": "1"}),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "reconciler-settings.json" in done.stderr
    assert files(scratch.folder) == {".gitignore": b"mine\n"}


def test_a_folder_that_is_none_is_wrong_usage(tmp_path):
    assert Scratch(tmp_path).run("init -C nowhere").code == 64


@pytest.mark.parametrize("name", ["a${{ b }}", "a\nb", "a\u202eb"])
def test_a_folder_that_a_workflow_cannot_name_is_refused_and_can_do_without(tmp_path, name):
    scratch = Scratch(tmp_path)
    scratch.git("init", "-q")
    (scratch.folder / name).mkdir()
    done = scratch.run(f"init -C {shlex.quote(name)}")
    assert done.code == 1
    assert "--ci none" in done.err
    assert "\n" not in done.err.rstrip("\n")
    assert files(scratch.folder) == {}
    assert scratch.run(f"init --ci none -C {shlex.quote(name)}").code == 0
    assert scratch.run(f"plan -C {shlex.quote(name)}").code == 0


def test_any_other_folder_stands_in_a_workflow_as_it_is_called(tmp_path):
    scratch = Scratch(tmp_path)
    scratch.git("init", "-q", "-b", "main")
    name = """a'b: #[main] *!&%@`x` $(y) $HOME "q" \\ {ü}"""
    (scratch.folder / name).mkdir()
    assert scratch.run(f"init -C {shlex.quote(name)}").code == 0
    workflow = parsed(scratch.read(GITHUB))
    assert workflow["env"]["FOLDER"] == name
    assert workflow["on"]["push"]["branches"] == ["main"]
    assert scratch.run(f"init --ci gitlab -C {shlex.quote(name)}").code == 0
    told = parsed(scratch.read(".gitlab-ci.yml"))["variables"]["RECONCILER_CONFIG"]
    assert told == f"{name}/reconciler.yaml".replace("$", "$$")  # which is how GitLab has a dollar


# --- what the files say -----------------------------------------------------------------------------------------------


def test_every_setting_is_in_the_settings_and_every_one_that_is_a_comment_is_valid(begun):
    text = OPTIONAL.sub(r"\1\2", begun.read("reconciler.yaml"))
    content = parsed(text)
    assert content.keys() == SettingsModel.model_fields.keys()
    assert content["targets"].keys() == {"local", "production", "foundry", "azure"}
    production = content["targets"]["production"]
    # One credential is all that a target has; the others are shown where they are mostly used.
    assert TargetModel.model_fields.keys() - production.keys() == {"token_command", "azure_identity", "token_scope"}
    assert {"token_command", "azure_identity", "token_scope"} <= {
        name for target in content["targets"].values() for name in target
    }
    assert production["rate"].keys() == RateModel.model_fields.keys()
    assert production["timeouts"].keys() == TimeoutsModel.model_fields.keys()
    assert content["guards"].keys() == GuardsModel.model_fields.keys()
    begun.write("reconciler.yaml", text)
    assert begun.run("validate").code == 0
    begun.git("init", "-q")
    begun.git("remote", "add", "origin", "https://git.example/x.git")
    for target in ("production", "foundry", "azure"):
        assert begun.run(f"validate --target {target}").code == 0


def test_every_line_of_the_manifest_that_is_a_comment_is_valid(begun):
    text = OPTIONAL.sub(r"\1\2", begun.read("manifests/threads.yaml"))
    first = parsed(text)["threads"]["thread_example1"]
    assert first.keys() == {"metadata", "protect", "accept", "allow_secret_like"}
    assert parsed(text)["defaults"].keys() == {"metadata", "ownership", "ignore"}
    assert "messages" in parsed(text)
    begun.write("manifests/threads.yaml", text)
    done = begun.run("validate")
    assert (done.code, done.err) == (0, "")


@pytest.mark.parametrize("name", ALWAYS[:2])
def test_each_yaml_file_names_its_schema_by_a_path_that_holds_in_every_clone(begun, name):
    path = begun.folder / name
    first, _, rest = path.read_text().partition("\n")
    told = first.removeprefix("# yaml-language-server: $schema=")
    assert told != first
    schema = json.loads((path.parent / told).read_text())
    for text in (rest, OPTIONAL.sub(r"\1\2", rest)):
        jsonschema.Draft7Validator(schema).validate(parsed(text))
    assert (
        begun.run(f"schema {'settings' if name == 'reconciler.yaml' else 'manifest'}").out
        == (path.parent / told).read_text()
    )


# --- CI ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("remote", "there", "option", "expected"),
    [
        (None, None, "", [GITHUB]),
        ("git@github.com:you/threads.git", None, "", [GITHUB]),
        ("git@gitlab.example:you/threads.git", None, "", GITLAB),
        ("https://x:y@gitlab.com/you/threads.git", None, "", GITLAB),
        ("ssh://git@GitLab.example:2222/you/threads", None, "", GITLAB),
        ("../gitlab.git", None, "", [GITHUB]),
        ("/srv/gitlab:x", None, "", [GITHUB]),
        ("https://git.example/gitlab/x", None, "", [GITHUB]),
        (None, ".gitlab-ci.yml", "", GITLAB[:1]),
        ("git@github.com:you/threads.git", ".gitlab-ci.yml", "", [GITHUB]),
        ("git@gitlab.example:you/threads.git", None, "--ci github", [GITHUB]),
        ("git@gitlab.example:you/threads.git", None, "--ci none", []),
        (None, None, "--ci gitlab", GITLAB),
    ],
)
def test_the_workflow_is_that_of_the_service_around(tmp_path, remote, there, option, expected):
    scratch = Scratch(tmp_path)
    scratch.git("init", "-q")
    if remote:
        scratch.git("remote", "add", "origin", remote)
    if there:
        scratch.write(there, "stages: [test]\n")
    done = scratch.run(f"init {option}")
    assert done.code == 0
    assert files(scratch.folder).keys() - {*ALWAYS, there} == set(expected)
    assert ("include: [{local: /.gitlab/reconciler.yml}]" in done.out) is (there is not None and GITLAB[0] in expected)


def test_in_a_folder_below_the_top_the_workflow_is_at_the_top_and_names_the_folder(tmp_path):
    scratch = Scratch(tmp_path)
    scratch.git("init", "-q", "-b", "master")
    (scratch.folder / "ops/our threads").mkdir(parents=True)
    assert scratch.run("init -C 'ops/our threads'").code == 0
    workflow = parsed(scratch.read(GITHUB))
    assert workflow["env"]["FOLDER"] == "ops/our threads"
    assert workflow["on"]["push"]["branches"] == ["master"]
    assert scratch.run("init -C 'ops/our threads' --ci gitlab").code == 0
    assert parsed(scratch.read(".gitlab-ci.yml"))["variables"]["RECONCILER_CONFIG"] == "ops/our threads/reconciler.yaml"
    assert not (scratch.folder / "ops/our threads/.github").exists()


@pytest.mark.parametrize(
    ("service", "name", "schema"),
    [
        ("github", GITHUB, "vendor.github-workflows"),
        ("gitlab", GITLAB[0], "vendor.gitlab-ci"),
        ("gitlab", GITLAB[1], "vendor.gitlab-ci"),
    ],
)
def test_a_workflow_is_as_its_published_schema_has_it(tmp_path, service, name, schema):
    scratch = Scratch(tmp_path)
    scratch.run(f"init --ci {service}")
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, str(scratch.folder / name)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_workflow_gives_the_action_what_it_takes_and_no_job_more_than_it_needs(begun):
    action = parsed((TOP / "action.yml").read_text())
    workflow = parsed(begun.read(GITHUB))
    given = {}
    for name, job in workflow["jobs"].items():
        checkout, step = job["steps"]
        assert re.fullmatch(r"actions/checkout@[0-9a-f]{40}", checkout["uses"])
        assert re.fullmatch(r"you/reconciler@0{40}", step["uses"])
        assert step["with"].keys() <= action["inputs"].keys()
        assert step["with"]["command"] == name
        given[name] = (job["if"], job["permissions"], "api-key" in step["with"])
    there = "vars.RECONCILER_TARGET != ''"
    assert given == {
        "validate": ("github.event_name != 'schedule'", {"contents": "read"}, False),
        "plan": (f"github.event_name == 'pull_request' && {there}",
                 {"contents": "read", "pull-requests": "write"}, True),
        "apply": (f"github.event_name == 'push' && {there}", {"contents": "write"}, True),
        "drift": (f"github.event_name == 'schedule' && {there}", {"contents": "read", "issues": "write"}, True),
    }  # fmt: skip
    assert workflow["permissions"] == {}
    assert workflow["on"].keys() == {"pull_request", "push", "schedule"}
    key = parsed(OPTIONAL.sub(r"\1\2", begun.read("reconciler.yaml")))["targets"]["production"]["api_key_env"]
    assert key in workflow["jobs"]["apply"]["steps"][1]["with"]["api-key-env"]


def test_a_copy_that_was_installed_from_a_repository_names_it_in_the_workflows(tmp_path):
    scratch = Scratch(tmp_path)
    told = {"url": "https://github.com/acme/reconciler.git", "vcs_info": {"vcs": "git", "commit_id": "a" * 40}}
    installed = tmp_path / "site" / "reconciler-0.1.0.dist-info"
    installed.mkdir(parents=True)
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: reconciler\nVersion: 0.1.0\n")
    (installed / "direct_url.json").write_text(json.dumps(told))
    env = {"PYTHONPATH": str(installed.parent)}
    assert scratch.run("init", env).code == 0
    assert scratch.read(GITHUB).count(f"- uses: acme/reconciler@{'a' * 40}\n") == 4
    assert scratch.run("init --ci gitlab", env).code == 0
    source = parsed(scratch.read(".gitlab-ci.yml"))["variables"]["RECONCILER"]
    assert source == f"git+https://github.com/acme/reconciler@{'a' * 40}"


def test_a_repository_that_git_refuses_to_look_at_is_no_obstacle(tmp_path):
    scratch = Scratch(tmp_path)
    (scratch.folder / ".git").write_text("gitdir: /nowhere\n")
    assert scratch.run("init").code == 0
    assert scratch.run("validate").code == 0


@pytest.mark.parametrize(
    ("begun", "then", "expected"),
    [("trunk", None, "trunk"), ("main", "feature", "main"), ("master", "feature", "master"), ("a b", None, "main")],
    ids=["another name", "on a branch", "on a branch of an old repository", "a name that cannot be one"],
)
def test_the_workflow_applies_what_reaches_the_main_branch_whatever_that_is_called(tmp_path, begun, then, expected):
    scratch = Scratch(tmp_path)
    scratch.git("init", "-q", "-b", begun.replace(" ", "+"))
    if then is not None:
        scratch.git("commit", "-q", "--allow-empty", "-m", "Begin")
        scratch.git("checkout", "-q", "-b", then)
    assert scratch.run("init").code == 0
    assert parsed(scratch.read(GITHUB))["on"]["push"]["branches"] == [expected]
