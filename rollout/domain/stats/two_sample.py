"""Two arms: is the candidate's rate of bad calls at most (or at least) r times control's, plus d?

Blocks of two Bernoulli streams are tested as by Turner, Ly and Grünwald (arXiv 2106.02693, 2203.09785): what each arm
did in a block multiplies the capital of a bet by its likelihood ratio against the nearest null (``boundary``). Rates
may differ from block to block, since π is the realised share of each (as with Lindon and Malek, arXiv 2011.03567) and
the null is stated block by block: what hits both arms alike is no evidence.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import inf, log1p
from typing import Any, Final

from rollout.domain.stats.boundary import NO_BET, Bet, bet, check_margin
from rollout.domain.stats.e_process import EProcess, Side, State, check_counts, check_side, equal_shares

#: Control's rate before any call is seen: 0.5 bad of 50.
PRIOR_BAD: Final = 0.5
PRIOR_CALLS: Final = 50.0
#: Rates bet on are no nearer than this to 0 and 1.
TINY: Final = 1e-9

#: Rollback: the odds of the alternative over those of the boundary.
ODDS: Final = (1.2, 1.5, 2.0, 3.0, 5.0, 8.0, 15.0, 30.0)
#: Promotion: the alternative's rate over control's.
TIMES: Final = (0.5, 0.8, 1.0, 1.2)

Score = tuple[float, float]  # (score in [0, 1], how many calls have it)


class TwoSample(EProcess):
    """Blocks of both arms; ``log_e`` grows where they speak against the null.

    ``side="rollback"``: against p_B ≤ r·p_A + d; ``side="promote"``: against p_B ≥ r·p_A + d, in each block. ``r``
    above 0, ``d`` in [-1, 1]. ``n_a``, ``k_a``: control's calls and bad ones (or sum of scores) so far. ``ValueError``
    for another side or margin, and for counts that cannot be.
    """

    __slots__ = ("d", "k_a", "n_a", "r")

    def __init__(self, side: Side, r: float = 1.0, d: float = 0.0) -> None:
        check_margin(r, d)
        super().__init__(side, equal_shares(bets_of(side)))
        self.r, self.d = r, d
        self.n_a: float = 0
        self.k_a: float = 0

    @property
    def a(self) -> float:
        """Control's rate as earlier blocks predict it: (0.5 + k)/(50 + n), from 1e-9 to 1 − 1e-9."""
        return predicted(self.n_a, self.k_a)

    def update(self, n_a: float, k_a: float, n_b: float, k_b: float) -> float:
        """One block: calls and bad calls (or sums of scores in [0, 1]) of control and candidate; log E after it.

        A block with one arm only teaches control's rate. A sum of scores wins at most what ``update_scores`` would: the
        logarithm of a factor is concave in the score.
        """
        check_counts("control", n_a, k_a)
        check_counts("the candidate", n_b, k_b)
        if n_a and n_b:
            bets = bets_on(self.side, n_b / (n_a + n_b), self.a, self.r, self.d)
            self._grow([log_of_counts(one, n_a, k_a, n_b, k_b) for one in bets])
        self.n_a += n_a
        self.k_a += k_a
        return self.log_e

    def update_scores(self, a: Iterable[Score], b: Iterable[Score]) -> float:
        """One block of bounded scores, (score in [0, 1], calls) of control and of the candidate; log E after it."""
        a, b = list(a), list(b)
        n_a, sum_a = totals("control", a)
        n_b, _ = totals("the candidate", b)
        if n_a and n_b:
            bets = bets_on(self.side, n_b / (n_a + n_b), self.a, self.r, self.d)
            self._grow([log_of_scores(one, a, b) for one in bets])
        self.n_a += n_a
        self.k_a += sum_a
        return self.log_e

    def learn(self, n_a: float, k_a: float) -> None:
        """Control's calls that no candidate's stand beside (a leftover): they teach its rate, nothing is bet."""
        check_counts("control", n_a, k_a)
        self.n_a += n_a
        self.k_a += k_a

    def fresh(self, d: float | None = None) -> TwoSample:
        """The same test with the same past of control and new capital, for a new stage; ``d``: another margin."""
        other = super().fresh()
        if d is not None:
            check_margin(self.r, d)
            other.d = d
        return other

    def to_state(self) -> State:
        return {
            "side": self.side,
            "r": self.r,
            "d": self.d,
            "n_a": self.n_a,
            "k_a": self.k_a,
            "logs": self._logs_state(),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> TwoSample:
        restored = cls(state["side"], state["r"], state["d"])
        restored.learn(state["n_a"], state["k_a"])
        restored._restore(state)
        return restored


def block_log_e(
    n_a: float, k_a: float, n_b: float, k_b: float, a: float, b: float, r: float = 1.0, d: float = 0.0
) -> float:
    """What one block multiplies the capital of one alternative by, as a logarithm; 0 where an arm is missing.

    ``a``, ``b``: the rates bet on, in (0, 1). b above r·a + d bets on a worse candidate, below on a better one.
    """
    check_margin(r, d)
    check_counts("control", n_a, k_a)
    check_counts("the candidate", n_b, k_b)
    if not (0 < a < 1 and 0 < b < 1):
        raise ValueError(f"rates {a} and {b} cannot be bet on: both must lie between 0 and 1")
    if not (n_a and n_b):
        return 0.0
    return log_of_counts(bet(n_b / (n_a + n_b), a, b, r, d), n_a, k_a, n_b, k_b)


def alternatives(side: Side, a: float, r: float = 1.0, d: float = 0.0) -> tuple[float, ...]:
    """The candidate's rates that are bet on where control's is ``a``; with m = r·a + d none where no bet can be made.

    Rollback: those whose odds are ``ODDS`` times the odds of m (none if m is not within (0, 1)). Promotion: ``TIMES``
    times a, but at most 0.95·m, at least 1e-9 and at most 1 − 1e-9 (none if m is not above 0).
    """
    check_side(side)
    m = r * a + d
    if side == "rollback":
        if not TINY <= m <= 1.0 - TINY:
            return ()
        return tuple([odds * m / (1.0 + (odds - 1.0) * m) for odds in ODDS])
    if m < 2.0 * TINY:
        return ()
    most = min(0.95 * m, 1.0 - TINY)
    return tuple([max(TINY, min(times * a, most)) for times in TIMES])


def predicted(n: float, k: float, prior: float = PRIOR_BAD) -> float:
    """A rate from what was seen before: (prior + k)/(50 + n), kept between 1e-9 and 1 − 1e-9."""
    return min(max((prior + k) / (PRIOR_CALLS + n), TINY), 1.0 - TINY)


def bets_of(side: Side) -> int:
    """How many alternatives are bet on."""
    return len(ODDS) if side == "rollback" else len(TIMES)


def bets_on(side: Side, pi: float, a: float, r: float, d: float) -> list[Bet]:
    """The bets of all alternatives, in their order; that many times ``NO_BET`` where none can be made."""
    return [bet(pi, a, b, r, d) for b in alternatives(side, a, r, d)] or [NO_BET] * bets_of(side)


def log_of_counts(placed: Bet, n_a: float, k_a: float, n_b: float, k_b: float) -> float:
    """The logarithm of the factors of a block's calls, each with its 1 or 0."""
    u, m_b, v, m_a = placed
    return (
        k_b * log1p(u * (1.0 - m_b))
        + (n_b - k_b) * log1p(-u * m_b)
        + k_a * log1p(-v * (1.0 - m_a))
        + (n_a - k_a) * log1p(v * m_a)
    )


def log_of_scores(placed: Bet, a: Iterable[Score], b: Iterable[Score]) -> float:
    """The logarithm of the factors 1 + u(y − m_B) and 1 − v(y − m_A) of a block's calls."""
    u, m_b, v, m_a = placed
    gained = sum([count * log1p(u * (score - m_b)) for score, count in b])
    return gained + sum([count * log1p(-v * (score - m_a)) for score, count in a])


def totals(whose: str, scores: list[Score]) -> tuple[float, float]:
    """How many calls, and the sum of their scores. ``ValueError`` for scores outside [0, 1] and counts below 0."""
    n = total = 0.0
    for score, count in scores:
        if not (0 <= score <= 1 and 0 <= count < inf):
            raise ValueError(
                f"{whose}: {count} calls of score {score} cannot be: scores lie in [0, 1], counts at 0 or more"
            )
        n += count
        total += count * score
    return n, total
