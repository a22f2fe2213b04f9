"""The controller in virtual time: what it moves, what holds it, and what it survives."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from rollout.domain.changes import change
from rollout.domain.gates import Grade
from rollout.domain.lifecycle import Event, moves
from rollout.domain.ramp import Ramp
from rollout.domain.state import BranchPolicy, FlagOverride, Mode, Policy
from rollout.domain.verdict import Action
from rollout.engine.controller import Controller
from rollout.errors import DatabaseError
from rollout.ports import Span, StateStore
from rollout.testing import sample_batch, sample_block
from tests.support import thresholds as gates
from tests.support.ramping import LAG_S, SETTLE_S, Told, Truth, World, by_person, lead

HALF = "shadow 50% 100%"


def unit(name: str, *after: str, of: str = "") -> BranchPolicy:
    return BranchPolicy(name=name, unit=of or name, salt=of or name, after=after)


async def move(world: World, event: Event, branch: str = "orders", **options: Any) -> None:
    """Somebody moves a branch by hand."""
    snapshot = await world.backend.state.load()
    policy = snapshot.policies["profile"]
    found = moves(policy, snapshot.states["profile"], branch, event, **options)
    await world.backend.state.transition(change(policy, found, event, **by_person()))


# The ramp


async def test_a_healthy_branch_climbs_the_ramp_and_is_completed() -> None:
    world = await World().begin()
    await world.seconds(60)
    assert (await world.state()).mode is Mode.completed
    moved = await world.decisions()
    assert [one.moves[0]["to"] for one in moved] == ["10%", "50%", "100%", "100%, completed"]
    assert {one.trigger for one in moved} == {"controller"}
    assert all(len(one.findings) == len(world.gates) for one in moved)


async def test_every_step_soaks_first() -> None:
    world = await World().begin()
    await world.seconds(50)
    entries = [one.at for one in await world.decisions()]
    assert all(later - earlier >= 10 for earlier, later in pairwise(entries))


async def test_the_bake_time_counts_at_the_last_stage() -> None:
    world = await World(ramp=Ramp.parse("shadow 100%", soak=5, bake=60)).begin()
    await world.until(1.0)
    await world.seconds(55)
    assert (await world.state()).mode is Mode.active
    await world.seconds(6)
    assert (await world.state()).mode is Mode.completed


@pytest.mark.parametrize("mode", [Mode.active, Mode.completed])
async def test_after_100_percent_it_is_still_judged(mode: Mode) -> None:
    world = await World(ramp=Ramp.parse(HALF, soak=5, bake=10 if mode is Mode.completed else 600)).begin()
    await world.seconds(60)
    assert (await world.state()).mode is mode
    world.truths["orders"] = Truth(bad=0.3)
    await world.seconds(5)
    assert (await world.state()).mode is Mode.rolled_back


# The sign: each gate finds a worse candidate, live and in shadow, and spares a better one

HEALTHY = Truth(bad=0.02, fallbacks=0.005, differs=0.003)
WORSE: dict[str, Truth] = {
    "errors": replace(HEALTHY, bad=0.08),
    "latency p95": replace(HEALTHY, scale_s=0.3),
    "mismatches": replace(HEALTHY, differs=0.03),
    "cost": replace(HEALTHY, cost_nano=15_000_000),
    "sla": replace(HEALTHY, sla_missed=0.2),
    "fallbacks": replace(HEALTHY, fallbacks=0.06),
}
BETTER = Truth(scale_s=0.03, cost_nano=1_000_000, sla_missed=0.0)


def only(name: str) -> tuple[gates.GateSpec, ...]:
    return tuple(spec for spec in World().gates if spec.name == name)


@pytest.mark.parametrize("name", WORSE)
async def test_a_worse_candidate_is_rolled_back_live(name: str) -> None:
    world = await World(control=HEALTHY, gates=only(name), ramp=Ramp.parse(HALF, soak=5)).begin()
    await world.until(0.5)
    world.truths["orders"] = WORSE[name]
    await world.seconds(30)
    state = await world.state()
    assert (state.mode, state.share, state.cause) == (Mode.rolled_back, 0.0, name)
    assert state.shadow is (name != "cost")
    (decision,) = await world.decisions("rollback")
    assert any(finding.grade is Grade.breach and finding.gate == name for finding in decision.findings)


@pytest.mark.parametrize("name", WORSE)
async def test_a_worse_candidate_is_held_in_shadow(name: str) -> None:
    # Fallbacks do not exist in shadow: there a candidate that fails would have fallen back.
    truth = replace(WORSE[name], bad=0.08) if name == "fallbacks" else WORSE[name]
    world = await World(control=HEALTHY, gates=only(name), truths={"orders": truth}).begin()
    await world.seconds(60)
    state = await world.state()
    assert state.share == 0
    assert state.mode is (Mode.rolled_back if name == "cost" else Mode.active)
    if name != "cost":
        assert "not ready" in world.controller.verdicts["profile", "orders"].reason


async def test_a_better_candidate_passes_every_gate() -> None:
    world = await World(control=replace(HEALTHY, bad=0.005), truths={"orders": BETTER}).begin()
    await world.seconds(60)
    assert (await world.state()).mode is Mode.completed
    assert not await world.decisions("rollback")


@pytest.mark.parametrize("name", ["errors", "latency p95"])
async def test_with_the_arms_swapped_the_better_one_is_rolled_back(name: str) -> None:
    world = await World(gates=only(name), ramp=Ramp.parse(HALF, soak=5)).begin()
    await world.until(0.5)
    await move(world, Event.pause)
    world.control, world.truths["orders"] = WORSE[name], HEALTHY
    await world.seconds(20)
    assert (await world.state()).live
    world.control, world.truths["orders"] = HEALTHY, WORSE[name]
    await world.seconds(65)
    assert not (await world.state()).live


# How fast


async def test_from_the_first_bad_block_closed_to_the_rollback_is_one_tick() -> None:
    world = await World(ramp=Ramp.parse(HALF, soak=5)).begin()
    await world.until(0.5)
    await world.seconds(3)
    world.truths["orders"] = Truth(bad=1.0)
    began = world.clock.wall()
    while (await world.state()).live:
        await world.second()
    assert world.clock.wall() - began <= LAG_S + 1.0


async def test_a_rollback_waits_for_no_soak_freeze_pause_or_flag() -> None:
    ramp = Ramp.parse("shadow 50% 100%", soak=5)
    world = await World(ramp=ramp).begin()
    await world.until(0.5)
    await move(world, Event.pause)
    await world.backend.state.apply(
        "profile", {"ramp": replace(ramp, freeze=("Mon 00:00 - Sun 23:00",), soak_s=9e4).to_dict()}, "spec", "ann"
    )
    await world.backend.state.set_flag(FlagOverride(flag="profile", value="off"))
    world.truths["orders"] = Truth(bad=0.5)
    await world.seconds(6)
    assert (await world.state()).mode is Mode.rolled_back


# What holds a promotion


async def test_a_freeze_blocks_promotion_until_it_ends() -> None:
    world = await World(ramp=Ramp.parse(HALF, soak=5, freeze=["Mon 11:00 - Mon 12:01"])).begin()
    await world.seconds(58)
    assert (await world.state()).share == 0
    assert "frozen" in world.controller.verdicts["profile", "orders"].reason
    await world.seconds(4)
    assert (await world.state()).share == 0.5


async def test_an_approval_is_waited_for_and_a_regression_after_it_blocks() -> None:
    world = await World(ramp=Ramp.parse(HALF, soak=5, approve="50%")).begin()
    await world.seconds(20)
    assert (await world.state()).share == 0
    assert "a person must approve 50%" in world.controller.verdicts["profile", "orders"].reason
    world.truths["orders"] = Truth(bad=0.2)
    await world.seconds(4)
    await move(world, Event.approve)
    await world.seconds(5)
    assert (await world.state()).share == 0
    world.truths.clear()
    await world.until(0.5)
    assert (await world.state()).approved is None


@pytest.mark.parametrize("value", ["off", "shadow"])
async def test_a_flag_that_is_closed_for_everybody_holds(value: str) -> None:
    world = await World(ramp=Ramp.parse(HALF, soak=5)).begin()
    await world.backend.state.set_flag(FlagOverride(flag="profile", value=value))
    await world.seconds(20)
    assert (await world.state()).share == 0
    assert f'"profile" is {value}' in world.controller.verdicts["profile", "orders"].reason
    await world.backend.state.clear_flag("profile", None, "ann", "")
    await world.seconds(2)
    assert (await world.state()).share == 0.5


async def test_a_ramp_that_is_moved_by_hand_is_not_moved_but_rolled_back() -> None:
    world = await World(ramp=Ramp.parse(HALF, soak=5, auto=False)).begin()
    await world.seconds(30)
    assert (await world.state()).share == 0
    await move(world, Event.promote)
    world.truths["orders"] = Truth(bad=0.5)
    await world.seconds(5)
    assert (await world.state()).mode is Mode.rolled_back


async def test_without_traffic_nothing_moves() -> None:
    world = await World().begin()
    world.flow = False
    await world.seconds(100)
    assert (await world.state()).share == 0
    assert "0 of 50" in world.controller.verdicts["profile", "orders"].reason


async def test_evidence_of_the_stage_before_does_not_count() -> None:
    world = await World(ramp=Ramp.parse(HALF, soak=5)).begin()
    await world.until(0.5)
    world.flow = False
    await world.seconds(60)
    assert (await world.state()).share == 0.5


async def test_a_figure_that_is_no_number_holds_and_never_rolls_back() -> None:
    world = await World(ramp=Ramp.parse(HALF, soak=5), gates=only("errors")).begin()
    await world.until(0.5)
    state = await world.state()
    world.flow = False
    for _ in range(30):
        second = int(world.clock.wall())
        nan: Any = {"calls": float("nan"), "bad": float("inf")}
        blocks = [sample_block(second, arm, nan, entry=state.entry) for arm in ("A", "B")]
        await world.backend.ledger.append(sample_batch(*blocks))
        await world.second()
    verdict = world.controller.verdicts["profile", "orders"]
    assert (verdict.action, verdict.findings[0].grade) == (Action.hold, Grade.error)


# Groups and dependants


async def test_a_group_moves_as_one_and_a_dependant_never_runs_ahead() -> None:
    branches = (unit("summary", "tickets"), unit("tickets"), unit("a", of="a+b"), unit("b", of="a+b"))
    world = await World(branches=branches, ramp=Ramp.parse("shadow 10% 50% 100%", soak=5)).begin()
    for _ in range(60):
        await world.second()
        assert (await world.state("summary")).share <= (await world.state("tickets")).share
        assert (await world.state("a")).share == (await world.state("b")).share
    assert {(await world.state(name)).mode for name in ("summary", "tickets", "a", "b")} == {Mode.completed}


async def test_a_rollback_takes_its_dependants_along_in_one_decision() -> None:
    branches = (unit("tickets"), unit("summary", "tickets"), unit("other"))
    world = await World(branches=branches, ramp=Ramp.parse(HALF, soak=5)).begin()
    await world.until(0.5, "summary")
    world.truths["tickets"] = Truth(bad=0.5)
    await world.seconds(5)
    (decision,) = await world.decisions("rollback")
    assert [one["branch"] for one in decision.moves] == ["tickets", "summary"]
    assert "summary comes after it" in decision.reason
    assert (await world.state("other")).live
    assert world.controller.rollbacks == {("profile", "tickets", "errors"): 1, ("profile", "summary", "errors"): 1}


async def test_a_group_that_a_branch_joined_begins_again_together() -> None:
    world = await World(branches=(unit("a", of="g"),), ramp=Ramp.parse(HALF, soak=5)).begin()
    await world.until(0.5, "a")
    world.branches = (unit("a", of="g"), unit("b", of="g"))
    await world.begin()
    await world.second()
    states = [await world.state("a"), await world.state("b")]
    assert {(state.share, state.entry) for state in states} == {(0.0, states[0].entry)}
    await world.until(0.5, "b")


# Several controllers, restarts, faults


async def test_two_controllers_make_one_transition() -> None:
    world = await World().begin()
    told = Told()
    first, second = (world.another(name, notifier=told) for name in ("p1", "p2"))
    await world.seconds(60, first, second)
    assert (first.leader, second.leader) == (True, False)
    assert len(await world.decisions()) == len(told.decisions) == 4
    assert not second.transitions


async def test_the_second_takes_over_when_the_first_is_gone() -> None:
    world = await World().begin()
    first, second = world.another("p1"), world.another("p2")
    await world.seconds(5, first, second)
    await world.seconds(60, second)
    assert second.leader
    assert (await world.state()).mode is Mode.completed


class Late:
    """A state store whose writes are held up until somebody else leads: a controller that was paused in mid-tick."""

    def __init__(self, world: World) -> None:
        self.inner: StateStore = world.backend.state
        self.world = world
        self.armed = False

    def __getattr__(self, name: str) -> Any:
        if name in ("transition", "save_checkpoints") and self.armed:
            return self._late(name)
        return getattr(self.inner, name)

    def _late(self, name: str) -> Any:
        async def call(*args: Any) -> Any:
            self.armed = False
            self.world.clock.advance(60)
            assert await lead(self.inner, "p2")
            return await getattr(self.inner, name)(*args)

        return call


async def test_a_late_leader_is_fenced() -> None:
    world = await World().begin()
    late = Late(world)
    sleepy: Any = late
    controller = world.another("p1", state=sleepy)
    await world.seconds(5, controller)
    late.armed = True
    await world.seconds(1, controller)
    assert (controller.fenced, controller.leader) == (1, False)
    assert await world.backend.state.fenced() == 1
    assert not await world.decisions()


async def test_a_restart_in_mid_step_keeps_the_stage_and_the_rest_of_the_soak() -> None:
    world = await World(ramp=Ramp.parse("shadow 10% 100%", soak=30)).begin()
    await world.until(0.1)
    entered = (await world.state()).entered_at
    for _ in range(19):
        await world.second(world.another("p1"))
    assert (await world.state()).share == 0.1
    await world.controller.stop()
    world.controller = world.another("p2")
    await world.until(1.0)
    assert (await world.state()).entered_at - entered == pytest.approx(30, abs=1)


async def test_what_was_folded_is_folded_once_over_any_number_of_restarts() -> None:
    worlds = [await World(calls=20).begin() for _ in range(2)]
    for second in range(15):
        await worlds[0].second()
        await worlds[1].second(*(worlds[1].another("p1") for _ in range(1 + second % 3)))
    checkpoints = [await world.backend.state.checkpoint("profile", "orders") for world in worlds]
    assert checkpoints[0] == checkpoints[1]


async def test_a_controller_asleep_for_hours_judges_first_and_takes_one_step_at_most() -> None:
    world = await World(calls=20).begin()
    for _ in range(3 * 60):
        await world.traffic()
        world.clock.advance(60)
    await world.controller.tick()
    assert (await world.state()).share == 0.1
    assert len(await world.decisions()) == 1


async def test_a_controller_asleep_for_hours_finds_the_regression_first() -> None:
    world = await World(calls=20, ramp=Ramp.parse(HALF, soak=5)).begin()
    await world.until(0.5)
    world.truths["orders"] = Truth(bad=0.5)
    for _ in range(3 * 60):
        await world.traffic()
        world.clock.advance(60)
    await world.controller.tick()
    assert [one.action for one in await world.decisions()] == ["promote", "rollback"]


async def test_after_days_it_reads_in_bounded_pieces_and_holds_until_it_caught_up() -> None:
    world = await World(ramp=Ramp.parse(HALF, soak=60)).begin()
    await world.seconds(8)
    world.flow = False
    world.clock.advance(5 * 86400)
    await world.controller.tick()
    assert "3d of evidence are still to be read" in world.controller.verdicts["profile", "orders"].reason
    await world.seconds(3)
    assert (await world.state()).share == 0.5
    assert len(await world.decisions()) == 1


async def test_a_database_that_fails_holds_the_ramp_and_is_survived() -> None:
    world = await World().begin()
    sleeps = 0

    async def sleep(_: float) -> None:
        nonlocal sleeps
        sleeps += 1
        if sleeps == 5:
            world.backend.fail_with(DatabaseError("gone"))
        if sleeps == 40:
            world.backend.heal()
        if not 5 <= sleeps < 40:
            await world.traffic()
        if sleeps >= 100:
            await controller.stop()
        world.clock.advance(1.0)

    controller = world.another("p1", sleep=sleep)
    await controller.run()
    assert controller.failures == 35
    first = (await world.decisions())[0]
    assert first.at > world.clock.wall() - 62
    assert (await world.state()).mode is Mode.completed


@pytest.mark.parametrize("method", ["load", "checkpoints", "blocks_of", "transition", "save_checkpoints", "lease"])
async def test_a_fault_anywhere_in_a_tick_loses_and_doubles_nothing(method: str) -> None:
    world = await World(ramp=Ramp.parse(HALF, soak=5)).begin()
    for number in range(40):
        if number % 2:
            world.backend.fail_with(DatabaseError("gone"), only=(method,), done_first=number % 4 == 1)
        with suppress(DatabaseError):
            await world.second()
        world.backend.heal()
    assert (await world.state()).mode is Mode.completed
    assert [one.moves[0]["to"] for one in await world.decisions()] == ["50%", "100%", "100%, completed"]


async def test_an_error_of_ours_in_one_unit_does_not_stop_the_others() -> None:
    world = await World(branches=("orders", "tickets"), ramp=Ramp.parse(HALF, soak=5)).begin()
    ledger = world.backend.ledger
    original = ledger.blocks_of

    async def broken(spans: Sequence[Span]) -> list[Any]:
        found = await original(spans)
        return [["no block"] if span.unit == "orders" else blocks for span, blocks in zip(spans, found, strict=True)]

    ledger.blocks_of = broken  # type: ignore[method-assign]
    await world.until(0.5, "tickets")
    assert (await world.state("orders")).share == 0
    assert world.controller.failures > 0


# Races


class Racing:
    """A state store where somebody else writes just before the controller's own transition."""

    def __init__(self, world: World, first: Any) -> None:
        self.inner: StateStore = world.backend.state
        self.first = first

    def __getattr__(self, name: str) -> Any:
        if name == "transition" and self.first is not None:
            return self._transition
        return getattr(self.inner, name)

    async def _transition(self, decided: Any) -> Any:
        first, self.first = self.first, None
        await first()
        return await self.inner.transition(decided)


async def race(world: World, event: Event) -> Controller:
    state: Any = Racing(world, lambda: move(world, event))
    return world.another("p1", state=state)


async def test_a_rollback_wins_against_a_promotion_at_the_same_moment() -> None:
    world = await World(ramp=Ramp.parse("shadow 10% 50% 100%", soak=5)).begin()
    await world.until(0.1)
    world.truths["orders"] = Truth(bad=0.5)
    await world.seconds(8, await race(world, Event.promote))
    assert [one.action for one in await world.decisions()] == ["promote", "promote", "rollback"]
    assert (await world.state()).mode is Mode.rolled_back


async def test_a_rollback_that_a_person_made_first_is_not_made_twice() -> None:
    world = await World(ramp=Ramp.parse(HALF, soak=5)).begin()
    await world.until(0.5)
    world.truths["orders"] = Truth(bad=0.5)
    await world.seconds(8, await race(world, Event.rollback))
    assert len(await world.decisions("rollback")) == 1


@pytest.mark.parametrize("event", [Event.pause, Event.rollback])
async def test_a_promotion_that_lost_against_a_person_is_dropped(event: Event) -> None:
    world = await World(ramp=Ramp.parse(HALF, soak=5)).begin()
    await world.seconds(20, await race(world, event))
    assert [one.action for one in await world.decisions()] == [event.value]


# What others read of it


async def test_transitions_are_counted_and_told_once() -> None:
    world = await World(ramp=Ramp.parse(HALF, soak=5)).begin()
    told = Told()
    world.controller = world.another("p1", notifier=told)
    await world.until(0.5)
    world.truths["orders"] = Truth(bad=0.5)
    await world.seconds(20)
    assert world.controller.transitions == {
        ("profile", "orders", "50%", "controller"): 1,
        ("profile", "orders", "rolled_back", "controller"): 1,
    }
    assert [one.action for one in told.decisions] == ["promote", "rollback"]
    assert world.controller.last_success_at == world.clock.wall()
    verdict = world.controller.verdicts["profile", "orders"]
    assert verdict.reasons == ("rolled back (errors): resume begins again in shadow",)


async def test_a_notifier_that_fails_stops_nothing() -> None:
    class Broken(Told):
        async def tell(self, decision: object) -> None:
            raise RuntimeError("no network")

    world = await World(ramp=Ramp.parse(HALF, soak=5)).begin()
    world.controller = world.another("p1", notifier=Broken())
    await world.until(1.0)


async def test_an_idle_rollout_is_not_written_every_second() -> None:
    world = await World().begin()
    await world.seconds(5)
    world.flow = False
    await world.seconds(5)
    saved = []
    original = world.backend.state.save_checkpoints

    async def counting(*args: Any) -> None:
        saved.append(args)
        await original(*args)

    world.backend.state.save_checkpoints = counting  # type: ignore[method-assign,assignment]
    await world.seconds(60)
    assert 1 <= len(saved) <= 3


async def test_housekeeping_runs_once_a_minute_and_only_by_the_leader() -> None:
    world = await World().begin()
    kept = []

    async def maintain(policies: dict[str, Policy]) -> dict[str, int]:
        kept.append(world.clock.wall())
        return {}

    world.backend.ledger.maintain = maintain  # type: ignore[method-assign,assignment]
    await world.seconds(185, world.controller, world.another("p2"))
    assert len(kept) == 3


async def test_stop_hands_the_lease_back() -> None:
    world = await World().begin()
    await world.seconds(2)
    await world.controller.stop()
    assert await world.backend.state.holder("controller") is None
    await world.controller.tick()
    assert not world.controller.leader


async def test_run_ends_after_stop() -> None:
    world = await World().begin()
    controller = world.another("p1", tick_s=0.01)
    task = asyncio.create_task(controller.run())
    await asyncio.sleep(0.05)
    await controller.stop()
    await asyncio.wait_for(task, 1.0)
    assert controller.last_success_at is not None


async def test_the_checkpoint_is_json_of_bounded_size() -> None:
    world = await World(ramp=Ramp.parse(HALF, soak=200)).begin()
    await world.seconds(120)
    checkpoint = await world.backend.state.checkpoint("profile", "orders")
    assert checkpoint is not None
    assert checkpoint.closed_second == int(world.clock.wall() - SETTLE_S - 0.5) - 1
    assert len(json.dumps(checkpoint.states)) < 100_000
