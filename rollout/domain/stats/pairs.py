"""Calls of which both sides ran: the candidate against control on the same request.

Where both are bad, or neither, a pair says nothing about which of them is worse; what is left are the discordant
pairs, and under the null each of them is a coin of known bias, whatever the requests were (McNemar's condition). The
coins are bet on as one arm is (``one_sample``); the bound is Ville's inequality.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf, log, log1p
from typing import Any, Final

from rollout.domain.stats.boundary import check_margin
from rollout.domain.stats.e_process import EProcess, State, check_counts, equal_shares, log_mean_exp
from rollout.domain.stats.one_sample import log_likelihood_ratio
from rollout.domain.stats.two_sample import ODDS, alternatives, predicted

#: Promotion: stakes over the one that grows fastest where the candidate is as good as control.
STAKES: Final = (0.25, 0.5, 1.0, 2.0)
#: A call that speaks most against the branch leaves at least a tenth of the capital.
MOST: Final = 0.9
#: Paired latency: how often the candidate may be the slower one, where it is.
SLOWER: Final = (0.55, 0.6, 0.7, 0.8, 0.9, 0.97)


class Discordant(EProcess):
    """Pairs, against: of those of which one side alone is bad, at most r/(1+r) are bad on the candidate's.

    r = 1 is the null "the candidate is bad no more often than control". Above 1 it is stated for the discordant pairs:
    P(only the candidate) ≤ r·P(only control).
    """

    __slots__ = ("r",)

    def __init__(self, r: float = 1.0) -> None:
        check_margin(r, 0.0)
        super().__init__("rollback", equal_shares(len(ODDS)))
        self.r = r

    def update(self, k10: float, k01: float) -> float:
        """Pairs of which only the candidate (``k10``), only control (``k01``) was bad; log E after them."""
        self._grow(_discordant_log_es(k10, k01, self.r))
        return self.log_e

    def to_state(self) -> State:
        return {"r": self.r, "logs": self._logs_state()}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Discordant:
        restored = cls(state["r"])
        restored._restore(state)
        return restored


class PairPromotion(EProcess):
    """Pairs, against: the candidate is bad in at least d more of them than control, E[y_cand − y_ctrl] ≥ d.

    With x = y_cand − y_ctrl in {−1, 0, 1} each pair multiplies the capital by 1 + λ(d − x), which has expectation at
    most 1 under the null as long as λ ≥ 0 is chosen before the block. λ = min(c·d/(2a+d²), 0.9/(1−d)), c in
    ``STAKES``: 2a + d² is about the variance of x − d where the candidate is as bad as control, at rate a.
    """

    __slots__ = ("k_a", "n_a")

    def __init__(self) -> None:
        super().__init__("promote", equal_shares(len(STAKES)))
        self.n_a: float = 0
        self.k_a: float = 0

    @property
    def a(self) -> float:
        """Control's rate as earlier blocks predict it, as with ``TwoSample``."""
        return predicted(self.n_a, self.k_a)

    def update(self, n: float, k10: float, k01: float, control_bad: float, d: float) -> float:
        """One block of ``n`` pairs, of which only the candidate (``k10``), only control (``k01``) and in all control
        (``control_bad``) was bad, against the tolerance ``d`` in [-1, 1] (no bet unless above 0); log E after it.
        """
        check_margin(1.0, d)
        _check_pairs(n, k10, k01, control_bad)
        if d > 0:
            safe = MOST / (1.0 - d) if d < 1 else inf
            best = d / (2.0 * self.a + d * d)
            self._grow([_log_of_pairs(-min(times * best, safe), n, k10, k01, d) for times in STAKES])
        self.n_a += n
        self.k_a += control_bad
        return self.log_e

    def to_state(self) -> State:
        return {"n_a": self.n_a, "k_a": self.k_a, "logs": self._logs_state()}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> PairPromotion:
        restored = cls()
        check_counts("control in pairs", state["n_a"], state["k_a"])
        restored.n_a, restored.k_a = state["n_a"], state["k_a"]
        restored._restore(state)
        return restored


class PairRollback(EProcess):
    """Pairs, against: the candidate is bad in at most d more of them than control, E[y_cand − y_ctrl] ≤ d.

    Each pair multiplies the capital by 1 + λ(x − d), x = y_cand − y_ctrl, of which the expectation is at most 1 under
    the null. For each alternative b_j of ``TwoSample`` at r = 1 and this d, λ_j = (b_j − a − d)/(a + b_j): the excess
    over about the variance of x, always below 1/(1+d), so that no pair takes all. For d = 0 ``Discordant`` is better.
    """

    __slots__ = ("d", "k_a", "n_a")

    def __init__(self, d: float = 0.0) -> None:
        """``ValueError`` unless ``d`` is in [-1, 1]."""
        check_margin(1.0, d)
        super().__init__("rollback", equal_shares(len(ODDS)))
        self.d = d
        self.n_a: float = 0
        self.k_a: float = 0

    @property
    def a(self) -> float:
        """Control's rate as earlier blocks predict it, as with ``TwoSample``."""
        return predicted(self.n_a, self.k_a)

    def update(self, n: float, k10: float, k01: float, control_bad: float) -> float:
        """One block; counts as with ``PairPromotion``. log E after it."""
        _check_pairs(n, k10, k01, control_bad)
        a, d = self.a, self.d
        if rates := alternatives("rollback", a, 1.0, d):
            self._grow([_log_of_pairs((rate - a - d) / (a + rate), n, k10, k01, d) for rate in rates])
        self.n_a += n
        self.k_a += control_bad
        return self.log_e

    def to_state(self) -> State:
        return {"d": self.d, "n_a": self.n_a, "k_a": self.k_a, "logs": self._logs_state()}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> PairRollback:
        restored = cls(state["d"])
        check_counts("control in pairs", state["n_a"], state["k_a"])
        restored.n_a, restored.k_a = state["n_a"], state["k_a"]
        restored._restore(state)
        return restored


class PairSign(EProcess):
    """Pairs that both sides answered, against: the candidate is the slower one (by more than the tolerance) in at most
    half of them. A sign test, bet on with the mixture ``SLOWER``.
    """

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__("rollback", equal_shares(len(SLOWER)))

    def update(self, slower: float, n: float) -> float:
        """One block: in ``slower`` of ``n`` pairs the candidate took more than control · (1 + tolerance)."""
        check_counts("pairs", n, slower)
        self._grow([log_likelihood_ratio(n, slower, rate, 0.5) for rate in SLOWER])
        return self.log_e

    def to_state(self) -> State:
        return {"logs": self._logs_state()}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> PairSign:
        restored = cls()
        restored._restore(state)
        return restored


def discordant_log_e(k10: float, k01: float, r: float = 1.0) -> float:
    """log E of all discordant pairs, with capital 1: logmeanexp_j [k10·log(q_j/q0) + k01·log((1−q_j)/(1−q0))] with
    q0 = r/(1+r), q_j = rω_j/(1+rω_j) and ω the ``ODDS`` of two arms. Errors as with ``Discordant``.
    """
    check_margin(r, 0.0)
    return log_mean_exp(_discordant_log_es(k10, k01, r))


def _check_pairs(n: float, k10: float, k01: float, control_bad: float) -> None:
    check_counts("control in pairs", n, control_bad)
    check_counts("control alone, among its bad", control_bad, k01)
    check_counts("the candidate alone, among pairs in which control was not bad", n - control_bad, k10)


def _log_of_pairs(stake: float, n: float, k10: float, k01: float, d: float) -> float:
    """The logarithm of the factors 1 + stake·(x − d) of ``n`` pairs."""
    same = (n - k10 - k01) * log1p(-stake * d)
    return k10 * log1p(stake * (1.0 - d)) + k01 * log1p(-stake * (1.0 + d)) + same


def _discordant_log_es(k10: float, k01: float, r: float) -> list[float]:
    check_counts("discordant pairs", k10 + k01, k10)
    # log(q_j/q0) = log ω_j + log((1+r)/(1+rω_j)) and log((1−q_j)/(1−q0)) = log((1+r)/(1+rω_j))
    return [k10 * log(odds) + (k10 + k01) * log1p((r - r * odds) / (1.0 + r * odds)) for odds in ODDS]
