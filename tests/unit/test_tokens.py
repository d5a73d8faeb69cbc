"""Tokens that end: what a source printed, when the next one is asked for, and who keeps the one in use."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import time
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.gateway.keeper import Keeper
from reconciler.gateway.tokens import EARLY, LARGEST, PAUSE, NoToken, Token, due, jwt_expiry, token_in

NOW = 1_800_000_000.0


def jwt(**claims):
    body = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"eyJhbGciOiJub25lIn0.{body}.c2ln"


# --- what a source printed --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("printed", "text", "expires"),
    [
        ("tok-1\n", "tok-1", None),
        ("\ufefftok-1\r\n", "tok-1", None),
        ('"tok-1"\n', "tok-1", None),  # az with --query accessToken
        (jwt(exp=NOW + 60), jwt(exp=NOW + 60), NOW + 60),
        (jwt(sub="x"), jwt(sub="x"), None),
        # az: seconds since 1970 beat the local time beside them
        ({"accessToken": "t", "expires_on": NOW + 9, "expiresOn": "2001-01-01 00:00:00.000000"}, "t", NOW + 9),
        ({"accessToken": "t", "expires_on": str(int(NOW) + 9)}, "t", NOW + 9),
        ({"accessToken": "t", "expiresOn": "2027-01-15 08:00:09.250000"}, "t", NOW + 9.25),
        # azd
        ({"token": "t", "expiresOn": "2027-01-15T08:00:09Z"}, "t", NOW + 9),
        ({"token": "t", "expiresOn": "2027-01-15T08:00:09.123456789Z"}, "t", NOW + 9.123456),
        ({"token": "t", "expiresOn": "2027-01-15T10:00:09+02:00"}, "t", NOW + 9),
        # OAuth 2.0 and what else is about
        ({"access_token": "t", "expires_in": 3599}, "t", NOW + 3599),
        ({"access_token": "t", "expires_in": "3599", "token_type": "Bearer"}, "t", NOW + 3599),
        ({"access_token": "t", "expires_at": NOW + 5}, "t", NOW + 5),
        ({"access_token": "t", "expires_at": (NOW + 5) * 1000}, "t", NOW + 5),
        ({"access_token": "t", "expires_at": "2027-01-15T08:00:05Z"}, "t", NOW + 5),
        # what cannot be read tells nothing; then the token itself may
        ({"access_token": "t", "expires_in": True, "expires_at": [], "expires_on": "soon"}, "t", None),
        ({"access_token": "t", "expires_on": 1e400}, "t", None),
        ({"token": jwt(exp=NOW + 7), "expiresOn": "tomorrow"}, jwt(exp=NOW + 7), NOW + 7),
        ({"token": jwt(exp=NOW + 7), "expires_in": 100}, jwt(exp=NOW + 7), NOW + 100),
        ({"accessToken": None, "token": "t"}, "t", None),
    ],
)
def test_a_token_is_found_in_what_the_common_tools_print(printed, text, expires, monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    raw = printed if isinstance(printed, str) else json.dumps(printed)
    found = token_in(raw.encode(), NOW)
    assert (found.text, found.expires) == (text, expires)
    assert text not in repr(found)


@pytest.mark.parametrize(
    ("zone", "left"), [("UTC", 0), ("Etc/GMT-5", -5 * 3600), ("Etc/GMT+5", 5 * 3600)]
)  # the signs of POSIX are the wrong way round
def test_a_date_without_a_zone_is_local_time(zone, left, monkeypatch):
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    found = token_in(b'{"accessToken": "t", "expiresOn": "2027-01-15 20:00:00.000000"}', NOW)
    assert found.expires == NOW + 12 * 3600 + left


@pytest.fixture(autouse=True)
def _own_zone():
    before = os.environ.get("TZ")
    yield
    os.environ.pop("TZ", None) if before is None else os.environ.update(TZ=before)
    time.tzset()


@pytest.mark.parametrize(
    ("printed", "reason"),
    [
        (b"", "printed nothing"),
        (b" \n", "printed nothing"),
        (b"\xff\xfe", "no text"),
        (b"two words", "spaces, line breaks or special characters"),
        (b"line-1\nline-2", "spaces, line breaks or special characters"),
        ("tökén".encode(), "spaces, line breaks or special characters"),
        (b"a\x1b[31mb", "spaces, line breaks or special characters"),
        (b'{"token": "a\\r\\nX-Evil: 1"}', "spaces, line breaks or special characters"),
        (b'{"token": ""}', "JSON without a token"),
        (b'{"token": " ", "accessToken": null}', "JSON without a token"),
        (b'["hidden-1"]', "JSON without a token: a list"),
        (b" 12345.6e7\n", "JSON without a token: a number"),
        (b"4567", "JSON without a token: a number"),
        (b"null", "JSON without a token: null"),
        (b"true", "JSON without a token: true or false"),
        (b"false", "JSON without a token: true or false"),
        (b'" "', "printed an empty text"),
        (b'{"token": 5}', "JSON without a token"),
        (b"{}", "JSON without a token"),
        (b'{"token": "hidden-1"', "JSON that is broken"),
        (b"[" * 100_000, "JSON that is broken"),
        (b"x" * (LARGEST + 1), "more than"),
        (b'{"token": "t", "expires_in": 0}', "ended 0 s ago"),
        (jwt(exp=NOW - 90).encode(), "ended 90 s ago"),
        (b'{"token": "t", "expires_on": 1}', "ended long ago"),
    ],
)
def test_what_is_no_token_is_refused_without_a_word_of_it(printed, reason):
    with pytest.raises(ValueError, match=reason) as caught:
        token_in(printed, NOW)
    assert "hidden" not in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "printed",
    [b" t-1 \n", b'" t-1\\n"', b'{"token": " t-1\\n"}', b'{"accessToken": "", "access_token": " ", "token": "t-1"}'],
)
def test_spaces_around_a_token_are_not_its_own_and_an_empty_one_is_passed_over(printed):
    assert token_in(printed, NOW).text == "t-1"


@given(st.binary(max_size=200))
def test_whatever_is_printed_gives_a_token_that_a_header_can_carry_or_a_reason(printed):
    try:
        found = token_in(printed, NOW)
    except ValueError:
        return
    assert found.text
    assert all("!" <= char <= "~" for char in found.text)
    assert found.expires is None or found.expires > NOW


@given(st.text(max_size=50))
def test_no_text_but_a_token_with_a_number_in_it_tells_an_end(text):
    assert jwt_expiry(text) is None or text.count(".") == 2
    assert jwt_expiry(f"a.{text}.b") is None or isinstance(jwt_expiry(f"a.{text}.b"), float)


# --- when -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("left", "expected"),
    [(3600, 3600 - EARLY), (1500, 1200), (100, 80), (12, PAUSE), (4, 4), (0.5, 0.5)],
)
def test_the_next_token_is_asked_for_minutes_before_the_end_and_later_for_a_short_lived_one(left, expected):
    assert due(NOW, NOW + left) == NOW + expected


def test_nothing_is_due_where_no_end_is_told():
    assert due(NOW, None) == inf


@given(st.floats(0.001, 1e9))
def test_it_is_never_asked_for_at_once_nor_after_the_end(left):
    at = due(NOW, NOW + left)
    assert NOW < at <= NOW + left
    assert at >= min(NOW + PAUSE, NOW + left)


# --- who keeps it -----------------------------------------------------------------------------------------------------


class Source:
    """Gives tokens that last `lasting` seconds, one after the other (or those told); `now` is the time."""

    runs_commands = False

    def __init__(self, lasting=3600.0, given=()):
        self.now = NOW
        self.asked = 0
        self.lasting = lasting
        self.given = list(given)
        self.gate = None

    def wall(self):
        return self.now

    async def obtain(self, wall):
        self.asked += 1
        number = self.asked
        await asyncio.sleep(0)
        if self.gate is not None:
            await self.gate.wait()
        found = self.given.pop(0) if self.given else f"token-{number}"
        if isinstance(found, Exception):
            raise found
        return Token(found, None if self.lasting is None else wall() + self.lasting)


def kept(source, work):
    keeper = Keeper(source, source.wall)
    return keeper, asyncio.run(work(keeper))


def test_all_calls_that_need_a_token_ask_once():
    source = Source()

    async def work(keeper):
        return await asyncio.gather(*(keeper.current() for _ in range(50)))

    keeper, tokens = kept(source, work)
    assert set(tokens) == {"token-1"}
    assert (source.asked, keeper.at_hand()) == (1, "token-1")


def test_a_token_is_used_until_it_is_due_then_the_next_one_comes_without_anybody_waiting():
    source = Source()

    async def work(keeper):
        seen = [await keeper.current()]
        for later in (3600 - EARLY - 1, 1, 0, 0):
            source.now += later
            seen.append(keeper.at_hand())
            for _ in range(3):
                await asyncio.sleep(0)
        return seen

    assert kept(source, work)[1] == ["token-1", "token-1", "token-1", "token-2", "token-2"]
    assert source.asked == 2


def test_a_token_that_has_ended_is_not_used_any_more():
    source = Source()

    async def work(keeper):
        await keeper.current()
        source.now += 3600
        assert keeper.at_hand() is None
        return await asyncio.gather(keeper.current(), keeper.current())

    assert kept(source, work)[1] == ["token-2", "token-2"]


def test_a_failure_ahead_of_the_end_costs_nothing_and_is_not_repeated_at_once():
    source = Source(given=["token-1", NoToken("no"), "token-3"])

    async def work(keeper):
        seen = [await keeper.current()]
        source.now += 3600 - EARLY
        for _ in range(20):
            seen.append(keeper.at_hand())
            await asyncio.sleep(0)
        assert source.asked == 2
        source.now += PAUSE
        for _ in range(5):
            seen.append(keeper.at_hand())
            await asyncio.sleep(0)
        return seen

    seen = kept(source, work)[1]
    assert seen[0] == seen[20] == "token-1"
    assert seen[-1] == "token-3"
    assert source.asked == 3


def test_a_source_that_keeps_giving_the_same_token_is_asked_a_few_times_not_all_the_time():
    source = Source(lasting=None, given=[])
    end = NOW + 3600

    async def obtain(wall):
        source.asked += 1
        return Token("same", end)

    source.obtain = obtain

    async def work(keeper):
        await keeper.current()
        while source.now < end:
            keeper.at_hand()
            await asyncio.sleep(0)
            source.now += 0.5

    kept(source, work)
    assert source.asked <= 10


def test_a_refused_token_is_renewed_once_for_all_that_were_refused_with_it():
    source = Source(lasting=None)

    async def work(keeper):
        await keeper.current()
        return await asyncio.gather(*(keeper.renewed(after="token-1") for _ in range(20)))

    keeper, tokens = kept(source, work)
    assert set(tokens) == {"token-2"}
    assert source.asked == 2
    assert sorted(keeper.secrets) == ["token-1", "token-2"]


def test_a_source_that_has_no_other_token_is_not_asked_again_for_it():
    source = Source(lasting=None, given=["same"] * 9)

    async def work(keeper):
        await keeper.current()
        return [await keeper.renewed(after="same") for _ in range(5)]

    assert kept(source, work)[1] == [None] * 5
    assert source.asked == 2


def test_a_failure_is_told_to_all_that_wait_and_the_next_one_asks_again():
    source = Source(given=[NoToken("it failed")])

    async def work(keeper):
        first = await asyncio.gather(keeper.current(), keeper.current(), return_exceptions=True)
        return first, await keeper.current()

    (one, other), token = kept(source, work)[1]
    assert str(one) == str(other) == "it failed"
    assert isinstance(one, NoToken)
    assert (token, source.asked) == ("token-2", 2)


def test_who_gives_up_ends_nothing_for_the_others_and_closing_ends_it():
    source = Source()

    async def work(keeper):
        source.gate = asyncio.Event()
        one, other = asyncio.ensure_future(keeper.current()), asyncio.ensure_future(keeper.current())
        await asyncio.sleep(0)
        one.cancel()
        await asyncio.sleep(0)
        source.gate.set()
        assert await other == "token-1"
        source.now += 3600
        source.gate = asyncio.Event()
        waiting = asyncio.ensure_future(keeper.current())
        await asyncio.sleep(0)
        await keeper.aclose()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        return one.cancelled()

    assert kept(source, work)[1] is True


def test_a_keeper_serves_one_loop_after_the_other():
    source = Source()
    keeper = Keeper(source, source.wall)
    assert asyncio.run(keeper.current()) == "token-1"
    assert asyncio.run(keeper.current()) == "token-1"
    source.now += 3600
    assert asyncio.run(keeper.current()) == "token-2"
