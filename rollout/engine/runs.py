"""What the runs of one branch add up to: in arm P of its unit those in shadow, in arm B those that were live."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rollout.domain.evidence import REASONS, Figures
from rollout.domain.histogram import MANY, Durations
from rollout.domain.outcomes import RunOutcome

if TYPE_CHECKING:
    from rollout.definition import Branch, Rollout
    from rollout.engine.branchrun import BranchRun

OK: Final = RunOutcome.ok
FAILED: Final = (RunOutcome.error, RunOutcome.hard_timeout)
#: Cut by a timer, which is above the SLA.
CUT_LATE: Final = (RunOutcome.soft_timeout, RunOutcome.hard_timeout)
#: Outcomes that say something about the branch; the others say that it was not asked, or not until its end.
RAN: Final = (RunOutcome.ok, RunOutcome.answered, *FAILED)
#: Outcomes of a branch that was asked for and had no chance to answer: cut with the call, or refused at the door.
ABSENT: Final = (
    RunOutcome.soft_timeout,
    RunOutcome.rejected,
    RunOutcome.short_circuited,
    RunOutcome.over_budget,
    RunOutcome.cancelled,
    RunOutcome.shutdown,
)
_MOST_ERROR_NAMES: Final = 50
_OF_MEMBERS: Final = (
    "outcome:",
    *(f"{outcome}:" for outcome in REASONS),
    "retried",
    "hedged",
    "sla_missed",
    "orphans",
)
#: What a run cost.
_COSTS: Final = ("unpriced", "cost_nano")


class RunCell:
    """Runs of one branch in one mode. The run that returns a part and records no usage costs three additions; the
    rest go to
    ``other``."""

    __slots__ = ("other", "sla_missed", "took")

    def __init__(self) -> None:
        self.took = Durations()  # of the runs that returned a part
        self.sla_missed = 0
        self.other: Figures | None = None

    def count(self, run: BranchRun) -> None:
        """Add a settled run."""
        if run.outcome is OK:
            took = run.finished - run.started
            durations = self.took
            durations.append(took)
            if len(durations) >= MANY:
                durations.fold()
            if took > run.station.sla_s:
                self.sla_missed += 1
            if run.usage is None and run.attempts == 1:
                return
        if self.other is None:
            self.other = Figures()
        _count_rest(self.other, run)

    def figures(self) -> Figures:
        """The figures, as ``rollout.domain.evidence`` names them."""
        found = Figures()
        if ok := self.took.total:
            found.counts = {"runs": ok, "outcome:ok": ok}
            found.histograms = {"run": self.took.histogram()}
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
    if outcome in REASONS:
        figures.add(f"{outcome.value}:{run.reason}")
    if run.booked:
        figures.add("booked", run.booked)
    if run.attempts > 1:
        figures.add("retried", run.attempts - 1 - run.hedges)
        figures.add("hedged", run.hedges)
    if outcome in CUT_LATE and missed_sla(run):
        figures.add("sla_missed")
    if outcome is RunOutcome.soft_timeout:
        figures.add("runs")
    if outcome in FAILED:
        figures.add("runs")
        if run.error is not None:
            figures.add(f"error:{_error_name(figures, run.error)}")
    usage = run.usage
    if usage is None:
        return
    figures.add("tokens_in", usage.input_tokens)
    figures.add("tokens_out", usage.output_tokens)
    if usage.cost is None:
        figures.add("unpriced")
    else:
        figures.add("cost_nano", usage.cost)


def missed_sla(run: BranchRun) -> bool:
    """Whether a run took longer than its branch's SLA. One that was cut late was on its way to."""
    sla_s = run.station.sla_s
    return run.took_s > sla_s if run.outcome is OK else run.outcome in CUT_LATE and sla_s < float("inf")


def reasons_of(rollout: Rollout, branch: Branch, mode: str) -> list[str]:
    """Why a run of the branch may not begin, as it is declared: names of counts, such as ``skipped:when``."""
    budget, waits = rollout.budget, bool(branch.depends_on)
    possible = {
        "skipped:when": branch.when is not None,
        "skipped:dispatch": rollout.dispatch is not None,
        "skipped:confident": branch.escalate_below is not None,
        "skipped:after": waits,
        "skipped:quorum": waits and rollout.quorum is not None,
        "over_budget:time": branch.reserve is not None and branch.reserve.latency_s > 0,
        "over_budget:tokens": budget.tokens is not None,
        "over_budget:usd": budget.usd is not None,
        "over_budget:usd_per_day": mode == "shadow" and rollout.shadow.usd_per_day is not None,
    }
    return [name for name, may in possible.items() if may]


def of_unit(figures: Figures) -> Figures:
    """How the runs of one branch ended, as evidence of its unit: without their costs, which count by call there."""
    return Figures({name: count for name, count in figures.counts.items() if name not in _COSTS}, figures.histograms)


def of_member(branch: str, figures: Figures) -> Figures:
    """How the runs of one branch ended, under names of its own: in its group everything else is added up."""
    kept = {name: count for name, count in figures.counts.items() if name.startswith(_OF_MEMBERS)}
    return Figures({f"of:{branch}:{name}": count for name, count in kept.items()})


def _error_name(figures: Figures, error: BaseException) -> str:
    """The class of an error as a label: at most 50 different ones, then ``other``."""
    name = type(error).__name__
    known = [count for count in figures.counts if count.startswith("error:")]
    return name if f"error:{name}" in known or len(known) < _MOST_ERROR_NAMES else "other"
