"""A rate against an absolute limit: mismatches, missed SLAs, fallbacks, errors, slow calls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import log
from typing import Any, Final

from rollout.domain.evidence import Figures
from rollout.domain.gates import Stage
from rollout.domain.limits.check import percent_text
from rollout.domain.sequential.part import PartState, Second, Sight, calls_for, counted, of_both_arms
from rollout.domain.stats import OneSample

MOST_MISMATCHES: Final = 0.05
MOST_OF_STEP: Final = 0.95  # beyond it nothing is left to be shown

_REMEDY: Final = "ignore in Compare what varies, or declare gates.mismatches(…, beyond_noise=True)"

Counts = tuple[int, int]  # of how many, and how many of those


@dataclass(frozen=True, slots=True)
class Rate:
    """What is counted: live of arm B, or of the pairs too; in shadow of the pairs. ``what``, ``which``: for people, as
    in "0.3% of 1,200 ``which`` calls ``what``".
    """

    live: Callable[[Second], Counts]
    shadow: Callable[[Second], Counts]
    what: str
    which: str = ""


class Limit:
    """A ``Part``. H0 of a rollback: the rate is within ``limit``, in (0, 0.5]; of a step: it is not even within the
    limit and the tolerance of the step (the harm budget over its share).
    """

    def __init__(self, rate: Rate, limit: float) -> None:
        self._rate = rate
        self._at_most = limit
        self._test = OneSample("rollback")
        self._step = OneSample("promote")
        self._seen = [0, 0]

    def enter(self, stage: Stage) -> None:
        self._step = OneSample("promote")
        self._seen = [0, 0]

    def renew(self) -> None:
        self._test = self._test.fresh()

    def fund(self, capital: float) -> None:
        self._test.fund(capital)

    def update(self, second: Second, stage: Stage, capital: float) -> None:
        n, k = (self._rate.live if stage.live else self._rate.shadow)(second)
        if not n:
            return
        self._test.fund(capital)
        self._test.update(n, k, self._now(stage))
        if stage.target is not None:
            self._step.update(n, k, self._of_step(stage))
        self._seen = [self._seen[0] + n, self._seen[1] + k]

    def _now(self, stage: Stage) -> float:
        """The limit in force."""
        return self._at_most

    def _of_step(self, stage: Stage) -> float:
        """The limit below which the rate must be shown to be for the next step."""
        return min(MOST_OF_STEP, self._at_most + (stage.tolerance or 0.0))

    def compare(self, a: Figures, b: Figures, stage: Stage, capital: float) -> None:
        """Nothing: control has no part in it."""

    def learn(self, a: Figures) -> None:
        """Nothing, likewise."""

    @property
    def log_e(self) -> float:
        return self._test.log_e

    def log_promote(self, stage: Stage) -> float | None:
        return None if stage.target is None else self._step.log_e

    def missing(self, stage: Stage) -> float | None:
        if stage.target is None:
            return None
        n, k = self._seen
        p0 = self._of_step(stage)
        p = k / n if n else 0.0
        nats = max(p * log(q / p0) + (1 - p) * log((1 - q) / (1 - p0)) for q in (0.05 * p0, 0.2 * p0, 0.5 * p0))
        calls = calls_for(self._step.log_e, nats if k else -log(1 - p0))
        return calls if self._rate.live is self._rate.shadow else of_both_arms(calls, stage)

    def sight(self, stage: Stage) -> Sight:
        n, k = self._seen
        limit = self._now(stage) if stage.target is None else min(self._now(stage), self._of_step(stage))
        if not n:
            return Sight(said=f"no {self.noun(stage)} yet", limit=limit)
        allowed = f"at most {percent_text(limit)} allowed"
        said = f"{percent_text(k / n)} of {n:,} {self.noun(stage)} {self._rate.what}, {allowed}"
        return Sight(said=said, n=n, observed=k / n, limit=limit)

    def noun(self, stage: Stage) -> str:
        return f"{self._rate.which}{counted(stage)}"

    def to_state(self) -> dict[str, Any]:
        return {"test": self._test.to_state(), "step": self._step.to_state(), "seen": self._seen}

    def restore(self, state: PartState) -> None:
        self._test = OneSample.from_state(state["test"])
        self._step = OneSample.from_state(state["step"])
        self._seen = list(state["seen"])


class Mismatches(Limit):
    """Pairs of which both sides answered and that differ, those of shadow traffic too.

    The limit is a share of all calls, so at share x up to limit / x of the compared ones may differ, at most 5 %.
    Runs of control against itself are no part of the test; where they differ too, people are told what to do.
    """

    def __init__(self, limit: float) -> None:
        of = _of_pairs("compared", "mismatched")
        super().__init__(Rate(of, of, "differed", "compared "), limit)
        self._noise = [0, 0]  # runs of control against itself in this stage, and those that differed

    def enter(self, stage: Stage) -> None:
        super().enter(stage)
        self._noise = [0, 0]

    def update(self, second: Second, stage: Stage, capital: float) -> None:
        super().update(second, stage, capital)
        every = second.every_pair
        self._noise = [self._noise[0] + every["noise"], self._noise[1] + every["noise_mismatched"]]

    def sight(self, stage: Stage) -> Sight:
        sight = super().sight(stage)
        runs, differed = self._noise
        noise = differed / runs if runs else 0.0
        if sight.observed is None or sight.limit is None or min(sight.observed, noise) <= sight.limit:
            return sight
        said = f"{sight.said}, but control differs from itself in {percent_text(noise)} of {runs:,} runs too: {_REMEDY}"
        return replace(sight, said=said)

    def to_state(self) -> dict[str, Any]:
        return {**super().to_state(), "noise": self._noise}

    def restore(self, state: PartState) -> None:
        super().restore(state)
        self._noise = list(state.get("noise", (0, 0)))  # what an older version stored has none

    def _now(self, stage: Stage) -> float:
        """In shadow that of the step: nothing is used yet."""
        return mismatches_at(self._at_most, stage.share if stage.live else stage.target or 1.0)

    def _of_step(self, stage: Stage) -> float:
        return mismatches_at(self._at_most, stage.target or 1.0)


def mismatches_at(at_most: float, share: float) -> float:
    """The share of compared calls that may differ where this share of calls is live: at_most / share, at most 5 %."""
    return min(MOST_MISMATCHES, at_most / share)


def errors(at_most: float) -> Limit:
    """Failures of the candidate, whatever control does."""
    return Limit(Rate(_of_b("calls", "bad"), _every("pairs", "candidate_bad"), "failed"), at_most)


def missed_slas(at_most: float) -> Limit:
    """Calls in which a run of the unit missed its SLA."""
    rate = Rate(_of_b("ran", "sla_calls"), _of_pairs("ran", "sla_calls"), "missed the SLA")
    return Limit(rate, at_most)


def fallbacks(at_most: float) -> Limit:
    """Calls that control answered instead, or in shadow would have."""
    rate = Rate(_of_b("calls", "fallbacks"), _of_pairs("pairs", "would_fall_back"), "fell back to control")
    return Limit(rate, at_most)


def slow_calls(q: float, at_most_s: float) -> Limit:
    """Calls above an absolute latency, of which a share of 1 - q is allowed; failed ones are above it."""

    def live(second: Second) -> Counts:
        b = second.b
        return b["calls"], b["bad"] + b.histogram("latency").above(at_most_s)

    def shadow(second: Second) -> Counts:
        pairs = second.every_pair
        candidate = pairs.histogram("candidate")
        failed = pairs["only_candidate_bad"]
        return candidate.total + failed, candidate.above(at_most_s) + failed

    text = f"took longer than {at_most_s:.3g} s" if at_most_s >= 1 else f"took longer than {at_most_s * 1000:.3g} ms"
    return Limit(Rate(live, shadow, text), 1 - q)


def _of_b(of: str, name: str) -> Callable[[Second], Counts]:
    return lambda second: (second.b[of], second.b[name])


def _of_pairs(of: str, name: str) -> Callable[[Second], Counts]:
    return lambda second: (second.pairs[of], second.pairs[name])


def _every(of: str, name: str) -> Callable[[Second], Counts]:
    return lambda second: (second.every_pair[of], second.every_pair[name])
