"""One rollout during one tick: judge each unit by its evidence, carry the verdict out.

What other writers did in between shows as a conflict. A rollback then is tried anew on what they left; everything else
is judged anew at the next tick.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from rollout.domain.approvals import awaited
from rollout.domain.changes import change
from rollout.domain.judgement import Case, judge
from rollout.domain.lifecycle import Event, Move, aligned, legal, members_of, mode_of, moves, realign, share_of
from rollout.domain.state import Change, Lease, Policy, Snapshot, Trigger
from rollout.domain.verdict import Action, Verdict
from rollout.engine.judging import Evidence
from rollout.errors import Conflict, Fenced, IllegalTransition, Refused
from rollout.ports import StateStore

_INSIST: Final = 5  # times that a rollback is tried against other writers

_EVENTS: Final = {
    Action.promote: Event.promote,
    Action.complete: Event.complete,
    Action.rollback: Event.rollback,
    Action.pause: Event.pause,
    Action.stop_shadow: Event.stop_shadow,
}

log = logging.getLogger("rollout.controller")


class Desk:
    """``noted`` is told of every change that was written. ``verdicts``: by unit, of those decided so far;
    ``awaiting``: of these, the cases that wait for nothing but a person's approval, with the share to be approved.
    """

    def __init__(
        self,
        state: StateStore,
        policy: Policy,
        snapshot: Snapshot,
        lease: Lease,
        noted: Callable[[Change], None],
    ) -> None:
        self.verdicts: dict[str, Verdict] = {}
        self.awaiting: list[tuple[Case, float]] = []
        self._state = state
        self._policy = policy
        self._lease = lease
        self._noted = noted
        self._take(snapshot)

    def _take(self, snapshot: Snapshot) -> None:
        self._states = dict(snapshot.states.get(self._policy.rollout, {}))
        self._flags, self._now = snapshot.flags, snapshot.now
        self._cases: dict[str, Case] = {}

    def cases(self) -> list[Case]:
        """The units of which there is evidence to be read: those that run, and stand as one."""
        cases = [self._case(unit) for unit in self._policy.units()]
        return [case for case in cases if _runs(case) and aligned(case.members)]

    def _case(self, unit: str) -> Case:
        """Made once as long as nothing moves: a tick asks twice for each of a thousand units."""
        case = self._cases.get(unit)
        if case is None:
            case = Case(policy=self._policy, unit=unit, states=self._states, flags=self._flags, now=self._now)
            self._cases[unit] = case
        return case

    async def decide(self, unit: str, evidence: Evidence | None) -> None:
        """Judge and act. ``evidence``: all that is closed of it, None if there was none to be read."""
        case = self._case(unit)
        if not case.members:
            return
        if not aligned(case.members):
            await self._realign(unit)
        elif not _runs(case):
            self.verdicts[unit] = judge(case, ())
        elif evidence is not None and evidence.is_of(case):
            if evidence.broken is not None:
                raise evidence.broken
            if evidence.behind_s:
                case = replace(case, behind_s=evidence.behind_s)
            verdict = self.verdicts[unit] = judge(case, evidence.findings(case))
            if verdict.action is not Action.hold:
                await self._carry_out(unit, verdict)
            elif verdict.gates_pass and (share := awaited(case, verdict.findings)) is not None:
                self.awaiting.append((case, share))

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
        self._cases.clear()
        self._noted(decided)


def _runs(case: Case) -> bool:
    return any(state.runs for state in case.members)


def _why(unit: str, verdict: Verdict, found: tuple[Move, ...]) -> str:
    """The reason in the audit: what the gates said, and who moves along."""
    along = [move.after.branch for move in found if move.after.branch not in unit.split("+")]
    return verdict.reason + (f"; {', '.join(along)} comes after it" if along else "")
