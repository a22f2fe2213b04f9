"""Latency of both arms: ranks, exceedances, promotion at a quantile."""

import json
from itertools import product
from math import ceil, exp, inf, isfinite, log, nan, prod
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.domain.histogram import LAST, Histogram, bucket_of, lower_edge
from rollout.domain.stats import LatencyPromotion, LatencyRollback, RankBets, alternatives, block_log_e
from rollout.domain.stats.past import Past, shift_of
from tests.domain.stats.enumeration import ROUNDING, Law, chance, expectations, laws, mean, outcomes, returns

#: Control's past, and the kinds of a call in the enumerated blocks: three buckets, and failed.
PAST = {100: 30, 110: 40, 120: 20, 140: 6}
PAST_BAD = 4
KINDS = (100, 110, 130)


def block(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[dict[int, int], int, dict[int, int], int]:
    """An update from counts of each kind."""
    return dict(zip(KINDS, a, strict=False)), a[-1], dict(zip(KINDS, b, strict=False)), b[-1]


def table_of(gate: Any, n_a: int, n_b: int, *more: float) -> dict[Any, list[float]]:
    return {
        (a, b): returns(gate, *block(a, b), *more) for (a, _), (b, _) in product(outcomes(n_a, 4), outcomes(n_b, 4))
    }


def highest(table: dict[Any, list[float]], law_a: Law, law_b: Law, n_a: int, n_b: int) -> float:
    pairs = product(outcomes(n_a, 4), outcomes(n_b, 4))
    return max(
        expectations(table, {(a, b): chance(a, of_a, law_a) * chance(b, of_b, law_b) for (a, of_a), (b, of_b) in pairs})
    )


def learned(gate: Any) -> Any:
    gate.learn(PAST, PAST_BAD)
    return gate


def tail(law: Law, above: int) -> float:
    """How likely a call lies above a bucket, or failed."""
    return sum(p for kind, p in zip((*KINDS, LAST + 1), law, strict=True) if kind > above)


@pytest.mark.parametrize(("n_a", "n_b"), [(2, 2), (3, 1)])
@pytest.mark.parametrize("worse_by", [0.0, 0.2])
def test_no_bet_on_ranks_gains_where_the_mean_rank_is_no_higher(n_a: int, n_b: int, worse_by: float) -> None:
    gate = learned(RankBets(worse_by))
    control = gate.past.distribution()
    ranks_a = [*(control.rank(kind) for kind in KINDS), 1.0]
    ranks_b = [*(control.rank(kind - gate.shift) for kind in KINDS), 1.0]
    table, tried = table_of(gate, n_a, n_b), 0
    for law_a, law_b in product(laws(4, 4), laws(4, 4)):
        if mean(ranks_b, law_b) <= mean(ranks_a, law_a) + 1e-12:
            tried += 1
            assert highest(table, law_a, law_b, n_a, n_b) <= 1 + ROUNDING, (law_a, law_b)
    assert tried > 500


def test_no_bet_gains_where_the_candidate_is_nowhere_slower() -> None:
    """Ranks and exceedances alike: the candidate's tail is never the heavier one."""
    gate, n = learned(LatencyRollback(0.0)), 2
    table, tried = table_of(gate, n, n), 0
    for law_a, law_b in product(laws(4, 4), laws(4, 4)):
        if all(tail(law_b, kind) <= tail(law_a, kind) + 1e-12 for kind in (0, *KINDS)):
            tried += 1
            assert highest(table, law_a, law_b, n, n) <= 1 + ROUNDING, (law_a, law_b)
    assert tried > 100
    assert highest(table, (0.5, 0.5, 0.0, 0.0), (0.0, 0.0, 1.0, 0.0), n, n) > 1.5


@pytest.mark.parametrize("d", [0.0, 0.1, 0.5])
def test_no_promotion_gains_where_too_many_are_slower(d: float) -> None:
    gate, n = learned(LatencyPromotion(0.75, 0.1)), 2
    tau, table, tried = gate.tau, table_of(gate, n, n, d), 0
    for law_a, law_b in product(laws(4, 4), laws(4, 4)):
        if tail(law_b, tau + gate.shift) >= tail(law_a, tau) + d - 1e-12:
            tried += 1
            assert highest(table, law_a, law_b, n, n) <= 1 + ROUNDING, (law_a, law_b)
    assert tried > 100


def test_the_enumeration_finds_arms_that_are_swapped() -> None:
    gate, n = learned(LatencyRollback(0.0)), 2
    table = {(a, b): returns(gate, *block(b, a)) for (a, _), (b, _) in product(outcomes(n, 4), outcomes(n, 4))}
    assert highest(table, (0.0, 0.0, 1.0, 0.0), (0.5, 0.5, 0.0, 0.0), n, n) > 1.5


def latencies(dice: Random, n: int, times: float = 1.0, failing: float = 0.01) -> tuple[Histogram, int]:
    """Lognormal, σ = 0.6."""
    found, bad = Histogram(), 0
    for _ in range(n):
        if dice.random() < failing:
            bad += 1
        else:
            found.add(0.2 * times * dice.lognormvariate(0.0, 0.6))
    return found, bad


def test_a_slower_candidate_is_found_in_about_400_calls() -> None:
    """All capital at once, a fifth slower, half of the calls."""
    needed = []
    for seed in range(15):
        dice, gate, calls = Random(seed), LatencyRollback(0.0), 0
        gate.fund(0.6)
        while gate.log_e < log(20) and calls < 2_000:
            gate.update(*latencies(dice, 10, failing=0.0), *latencies(dice, 10, 1.2, failing=0.0))
            calls += 20
        needed.append(calls)
    assert 250 <= sorted(needed)[7] <= 600


def test_a_heavier_tail_is_found_though_most_calls_are_as_fast() -> None:
    dice, gate = Random(1), LatencyRollback(0.0)
    for _ in range(60):
        fast, _ = latencies(dice, 45, failing=0.0)
        slow, _ = latencies(dice, 5, 5.0, failing=0.0)
        fast.merge(slow)
        gate.update(*latencies(dice, 50), fast, 0)
    assert gate.log_e > log(1000)


def test_calls_that_fail_are_slow_ones() -> None:
    dice, gate = Random(2), LatencyRollback(0.0)
    for _ in range(40):
        gate.update(*latencies(dice, 50), *latencies(dice, 50, failing=0.2))
    assert gate.log_e > log(1000)


def test_what_is_within_the_tolerance_is_no_evidence() -> None:
    dice, strict, tolerant = Random(3), LatencyRollback(0.0), LatencyRollback(0.5)
    for _ in range(40):
        control, candidate = latencies(dice, 50), latencies(dice, 50, 1.4)
        strict.update(*control, *candidate)
        tolerant.update(*control, *candidate)
    assert strict.log_e > log(1000)
    assert tolerant.log_e < 0


def test_a_candidate_as_fast_as_control_is_promoted_and_a_slow_one_is_not() -> None:
    dice, good, slow = Random(4), LatencyPromotion(0.9, 0.1), LatencyPromotion(0.9, 0.1)
    for _ in range(60):
        control = latencies(dice, 50)
        good.update(*control, *latencies(dice, 50), 0.05)
        slow.update(*control, *latencies(dice, 50, 1.5), 0.05)
    assert good.log_e > log(20)
    assert slow.log_e < 0


@pytest.mark.parametrize("gate", [RankBets(0.0), LatencyRollback(0.0)])
def test_nothing_is_bet_until_twenty_calls_of_control_are_known(gate: Any) -> None:
    start = gate.log_e
    assert gate.update({100: 10}, 9, {500: 5}, 50) == start
    gate.learn({}, 1)
    assert gate.update({100: 10}, 0, {500: 5}, 50) > start


def test_no_quantile_that_lies_among_failed_calls_is_bet_on() -> None:
    gate = LatencyPromotion(0.9, 0.0)
    gate.learn({100: 80}, 20)
    assert gate.tau is None
    assert gate.update({100: 9}, 1, {100: 10}, 0, 0.3) == pytest.approx(0.0, abs=1e-12)
    gate.learn({100: 1000}, 0)
    assert gate.tau == 100
    assert LatencyPromotion(0.9, 0.0).tau is None


def test_a_rollback_goes_on_without_the_quantiles_that_failed() -> None:
    gate = LatencyRollback(0.0)
    gate.learn({100: 60}, 40)
    before = gate.to_state()["logs"]
    gate.update({100: 6}, 4, {200: 6}, 4)
    moved = [now != was for was, now in zip(before, gate.to_state()["logs"], strict=True)]
    assert moved == [True] * (5 + 8) + [False] * 32


def test_the_bets_of_one_block() -> None:
    """Half on ranks, with λ = min(12π(1−π)·effect, 0.9·min(π,1−π)/½); half on five quantiles of control's past."""
    gate = learned(LatencyRollback(0.1))
    found = returns(gate, {100: 6, 130: 2}, 1, {110: 2, 130: 1}, 0)[:-1]
    pi, total = 0.25, 100
    of_a = [15 / total] * 6 + [90 / total] * 2 + [1.0]
    of_b = [30 / total] * 2 + [90 / total]  # five buckets lower: 105 and 125
    for index, effect in enumerate((0.01, 0.03, 0.06, 0.12, 0.25)):
        stake = min(12 * pi * (1 - pi) * effect, 0.9 * pi / 0.5)
        expected = prod(1 + stake / pi * (y - 0.5) for y in of_b) * prod(1 - stake / (1 - pi) * (y - 0.5) for y in of_a)
        assert found[index] == pytest.approx(expected)
    # quantile, its bucket, control's earlier calls above it, this block's calls above it (the candidate's five higher)
    for index, (q, above, k_a, k_b) in enumerate(
        [(0.5, 30, 3, 1), (0.75, 10, 3, 1), (0.9, 10, 3, 1), (0.95, 4, 1, 0), (0.99, None, 0, 0)]
    ):
        bets = found[5 + 8 * index : 13 + 8 * index]
        if above is None:
            assert bets == [1.0] * 8
        else:
            a = (50 * (1 - q) + above) / (50 + total)
            returned = [exp(block_log_e(9, k_a, 3, k_b, a, b)) for b in alternatives("rollback", a)]
            assert bets == pytest.approx(returned)


def test_one_arm_alone_teaches_and_bets_nothing() -> None:
    gate = learned(LatencyRollback(0.0))
    start = gate.log_e
    assert gate.update({100: 10}, 2, {}, 0) == start
    assert gate.update({}, 0, {100: 10}, 2) == start
    assert gate.past.distribution().total == sum(PAST.values()) + PAST_BAD + 12


@given(st.dictionaries(st.integers(0, LAST), st.integers(0, 50), max_size=8), st.integers(0, 20), st.floats(0.01, 0.99))
def test_a_quantile_is_the_first_bucket_that_so_many_calls_do_not_exceed(
    histogram: dict[int, int], failed: int, q: float
) -> None:
    past = Past()
    past.learn(histogram, failed=failed)
    control = past.distribution()
    values = sorted(bucket for bucket, calls in histogram.items() for _ in range(calls)) + [LAST + 1] * failed
    if values:
        wanted = values[ceil(round(q * len(values), 9)) - 1]
        assert control.quantile(q) == (wanted if wanted <= LAST else None)
    for bucket in (0, 5, *histogram):
        assert control.above(bucket) == sum(value > bucket for value in values)
        if values:
            rank = sum(value < bucket for value in values) + sum(value == bucket for value in values) / 2
            assert control.rank(bucket) == pytest.approx(rank / len(values))


@pytest.mark.parametrize(("worse_by", "buckets"), [(0.0, 0), (0.02, 1), (1.02**3 - 1, 3), (0.1, 5), (1.0, 36)])
def test_a_tolerance_is_rounded_up_to_whole_buckets(worse_by: float, buckets: int) -> None:
    assert shift_of(worse_by) == LatencyRollback(worse_by).shift == buckets
    assert lower_edge(100 + buckets) >= lower_edge(100) * (1 + worse_by) * (1 - 1e-9)


HISTOGRAMS = st.dictionaries(st.integers(0, LAST), st.integers(0, 10**6), max_size=5)
BLOCKS = st.lists(st.tuples(HISTOGRAMS, st.integers(0, 10**6), HISTOGRAMS, st.integers(0, 10**6)), max_size=4)


@given(BLOCKS, st.sampled_from([0.0, 0.1, 3.0]), st.floats(-1, 1))
def test_every_legal_count_gives_a_number_and_a_state_that_comes_back(
    blocks: list[tuple[dict[int, int], int, dict[int, int], int]], worse_by: float, d: float
) -> None:
    rollback, promotion = LatencyRollback(worse_by), LatencyPromotion(0.95, worse_by)
    for one in blocks:
        assert isfinite(rollback.update(*one))
        assert isfinite(promotion.update(*one, d))
    for gate in (rollback, promotion):
        state = json.dumps(gate.to_state(), allow_nan=False)
        restored = type(gate).from_state(json.loads(state))
        assert json.dumps(restored.to_state()) == state
        assert restored.fresh().past.distribution().total == gate.past.distribution().total


def test_it_goes_on_after_a_restart_of_the_process_as_if_there_was_none() -> None:
    dice, gate = Random(5), LatencyRollback(0.1)
    for _ in range(5):
        gate.update(*latencies(dice, 20), *latencies(dice, 20))
    other = LatencyRollback.from_state(json.loads(json.dumps(gate.to_state())))
    for _ in range(5):
        both = (*latencies(dice, 20), *latencies(dice, 20))
        assert other.update(*both) == gate.update(*both)


def test_a_fresh_one_does_not_share_its_past() -> None:
    gate = learned(LatencyRollback(0.0))
    gate.update({100: 5}, 0, {200: 5}, 0)
    fresh = gate.fresh()
    assert exp(fresh.log_e) == pytest.approx(0.4)
    fresh.learn({100: 7}, 0)
    assert fresh.past.distribution().total == gate.past.distribution().total + 7


def test_its_state_is_bounded_by_the_buckets() -> None:
    gate = LatencyRollback(0.0)
    for bucket in range(LAST + 1):
        gate.update({bucket: 10**6}, 10**6, {bucket: 5}, 1)
    assert len(gate.to_state()["past"][2]) == LAST + 1
    assert len(json.dumps(gate.to_state())) < 25_000


@pytest.mark.parametrize(
    "counts",
    [({-1: 3}, 0, {}, 0), ({LAST + 1: 3}, 0, {}, 0), ({5: -1}, 3, {}, 0), ({5: 1}, -1, {}, 0), ({}, 0, {5: nan}, 0)],
)
def test_counts_that_cannot_be_are_refused_and_change_nothing(counts: Any) -> None:
    gate = LatencyRollback(0.0)
    before = gate.to_state()
    with pytest.raises(ValueError, match=r"(control|the candidate): "):
        gate.update(*counts)
    assert gate.to_state() == before


def test_a_leftover_and_a_past_that_cannot_be_are_refused() -> None:
    gate = LatencyRollback(0.0)
    with pytest.raises(ValueError, match="control: "):
        gate.learn({5: 1}, -1)
    with pytest.raises(ValueError, match="the past of control: "):
        LatencyRollback.from_state(gate.to_state() | {"past": [0, -1, []]})


@pytest.mark.parametrize("worse_by", [-0.1, nan, inf])
def test_tolerances_that_cannot_be_are_refused(worse_by: float) -> None:
    with pytest.raises(ValueError, match="is no tolerance"):
        LatencyRollback(worse_by)


@pytest.mark.parametrize("q", [0.0, 1.0, nan])
def test_quantiles_that_cannot_be_are_refused(q: float) -> None:
    with pytest.raises(ValueError, match="is no quantile"):
        LatencyPromotion(q, 0.0)


def test_a_margin_that_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="no difference of rates"):
        LatencyPromotion(0.9, 0.0).update({}, 0, {}, 0, 1.5)


def test_a_failed_call_is_slower_than_the_slowest_bucket() -> None:
    gate = learned(RankBets(0.0))
    failed, slow = gate.fresh(), gate.fresh()
    failed.update({110: 10}, 0, {}, 10)
    slow.update({110: 10}, 0, {bucket_of(1e9): 10}, 0)
    assert failed.log_e > slow.log_e
