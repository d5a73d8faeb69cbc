"""Failures on the way to the server that httpx has no class for.

They stand apart from the wire, so that the table which makes faults of them needs no sockets.
"""

from __future__ import annotations

import httpx


class HostUnknown(httpx.ConnectError):
    """The name of the host leads to no address, now or at all; the resolver does not always tell which."""


class TlsFailed(httpx.ConnectError):
    """The other side answers, and no TLS came about with it."""


class CertificateRefused(httpx.TransportError):
    """The server's certificate cannot be verified. No `ConnectError`: what passes by itself is tried again."""


class NoTunnel(httpx.TransportError):
    """The proxy opens no way to the server, and asked again it would not either: no `ProxyError`, which is retried."""
