"""What a person at a terminal meets: the question, the progress, the colours."""

import re
import signal
from functools import partial

import pytest
from scratch import PATIENCE, Api, staged

MANIFEST = """\
threads:
  thread_1:
    metadata: {plan: gold, old: null}
  thread_2:
    metadata: {plan: gold}
"""
HELD = {"thread/thread_1": {"plan": "silver", "old": "x"}, "thread/thread_2": {"plan": "gold"}}
COLOUR = re.compile(r"\x1b\[[0-9;]+m")


@pytest.fixture
def stage(tmp_path):
    with staged(tmp_path, MANIFEST, Api(HELD, {"thread": "replace"}), "writes: {thread: replace}") as stage:
        yield stage


def test_yes_applies_what_was_shown(stage):
    done = stage.scratch.at_terminal("apply --out json=a.json", "yes")
    assert done.code == 0, done
    assert stage.api.held("thread/thread_1") == {"plan": "gold"}
    assert "+0 ~1 -1" in done.out
    question = next(line for line in done.err.splitlines() if "Type yes" in line)
    assert re.search(r"1 modify call\b", question), "one call is no calls"
    assert "target test" in question
    assert re.search(r"1 removal|removals?\b[^,.]*\b1\b", question)
    assert "Type yes" not in done.out
    assert "1 applied" in done.lines[-1]


@pytest.mark.parametrize("answer", ["no", "y"])
def test_anything_else_writes_nothing(answer, stage):
    done = stage.scratch.at_terminal("apply --out json=a.json", answer)
    assert done.code == 1, done
    assert stage.api.bodies == []
    document = stage.scratch.read("a.json")
    assert '"consent_refused"' in document
    assert '"not_attempted"' in document


def test_the_plan_is_shown_beside_the_question_where_the_result_is_json(stage):
    done = stage.scratch.at_terminal("apply --format json", "yes")
    assert done.code == 0
    assert done.outcomes() == {"thread/thread_1": "applied"}
    assert "thread/thread_1" in done.err
    assert done.err.index("thread/thread_1") < done.err.index("Type yes")


def test_nobody_is_asked_where_there_is_nothing_to_do(stage):
    done = stage.scratch.at_terminal("apply --select thread/thread_2")
    assert done.code == 0
    assert "Type yes" not in done.err
    assert len(done.lines) == 1


def test_nobody_is_asked_where_a_guard_refuses(tmp_path):
    manifest = "threads:\n" + "".join(f"  thread_{at}: {{metadata: {{a: b}}}}\n" for at in range(10))
    with staged(tmp_path, manifest, Api({f"thread/thread_{at}": {"a": "x"} for at in range(10)})) as stage:
        done = stage.scratch.at_terminal("apply")
    assert done.code == 6
    assert "Type yes" not in done.err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["SIGINT", "SIGTERM"])
def test_a_signal_at_the_question_writes_nothing_but_the_document(number, code, stage):
    done = stage.scratch.at_terminal("apply --out json=a.json", number)
    assert done.code == code, done
    assert stage.api.bodies == []
    assert '"not_attempted"' in stage.scratch.read("a.json")


# --- progress ---------------------------------------------------------------------------------------------------------


def test_progress_shows_on_standard_error_at_a_terminal(stage):
    done = stage.scratch.at_terminal("plan")
    assert "Reading" in done.err
    assert "Reading" not in done.out


@pytest.mark.parametrize("flag", ["--quiet", "--verbose"])
def test_progress_does_not_show_where_it_is_not_wanted(flag, stage):
    assert "Reading" not in stage.scratch.at_terminal(f"plan {flag}").err


def test_progress_does_not_show_without_a_terminal(stage):
    assert "Reading" not in stage.run("plan").err


# --- colours ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flag", "env", "terminal", "coloured"),
    [
        ("", {}, True, True),
        ("", {}, False, False),
        ("", {"NO_COLOR": "1"}, True, False),
        ("--color never", {}, True, False),
        ("--color always", {}, False, True),
        ("--color always", {"NO_COLOR": "1"}, False, True),
        ("--format json --color always", {}, True, False),
    ],
)
def test_colours_show_at_a_terminal_or_where_they_are_asked_for(flag, env, terminal, coloured, tmp_path):
    with staged(tmp_path, "threads:\n  thread_1: {a: b}\n", Api()) as stage:
        runner = partial(stage.scratch.at_terminal, out=True) if terminal else stage.scratch.run
        done = runner(f"validate {flag}", env=env)
    assert done.code == 3
    assert bool(COLOUR.search(done.out)) is coloured


def test_a_reader_that_went_away_is_no_reason_for_a_trace(stage):
    process = stage.scratch.start("plan --all --format json")
    process.stdout.close()
    process.stdout = None
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode in (0, 1)
    assert "Traceback" not in err
    assert "Exception ignored" not in err
