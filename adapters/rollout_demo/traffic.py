"""How customers behave: when they come, who comes, how long their chats are.

Figures, not rows, of two public traces. Gaps between arrivals (relative to their mean), context and generated tokens:
AzurePublicDataset, AzureLLMInferenceTrace_conv 2023, CC BY 4.0 (Patel et al., "Splitwise", ISCA 2024). Visits per
client: elastic/examples, apache_logs, Apache License 2.0. Between two quantiles the distribution is taken as even, and
gaps are drawn one by one, so the bursts of the trace that last for minutes are not in here.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from random import Random
from typing import Final

from rollout_demo.truth import CUSTOMERS


@dataclass(frozen=True, slots=True)
class Quantiles:
    """A distribution by some of its quantiles: (share of values at most this large, the value), rising."""

    points: tuple[tuple[float, float], ...]

    def at(self, share: float) -> float:
        """The quantile of a share in [0, 1], straight lines between the points; beyond the last, its value."""
        index = bisect_left(self.points, share, key=lambda point: point[0])
        if index == 0 or index == len(self.points):
            return self.points[min(index, len(self.points) - 1)][1]
        (low, floor), (high, ceiling) = self.points[index - 1], self.points[index]
        return floor + (ceiling - floor) * (share - low) / (high - low)

    @property
    def mean(self) -> float:
        """Of the values below the last point."""
        steps = pairwise(self.points)
        return sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in steps) / (self.points[-1][0] - self.points[0][0])


_SHARES: Final = (0, 0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 0.999)


def _quantiles(*values: float) -> Quantiles:
    return Quantiles(tuple(zip(_SHARES, values, strict=True)))


#: Gaps between arrivals as multiples of their mean; coefficient of variation 1.09, a little burstier than Poisson.
GAPS: Final = _quantiles(
    0, 0.003, 0.035, 0.0892, 0.202, 0.3358, 0.4825, 0.6549, 0.8776, 1.1813, 1.5976, 2.3267, 3.1258, 4.9266, 7.9136
)
CONTEXT_TOKENS: Final = _quantiles(2, 29, 181, 207, 387, 403, 703, 1020, 1071, 1130, 1315, 2735, 4083, 4142, 6212)
GENERATED_TOKENS: Final = _quantiles(7, 16, 41, 54, 77, 91, 103, 129, 177, 384, 400, 424, 451, 601, 954)
#: Visits of one client; cut at its 99 % quantile, so that no single customer is a tenth of the traffic.
VISITS: Final = Quantiles(
    ((0.0, 1), (0.5, 2), (0.6, 3), (0.7, 6), (0.8, 6), (0.9, 8), (0.95, 17), (0.98, 34), (0.99, 50))
)


@dataclass(frozen=True, slots=True)
class Visit:
    """One call to come: ``gap_s`` seconds after the one before it."""

    gap_s: float
    customer: int
    context_tokens: int
    generated_tokens: int


def visits(rate: float, seed: int = 1) -> Iterator[Visit]:
    """Calls at a mean rate per second, without end, the same for the same seed."""
    dice = Random(seed)
    weights = tuple(accumulate(popularity()))
    customers = range(1, CUSTOMERS + 1)
    unit = 1 / (rate * GAPS.mean)
    while True:
        yield Visit(
            gap_s=GAPS.at(dice.random()) * unit,
            customer=dice.choices(customers, cum_weights=weights)[0],
            context_tokens=round(CONTEXT_TOKENS.at(dice.random())),
            generated_tokens=round(GENERATED_TOKENS.at(dice.random())),
        )


def popularity() -> Sequence[float]:
    """How often each customer comes, relative to the others; who is popular has nothing to do with the number."""
    shuffled = [VISITS.at((n + 0.5) / CUSTOMERS) for n in range(CUSTOMERS)]
    Random("who comes often").shuffle(shuffled)
    return shuffled
