"""Reading lists of servers of every sort: what is found, what ends a list, what an interrupted run leaves."""

import asyncio
import io
import json
import os
from types import SimpleNamespace

import pytest

from reconciler import settings
from reconciler.cli.candidates import LONGEST_NAME, Collection, brief, condition, scope_of
from reconciler.cli.listing import IDLE, SIGNS, Listed, Walk, unlisted
from reconciler.cli.progress import Tally
from reconciler.cli.spool import LONGEST_AGE, AtWork, Read, Spool, Turn, Unusable, open_spool, sweep, writing
from reconciler.engine import Brake
from reconciler.errors import ApiError, Fault, TargetRefused, WrongUsage
from reconciler.gateway.listing import Odd, Page
from reconciler.gateway.providers import PROVIDERS
from reconciler.model import EMPTY, Missing, Observed, Ref, Unread

URLS = {
    "emulator": "http://emulator.invalid/v1",
    "openai": "https://api.openai.com/v1",
    "compatible": "http://127.0.0.1:9/v1",
    "azure-openai": "https://x.openai.azure.com/openai/v1",
    "azure-foundry": "https://x.services.ai.azure.com/api/projects/p",
}


def target(where="emulator"):
    provider = "openai" if where == "compatible" else where
    url = URLS[where]
    return SimpleNamespace(
        name="test", provider=PROVIDERS[provider], base_url=url, host=url.split("/")[2].split(":")[0],
        organization=None, project=None, query=(), headers=(), secret_headers=(),
    )  # fmt: skip


def scope(*kinds, at="emulator", where=(), below=(), declared=()):
    return scope_of(target(at), kinds, where, below, declared)


def fault(code, status=None):
    return ApiError(Fault(code, f"it is {code}", status))


class Lists:
    """Serves `kept`, from a collection to its ids and maps, two at a time; `instead` has answers for single calls."""

    def __init__(self, kept=None, *, bare=(), instead=None):
        self.kept = {one: dict(held) for one, held in (kept or {}).items()}
        self.bare = bare
        self.instead = {} if instead is None else instead
        self.calls = []

    async def page(self, kind, parent="", *, after=None, where=EMPTY):
        await asyncio.sleep(0)
        self.calls.append((kind, parent, after, dict(where)))
        collection = Collection(kind, parent)
        answer = self.instead.get((collection, after))
        answer = answer(self) if callable(answer) else answer
        if isinstance(answer, Exception):
            raise answer
        if answer is not None:
            return answer
        held = list(self.kept.get(collection, {}).items())
        at = 0 if after is None else [own for own, _ in held].index(after) + 1
        found = held[at : at + 2]
        prefix = f"{parent}/" if parent else ""
        shown = tuple((Ref(kind, prefix + own), None if kind in self.bare else pairs) for own, pairs in found)
        return Page(shown, found[-1][0] if len(held) > at + 2 else None)

    async def fetch(self, ref):
        await asyncio.sleep(0)
        self.calls.append(("read", ref.id))
        answer = self.instead.get(ref)
        if isinstance(answer, Exception):
            raise answer
        parent, _, own = ref.id.rpartition("/")
        return answer or Observed(self.kept[Collection(ref.kind, parent)][own])


def walk(lists, what, *, declared=(), spool=None, pairs=True, parallelism=4):
    brake, listed = Brake(), Listed()
    wanted = lambda ref: ref not in declared  # noqa: E731
    asyncio.run(
        Walk(
            lists=lists, scope=what, parallelism=parallelism, brake=brake, listed=listed, wanted=wanted, pairs=pairs,
            spool=spool,
        ).walk()
    )  # fmt: skip
    return listed


def names(listed):
    return sorted(map(str, listed.found))


THREADS = Collection("thread")
FIVE = {THREADS: {f"t{at}": {"n": str(at)} for at in range(5)}}


# --- what is found ----------------------------------------------------------------------------------------------------


def test_every_page_is_read_and_what_is_declared_is_counted_alone():
    listed = walk(Lists(FIVE), scope("thread"), declared={Ref("thread", "t1")})
    assert names(listed) == ["thread/t0", "thread/t2", "thread/t3", "thread/t4"]
    assert dict(listed.found[Ref("thread", "t3")]) == {"n": "3"}
    assert (listed.declared, listed.shown, listed.complete) == ({Ref("thread", "t1")}, 5, True)


def test_conditions_are_checked_whatever_the_server_does_with_its_filter():
    kept = {Collection("chat_completion"): {"c1": {"a": "1"}, "c2": {"a": "2"}, "c3": {"a": "1", "b": "x"}}}
    lists = Lists(kept)
    assert names(walk(lists, scope("chat_completion", where=["a=1"]))) == ["chat_completion/c1", "chat_completion/c3"]
    assert lists.calls[0][3] == {"a": "1"}
    both = scope("chat_completion", at="compatible", where=["a=1", "b=x"])
    lists = Lists(kept)
    assert names(walk(lists, both)) == ["chat_completion/c3"]
    assert lists.calls[0][3] == {}


def test_what_lies_below_is_listed_for_every_parent_whether_its_pairs_match_or_not():
    kept = {**FIVE, **{Collection("message", f"t{at}"): {f"m{at}": {"n": str(at)}} for at in range(5)}}
    lists = Lists(kept)
    listed = walk(lists, scope("message", where=["n=3"]))
    assert names(listed) == ["message/t3/m3"]
    both = walk(Lists(kept), scope("message", "thread", where=["n=3"]))
    assert names(both) == ["message/t3/m3", "thread/t3"]


def test_a_list_without_metadata_has_each_resource_read_by_itself_and_only_those_that_are_wanted():
    lists = Lists(FIVE, bare={"thread"})
    listed = walk(lists, scope("thread", where=["n=2"]), declared={Ref("thread", "t0")})
    assert names(listed) == ["thread/t2"]
    assert sorted(call[1] for call in lists.calls if call[0] == "read") == ["t1", "t2", "t3", "t4"]
    lists = Lists(FIVE, bare={"thread"})
    assert len(walk(lists, scope("thread"), pairs=False).found) == 5
    assert [call for call in lists.calls if call[0] == "read"] == []


def test_what_goes_while_it_is_listed_is_counted_and_what_fails_is_told():
    gone = Missing(Fault("missing", "gone", 404))
    instead = {Ref("thread", "t1"): gone, Ref("thread", "t2"): Unread(Fault("server_error", "no", 500))}
    listed = walk(Lists(FIVE, bare={"thread"}, instead=instead), scope("thread"))
    assert (len(listed.found), listed.gone, list(listed.unread)) == (3, 1, [Ref("thread", "t2")])
    assert not listed.complete


# --- what ends a list -------------------------------------------------------------------------------------------------


def shown(*own, after=None, told_=True):
    return Page(tuple((Ref("thread", each), EMPTY) for each in own), after, told=told_)


def endless(lists):
    return shown("t0", "t1", after=f"c{len(lists.calls)}")


def empty(lists):
    return shown(after=f"c{len(lists.calls)}")


class Always(dict):
    """The same answer to every page."""

    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def get(self, key, default=None):
        return self.answer


@pytest.mark.parametrize(
    ("answer", "calls"),
    [
        (shown("t0", "t1", after="t1"), 2),  # the cursor is ignored
        (endless, IDLE + 1),  # ever new cursors, never anything new
        (empty, IDLE),
    ],
)
def test_a_list_that_goes_round_in_circles_is_an_error_and_no_endless_loop(answer, calls):
    lists = Lists(instead=Always(answer))
    listed = walk(lists, scope("thread"))
    assert [each.code for each in listed.failed.values()] == ["endless_list"]
    assert len(lists.calls) == calls


def test_what_the_page_shows_that_ends_an_endless_list_is_kept_and_the_list_is_not_complete(session):
    pages = {None: shown("t0", after="a"), "a": shown("t1", after="a")}
    instead = {(THREADS, after): page for after, page in pages.items()}
    spool = open_spool(session, scope("thread"), fresh=False)
    listed = walk(Lists(instead=instead), scope("thread"), spool=spool)
    assert (names(listed), [each.code for each in listed.failed.values()]) == (THREE[:2], ["endless_list"])
    spool.leave()
    spool = open_spool(session, scope("thread"), fresh=False)
    mended = walk(Lists(instead={(THREADS, "a"): shown("t2")}), scope("thread"), spool=spool)
    assert (names(mended), mended.complete) == (THREE, True)
    spool.settle()


THREE = ["thread/t0", "thread/t1", "thread/t2"]


def test_where_a_server_does_not_say_whether_there_is_more_nothing_new_is_the_end():
    lists = Lists(instead=Always(shown("t0", "t1", after="t1", told_=False)))
    listed = walk(lists, scope("thread"))
    assert (names(listed), listed.complete, len(lists.calls)) == (["thread/t0", "thread/t1"], True, 2)


def test_a_few_empty_pages_and_objects_that_are_shown_twice_end_nothing():
    pages = {None: shown("t0", after="a"), "a": shown(after="b"), "b": shown("t0", "t1", after="c"), "c": shown("t2")}
    listed = walk(Lists(instead={(THREADS, after): page for after, page in pages.items()}), scope("thread"))
    assert (names(listed), listed.again) == (["thread/t0", "thread/t1", "thread/t2"], 1)


def test_a_cursor_that_the_server_has_forgotten_begins_the_list_again_once():
    forgotten = [fault("rejected", 400)]
    lists = Lists(FIVE, instead={(THREADS, "t1"): lambda _: forgotten.pop() if forgotten else None})
    listed = walk(lists, scope("thread"))
    assert (len(listed.found), listed.restarted, listed.complete) == (5, [THREADS], True)
    lists = Lists(FIVE, instead={(THREADS, "t1"): fault("rejected", 400)})
    assert list(walk(lists, scope("thread")).failed) == [THREADS]


GONE = [("unlisted", 404), ("missing", 404), ("unlisted", 405), ("unlisted", 501)]
MESSAGES = Collection("message", "t0")


@pytest.mark.parametrize(("code", "status"), GONE)
def test_a_list_that_has_shown_a_page_is_there_and_a_later_one_that_is_not_is_a_failure(code, status, session):
    spool = open_spool(session, scope("thread"), fresh=False)
    listed = walk(Lists(FIVE, instead={(THREADS, "t1"): fault(code, status)}), scope("thread"), spool=spool)
    spool.leave()
    assert [each.code for each in listed.failed.values()] == ["broken_list"]
    assert (listed.complete, listed.shown, listed.unlisted, listed.gone) == (False, 2, {}, 0)
    spool = open_spool(session, scope("thread"), fresh=False)
    again = walk(Lists(FIVE), scope("thread"), spool=spool)
    assert (len(again.found), again.shown, again.complete) == (5, 5, True), "the next run tries it again"
    spool.settle()
    kept = {**FIVE, MESSAGES: {f"m{at}": {} for at in range(5)}}
    below = walk(Lists(kept, instead={(MESSAGES, "m1"): fault(code, status)}), scope("message"))
    assert (list(below.failed), below.gone, len(below.found)) == ([MESSAGES], 0, 2)


@pytest.mark.parametrize("top", ["unlisted", "missing"])
def test_a_parent_that_goes_between_two_pages_is_a_note_and_a_list_of_a_kind_never_goes(top):
    seen = []

    def once(answer):
        return lambda _: answer if seen or seen.append(1) else None

    kept = {**FIVE, **{Collection("message", f"t{at}"): {f"m{x}": {} for x in range(5)} for at in range(5)}}
    instead = {(MESSAGES, None): once(fault(top, 404)), (MESSAGES, "m1"): fault("missing", 404)}
    listed = walk(Lists(kept, instead=instead), scope("message"))
    assert (listed.failed, listed.gone, listed.restarted) == ({}, 1, [MESSAGES])
    seen.clear()
    instead = {(THREADS, None): once(fault(top, 404)), (THREADS, "t1"): fault("unlisted", 404)}
    listed = walk(Lists(FIVE, instead=instead), scope("thread"))
    assert [each.code for each in listed.failed.values()] == ["broken_list"]


def test_a_list_that_is_read_from_its_top_again_counts_once_in_this_run_and_the_next(session):
    forgotten = [fault("rejected", 400)]
    instead = {(THREADS, "t1"): lambda _: forgotten.pop() if forgotten else None, (THREADS, "t3"): fault("network")}
    spool = open_spool(session, scope("thread"), fresh=False)
    assert walk(Lists(FIVE, instead=instead), scope("thread"), spool=spool).shown == 4
    spool.leave()
    spool = open_spool(session, scope("thread"), fresh=False)
    listed = walk(Lists(FIVE), scope("thread"), spool=spool)
    assert (listed.shown, listed.earlier, len(listed.found)) == (5, 4, 5)
    spool.settle()


def test_a_page_of_odd_objects_is_told_and_the_list_goes_on():
    odd = Page((), "x", (Odd("a b", "why"), Odd("an object without an id", "no id")))
    listed = walk(Lists(instead={(THREADS, None): odd, (THREADS, "x"): shown("t0")}), scope("thread"))
    assert (names(listed), len(listed.odd)) == (["thread/t0"], 2)


def test_pages_of_nothing_but_odd_objects_are_new_as_long_as_they_differ():
    pages = {at or None: Page((), at + 1, (Odd(f"a {at}", "why"),)) for at in range(2 * IDLE)}
    pages[2 * IDLE] = shown("t0")
    listed = walk(Lists(instead={(THREADS, after): page for after, page in pages.items()}), scope("thread"))
    assert (names(listed), len(listed.odd), listed.complete) == (["thread/t0"], 2 * IDLE, True)


# --- what fails -------------------------------------------------------------------------------------------------------


def test_a_list_that_fails_costs_itself_alone():
    instead = {(Collection("assistant"), None): fault("server_error", 500), (Collection("eval"), None): ValueError("x")}
    listed = walk(Lists(FIVE, instead=instead), scope())
    assert len(listed.found) == 5
    assert {one.kind: each.code for one, each in listed.failed.items()} == {
        "assistant": "server_error",
        "eval": "internal",
    }


def test_a_credential_that_is_good_for_other_kinds_ends_one_kind_and_any_other_refusal_ends_the_run():
    forbidden = TargetRefused(Fault("forbidden", "no scope", 403))
    listed = walk(Lists(FIVE, instead={(Collection("vault"), None): forbidden}), scope())
    assert (len(listed.found), [one.kind for one in listed.failed]) == (5, ["vault"])
    refused = TargetRefused(Fault("unauthorized", "bad key", 401))
    listed = walk(Lists(FIVE, instead=Always(refused)), scope())
    assert (listed.found, len(listed.refusals)) == ({}, 1)


BELOW = {at: Collection("message", f"t{at}") for at in range(5)}


def test_a_refusal_below_one_parent_bars_the_kind_unless_another_list_of_it_was_served():
    kept = {**FIVE, **{one: {f"m{at}": {}} for at, one in BELOW.items()}}
    forbidden = TargetRefused(Fault("forbidden", "no", 403))
    listed = walk(Lists(kept, instead={(BELOW[1], None): forbidden}), scope("message"), parallelism=1)
    assert (sorted(ref.id[:2] for ref in listed.found), list(listed.failed)) == (["t0", "t2", "t3", "t4"], [BELOW[1]])
    lists = Lists(kept, instead={(BELOW[0], None): forbidden})
    listed = walk(lists, scope("message"), parallelism=1)
    assert (listed.found, list(listed.failed)) == ({}, [BELOW[0]])
    assert sum(call[0] == "message" for call in lists.calls) == 1


def test_parents_that_are_gone_say_nothing_of_a_kind_of_which_a_list_was_served():
    kept = {**FIVE, BELOW[0]: {"m0": {}}, BELOW[4]: {"m4": {}}}
    instead = {(BELOW[at], None): fault("unlisted", 404) for at in (1, 2, 3)}
    listed = walk(Lists(kept, instead=instead), scope("message"), parallelism=1)
    assert (names(listed), listed.gone) == (["message/t0/m0", "message/t4/m4"], 3)
    assert (listed.unlisted, listed.complete) == ({}, True)


def test_a_list_that_is_served_after_its_kind_was_called_unlisted_brings_back_those_that_were_skipped():
    class Slow(Lists):
        async def page(self, kind, parent="", *, after=None, where=EMPTY):
            for _ in range(50 if parent == "t0" else 0):
                await asyncio.sleep(0)
            return await super().page(kind, parent, after=after, where=where)

    kept = {THREADS: {f"t{at}": {} for at in range(6)}, BELOW[0]: {"m0": {}}, Collection("message", "t5"): {"m5": {}}}
    instead = {(BELOW[at], None): fault("unlisted", 404) for at in (1, 2, 3)}
    lists = Slow(kept, instead=instead)
    listed = walk(lists, scope("message"), parallelism=2)
    assert (names(listed), listed.gone) == (["message/t0/m0", "message/t5/m5"], 3)
    assert (listed.unlisted, listed.complete, listed.lists) == ({}, True, 4)
    assert [call[1] for call in lists.calls][-2:] == ["t4", "t5"]


def test_nothing_but_failures_ends_the_run():
    kept = {THREADS: {f"t{at}": {} for at in range(200)}}
    lists = Lists(kept)
    lists.instead = Failing("message", fault("network"))
    listed = walk(lists, scope("message"), parallelism=2)
    assert [each.code for each in listed.refusals] == ["breaker"]
    assert len(lists.calls) < 280, "there were 300 to make"


class Failing(dict):
    """The same answer to every page of one kind."""

    def __init__(self, kind, answer):
        super().__init__()
        self.kind, self.answer = kind, answer

    def get(self, key, default=None):
        return self.answer if not isinstance(key, Ref) and key[0].kind == self.kind else None


def test_a_kind_that_the_server_does_not_list_is_no_failure_and_its_declared_ones_are_looked_below():
    lists = Lists({Collection("message", "t9"): {"m1": {"a": "b"}}}, instead={(THREADS, None): fault("unlisted", 404)})
    what = scope("message", "thread", at="compatible", declared=[Ref("thread", "t9"), Ref("run", "t8/r")])
    listed = walk(lists, what)
    assert (names(listed), list(listed.unlisted), listed.complete) == (["message/t9/m1"], ["thread"], True)
    nobody = scope("message", at="compatible")
    listed = walk(Lists(instead={(THREADS, None): fault("unlisted", 404)}), nobody)
    assert "--below thread/ID" in unlisted(nobody, listed)["message"]


def test_lists_below_parents_tell_by_each_other_whether_a_parent_is_gone():
    kept = {**FIVE, **{Collection("message", f"t{at}"): {"m": {}} for at in range(5)}}
    instead = {(Collection("message", "t0"), None): fault("unlisted", 404)}
    listed = walk(Lists(kept, instead=instead), scope("message"))
    assert (len(listed.found), listed.gone, listed.unlisted) == (4, 1, {})
    lists = Lists({THREADS: {f"t{at}": {} for at in range(40)}})
    lists.instead = Failing("message", fault("unlisted", 404))
    listed = walk(lists, scope("message"), parallelism=1)
    assert list(listed.unlisted) == ["message"]
    assert sum(call[0] == "message" for call in lists.calls) == SIGNS


# --- which kinds, and below what --------------------------------------------------------------------------------------


def test_without_a_kind_everything_is_listed_that_can_be_at_a_place():
    assert len(scope().kinds) == 14
    assert not scope(at="openai").kinds & {"thread", "message", "run", "assistant", "conversation"}
    assert scope(at="azure-openai").kinds & {"thread", "conversation", "message"} == {"message"}
    assert {"thread", "conversation", "run"} <= scope(at="compatible").kinds & scope(at="azure-foundry").kinds


@pytest.mark.parametrize(
    ("at", "how", "says"),
    [
        ("openai", {"kinds": ["thread"]}, ["retired", "2026-08-26", "conversation"]),
        ("openai", {"kinds": ["conversation"]}, ["conversations cannot be listed at api.openai.com", "--ids-from"]),
        ("azure-openai", {"kinds": ["thread"]}, ["azure-openai", "--ids-from"]),
        ("azure-openai", {"kinds": ["message"]}, ["--below thread/ID", "--ids-from"]),
        ("emulator", {"kinds": ["threads"]}, ["did you mean thread?"]),
        ("emulator", {"kinds": ["\x1b[31m"]}, ["no kind"]),
        ("emulator", {"below": ["thread/.."]}, ["no id"]),
        ("emulator", {"below": ["conversation/c1"]}, ["write thread/ID, vault/ID, vector_store/ID"]),
        ("emulator", {"kinds": ["eval"], "below": ["thread/t"]}, ["messages and runs", "--kind message or --kind run"]),
        ("openai", {"below": ["thread/t1"]}, ["retired"]),
        ("emulator", {"where": ["plan"]}, ["KEY=VALUE"]),
        ("emulator", {"where": ["=x"]}, ["KEY=VALUE"]),
        ("emulator", {"where": ['"a=b']}, ["JSON"]),
        ("emulator", {"where": ["a=\udce9"]}, ["UTF-8"]),
    ],
)
def test_what_cannot_be_listed_is_wrong_usage_that_names_a_way_out(at, how, says):
    with pytest.raises(WrongUsage) as caught:
        scope_of(target(at), how.get("kinds", ()), how.get("where", ()), how.get("below", ()), [])
    for each in says:
        assert each in str(caught.value)
    assert str(caught.value).isprintable()


def test_below_parents_that_are_named_nobody_lists_the_parents():
    lists = Lists({Collection("message", "t1"): {"m": {}}, Collection("run", "t1"): {"r": {}}})
    listed = walk(lists, scope(below=["thread/t1"]))
    assert names(listed) == ["message/t1/m", "run/t1/r"]
    assert {call[0] for call in lists.calls} == {"message", "run"}


@pytest.mark.parametrize(
    ("told_", "kind", "metadata", "holds"),
    [
        ("plan=gold", "thread", {"plan": "gold"}, True),
        ("plan=gold", "thread", {"plan": "Gold"}, False),
        ("plan=gold", "thread", {}, False),
        ("a=b=c", "thread", {"a": "b=c"}, True),
        ('"a=b"=c', "thread", {"a=b": "c"}, True),
        ("a=", "thread", {"a": ""}, True),
        ("n=1", "thread", {"n": "1"}, True),
        ("n=1", "thread", {"n": 1}, False),
        ('n="1"', "thread", {"n": '"1"'}, True),
        ("n=1", "vector_store_file", {"n": 1}, True),
        ("n=1", "vector_store_file", {"n": 1.0}, True),
        ("n=1", "vector_store_file", {"n": True}, False),
        ("n=1", "vector_store_file", {"n": "1"}, False),
        ("n=true", "vector_store_file", {"n": True}, True),
        ('n="true"', "vector_store_file", {"n": "true"}, True),
        ("n=gold", "vector_store_file", {"n": "gold"}, True),
        ("n=NaN", "vector_store_file", {"n": "NaN"}, True),
        ("n=1e999", "vector_store_file", {"n": "1e999"}, True),
        ("n=[1]", "vector_store_file", {"n": "[1]"}, True),
    ],
)
def test_a_condition_compares_as_the_kind_has_its_values(told_, kind, metadata, holds):
    from reconciler.kinds import KINDS

    assert condition(told_).holds(KINDS[kind], metadata) is holds


def test_a_list_is_called_by_its_kind_and_its_parent():
    assert brief(Collection("vector_store_file", "vs_1")) == "vector store files below vector_store/vs_1"
    assert brief(Collection("vault_credential")) == "vault credentials"
    assert (len(brief(Ref("thread", "x" * 999))), brief(Ref("thread", "x"))) == (LONGEST_NAME, "thread/x")


# --- going on ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def session(tmp_path):
    return SimpleNamespace(target=target(), repository=None, settings=SimpleNamespace(root=tmp_path))


def kept(session):
    """Return how many entries an earlier run has left."""
    spool = open_spool(session, scope("thread"), fresh=False)
    spool.leave()
    return len(spool.earlier)


def killed(lists, what, session, calls):
    """Walk until so many calls were made; what is on disk then is what a killed process leaves."""
    spool = open_spool(session, what, fresh=False)
    brake, listed = Brake(), Listed()

    class Dying:
        async def page(self, *of, **how):
            if len(lists.calls) >= calls:
                brake.pull("killed")
                await asyncio.sleep(1)
            return await lists.page(*of, **how)

        fetch = lists.fetch

    asyncio.run(
        Walk(
            lists=Dying(), scope=what, parallelism=2, brake=brake, listed=listed, wanted=lambda _: True, spool=spool
        ).walk()
    )
    spool.leave()
    return spool.path


@pytest.mark.parametrize("calls", range(1, 14))
def test_wherever_an_import_is_killed_the_next_one_goes_on_and_finds_the_same(calls, session):
    kept = {**FIVE, **{Collection("message", f"t{at}"): {f"m{x}": {"n": "1"} for x in range(3)} for at in range(3)}}
    what = scope("message", "thread")
    all_of_it = walk(Lists(kept), what)
    first, second = Lists(kept), Lists(kept)
    path = killed(first, what, session, calls)
    assert oct(path.stat().st_mode & 0o777) == "0o600"
    with path.open("ab") as file:
        file.write(b'["page","thread","",null,2,[["t')  # a line that a crash cut short
    spool = open_spool(session, what, fresh=False)
    assert spool.earlier
    listed = walk(second, what, spool=spool)
    assert listed.found == all_of_it.found
    assert len(first.calls) + len(second.calls) <= len(set(first.calls_) | set(second.calls_)) + 2
    spool.settle()
    assert not path.exists()


Lists.calls_ = property(lambda self: [json.dumps(each) for each in self.calls])


def test_resources_that_were_not_read_before_the_end_are_read_by_the_next_run(session):
    what = scope("thread")
    lists = Lists(FIVE, bare={"thread"})
    spool = open_spool(session, what, fresh=False)
    spool.add(Turn(THREADS, None, 3, tuple((own, None) for own in ("t0", "t1", "t2"))))
    spool.add(Read("thread", "t1", {"n": "1", "half": "\ud800"}))
    spool.leave()
    spool = open_spool(session, what, fresh=False)
    listed = walk(lists, what, spool=spool)
    spool.settle()
    assert sorted(call[1] for call in lists.calls) == ["t0", "t2"]
    assert dict(listed.found[Ref("thread", "t1")]) == {"n": "1", "half": "\ud800"}


@pytest.mark.parametrize(
    "what",
    [scope("thread", "run"), scope("thread", where=["a=b"]), scope("message", below=["thread/x"])],
    ids=["other kinds", "another condition", "another parent"],
)
def test_what_was_kept_for_another_import_is_left_to_that_one(what, session):
    spool = open_spool(session, scope("thread"), fresh=False)
    spool.add(Turn(THREADS, None, 1, (("t0", {}),)))
    spool.leave()
    other = open_spool(session, what, fresh=False)
    assert (other.earlier, other.path != spool.path) == ([], True)
    other.settle()
    assert kept(session) == 1
    session.target.base_url += "/other"
    assert kept(session) == 0


@pytest.mark.parametrize(
    "other",
    [
        {"organization": "org_2"}, {"project": "proj_2"}, {"query": (("tenant", "2"),)}, {"headers": (("x-t", "2"),)},
        {"secret_headers": (("x-t", "THEIRS"),)}, {"secret_headers": (("x-u", "OURS"),)},
    ],
    ids=str,
)  # fmt: skip
def test_what_was_kept_for_one_tenant_is_never_taken_for_another(other, session, monkeypatch):
    monkeypatch.setenv("OURS", "a-secret-of-ours")
    monkeypatch.setenv("THEIRS", "a-secret-of-ours")
    session.target.secret_headers = (("x-t", "OURS"),)
    spool = open_spool(session, scope("thread"), fresh=False)
    spool.add(Turn(THREADS, None, 1, (("t0", {}),)))
    spool.leave()
    assert b"a-secret-of-ours" not in spool.path.read_bytes()
    before = {name: getattr(session.target, name) for name in other}
    vars(session.target).update(other)
    assert kept(session) == 0
    vars(session.target).update(before)
    assert kept(session) == 1
    monkeypatch.setenv("OURS", "a-secret-of-theirs")
    assert kept(session) == 0


def test_a_cursor_stays_where_it_is_when_the_page_of_its_parent_comes_later(session):
    what = scope("message")
    spool = open_spool(session, what, fresh=False)
    spool.add(Turn(BELOW[0], "m1", 2, (("t0/m0", {}), ("t0/m1", {}))))
    spool.add(Turn(THREADS, None, 1, (), ("t0",)))
    spool.leave()
    spool = open_spool(session, what, fresh=False)
    lists = Lists({THREADS: {"t0": {}}, BELOW[0]: {f"m{at}": {} for at in range(3)}})
    listed = walk(lists, what, spool=spool)
    spool.settle()
    assert (names(listed), listed.shown) == ([f"message/t0/m{at}" for at in range(3)], 4)
    assert [call[:3] for call in lists.calls] == [("message", "t0", "m1")]


def test_a_last_line_without_its_end_is_torn_even_where_it_is_whole(session):
    spool = open_spool(session, scope("thread"), fresh=False)
    for at in range(2):
        spool.add(Turn(THREADS, f"t{at}", 1, ((f"t{at}", {}),)))
    spool.leave()
    whole = spool.path.read_bytes()
    spool.path.write_bytes(whole.rstrip(b"\n"))
    spool = open_spool(session, scope("thread"), fresh=False)
    assert len(spool.earlier) == 1
    spool.add(Turn(THREADS, "t1", 1, (("t1", {}),)))
    spool.leave()
    assert spool.path.read_bytes() == whole


def test_a_link_by_the_name_of_the_file_is_not_followed(session, tmp_path):
    spool = open_spool(session, scope("thread"), fresh=False)
    spool.settle()
    other = tmp_path / "mine.txt"
    other.write_text("mine")
    spool.path.symlink_to(other)
    with pytest.raises(Unusable):
        open_spool(session, scope("thread"), fresh=False)
    assert other.read_text() == "mine"


def test_what_is_too_old_is_of_the_future_or_is_not_wanted_is_begun_anew(session):
    runs = [(0.0, False, 0), (LONGEST_AGE, False, 1), (2e9, False, 0), (1e9, False, 0), (1e9, True, 0)]
    for clock, fresh, count in runs:
        spool = open_spool(session, scope("thread"), fresh=fresh, clock=clock)
        assert len(spool.earlier) == count, clock
        spool.add(Turn(THREADS, "t0", 1, (("t0", {}),)))
        spool.leave()


@pytest.mark.parametrize(
    "damage",
    [
        b"", b"\n", b"{}\n", b"[]\n", b"\xff\n", b'["page"]\n', b'["read","thread","t",5]\n', b"[" * 9999 + b"\n",
        b'["page","nothing","",null,0,[],[],[]]\n', b'["page","thread","",null,0,[["",{}]],[],[]]\n',
        b'["page","thread","",null,0,[[5,{}]],[],[]]\n', b'["page","thread","",5,0,[],[],[]]\n',
        b'[["page"],"thread"]\n', b'["again","thread"]\n', b'["again","thread",5]\n',
        b'["page",["x"],1,2,3,4,5,6]\n', b'["page","thread","",null,Infinity,[],[],[]]\n',
        b'["page","thread","",null,1e999,[],[],[]]\n', b'{"begun":1' + b"0" * 400 + b"}\n",
    ],
)  # fmt: skip
def test_a_line_that_says_nothing_ends_what_is_gone_on_from(damage, session):
    spool = open_spool(session, scope("thread"), fresh=False)
    spool.add(Turn(THREADS, "t1", 1, (("t0", {"a": "b"}),)))
    spool.leave()
    good = spool.path.read_bytes()
    spool.path.write_bytes(good + damage + good)
    assert kept(session) == 1
    assert spool.path.read_bytes() == good
    spool.path.write_bytes(damage)
    assert kept(session) == 0


def test_two_imports_of_the_same_at_once_and_a_folder_that_cannot_be_made_are_told(session):
    spool = open_spool(session, scope("thread"), fresh=False)
    with pytest.raises(AtWork, match="another import"):
        open_spool(session, scope("thread"), fresh=False)
    spool.settle()
    (session.settings.root / "file").write_text("")
    session.settings.root = session.settings.root / "file"
    with pytest.raises(Unusable):
        open_spool(session, scope("thread"), fresh=False)


def test_what_is_too_old_is_taken_away_by_any_run_unless_somebody_has_it_open(session):
    sweep(session)  # nothing is there, not even a folder
    told_ = [scope("thread"), scope("message"), scope("run")]
    paths = []
    for what in told_[:2]:
        spool = open_spool(session, what, fresh=False, clock=1e9)
        spool.leave()
        paths.append(spool.path)
    held = open_spool(session, told_[2], fresh=False, clock=1e9)
    odd = held.path.with_name("import-odd.jsonl")
    odd.write_bytes(b"no head")
    sweep(session, 1e9 + LONGEST_AGE)
    assert all(path.exists() for path in paths)
    sweep(session, 1e9 + LONGEST_AGE + 1)
    assert ([path.exists() for path in paths], held.path.exists(), odd.exists()) == ([False, False], True, True)
    held.settle()


def test_one_import_writes_at_a_time_and_leaves_no_lock_behind(session, tmp_path):
    with writing(session), pytest.raises(AtWork, match="another import writes"), writing(session, patience=0.0):
        pass
    with writing(session, patience=0.0):
        assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_full_costs_the_resuming_and_nothing_else(tmp_path):
    spool = Spool(tmp_path / "import.jsonl", os.fdopen(os.open("/dev/full", os.O_WRONLY), "wb", buffering=0))
    listed = walk(Lists(FIVE), scope("thread"), spool=spool)
    assert (len(listed.found), spool.failed) == (5, "No space left on device")
    spool.leave()


def test_in_a_repository_it_lies_in_the_git_directory(session, tmp_path):
    session.repository = SimpleNamespace(common=tmp_path / "git")
    spool = open_spool(session, scope("thread"), fresh=False)
    assert spool.path.parent == tmp_path / "git" / "reconciler" / "test"
    spool.settle()
    assert settings.OWN_FOLDER == ".reconciler"


# --- how far it is ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        (None, "Listing  1,300 objects  1/21 lists  260/s\n"),
        (80, "\r\x1b[KListing  0 objects  0/0 lists\r\x1b[KListing  1,300 objects  1/21 lists  260/s"),
        (20, ""),
    ],
)
def test_progress_tells_objects_and_lists_because_nobody_knows_how_many_there_will_be(columns, said):
    now, stream = [0.0], io.StringIO()
    meter = Tally(0, "Listing", stream, lambda: now[0], (lambda: columns) if columns else None)
    meter.add(100, 0, 1)
    now[0] = 5.0
    meter.add(1200, 1, 21)
    assert stream.getvalue() == said
