"""`python -m bench`: measure, tell, and write the figures and the section of the README.

    python -m bench                  everything; writes
    python -m bench plan,validate    some of it; writes nothing
    python -m bench --render         writes the section anew of the figures of the last time

    BENCH_ROUNDS   how many rounds, in place of each benchmark's own number; then nothing is written

The exit code is 1 where a target was missed, or something could not be measured.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .processes import Failed
from .report import as_text, kept, line, lines, machine, section, with_section
from .runner import run
from .table import Sizes, table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .runner import Figures
    from .table import Benchmark

ROOT = Path(__file__).parent.parent.parent
RESULTS = Path("tests", "bench", "results.json")
README = Path("README.md")


def main(arguments: list[str], benchmarks: Sequence[Benchmark], root: Path = ROOT) -> int:
    """Measure, or write anew what was measured; what is written stands below `root`."""
    if arguments == ["--render"]:
        write(benchmarks, json.loads((root / RESULTS).read_text(encoding="utf-8")), root)
        return 0
    wanted = [name for argument in arguments for name in argument.split(",")]
    unknown = set(wanted) - {one.name for one in benchmarks}
    if unknown:
        print(
            f"No such benchmark: {', '.join(sorted(unknown))}; there are {', '.join(one.name for one in benchmarks)}."
        )
        return 2
    chosen = [one for one in benchmarks if one.name in wanted or not wanted]
    with_section((root / README).read_text(encoding="utf-8"), "")  # before all the work, rather than after it
    rounds = int(os.environ.get("BENCH_ROUNDS") or 0)
    figures = measure(chosen, rounds)
    if rounds and not wanted:
        print("Nothing was written: BENCH_ROUNDS is for a look.")
    elif len(figures) == len(benchmarks) and not wanted:
        write(benchmarks, kept(figures, machine(), datetime.now(UTC).date().isoformat()), root)
        print(f"Written: {RESULTS} and the section of {README}.")
    elif not wanted:
        print("Nothing was written, since not everything was measured.")
    missed = [one.what for one in lines([one for one in chosen if one.name in figures], figures) if one.met is False]
    for what in missed:
        print(f"MISSED: {what.replace('`', '')}")
    return 1 if missed or len(figures) < len(chosen) else 0


def measure(benchmarks: Sequence[Benchmark], rounds: int = 0) -> dict[str, dict[str, Figures]]:
    """Return the figures of the benchmarks, by name, without those that failed; tell them as they come."""
    figures = {}
    for benchmark in benchmarks:
        begun = time.monotonic()
        try:
            figures[benchmark.name] = run(benchmark, rounds or benchmark.rounds)
        except Failed as failure:
            print(f"{benchmark.name}: FAILED: {failure}", flush=True)
            continue
        print(f"{benchmark.name}: {rounds or benchmark.rounds} rounds, {time.monotonic() - begun:.0f} s", flush=True)
        for row in benchmark.rows:
            print(f"  {line(row, figures[benchmark.name][row.key]).text()}", flush=True)
    return figures


def write(benchmarks: Sequence[Benchmark], results: Mapping[str, Any], root: Path) -> None:
    """Write the figures and the section of the README that is made of them."""
    readme = with_section((root / README).read_text(encoding="utf-8"), section(benchmarks, results))
    (root / RESULTS).write_text(as_text(results), encoding="utf-8")
    (root / README).write_text(readme, encoding="utf-8")


def heed_signals() -> None:
    """End at Ctrl-C and SIGTERM by an exception, so that nothing is left running, and without a traceback."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _leave)


def _leave(number: int, frame: object) -> None:
    sys.exit(128 + number)


if __name__ == "__main__":
    heed_signals()
    sys.exit(main(sys.argv[1:], table(Sizes())))
