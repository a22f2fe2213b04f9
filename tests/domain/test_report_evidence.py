"""The evidence that people see is the account's own: its curve, and what each decision saw of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import exp, log
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout import gates
from rollout.domain.gates import Finding, Grade
from rollout.domain.report_evidence import EvidencePoint, UnitEvidence, account_of, evidence
from rollout.domain.sequential.account import ALLOCATION
from rollout.domain.standing import stands
from rollout.domain.state import BranchState, Decision, Mode, Policy, Trigger
from rollout.testing import sample_policy
from tests.support import thresholds

POLICY = sample_policy(gates=(gates.errors(), gates.latency()), settle_s=2.0, version=3)
LIMIT, STEP = log(100), log(20)


def account(*rows: tuple[int, float, float, float, float, float]) -> dict[str, Any]:
    """A stored account: second, share, then against and for the step of each gate, in nats."""
    return {
        "curve": {
            "step": 1,
            "rows": [[second, share, *(round(100 * e) for e in logs)] for second, share, *logs in rows],
        }
    }


def finding(gate: str, log_e: float | None, log_promote: float | None = 0.0, unit: str = "orders") -> Finding:
    return Finding(
        gate=gate, unit=unit, grade=Grade.doubt, bound=True,
        log_e=log_e, log_limit=LIMIT, log_promote=log_promote, log_promote_limit=STEP,
    )  # fmt: skip


def decided(at: float, *findings: Finding, to: str = "5%", **changes: Any) -> Decision:
    defaults: dict[str, Any] = {"action": "promote", "trigger": Trigger.controller, "policy_version": 3}
    moves = ({"branch": "orders", "from": "1%", "to": to},)
    values = {"rollout": "profile", "actor": "p1", "moves": moves, **defaults, **changes}
    return Decision(at=at, findings=findings, **values)


def of_orders(
    stored: Mapping[str, Any] | None = None,
    now: Sequence[Finding] = (),
    decisions: Sequence[Decision] = (),
    policy: Policy = POLICY,
    mode: Mode = Mode.active,
    until: float = 1_000.0,
) -> UnitEvidence:
    states = {"orders": BranchState(rollout="profile", branch="orders", share=0.05, mode=mode)}
    standings = stands(policy, states, {"orders": tuple(now)}, (), 1_000.0)
    accounts = {} if stored is None else {"orders": stored}
    (found,) = evidence(policy, standings, accounts, decisions, until)
    return found


def test_each_gate_is_drawn_as_its_part_of_the_account() -> None:
    (point,) = of_orders(account((100, 0.05, 1.0, 0.5, -2.0, 1.5))).points
    assert point.against == pytest.approx((1.0 - log(2), -2.0 - log(2)))
    assert point.step == (0.5, 1.5)
    assert exp(point.account) == pytest.approx((exp(1.0) + exp(-2.0)) / 2)


@given(st.lists(st.floats(-20, 20), min_size=2, max_size=2))
def test_the_parts_of_the_account_add_up_to_it(logs: list[float]) -> None:
    (point,) = of_orders(account((100, 0.05, logs[0], 0.0, logs[1], 0.0))).points
    assert exp(point.account) == pytest.approx(sum(map(exp, point.against)))


def test_the_boundaries_are_those_of_the_rollout() -> None:
    three = sample_policy(branches=("orders", "tickets", "summary"), gates=(gates.errors(),))
    assert exp(of_orders(policy=three).limit) == pytest.approx(300)
    assert exp(of_orders().limit) == pytest.approx(100)
    assert exp(of_orders().step_limit) == pytest.approx(20)


def test_only_sequential_gates_have_evidence() -> None:
    mixed = sample_policy(gates=(thresholds.sla(), gates.errors()))
    assert of_orders(policy=mixed).gates == ["errors"]
    policy = sample_policy(gates=(thresholds.errors(),))
    standings = stands(policy, {"orders": BranchState(rollout="profile", branch="orders")}, {}, (), 0.0)
    assert evidence(policy, standings, {}, (), 0.0) == ()


def test_what_a_decision_saw_is_on_the_curve_before_the_stage_that_it_began() -> None:
    stored = account((100, 0.01, 0.0, 1.0, 0.0, 1.0), (200, 0.05, 0.0, 0.0, 0.0, 0.0))
    seen = decided(200.4, finding("errors", -1.0, 3.5), finding("latency p95", -2.0, 4.0))
    points = of_orders(stored, decisions=[seen]).points
    assert [(point.at, point.share) for point in points] == [(100.0, 0.01), (pytest.approx(197.4), 0.01), (200.0, 0.05)]
    assert (points[1].against, points[1].step) == ((-1.0, -2.0), (3.5, 4.0))


def test_the_findings_of_now_end_the_curve() -> None:
    now = (finding("errors", 1.0), finding("latency p95", 2.0))
    points = of_orders(account((100, 0.05, 0.0, 0.0, 0.0, 0.0)), now=now).points
    assert (points[-1].at, points[-1].against, points[-1].share) == (997.0, (1.0, 2.0), 0.05)


def test_where_no_call_came_any_more_the_curve_ends_with_the_last_that_happened() -> None:
    stored = account((100, 0.01, 0.0, 0.0, 0.0, 0.0), (200, 0.01, 1.0, 0.0, 2.0, 0.0))
    now = (finding("errors", 1.0), finding("latency p95", 2.0))
    assert of_orders(stored, now=now, until=210.0).points[-1].at == 207.0
    assert of_orders(stored, now=now, until=0.0).points[-1].at == 200.0
    moved = [decided(300.0), decided(250.0)]
    assert of_orders(stored, now=now, decisions=moved, until=210.0).points[-1].at == 300.0


def test_of_what_is_rolled_back_the_findings_are_those_of_then_and_not_of_now() -> None:
    now = (finding("errors", 9.0), finding("latency p95", 2.0))
    stored = account((100, 0.05, 0.0, 0.0, 0.0, 0.0))
    assert len(of_orders(stored, now=now, mode=Mode.rolled_back).points) == 1


@pytest.mark.parametrize(
    "other",
    [
        decided(150.0, finding("errors", 5.0), finding("latency p95", 5.0), policy_version=2),
        decided(90.0, finding("errors", 5.0), finding("latency p95", 5.0)),
        decided(150.0, finding("errors", 5.0), finding("latency p95", 5.0, unit="tickets")),
        decided(150.0, finding("errors", 5.0)),
        decided(150.0, finding("errors", None), finding("latency p95", 5.0)),
    ],
    ids=["another version", "before the account", "another unit", "not every gate", "a threshold gate then"],
)
def test_what_is_of_other_evidence_is_not_on_the_curve(other: Decision) -> None:
    stored = account((100, 0.05, 0.0, 0.0, 0.0, 0.0), (200, 0.05, 0.0, 0.0, 0.0, 0.0))
    assert [point.at for point in of_orders(stored, decisions=[other]).points] == [100.0, 200.0]


def test_changes_of_stage_are_marked_and_approvals_are_none() -> None:
    stored = account((100, 0.01, 0.0, 0.0, 0.0, 0.0))
    decisions = [
        decided(400.0, to="shadow, rolled back", action="rollback"),
        decided(300.0, to="1%, approved for 5%", action="approve"),
        decided(200.0),
        decided(50.0),
    ]
    changes = of_orders(stored, decisions=decisions).changes
    assert [(one.at, one.action, one.to) for one in changes] == [
        (200.0, "promote", "5%"),
        (400.0, "rollback", "shadow, rolled back"),
    ]


def test_without_a_stored_account_there_is_no_curve() -> None:
    found = of_orders(now=(finding("errors", 1.0), finding("latency p95", 1.0)), decisions=[decided(200.0)])
    assert (found.points, found.changes) == ((), ())


def test_points_are_in_the_order_of_time_whatever_was_decided_when() -> None:
    stored = account(*((second, 0.05, 0.0, 0.0, 0.0, 0.0) for second in range(100, 900, 100)))
    seen = [decided(at, finding("errors", 0.0), finding("latency p95", 0.0)) for at in (850.0, 300.5, 120.0)]
    points: Sequence[EvidencePoint] = of_orders(stored, decisions=seen).points
    assert len(points) == 11
    assert [point.at for point in points] == sorted(point.at for point in points)


def test_the_account_of_findings_is_the_sum_of_the_sequential_ones() -> None:
    found = account_of(
        [
            finding("errors", log(3.0)),
            finding("latency p95", log(2.0)),
            finding(ALLOCATION, log(1e9)),
            Finding(gate="sla", unit="orders", grade=Grade.passed),
        ]
    )
    assert found is not None
    assert exp(found[0]) == pytest.approx(5.0)
    assert found[1] == LIMIT


def test_thresholds_alone_have_no_account() -> None:
    assert account_of([Finding(gate="sla", unit="orders", grade=Grade.passed)]) is None
