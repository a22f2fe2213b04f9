"""Where a branch stands and what it waits for, in words: what ``status`` shows, and every report begins with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from rollout.domain.durations import duration_text, percent
from rollout.domain.gates import Finding, Grade
from rollout.domain.lifecycle import waits_for
from rollout.domain.state import BranchPolicy, BranchState, Mode, Policy


class Word(StrEnum):
    """How a branch stands, from good to bad; the worst of several speaks for the rollout."""

    completed = "completed"
    ready = "ready"
    soaking = "soaking"
    frozen = "frozen"
    waiting = "waiting"  # for a person (an approval, a ramp moved by hand), or for the branch it comes after
    paused = "paused"
    holding = "holding"
    rolled_back = "rolled_back"

    @property
    def text(self) -> str:
        return self.value.replace("_", " ")


_ORDER = tuple(Word)


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where one branch stands.

    ``at``: ``"25%"`` or ``"shadow"``; ``next``: the stage after it, ``""`` at the last. ``left_s``: seconds of
    soaking that are left, 0 when over. ``why``: one sentence. ``findings``: of the branch's unit, newest look. Times
    are epoch seconds.
    """

    rollout: str
    branch: str
    unit: str
    word: Word
    why: str
    at: str
    next: str
    mode: Mode
    stage: int
    stages: int
    share: float
    shadow: bool
    entered_at: float
    soak_s: float
    left_s: float
    required: bool
    approved: float | None = None
    cause: str = ""
    findings: Sequence[Finding] = ()


def stand(policy: Policy, state: BranchState, findings: Sequence[Finding], now: float, waits: str = "") -> Standing:
    """The standing of one branch; ``findings`` are those of its unit, ``waits``: for what branch before it, a
    sentence."""
    branch = policy.branch(state.branch)
    ramp = policy.ramp
    known = 0 <= state.stage <= ramp.last
    soak_s = ramp.soak_at(state.stage) if known else 0.0
    left_s = max(0.0, state.entered_at + soak_s - now) if state.mode is Mode.active else 0.0
    word, why = _word(policy, state, findings, left_s, now, waits)
    return Standing(
        rollout=state.rollout,
        branch=state.branch,
        unit=branch.unit if branch else state.branch,
        word=word,
        why=why,
        at=state.at_text(),
        next=_next(policy, state),
        mode=state.mode,
        stage=state.stage,
        stages=len(ramp.stages),
        share=state.share,
        shadow=state.shadow,
        entered_at=state.entered_at,
        soak_s=soak_s,
        left_s=round(left_s, 3),
        required=branch.required if branch else True,
        approved=state.approved,
        cause=state.cause,
        findings=tuple(findings),
    )


def worst(standings: Sequence[Standing]) -> Word:
    """What speaks for all of them; ``completed`` when there is none."""
    return max((standing.word for standing in standings), key=_ORDER.index, default=Word.completed)


def stands(
    policy: Policy, states: Mapping[str, BranchState], findings: Sequence[Finding], now: float
) -> tuple[Standing, ...]:
    """Every branch of a rollout, in the order declared; ``findings`` are told apart by their unit."""
    return tuple(
        stand(
            policy,
            states[branch.name],
            [f for f in findings if f.unit == branch.unit],
            now,
            _waits(policy, states, branch),
        )
        for branch in policy.branches
        if branch.name in states
    )


def _waits(policy: Policy, states: Mapping[str, BranchState], branch: BranchPolicy) -> str:
    """What the unit of a branch waits for before its next step, or ``""``."""
    above = [share for share in policy.ramp.stages if share > states[branch.name].share]
    return waits_for(policy, states, branch.unit, above[0]) if above else ""


def _next(policy: Policy, state: BranchState) -> str:
    """The stage after this one, as text."""
    if state.mode in (Mode.completed, Mode.rolled_back) or not 0 <= state.stage < policy.ramp.last:
        return ""
    return percent(policy.ramp.share(state.stage + 1))


def _word(
    policy: Policy, state: BranchState, findings: Sequence[Finding], left_s: float, now: float, waits: str
) -> tuple[Word, str]:
    """The word and the sentence; the order of the checks is the order in which a person wants to know."""
    if state.mode is Mode.rolled_back:
        return Word.rolled_back, state.cause or "rolled back"
    if state.mode is Mode.paused:
        return Word.paused, state.cause or "paused by a person"
    if state.mode is Mode.completed:
        return Word.completed, "baked at the last stage; control is no longer compared before each step"
    if doubt := _doubt(findings, soaked=left_s <= 0):
        return Word.holding, doubt
    if left_s > 0:
        return Word.soaking, f"{duration_text(left_s)} of {duration_text(policy.ramp.soak_at(state.stage))} left"
    if until := policy.ramp.frozen_until(now):
        return Word.frozen, f"promotion is frozen for {duration_text(until - now)}"
    if waits:
        return Word.waiting, waits
    following = policy.ramp.share(state.stage + 1) if state.stage < policy.ramp.last else None
    if following is not None and following in policy.ramp.approve and state.approved != following:
        return (
            Word.waiting,
            f"a person must approve {percent(following)}: rollout approve {state.rollout} {state.branch}",
        )
    if not policy.ramp.auto:
        return Word.waiting, f"the ramp is moved by hand: rollout promote {state.rollout} {state.branch}"
    return Word.ready, "every gate passes" if findings else "no gate has judged yet"


def _doubt(findings: Sequence[Finding], *, soaked: bool) -> str:
    """Why findings hold the branch; ``""`` if they do not. Too little data holds only once the soak is over."""
    order = (Grade.breach, Grade.error, Grade.doubt) if soaked else (Grade.breach, Grade.error)
    for grade in order:
        if found := [finding for finding in findings if finding.grade is grade]:
            more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
            return f"{found[0].gate}: {found[0].why or grade.value}{more}"
    if soaked and not findings:
        return "no gate has judged yet: no controller has folded any evidence of this stage"
    return ""
