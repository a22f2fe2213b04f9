"""One decision, from what was counted to what everybody does from now on.

A tick: take or renew the lease, load what is in force, and for each unit of each rollout fold the closed blocks, let
the gates judge, and carry the verdict out. One process leads; the lease's epoch in every write refuses one that only
thinks it does. Between two ticks nothing is remembered that is not in the database: what the leader keeps of the
evidence is only a copy, so a restart goes on where it stopped. A database that cannot be used holds every ramp.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from math import exp
from typing import Final

from rollout.domain.changes import entered, entered_text
from rollout.domain.judgement import Case
from rollout.domain.lifecycle import Event, Move
from rollout.domain.state import Change, Decision, Lease, Mode, Snapshot, Trigger
from rollout.domain.verdict import Verdict
from rollout.engine.asking import Approvals
from rollout.engine.desk import Desk
from rollout.engine.herald import Herald
from rollout.engine.judging import MARGIN_S, Evidence, Unit, gather
from rollout.errors import DatabaseError, Fenced
from rollout.ports import Clock, GateCheckpoint, Ledger, Notifier, StateStore

LEASE: Final = "controller"

_LEASE_S: Final = 10.0
_HOUSEKEEPING_S: Final = 60.0
_MOST_LOG_E: Final = 690.0
_MOST_HEARD: Final = 50  # decisions between two ticks
_SAVED_AT_ONCE: Final = 100  # units

log = logging.getLogger("rollout.controller")


class Controller:
    """See the module. ``await tick()`` is one decision on everything; ``await run()`` ticks until ``stop()``.

    ``leader``: whether it led at the last tick. ``last_success_at``: wall time (epoch seconds) of the last tick that
    it led to its end. ``transitions``: (rollout, branch, to, trigger) → count, ``rollbacks``: (rollout, branch,
    cause) → count, as this process decided, or heard of people while it led. ``verdicts``: (rollout, unit) → verdict
    of the last tick that it led. ``failures``: ticks that the database, or an error of ours, broke off; ``fenced``:
    writes that were refused because another leads.
    """

    def __init__(
        self,
        state: StateStore,
        ledger: Ledger,
        clock: Clock,
        holder: str,
        *,
        notifier: Notifier | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        tick_s: float = 1.0,
        margin_s: float = MARGIN_S,
    ) -> None:
        """``holder``: a name of this process's own. ``tick_s``: seconds between ticks. ``margin_s``: seconds that
        blocks have to be written after their settle time. ``clock`` is for durations and the time of the last
        success; what is decided follows the database's clock."""
        self.holder = holder
        self.leader = False
        self.last_success_at: float | None = None
        self.transitions: Counter[tuple[str, str, str, str]] = Counter()
        self.rollbacks: Counter[tuple[str, str, str]] = Counter()
        self.verdicts: dict[tuple[str, str], Verdict] = {}
        self.failures = 0
        self.fenced = 0
        self._state = state
        self._ledger = ledger
        self._clock = clock
        self._approvals = Approvals(state)
        self._herald = None if notifier is None else Herald(state, notifier)
        self._sleep = sleep
        self._tick_s = tick_s
        self._margin_s = margin_s
        self._lease: Lease | None = None
        self._epoch = -1
        self._evidence: dict[Unit, Evidence] = {}
        self._snapshot: Snapshot | None = None
        self._revision = -1
        self._heard_to: int | None = None  # the newest decision that is counted; None until this process leads
        self._kept_house_at = clock.monotonic()
        self._stopping = False
        self._failing = False
        self._ticking = asyncio.Lock()

    def evidence(self) -> dict[tuple[str, str, str, str], float]:
        """(rollout, branch, gate, side) → E of each sequential gate at the last tick, at most 10³⁰⁰."""
        found: dict[tuple[str, str, str, str], float] = {}
        for (rollout, unit), verdict in self.verdicts.items():
            for finding in verdict.findings:
                for side, log_e in (("rollback", finding.log_e), ("promote", finding.log_promote)):
                    if log_e is not None:
                        e_value = exp(min(log_e, _MOST_LOG_E))
                        found |= {(rollout, branch, finding.gate, side): e_value for branch in unit.split("+")}
        return found

    async def tick(self) -> None:
        """One decision on every unit. Raises ``DatabaseError``; then nothing more is decided until the next tick."""
        async with self._ticking:
            self._lease = None if self._stopping else await self._state.lease(LEASE, self.holder, _LEASE_S)
            self.leader = self._lease is not None
            if self._lease is None:
                self._revision, self._heard_to = -1, None
                self._evidence = {}
                return
            if self._lease.epoch != self._epoch:  # another led in between
                self._epoch, self._evidence, self._snapshot = self._lease.epoch, {}, None
            try:
                await self._lead(self._lease)
                self.last_success_at = self._clock.wall()
            except BaseException as error:  # what is known here may be ahead of what is stored: read it again
                self._evidence, self._snapshot = {}, None
                if not isinstance(error, Fenced):
                    raise
                self.leader = False
                self.fenced += 1
                log.warning("%s", error, extra={"event": "fenced"})

    async def _lead(self, lease: Lease) -> None:
        snapshot = await self._read()
        await self._hear_people(snapshot)
        if self._herald is not None:
            await self._herald.begin(lease)
        desks = {
            rollout: Desk(self._state, policy, snapshot, lease, self._note)
            for rollout, policy in snapshot.policies.items()
        }
        await self._gather([case for desk in desks.values() for case in desk.cases()])
        verdicts: dict[Unit, Verdict] = {}
        for rollout, desk in desks.items():
            for unit in snapshot.policies[rollout].units():
                try:
                    await desk.decide(unit, self._evidence.get((rollout, unit)))
                except (DatabaseError, Fenced):
                    raise
                except Exception:  # one unit that cannot be judged holds; the others go on
                    self.failures += 1
                    self._evidence.pop((rollout, unit), None)
                    log.exception("%s/%s holds: it could not be judged", rollout, unit, extra={"event": "judge_failed"})
            for case, share in desk.awaiting:
                await self._approvals.ask(case, share, desk.verdicts[case.unit].findings, lease)
            verdicts |= {(rollout, unit): verdict for unit, verdict in desk.verdicts.items()}
        self.verdicts = verdicts
        await self._save(lease)
        if self._herald is not None:
            await self._herald.tell(lease)
        await self._keep_house(snapshot)

    async def _read(self) -> Snapshot:
        """Everything decided; what was read before, if nothing has changed since."""
        if self._snapshot is not None:
            now = await self._state.now()  # asked first: a decision is never dated after a change that it knows not of
            if await self._state.revision() == self._snapshot.revision:
                self._snapshot = replace(self._snapshot, now=now)
                return self._snapshot
        self._snapshot = await self._state.load()
        return self._snapshot

    async def _gather(self, cases: Sequence[Case]) -> None:
        """Bring the evidence of these units up to date: what is known of them here, else of their checkpoints."""
        known = self._evidence
        self._evidence = {}
        stored: Mapping[Unit, GateCheckpoint] | None = None
        for case in cases:
            unit = (case.policy.rollout, case.unit)
            evidence = known.get(unit)
            if evidence is None or not evidence.follow(case):
                if stored is None:
                    stored = await self._state.checkpoints()
                evidence = self._begun(case, stored.get(unit))
            if evidence is not None:
                self._evidence[unit] = evidence
        readable = [case for case in cases if (case.policy.rollout, case.unit) in self._evidence]
        await gather(self._ledger, self._evidence, readable, self._margin_s)

    def _begun(self, case: Case, stored: GateCheckpoint | None) -> Evidence | None:
        """Evidence as it is stored; None, and the unit holds, if that cannot be read."""
        try:
            return Evidence(case, stored)
        except Exception:
            self.failures += 1
            rollout = case.policy.rollout
            words = "%s/%s holds: its evidence cannot be read"
            log.exception(words, rollout, case.unit, extra={"event": "judge_failed"})
            return None

    async def _save(self, lease: Lease) -> None:
        """Store what is new of the evidence, some units at a time: the states of a thousand, all in memory at once,
        would set the collector to work."""
        due = [unit for unit, evidence in self._evidence.items() if evidence.is_due()]
        for start in range(0, len(due), _SAVED_AT_ONCE):
            some = {unit: self._evidence[unit] for unit in due[start : start + _SAVED_AT_ONCE]}
            await self._state.save_checkpoints([evidence.checkpoint(*unit) for unit, evidence in some.items()], lease)
            for evidence in some.values():
                evidence.saved()

    async def _hear_people(self, snapshot: Snapshot) -> None:
        """Count what people decided since this process leads: the command line ends before anybody scrapes it."""
        if snapshot.revision == self._revision:
            return
        newest = await self._state.decisions(limit=_MOST_HEARD)
        known, self._revision = self._heard_to, snapshot.revision
        self._heard_to = newest[0].number if newest else 0
        for decision in reversed(newest):
            if known is not None and decision.number > known and decision.trigger is Trigger.person and decision.moves:
                self._heard(decision)

    def _heard(self, decision: Decision) -> None:
        for move in decision.moves:
            if decision.action != Event.approve:
                to = entered_text(move["to"])
                self.transitions[decision.rollout, move["branch"], to, Trigger.person.value] += 1
                if to == Mode.rolled_back:
                    self.rollbacks[decision.rollout, move["branch"], Trigger.person.value] += 1
        _log(decision)

    async def _keep_house(self, snapshot: Snapshot) -> None:
        """Once a minute: roll blocks up, drop what expired."""
        now = self._clock.monotonic()
        if now - self._kept_house_at >= _HOUSEKEEPING_S:
            self._kept_house_at = now
            await self._ledger.maintain(snapshot.policies)

    async def run(self) -> None:
        """Tick until stopped; nothing but a cancellation ends it."""
        while not self._stopping:
            began = self._clock.monotonic()
            await self._survive_tick()
            await self._sleep(max(self._tick_s / 20, self._tick_s - (self._clock.monotonic() - began)))

    async def stop(self) -> None:
        """Tick no more and hand the lease back, so that another need not wait for it to run out."""
        self._stopping = True
        try:
            async with asyncio.timeout(2.0), self._ticking:
                self.leader = False
                if self._lease is not None:
                    if self._herald is not None:
                        await self._herald.note(self._lease)
                    await self._state.release(self._lease)
        except (DatabaseError, Fenced, TimeoutError) as error:
            log.debug("the lease runs out by itself: %s", error)

    async def _survive_tick(self) -> None:
        try:
            await self.tick()
        except Exception as error:
            self.failures += 1
            self.leader = False
            if not self._failing:  # once, not every second of an outage
                exc_info = None if isinstance(error, DatabaseError) else error
                words = "every ramp holds, the controller cannot decide: %s"
                log.error(words, error, exc_info=exc_info, extra={"event": "tick_failed"})
            self._failing = True
        else:
            if self._failing:
                log.info("the controller decides again", extra={"event": "tick_recovered"})
            self._failing = False

    def _note(self, decided: Change) -> None:
        """Count a transition that was written."""
        for before, after in zip(decided.before, decided.after, strict=True):
            to = entered(Move(before, after))
            self.transitions[after.rollout, after.branch, to, Trigger.controller.value] += 1
            if after.mode is Mode.rolled_back and before.mode is not Mode.rolled_back:
                self.rollbacks[after.rollout, after.branch, after.cause] += 1
        _log(decided.decision)


def _log(decision: Decision) -> None:
    moved = ", ".join(f"{move['branch']} {move['from']} → {move['to']}" for move in decision.moves)
    level = logging.WARNING if decision.action == Event.rollback else logging.INFO
    words = "%s %s: %s (%s)"
    log.log(level, words, decision.rollout, decision.action, moved, decision.reason, extra={"event": "transition"})
