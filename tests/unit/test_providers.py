from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest

from reconciler.gateway.providers import PROVIDERS, Scheme


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


def test_foundry_names_its_api_version_in_every_url():
    assert PROVIDERS["azure-foundry"].query == (("api-version", "v1"),)


def test_default_urls_are_safe_for_credentials_and_have_no_trailing_slash():
    urls = [row.base_url for row in PROVIDERS.values() if row.base_url and not row.embedded]
    assert all(url.startswith("https://") and not url.endswith("/") for url in urls)
