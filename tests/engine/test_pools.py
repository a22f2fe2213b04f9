"""Jobs in a pool cannot be cancelled: the slot of their run is held until they have really ended."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import pytest

from rollout import Branch, Call, FanOut, FanOutFailed, run_in_pool
from tests.test_fan_out import held


class Pool:
    """A pool whose jobs end when they are told to, with as many ``begun`` as have a thread."""

    def __init__(self, threads: int) -> None:
        self.executor = ThreadPoolExecutor(threads)
        self.let_go = threading.Event()
        self.begun = threading.Semaphore(0)

    def job(self) -> str:
        self.begun.release()
        self.let_go.wait(60)
        return "done"

    async def has_begun(self) -> None:
        assert await asyncio.to_thread(self.begun.acquire, True, 60)

    async def work(self, call: Call) -> Any:
        return await run_in_pool(self.executor, self.job)


@asynccontextmanager
async def pool_of(threads: int) -> AsyncIterator[Pool]:
    pool = Pool(threads)
    try:
        yield pool
    finally:
        pool.let_go.set()
        await asyncio.to_thread(pool.executor.shutdown)


async def until(reached: Callable[[], bool]) -> None:
    """The engine has no event for it, and needs none: what a thread tells the loop comes when it comes."""
    async with asyncio.timeout(60):
        while not reached():  # noqa: ASYNC110
            await asyncio.sleep(0)


async def let_go_of(fan_out: FanOut) -> None:
    await until(lambda: held(fan_out) == (0, 0))


async def cut(fan_out: FanOut, pool: Pool, runs: int = 1) -> None:
    """Calls that go away when their jobs have begun."""
    calls = [asyncio.create_task(fan_out.run()) for _ in range(runs)]
    for _ in calls:
        await pool.has_begun()
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    await asyncio.sleep(0)


async def test_the_slot_of_a_branch_that_was_cut_is_held_until_its_job_ends() -> None:
    async with pool_of(1) as pool:
        fan_out = FanOut("pooled", [Branch("a", pool.work, max_concurrency=1)])
        await cut(fan_out, pool)
        assert held(fan_out) == (1, 1)
        with pytest.raises(FanOutFailed, match="rejected"):
            await fan_out.run()
        pool.let_go.set()
        await let_go_of(fan_out)
        assert (await fan_out.run()).value == {"a": "done"}
        assert held(fan_out) == (0, 0)


async def test_a_job_that_has_no_thread_yet_is_cancelled_with_its_branch() -> None:
    async with pool_of(1) as pool:
        fan_out = FanOut("pooled", [Branch("a", pool.work)])
        first = asyncio.create_task(fan_out.run())
        await pool.has_begun()
        second = asyncio.create_task(fan_out.run())
        await until(lambda: pool.executor._work_queue.qsize() == 1)
        assert held(fan_out) == (2, 0)
        second.cancel()
        await until(lambda: held(fan_out) == (1, 0))
        pool.let_go.set()
        assert (await first).value == {"a": "done"}
        assert held(fan_out) == (0, 0)


async def test_a_branch_of_two_jobs_holds_its_slot_until_both_have_ended() -> None:
    async with pool_of(2) as pool, pool_of(1) as other:

        async def both(call: Call) -> Any:
            return await asyncio.gather(pool.work(call), other.work(call))

        fan_out = FanOut("pooled", [Branch("a", both)])
        call = asyncio.create_task(fan_out.run())
        await pool.has_begun()
        await other.has_begun()
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert held(fan_out) == (1, 1)
        pool.let_go.set()
        await asyncio.to_thread(pool.executor.shutdown)  # its job has ended, and has told the loop
        await asyncio.sleep(0)
        assert held(fan_out) == (1, 1)
        other.let_go.set()
        await let_go_of(fan_out)


async def test_a_branch_that_leaves_its_job_behind_keeps_its_slot_too() -> None:
    async with pool_of(1) as pool:

        async def run(call: Call) -> Any:
            job = asyncio.ensure_future(pool.work(call))
            await pool.has_begun()
            job.add_done_callback(lambda done: done.result())
            return "early"

        fan_out = FanOut("pooled", [Branch("a", run)])
        assert (await fan_out.run()).value == {"a": "early"}
        assert held(fan_out) == (1, 1)
        pool.let_go.set()
        await let_go_of(fan_out)


async def test_of_many_branches_that_are_cut_every_slot_comes_back() -> None:
    async with pool_of(8) as pool:
        fan_out = FanOut("pooled", [Branch("a", pool.work)])
        await cut(fan_out, pool, runs=8)
        assert held(fan_out) == (8, 8)
        pool.let_go.set()
        await let_go_of(fan_out)
