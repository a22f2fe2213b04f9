"""Mismatches beyond those of control with itself, of which noise runs give a sample."""

from __future__ import annotations

from typing import Any

from rollout.domain.evidence import Figures
from rollout.domain.gates import Stage
from rollout.domain.limits.check import percent_text
from rollout.domain.sequential.limit import mismatches_at
from rollout.domain.sequential.part import PartState, Second, Sight, calls_for, counted
from rollout.domain.stats import TwoSample, information


class BeyondNoise:
    """A ``Part``. H0 of a rollback: the candidate differs from control no more often than control from itself, plus
    the limit. Noise runs are few, so seconds are put together until there is one.
    """

    def __init__(self, at_most: float) -> None:
        self._at_most = at_most
        self._test = TwoSample("rollback", d=at_most)
        self._step: TwoSample | None = None
        self._waiting = [0, 0, 0, 0]  # noise runs and those that differed, compared pairs and those that did
        self._seen = [0, 0, 0, 0]

    def enter(self, stage: Stage) -> None:
        self._test.d = mismatches_at(self._at_most, stage.share if stage.live else stage.target or 1.0)
        self._step = None
        if stage.target is not None:
            self._step = TwoSample("promote", d=mismatches_at(self._at_most, stage.target))
            self._step.learn(self._test.n_a, self._test.k_a)
        self._waiting, self._seen = [0, 0, 0, 0], [0, 0, 0, 0]

    def renew(self) -> None:
        self._test = self._test.fresh()

    def fund(self, capital: float) -> None:
        self._test.fund(capital)

    def update(self, second: Second, stage: Stage, capital: float) -> None:
        every, pairs = second.every_pair, second.pairs
        counts = (every["noise"], every["noise_mismatched"], pairs["compared"], pairs["mismatched"])
        self._waiting = [known + count for known, count in zip(self._waiting, counts, strict=True)]
        if not self._waiting[0] or not self._waiting[2]:
            return
        self._test.fund(capital)
        self._test.update(*self._waiting)
        if self._step is not None:
            self._step.update(*self._waiting)
        self._seen = [known + count for known, count in zip(self._seen, self._waiting, strict=True)]
        self._waiting = [0, 0, 0, 0]

    def compare(self, a: Figures, b: Figures, stage: Stage, capital: float) -> None:
        """Nothing: pairs tell."""

    def learn(self, a: Figures) -> None:
        """Nothing, likewise."""

    @property
    def log_e(self) -> float:
        return self._test.log_e

    def log_promote(self, stage: Stage) -> float | None:
        return None if self._step is None else self._step.log_e

    def missing(self, stage: Stage) -> float | None:
        n_a, _, n_b, k_b = self._seen
        if self._step is None or not n_a:
            return None
        base = self._test.a
        rate = (k_b + 50 * base) / (n_b + 50)
        if rate >= base + self._step.d:
            return None
        share = n_b / (n_a + n_b)
        calls = calls_for(self._step.log_e, information(base, rate, share, d=self._step.d))
        return None if calls is None else calls * share

    def sight(self, stage: Stage) -> Sight:
        n_a, k_a, n_b, k_b = self._seen
        if not n_b or not n_a:
            return Sight(said="no noise run yet: control is to be run against itself, see shadow.noise")
        noise = k_a / n_a
        said = f"{percent_text(k_b / n_b)} of {n_b:,} {self.noun(stage)} differed"
        said += f", control from itself {percent_text(noise)}"
        limit = noise + (self._test.d if self._step is None else self._step.d)
        return Sight(said=said, n=n_b, observed=k_b / n_b, limit=limit, baseline=noise)

    def noun(self, stage: Stage) -> str:
        return f"compared {counted(stage)}"

    def to_state(self) -> dict[str, Any]:
        return {
            "test": self._test.to_state(),
            "step": None if self._step is None else self._step.to_state(),
            "counts": [self._waiting, self._seen],
        }

    def restore(self, state: PartState) -> None:
        self._test = TwoSample.from_state(state["test"])
        self._step = None if state["step"] is None else TwoSample.from_state(state["step"])
        self._waiting, self._seen = (list(counts) for counts in state["counts"])
