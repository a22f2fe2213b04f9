"""What the database in memory does beyond the contract: virtual time, and faults on request."""

import asyncio

import pytest

from rollout.errors import DatabaseError
from rollout.testing import (
    ManualClock,
    memory_backend,
    sample_batch,
    sample_block,
    sample_call,
    sample_change,
    sample_policy,
    sample_trial,
)

GONE = DatabaseError("gone")


async def test_its_clock_is_the_one_it_was_given() -> None:
    clock = ManualClock(wall=1_000.0)
    state = memory_backend(clock).state
    await state.register(sample_policy(), "app")
    clock.advance(600)
    orders = (await state.load()).states["profile"]["orders"]
    (moved,) = await state.transition(sample_change(orders))
    assert (orders.entered_at, moved.entered_at, await state.now()) == (1_000.0, 1_600.0, 1_600.0)


async def test_a_lease_runs_out_in_virtual_time() -> None:
    clock = ManualClock()
    state = memory_backend(clock).state
    await state.lease("controller", "a", 10)
    clock.advance(9.9)
    assert await state.lease("controller", "b", 10) is None
    clock.advance(0.2)
    assert await state.lease("controller", "b", 10) is not None


async def test_a_failing_database_does_nothing_until_it_heals() -> None:
    backend = memory_backend()
    backend.fail_with(GONE)
    with pytest.raises(DatabaseError, match="gone"):
        await backend.ledger.append(sample_batch(sample_trial(1)))
    backend.heal()
    assert (await backend.ledger.stored("profile"))[0] == 0


async def test_just_one_method_may_fail() -> None:
    backend = memory_backend()
    backend.fail_with(GONE, only=("append",))
    assert (await backend.state.load()).revision > 0
    with pytest.raises(DatabaseError):
        await backend.ledger.append(sample_batch())


async def test_the_work_may_be_done_and_only_its_answer_lost() -> None:
    backend = memory_backend()
    batch = sample_batch(sample_block(1, "A", {"calls": 3}))
    backend.fail_with(GONE, done_first=True)
    with pytest.raises(DatabaseError):
        await backend.ledger.append(batch)
    backend.heal()
    await backend.ledger.append(batch)
    (total,) = await backend.ledger.totals("profile")
    assert total.figures["calls"] == 3


async def test_a_hanging_database_answers_when_it_heals() -> None:
    backend = memory_backend()
    backend.hang()
    call = asyncio.create_task(backend.state.now())
    await asyncio.sleep(0.01)
    assert not call.done()
    backend.heal()
    assert await asyncio.wait_for(call, 1.0) > 0


async def test_a_hanging_call_can_be_given_up() -> None:
    backend = memory_backend()
    backend.hang(only=("load",))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await backend.state.load()
    backend.heal()
    assert (await backend.state.load()).revision > 0


async def test_it_remembers_that_it_was_closed() -> None:
    backend = memory_backend()
    assert not backend.closed
    await backend.close()
    assert backend.closed


def test_a_sample_call_is_a_call_as_a_branch_gets_it() -> None:
    call = sample_call(
        "/profile/7", method="POST", headers={"X-User": "7"}, json_body={"a": 1}, parts={"tickets": [1]}, is_shadow=True
    )
    assert (call.path, call.method, call.headers["x-user"], call.json()) == ("/profile/7", "POST", "7", {"a": 1})
    assert (call.parts["tickets"], call.key, call.is_shadow, call.remaining_s) == ([1], "alice", True, None)
