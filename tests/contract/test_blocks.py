"""Blocks: what gates fold. Written once, added up under equal keys, closed once."""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rollout.domain.evidence import Arm, Block, BlockKey, Figures, UnitBlock
from rollout.ports import Backend, GateCheckpoint, Ledger, RunRecord, StateStore
from rollout.testing import sample_batch, sample_block, sample_mismatch, sample_subject, sample_trial
from tests.contract.places import OpenBackend
from tests.support.spans import closed_blocks

RUN = RunRecord(branch="orders", mode="shadow", outcome="ok", latency_s=0.05)


async def closed(
    ledger: Ledger, after: int, until: int, *, unit: str = "orders", entry: int = 1, version: int = 1
) -> list[UnitBlock]:
    return await closed_blocks(ledger, "profile", unit, entry, version, after, until)


async def fold_until(state: StateStore, second: int, unit: str = "orders") -> None:
    """As the controller does after a tick."""
    await state.save_checkpoints(
        [GateCheckpoint(rollout="profile", unit=unit, entry=1, version=1, closed_second=second, states={})], None
    )


# Batches


async def test_a_batch_that_is_sent_twice_is_written_once(ledger: Ledger, now: int) -> None:
    batch = sample_batch(sample_block(now, "A", {"calls": 3}), sample_trial(1))
    await ledger.append(batch)
    await ledger.append(batch)
    (block,) = await closed(ledger, now - 1, now)
    assert block.a["calls"] == 3
    assert (await ledger.stored("profile"))[0] == 1


async def test_a_batch_that_is_sent_by_two_at_once_is_written_once(
    backend: Backend, open_backend: OpenBackend, now: int
) -> None:
    other = await open_backend()
    batch = sample_batch(sample_block(now, "A", {"calls": 3}), sample_trial(1))
    await asyncio.gather(*(one.ledger.append(batch) for one in (backend, other, backend)))
    (block,) = await closed(backend.ledger, now - 1, now)
    assert block.a["calls"] == 3


async def test_a_batch_that_cannot_be_written_leaves_nothing_behind(ledger: Ledger, now: int) -> None:
    block = sample_block(now, "A", {"calls": 3})
    unwritable = sample_trial(1, differences=[{"path": "$.a", "kind": "value", "control": object()}])

    with pytest.raises(Exception, match="JSON"):
        await ledger.append(sample_batch(block, sample_trial(2), unwritable, id="b1"))

    assert await closed(ledger, now - 1, now) == []
    assert (await ledger.stored("profile"))[0] == 0
    await ledger.append(sample_batch(block, id="b1"))
    assert len(await closed(ledger, now - 1, now)) == 1


async def test_an_empty_batch_is_fine(ledger: Ledger) -> None:
    await ledger.append(sample_batch())


# Adding up


async def test_blocks_of_one_second_add_up_over_processes_and_batches(ledger: Ledger, now: int) -> None:
    for process in ("p1", "p2", "p1"):
        await ledger.append(
            sample_batch(
                sample_block(now, "A", {"calls": 2, "bad": 1}, latencies=[0.1], process=process),
                sample_block(now, "B", {"calls": 1}, latencies=[0.2, 0.3], process=process),
                sample_block(now, "P", {"pairs": 4, "matched": 3}, process=process),
            )
        )

    (block,) = await closed(ledger, now - 1, now)

    assert block.second == now
    assert block.a.counts == {"calls": 6, "bad": 3}
    assert block.a.histograms["latency"].total == 3
    assert block.b.counts == {"calls": 3}
    assert block.b.histograms["latency"].total == 6
    assert block.pairs.counts == {"pairs": 12, "matched": 9}


async def test_a_second_without_blocks_is_absent_and_an_arm_without_calls_is_empty(ledger: Ledger, now: int) -> None:
    await ledger.append(sample_batch(sample_block(now - 3, "A"), sample_block(now - 1, "B")))
    first, second = await closed(ledger, now - 10, now)
    assert (first.second, second.second) == (now - 3, now - 1)
    assert not first.b
    assert not second.a
    assert not first.scored_a


OTHERS: list[dict[str, Any]] = [{"version": 2}, {"entry": 2}, {"unit": "tickets"}, {"rollout": "search"}]


@pytest.mark.parametrize("other", OTHERS, ids=lambda other: next(iter(other)))
async def test_blocks_of_another_key_are_never_pooled(ledger: Ledger, now: int, other: dict[str, Any]) -> None:
    await ledger.append(
        sample_batch(sample_block(now, "A", {"calls": 1}), sample_block(now, "A", {"calls": 5}, **other))
    )
    (block,) = await closed(ledger, now - 1, now)
    assert block.a["calls"] == 1
    key: dict[str, Any] = {"rollout": "profile", "unit": "orders", "entry": 1, "version": 1, **other}
    (of_other,) = await closed_blocks(ledger, **key, after=now - 1, until=now)
    assert of_other.a["calls"] == 5


async def test_blocks_come_in_the_order_of_time(ledger: Ledger, now: int) -> None:
    for second in (now - 2, now - 5, now - 3):
        await ledger.append(sample_batch(sample_block(second)))
    assert [block.second for block in await closed(ledger, now - 10, now)] == [now - 5, now - 3, now - 2]


async def test_after_is_outside_and_until_is_inside(ledger: Ledger, now: int) -> None:
    await ledger.append(sample_batch(*(sample_block(now - back) for back in range(5))))
    assert [block.second for block in await closed(ledger, now - 3, now - 1)] == [now - 2, now - 1]
    assert await closed(ledger, now - 3, now - 3) == []


async def test_the_funnel_of_the_rollout_is_in_no_unit(ledger: Ledger, now: int) -> None:
    await ledger.append(sample_batch(sample_block(now, "*", {"calls": 9}, unit="", entry=0), sample_block(now, "A")))
    (block,) = await closed(ledger, now - 1, now)
    assert block.a["calls"] == 1


CALLS = st.lists(
    st.tuples(
        st.integers(0, 3),  # second
        st.sampled_from(["A", "B", "P"]),
        st.booleans(),  # bad
        st.floats(1e-5, 100.0),  # latency
        st.sampled_from(["p1", "p2", "p3"]),
        st.integers(0, 2),  # batch
    ),
    max_size=30,
)
Calls = Sequence[tuple[int, Arm, bool, float, str, int]]


@given(calls=CALLS, seed=st.randoms(use_true_random=False))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_sums_do_not_depend_on_how_calls_are_split_over_processes_and_batches(
    ledger: Ledger, now: int, calls: Calls, seed: random.Random
) -> None:
    rollout = uuid4().hex
    batches: dict[tuple[str, int], dict[BlockKey, Figures]] = {}
    expected: dict[tuple[int, str], Figures] = {}
    for offset, arm, bad, latency, process, number in calls:
        key = BlockKey(rollout, "orders", arm, 1, 1, now - offset, process=process)
        blocks = batches.setdefault((process, number), {})
        for figures in (blocks.setdefault(key, Figures()), expected.setdefault((now - offset, arm), Figures())):
            figures.add("calls")
            figures.add("bad", int(bad))
            figures.observe("latency", latency)
    order = list(batches.items())
    seed.shuffle(order)

    for (process, _), blocks in order:
        written = [Block(key, figures) for key, figures in blocks.items()]
        await ledger.append(sample_batch(*written, process=process))

    found = await closed_blocks(ledger, rollout, "orders", 1, 1, now - 10, now)
    seconds = {block.second: {"A": block.a, "B": block.b, "P": block.pairs} for block in found}
    assert sorted(seconds) == sorted({second for second, _ in expected})
    for second, arms in seconds.items():
        for name, figures in arms.items():
            assert figures == expected.get((second, name), Figures())


async def test_a_key_that_occurs_twice_in_one_batch_adds_up(ledger: Ledger, now: int) -> None:
    await ledger.append(sample_batch(sample_block(now, "A", {"calls": 1}), sample_block(now, "A", {"calls": 2})))
    (block,) = await closed(ledger, now - 1, now)
    assert block.a["calls"] == 3


async def test_a_large_batch_is_written_whole(ledger: Ledger, now: int) -> None:
    trials = [sample_trial(n, runs=[replace(RUN, branch=branch) for branch in "abc"]) for n in range(1_500)]
    blocks = [sample_block(now - n, "A") for n in range(1_500)]
    subjects = [sample_subject(f"{n:016x}", now - 1.0) for n in range(1_500)]
    await ledger.append(sample_batch(*trials, *blocks, *subjects))
    assert (await ledger.stored("profile"))[0] == 1_500
    found = await closed(ledger, now - 1_500, now)
    assert len(found) == 1_500
    assert found[-2].scored_b["calls"] == 1_500


async def test_processes_that_write_the_same_paths_and_keys_at_once_lose_nothing(
    backend: Backend, open_backend: OpenBackend, now: int
) -> None:
    ledgers = [backend.ledger, (await open_backend()).ledger, (await open_backend()).ledger]
    dice = random.Random(7)

    async def write(ledger: Ledger, process: int) -> None:
        for round_ in range(4):
            items = [
                *(sample_mismatch(f"$.p{n}", 1) for n in range(20)),
                *(sample_subject(f"{n:016x}", now - 5 + process / 10 + round_ / 100) for n in range(20)),
                *(sample_block(now - 5, arm, {"calls": 1}) for arm in ("A", "B")),
            ]
            dice.shuffle(items)
            await ledger.append(sample_batch(*items, process=f"p{process}"))

    await asyncio.gather(*(write(ledger, process) for process, ledger in enumerate(ledgers * 2)))

    assert {one.count for one in await backend.ledger.mismatches("profile")} == {24}
    (block,) = await closed(backend.ledger, now - 10, now)
    assert (block.a["calls"], block.b["calls"], block.scored_b["calls"]) == (24, 24, 20)


# Late ones


async def test_a_block_that_comes_after_its_second_was_closed_is_counted_and_left_out(
    ledger: Ledger, state: StateStore, now: int
) -> None:
    await ledger.append(sample_batch(sample_block(now - 5, "A", {"calls": 1}, process="p1")))
    await fold_until(state, now - 5)

    await ledger.append(sample_batch(sample_block(now - 5, "A", {"calls": 10}, process="p2")))

    (block,) = await closed(ledger, now - 10, now)
    assert block.a["calls"] == 1
    assert await ledger.late("profile") == 1


async def test_a_late_block_still_counts_in_what_reports_add_up(ledger: Ledger, state: StateStore, now: int) -> None:
    await fold_until(state, now - 5)
    await ledger.append(sample_batch(sample_block(now - 6, "A", {"calls": 10})))
    (total,) = await ledger.totals("profile")
    assert total.figures["calls"] == 10


async def test_a_block_newer_than_what_was_closed_is_not_late(ledger: Ledger, state: StateStore, now: int) -> None:
    await fold_until(state, now - 5)
    await ledger.append(sample_batch(sample_block(now - 4), sample_block(now - 5, unit="tickets")))
    assert len(await closed(ledger, now - 10, now)) == 1
    assert len(await closed(ledger, now - 10, now, unit="tickets")) == 1
    assert await ledger.late("profile") == 0


async def test_a_rollout_without_blocks_has_none_and_none_is_late(ledger: Ledger, now: int) -> None:
    assert await closed(ledger, 0, now) == []
    assert await ledger.late("profile") == 0
