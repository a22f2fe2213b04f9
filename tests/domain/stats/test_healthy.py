"""What gates do over many rollouts, from fixed seeds: how often healthy branches are rolled back, how fast sick ones
are."""

from math import log, sqrt
from random import Random
from statistics import median

import pytest

from rollout.domain.stats import TwoSample, information, restart_weight

ALPHA = 0.05
RUNS = 300


def bad(dice: Random, n: int, p: float) -> int:
    """How many of ``n`` calls are bad, by the gaps between bad ones: as many dice as there are of those."""
    rate, at, found = -log(1 - p), 0, -1
    while at <= n:
        at += int(dice.expovariate(rate)) + 1
        found += 1
    return found


def test_healthy_branches_are_rarely_rolled_back_however_often_one_looks() -> None:
    """1 % errors, a quarter of the calls live, 20 000 calls, a look every 100; all the capital at once."""
    rolled_back = 0
    for seed in range(RUNS):
        dice, gate = Random(seed), TwoSample("rollback")
        gate.fund(0.6)
        rolled_back += any(
            gate.update(75, bad(dice, 75, 0.01), 25, bad(dice, 25, 0.01)) >= log(1 / ALPHA) for _ in range(200)
        )
    assert rolled_back / RUNS <= ALPHA + 3 * sqrt(ALPHA * (1 - ALPHA) / RUNS)


def test_outages_of_both_arms_are_no_evidence() -> None:
    """Every tenth block has 30 % errors in both arms."""
    rolled_back = 0
    for seed in range(60):
        dice, gate = Random(seed), TwoSample("rollback")
        gate.fund(0.6)
        for t in range(200):
            p = 0.3 if t % 10 == 0 else 0.01
            gate.update(75, bad(dice, 75, p), 25, bad(dice, 25, p))
            if gate.log_e >= log(1 / ALPHA):
                rolled_back += 1
                break
    assert rolled_back <= 9  # 3 are expected at most


@pytest.mark.parametrize("share", [0.05, 0.5])
def test_a_doubled_error_rate_is_found_near_the_bound_of_any_test(share: float) -> None:
    bound = log(1 / ALPHA) / information(0.01, 0.02, share)
    delays = []
    for seed in range(25):
        dice, gate, calls = Random(seed), TwoSample("rollback"), 0
        gate.learn(10_000, 100)
        gate.fund(0.6)
        while gate.log_e < log(1 / ALPHA) and calls < 5 * bound:
            calls += 200
            n = round(200 * share)
            gate.update(200 - n, bad(dice, 200 - n, 0.01), n, bad(dice, n, 0.02))
        delays.append(calls / bound)
    assert 0.3 < median(delays) <= 1.9


def test_late_capital_keeps_the_bound() -> None:
    """With the restarts of a whole life, at α = 0.05."""
    rolled_back = 0
    for seed in range(100):
        dice, gate = Random(seed), TwoSample("rollback")
        for stage in range(4):
            gate.fund(0.1)
            for t in range(50 * stage + 1, 50 * stage + 51):
                gate.fund(restart_weight(t))
                if gate.update(75, bad(dice, 75, 0.01), 25, bad(dice, 25, 0.01)) >= log(1 / ALPHA):
                    rolled_back += 1
                    break
            else:
                continue
            break
    assert rolled_back <= 5 + 3 * sqrt(100 * ALPHA * (1 - ALPHA))


def test_a_candidate_at_the_tolerance_is_rarely_promoted() -> None:
    promoted = 0
    for seed in range(100):
        dice, gate = Random(seed), TwoSample("promote", d=0.01)
        promoted += any(
            gate.update(50, bad(dice, 50, 0.01), 50, bad(dice, 50, 0.02)) >= log(1 / ALPHA) for _ in range(100)
        )
    assert promoted <= 5 + 3 * sqrt(100 * ALPHA * (1 - ALPHA))
