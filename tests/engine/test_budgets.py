"""Budgets of a call, and of a shadow's day, in the engine; and what shadows may never do to live calls."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from rollout import Branch, Breaker, Budget, Call, FanOut, FanOutFailed, Reserve, Shadow, Usage, record_usage
from rollout.domain.breaker import State
from tests.engine.test_schedules import accounts_opened, is_settled
from tests.support.trials import World, giving, nothing_left, rollout_of, running

pytestmark = pytest.mark.looptime

CENT = 10_000_000


def paying(usd: str | None, *, tokens: int = 10, after_s: float = 0.1) -> Callable[[Call], Any]:
    """A branch that used a model; None: nobody knows what it cost."""

    async def run(call: Call) -> Any:
        await asyncio.sleep(after_s)
        record_usage(input_tokens=tokens, usd=usd)
        return 9

    return run


def ends(world: World, branch: str, mode: str) -> dict[str, int]:
    return world.runtime.tally.runs_so_far()[branch, mode].starting("outcome:")


# The budget of a call


async def test_of_five_parallel_branches_of_two_cents_five_cents_admit_two() -> None:
    branches = [Branch(f"b{n}", paying("0.02"), reserve=Reserve(usd="0.02"), required=n < 2) for n in range(5)]
    answer = await FanOut("models", branches, budget=Budget(usd="0.05")).run()
    assert sorted(answer.value) == ["b0", "b1"]
    assert {(run.outcome, run.reason) for name, run in answer.runs.items() if name > "b1"} == {("over_budget", "usd")}


async def test_ten_times_half_a_cent_fit_in_five_cents_exactly() -> None:
    branches = [Branch(f"b{n}", paying("0.005"), reserve=Reserve(usd="0.005")) for n in range(10)]
    assert (await FanOut("models", branches, budget=Budget(usd="0.05")).run()).is_complete


async def test_what_was_not_used_is_there_for_what_comes_after() -> None:
    reserve = Reserve(usd="0.04", tokens=100)
    branches = [
        Branch("a", paying("0.01"), reserve=reserve),
        Branch("b", paying("0.04"), reserve=reserve, after="a"),
        Branch("c", paying("0.01"), reserve=reserve, after="b", required=False),
    ]
    answer = await FanOut("models", branches, budget=Budget(usd="0.05", tokens=120)).run()
    assert {name: run.reason for name, run in answer.runs.items()} == {"a": "", "b": "", "c": "usd"}


async def test_a_required_branch_that_the_budget_does_not_cover_fails_the_call() -> None:
    branches = [Branch(name, paying("0.02"), reserve=Reserve(usd="0.04")) for name in "ab"]
    with pytest.raises(FanOutFailed, match="branch b ended as over_budget"):
        await FanOut("models", branches, budget=Budget(usd="0.05")).run()


@pytest.mark.parametrize(
    ("run", "declared", "spent", "unknown"),
    [
        (paying("0.01"), {}, CENT, 0),
        (paying("0"), {}, 0, 0),
        (paying(None), {}, 2 * CENT, 1),
        (giving(9, after_s=0.1), {}, 0, 0),
        (giving(ValueError(), after_s=0.1), {}, 0, 0),
        (giving(9, after_s=9), {}, 2 * CENT, 1),
        (giving(9), {"meter": lambda part: Usage(5, 5, CENT)}, CENT, 0),
        (giving(9), {"meter": lambda part: Usage()}, 0, 0),
        (giving(9), {"meter": lambda part: None}, 0, 0),
        (giving(9), {"meter": lambda part: Usage(-5, 5, CENT)}, 2 * CENT, 1),
        (giving(9), {"meter": lambda part: Usage(5, 5, -CENT)}, 2 * CENT, 1),
        (giving(9), {"meter": lambda part: Usage(5.5, 5, CENT)}, 2 * CENT, 1),  # type: ignore[arg-type]
        (giving(9), {"meter": lambda part: {"tokens": 5}}, 2 * CENT, 1),
        (giving(9), {"meter": lambda part: part["usage"]}, 2 * CENT, 1),
    ],
    ids=[
        *("priced", "free", "no price", "nothing said", "raised", "cut"),
        *("metered", "metered nothing", "meter says none", "negative tokens"),
        *("negative cost", "half a token", "no usage", "meter raises"),
    ],
)
async def test_what_a_run_used_is_spent_and_what_nobody_knows_is_what_it_had_reserved(
    run: Any, declared: dict[str, Any], spent: int, unknown: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    accounts = accounts_opened(monkeypatch)
    reserve = Reserve(tokens=50, usd="0.02")
    branch = Branch("a", run, reserve=reserve, required=False, hard_timeout_s=1.0, **declared)
    fan_out = FanOut("models", [branch, Branch("b", giving(1))], budget=Budget(tokens=100, usd="0.05"))
    await fan_out.run()
    (account,) = accounts
    assert (account.spent_nano, account.unknown) == (spent, unknown)
    assert is_settled(account)


@pytest.mark.parametrize("failure", [KeyError("usage"), SystemExit(1), asyncio.CancelledError()], ids=repr)
async def test_a_meter_that_raises_ends_no_run_and_is_counted(failure: BaseException) -> None:
    def meter(part: Any) -> Usage:
        raise failure

    fan_out = FanOut("models", [Branch("a", giving(9), meter=meter)])
    assert (await fan_out.run()).value == {"a": 9}
    assert fan_out.hook_failures == {"meter": 1}
    assert fan_out.counts()["a", "live"]["unpriced"] == 1


async def test_a_breaker_that_refuses_takes_nothing_from_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    accounts = accounts_opened(monkeypatch)
    broken = Branch("a", giving(ValueError()), breaker=Breaker(minimum=1), reserve=Reserve(usd="0.04"), required=False)
    fan_out = FanOut("models", [broken], budget=Budget(usd="0.05"), aggregate=lambda call, parts: 1)
    for _ in range(2):
        await fan_out.run()
    assert fan_out.counts()["a", "live"]["outcome:short_circuited"] == 1
    assert [account.released_nano for account in accounts] == [4 * CENT, 4 * CENT]


# What a shadow may not do


async def test_a_shadow_spends_from_an_account_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    accounts = accounts_opened(monkeypatch)
    branches = [Branch(name, paying("0.02"), part=f"$.{name}", reserve=Reserve(usd="0.02")) for name in "abc"]
    async with running(rollout_of(*branches, budget=Budget(usd="0.03")), live={"a": 1.0}) as world:
        assert (await world.get()).json() == {"a": 9, "b": 2, "c": 3}
        await world.settled()
        assert (ends(world, "a", "live"), ends(world, "b", "shadow")) == ({"ok": 1}, {"ok": 1})
        assert ends(world, "c", "shadow") == {"over_budget": 1}
        assert [account.spent_nano for account in accounts] == [2 * CENT, 2 * CENT]


async def test_a_shadow_that_has_spent_its_day_stops_and_live_calls_go_on() -> None:
    branch = Branch("a", paying("0.02"), part="$.a", reserve=Reserve(usd="0.02"))
    declared = rollout_of(branch, shadow=Shadow(noise=0.0, usd_per_day="0.05"))
    async with running(declared) as world:
        for _ in range(4):
            await world.get()
            await world.settled()
        assert ends(world, "a", "shadow") == {"ok": 2, "over_budget": 2}
        world.stand(a=1.0, shadow=False)
        for _ in range(4):
            assert (await world.get()).json()["a"] == 9
        assert ends(world, "a", "live") == {"ok": 4}


class Sick:
    """A branch that is well in live calls, and in shadow does whatever can go wrong."""

    def __init__(self) -> None:
        self._turn = 0

    async def __call__(self, call: Call) -> Any:
        if not call.is_shadow:
            return 9
        self._turn += 1
        if self._turn % 3 == 0:
            raise ConnectionError
        record_usage(input_tokens=10**6, usd="100")
        return await asyncio.sleep(60)


async def test_whatever_goes_wrong_in_shadow_live_calls_do_not_feel() -> None:
    branch = Branch(
        "a",
        Sick(),
        part="$.a",
        breaker=Breaker(minimum=3),
        max_concurrency=2,
        hard_timeout_s=0.5,
        reserve=Reserve(tokens=10, usd="0.01"),
    )
    declared = rollout_of(branch, budget=Budget(tokens=100, usd="0.05"), shadow=Shadow(noise=0.0, usd_per_day="0.05"))
    async with running(declared) as world:
        replies = []
        for _ in range(30):
            world.stand()  # all in shadow
            await world.get()
            world.stand(a=1.0, shadow=False)
            begun = asyncio.get_running_loop().time()
            replies.append((await world.get()).json()["a"])
            assert asyncio.get_running_loop().time() - begun < 0.001
            await asyncio.sleep(0.05)
        await world.settled()
        assert replies == [9] * 30
        assert ends(world, "a", "live") == {"ok": 30}
        live, shadow = world.runtime.live_stations["a"], world.runtime.shadow_stations["a"]
        assert live.circuit is not None
        assert shadow.circuit is not None
        assert (live.circuit.state, live.circuit.generation, live.inflight) == (State.closed, 1, 0)
        assert len(ends(world, "a", "shadow")) > 2  # it was as sick as it was meant to be
        assert "ok" not in ends(world, "a", "shadow")
        await nothing_left(world)
