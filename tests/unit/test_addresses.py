"""Which addresses may be talked to, and what a header carries."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.addresses import InsecureUrl, is_header_value, is_loopback, is_loopback_address, parse_base_url


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
