"""Pairs: both sides of the same call."""

import json
from collections.abc import Callable
from math import isfinite, log, nan
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.domain.stats import (
    Discordant,
    EProcess,
    PairPromotion,
    PairRollback,
    PairSign,
    alternatives,
    discordant_log_e,
)
from tests.domain.stats.enumeration import ROUNDING, Law, binomial, chance, expectations, laws, outcomes, returns

# The kinds of a pair, in their order: only the candidate bad, only control bad, both bad, neither.
PAIR_LAWS = list(laws(4, 5))
PAIRS = 4


Highest = Callable[[Law], float]


def enumerated(gate: EProcess, block: Callable[[int, int, int], tuple[float, ...]]) -> Highest:
    """The highest expectation of any bet under a law of pairs. ``block``: what to update the gate with, of k10, k01 and
    pairs where both are bad.
    """
    orders = dict(outcomes(PAIRS, 4))
    table = {counts: returns(gate, *block(*counts[:3])) for counts in orders}

    def highest(law: Law) -> float:
        return max(expectations(table, {counts: chance(counts, ways, law) for counts, ways in orders.items()}))

    return highest


@pytest.mark.parametrize("r", [0.5, 1.0, 2.0])
def test_no_bet_on_discordant_pairs_gains_on_the_null(r: float) -> None:
    highest = enumerated(Discordant(r), lambda k10, k01, both: (k10, k01))
    inside = [law for law in PAIR_LAWS if law[0] <= r * law[1]]
    assert len(inside) > 10
    assert max(map(highest, inside)) <= 1 + ROUNDING
    assert highest((0.8, 0.1 / r, 0.0, 0.2 - 0.1 / r)) > 1


@pytest.mark.parametrize("d", [0.001, 0.05, 0.25, 0.9, 1.0, 0.0, -0.5])
@pytest.mark.parametrize("past", [(0, 0), (100, 40)])
def test_no_promotion_bet_gains_on_the_null(d: float, past: tuple[int, int]) -> None:
    gate = PairPromotion()
    gate.update(past[0], 0, 0, past[1], 0.0)
    highest = enumerated(gate, lambda k10, k01, both: (PAIRS, k10, k01, k01 + both, d))
    inside = [law for law in PAIR_LAWS if law[0] - law[1] >= d - 1e-12]
    assert inside
    assert max(map(highest, inside)) <= 1 + ROUNDING


@pytest.mark.parametrize("d", [0.0, 0.001, 0.05, 0.25, -0.05, -1.0])
@pytest.mark.parametrize("past", [(0, 0), (100, 40)])
def test_no_rollback_bet_with_a_margin_gains_on_the_null(d: float, past: tuple[int, int]) -> None:
    gate = PairRollback(d)
    gate.update(past[0], 0, 0, past[1])
    highest = enumerated(gate, lambda k10, k01, both: (PAIRS, k10, k01, k01 + both))
    inside = [law for law in PAIR_LAWS if law[0] - law[1] <= d + 1e-12]
    assert inside
    assert max(map(highest, inside)) <= 1 + ROUNDING


def test_the_enumeration_finds_sides_that_are_swapped() -> None:
    """Planted: control's failures are counted as the candidate's."""
    inside = [law for law in PAIR_LAWS if law[0] <= law[1]]
    for highest in (
        enumerated(Discordant(), lambda k10, k01, both: (k01, k10)),
        enumerated(PairRollback(0.05), lambda k10, k01, both: (PAIRS, k01, k10, k10 + both)),
    ):
        assert max(map(highest, inside)) > 1.05
    promoted = enumerated(PairPromotion(), lambda k10, k01, both: (PAIRS, k01, k10, k10 + both, 0.1))
    assert max(promoted(law) for law in PAIR_LAWS if law[0] - law[1] >= 0.1) > 1.05


@pytest.mark.parametrize("n", [1, 5, 12])
def test_no_bet_on_signs_gains_on_the_null(n: int) -> None:
    gate = PairSign()
    table = {k: returns(gate, k, n) for k in range(n + 1)}
    for p in (0.0, 0.1, 0.4, 0.5):
        assert max(expectations(table, {k: binomial(n, k, p) for k in range(n + 1)})) <= 1 + ROUNDING
    assert expectations(table, {k: binomial(n, k, 0.7) for k in range(n + 1)})[-1] > 1


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=10), st.sampled_from([0.3, 1.0, 1.5]))
def test_blocks_of_discordant_pairs_add_up(blocks: list[tuple[int, int]], r: float) -> None:
    gate = Discordant(r)
    for k10, k01 in blocks:
        gate.update(k10, k01)
    total = discordant_log_e(sum(k10 for k10, _ in blocks), sum(k01 for _, k01 in blocks), r)
    assert gate.log_e == pytest.approx(log(0.4) + total, rel=1e-12, abs=1e-11)


SOME_OF_EACH: list[tuple[Any, tuple[float, ...]]] = [
    (Discordant(1.5), (3, 1)),
    (PairPromotion(), (50, 1, 2, 3, 0.05)),
    (PairRollback(0.01), (50, 4, 2, 3)),
    (PairSign(), (30, 50)),
]


@pytest.mark.parametrize(("gate", "block"), SOME_OF_EACH)
def test_a_state_comes_back_exactly(gate: Any, block: tuple[float, ...]) -> None:
    gate = gate.fresh()
    gate.update(*block)
    restored = type(gate).from_state(json.loads(json.dumps(gate.to_state(), allow_nan=False)))
    assert restored.to_state() == gate.to_state()
    assert restored.update(*block) == gate.update(*block)


@pytest.mark.parametrize(("gate", "block"), SOME_OF_EACH)
def test_fresh_keeps_the_past_of_control_and_begins_anew(gate: Any, block: tuple[float, ...]) -> None:
    gate = gate.fresh()
    start = gate.to_state()
    gate.update(*block)
    fresh, left = gate.fresh().to_state(), gate.to_state()
    assert fresh["logs"] == start["logs"] != left["logs"]
    assert {**fresh, "logs": ()} == {**left, "logs": ()}


@given(
    st.integers(0, 10**6),
    st.floats(0, 1),
    st.floats(0, 1),
    st.floats(0, 1),
    st.sampled_from([-1.0, 0.0, 1.0]) | st.floats(-1, 1),
)
def test_every_legal_count_gives_a_number(n: int, bad: float, alone: float, k10: float, d: float) -> None:
    control_bad = int(n * bad)
    counts = (n, int((n - control_bad) * k10), int(control_bad * alone), control_bad)
    promotion, rollback = PairPromotion(), PairRollback(d)
    for _ in range(2):
        assert isfinite(promotion.update(*counts, d))
        assert isfinite(rollback.update(*counts))
        assert isfinite(PairSign().update(counts[3], n))
        assert isfinite(Discordant().update(counts[1], counts[2]))


def test_a_candidate_as_good_as_control_is_promoted_from_pairs() -> None:
    gate = PairPromotion()
    for _ in range(40):
        gate.update(50, 0, 0, 1, 0.05)
    assert gate.log_e > log(20)
    worse = PairPromotion()
    for _ in range(40):
        worse.update(50, 4, 0, 1, 0.05)
    assert worse.log_e < 0


def test_the_stakes_of_a_promotion() -> None:
    """c·d/(2a+d²) for c = ¼, ½, 1, 2, but at most 0.9/(1−d)."""
    gate, d = PairPromotion(), 0.1
    gate.update(50, 0, 0, 2, 0.0)
    stakes = [min(c * d / (2 * 0.025 + d * d), 0.9 / (1 - d)) for c in (0.25, 0.5, 1.0, 2.0)]
    assert stakes[3] == 1.0
    found = returns(gate, 10, 1, 2, 3, d)[:-1]
    assert found == pytest.approx([(1 + s * (d - 1)) * (1 + s * (d + 1)) ** 2 * (1 + s * d) ** 7 for s in stakes])


def test_the_stakes_of_a_rollback_with_a_margin() -> None:
    """(b − a − d)/(a + b), b being the alternatives of two arms."""
    gate, d = PairRollback(0.1), 0.1
    gate.update(50, 0, 0, 2)
    stakes = [(b - 0.025 - d) / (0.025 + b) for b in alternatives("rollback", 0.025, 1.0, d)]
    found = returns(gate, 10, 2, 1, 3)[:-1]
    assert found == pytest.approx([(1 + s * (1 - d)) ** 2 * (1 - s * (1 + d)) * (1 - s * d) ** 7 for s in stakes])


def test_an_outage_of_both_sides_is_no_evidence() -> None:
    gate = PairRollback()
    before = gate.log_e
    gate.update(1000, 0, 0, 1000)
    assert gate.log_e <= before
    assert Discordant().update(0, 0) == pytest.approx(log(0.4))


def test_a_candidate_that_fails_alone_is_found() -> None:
    margin, none = PairRollback(0.01), Discordant()
    for _ in range(30):
        margin.update(50, 3, 0, 1)
        none.update(3, 0)
    assert margin.log_e > log(1000)
    assert none.log_e > log(1000)


def test_a_candidate_that_is_mostly_slower_is_found_in_few_pairs() -> None:
    gate = PairSign()
    gate.update(19, 20)
    assert gate.log_e > log(100)


def test_promotion_bets_nothing_without_a_tolerance() -> None:
    assert PairPromotion().update(100, 0, 5, 5, 0.0) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize(
    "counts", [(5, 6, 0, 0), (5, 3, 0, 3), (5, 0, 2, 1), (5, 0, 0, 6), (-1, 0, 0, 0), (5, nan, 0, 0)]
)
def test_pairs_that_cannot_be_are_refused(counts: tuple[float, float, float, float]) -> None:
    with pytest.raises(ValueError, match="cannot be: count every call once"):
        PairPromotion().update(*counts, 0.1)
    with pytest.raises(ValueError, match="cannot be: count every call once"):
        PairRollback().update(*counts)


@pytest.mark.parametrize(("k10", "k01"), [(-1, 2), (1, -1), (nan, 1), (1, nan)])
def test_discordant_pairs_that_cannot_be_are_refused(k10: float, k01: float) -> None:
    with pytest.raises(ValueError, match="discordant pairs"):
        discordant_log_e(k10, k01)
    with pytest.raises(ValueError, match="pairs: 3 of 2 calls"):
        PairSign().update(3, 2)


def test_margins_that_cannot_be_are_refused() -> None:
    for refused in (
        lambda: Discordant(0.0),
        lambda: PairRollback(2.0),
        lambda: PairPromotion().update(1, 0, 0, 0, nan),
    ):
        with pytest.raises(ValueError, match="give one"):
            refused()


def test_restored_counts_that_cannot_be_are_refused() -> None:
    for gate in (PairPromotion(), PairRollback()):
        with pytest.raises(ValueError, match="control in pairs: 3 of 2"):
            type(gate).from_state(gate.to_state() | {"n_a": 2, "k_a": 3})
