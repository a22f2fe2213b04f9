"""The trials that a what-if may replay, as recorded calls; and how many of which kind were left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from rollout.domain.comparison import Outcome
from rollout.domain.outcomes import RunOutcome
from rollout.domain.state import Policy
from rollout.domain.whatif.recorded import RecordedCall, RecordedRun
from rollout.errors import Refused
from rollout.ports import Backend, RunRecord, TrialRecord

_PAGE: Final = 1_000  # trials that are read at once
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


async def read(
    backend: Backend, policy: Policy, since: float | None, most: int, progress: Callable[[float], None]
) -> tuple[Sequence[RecordedCall], Sample]:
    """The calls that can speak, and what they are a sample of; ``Refused`` where none can.

    ``since``: epoch seconds. ``most``: so many trials, the newest. ``progress`` is told which share is read.
    """
    kept = await _kept(backend, policy)
    calls: list[RecordedCall] = []
    times: list[float] = []
    left_out: Counter[str] = Counter()
    stored, _, _ = await backend.ledger.stored(policy.rollout)
    seen, before = 0, None
    while page := await backend.ledger.trials(policy.rollout, limit=min(_PAGE, most - seen), before=before):
        inside = [trial for trial in page if since is None or trial.at >= since]
        seen += len(inside)
        for trial in inside:
            if why := _useless(trial, kept):
                left_out[why] += 1
            else:
                calls.append(recorded(trial, kept[trial.version]))
                times.append(trial.at)
        progress(min(1.0, seen / max(1, min(stored, most))))  # more may come while it reads, even the first
        before = page[-1].id
        if len(inside) < len(page) or seen >= most:
            break
    if not calls:
        raise Refused(_nothing(policy.rollout, seen, left_out))
    return calls, Sample(
        calls=len(calls),
        read=seen,
        stored=stored,
        first_at=min(times),
        last_at=max(times),
        kept=policy.store_sample,
        left_out=dict(left_out.most_common()),
    )


async def _kept(backend: Backend, policy: Policy) -> dict[int, float]:
    """The versions of the policy under which the same branches ran in the same order, within the same time; and the
    share of matched trials that each of them stores."""
    if not policy.store_sample:
        raise Refused(
            f"{policy.rollout} stores only the trials that differ (store.sample is 0), which do not stand for all. "
            "Store some of the others too: store.sample = 0.1."
        )
    versions = await backend.state.policy_versions(policy.rollout)
    return {one.version: one.store_sample for one in versions if _shape(one) == _shape(policy)}


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
