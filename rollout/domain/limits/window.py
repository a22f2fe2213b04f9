"""The trailing window of a threshold gate: rows of compacted figures, JSON-ready and of bounded size.

The window ends at the newest row, not at the clock: a rollout that fell silent is judged by the last calls it had. It
reaches back over ``span_s`` seconds and, while it then holds too few calls to judge, further, row by row. So a quiet
rollout gathers its calls over hours, and a busy one forgets what is older than the window.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Any, Final

from rollout.domain.evidence import Figures, UnitBlock

#: The most rows beyond the window; when there are more, neighbours are merged, the shortest first.
SPARE_ROWS: Final = 60

Needs = Mapping[str, Sequence[str]]  # arm → the counts and histograms a gate needs of it
JsonRow = list[Any]  # [second, {arm: figures}]


@dataclass(slots=True)
class Sums:
    """Figures of a span, by arm. ``second``: of the newest block in it."""

    second: int = 0
    a: Figures = field(default_factory=Figures)
    b: Figures = field(default_factory=Figures)
    p: Figures = field(default_factory=Figures)

    def add(self, other: Sums) -> None:
        self.second = max(self.second, other.second)
        for mine, theirs in ((self.a, other.a), (self.b, other.b), (self.p, other.p)):
            if theirs.counts or theirs.histograms:
                mine.merge(theirs)

    def to_json(self) -> JsonRow:
        arms = {name: figures.to_json() for name in "abp" if (figures := getattr(self, name))}
        return [self.second, arms]

    @classmethod
    def from_json(cls, row: JsonRow) -> Sums:
        second, arms = row
        return cls(second, **{name: Figures.from_json(figures) for name, figures in arms.items()})

    @classmethod
    def counts_of(cls, row: JsonRow) -> Sums:
        """The row without its histograms: enough to see how many calls it holds, at a tenth of the price."""
        second, arms = row
        return cls(second, **{name: Figures(figures["c"]) for name, figures in arms.items()})


Enough = Callable[[Sums], bool]
Size = Callable[[Sums], float]  # how many calls a check could judge, by counts alone; 0: nothing to judge by


@dataclass(frozen=True, slots=True)
class Shape:
    """How rows are kept. ``span_s``: the window; ``rows``: into how many steps it is cut at most; ``looks``: how many
    windows, each ending one row before the next, are judged; ``minimum``: calls below which a window reaches back."""

    span_s: float
    rows: int
    looks: int
    minimum: int

    @property
    def step_s(self) -> int:
        """Seconds of one row: 1, or more where the window would need more than ``rows`` of them."""
        return max(1, ceil(self.span_s / self.rows))


def compact(block: UnitBlock, needs: Needs) -> Sums | None:
    """What a gate needs of a block; None where nothing of it is there."""
    row = Sums(block.second)
    for name, source in (("a", block.a), ("b", block.b), ("p", block.pairs)):
        wanted, kept = needs.get(name, ()), getattr(row, name)
        for count, value in source.counts.items():
            if value and count in wanted:
                kept.counts[count] = value
        for key, values in source.histograms.items():
            if values and key in wanted:
                kept.histograms[key] = values
    return row if row.a or row.b or row.p else None


def fold(rows: Sequence[JsonRow], row: Sums, shape: Shape, sizes: Sequence[Size]) -> list[JsonRow]:
    """The rows after one more: added to the last one of the same step, and what no window needs any more dropped."""
    kept = list(rows)
    if kept and kept[-1][0] // shape.step_s == row.second // shape.step_s:
        last = Sums.from_json(kept.pop())
        last.add(row)
        row = last
    kept.append(row.to_json())
    return _bounded(_needed(kept, shape, sizes), shape)


def trailing(rows: Sequence[Sums], span_s: float, enough: Enough) -> Sums:
    """The window that ends at the last of ``rows`` (oldest first), added up."""
    total = Sums()
    for row in reversed(rows):
        if row.second <= rows[-1].second - span_s and enough(total):
            break
        total.add(row)
    return total


def _needed(rows: list[JsonRow], shape: Shape, sizes: Sequence[Size]) -> list[JsonRow]:
    """The rows of every window still to be judged: of the newest ``looks`` ends, as far back as any check needs."""
    earliest = max(0, len(rows) - shape.looks)
    edge = rows[earliest][0] - shape.span_s
    first = next(index for index, row in enumerate(rows) if row[0] > edge)
    if first == 0:
        return rows
    parsed = [Sums.counts_of(row) for row in rows[: earliest + 1]]
    everything, total = trailing(parsed, shape.span_s, lambda _: False), Sums()
    for row in parsed[first:]:
        total.add(row)
    # A source without a single call anywhere (no arm A at 100 %) will not fill by reaching back further.
    hungry = [size for size in sizes if size(everything) > 0]
    while first > 0 and any(size(total) < shape.minimum for size in hungry):
        first -= 1
        total.add(parsed[first])
    return rows[first:]


def _bounded(rows: list[JsonRow], shape: Shape) -> list[JsonRow]:
    """At most so many rows that the windows keep theirs: of the older ones those that cover the least time merge."""
    limit = shape.rows + shape.looks + SPARE_ROWS
    while len(rows) > limit:
        older = range(1, len(rows) - shape.rows - shape.looks)
        index = min(older, key=lambda i: rows[i + 1][0] - rows[i - 1][0])
        merged = Sums.from_json(rows[index - 1])
        merged.add(Sums.from_json(rows[index]))
        rows[index - 1 : index + 1] = [merged.to_json()]
    return rows
