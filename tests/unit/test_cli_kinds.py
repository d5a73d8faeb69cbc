"""The table of kinds: the text for a terminal, and all of it as JSON."""

from __future__ import annotations

import dataclasses
import json
from itertools import takewhile

import pytest
from click.testing import CliRunner

from reconciler.cli.kinds import _table, kinds
from reconciler.gateway.providers import listable
from reconciler.kinds import KINDS, Kind

ELSEWHERE = {
    "name": "kind",
    "plural": "section",
    "scalars": "values",
    "filtered": "filter",
    "listed": "listed_at",
    "object": None,
    "not_found": None,
}
"""Parts of a row that JSON calls otherwise, or that are the API's words alone."""


def rows():
    return {row["kind"]: row for row in json.loads(CliRunner().invoke(kinds, ["--format", "json"]).stdout)}


def test_json_has_every_part_of_every_row_that_a_user_needs():
    names = {ELSEWHERE.get(each.name, each.name) for each in dataclasses.fields(Kind)} - {None}
    assert rows().keys() == KINDS.keys()
    for row in rows().values():
        assert row.keys() == names | {"listable"}


def test_json_says_what_the_rows_say():
    found = rows()
    for kind in KINDS.values():
        row = found[kind.name]
        for name in ("required", "nullable", "lags", "retired", "successor", "field", "path", "noun", "confirmed"):
            assert row[name] == getattr(kind, name)
        assert row["headers"] == dict(kind.headers)
        assert (row["parent"] or "", row["prefix"] or "", row["filter"]) == (kind.parent, kind.prefix, kind.filtered)
        assert row["listed_at"] == (None if kind.listed else ["azure-foundry", "emulator"])
    assert found["vector_store_file"]["values"] == ["string", "number", "boolean"]
    assert found["thread"]["values"] == ["string"]
    assert found["thread"]["headers"] == {"OpenAI-Beta": "assistants=v2"}
    assert [name for name, row in found.items() if row["required"]] == [
        "conversation", "chat_completion", "vector_store_file",
    ]  # fmt: skip
    assert [name for name, row in found.items() if not row["nullable"]] == ["vault", "vault_credential", "automation"]


@pytest.mark.parametrize("width", [None, 160, 80, 40])
def test_every_kind_begins_a_line_and_tells_all_at_every_width(width):
    text = _table(width)
    lines = text.split("\n")[1:]
    begun = [line.split()[0] for line in lines if not line.startswith(" ")]
    assert begun == list(KINDS)
    for kind in KINDS.values():
        start = next(number for number, line in enumerate(lines) if line.split()[0] == kind.name)
        own = [lines[start], *takewhile(lambda line: line.startswith(" "), lines[start + 1 :])]
        said = " ".join(" ".join(own).split())
        assert kind.path in said
        assert listable(kind) in said
        assert not kind.retired or f"{kind.retired} → {kind.successor}" in said


def test_at_160_columns_a_kind_is_one_line():
    assert len(_table(160).split("\n")) == len(KINDS) + 1
    assert max(map(len, _table(160).split("\n"))) <= 160
