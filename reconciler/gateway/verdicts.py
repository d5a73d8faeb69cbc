"""What an answer means for one resource: a reading, what a write left behind, or a fault.

The hard question is a 404: does this server not serve the kind at all, or does it not know this one id? Taking the
first for the second would report that every thread is gone (API.md, "Where that operation lives today").
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from http import HTTPStatus
from types import MappingProxyType
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from reconciler.errors import ApiError, Fault, TargetRefused
from reconciler.gateway.answers import Unusable, complaint, echoes, metadata_of, page, parse, parse_object, presentable
from reconciler.kinds import KINDS
from reconciler.model import Missing, Observed, Unread

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from reconciler.gateway.answers import Answer, Secrets
    from reconciler.kinds import Kind
    from reconciler.model import Json, Reading, Ref

UNKNOWN = frozenset({404, 405, 410})
"""Statuses of which only the body tells whether the path or the object is unknown; a 405 always means the path."""
REFUSALS = frozenset({"unauthorized", "forbidden", "out_of_quota"})
"""Faults that every further read would repeat."""
FINAL_FOR_WRITES = REFUSALS | {"unserved"}
"""The same for writes, which follow a read that worked: then the server does not take POST at all."""

_CODES = {401: "unauthorized", 403: "forbidden", 408: "timeout", 429: "rate_limited"}
_ROUTER_OBJECTS = ({"detail": "Not Found"},)
"""What FastAPI says about a path that it has no route for, to the letter."""
_ROUTER_TEXTS = frozenset({"404 page not found", "404: not found", "404 not found", "not found"})
"""Plain texts of common routers (Go, aiohttp, nginx, Starlette)."""
_INVALID_URL = re.compile(r"Invalid URL \(|Cannot (?:GET|POST) /")
"""How OpenAI's own router and that of Express begin their messages about a path that they do not serve."""
_GONE = re.compile(r"not\W+found|no such|does(?:n.t| not) exist|unknown|no [\w ]+ found|deleted|expired", re.IGNORECASE)


CLASSIC, CLASSIC_UNTIL = "Azure AI Foundry (classic)", "2027-03-31"
"""Who serves the retired kinds for the longest, and until when (API.md)."""


def retirement(kind: Kind, host: str) -> Fault | None:
    """Return what there is to say of a kind that `host` has stopped serving, without asking it; `None` for others.

    Kinds with the same way on share one sentence, to the letter, so that a run tells it once.
    """
    if not kind.retired_at(host):
        return None
    alike = [row.plural for row in KINDS.values() if (row.retired, row.successor) == (kind.retired, kind.successor)]
    message = (
        f"{host.removesuffix('.')} retired {_listed(alike)} on {kind.retired}, so no call is made for them: "
        f"{_successor(kind, alike)}; {CLASSIC} serves them until {CLASSIC_UNTIL} (provider: azure-foundry), and so do "
        "compatible servers (base_url)."
    )
    return Fault("unserved", message)


def _successor(kind: Kind, alike: Sequence[str]) -> str:
    if kind.successor is None:
        return "they have no successor there"
    rewritten = " (`reconciler migrate` rewrites the manifests from threads to conversations)"
    return f"their successor there is {KINDS[kind.successor].plural}{rewritten if 'threads' in alike else ''}"


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


_RETIREMENT = re.compile(r"\S+ retired [a-z_, ]+ on \d{4}-\d{2}-\d{2}, so no call is made")


def tells_retirement(message: str) -> bool:
    """Tell whether a message is a diagnosis of `retirement`, which says itself what to do."""
    return _RETIREMENT.match(message) is not None


_COMPLAINTS = ("error", "detail", "message", "msg")
"""Fields in which servers complain."""
_DATES = ("created_at", "created")
"""Fields that objects have and complaints do not."""


class _Echoed(Exception):
    """The metadata of an answer holds our own credential: nothing of it may be kept, written or shown."""


@dataclass(frozen=True, slots=True)
class Judge:
    """Judges answers about resources of one kind at one host; `secret`, all of them, never shows in what it says."""

    kind: Kind
    host: str
    secret: str | Secrets = field(default="", repr=False)

    def reading(self, ref: Ref, answer: Answer) -> Reading:
        """Return what a GET found; raise `TargetRefused` for 401, 403 and a used up quota."""
        if 200 <= answer.status < 300:
            try:
                return self._observed(ref, answer)
            except Unusable as unusable:
                return Unread(self._fault("invalid_answer", f"The answer {unusable}.", answer))
            except _Echoed:
                return Unread(self._echoed(answer))
        fault = self.failure(ref, answer)
        if fault.code in REFUSALS:
            raise TargetRefused(fault)
        return Missing(fault) if fault.code == "missing" else Unread(fault)

    def written(self, ref: Ref, answer: Answer) -> Observed:
        """Return what a POST left behind, with `None` for its metadata where the answer does not say.

        Whatever a 2xx carries, the write may have happened: only another read can tell. Raise `TargetRefused` for
        401, 403, a used up quota and a path that is not served, `ApiError` for every other failure.
        """
        if 200 <= answer.status < 300:
            try:
                return self._observed(ref, answer)
            except Unusable:
                return Observed(None)
            except _Echoed:
                raise ApiError(self._echoed(answer)) from None
        fault = self.failure(ref, answer)
        raise (TargetRefused if fault.code in FINAL_FOR_WRITES else ApiError)(fault)

    def _observed(self, ref: Ref, answer: Answer) -> Observed:
        found = parse_object(answer.body)
        _check_identity(ref, self.kind, found)
        held = metadata_of(found, self.kind.field)
        if not held:
            # Taken for an empty map, anything else could be written over; one that is missing reads as empty as well
            # under the merge dialects.
            self._check_object(found, answer, held)
            _check_names(found, self.kind.field)
        if held and echoes(answer.body, held, self.secret):
            raise _Echoed
        return Observed(None if held is None else MappingProxyType(held))

    def _check_object(self, found: dict[str, Json], answer: Answer, held: dict[str, Json] | None) -> None:
        """Raise `Unusable` for what shows no pairs and is no object that is there: an error, what a deletion leaves."""
        told = found.get("object")
        if found.get("deleted") is True or (isinstance(told, str) and told.endswith(".deleted")):
            raise Unusable(f"says that the {self.kind.noun} is deleted")
        if told == "list":
            raise Unusable("is a list")
        nameless = found.get("id") is None
        if any(found.get(name) for name in (_COMPLAINTS if nameless else self._complaints(found, held))):
            raise Unusable(f"is an error in spite of its status: {complaint(answer.body).message}")
        if nameless and held is None:
            raise Unusable(f"shows neither `id` nor `{self.kind.field}`")

    def _complaints(self, found: dict[str, Json], held: dict[str, Json] | None) -> tuple[str, ...]:
        """Return the fields in which something with an id may complain: the more like an object it is, the fewer.

        Some kinds have an `error` of their own, and nobody knows what else a server adds to its objects.
        """
        told, dated = found.get("object"), any(found.get(name) for name in _DATES)
        names = {_letters(name) for name in (self.kind.object, self.kind.name, self.kind.noun)}
        if held is not None or (dated and isinstance(told, str) and _letters(told) in names):
            return ()
        return ("error",) if dated or (told and told != "error") else _COMPLAINTS

    def failure(self, ref: Ref, answer: Answer) -> Fault:
        """Return the fault for an answer outside 2xx."""
        status = answer.status
        if status in UNKNOWN:
            return self._unknown(ref, answer)
        if 300 <= status < 400:
            return self._fault("redirected", f"The API redirects ({status}) {_whither(answer.location)}.", answer)
        code = _CODES.get(status) or ("server_error" if status >= 500 else "rejected")
        if answer.spent:
            code = "out_of_quota"
        return self._fault(code, f"The API answered {status}: {_words(answer)}", answer)

    def _echoed(self, answer: Answer) -> Fault:
        message = f"The answer's `{self.kind.field}` holds the credential that was sent; its values are not looked at."
        return self._fault("credential_echoed", message, answer)

    def _unknown(self, ref: Ref, answer: Answer) -> Fault:
        sign = self._unserved_sign(answer)
        if sign:
            return self._fault("unserved", f"The server does not serve {self.kind.plural}: {sign}.", answer)
        if self._names_object(ref, answer):
            return self._fault("missing", f"The API knows no such {self.kind.noun}: {_words(answer)}", answer)
        doubt = f"the answer does not tell whether the path or the {self.kind.noun} is missing"
        return self._fault("missing", f"The API answered {answer.status}, {doubt}: {_words(answer)}", answer)

    def _unserved_sign(self, answer: Answer) -> str | None:
        if self.kind.retired_at(self.host):
            successor = f", its successor is {self.kind.successor}" if self.kind.successor else ""
            return f"{self.host} retired them on {self.kind.retired}{successor}"
        if answer.status == 405:
            return "it answered 405, method not allowed"
        body = answer.body.strip()
        if not body:
            return f"it answered {answer.status} with an empty body"
        if page(body):
            return f"it answered {answer.status} with {page(body)}"
        return f"it answered {answer.status}: {complaint(body).message}" if _from_router(body) else None

    def _names_object(self, ref: Ref, answer: Answer) -> bool:
        message = complaint(answer.body).message.casefold()
        if any(_mentions(message, segment.casefold()) for segment in ref.id.split("/")):
            return True
        names_kind = self.kind.noun in message or self.kind.name in message
        return names_kind and _GONE.search(message) is not None

    def _fault(self, code: str, message: str, answer: Answer) -> Fault:
        # A message repeats the server's words, a request id is the server's altogether: both are cleaned here, once.
        request_id = presentable(answer.request_id or "", self.secret, 128) or None
        return Fault(code, presentable(message, self.secret), answer.status, request_id)


def own_id(found: Mapping[str, Json], kind: Kind) -> str | None:
    """Return what an object calls itself; some servers name the property after the kind."""
    own = next((found[name] for name in ("id", f"{kind.name}_id") if found.get(name) not in (None, "")), None)
    return own if isinstance(own, str) else None


def _check_identity(ref: Ref, kind: Kind, found: Mapping[str, Json]) -> None:
    """Raise `Unusable` where the object calls itself by another id; servers may change the case of a UUID."""
    name = own_id(found, kind)
    if name is not None and _last(name) != _last(ref.id):
        raise Unusable(f"is about another object, {name}")


def _check_names(found: dict[str, Json], field: str) -> None:
    """Raise `Unusable` where the map stands under a name almost like its own: what looks empty is not."""
    for name, value in found.items():
        if name != field and value and isinstance(value, dict) and _letters(name) == _letters(field):
            raise Unusable(f"holds pairs in `{name}`, where they are expected in `{field}`")


def _letters(name: str) -> str:
    return "".join(filter(str.isalnum, name.casefold()))


def _mentions(message: str, segment: str) -> bool:
    # As a whole: an id such as `1` is part of many a word.
    return re.search(rf"(?<![\w.:-]){re.escape(segment)}(?![\w-])", message) is not None


def _last(name: str) -> str:
    return name.rpartition("/")[2].casefold()


def _from_router(body: bytes) -> bool:
    try:
        value = parse(body)
    except Unusable:
        text = body.decode("utf-8", "replace")
        return text.casefold() in _ROUTER_TEXTS or _INVALID_URL.match(text) is not None
    return value in _ROUTER_OBJECTS or _INVALID_URL.match(complaint(body).message) is not None


def _words(answer: Answer) -> str:
    said = complaint(answer.body)
    message = said.message.strip() or _phrase(answer.status)
    return f"{message} [{said.code}]" if said.code and said.code not in message else message


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "without a word"


def _whither(location: str | None) -> str:
    try:
        host = urlsplit(location or "").hostname
    except ValueError:
        host = None
    return f"to {host}, and redirects are not followed" if host else "elsewhere, and redirects are not followed"
