"""One run against one target: settings, manifests, the door to the API, and the signals that end it early."""

from __future__ import annotations

import contextlib
import enum
import os
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeVar

from reconciler import manifest, settings
from reconciler.cli.output import notice, say
from reconciler.cli.progress import progress
from reconciler.compare import Rules
from reconciler.document import BasePart, Head, Identity, TargetPart
from reconciler.errors import InvalidInput, Problem, WrongUsage
from reconciler.git import GitFailed, Repository, repository
from reconciler.git.history import path_in
from reconciler.git.worktree import work_tree
from reconciler.kinds import KINDS
from reconciler.manifest import cache
from reconciler.model import matches
from reconciler.words import plain, shown

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from reconciler.cli.interruption import Interruption
    from reconciler.cli.options import Options
    from reconciler.cli.report import Report
    from reconciler.engine import Brake
    from reconciler.errors import ReconcilerError
    from reconciler.events import Emit
    from reconciler.gateway.answers import Secrets
    from reconciler.gateway.client import Gateway
    from reconciler.gateway.keeper import Keeper
    from reconciler.gateway.sources import Source
    from reconciler.gateway.tokens import Token
    from reconciler.gateway.transport import HandlerTransport, Pacer
    from reconciler.manifest.cache import Cache
    from reconciler.model import Desired
    from reconciler.settings import Settings, Target

T = TypeVar("T")


@dataclass(slots=True)
class Session:
    """What one run knows: settings, all resources of the manifests, and the ones that were selected.

    `repository` is `None` outside of git. `refusal`: there is one, and git refuses to look at it.
    """

    options: Options
    settings: Settings
    begun: float = field(default_factory=time.monotonic)
    declared: tuple[Desired, ...] = ()
    selected: tuple[Desired, ...] = ()
    repository: Repository | None = None
    refusal: GitFailed | None = None
    cache: Cache | None = None
    _pacer: Pacer | None = None
    _keeper: Keeper | None = None
    _first: _First | None = None
    _secrets: Secrets | None = None
    _interruption: Interruption | None = None

    def take(self, declared: tuple[Desired, ...]) -> None:
        """Take what the manifests declare, and select of it; raises `WrongUsage` where nothing matches `--select`."""
        self.declared = declared
        self.selected = self.chosen(declared)
        options = self.options
        if options.select and options.changed_since is None and not any(_matching(declared, options)):
            raise WrongUsage(
                f"--select {' '.join(options.select)} matches none of {len(declared)} resources; "
                "write a glob on KIND/ID, which is case-sensitive"
            )

    def chosen(self, resources: Iterable[Desired]) -> tuple[Desired, ...]:
        """Return those among some resources that are selected and fall to the shard."""
        shard = self.options.shard
        return tuple(one for one in _matching(resources, self.options) if shard is None or shard.has(one.ref))

    @property
    def whole(self) -> bool:
        """Tell whether all that the manifests declare is known; else nothing can be said of what they do not.

        Of a shard that is the part that falls to it: what it declares, and what left the manifests.
        """
        return not (self.options.paths or self.options.select or self.options.changed_since)

    @property
    def manifest_paths(self) -> tuple[Path, ...]:
        """Return the paths that manifests are read from: those given, or the target's own."""
        return manifest_paths(self.settings, self.options)

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
        return Identity(
            organization=self.target.organization, project=self.target.project, removals=self.target.removals
        )

    # --- the document's parts -----------------------------------------------------------------------------------------

    def introduce(self, report: Report) -> None:
        """Fill in the parts of the document that say where the run takes place."""
        target = self.target
        report.mask = target.mask
        report.parts["target"] = TargetPart(name=target.name, provider=target.provider.name, base_url=target.base_url)
        report.parts["identity"] = self.identity()
        report.parts["head"] = self._head()
        report.parts["base"] = BasePart()

    def _head(self) -> Head:
        given = tuple(map(self.options.at, self.options.paths))
        ours = [*(given or self.target.manifests), *([self.settings.file] if self.settings.file else [])]
        if self.repository is None:
            return Head()
        state = work_tree(self.repository, ours)
        prefix = path_in(self.repository, self.settings.root) or None
        return Head(commit=state.commit, dirty=state.dirty, prefix=prefix) if state else Head(prefix=prefix)

    # --- the API ------------------------------------------------------------------------------------------------------

    @property
    def pacer(self) -> Pacer:
        """Return the pace of all calls of this run: what reading taught holds for writing."""
        if self._pacer is None:
            from reconciler.gateway.pacing import Pace
            from reconciler.gateway.transport import Pacer, Surroundings

            rate = self.target.rate
            reads, writes = Pace.per_minute(rate.reads_per_minute), Pace.per_minute(rate.writes_per_minute)
            self._pacer = Pacer(reads, writes, Surroundings())
        return self._pacer

    @contextlib.asynccontextmanager
    async def gateway(self, *, read_only: bool) -> AsyncIterator[Gateway]:
        """Open the door to the target."""
        from reconciler.gateway.client import CONNECT_TIMEOUT, READ_TIMEOUT, Connection, open_gateway

        target = self.target
        connection = Connection(
            target.provider,
            target.base_url,
            target.credential(os.environ),
            target.organization,
            target.project,
            target.headers,
            target.headers_of(os.environ),
            target.query,
        )
        self._secrets = connection.secrets()
        keeper = self._kept()
        if keeper is not None:
            keeper.secrets.add(*self._secrets)
            self._secrets = keeper.secrets
        if leaks := self.leaks_of_key(self.declared):
            raise InvalidInput(*leaks)
        with self._embedded(embedded=connection.embedded) as transport, self._telling_of_the_first_token():
            async with open_gateway(
                connection,
                pacer=self.pacer,
                parallelism=self.parallelism,
                connect_timeout=target.timeouts.connect or CONNECT_TIMEOUT,
                read_timeout=target.timeouts.read or READ_TIMEOUT,
                read_only=read_only,
                transport=transport,
                log=self._log if self.options.verbose else None,
                keeper=keeper,
            ) as gateway:
                yield gateway

    def leaks_of_key(self, declared: Iterable[Desired]) -> list[Problem]:
        """Return a problem for all that is declared and holds a key or token which is sent to the target.

        A key is known once the gateway is opened. The first token is not before the first call: it is held against
        all that was asked about until then, when it is there.
        """
        resources = tuple(declared)
        if self._first is not None and not self._first.had:
            self._first.unchecked += resources
        problems = (problem for secret in self._secrets or () for problem in _leaks(secret, resources))
        return list(dict.fromkeys(problems))  # a part of a secret may be one itself

    def _kept(self) -> Keeper | None:
        """Return the keeper of this run's token, `None` for a target that has none: what it was given holds on."""
        source = self.target.token
        if source is not None and self._keeper is None:
            from reconciler.gateway.keeper import Keeper

            self._first = _First(source, self)
            self._keeper = Keeper(self._first, time.time)
        return self._keeper

    @contextlib.contextmanager
    def _telling_of_the_first_token(self) -> Iterator[None]:
        """Raise what kept the run from its first token: without one, nothing was asked, and no resource has failed."""
        try:
            yield
        except Exception:
            if self._first is not None and self._first.failure is not None:
                raise self._first.failure from None
            raise
        if self._first is not None and self._first.failure is not None:
            raise self._first.failure

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
        say(f"{plain(line)}\n", self.options, err=True)

    # --- running ------------------------------------------------------------------------------------------------------

    @property
    def interruption(self) -> Interruption:
        """Return what ends this run early. Its time runs since the session began."""
        if self._interruption is None:
            from reconciler.cli.interruption import Interruption

            limit = self.target.timeouts.run
            self._interruption = Interruption(lambda line: notice(line, self.options), limit=limit, begun=self.begun)
        return self._interruption

    @property
    def brake(self) -> Brake:
        """Return what stops this run from starting anything new."""
        return self.interruption.brake

    def progress(self, length: int, label: str) -> AbstractContextManager[Emit]:
        """Show how far the work is."""
        return progress(length, label, wanted=not (self.options.quiet or self.options.verbose))


@dataclass(slots=True)
class _First:
    """The source of a run's tokens, asked with the first call; the first one is looked for in what is declared.

    `failure` is why there is none. `unchecked` are the resources to look in, beside those that the run knows by then.
    """

    source: Source
    session: Session
    unchecked: tuple[Desired, ...] = ()
    failure: ReconcilerError | None = None
    had: bool = False

    @property
    def runs_commands(self) -> bool:
        """Tell whether it is of no use unless commands may be run."""
        return self.source.runs_commands

    async def obtain(self, wall: Callable[[], float]) -> Token:
        """Return a token; raises `NoToken`."""
        from reconciler.gateway.tokens import NoToken

        if self.had:
            return await self.source.obtain(wall)
        try:
            token = await self._placed(wall)
            self._check(token)
        except InvalidInput as invalid:
            self.failure = invalid
            raise NoToken(str(invalid)) from None
        except NoToken as error:
            self.failure = error
            raise
        self.had = True
        return token

    async def _placed(self, wall: Callable[[], float]) -> Token:
        """Return a token; what is wrong with how it is asked for is so at the place that names its source."""
        try:
            return await self.source.obtain(wall)
        except InvalidInput as invalid:
            place = self.session.target.token_at
            raise InvalidInput(*(replace(each, location=place) for each in invalid.found)) from None

    def _check(self, token: Token) -> None:
        """Raise `InvalidInput` where what is declared holds the token."""
        leaks = _leaks(token.text, (*self.session.declared, *self.unchecked))
        self.unchecked = ()
        if leaks:
            raise InvalidInput(*dict.fromkeys(leaks))


def _leaks(secret: str, declared: tuple[Desired, ...]) -> list[Problem]:
    from reconciler.gateway.answers import ECHO_FROM

    if len(secret) < ECHO_FROM:
        return []
    texts = ((one, key, text) for one in declared for key, value in one.metadata.items() for text in (key, value))
    places = [one.sources.get(key) for one, key, text in texts if isinstance(text, str) and secret in text]
    places += [one.location for one in declared if secret in one.ref.id]
    message = "this holds the key of the target: take it out"
    return [Problem("secret_like", message, place) for place in places]


class When(enum.Enum):
    """When a run reads its manifests: as it begins, when the command asks for them (`declared`), or never."""

    FIRST = enum.auto()
    LATER = enum.auto()
    NONE = enum.auto()


def open_session(options: Options, report: Report, *, manifests: When = When.FIRST) -> Session:
    """Resolve the settings and read the manifests; raises with every problem found in either, before any call."""
    try:
        found = settings.resolve(cwd=options.cwd, env=os.environ, config=options.config, target=options.target)
    except settings.InvalidSettings as invalid:
        report.mask = ("*",) if invalid.masks else ()
        raise InvalidInput(
            *invalid.found, *(_also_wrong(invalid, options) if manifests is not When.NONE else ())
        ) from invalid
    session = Session(options, found, cache=cache.at(os.environ))
    try:
        session.repository = repository(found.root) or _repository_of_manifests(found)
    except GitFailed as error:
        session.refusal = error
    session.introduce(report)
    if manifests is When.FIRST:
        session.take(declared(session, report))
    return session


def may_read_ahead(session: Session) -> bool:
    """Tell whether calls may be made before all manifests are known, and their number is, and whether that saves time.

    A server in this process answers at once, and a ceiling makes the calls wait, not the parser.
    """
    options, target = session.options, session.target
    bounded = options.changed_since is not None or options.max_requests is not None
    return not (bounded or options.offline or target.provider.embedded or target.rate.reads_per_minute)


def _repository_of_manifests(found: Settings) -> Repository | None:
    """Return the repository around the manifests, for a settings file that lies outside of it."""
    folders = (path if path.is_dir() else path.parent for path in found.target.manifests)
    return next((around for folder in folders if folder.is_dir() and (around := repository(folder))), None)


def need_repository(session: Session) -> Repository:
    """Return the repository around the settings; raises `WrongUsage` outside of any, and as `known_repository`."""
    found = known_repository(session)
    if found is None:
        raise WrongUsage("this is no git repository: there is no ledger, and none can be kept; make one by `git init`")
    return found


def known_repository(session: Session) -> Repository | None:
    """Return the repository around the settings, `None` outside of any.

    Raises `InvalidInput` where git refuses it, or a ledger is to be fetched and there is nowhere to fetch it to.
    """
    if session.refusal is not None:
        raise InvalidInput(Problem("git_failed", f"git cannot tell what was applied last: {session.refusal}"))
    remote = session.target.ledger_remote
    if session.repository is None and remote is not None:
        message = f"ledger_remote names {shown(remote)}, and this is no git repository"
        raise InvalidInput(Problem("no_git", message, session.target.location))
    if session.repository is not None and remote is not None:
        _need_known_remote(session, session.repository, remote)
    return session.repository


def _need_known_remote(session: Session, around: Repository, remote: str) -> None:
    """Raise `InvalidInput` for a remote of the settings' own: a path in the tree, say, can make git run its hooks."""
    if settings.allows_commands(os.environ) or remote in (around.ask("remote") or "").splitlines():
        return
    message = f"ledger_remote names {shown(remote)}, and git knows no remote of that name: `git remote add` it"
    raise InvalidInput(Problem("unknown_remote", message, session.target.location))


def declared(session: Session, report: Report) -> tuple[Desired, ...]:
    """Return what the manifests declare; with `--changed-since` only what they declare differently by now."""
    revision = session.options.changed_since
    if revision is None:
        return load(session.settings, session.options, session.cache).resources
    from reconciler.cli.revisions import changed_since

    changed = changed_since(session.settings, session.manifest_paths, session.repository, revision, session.cache)
    if session.options.paths and not changed.files:
        raise WrongUsage(
            f"no manifests (*.yaml, *.yml) at {', '.join(session.options.paths)}; name a file or folder that has some"
        )
    untold = sorted(changed.unknown | changed.unreadable)
    if untold:
        names = ", ".join(untold[:_NAMED]) + (f" and {len(untold) - _NAMED} more" if len(untold) > _NAMED else "")
        report.remark("untold", f"{revision} cannot tell what was declared in {names}: all of it is planned")
    return changed.resources


_NAMED = 10
"""Files that a sentence names, at most."""


def _also_wrong(invalid: settings.InvalidSettings, options: Options) -> tuple[Problem, ...]:
    """Return the problems of the manifests, as far as invalid settings tell where they are; target by target."""
    given = tuple(options.at(path) for path in options.paths)
    problems: dict[Problem, None] = {}
    for paths in (given,) if given else invalid.manifests:
        try:
            existing = [path for path in paths if path.exists()]
            known = cache.at(os.environ)
            manifest.load(existing, root=invalid.root, skip=frozenset([invalid.file]), cache=known)
        except InvalidInput as also:
            problems |= dict.fromkeys(also.found)
    return tuple(problems)


def manifest_files(session: Session) -> dict[str, Path]:
    """Return the manifests of a run by the names that messages and locations call them."""
    found = manifest.find(session.manifest_paths, root=session.settings.root, skip=session.settings.own_files)
    return {file.name: file.path for file in found.files}


def load(found: Settings, options: Options, known: Cache | None = None) -> manifest.Manifests:
    """Read the manifests: those at the paths given, or the target's."""
    files = find_manifests(found, options)
    return manifest.combine(dict(manifest.parsed(files.files, known)), files.problems)


def remark_retired(report: Report, target: Target, found: manifest.Manifests) -> None:
    """Add to the report which of the kinds that manifests declare the target's host has stopped serving."""
    from reconciler.gateway.verdicts import retirement

    kinds = {kind for each in found.manifests for kind, _, ids in each.table.sections() if len(ids)}
    faults = (retirement(KINDS[kind], target.host) for kind in sorted(kinds))
    for fault in dict.fromkeys(filter(None, faults)):  # several kinds may share one
        report.remark(fault.code, fault.message)


def find_manifests(found: Settings, options: Options) -> manifest.Found:
    """Look for the manifests: those at the paths given, or the target's."""
    files = manifest.find(manifest_paths(found, options), root=found.root, skip=found.own_files)
    if options.paths and not files.files and not files.problems:
        raise WrongUsage(
            f"no manifests (*.yaml, *.yml) at {', '.join(options.paths)}; name a file or folder that has some"
        )
    return files


def manifest_paths(found: Settings, options: Options) -> tuple[Path, ...]:
    """Return the paths that manifests are read from: those given, or the target's own; all of them exist."""
    if options.paths:
        return tuple(_existing(options.at(path), path) for path in options.paths)
    return found.target.existing_manifests()


def _existing(path: Path, name: str) -> Path:
    if not path.exists():
        raise WrongUsage(f"{name} does not exist; name a manifest, or a folder of them")
    return path


def _matching(resources: Iterable[Desired], options: Options) -> Iterator[Desired]:
    return (one for one in resources if not options.select or matches(str(one.ref), options.select))
