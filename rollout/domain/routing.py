"""Which branches run for a call, and how: decided from the state, the flag's ceilings and the buckets alone.

``assign`` is the decision. It is taken once per key while nothing changes, so its result is shared by many calls.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rollout.domain.bucketing import BUCKETS
from rollout.domain.flags import Ceiling
from rollout.domain.state import BranchPolicy, BranchState, Mode, Policy


@dataclass(frozen=True, slots=True)
class UnitPlan:
    """What routing needs of a unit. ``limit``: buckets below it are live; ``earlier``: those below it were live before
    this stage already, where callers keep their bucket. ``testers``: whether an ``on`` flag makes a caller live."""

    name: str
    branches: tuple[str, ...]
    salt: str
    limit: int
    earlier: int
    entry: int
    shadow: bool
    testers: bool

    @property
    def stage_live(self) -> bool:
        """Whether the stage has two arms."""
        return self.limit > 0

    def scores(self, bucket: int) -> bool:
        """Whether a caller of this bucket is scored in its arm. One that was live in an earlier stage is not: it is
        known already, and watched by pairs.
        """
        return bucket >= self.limit or bucket >= self.earlier


@dataclass(frozen=True, slots=True, eq=False)
class Assignment:
    """How one caller is treated: the arm by unit (``"A"``, ``"B"``, or ``""``: counted in neither), the branches
    that are live and those that run in shadow. Equal decisions of one view are one object, so identity is equality.

    ``apart``: the branches whose flag does not say ``auto``; whatever they do for this caller is no evidence.
    ``single``: the units, by index, that score this call by itself, as it has no key.
    """

    arms: tuple[str, ...]
    live: tuple[str, ...]
    shadow: tuple[str, ...]
    apart: frozenset[str] = frozenset()
    single: tuple[int, ...] = ()
    runs: bool = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "runs", bool(self.live or self.shadow))


def plan_units(policy: Policy, states: Mapping[str, BranchState]) -> tuple[UnitPlan, ...]:
    """The plans of a policy's units from where their branches stand. A branch without a state does not run."""
    plans = []
    for name, members in policy.units().items():
        state = states.get(members[0].name)
        if state is None:
            continue
        plans.append(
            UnitPlan(
                name=name,
                branches=tuple(member.name for member in members),
                salt=members[0].salt,
                limit=round(state.share * BUCKETS),
                earlier=_earlier(members, states) if policy.scores_keys else 0,
                entry=state.entry,
                shadow=state.shadow and all(member.effects != "write" for member in members),
                testers=state.mode is not Mode.rolled_back,
            )
        )
    return tuple(plans)


def _earlier(members: Sequence[BranchPolicy], states: Mapping[str, BranchState]) -> int:
    """The buckets below which a caller was live with one of these branches before."""
    return round(max(states[one.name].earlier for one in members if one.name in states) * BUCKETS)


def assign(
    plans: Sequence[UnitPlan],
    after: Mapping[str, Sequence[str]],
    ceilings: Sequence[Ceiling],
    buckets: Sequence[int],
    *,
    single: bool = False,
) -> Assignment:
    """The decision for one caller. ``ceilings`` and ``buckets`` go with ``plans``, one each. ``single``: a caller
    without a key, where others have one.

    A bucket below the unit's limit is live, if the flag says ``auto``; ``on`` is live whatever the bucket;
    ``shadow`` and ``off`` never are, and only ``auto`` is counted in an arm. A branch is live only where all that it
    comes after are.
    """
    arms: list[str] = []
    live: set[str] = set()
    shadow: list[str] = []
    for plan, ceiling, bucket in zip(plans, ceilings, buckets, strict=True):
        drawn = bucket < plan.limit
        arms.append(("B" if drawn else "A") if ceiling == "auto" and plan.stage_live else "")
        if (ceiling == "auto" and drawn) or (ceiling == "on" and plan.testers):
            live.update(plan.branches)
        elif ceiling != "off" and plan.shadow:
            shadow.extend(plan.branches)
    while stranded := {name for name in live if not live.issuperset(after.get(name, ()))}:
        live -= stranded
        shadow.extend(name for plan in plans if plan.shadow for name in plan.branches if name in stranded)
    running = live.union(shadow)
    while orphans := {name for name in shadow if not running.issuperset(after.get(name, ()))}:
        shadow = [name for name in shadow if name not in orphans]
        running -= orphans
    order = [name for plan in plans for name in plan.branches]
    return Assignment(
        arms=tuple(arms),
        live=tuple(name for name in order if name in live),
        shadow=tuple(name for name in order if name in set(shadow)),
        apart=frozenset(
            name for plan, ceiling in zip(plans, ceilings, strict=True) if ceiling != "auto" for name in plan.branches
        ),
        single=scored_alone(plans, ceilings, buckets) if single else (),
    )


def scored_alone(plans: Sequence[UnitPlan], ceilings: Sequence[Ceiling], buckets: Sequence[int]) -> tuple[int, ...]:
    """The units, by index, in whose arms a call without a key is scored: as often as one with a key would be."""
    each = enumerate(zip(plans, ceilings, buckets, strict=True))
    return tuple(
        index
        for index, (plan, ceiling, bucket) in each
        if ceiling == "auto" and plan.stage_live and plan.scores(bucket)
    )
