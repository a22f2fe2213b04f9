"""A change as it is written: the moves of branches, and the decision that tells why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rollout.domain.gates import Finding
from rollout.domain.lifecycle import Event, Move
from rollout.domain.state import Change, Decision, Lease, Mode, Policy, Trigger

#: What the audit calls an event; stopping a shadow is a rollback of a branch that was not live.
ACTIONS: Final = {**{event: event.value for event in Event}, Event.stop_shadow: Event.rollback.value}
#: What a decision of the audit may be, in the order in which it is offered.
DECIDED: Final = (*dict.fromkeys(ACTIONS.values()), "register", "apply", "flag")


def change(
    policy: Policy,
    moves: Sequence[Move],
    event: Event,
    *,
    actor: str,
    trigger: Trigger,
    reason: str,
    at: float,
    findings: Sequence[Finding] = (),
    lease: Lease | None = None,
) -> Change:
    """The change of these moves. ``at``: epoch seconds; the audit dates it anew by the database's clock."""
    decision = Decision(
        rollout=policy.rollout,
        action=ACTIONS[event],
        actor=actor,
        trigger=trigger,
        reason=reason,
        moves=tuple(move.to_dict() for move in moves),
        findings=tuple(findings),
        policy_version=policy.version,
        at=at,
    )
    before, after = tuple(move.before for move in moves), tuple(move.after for move in moves)
    return Change(before=before, after=after, decision=decision, lease=lease)


def entered(move: Move) -> str:
    """Where a branch went, in one word for a counter: ``"25%"``, ``"shadow"``, ``"rolled_back"``, ``"completed"``."""
    return move.after.at_text() if move.after.mode is Mode.active else move.after.mode.value


def entered_text(place: str) -> str:
    """The same of a place as a decision tells it: ``"25%"``, or ``"rolled_back"`` of ``"shadow, rolled back"``."""
    at, _, mode = place.partition(", ")
    return mode.replace(" ", "_") or at
