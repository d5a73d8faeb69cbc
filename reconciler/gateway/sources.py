"""Where the tokens of a target come from: one class per source.

Settings name a source and nothing runs; it is asked with the first call, and again when its token is about to end.
What a source needs is imported then: most runs have a key, and no use for any of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from reconciler.gateway.tokens import Token

    Wall: TypeAlias = Callable[[], float]
    """Tells the time since 1970 in seconds."""

LONGEST = 60.0
"""Seconds that a source may take. A command line tool that signs in over the network takes a few."""


class Source(Protocol):
    """Gives tokens."""

    @property
    def runs_commands(self) -> bool:
        """Tell whether it is of no use unless commands may be run."""
        ...

    async def obtain(self, wall: Wall) -> Token:
        """Return a token; raises `NoToken`, and `InvalidInput` where something that it needs is not installed."""
        ...


@dataclass(frozen=True, slots=True)
class Command:
    """A command that prints a token: `arguments`, run without a shell in `folder`, for at most `longest` seconds."""

    arguments: tuple[str, ...]
    folder: Path
    longest: float = LONGEST
    runs_commands: ClassVar[bool] = True

    async def obtain(self, wall: Wall) -> Token:
        """Run it, and return the token that it prints."""
        from reconciler.gateway.commands import token_of_command

        return await token_of_command(self.arguments, self.folder, self.longest, wall)


@dataclass(frozen=True, slots=True)
class Identity:
    """The Azure identity of this machine, job or person, as the package azure-identity finds it.

    `scope` is what its tokens are for. It finds some identities by running `az`, `azd` or `pwsh`; those are left out
    unless `commands`.
    """

    scope: str
    commands: bool = False
    longest: float = LONGEST
    runs_commands: ClassVar[bool] = False

    async def obtain(self, wall: Wall) -> Token:
        """Ask azure-identity for a token."""
        from reconciler.gateway.identity import token_of_identity

        return await token_of_identity(self.scope, self.longest, wall, commands=self.commands)
