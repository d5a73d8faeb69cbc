"""What is known of a watch as Prometheus metrics; the only place that knows prometheus_client.

They have a registry of their own, so that nothing of the process is told that nobody asked for.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.exposition import choose_encoder

if TYPE_CHECKING:
    from collections.abc import Callable

    from reconciler.watching.course import Course, Run, State

_BUCKETS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800)
_CAUSES = ("pending", "drift", "conflict", "unattributed")
_METHODS = ("GET", "POST")
_RESULTS = ("success", "failure", "interrupted")


class Metrics:
    """The metrics of one watch. What may be older than a moment is taken from its course when somebody asks."""

    def __init__(
        self, course: Course, *, version: str, target: str, mode: str, clock: Callable[[], float] = time.time
    ) -> None:
        # When a counter began is when the process did.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = registry = CollectorRegistry()
        self._runs = Counter("reconciler_runs", "Runs that ended, by result.", ["result"], registry=registry)
        self._seconds = Histogram(
            "reconciler_run_duration_seconds", "How long runs took.", buckets=_BUCKETS, registry=registry
        )
        self._changes = Gauge(
            "reconciler_changes", "Fields that differed in the last run that could read everything, by cause.",
            ["cause"], registry=registry,
        )  # fmt: skip
        self._resources = Gauge("reconciler_resources", "Resources that it looked at.", registry=registry)
        self._converged = Gauge(
            "reconciler_converged_resources",
            "Resources that were as declared at the end of the last run with a plan.",
            registry=registry,
        )
        self._calls = Counter("reconciler_requests", "Calls to the API, by method.", ["method"], registry=registry)
        self._retries = Counter(
            "reconciler_retries", "Calls that repeated one which had failed in passing, by method.", ["method"],
            registry=registry,
        )  # fmt: skip
        self._outcomes = Counter(
            "reconciler_outcomes", "What became of the changes that runs applied.", ["outcome"], registry=registry
        )
        self._events = Counter(
            "reconciler_webhook_deliveries", "Events sent to the webhook, by result.", ["result"], registry=registry
        )
        self._of_the_course(course, clock)
        info = Gauge("reconciler_info", "Always 1; what is at work.", ["version", "target", "mode"], registry=registry)
        info.labels(version, target, mode).set(1)
        for counter, names in ((self._runs, _RESULTS), (self._calls, _METHODS), (self._retries, _METHODS)):
            for name in names:
                counter.labels(name)  # so that each is there from the beginning, as 0

    def _of_the_course(self, course: Course, clock: Callable[[], float]) -> None:
        def show(name: str, help_: str, value: Callable[[State], float]) -> None:
            Gauge(name, help_, registry=self._registry).set_function(lambda: value(course.state))

        show(
            "reconciler_drift_age_seconds", "Since when there has been drift without a break; 0 without.",
            lambda state: state.drift_age(clock()),
        )  # fmt: skip
        show(
            "reconciler_last_run_timestamp_seconds", "When the last run ended, since 1970; 0 before it.",
            lambda state: state.last.ended if state.last else 0.0,
        )  # fmt: skip
        show(
            "reconciler_last_success_timestamp_seconds", "When the last good run ended, since 1970; 0 before it.",
            lambda state: state.succeeded or 0.0,
        )  # fmt: skip
        show(
            "reconciler_consecutive_failures", "Failed runs since the last good one.",
            lambda state: float(state.failures),
        )  # fmt: skip

    def note(self, run: Run) -> None:
        """Count a run that has ended."""
        self._runs.labels(run.result).inc()
        self._seconds.observe(run.seconds)
        for counter, counts in ((self._calls, run.calls), (self._retries, run.retries), (self._outcomes, run.outcomes)):
            for name, count in counts.items():
                counter.labels(name).inc(count)
        if run.changes is not None:
            self._resources.set(run.resources)
            self._converged.set(run.converged)
            for cause in _CAUSES:
                self._changes.labels(cause).set(run.changes.get(cause, 0))

    def delivered(self, *, well: bool) -> None:
        """Count an event that was sent to the webhook, or could not be."""
        self._events.labels("success" if well else "failure").inc()

    def text(self, accept: str) -> tuple[str, bytes]:
        """Return the metrics in the form that whoever asks accepts: its media type, and the text."""
        try:
            return _encoded(self._registry, accept)
        except (TypeError, ValueError):  # a version that is none: the library compares it with numbers
            return _encoded(self._registry, "")


def _encoded(registry: CollectorRegistry, accept: str) -> tuple[str, bytes]:
    encode, media = choose_encoder(accept)
    return media, encode(registry)
