"""The ledger: what was applied last, field by field, and what each run wrote. Git is where it is kept.

::

    records    what a ledger holds, as bytes and back; which file a record belongs to; two writers' records as one
    store      the ledger of a target as it stands at a commit; recording a run
    sync       the same ledger in a remote: fetching, uniting, pushing
    journal    what a run is about to write, until it is recorded

Each target has a ref of its own, `refs/reconciler/<target>`, and each run is one commit on it. Its tree holds all
bases, so that the tip alone is enough to read them, and what this run wrote. Its only parents are commits of the
ledger: a commit of the user's is named in it by id, and pushing the ledger publishes no branch.

The ref never moves but forward. Where two writers have recorded side by side, the fields of the one are laid over
those of the other in a commit that has both as parents, so that no run is lost. What both wrote differently is told
as disputed; the one who unites has the last word.
"""

from reconciler.ledger.records import Dispute
from reconciler.ledger.store import (
    Ledger,
    NotRecorded,
    Recorded,
    check_server,
    read,
    record,
    ref_of,
    runs,
    shallow,
)
from reconciler.ledger.sync import NotPushed, fetch, push
from reconciler.runs import Run, Server

__all__ = [
    "Dispute",
    "Ledger",
    "NotPushed",
    "NotRecorded",
    "Recorded",
    "Run",
    "Server",
    "check_server",
    "fetch",
    "push",
    "read",
    "record",
    "ref_of",
    "runs",
    "shallow",
]
