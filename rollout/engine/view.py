"""What the request path works from: one immutable view of everything decided for one rollout, replaced whole when it
changes.

The view also keeps what it worked out for each key, because a caller is treated alike until something is decided:
one look-up in a dict then stands for the flag, the buckets and the routing of a call. A new view forgets all of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from rollout.domain.bucketing import BUCKETS, bucket
from rollout.domain.flags import Ceiling, ceiling
from rollout.domain.redaction import Redactor
from rollout.domain.routing import Assignment, UnitPlan, assign, plan_units, scored_alone
from rollout.domain.state import BranchState, Policy
from rollout.engine.counting import SeenKeys, Tally
from rollout.engine.second import Second
from rollout.ports import FlagAnswer

MAX_KEYS: Final = 50_000


class View:
    """See the module. ``active``: whether any branch may run at all; the request path looks at nothing else when it
    may not. ``stale``: whether this process runs other code than what the policy was made of.
    """

    def __init__(
        self, policy: Policy, states: Mapping[str, BranchState], tally: Tally, declared: Policy | None = None
    ) -> None:
        """``declared``: what the code of this process declares. During a deployment the policy is that of the newest
        code, and older processes go on beside it: they run the branches that they have, and what they count is kept
        (as of version 0) but is no evidence, as it tells nothing of the newest code.
        """
        self.policy = policy
        self.states = states
        self.stale = declared is not None and not _same_code(policy, declared)
        self.version = 0 if self.stale else policy.version
        self.plans: tuple[UnitPlan, ...] = plan_units(policy, states)
        if declared is not None and self.stale:
            known = {branch.name for branch in declared.branches}
            self.plans = tuple(plan if known.issuperset(plan.branches) else _absent(plan) for plan in self.plans)
        self.active = any(plan.limit or plan.shadow or _has_testers(plan, states) for plan in self.plans)
        #: Calls that could not be routed.
        self.nobody = Assignment(("",) * len(self.plans), (), ())
        self.flag = policy.flag
        self.sample = policy.sample
        self.noise = policy.noise
        self.reverse = policy.reverse
        self.after: Mapping[str, Sequence[str]] = {branch.name: branch.after for branch in policy.branches}
        self.unit_of: Mapping[str, int] = {name: at for at, plan in enumerate(self.plans) for name in plan.branches}
        self.flags: tuple[str | None, ...] = tuple(_flag_of(policy, plan) for plan in self.plans)
        #: Whether evidence counts each key once, and not every call.
        self.scores_keys = policy.scores_keys and not self.stale
        #: The units, by index, of which the first call of a key is scored.
        self.scored = tuple(at for at, plan in enumerate(self.plans) if self.scores_keys and plan.stage_live)
        #: How many times what control took a candidate may take, by the name of the count of those that took longer.
        self.tolerances = _tolerances(policy)
        self.by_key: dict[str, Assignment] = {}
        self.hashes: dict[str, str] = {}  # of keys, as they are stored
        self.seen: set[str] = set()  # keys whose first call is known to be scored, as far as it can be
        self.paired: set[str] = set()  # keys whose first pair of every unit is known
        self.first_calls: Sequence[SeenKeys] = ()  # by unit, like the next: set once, when this is made the view
        self.first_pairs: Sequence[SeenKeys] = ()
        self._alike: dict[tuple[tuple[Ceiling, ...], tuple[bool, ...], tuple[int, ...]], Assignment] = {}
        self._tally = tally
        self.open = Second(policy.rollout, -1, self.plans, self.version)
        self.open.seal()  # the first call opens another

    def second(self, number: int) -> Second:
        """The open second of that number (epoch seconds)."""
        self.open = self._tally.second(number, self.plans, self.version, self.tolerances)
        return self.open

    def assignment(self, ceilings: Sequence[Ceiling], buckets: Sequence[int], *, keyed: bool = True) -> Assignment:
        """How a caller with these ceilings and buckets (one each by unit) is treated. Equal answers are one object.
        ``keyed``: whether the caller has a key.
        """
        single = self.scores_keys and not keyed
        drawn = tuple(number < plan.limit for number, plan in zip(buckets, self.plans, strict=True))
        alike = (tuple(ceilings), drawn, scored_alone(self.plans, ceilings, buckets) if single else ())
        found = self._alike.get(alike)
        if found is None:
            if len(self._alike) >= MAX_KEYS:  # of many units, that each draw their own
                self._alike.clear()
            found = self._alike[alike] = assign(self.plans, self.after, ceilings, buckets, single=single)
        return found

    def ceilings(self, answer: FlagAnswer, own: Mapping[str, FlagAnswer]) -> tuple[Ceiling, ...]:
        """The ceiling by unit, of the rollout's answer and the answers of the branches' own flags."""
        return tuple(ceiling(answer, own.get(flag) if flag else None) for flag in self.flags)

    def buckets(self, key: str | None, dice: Callable[[], float]) -> list[int]:
        """The buckets by unit: of the key, or drawn anew where there is none (or it is not sticky)."""
        if key is None or not self.policy.sticky:
            return [int(dice() * BUCKETS) for _ in self.plans]
        return [bucket(plan.salt, key) if 0 < plan.limit < BUCKETS else 0 for plan in self.plans]

    def scores(self, unit: int, key: str) -> bool:
        """Whether a key is scored in its arm of a unit, by its index."""
        plan = self.plans[unit]
        return plan.earlier == 0 or plan.scores(bucket(plan.salt, key))

    def remember(self, key: str, assignment: Assignment) -> None:
        """Keep what was worked out for a key; when too many are kept, all are forgotten."""
        if len(self.by_key) >= MAX_KEYS:
            self.by_key.clear()
        self.by_key[key] = assignment

    @staticmethod
    def remember_in(keys: set[str], key: str) -> None:
        """Keep a key in ``seen`` or ``paired``, bounded likewise: one that was forgotten is looked at again."""
        if len(keys) >= MAX_KEYS:
            keys.clear()
        keys.add(key)

    def hash_of(self, key: str, redactor: Redactor) -> str:
        """The hash of a key, kept in ``hashes`` for its next call."""
        found = self.hashes.get(key)
        if found is None:
            if len(self.hashes) >= MAX_KEYS:
                self.hashes.clear()
            found = self.hashes[key] = redactor.key(key)
        return found


def _tolerances(policy: Policy) -> Mapping[str, float]:
    """Of the sequential latency gates, each tolerance once."""
    return {
        f"slower:{gate.worse_by:g}": 1.0 + gate.worse_by
        for gate in policy.gates
        if gate.kind == "latency" and gate.mode == "sequential" and gate.worse_by is not None
    }


def _same_code(policy: Policy, declared: Policy) -> bool:
    """Whether two policies are of the same code, whatever a spec file has set on top."""
    fields = ("join", "revision", "sticky", "keyed", "flag")
    alike = all(getattr(policy, name) == getattr(declared, name) for name in fields)
    return alike and tuple(policy.branches) == tuple(declared.branches)


def _absent(plan: UnitPlan) -> UnitPlan:
    """A unit with a branch that this process does not have: it does not run here, and nobody is in its arms."""
    return replace(plan, limit=0, earlier=0, shadow=False, testers=False)


def _has_testers(plan: UnitPlan, states: Mapping[str, BranchState]) -> bool:
    """Whether a unit that may not run in shadow, because it writes, waits there for named testers."""
    return plan.testers and any(states[name].shadow for name in plan.branches if name in states)


def _flag_of(policy: Policy, plan: UnitPlan) -> str | None:
    """The flag that a unit's branches declare, if one does."""
    return next((flag for name in plan.branches if (branch := policy.branch(name)) and (flag := branch.flag)), None)
