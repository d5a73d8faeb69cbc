"""Every error says what happened, where, and what to do next: ways to fail, over the real command line.

A row is a way to fail: the command line, the exit code, what the line of the error names, and what it says to do.
"""

import json
import re
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import pytest
from scratch import Answer, Api, Scratch, complaint, staged

from reconciler.cli.advice import ADVICE, advised
from reconciler.cli.helping import PAGES
from reconciler.errors import ExitCode, Problem

ONE = "threads:\n  thread_1:\n    metadata: {plan: gold}\n"
FIRST, WRITE = "GET /v1/threads/thread_1", "POST /v1/threads/thread_1"
HELD = {"thread/thread_1": {"plan": "silver"}}
NOT_JSON = Answer(200, "<html><title>Welcome</title></html>", {"content-type": "text/html"})


@dataclass(frozen=True)
class Way:
    """A way to fail; `names` and `do` are searched for in the one line that tells of it."""

    command: str
    code: int
    names: str
    do: str
    manifest: str = ONE
    more: str = ""
    rest: str = ""
    edit: tuple[str, str] = ("", "")
    """What to replace in the settings, and by what."""
    env: Mapping[str, str] = field(default_factory=dict)
    held: Mapping[str, Mapping[str, str]] = field(default_factory=lambda: HELD)
    instead: Mapping[str, Sequence[Answer | None]] = field(default_factory=dict)
    before: Callable[[Scratch], object] = bool
    """What to do to the folder first."""

    def __str__(self) -> str:
        return f"{self.command} → {self.names}"


def fleet(size: int) -> str:
    return "threads:\n" + "".join(f"  thread_{number}:\n    metadata: {{plan: gold}}\n" for number in range(size))


def held_by(size: int) -> dict[str, dict[str, str]]:
    return {f"thread/thread_{number}": {"plan": "silver"} for number in range(size)}


def settings(line: str) -> dict[str, tuple[str, str]]:
    """Put a line with a mistake into the settings of the target."""
    return {"edit": ("provider: openai,", f"provider: openai, {line},")}


def repository(scratch: Scratch) -> None:
    scratch.write(".gitignore", ".reconciler/\n")
    scratch.commit()


def applied(scratch: Scratch) -> None:
    repository(scratch)
    assert scratch.run("apply --yes").code == 0


def rewound(scratch: Scratch) -> None:
    repository(scratch)
    scratch.write("later", "")
    scratch.commit()
    assert scratch.run("apply --yes").code == 0
    scratch.git("checkout", "-q", "HEAD~1")


def of_another_server(scratch: Scratch) -> None:
    applied(scratch)
    scratch.write("reconciler.yaml", scratch.read("reconciler.yaml").replace("openai,", "openai, organization: org_2,"))


def damaged(scratch: Scratch) -> None:
    repository(scratch)
    blob = scratch.git("rev-parse", "HEAD")
    scratch.git("update-ref", "refs/reconciler/test", blob)


def saved(spoil: Callable[[str], str], name: str = "plan.json") -> Callable[[Scratch], None]:
    def before(scratch: Scratch) -> None:
        assert scratch.run(f"plan --out json={name}").code == 0
        scratch.write(name, spoil(scratch.read(name)))

    return before


def saved_elsewhere(scratch: Scratch) -> None:
    assert scratch.run("plan --out json=plan.json").code == 0
    scratch.write("reconciler.yaml", scratch.read("reconciler.yaml").replace("  test:", "  twin:"))


def released(scratch: Scratch) -> None:
    applied(scratch)
    scratch.manifest("threads: {}\n")


WAYS = [
    # --- the command line
    Way("pln", 64, "pln", "did you mean plan"),
    Way("", 64, "Usage: reconciler", "reconciler COMMAND --help"),
    Way("plan --taget x", 64, "--taget", r"did you mean.*`reconciler plan --help`"),
    Way("plan --format yaml", 64, "yaml", "json.*`reconciler plan --help`"),
    Way("plan --parallelism many", 64, "--parallelism", "`reconciler plan --help`"),
    Way("plan --out yaml=x", 64, "--out", "write FORMAT=FILE"),
    Way("plan --out json=nowhere/p.json", 64, "nowhere", "create it"),
    Way("plan --out json=manifests", 64, "manifests", "name a file"),
    Way("plan --only sometimes", 64, "sometimes", "known: pending"),
    Way("plan --shard 5/4", 64, "--shard", "`reconciler plan --help`"),
    Way("drift --now yesterday", 64, "yesterday", "write YYYY-MM-DD"),
    Way("apply --yes --max-changed 101%", 64, "--max-changed", "a number from 0 to 100"),
    Way("plan -C nowhere", 64, "nowhere", "name one"),
    Way("plan nowhere", 64, "nowhere", "name a manifest"),
    Way("plan --select Thread/thread_1", 64, "Thread/thread_1", "case-sensitive"),
    Way("plan --target tset", 64, "tset", "did you mean test"),
    Way("plan --config no.yaml", 64, "no.yaml", "correct it"),
    Way("plan", 64, "RECONCILER_TARGET names tset", "did you mean test", env={"RECONCILER_TARGET": "tset"}),
    Way("plan --prune --select thread/*", 64, "--prune", "leave out"),
    Way("plan --offline --base none", 64, "--offline", "--base REV"),
    Way("apply", 64, "no terminal", "say --yes"),
    Way("apply --yes nowhere.json", 64, "nowhere.json", "name a manifest"),
    Way("show nowhere.json", 64, "nowhere.json", "`reconciler plan --out json=FILE`"),
    Way("show", 64, "PLANFILE", "`reconciler show --help`"),
    Way("merge-reports one.json one.json", 64, "one.json", "name each file once",
        before=saved(lambda text: text, "one.json")),
    Way("import", 64, "what to import", "KIND/ID, or --ids-from"),
    Way("import thread_1", 64, "thread_1", "write KIND/ID"),
    Way("import tread/thread_1", 64, "tread", "did you mean thread"),
    Way("import thread/..", 64, r"\.\.", "A-Z a-z"),
    Way("import message/msg_1", 64, "msg_1", "parent/child"),
    Way("import --ids-from no.txt", 64, "no.txt", "name a file"),
    Way("ledger shw", 64, "shw", "did you mean show"),
    Way("emulate --host 0.0.0.0", 64, "0.0.0.0", "use 127.0.0.1"),
    Way("emulate --fault 5O3=1", 64, "5O3", "did you mean 503"),
    Way("emulate --fault 503=2", 64, "--fault", "from 0 to 1"),
    Way("emulate --require-key NO_KEY", 64, "--require-key", "export it"),
    Way("completion tcsh", 64, "tcsh", "'bash', 'zsh', 'fish'"),
    # --- the settings, field by field
    Way("plan", 3, "reconciler.yaml:3:20", "did you mean openai", edit=("openai", "opnai")),
    Way("plan", 3, "base_url|http", "https", edit=("http://127.0.0.1", "http://example.org")),
    Way("plan", 3, "unknown field|there is no field nmae", "known are|did you mean", **settings("nmae: x")),
    Way("plan", 3, "parallelism must be", "from 1 to 1000", **settings("parallelism: 0")),
    Way("plan", 3, "writes|there is no kind tread", "did you mean thread", **settings("writes: {tread: merge}")),
    Way("plan", 3, "there is no dialect merg", "did you mean merge", **settings("writes: {thread: merg}")),
    Way("plan", 3, "removals must be", "block or blank", **settings("removals: blnk")),
    Way("plan", 3, "missing must be", "error or warn", **settings("missing: maybe")),
    Way("plan", 3, "reads_per_minute must be", "greater than 0", **settings("rate: {reads_per_minute: 0}")),
    Way("plan", 3, "run must be", "seconds", **settings("timeouts: {run: soon}")),
    Way("plan", 3, "api_key_env must be", "the name of", **settings("api_key_env: a b")),
    Way("plan", 3, "max_changed must be", "from 0 to 100", rest="guards: {max_changed: 200%}\n"),
    Way("plan", 3, "there is no target tset", "did you mean test", rest="default_target: tset\n"),
    Way("plan", 3, "gone", "create it, or correct", edit=("[manifests]", "[gone]")),
    Way("plan", 3, "reconciler.yaml:", "version: 1", edit=("version: 1", "version: 7")),
    Way("plan", 3, "NO_KEY", "export NO_KEY", more="api_key_env: NO_KEY"),
    Way("plan", 3, "THE_KEY", "export the key alone", more="api_key_env: THE_KEY", env={"THE_KEY": "a b"}),
    Way("plan", 3, "RECONCILER_ALLOWED_HOSTS", "another target", env={"RECONCILER_ALLOWED_HOSTS": "api.example"}),
    # --- the manifests
    Way("plan", 3, r"m.yaml:4:19.*1 is a YAML number", "quote it|write",
        manifest="threads:\n  t:\n    metadata: {a: 1}\n"),
    Way("plan", 3, r"m.yaml:2:1.*tread", "did you mean threads", manifest="treads:\n  t: {}\n"),
    Way("plan", 3, "m.yaml:3:3.*no id", "of A-Z", manifest="threads:\n  a b: {}\n"),
    Way("plan", 3, "m.yaml:.*null", "leave the line out", manifest="threads:\n  t: {metadata: null}\n"),
    Way("plan", 3, "m.yaml:.*17 pairs", "at most 16",
        manifest="threads:\n  t:\n    metadata: {" + ", ".join(f"k{n}: v" for n in range(17)) + "}\n"),
    Way("plan", 3, "m.yaml:.*1 to 64", "shorten it", manifest=f"threads:\n  t: {{metadata: {{{'k' * 65}: v}}}}\n"),
    Way("plan", 3, "m.yaml:.*512", "shorten it", manifest=f"threads:\n  t: {{metadata: {{k: {'v' * 513}}}}}\n"),
    Way("plan", 3, "m.yaml:4:3: .*twice", "keep one", manifest="threads:\n  t: {}\n  t: {}\n"),
    Way("validate", 3, "m.yaml:3:", "is expected here|correct", manifest="threads: {\n"),
    Way("validate", 3, "m.yaml:.*a tab", "use spaces", manifest="threads:\n\tt: {}\n"),
    # --- the API and the way to it
    Way("plan", 7, "Incorrect API key", "`api_key_env`", instead={FIRST: [complaint(401, "Incorrect API key.")]}),
    Way("plan", 7, "missing scope", "rights", instead={FIRST: [complaint(403, "missing scope")]}),
    Way("plan", 7, "does not serve threads", "`base_url`", instead={FIRST: [Answer(404, {"detail": "Not Found"})]}),
    Way("plan", 1, "thread/thread_1", "correct the id", held={}),
    Way("plan", 1, "thread/thread_1.*no good", "correct the manifest", instead={FIRST: [complaint(400, "no good")]}),
    Way("plan", 1, "thread/thread_1.*500", "run this again",
        instead={FIRST: [complaint(500, "oops", retry_after_ms="1")]}),
    Way("plan", 1, "thread/thread_1.*429", "a smaller `--parallelism`",
        instead={FIRST: [complaint(429, "slow down", retry_after_ms="1")]}),
    Way("plan", 1, "thread/thread_1", "`base_url` leads to the API", instead={FIRST: [NOT_JSON]}),
    Way("plan", 1, "thread/thread_1.*redirects", "`base_url`",
        instead={FIRST: [Answer(307, "", {"location": "https://elsewhere.example/"})]}),
    Way("import thread/thread_9", 1, "thread/thread_9", "correct the id"),
    Way("apply --yes", 7, "no scope", "rights", instead={WRITE: [complaint(403, "no scope")]}),
    # --- guards
    Way("apply --yes", 6, "max_changed is 30%", "`--max-changed`", manifest=fleet(10), held=held_by(10)),
    Way("apply --yes", 6, "declare nothing", "`manifests`", manifest="threads: {}\n"),
    Way("plan --max-requests 0", 6, "--max-requests allows 0 calls", "raise it"),
    Way("apply --yes", 6, "is older than", "--allow-rewind", before=rewound),
    # --- saved plans
    Way("apply manifests --yes --shard 1/2 --prune", 64, "--prune", "leave out"),
    Way("show manifests/m.yaml", 3, "m.yaml:1:1", "plan"),
    Way("apply plan.json --yes", 3, "plan.json:1:1", "name a file", before=saved(lambda text: text[:-40])),
    Way("apply plan.json --yes", 3, "plan.json:1:1", "plan again",
        before=saved(lambda text: text.replace("gold", "tin"))),
    Way("apply plan.json --yes", 3, "plan.json:1:1.*target", "`--target`", before=saved_elsewhere),
    Way("apply plan.json --yes --prune", 64, "saved plan", "said to `plan`", before=saved(lambda text: text)),
    # --- git and the ledger
    Way("history", 64, "no git repository", "`git init`"),
    Way("rollback --yes", 64, "no git repository", "`git init`"),
    Way("rollback --yes", 64, "no apply", "`reconciler history`", before=repository),
    Way("rollback 1999 --yes", 64, "1999", "`reconciler history`", before=repository),
    Way("ledger show", 64, "no ledger", "`reconciler apply`", before=repository),
    Way("ledger show thread/nosuch", 64, "thread/nosuch", "`reconciler ledger show`", before=applied),
    Way("forget thread/nosuch", 64, "thread/nosuch", "`reconciler plan`", before=released),
    Way("forget thread/thread_1", 64, "thread/thread_1", "remove it", before=applied),
    Way("plan --base nosuch", 3, "nosuch", "fetch it|`git fetch", before=repository),
    Way("plan --changed-since nosuch", 64, "nosuch", "`git fetch", before=repository),
    Way("plan --mark-since nosuch", 64, "nosuch", "fetch it", before=repository),
    Way("plan --changed-since HEAD", 64, "--changed-since", "leave it out"),
    Way("plan", 3, "ledger_remote names origin", "`git remote add`", more="ledger_remote: origin", before=repository),
    Way("plan", 3, "ledger_remote names origin", "`git init`", more="ledger_remote: origin"),
    Way("plan", 3, "another server", "`git update-ref -d", before=of_another_server),
    Way("plan", 3, "refs/reconciler/test", "`git log`", before=damaged),
]  # fmt: skip


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_an_error_says_what_happened_where_and_what_to_do(way, tmp_path):
    with staged(tmp_path, way.manifest, Api(way.held, instead=way.instead), way.more, way.rest) as stage:
        stage.scratch.write("reconciler.yaml", stage.scratch.read("reconciler.yaml").replace(*way.edit))
        way.before(stage.scratch)
        done = stage.run(way.command, way.env)
    said = done.out + done.err
    assert done.code == way.code, done
    assert "Traceback" not in said
    # The first page of help is the one answer that is no single line.
    lines = [said] if not way.command else [line for line in said.splitlines() if "error" in line]
    telling = [
        line for line in lines if re.search(way.names, line) and re.search(way.do, line, re.DOTALL | re.IGNORECASE)
    ]
    assert telling, said
    assert not way.command or re.search(r"error: .* \[[a-z_]+\]$", telling[0]), telling
    name = next((name for name in sorted(PAGES, key=len, reverse=True) if f"{way.command} ".startswith(f"{name} ")), "")
    assert not name or ExitCode(way.code) in PAGES[name].codes, f"{name} does not tell of exit code {way.code}"


# --- what no server of ours does --------------------------------------------------------------------------------------


def told(tmp_path, url, *, more=""):
    """Plan against an address, and return what is said of the one resource."""
    scratch = Scratch(tmp_path)
    scratch.manifest(ONE)
    scratch.settings(url, more)
    done = scratch.run("plan --format json")
    (entry,) = done.document["errors"]
    return done.code, entry["code"], entry["message"]


def test_a_refused_connection_names_the_resource_and_the_setting(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    code, kind, message = told(tmp_path, f"http://127.0.0.1:{port}/v1")
    assert (code, kind) == (1, "network")
    assert message.startswith("thread/thread_1: No connection")
    assert "`base_url`" in message


def test_a_server_without_tls_is_told_with_the_setting(tmp_path):
    with Api(HELD).listening() as url:
        code, kind, message = told(tmp_path, url.replace("http:", "https:"))
    assert (code, kind) == (1, "tls")
    assert "`https`" in message


def test_a_server_that_never_answers_is_told_with_what_to_change(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        code, kind, message = told(
            tmp_path, f"http://127.0.0.1:{server.getsockname()[1]}/v1", more="timeouts: {read: 0.1}"
        )
    assert (code, kind) == (1, "timeout")
    assert "`timeouts`" in message


def test_a_no_at_the_question_is_told_with_what_would_have_been_a_yes(tmp_path):
    with staged(tmp_path, ONE, Api(HELD)) as stage:
        done = stage.scratch.at_terminal("apply", "no")
        assert (done.code, stage.api.bodies) == (1, [])
    assert "not confirmed; nothing was written (type yes" in done.out + done.err


def test_a_port_that_is_taken_is_named_with_the_option_that_chooses_another(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        done = Scratch(tmp_path).run(f"emulate --port {port}")
    assert done.code == 1
    assert re.search(rf"error: .*{port}.*--port.* \[error\]$", done.err, re.MULTILINE)


# --- the table of advice ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", ADVICE)
def test_advice_is_given_once(code):
    for message in ("it went wrong", "It went wrong."):
        once = advised(Problem(code, message))
        assert once.message.startswith(message)
        assert ADVICE[code][1:] in once.message
        assert advised(once) == once


def test_an_error_without_advice_stays_as_it_is():
    problem = Problem("nothing_known", "it went wrong; write it otherwise")
    assert advised(problem) is problem


def test_the_advice_stands_in_the_document_too(tmp_path):
    with staged(tmp_path, ONE, Api({})) as stage:
        (entry,) = json.loads(stage.run("plan --format json").out)["errors"]
    assert entry["code"] == "missing"
    assert ADVICE["missing"][1:] in entry["message"]
