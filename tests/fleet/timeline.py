"""Virtual time for a whole fleet: strands that run one at a time, each until it waits for a moment.

A strand is a coroutine of the product's or of the simulation's. Where it awaits ``until(moment)`` it stands still, and
the strand that is due next goes on; whatever else it awaits takes no time. So one history is one order of steps, and
that follows from the moments alone: the same seed, the same order. An asyncio loop would do as well, at five times the
price, and would leave the order to itself.
"""

from __future__ import annotations

import asyncio
import types
from collections.abc import Callable, Coroutine, Generator, Sequence
from heapq import heappop, heappush
from itertools import count
from typing import Any


@types.coroutine
def until(moment: float) -> Generator[float, None, None]:
    """Stand still until a moment of virtual time, in seconds; one that has passed lets others run first."""
    yield moment


class Strand:
    """One coroutine. ``held_until``: not stepped before; ``before``: called before each step, and may cut it."""

    __slots__ = ("before", "coroutine", "held_until", "name", "over")

    def __init__(self, name: str, coroutine: Coroutine[Any, Any, object]) -> None:
        self.name = name
        self.coroutine = coroutine
        self.over = False
        self.held_until = 0.0
        self.before: Callable[[], None] | None = None

    def cut(self) -> None:
        """End it where it stands, as when its process is killed: nothing of it runs any more."""
        self.over = True
        self.coroutine.close()

    def cancel(self) -> None:
        """Cancel it where it stands, as a task is cancelled: it may tidy up, but waits for nothing."""
        self.over = True
        try:
            self.coroutine.throw(asyncio.CancelledError())
        except (StopIteration, asyncio.CancelledError):
            return
        self.coroutine.close()


class Timeline:
    """See the module. ``now``: seconds since the beginning of the history. ``stepping``: the strand that goes on now,
    or did last.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self.stepping: Strand | None = None
        self._due: list[tuple[float, int, Strand]] = []
        self._numbers = count()

    def spawn(self, name: str, coroutine: Coroutine[Any, Any, object], after_s: float = 0.0) -> Strand:
        """Begin a strand so many seconds from now."""
        strand = Strand(name, coroutine)
        self._push(self.now + after_s, strand)
        return strand

    async def run(self, end: float, enough: Sequence[object]) -> None:
        """Let every strand go on up to ``end``, or until, after a step, there is something in ``enough``."""
        due = self._due
        while due and due[0][0] <= end:
            moment, _, strand = heappop(due)
            if strand.over:
                continue
            if strand.held_until > moment:
                self._push(strand.held_until, strand)
                continue
            self.now = moment
            if strand.before is not None:
                strand.before()
                if strand.over:
                    continue
                if strand.held_until > moment:
                    self._push(strand.held_until, strand)
                    continue
            self.stepping = strand
            try:
                found = strand.coroutine.send(None)
                while type(found) is not float:
                    if found is not None:
                        await _happened(found)
                    found = strand.coroutine.send(None)
            except StopIteration:
                strand.over = True
            else:
                heappush(due, (max(moment, found), next(self._numbers), strand))
            if enough:
                return
        self.now = end

    def _push(self, moment: float, strand: Strand) -> None:
        heappush(self._due, (moment, next(self._numbers), strand))

    def close(self) -> None:
        """End every strand."""
        for _, _, strand in self._due:
            strand.cut()
        self._due.clear()


async def _happened(future: asyncio.Future[Any]) -> None:
    """Wait for what a strand waits for in the real world, such as an answer of SQLite."""
    future._asyncio_future_blocking = False  # what a task does when it takes a future over
    await asyncio.wait([future])
