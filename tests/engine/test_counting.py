"""Every call is counted exactly once, whatever happens to it, and figures add up over seconds and processes."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rollout import Branch, Budget, Shadow
from rollout.domain.bucketing import bucket
from rollout.domain.evidence import Figures
from rollout.domain.routing import assign, plan_units
from rollout.domain.state import BranchState
from rollout.engine.cells import Fault
from rollout.engine.counting import Tally
from rollout.testing import FakeFlags, FixedDice, sample_policy
from tests.support.trials import (
    HttpError,
    PlainHost,
    Request,
    Response,
    World,
    added_up,
    answering,
    giving,
    nothing_left,
    rollout_of,
    running,
)

pytestmark = pytest.mark.looptime

PROMPT = Budget(latency_s=2.0)


class Chance:
    """Control and branches that do something else at every call, as a seed says; never more than a few seconds."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)

    async def control(self, _: Any) -> Response:
        await asyncio.sleep(self.dice.choice([0, 0, 0.1, 1.0, 4.0]))
        match self.dice.randrange(8):
            case 0:
                raise ValueError("control's own")
            case 1:
                raise HttpError(self.dice.choice([302, 404, 503]))
            case 2:
                return Response(b"{}", self.dice.choice([404, 500]))
            case 3:
                return Response(b"<p>", headers=(("Content-Type", "text/html"),))
            case 4:
                return Response(streamed=True)
        return Response(b'{"a": 1, "b": 2, "c": 3}')

    async def branch(self, _: Any) -> Any:
        await asyncio.sleep(self.dice.choice([0, 0, 0.1, 1.0, 4.0]))
        match self.dice.randrange(8):
            case 0:
                raise ValueError("a branch's own")
            case 1:
                raise asyncio.CancelledError
            case 2:
                return {1, 2}
        return self.dice.choice([1, 2, 3])

    def rollout(self, **declared: Any) -> Any:
        return rollout_of(
            Branch("a", self.branch, part="$.a", hard_timeout_s=1.5),
            Branch("b", self.branch, part="$.b", required=False, max_concurrency=3),
            Branch("c", self.branch, part="$.c", required=False, after="b", when=lambda call: self.dice.random() < 0.8),
            control=self.control,
            budget=PROMPT,
            shadow=Shadow(noise=0.1, concurrency=4, queue=3),
            **declared,
        )

    async def calls(self, world: World, count: int) -> None:
        """Calls of a few users, some of whom go away before the answer; all have ended at the end."""
        tasks = []
        for _ in range(count):
            key = self.dice.choice([None, *(f"user-{number}" for number in range(20))])
            task = asyncio.create_task(world.get(key=key, skip=self.dice.choice([None] * 9 + ["upgrade"])))
            tasks.append(task)
            if self.dice.random() < 0.1:
                asyncio.get_running_loop().call_later(self.dice.random() * 2, task.cancel)
            await asyncio.sleep(self.dice.random() * 0.2)
        await asyncio.gather(*tasks, return_exceptions=True)
        await world.settled()


@pytest.mark.parametrize("join", ["overlay", "replace"])
@pytest.mark.parametrize("instant", [True, False])
@pytest.mark.parametrize("seed", range(3))
async def test_every_call_is_counted_once_whatever_happens(seed: int, join: str, instant: bool) -> None:
    chance = Chance(seed)
    rollout = chance.rollout(
        join=join, **({} if join == "overlay" else {"aggregate": lambda call, control, parts: dict(parts)})
    )
    flags = FakeFlags({("profile", "user-1"): "on", ("profile", "user-2"): "off"}, instant=instant)
    async with running(rollout, flags=flags, live={"a": 0.5, "b": 0.3, "c": 0.3}) as world:
        await chance.calls(world, 80)
        await nothing_left(world)
        so_far = world.funnel
        figures = world.sealed()
        whole = figures["", "*"]
        assert whole["calls"] == 80
        served = whole.starting("served:")
        assert sum(served.values()) == 80
        assert so_far["calls"] == 80
        assert drawn_balance(whole) == 0
        for unit in ("a", "b", "c"):
            arms = figures.get((unit, "A"), Figures())["calls"] + figures.get((unit, "B"), Figures())["calls"]
            assert arms < 80  # testers and those whose flag is off are in none
        assert set(whole.starting("fault:")) <= {"noise"}  # control, run once more, raised


def drawn_balance(whole: Figures) -> int:
    """Drawn trials less those that began, were refused, or turned out to have nothing to compare."""
    return whole["started"] - whole["finished"] - sum(whole.starting("dropped:").values())


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    ends=st.lists(
        st.tuples(
            st.floats(0, 30),  # starts
            st.one_of(st.none(), st.floats(0, 30)),  # takes; None: never ends
            st.sampled_from(["ok", "raises", "500", "gone"]),
        ),
        min_size=1,
        max_size=40,
    )
)
def test_started_is_finished_plus_unknown(ends: list[tuple[float, float | None, str]]) -> None:
    """Calls of any length, sealed second by second as the writer does: whatever is not known by then is bad."""
    now = [0.0]
    settle_s = 10.1
    tally = Tally("profile", "p1", settle_s, lambda: now[0])
    state = BranchState(rollout="profile", branch="orders", entered_at=0.0, stage=1, share=0.5)
    plans = plan_units(sample_policy(), {"orders": state})
    arm_b = assign(plans, {}, ["auto"], [0])
    events = [(start, 0, number) for number, (start, _, _) in enumerate(ends)]
    events += [(start + takes, 1, number) for number, (start, takes, _) in enumerate(ends) if takes is not None]
    events += [(float(second), 2, -1) for second in range(75)]
    cells: dict[int, Any] = {}
    seconds: dict[int, Any] = {}
    blocks = []
    for at, what, number in sorted(events):
        now[0] = at
        if what == 0:
            second = seconds.setdefault(int(at), None) or tally.second(int(at), plans, 1)
            seconds[int(at)] = second
            cells[number] = second.cell(arm_b)
            cells[number].started += 1
        elif what == 1:
            _, takes, how = ends[number]
            assert takes is not None
            cell = cells[number]
            if cell.sealed:
                tally.late += 1
            elif how == "ok":
                cell.finish(takes)
            else:
                cell.fault(Fault(None, "", None if how != "500" else takes))
        else:
            blocks += tally.seal()[0]
            assert tally.so_far()["calls"] <= len(ends)
    figures = added_up(blocks)
    in_time = [
        how for start, takes, how in ends if takes is not None and start + takes < _sealed_at(int(start), settle_s)
    ]
    assert figures["orders", "B"]["calls"] == len(ends)
    assert figures["orders", "B"]["bad"] == len(ends) - in_time.count("ok")
    assert figures["orders", "B"].histogram("latency").total == in_time.count("ok")
    assert figures["", "*"]["calls"] == len(ends)
    assert tally.late == sum(takes is not None for _, takes, _ in ends) - len(in_time)
    assert tally.so_far() == figures["", "*"]


def _sealed_at(second: int, settle_s: float) -> float:
    """The writer looks once a second here."""
    due = second + 1 + settle_s
    return float(int(due) + (due > int(due)))


# Late, open and sealed


async def test_an_answer_that_comes_after_its_second_was_sealed_is_late_and_the_call_was_bad() -> None:
    async with running(rollout_of(control=answering({"a": 1}, after_s=5.0), budget=PROMPT), live={"a": 0.0}) as world:
        call = asyncio.create_task(world.get())
        await asyncio.sleep(4.0)
        blocks, _ = world.runtime.tally.seal()
        whole = added_up(blocks)["", "*"]
        assert (whole["calls"], whole["bad"]) == (1, 1)
        await call
        assert world.runtime.tally.late == 1
        assert world.funnel["calls"] == 1


async def test_a_candidate_that_comes_late_is_counted_as_late_too() -> None:
    slow = giving(1, after_s=1.9)

    async def aggregate(call: Any, control: Any, parts: Any) -> Any:
        return {"a": 1}

    async with running(
        rollout_of(Branch("a", slow, part="$.a"), aggregate=aggregate, budget=PROMPT), live={"a": 1.0}
    ) as world:
        call = asyncio.create_task(world.get())
        await asyncio.sleep(1.0)
        world.runtime.tally.seal(everything=True)
        await call
        assert world.runtime.tally.late >= 1
        assert world.funnel["calls"] == 1


async def test_a_shadow_that_ends_after_its_second_was_sealed_is_in_the_totals_and_counted_as_late() -> None:
    async with running(rollout_of(Branch("a", giving(1, after_s=1.5), part="$.a"), budget=PROMPT)) as world:
        await world.get()
        await asyncio.sleep(0.1)
        world.runtime.tally.seal(everything=True)
        await world.settled()
        assert (world.funnel["started"], world.funnel["finished"], world.funnel["queued"]) == (1, 1, 1)
        assert world.runtime.tally.late == 1
        assert len(await world.trials()) == 1


@pytest.mark.parametrize("waits", [0.0, 1.0, 1.9])
async def test_a_shadow_that_hangs_is_evidence_however_slow_control_was(waits: float) -> None:
    rollout = rollout_of(
        Branch("a", giving(1, after_s=60), part="$.a"), control=answering({"a": 1}, after_s=waits), budget=PROMPT
    )
    async with running(rollout, record_every_s=0.05) as world:
        await asyncio.sleep(0.95)
        for _ in range(3):
            await world.get()
        await world.settled()
        await asyncio.sleep(5)
        (pairs,) = [one.figures for one in await world.backend.ledger.totals("profile") if one.arm == "P"]
        assert (pairs["pairs"], pairs["candidate_bad"], pairs["outcome:hard_timeout"]) == (3, 3, 3)
        assert world.runtime.tally.late == 0


async def test_a_call_under_way_is_not_counted_yet_and_nothing_that_is_shown_ever_falls() -> None:
    chance = Chance(11)
    async with running(chance.rollout(), live={"a": 0.5, "b": 0.5, "c": 0.5}) as world:
        work = asyncio.create_task(chance.calls(world, 100))
        shown: dict[str, int] = {}
        runs: dict[Any, int] = {}
        turn = 0
        while not work.done():
            await asyncio.sleep(0.25)
            turn += 1
            if turn % 4 == 0:
                world.runtime.tally.seal()
            now = world.funnel.counts
            assert all(now.get(name, 0) >= count for name, count in shown.items())
            shown = dict(now)
            of_branches = {
                (key, name): count
                for key, figures in world.runtime.tally.runs_so_far().items()
                for name, count in figures.counts.items()
                if name.startswith("outcome:")
            }
            assert all(of_branches.get(name, 0) >= count for name, count in runs.items())
            runs = of_branches
        await work


async def test_what_is_shown_is_what_was_sealed_once_all_is_sealed() -> None:
    chance = Chance(5)
    async with running(chance.rollout(), live={"a": 0.5, "b": 0.5, "c": 0.5}) as world:
        await chance.calls(world, 100)
        blocks = world.runtime.tally.seal()[0]
        blocks += world.runtime.tally.seal(everything=True)[0]
        assert world.funnel == added_up(blocks)["", "*"]


async def test_the_blocks_of_two_processes_add_up_to_the_calls_of_both() -> None:
    def keyed(number: int) -> str:
        return f"user-{number}"

    rollout = rollout_of(Branch("a", giving(1), part="$.a"), Branch("b", giving(9), part="$.b"))
    shares = {"a": 0.5, "b": 0.25}
    async with running(rollout, live=shares, process="p1") as one, running(rollout, live=shares, process="p2") as two:
        for number in range(200):
            await (one, two)[number % 2].get(key=keyed(number))
        await one.settled()
        await two.settled()
        mine, theirs = one.runtime.tally.seal(everything=True)[0], two.runtime.tally.seal(everything=True)[0]
    async with running(rollout, live=shares) as alone:
        for number in range(200):
            await alone.get(key=keyed(number))
        await alone.settled()
        expected = alone.sealed()
    together = added_up([*mine, *theirs])
    assert {block.key.process for block in mine} == {"p1"}
    for key, figures in expected.items():
        counts = {name: count for name, count in figures.counts.items() if count}
        assert {name: together[key][name] for name in counts} == counts


# Arms


async def test_arms_hold_the_calls_by_their_bucket_and_testers_and_excluded_ones_are_in_none() -> None:
    flags = FakeFlags({("profile", "user-1"): "on", ("profile", "user-2"): "off", ("profile", "user-3"): "shadow"})
    async with running(rollout_of(), live={"a": 0.5}, flags=flags) as world:
        for number in range(100):
            await world.get(key=f"user-{number}")
        await world.settled()
        below = sum(bucket("profile/a", f"user-{number}") < 5_000 for number in range(100) if number not in (1, 2, 3))
        figures = world.sealed()
        assert (figures["a", "B"]["calls"], figures["a", "A"]["calls"]) == (below, 97 - below)
        assert figures["", "*"]["calls"] == 100


async def test_a_tester_is_served_by_the_candidate_and_counted_in_no_arm() -> None:
    flags = FakeFlags({("profile", "alice"): "on"})
    async with running(rollout_of(Branch("a", giving(9), part="$.a")), flags=flags) as world:
        assert (await world.get(key="alice")).json()["a"] == 9
        assert (await world.get(key="bob")).json()["a"] == 1
        figures = world.sealed()
        assert not [key for key in figures if key[1] == "A"]
        assert figures["", "*"]["served:candidate"] == 1


async def test_a_tester_of_a_group_that_writes_is_live_before_any_stage_is() -> None:
    rollout = rollout_of(
        Branch("a", giving(9), part="$.a", effects="write"), join="replace", methods=["POST"], effects="safe"
    )
    flags = FakeFlags({("profile", "alice"): "on"})
    async with running(rollout, flags=flags) as world:
        assert (await world.serve(Request(method="POST", headers={"X-User-Id": "alice"}))).json() == {"a": 9}
        assert (await world.serve(Request(method="POST", headers={"X-User-Id": "bob"}))).json()["b"] == 2


# Sampling


@pytest.mark.parametrize("instant", [True, False])
@pytest.mark.parametrize("key", ["alice", None])
async def test_sampling_draws_once_for_each_call(instant: bool, key: str | None) -> None:
    flags = FakeFlags(instant=instant)
    dice = FixedDice(seed=3)
    rollout = rollout_of(shadow=Shadow(sample=0.3, noise=0.0, queue=10_000))
    async with running(rollout, flags=flags, dice=dice) as world:
        for _ in range(2_000):
            await world.get(key=key)
        await world.settled()
        assert world.funnel["started"] / 2_000 == pytest.approx(0.3, abs=0.03)


async def test_live_overlay_calls_are_compared_at_the_sample_rate() -> None:
    rollout = rollout_of(shadow=Shadow(sample=0.3, noise=0.0, queue=10_000))
    async with running(rollout, live={"a": 1.0}) as world:
        for _ in range(1_000):
            await world.get()
        await world.settled()
        assert world.funnel["served:candidate"] == 1_000
        assert world.funnel["started"] / 1_000 == pytest.approx(0.3, abs=0.05)


async def test_without_a_key_every_call_is_drawn_anew() -> None:
    async with running(rollout_of(Branch("a", giving(9), part="$.a")), live={"a": 0.25}) as world:
        live = [(await world.get(key=None)).json()["a"] == 9 for _ in range(2_000)]
        assert sum(live) / 2_000 == pytest.approx(0.25, abs=0.03)


async def test_a_key_that_is_not_sticky_is_drawn_anew_too() -> None:
    rollout = rollout_of(Branch("a", giving(9), part="$.a"), sticky=False)
    async with running(rollout, live={"a": 0.25}) as world:
        live = [(await world.get(key="alice")).json()["a"] == 9 for _ in range(2_000)]
        assert sum(live) / 2_000 == pytest.approx(0.25, abs=0.03)


# A call that cannot be routed


class Unreadable(PlainHost):
    """Its bodies break the engine."""

    async def read_body(self, native: Request, max_body: int) -> bytes | None:
        raise RuntimeError("not foreseen")


async def test_a_call_whose_preparation_fails_is_served_by_control_and_counted() -> None:
    class Raising(FakeFlags):
        async def ask(self, *what: Any) -> Any:
            raise RuntimeError("never raises, it said")

    async with running(rollout_of(), host=Unreadable()) as world:
        assert (await world.get(body=b"{}")).status == 200
        assert world.funnel["calls"] == 1
        assert world.funnel["fault:prepare"] == 1
    async with running(rollout_of(), flags=Raising(instant=False)) as world:
        assert (await world.get()).status == 200
        assert world.funnel["calls"] == 1
