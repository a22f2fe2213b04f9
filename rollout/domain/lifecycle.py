"""How a branch moves: one table of (mode, event) → mode, and the states that an event leads to.

A pair that the table lacks is illegal and changes nothing. A unit (a branch, or a group) moves as one; what comes after
it in the graph and is live cannot stay live without it, and moves in the same change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from rollout.domain.durations import percent
from rollout.domain.ramp import Ramp
from rollout.domain.state import BranchState, Mode, Policy
from rollout.errors import IllegalTransition, Refused


class Event(StrEnum):
    """What can happen to a unit. ``complete`` and ``stop_shadow`` are the controller's alone."""

    promote = "promote"
    rollback = "rollback"
    pause = "pause"
    resume = "resume"
    reset = "reset"
    approve = "approve"
    complete = "complete"
    stop_shadow = "stop_shadow"


TABLE: Final[Mapping[tuple[Mode, Event], Mode]] = {
    (Mode.active, Event.promote): Mode.active,
    (Mode.active, Event.approve): Mode.active,
    (Mode.active, Event.complete): Mode.completed,
    (Mode.active, Event.pause): Mode.paused,
    (Mode.active, Event.rollback): Mode.rolled_back,
    (Mode.active, Event.stop_shadow): Mode.rolled_back,
    (Mode.active, Event.reset): Mode.active,
    (Mode.paused, Event.resume): Mode.active,
    (Mode.paused, Event.rollback): Mode.rolled_back,
    (Mode.paused, Event.stop_shadow): Mode.rolled_back,
    (Mode.paused, Event.reset): Mode.active,
    (Mode.rolled_back, Event.resume): Mode.active,
    (Mode.rolled_back, Event.stop_shadow): Mode.rolled_back,
    (Mode.rolled_back, Event.reset): Mode.active,
    (Mode.completed, Event.rollback): Mode.rolled_back,
    (Mode.completed, Event.reset): Mode.active,
}

#: What a dependant that is live does when what it comes after leaves the live calls.
_FOLLOWS: Final[Mapping[Event, Event]] = {
    Event.rollback: Event.rollback,
    Event.stop_shadow: Event.rollback,
    Event.reset: Event.reset,
}

#: The cause of a pause because calls were not drawn as they should be. What was counted so far is then of no use.
ALLOCATION: Final = "allocation"
#: The cause of a rollback that also ends the shadow: going on would go on costing.
COSTLY: Final = "cost"


@dataclass(frozen=True, slots=True)
class Move:
    """One branch before and after."""

    before: BranchState
    after: BranchState

    def to_dict(self) -> dict[str, str]:
        """As a decision records it."""
        to = place(self.after)
        if self.after.approved is not None and self.after.approved != self.before.approved:
            to += f", approved for {percent(self.after.approved)}"
        return {"branch": self.before.branch, "from": place(self.before), "to": to}


States = Mapping[str, BranchState]  # of one rollout, by branch


def legal(mode: Mode) -> tuple[Event, ...]:
    """The events that are possible in a mode, in the order of the table."""
    return tuple(event for at, event in TABLE if at is mode)


def by_hand(mode: Mode) -> tuple[Event, ...]:
    """The events that a person can bring about in a mode; the others are the controller's alone."""
    return tuple(event for event in legal(mode) if event not in (Event.complete, Event.stop_shadow))


def moves(
    policy: Policy, states: States, unit: str, event: Event, *, to: float | None = None, cause: str = ""
) -> tuple[Move, ...]:
    """What an event does to a unit and to the live branches that come after it; nothing is changed here.

    ``to``: the share that ``promote`` enters (default: the next one of the ramp) or that ``approve`` approves.
    ``cause``: kept with a rollback and a pause. ``IllegalTransition`` where the table has no such move; ``Refused``
    where a share is wrong or what the unit comes after is not that far.
    """
    members = members_of(policy, states, unit)
    target = after_event(mode_of(members), event, f"{policy.rollout}/{unit}")
    if event in (Event.promote, Event.approve):
        to = step_to(policy.ramp, share_of(members), to)
        _refuse_ahead(policy, states, unit, event, to)
    if event is Event.complete and (left := [one for one in policy.ramp.stages if one > share_of(members)]):
        raise Refused(f"{policy.rollout}/{unit} cannot be completed: {', '.join(map(percent, left))} come first.")
    found = _moved(policy, members, event, target, to, cause)
    if event in _FOLLOWS and share_of(members) > 0:
        found += _dependants(policy, states, members, _FOLLOWS[event], cause)
    return tuple(found)


def _refuse_ahead(policy: Policy, states: States, unit: str, event: Event, to: float) -> None:
    if event is Event.promote and (waiting := waits_for(policy, states, unit, to)):
        raise Refused(f"{policy.rollout}/{unit} cannot enter {percent(to)} yet: {waiting}. Promote that first.")


def realign(policy: Policy, states: States, unit: str) -> tuple[Move, ...]:
    """A group whose branches do not stand as one, because one joined it later: all of them to shadow, with new
    evidence.

    Nobody is brought to life by it: if one is rolled back, or paused, all are.
    """
    members = members_of(policy, states, unit)
    modes = {state.mode for state in members}
    mode = next((one for one in (Mode.rolled_back, Mode.paused) if one in modes), Mode.active)
    entry = max(state.entry for state in members) + 1
    shadow = all(state.shadow for state in members)
    anew: dict[str, Any] = {"account": entry, "earlier": 0.0}
    found = [
        Move(s, s.moved(mode=mode, stage=0, share=0.0, shadow=shadow, approved=None, entry=entry, **anew))
        for s in members
    ]
    return (*found, *_dependants(policy, states, members, Event.reset, ""))


def after_event(mode: Mode, event: Event, thing: str) -> Mode:
    """The mode that an event leads to. ``IllegalTransition`` names what a person can do instead."""
    target = TABLE.get((mode, event))
    if target is None:
        raise IllegalTransition(thing, mode.text, event.value, [one.value for one in by_hand(mode)])
    return target


def step_to(ramp: Ramp, share: float, to: float | None = None) -> float:
    """The share of the next step, or ``to`` if it is one of the ramp's above ``share``. ``Refused`` names the legal
    ones."""
    above = [one for one in ramp.stages if one > share]
    if not above:
        raise Refused(f"{percent(share)} is the last stage of the ramp {ramp.text()}: there is no step above it.")
    if to is None:
        return above[0]
    for one in above:
        if abs(one - to) < 1e-9:
            return one
    steps = ", ".join(map(percent, above))
    raise Refused(f"{percent(to)} is no step up from {at_share(share)}. The ramp {ramp.text()} has: {steps}.")


def waits_for(policy: Policy, states: States, unit: str, share: float) -> str:
    """Which branch keeps the unit from entering a share, because it comes after one that is below it; ``""`` if none
    does."""
    members = policy.units()[unit]
    own = {member.name for member in members}
    for member in members:
        for name in member.after:
            if name not in own and (state := states.get(name)) is not None and state.share < share:
                return f'it comes after "{name}", which is at {state.at_text()}'
    return ""


def members_of(policy: Policy, states: States, unit: str) -> tuple[BranchState, ...]:
    """The states of a unit's branches, in the order declared."""
    return tuple(states[branch.name] for branch in policy.units()[unit] if branch.name in states)


def share_of(members: Sequence[BranchState]) -> float:
    """The share that all of them have reached."""
    return min(state.share for state in members)


def mode_of(members: Sequence[BranchState]) -> Mode:
    return members[0].mode


def aligned(members: Sequence[BranchState]) -> bool:
    """Whether they stand as one. A branch that joined a group later does not: it has no evidence yet."""
    return len({(state.stage, state.share, state.mode, state.entry) for state in members}) <= 1


def stage_at(ramp: Ramp, share: float) -> int:
    """The stage of a share; of one that the ramp does not have (any more), the last stage below it."""
    return max(index for index, one in enumerate(ramp.stages) if one <= share)


def place(state: BranchState) -> str:
    """``"25%"``, ``"shadow, paused"``, ``"off, rolled back"``: where a branch stands, as decisions tell it."""
    return state.at_text() if state.mode is Mode.active else f"{state.at_text()}, {state.mode.text}"


def at_share(share: float) -> str:
    return percent(share) if share else "shadow"


def _moved(
    policy: Policy, members: Sequence[BranchState], event: Event, mode: Mode, to: float | None, cause: str
) -> list[Move]:
    """The unit after the event. The entry rises where stage or share change or evidence starts anew; for all
    together. Where all evidence starts anew, so does the account."""
    changes = _changes(policy, members[0], event, mode, to, cause)
    fresh = _begins_anew(members[0], event)
    if fresh or any(_differs(state, changes) for state in members):
        changes["entry"] = max(state.entry for state in members) + 1
    if fresh:
        changes |= {"account": changes["entry"], "earlier": 0.0}
    elif event is Event.promote:
        changes["earlier"] = max(max(state.earlier, state.share) for state in members)
    return [Move(state, state.moved(**changes)) for state in members]


def _begins_anew(state: BranchState, event: Event) -> bool:
    """Whether nothing that was counted before the event is evidence after it."""
    if event is Event.resume:
        return state.mode is Mode.rolled_back or state.cause == ALLOCATION
    return event is Event.reset


def _differs(state: BranchState, changes: Mapping[str, Any]) -> bool:
    return any(name in changes and getattr(state, name) != changes[name] for name in ("stage", "share"))


def _changes(
    policy: Policy, state: BranchState, event: Event, mode: Mode, to: float | None, cause: str
) -> dict[str, Any]:
    shadow_stage = {"mode": mode, "stage": 0, "share": 0.0, "approved": None}
    match event:
        case Event.promote if to is not None:
            return {"mode": mode, "stage": stage_at(policy.ramp, to), "share": to, "approved": None, "cause": ""}
        case Event.approve:
            return {"mode": mode, "approved": to}
        case Event.rollback:
            return {**shadow_stage, "shadow": state.shadow and cause != COSTLY, "cause": cause}
        case Event.stop_shadow:
            return {**shadow_stage, "shadow": False, "cause": cause or state.cause}
        case Event.reset:
            return {**shadow_stage, "shadow": True, "cause": ""}
        case Event.resume if state.mode is Mode.rolled_back:
            return {**shadow_stage, "shadow": True, "cause": ""}
        case Event.pause:
            return {"mode": mode, "cause": cause, "approved": None}
        case _:
            return {"mode": mode, "cause": ""}


def _dependants(policy: Policy, states: States, members: Sequence[BranchState], event: Event, cause: str) -> list[Move]:
    """The moves of every live unit that comes after these branches, over any number of steps, groups taken whole."""
    units = policy.units()
    left = {state.branch for state in members}
    found: list[Move] = []
    while True:
        after = policy.dependants(left)
        for unit, branches in units.items():
            names = {branch.name for branch in branches}
            if names & after and not names & left:
                theirs = members_of(policy, states, unit)
                left |= names
                if any(state.live for state in theirs):
                    mode = after_event(mode_of(theirs), event, f"{policy.rollout}/{unit}")
                    found += _moved(policy, theirs, event, mode, None, cause)
                break
        else:
            return found
