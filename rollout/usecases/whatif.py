"""The verb ``whatif``: what another setting would have made of the calls that ran in shadow. It changes nothing.

    found = await whatif(backend, "profile", Setting(soft_s={"tickets": 0.2}), clock=time.perf_counter)
    found.in_force.user.p95, found.predicted.user.p95

Every call is replayed under both settings, so what they differ by is the setting and not the traffic. What it does not
know: how a branch would fare under less load, or more; and that a deadline which comes sooner leaves retries out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from rollout.domain.comparison import Outcome
from rollout.domain.outcomes import RunOutcome
from rollout.domain.state import Policy
from rollout.domain.whatif.frontier import Frontier, frontier
from rollout.domain.whatif.prediction import Check, Prediction, check, predict
from rollout.domain.whatif.recorded import Past, RecordedCall, RecordedRun
from rollout.domain.whatif.remedies import Unanswered, never_ran, unanswered
from rollout.domain.whatif.setting import Setting, rules_of
from rollout.errors import Refused
from rollout.ports import Backend, RunRecord, TrialRecord
from rollout.usecases.standpoint import Standpoint

#: The most trials that are read, and how many at once.
MOST: Final = 20_000
_PAGE: Final = 1_000
#: How much of the whole is done when everything is read, and when it is predicted; roughly.
_READ: Final = 0.6
_PREDICTED: Final = 0.8
#: A record holds so many differences at most: there may be more.
_DIFFERENCES: Final = 20
_FAILED: Final = (RunOutcome.error, RunOutcome.hard_timeout)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Which calls were replayed.

    ``calls``: how many. ``read``: trials that were read for it, the newest first, of ``stored``. ``first_at``,
    ``last_at``: epoch seconds. ``kept``: the share of matched trials that is stored; each counts as one over that.
    ``left_out``: why → how many of those that were read.
    """

    calls: int
    read: int
    stored: int
    first_at: float
    last_at: float
    kept: float
    left_out: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class WhatIf:
    """``in_force``: the same calls as things are. ``predicted``: None where nothing can be said. ``check``: how
    well the replay tells what is known already. ``dropped``: all that goes. ``absent``: branches of which no run was
    recorded, so that they are in no figure. ``frontier``: None where no branch is optional. ``took_s``: seconds.
    """

    rollout: str
    version: int
    join: str
    setting: Setting
    dropped: Sequence[str]
    absent: Sequence[str]
    sample: Sample
    in_force: Prediction
    predicted: Prediction | None
    unanswered: Sequence[Unanswered]
    check: Check | None
    frontier: Frontier | None
    took_s: float


async def whatif(
    backend: Backend,
    name: str,
    setting: Setting,
    *,
    clock: Callable[[], float],
    since: float | None = None,
    most: int = MOST,
    progress: Callable[[float], None] = lambda _: None,
) -> WhatIf:
    """Predict. ``since``: epoch seconds, default the oldest trial; ``most``: read no more than so many, the newest.
    ``progress`` is told which share is done, in [0, 1].

    ``UnknownName`` for a rollout or branch that is not there; ``Refused`` for a setting that cannot be, and where no
    trial can speak.
    """
    began = clock()
    policy = (await Standpoint.of(backend, name)).policy
    setting.check(policy)
    calls, sample = await _read(backend, policy, since, most, lambda share: progress(_READ * share))
    past = Past.of(calls)
    as_it_is = Setting(live=setting.live)
    in_force = predict(calls, rules_of(policy, as_it_is, past))
    nothing = tuple(never_ran(policy, setting, past))
    predicted = None if nothing else predict(calls, rules_of(policy, setting, past)) if setting.changes else in_force
    progress(_PREDICTED)
    return WhatIf(
        rollout=name,
        version=policy.version,
        join=policy.join,
        setting=setting,
        dropped=sorted(setting.gone(policy)),
        absent=[branch.name for branch in policy.branches if not past.began.get(branch.name)],
        sample=sample,
        in_force=in_force,
        predicted=predicted,
        unanswered=nothing if predicted is None else unanswered(predicted.unknown, policy, setting),
        check=check(calls, rules_of(policy, Setting(), past)),
        frontier=None if nothing else frontier(calls, policy, setting, past, lambda share: progress(_rest(share))),
        took_s=clock() - began,
    )


def _rest(share: float) -> float:
    """How much of the whole is done with a share of what comes after the prediction."""
    return _PREDICTED + (1 - _PREDICTED) * share


# Which calls


async def _read(
    backend: Backend, policy: Policy, since: float | None, most: int, progress: Callable[[float], None]
) -> tuple[Sequence[RecordedCall], Sample]:
    """The calls that can speak, and what they are a sample of."""
    kept = await _kept(backend, policy)
    calls: list[RecordedCall] = []
    times: list[float] = []
    left_out: Counter[str] = Counter()
    stored, _, _ = await backend.ledger.stored(policy.rollout)
    read, before = 0, None
    while page := await backend.ledger.trials(policy.rollout, limit=min(_PAGE, most - read), before=before):
        inside = [trial for trial in page if since is None or trial.at >= since]
        read += len(inside)
        for trial in inside:
            if why := _useless(trial, kept):
                left_out[why] += 1
            else:
                calls.append(recorded(trial, kept[trial.version]))
                times.append(trial.at)
        progress(min(1.0, read / min(stored, most)))  # more may come while it reads
        before = page[-1].id
        if len(inside) < len(page) or read >= most:
            break
    if not calls:
        raise Refused(_nothing(policy.rollout, read, left_out))
    return calls, Sample(
        calls=len(calls),
        read=read,
        stored=stored,
        first_at=min(times),
        last_at=max(times),
        kept=policy.store_sample,
        left_out=dict(left_out.most_common()),
    )


async def _kept(backend: Backend, policy: Policy) -> dict[int, float]:
    """The versions of the policy under which the same branches ran in the same order, within the same time; and the
    share of matched trials that each of them stores."""
    versions = await backend.state.policy_versions(policy.rollout)
    kept = {one.version: one.store_sample for one in versions if _shape(one) == _shape(policy)}
    if not policy.store_sample:
        raise Refused(
            f"{policy.rollout} stores only the trials that differ (store.sample is 0), which do not stand for all. "
            "Store some of the others too: store.sample = 0.1."
        )
    return kept


def _shape(policy: Policy) -> Any:
    branches = [(one.name, one.required, one.after, one.part, one.hard_timeout_s) for one in policy.branches]
    return policy.join, policy.latency_s, branches


def _useless(trial: TrialRecord, kept: Mapping[int, float]) -> str:
    """Why a trial cannot be replayed; ``""`` if it can."""
    if not kept.get(trial.version):
        return "of another policy"
    if trial.mode != "shadow":
        return "partly live"
    if trial.control_s is None or any(run.outcome == RunOutcome.shutdown for run in trial.runs):
        return "broken off"
    return ""


def _nothing(name: str, read: int, left_out: Mapping[str, int]) -> str:
    if not read:
        return f"No trial of {name} is stored in that time. Let it run in shadow for a while, or ask for a longer time."
    why = ", ".join(f"{count:,} {reason}" for reason, count in left_out.items())
    return f"None of the {read:,} trials of {name} can be replayed: {why}. Let it run in shadow for a while."


def recorded(trial: TrialRecord, kept: float = 1.0) -> RecordedCall:
    """A trial of which control's latency is known. ``kept``: the share of matched trials that is stored."""
    assert trial.control_s is not None
    outcome = Outcome(trial.outcome)
    return RecordedCall(
        control_s=trial.control_s,
        runs={run.branch: _run(run) for run in trial.runs},
        outcome=outcome,
        differs=_differs(trial),
        candidate_s=trial.candidate_s,
        weight=1 / kept if outcome is Outcome.matched else 1.0,
    )


def _run(run: RunRecord) -> RecordedRun:
    tokens = run.input_tokens + run.output_tokens
    outcome = RunOutcome(run.outcome)
    return RecordedRun(outcome, run.latency_s or 0.0, tokens, run.cost_nano, run.confidence, run.reason)


def _differs(trial: TrialRecord) -> frozenset[str]:
    """The branches in whose parts something differs; ``""`` for what no branch can be blamed for, or may hide."""
    found = frozenset(str(difference.get("branch", "")) for difference in trial.differences)
    is_full = len(trial.differences) >= _DIFFERENCES
    is_unexplained = (
        trial.outcome == Outcome.mismatched and not found and all(r.outcome not in _FAILED for r in trial.runs)
    )
    return found | {""} if is_full or is_unexplained else found
