"""Log-bucket histograms: each bucket's upper edge is 1.02 times its lower one, so they merge exactly and a quantile is
known to 2 %. Values are seconds; below a microsecond is bucket 0."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from math import log
from typing import Final

RATIO: Final = 1.02
SMALLEST: Final = 1e-6
LARGEST: Final = 2e4
LAST: Final = 1_200  # about 20 000 seconds
SCALE: Final = 1.0 / log(RATIO)
SHIFT: Final = -log(SMALLEST) * SCALE
MANY: Final = 256  # durations that are put into buckets at once


def bucket_of(value: float) -> int:
    """The bucket of a value in seconds: 0 .. ``LAST``. Bucket i covers [1e-6·1.02^i, 1e-6·1.02^(i+1)); NaN is the
    last one.
    """
    if value <= SMALLEST:
        return 0
    return int(log(value) * SCALE + SHIFT) if value < LARGEST else LAST


def lower_edge(bucket: int) -> float:
    """The lower edge of a bucket in seconds."""
    return SMALLEST * RATIO**bucket if bucket > 0 else 0.0


def middle(bucket: int) -> float:
    """The geometric middle of a bucket in seconds: what a quantile reports."""
    return SMALLEST * float(RATIO ** (bucket + 0.5))


class Histogram(dict[int, int]):
    """Bucket → count. Only buckets that have one are held."""

    __slots__ = ()

    def add(self, value: float, count: int = 1) -> None:
        bucket = bucket_of(value)
        self[bucket] = self.get(bucket, 0) + count

    def merge(self, other: Mapping[int, int]) -> None:
        if not self:
            self.update(other)
            return
        known = self.get
        for bucket, count in other.items():
            self[bucket] = known(bucket, 0) + count

    @property
    def total(self) -> int:
        return sum(self.values())

    def quantile(self, q: float, beyond: int = 0) -> float | None:
        """The q-quantile in seconds (the middle of its bucket); None when empty.

        ``beyond``: how many further calls took longer than everything here (they failed). Infinite if the quantile
        is one of those.
        """
        total = self.total + beyond
        if total == 0:
            return None
        wanted, seen = q * total * (1 - 1e-12), 0  # 0.07 of 100 is the 7th, though 0.07 * 100 is a little above 7
        for bucket in sorted(self):
            seen += self[bucket]
            if seen >= wanted and seen > 0:
                return middle(bucket)
        return float("inf")

    def above(self, value: float) -> int:
        """How many lie in a bucket above that of ``value``."""
        edge = bucket_of(value)
        return sum(count for bucket, count in self.items() if bucket > edge)

    def mean(self) -> float | None:
        total = self.total
        return sum(middle(bucket) * count for bucket, count in self.items()) / total if total else None

    def to_json(self) -> list[list[int]]:
        return [[bucket, self[bucket]] for bucket in sorted(self) if self[bucket]]

    @classmethod
    def from_json(cls, pairs: Iterable[Iterable[int]]) -> Histogram:
        return cls(pairs)  # type: ignore[arg-type]  # pairs are pairs: no loop of ours, a report reads a million of them


class Durations(list[float]):
    """Durations in seconds as they come. They are put into buckets by the hundred, in a loop of its own, which costs a
    third of doing it one by one on the request path.

    ``add`` is what to call; where a call is felt: ``append``, and ``fold()`` when ``len`` has reached ``MANY``.
    """

    __slots__ = ("_buckets", "_folded")

    def __init__(self) -> None:
        super().__init__()
        self._buckets: Counter[int] = Counter()
        self._folded = 0

    def add(self, seconds: float) -> None:
        self.append(seconds)
        if len(self) >= MANY:
            self.fold()

    def fold(self) -> None:
        """Put what came into its buckets."""
        scale, shift = SCALE, SHIFT
        self._buckets.update([int(log(s) * scale + shift) if SMALLEST < s < LARGEST else bucket_of(s) for s in self])
        self._folded += len(self)
        self.clear()

    @property
    def total(self) -> int:
        """How many came."""
        return self._folded + len(self)

    def histogram(self) -> Histogram:
        """All that came, by bucket: a copy."""
        if self:
            self.fold()
        return Histogram(self._buckets)
