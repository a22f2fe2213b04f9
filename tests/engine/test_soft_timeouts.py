"""The soft timeout: the candidate may be made without a branch, and a part that comes later is never used."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from rollout import WAIT, Branch, Call, FanOut, Parts
from tests.support.trials import World, giving, nothing_left, rollout_of, running
from tests.test_fan_out import counted, now

pytestmark = pytest.mark.looptime

EVERYBODY = {"a": 1.0, "b": 1.0, "c": 1.0}


def late(name: str = "b", **declared: Any) -> Branch:
    return Branch(
        name, giving(9, after_s=0.5), **{"part": f"$.{name}", "required": False, "soft_timeout_s": 0.1, **declared}
    )


def ends(world: World, branch: str, mode: str = "live") -> dict[str, int]:
    return world.runtime.tally.runs_so_far()[branch, mode].starting("outcome:")


async def test_the_reply_goes_out_at_the_soft_timeout_of_an_optional_branch() -> None:
    async with running(rollout_of(Branch("a", giving(7), part="$.a"), late()), live=EVERYBODY) as world:
        assert (await world.get()).json() == {"a": 7, "b": 2, "c": 3}
        assert now() == pytest.approx(0.1, abs=0.01)
        assert ends(world, "b") == {"soft_timeout": 1}
        assert world.funnel["served:candidate"] == 1
        await asyncio.sleep(1)
        assert ends(world, "b") == {"soft_timeout": 1}
        await nothing_left(world)


async def test_a_part_that_comes_between_the_soft_timeout_and_the_reply_is_used() -> None:
    slow = Branch("a", giving(7, after_s=0.8), part="$.a")
    async with running(rollout_of(slow, late()), live=EVERYBODY) as world:
        assert (await world.get()).json() == {"a": 7, "b": 9, "c": 3}
        assert ends(world, "b") == {"ok": 1}


async def test_a_required_branch_is_waited_for_where_nobody_asks() -> None:
    async with running(rollout_of(late(required=True)), live=EVERYBODY) as world:
        assert (await world.get()).json()["b"] == 9
        assert ends(world, "b") == {"ok": 1}


def whole(call: Call, control: Any, parts: Parts) -> Any:
    return {"parts": sorted(parts), "missing": dict(parts.missing)}


def patient(call: Call, control: Any, parts: Parts) -> Any:
    return WAIT if "b" not in parts else whole(call, control, parts)


async def test_an_aggregator_may_answer_without_a_required_branch() -> None:
    declared = rollout_of(Branch("a", giving(7)), late(required=True), aggregate=whole)
    async with running(declared, live=EVERYBODY) as world:
        assert (await world.get()).json() == {"parts": ["a"], "missing": {"b": "soft_timeout"}}
        assert now() == pytest.approx(0.1, abs=0.01)
        assert ends(world, "b") == {"soft_timeout": 1}
        await nothing_left(world)


async def test_an_aggregator_may_wait_on() -> None:
    declared = rollout_of(Branch("a", giving(7)), late(required=True), aggregate=patient)
    async with running(declared, live=EVERYBODY) as world:
        assert (await world.get()).json() == {"parts": ["a", "b"], "missing": {}}
        assert now() == pytest.approx(0.5, abs=0.01)
        assert ends(world, "b") == {"ok": 1}


async def test_an_aggregator_that_waits_is_not_kept_waiting_by_a_required_branch_that_fails() -> None:
    failing = Branch("b", giving(ValueError(), after_s=0.3), soft_timeout_s=0.1)
    declared = rollout_of(Branch("a", giving(7)), failing, aggregate=patient)
    async with running(declared, live=EVERYBODY) as world:
        assert (await world.get()).json() == {"a": 1, "b": 2, "c": 3}
        assert now() == pytest.approx(0.3, abs=0.01)
        assert world.funnel["fallback:error"] == 1
        figures = world.sealed()
        assert (figures["a", "B"]["bad"], figures["b", "B"]["bad"]) == (0, 1)


async def test_an_aggregator_is_asked_again_after_each_part_also_where_another_branch_begins_with_it() -> None:
    asked: list[tuple[float, list[str]]] = []

    def aggregate(call: Call, parts: Parts) -> Any:
        asked.append((round(now(), 2), sorted(parts)))
        return WAIT if len(parts) < 2 else list(parts)

    branches = [
        Branch("a", giving(1)),
        Branch("b", giving(2, after_s=0.3), required=False, soft_timeout_s=0.1),
        Branch("c", giving(3, after_s=9), required=False, after="b"),
    ]
    assert (await FanOut("some", branches, aggregate=aggregate).run()).value == ["a", "b"]
    assert asked == [(0.1, ["a"]), (0.3, ["a", "b"])]


async def test_what_waits_for_a_late_branch_is_never_started() -> None:
    started: list[str] = []

    async def run(call: Call) -> Any:
        started.append("c")

    after = Branch("c", run, part="$.c", required=False, after="b")
    async with running(rollout_of(Branch("a", giving(7), part="$.a"), late(), after), live=EVERYBODY) as world:
        await world.get()
        assert now() == pytest.approx(0.1, abs=0.01)
        await asyncio.sleep(5)
        assert (ends(world, "c"), started) == ({"skipped": 1}, [])


async def test_a_late_answer_of_a_fan_out_on_its_own_says_what_is_missing() -> None:
    fan_out = FanOut("some", [Branch("a", giving(1)), late()])
    answer = await fan_out.run()
    assert (answer.value, dict(answer.parts.missing)) == ({"a": 1}, {"b": "soft_timeout"})
    assert counted(fan_out, "b") == {"soft_timeout": 1}
    assert not answer.is_complete


async def test_in_shadow_the_candidate_is_made_at_the_soft_timeout_too() -> None:
    declared = rollout_of(Branch("a", giving(1), part="$.a"), late())
    async with running(declared) as world:
        await world.get()
        await world.settled()
        assert now() == pytest.approx(0.1, abs=0.01)
        assert ends(world, "b", "shadow") == {"soft_timeout": 1}
        (trial,) = await world.trials()
        assert trial.outcome == "matched"
        await nothing_left(world)


async def test_in_shadow_an_aggregator_may_wait_for_a_required_branch_that_is_late() -> None:
    asked: list[dict[str, str]] = []

    def patient(call: Call, control: Any, parts: Parts) -> Any:
        asked.append(dict(parts.missing))
        return WAIT if parts.missing else {"a": parts["a"], "b": parts["b"], "c": 3}

    branches = [Branch("a", giving(1), part="$.a"), late(required=True)]
    async with running(rollout_of(*branches, aggregate=patient), shadow=True) as world:
        await world.get()
        await world.settled()
        assert asked == [{"b": "soft_timeout"}, {}]
        assert ends(world, "b", "shadow") == {"ok": 1}
        assert world.funnel["compared"] == 1
        await nothing_left(world)
