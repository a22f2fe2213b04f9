"""The fixed buckets that Prometheus sees, cut out of the toolkit's log buckets without moving a single value.

A bound is the edge of a log bucket, the one nearest to the round number that is wanted (within 1 %), so that every
count is exact.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate
from math import fsum
from typing import Final

from rollout.domain.histogram import LAST, bucket_of, lower_edge, middle

_MIDDLES: Final = tuple(middle(bucket) for bucket in range(LAST + 1))


@dataclass(frozen=True, slots=True)
class Bounds:
    """Rising upper bounds. ``labels``: as written in ``le``, with ``+Inf`` last. ``slots``: log bucket → index of
    its bound.
    """

    labels: tuple[str, ...]
    slots: tuple[int, ...]

    @classmethod
    def near(cls, *seconds: float) -> Bounds:
        """The bounds nearest to these values, in seconds, rising."""
        edges = [_nearest_edge(value) for value in seconds]
        slots, slot = [], 0
        for bucket in range(LAST + 1):
            while slot < len(edges) and bucket >= edges[slot]:
                slot += 1
            slots.append(slot)
        return cls((*(f"{lower_edge(edge):.6g}" for edge in edges), "+Inf"), tuple(slots))

    def cumulative(self, histogram: Mapping[int, int]) -> list[int]:
        """How many values lie below each bound; the last number is all of them."""
        counts = [0] * len(self.labels)
        slots = self.slots
        for bucket, count in histogram.items():
            counts[slots[bucket]] += count
        return list(accumulate(counts))


def total_of(histogram: Mapping[int, int]) -> float:
    """The sum of all values in seconds, within 1 %: each counts as the middle of its bucket.

    Rounded once (``fsum``), so that it depends on no order and never falls from one scrape to the next.
    """
    return fsum([_MIDDLES[bucket] * count for bucket, count in histogram.items()])


def _nearest_edge(value: float) -> int:
    """The bucket whose lower edge is nearest."""
    bucket = bucket_of(value)
    return min((bucket, bucket + 1), key=lambda edge: abs(lower_edge(edge) - value))


#: Of replies and of runs of branches.
LATENCY: Final = Bounds.near(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
#: Of what the middleware adds.
OVERHEAD: Final = Bounds.near(2e-6, 5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 1e-2, 1e-1)
