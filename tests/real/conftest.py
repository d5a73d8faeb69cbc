"""One server of each row for all tests of a worker; where a test fails, what the server wrote meanwhile is shown."""

from __future__ import annotations

import contextlib

import pytest
from real_servers import PROGRAMS, started

SHOWN = 8000
"""Characters of a server's log that are shown, its last ones."""
_ASKED = pytest.StashKey[list]()


@pytest.fixture(scope="session")
def _servers(tmp_path_factory):
    """Give a function that returns the server of a name, started when it is first asked for."""
    running = {}
    with contextlib.ExitStack() as ends:

        def server(name):
            if name not in running:
                running[name] = ends.enter_context(started(PROGRAMS[name], tmp_path_factory.mktemp(name)))
            return running[name]

        yield server


@pytest.fixture
def server_of(_servers, request):
    """Give a function that returns the server of a name, and remember how much it had written before this test."""
    asked = request.node.stash[_ASKED] = []

    def server(name):
        found = _servers(name)
        asked.append((found, found.log.stat().st_size))
        return found

    return server


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Show what the servers wrote during a test that failed."""
    report = yield
    if report.failed:
        for server, since in item.stash.get(_ASKED, []):
            said = server.said(since)[-SHOWN:].strip()
            report.sections.append((f"what {server.program.name} wrote meanwhile", said or "nothing"))
    return report
