"""What one run of a branch adds to the figures of its unit: in arm P when it was a shadow, in arm B when it was live."""

from __future__ import annotations

from typing import Final

from rollout.domain.evidence import Figures
from rollout.domain.outcomes import RunOutcome
from rollout.engine.fanout import BranchRun

FAILED: Final = (RunOutcome.error, RunOutcome.hard_timeout)
#: Outcomes that say something about the branch; the others say that it was not asked, or not until its end.
RAN: Final = (RunOutcome.ok, RunOutcome.answered, *FAILED)


def count_run(figures: Figures, run: BranchRun) -> None:
    """Count a settled run."""
    counts = figures.counts
    outcome = run.outcome
    name = _OUTCOME_NAMES[outcome]
    counts[name] = counts.get(name, 0) + 1
    if outcome is RunOutcome.ok:
        counts["runs"] = counts.get("runs", 0) + 1
        took = run.finished - run.started
        figures.histogram("run").add(took)
        if took > run.station.sla_s:
            figures.add("sla_missed")
    elif outcome in FAILED:
        figures.add("runs")
        figures.add("sla_missed", 1 if outcome is RunOutcome.hard_timeout and run.station.sla_s < float("inf") else 0)
        if run.error is not None:
            figures.add(f"error:{run.station.error_name(run.error)}")
    if outcome in RAN:
        usage = run.usage
        if usage is None:
            counts["costed"] = counts.get("costed", 0) + 1
        else:
            figures.add("tokens_in", usage.input_tokens)
            figures.add("tokens_out", usage.output_tokens)
            if usage.cost is None:
                figures.add("unpriced")
            else:
                figures.add("costed")
                figures.add("cost_nano", usage.cost)


_OUTCOME_NAMES = {outcome: f"outcome:{outcome.value}" for outcome in RunOutcome}
