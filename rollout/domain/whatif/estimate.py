"""Figures of many calls: a value, the interval in which it lies with 95 % confidence, and where nobody can tell, the
bounds that are left.

Each comes from two series, of what can have been at best and at worst (``rollout.domain.whatif.replay``). Where their
estimates are too far apart the figure is unknown; else it is their middle, and the interval covers both.

Sources: quantiles by order statistics, the ranks n·q ± z·√(n·q·(1−q)) (Conover, Practical Nonparametric Statistics,
3.2); shares by Wilson's interval; means by the normal one, of their standard error. Calls that stand for several count
as Kish's effective sample, (Σw)²/Σw².
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf, isfinite, sqrt
from typing import Final

#: 95 % of a normal distribution lie within so many standard deviations.
Z: Final = 1.96


def latencies(worse: float) -> float:
    """How far two estimates of a latency may be apart, as of all others: half of what a prediction may be off."""
    return 0.05 * worse


def means(worse: float) -> float:
    return 0.015 * worse


def shares(_: float) -> float:
    return 0.015


def rare(worse: float) -> float:
    """Of the share of calls that go wrong."""
    return max(0.1 * worse, 0.001)


@dataclass(frozen=True, slots=True)
class Figure:
    """``value``: None where it is unknown; then ``low`` and ``high`` are between what it lies. ``high`` is None where
    nothing bounds it.
    """

    value: float | None
    low: float
    high: float | None


@dataclass(frozen=True, slots=True)
class Interval:
    """A value with its interval; ``high`` may be infinite."""

    value: float
    low: float
    high: float


Estimate = Callable[[Sequence[float], Sequence[float]], Interval]  # of values, and how many calls each stands for


def figure(one: Interval, other: Interval, within: Callable[[float], float]) -> Figure:
    """One figure of two estimates. ``within``: how far they may be apart, of the higher one."""
    low, high = sorted((one, other), key=lambda found: found.value)
    if isfinite(high.value) and high.value - low.value <= within(high.value):
        return Figure((low.value + high.value) / 2, min(low.low, high.low), _finite(max(low.high, high.high)))
    return Figure(None, low.value, _finite(high.value))


def quantile_of(q: float) -> Estimate:
    """The ``q``-quantile, 0 < q < 1."""

    def estimate(values: Sequence[float], weights: Sequence[float]) -> Interval:
        pairs = sorted(zip(values, weights, strict=True))
        half = Z * sqrt(q * (1 - q) / effective(weights))
        found = _at(pairs, sum(weights), (max(q - half, 0.0), q, q + half))
        return Interval(found[1], found[0], found[2])

    return estimate


def share(values: Sequence[float], weights: Sequence[float]) -> Interval:
    """How many are 1, of values that are 0 or 1."""
    n, total = effective(weights), sum(weights)
    p = sum(weight for value, weight in zip(values, weights, strict=True) if value) / total
    z2 = Z**2 / n
    middle, half = (p + z2 / 2) / (1 + z2), Z * sqrt(p * (1 - p) / n + z2 / n / 4) / (1 + z2)
    return Interval(p, 0.0 if p == 0 else max(0.0, middle - half), 1.0 if p == 1 else min(1.0, middle + half))


def mean(values: Sequence[float], weights: Sequence[float]) -> Interval:
    """The mean of values of 0 or more."""
    total = sum(weights)
    value = sum(one * weight for one, weight in zip(values, weights, strict=True)) / total
    if not isfinite(value):
        return Interval(inf, inf, inf)
    variance = sum((one - value) ** 2 * weight for one, weight in zip(values, weights, strict=True)) / total
    half = Z * sqrt(variance / effective(weights))
    return Interval(value, max(0.0, value - half), value + half)


def effective(weights: Sequence[float]) -> float:
    """How many calls of equal weight say as much."""
    return sum(weights) ** 2 / sum(weight * weight for weight in weights)


def _at(pairs: Sequence[tuple[float, float]], total: float, levels: Sequence[float]) -> list[float]:
    """The smallest values at or below which lie shares of the weight, rising; above all of it, infinity."""
    found: list[float] = []
    seen = 0.0
    rest = iter(pairs)
    value = 0.0
    for level in levels:
        wanted = level * total * (1 - 1e-12)
        if level > 1 - 1e-9:  # so near to all of it that the sum of the weights may round to less
            found.append(inf)
            continue
        while seen < wanted or seen == 0.0:
            value, weight = next(rest)
            seen += weight
        found.append(value)
    return found


def _finite(value: float) -> float | None:
    return value if isfinite(value) else None
