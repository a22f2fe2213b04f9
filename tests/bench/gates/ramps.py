"""Whole ramps in virtual time, judged as the controller judges them: how healthy ones end, and those of a branch whose
errors double.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

from rollout import gates
from rollout.definition import default_gates
from rollout.domain.gates import GateSpec
from rollout.domain.simulation.draws import Chance
from rollout.domain.simulation.replay import End, Ended, Scenario, beginning, replay, stay_at
from rollout.domain.simulation.truth import Truth
from rollout.domain.simulation.world import World
from rollout.testing import sample_policy

TRAFFIC = 10.0  # calls a second
#: Of healthy ramps: a look comes at the latest when a stage has lasted longer by 1/20. Half as many as usual.
FINE = 20

CALLS_OVERLAY, CALLERS_OVERLAY, CALLERS_REPLACE = (
    "calls count, overlay",
    "callers count once, overlay",
    "callers count once, replace",
)
#: Whether callers keep their bucket, so that each counts once a stage; how branches join.
KINDS = {CALLS_OVERLAY: (False, "overlay"), CALLERS_OVERLAY: (True, "overlay"), CALLERS_REPLACE: (True, "replace")}
HEALTHY = Truth(errors=0.001)
MOST_ROLLED_BACK = 0.01

SIX_GATES = (
    gates.errors(),
    gates.latency(),
    gates.mismatches(),
    gates.cost(usd_per_call="0.01"),
    gates.sla(),
    gates.fallbacks(),
)
BEFORE = Truth(errors=0.01, nano=2e6, sla_missed=0.01)
AFTER = replace(BEFORE, worse_errors=0.02)
DOUBLES_AT = 0.5
MOST_CALLS = 15_000
MOST_PROMOTED = 0.01


def scenario(kind: str, specs: Sequence[GateSpec], truth: Truth) -> Scenario:
    """The default ramp."""
    keyed, join = KINDS[kind]
    policy = sample_policy(gates=tuple(specs), keyed=keyed, join=join)
    return Scenario.of(policy, "orders", truth, TRAFFIC)


def healthy(job: tuple[str, int]) -> Ended:
    """The default ramp with the default gates, of one of ``KINDS`` and of that number."""
    kind, number = job
    ramp = replace(scenario(kind, default_gates(), HEALTHY), fine=FINE)
    return replay(ramp, Chance(Random(f"healthy {kind} {number}")))


@dataclass(frozen=True, slots=True)
class Found:
    """How the stage ended at which errors were to double. ``there``: whether the ramp came so far; ``end``: None where
    the branch was promoted; ``calls``: of the stage.
    """

    there: bool
    end: End | None
    cause: str
    calls: int


def doubled(job: tuple[str, int]) -> Found:
    """A ramp with six gates, of one of ``KINDS`` and of that number, up to the end of its stage at 50 %."""
    kind, number = job
    now, draws = scenario(kind, SIX_GATES, BEFORE), Chance(Random(f"doubled {kind} {number}"))
    at, world = beginning(now), World(now.policy, BEFORE, TRAFFIC, draws)
    while True:
        there = at.states["orders"].share == DOUBLES_AT
        if there:
            now, world = replace(now, truth=AFTER), World(now.policy, AFTER, TRAFFIC, draws)
        stay, then = stay_at(now, world, at)
        if there or then is None:
            return Found(there, stay.end, stay.cause, stay.calls)
        at = then
