"""Puts together what was counted in closed seconds, of one unit in one stage, as gates read it."""

from __future__ import annotations

from typing import Final

from rollout.domain.evidence import Arm, Figures, UnitBlock, score

#: Begins the names of what was counted of calls without a key, in a rollout whose other calls have one.
SINGLE: Final = "single:"


class ClosedBlocks:
    """Blocks by second. ``add`` and ``score`` take what the ledger holds, in any order; ``by_time`` is the result."""

    __slots__ = ("_blocks",)

    def __init__(self) -> None:
        self._blocks: dict[int, UnitBlock] = {}

    def add(self, second: int, arm: Arm, figures: Figures) -> None:
        """The figures of one process and arm (A, B or P). They are copied."""
        counted, scored = self._sides(second, arm)
        counted.merge(figures)
        for name, count in figures.counts.items():
            if name.startswith(SINGLE):
                scored.add(name[len(SINGLE) :], count)
        for name, histogram in figures.histograms.items():
            if name.startswith(SINGLE):
                scored.histogram(name[len(SINGLE) :]).merge(histogram)

    def score(
        self, second: int, arm: Arm, marks: int, latency: int, cost: int, control_cost: int, count: int = 1
    ) -> None:
        """``count`` subjects that are alike, and began in this second. It need not have figures of its own: these
        are written apart, and may have been dropped or late.
        """
        _, scored = self._sides(second, arm)
        score(scored, arm, marks, latency, cost, control_cost, count)

    def by_time(self) -> list[UnitBlock]:
        return [self._blocks[second] for second in sorted(self._blocks)]

    def _sides(self, second: int, arm: Arm) -> tuple[Figures, Figures]:
        """What was counted, and what is scored, of an arm."""
        block = self._blocks.get(second)
        if block is None:
            block = self._blocks[second] = UnitBlock(second)
        if arm == "A":
            return block.a, block.scored_a
        return (block.b, block.scored_b) if arm == "B" else (block.pairs, block.scored_p)
