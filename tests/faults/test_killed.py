"""A process is killed at random moments of a ramp, again and again, and each successor goes on where it stood.

After each death the database is looked at as it was left: every branch stands where the newest decision about it put
it, the soak clock began when that decision was written, the audit's chain is whole, and nothing is there twice or in
half. The moments come from a seed.
"""

from __future__ import annotations

import asyncio
import random
import struct
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from rollout.domain.audit import verify
from rollout.domain.lifecycle import place
from rollout.domain.state import BranchState, Decision
from rollout.errors import SchemaError
from rollout.ports import Backend
from rollout.usecases.look import every_decision
from rollout_sql import open_backend
from tests.support.children import child
from tests.support.crowd import stats, until
from tests.support.shop import Shop, state_of

STAGES = " ".join(f"{n}%" for n in range(2, 101, 2))  # many small steps, so that a kill often meets one
BRANCHES = 1
NEAR_S = 0.25  # between the time that a call wrote down and the one that it was counted at


@pytest.mark.soak
def test_fifty_kills_leave_sqlite_whole(tmp_path: Path) -> None:
    survives(f"sqlite:///{tmp_path / 'rollout.db'}", tmp_path / "calls", kills=50)


@pytest.mark.soak
def test_fifty_kills_leave_postgresql_whole(postgres_url: str, tmp_path: Path) -> None:
    survives(postgres_url, tmp_path / "calls", kills=50)


def test_three_kills_leave_sqlite_whole(tmp_path: Path) -> None:
    survives(f"sqlite:///{tmp_path / 'rollout.db'}", tmp_path / "calls", kills=3, longest_s=2.0)


@pytest.mark.postgres
def test_three_kills_leave_postgresql_whole(postgres_url: str, tmp_path: Path) -> None:
    survives(postgres_url, tmp_path / "calls", kills=3, longest_s=2.0)


def survives(url: str, calls: Path, kills: int, longest_s: float = 4.0, seed: int = 20) -> None:
    """Kill a ramping process ``kills`` times and look at what is left each time."""
    shop = Shop(
        database=url,
        process="ramping",  # the name says who had the lease: the successor need not wait until it runs out
        ramp=f"shadow {STAGES}",
        soak_s=0.1,
        tick_s=0.1,
        latency_s=0.05,
        minimum=5,
        traffic=100,
        calls=str(calls),
    )
    found = asyncio.run(looked_at(url, create=True))
    for working, after_s in moments(kills, longest_s, seed):
        with child("tests.support.shop", shop, lines=int(working)) as process:
            if working and found.state is not None:
                assert process.said["states"]["orders"] == state_of(found.state)
            time.sleep(after_s)  # not for a result: this is the moment
            process.kill()
        found = asyncio.run(looked_at(url))
        found.is_whole(times_of(calls))
    assert found.state is not None
    print(f"\n{url.partition(':')[0]}: {kills} kills, {found.shown}")
    asyncio.run(goes_on(url, shop, found.state))


def moments(kills: int, longest_s: float, seed: int) -> Iterator[tuple[bool, float]]:
    """Whether it may come up first, and seconds of life from then on. One in five dies while it starts."""
    dice = random.Random(seed)
    for _ in range(kills):
        working = dice.random() < 0.8
        yield working, dice.uniform(0.0, longest_s) if working else dice.uniform(0.2, 1.5)


def times_of(calls: Path) -> list[float]:
    """When each call of all lives so far was made, by the machine's clock."""
    written = calls.read_bytes() if calls.exists() else b""
    return [one for (one,) in struct.iter_unpack("d", written[: len(written) // 8 * 8])]


@dataclass(frozen=True)
class Found:
    """What a killed process left in the database. ``calls``: second → how many calls were counted in it."""

    state: BranchState | None
    decisions: list[Decision]
    trials: int
    keys: int
    runs: int
    calls: Mapping[int, int]

    def is_whole(self, made: Sequence[float]) -> None:
        """Every promise about what is left. ``made``: the times of all calls."""
        assert verify(self.decisions) == []
        if self.state is not None:
            self.stands_where_it_was_put(self.state)
        assert self.trials == self.keys  # every call is another user's: none has two trials
        assert self.runs == self.trials * BRANCHES
        made_in = Counter(int(one) for one in made)
        for second, counted in self.calls.items():
            near = sum(second - NEAR_S <= one < second + 1 + NEAR_S for one in made) if counted > made_in[second] else 0
            assert counted <= max(made_in[second], near)

    def stands_where_it_was_put(self, state: BranchState) -> None:
        moved = [one for one in self.decisions if one.moves]
        for before, after in pairwise(moved):
            assert after.moves[0]["from"] == before.moves[0]["to"]
        assert state.version == 1 + len(moved)
        if moved:
            assert moved[-1].moves[0]["to"] == place(state)
            entered = [one for one in moved if one.action != "complete"]  # to be completed is to stay where it is
            assert state.entry == 1 + len(entered)
            assert state.entered_at == pytest.approx(entered[-1].at, abs=1e-3)

    @property
    def shown(self) -> str:
        at = self.state.at_text() if self.state else "not registered"
        counted = sum(self.calls.values())
        return f"{len(self.decisions)} decisions, {self.trials} trials, {counted} calls counted; at {at}"


async def looked_at(url: str, *, create: bool = False) -> Found:
    """What is in the database; a process that was killed before it made the tables left nothing."""
    try:
        backend = await open_backend(url, create=create, migrate=True if create else None)
    except SchemaError:
        return Found(None, [], 0, 0, 0, {})
    try:
        return await look(backend)
    finally:
        await backend.close()


async def look(backend: Backend) -> Found:
    snapshot = await backend.state.load()
    ledger: Any = backend.ledger
    queries = (
        "SELECT count(*) FROM rollout_trials",
        "SELECT count(DISTINCT key_hash) FROM rollout_trials",
        "SELECT count(*) FROM rollout_branch_runs",
    )
    async with ledger._db.reading() as connection:
        trials, keys, runs = [(await connection.exec_driver_sql(query)).scalar_one() for query in queries]
    series = await backend.ledger.series("profile", "", 0, snapshot.now + 60, 1)
    return Found(
        state=snapshot.states.get("profile", {}).get("orders"),
        decisions=await every_decision(backend, "profile"),
        trials=trials,
        keys=keys,
        runs=runs,
        calls={second: sum(figures["calls"] for figures in arms.values()) for second, arms in series},
    )


async def goes_on(url: str, shop: Shop, before: BranchState) -> None:
    """A last life, undisturbed, takes the ramp further, unless it was at its end."""
    with child("tests.support.shop", shop) as last:

        async def further() -> bool:
            state = (await looked_at(url)).state
            assert state is not None
            return state.version > before.version or state.mode != "active"

        try:
            await until(further, "another step of the ramp", every_s=0.3)
        except AssertionError as error:
            error.add_note(f"it said: {await stats(last.url)}\n{last.log[-4000:]}")
            raise
