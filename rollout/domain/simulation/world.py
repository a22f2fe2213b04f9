"""The calls of a while, drawn from the truth and counted as processes count them: the one place that draws a block."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import floor

from rollout.domain.evidence import Figures, UnitBlock
from rollout.domain.histogram import Histogram, middle
from rollout.domain.simulation.crowd import Batch, Callers, Crowd, Strangers
from rollout.domain.simulation.draws import Draws
from rollout.domain.simulation.truth import MILLI, Truth
from rollout.domain.state import Policy


@dataclass(slots=True)
class _Pairs:
    """Calls of which both sides ran, by which of them failed."""

    n: int = 0
    both: int = 0
    only_control: int = 0
    only_candidate: int = 0

    @property
    def control_bad(self) -> int:
        return self.both + self.only_control

    @property
    def candidate_bad(self) -> int:
        return self.both + self.only_candidate

    @property
    def answered(self) -> int:
        """Neither failed."""
        return self.n - self.both - self.only_control - self.only_candidate

    def add(self, other: _Pairs) -> None:
        self.n += other.n
        self.both += other.both
        self.only_control += other.only_control
        self.only_candidate += other.only_candidate


@dataclass(slots=True)
class _Arm:
    """``own``: of arm A, control's failures; of arm B those of the unit, for which control answers instead.
    ``beneath``: of arm B, control's failures that reach the user although the unit is live.
    """

    calls: int = 0
    own: int = 0
    beneath: int = 0

    @property
    def bad(self) -> int:
        return self.own + self.beneath

    def add(self, calls: int, own: int, beneath: int = 0) -> None:
        self.calls += calls
        self.own += own
        self.beneath += beneath


@dataclass(frozen=True, slots=True)
class _Rates:
    """How often control fails; how often the unit does by itself; and how often control does beneath it."""

    control: float
    unit: float
    beneath: float


class World:
    """The traffic of one unit under a policy, ``traffic`` calls a second. It remembers who has called in a stage."""

    def __init__(self, policy: Policy, truth: Truth, traffic: float, draws: Draws) -> None:
        self._truth = truth
        self._traffic = traffic
        self._draws = draws
        self._keyed = policy.scores_keys
        self._overlay = policy.join == "overlay"
        self._pairs_of_a = policy.sample
        self._pairs_of_b = policy.sample if self._overlay else policy.reverse
        self._noise = policy.noise
        kinds = {spec.kind for spec in policy.gates}
        self._latencies = truth.latencies() if "latency" in kinds else None
        self._control_cost, self._cost = truth.costs() if "cost" in kinds else (None, None)
        self._slower = {
            f"slower:{spec.worse_by:g}": truth.slower_than(spec.worse_by)
            for spec in policy.gates
            if spec.kind == "latency" and spec.worse_by is not None
        }
        self._callers: Callers = (
            Strangers(draws) if truth.users is None else Crowd(truth.users, policy.ramp.stages, draws)
        )
        self._owed = 0.0  # of a call

    def enter(self, share: float, earlier: float) -> None:
        """A stage begins. ``earlier``: the highest share that was live before it."""
        self._callers.enter(share, earlier)

    def block(self, start: float, end: float) -> tuple[UnitBlock, int]:
        """What is counted of the calls between two moments (seconds from the start), and how many there are."""
        due = self._owed + (end - start) * self._traffic
        n = floor(due)
        self._owed = due - n
        at = (start + end) / 2
        a, b, pairs = self._counted(self._callers.calls(n), at)
        block = UnitBlock(floor(start), a, b, pairs)
        if self._keyed:
            block.scored_a, block.scored_b, block.scored_p = self._scored(n, at)
        return block, n

    def _rates(self, at: float, times: float) -> _Rates:
        control, live = self._truth.rates(at, times)
        if not self._overlay:
            return _Rates(control, live, 0.0)
        # Control always runs, and its failure is the user's: on top of it come the failures of the unit itself.
        return _Rates(control, max(0.0, live - control) / (1 - control) if control < 1 else 0.0, control)

    def _counted(self, batches: Iterable[Batch], at: float) -> tuple[Figures, Figures, Figures]:
        """Of all calls: arm A, arm B, and the pairs. A call that is a pair ends in its arm as it does there."""
        a, b, pairs = _Arm(), _Arm(), _Pairs()
        count = self._draws.count
        for batch in batches:
            rates = self._rates(at, batch.times)
            beside_a = self._paired("a", count("pairs of a", batch.a, self._pairs_of_a), rates)
            beside_b = self._paired("b", count("pairs of b", batch.b, self._pairs_of_b), rates)
            alone_a, alone_b = batch.a - beside_a.n, batch.b - beside_b.n
            a.add(batch.a, beside_a.control_bad + count("a alone bad", alone_a, rates.control))
            b.add(beside_b.n, beside_b.candidate_bad, beside_b.only_control if self._overlay else 0)
            b.add(*self._live("b alone", alone_b, rates))
            pairs.add(beside_a)
            pairs.add(beside_b)
        return self._of_a(a, ""), self._of_b(b, ""), self._of_pairs(pairs, "")

    def _scored(self, n: int, at: float) -> tuple[Figures, Figures, Figures]:
        """Of the users who count: their first calls by arm, and their first pairs."""
        a, b, pairs = _Arm(), _Arm(), _Pairs()
        for batch in self._callers.first_calls(n):
            rates = self._rates(at, batch.times)
            a.add(batch.a, self._draws.count("first a bad", batch.a, rates.control))
            b.add(*self._live("first b", batch.b, rates))
        for batch in self._callers.first_pairs(n, self._pairs_of_a, self._pairs_of_b):
            pairs.add(self._paired("first", batch.a + batch.b, self._rates(at, batch.times)))
        return self._of_a(a, "first"), self._of_b(b, "first"), self._of_pairs(pairs, "first")

    def _live(self, whose: str, calls: int, rates: _Rates) -> tuple[int, int, int]:
        """Calls of arm B, those in which the unit failed, and those in which only control did, on which they rest."""
        own = self._draws.count(f"{whose} own bad", calls, rates.unit)
        return calls, own, self._draws.count(f"{whose} control bad", calls - own, rates.beneath)

    def _paired(self, whose: str, n: int, rates: _Rates) -> _Pairs:
        """Pairs of which each side fails by itself."""
        count = self._draws.count
        control_bad = count(f"{whose} pairs: control bad", n, rates.control)
        both = count(f"{whose} pairs: both bad", control_bad, rates.unit)
        only_candidate = count(f"{whose} pairs: only candidate bad", n - control_bad, rates.unit)
        return _Pairs(n, both, control_bad - both, only_candidate)

    def _of_a(self, arm: _Arm, whose: str) -> Figures:
        found = Figures({"calls": arm.calls, "bad": arm.bad})
        if self._latencies:
            found.histograms["latency"] = self._draws.histogram(f"{whose} a", arm.calls - arm.bad, self._latencies[0])
        self._cost_of_control(found, arm.calls, f"{whose} a")
        return found

    def _of_b(self, arm: _Arm, whose: str) -> Figures:
        found = Figures({"calls": arm.calls, "bad": arm.bad, "fallbacks": arm.own})
        if self._latencies:
            found.histograms["latency"] = self._draws.histogram(f"{whose} b", arm.calls - arm.bad, self._latencies[1])
        self._runs(found, arm.calls, f"{whose} b")
        return found

    def _of_pairs(self, pairs: _Pairs, whose: str) -> Figures:
        count, answered = self._draws.count, pairs.answered
        mismatched = count(f"{whose} differs", answered, self._truth.mismatches)
        noise = count(f"{whose} noise", pairs.n, self._noise)
        found = Figures(
            {
                "pairs": pairs.n,
                "control_bad": pairs.control_bad,
                "candidate_bad": pairs.candidate_bad,
                "only_control_bad": pairs.only_control,
                "only_candidate_bad": pairs.only_candidate,
                "would_fall_back": pairs.candidate_bad,
                "compared": answered,
                "matched": answered - mismatched,
                "mismatched": mismatched,
                "noise": noise,
                "noise_mismatched": count(f"{whose} noise differs", noise, self._truth.noise),
            }
        )
        if self._latencies:
            control, candidate = self._latencies
            found.histograms["control"] = self._draws.histogram(f"{whose} control", answered, control)
            found.histograms["candidate"] = self._draws.histogram(f"{whose} candidate", answered, candidate)
            for name, share in self._slower.items():
                found.counts[name] = count(f"{whose} {name}", answered, share)
        self._runs(found, pairs.n, f"{whose} pairs")
        self._cost_of_control(found, pairs.n, f"{whose} pairs")
        return found

    def _runs(self, found: Figures, runs: int, whose: str) -> None:
        """What is counted of the runs of the unit: its SLA, its cost."""
        missed = self._draws.count(f"{whose} sla", runs, self._truth.sla_missed)
        found.counts |= {"runs": runs, "ran": runs, "sla_missed": missed, "sla_calls": missed, "costed": runs}
        if self._cost:
            found.histograms["cost"] = spent = self._draws.histogram(f"{whose} cost", runs, self._cost)
            found.counts["cost_nano"] = _nano(spent)

    def _cost_of_control(self, found: Figures, calls: int, whose: str) -> None:
        found.counts["control_costed"] = calls
        if self._control_cost:
            spent = self._draws.histogram(f"{whose} of control", calls, self._control_cost)
            found.histograms["control_cost"] = spent
            found.counts["control_cost_nano"] = _nano(spent)


def _nano(spent: Histogram) -> int:
    """Nano-dollars of a histogram of costs."""
    return round(sum(middle(bucket) * count for bucket, count in spent.items()) / MILLI)
