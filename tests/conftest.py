"""What holds for every test: nothing reaches beyond loopback, nothing of the user's environment reaches in.

That holds for the process of the test. A command that a test starts as a process of its own inherits the environment
that is left here; it is kept from other machines by what the test gives it to do.
"""

from __future__ import annotations

import os
import signal
import socket
from typing import TYPE_CHECKING

import pytest
from forking import close_the_nursery
from hypothesis import HealthCheck, settings

from reconciler.addresses import is_loopback

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

collect_ignore = ["real"]  # needs servers of its own: make test-real

_OTHERS = (
    "NO_COLOR", "GIT_DIR", "GIT_WORK_TREE", "XDG_CACHE_HOME",
    "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE",
    "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy",
)  # fmt: skip
settings.register_profile("suite", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")


@pytest.fixture(scope="session")
def _home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an empty folder to be everybody's home."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="session", autouse=True)
def _helpers() -> Iterator[None]:
    """End the process that forks commands before the measurements are put together."""
    yield
    close_the_nursery()


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    """Give the signals back after each test: a command that ran in this process listens to them until its end."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, _home: Path) -> None:
    """Refuse connections beyond loopback; hide the user's own settings and keys, home, and configuration of git."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: object) -> None:
        if isinstance(address, tuple) and not is_loopback(str(address[0])):
            raise AssertionError(f"a test tried to reach {address}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)
    for name in list(os.environ):
        if name.startswith(("OPENAI_", "AZURE_", "RECONCILER_")) or name in _OTHERS:
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(_home))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
