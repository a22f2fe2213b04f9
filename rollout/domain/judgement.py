"""One judgement of one unit: its gates' states and everything decided, to a verdict. The controller acts on it,
``check`` shows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from rollout.domain.evidence import UnitBlock
from rollout.domain.gates import Finding, GateSpec, GateState, Moment, Stage
from rollout.domain.lifecycle import States, members_of, mode_of, share_of, stage_at, waits_for
from rollout.domain.ramp import Ramp
from rollout.domain.sequential.account import Account
from rollout.domain.state import BranchState, FlagOverride, Mode, Policy
from rollout.domain.threshold import gate_for
from rollout.domain.verdict import Context, Verdict, decide

GateStates = Mapping[str, GateState]  # by the gate's name; ``ACCOUNT``: of all sequential gates together
ACCOUNT: Final = "account"


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
    members: tuple[BranchState, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "members", members_of(self.policy, self.states, self.unit))

    @property
    def stage(self) -> Stage:
        """Where the unit stands for its gates."""
        members, ramp = self.members, self.policy.ramp
        share = share_of(members)
        return Stage(
            unit=self.unit,
            share=share,
            target=next((one for one in ramp.stages if one > share), None),
            earlier=max(state.earlier for state in members) if self.policy.scores_keys else 0.0,
            harm=ramp.harm,
            steps=len(ramp.stages) - 1,
            units=len(self.policy.units()),
            keyed=self.policy.scores_keys,
        )


class Bench:
    """The gates of a unit at work: what they know, kept between ticks; ``to_states`` of it is what is stored."""

    def __init__(self, specs: Sequence[GateSpec], states: GateStates | None = None) -> None:
        """``states``: what was stored of the same gates; None: nothing is known yet."""
        self._specs = specs
        self._thresholds = {spec.name: gate_for(spec) for spec in specs if not spec.sequential}
        self._states = {name: (states or {}).get(name) or gate.start() for name, gate in self._thresholds.items()}
        sequential = [spec for spec in specs if spec.sequential]
        stored = (states or {}).get(ACCOUNT)
        self._account: Account | None = None
        if sequential:
            self._account = Account(sequential) if stored is None else Account.load(sequential, stored)

    def enter(self, stage: Stage) -> None:
        """A stage is entered: threshold gates begin anew, the account goes on."""
        self._states = {name: gate.start() for name, gate in self._thresholds.items()}
        if self._account is not None:
            self._account.enter(stage)

    def fold(self, block: UnitBlock, stage: Stage) -> None:
        """One more closed block, in the order of time."""
        for name, gate in self._thresholds.items():
            self._states[name] = gate.fold(self._states[name], block)
        if self._account is not None:
            self._account.fold(block, stage)

    def findings(self, stage: Stage, now: float) -> tuple[Finding, ...]:
        """One finding of each gate, in the order declared, and of what is at fault besides. ``now``: epoch seconds."""
        moment = Moment(unit=stage.unit, share=stage.share, live=stage.live, now=now)
        found = {name: gate.judge(self._states[name], moment) for name, gate in self._thresholds.items()}
        if self._account is not None:
            found |= {finding.gate: finding for finding in self._account.findings(stage, now)}
        declared = [found.pop(spec.name) for spec in self._specs]
        return (*declared, *found.values())

    def to_states(self) -> GateStates:
        """What is to be stored, JSON-ready."""
        account = {} if self._account is None else {ACCOUNT: self._account.to_state()}
        return {**self._states, **account}


def judge(case: Case, findings: Sequence[Finding]) -> Verdict:
    """The verdict of now."""
    return decide(context_of(case), findings)


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
        late_s=_late(ramp, members, case.now) if target is not None else 0.0,
    )


def soak_left(ramp: Ramp, members: Sequence[BranchState], now: float) -> float:
    """Seconds of soaking (or baking) that are left, by the database's clock; 0 when over, and where nothing moves."""
    if mode_of(members) is not Mode.active:
        return 0.0
    entered = max(state.entered_at for state in members)
    return max(0.0, entered + ramp.soak_at(stage_at(ramp, share_of(members))) - now)


def _late(ramp: Ramp, members: Sequence[BranchState], now: float) -> float:
    """Seconds since the deadline of the stage passed, by the database's clock; 0 before it, or if there is none."""
    if ramp.deadline_s is None:
        return 0.0
    return max(0.0, now - max(state.entered_at for state in members) - ramp.deadline_s)


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
