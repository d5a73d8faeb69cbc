"""What a body says, read defensively: objects out of bytes, and the API's own words out of any envelope.

A body may come from a server that we do not know, or from a proxy in between. Nothing in it is trusted: not that it
is JSON, nor that its text is fit to be shown, nor that it keeps our credential to itself.
"""

from __future__ import annotations

import html
import json
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from reconciler.model import Json

MAX_WORDS = 300
"""Characters of a server's message that we repeat; validation errors of real servers fit."""
MAX_DEPTH = 64
"""Levels of nesting in a value. What is carried back to the API must survive every later recursion over it."""

_SCANNED = 8192
"""Characters of a message that are looked at before it is cut."""
_TITLE = re.compile(r"<title[^>]*>(.*?)</title", re.IGNORECASE | re.DOTALL)
_XML = re.compile(r"<(?:\?xml\b(?!.*<(?:!doctype )?html\b)|(?:\w+:)?(?:error\w*|fault)\b)", re.IGNORECASE | re.DOTALL)
_SAID_IN_XML = re.compile(r"<(code|message)\b[^<>]*>([^<]+)<", re.IGNORECASE)
"""How the errors of object stores and gateways name their cause."""
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole HTTP answer; `location` is where a redirect points to.

    `retry_in`: the seconds after which another attempt may help, `None` where it would not. `spent`: a 429 that no
    waiting cures.
    """

    status: int
    body: bytes
    request_id: str | None = None
    location: str | None = None
    retry_in: float | None = None
    spent: bool = False


@dataclass(frozen=True, slots=True)
class Complaint:
    """The API's own words about an error, as they came, and its names for it."""

    message: str
    code: str | None = None
    type: str | None = None


class Unusable(ValueError):
    """A body does not say what it should; the text completes "The answer …"."""


def _refuse_constant(name: str) -> float:
    raise Unusable(f"holds {name}, which JSON does not have")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise Unusable("holds a number beyond all bounds")
    return number


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite)


def parse(body: bytes) -> Json:
    """Return the JSON value of a body in UTF-8; raise `Unusable` for anything else, NaN and infinities included."""
    try:
        return _DECODER.decode(body.decode("utf-8-sig"))
    except Unusable:
        raise
    except RecursionError as error:
        raise Unusable("is nested too deeply") from error
    except ValueError as error:
        raise Unusable(f"is {_shape(body)} where a JSON object was expected") from error


def _shape(body: bytes) -> str:
    if not body.strip():
        return "empty"
    return page(body) or ("no JSON" if _utf8(body) else "no JSON in UTF-8")


def _utf8(body: bytes) -> bool:
    try:
        return "\0" not in body.decode()  # UTF-16 without its mark decodes, too
    except UnicodeDecodeError:
        return False


def parse_object(body: bytes) -> dict[str, Json]:
    """Return the JSON object of a body; raise `Unusable` where it is none."""
    value = parse(body)
    if not isinstance(value, dict):
        raise Unusable("is JSON, but no object")
    return value


def metadata_of(answer: dict[str, Json], field: str) -> dict[str, Json] | None:
    """Return the map in `field` without its nulls (null means absent), `{}` for null, `None` where it is missing.

    Raise `Unusable` for a field that is neither object nor null, and for values nested too deeply.
    """
    if field not in answer:
        return None
    held = answer[field]
    if held is None:
        return {}
    if not isinstance(held, dict):
        raise Unusable(f"has a `{field}` that is no object")
    for value in held.values():
        if isinstance(value, dict | list) and not _shallow(value):
            raise Unusable("is nested too deeply")
    return {key: value for key, value in held.items() if value is not None}


def _shallow(value: Json) -> bool:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [inner for outer in level for inner in _members(outer)]
        if not level:
            return True
    return False


def _members(value: Json) -> Iterator[Any]:
    if isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, list):
        yield from value


def page(body: bytes) -> str | None:
    """Return a few words for a body that is a page or other markup, with its title or error; `None` for others."""
    begun = body.lstrip().removeprefix(_BYTE_ORDER_MARK).lstrip()
    if begun[:1] != b"<":
        return None
    text = begun[:_SCANNED].decode("utf-8", "replace")
    if _XML.match(text):
        said = {name.casefold(): html.unescape(words).strip() for name, words in _SAID_IN_XML.findall(text)}
        words = ": ".join(filter(None, (said.get("code"), said.get("message"))))
        return f"an XML document that says “{words}”" if words else "an XML document"
    title = _TITLE.search(text)
    words = html.unescape(title[1]).strip() if title else ""
    return f"an HTML page titled “{words}”" if words else "an HTML page"


def complaint(body: bytes) -> Complaint:
    """Return what an error body says, whatever its envelope (API.md); its message is empty for an empty body."""
    markup = page(body)
    if markup:
        return Complaint(markup)
    try:
        value = parse(body)
    except Unusable:
        return Complaint(body[:_SCANNED].decode("utf-8", "replace").strip())
    return _complaint_in(value)


def _complaint_in(value: Json) -> Complaint:
    if not isinstance(value, dict):
        return Complaint(_text(value))
    error = value.get("error")
    if isinstance(error, dict):
        message = error.get("message") or error.get("code") or error
        return Complaint(_text(message), _name(error.get("code")), _name(error.get("type")))
    for said in (error, value.get("detail"), value.get("message")):
        if said:
            return Complaint(_text(said), _name(value.get("code")), _name(value.get("type")))
    return Complaint(_text(value))


def _name(value: Json) -> str | None:
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) and value != "" else None


def _text(value: Json) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "; ".join(_item(item) for item in value[:MAX_DEPTH])
    if isinstance(value, dict):
        for name in ("message", "msg", "error", "detail"):
            if isinstance(value.get(name), str):
                return str(value[name])
    return _compact(value)


def _item(item: Json) -> str:
    """Return one entry of FastAPI's list of validation errors, `loc` before `msg`."""
    if isinstance(item, dict) and isinstance(item.get("msg"), str):
        place = item.get("loc")
        steps = place if isinstance(place, list) else []
        where = ".".join(str(step) for step in steps if isinstance(step, str | int))
        return f"{where}: {item['msg']}" if where else str(item["msg"])
    return item if isinstance(item, str) else _compact(item)


def _compact(value: Json) -> str:
    if value is None or value in ({}, []):
        return ""
    try:
        return json.dumps(value, ensure_ascii=False)
    except RecursionError:
        return "an answer that is nested too deeply"


class Secrets:
    """The texts that show nowhere, in no message and no file: each that was ever sent as a credential in a run.

    More become known as a run goes on. They are kept to its end: an answer, or the text of an error, may hold one
    that has been followed by another.
    """

    def __init__(self, *texts: str) -> None:
        self._texts: tuple[str, ...] = ()
        self.add(*texts)

    def add(self, *texts: str) -> None:
        """Let more texts show nowhere."""
        # The longest first: a shorter one may be a part of it.
        self._texts = tuple(sorted({*self._texts, *texts} - {""}, key=lambda text: (-len(text), text)))

    def __iter__(self) -> Iterator[str]:
        return iter(self._texts)


def _each(secret: str | Secrets) -> Iterable[str]:
    return (secret,) if isinstance(secret, str) else secret


def redacted(body: bytes, secret: str | Secrets) -> bytes:
    """Return a body without `secret`, as it is and as JSON writes it; before anything of the body is cut."""
    for form in _forms(secret):
        body = body.replace(form.encode(), b"***")
    return body


REDACTED_FROM = 4
"""Characters from which on a secret is taken out of messages: without every `a`, nobody could read one, and what is
left out of it would tell what the secret is."""


def _forms(secret: str | Secrets) -> Iterator[str]:
    for text in _each(secret):
        if len(text) >= REDACTED_FROM:
            yield from {text, json.dumps(text)[1:-1]}


ECHO_FROM = 8
"""Characters from which on a credential is looked for in metadata. Vendors' keys are longer, but the keys of servers
that people run themselves are as short as passwords are; what is refused for a word that happens to be the key is told,
and a key in a document is not. A still shorter one is a word, or part of many."""

_PROBE = 16
"""Characters of a credential that are looked for first; bytes are searched faster for fewer of them."""


def echoes(body: bytes, held: Mapping[str, Json], secret: str | Secrets) -> bool:
    """Tell whether a map out of a body has `secret` within any of its keys and strings, nested ones too."""
    return any(_echoed(body, held, text) for text in _each(secret))


def _echoed(body: bytes, held: Mapping[str, Json], secret: str) -> bool:
    # A key is ASCII: only an escape can hide it from a look at the bytes.
    if len(secret) < ECHO_FROM or (secret[-_PROBE:].encode() not in body and b"\\" not in body):
        return False
    return _within(held, secret)


def _within(value: Json, secret: str) -> bool:
    if isinstance(value, dict):
        for key, inner in value.items():
            if secret in key or (secret in inner if isinstance(inner, str) else _within(inner, secret)):
                return True
        return False
    if isinstance(value, list):
        return any(_within(inner, secret) for inner in value)
    return isinstance(value, str) and secret in value


def presentable(text: str, secret: str | Secrets, limit: int = MAX_WORDS) -> str:
    """Return `text` fit for a message: one line, printable, without `secret`, at most `limit` characters."""
    # The secret goes first: a cut through it would leave a part of it standing.
    shown = text
    for form in _forms(secret):
        shown = shown.replace(form, "***")
    line = " ".join("".join(char if char.isprintable() else " " for char in shown[:_SCANNED]).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"
