"""What ends a run whose every call fails, instead of trying ten thousand times."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from reconciler.errors import ApiError, Fault
from reconciler.events import Outcome, OutcomeStatus
from reconciler.model import Unread

if TYPE_CHECKING:
    from reconciler.engine.brake import Brake
    from reconciler.errors import ReconcilerError
    from reconciler.model import Reading

BREAKER = 25
"""So many resources in a row may fail before a run ends. Each was tried several times by then, over some seconds. One
bad moment takes all calls in flight with it and shall end nothing: with more of them than this, their number counts."""
CERTAIN_BREAKER = 3
"""The same for faults that are everybody's: there is one certificate and one name for all resources."""

AT_LARGE = frozenset(
    {"network", "dns", "tls", "timeout", "server_error", "rate_limited", "invalid_answer", "redirected"}
)
"""Faults that speak of the server or the way to it. What is about one resource alone neither counts nor reassures."""
CERTAIN = frozenset({"dns", "tls"})

_ANSWERED = frozenset({OutcomeStatus.APPLIED, OutcomeStatus.BLOCKED, OutcomeStatus.STALE, OutcomeStatus.MISSING})
"""Outcomes for which the server has answered as it should, where it was asked at all."""


@dataclass(slots=True)
class Breaker:
    """Pulls the brake after too many failures without a success in between; shared by the workers of a run.

    It adds one entry to `refusals` then, for all that is not attempted any more.
    """

    brake: Brake
    refusals: list[ReconcilerError]
    parallelism: int
    _failures: int = field(default=0, init=False)
    _certain: int = field(default=0, init=False)

    def note_reading(self, reading: Reading) -> None:
        """Take what became of reading one resource into account."""
        if isinstance(reading, Unread):
            self._failed(reading.fault)
        else:
            self._failures = self._certain = 0

    def note_outcome(self, outcome: Outcome) -> None:
        """Take what became of one change into account; not where no call was made for it."""
        if not outcome.reads and not outcome.writes:
            return
        if outcome.status in _ANSWERED:
            self._failures = self._certain = 0
        elif outcome.status is OutcomeStatus.FAILED and outcome.fault is not None:
            self._failed(outcome.fault)

    def _failed(self, fault: Fault) -> None:
        if fault.code not in AT_LARGE:
            return
        self._failures += 1
        self._certain += fault.code in CERTAIN
        if self._failures >= max(BREAKER, self.parallelism + 1):
            self._trip(self._failures, fault)
        elif self._certain >= CERTAIN_BREAKER:
            self._trip(self._certain, fault)

    def _trip(self, count: int, fault: Fault) -> None:
        if self.brake.pulled:
            return
        reason = f"{count} resources in a row failed, and none succeeded in between; the last one: {fault}"
        self.refusals.append(ApiError(Fault("breaker", reason)))
        self.brake.pull(reason)
