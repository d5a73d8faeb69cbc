"""What ends a run early: signals that are sent to this very process, and a clock that the test turns."""

import asyncio
import os
import signal
import threading
from contextlib import contextmanager

import pytest

from reconciler.cli.interruption import Interruption
from reconciler.cli.report import Report
from reconciler.cli.signals import BURST, delivering, handling, undisturbed
from reconciler.errors import ExitCode, Terminated

FIRST = pytest.mark.parametrize(("first", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)])


class Clock:
    """A clock that stands still until it is turned."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture(autouse=True)
def _handlers():
    """Give the signals back to whoever had them: an interrupted run keeps them to the end of its process."""
    with handling(signal.default_int_handler):
        yield


def send(*numbers):
    for number in numbers:
        os.kill(os.getpid(), number)


def noted(interruption):
    report = Report("apply")
    interruption.note(report)
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
    assert interruption.run(until_braked(interruption)) == "the run took longer than 0.05 s"
    assert told == ["the run took longer than 0.05 s: finishing the writes in flight"]


@pytest.mark.parametrize(("left", "code", "told"), [(True, ExitCode.ERROR, ["timeout"]), (False, ExitCode.DONE, [])])
def test_a_limit_is_an_error_where_it_left_something_undone(left, code, told):
    interruption = Interruption(lambda _line: None, limit=0.01)

    async def work():
        await interruption.brake.sleep(30)
        if left:
            interruption.brake.not_attempted()

    interruption.run(work)
    assert noted(interruption) == (code, told)


def test_the_time_runs_from_the_beginning_and_not_from_that_of_the_calls():
    told, clock = [], Clock()
    interruption = Interruption(told.append, limit=60, clock=clock)
    clock.now += 60
    assert interruption.brake.reason is None

    async def work():
        return interruption.brake.reason

    assert interruption.run(work) == "the run took longer than 60 s"
    assert len(told) == 1


def test_several_pieces_of_work_have_one_limit():
    told, clock = [], Clock()
    interruption = Interruption(told.append, limit=60, clock=clock)

    async def work():
        clock.now += 31
        return interruption.brake.pulled

    assert [interruption.run(work) for _ in range(3)] == [False, False, True]
    interruption.run(work)
    assert len(told) == 1


@pytest.mark.parametrize("limit", [None, 3600])
def test_a_run_that_ends_in_time_has_nothing_to_note(limit):
    interruption = Interruption(print, limit=limit)

    async def work():
        return 7

    assert interruption.run(work) == 7
    assert noted(interruption) == (ExitCode.DONE, [])


def test_a_signal_after_the_time_is_a_first_one():
    told = []
    interruption = Interruption(told.append, limit=0.01)

    async def work():
        await interruption.brake.sleep(30)
        send(signal.SIGINT)
        await asyncio.sleep(0.05)
        return "finished"

    assert interruption.run(work) == "finished"
    assert len(told) == 2
    interruption.brake.not_attempted()
    assert noted(interruption) == (ExitCode.INTERRUPTED, ["timeout", "interrupted"])


def test_time_that_runs_out_after_a_signal_is_no_further_reason():
    told = []
    interruption = Interruption(told.append, limit=0.05)

    async def work():
        send(signal.SIGTERM)
        await asyncio.sleep(0.1)
        return interruption.brake.reason

    assert interruption.run(work) == "interrupted by SIGTERM"
    assert len(told) == 1
    assert noted(interruption) == (ExitCode.TERMINATED, ["interrupted"])


@FIRST
def test_a_second_signal_breaks_off_what_may_be_broken_off(first, error):
    interruption = Interruption(lambda _line: send(signal.SIGINT))  # whoever reads the line answers at once

    async def work():
        send(first)
        await asyncio.sleep(30)

    with pytest.raises(error):
        interruption.run(work)
    assert interruption.ended_by is first


def test_two_signals_in_the_same_instant_are_one():
    told = []
    interruption = Interruption(told.append)

    async def work():
        send(signal.SIGINT, signal.SIGTERM, signal.SIGINT)
        await asyncio.sleep(0.1)
        return "finished"

    assert interruption.run(work) == "finished"
    assert len(told) == 1


def test_a_cancellation_that_no_signal_asked_for_is_passed_on():
    interruption = Interruption(print)

    async def work():
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        interruption.run(work)


def test_a_signal_before_any_work_pulls_the_brake_of_the_work_to_come():
    interruption = Interruption(lambda _line: None)
    work = until_braked(interruption)

    def begin():
        send(signal.SIGINT)
        return work()

    assert interruption.run(begin) == "interrupted by SIGINT"


# --- reading, which is given up


@FIRST
def test_reading_that_does_not_end_by_itself_is_broken_off_and_keeps_what_it_has(first, error):
    interruption, seen = Interruption(lambda _line: send(first)), []

    async def work():
        seen.append("read")
        send(first)
        await asyncio.sleep(30)

    assert interruption.run(work, so_far=seen) == ["read"]
    assert noted(interruption)[1] == ["interrupted"]


@pytest.mark.parametrize(
    ("reading", "line"),
    [(True, "SIGINT: giving up reading"), (False, "SIGINT: finishing the writes in flight; once more to end at once")],
)
def test_the_line_says_what_happens_next(reading, line):
    told = []
    interruption = Interruption(told.append)

    async def work():
        send(signal.SIGINT)
        await asyncio.sleep(0.01)

    interruption.run(work, so_far=[] if reading else None)
    assert told == [line]


def test_reading_that_takes_too_long_is_given_up():
    told = []
    interruption = Interruption(told.append, limit=0.01)
    interruption.run(until_braked(interruption), so_far=[])
    assert told == ["the run took longer than 0.01 s: giving up reading"]


# --- at the edges of the work


def interrupted(clock):
    """An interruption that has come during some work, at the present time of the clock."""
    interruption = Interruption(lambda _line: None, clock=clock)

    async def work():
        send(signal.SIGTERM)

    interruption.run(work)
    return interruption


def test_a_burst_is_one_wish_to_its_end_and_a_later_signal_is_another():
    clock = Clock()
    interruption = interrupted(clock)
    clock.now += BURST / 2
    send(signal.SIGTERM, signal.SIGINT)
    clock.now += BURST
    with pytest.raises(Terminated):
        send(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        send(signal.SIGINT)
    assert interruption.ended_by is signal.SIGTERM
    with delivering():
        send(signal.SIGTERM, signal.SIGINT)
    send(signal.SIGTERM, signal.SIGINT)


def test_a_burst_that_goes_on_beyond_the_end_of_the_work_costs_nothing():
    interruption, over = Interruption(lambda _line: None, clock=Clock()), threading.Event()

    def burst():
        while not over.is_set():
            send(signal.SIGTERM)

    thread = threading.Thread(target=burst)

    async def work():
        thread.start()
        await interruption.brake.sleep(30)
        return "read"

    try:
        found = [interruption.run(work, so_far="so far") for work in [work]]
        found.append(interruption.run(until_braked(interruption), so_far="so far"))
    finally:
        over.set()
        thread.join()
    assert set(found) <= {"read", "so far", "interrupted by SIGTERM"}
    assert noted(interruption) == (ExitCode.TERMINATED, ["interrupted"])


@contextmanager
def closing_loops(monkeypatch, act):
    """Let something happen when the loop of a run is closed already."""
    run = asyncio.run

    def then(coroutine):
        try:
            return run(coroutine)
        finally:
            act()

    with monkeypatch.context() as patched:
        patched.setattr(asyncio, "run", then)
        yield


def test_a_signal_when_the_loop_is_closed_still_pulls_the_brake(monkeypatch):
    told = []
    interruption = Interruption(told.append)

    async def work():
        return 7

    with closing_loops(monkeypatch, lambda: send(signal.SIGTERM, signal.SIGTERM)):
        assert interruption.run(work) == 7
    assert (interruption.brake.reason, len(told)) == ("interrupted by SIGTERM", 1)


def test_a_signal_that_the_loop_did_not_come_to_still_pulls_the_brake(monkeypatch):
    told = []
    interruption = Interruption(told.append)

    async def work():
        monkeypatch.setattr(asyncio.get_running_loop(), "call_soon_threadsafe", lambda _act: None)
        send(signal.SIGINT)
        return 7

    assert interruption.run(work) == 7
    assert (interruption.brake.reason, len(told)) == ("interrupted by SIGINT", 1)


def test_after_work_that_nothing_disturbed_the_signals_are_whose_they_were():
    interruption = Interruption(print)

    async def work():
        return 7

    interruption.run(work)
    assert signal.getsignal(signal.SIGTERM) is signal.default_int_handler
    with pytest.raises(KeyboardInterrupt):
        send(signal.SIGINT)


def test_nothing_breaks_into_what_is_undisturbed():
    with undisturbed():
        send(signal.SIGINT, signal.SIGTERM)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_another_thread_than_the_main_one_listens_to_nothing_and_works_all_the_same():
    interruption, found = Interruption(print), []

    async def work():
        return 7

    thread = threading.Thread(target=lambda: found.append(interruption.run(work)))
    thread.start()
    thread.join()
    assert found == [7]


def test_a_signal_that_is_ignored_from_outside_stays_ignored():
    with handling(signal.SIG_IGN):
        interruption = Interruption(lambda _line: None, clock=Clock())

        async def work():
            send(signal.SIGINT, signal.SIGTERM)
            await asyncio.sleep(0)
            return interruption.brake.pulled

        assert interruption.run(work) is False
    assert interruption.ended_by is None
