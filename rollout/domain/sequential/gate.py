"""A sequential gate: its declaration, made into the parts that it tests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import exp
from typing import Any, Final

from rollout.domain.evidence import Figures
from rollout.domain.gates import Finding, GateSpec, Grade, Stage
from rollout.domain.sequential import limit
from rollout.domain.sequential.cost import CostLimit, Dearer
from rollout.domain.sequential.errors import Errors
from rollout.domain.sequential.latency import Latency
from rollout.domain.sequential.noise import BeyondNoise
from rollout.domain.sequential.part import LOG_PROMOTE, Part, Second, Sight, rounded
from rollout.domain.stats import log_mean_exp

#: The gate whose breach also counts in shadow.
COSTLY: Final = "cost"
_MOST_LOG_E: Final = 23.0  # odds above ten billion to one say no more to anybody
_UNITS: Final = {"latency": "s", "cost": "nano$"}


def parts_of(spec: GateSpec) -> list[Part]:
    """What a declared gate tests: a comparison with control, an absolute limit, or both."""
    found: list[Part] = []
    at_most, worse_by, q = spec.at_most, spec.worse_by, 0.95 if spec.q is None else spec.q
    match spec.kind:
        case "errors":
            found += [] if worse_by is None else [Errors(worse_by)]
            found += [] if at_most is None else [limit.errors(at_most)]
        case "latency":
            found += [] if worse_by is None else [Latency(q, worse_by)]
            found += [] if at_most is None else [limit.slow_calls(q, at_most)]
        case "mismatches" if at_most is not None:
            found += [BeyondNoise(at_most) if spec.beyond_noise else limit.Mismatches(at_most)]
        case "cost":
            found += [] if worse_by is None else [Dearer(worse_by, alone=at_most is None)]
            found += [] if at_most is None else [CostLimit(at_most)]
        case "sla" if at_most is not None:
            found += [limit.missed_slas(at_most)]
        case "fallbacks" if at_most is not None:
            found += [limit.fallbacks(at_most)]
    if not found:
        raise ValueError(f"this version knows no gate {spec.kind} of mode {spec.mode}")
    return found


class SequentialGate:
    """The parts of a gate, with equal shares of its evidence. A step needs every part."""

    def __init__(self, spec: GateSpec) -> None:
        self.spec = spec
        self.name = spec.name
        self._parts = parts_of(spec)

    def enter(self, stage: Stage) -> None:
        for part in self._parts:
            part.enter(stage)

    def renew(self) -> None:
        for part in self._parts:
            part.renew()

    def fund(self, capital: float) -> None:
        for part in self._parts:
            part.fund(capital)

    def update(self, second: Second, stage: Stage, capital: float) -> None:
        for part in self._parts:
            part.update(second, stage, capital)

    def compare(self, a: Figures, b: Figures, stage: Stage, capital: float) -> None:
        for part in self._parts:
            part.compare(a, b, stage, capital)

    def learn(self, a: Figures) -> None:
        for part in self._parts:
            part.learn(a)

    @property
    def log_e(self) -> float:
        """The logarithm of the gate's evidence for a rollback."""
        return log_mean_exp([part.log_e for part in self._parts])

    def log_promote(self, stage: Stage) -> float | None:
        """The logarithm of the evidence for the next step, of the part that has least; None at the last stage."""
        found = [evidence for part in self._parts if (evidence := part.log_promote(stage)) is not None]
        return min(found) if found else None

    def finding(self, stage: Stage, now: float, *, log_e: float, log_limit: float, blamed: bool) -> Finding:
        """What the gate finds. ``log_e``: what it holds of the account, of which ``log_limit`` is the boundary;
        ``blamed``: whether the account has reached that, and this gate is why.
        """
        promote = self.log_promote(stage)
        sight = self._sight(stage)
        shown = stage.target is None or (promote is not None and promote >= LOG_PROMOTE)
        more, noun = None, "calls"
        if blamed and not (shown and self._may_yet_be_safe(stage)):
            grade, why = Grade.breach, self._against(stage)
        elif sight.fault:
            grade, why = Grade.error, sight.fault
        elif shown:
            grade, why = Grade.passed, sight.said
        else:
            more, noun = self._missing(stage)
            grade, why = Grade.doubt, f"{sight.said}; {_missing_text(more, noun, sight.n)}"
        return Finding(
            gate=self.name,
            unit=stage.unit,
            grade=grade,
            observed=sight.observed,
            limit=sight.limit,
            baseline=sight.baseline,
            n=sight.n,
            why=why,
            unit_name=_UNITS.get(self.spec.kind, "%"),
            at=now,
            bound=True,
            log_e=log_e,
            log_limit=log_limit,
            log_promote=promote,
            log_promote_limit=None if promote is None else LOG_PROMOTE,
            more_calls=more,
            counted=noun,
        )

    def _against(self, stage: Stage) -> str:
        """What was seen of the part that speaks most against the branch, and the limit in force: where it is live, not
        that of a step."""
        part = max(self._parts, key=lambda part: part.log_e)
        odds = exp(min(part.log_e, _MOST_LOG_E))
        sight = part.sight(replace(stage, target=None) if stage.live else stage)
        if not sight.n:
            return f"nothing is counted at this stage yet, but before it; odds of {odds:,.0f} : 1 against it"
        allowed = sight.limit if sight.baseline is None else sight.baseline
        # What began late is found by what was counted since; on the whole it may not show.
        hidden = sight.observed is not None and allowed is not None and sight.observed <= allowed
        said = f"{sight.said}, but more for a while" if hidden else sight.said
        return f"{said}; odds of {odds:,.0f} : 1 against it"

    def _may_yet_be_safe(self, stage: Stage) -> bool:
        """Whether what shows that a step is safe is worth more than what speaks against the branch: in shadow, where
        nothing is used, but for the cost of going on.
        """
        return not stage.live and self.spec.kind != COSTLY

    def _sight(self, stage: Stage) -> Sight:
        """What to show: of the part that is furthest from the next step."""
        sights = [part.sight(stage) for part in self._parts]
        if faults := [sight for sight in sights if sight.fault]:
            return faults[0]
        evidence = [part.log_promote(stage) for part in self._parts]
        return min(zip(evidence, sights, strict=True), key=lambda one: 0.0 if one[0] is None else one[0])[1]

    def _missing(self, stage: Stage) -> tuple[int | None, str]:
        """About how many calls the slowest part still needs, and what it counts; None if that cannot be told, or never
        will be enough.
        """
        waiting = [
            (part.missing(stage), part.noun(stage))
            for part in self._parts
            if (evidence := part.log_promote(stage)) is not None and evidence < LOG_PROMOTE
        ]
        if any(calls is None for calls, _ in waiting):
            return None, "calls"
        calls, noun = max(waiting, key=lambda one: one[0] or 0.0, default=(None, "calls"))
        return (None if calls is None else rounded(calls)), noun

    def to_state(self) -> dict[str, Any]:
        return {"parts": [part.to_state() for part in self._parts]}

    def restore(self, state: Mapping[str, Any]) -> None:
        for part, stored in zip(self._parts, state["parts"], strict=True):
            part.restore(stored)


def _missing_text(more: int | None, noun: str, n: int) -> str:
    if more is not None:
        return f"about {more:,} more {noun} at this rate"
    return "at this rate the step is never shown to be safe" if n else "nothing is known yet"
