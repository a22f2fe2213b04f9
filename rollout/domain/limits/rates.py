"""Bad calls as a share of all: errors, mismatches, SLA misses, fallbacks. One rule for all of them (``_judged``).

With ``minimum`` calls (of both sides, where there are two) a limit is breached when the rate is above it with at least
``fewest`` bad calls, and not by chance: a branch right at the limit would show as many in one window of 1/``UNLIKELY``
at most. Else three bad calls of the first fifty would roll back a branch that stays at a fifth of the limit for good.
With fewer calls than the minimum only a sight beyond doubt is a breach: one window of 1/``RARE``, of at least ``EARLY``
calls. So 20 of 20 failed calls roll back long before the minimum, one unlucky call of five never does. Above the limit
but no breach is doubt.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Final

from rollout.domain.gates import GateSpec, Grade
from rollout.domain.limits.chance import at_least
from rollout.domain.limits.check import EARLY, RARE, Check, Unusable, Window, breach_or, part_of, percent_text, too_few
from rollout.domain.limits.window import Sums

UNLIKELY: Final = 0.01
_EDGE: Final = 1e-12  # rates are quotients of counts: equal to the limit is not above it


def errors(spec: GateSpec, window: Window, live: bool) -> list[Check]:
    """Live: arm B against arm A; in shadow, or where arm A is empty: pairs. And the absolute limit, if there is one."""
    found = []
    if spec.worse_by is not None:
        arms, pairs = _arms(window(in_both)), _pairs(window(in_pairs))
        first, second = (arms, pairs) if live and arms.control_n else (pairs, arms)
        against = partial(_against_control, spec, spec.worse_by)
        found.append(breach_or(against(first), lambda: against(second)))
    if spec.at_most is not None:
        found.append(_judged(spec, _alone(window, live), spec.at_most))
    return found


def mismatches(spec: GateSpec, window: Window, live: bool) -> list[Check]:
    """Of the pairs in which both sides answered, those that differ."""
    sums = window(compared)
    rate = Rate("differed", sums.p["mismatched"], round(compared(sums)), noun="compared calls")
    return [_judged(spec, rate, _limit(spec))]


def sla(spec: GateSpec, window: Window, live: bool) -> list[Check]:
    """Of the runs of the unit's branches, those that took longer than their SLA."""
    arm = window(live_runs).b if live else window(paired_runs).p
    return [_judged(spec, Rate("missed the SLA", arm["sla_missed"], arm["runs"], noun="runs"), _limit(spec))]


def fallbacks(spec: GateSpec, window: Window, live: bool) -> list[Check]:
    """Of the live calls, those that control answered instead; in shadow, those that it would have."""
    if live:
        arm = window(in_b).b
        rate = Rate("fell back to control", arm["fallbacks"], arm["calls"])
    else:
        arm = window(in_pairs).p
        rate = Rate("would have fallen back to control", arm["would_fall_back"], arm["pairs"])
    return [_judged(spec, rate, _limit(spec))]


@dataclass(frozen=True, slots=True)
class Rate:
    """``bad`` of ``n`` calls that ``what``. ``own``: how many control is not to blame for as well (None: all of them).
    ``control_bad`` of ``control_n``: the same of control; None where there is nothing to compare with."""

    what: str
    bad: int
    n: int
    noun: str = "calls"
    own: int | None = None
    control_bad: int = 0
    control_n: int | None = None

    @property
    def least(self) -> int:
        return self.n if self.control_n is None else min(self.n, self.control_n)

    @property
    def baseline(self) -> float | None:
        return self.control_bad / self.control_n if self.control_n else None

    def text(self) -> str:
        said = f"{percent_text(self.bad / self.n)} of {self.n:,} {self.noun} {self.what}"
        return said if self.baseline is None else f"{said}, of control's {percent_text(self.baseline)}"


def _arms(sums: Sums) -> Rate:
    a, b = sums.a, sums.b
    return Rate("failed", b["bad"], b["calls"], control_bad=a["bad"], control_n=a["calls"])


def _pairs(sums: Sums) -> Rate:
    p, n = sums.p, sums.p["pairs"]
    own = p["only_candidate_bad"]
    return Rate("failed", p["candidate_bad"], n, "pairs", own, control_bad=p["control_bad"], control_n=n)


def _alone(window: Window, live: bool) -> Rate:
    if live:
        arm = window(in_b).b
        return Rate("failed", arm["bad"], arm["calls"])
    arm = window(in_pairs).p
    return Rate("failed", arm["candidate_bad"], arm["pairs"], "pairs")


def _against_control(spec: GateSpec, worse_by: float, rate: Rate) -> Check:
    """The limit is control's rate and a margin. Before the minimum, control's few calls might flatter it: one half of a
    call more is taken as bad (Jeffreys), so that no call of control at all stands for a rate of one half."""
    control_n = rate.control_n or 0
    flattered = (rate.control_bad + 0.5) / (control_n + 1)
    return _judged(spec, rate, (rate.baseline or 0.0) + worse_by, careful_limit=flattered + worse_by)


def _judged(spec: GateSpec, rate: Rate, limit: float, careful_limit: float | None = None) -> Check:
    """The rule of the module. ``careful_limit``: the limit to hold against before the minimum, if it differs."""
    part_of(rate.bad, rate.n)
    part_of(rate.control_bad, rate.control_n or 0)
    own = rate.bad if rate.own is None else rate.own
    observed = rate.bad / rate.n if rate.n else None
    above = observed is not None and observed > limit + _EDGE
    enough = rate.least >= spec.minimum
    careful = limit if careful_limit is None else careful_limit
    judged = above and own >= spec.fewest and (enough or rate.n >= EARLY)
    if judged and (at_least(own, rate.n, limit) < UNLIKELY if enough else at_least(own, rate.n, careful) < RARE):
        grade, why = Grade.breach, f"{rate.text()}, above the limit of {percent_text(limit)}"
    elif not enough:
        grade, why = Grade.doubt, too_few(spec, rate.n, rate.noun, rate.control_n)
    elif above:
        few = f"only {own} of {spec.fewest}" if own < spec.fewest else "so few may be chance"
        grade, why = Grade.doubt, f"{rate.text()}, above the limit of {percent_text(limit)}, but {few}"
    else:
        grade, why = Grade.passed, f"{rate.text()}, within the limit of {percent_text(limit)}"
    return Check(grade=grade, why=why, observed=observed, limit=limit, baseline=rate.baseline, n=rate.n)


def _limit(spec: GateSpec) -> float:
    if spec.at_most is None:
        raise Unusable("the gate has no limit: give at_most=")
    return spec.at_most


def in_b(sums: Sums) -> float:
    return sums.b["calls"]


def in_both(sums: Sums) -> float:
    return min(sums.a["calls"], sums.b["calls"])


def in_pairs(sums: Sums) -> float:
    return sums.p["pairs"]


def compared(sums: Sums) -> float:
    return sums.p["matched"] + sums.p["ignored"] + sums.p["mismatched"]


def live_runs(sums: Sums) -> float:
    return sums.b["runs"]


def paired_runs(sums: Sums) -> float:
    return sums.p["runs"]
