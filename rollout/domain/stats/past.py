"""What control's calls were like in earlier blocks: the histogram that later ones are held against."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from itertools import accumulate
from math import ceil, inf, log
from typing import Any, Final, NamedTuple

from rollout.domain.histogram import LAST, RATIO, Histogram

#: Control's calls before there is anything to hold others against.
FEWEST: Final = 20

Buckets = Mapping[int, int]  # bucket of ``rollout.domain.histogram`` → calls


class Past:
    """Control's calls by bucket, those of value 0 (below all buckets) and those that failed (above all). At most
    ``LAST`` + 3 numbers, however many calls.
    """

    __slots__ = ("failed", "histogram", "zeros")

    def __init__(self) -> None:
        self.histogram = Histogram()
        self.zeros = 0
        self.failed = 0

    def learn(self, histogram: Buckets, *, zeros: int = 0, failed: int = 0) -> None:
        """One block more, checked before."""
        self.histogram.merge(histogram)
        self.zeros += zeros
        self.failed += failed

    def distribution(self) -> Distribution:
        """Where a value stands among all of them."""
        buckets = sorted(self.histogram)
        counts = [self.histogram[bucket] for bucket in buckets]
        return Distribution(buckets, list(accumulate(counts, initial=self.zeros)), self.failed)

    def to_state(self) -> list[Any]:
        return [self.zeros, self.failed, self.histogram.to_json()]

    @classmethod
    def from_state(cls, state: list[Any]) -> Past:
        """``ValueError`` if the numbers cannot be."""
        zeros, failed, pairs = state
        past = cls()
        histogram = Histogram.from_json(pairs)
        count("the past of control", histogram, zeros, failed)
        past.learn(histogram, zeros=zeros, failed=failed)
        return past


class Distribution:
    """A ``Past`` as it was at one moment. ``total``: all its calls."""

    __slots__ = ("_buckets", "_upto", "total")

    def __init__(self, buckets: list[int], upto: list[int], failed: int) -> None:
        """``buckets``: in order; ``upto``: calls below the first, the second, …, and below or in the last."""
        self._buckets, self._upto = buckets, upto
        self.total = upto[-1] + failed

    def below(self, bucket: int) -> int:
        """How many lie in a lower bucket, or are of value 0."""
        return self._upto[bisect_left(self._buckets, bucket)]

    def above(self, bucket: int) -> int:
        """How many lie in a higher bucket, or failed."""
        return self.total - self.below(bucket + 1)

    def rank(self, bucket: int) -> float:
        """The share of calls below the middle of a bucket (its own calls by half): 0 to 1."""
        return (self.below(bucket) + self.below(bucket + 1)) / (2.0 * self.total)

    def quantile(self, q: float) -> int | None:
        """The smallest bucket at or below which a share ``q`` of the calls lies: its upper edge is the quantile. −1 if
        those of value 0 are enough, None if so many did not succeed.
        """
        reached = bisect_left(self._upto, q * self.total * (1.0 - 1e-12))  # 0.07 · 100 is a little above 7
        if reached == 0:
            return -1
        return self._buckets[reached - 1] if reached < len(self._upto) else None


class Block(NamedTuple):
    """The calls of a block by bucket, those in no bucket (``rest``: failed, or without cost), and all; of control and
    of the candidate. ``of`` checks them.
    """

    a: Buckets
    a_rest: int
    n_a: int
    b: Buckets
    b_rest: int
    n_b: int

    @classmethod
    def of(cls, a: Buckets, a_rest: int, b: Buckets, b_rest: int) -> Block:
        """``ValueError`` as with ``count``."""
        return cls(a, a_rest, count("control", a, a_rest), b, b_rest, count("the candidate", b, b_rest))

    @property
    def share(self) -> float:
        """The candidate's share of the calls; there are some."""
        return self.n_b / (self.n_a + self.n_b)


def count(whose: str, histogram: Buckets, *others: int) -> int:
    """How many calls, those of ``histogram`` and ``others``. ``ValueError`` for counts below 0 and unknown buckets."""
    if histogram and not (min(histogram) >= 0 and max(histogram) <= LAST):
        raise ValueError(f"{whose}: bucket {min(histogram)} or {max(histogram)} is none: take `bucket_of` of the value")
    total = sum(histogram.values()) + sum(others)
    if not (min(histogram.values(), default=0) >= 0 and min(others) >= 0 and total < inf):
        raise ValueError(f"{whose}: {dict(histogram)} and {others} calls cannot be: counts are 0 or more")
    return total


def above(histogram: Buckets, bucket: int) -> int:
    """How many of ``histogram`` lie in a higher bucket."""
    return sum([calls for at, calls in histogram.items() if at > bucket])


def check_tolerance(worse_by: float) -> None:
    """``ValueError`` if it is negative or not finite."""
    if not 0 <= worse_by < inf:
        raise ValueError(f"worse_by = {worse_by} is no tolerance: give a share of 0 or more (0.1: a tenth more)")


def shift_of(worse_by: float) -> int:
    """A tolerance (0.1: a tenth more) in whole buckets, rounded up: ⌈ln(1+worse_by)/ln 1.02⌉."""
    return ceil(log(1.0 + worse_by) / log(RATIO) - 1e-9)  # 1.02³ is three buckets, not a little more
