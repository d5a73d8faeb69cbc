"""`reconciler watch`: run after run, until somebody ends it, with metrics and a page that shows how it goes."""

from __future__ import annotations

import datetime as dt
import os
import random
import re
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import click

from reconciler.cli.options import GUARDS, WHERE, Options, options

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from reconciler.cli.keeping import Keeper
    from reconciler.cli.wishes import Wishes
    from reconciler.settings import Settings
    from reconciler.watching.course import Course, Run
    from reconciler.watching.lock import Mark
    from reconciler.watching.metrics import Metrics
    from reconciler.watching.schedule import Rhythm
    from reconciler.watching.status import Place
    from reconciler.watching.webhook import Hook, Messenger

LISTEN = "127.0.0.1:9464"
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def _interval(_context: click.Context, _option: click.Parameter, value: str) -> float:
    from reconciler.watching.schedule import parse_interval

    try:
        return parse_interval(value)
    except ValueError as error:
        raise click.BadParameter(f"{error}.") from error


def _jitter(_context: click.Context, _option: click.Parameter, value: str) -> float:
    from reconciler.settings import parse_percent

    try:
        return parse_percent(value) / 100
    except ValueError as error:
        raise click.BadParameter(f"{error}.") from error


def _listen(_context: click.Context, _option: click.Parameter, value: str) -> Place | None:
    from reconciler.watching.status import parse_place

    if value == "none":
        return None
    try:
        return parse_place(value)
    except ValueError as error:
        raise click.BadParameter(f"{error}.") from error


def _hook(_context: click.Context, _option: click.Parameter, value: str | None) -> Hook | None:
    """Return the webhook whose URL the variable has; what was written is not repeated, it may be the URL itself."""
    from reconciler.settings import HOSTS_VARIABLE
    from reconciler.watching.webhook import UnfitUrl, parse_hook

    if value is None:
        return None
    if not _VARIABLE.fullmatch(value):
        raise click.BadParameter("this is not the name of a variable; give the name, never the URL itself.")
    if not os.environ.get(value, "").strip():
        raise click.BadParameter("the variable with this name is not set, or empty; export it first.")
    try:
        return parse_hook(os.environ[value], os.environ.get(HOSTS_VARIABLE))
    except UnfitUrl as error:
        raise click.BadParameter(f"what the variable has cannot be used: {error}.") from None


@click.command()
@click.option(
    "--interval",
    default="5m",
    show_default=True,
    metavar="TIME",
    callback=_interval,
    help="From the end of a run to the beginning of the next: seconds, or such as 30s, 5m, 1h.",
)
@click.option(
    "--jitter",
    default="10%",
    show_default=True,
    metavar="P",
    callback=_jitter,
    help="By how much chance makes a wait longer or shorter.",
)
@click.option(
    "--mode",
    type=click.Choice(["report", "apply"]),
    default="report",
    show_default=True,
    help="report: compare, write nothing. apply: do what `apply --yes` does.",
)
@click.option(
    "--pull", is_flag=True, help="`git pull --ff-only` before each run; where that fails, nothing is applied."
)
@click.option("--runs", metavar="N", type=click.IntRange(1), help="End after so many runs, with the code of the last.")
@click.option(
    "--listen",
    default=LISTEN,
    show_default=True,
    metavar="ADDRESS:PORT|none",
    callback=_listen,
    help="Where the status page, /metrics and /healthz are. Whoever reaches the address may read all of it, "
    "unauthenticated: name another one than loopback only in a network of your own.",
)
@click.option(
    "--unhealthy-after",
    metavar="N",
    type=click.IntRange(1),
    default=3,
    show_default=True,
    help="/healthz answers 503 once the last good run is more than N intervals ago, or N times what it took if longer.",
)
@click.option(
    "--webhook-env",
    "hook",
    metavar="VAR",
    callback=_hook,
    help="Tell the URL in this variable, as JSON, when drift appears and when it is gone.",
)
@options("paths", *WHERE, "select", "shard", "only", "prune", "parallelism", "max_requests", *GUARDS)
@click.option("--yes", is_flag=True, help="Apply to a target with `confirm`, too; nobody is asked, with it or without.")
@options("out", "max_bytes", "quiet", "verbose")
def watch(hook: Hook | None, **given: Any) -> int:
    """Keep reconciling: a run now, and another after each interval. SIGHUP makes one at once.

    Each run reads settings and manifests anew, and is one line on standard error. With `--mode apply` it is an apply
    that nobody is asked about: guards, journal, ledger and the protection against old commits hold as they do for
    `apply --yes`; a target with `confirm` needs --yes here, too. After a failed run the next wait is twice as long, up
    to 16 times or an hour. There is one watch for each target and checkout.

    Ctrl-C or SIGTERM ends it: at once between two runs, with writes in flight finished and recorded within one.

    The status page is at /, the last document at /document.json, metrics for Prometheus at /metrics. The webhook is
    told of what `reconciler drift` would find, once when it appears and once when it is gone.

    \b
    Examples:
      reconciler watch
      reconciler watch --interval 30s --jitter 20% --listen 127.0.0.1:9000
      reconciler watch --mode apply --pull --target production --yes
      reconciler watch --mode apply --only drift --max-changed 10% --max-removed 5%
      reconciler watch --runs 1 --listen none --out html=report.html --quiet
      reconciler watch --webhook-env DRIFT_WEBHOOK --unhealthy-after 5
    """
    own = {
        name: given.pop(name) for name in ("interval", "jitter", "mode", "pull", "runs", "listen", "unhealthy_after")
    }
    return _watch(Options(**given), Wanted(hook=hook, **own))


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the options of `watch` alone ask for; `jitter` is a part, from 0 to 1."""

    interval: float
    jitter: float
    mode: str
    pull: bool
    runs: int | None
    listen: Place | None
    unhealthy_after: int
    hook: Hook | None


def _watch(chosen: Options, wanted: Wanted) -> int:
    from reconciler.cli.pages import Pages
    from reconciler.cli.wishes import Wishes
    from reconciler.git import repository
    from reconciler.watching.lock import locks_around
    from reconciler.watching.status import serving

    found = _checked(chosen, wanted)
    if found.file is not None:  # a default that is changed meanwhile must not move a watch to another target
        chosen = replace(chosen, target=found.target.name)
    locks = locks_around(found.root, found.target.name, repository(found.root))
    with Wishes.listening() as wishes, locks.watching(wanted.mode):
        log = _Log(chosen)
        from reconciler.cli.keeping import Keeper

        keeper = Keeper(chosen, wanted.mode, wanted.pull, locks, log.tell, wishes.end)
        watcher = _Watcher.of(wanted, found, keeper, wishes, log)
        pages = Pages(watcher.course, watcher.metrics, wanted.mode, wanted.interval, wanted.unhealthy_after)
        with serving(wanted.listen, pages.by_path()) as place:
            watcher.introduce(found.target.name, place)
            return watcher.keep_on()


def _checked(chosen: Options, wanted: Wanted) -> Settings:
    """Return the settings as they are now. Raises where no run could ever do what is asked for."""
    from reconciler.cli.keeping import checkout, unconfirmed
    from reconciler.cli.output import check_files
    from reconciler.cli.planning import check_prune
    from reconciler.errors import WrongUsage
    from reconciler.settings import resolve

    check_files(chosen)
    found = resolve(cwd=chosen.cwd, env=os.environ, config=chosen.config, target=chosen.target)
    # What a process is given does not change: without its key, no run of this one would ever work.
    found.target.credential(os.environ)
    found.target.headers_of(os.environ)
    if wanted.mode == "apply" and found.target.confirm is not None and not chosen.yes:
        raise WrongUsage(unconfirmed(found.target.name))
    check_prune(chosen)
    if wanted.pull:
        checkout(chosen)
    return found


# --- the log ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Log:
    """Lines on standard error, each with its time in UTC."""

    options: Options

    def tell(self, line: str) -> None:
        """Tell what matters, be it that little was asked for."""
        from reconciler.cli.output import say
        from reconciler.words import plain

        say(f"{_stamp(time.time())} {plain(line)}\n", self.options, err=True)

    def mention(self, line: str) -> None:
        """Tell what is no trouble."""
        if not self.options.quiet:
            self.tell(line)


def _stamp(at: float) -> str:
    return f"{dt.datetime.fromtimestamp(at, dt.UTC):%Y-%m-%dT%H:%M:%SZ}"


def _line(number: int, run: Run) -> str:
    """Return what is said of a run, in one line."""
    from reconciler.words import amount

    calls = f"{amount(run.calls.get('GET', 0), 'read')}, {amount(run.calls.get('POST', 0), 'write')}"
    spent = f"{calls}, {run.seconds:.2f} s"
    state = "" if run.changes is None else f"{_state(run)}; "
    if run.error is not None:
        how = "cut short" if run.cut_short else f"failed ({run.code})"
        return f"run {number} {how}: {run.error}; {state}{spent}"
    return f"run {number}: {state}{spent}"


def _state(run: Run) -> str:
    from reconciler.words import amount

    counts = ", ".join(f"{count} {cause}" for cause, count in (run.changes or {}).items() if count)
    made = ", ".join(f"{count} {outcome}" for outcome, count in run.outcomes.items())
    total = sum((run.changes or {}).values())
    differ = (
        f"{amount(total, 'field')} {'differs' if total == 1 else 'differ'} ({counts})" if total else "nothing differs"
    )
    return f"{amount(run.resources, 'resource')}, {differ}{f'; {made}' if made else ''}"


# --- run after run ----------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Watcher:
    """A watch that goes on."""

    wanted: Wanted
    target: str
    run: Callable[[], Run]
    wishes: Wishes
    log: _Log
    course: Course
    metrics: Metrics
    rhythm: Rhythm
    messenger: Messenger | None
    chance: Callable[[], float] = random.random

    @classmethod
    def of(cls, wanted: Wanted, found: Settings, keeper: Keeper, wishes: Wishes, log: _Log) -> _Watcher:
        """Return a watch that begins now."""
        from reconciler import __version__
        from reconciler.watching.course import Course, State
        from reconciler.watching.metrics import Metrics
        from reconciler.watching.schedule import Rhythm

        name, course = found.target.name, Course(State(time.time()))
        metrics = Metrics(course, version=__version__, target=name, mode=wanted.mode)
        rhythm = Rhythm(wanted.interval, wanted.jitter)
        messenger = _messenger(wanted.hook, wishes, keeper.locks.told)
        return cls(wanted, name, keeper.run, wishes, log, course, metrics, rhythm, messenger)

    def introduce(self, target: str, place: Place | None) -> None:
        """Tell what begins, and where it can be looked at."""
        from reconciler.watching.schedule import duration

        where = f"; status page at {place.url}" if place else ""
        self.log.mention(f"watching target {target} every {duration(self.wanted.interval)}, {self.wanted.mode}{where}")
        if place is not None and not place.private:
            self.log.tell(f"{place.url} has no password: whoever reaches it may read what is watched")

    def keep_on(self) -> int:
        """Make run after run, until there are enough or somebody wishes for an end; returns the exit code."""
        while True:
            run = self._once()
            if run.cut_short:
                return run.code
            if not self.wishes.ended and self.wanted.runs is not None and self.course.state.runs >= self.wanted.runs:
                return run.code
            if not self._waited():
                return 0

    def _waited(self) -> bool:
        """Wait until another run is due, and tell whether one is to be made at all."""
        if not self.wishes.ended:
            pause = self.rhythm.pause(self.course.state.failures, self.chance())
            self.course.wait_until(time.time() + pause)
            self._announce(pause)
            self.wishes.wait(pause)
        return not self.wishes.ended

    def _once(self) -> Run:
        self.wishes.again = False
        self.course.wait_until(None)
        run = self.run()
        self.course.note(run)
        self.metrics.note(run)
        line = _line(self.course.state.runs, run)
        (self.log.mention if run.error is None else self.log.tell)(line)
        if self.messenger is not None and not run.cut_short:
            self._tell(self.messenger, run)
        return run

    def _announce(self, pause: float) -> None:
        """Tell of a wait that is longer than usual."""
        from reconciler.watching.schedule import duration

        failures = self.course.state.failures
        if failures:
            self.log.mention(f"{failures} failed in a row; the next run is in {duration(pause)}")

    def _tell(self, messenger: Messenger, run: Run) -> None:
        from reconciler.watching.webhook import Undelivered, event

        try:
            if messenger.after(run.drift, lambda: event(run, self.target, _stamp(run.ended))):
                self.metrics.delivered(well=True)
                self.log.mention(f"the webhook was told that drift {'appeared' if messenger.told else 'is gone'}")
        except Undelivered as error:
            self.metrics.delivered(well=False)
            self.log.tell(f"the webhook could not be told: {error}; it is tried again after the next run")


def _messenger(hook: Hook | None, wishes: Wishes, mark: Mark) -> Messenger | None:
    from reconciler.gateway.proxies import proxy_to
    from reconciler.watching import webhook

    if hook is None:
        return None

    def wait(seconds: float) -> bool:
        wishes.wait(seconds)
        return not wishes.ended

    def trust() -> Any:
        from reconciler.gateway.trust import trusting_the_system

        return trusting_the_system()

    way = proxy_to(hook.origin, os.environ)
    return webhook.Messenger(webhook.Sender(hook, trust, wait, way), told=mark.there, keep=mark.put)
