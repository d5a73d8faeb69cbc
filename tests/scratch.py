"""What an end-to-end test needs: a folder to run the real command in, and a server on loopback that records its calls.

The command runs as a process of its own with an environment built from nothing. The server answers with the emulator's
own function, or with what a test puts in its place.
"""

from __future__ import annotations

import contextlib
import json
import os
import pty
import shlex
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from signal import Signals
from typing import TYPE_CHECKING, Any

from api.descriptions import OPERATIONS, faults
from api.judge import Judge
from forking import the_nursery

from reconciler.dialects import DIALECTS, Removal
from reconciler.emulator import live_behaviour
from reconciler.emulator.service import Held, Request, handle
from reconciler.emulator.store import MemoryStore
from reconciler.model import Ref

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

ROOT = str(Path(__file__).parents[1])
"""The tree that is tested: what runs as a process of its own is of it, too, whatever is installed."""
PATIENCE = 30.0
"""Seconds after which a test gives up on something that should have happened at once."""
SETTINGS = """\
version: 1
targets:
  test: {{provider: openai, base_url: "{url}", manifests: [manifests]{more}}}
{rest}"""


def until(happened: Callable[[], bool], what: str) -> None:
    """Wait until something has happened."""
    deadline = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(0.005)


# --- the command ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Finished:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @cached_property
    def document(self) -> dict[str, Any]:
        """Return standard output as the JSON document that it must be."""
        return json.loads(self.out)

    @property
    def lines(self) -> list[str]:
        """Return the lines of standard output."""
        return self.out.split("\n")[:-1]

    def outcomes(self) -> dict[str, str]:
        """Return what became of each change of an apply."""
        return {f"{each['kind']}/{each['id']}": each["outcome"] for each in self.document["outcomes"]}


class Scratch:
    """A folder with manifests and settings, and a home of its own beside it."""

    def __init__(self, place: Path) -> None:
        self.folder = place / "work"
        self.home = place / "home"
        for folder in (self.folder, self.home):
            folder.mkdir(parents=True)

    def write(self, name: str, text: str) -> Path:
        """Write a file, creating its folders."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def manifest(self, text: str) -> None:
        """Write the one manifest."""
        self.write("manifests/m.yaml", f"version: 1\n{text}")

    def settings(self, url: str, more: str = "", rest: str = "") -> None:
        """Write a settings file with the target `test` at `url`, `more` fields of that target, and `rest` below it."""
        self.write("reconciler.yaml", SETTINGS.format(url=url, more=f", {more}" if more else "", rest=rest))

    def read(self, name: str) -> str:
        """Return the text of a file."""
        return (self.folder / name).read_text(encoding="utf-8")

    def git(self, *arguments: str) -> str:
        """Run git here and return what it prints."""
        command = [
            "git",
            "-c",
            "user.name=A",
            "-c",
            "user.email=a@example.org",
            "-c",
            "commit.gpgsign=false",
            *arguments,
        ]
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment({}), capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    def commit(self) -> str:
        """Put everything into a repository, and return the commit."""
        self.git("init", "-q")
        self.git("add", "-A")
        self.git("commit", "-q", "-m", "All of it")
        return self.git("rev-parse", "HEAD")

    def environment(self, more: Mapping[str, str]) -> dict[str, str]:
        """Return an environment that owes nothing to the user's; the variables by which coverage follows stay."""
        measured = {name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")}
        place = {"PATH": os.environ["PATH"], "HOME": str(self.home), "PYTHONPATH": ROOT}
        return {**place, "GIT_CONFIG_NOSYSTEM": "1", **measured, **more}

    def start(self, line: str, env: Mapping[str, str] | None = None, **streams: Any) -> subprocess.Popen[str]:
        """Start a command line, written as it would be typed after `reconciler`."""
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}
        command = [sys.executable, "-m", "reconciler", *shlex.split(line)]
        return subprocess.Popen(
            command, cwd=self.folder, env=self.environment(env or {}), text=True, encoding="utf-8", **streams
        )

    def run(self, line: str, env: Mapping[str, str] | None = None) -> Finished:
        """Run a command line without a terminal, as a fork of a process that has loaded everything (forking.py)."""
        environment = self.environment(env or {})
        nursery = the_nursery(self.environment({}))
        if nursery is None or not nursery.takes(environment):
            return finished(self.start(line, env))
        code, out, err = nursery.run(shlex.split(line), self.folder, environment, PATIENCE)
        return Finished(code, _text(out), _text(err))

    def at_terminal(
        self,
        line: str,
        answer: str | Signals | None = None,
        env: Mapping[str, str] | None = None,
        *,
        out: bool = False,
        prompt: str = "Type yes: ",
    ) -> Finished:
        """Run a command line with standard input and error (and output, if `out`) at terminals.

        `answer` is typed once the `prompt` is there, or sent where it is a signal; the terminal echoes what is typed.
        """
        with _terminal() as (screen, end), _terminal() as (paper, out_end):
            streams = {"stdin": end, "stderr": end, "stdout": out_end if out else subprocess.PIPE}
            with self.start(line, env, **streams) as process:
                if answer is not None:
                    until(lambda: prompt in screen.text, "the question")
                    process.send_signal(answer) if isinstance(answer, Signals) else screen.type(answer)
                printed = "" if process.stdout is None else process.stdout.read()
                code = process.wait(PATIENCE)
        return Finished(code, paper.text if out else printed, screen.text)


def _text(written: bytes) -> str:
    return written.decode().replace("\r\n", "\n").replace("\r", "\n")


def finished(process: subprocess.Popen[str]) -> Finished:
    """Wait for a command and return what it left behind."""
    with process:
        try:
            out, err = process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    return Finished(process.returncode, out, err)


class _Screen:
    """The side of a terminal where a person sits; a thread reads along, so that nobody who writes has to wait."""

    def __init__(self, master: int) -> None:
        self._master = master
        self._seen = bytearray()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def _watch(self) -> None:
        # Linux answers EIO once nobody has the other side open any more.
        with contextlib.suppress(OSError):
            while shown := os.read(self._master, 65536):
                self._seen += shown

    @property
    def text(self) -> str:
        """Return everything shown so far, line ends as a program wrote them."""
        return bytes(self._seen).decode().replace("\r\n", "\n")

    def type(self, line: str) -> None:
        """Type a line."""
        os.write(self._master, f"{line}\n".encode())

    def close(self) -> None:
        """Wait for the last output, once the other side is closed."""
        self._thread.join(PATIENCE)
        os.close(self._master)


@contextlib.contextmanager
def _terminal() -> Iterator[tuple[_Screen, int]]:
    master, slave = pty.openpty()
    screen = _Screen(master)
    try:
        yield screen, slave
    finally:
        os.close(slave)
        screen.close()


# --- the server -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Call:
    """A call as it arrived: header names in lower case, the path as it was sent, the body as parsed JSON."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: Any

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


@dataclass(frozen=True)
class Answer:
    """An answer: text is sent as it is, everything else as JSON."""

    status: int
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)


def complaint(status: int, message: str, **headers: str) -> Answer:
    """Return an error in the vendor's envelope; `_` in the name of a header stands for `-`."""
    body = {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None}}
    return Answer(status, body, {name.replace("_", "-"): value for name, value in headers.items()})


def thread(own: str, **metadata: Any) -> Answer:
    """Return the answer that shows a thread."""
    return Answer(200, {"id": own, "object": "thread", "created_at": 1, "metadata": metadata})


class Api:
    """The emulator's function behind a socket of its own, with every call recorded, and held against the published API.

    `held` maps `kind/id` to metadata, `writes` a kind to its dialect. `instead` maps `METHOD /v1/path` to the answers
    to give in the emulator's place, one a call; the last one stays, and `None` is the emulator's turn. `lag`
    has the seconds that a method takes. `judged`: calls that are none of the published API fail the test; what a target
    adds to its calls is told to the `judge`.
    """

    def __init__(
        self,
        held: Mapping[str, Mapping[str, Any]] | None = None,
        writes: Mapping[str, str] | None = None,
        instead: Mapping[str, Sequence[Answer | None]] | None = None,
        lag: Mapping[str, float] | None = None,
        *,
        judged: bool = True,
    ) -> None:
        self.calls: list[Call] = []
        self.judged = judged
        self.judge = Judge(nulls=any(DIALECTS[name].removal is Removal.NULL for name in (writes or {}).values()))
        self.busiest = 0
        self._busy = 0
        self._store = MemoryStore()
        self._behaviour = live_behaviour({kind: DIALECTS[name] for kind, name in (writes or {}).items()})
        self._instead = instead or {}
        self._lag = lag or {}
        self._made: Counter[str] = Counter()
        self._lock = threading.Lock()
        for name, pairs in (held or {}).items():
            self.put(name, pairs)

    def put(self, name: str, pairs: Mapping[str, Any]) -> None:
        """Hold metadata, whoever held what there; where the API would not take it, no answer's map is judged."""
        self.judge.odd |= bool(faults("shared", OPERATIONS[_ref(name).kind].field, dict(pairs)))
        self._store.put(_ref(name), Held(1, pairs))

    def delete(self, name: str) -> None:
        """Hold it no longer."""
        self._store.bury(_ref(name))

    def held(self, name: str) -> dict[str, Any]:
        """Return the metadata that is held."""
        found = self._store.get(_ref(name))
        assert found is not None, f"{name} is not held"
        return dict(found.pairs)

    @property
    def told(self) -> list[str]:
        """Return the calls as lines, in the order of their arrival."""
        return [str(call) for call in self.calls]

    def sent(self, method: str) -> list[Call]:
        """Return the calls of one method."""
        return [call for call in self.calls if call.method == method]

    @property
    def bodies(self) -> list[Any]:
        """Return the bodies of all updates."""
        return [call.body for call in self.sent("POST")]

    def answer(self, call: Call, raw: bytes) -> Answer:
        """Record a call and answer it."""
        with self._lock:
            self.calls.append(call)
            self._busy += 1
            self.busiest = max(self.busiest, self._busy)
        time.sleep(self._lag.get(call.method, 0))
        with self._lock:
            self._busy -= 1
            planned = self._planned(str(call))
            if planned is not None:
                self.judge.request(call.method, call.path, call.headers, raw)
            return planned or self._emulated(call, raw)

    def _planned(self, call: str) -> Answer | None:
        answers = self._instead.get(call)
        if not answers:
            return None
        self._made[call] += 1
        return answers[min(self._made[call], len(answers)) - 1]

    def _emulated(self, call: Call, raw: bytes) -> Answer:
        response = handle(self._store, Request.aimed(call.method, call.path, call.headers, raw), self._behaviour)
        self.judge.exchange(call.method, call.path, call.headers, raw, response.status, response.headers, response.body)
        return Answer(response.status, response.body.decode(), response.headers)

    @contextlib.contextmanager
    def listening(self) -> Iterator[str]:
        """Listen on loopback; gives the base URL. What broke the published API is raised at the end."""
        server = _Server(("127.0.0.1", 0), type("Desk", (_Desk,), {"api": self}))
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/v1"
        finally:
            server.shutdown()
            thread.join()
            server.server_close()
        if self.judged:
            self.judge.verdict()


def _ref(name: str) -> Ref:
    kind, _, own = name.partition("/")
    return Ref(kind, own)


class _Server(ThreadingHTTPServer):
    request_queue_size = 512  # the default of 5 lets parallel callers time out
    daemon_threads = False  # closing waits for all of them: no socket is left open

    def handle_error(self, *_: object) -> None:
        """Say nothing about a caller that went away: an interrupted command does."""


class _Desk(BaseHTTPRequestHandler):
    api: Api
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 10

    def do_GET(self) -> None:
        self._respond()

    def do_POST(self) -> None:
        self._respond()

    def _respond(self) -> None:
        raw = self.rfile.read(int(self.headers.get("content-length", "0")))
        headers = {name.lower(): value for name, value in self.headers.items()}
        answer = self.api.answer(Call(self.command, self.path, headers, json.loads(raw) if raw else None), raw)
        body = (answer.body if isinstance(answer.body, str) else json.dumps(answer.body)).encode()
        self.send_response(answer.status)
        names = {name.lower(): value for name, value in answer.headers.items()}
        for name, value in {"content-type": "application/json", **names, "content-length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Keep the calls out of the test's own output."""


# --- both together ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Stage:
    """A scratch folder whose target `test` is a server, and that server."""

    scratch: Scratch
    api: Api
    url: str

    def run(self, line: str, env: Mapping[str, str] | None = None) -> Finished:
        """Run a command line without a terminal."""
        return self.scratch.run(line, env)


@contextlib.contextmanager
def staged(place: Path, manifest: str, api: Api, more: str = "", rest: str = "") -> Iterator[Stage]:
    """Set up a scratch folder with one manifest, and let the server listen."""
    scratch = Scratch(place)
    scratch.manifest(manifest)
    with api.listening() as url:
        scratch.settings(url, more, rest)
        yield Stage(scratch, api, url)
