"""The judge: holds every request against the published API, and every answer.

`JudgingTransport` goes around the transport of a gateway. `Judge.exchange` takes what a server recorded; where an
answer is no work of the emulator's (one that a test put in its place, or that a mishap spoiled), `Judge.request` judges
what was sent alone. What is wrong is gathered in `complaints`, and `verdict` raises it. `seen` counts the answers
that were judged, by kind and role, so that a suite can tell that nothing passed unseen.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote

import httpx
from api.descriptions import Operation, Place, faults, place

if TYPE_CHECKING:
    from collections.abc import Mapping

ROLES = {
    (True, "GET"): "read",
    (True, "POST"): "update",
    (True, "DELETE"): "delete",
    (False, "GET"): "list",
    (False, "POST"): "create",
}
"""What a request does, by whether its path names one object, and by method."""
ANSWERS = {"read": "object", "update": "object", "create": "object", "list": "list", "delete": "deleted"}
"""The part of the description that an answer with 200 is held against."""
HEADERS = frozenset(
    {"accept", "accept-encoding", "api-key", "authorization", "connection", "content-length", "content-type", "host",
     "openai-beta", "openai-organization", "openai-project", "user-agent"}
)  # fmt: skip
"""All that is sent; whatever else a target asks for is told to the judge."""
SAFE = re.compile(r"(?!\.\.?$)[A-Za-z0-9._:-]+")
_FILTER = re.compile(r"metadata\[(.*)]", re.DOTALL)
_MOST_PAIRS = 16
_UNFORESEEN = frozenset({"object_above_max_properties", "invalid_value"})
"""Why an update is refused that is right by itself: what is held already, and ids that are not the vendor's."""


@dataclass
class Judge:
    """One judge, for one server.

    `query` is what the provider adds to every URL, `also` are names of headers that a target adds. `nulls`: the server
    removes a key that is sent as null, which the published API does not. `ours`: what is judged comes from the gateway,
    which reads, lists and updates, and does nothing else. `odd`: what the server holds was put there past the API, so
    that the maps it answers with may be of any kind.
    """

    base: str = "/v1"
    query: Mapping[str, str] = field(default_factory=dict)
    also: frozenset[str] = frozenset()
    nulls: bool = False
    ours: bool = True
    odd: bool = False
    complaints: list[str] = field(default_factory=list)
    seen: Counter[tuple[str, str]] = field(default_factory=Counter)

    def verdict(self) -> None:
        """Raise what was wrong."""
        assert not self.complaints, "\n".join(self.complaints)

    def request(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> None:
        """Judge a request on its own: it must be right."""
        found = self.request_faults(method, target, headers, body) + self.body_faults(method, target, body)
        self._complain(method, target, found)

    def exchange(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str],
        body: bytes,
        status: int,
        answer_headers: Mapping[str, str],
        answer: bytes,
    ) -> None:
        """Judge a request with its answer: a body that breaks the description is right where it is refused with 400."""
        found = self.request_faults(method, target, headers, body)
        bad = self.body_faults(method, target, body)
        if bad and status < 400:
            found += [*bad, f"... and was answered with {status}"]
        if status == 400 and not bad and method == "POST" and _code(answer) not in _UNFORESEEN:
            found.append(f"nothing is wrong with it, and it was refused: {answer.decode(errors='replace')[:300]}")
        self._complain(method, target, found)
        self.answer(method, target, status, answer_headers, answer)

    def answer(self, method: str, target: str, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Judge an answer on its own."""
        self._complain(method, target, self.answer_faults(method, target, status, headers, body), f"answer {status}: ")

    def _complain(self, method: str, target: str, found: list[str], what: str = "") -> None:
        self.complaints += [f"{method} {target}: {what}{each}" for each in found]

    # --- requests

    def request_faults(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> list[str]:
        """Return what is wrong with a request, its body aside."""
        path, _, query = target.partition("?")
        found = self._placed(path)
        role = ROLES.get((found.one, method)) if found else None
        if found is None or role is None:
            return [f"the API has no {method} at this path"]
        wrong = [] if role in {"read", "update", "list"} or not self.ours else [f"nothing of ours sends a {role}"]
        wrong += [f"{own!r} is no id" for own in found.ids.values() if not SAFE.fullmatch(own)]
        names = {name.lower(): value for name, value in headers.items()}
        wrong += self._header_faults(found.operation, names, method, body)
        return wrong + self._query_faults(found.operation, role, query)

    def _header_faults(self, operation: Operation, names: Mapping[str, str], method: str, body: bytes) -> list[str]:
        wrong = [f"the header {name} is none of the API's" for name in sorted(names.keys() - HEADERS - self.also)]
        if names.get("openai-beta") != operation.beta:
            wrong.append(f"the beta header is {names.get('openai-beta')!r}, not {operation.beta!r}")
        if names.get("accept") != "application/json":
            wrong.append(f"accept is {names.get('accept')!r}")
        if method != "POST" and body:
            wrong.append(f"a {method} has a body")
        if (names.get("content-type") == "application/json") is not bool(body):
            wrong.append(f"content-type is {names.get('content-type')!r} with {len(body)} bytes")
        return wrong

    def _query_faults(self, operation: Operation, role: str, query: str) -> list[str]:
        pairs = parse_qsl(query, keep_blank_values=True)
        told, own = dict(pairs), dict(self.query)
        wrong = ["a parameter stands twice"] if len(told) != len(pairs) else []
        wrong += [f"{name} is not {value!r}" for name, value in own.items() if told.get(name) != value]
        rest = {name: value for name, value in told.items() if name not in own}
        if role != "list":
            return wrong + [f"the parameter {name} has no place here" for name in rest]
        pairs_wanted = [(match[1], value) for name, value in rest.items() if (match := _FILTER.fullmatch(name))]
        if pairs_wanted and not operation.filter:
            wrong.append("this list takes no filter")
        wrong += faults("shared", "metadata", dict(pairs_wanted))
        plain = {name: value for name, value in rest.items() if not _FILTER.fullmatch(name)}
        wrong += [f"this list has no parameter {name}" for name in plain if name not in operation.query]
        if "limit" in plain and not (plain["limit"].isdecimal() and 1 <= int(plain["limit"]) <= 100):
            wrong.append(f"limit is {plain['limit']!r}")
        if plain.get("order", "asc") not in {"asc", "desc"}:
            wrong.append(f"order is {plain['order']!r}")
        return wrong + [f"{name} is empty" for name in ("after", "before") if plain.get(name) == ""]

    def body_faults(self, method: str, target: str, body: bytes) -> list[str]:
        """Return what is wrong with a body by the description of its kind."""
        found = self._placed(target.partition("?")[0])
        role = ROLES.get((found.one, method)) if found else None
        if found is None or role not in {"update", "create"}:
            return []
        if not body and role == "create":
            body = b"{}"
        try:
            content = json.loads(body.decode("utf-8"), object_pairs_hook=_unique)
        except ValueError as error:
            return [f"the body is no JSON: {error}"]
        return self._entry_faults(content, found.operation) + faults(
            found.operation.kind, role, self._without_nulls(content, found.operation)
        )

    def _entry_faults(self, content: Any, operation: Operation) -> list[str]:
        sent = content.get(operation.field) if isinstance(content, dict) else None
        return ["more than 16 entries"] if isinstance(sent, dict) and len(sent) > _MOST_PAIRS else []

    def _without_nulls(self, content: Any, operation: Operation) -> Any:
        """Return a body without its removals, where the server understands them."""
        sent = content.get(operation.field) if isinstance(content, dict) else None
        if not self.nulls or not isinstance(sent, dict):
            return content
        return {**content, operation.field: {key: value for key, value in sent.items() if value is not None}}

    # --- answers

    def answer_faults(
        self, method: str, target: str, status: int, headers: Mapping[str, str], body: bytes
    ) -> list[str]:
        """Return what is wrong with an answer."""
        names = {name.lower(): value for name, value in headers.items()}
        wrong = [] if names.get("content-type") == "application/json" else ["its content-type is not application/json"]
        wrong += [] if names.get("x-request-id") else ["it has no x-request-id"]
        try:
            content = json.loads(body.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
        except ValueError as error:
            return [*wrong, f"it is no JSON: {error}"]
        found = self._placed(target.partition("?")[0])
        role = ROLES.get((found.one, method)) if found else None
        if status != 200:
            return wrong + self._refusal_faults(found, role, status, content)
        if found is None or role is None:
            return [*wrong, "the API has nothing at this path"]
        self.seen[found.operation.kind, role] += 1
        judged = _without_maps(content, found.operation.field) if self.odd else content
        return wrong + faults(found.operation.kind, ANSWERS[role], judged) + _identity_faults(found, role, content)

    def _refusal_faults(self, found: Place | None, role: str | None, status: int, content: Any) -> list[str]:
        if found is None:
            return faults("errors", "unserved", content) + ([] if status in {401, 404} else [f"it is {status}"])
        if status < 400:
            return ["it is neither a 200 nor a refusal"]
        self.seen[found.operation.kind, {404: "missing"}.get(status, "refused")] += 1
        part = str(status) if str(status) in {"400", "401", "404", "429"} else "envelope"
        wrong = faults("errors", part, content)
        if status == 404 and not wrong and content["error"]["message"] not in _words_of_absence(found):
            wrong.append(f"its words are {content['error']['message']!r}, not one of {_words_of_absence(found)}")
        if role is None and status != 405:
            wrong.append("a method that the API does not have is answered with 405")
        return wrong

    def _placed(self, path: str) -> Place | None:
        root, base, below = path.partition(f"{self.base}/")
        segments = [unquote(segment) for segment in below.split("/")]
        return place(segments) if base and not root and all(segments) else None


def _words_of_absence(found: Place) -> list[str]:
    """Return what a 404 says of the object that the path names, or of its parent."""
    named = {"id": found.operation, "parent": found.operation.parent}
    return [each.missing.format(id=found.ids[name]) for name, each in named.items() if each and name in found.ids]


def _code(answer: bytes) -> str | None:
    try:
        code: str | None = json.loads(answer)["error"]["code"]
    except (ValueError, KeyError, TypeError):
        return None
    return code


def _without_maps(content: Any, field: str) -> Any:
    """Return an object, or a page of them, with empty maps in place of those that are there."""
    if not isinstance(content, dict):
        return content
    shown = {field: {}} if isinstance(content.get(field), dict) else {}
    if isinstance(content.get("data"), list):
        shown["data"] = [_without_maps(each, field) for each in content["data"]]
    return {**content, **shown}


def _identity_faults(found: Place, role: str, content: Any) -> list[str]:
    """Return where an answer speaks of another object than the path, or a page contradicts itself."""
    if not isinstance(content, dict):
        return []
    ids, wrong = found.ids, []
    shown = content["data"] if role == "list" and isinstance(content.get("data"), list) else [content]
    if "parent" in ids and role != "delete":
        above = [each.get(_parent_name(found.operation)) for each in shown if isinstance(each, dict)]
        wrong += [f"an object is below {own!r}" for own in above if own != ids["parent"]]
    if found.one and ids["id"] not in {content.get("id"), content.get("eval_id")}:
        wrong.append(f"it is about {content.get('id')!r}")
    if role == "list" and shown and isinstance(shown[0], dict) and isinstance(shown[-1], dict):
        ends = (content.get("first_id", shown[0].get("id")), content.get("last_id", shown[-1].get("id")))
        wrong += [] if ends == (shown[0].get("id"), shown[-1].get("id")) else [f"it begins and ends with {ends}"]
    return wrong


def _parent_name(operation: Operation) -> str:
    """Return what an object calls the id of its parent: after the first word of the path."""
    return f"{operation.path.split('/')[1].removesuffix('s')}_id"


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a key stands twice")
    return made


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")


class JudgingTransport(httpx.AsyncBaseTransport):
    """Around another transport: every exchange is judged."""

    def __init__(self, inner: httpx.AsyncBaseTransport, judge: Judge) -> None:
        self._inner = inner
        self._judge = judge

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request on, read its answer, and judge both."""
        body = await request.aread()
        target = bytes(request.extensions.get("target", request.url.raw_path)).decode("ascii")
        response = await self._inner.handle_async_request(request)
        content = await response.aread()
        self._judge.exchange(
            request.method, target, dict(request.headers), body, response.status_code, dict(response.headers), content
        )
        return response

    async def aclose(self) -> None:
        """Close the transport within."""
        await self._inner.aclose()
