"""What the gates promise, on few runs from fixed seeds: error bounds, delays, counts that add up, bounded room.
``make bench-gates`` measures the same on many.
"""

from __future__ import annotations

from math import log, sqrt
from statistics import mean, median

import pytest

from rollout.domain.simulation.replay import End
from rollout.domain.stats import ALPHA_PROMOTE
from tests.bench.gates import delay, promotion
from tests.bench.gates.arms import Dice, Funded
from tests.bench.gates.counted import evidence
from tests.bench.gates.delay import SEARCHES, calls_after_clean, calls_of_one_gate, calls_until_found, least
from tests.bench.gates.healthy import OURS, SICK, highest
from tests.bench.gates.promotion import calls_until_shown, is_shown_at_the_tolerance
from tests.bench.gates.ramps import CALLERS_REPLACE, MOST_CALLS, doubled
from tests.bench.gates.room import MOST_GROWTH, MOST_LONGER, grown
from tests.bench.gates.running import quantile

ALPHA = 0.05
CHANGE: delay.Change = (0.01, 0.05, 0.5)
STEP: promotion.Step = (0.01, 0.25, 0.5)


def test_a_healthy_candidate_is_rolled_back_no_more_often_than_stated() -> None:
    """1 % of 20 000 calls are bad, a quarter of them live, a look per 100."""
    rolled_back = 0
    for number in range(200):
        gate, dice = Funded(1), Dice(f"bounds {number}")
        gate.enter()
        rolled_back += any(gate.look(dice.look(100, 0.25, 0.01, 0.01)) >= log(1 / ALPHA) for _ in range(200))
    assert rolled_back <= 200 * ALPHA


def test_what_hits_both_arms_alike_through_a_ramp_is_evidence_for_others_only() -> None:
    """An outage, errors that rise and a daily wave at once, over 100 000 calls."""
    runs = [highest(("ramp, all three", number)) for number in range(40)]
    wrong = {method: mean([run[method] >= log(1 / ALPHA) for run in runs]) for method in runs[0]}
    assert wrong[OURS] <= ALPHA
    assert min(wrong["threshold"], wrong["repeated z"], wrong["mSPRT"]) >= 0.5
    assert min(highest((SICK, number))[OURS] for number in range(5)) >= log(1 / ALPHA)


def test_a_worse_candidate_is_found_near_the_least_number_of_calls() -> None:
    ratios = [calls_until_found(((CHANGE, False), number)) / least(CHANGE) for number in range(150)]
    assert 0.5 < mean(ratios) <= delay.MOST_MEAN
    assert median(ratios) <= delay.MOST_MEDIAN
    assert quantile(ratios, 0.9) <= delay.MOST_P90


def test_a_candidate_that_gets_worse_after_ten_thousand_calls_is_found_about_as_fast() -> None:
    clean = 500
    calls = [calls_after_clean(((CHANGE, delay.LOOK, clean), number)) for number in range(40)]
    assert median([some for some in calls if some is not None]) <= delay.MOST_MEDIAN_AFTER * least(
        CHANGE, ALPHA / clean
    )


@pytest.mark.parametrize("what", SEARCHES)
def test_a_gate_finds_in_about_so_many_calls_what_it_is_there_for(what: str) -> None:
    _, about = SEARCHES[what]
    assert 0.6 * about < median([calls_of_one_gate((what, number)) for number in range(60)]) < 1.6 * about


def test_a_healthy_candidate_is_promoted_soon_and_one_at_the_tolerance_hardly_ever() -> None:
    assert median([calls_until_shown((STEP, number)) for number in range(40)]) <= promotion.MOST_MEDIAN
    runs = 200
    promoted = mean([is_shown_at_the_tolerance((STEP, number)) for number in range(runs)])
    assert promoted <= ALPHA_PROMOTE + 3 * sqrt(ALPHA_PROMOTE * (1 - ALPHA_PROMOTE) / runs)


async def test_counts_of_eight_processes_are_the_evidence_of_one() -> None:
    assert await evidence(60, 8, seed=1) == pytest.approx(await evidence(60, 1, seed=1), abs=1e-9)


def test_evidence_takes_the_same_room_after_ten_thousand_blocks() -> None:
    growth, early, late = grown(10_000)
    assert growth <= MOST_GROWTH
    assert late <= early + MOST_LONGER


def test_a_branch_whose_errors_double_at_one_half_is_rolled_back() -> None:
    found = [doubled((CALLERS_REPLACE, number)) for number in range(3)]
    assert all(ramp.there for ramp in found)
    assert {ramp.end for ramp in found} == {End.rolled_back}
    assert median([ramp.calls for ramp in found]) < MOST_CALLS
