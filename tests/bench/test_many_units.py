"""What a tick costs with a thousand branches, a tenth of them or all of them with new blocks, on SQLite.

Each live, with blocks of both arms and of pairs, and the gates on errors and mismatches. Wall time of a tick on an
otherwise idle machine, medians of several.
"""

from __future__ import annotations

import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any, cast

import pytest

from rollout import gates
from rollout.domain.changes import change
from rollout.domain.evidence import Arm, Block, BlockKey, Figures
from rollout.domain.histogram import Histogram
from rollout.domain.lifecycle import Event, moves
from rollout.domain.ramp import Ramp
from rollout.domain.state import Policy, Snapshot, Trigger
from rollout.engine.controller import Controller
from rollout.ports import Backend, StateStore
from rollout.testing import SystemClock, sample_batch, sample_policy
from rollout_sql import open_backend

ROLLOUTS = 10
SHARE = 0.5
TENTH_MS, ALL_MS = 100, 600


@pytest.mark.bench
async def test_a_tick_over_a_thousand_branches(tmp_path: Path) -> None:
    async with crowded(tmp_path / "rollout.db", units=1_000) as crowd:
        await crowd.tick(1.0)
        for share, most in ((0.0, TENTH_MS), (0.1, TENTH_MS), (1.0, ALL_MS)):
            took = [await crowd.tick(share) for _ in range(9)]
            tick_ms = 1000 * median(took)
            print(f"\n1 000 branches, {share:.0%} with new blocks: {tick_ms:.0f} ms a tick (at most {most})")
            assert tick_ms <= most


async def test_branches_without_news_cost_a_tick_little(tmp_path: Path) -> None:
    async with crowded(tmp_path / "rollout.db", units=100) as crowd:
        await crowd.tick(1.0)
        idle, busy = [], []
        for _ in range(5):
            idle.append(await crowd.tick(0.0))
            busy.append(await crowd.tick(1.0))
        assert min(idle) < min(busy)
        assert crowd.controller.failures == 0


class Crowd:
    """Branches of several rollouts, and a controller that leads on them."""

    def __init__(self, backend: Backend, policies: list[Policy]) -> None:
        self.backend = backend
        self.policies = policies
        self.dice = random.Random(5)
        self.state = Ahead(backend.state)
        self.controller = Controller(cast(StateStore, self.state), backend.ledger, SystemClock(), "bench", margin_s=0.0)
        self.second = 0

    async def tick(self, share: float) -> float:
        """Seconds that a tick takes after so many of the branches (a share) were called for a second."""
        self.second = max(self.second, int(await self.backend.state.now())) + 1
        self.state.at = self.second + 2.0
        blocks = [
            block
            for policy in self.policies
            for unit in policy.units()
            if self.dice.random() < share
            for block in self._blocks(policy, unit)
        ]
        await self.backend.ledger.append(sample_batch(*blocks))
        begun = time.perf_counter()
        await self.controller.tick()
        return time.perf_counter() - begun

    def _blocks(self, policy: Policy, unit: str) -> list[Block]:
        took = Histogram({500 + step: self.dice.randrange(1, 4) for step in range(20)})
        n = took.total
        arms: dict[Arm, Figures] = {
            "A": Figures({"calls": n}, {"latency": took}),
            "B": Figures({"calls": n, "ran": n, "runs": n, "outcome:ok": n}, {"latency": took, "run": took}),
            "P": Figures({"pairs": n, "matched": n, "compared": n}, {"control": took, "candidate": took}),
        }
        key = BlockKey(policy.rollout, unit, "A", policy.version, 2, self.second)
        return [Block(key._replace(arm=arm), figures) for arm, figures in arms.items()]


class Ahead:
    """A state store whose clock stands where a test wants it, so that seconds close without waiting for them."""

    def __init__(self, inner: StateStore) -> None:
        self.inner = inner
        self.at = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def now(self) -> float:
        return self.at

    async def load(self) -> Snapshot:
        return replace(await self.inner.load(), now=self.at)


@asynccontextmanager
async def crowded(file: Path, units: int) -> AsyncIterator[Crowd]:
    """A database with so many branches, half of their calls live since a minute ago."""
    backend = await open_backend(f"sqlite:///{file}")
    try:
        ramp = Ramp.parse("shadow 50% 100%", soak="1d")
        specs = (gates.errors(), gates.mismatches())
        policies = []
        for number in range(ROLLOUTS):
            branches = tuple(f"branch{unit}" for unit in range(units // ROLLOUTS))
            declared = sample_policy(f"rollout{number}", branches=branches, ramp=ramp, gates=specs, settle_s=0.1)
            policies.append(await backend.state.register(declared, "bench"))
        await put_live(backend)
        yield Crowd(backend, policies)
    finally:
        await backend.close()


async def put_live(backend: Backend) -> None:
    """Every branch at 50 %, as ``promote --force`` would."""
    snapshot = await backend.state.load()
    for policy in snapshot.policies.values():
        for unit in policy.units():
            found = moves(policy, snapshot.states[policy.rollout], unit, Event.promote, to=SHARE)
            by: dict[str, Any] = {"actor": "bench", "trigger": Trigger.person, "reason": "because"}
            await backend.state.transition(change(policy, found, Event.promote, at=snapshot.now, **by))
