"""A policy in layers: the code's, and the fields of a spec on top."""

import pytest

from rollout.domain.layers import layered, plain_fields
from rollout.domain.ramp import Ramp
from rollout.errors import UnknownName
from rollout.gates import errors
from rollout.testing import sample_policy

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
