"""How far the work is: one line at a terminal, lines now and then in a log; by a clock that a test turns."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.cli import progress as module
from reconciler.cli.progress import LOGGED, REDRAWN, Meter, columns_of, duration, line, progress, redraws, step_aside
from reconciler.errors import Fault
from reconciler.events import ChangeDone, DialectLearned, Outcome, OutcomeStatus, ReadDone
from reconciler.model import Missing, Observed, Ref, Unread

REF = Ref("thread", "thread_1")
READ = ReadDone(REF, Observed({}))
UNREAD = ReadDone(REF, Unread(Fault("timeout", "too late")))
WIPED = "\r\x1b[K"


class Clock:
    """A clock that stands still until a test turns it."""

    def __init__(self):
        self.now = 100.0
        self.asked = 0

    def __call__(self):
        self.asked += 1
        return self.now


class Terminal(io.StringIO):
    """What is written to a terminal."""

    def isatty(self):
        return True


class Gone(Terminal):
    """A terminal that went away."""

    def write(self, _text):
        raise OSError(5, "Input/output error")


def meter(length=10_000, *, columns=None, stream=None, clock=None):
    wide = None if columns is None else lambda: columns
    return Meter(length, "Reading", stream or io.StringIO(), clock or Clock(), wide)


def at_terminal(monkeypatch, **env):
    for name in ("TERM", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"COLUMNS": "80", **env}.items():
        monkeypatch.setenv(name, value)


# --- the line ---------------------------------------------------------------------------------------------------------


def test_the_line_tells_how_much_is_done_how_quickly_and_how_long_it_takes_yet():
    assert line("Reading", 1234, 10_000, 0, 3021.4) == "Reading  1,234/10,000  12%  3,021/s  3 s left"


@pytest.mark.parametrize(
    ("done", "failed", "rate", "words"),
    [
        (0, 0, 0.0, "Reading  0/100  0%"),
        (50, 3, 2.5, "Reading  50/100  50%  3 failed  2.5/s  20 s left"),
        (100, 0, 40.0, "Reading  100/100  100%  40/s"),
        (150, 0, 40.0, "Reading  150/100  100%  40/s"),
        (1, 0, 0.5, "Reading  1/100  1%  0.5/s  3 min left"),
        (1, 0, 0.005, "Reading  1/100  1%  0.0/s  5.5 h left"),
    ],
)
def test_what_is_not_known_or_nothing_is_left_out(done, failed, rate, words):
    assert line("Reading", done, 100, failed, rate) == words


@given(
    st.integers(0, 10**7),
    st.integers(1, 10**7),
    st.integers(0, 10**7),
    st.floats(0, 10**6, allow_subnormal=False),
    st.integers(1, 200),
)
def test_the_line_never_reaches_the_last_column(done, length, failed, rate, columns):
    text = line("Reading", done, length, failed, rate, columns)
    assert len(text) < columns or text == ""
    assert text.isprintable()


def test_a_narrow_terminal_keeps_the_count():
    assert line("Reading", 1234, 10_000, 2, 3021.4, 40) == "Reading  1,234/10,000  12%  2 failed"
    assert line("Reading", 1234, 10_000, 2, 3021.4, 24) == "Reading  1,234/10,000"
    assert line("Reading", 1234, 10_000, 2, 3021.4, 5) == "Read"


@pytest.mark.parametrize(("seconds", "words"), [(0.1, "1 s"), (119, "119 s"), (180, "3 min"), (9000, "2.5 h")])
def test_a_duration_is_as_exact_as_anybody_needs(seconds, words):
    assert duration(seconds) == words


# --- at a terminal ----------------------------------------------------------------------------------------------------


def test_a_terminal_shows_the_line_at_once_and_redraws_it_as_time_passes():
    clock, stream = Clock(), Terminal()
    one = meter(columns=80, stream=stream, clock=clock)
    assert stream.getvalue() == f"{WIPED}Reading  0/10,000  0%"
    for _ in range(500):
        one(READ)
    assert stream.getvalue().count("Reading") == 1, "no time has passed"
    clock.now += REDRAWN
    one(READ)
    assert stream.getvalue().endswith(f"{WIPED}Reading  501/10,000  5%  2,505/s  4 s left")


def test_however_many_events_there_are_it_is_drawn_a_few_times_a_second():
    clock, stream = Clock(), Terminal()
    one = meter(columns=80, stream=stream, clock=clock)
    for _ in range(10_000):
        clock.now += 0.0002
        one(READ)
    assert 8 <= stream.getvalue().count("Reading") <= 2 / REDRAWN + 2


def test_the_rate_is_that_of_the_last_seconds_not_of_all_of_them():
    clock, stream = Clock(), Terminal()
    one = meter(columns=80, stream=stream, clock=clock)
    for per_second in (1000, 10):
        for _ in range(20):
            clock.now += 1
            one.done += per_second - 1
            one(READ)
    assert "/s" in (last := stream.getvalue().rpartition("\r")[2])
    assert float(last.split("/s")[0].split()[-1].replace(",", "")) < 500


def test_wiping_leaves_nothing_and_is_done_once():
    stream = Terminal()
    one = meter(columns=80, stream=stream)
    one.wipe()
    one.wipe()
    assert stream.getvalue() == f"{WIPED}Reading  0/10,000  0%{WIPED}"


@pytest.mark.parametrize(
    ("event", "failed"),
    [
        (READ, 0),
        (ReadDone(REF, Missing(Fault("missing", "gone"))), 0),
        (UNREAD, 1),
        (ChangeDone(Outcome(REF, OutcomeStatus.APPLIED)), 0),
        (ChangeDone(Outcome(REF, OutcomeStatus.FAILED)), 1),
        (ChangeDone(Outcome(REF, OutcomeStatus.STALE)), 0),
    ],
)
def test_every_resource_counts_and_so_does_a_failure(event, failed):
    one = meter()
    one(event)
    assert (one.done, one.failed) == (1, failed)


def test_what_was_learned_is_no_resource():
    one = meter()
    one(DialectLearned("thread", "merge"))
    assert one.done == 0


def test_a_terminal_that_went_away_does_not_end_the_work():
    clock = Clock()
    one = meter(columns=80, stream=Gone(), clock=clock)
    clock.now += 1
    one(READ)
    one.wipe()
    assert one.done == 1


def test_a_stream_that_is_closed_does_not_end_the_work():
    stream = Terminal()
    clock = Clock()
    one = meter(columns=80, stream=stream, clock=clock)
    stream.close()
    clock.now += 1
    one(READ)
    assert one.done == 1


# --- in a log ---------------------------------------------------------------------------------------------------------


def test_a_log_has_no_line_of_a_short_run():
    clock, stream = Clock(), io.StringIO()
    one = meter(stream=stream, clock=clock)
    for _ in range(10_000):
        one(READ)
    clock.now += LOGGED - 0.1
    one(READ)
    one.wipe()
    assert stream.getvalue() == ""


def test_a_log_has_a_line_every_few_seconds_and_nothing_that_is_meant_for_a_terminal():
    clock, stream = Clock(), io.StringIO()
    one = meter(2000, stream=stream, clock=clock)
    for number in range(1200):
        clock.now += 0.01
        one(UNREAD if number % 100 == 0 else READ)
    assert stream.getvalue().splitlines() == [
        "Reading  500/2,000  25%  5 failed  100/s  15 s left",
        "Reading  1,000/2,000  50%  10 failed  100/s  10 s left",
    ]


# --- which stream -----------------------------------------------------------------------------------------------------


def test_the_line_is_taken_away_at_the_end_and_before_something_else_is_written(monkeypatch):
    at_terminal(monkeypatch)
    clock, stream = Clock(), Terminal()
    with progress(10, "Reading", wanted=True, clock=clock, stream=stream) as emit:
        emit(READ)
        step_aside()
        assert stream.getvalue().endswith(f"0%{WIPED}")
        clock.now += 1
        emit(READ)
    assert stream.getvalue().endswith(f"2/10  20%  2.0/s  4 s left{WIPED}")
    assert module._shown == []


def test_an_error_takes_the_line_away_too(monkeypatch):
    at_terminal(monkeypatch)
    stream = Terminal()
    with pytest.raises(RuntimeError), progress(10, "Reading", wanted=True, stream=stream):
        raise RuntimeError
    assert stream.getvalue().endswith(WIPED)
    assert module._shown == []


@pytest.mark.parametrize(("length", "wanted"), [(0, True), (10, False)], ids=["nothing to do", "not wanted"])
def test_nothing_is_shown_or_timed_where_nobody_wants_it(length, wanted):
    clock, stream = Clock(), Terminal()
    with progress(length, "Reading", wanted=wanted, clock=clock, stream=stream) as emit:
        emit(READ)
    assert stream.getvalue() == ""
    assert clock.asked == 0


def test_a_dumb_terminal_is_a_log(monkeypatch):
    at_terminal(monkeypatch, TERM="dumb")
    stream = Terminal()
    with progress(10, "Reading", wanted=True, clock=Clock(), stream=stream) as emit:
        emit(READ)
    assert stream.getvalue() == ""


def test_a_closed_stream_cannot_be_redrawn():
    stream = io.StringIO()
    stream.close()
    assert not redraws(stream, {})
    assert redraws(Terminal(), {})
    assert not redraws(io.StringIO(), {"TERM": "xterm"})


@pytest.mark.parametrize(("told", "columns"), [("120", 120), ("0", 80), ("", 80), ("wide", 80), ("-3", 80), ("²", 80)])
def test_columns_say_how_wide_a_terminal_is_and_eighty_is_the_guess(told, columns):
    assert columns_of(io.StringIO(), {"COLUMNS": told}) == columns
