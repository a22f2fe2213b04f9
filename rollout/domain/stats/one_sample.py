"""One arm against a limit: mismatches of shadow pairs, and absolute objectives.

A mixture of likelihood ratios of Bernoulli calls: with p ≤ p0 (or p ≥ p0) each has expectation at most 1, whatever
p_j above (below) p0 it bets on, so the product over calls is an e-process (Ville's inequality; the mixture over
alternatives as in Lindon and Malek, arXiv 2011.03567).
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf, log, log1p
from typing import Any, Final

from rollout.domain.stats.e_process import EProcess, Side, State, check_counts, check_side, equal_shares, log_sum_exp

#: Rollback: the alternative over the limit, at most ``HIGHEST``.
ABOVE: Final = (1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 100.0, 300.0)
HIGHEST: Final = 0.9
#: Promotion: the alternative over the limit, and the capital that each is given.
BELOW: Final = (0.0, 0.05, 0.2, 0.5)
BELOW_SHARES: Final = (0.4, 0.2, 0.2, 0.2)
ABOVE_SHARES: Final = equal_shares(len(ABOVE))
#: The highest limit of a rollback gate.
HIGHEST_LIMIT: Final = 0.5


class OneSample(EProcess):
    """Blocks of one arm; ``log_e`` grows where they speak against the null.

    ``side="rollback"``: against p ≤ p0; ``side="promote"``: against p ≥ p0, in each block. ``p0`` may differ from
    block to block; it must not depend on the block.
    """

    __slots__ = ()

    def __init__(self, side: Side) -> None:
        super().__init__(side, _shares(side))

    def update(self, n: float, k: float, p0: float) -> float:
        """One block: ``k`` of ``n`` calls were bad, where ``p0`` of them may be; log E after it.

        ``ValueError`` for counts that cannot be; and for ``p0`` outside (0, 0.5] (rollback) or (0, 1) (promotion).
        """
        self._grow(_log_es(n, k, p0, self.side))
        return self.log_e

    def to_state(self) -> State:
        return {"side": self.side, "logs": self._logs_state()}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> OneSample:
        restored = cls(state["side"])
        restored._restore(state)
        return restored


def one_sample_log_e(n: float, k: float, p0: float, side: Side) -> float:
    """log E of ``k`` bad of ``n`` calls in all, with capital 1: logsumexp_j [log w_j + k·log(p_j/p0) +
    (n−k)·log((1−p_j)/(1−p0))]. Sides, p0 and errors as with ``OneSample``.
    """
    gained = _log_es(n, k, p0, side)
    return log_sum_exp([log(share) + one for share, one in zip(_shares(side), gained, strict=True)])


def _shares(side: Side) -> tuple[float, ...]:
    return ABOVE_SHARES if side == "rollback" else BELOW_SHARES


def _log_es(n: float, k: float, p0: float, side: Side) -> list[float]:
    check_side(side)
    check_counts("the calls", n, k)
    if side == "rollback":
        if not 0 < p0 <= HIGHEST_LIMIT:
            raise ValueError(
                f"a limit of {p0} cannot be tested for rollback: give one above 0, at most {HIGHEST_LIMIT}"
            )
        rates = [min(p0 * times, HIGHEST) for times in ABOVE]
    else:
        if not 0 < p0 < 1:
            raise ValueError(f"a limit of {p0} cannot be proven: give one above 0 and below 1")
        rates = [p0 * times for times in BELOW]
    return [log_likelihood_ratio(n, k, rate, p0) for rate in rates]


def log_likelihood_ratio(n: float, k: float, rate: float, p0: float) -> float:
    """k·log(rate/p0) + (n−k)·log((1−rate)/(1−p0)); −∞ if the rate is 0 and k is not."""
    of_good = (n - k) * (log1p(-rate) - log1p(-p0))
    if k == 0:
        return of_good
    return k * log(rate / p0) + of_good if rate else -inf
