"""What the answers teach about how a target treats updates, shared by all workers of a run."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from reconciler.events import DialectLearned
from reconciler.model import EMPTY

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from reconciler.compare import Change, Rules
    from reconciler.dialects import Dialect
    from reconciler.errors import Fault
    from reconciler.events import Emit
    from reconciler.plan import RulesOf


@dataclass(slots=True)
class Lesson:
    """What is known of updates of one kind.

    `proven`: a write beside other pairs left them alone. `halted` says why no more writes are sent.
    """

    rules: Rules
    probe: asyncio.Lock = field(default_factory=asyncio.Lock)
    proven: bool = False
    halted: Fault | None = None

    def probed_by(self, change: Change) -> bool:
        """Tell whether the answer to this change shows something that others should wait for.

        To a server in `auto` mode the first removal does. Where only changed pairs are sent, the first
        write beside other pairs does: if the server replaces after all, one resource suffers, not one per worker.
        """
        dialect = self.rules.dialect
        if not dialect.settled:
            return any(field.after is None for field in change.writable)
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
            self._by_kind[kind] = Lesson(self._rules_of(kind))
        return self._by_kind[kind]

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
        """Wait while somebody else's write is about to teach what this one needs to know: one probe at a time."""
        lesson = self.of(change.ref.kind)
        probing = lesson.probed_by(change)
        if probing:
            await lesson.probe.acquire()
            if not lesson.probed_by(change):  # somebody found out while we waited: no need to go one by one
                lesson.probe.release()
                probing = False
        try:
            yield lesson
        finally:
            if probing:
                lesson.probe.release()
