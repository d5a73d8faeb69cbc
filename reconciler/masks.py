"""Values that nobody is shown: what `mask` names, taken out of what is on its way to a person or a file.

Journal and ledger keep the true values, for the next run to compare with; what is shown is a copy.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

from reconciler.document import AcceptedPart, Part
from reconciler.model import matches
from reconciler.words import plain, quoted

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from reconciler.bases import Touched
    from reconciler.document import ChangePart, Declared, Document, FieldPart, Finding, OutcomePart, RememberedPart
    from reconciler.model import Base, Json
    from reconciler.runs import Run

MASKED = "***"
"""What stands in the place of a masked value."""
SHORTEST = 4
"""Characters of a value from which on it is looked for in sentences: shorter ones are parts of any word."""

Globs = tuple[str, ...]
_Part = TypeVar("_Part", bound=Part)


def masked(document: Document, globs: Globs) -> Document:
    """Return the document without the values of keys that match one of the globs; the same one where it has none.

    Null stays null. A change with a masked value has no fingerprint: that of one out of a few values can be guessed.
    """
    if not globs:
        return document
    document = _without_scalars(document)
    hiding = _Hiding(globs)
    changes = tuple(map(hiding.change, document.changes))
    agreeing = tuple(map(hiding.remembered, document.agreeing))
    outcomes = None if document.outcomes is None else tuple(map(hiding.outcome, document.outcomes))
    if not hiding.hidden:
        return document
    return document.model_copy(
        update={
            "changes": tuple(map(hiding.told_change, changes)),
            "agreeing": agreeing,
            "outcomes": None if outcomes is None else tuple(map(hiding.told, outcomes)),
            "notes": tuple(map(hiding.told, document.notes)),
            "errors": tuple(map(hiding.told, document.errors)),
            "masked": True,
        }
    )


_REPEATING = frozenset({"not_a_string", "not_a_scalar", "bad_value"})
"""What is wrong with a value in a manifest, by sentences that repeat it; nothing in them says what key it is of."""


def _without_scalars(document: Document) -> Document:
    if not any(map(_repeats, document.errors)):
        return document
    told = "the value here is no string: put it in quotes (it is not repeated, because the settings mask values)"
    errors = (error.model_copy(update={"message": told}) if _repeats(error) else error for error in document.errors)
    return document.model_copy(update={"errors": tuple(errors)})


def _repeats(error: Finding) -> bool:
    return error.code in _REPEATING or " refers to an anchor &" in error.message  # `*pass` without quotes is an alias


def masked_run(run: Run, globs: Globs) -> Run:
    """Return a recorded run without masked values."""
    touched = {ref: tuple(_touched(one, globs) for one in fields) for ref, fields in run.touched.items()}
    return replace(run, touched=MappingProxyType(touched)) if globs else run


def _touched(one: Touched, globs: Globs) -> Touched:
    before, after = (masked_value(one.key, value, globs) for value in (one.before, one.after))
    return replace(one, before=before, after=after)


def masked_base(base: Base, globs: Globs) -> Base:
    """Return what was last applied to a resource without masked values."""
    return replace(base, metadata=masked_pairs(base.metadata, globs))


def masked_pairs(pairs: Mapping[str, Json], globs: Globs) -> Mapping[str, Json]:
    """Return a map of metadata without masked values."""
    return {key: masked_value(key, value, globs) for key, value in pairs.items()}


def masked_value(key: str, value: Json, globs: Globs) -> Json:
    """Return a value of this key as it may be shown; null stays null."""
    return MASKED if value is not None and matches(key, globs) else value


@dataclass(slots=True)
class _Hiding:
    """Masks the parts of one document, and remembers what it hid, so that no sentence tells it after all."""

    globs: Globs
    hidden: bool = False
    words: _Words = field(default_factory=lambda: _Words())

    def change(self, part: ChangePart) -> ChangePart:
        """Return a change without masked values."""
        before, self.hidden = self.hidden, False
        update: dict[str, Any] = {
            "observed": self._maybe(part.observed),
            "planned": self._maybe(part.planned),
            "fields": tuple(map(self._field, part.fields)),
            "declared": self._declared(part.declared),
        }
        made = part.model_copy(update={**update, "fingerprint": None}) if self.hidden else part
        self.hidden |= before
        return made

    def remembered(self, part: RememberedPart) -> RememberedPart:
        """Return a resource to remember without masked values."""
        return part.model_copy(update={"declared": self._declared(part.declared)})

    def outcome(self, part: OutcomePart) -> OutcomePart:
        """Return an outcome whose lost pairs show no masked values."""
        return part.model_copy(update={"lost": self._maybe(part.lost)})

    def told_change(self, part: ChangePart) -> ChangePart:
        """Return a change whose sentences tell no masked value."""
        return self.told(part).model_copy(update={"fields": tuple(map(self._told_field, part.fields))})

    def told(self, part: _Part) -> _Part:
        """Return a part (with a message of its own, or an error that has one) whose sentences tell no masked value."""
        message, error = getattr(part, "message", None), getattr(part, "error", None)
        update = {} if message is None else {"message": self.words.without(message)}
        return part.model_copy(update=update if error is None else {**update, "error": self.told(error)})

    def _told_field(self, part: FieldPart) -> FieldPart:
        update: dict[str, Part] = {} if part.blocked is None else {"blocked": self.told(part.blocked)}
        if part.accepted is not None and part.accepted.reason is not None:
            reason = self.words.without(part.accepted.reason)
            update["accepted"] = AcceptedPart(until=part.accepted.until, reason=reason)
        return part.model_copy(update=update) if update else part

    def _field(self, part: FieldPart) -> FieldPart:
        if not matches(part.key, self.globs):
            return part
        values = {name: self._value(getattr(part, name)) for name in ("before", "after")}
        base = part.base.model_copy(update={"value": self._value(part.base.value)})
        return part.model_copy(update={**values, "base": base})

    def _declared(self, part: Declared) -> Declared:
        return part.model_copy(update={"metadata": self._pairs(part.metadata)})

    def _maybe(self, pairs: Mapping[str, Json] | None) -> Mapping[str, Json] | None:
        return None if pairs is None else self._pairs(pairs)

    def _pairs(self, pairs: Mapping[str, Json]) -> Mapping[str, Json]:
        return {key: self._value(value) if matches(key, self.globs) else value for key, value in pairs.items()}

    def _value(self, value: Json) -> Json:
        if value is None:
            return None
        self.hidden = True
        self.words.add(value)
        return MASKED


class _Words:
    """The values that were hidden, in every form in which a sentence may tell them.

    They are looked up by their first characters, because there may be as many values as sentences.
    """

    def __init__(self) -> None:
        self._known: defaultdict[str, defaultdict[int, set[str]]] = defaultdict(lambda: defaultdict(set))
        self._seen: set[str] = set()

    def add(self, value: Json) -> None:
        """Look for this value from now on, unless it is too short."""
        text = value if isinstance(value, str) else quoted(value)
        if len(text) < SHORTEST or text in self._seen:
            return
        self._seen.add(text)
        for form in {text, plain(text), quoted(text)[1:-1], repr(text)[1:-1]}:
            self._known[form[:SHORTEST]][len(form)].add(form)

    def without(self, text: str) -> str:
        """Return a sentence with `***` in the place of each of the values, the longest first."""
        parts, done, at = list[str](), 0, 0
        while at <= len(text) - SHORTEST:
            length = self._at(text, at)
            if length:
                parts += [text[done:at], MASKED]
                done = at = at + length
            else:
                at += 1
        return "".join([*parts, text[done:]]) if parts else text

    def _at(self, text: str, at: int) -> int:
        """Return the length of the value, or of what a sentence has left of it, at a place; 0 where none stands."""
        lengths = self._known.get(text[at : at + SHORTEST])
        if lengths is None:
            return 0
        whole = next((size for size in sorted(lengths, reverse=True) if text[at : at + size] in lengths[size]), 0)
        return whole or _cut(text, at, (form for forms in lengths.values() for form in forms))


def _cut(text: str, at: int, forms: Iterable[str]) -> int:
    """Return the length of a beginning of one of the values that an ellipsis ends."""
    end = text.find("…", at)
    return end - at if end > 0 and any(form.startswith(text[at:end]) for form in forms) else 0
