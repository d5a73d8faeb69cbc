"""Mishaps on purpose: who meets which, and what is left of the answer."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.emulator.mishaps import NO_MISHAPS, Mishap, MishapRule, Mishaps, answer
from reconciler.emulator.service import Behaviour, Request, seed
from reconciler.emulator.store import MemoryStore
from reconciler.model import Ref

BEHAVIOUR = Behaviour(lambda: 1, lambda: "token")
REF = Ref("thread", "thread_a")
READ = Request("GET", "/v1/threads/thread_a")
WRITE = Request("POST", "/v1/threads/thread_a", body=b'{"metadata": {"a": "b"}}')


@pytest.fixture
def store():
    made = MemoryStore()
    seed(made, [REF], BEHAVIOUR)
    return made


def always(mishap, **about):
    return Mishaps((MishapRule(mishap, **about),))


def test_without_mishaps_the_service_answers(store):
    assert answer(store, WRITE, BEHAVIOUR, NO_MISHAPS, 0).status == 200
    assert store.get(REF).pairs == {"a": "b"}


WRITTEN = {"a": "b"}


@pytest.mark.parametrize(
    ("mishap", "status", "code", "left"),
    [
        (Mishap.RATE_LIMITED, 429, "rate_limit_exceeded", {}),
        (Mishap.FAILED, 500, None, {}),
        (Mishap.OVERLOADED, 503, "server_is_overloaded", {}),
    ],
)
def test_a_refusal_has_its_status_and_code_and_nothing_is_written(store, mishap, status, code, left):
    response = answer(store, WRITE, BEHAVIOUR, always(mishap), 0)
    assert response.status == status
    assert json.loads(response.body)["error"]["code"] == code
    assert response.headers["x-request-id"] == "req_token"
    assert store.get(REF).pairs == left


@pytest.mark.parametrize(("seconds", "header"), [(1, "1"), (0, "0"), (2.5, "2.5"), (None, None)])
def test_a_rate_limit_says_how_long_to_wait_or_does_not(store, seconds, header):
    mishaps = Mishaps((MishapRule(Mishap.RATE_LIMITED),), retry_after=seconds)
    assert answer(store, READ, BEHAVIOUR, mishaps, 0).headers.get("retry-after") == header


def test_only_a_rate_limit_says_how_long_to_wait(store):
    assert "retry-after" not in answer(store, READ, BEHAVIOUR, always(Mishap.OVERLOADED), 0).headers


@pytest.mark.parametrize(("mishap", "left"), [(Mishap.RESET_BEFORE, {}), (Mishap.RESET_AFTER, WRITTEN)])
def test_an_answer_is_lost_before_or_after_the_write(store, mishap, left):
    assert answer(store, WRITE, BEHAVIOUR, always(mishap), 0).lost
    assert store.get(REF).pairs == left


@pytest.mark.parametrize("mishap", [Mishap.HTML, Mishap.TRUNCATED, Mishap.EMPTY, Mishap.FIELDLESS])
def test_an_answer_is_spoiled_although_the_write_happened(store, mishap):
    response = answer(store, WRITE, BEHAVIOUR, always(mishap), 0)
    assert response.status == 200
    assert store.get(REF).pairs == WRITTEN


def test_a_page_takes_the_place_of_the_answer(store):
    response = answer(store, READ, BEHAVIOUR, always(Mishap.HTML), 0)
    assert response.headers["content-type"].startswith("text/html")
    assert response.body.startswith(b"<!doctype html>")


def test_a_truncated_answer_is_the_beginning_of_the_whole_one(store):
    whole = answer(store, READ, BEHAVIOUR, NO_MISHAPS, 0).body
    cut = answer(store, READ, BEHAVIOUR, always(Mishap.TRUNCATED), 0).body
    assert whole.startswith(cut)
    with pytest.raises(ValueError):
        json.loads(cut)


def test_an_empty_answer_has_no_body(store):
    assert answer(store, READ, BEHAVIOUR, always(Mishap.EMPTY), 0).body == b""


def test_an_answer_without_the_field_has_all_the_rest(store):
    whole = json.loads(answer(store, READ, BEHAVIOUR, NO_MISHAPS, 0).body)
    assert whole.pop("metadata") == {}
    assert {"id", "object", "created_at"} <= whole.keys()
    assert json.loads(answer(store, READ, BEHAVIOUR, always(Mishap.FIELDLESS), 0).body) == whole


@pytest.mark.parametrize(
    ("about", "request_", "occurrence", "concerned"),
    [
        ({}, READ, 9, True),
        ({"methods": frozenset({"POST"})}, READ, 0, False),
        ({"methods": frozenset({"POST"})}, WRITE, 0, True),
        ({"paths": ("*/thread_a",)}, READ, 0, True),
        ({"paths": ("*/thread_b", "*/conv*")}, READ, 0, False),
        ({"first": 2}, READ, 1, True),
        ({"first": 2}, READ, 2, False),
    ],
)
def test_a_rule_is_about_some_calls(about, request_, occurrence, concerned):
    chosen = always(Mishap.FAILED, **about).choose(request_, occurrence, 0.0)
    assert chosen == (Mishap.FAILED if concerned else None)


@pytest.mark.parametrize(
    ("draw", "mishap"),
    [(0.0, Mishap.FAILED), (0.24, Mishap.FAILED), (0.25, Mishap.EMPTY), (0.74, Mishap.EMPTY), (0.75, None)],
)
def test_each_rule_owns_a_stretch_of_the_range(draw, mishap):
    mishaps = Mishaps((MishapRule(Mishap.FAILED, 0.25), MishapRule(Mishap.EMPTY, 0.5)))
    assert mishaps.choose(READ, 0, draw) == mishap


@given(seeded=st.integers(), occurrence=st.integers(0, 1000), path=st.text(max_size=20))
def test_the_same_seed_draws_the_same_number_for_the_same_call(seeded, occurrence, path):
    request = Request("GET", path.encode("utf-8", "replace").decode())
    draw = Mishaps(seed=seeded).draw(request, occurrence)
    assert 0 <= draw < 1
    assert draw == Mishaps(seed=seeded).draw(request, occurrence)


def test_a_probability_is_about_kept_and_another_seed_hits_other_calls():
    rules = (MishapRule(Mishap.FAILED, 0.2),)
    hits = [
        [number for number in range(2000) if mishaps.choose(READ, number, mishaps.draw(READ, number))]
        for mishaps in (Mishaps(rules, seed=1), Mishaps(rules, seed=2))
    ]
    assert all(330 < len(hit) < 470 for hit in hits)
    assert hits[0] != hits[1]
