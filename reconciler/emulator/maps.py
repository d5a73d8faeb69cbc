"""What an update does to a map: dialects, limits, and the words of a refusal.

The texts are those of API.md, "Limits and their error texts".
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NoReturn

from reconciler.dialects import Removal
from reconciler.model import EMPTY, MAX_KEY, MAX_PAIRS, MAX_VALUE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from reconciler.dialects import Dialect
    from reconciler.kinds import Kind
    from reconciler.model import Metadata

_TYPES: Mapping[type, str] = MappingProxyType(
    {
        str: "a string",
        bool: "a boolean",
        int: "an integer",
        float: "a decimal number",
        list: "an array",
        dict: "an object",
        type(None): "null",
    }
)


def envelope(message: str, code: str | None, param: str | None = None, kind: str = "invalid_request_error") -> object:
    """Return the envelope of an error."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


class Refused(Exception):
    """The request is answered with an error; raised here and caught by the service."""

    def __init__(self, status: int, payload: object, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status)
        self.status = status
        self.payload = payload
        self.headers = headers


def refuse(message: str, code: str | None, param: str | None = None) -> NoReturn:
    """Answer with 400."""
    raise Refused(400, envelope(message, code, param))


def updated(kind: Kind, dialect: Dialect, held: Metadata, body: Mapping[str, Any]) -> Metadata:
    """Return the map after an update with this body; refuse what breaks a limit before or after."""
    if kind.field not in body:
        return held
    sent = body[kind.field]
    if sent is None and kind.nullable:
        return EMPTY if dialect.whole else held
    if not isinstance(sent, dict):
        refuse_type(kind.field, "an object", sent)
    _check_count(kind, len(sent))
    for key, value in sent.items():
        _check_pair(kind, dialect, key, value)
    pairs = _merged(held, sent, dialect)
    _check_count(kind, len(pairs))
    return pairs


def check_filter(kind: Kind, pairs: Mapping[str, str]) -> None:
    """Refuse a filter that no map within the limits can match."""
    _check_count(kind, len(pairs))
    for key, value in pairs.items():
        _check_length(kind, key, value)


def _merged(held: Metadata, sent: Mapping[str, Any], dialect: Dialect) -> Metadata:
    """Return the map after `sent`, already checked, was taken over in this dialect."""
    pairs = {} if dialect.whole else dict(held)
    for key, value in sent.items():
        if value is None or (value == "" and not dialect.stores_empty):
            pairs.pop(key, None)
        else:
            pairs[key] = value
    return pairs


def _check_pair(kind: Kind, dialect: Dialect, key: str, value: object) -> None:
    _check_length(kind, key, value)
    if value is not None or dialect.removal is not Removal.NULL:
        _check_type(kind, key, value)


def _check_type(kind: Kind, key: str, value: object) -> None:
    if not isinstance(value, (str, bool, int, float) if kind.scalars else str):
        refuse_type(f"{kind.field}.{key}", "a string, number or boolean" if kind.scalars else "a string", value)


def _check_length(kind: Kind, key: str, value: object) -> None:
    if len(key) > MAX_KEY:
        message = (
            f"Invalid property name in '{kind.field}': '{key}' is too long. "
            f"Expected a string with maximum length {MAX_KEY}, but got a string with length {len(key)} instead."
        )
        refuse(message, "property_name_above_max_length", kind.field)
    path = f"{kind.field}.{key}"
    if isinstance(value, str) and len(value) > MAX_VALUE:
        message = (
            f"Invalid '{path}': string too long. Expected a string with maximum length {MAX_VALUE}, "
            f"but got a string with length {len(value)} instead."
        )
        refuse(message, "string_above_max_length", path)


def _check_count(kind: Kind, count: int) -> None:
    if count > MAX_PAIRS:
        message = (
            f"Invalid '{kind.field}': too many properties. Expected an object with at most {MAX_PAIRS} properties, "
            f"but got an object with {count} properties instead."
        )
        refuse(message, "object_above_max_properties", kind.field)


def refuse_type(path: str, expected: str, got: object) -> NoReturn:
    """Answer with 400 for a value of another type than expected."""
    refuse(f"Invalid type for '{path}': expected {expected}, but got {type_name(got)} instead.", "invalid_type", path)


def type_name(value: object) -> str:
    """Return what the API calls the type of a JSON value."""
    return _TYPES[type(value)]
