"""What a gate costs: CPU for a block more of evidence, and for a call more that is counted.

Two figures of each: microseconds here, and those on the machine for which the bounds are stated. That one does the
yardstick, a fixed loop of plain Python, in ``YARDSTICK_US``; rounds of it are interleaved with what is measured. A
faster machine gets no discount.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from math import log1p
from statistics import median
from typing import Any

import pytest

from rollout.domain.stats import LatencyPromotion, LatencyRollback, TwoSample
from tests.bench.gates.running import show
from tests.bench.request_path import requests
from tests.bench.wrapped import wrapped

US = 1e6
YARDSTICK_US = 50.0
ROUNDS = 31
BLOCK = (75, 1, 25, 1)


def yardstick() -> float:
    """Calls, floats, a list and a dictionary: what gates are made of."""
    held = dict.fromkeys(range(8), 0.0)
    for step in range(40):
        gained = [log1p(0.01 * (step + which)) for which in held]
        for which, gain in enumerate(gained):
            held[which] += gain
    return max(held.values())


def cpu_of(works: dict[str, Callable[[], object]], times: int) -> dict[str, tuple[float, float]]:
    """By name: microseconds of CPU for one of ``times``, the median of rounds; and the same on the machine of the
    bounds, where this one is slower.
    """
    spent: dict[str, list[float]] = {name: [] for name in works}
    slow: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(ROUNDS):
        for name, work in works.items():
            here = US * _seconds(work, times)
            measure = US * _seconds(yardstick, 50)
            spent[name].append(here)
            slow[name].append(here / max(1.0, measure / YARDSTICK_US))
    return {name: (median(spent[name]), median(slow[name])) for name in works}


def _seconds(work: Callable[[], object], times: int) -> float:
    begun = time.process_time()
    for _ in range(times):
        work()
    return (time.process_time() - begun) / times


def latencies() -> tuple[dict[int, int], int, dict[int, int], int]:
    """A block of a hundred calls, a fourth of them live, over as many buckets as lognormal latencies have."""
    return {600 + 2 * step: 1 for step in range(74)}, 1, {610 + 5 * step: 1 for step in range(24)}, 1


def past() -> dict[int, int]:
    """Control's latencies so far: all buckets that they reach."""
    return {500 + step: 1 + (200 - step) ** 2 % 97 for step in range(300)}


def updates() -> dict[str, Callable[[], object]]:
    plain, margin, step = TwoSample("rollback"), TwoSample("rollback", d=0.002), TwoSample("promote", d=0.01)
    latency, latency_step = LatencyRollback(0.1), LatencyPromotion(0.95, 0.1)
    for gate in (plain, margin, step):
        gate.learn(10_000, 100)
    for slow in (latency, latency_step):
        slow.learn(past(), 100)
    block = latencies()
    return {
        "errors, d = 0": lambda: plain.update(*BLOCK),
        "errors with a margin": lambda: margin.update(*BLOCK),
        "a step, with a margin": lambda: step.update(*BLOCK),
        "latency": lambda: latency.update(*block),
        "latency, a step": lambda: latency_step.update(*block, 0.01),
    }


MOST_US = {
    "errors, d = 0": 20.0,
    "errors with a margin": 60.0,
    "a step, with a margin": 60.0,
    "latency": 300.0,
    "latency, a step": 300.0,
}
MOST_US_OF_A_CALL = 1.0


def shown(title: str, costs: dict[str, tuple[float, float]], most: dict[str, float]) -> None:
    show(
        title,
        ("what", "µs here", "µs by the yardstick", "at most"),
        [
            (name, f"{here:.2f}", f"{scaled:.2f}", f"{most[name]:g}" if name in most else "")
            for name, (here, scaled) in costs.items()
        ],
        f"the yardstick, which takes {YARDSTICK_US:g} µs where the bounds are stated: "
        f"{cpu_of({'yardstick': yardstick}, 50)['yardstick'][0]:.1f} µs here",
    )


@pytest.mark.bench
def test_a_block_more_costs_what_is_promised() -> None:
    costs = cpu_of(updates(), 200)
    shown(f"CPU of an update; medians of {ROUNDS} rounds", costs, MOST_US)
    for name, (_, scaled) in costs.items():
        assert scaled <= MOST_US[name], name


@pytest.mark.bench
async def test_a_call_more_is_counted_for_less_than_a_microsecond() -> None:
    """From the entry of an admitted call to the end of control's reply, above a middleware that counts nothing."""
    idle = await wrapped("a live stage, not drawn", share=0.0001, sample=0.0)
    try:
        runtime = idle.runtime
        [request] = requests(idle.variant.app, 1)
        now, view = runtime.time(), runtime.view
        assert view is not None
        for _ in range(2):  # a key's first call is scored besides
            cell = runtime.admit(request, now)
        second, response = view.open, Answered()
        [(assignment, own)] = second.cells.items()
        assert cell is own

        def counted() -> None:
            found = second.cells.get(assignment) or second.cell(assignment)
            found.started += 1
            runtime.count(found, now, response)

        def nothing() -> None:
            return None

        costs = cpu_of({"counted": counted, "not counted": nothing}, 20_000)
    finally:
        await idle.engine.stop()
    here, scaled = (one - other for one, other in zip(costs["counted"], costs["not counted"], strict=True))
    title = f"CPU of counting a call; medians of {ROUNDS} rounds"
    shown(title, {**costs, "counting": (here, scaled)}, {"counting": MOST_US_OF_A_CALL})
    assert scaled <= MOST_US_OF_A_CALL


class Answered:
    """A reply of control's."""

    status = 200

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"counting a call asked for its reply's {name}")
