"""Which addresses may be talked to, and which texts may stand in a header.

Settings, gateway and emulator each ask at their own border; the answer is decided here, once.
"""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

_URL_CHARACTERS = re.compile(r"[\x21-\x7e]+")
HEADER_VALUE = re.compile(r"^[\x21-\x7e]+$")
"""A key or an id as a header carries it: visible ASCII, no spaces."""


class InsecureUrl(ValueError):
    """Plain http to another machine."""


def is_loopback_address(host: str) -> bool:
    """Tell whether this is an address (not a name) that only this machine can reach."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_loopback(host: str) -> bool:
    """Tell whether this is an address of this machine alone, or the name that stands for one."""
    return host == "localhost" or is_loopback_address(host)


def is_header_value(text: str) -> bool:
    """Tell whether a header can carry `text` as a key or an id."""
    return HEADER_VALUE.fullmatch(text) is not None


def parse_base_url(text: str) -> str:
    """Return a base URL without its trailing slash; raises `InsecureUrl`, or `ValueError` for what is none."""
    if not _URL_CHARACTERS.fullmatch(text) or "\\" in text:
        raise ValueError("the base URL has characters that a URL cannot have")
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("the base URL must begin with https:// and a host")
    if "@" in parts.netloc:
        raise ValueError("the base URL must not hold a user or a password: name the variable of the key by api_key_env")
    if "?" in text or "#" in text:
        raise ValueError("the base URL must have no query and no fragment")
    _ = parts.port  # raises ValueError for a port that is none
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        raise InsecureUrl("a key must not travel over plain http: use https (http is for 127.0.0.1 and localhost only)")
    return f"{parts.scheme}://{parts.netloc.lower()}{parts.path.rstrip('/')}"


# --- which hosts ------------------------------------------------------------------------------------------------------

_HOST = re.compile(r"[a-z0-9._-]+|[0-9a-f:.]+")
"""A name or an address, as no resolver reads it in two ways."""
_PORTS = {"http": 80, "https": 443}


def is_allowed(base_url: str, hosts: str) -> bool:
    """Tell whether a base URL is at one of `hosts`, which are separated by commas or white space.

    `host` means any port of it, `host:port` just that one, and `*.suffix` every host below it, but not itself; upper
    and lower case are alike. What is none of these allows nothing.
    """
    parts = urlsplit(base_url.lower())
    host, port = parts.hostname or "", parts.port or _PORTS.get(parts.scheme)
    if not _HOST.fullmatch(host):
        return False
    return any(_covers(rule, host, port) for rule in re.split(r"[,\s]+", hosts.lower()) if rule)


_RULE = re.compile(
    r"(?P<wild>\*)?(?P<name>[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::(?P<port>[0-9]+))?|(?P<address>[0-9a-f:.]+)"
)


def _covers(rule: str, host: str, port: int | None) -> bool:
    found = _RULE.fullmatch(rule)
    if found is None or (found["port"] and int(found["port"]) != port):
        return False
    name = (found["name"] or found["address"]).strip("[]")
    if found["wild"]:
        return name.startswith(".") and len(name) > 1 and host.endswith(name) and host != name
    return host == name


_REMOTE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]*")


def is_remote_name(text: str) -> bool:
    """Tell whether this can only be the name of a git remote: no URL, no helper (`ext::`), no way up (`..`)."""
    return _REMOTE.fullmatch(text) is not None and ".." not in text
