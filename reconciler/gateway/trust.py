"""Whom to trust: the certificates of the system, or those that the environment names in their place.

What is wrong with what the environment names is told before any call: every one of them would fail.
"""

from __future__ import annotations

import os
import re
import ssl
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.errors import InvalidInput, Problem
from reconciler.words import shown

if TYPE_CHECKING:
    from collections.abc import Mapping

_HOLDS_NO_FILE = frozenset({"darwin", "win32"})
"""Systems whose store is a service that is asked about each certificate."""
_OPENSSL = ("SSL_CERT_FILE", "SSL_CERT_DIR")
"""OpenSSL's own variables: the one that is set replaces its default, the other default stays."""
_BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
"""The variables of requests, a file or a folder; the first one that is set counts, where OpenSSL has none."""


def trusting_the_system(platform: str = sys.platform) -> ssl.SSLContext:
    """Return a context that trusts what the system trusts, or what variables of the environment name in its place.

    Raises `InvalidInput` where they name no certificates at all: every call would fail.
    """
    if _naming(os.environ):
        return _trusting_the_named(os.environ)
    import truststore

    context = truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if platform in _HOLDS_NO_FILE:
        return context
    # Elsewhere the store is a file, which truststore finds, but reads anew for every connection: 20 ms each, in which
    # the loop stands still. After one pretended connection the context inside has it all.
    context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname="localhost")
    filled: ssl.SSLContext = context._ctx  # noqa: SLF001 - there is no public way to it
    if _is_empty(filled):
        # A slim container without any store: what httpx brings along is what was trusted there all the time.
        import certifi

        filled.load_verify_locations(certifi.where())
    return filled


_HASHED = re.compile(r"[0-9a-f]{8}\.\d+")
"""How OpenSSL names the files of a folder of certificates."""


def _is_empty(context: ssl.SSLContext) -> bool:
    """Tell whether a context trusts nobody."""
    if context.cert_store_stats()["x509"]:
        return False
    paths = ssl.get_default_verify_paths()
    if paths.cafile:
        return False
    # Of a folder, nothing is loaded before it is needed.
    return not (paths.capath and _has_hashed(paths.capath))


def _naming(env: Mapping[str, str]) -> tuple[str, ...]:
    """Return the variables that say whom to trust; one that is set to nothing says nothing."""
    own = tuple(name for name in _OPENSSL if env.get(name))
    return own or tuple(name for name in _BUNDLES if env.get(name))[:1]


def _trusting_the_named(env: Mapping[str, str]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    named = _naming(env)
    problems = {name: _trust(context, name, env[name]) for name in named}
    if all(problems.values()):
        raise InvalidInput(*(Problem("bad_variable", f"{name} {what}") for name, what in problems.items()))
    usual = ssl.get_default_verify_paths()
    if named == ("SSL_CERT_FILE",):
        context.load_verify_locations(capath=usual.openssl_capath)
    elif named == ("SSL_CERT_DIR",) and _is_file(usual.openssl_cafile):
        context.load_verify_locations(cafile=usual.openssl_cafile)
    return context


def _trust(context: ssl.SSLContext, variable: str, path: str) -> str | None:
    """Trust what a variable names; returns what is wrong with it, `None` for nothing."""
    of_folders = variable == "SSL_CERT_DIR" or (variable in _BUNDLES and _is_folder(path))
    return _trust_folders(context, path) if of_folders else _trust_file(context, path)


def _trust_file(context: ssl.SSLContext, path: str) -> str | None:
    if not _is_file(path):
        there = os.path.exists(path)  # noqa: PTH110 - as below
        return f"names {shown(path)}, and {'that is no file' if there else 'there is no such file'}"
    try:
        context.load_verify_locations(cafile=path)
    except ssl.SSLError:
        pass  # nothing is in it, or something else
    except OSError as error:
        return f"names {shown(path)}, which cannot be read ({error.strerror or error})"
    return None if context.cert_store_stats()["x509"] else f"names {shown(path)}, and no certificate (PEM) is in it"


def _trust_folders(context: ssl.SSLContext, paths: str) -> str | None:
    """Trust what is in one folder, or in several: OpenSSL takes a list of them as PATH is one."""
    if not any(_has_hashed(path) for path in paths.split(os.pathsep)):
        words = "no certificate is there under a name that OpenSSL looks for (`openssl rehash` makes them)"
        return f"names {shown(paths)}, and {words}"
    context.load_verify_locations(capath=paths)
    return None


def _is_file(path: str) -> bool:
    return os.path.isfile(path)  # noqa: PTH113 - a name with a null byte is no file either


def _is_folder(path: str) -> bool:
    return os.path.isdir(path)  # noqa: PTH112 - as above


def _has_hashed(folder: str) -> bool:
    try:
        return any(_HASHED.fullmatch(file.name) for file in Path(folder).iterdir())
    except (OSError, ValueError):
        return False


# --- whom not ---------------------------------------------------------------------------------------------------------

_NOT_YET_VALID, _EXPIRED, _OTHER_HOSTS = 9, 10, frozenset({62, 63, 64})
"""What OpenSSL (`X509_V_ERR_…`) calls a certificate out of its time, or made out to somebody else."""
_NO_AUTHORITY = frozenset({18, 19, 20, 21})
"""What it calls a certificate that leads to nobody who is trusted."""


def leads_to_nobody(error: Exception) -> bool:
    """Tell whether a certificate is refused because nobody who is trusted vouches for it."""
    return getattr(error, "verify_code", 0) in _NO_AUTHORITY


def distrust(error: Exception) -> str:
    """Return why a certificate cannot be verified, and what helps."""
    reason = (getattr(error, "verify_message", "") or str(error)).rstrip(".")
    code = getattr(error, "verify_code", 0)
    if code in _OTHER_HOSTS:
        return reason
    if code in (_NOT_YET_VALID, _EXPIRED):
        return f"{reason}; the server needs another one, or the clock of this machine is wrong"
    named = _naming(os.environ)
    if "SSL_CERT_FILE" in named and not _is_file(os.environ["SSL_CERT_FILE"]):
        return f"{reason}; SSL_CERT_FILE names a file that is not there"
    if named:
        return f"{reason}; the certificates that {' and '.join(named)} names do not vouch for it"
    return (
        f"{reason}; for a private certificate authority, name the file with its certificate in SSL_CERT_FILE, "
        "or add it to the system's store"
    )
