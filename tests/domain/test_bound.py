"""The promise is made where every gate keeps it, and only there."""

from __future__ import annotations

import pytest

from rollout import gates
from rollout.domain.bound import bound_of
from rollout.domain.gates import GateSpec
from rollout.testing import sample_policy
from tests.support import thresholds

EVERY = (
    gates.errors(),
    gates.latency(),
    gates.mismatches(),
    gates.cost(usd_per_call="0.01"),
    gates.sla(),
    gates.fallbacks(),
)


def test_gates_that_are_all_sequential_promise_how_often_a_healthy_branch_is_rolled_back() -> None:
    bound = bound_of(sample_policy(gates=EVERY))
    assert bound.alpha == 0.01
    assert bound.without == ()
    assert bound.sentence == (
        "If this branch is no worse than control in every interval (comparative gates) and within its limits (absolute "
        "gates), the gates roll back any branch of this policy version with probability at most 1%, however often they "
        "look. Outages and drift that hit both arms alike are covered by the comparative gates only. Assumes calls "
        "assigned one by one."
    )


@pytest.mark.parametrize(
    ("sticky", "keyed", "assumed"),
    [
        (True, True, "Assumes users counted once."),
        (True, False, "Assumes calls assigned one by one."),
        (False, True, "Assumes calls assigned one by one."),
    ],
)
def test_the_promise_names_the_assumption_that_applies(sticky: bool, keyed: bool, assumed: str) -> None:
    bound = bound_of(sample_policy(gates=EVERY, sticky=sticky, keyed=keyed))
    assert bound.sentence.endswith(assumed)
    assert bound.sentence.count("Assumes") == 1


@pytest.mark.parametrize("spec", [thresholds.errors(), thresholds.latency(), thresholds.mismatches(), thresholds.sla()])
def test_one_threshold_gate_takes_the_promise_away_and_is_named(spec: GateSpec) -> None:
    others = [gate for gate in EVERY if gate.kind != spec.kind]
    bound = bound_of(sample_policy(gates=(*others, spec)))
    assert bound.alpha is None
    assert bound.without == (spec.name,)
    assert bound.sentence == f"No error bound: {spec.name} judges by a threshold."


def test_each_threshold_gate_is_named() -> None:
    bound = bound_of(sample_policy(gates=(thresholds.errors(), gates.sla(), thresholds.latency(q=0.99))))
    assert bound.sentence == "No error bound: errors, latency p99 judge by thresholds."


def test_without_a_gate_nothing_is_promised() -> None:
    bound = bound_of(sample_policy(gates=()))
    assert (bound.alpha, bound.without) == (None, ())
    assert "nothing is ever rolled back" in bound.sentence
