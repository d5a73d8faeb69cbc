"""One scenario for servers that nobody here wrote, and for the emulator in each dialect: the real command line, git.

A row is a server and how the tool is told about it: by its dialect, or `auto`. What goes over the wire is counted at a
door in front of the server; somebody else's changes go past the tool. `make test-real` runs it.
"""

from __future__ import annotations

import http.client
import json
from collections import Counter
from dataclasses import dataclass

import pytest
from real_servers import PROGRAMS, Program
from scratch import PATIENCE, Scratch
from wire import Wire, opened

from reconciler.kinds import KINDS
from reconciler.model import MAX_KEY, MAX_PAIRS, MAX_VALUE

ROWS = [
    (name, told)
    for name, program in PROGRAMS.items()
    for told in (program.dialect, "auto")
    if (name, told) != ("emulator-merge-empty", "auto")  # that one is never learned, only told
]
_ESCAPED = {ord(char): f"\\u{ord(char):04x}" for char in "\x7f\x85\u2028\u2029\ufeff"}


@dataclass
class Field:
    """A folder with git, whose target is a server behind a door; `told` is the dialect in its settings."""

    scratch: Scratch
    program: Program
    told: str
    port: int
    wire: Wire

    @property
    def kinds(self):
        return self.program.kinds

    @property
    def learned(self):
        """Return what a run that had to find out says, by kind."""
        return dict.fromkeys(self.kinds, self.program.dialect) if self.told == "auto" else {}

    @property
    def lesson(self):
        """Return how many calls it takes to find out: a key that is left out and stays is asked for by null."""
        return int(self.told == "auto" and self.program.dialect != "replace")

    # --- somebody else, past the door -------------------------------------------------------------------------------

    def call(self, method, path, body=None):
        """Make a plain call; returns the status and the object."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            data = None if body is None else json.dumps(body)
            connection.request(method, f"/v1{path}", data, {"content-type": "application/json"})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def create(self, kind, pairs):
        """Create a resource; returns its reference."""
        status, made = self.call("POST", KINDS[kind].collection, {"metadata": pairs})
        assert status == 200, made
        return f"{kind}/{made['id']}"

    def created(self, pairs):
        """Create a resource of each kind with these pairs."""
        return [self.create(kind, pairs) for kind in self.kinds]

    def held(self, ref):
        """Return what is held now."""
        status, found = self.call("GET", _path(ref))
        assert status == 200, found
        return {key: value for key, value in (found.get("metadata") or {}).items() if value is not None}

    def somebody(self, ref, pairs=(), gone=()):
        """Change pairs behind git's back, and remove some where this server can."""
        removed = dict.fromkeys(gone, "" if self.program.dialect == "merge-empty" else None)
        body = {**dict(pairs), **(removed if self.program.removes else {})}
        if self.program.dialect == "replace":
            whole = {**self.held(ref), **body}
            body = {key: value for key, value in whole.items() if value is not None}
        status, answer = self.call("POST", _path(ref), {"metadata": body})
        assert status == 200, answer

    # --- we, through the door ---------------------------------------------------------------------------------------

    def declare(self, resources, defaults=None):
        """Write and commit the one manifest; a resource is its metadata, or all its fields where it names them."""
        sections = {}
        for ref, body in resources.items():
            kind, _, own = ref.partition("/")
            sections.setdefault(KINDS[kind].plural, {})[own] = body if "metadata" in body else {"metadata": body}
        whole = {**({"defaults": defaults} if defaults else {}), **sections}
        # JSON is YAML, except for a few characters that YAML takes for line ends or does not take at all.
        lines = [f"{name}: {json.dumps(body, ensure_ascii=False)}".translate(_ESCAPED) for name, body in whole.items()]
        self.scratch.manifest("\n".join(lines) + "\n")
        self.scratch.commit()

    def run(self, line, code=0):
        """Run a command line; it must end with this code."""
        done = self.scratch.run(line)
        assert done.code == code, f"{line}: {done.code}\n{done.out}\n{done.err}"
        return done

    def apply(self, line="apply --yes", code=0):
        """Apply; returns the document and how many modify calls each resource got."""
        self.wire.taken()
        document = self.run(f"{line} --format json", code).document
        calls = self.wire.taken()
        assert document["requests"]["writes"] == len(calls)
        assert all(len(call.body["metadata"]) <= MAX_PAIRS for call in calls)
        return document, Counter(call.path.removeprefix("/v1") for call in calls)

    def converged(self):
        """See that there is nothing left to do, and that looking writes nothing."""
        assert "Nothing to do" in self.run("plan --detailed-exitcode").out
        assert self.wire.taken() == []


def _path(ref):
    kind, _, own = ref.partition("/")
    return KINDS[kind].path.format(id=own)


def calls_of(refs, each=1):
    """Return the modify calls that are expected: as many for each."""
    return {_path(ref): each for ref in refs}


def outcomes(document):
    return {f"{each['kind']}/{each['id']}": each["outcome"] for each in document["outcomes"]}


def causes(document):
    """Return the cause of each field, by key, the same for all resources."""
    found = {(field["key"], field["cause"]) for change in document["changes"] for field in change["fields"]}
    assert len(found) == len(dict(found)), found
    return dict(found)


@pytest.fixture(params=ROWS, ids=lambda row: f"{row[0]} told {row[1]}")
def field(request, tmp_path, server_of):
    name, told = request.param
    server, wire, scratch = server_of(name), Wire(), Scratch(tmp_path)
    with opened(wire, server.port) as port:
        writes = ", ".join(f"{kind}: {told}" for kind in server.program.kinds)
        scratch.settings(f"http://127.0.0.1:{port}/v1", f"writes: {{{writes}}}")
        yield Field(scratch, server.program, told, server.port, wire)


UNICODE = {
    "caf\u00e9": "composed",
    "cafe\u0301": "decomposed",
    "\U0001f511" * MAX_KEY: "a key as long as may be",
    "long": "\U0001f600" * MAX_VALUE,
    "family": "\U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f1fa\U0001f1f3",
    "right to left": "\u202e\u05e9\u05dc\u05d5\u05dd\u202c \u0645\u0631\u062d\u0628\u0627",
    "lines": "one\ntwo\r\nthree\u0085four\u2028five\ttab",
    "quotes": 'it\'s "quoted" \\ `and` ${that}',
    "markup": "<b>&amp;</b> ::error::x %0A {{y}} # z",
    "spaces": "  around  ",
    "looks": "007",
    "null": "null",
    "yes": "true",
    "control": "\x1b[31m\x01\x7f",
    "plan": "gold",
}
FOREIGN = {"seen": "by nobody \U0001f600"}
assert len(UNICODE) + len(FOREIGN) == MAX_PAIRS


def test_what_is_declared_arrives_byte_for_byte_with_one_call_and_is_then_converged(field):
    moving = field.created({**FOREIGN, "looks": "7"})
    staying = field.created({**FOREIGN, "plan": "gold"})
    field.declare({**dict.fromkeys(moving, UNICODE), **dict.fromkeys(staying, {"plan": "gold"})})
    _, calls = field.apply()
    assert calls == calls_of(moving)
    for ref in moving:
        assert field.held(ref) == {**FOREIGN, **UNICODE}
    for ref in staying:
        assert field.held(ref) == {**FOREIGN, "plan": "gold"}
    field.converged()


def test_drift_is_told_and_adopted_and_an_apply_turned_back(field):
    refs = field.created(FOREIGN)
    declared = {"plan": "gold", "team": "a", "area": "north"}
    field.declare(dict.fromkeys(refs, declared))
    field.apply()
    for ref in refs:
        field.somebody(ref, {"plan": "silver", "extra": "1"}, gone=["area"])
    drifted = {"plan", "area"} if field.program.removes else {"plan"}
    found = field.run("drift --format json", 2).document
    assert causes(found) == dict.fromkeys(drifted, "drift")
    now = field.held(refs[0])
    field.run("adopt --yes")
    field.scratch.commit()
    field.converged()
    assert [field.held(ref) for ref in refs] == [now] * len(refs)

    kept = {key: now[key] for key in declared if key in now}
    field.declare(dict.fromkeys(refs, {**kept, "plan": "lead"}))
    _, calls = field.apply()
    assert calls == calls_of(refs)
    assert [field.held(ref) for ref in refs] == [{**now, "plan": "lead"}] * len(refs)
    _, calls = field.apply("rollback --yes")
    assert calls == calls_of(refs)
    assert [field.held(ref) for ref in refs] == [now] * len(refs)
    assert causes(field.run("plan --detailed-exitcode --format json", 2).document) == {"plan": "pending"}


def test_unknown_ids_are_missing_and_the_known_ones_among_them_applied(field):
    refs = [ref for _ in range(2) for ref in field.created(FOREIGN)]
    lost = [f"{kind}/{KINDS[kind].prefix}0123456789abcdef{number}" for kind in field.kinds for number in range(2)]
    field.declare(dict.fromkeys([*refs, *lost], {"plan": "gold"}))
    document = field.run("plan --format json", 1).document
    assert {f"{each['kind']}/{each['id']}": each["action"] for each in document["changes"]} == {
        **dict.fromkeys(refs, "update"),
        **dict.fromkeys(lost, "missing"),
    }
    document, calls = field.apply(code=4)
    assert outcomes(document) == {**dict.fromkeys(refs, "applied"), **dict.fromkeys(lost, "missing")}
    assert calls == calls_of(refs)
    assert [field.held(ref) for ref in refs] == [{**FOREIGN, "plan": "gold"}] * len(refs)
    assert [field.call("GET", _path(ref))[0] for ref in lost] == [404] * len(lost)


FULL = {f"old {number}": "x" for number in range(MAX_PAIRS)}
OTHERS = {f"new {number}": "y" for number in range(MAX_PAIRS)}
CALLS = {"replace": (1, 1), "merge": (0, 2), "merge-null": (2, 3), "merge-empty": (2, None)}
"""Modify calls for sixteen pairs in the place of sixteen others, where the dialect is told, and where it is not.

Sixteen removals and as many others are too much for one call where both are entries of it. Where nothing can be removed
there is no room, and only who does not know it asks.
"""


def test_sixteen_pairs_give_way_to_sixteen_others_and_a_seventeenth_is_refused_by_us(field):
    full, crowded = field.created(FULL), field.created(FOREIGN)
    field.declare({**dict.fromkeys(full, {**dict.fromkeys(FULL), **OTHERS}), **dict.fromkeys(crowded, OTHERS)})
    document, calls = field.apply(code=4)
    assert {ref: outcomes(document)[ref] for ref in crowded} == dict.fromkeys(crowded, "failed")
    assert [field.held(ref) for ref in crowded] == [FOREIGN] * len(crowded)
    assert [field.held(ref) for ref in full] == [OTHERS if field.program.removes else FULL] * len(full)
    each = CALLS[field.program.dialect][field.told == "auto"]
    assert calls == (calls_of(full, each) if each else {})


def test_a_key_goes_by_null_by_leaving_the_manifest_and_where_ownership_is_exclusive(field):
    told = field.created({**FOREIGN, "old": "x", "left": "y"})
    field.declare(dict.fromkeys(told, {"left": "y", "plan": "silver"}))
    field.apply()
    whole = field.created({**FOREIGN, "plan": "silver", "runtime.host": "a"})
    exclusive = {"ownership": "exclusive", "ignore": ["runtime.*"], "metadata": {"plan": "gold"}}
    field.declare({**dict.fromkeys(told, {"old": None, "plan": "gold"}), **dict.fromkeys(whole, exclusive)})

    removes = field.program.removes
    document, calls = field.apply(code=0 if removes else 4)
    stays = {} if removes else {"old": "x", "left": "y"}
    assert [field.held(ref) for ref in told] == [{**FOREIGN, "plan": "gold", **stays}] * len(told)
    stays = {} if removes else FOREIGN
    assert [field.held(ref) for ref in whole] == [{"plan": "gold", "runtime.host": "a", **stays}] * len(whole)
    assert outcomes(document) == dict.fromkeys([*told, *whole], "applied" if removes else "blocked")
    assert document["learned"] == field.learned
    # One call for each, and of each kind one more in which the first to ask has found out.
    assert calls.total() == len([*told, *whole]) + field.lesson * len(field.kinds)

    for ref in whole:
        field.somebody(ref, {"runtime.host": "b"})
    if removes:
        field.converged()
    else:
        left = field.run("plan --detailed-exitcode --format json", 2).document
        assert causes(left).keys() == {"old", "left", *FOREIGN}


def test_a_saved_plan_writes_what_it_shows_and_leaves_alone_what_moved(field):
    still, moved = field.created(FOREIGN), field.created(FOREIGN)
    field.declare(dict.fromkeys([*still, *moved], {"plan": "gold"}))
    field.run("plan --out json=plan.json --detailed-exitcode", 2)
    for ref in still:
        field.somebody(ref, {"extra": "1"})
    for ref in moved:
        field.somebody(ref, {"plan": "lead"})
    document, calls = field.apply("apply plan.json --yes", 5)
    assert outcomes(document) == {**dict.fromkeys(still, "applied"), **dict.fromkeys(moved, "stale")}
    assert calls == calls_of(still)
    assert [field.held(ref) for ref in still] == [{**FOREIGN, "extra": "1", "plan": "gold"}] * len(still)
    assert [field.held(ref) for ref in moved] == [{**FOREIGN, "plan": "lead"}] * len(moved)
