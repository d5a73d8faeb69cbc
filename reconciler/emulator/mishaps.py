"""What can go wrong on the way, on purpose: which request meets which mishap, and what its caller then sees.

Pure, like the service: chance comes out of a hash of the seed, the call and how often that call was made, so
that the same seed brings the same mishaps in whatever order parallel calls arrive.
"""

from __future__ import annotations

import enum
import json
from dataclasses import dataclass, replace
from hashlib import blake2b
from types import MappingProxyType
from typing import TYPE_CHECKING

from reconciler.emulator.maps import envelope
from reconciler.emulator.service import Behaviour, Request, Response, Store, handle, respond
from reconciler.kinds import KINDS
from reconciler.model import matches

if TYPE_CHECKING:
    from collections.abc import Mapping


class Mishap(enum.StrEnum):
    """What befalls a request. The first four keep it from being carried out, under the others it was.

    `OLD`: the answer to a write shows the object as a read just before it would have. Reads that lag behind writes are
    no mishap of one call: `store.LaggingStore` brings them about.
    """

    RATE_LIMITED = "429"
    FAILED = "500"
    OVERLOADED = "503"
    RESET_BEFORE = "reset-before"
    RESET_AFTER = "reset-after"
    HTML = "html"
    TRUNCATED = "truncated"
    EMPTY = "empty"
    FIELDLESS = "fieldless"
    OLD = "old"


@dataclass(frozen=True, slots=True)
class MishapRule:
    """One mishap for some calls: with this probability, of these methods (none named: all), on paths like these.

    `paths` are globs on the whole path (none: all); `first` spares a call that was made that often before, so
    that a repeated one succeeds.
    """

    mishap: Mishap
    probability: float = 1.0
    methods: frozenset[str] = frozenset()
    paths: tuple[str, ...] = ()
    first: int | None = None

    def concerns(self, request: Request, occurrence: int) -> bool:
        """Tell whether the rule is about this call, made `occurrence` times before."""
        return (
            (not self.methods or request.method in self.methods)
            and (not self.paths or matches(request.path, self.paths))
            and (self.first is None or occurrence < self.first)
        )


@dataclass(frozen=True, slots=True)
class Mishaps:
    """All that is done to the calls of one server: mishaps, and a latency (milliseconds) for every answer.

    `retry_after` (seconds) is what a 429 carries in `Retry-After`; with `None` it has no such header.
    """

    rules: tuple[MishapRule, ...] = ()
    latency: float = 0
    retry_after: float | None = 1
    seed: int = 0

    def choose(self, request: Request, occurrence: int, draw: float) -> Mishap | None:
        """Return what a draw from [0, 1) brings to a call: each rule about it owns a stretch of that range."""
        below = 0.0
        for rule in self.rules:
            if rule.concerns(request, occurrence):
                below += rule.probability
                if draw < below:
                    return rule.mishap
        return None

    def draw(self, request: Request, occurrence: int) -> float:
        """Return the number in [0, 1) that the seed gives to a call, made `occurrence` times before."""
        named = f"{self.seed} {request.method} {request.path} {occurrence}".encode(errors="surrogateescape")
        return int.from_bytes(blake2b(named, digest_size=6).digest()) / 2**48


NO_MISHAPS = Mishaps()


def answer(store: Store, request: Request, behaviour: Behaviour, mishaps: Mishaps, occurrence: int) -> Response:
    """Answer one request as `service.handle` does, with what the mishaps do to it."""
    mishap = mishaps.choose(request, occurrence, mishaps.draw(request, occurrence)) if mishaps.rules else None
    if mishap is None:
        return handle(store, request, behaviour)
    if mishap in _REFUSALS:
        status, payload = _REFUSALS[mishap]
        hint = mishap is Mishap.RATE_LIMITED and mishaps.retry_after is not None
        return respond(behaviour, status, payload, {"retry-after": f"{mishaps.retry_after:g}"} if hint else None)
    if mishap is Mishap.RESET_BEFORE:
        return _LOST
    if mishap is Mishap.OLD:
        return _outdated(store, request, behaviour)
    return _spoiled(handle(store, request, behaviour), mishap)


def _outdated(store: Store, request: Request, behaviour: Behaviour) -> Response:
    """Carry out a request, and answer a write that is taken with what was to be read before it."""
    if request.method != "POST":
        return handle(store, request, behaviour)
    before = handle(store, replace(request, method="GET", body=b""), behaviour)
    response = handle(store, request, behaviour)
    one = response.status == before.status == 200 and "data" not in json.loads(before.body)
    return before if one else response


_LOST = Response(0, {}, b"", lost=True)
_HTML = b"<!doctype html><html><head><title>One moment</title></head><body>The service is waking up.</body></html>"
_FIELDS = frozenset(row.field for row in KINDS.values())
_REFUSALS: Mapping[Mishap, tuple[int, object]] = MappingProxyType(
    {
        Mishap.RATE_LIMITED: (
            429,
            envelope("Rate limit reached for requests.", "rate_limit_exceeded", kind="requests"),
        ),
        Mishap.FAILED: (
            500,
            envelope("The server had an error while processing the request.", None, kind="server_error"),
        ),
        Mishap.OVERLOADED: (503, envelope("The server is overloaded.", "server_is_overloaded", kind="server_error")),
    }
)


def _spoiled(response: Response, mishap: Mishap) -> Response:
    """Return what is left of an answer; it keeps its status, except where a page takes its place."""
    if mishap is Mishap.RESET_AFTER:
        return _LOST
    if mishap is Mishap.HTML:
        return Response(200, {**response.headers, "content-type": "text/html; charset=utf-8"}, _HTML)
    if mishap is Mishap.TRUNCATED:
        return replace(response, body=response.body[: len(response.body) // 2])
    return replace(response, body=b"" if mishap is Mishap.EMPTY else _without_field(response.body))


def _without_field(body: bytes) -> bytes:
    return json.dumps({name: value for name, value in json.loads(body).items() if name not in _FIELDS}).encode()
