"""Reads what is new of a unit's evidence and folds it: the controller to act on it, ``check`` to show it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import floor
from typing import Final

from rollout.domain.evidence import UnitBlock
from rollout.domain.gates import GateState
from rollout.domain.judgement import fold
from rollout.domain.state import BranchState, Policy
from rollout.ports import GateCheckpoint, Ledger, StateStore

#: Seconds that a second stays open beyond the settle time: for the recorders to write it.
MARGIN_S: Final = 0.5

_CHUNK_S: Final = 3_600  # seconds asked for in one query
_MOST_CHUNKS: Final = 48
_MOST_BLOCKS: Final = 4_000  # folded in one go; what is left waits for the next tick, and holds
_SLICE: Final = 20  # blocks folded before the event loop gets a turn: it may be a user's


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """The gates of a unit after every closed block that was read. ``stored``: up to which second the checkpoint goes;
    ``behind_s``: seconds of closed blocks that are still to be read. ``blocks``: how many were folded now."""

    checkpoint: GateCheckpoint
    stored: int
    behind_s: float
    blocks: int

    @property
    def gates(self) -> Mapping[str, GateState]:
        return self.checkpoint.states


async def gather(
    state: StateStore,
    ledger: Ledger,
    policy: Policy,
    unit: str,
    members: Sequence[BranchState],
    now: float,
    margin_s: float = MARGIN_S,
) -> Evidence:
    """The evidence of a unit's current entry under the current policy, from its checkpoint on; nothing is written.

    A checkpoint of another entry or version is of no use: gates then start anew, at the first second of the entry. A
    second is closed when ``now`` (epoch seconds, database's clock) is past its end, the settle time and
    ``margin_s``. Reads are bounded.
    """
    entry = max(one.entry for one in members)
    known = await state.checkpoint(policy.rollout, unit)
    gates: Mapping[str, GateState] = {}
    stored = closed = floor(max(policy.registered_at, *(one.entered_at for one in members))) - 1
    if known is not None and (known.entry, known.version) == (entry, policy.version):
        gates, stored = known.states, known.closed_second
        closed = stored
    horizon = floor(now - policy.settle_s - margin_s) - 1
    folded = chunks = 0
    while closed < horizon and folded < _MOST_BLOCKS and chunks < _MOST_CHUNKS:
        until = min(closed + _CHUNK_S, horizon)
        blocks = await ledger.closed_blocks(policy.rollout, unit, entry, policy.version, closed, until)
        gates = await _folded(policy, gates, blocks)
        closed, folded, chunks = until, folded + len(blocks), chunks + 1
    checkpoint = GateCheckpoint(
        rollout=policy.rollout, unit=unit, entry=entry, version=policy.version, closed_second=closed, states=gates
    )
    return Evidence(checkpoint=checkpoint, stored=stored, behind_s=max(0.0, horizon - closed), blocks=folded)


async def _folded(
    policy: Policy, gates: Mapping[str, GateState], blocks: Sequence[UnitBlock]
) -> Mapping[str, GateState]:
    for start in range(0, len(blocks), _SLICE):
        gates = fold(policy, gates, blocks[start : start + _SLICE])
        if start + _SLICE < len(blocks):
            await asyncio.sleep(0)
    return gates
