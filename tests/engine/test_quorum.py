"""So many parts are enough, whoever they are of; and so few that can still come are not."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from rollout import Branch, Call, FanOut, FanOutFailed, Parts
from rollout.dispatch import Chosen
from tests.support.trials import giving, nothing_left, rollout_of, running
from tests.test_fan_out import counted, held, now, stubborn

pytestmark = pytest.mark.looptime


def never(call: Call) -> bool:
    return False


def of(*seconds: float | None, quorum: int, **declared: Any) -> FanOut:
    """Branches that answer after so many seconds; None: that fail, after 0.1."""
    branches = [
        Branch(name, giving(name, after_s=after_s) if after_s is not None else giving(ValueError(), after_s=0.1))
        for name, after_s in zip("abcde", seconds, strict=False)
    ]
    return FanOut("some", branches, quorum=quorum, **declared)


async def test_the_rest_is_cut_when_there_are_enough() -> None:
    fan_out = of(0.3, 0.1, 9, 0.2, quorum=2)
    answer = await fan_out.run()
    assert answer.value == {"b": "b", "d": "d"}
    assert now() == pytest.approx(0.2, abs=0.01)
    assert (answer.runs["a"].outcome, answer.runs["a"].reason) == ("cancelled", "quorum")
    await asyncio.sleep(0)
    assert held(fan_out) == (0, 0)


async def test_failures_matter_only_where_too_few_are_left() -> None:
    assert (await of(None, 0.2, 0.3, quorum=2).run()).value == {"b": "b", "c": "c"}
    begun = now()
    fan_out = of(None, None, 9, quorum=2)
    with pytest.raises(FanOutFailed, match="0 of the 2 parts that are needed"):
        await fan_out.run()
    assert now() - begun == pytest.approx(0.1, abs=0.01)
    assert counted(fan_out, "c") == {"cancelled": 1}


async def test_a_branch_that_is_refused_at_the_door_before_the_others_have_begun_fails_nothing() -> None:
    branches = [Branch("a", giving(1), when=never), Branch("b", giving(2)), Branch("c", giving(3, after_s=0.1))]
    assert (await FanOut("some", branches, quorum=2).run()).value == {"b": 2, "c": 3}


async def test_where_all_are_refused_at_the_door_there_is_no_answer() -> None:
    branches = [Branch(name, giving(1), when=never) for name in "abc"]
    with pytest.raises(FanOutFailed, match="0 of the 1 parts"):
        await FanOut("some", branches, quorum=1).run()


async def test_what_comes_after_others_counts_while_it_can_still_come() -> None:
    branches = [
        Branch("a", giving(1)),
        Branch("b", giving(2, after_s=0.1), after="a"),
        Branch("c", giving(ValueError())),
    ]
    assert (await FanOut("some", branches, quorum=2).run()).value == {"a": 1, "b": 2}
    branches[0] = Branch("a", giving(ValueError(), after_s=0.1))
    with pytest.raises(FanOutFailed, match="0 of the 2 parts"):
        await FanOut("some", branches, quorum=2).run()


async def test_a_dispatch_that_chooses_fewer_needs_those() -> None:
    fan_out = of(0.1, 0.1, 0.1, quorum=2, dispatch=lambda call: Chosen(["b"], "one"))
    assert (await fan_out.run()).value == {"b": "b"}


async def test_a_soft_timeout_does_not_make_too_few_enough() -> None:
    late = Branch("b", giving(2, after_s=0.5), required=False, soft_timeout_s=0.1)
    fan_out = FanOut("some", [Branch("a", giving(1)), late, Branch("c", giving(ValueError()))], quorum=2)
    assert (await fan_out.run()).value == {"a": 1, "b": 2}
    assert now() == pytest.approx(0.5, abs=0.01)


async def test_an_aggregator_may_answer_with_fewer_at_the_soft_timeout() -> None:
    branches = [Branch(name, giving(name, after_s=s), soft_timeout_s=0.2) for name, s in (("a", 0.1), ("b", 9))]
    answer = await FanOut("some", branches, quorum=2, aggregate=lambda call, parts: list(parts)).run()
    assert answer.value == ["a"]
    assert now() == pytest.approx(0.2, abs=0.01)


def parts_of(call: Call, control: Any, parts: Parts) -> Any:
    return {"parts": sorted(parts)}


async def test_a_live_call_is_answered_with_the_first_although_a_loser_ignores_its_cancellation() -> None:
    branches = [Branch("a", giving(1, after_s=0.02)), Branch("b", stubborn(0.5))]
    async with running(rollout_of(*branches, aggregate=parts_of, quorum=1), live={"a": 1.0, "b": 1.0}) as world:
        assert (await world.get()).json() == {"parts": ["a"]}
        assert now() < 0.04
        station = world.runtime.live_stations["b"]
        assert (station.inflight, station.orphans) == (1, 1)
        await asyncio.sleep(1)
        await nothing_left(world)


async def test_of_a_call_that_is_partly_live_as_many_are_needed_as_are_live() -> None:
    branches = [Branch(name, giving(name), part=f"$.{name}") for name in "abc"]
    async with running(rollout_of(*branches, quorum=2), live={"a": 1.0}) as world:
        assert (await world.get()).json() == {"a": "a", "b": 2, "c": 3}
        assert world.funnel["served:candidate"] == 1


async def test_in_shadow_the_rest_is_cut_too() -> None:
    branches = [Branch("a", giving(1), part="$.a"), Branch("b", giving(2, after_s=9), part="$.b")]
    async with running(rollout_of(*branches, quorum=1)) as world:
        await world.get()
        await world.settled()
        assert now() < 1
        runs = world.runtime.tally.runs_so_far()
        assert runs["b", "shadow"].starting("outcome:") == {"cancelled": 1}
        await nothing_left(world)
