"""How likely bad calls are by chance: the binomial tail."""

from __future__ import annotations

from math import exp, lgamma, log


def at_least(k: int, n: int, p: float) -> float:
    """P(X ≥ k) of X ~ Binomial(n, p), to about 1e-9 relative.

    ``k`` at or below 0: 1; ``p`` at or below 0: 0. Where ``k`` is no more than the mean, 1 stands for "not rare".
    Terms fall from ``k`` on, so the sum ends early whatever ``n`` is.
    """
    if k <= 0:
        return 1.0
    if p <= 0 or k > n:
        return 0.0
    if p >= 1 or k <= n * p:
        return 1.0
    term = exp(lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1) + k * log(p) + (n - k) * log(1 - p))
    total = 0.0
    for i in range(k, n + 1):
        total += term
        if term < total * 1e-12:
            break
        term *= (n - i) / (i + 1) * p / (1 - p)
    return min(1.0, total)
