"""How long a gate takes to find a worse candidate. See ``delay``."""

from __future__ import annotations

from statistics import mean, median

import pytest

from tests.bench.gates.delay import (
    ALPHA,
    CHANGES,
    LOOK,
    MOST_MEAN,
    MOST_MEDIAN,
    MOST_MEDIAN_AFTER,
    MOST_P90,
    SEARCHES,
    Change,
    calls_after_clean,
    calls_of_one_gate,
    calls_until_found,
    least,
)
from tests.bench.gates.running import OVER, each, over, quantile, scaled, show

RUNS = 1_000
#: Calls of a look → after so many clean blocks. The bound is of the first.
CLEAN = {LOOK: (100, 500, 2_500), 100: (100, 500, 1_000)}
RUNS_AFTER = 200
#: How near a median must be to what is said.
WITHIN = 0.15


def text_of(change: Change) -> str:
    control, candidate, share = change
    return f"{control:.1%} to {candidate:.0%} at share {share:.0%}"


@pytest.mark.bench
def test_a_worse_candidate_is_found_near_the_least_number_of_calls() -> None:
    kinds = [(change, at_once) for change in CHANGES for at_once in (False, True)]
    found = each(calls_until_found, dict.fromkeys(kinds, RUNS))
    ratios = {kind: [calls / least(kind[0]) for calls in some] for kind, some in found.items()}
    show(
        f"Calls until a worse candidate is found, over ln(1/α)/KL; α = {ALPHA}, {scaled(RUNS):,} runs",
        ("errors", "E", *OVER),
        [
            (text_of(change), "w₀ = 1" if at_once else "funded", *over(least(change), some))
            for (change, at_once), some in ratios.items()
        ],
        f"bounds: mean {MOST_MEAN}, median {MOST_MEDIAN}, p90 {MOST_P90}",
    )
    for kind, some in ratios.items():
        assert mean(some) <= MOST_MEAN, kind
        assert median(some) <= MOST_MEDIAN, kind
        assert quantile(some, 0.9) <= MOST_P90, kind


@pytest.mark.bench
def test_a_candidate_that_gets_worse_late_is_found_about_as_fast() -> None:
    """N clean blocks, then the change: over ln(N/α)/KL. The bound is held to where a block is as small as it may be.
    Beside it, at 100 calls a look: there 1 to 5 % takes some 15 looks, of which chance adds half a one, and a call is
    met by a fifth of the capital that is put on the bets block by block.
    """
    kinds = [(change, look, clean) for look, all_clean in CLEAN.items() for change in CHANGES for clean in all_clean]
    best = {(change, look, clean): least(change, ALPHA / clean) for change, look, clean in kinds}
    found = each(calls_after_clean, dict.fromkeys(kinds, RUNS_AFTER))
    ratios = {kind: [calls / best[kind] for calls in some if calls is not None] for kind, some in found.items()}
    show(
        f"Calls from the change on, after N clean blocks, over ln(N/α)/KL; α = {ALPHA}, {scaled(RUNS_AFTER):,} runs",
        ("errors", "calls a look", "N", *OVER),
        [(text_of(kind[0]), f"{kind[1]}", f"{kind[2]:,}", *over(best[kind], some)) for kind, some in ratios.items()],
        f"bound: median {MOST_MEDIAN_AFTER} at {LOOK} calls a look",
    )
    for (change, look, clean), some in ratios.items():
        if look == LOOK:
            assert median(some) <= MOST_MEDIAN_AFTER, (change, clean)


@pytest.mark.bench
def test_slower_and_different_candidates_are_found_in_about_so_many_calls() -> None:
    found = each(calls_of_one_gate, dict.fromkeys(SEARCHES, RUNS))
    show(
        f"Calls until one gate finds it; w₀ = 1, α = {ALPHA}, {scaled(RUNS):,} runs",
        ("what", "about", "median", "mean", "p90"),
        [
            (what, f"{SEARCHES[what][1]}", f"{median(some):.0f}", f"{mean(some):.0f}", f"{quantile(some, 0.9):.0f}")
            for what, some in found.items()
        ],
        f"bound: a median within {WITHIN:.0%} of that",
    )
    for what, (_, about) in SEARCHES.items():
        assert abs(median(found[what]) / about - 1) <= WITHIN, what
