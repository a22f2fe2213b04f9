"""Healthy candidates: how often each way to decide ever rolls one back. See ``healthy``."""

from __future__ import annotations

from math import log

import pytest

from tests.bench.gates.healthy import ALPHAS, CALLS, LOOK, METHODS, OURS, SICK, WORLDS, highest
from tests.bench.gates.running import each, scaled, show

RUNS = dict.fromkeys(WORLDS, 1_500) | {SICK: 100}


@pytest.mark.bench
def test_healthy_candidates_are_rolled_back_no_more_often_than_stated() -> None:
    cells = [(method, alpha) for method in METHODS for alpha in ALPHAS]
    shares = {
        world: {
            (method, alpha): sum(run[method] >= log(1 / alpha) for run in found) / len(found) for method, alpha in cells
        }
        for world, found in each(highest, RUNS).items()
    }
    show(
        f"Rolled back, in % of {scaled(max(RUNS.values())):,} runs of {CALLS:,} calls, a look per {LOOK}",
        ("bad calls, both arms", *(f"{method}\nα = {alpha:.0%}" for method, alpha in cells)),
        [(world, *(f"{100 * share:.1f}" for share in some.values())) for world, some in shares.items()],
        "threshold: a point worse over 1,000 calls, whatever α is; repeated z, mSPRT: from 1,000 calls on",
    )
    sick = shares.pop(SICK)
    for world, some in shares.items():
        for alpha in ALPHAS:
            assert some[OURS, alpha] <= alpha, world
    assert sick[OURS, 0.01] >= 0.95
    # What they are compared with meets the same calls: a table in which nobody is ever wrong would show nothing.
    assert shares["1.0% at share 5%"]["threshold", 0.05] >= 0.9
    assert shares["1.0% at share 50%"]["repeated z", 0.05] >= 0.2
    assert shares["ramp, 0.5% rising to 3%"]["mSPRT", 0.05] >= 0.3
