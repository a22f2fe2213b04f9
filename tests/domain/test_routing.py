"""Which branches run for a call: stage, flag and bucket, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.domain.bucketing import BUCKETS, bucket
from rollout.domain.flags import CEILINGS, Ceiling, ceiling
from rollout.domain.routing import Assignment, UnitPlan, assign, plan_units
from rollout.domain.state import BranchPolicy, BranchState, Mode, Policy
from rollout.ports import FlagAnswer
from rollout.testing import sample_policy

NO_ORDER: Mapping[str, Sequence[str]] = {}


def plan(name: str = "orders", limit: int = 0, **changes: object) -> UnitPlan:
    made = UnitPlan(
        name=name,
        branches=(name,),
        salt=f"profile/{name}",
        limit=limit,
        earlier=0,
        entry=1,
        shadow=True,
        testers=True,
    )
    return replace(made, **changes)  # type: ignore[arg-type]  # fields by name


def decide(ceiling: Ceiling, at: int, *, limit: int, **changes: Any) -> Assignment:
    return assign([plan(limit=limit, **changes)], NO_ORDER, [ceiling], [at])


def policy_of(*branches: str | BranchPolicy, **changes: Any) -> Policy:
    return sample_policy(branches=branches or ("orders",), **changes)


def state(branch: str = "orders", **changes: object) -> BranchState:
    return BranchState(rollout="profile", branch=branch, entered_at=0.0).moved(**changes)


# One branch


@pytest.mark.parametrize(
    ("flag", "below", "above"),
    [
        ("off", ("", ""), ("", "")),
        ("shadow", ("", "shadow"), ("", "shadow")),
        ("auto", ("B", "live"), ("A", "shadow")),
        ("on", ("", "live"), ("", "live")),
    ],
)
def test_the_flag_says_the_most_that_a_call_may_do(
    flag: Ceiling, below: tuple[str, str], above: tuple[str, str]
) -> None:
    """``below`` and ``above`` the share: the arm, and what the branch does. Only ``auto`` is in an arm."""
    for at, (arm, does) in ((2_499, below), (2_500, above)):
        found = decide(flag, at, limit=2_500)
        assert found.arms == ("A" if arm == "A" and flag == "auto" else arm,)
        assert found.live == (("orders",) if does == "live" else ())
        assert found.shadow == (("orders",) if does == "shadow" else ())
        assert found.runs == (does != "")


def test_in_shadow_there_are_no_arms() -> None:
    found = decide("auto", 0, limit=0)
    assert (found.arms, found.live, found.shadow) == (("",), (), ("orders",))


def test_a_named_tester_is_live_before_anybody_else_is() -> None:
    assert decide("on", 9_999, limit=0).live == ("orders",)


def test_a_tester_of_a_branch_that_was_rolled_back_gets_control() -> None:
    found = decide("on", 0, limit=0, testers=False)
    assert (found.live, found.shadow) == ((), ("orders",))


def test_what_must_not_run_in_shadow_does_not() -> None:
    assert not decide("auto", 9_999, limit=2_500, shadow=False).runs


def test_at_a_share_of_everything_everybody_is_live_and_at_none_nobody() -> None:
    assert all(decide("auto", at, limit=BUCKETS).live for at in (0, 9_999))
    assert not any(decide("auto", at, limit=0).live for at in (0, 9_999))


# Flags of a rollout and of a branch


@pytest.mark.parametrize(("of_rollout", "of_branch"), list(product(CEILINGS, CEILINGS)))
def test_a_branch_s_flag_is_capped_by_that_of_its_rollout(of_rollout: Ceiling, of_branch: Ceiling) -> None:
    lesser = min(of_rollout, of_branch, key=CEILINGS.index)
    assert ceiling(FlagAnswer(of_rollout), FlagAnswer(of_branch)) == lesser


def test_a_branch_s_flag_that_nobody_knows_inherits() -> None:
    assert ceiling(FlagAnswer("on"), FlagAnswer("off", found=False)) == "on"


# Order


def test_a_branch_is_live_only_where_all_it_comes_after_are() -> None:
    plans = [plan("a", 5_000), plan("b", 5_000)]
    after = {"b": ("a",)}
    found = assign(plans, after, ["auto", "auto"], [7_000, 100])
    assert (found.live, found.shadow) == ((), ("a", "b"))
    assert found.arms == ("A", "B")  # arms are assignments: what really ran does not move a call
    assert assign(plans, after, ["auto", "auto"], [100, 100]).live == ("a", "b")


def test_what_comes_after_a_branch_that_does_not_run_does_not_run_either() -> None:
    plans = [plan("a", shadow=False), plan("b"), plan("c")]
    found = assign(plans, {"b": ("a",), "c": ("b",)}, ["auto"] * 3, [0] * 3)
    assert not found.runs


def test_a_whole_chain_falls_back_to_shadow_with_its_first_link() -> None:
    plans = [plan("c", BUCKETS), plan("b", BUCKETS), plan("a", 0)]
    found = assign(plans, {"b": ("a",), "c": ("b",)}, ["auto"] * 3, [0] * 3)
    assert (found.live, set(found.shadow)) == ((), {"a", "b", "c"})


@given(
    limits=st.lists(st.integers(0, BUCKETS), min_size=4, max_size=4),
    buckets=st.lists(st.integers(0, BUCKETS - 1), min_size=4, max_size=4),
    flags=st.lists(st.sampled_from(CEILINGS), min_size=4, max_size=4),
    shadows=st.lists(st.booleans(), min_size=4, max_size=4),
    links=st.sets(st.tuples(st.integers(0, 3), st.integers(0, 3)).filter(lambda link: link[0] < link[1])),
)
def test_whatever_is_decided_every_branch_that_runs_has_what_it_comes_after(
    limits: list[int],
    buckets: list[int],
    flags: list[Ceiling],
    shadows: list[bool],
    links: set[tuple[int, int]],
) -> None:
    names = "abcd"
    plans = [plan(name, limit, shadow=shadow) for name, limit, shadow in zip(names, limits, shadows, strict=True)]
    after = {names[of]: [names[to] for later, to in ((b, a) for a, b in links) if later == of] for of in range(4)}
    found = assign(plans, after, flags, buckets)
    running = {*found.live, *found.shadow}
    assert not set(found.live) & set(found.shadow)
    assert all(set(after[name]) <= set(found.live) for name in found.live)
    assert all(set(after[name]) <= running for name in found.shadow)
    assert all(
        (arm != "") == (flag == "auto" and one.limit > 0)
        for arm, flag, one in zip(found.arms, flags, plans, strict=True)
    )
    assert not any(flags["abcd".index(name)] == "off" for name in running)


# Plans


def test_a_plan_says_where_a_branch_stands() -> None:
    moved = state(stage=3, share=0.25, entry=4)
    (found,) = plan_units(policy_of(), {"orders": moved})
    assert (found.limit, found.entry, found.shadow, found.testers) == (2_500, 4, True, True)


@pytest.mark.parametrize(("sticky", "keyed", "earlier"), [(True, True, 500), (False, True, 0), (True, False, 0)])
def test_who_was_live_before_is_known_where_callers_keep_their_bucket(sticky: bool, keyed: bool, earlier: int) -> None:
    """Whatever the ramp says by now: what counts is the share that was live."""
    policy = replace(policy_of(), sticky=sticky, keyed=keyed)
    (found,) = plan_units(policy, {"orders": state(stage=3, share=0.25, earlier=0.05)})
    assert (found.limit, found.earlier) == (2_500, earlier)


def test_who_was_live_with_one_branch_of_a_group_is_known_to_the_group() -> None:
    group = [BranchPolicy(name=name, unit="a+b", salt="profile") for name in "ab"]
    states = {"a": state("a", share=0.25), "b": state("b", share=0.25, earlier=0.05)}
    (found,) = plan_units(replace(policy_of(*group), sticky=True, keyed=True), states)
    assert found.earlier == 500


@pytest.mark.parametrize(("at", "scored"), [(0, False), (499, False), (500, True), (2_499, True), (2_500, True)])
def test_who_was_live_before_is_not_scored_again(at: int, scored: bool) -> None:
    one = plan(limit=2_500, earlier=500)
    assert one.scores(at) == scored
    assert assign([one], NO_ORDER, ["auto"], [at], single=True).single == ((0,) if scored else ())


@pytest.mark.parametrize("flag", ["off", "shadow", "on"])
def test_whose_flag_does_not_follow_the_ramp_is_evidence_of_nothing(flag: Ceiling) -> None:
    found = assign([plan("a", limit=2_500), plan("b", limit=2_500)], NO_ORDER, ["auto", flag], [0, 0], single=True)
    assert (found.arms, found.apart, found.single) == (("B", ""), frozenset("b"), (0,))


def test_in_shadow_nobody_is_scored_by_an_arm() -> None:
    assert assign([plan(limit=0)], NO_ORDER, ["auto"], [0], single=True).single == ()


def test_a_branch_that_was_rolled_back_has_no_testers_and_goes_on_in_shadow() -> None:
    (found,) = plan_units(policy_of(), {"orders": state(mode=Mode.rolled_back)})
    assert (found.limit, found.shadow, found.testers) == (0, True, False)


def test_a_branch_without_a_state_does_not_run() -> None:
    found = plan_units(policy_of("orders", "tickets"), {"orders": state()})
    assert [plan.name for plan in found] == ["orders"]


def test_a_group_moves_as_one_and_one_writer_keeps_all_of_it_out_of_shadow() -> None:
    group = [
        BranchPolicy(name=name, unit="read+write", salt="profile", effects=effects)
        for name, effects in (("read", "safe"), ("write", "write"))
    ]
    states = {name: state(name, stage=2, share=0.05) for name in ("read", "write")}
    (found,) = plan_units(policy_of(*group), states)
    assert (found.branches, found.salt, found.limit, found.shadow) == (("read", "write"), "profile", 500, False)
    for at, live in ((499, ("read", "write")), (500, ())):
        assert assign([found], NO_ORDER, ["auto"], [at]).live == live


# Keys


@given(key=st.text(), shares=st.lists(st.floats(0, 1), min_size=2, max_size=8))
def test_a_key_that_is_live_stays_live_while_the_share_rises(key: str, shares: list[float]) -> None:
    number = bucket("profile/orders", key)
    was_live = False
    for share in sorted(shares):
        (one,) = plan_units(policy_of(), {"orders": state(stage=1, share=share)})
        live = bool(assign([one], NO_ORDER, ["auto"], [number]).live)
        assert live or not was_live
        was_live = live


def test_a_share_of_the_keys_is_live_and_branches_are_drawn_independently() -> None:
    keys = [f"user-{number}" for number in range(20_000)]
    orders = {key for key in keys if bucket("profile/orders", key) < 2_500}
    tickets = {key for key in keys if bucket("profile/tickets", key) < 2_500}
    assert len(orders) / 20_000 == pytest.approx(0.25, abs=0.015)
    assert len(orders & tickets) / len(orders) == pytest.approx(0.25, abs=0.03)
