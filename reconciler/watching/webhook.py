"""Who is told when drift appears and when it is gone: one URL, which is a secret, and one small JSON object.

Nothing is sent anywhere but to that URL: no redirect is followed, and no credential of the target goes along. A proxy
may be on the way, which is told the host and sees bytes under TLS. How long a delivery takes is bounded, whatever the
other side does.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import signal
import socket
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

from reconciler import __version__
from reconciler.addresses import is_allowed, is_loopback
from reconciler.errors import InvalidInput
from reconciler.watching.course import NAMED

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping

    from reconciler.watching.course import Run

ATTEMPTS = 3
"""Calls of one delivery, at most; the next run tries again."""
PATIENCE = 5.0
"""Seconds that one call may take, altogether."""
LAST = 0.3
"""Seconds that a call may take once the end is wished for."""
BETWEEN = 0.5
"""Seconds before the second attempt; each further one waits twice as long."""

_LOOK = 0.05
"""Seconds between two looks whether to go on."""
_URL = re.compile(r"[\x21-\x7e]+")
_NO_TUNNEL = re.compile(r"Tunnel connection failed: ([0-9]{3})\b")
"""How http.client says what a proxy has answered; what follows is the proxy's own words."""


class UnfitUrl(ValueError):
    """The URL of a webhook must not be used; the message does not repeat it."""


class Undelivered(Exception):
    """A call did not arrive; the message has no part of the URL. `passing`: another attempt may help."""

    def __init__(self, message: str, *, passing: bool = True) -> None:
        super().__init__(message)
        self.passing = passing


@dataclass(frozen=True, slots=True)
class Hook:
    """Where events go. Its URL is a secret, so that it is not shown."""

    host: str
    port: int | None
    tls: bool
    path: str = field(repr=False)

    @property
    def origin(self) -> str:
        """Return scheme, host and port as a URL, which is no secret."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}{f':{self.port}' if self.port else ''}"


class Proxy(Protocol):
    """A proxy on the way (see `gateway.proxies`); what `authorization` says is a secret for it alone."""

    @property
    def scheme(self) -> str:
        """`http` or `https`: how it is talked to."""

    @property
    def host(self) -> str:
        """Its name or address."""

    @property
    def port(self) -> int:
        """Its port."""

    @property
    def authorization(self) -> str | None:
        """What its header says of user and password."""

    @property
    def place(self) -> str:
        """Host and port, as people are told."""


def parse_hook(url: str, allowed: str | None) -> Hook:
    """Return the webhook at a URL; raises `UnfitUrl`. `allowed`: the hosts that may be talked to, `None` for any."""
    url = url.strip()
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise UnfitUrl("it is no URL") from None
    if not _URL.fullmatch(url) or parts.scheme not in {"http", "https"} or not host:
        raise UnfitUrl("it is no URL that begins with https:// and a host")
    if "@" in parts.netloc:
        raise UnfitUrl("it holds a user or a password; put what is secret into the path or the query")
    if parts.scheme == "http" and not is_loopback(host):
        raise UnfitUrl("it is plain http to another machine: use https")
    if allowed is not None and not is_allowed(f"{parts.scheme}://{parts.netloc}", allowed):
        raise UnfitUrl("its host is none of those that RECONCILER_ALLOWED_HOSTS allows: nothing is sent there")
    path = f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}"
    return Hook(host, port, parts.scheme == "https", path)


def event(run: Run, target: str, time: str) -> Mapping[str, object]:
    """Return what is told of a run that found drift, or found it gone. No values are in it."""
    document, appeared = run.document, bool(run.drift)
    counts = dict(run.changes or {})
    found = ", ".join(f"{count} {cause}" for cause, count in counts.items() if count)
    more = f": {', '.join(run.moved)}{' and more' if len(run.moved) == NAMED else ''}" if run.moved else ""
    text = f"Drift on target {target} ({found or 'resources are gone'}){more}" if appeared else f"No drift on {target}"
    return {
        "event": "drift_appeared" if appeared else "drift_gone",
        "target": target,
        "time": time,
        "causes": counts,
        "resources": list(run.moved),
        "head": {"commit": document.head.commit, "dirty": document.head.dirty},
        "base": {"revision": document.base.revision, "commit": document.base.commit},
        "text": text,
        "tool_version": __version__,
    }


@dataclass(slots=True)
class Messenger:
    """Tells a webhook when drift appears and when it is gone: once for each change, however long that takes.

    `told`: what it was told last; `keep` puts that where the next watch finds it. An event that does not get through
    is tried again after the next run, unless what it tells is over by then.
    """

    deliver: Callable[[Mapping[str, object]], None]
    told: bool = False
    keep: Callable[[bool], None] = lambda _: None
    _due: tuple[bool, Mapping[str, object]] | None = None

    def after(self, drift: bool | None, make: Callable[[], Mapping[str, object]]) -> bool | None:  # noqa: FBT001 - a fact
        """Tell what a run has changed; `drift` is `None` where it could not see. Returns `None` where nothing is due.

        Else whether it was delivered is what follows: `True`, or `Undelivered` is raised.
        """
        if drift is not None:
            self._due = None if drift == self.told else (drift, self._kept(drift) or make())
        if self._due is None:
            return None
        self.deliver(self._due[1])
        self.told, self._due = self._due[0], None
        self.keep(self.told)
        return True

    def _kept(self, drift: bool) -> Mapping[str, object] | None:  # noqa: FBT001 - a fact
        return self._due[1] if self._due is not None and self._due[0] == drift else None


@dataclass(slots=True)
class Sender:
    """Sends events to a webhook, one call at a time.

    `trust` makes what a certificate is held against. `wait` waits so many seconds, and tells whether to go on. A
    `proxy` is for https alone.
    """

    hook: Hook
    trust: Callable[[], ssl.SSLContext]
    wait: Callable[[float], bool]
    proxy: Proxy | None = None
    _last: _Call | None = None

    def __call__(self, content: Mapping[str, object]) -> None:
        """Send an event, some times where that may help. Raises `Undelivered`."""
        body = json.dumps(content).encode("ascii")
        for attempt in range(ATTEMPTS):
            try:
                return self._send(body)
            except Undelivered as error:
                last = attempt == ATTEMPTS - 1
                if last or not error.passing or not self.wait(BETWEEN * 2**attempt):
                    raise
        return None

    def _send(self, body: bytes) -> None:
        """Make one call, and wait for it no longer than agreed: a lookup of a name cannot be broken off."""
        if self._last is not None and self._last.thread.is_alive():
            raise Undelivered("an earlier call has not ended yet")
        self._last = call = _Call(self.hook, body, self.trust, self.proxy)
        call.thread.start()
        begun, spent = time.monotonic(), 0.0
        while call.thread.is_alive() and spent < PATIENCE and (spent < LAST or self.wait(0)):
            call.thread.join(_LOOK)
            spent = time.monotonic() - begun
        if call.thread.is_alive():  # late is as good as never: it will be sent again
            call.end()
            raise Undelivered(f"no answer within {min(spent, PATIENCE):.1g} s")
        if call.error is not None:
            raise call.error


class _Call:
    """One call, in a thread of its own."""

    def __init__(self, hook: Hook, body: bytes, trust: Callable[[], ssl.SSLContext], proxy: Proxy | None) -> None:
        self.error: Undelivered | None = None
        self.thread = threading.Thread(target=self._run, args=(hook, body, trust, proxy), name="webhook", daemon=True)
        self._connection: http.client.HTTPConnection | None = None

    def end(self) -> None:
        """End it, as far as that is possible. Only closed, a socket would wake nobody who reads from it."""
        with contextlib.suppress(AttributeError, OSError):  # there is none yet, or it is gone
            self._connection.sock.shutdown(socket.SHUT_RDWR)  # type: ignore[union-attr]

    def _run(self, hook: Hook, body: bytes, trust: Callable[[], ssl.SSLContext], proxy: Proxy | None) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
        try:
            self._post(hook, body, trust, proxy)
        except Undelivered as error:
            self.error = error
        except Exception as error:  # noqa: BLE001 - of any kind: its text may hold the URL, its class does not
            self.error = Undelivered(_reason(error))

    def _post(self, hook: Hook, body: bytes, trust: Callable[[], ssl.SSLContext], proxy: Proxy | None) -> None:
        self._connection = connection = _connection(hook, trust, proxy)
        with contextlib.closing(connection):
            if hook.tls and proxy is not None:
                _tunnel(connection, proxy)
            headers = {"Content-Type": "application/json", "User-Agent": _AGENT}
            connection.request("POST", hook.path, body, {**headers, "Connection": "close"})
            _judge(connection.getresponse().status)


_AGENT = f"reconciler/{__version__}"


def _connection(hook: Hook, trust: Callable[[], ssl.SSLContext], proxy: Proxy | None) -> http.client.HTTPConnection:
    """Return a connection that is still to be made."""
    if not hook.tls:
        return http.client.HTTPConnection(hook.host, hook.port, timeout=PATIENCE)
    if proxy is None:
        return http.client.HTTPSConnection(hook.host, hook.port, timeout=PATIENCE, context=trust())
    if proxy.scheme != "http":
        # TLS within TLS is beyond http.client.
        raise Undelivered(f"the proxy {proxy.place} is an https:// one: name an http:// one", passing=False)
    connection = http.client.HTTPSConnection(proxy.host, proxy.port, timeout=PATIENCE, context=trust())
    authorization = {"Proxy-Authorization": proxy.authorization} if proxy.authorization else {}
    connection.set_tunnel(hook.host, hook.port or 443, {"User-Agent": _AGENT, **authorization})
    return connection


def _tunnel(connection: http.client.HTTPConnection, proxy: Proxy) -> None:
    """Connect through a proxy. Raises `Undelivered` with its place."""
    refusal = _refusal(connection, proxy)
    if refusal is not None:
        raise refusal


def _refusal(connection: http.client.HTTPConnection, proxy: Proxy) -> Undelivered | None:
    """Connect through a proxy; returns why that cannot be.

    What was raised is let go of here: in older Pythons it keeps the answer of the proxy open, and the socket with it.
    """
    try:
        connection.connect()
    except Exception as error:  # noqa: BLE001 - of any kind: it is told by its class
        refused = _NO_TUNNEL.match(str(error))
        if refused is None:
            return Undelivered(f"by the proxy {proxy.place}: {_reason(error)}")
        status = int(refused[1])
        return Undelivered(f"the proxy {proxy.place} answers with {status}", passing=_is_passing(status))
    return None


def _judge(status: int) -> None:
    if 300 <= status < 400:
        raise Undelivered(f"it answers with {status}, and no redirect is followed", passing=False)
    if status >= 400:
        raise Undelivered(f"it answers with {status}", passing=_is_passing(status))


def _is_passing(status: int) -> bool:
    return status in {408, 425, 429} or status >= 500


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {PATIENCE:g} s"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, InvalidInput):
        return str(error)  # of the environment, which has no part of the URL
    return type(error).__name__
