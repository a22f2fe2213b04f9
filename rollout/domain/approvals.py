"""A step that waits for a person: when nothing but an approval is missing, and whether somebody was asked for it.

The question is a decision in the audit that moves no branch. So it survives whoever asked it, and the findings in it
tell which entry of a stage it is about: they were judged since that began.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from rollout.domain.durations import percent
from rollout.domain.gates import Finding
from rollout.domain.judgement import Case, context_of
from rollout.domain.state import Change, Decision, Lease, Trigger
from rollout.domain.verdict import Action, decide

#: What the audit calls it when a person is asked for an approval.
ASK: Final = "ask"


def awaited(case: Case, findings: Sequence[Finding]) -> float | None:
    """The share that a person is to approve; None where none is to, or where anything else is missing too.

    A ramp that is moved by hand is asked about as well: its step needs a person in any case.
    """
    context = context_of(case)
    if not context.approval:
        return None
    approved = decide(replace(context, approval=False, auto=True), findings)
    return approved.target if approved.action is Action.promote else None


def question(case: Case, target: float, findings: Sequence[Finding], lease: Lease) -> Change:
    """What is written to ask for the approval of ``target``: by the holder of the lease, as of the case's ``now``.

    It moves nobody, but names where everybody stands: it is refused if somebody moved meanwhile.
    """
    decision = Decision(
        rollout=case.policy.rollout,
        action=ASK,
        actor=lease.holder,
        trigger=Trigger.controller,
        reason=f"{case.unit} enters {percent(target)} when a person approves it: every gate passes",
        findings=tuple(findings),
        policy_version=case.policy.version,
        at=case.now,
    )
    return Change(before=case.members, after=case.members, decision=decision, lease=lease)


def began_at(case: Case) -> float:
    """When the unit entered its stage (epoch seconds, database's clock)."""
    return max(state.entered_at for state in case.members)


def is_asked(case: Case, decisions: Iterable[Decision]) -> bool:
    """Whether one of these decisions asks for the approval that the unit waits for, in this entry of its stage."""
    since = round(began_at(case), 6)  # as findings are stored
    return any(
        decision.action == ASK and any(one.unit == case.unit and one.at >= since for one in decision.findings)
        for decision in decisions
    )
