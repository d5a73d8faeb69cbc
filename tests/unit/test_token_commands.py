"""The command that prints a token: how it is run, how it is ended, and what of it is told."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path

import pytest
from scratch import until

from reconciler.errors import InvalidInput
from reconciler.gateway.commands import masked
from reconciler.gateway.identity import INSTALL
from reconciler.gateway.sources import Command, Identity
from reconciler.gateway.tokens import NoToken

JWT = "eyJhbGciOi.eyJzdWIi.c2lnbmF0dXJl"


def run(folder, *arguments, longest=30.0):
    return asyncio.run(Command(arguments, folder, longest).obtain(time.time))


def shell(folder, script, **more):
    return run(folder, "sh", "-c", script, **more)


def gone(pid, within=10.0):
    """Tell whether a process ends in time."""
    until = time.monotonic() + within
    while time.monotonic() < until:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.01)
    return False


def test_a_command_runs_in_the_folder_of_the_settings_without_a_shell_and_without_input(tmp_path):
    script = "import os, sys; print(os.getcwd() + '|' + sys.argv[1] + '|' + repr(sys.stdin.read()))"
    assert run(tmp_path, sys.executable, "-c", script, "$HOME;`id`").text == f"{tmp_path}|$HOME;`id`|''"


def test_what_it_says_on_standard_error_is_nobodys_business_where_it_works(tmp_path):
    assert shell(tmp_path, 'echo warning >&2; echo \'{"token": "t"}\'').text == "t"


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("echo first >&2; echo 'ERROR: log in anew' >&2; exit 3", "ended with status 3: ERROR: log in anew"),
        ("exit 1", "ended with status 1 and no word of why"),
        ("kill -9 $$", "ended by SIGKILL and no word of why"),
        ("echo told-secret; echo it was told-secret >&2; exit 1", "with status 1: it was ***"),
        (f"echo it was {JWT} >&2; exit 1", "with status 1: it was ***"),
        ("printf 'a\\033[31m\\n\\n' >&2; exit 1", "with status 1: a"),
        ("echo 'password:' >&2; echo hidden-1 >&2; exit 1", "with status 1: ***"),
        ('printf \'{\\n"client_secret":\\n"hidden-1 and more"}\' >&2; exit 1', "with status 1: ***}"),
        ("true", "printed nothing"),
        ("echo one two", "printed what is no token"),
        ("yes | head -c 1000000", "printed what is no token"),
        ("yes hidden-thing | head -c 1300000 >&2; exit 1", "with status 1: hidden-thing"),
        ('echo \'{"token": "hidden-1", "expires_on": 1}\'', "gave a token that ended long ago"),
        ('echo \'{"token": "hidden-1", "expires_in": -5}\'', "gave a token that ended 5 s ago"),
    ],
)
def test_a_failure_is_told_by_status_and_last_line_never_by_what_was_printed(tmp_path, script, told):
    path = tmp_path / "give"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    with pytest.raises(NoToken) as caught:
        run(tmp_path, "./give")
    assert str(caught.value).startswith("the token_command ./give ")
    assert told in str(caught.value)
    assert caught.value.fault.code == "no_token"
    assert "hidden-1" not in str(caught.value)
    assert "told-secret" not in str(caught.value)


@pytest.mark.parametrize("name", ["no-such-command", "/etc/hostname", "a\0b", "\ud800", "."])
def test_a_command_that_cannot_be_run_is_told(tmp_path, name):
    with pytest.raises(NoToken, match="cannot be run") as caught:
        run(tmp_path, name)
    assert str(caught.value).isprintable()


def test_a_hanging_command_is_ended_with_its_children(tmp_path):
    with pytest.raises(NoToken, match="did not end within 0.5 s, and was ended"):
        shell(tmp_path, "sleep 600 & echo $! > child; trap '' TERM INT; echo $$ > own; wait", longest=0.5)
    assert gone(int((tmp_path / "child").read_text()))
    assert gone(int((tmp_path / "own").read_text()))


def test_a_child_that_holds_on_to_the_output_delays_nothing_and_is_ended(tmp_path):
    begun = time.monotonic()
    assert shell(tmp_path, "sleep 600 & echo $! > child; echo token").text == "token"
    assert time.monotonic() - begun < 20
    assert gone(int((tmp_path / "child").read_text()))


def test_a_command_ends_with_the_run_that_waits_for_it(tmp_path):
    async def work():
        asking = asyncio.ensure_future(Command(("sh", "-c", "echo $$ > own; sleep 600"), tmp_path).obtain(time.time))
        await asyncio.to_thread(
            until, lambda: (tmp_path / "own").exists() and (tmp_path / "own").read_text().strip(), ""
        )
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking

    asyncio.run(work())
    assert gone(int((tmp_path / "own").read_text()))


def test_the_loop_goes_on_while_a_command_runs(tmp_path):
    async def work():
        asking = asyncio.ensure_future(
            Command(("sh", "-c", "while [ ! -e go ]; do sleep 0.01; done; echo t"), tmp_path).obtain(time.time)
        )
        await asyncio.sleep(0.05)
        (tmp_path / "go").touch()  # it ends only because this is done
        return (await asking).text

    assert asyncio.run(work()) == "t"


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("ERROR: Please run 'az login' to setup account.", "ERROR: Please run 'az login' to setup account."),
        ("AADSTS700082: The refresh token has expired.", None),
        ("cannot reach https://login.microsoftonline.com/common in time", None),
        ("ManagedIdentityCredential authentication unavailable", None),
        ("AADSTS700082: Trace ID: 3fa85f64-5717-4562-b3fc-2c963f66afa6", "AADSTS700082: Trace ID: ***"),
        (f"got {JWT}!", "got ***!"),
        ('{"accessToken": "abcdefgh12345"}', '{"accessToken": ***}'),
        ('{"password":"a b","x":1}', '{"password":***,"x":1}'),
        ('say \\"secret\\": \\"hunter2\\"', 'say \\"secret\\": ***'),
        ("client_secret 'hun ter2'", "client_secret ***"),
        ("login -u me -p hunter2 --password hunter2 -phunter2 done", "login -u *** -p *** --password *** -p*** done"),
        ("mysql://u:pw@host/db?sig=abc", "mysql://***@host/db?sig=***"),
        ("tok=abcd1234 qwertyuiopasdfgh", "tok=*** ***"),
        ("wrong password hunter2", "wrong password ***"),
        ("pass\x1b[0mword: hun\x1b[1mter2", "password: ***"),
        ("Authorization: Bearer abcdefghijkl", "Authorization: ***"),
        ("password=hunter2hunter2 failed", "password=*** failed"),
        (f"refresh 0.{'aZ9_' * 12}", "refresh ***"),
        ("sk-proj-" + "a1B2" * 12, "***"),
        ("a\x1b]0;x\x07b\u202ec", "ab c"),
        ("\x9b31ma\x1b(B\x1b7b\x1b", "ab"),
    ],
)
def test_what_may_be_a_token_is_masked_in_what_a_command_says(line, shown):
    assert masked(line) == (shown or line)


def test_without_the_package_azure_identity_is_told_how_to_install_it(monkeypatch):
    for name in ("azure", "azure.core", "azure.core.exceptions", "azure.identity"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(InvalidInput) as caught:
        asyncio.run(Identity("https://ai.azure.com/.default").obtain(time.time))
    (problem,) = caught.value.found
    assert (problem.code, INSTALL in problem.message) == ("no_azure_identity", True)


class Unavailable(Exception):
    """What stands for the errors of azure-core."""


def azure(monkeypatch, *, expires_on=None, error=None):
    """Put a package in the place of azure-identity; returns the arguments that it is given."""
    from types import ModuleType, SimpleNamespace

    given = []

    class Default:
        def __init__(self, **options):
            given.append(options)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            given.append("closed")

        def get_token(self, scope):
            given.append(scope)
            if error:
                raise error
            return SimpleNamespace(token="entra-token", expires_on=expires_on)

    modules = {name: ModuleType(name) for name in ("azure", "azure.core", "azure.core.exceptions", "azure.identity")}
    modules["azure.core.exceptions"].AzureError = Unavailable
    modules["azure.identity"].DefaultAzureCredential = Default
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    return given


NO_COMMANDS = {f"exclude_{name}_credential": True for name in ("cli", "developer_cli", "powershell")}


@pytest.mark.parametrize("commands", [False, True])
def test_an_identity_that_is_found_by_running_a_command_needs_leave_for_it(monkeypatch, commands):
    given = azure(monkeypatch, expires_on=int(time.time()) + 3600)
    token = asyncio.run(Identity("scope/.default", commands=commands).obtain(time.time))
    assert (token.text, token.expires) == ("entra-token", given and float(int(token.expires)))
    assert given == [{} if commands else NO_COMMANDS, "scope/.default", "closed"]


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"expires_on": 1}, "azure_identity gave a token that ended"),
        ({"error": Unavailable(f"no\nidentity {JWT}")}, "found no identity (those of az, azd and pwsh are asked only"),
    ],
)
def test_an_identity_that_gives_no_token_is_told(monkeypatch, more, told):
    azure(monkeypatch, **more)
    with pytest.raises(NoToken) as caught:
        asyncio.run(Identity("scope/.default").obtain(time.time))
    assert told in str(caught.value)
    assert JWT not in str(caught.value)


def test_nothing_of_azure_is_imported_before_it_is_asked():
    assert not [name for name in sys.modules if name.partition(".")[0] == "azure"]
    assert os.environ.get("AZURE_TENANT_ID") is None
