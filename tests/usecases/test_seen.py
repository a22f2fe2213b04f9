"""A person who decides on what is not so any more is told what happened meanwhile, and nothing is written."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from rollout.domain.lifecycle import Event
from rollout.domain.ramp import Ramp
from rollout.domain.state import Change
from rollout.errors import Outdated, UnknownName
from rollout.usecases import steer
from rollout.usecases.steer import Seen, Steered
from tests.support.ramping import World

BEN: dict[str, Any] = {"reason": "because", "actor": "ben"}
ANN: dict[str, Any] = {"reason": "lunch", "actor": "ann"}
FORCED: dict[str, Any] = {"force": True, **BEN}


async def begun(**world: Any) -> World:
    return await World(**{"ramp": Ramp.parse("shadow 10% 50% 100%", soak=10, approve="50%"), **world}).begin()


async def looks(world: World, branch: str = "orders") -> Seen:
    """What is there to be seen now."""
    return Seen(branch=branch, version=(await world.state(branch)).version, policy=(await world.policy()).version)


async def test_who_saw_how_things_stand_is_not_refused() -> None:
    world = await begun()
    done = await steer.pause(world.backend, "profile", "orders", **BEN, seen=await looks(world))
    assert done.changed
    done = await steer.resume(world.backend, "profile", "orders", **BEN, seen=await looks(world))
    assert done.changed
    done = await steer.promote(world.backend, "profile", "orders", **FORCED, seen=await looks(world))
    assert done.changed


@pytest.mark.parametrize("verb", [steer.promote, steer.approve, steer.pause, steer.resume])
async def test_who_did_not_is_told_what_happened_and_by_whom(verb: Any) -> None:
    world = await begun()
    before = await looks(world)
    await steer.pause(world.backend, "profile", **ANN)
    with pytest.raises(Outdated, match=r"profile/orders has changed since you looked.*\n  - #\d+ pause by ann: lunch$"):
        await verb(world.backend, "profile", "orders", **BEN, seen=before)
    assert [one.actor for one in await world.decisions()] == ["ann"]


async def test_everything_that_was_not_seen_is_told_newest_first_and_nothing_else() -> None:
    world = await begun(branches=("orders", "tickets"))
    await steer.pause(world.backend, "profile", "orders", **ANN)
    before = await looks(world)
    await steer.pause(world.backend, "profile", "tickets", **ANN)  # of another branch
    await steer.resume(world.backend, "profile", "orders", **ANN)
    await steer.rollback(world.backend, "profile", "orders", **ANN)
    with pytest.raises(Outdated) as refused:
        await steer.resume(world.backend, "profile", "orders", **BEN, seen=before)
    assert [one.action for one in refused.value.since] == ["rollback", "resume"]


async def test_what_happens_to_another_branch_is_in_nobody_s_way() -> None:
    world = await begun(branches=("orders", "tickets"))
    before = await looks(world)
    await steer.rollback(world.backend, "profile", "tickets", **ANN)
    assert (await steer.pause(world.backend, "profile", "orders", **BEN, seen=before)).changed


async def test_a_policy_that_was_not_seen_is_told() -> None:
    world = await begun()
    before = await looks(world)
    await world.backend.state.apply("profile", {"shadow.sample": 0.5}, "spec rollout.toml", "ann", "less load")
    with pytest.raises(Outdated, match="apply by ann: less load"):
        await steer.promote(world.backend, "profile", "orders", **FORCED, seen=before)


async def test_a_rollback_is_what_was_asked_for_whatever_happened_meanwhile() -> None:
    world = await begun()
    await steer.promote(world.backend, "profile", "orders", **FORCED)
    done = await steer.rollback(world.backend, "profile", "orders", **BEN)
    assert done.event is Event.rollback
    assert done.changed


async def test_of_two_who_saw_the_same_one_wins_and_the_other_is_told_of_it() -> None:
    world = await begun()
    seen = await looks(world)
    both = await asyncio.gather(
        *(
            steer.promote(world.backend, "profile", "orders", force=True, reason="go", actor=name, seen=seen)
            for name in ("ann", "ben")
        ),
        return_exceptions=True,
    )
    (won,) = [one for one in both if isinstance(one, Steered)]
    (lost,) = [one for one in both if isinstance(one, Outdated)]
    assert won.moves[0].after.share == 0.1
    (decision,) = await world.decisions()
    assert [one.number for one in lost.since] == [decision.number]


async def test_who_is_overtaken_while_it_is_written_is_told_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    world = await begun()
    seen, write = await looks(world), world.backend.state.transition

    async def overtaken(change: Change) -> Any:
        monkeypatch.undo()
        await steer.pause(world.backend, "profile", **ANN)
        return await write(change)

    monkeypatch.setattr(world.backend.state, "transition", overtaken)
    with pytest.raises(Outdated, match="pause by ann: lunch"):
        await steer.promote(world.backend, "profile", "orders", **FORCED, seen=seen)
    assert [one.actor for one in await world.decisions()] == ["ann"]


async def test_a_branch_that_is_not_there_is_named() -> None:
    world = await begun()
    with pytest.raises(UnknownName, match='Did you mean "orders"'):
        await steer.pause(world.backend, "profile", **BEN, seen=Seen(branch="order", version=1, policy=1))
