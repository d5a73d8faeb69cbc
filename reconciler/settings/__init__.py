"""Flags, environment and the settings file, resolved once into one frozen object.

A flag beats a variable, which beats the file. With a settings file the variables that name a server are not looked
at: an exported variable never redirects a target of the file. No key is ever held here, only the name of the variable
that has it; `Target.credential` reads it when somebody is about to talk to the API.
"""

from __future__ import annotations

import os.path
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from pydantic import SecretStr

from reconciler import OWN_FOLDER
from reconciler.addresses import InsecureUrl, is_allowed, is_header_value, is_remote_name, parse_base_url
from reconciler.dialects import DIALECTS, Dialect, Removals
from reconciler.errors import InvalidInput, Location, Problem, ReconcilerError, WrongUsage
from reconciler.gateway.providers import PROVIDERS, Provider
from reconciler.gateway.sources import Command, Identity
from reconciler.guard import Guards
from reconciler.kinds import OPENAI_HOST, Kind
from reconciler.manifest.files import name_of
from reconciler.settings.file import (
    HEADER_LINE,
    LONGEST_HEADER,
    MANIFESTS,
    PARALLELISM,
    InvalidSettings,
    SettingsModel,
    TargetModel,
    parse_percent,
    read_settings,
)
from reconciler.words import meant, shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from reconciler.gateway.sources import Source
    from reconciler.manifest.tree import YamlFile

FILE_NAME = "reconciler.yaml"
API_KEY = "OPENAI_API_KEY"
ONLY_TARGET = "default"
"""The name of the target that the environment makes up where there is no settings file."""

CONFIG_VARIABLE = "RECONCILER_CONFIG"
TARGET_VARIABLE = "RECONCILER_TARGET"
HOSTS_VARIABLE = "RECONCILER_ALLOWED_HOSTS"
"""Where it is set, no call and no key goes to any other host, whatever a settings file says."""
COMMANDS_VARIABLE = "RECONCILER_ALLOW_COMMANDS"
"""`1`: what the settings file says may run commands."""

__all__ = [
    "InvalidSettings",
    "Key",
    "Rate",
    "Settings",
    "Target",
    "Timeouts",
    "allows_commands",
    "masks_around",
    "parse_percent",
    "resolve",
]


@dataclass(frozen=True, slots=True)
class Key:
    """The name of the variable that has the key; `required` where the target is of no use without it."""

    variable: str
    required: bool = True


@dataclass(frozen=True, slots=True)
class Rate:
    """Ceilings, kept as a steady pace; `None`: as fast as the server lets us."""

    reads_per_minute: float | None = None
    writes_per_minute: float | None = None


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long to wait, in seconds: for a connection, for the next byte of an answer, and for a whole run.

    `None`: as long as is usual, which for a run is as long as it takes.
    """

    connect: float | None = None
    read: float | None = None
    run: float | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """Where to reconcile, and how.

    `manifests` are paths below the root (or absolute); `writes` has the dialect of each kind, by name, that the file
    tells. `key` is one way to a credential, `token` another. `headers` and `query` go with every call, and so do
    `secret_headers`, which name the variables that have them. `mask` are globs of keys whose values nobody is shown.
    `confirm` has to be typed before an apply, in place of yes. `location` is the place of its name in the settings
    file, `None` where the environment made it up; `token_at` that of the field that names where tokens come from.
    """

    name: str
    provider: Provider
    base_url: str
    root: Path
    key: Key | None = None
    token: Source | None = None
    headers: tuple[tuple[str, str], ...] = ()
    secret_headers: tuple[tuple[str, str], ...] = ()
    query: tuple[tuple[str, str], ...] = ()
    organization: str | None = None
    project: str | None = None
    manifests: tuple[Path, ...] = ()
    parallelism: int = PARALLELISM
    rate: Rate = Rate()
    timeouts: Timeouts = Timeouts()
    writes: Mapping[str, Dialect] = field(default_factory=dict)
    removals: Removals = Removals.BLOCK
    missing: Literal["error", "warn"] = "error"
    ledger_remote: str | None = None
    mask: tuple[str, ...] = ()
    confirm: str | None = None
    location: Location | None = None
    token_at: Location | None = None
    manifests_at: tuple[Location, ...] = ()

    @property
    def host(self) -> str:
        """The host of the base URL, in lower case."""
        return urlsplit(self.base_url).hostname or ""

    @property
    def database(self) -> Path:
        """Where the emulator of this target keeps its data."""
        return self.root / OWN_FOLDER / f"{self.name}.sqlite"

    def dialect(self, kind: Kind) -> Dialect:
        """Return how updates of `kind` work here, as far as known before the first call."""
        if kind.name in self.writes:
            return self.writes[kind.name]
        return kind.writes if self.provider.embedded else kind.default_dialect(self.host)

    def credential(self, env: Mapping[str, str]) -> SecretStr | None:
        """Return the key, `None` where none is to be sent; it hides itself when printed.

        Raises `InvalidInput` where the host is none of those that the environment allows (before any key is looked at),
        where a command would be run and none may be, and where the variable has no key, or one that cannot stand in a
        header.
        """
        self._check_host(env)
        self._check_command(env)
        if self.key is None:
            return None
        key = env.get(self.key.variable, "").strip()
        if not key and not self.key.required:
            return None
        if not key:
            message = f"export {self.key.variable}: target {self.name} sends the key that this variable has"
            raise InvalidInput(Problem("no_key", message, self.location))
        if not is_header_value(key):
            message = (
                f"what {self.key.variable} has is no key: a space, a line break or another special character is in it"
            )
            raise InvalidInput(Problem("bad_key", message, self.location))
        return SecretStr(key)

    def headers_of(self, env: Mapping[str, str]) -> tuple[tuple[str, SecretStr], ...]:
        """Return the headers whose values the environment has; they hide themselves when printed.

        Raises `InvalidInput` for each variable that has none, or one that cannot stand in a header.
        """
        found = [(name, variable, env.get(variable, "").strip()) for name, variable in self.secret_headers]
        problems = [self._bad_header(name, variable, text) for name, variable, text in found if not _is_line(text)]
        if problems:
            raise InvalidInput(*problems)
        return tuple((name, SecretStr(text)) for name, _, text in found)

    def _bad_header(self, name: str, variable: str, text: str) -> Problem:
        if not text:
            message = f"export {variable}: target {self.name} sends what this variable has as the header {name}"
            return Problem("no_key", message, self.location)
        reason = (
            f"it is longer than {LONGEST_HEADER} characters"
            if len(text) > LONGEST_HEADER
            else "a line break or special character is in it"
        )
        message = f"what {variable} has cannot be sent as the header {name}: {reason}"
        return Problem("bad_key", message, self.location)

    def _check_command(self, env: Mapping[str, str]) -> None:
        if self.token is None or not self.token.runs_commands or allows_commands(env):
            return
        message = (
            f"target {self.name} has a token_command, and a settings file alone makes nothing run: "
            f"{COMMANDS_VARIABLE}=1 in the environment allows it"
        )
        raise InvalidInput(Problem("command_not_allowed", message, self.token_at or self.location))

    def _check_host(self, env: Mapping[str, str]) -> None:
        hosts = env.get(HOSTS_VARIABLE)
        if hosts is None or self.provider.embedded or is_allowed(self.base_url, hosts):
            return
        bound = (
            f"{HOSTS_VARIABLE} allows {shown(hosts)}" if hosts.strip() else f"{HOSTS_VARIABLE} allows no host at all"
        )
        message = (
            f"{bound}, and target {self.name} is at {shown(urlsplit(self.base_url).netloc)}: nothing is sent there"
        )
        raise InvalidInput(Problem("host_not_allowed", message, self.location))

    def existing_manifests(self) -> tuple[Path, ...]:
        """Return the manifest paths; raises `InvalidInput` for each that does not exist."""
        lost = [at for at, path in enumerate(self.manifests) if not path.exists()]
        if lost:
            raise InvalidInput(*map(self._lost, lost))
        return self.manifests

    def _lost(self, index: int) -> Problem:
        name = shown(name_of(self.manifests[index], self.root))
        if not self.manifests_at:
            message = f"there is no {name}: put manifests there, or write a {FILE_NAME} that says where they are"
            return Problem("no_manifests", message)
        return Problem("no_manifests", f"there is no {name}: create it, or correct the path", self.manifests_at[index])


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that was settled before the run. `root`: the folder of the settings file, or the working directory."""

    root: Path
    file: Path | None
    target: Target
    guards: Guards = field(default_factory=Guards)

    @property
    def own_files(self) -> frozenset[Path]:
        """The files that are no manifests, wherever manifests are looked for."""
        return frozenset([self.file] if self.file else [])


def resolve(*, cwd: Path, env: Mapping[str, str], config: str | None, target: str | None) -> Settings:
    """Settle the settings; `config` and `target` are the values of the flags.

    Raises `InvalidInput` with every problem of the settings file (or of the variables that stand for it), `WrongUsage`
    where the command line names a file or a target that does not exist.
    """
    cwd = cwd.absolute()
    asked = _asked(env, target)
    file = _settings_file(cwd, env, config)
    if file is None:
        return Settings(cwd, None, _target_of_environment(cwd, env, asked))
    return _from_file(file, asked, env)


def allows_commands(env: Mapping[str, str]) -> bool:
    """Tell whether what a settings file says may run commands."""
    return env.get(COMMANDS_VARIABLE) == "1"


def masks_around(cwd: Path, env: Mapping[str, str], config: str | None = None) -> tuple[str, ...]:
    """Return what the settings around a folder (or those of the flag) mask, of whatever target.

    That is everything where they cannot be read.
    """
    try:
        file = _settings_file(cwd.absolute(), env, config)
        if file is None:
            return ()
        model, _ = read_settings(file)
    except ReconcilerError:
        return ("*",)
    return (*model.mask, *(glob for target in model.targets.values() for glob in target.mask))


def _settings_file(cwd: Path, env: Mapping[str, str], config: str | None) -> Path | None:
    """Return the settings file to use, `None` where there is none; raises `WrongUsage` if the one asked for is not."""
    name = config or env.get(CONFIG_VARIABLE)
    if not name:
        # By its name alone: a link that leads nowhere, or a folder, is a mistake, and must not pass for no settings.
        return next((path for folder in _upwards(cwd) if os.path.lexists(path := folder / FILE_NAME)), None)
    if not (cwd / name).is_file():
        source = "--config" if config else CONFIG_VARIABLE
        raise WrongUsage(
            f"{source} names {shown(name)}, and there is no such file; correct it, or leave it out to search upwards"
        )
    return cwd / name


def _upwards(cwd: Path) -> Iterator[Path]:
    """Yield the folders to search: from `cwd` to the root of its repository, `cwd` alone outside of one."""
    folders = [cwd, *cwd.parents]
    depth = next((depth for depth, folder in enumerate(folders) if (folder / ".git").exists()), 0)
    yield from folders[: depth + 1]


def _from_file(file: Path, asked: _Asked | None, env: Mapping[str, str]) -> Settings:
    model, document = read_settings(file)
    name = _choice(model, asked, document)
    if not allows_commands(env):
        _check_remote(name, model.targets[name].ledger_remote, document, file.parent)
    guards = model.guards
    return Settings(
        file.parent,
        file,
        _target_of_file(name, model.targets[name], document, file.parent, env, model.mask),
        Guards(guards.max_changed, guards.max_removed, guards.at_least),
    )


# -- The target ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Asked:
    """The target that was asked for, and by what."""

    name: str
    source: str


def _asked(env: Mapping[str, str], target: str | None) -> _Asked | None:
    if target:
        return _Asked(target, "--target")
    variable = env.get(TARGET_VARIABLE)
    return _Asked(variable, TARGET_VARIABLE) if variable else None


def _choice(model: SettingsModel, asked: _Asked | None, document: YamlFile) -> str:
    """Return the name of the target to use."""
    if asked is not None:
        if asked.name in model.targets:
            return asked.name
        hint = meant(asked.name, model.targets)
        raise WrongUsage(f"{asked.source} names {shown(asked.name)}, and there is no such target; {hint}")
    if model.default_target is not None:
        return model.default_target
    if len(model.targets) == 1:
        return next(iter(model.targets))
    names = ", ".join(model.targets)
    message = f"which of the targets {names}? Say so by --target, or set default_target here"
    raise InvalidInput(Problem("no_target", message, document.location(document.root.at)))


def _check_remote(target: str, remote: str | None, document: YamlFile, root: Path) -> None:
    """Raise `InvalidInput` for a ledger remote that would let the settings file say what git runs, or whom it asks.

    A URL names a helper or a program of ssh, a path may lead to a repository with settings and hooks of its own. The
    name of a remote leads to what git itself has been configured to do.
    """
    if remote is None or (is_remote_name(remote) and not (root / remote).exists()):
        return
    message = (
        "ledger_remote must be the name of a remote that git knows (`git remote`), for git runs commands for anything "
        f"else; {COMMANDS_VARIABLE}=1 in the environment allows that"
    )
    place = document.root["targets"][target].values_at["ledger_remote"]
    raise InvalidInput(Problem("command_not_allowed", message, document.location(place)))


def _target_of_file(
    name: str, model: TargetModel, document: YamlFile, root: Path, env: Mapping[str, str], mask: Sequence[str] = ()
) -> Target:
    targets = document.root["targets"]
    node = targets[name]
    provider = PROVIDERS[model.provider]
    base_url = provider.address(model.base_url) if model.base_url else provider.base_url or ""
    named = next((node.keys_at[each] for each in ("token_command", "azure_identity") if each in node), None)
    listed = node.get("manifests")
    return Target(
        name,
        provider,
        base_url,
        root,
        key=_key_of_file(model, provider, base_url),
        token=_token_of_file(model, provider, root, env),
        headers=tuple(model.headers.items()),
        secret_headers=tuple(model.headers_env.items()),
        query=tuple(model.query.items()),
        organization=model.organization,
        project=model.project,
        manifests=tuple(root / path for path in model.manifests),
        parallelism=model.parallelism,
        rate=Rate(model.rate.reads_per_minute, model.rate.writes_per_minute),
        timeouts=Timeouts(model.timeouts.connect, model.timeouts.read, model.timeouts.run),
        writes=MappingProxyType({kind: DIALECTS[dialect] for kind, dialect in model.writes.items()}),
        removals=Removals(model.removals),
        missing=model.missing,
        ledger_remote=model.ledger_remote,
        mask=(*mask, *model.mask),
        confirm=model.confirm,
        location=document.location(targets.keys_at[name]),
        token_at=None if named is None else document.location(named),
        manifests_at=_places_of(listed, targets.keys_at[name], document, len(model.manifests)),
    )


def _places_of(listed: Any, otherwise: int, document: YamlFile, count: int) -> tuple[Location, ...]:
    places = [otherwise] * count if listed is None else listed.items_at
    return tuple(map(document.location, places))


def _key_of_file(model: TargetModel, provider: Provider, base_url: str) -> Key | None:
    """Return the variable of the key. Without a name, a key goes to the vendor's own host alone, never elsewhere."""
    if provider.embedded:
        return None
    if model.api_key_env is not None:
        return Key(model.api_key_env)
    if model.token_command is not None or model.azure_identity:
        return None
    return Key(API_KEY) if urlsplit(base_url).hostname == OPENAI_HOST else None


def _token_of_file(model: TargetModel, provider: Provider, root: Path, env: Mapping[str, str]) -> Source | None:
    """Return where tokens come from; nothing is run or asked for that."""
    if model.token_command is not None:
        return Command(tuple(model.token_command), root)
    scope = model.token_scope or provider.scope
    if not model.azure_identity or scope is None:
        return None
    return Identity(scope, commands=allows_commands(env))


def _is_line(text: str) -> bool:
    return len(text) <= LONGEST_HEADER and HEADER_LINE.fullmatch(text) is not None


def _target_of_environment(cwd: Path, env: Mapping[str, str], asked: _Asked | None) -> Target:
    """Return the target `default`, made up by the variables that every client of these APIs knows."""
    if asked is not None and asked.name != ONLY_TARGET:
        message = f"without a {FILE_NAME} the only target is {ONLY_TARGET}; `reconciler init` writes one"
        raise WrongUsage(f"{asked.source} names {shown(asked.name)}, and there is no such target; {message}")
    provider = PROVIDERS["openai"]
    problems: list[Problem] = []
    base_url = _base_url_of_environment(env, provider, problems)
    organization = _header_of_environment(env, "OPENAI_ORG_ID", problems)
    project = _header_of_environment(env, "OPENAI_PROJECT_ID", problems)
    if problems:
        raise InvalidInput(*problems)
    return Target(
        ONLY_TARGET,
        provider,
        base_url,
        cwd,
        key=Key(API_KEY, required=urlsplit(base_url).hostname == OPENAI_HOST),
        organization=organization,
        project=project,
        manifests=(cwd / MANIFESTS,),
    )


def _base_url_of_environment(env: Mapping[str, str], provider: Provider, problems: list[Problem]) -> str:
    text = env.get("OPENAI_BASE_URL", "").strip() or provider.base_url or ""
    try:
        return parse_base_url(text)
    except ValueError as error:
        code = "insecure_url" if isinstance(error, InsecureUrl) else "bad_base_url"
        problems.append(Problem(code, f"OPENAI_BASE_URL: {error}"))
        return ""


def _header_of_environment(env: Mapping[str, str], variable: str, problems: list[Problem]) -> str | None:
    text = env.get(variable, "").strip()
    if text and not is_header_value(text):
        problems.append(Problem("bad_variable", f"{variable} must be an id without spaces or special characters"))
    return text or None
