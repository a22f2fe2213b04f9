"""Which arm a key is in, decided as the middleware decides it: the same routing, buckets and ceilings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rollout.domain.bucketing import BUCKETS, bucket
from rollout.domain.flags import CEILINGS, Ceiling, ceiling
from rollout.domain.routing import UnitPlan, assign, plan_units
from rollout.domain.state import BranchPolicy, Policy, Snapshot
from rollout.ports import FlagAnswer

Arm = Literal["live", "shadow", "control"]
Ask = Callable[[str, "str | None", Mapping[str, Any]], FlagAnswer]


@dataclass(frozen=True, slots=True)
class _Rollout:
    policy: Policy
    plans: tuple[UnitPlan, ...]

    @property
    def flag(self) -> str:
        return self.policy.flag or self.policy.rollout

    @property
    def drawn_alone(self) -> bool:
        """Whether each call is drawn for itself, so that a key tells nothing."""
        return not (self.policy.sticky and self.policy.keyed)


class Arms:
    """Flag → rollout, or one of its branches → arm. ``ask`` gives the ceilings; it may block."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._targets: dict[str, tuple[_Rollout, frozenset[str]]] = {}

    def knows(self, flag: str) -> bool:
        return flag in self._targets

    def arm(self, flag: str, key: str | None, context: Mapping[str, Any]) -> Arm | None:
        """The arm of a key; None where it takes a key to tell, and there is none or it does not count."""
        rollout, branches = self._targets[flag]
        ceilings = self._ceilings(rollout, key, context)
        if key is not None and not rollout.drawn_alone:
            return _arm(rollout, branches, ceilings, [bucket(plan.salt, key) for plan in rollout.plans])
        first, last = (_arm(rollout, branches, ceilings, [edge] * len(rollout.plans)) for edge in (0, BUCKETS - 1))
        return first if first == last else None

    def update(self, snapshot: Snapshot) -> list[str]:
        """Decide from this snapshot from now on. Returns the flags whose rollout changed."""
        before, self._targets = self._targets, _targets(snapshot)
        names = before.keys() | self._targets.keys()
        return sorted(name for name in names if before.get(name) != self._targets.get(name))

    def _ceilings(self, rollout: _Rollout, key: str | None, context: Mapping[str, Any]) -> list[Ceiling]:
        """The ceiling of each unit: of a group, its most careful member's."""
        of_rollout = self._ask(rollout.flag, key, context)

        def of_branch(branch: BranchPolicy | None) -> Ceiling:
            asked = self._ask(branch.flag, key, context) if branch and branch.flag else None
            return ceiling(of_rollout, asked)

        return [
            min((of_branch(rollout.policy.branch(name)) for name in plan.branches), key=CEILINGS.index)
            for plan in rollout.plans
        ]


def _arm(rollout: _Rollout, branches: frozenset[str], ceilings: Sequence[Ceiling], buckets: Sequence[int]) -> Arm:
    after = {branch.name: branch.after for branch in rollout.policy.branches}
    found = assign(rollout.plans, after, ceilings, buckets)
    if branches.intersection(found.live):
        return "live"
    return "shadow" if branches.intersection(found.shadow) else "control"


def _targets(snapshot: Snapshot) -> dict[str, tuple[_Rollout, frozenset[str]]]:
    targets: dict[str, tuple[_Rollout, frozenset[str]]] = {}
    for name, policy in snapshot.policies.items():
        rollout = _Rollout(policy, plan_units(policy, snapshot.states.get(name, {})))
        for branch in policy.branches:
            only = frozenset([branch.name])
            targets[f"{name}/{branch.name}"] = (rollout, only)
            if branch.flag:
                targets.setdefault(branch.flag, (rollout, only))
        every = frozenset(branch.name for branch in policy.branches)
        targets[name] = targets[rollout.flag] = (rollout, every)
    return targets
