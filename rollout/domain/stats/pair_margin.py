"""Pairs with a margin, for a rollback: the candidate may be worse than control by so much."""

from __future__ import annotations

from collections.abc import Mapping
from math import log1p
from typing import Any, Final

from rollout.domain.stats.boundary import check_margin
from rollout.domain.stats.e_process import EProcess, State, check_counts
from rollout.domain.stats.pairs import MOST
from rollout.domain.stats.two_sample import predicted

#: By how much more than the margin the candidate is worse, in the alternatives that are bet on.
EXCESSES: Final = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)


class PairRollback(EProcess):
    """Pairs, against: the candidate is bad in at most ``d`` more of them than control, E[y_cand − y_ctrl] ≤ d.

    With x = y_cand − y_ctrl in {−1, 0, 1} each pair multiplies the capital by 1 + λ(x − d), which has expectation at
    most 1 under the null as long as λ ≥ 0 is chosen before the block (a betting martingale, as in ``PairPromotion``).
    λ = min(δ/(2a + d + δ), 0.9/(1 + d)), δ in ``EXCESSES``: about the stake that grows fastest where the candidate is
    worse by d + δ, and control bad at rate a. ``d`` in [0, 1).
    """

    __slots__ = ("d", "k_a", "n_a")

    def __init__(self, d: float) -> None:
        check_margin(1.0, d)
        super().__init__("rollback", (1 / len(EXCESSES),) * len(EXCESSES))
        self.d = d
        self.n_a: float = 0
        self.k_a: float = 0

    def update(self, n: float, k10: float, k01: float, control_bad: float) -> float:
        """One block of ``n`` pairs, of which only the candidate (``k10``), only control (``k01``) and in all control
        (``control_bad``) was bad; log E after it.
        """
        check_counts("control in pairs", n, control_bad)
        check_counts("control alone among its bad", control_bad, k01)
        check_counts("the candidate alone among pairs in which control was not bad", n - control_bad, k10)
        a, d = predicted(self.n_a, self.k_a), self.d
        gains = []
        for excess in EXCESSES:
            stake = min(excess / (2.0 * a + d + excess), MOST / (1.0 + d))
            kept = n - k10 - k01
            gains.append(k10 * log1p(stake * (1.0 - d)) + k01 * log1p(-stake * (1.0 + d)) + kept * log1p(-stake * d))
        self._grow(gains)
        self.n_a += n
        self.k_a += control_bad
        return self.log_e

    def fresh(self) -> PairRollback:
        """The same test with the same past of control and new capital."""
        other = PairRollback(self.d)
        other.n_a, other.k_a = self.n_a, self.k_a
        return other

    def to_state(self) -> State:
        return {"d": self.d, "n_a": self.n_a, "k_a": self.k_a, "logs": self._logs_state()}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> PairRollback:
        """``ValueError`` if it is not what ``to_state`` gave."""
        restored = cls(state["d"])
        check_counts("control in pairs", state["n_a"], state["k_a"])
        restored.n_a, restored.k_a = state["n_a"], state["k_a"]
        restored._restore(state)
        return restored
