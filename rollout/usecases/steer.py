"""The verbs that change a rollout: promote, rollback, pause, resume, reset, approve; and ``check``, which only judges.

Each takes a ``Backend``, names a rollout and (left out: all of it) a branch or a group, and answers with a frozen
value. What was refused changes nothing: ``UnknownName`` (with the nearest), ``IllegalTransition`` (with the legal
events), ``Refused`` (with what stands in the way and what to do). A change that meets another one is decided anew on
what that left; ``Conflict`` if it keeps meeting them. ``seen``, where a verb takes it, is what the person looked at:
``Outdated`` if it is not how things stand any more. A rollback takes none: whatever changed, it is what was asked for.
``DatabaseError`` says that the database cannot be used.
"""

from __future__ import annotations

from rollout.domain.lifecycle import Event, Move, legal, mode_of, moves
from rollout.domain.state import BranchState, Mode
from rollout.ports import Backend
from rollout.usecases.checking import Checked, check
from rollout.usecases.flags import clear_flag, list_flags, set_flag
from rollout.usecases.housekeeping import purge
from rollout.usecases.promoting import approve, promote
from rollout.usecases.standpoint import Standpoint
from rollout.usecases.steering import Plan, Seen, Steered, carry_out

__all__ = [
    "Checked",
    "Seen",
    "Steered",
    "approve",
    "check",
    "clear_flag",
    "list_flags",
    "pause",
    "promote",
    "purge",
    "reset",
    "resume",
    "rollback",
    "set_flag",
]


async def rollback(
    backend: Backend, rollout: str, branch: str | None = None, *, reason: str = "", actor: str
) -> Steered:
    """Take a branch, or all of them, out of the live calls at once, and what comes after it too. Twice is once."""

    async def plan(at: Standpoint) -> Plan:
        states, found = dict(at.states), []
        for unit in at.units(branch):
            if mode_of(at.with_states(states).members(unit)) is Mode.rolled_back:
                continue
            for move in moves(at.policy, states, unit, Event.rollback, cause="person"):
                states[move.after.branch] = move.after
                found.append(move)
        return Plan(moves=tuple(found), note="" if found else _rolled_back_already(at, branch))

    return await carry_out(backend, rollout, Event.rollback, plan, reason, actor)


async def pause(
    backend: Backend,
    rollout: str,
    branch: str | None = None,
    *,
    reason: str = "",
    actor: str,
    seen: Seen | None = None,
) -> Steered:
    """Keep the share and take no step up until ``resume``. It is still judged, and rolled back on a breach."""
    return await _simple(backend, rollout, branch, Event.pause, reason, actor, seen)


async def resume(
    backend: Backend,
    rollout: str,
    branch: str | None = None,
    *,
    reason: str = "",
    actor: str,
    seen: Seen | None = None,
) -> Steered:
    """Go on: after a pause where it stood, soak clock included; after a rollback from shadow, with new evidence."""
    return await _simple(backend, rollout, branch, Event.resume, reason, actor, seen)


async def reset(backend: Backend, rollout: str, branch: str | None = None, *, reason: str = "", actor: str) -> Steered:
    """Begin again in shadow with new evidence, from wherever it stands; what comes after it and is live as well."""
    return await _simple(backend, rollout, branch, Event.reset, reason, actor)


async def _simple(
    backend: Backend,
    rollout: str,
    branch: str | None,
    event: Event,
    reason: str,
    actor: str,
    seen: Seen | None = None,
) -> Steered:
    """An event that asks no gate: on the branch named, or on all for which it is legal; on none, the first refusal."""

    async def plan(at: Standpoint) -> Plan:
        states = dict(at.states)
        found: list[Move] = []
        moved: set[str] = set()
        units = at.units(branch)
        if branch is None:
            units = [unit for unit in units if event in legal(mode_of(at.members(unit)))] or units[:1]
        for unit in units:
            if moved.isdisjoint(state.branch for state in at.members(unit)):
                for move in moves(at.policy, states, unit, event, cause="person" if event is Event.pause else ""):
                    states[move.after.branch] = move.after
                    moved.add(move.after.branch)
                    found.append(move)
        return Plan(moves=tuple(found))

    return await carry_out(backend, rollout, event, plan, reason, actor, seen)


def _rolled_back_already(at: Standpoint, branch: str | None) -> str:
    states: list[BranchState] = [state for unit in at.units(branch) for state in at.members(unit)]
    return "; ".join(f"{state.branch} is rolled back already ({state.cause or 'no cause'})" for state in states)
