"""The wire against real sockets: a small server that answers, hangs up, resets, stalls and talks nonsense."""

from __future__ import annotations

import asyncio
import datetime as dt
import gc
import gzip
import os
import shutil
import socket
import ssl
import struct
import subprocess
import sys
import threading
from contextlib import asynccontextmanager, suppress
from functools import partial

import aiohttp
import httpx
import pytest
import trustme
import truststore
from aiohttp.http_exceptions import BadStatusLine

from reconciler.errors import InvalidInput
from reconciler.gateway.failures import CertificateRefused, HostUnknown, TlsFailed
from reconciler.gateway.transport import AnswerTooLarge, BodyTransport, body_of
from reconciler.gateway.trust import trusting_the_system
from reconciler.gateway.wire import _TRANSLATIONS, Resolver, translated, wire_transport

GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nSet-Cookie: a=b\r\nX-Request-Id: req_1\r\n\r\n{}"


class Server:
    """Plays one act per request; an act is bytes to send and what to do then: keep, close, reset or stall."""

    def __init__(self, *acts):
        self.acts = list(acts)
        self.heads = []
        self.connections = 0
        self.url = ""
        self.over = asyncio.Event()

    async def _serve(self, reader, writer):
        self.connections += 1
        try:
            await self._play(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _play(self, reader, writer):
        while True:
            self.heads.append(await reader.readuntil(b"\r\n\r\n"))
            text, ending = self.acts.pop(0) if len(self.acts) > 1 else self.acts[0]
            writer.write(text)
            await writer.drain()
            if ending == "stall":
                await self.over.wait()
            if ending == "reset":
                option = struct.pack("ii", 1, 0)
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, option)
                writer.transport.abort()
            if ending != "keep":
                return

    @asynccontextmanager
    async def running(self):
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            self.over.set()
            server.close()
            await server.wait_closed()


def exchange(*acts, method="GET", requests=1, read_timeout=5.0):
    """Send requests one after the other; the last answer (read) and the server with what it saw."""

    async def run():
        wire = wire_transport(4, tls=True, connect=5.0, read=read_timeout)
        async with Server(*acts).running() as server, BodyTransport(wire) as transport:
            for _ in range(requests):
                request = httpx.Request(
                    method,
                    f"{server.url}/v1/threads/t%3A1?api-version=v1",
                    headers={"x-mine": "1"},
                    content=b"{}" if method == "POST" else None,
                )
                response = await transport.handle_async_request(request)
            return response, server

    return asyncio.run(run())


def test_an_answer_arrives_with_its_status_headers_and_body():
    response, server = exchange((GOOD, "keep"))
    assert (response.status_code, response.headers["x-request-id"], body_of(response)) == (200, "req_1", b"{}")
    assert server.heads[0].startswith(b"GET /v1/threads/t")


def test_connections_are_kept_and_cookies_are_not():
    _, server = exchange((GOOD, "keep"), requests=3)
    assert server.connections == 1
    assert b"cookie" not in b"".join(server.heads).lower()


def test_a_redirect_is_an_answer_and_nobody_else_is_asked():
    async def run():
        async with Server((GOOD, "keep")).running() as other:
            away = f"HTTP/1.1 302 Found\r\nLocation: {other.url}/v1/threads/1\r\nContent-Length: 0\r\n\r\n".encode()
            async with Server((away, "keep")).running() as server, wire_transport(1, tls=False) as wire:
                request = httpx.Request("GET", f"{server.url}/v1/threads/1", headers={"api-key": "sk-1"})
                return (await wire.handle_async_request(request)).status_code, other.heads

    assert asyncio.run(run()) == (302, [])


def test_no_cookie_of_a_host_with_a_name_is_kept():
    async def run():
        async with Server((GOOD, "keep")).running() as server, wire_transport(1, tls=False) as wire:
            url = server.url.replace("127.0.0.1", "localhost")
            for _ in range(2):
                await wire.handle_async_request(httpx.Request("GET", url))
            return server.heads

    first, second = asyncio.run(run())
    assert b"cookie" not in (first + second).lower()


def test_no_more_connections_are_open_than_calls_may_be_in_flight():
    async def run():
        async with Server((GOOD, "keep")).running() as server, wire_transport(2, tls=False) as wire:
            await asyncio.gather(*(wire.handle_async_request(httpx.Request("GET", server.url)) for _ in range(20)))
            return server.connections

    assert asyncio.run(run()) <= 2


def test_headers_that_change_in_a_long_run_are_not_kept_for_ever():
    async def run():
        async with Server((GOOD, "keep")).running() as server, wire_transport(1, tls=False) as wire:
            for turn in range(300):
                headers = {"Authorization": f"Bearer token-{turn}"}
                await wire.handle_async_request(httpx.Request("GET", server.url, headers=headers))
            return len(wire._known), server.heads

    kept, heads = asyncio.run(run())
    assert 0 < kept < 100
    assert all(f"Bearer token-{turn}\r".encode() in head for turn, head in enumerate(heads))


FAILURES = {
    "hangs up": ((b"", "close"), httpx.RemoteProtocolError, "Server disconnected"),
    "resets": ((b"", "reset"), httpx.ReadError, "reset by peer"),
    "stalls": ((b"", "stall"), httpx.ReadTimeout, "Timeout"),
    "speaks something else": ((b"SSH-2.0-OpenSSH\r\n\r\n", "close"), httpx.RemoteProtocolError, ""),
    "sends half a head": ((b"HTTP/1.1 200 OK\r\nContent-Le", "close"), httpx.RemoteProtocolError, ""),
    "sends half a body": ((b'HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{"a"', "close"), httpx.ReadError, ""),
    "resets within a body": ((b'HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{"a"', "reset"), httpx.ReadError, ""),
    "stalls within a body": ((b'HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{"a"', "stall"), httpx.ReadTimeout, ""),
    "breaks its chunks": (
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "close"),
        httpx.TransportError,
        "",
    ),
    "sends an endless header": ((b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000, "close"), httpx.RemoteProtocolError, ""),
}


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("case", FAILURES)
def test_a_server_that_fails_is_told_truthfully(case, method):
    act, ours, text = FAILURES[case]
    with pytest.raises(ours, match=text or None) as caught:
        exchange(act, method=method, read_timeout=0.2)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_nothing_is_resent_behind_our_back(method):
    with pytest.raises(httpx.RemoteProtocolError):
        exchange((b"", "close"), (GOOD, "keep"), method=method)


overland = partial(wire_transport, tls=True)


def send_to(url, transport_of=overland, **extensions):
    async def run():
        async with transport_of(1) as transport:
            await transport.handle_async_request(httpx.Request("GET", url, extensions=extensions))

    asyncio.run(run())


def unused_port():
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        return holder.getsockname()[1]


def test_a_refused_connection_is_no_timeout():
    with pytest.raises(httpx.ConnectError, match="Connect call failed"):
        send_to(f"http://127.0.0.1:{unused_port()}/")


def test_a_server_that_takes_the_connection_and_never_shakes_hands_is_not_waited_for():
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(httpx.ConnectTimeout):
        send_to(f"https://127.0.0.1:{silent.getsockname()[1]}/", partial(overland, connect=0.2))


@pytest.mark.parametrize("target", [b"/v1/threads/t%3A1?api-version=v1", b"/v1//a/../b%2f", b"/"])
def test_a_target_goes_out_to_the_letter(target):
    async def run():
        async with Server((GOOD, "keep")).running() as server, wire_transport(1, tls=False) as wire:
            base = httpx.URL(f"{server.url}/elsewhere")
            await wire.handle_async_request(httpx.Request("GET", base, extensions={"target": target}))
            return server.heads[0]

    assert asyncio.run(run()).startswith(b"GET " + target + b" HTTP/1.1\r\n")


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 300000",
        b"Transfer-Encoding: chunked",
        b"Content-Length: %d\r\nContent-Encoding: gzip",
    ],
    ids=["long", "chunked", "compressed"],
)
def test_what_cannot_be_read_in_one_go_is_left_to_whoever_bounds_it(head):
    body = gzip.compress(b"x" * 300_000, mtime=0) if b"gzip" in head else b"x" * 300_000
    sent = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body) if b"chunked" in head else body
    answer = b"HTTP/1.1 200 OK\r\n%s\r\n\r\n%s" % (head % len(body) if b"%d" in head else head, sent)
    response, _ = exchange((answer, "keep"))
    assert body_of(response) == b"x" * 300_000

    async def run():
        bounded = BodyTransport(wire_transport(1, tls=False), limit=299_999)
        async with Server((answer, "keep")).running() as server, bounded as transport:
            await transport.handle_async_request(httpx.Request("GET", server.url))

    with pytest.raises(AnswerTooLarge):
        asyncio.run(run())


# --- TLS


AUTHORITY = trustme.CA()
LONG_AGO = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
FAR_AWAY = dt.datetime(2999, 1, 1, tzinfo=dt.UTC)


@pytest.fixture(autouse=True)
def _no_store_of_the_user(monkeypatch):
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def authority(tmp_path):
    """The certificate of the authority, as the file that the system's store would have."""
    path = tmp_path / "authority.pem"
    AUTHORITY.cert_pem.write_to_path(path)
    return path


def certificate(*names, authority=AUTHORITY, **times):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names, **times).configure_cert(context)
    return context


def ask_securely(context, host="127.0.0.1"):
    """Ask a server that speaks TLS with this context (`None`: that does not) and return its status."""

    async def answer(reader, writer):
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await (reader.readuntil(b"\r\n\r\n") if context else reader.read(1))
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            await writer.drain()
        writer.close()

    async def run():
        server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
        async with server, wire_transport(1, tls=True) as wire:
            port = server.sockets[0].getsockname()[1]
            return (await wire.handle_async_request(httpx.Request("GET", f"https://{host}:{port}/"))).status_code

    return asyncio.run(run())


def test_a_certificate_that_the_named_file_vouches_for_is_trusted(authority, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    assert ask_securely(certificate("127.0.0.1")) == 200


@pytest.mark.skipif(
    not shutil.which("openssl"), reason="only openssl knows under which name it looks for a certificate"
)
def test_a_certificate_that_the_named_folder_vouches_for_is_trusted(authority, monkeypatch, tmp_path):
    command = ["openssl", "x509", "-noout", "-hash", "-in", str(authority)]
    name = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    (tmp_path / "store").mkdir()
    authority.rename(tmp_path / "store" / f"{name}.0")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    monkeypatch.setenv("SSL_CERT_DIR", f"{tmp_path / 'none'}{os.pathsep}{tmp_path / 'store'}")
    assert ask_securely(certificate("127.0.0.1")) == 200
    with pytest.raises(CertificateRefused, match="SSL_CERT_FILE names a file that is not there"):
        ask_securely(certificate("127.0.0.1", authority=trustme.CA()))
    monkeypatch.delenv("SSL_CERT_FILE")
    assert ask_securely(certificate("127.0.0.1")) == 200
    monkeypatch.delenv("SSL_CERT_DIR")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "store"))
    assert ask_securely(certificate("127.0.0.1")) == 200


def test_an_authority_that_nobody_knows_is_refused_with_what_helps():
    with pytest.raises(
        CertificateRefused, match=r"unable to get local issuer certificate; .* in SSL_CERT_FILE, or add"
    ):
        ask_securely(certificate("127.0.0.1"))


CRL_ONLY = """-----BEGIN X509 CRL-----
MIIBBTCBrAIBATAKBggqhkjOPQQDAjANMQswCQYDVQQDDAJjYRcNMjYwMTAxMDAwMDAwWhcNMjcwMTAx
-----END X509 CRL-----
"""


@pytest.mark.parametrize(
    ("variable", "content", "words"),
    [
        (variable, content, words)
        for variable in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
        for content, words in {
            None: "there is no such file",
            "a folder": "that is no file",
            "": r"no certificate \(PEM\) is in it",
            "hello\x1b[31m": r"no certificate \(PEM\) is in it",
            CRL_ONLY: r"no certificate \(PEM\) is in it",
        }.items()
        if content != "a folder" or variable == "SSL_CERT_FILE"
    ],
)
def test_a_variable_that_names_no_certificate_is_told_before_any_call(variable, content, words, tmp_path, monkeypatch):
    path = tmp_path / "own.pem"
    if content == "a folder":
        path.mkdir()
    elif content is not None:
        path.write_text(content)
    monkeypatch.setenv(variable, str(path))
    with pytest.raises(InvalidInput, match=f"^{variable} names .*, and {words}$") as caught:
        wire_transport(1, tls=True)
    assert [problem.code for problem in caught.value.problems()] == ["bad_variable"]
    wire_transport(1, tls=False)  # whom to trust is no question there


@pytest.mark.parametrize("variable", ["SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"])
def test_a_folder_without_certificates_is_told_before_any_call(variable, authority, monkeypatch):
    monkeypatch.setenv(variable, str(authority.parent))  # the file is there, and not under the name that counts
    with pytest.raises(InvalidInput, match=rf"^{variable} names .* \(`openssl rehash` makes them\)$"):
        wire_transport(1, tls=True)


def test_openssls_variables_beat_those_of_requests_which_beat_those_of_curl(authority, monkeypatch, tmp_path):
    monkeypatch.setenv("CURL_CA_BUNDLE", str(tmp_path / "none.pem"))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority))
    assert ask_securely(certificate("127.0.0.1")) == 200
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "none.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    assert ask_securely(certificate("127.0.0.1")) == 200
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"):
        monkeypatch.setenv(name, "")  # says nothing
    with pytest.raises(InvalidInput, match="^CURL_CA_BUNDLE names"):
        wire_transport(1, tls=True)


def test_a_bundle_is_trusted_in_place_of_the_systems_store(tmp_path, monkeypatch):
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(other)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(other))
    assert trusting_the_system().cert_store_stats()["x509"] == 1
    assert trusting_the_system("darwin").cert_store_stats()["x509"] == 1
    with pytest.raises(CertificateRefused, match="the certificates that REQUESTS_CA_BUNDLE names do not vouch for it"):
        ask_securely(certificate("127.0.0.1"))


def test_one_of_two_variables_that_names_certificates_is_enough(authority, monkeypatch, tmp_path):
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "none"))
    assert ask_securely(certificate("127.0.0.1")) == 200
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    with pytest.raises(InvalidInput) as caught:
        wire_transport(1, tls=True)
    told = [problem.message.partition(" ")[0] for problem in caught.value.problems()]
    assert told == ["SSL_CERT_FILE", "SSL_CERT_DIR"]


@pytest.mark.parametrize(
    ("names", "times", "words"),
    [
        (["other.example"], {}, "IP address mismatch, certificate is not valid for '127.0.0.1'"),
        (["127.0.0.1"], {"not_after": LONG_AGO}, "has expired; the server needs another one, or the clock"),
        (["127.0.0.1"], {"not_before": FAR_AWAY, "not_after": FAR_AWAY}, "not yet valid; the server needs another one"),
    ],
    ids=["another host", "expired", "not yet valid"],
)
def test_a_certificate_that_is_not_right_is_told_with_its_reason(names, times, words, authority, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    with pytest.raises(CertificateRefused, match=words) as caught:
        ask_securely(certificate(*names, **times))
    assert "authority" not in str(caught.value)


def test_a_name_that_is_not_in_the_certificate_is_refused(authority, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    with pytest.raises(CertificateRefused, match="Hostname mismatch, certificate is not valid for 'localhost'"):
        ask_securely(certificate("127.0.0.1"), host="localhost")


def test_a_server_that_speaks_plainly_is_told_as_such():
    with pytest.raises(TlsFailed, match="speaks no TLS, maybe plain http"):
        ask_securely(None)


def test_where_the_store_is_a_service_it_is_asked_about_every_certificate():
    assert isinstance(trusting_the_system("darwin"), truststore.SSLContext)
    assert not isinstance(trusting_the_system("linux"), truststore.SSLContext)


@pytest.mark.skipif(sys.platform in ("darwin", "win32"), reason="the store is no file there")
@pytest.mark.parametrize(
    ("there", "brought"),
    [
        ([], True),
        (["certs/", "certs/README"], True),  # nothing that OpenSSL would look into
        (["certs/", "certs/0a1b2c3d.0"], False),
        (["cert.pem"], False),
    ],
)
def test_only_a_system_without_any_store_gets_one_from_us(there, brought, tmp_path, monkeypatch):
    monkeypatch.setattr(truststore.SSLContext, "wrap_bio", lambda *_, **__: None)  # finds nothing
    for name in there:
        (tmp_path / name).mkdir() if name.endswith("/") else (tmp_path / name).touch()
    file, folder = ("cert.pem" if "cert.pem" in there else None), ("certs" if "certs/" in there else None)
    places = ssl.get_default_verify_paths()._replace(
        cafile=file and str(tmp_path / file), capath=folder and str(tmp_path / folder)
    )
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: places)
    assert bool(trusting_the_system().cert_store_stats()["x509"]) is brought


# --- names


def look_up(answer, family=socket.AF_UNSPEC, *, monkeypatch):
    """Look a name up where the system's own lookup is `answer`."""
    monkeypatch.setattr(socket, "getaddrinfo", answer)
    return asyncio.run(Resolver().resolve("api.example", 443, family))


def test_a_name_is_looked_up_as_the_system_does(monkeypatch):
    asked = []

    def system(*arguments, **options):
        asked.append((*arguments, options["flags"]))
        return [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("fe80::1", 443, 0, 2)),
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("2001:db8::1", 443, 0, 0)),
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 443)),
        ]

    found = look_up(system, monkeypatch=monkeypatch)
    assert asked == [("api.example", 443, socket.AF_UNSPEC, socket.SOCK_STREAM, socket.AI_ADDRCONFIG)]
    assert [(each["host"], each["port"], each["family"]) for each in found] == [
        ("fe80::1%2", 443, socket.AF_INET6),
        ("2001:db8::1", 443, socket.AF_INET6),
        ("192.0.2.1", 443, socket.AF_INET),
    ]
    assert {each["hostname"] for each in found} == {"api.example"}


def test_a_name_that_cannot_be_looked_up_is_told(monkeypatch):
    def system(*_, **__):
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", system)
    with pytest.raises(HostUnknown, match="api.example: Temporary failure in name resolution"):
        send_to("http://api.example/")


def test_nobody_waits_for_a_lookup_that_hangs(monkeypatch):
    over, asked = threading.Event(), threading.Event()

    def system(*_, **__):
        asked.set()
        over.wait(30)
        return []

    async def run():
        looking = asyncio.ensure_future(Resolver().resolve("api.example"))
        await asyncio.to_thread(asked.wait, 30)
        looking.cancel()

    monkeypatch.setattr(socket, "getaddrinfo", system)
    asyncio.run(run())
    (thread,) = [each for each in threading.enumerate() if each.name == "looking up api.example"]
    assert thread.daemon
    over.set()
    thread.join()  # it finds the loop closed, and says nothing


def test_a_lookup_that_nobody_waits_for_any_more_is_dropped(monkeypatch):
    over = threading.Event()

    def system(*_, **__):
        over.wait(30)
        return []

    async def run():
        looking = asyncio.ensure_future(Resolver().resolve("api.example"))
        await asyncio.sleep(0.01)
        looking.cancel()
        over.set()
        await asyncio.sleep(0.05)
        return looking.cancelled()

    monkeypatch.setattr(socket, "getaddrinfo", system)
    assert asyncio.run(run(), debug=True)


KEY = aiohttp.client_reqrep.ConnectionKey("nowhere.invalid", 443, True, True, None, None, None)


def test_a_handshake_that_fails_is_no_matter_of_trust():
    truth = translated(aiohttp.ClientConnectorSSLError(KEY, ssl.SSLError("sslv3 alert handshake failure")))
    assert type(truth) is TlsFailed
    assert "handshake failure" in str(truth)


def test_a_name_without_an_address_is_told_with_the_name():
    truth = translated(aiohttp.ClientConnectorDNSError(KEY, socket.gaierror(-2, "Name or service not known")))
    assert type(truth) is HostUnknown
    assert str(truth) == "nowhere.invalid: Name or service not known"


def test_another_scheme_is_not_supported():
    with pytest.raises(httpx.UnsupportedProtocol):
        send_to("gopher://127.0.0.1/")


def test_closing_leaves_nothing_behind():
    async def run():
        async with Server((GOOD, "keep")).running() as server:
            async with BodyTransport(wire_transport(8, tls=True)) as transport:
                requests = (httpx.Request("GET", server.url) for _ in range(20))
                await asyncio.gather(*map(transport.handle_async_request, requests))
            abandoned = wire_transport(1, tls=True)
            await abandoned.aclose()

    asyncio.run(run(), debug=True)
    gc.collect()  # unclosed sockets and sessions warn here, and warnings fail the run


def aiohttp_errors(family=aiohttp.ClientError):
    return {family, *(error for child in family.__subclasses__() for error in aiohttp_errors(child))}


@pytest.mark.parametrize("foreign", sorted(aiohttp_errors(), key=lambda error: error.__name__))
def test_every_error_of_aiohttp_has_a_translation(foreign):
    assert any(issubclass(foreign, row) for row, _ in _TRANSLATIONS)


@pytest.mark.parametrize(
    ("error", "ours", "text"),
    [
        (ConnectionResetError(104, "Connection reset by peer"), httpx.ReadError, "reset by peer"),
        (TimeoutError(), httpx.ReadTimeout, "TimeoutError"),
        (ssl.SSLError("record"), httpx.ReadError, "record"),
        (aiohttp.ClientPayloadError("cut off"), httpx.ReadError, "cut off"),
        (aiohttp.InvalidURL("x"), httpx.UnsupportedProtocol, "x"),
        (BadStatusLine("junk"), httpx.RemoteProtocolError, "Bad status line"),
    ],
)
def test_the_first_row_that_fits_decides_the_translation(error, ours, text):
    truth = translated(error)
    assert type(truth) is ours
    assert text in str(truth)


def test_other_errors_are_left_alone():
    assert translated(RuntimeError("ours")) is None
    assert translated(httpx.ReadError("told by httpx itself")) is None

    async def run():
        async with wire_transport(1, tls=True) as transport:
            await transport.handle_async_request(None)

    with pytest.raises(AttributeError):
        asyncio.run(run())
