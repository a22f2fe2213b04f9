"""Everything that was counted of the calls which started in one second, under one plan, while it is open.

``sealing`` tells what it comes to by unit and arm.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from rollout.domain.evidence import Arm, Figures, Subject
from rollout.domain.histogram import MANY
from rollout.domain.routing import Assignment, UnitPlan
from rollout.engine.branchrun import BranchRun
from rollout.engine.cells import Cell, Scored
from rollout.engine.cleanpairs import CleanPairs
from rollout.engine.notes import Note
from rollout.engine.runs import OK, RunCell
from rollout.engine.station import Station

_MOST_REASONS: Final = 50
_ALMOST: Final = 1.0 - 1e-6  # of a second, which has an end that is not in it
SPENT: Final = "spent:"  # by branch, in shadow, in nano-dollars
NO_TOLERANCES: Final[Mapping[str, float]] = MappingProxyType({})

Runs = Mapping[tuple[str, str], Figures]  # (branch, mode) → figures of its runs


class Second:
    """Everything counted of the calls that started in one second under one plan.

    ``number``: epoch seconds by the database's clock, ``offset`` seconds ahead of the loop's when it was opened.
    ``ends``, ``due``: when it is over, and to be sealed, on the loop's clock: the other may be set meanwhile.
    """

    __slots__ = (
        "apart",
        "apart_runs",
        "begun",
        "cells",
        "clean",
        "drawn",
        "due",
        "ends",
        "funnel",
        "live_runs",
        "number",
        "offset",
        "pairs",
        "path_s",
        "plans",
        "queued",
        "rollout",
        "scored",
        "sealed",
        "shadow_runs",
        "single",
        "single_pairs",
        "stations",
        "subjects",
        "version",
        "work_s",
    )

    def __init__(
        self,
        rollout: str,
        number: int,
        plans: Sequence[UnitPlan],
        version: int,
        tolerances: Mapping[str, float] = NO_TOLERANCES,
        offset: float = 0.0,
    ) -> None:
        self.rollout = rollout
        self.number = number
        self.offset = offset
        self.ends = number + 1 - offset
        self.due = self.ends
        self.plans = plans
        self.version = version
        self.cells: dict[Assignment, Cell] = {}
        self.scored: list[Scored] = []
        self.funnel = Figures()  # but for the three that nearly every trial counts in:
        self.drawn = 0
        self.begun = 0
        self.queued = 0  # of clean trials
        self.work_s = 0.0  # of all trials, like the next
        self.path_s = 0.0
        self.pairs: list[Figures | None] = [None] * len(plans)
        self.single_pairs: list[Figures | None] = [None] * len(plans)  # of them: without a key, where others have one
        self.clean = CleanPairs(len(plans), tolerances)
        self.single = CleanPairs(len(plans), tolerances)  # without a key, likewise
        self.apart = CleanPairs(0, {})  # of callers whose flag does not say auto
        self.live_runs: dict[str, RunCell] = {}
        self.shadow_runs: dict[str, RunCell] = {}
        self.apart_runs: dict[tuple[str, str], RunCell] = {}
        self.stations: dict[tuple[str, str], Station] = {}  # of the runs
        self.subjects: list[Subject] = []  # of pairs
        self.sealed = False

    def epoch(self, at: float) -> float:
        """Epoch seconds of a time of this second on the loop's clock. Never of another second, whatever the clocks say:
        what is scored must be read with its block.
        """
        return min(max(at + self.offset, self.number), self.number + _ALMOST)

    def cell(self, assignment: Assignment) -> Cell:
        found = self.cells.get(assignment)
        if found is None:
            found = self.cells[assignment] = Cell()
        return found

    def pair(self, unit: int) -> Figures:
        """The figures of pairs (arm P) of a unit, by its index."""
        return _at(self.pairs, unit)

    def single_pair(self, unit: int) -> Figures:
        """What is scored of pairs that count by themselves."""
        return _at(self.single_pairs, unit)

    def subject(self, unit: int, arm: Arm, key_hash: str, at: float, note: Note, latency: int = -1) -> Subject:
        """A subject of a unit, by its index. ``at``: epoch seconds; ``latency``: a bucket."""
        plan = self.plans[unit]
        return Subject(
            rollout=self.rollout,
            unit=plan.name,
            version=self.version,
            entry=plan.entry,
            key_hash=key_hash,
            arm=arm,
            started_at=at,
            marks=note.marks,
            latency=latency,
            cost=note.cost,
            control_cost=note.control_cost,
        )

    def count_run(self, run: BranchRun) -> None:
        """A run of a branch has ended. The common case, a part and no usage, is written out: it is felt."""
        station = run.station
        cells = self.shadow_runs if station.is_shadow else self.live_runs
        cell = cells.get(station.name)
        if cell is None:
            cell = cells[station.name] = RunCell()
            self.stations[station.name, station.mode] = station
        if self.sealed:
            return
        if run.outcome is not OK or run.usage is not None or run.attempts > 1:
            cell.count(run)
            return
        took = run.finished - run.started
        durations = cell.took
        durations.append(took)
        if len(durations) >= MANY:
            durations.fold()
        if took > station.sla_s:
            cell.sla_missed += 1

    def count_apart(self, run: BranchRun) -> None:
        """As ``count_run``, for a caller whose flag does not say ``auto``: counted for this process, but no
        evidence.
        """
        cell = self.apart_runs.setdefault((run.branch, run.station.mode), RunCell())
        if not self.sealed:
            cell.count(run)

    def count_fan_out(self, work_s: float, path_s: float) -> None:
        """The runs of a trial that is not clean took ``work_s`` together, and its fan-out ``path_s``."""
        self.funnel.add("fan_outs")
        self.work_s += work_s
        self.path_s += path_s

    def chose(self, reason: str) -> None:
        """The dispatch chose for this reason: one of at most 50, then ``other``."""
        name = f"dispatch:{reason}"
        known = self.funnel.starting("dispatch:")
        self.funnel.add(name if reason in known or len(known) < _MOST_REASONS else "dispatch:other")

    def all_runs(self) -> Runs:
        """The figures of the runs by branch and mode, of all callers."""
        found = dict(self.runs())
        for key, cell in self.apart_runs.items():
            found.setdefault(key, Figures()).merge(cell.figures())
        return found

    def runs(self) -> Runs:
        """The figures of the runs that are evidence."""
        both = (("live", self.live_runs), ("shadow", self.shadow_runs))
        return {(name, mode): cell.figures() for mode, cells in both for name, cell in cells.items()}

    def steps(self) -> Figures:
        """The funnel so far, from drawn to queued, with all that was dropped on the way."""
        clean = sum(pairs.control.total for pairs in (self.clean, self.single, self.apart))
        found = Figures()
        for name, count in (
            ("drawn", self.drawn),
            ("started", self.begun),
            ("finished", clean),
            ("compared", clean),
            ("queued", self.queued),
            ("fan_outs", clean),
            ("work_us", round(self.work_s * 1e6)),
            ("path_us", round(self.path_s * 1e6)),
        ):
            if count:
                found.add(name, count)
        found.merge(self.funnel)
        return found

    def seal(self) -> None:
        """Nothing is counted here any more, and no call finds it open."""
        self.sealed = True
        self.ends = float("-inf")
        for cell in self.cells.values():
            cell.seal()


def _at(units: list[Figures | None], unit: int) -> Figures:
    found = units[unit]
    if found is None:
        found = units[unit] = Figures()
    return found
