"""The API as a pure function: store, request and behaviour in, a response out.

Every row of `reconciler.kinds.KINDS` is served below `/v1`; the routes are built from the rows' paths, and no
function here asks which kind it has before it. Limits and error bodies are those of API.md ("Limits and their
error texts"). Chance, clock and sockets stay outside: the behaviour brings the time and the tokens for new ids.

Where the facts are silent, this stand-in decides so:

- A field that is null clears the map under `replace` and changes nothing under the merging dialects, for which
  null is a map with nothing to merge. A row that is not `nullable` refuses it.
- A call with more than 16 entries is refused under every dialect, removals counted; so is a map that would hold
  more than 16 pairs afterwards.
- A parent that was deleted takes its children with it; one that was never held is no obstacle, because a
  manifest may declare a child without its parent.
- A body that creates may carry any other property: the vendor's do, and nothing here depends on them.
- Objects are listed in the order of their creation; a cursor may name an object deleted since. Every list may be walked
  from either end, and every kind may be deleted, also where the vendor has no such call.
- `metadata[key]=value` is refused where the kind's list takes no filter: what is ignored would look like a match.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NoReturn, Protocol
from urllib.parse import parse_qsl, unquote

from reconciler.dialects import AUTO, MERGE, Dialect
from reconciler.emulator.maps import Refused, check_filter, envelope, refuse, type_name, updated
from reconciler.emulator.shapes import SHAPES
from reconciler.kinds import KINDS, Kind
from reconciler.model import EMPTY, Metadata, Ref

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from contextlib import AbstractContextManager

BASE_PATH = "/v1"
"""Where the API begins below the server's root."""
PAGE = 20
"""Objects in one page of a list unless the caller says otherwise."""
MAX_PAGE = 100
"""The largest page (API.md: `limit<=100`)."""

_FILTER = re.compile(r"metadata\[(.*)]", re.DOTALL)
"""The name of a parameter that asks for objects with a pair."""
_PAGE_NUMBER = re.compile(r"-?[0-9]{1,9}")
_MASKED_LENGTH = 16
"""A key shorter than this is masked altogether: seven of its characters would be too much of it."""


@dataclass(frozen=True, slots=True)
class Request:
    """One call; `path` is percent-encoded as it was sent and begins with `/v1`, header names are lower-case."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    @classmethod
    def aimed(cls, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Request:
        """Return the request for a target (path and query string) and headers in any case."""
        path, _, query = target.partition("?")
        names = {name.lower(): value for name, value in headers.items()}
        return cls(method, path, dict(parse_qsl(query, keep_blank_values=True)), names, body)


@dataclass(frozen=True, slots=True)
class Response:
    """One answer; where it is `lost`, the caller sees the connection break instead."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    lost: bool = False


@dataclass(frozen=True, slots=True)
class Held:
    """What a store holds for one object: all else in an answer follows from its kind and id."""

    created_at: int
    pairs: Metadata = field(default_factory=lambda: EMPTY)


class Store(Protocol):
    """Where objects are kept. A deleted one is remembered: its id is never planted again."""

    def exclusively(self) -> AbstractContextManager[None]:
        """Keep every other writer out, so that a read and the write that follows from it are one step."""
        ...

    def get(self, ref: Ref) -> Held | None:
        """Return the object, or `None` where it is not held (any more)."""
        ...

    def put(self, ref: Ref, held: Held) -> None:
        """Hold the object, new or in place of what was held."""
        ...

    def plant(self, refs: Iterable[Ref], created_at: int) -> None:
        """Hold an empty object for each ref that was never held."""
        ...

    def bury(self, ref: Ref) -> None:
        """Delete the object and remember that it was held."""
        ...

    def position(self, ref: Ref) -> int | None:
        """Return its place in the order of creation, deleted or not; `None` where it was never held."""
        ...

    def page(self, kind: str, parent: str, span: Span) -> Sequence[tuple[Ref, Held]]:
        """Return the objects of a kind below a parent (`""`: it has none) within a span, in its order."""
        ...


@dataclass(frozen=True, slots=True)
class Span:
    """Positions strictly between `low` and `high` (`None`: open), walked up or down, at most `count` of them."""

    low: int | None
    high: int | None
    descending: bool
    count: int


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How this stand-in behaves: its clock (seconds), its tokens, the dialect of each kind, the key it asks for.

    A kind without a dialect, or with one that is not settled, is written as its row says, and merges where the
    row does not know either. Without a `key` nobody is refused.
    """

    now: Callable[[], int]
    token: Callable[[], str]
    writes: Mapping[str, Dialect] = field(default_factory=dict)
    key: str | None = field(default=None, repr=False)

    def dialect(self, kind: Kind) -> Dialect:
        """Return how an update of this kind is treated: never an unsettled dialect."""
        told = self.writes.get(kind.name, AUTO)
        return next((dialect for dialect in (told, kind.writes) if dialect.settled), MERGE)


def handle(store: Store, request: Request, behaviour: Behaviour) -> Response:
    """Answer one request and carry it out; whatever is wrong with it becomes an answer too."""
    try:
        _admit(request, behaviour)
        return respond(behaviour, 200, _dispatch(store, request, behaviour))
    except Refused as refused:
        return respond(behaviour, refused.status, refused.payload, refused.headers)


def seed(store: Store, refs: Iterable[Ref], behaviour: Behaviour) -> None:
    """Create an empty object for each ref that was never held; what was deleted stays missing."""
    store.plant(refs, behaviour.now())


def respond(behaviour: Behaviour, status: int, payload: object, headers: Mapping[str, str] | None = None) -> Response:
    """Return a JSON answer with a request id of its own."""
    names = {"content-type": "application/json", "x-request-id": f"req_{behaviour.token()}", **(headers or {})}
    return Response(status, names, json.dumps(payload).encode())


# Who may call, and which object is meant.


def _admit(request: Request, behaviour: Behaviour) -> None:
    """Refuse a caller that does not send the key, without ever repeating what it sent."""
    if behaviour.key is None:
        return
    scheme, _, sent = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or sent.strip() != behaviour.key:
        message = f"Incorrect API key provided: {_masked(sent.strip())}."
        raise Refused(401, envelope(message, "invalid_api_key"))


def _masked(sent: str) -> str:
    """Return as much of a key as the vendor shows: how it begins and its last four characters."""
    return f"{sent[:3]}***{sent[-4:]}" if len(sent) >= _MASKED_LENGTH else "***"


@dataclass(frozen=True, slots=True)
class _Route:
    """The path of a kind's objects, or of its collection; a part in braces stands for any segment."""

    kind: Kind
    parts: tuple[str, ...]
    one: bool

    @property
    def placeholders(self) -> int:
        return sum(part.startswith("{") for part in self.parts)

    def match(self, segments: Sequence[str]) -> Mapping[str, str] | None:
        """Return what stands in the places of the braces, or `None` where the path is another one."""
        found = {}
        for part, segment in zip(self.parts, segments, strict=True):
            if part.startswith("{"):
                found[part.strip("{}")] = segment
            elif part != segment:
                return None
        return found


def _built_routes() -> Mapping[int, tuple[_Route, ...]]:
    """Return the routes by number of segments; literal ones first, or `/agents/sessions` would be an agent."""
    routes = [
        _Route(kind, tuple(path.strip("/").split("/")), one)
        for kind in KINDS.values()
        for path, one in ((kind.path, True), (kind.collection, False))
    ]
    routes.sort(key=lambda route: route.placeholders)
    lengths = {len(route.parts) for route in routes}
    return {length: tuple(route for route in routes if len(route.parts) == length) for length in lengths}


_ROUTES = _built_routes()


@dataclass(frozen=True, slots=True)
class _Call:
    """A request that reached a route, with all that is needed to answer it."""

    store: Store
    request: Request
    behaviour: Behaviour
    kind: Kind
    ids: Mapping[str, str]

    @property
    def parent(self) -> str:
        return self.ids.get("parent", "")

    @property
    def ref(self) -> Ref:
        return self.ref_of(self.ids["id"])

    @property
    def dialect(self) -> Dialect:
        return self.behaviour.dialect(self.kind)

    def ref_of(self, own: str) -> Ref:
        return Ref(self.kind.name, f"{self.parent}/{own}" if self.kind.nested else own)


def _dispatch(store: Store, request: Request, behaviour: Behaviour) -> object:
    route, ids = _routed(request.path)
    act = _ACTIONS.get((route.one, request.method))
    if act is None:
        allowed = ", ".join(method for one, method in _ACTIONS if one == route.one)
        message = f"Method {request.method} is not allowed here; allowed: {allowed}."
        raise Refused(405, envelope(message, "method_not_allowed"), {"allow": allowed})
    call = _Call(store, request, behaviour, route.kind, ids)
    if route.kind.nested:
        _require_parent(call)
    return act(call)


def _routed(path: str) -> tuple[_Route, Mapping[str, str]]:
    """Return the route of a path and the ids in it; a path that is not served looks like any web framework's 404."""
    root, base, below = path.partition(f"{BASE_PATH}/")
    segments = [unquote(segment) for segment in below.split("/")]
    if base and not root and "" not in segments:
        for route in _ROUTES.get(len(segments), ()):
            ids = route.match(segments)
            if ids is not None:
                return route, ids
    raise Refused(404, {"detail": "Not Found"})


def _require_parent(call: _Call) -> None:
    parent, ref = KINDS[call.kind.parent], Ref(call.kind.parent, call.parent)
    gone = call.store.position(ref) is not None and call.store.get(ref) is None
    if gone or not parent.valid_id(call.parent):
        _miss(parent, call.parent)


def _miss(kind: Kind, own: str) -> NoReturn:
    raise Refused(404, envelope(kind.not_found.format(noun=kind.noun, id=own), None))


def _check_form(call: _Call) -> None:
    """Refuse an id that does not begin as the vendor's own do; one that is or was held here may have any form."""
    own, start = call.ids["id"], call.kind.prefix.rstrip("_-")
    if not own.startswith(start) and (not call.kind.valid_id(call.ref.id) or call.store.position(call.ref) is None):
        name = f"{call.kind.name}_id"
        refuse(f"Invalid '{name}': '{own}'. Expected an ID that begins with '{start}'.", "invalid_value", name)


def _found(call: _Call) -> Held:
    """Return the object that the call is about; an id with an unsafe character cannot be held."""
    held = call.store.get(call.ref) if call.kind.valid_id(call.ref.id) else None
    if held is None:
        _check_form(call)
        _miss(call.kind, call.ids["id"])
    return held


def _shown(kind: Kind, ref: Ref, held: Held) -> dict[str, object]:
    """Return an object as an answer carries it."""
    shape, (parent, _, own) = SHAPES[kind.name], ref.id.rpartition("/")
    above = {f"{kind.parent}_id": parent} if kind.nested else {}
    times = dict.fromkeys((shape.created, *shape.times), held.created_at)
    return {"id": own, "object": _object(kind), **times, **above, **shape.properties, kind.field: dict(held.pairs)}


def _object(kind: Kind) -> str:
    return kind.object or kind.name


# What can be done with an object, and with a collection.


def _read(call: _Call) -> object:
    return _shown(call.kind, call.ref, _found(call))


def _update(call: _Call) -> object:
    with call.store.exclusively():
        held = _found(call)
        body = _body(call)
        for name in body:
            if name != call.kind.field:
                refuse(f"Unknown parameter: '{name}'.", "unknown_parameter", name)
        if call.kind.required and call.kind.field not in body:
            message = f"Missing required parameter: '{call.kind.field}'."
            refuse(message, "missing_required_parameter", call.kind.field)
        held = Held(held.created_at, updated(call.kind, call.dialect, held.pairs, body))
        call.store.put(call.ref, held)
    return _shown(call.kind, call.ref, held)


def _remove(call: _Call) -> object:
    with call.store.exclusively():
        _found(call)
        call.store.bury(call.ref)
    name = SHAPES[call.kind.name].deleted_id
    return {name: call.ids["id"], "object": f"{_object(call.kind)}.deleted", "deleted": True}


def _create(call: _Call) -> object:
    """Create an object with a new id; its map is what an update of an empty one would leave."""
    body = _body(call) if call.request.body else {}
    ref = call.ref_of(f"{call.kind.prefix}{call.behaviour.token()}")
    held = Held(call.behaviour.now(), updated(call.kind, call.dialect, EMPTY, body))
    call.store.put(ref, held)
    return _shown(call.kind, ref, held)


def _list(call: _Call) -> object:
    limit, backwards = _limit(call), "before" in call.request.query and "after" not in call.request.query
    found = _matching(call, _wanted(call), _span(call, limit + 1, backwards=backwards))
    shown = [_shown(call.kind, ref, held) for ref, held in found[:limit]]
    if backwards:
        shown.reverse()
    return {
        "object": "list",
        "data": shown,
        "first_id": shown[0]["id"] if shown else None,
        "last_id": shown[-1]["id"] if shown else None,
        "has_more": len(found) > limit,
    }


_ACTIONS: Mapping[tuple[bool, str], Callable[[_Call], object]] = MappingProxyType(
    {
        (True, "GET"): _read,
        (True, "POST"): _update,
        (True, "DELETE"): _remove,
        (False, "GET"): _list,
        (False, "POST"): _create,
    }
)
"""What to do, by whether the path names one object, and by method."""


# Pages.


def _limit(call: _Call) -> int:
    told = call.request.query.get("limit", str(PAGE))
    if not _PAGE_NUMBER.fullmatch(told):
        refuse("Invalid type for 'limit': expected an integer, but got a string instead.", "invalid_type", "limit")
    number = int(told)
    if number > MAX_PAGE:
        message = (
            f"Invalid 'limit': integer above maximum value. Expected a value <= {MAX_PAGE}, but got {number} instead."
        )
        refuse(message, "integer_above_max_value", "limit")
    if number < 1:
        message = f"Invalid 'limit': integer below minimum value. Expected a value >= 1, but got {number} instead."
        refuse(message, "integer_below_min_value", "limit")
    return number


def _span(call: _Call, count: int, *, backwards: bool) -> Span:
    """Return the stretch of positions to read; `backwards` walks from `before` towards the start of the list."""
    order = call.request.query.get("order", "desc" if SHAPES[call.kind.name].descending else "asc")
    if order not in {"asc", "desc"}:
        refuse(f"Invalid value: '{order}'. Supported values are: 'asc' and 'desc'.", "invalid_value", "order")
    after, before = _cursor(call, "after"), _cursor(call, "before")
    descending = order == "desc"
    low, high = (before, after) if descending else (after, before)
    return Span(low, high, descending is not backwards, count)


def _wanted(call: _Call) -> Mapping[str, str]:
    """Return the pairs that an object must have to be listed."""
    wanted = {}
    for name, value in call.request.query.items():
        asked = _FILTER.fullmatch(name)
        if asked and not call.kind.filtered:
            refuse(f"Unknown parameter: '{name}'.", "unknown_parameter", name)
        if asked:
            wanted[asked[1]] = value
    check_filter(call.kind, wanted)
    return wanted


def _matching(call: _Call, wanted: Mapping[str, str], span: Span) -> Sequence[tuple[Ref, Held]]:
    """Return the objects within a span that have all wanted pairs, as many as it asks for."""
    found: list[tuple[Ref, Held]] = []
    # Where few match, small steps through the store would be many.
    step = replace(span, count=max(span.count, MAX_PAGE)) if wanted else span
    while True:
        page = call.store.page(call.kind.name, call.parent, step)
        found += [(ref, held) for ref, held in page if wanted.items() <= held.pairs.items()]
        if len(page) < step.count or len(found) >= span.count:
            return found[: span.count]
        last = call.store.position(page[-1][0])
        step = replace(step, high=last) if step.descending else replace(step, low=last)


def _cursor(call: _Call, name: str) -> int | None:
    if name not in call.request.query:
        return None
    own = call.request.query[name]
    position = call.store.position(call.ref_of(own))
    if position is None:
        refuse(f"Invalid '{name}': no {call.kind.noun} with id '{own}'.", "invalid_value", name)
    return position


# Bodies, and what they do to a map.


def _no_constant(_: str) -> NoReturn:
    raise ValueError


def _finite(text: str) -> float:
    """Return the number; one that overflows has no JSON text to be answered with."""
    number = float(text)
    return number if math.isfinite(number) else _no_constant(text)


_DECODER = json.JSONDecoder(parse_constant=_no_constant, parse_float=_finite)


def _body(call: _Call) -> dict[str, Any]:
    """Return the body, a JSON object in UTF-8."""
    try:
        body = _DECODER.decode(call.request.body.decode())
    except (ValueError, RecursionError):
        refuse("The body of the request could not be parsed as JSON.", None)
    if not isinstance(body, dict):
        refuse(f"Invalid type for the body: expected an object, but got {type_name(body)} instead.", "invalid_type")
    return body
