"""The closed blocks of one span of one unit, for tests that look at one."""

from __future__ import annotations

from rollout.domain.evidence import UnitBlock
from rollout.ports import Ledger, Span


async def closed_blocks(
    ledger: Ledger, rollout: str, unit: str, entry: int, version: int, after: int, until: int
) -> list[UnitBlock]:
    """Those with ``after < second <= until``."""
    (found,) = await ledger.blocks_of([Span(rollout, unit, entry, version, after, until)])
    return found
