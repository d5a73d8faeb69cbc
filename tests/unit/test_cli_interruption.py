"""What ends a run early: signals that are sent to this very process, and a clock that the test turns."""

import asyncio
import os
import signal
import threading

import pytest

from reconciler.cli.interruption import Interruption, handling
from reconciler.cli.report import Report
from reconciler.errors import ExitCode, Terminated


class Clock:
    """A clock that stands still until it is turned."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def send(*numbers):
    for number in numbers:
        os.kill(os.getpid(), number)


def noted(interruption):
    report = Report("apply")
    interruption.note(report)
    report.leave_to_outcomes()
    interruption.note(report)
    return report.exit_code, [problem.code for problem in report.problems]


def until_braked(interruption):
    async def work():
        await interruption.brake.sleep(30)
        return interruption.brake.reason

    return work


def test_when_the_time_is_over_the_brake_is_pulled():
    told = []
    interruption = Interruption(told.append, limit=0.05)
    assert interruption.run(until_braked(interruption), breakable=True) == "the run took longer than 0.05 s"
    assert told == ["the run took longer than 0.05 s: finishing the writes in flight"]
    assert noted(interruption) == (ExitCode.ERROR, ["timeout"])


def test_the_time_runs_from_the_beginning_and_not_from_that_of_the_calls():
    told, clock = [], Clock()
    interruption = Interruption(told.append, limit=60, clock=clock)
    clock.now += 60
    assert interruption.brake.reason is None

    async def work():
        return interruption.brake.reason

    assert interruption.run(work, breakable=False) == "the run took longer than 60 s"
    assert len(told) == 1


def test_several_pieces_of_work_have_one_limit():
    told, clock = [], Clock()
    interruption = Interruption(told.append, limit=60, clock=clock)

    async def work():
        clock.now += 31
        return interruption.brake.pulled

    assert [interruption.run(work, breakable=False) for _ in range(3)] == [False, False, True]
    interruption.run(work, breakable=False)
    assert len(told) == 1


@pytest.mark.parametrize("limit", [None, 3600])
def test_a_run_that_ends_in_time_has_nothing_to_note(limit):
    interruption = Interruption(print, limit=limit)

    async def work():
        return 7

    assert interruption.run(work, breakable=True) == 7
    assert noted(interruption) == (ExitCode.DONE, [])


def test_a_signal_after_the_time_is_a_first_one():
    told = []
    interruption = Interruption(told.append, limit=0.01)

    async def work():
        await interruption.brake.sleep(30)
        send(signal.SIGINT)
        await asyncio.sleep(0.05)
        return "finished"

    assert interruption.run(work, breakable=True) == "finished"
    assert len(told) == 2
    assert noted(interruption) == (ExitCode.INTERRUPTED, ["timeout", "interrupted"])


def test_time_that_runs_out_after_a_signal_is_no_further_reason():
    told = []
    interruption = Interruption(told.append, limit=0.05)

    async def work():
        send(signal.SIGTERM)
        await asyncio.sleep(0.1)
        return interruption.brake.reason

    assert interruption.run(work, breakable=True) == "interrupted by SIGTERM"
    assert len(told) == 1
    assert noted(interruption) == (ExitCode.TERMINATED, ["interrupted"])


@pytest.mark.parametrize(("first", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)])
def test_a_second_signal_breaks_off_what_may_be_broken_off(first, error):
    interruption = Interruption(lambda _line: send(signal.SIGINT))  # whoever reads the line answers at once

    async def work():
        send(first)
        await asyncio.sleep(30)

    with pytest.raises(error):
        interruption.run(work, breakable=True)
    assert interruption.ended_by is first


def test_two_signals_in_the_same_instant_are_one():
    told = []
    interruption = Interruption(told.append)

    async def work():
        send(signal.SIGINT, signal.SIGTERM, signal.SIGINT)
        await asyncio.sleep(0.1)
        return "finished"

    assert interruption.run(work, breakable=True) == "finished"
    assert len(told) == 1


def test_a_cancellation_that_no_signal_asked_for_is_passed_on():
    interruption = Interruption(print)

    async def work():
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        interruption.run(work, breakable=True)


def test_a_signal_before_any_work_pulls_the_brake_of_the_work_to_come():
    interruption = Interruption(lambda _line: None)
    with handling(interruption._take):
        send(signal.SIGINT)
    assert interruption.run(until_braked(interruption), breakable=True) == "interrupted by SIGINT"


def test_another_thread_than_the_main_one_listens_to_nothing_and_works_all_the_same():
    interruption, found = Interruption(print), []

    async def work():
        return 7

    thread = threading.Thread(target=lambda: found.append(interruption.run(work, breakable=True)))
    thread.start()
    thread.join()
    assert found == [7]
