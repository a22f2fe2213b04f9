"""Up the ramp by hand: ``promote`` a step, ``approve`` one that waits for a person."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from rollout.domain.durations import percent
from rollout.domain.durations import share_of as parsed_share
from rollout.domain.gates import Finding
from rollout.domain.judgement import closed_by, context_of, needs_approval
from rollout.domain.lifecycle import (
    Event,
    Move,
    after_event,
    at_share,
    mode_of,
    moves,
    place,
    share_of,
    step_to,
    waits_for,
)
from rollout.domain.state import Mode
from rollout.domain.verdict import Action, Context
from rollout.errors import IllegalTransition, Refused
from rollout.ports import Backend
from rollout.usecases.standpoint import Standpoint
from rollout.usecases.steering import Plan, Seen, Steered, carry_out, judge_now


async def promote(
    backend: Backend,
    rollout: str,
    branch: str | None = None,
    *,
    to: str | float | None = None,
    force: bool = False,
    reason: str = "",
    actor: str,
    seen: Seen | None = None,
) -> Steered:
    """Move one step up the ramp, or ``to`` a share of it (``"25%"``, ``0.25``). Without a branch: every active one,
    all or none.

    Refused while a gate is not through, and during soak, freeze and before an approval. ``force`` skips these; it never
    skips a flag that is closed for everybody, nor a branch that this one comes after and that is not that far.
    ``seen``: refused with ``Outdated`` if it is not how things stand any more.
    """
    share = _share(to)

    async def plan(at: Standpoint) -> Plan:
        steps = _steps(at, branch, share)
        hoped = {name: replace(at.states[name], share=target) for name, target in at.spread(steps).items()}
        refusals: list[str] = []
        findings: list[Finding] = []
        ready: list[Move] = []
        for unit, target in steps.items():
            ahead = at.with_states({**hoped, **at.own(unit)})
            against = [closed_by(at.policy, unit, at.flags), waits_for(at.policy, ahead.states, unit, target)]
            if not force:
                verdict = await judge_now(backend, ahead, unit, partial(_towards, at, unit, target))
                findings += verdict.findings
                against += verdict.reasons if verdict.action is not Action.promote else ()
            refusals += [f"{unit} to {percent(target)}: {why}" for why in against if why]
            if not refusals:
                ready += moves(at.policy, ahead.states, unit, Event.promote, to=target)
        if refusals:
            raise _refused(rollout, "promoted", refusals, forced=force)
        return Plan(moves=tuple(ready), findings=tuple(findings))

    said = f"forced: {reason}" if force else reason
    return await carry_out(backend, rollout, Event.promote, plan, said, actor, seen)


async def approve(
    backend: Backend,
    rollout: str,
    branch: str | None = None,
    *,
    reason: str = "",
    actor: str,
    seen: Seen | None = None,
) -> Steered:
    """Let a branch enter the stage that waits for a person. The last gate: refused before soak and gates are through.

    A regression after it still blocks the step. ``seen``: as for ``promote``.
    """

    async def plan(at: Standpoint) -> Plan:
        waiting = _waiting_for_approval(at, branch)
        refusals: list[str] = []
        findings: list[Finding] = []
        for unit in waiting:
            after_event(mode_of(at.members(unit)), Event.approve, f"{rollout}/{unit}")
            verdict = await judge_now(backend, at, unit, _but_for_the_approval)
            findings += verdict.findings
            refusals += [f"{unit}: {why}" for why in verdict.reasons if verdict.action is not Action.promote]
        if refusals:
            raise _refused(rollout, "approved", refusals)
        found = tuple(move for unit in waiting for move in moves(at.policy, at.states, unit, Event.approve))
        return Plan(moves=found, findings=tuple(findings))

    return await carry_out(backend, rollout, Event.approve, plan, reason, actor, seen)


def _steps(at: Standpoint, branch: str | None, to: float | None) -> dict[str, float]:
    """Unit → the share it is to enter. Of one branch whatever is wrong is raised; of all, those that cannot move
    stay."""
    steps: dict[str, float] = {}
    still: list[str] = []
    for unit in at.units(branch):
        try:
            after_event(mode_of(at.members(unit)), Event.promote, f"{at.policy.rollout}/{unit}")
            steps[unit] = step_to(at.policy.ramp, share_of(at.members(unit)), to)
        except (IllegalTransition, Refused) as error:
            if branch is not None or (to is not None and isinstance(error, Refused)):
                raise
            still.append(f"{unit} is at {place(at.members(unit)[0])}")
    if not steps:
        raise Refused(f"No branch of {at.policy.rollout} can be promoted: {', '.join(still)}.")
    return steps


def _towards(at: Standpoint, unit: str, target: float, context: Context) -> Context:
    """Where a unit stands before a person's step to ``target``; flags and dependencies are told apart from it."""
    approval = needs_approval(at.policy.ramp, at.members(unit), target)
    return replace(context, target=target, approval=approval, auto=True, closed_by="", waits_for="", late_s=0.0)


def _but_for_the_approval(context: Context) -> Context:
    return replace(context, approval=False, auto=True, closed_by="", waits_for="", frozen_s=0.0, late_s=0.0)


def _waiting_for_approval(at: Standpoint, branch: str | None) -> list[str]:
    units = at.units(branch)
    waiting = [unit for unit in units if branch is not None or mode_of(at.members(unit)) is Mode.active]
    waiting = [unit for unit in waiting if context_of(at.case(unit)).approval]
    if not waiting:
        stages = ", ".join(map(at_share, at.policy.ramp.approve)) or "none"
        stands = ", ".join(f"{unit} at {place(at.members(unit)[0])}" for unit in units)
        raise Refused(f"Nothing waits for an approval: the stages that need one are {stages}; {stands}.")
    return waiting


def _refused(rollout: str, done: str, refusals: Sequence[str], *, forced: bool | None = None) -> Refused:
    lines = "\n".join(f"  - {why}" for why in refusals)
    hints = {
        None: "",
        False: "\nForce skips gates, soak, freeze and approval, but no flag and no branch it comes after.",
        True: "\nForce skips no flag and no branch that another comes after.",
    }
    return Refused(f"{rollout} is not {done}, nothing was changed:\n{lines}{hints[forced]}")


def _share(to: str | float | None) -> float | None:
    try:
        return None if to is None else parsed_share(to)
    except ValueError as error:
        raise Refused(str(error)) from None
