"""What a second comes to when its settle time is over: figures by unit and arm, and who is scored.

What is unknown by then is bad, in both arms alike.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from rollout.domain.closed import SINGLE
from rollout.domain.evidence import MARKS, Arm, Block, BlockKey, Figures, Subject
from rollout.engine.cells import Cell
from rollout.engine.runs import of_member, of_unit
from rollout.engine.second import SPENT, Runs, Second

#: What is counted of calls that are scored one by one.
_SCORED: Final = ("calls", "pairs", *MARKS)


@dataclass(frozen=True, slots=True)
class Sealed:
    """``blocks`` and ``subjects``: evidence. ``whole``, ``runs``: what the second adds to the process's totals of the
    rollout, and of its branches.
    """

    blocks: list[Block]
    subjects: list[Subject]
    whole: Figures
    runs: Runs


def sealed(second: Second, process: str) -> Sealed:
    """Seal a second."""
    second.seal()
    whole = second.steps()
    for cell in second.cells.values():
        add_calls(whole, cell)
    found = _ByArm()
    _add_arms(found, second)
    _add_runs(found, second)
    _add_pairs(found, second)
    blocks = [Block(key, figures) for key, figures in found.blocks(second, process)]
    if whole:
        blocks.append(Block(_key(second, "", "*", 0, process), whole))
    subjects = [*second.subjects, *(subject for one in second.scored for subject in one.subjects(second))]
    return Sealed(blocks, subjects, whole, second.all_runs())


def add_calls(whole: Figures, cell: Cell, *, ended: bool = False) -> None:
    """Add the calls of a cell to the figures of the rollout. ``ended``: only those that have, because the others are
    not bad yet.
    """
    finished = cell.finished
    started = finished if ended else cell.started
    faults = cell.faults or ()
    fallbacks = [fault for fault in faults if fault.fallback]
    whole.add("calls", started)
    whole.add("served:candidate", cell.served)
    whole.add("served:fallback", len(fallbacks))
    whole.add("served:control", finished - cell.served - len(fallbacks))
    whole.add("bad", started - finished + sum(fault.units is None for fault in faults))
    for fault in fallbacks:
        whole.add(f"fallback:{fault.fallback}")
    histogram = whole.histogram("latency")
    histogram.merge(cell.took.histogram())
    for fault in faults:
        if fault.latency_s is not None:
            histogram.add(fault.latency_s)


@dataclass(slots=True)
class _ByArm:
    """Figures by unit (its index) and arm: of all calls, and what is scored of those that count by themselves."""

    every: dict[tuple[int, Arm], Figures] = field(default_factory=dict)
    single: dict[tuple[int, Arm], Figures] = field(default_factory=dict)

    def of(self, unit: int, arm: Arm, *, single: bool = False) -> Figures:
        return (self.single if single else self.every).setdefault((unit, arm), Figures())

    def blocks(self, second: Second, process: str) -> Iterator[tuple[BlockKey, Figures]]:
        for place, scored in self.single.items():
            _add_single(self.every[place], scored)
        for (unit, arm), figures in self.every.items():
            plan = second.plans[unit]
            yield _key(second, plan.name, arm, plan.entry, process), figures


def _key(second: Second, unit: str, arm: Arm, entry: int, process: str) -> BlockKey:
    return BlockKey(second.rollout, unit, arm, second.version, entry, second.number, 1, process)


def _add_single(figures: Figures, scored: Figures) -> None:
    for name in _SCORED:
        if count := scored[name]:
            figures.add(f"{SINGLE}{name}", count)
    for name, histogram in scored.histograms.items():
        figures.histogram(f"{SINGLE}{name}").merge(histogram)


def _add_arms(found: _ByArm, second: Second) -> None:
    for assignment, cell in second.cells.items():
        for unit, name in enumerate(assignment.arms):
            if name:
                arm: Arm = "A" if name == "A" else "B"
                cell.add_to(found.of(unit, arm), unit, arm)
                if unit in assignment.single:
                    cell.add_to(found.of(unit, arm, single=True), unit, arm)


def _add_runs(found: _ByArm, second: Second) -> None:
    """How the runs ended: in arm B those that were live, in P those in shadow."""
    unit_of = {name: unit for unit, plan in enumerate(second.plans) for name in plan.branches}
    for (name, mode), figures in second.runs().items():
        unit = unit_of[name]
        if orphans := second.stations[name, mode].orphans:
            figures.add("orphans", orphans)
        of_arm = found.of(unit, "B" if mode == "live" else "P")
        of_arm.merge(of_unit(figures))
        if len(second.plans[unit].branches) > 1:
            of_arm.merge(of_member(name, figures))
    for (name, mode), figures in second.all_runs().items():
        # Of a budget of the day, unknown costs were booked by their reservation; without one, the known costs count.
        if mode == "shadow" and (spent := max(figures["booked"], figures["cost_nano"])):
            found.of(unit_of[name], "P").add(f"{SPENT}{name}", spent)


def _add_pairs(found: _ByArm, second: Second) -> None:
    for unit in range(len(second.plans)):
        for pairs in (second.clean, second.single):
            if pairs.control.total:
                pairs.add_to(found.of(unit, "P"), unit)
        if second.single.control.total:
            second.single.score(found.of(unit, "P", single=True), unit)
        for each, single in ((second.pairs, False), (second.single_pairs, True)):
            figures = each[unit]
            if figures is not None:
                found.of(unit, "P", single=single).merge(figures)
