"""The readers of what strangers write: whatever the bytes are, an answer in our own words, in bounded time and memory.

`make fuzz` does the same for minutes, with processes of their own around it. An input that it finds belongs here, into
`FOUND`, once it is understood.
"""

import os
import random
import time

import pytest
from fuzz.targets import TARGETS, Corpus, bounded, check_memory

SEED = os.environ.get("FUZZ_SEED", "the suite's own")
SECONDS = 2.0
INPUTS = 700
"""Inputs for each reader, unless the time is up before: then the machine is slow, and the rest says little more."""

FOUND = [
    ("manifest", b"\xff\xfe" + "version: 1\n".encode("utf-16-le")),
    ("manifest", b"a: " + b"[" * 20_000),
    ("manifest", b"? " * 20_000),
    ("manifest", b"version: 1\nthreads: &a {thread_1: {metadata: {<<: *a}}}\n"),
    ("manifest", b'version: 1\nthreads: {thread_1: {metadata: {a: "\\ud800", "\\0": b}}}\n'),
    ("manifest", b"version: " + b"9" * 5000),
    ("settings", b'version: 1\ndefault_target: x\ntargets: {"a\\x1b[31m": {provider: emulator}}\n'),
    ("plan", b'{"format_version": ' + b"[" * 990 + b"]" * 990 + b', "digest": "x"}'),
    ("plan", b'{"format_version": "1.0", "digest": ' + b"9" * 5000 + b"}"),
    ("plan", b"[" * 100_000),
    ("plan", b"\xff"),
]


@pytest.mark.parametrize("name", TARGETS)
def test_no_bytes_bring_a_reader_to_a_trace_or_a_halt(name):
    print(f"FUZZ_SEED={SEED!r}")
    corpus = Corpus(TARGETS[name], random.Random(f"{SEED} {name}"))
    known, until = len(corpus.features), time.monotonic() + SECONDS
    for number in range(INPUTS):
        data = corpus.next()
        try:
            with bounded(10):  # other tests run beside this one
                corpus.learn(data, TARGETS[name].check(data))
        except BaseException:
            print(f"input number {number}: {data[:2000]!r}")
            raise
        if time.monotonic() > until:
            break
    assert len(corpus.features) > known  # what reaches nothing new attacks nothing


@pytest.mark.parametrize(("name", "data"), FOUND, ids=range(len(FOUND)))
def test_what_is_known_to_be_hard_to_read_costs_little(name, data):
    with bounded(10):
        check_memory(TARGETS[name], data)
