"""What a gate is: its declaration (``GateSpec``), its result (``Finding``), and the port gates plug into (``Gate``)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from math import isfinite
from typing import Any, Final, Protocol, TypeGuard

from rollout.domain.durations import seconds
from rollout.domain.evidence import UnitBlock

KINDS: Final = ("errors", "latency", "mismatches", "cost", "sla", "fallbacks")
MODES: Final = ("threshold",)


@dataclass(frozen=True, slots=True, kw_only=True)
class GateSpec:
    """A gate as declared. ``at_most`` and ``worse_by`` are in the kind's unit: shares of calls; for latency seconds
    and a relative excess; for cost nano-dollars per call and a relative excess. None: no such limit."""

    kind: str
    mode: str = "threshold"
    worse_by: float | None = None
    at_most: float | None = None
    q: float | None = None
    window_s: float = 60.0
    minimum: int = 50
    fewest: int = 3
    consecutive: int = 1
    fault: str = ""

    @classmethod
    def of(
        cls,
        kind: str,
        mode: str,
        window: str | float,
        minimum: int,
        fewest: int,
        consecutive: int,
        *,
        worse_by: float | None = None,
        at_most: float | None = None,
        q: float | None = None,
    ) -> GateSpec:
        """A gate whose window is a duration text; a wrong one is kept as ``fault``, reported with everything else."""
        fault = ""
        try:
            window_s = seconds(window)
        except ValueError as error:
            window_s, fault = 60.0, str(error)
        return cls(
            kind=kind,
            mode=mode,
            worse_by=worse_by,
            at_most=at_most,
            q=q,
            window_s=window_s,
            minimum=minimum,
            fewest=fewest,
            consecutive=consecutive,
            fault=fault,
        )

    @property
    def name(self) -> str:
        """``"errors"``, ``"latency p95"`` …"""
        if self.q is None:
            return self.kind
        return f"{self.kind} p{self.q * 100:g}" if _is_number(self.q) else f"{self.kind} p?"

    def problems(self) -> list[str]:
        """Every mistake, each with its remedy."""
        found = [self.fault] if self.fault else []
        if self.kind not in KINDS:
            found.append(f'there is no gate "{self.kind}"; use one of {", ".join(KINDS)}')
        if self.mode not in MODES:
            found.append(f'mode is "{self.mode}"; use {" or ".join(MODES)}')
        if self.worse_by is None and self.at_most is None:
            found.append("it has no limit; give at_most= or worse_by=")
        for name in ("worse_by", "at_most"):
            value = getattr(self, name)
            if value is not None and not (_is_number(value) and 0 <= value < float("inf")):
                found.append(f"{name} is {value!r}; it must be 0 or more and finite")
        of_calls = self.kind in ("errors", "mismatches", "sla", "fallbacks")
        if of_calls and _is_number(self.at_most) and 1 < self.at_most < float("inf"):
            found.append(f"at_most is {self.at_most}; it is a share of calls, between 0 and 1")
        if self.q is not None and not (_is_number(self.q) and 0 < self.q < 1):
            found.append(f"q is {self.q!r}; a quantile lies between 0 and 1, as 0.95")
        counts = {name: getattr(self, name) for name in ("minimum", "fewest", "consecutive")}
        found += [
            f"{name} is {count!r}; it must be a whole number of at least 1"
            for name, count in counts.items()
            if not isinstance(count, int) or isinstance(count, bool) or count < 1
        ]
        if self.window_s <= 0:
            found.append("window is 0; it must be above 0 seconds")
        return found

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; absent limits are left out."""
        fields: dict[str, Any] = {"kind": self.kind, "mode": self.mode}
        for name in ("worse_by", "at_most", "q"):
            if getattr(self, name) is not None:
                fields[name] = getattr(self, name)
        return fields | {
            "window_s": self.window_s,
            "minimum": self.minimum,
            "fewest": self.fewest,
            "consecutive": self.consecutive,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> GateSpec:
        return cls(**data)


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


class Grade(StrEnum):
    """The result of a gate, from best to worst; the worst of several wins."""

    passed = "pass"
    doubt = "doubt"  # too little to say
    error = "error"  # the gate itself could not judge: hold, never a rollback
    breach = "breach"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one gate found: the observed number against the limit, over ``n`` calls, and why in one sentence.

    ``observed``/``limit``/``baseline`` are in the unit that ``unit_name`` tells (``"%"``: shares of calls, ``"s"``,
    ``"nano$"``); None: not known. ``bound``: whether an error bound is stated (a threshold gate states none).
    """

    gate: str
    unit: str
    grade: Grade
    observed: float | None = None
    limit: float | None = None
    baseline: float | None = None
    n: int = 0
    why: str = ""
    unit_name: str = ""
    at: float = 0.0
    bound: bool = False

    def to_dict(self) -> dict[str, Any]:
        def plain(value: float | None) -> float | str | None:
            """A float in any case: stored and read again it must have the same hash."""
            return None if value is None else float(value) if isfinite(value) else str(value)

        return {
            "gate": self.gate,
            "unit": self.unit,
            "grade": self.grade.value,
            "observed": plain(self.observed),
            "limit": plain(self.limit),
            "baseline": plain(self.baseline),
            "n": self.n,
            "why": self.why,
            "unit_name": self.unit_name,
            "at": round(self.at, 6),
            "bound": self.bound,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Finding:
        def number(value: float | str | None) -> float | None:
            return float(value) if value is not None else None

        numbers = {name: number(data[name]) for name in ("observed", "limit", "baseline")}
        return cls(**{**data, **numbers, "grade": Grade(data["grade"])})


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """Where a unit stands when a gate judges: its stage's share now, whether it is live, the time (epoch seconds)."""

    unit: str
    share: float
    live: bool
    now: float


GateState = dict[str, Any]  # JSON-ready, of bounded size


class Gate(Protocol):
    """The port that gates plug into. ``fold`` is called once for each closed block, in the order of time; ``judge`` as
    often as one likes. The state is a JSON-ready dict, stored between ticks, so that a restarted controller goes on
    where it stopped."""

    @property
    def spec(self) -> GateSpec: ...

    def start(self) -> GateState:
        """The state before the first block of a stage's entry."""
        ...

    def fold(self, state: GateState, block: UnitBlock) -> GateState:
        """The state after one more closed block."""
        ...

    def judge(self, state: GateState, moment: Moment) -> Finding:
        """What the gate finds now. Never raises: what it cannot judge is an ``error`` finding."""
        ...
