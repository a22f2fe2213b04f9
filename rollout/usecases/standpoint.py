"""What a verb works from: one rollout as it stands, read once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from rollout.domain.judgement import Case
from rollout.domain.lifecycle import members_of
from rollout.domain.state import BranchState, FlagOverride, Policy
from rollout.errors import UnknownName
from rollout.ports import Backend


@dataclass(frozen=True, slots=True, kw_only=True)
class Standpoint:
    """The policy in force, the states by branch, the stored flags. ``now``: epoch seconds, database's clock."""

    policy: Policy
    states: Mapping[str, BranchState]
    flags: Sequence[FlagOverride]
    now: float

    @classmethod
    async def of(cls, backend: Backend, rollout: str) -> Standpoint:
        """Read it. ``UnknownName`` if no such rollout is registered."""
        snapshot = await backend.state.load()
        policy = snapshot.policies.get(rollout)
        if policy is None:
            raise UnknownName("rollout", rollout, sorted(snapshot.policies))
        states = snapshot.states.get(rollout, {})
        return cls(policy=policy, states=states, flags=snapshot.flags, now=snapshot.now)

    def units(self, branch: str | None) -> list[str]:
        """The unit of a branch, or all of them. ``branch`` may name a group too. ``UnknownName`` otherwise."""
        units = self.policy.units()
        if branch is None:
            return [unit for unit in units if self.members(unit)]
        found = self.policy.branch(branch)
        unit = found.unit if found else branch
        if unit not in units or not self.members(unit):
            raise UnknownName("branch", branch, [one.name for one in self.policy.branches])
        return [unit]

    def members(self, unit: str) -> tuple[BranchState, ...]:
        return members_of(self.policy, self.states, unit)

    def own(self, unit: str) -> dict[str, BranchState]:
        """The states of a unit, by branch."""
        return {state.branch: state for state in self.members(unit)}

    def spread(self, by_unit: Mapping[str, float]) -> dict[str, float]:
        """What is said of units, said of each of their branches."""
        return {state.branch: value for unit, value in by_unit.items() for state in self.members(unit)}

    def case(self, unit: str) -> Case:
        return Case(policy=self.policy, unit=unit, states=self.states, flags=self.flags, now=self.now)

    def with_states(self, states: Mapping[str, BranchState]) -> Standpoint:
        """The same with other states of some branches."""
        return replace(self, states={**self.states, **states})
