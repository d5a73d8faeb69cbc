"""The document as text, both ways: the `json` format, and a saved plan.

The text is plain ASCII, everything else escaped, so that no value can act on the terminal or the log that it is
printed to; so is what a CI service would take for a command. Its digest is `sha256` over the document without it, as
JSON with sorted keys, no spaces, and ASCII only. It shows damage; it is no signature.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn

from pydantic import ValidationError

from reconciler.compare import Action, BaseField, Blocked, Change, FieldChange, Intent, compare
from reconciler.document import FORMAT_VERSION, ChangePart, Declared, Document, FieldPart, Place
from reconciler.errors import Fault, InvalidInput, Location, Problem
from reconciler.guard import Scale
from reconciler.kinds import KINDS
from reconciler.model import Base, Desired, Json, Observed, Ownership, Ref, frozen_map
from reconciler.words import dumped, shown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from reconciler.plan import RulesOf

MAX_TEXT = 512 * 1024 * 1024
"""Characters of a plan file, at most; a resource with six changed fields has some 3,000."""
MAX_PARTS = 30_000_000
"""Entries of its maps and lists, at most: reading them takes memory, however short they are written."""
_LONGEST_NUMBER = 400
"""Digits of a number: Python converts ten times as many, and no API keeps even these."""

# --- to text and back -------------------------------------------------------------------------------------------------


def dumps(document: Document) -> str:
    """Return the document as JSON text with its digest, ending in a newline: same document, same bytes."""
    content = _content(document)
    content["digest"] = digest(content)
    return dumped(content) + "\n"


def _content(document: Document) -> dict[str, Any]:
    content = document.model_dump(mode="python")
    # What belongs to some runs, changes or fields only is left out elsewhere.
    _drop(content, "outcomes", "learned", "agreeing", "whole", "record", "offline", "now", "undoes", "spared", "masked")
    _drop(content, "shard", "exit_code", "since")
    _drop(content["head"], "prefix")
    for change in content["changes"]:
        _drop(change, "error")
        for field in change["fields"]:
            _drop(field, "blame", "origin", "accepted", "introduced")
    for outcome in content.get("outcomes", ()):
        _drop(outcome, "lost")
    return content


def _drop(part: dict[str, Any], *names: str) -> None:
    """Leave out the named parts where they say nothing; that an apply has no outcomes does say something."""
    for name in names:
        if part[name] in (None, False) or (part[name] == () and name != "outcomes"):
            del part[name]


def digest(content: Mapping[str, Any]) -> str:
    """Return the digest of a document's content, whatever digest it carries itself."""
    rest = {name: value for name, value in content.items() if name != "digest"}
    canonical = json.dumps(rest, sort_keys=True, separators=(",", ":"))
    return f"sha256:{hashlib.sha256(canonical.encode()).hexdigest()}"


def loads(text: str, file: str) -> Document:
    """Return the document in `text`. Raises `InvalidInput` that names `file` where it is no sound one."""
    try:
        content = _parsed(text)
        fits = isinstance(content, dict) and content.get("digest") == digest(content)
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else _first_line(error)
        raise _unsound(file, "not_json", f"this is no plan file: {reason}") from error
    if not isinstance(content, dict) or "format_version" not in content or "digest" not in content:
        raise _unsound(file, "not_a_plan", f"this is no plan file: it has no format_version and digest; {_A_PLAN}")
    _check_version(content["format_version"], file)
    if not fits:
        raise _unsound(file, "damaged", "the plan file was edited or cut: its digest does not fit; plan again")
    try:
        return Document.model_validate(content)
    except ValidationError as error:
        raise _unsound(file, "not_a_plan", f"this is no plan file: {_where(error)}; {_A_PLAN}") from error


_A_PLAN = "name a file that `reconciler plan --out json=FILE` wrote"


def _parsed(text: str) -> Any:
    """Return what JSON text stands for, as every reader takes it; raises `ValueError` for all that is doubtful."""
    if len(text) > MAX_TEXT or text.count(",") > MAX_PARTS:
        raise ValueError("it is larger than any plan; plan less at a time (--select, --shard)")
    return json.loads(
        text, parse_int=_integer, parse_float=_number, parse_constant=_no_number, object_pairs_hook=_object
    )


def _integer(text: str) -> int:
    return int(text) if len(text) <= _LONGEST_NUMBER else _no_number(f"a number of {len(text)} digits")


def _number(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _no_number(shown(text))


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number that JSON has")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):  # whoever reads the text sees one of them, and the program takes another
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the name {shown(twice)} stands twice in one place")
    return content


def _check_version(version: object, file: str) -> None:
    ours = FORMAT_VERSION.partition(".")[0]
    if not isinstance(version, str) or version.partition(".")[0] != ours:
        told = shown(version) if isinstance(version, str) else "of no name"
        message = f"the plan file has format {told}, this version reads {ours}.x; plan again with this version"
        raise _unsound(file, "format_version", message)


def _where(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]


def _unsound(file: str, code: str, message: str) -> InvalidInput:
    return InvalidInput(Problem(code, message, Location(file, 1, 1)))


def check_kind(document: Document, file: str) -> Document:
    """Return a document that is a plan, as its apply takes it; raises `InvalidInput` for any other.

    Whoever carries out the plan of a shard has not looked at all that is declared.
    """
    if document.kind != "plan":
        raise _unsound(file, "not_a_plan", f"this is the document of a run of `{document.kind}`, no plan; plan again")
    if document.offline:
        message = "this plan was made offline, from git alone: nobody looked at what is there; plan again"
        raise _unsound(file, "offline_plan", message)
    if document.masked:
        message = (
            "values are masked in this plan (`mask` in the settings), so it is for viewing: plan again without the "
            "mask, or let apply make its own plan"
        )
        raise _unsound(file, "masked_plan", message)
    return document.model_copy(update={"whole": False}) if document.shard else document


def check_target(saved: Document, here: Document, file: str) -> None:
    """Raise `InvalidInput` where a plan was made for another target than the one that `here` names."""
    for part in ("target", "identity"):
        for name, there in getattr(saved, part):
            ours = getattr(getattr(here, part), name)
            if there != ours:
                message = f"the plan was made for a target whose {name} is {_told(there)}; here it is {_told(ours)}"
                raise _unsound(file, "other_target", message)


def _told(value: object) -> str:
    return "not set" if value is None else shown(str(value))


# --- back to the values of a run --------------------------------------------------------------------------------------


def changes_of(document: Document, rules_of: RulesOf, file: str) -> tuple[Change, ...]:
    """Return the changes that a saved plan holds, for the dialects that the target has now.

    Raises `InvalidInput` where a kind is unknown or is treated differently by now.
    """
    refs = [part.ref for part in document.changes]
    if len(set(refs)) != len(refs):
        raise _unsound(file, "not_a_plan", "the plan names a resource twice; plan again")
    return tuple(_consistent(_restore(part, rules_of, file), file) for part in document.changes)


def _consistent(change: Change, file: str) -> Change:
    """Return a change that is what its declared and observed maps give; raises `InvalidInput` for another.

    The digest shows damage only; this keeps a plan from showing one thing and writing another.
    """
    if change.fault is not None and change.fault.code == "not_attempted":
        raise _unsound(file, "not_a_plan", f"the plan was broken off before it came to {change.ref}; plan again")
    if change.action is Action.MISSING or (change.action is Action.FAILED and change.observed is None):
        return change
    again = compare(change.desired, change.intent, Observed(change.observed), None, change.rules)
    if change.observed is None or _gist(change) != _gist(again):
        raise _unsound(file, "not_a_plan", f"the plan contradicts itself about {change.ref}; plan again")
    return change


def _gist(change: Change) -> str:
    """Return what a change comes to, as text: `==` would take true for 1."""
    fields = [(one.key, one.op, one.before, one.after, one.blocked and one.blocked.code) for one in change.fields]
    planned = None if change.planned is None else dict(change.planned)
    return json.dumps([change.action, fields, planned], sort_keys=True)


def _restore(part: ChangePart, rules_of: RulesOf, file: str) -> Change:
    if part.kind not in KINDS:
        raise _unsound(
            file,
            "unknown_kind",
            f"the plan names the kind {shown(part.kind)}, which this version does not know; plan again with this one",
        )
    if not KINDS[part.kind].valid_id(part.id):
        raise _unsound(file, "bad_id", f"the plan names the {part.kind} {shown(part.id)}, which is no id; plan again")
    if any(isinstance(value, list | dict) for value in part.declared.metadata.values()):
        raise _unsound(
            file, "not_a_plan", f"the plan declares a value for {part.ref} that no manifest can declare; plan again"
        )
    rules = rules_of(part.kind)
    if rules.dialect.name != part.dialect:
        told = shown(part.dialect)
        message = f"{part.kind} was planned as `{told}`, the settings now say `{rules.dialect.name}`; plan again"
        raise _unsound(file, "other_dialect", message)
    return Change(
        desired=desired_of(part),
        action=part.action,
        rules=rules,
        intent=_intent(part.declared),
        observed=_frozen(part.observed),
        planned=_frozen(part.planned),
        fields=tuple(map(_restore_field, part.fields)),
        fault=Fault(part.error.code, part.error.message) if part.error else None,
    )


def desired_of(part: ChangePart) -> Desired:
    """Return what was declared for a planned resource."""
    sources = {field.key: location for field in part.fields if (location := _location(field.source))}
    return replace(_declared(part.ref, part.declared), location=_location(part.source), sources=sources)


def base_of(part: ChangePart) -> Base:
    """Return what the plan knew of the base of a resource: the fields that differ."""
    known = {field.key: field.base.value for field in part.fields if field.base.value is not None}
    unknown = frozenset(field.key for field in part.fields if not field.base.known)
    return Base(frozen_map(known), ignore=part.declared.ignore, protect=part.declared.protected, unknown=unknown)


def agreeing_of(document: Document, rules_of: RulesOf) -> tuple[Change, ...]:
    """Return the resources that the plan found as declared, for its apply to remember."""
    return tuple(
        Change(_declared(part.ref, part.declared), Action.KEEP, rules_of(part.kind), _intent(part.declared))
        for part in document.agreeing
        if part.kind in KINDS and KINDS[part.kind].valid_id(part.id)
    )


def _declared(ref: Ref, declared: Declared) -> Desired:
    return Desired(
        ref=ref,
        metadata=frozen_map(declared.metadata),
        ownership=declared.ownership,
        ignore=declared.ignore,
        protect=declared.protect,
        released=declared.released,
    )


def _intent(declared: Declared) -> Intent:
    demands = {**declared.metadata, **dict.fromkeys(declared.pruned)}
    left = frozenset(declared.left)
    return Intent(
        demands=frozen_map({key: value for key, value in demands.items() if key not in left}),
        exclusive=declared.ownership is Ownership.EXCLUSIVE,
        ignore=declared.ignore,
        left=left,
        protect=declared.protect or declared.protected,
    )


def _restore_field(part: FieldPart) -> FieldChange:
    return FieldChange(
        key=part.key,
        op=part.op,
        before=part.before,
        after=part.after,
        cause=part.cause,
        base=BaseField(part.base.known, part.base.value),
        blocked=Blocked(part.blocked.code, part.blocked.message) if part.blocked else None,
        source=_location(part.source),
    )


def _location(part: Place | None) -> Location | None:
    return Location(part.file, part.line, part.column) if part else None


def _frozen(pairs: Mapping[str, Json] | None) -> Mapping[str, Json] | None:
    return None if pairs is None else frozen_map(pairs)


def scale(document: Document) -> Scale:
    """Return how much the plan looked at, for the guards."""
    return Scale(document.looked_at.read, document.looked_at.pairs)
