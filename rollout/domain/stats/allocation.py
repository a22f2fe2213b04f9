"""Were calls drawn into the arms as they should be? If not, the plumbing is at fault, not the branch."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, lgamma, log
from typing import Final

#: How firmly the alternative stands around the intended shares: as if so many calls had been seen at them.
FIRMNESS: Final = 1_000.0


def allocation_log_e(counts: Sequence[float], shares: Sequence[float]) -> float:
    """log E of ``counts`` calls in each arm against the intended ``shares``: log [B(kρ+n)/B(kρ)/Πρᵢ^nᵢ] with k = 1000.

    B is the multivariate beta function: the likelihood ratio of multinomial counts with Dirichlet-distributed shares
    (Lindon and Malek, arXiv 2011.03567), of all calls of a stage so far. Infinite if an arm of share 0 has a call.
    ``ValueError`` unless there is a count, finite and not negative, for each share, and the shares add up to 1.
    """
    if len(counts) != len(shares) or not all(0 <= count < inf for count in counts):
        raise ValueError(f"counts {counts} do not fit shares {shares}: give one count, 0 or more, for each arm")
    if not all(share >= 0 for share in shares) or not abs(sum(shares) - 1.0) <= 1e-9:
        raise ValueError(f"shares {shares} are none: give the intended part of each arm, 1 in all")
    log_e = lgamma(FIRMNESS) - lgamma(FIRMNESS + sum(counts))
    for count, share in zip(counts, shares, strict=True):
        if share > 0:
            log_e += lgamma(FIRMNESS * share + count) - lgamma(FIRMNESS * share) - count * log(share)
        elif count:
            return inf
    return log_e
