"""What one page of a list means, read defensively: the objects that it shows, where it goes on, and what is odd in it.

A list comes from a server that we may not know. An object that cannot be taken as it is costs nothing but itself; a
page that is no page, or that does not say where the next one begins, is a failure of the list.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

from reconciler.errors import ApiError, InvalidInput, Problem, TargetRefused
from reconciler.gateway.answers import Unusable, complaint, echoes, metadata_of, parse, presentable
from reconciler.gateway.verdicts import REFUSALS, UNKNOWN, Judge, own_id
from reconciler.kinds import KINDS
from reconciler.model import Ref

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from reconciler.errors import Fault
    from reconciler.gateway.answers import Answer
    from reconciler.kinds import Kind
    from reconciler.model import Json, Metadata

MOST = 100
"""Objects that a page is asked for: what every list of the vendor allows at most (API.md: `limit<=100`)."""
USUAL = 20
"""Objects in a page unless a caller says otherwise: what a server must allow that refuses `MOST`."""
LONGEST_CURSOR = 1024
"""Characters of a cursor that is sent back; a longer one would make a URL that some proxy refuses."""
LONGEST_ID = 1000
"""Characters of an id that a manifest can name (see `manifest/notation.py`); nobody could declare the resource."""

_MALFORMED = frozenset({400, 422})
"""Statuses by which servers refuse a parameter."""
_NOT_IMPLEMENTED = 501
_SCOPE = "missing_scope"
"""What the vendor says with 401 or 403 where a key is good, but not for this (API.md, the table of error texts)."""
_QUOTED = re.compile(r"[\"'`\u2018\u201c](limit|order)[\"'`\u2019\u201d]")
_NO_LETTER = re.compile(r"[^a-z0-9]")


@dataclass(frozen=True, slots=True)
class Odd:
    """An object of a list that is passed over: what it calls itself, fit to be shown, and why."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Page:
    """One page: references with their metadata (`None`: the list leaves it out), and the cursor of the next page.

    `after` is `None` where the list ends. `told`: the server itself says whether there is more; else there may be.
    """

    found: tuple[tuple[Ref, Metadata | None], ...] = ()
    after: str | None = None
    odd: tuple[Odd, ...] = ()
    told: bool = True


class ParameterRefused(ApiError):
    """The server does not take a request as it is; `parameters` are those of ours that it names as the reason."""

    def __init__(self, fault: Fault, parameters: frozenset[str]) -> None:
        super().__init__(fault)
        self.parameters = parameters


@dataclass(frozen=True, slots=True)
class Size:
    """How many objects a page is asked for, and whether in order: the oldest first.

    What is created while pages are read comes at the end then, where it is seen.
    """

    limit: int = MOST
    ordered: bool = True

    def easier(self, error: ApiError, *, too_large: bool) -> Size | None:
        """Return what to ask for after a page that could not be had so; `None` where that is not the reason."""
        if too_large:
            return Size(self.limit // 10, self.ordered) if self.limit >= 10 else None
        about = error.parameters if isinstance(error, ParameterRefused) else frozenset[str]()
        if self.ordered and "order" in about:
            return Size(self.limit, ordered=False)
        return Size(USUAL, self.ordered) if self.limit > USUAL and "limit" in about else None

    def within(self, other: Size) -> Size:
        """Return what is no harder to have than either of the two."""
        return Size(min(self.limit, other.limit), self.ordered and other.ordered)


def page_path(kind: Kind, parent: str, query: str, after: str | None, where: Mapping[str, str], size: Size) -> str:
    """Return the path of a page below the base URL; `query` is what every URL carries, with its `?`.

    Raise `InvalidInput` for a parent that would leave its place in the path.
    """
    if bool(parent) != kind.nested or (parent and not KINDS[kind.parent].valid_id(parent)):
        raise InvalidInput(Problem("invalid_id", f"{parent or 'nothing'} is no parent of a {kind.noun}"))
    asked = {"limit": str(size.limit), **({"order": "asc"} if size.ordered else {})}
    asked |= {} if after is None else {"after": after}
    asked |= {f"metadata[{key}]": value for key, value in where.items()}
    path = kind.collection.format(parent=parent)
    return f"{path}{query}{'&' if query else '?'}{urlencode(asked, quote_via=quote, safe='')}"


@dataclass(frozen=True, slots=True)
class Lister(Judge):
    """Judges the pages of lists of one kind at one host."""

    def page(self, parent: str, answer: Answer) -> Page:
        """Return what a page shows; raise `TargetRefused` for 401, 403 and a used up quota, else `ApiError`.

        The fault's code is `unlisted` where the server has no such list, `missing` where it does not know the parent,
        `forbidden` where the credential is good for other kinds.
        """
        if 200 <= answer.status < 300:
            try:
                return self._page(parent, answer)
            except Unusable as unusable:
                raise ApiError(self._fault("invalid_answer", f"The list {unusable}.", answer)) from None
        fault = self._refusal(parent, answer)
        if answer.status in _MALFORMED and fault.code not in REFUSALS:
            raise ParameterRefused(fault, _blamed(answer.body))
        raise (TargetRefused if fault.code in REFUSALS else ApiError)(fault)

    def _page(self, parent: str, answer: Answer) -> Page:
        envelope = parse(answer.body)
        objects = _objects(envelope, self.kind)
        found, odd = list[tuple[Ref, "Metadata | None"]](), list[Odd]()
        for each in objects:
            try:
                found.append(self._object(parent, each, answer.body))
            except Unusable as unusable:
                odd.append(Odd(self._named(each), presentable(str(unusable), self.secret)))
        after, told = _onward(envelope, objects, self.kind)
        return Page(tuple(found), after, tuple(odd), told)

    def _object(self, parent: str, found: Json, body: bytes) -> tuple[Ref, Metadata | None]:
        """Return the reference of an object, and its metadata; raise `Unusable` for one that is odd."""
        if not isinstance(found, dict):
            raise Unusable("it is no object")
        own = own_id(found, self.kind)
        if own is None:
            raise Unusable("it has no id")
        ref = Ref(self.kind.name, f"{parent}/{own}" if parent else own)
        if not self.kind.valid_id(ref.id):
            raise Unusable("its id has other characters than A-Z a-z 0-9 . _ : -")
        if len(ref.id) > LONGEST_ID:
            raise Unusable(f"its id has {len(ref.id):,} characters, and a manifest takes at most {LONGEST_ID:,}")
        _check_type(found, self.kind)
        _check_parent(found, self.kind, parent)
        try:
            held = metadata_of(found, self.kind.field)
        except Unusable as unusable:
            raise Unusable(f"it {unusable}") from None
        if held and echoes(body, held, self.secret):
            raise Unusable(f"its `{self.kind.field}` holds the credential that was sent")
        return ref, None if held is None else MappingProxyType(held)

    def _named(self, found: Json) -> str:
        own = own_id(found, self.kind) if isinstance(found, dict) else None
        return presentable(own, self.secret, 60) if own else "an object without an id"

    def _refusal(self, parent: str, answer: Answer) -> Fault:
        status = answer.status
        if status in UNKNOWN or status == _NOT_IMPLEMENTED:
            return self._absent(parent, answer)
        above = Ref(self.kind.parent, parent) if parent else Ref(self.kind.name, "")
        fault = self.failure(above, answer)
        if fault.code == "unauthorized" and _SCOPE in {complaint(answer.body).code, complaint(answer.body).type}:
            return self._fault("forbidden", fault.message, answer)
        return fault

    def _absent(self, parent: str, answer: Answer) -> Fault:
        """Return the fault for a path that is not there: the parent is not, or there is no such list."""
        sign = self._unserved_sign(answer)
        if sign is None and parent and self._names_object(Ref(self.kind.parent, parent), answer):
            noun = KINDS[self.kind.parent].noun
            return self._fault("missing", f"The API knows no such {noun}: {complaint(answer.body).message}", answer)
        sign = sign or f"it answered {answer.status}: {complaint(answer.body).message}"
        noun = self.kind.plural.replace("_", " ")
        return self._fault("unlisted", f"The server does not list {noun}: {sign}.", answer)


def _blamed(body: bytes) -> frozenset[str]:
    """Return which of `limit` and `order` an error is about.

    The vendor says so in `param`, FastAPI in `loc`, others by the name in quotes; as a bare word it means anything.
    """
    named = set(_QUOTED.findall(complaint(body).message))
    try:
        said = parse(body)
    except Unusable:
        said = None
    if isinstance(said, dict):
        parts = [said, *_several(said.get("error")), *_several(said.get("detail"))]
        objects = [part for part in parts if isinstance(part, dict)]
        places = [place for each in objects for place in (each.get("param"), *_several(each.get("loc"))[-1:])]
        named |= {str(place).rpartition(".")[2] for place in places}
    return frozenset(named & {"limit", "order"})


def _several(found: Json) -> Sequence[Json]:
    return found if isinstance(found, list) else [found]


def _objects(envelope: Json, kind: Kind) -> Sequence[Json]:
    """Return what a list holds: in `data`, as the vendor has it, or as other servers put it."""
    if isinstance(envelope, list):
        return envelope
    if not isinstance(envelope, dict):
        raise Unusable("is JSON, but neither an object nor a list")
    for name in ("data", kind.plural, "items"):
        held = envelope.get(name)
        if isinstance(held, list):
            return held
    if "data" in envelope and envelope["data"] is None:
        return []
    raise Unusable("has no `data` with objects in it")


def _check_type(found: Mapping[str, Json], kind: Kind) -> None:
    """Raise `Unusable` for an object of another type; servers differ in how they write the name of one."""
    told = found.get("object")
    if isinstance(told, str) and _letters(told) not in {_letters(name) for name in (kind.object, kind.name, kind.noun)}:
        raise Unusable(f"it calls itself {told or 'nothing'}, and is no {kind.noun}")


def _check_parent(found: Mapping[str, Json], kind: Kind, parent: str) -> None:
    told = found.get(f"{kind.parent}_id") if parent else None
    if isinstance(told, str) and told and told.casefold() != parent.casefold():
        raise Unusable(f"it belongs to another {KINDS[kind.parent].noun}, {told}")


def _letters(name: str) -> str:
    return _NO_LETTER.sub("", name.casefold())


def _onward(envelope: Json, objects: Sequence[Json], kind: Kind) -> tuple[str | None, bool]:
    """Return the cursor of the next page, and whether the server tells that there is one.

    Where `has_more` is missing, only asking on tells; where `last_id` is, the last object has it.
    """
    told = envelope if isinstance(envelope, dict) else {}
    more = told.get("has_more")
    if more is False:
        return None, True
    cursor = _cursor([told.get("last_id"), *(own_id(each, kind) for each in objects[-1:] if isinstance(each, dict))])
    if more is True and cursor is None:
        raise Unusable("says that there is more, and does not say behind which id")
    return cursor if objects or more is True else None, more is True


def _cursor(candidates: Iterable[Json]) -> str | None:
    """Return the first that can be sent; a lone surrogate cannot be."""
    for each in candidates:
        if isinstance(each, str) and 0 < len(each) <= LONGEST_CURSOR and not re.search("[\ud800-\udfff]", each):
            return each
    return None
