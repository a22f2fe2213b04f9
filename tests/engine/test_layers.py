"""Fan-outs inside fan-outs: only one layer retries, so failures do not multiply the attempts at the bottom."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from rollout import Branch, Call, FanOut, FanOutFailed, Retry

pytestmark = pytest.mark.looptime

RETRY = Retry(attempts=3, per_s=0.0)
CALLS = 4_000


class Bottom:
    """A service that fails for a share of the attempts, transiently: of each hundred, exactly."""

    def __init__(self, share: float) -> None:
        self.attempts = 0
        self._hundred = [number < share * 100 for number in range(100)]
        self._dice = random.Random(7)

    async def __call__(self, call: Call) -> Any:
        if self.attempts % 100 == 0:
            self._dice.shuffle(self._hundred)
        fails = self._hundred[self.attempts % 100]
        self.attempts += 1
        await asyncio.sleep(0.01)
        if fails:
            raise ConnectionError("reset by peer")
        return call.value


def three_layers(bottom: Bottom) -> FanOut:
    """Each of which would retry."""
    fan_out = FanOut("bottom", [Branch("service", bottom, retry=RETRY, max_concurrency=CALLS)])
    for name in ("middle", "top"):
        fan_out = FanOut(name, [Branch("below", below(fan_out), retry=RETRY, max_concurrency=CALLS)])
    return fan_out


def below(fan_out: FanOut) -> Any:
    async def run(call: Call) -> Any:
        return (await fan_out.run(call)).value

    return run


async def successes(fan_out: FanOut) -> float:
    async def one(number: int) -> bool:
        await asyncio.sleep(number * 0.001)
        try:
            await fan_out.run(number)
        except FanOutFailed:
            return False
        return True

    return sum(await asyncio.gather(*(one(number) for number in range(CALLS)))) / CALLS


@pytest.mark.parametrize(("share", "at_least"), [(0.3, 0.83), (0.05, 0.99)])
async def test_transient_failures_through_three_layers_cost_a_fifth_more_attempts(
    share: float, at_least: float
) -> None:
    bottom = Bottom(share)
    assert await successes(three_layers(bottom)) >= at_least
    assert bottom.attempts <= 1.2 * CALLS


async def test_what_one_layer_has_given_up_on_no_layer_above_tries_again() -> None:
    bottom = Bottom(1.0)

    async def run(call: Call) -> Any:
        try:
            await inner.run(call)
        except FanOutFailed as failure:
            raise failure.__cause__ or failure from None

    inner = FanOut("inner", [Branch("service", bottom, retry=Retry(attempts=3))])
    with pytest.raises(FanOutFailed):
        await FanOut("outer", [Branch("below", run, retry=Retry(attempts=3))]).run()
    assert bottom.attempts == 3
