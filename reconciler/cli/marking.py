"""What a change under review asks for, told apart from what was pending or had drifted before it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reconciler.cli.revisions import declared_at
from reconciler.document import SincePart, with_fields
from reconciler.errors import InvalidInput, WrongUsage
from reconciler.git.history import commit_of
from reconciler.git.objects import merge_bases
from reconciler.model import Ownership, matches, same

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from reconciler.cli.report import Report
    from reconciler.cli.session import Session
    from reconciler.document import ChangePart, Declared, FieldPart
    from reconciler.git import Repository
    from reconciler.model import Desired, Json, Ref

_SILENT = object()


def mark(session: Session, report: Report, revision: str) -> None:
    """Mark the fields of the plan that are asked for otherwise than where HEAD branched off a revision.

    Where the manifests of that commit cannot be read a note says so, and nothing is marked. Raises `WrongUsage` outside
    of git and for a revision that git does not know.
    """
    commit = _branched_off(session.repository, revision)
    refs = [change.ref for change in report.parts["changes"] if change.fields]
    try:
        then = declared_at(session.settings, session.manifest_paths, session.repository, commit, session.cache)
    except InvalidInput as unreadable:
        message = f"what this change asks for cannot be told apart: {unreadable.problems()[0]}"
        report.remark("unmarked", message)
        return
    report.parts["since"] = SincePart(revision=revision, commit=commit)
    report.parts["changes"] = _marked(report.parts["changes"], then.some(refs))


def _branched_off(repository: Repository | None, revision: str) -> str:
    """Return the commit that HEAD has in common with a revision; the revision itself where there is none here."""
    if repository is None:
        raise WrongUsage("--mark-since names a revision of git, and there is no repository here; leave it out")
    commit = commit_of(repository, revision)
    if commit is None:
        raise WrongUsage(f"git knows no commit by the name {revision} here; fetch it first (in CI: `fetch-depth: 0`)")
    head = commit_of(repository, "HEAD")
    bases = merge_bases(repository, commit, head) if head else ()
    return bases[0] if bases else commit


def _marked(changes: Sequence[ChangePart], then: Mapping[Ref, Desired]) -> tuple[ChangePart, ...]:
    now = {change.ref: change.declared for change in changes}

    def told(ref: Ref, field: FieldPart) -> Mapping[str, Any]:
        before, after = _asked(then.get(ref), field.key), _asked(now[ref], field.key)
        silent = before is _SILENT or after is _SILENT
        return {"introduced": before is not after if silent else not same(before, after)}

    return with_fields(changes, told)


def _asked(declared: Desired | Declared | None, key: str) -> Json | object:
    """Return what is asked for a key: a value, null (it shall not exist), or nothing at all."""
    if declared is None or matches(key, declared.ignore):
        return _SILENT
    if key in declared.metadata:
        return declared.metadata[key]
    return None if declared.ownership is Ownership.EXCLUSIVE and not declared.released else _SILENT
