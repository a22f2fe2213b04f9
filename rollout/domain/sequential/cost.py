"""The mean cost of a call: against control's, and against an absolute limit. An unknown cost is unknown, not zero."""

from __future__ import annotations

from typing import Any, Final

from rollout.domain.cost import usd_text
from rollout.domain.evidence import Figures
from rollout.domain.gates import Stage
from rollout.domain.histogram import Histogram
from rollout.domain.sequential.part import PartState, Second, Sight, calls_for, counted, of_both_arms
from rollout.domain.stats import CostLimit as LimitTest
from rollout.domain.stats import MeanCost, MeanCostPromotion

#: Nano-dollars of a milli-dollar, the unit of cost histograms.
NANO_PER_MILLI: Final = 1e6


def _mean(costs: Histogram, known: int) -> float:
    """The mean in nano-dollars."""
    return (costs.mean() or 0.0) * costs.total * NANO_PER_MILLI / known


class _Seen:
    """Costs of this stage: how many calls of control and candidate are known, with which costs, and how many not."""

    def __init__(self) -> None:
        self.counts = [0, 0, 0]  # known of control, known of the candidate, unknown of the candidate
        self.control, self.candidate = Histogram(), Histogram()

    def add(self, control: Figures, candidate: Figures) -> None:
        counts = (control["control_costed"], candidate["costed"], candidate["unpriced"])
        self.counts = [known + count for known, count in zip(self.counts, counts, strict=True)]
        self.control.merge(control.histogram("control_cost"))
        self.candidate.merge(candidate.histogram("cost"))

    @property
    def mean(self) -> float | None:
        """Of the candidate, in nano-dollars; None where none is known."""
        return _mean(self.candidate, self.counts[1]) if self.counts[1] else None

    @property
    def control_mean(self) -> float | None:
        return _mean(self.control, self.counts[0]) if self.counts[0] else None

    @property
    def fault(self) -> str:
        unknown = self.counts[2]
        return f"cost unknown for {unknown:,} calls: give the models they use a price" if unknown else ""

    def to_json(self) -> list[Any]:
        return [self.counts, self.control.to_json(), self.candidate.to_json()]

    @classmethod
    def from_json(cls, data: list[Any]) -> _Seen:
        seen = cls()
        seen.counts, control, candidate = list(data[0]), *data[1:]
        seen.control, seen.candidate = Histogram.from_json(control), Histogram.from_json(candidate)
        return seen


class CostLimit:
    """A ``Part``. H0 of a rollback: the mean of the clipped costs is within ``at_most`` nano-dollars a call; of a step:
    it is not.
    """

    def __init__(self, at_most: float) -> None:
        self._at_most = at_most
        self._test = LimitTest(at_most / NANO_PER_MILLI)
        self._step = LimitTest(at_most / NANO_PER_MILLI, "promote")
        self._seen = _Seen()

    def enter(self, stage: Stage) -> None:
        self._step = self._step.fresh()
        self._seen = _Seen()

    def renew(self) -> None:
        self._test = self._test.fresh()

    def fund(self, capital: float) -> None:
        self._test.fund(capital)

    def update(self, second: Second, stage: Stage, capital: float) -> None:
        figures = second.b if stage.live else second.pairs
        known = figures["costed"]
        self._seen.add(Figures(), figures)
        if known:
            costs = figures.histogram("cost")
            free = known - costs.total
            self._test.fund(capital)
            self._test.update(costs, free)
            self._step.update(costs, free)

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
        known = self._seen.counts[1]
        return of_both_arms(calls_for(self._step.log_e, self._step.log_e / known), stage) if known else None

    def sight(self, stage: Stage) -> Sight:
        mean, known = self._seen.mean, self._seen.counts[1]
        if mean is None:
            return Sight(said="no cost is known yet", limit=self._at_most, fault=self._seen.fault)
        said = f"{usd_text(mean)} a call over {known:,} {self.noun(stage)}, at most {usd_text(self._at_most)} allowed"
        return Sight(said=said, n=known, observed=mean, limit=self._at_most, fault=self._seen.fault)

    def noun(self, stage: Stage) -> str:
        return counted(stage)

    def to_state(self) -> dict[str, Any]:
        return {"test": self._test.to_state(), "step": self._step.to_state(), "seen": self._seen.to_json()}

    def restore(self, state: PartState) -> None:
        self._test = LimitTest.from_state(state["test"])
        self._step = LimitTest.from_state(state["step"])
        self._seen = _Seen.from_json(state["seen"])


class Dearer:
    """A ``Part``. H0 of a rollback: the mean of the clipped costs is at most ``worse_by`` (relative) above control's.

    Live the arms tell; in shadow, and where all calls are live, the pairs, of which the two costs are taken as if they
    were of different calls: that keeps the bound unless a dear call of one side tends to be a cheap one of the other.
    """

    def __init__(self, worse_by: float, *, alone: bool) -> None:
        """``alone``: whether there is no absolute limit beside it, which is needed where control costs nothing."""
        self._worse_by = worse_by
        self._alone = alone
        self._test = MeanCost(worse_by)
        self._step = MeanCostPromotion(worse_by)
        self._seen = _Seen()

    def enter(self, stage: Stage) -> None:
        self._step = self._step.fresh()
        self._seen = _Seen()

    def renew(self) -> None:
        self._test = self._test.fresh()

    def fund(self, capital: float) -> None:
        self._test.fund(capital)

    def update(self, second: Second, stage: Stage, capital: float) -> None:
        if not stage.live:
            self._bet(second.pairs, second.pairs, stage, capital)
        elif stage.share >= 1:  # there is no arm A: control is known where it ran beside the branch
            self._bet(second.pairs, second.b, stage, capital)

    def compare(self, a: Figures, b: Figures, stage: Stage, capital: float) -> None:
        self._bet(a, b, stage, capital)

    def _bet(self, control: Figures, candidate: Figures, stage: Stage, capital: float) -> None:
        self._seen.add(control, candidate)
        n_a, n_b = control["control_costed"], candidate["costed"]
        if not n_a or not n_b:
            return
        costs_a, costs_b = control.histogram("control_cost"), candidate.histogram("cost")
        sides = (costs_a, n_a - costs_a.total, costs_b, n_b - costs_b.total)
        self._test.fund(capital)
        self._test.update(*sides)
        if stage.tolerance is not None:
            self._step.update(*sides, stage.tolerance)

    def learn(self, a: Figures) -> None:
        """Nothing: what control cost without a candidate beside it is rarely known."""

    @property
    def log_e(self) -> float:
        return self._test.log_e

    def log_promote(self, stage: Stage) -> float | None:
        if stage.tolerance is None or self._says_nothing:
            return None
        return self._step.log_e

    @property
    def _says_nothing(self) -> bool:
        """Control is known to cost nothing, so that no cost is a multiple of it; an absolute limit stands beside."""
        return not self._alone and bool(self._seen.counts[0]) and not self._seen.control

    def missing(self, stage: Stage) -> float | None:
        known = self._seen.counts[1]
        return of_both_arms(calls_for(self._step.log_e, self._step.log_e / known), stage) if known else None

    def sight(self, stage: Stage) -> Sight:
        mean, baseline, known = self._seen.mean, self._seen.control_mean, self._seen.counts[1]
        fault = self._seen.fault
        if self._alone and self._seen.counts[0] and not self._seen.control:
            fault = "control costs nothing, so a relative limit says nothing: give the gate usd_per_call="
        if mean is None or baseline is None:
            return Sight(said="no costs of both sides are known yet", n=known, observed=mean, fault=fault)
        said = f"{usd_text(mean)} a call over {known:,} {self.noun(stage)}, control's {usd_text(baseline)}"
        limit = baseline * (1 + self._worse_by)
        return Sight(said=said, n=known, observed=mean, limit=limit, baseline=baseline, fault=fault)

    def noun(self, stage: Stage) -> str:
        return counted(stage)

    def to_state(self) -> dict[str, Any]:
        return {"test": self._test.to_state(), "step": self._step.to_state(), "seen": self._seen.to_json()}

    def restore(self, state: PartState) -> None:
        self._test = MeanCost.from_state(state["test"])
        self._step = MeanCostPromotion.from_state(state["step"])
        self._seen = _Seen.from_json(state["seen"])
