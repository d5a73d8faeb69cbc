"""What a watch shows: its page, the last document, whether all is well, and metrics."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

from reconciler.render import html, rendered
from reconciler.render.status import Sample, Watch
from reconciler.watching.status import Answer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from reconciler.watching.course import Course, Run, State
    from reconciler.watching.metrics import Metrics
    from reconciler.watching.status import Page

T = TypeVar("T")

SHARE = 20
"""What was made is used so many times as long as the making took: whoever asks costs a part of a processor at most."""


@dataclass(slots=True)
class Kept(Generic[T]):
    """What is made of something, for whoever asks; one at a time makes it, all others get the same."""

    make: Callable[[Any], T]
    ages: bool
    clock: Callable[[], float] = time.monotonic
    _made: tuple[object, T, float] | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def get(self, of: object) -> T:
        """Return what is made of this very thing; what `ages` is made anew now and then, else that is done once."""
        with self._lock:
            known = self._made
            if known is None or known[0] is not of or (self.ages and self.clock() >= known[2]):
                begun, made, ended = self.clock(), self.make(of), self.clock()
                self._made = known = (of, made, ended + SHARE * (ended - begun))
            return known[1]


@dataclass(slots=True)
class Pages:
    """The pages of one watch; `patience` is for how many intervals a good run counts."""

    course: Course
    metrics: Metrics
    mode: str
    interval: float
    patience: int
    clock: Callable[[], float] = time.time
    _page: Kept[str] = field(init=False)
    _json: Kept[str] = field(init=False)

    def __post_init__(self) -> None:
        """Begin with nothing made."""
        self._page, self._json = Kept(self._rendered, ages=True), Kept(_document, ages=False)

    def by_path(self) -> Mapping[str, Page]:
        """Return what makes each page, by its path."""
        return {
            "/": lambda _: self.page(),
            "/document.json": lambda _: self.document(),
            "/healthz": lambda _: self.health(),
            "/metrics": self.samples,
        }

    def page(self) -> Answer:
        """Return the page for people."""
        policy = f"{html.policy()}; frame-ancestors 'none'"  # a header alone can say the latter
        return Answer(self._page.get(self.course.state), media="text/html; charset=utf-8", policy=policy)

    def document(self) -> Answer:
        """Return the document of the last run."""
        last = self.course.state.last
        if last is None:
            return Answer("no run has ended yet\n", 503)
        return Answer(self._json.get(last), media="application/json")

    def health(self) -> Answer:
        """Tell whether all is well; where runs take longer than an interval, they are what is counted."""
        state = self.course.state
        health = state.health(self.clock(), self.patience * max(self.interval, state.took))
        return Answer(f"{health.word}\n", 200 if health.well else 503)

    def samples(self, accept: str) -> Answer:
        """Return the metrics, in the form that whoever asks accepts."""
        media, text = self.metrics.text(accept)
        return Answer(text, media=media)

    def _rendered(self, state: State) -> str:
        samples = tuple(Sample(spot.at, **spot.changes, failed=spot.failed) for spot in self.course.spots())
        last, error = state.last, state.last.error if state.last else None
        watch = Watch(self.mode, self.interval, state.started, samples, state.next_at, state.failures, error)
        return html.status(last.document if last else None, watch, self.clock())


def _document(run: Run) -> str:
    return rendered(run.document, "json")
