"""What is counted of runs besides their latency: why they did not begin, how each of a group ended, what is orphaned,
and how much of their time passed side by side."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from rollout import Branch, Budget, Call, Reserve, Rollout, Shadow, record_usage
from rollout.domain.dispatching import Chosen
from rollout.domain.evidence import REASONS, Figures
from tests.support.trials import World, answering, giving, rollout_of, running

pytestmark = pytest.mark.looptime

FEW_TOKENS = Budget(latency_s=1.5, tokens=10, usd="0.01")


def no(call: Call) -> bool:
    return False


def surely(part: Any) -> float:
    return 0.99


def only_a(call: Call) -> Chosen:
    return Chosen(("a",), "cheap")


def optional(name: str, run: Any = None, **declared: Any) -> Branch:
    return Branch(name, run or giving(1), part=f"$.{name}", required=False, **declared)


def reasons_of(figures: Figures) -> dict[str, int]:
    return {
        name: count for name, count in figures.counts.items() if name.startswith(tuple(f"{one}:" for one in REASONS))
    }


NOT_BEGUN = {
    "skipped:when": rollout_of(optional("b", when=no)),
    "skipped:dispatch": rollout_of(optional("a"), optional("b"), dispatch=only_a),
    "skipped:confident": rollout_of(
        optional("a", confidence=surely), optional("b", after="a", escalate_below=0.9)
    ),
    "skipped:after": rollout_of(Branch("a", giving(ValueError()), part="$.a"), optional("b", after="a")),
    "skipped:quorum": rollout_of(
        *(optional(name, giving(1, after_s=s)) for name, s in (("a", 0.1), ("c", 0.2))), optional("b", after="c"),
        quorum=1, join="replace", aggregate=lambda call, control, parts: dict(parts),
    ),
    "over_budget:time": rollout_of(optional("b", reserve=Reserve(latency_s=9.0)), budget=FEW_TOKENS),
    "over_budget:tokens": rollout_of(optional("b", reserve=Reserve(tokens=11)), budget=FEW_TOKENS),
    "over_budget:usd_per_day": rollout_of(
        optional("b", reserve=Reserve(usd="0.02")), shadow=Shadow(noise=0.0, usd_per_day="0.01")
    ),
    "over_budget:usd": rollout_of(optional("b", reserve=Reserve(usd="0.02")), budget=FEW_TOKENS),
}  # fmt: skip


NEVER = ("live", "over_budget:usd_per_day")  # only shadows have a budget of the day


@pytest.mark.parametrize(
    ("mode", "expected"),
    [(mode, expected) for mode in ("live", "shadow") for expected in NOT_BEGUN if (mode, expected) != NEVER],
)
async def test_a_run_that_did_not_begin_is_counted_with_its_reason(mode: str, expected: str) -> None:
    rollout: Rollout = NOT_BEGUN[expected]
    shares = {branch.name: 1.0 for branch in rollout.branches} if mode == "live" else {}
    async with running(rollout, live=shares) as world:
        assert world.engine.metrics().branches["profile", "b", mode].counts[expected] == 0
        await world.get()
        await world.settled()
        figures = world.runtime.tally.runs_so_far()["b", mode]
        assert reasons_of(figures) == {expected: 1}
        assert world.sealed()["b", "B" if mode == "live" else "P"][expected] == 1


def test_every_reason_is_tried() -> None:
    assert {f"{outcome}:{reason}" for outcome, reasons in REASONS.items() for reason in reasons} == NOT_BEGUN.keys()


# A group, whose figures are added up


def group(*runs: Any) -> Rollout:
    branches = [Branch(name, run, part=f"$.{name}", salt="together") for name, run in zip("abc", runs, strict=False)]
    return rollout_of(*branches, control=answering({"a": 1, "b": 2, "c": 3}))


async def test_how_each_branch_of_a_group_ended_is_known() -> None:
    async with running(group(giving(1), giving(ValueError()))) as world:
        await world.get()
        await world.settled()
        (unit,) = [figures for (name, arm), figures in world.sealed().items() if name and arm == "P"]
        assert unit.starting("of:a:") == {"outcome:ok": 1}
        assert unit.starting("of:b:") == {"outcome:error": 1}
        assert unit.starting("outcome:") == {"ok": 1, "error": 1}


async def test_a_branch_alone_is_counted_under_no_second_name() -> None:
    async with running(rollout_of()) as world:
        await world.get()
        await world.settled()
        assert not world.sealed()["a", "P"].starting("of:")


# Orphans


async def stubborn(call: Call) -> Any:
    """Swallows its cancellation and goes on for five seconds."""
    ends = asyncio.get_running_loop().time() + 5.0
    while (left := ends - asyncio.get_running_loop().time()) > 0:
        try:
            await asyncio.sleep(left)
        except asyncio.CancelledError:
            continue


async def test_what_goes_on_after_its_end_is_counted_as_orphaned_until_it_really_ends() -> None:
    branch = Branch("a", stubborn, part="$.a", hard_timeout_s=0.1)
    async with running(rollout_of(branch, Branch("b", giving(2), part="$.b"))) as world:
        await world.get()
        await world.settled()
        assert world.engine.metrics().orphans["profile", "a", "shadow"] == 1
        assert {name: figures["orphans"] for (name, arm), figures in world.sealed().items() if arm == "P"} == {
            "a": 1, "b": 0,
        }  # fmt: skip
        await asyncio.sleep(5.0)
        assert world.engine.metrics().orphans["profile", "a", "shadow"] == 0


# Work, and the way through it


async def times(world: World) -> Any:
    """Trials, and milliseconds of work and of waiting, both sides of a scrape agreeing with what is sealed."""
    await world.settled()
    scraped, sealed = world.funnel, world.sealed()["", "*"]
    for name in ("fan_outs", "work_us", "path_us"):
        assert scraped[name] == sealed[name]
    return sealed["fan_outs"], sealed["work_us"] / 1e3, sealed["path_us"] / 1e3


def side_by_side(*last: Branch, **declared: Any) -> Rollout:
    branches = (Branch("a", giving(1, after_s=0.1), part="$.a"), Branch("b", giving(2, after_s=0.08), part="$.b"))
    return rollout_of(*branches, *last, **declared)


async def test_the_time_of_the_runs_is_known_and_that_of_their_fan_out() -> None:
    async with running(side_by_side()) as world:
        await world.get()
        await world.get()
        assert await times(world) == (2, pytest.approx(360, abs=1), pytest.approx(200, abs=1))


async def test_what_comes_after_another_makes_the_way_longer() -> None:
    async with running(side_by_side(Branch("c", giving(3, after_s=0.05), part="$.c", after="b"))) as world:
        await world.get()
        assert await times(world) == (1, pytest.approx(230, abs=1), pytest.approx(130, abs=1))


async def test_the_time_of_a_trial_that_is_not_clean_counts_alike() -> None:
    async def dear(call: Call) -> Any:
        record_usage(usd="0.01")
        await asyncio.sleep(0.05)
        raise ValueError

    async with running(side_by_side(Branch("c", dear, part="$.c"), optional("d", when=no))) as world:
        await world.get()
        assert await times(world) == (1, pytest.approx(230, abs=1), pytest.approx(100, abs=1))


async def test_of_a_call_that_is_partly_live_both_fan_outs_count() -> None:
    async with running(side_by_side(), live={"a": 1.0}) as world:
        await world.get()
        assert await times(world) == (1, pytest.approx(180, abs=1), pytest.approx(180, abs=1))


async def test_a_fan_out_in_which_nothing_began_takes_no_time_and_is_not_counted() -> None:
    async with running(rollout_of(optional("a", when=no))) as world:
        await world.get()
        assert (await times(world))[0] == 0


async def test_what_control_used_is_counted_also_where_nobody_knows_its_price() -> None:
    async def control(_: Any) -> Any:
        record_usage(input_tokens=5, output_tokens=3, model="unheard-of")
        return await answering({"a": 1})(_)

    async with running(rollout_of(control=control)) as world:
        await world.get()
        await world.settled()
        pairs = world.sealed()["a", "P"]
        found = [pairs[f"control_{name}"] for name in ("tokens_in", "tokens_out", "unpriced", "costed")]
        assert found == [5, 3, 1, 0]
