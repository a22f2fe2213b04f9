"""Two arms: never evidence on the null, whatever the margin; and evidence where there is a difference."""

import json
from collections.abc import Callable
from math import exp, inf, isfinite, log, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.domain.stats import Side, TwoSample, alternatives, block_log_e, boundary
from rollout.domain.stats.boundary import bet
from tests.domain.stats.enumeration import (
    RATES,
    ROUNDING,
    binomial,
    chance,
    expectations,
    laws,
    mean,
    of_two_arms,
    outcomes,
    returns,
)

MARGINS = [(1.0, 0.0), (1.2, 0.0), (0.5, 0.0), (1.0, 0.05), (1.0, -0.05), (1.2, 0.001), (2.0, 0.25), (0.8, -0.01)]
PASTS = [(0, 0), (50, 10), (400, 0), (30, 30)]
SIZES = [(5, 2), (2, 5), (1, 1)]


def nulls(side: Side, r: float, d: float) -> list[tuple[float, float]]:
    """Pairs of rates on the null: on its boundary, inside, and at its end."""
    found = []
    for p_a in RATES:
        edge = min(max(r * p_a + d, 0.0), 1.0)
        if side == "rollback" and r * p_a + d >= 0:
            found += [(p_a, p_b) for p_b in {edge, edge / 2, 0.0}]
        elif side == "promote" and r * p_a + d <= 1:
            found += [(p_a, p_b) for p_b in {edge, (1 + edge) / 2, 1.0}]
    return found


@pytest.mark.parametrize("side", ["rollback", "promote"])
@pytest.mark.parametrize(("r", "d"), MARGINS)
def test_no_bet_gains_on_the_null(side: Side, r: float, d: float) -> None:
    for past in PASTS:
        gate = TwoSample(side, r, d)
        gate.learn(*past)
        for n_a, n_b in SIZES:
            table = {(k_a, k_b): returns(gate, n_a, k_a, n_b, k_b) for k_a in range(n_a + 1) for k_b in range(n_b + 1)}
            for p_a, p_b in nulls(side, r, d):
                weights = {(k_a, k_b): binomial(n_a, k_a, p_a) * binomial(n_b, k_b, p_b) for k_a, k_b in table}
                assert max(expectations(table, weights)) <= 1 + ROUNDING, (past, n_a, n_b, p_a, p_b)


@pytest.mark.parametrize("wrong", [1e-9, 0.02, 0.1, 0.25, 0.4, 0.999, 0.0, 1.0, -3.0])
@pytest.mark.parametrize("side", ["rollback", "promote"])
def test_no_bet_gains_on_the_null_even_where_the_solver_fails(
    side: Side, wrong: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boundary, "nearest_null", lambda *_: wrong)
    test_no_bet_gains_on_the_null(side, 1.2, 0.001)
    test_no_bet_gains_on_the_null(side, 1.0, 0.05)


@pytest.mark.parametrize("side", ["rollback", "promote"])
@pytest.mark.parametrize(("r", "d"), [(1.0, 0.0), (1.2, 0.0), (1.0, 0.1)])
def test_no_bet_on_bounded_scores_gains_on_the_null(side: Side, r: float, d: float) -> None:
    scores, n_a, n_b = (0.0, 0.3, 1.0), 2, 2
    gate = TwoSample(side, r, d)
    gate.learn(40, 9.5)
    orders = {(a, b): (ways_a, ways_b) for a, ways_a in outcomes(n_a, 3) for b, ways_b in outcomes(n_b, 3)}
    table = {
        (*a, *b): returns(
            gate, list(zip(scores, a, strict=True)), list(zip(scores, b, strict=True)), by="update_scores"
        )
        for a, b in orders
    }
    tried = 0
    for law_a in laws(3, 4):
        for law_b in laws(3, 4):
            over = mean(scores, law_b) - r * mean(scores, law_a) - d
            if over > 1e-12 if side == "rollback" else over < -1e-12:
                continue
            tried += 1
            weights = {
                (*a, *b): chance(a, ways_a, law_a) * chance(b, ways_b, law_b)
                for (a, b), (ways_a, ways_b) in orders.items()
            }
            assert max(expectations(table, weights)) <= 1 + ROUNDING, (law_a, law_b)
    assert tried > 20


def swapped(n_a: int, k_a: int, n_b: int, k_b: int, a: float, b: float) -> float:
    """A planted fault: the arms change places."""
    return block_log_e(n_b, k_b, n_a, k_a, a, b)


def flipped(n_a: int, k_a: int, n_b: int, k_b: int, a: float, b: float) -> float:
    """A planted fault: the sign of the bet."""
    u, m_b, v, m_a = bet(n_b / (n_a + n_b), a, b)
    return (
        k_b * log(1 - u * (1 - m_b) / 9)
        + (n_b - k_b) * log(1 + u * m_b / 9)
        + k_a * log(1 + v * (1 - m_a) / 9)
        + (n_a - k_a) * log(1 - v * m_a / 9)
    )


def not_shared_out(n_a: int, k_a: int, n_b: int, k_b: int, a: float, b: float) -> float:
    """A planted fault: control's past rate is taken for its rate."""
    u, m_b, _, _ = bet(n_b / (n_a + n_b), a, b)
    return k_b * log(1 + u * (1 - m_b)) + (n_b - k_b) * log(1 - u * m_b)


@pytest.mark.parametrize("fault", [swapped, flipped, not_shared_out])
def test_the_enumeration_finds_planted_faults(fault: Callable[..., float]) -> None:
    def highest(log_e: Callable[..., float]) -> float:
        def gain(k_a: int, k_b: int) -> float:
            return exp(log_e(5, k_a, 3, k_b, 0.1, 0.3))

        return max(of_two_arms(gain, 5, 3, p_a, p_b) for p_a, p_b in nulls("rollback", 1.0, 0.0))

    assert highest(block_log_e) <= 1 + ROUNDING
    assert highest(fault) > 1.05


@pytest.mark.parametrize(("r", "d"), MARGINS)
@pytest.mark.parametrize("a", [1e-9, 1e-4, 0.01, 0.3])
@pytest.mark.parametrize("side", ["rollback", "promote"])
def test_the_two_stakes_agree_where_the_solver_ends(side: Side, a: float, r: float, d: float) -> None:
    """So nothing is lost by taking the smaller one."""
    for pi in (0.01, 0.5, 0.95):
        for b in alternatives(side, a, r, d):
            u, m_b, v, m_a = bet(pi, a, b, r, d)
            assert m_b == pytest.approx(r * m_a + d, abs=1e-15)
            assert u * m_b * (1 - m_b) == pytest.approx(b - m_b, rel=1e-6, abs=1e-12)
            assert v * m_a * (1 - m_a) == pytest.approx(m_a - a, rel=1e-6, abs=1e-12)


COUNTS = st.integers(0, 10**6).flatmap(lambda n: st.tuples(st.just(n), st.sampled_from([0, n]) | st.integers(0, n)))
RATIOS = st.sampled_from([1.0, 1e-3, 0.5, 1.2, 2.0, 1e3])
DIFFERENCES = st.sampled_from([0.0, -1.0, 1.0, 1e-12, -1e-9]) | st.floats(-1, 1)


@given(
    st.sampled_from(["rollback", "promote"]),
    RATIOS,
    DIFFERENCES,
    st.sampled_from([(0, 0), (10**9, 0), (10**9, 10**9), (100, 1), (7, 6.5)]),
    st.lists(st.tuples(COUNTS, COUNTS), max_size=4),
)
def test_every_legal_count_gives_a_number(
    side: Side, r: float, d: float, past: tuple[int, float], blocks: list[tuple[tuple[int, int], tuple[int, int]]]
) -> None:
    gate = TwoSample(side, r, d)
    gate.learn(*past)
    for control, candidate in blocks:
        assert isfinite(gate.update(*control, *candidate))
    state = json.dumps(gate.to_state(), allow_nan=False)
    assert json.dumps(TwoSample.from_state(json.loads(state)).to_state()) == state


BLOCKS = st.lists(
    st.tuples(st.integers(0, 60), st.integers(0, 60), st.integers(0, 60), st.integers(0, 60)).map(
        lambda x: (max(x[:2]), min(x[:2]), max(x[2:]), min(x[2:]))
    ),
    max_size=12,
)


@given(BLOCKS, BLOCKS, st.sampled_from([(1.0, 0.0), (1.2, 0.001)]))
def test_it_goes_on_after_a_restart_of_the_process_as_if_there_was_none(
    earlier: list[tuple[int, int, int, int]], later: list[tuple[int, int, int, int]], margin: tuple[float, float]
) -> None:
    gate = TwoSample("rollback", *margin)
    for block in earlier:
        gate.update(*block)
    other = TwoSample.from_state(json.loads(json.dumps(gate.to_state())))
    for block in later:
        gate.update(*block)
        other.update(*block)
    assert other.to_state() == gate.to_state()


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=8, max_size=8), st.permutations(range(8)))
def test_processes_add_up_in_any_order(parts: list[tuple[int, int]], order: list[int]) -> None:
    """A block is one sum: of scores too, which are floats."""

    def evidence(indices: list[int]) -> float:
        gate = TwoSample("rollback")
        bad_a = sum(parts[index][0] * 0.1 for index in indices)
        bad_b = sum(parts[index][1] * 0.3 for index in indices)
        gate.update(sum(parts[i][0] for i in indices), bad_a, sum(parts[i][1] for i in indices), bad_b)
        return gate.update(100, 1, 50, 2)

    assert evidence(order) == pytest.approx(evidence(list(range(8))), abs=1e-12)


@given(st.integers(1, 40), st.integers(1, 40), st.data())
def test_scores_of_0_and_1_are_bad_calls(n_a: int, n_b: int, data: st.DataObject) -> None:
    k_a, k_b = data.draw(st.integers(0, n_a)), data.draw(st.integers(0, n_b))
    by_counts, by_scores = TwoSample("rollback", 1.1), TwoSample("rollback", 1.1)
    by_counts.update(n_a, k_a, n_b, k_b)
    by_scores.update_scores([(0.0, n_a - k_a), (1.0, k_a)], [(1.0, k_b), (0.0, n_b - k_b)])
    assert by_scores.log_e == pytest.approx(by_counts.log_e, abs=1e-12)
    assert by_scores.a == by_counts.a


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 9)), max_size=5), st.floats(0, 1), st.floats(1.0, 1.5))
def test_a_sum_of_scores_never_wins_more_than_the_scores(
    scores: list[tuple[float, int]], other: float, r: float
) -> None:
    n, total = sum(count for _, count in scores), sum(score * count for score, count in scores)
    by_sum, by_scores = TwoSample("rollback", r), TwoSample("rollback", r)
    by_sum.update(5, 5 * other, n, total)
    by_scores.update_scores([(other, 5)], scores)
    assert by_sum.log_e <= by_scores.log_e + 1e-9


def test_a_block_of_one_arm_teaches_controls_rate_and_bets_nothing() -> None:
    gate = TwoSample("rollback")
    assert gate.update(100, 4, 0, 0) == pytest.approx(log(0.4))
    assert gate.update(0, 0, 100, 90) == pytest.approx(log(0.4))
    assert gate.a == pytest.approx(4.5 / 150)


def test_the_bet_comes_before_the_lesson() -> None:
    """A block is bet on with the rate of earlier blocks, never with its own."""
    gate, other = TwoSample("rollback"), TwoSample("rollback")
    gate.update(50, 25, 50, 40)
    before = [block_log_e(50, 25, 50, 40, a=0.01, b=b) for b in alternatives("rollback", 0.01)]
    after = [now - was for was, now in zip(other.to_state()["logs"], gate.to_state()["logs"], strict=True)]
    assert after == pytest.approx(before, abs=1e-12)


def test_a_worse_candidate_is_evidence_and_a_better_one_is_none() -> None:
    worse, better = TwoSample("rollback"), TwoSample("rollback")
    for _ in range(50):
        worse.update(100, 1, 100, 4)
        better.update(100, 4, 100, 1)
    assert worse.log_e > log(1e6)
    assert better.log_e < -5


def test_a_candidate_within_the_margin_is_promoted_and_one_beyond_is_not() -> None:
    within, beyond = TwoSample("promote", d=0.01), TwoSample("promote", d=0.01)
    for _ in range(100):
        within.update(100, 1, 100, 1)
        beyond.update(100, 1, 100, 3)
    assert within.log_e > log(20)
    assert beyond.log_e < -3


@pytest.mark.parametrize(("r", "d"), [(1.0, 1.0), (2.0, 0.9), (1.0, -0.5)])
def test_no_bet_is_made_for_a_rollback_where_the_boundary_is_no_rate(r: float, d: float) -> None:
    gate = TwoSample("rollback", r, d)
    gate.learn(100, 10)
    assert alternatives("rollback", gate.a, r, d) == ()
    assert gate.update(10, 1, 10, 10) == pytest.approx(log(0.4))


def test_promotion_bets_stay_below_the_boundary_and_above_nothing() -> None:
    assert alternatives("promote", 0.01, d=0.001) == pytest.approx((0.005, 0.008, 0.01, 0.01045))
    assert min(alternatives("promote", 1e-9, d=0.25)) == 1e-9
    assert max(alternatives("promote", 0.95, d=0.5)) < 1


def test_a_new_stage_keeps_what_is_known_of_control() -> None:
    gate = TwoSample("promote", d=0.01)
    gate.update(100, 3, 100, 1)
    fresh = gate.fresh(d=0.005)
    assert (fresh.n_a, fresh.k_a, fresh.d) == (100, 3, 0.005)
    assert fresh.log_e == pytest.approx(0.0, abs=1e-12)
    assert gate.fresh().d == gate.d == 0.01
    fresh.update(100, 3, 100, 1)
    assert gate.n_a == 100


def test_its_state_does_not_grow() -> None:
    """10 000 blocks; nothing in it depends on how many there were."""
    gate = TwoSample("rollback")
    gate.update(20, 1, 5, 0)
    fields = {name: type(value) for name, value in gate.to_state().items()}
    for index in range(10_000):
        gate.fund(1e-6)
        gate.update(20, index % 3, 5, index % 2)
    state = gate.to_state()
    assert {name: type(value) for name, value in state.items()} == fields
    assert len(json.dumps(state)) < 300


@pytest.mark.parametrize(
    "counts",
    [
        (10, 11, 10, 0),
        (10, 0, 10, 11),
        (-1, 0, 10, 0),
        (10, -1, 10, 0),
        (10, nan, 10, 0),
        (nan, 0, 10, 0),
        (inf, 0, 1, 0),
    ],
)
def test_counts_that_cannot_be_are_refused_and_change_nothing(counts: tuple[float, float, float, float]) -> None:
    gate = TwoSample("rollback")
    before = gate.to_state()
    with pytest.raises(ValueError, match="cannot be: count every call once"):
        gate.update(*counts)
    with pytest.raises(ValueError, match="cannot be: count every call once"):
        block_log_e(*counts, a=0.1, b=0.2)
    assert gate.to_state() == before


def test_a_leftover_that_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="control: 3 of 2 calls"):
        TwoSample("rollback").learn(2, 3)


@pytest.mark.parametrize("score", [(1.1, 1), (-0.1, 1), (nan, 1), (0.5, -1), (0.5, inf)])
def test_scores_that_cannot_be_are_refused(score: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match=r"scores lie in \[0, 1\]"):
        TwoSample("rollback").update_scores([(0.5, 3)], [score])


@pytest.mark.parametrize("r", [0.0, -1.0, inf, nan])
def test_ratios_that_cannot_be_are_refused(r: float) -> None:
    with pytest.raises(ValueError, match="no ratio of rates"):
        TwoSample("rollback", r)


@pytest.mark.parametrize("d", [1.01, -1.01, nan])
def test_differences_that_cannot_be_are_refused(d: float) -> None:
    with pytest.raises(ValueError, match="no difference of rates"):
        TwoSample("promote", 1.0, d)
    with pytest.raises(ValueError, match="no difference of rates"):
        TwoSample("promote").fresh(d)


def test_an_unknown_side_is_refused() -> None:
    with pytest.raises(ValueError, match='take "rollback" or "promote"'):
        TwoSample("sideways")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match='take "rollback" or "promote"'):
        alternatives("sideways", 0.1)  # type: ignore[arg-type]


@pytest.mark.parametrize("weight", [0.0, -0.1, 1.1, nan])
def test_capital_that_is_none_is_refused(weight: float) -> None:
    with pytest.raises(ValueError, match="no capital"):
        TwoSample("rollback").fund(weight)


def test_promotion_is_not_funded() -> None:
    with pytest.raises(ValueError, match="has all its capital from the start"):
        TwoSample("promote").fund(0.1)


@pytest.mark.parametrize(("a", "b"), [(0.0, 0.1), (0.1, 1.0), (nan, 0.1)])
def test_a_bet_on_certainty_is_refused(a: float, b: float) -> None:
    with pytest.raises(ValueError, match="cannot be bet on"):
        block_log_e(10, 1, 10, 1, a, b)


def test_one_arm_alone_is_no_block() -> None:
    assert block_log_e(10, 1, 0, 0, a=0.1, b=0.2) == 0.0


@pytest.mark.parametrize("logs", [[0.0], [0.0] * 9, [nan] * 8, [inf] * 8])
def test_a_state_that_is_none_of_its_own_is_refused(logs: list[float]) -> None:
    state = TwoSample("rollback").to_state() | {"logs": logs}
    with pytest.raises(ValueError, match="needs 8 numbers in `logs`"):
        TwoSample.from_state(state)
