"""The pictures of the page: where things are drawn, and that nothing is told by colour alone."""

import re
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.compare import Cause
from reconciler.render import plot
from reconciler.render.status import Sample

START = 1_763_600_000.0


def run(number, **found):
    return Sample(START + 300 * number, **found)


def drawn(samples):
    return ET.fromstring(plot.drift_over_time(plot.points(samples)))


def lines(svg, name):
    """The lines of one cause, each as its points."""
    paths = [path.get("d") for path in svg.iter("path") if path.get("class") == f"line {name}"]
    return [[tuple(map(float, point.split())) for point in path[1:].split("L")] for path in paths]


def markers(svg, name):
    return [path for path in svg.iter("path") if path.get("class") == f"marker {name}"]


def texts(svg):
    return [text.text for text in svg.iter("text")]


def test_more_drift_is_drawn_higher_and_later_runs_further_right():
    [line] = lines(drawn([run(0, drift=1), run(1, drift=4), run(2, drift=2)]), "drift")
    xs, ys = zip(*line, strict=True)
    assert list(xs) == sorted(xs)
    assert ys[1] < ys[2] < ys[0]


def test_a_failed_run_is_marked_and_breaks_the_lines():
    svg = drawn([run(0, drift=1), run(1, drift=2), run(2, failed=True), run(3, drift=3), run(4, drift=4)])
    assert [len(line) for line in lines(svg, "drift")] == [2, 2]
    assert len(markers(svg, "failed")) == 1


def test_a_gap_breaks_the_lines():
    svg = drawn([run(number, pending=1) for number in (0, 1, 2, 3, 40, 41)])
    assert [len(line) for line in lines(svg, "pending")] == [4, 2]


def test_one_late_run_is_no_gap():
    assert len(lines(drawn([run(number, pending=1) for number in (0, 1, 3, 4)]), "pending")) == 1


def test_one_run_is_a_marker_without_a_line():
    svg = drawn([run(0, drift=3)])
    assert not lines(svg, "drift")
    assert len(markers(svg, "drift")) == 1
    assert "00:53:20" in texts(svg)


def test_one_failed_run_is_a_plot_too():
    svg = drawn([run(0, failed=True)])
    assert len(markers(svg, "failed")) == 1
    assert not any(markers(svg, cause.value) for cause in Cause)


def test_every_cause_has_a_marker_of_its_own():
    svg = drawn([run(0, pending=1, drift=2, conflict=3, unattributed=4)])
    outlines = {markers(svg, cause.value)[0].get("d") for cause in Cause}
    assert len(outlines) == len(Cause)


def test_the_axes_have_round_numbers_and_times():
    svg = drawn([run(0, drift=1), run(1, drift=23)])
    assert [text for text in texts(svg) if text.isdigit()] == ["0", "5", "10", "15", "20", "25"]
    assert [text for text in texts(svg) if ":" in text] == ["00:53:20", "00:55:50", "00:58:20"]


def test_the_picture_says_what_it_shows():
    svg = drawn([run(0, drift=1), run(1, failed=True), run(2, drift=2, conflict=1)])
    assert svg.find("title").text == (
        "Fields that differ over time: 3 runs, 1 of them failed; "
        "the last one found 0 pending, 2 drift, 1 conflict, 0 unattributed."
    )
    assert svg.get("role") == "img"
    assert svg.get("aria-labelledby") == svg.find("title").get("id")


def test_a_thousand_runs_are_as_many_points_as_can_be_told_apart_and_no_peak_is_lost():
    samples = [run(number, drift=1) for number in range(1000)]
    samples[501] = run(501, drift=99)
    samples[700] = run(700, failed=True)
    points = plot.points(samples)
    assert len(points) <= plot.POINTS
    assert sum(point.runs for point in points) == 1000
    assert max(point.counts[Cause.DRIFT] for point in points) == 99
    assert sum(point.failed for point in points) == 1
    assert points[-1].at == samples[-1].at
    assert len(markers(drawn(samples), "drift")) < 60


def test_no_runs_are_no_points():
    assert plot.points([]) == ()


SAMPLES = st.lists(
    st.builds(
        Sample,
        at=st.floats(0, 4e9),
        pending=st.integers(0, 10**7),
        drift=st.integers(0, 50),
        conflict=st.integers(0, 2),
        failed=st.booleans(),
    ),
    min_size=1,
    max_size=400,
).map(lambda samples: sorted(samples, key=lambda sample: sample.at))


@given(SAMPLES)
def test_everything_is_drawn_within_the_picture(samples):
    svg = drawn(samples)
    _, _, width, height = map(float, svg.get("viewBox").split())
    places = [point for cause in Cause for line in lines(svg, cause.value) for point in line]
    moved = (re.fullmatch(r"translate\((\S+) (\S+)\)", path.get("transform", "")) for path in svg.iter("path"))
    places += [(float(found[1]), float(found[2])) for found in moved if found]
    assert all(0 <= x <= width and 0 <= y <= height for x, y in places)
    assert sum(len(text) for text in texts(svg)) < 400


@pytest.mark.parametrize("name", [*map(str, Cause), "failed"])
def test_the_legend_shows_the_mark_of_each(name):
    svg = ET.fromstring(plot.key(name))
    assert markers(svg, name)
    assert svg.get("aria-hidden") == "true"


def test_a_bar_has_its_parts_side_by_side_and_a_pattern_for_each():
    svg = ET.fromstring(plot.bar([("add", 0.25), ("replace", 0.0), ("remove", 0.5)]))
    rows = [(rect.get("class"), rect.get("x"), rect.get("width")) for rect in svg.iter("rect")]
    assert rows == [
        ("fill add", "0.00%", "25.00%"),
        ("pattern add", "0.00%", "25.00%"),
        ("fill remove", "25.00%", "50.00%"),
        ("pattern remove", "25.00%", "50.00%"),
    ]
