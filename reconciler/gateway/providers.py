"""The table of providers: where a service is and how it wants to be addressed (API.md, "Pace, retries, headers").

Any compatible server is reached with the row `openai` and a base URL of its own.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class Scheme(enum.StrEnum):
    """How a credential is sent."""

    BEARER = "bearer"
    """`Authorization: Bearer …`."""
    API_KEY = "api-key"
    """Header `api-key`, except for an Entra token: that is a JWT, which no key looks like, and goes as bearer."""
    NONE = "none"
    """Not at all."""


@dataclass(frozen=True, slots=True)
class Provider:
    """One row.

    `base_url` is the default, or `None` where the URL names a resource of the user's own and must be given.
    `query` is appended to every URL. `tenancy`: the headers that name an
    organisation and a project are sent. `embedded`: at its default base URL there is no server; an emulator in
    this process answers.
    """

    name: str
    base_url: str | None
    scheme: Scheme = Scheme.BEARER
    query: tuple[tuple[str, str], ...] = ()
    tenancy: bool = False
    embedded: bool = False


EMULATOR_URL = "http://emulator.invalid/v1"
"""No name ends in `.invalid` (RFC 2606), so a request that strays from the emulator reaches nobody."""

_ROWS = (
    Provider("openai", "https://api.openai.com/v1", tenancy=True),
    Provider("azure-openai", None, scheme=Scheme.API_KEY),
    Provider("azure-foundry", None, query=(("api-version", "v1"),)),
    Provider("emulator", EMULATOR_URL, scheme=Scheme.NONE, embedded=True),
)

PROVIDERS: Mapping[str, Provider] = MappingProxyType({row.name: row for row in _ROWS})
"""Rows by the name that a settings file uses."""
