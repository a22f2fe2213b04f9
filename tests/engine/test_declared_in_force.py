"""Budgets and prices that a spec file sets hold from the next call on, in a process that runs."""

from __future__ import annotations

import asyncio

import pytest

from rollout import Branch, Budget, Call, Price, PriceBook, Reserve, record_usage
from rollout_spec import parse_spec
from tests.support.trials import World, giving, rollout_of, running

pytestmark = pytest.mark.looptime

RESERVING = Branch("a", giving(1), part="$.a", reserve=Reserve(tokens=1_000, usd="0.02"))


async def apply(world: World, toml: str) -> None:
    """Somebody applies a spec file; this process has heard of it."""
    await world.backend.state.apply("profile", parse_spec(toml).fields("profile"), "spec rollout.toml", "ann")
    await asyncio.sleep(0.01)


async def reset(world: World) -> None:
    await world.backend.state.apply("profile", None, "reset", "ann")
    await asyncio.sleep(0.01)


async def outcome(world: World) -> str:
    """How the run of ``a`` ends in the shadow of one call."""
    await world.get()
    return (await outcomes(world))["a"]


async def outcomes(world: World) -> dict[str, str]:
    """Branch → how its run ended, in the last trial."""
    return {run.branch: run.outcome for run in (await world.trials())[-1].runs}


@pytest.mark.parametrize("limit", ["tokens = 999", 'usd = "0.019999999"'])
async def test_a_limit_of_a_spec_holds_from_the_next_call_on_and_until_the_reset(limit: str) -> None:
    async with running(rollout_of(RESERVING)) as world:
        assert await outcome(world) == "ok"
        await apply(world, f"[rollouts.profile.budget]\n{limit}")
        assert await outcome(world) == "over_budget"
        await reset(world)
        assert await outcome(world) == "ok"


async def using_up(_: Call) -> int:
    record_usage(input_tokens=1, usd="0.01")
    return 2


@pytest.mark.parametrize("key", ["tokens", "usd"])
async def test_the_word_none_lifts_a_limit_of_the_code(key: str) -> None:
    spender = Branch("b", using_up, part="$.b")
    late = Branch("a", giving(1), part="$.a", after="b", reserve=RESERVING.reserve)
    tight = Budget(tokens=1_000) if key == "tokens" else Budget(usd="0.02")
    async with running(rollout_of(late, spender, budget=tight)) as world:
        assert await outcome(world) == "over_budget"
        await apply(world, f'[rollouts.profile.budget]\n{key} = "none"')
        assert await outcome(world) == "ok"


async def test_a_call_under_way_keeps_the_limit_that_it_began_with() -> None:
    slow = Branch("b", giving(2, after_s=0.5), part="$.b")
    late = Branch("a", giving(1), part="$.a", after="b", reserve=RESERVING.reserve)
    async with running(rollout_of(late, slow, budget=Budget(tokens=1_000))) as world:
        await world.get()
        await apply(world, "[rollouts.profile.budget]\ntokens = 10")
        assert await outcomes(world) == {"a": "ok", "b": "ok"}
        await world.get()
        assert await outcomes(world) == {"a": "over_budget", "b": "ok"}


async def asks_a_model(call: Call) -> int:
    record_usage(input_tokens=1_000_000, model=call.headers["Model"])
    return 1


async def test_prices_of_a_spec_lie_over_those_of_the_code_from_the_next_call_on() -> None:
    book = PriceBook({"small": Price("1", "1"), "big": Price("10", "10")})

    async def costs() -> list[int | None]:
        for model in ("small", "big", "new"):
            await world.get(headers={"Model": model})
            await world.settled()
        return [trial.runs[0].cost_nano for trial in (await world.trials())[-3:]]

    async with running(rollout_of(Branch("a", asks_a_model, part="$.a"), prices=book)) as world:
        assert await costs() == [10**9, 10 * 10**9, None]
        prices = "rollouts.profile.prices"
        await apply(world, f'[{prices}.small]\ninput="0.15"\noutput=1\n[{prices}.new]\ninput=2\noutput=2')
        assert await costs() == [150_000_000, 10 * 10**9, 2 * 10**9]
        await apply(world, f"[{prices}]")
        assert await costs() == [10**9, 10 * 10**9, None]
