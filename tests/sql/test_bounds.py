"""What is bounded: keys a stage, trials a rollout, rows a transaction."""

import asyncio
import time

from rollout.ports import Backend
from rollout.testing import sample_batch, sample_block, sample_mismatch, sample_policy, sample_subject, sample_trial
from rollout_sql.ledger import SqlLedger
from rollout_sql.subjects import Places
from tests.support.spans import closed_blocks


async def test_a_process_that_does_not_count_keys_at_each_write_still_keeps_them_in_bounds(backend: Backend) -> None:
    """It believes for a while what it counted last, though others write meanwhile."""
    assert isinstance(backend.ledger, SqlLedger)
    now = int(await backend.state.now())
    ledgers = [SqlLedger(backend.ledger._db) for _ in range(8)]
    for ledger in ledgers:
        ledger._places = Places(most=6_400)
    for start in range(0, 16_000, 200):
        keys = [sample_subject(f"{n:016x}", now, "B") for n in range(start, start + 200)]
        await ledgers[start // 200 % 8].append(sample_batch(*keys))
    (block,) = await closed_blocks(backend.ledger, "profile", "orders", 1, 1, now - 10, now)
    assert block.scored_b["calls"] == 6_400


async def test_many_trials_are_dropped_without_keeping_writers_waiting(backend: Backend) -> None:
    now = await backend.state.now()
    for _ in range(5):
        await backend.ledger.append(sample_batch(*(sample_trial(at=now - 100) for _ in range(1_000))))
    maintenance = asyncio.create_task(backend.ledger.maintain({"profile": sample_policy(ttl_s=50, max_trials=10)}))
    slowest = 0.0
    while not maintenance.done():
        began = time.monotonic()
        await backend.ledger.append(sample_batch(sample_block(int(now))))
        slowest = max(slowest, time.monotonic() - began)
        await asyncio.sleep(0.005)
    assert (await maintenance)["trials_dropped"] == 5_000
    assert (await backend.ledger.stored("profile"))[0] == 0
    assert slowest < 1.0


async def test_a_sample_names_no_trial_that_is_gone(backend: Backend) -> None:
    now = await backend.state.now()
    old, new = sample_trial(at=now - 9_000), sample_trial(at=now - 1_000)
    named = [
        sample_mismatch("$.a", at=now - 9_000, trials=[old.id, new.id], example={"path": "$.a"}),
        sample_mismatch("$.b", at=now - 9_000, trials=[old.id], example={"path": "$.b"}),
    ]
    await backend.ledger.append(sample_batch(old, new, *named))
    await backend.ledger.maintain({"profile": sample_policy(ttl_s=5_000)})
    found = {one.path: (one.trials, one.example) for one in await backend.ledger.mismatches("profile")}
    assert found == {"$.a": ([new.id], {"path": "$.a"}), "$.b": ([], None)}


async def test_the_cost_of_a_tick_and_of_a_report_does_not_grow_with_the_calls(backend: Backend) -> None:
    """A block of a second is one row, whether it counts one call or a million."""
    now = int(await backend.state.now())
    for calls in (1, 1_000_000):
        await backend.ledger.append(sample_batch(*(sample_block(now - s, "A", {"calls": calls}) for s in range(50))))
    assert sum(total.figures["calls"] for total in await backend.ledger.totals("profile")) == 50 * 1_000_001


async def test_two_who_roll_up_at_once_change_no_figure(backend: Backend) -> None:
    now = int(await backend.state.now())
    blocks = [sample_block(now - 7_200 - s, "A", {"calls": 1}, process=f"p{s % 3}") for s in range(300)]
    await backend.ledger.append(sample_batch(*blocks))
    policies = {"profile": sample_policy()}
    done = await asyncio.gather(*(backend.ledger.maintain(policies) for _ in range(3)))
    assert sum(one["blocks_rolled_up"] for one in done) == 300
    (total,) = await backend.ledger.totals("profile")
    assert total.figures["calls"] == 300
