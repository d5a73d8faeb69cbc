"""What the answers teach about how a target treats updates, and its reads, shared by all workers of a run."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from reconciler.events import DialectLearned
from reconciler.kinds import KINDS
from reconciler.model import EMPTY

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Collection

    from reconciler.compare import Change, Rules
    from reconciler.dialects import Dialect
    from reconciler.errors import Fault
    from reconciler.events import Emit
    from reconciler.model import Ref
    from reconciler.plan import RulesOf

LOOKS = (0.25, 0.5, 1.0, 2.0)
"""Seconds to wait before each further look at what a read shows as it was before a write.

How long reads lag is told nowhere. The first look comes soon, in case that it is a moment only, each later one after
twice the wait: five reads and less than four seconds in all, so that a write which was truly ignored is told while
somebody still watches.
"""


@dataclass(slots=True)
class Lesson:
    """What is known of updates of one kind.

    `proven`: a write beside other pairs left them alone. `halted` says why no more writes are sent. `lags`: a read may
    show less than the last write, by the kind's row or because one did. `helped`: a wait was of use; `vain`: the first
    whole one was not, so that nobody waits any more. `prober`: whose write the others wait for. `tried`: a probe has
    ended, whatever it taught. `last` looks for the last write that its own answer showed, and returns whose it was and
    how many reads that took.
    """

    rules: Rules
    lags: bool = False
    probe: asyncio.Lock = field(default_factory=asyncio.Lock)
    proven: bool = False
    halted: Fault | None = None
    helped: bool = False
    vain: bool = False
    prober: Ref | None = None
    tried: bool = False
    last: Callable[[], Awaitable[tuple[Ref, int]]] | None = None

    def waited(self, *, of_use: bool) -> None:
        """Take what a wait for a read showed: that this server's reads lag, or that waiting for them is of no use.

        A proxy that strips bodies answers with the old object for ever; a thousand resources would cost an hour.
        """
        if of_use:
            self.lags = self.helped = True
        elif not self.helped:
            self.vain = True

    def probed_by(self, change: Change) -> bool:
        """Tell whether the answer to this change shows something that others should wait for.

        To a server in `auto` mode the first removal does. Where only changed pairs are sent, the first
        write beside other pairs does: if the server replaces after all, one resource suffers, not one per worker.
        Where reads lag, a removal that worked does not teach (`learn`), so only the first one goes alone.
        """
        dialect = self.rules.dialect
        if not dialect.settled:
            return not (self.lags and self.tried) and any(field.after is None for field in change.writable)
        sent = {field.key for field in change.writable}
        return not dialect.whole and not self.proven and bool((change.observed or EMPTY).keys() - sent)


class Lessons:
    """The lessons of all kinds; `learned` has the dialects that were found out, by kind."""

    def __init__(self, rules_of: RulesOf, emit: Emit) -> None:
        self._rules_of = rules_of
        self._emit = emit
        self._by_kind: dict[str, Lesson] = {}
        self.learned: dict[str, str] = {}

    def of(self, kind: str) -> Lesson:
        """Return the lesson of a kind, shared by everyone."""
        if kind not in self._by_kind:
            self._by_kind[kind] = Lesson(self._rules_of(kind), KINDS[kind].lags)
        return self._by_kind[kind]

    def all(self) -> Collection[Lesson]:
        """Return the lessons of the kinds that were asked for."""
        return self._by_kind.values()

    def take(self, kind: str, asked: Dialect, taught: Dialect) -> None:
        """Remember what the answer to a call in the dialect `asked` taught.

        A late answer teaches nothing: somebody has found out more since its call was sent.
        """
        lesson = self.of(kind)
        if taught is asked or lesson.rules.dialect is not asked:
            return
        lesson.rules = replace(lesson.rules, dialect=taught)
        if taught.settled:
            self.learned[kind] = taught.name
            self._emit(DialectLearned(kind, taught.name))

    @asynccontextmanager
    async def turn(self, change: Change) -> AsyncIterator[Lesson]:
        """Wait while somebody else's write is about to teach what this one needs to know: one probe at a time.

        Whoever waits here keeps its place among the workers; so the prober must never have to wait for one.
        """
        lesson = self.of(change.ref.kind)
        probing = lesson.probed_by(change)
        if probing:
            await lesson.probe.acquire()
            if not lesson.probed_by(change):  # somebody found out while we waited: no need to go one by one
                lesson.probe.release()
                probing = False
        if probing:
            lesson.prober = change.ref
        try:
            yield lesson
        finally:
            if probing:
                lesson.prober, lesson.tried = None, True
                lesson.probe.release()
