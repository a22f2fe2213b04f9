"""Dollars that a branch may spend in shadow in a day: over all processes and restarts, and never at the cost of live
calls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from rollout import Branch, Call, DatabaseError, Reserve, Rollout, Shadow, record_usage
from rollout.testing import MemoryBackend, memory_backend
from tests.support.trials import LoopClock, World, giving, rollout_of, running

pytestmark = pytest.mark.looptime

CENT = 10_000_000  # nano-dollars
LOOK_S = 10.0  # between two looks at what the ledger says was spent


def using(**usage: Any) -> Callable[[Call], Any]:
    """A branch that records a usage and gives the part of ``a``."""

    async def run(_: Call) -> int:
        record_usage(**usage)
        return 1

    return run


def dear(run: Any = None) -> Branch:
    """A branch that reserves, and costs, a cent."""
    return Branch("a", run or using(usd="0.01"), part="$.a", reserve=Reserve(usd="0.01"))


def two_cents(*branches: Branch) -> Rollout:
    """A rollout of branches that may each spend two cents a day in shadow."""
    return rollout_of(*branches, shadow=Shadow(noise=0.0, usd_per_day="0.02"))


@asynccontextmanager
async def at(wall: Callable[[], float], rollout: Rollout, **options: Any) -> AsyncIterator[World]:
    """A rollout that runs, whose machine's clock is ``wall``."""
    async with running(rollout, clock_s=LOOK_S, **options) as world:
        world.runtime.fan_outs.wall = wall
        yield world


async def call(world: World, times: int) -> None:
    """So many calls, one after another."""
    for _ in range(times):
        await world.get()
        await world.settled()


def runs(world: World, branch: str = "a", mode: str = "shadow") -> tuple[int, int]:
    """Runs of a branch in this process that gave a part, and those that the budget of the day refused."""
    figures = world.runtime.tally.runs_so_far()[(branch, mode)]
    assert figures["outcome:over_budget"] == figures["over_budget:usd_per_day"]
    return figures["outcome:ok"], figures["over_budget:usd_per_day"]


async def write(world: World) -> None:
    """What was counted is in the ledger, settled, and every process has looked at it."""
    await asyncio.sleep(world.runtime.definition.settle_s + 2.0)
    assert world.engine.recorder is not None
    assert await world.engine.recorder.write_all()
    await asyncio.sleep(LOOK_S)


async def test_a_shadow_that_spent_its_dollars_of_the_day_stops_and_no_other_branch_does() -> None:
    async with at(LoopClock().wall, two_cents(dear(), Branch("b", giving(2), part="$.b"))) as world:
        await call(world, 5)
        assert runs(world) == (2, 3)
        assert runs(world, "b") == (5, 0)


async def test_a_shadow_that_is_out_of_dollars_costs_users_nothing() -> None:
    async with at(LoopClock().wall, two_cents(dear())) as world:
        await call(world, 3)
        assert (await world.get()).json() == {"a": 1, "b": 2, "c": 3}
        world.stand(a=1.0)
        await call(world, 5)
        assert runs(world, mode="live") == (5, 0)
        assert (world.funnel["served:candidate"], world.funnel["served:fallback"]) == (5, 0)


async def test_live_calls_spend_nothing_of_the_shadow_s_day() -> None:
    async with at(LoopClock().wall, two_cents(dear()), live={"a": 1.0}) as world:
        await call(world, 5)
        world.stand()
        await call(world, 3)
        assert runs(world) == (2, 1)


@pytest.mark.parametrize(
    ("used", "allowed"),
    [
        pytest.param(using(usd="0.01"), 2, id="told"),
        pytest.param(using(usd="0"), 9, id="free"),
        pytest.param(using(usd="0.03"), 1, id="dearer than reserved"),
        pytest.param(using(input_tokens=5, model="nobody-knows"), 2, id="unknown"),
    ],
)
async def test_what_a_shadow_cost_is_spent_and_where_that_is_unknown_what_it_reserved(used: Any, allowed: int) -> None:
    async with at(LoopClock().wall, two_cents(dear(used))) as world:
        await call(world, 9)
        assert runs(world) == (allowed, 9 - allowed)


async def test_a_shadow_that_was_cut_may_have_cost_anything_so_what_it_reserved_is_spent() -> None:
    hung = Branch("a", giving(1, after_s=99.0), part="$.a", reserve=Reserve(usd="0.01"), hard_timeout_s=0.1)
    async with at(LoopClock().wall, two_cents(hung)) as world:
        await call(world, 5)
        assert runs(world) == (0, 3)


# Other processes, and restarts


async def test_a_second_process_learns_what_the_first_one_spent() -> None:
    backend = memory_backend(LoopClock())
    rollout = two_cents(dear())
    async with (
        at(LoopClock().wall, rollout, backend=backend) as first,
        at(LoopClock().wall, rollout, backend=backend, process="p2") as second,
    ):
        await call(first, 1)
        await call(second, 1)
        await write(first)
        await write(second)
        for world in (first, second):
            await call(world, 3)
            assert runs(world) == (1, 3)


async def test_what_the_ledger_says_of_this_process_is_not_added_to_what_it_knows() -> None:
    async with at(LoopClock().wall, two_cents(dear())) as world:
        await call(world, 1)
        await write(world)
        await call(world, 3)
        assert runs(world) == (2, 2)


@pytest.mark.parametrize("process", ["p1", "another name"])
async def test_a_restart_forgets_nothing_of_the_day(process: str) -> None:
    backend = memory_backend(LoopClock())
    async with at(LoopClock().wall, two_cents(dear()), backend=backend) as world:
        await call(world, 2)
    async with at(LoopClock().wall, two_cents(dear()), backend=backend, process=process) as world:
        await asyncio.sleep(1.0)  # virtual: the first look is over
        await call(world, 3)
        assert runs(world) == (0, 3)


async def test_branches_that_move_together_have_a_day_s_dollars_each() -> None:
    backend = memory_backend(LoopClock())
    other = Branch("b", giving(2), part="$.b", reserve=Reserve(usd="0.01"), salt="one")
    rollout = two_cents(Branch("a", using(usd="0.02"), part="$.a", salt="one"), other)
    async with at(LoopClock().wall, rollout, backend=backend) as world:
        await call(world, 2)
    async with at(LoopClock().wall, rollout, backend=backend) as world:
        await asyncio.sleep(1.0)
        daily = world.runtime.fan_outs.daily
        assert daily is not None
        assert [daily.spent(name, LoopClock().wall()) for name in ("a", "b")] == [4 * CENT, 0]


async def test_a_ledger_that_cannot_be_read_leaves_what_is_known_here() -> None:
    backend: MemoryBackend = memory_backend(LoopClock())
    async with at(LoopClock().wall, two_cents(dear()), backend=backend) as world:
        await call(world, 1)
        backend.fail_with(DatabaseError("gone"), only=("totals",))
        await asyncio.sleep(2 * LOOK_S)
        await call(world, 3)
        assert runs(world) == (2, 2)


# Days


async def test_a_new_day_starts_anew() -> None:
    days = [0]

    def wall() -> float:
        return LoopClock().wall() + days[0] * 86_400.0

    async with at(wall, two_cents(dear())) as world:
        await call(world, 3)
        await write(world)
        days[0] = 1
        await asyncio.sleep(LOOK_S)  # another look at the ledger, which has spending of yesterday only
        await call(world, 3)
        assert runs(world) == (4, 2)


async def test_the_day_ends_at_midnight_in_utc() -> None:
    midnight = LoopClock.WALL - LoopClock.WALL % 86_400.0 + 86_400.0
    now = [midnight - 0.001]
    async with at(lambda: now[0], two_cents(dear())) as world:
        await call(world, 3)
        assert runs(world) == (2, 1)
        now[0] = midnight
        await call(world, 1)
        assert runs(world) == (3, 1)


# What a spec file changes


async def apply(world: World, usd: str | None) -> None:
    """Somebody applies a spec file that sets the dollars of the day; this process has heard of it."""
    await world.backend.state.apply("profile", {"shadow.usd_per_day": usd}, "spec rollout.toml", "ann")
    await asyncio.sleep(0.01)


async def test_a_changed_limit_keeps_what_was_spent_today() -> None:
    async with at(LoopClock().wall, two_cents(dear())) as world:
        await call(world, 3)
        await apply(world, "0.03")
        await call(world, 2)
        assert runs(world) == (3, 2)
        await apply(world, "0.01")
        await call(world, 1)
        assert runs(world) == (3, 3)


async def test_a_limit_that_was_taken_away_and_comes_back_knows_what_was_spent_meanwhile() -> None:
    async with at(LoopClock().wall, two_cents(dear())) as world:
        await apply(world, None)
        await call(world, 5)
        assert runs(world) == (5, 0)
        await apply(world, "0.06")
        await call(world, 2)
        assert runs(world) == (6, 1)


async def test_a_first_limit_learns_what_was_spent_before_there_was_one() -> None:
    async with at(LoopClock().wall, rollout_of(dear())) as world:
        await call(world, 2)
        await write(world)
        await apply(world, "0.02")
        await asyncio.sleep(LOOK_S)
        await call(world, 2)
        assert runs(world) == (2, 2)
