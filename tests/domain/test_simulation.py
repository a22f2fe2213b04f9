"""Ramps in virtual time: the draws are right, what is counted agrees with itself, and the product's judgement does with
it what it does with real calls."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from math import comb, sqrt
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollout import gates
from rollout.domain.evidence import Figures
from rollout.domain.histogram import Histogram
from rollout.domain.ramp import Ramp
from rollout.domain.simulation.crowd import Crowd
from rollout.domain.simulation.draws import Average, Chance, Draws, Spread, binomial
from rollout.domain.simulation.replay import End, Ended, Scenario, replay
from rollout.domain.simulation.summary import summary
from rollout.domain.simulation.truth import Drift, Outage, Truth, excess_of, per_second
from rollout.domain.simulation.world import World
from rollout.domain.state import Policy
from rollout.testing import sample_policy

EVERY_GATE = (
    gates.errors(),
    gates.latency(),
    gates.mismatches(at_most=0.01),
    gates.cost(usd_per_call="0.01"),
    gates.sla(),
    gates.fallbacks(at_most=0.1),
)


def policy(ramp: str = "shadow 5% 50% 100%", *, soak: str = "10m", harm: float = 0.02, **changes: Any) -> Policy:
    return sample_policy(ramp=Ramp.parse(ramp, soak=soak, harm=harm), **{"gates": (gates.errors(),), **changes})


def chance(seed: int) -> Chance:
    return Chance(Random(seed))


# Draws


@given(st.integers(0, 10**12), st.floats(0, 1), st.integers(0, 10**6))
def test_a_count_lies_between_none_and_all(n: int, p: float, seed: int) -> None:
    assert 0 <= binomial(Random(seed), n, p) <= n


@pytest.mark.parametrize(("n", "p"), [(7, 0.3), (40, 0.75), (300, 0.2)])
def test_a_count_is_binomial(n: int, p: float) -> None:
    """Every count as often as it should be, within four standard deviations; (300, 0.2) is halved first."""
    dice, times = Random(1), 20_000
    seen = Counter(binomial(dice, n, p) for _ in range(times))
    for k in range(n + 1):
        expected = times * comb(n, k) * p**k * (1 - p) ** (n - k)
        if expected > 20:
            assert abs(seen[k] - expected) < 4 * sqrt(expected), k


@pytest.mark.parametrize(("n", "p"), [(10**6, 0.001), (10**6, 0.4), (10**9, 0.999), (5_000, 0.5)])
def test_a_count_of_many_has_the_mean_and_the_spread_of_a_binomial(n: int, p: float) -> None:
    dice, times = Random(2), 400
    counts = [binomial(dice, n, p) for _ in range(times)]
    mean, deviation = n * p, sqrt(n * p * (1 - p))
    assert abs(sum(counts) / times - mean) < 4 * deviation / sqrt(times)
    spread = sqrt(sum((count - mean) ** 2 for count in counts) / times)
    assert spread == pytest.approx(deviation, rel=0.15)


@pytest.mark.parametrize("n", [0, 3, 4_999, 5_001, 10**7])
@pytest.mark.parametrize("draws", [chance(3), Average()], ids=["dice", "average"])
def test_a_histogram_holds_every_value_where_it_belongs(draws: Draws, n: int) -> None:
    found = draws.histogram("times", n, Spread.lognormal(0.1, 0.6))
    assert found.total == n
    if n > 1_000:
        assert found.quantile(0.5) == pytest.approx(0.1, rel=0.08)
        assert found.quantile(0.95) == pytest.approx(0.1 * 2.7183 ** (1.6449 * 0.6), rel=0.1)


@given(st.lists(st.tuples(st.integers(0, 1_000), st.floats(0, 1)), max_size=50))
def test_on_average_no_call_is_lost(drawn: list[tuple[int, float]]) -> None:
    average, owed, counted = Average(), 0.0, 0
    for n, p in drawn:
        count = average.count("bad", n, p)
        assert 0 <= count <= n
        owed, counted = owed + n * p, counted + count
    assert owed - 1 < counted < owed + 1


def test_on_average_few_values_at_a_time_fill_the_distribution() -> None:
    average, found, spread = Average(), Histogram(), Spread.lognormal(0.1, 0.6)
    for _ in range(2_000):
        found.merge(average.histogram("times", 5, spread))
    for share in (0.05, 0.5, 0.9, 0.99):
        assert found.quantile(share) == pytest.approx(average.histogram("all", 10**7, spread).quantile(share), rel=0.05)


# The truth


def test_a_drift_moves_evenly_and_stays() -> None:
    drift = Drift.parse("0.5%..3% over 2h")
    assert [drift.at(t) for t in (-1, 0, 3_600, 7_200, 9_999)] == pytest.approx([0.005, 0.005, 0.0175, 0.03, 0.03])
    assert Drift.parse("3%..1%").span_s == 86_400


def test_an_outage_hits_both_sides_while_it_lasts() -> None:
    truth = Truth(errors=0.1, worse_errors=0.2, outages=(Outage.parse("50%@10m for 5m"),))
    assert truth.rates(599) == pytest.approx((0.1, 0.2))
    assert truth.rates(600) == pytest.approx((0.55, 0.6))
    assert truth.rates(899.9) == pytest.approx((0.55, 0.6))
    assert truth.rates(900) == pytest.approx((0.1, 0.2))
    assert (truth.next_change(0), truth.next_change(600), truth.next_change(900)) == (600, 900, float("inf"))
    assert (truth.last_change(0), truth.last_change(600), truth.last_change(2_000)) == (0, 600, 900)


def test_with_a_drift_the_candidate_keeps_its_distance() -> None:
    truth = Truth(drift=Drift(0.01, 0.03, 100.0), worse_errors=0.02)
    assert truth.rates(0) == pytest.approx((0.01, 0.02))
    assert truth.rates(100) == pytest.approx((0.03, 0.04))


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (Drift.parse, "3%"),
        (Drift.parse, "1%..x"),
        (Drift.parse, "1%..200%"),
        (Drift.parse, "1%..2% over 0s"),
        (Drift.parse, "1%..2% over night"),
        (Outage.parse, "30%"),
        (Outage.parse, "30%@10m"),
        (Outage.parse, "30% for 5m"),
        (Outage.parse, "30%@10m for 0s"),
        (Outage.parse, "300%@10m for 5m"),
    ],
)
def test_what_cannot_be_read_is_named_with_the_remedy(read: Any, text: str) -> None:
    with pytest.raises(ValueError, match=r"write|between"):
        read(text)


def test_traffic_is_read_as_people_write_it() -> None:
    assert per_second("100/s") == 100
    assert per_second("5/h") == pytest.approx(5 / 3_600)
    assert per_second(" 1.5k / m ") == 25
    for text in ("100", "5/y", "-1/s", "0/s", "/s", "nan/s", "1e3/s"):
        with pytest.raises(ValueError, match="write calls and a time"):
            per_second(text)


@pytest.mark.parametrize(
    ("text", "excess"),
    [("20% slower", 0.2), ("20%", 0.2), ("7.5 %  Slower", 0.075), ("10% faster", -0.1), ("same", 0.0), ("300%", 3.0)],
)
def test_a_change_is_read_as_people_write_it(text: str, excess: float) -> None:
    assert excess_of(text, "slower", "faster") == pytest.approx(excess)


@pytest.mark.parametrize("text", ["20% dearer", "slower", "", "-5%", "100% faster", "20", "nan%"])
def test_a_change_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="write"):
        excess_of(text, "slower", "faster")


def test_a_truth_tells_what_it_cannot_be() -> None:
    wrong = Truth(errors=2, worse_errors=float("nan"), latency_s=0, slower=-1, nano=-5, users=0)
    assert {problem.split()[0] for problem in wrong.problems()} == {
        "errors", "worse_errors", "latency_s", "slower", "nano", "users",
    }  # fmt: skip
    assert not list(Truth().problems())


# What is counted


rates = st.sampled_from([0.0, 0.001, 0.2, 1.0])
TRUTHS = st.builds(
    Truth,
    errors=rates,
    worse_errors=st.none() | rates,
    slower=st.sampled_from([-0.5, 0.0, 2.0]),
    mismatches=rates,
    noise=rates,
    sla_missed=rates,
    control_nano=st.sampled_from([0.0, 2e6]),
    nano=st.sampled_from([0.0, 5e6]),
    users=st.none() | st.integers(1, 3_000),
)


@settings(max_examples=60)
@given(
    truth=TRUTHS,
    keyed=st.booleans(),
    join=st.sampled_from(["overlay", "replace"]),
    sample=st.sampled_from([0.0, 0.3, 1.0]),
    share=st.sampled_from([(0.0, 0.0), (0.05, 0.0), (0.5, 0.05), (1.0, 0.5)]),
    draws=st.builds(Average) | st.builds(chance, st.integers(0, 1_000)),
)
def test_every_count_agrees_with_the_others(
    truth: Truth, keyed: bool, join: str, sample: float, share: tuple[float, float], draws: Draws
) -> None:
    shop = policy(gates=EVERY_GATE, keyed=keyed, join=join, sample=sample, noise=0.1)
    world = World(shop, truth, 10.0, draws)
    world.enter(*share)
    for second in (0, 60, 90):
        block, calls = world.block(second, second + 30.0)
        assert block.a["calls"] + block.b["calls"] == calls == 300
        assert share[0] > 0 or not block.b["calls"]
        assert share[0] < 1 or not block.a["calls"]
        for side in (block.a, block.scored_a):
            one_arm(side)
        for side in (block.b, block.scored_b):
            one_arm(side)
            assert side["fallbacks"] <= side["bad"]
            assert side["sla_missed"] <= side["ran"] == side["costed"] == side["calls"]
        for pairs in (block.pairs, block.scored_p):
            both_sides(pairs)
        assert block.pairs["pairs"] <= calls
        assert keyed or not (block.scored_a or block.scored_b or block.scored_p)
        assert block.scored_a["calls"] <= block.a["calls"] or truth.users is not None
        assert block.scored_b["calls"] <= block.b["calls"] or truth.users is not None


def one_arm(side: Figures) -> None:
    assert 0 <= side["bad"] <= side["calls"]
    if "latency" in side.histograms:
        assert side.histogram("latency").total == side["calls"] - side["bad"]


def both_sides(pairs: Figures) -> None:
    assert pairs["control_bad"] - pairs["only_control_bad"] == pairs["candidate_bad"] - pairs["only_candidate_bad"] >= 0
    answered = pairs["pairs"] - pairs["control_bad"] - pairs["only_candidate_bad"]
    assert pairs["matched"] + pairs["mismatched"] == pairs["compared"] == answered >= 0
    assert 0 <= pairs["noise_mismatched"] <= pairs["noise"] <= pairs["pairs"]
    assert pairs["slower:0.1"] <= answered
    for side in ("control", "candidate"):
        if side in pairs.histograms:
            assert pairs.histogram(side).total == answered


def test_in_an_overlay_control_fails_beneath_the_unit_and_nobody_falls_back_for_that() -> None:
    world = World(policy(sample=0.5), Truth(errors=0.2), 100.0, chance(4))
    world.enter(0.5, 0.0)
    block, _ = world.block(0.0, 100.0)
    for side in (block.a, block.b):
        assert side["bad"] / side["calls"] == pytest.approx(0.2, abs=0.03)
    assert (block.b["fallbacks"], block.pairs["candidate_bad"]) == (0, 0)
    assert block.pairs["control_bad"] / block.pairs["pairs"] == pytest.approx(0.2, abs=0.03)


def test_an_overlay_fails_as_often_as_it_is_said_to() -> None:
    world = World(policy(sample=0.5), Truth(errors=0.1, worse_errors=0.3), 100.0, chance(4))
    world.enter(0.5, 0.0)
    block, _ = world.block(0.0, 200.0)
    assert block.b["bad"] / block.b["calls"] == pytest.approx(0.3, abs=0.02)
    assert block.b["fallbacks"] / block.b["calls"] == pytest.approx(0.2 / 0.9, abs=0.02)


def test_where_branches_replace_control_each_side_fails_by_itself_and_few_live_calls_are_pairs() -> None:
    world = World(policy(join="replace", sample=1.0, reverse=0.1), Truth(errors=0.2), 100.0, chance(4))
    world.enter(0.5, 0.0)
    block, _ = world.block(0.0, 200.0)
    assert block.b["bad"] == block.b["fallbacks"]
    assert block.b["bad"] / block.b["calls"] == pytest.approx(0.2, abs=0.03)
    assert block.pairs["pairs"] / 20_000 == pytest.approx(0.5 + 0.05, abs=0.02)


def test_a_mean_cost_is_what_was_said() -> None:
    world = World(policy(gates=EVERY_GATE), Truth(control_nano=2e6, nano=2.6e6), 100.0, chance(5))
    world.enter(0.5, 0.0)
    block, _ = world.block(0.0, 400.0)
    assert block.a["control_cost_nano"] / block.a["control_costed"] == pytest.approx(2e6, rel=0.03)
    assert block.b["cost_nano"] / block.b["costed"] == pytest.approx(2.6e6, rel=0.03)


# Users


@pytest.mark.parametrize("draws", [chance(6), Average()], ids=["dice", "average"])
def test_every_user_counts_once_a_stage_and_who_was_live_before_in_neither_arm(draws: Draws) -> None:
    crowd = Crowd(10_000, (0.0, 0.05, 0.5, 1.0), draws)
    for share, earlier in ((0.05, 0.0), (0.5, 0.05)):
        crowd.enter(share, earlier)
        seen = [batch for _ in range(40) for batch in crowd.first_calls(20_000)]
        a, b = sum(batch.a for batch in seen), sum(batch.b for batch in seen)
        assert a == pytest.approx(10_000 * (1 - share), rel=0.05)
        assert b == pytest.approx(10_000 * (share - earlier), rel=0.15)
        crowd.first_calls(10**9)
        assert sum(batch.a + batch.b for batch in crowd.first_calls(10**9)) == 0


def test_users_differ_in_errors_and_all_of_them_meet_as_many_as_was_said() -> None:
    world = World(policy(keyed=True), Truth(errors=0.02, users=50_000), 100.0, chance(7))
    world.enter(0.5, 0.0)
    block, _ = world.block(0.0, 30_000.0)
    assert block.a["bad"] / block.a["calls"] == pytest.approx(0.02, rel=0.05)
    assert block.scored_a["bad"] / block.scored_a["calls"] == pytest.approx(0.02, rel=0.2)
    crowd = Crowd(1_000, (0.0, 1.0), chance(7))
    crowd.enter(1.0, 0.0)
    times = [batch.times for batch in crowd.calls(1_000)]
    assert max(times) > 10 * min(times)


# Ramps


def healthy(seed: int, **changes: Any) -> Ended:
    return replay(Scenario.of(policy(**changes), "orders", Truth(errors=0.001), 20.0), chance(seed))


def test_the_same_seed_gives_the_same_ramp_and_another_one_another() -> None:
    assert healthy(1, keyed=True, soak="1m") == healthy(1, keyed=True, soak="1m")
    assert healthy(1, keyed=True, soak="1m") != healthy(2, keyed=True, soak="1m")


def test_a_healthy_branch_completes_its_ramp_and_soaks_at_every_stage() -> None:
    ended = healthy(1, keyed=True)
    assert (ended.end, ended.cause, ended.share) == (End.completed, "", 1.0)
    assert [stay.share for stay in ended.stays] == [0.0, 0.05, 0.5, 1.0]
    assert all(stay.seconds >= 600 for stay in ended.stays)
    assert ended.arrived_s == pytest.approx(ended.seconds - ended.stays[-1].seconds)
    assert ended.calls == sum(stay.calls for stay in ended.stays)


@pytest.mark.parametrize(
    ("cause", "truth"),
    [
        ("errors", Truth(errors=0.01, worse_errors=0.2)),
        ("latency p95", Truth(errors=0.001, slower=1.0)),
        ("mismatches", Truth(errors=0.001, mismatches=0.2)),
        ("sla", Truth(errors=0.001, sla_missed=0.5)),
    ],
)
def test_a_bad_branch_is_rolled_back_for_what_is_bad_in_it(cause: str, truth: Truth) -> None:
    """From the entry of a live stage on: from shadow it would never be promoted."""
    shop = policy(gates=EVERY_GATE)
    ended = replay(Scenario.of(shop, "orders", truth, 20.0, start=1), chance(1))
    assert (ended.end, ended.cause, ended.share) == (End.rolled_back, cause, 0.05)
    assert ended.arrived_s is None


def test_a_dear_branch_is_stopped_in_shadow() -> None:
    truth = Truth(errors=0.001, nano=3e7)
    ended = replay(Scenario.of(policy(gates=EVERY_GATE), "orders", truth, 20.0), chance(1))
    assert (ended.end, ended.cause, ended.share) == (End.rolled_back, "cost", 0.0)


def test_what_is_not_ready_in_shadow_stays_there_undecided() -> None:
    shop = policy()
    shop = replace(shop, ramp=replace(shop.ramp, deadline_s=7_200.0))
    ended = replay(Scenario.of(shop, "orders", Truth(errors=0.01, worse_errors=0.5), 20.0), chance(1))
    assert (ended.end, ended.cause, ended.share) == (End.undecided, "errors", 0.0)
    assert 7_200 <= ended.seconds < 7_500


def test_an_outage_of_both_sides_rolls_nothing_back() -> None:
    truth = Truth(errors=0.001, outages=(Outage(0.3, 900.0, 300.0), Outage(0.3, 1_500.0, 20.0)))
    scenario = Scenario.of(policy(keyed=True), "orders", truth, 20.0, start=1)
    assert {replay(scenario, chance(seed)).end for seed in range(5)} == {End.completed}


def test_too_few_users_leave_a_step_undecided() -> None:
    scenario = Scenario.of(policy(keyed=True), "orders", Truth(errors=0.001, users=200), 20.0)
    ended = replay(scenario, chance(1))
    assert (ended.end, ended.share) == (End.undecided, 0.05)


def test_nobody_is_asked_and_no_window_freezes() -> None:
    shop = policy(keyed=True)
    shop = replace(shop, ramp=replace(shop.ramp, approve=(0.05, 1.0), freeze=("Mon 00:00 - Sun 23:59",), auto=False))
    assert replay(Scenario.of(shop, "orders", Truth(errors=0.001), 20.0), chance(1)).end is End.completed


def test_threshold_gates_are_replayed_too() -> None:
    shop = policy(gates=(gates.errors(mode="threshold"),))
    assert replay(Scenario.of(shop, "orders", Truth(errors=0.001), 5.0), chance(1)).end is End.completed
    ended = replay(Scenario.of(shop, "orders", Truth(errors=0.001, worse_errors=0.2), 5.0, start=1), chance(1))
    assert (ended.end, ended.cause) == (End.rolled_back, "errors")


def test_on_average_a_ramp_takes_as_long_as_most_do() -> None:
    """The plan is the replay without dice: within a quarter of the median of ramps with dice."""
    scenario = Scenario.of(policy(keyed=True, soak="1m"), "orders", Truth(errors=0.01), 5.0)
    times = sorted(replay(scenario, chance(seed)).arrived_s or 1e9 for seed in range(15))
    assert replay(scenario, Average()).arrived_s == pytest.approx(times[7], rel=0.25)


# Many ramps


def ended(end: End, share: float = 1.0, cause: str = "", arrived_s: float | None = None, calls: int = 100) -> Ended:
    return Ended(end=end, cause=cause, share=share, seconds=9.0 * calls, calls=calls, arrived_s=arrived_s, stays=())


def test_a_summary_counts_every_end_with_its_causes_and_medians() -> None:
    found = summary(
        [
            ended(End.completed, arrived_s=50.0, calls=10),
            ended(End.completed, arrived_s=70.0, calls=40),
            ended(End.completed, arrived_s=60.0, calls=20),
            ended(End.rolled_back, 0.05, "errors"),
            ended(End.rolled_back, 0.05, "errors"),
            ended(End.rolled_back, 1.0, "cost", arrived_s=80.0),
        ]
    )
    tallies = {tally.end: tally for tally in found.tallies}
    completed, rolled_back, undecided = (tallies[end] for end in End)
    assert (completed.runs, completed.share, completed.calls, completed.seconds) == (3, 0.5, 20, 180.0)
    assert list(rolled_back.causes.items()) == [("errors at 5%", 2), ("cost at 100%", 1)]
    assert (undecided.runs, undecided.calls, undecided.seconds, undecided.causes) == (0, None, None, {})
    assert (found.runs, found.arrived, found.arrived_s) == (6, 4, 65.0)
