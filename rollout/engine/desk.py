"""One rollout during one tick: fold what is new, judge each unit, carry the verdict out.

What other writers did in between shows as a conflict. A rollback then is tried anew on what they left; everything else
is judged anew at the next tick.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final

from rollout.domain.changes import change
from rollout.domain.judgement import Case, judge
from rollout.domain.lifecycle import Event, Move, aligned, legal, members_of, mode_of, moves, realign, share_of
from rollout.domain.state import Change, Lease, Policy, Snapshot, Trigger
from rollout.domain.verdict import Action, Verdict
from rollout.engine.judging import gather
from rollout.errors import Conflict, Fenced, IllegalTransition, Refused
from rollout.ports import GateCheckpoint, Ledger, StateStore

_SAVE_IDLE_S: Final = 30  # a unit without new blocks is saved this often only
_INSIST: Final = 5  # times that a rollback is tried against other writers

_EVENTS: Final = {
    Action.promote: Event.promote,
    Action.complete: Event.complete,
    Action.rollback: Event.rollback,
    Action.stop_shadow: Event.stop_shadow,
}

log = logging.getLogger("rollout.controller")


class Desk:
    """``noted`` is told of every change that was written. ``verdicts``: by unit, of those decided so far."""

    def __init__(
        self,
        state: StateStore,
        ledger: Ledger,
        policy: Policy,
        snapshot: Snapshot,
        lease: Lease,
        margin_s: float,
        noted: Callable[[Change], Awaitable[None]],
    ) -> None:
        self.verdicts: dict[str, Verdict] = {}
        self._state = state
        self._ledger = ledger
        self._policy = policy
        self._lease = lease
        self._margin_s = margin_s
        self._noted = noted
        self._take(snapshot)

    def _take(self, snapshot: Snapshot) -> None:
        self._states = dict(snapshot.states.get(self._policy.rollout, {}))
        self._flags, self._now = snapshot.flags, snapshot.now

    async def decide(self, unit: str) -> list[GateCheckpoint]:
        """Fold, judge, act. The gates to be saved, if they are worth it."""
        case = Case(policy=self._policy, unit=unit, states=self._states, flags=self._flags, now=self._now)
        if not case.members:
            return []
        if not aligned(case.members):
            await self._realign(unit)
            return []
        if not any(state.runs for state in case.members):
            self.verdicts[unit] = judge(case, {})
            return []
        evidence = await gather(self._state, self._ledger, self._policy, unit, case.members, self._now, self._margin_s)
        verdict = judge(replace(case, behind_s=evidence.behind_s), evidence.gates)
        self.verdicts[unit] = verdict
        if verdict.action is not Action.hold:
            await self._carry_out(unit, verdict)
        idle = evidence.blocks == 0 and evidence.checkpoint.closed_second - evidence.stored < _SAVE_IDLE_S
        return [] if idle else [evidence.checkpoint]

    async def _carry_out(self, unit: str, verdict: Verdict) -> None:
        """Write what was decided. Who lost a race reads again: a rollback is tried anew, everything else judged
        anew."""
        event = _EVENTS[verdict.action]
        harm = event in (Event.rollback, Event.stop_shadow)
        for _ in range(_INSIST if harm else 1):
            try:
                found = moves(self._policy, self._states, unit, event, to=verdict.target, cause=verdict.cause)
                await self._write(event, found, _why(unit, verdict, found), verdict)
                return
            except Fenced:
                raise
            except Conflict as lost:
                log.info("%s", lost, extra={"event": "conflict"})
                self._take(await self._state.load())
                if harm and self._is_over(unit, event):
                    return
            except (IllegalTransition, Refused) as refused:
                log.info("%s/%s stays: %s", self._policy.rollout, unit, refused, extra={"event": "refused"})
                return

    def _is_over(self, unit: str, event: Event) -> bool:
        """Whether somebody else ended the harm already."""
        members = members_of(self._policy, self._states, unit)
        if not members or event not in legal(mode_of(members)):
            return True
        return share_of(members) == 0 if event is Event.rollback else not any(state.shadow for state in members)

    async def _realign(self, unit: str) -> None:
        reason = f"{unit} does not stand as one: a branch joined it, so it begins again in shadow"
        found = realign(self._policy, self._states, unit)
        try:
            await self._write(Event.reset, found, reason, None)
        except Fenced:
            raise
        except Conflict:
            self._take(await self._state.load())

    async def _write(self, event: Event, found: tuple[Move, ...], reason: str, verdict: Verdict | None) -> None:
        decided = change(
            self._policy,
            found,
            event,
            actor=self._lease.holder,
            trigger=Trigger.controller,
            reason=reason,
            at=self._now,
            findings=verdict.findings if verdict else (),
            lease=self._lease,
        )
        for state in await self._state.transition(decided):
            self._states[state.branch] = state
        await self._noted(decided)


def _why(unit: str, verdict: Verdict, found: tuple[Move, ...]) -> str:
    """The reason in the audit: what the gates said, and who moves along."""
    along = [move.after.branch for move in found if move.after.branch not in unit.split("+")]
    return verdict.reason + (f"; {', '.join(along)} comes after it" if along else "")
