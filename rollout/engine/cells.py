"""Where a call is counted: a ``Cell`` for all calls of a second that are treated alike, a ``Fault`` for each that
went wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rollout.domain.evidence import Arm, Subject, marks_of
from rollout.domain.histogram import MANY, Durations, bucket_of

if TYPE_CHECKING:
    from rollout.engine.second import Second


class Cell:
    """The calls of one second that were assigned alike."""

    __slots__ = ("faults", "plain", "sealed", "served", "started", "took")

    def __init__(self) -> None:
        self.started = 0
        self.served = 0  # by the candidate
        self.sealed = False
        self.plain = True  # a call that is answered as it should be is one duration more, and nothing else
        self.took = Durations()  # of the calls that were answered as they should be
        self.faults: list[Fault] | None = None

    @property
    def finished(self) -> int:
        """Calls of which it is known how they ended."""
        return self.took.total + len(self.faults or ())

    def finish(self, latency_s: float) -> None:
        """A call was answered as it should be, ``latency_s`` seconds after its start."""
        durations = self.took
        durations.append(latency_s)
        if len(durations) >= MANY:
            durations.fold()

    def seal(self) -> None:
        """Nothing is counted here any more."""
        self.sealed = True
        self.plain = False

    def fault(self, fault: Fault) -> None:
        """A call of which something was bad."""
        if self.faults is None:
            self.faults = []
        self.faults.append(fault)


class Fault:
    """What was bad of one call. ``units``: indexes of the units to blame; None: control itself, so all of them, in
    both arms.
    ``fallback``: why control answered instead, or ``""``. ``latency_s``: until the user had a reply, or None (no
    reply).
    """

    __slots__ = ("fallback", "latency_s", "units")

    def __init__(self, units: frozenset[int] | None, fallback: str, latency_s: float | None) -> None:
        self.units = units
        self.fallback = fallback
        self.latency_s = latency_s


class Scored:
    """The first call of a key in a stage: counted like any other, and scored once. Stands where a ``Cell`` does."""

    __slots__ = ("_arms", "_cell", "_hash", "_second", "_started_at", "_units")

    plain = False

    def __init__(
        self, cell: Cell, arms: Sequence[str], second: Second, units: Sequence[int], key_hash: str, started_at: float
    ) -> None:
        self._cell = cell
        self._arms = arms
        self._second = second
        self._units = units
        self._hash = key_hash
        self._started_at = started_at

    @property
    def started(self) -> int:
        return self._cell.started

    @property
    def served(self) -> int:
        return self._cell.served

    @served.setter
    def served(self, count: int) -> None:
        self._cell.served = count

    @property
    def sealed(self) -> bool:
        return self._cell.sealed

    def finish(self, latency_s: float) -> None:
        self._cell.finish(latency_s)
        self._score(frozenset(), latency_s)

    def fault(self, fault: Fault) -> None:
        self._cell.fault(fault)
        self._score(frozenset(self._units) if fault.units is None else fault.units, fault.latency_s)

    def _score(self, blamed: frozenset[int], latency_s: float | None) -> None:
        second = self._second
        if second.sealed:
            return
        for index in self._units:
            plan = second.plans[index]
            arm: Arm = "B" if self._arms[index] == "B" else "A"
            bad = index in blamed or latency_s is None
            second.subjects.append(
                Subject(
                    rollout=second.rollout,
                    unit=plan.name,
                    version=second.version,
                    entry=plan.entry,
                    key_hash=self._hash,
                    arm=arm,
                    started_at=self._started_at,
                    marks=marks_of("bad") if bad else 0,
                    latency=-1 if bad or latency_s is None else bucket_of(latency_s),
                )
            )
