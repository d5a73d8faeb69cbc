"""The table of providers: where a service is and how it wants to be addressed (API.md, "Pace, retries, headers").

Any compatible server is reached with the row `openai` and a base URL of its own.
"""

from __future__ import annotations

import dataclasses
import enum
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from reconciler.kinds import KINDS, at_vendor

if TYPE_CHECKING:
    from collections.abc import Mapping

    from reconciler.kinds import Kind


class Scheme(enum.StrEnum):
    """How a credential is sent."""

    BEARER = "bearer"
    """`Authorization: Bearer …`."""
    API_KEY = "api-key"
    """Header `api-key`, except for an Entra token: what a command or an identity gave, or a JWT, goes as bearer."""
    NONE = "none"
    """Not at all."""


@dataclass(frozen=True, slots=True)
class Provider:
    """One row.

    `base_url` is the default, or `None` where the URL names a resource of the user's own and must be given, in the
    shape of `example`; `path` is put behind one that has none. `below` has the kinds that are not at the base URL
    itself but at a path below it. `query` is appended to every URL. `scope` is what an Entra token for it is for.
    `guarded`: nothing is answered without a credential. `lists` are the kinds whose collections can be paged through
    here and not at the vendor's own host (API.md, the column "listable"); `exact`: what the vendor does not do is not
    done here. `title` is what people call it. `tenancy`: the headers that name an organisation and a project
    are sent. `embedded`: at its default base URL there is no server; an emulator in this process answers.
    """

    name: str
    base_url: str | None
    scheme: Scheme = Scheme.BEARER
    query: tuple[tuple[str, str], ...] = ()
    tenancy: bool = False
    embedded: bool = False
    example: str = "https://threads.example/v1"
    path: str = ""
    below: Mapping[str, str] = dataclasses.field(default_factory=lambda: NOT_BELOW)
    scope: str | None = None
    guarded: bool = False
    lists: frozenset[str] = frozenset()
    exact: bool = False
    title: str = ""

    def address(self, base_url: str) -> str:
        """Return where the API begins at a base URL (one that `parse_base_url` returned) as somebody gave it."""
        return base_url if urlsplit(base_url).path else f"{base_url}{self.path}"


NOT_BELOW: Mapping[str, str] = MappingProxyType({})
_NEWER = MappingProxyType(
    dict.fromkeys(
        (
            "conversation", "chat_completion", "eval",
            "agent", "agent_session", "vault", "vault_credential", "automation",
        ),
        "/openai/v1",
    )
)  # fmt: skip
"""Likely, not confirmed: of a Foundry project, the newer API is below its endpoint, as `GET /openai/v1/conversations`
is (API.md). The threads, their family and the vector stores that they use are at the endpoint itself, which is
confirmed for threads."""

EMULATOR_URL = "http://emulator.invalid/v1"
"""No name ends in `.invalid` (RFC 2606), so a request that strays from the emulator reaches nobody."""

_UNLISTED = frozenset(kind.name for kind in KINDS.values() if not kind.listed)

_ROWS = (
    Provider("openai", "https://api.openai.com/v1", tenancy=True, title="OpenAI"),
    Provider(
        "azure-openai", None, scheme=Scheme.API_KEY, example="https://NAME.openai.azure.com", path="/openai/v1",
        scope="https://cognitiveservices.azure.com/.default", guarded=True, exact=True, title="Azure OpenAI",
    ),
    Provider(
        "azure-foundry", None, query=(("api-version", "v1"),), below=_NEWER,
        example="https://RESOURCE.services.ai.azure.com/api/projects/PROJECT",
        scope="https://ai.azure.com/.default", guarded=True, lists=_UNLISTED, title="Azure AI Foundry",
    ),
    Provider("emulator", EMULATOR_URL, scheme=Scheme.NONE, embedded=True, lists=_UNLISTED, title="the emulator"),
)  # fmt: skip

PROVIDERS: Mapping[str, Provider] = MappingProxyType({row.name: row for row in _ROWS})
"""Rows by the name that a settings file uses."""


class Listing(enum.Enum):
    """Whether a collection can be paged through, as far as known before anybody is asked."""

    YES = "yes"
    NO = "no"
    UNTOLD = "untold"
    """A compatible server: some do what the vendor does not."""


def listing(kind: Kind, provider: Provider, host: str) -> Listing:
    """Tell whether the collection of a kind can be paged through at `host`."""
    if kind.listed or kind.name in provider.lists:
        return Listing.YES
    return Listing.NO if provider.exact or at_vendor(host) else Listing.UNTOLD


def filters(kind: Kind, provider: Provider, host: str) -> bool:
    """Tell whether a list of `kind` is known to take `metadata[key]=value` at `host`.

    A server that does not know the parameter could refuse it, or take it for another one.
    """
    return kind.filtered and (provider.embedded or at_vendor(host))


def listable(kind: Kind) -> str:
    """Return where a kind can be listed, in a few words."""
    if kind.nested:
        return f"below its {KINDS[kind.parent].noun}"
    if not kind.listed:
        return f"{', '.join(row.title for row in lists_of(kind) if not row.embedded)} only"
    return "yes, metadata filter" if kind.filtered else "yes"


def lists_of(kind: Kind) -> tuple[Provider, ...]:
    """Return the providers that list a kind which the vendor does not."""
    return tuple(row for row in PROVIDERS.values() if kind.name in row.lists)
