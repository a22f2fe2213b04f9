"""A flag source that gives no answer: control serves, the reason is counted, and the status shows it."""

from __future__ import annotations

import asyncio

import pytest

from rollout import Branch
from rollout.testing import FakeFlags, sample_batch
from rollout.usecases import look
from tests.support.trials import giving, rollout_of, running

pytestmark = pytest.mark.looptime


async def test_the_reason_is_counted_and_shown() -> None:
    flags = FakeFlags(instant=False)
    async with running(rollout_of(Branch("a", giving(1), part="$.a")), flags=flags) as world:
        flags.break_with("timeout")
        for _ in range(3):
            assert (await world.get()).json() == {"a": 1, "b": 2, "c": 3}
        assert world.funnel["flag:timeout"] == 3
        assert world.funnel["drawn"] == 0
        blocks, _ = world.runtime.tally.seal(everything=True)
        await world.backend.ledger.append(sample_batch(*blocks))
        await asyncio.sleep(5)
        (shown,) = (await look.status(world.backend)).rollouts
        assert shown.flag_failures == {"timeout": 3}


async def test_an_off_that_the_source_said_is_no_failure() -> None:
    flags = FakeFlags({"profile": "off"}, instant=False)
    async with running(rollout_of(Branch("a", giving(1), part="$.a")), flags=flags) as world:
        await world.get()
        assert not world.funnel.starting("flag:")
