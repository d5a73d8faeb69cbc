"""The table of kinds: everything that can carry metadata that we can change.

One row per kind, from API.md ("Every kind whose metadata can be changed"). The rest of the program loops over rows;
a new kind is a new row here.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from reconciler.dialects import AUTO, MERGE, REPLACE, Dialect
from reconciler.model import ID_PATTERN

if TYPE_CHECKING:
    from collections.abc import Mapping

OPENAI_HOST = "api.openai.com"
"""The vendor's own host: the only place where the rows' dialects are confirmed."""


def at_vendor(host: str) -> bool:
    """Tell whether a host is the vendor's own: that of the API, one of its regions, either with the root's dot."""
    name = host.lower().removesuffix(".")
    return name == OPENAI_HOST or name.endswith(f".{OPENAI_HOST}")


ASSISTANTS = MappingProxyType({"OpenAI-Beta": "assistants=v2"})
AGENTS = MappingProxyType({"OpenAI-Beta": "agents=v1"})
NO_HEADERS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Kind:
    """One row.

    `name` is used in references, `plural` names the section in a manifest, `noun` is how the API's own messages call
    it. `path` is below the base URL, with `{id}` and, for kinds below a parent, `{parent}`; `field` is the property
    that holds the map. `scalars`: numbers and booleans are values here too. `required`: a body without the field is
    refused; `nullable`: the field may be null in a body (we never send either). `parent` names the kind of the parent.
    `listed`: the vendor itself pages through the collection; `filtered`: the list takes `metadata[key]=value`. `lags`:
    what a read shows may be older than the last write. `writes` is the dialect, `confirmed` whether a primary source
    says so for the vendor's own host; where it does not, the dialect there is `auto`. `prefix` begins every id on the
    vendor's own host, `object` is what it answers in the property of that name, `not_found` is its message for an
    unknown id. `retired` is the day on which the vendor stopped serving the kind, and `successor` where to go.
    """

    name: str
    plural: str
    noun: str
    path: str
    writes: Dialect
    confirmed: bool
    headers: Mapping[str, str] = dataclasses.field(default_factory=lambda: NO_HEADERS)
    field: str = "metadata"
    scalars: bool = False
    required: bool = False
    nullable: bool = True
    parent: str = ""
    listed: bool = True
    filtered: bool = False
    lags: bool = False
    prefix: str = ""
    object: str = ""
    not_found: str = "No {noun} found with id '{id}'."
    retired: str | None = None
    successor: str | None = None

    @property
    def nested(self) -> bool:
        """Tell whether an id of this kind is written `parent/child`."""
        return bool(self.parent)

    @property
    def collection(self) -> str:
        """Return the path of the collection: where new ones are created."""
        return self.path.removesuffix("/{id}")

    @property
    def id_pattern(self) -> str:
        """Return what `valid_id` asks for as a regular expression that JSON Schema understands."""
        return f"^{_IDS[self.nested].pattern}$"

    def valid_id(self, text: str) -> bool:
        """Tell whether `text` is written like an id of this kind: safe segments, a parent where one is due."""
        return _IDS[self.nested].fullmatch(text) is not None

    def default_dialect(self, host: str) -> Dialect:
        """Return the dialect to assume at `host`: the row's where it is confirmed, else `auto`."""
        return self.writes if self.confirmed and host == OPENAI_HOST else AUTO

    def retired_at(self, host: str) -> bool:
        """Tell whether `host` has stopped serving this kind."""
        return self.retired is not None and at_vendor(host)


_IDS = (ID_PATTERN, re.compile(f"{ID_PATTERN.pattern}/{ID_PATTERN.pattern}"))
"""Whole ids: of one segment, and of a parent and a child."""
_RETIRED = "2026-08-26"

_ROWS = (
    Kind(
        "thread", "threads", "thread", "/threads/{id}", MERGE, confirmed=True, headers=ASSISTANTS,
        listed=False, prefix="thread_", retired=_RETIRED, successor="conversation",
    ),
    Kind(
        "message", "messages", "message", "/threads/{parent}/messages/{id}", MERGE, confirmed=False,
        headers=ASSISTANTS, parent="thread", prefix="msg_", object="thread.message",
        retired=_RETIRED, successor="conversation",
    ),
    Kind(
        "run", "runs", "run", "/threads/{parent}/runs/{id}", MERGE, confirmed=False, headers=ASSISTANTS,
        parent="thread", prefix="run_", object="thread.run",
        retired=_RETIRED, successor="conversation",
    ),
    Kind(
        "assistant", "assistants", "assistant", "/assistants/{id}", MERGE, confirmed=False, headers=ASSISTANTS,
        prefix="asst_", retired=_RETIRED, successor="agent",
    ),
    Kind(
        "conversation", "conversations", "conversation", "/conversations/{id}", MERGE, confirmed=False,
        required=True, listed=False, prefix="conv_",
        not_found="Conversation with id '{id}' not found.",
    ),
    Kind(
        "chat_completion", "chat_completions", "chat completion", "/chat/completions/{id}", AUTO,
        confirmed=False, required=True, filtered=True, lags=True, prefix="chatcmpl-",
        object="chat.completion",
    ),
    Kind(
        "vector_store", "vector_stores", "vector store", "/vector_stores/{id}", MERGE, confirmed=False,
        headers=ASSISTANTS, prefix="vs_",
    ),
    Kind(
        "vector_store_file", "vector_store_files", "file", "/vector_stores/{parent}/files/{id}", REPLACE,
        confirmed=False, headers=ASSISTANTS, field="attributes", scalars=True, required=True,
        parent="vector_store", prefix="file-", object="vector_store.file",
    ),
    Kind("eval", "evals", "eval", "/evals/{id}", AUTO, confirmed=False, prefix="eval_"),
    Kind("agent", "agents", "agent", "/agents/{id}", REPLACE, confirmed=True, headers=AGENTS, prefix="agent_"),
    Kind(
        "agent_session", "agent_sessions", "session", "/agents/sessions/{id}", REPLACE, confirmed=True,
        headers=AGENTS, filtered=True, object="agent.session",
    ),
    Kind("vault", "vaults", "vault", "/vaults/{id}", REPLACE, confirmed=True, headers=AGENTS, nullable=False),
    Kind(
        "vault_credential", "vault_credentials", "credential", "/vaults/{parent}/credentials/{id}", REPLACE,
        confirmed=True, headers=AGENTS, nullable=False, parent="vault", object="vault.credential",
    ),
    Kind(
        "automation", "automations", "automation", "/agents/automations/{id}", REPLACE, confirmed=True,
        headers=AGENTS, nullable=False, object="agent.automation",
    ),
)  # fmt: skip

KINDS: Mapping[str, Kind] = MappingProxyType({row.name: row for row in _ROWS})
"""Rows by name, as in `thread/thread_abc`."""
BY_PLURAL: Mapping[str, Kind] = MappingProxyType({row.plural: row for row in _ROWS})
"""Rows by the name of their section in a manifest."""
