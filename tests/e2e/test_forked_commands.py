"""A command line of a test is a fork of a process that has loaded the modules: it does what a fresh process does."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from coverage import Coverage
from forking import SWITCH, Nursery, the_nursery
from scratch import PATIENCE, Api, Scratch, finished, staged, until

MANIFEST = "threads:\n  thread_1:\n    metadata: {plan: gold}\n  thread_2:\n    metadata: {plan: größe}\n"
HELD = {"thread/thread_1": {"plan": "tin"}, "thread/thread_2": {"plan": "größe"}}
LINES = [
    "",
    "--version",
    "plan --help",
    "plan --formt json",
    "validate --manifests nowhere",
    "plan",
    "plan --format json --now 2026-01-01T00:00:00Z",
    "-C .. plan",
    "schema manifest",
    "show nothing.json",
]
"""Help, versions, wrong usage, results of every length, and errors."""


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    with staged(tmp_path_factory.mktemp("forked"), MANIFEST, Api(HELD)) as made:
        yield made


@pytest.mark.parametrize("line", LINES)
def test_a_fork_says_and_returns_what_a_fresh_process_does(stage, line):
    assert stage.run(line) == finished(stage.scratch.start(line))


def test_nothing_of_one_run_is_left_in_the_next(stage, tmp_path):
    other = Scratch(tmp_path)
    before = stage.run("plan")
    assert other.run("validate").code == other.run("plan", {"OPENAI_API_KEY": "sk-other", "NO_COLOR": "1"}).code != 0
    assert stage.run("plan") == before


# --- a package that ends in all ways that there are -------------------------------------------------------------------

WAYS = """\
import atexit, json, os, signal, sys, threading, time


def well():
    print("well")


def code():
    sys.exit(3)


def large_code():
    sys.exit(259)


def text():
    sys.exit("went wrong")


def fault():
    raise ValueError("fault")


def interrupted():
    raise KeyboardInterrupt


def killed():
    print("before", flush=True)
    os.kill(os.getpid(), signal.SIGKILL)


def at_once():
    print("lost")
    os._exit(7)


def last_words():
    class Last:
        def __del__(self):
            print("collected")
    first, second = Last(), Last()
    first.other, second.other = second, first
    atexit.register(print, "at the end")
    threading.Thread(target=lambda: (time.sleep(0.05), print("thread"))).start()
    sys.stdout.write("no end of the line, ")


def nobody_reads():
    os.dup2(os.open("/dev/full", os.O_WRONLY), 1)
    print("lost")


def streams():
    told = [[each.encoding, each.errors, each.line_buffering, each.isatty(), each.name, each.fileno()]
            for each in (sys.stdin, sys.stdout, sys.stderr)]
    print(json.dumps([told, sys.stdin.read()]))
    print("to the other", file=sys.stderr)


def surroundings():
    handlers = [str(signal.getsignal(each)) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE, signal.SIGCHLD)]
    print(json.dumps([dict(os.environ), os.getcwd(), sys.argv, sys.orig_argv[1:], sys.path, handlers, __name__,
                      os.getpgrp(), os.getsid(0), sys.flags, gc_threshold(), sorted(os.listdir("/proc/self/fd"))[:3]]))


def gc_threshold():
    import gc
    return gc.get_threshold(), gc.isenabled()


def hang():
    with open("process", "w") as file:
        file.write(f"{os.getpid()}\\n")
    time.sleep(600)
"""
SAME = ["well", "code", "large_code", "text", "killed", "at_once", "last_words", "streams", "surroundings"]
TRACED = {
    "fault": b"ValueError: fault",
    "interrupted": b"KeyboardInterrupt",
    "nobody_reads": b"No space left",
}
MAIN = "import sys\nfrom ending import ways\ngetattr(ways, sys.argv[1])()\n"


class Ending:
    """The package, run by a nursery of its own and by fresh processes."""

    def __init__(self, place, **more):
        self.scratch = Scratch(place)
        for name, text in {"__init__": "", "ways": WAYS, "__main__": MAIN}.items():
            path = place / "library" / "ending" / f"{name}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        environment = self.scratch.environment({"PYTHONPATH": str(place / "library")})
        unmeasured = {name: value for name, value in environment.items() if not name.startswith("COVERAGE_")}
        self.environment = {**unmeasured, **more}
        self.nursery = Nursery(self.environment, "ending")

    def forked(self, *arguments, patience=PATIENCE, **more):
        return self.nursery.run(arguments, self.scratch.folder, {**self.environment, **more}, patience)

    def fresh(self, *arguments, **more):
        done = subprocess.run(
            [sys.executable, "-m", "ending", *arguments], cwd=self.scratch.folder, env={**self.environment, **more},
            stdin=subprocess.DEVNULL, capture_output=True, check=False,
        )  # fmt: skip
        return done.returncode, done.stdout, done.stderr


@pytest.fixture
def ending(tmp_path):
    ending = Ending(tmp_path)
    yield ending
    ending.nursery.close()


def test_a_fork_ends_as_a_fresh_process_does_whatever_way_that_is(ending):
    for way in SAME:
        forked, fresh = (run(way, "größe", MORE="1") for run in (ending.forked, ending.fresh))
        assert forked == fresh, way
    for way, last in TRACED.items():  # a trace names the files between
        forked, fresh = ending.forked(way), ending.fresh(way)
        assert forked[:2] == fresh[:2], way
        assert last in forked[2].splitlines()[-1], way
        assert last in fresh[2].splitlines()[-1], way


def test_a_fork_that_hangs_is_killed(ending):
    with pytest.raises(subprocess.TimeoutExpired):
        ending.forked("hang", patience=0.5)
    number = int(ending.scratch.read("process"))
    until(lambda: not Path(f"/proc/{number}").exists(), "the end of the process")
    assert ending.forked("well") == (0, b"well\n", b"")


def test_forks_run_side_by_side(ending):
    with ThreadPoolExecutor() as pool:
        hanging = pool.submit(ending.forked, "hang", patience=1)
        assert [done[0] for done in pool.map(ending.forked, ["well", "code", "killed", "well"])] == [0, 3, -9, 0]
        assert isinstance(hanging.exception(), subprocess.TimeoutExpired)


def test_an_end_of_the_helper_is_told(ending):
    ending.nursery._process.kill()
    for _ in range(2):
        with pytest.raises(RuntimeError, match="ended with -9"):
            ending.forked("well")
    with pytest.raises(RuntimeError, match="ended with -9"):
        ending.nursery.close()
    ending.nursery = Nursery(ending.environment, "ending")


def test_a_variable_that_acts_when_an_interpreter_starts_needs_a_fresh_process(stage):
    nursery = the_nursery(stage.scratch.environment({}))
    assert nursery is not None
    assert nursery.takes(stage.scratch.environment({"OPENAI_API_KEY": "sk-any", "COLUMNS": "40"}))
    for name in ("PYTHONHASHSEED", "PYTHONIOENCODING", "LC_ALL", "LANG", "TZ"):
        assert not nursery.takes(stage.scratch.environment({name: "1"}))


def test_fresh_processes_can_be_had(stage, monkeypatch):
    monkeypatch.setenv(SWITCH, "1")
    assert the_nursery(stage.scratch.environment({})) is None
    assert stage.run("--version").code == 0


def test_the_lines_and_branches_that_a_fork_runs_are_counted(tmp_path):
    measured = {}
    for kind in ("forked", "fresh"):
        place = tmp_path / kind
        found = Coverage(
            data_file=place / "data", source_dirs=[tmp_path], branch=True, config_file=False, data_suffix=True,
        )  # fmt: skip
        ending = Ending(place, COVERAGE_PROCESS_CONFIG=found.config.serialize())
        try:
            for way in ("well", "code", "last_words", "well"):
                getattr(ending, kind)(way)
        finally:
            ending.nursery.close()
        found.combine()
        data = found.get_data()
        measured[kind] = {Path(name).name: set(data.arcs(name)) for name in data.measured_files()}
    assert sorted(measured["forked"]) == ["__init__.py", "__main__.py", "ways.py"]
    assert measured["forked"] == measured["fresh"]
