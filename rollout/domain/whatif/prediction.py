"""What many recorded calls come to under a setting: latency, completeness, tokens, dollars, mismatches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from rollout.domain.outcomes import RunOutcome
from rollout.domain.whatif import estimate
from rollout.domain.whatif.estimate import Estimate, Figure, Interval, figure, mean, quantile_of, share
from rollout.domain.whatif.recorded import RecordedCall
from rollout.domain.whatif.replay import Beyond, Doubt, Replayed, Used, replay
from rollout.domain.whatif.setting import Rules

_BY_ITSELF: Final = (RunOutcome.ok, RunOutcome.answered, RunOutcome.skipped)
_P50, _P95, _P99 = quantile_of(0.5), quantile_of(0.95), quantile_of(0.99)


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Quantiles in seconds."""

    p50: Figure
    p95: Figure
    p99: Figure


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown:
    """Why records cannot speak: ``calls`` of them, because of ``doubt``, of a branch (``""``: of the whole reply)."""

    branch: str
    doubt: Doubt
    calls: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """What calls come to.

    ``fan_out``: until the candidate is made; ``user``: until the user has a reply. ``complete``: the share of calls in
    which every branch that was to run has a part; ``parts``: a call. ``tokens``, ``nano``: of all branches, a call.
    ``lost_nano``: a call, what runs cost in the records that now are cut before they say it; in no other figure, and a
    provider may bill it all the same. ``mismatched``: of the calls that were compared; None where there are none.
    ``fell_back``: the share of calls in which the user gets control's reply. ``unknown``: most calls first.
    """

    calls: int
    fan_out: Latency
    user: Latency
    complete: Figure
    parts: Figure
    tokens: Figure
    nano: Figure
    lost_nano: float
    mismatched: Figure | None
    fell_back: Figure
    unknown: Sequence[Unknown]


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """The replay of what is in force against what was measured: the p95 in seconds that users would have had, over the
    ``calls`` in which every run came to its own end."""

    calls: int
    measured_s: float
    replayed_s: float

    @property
    def error(self) -> float:
        """Relative."""
        return self.replayed_s / self.measured_s - 1 if self.measured_s else 0.0


def predict(calls: Sequence[RecordedCall], rules: Rules) -> Prediction:
    """What at least one call comes to under the rules."""
    found = _Calls(calls, rules)
    return Prediction(
        calls=len(calls),
        fan_out=found.latency(lambda one: one.fan_out_s),
        user=found.latency(lambda one: one.user_s),
        complete=found.figure(share, lambda one: one.complete, estimate.shares),
        parts=found.figure(mean, lambda one: one.parts, estimate.means),
        tokens=found.spent(lambda used: (used.tokens, used.most_tokens)),
        nano=found.spent(lambda used: (used.nano, used.most_nano)),
        lost_nano=mean([one.used.lost_nano for one in found.soon], found.weights).value,
        mismatched=found.mismatched(),
        fell_back=found.figure(share, lambda one: one.fell_back, estimate.rare),
        unknown=found.unknown(),
    )


def check(calls: Sequence[RecordedCall], rules: Rules) -> Check | None:
    """How well the replay tells what is known already; ``rules``: of what is in force. None where no call can say."""
    pairs = [
        (call.candidate_s, replay(call, rules).user_s)
        for call in calls
        if call.candidate_s is not None and all(run.outcome in _BY_ITSELF for run in call.runs.values())
    ]
    if not pairs:
        return None
    measured, replayed = (_P95(side, [1.0] * len(pairs)).value for side in zip(*pairs, strict=True))
    return Check(calls=len(pairs), measured_s=measured, replayed_s=replayed)


class _Calls:
    """The calls under the rules, as they may have been: three times where their records do not speak, else once."""

    def __init__(self, calls: Sequence[RecordedCall], rules: Rules) -> None:
        self.soon = [replay(call, rules) for call in calls]
        pairs = list(zip(calls, self.soon, strict=True))
        late, never = (
            [replay(call, rules, beyond) if seen.doubts else seen for call, seen in pairs]
            for beyond in (Beyond.late, Beyond.never)
        )
        self.sides = (self.soon, late, never)
        self.weights = [call.weight for call in calls]

    def figure(self, of: Estimate, read: Callable[[Replayed], float], within: Callable[[float], float]) -> Figure:
        sides = [[read(one) for one in side] for side in self.sides]
        low = of(list(map(min, *sides)), self.weights)
        known = sides[0] == sides[1] == sides[2]
        return figure(low, low if known else of(list(map(max, *sides)), self.weights), within)

    def latency(self, read: Callable[[Replayed], float]) -> Latency:
        p50, p95, p99 = (self.figure(of, read, estimate.latencies) for of in (_P50, _P95, _P99))
        return Latency(p50=p50, p95=p95, p99=p99)

    def spent(self, read: Callable[[Used], tuple[float, float]]) -> Figure:
        """``read``: at least and at most."""
        least = [min(read(one.used)[0] for one in call) for call in zip(*self.sides, strict=True)]
        most = [max(read(one.used)[1] for one in call) for call in zip(*self.sides, strict=True)]
        return figure(mean(least, self.weights), mean(most, self.weights), estimate.means)

    def mismatched(self) -> Figure | None:
        found = [one for side in self.sides if (one := _of_compared(side, self.weights)) is not None]
        if not found:
            return None
        found.sort(key=lambda one: one.value)
        return figure(found[0], found[-1], estimate.rare)

    def unknown(self) -> Sequence[Unknown]:
        """What any of them doubts, each call once."""
        count = Counter(
            doubt
            for call in zip(*self.sides, strict=True)
            if call[0].doubts
            for doubt in {doubt for one in call for doubt in one.doubts}
        )
        found = (Unknown(branch=branch, doubt=doubt, calls=calls) for (branch, doubt), calls in count.items())
        return tuple(sorted(found, key=lambda one: (-one.calls, not one.branch, one.branch, one.doubt)))


def _of_compared(side: Sequence[Replayed], weights: Sequence[float]) -> Interval | None:
    """The share that differs of the calls that were compared."""
    pairs = [(one.differs, weight) for one, weight in zip(side, weights, strict=True) if one.compared]
    return share([pair[0] for pair in pairs], [pair[1] for pair in pairs]) if pairs else None
