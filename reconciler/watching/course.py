"""What is known of a watch that goes on. It is bounded: a watch of years needs no more memory than one of a day."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, TypeAlias

from reconciler.watching.schedule import Health, health

if TYPE_CHECKING:
    from collections.abc import Mapping

    from reconciler.document import Document

KEPT = 500
"""Runs that a plot has room for, at most; what is older is forgotten."""
NAMED = 10
"""Resources that an event names, at most."""

Result: TypeAlias = Literal["success", "failure", "interrupted"]
NO_COUNTS: Mapping[str, int] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Run:
    """What one run came to. Times are seconds since 1970, or seconds.

    `changes` has the fields that differed, by cause, `None` where there was no plan to count them in; `drift`: whether
    something had moved outside git, `None` where not enough was seen to tell. `moved` are the first resources of it.
    `calls` and `retries` count by method, `outcomes` by name. `error` has the sentence of a run that failed. `refused`:
    the target refuses us. `cut_short`: a signal kept something from being done.
    """

    began: float
    ended: float
    code: int
    result: Result
    document: Document
    changes: Mapping[str, int] | None = None
    resources: int = 0
    converged: int = 0
    drift: bool | None = None
    moved: tuple[str, ...] = ()
    calls: Mapping[str, int] = field(default_factory=lambda: NO_COUNTS)
    retries: Mapping[str, int] = field(default_factory=lambda: NO_COUNTS)
    outcomes: Mapping[str, int] = field(default_factory=lambda: NO_COUNTS)
    error: str | None = None
    refused: bool = False
    cut_short: bool = False

    @property
    def seconds(self) -> float:
        """Return how long it took."""
        return max(0.0, self.ended - self.began)


@dataclass(frozen=True, slots=True)
class Spot:
    """What is kept of a run for the plot: when it ended, the fields that differed by cause, whether it failed."""

    at: float
    changes: Mapping[str, int]
    failed: bool


@dataclass(frozen=True, slots=True)
class State:
    """A watch as it stands, as a value: what whoever looks at it sees, whatever goes on meanwhile.

    `drift_since`: when drift was seen first that has been there without a break. `next_at` is `None` while a run is
    under way. `took`: the seconds of the last good run.
    """

    started: float
    runs: int = 0
    failures: int = 0
    succeeded: float | None = None
    drift_since: float | None = None
    next_at: float | None = None
    last: Run | None = None
    took: float = 0.0

    def after(self, run: Run) -> State:
        """Return the state after a run. One that could not tell whether there is drift leaves open what was known."""
        good = run.result == "success"
        since = self.drift_since
        if run.drift is not None:
            since = (run.ended if since is None else since) if run.drift else None
        return replace(
            self,
            runs=self.runs + 1,
            failures=0 if good else self.failures + 1,
            succeeded=run.ended if good else self.succeeded,
            drift_since=since,
            last=run,
            took=run.seconds if good else self.took,
        )

    def drift_age(self, now: float) -> float:
        """Return since how many seconds there has been drift, 0 without."""
        return 0.0 if self.drift_since is None else max(0.0, now - self.drift_since)

    def health(self, now: float, within: float) -> Health:
        """Tell whether all is well; a success counts for `within` seconds."""
        refused = self.last is not None and self.last.refused
        return health(now, self.succeeded, runs=self.runs, within=within, refused=refused)


@dataclass(slots=True)
class Course:
    """The state of a watch, and what is kept of its past; one thread writes it, others look."""

    state: State
    _spots: deque[Spot] = field(default_factory=lambda: deque(maxlen=KEPT))
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, run: Run) -> None:
        """Take a run in."""
        with self._lock:
            self.state = self.state.after(run)
            self._spots.append(Spot(run.ended, run.changes or NO_COUNTS, run.result != "success"))

    def wait_until(self, at: float | None) -> None:
        """Note when the next run is due; `None`: now it is under way."""
        with self._lock:
            self.state = replace(self.state, next_at=at)

    def spots(self) -> tuple[Spot, ...]:
        """Return what is kept of the past, the oldest first."""
        with self._lock:
            return tuple(self._spots)
