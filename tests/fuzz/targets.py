"""What is fuzzed, and what has to hold whatever the bytes are.

A target is samples, a mutator, and a check. The check raises where a promise is broken; else it returns a feature, a
short description of what the reader made of the input, so that inputs with a new feature become samples as well.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import tempfile
import tracemalloc
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from reconciler import planfile
from reconciler.compare import Rules, Selection
from reconciler.dialects import AUTO, MERGE, MERGE_NULL, REPLACE, Removals
from reconciler.document import Document, Head, TargetPart, agreeing_parts, finding, outcome_part, plan_parts
from reconciler.errors import Fault, InvalidInput
from reconciler.events import Outcome, OutcomeStatus
from reconciler.manifest import combine, read_manifest
from reconciler.model import MAX_KEY, MAX_PAIRS, MAX_VALUE, Base, Desired, Missing, Observed, Ownership, Ref, Unread
from reconciler.plan import make_plan
from reconciler.render import terminal
from reconciler.settings.file import read_settings

from . import mutations

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Sequence
    from random import Random

    from reconciler.errors import Problem

ROOT = Path(__file__).resolve().parents[2]
Mutator: TypeAlias = "Callable[[Random, Sequence[bytes]], bytes]"


class Broken(AssertionError):
    """A reader broke a promise without raising anything itself."""


def expect(holds: bool, what: str) -> None:
    """Raise `Broken` where something does not hold."""
    if not holds:
        raise Broken(what)


# --- manifests and settings -------------------------------------------------------------------------------------------


def check_manifest(data: bytes) -> Hashable:
    """Read a manifest: no exception leaves the reader, problems have places, resources keep the limits."""
    manifest = read_manifest(data, "m.yaml")
    check_problems(manifest.problems, data)
    for one in manifest.resources:
        expect(sum(value is not None for value in one.metadata.values()) <= MAX_PAIRS, "too many pairs are accepted")
        for key, value in one.metadata.items():
            expect(0 < len(key) <= MAX_KEY and _storable(key), f"the key {key!r} is accepted")
            if isinstance(value, str):
                expect(len(value) <= MAX_VALUE and _storable(value), f"the value {value!r} is accepted")
    with contextlib.suppress(InvalidInput):
        combine({"m.yaml": manifest}, ())
    return _codes(manifest.problems), min(len(manifest.resources), 4)


def check_settings(data: bytes) -> Hashable:
    """Read a settings file: it is valid, or refused with places."""
    try:
        settings, _ = read_settings(_scratch_file(data))
    except InvalidInput as invalid:
        check_problems(invalid.found, data)
        return _codes(invalid.found)
    return len(settings.targets)


def check_problems(problems: Sequence[Problem], data: bytes) -> None:
    """Hold every problem to having a code, a place within the file, and words that a terminal can be given."""
    # Of a file in another encoding, or with odd line ends, this only bounds the number of lines.
    last = len(re.split(rb"[\n\r]|\xc2\x85|\xe2\x80[\xa8\xa9]", data)) + 1
    for problem in problems:
        at = problem.location
        expect(bool(problem.code) and at is not None, f"no code or place: {problem!r}")
        expect(at is not None and 1 <= at.line <= last and at.column >= 1, f"a place outside of the file: {problem!r}")
    _check_screen(terminal.render(Document(kind="validate", errors=tuple(map(finding, problems)))))


def _storable(text: str) -> bool:
    return "\0" not in text and not any("\ud800" <= char <= "\udfff" for char in text)


def _codes(problems: Sequence[Problem]) -> Hashable:
    return tuple(sorted({problem.code for problem in problems}))


@cache
def _place_of_scratch(_pid: int) -> Path:
    return Path(tempfile.mkdtemp(prefix="fuzz-")) / "reconciler.yaml"


def _scratch_file(data: bytes) -> Path:
    path = _place_of_scratch(os.getpid())
    path.write_bytes(data)
    return path


# --- plans ------------------------------------------------------------------------------------------------------------

_RULES = {
    "thread": Rules(REPLACE),
    "conversation": Rules(MERGE, Removals.BLANK),
    "message": Rules(MERGE_NULL),
    "vector_store_file": Rules(AUTO),
}


def rules_of(kind: str) -> Rules:
    """Return the rules that the target has by now."""
    return _RULES.get(kind, Rules(MERGE))


def check_plan(data: bytes) -> Hashable:
    """Read a plan as `show` and `apply` do: it is refused in our own words, or it comes through whole."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return "not UTF-8"
    try:
        document = planfile.loads(text, "plan.json")
    except InvalidInput as invalid:
        return _refusal(invalid)
    again = planfile.dumps(document)
    expect(again.isascii(), "a document's text is plain ASCII")
    expect(planfile.dumps(planfile.loads(again, "plan.json")) == again, "a document survives being written and read")
    _check_screen(terminal.render(document))
    try:
        changes = planfile.changes_of(planfile.check_kind(document, "plan.json"), rules_of, "plan.json")
    except InvalidInput as invalid:
        return _refusal(invalid)
    planfile.scale(document)
    bases = [planfile.base_of(part) for part in document.changes]
    agreeing = planfile.agreeing_of(document, rules_of)
    return len(changes), len(agreeing), len(bases), tuple(sorted({str(change.action) for change in changes}))


def _check_screen(text: str) -> None:
    bare = re.sub(r"\x1b\[[0-9;]*m", "", text)  # the colours that are ours
    expect(all(line.isprintable() for line in bare.split("\n")), f"a text that no terminal may see: {bare!r}")


def _refusal(invalid: InvalidInput) -> Hashable:
    (problem,) = invalid.found
    expect(bool(problem.message), "a refusal says why")
    return problem.code, re.sub(r"\d+|'[^']*'|`[^`]*`", "…", problem.message)[:80]


def _sample_plans() -> list[bytes]:
    """Return plans as `plan --out json` writes them: every action, op, cause and block, in several dialects."""
    long, foreign = "x" * MAX_VALUE, {"seen": "1", "n": 7, "deep": {"a": [1, None]}, "esc": "\x1b[31m\u202e"}
    declared = {
        Ref("thread", "thread_1"): Desired(Ref("thread", "thread_1"), {"plan": "gold", "gone": None, "team": long}),
        Ref("thread", "thread_2"): Desired(
            Ref("thread", "thread_2"), {"plan": "gold"}, Ownership.EXCLUSIVE, ("run.*",)
        ),
        Ref("thread", "thread_3"): Desired(Ref("thread", "thread_3"), {"plan": "gold"}),
        Ref("thread", "thread_4"): Desired(Ref("thread", "thread_4"), {f"k{n}": "v" for n in range(10)}),
        Ref("thread", "thread_5"): Desired(Ref("thread", "thread_5"), {"a": None}, protect=True),
        Ref("conversation", "conv_1"): Desired(Ref("conversation", "conv_1"), {"a": None, "b": "\u00e9"}),
        Ref("message", "thread_1/msg_1"): Desired(Ref("message", "thread_1/msg_1"), {"a": None, "b": "2"}),
        Ref("vector_store_file", "vs_1/file_1"): Desired(Ref("vector_store_file", "vs_1/file_1"), {"n": 1, "b": True}),
    }
    readings = {
        Ref("thread", "thread_1"): Observed({"plan": "silver", "gone": "1", **foreign}),
        Ref("thread", "thread_2"): Observed({"plan": "gold", "run.x": "1", "odd": "2"}),
        Ref("thread", "thread_3"): Missing(Fault("missing", "no such id", 404)),
        Ref("thread", "thread_4"): Observed({f"f{n}": "v" for n in range(10)}),
        Ref("thread", "thread_5"): Observed({"a": "1"}),
        Ref("conversation", "conv_1"): Observed({"a": "1", "c": "2"}),
        Ref("message", "thread_1/msg_1"): Unread(Fault("timeout", "no answer in time")),
        Ref("vector_store_file", "vs_1/file_1"): Observed({"n": 2}),
    }
    bases = {
        Ref("thread", "thread_1"): Base({"plan": "gold", "old": "1"}, commit="c0ffee"),
        Ref("thread", "thread_2"): Base({"plan": "gold"}, Ownership.EXCLUSIVE),
        Ref("thread", "thread_9"): Base({"plan": "gold"}),
    }
    made = []
    for refs in (list(declared), list(declared)[:2], list(declared)[5:], []):
        for only in (None, Selection(frozenset(), frozenset())):
            released = {Ref("thread", "thread_9"): bases[Ref("thread", "thread_9")]} if len(refs) > 5 else {}
            plan = make_plan(
                [declared[ref] for ref in refs], readings, rules_of, bases=bases, only=only, released=released
            )
            agreeing = agreeing_parts(plan.changes[:2])
            parts = plan_parts(plan, len(refs), keeps=True)
            head, target = Head(commit="c0ffee", dirty=False), TargetPart(name="test", provider="openai")
            made.append(Document(kind="plan", head=head, target=target, agreeing=agreeing, whole=True, **parts))
            outcomes = tuple(
                outcome_part(Outcome(change.ref, status, Fault("lost_pairs", "gone"), 2, 1, {"seen": "1"}))
                for change, status in zip(plan.changes, OutcomeStatus, strict=False)
            )
            made.append(Document(kind="apply", outcomes=outcomes, learned={"thread": "merge"}, **parts))
    made += [
        Document(kind="drift", now="2026-11-22", **plan_parts(make_plan((), {}, rules_of), 0, keeps=False)),
        Document(kind="plan", offline=True),
        Document(kind="validate"),
    ]
    return [planfile.dumps(document).encode() for document in made]


# --- all of them ------------------------------------------------------------------------------------------------------

_SETTINGS = b"""\
version: 1
default_target: production
targets:
  local: {provider: emulator, manifests: [manifests]}
  production:
    provider: openai
    base_url: https://api.openai.com/v1
    api_key_env: OPENAI_API_KEY
    organization: org_1
    manifests: [manifests, more/m.yaml]
    parallelism: 16
    rate: {reads_per_minute: 1000, writes_per_minute: 300}
    writes: {thread: merge, conversation: replace}
    removals: blank
    missing: warn
    ledger_remote: origin
guards: {max_changed: 30%, max_removed: 12.5, at_least: 10}
"""


def _files(*patterns: str) -> list[bytes]:
    return [path.read_bytes() for pattern in patterns for path in sorted(ROOT.glob(pattern)) if path.is_file()]


def _bad_manifests() -> list[bytes]:
    """Return the inputs of the cases that show what is wrong with a manifest."""
    return _files("tests/cases/bad_manifests/*.y*ml")


@dataclass(frozen=True)
class Target:
    """One reader under attack."""

    samples: Callable[[], list[bytes]]
    mutate: Mutator
    check: Callable[[bytes], Hashable]


TARGETS = {
    "manifest": Target(lambda: _files("manifests/*.y*ml") + _bad_manifests(), mutations.yaml, check_manifest),
    "settings": Target(lambda: [_SETTINGS, *_files("manifests/*.y*ml")[:1]], mutations.yaml, check_settings),
    "plan": Target(_sample_plans, mutations.plan, check_plan),
}


# --- one input after the other ----------------------------------------------------------------------------------------


class Hangs(BaseException):
    """An input took too long; no handler of errors may take this for one."""


CPU = 2.0
"""Seconds of this process's own time that an input may take."""


@contextlib.contextmanager
def bounded(seconds: float = CPU) -> Iterator[None]:
    """Raise `Hangs` where the body works for longer; waiting for other processes does not count."""

    def give_up(*_: object) -> None:
        raise Hangs(f"more than {seconds:g} s")

    before = signal.signal(signal.SIGVTALRM, give_up)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


PEAK = 64 * 1024 * 1024
"""Bytes that reading one input may take at its peak, a thousand times the largest input."""


def check_memory(target: Target, data: bytes) -> int:
    """Check an input and return the bytes that it took at its peak; raises `Broken` beyond `PEAK`."""
    tracemalloc.start()
    try:
        target.check(data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    expect(peak <= PEAK, f"{peak} bytes at the peak")
    return peak


LARGEST_SAMPLE = 16 * 1024
"""Bytes of an input that is kept: large ones are slow to read, and grow."""
MOST_SAMPLES = 5000


@dataclass
class Corpus:
    """The samples of a target, and what was found to lead somewhere new."""

    target: Target
    random: Random

    def __post_init__(self) -> None:
        self.inputs = self.target.samples()
        self.features: set[Hashable] = {self.target.check(data) for data in self.inputs}

    def next(self) -> bytes:
        """Return a new input."""
        return self.target.mutate(self.random, self.inputs)

    def learn(self, data: bytes, feature: Hashable) -> None:
        """Keep an input whose feature is new."""
        if feature not in self.features and len(data) <= LARGEST_SAMPLE and len(self.inputs) < MOST_SAMPLES:
            self.features.add(feature)
            self.inputs.append(data)
