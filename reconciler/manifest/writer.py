"""Changes to manifests that a person wrote: `edit` for what drifted, `declare` for what is new, `move` for other names.

A change is made in the text, where its node stands (`spans`, `draft`), and then held against the meaning: what comes
out is read like any manifest, and is kept only if every resource declares exactly what it should. A change that cannot
be made so is refused, with the reason, and the others are made.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from reconciler.errors import Location, ReconcilerError
from reconciler.kinds import BY_PLURAL, KINDS
from reconciler.manifest.draft import Draft, Unsafe
from reconciler.manifest.layout import Unclear, comments
from reconciler.manifest.leaks import allows
from reconciler.manifest.moving import Move, MovingDraft
from reconciler.manifest.notation import Fresh, unfit_id, unfit_key, unfit_secret, unfit_value
from reconciler.manifest.patch import patch
from reconciler.manifest.problems import VERSION
from reconciler.manifest.reader import read
from reconciler.manifest.schema import read_document
from reconciler.manifest.spans import (
    AliasSpan,
    Entry,
    MapSpan,
    ScalarSpan,
    SequenceSpan,
    compose,
    merged_into,
    pairs_of,
)
from reconciler.manifest.tree import LINE_BREAK, Map
from reconciler.model import MAX_PAIRS, Json, Ownership, Ref, Value, matches, same
from reconciler.words import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from reconciler.errors import Problem
    from reconciler.manifest.spans import Source, Span
    from reconciler.model import Desired

__all__ = ["Declaration", "Drop", "NotMoved", "Put", "Refusal", "Written", "declare", "edit", "move", "patch"]


@dataclass(frozen=True, slots=True)
class Put:
    """The resource shall declare this key with this value; `None`: null, the key shall not exist."""

    ref: Ref
    key: str
    value: Json


@dataclass(frozen=True, slots=True)
class Drop:
    """The resource shall not declare this key any more; where it inherits the key, it becomes null."""

    ref: Ref
    key: str


@dataclass(frozen=True, slots=True)
class Declaration:
    """A resource that is to be declared anew, with these pairs as observed."""

    ref: Ref
    metadata: Mapping[str, Json]


@dataclass(frozen=True, slots=True)
class Refusal:
    """What was not written (one key, or with `None` the whole resource), and why, as a sentence with the fix."""

    ref: Ref
    key: str | None
    message: str
    location: Location | None = None


@dataclass(frozen=True, slots=True)
class Written:
    """The new file, and what is not in it; `invalid` is why nothing at all is: the file was not valid before."""

    data: bytes
    refused: tuple[Refusal, ...] = ()
    invalid: Problem | None = None


def edit(data: bytes, file: str, edits: Sequence[Put | Drop]) -> Written:
    """Change single keys of resources that `data` declares; of several edits of one key the last one counts.

    Lines that need no change stay as they are. Comments above a dropped key stay, the one on its line goes with it.
    Nothing is changed in a file that is not valid.
    """
    state = _loaded(data, file)
    if not isinstance(state, _State):
        return Written(data, tuple(Refusal(one.ref, one.key, _invalid(state), state.location) for one in edits))
    refused: list[Refusal] = []
    wanted = list({(one.ref, one.key): one for one in edits}.values())
    shared, alone = list[Put | Drop](), list[Put | Drop]()
    for one in _admitted(state, wanted, refused):
        (shared if _uses(state, one) else alone).append(one)
    for steps in (alone, shared):
        state = _carry_out(state, steps, _revise_all, refused)
    return Written(_ended_as(data, state), tuple(refused))


def _ended_as(data: bytes, state: _State) -> bytes:
    """Return a changed file without a line break at its end that was not there before, unless it is part of a value."""
    cut = state.data.removesuffix(b"\n").removesuffix(b"\r")
    if data.endswith((b"\n", b"\r")) or cut == state.data:
        return state.data
    again = _loaded(cut, state.file)
    return cut if isinstance(again, _State) and again.desired == state.desired else state.data


def declare(data: bytes | None, file: str, declarations: Sequence[Declaration]) -> Written:
    """Declare resources at the end of their sections; `None` (or a blank file) begins a new file.

    What is written plans to nothing: pairs as observed, null for inherited keys that were not, and nothing for
    ignored ones. Where nothing could be declared, the data are as before (of a new file: empty).
    """
    blank = data is None or not data.strip()
    state = _loaded(f"version: {VERSION}\n".encode() if data is None or blank else data, file)
    if not isinstance(state, _State):
        refused = [Refusal(one.ref, None, _invalid(state), state.location) for one in declarations]
        return Written(data or b"", tuple(refused), state)
    refused = []
    after = _carry_out(state, list(_declarable(state, declarations, refused)), _declare_all, refused)
    return Written(data or b"" if after is state else after.data, tuple(refused))


# -- A file between two changes -----------------------------------------------------------------------------------


class _State:
    """A valid file: its text, and what it declares."""

    def __init__(self, data: bytes, file: str, root: Map, resources: Iterable[Desired]) -> None:
        self.data = data
        self.file = file
        self.desired = {resource.ref: resource for resource in resources}
        defaults = root.get("defaults") or Map()
        self.inherited: Mapping[str, Value | None] = defaults.get("metadata") or Map()
        self.ignore: tuple[str, ...] = tuple(defaults.get("ignore") or ())
        self.exclusive: bool = defaults.get("ownership") == Ownership.EXCLUSIVE
        self.root = root

    @cached_property
    def text(self) -> str:
        """The text without a byte order mark."""
        return self.data.decode().removeprefix("\ufeff")

    def allows_secret_like(self, ref: Ref) -> bool:
        """Tell whether a resource says that its values may look like keys."""
        section = self.root.get(KINDS[ref.kind].plural)
        node = section.get(ref.id) if isinstance(section, Map) else None
        return isinstance(node, Map) and allows(node)

    @property
    def ends(self) -> bool:
        """Tell whether the last line has a break."""
        return self.text.endswith(("\r", "\n"))

    @cached_property
    def source(self) -> Source:
        """The text, its last line complete, and where everything stands."""
        first = LINE_BREAK.search(self.text)
        return compose(self.text if self.ends else self.text + (first[0] if first else "\n"))

    @cached_property
    def sections(self) -> dict[str, dict[str, Entry]]:
        """The resources that are written out, by kind and id."""
        root = self.source.root.own()
        found = ((kind.name, root[kind.plural].value) for kind in KINDS.values() if kind.plural in root)
        return {name: section.own() if isinstance(section, MapSpan) else {} for name, section in found}

    def place(self, ref: Ref, key: str | None) -> Location | None:
        """Return where a key is declared, else its resource."""
        desired = self.desired.get(ref)
        return None if desired is None else desired.sources.get(key or "", desired.location)

    def draft(self) -> MovingDraft:
        """Return a draft without changes."""
        return MovingDraft(self.source, _indentation(self.source), loses_end=not self.ends)

    def replaced(self, text: str, *, whole: bool = False) -> _State | Problem:
        """Return the file with another text, in the same encoding; the last line is left open if it was, or `whole`."""
        if not self.ends and not whole:
            text = re.sub(r"(?:\r\n?|\n)\Z", "", text)
        mark = "\ufeff" if self.data.startswith(b"\xef\xbb\xbf") else ""
        return _loaded((mark + text).encode(), self.file)


def _loaded(data: bytes, file: str) -> _State | Problem:
    """Return the file, or what is wrong with it first of all."""
    document = read(data, file)
    manifest = read_document(document)
    if manifest.problems:
        return manifest.problems[0]
    return _State(data, file, document.root, manifest.resources)


def _invalid(problem: Problem) -> str:
    return f"this file is not valid, so nothing is written to it: {problem.message}"


def _indentation(source: Source) -> str:
    """Return the indentation of the first section, the one that the file is likely to use everywhere."""
    for entry in source.root.entries:
        if isinstance(entry.value, MapSpan) and entry.value.entries and not entry.value.flow:
            inner, outer = entry.value.entries[0].start, entry.start
            return " " * max(1, inner - source.line_start(inner) - (outer - source.line_start(outer)))
    return "  "


# -- Carrying out, and proving ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _New:
    """A resource to write: `pairs` is what stands in it, `metadata` what it declares together with the defaults."""

    ref: Ref
    pairs: Mapping[str, Value | None]
    metadata: Mapping[str, Value | None]


_Step = TypeVar("_Step", Put | Drop, _New)
_Wants: TypeAlias = "dict[Ref, Mapping[str, Value | None]]"


def _carry_out(
    state: _State,
    steps: Sequence[_Step],
    sketch: Callable[[_State, Draft, Sequence[_Step]], _Wants],
    refused: list[Refusal],
) -> _State:
    """Make all changes at once; if that fails, find those at fault by halves, and refuse them."""
    if not steps:
        return state
    after = _attempt(state, steps, sketch)
    if isinstance(after, _State):
        return after
    if len(steps) == 1:
        ref, key = steps[0].ref, getattr(steps[0], "key", None)
        refused.append(Refusal(ref, key, after, state.place(ref, key)))
        return state
    half = len(steps) // 2
    state = _carry_out(state, steps[:half], sketch, refused)
    return _carry_out(state, steps[half:], sketch, refused)


def _attempt(
    state: _State, steps: Sequence[_Step], sketch: Callable[[_State, Draft, Sequence[_Step]], _Wants]
) -> _State | str:
    """Return the file with all changes, or why that would not do."""
    draft = state.draft()
    try:
        wants = sketch(state, draft, steps)
    except Unsafe as error:
        return f"this cannot be changed safely here: {error}; change it by hand"
    text = draft.result()
    if text == state.source.text:
        return state
    after = state.replaced(text)
    if not isinstance(after, _State):
        return f"the file would not be valid any more: {after.message}; change it by hand"
    for ref in {**state.desired, **after.desired, **wants}:
        if not _as_meant(ref, state, after, wants):
            return _moved(ref, steps[0], state)
    return after


def _as_meant(ref: Ref, state: _State, after: _State, wants: _Wants) -> bool:
    """Tell whether a resource declares what it should, and goes by the same rules as before."""
    before, now = state.desired.get(ref), after.desired.get(ref)
    want = wants.get(ref, before.metadata if before else {})
    return (
        now is not None
        and (before is None or _rules(before) == _rules(now))
        and want.keys() == now.metadata.keys()
        and all(same(want[key], now.metadata[key]) for key in want)
    )


def _rules(desired: Desired) -> tuple[object, ...]:
    return desired.ownership, desired.ignore, desired.protect, desired.accept


def _moved(ref: Ref, step: Put | Drop | _New, state: _State) -> str:
    """Say why a change that reads well is refused: somebody else would change as well."""
    uses = [] if isinstance(step, _New) else _uses(state, step)
    if uses:
        line = state.source.line_number(min(uses))
        what = "what is written here is used again by an alias"
        return f"{what} in line {line}, where it would change as well: write it out there first, or change it by hand"
    return f"this cannot be changed safely here: {ref} would not read as it should; change it by hand"


# -- Edits --------------------------------------------------------------------------------------------------------


def _admitted(state: _State, edits: Sequence[Put | Drop], refused: list[Refusal]) -> Iterator[Put | Drop]:
    """Yield what a manifest may hold, by resource: first what makes room, then what needs it."""
    groups: dict[Ref, list[Put | Drop]] = {}
    for one in edits:
        message = _unfit(state, one)
        if message is None:
            groups.setdefault(one.ref, []).append(one)
        else:
            refused.append(Refusal(one.ref, one.key, message, state.place(one.ref, one.key)))
    for ref, group in groups.items():
        declared = state.desired[ref].metadata
        held = {key for key, value in declared.items() if value is not None}
        for one in sorted(group, key=lambda one: (one.key not in declared, _adds(one) and one.key in declared)):
            held.discard(one.key)
            if _adds(one) and len(held) >= MAX_PAIRS:
                refused.append(Refusal(ref, one.key, _full(ref), state.place(ref, one.key)))
                continue
            held |= {one.key} if _adds(one) else set()
            yield one


def _adds(one: Put | Drop) -> bool:
    return isinstance(one, Put) and one.value is not None


def _full(ref: Ref) -> str:
    return f"{ref} declares {MAX_PAIRS} pairs already, as many as there can be: remove one of them first"


def _unfit(state: _State, one: Put | Drop) -> str | None:
    """Say why an edit cannot be made whatever the file looks like."""
    desired = state.desired.get(one.ref)
    if desired is None:
        return f"{one.ref} is not declared in this file"
    if isinstance(one, Drop):
        return None
    message = unfit_key(one.key) or (None if one.value is None else unfit_value(one.value, one.ref.kind))
    if message is None and not state.allows_secret_like(one.ref):
        message = unfit_secret(one.value)
    if message is None and matches(one.key, desired.ignore):
        return "this key is ignored, so it cannot be declared: narrow the globs of ignore first"
    return message


def _revise_all(state: _State, draft: Draft, steps: Sequence[Put | Drop]) -> _Wants:
    groups: dict[Ref, list[Put | Drop]] = {}
    for step in steps:
        groups.setdefault(step.ref, []).append(step)
    return {ref: _revise(state, draft, ref, group) for ref, group in groups.items()}


def _revise(state: _State, draft: Draft, ref: Ref, steps: Sequence[Put | Drop]) -> Mapping[str, Value | None]:
    """Draft the edits of one resource; return what it is to declare."""
    entry = state.sections.get(ref.kind, {}).get(ref.id)
    if entry is None:
        raise Unsafe("the resource is merged in from another mapping")
    metadata = _part(entry, "metadata")
    own, merged = _layers(entry, metadata)
    inherited = {**state.inherited, **{key: _nullity(span) for key, span in merged.items()}}
    want, puts, drops = dict(state.desired[ref].metadata), dict[str, Value | None](), set[str]()
    for step in steps:
        value = step.value if isinstance(step, Put) else None
        if isinstance(step, Put) or inherited.get(step.key) is not None:
            if step.key not in want or not same(want[step.key], value):
                puts[step.key] = want[step.key] = value
        elif step.key in own:
            drops.add(step.key)
            want.pop(step.key)
            want |= {step.key: None} if step.key in inherited else {}
    if puts or drops:
        if metadata is None:
            taken = {key: state.desired[ref].metadata[key] for key in merged}
            draft.extend(entry, Fresh({"metadata": Fresh(taken | puts)}))
        else:
            draft.revise(metadata, puts, drops)
    return want


def _part(entry: Entry, name: str) -> Entry | None:
    """Return the entry `name` of the mapping that is written as the value of `entry`."""
    return entry.value.own().get(name) if isinstance(entry.value, MapSpan) else None


def _layers(entry: Entry, metadata: Entry | None) -> tuple[Mapping[str, Entry], Mapping[str, Span]]:
    """Return the pairs that are written on the resource itself, and those that merge keys and aliases bring in."""
    if metadata is None:
        whole = pairs_of(entry.value)
        return {}, pairs_of(whole["metadata"]) if "metadata" in whole else {}
    if isinstance(metadata.value, MapSpan):
        return metadata.value.own(), merged_into(metadata.value)
    return {}, pairs_of(metadata.value)


def _nullity(span: Span) -> str | None:
    """Return `None` for null, and a text for any value."""
    return None if isinstance(span, ScalarSpan) and span.null else ""


def _uses(state: _State, step: Put | Drop) -> list[int]:
    """Return the places of the aliases that name what the edit would touch."""
    root = state.source.root.own()
    section = root.get(KINDS[step.ref.kind].plural)
    entry = state.sections.get(step.ref.kind, {}).get(step.ref.id)
    metadata = _part(entry, "metadata") if entry else None
    pair = _part(metadata, step.key) if metadata else None
    parts = [part for part in (section, entry, metadata, pair) if part]
    return [use for part in parts for span in (part.key, part.value) for use in span.uses]


# -- Declarations -------------------------------------------------------------------------------------------------


def _declarable(state: _State, declarations: Sequence[Declaration], refused: list[Refusal]) -> Iterator[_New]:
    """Yield what can be declared, and note what cannot."""
    seen: set[Ref] = set()
    for one in declarations:
        message = _undeclarable(state, one.ref, seen)
        if message is not None:
            refused.append(Refusal(one.ref, None, message, state.place(one.ref, None)))
            continue
        seen.add(one.ref)
        new = _declared(state, one, refused)
        if new is not None:
            yield new


def _undeclarable(state: _State, ref: Ref, seen: set[Ref]) -> str | None:
    if ref in state.desired:
        at = state.desired[ref].location
        return f"{ref} is declared already, in line {at.line if at else 0} of this file: take its changes over instead"
    if ref in seen:
        return f"{ref} is given twice: give it once"
    if ref.kind not in KINDS:
        return f"there is no kind {shown(ref.kind)}"
    return (
        unfit_id(ref.id)
        if KINDS[ref.kind].valid_id(ref.id)
        else f"{shown(ref.id)} is no id of a {KINDS[ref.kind].noun}"
    )


def _declared(state: _State, one: Declaration, refused: list[Refusal]) -> _New | None:
    """Return the resource to write; `None` if it cannot be declared without changing what was observed."""
    observed, unfit = _sorted_out(state, one)
    for key, message in unfit.items():
        if state.exclusive or key in state.inherited:
            why = (
                "the defaults of this file own every key" if state.exclusive else "the defaults of this file declare it"
            )
            whole = f"the key {shown(str(key))} cannot be declared ({message}), and {why}, so applying would change it"
            refused.append(Refusal(one.ref, None, f"{whole}; declare this resource in a file without such defaults"))
            return None
    refused += [Refusal(one.ref, key, message) for key, message in unfit.items()]
    metadata: dict[str, Value | None] = {**dict.fromkeys(state.inherited), **observed}
    pairs = {
        key: value
        for key, value in sorted(metadata.items())
        if key not in state.inherited or not same(value, state.inherited[key])
    }
    return _New(one.ref, pairs, metadata)


def _sorted_out(state: _State, one: Declaration) -> tuple[dict[str, Value], dict[str, str]]:
    """Return the pairs that can be declared, and why each of the others cannot; ignored ones are neither."""
    fit: dict[str, Value] = {}
    unfit: dict[str, str] = {}
    # Where there are too many, those that the defaults declare anyway have to be among them.
    for key in sorted(one.metadata, key=lambda key: (key not in state.inherited, str(key))):
        value = one.metadata[key]
        if value is None or (isinstance(key, str) and matches(key, state.ignore)):
            continue
        message = unfit_key(key) or unfit_value(value, one.ref.kind) or unfit_secret(value)
        if message is None and len(fit) >= MAX_PAIRS:
            message = f"a resource declares at most {MAX_PAIRS} pairs: remove some at the API"
        if message is None:
            fit[key] = value
        else:
            unfit[key] = message
    return fit, unfit


def _declare_all(state: _State, draft: Draft, steps: Sequence[_New]) -> _Wants:
    sections: dict[str, dict[str, Fresh]] = {}
    for step in steps:
        content = Fresh({"metadata": Fresh(step.pairs)} if step.pairs else {})
        sections.setdefault(KINDS[step.ref.kind].plural, {})[step.ref.id] = content
    root = state.source.root
    known = root.own()
    for plural in (plural for plural in sections if plural in known):
        draft.extend(known[plural], Fresh(sections[plural]))
    added = {plural: Fresh(section) for plural, section in sections.items() if plural not in known}
    draft.add(root, Fresh(added))
    return {step.ref: step.metadata for step in steps}


# -- Other references ---------------------------------------------------------------------------------------------


class NotMoved(ReconcilerError):
    """What came out is not what was meant: a mistake of ours, which must not reach a file."""

    code = "internal"


def move(data: bytes, file: str, refs: Mapping[Ref, Ref]) -> Written:
    """Let resources go by other references, all at once; what `data` does not declare of `refs` is passed over.

    Each entry keeps its text and the comments that belong to it. Within a kind only its key is written anew; to another
    kind its lines go from section to section. If any entry cannot be moved safely, nothing is. Raises `NotMoved`
    where what comes out would not declare the same, or not have the same comments.
    """
    state = _loaded(data, file)
    if not isinstance(state, _State):
        refused = [Refusal(ref, None, _invalid(state), state.location) for ref in refs]
        return Written(data, tuple(refused))
    wanted = {ref: refs[ref] for ref in state.desired if refs.get(ref, ref) != ref}
    if not wanted:
        return Written(data)
    refused = list(_immovable(state, wanted))
    if refused:
        return Written(data, tuple(refused))
    try:
        text = _moved_all(state, wanted)
    except Unsafe as error:
        first = min(wanted, key=lambda ref: _line(state.place(ref, None)))
        message = f"this cannot be moved safely here: {error}"
        return Written(data, (Refusal(first, None, message, state.place(first, None)),))
    # A text at the very end of the file may need the line break that the file did without.
    for after in (state.replaced(text), state.replaced(text, whole=True)):
        if isinstance(after, _State) and _is_moved(state, after, wanted):
            return Written(after.data)
    refused = [*_entangled(state, wanted), *_cut_off(state, wanted)] or list(_keeping_blanks(state, wanted))
    if not refused:
        why = (
            "it would not declare the same" if isinstance(after, _State) else f"it would not be valid: {after.message}"
        )
        raise NotMoved(f"internal error, please report it: {file} is left as it is, for with the new references {why}")
    return Written(data, tuple(refused))


def _line(place: Location | None) -> int:
    return place.line if place else 0


def _immovable(state: _State, wanted: Mapping[Ref, Ref]) -> Iterator[Refusal]:
    """Yield why resources cannot go by another reference, whatever the text looks like around them."""
    for old, new in wanted.items():
        desired = state.desired[old]
        if old.id not in state.sections.get(old.kind, {}):
            message = f"{old} is merged in from another mapping: write it out first, or change it by hand"
            yield Refusal(old, None, message, desired.location)
        if (unfit := unfit_id(new.id)) is not None:
            yield Refusal(old, None, unfit, desired.location)
        if KINDS[old.kind].scalars and not KINDS[new.kind].scalars:
            accepted = {one.key: one.value for one in desired.accept}
            for key, value in [*desired.metadata.items(), *accepted.items()]:
                if value is not None and not isinstance(value, str):
                    message = f"the value of {shown(key)} is no string, and {new.kind} takes nothing else: quote it"
                    yield Refusal(old, key, message, state.place(old, key))


def _moved_all(state: _State, wanted: Mapping[Ref, Ref]) -> str:
    """Return the text with other references. Raises `Unsafe`."""
    draft, root = state.draft(), state.source.root.own()
    moves = [
        Move(root[KINDS[old.kind].plural], state.sections[old.kind][old.id], KINDS[new.kind].plural, new.id)
        for old, new in wanted.items()
    ]
    draft.move(moves, tuple(BY_PLURAL))
    return draft.result()


def _is_moved(state: _State, after: _State, wanted: Mapping[Ref, Ref]) -> bool:
    """Tell whether the references, and nothing else, are other ones."""
    before = {wanted.get(ref, ref): desired for ref, desired in state.desired.items()}
    return (
        before.keys() == after.desired.keys()
        and all(_declares_as(desired, after.desired[ref]) for ref, desired in before.items())
        and _comments(state) == _comments(after)
    )


def _declares_as(before: Desired, now: Desired) -> bool:
    return (
        _rules(before) == _rules(now)
        and before.metadata.keys() == now.metadata.keys()
        and all(same(value, now.metadata[key]) for key, value in before.metadata.items())
    )


def _comments(state: _State) -> Counter[str]:
    source = state.source
    if "\r" in source.text:
        source = compose(LINE_BREAK.sub("\n", source.text))
    try:
        return Counter(comments(source))
    except Unclear as error:
        raise NotMoved(
            f"internal error, please report it: {state.file} is left as it is, for its comments cannot be told from "
            "its values"
        ) from error


def _entangled(state: _State, wanted: Mapping[Ref, Ref]) -> Iterator[Refusal]:
    """Yield the resources that cannot move because an anchor has to stand above its aliases."""
    for ref in wanted:
        entry = state.sections[ref.kind][ref.id]
        for span in (one for part in (entry.key, entry.value) for one in _below(part)):
            named = isinstance(span, AliasSpan) and not entry.start <= span.target.at < entry.end
            outside = [use for use in span.uses if not entry.start <= use < entry.end]
            if named or outside:
                line = state.source.line_number(outside[0] if outside else span.at)
                message = (
                    f"an anchor ties it to other places (line {line}), above or below which it has to stay: write it "
                    "out there first, or change it by hand"
                )
                yield Refusal(ref, None, message, state.place(ref, None))
                break


def _cut_off(state: _State, wanted: Mapping[Ref, Ref]) -> Iterator[Refusal]:
    """Yield why nothing can move where the file ends in the last line of a text, which would get a line break."""
    last: Span = state.source.root
    while isinstance(last, MapSpan) and last.entries:
        last = last.entries[-1].value
    if not state.ends and isinstance(last, ScalarSpan) and last.style in ("|", ">"):
        first = next(iter(wanted))
        message = (
            f"the last text of this file has no line break at its end, and would get one: write {last.style}- there"
        )
        yield Refusal(first, None, message, state.place(first, None))


def _keeping_blanks(state: _State, wanted: Mapping[Ref, Ref]) -> Iterator[Refusal]:
    """Yield the texts that keep the blank lines below them, which are others once something else stands there."""
    first = min(wanted, key=lambda ref: _line(state.place(ref, None)))
    owners = [
        (entry.start, entry.end, Ref(kind, own))
        for kind, known in state.sections.items()
        for own, entry in known.items()
    ]
    for span in _below(state.source.root):
        if isinstance(span, ScalarSpan) and span.keeps_blanks(state.source.clean):
            ref = next((ref for start, end, ref in owners if start <= span.at < end), first)
            line = state.source.line_number(span.at)
            message = (
                f"the text in line {line} keeps the blank lines below it ({span.style}+), and others would come there: "
                f"write it with {span.style} alone, or in quotes, or change this by hand"
            )
            yield Refusal(ref, None, message, Location(state.file, line, 1))


def _below(span: Span) -> Iterator[Span]:
    """Yield a node and those inside of it, as they are written."""
    yield span
    if isinstance(span, MapSpan):
        for entry in span.entries:
            yield from _below(entry.key)
            yield from _below(entry.value)
    elif isinstance(span, SequenceSpan):
        for item in span.items:
            yield from _below(item)
