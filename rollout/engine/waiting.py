"""Blocks that wait for the database: exact, and bounded however long it is away.

The newest wait as they are. What is older than these is added up by the minute, as the roll-up in the database does
after an hour: an outage costs resolution, not counts, and some ten blocks a minute of memory. (A deque of single
seconds held 6 kB a block: 100 MB after half an hour.)
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final

from rollout.domain.evidence import Block, BlockKey, Figures

RECENT: Final = 1_000
RECENT_AWAY: Final = 200  # while the database takes no writes
MINUTES: Final = 5_000
_SPAN: Final = 60


class BlockQueue:
    """``dropped``: how many blocks went, the oldest minutes first, when even the minutes were too many."""

    __slots__ = ("_minutes", "_recent", "dropped")

    def __init__(self) -> None:
        self.dropped = 0
        self._recent: deque[Block] = deque()
        self._minutes: dict[BlockKey, Block] = {}

    def __len__(self) -> int:
        return len(self._recent) + len(self._minutes)

    def extend(self, blocks: Iterable[Block], recent: int = RECENT) -> None:
        """Add blocks, in the order of their seconds; the newest ``recent`` of all stay as they are."""
        self._recent.extend(blocks)
        while len(self._recent) > recent:
            self._add_up(self._recent.popleft())
        while len(self._minutes) > MINUTES:
            del self._minutes[next(iter(self._minutes))]
            self.dropped += 1

    def take(self, most: int) -> list[Block]:
        """The oldest, at most ``most``."""
        taken = [self._minutes.pop(key) for key in list(self._minutes)[:most]]
        taken += [self._recent.popleft() for _ in range(min(most - len(taken), len(self._recent)))]
        return taken

    def _add_up(self, block: Block) -> None:
        minute = block.key._replace(second=block.key.second // _SPAN * _SPAN, span=_SPAN)
        found = self._minutes.get(minute)
        if found is None:
            found = self._minutes[minute] = Block(minute, Figures())
        found.figures.merge(block.figures)
