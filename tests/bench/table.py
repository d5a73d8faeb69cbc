"""The benchmarks as data: who runs in turn, which figures of theirs stand side by side, and what was promised."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .corpus import thread_id
from .stage import TOOL, Setting

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

RIVAL = ("-m", "bench.rivals")


@dataclass(frozen=True)
class Contender:
    """A command that is measured: the words after the name of Python, `{port}` and `{manifests}` filled in.

    `calls` are the reads and writes that its server must have counted afterwards; else it did not do what it was to be
    measured at. `cache` says what becomes of the cache of manifests beforehand: it is emptied, kept as the contender
    before left it, or restored (see `Setting`). One that is `alone` has the setting set up anew for it each time. One
    that is over soon runs several `times` in a round, of which the medians count.
    """

    name: str
    command: tuple[str, ...]
    setting: Setting
    calls: tuple[int, int] = (0, 0)
    cache: str = "emptied"
    alone: bool = False
    times: int = 1
    needs: str = ""


@dataclass(frozen=True)
class Sample:
    """What one run of a contender took.

    `wall` and `cpu` are seconds of the whole process, `peak` MiB; `work` are the seconds that a rival says it took
    without its imports, and all of them for anything else. `server` are the seconds of a processor of the server.
    """

    wall: float
    cpu: float
    peak: float
    work: float
    server: float


@dataclass(frozen=True)
class Reading:
    """A figure that is computed from the samples of some contenders."""

    contenders: tuple[str, ...]
    of: Callable[..., float]

    def of_round(self, samples: Mapping[str, Sample]) -> float:
        """Return the figure of a round."""
        return self.of(*(samples[name] for name in self.contenders))


@dataclass(frozen=True)
class Target:
    """What was promised: that a ratio, or else a value, lies within bounds."""

    words: str
    ratio: bool
    low: float = 0.0
    high: float = float("inf")

    def met_by(self, figure: float) -> bool:
        """Tell whether the promise is kept."""
        return self.low <= figure <= self.high


@dataclass(frozen=True)
class Row:
    """A figure, mostly beside another one of the same round."""

    key: str
    what: str
    value: Reading
    unit: str
    against: str = ""
    reference: Reading | None = None
    target: Target | None = None

    @property
    def contenders(self) -> frozenset[str]:
        """Return the names of those whose samples it takes."""
        return frozenset(self.value.contenders + (self.reference.contenders if self.reference else ()))


@dataclass(frozen=True)
class Benchmark:
    """Contenders that run in turn, and what is read from it."""

    name: str
    rounds: int
    contenders: tuple[Contender, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Sizes:
    """How much of everything; the tests take less."""

    few: int = 10
    some: int = 1000
    base: int = 10_000
    many: int = 100_000
    edited: int = 10
    official: int = 2000
    parallelism: int = 16
    latency: float = 0.1
    in_flight: tuple[int, int, int] = (16, 100, 500)
    patient: int = 100


def table(sizes: Sizes) -> tuple[Benchmark, ...]:
    """Return all benchmarks."""
    make = (_start, _plan, _validate, _validate_many, _changed_since, _apply, _growth, _in_flight, _latency)
    return tuple(one(sizes) for one in make)


# --- what can be read and promised ------------------------------------------------------------------------------------


def wall(name: str) -> Reading:
    """Return the seconds of the clock that a whole process took."""
    return Reading((name,), lambda sample: sample.wall)


def cpu(name: str) -> Reading:
    """Return the seconds of a processor."""
    return Reading((name,), lambda sample: sample.cpu)


def peak(name: str) -> Reading:
    """Return the MiB at the peak."""
    return Reading((name,), lambda sample: sample.peak)


def work(*names: str) -> Reading:
    """Return the seconds that the work of all these took, one after the other."""
    return Reading(names, lambda *samples: sum(sample.work for sample in samples))


def server(name: str) -> Reading:
    """Return the seconds of a processor that its server took for it."""
    return Reading((name,), lambda sample: sample.server)


def a_second(name: str, calls: int) -> Reading:
    """Return the calls a second."""
    return Reading((name,), lambda sample: calls / sample.work)


def time_each(small: str, name: str, threads: int) -> Reading:
    """Return the seconds for each of so many threads beyond those of the small run, whose time is taken off."""
    return Reading((small, name), lambda less, more: (more.wall - less.wall) / threads)


def beyond(small: str, name: str) -> Reading:
    """Return the seconds beyond those of the small run: without start-up, which the rivals' figures lack as well."""
    return Reading((small, name), lambda less, more: more.wall - less.wall)


def memory_each(small: str, name: str, threads: int) -> Reading:
    """Return the MiB for each of so many threads beyond those of the small run, whose peak is taken off."""
    return Reading((small, name), lambda less, more: (more.peak - less.peak) / threads)


def constant(figure: float) -> Reading:
    """Return a figure that nobody has to measure."""
    return Reading((), lambda: figure)


def at_most(times: float) -> Target:
    """Promise a ratio."""
    return Target(f"at most {times:g}", ratio=True, high=times)


def at_least(times: float) -> Target:
    """Promise a ratio of what is the better the more it is."""
    return Target(f"at least {times:g}", ratio=True, low=times)


def within(share: float) -> Target:
    """Promise that a figure differs from the other by this share at most."""
    return Target(f"{1 - share:g} to {1 + share:g}", ratio=True, low=1 - share, high=1 + share)


def below(figure: float, words: str) -> Target:
    """Promise a figure."""
    return Target(f"under {words}", ratio=False, high=figure)


# --- the benchmarks ---------------------------------------------------------------------------------------------------


def _plan_of(name: str, setting: Setting, *options: str, reads: int | None = None, **more) -> Contender:
    """Return a plan; it reads every thread unless told otherwise."""
    return Contender(
        name, (*TOOL, "plan", "-q", *options), setting, (setting.threads if reads is None else reads, 0), **more
    )


def _validate_of(name: str, setting: Setting, **more) -> Contender:
    return Contender(name, (*TOOL, "validate"), setting, **more)


def _parse_of(name: str, setting: Setting) -> Contender:
    return Contender(name, (*RIVAL, "parse", "{manifests}"), setting)


def _calls_of(job: str, setting: Setting, threads: int, parallelism: int, calls: tuple[int, int], **more) -> Contender:
    return Contender(job, (*RIVAL, job, "{port}", f"{threads}", f"{parallelism}"), setting, calls, **more)


def _start(sizes: Sizes) -> Benchmark:
    few = Setting(sizes.few)
    bare = "a bare interpreter"
    return Benchmark(
        name="start",
        rounds=15,
        contenders=(
            Contender("python", ("-c", "pass"), few),
            Contender("version", (*TOOL, "--version"), few),
            _plan_of("plan", few),
        ),
        rows=(
            Row("version", "`--version`, CPU", cpu("version"), "ms", bare, cpu("python"), below(0.120, "120 ms")),
            Row("plan", f"`plan` of {sizes.few} threads", wall("plan"), "ms", bare, wall("python")),
        ),
    )


def _plan(sizes: Sizes) -> Benchmark:
    base, threads = Setting(sizes.base), f"{sizes.base:,} threads"
    at_a_time = ("--parallelism", f"{sizes.parallelism}")
    bare = "a bare aiohttp loop + a bare C parse"
    client = f"the official async client ({sizes.official:,} reads)"
    reading = Reading(("again", "one"), lambda every, one: (sizes.base - 1) / (every.wall - one.wall))
    return Benchmark(
        name="plan",
        rounds=5,
        contenders=(
            _calls_of("read", base, sizes.base, sizes.parallelism, (sizes.base, 0)),
            _parse_of("parse", base),
            _calls_of("official", base, sizes.official, sizes.parallelism, (sizes.official, 0), needs="openai"),
            _plan_of("plan", base, *at_a_time),
            _plan_of("again", base, *at_a_time, cache="kept"),
            _plan_of("one", base, "--select", f"thread/{thread_id(0)}", reads=1, cache="kept"),
            _plan_of("start", Setting(sizes.few)),
        ),
        rows=(
            Row("bare", f"`plan` of {threads}", wall("plan"), "s", bare, work("read", "parse"), at_most(2)),
            Row("again", f"`plan` of {threads}, files unchanged", wall("again"), "s", bare, work("read", "parse")),
            Row(
                "official",
                f"`plan` of {threads}, reads a second over the whole command",
                a_second("plan", sizes.base),
                "/s",
                client,
                a_second("official", sizes.official),
            ),
            Row(
                "reading",
                f"`plan` of {threads}, reads a second without start and manifests",
                reading,
                "/s",
                client,
                a_second("official", sizes.official),
                at_least(5),
            ),
            Row(
                "one",
                f"`plan --select` of 1 of {threads}, files unchanged, without start-up",
                beyond("start", "one"),
                "s",
                "a bare C parse",
                work("parse"),
                at_most(0.3),
            ),
            Row(
                "server",
                "the server's CPU for the bare aiohttp loop",
                server("read"),
                "s",
                "the loop's CPU",
                cpu("read"),
                at_most(1),
            ),
        ),
    )


def _validate(sizes: Sizes) -> Benchmark:
    return _validating("validate", 5, sizes.base, below(150, "150 MiB"))


def _validate_many(sizes: Sizes) -> Benchmark:
    return _validating("validate-many", 3, sizes.many, below(600, "600 MiB"))


def _validating(name: str, rounds: int, count: int, memory: Target) -> Benchmark:
    setting, bare = Setting(count), "a bare C parse"
    first, again = f"`validate` of {count:,} threads", f"`validate` of {count:,} threads, files unchanged"
    return Benchmark(
        name=name,
        rounds=rounds,
        contenders=(
            _parse_of("parse", setting),
            _validate_of("validate", setting),
            _validate_of("again", setting, cache="kept"),
        ),
        rows=(
            Row("bare", first, wall("validate"), "s", bare, work("parse"), at_most(1.4)),
            Row("again", again, wall("again"), "s", bare, work("parse"), at_most(0.3)),
            Row("peak", f"{first}, peak", peak("validate"), "MiB", target=memory),
            Row("peak-again", f"{again}, peak", peak("again"), "MiB", target=memory),
        ),
    )


def _changed_since(sizes: Sizes) -> Benchmark:
    many = Setting(sizes.many, edited=sizes.edited)
    single = Setting(sizes.many, per_file=sizes.many, edited=sizes.edited)
    options = ("--changed-since", "HEAD")
    what = f"`plan --changed-since`, {sizes.edited} of {sizes.many:,} threads"
    limit = below(1, "1 s")
    return Benchmark(
        name="changed-since",
        rounds=3,
        contenders=(
            _plan_of("edited", many, *options, reads=sizes.edited, cache="restored"),
            _plan_of("again", many, *options, reads=sizes.edited, cache="kept"),
            _plan_of("single-edited", single, *options, reads=sizes.edited, cache="restored"),
            _plan_of("single-again", single, *options, reads=sizes.edited, cache="kept"),
        ),
        rows=(
            Row("again", f"{what} in {sizes.edited} files", wall("again"), "s", target=limit),
            Row("edited", f"{what} in {sizes.edited} files, the first time after the edit", wall("edited"), "s"),
            Row("single-again", f"{what} in one file", wall("single-again"), "s", target=limit),
            Row("single-edited", f"{what} in one file, the first time after the edit", wall("single-edited"), "s"),
        ),
    )


def _apply(sizes: Sizes) -> Benchmark:
    setting, count = Setting(sizes.some, changed=sizes.some), sizes.some
    calls = (2 * count, count)
    bare = "a bare aiohttp loop of the same calls"
    return Benchmark(
        name="apply",
        rounds=5,
        contenders=(
            _calls_of("write", setting, count, sizes.parallelism, calls, alone=True),
            Contender("apply", (*TOOL, "apply", "--yes", "-q"), setting, calls, alone=True),
        ),
        rows=(
            Row("bare", f"`apply` of {count:,} changes, in a git repository", wall("apply"), "s", bare, work("write")),
            Row(
                "calls",
                f"`apply` of {count:,} changes, calls a second over the whole command",
                a_second("apply", sum(calls)),
                "/s",
                bare,
                a_second("write", sum(calls)),
            ),
        ),
    )


def _growth(sizes: Sizes) -> Benchmark:
    some, base, many = counts = (sizes.some, sizes.base, sizes.many)
    commands = ("plan", "validate")
    contenders = [
        make(f"{command} {count}", Setting(count), times=5 if count < base else 1)
        for count in counts
        for command, make in zip(commands, (_plan_of, _validate_of), strict=True)
    ]
    rows = []
    for command in commands:
        for each, unit, what in ((time_each, "µs", "time"), (memory_each, "KiB", "memory")):
            value = each(f"{command} {base}", f"{command} {many}", many - base)
            reference = each(f"{command} {some}", f"{command} {base}", base - some)
            words = f"`{command}`, {what} of each thread from {base:,} to {many:,}"
            against = f"from {some:,} to {base:,}"
            rows.append(Row(f"{command}-{what}", words, value, unit, against, reference, within(0.2)))
    for count, size, limit in ((base, "base", 150), (many, "many", 600)):
        words, target = f"`plan` of {count:,} threads, peak", below(limit, f"{limit} MiB")
        rows.append(Row(f"plan-peak-{size}", words, peak(f"plan {count}"), "MiB", target=target))
    return Benchmark(name="growth", rounds=3, contenders=tuple(contenders), rows=tuple(rows))


def _in_flight(sizes: Sizes) -> Benchmark:
    base = Setting(sizes.base)
    lowest = sizes.in_flight[0]
    rows = tuple(
        Row(
            f"peak-{index}",
            f"`plan` of {sizes.base:,} threads with {at_a_time} calls in flight, peak",
            peak(f"{at_a_time}"),
            "MiB",
            f"with {lowest}",
            peak(f"{lowest}"),
            within(0.2),
        )
        for index, at_a_time in enumerate(sizes.in_flight[1:], 1)
    )
    plans = tuple(_plan_of(f"{number}", base, "--parallelism", f"{number}") for number in sizes.in_flight)
    return Benchmark(name="in-flight", rounds=3, contenders=plans, rows=rows)


def _latency(sizes: Sizes) -> Benchmark:
    ideal = sizes.base / sizes.patient * sizes.latency
    slow = Setting(sizes.base, latency=sizes.latency)
    return Benchmark(
        name="latency",
        rounds=3,
        contenders=(_plan_of("plan", slow, "--parallelism", f"{sizes.patient}"),),
        rows=(
            Row(
                "ideal",
                f"`plan` of {sizes.base:,} threads, {sizes.latency * 1000:g} ms a call, {sizes.patient} in flight",
                wall("plan"),
                "s",
                "reads / parallelism x latency",
                constant(ideal),
                at_most(1.15),
            ),
        ),
    )
