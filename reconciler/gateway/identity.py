"""Tokens of an Azure identity, by the package azure-identity; it comes with the extra `azure` of this one.

It asks Microsoft's own hosts (or those of the machine's identity) as its own variables say, beside our gateway. Some
identities it finds by running a command: those are left out unless the environment allows commands.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
from typing import TYPE_CHECKING

from reconciler.errors import InvalidInput, Problem
from reconciler.gateway.commands import in_a_thread, masked
from reconciler.gateway.tokens import NoToken, Token, living

if TYPE_CHECKING:
    from collections.abc import Callable

INSTALL = "pip install azure-identity, or install reconciler with its extra `azure`"
BY_COMMANDS = ("exclude_cli_credential", "exclude_developer_cli_credential", "exclude_powershell_credential")
"""What leaves out the identities that are found by running `az`, `azd` and `pwsh`."""


async def token_of_identity(scope: str, longest: float, wall: Callable[[], float], *, commands: bool) -> Token:
    """Return a token for `scope`; raises `NoToken`, and `InvalidInput` where the package is not installed."""
    try:
        async with asyncio.timeout(longest):
            token = await in_a_thread(lambda: _asked(scope, commands=commands), "asking azure-identity")
    except TimeoutError:
        raise NoToken(f"azure_identity gave no token within {longest:g} s") from None
    try:
        return living(token, wall())
    except ValueError as error:
        raise NoToken(f"azure_identity {error}") from None


def _asked(scope: str, *, commands: bool) -> Token:
    try:
        # By name: it is an extra, which is not there where this is checked.
        refusal: type[Exception] = importlib.import_module("azure.core.exceptions").AzureError
        default = importlib.import_module("azure.identity").DefaultAzureCredential
    except ImportError:
        message = f"azure_identity needs the package azure-identity: {INSTALL}"
        raise InvalidInput(Problem("no_azure_identity", message)) from None
    # Without a handler of anybody's, Python would print its warnings, many lines of them.
    logging.getLogger("azure").addHandler(logging.NullHandler())
    excluded = {} if commands else dict.fromkeys(BY_COMMANDS, True)
    try:
        with default(**excluded) as credential:
            found = credential.get_token(scope)
    except (refusal, ValueError, OSError) as error:
        raise NoToken(f"azure_identity found no identity{_why(error, commands=commands)}") from None
    return Token(found.token, float(found.expires_on))


def _why(error: Exception, *, commands: bool) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    advice = "" if commands else " (those of az, azd and pwsh are asked only where RECONCILER_ALLOW_COMMANDS=1)"
    return f"{advice}: {masked(' '.join(lines))}" if lines else advice
