"""A stage keeps so many keys and no more; which, is a matter of their hash alone."""

import random
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TypeVar

import pytest

from rollout.domain.evidence import Subject, marks_of
from rollout.domain.places import HASHES
from rollout.ports import Backend, Ledger
from rollout.testing import sample_batch, sample_subject
from rollout.testing.memory_ledger import MemoryLedger
from rollout.testing.memory_subjects import MemorySubjects
from rollout_sql.ledger import SqlLedger
from rollout_sql.subjects import Places
from tests.contract.places import OpenBackend
from tests.support.spans import closed_blocks

MOST = 64
T = TypeVar("T")


def limit(ledger: Ledger) -> Ledger:
    """Let a stage have 64 places instead of 200 000."""
    if isinstance(ledger, MemoryLedger):
        ledger._subjects = MemorySubjects(MOST)
    else:
        assert isinstance(ledger, SqlLedger)
        ledger._places = Places(MOST)
    return ledger


@pytest.fixture
def ledger(backend: Backend) -> Ledger:
    return limit(backend.ledger)


def keys(count: int, seed: int = 0) -> list[str]:
    dice = random.Random(seed)
    return [f"{dice.randrange(HASHES):016x}" for _ in range(count)]


async def write(ledger: Ledger, subjects: list[Subject], at_once: int = 7) -> None:
    for some in batched(subjects, at_once):
        await ledger.append(sample_batch(*some))


async def count(ledger: Ledger, now: int, *, entry: int = 1, version: int = 1) -> tuple[int, int, int]:
    """How many subjects are scored in the arms A and B, and how many pairs."""
    blocks = await closed_blocks(ledger, "profile", "orders", entry, version, now - 10, now)
    figures = [(block.scored_a["calls"], block.scored_b["calls"], block.scored_p["pairs"]) for block in blocks]
    a, b, p = zip(*figures, strict=True) if figures else ((), (), ())
    return sum(a), sum(b), sum(p)


async def test_the_first_half_of_the_places_goes_to_every_key(ledger: Ledger, now: int) -> None:
    await write(ledger, [sample_subject(key_hash, now) for key_hash in keys(MOST // 2)])
    assert await count(ledger, now) == (0, MOST // 2, 0)


async def test_after_that_a_key_needs_a_lower_hash_the_fuller_the_stage_is(ledger: Ledger, now: int) -> None:
    lows, highs = [f"{n:016x}" for n in range(20)], [f"{HASHES - 1 - n:016x}" for n in range(20)]
    await write(ledger, [sample_subject(key_hash, now) for key_hash in keys(MOST // 2)])
    await write(ledger, [sample_subject(key_hash, now) for key_hash in highs])
    assert await count(ledger, now) == (0, MOST // 2, 0)
    await write(ledger, [sample_subject(key_hash, now) for key_hash in lows])
    assert await count(ledger, now) == (0, MOST // 2 + 20, 0)


async def test_a_stage_never_has_more_keys_than_places(ledger: Ledger, now: int) -> None:
    await write(ledger, [sample_subject(f"{n:016x}", now) for n in range(3 * MOST)], at_once=50)
    assert await count(ledger, now) == (0, MOST, 0)


async def test_processes_that_write_by_turns_keep_no_more_than_there_are_places(
    backend: Backend, open_backend: OpenBackend, now: int
) -> None:
    ledgers = [limit(backend.ledger), limit((await open_backend()).ledger)]
    for number in range(3 * MOST):
        await ledgers[number % 2].append(sample_batch(sample_subject(f"{number:016x}", now)))
    assert await count(backend.ledger, now) == (0, MOST, 0)


async def test_stages_do_not_take_each_others_places(ledger: Ledger, now: int) -> None:
    for entry, version in ((1, 1), (2, 1), (1, 2)):
        some = keys(MOST // 2)
        await write(ledger, [sample_subject(key_hash, now, entry=entry, version=version) for key_hash in some])
    assert await count(ledger, now) == await count(ledger, now, entry=2) == (0, MOST // 2, 0)
    assert await count(ledger, now, version=2) == (0, MOST // 2, 0)


async def test_pairs_take_no_places_of_the_arms(ledger: Ledger, now: int) -> None:
    some = keys(MOST // 2)
    await write(ledger, [sample_subject(key_hash, now, "P") for key_hash in some])
    await write(ledger, [sample_subject(key_hash, now, "A") for key_hash in some])
    assert await count(ledger, now) == (MOST // 2, 0, MOST // 2)


async def test_a_known_key_takes_no_place_and_moves_to_its_earliest_call_though_the_stage_is_full(
    ledger: Ledger, now: int
) -> None:
    full = [f"{n:016x}" for n in range(MOST)]
    for second in (now, now - 1, now - 2):
        await write(ledger, [sample_subject(key_hash, second) for key_hash in full])
    (block,) = await closed_blocks(ledger, "profile", "orders", 1, 1, now - 10, now)
    assert (block.second, block.scored_b["calls"]) == (now - 2, MOST)


def swapped(subjects: list[Subject]) -> list[Subject]:
    return [one._replace(arm="A" if one.arm == "B" else "B") for one in subjects]


def backwards(subjects: list[Subject]) -> list[Subject]:
    return subjects[::-1]


def a_second_earlier(subjects: list[Subject]) -> list[Subject]:
    return [one._replace(started_at=one.started_at - 1) for one in subjects]


def all_bad(subjects: list[Subject]) -> list[Subject]:
    return [one._replace(marks=marks_of("bad")) for one in subjects]


@pytest.mark.parametrize("otherwise", [swapped, backwards, a_second_earlier, all_bad])
async def test_which_keys_are_kept_depends_on_neither_arm_nor_order_nor_time_nor_outcome(
    ledger: Ledger, now: int, otherwise: Callable[[list[Subject]], list[Subject]]
) -> None:
    batches = [
        [sample_subject(key_hash, now, "B" if n % 2 else "A", latency=n) for n, key_hash in some]
        for some in batched(enumerate(keys(4 * MOST)), 13)
    ]
    for batch in batches:
        await ledger.append(sample_batch(*batch))
        await ledger.append(sample_batch(*otherwise([one._replace(entry=2) for one in batch])))
    assert await kept(ledger, now, entry=1) == await kept(ledger, now, entry=2)


async def kept(ledger: Ledger, now: int, entry: int) -> set[int]:
    """The latencies of the subjects that were kept: each has its own here."""
    (block,) = await closed_blocks(ledger, "profile", "orders", entry, 1, now - 10, now)
    found = {*block.scored_a.histogram("latency"), *block.scored_b.histogram("latency")}
    assert MOST // 2 < len(found) <= MOST
    return found


def batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    rest = iter(items)
    while some := list(islice(rest, size)):
        yield some
