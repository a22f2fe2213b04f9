"""Where a share lies of which only a part was seen: intervals of 95 % confidence, for looking at one number once.

They decide nothing; what may be looked at as often as one likes is in ``rollout.domain.stats``.
"""

from __future__ import annotations

from math import hypot, sqrt
from statistics import NormalDist
from typing import Final

CONFIDENCE: Final = 0.95
_Z: Final = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)


def interval(k: float, n: float) -> tuple[float, float]:
    """Of a share of which ``k`` of ``n`` (above 0) were seen: Wilson's interval, within [0, 1]."""
    share, z2 = k / n, _Z**2 / n
    middle = (share + z2 / 2) / (1 + z2)
    half = _Z * sqrt(share * (1 - share) / n + z2 / n / 4) / (1 + z2)
    return max(0.0, middle - half) if k else 0.0, min(1.0, middle + half) if k < n else 1.0


def difference(k: float, n: float, other_k: float, other_n: float) -> tuple[float, float]:
    """Of the share of which ``k`` of ``n`` were seen, less one of which ``other_k`` of ``other_n`` were, both ``n``
    above 0: within [-1, 1].

    Newcombe's interval for independent shares out of Wilson's of each (1998, method 10). Of shares that rise together,
    such as those of the same calls, it is too wide, never too narrow.
    """
    share, other = k / n, other_k / other_n
    (low, high), (other_low, other_high) = interval(k, n), interval(other_k, other_n)
    below, above = hypot(share - low, other_high - other), hypot(high - share, other - other_low)
    return max(-1.0, share - other - below), min(1.0, share - other + above)
