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
"""So many resources in a row may fail for a reason at large before a run ends. Each was tried several times by then,
over some seconds. One bad moment takes all calls in flight with it and shall end nothing: with more of them than this,
their number counts."""
PATIENT_BREAKER = 100
"""So many may fail for whatever reason, where none has succeeded from the beginning: a proxy that refuses everything.

Later on, what is about single resources ends nothing, however many of them stand side by side: the rest would never
have its turn.
"""

AT_LARGE = frozenset(
    {"network", "dns", "tls", "timeout", "server_error", "rate_limited", "invalid_answer", "redirected"}
)
"""Faults that speak of the server or the way to it; all others are about one resource, as far as anybody can tell."""
_UNDECIDED = frozenset({"unserved"})
"""Faults of which only the other answers tell what they mean: many ids that are missing, or a kind that is not served.
They neither count nor reassure."""

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
    _at_large: int = field(default=0, init=False)
    _succeeded: bool = field(default=False, init=False)

    def note_reading(self, reading: Reading) -> None:
        """Take what became of reading one resource into account."""
        if isinstance(reading, Unread):
            self._note_failure(reading.fault)
        else:
            self._note_success()

    def note_outcome(self, outcome: Outcome) -> None:
        """Take what became of one change into account; not where no call was made for it."""
        if not outcome.reads and not outcome.writes:
            return
        if outcome.status in _ANSWERED:
            self._note_success()
        elif outcome.status is OutcomeStatus.FAILED and outcome.fault is not None:
            self._note_failure(outcome.fault)

    def _note_success(self) -> None:
        self._failures = self._at_large = 0
        self._succeeded = True

    def _note_failure(self, fault: Fault) -> None:
        if fault.code in _UNDECIDED:
            return
        self._failures += 1
        self._at_large += fault.code in AT_LARGE
        if self._at_large >= self._limit(BREAKER):
            self._trip(self._at_large, fault)
        elif self._failures >= self._limit(PATIENT_BREAKER) and not self._succeeded:
            self._trip(self._failures, fault)

    def _limit(self, least: int) -> int:
        return max(least, self.parallelism + 1)

    def _trip(self, count: int, fault: Fault) -> None:
        if self.brake.pulled:
            return
        reason = f"{count} resources in a row failed, and none succeeded in between; the last one: {fault}"
        self.refusals.append(ApiError(Fault("breaker", reason)))
        self.brake.pull(reason)
