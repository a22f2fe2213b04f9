"""How a verb is carried out: plan on what is in force, write it whole, plan anew where somebody else was faster."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from rollout.domain.changes import change
from rollout.domain.gates import Finding
from rollout.domain.judgement import context_of
from rollout.domain.lifecycle import Event, Move
from rollout.domain.state import Decision, Trigger
from rollout.domain.verdict import Context, Verdict, decide
from rollout.engine.judging import evidence_of
from rollout.errors import Conflict, Outdated, UnknownName
from rollout.ports import Backend
from rollout.usecases.standpoint import Standpoint

_TRIES: Final = 3
_TOLD: Final = 20  # decisions that are looked through for what somebody has not seen
_OF_POLICIES: Final = ("register", "apply")


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What somebody looked at when they decided: the version of a branch's state, and that of the policy."""

    branch: str
    version: int
    policy: int


async def carry_out(
    backend: Backend,
    rollout: str,
    event: Event,
    plan: Callable[[Standpoint], Awaitable[Plan]],
    reason: str,
    actor: str,
    seen: Seen | None = None,
) -> Steered:
    """Plan on what is in force, write it, and plan anew where somebody else was faster.

    ``seen``: of whoever decided. ``Outdated`` if the branch or the policy changed after that.
    """
    for left in reversed(range(2 * _TRIES if event is Event.rollback else _TRIES)):
        at = await Standpoint.of(backend, rollout)
        if seen is not None:
            await _refuse_outdated(backend, at, seen)
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


async def _refuse_outdated(backend: Backend, at: Standpoint, seen: Seen) -> None:
    """Compared with what the plan is made of, which the write compares again: so nothing gets in between."""
    state = at.states.get(seen.branch)
    if state is None:
        raise UnknownName("branch", seen.branch, list(at.states))
    if (state.version, at.policy.version) != (seen.version, seen.policy):
        newest = await backend.state.decisions(at.policy.rollout, limit=_TOLD)
        raise Outdated(f"{at.policy.rollout}/{seen.branch}", unseen(newest, seen, state.version))


def unseen(newest: Sequence[Decision], seen: Seen, version: int) -> list[Decision]:
    """Of the newest decisions those that made what was seen a thing of the past: each move of the branch raised its
    version by one, up to ``version``, and each registration or spec made a new policy."""
    moved = [one for one in newest if any(move.get("branch") == seen.branch for move in one.moves)]
    policies = [one for one in newest if one.action in _OF_POLICIES and one.policy_version > seen.policy]
    found = {one.number: one for one in [*moved[: max(0, version - seen.version)], *policies]}
    return [found[number] for number in sorted(found, reverse=True)]


async def judge_now(backend: Backend, at: Standpoint, unit: str, seen: Callable[[Context], Context]) -> Verdict:
    """The verdict on a unit now; ``seen`` changes what of its standing counts."""
    members = at.members(unit)
    case = at.case(unit)
    if not any(state.runs for state in members):
        return decide(seen(context_of(case)), ())
    evidence = await evidence_of(backend.state, backend.ledger, case)
    case = replace(case, behind_s=evidence.behind_s)
    return decide(seen(context_of(case)), evidence.findings(case))
