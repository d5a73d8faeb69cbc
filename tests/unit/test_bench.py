"""The benchmarks measure what they say, and their section of the README is made of what was measured."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from bench.__main__ import README, RESULTS, ROOT, main
from bench.corpus import declared, manifest, observed, spread, thread_id, write_manifests
from bench.processes import OF_BENCH, Counts, Failed, Spent, serving, spent
from bench.report import Line, as_text, figures_of, kept, line, lines, machine, section, with_section
from bench.runner import Figures, run
from bench.server import Exchange, Threads
from bench.stage import TOOL, Setting, stage
from bench.table import (
    Benchmark,
    Contender,
    Reading,
    Row,
    Sizes,
    at_least,
    at_most,
    below,
    constant,
    peak,
    table,
    wall,
    within,
)

from reconciler.manifest import load, read_manifest

pytestmark = pytest.mark.skipif(not hasattr(os, "waitid"), reason="processes are measured where os.waitid is known")

PATIENCE = 30.0
TINY = Sizes(
    few=5,
    some=20,
    base=30,
    many=40,
    edited=4,
    official=10,
    latency=0.01,
    in_flight=(2, 4, 8),
    patient=4,
    parallelism=3,
)
BENCHMARKS = table(TINY)
FEW = Setting(2)
NOTHING = Contender("nothing", ("-c", "pass"), FEW)
QUICK = Benchmark(
    "quick",
    2,
    (NOTHING,),
    (Row("kept", "`nothing`, peak", peak("nothing"), "MiB", target=below(9999, "9999 MiB")),),
)


def plan(on, *options):
    """Return the document of a plan."""
    return json.loads(spent([*TOOL, "plan", "--format", "json", *options], folder=on.folder, env=on.env).out)


def is_gone(process):
    """Tell whether nobody has this number."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    return Path(f"/proc/{process}/stat").exists() and " Z " in Path(f"/proc/{process}/stat").read_text()


# --- the benchmarks themselves ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("benchmark", BENCHMARKS, ids=lambda one: one.name)
def test_every_benchmark_runs_and_has_a_figure_for_each_of_its_rows(benchmark):
    quick = replace(benchmark, contenders=tuple(replace(one, times=1) for one in benchmark.contenders))
    figures = run(quick, 1, has={}.get)
    assert list(figures) == [row.key for row in benchmark.rows]
    for row in benchmark.rows:
        lacks = "official" in row.contenders
        assert len(figures[row.key].values) == (0 if lacks else 1)
        assert figures[row.key].left_out == ("openai is not installed" if lacks else "")
        assert line(row, figures[row.key]).what == row.what


def test_the_official_client_does_what_it_is_measured_at():
    pytest.importorskip("openai")
    (planning,) = (one for one in BENCHMARKS if one.name == "plan")
    official = replace(
        planning,
        contenders=tuple(one for one in planning.contenders if one.name == "official"),
        rows=(Row("official", "it", wall("official"), "s"),),
    )
    assert run(official, 1)["official"].values[0] > 0


def test_names_are_unique_and_rows_take_samples_of_their_own_benchmark_only():
    assert len({one.name for one in BENCHMARKS}) == len(BENCHMARKS)
    for benchmark in BENCHMARKS:
        names = [one.name for one in benchmark.contenders]
        keys = [row.key for row in benchmark.rows]
        assert len(set(names)) == len(names)
        assert len(set(keys)) == len(keys)
        assert all(row.contenders <= set(names) for row in benchmark.rows)


def test_contenders_take_turns():
    taken = []
    noting = Reading(("a", "b"), lambda *samples: taken.append(samples) or 1.0)
    two = (replace(NOTHING, name="a"), replace(NOTHING, name="b", times=3))
    figures = run(Benchmark("turns", 1, two, (Row("row", "it", noting, "s"),)), 2)
    assert figures["row"] == Figures(values=[1.0, 1.0])
    assert len({sample.wall for samples in taken for sample in samples}) == 4


def test_a_contender_that_makes_other_calls_than_it_was_to_is_not_measured():
    idle = replace(NOTHING, calls=(2, 0))
    with pytest.raises(Failed, match=re.escape("nothing: (0, 0) reads and writes in place of (2, 0)")):
        run(replace(QUICK, contenders=(idle,)), 1)


@pytest.mark.parametrize(("cache", "seen"), [("emptied", [0, 0]), ("kept", [0, 1]), ("restored", [0, 0])])
def test_the_cache_is_what_a_contender_asks_for(cache, seen):
    counting = (
        "import os, pathlib; folder = pathlib.Path(os.environ['XDG_CACHE_HOME']); "
        "assert (found := len(list(folder.iterdir()))) == {found}, found; (folder / 'x').touch()"
    )
    both = tuple(
        Contender(f"{index}", ("-c", counting.replace("{found}", f"{found}")), FEW, cache=cache)
        for index, found in enumerate(seen)
    )
    run(Benchmark("cache", 1, both, ()), 1)


# --- the corpus -------------------------------------------------------------------------------------------------------


def test_the_corpus_is_read_as_it_was_meant(tmp_path):
    write_manifests(tmp_path, 25, per_file=10)
    read = load([tmp_path], root=tmp_path)
    assert read.files == ("threads-0000.yaml", "threads-0001.yaml", "threads-0002.yaml")
    assert {resource.ref.id: dict(resource.metadata) for resource in read.resources} == {
        thread_id(number): observed(number, changed=False) for number in range(25)
    }


def test_files_that_hold_what_they_should_are_left_alone(tmp_path):
    write_manifests(tmp_path, 30, per_file=10)
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in tmp_path.iterdir()}
    time.sleep(0.02)
    write_manifests(tmp_path, 30, per_file=10, edited=frozenset([12]))
    differing = [
        path.name for path, (at, data) in before.items() if (path.stat().st_mtime_ns, path.read_bytes()) != (at, data)
    ]
    assert differing == ["threads-0001.yaml"]
    (one,) = (
        each
        for each in read_manifest(manifest(range(13), frozenset([12])).encode(), "m").resources
        if each.ref.id == thread_id(12)
    )
    assert one.metadata["stage"] == declared(12)["stage"] + " edited"


def test_edits_are_spread_over_all_files():
    assert spread(10, 100_000) == frozenset(range(0, 100_000, 10_000))
    assert len({number // 1000 for number in spread(10, 100_000)}) == 10


def test_a_plan_of_the_corpus_reads_everything_and_keeps_it(tmp_path):
    with stage(Setting(12, per_file=5), tmp_path / "stage") as on:
        planned = plan(on)
        assert planned["summary"]["keep"] == planned["summary"]["resources"] == 12
        assert planned["head"]["dirty"] is False
        assert (on.server.counts().reads, on.server.counts().writes) == (12, 0)
    assert not (tmp_path / "stage").exists()


def test_threads_that_differ_at_the_server_are_what_a_plan_changes(tmp_path):
    with stage(Setting(12, per_file=5, changed=3), tmp_path / "stage") as on:
        summary = plan(on)["summary"]
    assert (summary["update"], summary["keep"]) == (3, 9)


def test_edited_threads_are_what_was_changed_since_the_commit(tmp_path):
    with stage(Setting(20, per_file=5, edited=4), tmp_path / "stage") as on:
        planned = plan(on, "--changed-since", "HEAD")
        assert planned["head"]["dirty"] is True
    assert [change["id"] for change in planned["changes"]] == sorted(thread_id(number) for number in spread(4, 20))
    assert planned["summary"]["update"] == 4


# --- the server -------------------------------------------------------------------------------------------------------


class Wire(asyncio.Transport):
    """A transport that keeps what is written."""

    def __init__(self):
        super().__init__()
        self.written = []

    def write(self, data):
        self.written.append(bytes(data))


def asked(threads, *pieces):
    """Return the status lines and bodies of the answers to what arrives in these pieces."""
    exchange, wire = Exchange(threads, 0.0), Wire()
    exchange.connection_made(wire)
    for piece in pieces:
        exchange.data_received(piece)
    parted = [answer.split(b"\r\n\r\n", 1) for answer in wire.written]
    return [(head.split(b"\r\n")[0].decode(), json.loads(body)) for head, body in parted]


def get(name):
    return f"GET /v1/threads/{name} HTTP/1.1\r\nHost: x\r\n\r\n".encode()


def post(name, metadata):
    body = json.dumps({"metadata": metadata}).encode()
    return f"POST /v1/threads/{name} HTTP/1.1\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body


def test_the_server_answers_and_counts_what_it_was_asked():
    threads = Threads(2, 1)
    answers = asked(
        threads,
        get(thread_id(0)),
        get(thread_id(1)),
        get("thread_unknown"),
        post(thread_id(0), {"stage": "test", "more": "1"}),
        b"GET /counts HTTP/1.1\r\n\r\n",
    )
    assert [status for status, _ in answers] == ["HTTP/1.1 200 OK"] * 2 + ["HTTP/1.1 404 Not Found"] + [
        "HTTP/1.1 200 OK"
    ] * 2
    bodies = [body for _, body in answers]
    assert bodies[0]["metadata"] == observed(0, changed=True) != observed(0, changed=False)
    assert bodies[1]["metadata"] == observed(1, changed=False)
    assert bodies[3]["metadata"] == {**observed(0, changed=False), "more": "1"}
    assert (bodies[4]["reads"], bodies[4]["writes"]) == (3, 1)
    assert asked(threads, get(thread_id(0)))[0][1]["metadata"] == bodies[3]["metadata"]


def test_a_write_to_an_unknown_thread_makes_none():
    assert [status for status, _ in asked(Threads(1, 0), post("thread_x", {}), get("thread_x"))] == [
        "HTTP/1.1 404 Not Found"
    ] * 2


def test_requests_may_arrive_in_pieces_and_several_at_a_time():
    sent = post(thread_id(0), {"a": "1"}) + get(thread_id(0)) + get(thread_id(1))
    whole = asked(Threads(2, 0), sent)
    assert len(whole) == 3
    assert asked(Threads(2, 0), *(sent[at : at + 1] for at in range(len(sent)))) == whole


def test_the_server_waits_before_each_answer(tmp_path):
    with serving(1, 0, 0.2, tmp_path) as server:
        begun = time.monotonic()
        assert replace(server.counts(), cpu=0.0) == Counts(0, 0, 0.0)
        assert time.monotonic() - begun >= 0.2


def test_the_server_does_without_uvloop():
    code = (
        "import runpy, sys; sys.modules['uvloop'] = None; sys.argv = ['server', '2', '0', '0']; "
        "runpy.run_module('bench.server', run_name='__main__')"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], env=OF_BENCH, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        port = process.stdout.readline().strip()
        job = ["-m", "bench.rivals", "read", port, "2", "1"]
        assert float(spent(job, folder=ROOT, env=OF_BENCH).out) > 0
        process.stdin.close()
        assert process.wait(PATIENCE) == 0


def test_a_server_that_does_not_start_says_why(tmp_path):
    with pytest.raises(Failed, match=r"(?s)did not start: .*ValueError"), serving("many", 0, 0, tmp_path):
        pytest.fail("it started")


# --- processes --------------------------------------------------------------------------------------------------------


def test_a_process_is_measured_from_outside(tmp_path):
    code = "import time; held = bytearray(80_000_000); sum(range(4_000_000)); time.sleep(0.2); print('done')"
    # From a process of its own: on Linux a peak counts what a process was before it became another program, and that
    # is a copy of whoever started it.
    measuring = (
        "import json, sys; from dataclasses import asdict; from pathlib import Path; "
        "from bench.processes import spent; "
        "print(json.dumps(asdict(spent(['-c', sys.argv[1]], folder=Path(sys.argv[2]), env={}))))"
    )
    tests = Path(__file__).parent.parent
    done = subprocess.run(
        [sys.executable, "-c", measuring, code, str(tmp_path)],
        env={"PYTHONPATH": str(tests)}, capture_output=True, text=True, check=True, timeout=PATIENCE,
    )  # fmt: skip
    took = Spent(**json.loads(done.stdout))
    assert took.out == "done\n"
    assert took.wall > 0.2
    assert took.cpu > 0
    assert 76 < took.peak < 160


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("import sys; sys.exit('because')", "ended with 1 after .* s: because"),
        ("print('said'); exit(3)", "with 3 .*: said"),
    ],
    ids=["on standard error", "on standard output"],
)
def test_a_process_that_fails_is_no_measurement(tmp_path, code, told):
    with pytest.raises(Failed, match=told):
        spent(["-c", code], folder=tmp_path, env={})


HANGS = """\
import os, pathlib, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
pathlib.Path("started.part").write_text(f"{os.getpid()} {child.pid}")
pathlib.Path("started.part").rename("started")
time.sleep(600)
"""


def test_a_process_that_hangs_is_ended_with_all_that_it_started(tmp_path):
    with pytest.raises(Failed, match="ended with -9"):
        spent(["-c", HANGS], folder=tmp_path, env={}, limit=2.0)
    started = [int(word) for word in (tmp_path / "started").read_text().split()]
    until(lambda: all(map(is_gone, started)))


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_nothing_outlives_an_interruption(tmp_path, sent):
    (tmp_path / "hangs.py").write_text(HANGS)
    code = (
        "import pathlib; from bench.__main__ import heed_signals; from bench.processes import serving, spent\n"
        "heed_signals(); here = pathlib.Path('.').absolute()\n"
        "with serving(1, 0, 0, here) as server:\n"
        "    pathlib.Path('port').write_text(str(server.port))\n"
        "    spent(['hangs.py'], folder=here, env={})\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, env=OF_BENCH, stderr=subprocess.PIPE) as process:
        until((tmp_path / "started").exists)
        process.send_signal(sent)
        _, told = process.communicate(timeout=PATIENCE)
    assert (process.returncode, told) == (128 + sent, b"")
    started = [int(word) for word in (tmp_path / "started").read_text().split()]
    until(lambda: all(map(is_gone, started)))
    port = (tmp_path / "port").read_text()
    with pytest.raises(Failed, match="Cannot connect"):
        spent(["-m", "bench.rivals", "read", port, "1", "1"], folder=ROOT, env=OF_BENCH)


def until(happened):
    """Wait until something has happened."""
    deadline = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


# --- what is told -----------------------------------------------------------------------------------------------------

ROW = Row("row", "`it`", wall("a"), "s", "the other", wall("b"), at_most(2))


def test_a_row_tells_medians_and_the_median_of_the_ratios_of_its_rounds():
    told = line(ROW, Figures([1.0, 9.0, 3.0], [1.0, 3.0, 2.0]))
    assert told == Line("`it`", "3.00 s", "the other", "2.00 s", "1.50 (1.00 to 3.00)", "at most 2", met=True)
    assert told.cells() == "| `it` | 3.00 s | 2.00 s, the other | 1.50 (1.00 to 3.00) | at most 2 | met |"
    assert told.text() == "it: 3.00 s; the other: 2.00 s; ratio 1.50 (1.00 to 3.00) [at most 2: MET]"


def test_a_figure_beside_nothing_is_beyond_every_ratio():
    assert (
        line(ROW, Figures([3.0], [0.0])).cells()
        == "| `it` | 3.00 s | 0.000 s, the other | inf (inf to inf) | at most 2 | **missed** |"
    )


def test_a_missed_target_is_told():
    told = line(ROW, Figures([3.0], [1.0]))
    assert told.cells().endswith("| at most 2 | **missed** |")
    assert told.text().endswith("[at most 2: MISSED]")


def test_a_row_without_a_target_or_another_figure_has_none():
    alone = line(Row("row", "`it`", wall("a"), "/s"), Figures([1234.5]))
    assert alone.cells() == "| `it` | 1,234/s |  |  |  |  |"
    assert alone.text() == "it: 1,234/s"
    beside = line(replace(ROW, target=None), Figures([1.0], [4.0]))
    assert (beside.ratio, beside.target, beside.met) == ("0.25 (0.25 to 0.25)", "", None)


def test_a_row_that_was_not_measured_says_why_and_neither_meets_nor_misses():
    told = line(ROW, Figures(left_out="openai is not installed"))
    assert told.cells() == "| `it` | not measured | openai is not installed |  | at most 2 |  |"


@pytest.mark.parametrize(
    ("target", "met", "missed"),
    [
        (at_most(2), [0.1, 2.0], [2.01]),
        (at_least(5), [5.0, 9.0], [4.9]),
        (within(0.2), [0.8, 1.0, 1.2], [0.79, 1.21]),
    ],
    ids=["at most", "at least", "within"],
)
def test_a_ratio_is_held_against_its_bounds(target, met, missed):
    judged = {figure: line(replace(ROW, target=target), Figures([figure], [1.0])).met for figure in met + missed}
    assert judged == dict.fromkeys(met, True) | dict.fromkeys(missed, False)


def test_a_figure_is_held_against_its_bound_whatever_its_ratio():
    row = replace(ROW, unit="ms", target=below(0.12, "120 ms"))
    assert line(row, Figures([0.119], [0.01])).met
    assert not line(row, Figures([0.121], [10.0])).met
    assert line(row, Figures([0.119], [0.01])).value == "119 ms"


def test_what_nobody_measures_is_a_figure_too():
    assert constant(10.0).of_round({}) == 10.0


@pytest.mark.parametrize(
    ("value", "unit", "told"),
    [
        (0.0000123, "µs", "12.3 µs"),
        (5.0 / 1024, "KiB", "5.00 KiB"),
        (-0.02, "s", "-0.020 s"),
        (0.0004, "s", "0.000 s"),
        (150.4, "MiB", "150 MiB"),
        (12345.6, "/s", "12,346/s"),
    ],
)
def test_figures_have_three_digits_that_matter(value, unit, told):
    assert line(Row("row", "it", wall("a"), unit), Figures([value])).value == told


def test_what_is_kept_is_what_was_measured():
    figures = {"a": {"one": Figures([1.23456789, 2.0], [0.001]), "two": Figures(left_out="no such thing")}}
    results = json.loads(as_text(kept(figures, {"processor": "x"}, "2026-11-22")))
    assert results["day"] == "2026-11-22"
    assert figures_of(results) == {"a": {"one": Figures([1.2346, 2.0], [0.001]), "two": figures["a"]["two"]}}


def test_the_machine_is_named_without_a_name_of_its_own():
    told = machine()
    assert {"processor", "cores", "memory", "kernel", "git", "pydantic", "ruamel.yaml.clib"} <= told.keys()
    assert all(told.values())
    assert os.uname().nodename not in told.values()


# --- the README -------------------------------------------------------------------------------------------------------


def test_the_section_of_the_readme_is_made_of_the_figures_that_were_kept():
    results = json.loads((ROOT / RESULTS).read_text(encoding="utf-8"))
    readme = (ROOT / README).read_text(encoding="utf-8")
    assert section(table(Sizes()), results) in readme, "PYTHONPATH=tests python -m bench --render"
    assert (ROOT / RESULTS).read_text(encoding="utf-8") == as_text(results)


def test_the_kept_figures_are_those_of_the_benchmarks():
    results = json.loads((ROOT / RESULTS).read_text(encoding="utf-8"))
    assert {name: list(rows) for name, rows in results["figures"].items()} == {
        one.name: [row.key for row in one.rows] for one in table(Sizes())
    }


def test_the_section_replaces_the_one_before_it_and_nothing_else():
    results = kept({"quick": {"kept": Figures([12.0])}}, {"processor": "x", "git": "2"}, "2026-11-22")
    new = section([QUICK], results)
    assert "on 2026-11-22" in new
    assert "in 1 round;" in new
    assert "Machine: x, git 2." in new
    assert "| `nothing`, peak | 12.0 MiB |  |  | under 9999 MiB | met |" in new
    once = with_section("# A\n\n<!-- bench:begin -->\nold\n<!-- bench:end -->\n\n# B\n", new)
    assert once == f"# A\n\n{new}\n\n# B\n"
    assert with_section(once, new) == once


def test_the_rounds_are_told_from_the_fewest_to_the_most():
    row = QUICK.rows[0]
    two = replace(QUICK, rows=(row, replace(row, key="more")))
    figures = {"kept": Figures([1.0] * 3), "more": Figures([1.0] * 15)}
    assert "in 3 to 15 rounds;" in section([two], kept({"quick": figures}, {}, ""))
    figures["more"] = figures["kept"]
    assert "in 3 rounds;" in section([two], kept({"quick": figures}, {}, ""))


@pytest.mark.parametrize(
    "readme",
    [
        "",
        "<!-- bench:begin -->",
        "<!-- bench:end -->",
        "<!-- bench:end --><!-- bench:begin -->",
        "<!-- bench:begin --><!-- bench:end -->" * 2,
    ],
)
def test_a_readme_without_one_place_for_it_is_left_alone(readme):
    with pytest.raises(ValueError, match="no place"):
        with_section(readme, "new")


# --- the command ------------------------------------------------------------------------------------------------------


@pytest.fixture
def root(tmp_path):
    (tmp_path / RESULTS).parent.mkdir(parents=True)
    (tmp_path / README).write_text("# A\n<!-- bench:begin -->\n<!-- bench:end -->\n", encoding="utf-8")
    return tmp_path


def test_a_whole_run_writes_the_figures_and_the_section(root, capsys):
    assert main([], [QUICK], root) == 0
    results = json.loads((root / RESULTS).read_text())
    assert len(results["figures"]["quick"]["kept"]["values"]) == 2
    readme = (root / README).read_text(encoding="utf-8")
    assert section([QUICK], results) in readme
    assert "quick: 2 rounds" in capsys.readouterr().out
    (root / README).write_text("<!-- bench:begin -->by hand<!-- bench:end -->")
    assert main(["--render"], [QUICK], root) == 0
    assert (root / README).read_text(encoding="utf-8") == section([QUICK], results)


def test_a_part_is_told_and_not_written(root, capsys, monkeypatch):
    monkeypatch.setenv("BENCH_ROUNDS", "1")
    before = (root / README).read_bytes()
    assert main(["quick"], [QUICK, replace(QUICK, name="other")], root) == 0
    told = capsys.readouterr().out
    assert "quick: 1 rounds" in told
    assert "other" not in told
    assert (root / README).read_bytes() == before
    assert not (root / RESULTS).exists()


def test_a_look_with_fewer_rounds_is_not_written(root, capsys, monkeypatch):
    monkeypatch.setenv("BENCH_ROUNDS", "1")
    assert main([], [QUICK], root) == 0
    assert "Nothing was written" in capsys.readouterr().out
    assert not (root / RESULTS).exists()


def test_a_missed_target_is_written_told_and_ends_with_1(root, capsys):
    row = replace(QUICK.rows[0], target=below(1, "1 MiB"))
    assert main([], [replace(QUICK, rows=(row,))], root) == 1
    assert "MISSED: nothing, peak" in capsys.readouterr().out
    assert "**missed**" in (root / README).read_text(encoding="utf-8")


def test_what_fails_does_not_keep_the_others_from_being_measured_but_nothing_is_written(root, capsys):
    broken = replace(QUICK, name="broken", contenders=(replace(NOTHING, command=("-c", "exit(3)")),))
    before = (root / README).read_bytes()
    assert main([], [broken, QUICK], root) == 1
    told = capsys.readouterr().out
    assert "broken: FAILED: -c exit(3) ended with 3" in told
    assert "quick: 2 rounds" in told
    assert "Nothing was written" in told
    assert (root / README).read_bytes() == before


def test_a_name_that_no_benchmark_has_is_refused_before_anything_runs(root, capsys):
    assert main(["quick,slow"], [QUICK], root) == 2
    assert capsys.readouterr().out == "No such benchmark: slow; there are quick.\n"


def test_a_readme_without_a_place_is_seen_before_all_the_work(root):
    (root / README).write_text("# A\n")
    with pytest.raises(ValueError, match="no place"):
        main([], [replace(QUICK, contenders=(replace(NOTHING, command=("-c", "exit(3)")),))], root)


def test_the_lines_are_those_of_all_benchmarks_in_their_order():
    both = [QUICK, replace(QUICK, name="other")]
    told = lines(both, {"other": {"kept": Figures([2.0])}, "quick": {"kept": Figures([1.0])}})
    assert [each.value for each in told] == ["1.00 MiB", "2.00 MiB"]
