"""`kill -9` at any moment of an apply: nothing is half written, and the next run knows what may have happened.

The moments are the same each time, and few. `KILLS` says how many there are; `KILLS_SEED` draws others: a number for
those of an earlier run (it is printed), `random` for new ones.
"""

import contextlib
import json
import os
import random
import signal
import time
from pathlib import Path

import pytest
from repositories import REF, Record, git, hook, journal, ledger, tip
from scratch import PATIENCE, Api, finished, staged, until

from reconciler import planfile

KILLS = int(os.environ.get("KILLS", "3"))
SEED = os.environ.get("KILLS_SEED", "4")
if SEED == "random":
    SEED = str(random.SystemRandom().randrange(10**9))
NAMES = [f"thread/thread_{number}" for number in range(6)]
SETTINGS = "parallelism: 2, writes: {thread: merge-null}"
COMMAND = "apply --yes --out json=result.json"


def manifest(generation):
    own = "".join(f"  {name.partition('/')[2]}: {{metadata: {{plan: '{generation}'}}}}\n" for name in NAMES)
    return f"version: 1\nthreads:\n{own}"


def api():
    return Api(
        {name: {"plan": "0", "seen": "1"} for name in NAMES}, {"thread": "merge-null"}, lag={"GET": 0.01, "POST": 0.05}
    )


class Story:
    """A repository whose applies are killed, and what must hold after each death."""

    def __init__(self, stage):
        self.stage, self.folder = stage, stage.scratch.folder
        self.generation = 0
        self.declare()

    def declare(self):
        """Commit a new value for every resource."""
        self.generation += 1
        (self.folder / "manifests/m.yaml").write_text(manifest(self.generation))
        self.stage.scratch.commit()

    def start(self):
        """Start an apply as the first of a group of its own, so that it can be killed with its children."""
        self.stage.api.calls.clear()
        return self.stage.scratch.start(COMMAND, start_new_session=True)

    def wait_for_writes(self, number, process):
        """Wait until so many updates have arrived, or the apply has ended without them."""
        until(lambda: len(self.stage.api.sent("POST")) >= number or process.poll() is not None, "a write")

    def kill(self, process, *, group):
        """End it as a crash does; `group`: its children with it, as a machine that goes down does."""
        (os.killpg if group else os.kill)(process.pid, signal.SIGKILL)
        with process:
            process.communicate()
        # What outlived it (git, a call on its way) comes to its end before anybody looks.
        until(lambda: not self.stage.api._busy and not left_of(process.pid), "the end of what outlived it")
        return process.returncode

    def written(self):
        """Return the resources for which an update has arrived."""
        return {f"thread/{call.path.rpartition('/')[2]}" for call in self.stage.api.sent("POST")}

    def check_whole(self):
        """Assert that there is no half of anything."""
        assert (self.folder / "manifests/m.yaml").read_text() == manifest(self.generation)
        assert sorted(path.name for path in (self.folder / "manifests").iterdir()) == ["m.yaml"]
        for path in journal(self.stage.scratch):
            if not path.name.startswith("."):  # one that was being written has no name yet
                planfile.loads(path.read_text(), path.name)
        result = self.folder / "result.json"
        if result.exists():
            planfile.loads(result.read_text(), "result.json")
        git(self.folder, "fsck", "--strict", "--no-dangling")
        if tip(self.folder):
            assert "applied" in ledger(self.folder).head  # which reads every file of it, as JSON

    def check_known(self, before):
        """Assert that every update that arrived is named by the next run, or recorded since a commit of the ledger."""
        plan = self.stage.run("plan --format json")
        assert plan.code == 0, plan
        told = " ".join(note["message"] for note in plan.document["notes"] if note["code"] == "unfinished")
        recorded = {name for record in since(self.folder, before) for name in record.touched}
        if "and 1 more" in told:  # of six names, five are told; the journal has them all
            told += " ".join(path.read_text() for path in journal(self.stage.scratch)).replace('"id": "', "thread/")
        for name in self.written():
            assert name in told or name in recorded, (name, told)

    def finish(self, before):
        """Assert that running again comes to the same end, and return the runs recorded since `before`."""
        done = self.stage.run(COMMAND)
        assert done.code == 0, done
        assert {self.stage.api.held(name)["plan"] for name in NAMES} == {str(self.generation)}
        assert {self.stage.api.held(name)["seen"] for name in NAMES} == {"1"}
        assert self.stage.run("drift").code == 0
        assert [path for path in journal(self.stage.scratch) if not path.name.startswith(".")] == []
        return {record.run["id"] for record in since(self.folder, before)}


def left_of(group):
    """Return the processes of a group that are still there."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, of = stat.read_text().rpartition(")")[2].split()[:3]
            found += [stat.parent.name] if state != "Z" and int(of) == group else []
    return found


def since(folder, before):
    """Return the runs recorded since the ledger was at a commit."""
    now = tip(folder)
    commits = git(folder, "rev-list", "--no-merges", now, f"^{before}").split() if now else []
    return [Record(folder, commit) for commit in commits]


@pytest.fixture
def story(tmp_path):
    with staged(tmp_path, "threads: {}\n", api(), SETTINGS) as stage:
        stage.scratch.write(".gitignore", "result.json\n")
        yield Story(stage)


def test_kill_9_at_any_moment_of_an_apply_loses_no_knowledge(story):
    chance = random.Random(SEED)
    print(f"KILLS_SEED={SEED}")
    begun = time.monotonic()
    assert finished(story.start()).code == 0
    takes, died = time.monotonic() - begun, []
    for number in range(KILLS):
        story.declare()
        before = tip(story.folder)
        process = story.start()
        # Half of the moments are drawn among those when something is written.
        if chance.random() < 0.5:
            story.wait_for_writes(1, process)
            pause = chance.random() * 0.5 * takes
        else:
            pause = chance.random() * takes
        time.sleep(pause)
        group = chance.random() < 0.5
        code = story.kill(process, group=group)
        print(f"kill {number}: {pause:.3f} s, {'group' if group else 'process'}, ended with {code}")
        left = [path.stem for path in journal(story.stage.scratch) if not path.name.startswith(".")]
        story.check_whole()
        story.check_known(before)
        assert set(left) <= story.finish(before)
        died += left
    told = story.stage.run("history").out
    assert all(run in told for run in died)


def test_git_killed_together_with_an_apply_keeps_no_later_run_from_recording(story):
    assert finished(story.start()).code == 0
    story.declare()
    before = tip(story.folder)
    blow = f'test "$1" = prepared && grep -q {REF} && kill -9 -$(cat "{story.folder.parent}/group"); exit 0'
    path = hook(story.folder, "reference-transaction", blow)
    process = story.start()
    (story.folder.parent / "group").write_text(str(process.pid))
    with process:
        process.communicate(timeout=PATIENCE)
    assert process.returncode == -signal.SIGKILL
    path.unlink()
    assert story.written() == set(NAMES)
    (left,) = journal(story.stage.scratch)
    story.check_known(before)
    assert left.stem in story.finish(before)
    story.check_whole()


def test_a_report_is_the_old_one_or_the_new_one_and_never_half_of_one(story):
    assert finished(story.start()).code == 0
    old = json.loads((story.folder / "result.json").read_text())
    before = tip(story.folder)
    story.declare()
    process = story.start()
    story.wait_for_writes(2, process)
    story.kill(process, group=True)
    assert json.loads((story.folder / "result.json").read_text()) == old
    story.finish(before)
    assert json.loads((story.folder / "result.json").read_text())["digest"] != old["digest"]
