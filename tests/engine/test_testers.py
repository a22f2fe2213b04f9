"""Named testers are in no arm: what they see is counted for the process, and is no evidence."""

from __future__ import annotations

import pytest

from rollout import Branch
from rollout.testing import FakeFlags
from tests.support.trials import giving, rollout_of, running

pytestmark = pytest.mark.looptime


async def test_the_runs_of_a_tester_are_exposed_but_in_no_arm() -> None:
    flags = FakeFlags({("profile", "alice"): "on"})
    declared = rollout_of(Branch("a", giving(1, after_s=0.2), part="$.a", sla_s=0.1))
    async with running(declared, flags=flags, live={"a": 0.0001}) as world:
        await world.get(key="alice")
        await world.settled()
        runs = world.engine.metrics().branches["profile", "a", "live"]
        assert (runs["runs"], runs["sla_missed"]) == (1, 1)
        blocks, _ = world.runtime.tally.seal(everything=True)
        assert not [block for block in blocks if block.key.arm == "B"]
        assert world.engine.metrics().branches["profile", "a", "live"]["runs"] == 1


async def test_beside_a_tester_s_branch_the_others_count_as_ever() -> None:
    flags = FakeFlags({("a-flag", "alice"): "auto", ("profile", "alice"): "on"})
    declared = rollout_of(
        Branch("a", giving(1), part="$.a", flag="a-flag"),
        Branch("b", giving(2), part="$.b"),
    )
    async with running(declared, flags=flags, live={"a": 1.0, "b": 0.0001}) as world:
        await world.get(key="alice")
        await world.settled()
        figures = world.sealed()
        assert figures["a", "B"]["runs"] == figures["a", "B"]["calls"] == 1
        assert ("b", "B") not in figures


async def test_everybody_else_is_evidence() -> None:
    async with running(rollout_of(Branch("a", giving(1), part="$.a")), live={"a": 1.0}) as world:
        await world.get()
        await world.settled()
        assert world.sealed()["a", "B"]["runs"] == 1
