"""What was measured, kept as figures, and told as lines for a person and as the section of the README.

The figures (`results.json`) are all that is kept: medians, ratios and verdicts are made of them whenever they are told.
"""

from __future__ import annotations

import json
import math
import os
import platform
import re
import subprocess
import textwrap
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from .runner import Figures

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .table import Benchmark, Row

BEGIN = "<!-- bench:begin (made by `make bench` of tests/bench/results.json: not to be edited) -->"
END = "<!-- bench:end -->"
LIBRARIES = ("aiohttp", "httpx", "openai", "pydantic", "ruamel.yaml", "ruamel.yaml.clib", "uvloop")
_IN_A_SECOND = {"s": 1, "ms": 1e3, "µs": 1e6}
_IN_A_MIB = {"MiB": 1, "KiB": 1024}
_SCALES = {"/s": 1, **_IN_A_SECOND, **_IN_A_MIB}
_KEPT = 5
"""Digits of a figure that are kept."""


# --- kept -------------------------------------------------------------------------------------------------------------


def kept(figures: Mapping[str, Mapping[str, Figures]], machine: Mapping[str, str], day: str) -> dict[str, Any]:
    """Return what is to be kept, as JSON: figures by benchmark and row."""
    rows = {name: {key: _kept_row(row) for key, row in of.items()} for name, of in figures.items()}
    return {"day": day, "machine": dict(machine), "figures": rows}


def _kept_row(figures: Figures) -> dict[str, Any]:
    if figures.left_out:
        return {"left_out": figures.left_out}
    shortened = {"values": figures.values, "references": figures.references}
    return {name: [float(f"{value:.{_KEPT}g}") for value in values] for name, values in shortened.items()}


def as_text(results: Mapping[str, Any]) -> str:
    """Return what is kept as JSON, the figures of a row in one line."""
    text = json.dumps(results, indent=1)
    return re.sub(r"\[[^][]*\]", lambda found: " ".join(found[0].split()), text) + "\n"


def figures_of(results: Mapping[str, Any]) -> dict[str, dict[str, Figures]]:
    """Return the figures that were kept."""
    return {name: {key: Figures(**row) for key, row in rows.items()} for name, rows in results["figures"].items()}


# --- told -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Line:
    """A row as it is told."""

    what: str
    value: str
    against: str
    reference: str
    ratio: str
    target: str
    met: bool | None
    """Whether the target was met; nothing where there is none."""

    @property
    def verdict(self) -> str:
        """Return what became of the target."""
        return {None: "", True: "met", False: "**missed**"}[self.met]

    def cells(self) -> str:
        """Return a row of a table in Markdown."""
        against = f"{self.reference}, {self.against}" if self.reference else self.against
        return f"| {self.what} | {self.value} | {against} | {self.ratio} | {self.target} | {self.verdict} |"

    def text(self) -> str:
        """Return a line for a terminal."""
        against = f"; {self.against}: {self.reference}; ratio {self.ratio}" if self.reference else ""
        target = f" [{self.target}: {self.verdict.strip('*').upper()}]" if self.target else ""
        return f"{self.what.replace('`', '')}: {self.value}{against}{target}"


def line(row: Row, figures: Figures) -> Line:
    """Return how a row is told: the medians of its rounds, and the median and the range of their ratios."""
    if figures.left_out:
        return Line(row.what, "not measured", figures.left_out, "", "", row.target.words if row.target else "", None)
    value, reference, ratio, judged = median(figures.values), "", "", median(figures.values)
    if row.reference:
        ratios = [
            one / other if other else math.inf for one, other in zip(figures.values, figures.references, strict=True)
        ]
        judged = median(ratios) if row.target is None or row.target.ratio else judged
        reference = _told(median(figures.references), row.unit)
        ratio = f"{_number(median(ratios))} ({_number(min(ratios))} to {_number(max(ratios))})"
    target, met = (row.target.words, row.target.met_by(judged)) if row.target else ("", None)
    return Line(row.what, _told(value, row.unit), row.against, reference, ratio, target, met)


def lines(benchmarks: Iterable[Benchmark], figures: Mapping[str, Mapping[str, Figures]]) -> list[Line]:
    """Return all rows in the order of the benchmarks."""
    return [line(row, figures[one.name][row.key]) for one in benchmarks for row in one.rows]


def _told(value: float, unit: str) -> str:
    return f"{_number(value * _SCALES[unit])}{'' if unit == '/s' else ' '}{unit}"


def _number(value: float) -> str:
    """Return a number with three digits that matter, and all that stand before the point."""
    digits = next((digits for digits, limit in ((0, 100), (1, 10), (2, 0.1)) if abs(value) >= limit), 3)
    return f"{value:,.{digits}f}"


# --- the README -------------------------------------------------------------------------------------------------------


def section(benchmarks: Iterable[Benchmark], results: Mapping[str, Any]) -> str:
    """Return the section of the README, from one marker to the other."""
    figures = figures_of(results)
    rounds = sorted({len(row.values) for rows in figures.values() for row in rows.values()} - {0})
    counted = "1 round" if rounds == [1] else f"{' to '.join(map(str, dict.fromkeys((rounds[0], rounds[-1]))))} rounds"
    machine = ", ".join(f"{value}" if key == "" else f"{key} {value}" for key, value in _named(results["machine"]))
    head = f"""\
{BEGIN}
## How fast it is

`make bench` measured this on {results["day"]} and wrote it here, nothing typed by hand. The contenders of a row
took turns within one run, over loopback, in {counted}; shown are medians, and the median and the range of
the ratios of the rounds. `reconciler` is timed from outside as a whole command, in a git repository, without a
cache of manifests unless the row says that files are unchanged. What it is compared with counts its work alone,
without its start.

{textwrap.fill(f"Machine: {machine}.", 120, break_on_hyphens=False)}

| | measured | against | ratio (range) | target | |
| --- | --- | --- | --- | --- | --- |"""
    return "\n".join([head, *(one.cells() for one in lines(benchmarks, figures)), END])


def _named(machine: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return the parts of a machine; those that speak for themselves are not named."""
    plain = ("processor", "cores", "memory", "kernel")
    return [("" if key in plain else key, value) for key, value in machine.items()]


def with_section(readme: str, new: str) -> str:
    """Return the README with another section; raises `ValueError` where its markers are not there, once each."""
    before, begin, rest = readme.partition("<!-- bench:begin")
    _, end, after = rest.partition(END)
    if not (begin and end) or "<!-- bench:" in before + after:
        raise ValueError("the README has no place for the benchmarks")
    return before + new + after


# --- the machine ------------------------------------------------------------------------------------------------------


def machine() -> dict[str, str]:
    """Return what the figures depend on, and no name of anybody or anything."""
    libraries = {name: _version(name) for name in LIBRARIES}
    return {
        "processor": _processor(),
        "cores": f"{os.cpu_count()} cores",
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / (1 << 30):.0f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        platform.python_implementation(): platform.python_version(),
        "git": _git(),
        "reconciler": _version("reconciler"),
        **{name: told for name, told in libraries.items() if told},
    }


def _processor() -> str:
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found[1].strip() if found else platform.machine()


def _git() -> str:
    told = subprocess.run(["git", "--version"], capture_output=True, text=True, check=True, timeout=60).stdout
    return told.removeprefix("git version").strip()


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return ""
