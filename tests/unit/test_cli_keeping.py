"""What a run of a watch tells of drift: whether there is any, and on which resources."""

import datetime as dt

import pytest

from reconciler.cli import keeping
from reconciler.cli.memory import Memory
from reconciler.cli.planning import Made
from reconciler.compare import Action, Rules, judge
from reconciler.dialects import MERGE_NULL
from reconciler.document import BasePart
from reconciler.drift import find
from reconciler.engine import Observation
from reconciler.errors import Fault
from reconciler.model import Acceptance, Base, Desired, Missing, Observed, Ref, Unread
from reconciler.plan import Plan
from reconciler.watching.course import NAMED

BROKEN, GONE = Fault("http_500", "The server failed."), Fault("missing", "There is none.")
SAME, MOVED = Observed({"a": "1"}), Observed({"a": "2"})
CROWDED = Observed({f"k{number}": "x" for number in range(16)})
"""So full that nothing can be added: it was seen, and nothing can be written."""


def change(reading, name="a", base="1", accept=()):
    desired = Desired(Ref("thread", name), {"a": "1"}, accept=tuple(accept))
    return judge(desired, reading, Base({"a": base}), Rules(MERGE_NULL))


def told(*changes, recorded=True):
    """Return what a run with these changes tells of drift, and the resources that it names."""
    found = find(changes, lambda _: recorded, dt.date(2026, 6, 1))
    made = Made(Plan(tuple(changes)), Observation(), Memory(BasePart(), {}))
    return keeping._drifted(made, found), keeping._moved(found)


@pytest.mark.parametrize(
    ("readings", "drift"),
    [
        ([SAME], False),
        ([MOVED], True),
        ([Missing(GONE)], True),
        ([SAME, Unread(BROKEN)], None),
        ([MOVED, Unread(BROKEN)], True),
    ],
)
def test_what_was_not_seen_may_have_moved(readings, drift):
    assert told(*(change(reading, f"t{at}") for at, reading in enumerate(readings)))[0] is drift


def test_what_was_seen_and_cannot_be_written_leaves_nothing_open():
    full = change(CROWDED)
    assert full.action is Action.FAILED
    assert told(full)[0] is True
    pending = judge(Desired(Ref("thread", "b"), {"new": "1"}), CROWDED, Base({}), Rules(MERGE_NULL))
    assert pending.action is Action.FAILED
    assert told(pending) == (False, ())


def test_an_id_that_never_was_there_is_no_drift_and_leaves_nothing_open():
    assert told(change(Missing(GONE)), recorded=False) == (False, ())


def test_what_the_manifests_know_about_is_neither_drift_nor_named():
    accepted = change(MOVED, "a", accept=[Acceptance("a", "2", None)])
    assert told(accepted) == (False, ())
    assert told(accepted, change(MOVED, "b"), change(Missing(GONE), "c")) == (True, ("thread/b", "thread/c"))


def test_no_more_are_named_than_an_event_has_room_for():
    assert len(told(*(change(MOVED, f"t{at}") for at in range(2 * NAMED)))[1]) == NAMED


def test_manifests_that_declare_nothing_end_no_drift():
    assert told() == (None, ())


def test_nothing_is_told_where_there_was_no_plan():
    assert keeping._drifted(None, None) is None
    assert keeping._moved(None) == ()
