"""Counts every call once, where it started, for a few hundred nanoseconds; everything else is added up when a second
is sealed.

A call belongs to the ``Second`` of its start and, in there, to the ``Cell`` of its ``Assignment``: all calls that
were treated alike share one cell, however many branches there are. When the second and its settle time are over,
``Tally.seal`` turns cells into blocks by unit and arm. What is unknown by then is bad, in both arms alike; what
arrives later is counted as late.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from rollout.domain.evidence import Arm, Block, BlockKey, Figures, Subject
from rollout.domain.histogram import Histogram, bucket_of
from rollout.domain.routing import Assignment, UnitPlan

_MAX_KEYS = 200_000


class Cell:
    """The calls of one second that were assigned alike."""

    __slots__ = ("faults", "finished", "latency", "sealed", "served", "started")

    def __init__(self) -> None:
        self.started = 0
        self.finished = 0
        self.served = 0  # by the candidate
        self.sealed = False
        self.latency: dict[int, int] = {}
        self.faults: list[Fault] | None = None

    def finish(self, latency_s: float) -> None:
        """A call was answered as it should be, ``latency_s`` seconds after its start."""
        self.finished += 1
        bucket = bucket_of(latency_s)
        latency = self.latency
        latency[bucket] = latency.get(bucket, 0) + 1

    def fault(self, fault: Fault) -> None:
        """A call of which something was bad."""
        self.finished += 1
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
            latency = -1 if bad or latency_s is None else bucket_of(latency_s)
            second.subjects.append(
                Subject(second.rollout, plan.name, plan.entry, self._hash, arm, self._started_at, bad, latency)
            )


class Second:
    """Everything counted of the calls that started in one second under one plan."""

    __slots__ = ("cells", "funnel", "number", "pairs", "plans", "rollout", "runs", "sealed", "subjects", "version")

    def __init__(self, rollout: str, number: int, plans: Sequence[UnitPlan], version: int) -> None:
        self.rollout = rollout
        self.number = number
        self.plans = plans
        self.version = version
        self.cells: dict[Assignment, Cell] = {}
        self.funnel = Figures()
        self.pairs: list[Figures | None] = [None] * len(plans)
        self.runs: list[Figures | None] = [None] * len(plans)
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

    def live_runs(self, unit: int) -> Figures:
        """The figures of live runs (arm B) of a unit, by its index."""
        found = self.runs[unit]
        if found is None:
            found = self.runs[unit] = Figures()
        return found

    def seal(self, process: str) -> tuple[list[Block], Figures]:
        """The blocks by unit and arm, and what the whole second adds to the process's totals of the rollout."""
        self.sealed = True
        by_arm: dict[tuple[int, Arm], Figures] = {}
        whole = self.funnel
        for assignment, cell in self.cells.items():
            cell.sealed = True
            self._whole(cell, whole)
            for index, arm in enumerate(assignment.arms):
                if arm == "A" or arm == "B":
                    _arm(cell, index, by_arm.setdefault((index, arm), Figures()))
        for index, figures in enumerate(self.runs):
            if figures is not None:
                by_arm.setdefault((index, "B"), Figures()).merge(figures)
        for index, figures in enumerate(self.pairs):
            if figures is not None:
                by_arm.setdefault((index, "P"), Figures()).merge(figures)
        blocks = [
            Block(self._key(self.plans[index].name, arm, self.plans[index].entry, process), figures)
            for (index, arm), figures in by_arm.items()
        ]
        if whole:
            blocks.append(Block(self._key("", "*", 0, process), whole))
        return blocks, whole

    def _key(self, unit: str, arm: Arm, entry: int, process: str) -> BlockKey:
        return BlockKey(self.rollout, unit, arm, self.version, entry, self.number, 1, process)

    @staticmethod
    def _whole(cell: Cell, whole: Figures) -> None:
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
        histogram.merge(cell.latency)
        for fault in faults:
            if fault.latency_s is not None:
                histogram.add(fault.latency_s)


def _arm(cell: Cell, unit: int, figures: Figures) -> None:
    """Add a cell to the arm of one unit."""
    figures.add("calls", cell.started)
    figures.add("bad", cell.started - cell.finished)
    figures.histogram("latency").merge(cell.latency)
    for fault in cell.faults or ():
        if fault.units is None or unit in fault.units or fault.latency_s is None:
            figures.add("bad")
            if fault.fallback:
                figures.add("fallbacks")
        else:
            figures.observe("latency", fault.latency_s)


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
        self.late = 0
        self._time = time
        self._open: deque[Second] = deque()

    def second(self, number: int, plans: Sequence[UnitPlan], version: int) -> Second:
        """A new second for calls that start now under these plans."""
        opened = Second(self.rollout, number, plans, version)
        self._open.append(opened)
        return opened

    def seal(self, *, everything: bool = False) -> tuple[list[Block], list[Subject]]:
        """The blocks and subjects of every second whose settle time is over (or of every one: at shutdown)."""
        now = self._time() + self.offset
        blocks: list[Block] = []
        subjects: list[Subject] = []
        while self._open and (everything or now >= self._open[0].number + 1 + self.settle_s):
            second = self._open.popleft()
            sealed, whole = second.seal(self.process)
            self.totals.merge(whole)
            blocks += sealed
            subjects += second.subjects
        return blocks, subjects

    def so_far(self) -> Figures:
        """The totals since the start, open seconds included: for a scrape."""
        figures = Figures()
        figures.merge(self.totals)
        for second in self._open:
            figures.merge(second.funnel)
            for cell in second.cells.values():
                Second._whole(_without_unknown(cell), figures)
        return figures


def _without_unknown(cell: Cell) -> Cell:
    """The cell as far as it is known now: calls under way are not bad yet."""
    copy = Cell()
    copy.started = copy.finished = cell.finished
    copy.served, copy.latency, copy.faults = cell.served, cell.latency, cell.faults
    return copy


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


def latency_p95(histogram: Histogram) -> float | None:
    """Control's own p95 in seconds, for the time at which a fallback must start; None before 20 calls."""
    return histogram.quantile(0.95) if histogram.total >= 20 else None
