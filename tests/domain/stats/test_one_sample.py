"""One arm against a limit."""

import json
from math import inf, isfinite, log, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.domain.stats import OneSample, Side, one_sample_log_e
from tests.domain.stats.enumeration import ROUNDING, binomial, expectations, returns


@pytest.mark.parametrize("side", ["rollback", "promote"])
@pytest.mark.parametrize("p0", [1e-9, 0.001, 0.05, 0.3, 0.5])
@pytest.mark.parametrize("n", [1, 7, 40])
def test_no_bet_gains_on_the_null(side: Side, p0: float, n: int) -> None:
    gate = OneSample(side)
    table = {k: returns(gate, n, k, p0) for k in range(n + 1)}
    inside = [p0, p0 / 2, p0 / 50, 0.0] if side == "rollback" else [p0, (1 + p0) / 2, 0.9, 1.0]
    for p in inside:
        assert max(expectations(table, {k: binomial(n, k, p) for k in range(n + 1)})) <= 1 + ROUNDING
    beyond = min(1.0, 20 * p0) if side == "rollback" else p0 / 20
    assert expectations(table, {k: binomial(n, k, beyond) for k in range(n + 1)})[-1] > 1


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), max_size=10), st.sampled_from([0.001, 0.2]))
def test_blocks_add_up(blocks: list[tuple[int, int]], p0: float) -> None:
    rollback, promote = OneSample("rollback"), OneSample("promote")
    for good, bad in blocks:
        rollback.update(good + bad, bad, p0)
        promote.update(good + bad, bad, p0)
    n, k = sum(sum(block) for block in blocks), sum(bad for _, bad in blocks)
    expected = log(0.4) + one_sample_log_e(n, k, p0, "rollback")
    assert rollback.log_e == pytest.approx(expected, rel=1e-12, abs=1e-11)
    assert promote.log_e == pytest.approx(one_sample_log_e(n, k, p0, "promote"), rel=1e-12, abs=1e-11)


@given(
    st.sampled_from(["rollback", "promote"]),
    st.lists(st.tuples(st.integers(0, 10**6), st.floats(0, 1), st.floats(1e-300, 0.5)), max_size=5),
)
def test_every_legal_count_gives_a_number_and_a_state_that_comes_back(
    side: Side, blocks: list[tuple[int, float, float]]
) -> None:
    gate = OneSample(side)
    for n, part, p0 in blocks:
        assert isfinite(gate.update(n, int(n * part), p0))
    state = json.dumps(gate.to_state(), allow_nan=False)
    restored = OneSample.from_state(json.loads(state))
    assert json.dumps(restored.to_state()) == state
    assert restored.update(100, 3, 0.01) == gate.update(100, 3, 0.01)


def test_one_mismatch_ends_the_bet_that_there_is_none_and_only_that() -> None:
    gate = OneSample("promote")
    gate.update(1000, 1, 0.01)
    assert [value is None for value in gate.to_state()["logs"]] == [True, False, False, False]
    assert gate.update(3000, 2, 0.01) > log(20)


def test_a_limit_may_differ_from_block_to_block() -> None:
    gate = OneSample("rollback")
    gate.update(1000, 10, 0.01)
    gate.update(1000, 50, 0.05)
    assert gate.log_e < log(0.4)


def test_funding_lets_it_find_a_late_rise() -> None:
    funded, unfunded = OneSample("rollback"), OneSample("rollback")
    for gate in (funded, unfunded):
        gate.update(50_000, 10, 0.001)
    funded.fund(0.1)
    for gate in (funded, unfunded):
        gate.update(500, 10, 0.001)
    assert funded.log_e > log(100) > unfunded.log_e


def test_a_new_stage_begins_with_all_capital() -> None:
    gate = OneSample("promote")
    gate.update(1000, 0, 0.01)
    assert gate.fresh().to_state() == OneSample("promote").to_state()


@pytest.mark.parametrize("p0", [0.0, 0.51, nan, -0.1])
def test_limits_that_cannot_be_tested_are_refused(p0: float) -> None:
    with pytest.raises(ValueError, match=r"cannot be tested for rollback: give one above 0, at most 0\.5"):
        OneSample("rollback").update(10, 1, p0)


@pytest.mark.parametrize("p0", [0.0, 1.0, nan, inf])
def test_limits_that_cannot_be_proven_are_refused(p0: float) -> None:
    with pytest.raises(ValueError, match="cannot be proven"):
        one_sample_log_e(10, 1, p0, "promote")


@pytest.mark.parametrize(("n", "k"), [(3, 4), (-1, 0), (3, -1), (3, nan), (inf, 3)])
def test_counts_that_cannot_be_are_refused(n: float, k: float) -> None:
    with pytest.raises(ValueError, match="cannot be: count every call once"):
        one_sample_log_e(n, k, 0.1, "rollback")


def test_an_unknown_side_is_refused() -> None:
    with pytest.raises(ValueError, match='"up" is no side'):
        OneSample("up")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match='"up" is no side'):
        one_sample_log_e(1, 0, 0.1, "up")  # type: ignore[arg-type]
