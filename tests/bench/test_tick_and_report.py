"""What a tick of the controller and a report cost, with ten thousand calls on record and with a million.

Both ledgers hold the same span of time. A call more is a larger number in a block, never a row more. CPU time of the
process (the database's threads included), rounds interleaved.

Rolled up, as the housekeeping leaves a day of traffic after another day, the two cost the same. Fresh (the last hour by
the second, what is older by the minute) the report costs up to twice as much, once: a histogram of two calls has two
buckets, and it goes on filling up until all of some hundred are taken, by about 10⁶ calls a day. That is shown too.
"""

from __future__ import annotations

import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from rollout.domain.evidence import Arm, Block, Figures
from rollout.engine.controller import Controller
from rollout.ports import Backend
from rollout.testing import SystemClock, sample_batch, sample_block, sample_policy
from rollout.usecases import reporting
from rollout_sql import open_backend
from tests.support.crowd import put_at

MOST = 1.2
FRESH = 3.0
HOUR = 3_600
DAY = 24 * HOUR
ROOM = 3.0  # in the ordinary tests


@pytest.mark.bench
async def test_a_tick_and_a_report_cost_the_same_with_a_hundred_times_the_calls(tmp_path: Path) -> None:
    tick, report = await compared(tmp_path, 10**4, 10**6, rounds=31, ago_s=DAY + HOUR)
    print(f"\n10⁶ calls against 10⁴, a day of both, rolled up: tick {tick}, report {report}")
    assert tick.ratio <= MOST
    assert report.ratio <= MOST


@pytest.mark.bench
async def test_a_fresh_day_costs_a_report_what_its_buckets_cost(tmp_path: Path) -> None:
    tick, report = await compared(tmp_path, 10**4, 10**6, rounds=9)
    print(f"\n10⁶ calls against 10⁴, a day of both, fresh: tick {tick}, report {report}")
    assert tick.ratio <= MOST
    assert report.ratio <= FRESH


async def test_a_tick_and_a_report_do_not_grow_with_the_calls(tmp_path: Path) -> None:
    tick, report = await compared(tmp_path, 10**3, 10**5, rounds=3, span_s=2 * HOUR)
    assert tick.ratio < ROOM
    assert report.ratio < ROOM


@dataclass
class Costs:
    """CPU seconds of each round. The least of them is what the work costs: a busy machine only ever adds to it."""

    few: list[float] = field(default_factory=list)
    many: list[float] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        return min(self.many) / min(self.few)

    def __str__(self) -> str:
        few, many = (1000 * min(one) for one in (self.few, self.many))
        return f"{many:.1f} ms against {few:.1f} ms ({self.ratio:.2f} ×)"


async def compared(
    folder: Path, few: int, many: int, rounds: int, span_s: int = DAY, ago_s: int = 0
) -> tuple[Costs, Costs]:
    ticks, reports = Costs(), Costs()
    async with AsyncExitStack() as stack:
        sides = [
            (await stack.enter_async_context(recorded(folder / f"{calls}.db", calls, span_s, ago_s)), tick, report)
            for calls, tick, report in ((few, ticks.few, reports.few), (many, ticks.many, reports.many))
        ]
        for turn in range(rounds + 1):
            for ledger, tick, report in sides if turn % 2 else reversed(sides):
                await ledger.one_more_second()
                spent = await cpu(ledger.controller.tick)
                taken = await cpu(ledger.report)
                if turn:  # the first folds the past, and warms up
                    tick.append(spent)
                    report.append(taken)
    return ticks, reports


async def cpu(work: Callable[[], Awaitable[object]]) -> float:
    begun = time.process_time()
    await work()
    return time.process_time() - begun


@dataclass
class Recorded:
    """A ledger with a past, and a controller that leads on it. ``rate``: calls a second."""

    backend: Backend
    rate: float
    dice: random.Random
    second: int

    def __post_init__(self) -> None:
        self.controller = Controller(self.backend.state, self.backend.ledger, SystemClock(), "bench", margin_s=0.0)

    async def one_more_second(self) -> None:
        self.second += 1
        await self.backend.ledger.append(sample_batch(*blocks_of(self.second, self.rate, self.dice, entry=2)))

    async def report(self) -> None:
        found = await reporting.report(self.backend, "profile")
        assert found.rollout == "profile"


@asynccontextmanager
async def recorded(file: Path, calls: int, span_s: int, ago_s: int = 0) -> AsyncIterator[Recorded]:
    """A database in which ``calls`` calls of ``span_s`` seconds are counted, half of them live; that ended ``ago_s``
    seconds ago, and the housekeeping is done."""
    backend = await open_backend(f"sqlite:///{file}")
    try:
        await backend.state.register(sample_policy(settle_s=0.1), "bench")
        await put_at(backend, 0.5)
        now, dice, rate = int(await backend.state.now()), random.Random(5), calls / span_s
        batch: list[Block] = []
        for second in range(now - ago_s - span_s, now - ago_s - 10):
            young = second >= now - HOUR
            if young or second % 60 == 0:
                batch += blocks_of(second, rate * (1 if young else 60), dice, span=1 if young else 60)
            if len(batch) >= 2_000:
                await backend.ledger.append(sample_batch(*batch))
                batch = []
        await backend.ledger.append(sample_batch(*batch))
        while (await backend.ledger.maintain({}))["blocks_rolled_up"]:
            pass
        yield Recorded(backend, rate, dice, now - 10)
    finally:
        await backend.close()


def blocks_of(second: int, calls: float, dice: random.Random, *, span: int = 1, entry: int = 2) -> list[Block]:
    """What all processes counted in a block: of the rollout, of both arms, and of the pairs. At least one call."""
    n = max(1, int(calls) + (dice.random() < calls % 1))
    live = n // 2
    arms: dict[tuple[str, Arm], Figures] = {
        ("", "*"): Figures({"calls": n, "served:control": n - live, "served:candidate": live, "drawn": n}),
        ("orders", "A"): Figures({"calls": n - live}),
        ("orders", "B"): Figures({"calls": live, "runs": live, "outcome:ok": live}),
        ("orders", "P"): Figures({"pairs": n, "matched": n, "runs": n}),
    }
    for (_, arm), figures in arms.items():
        for name in ("control", "candidate") if arm == "P" else ("latency",):
            for _ in range(n):
                figures.observe(name, dice.lognormvariate(-2.3, 0.3))
    return [
        sample_block(second, arm, figures, unit=unit, entry=entry if unit else 0, span=span)
        for (unit, arm), figures in arms.items()
    ]
