"""Which proxy leads to a server, by the environment variables that curl, requests and httpx read. Values only.

Sources: curl's page on these variables and that of CURLOPT_NOPROXY; the documentation of requests and httpx, which
leave the reading to Python's urllib. Where those differ, the one that is told here was chosen:

- Lower case wins, also where it is empty: `https_proxy= reconciler plan` goes without a proxy (urllib).
- Whoever names no port means 80, for an `https://` proxy 443 (requests, httpx; curl means 1080).
- A host in NO_PROXY stands for itself and all below it, with and without a leading dot (curl, urllib).
- HTTP_PROXY is never read. It is for plain http, which is for this machine alone here; a program that a web server
  starts must not read it anyway, since there a header named `Proxy` sets it.

A server on this machine is never asked through a proxy, whatever the variables say. A proxy is no target:
RECONCILER_ALLOWED_HOSTS does not bound it, for it sees the name of the target and bytes under TLS.
"""

from __future__ import annotations

import base64
import ipaddress
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes, urlsplit

from reconciler.addresses import is_loopback
from reconciler.errors import InvalidInput, Problem

if TYPE_CHECKING:
    from collections.abc import Mapping

VARIABLES = ("HTTPS_PROXY", "ALL_PROXY")
"""The variables that name a proxy, the more precise one first; each is also read in lower case."""
NO_PROXY = "NO_PROXY"
"""The variable with the hosts that are reached without one."""

_PORTS = {"http": 80, "https": 443}
_FOREIGN = frozenset({"socks", "socks4", "socks4a", "socks5", "socks5h", "ftp"})
"""Kinds of proxies that others speak with; any other word may be the beginning of a password."""
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_VISIBLE = re.compile(r"[\x21-\x7e]+")
_HOST = re.compile(r"[a-z0-9._-]+|[0-9a-f:.]+")
_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy that opens tunnels. `variable` is the one that names it, as it is spelled.

    `authorization` is what the header `Proxy-Authorization` says, a secret for the proxy alone, `None` for nothing.
    """

    variable: str
    scheme: str
    host: str
    port: int
    authorization: str | None = field(default=None, repr=False)

    @property
    def place(self) -> str:
        """Return its host and port, as people are told."""
        return f"{_bracketed(self.host)}:{self.port}"

    @property
    def url(self) -> str:
        """Return its URL without user and password."""
        return f"{self.scheme}://{self.place}"


def proxy_to(base_url: str, env: Mapping[str, str]) -> Proxy | None:
    """Return the proxy that leads to the server of a base URL, `None` for the straight way.

    Raises `InvalidInput` for a variable that would count and names no proxy that can be used. It never repeats the
    value, which may hold a password.
    """
    parts = urlsplit(base_url.lower())
    host = parts.hostname or ""
    if parts.scheme != "https" or is_loopback(host):
        return None
    found = next(filter(None, (_value(env, name) for name in VARIABLES)), None)
    if found is None or is_exempt(host, parts.port or _PORTS["https"], (_value(env, NO_PROXY) or ("", ""))[1]):
        return None
    return _proxy(*found)


def _value(env: Mapping[str, str], name: str) -> tuple[str, str] | None:
    """Return how a variable is spelled and what it has, `None` where it has nothing."""
    spelled = name.lower() if name.lower() in env else name
    text = env.get(spelled, "").strip()
    return (spelled, text) if text else None


# --- which hosts need none --------------------------------------------------------------------------------------------


def is_exempt(host: str, port: int, rules: str) -> bool:
    """Tell whether a host (in lower case, an IPv6 address without brackets) is one of those that `rules` name.

    Rules are separated by commas or white space: `*` for all; a name, with or without a leading dot or `*.`, for itself
    and what is below it; an address; a block of addresses (`10.0.0.0/8`). A name or an address may have a port, an IPv6
    address with one is in brackets. Names are not looked up. A rule that is none of these exempts nothing.
    """
    return any(_exempts(rule, host.rstrip("."), port) for rule in re.split(r"[,\s]+", rules.lower()) if rule)


_RULE = re.compile(r"(?:https://)?(?:\[(?P<address>[0-9a-f:.]+)\]|(?P<name>[^\[\]:/]+))(?::(?P<port>[0-9]{1,5}))?")


def _exempts(rule: str, host: str, port: int) -> bool:
    if rule == "*":
        return True
    block = _block(rule)
    if block is not None:
        return _is_within(host, block)
    found = _RULE.fullmatch(rule)
    if found is None or (found["port"] and int(found["port"]) != port):
        return False
    named = found["address"] or found["name"]
    block = _block(named)
    if block is not None:
        return _is_within(host, block)
    name = named.removeprefix("*").strip(".")
    # The end of an address is no domain.
    return bool(name) and (host == name or (host.endswith(f".{name}") and _block(host) is None))


def _block(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    """Return the addresses that a rule names, one or a block of them; `None` for a name."""
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


def _is_within(host: str, block: ipaddress.IPv4Network | ipaddress.IPv6Network) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address in block


# --- what a variable has ----------------------------------------------------------------------------------------------


def _proxy(variable: str, text: str) -> Proxy:
    scheme = _SCHEME.match(text)
    if scheme and scheme[1].lower() not in _PORTS:
        raise _unfit(variable, f"names {_kind(scheme[1].lower())}, and only http:// and https:// ones are spoken with")
    if not _VISIBLE.fullmatch(text) or "\\" in text:
        raise _unfit(variable, "has characters that the URL of a proxy cannot have")
    try:
        parts = urlsplit(text if scheme else f"http://{text}")
        host, port = (parts.hostname or "").lower(), parts.port
    except ValueError:
        raise _unfit(variable, "has no URL of a proxy") from None
    if not _HOST.fullmatch(host) or port == 0 or parts.path not in {"", "/"} or parts.query or parts.fragment:
        raise _unfit(variable, "has no URL of a proxy")
    user, at, _ = parts.netloc.rpartition("@")
    authorization = _authorization(variable, user) if at else None
    return Proxy(variable, parts.scheme, host, port or _PORTS[parts.scheme], authorization)


def _authorization(variable: str, text: str) -> str | None:
    """Return what a header says of `user:password`, by RFC 7617; none has a colon in its user."""
    user, _, password = (unquote_to_bytes(part) for part in text.partition(":"))
    if not user and not password:
        return None
    if b":" in user or _CONTROL.search(user + password):
        raise _unfit(variable, "has a user or a password that cannot be sent")
    return f"Basic {base64.b64encode(user + b':' + password).decode('ascii')}"


def _kind(scheme: str) -> str:
    return f"a proxy of the kind {scheme}" if scheme in _FOREIGN else "a proxy of another kind"


def _unfit(variable: str, what: str) -> InvalidInput:
    fix = (
        "write it as http://HOST:PORT or http://USER:PASSWORD@HOST:PORT, special characters of user and password as %XX"
    )
    return InvalidInput(Problem("bad_variable", f"{variable} {what}: {fix}"))


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
