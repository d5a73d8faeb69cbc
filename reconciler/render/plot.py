"""Pictures for the page, as inline SVG: how drift went over time, and a bar beside a number.

Pure functions of numbers. Nothing here is told by colour alone: lines differ in dash and marker, bars in their pattern,
and the page has a table of the same numbers beside every picture.
"""

from __future__ import annotations

import html
import math
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING

from reconciler.compare import Cause

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from reconciler.render.status import Sample

POINTS = 160
"""Points of a plot, at most: more would lie on each other."""
_WIDTH, _HEIGHT = 960, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 68, 16, 16, 58
_FLOOR = _HEIGHT - _BOTTOM
_GAP = 2.5
"""Intervals without a run from which on a line is broken: one late run is none."""
_STEPS = (1, 2, 5)
_MARKERS: Mapping[Cause, str] = {
    Cause.PENDING: "M-4 -4H4V4H-4Z",
    Cause.DRIFT: "M0 -5A5 5 0 1 1 -0.01 -5Z",
    Cause.CONFLICT: "M0 -6L5.5 4.5H-5.5Z",
    Cause.UNATTRIBUTED: "M0 -6L6 0L0 6L-6 0Z",
}
"""The outline of each cause's marker, round 0,0. The dashes are in the style sheet, by the same names."""
_CROSS = "M-5 -5L5 5M-5 5L5 -5"


@dataclass(frozen=True, slots=True)
class Point:
    """What one point of the plot stands for: `runs` samples, the last of them at `at`; the most that any of them found.

    `failed`: how many of them failed; where all did, the counts say nothing.
    """

    at: float
    counts: Mapping[Cause, int]
    runs: int = 1
    failed: int = 0

    @property
    def known(self) -> bool:
        """Tell whether any of the runs has counted."""
        return self.failed < self.runs


def points(samples: Sequence[Sample], limit: int = POINTS) -> tuple[Point, ...]:
    """Return at most `limit` points for the samples: as many neighbours as needed become one, with their peak."""
    size = max(1, math.ceil(len(samples) / limit))
    return tuple(_point(samples[start : start + size]) for start in range(0, len(samples), size))


def _point(samples: Sequence[Sample]) -> Point:
    good = [sample for sample in samples if not sample.failed]
    counts = {cause: max((getattr(sample, cause.value) for sample in good), default=0) for cause in Cause}
    return Point(samples[-1].at, counts, len(samples), len(samples) - len(good))


def moment(at: float) -> str:
    """Return a time, in seconds since 1970, as `2026-11-20 09:30:00 UTC`."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def drift_over_time(shown: Sequence[Point]) -> str:
    """Return the plot of at least one point: fields that differ, by cause, over time; every failed run crossed out."""
    scale = _Scale.of(shown)
    causes = [cause for cause in Cause if any(point.counts[cause] for point in shown)]
    parts = [_title(shown), *_axes(scale), *(_failure(scale, point) for point in shown if point.failed)]
    for cause in causes:
        parts += [*(_line(scale, cause, run) for run in _unbroken(shown)), *_markers(scale, cause, shown)]
    return _tag(
        "svg",
        {"class": "plot", "viewBox": f"0 0 {_WIDTH} {_HEIGHT}", "role": "img", "aria-labelledby": "plot-title"},
        *parts,
    )


def key(name: str) -> str:
    """Return the sample of a line and its marker, or of the mark of a failed run, for a legend beside the plot."""
    drawn = _CROSS if name == "failed" else _MARKERS[Cause(name)]
    line = "" if name == "failed" else _tag("path", {"class": f"line {name}", "d": "M2 8H46"})
    marker = _tag("path", {"class": f"marker {name}", "d": drawn, "transform": "translate(24 8)"})
    return _tag(
        "svg",
        {"class": "key", "width": "48", "height": "16", "viewBox": "0 0 48 16", "aria-hidden": "true"},
        line,
        marker,
    )


def bar(shares: Iterable[tuple[str, float]]) -> str:
    """Return a horizontal bar of parts, each a name of the style sheet and its share of the whole width, 0 to 1.

    It stands beside the numbers that it draws, so that a screen reader passes it over.
    """
    parts, left = [], 0.0
    for name, share in shares:
        if share > 0:
            shape = {"x": f"{left * 100:.2f}%", "width": f"{share * 100:.2f}%", "height": "100%"}
            parts.append(_tag("rect", {"class": f"fill {name}", **shape}))
            parts.append(_tag("rect", {"class": f"pattern {name}", **shape}))
        left += share
    return _tag("svg", {"class": "bar", "width": "100%", "height": "14", "aria-hidden": "true"}, *parts)


# --- the parts of the plot --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Scale:
    """Where a time and a number are drawn: `step` between two lines of the grid, `most` at the top."""

    first: float
    last: float
    step: int
    most: int

    @staticmethod
    def of(shown: Sequence[Point]) -> _Scale:
        """Return the scale on which all points have their place."""
        most = max(count for point in shown for count in point.counts.values())
        step = _step(most)
        return _Scale(shown[0].at, shown[-1].at, step, max(step, math.ceil(most / step) * step))

    def x(self, at: float) -> str:
        """Return where a time is; a single one is in the middle."""
        share = (at - self.first) / (self.last - self.first) if self.last > self.first else 0.5
        return f"{_LEFT + share * (_WIDTH - _LEFT - _RIGHT):.1f}"

    def y(self, count: int) -> str:
        """Return where a number is."""
        return f"{_FLOOR - count / self.most * (_FLOOR - _TOP):.1f}"


def _step(most: int) -> int:
    """Return a round number that divides the axis into at most five parts."""
    power = 1
    while True:
        for step in _STEPS:
            if step * power * 5 >= most:
                return step * power
        power *= 10


def _title(shown: Sequence[Point]) -> str:
    last, runs, failed = shown[-1], sum(point.runs for point in shown), sum(point.failed for point in shown)
    found = ", ".join(f"{last.counts[cause]} {cause.value}" for cause in Cause)
    said = f"the last one found {found}" if last.known else "the last one failed"
    text = f"Fields that differ over time: {runs} runs, {failed} of them failed; {said}."
    return _tag("title", {"id": "plot-title"}, html.escape(text))


def _axes(scale: _Scale) -> Iterator[str]:
    for count in range(0, scale.most + 1, scale.step):
        y = scale.y(count)
        yield _tag("path", {"class": "grid" if count else "axis", "d": f"M{_LEFT} {y}H{_WIDTH - _RIGHT}"})
        yield _text({"x": str(_LEFT - 10), "y": y, "dy": "0.35em", "text-anchor": "end"}, f"{count:,}")
    yield from _times(scale)


def _times(scale: _Scale) -> Iterator[str]:
    """Yield the times under the axis: the first, the middle and the last one; one alone has the middle."""
    if scale.last <= scale.first:
        ticks = [(scale.first, "middle")]
    else:
        ticks = [(scale.first, "start"), ((scale.first + scale.last) / 2, "middle"), (scale.last, "end")]
    for at, anchor in ticks:
        x, (day, time, _) = scale.x(at), moment(at).split()
        yield _tag("path", {"class": "axis", "d": f"M{x} {_FLOOR}v6"})
        yield _text({"x": x, "y": str(_FLOOR + 23), "text-anchor": anchor}, time)
        yield _text({"x": x, "y": str(_FLOOR + 43), "text-anchor": anchor}, day)


def _failure(scale: _Scale, point: Point) -> str:
    x = scale.x(point.at)
    cross = _tag("path", {"class": "marker failed", "d": _CROSS, "transform": f"translate({x} {_FLOOR})"})
    return _tag("path", {"class": "failure", "d": f"M{x} {_TOP}V{_FLOOR}"}) + cross


def _unbroken(shown: Sequence[Point]) -> Iterator[tuple[Point, ...]]:
    """Yield the stretches of points that a line may join: no failure and no gap between them."""
    usual = median(after.at - before.at for before, after in pairwise(shown)) if shown[1:] else 0.0
    stretch: list[Point] = []
    for point in shown:
        if stretch and (not point.known or point.at - stretch[-1].at > _GAP * usual):
            yield tuple(stretch)
            stretch = []
        if point.known:
            stretch.append(point)
    if stretch:
        yield tuple(stretch)


def _line(scale: _Scale, cause: Cause, stretch: Sequence[Point]) -> str:
    path = "L".join(f"{scale.x(point.at)} {scale.y(point.counts[cause])}" for point in stretch)
    return _tag("path", {"class": f"line {cause.value}", "d": f"M{path}"}) if stretch[1:] else ""


def _markers(scale: _Scale, cause: Cause, shown: Sequence[Point]) -> Iterator[str]:
    """Yield a marker at about thirty of the points, and at all that stand alone: more would hide the line."""
    every = max(1, len(shown) // 30)
    alone = {stretch[0].at for stretch in _unbroken(shown) if not stretch[1:]} if every > 1 else set()
    for number, point in enumerate(shown):
        if point.known and (number % every == 0 or point.at in alone):
            place = f"translate({scale.x(point.at)} {scale.y(point.counts[cause])})"
            yield _tag("path", {"class": f"marker {cause.value}", "d": _MARKERS[cause], "transform": place})


def _text(attributes: Mapping[str, str], text: str) -> str:
    return _tag("text", attributes, html.escape(text))


def _tag(name: str, attributes: Mapping[str, str], *inside: str) -> str:
    said = "".join(f' {key}="{html.escape(value)}"' for key, value in attributes.items())
    return f"<{name}{said}>{''.join(inside)}</{name}>"
