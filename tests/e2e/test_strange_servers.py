"""Servers that nobody here wrote: an apply converges, or says truthfully what is wrong, and ends with the right code.

A row stands in for what such servers are known to do: ids that are UUIDs, another base path, dates as text, a field
that is missing or misnamed, errors of every shape. Each holds two threads, of which one is to be changed, and is asked
for a third that it does not know.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import threading
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any

import pytest
from scratch import SETTINGS, Scratch, _Server

from reconciler.cli import main

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

HELD = {"plan": "silver", "old": "x", "seen": "bot"}
WANTED = {"plan": "gold", "seen": "bot"}
LOST = "lost"
NO_RETRY = {"x-should-retry": "false"}


@dataclass(frozen=True)
class Reply:
    """An answer: bytes are sent as they are, text as UTF-8, everything else as JSON."""

    status: int = 200
    body: Any = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    chunked: bool = False

    @property
    def raw(self) -> bytes:
        """Return the body as it is sent."""
        text = self.body if isinstance(self.body, str | bytes) else json.dumps(self.body)
        return text.encode() if isinstance(text, str) else text


def usual(own, pairs):
    """Return a thread as the vendor shows it."""
    return {"id": own, "object": "thread", "created_at": 1, "metadata": pairs, "tool_resources": None}


def shown(**others):
    """Return what shows a thread with other fields than usual; those that are `...` are left out."""

    def thread(own, pairs):
        fields = {**usual(own, pairs), **{name: of(pairs) if callable(of) else of for name, of in others.items()}}
        return {name: value for name, value in fields.items() if value is not ...}

    return thread


def said(reply):
    """Return what answers a write so, whatever was written."""
    return lambda *_: reply


@dataclass(frozen=True)
class Strange:
    """A row: how a server holds, shows and refuses, and what is to come of it.

    `outcome` is that of the thread to be changed, `lost` that of the unknown id; `words` are somewhere in what is said.
    """

    changing: str = "thread_1"
    kept: str = "thread_2"
    base: str = "/v1"
    writes: str = "replace"
    stores_null: bool = False
    strict: bool = False
    """Whether null is refused."""
    deaf: bool = False
    """Whether a write changes nothing."""
    empty: Any = field(default_factory=dict)
    """What stands for an empty map."""
    read: Callable[[str, Any], Any] = usual
    written: Callable[[str, Any], Any] | None = None
    wrap: Callable[[Reply], Reply] = lambda reply: reply
    unknown: Reply = field(default_factory=lambda: Reply(404, {"detail": "Thread not found"}))
    finds: Callable[[str], str] = lambda own: own
    """The id under which an id of the path is looked for."""
    outcome: str = "applied"
    lost: str = "missing"
    code: int = 4
    learned: str | None = "replace"
    words: str = ""
    told: str = "auto"


class Desk:
    """The server of a row: holds threads, and remembers the calls."""

    def __init__(self, row: Strange) -> None:
        self.row = row
        self.held = {row.finds(row.changing): dict(HELD), row.finds(row.kept): {}}
        self.calls: list[tuple[str, str, Any]] = []
        self._lock = threading.Lock()

    def answer(self, method: str, path: str, raw: bytes) -> Reply:
        """Answer a call."""
        with self._lock:
            body = json.loads(raw) if raw else None
            self.calls.append((method, path, body))
            own = path.removeprefix(f"{self.row.base}/threads/")
            if method == "POST":
                return self.row.wrap(self._write(own, body))
            found = self.held.get(self.row.finds(own))
            return self.row.wrap(self.row.unknown if found is None else self._as_reply(self.row.read, own))

    def _as_reply(self, show: Callable[[str, Any], Any], own: str) -> Reply:
        answer = show(self.row.finds(own), self.held[self.row.finds(own)] or self.row.empty)
        return answer if isinstance(answer, Reply) else Reply(200, answer)

    def _write(self, own: str, body: Any) -> Reply:
        sent = (body or {}).get("metadata")
        if self.row.strict and None in (sent or {}).values():
            place = ["body", "metadata", next(key for key, value in sent.items() if value is None)]
            return Reply(422, {"detail": [{"loc": place, "msg": "none is not an allowed value", "type": "type_error"}]})
        if not self.row.deaf:
            # Without the field the whole map is wiped, and an unknown id creates a thread: as some servers do.
            before = {} if self.row.writes == "replace" else self.held.get(self.row.finds(own), {})
            pairs = {**before, **(sent or {})}
            nulls = {} if self.row.stores_null else {key for key, value in pairs.items() if value is None}
            self.held[self.row.finds(own)] = {key: value for key, value in pairs.items() if key not in nulls}
        return self._as_reply(self.row.written or self.row.read, own)


@contextlib.contextmanager
def listening(desk: Desk):
    """Listen on loopback; gives the base URL."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        timeout = 10

        def _respond(self) -> None:
            raw = self.rfile.read(int(self.headers.get("content-length", "0")))
            reply = desk.answer(self.command, self.path, raw)
            self.send_response(reply.status)
            for name, value in {"content-type": "application/json", **NO_RETRY, **reply.headers}.items():
                self.send_header(name, value)
            if reply.chunked:
                self.send_header("transfer-encoding", "chunked")
            elif reply.status != 204:
                self.send_header("content-length", str(len(reply.raw)))
            self.end_headers()
            self.wfile.write(_chunks(reply.raw) if reply.chunked else reply.raw)

        do_GET = do_POST = _respond  # noqa: N815 - the names are those that http.server looks for

        def log_message(self, *_: object) -> None:
            """Keep the calls out of the test's own output."""

    server = _Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}{desk.row.base}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _chunks(raw: bytes) -> bytes:
    pieces = [raw[start : start + 7] for start in range(0, len(raw), 7)]
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in [*pieces, b""])


@dataclass(frozen=True)
class Ran:
    """What a command line said in this process."""

    code: int
    out: str
    err: str


@pytest.fixture
def run(tmp_path, capsys, monkeypatch):
    """Give a function that runs a command line in this process, which is quicker, and does not wait."""
    monkeypatch.setattr("reconciler.gateway.client.backoff", lambda *_: 0.0)
    monkeypatch.setattr("reconciler.engine.writing.LOOKS", (0.0, 0.0))

    def ran(line):
        monkeypatch.chdir(tmp_path / "work")
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(line.split())
        return Ran(ended.value.code or 0, *capsys.readouterr())

    return ran


UUID = "7c9e6679-7425-40de-944b-e07fc1f90ae7"
OTHER = "16fd2706-8baf-433b-82eb-8c7fada847da"
FIRST_OF_MANY = {"detail": [{"loc": ["path", "thread_id"], "msg": "value is not a valid uuid", "type": "uuid_parsing"}]}
"""FastAPI's list of validation errors."""


def text(status, words, kind="text/plain; charset=utf-8"):
    return Reply(status, words, {"content-type": kind})


# What holds for all of them: the thread is changed with the foreign pair kept, the unknown id missing, the code 4.
CONVERGING = {
    "ids are UUIDs, the base path another, the date ISO text": Strange(
        UUID, OTHER, "/api/v1", read=shown(created_at="2026-11-22T10:00:00.123456+00:00")
    ),
    "ids without a prefix": Strange("65f1c0ffee0123456789abcd", "t-9"),
    "upper case UUIDs come back in lower case": Strange(UUID.upper(), OTHER.upper(), finds=str.lower),
    "the date in milliseconds": Strange(read=shown(created_at=1795403574123)),
    "no date, no object, more fields": Strange(
        read=shown(created_at=None, object=..., values={}, extra=[{"a": [1]}], error=None)
    ),
    "null is stored as a value": Strange(writes="merge", stores_null=True, learned="merge-null"),
    "null removes": Strange(writes="merge", learned="merge-null"),
    "null is refused with a list of faults": Strange(writes="merge", strict=True, learned="merge", outcome="blocked"),
    "an empty map is null": Strange(empty=None),
    "the answer to a write lacks the field": Strange(written=shown(metadata=...)),
    "the answer to a write has null in its place": Strange(written=shown(metadata=None)),
    "the answer to a write has an empty map in its place": Strange(written=shown(metadata=lambda _: {})),
    "the answer to a write calls it meta_data": Strange(written=shown(metadata=..., meta_data=dict)),
    "the answer to a write calls it metadata_": Strange(written=shown(metadata=..., metadata_=dict)),
    "the answer to a write has it as text": Strange(written=shown(metadata=json.dumps)),
    "the answer to a write wraps the object": Strange(written=lambda own, pairs: {"data": usual(own, pairs)}),
    "the answer to a write is another object": Strange(written=lambda _, pairs: usual("thread_9", pairs)),
    "the answer to a write says that it worked": Strange(written=lambda *_: {"success": True}),
    "the answer to a write is a list": Strange(written=lambda *_: [1]),
    "a write is answered with 201": Strange(written=lambda own, pairs: Reply(201, usual(own, pairs))),
    "a write is answered with 202 and a word": Strange(written=said(text(202, "Accepted"))),
    "a write is answered with 204 and nothing": Strange(written=said(Reply(204))),
    "a write is answered with a page": Strange(written=said(text(200, "<html><title>ok</title></html>", "text/html"))),
    "a write is answered with an error and 200, and happened": Strange(written=lambda *_: {"error": "slow database"}),
    "a write is answered with 500, and happened": Strange(
        written=said(Reply(500, {"detail": "commit timed out"})), learned=None
    ),
    "JSON is called text": Strange(wrap=lambda reply: replace(reply, headers={"content-type": "text/plain"})),
    "no content type": Strange(wrap=lambda reply: replace(reply, headers={"content-type": ""})),
    "a byte order mark and blanks": Strange(
        wrap=lambda reply: replace(reply, body=b"\xef\xbb\xbf \r\n" + reply.raw + b"\n\n")
    ),
    "answers come in chunks": Strange(wrap=lambda reply: replace(reply, chunked=True)),
    "answers are compressed unasked": Strange(
        wrap=lambda reply: replace(reply, body=gzip.compress(reply.raw), headers={"content-encoding": "gzip"})
    ),
    "unknown ids: detail with the id": Strange(unknown=Reply(404, {"detail": "Thread lost not found."})),
    "unknown ids: detail is an object": Strange(
        unknown=Reply(404, {"detail": {"message": "thread not found", "code": "resource_not_found"}})
    ),
    "unknown ids: the type of the error is one of not found": Strange(
        unknown=Reply(404, {"error": {"code": "resource_not_found", "message": "thread lost not found"}})
    ),
    "unknown ids: plain text": Strange(unknown=text(404, "Thread not found")),
    "unknown ids: the words of a database": Strange(unknown=text(404, "no rows returned by a query")),
    "unknown ids: a page": Strange(unknown=text(404, "<html><title>404</title></html>", "text/html")),
    "unknown ids: nothing at all": Strange(unknown=Reply(404)),
    "unknown ids: the words of the router": Strange(unknown=Reply(404, {"detail": "Not Found"})),
    "unknown ids: an error as text": Strange(unknown=Reply(404, {"error": "not found"})),
    "unknown ids: 410": Strange(unknown=Reply(410, {"message": "gone"})),
}

# What cannot be done is said, with the words of the server where it has any, and the thread is as it was.
TRUTHFUL = {
    "unknown ids: null and 200": Strange(unknown=Reply(200, None), lost="failed", words="JSON, but no object"),
    "unknown ids: an error and 200": Strange(
        unknown=Reply(200, {"error": {"message": "no such thread"}}), lost="failed", words="no such thread"
    ),
    "unknown ids: detail and 200": Strange(
        unknown=Reply(200, {"detail": "Thread not found"}), lost="failed", words="Thread not found"
    ),
    "unknown ids: detail and 200, where the dialect is told": Strange(
        unknown=Reply(200, {"detail": "Thread not found"}),
        writes="merge",
        told="merge-null",
        learned=None,
        lost="failed",
        words="Thread not found",
    ),
    "unknown ids: a code in the body and 200": Strange(
        unknown=Reply(200, {"code": 404, "msg": "thread not found", "data": None}),
        lost="failed",
        words="thread not found",
    ),
    "unknown ids: 422 and a list": Strange(
        unknown=Reply(422, FIRST_OF_MANY), lost="failed", words="path.thread_id: value is not a valid uuid"
    ),
    "unknown ids: 400 and text": Strange(
        unknown=Reply(400, {"error": "badly formed hexadecimal UUID string"}), lost="failed", words="badly formed"
    ),
    "unknown ids: 500 and a list": Strange(
        unknown=Reply(500, FIRST_OF_MANY), lost="failed", words="path.thread_id: value is not a valid uuid"
    ),
    "unknown ids: 500 and text": Strange(
        unknown=text(500, "Internal Server Error"), lost="failed", words="500: Internal Server Error"
    ),
    "unknown ids: 307 to a slash": Strange(
        unknown=Reply(307, b"", {"location": "/v1/threads/lost/"}), lost="failed", words="redirects (307)"
    ),
}
REFUSED = {
    "the field is missing when read": Strange(read=shown(metadata=...), words="the answer has no metadata"),
    "the field is misnamed when read": Strange(
        read=shown(metadata=..., metadata_=dict), words="holds pairs in `metadata_`"
    ),
    "the field is misnamed beside null when read, and the dialect told": Strange(
        read=shown(metadata=None, meta_data=dict), told="merge-null", words="holds pairs in `meta_data`"
    ),
    "an error with the id is read, and the dialect told": Strange(
        read=lambda own, _: {"id": own, "error": {"message": "busy"}}, told="merge", words="its status: busy"
    ),
    "a deleted object is read, and the dialect told": Strange(
        read=lambda own, _: {"id": own, "object": "thread.deleted", "deleted": True},
        told="merge",
        words="says that the thread is deleted",
    ),
    "a write is answered with an empty map and did nothing, and the dialect told": Strange(
        deaf=True, written=shown(metadata=None), told="merge-null", words="differs from what was planned"
    ),
    "the field is text when read": Strange(read=shown(metadata=json.dumps), words="`metadata` that is no object"),
    "the field is a list when read": Strange(
        read=shown(metadata=lambda pairs: list(pairs.items())), words="`metadata` that is no object"
    ),
    "the object is wrapped when read": Strange(
        read=lambda own, pairs: {"data": usual(own, pairs)}, words="neither `id` nor `metadata`"
    ),
    "the object is wrapped when read, and the dialect told": Strange(
        read=lambda own, pairs: {"data": usual(own, pairs)}, told="merge-null", words="neither `id` nor `metadata`"
    ),
    "a proxy answers a write with the old object": Strange(deaf=True, words="differs from what was planned"),
    "a write is answered with an error and 200": Strange(
        deaf=True, written=lambda *_: {"error": "read-only replica"}, words="differs from what was planned"
    ),
    "a write is refused as text": Strange(deaf=True, written=said(text(400, "no such key")), words="400: no such key"),
    "a write is refused with a list": Strange(
        deaf=True,
        written=said(Reply(422, {"detail": [{"loc": ["body", "metadata", 0], "msg": "field required"}]})),
        words="422: body.metadata.0: field required",
    ),
    "a write is not implemented": Strange(
        deaf=True, written=said(Reply(501, {"detail": "Not implemented"})), words="501: Not implemented"
    ),
    "a write fails with a list": Strange(deaf=True, written=said(Reply(500, FIRST_OF_MANY)), words="not a valid uuid"),
    "a write is redirected to a slash": Strange(
        deaf=True, written=said(Reply(307, b"", {"location": "/v1/threads/thread_1/"})), words="redirects (307)"
    ),
    "only PATCH may write": Strange(
        deaf=True, written=said(Reply(405, {"detail": "Method Not Allowed"})), code=7, words="405, method not allowed"
    ),
    "a key is wanted, as detail": Strange(
        read=lambda *_: Reply(401, {"detail": "Not authenticated"}), code=7, words="Not authenticated"
    ),
    "a key is wanted, as text": Strange(read=lambda *_: text(403, "forbidden by policy"), code=7, words="by policy"),
    "no thread is served": Strange(
        read=lambda *_: Reply(404, {"detail": "Not Found"}), unknown=Reply(404, {"detail": "Not Found"}), code=7,
        words="does not serve threads",
    ),
}  # fmt: skip
"""Nothing is written: neither the thread that is to be changed nor any other."""


def rows(*tables):
    """Give the names of the rows of some tables as the cases of a test."""
    return pytest.mark.parametrize("name", [name for table in tables for name in table])


def prepared(tmp_path, row, url):
    scratch = Scratch(tmp_path)
    own = json.dumps({"plan": "gold", "old": None})
    scratch.manifest(
        f"threads:\n  {row.changing}: {{metadata: {own}}}\n  {row.kept}: {{}}\n  {LOST}: {{metadata: {{plan: gold}}}}\n"
    )
    scratch.write("reconciler.yaml", SETTINGS.format(url=url, more=f", writes: {{thread: {row.told}}}", rest=""))


def told(done):
    """Return the document, and everything that it says of errors as one text."""
    document = json.loads(done.out)
    errors = [each["message"] for each in document["errors"]]
    errors += [each["error"]["message"] for each in document["outcomes"] if each["error"]]
    return document, "\n".join([*errors, done.err])


def outcomes(document):
    return {each["id"]: each["outcome"] for each in document["outcomes"]}


def check_calls(desk):
    """See that every write has the field, and that none goes to an id which the server does not know."""
    writes = [(path, body) for method, path, body in desk.calls if method == "POST"]
    assert {path for path, _ in writes} <= {f"{desk.row.base}/threads/{desk.row.changing}"}
    assert all(list(body) == ["metadata"] and body["metadata"] for _, body in writes), writes
    assert desk.row.finds(LOST) not in desk.held


def without_nulls(pairs):
    return {key: value for key, value in pairs.items() if value is not None}


@rows(CONVERGING, TRUTHFUL)
def test_a_strange_server_converges_and_what_it_does_not_know_is_told(name, tmp_path, run):
    row = {**CONVERGING, **TRUTHFUL}[name]
    desk = Desk(row)
    with listening(desk) as url:
        prepared(tmp_path, row, url)
        done = run("apply --yes --format json")
        document, words = told(done)
        left = run(f"plan --detailed-exitcode --select thread/{row.changing} --select thread/{row.kept}")
    check_calls(desk)
    assert done.code == row.code, words
    assert outcomes(document) == {row.changing: row.outcome, LOST: row.lost}, words
    assert row.words in words
    removed = row.outcome == "applied"
    wanted = WANTED if removed else {**WANTED, "old": "x"}
    assert without_nulls(desk.held[row.finds(row.changing)]) == wanted
    assert document["learned"] == ({"thread": row.learned} if row.learned else {})
    assert left.code == (0 if removed else 2), left


@rows(REFUSED)
def test_what_a_strange_server_does_not_let_us_do_is_told_and_changes_nothing(name, tmp_path, run):
    row = REFUSED[name]
    desk = Desk(row)
    with listening(desk) as url:
        prepared(tmp_path, row, url)
        done = run("apply --yes --format json")
        document, words = told(done)
    check_calls(desk)
    assert done.code == row.code, words
    assert row.words in words
    assert desk.held[row.finds(row.changing)] == HELD
    assert "applied" not in outcomes(document).values()
    assert "Traceback" not in done.err
