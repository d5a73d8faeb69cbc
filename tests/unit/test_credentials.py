"""What looks like a key, and what does not."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import random
import string
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.credentials import FORMATS, any_looks_so, looks_like

LETTERS = "aB3dE5gH7jK9mN1pQ2sT4vW6yZ8" * 8
HEX = "0a1b2c3d4e5f6789" * 8
KEYS = {
    f"sk-{LETTERS[:48]}": "an OpenAI key",
    f"sk-proj-{LETTERS[:60]}_-{LETTERS[:20]}": "an OpenAI key",
    f"sk-svcacct-{LETTERS[:60]}": "an OpenAI key",
    f"sk-admin-{LETTERS[:60]}": "an OpenAI key",
    f"sk-or-v1-{HEX[:64]}": "an OpenAI key",
    f"sk-ant-api03-{LETTERS[:93]}AA": "an Anthropic key",
    "AKIAIOSFODNN7EXAMPLE": "an AWS access key id",
    "ASIAIOSFODNN7EXAMPLE": "an AWS access key id",
    **{f"gh{one}_{LETTERS[:36]}": "a GitHub token" for one in "pousr"},
    f"github_pat_{LETTERS[:22]}_{LETTERS[:59]}": "a GitHub token",
    f"glpat-{LETTERS[:20]}": "a GitLab token",
    f"glrt-{LETTERS[:20]}": "a GitLab token",
    f"xoxb-123456789012-123456789012-{LETTERS[:24]}": "a Slack token",
    f"xapp-1-A0123456789-123456789012-{HEX[:64]}": "a Slack token",
    f"https://hooks.slack.com/services/T01234567/B01234567/{LETTERS[:24]}": "a Slack webhook",
    f"AIza{LETTERS[:35]}": "a Google key",
    f"sk_live_{LETTERS[:24]}": "a Stripe key",
    f"rk_live_{LETTERS[:24]}": "a Stripe key",
    f"npm_{LETTERS[:36]}": "an npm token",
    f"pypi-AgEIcHlwaS5vcmc{LETTERS[:80]}": "a PyPI token",
    f"hf_{string.ascii_letters[:34]}": "a Hugging Face token",
    f"SG.{LETTERS[:22]}.{LETTERS[:43]}": "a SendGrid key",
    f"dop_v1_{HEX[:64]}": "a DigitalOcean token",
    f"dapi{HEX[:32]}-2": "a Databricks token",
    f"DefaultEndpointsProtocol=https;AccountName=a;AccountKey={LETTERS[:86]}==;": "an Azure storage key",
    f"Endpoint=sb://x/;SharedAccessKeyName=a;SharedAccessKey={LETTERS[:43]}=": "an Azure access key",
    f"SK{HEX[:32]}": "a Twilio key",
    f"123456789:AA{LETTERS[:33]}": "a Telegram bot token",
    "-----BEGIN RSA PRIVATE KEY-----\nMII": "a private key",
    "-----BEGIN PRIVATE KEY-----": "a private key",
    "-----BEGIN OPENSSH PRIVATE KEY-----": "a private key",
    "-----BEGIN ENCRYPTED PRIVATE KEY-----": "a private key",
    "-----BEGIN PGP PRIVATE KEY BLOCK-----": "a private key",
    "PuTTY-User-Key-File-3: ssh-ed25519": "a private key of PuTTY",
}


@pytest.mark.parametrize(("key", "name"), KEYS.items(), ids=lambda text: text[:18])
def test_a_key_is_known_wherever_it_stands(key, name):
    for text in (key, f"x={key}", f'"{key}"', json.dumps({"a": [f"b\n{key}\n"]}), f"({key})", f"Bearer {key}, {key}"):
        assert looks_like(text) == name, text
    assert any_looks_so(["harmless", f"a {key}", "harmless"])


def test_every_format_has_a_key_that_shows_it():
    assert {form.name for form in FORMATS} == set(KEYS.values())
    assert all(any(marker in key for key in KEYS for marker in form.markers) for form in FORMATS)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "task-list-of-the-team-that-was-here-before",
        "sk-learn",
        "risk-" + "a" * 48,
        "disk-0123456789abcdef0123456789abcdef",
        "AKIA",
        "MAKIABCDEFGHIJKLMNOPQ",
        "ASIA PACIFIC REGION 2",
        "ASIAPACIFICREGIONSOUTHEAST",
        "hf_model",
        "npm_run_build",
        "ghp_short",
        "glpat-x",
        "xoxo-kisses",
        "AIza",
        "SG.1.2",
        "dapifinger",
        "SKU-12345",
        "SK" + "0" * 31,
        "-----BEGIN PUBLIC KEY-----",
        "-----BEGIN CERTIFICATE-----",
        "AccountKey=",
        "12:AA",
        str(uuid.UUID(int=5)),
        hashlib.sha512(b"x").hexdigest(),
        hashlib.md5(b"x").hexdigest(),
        f"sha256:{hashlib.sha256(b'x').hexdigest()}",
        "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U",
        "thread_abc123",
        "sk_unit_of_measure",
        "$2b$12$abcdefghijklmnopqrstuuabcdefghijklmnopqrstuuabcdefghijkl",
    ],
)
def test_what_only_resembles_a_key_passes(text):
    assert looks_like(text) is None


def test_what_people_pack_into_values_passes():
    chance = random.Random(4711)
    for _ in range(3000):
        packed = chance.randbytes(380)
        for text in (base64.b64encode(packed), base64.urlsafe_b64encode(packed), base64.b32encode(packed[:300])):
            assert looks_like(text.decode()) is None
        assert looks_like(packed.hex()) is None
    assert looks_like(base64.b64encode(gzip.compress(b"some text " * 100, mtime=0)).decode()) is None


@given(st.text())
def test_any_text_is_judged(text):
    assert looks_like(text) in (None, *(form.name for form in FORMATS))
