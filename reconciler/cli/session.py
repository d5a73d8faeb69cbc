"""One run against one target: settings, manifests, the door to the API, and the signals that end it early."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from reconciler import manifest, settings
from reconciler.compare import Rules
from reconciler.document import BasePart, Head, Identity, TargetPart
from reconciler.engine import Brake
from reconciler.errors import ExitCode, Problem, WrongUsage
from reconciler.git import work_tree
from reconciler.kinds import KINDS
from reconciler.model import matches

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator

    from reconciler.cli.options import Options
    from reconciler.cli.report import Report
    from reconciler.events import Emit
    from reconciler.gateway.client import Gateway
    from reconciler.gateway.transport import HandlerTransport
    from reconciler.model import Desired
    from reconciler.settings import Settings, Target

T = TypeVar("T")

_SIGNALS = {signal.SIGINT: ExitCode.INTERRUPTED, signal.SIGTERM: ExitCode.TERMINATED}


@dataclass(slots=True)
class Session:
    """What one run knows: settings, all resources of the manifests, and the ones that were selected."""

    options: Options
    settings: Settings
    declared: tuple[Desired, ...] = ()
    selected: tuple[Desired, ...] = ()
    brake: Brake = field(default_factory=Brake)
    ended_by: ExitCode | None = None

    @property
    def target(self) -> Target:
        """Return the target of the run."""
        return self.settings.target

    @property
    def parallelism(self) -> int:
        """Return how many calls may be in flight."""
        return self.options.parallelism or self.target.parallelism

    def rules_of(self, kind: str) -> Rules:
        """Return how the target treats updates of a kind."""
        return Rules(self.target.dialect(KINDS[kind]), self.target.removals)

    def identity(self) -> Identity:
        """Return what of the target, beside its name and address, a saved plan is bound to."""
        return Identity(organization=self.target.organization, project=self.target.project)

    # --- the document's parts -----------------------------------------------------------------------------------------

    def introduce(self, report: Report) -> None:
        """Fill in the parts of the document that say where the run takes place."""
        target = self.target
        report.parts["target"] = TargetPart(name=target.name, provider=target.provider.name, base_url=target.base_url)
        report.parts["identity"] = self.identity()
        report.parts["head"] = self._head()
        report.parts["base"] = BasePart()

    def _head(self) -> Head:
        ours = [*self.target.manifests, *([self.settings.file] if self.settings.file else [])]
        state = work_tree(self.settings.root, ours)
        return Head(commit=state.commit, dirty=state.dirty) if state else Head()

    # --- the API ------------------------------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def gateway(self, *, read_only: bool) -> AsyncIterator[Gateway]:
        """Open the door to the target."""
        from reconciler.gateway.client import Connection, open_gateway

        target = self.target
        credential = target.credential(os.environ)
        connection = Connection(target.provider, target.base_url, credential, target.organization, target.project)
        with self._embedded(embedded=connection.embedded) as transport:
            async with open_gateway(
                connection,
                reads_per_minute=target.rate.reads_per_minute,
                writes_per_minute=target.rate.writes_per_minute,
                parallelism=self.parallelism,
                read_only=read_only,
                transport=transport,
                log=self._log if self.options.verbose else None,
            ) as gateway:
                yield gateway

    @contextlib.contextmanager
    def _embedded(self, *, embedded: bool) -> Iterator[HandlerTransport | None]:
        if not embedded:
            yield None
            return
        from reconciler import emulator
        from reconciler.gateway.transport import HandlerTransport

        writes = {name: dialect for name, dialect in self.target.writes.items() if dialect.settled}
        declared = (desired.ref for desired in self.declared)
        with emulator.embedded(self.target.database, writes, declared) as api:
            yield HandlerTransport(api.handle)

    def _log(self, line: str) -> None:
        click.echo(line, err=True)

    # --- running ------------------------------------------------------------------------------------------------------

    def run(self, work: Callable[[], Coroutine[object, object, T]]) -> T:
        """Run `work`; the first SIGINT or SIGTERM pulls the brake, a second one ends at once."""

        async def interruptible() -> T:
            loop = asyncio.get_running_loop()
            for number in _SIGNALS:
                # Not every place has signals: another thread, another system. There the run goes on without.
                with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
                    loop.add_signal_handler(number, self._interrupt, loop, number)
            return await work()

        before = {number: signal.getsignal(number) for number in _SIGNALS}
        try:
            return asyncio.run(interruptible())
        finally:
            for number, handler in before.items():
                with contextlib.suppress(ValueError):
                    signal.signal(number, handler)

    def _interrupt(self, loop: asyncio.AbstractEventLoop, number: signal.Signals) -> None:
        self.ended_by = _SIGNALS[number]
        self.brake.pull(f"interrupted by {number.name}")
        for each in _SIGNALS:
            loop.remove_signal_handler(each)

    def note_interruption(self, report: Report) -> None:
        """Add the interruption, if there was one, to the report."""
        if self.ended_by is not None:
            report.note(self.ended_by, Problem("interrupted", f"the run was {self.brake.reason}"))

    @contextlib.contextmanager
    def progress(self, length: int, label: str) -> Iterator[Emit]:
        """Show a bar on standard error if that is a terminal; each event moves it."""
        if self.options.quiet or self.options.verbose or not sys.stderr.isatty():
            yield lambda _event: None
            return
        steps = max(1, length // 200)
        with click.progressbar(length=length, label=label, file=sys.stderr, update_min_steps=steps) as bar:
            yield lambda _event: bar.update(1)


def open_session(options: Options, report: Report, *, manifests: bool = True) -> Session:
    """Resolve the settings and read the manifests; raises with every problem found, before any call."""
    session = Session(options, resolve(options))
    if manifests:
        loaded = load(session.settings, options).resources
        session.declared, session.selected = loaded, _select(loaded, options)
    session.introduce(report)
    return session


def resolve(options: Options) -> Settings:
    """Return the settings that the options and the environment point to."""
    return settings.resolve(cwd=options.cwd, env=os.environ, config=options.config, target=options.target)


def load(found: Settings, options: Options) -> manifest.Manifests:
    """Read the manifests: those at the paths given, or the target's."""
    if options.paths:
        paths = [_existing(options.at(path), path) for path in options.paths]
    else:
        paths = list(found.target.existing_manifests())
    skip = frozenset([found.file]) if found.file else frozenset[Path]()
    loaded = manifest.load(paths, root=found.root, skip=skip)
    if options.paths and not loaded.files:
        raise WrongUsage(f"no manifests (*.yaml, *.yml) at {', '.join(options.paths)}")
    return loaded


def _existing(path: Path, name: str) -> Path:
    if not path.exists():
        raise WrongUsage(f"{name} does not exist")
    return path


def _select(resources: tuple[Desired, ...], options: Options) -> tuple[Desired, ...]:
    if not options.select:
        return resources
    chosen = tuple(one for one in resources if matches(str(one.ref), options.select))
    if not chosen:
        raise WrongUsage(f"--select {' '.join(options.select)} matches none of {len(resources)} resources")
    return chosen
