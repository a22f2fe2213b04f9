"""What is asked: other timeouts, fewer branches, another threshold of a second opinion; and the rules that a replay
follows under it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from math import inf

from rollout.domain.durations import duration_text
from rollout.domain.state import BranchPolicy, Policy
from rollout.domain.whatif.recorded import LATE_S, Past, quantile
from rollout.errors import Refused, UnknownName


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What is to be different, by branch; what is not named stays as it is in force.

    ``soft_s``, ``hard_s``: timeouts in seconds, above 0. ``dropped``: branches to go without; what comes after them
    goes too. ``confidence``: a second opinion is asked for below it, in [0, 1]. ``live``: as users would have it once
    every branch is live, where in an overlay a part counts that comes while control still runs; else, the default, as
    a shadow is measured.
    """

    soft_s: Mapping[str, float] = field(default_factory=dict)
    hard_s: Mapping[str, float] = field(default_factory=dict)
    dropped: frozenset[str] = frozenset()
    confidence: Mapping[str, float] = field(default_factory=dict)
    live: bool = False

    @property
    def changes(self) -> bool:
        """Whether anything is different."""
        return bool(self.soft_s or self.hard_s or self.dropped or self.confidence)

    @property
    def named(self) -> frozenset[str]:
        """The branches of which something is asked other than to go."""
        return frozenset((*self.soft_s, *self.hard_s, *self.confidence))

    def check(self, policy: Policy) -> None:
        """Raises ``UnknownName`` for a branch that is not there, ``Refused`` with everything that cannot be."""
        known = [branch.name for branch in policy.branches]
        for name in sorted(self.named | self.dropped):
            if name not in known:
                raise UnknownName("branch", name, known)
        if problems := list(self._problems(policy)):
            raise Refused(f"That cannot be: {'; '.join(problems)}.")

    def gone(self, policy: Policy) -> frozenset[str]:
        """What is dropped, with everything that comes after it."""
        return self.dropped | policy.dependants(set(self.dropped))

    def _problems(self, policy: Policy) -> Iterator[str]:
        gone = self.gone(policy)
        if gone.issuperset(branch.name for branch in policy.branches):
            yield "no branch would be left; drop fewer"
        for name in sorted(gone & self.named):
            yield f"{name} is dropped and set at once; do one of them"
        for branch in policy.branches:
            yield from self._problems_of(branch, policy)

    def _problems_of(self, branch: BranchPolicy, policy: Policy) -> Iterator[str]:
        name = branch.name
        soft_s, hard_s = self.soft_s.get(name), self.hard_s.get(name)
        limit_s = min(branch.hard_timeout_s, policy.latency_s) if hard_s is None else hard_s
        for kind, value in (("soft", soft_s), ("hard", hard_s)):
            if value is not None and not (0 < value < inf):
                yield f"the {kind} timeout of {name} is {value:g} s; it must be above 0 and finite"
        if hard_s is not None and hard_s > policy.latency_s:
            most = duration_text(policy.latency_s)
            yield f"the hard timeout of {name} is above the budget of the call, {most}; ask for less"
        if soft_s is not None and branch.required:
            yield (
                f"{name} is required: no call goes on without it, so it has no soft timeout; give it a hard one, "
                f"--hard-timeout {name}={soft_s:g}s"
            )
        elif soft_s is not None and soft_s > limit_s:
            yield f"the soft timeout of {name} is above its hard one, {duration_text(limit_s)}; ask for less"
        sure = self.confidence.get(name)
        if sure is not None and not 0 <= sure <= 1:
            yield f"the confidence of {name} is {sure:g}; it lies in 0 to 1"
        if sure is not None and not branch.after:
            yield f"{name} comes after nothing, so it is no second opinion{_second_after(branch, policy)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One branch under a setting.

    ``soft_s``: infinite where the candidate is never made without it. ``grace_s``: how much longer than its hard
    timeout a run may have lasted; none under one that was not in force. ``below``: the confidence below which it is
    asked; None: as recorded. ``unheard``: whether nobody wrote down how sure those are that it comes after.
    ``most_tokens``, ``most_nano``: the most that a run of it can have used; infinite where none returned a part.
    """

    name: str
    after: tuple[str, ...]
    required: bool
    soft_s: float
    hard_s: float
    grace_s: float
    below: float | None
    unheard: bool
    most_tokens: float
    most_nano: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What a replay follows. ``order``: the branches, each behind those that it comes after. ``places``: where parts
    live, of all branches, also of those that are gone. ``fallback_s``: when control starts at the latest where the
    branches stand in for it. ``reserves_less``: whether fewer runs than were recorded take of the budgets.
    """

    order: tuple[Rule, ...]
    deadline_s: float
    replaces: bool
    live: bool
    soft: bool
    fallback_s: float
    reserves_less: bool
    places: Mapping[str, str | None] = field(default_factory=dict)


def rules_of(policy: Policy, setting: Setting, past: Past) -> Rules:
    """The rules of a setting that was checked. What it does not name is as the policy and the past have it."""
    gone = setting.gone(policy)
    order = tuple(_rule(branch, setting, past, gone) for branch in _in_order(policy) if branch.name not in gone)
    return Rules(
        order=order,
        deadline_s=policy.latency_s,
        replaces=policy.join == "replace",
        live=setting.live,
        soft=any(rule.soft_s < inf for rule in order),
        fallback_s=_fallback_s(policy, past),
        reserves_less=bool(setting.dropped or setting.confidence),
        places={branch.name: branch.part for branch in policy.branches},
    )


def _rule(branch: BranchPolicy, setting: Setting, past: Past, gone: frozenset[str]) -> Rule:
    name = branch.name
    tells = name in past.most_tokens
    is_unheard = past.tells.isdisjoint(branch.after)
    return Rule(
        name=name,
        after=tuple(other for other in branch.after if other not in gone),
        required=branch.required,
        soft_s=inf if branch.required else setting.soft_s.get(name, branch.soft_timeout_s or inf),
        hard_s=setting.hard_s.get(name, branch.hard_timeout_s),
        grace_s=0.0 if name in setting.hard_s else LATE_S,
        below=setting.confidence.get(name, None if is_unheard else branch.escalate_below),
        unheard=is_unheard,
        most_tokens=past.most_tokens[name] if tells else inf,
        most_nano=past.most_nano[name] if tells else inf,
    )


def _fallback_s(policy: Policy, past: Past) -> float:
    """As the engine has it: the deadline less control's own p95, unless control is slower than the deadline."""
    slow_s = quantile(past.control_s, 0.95) if past.control_s else 0.0
    return policy.latency_s - slow_s if slow_s < policy.latency_s else policy.latency_s


def _in_order(policy: Policy) -> list[BranchPolicy]:
    """Each behind those that it comes after."""
    graph = TopologicalSorter({branch.name: branch.after for branch in policy.branches})
    return [branch for name in graph.static_order() if (branch := policy.branch(name)) is not None]


def _second_after(branch: BranchPolicy, policy: Policy) -> str:
    seconds = [other.name for other in policy.branches if branch.name in other.after]
    return f"; name the one that comes after it: {', '.join(seconds)}" if seconds else ""
