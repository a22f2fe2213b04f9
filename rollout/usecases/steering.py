"""How a verb is carried out: plan on what is in force, write it whole, plan anew where somebody else was faster."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Final

from rollout.domain.changes import change
from rollout.domain.gates import Finding
from rollout.domain.judgement import context_of
from rollout.domain.lifecycle import Event, Move
from rollout.domain.state import Trigger
from rollout.domain.verdict import Context, Verdict, decide
from rollout.engine.judging import evidence_of
from rollout.errors import Conflict
from rollout.ports import Backend
from rollout.usecases.standpoint import Standpoint

_TRIES: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Steered:
    """What a verb did. ``changed``: False where everything stood like that before; ``note`` then says so. ``moves``:
    each branch before and after."""

    rollout: str
    event: Event
    changed: bool
    moves: tuple[Move, ...] = ()
    reason: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a verb wants to do, seen from one standpoint. Without moves it does nothing, and ``note`` says why."""

    moves: tuple[Move, ...] = ()
    findings: tuple[Finding, ...] = ()
    note: str = ""


async def carry_out(
    backend: Backend,
    rollout: str,
    event: Event,
    plan: Callable[[Standpoint], Awaitable[Plan]],
    reason: str,
    actor: str,
) -> Steered:
    """Plan on what is in force, write it, and plan anew where somebody else was faster."""
    for left in reversed(range(2 * _TRIES if event is Event.rollback else _TRIES)):
        at = await Standpoint.of(backend, rollout)
        wanted = await plan(at)
        if not wanted.moves:
            return Steered(rollout=rollout, event=event, changed=False, reason=reason, note=wanted.note)
        decided = change(
            at.policy,
            wanted.moves,
            event,
            actor=actor,
            trigger=Trigger.person,
            reason=reason,
            at=at.now,
            findings=wanted.findings,
        )
        try:
            written = {state.branch: state for state in await backend.state.transition(decided)}
        except Conflict:
            if left == 0:
                raise
        else:
            found = tuple(Move(move.before, written[move.after.branch]) for move in wanted.moves)
            return Steered(rollout=rollout, event=event, changed=True, moves=found, reason=reason)
    raise AssertionError("unreachable")


async def judge_now(backend: Backend, at: Standpoint, unit: str, seen: Callable[[Context], Context]) -> Verdict:
    """The verdict on a unit now; ``seen`` changes what of its standing counts."""
    members = at.members(unit)
    case = at.case(unit)
    if not any(state.runs for state in members):
        return decide(seen(context_of(case)), ())
    evidence = await evidence_of(backend.state, backend.ledger, case)
    case = replace(case, behind_s=evidence.behind_s)
    return decide(seen(context_of(case)), evidence.findings(case))
