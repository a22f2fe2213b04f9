"""Pairs in which every branch ran and matched, nobody failed and nothing had a price: the common case, counted once for
all units.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from rollout.domain.evidence import Figures, marks_of, score
from rollout.domain.histogram import MANY, Durations, Histogram

#: What each of them is for each unit.
CLEAN: Final = marks_of("compared", "ran", "costed", "control_costed")


class CleanPairs:
    """See the module. ``control``: control's latencies. The candidate's are the same, as the overlay waits for control,
    except where a unit was slower: ``slower[unit]`` holds what it took, and what control took. ``late[unit]``: pairs in
    which a run of the unit missed its SLA.
    """

    __slots__ = ("_tolerances", "control", "late", "slower")

    def __init__(self, units: int, tolerances: Mapping[str, float]) -> None:
        """``tolerances``: how many times what control took, by the name of the count of what took longer."""
        self.control = Durations()
        self.slower: list[Slower | None] = [None] * units
        self.late = [0] * units
        self._tolerances = tolerances

    def was_slower(self, unit: int, candidate_s: float, control_s: float) -> None:
        """A unit took longer than control in a pair that was added to ``control``."""
        moved = self.slower[unit]
        if moved is None:
            moved = self.slower[unit] = Slower(self._tolerances)
        # Two lists of floats, and no list of pairs: tuples would keep the garbage collector busy.
        to = moved.to
        to.append(candidate_s)
        moved.away.append(control_s)
        if len(to) >= MANY:
            moved.fold()

    def were_late(self, units: Collection[int]) -> None:
        """Units missed their SLA in a pair that was added to ``control``."""
        for unit in units:
            self.late[unit] += 1

    def add_to(self, figures: Figures, unit: int) -> None:
        """Add all pairs to the figures of a unit."""
        self.score(figures, unit)
        figures.add("matched", self.control.total)
        control = self.control.histogram()
        candidate = Histogram(control)
        if moved := self.slower[unit]:
            moved.fold()
            candidate.merge(moved.to.histogram())
            candidate.merge({bucket: -count for bucket, count in moved.away.histogram().items()})
            for name, count in moved.beyond.items():
                figures.add(name, count)
        figures.histogram("control").merge(control)
        kept = Histogram({bucket: count for bucket, count in candidate.items() if count})
        figures.histogram("candidate").merge(kept)

    def score(self, figures: Figures, unit: int) -> None:
        """Add to the figures of a unit what is scored of all pairs, if each counts by itself."""
        score(figures, "P", CLEAN, -1, -1, -1, self.control.total)
        figures.add("sla_calls", self.late[unit])


class Slower:
    """What a unit that was slower than control took, and what control did, which the histogram is to forget.
    ``beyond``: how many of them took longer than a tolerance allows, by its name.
    """

    __slots__ = ("_tolerances", "away", "beyond", "to")

    def __init__(self, tolerances: Mapping[str, float]) -> None:
        self.to = Durations()
        self.away = Durations()
        self.beyond = dict.fromkeys(tolerances, 0)
        self._tolerances = tolerances

    def fold(self) -> None:
        """Put what came into its buckets, and compare it with what control took while the two stand side by side."""
        to, away = self.to, self.away
        for name, times in self._tolerances.items():
            self.beyond[name] += sum(
                [candidate_s > control_s * times for candidate_s, control_s in zip(to, away, strict=True)]
            )
        to.fold()
        away.fold()
