"""During a deployment processes of older and of newer code run on one database."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rollout import Branch, Rollout
from rollout.engine.declared import policy_of
from tests.support.trials import World, giving, rollout_of, running

pytestmark = pytest.mark.looptime


def rollout(*names: str, revision: str = "") -> Rollout:
    branches = [Branch(name, giving(at + 1), part=f"$.{name}") for at, name in enumerate(names)]
    return rollout_of(*branches, revision=revision)


async def deploy(world: World, newer: Rollout, share: float) -> None:
    """Another process of newer code registers, and its branches are live for a share of the calls."""
    await world.backend.state.register(policy_of(newer), "p2")
    world.engine.hear(await world.backend.state.load())
    shares: dict[str, Any] = {branch.name: share for branch in newer.branches}
    world.stand(**shares)


async def test_an_older_process_runs_the_branches_that_it_has() -> None:
    async with running(rollout("a")) as world:
        await deploy(world, rollout("a", "b"), 1.0)
        response = await world.get()
        assert response.json() == {"a": 1, "b": 2, "c": 3}
        assert world.funnel["served:candidate"] == 1
        assert world.funnel["fault:start"] == 0
        figures = world.sealed()
        assert ("b", "A") not in figures
        assert ("b", "B") not in figures


async def test_an_older_process_leaves_a_group_alone_that_it_does_not_have_whole() -> None:
    older, newer = rollout("a"), rollout("a", "b")
    together = [replace(branch, salt="one") for branch in newer.branches]
    async with running(older) as world:
        await deploy(world, replace(newer, branches=together), 1.0)
        assert not world.runtime.active
        assert (await world.get()).json() == {"a": 1, "b": 2, "c": 3}


async def test_a_branch_that_newer_code_has_no_more_does_not_run() -> None:
    async with running(rollout("a", "b")) as world:
        await deploy(world, rollout("a"), 1.0)
        await world.get()
        assert world.funnel["served:candidate"] == 1
        assert ("b", "B") not in world.sealed()


async def test_what_an_older_process_counts_is_no_evidence_for_the_newer_code(caplog: pytest.LogCaptureFixture) -> None:
    async with running(rollout("a", revision="1")) as world:
        await deploy(world, rollout("a", revision="2"), 0.5)
        for number in range(20):
            await world.get(key=f"user-{number}")
        await world.settled()
        blocks, subjects = world.runtime.tally.seal(everything=True)
        assert {block.key.version for block in blocks} == {0}
        assert not subjects
        assert [record.event for record in caplog.records if hasattr(record, "event")] == ["stale_code"]


async def test_what_a_spec_sets_makes_no_process_an_older_one() -> None:
    async with running(rollout("a")) as world:
        await world.backend.state.apply("profile", {"shadow.sample": 0.5}, "spec", "me")
        world.engine.hear(await world.backend.state.load())
        assert world.runtime.view is not None
        assert not world.runtime.view.stale
        assert world.runtime.view.version == world.runtime.view.policy.version == 2
