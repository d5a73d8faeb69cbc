"""What the gateway sends to each provider, for each kind: every request is one of the published API."""

from __future__ import annotations

import asyncio

import pytest
from api.judge import Judge
from doors import EVERY, ref_of
from pydantic import SecretStr

from reconciler.emulator import live_behaviour
from reconciler.emulator.service import Held, Request, handle
from reconciler.emulator.store import MemoryStore
from reconciler.gateway.client import Connection, open_gateway
from reconciler.gateway.providers import PROVIDERS
from reconciler.gateway.transport import HandlerTransport

BASES = {
    "openai": "https://api.example/v1",
    "azure-openai": "https://some.openai.azure.com/openai/v1",
    "azure-foundry": "https://some.services.ai.azure.com/api/projects/some",
    "emulator": "http://emulator.invalid/v1",
}
"""Where each provider is, by API.md. For `openai` a compatible server: the vendor's own host has retired some kinds."""
NEWER = ["conversation", "chat_completion", "eval", "agent", "agent_session", "vault", "vault_credential", "automation"]
BELOW = {"azure-foundry": dict.fromkeys(NEWER, "/openai/v1")}
"""What is not at a provider's base but below it: confirmed for the list of conversations, likely for the others."""
QUERIES = {"azure-foundry": {"api-version": "v1"}}
"""What API.md has in every URL of a provider."""


def test_every_provider_is_judged():
    assert BASES.keys() == PROVIDERS.keys()


@pytest.mark.parametrize("provider", BASES)
@EVERY
def test_every_request_of_every_kind_is_one_of_the_published_api(kind, provider):
    base = f"/{BASES[provider].split('/', 3)[3]}{BELOW.get(provider, {}).get(kind.name, '')}"
    judge = Judge(base=base, query=QUERIES.get(provider, {}))
    store, behaviour, ref = MemoryStore(), live_behaviour(), ref_of(kind)
    store.put(ref, Held(1, {"a": "1"}))
    made = []

    def answer(method, target, headers, body):
        judge.request(method, target, headers, body)
        made.append((method, target))
        below = target.removeprefix(base)
        response = handle(store, Request.aimed(method, f"/v1{below}", headers, body), behaviour)
        return response.status, response.headers, response.body

    async def work():
        connection = Connection(
            PROVIDERS[provider], BASES[provider], SecretStr("a-key"), organization="org_1", project="proj_1"
        )
        async with open_gateway(connection, transport=HandlerTransport(answer)) as gateway:
            await gateway.fetch(ref)
            await gateway.modify(ref, {"ü": "é & = ? # \U0001f600", **({"n": 1, "b": True} if kind.scalars else {})})
            where = {"ü & =": "é?#"} if kind.filtered else {}
            await gateway.page(kind.name, ref.id.rpartition("/")[0], where=where, after=ref.id.rpartition("/")[2])

    asyncio.run(work())
    judge.verdict()
    assert [method for method, _ in made] == ["GET", "POST", "GET"]
    assert all(target.startswith(f"{base}/") for _, target in made)
