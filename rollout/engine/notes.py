"""What one call tells of a unit besides how it ended and how long it took: whether the unit ran, whether in time, and
what it and control cost.

Usage that a run recorded counts however the run ended: what was cut has been paid for all the same.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import cache
from typing import TYPE_CHECKING, Final, NamedTuple

from rollout.domain.evidence import MARKS, Figures, marks_of
from rollout.domain.histogram import bucket_of
from rollout.domain.outcomes import RunOutcome
from rollout.engine.runs import RAN, missed_sla

if TYPE_CHECKING:
    from rollout.context import RunContext
    from rollout.engine.branchrun import BranchRun
    from rollout.engine.runtime import Runtime
    from rollout.engine.trial import Trial

_RAN: Final = marks_of("ran")
_SLA: Final = marks_of("sla_calls")
COSTED: Final = marks_of("costed")
_UNPRICED: Final = marks_of("unpriced")
CONTROL_COSTED: Final = marks_of("control_costed")
_CONTROL_UNPRICED: Final = marks_of("control_unpriced")
_MILLI: Final = 1e-6  # milli-dollars of a nano-dollar


class Note(NamedTuple):
    """``marks``: a bit set of ``evidence.MARKS``. ``nano``, ``control_nano``: costs in nano-dollars, as far as they are
    known.
    """

    marks: int
    nano: int = 0
    control_nano: int = 0

    @property
    def cost(self) -> int:
        """The bucket of the unit's cost in milli-dollars; -1 where it is zero or unknown."""
        return _bucket(self.nano) if self.marks & COSTED else -1

    @property
    def control_cost(self) -> int:
        """The same of control."""
        return _bucket(self.control_nano) if self.marks & CONTROL_COSTED else -1

    def joined(self, other: Note) -> Note:
        """Both notes in one: they tell of different things."""
        return Note(self.marks | other.marks, self.nano + other.nano, self.control_nano + other.control_nano)

    def add_to(self, figures: Figures) -> None:
        """Add it to the figures of the unit."""
        for name in _names(self.marks):
            figures.add(name)
        costs = (("cost", self.nano, self.cost), ("control_cost", self.control_nano, self.control_cost))
        for name, nano, bucket in costs:
            if nano:
                figures.add(f"{name}_nano", nano)
            if bucket >= 0:
                figures.histogram(name).merge({bucket: 1})


NOTHING: Final = Note(0)
FREE_CONTROL: Final = Note(CONTROL_COSTED)


def ends_of(runs: Collection[BranchRun]) -> Note:
    """Whether a unit ran in a call, and in time. ``runs``: all its runs of the call."""
    ran = any(run.outcome in RAN or run.outcome is RunOutcome.soft_timeout for run in runs)
    late = any(missed_sla(run) for run in runs)
    return Note((_RAN if ran else 0) | (_SLA if late else 0))


def costs_of(runs: Collection[BranchRun]) -> Note:
    """What a unit cost in a call. Where it did not run, that is nothing."""
    costs = [run.usage.cost for run in runs if run.usage is not None]
    known = [cost for cost in costs if cost is not None]
    return Note(COSTED if len(known) == len(costs) else _UNPRICED, sum(known))


def control_of(runtime: Runtime, run: RunContext | None) -> Note:
    """What control cost. Nothing is known where it ran outside of a trial (None), as nobody could record its usage."""
    if run is None:
        return NOTHING
    usage = runtime.fan_outs.price(run.usage)
    if usage is None:
        return FREE_CONTROL
    cost = usage.cost
    return Note(_CONTROL_UNPRICED) if cost is None else Note(CONTROL_COSTED, control_nano=cost)


def of_call(trial: Trial) -> Iterator[tuple[int, Note]]:
    """What the user's call tells of each unit, by index, in whose arms it is: of control in A, of the unit in B."""
    assert trial.assignment is not None
    runs = {} if trial.fan is None else trial.fan.runs
    control = control_of(trial.runtime, trial.control_run)
    for unit, (arm, plan) in enumerate(zip(trial.assignment.arms, trial.view.plans, strict=True)):
        if arm == "B":
            members = [run for name in plan.branches if (run := runs.get(name)) is not None]
            yield unit, ends_of(members).joined(costs_of(members))
        elif arm == "A" and control.marks:
            yield unit, control


def _bucket(nano: int) -> int:
    return bucket_of(nano * _MILLI) if nano > 0 else -1


@cache
def _names(marks: int) -> tuple[str, ...]:
    return tuple(name for bit, name in enumerate(MARKS) if marks >> bit & 1)
