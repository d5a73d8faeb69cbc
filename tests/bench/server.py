"""A server that is faster than its clients: HTTP/1.1 by hand on one asyncio protocol, threads in memory.

    python -m bench.server THREADS CHANGED LATENCY

Serves THREADS threads, of which the first CHANGED differ from what is declared, on a free port of loopback; every
answer waits for LATENCY seconds. Prints the port, and ends with its standard input. It understands what the clients
that are measured send, and nothing else; `GET /counts` tells what it was asked so far, and what that took.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from functools import partial

try:
    from uvloop import run
except ImportError:  # slower, but as good where nothing is measured
    from asyncio import run

from .corpus import observed, thread_id

HOST = "127.0.0.1"
COUNTS = b"/counts"
_END = b"\r\n\r\n"
_LENGTH = b"content-length:"


class Threads:
    """The threads that exist, the bytes of the answers about them (made beforehand), and what was asked so far."""

    def __init__(self, count: int, changed: int) -> None:
        self._held = {thread_id(number): observed(number, changed=number < changed) for number in range(count)}
        self._answers = {name: _answer(name, held) for name, held in self._held.items()}
        self._reads = self._writes = 0

    def answer(self, method: bytes, path: bytes, body: bytes) -> bytes:
        """Return the answer to a request."""
        if path == COUNTS:
            return self._counts()
        name = path.rpartition(b"/")[2].decode()
        if method == b"GET":
            self._reads += 1
        else:
            self._writes += 1
            self._merge(name, body)
        return self._answers.get(name) or _unknown(name)

    def _merge(self, name: str, body: bytes) -> None:
        """Take over the pairs that were sent, and keep the others, as the vendor does with threads."""
        if name in self._held:
            self._held[name] |= json.loads(body)["metadata"]
            self._answers[name] = _answer(name, self._held[name])

    def _counts(self) -> bytes:
        counts = {"reads": self._reads, "writes": self._writes, "cpu": time.process_time()}
        return _http(b"200 OK", json.dumps(counts).encode())


def _answer(name: str, held: dict[str, str]) -> bytes:
    thread = {"id": name, "object": "thread", "created_at": 1_750_000_000, "metadata": held, "tool_resources": {}}
    return _http(b"200 OK", json.dumps(thread).encode())


def _unknown(name: str) -> bytes:
    error = {"error": {"message": f"No thread found with id '{name}'.", "type": "invalid_request_error"}}
    return _http(b"404 Not Found", json.dumps(error).encode())


def _http(status: bytes, body: bytes) -> bytes:
    return b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body)


class Exchange(asyncio.Protocol):
    """One connection, kept open; requests may arrive in pieces."""

    def __init__(self, threads: Threads, latency: float) -> None:
        self._threads = threads
        self._latency = latency
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (end := self._received.find(_END)) >= 0:
            head, rest = self._received[:end], self._received[end + len(_END) :]
            length = _length(head)
            if len(rest) < length:
                return
            self._received = rest[length:]
            self._answer(head, rest[:length])

    def _answer(self, head: bytes, body: bytes) -> None:
        method, path, _ = head.split(b" ", 2)
        answer = self._threads.answer(method, path, body)
        if self._latency:
            asyncio.get_running_loop().call_later(self._latency, self._transport.write, answer)
        else:
            self._transport.write(answer)


def _length(head: bytes) -> int:
    lower = head.lower()
    at = lower.find(_LENGTH)
    return int(lower[at + len(_LENGTH) :].split(b"\r\n", 1)[0]) if at >= 0 else 0


async def serve(threads: Threads, latency: float) -> None:
    """Serve until standard input ends."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(partial(Exchange, threads, latency), HOST, 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    count, differing, seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    run(serve(Threads(count, differing), seconds))
