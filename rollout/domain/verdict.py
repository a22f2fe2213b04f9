"""What to do with a unit: the findings of its gates and where it stands, folded into one verdict. The worst wins.

A breach rolls back, whatever soak, freeze or pause say. In shadow nothing is used, so a breach only says "not ready"
and holds; only a breach of cost does harm there, and stops the shadow. No data is not zero, an error in a gate is
not a failure: both hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from rollout.domain.durations import duration_text, percent
from rollout.domain.gates import Finding, Grade
from rollout.domain.lifecycle import ALLOCATION, COSTLY
from rollout.domain.state import Mode
from rollout.domain.threshold import SEVERITY


class Action(StrEnum):
    """What follows from a verdict."""

    promote = "promote"
    hold = "hold"
    rollback = "rollback"
    pause = "pause"
    complete = "complete"
    stop_shadow = "stop_shadow"


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """Where a unit stands when its findings are folded.

    ``share``: of calls that are live now; ``target``: of the next step, None at the last stage. ``soak_left_s``:
    seconds, 0 when over. ``frozen_s``: seconds until the freeze ends, 0 outside of one. ``approval``: whether the
    target needs a person's approval that it does not have. ``closed_by``: the flag that stands in the way, as a
    sentence, or ``""``; ``waits_for``: so the branch it comes after. ``auto``: whether the step may be taken without
    a person. ``behind_s``: seconds of closed blocks not yet folded. ``shadow``: whether it may run in shadow.
    ``cause``: of the last rollback or pause. ``late_s``: seconds since the stage's deadline passed, 0 before it.
    """

    mode: Mode
    share: float
    target: float | None
    shadow: bool = True
    soak_left_s: float = 0.0
    frozen_s: float = 0.0
    approval: bool = False
    closed_by: str = ""
    waits_for: str = ""
    auto: bool = True
    behind_s: float = 0.0
    cause: str = ""
    late_s: float = 0.0

    @property
    def live(self) -> bool:
        return self.share > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The decision on one unit. ``cause``: the name of the gate behind a rollback, else ``""``. ``reasons``:
    sentences, the most important first; why it holds, or what lets it move. ``target``: the share that a promotion
    enters. ``gates_pass``: whether every gate passed, whatever else holds."""

    action: Action
    reasons: tuple[str, ...]
    findings: tuple[Finding, ...] = ()
    cause: str = ""
    target: float | None = None
    gates_pass: bool = False

    @property
    def reason(self) -> str:
        """All reasons as one line."""
        return "; ".join(self.reasons)


def decide(context: Context, findings: Sequence[Finding]) -> Verdict:
    """The verdict on a unit."""
    findings = tuple(findings)
    if harm := _harm(context, findings):
        action = Action.rollback if context.live else Action.stop_shadow
        reasons = tuple(f"{finding.gate}: {finding.why}" for finding in harm)
        return Verdict(action=action, cause=harm[0].gate, reasons=reasons, findings=findings)
    if context.mode is Mode.active and (faulty := [one for one in findings if _is_misdrawn(one)]):
        reasons = tuple(finding.why for finding in faulty)
        return Verdict(action=Action.pause, cause=ALLOCATION, reasons=reasons, findings=findings)
    passed = bool(findings) and all(finding.grade is Grade.passed for finding in findings)
    against = _standing_still(context)
    if context.mode in (Mode.active, Mode.paused):
        against += (*_doubts(context, findings), *_not_now(context))
    if against:
        return Verdict(action=Action.hold, reasons=against, findings=findings, gates_pass=passed)
    reasons = ("every gate passes",)
    if context.target is None:
        if unseen := [finding.gate for finding in findings if not finding.n]:
            reasons = (f"every gate passes, though nothing was seen by {', '.join(unseen)} at this stage",)
        return Verdict(action=Action.complete, reasons=reasons, findings=findings, gates_pass=True)
    return Verdict(action=Action.promote, reasons=reasons, findings=findings, target=context.target, gates_pass=True)


def worst_first(findings: Sequence[Finding]) -> list[Finding]:
    """By grade, the worst first; equal grades in the order declared."""
    return sorted(findings, key=lambda finding: -SEVERITY.index(finding.grade))


def _harm(context: Context, findings: Sequence[Finding]) -> list[Finding]:
    """The breaches that must be acted on now."""
    breaches = [finding for finding in findings if finding.grade is Grade.breach and not _is_misdrawn(finding)]
    breaches.sort(key=lambda finding: -finding.log_e if finding.log_e is not None else 0.0)
    if context.live:
        return breaches
    return [finding for finding in breaches if finding.gate == COSTLY] if context.shadow else []


def _is_misdrawn(finding: Finding) -> bool:
    """Whether calls were not drawn as they should be: a fault of the plumbing, not of the branch."""
    return finding.gate == ALLOCATION and finding.grade is Grade.breach


def _standing_still(context: Context) -> tuple[str, ...]:
    """Why a unit that is not active does not move."""
    cause = f" ({context.cause})" if context.cause else ""
    match context.mode:
        case Mode.paused:
            return (f"paused{cause}: it moves again after resume",)
        case Mode.rolled_back:
            return (f"rolled back{cause}: resume begins again in shadow",)
        case Mode.completed:
            return (f"completed at {percent(context.share)}: nothing is left to promote, its gates go on watching",)
    return ()


def _doubts(context: Context, findings: Sequence[Finding]) -> tuple[str, ...]:
    """What the gates have against it, the worst first. No finding at all is no pass."""
    if not findings:
        return ("no gate has judged",)
    words = {Grade.breach: "not ready, ", Grade.error: "no judgement, ", Grade.doubt: ""}
    found = [finding for finding in worst_first(findings) if finding.grade is not Grade.passed]
    return tuple(f"{words[finding.grade]}{finding.gate}: {finding.why}" for finding in found)


def _not_now(context: Context) -> tuple[str, ...]:
    """What else must come true before the next step, in the order in which it will."""
    if context.mode is not Mode.active:
        return ()
    found = []
    if context.behind_s > 0:
        found.append(f"{duration_text(context.behind_s)} of evidence are still to be read")
    if context.soak_left_s > 0:
        found.append(f"{'soak' if context.target is not None else 'bake'}: {duration_text(context.soak_left_s)} left")
    if context.closed_by:
        found.append(context.closed_by)
    if context.target is None:
        return tuple(found)
    if context.frozen_s > 0:
        found.append(f"promotion is frozen for {duration_text(context.frozen_s)}")
    if context.waits_for:
        found.append(context.waits_for)
    if context.late_s > 0:
        late = duration_text(context.late_s)
        found.append(f"undecided: the deadline passed {late} ago, so a person promotes it by hand, or rolls it back")
    if context.approval:
        found.append(f"a person must approve {percent(context.target)}")
    if not context.auto:
        found.append("the ramp is moved by hand: promote it")
    return tuple(found)
