"""`reconciler schema`: JSON Schema for editors, and of the JSON document."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from reconciler.cli.options import Options
from reconciler.cli.output import say

if TYPE_CHECKING:
    from pydantic.json_schema import JsonSchemaValue


@click.command()
@click.argument("what", metavar="manifest|settings|document", type=click.Choice(["manifest", "settings", "document"]))
def schema(what: str) -> None:
    """Print the JSON Schema of manifests, of the settings file, or of the JSON document of a run.

    The first two are for editors, in draft 7, which the YAML language server knows completely: it completes, explains
    and checks while you type. A line at its beginning tells a file its schema, by a path relative to the file:
    `# yaml-language-server: $schema=../.schemas/reconciler-manifest.json`. `reconciler init` writes both. What concerns
    several places at once only `reconciler validate` sees.

    The third (draft 2020-12) is for programs that read what `--format json` and `--out json=FILE` give.

    \b
    Example:
      reconciler schema manifest > .schemas/reconciler-manifest.json
      reconciler schema settings > .schemas/reconciler-settings.json
      reconciler schema document > reconciler-document.json
    """
    say(schema_text(what), Options())


def schema_text(what: str) -> str:
    """Return a schema as it is printed and written to files."""
    from reconciler.words import dumped

    return dumped(_schema(what)) + "\n"


def _schema(what: str) -> dict[str, Any]:
    if what == "manifest":
        from reconciler.manifest.jsonschema import manifest_schema

        return manifest_schema()
    if what == "settings":
        from reconciler.settings.jsonschema import settings_schema

        return settings_schema()
    return _document_schema()


# --- the document -----------------------------------------------------------------------------------------------------


def _document_schema() -> JsonSchemaValue:
    """Return the schema of the document as it is written: what belongs to some runs only may be absent."""
    import json

    from reconciler import planfile
    from reconciler.document import Document

    schema = Document.model_json_schema(mode="serialization")
    schema["properties"]["digest"] = {"type": "string", "pattern": "^sha256:[0-9a-f]{64}$", "title": "Digest"}
    schema["required"] = sorted(json.loads(planfile.dumps(Document(kind="plan"))))  # those that are never left out
    for name, part in {**schema["$defs"], "Document": schema}.items():
        for key, field in part.get("properties", {}).items():
            words = WORDS.get(f"{name}.{key}", WORDS.get(key))
            if words is not None:
                field["description"] = words
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "A document of reconciler",
        "description": "What a run saw, planned and did. Within a major version of the format, parts are only added.",
    }


WORDS = {
    "Document.format_version": "The version of this format, major and minor.",
    "Document.tool_version": "The version of reconciler that wrote the document.",
    "Document.kind": "What ran. A rollback is an apply.",
    "Document.target": "Where the run looked.",
    "Document.identity": "What a target must have in common with this one for the plan to be carried out there.",
    "Document.head": "The commit of the work tree; null outside git.",
    "Document.base": "Where the base was read from; null where it is unknown.",
    "Document.summary": "How many resources and fields, by what happens to them.",
    "Document.looked_at": "What the guards hold the plan against.",
    "Document.requests": "Calls made to read, and calls that an apply will make (or made) to write.",
    "Document.changes": "What happens to each resource, sorted by kind and id; what stays as it is only with --all.",
    "Document.left": "Fields that differ and that --only leaves alone.",
    "Document.spared": "Resources with keys that differ and that --only leaves alone.",
    "Document.masked": "Values are hidden, so that the document can be looked at and not carried out.",
    "Document.outcomes": "Of an apply: what became of each change.",
    "Document.learned": "The dialect that each kind turned out to have, where it was not known.",
    "Document.agreeing": "Resources that are as declared and not yet remembered so.",
    "Document.whole": "The run looked at everything that is declared (of its shard).",
    "Document.record": "The commit of the ledger that the base was read from.",
    "Document.released": "Resources that left the manifests; their metadata is untouched.",
    "Document.offline": "Nothing was read: what a revision declares stands for what would be there.",
    "Document.now": "The day (ISO 8601) that accepted drift was held against.",
    "Document.undoes": "The run that a rollback turns back.",
    "Document.since": "The revision against which it is marked what a change under review asks for.",
    "Document.shard": "The part of a run that this is; absent for a whole one.",
    "Document.exit_code": "What the run ended with; absent for 0.",
    "Document.notes": "What to know beside the result.",
    "Document.errors": "What went wrong; any entry means an exit code other than 0.",
    "Document.digest": "The SHA-256 of the document without this field, as ASCII JSON, keys sorted, no spaces.",
    "kind": "The kind of the resource, as in the table of kinds.",
    "id": "The id of the resource; with a parent, parent/child.",
    "commit": "The full name of a commit.",
    "code": "A stable name, for programs.",
    "message": "A sentence, for people.",
    "error": "Why the resource could not be read or written; absent where it could.",
    "keys": "The keys that are meant.",
    "key": "The key of the metadata.",
    "source": "The place in a file that this comes from.",
    "requests": "The calls that this took.",
    "declared": "What the manifest declared, defaults merged in.",
    "AcceptedPart.until": "The last day on which the value is accepted; null: for good.",
    "AcceptedPart.reason": "Why it is accepted.",
    "BaseFieldPart.known": "Whether anything is known of the key.",
    "BaseFieldPart.value": "What was applied last; null for null, for silent, and for unknown.",
    "BasePart.revision": "The ref or revision that the base was read from.",
    "BasePart.commit": "The commit that was applied last.",
    "CauseCounts.pending": "Fields for which git has changed since the last apply.",
    "CauseCounts.drift": "Fields that changed outside git.",
    "CauseCounts.conflict": "Fields that changed both in git and outside it.",
    "CauseCounts.unattributed": "Fields whose base is unknown.",
    "ChangePart.action": "What happens to the resource.",
    "ChangePart.dialect": "How the API is taken to treat an update.",
    "ChangePart.observed": "The metadata that the API answered; null where it did not.",
    "ChangePart.planned": "The metadata that is expected after the call; null where none is.",
    "ChangePart.foreign": "The keys that no manifest owns; they are kept.",
    "ChangePart.fields": "The keys that differ, sorted.",
    "ChangePart.fingerprint": "The SHA-256 of the observed keys that were decided on.",
    "CommitPart.author": "Who wrote it.",
    "CommitPart.date": "When, as an ISO date.",
    "Declared.metadata": "The declared pairs; null for a key that shall not exist.",
    "Declared.ownership": "The keys that are ours.",
    "Declared.ignore": "Globs of keys that are never touched.",
    "Declared.protect": "Whether the manifest blocks removals.",
    "Declared.protected": "Whether removals are blocked, be it by the base.",
    "Declared.released": "Whether the resource left the manifests.",
    "Declared.pruned": "Keys that only the base mentions.",
    "Declared.left": "Keys that --only leaves alone.",
    "FieldPart.op": "What happens to the key.",
    "FieldPart.before": "The observed value; null: absent.",
    "FieldPart.after": "The declared value; null: absent.",
    "FieldPart.cause": "Why the key differs.",
    "FieldPart.blocked": "Why nothing can be written; null where it can.",
    "FieldPart.base": "What the base says of the key.",
    "FieldPart.blame": "The commit that declared the field (--blame).",
    "FieldPart.origin": "The commit that once declared the value that was found.",
    "FieldPart.accepted": "The manifest knows of this drift.",
    "FieldPart.introduced": "The change under review asks for it (--mark-since).",
    "Head.dirty": "Whether manifests or settings differ from the commit.",
    "Head.prefix": "The folder of the settings, below the top of the repository; absent for the top itself.",
    "Identity.organization": "The organisation that calls are made for.",
    "Identity.project": "The project that calls are made for.",
    "Identity.removals": "What is done where a key cannot be removed.",
    "Looked.read": "Resources that were read.",
    "Looked.pairs": "Pairs that were observed on them.",
    "OutcomePart.outcome": "What became of the change.",
    "OutcomePart.lost": "The pairs that the server dropped unasked.",
    "PairCounts.add": "Keys that are added.",
    "PairCounts.replace": "Keys whose value is replaced.",
    "PairCounts.remove": "Keys that are removed.",
    "Place.file": "The file, relative to the settings file.",
    "Place.line": "The line, from 1.",
    "Place.column": "The column, from 1, in code points.",
    "ReleasedPart.commit": "The commit that declared the resource last.",
    "Requests.reads": "Calls that read.",
    "Requests.writes": "Calls that modify.",
    "ShardPart.index": "Which part, from 1.",
    "ShardPart.count": "Of how many parts.",
    "ShardPart.asked": "What the command line asked all parts for.",
    "SincePart.revision": "The revision, as it was said.",
    "SincePart.commit": "The commit that the change under review branched off.",
    "SummaryPart.resources": "Resources that were looked at.",
    "SummaryPart.update": "Resources with something to write.",
    "SummaryPart.keep": "Resources that stay as they are.",
    "SummaryPart.missing": "Declared ids that the API does not know.",
    "SummaryPart.failed": "Resources that could not be read or planned.",
    "SummaryPart.blocked": "Fields that cannot be written.",
    "SummaryPart.released": "Resources that left the manifests.",
    "SummaryPart.pairs": "Fields that differ, by op.",
    "SummaryPart.causes": "Fields that differ, by cause.",
    "TargetPart.name": "The target's name in the settings.",
    "TargetPart.provider": "How the service is addressed.",
    "TargetPart.base_url": "Where the API begins.",
}
"""What each part of the document means, by part and field, or by field alone where it means the same everywhere."""
