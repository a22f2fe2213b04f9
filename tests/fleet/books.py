"""The books of a stage: how many calls of A, calls of B and pairs there were of each second."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from rollout.domain.evidence import UnitBlock

Stage = tuple[str, int, int]  # unit, version of the policy, entry
Books = defaultdict[int, list[int]]


def empty() -> Books:
    return defaultdict(lambda: [0, 0, 0])


def sums(books: Books, after: int, until: int) -> list[int]:
    """Of ``after < second <= until``."""
    of_a = of_b = pairs = 0
    for second, counts in books.items():
        if after < second <= until:
            of_a += counts[0]
            of_b += counts[1]
            pairs += counts[2]
    return [of_a, of_b, pairs]


@dataclass(slots=True)
class Folding:
    """What somebody folds of a stage, as far as their readings tell: up to second ``until``. ``slipped``: what was
    written of those seconds only after they had been read, and before that was stored: in time for the ledger, too
    late for the gates. ``scored``: how many keys were scored in A, in B, and as pairs.
    """

    stage: Stage
    until: int
    slipped: Books = field(default_factory=empty)
    scored: list[int] = field(default_factory=lambda: [0, 0, 0])

    def copy(self) -> Folding:
        found = Folding(self.stage, self.until, scored=list(self.scored))
        for second, counts in self.slipped.items():
            found.slipped[second] = list(counts)
        return found

    def read(self, blocks: Sequence[UnitBlock], until: int) -> None:
        """Blocks that were read, up to a second."""
        self.until = until
        for block in blocks:
            counts = (block.scored_a["calls"], block.scored_b["calls"], block.scored_p["pairs"])
            self.scored = [known + count for known, count in zip(self.scored, counts, strict=True)]
