"""What the runs of one branch add up to: in arm P of its unit those in shadow, in arm B those that were live."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rollout.domain.evidence import Figures
from rollout.domain.histogram import Histogram, bucket_of
from rollout.domain.outcomes import RunOutcome

if TYPE_CHECKING:
    from rollout.engine.fanout import BranchRun

OK: Final = RunOutcome.ok
FAILED: Final = (RunOutcome.error, RunOutcome.hard_timeout)
#: Outcomes that say something about the branch; the others say that it was not asked, or not until its end.
RAN: Final = (RunOutcome.ok, RunOutcome.answered, *FAILED)
_MOST_ERROR_NAMES: Final = 50


class RunCell:
    """Runs of one branch in one mode. The run that returns a part and records no usage costs three additions; the
    rest go to
    ``other``."""

    __slots__ = ("latency", "ok", "other", "sla_missed")

    def __init__(self) -> None:
        self.ok = 0
        self.sla_missed = 0
        self.latency: dict[int, int] = {}
        self.other: Figures | None = None

    def count(self, run: BranchRun) -> None:
        """Add a settled run."""
        if run.outcome is OK:
            took = run.finished - run.started
            bucket = bucket_of(took)
            latency = self.latency
            latency[bucket] = latency.get(bucket, 0) + 1
            self.ok += 1
            if took > run.station.sla_s:
                self.sla_missed += 1
            if run.usage is None:
                return
        if self.other is None:
            self.other = Figures()
        _count_rest(self.other, run)

    def figures(self) -> Figures:
        """The figures, as ``rollout.domain.evidence`` names them."""
        found = Figures()
        if self.ok:
            found.counts = {"runs": self.ok, "outcome:ok": self.ok, "costed": self.ok}
            found.histograms = {"run": Histogram(self.latency)}
        if self.sla_missed:
            found.add("sla_missed", self.sla_missed)
        if self.other is not None:
            found.merge(self.other)
        return found


def _count_rest(figures: Figures, run: BranchRun) -> None:
    """What a run adds besides its latency: another outcome than ok, its error, what it used."""
    outcome = run.outcome
    if outcome is not OK:
        figures.add(f"outcome:{outcome.value}")
    if outcome in FAILED:
        figures.add("runs")
        if outcome is RunOutcome.hard_timeout and run.station.sla_s < float("inf"):
            figures.add("sla_missed")
        if run.error is not None:
            figures.add(f"error:{_error_name(figures, run.error)}")
    if outcome not in RAN:
        return
    usage = run.usage
    if usage is None:
        figures.add("costed")
        return
    figures.add("tokens_in", usage.input_tokens)
    figures.add("tokens_out", usage.output_tokens)
    if outcome is OK:
        figures.add("costed", -1)  # counted as free above; what it cost follows
    if usage.cost is None:
        figures.add("unpriced")
    else:
        figures.add("costed")
        figures.add("cost_nano", usage.cost)


def _error_name(figures: Figures, error: BaseException) -> str:
    """The class of an error as a label: at most 50 different ones, then ``other``."""
    name = type(error).__name__
    known = [count for count in figures.counts if count.startswith("error:")]
    return name if f"error:{name}" in known or len(known) < _MOST_ERROR_NAMES else "other"
