"""Where a branch stands and what it waits for, in words: what ``status`` shows, and every report begins with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final

from rollout.domain.durations import duration_text, percent
from rollout.domain.gates import Finding, Grade
from rollout.domain.judgement import Case, context_of
from rollout.domain.lifecycle import ALLOCATION
from rollout.domain.state import BranchPolicy, BranchState, FlagOverride, Mode, Policy
from rollout.domain.verdict import Context

NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


class Word(StrEnum):
    """How a branch stands, from good to bad; the worst of several speaks for the rollout."""

    completed = "completed"
    ready = "ready"
    soaking = "soaking"
    frozen = "frozen"
    waiting = "waiting"  # for a person, a flag, or the branch it comes after
    paused = "paused"
    undecided = "undecided"  # the deadline of its stage passed: a person decides
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
    soaking that are left, 0 when over. ``deadline_at``: when the next step is for a person to decide; None: never.
    ``why``: one sentence. ``findings``: of the branch's unit, newest look. Times are epoch seconds. ``version``: of its
    state, which every change raises.
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
    version: int
    approved: float | None = None
    deadline_at: float | None = None
    cause: str = ""
    findings: Sequence[Finding] = ()


def stands(
    policy: Policy,
    states: Mapping[str, BranchState],
    findings: Mapping[str, Sequence[Finding]],
    flags: Sequence[FlagOverride],
    now: float,
    *,
    behind_s: Mapping[str, float] = NOTHING,
    reasons: Mapping[str, str] = NOTHING,
) -> tuple[Standing, ...]:
    """Every branch of a rollout, in the order declared. ``findings``, ``behind_s`` (seconds of evidence that are not
    read yet) and ``reasons`` (of the newest rollback or pause) are by unit; ``now``: epoch seconds by the database's
    clock."""
    found: list[Standing] = []
    for unit, members in policy.units().items():
        present = [branch for branch in members if branch.name in states]
        if not present:
            continue
        case = Case(policy=policy, unit=unit, states=states, flags=flags, now=now, behind_s=behind_s.get(unit, 0.0))
        context = context_of(case)
        judged = tuple(findings.get(unit, ()))
        found += [
            _stand(policy, branch, states[branch.name], context, judged, reasons.get(unit, "")) for branch in present
        ]
    order = [branch.name for branch in policy.branches]
    return tuple(sorted(found, key=lambda standing: order.index(standing.branch)))


def worst(standings: Sequence[Standing]) -> Word:
    """What speaks for all of them; ``completed`` when there is none."""
    return max((standing.word for standing in standings), key=_ORDER.index, default=Word.completed)


def _stand(
    policy: Policy,
    branch: BranchPolicy,
    state: BranchState,
    context: Context,
    findings: tuple[Finding, ...],
    reason: str,
) -> Standing:
    word, why = _word(policy, state, context, findings, reason)
    moves = state.mode in (Mode.active, Mode.paused) and context.target is not None
    return Standing(
        rollout=state.rollout,
        branch=state.branch,
        unit=branch.unit,
        word=word,
        why=why,
        at=state.at_text(),
        next=percent(context.target) if moves and context.target is not None else "",
        mode=state.mode,
        stage=state.stage,
        stages=len(policy.ramp.stages),
        share=state.share,
        shadow=state.shadow,
        entered_at=state.entered_at,
        soak_s=policy.ramp.soak_at(min(max(state.stage, 0), policy.ramp.last)),
        left_s=round(context.soak_left_s, 3),
        required=branch.required,
        version=state.version,
        approved=state.approved,
        deadline_at=state.entered_at + policy.ramp.deadline_s if moves and policy.ramp.deadline_s is not None else None,
        cause=state.cause,
        findings=findings,
    )


def _word(
    policy: Policy, state: BranchState, context: Context, findings: tuple[Finding, ...], reason: str
) -> tuple[Word, str]:
    """The word and the sentence; the order of the checks is the order in which a person wants to know."""
    if state.mode is Mode.rolled_back:
        return Word.rolled_back, _by_whom(state, reason)
    if state.mode is Mode.paused:
        return Word.paused, _misdrawn(state, reason) if state.cause == ALLOCATION else _by_whom(state, reason)
    if state.mode is Mode.completed:
        return Word.completed, "nothing is left to promote; its gates go on watching"
    if harm := _first(findings, Grade.breach) or _first(findings, Grade.error):
        return Word.holding, harm
    if context.late_s > 0:
        return Word.undecided, _late(policy, state, context)
    if context.soak_left_s <= 0 and (doubt := _doubt(findings)):
        return Word.holding, doubt
    if context.closed_by:
        return Word.waiting, context.closed_by
    if context.soak_left_s > 0:
        what = "bake" if context.target is None else "soak"
        return Word.soaking, f"{duration_text(context.soak_left_s)} of the {what} left"
    if context.behind_s > 0:
        return Word.waiting, f"{duration_text(context.behind_s)} of evidence are still to be read"
    if context.target is not None and (waits := _waits(policy, state, context)):
        return waits
    return Word.ready, "every gate passes"


def _by_whom(state: BranchState, reason: str) -> str:
    """Why it was rolled back or paused: by a person, with the reason given, or by a gate, with what it found."""
    if state.cause in ("person", ""):
        return f"by a person: {reason}" if reason else "by a person"
    return reason or state.cause


def _misdrawn(state: BranchState, reason: str) -> str:
    """Why calls that were not drawn as they should be paused it, and how it goes on."""
    what = f"the split of calls is wrong, which is no fault of the branch: {reason or 'see rollout history'}"
    return f"{what}; when that is mended: rollout resume {state.rollout} {state.branch}"


def _late(policy: Policy, state: BranchState, context: Context) -> str:
    """That the deadline of the stage passed, and what a person can do."""
    passed = (
        f"the deadline of {duration_text(policy.ramp.deadline_s or 0.0)} passed {duration_text(context.late_s)} ago"
    )
    thing = f"{state.rollout} {state.branch}"
    return f"{passed}; a person decides: rollout promote {thing}, or begin again: rollout reset {thing}"


def _waits(policy: Policy, state: BranchState, context: Context) -> tuple[Word, str] | None:
    """What a step that every gate lets pass still waits for."""
    thing = f"{state.rollout} {state.branch}"
    if context.frozen_s > 0:
        return Word.frozen, f"promotion is frozen for {duration_text(context.frozen_s)}"
    if context.waits_for:
        return Word.waiting, context.waits_for
    if context.approval and context.target is not None:
        return Word.waiting, f"a person must approve {percent(context.target)}: rollout approve {thing}"
    if not context.auto:
        return Word.waiting, f"the ramp is moved by hand: rollout promote {thing}"
    return None


def _doubt(findings: Sequence[Finding]) -> str:
    """What is missing; it holds only once the soak is over. ``""`` if nothing is."""
    return _first(findings, Grade.doubt) if findings else "no gate has judged"


def _first(findings: Sequence[Finding], grade: Grade) -> str:
    """The first finding of a grade, and how many more there are; ``""`` if there is none."""
    found = [finding for finding in findings if finding.grade is grade]
    if not found:
        return ""
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    return f"{found[0].gate}: {found[0].why or grade.value}{more}"
