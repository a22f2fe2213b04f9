"""What people are told: every transition and every question, in the order of the audit, by whoever leads."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from rollout.domain.approvals import ASK
from rollout.domain.ramp import Ramp
from rollout.domain.state import Decision, FlagOverride
from rollout.engine.controller import Controller
from rollout.engine.herald import STALE_S
from rollout.errors import DatabaseError
from rollout.usecases import steer
from tests.support.ramping import Told, Truth, World, lead

HALF = Ramp.parse("shadow 50% 100%", soak=5)


def actions(told: Told) -> list[str]:
    return [one.action for one in told.decisions]


def teller(world: World, holder: str, *, stuck: bool = False) -> tuple[Controller, Told]:
    told = Told(stuck=stuck)
    return world.another(holder, notifier=told), told


async def stored(world: World, decision: Decision) -> Decision:
    (found,) = [one for one in await world.backend.state.decisions(limit=1_000) if one.number == decision.number]
    return found


async def test_a_decision_is_told_in_the_tick_that_made_it_as_the_audit_holds_it() -> None:
    world = await World(ramp=HALF).begin()
    world.controller, told = teller(world, "p1")
    while not told.decisions:
        await world.second()
    (decision,) = told.decisions
    assert (await world.state()).entered_at == world.clock.wall()
    assert decision.hash
    assert decision == await stored(world, decision)


async def test_who_leads_next_tells_what_the_last_leader_did_not_get_rid_of() -> None:
    world = await World(ramp=HALF).begin()
    world.controller, first = teller(world, "p1", stuck=True)
    await world.until(0.5)
    await world.second()  # then it is killed
    world.controller, second = teller(world, "p2")
    await world.seconds(12)
    assert actions(first) == ["promote"]
    assert second.decisions[:1] == first.decisions
    world.controller, third = teller(world, "p3")
    await world.seconds(12)
    assert world.controller.leader
    assert {one.number for one in third.decisions}.isdisjoint(one.number for one in second.decisions)


async def test_a_leader_that_was_killed_before_it_looked_at_its_decision_is_stood_in_for() -> None:
    world = await World(ramp=HALF).begin()
    world.controller, first = teller(world, "p1")
    await world.second()

    async def killed(*_: object) -> None:
        raise DatabaseError("killed")

    world.controller._save = killed  # type: ignore[method-assign,assignment]
    while (await world.state()).share < 0.5:
        await world.traffic()
        world.clock.advance(1.0)
        try:
            await world.controller.tick()
        except DatabaseError:
            continue
    assert not first.decisions
    world.controller, second = teller(world, "p2")
    world.flow = False
    await world.seconds(12)
    assert actions(second) == ["promote"]


async def test_nothing_is_told_again_after_a_stop_in_good_order() -> None:
    world = await World(ramp=HALF).begin()
    world.controller, first = teller(world, "p1", stuck=True)
    await world.second()
    await steer.pause(world.backend, "profile", reason="lunch", actor="ann")
    await world.second()
    await steer.resume(world.backend, "profile", reason="back", actor="ann")
    await world.second()
    first.waiting.clear()  # while it drains
    await world.controller.stop()
    world.controller, second = teller(world, "p2")
    await world.second()
    assert world.controller.leader
    assert actions(first) == ["pause", "resume"]
    assert not second.decisions


async def test_a_leader_that_comes_back_goes_on_where_the_other_one_ended() -> None:
    world = await World(ramp=HALF).begin()
    world.controller, first = teller(world, "p1")
    other, second = teller(world, "p2")
    world.flow = False
    await world.second()
    await steer.pause(world.backend, "profile", reason="lunch", actor="ann")
    await world.second()
    world.clock.advance(30)
    await world.second(other)
    await steer.resume(world.backend, "profile", reason="back", actor="ann")
    await world.second(other)
    world.clock.advance(30)
    await steer.pause(world.backend, "profile", reason="tea", actor="ann")
    await world.second()
    assert (actions(first), actions(second)) == (["pause", "pause"], ["resume"])


async def test_a_leader_that_comes_back_does_not_tell_again_what_still_waits_at_its_own_door() -> None:
    world = await World(ramp=HALF).begin()
    world.controller, first = teller(world, "p1", stuck=True)
    other, second = teller(world, "p2", stuck=True)
    world.flow = False
    await world.second()
    await steer.pause(world.backend, "profile", reason="lunch", actor="ann")
    await world.second()
    world.clock.advance(30)
    await world.second(other)
    world.clock.advance(30)
    await world.second()
    assert world.controller.leader
    assert (actions(first), actions(second)) == (["pause"], ["pause"])


async def test_a_leader_that_could_not_begin_again_does_not_set_back_what_was_told() -> None:
    world = await World(ramp=HALF).begin()
    world.controller, first = teller(world, "p1", stuck=True)
    other, _ = teller(world, "p2")
    world.flow = False
    await world.second()
    await steer.pause(world.backend, "profile", reason="lunch", actor="ann")
    await world.second()
    world.clock.advance(30)
    await world.second(other)
    await steer.resume(world.backend, "profile", reason="back", actor="ann")
    await world.second(other)
    known = await world.backend.state.told()
    world.clock.advance(30)
    world.backend.fail_with(DatabaseError("gone"), only=("told",))
    with pytest.raises(DatabaseError):
        await world.second()
    first.waiting.clear()
    world.backend.heal()
    await world.controller.stop()
    assert await world.backend.state.told() == known


async def test_history_is_told_to_nobody() -> None:
    world = await World(ramp=HALF).begin()
    world.controller, first = teller(world, "p1")
    await world.second()
    await world.controller.stop()
    await steer.pause(world.backend, "profile", reason="over night", actor="ann")
    world.clock.advance(STALE_S)
    await steer.resume(world.backend, "profile", reason="good morning", actor="ann")
    world.controller, second = teller(world, "p2")
    await world.second()
    assert not first.decisions
    assert actions(second) == ["resume"]


async def test_what_moves_nobody_is_not_told_however_much_of_it_there_is() -> None:
    world = await World(ramp=HALF).begin()
    world.controller, told = teller(world, "p1")
    await world.second()
    await steer.pause(world.backend, "profile", reason="lunch", actor="ann")
    for number in range(120):
        override = FlagOverride(flag="profile", value="on", key=f"tester-{number}", actor="ann")
        await world.backend.state.set_flag(override)
    await world.second()
    assert actions(told) == ["pause"]
    assert await world.backend.state.told() == (await world.backend.state.decisions(limit=1))[0].number


async def test_a_cursor_that_cannot_be_stored_makes_nobody_tell_twice() -> None:
    world = await World(ramp=HALF).begin()
    world.controller, told = teller(world, "p1")
    await world.second()
    await steer.pause(world.backend, "profile", reason="lunch", actor="ann")
    world.backend.fail_with(DatabaseError("full"), only=("save_told",))
    for _ in range(3):
        world.clock.advance(1)
        try:
            await world.controller.tick()
        except DatabaseError:
            continue
    world.backend.heal()
    await world.second()
    assert actions(told) == ["pause"]
    assert await world.backend.state.told() == told.decisions[0].number


# Approvals


async def test_one_question_is_asked_for_each_entry_of_a_stage_whoever_leads() -> None:
    world = await World(ramp=Ramp.parse("shadow 50% 100%", soak=5, approve="50%")).begin()
    told = Told()
    for holder in ("p1", "p2", "p3"):
        world.controller = world.another(holder, notifier=told)
        await world.seconds(20)
    (asked,) = told.decisions
    assert (asked.action, asked.actor, asked.moves) == (ASK, "p1", ())
    assert asked.reason == "orders enters 50% when a person approves it: every gate passes"
    assert {one.unit for one in asked.findings} == {"orders"}
    assert await world.decisions(ASK) == [asked]


async def test_nobody_is_asked_while_anything_else_is_missing() -> None:
    world = await World(ramp=Ramp.parse("shadow 50% 100%", soak=15, approve="50%")).begin()
    world.truths["orders"] = Truth(bad=0.2)
    await world.seconds(10)
    world.truths.clear()
    await world.seconds(4)
    await steer.set_flag(world.backend, "profile", "shadow", key=None, reason="holidays", actor="ann")
    await world.seconds(20)
    assert not await world.decisions(ASK)
    await steer.clear_flag(world.backend, "profile", key=None, actor="ann", reason="back")
    await world.seconds(60)
    assert len(await world.decisions(ASK)) == 1


async def test_a_regression_after_the_question_is_no_reason_for_another_but_a_new_entry_is() -> None:
    world = await World(ramp=Ramp.parse("shadow 50% 100%", soak=5, approve="50%, 100%")).begin()
    await world.seconds(10)
    world.truths["orders"] = Truth(bad=0.3)
    await world.seconds(10)
    world.truths.clear()
    await world.seconds(60)
    assert len(await world.decisions(ASK)) == 1
    await steer.approve(world.backend, "profile", reason="go", actor="ann")
    await world.until(0.5)
    await world.seconds(15)
    reasons = [one.reason for one in await world.decisions(ASK)]
    assert [reason.partition(" when")[0] for reason in reasons] == ["orders enters 50%", "orders enters 100%"]


async def test_a_ramp_that_is_moved_by_hand_asks_too() -> None:
    world = await World(ramp=Ramp.parse("shadow 50% 100%", soak=5, approve="50%", auto=False)).begin()
    await world.seconds(10)
    assert len(await world.decisions(ASK)) == 1


async def test_a_question_whose_answer_was_lost_is_not_asked_again() -> None:
    world = await World(ramp=Ramp.parse("shadow 50% 100%", soak=5, approve="50%")).begin()
    await world.seconds(4)
    world.backend.fail_with(DatabaseError("gone"), only=("transition",), done_first=True)
    for _ in range(10):
        await world.traffic()
        world.clock.advance(1)
        try:
            await world.controller.tick()
        except DatabaseError:
            world.backend.heal()
    assert len(await world.decisions(ASK)) == 1


async def raced(world: World, verb: Callable[..., Awaitable[object]], **options: Any) -> None:
    """Somebody is faster than the next decision: the store's own method is stood in for, once."""
    transition = world.backend.state.transition

    async def late(change: object) -> object:
        world.backend.state.transition = transition  # type: ignore[method-assign]
        await verb(world.backend, "profile", reason="in a hurry", actor="ann", **options)
        return await transition(change)  # type: ignore[arg-type]

    world.backend.state.transition = late  # type: ignore[method-assign,assignment]


async def test_a_question_that_a_person_was_faster_than_is_not_asked() -> None:
    world = await World(ramp=Ramp.parse("shadow 50% 100%", soak=5, approve="50%")).begin()
    await raced(world, steer.promote, force=True)
    await world.seconds(12)
    assert (await world.state()).live
    assert not await world.decisions(ASK)


async def test_a_question_that_was_in_vain_is_asked_when_it_is_due_again() -> None:
    world = await World(ramp=Ramp.parse("shadow 50% 100%", soak=5, approve="50%")).begin()
    await raced(world, steer.pause)
    await world.seconds(12)
    assert not await world.decisions(ASK)
    await steer.resume(world.backend, "profile", reason="back", actor="ann")
    await world.seconds(3)
    assert len(await world.decisions(ASK)) == 1


async def test_each_unit_asks_for_itself() -> None:
    ramp = Ramp.parse("shadow 50% 100%", soak=5, approve="50%")
    world = await World(ramp=ramp, branches=("orders", "tickets")).begin()
    await world.seconds(12)
    assert [one.reason.partition(" ")[0] for one in await world.decisions(ASK)] == ["orders", "tickets"]


async def test_a_question_is_found_again_below_however_much_was_decided_since() -> None:
    world = await World(ramp=Ramp.parse("shadow 50% 100%", soak=5, approve="50%")).begin()
    await world.seconds(12)
    for number in range(120):
        await world.backend.state.set_flag(FlagOverride(flag="profile", value="on", key=f"tester-{number}"))
    await world.controller.stop()
    await world.seconds(3, world.another("p2"))
    assert len(await world.decisions(ASK)) == 1


async def test_a_late_controller_asks_nobody() -> None:
    world = await World(ramp=Ramp.parse("shadow 50% 100%", soak=5, approve="50%")).begin()
    transition = world.backend.state.transition

    async def late(change: object) -> object:
        world.clock.advance(60)
        assert await lead(world.backend.state, "p2")
        return await transition(change)  # type: ignore[arg-type]

    world.backend.state.transition = late  # type: ignore[method-assign,assignment]
    await world.seconds(12)
    assert world.controller.fenced == 1
    assert not await world.decisions(ASK)
