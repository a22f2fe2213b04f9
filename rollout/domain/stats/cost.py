"""What calls cost: the mean of both arms, and of one arm against a limit.

A mean cannot be tested while a single call may cost anything, so costs are clipped at a cap, and the nulls are stated
for the clipped mean: y = min(cost/cap, 1), a bounded score. Costs come by bucket of ``rollout.domain.histogram``, in
milli-dollars, with a count of calls that cost nothing; limits and caps are in milli-dollars too. A call of unknown cost
belongs in neither: the caller decides what it stands for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import inf, log1p
from typing import Any, Final, NamedTuple

from rollout.domain.histogram import LAST, bucket_of, lower_edge, middle
from rollout.domain.stats.boundary import check_margin
from rollout.domain.stats.e_process import EProcess, Side, State, equal_shares
from rollout.domain.stats.past import FEWEST, Block, Buckets, Past, above, check_tolerance, count, shift_of
from rollout.domain.stats.two_sample import (
    Score,
    bets_of,
    bets_on,
    log_of_counts,
    log_of_scores,
    predicted,
)

#: The quantile of control's earlier costs at which costs are clipped.
CAP_QUANTILE: Final = 0.995
#: One arm: the cap over the limit.
CAP_OVER_LIMIT: Final = 20.0
#: One arm, rollback: parts of the highest stake that leaves a call without cost some capital.
STAKES: Final = (0.02, 0.05, 0.1, 0.2, 0.4, 0.8)
#: One arm, promotion: likewise of a call that costs the cap.
SAFE_STAKES: Final = (0.1, 0.3, 0.6, 0.9)

_MIDDLES: Final = tuple(middle(bucket) for bucket in range(LAST + 1))


class _TwoArms(EProcess):
    """Costs of both arms. ``worse_by``: how much dearer the candidate may be, 0 or more (0.1: a tenth). ``cap``: the
    most that a call costs by contract; None: control's earlier p99.5 (no bet where that is 0).

    ``a``, ``b``: Mapping of bucket to calls, ``a_zeros``, ``b_zeros``: calls that cost nothing. Nothing is bet until
    ``FEWEST`` calls of control are known. ``ValueError`` for counts, tolerances and caps that cannot be.
    """

    __slots__ = ("cap", "past", "worse_by")

    def __init__(self, side: Side, worse_by: float, cap: float | None, shares: tuple[float, ...]) -> None:
        super().__init__(side, shares)
        check_tolerance(worse_by)
        if cap is not None and not 0 < cap < inf:
            raise ValueError(f"a cap of {cap} cannot be: give milli-dollars above 0, or none for control's p99.5")
        self.worse_by, self.cap = worse_by, cap
        self.past = Past()

    def learn(self, a: Buckets, a_zeros: int) -> None:
        """Control's calls that no candidate's stand beside: nothing is bet."""
        count("control", a, a_zeros)
        self.past.learn(a, zeros=a_zeros)

    def _settle(self, block: Block, bets: Callable[[Block, Control], list[float]]) -> float:
        if block.n_a and block.n_b and (control := self._control()):
            self._grow(bets(block, control))
        self.past.learn(block.a, zeros=block.a_rest)
        return self.log_e

    def _control(self) -> Control | None:
        """What earlier blocks tell; None where that is too little to bet on."""
        known = self.past.distribution()
        if known.total < FEWEST:
            return None
        if self.cap is not None:
            cap, edge = self.cap, bucket_of(self.cap)
        else:
            edge = known.quantile(CAP_QUANTILE) or 0  # no call failed, so it is there; in bucket 0 as good as free
            if edge <= 0:
                return None
            cap = lower_edge(edge + 1)
        scores = sum([score * calls for score, calls in clipped(self.past.histogram, cap)])
        return Control(cap, edge, predicted(known.total, scores), predicted(known.total, known.above(edge)))

    def _mean_log_es(self, block: Block, control: Control, d: float) -> list[float]:
        """What ordinary two-arm bets on the clipped costs return."""
        of_a, of_b = clipped(block.a, control.cap), clipped(block.b, control.cap)
        of_a.append((0.0, block.a_rest))
        of_b.append((0.0, block.b_rest))
        bets = bets_on(self.side, block.share, control.mean, 1.0 + self.worse_by, d)
        return [log_of_scores(bet, of_a, of_b) for bet in bets]

    def to_state(self) -> State:
        return {"worse_by": self.worse_by, "cap": self.cap, "past": self.past.to_state(), "logs": self._logs_state()}

    def _reload(self, state: Mapping[str, Any]) -> None:
        self.past = Past.from_state(state["past"])
        self._restore(state)


class MeanCost(_TwoArms):
    """Against: the candidate's mean clipped cost is at most 1 + ``worse_by`` times control's; and, with the other half
    of the capital: of its calls no more lie above the cap, stretched by ``worse_by``, than of control's above the cap.

    Costs that are all higher by ``worse_by`` satisfy both, so the second null is stretched as quantiles of latency are.
    """

    __slots__ = ()

    def __init__(self, worse_by: float, cap: float | None = None) -> None:
        super().__init__("rollback", worse_by, cap, equal_shares(2 * bets_of("rollback")))

    def update(self, a: Buckets, a_zeros: int, b: Buckets, b_zeros: int) -> float:
        """One block; log E after it."""
        return self._settle(Block.of(a, a_zeros, b, b_zeros), self._bets)

    def _bets(self, block: Block, control: Control) -> list[float]:
        log_es = self._mean_log_es(block, control, 0.0)
        k_a = above(block.a, control.edge)
        k_b = above(block.b, control.edge + shift_of(self.worse_by))
        bets = bets_on("rollback", block.share, control.above, 1.0, 0.0)
        return log_es + [log_of_counts(bet, block.n_a, k_a, block.n_b, k_b) for bet in bets]

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> MeanCost:
        restored = cls(state["worse_by"], state["cap"])
        restored._reload(state)
        return restored


class MeanCostPromotion(_TwoArms):
    """Against: the candidate's mean clipped cost is at least 1 + ``worse_by`` times control's, plus d caps. All its
    capital from the start.
    """

    __slots__ = ()

    def __init__(self, worse_by: float, cap: float | None = None) -> None:
        super().__init__("promote", worse_by, cap, equal_shares(bets_of("promote")))

    def update(self, a: Buckets, a_zeros: int, b: Buckets, b_zeros: int, d: float) -> float:
        """One block, against the tolerance ``d`` in [-1, 1], in caps; log E after it."""
        check_margin(1.0, d)

        def bets(block: Block, control: Control) -> list[float]:
            return self._mean_log_es(block, control, d)

        return self._settle(Block.of(a, a_zeros, b, b_zeros), bets)

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> MeanCostPromotion:
        restored = cls(state["worse_by"], state["cap"])
        restored._reload(state)
        return restored


class CostLimit(EProcess):
    """One arm's mean cost against ``limit`` (milli-dollars, above 0), clipped at a cap of 20 limits: y =
    min(cost/cap, 1) against m = 1/20. ``side="rollback"``: against E[y] ≤ m; ``side="promote"``: against E[y] ≥ m.

    Bets on a bounded score: each call multiplies the capital by 1 + λ(y − m) (promotion: by 1 + λ(m − y)), of which the
    expectation is at most 1 under the null for any λ ≥ 0 that keeps it above 0 (Waudby-Smith and Ramdas, arXiv
    2010.09686). Mixed are ``STAKES`` of the highest such λ.

    There is no bet on the number of calls above the limit: a branch whose mean is well within it may have any number of
    them (half at 1.5 limits, half at nothing), so it would be rolled back though it keeps the limit. How many lie
    above 20 limits is bounded (Markov), but y − m is never less than what a bet on them would return.

    A bucket counts as its lower edge, for promotion as its upper one: up to 2 % for the null.
    """

    __slots__ = ("limit",)

    def __init__(self, limit: float, side: Side = "rollback") -> None:
        super().__init__(side, equal_shares(len(STAKES if side == "rollback" else SAFE_STAKES)))
        if not 0 < limit < inf:
            raise ValueError(f"a limit of {limit} cannot be tested: give milli-dollars a call, above 0")
        self.limit = limit

    def update(self, costs: Buckets, zeros: int) -> float:
        """One block: calls by bucket of their cost, and calls that cost nothing; log E after it."""
        count("costs", costs, zeros)
        edge = 0 if self.side == "rollback" else 1
        cap, m = self.limit * CAP_OVER_LIMIT, 1.0 / CAP_OVER_LIMIT
        excess = [(min(lower_edge(at + edge) / cap, 1.0) - m, calls) for at, calls in costs.items()]
        excess.append((-m, zeros))
        if self.side == "rollback":
            stakes = [part / m for part in STAKES]
        else:
            stakes = [-part / (1.0 - m) for part in SAFE_STAKES]
        self._grow([sum([calls * log1p(stake * over) for over, calls in excess]) for stake in stakes])
        return self.log_e

    def to_state(self) -> State:
        return {"limit": self.limit, "side": self.side, "logs": self._logs_state()}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> CostLimit:
        restored = cls(state["limit"], state["side"])
        restored._restore(state)
        return restored


class Control(NamedTuple):
    """What control's earlier calls predict. ``cap``: where costs are clipped, ``edge``: its bucket; ``mean``: of the
    clipped costs, in caps; ``above``: the share of calls above the cap.
    """

    cap: float
    edge: int
    mean: float
    above: float


def clipped(costs: Buckets, cap: float) -> list[Score]:
    """Scores min(cost/cap, 1) with how many calls have them; a bucket counts as its middle."""
    return [(score if (score := _MIDDLES[at] / cap) < 1.0 else 1.0, calls) for at, calls in costs.items()]
