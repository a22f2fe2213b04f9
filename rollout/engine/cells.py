"""Where a call is counted: a ``Cell`` for all calls of a second that are treated alike, a ``Fault`` for each that
went wrong, and a ``Scored`` around the cell for the one call of a key that is scored.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from rollout.domain.evidence import Arm, Figures, Subject, marks_of
from rollout.domain.histogram import MANY, Durations, bucket_of
from rollout.engine.notes import COSTED, FREE_CONTROL, NOTHING, Note

if TYPE_CHECKING:
    from rollout.engine.second import Second

_BAD: Final = marks_of("bad")
_FELL_BACK: Final = marks_of("bad", "fallbacks")


class Cell:
    """The calls of one second that were assigned alike."""

    __slots__ = ("faults", "free", "noted", "plain", "sealed", "served", "started", "took")

    def __init__(self) -> None:
        self.started = 0
        self.served = 0  # by the candidate
        self.free = 0  # calls of which it is known that control used nothing
        self.sealed = False
        self.plain = True  # a call that is answered as it should be is one duration more, and nothing else
        self.took = Durations()  # of the calls that were answered as they should be
        self.faults: list[Fault] | None = None
        self.noted: dict[int, Figures] | None = None  # by unit: what is known of calls besides

    @property
    def finished(self) -> int:
        """Calls of which it is known how they ended."""
        return self.took.total + len(self.faults or ())

    def finish(self, latency_s: float, free: bool = False) -> None:
        """A call was answered as it should be, ``latency_s`` seconds after its start. ``free``: control is known to
        have used nothing.
        """
        if free:
            self.free += 1
        durations = self.took
        durations.append(latency_s)
        if len(durations) >= MANY:
            durations.fold()

    def fault(self, fault: Fault) -> None:
        """A call of which something was bad."""
        if self.faults is None:
            self.faults = []
        self.faults.append(fault)

    def note(self, unit: int, note: Note) -> None:
        """What a call tells besides of a unit in whose arms it is."""
        if self.noted is None:
            self.noted = {}
        figures = self.noted.get(unit)
        if figures is None:
            figures = self.noted[unit] = Figures()
        note.add_to(figures)

    def seal(self) -> None:
        """Nothing is counted here any more."""
        self.sealed = True
        self.plain = False

    def add_to(self, figures: Figures, unit: int, arm: Arm) -> None:
        """Add these calls to the figures of a unit, in whose arm they are. What has not ended is bad."""
        finished = self.finished
        bad = [fault for fault in self.faults or () if fault.blames(unit)]
        figures.add("calls", self.started)
        figures.add("bad", self.started - finished + len(bad))
        latency = figures.histogram("latency")
        latency.merge(self.took.histogram())
        for fault in self.faults or ():
            if fault.latency_s is not None and not fault.blames(unit):
                latency.add(fault.latency_s)
        noted = (self.noted or {}).get(unit, _NO_FIGURES)
        figures.merge(noted)
        if arm == "A":
            figures.add("control_costed", self.free)
        else:
            figures.add("fallbacks", sum(bool(fault.fallback) for fault in bad))
            # A call for which the unit was not even asked cost nothing, and stays in the arm: those that a `when=`
            # picks may be the dear ones, of control too.
            figures.add("costed", finished - noted["costed"] - noted["unpriced"])


_NO_FIGURES: Final = Figures()


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

    def blames(self, unit: int) -> bool:
        """Whether the call was bad for a unit."""
        return self.units is None or self.latency_s is None or unit in self.units


_UNKNOWN: Final = Fault(None, "", None)  # of a call that has not ended


class Scored:
    """The first call of a key in a stage: counted like any other, and scored once. Stands where a ``Cell`` does."""

    __slots__ = ("_arms", "_cell", "_fault", "_hash", "_latency_s", "_notes", "_started_at", "_units")

    plain = False

    def __init__(self, cell: Cell, arms: Sequence[str], units: Sequence[int], key_hash: str, started_at: float) -> None:
        """``units``: indexes of those that score it. ``started_at``: epoch seconds."""
        self._cell = cell
        self._arms = arms
        self._units = units
        self._hash = key_hash
        self._started_at = started_at
        self._fault: Fault | None = _UNKNOWN
        self._latency_s: float | None = None
        self._notes: dict[int, Note] = {}

    @property
    def served(self) -> int:
        return self._cell.served

    @served.setter
    def served(self, count: int) -> None:
        self._cell.served = count

    @property
    def sealed(self) -> bool:
        return self._cell.sealed

    def finish(self, latency_s: float, free: bool = False) -> None:
        self._cell.finish(latency_s, free)
        self._fault, self._latency_s = None, latency_s
        if free:
            self._notes = {unit: FREE_CONTROL for unit in self._units if self._arms[unit] == "A"}

    def fault(self, fault: Fault) -> None:
        self._cell.fault(fault)
        self._fault, self._latency_s = fault, fault.latency_s

    def note(self, unit: int, note: Note) -> None:
        self._cell.note(unit, note)
        self._notes[unit] = note

    def subjects(self, second: Second) -> Iterator[Subject]:
        """What is scored, when the second is sealed: what has not ended by then is bad."""
        fault = self._fault
        for unit in self._units:
            arm: Arm = "B" if self._arms[unit] == "B" else "A"
            note = self._note_of(unit, arm)
            marks, latency = note.marks, -1
            if fault is not None and fault.blames(unit):
                marks |= _FELL_BACK if fault.fallback and arm == "B" else _BAD
            elif self._latency_s is not None:
                latency = bucket_of(self._latency_s)
            yield second.subject(unit, arm, self._hash, self._started_at, note._replace(marks=marks), latency)

    def _note_of(self, unit: int, arm: Arm) -> Note:
        """Where the unit was not even asked, it cost nothing."""
        silent = arm == "B" and self._fault is not _UNKNOWN
        return self._notes.get(unit, Note(COSTED) if silent else NOTHING)
