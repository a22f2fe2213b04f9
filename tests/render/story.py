"""A realistic hour of one rollout, for reports and screens: one branch ramps, one was rolled back, one costs money in
shadow. When a branch moves is written here; what the gates find is their own."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from statistics import NormalDist

from rollout import gates
from rollout.domain.evidence import Arm, Block, BlockKey, Figures, UnitBlock
from rollout.domain.gates import Finding, GateSpec, Grade, Stage
from rollout.domain.judgement import Bench, Case
from rollout.domain.ramp import Ramp
from rollout.domain.state import BranchPolicy, BranchState, Change, Decision, FlagOverride, Lease, Mode, Policy, Trigger
from rollout.ports import Backend, Batch, GateCheckpoint, MismatchCount, RunRecord, TrialRecord
from rollout.testing import ManualClock, MemoryBackend, memory_backend, sample_policy

NAME = "profile"
HOUR = 3_600
TRIALS = 7  # that are stored of a minute; of them the first differs
SLOWER = {"orders": 0.11, "tickets": 0.28, "summary": 0.5}  # share of pairs in which it took 25 % longer than control
EVERY_GATE = (
    gates.errors(),
    gates.latency(q=0.95, worse_by=0.25),
    gates.mismatches(at_most=0.001),
    gates.cost(usd_per_call="0.01"),
)


async def story(
    backend: Backend,
    clock: ManualClock,
    *,
    rate: float = 80.0,
    seed: int = 7,
    step_s: int = 10,
    specs: tuple[GateSpec, ...] = EVERY_GATE,
) -> None:
    """Fill a backend; afterwards the clock stands an hour later. ``step_s``: seconds that one block stands for."""
    dice = random.Random(seed)
    branches = (
        BranchPolicy(
            name="orders", unit="orders", salt="profile/orders", part="$.orders", sla_s=0.3, hard_timeout_s=1.0
        ),
        BranchPolicy(
            name="tickets", unit="tickets", salt="profile/tickets", part="$.tickets", sla_s=0.3, required=False
        ),
        BranchPolicy(
            name="summary", unit="summary", salt="profile/summary", part="$.summary", after=("tickets",), required=False
        ),
    )
    policy = sample_policy(
        NAME,
        branches=branches,
        ramp=Ramp.parse("shadow 1% 5% 25% 50% 100%", soak="10m", approve="50%", freeze=("Fri 16:00 - Mon 08:00",)),
        gates=specs,
        latency_s=1.5,
        settle_s=1.6,
        routes=("GET /profile/{id}",),
        revision="2026.11.3",
        origins={"ramp": "spec rollout.toml", "gates": "code", "shadow.sample": "default", "budget": "code"},
    )
    await backend.state.register(policy, "shop-1")
    began = int(clock.wall())
    lease = await backend.state.lease("controller", "shop-1:4127", 2 * HOUR)
    assert lease is not None
    desk = await Desk.of(backend)
    entry = {"orders": 1, "tickets": 1, "summary": 1}
    share = {"orders": 0.0, "tickets": 0.0, "summary": 0.0}
    ids = 0
    for second in range(0, HOUR, step_s):
        now = began + second
        broken = share["tickets"] >= 0.05 and second >= 2_100
        for branch, at, stage, to in (
            ("orders", 600, 1, 0.01),
            ("orders", 1_200, 2, 0.05),
            ("orders", 1_800, 3, 0.25),
            ("tickets", 900, 1, 0.01),
            ("tickets", 1_500, 2, 0.05),
        ):
            if second == at:
                await desk.move(branch, stage, to, now)
                share[branch], entry[branch] = to, entry[branch] + 1
        if second == 2_160:
            await desk.roll_back("tickets", now)
            share["tickets"], entry["tickets"] = 0.0, entry["tickets"] + 1
            broken = False
        calls = int(rate * step_s * (1 + 0.35 * math.sin(second / 700)) * dice.uniform(0.93, 1.07))
        batch = Batch(f"{seed}-{second}", "shop-1:4127", blocks=_blocks(dice, now, calls, share, entry, broken))
        desk.fold(batch.blocks)
        if second % 60 == 0:
            first = ids + 1
            ids += TRIALS
            batch.trials.extend(_trial(number, now, broken) for number in range(first, ids + 1))
            batch.mismatches.extend(_mismatches(now, broken, f"{first:032x}"))
        await backend.ledger.append(batch)
        clock.advance(step_s)
    await desk.save(lease, began + HOUR - step_s)
    await backend.state.set_flag(
        FlagOverride(flag=NAME, value="on", key="alice", reason="try it first", actor="ann@laptop", at=clock.wall())
    )


def _blocks(
    dice: random.Random, now: int, calls: int, share: dict[str, float], entry: dict[str, int], broken: bool
) -> list[Block]:
    blocks = []
    whole = Figures({"calls": calls, "drawn": int(calls * 0.97), "skipped:too_large": calls - int(calls * 0.97)})
    refused = int(calls * 0.01)
    whole.add("started", whole["drawn"] - refused)
    whole.add("refused:lag", refused)
    whole.add("finished", whole["started"] - 1)
    whole.add("compared", whole["finished"])
    dropped = 4 if broken else 0
    whole.add("stored", whole["compared"] - dropped)
    if dropped:
        whole.add("dropped:queue_full", dropped)
    served = int(calls * 0.2)
    whole.add("served:candidate", served)
    whole.add("served:control", calls - served)
    if broken:
        whole.add("served:fallback", 9)
    whole.add("fan_outs", whole["finished"])
    whole.add("work_us", whole["finished"] * 180_000)
    whole.add("path_us", whole["finished"] * 95_000)
    whole.add("dispatch:by task", whole["started"])
    blocks.append(Block(BlockKey(NAME, "", "*", 1, 0, now, 1, "shop-1:4127"), whole))
    for unit, speed in (("orders", 0.7), ("tickets", 0.95), ("summary", 1.25)):
        live = int(calls * share[unit])
        pairs = whole["compared"]
        p = Figures({"pairs": pairs, "runs": pairs, "ran": pairs, "noise": pairs // 100})
        wrong = int(pairs * (0.035 if broken and unit == "tickets" else 0.0004 if unit == "orders" else 0.0))
        p.add("mismatched", wrong)
        p.add("ignored", pairs // 50)
        p.add("incomparable", 1 if unit == "summary" else 0)
        p.add("matched", pairs - p["mismatched"] - p["ignored"] - p["incomparable"])
        p.add("compared", pairs - p["incomparable"])
        p.add("noise_mismatched", 1 if unit == "summary" and dice.random() < 0.2 else 0)
        p.add("outcome:ok", pairs - 2 - wrong)
        p.add("outcome:hard_timeout", wrong)
        p.add("outcome:error", 2)
        p.add("error:ClientConnectorError", 2)
        p.add("sla_missed", pairs // 80)
        if unit == "summary":
            _guarded(p, calls)
        p.add("control_bad", 1)
        p.add("candidate_bad", 1)
        p.add(f"only_{dice.choice(('control', 'candidate'))}_bad", 1)
        unknown = 3 if unit == "summary" and now % HOUR < 600 else 0
        p.add("costed", pairs - unknown)
        p.add("unpriced", unknown)
        if unit == "summary":
            p.add("cost_nano", pairs * 1_830_000)
            p.add("tokens_in", pairs * 412)
            p.add("tokens_out", pairs * 96)
            p.histogram("cost").add(1.83, pairs - unknown)
        _observe(dice, p, "control", pairs, 0.145, 0.35)
        _observe(dice, p, "candidate", pairs, 0.145 * speed, 0.32)
        _observe(dice, p, "run", pairs, 0.09 * speed, 0.3)
        p.add("slower:0.25", int(pairs * SLOWER[unit]))
        arms: list[tuple[Arm, Figures]] = [("P", p)]
        if live:
            bad_a, bad_b = (int(n / 800 + dice.random()) for n in (calls - live, live))
            a = Figures({"calls": calls - live, "bad": bad_a})
            b = Figures({"calls": live, "bad": bad_b, "fallbacks": bad_b})
            b.add("runs", live)
            b.add("ran", live)
            b.add("outcome:ok", live - b["bad"])
            b.add("outcome:hard_timeout", b["bad"])
            b.add("costed", live)
            b.add("sla_missed", live // 40)
            _observe(dice, a, "latency", calls - live, 0.145, 0.35)
            _observe(dice, b, "latency", live, 0.145, 0.34)
            arms += [("A", a), ("B", b)]
        blocks += [
            Block(BlockKey(NAME, unit, arm, 1, entry[unit], now, 1, "shop-1:4127"), figures) for arm, figures in arms
        ]
    return blocks


def _guarded(figures: Figures, calls: int) -> None:
    """What a dear branch behind a cheap one comes to: often not wanted, sometimes not covered, tried more than once."""
    for reason, every in (("confident", 3), ("after", 40), ("dispatch", 8)):
        figures.add(f"skipped:{reason}", calls // every)
        figures.add("outcome:skipped", calls // every)
    for reason, every in (("usd", 90), ("time", 200)):
        figures.add(f"over_budget:{reason}", calls // every)
        figures.add("outcome:over_budget", calls // every)
    for outcome, every in (("short_circuited", 120), ("rejected", 300), ("soft_timeout", 70)):
        figures.add(f"outcome:{outcome}", calls // every)
    figures.add("retried", calls // 25)
    figures.add("hedged", calls // 20)
    figures.add("orphans", 2)


def _observe(dice: random.Random, figures: Figures, name: str, calls: int, middle: float, spread: float) -> None:
    """A lognormal latency, drawn once from each of sixty equal shares of it and weighted up to the calls."""
    drawn = min(60, calls)
    for index in range(drawn):
        count = calls // drawn + (index < calls % drawn)
        share = (index + dice.uniform(0.01, 0.99)) / drawn
        figures.histogram(name).add(middle * math.exp(NormalDist(0, spread).inv_cdf(share)), count)


class Desk:
    """The gates at work on what is told, as a controller would have them. It moves a branch when it is told to."""

    def __init__(self, backend: Backend, policy: Policy) -> None:
        self._backend = backend
        self._policy = policy
        self._benches = {unit: Bench(policy.gates) for unit in policy.units()}
        self._stages: dict[str, Stage] = {}

    @classmethod
    async def of(cls, backend: Backend) -> Desk:
        desk = cls(backend, (await backend.state.load()).policies[NAME])
        for unit in desk._benches:
            await desk._enter(unit)
        return desk

    async def _enter(self, unit: str) -> None:
        states = (await self._backend.state.load()).states[NAME]
        case = Case(policy=self._policy, unit=unit, states=states, flags=(), now=0.0)
        self._stages[unit] = case.stage
        self._benches[unit].enter(case.stage)

    def fold(self, blocks: list[Block]) -> None:
        for unit, bench in self._benches.items():
            arms = {block.key.arm: block.figures for block in blocks if block.key.unit == unit}
            nothing = Figures()
            a, b, pairs = (arms.get(arm, nothing) for arm in ("A", "B", "P"))
            bench.fold(UnitBlock(blocks[0].key.second, a, b, pairs), self._stages[unit])

    async def move(self, branch: str, stage: int, share: float, now: float) -> None:
        before = (await self._backend.state.load()).states[NAME][branch]
        after = before.moved(stage=stage, share=share, entry=before.entry + 1)
        await self._decide("promote", before, after, "every gate passes", now)

    async def roll_back(self, branch: str, now: float) -> None:
        before = (await self._backend.state.load()).states[NAME][branch]
        found = self._benches[branch].findings(self._stages[branch], now)
        worst = next(finding for finding in found if finding.grade is Grade.breach)
        after = before.moved(stage=0, share=0.0, mode=Mode.rolled_back, entry=before.entry + 1, cause=worst.gate)
        await self._decide("rollback", before, after, f"{worst.gate}: {worst.why}", now)

    async def _decide(self, action: str, before: BranchState, after: BranchState, reason: str, now: float) -> None:
        to = f"{after.at_text()}, rolled back" if after.mode is Mode.rolled_back else after.at_text()
        decision = Decision(
            rollout=NAME,
            action=action,
            actor="shop-1:4127",
            trigger=Trigger.controller,
            reason=reason,
            moves=({"branch": before.branch, "from": before.at_text(), "to": to},),
            findings=self._benches[before.branch].findings(self._stages[before.branch], now),
            policy_version=1,
        )
        await self._backend.state.transition(Change(before=(before,), after=(after,), decision=decision))
        await self._enter(before.branch)

    async def save(self, lease: Lease, second: int) -> None:
        states = (await self._backend.state.load()).states[NAME]
        checkpoints = [
            GateCheckpoint(
                rollout=NAME,
                unit=unit,
                entry=states[unit].entry,
                version=1,
                closed_second=second,
                states=bench.to_states(),
                account=states[unit].account,
            )
            for unit, bench in self._benches.items()
        ]
        await self._backend.state.save_checkpoints(checkpoints, lease)


def findings(unit: str, grade: Grade) -> tuple[Finding, ...]:
    bad = grade is Grade.breach
    return (
        Finding(gate="errors", unit=unit, grade=Grade.passed, observed=0.0021, limit=0.0112, baseline=0.0012, n=8_140,
                why="0.21% of 8,140 calls failed, control 0.12%", unit_name="%"),
        Finding(gate="latency p95", unit=unit, grade=Grade.passed, observed=0.231, limit=0.284, baseline=0.258, n=8_140,
                why="p95 is 231 ms, control 258 ms", unit_name="s"),
        Finding(gate="mismatches", unit=unit, grade=grade, observed=0.06 if bad else 0.0004, limit=0.001, n=780,
                why=f"{'6%' if bad else '0.04%'} of 780 pairs differ, at most 0.1% may", unit_name="%"),
    )  # fmt: skip


def _trial(number: int, now: float, broken: bool) -> TrialRecord:
    dice = random.Random(number)
    control, orders, tickets, summary = (middle * dice.lognormvariate(0, 0.3) for middle in (0.145, 0.08, 0.09, 0.06))
    record = TrialRecord(
        id=f"{number:032x}",
        rollout=NAME,
        at=now,
        mode="shadow",
        outcome="mismatched" if broken or number % TRIALS == 1 else "matched",
        version=1,
        route="/profile/{id}/summary" if number % 5 == 0 else "/profile/{id}",
        method="HEAD" if number % 11 == 0 else "GET",
        key_hash="5f0c2b7a90e1d344",
        control_status=200,
        control_s=control,
        candidate_status=200,
        candidate_s=max(control, orders, tickets + summary),
        runs=[
            RunRecord("orders", "shadow", "ok", orders, cost_nano=0),
            RunRecord("tickets", "shadow", "ok", tickets, cost_nano=0),
            RunRecord("summary", "shadow", "ok", summary, 1, 412, 96, 1_830_000, "small-2")
            if number % 3
            else RunRecord("summary", "shadow", "skipped", 0.0, 0, cost_nano=0),
        ],
    )
    if record.outcome == "matched":
        return record
    return replace(
        record,
        differences=[
            _difference("$.orders[*].total", "value", "orders", _number("a41f"), _number("09bc")),
            _difference("$.orders[*].currency", "value", "orders", "EUR (from 2026-01-05)", "USD (from 2026-01-05)"),
            _difference("$.tickets[*].state", "missing", "tickets", "open", {"type": "missing"}),
        ],
    )


def _number(mark: str) -> dict[str, object]:
    return {"type": "number", "hash": f"{mark}2b7a90e1d344"}


def _text(mark: str) -> dict[str, object]:
    return {"type": "string", "hash": f"{mark}2b7a90e1d344", "length": 24}


def _difference(path: str, kind: str, branch: str, control: object, candidate: object) -> dict[str, object]:
    return {"path": path, "kind": kind, "branch": branch, "control": control, "candidate": candidate}


def _mismatches(now: float, broken: bool, trial: str) -> list[MismatchCount]:
    found = [
        MismatchCount(
            NAME, "orders", "$.orders[*].total", "value", 2, 0, now, now, [trial],
            _difference("$.orders[*].total", "value", "orders", _number("a41f"), _number("09bc")),
        ),
        MismatchCount(
            NAME, "orders", "$.orders[*].currency", "value", 1, 0, now, now, [trial],
            _difference("$.orders[*].currency", "value", "orders", "EUR (from 2026-01-05)", "USD (from 2026-01-05)"),
        ),
        MismatchCount(
            NAME, "", "$.summary.generated_at", "value", 1, 3, now, now, [trial],
            _difference("$.summary.generated_at", "value", "", _text("77aa"), _text("1c20")),
        ),
    ]  # fmt: skip
    if broken:
        found.append(
            MismatchCount(
                NAME, "tickets", "$.tickets[*].state", "missing", 270, 0, now, now, [trial],
                _difference("$.tickets[*].state", "missing", "tickets", "open", {"type": "missing"}),
            )
        )  # fmt: skip
    return found


async def told(seed: int = 7) -> tuple[MemoryBackend, ManualClock]:
    """A memory backend with the whole story."""
    clock = ManualClock()
    backend = memory_backend(clock)
    await story(backend, clock, seed=seed)
    return backend, clock
