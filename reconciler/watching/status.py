"""The HTTP server that shows a watch: a few pages, for reading alone, to a few callers at a time.

It runs in threads of its own, so that no caller holds up the work; who is slow is given up, who is too many is sent
away. There is no file behind it: what is asked for is a row of a table, or it is not there.
"""

from __future__ import annotations

import contextlib
import re
import signal
import socket
import threading
import time
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Self, TypeAlias

from reconciler.addresses import is_loopback, is_loopback_address
from reconciler.errors import ReconcilerError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import TracebackType

CALLERS = 16
"""Callers at a time; one more is sent away."""
PATIENCE = 5.0
"""Seconds without a byte after which a caller is given up."""
WHOLE = 15.0
"""Seconds that an exchange may take altogether."""
NOTHING = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
"""The policy of what shows nothing but itself."""
TEXT = "text/plain; charset=utf-8"

_LOOK = 0.25
"""Seconds between two looks for callers that take too long."""
_ADDRESS = re.compile(r"(?:(?:\[(?P<six>[0-9a-fA-F:.]+)\]|(?P<four>[0-9.]+|localhost))?:)?(?P<port>\d{1,5})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Place:
    """Where to listen."""

    host: str
    port: int

    @property
    def private(self) -> bool:
        """Tell whether nobody but this machine can reach it."""
        return is_loopback_address(self.host)

    @property
    def url(self) -> str:
        """Return the URL of it."""
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}/"


def parse_place(text: str) -> Place:
    """Return where `127.0.0.1:9464`, `[::1]:9464`, `localhost:9464` or `9464` (loopback) says; raises `ValueError`."""
    found = _ADDRESS.fullmatch(text.strip())
    if found is None:
        raise ValueError("write ADDRESS:PORT, such as 127.0.0.1:9464, or none")
    port = int(found["port"])
    host = found["six"] or found["four"] or "127.0.0.1"
    host = "127.0.0.1" if host == "localhost" else host
    try:
        family = socket.AF_INET6 if found["six"] else socket.AF_INET
        socket.inet_pton(family, host)
    except OSError:
        raise ValueError(f"{host} is no address; a name will not do, but for localhost") from None
    if port > 65535:
        raise ValueError(f"{port} is no port; it is 65535 at most")
    return Place(host, port)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a caller gets."""

    content: str | bytes
    status: int = 200
    media: str = TEXT
    policy: str = NOTHING


Page: TypeAlias = "Callable[[str], Answer]"
"""Makes the answer to whoever accepts so much (the `Accept` header)."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64
    allow_reuse_address = True

    def __init__(self, place: Place, pages: Mapping[str, Page]) -> None:
        self.pages = pages
        self.private = place.private
        self._callers: dict[socket.socket, float] = {}
        self._lock = threading.Lock()
        self.address_family = socket.AF_INET6 if ":" in place.host else socket.AF_INET
        super().__init__((place.host, place.port), _Desk)

    def server_bind(self) -> None:
        """Take the port; without asking anybody for the name of this machine, which may take long."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def process_request(self, request: object, client_address: object) -> None:
        """Give a caller a thread, or send it away."""
        assert isinstance(request, socket.socket)  # noqa: S101 - no datagrams here
        with self._lock:
            room = len(self._callers) < CALLERS
            if room:
                self._callers[request] = time.monotonic()
        if room:
            super().process_request(request, client_address)
            return
        with contextlib.suppress(OSError):
            request.setblocking(False)
            request.send(b"HTTP/1.0 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        self.shutdown_request(request)

    def shutdown_request(self, request: object) -> None:
        """Forget a caller that is done."""
        assert isinstance(request, socket.socket)  # noqa: S101 - no datagrams here
        with self._lock:
            self._callers.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Give up the callers that take too long, however busily they do it."""
        self.give_up(time.monotonic() - WHOLE)

    def give_up(self, since: float) -> None:
        """Give up the callers that came before this moment of the steady clock."""
        with self._lock:
            overdue = [each for each, begun in self._callers.items() if begun <= since]
        for each in overdue:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def handle_error(self, *_: object) -> None:
        """Say nothing about a caller that went away."""


class _Desk(BaseHTTPRequestHandler):
    server: _Server
    timeout = PATIENCE
    # One exchange for each connection: nobody keeps a thread by saying nothing.
    protocol_version = "HTTP/1.0"

    def do_GET(self) -> None:
        self._respond(self._answer())

    do_HEAD = do_GET  # noqa: N815 - the name is the standard library's

    def _answer(self) -> Answer:
        if self.server.private and not self._is_meant():
            return Answer("this page answers to the names of this machine alone\n", HTTPStatus.FORBIDDEN)
        page = self.server.pages.get(self.path.partition("?")[0])
        if page is None:
            return Answer("there is no such page\n", HTTPStatus.NOT_FOUND)
        try:
            return page(self.headers.get("Accept") or "")
        except Exception:  # noqa: BLE001 - a mistake of ours must neither end the server nor show a trace
            return Answer("internal error\n", HTTPStatus.INTERNAL_SERVER_ERROR)

    def _is_meant(self) -> bool:
        """Tell whether the caller asked for this machine by one of its own names.

        A page of a stranger may have its own name lead here (DNS rebinding); then it says that name.
        """
        told = self.headers.get_all("Host") or []
        found = re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[^:\[\]/@\s]+)(?::\d{1,5})?", told[0].strip()) if told else None
        return len(told) == 1 and found is not None and is_loopback(found[1].strip("[]").lower())

    def _respond(self, answer: Answer) -> None:
        body = answer.content if isinstance(answer.content, bytes) else answer.content.encode("utf-8", "replace")
        self.send_response(answer.status)
        headers = {
            "Content-Type": answer.media,
            "Content-Length": str(len(body)),
            "Content-Security-Policy": answer.policy,
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Cache-Control": "no-store",
            "Connection": "close",
        }
        if answer.status == HTTPStatus.METHOD_NOT_ALLOWED:
            headers["Allow"] = "GET, HEAD"
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:  # noqa: ARG002
        """Answer what is no request for a page; what was sent is not repeated."""
        status = HTTPStatus.METHOD_NOT_ALLOWED if code == HTTPStatus.NOT_IMPLEMENTED else HTTPStatus(code)
        self.request_version = self.protocol_version  # what cannot be read counts as HTTP/0.9, which has no head
        self.command = getattr(self, "command", None) or "GET"
        self._respond(Answer(f"{status.phrase.lower()}\n", status))

    def version_string(self) -> str:
        """Return who answers; nothing of what it is made of."""
        return "reconciler"

    def log_message(self, *_: object) -> None:
        """Keep callers out of the log."""


class StatusServer:
    """The pages of a watch behind a socket, from the beginning of a context to its end."""

    def __init__(self, place: Place, pages: Mapping[str, Page]) -> None:
        """Take the port. Raises `ReconcilerError` where that is not possible."""
        try:
            self._server = _Server(place, pages)
        except OSError as error:
            reason = error.strerror or str(error)
            raise ReconcilerError(
                f"cannot listen on {place.host}:{place.port} ({reason}); --listen names another port, or none"
            ) from error
        self.place = Place(place.host, self._server.server_port)
        self._thread = threading.Thread(target=self._serve, name="status page", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.give_up(time.monotonic())
        self._server.server_close()

    def _serve(self) -> None:
        # Signals are for the thread that works; one that is taken here while it ignores them would be lost.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
        self._server.serve_forever(_LOOK)


@contextlib.contextmanager
def serving(place: Place | None, pages: Mapping[str, Page]) -> Iterator[Place | None]:
    """Serve the pages within this context, and give where; nowhere for `None`."""
    if place is None:
        yield None
        return
    with StatusServer(place, pages) as server:
        yield server.place
