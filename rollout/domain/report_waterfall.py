"""The fan-out of a typical call: when each branch begins and ends, and which of them the call waits for.

A trial stores how long each run took, not when it began: that follows from what the branch comes after. A run begins
when the last of those has ended; one that comes after nothing begins with the fan-out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from rollout.domain.outcomes import RunOutcome
from rollout.domain.report_sample import Run, Sampled, Trial, quantiles
from rollout.domain.report_values import BranchSpan, Waterfall
from rollout.domain.state import Policy

_BEGAN: Final = frozenset(
    (RunOutcome.ok, RunOutcome.answered, RunOutcome.error, RunOutcome.soft_timeout, RunOutcome.hard_timeout)
)
After = Mapping[str, Sequence[str]]  # branch → those it comes after


@dataclass(frozen=True, slots=True)
class _FanOut:
    """The runs of one call in one mode: branch → (begin, end) in seconds, and the chain of branches that ends last."""

    spans: Mapping[str, tuple[float, float]]
    path: tuple[str, ...]
    weight: float


def waterfalls(sampled: Sequence[Sampled], policy: Policy) -> tuple[Waterfall, ...]:
    """One for each mode in which branches ran, shadow first."""
    after = {branch.name: branch.after for branch in policy.branches}
    found = []
    for mode in ("shadow", "live"):
        fans = [fan for one in sampled if (fan := _fan_out(one, mode, after)) is not None]
        if fans:
            control = [(one.trial.control_s, one.weight) for one in sampled if one.trial.control_s is not None]
            found.append(_waterfall(mode, fans, control, policy))
    return tuple(found)


def _fan_out(one: Sampled, mode: str, after: After) -> _FanOut | None:
    runs = {run.branch: run.latency_s for run in _began(one.trial, mode) if run.latency_s is not None}
    spans: dict[str, tuple[float, float]] = {}
    for branch in after:  # the order declared
        _place(branch, runs, after, spans)
    return _FanOut(spans, _critical(spans, after), one.weight) if spans else None


def _began(trial: Trial, mode: str) -> list[Run]:
    return [run for run in trial.runs if run.mode == mode and run.outcome in _BEGAN]


def _place(branch: str, runs: Mapping[str, float], after: After, spans: dict[str, tuple[float, float]]) -> None:
    """Find when a branch began and ended, and before it the same of those it comes after."""
    if branch in spans or branch not in runs:
        return
    for earlier in after.get(branch, ()):
        _place(earlier, runs, after, spans)
    begin = max((spans[earlier][1] for earlier in after.get(branch, ()) if earlier in spans), default=0.0)
    spans[branch] = (begin, begin + runs[branch])


def _critical(spans: Mapping[str, tuple[float, float]], after: After) -> tuple[str, ...]:
    """The branches that the end of the fan-out waited for, first to last."""
    path: list[str] = []
    candidates: Sequence[str] = tuple(spans)
    while candidates:
        path.append(max(candidates, key=lambda branch: spans[branch][1]))
        candidates = [branch for branch in after.get(path[-1], ()) if branch in spans]
    return tuple(reversed(path))


def _waterfall(mode: str, fans: Sequence[_FanOut], control: Sequence[tuple[float, float]], policy: Policy) -> Waterfall:
    whole = sum(fan.weight for fan in fans)
    paths: dict[tuple[str, ...], float] = {}
    for fan in fans:
        paths[fan.path] = paths.get(fan.path, 0.0) + fan.weight
    path = max(paths, key=lambda one: (paths[one], one))
    end_p50_s, end_p95_s = quantiles([(fan.spans[fan.path[-1]][1], fan.weight) for fan in fans], 0.5, 0.95)
    return Waterfall(
        mode=mode,
        trials=len(fans),
        control_p50_s=quantiles(control, 0.5)[0] if control else None,
        end_p50_s=end_p50_s,
        end_p95_s=end_p95_s,
        path=path,
        path_share=paths[path] / whole,
        branches=tuple(
            _span(branch.name, fans, whole)
            for branch in policy.branches
            if any(branch.name in fan.spans for fan in fans)
        ),
    )


def _span(branch: str, fans: Sequence[_FanOut], whole: float) -> BranchSpan:
    own = [fan for fan in fans if branch in fan.spans]
    begins = [(fan.spans[branch][0], fan.weight) for fan in own]
    end_s, end_p95_s = quantiles([(fan.spans[branch][1], fan.weight) for fan in own], 0.5, 0.95)
    return BranchSpan(
        branch=branch,
        runs=len(own),
        ran=sum(fan.weight for fan in own) / whole,
        begin_s=quantiles(begins, 0.5)[0],
        end_s=end_s,
        end_p95_s=end_p95_s,
        critical=sum(fan.weight for fan in own if branch in fan.path) / whole,
    )
