"""Counts every call once, where it started, for a few hundred nanoseconds; everything else is added up when a second
is sealed.

A call belongs to the ``Second`` of its start and, in there, to the ``Cell`` of its ``Assignment``: all calls that
were treated alike share one cell, however many branches there are. When the second and its settle time are over,
``Tally.seal`` turns cells into blocks by unit and arm. What is unknown by then is bad, in both arms alike; what
arrives later is counted as late.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from rollout.domain.evidence import Block, Figures, Subject
from rollout.domain.routing import UnitPlan
from rollout.engine.sealing import add_calls, sealed
from rollout.engine.second import NO_TOLERANCES, Runs, Second

_MAX_KEYS: Final = 200_000


class Tally:
    """All open seconds of one rollout in this process, and its totals since the start.

    ``time``: the loop's clock in seconds; ``offset``: what is to be added to it for epoch seconds by the database's
    clock.
    """

    def __init__(self, rollout: str, process: str, settle_s: float, time: Callable[[], float]) -> None:
        self.rollout = rollout
        self.process = process
        self.settle_s = settle_s
        self.offset = 0.0
        self.totals = Figures()
        self.runs: dict[tuple[str, str], Figures] = {}
        self.late = 0
        self._time = time
        self._open: list[Second] = []

    def second(
        self,
        number: int,
        plans: Sequence[UnitPlan],
        version: int,
        tolerances: Mapping[str, float] = NO_TOLERANCES,
    ) -> Second:
        """The second for calls that start now under these plans. One that was opened when the database's clock showed
        something else is another, though it has the same number: it ends, and is sealed, at another time.
        """
        ends = number + 1 - self.offset
        for known in reversed(self._open):
            alike = known.plans is plans and known.version == version
            if alike and known.number == number and abs(known.ends - ends) < 0.5:
                return known
        opened = Second(self.rollout, number, plans, version, tolerances, self.offset)
        opened.due = opened.ends + self.settle_s
        self._open.append(opened)
        return opened

    def seal(self, *, everything: bool = False) -> tuple[list[Block], list[Subject]]:
        """The blocks and subjects of every second whose settle time is over (or of every one: at shutdown)."""
        now = self._time()
        due = [second for second in self._open if everything or now >= second.due]
        self._open = [second for second in self._open if second not in due]
        blocks: list[Block] = []
        subjects: list[Subject] = []
        for second in due:
            found = sealed(second, self.process)
            self.totals.merge(found.whole)
            _add(self.runs, found.runs)
            blocks += found.blocks
            subjects += found.subjects
        return blocks, subjects

    def so_far(self) -> Figures:
        """The totals of the rollout since the start, open seconds included: for a scrape."""
        figures = Figures()
        figures.merge(self.totals)
        for second in self._open:
            figures.merge(second.steps())
            for cell in second.cells.values():
                add_calls(figures, cell, ended=True)
        return figures

    def runs_so_far(self) -> dict[tuple[str, str], Figures]:
        """The totals of the branches since the start by (branch, mode), open seconds included."""
        found: dict[tuple[str, str], Figures] = {}
        _add(found, self.runs)
        for second in self._open:
            _add(found, second.all_runs())
        return found


def _add(to: dict[tuple[str, str], Figures], runs: Runs) -> None:
    for name, figures in runs.items():
        to.setdefault(name, Figures()).merge(figures)


class SeenKeys:
    """The keys that this process scored in a stage already: at most 200 000, thinned by an independent hash, never
    by who came first.
    """

    __slots__ = ("_limit", "_seen")

    def __init__(self) -> None:
        self._seen: set[int] = set()
        self._limit = 2**64

    def first(self, key_hash: int) -> bool:
        """Whether this is the key's first call here and the key is among those that are scored. ``key_hash``: 64
        bits.
        """
        if key_hash >= self._limit or key_hash in self._seen:
            return False
        self._seen.add(key_hash)
        if len(self._seen) > _MAX_KEYS:
            self._limit //= 2
            self._seen = {known for known in self._seen if known < self._limit}
        return True
