"""What is to be listed: which kinds, with which pairs, below which parents; judged before any call.

A kind that nobody can list at a provider is wrong usage where it was asked for, and no candidate where it was not.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reconciler.errors import WrongUsage
from reconciler.gateway.providers import Listing, filters, listing
from reconciler.kinds import KINDS
from reconciler.manifest.mapping import BadReference, reference
from reconciler.model import same
from reconciler.words import meant, shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from reconciler.kinds import Kind
    from reconciler.model import Metadata, Ref, Value
    from reconciler.settings import Target

INSTEAD = "name the ids yourself, one a line, by --ids-from FILE"
"""What to do about a kind that cannot be listed."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One `--where KEY=VALUE`: the value as text, and as kinds with numbers and booleans read it."""

    key: str
    text: str
    scalar: Value

    def holds(self, kind: Kind, metadata: Metadata) -> bool:
        """Tell whether a resource has this pair; of a kind with scalars, of the same type as well."""
        if self.key not in metadata:
            return False
        return same(metadata[self.key], self.scalar if kind.scalars else self.text)


def condition(told: str) -> Condition:
    """Return the condition that `KEY=VALUE` stands for. Raises `WrongUsage`.

    The first `=` ends the key; one that has `=` itself is written in double quotes, as JSON: `"a=b"=c`. A value in
    double quotes is a string for kinds with scalars, too: `flag="true"`.
    """
    key, value = _quoted_key(told) if told.startswith('"') else _parted(told)
    if any(0xD800 <= ord(char) < 0xE000 for char in key + value):
        raise WrongUsage(f"--where {shown(told)} is not UTF-8")
    return Condition(key, value, _scalar(value))


def _parted(told: str) -> tuple[str, str]:
    key, equals, value = told.partition("=")
    if not equals or not key:
        raise WrongUsage(f"--where {shown(told)} has no key and value: write KEY=VALUE, such as customer=acme")
    return key, value


def _quoted_key(told: str) -> tuple[str, str]:
    try:
        key, end = json.JSONDecoder().raw_decode(told)
    except ValueError:
        key, end = "", 0
    if not key or told[end : end + 1] != "=":
        raise WrongUsage(f'--where {shown(told)} begins with a quote, and is not "KEY"=VALUE with the key as JSON')
    return key, told[end + 1 :]


def _scalar(text: str) -> Value:
    """Return what a manifest would read: a number, a boolean, the inside of double quotes, else the text."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    if isinstance(value, float) and not math.isfinite(value):
        return text
    return value if isinstance(value, str | int | float) else text


@dataclass(frozen=True, slots=True)
class Collection:
    """One list: of a kind, below a parent where it has one."""

    kind: str
    parent: str = ""

    def __str__(self) -> str:
        noun = spoken(KINDS[self.kind])
        return f"{noun} below {KINDS[self.kind].parent}/{self.parent}" if self.parent else noun


LONGEST_NAME = 160
"""Characters of a name that is told among others; those of the vendor have some 80 with that of a parent."""


def brief(named: Ref | Collection) -> str:
    """Return what a sentence calls a resource or a list; of an endless id the beginning and the end, which differs."""
    name, half = str(named), LONGEST_NAME // 2
    return name if len(name) <= LONGEST_NAME else f"{name[:half]}…{name[1 - half :]}"


@dataclass(frozen=True, slots=True)
class Scope:
    """What a run lists.

    `kinds` are those whose resources are wanted, `asked` those that a person named. `walked` are kinds without parents
    whose lists are read, for their resources or as parents of others. Parents that are known without a list, by kind:
    `fixed` are the only ones (named by a person, or declared where they cannot be listed), `spare` are declared ones,
    for the case that a server has no list of them. `filtered`: the kinds whose lists take the conditions themselves.
    """

    kinds: frozenset[str]
    asked: frozenset[str]
    walked: frozenset[str]
    fixed: Mapping[str, tuple[str, ...]]
    spare: Mapping[str, tuple[str, ...]]
    where: tuple[Condition, ...] = ()
    filtered: frozenset[str] = frozenset()

    def first(self) -> list[Collection]:
        """Return the lists that can be read before any other."""
        top = [Collection(kind) for kind in sorted(self.walked)]
        return [*top, *(one for kind, ids in self.fixed.items() for own in ids for one in self._below(kind, own))]

    def below(self, kind: str, own: str) -> list[Collection]:
        """Return the lists to read below a resource that a list has shown."""
        return [] if kind in self.fixed else self._below(kind, own)

    def instead(self, kind: str) -> list[Collection]:
        """Return the lists below the parents that are known without the list of their kind, which there is not."""
        return [one for own in self.spare.get(kind, ()) for one in self._below(kind, own)]

    def _below(self, kind: str, own: str) -> list[Collection]:
        return [Collection(name, own) for name in self.children(kind)]

    def children(self, kind: str) -> list[str]:
        """Return the wanted kinds that live below another."""
        return [name for name in sorted(self.kinds) if KINDS[name].parent == kind]

    def holds(self, ref: Ref, metadata: Metadata) -> bool:
        """Tell whether every condition holds for a resource."""
        return all(one.holds(KINDS[ref.kind], metadata) for one in self.where)

    def sent(self, kind: str) -> dict[str, str]:
        """Return what the list of a kind is to look for: nothing where it is read for the parents of others, too."""
        plain = kind not in self.filtered or (self.children(kind) and kind not in self.fixed)
        return {} if plain else {one.key: one.text for one in self.where}


def scope_of(
    target: Target, kinds: Iterable[str], where: Iterable[str], below: Sequence[str], declared: Iterable[Ref]
) -> Scope:
    """Return what to list at a target. Raises `WrongUsage` for what makes no sense, or cannot be listed there."""
    asked = frozenset(map(_known, kinds))
    for kind in sorted(asked):
        _need_listing(target, KINDS[kind])
    named = _named(target, below, asked)
    wanted = asked or frozenset(
        name for name, kind in KINDS.items() if _may_list(target, kind) and (not below or kind.parent in named)
    )
    above = {KINDS[name].parent for name in wanted} - {"", *named}
    spare = _declared_parents(declared, above)
    unlisted = {kind for kind in above if not _may_list(target, KINDS[kind])}
    for name in sorted(asked):
        if KINDS[name].parent in unlisted - spare.keys():
            raise WrongUsage(_no_parent(target, KINDS[name]))
    return Scope(
        kinds=wanted,
        asked=asked,
        walked=frozenset(name for name in wanted if not KINDS[name].nested) | (above - unlisted),
        fixed=named | {kind: spare.get(kind, ()) for kind in unlisted},
        spare=spare,
        where=tuple(map(condition, where)),
        filtered=frozenset(name for name in wanted if filters(KINDS[name], target.provider, target.host)),
    )


def _known(name: str) -> str:
    if name not in KINDS:
        raise WrongUsage(f"there is no kind {shown(name)}; {meant(name, KINDS)}")
    return name


def _may_list(target: Target, kind: Kind) -> bool:
    return not kind.retired_at(target.host) and listing(kind, target.provider, target.host) is not Listing.NO


def _need_listing(target: Target, kind: Kind) -> None:
    if kind.retired_at(target.host):
        successor = f", their successor is {kind.successor}" if kind.successor else ""
        raise WrongUsage(f"{target.host} retired {spoken(kind)} on {kind.retired}{successor}: none can be listed")
    if not _may_list(target, kind):
        raise WrongUsage(f"{spoken(kind)} cannot be listed at {_place(target)}: {INSTEAD}")


def spoken(kind: Kind) -> str:
    """Return what a sentence calls the resources of a kind."""
    return kind.plural.replace("_", " ")


def _place(target: Target) -> str:
    return f"{target.host or target.name} (provider {target.provider.name})"


def _no_parent(target: Target, kind: Kind) -> str:
    above = KINDS[kind.parent]
    return (
        f"{spoken(kind)} are listed below their {above.noun}; {spoken(above)} cannot be listed at {_place(target)}, "
        f"and no manifest declares one: name each by --below {above.name}/ID, or {INSTEAD}"
    )


def _named(target: Target, below: Sequence[str], asked: frozenset[str]) -> dict[str, tuple[str, ...]]:
    """Return the parents that `--below` names, by kind."""
    found: dict[str, tuple[str, ...]] = {}
    for name in dict.fromkeys(below):
        try:
            ref = reference(name)
        except BadReference as bad:
            raise WrongUsage(f"--below: {bad}") from None
        kind = ref.kind
        children = [each for each in KINDS.values() if each.parent == kind and (not asked or each.name in asked)]
        if not children:
            if lives := [each for each in KINDS.values() if each.parent == kind]:
                raise WrongUsage(_not_asked(name, lives))
            wanted = {each.parent for each in KINDS.values() if each.parent and (not asked or each.name in asked)}
            known = ", ".join(f"{each}/ID" for each in sorted(wanted))
            raise WrongUsage(f"--below {shown(name)}: nothing that is listed lives there; write {known or 'KIND/ID'}")
        _need_listing(target, children[0])
        found[kind] = (*found.get(kind, ()), ref.id)
    return found


def _not_asked(name: str, lives: Sequence[Kind]) -> str:
    """Return what to say where `--kind` names none of the kinds that live below a parent."""
    living = " and ".join(map(spoken, lives))
    ways = " or ".join(f"--kind {each.name}" for each in lives)
    return f"--below {shown(name)}: what lives there are {living}, which --kind leaves out: say {ways}, or no --kind"


def _declared_parents(declared: Iterable[Ref], kinds: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Return the parents of some kinds that the manifests know, themselves or by what lives below them."""
    found: dict[str, set[str]] = {kind: set() for kind in kinds}
    for ref in declared:
        if ref.kind in found:
            found[ref.kind].add(ref.id)
        elif KINDS[ref.kind].parent in found:
            found[KINDS[ref.kind].parent].add(ref.id.rpartition("/")[0])
    return {kind: tuple(sorted(ids)) for kind, ids in found.items() if ids}
