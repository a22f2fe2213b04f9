"""A ramp in virtual time: calls are drawn, folded and judged as the controller does it, until the branch has completed
its ramp, is rolled back, or nothing is decided for too long.

    scenario = Scenario.of(policy, "orders", Truth(errors=0.01, worse_errors=0.02), traffic=100.0)
    ended = replay(scenario, Chance(Random(7)))
    ended.end, ended.cause, ended.calls, ended.seconds

There are no people in it: what needs an approval has it, promotion is never frozen, and a ramp that is moved by hand
moves by itself. The branches that the unit comes after are always far enough.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from rollout.domain.gates import Grade
from rollout.domain.judgement import Bench, Case, GateStates, judge, soak_left
from rollout.domain.lifecycle import Event, moves
from rollout.domain.simulation.draws import Draws
from rollout.domain.simulation.truth import DAY_S, Truth
from rollout.domain.simulation.world import World
from rollout.domain.state import BranchState, Policy
from rollout.domain.verdict import Action, Verdict

#: The calls between two looks, at least.
CALLS: Final = 20
#: A stage is undecided after so many calls, and a day, where the ramp has no deadline.
MANY: Final = 1_000_000


class End(StrEnum):
    """How a ramp ends."""

    completed = "completed"
    rolled_back = "rolled_back"
    undecided = "undecided"

    @property
    def text(self) -> str:
        return self.value.replace("_", " ")


_ENDS: Final = {
    Action.complete: End.completed,
    Action.rollback: End.rolled_back,
    Action.stop_shadow: End.rolled_back,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """What is replayed. ``traffic``: calls a second; ``start``: the index of the stage at which it begins;
    ``deadline_s``: the most seconds at a stage; ``fine``: a look comes at the latest when a stage has lasted longer by
    1/``fine``. Default 40.
    """

    policy: Policy
    unit: str
    truth: Truth
    traffic: float
    deadline_s: float
    start: int = 0
    fine: int = 40

    @classmethod
    def of(cls, policy: Policy, unit: str, truth: Truth, traffic: float, start: int = 0) -> Scenario:
        """The ramp and gates of a policy, without its people. The deadline is the ramp's; without one the time of a
        million calls, at least a day.
        """
        deadline_s = policy.ramp.deadline_s or max(DAY_S, MANY / traffic)
        ramp = replace(policy.ramp, approve=(), freeze=(), auto=True)
        return cls(
            policy=replace(policy, ramp=ramp),
            unit=unit,
            truth=truth,
            traffic=traffic,
            deadline_s=deadline_s,
            start=start,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """Where a ramp stands at the entry of a stage. ``gates``: what they knew before it; ``now``: seconds from the
    start.
    """

    states: Mapping[str, BranchState]
    gates: GateStates
    now: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Stay:
    """The time at one stage. ``waited_for``: what held it at the look before the last: ``"soak"``, or else gates.
    ``end``: how the ramp ended here, None where it went on; ``cause``: of that.
    """

    share: float
    seconds: float
    calls: int
    waited_for: Sequence[str]
    end: End | None
    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a ramp ended, and the stages it stayed at. ``share``: where. ``seconds``, ``calls``: in all; ``arrived_s``:
    when it entered the last stage, None if it never did.
    """

    end: End
    cause: str
    share: float
    seconds: float
    calls: int
    arrived_s: float | None
    stays: Sequence[Stay]


def replay(scenario: Scenario, draws: Draws) -> Ended:
    """One ramp, from the start of the scenario to its end."""
    world = World(scenario.policy, scenario.truth, scenario.traffic, draws)
    at: Position | None = beginning(scenario)
    arrived_s: float | None = None
    stays: list[Stay] = []
    while at is not None:
        now = at.now
        stay, at = stay_at(scenario, world, at)
        stays.append(stay)
        if stay.share == scenario.policy.ramp.stages[-1]:
            arrived_s = now
    last = stays[-1]
    assert last.end is not None, "a ramp that goes on has a next position"
    return Ended(
        end=last.end,
        cause=last.cause,
        share=last.share,
        seconds=sum(stay.seconds for stay in stays),
        calls=sum(stay.calls for stay in stays),
        arrived_s=arrived_s,
        stays=tuple(stays),
    )


def beginning(scenario: Scenario) -> Position:
    """The unit at the entry of its first stage, without any evidence."""
    policy, stages, start = scenario.policy, scenario.policy.ramp.stages, scenario.start
    states = {
        branch.name: BranchState(
            rollout=policy.rollout,
            branch=branch.name,
            stage=start,
            share=stages[start],
            earlier=stages[start - 1] if start else 0.0,
        )
        for branch in policy.units()[scenario.unit]
    }
    return Position(states=states, gates={})


def stay_at(scenario: Scenario, world: World, at: Position) -> tuple[Stay, Position | None]:
    """From the entry of a stage to that of the next one, or to the end of the ramp (None)."""
    policy = scenario.policy
    case = Case(policy=policy, unit=scenario.unit, states=at.states, flags=(), now=at.now)
    stage, bench = case.stage, Bench(policy.gates, at.gates)
    world.enter(stage.share, stage.earlier)
    bench.enter(stage)
    pace = Pace(scenario, stage.share, at.now)
    calls, seen = 0, at.now
    waited_for: tuple[str, ...] = ("soak",)
    while True:
        until = pace.after(seen)
        block, drawn = world.block(seen, until)
        bench.fold(block, stage)
        seen, calls, now = until, calls + drawn, until + policy.settle_s
        verdict = judge(replace(case, now=now), bench.findings(stage, now))
        if verdict.action is not Action.hold or now - at.now >= scenario.deadline_s:
            break
        waited_for = ("soak",) if soak_left(policy.ramp, case.members, now) else _holding(verdict)
    goes_on = verdict.action is Action.promote
    stay = Stay(
        share=stage.share,
        seconds=now - at.now,
        calls=calls,
        waited_for=waited_for,
        end=None if goes_on else _ENDS.get(verdict.action, End.undecided),
        cause=_cause(verdict),
    )
    return stay, _promoted(scenario, at, verdict, bench, now) if goes_on else None


def _cause(verdict: Verdict) -> str:
    """Why a ramp ended with this verdict, where it did not come to its end."""
    if verdict.action in (Action.promote, Action.complete):
        return ""
    return verdict.cause or ", ".join(_holding(verdict))


def _promoted(scenario: Scenario, at: Position, verdict: Verdict, bench: Bench, now: float) -> Position:
    found = moves(scenario.policy, at.states, scenario.unit, Event.promote, to=verdict.target)
    states = {move.after.branch: replace(move.after, entered_at=now) for move in found}
    return Position(states=states, gates=bench.to_states(), now=now)


def _holding(verdict: Verdict) -> tuple[str, ...]:
    """The gates that are not through."""
    return tuple(one.gate for one in verdict.findings if one.grade is not Grade.passed)


class Pace:
    """When to look. Calls between two looks are one block, so the looks are close together where something may happen:
    at the start of a stage, at each change of the truth, at the end of the soak.
    """

    def __init__(self, scenario: Scenario, share: float, entered: float) -> None:
        rarer = min(share, 1 - share) if 0 < share < 1 else 1.0
        ramp = scenario.policy.ramp
        stage = ramp.stages.index(share)
        self._truth = scenario.truth
        self._least = max(1.0, max(CALLS, 1 / rarer) / scenario.traffic)
        self._fine = scenario.fine
        self._entered = entered
        self._soaked = entered + ramp.soak_at(stage) - scenario.policy.settle_s

    def after(self, seen: float) -> float:
        """The end of the block that begins at ``seen``."""
        calm = seen - max(self._entered, self._truth.last_change(seen))
        until = min(seen + max(self._least, calm / self._fine), self._truth.next_change(seen))
        return self._soaked if seen < self._soaked < until else until
