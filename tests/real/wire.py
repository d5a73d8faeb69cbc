"""A door in front of a server: every byte passes unchanged, and the calls that pass are written down.

What a server receives is counted here, not by the word of the tool that is tested.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

HEAD_ENDS = b"\r\n\r\n"
PIECE = 65536


@dataclass(frozen=True)
class Passed:
    """A call that passed: method, path, and the body as parsed JSON."""

    method: str
    path: str
    body: Any


class Wire:
    """What passed through the door since it was last asked."""

    def __init__(self) -> None:
        self._passed: list[Passed] = []
        self._lock = threading.Lock()

    def note(self, passed: Passed) -> None:
        """Write down one call."""
        with self._lock:
            self._passed.append(passed)

    def taken(self, method: str = "POST") -> list[Passed]:
        """Return the calls of a method since the last time that anybody asked; all of them are forgotten."""
        with self._lock:
            taken, self._passed = self._passed, []
        return [call for call in taken if call.method == method]


@contextlib.contextmanager
def opened(wire: Wire, port: int) -> Iterator[int]:
    """Let everything pass to a port of loopback; gives the port of the door."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as door:
        guard = threading.Thread(target=_guard, args=(wire, door, port))
        guard.start()
        try:
            yield door.getsockname()[1]
        finally:
            door.shutdown(socket.SHUT_RDWR)  # wakes who waits for a caller
            guard.join()


def _guard(wire: Wire, door: socket.socket, port: int) -> None:
    pumps: list[threading.Thread] = []
    with contextlib.ExitStack() as ends:
        while True:
            try:
                caller, _ = door.accept()
            except OSError:
                break
            ends.enter_context(caller)
            try:
                server = ends.enter_context(socket.create_connection(("127.0.0.1", port)))
            except OSError:
                caller.close()  # the server is gone, and its caller shall see that at once
                continue
            for work in ((_pump, caller, server, _Calls(wire)), (_pump, server, caller, None)):
                pumps.append(threading.Thread(target=work[0], args=work[1:]))
                pumps[-1].start()
        for pump in pumps:
            pump.join()


def _pump(source: socket.socket, sink: socket.socket, calls: _Calls | None) -> None:
    """Carry bytes one way until that side ends, or either breaks."""
    with contextlib.suppress(OSError):
        while piece := source.recv(PIECE):
            if calls is not None:
                calls.feed(piece)
            sink.sendall(piece)
    # Both directions: whoever still waits at the other end learns that nothing more will come.
    for side in (sink, source):
        with contextlib.suppress(OSError):
            side.shutdown(socket.SHUT_RDWR)


class _Calls:
    """Takes the calls of one connection out of its bytes; bodies have a `content-length`, as ours do."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._unread = b""

    def feed(self, piece: bytes) -> None:
        """Write down every call that is complete now."""
        self._unread += piece
        while HEAD_ENDS in self._unread:
            head, _, rest = self._unread.partition(HEAD_ENDS)
            first, *lines = head.decode("ascii").split("\r\n")
            headers = {
                name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
            }
            length = int(headers.get("content-length", "0"))
            if len(rest) < length:
                return
            method, path, _ = first.split(" ")
            self._wire.note(Passed(method, path, json.loads(rest[:length]) if length else None))
            self._unread = rest[length:]
