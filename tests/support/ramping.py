"""A rollout in virtual time: traffic of a chosen truth, second by second, and controllers that tick."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rollout.domain.evidence import Arm, Figures
from rollout.domain.ramp import Ramp
from rollout.domain.state import BranchPolicy, BranchState, Decision, Lease, Policy, Trigger
from rollout.engine.controller import Controller
from rollout.ports import StateStore
from rollout.testing import ManualClock, memory_backend, sample_batch, sample_block, sample_policy
from tests.support import thresholds as gates

SETTLE_S = 0.5
LAG_S = 2.0  # from the start of a second until it is closed: itself, settle time and margin

#: Every gate, with limits that a healthy side is well within.
EVERY_GATE = (
    gates.errors(),
    gates.latency(),
    gates.mismatches(at_most=0.01),
    gates.cost(usd_per_call="0.01"),
    gates.sla(),
    gates.fallbacks(at_most=0.02),
)


@dataclass(frozen=True, kw_only=True)
class Truth:
    """How a side behaves. Shares of calls; ``scale_s``: median latency; ``cost_nano``: per call, None: no price."""

    bad: float = 0.0
    fallbacks: float = 0.0
    differs: float = 0.0
    scale_s: float = 0.1
    sla_missed: float = 0.01
    cost_nano: int | None = 5_000_000


@dataclass(kw_only=True)
class World:
    """``calls``: a second. ``truths``: of candidates, by unit; missing: a healthy one."""

    ramp: Ramp = field(default_factory=lambda: Ramp.parse("shadow 10% 50% 100%", soak=10))
    branches: tuple[str | BranchPolicy, ...] = ("orders",)
    gates: tuple[gates.GateSpec, ...] = EVERY_GATE
    calls: int = 100
    control: Truth = Truth()
    truths: dict[str, Truth] = field(default_factory=dict)
    seed: int = 7

    def __post_init__(self) -> None:
        self.clock = ManualClock()
        self.backend = memory_backend(self.clock)
        self.dice = random.Random(self.seed)
        self.controller = self.another("p1")
        self.flow = True

    def another(self, holder: str, state: StateStore | None = None, **options: Any) -> Controller:
        return Controller(state or self.backend.state, self.backend.ledger, self.clock, holder, **options)

    async def begin(self) -> World:
        declared = sample_policy(branches=self.branches, ramp=self.ramp, gates=self.gates, settle_s=SETTLE_S)
        await self.backend.state.register(declared, "test")
        return self

    async def policy(self) -> Policy:
        return (await self.backend.state.load()).policies["profile"]

    async def state(self, branch: str = "orders") -> BranchState:
        return (await self.backend.state.load()).states["profile"][branch]

    async def decisions(self, *actions: str) -> list[Decision]:
        """Those that moved a branch (or of these actions), oldest first."""
        found = await self.backend.state.decisions(limit=1_000)
        return [one for one in reversed(found) if (one.action in actions if actions else one.moves)]

    async def second(self, *controllers: Controller) -> None:
        """One second of traffic, then a tick of each controller."""
        if self.flow:
            await self.traffic()
        self.clock.advance(1.0)
        for controller in controllers or (self.controller,):
            await controller.tick()

    async def seconds(self, count: float, *controllers: Controller) -> None:
        for _ in range(round(count)):
            await self.second(*controllers)

    async def until(self, share: float, branch: str = "orders", limit: int = 600) -> None:
        """Run until a branch has reached a share."""
        for _ in range(limit):
            if (await self.state(branch)).share >= share:
                return
            await self.second()
        raise AssertionError(f"{branch} did not reach {share} within {limit} s: {self.controller.verdicts}")

    async def traffic(self) -> None:
        """What every process would record of this second, of all units, at the entry that stands now."""
        snapshot = await self.backend.state.load()
        second = int(self.clock.wall())
        blocks = []
        for unit, members in snapshot.policies["profile"].units().items():
            state = snapshot.states["profile"][members[0].name]
            truth = self.truths.get(unit, self.control)
            for arm, figures in self._arms(state, truth).items():
                version = snapshot.policies["profile"].version
                blocks.append(sample_block(second, arm, figures, unit=unit, entry=state.entry, version=version))
        await self.backend.ledger.append(sample_batch(*blocks))

    def _arms(self, state: BranchState, truth: Truth) -> Mapping[Arm, Figures]:
        live = round(self.calls * state.share)
        found: dict[Arm, Figures] = {"P": self._pairs(self.calls if state.shadow else live, truth)}
        if live:
            found["B"] = self._side(live, truth)
            found["B"].merge(self._runs(live, truth))
            found["A"] = self._side(self.calls - live, self.control)
        return found

    def _side(self, n: int, truth: Truth) -> Figures:
        bad = self._some(n, truth.bad)
        figures = Figures({"calls": n, "bad": bad, "fallbacks": self._some(n, truth.fallbacks)})
        for _ in range(n - bad):
            figures.observe("latency", self._time(truth))
        return figures

    def _runs(self, n: int, truth: Truth) -> Figures:
        missed = self._some(n, truth.sla_missed)
        figures = Figures({"runs": n, "ran": n, "sla_missed": missed, "sla_calls": missed})
        if truth.cost_nano is None:
            figures.add("unpriced", n)
        else:
            figures.add("costed", n)
            figures.add("cost_nano", n * truth.cost_nano)
            figures.histogram("cost").add(truth.cost_nano * 1e-6, n)
        return figures

    def _pairs(self, n: int, truth: Truth) -> Figures:
        bad, own = self._some(n, truth.bad + truth.fallbacks), self._some(n, self.control.bad)
        differ = self._some(n - bad - own, truth.differs)
        figures = Figures({"pairs": n, "candidate_bad": bad, "only_candidate_bad": bad, "would_fall_back": bad})
        figures.merge(Figures({"control_bad": own, "only_control_bad": own, "incomparable": bad + own}))
        figures.merge(Figures({"mismatched": differ, "matched": n - bad - own - differ, "compared": n - bad - own}))
        figures.merge(self._runs(n, truth))
        for _ in range(n - bad - own):
            figures.observe("control", self._time(self.control))
            figures.observe("candidate", self._time(truth))
        return figures

    def _some(self, n: int, share: float) -> int:
        return min(n, sum(self.dice.random() < share for _ in range(n))) if share else 0

    def _time(self, truth: Truth) -> float:
        return truth.scale_s * self.dice.lognormvariate(0.0, 0.2)


class Told:
    """A notifier that remembers. ``waiting``: the numbers of what it did not get rid of; nothing unless ``stuck``."""

    def __init__(self, *, stuck: bool = False) -> None:
        self.decisions: list[Decision] = []
        self.waiting: list[int] = []
        self._stuck = stuck

    async def tell(self, decision: Decision) -> None:
        self.decisions.append(decision)
        if self._stuck:
            self.waiting.append(decision.number)

    def unsettled(self) -> int | None:
        return min(self.waiting, default=None)

    def counts(self) -> dict[tuple[str, str], int]:
        return {}

    async def drain(self, within_s: float) -> None:
        """There is nothing to get rid of."""


def by_person(**changes: Any) -> dict[str, Any]:
    """The arguments of a decision by hand."""
    return {"actor": "ann", "trigger": Trigger.person, "reason": "because", "at": 0.0, **changes}


async def lead(state: StateStore, holder: str) -> Lease | None:
    """Take the controller's lease, as another process would."""
    return await state.lease("controller", holder, 10.0)
