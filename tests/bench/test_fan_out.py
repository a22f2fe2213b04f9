"""A guarded fan-out beside a bare ``gather`` and beside nopanic: CPU per call, trivial and awaiting branches, asyncio
and uvloop, all variants interleaved in one run; and how it grows with the number of branches.

The guards are all there and ready, and nothing fails: a hard timeout enforced from outside, retries, a breaker with
generations, a bulkhead, a budget of tokens and dollars, a latency histogram, counters.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import nopanic
import pytest
import uvloop

from rollout import Branch, Breaker, Budget, Call, FanOut, Reserve, Retry

Ask = Callable[[Any], Awaitable[int]]
Run = Callable[[], Awaitable[Any]]
US = 1e6
RUNNERS = {"asyncio": asyncio.run, "uvloop": uvloop.run}


async def trivial(call: Any) -> int:
    return 1


async def awaiting(call: Any) -> int:
    await asyncio.sleep(0)
    return 1


def guarded(ask: Ask, count: int) -> Run:
    fan_out = FanOut(
        "profile",
        [
            Branch(
                f"b{number}",
                ask,
                sla_s=0.3,
                hard_timeout_s=1.0,
                retry=Retry(attempts=2),
                breaker=Breaker(),
                max_concurrency=1_000,
                reserve=Reserve(tokens=10, usd="0.0001"),
            )
            for number in range(count)
        ],
        budget=Budget(latency_s=1.5, tokens=4_000, usd="0.05"),
    )
    call = Call.of_value(1)

    async def run() -> Any:
        return await fan_out.run(call)

    return run


def bare(ask: Ask, count: int) -> Run:
    async def run() -> Any:
        return await asyncio.gather(*(ask(1) for _ in range(count)))

    return run


def with_nopanic(ask: Ask, count: int) -> Run:
    def one() -> Ask:
        async def branch(call: Any) -> int:
            return await ask(call)

        held: Any = nopanic.timeout(1.0)(branch)
        held = nopanic.bulkhead(1_000)(held)
        held = nopanic.circuit_breaker(min_calls=20)(held)
        kept: Ask = nopanic.retry(attempts=2)(held)
        return kept

    branches = [one() for _ in range(count)]

    async def run() -> Any:
        return await asyncio.gather(*(branch(1) for branch in branches))

    return run


async def cpu_per_call(variants: Mapping[str, Run], *, rounds: int, calls: int) -> Mapping[str, float]:
    """Median CPU seconds per call of each variant; rounds interleaved, the first one warms up."""
    spent: dict[str, list[float]] = {name: [] for name in variants}
    for turn in range(rounds + 1):
        for name in variants if turn % 2 else reversed(list(variants)):
            run = variants[name]
            begun = time.process_time()
            for _ in range(calls):
                await run()
            if turn:
                spent[name].append((time.process_time() - begun) / calls)
    return {name: statistics.median(found) for name, found in spent.items()}


def compared(ask: Ask, runner: Any, *, rounds: int = 20, calls: int = 500) -> Mapping[str, float]:
    async def measure() -> Mapping[str, float]:
        variants = {"gather": bare(ask, 3), "nopanic": with_nopanic(ask, 3), "guarded": guarded(ask, 3)}
        return await cpu_per_call(variants, rounds=rounds, calls=calls)

    found: Mapping[str, float] = runner(measure())
    return found


@pytest.mark.bench
@pytest.mark.parametrize("runner", RUNNERS)
@pytest.mark.parametrize("ask", [trivial, awaiting])
def test_a_guarded_fan_out_costs_what_is_promised(ask: Ask, runner: str) -> None:
    costs = compared(ask, RUNNERS[runner])
    row = "  ".join(f"{name} {cost * US:6.2f} µs" for name, cost in costs.items())
    of_gather, of_nopanic = costs["guarded"] / costs["gather"], costs["guarded"] / costs["nopanic"]
    print(f"\n{ask.__name__:9}{runner:8}{row}   {of_gather:.2f} x gather, {of_nopanic:.2f} x nopanic")
    assert of_gather <= 1.5
    assert of_nopanic <= 0.6


@pytest.mark.bench
@pytest.mark.parametrize("ask", [trivial, awaiting])
def test_a_fan_out_grows_with_its_branches_and_no_faster(ask: Ask) -> None:
    async def measure() -> Mapping[str, float]:
        return await cpu_per_call({str(n): guarded(ask, n) for n in (1, 10, 100)}, rounds=10, calls=50)

    costs = asyncio.run(measure())
    print(f"\n{ask.__name__:9}" + "  ".join(f"{n} branches {cost * US:8.1f} µs" for n, cost in costs.items()))
    assert costs["100"] <= 1.25 * 10 * costs["10"]
    assert costs["10"] <= 1.25 * 10 * costs["1"]


def test_the_guards_cost_no_multiple_of_a_gather() -> None:
    """The short version: with room for a busy machine, to catch a fall off the fast path."""
    costs = compared(trivial, asyncio.run, rounds=5, calls=100)
    assert costs["guarded"] <= 4 * costs["gather"]
    assert costs["guarded"] <= 1.2 * costs["nopanic"]
