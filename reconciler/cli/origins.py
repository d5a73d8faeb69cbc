"""Where a drifted value came from: an earlier state of the ledger, or of the manifest in git."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reconciler.compare import Cause
from reconciler.document import CommitPart, with_fields
from reconciler.git import history
from reconciler.ledger import store
from reconciler.model import Ref, same

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from reconciler.cli.planning import Made
    from reconciler.cli.session import Session
    from reconciler.document import ChangePart, FieldPart
    from reconciler.git import Repository
    from reconciler.ledger import Ledger
    from reconciler.model import Base, Json

MAX_RUNS = 50
"""States of the ledger that are looked at, newest first."""
MAX_LOOKS = 20_000
"""Resources times states: a drift of everything must not read the ledger from end to end."""

_OUTSIDE = frozenset({Cause.DRIFT, Cause.CONFLICT})


def with_origins(changes: Sequence[ChangePart], session: Session, made: Made) -> tuple[ChangePart, ...]:
    """Return the changes; a drifted value that git or the ledger once declared names the commit that did."""
    from reconciler.cli.provenance import Drifted, manifest_origins

    drifted = [
        Drifted(change.ref, field.key, field.before, change.source.file if change.source else "")
        for change in changes
        for field in change.fields
        if field.cause in _OUTSIDE
    ]
    repository = session.repository
    if repository is None or not drifted:
        return tuple(changes)
    origins = _of_ledger(repository, made.memory.ledger, {(one.ref, one.key): one.value for one in drifted})
    rest = [one for one in drifted if one.file and (one.ref, one.key) not in origins]
    origins |= manifest_origins(rest, repository, session.settings.root)

    def name(ref: Ref, field: FieldPart) -> Mapping[str, Any]:
        origin = origins.get((ref, field.key))
        return {"origin": origin} if origin else {}

    return with_fields(changes, name)


def _of_ledger(
    repository: Repository, ledger: Ledger | None, wanted: Mapping[tuple[Ref, str], Json]
) -> dict[tuple[Ref, str], CommitPart]:
    """Return by field the commit that the ledger gives for the value that was found, where it once was the base.

    A base names the commit of its last change, whichever field that was. So of the newest states in a row that hold the
    value the oldest is asked: it came with that commit.
    """
    if ledger is None:
        return {}
    commits: dict[tuple[Ref, str], str] = {}
    open_ = dict(wanted)
    for tip in _earlier(repository, ledger, len(wanted)):
        state = store.read(repository, ledger.target, tip)
        bases = state.bases({ref for ref, _ in open_}) if state else {}
        for (ref, key), value in list(open_.items()):
            base = bases.get(ref)
            if base is not None and _declared(base, key, value):
                commits[ref, key] = base.commit or commits.get((ref, key), "")
            elif (ref, key) in commits and (base is None or base.commit is not None):
                del open_[ref, key]  # a state without a commit is that of a rollback: it ends no row
        if not open_:
            break
    known = history.lookup(repository, frozenset(commits.values()))
    return {place: _part(commit, known) for place, commit in commits.items() if commit}


def _earlier(repository: Repository, ledger: Ledger, resources: int) -> Iterable[str]:
    runs = store.runs(repository, ledger.target, limit=max(1, min(MAX_RUNS, MAX_LOOKS // max(1, resources))))
    return (tip for tip, _ in runs if tip != ledger.tip)


def _declared(base: Base, key: str, value: Json) -> bool:
    return key in base.metadata and same(base.metadata[key], value)


def _part(commit: str, known: Mapping[str, history.Commit]) -> CommitPart:
    found = known.get(commit)
    return CommitPart(commit=commit, author=found.author if found else None, date=found.date if found else None)
