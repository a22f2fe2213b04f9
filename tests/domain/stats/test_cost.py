"""Mean costs: of both arms, and of one arm against a limit."""

import json
from itertools import product
from math import exp, inf, isfinite, log, nan
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.domain.histogram import LAST, Histogram, bucket_of, lower_edge, middle
from rollout.domain.stats import CostLimit, MeanCost, MeanCostPromotion, OneSample, TwoSample
from tests.domain.stats.enumeration import ROUNDING, Law, binomial, chance, expectations, laws, mean, outcomes, returns

# The kinds of a call in the enumerated blocks: three costs in milli-dollars, and none.
COSTS = (1.0, 4.0, 30.0)
KINDS = tuple(map(bucket_of, COSTS))
CAP = 10.0


def costs_of(counts: tuple[int, ...]) -> tuple[dict[int, int], int]:
    return dict(zip(KINDS, counts, strict=False)), counts[-1]


def table_of(gate: Any, n: int, *more: float) -> dict[Any, list[float]]:
    kinds = list(outcomes(n, 4))
    return {(a, b): returns(gate, *costs_of(a), *costs_of(b), *more) for (a, _), (b, _) in product(kinds, kinds)}


def highest(table: dict[Any, list[float]], law_a: Law, law_b: Law, n: int) -> float:
    pairs = product(outcomes(n, 4), outcomes(n, 4))
    return max(
        expectations(table, {(a, b): chance(a, of_a, law_a) * chance(b, of_b, law_b) for (a, of_a), (b, of_b) in pairs})
    )


def learned(gate: Any) -> Any:
    gate.learn({KINDS[0]: 50, KINDS[1]: 30, KINDS[2]: 5}, 15)
    return gate


SCORES = [*(min(middle(bucket) / CAP, 1.0) for bucket in KINDS), 0.0]


@pytest.mark.parametrize("worse_by", [0.0, 0.25])
def test_no_bet_gains_where_the_candidate_is_not_dearer(worse_by: float) -> None:
    gate, n = learned(MeanCost(worse_by, CAP)), 2
    table, tried = table_of(gate, n), 0
    for law_a, law_b in product(laws(4, 4), laws(4, 4)):
        if mean(SCORES, law_b) <= (1 + worse_by) * mean(SCORES, law_a) + 1e-12 and law_b[2] <= law_a[2]:
            tried += 1
            assert highest(table, law_a, law_b, n) <= 1 + ROUNDING, (law_a, law_b)
    assert tried > 100
    assert highest(table, (0.5, 0.5, 0.0, 0.0), (0.0, 0.5, 0.5, 0.0), n) > 1.5


@pytest.mark.parametrize("d", [0.0, 0.05, 0.3])
def test_no_promotion_gains_where_the_candidate_is_too_dear(d: float) -> None:
    gate, n = learned(MeanCostPromotion(0.1, CAP)), 2
    table, tried = table_of(gate, n, d), 0
    for law_a, law_b in product(laws(4, 4), laws(4, 4)):
        if mean(SCORES, law_b) >= 1.1 * mean(SCORES, law_a) + d - 1e-12:
            tried += 1
            assert highest(table, law_a, law_b, n) <= 1 + ROUNDING, (law_a, law_b)
    assert tried > 100


def test_the_enumeration_finds_arms_that_are_swapped() -> None:
    gate, n = learned(MeanCost(0.0, CAP)), 2
    kinds = list(outcomes(n, 4))
    table = {(a, b): returns(gate, *costs_of(b), *costs_of(a)) for (a, _), (b, _) in product(kinds, kinds)}
    assert highest(table, (0.0, 0.5, 0.5, 0.0), (0.5, 0.5, 0.0, 0.0), n) > 1.5


@pytest.mark.parametrize("limit", [0.5, 1.0, 2.5, 7.0])
@pytest.mark.parametrize("n", [1, 4])
def test_no_bet_gains_where_the_limit_is_kept(limit: float, n: int) -> None:
    """Also where half of the calls are above it: what is limited is the mean."""
    rollback, promotion = CostLimit(limit), CostLimit(limit, "promote")
    orders = dict(outcomes(n, 4))
    kept = {counts: returns(rollback, *costs_of(counts)) for counts in orders}
    proven = {counts: returns(promotion, *costs_of(counts)) for counts in orders}
    clipped = [*(min(cost / limit / 20, 1.0) for cost in COSTS), 0.0]
    tried = [0, 0]
    for law in laws(4, 8):
        weights = {counts: chance(counts, ways, law) for counts, ways in orders.items()}
        if mean(clipped, law) <= 1 / 20 + 1e-12:
            tried[0] += 1
            assert max(expectations(kept, weights)) <= 1 + ROUNDING, law
        if mean(clipped, law) >= 1 / 20 - 1e-12:
            tried[1] += 1
            assert max(expectations(proven, weights)) <= 1 + ROUNDING, law
    assert min(tried) > 5


def test_a_bet_on_calls_above_the_limit_would_gain_though_the_limit_is_kept() -> None:
    """Why there is none: half of the calls at 1.5 limits, half at nothing."""
    table = {k: returns(OneSample("rollback"), 4, k, 0.05) for k in range(5)}
    assert expectations(table, {k: binomial(4, k, 0.5) for k in range(5)})[-1] > 10


def lognormal(dice: Random, n: int, times: float = 1.0) -> Histogram:
    found = Histogram()
    for _ in range(n):
        found.add(5.0 * times * dice.lognormvariate(0.0, 0.6))
    return found


MEAN = 5.0 * exp(0.18)


def test_a_dearer_branch_is_found_in_some_hundred_calls() -> None:
    needed = []
    for seed in range(11):
        dice, gate, calls = Random(seed), MeanCost(0.0), 0
        gate.fund(0.6)
        while gate.log_e < log(20) and calls < 2_000:
            gate.update(lognormal(dice, 10), 0, lognormal(dice, 10, 1.3), 0)
            calls += 20
        needed.append(calls)
    assert sorted(needed)[5] <= 500


def test_a_branch_within_the_tolerance_is_no_evidence() -> None:
    dice, strict, tolerant = Random(1), MeanCost(0.0), MeanCost(0.5)
    for _ in range(60):
        control, candidate = lognormal(dice, 40), lognormal(dice, 40, 1.4)
        strict.update(control, 0, candidate, 0)
        tolerant.update(control, 0, candidate, 0)
    assert strict.log_e > log(1000)
    assert tolerant.log_e < 0


def test_a_branch_that_costs_as_much_is_promoted_and_a_dearer_one_is_not() -> None:
    dice, good, dear = Random(2), MeanCostPromotion(0.1), MeanCostPromotion(0.1)
    for _ in range(100):
        control = lognormal(dice, 50)
        good.update(control, 0, lognormal(dice, 50), 0, 0.05)
        dear.update(control, 0, lognormal(dice, 50, 1.6), 0, 0.05)
    assert good.log_e > log(20)
    assert dear.log_e < 0


@pytest.mark.parametrize(("times", "rolled_back", "promoted"), [(1.3, True, False), (0.6, False, True)])
def test_one_arm_against_a_limit(times: float, rolled_back: bool, promoted: bool) -> None:
    dice, rollback, promotion = Random(3), CostLimit(MEAN), CostLimit(MEAN, "promote")
    for _ in range(40):
        costs = lognormal(dice, 10, times)
        rollback.update(costs, 0)
        promotion.update(costs, 0)
    assert (rollback.log_e >= log(100)) is rolled_back
    assert (promotion.log_e >= log(20)) is promoted


def test_calls_that_cost_nothing_count() -> None:
    dice, gate = Random(4), CostLimit(MEAN)
    for _ in range(40):
        gate.update(lognormal(dice, 10, 1.9), 10)
    assert gate.log_e < 0


@pytest.mark.parametrize("gate", [MeanCost(0.0), MeanCost(0.0, CAP)])
def test_nothing_is_bet_until_twenty_calls_of_control_are_known(gate: Any) -> None:
    start = gate.log_e
    assert gate.update({KINDS[0]: 10}, 9, {KINDS[2]: 50}, 0) == start
    gate.learn({}, 1)
    assert gate.update({KINDS[0]: 10}, 9, {KINDS[2]: 50}, 0) > start


@pytest.mark.parametrize(
    ("cap", "edge", "top"), [(None, KINDS[2], lower_edge(KINDS[2] + 1)), (CAP, bucket_of(CAP), CAP)]
)
def test_the_bets_of_one_block(cap: float | None, edge: int, top: float) -> None:
    """Half of a ``TwoSample`` on clipped costs, half of one on calls above the cap (a contract's, or p99.5)."""
    gate = learned(MeanCost(0.1, cap))
    dear = KINDS[2] + 6  # above the cap even if the candidate may be a tenth dearer
    found = returns(gate, {KINDS[0]: 5, dear: 1}, 2, {KINDS[1]: 3, dear: 2}, 1)[:-1]
    score = {bucket: min(middle(bucket) / top, 1.0) for bucket in (*KINDS, dear)}
    mean_gate, tail_gate = TwoSample("rollback", 1.1), TwoSample("rollback")
    mean_gate.learn(100, 50 * score[KINDS[0]] + 30 * score[KINDS[1]] + 5 * score[KINDS[2]])
    tail_gate.learn(100, 5 if edge < KINDS[2] else 0)
    of_a = [(score[KINDS[0]], 5), (score[dear], 1), (0.0, 2)]
    of_b = [(score[KINDS[1]], 3), (score[dear], 2), (0.0, 1)]
    assert found[:8] == pytest.approx(returns(mean_gate, of_a, of_b, by="update_scores")[:-1])
    assert found[8:] == pytest.approx(returns(tail_gate, 8, 1, 6, 2)[:-1])


def test_control_that_costs_nothing_is_no_measure() -> None:
    gate = MeanCost(0.0)
    gate.learn({KINDS[0]: 4}, 996)
    start = gate.log_e
    assert gate.update({}, 10, {KINDS[2]: 10}, 0) == start


def test_one_arm_alone_teaches_and_bets_nothing() -> None:
    gate = learned(MeanCost(0.0))
    start = gate.log_e
    assert gate.update({KINDS[0]: 10}, 2, {}, 0) == start
    assert gate.update({}, 0, {KINDS[2]: 10}, 2) == start


HISTOGRAMS = st.dictionaries(st.integers(0, LAST), st.integers(0, 10**6), max_size=5)
BLOCKS = st.lists(st.tuples(HISTOGRAMS, st.integers(0, 10**6), HISTOGRAMS, st.integers(0, 10**6)), max_size=4)


@given(BLOCKS, st.sampled_from([0.0, 0.1, 3.0]), st.none() | st.floats(1e-9, 1e9), st.floats(-1, 1))
def test_every_legal_count_gives_a_number_and_a_state_that_comes_back(
    blocks: list[tuple[dict[int, int], int, dict[int, int], int]], worse_by: float, cap: float | None, d: float
) -> None:
    rollback, promotion = MeanCost(worse_by, cap), MeanCostPromotion(worse_by, cap)
    limits = [CostLimit(cap or 1.0), CostLimit(cap or 1.0, "promote")]
    for one in blocks:
        assert isfinite(rollback.update(*one))
        assert isfinite(promotion.update(*one, d))
        assert all(isfinite(limit.update(*one[2:])) for limit in limits)
    for gate in (rollback, promotion, *limits):
        state = json.dumps(gate.to_state(), allow_nan=False)
        restored = type(gate).from_state(json.loads(state))
        assert json.dumps(restored.to_state()) == state
        assert restored.fresh().log_e == pytest.approx(log(0.4) if gate.side == "rollback" else 0.0, abs=1e-12)


@pytest.mark.parametrize("cap", [0.0, -1.0, nan, inf])
def test_caps_and_limits_that_cannot_be_are_refused(cap: float) -> None:
    with pytest.raises(ValueError, match="milli-dollars above 0"):
        MeanCost(0.0, cap)
    with pytest.raises(ValueError, match="milli-dollars a call, above 0"):
        CostLimit(cap)


def test_an_unknown_side_is_refused() -> None:
    with pytest.raises(ValueError, match='"up" is no side'):
        CostLimit(1.0, "up")  # type: ignore[arg-type]


@pytest.mark.parametrize("worse_by", [-0.1, nan, inf])
def test_tolerances_that_cannot_be_are_refused(worse_by: float) -> None:
    with pytest.raises(ValueError, match="is no tolerance"):
        MeanCostPromotion(worse_by)


def test_counts_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="costs: "):
        CostLimit(1.0).update({5: 3}, -1)
    with pytest.raises(ValueError, match="the candidate: "):
        MeanCost(0.0).update({5: 3}, 0, {5: -3}, 9)
    with pytest.raises(ValueError, match="control: "):
        MeanCost(0.0).learn({LAST + 1: 3}, 0)
    with pytest.raises(ValueError, match="no difference of rates"):
        MeanCostPromotion(0.0).update({}, 0, {}, 0, -1.5)
