"""The schema of the settings file as JSON Schema, for editors: made of the models and of the tables that they name.

Draft 7, as that of manifests. It cannot say that `default_target` is one of the targets, nor that a text looks like a
key; `reconciler validate` does.
"""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

from reconciler.dialects import DIALECTS, Removal
from reconciler.gateway.providers import PROVIDERS
from reconciler.kinds import KINDS
from reconciler.manifest.jsonschema import DRAFT, NULL, described
from reconciler.settings.file import CREDENTIALS, NOT_EMBEDDED, SettingsModel

if TYPE_CHECKING:
    from reconciler.dialects import Dialect
    from reconciler.gateway.providers import Provider
    from reconciler.manifest.jsonschema import Schema

_REMOVED = {
    Removal.OMIT: "a key is removed by leaving it out",
    Removal.NULL: "a key is removed by sending null",
    Removal.EMPTY: "a key is removed by sending the empty string",
    Removal.IMPOSSIBLE: "no key can be removed",
}


def settings_schema() -> Schema:
    """Return the JSON Schema of the settings file."""
    schema = described(SettingsModel)
    schema["title"] = "The settings of reconciler"
    targets = schema["properties"]["targets"]
    targets["propertyNames"]["patternErrorMessage"] = (
        "The name of a target: small letters, digits, _ and -, a letter or digit first"
    )
    target = targets["additionalProperties"]
    fields = target["properties"]
    fields["provider"]["enumDescriptions"] = [_provider(row) for row in PROVIDERS.values()]
    fields["base_url"]["patternErrorMessage"] = (
        "https://, or http:// for this machine alone; without user, query and fragment"
    )
    for name, values in fields["writes"]["properties"].items():
        values["description"] = f"How updates of kind {name} work there."
        values["enumDescriptions"] = [_dialect(row) for row in DIALECTS.values()]
        values["examples"] = [KINDS[name].writes.name]
    fields["headers"]["propertyNames"]["patternErrorMessage"] = f"{_HEADER}; a secret one belongs into headers_env"
    fields["headers_env"]["propertyNames"]["patternErrorMessage"] = _HEADER
    target["allOf"] = [
        *(_if_provider(row) for row in PROVIDERS.values() if _asks_for_more(row)),
        *({"not": {"allOf": [_says(one), _says(other)]}} for one, other in combinations(CREDENTIALS, 2)),
        {"if": _says("token_scope"), "then": _says("azure_identity")},
        {"if": {"allOf": [_says("azure_identity"), _one_of_those_without_a_scope()]}, "then": _says("token_scope")},
    ]
    return {"$schema": DRAFT, **schema}


def _provider(row: Provider) -> str:
    """Describe a provider by what its row says."""
    if row.embedded:
        return "The emulator inside the tool: no key, no network; its data is in .reconciler/ beside this file."
    where = f"At {row.base_url} unless base_url says otherwise" if row.base_url else "At the base_url of your resource"
    return f"{where}; the key goes as {'Authorization: Bearer' if row.scheme == 'bearer' else row.scheme}."


def _dialect(row: Dialect) -> str:
    """Describe a dialect by what its row says."""
    if not row.settled:
        return "Not known yet: whole maps are sent, and what is answered shows how it works."
    sent = "the whole map" if row.whole else "the changed pairs"
    return f"A call carries {sent}; {_REMOVED[row.removal]}."


_HEADER = "The name of a header, none that belongs to HTTP itself, makes another request of one, or another field says"


def _says(name: str) -> Schema:
    """Return what holds where a field says anything."""
    return {"required": [name], "properties": {name: {"not": {"enum": [None, False]}}}}


def _one_of_those_without_a_scope() -> Schema:
    names = [row.name for row in PROVIDERS.values() if row.scope is None and not row.embedded]
    return {"required": ["provider"], "properties": {"provider": {"enum": names}}}


def _asks_for_more(row: Provider) -> bool:
    return row.embedded or row.base_url is None


def _nothing(name: str) -> Schema:
    """Return what a field may hold that says nothing."""
    return {"enum": [None, False]} if name == "azure_identity" else NULL


def _if_provider(row: Provider) -> Schema:
    """Return what else holds for a target of this provider."""
    if row.embedded:
        message = f"the provider {row.name} runs in this process and takes none"
        then: Schema = {"properties": {name: {**_nothing(name), "errorMessage": message} for name in NOT_EMBEDDED}}
    else:
        then = {"required": ["base_url"], "properties": {"base_url": {"type": "string"}}}
        if row.guarded:
            some = {"required": ["headers_env"], "properties": {"headers_env": {"minProperties": 1}}}
            then["anyOf"] = [*map(_says, CREDENTIALS), some]
    return {"if": {"required": ["provider"], "properties": {"provider": {"const": row.name}}}, "then": then}
