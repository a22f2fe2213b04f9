"""How others decide, on the same calls: a threshold, a test repeated at each look, a pooled sequential test.

``look`` returns evidence on the scale of log(1/α): a branch is rolled back at α where that is reached. None of them
may, of the first ``WARM_UP`` calls, which is kind to them.
"""

from __future__ import annotations

from collections import deque
from math import erfc, inf, log, sqrt

from tests.bench.gates.arms import Look

WARM_UP = 1_000
#: The naive threshold: looks in its window, and how much worse a candidate may be.
WINDOW = 10
MARGIN = 0.01
#: mSPRT: the standard deviation of the differences that it looks for. One point.
TAU = 0.01


class _Pooled:
    """All calls since the start, added up: what is common to tests that do not ask when a call came."""

    def __init__(self) -> None:
        self._n_a = self._k_a = self._n_b = self._k_b = 0

    def enter(self) -> None:
        """A live stage begins, which makes no difference here."""

    def look(self, look: Look) -> float:
        self._n_a += look.n_a
        self._k_a += look.k_a
        self._n_b += look.n_b
        self._k_b += look.k_b
        n, k = self._n_a + self._n_b, self._k_a + self._k_b
        if n < WARM_UP or not self._n_a or not self._n_b or not 0 < k < n:
            return -inf
        variance = k / n * (1 - k / n) * (1 / self._n_a + 1 / self._n_b)
        return self.evidence(self._k_b / self._n_b - self._k_a / self._n_a, variance)

    def evidence(self, difference: float, variance: float) -> float:
        """Of a difference of rates whose estimate has this variance where there is none."""
        raise NotImplementedError


class RepeatedZ(_Pooled):
    """A one-sided test of two proportions at each look, as if it were the only one (Kayenta's way): −log of its
    p-value.
    """

    def evidence(self, difference: float, variance: float) -> float:
        chance = 0.5 * erfc(difference / sqrt(2 * variance))
        return -log(chance) if chance > 0 else inf


class Msprt(_Pooled):
    """The mixture sequential probability ratio test of a difference of means, with a normal mixture of variance τ²
    (Johari, Koomen, Pekelis, Walsh, arXiv 1512.04922); a rollback only where the candidate is worse.
    """

    def evidence(self, difference: float, variance: float) -> float:
        if difference <= 0:
            return -inf
        wide = variance + TAU**2
        return 0.5 * log(variance / wide) + (TAU * difference) ** 2 / (2 * variance * wide)


class NaiveThreshold:
    """Argo's way: a breach where the candidate's rate over the last ``WINDOW`` looks is above control's by more than
    ``MARGIN``. It knows no α.
    """

    def __init__(self) -> None:
        self._window: deque[Look] = deque(maxlen=WINDOW)

    def enter(self) -> None:
        """A live stage begins: with it the window."""
        self._window.clear()

    def look(self, look: Look) -> float:
        self._window.append(look)
        if len(self._window) < WINDOW:
            return -inf
        n_a, k_a, n_b, k_b = (sum(counts) for counts in zip(*self._window, strict=True))
        return inf if n_a and n_b and k_b / n_b > k_a / n_a + MARGIN else -inf
