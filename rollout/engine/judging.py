"""Reads what is new of the units' evidence and folds it: the controller to act on it, ``check`` to show it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import floor
from typing import Final

from rollout.domain.evidence import UnitBlock
from rollout.domain.gates import Finding
from rollout.domain.judgement import Bench, Case
from rollout.ports import GateCheckpoint, Ledger, Span, StateStore

#: Seconds that a second stays open beyond the settle time: for the recorders to write it.
MARGIN_S: Final = 0.5

_CHUNK_S: Final = 3_600  # seconds asked for in one query
_MOST_CHUNKS: Final = 48
_MOST_BLOCKS: Final = 4_000  # of a unit, folded in one go; what is left waits for the next tick, and holds
_SAVE_IDLE_S: Final = 30  # a unit without new blocks is stored this often only
_SLICE: Final = 20  # blocks folded before the event loop gets a turn: it may be a user's

Unit = tuple[str, str]  # rollout and unit


class Evidence:
    """What is known of one unit in one stage. ``stored``: up to which second (epoch) the database knows it;
    ``closed``: up to which it is folded here.
    """

    def __init__(self, case: Case, known: GateCheckpoint | None) -> None:
        """From the checkpoint of its account, if there is one of the version in force; else from nothing."""
        policy, members = case.policy, case.members
        self.entry = max(one.entry for one in members)
        self.version = policy.version
        self.account = max(one.account for one in members)
        self.behind_s = 0.0
        self.news = 0  # blocks that the database does not know to be folded
        self.broken: Exception | None = None  # why it cannot be folded any further
        self._findings: tuple[Finding, ...] | None = None
        if known is not None and (known.account, known.version) == (self.account, self.version):
            self._bench = Bench(policy.gates, known.states)
            self.stored = self.closed = known.closed_second
            if known.entry != self.entry:
                self._enter(case)
        else:
            self._bench = Bench(policy.gates)
            self._enter(case)

    def _enter(self, case: Case) -> None:
        """A stage was entered: it begins with its first second. What of the last one was not closed then is in no
        gate.
        """
        self._bench.enter(case.stage)
        begun_at = max(case.policy.registered_at, *(one.entered_at for one in case.members))
        self.stored = self.closed = floor(begun_at) - 1

    def is_of(self, case: Case) -> bool:
        """Whether it is of the stage and version in which the unit stands now."""
        return case.policy.version == self.version and max(one.entry for one in case.members) == self.entry

    def follow(self, case: Case) -> bool:
        """Go on with the unit as it stands now; whether that is possible: not with another version or account."""
        members = case.members
        if (max(one.account for one in members), case.policy.version) != (self.account, self.version):
            return False
        entry = max(one.entry for one in members)
        if entry != self.entry:
            self.entry = entry
            self._enter(case)
            self._findings = None
        return True

    async def fold(self, blocks: Sequence[UnitBlock], case: Case) -> None:
        """Closed blocks, in the order of time. What raises is kept in ``broken``: the other units are to go on."""
        try:
            stage = case.stage
            for number, block in enumerate(blocks, 1):
                self._bench.fold(block, stage)
                if number % _SLICE == 0:
                    await asyncio.sleep(0)
        except Exception as error:
            self.broken = error
        self.news += len(blocks)
        self._findings = None

    def findings(self, case: Case) -> tuple[Finding, ...]:
        """Of each gate, as of the newest block."""
        if self._findings is None:
            self._findings = self._bench.findings(case.stage, case.now)
        return self._findings

    def is_due(self) -> bool:
        """Whether it is worth storing: there is news, or the database lags behind by more than half a minute."""
        return self.broken is None and (self.news > 0 or self.closed - self.stored >= _SAVE_IDLE_S)

    def checkpoint(self, rollout: str, unit: str) -> GateCheckpoint:
        """What is to be stored."""
        return GateCheckpoint(
            rollout=rollout,
            unit=unit,
            entry=self.entry,
            version=self.version,
            closed_second=self.closed,
            states=self._bench.to_states(),
            account=self.account,
        )

    def saved(self) -> None:
        """The checkpoint is stored."""
        self.stored, self.news = self.closed, 0


@dataclass(slots=True)
class _Reading:
    case: Case
    evidence: Evidence
    horizon: int
    folded: int = 0

    @property
    def span(self) -> Span | None:
        """What to read next; None when all that is closed was read, or enough for one go."""
        known = self.evidence
        if known.broken is not None or known.closed >= self.horizon or self.folded >= _MOST_BLOCKS:
            return None
        until = min(known.closed + _CHUNK_S, self.horizon)
        return Span(self.case.policy.rollout, self.case.unit, known.entry, known.version, known.closed, until)


async def gather(ledger: Ledger, known: Mapping[Unit, Evidence], cases: Sequence[Case], margin_s: float) -> None:
    """Read and fold what has closed since, for every unit at once. Nothing is written.

    ``known``: by rollout and unit. A second is closed when the case's ``now`` (epoch seconds, database's clock) is past
    its end, the settle time and ``margin_s``. Reads are bounded; ``behind_s`` of the evidence tells what is left.
    """
    readings = [
        _Reading(case, known[case.policy.rollout, case.unit], floor(case.now - case.policy.settle_s - margin_s) - 1)
        for case in cases
    ]
    for _ in range(_MOST_CHUNKS):
        asked = [(reading, span) for reading in readings if (span := reading.span) is not None]
        if not asked:
            break
        found = await ledger.blocks_of([span for _, span in asked])
        for (reading, span), blocks in zip(asked, found, strict=True):
            if blocks:
                await reading.evidence.fold(blocks, reading.case)
            reading.evidence.closed = span.until
            reading.folded += len(blocks)
    for reading in readings:
        reading.evidence.behind_s = max(0.0, reading.horizon - reading.evidence.closed)


async def evidence_of(state: StateStore, ledger: Ledger, case: Case, margin_s: float = MARGIN_S) -> Evidence:
    """The evidence of one unit now, from its checkpoint on; nothing is written."""
    known = Evidence(case, await state.checkpoint(case.policy.rollout, case.unit))
    await gather(ledger, {(case.policy.rollout, case.unit): known}, [case], margin_s)
    if known.broken is not None:
        raise known.broken
    return known
