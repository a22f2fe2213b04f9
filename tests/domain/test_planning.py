"""How long a ramp takes, what it would let through, and which ramp fits: held against the specification's figures and
against ramps with dice."""

from __future__ import annotations

from dataclasses import replace
from math import sqrt
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout import gates
from rollout.domain.planning import HARMS, fits, loosest, plan
from rollout.domain.ramp import Ramp
from rollout.domain.simulation.draws import Average, Chance
from rollout.domain.simulation.replay import End, Position, Scenario, beginning, replay, stay_at
from rollout.domain.simulation.truth import DAY_S, Truth
from rollout.domain.simulation.world import World
from rollout.testing import sample_policy

HOUR_S = 3_600.0
DEFAULT = "shadow 1% 5% 25% 50% 100%"


def scenario(
    ramp: str = "shadow 25% 50% 100%", *, traffic: float = 1.0, truth: Truth | None = None, **changes: Any
) -> Scenario:
    harm = changes.pop("harm", 0.0025)
    policy = sample_policy(ramp=Ramp.parse(ramp, soak="10m", harm=harm), **{"gates": (gates.errors(),), **changes})
    return Scenario.of(policy, "orders", truth or Truth(errors=0.001), traffic)


PLANNED = plan(scenario(), worst=False)

# Times


def test_a_busy_ramp_takes_its_soak_and_no_longer() -> None:
    found = plan(scenario(DEFAULT, traffic=100.0))
    assert [step.waits_for for step in found.steps] == [("soak",)] * 6
    assert found.seconds == pytest.approx(5 * 600)


def test_a_quiet_ramp_takes_half_a_year() -> None:
    found = plan(scenario(DEFAULT, traffic=5 / HOUR_S))
    assert found.seconds == pytest.approx(182 * DAY_S, rel=0.25)
    assert found.calls == pytest.approx((found.seconds or 0) * 5 / HOUR_S, rel=0.01)


@pytest.mark.parametrize(("harm", "days"), [(0.02, 6), (0.05, 2)])
def test_fewer_stages_and_a_larger_harm_budget_take_days(harm: float, days: int) -> None:
    found = plan(scenario(harm=harm, traffic=5 / HOUR_S))
    assert found.seconds == pytest.approx(days * DAY_S, rel=0.25)


@pytest.mark.parametrize(
    ("errors", "traffic", "hours"),
    [(0.001, 1.0, 12), (0.001, 5.0, 2.5), (0.001, 10.0, 80 / 60), (0.01, 1.0, 27), (0.01, 5.0, 5.5), (0.01, 10.0, 3)],
)
def test_the_times_of_three_gates_are_those_of_the_specification(errors: float, traffic: float, hours: float) -> None:
    three = (gates.errors(), gates.latency(), gates.mismatches())
    ended = replay(scenario(DEFAULT, traffic=traffic, truth=Truth(errors=errors), gates=three), Average())
    assert ended.arrived_s == pytest.approx(hours * HOUR_S, rel=0.25)


def test_a_plan_is_the_replay_without_dice() -> None:
    ended, found = replay(scenario(), Average()), plan(scenario())
    assert (found.seconds, found.calls) == (ended.arrived_s, sum(stay.calls for stay in ended.stays[:-1]))


def test_the_steps_are_those_of_the_ramp_and_the_last_one_bakes() -> None:
    found = plan(scenario())
    assert [(step.share, step.target) for step in found.steps] == [(0.0, 0.25), (0.25, 0.5), (0.5, 1.0), (1.0, None)]
    assert found.seconds == sum(step.seconds or 0 for step in found.steps[:-1])
    assert found.steps[-1].worst_errors is None


def test_a_plan_may_begin_at_any_stage_and_nobody_need_ask_what_it_lets_through() -> None:
    found = plan(replace(scenario(), start=2), worst=False)
    assert [(step.share, step.worst_errors) for step in found.steps] == [(0.5, None), (1.0, None)]


@given(calls=st.lists(st.floats(0, 1e6), min_size=2, max_size=2), soak_left_s=st.floats(0, 600))
def test_what_is_left_falls_with_the_calls_that_came_and_never_below_the_other_steps(
    calls: list[float], soak_left_s: float
) -> None:
    first, *others = PLANNED.steps[:-1]
    rest_s = sum(step.seconds or 0 for step in others)
    early, late = (PLANNED.after(count, soak_left_s) for count in sorted(calls))
    assert early is not None
    assert late is not None
    assert rest_s + soak_left_s <= late + 1e-6 <= early + 2e-6
    assert early <= rest_s + max(soak_left_s, first.seconds or 0) + 1e-6


def test_what_is_left_of_a_step_that_soaks_is_the_rest_of_the_soak() -> None:
    found = plan(scenario(DEFAULT, traffic=100.0), worst=False)
    assert found.after(0.0, 200.0) == pytest.approx(4 * 600 + 200)


def test_nothing_is_left_at_the_last_stage_and_for_ever_before_one_that_is_never_left() -> None:
    last = plan(replace(scenario(), start=3))
    assert [step.target for step in last.steps] == [None]
    assert last.after(0.0, 600.0) == 0
    stuck = plan(scenario(truth=Truth(errors=0.001, mismatches=0.01), gates=(gates.mismatches(),)))
    assert stuck.after(1e9, 0.0) is None


def test_the_stage_at_which_a_ramp_begins_is_never_left_out() -> None:
    begun = replace(scenario(DEFAULT, traffic=50 / HOUR_S), start=2)
    found = fits(begun, 4 * DAY_S)
    assert found
    assert all(0.05 in fit.ramp.stages for fit in found)
    most = loosest(begun)
    assert most.ramp.stages == (0.0, 0.05, 0.25, 0.5, 1.0)
    assert most.steps[0].share == 0.05


def test_a_ramp_that_is_stuck_ends_there_and_takes_for_ever() -> None:
    found = plan(scenario(truth=Truth(errors=0.001, mismatches=0.01), gates=(gates.errors(), gates.mismatches())))
    stuck = found.steps[-1]
    assert (found.seconds, found.calls) == (None, None)
    assert (stuck.end, stuck.waits_for, stuck.seconds, stuck.worst_errors) == (
        End.undecided, ("mismatches",), None, None,
    )  # fmt: skip


def test_few_users_are_soon_used_up() -> None:
    found = plan(scenario(keyed=True, truth=Truth(errors=0.001, users=500)))
    assert found.steps[-1].end is End.undecided
    assert len(found.steps) < 4


# What gets through


def test_each_step_lets_less_through_than_the_one_before() -> None:
    worst = [step.worst_errors or 0.0 for step in plan(scenario(DEFAULT)).steps[:-1]]
    assert worst == sorted(worst, reverse=True)
    assert all(rate > 0.001 for rate in worst)


def test_where_no_gate_looks_at_errors_any_get_through() -> None:
    found = plan(scenario("shadow 100%", gates=(gates.sla(),), traffic=10.0, join="replace"))
    assert found.steps[0].worst_errors == 1.0


def entries(of: Scenario) -> list[Position]:
    """Where a healthy ramp stands at the entry of each of its stages, on average."""
    world, at = World(of.policy, of.truth, of.traffic, Average()), beginning(of)
    found = [at]
    while (after := stay_at(of, world, found[-1])[1]) is not None:
        found.append(after)
    return found


def let_through(of: Scenario, at: Position, errors: float, planned_s: float, ramps: int) -> float:
    """The share of ramps with dice that take the step although the candidate fails so often from its entry on."""
    worse = replace(of, truth=replace(of.truth, worse_errors=errors), deadline_s=3 * planned_s)
    ends = [
        stay_at(worse, World(worse.policy, worse.truth, worse.traffic, Chance(Random(seed))), at)[0].end
        for seed in range(ramps)
    ]
    return ends.count(None) / ramps


def agrees(of: Scenario, ramps: int) -> None:
    """At 1/1.3 of the rate that is told most ramps take each step, at 1.3 times the rate most do not; but for what
    chance does to so many ramps (one standard deviation).
    """
    chance = 0.5 / sqrt(ramps)
    for step, at in zip(plan(of).steps[:-1], entries(of), strict=False):
        assert step.worst_errors is not None
        assert step.seconds is not None
        assert let_through(of, at, step.worst_errors / 1.3, step.seconds, ramps) > 0.5 - chance, step
        assert let_through(of, at, step.worst_errors * 1.3, step.seconds, ramps) < 0.5 + chance, step


def test_the_worst_that_gets_through_is_that_of_ramps_with_dice() -> None:
    agrees(scenario("shadow 50% 100%", traffic=10.0, truth=Truth(errors=0.01), harm=0.005), 15)


@pytest.mark.soak
@pytest.mark.parametrize(
    ("traffic", "errors", "keyed"),
    [
        (5 / HOUR_S, 0.001, False),
        (1.0, 0.001, True),
        (100.0, 0.001, False),
        (5 / HOUR_S, 0.01, True),
        (1.0, 0.01, False),
    ],
)
def test_the_worst_that_gets_through_is_that_of_many_ramps(traffic: float, errors: float, keyed: bool) -> None:
    agrees(scenario(DEFAULT, traffic=traffic, truth=Truth(errors=errors), keyed=keyed), 60)


# What fits


def test_what_fits_is_in_time_and_no_lesser_budget_is() -> None:
    quiet = scenario(DEFAULT, traffic=5 / HOUR_S, keyed=True)
    found = fits(quiet, 14 * DAY_S)
    assert "shadow 25% 50% 100%" in [fit.ramp.text() for fit in found]
    assert found == tuple(sorted(found, key=lambda fit: (fit.ramp.harm, -len(fit.ramp.stages))))
    for fit in found:
        assert fit.seconds <= 14 * DAY_S
        assert fit.worst_errors > 0.001
        less = [harm for harm in HARMS if harm < fit.ramp.harm]
        if less:
            tighter = replace(fit.ramp, harm=less[-1])
            slower = plan(replace(quiet, policy=replace(quiet.policy, ramp=tighter))).seconds
            assert slower is None or slower > 14 * DAY_S * 0.95  # which is looked at less closely


def test_nothing_fits_a_minute() -> None:
    assert fits(scenario(), 60.0) == ()
