"""Why a unit stands still: the decision that rolled it back or paused it, with what its gates had found then."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rollout.domain.gates import Finding
from rollout.domain.lifecycle import States, members_of, mode_of
from rollout.domain.state import BranchState, Decision, Mode, Policy
from rollout.ports import Backend

_STOPS: Final = {Mode.rolled_back: "rollback", Mode.paused: "pause"}


async def stops_of(backend: Backend, policy: Policy, states: States) -> dict[str, Decision]:
    """Unit → the decision by which it stands still; units that are active or completed are absent."""
    found = {}
    for unit in policy.units():
        members = members_of(policy, states, unit)
        if members and (decision := await stop_of(backend, policy.rollout, members)):
            found[unit] = decision
    return found


async def stop_of(backend: Backend, rollout: str, members: Sequence[BranchState]) -> Decision | None:
    """The decision by which a unit stands still; None where it does not."""
    if (action := _STOPS.get(mode_of(members))) is None:
        return None
    found = await newest(backend, rollout, 1, branches=[members[0].branch], action=action)
    return found[0] if found else None


def found_then(decision: Decision, unit: str) -> tuple[Finding, ...]:
    """What a decision knew of a unit's gates; nothing where a person decided, or another unit was the cause."""
    return tuple(finding for finding in decision.findings if finding.unit == unit)


async def newest(
    backend: Backend,
    rollout: str,
    limit: int,
    *,
    branches: Sequence[str] = (),
    action: str = "",
) -> list[Decision]:
    """The newest ``limit`` decisions, newest first: those of an ``action`` that moved one of ``branches``; left out:
    whatever it was. Read in pages, as far as needed."""
    found: list[Decision] = []
    before: int | None = None
    while len(found) < limit and (page := await backend.state.decisions(rollout, limit=100, before=before)):
        found += [one for one in page if _is_of(one, branches, action)]
        before = page[-1].number
    return found[:limit]


def _is_of(decision: Decision, branches: Sequence[str], action: str) -> bool:
    moved = {move.get("branch") for move in decision.moves}
    return action in ("", decision.action) and (not branches or not moved.isdisjoint(branches))
