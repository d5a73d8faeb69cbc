"""Run the contenders of a benchmark in turn, round by round, and read the figures of each round."""

from __future__ import annotations

import contextlib
import tempfile
from dataclasses import astuple, dataclass, field
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from .processes import OF_BENCH, Failed, spent
from .stage import Setting, Stage, stage
from .table import RIVAL, Contender, Sample

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .table import Benchmark, Row


@dataclass
class Figures:
    """The figures of a row, round by round; none, and the reason, where it could not be measured."""

    values: list[float] = field(default_factory=list)
    references: list[float] = field(default_factory=list)
    left_out: str = ""

    def take(self, row: Row, samples: Mapping[str, Sample]) -> None:
        """Add the figures of a round."""
        self.values.append(row.value.of_round(samples))
        if row.reference:
            self.references.append(row.reference.of_round(samples))


def installed(library: str) -> bool:
    """Tell whether a library is there."""
    return find_spec(library) is not None


def run(benchmark: Benchmark, rounds: int, has: Callable[[str], bool] = installed) -> dict[str, Figures]:
    """Return the figures of each row, by its key; raises `Failed` where something did not do what is measured."""
    lacking = {one.name: one.needs for one in benchmark.contenders if one.needs and not has(one.needs)}
    figures = {row.key: Figures(left_out=_left_out(row, lacking)) for row in benchmark.rows}
    with Arena() as arena:
        for _ in range(rounds):
            samples = {one.name: arena.sample(one) for one in benchmark.contenders if one.name not in lacking}
            for row in benchmark.rows:
                if not figures[row.key].left_out:
                    figures[row.key].take(row, samples)
    return figures


def _left_out(row: Row, lacking: Mapping[str, str]) -> str:
    """Return why a row cannot be measured; nothing where it can."""
    libraries = sorted({lacking[name] for name in row.contenders & lacking.keys()})
    return f"{', '.join(libraries)} is not installed" if libraries else ""


class Arena(contextlib.ExitStack):
    """The stages of a benchmark, each set up when it is first needed, and all taken down at the end."""

    def __init__(self) -> None:
        super().__init__()
        self._place = Path(self.enter_context(tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True)))
        self._stages: dict[Setting, Stage] = {}
        self._alone = 0

    def sample(self, contender: Contender) -> Sample:
        """Run a contender as often as it asks for, and return the medians."""
        samples = [self._once(contender) for _ in range(contender.times)]
        return Sample(*(median(figures) for figures in zip(*map(astuple, samples), strict=True)))

    def _once(self, contender: Contender) -> Sample:
        if contender.alone:
            self._alone += 1
            with stage(contender.setting, self._place / f"alone-{self._alone}") as own:
                return sample(contender, own)
        if contender.setting not in self._stages:
            place = self._place / f"stage-{len(self._stages)}"
            self._stages[contender.setting] = self.enter_context(stage(contender.setting, place))
        return sample(contender, self._stages[contender.setting])


def sample(contender: Contender, on: Stage) -> Sample:
    """Run a contender on a stage, and see that its server was asked for what it should."""
    {"emptied": on.empty_cache, "kept": lambda: None, "restored": on.restore_cache}[contender.cache]()
    command = [word.format(port=on.server.port, manifests=on.manifests) for word in contender.command]
    rival = contender.command[: len(RIVAL)] == RIVAL
    before = on.server.counts()
    took = spent(command, folder=on.folder, env=OF_BENCH if rival else on.env)
    after = on.server.counts()
    calls = (after.reads - before.reads, after.writes - before.writes)
    if calls != contender.calls:
        raise Failed(f"{contender.name}: {calls} reads and writes in place of {contender.calls}: {took.out.strip()}")
    work = float(took.out) if rival else took.wall
    return Sample(took.wall, took.cpu, took.peak, work, after.cpu - before.cpu)
