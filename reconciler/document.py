"""The one document of a run: a plan, its application, or a validation, as a value.

Every output format is a function of this document, and a saved plan is this document in a file (`planfile`). Its shape
is the contract; within a major version parts are only ever added.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, StringConstraints

from reconciler import __version__
from reconciler.compare import Action, Cause, Change, FieldChange
from reconciler.dialects import Removals
from reconciler.diff import Op
from reconciler.events import OutcomeStatus
from reconciler.guard import scale_of
from reconciler.model import Json, Ownership, Ref
from reconciler.plan import Plan, Summary, summarise
from reconciler.shards import MAX_SHARDS, Shard

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from reconciler.errors import Fault, Location, Problem
    from reconciler.events import Outcome
    from reconciler.model import Acceptance, Base

FORMAT_VERSION = "1.0"


def _text(value: object) -> str:
    # Not pydantic's own check: it refuses lone surrogates, which a server may well answer.
    if not isinstance(value, str):
        raise ValueError("must be a string")  # noqa: TRY004 - pydantic turns only a ValueError into a report
    return value


def _pairs(value: object) -> Mapping[str, Json]:
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise ValueError("must be an object")
    return dict(value)


Text = Annotated[str, PlainValidator(_text)]
Pairs = Annotated[Mapping[str, Json], PlainValidator(_pairs)]


class Part(BaseModel):
    """One part of the document; parts of a newer minor version are passed over."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_enum_values=False)


class Place(Part):
    """A place in a file, relative to the settings file; line and column count from 1."""

    file: Text
    line: int
    column: int


class Reason(Part):
    """A stable code and a sentence."""

    code: Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]+$")]
    message: Text


class Finding(Reason):
    """An entry of `errors`."""

    source: Place | None = None


class TargetPart(Part):
    """Where the plan was made; the address is what a person may see."""

    name: str | None = None
    provider: str | None = None
    base_url: str | None = None


class Identity(Part):
    """What a target must have in common with the one that the plan was made for."""

    organization: str | None = None
    project: str | None = None
    removals: Removals = Removals.BLOCK


class Head(Part):
    """The commit of the work tree, and whether manifests or settings differ from it; null outside git.

    `prefix`: the folder that places are relative to, below the top of the repository, such as `ops/threads`; null where
    it is the top itself.
    """

    commit: str | None = None
    dirty: bool | None = None
    prefix: Text | None = None


class SincePart(Part):
    """What a change under review is held against: the revision as it was said, and the commit that it branched off."""

    revision: Text
    commit: str


class BasePart(Part):
    """Where the base was read from, and the commit that was applied then; null where unknown."""

    revision: str | None = None
    commit: str | None = None


class PairCounts(Part):
    """Fields that differ, by op."""

    add: int = 0
    replace: int = 0
    remove: int = 0


class CauseCounts(Part):
    """Fields that differ, by cause."""

    pending: int = 0
    drift: int = 0
    conflict: int = 0
    unattributed: int = 0


class SummaryPart(Part):
    """The sums: resources by action, fields blocked, fields by op and by cause."""

    resources: int = 0
    update: int = 0
    keep: int = 0
    missing: int = 0
    failed: int = 0
    blocked: int = 0
    released: int = 0
    pairs: PairCounts = PairCounts()
    causes: CauseCounts = CauseCounts()


class Requests(Part):
    """Calls: of a plan, the reads made and the writes that apply will send; of an apply, those it made."""

    reads: int = 0
    writes: int = 0


class BaseFieldPart(Part):
    """What the base says of a key; the value is null for null and for silent."""

    known: bool
    value: Json = None


class CommitPart(Part):
    """A commit, as people look for it; `date` is an ISO date, null with the author for a line that is not committed."""

    commit: Text | None = None
    author: Text | None = None
    date: Text | None = None


class AcceptedPart(Part):
    """Why a drifted value is no alarm, and until which day."""

    until: Text | None = None
    reason: Text | None = None


class FieldPart(Part):
    """One key that differs; null before or after means absent.

    `blame` has the commit that declared it (`--blame`), `origin` the one that once declared the value that was found.
    `introduced`: the change under review asks for it (`--mark-since`).
    """

    key: Text
    op: Op
    before: Json
    after: Json
    cause: Cause
    blocked: Reason | None = None
    base: BaseFieldPart
    source: Place | None = None
    blame: CommitPart | None = None
    origin: CommitPart | None = None
    accepted: AcceptedPart | None = None
    introduced: bool = False


class Declared(Part):
    """What the manifest declared for a planned resource, defaults merged in.

    `protected`: removals are blocked, be it by the base. `pruned`: keys that only the base mentions. `left`: keys that
    `--only` leaves alone. `released`: it left the manifests.
    """

    metadata: Pairs
    ownership: Ownership
    ignore: tuple[str, ...]
    protect: bool
    protected: bool = False
    released: bool = False
    pruned: tuple[Text, ...] = ()
    left: tuple[Text, ...] = ()


class ChangePart(Part):
    """What happens to one resource."""

    kind: str
    id: str
    action: Action
    dialect: str
    source: Place | None
    observed: Pairs | None
    planned: Pairs | None
    foreign: tuple[Text, ...]
    fields: tuple[FieldPart, ...]
    fingerprint: str | None
    error: Reason | None = None
    declared: Declared

    @property
    def ref(self) -> Ref:
        """Return the reference."""
        return Ref(self.kind, self.id)


class RememberedPart(Part):
    """A resource that a plan has nothing to write to, and that its apply will remember."""

    kind: str
    id: str
    declared: Declared

    @property
    def ref(self) -> Ref:
        """Return the reference."""
        return Ref(self.kind, self.id)


class SparedPart(Part):
    """A resource with keys that differ and that `--only` leaves alone."""

    kind: str
    id: str
    keys: tuple[Text, ...]


class ReleasedPart(Part):
    """A resource that left the manifests: the keys that we owned, and the commit that declared them last."""

    kind: str
    id: str
    keys: tuple[Text, ...]
    commit: str | None = None


class OutcomePart(Part):
    """What became of one change; `lost` has the pairs that the server dropped unasked."""

    kind: str
    id: str
    outcome: OutcomeStatus
    error: Reason | None = None
    requests: Requests = Requests()
    lost: Pairs | None = None


class Looked(Part):
    """How much the guards hold a plan against: resources read, pairs observed on them."""

    read: int = 0
    pairs: int = 0


class ShardPart(Part):
    """Which part of a run a document is of, counted from 1, and what the command line asked all parts of it for."""

    index: Annotated[int, Field(ge=1, le=MAX_SHARDS)]
    count: Annotated[int, Field(ge=1, le=MAX_SHARDS)]
    asked: tuple[Text, ...] = ()

    @property
    def shard(self) -> Shard:
        """Return the shard."""
        return Shard(self.index, self.count)


DocumentKind = Literal["plan", "apply", "drift", "validate"]


class Document(Part):
    """The whole document, without its digest.

    `agreeing` are resources that are as declared and not yet remembered so; `whole`: the plan looked at all that was
    declared; `record`: the commit of the ledger that the base was read from. `offline`: nothing was read, what a
    revision declares stands for what would be there. `now`: the day (ISO) that accepted drift was held against.
    `undoes`: the run that a rollback turns back. `since`: what a change under review asks for is marked, against this.
    `spared`: what `--only` leaves alone, `left` fields in all. `masked`: values are hidden, so that it can be
    looked at and not carried out. `shard`: the part of a run that this is, null
    for a whole one; `whole`, too, then speaks of that part. `exit_code`: what the run ended with. `notes`: what to
    know beside it.
    """

    format_version: str = FORMAT_VERSION
    tool_version: str = __version__
    kind: DocumentKind
    target: TargetPart = TargetPart()
    identity: Identity = Identity()
    head: Head = Head()
    base: BasePart = BasePart()
    summary: SummaryPart = SummaryPart()
    looked_at: Looked = Looked()
    requests: Requests = Requests()
    changes: tuple[ChangePart, ...] = ()
    left: int = 0
    spared: tuple[SparedPart, ...] = ()
    masked: bool = False
    outcomes: tuple[OutcomePart, ...] | None = None
    learned: dict[str, str] | None = None
    agreeing: tuple[RememberedPart, ...] = ()
    whole: bool = False
    record: str | None = None
    released: tuple[ReleasedPart, ...] = ()
    offline: bool = False
    now: str | None = None
    undoes: str | None = None
    since: SincePart | None = None
    shard: ShardPart | None = None
    exit_code: int = 0
    notes: tuple[Reason, ...] = ()
    errors: tuple[Finding, ...] = ()


# --- from the values of a run -----------------------------------------------------------------------------------------


def place(location: Location | None) -> Place | None:
    """Return a location as a part of the document."""
    return Place(file=location.file, line=location.line, column=location.column) if location else None


def finding(problem: Problem) -> Finding:
    """Return a problem as an entry of `errors`."""
    return Finding(code=problem.code, message=problem.message, source=place(problem.location))


def plan_parts(plan: Plan, reads: int, *, keeps: bool) -> dict[str, Any]:
    """Return the parts of a document that a plan fills; `keeps` lists the resources that stay as they are."""
    shown = [change for change in plan.changes if keeps or change.action is not Action.KEEP]
    scale = scale_of(plan.changes)
    return {
        "summary": _summary(summarise(plan.changes, len(plan.released))),
        "looked_at": Looked(read=scale.read, pairs=scale.pairs),
        "requests": Requests(reads=reads, writes=plan.writes),
        "changes": tuple(map(_change, shown)),
        "left": plan.left,
        "spared": tuple(SparedPart(kind=ref.kind, id=ref.id, keys=keys) for ref, keys in plan.spared.items()),
        "released": tuple(_released(ref, base) for ref, base in sorted(plan.released.items())),
    }


def _released(ref: Ref, base: Base) -> ReleasedPart:
    keys = tuple(sorted(key for key, value in base.metadata.items() if value is not None))
    return ReleasedPart(kind=ref.kind, id=ref.id, keys=keys, commit=base.commit)


def with_fields(
    changes: Iterable[ChangePart], update: Callable[[Ref, FieldPart], Mapping[str, Any]]
) -> tuple[ChangePart, ...]:
    """Return the changes with their fields updated by what `update` says of each: names of parts and their values."""
    return tuple(
        change.model_copy(
            update={"fields": tuple(each.model_copy(update=dict(update(change.ref, each))) for each in change.fields)}
        )
        if change.fields
        else change
        for change in changes
    )


def with_accepted(
    changes: Iterable[ChangePart], accepted: Mapping[tuple[Ref, str], Acceptance]
) -> tuple[ChangePart, ...]:
    """Return the changes with the drift that the manifests know about marked as accepted."""

    def mark(ref: Ref, each: FieldPart) -> Mapping[str, Any]:
        entry = accepted.get((ref, each.key))
        return {"accepted": AcceptedPart(until=entry.until, reason=entry.reason)} if entry else {}

    return with_fields(changes, mark)


def agreeing_parts(changes: Iterable[Change]) -> tuple[RememberedPart, ...]:
    """Return the parts of a saved plan that let its apply remember resources with nothing to write."""
    return tuple(RememberedPart(kind=one.ref.kind, id=one.ref.id, declared=_declared_by(one)) for one in changes)


def _summary(summary: Summary) -> SummaryPart:
    return SummaryPart(
        resources=summary.resources,
        **{action.value: summary.actions.get(action, 0) for action in Action},
        blocked=summary.blocked,
        released=summary.released,
        pairs=PairCounts(**{op.value: summary.ops.get(op, 0) for op in Op}),
        causes=CauseCounts(**{cause.value: summary.causes.get(cause, 0) for cause in Cause}),
    )


def _change(change: Change) -> ChangePart:
    desired = change.desired
    return ChangePart(
        kind=change.ref.kind,
        id=change.ref.id,
        action=change.action,
        dialect=change.rules.dialect.name,
        source=place(desired.location),
        observed=change.observed,
        planned=change.planned,
        foreign=change.foreign,
        fields=tuple(map(_field, change.fields)),
        fingerprint=change.fingerprint if change.observed is not None else None,
        error=_reason(change.fault),
        declared=_declared_by(change),
    )


def _declared_by(change: Change) -> Declared:
    desired, intent = change.desired, change.intent
    return Declared(
        metadata=desired.metadata,
        ownership=desired.ownership,
        ignore=desired.ignore,
        protect=desired.protect,
        protected=intent.protect,
        released=desired.released,
        pruned=tuple(sorted(intent.demands.keys() - desired.metadata.keys())),
        left=tuple(sorted(intent.left)),
    )


def _field(field: FieldChange) -> FieldPart:
    return FieldPart(
        key=field.key,
        op=field.op,
        before=field.before,
        after=field.after,
        cause=field.cause,
        blocked=Reason(code=field.blocked.code, message=field.blocked.message) if field.blocked else None,
        base=BaseFieldPart(known=field.base.known, value=field.base.value),
        source=place(field.source),
    )


def _reason(fault: Fault | None) -> Reason | None:
    return Reason(code=fault.code, message=str(fault)) if fault else None


def outcome_part(outcome: Outcome) -> OutcomePart:
    """Return an outcome as a part of the document."""
    return OutcomePart(
        kind=outcome.ref.kind,
        id=outcome.ref.id,
        outcome=outcome.status,
        error=_reason(outcome.fault),
        requests=Requests(reads=outcome.reads, writes=outcome.writes),
        lost=outcome.lost or None,
    )
