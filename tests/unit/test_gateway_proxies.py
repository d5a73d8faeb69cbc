"""Which proxy leads to a server, and what goes wrong on the way through one: values first, then real sockets."""

from __future__ import annotations

import asyncio
import gc
import socket
from base64 import b64encode

import httpx
import pytest
import trustme
from hypothesis import example, given
from hypothesis import strategies as st
from proxying import AUTHORITY, HOST, OPENED, answer, authority_file, border, certificate

from reconciler.errors import InvalidInput
from reconciler.gateway.client import fault_of
from reconciler.gateway.failures import CertificateRefused, TlsFailed
from reconciler.gateway.proxies import Proxy, is_exempt, proxy_to
from reconciler.gateway.transport import PASSING, BodyTransport
from reconciler.gateway.wire import NoTunnel, wire_to, wire_transport

API = "https://api.example/v1"


def proxy_of(env, base_url=API):
    found = proxy_to(base_url, env)
    return found and f"{found.variable} {found.url}"


@pytest.mark.parametrize(
    ("env", "found"),
    [
        ({}, None),
        ({"HTTPS_PROXY": "http://p:3128"}, "HTTPS_PROXY http://p:3128"),
        ({"https_proxy": "http://p:3128", "HTTPS_PROXY": "http://q:1"}, "https_proxy http://p:3128"),
        ({"https_proxy": "", "HTTPS_PROXY": "http://q:1"}, None),
        ({"https_proxy": "", "all_proxy": "http://q:1"}, "all_proxy http://q:1"),
        ({"ALL_PROXY": "http://q:1"}, "ALL_PROXY http://q:1"),
        ({"ALL_PROXY": "socks5://q:1", "HTTPS_PROXY": "p:1"}, "HTTPS_PROXY http://p:1"),
        ({"HTTP_PROXY": "http://p:1", "http_proxy": "http://p:1"}, None),
        ({"HTTP_PROXY": "http://p:1", "REQUEST_METHOD": "GET"}, None),
        ({"HTTPS_PROXY": "proxy.corp:3128"}, "HTTPS_PROXY http://proxy.corp:3128"),
        ({"HTTPS_PROXY": "u:p@proxy.corp:3128"}, "HTTPS_PROXY http://proxy.corp:3128"),
        ({"HTTPS_PROXY": " HTTP://Proxy.Corp/ \n"}, "HTTPS_PROXY http://proxy.corp:80"),
        ({"HTTPS_PROXY": "https://proxy.corp"}, "HTTPS_PROXY https://proxy.corp:443"),
        ({"HTTPS_PROXY": "http://[2001:db8::1]:3128"}, "HTTPS_PROXY http://[2001:db8::1]:3128"),
        ({"HTTPS_PROXY": "http://127.0.0.1:3128"}, "HTTPS_PROXY http://127.0.0.1:3128"),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "other.example"}, "HTTPS_PROXY http://p:1"),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "example"}, None),
        ({"HTTPS_PROXY": "http://p:1", "no_proxy": "*"}, None),
        ({"HTTPS_PROXY": "http://p:1", "no_proxy": "", "NO_PROXY": "*"}, "HTTPS_PROXY http://p:1"),
        ({"HTTPS_PROXY": "nonsense://", "NO_PROXY": HOST}, None),
    ],
)
def test_the_variables_have_their_usual_meaning(env, found):
    assert proxy_of(env) == found


@pytest.mark.parametrize(
    "variable", ["HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "https_proxy", "http_proxy", "all_proxy"]
)
@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1/v1", "https://127.0.0.1/v1", "https://localhost/v1", "https://[::1]/"]
)
def test_a_server_on_this_machine_is_never_asked_through_a_proxy(variable, url):
    assert proxy_to(url, {variable: "http://proxy.corp:3128", "NO_PROXY": ""}) is None
    assert proxy_to(url, {variable: "nonsense"}) is None


@pytest.mark.parametrize(
    ("rules", "host", "port", "exempt"),
    [
        ("example.com", "example.com", 443, True),
        ("example.com", "api.example.com", 443, True),
        (".example.com", "api.example.com", 443, True),
        (".example.com", "example.com", 443, True),
        ("*.example.com", "api.example.com", 443, True),
        ("Example.COM.", "api.example.com", 443, True),
        ("example.com", "api.example.com.", 443, True),
        ("ample.com", "example.com", 443, False),
        ("example.com", "example.com.evil", 443, False),
        ("api.example.com", "example.com", 443, False),
        ("a b,\texample.com ,c", "example.com", 443, True),
        ("example.com:443", "api.example.com", 443, True),
        ("example.com:8443", "api.example.com", 443, False),
        ("https://example.com", "example.com", 443, True),
        ("http://example.com", "example.com", 443, False),
        ("*", "example.com", 443, True),
        ("a,*", "10.0.0.1", 443, True),
        ("10.0.0.1", "10.0.0.1", 443, True),
        ("10.0.0.1:443", "10.0.0.1", 443, True),
        ("10.0.0.1:444", "10.0.0.1", 443, False),
        ("10.0.0.0/8", "10.255.0.1", 443, True),
        ("10.0.0.1/8", "10.255.0.1", 443, True),
        ("10.0.0.0/8", "11.0.0.1", 443, False),
        ("10.0.0.0/99", "10.0.0.1", 443, False),
        ("0.1", "10.0.0.1", 443, False),
        ("10.0.0.0/8", "10.example", 443, False),
        ("2001:db8::1", "2001:db8::1", 443, True),
        ("2001:DB8:0::1", "2001:db8::1", 443, True),
        ("[2001:db8::1]", "2001:db8::1", 443, True),
        ("[2001:db8::1]:443", "2001:db8::1", 443, True),
        ("[2001:db8::1]:444", "2001:db8::1", 443, False),
        ("2001:db8::/32", "2001:db8:1::9", 443, True),
        ("2001:db8::/32", "2001:db9::1", 443, False),
        ("2001:db8::/32", "10.0.0.1", 443, False),
        ("", "example.com", 443, False),
        (" , .,,*.", "example.com", 443, False),
    ],
)
def test_hosts_without_a_proxy_are_named_as_everywhere(rules, host, port, exempt):
    assert is_exempt(host, port, rules) is exempt


@given(st.text(max_size=40), st.sampled_from([HOST, "10.0.0.1", "2001:db8::1"]))
def test_whatever_is_in_no_proxy_is_no_error(rules, host):
    assert is_exempt(host, 443, f"{rules},*") is True
    is_exempt(host, 443, rules)


SECRET = "hunter2"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (f"socks5://u:{SECRET}@p:1080", "a proxy of the kind socks5, and only http:// and https://"),
        ("SOCKS4A://p", "of the kind socks4a"),
        (f"{SECRET}://p", "a proxy of another kind"),
        (f"http://u:{SECRET}#x@p:3128", "no URL"),
        (f"http://u:{SECRET}/x@p:3128", "no URL"),
        (f"http://u:12/{SECRET}@p:3128", "no URL"),
        (f"http://p:3128/{SECRET}", "no URL"),
        (f"http://p:3128?{SECRET}", "no URL"),
        (f"http://p:{SECRET}", "no URL"),
        ("http://p:0", "no URL"),
        ("http://p:65536", "no URL"),
        ("http://", "no URL"),
        ("http://[::1", "no URL"),
        ("http://u:p@", "no URL"),
        (f"http://p:3128 {SECRET}", "characters"),
        (f"http://u:{SECRET}\u00e4@p:1", "characters"),
        (f"http://u:{SECRET}\ud800@p:1", "characters"),
        (f"http://u:{SECRET}\\@p:1", "characters"),
        (f"http://u:{SECRET}%0d%0aX:y@p:1", "cannot be sent"),
        (f"http://u%3Av:{SECRET}@p:1", "cannot be sent"),
    ],
)
@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "all_proxy"])
def test_a_variable_that_names_no_proxy_is_an_error_that_names_it_and_never_its_value(variable, value, words):
    with pytest.raises(InvalidInput, match=words) as caught:
        proxy_to(API, {variable: value})
    (problem,) = caught.value.problems()
    assert problem.code == "bad_variable"
    assert problem.message.startswith(f"{variable} ")
    assert SECRET not in problem.message
    assert "http://USER:PASSWORD@HOST:PORT" in problem.message


@given(st.text(max_size=60))
@example("http://a@b@c:1")
def test_any_value_is_a_proxy_or_an_error_in_words(value):
    try:
        found = proxy_to(API, {"HTTPS_PROXY": value})
    except InvalidInput:
        return
    assert found is None or (found.host.isascii() and 0 < found.port < 65536)


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        ("http://p:1", None),
        ("http://@p:1", None),
        ("http://user:pass@p:1", b"user:pass"),
        ("user:pass@p:1", b"user:pass"),
        ("http://user@p:1", b"user:"),
        ("http://u%40corp:p%3Aw%2F%23%25@p:1", b"u@corp:p:w/#%"),
        ("http://u:p:w@x@p:1", b"u:p:w@x"),
        ("http://%C3%BC:%C3%A4@p:1", "ü:ä".encode()),
    ],
)
def test_user_and_password_are_decoded_and_hidden(value, sent):
    found = proxy_to(API, {"HTTPS_PROXY": value})
    assert found.authorization == (sent and f"Basic {b64encode(sent).decode()}")
    assert "@" not in found.url
    assert "Basic" not in repr(found)


# --- through a real one -----------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _environment(monkeypatch, tmp_path):
    for name in ("HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    for name in ("SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority_file(tmp_path)))


KEY = "sk-of-the-target"


def ask(monkeypatch, proxy, times=1, connect=5.0, url=f"https://{HOST}/v1/threads/t"):
    """Send requests to the server through the proxy that the environment names; the status of the last one."""
    monkeypatch.setenv("HTTPS_PROXY", proxy)

    async def run():
        async with BodyTransport(wire_to(API, 4, connect=connect, read=5.0)) as wire:
            for _ in range(times):
                headers = {"Authorization": f"Bearer {KEY}", "Host": HOST}
                response = await wire.handle_async_request(httpx.Request("GET", url, headers=headers))
            return response.status_code

    try:
        return asyncio.run(run(), debug=True)
    finally:
        gc.collect()  # unclosed sockets warn here, and warnings fail the run


def with_password(there):
    return there.url.replace("://", f"://ad%40min:{SECRET}@")


@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
def test_the_proxy_gets_its_own_password_and_nothing_that_is_the_servers(secure, monkeypatch):
    with border(tls=certificate("127.0.0.1") if secure else None) as there:
        assert ask(monkeypatch, with_password(there), times=3) == 200
    (head,) = there.heads  # one tunnel for all
    lines = head.decode().lower().split("\r\n")
    basic = b64encode(f"ad@min:{SECRET}".encode()).decode()
    assert lines[0] == f"connect {HOST}:443 http/1.1"
    assert f"proxy-authorization: basic {basic}".lower() in lines
    assert "authorization:" not in [line.split(" ")[0] for line in lines]
    assert any(line.startswith("user-agent: reconciler/") for line in lines)
    told = head + bytes(there.passed)
    assert KEY.encode() not in told
    assert b"threads" not in told
    assert len(there.asked) == 3
    for inner in there.asked:
        assert f"Authorization: Bearer {KEY}".encode() in inner
        assert b"proxy" not in inner.lower()
        assert SECRET.encode() not in inner


def test_without_a_user_no_credentials_are_sent_to_the_proxy(monkeypatch, tmp_path):
    (tmp_path / ".netrc").write_text(f"machine 127.0.0.1 login a password {SECRET}\n")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    monkeypatch.setenv("HOME", str(tmp_path))
    with border() as there:
        assert ask(monkeypatch, there.url) == 200
    assert b"authorization" not in there.heads[0].lower()


def test_plain_http_takes_the_straight_way_even_in_a_wire_with_a_proxy():
    async def run(port):
        proxy = Proxy("HTTPS_PROXY", "http", "127.0.0.1", port, f"Basic {SECRET}")
        async with wire_transport(1, tls=True, connect=2.0, proxy=proxy) as wire:
            await wire.handle_async_request(httpx.Request("GET", f"http://127.0.0.1:{unused_port()}/"))

    with border() as there, pytest.raises(httpx.ConnectError):
        asyncio.run(run(there.port))
    assert there.heads == []


def unused_port():
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        return holder.getsockname()[1]


def chain(error):
    """Return an error with all that led to it, as a traceback shows them."""
    return [error, *(chain(before) if (before := error.__cause__ or error.__context__) else [])]


def sentence(error, secret=""):
    return fault_of(error, secret).message


REFUSALS = {
    "asks for a password": (answer(407, "Proxy-Authenticate: Basic realm=x"), NoTunnel, "does not accept the user and"),
    "wants another scheme": (
        answer(407, "Proxy-Authenticate: Negotiate", "Proxy-Authenticate: NTLM"),
        NoTunnel,
        r"takes no user and password, which is all that is sent here, but Negotiate, NTLM \(407\)",
    ),
    "offers one more": (answer(407, "Proxy-Authenticate: NTLM, Basic realm=x"), NoTunnel, "does not accept the user"),
    "forbids it": (answer(403), NoTunnel, r"does not let us through to api.example \(403\)"),
    "knows no CONNECT": (answer(405), NoTunnel, r"does not let us through to api.example \(405\)"),
    "does not know the host": (answer(404), NoTunnel, "opens no way to api.example, it answers with 404"),
    "redirects": (answer(302, "Location: http://login.corp/"), httpx.ProxyError, "it answers with 302"),
    "is busy": (answer(429), httpx.ProxyError, "it answers with 429"),
    "reaches nobody": (answer(502), httpx.ProxyError, r"does not reach api.example \(502\)"),
    "speaks something else": (b"SSH-2.0-OpenSSH\r\n\r\n", httpx.ProxyError, "answers no HTTP"),
    "breaks off": (b"", httpx.ProxyError, "broke off"),
    "breaks off within its head": (b"HTTP/1.1 200 OK\r\nContent-Le", httpx.ProxyError, "broke off"),
    "closes an open way": (b"HTTP/1.0 200 OK\r\n\r\n", httpx.ProxyError, "broke before there was TLS"),
    "speaks plainly in the tunnel": (OPENED + b"HTTP/1.1 400 no\r\n\r\n", (TlsFailed, httpx.ProxyError), "proxy"),
    "never answers": (None, httpx.ConnectTimeout, "did not open the way to api.example"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_a_proxy_that_opens_no_way_is_told_by_its_place_and_never_by_its_password(case, monkeypatch):
    said, kind, words = REFUSALS[case]
    with border(said) as there, pytest.raises(kind, match=words) as caught:
        ask(monkeypatch, with_password(there), connect=0.3 if said is None else 5.0)
    told = sentence(caught.value)
    assert f"the proxy 127.0.0.1:{there.port} of HTTPS_PROXY" in told
    for error in chain(caught.value):
        assert SECRET not in f"{error} {error!r}"
        assert b64encode(f"ad@min:{SECRET}".encode()).decode() not in f"{error} {error!r}"
    assert SECRET not in told
    assert "\x1b" not in told
    assert "::error" not in told


@pytest.mark.parametrize("case", REFUSALS)
def test_what_a_proxy_refuses_for_good_is_not_asked_again(case):
    _, kind, _ = REFUSALS[case]
    if isinstance(kind, type):
        assert issubclass(kind, PASSING) is (kind is not NoTunnel)


def test_a_proxy_that_wants_a_password_names_the_variable_to_write_it_into(monkeypatch):
    with border(answer(407)) as there, pytest.raises(NoTunnel) as caught:
        ask(monkeypatch, there.url)
    assert f"write them into HTTPS_PROXY, as http://USER:PASSWORD@127.0.0.1:{there.port}" in sentence(caught.value)


def test_a_proxy_that_is_not_there_is_told_as_such(monkeypatch):
    port = unused_port()
    with pytest.raises(httpx.ProxyError, match=f"no connection to the proxy 127.0.0.1:{port} of HTTPS_PROXY: .*failed"):
        ask(monkeypatch, f"http://u:{SECRET}@127.0.0.1:{port}")


def test_the_name_of_a_proxy_that_leads_nowhere_is_told_as_the_proxys(monkeypatch):
    def system(*_, **__):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", system)
    with pytest.raises(
        httpx.ProxyError, match=r"the name of the proxy proxy.corp:3128 of HTTPS_PROXY cannot be resolved"
    ):
        ask(monkeypatch, f"http://u:{SECRET}@proxy.corp:3128")


def test_a_certificate_that_is_not_trusted_behind_a_proxy_may_be_the_proxys(monkeypatch):
    inspecting = certificate(HOST, authority=trustme.CA())
    with border(shown=inspecting) as there, pytest.raises(CertificateRefused) as caught:
        ask(monkeypatch, there.url)
    told = sentence(caught.value)
    assert "the certificates that SSL_CERT_FILE names do not vouch for it" in told
    assert f"(the proxy 127.0.0.1:{there.port} of HTTPS_PROXY may look into TLS, and shows certificates" in told
    monkeypatch.delenv("SSL_CERT_FILE")
    with (
        border(shown=inspecting) as there,
        pytest.raises(CertificateRefused, match=r"in SSL_CERT_FILE.* look into TLS"),
    ):
        ask(monkeypatch, there.url)


def test_a_certificate_of_another_host_behind_a_proxy_is_just_that(monkeypatch):
    with (
        border(shown=certificate("other.example")) as there,
        pytest.raises(CertificateRefused, match="Hostname") as got,
    ):
        ask(monkeypatch, there.url)
    assert "look into TLS" not in sentence(got.value)


def test_the_certificate_of_the_proxy_itself_is_held_against_the_same_authorities(monkeypatch):
    with border(tls=certificate("127.0.0.1", authority=trustme.CA())) as there, pytest.raises(NoTunnel) as caught:
        ask(monkeypatch, with_password(there))
    assert f"the certificate of the proxy 127.0.0.1:{there.port} of HTTPS_PROXY cannot be trusted" in str(caught.value)
    assert there.heads == []


def test_a_proxy_that_is_no_https_one_is_told_as_such(monkeypatch):
    with border(OPENED) as there, pytest.raises(httpx.ProxyError, match="no TLS with the proxy .* speaks no TLS"):
        ask(monkeypatch, there.url.replace("http:", "https:"))


def test_the_authority_is_trusted_through_a_proxy_by_each_of_the_variables(monkeypatch, tmp_path):
    named = tmp_path / "authority.pem"
    AUTHORITY.cert_pem.write_to_path(named)
    for variable in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv("SSL_CERT_FILE", raising=False)
        monkeypatch.setenv(variable, str(named))
        with border() as there:
            assert ask(monkeypatch, there.url) == 200
        monkeypatch.delenv(variable)
