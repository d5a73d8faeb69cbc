"""The ledger of a target in a remote that several clones share: fetching, uniting what grew apart, pushing.

::

    remote        local         fetch                         push
    none          any           nothing                       creates the remote's
    ahead         none, behind  the local ref follows         -
    behind        ahead         nothing (a push failed once)  the remote's follows
    elsewhere     elsewhere     unites, local ref at both     is refused: fetch, and again

Both refs move by compare-and-swap and only forward, so whoever is too late unites, and nothing that somebody recorded
is lost.
"""

from __future__ import annotations

import contextlib
from functools import reduce
from time import sleep
from typing import TYPE_CHECKING

from reconciler.errors import InvalidInput
from reconciler.git import GitFailed, objects, remotes
from reconciler.ledger.records import Dispute
from reconciler.ledger.store import ATTEMPTS, Ledger, NotRecorded, Recorded, read, ref_of, unite, unreadable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from reconciler.git import Repository

PATIENCE = (0.2, 0.5)
"""Seconds before pushing again what was refused although the remote has nothing new, as while somebody else pushes."""


class NotPushed(NotRecorded):
    """What was recorded here could not be pushed; the message has what git said."""

    code = "not_pushed"


def fetch(repository: Repository, target: str, remote: str) -> tuple[Dispute, ...]:
    """Bring the local ledger up to the remote's; return what was recorded differently here and there.

    Raises `InvalidInput` (`ledger_unreadable`) where the remote cannot be asked or either ledger cannot be read,
    (`other_server`) where they are those of different servers.
    """
    for _ in range(ATTEMPTS):
        there = _fetched(repository, target, remote)
        if there is None:
            return ()
        here = read(repository, target)
        if here is None:
            wanted = Recorded(there)
        else:
            _complete(repository, here, there, remote)
            wanted = _joined(repository, here, there)
        tip = here.tip if here else None
        if wanted.ledger.tip == tip or objects.move(repository, ref_of(target), wanted.ledger.tip, tip):
            return wanted.disputed
    raise NotRecorded(f"{ref_of(target)} could not be brought up to that of a remote: it kept moving; run this again")


def push(repository: Repository, target: str, remote: str) -> tuple[Dispute, ...]:
    """Push the local ledger, united with what others pushed first; return what they recorded differently.

    Raises `NotPushed`.
    """
    try:
        return _pushed(repository, target, remote)
    except (GitFailed, InvalidInput, NotRecorded) as error:
        message = (
            f"{ref_of(target)} could not be pushed to {remote}: {error}; it is kept here, and the next apply pushes it"
        )
        raise NotPushed(remotes.without_password(message)) from error


def _pushed(repository: Repository, target: str, remote: str) -> tuple[Dispute, ...]:
    ref = ref_of(target)
    disputed = set[Dispute]()
    pauses = iter(PATIENCE)
    for _ in range(ATTEMPTS):
        before = objects.tip(repository, ref)
        if before is None:
            break
        try:
            remotes.push(repository, remote, ref)
            break
        except GitFailed:
            disputed.update(fetch(repository, target, remote))
            if objects.tip(repository, ref) == before:
                pause = next(pauses, None)
                if pause is None:
                    raise
                sleep(pause)
    else:
        raise NotRecorded("others kept pushing first")
    return tuple(sorted(disputed))


def _fetched(repository: Repository, target: str, remote: str) -> Ledger | None:
    """Return the ledger of the remote, with all that it leads to in this clone; `None` where the remote has none."""
    ref = ref_of(target)
    with _asking(ref, remote):
        tip = remotes.remote_tip(repository, remote, ref)
        if tip is not None and not objects.holds(repository, tip):
            remotes.fetch(repository, remote, ref)
    return read(repository, target, tip) if tip else None


def _complete(repository: Repository, here: Ledger, there: Ledger, remote: str) -> None:
    """Fetch the history that a shallow clone leaves out, where it is needed to see what both sides have in common."""
    apart = not {here.tip, there.tip} & set(objects.merge_bases(repository, here.tip, there.tip))
    if apart and objects.cut(repository, here.tip, there.tip):
        ref = ref_of(here.target)
        with _asking(ref, remote):
            remotes.fetch(repository, remote, ref, depth=remotes.EVERYTHING)


@contextlib.contextmanager
def _asking(ref: str, remote: str) -> Iterator[None]:
    """Turn what goes wrong with asking a remote into `InvalidInput`: it may well have a ledger, so nobody guesses."""
    try:
        yield
    except GitFailed as error:
        message = f"the ledger {ref} of the remote {remote} cannot be fetched: {error}"
        raise unreadable(remotes.without_password(message)) from error


def _joined(repository: Repository, ours: Ledger, theirs: Ledger) -> Recorded:
    """Return the later one of two ledgers, or what unites them."""
    common = objects.merge_bases(repository, ours.tip, theirs.tip)
    if theirs.tip in common:
        return Recorded(ours)
    if ours.tip in common:
        return Recorded(theirs)
    # Two writers that united the same two ledgers have both of these in common: what they agree on is the origin.
    origins = [ledger for commit in common if (ledger := read(repository, ours.target, commit))]
    origin = reduce(lambda one, other: _joined(repository, one, other).ledger, origins) if origins else None
    return unite(repository, origin, ours, theirs)
