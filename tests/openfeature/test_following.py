"""Other code follows a rollout through OpenFeature: it is told what the middleware does with the same key."""

from __future__ import annotations

from typing import Any

import pytest
from openfeature import api
from openfeature.evaluation_context import EvaluationContext

from rollout import Branch
from rollout.testing import FakeFlags
from rollout.usecases import steer
from rollout_openfeature import OpenFeatureFlags, follow
from tests.support.trials import World, giving, rollout_of, running

DECLARED = rollout_of(Branch("a", giving(1), part="$.a"))
USERS = [f"user-{number}" for number in range(40)]


async def sides(world: World) -> tuple[dict[str, str], dict[str, str]]:
    """Who is live by the middleware, and by OpenFeature."""
    api.set_provider_and_wait(follow(world.engine), "shop")
    client = api.get_client("shop")
    served = {}
    for user in USERS:
        before = world.funnel["served:candidate"]
        await world.get(key=user)
        served[user] = "live" if world.funnel["served:candidate"] > before else "shadow"
    answers = {
        user: client.get_string_value("profile", "none", EvaluationContext(targeting_key=user)) for user in USERS
    }
    return served, answers


async def half_live(world: World) -> None:
    await steer.promote(world.backend, "profile", to=0.5, force=True, reason="test", actor="ann")
    world.engine.hear(await world.backend.state.load())


@pytest.mark.parametrize("of_ones_own", [False, True])
async def test_the_answers_are_those_of_the_middleware(of_ones_own: bool) -> None:
    flags: Any = FakeFlags() if of_ones_own else OpenFeatureFlags()
    async with running(DECLARED, flags=flags) as world:
        if isinstance(flags, OpenFeatureFlags):
            world.engine.listen(flags.update)
        await half_live(world)
        served, answers = await sides(world)
        assert set(served.values()) == {"live", "shadow"}
        assert answers == served


async def test_a_named_tester_is_live_there_too() -> None:
    flags = FakeFlags({("profile", "alice"): "on", ("profile", "bob"): "off"})
    async with running(DECLARED, flags=flags) as world:
        api.set_provider_and_wait(follow(world.engine), "shop")
        client = api.get_client("shop")
        for user, side in (("alice", "live"), ("bob", "control"), ("carol", "shadow")):
            context = EvaluationContext(targeting_key=user)
            assert client.get_string_value("profile/a", "none", context) == side
