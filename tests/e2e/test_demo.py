"""The guided tour: it works anywhere, and touches nothing but its own folder."""

from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest
from scratch import Api, Scratch

from reconciler.cli import demo
from reconciler.errors import ReconcilerError

ELSEWHERE = """\
version: 1
targets:
  production: {{provider: openai, base_url: "{url}", manifests: [manifests], writes: {{thread: replace}}}}
"""


def test_it_touches_no_target_that_the_environment_names(tmp_path):
    api, scratch = Api({"thread/thread_abc123": {"plan": "theirs"}}), Scratch(tmp_path)
    with api.listening() as url:
        config = scratch.write("theirs.yaml", ELSEWHERE.format(url=url))
        scratch.manifest("threads:\n  thread_abc123: {metadata: {plan: gold}}\n")
        named = {"RECONCILER_CONFIG": str(config), "RECONCILER_TARGET": "production"}
        vendor = {"OPENAI_BASE_URL": url, "OPENAI_API_KEY": "sk-test-0123456789abcdef", "AZURE_OPENAI_API_KEY": "k"}
        # That this environment does lead there:
        assert scratch.run("plan", named).code == 0
        assert api.told == ["GET /v1/threads/thread_abc123"]
        api.calls.clear()
        done = scratch.run("demo", {**named, **vendor})
    assert done.code == 0
    assert [line for line in done.err.splitlines() if not line.startswith(("Forecast of an apply: ", "Next"))] == []
    assert api.told == []
    assert "$ reconciler apply plan.json --yes --quiet\nApplied: " in done.out
    assert done.lines[-1].startswith("Nothing to do: ")


class _Desk(BaseHTTPRequestHandler):
    """Answers with a page."""

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<html>")

    def log_message(self, *_):
        """Say nothing."""


def test_an_answer_that_is_none_is_told_in_a_sentence():
    with HTTPServer(("127.0.0.1", 0), _Desk) as server:
        thread = Thread(target=server.handle_request)
        thread.start()
        with pytest.raises(ReconcilerError, match="the demo could not change the thread at http://127"):
            demo._post(f"http://127.0.0.1:{server.server_port}/v1/threads/t")
        thread.join()
    with pytest.raises(ReconcilerError, match="refused"):
        demo._post(f"http://127.0.0.1:{server.server_port}/v1/threads/t")
