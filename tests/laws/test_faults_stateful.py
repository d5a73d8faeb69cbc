"""Any story of faults, edits by others, interruptions and runs ends converged or explained, every write accounted for.

Reads of stored chat completions lag behind writes, as far as a story says; everything else is read as it is. The
gateway, the engine, the plan, the memory and the emulator are the real ones; between the first and the last there is
no socket, and time passes only while everybody sleeps. The server keeps its own log, which the reports are held
against. `STATEFUL_EXAMPLES` says how many stories are told; the last one of a failure is printed, with what repeats it.
"""

import asyncio
import contextlib
import json
import os
from collections import defaultdict
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

import httpx
import pytest
import virtual_time
from hypothesis import event, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from reconciler.cli.memory import LeftOver, Memory
from reconciler.compare import Action, Rules
from reconciler.dialects import AUTO, MERGE, MERGE_EMPTY, MERGE_NULL, REPLACE, Removals
from reconciler.document import Document, Head, outcome_part, plan_parts
from reconciler.emulator.mishaps import NO_MISHAPS, Mishap, MishapRule, Mishaps, answer
from reconciler.emulator.service import Behaviour, Held, Request
from reconciler.emulator.store import Lag, LaggingStore, MemoryStore
from reconciler.engine import Application, Brake, apply, observe
from reconciler.engine.lessons import LOOKS
from reconciler.events import OutcomeStatus
from reconciler.gateway.client import Connection, open_gateway
from reconciler.gateway.pacing import LATE, LONGEST_HINT, Pace
from reconciler.gateway.providers import PROVIDERS
from reconciler.gateway.transport import HandlerTransport, Pacer, Surroundings
from reconciler.ledger.journal import Unfinished
from reconciler.model import MAX_PAIRS, Desired, Ownership, Ref, matches
from reconciler.plan import make_plan
from reconciler.planfile import dumps, loads
from reconciler.remembering import moved_by, touched_by

EXAMPLES = int(os.environ.get("STATEFUL_EXAMPLES", "60"))
STEPS = 8
LONGEST = 10 * 3600.0
"""Virtual seconds that no run may need, whatever the server asks for."""
LAG = 0.05
"""Virtual seconds that a call is on its way, and its answer again: time for others, and to be interrupted in."""
EARLY = 1e-3
"""Virtual seconds that the sum of many waits may be off."""

# --- what there is ----------------------------------------------------------------------------------------------------

REFS = (
    *(Ref("thread", f"thread_{number}") for number in range(2)),
    Ref("conversation", "conv_1"),
    *(Ref("chat_completion", f"chatcmpl-{number}") for number in range(2)),
)
KINDS = {"thread": "/v1/threads/", "conversation": "/v1/conversations/", "chat_completion": "/v1/chat/completions/"}
LAGGING = "chat_completion"
OURS = tuple(f"k{number}" for number in range(6))
THEIRS = ("run.a", "run.b", *(f"f{number}" for number in range(12)))

refs = st.sampled_from(REFS)
keys = st.sampled_from(OURS) | st.sampled_from(OURS + THEIRS)
values = st.sampled_from(("1", "2", "3", ""))
observed_maps = st.dictionaries(keys, values, max_size=8) | st.lists(
    keys, min_size=13, max_size=MAX_PAIRS, unique=True
).map(lambda many: dict.fromkeys(many, "1"))

RIGHT = ((REPLACE, REPLACE), (MERGE, MERGE), (MERGE_NULL, MERGE_NULL), (MERGE_EMPTY, MERGE_EMPTY))
LEARNED = ((REPLACE, AUTO), (MERGE, AUTO), (MERGE_NULL, AUTO))
WRONG = ((REPLACE, MERGE), (REPLACE, MERGE_NULL), (MERGE, REPLACE), (MERGE_NULL, REPLACE), (MERGE, MERGE_NULL))
dialects = st.sampled_from(RIGHT) | st.sampled_from(RIGHT + LEARNED) | st.sampled_from(RIGHT + LEARNED + WRONG)
"""How a server updates, and what it is said to do."""


@st.composite
def declarations(draw, ref):
    ignore = draw(st.sampled_from(((), ("run.*",))))
    free = st.sampled_from(OURS).filter(lambda key: not matches(key, ignore))
    metadata = draw(st.dictionaries(free, values | st.none(), max_size=6))
    ownership = draw(st.sampled_from((Ownership.DECLARED, Ownership.DECLARED, Ownership.EXCLUSIVE)))
    return Desired(ref, metadata, ownership, ignore, protect=draw(st.sampled_from((False, False, False, True))))


edits = st.tuples(refs, keys, values | st.none())
mishaps = st.lists(st.none() | st.sampled_from(list(Mishap)), max_size=4)
sorts = [("applying", "GET"), ("applying", "POST"), ("applying", "POST"), ("reading", "GET")]
scripts = st.dictionaries(
    st.tuples(st.sampled_from(sorts), refs).map(lambda both: (*both[0], both[1])), mishaps, max_size=5
)
"""What befalls the first calls of each sort, one by one; the calls after those go well."""


@dataclass(frozen=True)
class Trouble:
    """What goes wrong in one run. Calls are counted as they arrive, from 1 on, and again when it begins to apply.

    `during` says which of the two is disturbed by others and by signals. A signal comes with call `brake_at`, another
    one so many calls later.
    """

    during: str = "applying"

    script: dict = field(default_factory=dict)
    always: tuple = ()
    retry_after: float | None = 1
    meanwhile: tuple = ()
    deleted: tuple = ()
    brake_at: int | None = None
    cancel_after: int | None = None
    parallelism: int = 2
    ceiling: float | None = None


calls = st.integers(1, 3) | st.integers(1, 12)
troubles = st.builds(
    Trouble,
    during=st.sampled_from(("applying", "applying", "applying", "reading")),
    script=scripts,
    always=st.just(()) | st.just(()) | st.tuples(st.sampled_from(("GET", "POST")), st.sampled_from(list(Mishap))),
    retry_after=st.sampled_from((None, 0.2, 1, 90, 300)),
    meanwhile=st.lists(st.tuples(calls, edits), max_size=4).map(tuple),
    deleted=st.lists(st.tuples(calls, refs), max_size=1).map(tuple),
    brake_at=st.none() | calls,
    cancel_after=st.none() | st.integers(0, 3),
    parallelism=st.integers(1, 4),
    ceiling=st.none() | st.sampled_from((30, 600)),
)

NO_LAG = Lag()
lags = st.sampled_from((NO_LAG, Lag(0.3), Lag(2), Lag(60), Lag(reads=1), Lag(reads=3), Lag(reads=20)))
SHORT = sum(LOOKS) - 1
"""Seconds that reads may lag without anything being called a failure for it."""


def is_short(lag):
    """Tell whether reads catch up within the time that is given to them."""
    return lag.seconds <= SHORT and lag.reads < len(LOOKS)


# --- the server -------------------------------------------------------------------------------------------------------


@dataclass
class Post:
    """An update that arrived: what was there before and after it, and what the server had shown of that."""

    ref: Ref
    entries: dict
    before: dict
    after: dict
    shown: dict | None
    arrived: float
    status: int
    looked_at: bool = False
    """Whether the server has shown the resource again in the same run."""


class Server:
    """The emulator, with a log of its own and others who write at the same time."""

    def __init__(self, writes, held, lag=NO_LAG):
        self.writes, self.lag = writes, lag
        self.epoch = self.latest = 0.0
        self.inner = MemoryStore()
        self.store = LaggingStore(self.inner, {LAGGING: lag}, self.clock)
        self.behaviour = Behaviour(now=lambda: 1, token=lambda: "0", writes=writes)
        for ref, pairs in held.items():
            self.put(ref, pairs)
        self.begin(Trouble())

    def put(self, ref, pairs):
        kept = {key: value for key, value in pairs.items() if value is not None}
        if self.writes[ref.kind] is MERGE_EMPTY:
            kept = {key: value for key, value in kept.items() if value != ""}
        self.store.put(ref, Held(1, MappingProxyType(kept)))

    def clock(self):
        """Return the seconds since the story began: those of all runs."""
        with contextlib.suppress(RuntimeError):  # between two runs there is no loop
            self.latest = self.epoch + asyncio.get_running_loop().time()
        return self.latest

    def rest(self):
        """Let so much time pass that reads have caught up."""
        self.epoch = self.latest = self.clock() + 100
        for ref in REFS:
            for _ in range(self.lag.reads + 1):
                self.store.get(ref)

    def held(self, ref):
        found = self.inner.get(ref)
        return None if found is None else dict(found.pairs)

    def edit(self, ref, key, value):
        """Let somebody else write, as far as the server lets anybody."""
        pairs = self.held(ref)
        if pairs is not None and len({**pairs, key: value}) <= MAX_PAIRS:
            self.put(ref, {**pairs, key: value})

    def begin(self, trouble):
        """Begin a run: the log is that of this run."""
        self.trouble = trouble
        self.epoch = self.latest
        self.posts, self.shown, self.spoilt = [], {}, set()
        self.ever_shown = defaultdict(list)
        self.brake = self.task = self.pulled_at = None
        self.arrivals, self.hints = [], []
        self.enter("reading")

    def enter(self, phase):
        """Begin to read, or to apply."""
        self.phase, self.calls, self.made = phase, 0, defaultdict(int)

    def handle(self, method, path, headers, body):
        self.calls += 1
        self.clock()
        arrived = asyncio.get_running_loop().time()
        self.arrivals.append((method, arrived))
        self._happen()
        ref = next(ref for ref in REFS if path == KINDS[ref.kind] + ref.id)
        mishap = self._mishap(method, ref)
        before = self.held(ref)
        given = Mishaps((MishapRule(mishap),), retry_after=self.trouble.retry_after) if mishap else NO_MISHAPS
        response = answer(self.store, Request.aimed(method, path, headers, body), self.behaviour, given, 0)
        after = self.held(ref)
        if method == "POST":
            entries = json.loads(body)["metadata"]
            now = asyncio.get_running_loop().time()
            self.posts.append(Post(ref, entries, before, after, self.shown.get(ref), now, response.status))
        elif mishap:
            self.spoilt.add((self.phase, ref))
        if response.lost:
            raise ConnectionResetError
        if "retry-after" in response.headers:
            self.hints.append((method, arrived, float(response.headers["retry-after"])))
        clear = response.status == 200 and mishap in (None, Mishap.OLD)
        self.answered = (ref, json.loads(response.body)["metadata"]) if clear else None
        return response.status, response.headers, response.body

    def arrived(self, ref, pairs):
        """Note that an answer has come through, which showed a resource like this."""
        self.shown[ref] = pairs
        self.ever_shown[ref].append(pairs)
        for post in self.posts:
            post.looked_at = post.looked_at or post.ref == ref

    def _happen(self):
        trouble, now = self.trouble, self.calls
        if trouble.during != self.phase:
            return
        for at, edit in trouble.meanwhile:
            if at == now:
                self.edit(*edit)
        for at, ref in trouble.deleted:
            if at == now and self.held(ref) is not None:
                self.store.bury(ref)
        if trouble.brake_at is None or now < trouble.brake_at:
            return
        if not self.brake.pulled:
            self.pulled_at = asyncio.get_running_loop().time()
        self.brake.pull("interrupted by SIGINT")
        if (
            self.task is not None
            and trouble.cancel_after is not None
            and now >= trouble.brake_at + trouble.cancel_after
        ):
            asyncio.get_running_loop().call_soon(self.task.cancel)

    def _mishap(self, method, ref):
        scripted = self.trouble.script.get((self.phase, method, ref), ())
        number = self.made[method, ref]
        self.made[method, ref] += 1
        mishap = scripted[number] if number < len(scripted) else None
        if mishap is None and self.trouble.always[:1] == (method,):
            mishap = self.trouble.always[1]
        return mishap


class Wire(httpx.AsyncBaseTransport):
    """The way to the server and back, which takes time."""

    def __init__(self, server):
        self._server = server
        self._inner = HandlerTransport(server.handle)

    async def handle_async_request(self, request):
        await asyncio.sleep(LAG)
        try:
            response = await self._inner.handle_async_request(request)
        except httpx.TransportError:
            await asyncio.sleep(LAG)
            raise
        answered = self._server.answered
        await asyncio.sleep(LAG)
        if answered is not None:
            self._server.arrived(*answered)
        return response


# --- one run ----------------------------------------------------------------------------------------------------------


@dataclass
class Run:
    """What a run knew, planned, and reported."""

    plan: object
    memory: Memory
    done: Application
    cancelled: bool = False

    @property
    def changes(self):
        return {change.ref: change for change in self.plan.changes}

    @property
    def outcomes(self):
        return {outcome.ref: outcome for outcome in self.done.outcomes}


async def carried_out(world, trouble):
    loop, brake, server = asyncio.get_running_loop(), Brake(), world.server
    around = Surroundings(loop.time, lambda: 1e9 + loop.time(), asyncio.sleep, lambda: 0.5)
    connection = Connection(PROVIDERS["openai"], "http://127.0.0.1:1/v1")
    server.begin(trouble)
    server.brake = brake
    given = {"pacer": Pacer(*[Pace.per_minute(trouble.ceiling)] * 2, around), "around": around}
    async with asyncio.timeout(LONGEST):
        async with open_gateway(connection, transport=Wire(server), read_only=True, **given) as reader:
            seen = await observe(reader, list(world.declared), parallelism=trouble.parallelism, brake=brake)
        memory = Memory(bases=dict(world.bases), left_over=tuple(world.left_over))
        memory.take_in(seen.readings, world.rules_of, world.declared)
        plan = make_plan(world.declared.values(), seen.readings, world.rules_of, bases=memory.bases)
        run = Run(plan, memory, Application())
        due = [change for change in plan.changes if change.action is not Action.KEEP]
        server.enter("applying")
        async with open_gateway(connection, transport=Wire(server), **given) as gateway:
            server.task = asyncio.ensure_future(
                apply(gateway, due, world.rules_of, parallelism=trouble.parallelism, brake=brake, into=run.done)
            )
            try:
                await server.task
            except asyncio.CancelledError:
                run.cancelled = True
    return run


def recorded(run, number):
    """Return the journal of a run as the next one finds it: through the text that it is written as."""
    parts = plan_parts(run.plan, 0, keeps=False)["changes"]
    writing = tuple(
        part for part in parts if part.action is Action.UPDATE and any(each.blocked is None for each in part.fields)
    )
    document = loads(dumps(Document(kind="apply", head=Head(commit="c0ffee"), changes=writing)), "journal")
    entry = Unfinished(f"run-{number}", "", Path("journal"))
    return LeftOver(entry, document.head, {part.ref: part for part in document.changes})


# --- what has to hold -------------------------------------------------------------------------------------------------

UNTOUCHED = {OutcomeStatus.STALE, OutcomeStatus.NOT_ATTEMPTED}


def as_wanted(change, pairs, removals):
    """Tell whether a map is as a change wants it; blanks count as absent where they are told to."""
    intent = change.intent
    ours = {key for key in {*intent.demands, *pairs} if intent.owns(key)}
    absent = {None, ""} if removals is Removals.BLANK else {None}
    demands = {key: intent.demands.get(key) for key in ours}
    return all(pairs.get(key) in absent if value is None else pairs.get(key) == value for key, value in demands.items())


class Accounts:
    """Holds the report of a run against the server's log."""

    def __init__(self, world, run):
        self.world, self.run, self.server = world, run, world.server
        self.posts = {}
        for post in self.server.posts:
            self.posts.setdefault(post.ref, []).append(post)

    def check(self):
        run = self.run
        due = sorted(ref for ref, change in run.changes.items() if change.action is not Action.KEEP)
        assert [outcome.ref for outcome in run.done.outcomes] == due  # one each, and for nothing else
        assert self.posts.keys() <= set(due)
        if self.server.pulled_at is not None:
            assert all(post.arrived <= self.server.pulled_at + LAG for post in self.server.posts), "begun after the end"
        for ref in due:
            self._outcome(run.changes[ref], run.outcomes[ref])
            for post in self.posts.get(ref, ()):
                self._post(run.changes[ref], run.outcomes[ref], post)
        self._document()
        for method in ("GET", "POST"):
            self._pace(method)

    def _pace(self, method):
        """Assert that everybody waited as long as anybody was told to, and that nobody went faster than allowed."""
        arrivals = [instant for of, instant in self.server.arrivals if of == method]
        for of, told, hint in self.server.hints:
            if of == method and hint <= LONGEST_HINT:
                # What was on its way when the answer came through arrives a little later.
                inside = [
                    instant for instant in arrivals if told + 2 * LAG + EARLY < instant < told + LAG + hint - EARLY
                ]
                assert not inside, f"a {method} at {inside} within a hint of {hint} at {told}"
        ceiling = self.server.trouble.ceiling
        if ceiling is not None:
            for number, first in enumerate(arrivals):
                for further, last in enumerate(arrivals[number:]):
                    assert further <= (last - first + LATE) * ceiling / 60 + EARLY, f"too many {method} from {first}"

    def _outcome(self, change, outcome):
        posts = self.posts.get(change.ref, [])
        assert len(posts) <= outcome.writes
        # What was broken off may have had a call on its way that never arrived.
        assert len(posts) == outcome.writes or self.run.cancelled
        if outcome.status in UNTOUCHED:
            assert outcome.writes == 0
        if outcome.status in (OutcomeStatus.APPLIED, OutcomeStatus.BLOCKED):
            assert not (posts and not posts[-1].looked_at), "nobody has looked since"
        lagging = change.ref.kind == LAGGING
        if outcome.status is OutcomeStatus.APPLIED:
            # Where reads lag, looks after the write may show less.
            shown = outcome.seen if lagging else self.server.shown[change.ref]
            assert as_wanted(change, shown, change.rules.removals), (change.intent, shown, outcome, posts)
            assert outcome.seen == shown
            assert shown in self.server.ever_shown[change.ref]
            if posts and not self.run.cancelled and not self.server.trouble.meanwhile:
                assert as_wanted(change, posts[-1].after, change.rules.removals), "it is a lie"
        else:
            assert outcome.fault is not None
            assert outcome.fault.code != "internal", outcome.fault
        if outcome.status is OutcomeStatus.MISSING:
            assert self.server.held(change.ref) is None
        if outcome.status is OutcomeStatus.FAILED and posts and lagging:
            if (
                is_short(self.server.lag)
                and not self._disturbed(change.ref, posts)
                and not self.server.trouble.meanwhile
            ):
                assert outcome.lost or not as_wanted(change, posts[-1].after, change.rules.removals), outcome
        elif outcome.status is OutcomeStatus.FAILED and posts and not self._disturbed(change.ref, posts):
            # A write without a clear answer is settled by a look, and what that shows decides.
            assert posts[-1].looked_at
            shown = self.server.shown[change.ref]
            # Others may have taken away what is theirs and was sent along: that is not as planned either.
            complete = all(key in shown for key, value in posts[-1].entries.items() if value is not None)
            assert outcome.lost or not (complete and as_wanted(change, shown, change.rules.removals))

    def _disturbed(self, ref, posts):
        """Tell whether there was no looking again, or no need of it."""
        refused = 400 <= posts[-1].status < 500
        halted = any(other.lost for other in self.run.done.outcomes)
        return refused or halted or self.server.brake.pulled or ("applying", ref) in self.server.spoilt

    def _post(self, change, outcome, post):
        assert len(post.entries) <= MAX_PAIRS
        if post.before is None or post.after is None:
            return
        planned = change.planned or {}
        for key in {*post.before, *post.after}:
            before, after = post.before.get(key), post.after.get(key)
            if before == after:
                continue
            seen = post.shown is not None and post.shown.get(key) == before
            if change.intent.owns(key):
                if seen and change.observed is not None:
                    known = {change.observed.get(key), planned.get(key), *self._sent(post, key)}
                    assert before in known, f"{key} has moved since the plan, and is written over"
                wanted = planned.get(key)
                halfway = post.entries.get(key) == "" or key not in post.entries  # blanked, or dropped by the server
                assert after == wanted or (after in (None, "") and halfway), f"{key} was to become {wanted}"
            elif seen and post.looked_at and key not in (self.server.shown[post.ref] or {}):
                # Nobody wrote it between our looks and our write: then it is kept, or told to be lost.
                assert outcome.lost.get(key) == before, f"{key} is lost, and nobody says so"

    def _sent(self, post, key):
        """Return what our own updates before this one made of a key."""
        earlier = self.posts[post.ref][: self.posts[post.ref].index(post)]
        return {None if each.after is None else each.after.get(key) for each in earlier}

    def check_learned(self, behaves):
        """Nothing wrong is learned of a server, unless others removed just what we were removing."""
        if not self.server.trouble.meanwhile and not self.server.trouble.deleted:
            for kind, name in self.run.done.learned.items():
                assert name == behaves[kind].name, f"{kind} is said to {name}"

    def _document(self):
        run = self.run
        parts = plan_parts(run.plan, len(run.changes), keeps=True)
        outcomes = tuple(map(outcome_part, run.done.outcomes))
        text = dumps(Document(kind="apply", outcomes=outcomes, learned=run.done.learned, **parts))
        assert dumps(loads(text, "document")) == text

    def check_touched(self):
        """Everything that we changed for good is among what could be turned back."""
        run = self.run
        touched = touched_by(run.plan.changes, run.done.outcomes, run.memory.base)
        for ref, posts in self.posts.items():
            told = {each.key for each in touched.get(ref, ())}
            first, last = posts[0], posts[-1]
            if any(at and edit[0] == ref for at, edit in self.server.trouble.meanwhile) or last.after is None:
                continue  # others wrote, too: what is whose cannot be told from outside
            if ref.kind == LAGGING and last.after not in self.server.ever_shown[ref]:
                continue  # nobody could see it
            ours = {key for key in {*first.before, *last.after} if first.before.get(key) != last.after.get(key)}
            observed = run.changes[ref].observed
            if observed == first.before and all(post.looked_at for post in posts):
                assert ours <= told, "changed, and not recorded"


# --- the stories ------------------------------------------------------------------------------------------------------


class Faults(RuleBasedStateMachine):
    """A server, some manifests, a memory, and whatever may come over them."""

    @initialize(
        data=st.data(),
        thread=dialects,
        conversation=dialects,
        completion=dialects,
        lag=lags,
        removals=st.sampled_from(list(Removals)),
    )
    def begin(self, data, thread, conversation, completion, lag, removals):
        behaves = {"thread": thread[0], "conversation": conversation[0], LAGGING: completion[0]}
        told = {"thread": thread[1], "conversation": conversation[1], LAGGING: completion[1]}
        self.right = {kind: (behaves[kind], told[kind]) not in WRONG for kind in behaves}
        self.rules = {kind: Rules(told[kind], removals) for kind in told}
        self.server = Server(behaves, {ref: data.draw(observed_maps) for ref in REFS}, lag)
        self.declared = {ref: data.draw(declarations(ref)) for ref in REFS}
        self.bases, self.left_over, self.runs = {}, [], 0
        self.sound = True

    def rules_of(self, kind):
        return self.rules[kind]

    def sayable(self, trouble):
        """Return the trouble without the one that nobody can tell from something else.

        Where keys are not removed by leaving them out, a missing field is an empty map by the contract.
        """
        script = {
            (phase, method, ref): [
                None
                if one is Mishap.FIELDLESS and method == "GET" and self.rules[ref.kind].dialect is not REPLACE
                else one
                for one in each
            ]
            for (phase, method, ref), each in trouble.script.items()
        }
        always = () if trouble.always[1:] == (Mishap.FIELDLESS,) and trouble.always[0] == "GET" else trouble.always
        return replace(trouble, script=script, always=always)

    def carry_out(self, trouble):
        self.sound, self.runs = False, self.runs + 1
        run = virtual_time.run(carried_out(self, trouble))
        accounts = Accounts(self, run)
        accounts.check()
        accounts.check_learned(self.server.writes)
        left = recorded(run, self.runs)
        assert accounts.posts.keys() <= left.changes.keys()  # the journal names all that was written to
        if not run.cancelled:
            accounts.check_touched()
            self.bases |= run.memory.taken_over()
            moved = moved_by(run.plan.changes, run.done.outcomes, run.memory.base, "c0ffee")
            self.bases |= {ref: base for ref, base in moved.items() if base is not None}
            self.left_over = [each for each in self.left_over if each not in run.memory.taken_in]
        elif any(outcome.writes for outcome in run.done.outcomes):
            self.left_over.append(left)
        for outcome in run.done.outcomes:
            event(f"{outcome.status} {outcome.fault.code if outcome.fault else ''}")
        self.sound = True
        return run

    @rule(trouble=troubles)
    def run_in_trouble(self, trouble):
        self.carry_out(self.sayable(trouble))

    @rule(trouble=troubles, data=st.data())
    def run_new_manifests_in_trouble(self, trouble, data):
        self.declared = {ref: data.draw(declarations(ref)) for ref in REFS}
        self.carry_out(self.sayable(trouble))

    @rule(ref=refs, data=st.data())
    def edit_a_manifest(self, ref, data):
        self.declared[ref] = data.draw(declarations(ref))

    @rule(edits=st.lists(edits, min_size=1, max_size=4))
    def edited_by_others(self, edits):
        for edit in edits:
            self.server.edit(*edit)

    @rule()
    def rest(self):
        self.server.rest()

    @rule(ref=refs)
    def delete(self, ref):
        if self.server.held(ref) is not None:
            self.server.store.bury(ref)

    @rule(ref=refs, pairs=observed_maps)
    def bring_back(self, ref, pairs):
        if self.server.held(ref) is None:
            self.server.put(ref, pairs)

    @rule()
    @precondition(lambda self: hasattr(self, "server"))
    def run_in_peace(self):
        self.server.rest()
        run = self.carry_out(Trouble())
        if self.server.lag.reads or not is_short(self.server.lag):
            self.server.rest()  # else the next plan sees at once what this one did, by one look at the last of it
        left = self.next_plan()
        for ref, change in left.items():
            if change.action is not Action.KEEP:
                self.explained(run, ref, change)
        for ref, outcome in run.outcomes.items():
            if outcome.status is OutcomeStatus.APPLIED:
                assert left[ref].action is Action.KEEP

    def next_plan(self):
        """Return what the next plan says, once it is known how the server updates."""
        run = virtual_time.run(carried_out(self, Trouble(brake_at=0)))
        return run.changes

    def explained(self, run, ref, change):
        """Assert that what still differs after a run in peace has a reason that was told."""
        outcome = run.outcomes.get(ref)
        assert outcome is not None, f"{ref} differs, and the run before had nothing to say of it"
        if outcome.status is OutcomeStatus.MISSING:
            assert self.server.held(ref) is None
        elif outcome.status is OutcomeStatus.BLOCKED:
            assert outcome.fault.code in ("protected", "unremovable", "empty_unsupported")
        elif outcome.status is OutcomeStatus.NOT_ATTEMPTED:
            assert not self.right[ref.kind]
            assert any(other.lost for other in run.outcomes.values())
        else:
            assert outcome.status is OutcomeStatus.FAILED
            # That nothing can be removed to make room is learned only on the way.
            full = outcome.fault.code == "too_many_pairs" and run.changes[ref].rules.dialect is AUTO
            behind = ref.kind == LAGGING and outcome.fault.code == "not_applied" and not is_short(self.server.lag)
            assert full or behind or run.changes[ref].action is Action.FAILED or not self.right[ref.kind], outcome

    def teardown(self):
        if getattr(self, "sound", False):  # else it is told already what does not hold
            self.run_in_peace()


TestFaults = Faults.TestCase
TestFaults.settings = settings(max_examples=EXAMPLES, stateful_step_count=STEPS)


# --- what the stories have shown --------------------------------------------------------------------------------------


@dataclass
class World:
    """One resource, for a story that is told again and again."""

    server: Server
    declared: dict
    rules: Rules
    bases: dict = field(default_factory=dict)
    left_over: tuple = ()

    def rules_of(self, kind):
        return self.rules


@pytest.mark.parametrize(
    ("dialect", "protect"),
    [(REPLACE, True), (MERGE, False), (MERGE_NULL, True)],
    ids=["replace", "merge", "merge-null"],
)
def test_what_came_between_look_and_write_and_cannot_be_removed_is_not_called_applied(dialect, protect):
    ref = REFS[0]
    server = Server(dict.fromkeys(KINDS, dialect), {ref: {"k0": "1"}})
    declared = {ref: Desired(ref, {"k0": "2"}, Ownership.EXCLUSIVE, protect=protect)}
    world = World(server, declared, Rules(dialect))
    run = virtual_time.run(carried_out(world, Trouble(meanwhile=((2, (ref, "f0", "theirs")),))))
    Accounts(world, run).check()
    # Under `replace` our write takes it away, as asked for; elsewhere it is there, and is not ours to remove.
    left = server.held(ref).keys() - {"k0"}
    assert run.outcomes[ref].status is (OutcomeStatus.BLOCKED if left else OutcomeStatus.APPLIED)
