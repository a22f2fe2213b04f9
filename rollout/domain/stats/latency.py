"""Latency of both arms, from histograms: by ranks, which see a shift of all calls, and by exceedances of control's
quantiles, which see a heavier tail.

A failed call is slower than every other. The candidate's buckets are moved down by the tolerance before they are
compared. Scores come from control's earlier blocks alone, so they are as good as declared beforehand: bets on bounded
scores, then, as in ``two_sample``. What is tested is that of the moved candidate and control neither has, in any block,
the higher mean rank nor more calls above a quantile.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final, Self

from rollout.domain.stats.boundary import check_margin
from rollout.domain.stats.e_process import EProcess, Side, State, equal_shares
from rollout.domain.stats.past import (
    FEWEST,
    Block,
    Buckets,
    Distribution,
    Past,
    above,
    check_tolerance,
    count,
    shift_of,
)
from rollout.domain.stats.two_sample import (
    ODDS,
    PRIOR_CALLS,
    bets_of,
    bets_on,
    log_of_counts,
    log_of_scores,
    predicted,
)

#: By how much the mean rank of the candidate is bet to be higher.
EFFECTS: Final = (0.01, 0.03, 0.06, 0.12, 0.25)
#: The quantiles of control beyond which calls are counted.
QUANTILES: Final = (0.5, 0.75, 0.9, 0.95, 0.99)
#: A rank of a call like control's others: its mean, and one over its variance.
MEAN_RANK: Final = 0.5
PRECISION: Final = 12.0
#: A call that speaks most against the bet leaves at least a tenth of its capital.
MOST: Final = 0.9

RANK_SHARES: Final = equal_shares(len(EFFECTS))
EXCEEDANCES: Final = len(QUANTILES) * len(ODDS)
ROLLBACK_SHARES: Final = tuple(0.5 * share for share in RANK_SHARES) + (0.5 / EXCEEDANCES,) * EXCEEDANCES


class _Latency(EProcess):
    """A test of latency. ``worse_by``: how much longer the candidate may take, 0 or more (0.1: a tenth); ``shift``:
    that in whole buckets.

    ``a``, ``b``: Mapping of bucket (``rollout.domain.histogram``) to calls that answered, ``a_bad``, ``b_bad``: calls
    that failed. Nothing is bet until ``FEWEST`` calls of control are known. ``ValueError`` for counts that cannot be.
    """

    __slots__ = ("past", "shift", "worse_by")

    def __init__(self, side: Side, worse_by: float, shares: tuple[float, ...]) -> None:
        super().__init__(side, shares)
        check_tolerance(worse_by)
        self.worse_by = worse_by
        self.shift = shift_of(worse_by)
        self.past = Past()

    def learn(self, a: Buckets, a_bad: int) -> None:
        """Control's calls that no candidate's stand beside: nothing is bet."""
        count("control", a, a_bad)
        self.past.learn(a, failed=a_bad)

    def _settle(self, block: Block, bets: Callable[[Block, Distribution], list[float]]) -> float:
        if block.n_a and block.n_b:
            control = self.past.distribution()
            if control.total >= FEWEST:
                self._grow(bets(block, control))
        self.past.learn(block.a, failed=block.a_rest)
        return self.log_e

    def _state(self) -> State:
        return {"worse_by": self.worse_by, "past": self.past.to_state(), "logs": self._logs_state()}

    def _reload(self, state: Mapping[str, Any]) -> None:
        self.past = Past.from_state(state["past"])
        self._restore(state)


class RankBets(_Latency):
    """Against: the candidate's mean rank among control's earlier calls is no higher than that of control's present
    calls. A bet for each of ``EFFECTS``, with equal shares.
    """

    __slots__ = ()
    _SHARES: ClassVar = RANK_SHARES

    def __init__(self, worse_by: float) -> None:
        super().__init__("rollback", worse_by, self._SHARES)

    def update(self, a: Buckets, a_bad: int, b: Buckets, b_bad: int) -> float:
        """One block; log E after it."""
        return self._settle(Block.of(a, a_bad, b, b_bad), self._bets)

    def _bets(self, block: Block, control: Distribution) -> list[float]:
        return rank_log_es(block, control, self.shift)

    def to_state(self) -> State:
        return self._state()

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        restored = cls(state["worse_by"])
        restored._reload(state)
        return restored


class LatencyRollback(RankBets):
    """Against: the candidate is no slower than control. Half of the capital is bet on ranks, half on calls above
    control's ``QUANTILES``, each as one ``TwoSample`` with r = 1 and d = 0.
    """

    __slots__ = ()
    _SHARES: ClassVar = ROLLBACK_SHARES

    def _bets(self, block: Block, control: Distribution) -> list[float]:
        log_es = rank_log_es(block, control, self.shift)
        for q in QUANTILES:
            log_es += exceedance_log_es(block, control, self.shift, q, "rollback", 0.0)
        return log_es


class LatencyPromotion(_Latency):
    """Against: at control's quantile ``q`` in (0, 1), stretched by the tolerance, at least d more of the candidate's
    calls lie above than of control's above the quantile itself. A ``TwoSample`` for promotion, all its capital from the
    start.
    """

    __slots__ = ("q",)

    def __init__(self, q: float, worse_by: float) -> None:
        if not 0 < q < 1:
            raise ValueError(f"q = {q} is no quantile: give one above 0 and below 1 (0.95)")
        super().__init__("promote", worse_by, equal_shares(bets_of("promote")))
        self.q = q

    @property
    def tau(self) -> int | None:
        """The bucket above which a call of control exceeds the quantile (``tau + shift`` for the candidate's); None
        where it is not known yet, or is a failed call.
        """
        control = self.past.distribution()
        return control.quantile(self.q) if control.total >= FEWEST else None

    def update(self, a: Buckets, a_bad: int, b: Buckets, b_bad: int, d: float) -> float:
        """One block, against the tolerance ``d`` in [-1, 1]; log E after it."""
        check_margin(1.0, d)

        def bets(block: Block, control: Distribution) -> list[float]:
            return exceedance_log_es(block, control, self.shift, self.q, "promote", d)

        return self._settle(Block.of(a, a_bad, b, b_bad), bets)

    def to_state(self) -> State:
        return {"q": self.q, **self._state()}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> LatencyPromotion:
        restored = cls(state["q"], state["worse_by"])
        restored._reload(state)
        return restored


def rank_log_es(block: Block, control: Distribution, shift: int) -> list[float]:
    """What the bets on ranks return, one for each of ``EFFECTS``.

    A factor 1 + u(y − ½) for the candidate's calls and 1 − v(y − ½) for control's, u = λ/π, v = λ/(1−π). Near the null
    capital grows fastest with λ = effect·π(1−π)/variance (betting on bounded scores: Waudby-Smith and Ramdas, arXiv
    2010.09686), and the variance of a rank is 1/12.
    """
    pi = block.share
    of_a = [(control.rank(bucket), calls) for bucket, calls in block.a.items()]
    of_b = [(control.rank(bucket - shift), calls) for bucket, calls in block.b.items()]
    of_a.append((1.0, block.a_rest))
    of_b.append((1.0, block.b_rest))
    most = MOST * min(pi, 1.0 - pi) / MEAN_RANK
    log_es = []
    for effect in EFFECTS:
        stake = min(PRECISION * pi * (1.0 - pi) * effect, most)
        log_es.append(log_of_scores((stake / pi, MEAN_RANK, stake / (1.0 - pi), MEAN_RANK), of_a, of_b))
    return log_es


def exceedance_log_es(block: Block, control: Distribution, shift: int, q: float, side: Side, d: float) -> list[float]:
    """What the bets on calls above control's quantile ``q`` return: 0 where it is a failed call."""
    tau = control.quantile(q)
    if tau is None:
        return [0.0] * bets_of(side)
    rate = predicted(control.total, control.above(tau), PRIOR_CALLS * (1.0 - q))
    k_a = above(block.a, tau) + block.a_rest
    k_b = above(block.b, tau + shift) + block.b_rest
    return [log_of_counts(bet, block.n_a, k_a, block.n_b, k_b) for bet in bets_on(side, block.share, rate, 1.0, d)]
