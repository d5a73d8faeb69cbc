"""Flags, environment and the settings file, resolved once into one frozen object.

A flag beats a variable, which beats the file. With a settings file the variables that name a server are not looked
at: an exported variable never redirects a target of the file. No key is ever held here, only the name of the variable
that has it; `Target.credential` reads it when somebody is about to talk to the API.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, StringConstraints, ValidationError
from pydantic_core import PydanticCustomError

from reconciler.dialects import DIALECTS, Dialect, Removals
from reconciler.errors import InvalidInput, Location, Problem, WrongUsage
from reconciler.gateway.providers import PROVIDERS, Provider
from reconciler.guard import Guards
from reconciler.kinds import KINDS, OPENAI_HOST, Kind
from reconciler.manifest.files import name_of
from reconciler.manifest.problems import OURS, Finding, Strict, findings, in_order, problem_of, twice_problems
from reconciler.manifest.reader import read
from reconciler.manifest.schema import VERSION, Version
from reconciler.manifest.tree import Map, YamlFile
from reconciler.manifest.words import meant, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

FILE_NAME = "reconciler.yaml"
STATE_FOLDER = ".reconciler"
"""Where a target without a server keeps its database, beside the settings file."""
MANIFESTS = "manifests"
"""The folder of manifests where nothing else is said."""
API_KEY = "OPENAI_API_KEY"
ONLY_TARGET = "default"
"""The name of the target that the environment makes up where there is no settings file."""
PARALLELISM = 16

CONFIG_VARIABLE = "RECONCILER_CONFIG"
TARGET_VARIABLE = "RECONCILER_TARGET"


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
class Target:
    """Where to reconcile, and how.

    `manifests` are paths below the root (or absolute); `writes` has the dialect of each kind, by name, that the file
    tells. `location` is the place of its name in the settings file, `None` where the environment made it up.
    """

    name: str
    provider: Provider
    base_url: str
    root: Path
    key: Key | None = None
    organization: str | None = None
    project: str | None = None
    manifests: tuple[Path, ...] = ()
    parallelism: int = PARALLELISM
    rate: Rate = Rate()
    writes: Mapping[str, Dialect] = field(default_factory=dict)
    removals: Removals = Removals.BLOCK
    missing: Literal["error", "warn"] = "error"
    ledger_remote: str | None = None
    location: Location | None = None
    manifests_at: tuple[Location, ...] = ()

    @property
    def host(self) -> str:
        """The host of the base URL, in lower case."""
        return urlsplit(self.base_url).hostname or ""

    @property
    def database(self) -> Path:
        """Where the emulator of this target keeps its data."""
        return self.root / STATE_FOLDER / f"{self.name}.sqlite"

    def dialect(self, kind: Kind) -> Dialect:
        """Return how updates of `kind` work here, as far as known before the first call."""
        if kind.name in self.writes:
            return self.writes[kind.name]
        return kind.writes if self.provider.embedded else kind.default_dialect(self.host)

    def credential(self, env: Mapping[str, str]) -> SecretStr | None:
        """Return the key, `None` where none is to be sent; it hides itself when printed.

        Raises `InvalidInput` where the variable has no key, or one that cannot stand in a header.
        """
        if self.key is None:
            return None
        key = env.get(self.key.variable, "").strip()
        if not key and not self.key.required:
            return None
        if not key:
            message = f"export {self.key.variable}: target {self.name} sends the key that this variable has"
            raise InvalidInput(Problem("no_key", message, self.location))
        if not _HEADER_VALUE.fullmatch(key):
            message = (
                f"what {self.key.variable} has is no key: a space, a line break or another special character is in it"
            )
            raise InvalidInput(Problem("bad_key", message, self.location))
        return SecretStr(key)

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


def resolve(*, cwd: Path, env: Mapping[str, str], config: str | None, target: str | None) -> Settings:
    """Settle the settings; `config` and `target` are the values of the flags.

    Raises `InvalidInput` with every problem of the settings file (or of the variables that stand for it), `WrongUsage`
    where the command line names a file or a target that does not exist.
    """
    cwd = cwd.absolute()
    wanted = _wanted(env, target)
    file = _settings_file(cwd, env, config)
    if file is None:
        return Settings(cwd, None, _target_of_environment(cwd, env, wanted))
    return _from_file(file, wanted)


# -- Values -------------------------------------------------------------------------------------------------------

_PERCENT = re.compile(r"(\d{1,3}(?:\.\d+)?)\s*%?", re.ASCII)
_HEADER_VALUE = re.compile(r"[\x21-\x7e]+")
_URL_CHARACTERS = re.compile(r"[\x21-\x7e]+")


def parse_percent(text: str) -> float:
    """Return the percentage that `30%` or `30` means; raises `ValueError` unless it is one from 0 to 100."""
    found = _PERCENT.fullmatch(text.strip())
    if found is None or float(found[1]) > 100:
        raise ValueError("a percentage is a number from 0 to 100, such as 30%")
    return float(found[1])


def parse_base_url(text: str) -> str:
    """Return a base URL without its trailing slash; raises `InsecureUrl`, or `ValueError` for what is none."""
    if not _URL_CHARACTERS.fullmatch(text) or "\\" in text:
        raise ValueError("the base URL has characters that a URL cannot have")
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("the base URL must begin with https:// and a host")
    if "@" in parts.netloc:
        raise ValueError("the base URL must not hold a user or a password: name the variable of the key by api_key_env")
    if "?" in text or "#" in text:
        raise ValueError("the base URL must have no query and no fragment")
    _ = parts.port  # raises ValueError for a port that is none
    if parts.scheme == "http" and not _is_loopback(parts.hostname):
        raise InsecureUrl("a key must not travel over plain http: use https (http is for 127.0.0.1 and localhost only)")
    return f"{parts.scheme}://{parts.netloc.lower()}{parts.path.rstrip('/')}"


class InsecureUrl(ValueError):
    """Plain http to another machine."""


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _refuse(code: str, message: str) -> PydanticCustomError:
    return PydanticCustomError(f"{OURS}{code}", "{message}", {"message": message})


def _base_url(text: str) -> str:
    try:
        return parse_base_url(text)
    except InsecureUrl as error:
        raise _refuse("insecure_url", str(error)) from None
    except ValueError as error:
        raise _refuse("bad_base_url", str(error)) from None


def _percent(value: object) -> object:
    """Take `30%` for the number 30; anything else is left to the model."""
    try:
        return parse_percent(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _one_of(code: str, what: str, known: Mapping[str, Any]) -> Callable[[str], str]:
    """Return a check that a name is known; the refusal has the closest match."""

    def check(name: str) -> str:
        if name in known:
            return name
        raise _refuse(code, f"there is no {what} {shown(name)}; {meant(name, known)}")

    return check


# -- The file -----------------------------------------------------------------------------------------------------

Percent = Annotated[float, BeforeValidator(_percent), Field(ge=0, le=100)]
PerMinute = Annotated[float, Field(gt=0)]
TargetName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]*$", max_length=100)]
HeaderText = Annotated[str, StringConstraints(pattern=r"^[\x21-\x7e]+$")]
VariableName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=100)]
Remote = Annotated[str, StringConstraints(pattern=r"^[^-\s][^\s]*$")]  # git would take a leading dash for an option
KindName = Annotated[str, AfterValidator(_one_of("unknown_kind", "kind", KINDS))]
DialectName = Annotated[str, AfterValidator(_one_of("unknown_dialect", "dialect", DIALECTS))]
ProviderName = Annotated[str, AfterValidator(_one_of("unknown_provider", "provider", PROVIDERS))]


class RateModel(Strict):
    """Ceilings in requests a minute."""

    reads_per_minute: PerMinute | None = Field(default=None, description="Reads a minute, at most.")
    writes_per_minute: PerMinute | None = Field(default=None, description="Writes a minute, at most.")


class TargetModel(Strict):
    """One target of the settings file."""

    provider: ProviderName = Field(description="How the service is addressed.")
    base_url: Annotated[str, AfterValidator(_base_url)] | None = Field(
        default=None, description="Where the API begins; https, or http on this machine."
    )
    api_key_env: VariableName | None = Field(default=None, description="The name of the variable that has the key.")
    organization: HeaderText | None = Field(default=None, description="The organisation to act for.")
    project: HeaderText | None = Field(default=None, description="The project to act for.")
    manifests: list[Annotated[str, StringConstraints(min_length=1)]] = Field(
        default=[MANIFESTS], min_length=1, description="Files and folders of manifests, relative to this file."
    )
    parallelism: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=PARALLELISM, description="Requests at the same time."
    )
    rate: RateModel = Field(default=RateModel(), description="Ceilings, kept as a steady pace.")
    writes: dict[KindName, DialectName] = Field(default={}, description="How the API treats an update, by kind.")
    removals: Literal["block", "blank"] = Field(
        default="block",
        description="Where the API cannot remove a key: say so (block), or write the empty string (blank).",
    )
    missing: Literal["error", "warn"] = Field(
        default="error", description="What a declared id is that the API does not know."
    )
    ledger_remote: Remote | None = Field(default=None, description="The git remote that the ledger is shared by.")


_GUARDS = Guards()


class GuardsModel(Strict):
    """When a plan is too large to be applied without a second look."""

    max_changed: Percent = Field(default=_GUARDS.max_changed, description="Resources changed, in percent.")
    max_removed: Percent = Field(default=_GUARDS.max_removed, description="Pairs removed, in percent.")
    at_least: Annotated[int, Field(ge=0)] = Field(
        default=_GUARDS.at_least, description="Resources read, below which the percentages sleep."
    )


class SettingsModel(Strict):
    """The settings file."""

    version: Version
    default_target: str | None = Field(default=None, description="The target where no other is asked for.")
    targets: dict[TargetName, TargetModel] = Field(min_length=1, description="Where to reconcile, by name.")
    guards: GuardsModel = Field(default=GuardsModel(), description="Limits that stop an apply.")


def _settings_file(cwd: Path, env: Mapping[str, str], config: str | None) -> Path | None:
    """Return the settings file to use, `None` where there is none; raises `WrongUsage` if the one asked for is not."""
    name = config or env.get(CONFIG_VARIABLE)
    if not name:
        return next((path for folder in _upwards(cwd) if (path := folder / FILE_NAME).is_file()), None)
    if not (cwd / name).is_file():
        source = "--config" if config else CONFIG_VARIABLE
        raise WrongUsage(f"{source} names {shown(name)}, and there is no such file")
    return cwd / name


def _upwards(cwd: Path) -> Iterator[Path]:
    """Yield the folders to search: from `cwd` to the root of its repository, `cwd` alone outside of one."""
    folders = [cwd, *cwd.parents]
    depth = next((depth for depth, folder in enumerate(folders) if (folder / ".git").exists()), 0)
    yield from folders[: depth + 1]


def _from_file(file: Path, wanted: _Wanted | None) -> Settings:
    document = read(_bytes_of(file), file.name)
    model = _validated(document)
    name = _choice(model, wanted, document)
    guards = model.guards
    return Settings(
        file.parent,
        file,
        _target_of_file(name, model.targets[name], document, file.parent),
        Guards(guards.max_changed, guards.max_removed, guards.at_least),
    )


def _bytes_of(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        message = f"the settings file cannot be read: {error.strerror}"
        raise InvalidInput(Problem("unreadable_file", message, Location(file.name, 1, 1))) from error


def _validated(document: YamlFile) -> SettingsModel:
    """Return the settings; raises `InvalidInput` with every problem of the file."""
    if not document.readable:
        raise InvalidInput(*in_order(document.problems))
    problems = [*document.problems, *twice_problems(document, lambda _owner, _key: None)]
    problems += _across(document)
    try:
        model = SettingsModel.model_validate({} if document.root is None else document.root)
    except ValidationError as error:
        problems += [_worded(finding, document) for finding in findings(error, document)]
        raise InvalidInput(*in_order(problems)) from None
    if problems:
        raise InvalidInput(*in_order(problems))
    return model


def _across(document: YamlFile) -> Iterator[Problem]:
    """Yield what is wrong between several fields, whatever else is wrong with them."""
    root = document.root if isinstance(document.root, Map) else Map()
    targets = root.get("targets")
    if not isinstance(targets, Map):
        return
    default = root.get("default_target")
    if isinstance(default, str) and default not in targets:
        message = f"there is no target {shown(default)}; {meant(default, targets)}"
        yield Problem("unknown_target", message, document.location(root.values_at["default_target"]))
    for name, node in targets.items():
        provider = node.get("provider") if isinstance(node, Map) else None
        if isinstance(provider, str) and provider in PROVIDERS:
            yield from _misaddressed(PROVIDERS[provider], node, document.location(targets.keys_at[name]), document)


def _misaddressed(provider: Provider, node: Map, at: Location, document: YamlFile) -> Iterator[Problem]:
    """Yield the fields that this provider needs and does not have, or has and cannot use."""
    if provider.base_url is None and node.get("base_url") is None:
        message = f"base_url is missing: the provider {provider.name} has a URL of your own"
        yield Problem("missing_field", message, at)
    for name in ("base_url", "api_key_env", "organization", "project") if provider.embedded else ():
        if node.get(name) is not None:
            message = f"the provider {provider.name} runs in this process and takes no {name}: remove it"
            yield Problem("useless_field", message, document.location(node.keys_at[name]))


_EXPECTED = {
    "version": f"the number {VERSION}",
    "default_target": "the name of a target",
    "targets": "a map with a name and its fields for each target",
    "provider": f"one of {', '.join(PROVIDERS)}",
    "base_url": "a URL",
    "api_key_env": "the name of an environment variable; a key itself is never written in a file",
    "organization": "an id without spaces",
    "project": "an id without spaces",
    "manifests": "a list of files and folders, at least one",
    "parallelism": "a whole number from 1 to 1000",
    "rate": "a map of reads_per_minute, writes_per_minute",
    "reads_per_minute": "a number greater than 0",
    "writes_per_minute": "a number greater than 0",
    "writes": f"a map of kinds and dialects ({', '.join(DIALECTS)})",
    "removals": "block or blank",
    "missing": "error or warn",
    "ledger_remote": "the name of a git remote",
    "guards": "a map of max_changed, max_removed, at_least",
    "max_changed": "a percentage from 0 to 100, such as 30%",
    "max_removed": "a percentage from 0 to 100, such as 30%",
    "at_least": "a whole number, 0 or more",
}


def _known_fields(path: tuple[str | int, ...]) -> Iterable[str]:
    """Return the fields that may stand where `path` leads."""
    if path[0] == "guards":
        return GuardsModel.model_fields
    if path[0] != "targets":
        return SettingsModel.model_fields
    return TargetModel.model_fields if len(path) == 3 else RateModel.model_fields


def _worded(finding: Finding, document: YamlFile) -> Problem:
    """Say what a finding means in the settings file."""
    path, at = finding.path, document.location(finding.place)
    if path == ("version",):
        message = f"the version of the format is missing or unknown: write version: {VERSION}"
        return Problem("bad_version", message, at)
    if len(path) == 2 and path[0] == "targets":
        if finding.on_key:
            message = (
                f"{shown(finding.name)} is no name of a target: small letters, digits, _ and -, a letter or digit first"
            )
            return Problem("bad_target_name", message, at)
        message = f"target {shown(finding.name)} must be a map with its provider, not {finding.described()}"
        return Problem("not_a_mapping", message, at)
    return problem_of(finding, document, _EXPECTED, _known_fields(path) if path else ())


# -- The target ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Wanted:
    """The target that was asked for, and by what."""

    name: str
    source: str


def _wanted(env: Mapping[str, str], target: str | None) -> _Wanted | None:
    if target:
        return _Wanted(target, "--target")
    variable = env.get(TARGET_VARIABLE)
    return _Wanted(variable, TARGET_VARIABLE) if variable else None


def _choice(model: SettingsModel, wanted: _Wanted | None, document: YamlFile) -> str:
    """Return the name of the target to use."""
    if wanted is not None:
        if wanted.name in model.targets:
            return wanted.name
        hint = meant(wanted.name, model.targets)
        raise WrongUsage(f"{wanted.source} names {shown(wanted.name)}, and there is no such target; {hint}")
    if model.default_target is not None:
        return model.default_target
    if len(model.targets) == 1:
        return next(iter(model.targets))
    names = ", ".join(model.targets)
    message = f"which of the targets {names}? Say so by --target, or set default_target here"
    raise InvalidInput(Problem("no_target", message, document.location(document.root.at)))


def _target_of_file(name: str, model: TargetModel, document: YamlFile, root: Path) -> Target:
    targets = document.root["targets"]
    node = targets[name]
    provider = PROVIDERS[model.provider]
    base_url = model.base_url or provider.base_url or ""
    listed = node.get("manifests")
    return Target(
        name,
        provider,
        base_url,
        root,
        key=_key_of_file(model, provider, base_url),
        organization=model.organization,
        project=model.project,
        manifests=tuple(root / path for path in model.manifests),
        parallelism=model.parallelism,
        rate=Rate(model.rate.reads_per_minute, model.rate.writes_per_minute),
        writes=MappingProxyType({kind: DIALECTS[dialect] for kind, dialect in model.writes.items()}),
        removals=Removals(model.removals),
        missing=model.missing,
        ledger_remote=model.ledger_remote,
        location=document.location(targets.keys_at[name]),
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
    return Key(API_KEY) if urlsplit(base_url).hostname == OPENAI_HOST else None


def _target_of_environment(cwd: Path, env: Mapping[str, str], wanted: _Wanted | None) -> Target:
    """Return the target `default`, made up by the variables that every client of these APIs knows."""
    if wanted is not None and wanted.name != ONLY_TARGET:
        message = f"without a {FILE_NAME} the only target is {ONLY_TARGET}"
        raise WrongUsage(f"{wanted.source} names {shown(wanted.name)}, and there is no such target; {message}")
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
    if text and not _HEADER_VALUE.fullmatch(text):
        problems.append(Problem("bad_variable", f"{variable} must be an id without spaces or special characters"))
    return text or None
