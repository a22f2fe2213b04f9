"""What one card of the page is about: a unit, which moves as one, and what a person can do to it now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from rollout.domain.durations import percent
from rollout.domain.gates import Finding
from rollout.domain.lifecycle import Event, by_hand
from rollout.domain.standing import Standing
from rollout.domain.state import Policy
from rollout.usecases.look import Shown
from rollout_page.drawing import Drawing, Weighed


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One stage of a ramp on the way. ``reached``: whether the share is at least that."""

    text: str
    reached: bool
    here: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """A button. ``text``: what it does, with the share it leads to."""

    event: str
    text: str
    tone: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """A gate's finding with its gauge; ``row``: its evidence, None of a gate that weighs none."""

    finding: Finding
    gauge: Markup
    tone: str
    row: Any | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """A card. ``first`` speaks for all ``branches`` where it comes to stage and mode. ``ahead``: what comes next, and
    when; ``charts``: the last minutes."""

    number: int
    name: str
    branches: Sequence[Standing]
    ramp: Sequence[Step]
    ahead: str
    gates: Sequence[Gate]
    evidence: Weighed | None
    charts: Sequence[Any]
    acts: Sequence[Act]

    @property
    def first(self) -> Standing:
        return self.branches[0]


def units_of(shown: Shown, drawing: Drawing) -> list[Unit]:
    """The cards of a rollout, in the order declared."""
    standings: dict[str, list[Standing]] = {}
    for standing in shown.status.branches:
        standings.setdefault(standing.unit, []).append(standing)
    evidence = {one.unit: one for one in drawing.weighed(shown.evidence, shown.status.branches)}
    ends = [point.at for points in shown.curves.values() for point in points]
    charts = dict(drawing.trends(shown.curves, min(ends, default=0.0), max(ends, default=1.0)))
    return [
        Unit(
            number=number,
            name=name,
            branches=branches,
            ramp=_ramp(shown.policy, branches[0]),
            ahead=drawing.ahead(branches[0], shown.at, shown.status.evidence_per_s),
            gates=_gates(branches[0].findings, evidence.get(name), drawing),
            evidence=evidence.get(name),
            charts=charts.get(name, ()),
            acts=_acts(shown.policy, branches[0]),
        )
        for number, (name, branches) in enumerate(standings.items())
    ]


def _ramp(policy: Policy, standing: Standing) -> list[Step]:
    live = standing.share > 0 or standing.shadow
    return [
        Step(
            text=percent(share) if share else "shadow",
            reached=live and share <= standing.share,
            here=live and index == standing.stage,
        )
        for index, share in enumerate(policy.ramp.stages)
    ]


def _gates(findings: Sequence[Finding], evidence: Weighed | None, drawing: Drawing) -> list[Gate]:
    rows = {row.gate: row for row in evidence.rows} if evidence is not None else {}
    return [
        Gate(finding=finding, gauge=gauge, tone=tone, row=rows.get(finding.gate))
        for finding, gauge, tone in drawing.gauged(findings)
    ]


def _acts(policy: Policy, standing: Standing) -> list[Act]:
    """What the lifecycle allows a person in this mode. A step that must be approved first is not offered before."""
    possible = by_hand(standing.mode)
    approves = Event.approve in possible and _waits_for_approval(policy, standing)
    offered = [
        (Event.approve, f"Approve {standing.next}", "good", approves),
        (Event.promote, f"Promote to {standing.next}", "good", bool(standing.next) and not approves),
        (Event.resume, _RESUME.get(standing.mode.value, "Resume"), "wait", True),
        (Event.pause, "Pause", "wait", True),
        (Event.rollback, "Roll back", "bad", True),
    ]
    return [
        Act(event=event.value, text=text, tone=tone) for event, text, tone, on in offered if on and event in possible
    ]


_RESUME = {"rolled_back": "Begin again in shadow"}


def _waits_for_approval(policy: Policy, standing: Standing) -> bool:
    approved = "" if standing.approved is None else percent(standing.approved)
    return standing.next in map(percent, policy.ramp.approve) and approved != standing.next
