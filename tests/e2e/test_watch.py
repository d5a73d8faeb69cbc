"""`watch` as a process of its own: what it does at its interval and at signals, what it shows, whom it tells."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import signal
import socket
import sys
import threading
import time
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from repositories import bare, clone, git, hook, journal, ledger, publish
from scratch import PATIENCE, Answer, Api, Scratch, complaint, finished, staged, until

MANIFEST = "threads:\n  thread_a: {metadata: {plan: gold}}\n  thread_b: {metadata: {plan: gold}}\n"
HELD = {"thread/thread_a": {"plan": "silver"}, "thread/thread_b": {"plan": "gold"}}
KIND = {"thread": "replace"}
REPLACE = "writes: {thread: replace}"
QUICK = "--interval 0.1 --jitter 0"
STAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ "
REFUSED = Answer(401, {"error": {"message": "No.", "type": "invalid_request_error", "param": None, "code": None}})


class Watching:
    """A watch that goes on; a thread reads what it says."""

    def __init__(self, process):
        self.process = process
        self.lines = []
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self):
        for line in self.process.stderr:
            self.lines.append(line.rstrip("\n"))

    @property
    def runs(self):
        """Return the lines of the runs."""
        return [line for line in self.lines if re.match(rf"{STAMP}run \d+", line)]

    def said(self, words, times=1):
        until(lambda: sum(words in line for line in self.lines) >= times, f"{words!r} among {self.lines}")

    def made(self, runs):
        until(lambda: len(self.runs) >= runs, f"{runs} runs")

    @property
    def port(self):
        self.said("status page at")
        return int(re.search(r"status page at http://[^:]+:(\d+)/", self.lines[0])[1])

    def ask(self, path, method="GET", headers=None):
        """Return status, headers and body of a page."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        with contextlib.closing(connection):
            connection.request(method, path, headers=headers or {})
            response = connection.getresponse()
            return response.status, dict(response.headers), response.read().decode()

    def metrics(self):
        """Return the samples of all metrics, by name and labels."""
        status, _, text = self.ask("/metrics")
        assert status == 200
        return {
            (sample.name, *sorted(sample.labels.values())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def metric(self, *name):
        return self.metrics()[name]

    def health(self):
        status, _, text = self.ask("/healthz")
        return status, text

    def send(self, number):
        os.kill(self.process.pid, number)

    def end(self, number=signal.SIGTERM):
        """Send a signal and return the code that it ends with."""
        self.send(number)
        return self.wait()

    def wait(self):
        code = self.process.wait(PATIENCE)
        self._thread.join(PATIENCE)
        assert not any("Traceback" in line for line in self.lines), self.lines
        return code


@contextlib.contextmanager
def watching(scratch, line=QUICK, listen="127.0.0.1:0", env=None):
    with scratch.start(f"watch {line} --listen {listen}", env) as process:
        watch = Watching(process)
        try:
            yield watch
        finally:
            if process.poll() is None:
                process.kill()
            watch._thread.join(PATIENCE)


@contextlib.contextmanager
def stage(place, api=None, manifest=MANIFEST, more=REPLACE, rest="guards: {max_changed: 100%}\n"):
    with staged(place, manifest, api or Api(HELD, KIND), more, rest) as made:
        yield made


@contextlib.contextmanager
def settled(place, **more):
    """Set up a stage in a repository whose manifests were applied."""
    with stage(place, **more) as made:
        made.scratch.commit()
        done = made.run("apply --yes")
        assert done.code == 0, done
        yield made


# --- run after run ----------------------------------------------------------------------------------------------------


def test_it_runs_at_its_interval_and_says_one_line_a_run(tmp_path):
    with settled(tmp_path) as made, watching(made.scratch) as watch:
        watch.made(3)
        assert watch.end() == 0
    assert re.fullmatch(
        rf"{STAMP}watching target test every 0\.1 s, report; status page at http://127\.0\.0\.1:\d+/", watch.lines[0]
    )
    assert all(
        re.fullmatch(rf"{STAMP}run {number}: 2 resources, nothing differs; 2 reads, 0 writes, \d+\.\d\d s", line)
        for number, line in enumerate(watch.lines[1:], 1)
    ), watch.lines
    assert watch.process.stdout.closed or watch.process.stdout.read() == ""


def test_so_many_runs_end_with_the_code_of_the_last(tmp_path):
    with stage(tmp_path) as made:
        done = made.run(f"watch {QUICK} --runs 2 --listen none --out json=r.json")
        assert (done.code, done.out) == (0, "")
        assert json.loads(made.scratch.read("r.json"))["summary"]["update"] == 1
        assert len(made.api.sent("GET")) == 4
        made.scratch.manifest("threads:\n  thread_a: {metadata: {plan: 5}}\n")
        done = made.run(f"watch {QUICK} --runs 1 --listen none --out json=r.json --quiet")
        assert done.code == 3
        assert re.fullmatch(rf"{STAMP}run 1 failed \(3\): manifests/m\.yaml:3:31: .*\n", done.err)
        assert json.loads(made.scratch.read("r.json"))["errors"][0]["code"] == "not_a_string"


def test_a_report_never_writes_and_tells_drift_from_pending(tmp_path):
    with settled(tmp_path) as made:
        made.api.put("thread/thread_b", {"plan": "lead"})
        made.scratch.manifest(MANIFEST.replace("{plan: gold}", "{plan: gold, team: a}", 1))
        before = len(made.api.sent("POST"))
        done = made.run(f"watch {QUICK} --runs 1 --listen none")
        assert "2 resources, 2 fields differ (1 pending, 1 drift)" in done.err
        assert (done.code, len(made.api.sent("POST"))) == (0, before)


def test_a_thread_that_is_deleted_outside_git_is_drift_and_no_failed_run(tmp_path):
    with settled(tmp_path) as made:
        made.api.delete("thread/thread_a")
        assert made.run("drift").code == 2
        with watching(made.scratch) as watch:
            watch.made(1)
            assert "run 1: 2 resources" in watch.runs[0]
            assert watch.health() == (200, "ok\n")
            found = watch.metrics()
            until(lambda: watch.metric("reconciler_drift_age_seconds") > 0, "an age")
            assert found["reconciler_consecutive_failures",] == 0
            made.api.put("thread/thread_a", {"plan": "gold"})
            until(lambda: watch.metric("reconciler_drift_age_seconds") == 0, "no drift")
            assert watch.end() == 0


def test_an_apply_writes_records_and_finds_nothing_to_do_the_next_time(tmp_path):
    with stage(tmp_path) as made:
        commit = made.scratch.commit()
        done = made.run(f"watch {QUICK} --mode apply --runs 2 --listen none")
        assert done.code == 0, done
        assert made.api.held("thread/thread_a") == {"plan": "gold"}
        assert len(made.api.bodies) == 1
        assert ledger(made.scratch.folder).applied == commit
        assert journal(made.scratch) == []
        assert "2 resources, nothing differs" in done.err.splitlines()[-1]


def test_guards_and_old_commits_and_confirm_hold_in_a_watch(tmp_path):
    with stage(tmp_path, rest="guards: {max_changed: 10%, at_least: 1}\n") as made:
        first = made.scratch.commit()
        done = made.run(f"watch {QUICK} --mode apply --runs 1 --listen none")
        assert (done.code, made.api.bodies) == (6, []), done
        assert made.run(f"watch {QUICK} --mode apply --runs 1 --listen none --max-changed 100%").code == 0
        made.scratch.manifest(MANIFEST.replace("gold", "lead"))
        made.scratch.commit()
        assert made.run(f"watch {QUICK} --mode apply --runs 1 --listen none --max-changed 100%").code == 0
        made.scratch.git("checkout", "-q", first)
        done = made.run(f"watch {QUICK} --mode apply --runs 1 --listen none --max-changed 100%")
        assert done.code == 6, done
        assert "is older than" in done.err
        assert made.api.held("thread/thread_a") == {"plan": "lead"}


def test_a_target_with_confirm_is_applied_to_with_yes_alone(tmp_path):
    with stage(tmp_path, more=f"{REPLACE}, confirm: test") as made:
        done = made.run("watch --mode apply --runs 1 --listen none")
        assert (done.code, made.api.calls) == (64, []), done
        assert "(confirm): say --yes" in done.err
        assert made.run("watch --runs 1 --listen none").code == 0
        assert made.run("watch --mode apply --runs 1 --listen none --yes").code == 0
        assert made.api.held("thread/thread_a") == {"plan": "gold"}


def test_confirm_written_while_it_watches_holds_from_the_next_run_on(tmp_path):
    with settled(tmp_path) as made, watching(made.scratch, f"{QUICK} --mode apply") as watch:
        watch.made(1)
        settings = made.scratch.read("reconciler.yaml")
        made.scratch.write("reconciler.yaml", settings.replace("manifests:", "confirm: test, manifests:"))
        watch.said("failed (64): target test asks for a word")
        made.api.put("thread/thread_a", {"plan": "lead"})
        runs = len(watch.runs)
        watch.made(runs + 1)
        assert watch.end() == 0
        assert made.api.held("thread/thread_a") == {"plan": "lead"}


def test_a_default_that_is_changed_meanwhile_moves_no_watch_to_another_target(tmp_path):
    with stage(tmp_path) as made:
        settings = made.scratch.read("reconciler.yaml")
        other = settings.splitlines()[2].replace("  test:", "  other:")
        text = f"{settings}default_target: {{}}\n".replace("targets:\n", f"targets:\n{other}\n")
        made.scratch.write("reconciler.yaml", text.replace("{}", "test"))
        with watching(made.scratch) as watch:
            watch.made(1)
            made.scratch.write("reconciler.yaml", text.replace("{}", "other"))
            watch.made(len(watch.runs) + 3)
            assert json.loads(watch.ask("/document.json")[2])["target"]["name"] == "test"
            assert watch.end() == 0


def test_an_empty_set_of_manifests_is_refused(tmp_path):
    with settled(tmp_path) as made:
        made.scratch.manifest("")
        done = made.run(f"watch {QUICK} --mode apply --runs 1 --listen none --prune")
        assert done.code == 6, done


# --- signals ----------------------------------------------------------------------------------------------------------


def test_a_hangup_makes_a_run_at_once(tmp_path):
    with settled(tmp_path) as made, watching(made.scratch, "--interval 1h") as watch:
        watch.made(1)
        for number in (2, 3):
            watch.send(signal.SIGHUP)
            watch.made(number)
        assert watch.end() == 0


def test_hangups_during_a_run_make_one_more_after_it(tmp_path):
    class Slow(Api):
        go_on = threading.Event()

        def answer(self, call, raw):
            self.waiting = True
            self.go_on.wait(PATIENCE)
            return super().answer(call, raw)

    with stage(tmp_path, api=Slow(HELD, KIND)) as made, watching(made.scratch, "--interval 1h") as watch:
        until(lambda: getattr(made.api, "waiting", False), "the first read")
        for _ in range(5):
            watch.send(signal.SIGHUP)
            time.sleep(0.02)
        made.api.go_on.set()
        watch.made(2)
        # What would be a third run by now has had the time of the first two.
        until(lambda: watch.metric("reconciler_runs_total", "success") == 2, "two runs")
        assert watch.end() == 0
    assert len(watch.runs) == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_a_signal_in_a_wait_ends_it_at_once_with_0(number, tmp_path):
    with stage(tmp_path) as made, watching(made.scratch, "--interval 1h") as watch:
        watch.made(1)
        begun = time.monotonic()
        assert watch.end(number) == 0
        assert time.monotonic() - begun < 10


class Holding(Api):
    """A server that holds every call of a method back until it is told to go on."""

    def __init__(self, method, names):
        super().__init__({f"thread/{name}": {"plan": "silver"} for name in names}, KIND)
        self.go_on = threading.Event()
        self.method = method
        self.arrived = 0

    def answer(self, call, raw):
        if call.method == self.method:
            with self._lock:
                self.arrived += 1
            self.go_on.wait(PATIENCE)
        return super().answer(call, raw)


NAMES = [f"thread_{number}" for number in range(5)]
SEVERAL = "threads:\n" + "".join(f"  {name}: {{metadata: {{plan: gold}}}}\n" for name in NAMES)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)], ids=["SIGTERM", "SIGINT"])
def test_a_signal_during_an_apply_finishes_and_records_what_is_in_flight(number, code, tmp_path):
    with stage(tmp_path, api=Holding("POST", NAMES), manifest=SEVERAL) as made:
        made.scratch.commit()
        line = "--interval 1h --mode apply --parallelism 2 --out json=r.json"
        with watching(made.scratch, line) as watch:
            until(lambda: made.api.arrived == 2, "two writes")
            watch.send(number)
            watch.said("finishing the writes in flight; once more to end at once")
            made.api.go_on.set()
            assert watch.wait() == code, watch.lines
            assert "run 1 cut short: the run was interrupted by" in watch.runs[0]
        written = {f"thread/{name}" for name in NAMES if made.api.held(f"thread/{name}")["plan"] == "gold"}
        assert len(written) == 2
        assert ledger(made.scratch.folder).touched.keys() == written
        outcomes = [each["outcome"] for each in json.loads(made.scratch.read("r.json"))["outcomes"]]
        assert sorted(outcomes) == ["applied"] * 2 + ["not_attempted"] * 3


def test_a_signal_that_cuts_nothing_short_ends_with_0(tmp_path):
    names = NAMES[:1]
    with stage(tmp_path, api=Holding("POST", names), manifest=SEVERAL.splitlines()[0] + "\n  " + names[0] +
               ": {metadata: {plan: gold}}\n") as made:  # fmt: skip
        made.scratch.commit()
        with watching(made.scratch, "--interval 1h --mode apply") as watch:
            until(lambda: made.api.arrived == 1, "the write")
            watch.send(signal.SIGTERM)
            watch.said("finishing the writes in flight")
            made.api.go_on.set()
            assert watch.wait() == 0, watch.lines
        assert "1 applied" in watch.runs[0]
        assert ledger(made.scratch.folder).touched.keys() == {f"thread/{names[0]}"}


def test_a_signal_while_reading_ends_the_run_and_the_watch(tmp_path):
    with stage(tmp_path, api=Holding("GET", NAMES), manifest=SEVERAL) as made:
        with watching(made.scratch, "--interval 1h") as watch:
            until(lambda: made.api.arrived > 0, "a read")
            assert watch.end() == 143
        made.api.go_on.set()


def test_a_terminal_that_is_closed_ends_it(tmp_path):
    scratch = Scratch(tmp_path)
    scratch.manifest(MANIFEST)
    scratch.write("reconciler.yaml", "version: 1\ntargets:\n  test: {provider: emulator, manifests: [manifests]}\n")
    command = [sys.executable, "-m", "reconciler", "-C", str(scratch.folder), "watch", "--listen", "none"]
    child, terminal = pty.fork()
    if not child:
        os.execve(command[0], command, scratch.environment({}))
    shown = b""
    while b"run 1: " not in shown:
        shown += os.read(terminal, 65536)
    assert b"\x1b" not in shown
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


# --- failures ---------------------------------------------------------------------------------------------------------


def test_a_broken_manifest_is_a_failed_run_until_it_is_mended(tmp_path):
    with settled(tmp_path) as made, watching(made.scratch, f"{QUICK} --unhealthy-after 2") as watch:
        watch.made(1)
        assert watch.health() == (200, "ok\n")
        made.scratch.manifest("threads:\n  thread_a: {metadata: {plan: 5}}\n")
        watch.said("failed (3): manifests/m.yaml:3:31: ")
        until(lambda: watch.health()[0] == 503, "503")
        assert watch.health()[1].startswith("stale: the last run that succeeded ended ")
        assert watch.metric("reconciler_consecutive_failures") >= 1
        made.scratch.manifest(MANIFEST)
        watch.send(signal.SIGHUP)
        until(lambda: watch.metric("reconciler_consecutive_failures") == 0, "a good run")
        assert watch.end() == 0


def test_waits_grow_with_failures_and_are_short_again_after_a_good_run(tmp_path):
    with settled(tmp_path) as made, watching(made.scratch, "--interval 0.2 --jitter 0") as watch:
        made.scratch.manifest("nonsense: {}\n")
        watch.said("3 failed in a row; the next run is in 1.6 s")
        assert any("1 failed in a row; the next run is in 0.4 s" in line for line in watch.lines)
        assert any("2 failed in a row; the next run is in 0.8 s" in line for line in watch.lines)
        made.scratch.manifest(MANIFEST)
        runs = len(watch.runs)
        watch.made(runs + 3)
        assert [" failed (3)" in line for line in watch.runs[runs : runs + 3]] == [False] * 3
        assert watch.end() == 0


def test_before_the_first_run_has_ended_it_is_starting(tmp_path):
    with stage(tmp_path, api=Holding("GET", ["thread_a", "thread_b"])) as made, watching(made.scratch) as watch:
        assert watch.health() == (200, "starting\n")
        assert watch.ask("/document.json")[0] == 503
        assert watch.ask("/")[0] == 200
        made.api.go_on.set()
        watch.made(1)
        until(lambda: watch.health() == (200, "ok\n"), "ok")
        assert watch.end() == 0


def test_a_target_that_refuses_us_is_hopeless_until_it_no_longer_does(tmp_path):
    calls = [f"GET /v1/threads/thread_{each}" for each in "ab"]
    api, line = Api(HELD, KIND, dict.fromkeys(calls, [REFUSED])), "--interval 0.2 --unhealthy-after 100000"
    with stage(tmp_path, api=api) as made, watching(made.scratch, line) as watch:
        watch.said("failed (7): ")
        until(lambda: watch.health()[0] == 503, "503")
        assert watch.health()[1].startswith("refused: ")
        made.api._instead = {}
        watch.send(signal.SIGHUP)
        until(lambda: watch.health() == (200, "ok\n"), "ok")
        assert watch.end() == 0


# --- what it shows ----------------------------------------------------------------------------------------------------


def test_metrics_tell_what_happened(tmp_path):
    busy = Answer(503, {"error": {"message": "Later."}}, {"retry-after-ms": "1"})
    again = {"GET /v1/threads/thread_a": [busy, None]}
    with stage(tmp_path, api=Api(HELD, KIND, again)) as made, watching(made.scratch, "--interval 1h") as watch:
        watch.made(1)
        until(lambda: watch.metric("reconciler_runs_total", "success") == 1, "the run")
        found = watch.metrics()
        assert found["reconciler_runs_total", "failure"] == 0
        assert found["reconciler_requests_total", "GET"] == 3
        assert found["reconciler_requests_total", "POST"] == 0
        assert found["reconciler_retries_total", "GET"] == 1
        assert found["reconciler_changes", "unattributed"] == 1
        assert found["reconciler_changes", "drift"] == 0
        assert (found["reconciler_resources",], found["reconciler_converged_resources",]) == (2, 1)
        assert found["reconciler_run_duration_seconds_count",] == 1
        assert time.time() - found["reconciler_last_success_timestamp_seconds",] < 60
        assert found["reconciler_consecutive_failures",] == 0
        assert found["reconciler_info", "0.1.0", "report", "test"] == 1
        assert watch.end() == 0


def test_what_could_not_be_read_is_no_news_of_what_differs(tmp_path):
    with settled(tmp_path) as made, watching(made.scratch, "--interval 0.2 --jitter 0") as watch:
        made.api.put("thread/thread_a", {"plan": "tin"})
        until(lambda: watch.metrics().get(("reconciler_changes", "drift")) == 1, "the drift")
        made.api._instead = {f"GET /v1/threads/thread_{each}": [complaint(400, "No.")] for each in "ab"}
        watch.said(" failed (1): ")
        assert all("differ" not in line for line in watch.lines if " failed (1): " in line)
        assert watch.metrics()["reconciler_changes", "drift"] == 1
        assert watch.end() == 0


def test_whoever_asks_for_metrics_in_a_form_that_is_none_gets_the_plain_one(tmp_path):
    with settled(tmp_path) as made, watching(made.scratch, "--interval 5") as watch:
        watch.made(1)
        assert watch.ask("/metrics", headers={"Accept": "text/plain;version=abc"})[0] == 200
        assert watch.end() == 0


def test_drift_has_an_age_while_it_lasts(tmp_path):
    with settled(tmp_path) as made, watching(made.scratch) as watch:
        watch.made(1)
        assert watch.metric("reconciler_drift_age_seconds") == 0
        made.api.put("thread/thread_a", {"plan": "lead"})
        until(lambda: watch.metric("reconciler_drift_age_seconds") > 0.3, "an age")
        assert watch.metric("reconciler_changes", "drift") == 1
        made.api.put("thread/thread_a", {"plan": "gold"})
        until(lambda: watch.metric("reconciler_drift_age_seconds") == 0, "no drift")
        assert watch.end() == 0


def test_the_pages_are_for_reading_by_this_machine_and_keep_what_is_masked(tmp_path):
    rest = 'mask: ["pl*"]\nguards: {max_changed: 100%}\n'
    with stage(tmp_path, rest=rest) as made, watching(made.scratch, "--interval 1h") as watch:
        watch.made(1)
        status, headers, text = watch.ask("/document.json")
        assert (status, headers["Content-Type"]) == (200, "application/json")
        assert json.loads(text)["changes"][0]["fields"][0]["before"] == "***"
        assert "silver" not in text
        status, headers, page = watch.ask("/")
        assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
        assert "thread_a" in page
        assert "silver" not in page
        for path in ("/", "/document.json", "/healthz", "/metrics", "/nothing"):
            headers = watch.ask(path)[1]
            assert "default-src 'none'" in headers["Content-Security-Policy"], path
            assert headers["X-Content-Type-Options"] == "nosniff"
            assert headers["Cache-Control"] == "no-store"
            assert headers["Server"] == "reconciler"
        assert watch.ask("/healthz", "HEAD")[2] == ""
        for method in ("POST", "PUT", "DELETE", "OPTIONS", "TRACE"):
            status, headers, _ = watch.ask("/", method)
            assert (status, headers["Allow"]) == (405, "GET, HEAD")
        for path in ("/nothing", "/../etc/passwd", "/%2f", "/metrics/"):
            assert watch.ask(path)[0] == 404
        for host in ("evil.example", "evil.example:9464", "127.0.0.1.evil.example", "127.0.0.1@evil.example", ""):
            assert watch.ask("/", headers={"Host": host})[0] == 403
        for host in ("localhost", "localhost:1234", "127.0.0.1", "[::1]:9464"):
            assert watch.ask("/healthz", headers={"Host": host})[0] == 200
        assert watch.end() == 0


def test_callers_that_say_nothing_hold_up_neither_the_work_nor_the_end(tmp_path):
    with settled(tmp_path) as made, watching(made.scratch) as watch, contextlib.ExitStack() as stack:
        watch.made(1)
        for _ in range(40):
            caller = stack.enter_context(socket.create_connection(("127.0.0.1", watch.port)))
            caller.sendall(b"GET / HT")
        runs = len(watch.runs)
        watch.made(runs + 3)
        assert watch.end() == 0


def test_a_port_in_use_is_told_before_the_first_run(tmp_path):
    with stage(tmp_path) as made, socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = made.run(f"watch --listen 127.0.0.1:{taken.getsockname()[1]}")
        assert (done.code, made.api.calls) == (1, []), done
        assert "cannot listen on 127.0.0.1:" in done.err


def test_an_address_that_others_reach_is_warned_of(tmp_path):
    with stage(tmp_path) as made, watching(made.scratch, "--interval 1h", "0.0.0.0:0") as watch:
        watch.made(1)
        assert any("has no password" in line for line in watch.lines)
        assert watch.ask("/healthz", headers={"Host": "reconciler.monitoring.svc"})[0] == 200
        assert watch.end() == 0


# --- git --------------------------------------------------------------------------------------------------------------


def test_a_pull_brings_what_is_to_be_applied(tmp_path):
    remote = bare(tmp_path)
    with stage(tmp_path / "one") as made:
        git(made.scratch.folder, "init", "-q", "-b", "main")
        git(made.scratch.folder, "remote", "add", "origin", f"file://{remote}")
        publish(made.scratch)
        two = clone(remote, tmp_path / "two")
        hook(two.folder, "post-merge", f"touch {tmp_path}/hooked")
        with watching(two, f"{QUICK} --mode apply --pull") as watch:
            until(lambda: made.api.held("thread/thread_a") == {"plan": "gold"}, "the first apply")
            made.scratch.manifest(MANIFEST.replace("gold", "lead"))
            publish(made.scratch)
            until(lambda: made.api.held("thread/thread_a") == {"plan": "lead"}, "what was pushed")
            git(remote, "update-ref", "-d", "refs/heads/main")
            made.api.put("thread/thread_a", {"plan": "drifted"})
            watch.said("failed (1): git pull failed, so that nothing is applied: ")
            until(lambda: "1 drift" in watch.runs[-1], "what was compared all the same")
            assert made.api.held("thread/thread_a") == {"plan": "drifted"}
            assert watch.end() == 0
    assert not (tmp_path / "hooked").exists()


def test_a_pull_outside_of_git_is_wrong_usage(tmp_path):
    with stage(tmp_path) as made:
        assert made.run("watch --pull --runs 1 --listen none").code == 64


# --- who else is at work ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("versioned", [True, False], ids=["git", "no git"])
def test_a_second_watch_on_the_target_is_told(versioned, tmp_path):
    with stage(tmp_path) as made:
        if versioned:
            made.scratch.commit()
        with watching(made.scratch, "--interval 1h") as watch:
            watch.made(1)
            done = made.run("watch --runs 1 --listen none")
            assert done.code == 1
            assert f"a watch (process {watch.process.pid}, --mode report) is at work on target test" in done.err
            assert watch.end() == 0
        assert made.run("watch --runs 1 --listen none").code == 0


def test_an_apply_is_told_of_a_watch_and_refused_while_a_run_of_it_writes(tmp_path):
    with stage(tmp_path, api=Holding("POST", NAMES), manifest=SEVERAL) as made:
        made.scratch.commit()
        with watching(made.scratch, "--interval 1h --mode apply") as watch:
            until(lambda: made.api.arrived > 0, "a write")
            done = made.run("apply --yes")
            assert done.code == 1, done
            assert f"a watch (process {watch.process.pid}, --mode apply) writes to target test just now" in done.out
            assert "Apply incomplete: 5 not attempted, 0 modify calls." in done.out
            made.api.go_on.set()
            watch.made(1)
            done = made.run("apply --yes")
            assert done.code == 0, done
            assert (
                f"a watch (process {watch.process.pid}, --mode apply) is at work on target test" in done.out + done.err
            )
            assert watch.end() == 0


@pytest.mark.parametrize("versioned", [True, False], ids=["git", "no git"])
def test_a_watch_waits_for_an_apply_that_goes_on(versioned, tmp_path):
    with stage(tmp_path, api=Holding("POST", NAMES), manifest=SEVERAL) as made:
        if versioned:
            made.scratch.commit()
        assert made.run("plan").code == 0
        assert not (made.scratch.folder / ".reconciler/test.run.lock").exists()
        with made.scratch.start("apply --yes --quiet") as process:
            until(lambda: made.api.arrived > 0, "a write")
            with watching(made.scratch, f"{QUICK} --mode apply") as watch:
                watch.said("failed (1): an apply is at work on target test; the next run looks again")
                made.api.go_on.set()
                assert finished(process).code == 0
                watch.said("5 resources, nothing differs")
                assert watch.end() == 0


# --- the webhook ------------------------------------------------------------------------------------------------------


class Listener:
    """What a webhook gets; `answers` are the statuses, the last one stays."""

    def __init__(self, *answers):
        self.answers = list(answers) or [204]
        self.got = []
        self.lock = threading.Lock()

    @contextlib.contextmanager
    def listening(self):
        listener = self

        class Desk(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with listener.lock:
                    listener.got.append((self.path, dict(self.headers), body))
                    status = listener.answers.pop(0) if len(listener.answers) > 1 else listener.answers[0]
                self.send_response(status)
                self.send_header("Location", "/elsewhere")
                self.end_headers()

            def log_message(self, *_):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Desk)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/hooks/s3cret?token=t0ken"
        finally:
            server.shutdown()
            thread.join()
            server.server_close()

    @property
    def events(self):
        return [body["event"] for _, _, body in self.got]


def test_the_webhook_is_told_once_when_drift_appears_and_once_when_it_is_gone(tmp_path):
    listener = Listener()
    with settled(tmp_path) as made, listener.listening() as url:
        env = {"HOOK": url, "HTTP_PROXY": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9"}
        with watching(made.scratch, f"{QUICK} --webhook-env HOOK", env=env) as watch:
            watch.made(2)
            assert listener.events == []
            made.api.put("thread/thread_a", {"plan": "lead"})
            until(lambda: len(listener.got) == 1, "an event")
            runs = len(watch.runs)
            watch.made(runs + 3)
            made.scratch.manifest("nonsense: {}\n")
            watch.said("failed (3)")
            made.scratch.manifest(MANIFEST)
            runs = len(watch.runs)
            watch.made(runs + 2)
            assert listener.events == ["drift_appeared"]
            assert watch.end() == 0
        with watching(made.scratch, f"{QUICK} --webhook-env HOOK", env=env) as watch:
            watch.made(2)
            assert listener.events == ["drift_appeared"]  # what was told is known after a restart
            made.api.put("thread/thread_a", {"plan": "gold"})
            until(lambda: len(listener.got) == 2, "another event")
            assert listener.events == ["drift_appeared", "drift_gone"]
            delivered = ("reconciler_webhook_deliveries_total", "success")
            until(lambda: watch.metrics().get(delivered) == 1, "the count, which comes after the delivery")
            assert watch.end() == 0
        path, headers, body = listener.got[0]
        assert path == "/hooks/s3cret?token=t0ken"
        assert "authorization" not in {name.lower() for name in headers}
        assert body["target"] == "test"
        assert body["causes"] == {"pending": 0, "drift": 1, "conflict": 0, "unattributed": 0}
        assert body["resources"] == ["thread/thread_a"]
        assert body["head"]["commit"] == made.scratch.git("rev-parse", "HEAD")
        assert body["base"]["revision"] == "refs/reconciler/test"
        assert re.fullmatch(STAMP.strip(), body["time"])
        assert "lead" not in json.dumps(body)
    assert not any("s3cret" in line or "t0ken" in line for line in watch.lines)


@pytest.mark.parametrize(("answer", "calls"), [(500, 3), (302, 1), (404, 1)])
def test_an_event_that_does_not_get_through_is_sent_again_after_the_next_run(answer, calls, tmp_path):
    listener = Listener(*[answer] * calls, 200)
    with settled(tmp_path) as made, listener.listening() as url:
        made.api.put("thread/thread_a", {"plan": "lead"})
        with watching(made.scratch, f"{QUICK} --webhook-env HOOK", env={"HOOK": url}) as watch:
            until(lambda: len(listener.got) == calls + 1, "the event")
            watch.said(f"the webhook could not be told: it answers with {answer}")
            runs = len(watch.runs)
            watch.made(runs + 2)
            assert listener.events == ["drift_appeared"] * (calls + 1)
            assert {path for path, _, _ in listener.got} == {"/hooks/s3cret?token=t0ken"}
            assert watch.end() == 0
    assert not any("s3cret" in line or "t0ken" in line for line in watch.lines)


@pytest.mark.parametrize(
    ("variable", "url", "told"),
    [
        ("HOOK", None, "is not set"),
        ("HOOK", "http://hooks.example/s3cret", "use https"),
        ("HOOK", "ftp://hooks.example/s3cret", "no URL"),
        ("HOOK", "https://hooks.example/s3cret\nx", "no URL"),
        ("HOOK", "https://user:s3cret@hooks.example/", "a user or a password"),
        ("HOOK", "https://other.example/s3cret", "RECONCILER_ALLOWED_HOSTS"),
        ("https://hooks.example/s3cret", "x", "not the name of a variable"),
    ],
)
def test_a_webhook_that_must_not_be_used_is_wrong_usage_and_its_url_is_not_repeated(variable, url, told, tmp_path):
    env = {"RECONCILER_ALLOWED_HOSTS": "127.0.0.1,hooks.example"} | ({} if url is None else {"HOOK": url})
    with stage(tmp_path) as made:
        done = made.run(f"watch --runs 1 --listen none --webhook-env {variable}", env)
        assert (done.code, made.api.calls) == (64, []), done
        assert told in done.err
        assert "s3cret" not in done.err


# --- for long ---------------------------------------------------------------------------------------------------------


def test_memory_does_not_grow_with_runs(tmp_path):
    def resident(pid):
        return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text(encoding="ascii"))[1])

    if not Path("/proc/self/status").exists():
        pytest.skip("there is no /proc here")
    scratch = Scratch(tmp_path)
    scratch.manifest(MANIFEST)
    scratch.write("reconciler.yaml", "version: 1\ntargets:\n  test: {provider: emulator, manifests: [manifests]}\n")
    with watching(scratch, "--interval 0.05 --jitter 0") as watch:
        watch.made(20)
        before = resident(watch.process.pid)
        watch.made(100)
        assert resident(watch.process.pid) < before + 4096
        assert watch.end() == 0
