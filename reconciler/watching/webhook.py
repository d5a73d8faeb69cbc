"""Who is told when drift appears and when it is gone: one URL, which is a secret, and one small JSON object.

Nothing is sent anywhere but to that URL: no redirect is followed, no proxy asked, and no credential of the target goes
along. How long a delivery takes is bounded, whatever the other side does.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import signal
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from reconciler import __version__
from reconciler.addresses import is_allowed, is_loopback
from reconciler.watching.course import NAMED

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping

    from reconciler.watching.course import Run

ATTEMPTS = 3
"""Calls of one delivery, at most; the next run tries again."""
PATIENCE = 5.0
"""Seconds that one call may take, altogether."""
BETWEEN = 0.5
"""Seconds before the second attempt; each further one waits twice as long."""

_URL = re.compile(r"[\x21-\x7e]+")


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

    `told`: what it was told last. An event that does not get through is tried again after the next run, unless what it
    tells is over by then.
    """

    deliver: Callable[[Mapping[str, object]], None]
    told: bool = False
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
        return True

    def _kept(self, drift: bool) -> Mapping[str, object] | None:  # noqa: FBT001 - a fact
        return self._due[1] if self._due is not None and self._due[0] == drift else None


def deliver(
    hook: Hook,
    content: Mapping[str, object],
    *,
    trust: Callable[[], ssl.SSLContext],
    wait: Callable[[float], bool],
) -> None:
    """Send an event, some times where that may help. Raises `Undelivered`.

    `trust` makes what a certificate is held against. `wait` waits so many seconds, and tells whether to go on.
    """
    body = json.dumps(content).encode("ascii")
    for attempt in range(ATTEMPTS):
        try:
            return _bounded(hook, body, trust)
        except Undelivered as error:
            last = attempt == ATTEMPTS - 1
            if last or not error.passing or not wait(BETWEEN * 2**attempt):
                raise
    return None


def _bounded(hook: Hook, body: bytes, trust: Callable[[], ssl.SSLContext]) -> None:
    """Make one call in a thread that is waited for no longer than agreed: a lookup of a name cannot be broken off."""
    ended: list[Undelivered | None] = []
    connection = list[http.client.HTTPConnection]()

    def call() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
        try:
            _call(hook, body, trust, connection)
            ended.append(None)
        except Undelivered as error:
            ended.append(error)
        except Exception as error:  # noqa: BLE001 - of any kind: its text may hold the URL, its class does not
            ended.append(Undelivered(_reason(error)))

    thread = threading.Thread(target=call, name="webhook", daemon=True)
    thread.start()
    thread.join(PATIENCE)
    if thread.is_alive() and not ended:
        for one in connection:  # late is as good as never: it will be sent again
            with contextlib.suppress(Exception):
                one.sock.close()
        raise Undelivered(f"no answer within {PATIENCE:g} s")
    if ended[0] is not None:
        raise ended[0]


def _call(
    hook: Hook, body: bytes, trust: Callable[[], ssl.SSLContext], opened: list[http.client.HTTPConnection]
) -> None:
    if hook.tls:
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(
            hook.host, hook.port, timeout=PATIENCE, context=trust()
        )
    else:
        connection = http.client.HTTPConnection(hook.host, hook.port, timeout=PATIENCE)
    opened.append(connection)
    with contextlib.closing(connection):
        headers = {"Content-Type": "application/json", "User-Agent": f"reconciler/{__version__}"}
        connection.request("POST", hook.path, body, {**headers, "Connection": "close"})
        status = connection.getresponse().status
    if 300 <= status < 400:
        raise Undelivered(f"it answers with {status}, and no redirect is followed", passing=False)
    if status >= 400:
        raise Undelivered(f"it answers with {status}", passing=status in {408, 425, 429} or status >= 500)


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {PATIENCE:g} s"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return type(error).__name__
