"""Threshold gates: a limit, a window, a minimum of calls, so many looks in a row. They state no error bound.

    gate = gate_for(errors(worse_by=0.01))
    state = gate.fold(gate.start(), block)
    finding = gate.judge(state, Moment(unit="orders", share=0.25, live=True, now=now))

What is compared: live, arm B against arm A of the same window; in shadow, and where arm A is empty (100 %), pairs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from math import isfinite
from typing import Final

from rollout.domain.evidence import Figures, UnitBlock
from rollout.domain.gates import Finding, Gate, GateSpec, GateState, Grade, Moment
from rollout.domain.limits import KINDS, Kind
from rollout.domain.limits.check import Check, Unusable
from rollout.domain.limits.window import Shape, Size, Sums, compact, fold, trailing

#: From best to worst; the worst of several wins.
SEVERITY: Final = (Grade.passed, Grade.doubt, Grade.error, Grade.breach)
_NO_BOUND: Final = "no error bound"


def gate_for(spec: GateSpec) -> Gate:
    """The gate that a declaration names. One that this version does not know finds an error, so it holds."""
    return ThresholdGate(spec)


@dataclass(frozen=True, slots=True)
class ThresholdGate:
    """A ``Gate``. Its state is ``{"rows": …}``: the compacted trailing window, of bounded size (see ``window``)."""

    spec: GateSpec

    def start(self) -> GateState:
        return {"rows": []}

    def fold(self, state: GateState, block: UnitBlock) -> GateState:
        kind = KINDS.get(self.spec.kind)
        row = compact(block, kind.needs) if kind else None
        if kind is None or row is None:
            return state
        for figures in (row.a, row.b, row.p):
            _mark_unusable(figures)
        return {"rows": fold(state["rows"], row, self._shape(kind), kind.sizes)}

    def judge(self, state: GateState, moment: Moment) -> Finding:
        try:
            return self._finding(self._worst(state, moment.live), moment)
        except Exception as error:  # what cannot be judged holds; it must never stop the controller
            why = f"it could not judge: {str(error) or type(error).__name__}"
            return self._finding(Check(grade=Grade.error, why=why), moment)

    def _worst(self, state: GateState, live: bool) -> Check:
        """The worst check of the newest window; a breach counts if each of the last ``consecutive`` windows breached.

        A look is a row of the window: a second with calls (a sixtieth of the window where that is longer, a twelfth for
        latency). So looks count evidence, not how often somebody asks."""
        kind = KINDS.get(self.spec.kind)
        if kind is None or self.spec.mode != "threshold":
            raise ValueError(f"this version knows no gate {self.spec.kind} of mode {self.spec.mode}")
        rows = [Sums.from_json(row) for row in state["rows"]]
        worst = self._look(kind, rows, live)
        wanted = self.spec.consecutive
        for looks in range(1, wanted if worst.grade is Grade.breach else 1):
            earlier = rows[: len(rows) - looks]
            if not earlier or self._look(kind, earlier, live).grade is not Grade.breach:
                why = f"{worst.why}; for {looks} of {wanted} looks in a row"
                return replace(worst, grade=Grade.doubt, why=why)
        return worst

    def _look(self, kind: Kind, rows: list[Sums], live: bool) -> Check:
        checks = kind.check(self.spec, partial(self._window, rows), live)
        return max(checks, key=lambda check: SEVERITY.index(check.grade))

    def _window(self, rows: list[Sums], size: Size) -> Sums:
        sums = trailing(rows, self.spec.window_s, lambda found: size(found) >= self.spec.minimum)
        if any(figures["unusable"] for figures in (sums.a, sums.b, sums.p)):
            raise Unusable("a count is not a finite number of 0 or more")
        return sums

    def _shape(self, kind: Kind) -> Shape:
        return Shape(self.spec.window_s, kind.rows, self.spec.consecutive, self.spec.minimum)

    def _finding(self, check: Check, moment: Moment) -> Finding:
        kind = KINDS.get(self.spec.kind)
        return Finding(
            gate=self.spec.name,
            unit=moment.unit,
            grade=check.grade,
            observed=check.observed,
            limit=check.limit,
            baseline=check.baseline,
            n=check.n,
            why=f"{check.why} ({_NO_BOUND})",
            unit_name=kind.unit_name if kind else "",
            at=moment.now,
            bound=False,
        )


def _mark_unusable(figures: Figures) -> None:
    """Counts that are no finite number of 0 or more are taken out and counted, so that the state stays JSON."""
    for name, count in list(figures.counts.items()):
        if not isinstance(count, (int, float)) or not isfinite(count) or count < 0:
            del figures.counts[name]
            figures.add("unusable")
