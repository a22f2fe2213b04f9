"""How long a rollback takes to reach every process, and how long a branch that turned bad is used at all.

Every process is a real one with its own connections; users call all of them all the time. Two spans are measured on the
clock that the processes share: from the moment somebody asks for a rollback to the last reply of a branch anywhere, and
from the first wrong reply to the last one, which the controller has to end by itself.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from rollout.domain.state import Mode
from rollout.ports import Backend
from rollout.usecases import steer
from rollout_sql import open_backend
from tests.support.children import child
from tests.support.crowd import Crowd, break_branch, crowd, put_at, stats, until
from tests.support.shop import SETTLE_S, Shop

BLOCK_S = 1.0
TICK_S = 1.0
SLACK_S = 1.0
BY_HAND_S = 1.0
BY_ITSELF_S = BLOCK_S + SETTLE_S + TICK_S + SLACK_S
ROUNDS = 5
BUSY = 4.0  # in the ordinary tests: how much longer it may take on a machine that does other things too


@pytest.mark.bench
async def test_a_rollback_reaches_four_processes_on_postgresql_within_a_second(postgres_url: str) -> None:
    async with market(postgres_url, shops=4) as open_market:
        took = [await open_market.rolled_back_by_hand() for _ in range(ROUNDS)]
    print(f"\nby hand, 4 processes, PostgreSQL: last live reply after {shown(took)} s (limit {BY_HAND_S:g})")
    assert max(took) < BY_HAND_S


@pytest.mark.bench
async def test_a_bad_branch_is_gone_from_four_processes_within_block_settle_tick_and_a_second(
    postgres_url: str,
) -> None:
    async with market(postgres_url, shops=4) as open_market:
        took = await open_market.rolled_back_by_itself()
    print(f"\nby itself, 4 processes, PostgreSQL: last wrong reply after {took:.2f} s (limit {BY_ITSELF_S:g})")
    assert took < BY_ITSELF_S


@pytest.mark.bench
async def test_both_hold_on_sqlite_with_two_processes(tmp_path: Path) -> None:
    async with market(f"sqlite:///{tmp_path / 'rollout.db'}", shops=2) as open_market:
        by_hand = [await open_market.rolled_back_by_hand() for _ in range(ROUNDS)]
        by_itself = await open_market.rolled_back_by_itself()
    print(f"\n2 processes, SQLite: by hand {shown(by_hand)} s (limit {BY_HAND_S:g})", end="")
    print(f", by itself {by_itself:.2f} s (limit {BY_ITSELF_S:g})")
    assert max(by_hand) < BY_HAND_S
    assert by_itself < BY_ITSELF_S


async def test_a_rollback_by_hand_and_one_by_itself_reach_every_process(tmp_path: Path) -> None:
    async with market(f"sqlite:///{tmp_path / 'rollout.db'}", shops=2, per_s=40) as open_market:
        assert await open_market.rolled_back_by_hand() < BUSY * BY_HAND_S
        assert await open_market.rolled_back_by_itself() < BUSY * BY_ITSELF_S


@dataclass
class Market:
    """Shops on one database, their users, and somebody with a command line."""

    backend: Backend
    urls: Sequence[str]
    users: Crowd

    async def rolled_back_by_hand(self) -> float:
        """Seconds from the call of the verb, which commits in there, to the last live reply anywhere."""
        await self.everybody_live()
        asked = time.monotonic()
        await steer.rollback(self.backend, "profile", reason="because", actor="test")
        await self.quiet()
        assert not self.users.failures
        took = self.users.live()[-1].at - asked
        await steer.resume(self.backend, "profile", reason="because", actor="test")
        return took

    async def rolled_back_by_itself(self) -> float:
        """Seconds from the first wrong reply to the last, anywhere."""
        await self.everybody_live()
        await break_branch(self.urls)
        await until(self.is_rolled_back, "the rollback")
        await self.quiet()
        assert not self.users.failures
        wrong = self.users.wrong()
        assert {one.shop for one in wrong} == set(range(len(self.urls)))
        decision = (await self.backend.state.decisions("profile", limit=1))[0]
        assert (decision.action, decision.trigger) == ("rollback", "controller")
        return wrong[-1].at - wrong[0].at

    async def everybody_live(self) -> None:
        """At 100 %, heard of in every shop."""
        await put_at(self.backend, 1.0)
        before = len(self.users.told)

        async def heard() -> bool:
            lately = {one.shop for one in self.users.told[before:] if one.by == "branch"}
            return len(lately) == len(self.urls)

        await until(heard, "100 % in every shop")

    async def quiet(self) -> None:
        """Until every shop has answered without the branch for a while."""

        async def over() -> bool:
            last = self.users.live()[-1].at
            return all(
                any(one.shop == shop and one.at > last + 1.0 for one in self.users.told[-500:])
                for shop in range(len(self.urls))
            )

        await until(over, "an end of live replies")

    async def is_rolled_back(self) -> bool:
        state = (await self.backend.state.load()).states["profile"]["orders"]
        return state.mode is Mode.rolled_back


@asynccontextmanager
async def market(url: str, shops: int, per_s: float = 50) -> AsyncIterator[Market]:
    with ExitStack() as processes:
        urls = [
            processes.enter_context(
                child("tests.support.shop", Shop(database=url, tick_s=TICK_S, process=f"shop-{n}"))
            ).url
            for n in range(shops)
        ]
        async with AsyncExitStack() as stack:
            backend = await open_backend(url)
            stack.push_async_callback(backend.close)
            users = await stack.enter_async_context(crowd(urls, per_s))

            async def led() -> bool:
                return any([(await stats(one))["leader"] for one in urls])

            await until(led, "a leader")
            yield Market(backend, urls, users)


def shown(took: Sequence[float]) -> str:
    return ", ".join(f"{one:.2f}" for one in sorted(took))
