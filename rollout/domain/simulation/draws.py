"""Draws: how many of n, and a histogram of n; by dice, or as they come on average.

The standard library has no binomial before 3.12; this one is exact, and as fast for a billion calls as for ten.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, floor, log, log1p, sqrt
from statistics import NormalDist
from typing import Final, Protocol

from rollout.domain.histogram import Histogram, bucket_of, lower_edge

#: Up to so many expected successes a count is found by adding up probabilities, from 0 on.
_FEW: Final = 12.0
#: A distribution is known to a ten-thousandth.
_PARTS: Final = 10_000
#: Up to so many values a histogram is drawn value by value.
_SINGLY: Final = 5_000
#: Where the k-th success comes on average: after k - 1/3 expected ones, as the median of a Poisson process has it.
_MEDIAN: Final = 1 / 3
_GOLDEN: Final = (sqrt(5) - 1) / 2  # its multiples, less their whole part, fill [0, 1) evenly


class Dice(Protocol):
    """What is needed of ``random.Random``."""

    def random(self) -> float: ...

    def betavariate(self, alpha: float, beta: float) -> float: ...

    def choices(self, population: Sequence[int], *, k: int) -> list[int]: ...


@dataclass(frozen=True, slots=True)
class Spread:
    """A distribution over the buckets of a histogram, in ten thousand equal parts. ``parts``: the bucket of each, in
    order; ``ends``: bucket → how many parts lie in it or below it.
    """

    parts: Sequence[int]
    ends: Sequence[tuple[int, int]]

    @classmethod
    def lognormal(cls, median: float, sigma: float) -> Spread:
        """Values whose logarithm is normal around that of ``median`` (above 0), with the standard deviation ``sigma``
        (above 0).
        """
        normal = NormalDist(log(median), sigma)
        low, high = (bucket_of(exp(normal.inv_cdf(share))) for share in (0.5 / _PARTS, 1 - 0.5 / _PARTS))
        ends = [(bucket, round(_PARTS * normal.cdf(log(lower_edge(bucket + 1))))) for bucket in range(low, high)]
        ends.append((high, _PARTS))
        parts: list[int] = []
        for bucket, end in ends:
            parts += [bucket] * (end - len(parts))
        return cls(parts, ends)


class Draws(Protocol):
    """Where numbers come from. ``what`` names the thing that is drawn, the same each time."""

    def count(self, what: str, n: int, p: float) -> int:
        """How many of ``n`` are such as a share ``p`` of all is; outside of [0, 1] its nearest end counts."""
        ...

    def histogram(self, what: str, n: int, spread: Spread) -> Histogram:
        """``n`` values of a distribution, by bucket."""
        ...


class Chance:
    """Draws by dice."""

    def __init__(self, dice: Dice) -> None:
        self._dice = dice

    def count(self, what: str, n: int, p: float) -> int:
        return binomial(self._dice, n, p)

    def histogram(self, what: str, n: int, spread: Spread) -> Histogram:
        if n <= _SINGLY:
            return Histogram(Counter(self._dice.choices(spread.parts, k=n)))
        found, begin = Histogram(), 0
        for bucket, end in spread.ends:
            if count := binomial(self._dice, n, (end - begin) / (_PARTS - begin) if end < _PARTS else 1.0):
                found[bucket] = count
            begin, n = end, n - count
        return found


class Average:
    """No dice: what is to be expected, the same each time. What is left of a whole call counts at the next draw."""

    def __init__(self) -> None:
        self._owed: dict[str, float] = {}
        self._times: dict[str, int] = {}

    def count(self, what: str, n: int, p: float) -> int:
        owed = self._owed.get(what, _MEDIAN) + n * min(1.0, max(0.0, p))
        whole = min(n, floor(owed))
        self._owed[what] = owed - whole
        return whole

    def histogram(self, what: str, n: int, spread: Spread) -> Histogram:
        """Values at even distances of each other; where they begin, differs from draw to draw."""
        self._times[what] = times = self._times.get(what, 0) + 1
        first = times * _GOLDEN % 1.0
        if n <= _SINGLY:
            parts, step = spread.parts, _PARTS / max(1, n)
            return Histogram(Counter([parts[int((number + first) * step)] for number in range(n)]))
        found, begin = Histogram(), 0
        for bucket, end in spread.ends:
            upto = floor(n * end / _PARTS + first) if end < _PARTS else n
            if upto > begin:
                found[bucket] = upto - begin
            begin = max(begin, upto)
        return found


def binomial(dice: Dice, n: int, p: float) -> int:
    """How many of ``n`` (at least 0) trials succeed, each with probability ``p``; exact.

    Many are halved first, at where the middle one of n numbers drawn from [0, 1) would lie: that is beta distributed,
    and what is left on either side of it is binomial again (Devroye, Non-Uniform Random Variate Generation, X.4.3).
    """
    found = 0
    while n > 0 and 0.0 < p < 1.0:
        if p > 0.5:
            return found + n - binomial(dice, n, 1.0 - p)
        if n * p <= _FEW:
            return found + _inverted(dice.random(), n, p)
        middle = n // 2 + 1
        at = dice.betavariate(middle, n + 1 - middle)
        if at >= p:
            n, p = middle - 1, p / at
        else:
            found, n, p = found + middle, n - middle, (p - at) / (1.0 - at)
    return found + (n if p >= 1.0 else 0)


def _inverted(u: float, n: int, p: float) -> int:
    """The smallest k of which P(X ≤ k) is above ``u``."""
    k, odds = 0, p / (1.0 - p)
    chance = exp(n * log1p(-p))
    while u >= chance and k < n:
        u -= chance
        chance *= odds * (n - k) / (k + 1)
        k += 1
    return k
