"""Which addresses may be talked to, and what a header carries."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.addresses import (
    InsecureUrl,
    is_allowed,
    is_header_value,
    is_loopback,
    is_loopback_address,
    is_remote_name,
    parse_base_url,
)


@pytest.mark.parametrize(
    ("host", "ours"),
    [("127.0.0.1", True), ("127.8.0.1", True), ("::1", True), ("0.0.0.0", False), ("192.168.0.1", False), ("x", False)],
)
def test_only_loopback_addresses_are_of_this_machine_alone(host: str, ours: bool) -> None:
    assert is_loopback(host) is is_loopback_address(host) is ours


def test_localhost_is_a_name_and_no_address() -> None:
    assert is_loopback("localhost")
    assert not is_loopback_address("localhost")
    assert not is_loopback("localhost.example")


@pytest.mark.parametrize(
    ("text", "carried"),
    [("sk-1", True), ("a.b/c=", True), ("", False), ("a b", False), ("a\n", False), ("\na", False), ("ключ", False)],
)
def test_a_header_carries_visible_ascii_without_spaces(text: str, carried: bool) -> None:
    assert is_header_value(text) is carried


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("https://x.example", "https://x.example"),
        ("https://X.example:8443/A/b//", "https://x.example:8443/A/b"),
        ("HTTPS://x.example/v1", "https://x.example/v1"),
        ("http://localhost:8080/v1/", "http://localhost:8080/v1"),
        ("http://127.8.8.8", "http://127.8.8.8"),
        ("http://[::1]:80/v1", "http://[::1]:80/v1"),
    ],
)
def test_a_base_url_loses_its_trailing_slash_and_nothing_else(text: str, url: str) -> None:
    assert parse_base_url(text) == url


@pytest.mark.parametrize(
    "text",
    [
        "", "x", "//x", "https://", "https:///v1", "ftp://x", "file:///etc/passwd", "https://u@x", "https://u:p@x", "https://x?",
        "https://x/?a=b", "https://x#", "https://x/#a", "https://x:port", "https://x:99999", "https://[::1",
        "https://x y",        "https://x\n", "https://ü", "https://127.0.0.1\\@x",
    ],
)  # fmt: skip
def test_what_is_no_base_url_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        parse_base_url(text)
    assert not isinstance(caught.value, InsecureUrl)


@pytest.mark.parametrize(
    "text",
    ["http://x", "http://127.0.0.1.x", "http://localhost.x", "http://10.0.0.1", "http://[::2]", "http://2130706433", "http://0.0.0.0"],
)  # fmt: skip
def test_plain_http_is_for_this_machine_only(text: str) -> None:
    with pytest.raises(InsecureUrl):
        parse_base_url(text)


@given(st.text())
def test_no_text_breaks_the_reading_of_a_base_url(text: str) -> None:
    for candidate in (text, f"https://{text}", f"http://x{text}"):
        try:
            url = parse_base_url(candidate)
        except ValueError:
            continue
        assert parse_base_url(url) == url


@pytest.mark.parametrize(
    ("url", "hosts", "allowed"),
    [
        ("https://api.openai.com/v1", "api.openai.com", True),
        ("https://api.openai.com/v1", "API.OpenAI.com", True),
        ("https://api.openai.com/v1", "a.b, api.openai.com", True),
        ("https://api.openai.com/v1", "a.b  api.openai.com\n", True),
        ("https://api.openai.com/v1", "api.openai.com:443", True),
        ("https://api.openai.com:8443/v1", "api.openai.com", True),
        ("https://api.openai.com:8443/v1", "api.openai.com:443", False),
        ("http://127.0.0.1:8080/v1", "127.0.0.1:8080", True),
        ("http://localhost/v1", "localhost:80", True),
        ("http://[::1]:8080/v1", "[::1]:8080", True),
        ("http://[::1]:8080/v1", "[::1]:80", False),
        ("http://[::1]:8080/v1", "::1", True),
        ("https://x.services.ai.azure.com/api", "*.services.ai.azure.com", True),
        ("https://a.b.corp/api", "*.corp", True),
        ("https://a.b.corp:1/api", "*.corp:1", True),
        ("https://a.b.corp:1/api", "*.corp:2", False),
        ("https://corp/api", "*.corp", False),
        ("https://evilcorp/api", "*.corp", False),
        ("https://evil-openai.com", "openai.com", False),
        ("https://api.openai.com.evil.org", "api.openai.com", False),
        ("https://api.openai.com.evil.org", "*.openai.com", False),
        ("https://evil.org%2f.corp/api", "*.corp", False),
        ("https://x", "", False),
        ("https://x", " , ", False),
        ("https://x", "*", False),
        ("https://x", "*.", False),
        ("https://x", "*x", False),
        ("https://x", "https://x", False),
        ("https://x", "x:", False),
    ],
)
def test_a_host_is_allowed_by_a_rule_that_covers_it_and_by_nothing_else(url, hosts, allowed):
    assert is_allowed(url, hosts) is allowed


@pytest.mark.parametrize(
    ("name", "fits"),
    [
        ("origin", True),
        ("up/stream-2.x", True),
        ("https://x/y", False),
        ("ext::sh", False),
        ("git@x:y", False),
        ("../x", False),
        ("a/../b", False),
        ("./x", False),
        ("/x", False),
        ("-x", False),
        ("", False),
        ("a b", False),
    ],
)
def test_the_name_of_a_remote_can_be_nothing_else(name, fits):
    assert is_remote_name(name) is fits
