"""States, policies and decisions: plain values that survive being stored."""

import json
from dataclasses import replace
from typing import Any

import pytest

from rollout.domain.gates import Finding, GateSpec, Grade
from rollout.domain.ramp import Ramp
from rollout.domain.state import BranchPolicy, BranchState, Decision, Mode, Policy, Trigger, chain_hash

BRANCHES = (
    BranchPolicy(name="orders", unit="orders+tickets", salt="profile", part="$.orders", sla_s=0.3),
    BranchPolicy(name="tickets", unit="orders+tickets", salt="profile", hard_timeout_s=1.0),
    BranchPolicy(name="summary", unit="summary", salt="s", required=False, after=("tickets",), flag="summary-flag"),
    BranchPolicy(name="mail", unit="mail", salt="m", after=("summary", "orders"), effects="write"),
)
POLICY = Policy(
    rollout="profile",
    version=3,
    join="replace",
    branches=BRANCHES,
    ramp=Ramp.parse("shadow 5% 100%", bake="1h"),
    gates=(GateSpec(kind="errors", worse_by=0.01), GateSpec(kind="latency", q=0.95, at_most=0.5)),
    routes=("/profile/{id}",),
    origins={"ramp": "code"},
    registered_at=5.0,
)
FINDING = Finding(gate="cost", unit="orders", grade=Grade.breach, observed=2_000_000.5, limit=1_000_000, n=80, at=7.0)


def decision(**changes: Any) -> Decision:
    made = Decision(rollout="profile", action="rollback", actor="controller", trigger=Trigger.controller)
    return replace(made, **changes)


def test_a_state_begins_in_shadow_and_runs() -> None:
    state = BranchState(rollout="profile", branch="orders")
    assert (state.live, state.runs, state.at_text()) == (False, True, "shadow")


def test_a_state_that_moved_is_the_next_version() -> None:
    state = BranchState(rollout="profile", branch="orders").moved(stage=1, share=0.25)
    assert (state.version, state.live, state.at_text()) == (2, True, "25%")


def test_a_state_without_share_and_shadow_is_off() -> None:
    state = BranchState(rollout="profile", branch="orders", shadow=False)
    assert (state.runs, state.at_text()) == (False, "off")


def test_modes_are_shown_with_spaces() -> None:
    assert [mode.text for mode in Mode] == ["active", "paused", "rolled back", "completed"]


def test_branches_that_move_together_are_one_unit() -> None:
    assert {name: [branch.name for branch in unit] for name, unit in POLICY.units().items()} == {
        "orders+tickets": ["orders", "tickets"],
        "summary": ["summary"],
        "mail": ["mail"],
    }


def test_a_branch_is_found_by_its_name() -> None:
    assert POLICY.branch("tickets") is BRANCHES[1]
    assert POLICY.branch("ghost") is None


@pytest.mark.parametrize(
    ("names", "reached"),
    [({"orders"}, {"mail"}), ({"tickets"}, {"summary", "mail"}), ({"tickets", "summary"}, {"mail"}), ({"mail"}, set())],
)
def test_dependants_are_all_that_come_after_over_any_number_of_steps(names: set[str], reached: set[str]) -> None:
    assert POLICY.dependants(names) == reached


def test_a_policy_survives_json() -> None:
    assert Policy.from_dict("profile", 3, json.loads(json.dumps(POLICY.to_dict())), 5.0) == POLICY


def test_a_policy_of_a_later_version_is_read_as_far_as_it_is_known() -> None:
    later = POLICY.to_dict()
    later["of_later"] = 1
    for part in ("branches", "gates"):
        later[part] = [{**one, "of_later": 1} for one in later[part]]
    assert Policy.from_dict("profile", 3, later, 5.0) == POLICY


def test_a_sealed_decision_names_the_one_before_and_its_own_content() -> None:
    first = decision(findings=(FINDING,), moves=({"branch": "orders", "from": "25%", "to": "shadow"},))
    sealed = first.sealed(number=2, at=1.23456789, previous="abc")
    assert (sealed.number, sealed.at, sealed.previous) == (2, 1.234568, "abc")
    assert sealed.hash == chain_hash(sealed.content())


@pytest.mark.parametrize(
    "change",
    [{"reason": "x"}, {"actor": "x"}, {"policy_version": 9}, {"findings": (FINDING,)}, {"moves": ({"a": "b"},)}],
)
def test_every_field_of_a_decision_is_in_its_hash(change: dict[str, Any]) -> None:
    plain = decision().sealed(number=1, at=1.0, previous="")
    assert decision(**change).sealed(number=1, at=1.0, previous="").hash != plain.hash


@pytest.mark.parametrize("value", [3, 3.0, float("inf"), float("nan"), None])
def test_a_finding_that_was_stored_and_read_has_the_same_hash(value: float | None) -> None:
    finding = replace(FINDING, observed=value, limit=value, baseline=value)
    read = Finding.from_dict({"of_later": 1} | json.loads(json.dumps(finding.to_dict(), allow_nan=False)))
    before, after = decision(findings=(finding,)), decision(findings=(read,))
    assert chain_hash(before.content()) == chain_hash(after.content())


def test_a_reason_with_half_a_character_can_be_decided() -> None:
    assert decision(reason="\ud800").sealed(number=1, at=1.0, previous="").hash
