"""Whose fault a difference is that lies in no branch's part, and what a group costs."""

from __future__ import annotations

from typing import Any

import pytest

from rollout import Branch, Budget, Call, Parts, Reply, Rollout, record_usage
from rollout.domain.evidence import Figures
from tests.support.trials import answering, giving, rollout_of, running

pytestmark = pytest.mark.looptime


def menu(call: Call, control: Reply | None, parts: Parts) -> Any:
    """What every branch adds ends in one list, so that no path tells whose it is."""
    return {"all": sorted(parts.values()) + [0] * (2 - len(parts))}


def rollout(a: int, b: int, *, part: str | None = None) -> Rollout:
    return rollout_of(
        Branch("a", giving(a), part=part, required=False),
        Branch("b", giving(b), required=False),
        aggregate=menu,
        control=answering({"all": [1, 2]}),
    )


async def pairs(declared: Rollout, **live: float) -> dict[str, Figures]:
    async with running(declared, live=live) as world:
        await world.get()
        await world.settled()
        return {unit: figures for (unit, arm), figures in world.sealed().items() if arm == "P"}


async def test_in_shadow_a_difference_of_no_part_makes_every_branch_wait() -> None:
    found = await pairs(rollout(1, 9))
    assert found["a"]["mismatched"] == found["b"]["mismatched"] == 1


async def test_it_is_not_the_fault_of_a_branch_whose_part_lies_elsewhere() -> None:
    found = await pairs(rollout(1, 9, part="$.own"))
    assert found["a"]["mismatched"] == 0
    assert found["b"]["mismatched"] == 1


async def test_a_live_branch_is_not_blamed_for_what_the_shadow_added() -> None:
    def either(call: Call, control: Reply | None, parts: Parts) -> Any:
        return {"all": [parts.get("a", 1), parts.get("b", 2)]}

    declared = rollout_of(
        Branch("a", giving(1), required=False),
        Branch("b", giving(9), required=False),
        aggregate=either,
        control=answering({"all": [1, 2]}),
    )
    found = await pairs(declared, a=1.0)
    assert found["a"]["matched"] == 1
    assert found["b"]["mismatched"] == 1


async def test_where_the_user_got_the_difference_the_live_branch_is_blamed_and_the_shadow_not_acquitted() -> None:
    def either(call: Call, control: Reply | None, parts: Parts) -> Any:
        return {"all": [parts.get("a", 1), parts.get("b", 2)]}

    declared = rollout_of(
        Branch("a", giving(9), required=False),
        Branch("b", giving(2), required=False),
        aggregate=either,
        control=answering({"all": [1, 2]}),
    )
    found = await pairs(declared, a=1.0)
    assert found["a"]["mismatched"] == 1
    assert found["b"]["incomparable"] == 1
    assert found["b"]["matched"] == 0


async def test_the_cost_of_a_group_is_counted_by_call() -> None:
    def spending(part: int, usd: str | None) -> Any:
        async def run(_: Call) -> int:
            record_usage(input_tokens=1, usd=usd)
            return part

        return run

    for usd, known in (("0.002", 3), (None, 0)):
        declared = rollout_of(
            Branch("a", spending(1, "0.001"), part="$.a"),
            Branch("b", spending(2, usd), part="$.b"),
            join="replace",
            control=answering({"a": 1, "b": 2}),
            budget=Budget(latency_s=1.0),
        )
        async with running(declared) as world:
            for _ in range(3):
                await world.get()
            await world.settled()
            figures = world.sealed()["a+b", "P"]
            assert (figures["costed"], figures["unpriced"]) == (known, 3 - known)
            assert figures["cost_nano"] == (9_000_000 if usd else 3_000_000)
