"""The document as SARIF 2.1.0 (OASIS), for code scanning: findings at the lines of the manifests.

GitHub takes only results that have a place, and shows 5,000 of them; what has none, and how many there are beyond, is
told as a notification of the run. Places are relative to the top of the repository (`%SRCROOT%`). Where the repository
is served from the document does not say, so no `versionControlProvenance` is told; the commit is a property of the run.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from reconciler.render.rows import Level, clipped, headline, line, path, rows
from reconciler.words import amount, dumped

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from reconciler.document import Document, Place
    from reconciler.render import Room
    from reconciler.render.rows import Row

MOST = 5000
"""Results that GitHub shows of a run (docs.github.com, limits on SARIF results); it refuses more than 25,000."""
_TOLD = 1000
"""Notifications, at most."""
_LONGEST = 2000
_LONGEST_CODE = 100
_LEVELS = {Level.ERROR: "error", Level.WARNING: "warning", Level.NOTE: "note"}
_ROOT = "%SRCROOT%"
_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"

_RULES: Mapping[str, tuple[Level, str, str]] = {
    "drift": (
        Level.WARNING,
        "Metadata was changed outside git",
        "The value was changed behind git's back. `reconciler apply` sets it back, `reconciler adopt` takes it over.",
    ),
    "conflict": (
        Level.WARNING,
        "Metadata was changed in git and outside it",
        "Both have left what was applied last. Git wins: `reconciler apply` writes what the manifest declares.",
    ),
    "pending": (
        Level.NOTE,
        "A change in git waits to be applied",
        "The manifest asks for something else than what was applied last. `reconciler apply` writes it.",
    ),
    "unattributed": (
        Level.NOTE,
        "Metadata differs, and the base does not say why",
        "Git or somebody outside of it changed it: fetch the ledger to tell which, or name a revision with --base.",
    ),
    "blocked": (
        Level.ERROR,
        "A declared change cannot or must not be written",
        "The API cannot do this, or the manifest protects the resource: change the manifest, or the target's settings.",
    ),
    "missing": (
        Level.ERROR,
        "The API does not know the declared id",
        "Ids cannot be created by reconciler: correct the id, or take the resource out of the manifest.",
    ),
    "stale": (
        Level.ERROR,
        "A resource moved after it was planned",
        "Nothing was written to it. Plan again, look at what is there now, and apply that.",
    ),
    "failed": (
        Level.ERROR,
        "A change was not applied",
        "The API refused the change, or its answer differs from what was written; the message says why.",
    ),
    "not_attempted": (
        Level.ERROR,
        "The run ended before it came to this",
        "Another error ended the run, or somebody interrupted it. Run it again.",
    ),
    "expired": (
        Level.WARNING,
        "The day until which drift was accepted is over",
        "Extend the entry under `accept` in the manifest, adopt the value, or apply what git says.",
    ),
    "timeout": (
        Level.ERROR,
        "The API did not answer in time",
        "Run it again; `parallelism` and `rate` of the target make a run gentler.",
    ),
    "guard_refused": (
        Level.ERROR,
        "A guard refused to apply the plan",
        "The message names the limit that was crossed; --max-changed and --max-removed raise one for a single run.",
    ),
    "not_a_string": (
        Level.ERROR,
        "A value in a manifest is no string",
        "YAML reads it as a number, a boolean or a date, and nothing is converted silently: put it in quotes.",
    ),
    "yaml_syntax": (
        Level.ERROR,
        "A file is no valid YAML",
        "The rest of the file could not be read. Correct what the message names.",
    ),
    "unknown_field": (
        Level.ERROR,
        "A field is not known",
        "It is misspelt, or stands in the wrong place; the message names what was probably meant.",
    ),
    "duplicate_key": (
        Level.ERROR,
        "A key stands twice in one map",
        "Readers of YAML disagree on which of the two counts. Take one of them out.",
    ),
    "duplicate_resource": (
        Level.ERROR,
        "A resource is declared twice",
        "Each resource belongs in one place of one file. Take one of the two out.",
    ),
    "too_many_pairs": (
        Level.ERROR,
        "A resource would have more pairs than its API stores",
        "Take keys out of the manifest, or let others remove theirs.",
    ),
    "secret_like": (
        Level.ERROR,
        "A value looks like a key or a token",
        "Credentials belong neither in metadata nor in settings. Take it out of git, and revoke it.",
    ),
}
"""The rules that are always named: level, title, and what to do about it."""
_OTHER = (
    "The message says what is wrong and what can be done about it; the exit code of the run tells the kind of error."
)


def render(document: Document, _room: Room) -> str:
    """Return one run as JSON of ASCII characters."""
    found = sorted(rows(document, each=True), key=lambda row: (row.level, not (row.field and row.field.introduced)))
    placed = [row for row in found if path(document, row.place)]
    elsewhere = [row for row in found if not path(document, row.place)]
    shown = placed[:MOST]
    rules = _rules(shown)
    return (
        dumped({"$schema": _SCHEMA, "version": "2.1.0", "runs": [_run(document, shown, rules, elsewhere, len(placed))]})
        + "\n"
    )


def _run(
    document: Document, shown: Sequence[Row], rules: Sequence[str], elsewhere: Sequence[Row], total: int
) -> dict[str, Any]:
    ranks = {code: number for number, code in enumerate(rules)}
    driver = {
        "name": "reconciler",
        "version": _text(document.tool_version, 100),
        "rules": [_rule(code) for code in rules],
    }
    return {
        "tool": {"driver": driver},
        "automationDetails": {"id": _category(document), "description": {"text": f"{headline(document)}."}},
        "originalUriBaseIds": {_ROOT: {"description": {"text": "The top of the repository."}}},
        "columnKind": "unicodeCodePoints",
        "invocations": [_invocation(document, elsewhere, total - len(shown))],
        "results": _results(document, shown, ranks),
        "properties": _facts(document),
    }


def _category(document: Document) -> str:
    """Return what tells the runs of one repository apart: GitHub replaces what was uploaded before under the same."""
    shard = f"{document.shard.index}-of-{document.shard.count}/" if document.shard else ""
    return f"reconciler/{document.kind}/{quote(_utf8(document.target.name or '-'), safe='')[:200]}/{shard}"


def _facts(document: Document) -> dict[str, Any]:
    facts = {
        "kind": document.kind,
        "commit": document.head.commit,
        "dirty": document.head.dirty,
        "base": document.base.revision,
        "since": document.since.revision if document.since else None,
        "masked": document.masked or None,
    }
    return {
        name: _text(fact, 200) if isinstance(fact, str) else fact for name, fact in facts.items() if fact is not None
    }


# --- rules ------------------------------------------------------------------------------------------------------------


def _code(row: Row) -> str:
    return row.code[:_LONGEST_CODE]


def _rules(shown: Iterable[Row]) -> list[str]:
    return [*_RULES, *sorted({_code(row) for row in shown} - _RULES.keys())]


def _rule(code: str) -> dict[str, Any]:
    level, title, help_text = _RULES.get(code, (Level.ERROR, f"Error: {code.replace('_', ' ')}", _OTHER))
    return {
        "id": code,
        "name": "".join(word.capitalize() for word in code.split("_")),
        "shortDescription": {"text": f"{title}."},
        "fullDescription": {"text": help_text},
        "help": {"text": help_text},
        "defaultConfiguration": {"level": _LEVELS[level]},
    }


# --- results ----------------------------------------------------------------------------------------------------------


def _results(document: Document, shown: Sequence[Row], ranks: Mapping[str, int]) -> list[dict[str, Any]]:
    results, seen = [], dict[str, int]()
    for row in shown:
        mark = _fingerprint(document, row)
        seen[mark] = seen.get(mark, 0) + 1
        results.append(_result(document, row, ranks, f"{mark}:{seen[mark]}"))
    return results


def _result(document: Document, row: Row, ranks: Mapping[str, int], mark: str) -> dict[str, Any]:
    result: dict[str, Any] = {
        "ruleId": _code(row),
        "ruleIndex": ranks[_code(row)],
        "level": _LEVELS[row.level],
        "message": {"text": _text(row.message)},
        "locations": [_location(document, row)],
        "partialFingerprints": {"reconcilerFinding/v1": mark},
    }
    if row.field is not None:
        result["properties"] = {"op": str(row.field.op), "cause": str(row.field.cause)}
        if document.since is not None:
            result["properties"]["introduced"] = row.field.introduced
    if row.field is not None and row.field.accepted is not None:
        reason = row.field.accepted.reason or "accepted in the manifest"
        result["suppressions"] = [{"kind": "inSource", "justification": _text(reason)}]
    return result


def _location(document: Document, row: Row) -> dict[str, Any]:
    location: dict[str, Any] = {"physicalLocation": _physical(document, row.place)}
    if row.subject:
        location["logicalLocations"] = [{"fullyQualifiedName": _text(row.subject, 300), "kind": "resource"}]
    return location


def _physical(document: Document, place: Place | None) -> dict[str, Any]:
    below = path(document, place)
    assert place is not None and below is not None  # noqa: S101, PT018 - only such rows become results
    region = {"startLine": line(place.line), "startColumn": line(place.column)}
    return {"artifactLocation": {"uri": quote(_utf8(below), safe="/"), "uriBaseId": _ROOT}, "region": region}


_REQUEST = re.compile(r" \(request [^()]*\)")
"""The id of a call to the API, another one each time."""


def _fingerprint(document: Document, row: Row) -> str:
    """Return what stays the same over runs: what it is about, not the line that it stands on nor the values."""
    about = row.subject or f"{path(document, row.place)}\n{_REQUEST.sub('', row.message)}"
    return hashlib.sha256(_utf8("\n".join([row.code, about, row.field.key if row.field else ""]))).hexdigest()[:32]


# --- the run ----------------------------------------------------------------------------------------------------------


def _invocation(document: Document, elsewhere: Sequence[Row], beyond: int) -> dict[str, Any]:
    told = [_notification(_LEVELS[row.level], row.message, row.code) for row in elsewhere]
    told += [_notification("note", note.message, note.code) for note in document.notes if note.code != "expired"]
    more = len(told) - _TOLD
    told = told[:_TOLD]
    if more > 0:
        told.append(_notification("warning", f"{amount(more, 'notification')} more: {_WHOLE}", "left_out"))
    if beyond > 0:
        told.append(
            _notification("warning", f"{amount(beyond, 'result')} left out of {MOST + beyond}: {_WHOLE}", "left_out")
        )
    return {
        "executionSuccessful": not document.errors and document.exit_code in (0, 2),
        "exitCode": document.exit_code,
        "toolExecutionNotifications": told,
    }


_WHOLE = "a JSON document (--out json=FILE) has all of them"


def _notification(level: str, message: str, code: str) -> dict[str, Any]:
    return {"level": level, "message": {"text": _text(message)}, "descriptor": {"id": code[:_LONGEST_CODE]}}


def _text(text: str, longest: int = _LONGEST) -> str:
    """Return a text as plain text in which nothing is a link: SARIF takes `[words](address)` for one."""
    return clipped(text, longest).replace("](", "]\\u0028")


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")
