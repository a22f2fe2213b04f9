"""A quantile of the candidate's latency, against control's and against an absolute limit. A failed call exceeds both.

A quantile rests on its few highest calls: at p95 of 50 calls three slow ones lie above any limit. So a breach needs
more calls above the limit than chance leaves there (a share of 1 - q, by the definition of the quantile): beyond one
window in 1/``UNLIKELY``, or in 1/``RARE`` before the minimum. Above the limit, but within chance, is doubt.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Final

from rollout.domain.evidence import Figures
from rollout.domain.gates import GateSpec, Grade
from rollout.domain.histogram import Histogram
from rollout.domain.limits.chance import at_least
from rollout.domain.limits.check import EARLY, RARE, Check, Window, breach_or, part_of, time_text, too_few
from rollout.domain.limits.rates import in_b, in_both
from rollout.domain.limits.window import Sums

UNLIKELY: Final = 1e-3

__all__ = ["both_answered", "in_b", "in_both", "latency"]


def latency(spec: GateSpec, window: Window, live: bool) -> list[Check]:
    """Live: arm B against arm A; in shadow, or where arm A is empty: pairs. The absolute limit, if there is one, then
    also stands in for a comparison that has too few calls."""
    q = 0.95 if spec.q is None else spec.q
    arms, pairs = window(in_both), window(both_answered).p
    by_arms = (_times(arms.b, "latency", "bad", "calls"), _times(arms.a, "latency", "bad", "calls"))
    by_pairs = (
        _times(pairs, "candidate", "only_candidate_bad", "pairs"),
        _times(pairs, "control", "only_control_bad", "pairs"),
    )
    found = []
    if spec.at_most is not None:
        own = _times(window(in_b).b, "latency", "bad", "calls") if live else by_pairs[0]
        found.append(_judged(spec, q, own, spec.at_most))
    if spec.worse_by is not None:
        first, second = (by_arms, by_pairs) if live and by_arms[1].n else (by_pairs, by_arms)
        slower_than = partial(_slower, spec, q, spec.worse_by)
        slower = breach_or(slower_than(*first), lambda: slower_than(*second))
        if spec.at_most is None or min(side.n for side in first) >= spec.minimum or slower.grade is Grade.breach:
            found.append(slower)
    return found


@dataclass(frozen=True, slots=True)
class Times:
    """The latencies of one side, and how many further calls took longer than all of them, because they failed."""

    values: Histogram
    failed: int

    @property
    def n(self) -> int:
        return self.values.total + self.failed


def _times(source: Figures, histogram: str, failed: str, of: str) -> Times:
    part_of(source[failed], source[of])
    return Times(source.histograms.get(histogram, Histogram()), source[failed])


def _slower(spec: GateSpec, q: float, worse_by: float, candidate: Times, control: Times) -> Check:
    baseline = control.values.quantile(q, beyond=control.failed)
    if baseline is None or control.n < spec.minimum:
        why = too_few(spec, candidate.n, "calls", control.n)
        return Check(grade=Grade.doubt, why=why, baseline=baseline, n=candidate.n)
    return _judged(spec, q, candidate, baseline * (1 + worse_by), baseline)


def _judged(spec: GateSpec, q: float, side: Times, limit: float, baseline: float | None = None) -> Check:
    observed, n = side.values.quantile(q, beyond=side.failed), side.n
    slow = side.values.above(limit) + side.failed
    above = observed is not None and observed > limit
    enough = n >= spec.minimum
    rare = (enough or n >= EARLY) and at_least(slow, n, 1 - q) < (UNLIKELY if enough else RARE)
    said = f"p{q * 100:g} is {time_text(observed)} over {n:,} calls"
    if baseline is not None:
        said += f", control's {time_text(baseline)}"
    if above and rare and slow >= spec.fewest:
        grade, why = Grade.breach, f"{said}, above the limit of {time_text(limit)}"
    elif not enough:
        grade, why = Grade.doubt, too_few(spec, n, "calls")
    elif above:
        grade, why = (
            Grade.doubt,
            f"{said}, above the limit of {time_text(limit)}, but {slow:,} slow calls may be chance",
        )
    else:
        grade, why = Grade.passed, f"{said}, within the limit of {time_text(limit)}"
    return Check(grade=grade, why=why, observed=observed, limit=limit, baseline=baseline, n=n)


def both_answered(sums: Sums) -> float:
    """Pairs in which neither side was bad: those whose latencies are known."""
    return sums.p["pairs"] - sums.p["control_bad"] - sums.p["only_candidate_bad"]
