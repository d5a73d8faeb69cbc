"""Who holds the token of a run: one at a time, and one asking for the next, whoever needs it.

Calls that can go on with what there is do so, while its successor is asked for.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from reconciler.gateway.answers import Secrets, presentable
from reconciler.gateway.tokens import PAUSE, NoToken, due

if TYPE_CHECKING:
    from collections.abc import Callable

    from reconciler.gateway.sources import Source
    from reconciler.gateway.tokens import Token

_WHY = 1000
"""Characters of a reason why there is no token, at most."""


class Keeper:
    """Keeps the token of a run: one at a time, and one asking for the next, whoever needs it.

    It may serve one event loop after the other, not two at once. `secrets` has every token that was ever here.
    """

    def __init__(self, source: Source, wall: Callable[[], float], secrets: Secrets | None = None) -> None:
        self.secrets = secrets or Secrets()
        self._source = source
        self._wall = wall
        self._held: Token | None = None
        self._due = 0.0
        self._asking: asyncio.Task[Token] | None = None
        self._again: set[str] = set()

    def at_hand(self) -> str | None:
        """Return the token, `None` where it has ended, or there has been none. Its successor is asked for in time."""
        held = self._held
        if held is None:
            return None
        now = self._wall()
        if held.expires is not None and now >= held.expires:
            return None
        if now >= self._due:
            self._ask()
        return held.text

    async def current(self) -> str:
        """Return a token that has not ended; raises `NoToken`."""
        token = self.at_hand()
        return token if token is not None else (await asyncio.shield(self._ask())).text

    async def renewed(self, after: str) -> str | None:
        """Return a token that is not the one which was refused (`after`); `None` where the source has no other."""
        held = self._held
        if held is not None and held.text != after:
            return await self.current()
        if after in self._again:
            return None
        text = (await asyncio.shield(self._ask())).text
        if text == after:
            self._again.add(after)
            return None
        return text

    def _ask(self) -> asyncio.Task[Token]:
        """Return the asking that is going on, or a new one: nobody's being cancelled ends it for the others."""
        if self._asking is None or self._asking.done():
            self._asking = asyncio.get_running_loop().create_task(self._obtain(), name="asking for a token")
            # Where it was ahead of time, nobody may be waiting for what it raises.
            self._asking.add_done_callback(lambda asking: asking.cancelled() or asking.exception())
        return self._asking

    async def _obtain(self) -> Token:
        try:
            token = await self._source.obtain(self._wall)
        except BaseException as failure:
            self._due = self._wall() + PAUSE  # the one that is held may do until then
            if isinstance(failure, NoToken):  # why there is none may be told with one that there was
                raise NoToken(presentable(failure.fault.message, self.secrets, _WHY)) from None
            raise
        self.secrets.add(token.text)
        self._held, self._due = token, due(self._wall(), token.expires)
        return token

    async def aclose(self) -> None:
        """End an asking that is going on. The token stays."""
        asking = self._asking
        if asking is not None and not asking.done():
            asking.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await asking
