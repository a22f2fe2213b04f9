"""The record of a trial: redacted before it reaches any queue."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rollout.domain.comparison import Comparison, Outcome
from rollout.domain.redaction import example
from rollout.engine.branchrun import BranchRun
from rollout.ports import MismatchCount, RunRecord, TrialRecord

if TYPE_CHECKING:
    from rollout.engine.conclusion import Result
    from rollout.engine.trial import Trial

MOST_DIFFERENCES = 20
_FIXED = 500  # bytes, roughly, of a record and its rows without differences
_RUN = 150


def write(trial: Trial, runs: Mapping[str, BranchRun], result: Result) -> None:
    """Count the paths that differ, and queue the record if it is one of those that are stored."""
    runtime, second = trial.runtime, trial.second
    assert second is not None
    at = runtime.epoch(trial.started)
    trial_id = runtime.trial_id(at)
    differences = _differences(trial, result, trial_id, at) if result.outcome is not Outcome.matched else ()
    if result.outcome is Outcome.matched and runtime.dice() >= trial.view.policy.store_sample:
        return
    redactor = runtime.redactor
    key = trial.key
    candidate = result.candidate
    record = TrialRecord(
        trial_id,
        runtime.name,
        at,
        trial.mode,
        result.outcome.value,
        trial.view.policy.version,
        trial.call.route,
        trial.call.method,
        "" if key is None else redactor.key(key),
        None if trial.reply is None else trial.reply.status,
        trial.control_s,
        result.status if candidate is None else candidate.status,
        trial.candidate_s,
        result.reason,
        _error(trial, trial.control_error),
        _error(trial, result.candidate_error),
        runtime.labels_of(trial.call),
        differences,
        [_run(trial, run) for run in runs.values()],
    )
    size = _FIXED + _RUN * len(runs) + (len(json.dumps(differences)) if differences else 0)
    runtime.funnel(second, "queued")
    runtime.recorder.record(record, size)


def _differences(trial: Trial, result: Result, trial_id: str, at: float) -> list[Mapping[str, Any]]:
    """The differences as they are stored, counted by path, kind and branch: a call in which ten items differ at one
    path is one call."""
    runtime = trial.runtime
    kept: list[Mapping[str, Any]] = []
    counted: set[int] = set()  # by identity: paths beyond the bound share one count
    for branch, comparison in result.by_branch.items():
        for difference in _of(comparison):
            shown = {**example(difference, runtime.redactor), "branch": branch}
            count = runtime.recorder.mismatch(runtime.name, branch, str(shown["path"]), difference.kind.value)
            if id(count) not in counted:
                counted.add(id(count))
                _count(count, trial_id, at)
            if count.example is None:
                count.example = shown
            if len(kept) < MOST_DIFFERENCES:
                kept.append(shown)
    return kept


def _count(count: MismatchCount, trial_id: str, at: float) -> None:
    count.count += 1
    count.last_at = at
    count.first_at = count.first_at or at
    if len(count.trials) < 5:
        count.trials.append(trial_id)


def _of(comparison: Comparison) -> Any:
    return comparison.differences if comparison.outcome is Outcome.mismatched else ()


def _run(trial: Trial, run: BranchRun) -> RunRecord:
    usage = run.usage
    return RunRecord(
        run.branch,
        "shadow" if run.is_shadow else "live",
        run.outcome.value,
        run.finished - run.started,
        run.attempts,
        0 if usage is None else usage.input_tokens,
        0 if usage is None else usage.output_tokens,
        0 if usage is None else usage.cost,
        "" if usage is None else usage.model,
        "" if run.error is None else _error(trial, run.error),
        run.reason,
        run.confidence,
    )


def _error(trial: Trial, error: BaseException | None) -> str:
    """The class in clear, the message as a keyed hash."""
    if error is None:
        return ""
    name, message = trial.runtime.redactor.error(error)
    return f"{name} {message}" if message else name
