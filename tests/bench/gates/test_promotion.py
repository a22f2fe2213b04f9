"""How long a step takes to be shown safe, and how often one is that is not. See ``promotion``."""

from __future__ import annotations

from math import sqrt
from statistics import mean, median

import pytest

from rollout.domain.stats import ALPHA_PROMOTE
from tests.bench.gates.promotion import (
    GIVEN_UP,
    MOST_MEDIAN,
    MOST_P90,
    STEPS,
    Step,
    calls_until_shown,
    is_shown_at_the_tolerance,
    least,
    tolerance,
)
from tests.bench.gates.running import OVER, each, over, quantile, scaled, show

RUNS = 400
RUNS_AT_TOLERANCE = 1_000


def cells_of(step: Step) -> tuple[str, str]:
    rate, share, target = step
    return f"{rate:.1%} bad, {share:.0%} to {target:.0%}", f"{100 * tolerance(step):.2f}"


@pytest.mark.bench
def test_a_healthy_candidate_shows_a_step_near_the_least_number_of_calls() -> None:
    found = each(calls_until_shown, dict.fromkeys(STEPS, RUNS))
    show(
        f"Calls until a step is shown to be safe, over ln(1/α)/KL; α = {ALPHA_PROMOTE}, {scaled(RUNS):,} runs",
        ("step", "tolerance, points", *OVER),
        [(*cells_of(step), *over(least(step), ratios)) for step, ratios in found.items()],
        f"bounds: median {MOST_MEDIAN}, p90 {MOST_P90}",
    )
    for step, ratios in found.items():
        assert median(ratios) <= MOST_MEDIAN, step
        assert quantile(ratios, 0.9) <= MOST_P90, step


@pytest.mark.bench
def test_a_candidate_as_bad_as_tolerated_is_promoted_no_more_often_than_stated() -> None:
    """On its very boundary the test spends nearly all of α_p, and so many runs tell a share to a point or two: all of
    them together are held to α_p, each step to what chance may add to that (three standard errors).
    """
    found = each(is_shown_at_the_tolerance, dict.fromkeys(STEPS, RUNS_AT_TOLERANCE))
    whole = mean([shown for some in found.values() for shown in some])
    show(
        f"Promoted at exactly the tolerance, in % of {scaled(RUNS_AT_TOLERANCE):,} runs of {GIVEN_UP} ln(1/α)/KL calls",
        ("step", "tolerance, points", "promoted"),
        [
            *((*cells_of(step), f"{100 * mean(some):.1f}") for step, some in found.items()),
            ("all of them", "", f"{100 * whole:.2f}"),
        ],
        f"bound: {ALPHA_PROMOTE:.0%}",
    )
    assert whole <= ALPHA_PROMOTE
    for step, some in found.items():
        assert mean(some) <= ALPHA_PROMOTE + 3 * sqrt(ALPHA_PROMOTE * (1 - ALPHA_PROMOTE) / len(some)), step
