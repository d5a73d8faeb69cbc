"""Tokens that end: what a source printed, taken apart, and when to ask for the next one.

Pure: the time is an argument. Who holds a token, and asks, is the keeper (`keeper.py`).
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from dataclasses import dataclass, field
from datetime import datetime
from types import NoneType
from typing import TYPE_CHECKING, Any

from reconciler.addresses import is_header_value
from reconciler.errors import Fault, TargetRefused

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

EARLY = 300.0
"""Seconds before its end that a token is followed by the next one: so many calls never meet one that has just ended."""
SHARE = 5
"""Of a short-lived token it is this part of what is left of it."""
PAUSE = 10.0
"""Seconds between two askings of a source ahead of time: one that keeps giving the same token is not asked for ever."""
LARGEST = 16 * 1024
"""Characters of a token, at most: what a header of common servers holds."""


class NoToken(TargetRefused):
    """No token is to be had, so there is no use in asking the target anything."""

    def __init__(self, message: str) -> None:
        super().__init__(Fault("no_token", message))


@dataclass(frozen=True, slots=True)
class Token:
    """A token, and when it ends in seconds since 1970; `None` where nobody tells."""

    text: str = field(repr=False)
    expires: float | None = None


# --- what a source printed --------------------------------------------------------------------------------------------


def _since_1970(value: Any, _now: float) -> float | None:
    """Read seconds (or milliseconds) since 1970, also as text."""
    number = _number(value)
    return None if number is None else number / 1000 if number > 1e11 else number


def _from_now(value: Any, now: float) -> float | None:
    """Read the seconds that are left; fewer than none are none."""
    number = _number(value, least=-math.inf)
    return None if number is None else now + number


def _date(value: Any, now: float) -> float | None:
    """Read an ISO date, by local time where it names no zone (as `az` writes it); or seconds since 1970."""
    if not isinstance(value, str):
        return _since_1970(value, now)
    try:
        return datetime.fromisoformat(value.strip()).timestamp()
    except (ValueError, OverflowError, OSError):
        return _since_1970(value, now)


def _number(value: Any, least: float = 0) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) and number >= least else None


TOKEN_FIELDS = ("accessToken", "access_token", "token")
"""What a token is called in JSON: by az, by OAuth 2.0 (RFC 6749, 5.1), by azd."""
EXPIRY_FIELDS: tuple[tuple[str, Callable[[Any, float], float | None]], ...] = (
    ("expires_on", _since_1970),  # az from 2.54 on, managed identities
    ("expires_at", _date),
    ("expiresOn", _date),  # azd with a zone; az in local time, where it has nothing better
    ("token_expiry", _date),  # gcloud
    ("expires_in", _from_now),  # RFC 6749
)
"""When a token ends, by the name of the field, and how that is read; the first that can be read counts."""


def token_in(printed: bytes, now: float) -> Token:
    """Return the token that a command printed at `now`: alone, or in a JSON object of one of the known shapes.

    Raises `ValueError` with a reason that holds nothing of what was printed.
    """
    try:
        text = printed.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        raise ValueError("printed something that is no text") from None
    if not text:
        raise ValueError("printed nothing")
    found = _json(text)
    if isinstance(found, dict):
        return _token(_named(found), _expiry_in(found, now), now)
    if (other := _NOT_A_TOKEN.get(type(found))) is not None:
        raise ValueError(f"printed JSON without a token: {other}, no text and no object")
    if not found.strip():
        raise ValueError("printed an empty text")
    return _token(found.strip(), None, now)


_NOT_A_TOKEN: Mapping[type, str] = {
    list: "a list", bool: "true or false", int: "a number", float: "a number", NoneType: "null",
}  # fmt: skip
"""What else JSON may be. A tool that has nothing to give prints `null` or `[]`, and succeeds."""


def _json(text: str) -> Any:
    """Return what a text is in JSON, or itself where it is none and does not begin as if it were."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        if text[:1] in ("{", "[", '"'):
            raise ValueError("printed JSON that is broken") from None
        return text


def _named(found: Mapping[str, Any]) -> str:
    for name in TOKEN_FIELDS:
        value = found.get(name)
        if isinstance(value, str) and value.strip():
            return value.strip()
    raise ValueError(f"printed JSON without a token: none of {', '.join(TOKEN_FIELDS)} is in it")


def _expiry_in(found: Mapping[str, Any], now: float) -> float | None:
    told = (read(found[name], now) for name, read in EXPIRY_FIELDS if found.get(name) is not None)
    return next((expires for expires in told if expires is not None), None)


def _token(text: str, expires: float | None, now: float) -> Token:
    if not is_header_value(text):
        raise ValueError("printed what is no token: spaces, line breaks or special characters are in it")
    if len(text) > LARGEST:
        raise ValueError(f"printed a token of more than {LARGEST} characters")
    return living(Token(text, jwt_expiry(text) if expires is None else expires), now)


_YEAR = 365 * 24 * 3600


def living(token: Token, now: float) -> Token:
    """Return the token; raises `ValueError` where it has ended."""
    if token.expires is not None and token.expires <= now:
        ago = now - token.expires
        words = f"{ago:.0f} s ago" if ago < _YEAR else "long ago"
        raise ValueError(f"gave a token that ended {words} by the clock of this machine")
    return token


def jwt_expiry(token: str) -> float | None:
    """Return when a JSON Web Token ends (RFC 7519, 4.1.4), `None` for what is none, or does not tell."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, RecursionError, binascii.Error):
        return None
    return _number(claims.get("exp")) if isinstance(claims, dict) else None


# --- when -------------------------------------------------------------------------------------------------------------


def due(now: float, expires: float | None) -> float:
    """Return when a token that is had at `now` is to be followed by another: ahead of its end, but not at once."""
    if expires is None:
        return math.inf
    left = expires - now
    return min(expires, max(expires - min(EARLY, left / SHARE), now + PAUSE))
