"""The documents of a run's shards made one: what one run over everything would have written.

What belongs together is checked first, and every disagreement is told. Then sums are added, lists are joined in the one
order that they have, and what each shard says of the run as a whole is said once.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeVar

from reconciler.compare import Action
from reconciler.document import FORMAT_VERSION, BasePart, Document, Finding, Part, Reason
from reconciler.errors import ExitCode, InvalidInput, Location, Problem, worst
from reconciler.model import Ref
from reconciler.shards import Shard
from reconciler.words import shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

_Sum = TypeVar("_Sum", bound=Part)


def merge(documents: Mapping[str, Document]) -> Document:
    """Return what the documents, by the names of their files, say together; its `exit_code` is the one that counts.

    Raises `InvalidInput` where they are not of one run, or of more than one look at a resource. Shards that are missing
    are an entry of its `errors`: a machine that died must not cost the others' reports.
    """
    problems = [*_strangers(documents), *_twice(documents)]
    if problems:
        raise InvalidInput(*problems)
    parts = list(documents.values())
    absent = _absent(parts)
    codes = [*map(_code, parts), *([ExitCode.ERROR] if absent else [])]
    learned, quarrels = _learned(parts)
    together: dict[str, Any] = {
        **{name: _said(parts, name) for name in ("target", "identity", "head", "offline", "now", "undoes", "since")},
        **{name: _sum([getattr(part, name) for part in parts]) for name in ("summary", "looked_at", "requests")},
        **{name: _joined(parts, name) for name in ("changes", "spared", "agreeing", "released")},
    }
    return Document(
        kind=parts[0].kind,
        tool_version=parts[0].tool_version,
        base=_base(parts),
        record=_agreed(parts, "record"),
        outcomes=None if all(part.outcomes is None for part in parts) else _joined(parts, "outcomes"),
        learned=learned,
        left=sum(part.left for part in parts),
        masked=any(part.masked for part in parts),
        whole=not absent and all(part.whole for part in parts) and (len(parts) == 1 or parts[0].shard is not None),
        exit_code=int(worst(codes)),
        notes=(*_notes(parts), *quarrels),
        errors=(*_errors(parts), *absent),
        **together,
    )


# --- do they belong together ------------------------------------------------------------------------------------------


def _strangers(documents: Mapping[str, Document]) -> Iterator[Problem]:
    """Yield what keeps documents from being of one run, each held against the first one that says anything of it."""
    first = next(iter(documents))
    for file, document in documents.items():
        if document.format_version != FORMAT_VERSION:
            told = (
                f"this document has format {shown(document.format_version)}, and this version merges {FORMAT_VERSION}"
            )
            yield _problem(file, "format_version", f"{told}: merge with the version that wrote it")
        if (document.shard is None) != (documents[first].shard is None):
            whole, part = (file, first) if document.shard is None else (first, file)
            yield _problem(whole, "other_run", f"this document is of no shard, and {part} is of one")
    for name in _SHARED:
        yield from _differing(documents, name)
    sharded = {file: document for file, document in documents.items() if document.shard is not None}
    for file, document in sharded.items():
        if document.shard is not None and document.shard.index > document.shard.count:
            yield _problem(
                file, "other_run", f"this document is of shard {document.shard.shard}, which there cannot be"
            )


_SHARED = (
    "kind", "tool_version", "target", "identity", "head", "base", "record", "offline", "now", "undoes", "since",
    "shard",
)  # fmt: skip
"""What documents have in common, as far as a run came to it. `_own` has what of that may differ all the same."""


_LATER = frozenset(_SHARED) - {"kind", "tool_version", "shard"}
"""What a document has only once its run has got so far."""


def _differing(documents: Mapping[str, Document], name: str) -> Iterator[Problem]:
    owns = {file: _own(document, name) for file, document in documents.items() if _came_to(document, name)}
    said = {file: own for file, own in owns.items() if own is not None}
    if not said:
        return
    first, ours = next(iter(said.items()))
    for file, theirs in said.items():
        label = next((each for each in ours if theirs.get(each) != ours[each]), None)
        if label is not None:
            message = (
                f"this document's {label} is {_shown(theirs.get(label))}, that of {first} is {_shown(ours[label])}"
            )
            yield _problem(file, "other_run", f"{message}: they are not of one run")


def _own(document: Document, name: str) -> Mapping[str, object] | None:
    """Return what a document must have in common with the others under this name, by what a person calls it."""
    if name == "shard":
        part = document.shard
        return {"number of shards": part.count, "selection": " ".join(part.asked) or "everything"} if part else None
    if name in ("base", "record") and (document.kind == "apply" or (document.kind != "plan" and name == "record")):
        return None  # each apply may have found what the others had recorded before; only a plan relies on it
    value = getattr(document, name)
    if isinstance(value, Part):
        return {f"{name} ({each})": getattr(value, each) for each in type(value).model_fields}
    return {name.replace("_", " "): value}


def _came_to(document: Document, name: str) -> bool:
    """Tell whether a document speaks of this at all: a run that failed before it came to it does not."""
    failed_early = document.errors and not document.summary.resources and name in _LATER
    return not (failed_early and getattr(document, name) == Document.model_fields[name].default)


def _twice(documents: Mapping[str, Document]) -> Iterator[Problem]:
    """Yield the shards that two documents are of, the whole runs beside others, and the resources that two have."""
    of: dict[Shard, str] = {}
    seen: dict[Ref, str] = {}
    for file, document in documents.items():
        if document.shard is not None:
            before = of.setdefault(document.shard.shard, file)
            if before != file:
                yield _problem(file, "twice", f"this document is of shard {document.shard.shard}, and so is {before}")
                continue
        elif document.whole and len(documents) > 1:
            yield _problem(
                file, "twice", "this document is of a run over everything, so that there is nothing to merge"
            )
        shared = [ref for ref in sorted(_refs(document)) if seen.setdefault(ref, file) != file]
        if shared:
            more = f" and {len(shared) - 1} more" if len(shared) > 1 else ""
            yield _problem(file, "twice", f"{shared[0]}{more} is in this document, and in {seen[shared[0]]} as well")


def _refs(document: Document) -> set[Ref]:
    lists: Iterable[Any] = (document.changes, document.agreeing, document.spared, document.released)
    return {Ref(part.kind, part.id) for part in chain.from_iterable((*lists, document.outcomes or ()))}


def _problem(file: str, code: str, message: str) -> Problem:
    return Problem(code, message, Location(file, 1, 1))


def _shown(value: object) -> str:
    return "not set" if value is None else shown(str(value))


# --- what they say together -------------------------------------------------------------------------------------------


def _absent(parts: Sequence[Document]) -> tuple[Finding, ...]:
    """Return an error for the shards that no document is of."""
    given = [part.shard for part in parts if part.shard is not None]
    if not given:
        return ()
    count, there = given[0].count, {each.index for each in given}
    gone = [str(Shard(index, count)) for index in range(1, count + 1) if index not in there]
    if not gone:
        return ()
    some = ", ".join(gone[:_TOLD]) + (f" and {len(gone) - _TOLD} more" if len(gone) > _TOLD else "")
    word = "shard" if len(gone) == 1 else "shards"
    message = (
        f"no document of the {word} {some}: nothing is known of what falls to {'it' if len(gone) == 1 else 'them'}"
    )
    return (Finding(code="shard_missing", message=message),)


_TOLD = 10
"""Shards that are named; of very many all may be missing."""


def _code(document: Document) -> ExitCode:
    """Return what the run of a document ended with; one that has errors and no code is of an earlier version."""
    known = {int(code): code for code in ExitCode}
    code = known.get(document.exit_code, ExitCode.ERROR)
    return ExitCode.ERROR if code is ExitCode.DONE and document.errors else code


def _said(parts: Sequence[Document], name: str) -> Any:
    """Return what every document says that came so far, and what a document says that never does where none has."""
    return next((getattr(part, name) for part in parts if _came_to(part, name)), Document.model_fields[name].default)


def _agreed(parts: Sequence[Document], name: str) -> Any:
    """Return what all documents say that came so far; what says nothing, where they differ."""
    said = [getattr(part, name) for part in parts if _came_to(part, name)]
    return said[0] if said and all(each == said[0] for each in said) else None


def _base(parts: Sequence[Document]) -> BasePart:
    """Return the base that all have in common: of applies one after the other, the later ones know the earlier ones."""
    agreed = _agreed(parts, "base")
    if agreed is not None:
        return BasePart.model_validate(agreed)
    revisions = {part.base.revision for part in parts if _came_to(part, "base")}
    return BasePart(revision=revisions.pop() if len(revisions) == 1 else None)


def _sum(parts: Sequence[_Sum]) -> _Sum:
    """Return the sums of numbers, and of the numbers of the parts within."""
    columns = {name: [getattr(part, name) for part in parts] for name in type(parts[0]).model_fields}
    sums = {name: _sum(each) if isinstance(each[0], Part) else sum(each) for name, each in columns.items()}
    return parts[0].model_copy(update=sums)


def _joined(parts: Sequence[Document], name: str) -> tuple[Any, ...]:
    entries = chain.from_iterable(getattr(part, name) or () for part in parts)
    return tuple(sorted(entries, key=lambda entry: Ref(entry.kind, entry.id)))


def _learned(parts: Sequence[Document]) -> tuple[dict[str, str] | None, list[Reason]]:
    """Return what the answers taught; a kind that they taught different things of is told and left out."""
    if all(part.learned is None for part in parts):
        return None, []
    taught: defaultdict[str, set[str]] = defaultdict(set)
    for kind, dialect in chain.from_iterable((part.learned or {}).items() for part in parts):
        taught[kind].add(dialect)
    message = "shards learned different things of how a {} is updated: {}"
    quarrels = [
        Reason(code="learned_differently", message=message.format(kind, ", ".join(sorted(dialects))))
        for kind, dialects in sorted(taught.items())
        if len(dialects) > 1
    ]
    return {kind: min(dialects) for kind, dialects in taught.items() if len(dialects) == 1}, quarrels


# --- sentences, each once, in the order that one run tells them -------------------------------------------------------

_BY_RESOURCE = frozenset({"expired", "missing"})
"""Notes of which there is one for a resource; they come last, those of one code together."""


def _notes(parts: Sequence[Document]) -> tuple[Reason, ...]:
    once = dict.fromkeys(chain.from_iterable(part.notes for part in parts))
    of_the_run = [note for note in once if note.code not in _BY_RESOURCE]
    of_resources = [note for note in once if note.code in _BY_RESOURCE]
    return (*of_the_run, *sorted(of_resources, key=lambda note: (note.code, _ref(note))))


def _errors(parts: Sequence[Document]) -> tuple[Finding, ...]:
    """Return the errors: what was told before those of single resources, these (failed, then missing), and the rest."""
    before: dict[Finding, None] = {}
    single: dict[Finding, tuple[bool, Ref]] = {}
    after: dict[Finding, None] = {}
    for part in parts:
        actions = {change.ref: change.action for change in part.changes if change.error is not None}
        met = False
        for error in part.errors:
            ref = _ref(error)
            if ref in actions:
                single[error] = (actions[ref] is Action.MISSING, ref)
                met = True
            else:
                (after if met or error.code == "interrupted" else before)[error] = None
    between = sorted(single, key=lambda error: single[error])
    return (*before, *between, *(error for error in after if error not in before))


def _ref(told: Reason) -> Ref:
    """Return the resource that a sentence begins with; one that there is not, where it begins otherwise."""
    kind, _, own = told.message.partition(": ")[0].partition("/")
    return Ref(kind, own)
