"""How the runs of each branch ended, and how much of their time passed side by side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from rollout.domain.evidence import REASONS, Arm, Figures
from rollout.domain.outcomes import RunOutcome
from rollout.domain.report_parts import Units, summed
from rollout.domain.report_values import FanOutTime, Outcomes
from rollout.domain.state import BranchPolicy, Policy

#: Where the runs of a mode are counted.
_ARMS: Final[tuple[tuple[str, Arm], ...]] = (("live", "B"), ("shadow", "P"))

Newest = Mapping[str, Sequence[tuple[int, Mapping[str, Figures]]]]  # unit → (second, arm → figures), oldest first


def outcomes(units: Units, policy: Policy, newest: Newest) -> tuple[Outcomes, ...]:
    """A line for each branch and mode that was asked for, in the order declared. ``newest``: the last few seconds, of
    which the last one with a run of the branch says what is orphaned now."""
    members = policy.units()
    found = []
    for branch in policy.branches:
        prefix = f"of:{branch.name}:" if len(members[branch.unit]) > 1 else ""
        for mode, arm in _ARMS:
            steps = (arms.get(arm, Figures()) for _, arms in reversed(newest.get(branch.unit, ())))
            line = _outcomes(branch, mode, summed(units, branch.unit, arm), prefix, steps)
            if line.runs:
                found.append(line)
    return tuple(found)


def _outcomes(
    branch: BranchPolicy, mode: str, figures: Figures, prefix: str, newest_first: Iterable[Figures]
) -> Outcomes:
    ended = _ended(figures, prefix)
    reasons = {outcome.value: figures.starting(f"{prefix}{outcome}:") for outcome in REASONS}
    last = next((step for step in newest_first if any(_ended(step, prefix).values())), None)
    return Outcomes(
        branch=branch.name,
        mode=mode,
        runs=sum(ended.values()),
        ended=ended,
        reasons={outcome: counts for outcome, counts in reasons.items() if counts},
        retried=figures[f"{prefix}retried"],
        hedged=figures[f"{prefix}hedged"],
        sla_missed=figures[f"{prefix}sla_missed"],
        orphaned=None if last is None else last[f"{prefix}orphans"],
    )


def _ended(figures: Figures, prefix: str) -> dict[str, int]:
    return {outcome.value: figures[f"{prefix}outcome:{outcome}"] for outcome in RunOutcome}


def fan_out_time(whole: Figures) -> FanOutTime | None:
    """What a trial's runs took together, and what it waited for them; None where there was no fan-out."""
    trials, work_us, path_us = whole["fan_outs"], whole["work_us"], whole["path_us"]
    if not trials:
        return None
    return FanOutTime(
        trials=trials,
        work_s=work_us / trials / 1e6,
        path_s=path_us / trials / 1e6,
        times=work_us / path_us if path_us else None,
    )
