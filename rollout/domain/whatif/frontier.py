"""Which soft timeouts are worth having: the latency that users get, against completeness and cost.

A small grid over the optional branches is replayed. Of its settings only those are kept that no other beats in one of
the three without being worse in another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import floor, inf, log10
from typing import Final

from rollout.domain.state import Policy
from rollout.domain.whatif.prediction import Prediction, predict
from rollout.domain.whatif.recorded import Past, RecordedCall, quantile
from rollout.domain.whatif.setting import Setting, rules_of

#: The most settings that are tried, of at most so many calls.
SETTINGS: Final = 36
CALLS: Final = 1_000
#: A grid goes over at most so many branches: those that take longest.
BRANCHES: Final = 6
#: The timeouts that are tried, as quantiles of what a branch takes; the most telling first.
_LEVELS: Final = (0.95, 0.75, 0.5, 0.99, 0.9)


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One setting. ``soft_s``: soft timeouts by branch; a branch that is not named keeps what is in force.
    ``user_s``: the p95 in seconds. ``complete``: the share of calls. ``nano``: a call, None where it is unknown.
    """

    soft_s: Mapping[str, float]
    user_s: float
    complete: float
    nano: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Frontier:
    """``points``: the undominated settings, the fastest first. ``tried``: how many there were, on how many ``calls``;
    ``unknown``: of how many of them the records cannot tell. ``branches``: whose soft timeouts were varied.
    """

    points: Sequence[Point]
    tried: int
    unknown: int
    calls: int
    branches: Sequence[str]


def frontier(
    calls: Sequence[RecordedCall],
    policy: Policy,
    setting: Setting,
    past: Past,
    progress: Callable[[float], None] = lambda _: None,
) -> Frontier | None:
    """The frontier around a setting; None where no branch is optional. ``progress`` is told which share is tried."""
    grid = _grid(policy, setting, past)
    if not grid:
        return None
    some = calls[:: -(-len(calls) // CALLS)]
    points: list[Point] = []
    choices = list(product(*grid.values()))
    for tried, choice in enumerate(choices, 1):
        soft_s = {name: value for name, value in zip(grid, choice, strict=True) if value < inf}
        found = predict(some, rules_of(policy, replace(setting, soft_s={**setting.soft_s, **soft_s}), past))
        if (point := _point(soft_s, found)) is not None:
            points.append(point)
        progress(tried / len(choices))
    kept = sorted(_undominated(points), key=lambda point: (point.user_s, -point.complete))
    return Frontier(
        points=tuple(kept),
        tried=len(choices),
        unknown=len(choices) - len(points),
        calls=len(some),
        branches=tuple(grid),
    )


def _grid(policy: Policy, setting: Setting, past: Past) -> dict[str, list[float]]:
    """The timeouts to try, by branch; infinity: as it is. Those that the setting says itself are not varied."""
    gone = setting.gone(policy)
    names = [
        branch.name
        for branch in policy.branches
        if not branch.required and branch.name not in gone | setting.soft_s.keys() and past.lasted.get(branch.name)
    ]
    names = sorted(names, key=lambda name: -quantile(past.lasted[name], 0.95))[:BRANCHES]
    return {name: list(_levels(name, setting, policy, past, _most(len(names)))) for name in names}


def _most(branches: int) -> int:
    """How many timeouts each of so many branches gets, so that the grid is no larger than allowed."""
    return max(most for most in range(1, len(_LEVELS) + 1) if most == 1 or (most + 1) ** branches <= SETTINGS)


def _levels(name: str, setting: Setting, policy: Policy, past: Past, most: int) -> Iterator[float]:
    branch = policy.branch(name)
    assert branch is not None
    limit = min(branch.soft_timeout_s or inf, setting.hard_s.get(name, branch.hard_timeout_s))
    known = {as_seconds(quantile(past.lasted[name], level)) for level in _LEVELS[:most]}
    yield inf
    yield from sorted(value for value in known if value < limit)


def _point(soft_s: Mapping[str, float], found: Prediction) -> Point | None:
    """A point where latency and completeness are known."""
    user_s, complete = found.user.p95.value, found.complete.value
    if user_s is None or complete is None:
        return None
    return Point(soft_s=soft_s, user_s=user_s, complete=complete, nano=found.nano.value)


def _undominated(points: Sequence[Point]) -> list[Point]:
    """Those that no other is as good as; of some that are about the same, the one that changes least."""
    kept: list[Point] = []
    for point in sorted(points, key=lambda point: len(point.soft_s)):
        if not any(_is_as_good(other, point) for other in kept):
            kept = [*(other for other in kept if not _is_as_good(point, other)), point]
    return kept


def _is_as_good(one: Point, other: Point) -> bool:
    """Whether one is no worse in anything. Nobody would act on 2 % of a latency or a cost, or half a point of
    completeness; a cost that is unknown is no reason.
    """
    is_no_dearer = one.nano is None or other.nano is None or one.nano <= other.nano * 1.02
    return is_no_dearer and one.user_s <= other.user_s * 1.02 and one.complete >= other.complete - 0.005


def as_seconds(value: float) -> float:
    """A timeout as people write it: two significant digits. At least a millisecond."""
    if value < 0.001:
        return 0.001
    return round(value, 1 - floor(log10(value)))
