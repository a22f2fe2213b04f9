"""The bet of one alternative against all rates that lie on the boundary p_B = r·p_A + d of the null.

Of all nulls the one nearest to the alternative (a, b) is hardest to tell from it: p* = argmin_p (1−π)·kl(a,p) +
π·kl(b,r·p+d), its reverse information projection; betting the likelihood ratio against it grows fastest (Turner, Ly,
Grünwald, arXiv 2106.02693; linear boundaries: arXiv 2203.09785).
"""

from __future__ import annotations

from math import inf
from typing import Final

#: Steps of the solver at most; three to five are usual, bisection needs about fifty.
STEPS: Final = 60
#: How near, relative to p, a Newton step must end: the next one would be exact.
NEAR: Final = 1e-9

#: (u, m_B, v, m_A): a call of B multiplies the capital by 1 + u(y − m_B), one of A by 1 − v(y − m_A).
Bet = tuple[float, float, float, float]
NO_BET: Final[Bet] = (0.0, 0.5, 0.0, 0.5)


def check_margin(r: float, d: float) -> None:
    """``ValueError`` unless 0 < r < ∞ and −1 ≤ d ≤ 1."""
    if not 0 < r < inf:
        raise ValueError(f"r = {r} is no ratio of rates: give one above 0 (1: no worse than control)")
    if not -1 <= d <= 1:
        raise ValueError(f"d = {d} is no difference of rates: give one from -1 to 1 (0.01: one point)")


def bet(pi: float, a: float, b: float, r: float = 1.0, d: float = 0.0) -> Bet:
    """What to bet on rates (a, b) at the share ``pi`` of B; all of ``pi``, ``a``, ``b`` in (0, 1).

    m_A = p*, m_B = r·p* + d, u = λ/π, v = λ·r/(1−π). Validity needs only that u/v = (1−π)/(π·r), that m_B = r·m_A + d,
    and that λ has the sign of b − (r·a + d): then the logarithm of a block's expected factor is at most
    N·λ·(p_B − r·p_A − d), which is at most 0 on the null. So λ is the one of smaller magnitude of the two that agree at
    p*, and 0 if their signs differ: where the solver fails, evidence is lost, never invented. It also keeps every
    factor above 0: they lie between the ratios b/m_B, (1−b)/(1−m_B), a/m_A and (1−a)/(1−m_A), and 1.
    """
    rest = 1.0 - pi
    if r == 1.0 and d == 0.0:  # the closed form: both λ are the same
        p = rest * a + pi * b
        pull = (b - a) / (p * (1.0 - p))
        return rest * pull, p, pi * pull, p
    p = nearest_null(pi, a, b, r, d)
    q = r * p + d
    if not (0.0 < p < 1.0 and 0.0 < q < 1.0):
        return NO_BET
    of_b = pi * (b - q) / (q * (1.0 - q))
    of_a = rest * (p - a) / (r * p * (1.0 - p))
    stake = max(0.0, min(of_b, of_a)) if b > r * a + d else min(0.0, max(of_b, of_a))
    return stake / pi, q, stake * r / rest, p


def nearest_null(pi: float, a: float, b: float, r: float, d: float) -> float:
    """p* of the module's head: where the slope (1−π)(p−a)/(p(1−p)) + π·r·(q−b)/(q(1−q)) with q = r·p + d is 0.

    It lies between a and (b−d)/r, as far as p and q are in [0, 1]: Newton's steps on the slope times all denominators
    (a cubic), and bisection where one would leave that bracket.
    """
    rest, rate = 1.0 - pi, pi * r
    other = (b - d) / r
    low = max(0.0, min(a, other))
    high = min(1.0, max(a, other), (1.0 - d) / r)
    p = min(rest * a + pi * max(0.0, other), high)
    for _ in range(STEPS):
        q = r * p + d
        spread_a, spread_b = p * (1.0 - p), q * (1.0 - q)
        value = rest * (p - a) * spread_b + rate * (q - b) * spread_a
        if value < 0.0:
            low = p
        else:
            high = p
        slope = rest * (spread_b + (p - a) * r * (1.0 - 2.0 * q)) + rate * (r * spread_a + (q - b) * (1.0 - 2.0 * p))
        step = value / slope if slope > 0.0 else inf
        if abs(step) <= NEAR * p:
            return p - step
        p -= step
        if not low < p < high:
            p = 0.5 * (low + high)
    return p
