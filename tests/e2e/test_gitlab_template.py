"""The template for GitLab: as its schema has it, and its jobs run git and the API real, GitLab a stand-in."""

import json
import os
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from repositories import clone, git, ledger, publish, shared, tip
from ruamel.yaml import YAML
from scratch import PATIENCE, ROOT, Answer, Api

TEMPLATE = Path(__file__).parents[2] / "reconciler" / "templates" / "gitlab-ci.yml"
TEXT = TEMPLATE.read_text(encoding="utf-8")
PIPELINE = YAML(typ="safe", pure=True).load(TEXT)
JOBS = {name.partition(":")[2]: job for name, job in PIPELINE.items() if name.startswith("reconciler:")}
COMMON = PIPELINE[".reconciler"]
KEY, TOKEN = "key-of-the-target-77aa", "token-of-the-project-31fc"
NOTES = "/projects/5/merge_requests/7/notes"
MANIFEST = "threads:\n" + "".join(f"  thread_{letter}: {{metadata: {{plan: {{}}}}}}\n" for letter in "abc")
HELD = {f"thread/thread_{letter}": {"plan": "silver"} for letter in "abc"}


def declared(plan):
    return MANIFEST.replace("{plan: {}}", f"{{plan: {plan}}}")


# --- GitLab -----------------------------------------------------------------------------------------------------------


class Gitlab:
    """The notes of one merge request behind the API of GitLab."""

    def __init__(self):
        self.notes = [note(number, f"hello {number}") for number in range(1, 131)]
        self.calls = []
        self.refuses = None

    def answer(self, method, target, token, body):
        url = urlsplit(target)
        self.calls.append(f"{method} {url.path}")
        if token != TOKEN or self.calls[-1] == self.refuses:
            return 403, {"message": "403 Forbidden"}, {}
        if url.path == "/user":
            return 200, {"id": 99, "username": "project_5_bot"}, {}
        if url.path == NOTES and method == "GET":
            asked = {name: int(values[0]) for name, values in parse_qs(url.query).items()}
            start = (asked["page"] - 1) * asked["per_page"]
            more = str(asked["page"] + 1) if start + asked["per_page"] < len(self.notes) else ""
            return 200, self.notes[start : start + asked["per_page"]], {"X-Next-Page": more}
        if url.path == NOTES:
            self.notes.append(note(1000 + len(self.notes), body["body"], 99))
            return 201, self.notes[-1], {}
        (found,) = (each for each in self.notes if url.path == f"{NOTES}/{each['id']}")
        found["body"] = body["body"]
        return 200, found, {}

    @property
    def mine(self):
        return [each for each in self.notes if each["author"]["id"] == 99 and each["id"] > 1000]

    @property
    def written(self):
        return [call.split()[0] for call in self.calls if not call.startswith("GET")]


def note(number, body, author=3):
    return {"id": number, "body": body, "author": {"id": author}, "system": False}


@pytest.fixture
def gitlab():
    """Let a GitLab listen; its `url` is where its API begins."""
    held = Gitlab()

    class Desk(BaseHTTPRequestHandler):
        def _any(self):
            raw = self.rfile.read(int(self.headers.get("content-length", "0")))
            token = self.headers.get("private-token")
            status, answer, headers = held.answer(self.command, self.path, token, json.loads(raw) if raw else None)
            body = json.dumps(answer).encode()
            self.send_response(status)
            for name, value in {**headers, "content-length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PUT = _any  # noqa: N815 - the names are those of http.server

        def log_message(self, *_):
            """Keep the calls out of the test's own output."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Desk)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    held.url = f"http://127.0.0.1:{server.server_address[1]}"
    yield held
    server.shutdown()
    thread.join()
    server.server_close()


# --- jobs -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def api():
    return Api(HELD, {"thread": "replace"})


@pytest.fixture
def both(tmp_path, api):
    """A repository with a ledger of `silver` everywhere on a bare remote, which `ledger_remote` does not name."""
    more = "writes: {thread: replace}, api_key_env: THREADS_API_KEY"
    with shared(tmp_path / "shared", declared("silver"), api, more) as both:
        settings = both.one.read("reconciler.yaml").replace(", ledger_remote: origin", "")
        both.one.write("reconciler.yaml", f"{settings}guards: {{max_changed: 100%}}\n")
        publish(both.one)
        assert both.one.run("baseline", {"THREADS_API_KEY": KEY}).code == 0
        git(both.one.folder, "push", "-q", "origin", "refs/reconciler/*:refs/reconciler/*")
        api.calls.clear()
        yield both


def proposed(both, plan="gold"):
    """Commit another plan on a branch of its own; returns the commit that it leaves."""
    base = tip(both.remote, "refs/heads/main")
    both.one.manifest(declared(plan))
    both.one.commit()
    git(both.one.folder, "push", "-q", "-f", "origin", "HEAD:refs/heads/change")
    return base


def merged(both):
    proposed(both)
    git(both.one.folder, "push", "-q", "origin", "HEAD:refs/heads/main")


class Runner:
    """A runner of GitLab: a clone, and the lines of a job in one shell."""

    def __init__(self, both, place, branch="main"):
        self.place, self.folder = place, clone(both.remote, place, "--branch", branch).folder
        self.remote = both.remote
        self.programs = place / "bin"
        self.programs.mkdir()
        for name, words in {"reconciler": "-m reconciler", "python": ""}.items():
            (self.programs / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {words} "$@"\n')
            (self.programs / name).chmod(0o755)

    def run(self, name, variables=None):
        """Run a job; returns its code and its log."""
        before = [line for line in COMMON["before_script"] if "/tmp/reconciler" not in line]
        env = {
            **PIPELINE["variables"], "RECONCILER_TARGET": "test", "RECONCILER_ALLOWED_HOSTS": "127.0.0.1",
            "PATH": f"{self.programs}:{os.environ['PATH']}", "HOME": str(self.place / "home"), "CI": "true",
            "PYTHONPATH": ROOT, "GIT_CONFIG_NOSYSTEM": "1", "CI_PROJECT_ID": "5", "CI_MERGE_REQUEST_IID": "7",
            "THREADS_API_KEY": KEY,
            "CI_PROJECT_URL": f"file://{self.remote}".removesuffix(".git"), **(variables or {}),
        }  # fmt: skip
        script = "\n".join(["set -eo pipefail", *before, *JOBS[name]["script"]])
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-c", script], cwd=self.folder, env=env, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=4 * PATIENCE, check=False,
        )  # fmt: skip
        return done.returncode, done.stdout


@pytest.fixture
def reviewed(both, tmp_path, gitlab):
    """Run the plan of a merge request."""
    base = proposed(both)
    runner = Runner(both, tmp_path / "job", "change")
    variables = {"CI_MERGE_REQUEST_DIFF_BASE_SHA": base, "CI_API_V4_URL": gitlab.url, "RECONCILER_GITLAB_TOKEN": TOKEN}

    def plan(**more):
        return runner.run("plan", variables | more)

    plan.folder = runner.folder
    plan.place = runner.place
    return plan


def test_the_first_plan_writes_the_note_and_the_second_changes_it(reviewed, gitlab, api):
    code, log = reviewed()
    assert code == 0, log
    (first,) = [each["body"] for each in gitlab.mine]
    assert first == (reviewed.folder / "plan.md").read_text()
    assert first.startswith("<!-- reconciler:plan:test -->")
    assert "gold" in first
    document = json.loads((reviewed.folder / "plan.json").read_text())
    assert all(field["introduced"] for change in document["changes"] for field in change["fields"])
    assert (reviewed.folder / "plan.xml").read_text().startswith("<?xml")
    api.put("thread/thread_b", {"plan": "gold"})
    assert reviewed()[0] == 0
    (second,) = [each["body"] for each in gitlab.mine]
    assert second != first
    assert gitlab.written == ["POST", "PUT"]
    assert not api.sent("POST")


def test_a_marker_in_a_note_of_somebody_else_is_not_believed(reviewed, gitlab):
    gitlab.notes.insert(0, note(500, "<!-- reconciler:plan:test -->\nforged"))
    gitlab.notes.insert(0, note(501, "see <!-- reconciler:plan:test -->", 99))
    assert reviewed()[0] == 0
    assert reviewed()[0] == 0
    assert gitlab.written == ["POST", "PUT"]
    assert gitlab.notes[1]["body"].endswith("forged")


@pytest.mark.parametrize(
    ("file", "text"),
    [("manifests/m.yaml", "version: 1\n" + declared("17")), ("reconciler.yaml", "version: 2\n")],
    ids=["manifests", "settings"],
)
def test_what_is_invalid_is_told_in_the_same_note_and_ends_with_its_code(reviewed, gitlab, file, text):
    assert reviewed()[0] == 0
    (reviewed.folder / file).write_text(text)
    code, _ = reviewed()
    assert code == 3
    (told,) = [each["body"] for each in gitlab.mine]
    assert told.startswith("<!-- reconciler:plan:test -->")
    assert "Exit code 3" in told


def test_without_a_token_there_is_a_plan_and_no_note(reviewed, gitlab):
    code, log = reviewed(RECONCILER_GITLAB_TOKEN="")
    assert code == 0, log
    assert not gitlab.calls
    assert "Plan: 3 to update" in log


@pytest.mark.parametrize("refused", ["GET /user", f"GET {NOTES}", f"POST {NOTES}"])
def test_a_note_that_cannot_be_written_fails_the_job_without_a_trace(reviewed, gitlab, refused):
    gitlab.refuses = refused
    code, log = reviewed()
    assert code == 1
    assert "The note could not be written: HTTP Error 403" in log
    assert "Traceback" not in log
    (reviewed.folder / "manifests/m.yaml").write_text("version: 1\n" + declared("17"))
    assert reviewed()[0] == 3


def test_a_note_goes_to_no_other_server(reviewed, gitlab, monkeypatch):
    sent = []

    def elsewhere(method, target, token, body):
        sent.append(target)
        return 302, {}, {"Location": f"{gitlab.url}/elsewhere"}

    monkeypatch.setattr(gitlab, "answer", elsewhere)
    assert reviewed()[0] == 1
    assert sent == ["/user"]


def test_the_token_and_the_key_stay_where_they_belong(reviewed, gitlab, api):
    spy = reviewed.place / "bin" / "reconciler"
    program = spy.read_text()
    spy.write_text(program.replace("exec", f'env >"{reviewed.place}/seen"\nexec'))
    _, log = reviewed()
    assert KEY in (reviewed.place / "seen").read_text()
    assert TOKEN not in (reviewed.place / "seen").read_text()
    (reviewed.place / "seen").unlink()
    assert KEY not in log
    assert TOKEN not in log
    files = [path for path in reviewed.place.rglob("*") if path.is_file()]
    assert not [path for path in files if KEY.encode() in path.read_bytes() or TOKEN.encode() in path.read_bytes()]
    assert KEY not in json.dumps(gitlab.notes)


def test_hostile_values_do_nothing_in_a_job(both, tmp_path, gitlab, api):
    evil = "$(touch pwned)`touch pwned`"
    api.put("thread/thread_a", {"plan": evil + "\n\x1b[0Ksection_start:1:x\r\x1b[0Kx"})
    base = proposed(both, f"'{evil}'")
    runner = Runner(both, tmp_path / "job", "change")
    more = {"CI_API_V4_URL": gitlab.url, "RECONCILER_GITLAB_TOKEN": TOKEN, "CI_COMMIT_REF_NAME": evil}
    code, log = runner.run("plan", {"CI_MERGE_REQUEST_DIFF_BASE_SHA": base, **more})
    assert code == 0, log
    assert "\x1b" not in log
    assert not list(tmp_path.rglob("pwned*"))


def test_a_merge_request_is_checked_without_a_key(both, tmp_path, api):
    runner = Runner(both, tmp_path / "job")
    assert runner.run("validate", {"THREADS_API_KEY": ""})[0] == 0
    (runner.folder / "manifests/m.yaml").write_text("version: 1\n" + declared("17"))
    assert runner.run("validate")[0] == 3
    assert "<failure" in (runner.folder / "validate.xml").read_text()
    assert not api.calls


@pytest.mark.parametrize("token", [TOKEN, ""], ids=["project token", "job token"])
def test_an_apply_writes_and_pushes_its_record_and_an_old_one_is_refused(both, tmp_path, api, token):
    merged(both)
    runner = Runner(both, tmp_path / "job")
    code, log = runner.run("apply", {"RECONCILER_GITLAB_TOKEN": token})
    assert code == 0, log
    assert {api.held(name)["plan"] for name in HELD} == {"gold"}
    assert ledger(both.remote).applied == git(runner.folder, "rev-parse", "HEAD")
    old = Runner(both, tmp_path / "old")
    git(old.folder, "checkout", "-q", "--detach", "HEAD^")
    assert old.run("apply")[0] == 6
    assert {api.held(name)["plan"] for name in HELD} == {"gold"}


def test_what_an_apply_has_written_is_pushed_although_the_rest_failed(both, tmp_path, api):
    merged(both)
    api._instead = {"POST /v1/threads/thread_b": [Answer(400, {"error": {"message": "no"}})]}
    assert Runner(both, tmp_path / "job").run("apply")[0] == 4
    assert "thread/thread_a" in ledger(both.remote).touched


def test_a_record_that_is_not_pushed_fails_the_apply(both, tmp_path):
    merged(both)
    runner = Runner(both, tmp_path / "job")
    elsewhere = {"RECONCILER_GITLAB_TOKEN": TOKEN, "CI_PROJECT_URL": f"file://{tmp_path}/nowhere"}
    code, log = runner.run("apply", elsewhere)
    assert code == 4
    assert "The ledger was not pushed." in log
    assert TOKEN not in log


def test_the_token_is_given_to_git_as_a_password():
    (helper,) = re.findall(r"-c credential\.helper='(.*)' \\", TEXT)
    line = ["git", "-c", "credential.helper=", "-c", f"credential.helper={helper}", "credential", "fill"]
    env = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], "RECONCILER_PUSH_TOKEN": TOKEN}
    asked = "protocol=https\nhost=gitlab.example\n\n"
    done = subprocess.run(line, env=env, input=asked, capture_output=True, text=True, check=True)
    assert f"password={TOKEN}\n" in done.stdout


def test_drift_ends_with_its_code_which_is_a_warning_there(both, tmp_path, api):
    runner = Runner(both, tmp_path / "job")
    assert runner.run("drift")[0] == 0
    api.put("thread/thread_b", {"plan": "lead"})
    code, log = runner.run("drift")
    assert code == 2, log
    assert JOBS["drift"]["allow_failure"] == {"exit_codes": [2]}
    assert json.loads((runner.folder / "drift.json").read_text())["kind"] == "drift"


# --- the file itself --------------------------------------------------------------------------------------------------


def checked(path):
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.gitlab-ci", str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_template_is_as_the_schema_of_gitlab_has_it_and_the_schema_refuses_another(tmp_path):
    done = checked(TEMPLATE)
    assert done.returncode == 0, done.stdout
    (tmp_path / "x.yml").write_text(TEXT.replace("when: always", "when: sometimes"), encoding="utf-8")
    assert checked(tmp_path / "x.yml").returncode == 1


@pytest.mark.parametrize("name", JOBS)
def test_a_script_is_as_shellcheck_would_have_it(name):
    script = "\n".join(["set -eo pipefail", *COMMON["before_script"], *JOBS[name]["script"]])
    program = Path(sys.executable).parent / "shellcheck"
    # SC2016: a helper of git is expanded by the shell that git starts. SC2034: two jobs have no use for the token.
    done = subprocess.run(
        [str(program), "--shell=bash", "--exclude=SC2016,SC2034", "-"],
        input=script,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_each_job_runs_where_it_should_and_an_apply_never_beside_another():
    rules = {name: [rule["if"] for rule in job["rules"]] for name, job in JOBS.items()}
    assert rules == {
        "validate": ['$CI_PIPELINE_SOURCE == "merge_request_event"'],
        "plan": [
            '$CI_PIPELINE_SOURCE == "merge_request_event" && $CI_MERGE_REQUEST_SOURCE_PROJECT_ID == $CI_PROJECT_ID'
        ],
        "apply": ['$CI_PIPELINE_SOURCE == "push" && $CI_COMMIT_BRANCH == $CI_DEFAULT_BRANCH'],
        "drift": ['$CI_PIPELINE_SOURCE == "schedule"'],
    }
    assert [name for name, job in JOBS.items() if "resource_group" in job] == ["apply"]
    assert JOBS["apply"]["interruptible"] is False
    assert all(job["extends"] == ".reconciler" for job in JOBS.values())
    assert COMMON["variables"] == {"GIT_DEPTH": "0", "GIT_STRATEGY": "clone"}


@pytest.mark.parametrize("name", JOBS)
def test_each_job_leaves_its_report_however_it_ends(name):
    artifacts = JOBS[name]["artifacts"]
    assert artifacts["when"] == "always"
    assert artifacts["reports"] == {"junit": f"{name}.xml"}
    assert f"junit={name}.xml" in " ".join(JOBS[name]["script"])
    assert all(f"={path}" in " ".join(JOBS[name]["script"]) for path in artifacts.get("paths", ()))
