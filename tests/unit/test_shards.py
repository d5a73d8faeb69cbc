"""Which shard a resource falls to: exactly one, the same everywhere, and about as many to each."""

import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.kinds import KINDS
from reconciler.model import Ref
from reconciler.shards import MAX_SHARDS, Shard, parse_shard, share

REFS = st.builds(Ref, st.sampled_from(sorted(KINDS)), st.from_regex(r"[A-Za-z0-9._:-]{1,40}", fullmatch=True))
CORPUS = [Ref("thread", f"thread_{number:05}") for number in range(100_000)]
KNOWN = {
    Ref("thread", "thread_abc123"): 3487955509159617980,
    Ref("message", "thread_abc123/msg_1"): 15830852314053230965,
    Ref("conversation", "conv_0123"): 14272136542810401348,
}
"""What older versions said: saved documents, and machines of different versions, rely on it."""


def parts(refs, count):
    """Return what falls to each of so many shards."""
    return [[ref for ref in refs if Shard(index, count).has(ref)] for index in range(1, count + 1)]


@given(ref=REFS, count=st.integers(1, MAX_SHARDS))
def test_a_resource_falls_to_exactly_one_shard(ref, count):
    index = share(ref) % count + 1
    assert Shard(index, count).has(ref)
    others = {1, count, index % count + 1} - {index}
    assert not any(Shard(other, count).has(ref) for other in others)


@given(refs=st.sets(REFS, max_size=40), count=st.integers(1, 12))
def test_all_shards_together_are_the_whole_and_share_nothing(refs, count):
    found = [ref for part in parts(refs, count) for ref in part]
    assert sorted(found) == sorted(refs)


@pytest.mark.parametrize(
    ("resources", "count", "percent"),
    [
        (10_000, 1, 0), (10_000, 2, 1), (10_000, 3, 3), (10_000, 4, 3), (10_000, 8, 6),
        (100_000, 2, 1), (100_000, 4, 1), (100_000, 8, 3), (100_000, 16, 4),
    ],
)  # fmt: skip
def test_shards_differ_by_a_few_per_cent_in_size(resources, count, percent):
    even = resources / count
    sizes = [len(part) for part in parts(CORPUS[:resources], count)]
    assert max(abs(size - even) for size in sizes) <= even * percent / 100


@given(start=st.integers(0, 99_000), resources=st.integers(1, 1000), count=st.integers(1, 16))
def test_sizes_differ_no_more_than_chance_has_them_differ(start, resources, count):
    even = resources / count
    sizes = [len(part) for part in parts(CORPUS[start : start + resources], count)]
    assert max(abs(size - even) for size in sizes) <= 6 * even**0.5 + 3


@pytest.mark.parametrize(("ref", "number"), KNOWN.items(), ids=str)
def test_the_number_that_decides_never_changes(ref, number):
    assert share(ref) == number


@pytest.mark.parametrize("seed", ["0", "1", "4242"])
def test_the_seed_of_pythons_own_hashes_changes_nothing(seed):
    line = "from reconciler.shards import share; from reconciler.model import Ref; print(share(Ref('thread', 'a')))"
    command = [sys.executable, "-c", line]
    done = subprocess.run(command, env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, check=True)
    assert int(done.stdout) == share(Ref("thread", "a"))


@pytest.mark.parametrize("text", ["1/1", "2/4", "4/4", f"{MAX_SHARDS}/{MAX_SHARDS}"])
def test_a_shard_is_written_as_it_is_read(text):
    assert str(parse_shard(text)) == text


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("2", "'2' is no shard; write I/N, such as 2/4."),
        ("", "'' is no shard; write I/N, such as 2/4."),
        ("1/4 ", "'1/4 ' is no shard; write I/N, such as 2/4."),
        ("-1/4", "'-1/4' is no shard; write I/N, such as 2/4."),
        ("1/4/4", "'1/4/4' is no shard; write I/N, such as 2/4."),
        ("١/٤", "'١/٤' is no shard; write I/N, such as 2/4."),  # digits of another script
        ("0/4", "shards count from 1: the first one is 1/4."),
        ("5/4", "there is no shard 5 of 4; the last one is 4/4."),
        ("1/0", "0 is no number of shards; it is 1 to 10000."),
        ("0/0", "0 is no number of shards; it is 1 to 10000."),
        ("1/10001", "10001 is no number of shards; it is 1 to 10000."),
    ],
)
def test_what_is_no_shard_is_told_with_what_would_be_one(text, told):
    with pytest.raises(ValueError) as caught:
        parse_shard(text)
    assert str(caught.value) == told
