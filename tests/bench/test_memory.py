"""Calls without end on a database that is gone: memory stays bounded, users notice nothing, and what is dropped is
counted.

The application is driven without sockets. Growth is that of the resident memory from the end of the warm-up, during
which the database was there, to the end: the queues, which fill up to their bounds, are part of it.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import os
import resource
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from rollout import Branch, Budget, Ramp, Rollout, Shadow, gates
from rollout.domain.state import Mode
from rollout.engine.process import Engine
from rollout.engine.shadow import ShadowLane
from rollout_aiohttp import setup
from rollout_sql import open_backend
from tests.bench.request_path import BRANCHES, control, requests
from tests.contract.places import Sqlite
from tests.support.crowd import put_at, until
from tests.support.postgres import running_postgres

CALLS = int(os.environ.get("ROLLOUT_BENCH_CALLS", "1000000"))
WARM_UP = 60_000  # more users than a view remembers: that memory is not the outage's
MOST_MIB = 64.0
PAUSE_EVERY = 50


@pytest.mark.bench
async def test_a_million_calls_without_postgresql_take_bounded_memory() -> None:
    with running_postgres() as server:
        report = await without(server.create_database(), server.stop, CALLS)
    print(f"\nPostgreSQL gone: {report}")
    report.holds()


@pytest.mark.bench
async def test_a_million_calls_without_the_sqlite_file_take_bounded_memory(tmp_path: Path) -> None:
    report = await without(f"sqlite:///{tmp_path / 'rollout.db'}", Sqlite(tmp_path / "rollout.db").take_away, CALLS)
    print(f"\nSQLite gone: {report}")
    report.holds()


@pytest.mark.bench
async def test_a_million_calls_with_a_database_that_never_was_there_take_bounded_memory() -> None:
    report = await never_there(CALLS)
    print(f"\nnever there: {report}")
    report.holds()


async def test_twenty_thousand_calls_without_a_database_take_bounded_memory(tmp_path: Path) -> None:
    taken = Sqlite(tmp_path / "rollout.db").take_away
    report = await without(f"sqlite:///{tmp_path / 'rollout.db'}", taken, 20_000, warm_up=2_000)
    report.holds()
    assert report.failures > 0


async def test_twenty_thousand_calls_with_a_database_that_never_was_there_take_bounded_memory() -> None:
    (await never_there(20_000, warm_up=2_000)).holds()


@dataclass(frozen=True)
class Report:
    """``wrong``: replies that were not control's, to the byte. ``unaccounted``: trials neither stored, dropped nor
    waiting."""

    calls: int
    seconds: float
    grown_mib: float
    peak_mib: float
    wrong: int
    queued: int
    dropped: int
    unaccounted: int
    failures: int
    moved: bool

    def holds(self) -> None:
        assert self.wrong == 0
        assert self.unaccounted == 0
        assert not self.moved
        assert self.grown_mib < MOST_MIB

    def __str__(self) -> str:
        return (
            f"{self.calls:,} calls in {self.seconds:.0f} s, memory +{self.grown_mib:.1f} MiB (peak {self.peak_mib:.0f} "
            f"MiB of the process), {self.wrong} wrong replies, {self.queued:,} trials, {self.dropped:,} dropped and "
            f"counted, {self.failures} failed writes"
        )


async def without(url: str, take_away: Callable[[], None], calls: int, warm_up: int = WARM_UP) -> Report:
    """Half of the users are live, all calls are shadowed; the database goes after the warm-up."""
    async with running(url) as (app, engine):
        drive = Driver(app)
        admin = await open_backend(url)
        await put_at(admin, 0.5)
        await admin.close()

        async def heard() -> bool:
            assert engine.snapshot is not None
            return engine.snapshot.states["profile"]["orders"].share == 0.5

        await until(heard, "the share of one half")
        await drive.calls(warm_up)
        await asyncio.to_thread(take_away)  # a write of ours that is under way needs the loop to end
        return await measured(engine, drive, calls)


async def never_there(calls: int, warm_up: int = WARM_UP) -> Report:
    """Nobody listens at that port."""
    async with running("postgresql://nobody:nothing@127.0.0.1:9/none") as (app, engine):
        drive = Driver(app)
        await drive.calls(warm_up)
        return await measured(engine, drive, calls)


async def measured(engine: Engine, drive: Driver, calls: int) -> Report:
    began, memory, before = time.perf_counter(), resident(), where(engine)
    await drive.calls(calls)
    seconds = time.perf_counter() - began
    for runtime in engine.runtimes.values():

        async def idle(lane: ShadowLane = runtime.lane) -> bool:
            return not len(lane) and not lane.running

        await until(idle, "the end of all shadows")
    grown = resident() - memory
    recorder = engine.recorder
    queued = dropped = unaccounted = failures = 0
    if recorder is not None:
        queued = engine.runtimes["profile"].figures()["queued"]
        dropped, failures = recorder.trials.dropped, recorder.failures
        waiting = len(recorder.trials) + (len(recorder._batch.trials) if recorder._batch else 0)
        unaccounted = queued - recorder.written - dropped - waiting
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    moved = where(engine) != before
    return Report(calls, seconds, grown, peak, drive.wrong, queued, dropped, unaccounted, failures, moved)


def where(engine: Engine) -> dict[str, tuple[int, float, Mode]]:
    """Where each branch stands, as this process knows."""
    states = engine.snapshot.states["profile"] if engine.snapshot else {}
    return {branch: (state.stage, state.share, state.mode) for branch, state in states.items()}


def resident() -> float:
    """MiB of this process in memory now, garbage collected."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


class Driver:
    """Makes calls, each by another user, one after the other; the loop gets a turn now and then."""

    def __init__(self, app: web.Application) -> None:
        self._handle = app._handle
        self._requests = itertools.cycle(requests(app, 500))
        self._truth: Any = None
        self.wrong = 0

    async def calls(self, count: int) -> None:
        for number in range(count):
            response: Any = await self._handle(next(self._requests))
            if self._truth is None:
                self._truth = json.loads(response.body)
            if response.status != 200 or (number % 100 == 0 and json.loads(response.body) != self._truth):
                self.wrong += 1
            if number % PAUSE_EVERY == PAUSE_EVERY - 1:
                await asyncio.sleep(0)


@asynccontextmanager
async def running(url: str) -> AsyncIterator[tuple[web.Application, Engine]]:
    """The wrapped application, started, without a socket."""
    users = itertools.count()
    orders, tickets, summary = BRANCHES
    rollout = Rollout(
        "profile",
        control=control,
        branches=[
            Branch("orders", orders, part="$.orders"),
            Branch("tickets", tickets, part="$.tickets"),
            Branch("summary", summary, part="$.summary", required=False),
        ],
        budget=Budget(latency_s=0.5),
        ramp=Ramp.parse("shadow 50% 100%", soak=3600),
        gates=[gates.errors()],
        shadow=Shadow(max_lag_s=60),
        key=lambda _: f"user-{next(users)}",
    )
    app = web.Application()
    app.router.add_get("/profile/{id}", control)
    async with AsyncExitStack() as stack:
        engine = setup(app, [rollout], database=url, migrate=True, drain_s=0.5)
        runner = web.AppRunner(app)
        stack.push_async_callback(runner.cleanup)
        await runner.setup()
        yield app, engine
