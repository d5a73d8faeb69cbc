"""How many calls a run will make and how long they will take; and the bound that a person may put on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from reconciler.cli.progress import duration
from reconciler.errors import GuardRefused
from reconciler.gateway.pacing import expected_seconds
from reconciler.words import amount

if TYPE_CHECKING:
    from reconciler.cli.session import Session


@dataclass(frozen=True, slots=True)
class Calls:
    """Calls to come: reads, and writes. The read before each write is among the reads."""

    reads: int = 0
    writes: int = 0

    def __str__(self) -> str:
        """Return such as `312 reads, 41 writes`."""
        reads, writes = amount(self.reads, "read"), amount(self.writes, "write")
        return f"{reads}, {writes}" if self.writes else reads


def forecast(session: Session, calls: Calls) -> str:
    """Return the calls and the time that they take at the known pace, such as `312 reads, 41 writes, about 9 s`.

    The pace is what stands now: ceilings, and what the calls so far have taught, how long one takes among it. Where
    nothing is known there is no time to tell.
    """
    seconds = _seconds(session, calls)
    return f"{calls}, about {duration(seconds)}" if seconds is not None else str(calls)


def check_requests(session: Session, calls: Calls, made: int = 0) -> None:
    """Raise `GuardRefused` where the calls to come, with those made before, are more than `--max-requests` allows."""
    allowed, whole = session.options.max_requests, calls.reads + calls.writes + made
    if allowed is not None and whole > allowed:
        before = f" after {amount(made, 'read')}" if made else ""
        raise GuardRefused(
            f"--max-requests allows {amount(allowed, 'call')}, and this takes {whole}: {calls}{before}; "
            "raise it, or take less by --select"
        )


def _seconds(session: Session, calls: Calls) -> float | None:
    pacer, width = session.pacer, session.parallelism
    reading, writing, read = pacer.interval("GET"), pacer.interval("POST"), pacer.round_trip("GET")
    if read is None and not (reading or writing):
        return None
    read = read or 0.0
    write = pacer.round_trip("POST") or read
    looks = expected_seconds(calls.reads - calls.writes, reading, read, width)
    # A write takes the time of two calls: a read goes before it.
    writes = expected_seconds(calls.writes, max(reading, writing), read + write, width)
    return looks + writes + max(pacer.delay("GET"), pacer.delay("POST") if calls.writes else 0.0)
