"""Everything that was counted of the calls which started in one second, and what it comes to by unit and arm when it
is sealed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from rollout.domain.evidence import Arm, Block, BlockKey, Figures, Subject
from rollout.domain.histogram import MANY, Durations, Histogram
from rollout.domain.routing import Assignment, UnitPlan
from rollout.engine.branchrun import BranchRun
from rollout.engine.cells import Cell
from rollout.engine.runs import OK, RunCell, of_member
from rollout.engine.station import Station

_MOST_REASONS: Final = 50
SPENT: Final = "spent:"  # by branch, in shadow, in nano-dollars

Runs = Mapping[tuple[str, str], Figures]  # (branch, mode) → figures of its runs


class CleanPairs:
    """Pairs in which every branch ran and matched, and nobody failed: the common case, counted once for all units.

    ``control``: control's latencies. The candidate's are the same, as the overlay waits for control, except where a
    unit was slower: ``slower[unit]`` holds what it took, and what control took.
    """

    __slots__ = ("control", "slower")

    def __init__(self, units: int) -> None:
        self.control = Durations()
        self.slower: list[Slower | None] = [None] * units

    def was_slower(self, unit: int, candidate_s: float, control_s: float) -> None:
        """A unit took longer than control in a pair that was added to ``control``."""
        moved = self.slower[unit]
        if moved is None:
            moved = self.slower[unit] = Slower()
        # Two lists of floats, and no list of pairs: tuples would keep the garbage collector busy.
        to, away = moved.to, moved.away
        to.append(candidate_s)
        away.append(control_s)
        if len(to) >= MANY:
            to.fold()
            away.fold()

    def figures(self, unit: int) -> Figures:
        control = self.control.histogram()
        candidate = Histogram(control)
        if moved := self.slower[unit]:
            candidate.merge(moved.to.histogram())
            candidate.merge({bucket: -count for bucket, count in moved.away.histogram().items()})
        kept = Histogram({bucket: count for bucket, count in candidate.items() if count})
        pairs = self.control.total
        return Figures({"pairs": pairs, "matched": pairs}, {"control": control, "candidate": kept})


class Slower:
    """What a unit that was slower than control took, and what control did, which the histogram is to forget."""

    __slots__ = ("away", "to")

    def __init__(self) -> None:
        self.to = Durations()
        self.away = Durations()


class Second:
    """Everything counted of the calls that started in one second under one plan."""

    __slots__ = (
        "begun",
        "cells",
        "clean",
        "drawn",
        "due",
        "ends",
        "funnel",
        "live_runs",
        "number",
        "pairs",
        "path_s",
        "plans",
        "queued",
        "rollout",
        "sealed",
        "shadow_runs",
        "stations",
        "subjects",
        "tester_runs",
        "version",
        "work_s",
    )

    def __init__(self, rollout: str, number: int, plans: Sequence[UnitPlan], version: int) -> None:
        self.rollout = rollout
        self.number = number
        self.ends = float("-inf")  # on the loop's clock
        self.due = 0.0  # to be sealed, on the loop's clock: the database's may be set meanwhile
        self.plans = plans
        self.version = version
        self.cells: dict[Assignment, Cell] = {}
        self.funnel = Figures()  # but for the three that nearly every trial counts in:
        self.drawn = 0
        self.begun = 0
        self.queued = 0  # of clean trials
        self.work_s = 0.0  # of all trials, like the next
        self.path_s = 0.0
        self.pairs: list[Figures | None] = [None] * len(plans)
        self.clean = CleanPairs(len(plans))
        self.live_runs: dict[str, RunCell] = {}
        self.shadow_runs: dict[str, RunCell] = {}
        self.tester_runs: dict[str, RunCell] = {}
        self.stations: dict[tuple[str, str], Station] = {}  # of the runs
        self.subjects: list[Subject] = []
        self.sealed = False

    def cell(self, assignment: Assignment) -> Cell:
        found = self.cells.get(assignment)
        if found is None:
            found = self.cells[assignment] = Cell()
        return found

    def pair(self, unit: int) -> Figures:
        """The figures of pairs (arm P) of a unit, by its index."""
        found = self.pairs[unit]
        if found is None:
            found = self.pairs[unit] = Figures()
        return found

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

    def count_tester_run(self, run: BranchRun) -> None:
        """As ``count_run``, for a named tester: counted for this process, but no evidence."""
        cell = self.tester_runs.setdefault(run.branch, RunCell())
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
        """The figures of the runs, those of named testers too."""
        found = dict(self.runs())
        for branch, cell in self.tester_runs.items():
            found.setdefault((branch, "live"), Figures()).merge(cell.figures())
        return found

    def runs(self) -> Runs:
        """The figures of the runs, by branch and mode, as evidence: without named testers."""
        both = (("live", self.live_runs), ("shadow", self.shadow_runs))
        return {(name, mode): cell.figures() for mode, cells in both for name, cell in cells.items()}

    def steps(self) -> Figures:
        """The funnel so far, from drawn to queued, with all that was dropped on the way."""
        clean = self.clean.control.total
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

    def seal(self, process: str) -> tuple[list[Block], Figures, Runs]:
        """The blocks by unit and arm; what the second adds to the process's totals of the rollout, and of its
        branches.
        """
        self.sealed = True
        by_arm: dict[tuple[int, Arm], Figures] = {}
        whole = self.steps()
        for assignment, cell in self.cells.items():
            cell.seal()
            self.whole(cell, whole)
            for index, name in enumerate(assignment.arms):
                if name:
                    _arm(cell, index, by_arm.setdefault((index, "A" if name == "A" else "B"), Figures()))
        runs = self.runs()
        _spent_in_shadow(runs)
        for key, station in self.stations.items():
            if station.orphans:
                runs[key].add("orphans", station.orphans)
        unit_of = {name: index for index, plan in enumerate(self.plans) for name in plan.branches}
        for (name, mode), figures in runs.items():
            arm: Arm = "B" if mode == "live" else "P"
            unit = unit_of[name]
            found = by_arm.setdefault((unit, arm), Figures())
            found.merge(figures)
            if len(self.plans[unit].branches) > 1:
                found.merge(of_member(name, figures))
        for index, plan in enumerate(self.plans):
            if len(plan.branches) > 1:
                _cost_by_call(plan, runs, by_arm, index)
        for index, pairs in enumerate(self.pairs):
            if pairs is not None:
                by_arm.setdefault((index, "P"), Figures()).merge(pairs)
            if self.clean.control.total:
                by_arm.setdefault((index, "P"), Figures()).merge(self.clean.figures(index))
        blocks = [
            Block(self._key(self.plans[index].name, arm, self.plans[index].entry, process), figures)
            for (index, arm), figures in by_arm.items()
        ]
        if whole:
            blocks.append(Block(self._key("", "*", 0, process), whole))
        return blocks, whole, self.all_runs()

    def _key(self, unit: str, arm: Arm, entry: int, process: str) -> BlockKey:
        return BlockKey(self.rollout, unit, arm, self.version, entry, self.number, 1, process)

    @staticmethod
    def whole(cell: Cell, whole: Figures) -> None:
        """Add a cell to the funnel of all calls."""
        unknown = cell.started - cell.finished
        faults = cell.faults or ()
        fallbacks = [fault for fault in faults if fault.fallback]
        whole.add("calls", cell.started)
        whole.add("served:candidate", cell.served)
        whole.add("served:fallback", len(fallbacks))
        whole.add("served:control", cell.finished - cell.served - len(fallbacks))
        whole.add("bad", unknown + sum(fault.units is None for fault in faults))
        for fault in fallbacks:
            whole.add(f"fallback:{fault.fallback}")
        histogram = whole.histogram("latency")
        histogram.merge(cell.took.histogram())
        for fault in faults:
            if fault.latency_s is not None:
                histogram.add(fault.latency_s)


def _spent_in_shadow(runs: Runs) -> None:
    """What each branch cost, by name: a unit may have several, and a budget of the day is one branch's.

    What was booked of that budget, unknown costs by their reservation; the known costs where there is no such budget.
    """
    for (name, mode), figures in runs.items():
        if mode == "shadow" and (spent := max(figures["booked"], figures["cost_nano"])):
            figures.add(f"{SPENT}{name}", spent)


def _cost_by_call(plan: UnitPlan, runs: Runs, by_arm: Mapping[tuple[int, Arm], Figures], unit: int) -> None:
    """A group has several runs a call, and its cost is that of all of them: count calls where runs were added up."""
    modes: tuple[tuple[str, Arm], ...] = (("live", "B"), ("shadow", "P"))
    for mode, arm in modes:
        members = [figures for name in plan.branches if (figures := runs.get((name, mode))) is not None]
        if members:
            calls = max(figures["costed"] + figures["unpriced"] for figures in members)
            unknown = max(figures["unpriced"] for figures in members)
            by_arm[unit, arm].counts |= {"costed": calls - unknown, "unpriced": unknown}


def _arm(cell: Cell, unit: int, figures: Figures) -> None:
    """Add a cell to the arm of one unit."""
    figures.add("calls", cell.started)
    figures.add("bad", cell.started - cell.finished)
    figures.histogram("latency").merge(cell.took.histogram())
    for fault in cell.faults or ():
        if fault.units is None or unit in fault.units or fault.latency_s is None:
            figures.add("bad")
            if fault.fallback:
                figures.add("fallbacks")
        else:
            figures.observe("latency", fault.latency_s)


def as_known(cell: Cell) -> Cell:
    """The cell as far as it is known now: calls under way are not bad yet."""
    copy = Cell()
    copy.started = cell.finished
    copy.served, copy.took, copy.faults = cell.served, cell.took, cell.faults
    return copy
