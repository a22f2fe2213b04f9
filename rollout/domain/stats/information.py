"""How fast evidence grows, at best: what is needed to say how many more calls a decision takes."""

from __future__ import annotations

from math import log, log1p
from typing import Final

from rollout.domain.stats.boundary import check_margin, nearest_null

#: Rates are taken as no nearer than this to 0 and 1.
EDGE: Final = 1e-12


def information(p_a: float, p_b: float, share: float, r: float = 1.0, d: float = 0.0) -> float:
    """Nats per call: min_p [(1−π)·kl(p_a, p) + π·kl(p_b, r·p + d)], where π = ``share`` of calls are the candidate's.

    No test of the boundary p_B = r·p_A + d can learn more from calls at rates ``p_a`` and ``p_b`` (Turner, Ly,
    Grünwald, arXiv 2106.02693), so log(1/α) over it is about how many a decision takes. It is a distance: on which side
    of the boundary they lie is not asked. 0 where one arm has no calls, or the margin leaves no boundary.
    ``ValueError`` for rates and shares outside [0, 1] and impossible margins.
    """
    check_margin(r, d)
    for name, value in (("p_a", p_a), ("p_b", p_b), ("share", share)):
        if not 0 <= value <= 1:
            raise ValueError(f"{name} = {value} is no share of calls: give one from 0 to 1")
    if share in (0.0, 1.0):
        return 0.0
    a, b = (min(max(rate, EDGE), 1.0 - EDGE) for rate in (p_a, p_b))
    p = nearest_null(share, a, b, r, d)
    q = r * p + d
    if not (0 < p < 1 and 0 < q < 1):
        return 0.0
    return max(0.0, (1.0 - share) * kl(p_a, p) + share * kl(p_b, q))


def kl(p: float, q: float) -> float:
    """The divergence of a coin of rate ``q`` from one of rate ``p`` in [0, 1], in nats; ``q`` in (0, 1)."""
    of_bad = p * log(p / q) if p > 0 else 0.0
    of_good = (1.0 - p) * (log1p(-p) - log1p(-q)) if p < 1 else 0.0
    return of_bad + of_good
