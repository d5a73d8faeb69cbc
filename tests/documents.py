"""Documents of every sort, by name: what each format is held against, in golden files."""

import os
from pathlib import Path

from reconciler.compare import Cause, Rules, Selection
from reconciler.dialects import AUTO, MERGE, MERGE_NULL, REPLACE
from reconciler.diff import Op
from reconciler.document import (
    AcceptedPart,
    BasePart,
    CommitPart,
    Document,
    Head,
    Reason,
    SincePart,
    TargetPart,
    finding,
    outcome_part,
    plan_parts,
    with_fields,
)  # fmt: skip
from reconciler.errors import Fault, Location, Problem
from reconciler.events import Outcome, OutcomeStatus
from reconciler.model import Base, Desired, Missing, Observed, Ownership, Ref, Unread
from reconciler.plan import make_plan

GOLDEN = Path(__file__).parent / "golden"
TARGET = TargetPart(name="production", provider="openai", base_url="https://threads.example/v1")

BASE = BasePart(revision="refs/reconciler/production", commit="abc1234")


def at(line, column=3):
    return Location("manifests/support.yaml", line, column)


def desired(name, metadata, line=8, **more):
    sources = {key: at(line + 2 + number, 7) for number, key in enumerate(metadata)}
    return Desired(Ref("thread", name), metadata, location=at(line), sources=sources, **more)


def planned(*pairs, rules=MERGE, remembered=None, keeps=False, only=None, errors=(), kind="plan", **more):
    """A document over (desired, reading) pairs."""
    readings = {one.ref: reading for one, reading in pairs}
    bases = remembered and dict.fromkeys(readings, remembered)
    plan = make_plan([one for one, _ in pairs], readings, lambda _kind: Rules(rules), bases=bases, only=only)
    parts = plan_parts(plan, len(pairs), keeps=keeps)
    return Document(kind=kind, target=TARGET, errors=tuple(map(finding, errors)), **{**parts, **more})


RICH = (
    (desired("thread_abc", {"plan": "gold", "team": "support"}), Observed({"plan": "silver", "seen": "1", "at": "2"})),
    (desired("thread_def", {"trial": None}, 20), Observed({"trial": "yes"})),
    (desired("thread_ghi", {"plan": "gold"}, 30), Observed({"plan": "gold"})),
)
MISSING = (desired("thread_gone", {"plan": "gold"}, 40), Missing(Fault("missing", "No thread found", 404, "req_7")))
FAILED = (desired("thread_slow", {"plan": "gold"}, 50), Unread(Fault("timeout", "The API did not answer in time.")))
HOSTILE = "\x1b[31mred\x1b[0m\n::error::boo\u202e\u0085\u200b\x7f\ud800"


def outcomes(*made):
    return tuple(map(outcome_part, made))


DOCUMENTS = {
    "plan": planned(*RICH),
    "plan_with_base": planned(*RICH, rules=MERGE_NULL, remembered=Base({"plan": "gold", "trial": "yes"}), base=BASE),
    "plan_all": planned(*RICH, keeps=True),
    "plan_nothing_to_do": planned(RICH[2]),
    "plan_of_nothing": planned(),
    "plan_missing": planned(
        *RICH, MISSING, errors=[Problem("missing", "thread/thread_gone: No thread found (request req_7)", at(40))]
    ),
    "plan_missing_warned": planned(RICH[2], MISSING),
    "plan_failed": planned(
        FAILED, errors=[Problem("timeout", "thread/thread_slow: The API did not answer in time.", at(50))]
    ),
    "plan_only": planned(*RICH, only=Selection(frozenset({Cause.UNATTRIBUTED}), frozenset({Op.ADD}))),
    "plan_hostile": planned(
        (desired("thread_abc", {"plan": "gold", "k": HOSTILE}), Observed({"plan": HOSTILE, HOSTILE: "foreign"})),
        (desired("thread_def", {}, 20, ownership=Ownership.EXCLUSIVE), Observed({HOSTILE: {"deep": [HOSTILE]}})),
        rules=REPLACE,
        errors=[Problem("rejected", HOSTILE, Location(HOSTILE, 1, 1))],
    ),
    "apply": planned(
        RICH[0],
        kind="apply",
        outcomes=outcomes(Outcome(Ref("thread", "thread_abc"), OutcomeStatus.APPLIED, reads=1, writes=1)),
        requests={"reads": 2, "writes": 1},
    ),
    "apply_incomplete": planned(
        *RICH,
        rules=AUTO,
        kind="apply",
        learned={"thread": "merge"},
        requests={"reads": 5, "writes": 3},
        outcomes=outcomes(
            Outcome(Ref("thread", "thread_abc"), OutcomeStatus.STALE, Fault("stale", "it moved since it was planned")),
            Outcome(
                Ref("thread", "thread_def"),
                OutcomeStatus.FAILED,
                Fault("lost_pairs", "dropped"),
                reads=1,
                writes=1,
                lost={"seen": HOSTILE},
            ),
            Outcome(
                Ref("thread", "thread_ghi"), OutcomeStatus.NOT_ATTEMPTED, Fault("halted", "not attempted: it replaces")
            ),
            Outcome(
                Ref("thread", "thread_jkl"), OutcomeStatus.NOT_ATTEMPTED, Fault("halted", "not attempted: it replaces")
            ),
        ),
    ),
    "apply_nothing_to_do": planned(RICH[2], kind="apply", outcomes=()),
    "validate": Document(kind="validate", summary={"resources": 1}),
    "validate_invalid": Document(
        kind="validate",
        errors=(
            finding(Problem("not_a_string", '5 is a YAML number: write "5"', at(3, 12))),
            finding(Problem("no_key", "export OPENAI_API_KEY")),
        ),
    ),
}


def told(document, **of_key):
    """Return a document whose fields, by key, have further parts."""
    changes = with_fields(document.changes, lambda _ref, field: of_key.get(field.key, {}))
    return document.model_copy(update={"changes": changes})


LONG = "The customer asked twice for an invoice that names the second address; see the letter of May. " * 5
OURS = Base({"plan": "gold", "trial": "yes", "team": "sales", "note": LONG})
COMMIT = CommitPart(commit="0123456789abcdef0123456789abcdef01234567", author="A. Writer", date="2026-11-20")
HERE = Head(commit="f" * 40, dirty=False, prefix="ops/threads")
SINCE = SincePart(revision="origin/main", commit="e" * 40)

DOCUMENTS |= {
    "plan_marked": told(
        planned(*RICH, rules=MERGE_NULL, remembered=OURS, base=BASE, head=HERE, since=SINCE),
        team={"introduced": True},
    ),
    "plan_long": planned(
        (
            desired("thread_abc", {"note": LONG.replace("May", "June"), "team": "support", "x" * 64: LONG}),
            Observed({"note": LONG, "team": "", "x" * 64: ""}),
        ),
        (desired("thread_def", {"note": None}, 20), Observed({"note": LONG})),
        rules=MERGE_NULL,
        remembered=OURS,
        base=BASE,
    ),
    "plan_notes": planned(
        RICH[0],
        notes=(
            Reason(code="no_ledger", message="there is no ledger here; `git fetch` brings it"),
            Reason(code="unfinished", message="an apply ended without a record: 2 writes may have happened"),
        ),
    ),
    "drift": told(
        planned(RICH[0], MISSING, rules=MERGE_NULL, remembered=OURS, base=BASE, kind="drift", exit_code=2),
        plan={"origin": COMMIT, "blame": COMMIT},
        team={"accepted": AcceptedPart(until="2026-12-31", reason="moves with the new team")},
    ),
    "drift_none": planned(RICH[2], remembered=OURS, base=BASE, kind="drift"),
}


def hold(name, text):
    """Hold a text against its golden file, or (UPDATE_GOLDEN=1) write that anew: then read the difference."""
    if os.environ.get("UPDATE_GOLDEN"):
        (GOLDEN / name).write_text(text, encoding="utf-8")
    assert text == (GOLDEN / name).read_text(encoding="utf-8")
