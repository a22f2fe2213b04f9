"""One judgement of one unit: its gates' states and everything decided, to a verdict. The controller acts on it,
``check`` shows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rollout.domain.evidence import UnitBlock
from rollout.domain.gates import Finding, GateState, Moment
from rollout.domain.lifecycle import States, members_of, mode_of, share_of, stage_at, waits_for
from rollout.domain.ramp import Ramp
from rollout.domain.state import BranchState, FlagOverride, Mode, Policy
from rollout.domain.threshold import gate_for
from rollout.domain.verdict import Context, Verdict, decide

GateStates = Mapping[str, GateState]  # by the gate's name


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A unit to be judged: what is in force and where it stands, as of one reading. ``now``: epoch seconds,
    database's clock. ``flags``: the stored overrides. ``behind_s``: seconds of closed blocks that the gates have not
    folded yet."""

    policy: Policy
    unit: str
    states: States
    flags: Sequence[FlagOverride]
    now: float
    behind_s: float = 0.0

    @property
    def members(self) -> tuple[BranchState, ...]:
        return members_of(self.policy, self.states, self.unit)


def judge(case: Case, gates: GateStates) -> Verdict:
    """The verdict of now. A gate without a state has seen nothing."""
    return decide(context_of(case), findings_of(case, gates))


def fold(policy: Policy, gates: GateStates, blocks: Sequence[UnitBlock]) -> dict[str, GateState]:
    """The gates' states after closed blocks, in the order of time."""
    found = {}
    for spec in policy.gates:
        gate = gate_for(spec)
        state = gates.get(spec.name) or gate.start()
        for block in blocks:
            state = gate.fold(state, block)
        found[spec.name] = state
    return found


def findings_of(case: Case, gates: GateStates) -> tuple[Finding, ...]:
    """One finding of each gate, in the order declared."""
    share = share_of(case.members)
    moment = Moment(unit=case.unit, share=share, live=share > 0, now=case.now)
    found = []
    for spec in case.policy.gates:
        gate = gate_for(spec)
        found.append(gate.judge(gates.get(spec.name) or gate.start(), moment))
    return tuple(found)


def context_of(case: Case) -> Context:
    """Where the unit stands, apart from its gates."""
    members, ramp = case.members, case.policy.ramp
    share = share_of(members)
    target = next((one for one in ramp.stages if one > share), None)
    frozen_until = ramp.frozen_until(case.now)
    return Context(
        mode=mode_of(members),
        share=share,
        target=target,
        shadow=any(state.shadow for state in members),
        soak_left_s=soak_left(ramp, members, case.now),
        frozen_s=max(0.0, frozen_until - case.now) if frozen_until is not None else 0.0,
        approval=target is not None and needs_approval(ramp, members, target),
        closed_by=closed_by(case.policy, case.unit, case.flags),
        waits_for=waits_for(case.policy, case.states, case.unit, target) if target is not None else "",
        auto=ramp.auto,
        behind_s=case.behind_s,
        cause=members[0].cause,
    )


def soak_left(ramp: Ramp, members: Sequence[BranchState], now: float) -> float:
    """Seconds of soaking (or baking) that are left, by the database's clock; 0 when over, and where nothing moves."""
    if mode_of(members) is not Mode.active:
        return 0.0
    entered = max(state.entered_at for state in members)
    return max(0.0, entered + ramp.soak_at(stage_at(ramp, share_of(members))) - now)


def needs_approval(ramp: Ramp, members: Sequence[BranchState], target: float) -> bool:
    """Whether a stage on the way to ``target`` needs a person's approval that the unit does not have."""
    share = share_of(members)
    wanted = [one for one in ramp.approve if share < one <= target]
    return bool(wanted) and any(state.approved is None or state.approved < max(wanted) for state in members)


def closed_by(policy: Policy, unit: str, flags: Sequence[FlagOverride]) -> str:
    """The flag that keeps everybody from the unit, as a sentence; ``""`` if none does. Only stored values for
    everybody are known here: what another provider answers per call shows in the arms, which then stay empty."""
    names = {policy.flag or policy.rollout, *(branch.flag for branch in policy.units()[unit] if branch.flag)}
    for override in flags:
        if override.key is None and override.flag in names and override.value in ("off", "shadow"):
            return f'the flag "{override.flag}" is {override.value} for everybody'
    return ""
