"""The table of servers, and how one is started, awaited and ended.

The servers that nobody here wrote live in virtual environments of their own, which `make test-real` makes below
`.venv/real/` in the versions that the `.txt` files beside this one name.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from scratch import PATIENCE, ROOT, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

KEEPER = str(Path(__file__).with_name("keeper.py"))
HOMES = Path(sys.prefix) / "real"
"""Where the virtual environments of the servers are, inside the one that the tests run in."""
ATTEMPTS = 3
"""A port that was free may be taken by somebody before the server has it."""

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class Place:
    """Where one server runs: its port, another that it may have, one at which nobody listens, and a folder."""

    port: int
    second: int
    nobody: int
    folder: Path


@dataclass(frozen=True)
class Program:
    """A row: how a server is started, how it treats updates, and which kinds it serves."""

    name: str
    dialect: str
    kinds: tuple[str, ...]
    command: Callable[[Place], list[str]]
    environment: Callable[[Place], Mapping[str, str]] = lambda _: {}

    @property
    def removes(self) -> bool:
        """Tell whether a key can be removed there."""
        return self.dialect != "merge"


def _smg(place: Place) -> list[str]:
    """Return the command of a gateway with its conversations in memory, and no model behind it."""
    worker = f"http://127.0.0.1:{place.nobody}"
    here = ["--host", "127.0.0.1", "--port", str(place.port)]
    metrics = ["--prometheus-host", "127.0.0.1", "--prometheus-port", str(place.second)]
    alone = ["--backend", "openai", "--history-backend", "memory", "--worker-urls", worker, "--disable-health-check"]
    return [f"{HOMES}/smg/bin/smg", "launch", *here, *metrics, *alone, "--shutdown-grace-period-secs", "1"]


def _agentic(place: Place) -> list[str]:
    here = ["--gateway-host", "127.0.0.1", "--gateway-port", str(place.port)]
    model = ["--llm-api-base", f"http://127.0.0.1:{place.nobody}", "--skip-llm-ready-check"]
    return [f"{HOMES}/agentic-api/bin/agentic-server", *model, *here]


def _emulator(dialect: str) -> Program:
    def command(place: Place) -> list[str]:
        return [sys.executable, "-m", "reconciler", "emulate", "--port", str(place.port), "--writes", dialect]

    return Program(f"emulator-{dialect}", dialect, ("conversation", "thread"), command)


PROGRAMS = {
    row.name: row
    for row in (
        Program("smg", "merge-null", ("conversation",), _smg),
        Program(
            "agentic-api",
            "replace",
            ("conversation",),
            _agentic,
            lambda place: {"DATABASE_URL": f"sqlite://{place.folder}/kept.db?mode=rwc"},
        ),
        *map(_emulator, ("replace", "merge", "merge-null", "merge-empty")),
    )
}


@dataclass(frozen=True)
class Running:
    """A server that answers."""

    program: Program
    port: int
    log: Path

    def said(self, since: int = 0) -> str:
        """Return what it wrote after the first `since` bytes, without colours."""
        return _COLOURS.sub("", self.log.read_bytes()[since:].decode("utf-8", "replace"))


@contextlib.contextmanager
def started(program: Program, folder: Path) -> Iterator[Running]:
    """Start a server, wait until it answers, and end it."""
    # Bound and never listening: nobody can answer there, and nobody else can be given the port.
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        for attempt in range(ATTEMPTS):
            place = Place(*_free_ports(2), silent.getsockname()[1], folder)
            _check_installed(program, place)
            log = folder / f"{attempt}.log"
            with _kept(program, place, log) as process:
                running = Running(program, place.port, log)
                if _answers(running, process):
                    yield running
                    return
        raise AssertionError(f"{program.name} ended before it answered:\n{running.said()}")


def _check_installed(program: Program, place: Place) -> None:
    path = Path(program.command(place)[0])
    assert path.exists(), f"{program.name} is not installed as {path}: `make test-real` does that, and runs these tests"


@contextlib.contextmanager
def _kept(program: Program, place: Place, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    environment = {"PATH": os.environ["PATH"], "HOME": str(place.folder), "PYTHONPATH": ROOT}
    command = [sys.executable, "-S", "-E", KEEPER, *program.command(place)]
    with log.open("wb") as paper:
        process = subprocess.Popen(
            command,
            cwd=place.folder,
            env={**environment, **program.environment(place)},
            stdin=subprocess.PIPE,
            stdout=paper,
            stderr=paper,
            start_new_session=True,
        )
    with process:
        try:
            yield process
        finally:
            process.stdin.close()
            process.wait(PATIENCE)


def _answers(running: Running, process: subprocess.Popen[bytes]) -> bool:
    """Wait until the server answers; tell whether it does, or has ended."""
    until(lambda: process.poll() is not None or _answered(running.port), f"{running.program.name} answers")
    return process.poll() is None


def _answered(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request("GET", "/v1/conversations/conv_none")
        return connection.getresponse().status == http.client.NOT_FOUND
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [each.getsockname()[1] for each in sockets]
