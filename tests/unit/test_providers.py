from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest

from reconciler.addresses import parse_base_url
from reconciler.gateway.providers import PROVIDERS, Scheme
from reconciler.kinds import KINDS


def test_every_row_is_found_by_its_own_name():
    assert [row.name for row in PROVIDERS.values()] == list(PROVIDERS)
    assert set(PROVIDERS) == {"openai", "azure-openai", "azure-foundry", "emulator"}


def test_rows_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        PROVIDERS["openai"].base_url = "https://elsewhere.example"
    with pytest.raises(TypeError):
        PROVIDERS["mine"] = PROVIDERS["openai"]


def test_only_services_with_one_address_for_all_have_a_default_url():
    assert {name for name, row in PROVIDERS.items() if row.base_url is None} == {"azure-openai", "azure-foundry"}


def test_only_the_emulator_is_embedded_and_needs_no_credential():
    assert [name for name, row in PROVIDERS.items() if row.embedded] == ["emulator"]
    assert [name for name, row in PROVIDERS.items() if row.scheme is Scheme.NONE] == ["emulator"]


def test_who_answers_nobody_without_a_credential_says_what_a_token_is_for():
    scopes = {name: row.scope for name, row in PROVIDERS.items() if row.guarded}
    assert scopes == {
        "azure-openai": "https://cognitiveservices.azure.com/.default",
        "azure-foundry": "https://ai.azure.com/.default",
    }
    assert {name for name, row in PROVIDERS.items() if row.scope} == scopes.keys()


def test_an_example_is_an_address_that_the_row_takes():
    for row in PROVIDERS.values():
        assert parse_base_url(row.example.lower())


@pytest.mark.parametrize(
    ("provider", "given", "address"),
    [
        ("azure-openai", "https://n.openai.azure.com", "https://n.openai.azure.com/openai/v1"),
        ("azure-openai", "https://n.openai.azure.com/openai/v1", "https://n.openai.azure.com/openai/v1"),
        ("azure-openai", "https://gateway.example/team-a", "https://gateway.example/team-a"),
        ("azure-foundry", "https://r.services.ai.azure.com/api/projects/p",
         "https://r.services.ai.azure.com/api/projects/p"),
        ("openai", "https://threads.example", "https://threads.example"),
    ],
)  # fmt: skip
def test_a_path_is_put_behind_a_base_url_that_has_none(provider, given, address):
    assert PROVIDERS[provider].address(parse_base_url(given)) == address
    assert PROVIDERS[provider].address(parse_base_url(f"{given}/")) == address


def test_of_foundry_the_threads_and_their_family_are_at_the_endpoint_and_the_newer_api_below_it():
    below = PROVIDERS["azure-foundry"].below
    at_endpoint = {"thread", "message", "run", "assistant", "vector_store", "vector_store_file"}
    assert below == dict.fromkeys(KINDS.keys() - at_endpoint, "/openai/v1")
    assert not [name for name, row in PROVIDERS.items() if row.below and name != "azure-foundry"]


def test_foundry_names_its_api_version_in_every_url():
    assert PROVIDERS["azure-foundry"].query == (("api-version", "v1"),)


def test_default_urls_are_safe_for_credentials_and_have_no_trailing_slash():
    urls = [row.base_url for row in PROVIDERS.values() if row.base_url and not row.embedded]
    assert all(url.startswith("https://") and not url.endswith("/") for url in urls)
