"""The settings file: its models, its checks, and what is said where one fails."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    StringConstraints,
    ValidationError,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

from reconciler.addresses import HEADER_VALUE, InsecureUrl, parse_base_url
from reconciler.credentials import any_looks_so, looks_like
from reconciler.dialects import DIALECTS
from reconciler.errors import InvalidInput, Location, Problem
from reconciler.gateway.providers import PROVIDERS, Provider
from reconciler.guard import Guards
from reconciler.kinds import KINDS
from reconciler.manifest.files import read_file
from reconciler.manifest.problems import (
    OURS,
    VERSION,
    Strict,
    Version,
    Violation,
    in_order,
    problem_of,
    twice_problems,
    violations,
)
from reconciler.manifest.reader import read
from reconciler.manifest.tree import Map, Seq, YamlFile
from reconciler.words import meant, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

MANIFESTS = "manifests"
"""The folder of manifests where nothing else is said."""
PARALLELISM = 16
"""Calls in flight where nothing else is said."""
CREDENTIALS = ("api_key_env", "token_command", "azure_identity")
"""The fields that name a credential: a target has one of them at most."""
NOT_EMBEDDED = (
    "base_url", *CREDENTIALS, "token_scope", "headers", "headers_env", "query", "organization", "project",
)  # fmt: skip
"""The fields that say nothing to an emulator in this process."""
OWN_HEADERS: Mapping[str, str] = {
    "Authorization": "api_key_env, token_command or azure_identity",
    "api-key": "api_key_env",
    "Host": "base_url",
    "OpenAI-Organization": "organization",
    "OpenAI-Project": "project",
}
"""Headers that other fields say, and which."""
HTTP_HEADERS = (
    "Connection", "Cookie", "Cookie2", "Date", "Expect", "Forwarded", "Keep-Alive", "Max-Forwards", "Range",
    "Set-Cookie", "TE", "Trailer", "Transfer-Encoding", "Upgrade", "Via",
)  # fmt: skip
"""Headers that belong to HTTP itself, to the body or to the way: a wrong one changes what a call means."""
HTTP_FAMILIES = ("Accept", "Content-", "If-", "Proxy-", "Sec-")
"""How the names of more of them begin."""
REWRITING = (
    "X-Host", "X-Method-Override", "X-Original-Host", "X-Original-Method", "X-Original-URI", "X-Original-URL",
    "X-Real-IP", "X-Rewrite-URL",
)  # fmt: skip
"""Headers by which servers and proxies take a request for another: a plan could write, or speak of another place."""
REWRITING_FAMILIES = ("X-Forwarded", "X-HTTP-Host", "X-HTTP-Method", "X-HTTP-Path")
"""How the names of more of them begin."""
SECRET_WORDS = ("apikey", "authorization", "credential", "passwd", "password", "secret", "signature", "token")
"""Words in the names of headers whose values are secret; and `key`, where it stands alone: not in X-Monkey."""
PAGING = ("limit", "order", "after", "before")
"""Parameters that say which page of a list is asked for."""
REWRITING_PARAMETERS = ("_method",)
"""Parameters by which frameworks take a request for another."""

LONGEST_HEADER = 4096
"""Characters of the value of a header, at most: half of what common servers take for all of them."""
HEADER_LINE = re.compile(r"^[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?$")
"""The value of a header: visible ASCII, spaces only inside."""

# -- Values -------------------------------------------------------------------------------------------------------

_PERCENT = re.compile(r"(\d{1,3}(?:\.\d+)?)\s*%?", re.ASCII)


def parse_percent(text: str) -> float:
    """Return the percentage that `30%` or `30` means; raises `ValueError` unless it is one from 0 to 100."""
    found = _PERCENT.fullmatch(text.strip())
    if found is None or float(found[1]) > 100:
        raise ValueError("a percentage is a number from 0 to 100, such as 30%")
    return float(found[1])


def _refuse(code: str, message: str) -> PydanticCustomError:
    return PydanticCustomError(f"{OURS}{code}", "{message}", {"message": message})


def _base_url(text: str) -> str:
    try:
        return parse_base_url(text)
    except InsecureUrl as error:
        raise _refuse("insecure_url", str(error)) from None
    except ValueError as error:
        raise _refuse("bad_base_url", str(error)) from None


_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")
"""A token of RFC 9110 (5.6.2)."""


def _header_name(name: str) -> str:
    if _HEADER_NAME.fullmatch(name) is None:
        raise _refuse("bad_header", f"{shown(name)} is no name of a header: letters, digits and - _ . only")
    small = name.lower().replace("_", "-")  # which servers cannot tell apart (CGI, WSGI)
    for own, field in OWN_HEADERS.items():
        if small == own.lower():
            raise _refuse("bad_header", f"the header {name} is not for this place: say it by {field}")
    if small in map(str.lower, REWRITING) or small.startswith(tuple(map(str.lower, REWRITING_FAMILIES))):
        raise _refuse("bad_header", f"the header {name} makes another request of one on its way: remove it")
    if small in map(str.lower, HTTP_HEADERS) or small.startswith(tuple(map(str.lower, HTTP_FAMILIES))):
        raise _refuse("bad_header", f"the header {name} belongs to HTTP itself: remove it")
    return name


def _open_header_name(name: str) -> str:
    """Check the name of a header whose value stands in the file."""
    small = _header_name(name).lower()
    if any(word in small for word in SECRET_WORDS) or {"key", "keys"} & set(re.split(r"[-_.]", small)):
        message = f"the header {name} has a secret by its name: name its variable by headers_env, not its value here"
        raise _refuse("secret_header", message)
    return name


def _query_name(name: str) -> str:
    if re.fullmatch(r"[!-~]{1,100}", name) is None:
        raise _refuse("bad_query", f"{shown(name)} is no name of a parameter: visible ASCII characters, no spaces")
    if name.lower() in REWRITING_PARAMETERS:
        raise _refuse("bad_query", f"the parameter {shown(name)} makes another request of one on its way: remove it")
    if name in PAGING or name.startswith("metadata["):
        raise _refuse("bad_query", f"the parameter {shown(name)} says which objects of a list are asked for: remove it")
    return name


def _any_case(text: str) -> str:
    """Return a pattern for a text in upper or lower case, a dash written as an underscore as well."""
    cases = (f"[{char.upper()}{char.lower()}]" if char.isalpha() else re.escape(char) for char in text)
    return "".join("[-_]" if case == re.escape("-") else case for case in cases)


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

# What pydantic cannot tell of our own checks, `jsonschema.py` has from `WithJsonSchema`; validation passes it over.
_PERCENT_SCHEMA: dict[str, Any] = {
    "type": ["number", "string"],
    "minimum": 0,
    "maximum": 100,
    "pattern": r"^\s*(?:0?[0-9]{1,2}(?:\.[0-9]+)?|100(?:\.0+)?)\s*%?\s*$",
    "patternErrorMessage": "A percentage from 0 to 100, such as 30%.",
}
_IN_HOST = r"[!\"$-.0->A-\[\]-~]"
"""Visible ASCII, but for what ends a host, and the backslash."""
_TOO_HIGH = "(?:6553[6-9]|655[4-9][0-9]|65[6-9][0-9]{2}|6[6-9][0-9]{3}|[7-9][0-9]{4}|[1-9][0-9]{5,})"
"""A port that there cannot be: over 65535."""
_URL_SCHEMA: dict[str, Any] = {
    "type": "string",
    "pattern": rf"^(?![^/]*//[^/]*:0*{_TOO_HIGH}(?:/|$))"
    rf"(?:[Hh][Tt][Tt][Pp][Ss]://{_IN_HOST}+"
    rf"|[Hh][Tt][Tt][Pp]://(?:[Ll][Oo][Cc][Aa][Ll][Hh][Oo][Ss][Tt]|127\.[0-9.]+|\[{_IN_HOST}+\])(?::[0-9]*)?)"
    r"(?:/[!\"$->@-\[\]-~]*)?$",
}
_NOT_THESE = "|".join(f"{_any_case(name)}$" for name in (*OWN_HEADERS, *HTTP_HEADERS, *REWRITING))
_NOT_THOSE = "|".join(map(_any_case, (*HTTP_FAMILIES, *REWRITING_FAMILIES)))
_NO_SECRET = f".*(?:{'|'.join(map(_any_case, SECRET_WORDS))})|(?:.*[-_.])?[Kk][Ee][Yy][Ss]?(?:[-_.]|$)"
_HEADER_SCHEMA: dict[str, Any] = {
    "type": "string",
    "pattern": rf"^(?!{_NOT_THESE}|{_NOT_THOSE})[!#$%&'*+.^_`|~0-9A-Za-z-]{{1,100}}$",
}
_OPEN_HEADER_SCHEMA: dict[str, Any] = {
    "type": "string",
    "pattern": rf"^(?!{_NOT_THESE}|{_NOT_THOSE}|{_NO_SECRET})[!#$%&'*+.^_`|~0-9A-Za-z-]{{1,100}}$",
}
_QUERY_SCHEMA: dict[str, Any] = {
    "type": "string",
    "pattern": rf"^(?!(?:{'|'.join((*PAGING, *map(_any_case, REWRITING_PARAMETERS)))})$|metadata\[)[!-~]{{1,100}}$",
}
Percent = Annotated[float, BeforeValidator(_percent), Field(ge=0, le=100), WithJsonSchema(_PERCENT_SCHEMA)]
PerMinute = Annotated[float, Field(gt=0)]
TargetName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]*$", max_length=100)]
HeaderText = Annotated[str, StringConstraints(pattern=HEADER_VALUE.pattern)]
HeaderName = Annotated[str, AfterValidator(_header_name), WithJsonSchema(_HEADER_SCHEMA)]
OpenHeaderName = Annotated[str, AfterValidator(_open_header_name), WithJsonSchema(_OPEN_HEADER_SCHEMA)]
HeaderLine = Annotated[str, StringConstraints(pattern=HEADER_LINE.pattern, max_length=LONGEST_HEADER)]
QueryName = Annotated[str, AfterValidator(_query_name), WithJsonSchema(_QUERY_SCHEMA)]
QueryValue = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f-\x9f]*$", max_length=1024)]
LONGEST_ARGUMENT = 4096
Argument = Annotated[str, StringConstraints(pattern=r"^[^\x00]+$", max_length=LONGEST_ARGUMENT)]
VariableName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=100)]
Seconds = Annotated[float, Field(gt=0, le=86_400)]
Glob = Annotated[str, StringConstraints(min_length=1)]
Typed = Annotated[str, StringConstraints(pattern=r"^\S(?:.*\S)?$", max_length=100)]  # a line, as a person can type it
Remote = Annotated[str, StringConstraints(pattern=r"^[^-\s][^\s]*$")]  # git would take a leading dash for an option
BaseUrl = Annotated[str, AfterValidator(_base_url), WithJsonSchema(_URL_SCHEMA)]
KindName = Annotated[
    str, AfterValidator(_one_of("unknown_kind", "kind", KINDS)), WithJsonSchema({"type": "string", "enum": [*KINDS]})
]
DialectName = Annotated[
    str,
    AfterValidator(_one_of("unknown_dialect", "dialect", DIALECTS)),
    WithJsonSchema({"type": "string", "enum": [*DIALECTS]}),
]
ProviderName = Annotated[
    str,
    AfterValidator(_one_of("unknown_provider", "provider", PROVIDERS)),
    WithJsonSchema({"type": "string", "enum": [*PROVIDERS]}),
]


class RateModel(Strict):
    """Ceilings in requests a minute."""

    reads_per_minute: PerMinute | None = Field(default=None, description="Reads a minute, at most.", examples=[1000])
    writes_per_minute: PerMinute | None = Field(default=None, description="Writes a minute, at most.", examples=[300])


class TimeoutsModel(Strict):
    """How long to wait, in seconds."""

    connect: Seconds | None = Field(default=None, description="For a connection, in seconds.", examples=[10])
    read: Seconds | None = Field(default=None, description="For the next byte of an answer, in seconds.", examples=[60])
    run: Seconds | None = Field(
        default=None, description="For the whole run, in seconds; then nothing new is begun.", examples=[3600]
    )


_MASK = "Globs of keys whose values are shown to nobody, in no format."


class TargetModel(Strict):
    """One target of the settings file."""

    provider: ProviderName = Field(description="How the service is addressed.")
    base_url: BaseUrl | None = Field(
        default=None,
        description="Where the API begins; https, or http on this machine. No user, no query.",
        examples=["https://threads.example/v1", "http://127.0.0.1:8080/v1"],
    )
    api_key_env: VariableName | None = Field(
        default=None,
        description="The name of the environment variable that has the key; a key itself is never written in a file.",
        examples=["THREADS_API_KEY"],
    )
    token_command: list[Argument] | None = Field(
        default=None,
        min_length=1,
        description="The command that prints a token, or JSON with a token and its end; run without a shell in the "
        "folder of this file, and only where RECONCILER_ALLOW_COMMANDS=1.",
        examples=[["az", "account", "get-access-token", "--scope", "https://ai.azure.com/.default", "-o", "json"]],
    )
    azure_identity: bool | None = Field(
        default=None,
        description="Use the Azure identity of this machine, job or person; needs the extra `azure` of this tool.",
        examples=[True],
    )
    token_scope: HeaderText | None = Field(
        default=None,
        description="What the token of azure_identity is for, where the provider's own is not meant (another cloud).",
        examples=["https://ai.azure.us/.default"],
    )
    headers: dict[OpenHeaderName, HeaderLine] = Field(
        default={},
        description="Headers to send with every call, by name; a secret one belongs into headers_env.",
        examples=[{"X-Team": "support"}],
    )
    headers_env: dict[HeaderName, VariableName] = Field(
        default={},
        description="Headers to send with every call, with the names of the environment variables that have them.",
        examples=[{"Ocp-Apim-Subscription-Key": "SUBSCRIPTION_KEY"}],
    )
    query: dict[QueryName, QueryValue] = Field(
        default={},
        description="Parameters for the query of every call; they beat those that the provider asks for.",
        examples=[{"api-version": "v1"}],
    )
    organization: HeaderText | None = Field(
        default=None, description="The organisation to act for, sent as a header.", examples=["org_1"]
    )
    project: HeaderText | None = Field(
        default=None, description="The project to act for, sent as a header.", examples=["proj_1"]
    )
    manifests: list[Annotated[str, StringConstraints(min_length=1)]] = Field(
        default=[MANIFESTS],
        min_length=1,
        description="Files and folders of manifests, relative to this file.",
        examples=[[MANIFESTS], ["manifests/support", "manifests/sales.yaml"]],
    )
    parallelism: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=PARALLELISM, description="Requests at the same time.", examples=[PARALLELISM]
    )
    rate: RateModel = Field(
        default=RateModel(),
        description="Ceilings in requests a minute, kept as a steady pace; what the server says counts as well.",
        examples=[{"reads_per_minute": 1000, "writes_per_minute": 300}],
    )
    timeouts: TimeoutsModel = Field(
        default=TimeoutsModel(),
        description="How long to wait for the API, in seconds.",
        examples=[{"connect": 10, "read": 60, "run": 3600}],
    )
    writes: dict[KindName, DialectName] = Field(
        default={},
        description="How the API treats an update, by kind; what is not told is confirmed by the vendor, or found out.",
        examples=[{"thread": "merge"}],
    )
    removals: Literal["block", "blank"] = Field(
        default="block",
        description="Where the API cannot remove a key: say so (block), or write the empty string (blank).",
        json_schema_extra={
            "enumDescriptions": [
                "Plan and apply say that the field is blocked; nothing is written to it.",
                "The empty string is written, and counts as absent from then on.",
            ]
        },
    )
    missing: Literal["error", "warn"] = Field(
        default="error",
        description="What a declared id is that the API does not know.",
        json_schema_extra={"enumDescriptions": ["The run ends with an exit code of its own.", "It is told, no more."]},
    )
    ledger_remote: Remote | None = Field(
        default=None,
        description="The git remote that the ledger is shared by: fetched before planning, pushed after applying.",
        examples=["origin"],
    )
    mask: list[Glob] = Field(default=[], description=_MASK, examples=[["*token*", "email"]])
    confirm: Typed | None = Field(
        default=None, description="What has to be typed before an apply, in place of yes.", examples=["production"]
    )


_GUARDS = Guards()


class GuardsModel(Strict):
    """When a plan is too large to be applied without a second look."""

    max_changed: Percent = Field(
        default=_GUARDS.max_changed,
        description="Resources with a value replaced or removed, in percent of those read; more refuse an apply.",
        examples=["30%", 30],
    )
    max_removed: Percent = Field(
        default=_GUARDS.max_removed,
        description="Pairs removed, in percent of those observed; more refuse an apply.",
        examples=["30%", 30],
    )
    at_least: Annotated[int, Field(ge=0)] = Field(
        default=_GUARDS.at_least,
        description="Resources read, below which the percentages sleep.",
        examples=[_GUARDS.at_least],
    )


class SettingsModel(Strict):
    """The settings file."""

    version: Version
    default_target: str | None = Field(
        default=None,
        description="The name of the target where no other is asked for; not needed where there is one target.",
        examples=["local"],
    )
    targets: dict[TargetName, TargetModel] = Field(
        min_length=1,
        description="Where to reconcile, by name.",
        examples=[{"local": {"provider": "emulator", "manifests": [MANIFESTS]}}],
    )
    guards: GuardsModel = Field(
        default=GuardsModel(),
        description="Limits that stop an apply, never a plan. Additions do not count.",
        examples=[{"max_changed": "30%", "max_removed": "30%", "at_least": 10}],
    )
    mask: list[Glob] = Field(default=[], description=f"{_MASK} For every target.", examples=[["*token*", "email"]])


class InvalidSettings(InvalidInput):
    """The settings file is invalid.

    `manifests` are the paths that each target names, to be checked as well; `masks`: it may be that values are masked.
    """

    def __init__(self, invalid: InvalidInput, file: Path, document: YamlFile) -> None:
        super().__init__(*invalid.found)
        self.file = file
        self.root = file.parent
        self.manifests = tuple(_manifests_named(document, file.parent))
        self.masks = any("mask" in node for node in (document.root, *_targets(document)) if isinstance(node, Map))


def read_settings(file: Path) -> tuple[SettingsModel, YamlFile]:
    """Return the settings and the document that they came from; raises `InvalidSettings` with every problem."""
    document = read(_bytes_of(file), file.name)
    try:
        return _validated(document), document
    except InvalidInput as invalid:
        raise InvalidSettings(invalid, file, document) from None


def _manifests_named(document: YamlFile, root: Path) -> Iterator[tuple[Path, ...]]:
    """Yield the manifest paths of each target, as far as the file can be understood."""
    for node in _targets(document) or [Map()]:
        named = node.get("manifests", [MANIFESTS])
        yield tuple(root / name for name in named if isinstance(name, str)) if isinstance(named, list) else ()


def _targets(document: YamlFile) -> list[Map]:
    targets = document.root.get("targets") if isinstance(document.root, Map) else None
    return [node for node in targets.values() if isinstance(node, Map)] if isinstance(targets, Map) else []


def _bytes_of(file: Path) -> bytes:
    try:
        return read_file(file)
    except OSError as error:
        message = f"the settings file cannot be read: {error.strerror}"
        raise InvalidInput(Problem("unreadable_file", message, Location(file.name, 1, 1))) from error


def _validated(document: YamlFile) -> SettingsModel:
    """Return the settings; raises `InvalidInput` with every problem of the file."""
    if not document.readable and document.cut is None:
        raise InvalidInput(*in_order(document.problems))
    problems = [*document.problems, *twice_problems(document, lambda _owner, _key: None)]
    problems += _across(document)
    if any_looks_so(text for text, _ in _texts(document.root)):
        problems += _keys_in(document)
    try:
        model = SettingsModel.model_validate({} if document.root is None else document.root)
    except ValidationError as error:
        found = (_worded(violation, document) for violation in violations(error, document))
        problems += [problem for problem in found if _holds(problem, document)]
        raise InvalidInput(*in_order(problems)) from None
    if problems:
        raise InvalidInput(*in_order(problems))
    return model


def _texts(node: Any, at: int = 0) -> Iterator[tuple[str, int]]:
    """Yield every text of the file, keys of maps as well, with its place."""
    if isinstance(node, str):
        yield node, at
    for key, value in node.items() if isinstance(node, Map) else ():
        yield key, node.keys_at[key]
        yield from _texts(value, node.values_at[key])
    for value, place in zip(node, node.items_at, strict=True) if isinstance(node, Seq) else ():
        yield from _texts(value, place)


def _keys_in(document: YamlFile) -> Iterator[Problem]:
    """Yield the places where a key itself was written; none of it is shown."""
    for text, place in _texts(document.root):
        if (what := looks_like(text)) is not None:
            message = f"this looks like {what}: a key itself is never written here, only the name of its variable"
            yield Problem("secret_like", message, document.location(place))


def _holds(problem: Problem, document: YamlFile) -> bool:
    """Tell whether a problem is one of the whole file, not of its ending too early."""
    absence = problem.code in {"missing_field", "bad_version"}
    return document.cut is None or (not absence and problem.location is not None and problem.location < document.cut)


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
        message = f"base_url is missing: the provider {provider.name} has a URL of your own, {provider.example}"
        yield Problem("missing_field", message, at)
    for name in NOT_EMBEDDED if provider.embedded else ():
        if _says(node, name):
            message = f"the provider {provider.name} runs in this process and takes no {name}: remove it"
            yield Problem("useless_field", message, document.location(node.keys_at[name]))
    if not provider.embedded:
        yield from _credentials(provider, node, at, document)
        yield from _twice_sent(node, document)


def _says(node: Map, name: str) -> bool:
    """Tell whether a field says anything."""
    return node.get(name) is not None and node.get(name) is not False


def _credentials(provider: Provider, node: Map, at: Location, document: YamlFile) -> Iterator[Problem]:
    """Yield what is wrong with what a target calls its credential: none where one is due, more than one, no scope."""
    named = sorted((name for name in CREDENTIALS if _says(node, name)), key=node.keys_at.__getitem__)
    if provider.guarded and not named and not node.get("headers_env"):
        message = (
            f"a credential is missing: the provider {provider.name} needs api_key_env: NAME (the variable that has the "
            "key or token), token_command: [az, account, get-access-token, ...], or azure_identity: true"
        )
        yield Problem("missing_field", message, at)
    for name in named[1:]:
        message = f"{name} is one credential too many, for {named[0]} names one: keep one of the two"
        yield Problem("two_credentials", message, document.location(node.keys_at[name]))
    if _says(node, "azure_identity") and provider.scope is None and node.get("token_scope") is None:
        message = f"token_scope is missing: what a token for the provider {provider.name} is for, nobody knows"
        yield Problem("missing_field", message, document.location(node.keys_at["azure_identity"]))
    if _says(node, "token_scope") and not _says(node, "azure_identity"):
        message = "token_scope says what azure_identity asks for, and there is none here: remove it"
        yield Problem("useless_field", message, document.location(node.keys_at["token_scope"]))


def _twice_sent(node: Map, document: YamlFile) -> Iterator[Problem]:
    """Yield headers that are named twice: upper and lower case are alike."""
    first: dict[str, Location] = {}
    maps = [part for part in (node.get("headers"), node.get("headers_env")) if isinstance(part, Map)]
    for part in maps:
        for name in part:
            place = document.location(part.keys_at[name])
            known = first.setdefault(name.lower(), place)
            if known != place:
                message = (
                    f"the header {shown(name)} is sent twice, first in line {known.line}, column {known.column}: keep "
                    "one of the two (upper and lower case are alike)"
                )
                yield Problem("duplicate_key", message, place)


_EXPECTED = {
    "version": f"the number {VERSION}",
    "default_target": "the name of a target",
    "targets": "a map with a name and its fields for each target",
    "provider": f"one of {', '.join(PROVIDERS)}",
    "base_url": "a URL",
    "api_key_env": "the name of an environment variable; a key itself is never written in a file",
    "token_command": "a list of texts: a program and its arguments",
    "azure_identity": "true or false",
    "token_scope": "a scope without spaces",
    "headers": "a map of names and texts (visible ASCII, spaces only inside; in quotes where YAML sees something else)",
    "headers_env": "a map of names and environment variables; the values themselves are never written in a file",
    "query": "a map of names and texts on one line (in quotes where YAML would take one for something else)",
    "organization": "an id without spaces",
    "project": "an id without spaces",
    "manifests": "a list of files and folders, at least one",
    "parallelism": "a whole number from 1 to 1000",
    "rate": "a map of reads_per_minute, writes_per_minute",
    "reads_per_minute": "a number greater than 0",
    "writes_per_minute": "a number greater than 0",
    "timeouts": "a map of connect, read, run",
    "connect": "a number of seconds greater than 0, at most a day",
    "read": "a number of seconds greater than 0, at most a day",
    "run": "a number of seconds greater than 0, at most a day",
    "writes": f"a map of kinds and dialects ({', '.join(DIALECTS)})",
    "removals": "block or blank",
    "missing": "error or warn",
    "ledger_remote": "the name of a git remote",
    "mask": "a list of globs, none of them empty",
    "confirm": "the text to be typed, in quotes where YAML would take it for something else",
    "guards": "a map of max_changed, max_removed, at_least",
    "max_changed": "a percentage from 0 to 100, such as 30%",
    "max_removed": "a percentage from 0 to 100, such as 30%",
    "at_least": "a whole number, 0 or more",
}


_PARTS: Mapping[str, type[Strict]] = {"rate": RateModel, "timeouts": TimeoutsModel}


def _known_fields(path: tuple[str | int, ...]) -> Iterable[str]:
    """Return the fields that may stand where `path` leads."""
    if path[0] == "guards":
        return GuardsModel.model_fields
    if path[0] != "targets":
        return SettingsModel.model_fields
    return _PARTS.get(str(path[2]) if len(path) > 3 else "", TargetModel).model_fields


def _worded(violation: Violation, document: YamlFile) -> Problem:
    """Say what a violation means in the settings file."""
    path, at = violation.path, document.location(violation.place)
    if path == ("version",):
        message = f"the version of the format is missing or unknown: write version: {VERSION}"
        return Problem("bad_version", message, at)
    if len(path) == 2 and path[0] == "targets":
        if violation.on_key:
            what = "is no name of a target: small letters, digits, _ and -, a letter or digit first"
            return Problem("bad_target_name", f"{shown(violation.name)} {what}", at)
        message = f"target {shown(violation.name)} must be a map with its provider, not {violation.described()}"
        return Problem("not_a_mapping", message, at)
    problem = problem_of(violation, document, _EXPECTED, _known_fields(path) if path else ())
    why = _why(violation) if not (violation.ours or violation.unknown or violation.absent) else ""
    return replace(problem, message=why) if why else problem


def _why(violation: Violation) -> str:
    """Return what is wrong with a value of a target, where the value alone tells it; none of it is repeated."""
    _, _, field, name, *_ = (*violation.path, "", "", "", "")
    value = violation.value
    if field == "token_command":
        return _why_no_command(value, name)
    if not isinstance(value, str):
        return ""
    if field == "headers" and not violation.on_key:
        return f"the header {shown(str(name))} {_why_no_line(value)}"
    if field in {"api_key_env", "headers_env"} and re.fullmatch(r"\$\{?[A-Za-z_][A-Za-z0-9_]*\}?", value):
        return f"{field} takes the name of a variable: write {value.strip('${}')}, without $"
    return ""


def _why_no_command(value: Any, at: str | int) -> str:
    if isinstance(value, Seq) and not value:
        return "token_command is empty: write a program and its arguments, such as [az, account, get-access-token]"
    if not isinstance(value, str) or not isinstance(at, int):
        return ""
    which = f"argument {at} of token_command" if at else "the program of token_command"
    if not value:
        return f"{which} is empty: write it, or remove it"
    if "\0" in value:
        return f"{which} holds the character U+0000, which no program can be given: remove it"
    return f"{which} is longer than {LONGEST_ARGUMENT} characters"


def _why_no_line(value: str) -> str:
    if not value:
        return "is empty: write its value, or remove it"
    if len(value) > LONGEST_HEADER:
        return f"is longer than {LONGEST_HEADER} characters"
    if value != value.strip():
        return "has spaces or line breaks around its value: remove them"
    return "holds more than visible ASCII and spaces: line breaks, tabs and other letters cannot be sent"
