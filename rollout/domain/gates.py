"""What a gate is: its declaration (``GateSpec``), its result (``Finding``), and the port gates plug into (``Gate``)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from math import isfinite
from typing import Any, Final, Protocol, TypeGuard

from rollout.domain.durations import seconds
from rollout.domain.evidence import UnitBlock
from rollout.domain.ramp import DEFAULT_HARM
from rollout.domain.stored import known_to

MOST_TOLERANCE: Final = 0.95  # of a step: beyond it nothing is left to be shown
KINDS: Final = ("errors", "latency", "mismatches", "cost", "sla", "fallbacks")
MODES: Final = ("sequential", "threshold")


@dataclass(frozen=True, slots=True, kw_only=True)
class GateSpec:
    """A gate as declared. ``at_most`` and ``worse_by`` are in the kind's unit: shares of calls; for latency seconds
    and a relative excess; for cost nano-dollars per call and a relative excess. None: no such limit. ``window_s`` to
    ``consecutive`` are of the mode ``threshold``. ``beyond_noise``: mismatches are judged against those of control with
    itself."""

    kind: str
    mode: str = "sequential"
    worse_by: float | None = None
    at_most: float | None = None
    q: float | None = None
    window_s: float = 60.0
    minimum: int = 50
    fewest: int = 3
    consecutive: int = 1
    beyond_noise: bool = False
    fault: str = ""

    @property
    def sequential(self) -> bool:
        return self.mode == "sequential"

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
        return found or list(self._sequential_problems())

    def _sequential_problems(self) -> Iterator[str]:
        """What a sequential gate cannot test."""
        if not self.sequential:
            return
        instead = 'or use mode="threshold"'
        if self.kind in ("errors", "mismatches", "sla", "fallbacks") and self.at_most is not None:
            if self.at_most == 0:
                yield f"at_most is 0, which no number of calls can show; give a limit above 0, {instead}"
            elif self.at_most > 0.5:
                yield f"at_most is {self.at_most}; a sequential gate tests limits up to 0.5: lower it, {instead}"
        if self.kind == "errors" and self.worse_by is not None and self.worse_by >= 1:
            yield f"worse_by is {self.worse_by}; it is a difference of shares, below 1"
        if self.kind == "latency" and self.at_most is not None and self.q is not None and self.q < 0.5:
            yield f"q is {self.q} with at_most_s; a sequential gate tests q from 0.5 on: raise it, {instead}"
        if self.kind == "cost" and self.at_most == 0:
            yield f"usd_per_call is 0, which no number of calls can show; give a limit above 0, {instead}"

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
            **({"beyond_noise": True} if self.beyond_noise else {}),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> GateSpec:
        """A gate that was stored; of one of a later version counts what is known here."""
        return cls(**known_to(cls, data))


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
    ``"nano$"``); None: not known. ``bound``: whether an error bound is stated (a threshold gate states none). Of
    sequential gates, natural logarithms, None elsewhere: ``log_e``, what it adds to the account for a rollback, against
    ``log_limit``, the boundary of the account; ``log_promote``, its evidence for the next step, against
    ``log_promote_limit``. ``more_calls``: about how many calls are missing to the next step at this rate;
    ``counted``: what is missing, for a gate may count callers.
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
    log_e: float | None = None
    log_limit: float | None = None
    log_promote: float | None = None
    log_promote_limit: float | None = None
    more_calls: int | None = None
    counted: str = "calls"

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
            **{name: plain(value) for name in _LOGS if (value := getattr(self, name)) is not None},
            **({} if self.more_calls is None else {"more_calls": self.more_calls}),
            **({} if self.counted == "calls" else {"counted": self.counted}),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Finding:
        def number(value: float | str | None) -> float | None:
            return float(value) if value is not None else None

        numbers = {name: number(data.get(name)) for name in ("observed", "limit", "baseline", *_LOGS)}
        return cls(**{**known_to(cls, data), **numbers, "grade": Grade(data["grade"])})


_LOGS: Final = ("log_e", "log_limit", "log_promote", "log_promote_limit")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Where a unit stands while its evidence is folded and judged.

    ``share``: of calls that are live; ``earlier``: the highest share that was live before in this account, of callers
    that count once (they did so in an earlier stage), else 0;
    ``target``: the share of the next step, None at the last stage; ``harm``: the harm budget; ``steps``: how many live
    stages the ramp has; ``units``: how many units the rollout has; ``keyed``: whether evidence counts keys.
    """

    unit: str
    share: float
    target: float | None
    earlier: float = 0.0
    harm: float = DEFAULT_HARM
    steps: int = 1
    units: int = 1
    keyed: bool = False

    @property
    def live(self) -> bool:
        return self.share > 0

    @property
    def drawn(self) -> float:
        """The share of arm B in the calls that count of both arms."""
        return 1.0 if self.earlier >= 1 else (self.share - self.earlier) / (1 - self.earlier)

    @property
    def tolerance(self) -> float | None:
        """By how much the candidate may be worse at the next step: harm budget over target, at most 0.25 in shadow
        and below 1; None at the last stage.
        """
        return None if self.target is None else min(self.harm / self.target, MOST_TOLERANCE if self.live else 0.25)


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """When, and where, a threshold gate judges: its stage's share, whether it is live, the time (epoch seconds)."""

    unit: str
    share: float
    live: bool
    now: float


GateState = dict[str, Any]  # JSON-ready, of bounded size


class Gate(Protocol):
    """The port of a gate that judges by itself. ``fold`` is called once for each closed block, in the order of time;
    ``judge`` as often as one likes. The state is a JSON-ready dict, stored between ticks, so that a restarted
    controller goes on where it stopped."""

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
