"""Command lines as processes that need not load everything anew.

An interpreter that starts and loads what a plan needs is busy for half a second, with coverage for longer; the plan of
a test takes a fraction of that. So each process that runs tests keeps a `Nursery`: a helper that has loaded all modules
of the project once, and forks a child for each command line. The child has its own arguments, environment, working
directory and streams, runs what `python -m reconciler` runs, and ends as an interpreter ends. It differs from a fresh
process in three ways:

* All modules are loaded. What a command loads is seen in fresh processes only (test_start_up.py).
* All children of a nursery share one hash seed. Whoever runs a command twice in order to see the same bytes sets
  `PYTHONHASHSEED`; a variable that only a starting interpreter reads (`AT_START`) makes a fresh process.
* What it measured of the code goes to the helper, which writes one file at its end instead of one for each command.

`FRESH_PROCESSES=1 make test` starts a fresh process for every command, in order to compare.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import marshal
import os
import pkgutil
import runpy
import selectors
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

AT_START = ("LANG", "LC_", "LD_", "MALLOC_", "OPENSSL_", "PYTHON", "TZ")
"""How the names of variables begin that act when an interpreter starts, or loads a library."""
SWITCH = "FRESH_PROCESSES"
_LENGTH = struct.Struct("!I")
_CODE = struct.Struct("!i")
_READY = b"."
_MAKING = threading.Lock()


# --- the side of the tests --------------------------------------------------------------------------------------------


class Nursery:
    """A helper process that forks children which run command lines.

    `environment` is what the interpreter of the helper starts with; a child's own environment may differ from it in
    everything but what acts at the start. `package` is what a child runs, as `python -m` does.
    """

    def __init__(self, environment: Mapping[str, str], package: str = "reconciler") -> None:
        self._at_start = _at_start(environment)
        self._lock = threading.Lock()
        self._said = ""
        self._control, far = socket.socketpair()
        given, unread = json.dumps(dict(environment)), os.pipe()
        # Standard output is a pipe, as it is for the children: their streams are made with those of the helper.
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(far.fileno()), package, given], pass_fds=[far.fileno()],
            env=_unmeasured(environment), stdin=subprocess.DEVNULL, stdout=unread[1], stderr=subprocess.PIPE,
        )  # fmt: skip
        far.close()
        os.close(unread[0])
        os.close(unread[1])
        if self._control.recv(1) != _READY:
            raise RuntimeError(self._complaint())

    def takes(self, environment: Mapping[str, str]) -> bool:
        """Tell whether a child can have this environment."""
        return _at_start(environment) == self._at_start

    def run(
        self, arguments: Sequence[str], folder: Path, environment: Mapping[str, str], patience: float
    ) -> tuple[int, bytes, bytes]:
        """Run a command line; return its exit code (negative: the signal) and what it wrote to the two streams.

        After `patience` seconds the child is killed, and the error is that of `subprocess`.
        """
        order = json.dumps([list(arguments), str(folder), dict(environment)]).encode()
        near, far = socket.socketpair()
        out, out_end = os.pipe()
        err, err_end = os.pipe()
        with near:
            try:
                with far, open(out_end, "wb"), open(err_end, "wb"):  # noqa: PTH123 - they have no path
                    self._send(far.fileno(), out_end, err_end)
                near.sendall(_LENGTH.pack(len(order)) + order)
                written = _read([out, err, near.fileno()], patience, arguments)
            except OSError as error:
                raise RuntimeError(self._complaint()) from error
            finally:
                os.close(out)
                os.close(err)
        if len(written[2]) != _CODE.size:
            raise RuntimeError(self._complaint())
        return _CODE.unpack(written[2])[0], written[0], written[1]

    def _send(self, *descriptors: int) -> None:
        with self._lock:
            socket.send_fds(self._control, [b"."], descriptors)

    def close(self) -> None:
        """End the helper, which writes what its children measured; that it complains of something is an error."""
        said = self._complaint()
        if self._said or self._process.returncode:
            raise RuntimeError(said)

    def _complaint(self) -> str:
        with self._lock, self._process:
            self._control.close()
            if self._process.stderr and not self._process.stderr.closed:
                self._said = self._process.stderr.read().decode(errors="replace")
        return f"the process that forks commands ended with {self._process.returncode}: {self._said}"


def _at_start(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith(AT_START)}


def _unmeasured(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment without what makes an interpreter measure itself: the helper sees to that."""
    return {name: value for name, value in environment.items() if not name.startswith("COVERAGE_")}


def _read(descriptors: list[int], patience: float, command: Sequence[str]) -> list[bytes]:
    """Read all of them to their ends."""
    read: dict[int, bytearray] = {each: bytearray() for each in descriptors}
    deadline = time.monotonic() + patience
    with selectors.DefaultSelector() as selector:
        for each in descriptors:
            selector.register(each, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(max(deadline - time.monotonic(), 0))
            if not ready:
                raise subprocess.TimeoutExpired(list(command), patience)
            for key, _ in ready:
                if some := os.read(key.fd, 65536):
                    read[key.fd] += some
                else:
                    selector.unregister(key.fd)
    return [bytes(each) for each in read.values()]


_nurseries: list[Nursery] = []


def the_nursery(environment: Mapping[str, str]) -> Nursery | None:
    """Return the nursery of this process, made when it is first asked for; None where fresh processes are wanted."""
    if os.environ.get(SWITCH):
        return None
    with _MAKING:
        if not _nurseries:
            _nurseries.append(Nursery(environment))
        return _nurseries[0]


def close_the_nursery() -> None:
    """End it, at the end of all tests of this process."""
    while _nurseries:
        _nurseries.pop().close()


# --- the side of the helper -------------------------------------------------------------------------------------------


class _Measuring:
    """The coverage of the helper and of its children, gathered in memory."""

    def __init__(self, configuration: str | None) -> None:
        self._found: dict[str, set[tuple[int, int]]] = {}
        self._coverage: Any = None
        if configuration is None:
            return
        from coverage import Coverage
        from coverage.control import CONFIG_DATA_PREFIX

        self._coverage = Coverage(data_file=None, config_file=f"{CONFIG_DATA_PREFIX}{configuration}")
        self._coverage.set_option("run:disable_warnings", ["no-data-collected", "module-not-imported"])

    def start(self) -> None:
        if self._coverage is not None:
            self._coverage.start()

    def stop(self) -> bytes:
        """Stop, and return what was measured since the start."""
        if self._coverage is None:
            return b""
        self._coverage.stop()
        data = self._coverage.get_data()
        return marshal.dumps({name: data.arcs(name) or [] for name in data.measured_files()})

    def add(self, told: bytes) -> None:
        """Add what a child has told; one that was killed has told nothing, or half of it."""
        with contextlib.suppress(EOFError, ValueError, TypeError):
            for name, arcs in marshal.loads(told).items():
                self._found.setdefault(name, set()).update(arcs)

    def write(self) -> None:
        """Write one file of data, beside those of the processes that measure themselves."""
        if self._coverage is None:
            return
        from coverage import CoverageData

        data = CoverageData(basename=self._coverage.get_option("run:data_file"), suffix=True)
        data.add_arcs(self._found)
        data.write()


class _Child:
    """A command that runs: its process, the connection to who asked for it, and what it tells at its end."""

    def __init__(self, process: int, line: int, asked: socket.socket) -> None:
        self.process = process
        self.line = line
        self.asked = asked
        self.told = bytearray()


class _Helper:
    """The loop that forks; in a child, `serve` returns what to run."""

    def __init__(self, control: socket.socket, package: str, added: Mapping[str, str], measuring: _Measuring) -> None:
        self._control = control
        self._package = package
        self._added = added
        self._measuring = measuring
        self._selector = selectors.DefaultSelector()
        self._selector.register(control, selectors.EVENT_READ, self._asked)
        self._children: dict[int, _Child] = {}
        self._told: int | None = None
        self._order: list[str] | None = None
        # Registered after coverage's own, and before all that a library may add: runs after the latter.
        atexit.register(self._tell)

    def serve(self) -> list[str] | None:
        """Fork whenever asked; return the arguments in a child, and None when nobody will ask any more."""
        while self._selector.get_map():
            for key, _ in self._selector.select():
                if self._selector.get_map().get(key.fileobj) is key:  # else an event before has settled it
                    key.data()
                if self._order is not None:
                    return self._order
        return None

    def _asked(self) -> None:
        mark, descriptors, _, _ = socket.recv_fds(self._control, 1, 3)
        if not mark:  # the tests are done, or were killed
            self._selector.unregister(self._control)
            return
        asked = socket.socket(fileno=descriptors[0])
        order = json.loads(_exactly(asked, _LENGTH.unpack(_exactly(asked, _LENGTH.size))[0]))
        reading, writing = os.pipe()
        process = os.fork()
        if process == 0:
            os.close(reading)
            self._told = writing
            self._become(asked, descriptors[1:], *order)
            return
        for each in (writing, *descriptors[1:]):
            os.close(each)
        child = self._children[process] = _Child(process, reading, asked)
        self._selector.register(reading, selectors.EVENT_READ, lambda: self._listen(child))
        self._selector.register(asked, selectors.EVENT_READ, lambda: self._abandon(child))

    def _become(
        self, asked: socket.socket, streams: list[int], arguments: list[str], folder: str, environment: dict[str, str]
    ) -> None:
        """Make this fork the process that was asked for."""
        for number, stream in enumerate(streams, 1):
            os.dup2(stream, number)
            os.close(stream)
        for other in self._children.values():
            other.asked.close()
            os.close(other.line)
        self._selector.close()
        self._control.close()
        asked.close()
        os.environ.clear()
        os.environ.update({**environment, **self._added})
        os.chdir(folder)
        sys.path[0] = str(Path.cwd())
        sys.argv[1:] = arguments
        sys.orig_argv[1:] = ["-m", self._package, *arguments]
        self._order = arguments

    def _tell(self) -> None:
        if self._told is None:
            return
        with open(self._told, "wb") as line, contextlib.suppress(BrokenPipeError):  # noqa: PTH123 - a descriptor
            line.write(self._measuring.stop())

    def _listen(self, child: _Child) -> None:
        """Hear what a child tells; at the end of it, the child is at its own."""
        if some := os.read(child.line, 1 << 20):
            child.told += some
            return
        self._selector.unregister(child.line)
        self._forsake(child)
        os.close(child.line)
        del self._children[child.process]
        _, status = os.waitpid(child.process, 0)
        with child.asked, contextlib.suppress(OSError):
            child.asked.sendall(_CODE.pack(os.waitstatus_to_exitcode(status)))
        self._measuring.add(bytes(child.told))

    def _abandon(self, child: _Child) -> None:
        """Kill a child for whom nobody waits any more."""
        self._forsake(child)
        os.kill(child.process, signal.SIGKILL)

    def _forsake(self, child: _Child) -> None:
        with contextlib.suppress(KeyError):
            self._selector.unregister(child.asked)


def _exactly(connection: socket.socket, size: int) -> bytes:
    read = connection.recv(size, socket.MSG_WAITALL)
    if len(read) != size:
        raise EOFError("an order has ended early")
    return read


def _load(name: str) -> None:
    """Load all modules of a package; a command loads most of them when it is called."""
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # as reconciler.__main__ does; a child starts without
    for found in pkgutil.walk_packages(importlib.import_module(name).__path__, f"{name}."):
        if not found.name.endswith("__main__"):
            with contextlib.suppress(Exception):  # what cannot be loaded is told by the command that needs it
                importlib.import_module(found.name)


def _help() -> None:
    """Be the helper; in a child, be the command."""
    control = socket.socket(fileno=int(sys.argv[1]))
    package, given = sys.argv[2], json.loads(sys.argv[3])
    added = {name: value for name, value in os.environ.items() if name not in given}  # by the interpreter: LC_CTYPE
    measuring = _Measuring(given.get("COVERAGE_PROCESS_CONFIG"))
    measuring.start()
    helper = _Helper(control, package, added, measuring)
    _load(package)
    measuring.add(measuring.stop())
    gc.collect()
    gc.freeze()  # a collector that looks through these would copy them, in each child
    control.sendall(_READY)
    order = None
    with contextlib.suppress(KeyboardInterrupt):  # who ends the tests ends the helper
        order = helper.serve()
    if order is None:
        measuring.write()
        return
    measuring.start()
    try:
        runpy.run_module(package, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if isinstance(end.code, int):
            _end(end.code)
        raise


def _end(code: int) -> None:
    """End as the interpreter does, but for what takes it half of its time: to take everything loaded apart.

    Returns where standard output cannot be flushed: the interpreter says so, and has a code for it.
    """
    threading._shutdown()
    atexit._run_exitfuncs()
    gc.collect()  # what has a last word says it
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError):
        return
    os._exit(code & 0xFF)


if __name__ == "__main__":
    _help()
