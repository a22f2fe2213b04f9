"""The common end of a trial: every branch ran in shadow, every part is what control has in its place.

Nothing but this function is between such a trial and its record, because it is what nearly all trials come to: it
counts the pair once for all units, and queues a flat tuple of numbers (which the garbage collector leaves alone)
that becomes a record when it is written. Whatever is not clean returns False, having changed nothing, and goes the
long way of ``conclusion``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from rollout.domain.comparison import Outcome
from rollout.domain.outcomes import RunOutcome
from rollout.engine.runs import missed_sla
from rollout.ports import RunRecord, TrialRecord

if TYPE_CHECKING:
    from rollout.engine.branchrun import BranchRun
    from rollout.engine.cleanpairs import CleanPairs
    from rollout.engine.fanout import FanOut
    from rollout.engine.trial import Trial

_OK: Final = RunOutcome.ok
_MATCHED: Final = Outcome.matched
_NOTHING: Final = object()
SIZE: Final = 1_000  # bytes, roughly, of a clean record with its rows


def conclude_clean(trial: Trial, fan: FanOut) -> bool:
    """Compare, count and record a trial if it is clean; whether it was."""
    runtime, control, second = trial.runtime, trial.reply, trial.second
    runs = fan.runs
    control_s = trial.control_s
    if len(runs) != len(runtime.places) or control is None or not 200 <= control.status < 300 or control_s is None:
        return False
    if trial.control_run is not None and trial.control_run.usage is not None:  # what control cost is counted by unit
        return False
    apart = trial.assignment.apart if trial.assignment is not None else ()
    if apart and len(apart) < len(runs):  # some of them are evidence, and some are not
        return False
    ours: list[Any] = []
    theirs: list[Any] = []
    took: list[float] = []
    slower: list[BranchRun] | None = None
    begun = end = fan.begun
    limit = begun + control_s
    try:
        value = runtime.codec.loads(control.body)
        for name, step, path in runtime.places:
            run = runs[name]
            if run.outcome is not _OK or run.usage is not None or run.attempts > 1:
                return False
            ours.append(path.get(value, _NOTHING) if step is None else value.get(step, _NOTHING))
            theirs.append(run.part)
            finished = run.finished
            took.append(finished - run.started)
            if finished > end:
                end = finished
            if finished > limit:
                if slower is None:
                    slower = [run]
                else:
                    slower.append(run)
    except (ValueError, KeyError, AttributeError):  # no JSON, or no object: the long way says so
        return False
    if not runtime.codec.same(ours, theirs):
        return False
    if second is None or second.sealed:
        return False
    view = trial.view
    path_s = end - begun
    second.work_s += sum(took)
    second.path_s += path_s
    key = trial.key
    if apart:
        second.apart.control.add(control_s)
    else:
        late = _late(view.unit_of, runs) if path_s > runtime.least_sla_s else ()
        clean = second.clean
        if view.scores_keys:
            if key is None:
                clean = second.single
            elif key not in view.paired:
                runtime.scoring.clean_pairs(trial, late)
        clean.control.add(control_s)
        if late:
            clean.were_late(late)
        if slower is not None:
            _count_slower(clean, view.unit_of, slower, begun, control_s)
    runtime.matched += 1
    if runtime.stores_all or runtime.dice() < view.policy.store_sample:
        second.queued += 1
        call = trial.call
        runtime.recorder.record(
            (
                runtime.name,
                trial.started,
                next(runtime.ids),
                view.policy.version,
                call.route,
                call.method,
                "" if key is None else view.hashes.get(key) or view.hash_of(key, runtime.redactor),
                control.status,
                control_s,
                control_s if slower is None else path_s,
                None if runtime.labels is None else runtime.labels_of(call),
                *took,
            ),
            SIZE,
        )
    return True


def _late(unit_of: Mapping[str, int], runs: Mapping[str, BranchRun]) -> frozenset[int]:
    """The units of which a run missed its SLA."""
    return frozenset(unit_of[name] for name, run in runs.items() if missed_sla(run))


def _count_slower(
    clean: CleanPairs, unit_of: Mapping[str, int], slower: Sequence[BranchRun], begun: float, control_s: float
) -> None:
    """Count what took longer than control; of a group, its slowest branch."""
    if len(unit_of) == len(clean.slower):  # each branch is a unit of its own
        for run in slower:
            clean.was_slower(unit_of[run.station.name], run.finished - begun, control_s)
        return
    waited: dict[int, float] = {}
    for run in slower:
        unit = unit_of[run.station.name]
        waited[unit] = max(run.finished - begun, waited.get(unit, 0.0))
    for unit, seconds in waited.items():
        clean.was_slower(unit, seconds, control_s)


def expanded(row: tuple[Any, ...], trial_id: str, at: float, branches: tuple[str, ...]) -> TrialRecord:
    """The record of a clean trial's row. ``branches``: their names, in the order of the row's times."""
    rollout, _, _, version, route, method, key_hash, status, control_s, candidate_s, labels, *took = row
    runs = [RunRecord(name, "shadow", "ok", seconds, 1, 0, 0, 0) for name, seconds in zip(branches, took, strict=True)]
    return TrialRecord(
        trial_id,
        rollout,
        at,
        "shadow",
        "matched",
        version,
        route,
        method,
        key_hash,
        status,
        control_s,
        status,
        candidate_s,
        labels=labels or {},
        runs=runs,
    )
