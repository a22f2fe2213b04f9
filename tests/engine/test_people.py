"""What people decide at the command line is counted and told by the process that leads, once."""

from __future__ import annotations

from rollout.usecases import steer
from tests.support.ramping import Told, World, lead


async def test_what_people_decide_is_counted_and_told_once() -> None:
    world, told = await World().begin(), Told()
    await steer.promote(world.backend, "profile", force=True, reason="before anybody leads", actor="ann")
    controller = world.another("p2", notifier=told)
    await controller.tick()
    await steer.rollback(world.backend, "profile", reason="INC-42", actor="ann")
    for _ in range(3):
        await controller.tick()
    assert controller.transitions["profile", "orders", "rolled_back", "person"] == 1
    assert controller.rollbacks["profile", "orders", "person"] == 1
    assert [(one.action, one.actor, one.reason) for one in told.decisions] == [("rollback", "ann", "INC-42")]


async def test_every_verb_is_counted_by_where_it_leads() -> None:
    world, told = await World().begin(), Told()
    controller = world.another("p2", notifier=told)
    await controller.tick()
    await steer.pause(world.backend, "profile", reason="lunch", actor="ann")
    await steer.resume(world.backend, "profile", reason="back", actor="ann")
    await controller.tick()
    counted = {(to, trigger): count for (_, _, to, trigger), count in controller.transitions.items()}
    assert counted == {("paused", "person"): 1, ("shadow", "person"): 1}
    assert [one.action for one in told.decisions] == ["pause", "resume"]


async def test_a_process_that_does_not_lead_counts_none_of_it() -> None:
    world = await World().begin()
    assert await lead(world.backend.state, "other")
    await world.controller.tick()
    await steer.rollback(world.backend, "profile", reason="INC-42", actor="ann")
    await world.controller.tick()
    assert not world.controller.transitions
