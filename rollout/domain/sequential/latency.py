"""Latency against control: between the arms by ranks and exceedances, and in pairs, each with half of the evidence."""

from __future__ import annotations

from typing import Any

from rollout.domain.evidence import Figures
from rollout.domain.gates import Stage
from rollout.domain.histogram import Histogram
from rollout.domain.limits.check import time_text
from rollout.domain.sequential.part import PartState, Second, Sight, calls_for, counted, in_pairs, unseen
from rollout.domain.stats import LatencyPromotion, LatencyRollback, PairPromotion, PairSign, information, log_mean_exp


class Latency:
    """A ``Part``. H0 of a rollback: the candidate is no slower than control by more than ``worse_by`` (relative); in
    pairs: it is so in no more than half of them.

    A step is shown at the quantile ``q`` of control's latency: no more than the tolerance of calls more lie above it,
    stretched by ``worse_by``, than control has there. From shadow by pairs, else by the arms of the stage.
    """

    def __init__(self, q: float, worse_by: float) -> None:
        self._q = q
        self._worse_by = worse_by
        self._slower = f"slower:{worse_by:g}"
        self._arms = LatencyRollback(worse_by)
        self._pairs = PairSign()
        self._step = LatencyPromotion(q, worse_by)
        self._step_pairs = PairPromotion()
        self._begin()

    def _begin(self) -> None:
        """Nothing is seen of this stage yet."""
        self._control, self._candidate = Histogram(), Histogram()
        self._bad = [0, 0]  # of control and candidate: beyond every latency

    def enter(self, stage: Stage) -> None:
        self._step = self._step.fresh()
        self._step_pairs = PairPromotion()
        self._begin()

    def renew(self) -> None:
        self._arms = self._arms.fresh()
        self._pairs = self._pairs.fresh()

    def fund(self, capital: float) -> None:
        self._arms.fund(capital)
        self._pairs.fund(capital)

    def update(self, second: Second, stage: Stage, capital: float) -> None:
        pairs = second.every_pair
        control, candidate = pairs.histogram("control"), pairs.histogram("candidate")
        answered = control.total
        if answered:
            self._pairs.fund(capital)
            self._pairs.update(pairs[self._slower], answered)
        bad = (pairs["only_control_bad"], pairs["only_candidate_bad"])
        if in_pairs(stage):
            self._see(control, candidate, *bad)
        if stage.live or not answered:
            return
        tau = self._step.tau
        if tau is not None and stage.tolerance is not None:
            self._show_in_pairs(control, candidate, bad, tau, stage.tolerance)
        self._learn(control, bad[0])

    def _show_in_pairs(
        self, control: Histogram, candidate: Histogram, bad: tuple[int, int], tau: int, tolerance: float
    ) -> None:
        """Bet on the pairs of a second. How many of them are above the quantile on both sides is not known; the bet is
        settled as if as few as possible were, which gives it the least."""
        n = control.total + sum(bad)
        above_control = sum(count for bucket, count in control.items() if bucket > tau) + bad[0]
        shifted = tau + self._step.shift
        above = sum(count for bucket, count in candidate.items() if bucket > shifted) + bad[1]
        only_control = min(above_control, n - above)
        self._step_pairs.update(n, above - above_control + only_control, only_control, above_control, tolerance)

    def compare(self, a: Figures, b: Figures, stage: Stage, capital: float) -> None:
        control, candidate = a.histogram("latency"), b.histogram("latency")
        self._arms.fund(capital)
        self._arms.update(control, a["bad"], candidate, b["bad"])
        if stage.tolerance is not None:
            self._step.update(control, a["bad"], candidate, b["bad"], stage.tolerance)
        else:
            self._step.learn(control, a["bad"])
        if not in_pairs(stage):
            self._see(control, candidate, a["bad"], b["bad"])

    def learn(self, a: Figures) -> None:
        self._learn(a.histogram("latency"), a["bad"])

    def _learn(self, control: Histogram, bad: int) -> None:
        self._arms.learn(control, bad)
        self._step.learn(control, bad)

    def _see(self, control: Histogram, candidate: Histogram, control_bad: int, bad: int) -> None:
        self._control.merge(control)
        self._candidate.merge(candidate)
        self._bad = [self._bad[0] + control_bad, self._bad[1] + bad]

    @property
    def log_e(self) -> float:
        return log_mean_exp((self._arms.log_e, self._pairs.log_e))

    def log_promote(self, stage: Stage) -> float | None:
        if stage.tolerance is None:
            return None
        return self._step.log_e if stage.live else self._step_pairs.log_e

    def missing(self, stage: Stage) -> float | None:
        evidence, tolerance = self.log_promote(stage), stage.tolerance
        if evidence is None or tolerance is None:
            return None
        n_a, n_b = self._control.total + self._bad[0], self._candidate.total + self._bad[1]
        tau = self._step.tau
        if tau is None or not n_a or not n_b:
            return None
        above = sum(count for bucket, count in self._control.items() if bucket > tau) + self._bad[0]
        shifted = tau + self._step.shift
        above_b = sum(count for bucket, count in self._candidate.items() if bucket > shifted) + self._bad[1]
        base = (above + 50 * (1 - self._q)) / (n_a + 50)
        rate = (above_b + 50 * base) / (n_b + 50)
        if rate >= base + tolerance:
            return None
        nats = information(base, rate, n_b / (n_a + n_b), d=tolerance)
        return calls_for(evidence, nats if stage.live else 2 * nats)

    def sight(self, stage: Stage) -> Sight:
        observed = self._candidate.quantile(self._q, beyond=self._bad[1])
        baseline = self._control.quantile(self._q, beyond=self._bad[0])
        if observed is None:
            return Sight(said=unseen(stage))
        n = self._candidate.total + self._bad[1]
        said = f"p{self._q * 100:g} is {time_text(observed)} over {n:,} {self.noun(stage)}"
        if baseline is None:
            return Sight(said=said, n=n, observed=observed)
        said += f", control's {time_text(baseline)}"
        return Sight(said=said, n=n, observed=observed, limit=baseline * (1 + self._worse_by), baseline=baseline)

    def noun(self, stage: Stage) -> str:
        return "calls" if in_pairs(stage) else counted(stage)

    def to_state(self) -> dict[str, Any]:
        return {
            "arms": self._arms.to_state(),
            "pairs": self._pairs.to_state(),
            "step": self._step.to_state(),
            "step_pairs": self._step_pairs.to_state(),
            "seen": [self._control.to_json(), self._candidate.to_json(), self._bad],
        }

    def restore(self, state: PartState) -> None:
        self._arms = LatencyRollback.from_state(state["arms"])
        self._pairs = PairSign.from_state(state["pairs"])
        self._step = LatencyPromotion.from_state(state["step"])
        self._step_pairs = PairPromotion.from_state(state["step_pairs"])
        control, candidate, self._bad = state["seen"]
        self._control, self._candidate = Histogram.from_json(control), Histogram.from_json(candidate)
