"""Reading lists, page by page and several at a time; what they show is kept as far as it is wanted.

::

    threads            page ─ page ─ page ─ …          one list is read in order: a page names the next one
      messages of t1     page ─ …                      lists below a resource begin when its page has come
      thread/t7          a read                        of a list without metadata, each resource is read by itself

All of them share the workers, the pace and the brake. A list that fails costs itself; a refusal of everything, or
nothing but failures, ends the run.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

from reconciler.cli.candidates import INSTEAD, Collection, brief, spoken
from reconciler.cli.output import notice
from reconciler.cli.progress import tally
from reconciler.cli.spool import Again, Read, Turn
from reconciler.engine.brake import Feed, for_each_arriving
from reconciler.engine.breaker import Breaker
from reconciler.errors import ApiError, ExitCode, Fault, Problem, TargetRefused, internal_fault
from reconciler.kinds import KINDS
from reconciler.model import EMPTY, Missing, Observed, Ref, Unread
from reconciler.words import amount

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from reconciler.cli.candidates import Scope
    from reconciler.cli.progress import Tell
    from reconciler.cli.report import Report
    from reconciler.cli.session import Session
    from reconciler.cli.spool import Spool
    from reconciler.engine.brake import Brake
    from reconciler.errors import ReconcilerError
    from reconciler.gateway.listing import Page
    from reconciler.model import Metadata, Reading

MANY = 1000
"""Lists that wait to be read from which on a person is told what makes the run long."""
IDLE = 10
"""Pages in a row that may show nothing new while the server says that there is more: a filter may leave some empty."""
SIGNS = 3
"""Lists below different parents that are not there, with none that is, until their kind counts as not listed."""
_LOST_CURSOR = frozenset({400, 404, 410, 422})
"""Statuses by which a server says that it does not know (any more) what a page was to begin behind."""


class Lists(Protocol):
    """What listing needs of the API."""

    async def page(self, kind: str, parent: str = "", *, after: str | None, where: Mapping[str, str]) -> Page:
        """Return one page. Raises `ApiError`, and `TargetRefused` where going on makes no sense."""
        ...

    async def fetch(self, ref: Ref) -> Reading:
        """Read one resource. Raises `TargetRefused` where going on makes no sense."""
        ...


@dataclass(slots=True)
class Listed:
    """What lists showed: the resources that are wanted, and what there is to tell of the others.

    `shown` counts all objects, `earlier` those that an interrupted run had read, `again` what a list had shown before,
    `gone` what was deleted meanwhile; `declared` is wanted, and in a manifest already. `unread` could not be read by
    itself. A kind that is `unlisted` has no list at this server, a list that is `restarted` lost its place.
    """

    found: dict[Ref, Metadata] = field(default_factory=dict)
    shown: int = 0
    again: int = 0
    gone: int = 0
    earlier: int = 0
    declared: set[Ref] = field(default_factory=set)
    lists: int = 0
    odd: dict[tuple[Collection, str, str], None] = field(default_factory=dict)
    failed: dict[Collection, Fault] = field(default_factory=dict)
    restarted: list[Collection] = field(default_factory=list)
    unlisted: dict[str, Fault] = field(default_factory=dict)
    unread: dict[Ref, Fault] = field(default_factory=dict)
    refusals: list[ReconcilerError] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Tell whether nothing failed that may work next time."""
        return not (self.failed or self.unread or self.refusals)


# --- the course of one list -------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Course:
    """Where one list stands: which ids and cursors it has shown, so that it cannot go round in circles.

    `endless` says by what the last page showed that the list does not come to an end.
    """

    ids: set[str] = field(default_factory=set)
    cursors: set[str] = field(default_factory=set)
    idle: int = 0
    endless: str = ""

    def take(self, page: Page) -> tuple[list[tuple[Ref, Metadata | None]], str | None]:
        """Return what a page shows for the first time, and where the next one begins (`None`: the list is complete)."""
        fresh = list[tuple[Ref, "Metadata | None"]]()
        before = len(self.ids)
        for ref, metadata in page.found:
            if ref.id not in self.ids:
                self.ids.add(ref.id)
                fresh.append((ref, metadata))
        self.ids.update(f"\0{odd.name}" for odd in page.odd)
        new = len(self.ids) > before
        self.idle = 0 if new else self.idle + 1
        if page.after is None or (not page.told and not new):
            return fresh, None
        if page.after in self.cursors:
            self.endless = "it goes on behind an object that it went on behind before"
        if self.idle >= IDLE:
            self.endless = f"{IDLE} pages in a row showed nothing new, and it says that there is more"
        self.cursors.add(page.after)
        return fresh, page.after


def _broken(error: ApiError, *, begun: bool) -> ApiError:
    """Return an error as it counts: a list that has shown a page is there, so that it cannot be one that is not."""
    fault = error.fault
    if not begun or fault.code not in {"unlisted", "missing"}:
        return error
    why = fault.message.partition(": ")[2] or fault.message
    message = f"The list broke off behind a page that it showed: {why}"
    return ApiError(replace(fault, code="broken_list", message=message))


def _endless(why: str) -> ApiError:
    return ApiError(Fault("endless_list", f"The list does not come to an end: {why}."))


# --- all of them ------------------------------------------------------------------------------------------------------


@dataclass(slots=True, kw_only=True)
class Walk:
    """Reads all lists of a scope into `listed`.

    `wanted` tells of what is in no manifest yet, and selected. Without `pairs` nobody needs metadata, so what a list
    leaves out is not asked for. `tell` hears how many objects a page has shown, how many lists are done, and how many
    are known by now; `notify` what a person may want to know meanwhile.
    """

    lists: Lists
    scope: Scope
    parallelism: int
    brake: Brake
    listed: Listed
    wanted: Callable[[Ref], bool]
    pairs: bool = True
    spool: Spool | None = None
    tell: Tell = lambda *_: None
    notify: Callable[[str], None] = lambda _: None
    _feed: Feed[Collection | Ref] = field(default_factory=Feed)
    _open: int = 0
    _begun: set[Collection] = field(default_factory=set)
    _cursors: dict[Collection, str] = field(default_factory=dict)
    _ended: set[Collection] = field(default_factory=set)
    _served: set[str] = field(default_factory=set)
    _barred: set[str] = field(default_factory=set)
    _shown: Counter[Collection] = field(default_factory=Counter)
    _signs: Counter[str] = field(default_factory=Counter)
    _doubtful: dict[Collection, Fault] = field(default_factory=dict)
    _skipped: list[Collection] = field(default_factory=list)
    _breaker: Breaker | None = None
    _told: bool = False

    async def walk(self) -> Listed:
        """Read everything that was not read by an earlier run; what was is taken from the spool."""
        self._breaker = Breaker(self.brake, self.listed.refusals, self.parallelism)
        reads = self._resume()
        self._add([*self.scope.first(), *reads])
        self.tell(self.listed.shown, 0, len(self._begun))
        if self._open:
            await for_each_arriving(self._feed, self._work, self.parallelism, self.brake)
        self._settle()
        return self.listed

    # -- what there is to do

    def _add(self, items: Iterable[Collection | Ref]) -> None:
        new = [item for item in items if isinstance(item, Ref) or self._is_new(item)]
        self._open += len(new)
        self._feed.add(new)
        if self._open >= MANY and not self._told and not self.scope.asked:
            self._told = True
            below = " and ".join(spoken(KINDS[kind]) for kind in sorted(self.scope.kinds) if KINDS[kind].nested)
            self.notify(f"There are {MANY:,} lists and more to read, such as those of {below}; --kind narrows them.")

    def _is_new(self, collection: Collection) -> bool:
        if collection in self._begun or collection in self._ended:
            return False
        self._begun.add(collection)
        return True

    async def _work(self, item: Collection | Ref) -> None:
        try:
            await (self._read(item) if isinstance(item, Ref) else self._list(item))
        except TargetRefused as refusal:
            self._refuse(item, refusal)
        except ApiError as error:
            self._fail(item, error.fault)
        except Exception as error:  # noqa: BLE001 - nothing about one list may cost the others
            self._fail(item, internal_fault(error))
        self._open -= 1
        if not self._open:
            self._feed.close()

    # -- one list

    async def _list(self, collection: Collection) -> None:
        kind = collection.kind
        if kind in self.listed.unlisted:
            self._skipped.append(collection)
            return
        if kind in self._barred:
            return
        course, after = Course(), self._cursors.get(collection)
        restarted = False
        while True:
            try:
                page = await self.lists.page(kind, collection.parent, after=after, where=self.scope.sent(kind))
            except ApiError as error:
                if after is None or restarted or error.fault.status not in _LOST_CURSOR:
                    raise _broken(error, begun=self._is_begun(collection, after)) from None
                # What was to be gone on behind was deleted, or the server has forgotten it: once more from the top.
                course, after, restarted = Course(), None, True
                self._begin_again(collection)
                continue
            self._succeed(collection)
            fresh, after = course.take(page)
            await self._keep(collection, page, fresh, after)
            if course.endless:
                raise _endless(course.endless)
            if after is None:
                self.listed.lists += 1
                self.tell(0, self.listed.lists, len(self._begun))
                return

    def _is_begun(self, collection: Collection, after: str | None) -> bool:
        """Tell whether a list is there for sure: it has shown a page, and no parent may be gone since."""
        return after is not None or (not collection.parent and collection.kind in self._served)

    def _begin_again(self, collection: Collection) -> None:
        """Count what a list has shown as not shown, for it is read from its top again."""
        self.listed.restarted.append(collection)
        if self.spool is not None:
            self.spool.add(Again(collection))
        self.tell(-self._shown[collection], self.listed.lists, len(self._begun))
        self._uncount(collection)

    def _uncount(self, collection: Collection) -> None:
        self.listed.shown -= self._shown.pop(collection, 0)

    async def _keep(
        self, collection: Collection, page: Page, fresh: list[tuple[Ref, Metadata | None]], after: str | None
    ) -> None:
        """Take what a page shows, put it on disk, and begin what lies below it."""
        kept = [(ref, metadata) for ref, metadata in fresh if self._matches(ref, metadata)]
        ids = [ref.id for ref, _ in fresh] if self.scope.below(collection.kind, "") else []
        odd = [(one.name, one.reason) for one in page.odd]
        shown = len(page.found) + len(page.odd)
        turn = Turn(collection, after, shown, tuple((ref.id, held) for ref, held in kept), tuple(ids), tuple(odd))
        if self.spool is not None:
            self.spool.add(turn)
        self.listed.again += len(page.found) - len(fresh)
        self._add([*self._take(turn), *(one for own in ids for one in self.scope.below(collection.kind, own))])
        self.tell(shown, self.listed.lists, len(self._begun))

    def _matches(self, ref: Ref, metadata: Metadata | None) -> bool:
        return ref.kind in self.scope.kinds and (metadata is None or self.scope.holds(ref, metadata))

    def _take(self, turn: Turn) -> list[Ref]:
        """Take what is wanted of a page; return what has to be read by itself."""
        listed, unread = self.listed, list[Ref]()
        listed.shown += turn.shown
        self._shown[turn.collection] += turn.shown
        listed.odd |= dict.fromkeys((turn.collection, name, reason) for name, reason in turn.odd)
        for own, metadata in turn.found:
            ref = Ref(turn.collection.kind, own)
            if ref in listed.found:
                listed.again += 1
            elif not self.wanted(ref):
                listed.declared.add(ref)
            elif metadata is None and (self.pairs or self.scope.where):
                unread.append(ref)
            else:
                listed.found[ref] = metadata or EMPTY
        return unread

    # -- one resource

    async def _read(self, ref: Ref) -> None:
        reading = await self.lists.fetch(ref)
        if isinstance(reading, Unread):
            self._fail(ref, reading.fault)
            return
        self._note(reading)
        entry = Read(ref.kind, ref.id, (reading.metadata or EMPTY) if isinstance(reading, Observed) else None)
        if self.spool is not None:
            self.spool.add(entry)
        self._take_read(entry)

    def _take_read(self, entry: Read) -> None:
        ref = Ref(entry.kind, entry.id)
        if entry.metadata is None:
            self.listed.gone += 1
        elif self.scope.holds(ref, entry.metadata) and self.wanted(ref):
            self.listed.found[ref] = entry.metadata

    # -- what an earlier run has left

    def _resume(self) -> list[Ref]:
        """Take what an earlier run has read; return what it found and did not come to read."""
        waiting: dict[Ref, None] = {}
        for entry in self.spool.earlier if self.spool is not None else ():
            if isinstance(entry, Read):
                waiting.pop(Ref(entry.kind, entry.id), None)
                self._take_read(entry)
            elif isinstance(entry, Again):
                self._uncount(entry.collection)
            else:
                waiting |= dict.fromkeys(self._take(entry))
                self._stand(entry)
        if self.spool is not None:
            self.spool.earlier.clear()
        self.listed.earlier = self.listed.shown
        self._add(self._reached())
        return list(waiting)

    def _stand(self, turn: Turn) -> None:
        """Note how far an earlier run has come in one list, and which lists it was to read below it."""
        collection = turn.collection
        self._served.add(collection.kind)
        if turn.after is None:
            self._ended.add(collection)
            self._cursors.pop(collection, None)
        else:
            self._cursors[collection] = turn.after
        for own in turn.ids:
            for one in self.scope.below(collection.kind, own):
                self._cursors.setdefault(one, "")

    def _reached(self) -> list[Collection]:
        """Return the lists that an earlier run has begun, or would have; without a cursor they begin at the top."""
        reached = [one for one in self._cursors if one not in self._ended]
        self._cursors = {one: after for one, after in self._cursors.items() if after and one not in self._ended}
        return reached

    # -- what goes wrong

    def _succeed(self, collection: Collection) -> None:
        kind = collection.kind
        self._served.add(kind)
        if self.listed.unlisted.pop(kind, None) is not None:
            # Called unlisted too early, for parents that were gone: what was skipped meanwhile is to be read.
            again = [one for one in self._skipped if one.kind == kind]
            self._skipped = [one for one in self._skipped if one.kind != kind]
            self._begun.difference_update(again)
            self._add(again)
        self._note(Observed(EMPTY))

    def _note(self, reading: Reading) -> None:
        if self._breaker is not None:
            self._breaker.note_reading(reading)

    def _refuse(self, item: Collection | Ref, refusal: TargetRefused) -> None:
        """Note a refusal: of one kind, for which this credential is not good, or of everything."""
        if isinstance(item, Collection) and refusal.fault.code == "forbidden":
            self.listed.failed[item] = refusal.fault
            self._barred |= {item.kind} - self._served
            self._note(Missing(refusal.fault))
            return
        if not self.brake.pulled:  # the others in flight are refused for the same reason
            self.listed.refusals.append(refusal)
        self.brake.pull(refusal.fault.message)

    def _fail(self, item: Collection | Ref, fault: Fault) -> None:
        if isinstance(item, Ref):
            self.listed.unread[item] = fault
        elif fault.code == "unlisted":
            self._doubt(item, fault)
            return
        elif fault.code == "missing":
            self.listed.gone += 1
            return
        else:
            self.listed.failed[item] = fault
        self._note(Unread(fault))

    def _doubt(self, collection: Collection, fault: Fault) -> None:
        """Note a list that is not there. Below a parent that may mean that the parent is gone."""
        kind = collection.kind
        if collection.parent:
            self._doubtful[collection] = fault
            self._signs[kind] += 1
            if kind in self._served or self._signs[kind] < SIGNS:
                return
        self.listed.unlisted[kind] = fault
        self._add(self.scope.instead(kind))

    def _settle(self) -> None:
        """Decide what the lists that were not there mean, by the others of their kind."""
        for collection, fault in self._doubtful.items():
            if collection.kind in self._served:
                self.listed.gone += 1
            else:
                self.listed.unlisted.setdefault(collection.kind, fault)
        for kind in self._served:
            self.listed.unlisted.pop(kind, None)


# --- one run ----------------------------------------------------------------------------------------------------------


def list_all(
    session: Session, scope: Scope, wanted: Callable[[Ref], bool], *, pairs: bool = True, spool: Spool | None = None
) -> Listed:
    """Read all lists of a scope at the session's target (see `Walk`); return what was shown, interrupted or not."""
    listed = Listed()

    async def listing() -> Listed:
        async with session.gateway(read_only=True) as gateway:
            with tally("Listing", wanted=not (session.options.quiet or session.options.verbose)) as tell:
                walk = Walk(
                    lists=gateway,
                    scope=scope,
                    parallelism=session.parallelism,
                    brake=session.brake,
                    listed=listed,
                    wanted=wanted,
                    pairs=pairs,
                    spool=spool,
                    tell=tell,
                    notify=lambda line: notice(line, session.options),
                )
                return await walk.walk()

    session.interruption.run(listing, so_far=listed)
    session.brake.cost |= session.brake.pulled  # whatever it was pulled for, some list has not come to its end
    return listed


def tell_listed(session: Session, report: Report, scope: Scope, listed: Listed) -> None:
    """Tell what could not be listed, read or taken; what concerns the result is in the report."""
    for refusal in listed.refusals:
        report.fail(refusal)
    for kind, why in unlisted(scope, listed).items():
        if kind in scope.asked:
            report.note(ExitCode.ERROR, Problem("unlisted", f"{why}; {INSTEAD}"))
    if listed.unlisted and listed.complete and not (scope.asked or listed.lists or listed.shown):
        why = _reason(next(iter(listed.unlisted.values())))
        report.note(ExitCode.ERROR, Problem("unlisted", f"nothing can be listed here ({why}, for one); {INSTEAD}"))
    failed = [(fault, brief(one)) for one, fault in listed.failed.items()]
    failed += [(fault, brief(ref)) for ref, fault in listed.unread.items()]
    for fault, name in failed[:_TOLD]:
        code = ExitCode.REFUSED if fault.code == "forbidden" else ExitCode.ERROR
        report.note(code, Problem(fault.code, f"{name}: {fault}"))
    odd = list(listed.odd)
    for collection, name, reason in odd[:_TOLD]:
        report.note(ExitCode.ERROR, Problem("odd_object", f"{brief(collection)}: {name} is passed over: {reason}"))
    for what, more in (("lists and resources failed", failed), ("objects are passed over", odd)):
        if len(more) > _TOLD:
            report.note(ExitCode.ERROR, Problem("more", f"and {len(more) - _TOLD:,} more {what}"))
    _remark(session, scope, listed)


_TOLD = 20
"""Problems of a sort that are told one by one."""


def unlisted(scope: Scope, listed: Listed) -> dict[str, str]:
    """Return why kinds could not be listed, with those below parents that nobody knows for this reason."""
    found = {kind: _reason(fault) for kind, fault in listed.unlisted.items() if kind in scope.kinds}
    for parent in sorted({*scope.fixed, *listed.unlisted}):
        if scope.fixed.get(parent) or scope.spare.get(parent):
            continue
        above, why = spoken(KINDS[parent]), listed.unlisted.get(parent)
        because = _reason(why) if why is not None else f"{above} cannot be listed here"
        for kind in scope.children(parent):
            message = f"{spoken(KINDS[kind])} are listed below {above}, of which none is known ({because})"
            found.setdefault(kind, f"{message}; name each by --below {parent}/ID")
    return found


def _reason(fault: Fault) -> str:
    return fault.message.removesuffix(".")


def _remark(session: Session, scope: Scope, listed: Listed) -> None:
    options = session.options
    skipped = sorted(unlisted(scope, listed).keys() - scope.asked)
    if skipped:
        names = ", ".join(spoken(KINDS[kind]) for kind in skipped)
        notice(f"Not listed here, and passed over: {names}; {INSTEAD}.", options)
    for one in listed.restarted[:_TOLD]:
        notice(f"The list of {brief(one)} was read from its top again: the server had lost its place.", options)
    if listed.gone:
        were = "was deleted while it was" if listed.gone == 1 else "were deleted while they were"
        notice(f"{amount(listed.gone, 'resource')} {were} listed.", options)
    if listed.again and options.verbose:
        were = "was" if listed.again == 1 else "were"
        notice(f"{amount(listed.again, 'object')} {were} shown more than once.", options)
