"""The action for GitHub: as its schema has it, and its steps run in order, git and the API real, `gh` a stand-in."""

import itertools
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGINT

import pytest
from repositories import clone, git, ledger, publish, shared, tip
from ruamel.yaml import YAML
from scratch import PATIENCE, Answer, Api, until

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "action.yml").read_text(encoding="utf-8")
WORKFLOW = ROOT / "reconciler" / "templates" / "github-actions.yaml"
ACTION, EXAMPLE = (YAML(typ="safe", pure=True).load(text) for text in (TEXT, WORKFLOW.read_text(encoding="utf-8")))
STEPS = ACTION["runs"]["steps"]
KEY, TOKEN = "key-of-the-target-5d1c", "token-of-the-job-9a7e"
ME = "github-actions[bot]"
PIP_CONFIGURATION = Path("~/.config/pip/pip.conf").expanduser()
"""Where this machine says which package index there is; asked before `conftest.py` gives everybody an empty home."""


def manifest(plan="gold", more=""):
    names = "".join(f"  thread_{letter}: {{metadata: {{plan: {plan}}}}}\n" for letter in "abc")
    return f"version: 1\nthreads:\n{names}{more}"


HELD = {f"thread/thread_{letter}": {"plan": "silver"} for letter in "abc"}


# --- a runner ---------------------------------------------------------------------------------------------------------

GH = """\
#!{python} -I
import json, os, re, sys
from pathlib import Path
from urllib.parse import parse_qs

PLACE = Path({place!r})
state, words = json.loads(PLACE.read_text()), sys.argv[1:]
assert words.pop(0) == "api", words
method, fields, paginate, ends = None, {{}}, False, []
while words:
    word = words.pop(0)
    if word == "--paginate":
        paginate = True
    elif word == "--method":
        method = words.pop(0)
    elif word in ("-f", "-F"):
        name, _, value = words.pop(0).partition("=")
        magic = word == "-F" and value.startswith("@")
        fields[name] = Path(value[1:]).read_text(encoding="utf-8") if magic else value
    else:
        ends.append(word)
(end,) = ends
path, _, query = end.partition("?")
asked = parse_qs(query)
method = method or ("POST" if fields else "GET")
state["calls"].append([method, end])


def done(answer, code=0):
    PLACE.write_text(json.dumps(state))
    sys.stdout.write(json.dumps(answer))
    sys.exit(code)


def refused(status):
    print(f"gh: refused (HTTP {{status}})", file=sys.stderr)
    done({{"message": "refused", "status": str(status)}}, 1)


def pages(items):
    size = int(asked.get("per_page", ["30"])[0])
    cut = [items[start : start + size] for start in range(0, len(items), size)] or [[]]
    PLACE.write_text(json.dumps(state))
    cut = cut if paginate else cut[:1]
    merged = json.dumps([each for page in cut for each in page])
    sys.stdout.write(merged if state["merges"] else "".join(map(json.dumps, cut)))
    sys.exit(0)


state["asked"] = [os.environ.get("GH_HOST"), "GH_ENTERPRISE_TOKEN" in os.environ]
if os.environ.get("GH_TOKEN") != {token!r}:
    refused(401)
if state["refuses"] and re.match(state["refuses"], f"{{method}} {{path}}"):
    refused(403)
if path == "graphql":
    done({{"data": {{"viewer": {{"login": state["login"]}}}}}})
mine = {{"user": {{"login": state["login"]}}}}
of_all = re.fullmatch(r"repos/o/r/issues(/7/comments)?", path)
of_one = re.fullmatch(r"repos/o/r/issues/(comments/)?(\\d+)", path)
if of_all:
    items = state["comments" if of_all[1] else "issues"]
    if method == "GET":
        open_only = asked.get("state") == ["open"]
        pages([each for each in items if not open_only or each["state"] == "open"])
    state["last"] += 1
    items.append({{**fields, **mine, "id": state["last"], "number": state["last"], "state": "open"}})
    done(items[-1])
if of_one and method == "PATCH":
    for each in state["comments" if of_one[1] else "issues"]:
        if each["id"] == int(of_one[2]):
            each.update(fields)
            done(each)
refused(404)
"""


def said(login, body, number, **more):
    return {"user": {"login": login}, "body": body, "id": number, "number": number, "state": "open", **more}


class Gh:
    """The stand-in for `gh`: comments and issues in a file, and what was called."""

    def __init__(self, place):
        self.folder, self._file = place / "gh-bin", place / "gh.json"
        self.folder.mkdir()
        program = self.folder / "gh"
        program.write_text(GH.format(python=sys.executable, place=str(self._file), token=TOKEN), encoding="utf-8")
        program.chmod(0o755)
        crowd = [said(f"person{number}", f"hello {number}", number) for number in range(1, 131)]
        self.write(comments=crowd, issues=crowd, calls=[], last=1000, login=ME, merges=True, refuses="")

    def write(self, **parts):
        old = json.loads(self._file.read_text()) if self._file.exists() else {}
        self._file.write_text(json.dumps({**old, **parts}))

    def read(self, part):
        return json.loads(self._file.read_text())[part]

    def mine(self, part):
        return [each for each in self.read(part) if each["user"] == {"login": self.read("login")} and each["id"] > 1000]

    @property
    def written(self):
        return [call for call in self.read("calls") if call[0] != "GET" and call[1] != "graphql"]


@dataclass
class Ran:
    """What a run of the action left behind."""

    code: int = 0
    log: str = ""
    summary: str = ""
    steps: dict = field(default_factory=dict)
    given: dict = field(default_factory=dict)

    @property
    def outputs(self):
        return {name: evaluated(each["value"], {"steps": self.steps}) for name, each in ACTION["outputs"].items()}

    @property
    def document(self):
        return json.loads(Path(self.outputs["document"]).read_text())


def looked_up(path, contexts):
    value = contexts
    for part in path.split("."):
        value = value.get(part, "") if isinstance(value, dict) else ""
    return value


def evaluated(text, contexts):
    """Return a text with its expressions evaluated; they are no more than names here."""
    return re.sub(r"\$\{\{ ([\w.-]+) \}\}", lambda found: str(looked_up(found[1], contexts)), str(text))


def holds(condition, contexts, well):
    """Tell whether a step is run: `always()`, `NAME == 'text'` and `NAME != 'text'`, joined by `&&`."""
    parts = condition.split(" && ") if condition else []
    if "always()" not in parts and not well:
        return False
    for part in parts:
        if part != "always()":
            name, sign, text = re.fullmatch(r"([\w.-]+) (==|!=) '(.*)'", part).groups()
            if (str(looked_up(name, contexts)) == text) is not (sign == "=="):
                return False
    return True


class Runner:
    """A runner of GitHub, as far as a composite action can tell."""

    def __init__(self, place, folder, event=None, variables=None):
        self.place, self.folder, self.event = place, folder, event or {}
        self.gh = Gh(place)
        self.variables = variables or {}
        self.during = {}
        self.cancelled = False
        self._numbers = itertools.count()
        for name in ("temp", "home", "installed/venv/bin"):
            (place / name).mkdir(parents=True)
        own = f"import sys; sys.path.insert(0, '{ROOT}'); from reconciler.__main__ import run; run()"
        self._put("reconciler", f'-I -c "{own}"')
        self._put("python", "")

    def _put(self, name, words):
        program = self.place / "installed/venv/bin" / name
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" {words} "$@"\n')
        program.chmod(0o755)

    def run(self, command, **inputs):
        """Run the steps of the action in order, all but the installation, which `inputs` may ask for."""
        real = inputs.pop("install", False)
        given = {name: each.get("default", "") for name, each in ACTION["inputs"].items()}
        given |= {"command": command, "target": "test", "api-key": KEY, "api-key-env": "THREADS_API_KEY"}
        given |= {name.replace("_", "-"): value for name, value in {"allowed-hosts": "127.0.0.1", **inputs}.items()}
        github = {"repository": "o/r", "token": TOKEN, "event": self.event}
        given["token"] = evaluated(given["token"], {"github": github})
        ran = Ran()
        for step in STEPS:
            contexts = {"inputs": given, "github": github, "steps": ran.steps}
            if not holds(step.get("if", ""), contexts, ran.code == 0 and not self.cancelled):
                continue
            if step["name"] == "Install" and not real:
                ran.steps["install"] = {"outputs": {"folder": str(self.place / "installed")}}
                continue
            self._step(ran, step, contexts, self.place / "temp" / str(next(self._numbers)))
        return ran

    def _step(self, ran, step, contexts, stem):
        script, output, summary = (stem.with_suffix(suffix) for suffix in (".sh", ".out", ".md"))
        script.write_text(step["run"], encoding="utf-8")
        output.touch()
        summary.touch()
        own = {name: evaluated(value, contexts) for name, value in step["env"].items()}
        ran.given[step["name"]] = own
        env = {
            "PATH": f"{self.gh.folder}:{os.environ['PATH']}", "HOME": str(self.place / "home"), "CI": "true",
            "GITHUB_ACTIONS": "true", "GITHUB_ACTION_PATH": str(ROOT), "GITHUB_REPOSITORY": "o/r",
            "GITHUB_OUTPUT": str(output), "GITHUB_STEP_SUMMARY": str(summary), "RUNNER_TEMP": str(self.place / "temp"),
            "GIT_CONFIG_NOSYSTEM": "1", **self.variables, **own,
        }  # fmt: skip
        line = ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(script)]
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        with subprocess.Popen(line, cwd=self.folder, env=env, encoding="utf-8", **pipes) as process:
            self.during.get(step["name"], lambda _: None)(process)
            log = process.communicate(timeout=10 * PATIENCE)[0]
        ran.log += log
        ran.summary += summary.read_text(encoding="utf-8")
        ran.code = ran.code or process.returncode
        told = (each.split("=", 1) for each in output.read_text(encoding="utf-8").splitlines())
        ran.steps[step.get("id", step["name"])] = {"outputs": dict(told)}


def pull_request(base, **more):
    """Return the event of a pull request with everything in it that a stranger may choose."""
    evil = '$(touch pwned)`touch pwned`"; touch pwned; #'
    head = {"sha": "1" * 40, "ref": evil, "label": evil, "repo": {"full_name": "o/r"}}
    of = {"number": 7, "title": evil, "body": evil, "user": {"login": "person"}, "head": head, "base": {"sha": base}}
    return {"pull_request": {**of, **more}}


FORK = {"head": {"repo": {"full_name": "stranger/r"}, "ref": "x", "sha": "1" * 40}}


@pytest.fixture
def api():
    return Api(HELD, {"thread": "replace"})


@pytest.fixture
def both(tmp_path, api):
    """A repository with a ledger of `silver` everywhere, on a bare remote, and `gold` declared in the next commit."""
    more = "writes: {thread: replace}, api_key_env: THREADS_API_KEY"
    with shared(tmp_path / "shared", manifest("silver").partition("\n")[2], api, more) as both:
        settings = both.one.read("reconciler.yaml").replace(", ledger_remote: origin", "")
        both.one.write("reconciler.yaml", f"{settings}guards: {{max_changed: 100%}}\n")
        publish(both.one)
        assert both.one.run("baseline", {"THREADS_API_KEY": KEY}).code == 0
        git(both.one.folder, "push", "-q", "origin", "refs/reconciler/*:refs/reconciler/*")
        api.calls.clear()
        yield both


def changed(both, text=None):
    """Commit `gold` on a branch of its own and return the base and the commit."""
    base = tip(both.remote, "refs/heads/main")
    both.one.write("manifests/m.yaml", text or manifest())
    commit = both.one.commit()
    git(both.one.folder, "push", "-q", "origin", "HEAD:refs/heads/change")
    return base, commit


def runner(both, place, branch="main", event=None, *options):
    """Return a runner with a checkout of a branch."""
    here = clone(both.remote, place, "--branch", branch, *options)
    (place / "runner").mkdir()
    return Runner(place / "runner", here.folder, event)


@pytest.fixture
def reviewed(both, tmp_path):
    base, _ = changed(both)
    return runner(both, tmp_path / "job", "change", pull_request(base))


# --- plan -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("merges", [True, False], ids=["one list", "a list a page"])
def test_the_first_plan_makes_the_comment_and_the_second_changes_it(reviewed, api, merges):
    reviewed.gh.write(merges=merges)
    first = reviewed.run("plan")
    assert first.code == 0, first.log
    (comment,) = reviewed.gh.mine("comments")
    assert comment["body"].startswith("<!-- reconciler:")
    assert "gold" in comment["body"]
    assert first.summary == comment["body"]
    api.put("thread/thread_b", {"plan": "gold"})
    second = reviewed.run("plan")
    assert (first.outputs["changes"], second.outputs["changes"]) == ("3", "2")
    (again,) = reviewed.gh.mine("comments")
    assert again["id"] == comment["id"]
    assert again["body"] == second.summary != comment["body"]
    assert [call[0] for call in reviewed.gh.written] == ["POST", "PATCH"]
    assert not api.sent("POST")


@pytest.mark.parametrize(
    ("server", "asked"),
    [(None, ["github.com", False]), ("https://github.example", ["github.example", True])],
    ids=["github.com", "a server of one's own"],
)
def test_the_token_goes_to_the_server_that_the_job_runs_on(reviewed, server, asked):
    reviewed.variables |= {} if server is None else {"GITHUB_SERVER_URL": server}
    assert reviewed.run("plan").code == 0
    assert reviewed.gh.read("asked") == asked


def test_a_plan_has_its_outputs_and_tells_what_the_pull_request_asks_for(reviewed, both):
    ran = reviewed.run("plan")
    assert ran.outputs["exit-code"] == "0"
    assert ran.outputs["plan-file"] == ran.outputs["document"]
    assert ran.document["kind"] == "plan"
    assert ran.document["since"]["commit"] == tip(both.remote, "refs/heads/main")
    assert {each["cause"] for change in ran.document["changes"] for each in change["fields"]} == {"pending"}
    assert all(each["introduced"] for change in ran.document["changes"] for each in change["fields"])
    assert "manifests/m.yaml" in ran.log


def test_a_checkout_of_one_commit_is_enough_and_stays_as_shallow_as_it_is(both, tmp_path):
    base, _ = changed(both)
    job = runner(both, tmp_path / "job", "change", pull_request(base), "--depth", "1", "--single-branch")
    ran = job.run("plan")
    assert ran.code == 0, ran.log
    assert ran.document["since"]["commit"] == base
    assert [git(job.folder, "rev-list", "--count", name) for name in ("HEAD", base)] == ["1", "1"]


def test_a_whole_checkout_that_lacks_the_base_gets_it_and_stays_whole(both, tmp_path):
    before, commit = changed(both)
    git(both.one.folder, "checkout", "-q", "--detach", before)
    both.one.write("README", "main went on\n")
    base = publish(both.one)
    job = runner(both, tmp_path / "job", "change", pull_request(base), "--single-branch")
    ran = job.run("plan")
    assert ran.code == 0, ran.log
    assert ran.document["since"]["commit"] == before
    assert git(job.folder, "rev-parse", "--is-shallow-repository") == "false"
    assert git(job.folder, "rev-parse", "HEAD") == commit


def test_a_marker_in_a_comment_of_somebody_else_is_not_believed(reviewed):
    marker = reviewed.run("plan").summary.partition("-->")[0] + "-->"
    texts = [f"{marker}\nforged", f"{marker}\nforged again"]
    forged = [said("stranger", text, number) for number, text in enumerate(texts, 201)]
    quoted = said(ME, f"somebody wrote {marker}", 203)
    of_none = said(ME, marker, 204) | {"user": None}
    reviewed.gh.write(comments=[*forged, quoted, of_none], calls=[])
    reviewed.run("plan")
    assert [call[0] for call in reviewed.gh.written] == ["POST"]
    assert [each["body"] for each in reviewed.gh.read("comments")[:2]] == texts
    reviewed.run("plan")
    assert len(reviewed.gh.mine("comments")) == 1


def test_a_token_of_another_account_finds_its_own_comment(reviewed):
    reviewed.gh.write(login="our-app[bot]")
    reviewed.run("plan")
    reviewed.run("plan")
    (comment,) = reviewed.gh.mine("comments")
    assert comment["user"] == {"login": "our-app[bot]"}


def test_where_the_account_cannot_be_asked_for_it_is_that_of_the_job(reviewed):
    reviewed.gh.write(refuses="POST graphql")
    reviewed.run("plan")
    reviewed.run("plan")
    assert len(reviewed.gh.mine("comments")) == 1


def test_each_target_has_a_comment_of_its_own_and_keeps_it_when_the_settings_break(reviewed):
    settings = reviewed.folder / "reconciler.yaml"
    (line,) = re.findall(r"^  test: .*\n", settings.read_text(), re.MULTILINE)
    sound = settings.read_text().replace(line, line + line.replace("test:", "other:"))
    for text in (sound, "version: 2\n", sound):
        settings.write_text(text)
        for target in ("test", "other"):
            reviewed.run("plan", target=target)
        first, second = (each["body"] for each in reviewed.gh.mine("comments"))
        assert first.startswith("<!-- reconciler:plan:test -->\n")
        assert second.startswith("<!-- reconciler:plan:other -->\n")
        assert ("gold" in first) is (text == sound)
    assert [call[0] for call in reviewed.gh.written] == ["POST"] * 2 + ["PATCH"] * 4


def test_a_default_target_keeps_its_comment_when_the_settings_break(reviewed):
    settings = reviewed.folder / "reconciler.yaml"
    sound = settings.read_text()
    for text in ("version: 2\n", sound, "version: 2\n"):
        settings.write_text(text)
        ran = reviewed.run("plan", target="")
        (comment,) = reviewed.gh.mine("comments")
        assert comment["body"] == ran.summary


@pytest.mark.parametrize("refused", ["GET repos.*comments", "POST repos.*comments"])
def test_a_comment_that_cannot_be_written_fails_the_job_and_says_what_it_needs(reviewed, refused):
    reviewed.gh.write(refuses=refused)
    ran = reviewed.run("plan")
    assert ran.code == 1
    assert "::error title=reconciler::The comment could not be" in ran.log
    assert "pull-requests: write" in ran.log
    assert not reviewed.gh.mine("comments")


def test_without_the_comment_gh_is_not_called(reviewed):
    ran = reviewed.run("plan", comment="false")
    assert ran.code == 0
    assert not reviewed.gh.read("calls")
    assert "gold" in ran.summary


def test_invalid_manifests_are_told_in_the_same_comment_and_fail_the_job_with_their_code(both, tmp_path, api):
    base, _ = changed(both)
    job = runner(both, tmp_path / "job", "change", pull_request(base))
    assert job.run("plan").code == 0
    file = job.folder / "manifests/m.yaml"
    file.write_text(manifest(plan="17"))
    ran = job.run("plan")
    assert (ran.code, ran.outputs["exit-code"]) == (3, "3")
    (comment,) = job.gh.mine("comments")
    assert comment["body"] == ran.summary
    assert "manifests/m.yaml" in comment["body"]
    assert "::error" in ran.log


def test_settings_that_cannot_be_read_are_told_in_the_same_comment(reviewed):
    assert reviewed.run("plan").code == 0
    (reviewed.folder / "reconciler.yaml").write_text("version: 1\ntargets: {test: {provide: openai}}\n")
    ran = reviewed.run("plan")
    assert ran.code == 3
    (comment,) = reviewed.gh.mine("comments")
    assert comment["body"] == ran.summary


def test_a_key_that_is_refused_is_told_in_the_comment_and_fails_the_job_with_its_code(both, tmp_path, api):
    base, _ = changed(both)
    job = runner(both, tmp_path / "job", "change", pull_request(base))
    api._instead = {f"GET /v1/threads/thread_{each}": [Answer(401, {"error": {"message": "no"}})] for each in "abc"}
    ran = job.run("plan")
    assert (ran.code, ran.outputs["exit-code"]) == (7, "7")
    (comment,) = job.gh.mine("comments")
    assert comment["body"] == ran.summary


def test_wrong_usage_leaves_a_comment_of_its_own_words(reviewed):
    ran = reviewed.run("plan", arguments="--no-such-option\n")
    assert ran.code == 64
    assert "document" in ran.outputs
    (comment,) = reviewed.gh.mine("comments")
    assert "64" in comment["body"]
    assert reviewed.run("plan").code == 0
    (comment,) = reviewed.gh.mine("comments")
    assert "gold" in comment["body"]


def test_arguments_are_one_a_line_and_reach_the_command_as_they_are(reviewed):
    ran = reviewed.run("plan", arguments="--select\nthread/thread_[ab]\n\n--all\n")
    assert [each["id"] for each in ran.document["changes"]] == ["thread_a", "thread_b"]


def test_only_hosts_that_are_allowed_get_the_key_whatever_a_pull_request_says(reviewed, api):
    ran = reviewed.run("plan", allowed_hosts="threads.example")
    assert ran.code == 3
    assert not api.calls
    assert "allowed-hosts" not in ran.log


def test_without_allowed_hosts_a_pull_request_is_planned_offline_and_nobody_gets_the_key(reviewed, api, tmp_path):
    program = reviewed.place / "installed/venv/bin/reconciler"
    program.write_text(program.read_text().replace("exec", f'env >"{tmp_path}/seen"\nexec'))
    ran = reviewed.run("plan", allowed_hosts="")
    assert ran.code == 0, ran.log
    assert "::warning title=reconciler::Without the input allowed-hosts" in ran.log
    assert ran.outputs["changes"] == "3"
    assert KEY not in (tmp_path / "seen").read_text()
    (comment,) = reviewed.gh.mine("comments")
    assert comment["body"] == ran.summary
    for command in ("drift", "apply"):
        ran = reviewed.run(command, allowed_hosts="")
        assert ran.code == 1
        assert f"No {command} for a pull request without the input allowed-hosts." in ran.log
    assert not api.calls
    reviewed.variables = {"RECONCILER_ALLOWED_HOSTS": "127.0.0.1"}  # as good as the input: it is the workflow's own
    ran = reviewed.run("plan", allowed_hosts="")
    assert (ran.code, len(api.calls)) == (0, 3), ran.log


@pytest.mark.parametrize("stranger", [FORK, {"user": {"login": "dependabot[bot]"}}, {"head": {"repo": None}}])
def test_a_pull_request_without_secrets_is_planned_offline_and_without_a_comment(both, tmp_path, api, stranger):
    base, _ = changed(both)
    job = runner(both, tmp_path / "job", "change", pull_request(base, **stranger))
    ran = job.run("plan")  # with the key and the token, as where somebody chose pull_request_target
    assert ran.code == 0, ran.log
    assert "::notice title=reconciler::" in ran.log
    assert ran.outputs["changes"] == "3"
    assert "gold" in ran.summary
    assert not api.calls
    assert not job.gh.read("calls")


def test_without_secrets_the_key_stays_out_of_sight_whichever_variable_the_settings_name(both, tmp_path):
    base, _ = changed(both)
    job = runner(both, tmp_path / "job", "change", pull_request(base, **FORK))
    program = job.place / "installed/venv/bin/reconciler"
    program.write_text(program.read_text().replace("exec", f'env >"{tmp_path}/seen"\nexec'))
    assert job.run("plan").code == 0
    assert "COMMAND=plan" in (tmp_path / "seen").read_text()
    assert KEY not in (tmp_path / "seen").read_text()


@pytest.mark.parametrize("command", ["apply", "drift"])
def test_a_pull_request_without_secrets_gets_nothing_but_a_plan(both, tmp_path, api, command):
    base, _ = changed(both)
    ran = runner(both, tmp_path / "job", "change", pull_request(base, **FORK)).run(command)
    assert ran.code == 1
    assert not api.calls


# --- apply ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("remembers", [False, True], ids=["by hand", "ledger_remote"])
@pytest.mark.parametrize("options", [(), ("--depth", "1")], ids=["whole", "shallow"])
def test_an_apply_on_the_main_branch_writes_and_pushes_its_record(both, tmp_path, api, remembers, options):
    changed(both)
    if remembers:
        settings = both.one.read("reconciler.yaml").replace("manifests: [", "ledger_remote: origin, manifests: [")
        both.one.write("reconciler.yaml", settings)
    commit = publish(both.one) if remembers else git(both.one.folder, "rev-parse", "HEAD")
    git(both.one.folder, "push", "-q", "origin", "HEAD:refs/heads/main")
    job = runner(both, tmp_path / "job", "main", None, *options)
    ran = job.run("apply")
    assert ran.code == 0, ran.log
    assert ran.outputs["changes"] == "3"
    assert {api.held(name)["plan"] for name in HELD} == {"gold"}
    assert ledger(both.remote).applied == commit
    assert ran.summary
    assert "plan-file" in ran.outputs
    assert not ran.outputs["plan-file"]
    assert not job.gh.read("calls")
    assert git(both.remote, "for-each-ref", "--format=%(refname)").split() == [
        "refs/heads/change", "refs/heads/main", "refs/reconciler/test",
    ]  # fmt: skip


def test_a_re_run_of_an_old_job_is_refused(both, tmp_path, api):
    _, commit = changed(both)
    git(both.one.folder, "push", "-q", "origin", "HEAD:refs/heads/main")
    assert runner(both, tmp_path / "job").run("apply").code == 0
    old = runner(both, tmp_path / "old")
    git(old.folder, "checkout", "-q", "--detach", f"{commit}^")
    api.calls.clear()
    ran = old.run("apply")
    assert (ran.code, ran.outputs["exit-code"], ran.outputs["changes"]) == (6, "6", "0")
    assert not api.sent("POST")
    assert ledger(both.remote).applied == commit


def test_what_an_apply_has_written_is_pushed_although_the_rest_failed(both, tmp_path, api):
    changed(both)
    git(both.one.folder, "push", "-q", "origin", "HEAD:refs/heads/main")
    api._instead = {"POST /v1/threads/thread_b": [Answer(400, {"error": {"message": "no"}})]}
    ran = runner(both, tmp_path / "job").run("apply")
    assert (ran.code, ran.outputs["exit-code"], ran.outputs["changes"]) == (4, "4", "2")
    touched = ledger(both.remote).touched
    assert touched["thread/thread_a"] == {"plan": ("silver", "gold")}


def test_a_record_that_is_not_pushed_fails_the_job_and_says_what_it_needs(both, tmp_path):
    changed(both)
    git(both.one.folder, "push", "-q", "origin", "HEAD:refs/heads/main")
    job = runner(both, tmp_path / "job")
    git(job.folder, "config", "remote.origin.pushurl", f"file://{tmp_path}/nowhere")
    ran = job.run("apply")
    assert (ran.code, ran.outputs["exit-code"]) == (4, "0")
    assert "contents: write" in ran.log


def test_a_ledger_that_cannot_be_fetched_ends_the_job_before_any_call(both, tmp_path, api):
    job = runner(both, tmp_path / "job")
    git(job.folder, "remote", "set-url", "origin", f"file://{tmp_path}/nowhere")
    ran = job.run("apply")
    assert ran.code == 1
    assert "The ledger cannot be fetched" in ran.log
    assert not api.calls


def test_a_cancelled_apply_finishes_its_writes_and_pushes_their_record(both, tmp_path, api):
    changed(both)
    git(both.one.folder, "push", "-q", "origin", "HEAD:refs/heads/main")
    api._lag = {"POST": 0.5}

    def cancel(process):
        until(lambda: api.sent("POST"), "a write")
        job.cancelled = True
        process.send_signal(SIGINT)

    job = runner(both, tmp_path / "job")
    job.during["Run"] = cancel
    ran = job.run("apply", arguments="--parallelism\n1")
    assert ran.outputs["exit-code"] == "143", ran.log
    assert ran.outputs["changes"] == "1"
    assert list(ledger(both.remote).touched) == ["thread/thread_a"]


# --- drift ------------------------------------------------------------------------------------------------------------


def test_drift_opens_one_issue_changes_it_and_closes_it_once_it_is_gone(both, tmp_path, api):
    job = runner(both, tmp_path / "job")
    assert job.run("drift").code == 0
    assert not job.gh.written
    api.put("thread/thread_b", {"plan": "lead"})
    first = job.run("drift")
    assert (first.code, first.outputs["exit-code"], first.outputs["changes"]) == (0, "2", "1")
    (issue,) = job.gh.mine("issues")
    assert issue["body"] == first.summary
    assert issue["title"] == "Metadata drifted from git"
    api.put("thread/thread_a", {"plan": "tin"})
    second = job.run("drift")
    (again,) = job.gh.mine("issues")
    assert (again["id"], again["state"], again["body"]) == (issue["id"], "open", second.summary)
    for name in ("a", "b"):
        api.put(f"thread/thread_{name}", {"plan": "silver"})
    third = job.run("drift")
    (closed,) = job.gh.mine("issues")
    assert (third.code, closed["state"], closed["state_reason"]) == (0, "closed", "completed")
    assert closed["body"] == third.summary
    api.delete("thread/thread_c")
    fourth = job.run("drift")
    assert fourth.outputs["changes"] == "1"
    assert [each["state"] for each in job.gh.mine("issues")] == ["closed", "open"]


def test_drift_fails_the_job_where_that_is_wanted_and_not_before_it_is_told(both, tmp_path, api):
    job = runner(both, tmp_path / "job")
    api.put("thread/thread_b", {"plan": "lead"})
    assert job.run("drift", fail_on_drift="true").code == 2
    assert len(job.gh.mine("issues")) == 1
    assert job.run("drift", fail_on_drift="true", issue="false").code == 2
    assert len(job.gh.written) == 1


def test_neither_a_forged_issue_nor_a_pull_request_is_taken_for_the_issue(both, tmp_path, api):
    job = runner(both, tmp_path / "job")
    api.put("thread/thread_b", {"plan": "lead"})
    body = job.run("drift").summary
    theirs = [said("stranger", body, 301), said(ME, body, 302, pull_request={"url": "x"}), said(ME, "else", 303)]
    job.gh.write(issues=theirs)
    api.put("thread/thread_b", {"plan": "silver"})
    assert job.run("drift").code == 0
    assert [each["state"] for each in job.gh.read("issues")] == ["open"] * 3


def test_a_look_for_drift_that_failed_leaves_the_issue_as_it_is(both, tmp_path, api):
    job = runner(both, tmp_path / "job")
    api.put("thread/thread_b", {"plan": "lead"})
    job.run("drift")
    before = job.gh.read("issues")
    api._instead = {f"GET /v1/threads/thread_{each}": [Answer(401, {"error": {"message": "no"}})] for each in "abc"}
    ran = job.run("drift")
    assert ran.code == 7
    assert job.gh.read("issues") == before


# --- what strangers and secrets do ------------------------------------------------------------------------------------

EVIL = "$(touch pwned)`touch pwned`'\\\"; touch pwned #\\n::error::boo\\n##[group]x"


def leaks(place, text):
    return [path for path in place.rglob("*") if path.is_file() and text.encode() in path.read_bytes()]


def test_hostile_values_titles_and_branches_do_nothing_and_secrets_are_nowhere(both, tmp_path, api):
    more = f'  thread_d: {{metadata: {{plan: gold, "k$(touch pwned)": "{EVIL}"}}}}\n'
    api.put("thread/thread_d", {"plan": EVIL, "seen": "`touch pwned`\n::set-output name=x::y"})
    base, _ = changed(both, manifest(more=more))
    job = runner(both, tmp_path / "job", "change", pull_request(base))
    logs = [job.run("plan").log, job.run("drift").log, job.run("apply").log]
    assert api.held("thread/thread_d")["plan"] == "gold"
    job.gh.write(refuses="POST repos|PATCH repos")
    logs.append(job.run("plan").log)
    text = "".join(logs)
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith("pwned")]
    assert not re.search(r"^(::error::boo|##\[group\]|::set-output)", text, re.MULTILINE)
    assert KEY not in text
    assert TOKEN not in text
    assert not leaks(job.place, KEY)
    assert not [path for path in leaks(job.place, TOKEN) if path != job.gh.folder / "gh"]
    assert not leaks(job.folder, KEY)


@pytest.mark.parametrize("name", ["target", "config", "working_directory", "ledger_remote", "arguments", "command"])
def test_an_input_is_never_run(reviewed, api, name):
    evil = "$(touch pwned)`touch pwned`; touch pwned"
    ran = reviewed.run(**{"command": "plan", name: evil})
    assert ran.code != 0
    assert not [path for path in reviewed.place.parent.rglob("*") if path.name.startswith("pwned")]
    assert not api.calls


def test_the_name_of_the_keys_variable_must_be_one(reviewed, api):
    assert reviewed.run("plan", api_key_env="A=1; touch pwned").code == 64
    assert not api.calls


def test_each_secret_reaches_only_the_step_that_needs_it(reviewed, api):
    ran = reviewed.run("plan")
    holding = {secret: [name for name, env in ran.given.items() if secret in env.values()] for secret in (KEY, TOKEN)}
    assert holding == {KEY: ["Run"], TOKEN: ["Tell"]}
    assert {call.headers["authorization"] for call in api.calls} == {f"Bearer {KEY}"}


def test_a_check_gets_no_key_and_makes_no_call(both, tmp_path, api):
    job = runner(both, tmp_path / "job")
    (job.folder / "manifests/m.yaml").write_text(manifest(plan="17"))
    ran = job.run("validate")
    assert (ran.code, ran.document["kind"]) == (3, "validate")
    assert not api.calls
    (job.folder / "manifests/m.yaml").write_text(manifest())
    assert job.run("validate").code == 0


# --- installing -------------------------------------------------------------------------------------------------------


def registry():
    """Return the variables by which pip finds the packages of this machine."""
    own = re.compile(r"PIP_.*|.*_proxy", re.IGNORECASE)
    found = {name: value for name, value in os.environ.items() if own.fullmatch(name)}
    if PIP_CONFIGURATION.is_file():
        found.setdefault("PIP_CONFIG_FILE", str(PIP_CONFIGURATION))
    return found


def test_the_action_installs_itself_whatever_lies_in_the_working_directory(both, tmp_path):
    job = runner(both, tmp_path / "job")
    job.variables = registry()
    for name in ("pip", "venv", "json", "reconciler"):
        (job.folder / f"{name}.py").write_text("raise SystemExit('taken for a module')\n")
    ran = job.run("validate", install=True)
    if ran.code and re.search(r"No matching distribution|Connection|Temporary failure", ran.log):
        pytest.skip(f"the package registry cannot be reached: {ran.log[-300:]}")
    assert ran.code == 0, ran.log
    assert ran.document["kind"] == "validate"
    program = Path(ran.steps["install"]["outputs"]["folder"]) / "venv/bin/reconciler"
    version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    assert version.split()[-1] == ran.document["tool_version"]
    line = [program.with_name("python"), "-I", "-m", "pip", "freeze", "--exclude", "reconciler"]
    frozen = subprocess.run(line, capture_output=True, text=True, check=True).stdout.splitlines()
    pinned = (ROOT / "reconciler/templates/constraints.txt").read_text().splitlines()
    assert {re.sub(r"[-_.]+", "-", each).lower() for each in frozen} <= {
        re.sub(r"[-_.]+", "-", each) for each in pinned
    }


def test_an_old_python_is_refused_with_the_reason(both, tmp_path):
    job = runner(both, tmp_path / "job")
    old = tmp_path / "old"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    ran = job.run("validate", install=True, python=str(old))
    assert ran.code == 1
    assert "Python 3.11 or later" in ran.log


# --- the files themselves ---------------------------------------------------------------------------------------------


def checked(path, schema):
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}", str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("path", "schema", "right", "wrong"),
    [
        (ROOT / "action.yml", "github-actions", "using: composite", "using: composed"),
        (WORKFLOW, "github-workflows", "runs-on: ubuntu-latest", "run-on: ubuntu-latest"),
    ],
    ids=["action", "workflow"],
)
def test_a_file_is_as_its_schema_has_it_and_the_schema_refuses_another(tmp_path, path, schema, right, wrong):
    done = checked(path, schema)
    assert done.returncode == 0, done.stdout
    text = path.read_text(encoding="utf-8")
    (tmp_path / "x.yml").write_text(text.replace(right, wrong), encoding="utf-8")
    assert checked(tmp_path / "x.yml", schema).returncode == 1


def shellchecked(script):
    program = Path(sys.executable).parent / "shellcheck"
    command = [str(program), "--shell=bash", "--enable=all", "--exclude=SC2154,SC2250,SC2310,SC2312", "-"]
    return subprocess.run(command, input=f"set -eo pipefail\n{script}", capture_output=True, text=True, check=False)


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step["name"])
def test_a_script_is_as_shellcheck_would_have_it(step):
    done = shellchecked(step["run"])
    assert done.returncode == 0, done.stdout


def test_shellcheck_finds_an_unquoted_name():
    assert shellchecked("rm $1").returncode == 1


def test_no_expression_stands_in_a_script_and_the_action_uses_no_other():
    assert all(step["shell"] == "bash" and "${{" not in step["run"] and "uses" not in step for step in STEPS)
    assert shellchecked("true").returncode == 0
    names = set(re.findall(r"\$\{\{ inputs\.([\w-]+) \}\}", TEXT))
    conditions = "".join(step.get("if", "") for step in STEPS)
    assert names | set(re.findall(r"inputs\.([\w-]+)", conditions)) == set(ACTION["inputs"])
    assert not re.search(r"github\.(head_ref|actor)|\.(title|ref|label|body)\b", TEXT)  # nothing that a stranger words


def test_the_example_gives_each_job_no_more_than_it_needs():
    assert EXAMPLE["permissions"] == {}
    assert {name: job["permissions"] for name, job in EXAMPLE["jobs"].items()} == {
        "plan": {"contents": "read", "pull-requests": "write"},
        "apply": {"contents": "write"},
        "drift": {"contents": "read", "issues": "write"},
    }
    needs = dict(re.findall(r"^#   (\w+) +(contents: \w+.*)$", TEXT, re.MULTILINE))
    for name, job in EXAMPLE["jobs"].items():
        assert all(f"{right}: {level}" in needs[name] for right, level in job["permissions"].items())


def test_the_example_pins_what_it_uses_and_gives_inputs_that_there_are():
    used = [line for line in WORKFLOW.read_text(encoding="utf-8").splitlines() if "uses:" in line]
    assert all(re.fullmatch(r" +- uses: [\w-]+/[\w-]+@[0-9a-f]{40} +# (v\d+\.\d+\.\d+|replace)", line) for line in used)
    for name, job in EXAMPLE["jobs"].items():
        checkout, ours = job["steps"]
        assert checkout["with"] == {"fetch-depth": 0}
        assert ours["with"]["command"] == name
        assert set(ours["with"]) <= set(ACTION["inputs"])


def test_applies_of_the_example_never_overlap_and_none_is_broken_off():
    group = EXAMPLE["concurrency"]["group"]
    assert "github.event_name == 'push' && 'apply'" in group
    assert EXAMPLE["concurrency"]["cancel-in-progress"] == "${{ github.event_name == 'pull_request' }}"
