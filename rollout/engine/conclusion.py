"""What a trial comes to when both sides are known: compared, counted by unit, written down.

A unit (a branch, or a group) is a pair of this call if its branches really ran: a branch that ``when=`` skipped,
that found its bulkhead full, or that was stopped with the process says nothing about the candidate. A failure is an
outcome in the same denominator as a mismatch, never dropped; but it is counted in the error pairs, and only where
both sides answered is there a comparison.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from rollout.domain.bodies import parse
from rollout.domain.call import Reply
from rollout.domain.comparison import Comparison, Outcome
from rollout.domain.evidence import marks_of
from rollout.domain.outcomes import RunOutcome
from rollout.engine.branchrun import BranchRun
from rollout.engine.fanout import FanOut
from rollout.engine.joining import AGGREGATE_TIMEOUT, CONTROL_NOT_JSON, Unjoinable, join, whole_reply
from rollout.engine.notes import Note, control_of, costs_of, ends_of
from rollout.engine.runs import ABSENT, FAILED, RAN
from rollout.engine.writing import write

if TYPE_CHECKING:
    from rollout.engine.second import Second
    from rollout.engine.trial import Trial

_FALLS_BACK: Final = marks_of("would_fall_back")
#: What is scored of the outcome of a pair in which both sides answered.
_COMPARED: Final = {
    Outcome.matched: marks_of("compared"),
    Outcome.ignored: marks_of("compared"),
    Outcome.mismatched: marks_of("compared", "mismatched"),
    Outcome.incomparable: 0,
}


@dataclass(slots=True)
class Result:
    """What came of a trial. ``by_branch``: the comparison of each branch that has one; ``""`` is the whole reply."""

    outcome: Outcome
    reason: str = ""
    by_branch: dict[str, Comparison] = field(default_factory=dict)
    candidate: Reply | None = None
    status: int | None = None  # of the candidate, where it is known without making it
    candidate_error: BaseException | None = None
    suspects: Suspects | None = None  # of differences that lie in no branch's part


@dataclass(frozen=True, slots=True)
class Suspects:
    """From which branches a difference may come that lies in no part. ``unknown``: those of which nothing can be told,
    because what the user got differs already, and they were not in it.
    """

    blamed: frozenset[str]
    unknown: frozenset[str] = frozenset()


async def conclude(trial: Trial) -> None:
    """Compare, count, and hand the record to the recorder."""
    runtime, fan, second = trial.runtime, trial.fan, trial.second
    assert fan is not None
    assert second is not None
    runs = fan.runs
    result = await _compare(trial, fan)
    trial.outcome = result.outcome
    fan.cut(RunOutcome.soft_timeout)  # what the candidate was made without
    trial.candidate_s = _candidate_s(trial, runs)
    runtime.funnel(second, "finished")
    if result.outcome is not Outcome.incomparable:
        runtime.funnel(second, "compared")
    if second.sealed:
        runtime.tally.late += 1
    else:
        _count(trial, runs, result)
        _count_time(second, runs.values())
    runtime.compared("", result.outcome)
    if trial.noise:
        await _noise(trial)
    write(trial, runs, result)


async def _compare(trial: Trial, fan: FanOut) -> Result:
    """The outcome of the whole trial, with the comparison of each branch."""
    runtime, control = trial.runtime, trial.reply
    failed = _failed(fan)
    if trial.control_error is not None:
        absent = _absent(fan) if failed is None else None
        if absent is not None:
            return Result(Outcome.incomparable, f"{absent.branch}: {absent.outcome}, and control raised")
        return _compare_errors(trial, failed)
    if control is None:
        return Result(Outcome.incomparable, "control's reply could not be copied")
    if failed is not None:
        result = Result(Outcome.mismatched, f"{failed.branch}: {failed.outcome}", candidate_error=failed.error)
        if runtime.definition.aggregate is None and control.ok:
            result.by_branch = _compare_parts(trial, fan.runs)
        return result
    if not control.ok and not runtime.replaces and not runtime.definition.aggregate_all:
        return _passed_through(trial, control, fan.runs)
    if (absent := _absent(fan)) is not None:
        return Result(Outcome.incomparable, f"{absent.branch}: {absent.outcome}")
    try:
        if runtime.definition.aggregate is None and not runtime.replaces and whole_reply(runtime, fan) is None:
            return _overlaid(trial, fan)
        candidate = trial.candidate
        if candidate is None or trial.assignment is None or trial.assignment.shadow:  # not all of it was live
            candidate = await join(runtime, None if runtime.replaces else control, fan)
    except Unjoinable as error:
        if error.reason == CONTROL_NOT_JSON:
            return Result(Outcome.incomparable, error.reason)
        by_branch = {name: Comparison(Outcome.mismatched, reason=error.reason) for name in error.branches}
        return Result(Outcome.mismatched, error.reason, by_branch, candidate_error=error)
    except Exception as error:
        runtime.hook_failed("aggregate", error)
        return Result(Outcome.mismatched, "aggregate: error", candidate_error=error)
    whole = runtime.comparator.replies(control, candidate)
    for hook in whole.hooks:
        runtime.hook_failed(hook, ValueError(whole.reason))
    result = Result(whole.outcome, whole.reason, _attributed(trial, whole), candidate)
    if whole.outcome is Outcome.mismatched and "" in result.by_branch:
        result.suspects = _suspects(trial, fan, control)
    return result


def _suspects(trial: Trial, fan: FanOut, control: Reply) -> Suspects:
    """Whom to blame for differences outside of every part: the branches that declare no part, if any does; else all.

    Of a call that was partly live, what the user got tells the live branches from those that only ran in shadow.
    """
    runtime, assignment = trial.runtime, trial.assignment
    ran = frozenset(name for name, run in fan.runs.items() if run.outcome is RunOutcome.ok)
    suspects = ran - runtime.part_paths.keys() or ran
    if trial.candidate is None or assignment is None or not assignment.shadow:
        return Suspects(suspects)
    served = runtime.comparator.replies(control, trial.candidate)
    live = suspects & frozenset(assignment.live)
    if served.outcome is Outcome.mismatched and "" in served.by_branch(runtime.comparator.parts):
        return Suspects(live, suspects - live) if live else Suspects(suspects)
    return Suspects(suspects - live or suspects)


def _absent(fan: FanOut) -> BranchRun | None:
    """A required branch that was asked for and had no chance to answer: cut with the call, or refused."""
    return next((run for run in fan.runs.values() if _is_missed(run) and run.station.required), None)


def _is_missed(run: BranchRun) -> bool:
    """Asked for, and without a chance to answer. Whom a quorum did not wait for is not missed."""
    return run.outcome in ABSENT and run.reason != "quorum"


def _failed(fan: FanOut) -> BranchRun | None:
    """The run whose failure makes a candidate impossible; with a quorum, only where it was not reached."""
    if fan.of.quorum is not None:
        return fan.failed if fan.failed is not None and fan.failed.outcome in FAILED else None
    return next((run for run in fan.runs.values() if run.outcome in FAILED and run.station.required), None)


def _overlaid(trial: Trial, fan: FanOut) -> Result:
    """The default aggregator changes nothing but the parts, so comparing the parts is comparing the reply."""
    answered = next((run for run in fan.runs.values() if run.outcome is RunOutcome.answered), None)
    if answered is not None:
        return Result(Outcome.mismatched, f"{answered.branch}: answered, where control has a reply")
    by_branch = _compare_parts(trial, fan.runs)
    if not by_branch:
        return Result(Outcome.incomparable, "no part")
    assert trial.reply is not None
    outcome = _worst(by_branch)
    why = next((one.reason for one in by_branch.values() if one.outcome is outcome and one.reason), "")
    return Result(outcome, why, by_branch=by_branch, status=trial.reply.status)


def _worst(by_branch: Mapping[str, Comparison]) -> Outcome:
    outcomes = {comparison.outcome for comparison in by_branch.values()}
    for outcome in (Outcome.mismatched, Outcome.incomparable, Outcome.ignored):
        if outcome in outcomes:
            return outcome
    return Outcome.matched


def _compare_parts(trial: Trial, runs: Mapping[str, BranchRun]) -> dict[str, Comparison]:
    """Each part that is there against what stands at its place in control's reply."""
    runtime, control = trial.runtime, trial.reply
    assert control is not None
    try:
        value = json.loads(control.body)
    except ValueError:
        parsed = parse(control.content_type, control.body)
        why = parsed.problem or f"control's reply is {parsed.kind}, not JSON"
        return {
            name: Comparison(Outcome.incomparable, (), 0, why)
            for name, run in runs.items()
            if run.outcome is RunOutcome.ok
        }
    part = runtime.comparator.part
    return {
        name: part(name, value, run.part)
        for name, run in runs.items()
        if run.outcome is RunOutcome.ok and name in runtime.part_paths
    }


def _attributed(trial: Trial, whole: Comparison) -> dict[str, Comparison]:
    """The differences of the whole reply, by the branch in whose part they lie; what lies in none counts against
    all."""
    if whole.outcome is Outcome.incomparable:
        return {"": whole}
    found: dict[str, Comparison] = {}
    for name, differences in whole.by_branch(trial.runtime.comparator.parts).items():
        found[name] = Comparison(Outcome.mismatched if differences else whole.outcome, tuple(differences), 0)
    if trial.fan is not None:
        for name, run in trial.fan.runs.items():
            if run.outcome is RunOutcome.ok and name not in found:
                found[name] = Comparison(
                    Outcome.ignored if whole.outcome is Outcome.ignored else Outcome.matched, (), 0
                )
    return found


def _passed_through(trial: Trial, control: Reply, runs: Mapping[str, BranchRun]) -> Result:
    """Control answered other than 2xx: the user would get just that. A declared answer or a reply can agree with it, a
    part cannot.
    """
    for run in runs.values():
        if isinstance(run.part, Reply):
            whole = trial.runtime.comparator.replies(control, run.part)
            return Result(whole.outcome, whole.reason, _attributed(trial, whole), run.part)
        if run.outcome is RunOutcome.answered:
            answers = run.station.branch.answers
            status = next((status for known, status in answers.items() if isinstance(run.error, known)), 0)
            same = status == control.status
            outcome = Outcome.matched if same else Outcome.mismatched
            return Result(outcome, "" if same else f"{run.branch}: answered {status}, control {control.status}")
    return Result(Outcome.incomparable, f"control answered {control.status}, which passes through")


def _compare_errors(trial: Trial, failed: BranchRun | None) -> Result:
    """Control raised: the same class and message on both sides match."""
    error = None if failed is None else failed.error
    comparison = trial.runtime.comparator.errors(trial.control_error, error)
    return Result(comparison.outcome, comparison.reason or "control raised", candidate_error=error)


# ---- counting


def _count(trial: Trial, runs: Mapping[str, BranchRun], result: Result) -> None:
    """Add the trial to the pairs of each unit, but for those of which this caller's flag does not say ``auto``."""
    control = trial.reply
    control_bad = trial.control_error is not None or (control is not None and control.status >= 500)
    assert trial.fan is not None
    assert trial.assignment is not None
    failed = _failed(trial.fan)
    for index, plan in enumerate(trial.view.plans):
        members = [run for name in plan.branches if (run := runs.get(name)) is not None]
        ran = [run for run in members if run.outcome in RAN]
        counts = trial.assignment.apart.isdisjoint(plan.branches)
        if ran and counts:
            _count_cost(trial, index, members)
        if not ran or any(_is_missed(run) for run in members):
            continue  # those that did not run were not wanted: by `when=`, the dispatch, a first opinion, a quorum
        falls = result.candidate_error is not None and result.reason in ("aggregate: error", AGGREGATE_TIMEOUT)
        falls = falls or any(run is failed for run in ran)
        bad = falls or any(run.outcome in FAILED for run in ran)
        outcome = None if bad or control_bad else _unit_outcome(result, ran)
        if counts:
            _count_pair(trial, index, ran, control_bad, bad)
            _score_pair(trial, index, members, outcome, falls)
        if outcome is not None:
            for run in ran:
                trial.runtime.compared(run.branch, outcome)


def _count_time(second: Second, runs: Collection[BranchRun]) -> None:
    """What the runs took together, and what their fan-outs took: of a call that was partly live there are two."""
    began = [run for run in runs if run.began]
    if not began:
        return
    path_s = 0.0
    for mode in {run.station.mode for run in began}:
        beside = [run for run in began if run.station.mode == mode]
        path_s += max(run.finished for run in beside) - min(run.started for run in beside)
    second.count_fan_out(sum(run.took_s for run in began), path_s)


def _unit_outcome(result: Result, members: list[BranchRun]) -> Outcome:
    """The outcome of one unit: of its branches' own parts, and of what lies in no part where it is a suspect."""
    names = {run.branch for run in members}
    own = {name: result.by_branch[name] for name in names if name in result.by_branch}
    if result.suspects is not None:
        if names & result.suspects.blamed:
            return Outcome.mismatched
        if names & result.suspects.unknown and _worst(own) is not Outcome.mismatched:
            return Outcome.incomparable
    if own:
        return _worst(own)
    return result.outcome if result.candidate_error is None else Outcome.incomparable


def _count_cost(trial: Trial, unit: int, members: list[BranchRun]) -> None:
    """Count what the shadows of a unit cost in this call. What live runs cost is counted in arm B."""
    shadows = [run for run in members if run.is_shadow]
    if shadows:
        assert trial.second is not None
        costs_of(shadows).add_to(trial.second.pair(unit))


def _count_pair(trial: Trial, unit: int, ran: list[BranchRun], control_bad: bool, bad: bool) -> None:
    """Count who failed, and how long both sides took."""
    assert trial.second is not None
    figures = trial.second.pair(unit)
    if control_bad:
        figures.add("control_bad")
    if bad:
        figures.add("candidate_bad")
    if control_bad != bad:
        figures.add("only_candidate_bad" if bad else "only_control_bad")
    control_s = trial.control_s
    if not control_bad and not bad and control_s is not None:
        candidate_s = _latency(trial, ran)
        figures.histogram("control").add(control_s)
        figures.histogram("candidate").add(candidate_s)
        for name, times in trial.view.tolerances.items():
            if candidate_s > control_s * times:
                figures.add(name)
    if trial.control_run is not None and (usage := trial.control_run.usage) is not None:
        figures.add("control_tokens_in", usage.input_tokens)
        figures.add("control_tokens_out", usage.output_tokens)


def _score_pair(trial: Trial, unit: int, members: list[BranchRun], outcome: Outcome | None, falls: bool) -> None:
    """Count what is scored of a pair, which is the same whether it counts as its key's first or not."""
    assert trial.second is not None
    figures = trial.second.pair(unit)
    figures.add("pairs")
    if outcome is not None and outcome is not Outcome.mismatched:  # that one is among the marks
        figures.add(outcome)
    marks = (_FALLS_BACK if falls else 0) | (0 if outcome is None else _COMPARED[outcome])
    note = Note(marks).joined(ends_of(members)).joined(control_of(trial.runtime, trial.control_run))
    note.add_to(figures)
    trial.runtime.scoring.pair(trial, unit, note.joined(costs_of(members)))


def _latency(trial: Trial, members: list[BranchRun]) -> float:
    """What the user would have waited: in the overlay control runs too, so it is never below control's own time."""
    fan_out = max(run.finished - _begin(trial, run) for run in members)
    if trial.runtime.replaces or trial.control_s is None:
        return fan_out
    return max(trial.control_s, fan_out)


def _begin(trial: Trial, run: BranchRun) -> float:
    """When the fan-out that a run belongs to began: the earliest start of a run in the same mode."""
    assert trial.fan is not None
    return min(other.started for other in trial.fan.runs.values() if other.is_shadow == run.is_shadow)


def _candidate_s(trial: Trial, runs: Mapping[str, BranchRun]) -> float | None:
    if trial.candidate_s is not None:
        return trial.candidate_s
    ran = [run for run in runs.values() if run.outcome in RAN]
    return _latency(trial, ran) if ran else None


async def _noise(trial: Trial) -> None:
    """Run control once more and compare it with itself, so that people see which differences are nobody's fault."""
    runtime, control, second = trial.runtime, trial.reply, trial.second
    if control is None or second is None or trial.assignment is None:
        return
    try:
        again = await trial.control_again()
    except Exception as error:
        runtime.fault("noise", error)
        return
    comparison = runtime.comparator.replies(control, again)
    found = comparison.by_branch(runtime.comparator.parts)
    for index, plan in enumerate(trial.view.plans):
        if not trial.assignment.apart.isdisjoint(plan.branches):
            continue
        figures = second.pair(index)
        figures.add("noise")
        if not found.keys().isdisjoint(("", *plan.branches)):
            figures.add("noise_mismatched")
    for branch, differences in found.items():
        for path, kind in {(runtime.redactor.stored_path(one.path), one.kind) for one in differences}:
            runtime.recorder.mismatch(runtime.name, branch, path, kind).noise += 1
