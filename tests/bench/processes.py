"""Processes that are measured from outside, and the server that they talk to. None of them outlives its block."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING

from .server import COUNTS, HOST

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

OF_BENCH = {"PATH": os.environ.get("PATH", os.defpath), "PYTHONPATH": str(Path(__file__).parent.parent)}
"""The environment of the processes that this folder holds."""
LIMIT = 300.0
"""Seconds after which a process counts as hanging."""
_LEAVING = 5.0
"""Seconds that a server has to end by itself."""
_A_MIB = 1 << 20 if sys.platform == "darwin" else 1 << 10
"""A MiB in the unit of `ru_maxrss`."""


class Failed(Exception):
    """Something did not do what it was to be measured at, so that its time says nothing."""


@dataclass(frozen=True, slots=True)
class Spent:
    """What a process took: seconds of the clock and of the processors, MiB at its peak, and what it printed.

    Processes that it started and waited for count as well: their seconds are added, the largest peak is taken.
    """

    wall: float
    cpu: float
    peak: float
    out: str


def spent(command: Sequence[str], *, folder: Path, env: Mapping[str, str], limit: float = LIMIT) -> Spent:
    """Run Python with these arguments; raises `Failed` where it does not end well, or not within `limit` seconds."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        begun = time.perf_counter()
        process = _started(command, folder=folder, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
        clock = threading.Timer(limit, _kill, [process.pid])
        try:
            clock.start()
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # it keeps its number until it is waited for
            wall = time.perf_counter() - begun
        finally:
            clock.cancel()
            if clock.ident:
                clock.join()
            _kill(process.pid)
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        if process.returncode:
            told = (err.read() or out.read()).decode(errors="replace").strip()[-500:]
            raise Failed(f"{' '.join(command)} ended with {process.returncode} after {wall:.1f} s: {told}")
        return Spent(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / _A_MIB, out.read().decode())


def _started(command: Sequence[str], *, folder: Path, env: Mapping[str, str], **streams: object) -> subprocess.Popen:
    """Start Python in a session of its own, so that it can be ended with all that it started."""
    return subprocess.Popen([sys.executable, *command], cwd=folder, env=env, start_new_session=True, **streams)


def _kill(group: int) -> None:
    """End a process that was not waited for yet, if it has not ended by itself, and all that it started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


@dataclass(frozen=True, slots=True)
class Counts:
    """What a server was asked so far, and the seconds of a processor that it took, the start included."""

    reads: int
    writes: int
    cpu: float


@dataclass(frozen=True, slots=True)
class Server:
    """A server on loopback."""

    port: int

    def counts(self) -> Counts:
        """Ask the server what it was asked."""
        with contextlib.closing(HTTPConnection(HOST, self.port, timeout=LIMIT)) as connection:
            connection.request("GET", COUNTS.decode())
            return Counts(**json.loads(connection.getresponse().read()))


@contextlib.contextmanager
def serving(threads: int, changed: int, latency: float, folder: Path) -> Iterator[Server]:
    """Serve threads in a process of their own."""
    command = ["-m", "bench.server", str(threads), str(changed), str(latency)]
    with (folder / "server.log").open("w+b") as log:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        process = _started(command, folder=folder, env=OF_BENCH, stderr=log, **pipes)
        clock = threading.Timer(LIMIT, _kill, [process.pid])
        try:
            clock.start()
            port = process.stdout.readline()
            clock.cancel()
            if not port:
                log.seek(0)
                raise Failed(f"the server did not start: {log.read().decode(errors='replace').strip()[-500:]}")
            yield Server(int(port))
        finally:
            clock.cancel()
            if clock.ident:
                clock.join()
            process.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_LEAVING)
            if process.returncode is None:
                _kill(process.pid)
                process.wait()
            process.stdout.close()
