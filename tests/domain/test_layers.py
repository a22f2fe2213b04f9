"""A policy in layers: the code's, and the fields of a spec on top."""

import json
from decimal import Decimal
from typing import Any

import pytest

from rollout.domain.layers import layered, plain_fields
from rollout.domain.ramp import Ramp
from rollout.domain.state import BranchPolicy, Policy
from rollout.errors import UnknownName
from rollout.testing import sample_policy
from tests.support.thresholds import errors

SPEC = "spec rollout.toml"


def test_without_fields_it_is_what_the_code_declares() -> None:
    declared = sample_policy()
    policy = layered(declared, {}, {}, version=4, at=5.0)
    assert policy.to_dict() == declared.to_dict()
    assert (policy.version, policy.registered_at) == (4, 5.0)


def test_fields_lie_on_top_with_their_origin() -> None:
    ramp = Ramp.parse("shadow 10% 100%")
    fields = {"ramp": ramp, "gates": [errors(worse_by=0.5)], "store.ttl_s": 60.0}
    policy = layered(sample_policy(), fields, dict.fromkeys(fields, SPEC), version=2, at=0.0)
    assert (policy.ramp, policy.gates, policy.ttl_s) == (ramp, (errors(worse_by=0.5),), 60.0)
    assert policy.origins == {"ramp": SPEC, "gates": SPEC, "store.ttl_s": SPEC}


def test_values_of_the_domain_and_of_json_are_the_same() -> None:
    fields = {"ramp": Ramp(), "gates": (errors(),), "shadow.sample": 0.5}
    assert plain_fields(plain_fields(fields)) == plain_fields(fields)
    assert plain_fields(fields)["gates"] == [errors().to_dict()]


LIMITS: dict[str, Any] = {
    "budget.tokens": 4_000,
    "budget.usd": Decimal("0.05"),
    "shadow.usd_per_day": "5",
    "prices": {"small": ("0.15", "0.60", None), "big": ["2", "8", "0.5"]},
}


def test_limits_and_prices_lie_on_top_of_the_code() -> None:
    policy = layered(sample_policy(tokens=9, nano=9), LIMITS, dict.fromkeys(LIMITS, SPEC), version=2, at=0.0)
    assert (policy.tokens, policy.nano, policy.nano_per_day) == (4_000, 50_000_000, 5_000_000_000)
    assert policy.prices == {"small": ("0.15", "0.60", None), "big": ("2", "8", "0.5")}
    assert {name: policy.origins[name] for name in LIMITS} == dict.fromkeys(LIMITS, SPEC)


def test_limits_are_stored_as_json_without_losing_a_digit() -> None:
    stored = json.loads(json.dumps(plain_fields(LIMITS)))
    assert stored["budget.usd"] == "0.05"
    assert layered(sample_policy(), stored, dict.fromkeys(stored, SPEC), version=2, at=0.0) == layered(
        sample_policy(), LIMITS, dict.fromkeys(LIMITS, SPEC), version=2, at=0.0
    )


def test_none_is_a_value_that_takes_a_limit_of_the_code_away() -> None:
    declared = sample_policy(tokens=4_000, nano=50_000_000, nano_per_day=5)
    gone: dict[str, Any] = dict.fromkeys(("budget.tokens", "budget.usd", "shadow.usd_per_day"))
    policy = layered(declared, gone, dict.fromkeys(gone, SPEC), version=2, at=0.0)
    assert (policy.tokens, policy.nano, policy.nano_per_day) == (None, None, None)


@pytest.mark.parametrize("usd", ["-1", "NaN", "lots", Decimal("Infinity")])
def test_dollars_that_are_no_amount_are_refused(usd: Any) -> None:
    with pytest.raises(ValueError, match="is not an amount of dollars"):
        layered(sample_policy(), {"budget.usd": usd}, {"budget.usd": SPEC}, version=2, at=0.0)


@pytest.mark.parametrize("tokens", [0, -1, 1.5, True, "4000", float("nan")])
def test_tokens_that_are_no_limit_are_refused(tokens: Any) -> None:
    with pytest.raises(ValueError, match=r"budget\.tokens is .* at least 1"):
        layered(sample_policy(), {"budget.tokens": tokens}, {"budget.tokens": SPEC}, version=2, at=0.0)


@pytest.mark.parametrize("usd", ["-1", "NaN", "lots", "1000001"])
def test_a_price_that_is_none_is_refused_with_its_model(usd: str) -> None:
    with pytest.raises(ValueError, match="the price of small has input_usd="):
        layered(sample_policy(), {"prices": {"small": [usd, "1", None]}}, {"prices": SPEC}, version=2, at=0.0)


def test_limits_prices_and_reservations_survive_json() -> None:
    branch = BranchPolicy(name="a", unit="a", salt="a", reserve_tokens=5, reserve_nano=7, reserve_s=0.5)
    prices = {"small": ("0.15", "0.60", None)}
    policy = Policy(rollout="p", branches=(branch,), tokens=4_000, nano=5, nano_per_day=6, prices=prices)
    assert Policy.from_dict("p", 0, json.loads(json.dumps(policy.to_dict()))) == policy


def test_a_policy_that_was_stored_before_there_were_limits_can_still_be_read() -> None:
    data = sample_policy().to_dict()
    for name in ("tokens", "nano", "nano_per_day", "prices"):
        del data[name]
    for branch in data["branches"]:
        for name in ("reserve_tokens", "reserve_nano", "reserve_s", "soft_timeout_s", "escalate_below"):
            del branch[name]
    assert Policy.from_dict("profile", 0, data) == sample_policy()


def test_a_part_of_a_ramp_leaves_the_rest_of_it() -> None:
    policy = layered(sample_policy(), {"ramp": {"soak_s": 5.0}}, {"ramp": SPEC}, version=2, at=0.0)
    assert policy.ramp == Ramp(soak_s=5.0)


def test_the_settle_time_follows_the_budget_but_never_falls_below_a_hard_timeout() -> None:
    declared = sample_policy(latency_s=10.0, settle_s=10.1)  # its branch is cut at 10 s
    for budget, settle in ((20.0, 20.1), (1.0, 10.1)):
        fields = {"budget.latency_s": budget}
        policy = layered(declared, fields, dict.fromkeys(fields, SPEC), version=2, at=0.0)
        assert policy.settle_s == pytest.approx(settle)


def test_a_field_that_no_spec_may_set_is_refused_with_the_nearest() -> None:
    with pytest.raises(UnknownName, match=r'Did you mean "shadow\.sample"'):
        plain_fields({"shadow.samples": 1.0})
