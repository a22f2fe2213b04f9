"""What a process counts of its calls, as blocks and subjects: few calls a second, each drawn and decided one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from random import Random
from typing import Final

from rollout.domain.bucketing import BUCKETS, bucket
from rollout.domain.evidence import Arm, Block, BlockKey, Figures, Subject, marks_of
from rollout.domain.flags import Ceiling
from rollout.domain.routing import Assignment, assign, plan_units
from rollout.domain.state import BranchState, Policy
from rollout.ports import Clock

CONTROL_BAD: Final = 0.02
_KEYS: Final = 1_500
_BAD, _RAN, _FELL_BACK = marks_of("bad"), marks_of("ran"), marks_of("fallbacks")
_COMPARED, _WOULD_FALL_BACK = marks_of("compared"), marks_of("would_fall_back")
_LATENCY: Final = 700  # the bucket of every call's latency: these histories are not about it

#: How a call went: its assignment, whether control failed, and whether each unit's candidate did.
Outcome = tuple[Assignment, bool, tuple[bool, ...]]


class Standing:
    """What one process works from: the plans of a snapshot, and how callers are treated under them. ``version``: of
    the policy, 0 where this process runs other code than it was made of.
    """

    def __init__(
        self, policy: Policy, states: Mapping[str, BranchState], ceilings: Sequence[Ceiling], version: int
    ) -> None:
        self.policy = policy
        self.version = version
        self.plans = plan_units(policy, states)
        self.salts = [plan.salt for plan in self.plans]
        self.keyed = policy.scores_keys
        self._after = {branch.name: branch.after for branch in policy.branches}
        self._ceilings = ceilings
        self._limits = [plan.limit for plan in self.plans]
        self._alike: dict[tuple[bool, ...], Assignment] = {}

    def assignment(self, buckets: Sequence[int]) -> Assignment:
        drawn = tuple([number < limit for number, limit in zip(buckets, self._limits, strict=True)])
        found = self._alike.get(drawn)
        if found is None:
            found = self._alike[drawn] = assign(self.plans, self._after, self._ceilings, buckets)
        return found

    def key(self, index: int, arm: Arm, second: int, process: str) -> BlockKey:
        """Of a block of a unit, by its index."""
        plan, rollout = self.plans[index], self.policy.rollout
        return BlockKey(rollout, plan.name, arm, self.version, plan.entry, second, process=process)


class Second:
    """What was counted of the calls that began in one second, under one standing."""

    def __init__(self) -> None:
        self.outcomes: dict[Outcome, int] = {}
        self.subjects: list[Subject] = []


class Counting:
    """The seconds that are open. ``offset``: what is to be added to this process's clock for the database's time."""

    def __init__(self, process: str, clock: Clock, dice: Random) -> None:
        self.offset = 0.0
        self._process = process
        self._clock = clock
        self._dice = dice
        self._open: dict[tuple[int, Standing], Second] = {}
        self._seen: set[tuple[str, int, int, str, bool]] = set()  # unit, version, entry, key, whether of a pair

    def calls(self, count: int, standing: Standing, bad: Sequence[float]) -> None:
        """So many calls start now. ``bad``: by unit, the share of calls in which its candidate fails."""
        now = self._clock.monotonic() + self.offset
        second = self._open.setdefault((int(now), standing), Second())
        random, outcomes = self._dice.random, second.outcomes
        for _ in range(count):
            if standing.keyed:
                key = f"user-{int(random() * _KEYS)}"
                buckets = [_bucket(salt, key) for salt in standing.salts]
            else:
                buckets = [int(random() * BUCKETS) for _ in bad]
            outcome = standing.assignment(buckets), random() < CONTROL_BAD, tuple([random() < share for share in bad])
            outcomes[outcome] = outcomes.get(outcome, 0) + 1
            if standing.keyed:
                self._score(second, standing, key, buckets, outcome, now)

    def _score(
        self, second: Second, standing: Standing, key: str, buckets: Sequence[int], outcome: Outcome, now: float
    ) -> None:
        """A key's first call of a stage, and its first pair, as far as this process knows."""
        assignment, control_bad, candidates_bad = outcome
        ran = {*assignment.live, *assignment.shadow}
        for index, (plan, arm) in enumerate(zip(standing.plans, assignment.arms, strict=True)):
            bad = candidates_bad[index]
            if arm == "A" and self._first(standing, index, key):
                second.subjects.append(self._subject(standing, index, "A", key, now, _BAD if control_bad else 0))
            elif arm == "B" and plan.scores(buckets[index]) and self._first(standing, index, key):
                marks = _RAN | (_BAD | _FELL_BACK if bad else 0)
                second.subjects.append(self._subject(standing, index, "B", key, now, marks))
            if ran.issuperset(plan.branches) and self._first(standing, index, key, pair=True):
                marks = _RAN | (_WOULD_FALL_BACK if bad else 0 if control_bad else _COMPARED)
                second.subjects.append(self._subject(standing, index, "P", key, now, marks))

    def _first(self, standing: Standing, index: int, key: str, pair: bool = False) -> bool:
        plan = standing.plans[index]
        stage = (plan.name, standing.version, plan.entry, key, pair)
        if stage in self._seen:
            return False
        self._seen.add(stage)
        return True

    def _subject(self, standing: Standing, index: int, arm: Arm, key: str, now: float, marks: int) -> Subject:
        plan = standing.plans[index]
        return Subject(
            rollout=standing.policy.rollout,
            unit=plan.name,
            version=standing.version,
            entry=plan.entry,
            key_hash=_hash(key),
            arm=arm,
            started_at=now,
            marks=marks,
            latency=-1 if marks & _BAD or arm == "P" else _LATENCY,
        )

    def seal(self, everything: bool = False) -> tuple[list[Block], list[Subject]]:
        """The blocks and subjects of the seconds whose settle time is over."""
        now = self._clock.monotonic() + self.offset
        blocks: list[Block] = []
        subjects: list[Subject] = []
        for (number, standing), second in list(self._open.items()):
            if everything or now >= number + 1 + standing.policy.settle_s:
                del self._open[number, standing]
                subjects += second.subjects
                blocks += [
                    Block(standing.key(index, arm, number, self._process), figures)
                    for (index, arm), figures in _figures(standing, second.outcomes).items()
                ]
        return blocks, subjects


@cache
def _bucket(salt: str, key: str) -> int:
    return bucket(salt, key)


@cache
def _hash(key: str) -> str:
    return f"{_bucket('hash', key):04x}{int(key.removeprefix('user-')):012x}"


def _figures(standing: Standing, outcomes: Mapping[Outcome, int]) -> dict[tuple[int, Arm], Figures]:
    """By unit (its index) and arm."""
    found: dict[tuple[int, Arm], Figures] = {}

    def add(index: int, arm: Arm, count: int, names: Sequence[str]) -> None:
        figures = found.get((index, arm))
        if figures is None:
            found[index, arm] = Figures(dict.fromkeys(names, count))
        else:
            for name in names:
                figures.add(name, count)

    for (assignment, control_bad, candidates_bad), count in outcomes.items():
        ran = {*assignment.live, *assignment.shadow}
        for index, (plan, arm) in enumerate(zip(standing.plans, assignment.arms, strict=True)):
            if arm == "A":
                add(index, "A", count, _SIDE[control_bad])
            elif arm == "B":
                add(index, "B", count, _CANDIDATE[candidates_bad[index]])
            if ran.issuperset(plan.branches):
                add(index, "P", count, _PAIR[control_bad, candidates_bad[index]])
    return found


_SIDE: Final = {False: ("calls",), True: ("calls", "bad")}
_CANDIDATE: Final = {False: ("calls", "runs", "ran"), True: ("calls", "runs", "ran", "bad", "fallbacks")}
_FAILED: Final = ("pairs", "runs", "ran", "candidate_bad", "would_fall_back")
_PAIR: Final = {  # whether control failed, and the candidate
    (False, False): ("pairs", "runs", "ran", "matched", "compared"),
    (True, False): ("pairs", "runs", "ran", "incomparable", "control_bad", "only_control_bad"),
    (False, True): (*_FAILED, "incomparable", "only_candidate_bad"),
    (True, True): (*_FAILED, "incomparable", "control_bad"),
}
