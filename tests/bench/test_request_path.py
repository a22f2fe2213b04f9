"""What a call costs: CPU per call above an empty middleware, all variants interleaved in one run, beside a shadow
written by hand
and LaunchDarkly's migrator. `make bench` prints the table; the bounds are those that the project promises."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

import pytest
import uvloop

from rollout.ports import Batch
from tests.bench.request_path import BRANCHES, Variant, added, application, by_hand, cpu_per_call, empty
from tests.bench.wrapped import Wrapped, launchdarkly, wrapped

US = 1e6


async def measure(rounds: int, calls: int) -> tuple[Mapping[str, float], float]:
    """CPU seconds per call by variant; and the writer's own, per trial."""
    inactive = await wrapped("no active branch", shadow=False)
    idle = await wrapped("active, not drawn", sample=0.0)
    live = await wrapped("a live stage, not drawn", share=0.0001, sample=0.0)
    shadow = await wrapped("shadow on every call")
    migrator, client = launchdarkly()
    variants: list[Variant] = [
        Variant("empty middleware", application(empty)),
        by_hand(BRANCHES),
        migrator,
        *(one.variant for one in (inactive, idle, live, shadow)),
    ]
    try:
        costs = await cpu_per_call(variants, rounds=rounds, calls=calls)
        writer = await _writer(shadow, calls)
    finally:
        client.close()  # type: ignore[no-untyped-call]
        for one in (inactive, idle, live, shadow):
            await one.engine.stop()
    return costs, writer


async def _writer(shadow: Wrapped, calls: int) -> float:
    """CPU seconds per trial to expand the rows that wait into records, as the writer does off the request path."""
    recorder = shadow.engine.recorder
    assert recorder is not None
    made = [shadow.runtime.expand(row) for row in _rows(shadow, calls)]
    begun = time.process_time()
    for row in _rows(shadow, calls):
        shadow.runtime.expand(row)
    spent = time.process_time() - begun
    assert Batch("b", "p", trials=made).trials
    return spent / calls


def _rows(shadow: Wrapped, count: int) -> list[tuple[object, ...]]:
    at = shadow.runtime.time()
    head = ("profile", at, 1, 1, "/profile/{id}", "GET", "0" * 16, 200, 0.001, 0.002, None, 0.001, 0.001, 0.001)
    return [head for _ in range(count)]


def table(costs: Mapping[str, float], writer: float) -> str:
    hand = added(costs, "by hand")
    lines = [f"{'CPU per call, µs':28}{'whole':>9}{'added':>9}{'of by hand':>12}"]
    for name, cost in costs.items():
        lines.append(f"{name:28}{cost * US:9.2f}{added(costs, name) * US:9.2f}{added(costs, name) / hand:12.2f}")
    lines.append(f"{'(the writer, per trial)':28}{writer * US:9.2f}")
    return "\n".join(lines)


@pytest.mark.bench
def test_a_call_costs_what_is_promised() -> None:
    costs, writer = uvloop.run(measure(rounds=20, calls=2_000))
    print("\n" + table(costs, writer))
    assert added(costs, "no active branch") * US <= 0.5
    assert added(costs, "active, not drawn") * US <= 2.5
    assert added(costs, "a live stage, not drawn") * US <= 2.5
    assert added(costs, "shadow on every call") <= added(costs, "by hand")


def test_a_shadow_costs_no_multiple_of_one_written_by_hand() -> None:
    """The short version: a ratio with room for a busy machine, to catch a fall off the fast path."""
    costs, _ = uvloop.run(measure(rounds=3, calls=300))
    assert added(costs, "shadow on every call") <= 2.5 * added(costs, "by hand")
    assert added(costs, "active, not drawn") <= 0.5 * added(costs, "by hand")


def test_the_event_loop_under_the_benchmark_is_uvloop() -> None:
    async def loop() -> str:
        return type(asyncio.get_running_loop()).__module__

    assert uvloop.run(loop()).startswith("uvloop")
