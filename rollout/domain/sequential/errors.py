"""Errors against control: between the arms, and in pairs, each with half of the evidence."""

from __future__ import annotations

from typing import Any

from rollout.domain.evidence import Figures
from rollout.domain.gates import Stage
from rollout.domain.limits.check import percent_text
from rollout.domain.sequential.part import PartState, Second, Sight, calls_for, counted, in_pairs, unseen
from rollout.domain.stats import Discordant, PairPromotion, PairRollback, TwoSample, information, log_mean_exp


class Errors:
    """A ``Part``. H0 of a rollback: the candidate fails no more than control, plus ``worse_by`` (a share of calls).

    A step from shadow is shown by pairs, each other step by the arms of its stage; at 100 % there are pairs alone.
    """

    def __init__(self, worse_by: float = 0.0) -> None:
        self._worse_by = worse_by
        self._arms = TwoSample("rollback", d=worse_by)
        self._pairs: Discordant | PairRollback = PairRollback(worse_by) if worse_by else Discordant()
        self._step_pairs = PairPromotion()
        self._step: TwoSample | None = None
        self._seen = [0, 0, 0, 0]  # calls and failures of control and of the candidate, in this stage

    def enter(self, stage: Stage) -> None:
        self._seen = [0, 0, 0, 0]
        self._step_pairs = PairPromotion()
        self._step = None
        if stage.live and stage.tolerance is not None:
            self._step = TwoSample("promote", d=stage.tolerance)
            self._step.learn(self._arms.n_a, self._arms.k_a)

    def renew(self) -> None:
        self._arms = self._arms.fresh()
        self._pairs = self._pairs.fresh()

    def fund(self, capital: float) -> None:
        self._arms.fund(capital)
        self._pairs.fund(capital)

    def update(self, second: Second, stage: Stage, capital: float) -> None:
        pairs = second.every_pair
        n, k10, k01 = pairs["pairs"], pairs["only_candidate_bad"], pairs["only_control_bad"]
        if not n:
            return
        self._pairs.fund(capital)
        if isinstance(self._pairs, PairRollback):
            self._pairs.update(n, k10, k01, pairs["control_bad"])
        else:
            self._pairs.update(k10, k01)
        if in_pairs(stage):
            self._add(n, pairs["control_bad"], n, pairs["candidate_bad"])
        if stage.live:
            return
        if stage.tolerance is not None:
            self._step_pairs.update(n, k10, k01, pairs["control_bad"], stage.tolerance)
        self._arms.learn(n, pairs["control_bad"])

    def compare(self, a: Figures, b: Figures, stage: Stage, capital: float) -> None:
        counts = (a["calls"], a["bad"], b["calls"], b["bad"])
        self._arms.fund(capital)
        self._arms.update(*counts)
        if self._step is not None:
            self._step.update(*counts)
        if not in_pairs(stage):
            self._add(*counts)

    def _add(self, *counts: int) -> None:
        self._seen = [known + count for known, count in zip(self._seen, counts, strict=True)]

    def learn(self, a: Figures) -> None:
        self._arms.learn(a["calls"], a["bad"])
        if self._step is not None:
            self._step.learn(a["calls"], a["bad"])

    @property
    def log_e(self) -> float:
        return log_mean_exp((self._arms.log_e, self._pairs.log_e))

    def log_promote(self, stage: Stage) -> float | None:
        if stage.tolerance is None:
            return None
        return self._step.log_e if self._step is not None else self._step_pairs.log_e

    def missing(self, stage: Stage) -> float | None:
        evidence = self.log_promote(stage)
        if evidence is None or stage.tolerance is None:
            return None
        n_a, _, n_b, k_b = self._seen
        base = self._arms.a
        candidate = (k_b + 50 * base) / (n_b + 50)
        share = stage.share if stage.live else 0.5
        if n_a and n_b:
            share = n_b / (n_a + n_b)
        if candidate >= base + stage.tolerance:
            return None
        nats = information(base, candidate, share, d=stage.tolerance)
        return calls_for(evidence, nats if stage.live else 2 * nats)  # of a pair both sides tell

    def sight(self, stage: Stage) -> Sight:
        n_a, k_a, n_b, k_b = self._seen
        if not n_b:
            return Sight(said=unseen(stage), limit=self._worse_by)
        baseline = k_a / n_a if n_a else None
        said = f"{percent_text(k_b / n_b)} of {n_b:,} {self.noun(stage)} failed"
        if baseline is not None:
            said += f", of control's {percent_text(baseline)}"
        limit = None if baseline is None else baseline + self._worse_by
        return Sight(said=said, n=n_b, observed=k_b / n_b, limit=limit, baseline=baseline)

    def noun(self, stage: Stage) -> str:
        return "calls" if in_pairs(stage) else counted(stage)

    def to_state(self) -> dict[str, Any]:
        return {
            "arms": self._arms.to_state(),
            "pairs": self._pairs.to_state(),
            "step_pairs": self._step_pairs.to_state(),
            "step": None if self._step is None else self._step.to_state(),
            "seen": self._seen,
        }

    def restore(self, state: PartState) -> None:
        self._arms = TwoSample.from_state(state["arms"])
        self._pairs = type(self._pairs).from_state(state["pairs"])
        self._step_pairs = PairPromotion.from_state(state["step_pairs"])
        self._step = None if state["step"] is None else TwoSample.from_state(state["step"])
        self._seen = list(state["seen"])
