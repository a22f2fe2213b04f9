"""``check --explain``: what a controller would decide now, and how each gate comes to its part of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rollout.domain.bound import Bound, bound_of
from rollout.domain.gates import Finding, GateSpec
from rollout.domain.judgement import Case
from rollout.domain.lifecycle import at_share, share_of
from rollout.domain.state import Mode
from rollout.domain.verdict import Action
from rollout.ports import Backend
from rollout.usecases.checking import checked
from rollout.usecases.standpoint import Standpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class GateExplained:
    """A gate as declared, and what it finds. ``weight``: its share of the account, in (0, 1]; None: it is not in it,
    because it judges by a threshold."""

    spec: GateSpec
    finding: Finding
    weight: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitExplained:
    """What would be decided of a unit, and why. ``at``, ``next``: ``"25%"``, ``"shadow"``; ``next`` is ``""`` at the
    last stage. ``besides``: findings of no declared gate, as the one on the draw of calls. ``rolled_back_at``: as of
    ``Checked``, and ``why``."""

    unit: str
    at: str
    next: str
    mode: Mode
    action: Action
    reasons: Sequence[str]
    gates: Sequence[GateExplained]
    besides: Sequence[Finding]
    rolled_back_at: float | None
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """A rollout's judgement of now. ``bound``: what its gates promise together."""

    rollout: str
    version: int
    at: float
    units: Sequence[UnitExplained]
    bound: Bound


async def explain(backend: Backend, rollout: str, branch: str | None = None) -> Explained:
    """Judge now, as ``check`` does, and tell how; change nothing."""
    at = await Standpoint.of(backend, rollout)
    return Explained(
        rollout=rollout,
        version=at.policy.version,
        at=at.now,
        units=tuple([await _explained(backend, at, unit) for unit in at.units(branch)]),
        bound=bound_of(at.policy),
    )


async def _explained(backend: Backend, at: Standpoint, unit: str) -> UnitExplained:
    seen = await checked(backend, at, unit)
    found = {finding.gate: finding for finding in seen.findings}
    case = at.case(unit)
    return UnitExplained(
        unit=unit,
        at=at_share(share_of(case.members)),
        next=_next(case),
        mode=seen.mode,
        action=seen.verdict.action,
        reasons=seen.verdict.reasons,
        gates=tuple(_gates(at.policy.gates, found)),
        besides=tuple(found.values()),
        rolled_back_at=seen.rolled_back_at,
        why=seen.why,
    )


def _next(case: Case) -> str:
    target = case.stage.target
    return "" if target is None else at_share(target)


def _gates(specs: Sequence[GateSpec], found: dict[str, Finding]) -> list[GateExplained]:
    """Each declared gate with its finding, which is taken out of ``found``."""
    counted = sum(spec.sequential for spec in specs)
    return [
        GateExplained(spec=spec, finding=found.pop(spec.name), weight=1 / counted if spec.sequential else None)
        for spec in specs
        if spec.name in found
    ]
