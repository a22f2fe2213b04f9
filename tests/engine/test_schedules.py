"""Random schedules of branches, retries, hedges and cancellations: every sum is exact, and no budget is broken."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from typing import Any

import pytest

from rollout import Branch, Budget, Call, FanOut, FanOutFailed, Hedge, Reserve, Retry, record_usage
from rollout.domain.budget import Account
from rollout.engine.fanout import FanOuts

pytestmark = pytest.mark.looptime

CENT = 10_000_000  # in nano-dollars


def accounts_opened(patch: pytest.MonkeyPatch) -> list[Account]:
    """The account of every call from now on."""
    opened: list[Account] = []
    opens = FanOuts.account

    def account(of: FanOuts) -> Account | None:
        made = opens(of)
        if made is not None:
            opened.append(made)
        return made

    patch.setattr(FanOuts, "account", account)
    return opened


def is_settled(account: Account) -> bool:
    """Whether nothing is held, and every sum is exact."""
    nano = account.spent_nano - account.overrun_nano + account.released_nano
    tokens = account.spent_tokens - account.overrun_tokens + account.released_tokens
    return (nano, tokens, account.held_nano, account.held_tokens) == (
        account.reserved_nano,
        account.reserved_tokens,
        0,
        0,
    )


class Schedule:
    """One fan-out, as the dice want it. ``used``: nano-dollars that its attempts truly cost."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.used = 0
        self.budget = self.dice.randint(1, 5) * CENT
        #: How much more than it has reserved the last branch may use; it runs once.
        self.uncertainty = self.dice.choice((0, 0, CENT // 2, 5 * CENT + 7))
        most = self.dice.randint(1, 5)
        branches = [self._branch(number, unsure=number == most) for number in range(most + 1)]
        quorum = self.dice.choice((None, None, 1, len(branches)))
        self.fan_out = FanOut(
            "random",
            branches,
            budget=Budget(latency_s=2.0, usd=Decimal(self.budget).scaleb(-9)),
            quorum=quorum,
            dice=self.dice.random,
        )

    def _branch(self, number: int, *, unsure: bool) -> Branch:
        dice = self.dice
        reserved = min(dice.randint(0, 3 * CENT), self.budget)
        return Branch(
            f"b{number}",
            self._attempts(reserved + (self.uncertainty if unsure else 0)),
            required=number == 0,
            after=f"b{dice.randrange(number)}" if number and dice.random() < 0.2 else (),
            retry=None if unsure else dice.choice((None, Retry(attempts=3, per_s=100.0))),
            hedge=None if unsure else dice.choice((None, Hedge(after_s=0.1, most=2))),
            hard_timeout_s=dice.choice((None, 0.3)),
            soft_timeout_s=dice.choice((None, 0.2)),
            reserve=Reserve(usd=Decimal(reserved).scaleb(-9)),
        )

    def _attempts(self, most: int) -> Callable[[Call], Any]:
        async def attempt(call: Call) -> Any:
            dice = self.dice
            cost = dice.randint(0, most)
            is_told = dice.random() < 0.9
            try:
                await asyncio.sleep(dice.choice((0.0, 0.05, 0.15, 0.5)))
            except asyncio.CancelledError:
                self.used += cost  # the model had its prompt: nobody is told what that costs
                if dice.random() < 0.2:
                    await asyncio.sleep(0.3)
                raise
            if dice.random() < 0.3:
                raise ConnectionError
            if is_told:
                self.used += cost
                record_usage(input_tokens=1, usd=Decimal(cost).scaleb(-9))
            if dice.random() < 0.1:
                raise ValueError
            return cost

        return attempt

    async def run(self) -> None:
        task = asyncio.create_task(self.fan_out.run())
        if self.dice.random() < 0.3:
            await asyncio.sleep(self.dice.choice((0.0, 0.05, 0.1, 0.2)))
            task.cancel()
        with suppress(FanOutFailed, asyncio.CancelledError):
            await task
        await asyncio.sleep(1.0)  # what ignored its cancellation ends


async def every_schedule(patch: pytest.MonkeyPatch, count: int) -> None:
    opened = accounts_opened(patch)
    spent = lost = over = 0
    for seed in range(count):
        schedule = Schedule(seed)
        await schedule.run()
        account = opened.pop()
        assert is_settled(account), seed
        assert schedule.used <= account.spent_nano + schedule.uncertainty, seed
        assert schedule.used <= schedule.budget + schedule.uncertainty, seed
        assert account.over_nano <= schedule.uncertainty, seed
        of = schedule.fan_out._of_loop()
        assert [(one.inflight, one.orphans) for one in of.live.values()] == [(0, 0)] * len(of.live), seed
        spent += account.spent_nano > 0
        lost += account.unknown > 0
        over += account.over_nano > 0
    assert len(asyncio.all_tasks()) == 1
    assert min(spent, lost, over) > count // 200  # the schedules do what they are there for


async def test_a_thousand_random_schedules_add_up_to_the_nano_dollar(monkeypatch: pytest.MonkeyPatch) -> None:
    await every_schedule(monkeypatch, 1_000)


@pytest.mark.soak
async def test_ten_thousand_random_schedules_add_up_to_the_nano_dollar(monkeypatch: pytest.MonkeyPatch) -> None:
    await every_schedule(monkeypatch, 10_000)
